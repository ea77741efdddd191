//! Archives made by the original WAL-E on real servers, and what is true of them.
//!
//! In: a PostgreSQL (10 to 14: WAL-E knows only the exclusive backup), wal-e, a place for the archive.
//! Out: an archive with a base backup, a table that was dropped, and two timelines; its [`Facts`], asked of the server
//! itself. Never: facts computed from the archive.
//!
//! ```text
//! timeline 1  base backup . more accounts . restore point before_drop . precious dropped . more accounts . stopped
//! timeline 2                                                            recovered to the end . more accounts . stopped
//! ```

use super::garage::{BUCKET, Garage};
use super::postgres::{Postgres, Server};
use super::recovery::{Kind, configure_with};
use super::scratch::give;
use super::wal_e::WalE;
use super::{Scratch, need, succeed};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the archive goes.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A directory.
    Directory(&'a Path),
    /// A prefix in [`BUCKET`].
    Garage(&'a Garage, &'a str),
}

impl Place<'_> {
    /// wal-e's settings for it.
    pub fn wal_e_environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Place::Directory(path) => vec![("WALE_FILE_PREFIX", format!("file://localhost{}", path.display()))],
            Place::Garage(garage, prefix) => {
                let mut environment = garage.environment();
                environment.push(("WALE_S3_PREFIX", format!("s3://{BUCKET}/{prefix}")));
                environment.push(("WALE_S3_ENDPOINT", format!("http+path://127.0.0.1:{}", garage.port())));
                environment.push(("S3_USE_SIGV4", "True".into()));
                environment
            }
        }
    }
}

/// What is true of an archive: `name value` lines, as the server itself said when it was made.
#[derive(Debug, Clone)]
pub struct Facts {
    text: String,
    /// The database its tables are in.
    pub database: &'static str,
    /// The query for `tli1_accounts_sum` and `tli2_accounts_sum`.
    pub accounts: &'static str,
}

/// The query for `precious_count` and `precious_md5`, as `count|md5`.
pub const PRECIOUS: &str = r"select count(*), md5(string_agg(v, E'\n' order by id)) from precious";

impl Facts {
    /// Read the facts of an archive.
    pub fn read(file: &Path, database: &'static str, accounts: &'static str) -> Facts {
        let text = std::fs::read_to_string(file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        Facts { text, database, accounts }
    }

    /// One fact.
    #[track_caller]
    pub fn get(&self, name: &str) -> &str {
        let line = self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no fact {name} in\n{}", self.text))
    }

    /// `precious_count` and `precious_md5` as [`PRECIOUS`] gives them.
    pub fn precious(&self) -> String {
        format!("{}|{}", self.get("precious_count"), self.get("precious_md5"))
    }
}

/// The query for the sums of an archive made here.
const ACCOUNTS: &str = "select sum(balance), count(*) from accounts";

/// The small archive that lies in this repository, and its facts.
pub fn bundled() -> (PathBuf, Facts) {
    let folder = need::root().join("testdata/archive/wal-e-pg13");
    let facts = Facts::read(&folder.with_extension("facts.txt"), "postgres", ACCOUNTS);
    (folder, facts)
}

/// The larger archive and its facts, in the folder that `require!(shared_archive)` gives.
pub fn shared(folder: &Path) -> (PathBuf, Facts) {
    let query = "select sum(abalance), count(*) from pgbench_accounts";
    (folder.join("wal-e-pg13"), Facts::read(&folder.join("wal-e-pg13.facts.txt"), "bench", query))
}

/// Make an archive. With `tablespace`, one table lies in a tablespace whose folder is given (the server's user's own).
pub fn make(scratch: &Scratch, postgres: &Postgres, wal_e: &WalE, place: Place, tablespace: Option<&Path>) -> Facts {
    let data = scratch.join("primary");
    postgres.initdb(scratch, &data);
    if let Place::Directory(path) = place {
        std::fs::create_dir_all(path).expect("the archive's folder");
        give(path);
    }
    let environment = place.wal_e_environment();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let script = wal_e.script(scratch, "wal-e", &environment);
    let push = format!("archive_command={}", script.push_command());
    // Little WAL, so that the archive stays small; hint bits and vacuum would only add to it.
    let settings = [
        "wal_level=replica",
        "max_wal_senders=0",
        "autovacuum=off",
        "wal_compression=on",
        "jit=off",
        "archive_mode=on",
        &push,
    ];
    // jit came with 11.
    let settings: Vec<&str> =
        settings.into_iter().filter(|setting| postgres.major > 10 || *setting != "jit=off").collect();

    // Filled before archiving begins: the archive then begins with the base backup, as most do after a clean-up.
    let mut server = postgres.start(scratch, &data, &["autovacuum=off", "wal_level=replica"], &[]);
    server.ask(
        "create table accounts (id int, balance bigint); insert into accounts select i, 0 from generate_series(1, 1000) i; \
         create table precious (id int, v text); insert into precious select i, md5(i::text) from generate_series(1, 500) i",
    );
    if let Some(tablespace) = tablespace {
        let place = tablespace.display();
        // One statement a message: a tablespace is not made within a transaction.
        server.ask(&format!("create tablespace elsewhere location '{place}'"));
        server.ask("create table faraway tablespace elsewhere as select i as id from generate_series(1, 300) i");
    }
    server.ask("vacuum freeze");
    server.ask("select pg_switch_wal()");
    server.stop();

    let mut server = postgres.start(scratch, &data, &settings, &[]);
    let mut facts = String::new();
    let mut fact = |name: &str, value: String| {
        writeln!(facts, "{name} {value}").expect("text takes text");
    };
    fact("version", server.ask("show server_version"));
    fact("system_identifier", server.ask("select system_identifier from pg_control_system()"));
    script.backup(scratch, &server, &data);
    spend(&server, 1);
    let precious = server.ask(PRECIOUS);
    let (count, md5) = precious.split_once('|').expect("two columns");
    fact("precious_count", count.into());
    fact("precious_md5", md5.into());
    server.ask("select pg_create_restore_point('before_drop')");
    // A commit on each side of the moment, some way apart: recovery to a time stops at commits.
    std::thread::sleep(std::time::Duration::from_millis(50));
    fact("precious_exists_at", server.ask("select clock_timestamp()"));
    std::thread::sleep(std::time::Duration::from_millis(50));
    server.ask("drop table precious");
    fact("precious_dropped_by", server.ask("select clock_timestamp()"));
    server.ask("select pg_switch_wal()");
    spend(&server, 2);
    fact("tli1_accounts_sum", server.ask(ACCOUNTS));
    fact("tli1_last_commit", server.ask("select clock_timestamp()"));
    server.stop();

    // The archive to its end, and on from there: a promotion without a new base backup.
    let fetch = script.fetch_command().replace('\'', "''");
    let mut recovering = settings.clone();
    let restore = format!("restore_command={}", script.fetch_command());
    if postgres.major < 12 {
        std::fs::write(data.join("recovery.conf"), format!("restore_command = '{fetch}'\n")).expect("recovery.conf");
        give(&data.join("recovery.conf"));
    } else {
        std::fs::write(data.join("recovery.signal"), "").expect("recovery.signal");
        give(&data.join("recovery.signal"));
        recovering.push(&restore);
    }
    let mut server = postgres.start(scratch, &data, &recovering, &[]);
    server.wait_promoted();
    fact("tli2_started", server.ask("select clock_timestamp()"));
    spend(&server, 3);
    server.ask("select pg_switch_wal()");
    spend(&server, 4);
    fact("tli2_accounts_sum", server.ask(ACCOUNTS));
    fact("tli2_last_commit", server.ask("select clock_timestamp()"));
    server.stop();
    Facts { text: facts, database: "postgres", accounts: ACCOUNTS }
}

/// An archive of WAL alone, and the stopped cluster it begins with: for servers of every version, without wal-e.
#[derive(Debug)]
pub struct Offline {
    /// The data directory as it was at the start, its WAL taken out: copy it, then recover.
    pub base: PathBuf,
    /// The archive: a folder with `wal_005`.
    pub archive: PathBuf,
    /// Every segment that recovery from `base` needs, in order (one timeline only), and its stored size.
    pub segments: Vec<(String, usize)>,
    /// The query, and what the server answered at the very end.
    pub accounts: &'static str,
    /// What it answered.
    pub sum: String,
    /// The server itself, stopped.
    pub primary: PathBuf,
    /// What it ran with.
    pub settings: Vec<String>,
}

/// How much of it there is.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// MiB of a segment, where it is chosen when the cluster is made (from 11 on); else 16.
    pub segment: Option<u32>,
    /// At least so many segments; 0: four rounds of work, each ended by a switch.
    pub segments: usize,
    /// So often the server is stopped on the way, recovers to the end of the archive, and promotes.
    pub promotions: usize,
    /// `wal_compression`. Without it there is more of it, which compresses better: as in most archives.
    pub wal_compression: bool,
}

impl Extent {
    /// A handful of segments of 16 MiB, mostly empty.
    pub const SMALL: Extent = Extent { segment: None, segments: 0, promotions: 0, wal_compression: true };
    /// Four hundred segments of 1 MiB, full of work of every kind.
    pub const LARGE: Extent = Extent { segment: Some(1), segments: 400, promotions: 0, wal_compression: true };
}

/// A small one: see [`make_offline_of`].
pub fn make_offline(scratch: &Scratch, postgres: &Postgres, lzop: &Path) -> Offline {
    make_offline_of(scratch, postgres, lzop, Extent::SMALL)
}

/// Stop a new cluster, keep a copy, let it work on and archive its WAL as wal-e lays it out.
pub fn make_offline_of(scratch: &Scratch, postgres: &Postgres, lzop: &Path, extent: Extent) -> Offline {
    let (data, base, archive) = (scratch.join("primary"), scratch.join("base"), scratch.dir("archive"));
    let size = extent.segment.map(|size| format!("--wal-segsize={size}"));
    postgres.initdb_with(scratch, &data, &size.iter().map(String::as_str).collect::<Vec<_>>());
    scratch.dir("archive/wal_005");
    let text = format!(
        "#!/bin/sh\nset -e\n'{}' -c \"$1\" >'{a}/wal_005/.making'\nmv '{a}/wal_005/.making' '{a}/wal_005/'\"$2\".lzo\n",
        lzop.display(),
        a = archive.display()
    );
    let push = format!("archive_command='{}' %p %f", scratch.script("push", &text).display());
    let compression = if extent.wal_compression { "wal_compression=on" } else { "wal_compression=off" };
    let settings = ["archive_mode=on", &push, "wal_level=replica", "autovacuum=off", compression];
    let mut server = postgres.start(scratch, &data, &settings, &[]);
    server.ask("create table accounts (id int, balance bigint); insert into accounts select i, 0 from generate_series(1, 1000) i");
    if extent.segments > 0 {
        server.ask(WORKPLACE);
    }
    server.stop();
    succeed(Command::new("cp").arg("-a").arg(&data).arg(&base));
    // A stopping server has archived all that it wrote before its last checkpoint.
    let before = stored(&archive).len();
    for entry in std::fs::read_dir(base.join("pg_wal")).expect("pg_wal") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            std::fs::remove_file(&path).expect("a segment goes");
        }
    }
    let mut server = postgres.start(scratch, &data, &settings, &[]);
    for part in 0..=extent.promotions {
        if part > 0 {
            server.stop();
            let fetch = format!("'{}' -dc '{}/wal_005/%f.lzo' >%p", lzop.display(), archive.display());
            let recovery = configure_with(postgres, &data, Kind::PointInTime, &fetch);
            let settings: Vec<&str> = settings.into_iter().chain(recovery.iter().map(String::as_str)).collect();
            server = postgres.start(scratch, &data, &settings, &[]);
            server.wait_promoted();
        }
        if extent.segments == 0 {
            for round in 1..=4 {
                spend(&server, round);
                server.ask("select pg_switch_wal()");
            }
        } else {
            work(&server, extent.segments / (extent.promotions + 1) + 1);
        }
    }
    let accounts = if extent.segments == 0 { ACCOUNTS } else { WORKPLACE_SUMS };
    let sum = server.ask(accounts);
    server.stop();
    let segments = stored(&archive).split_off(before);
    let settings = settings.iter().map(ToString::to_string).collect();
    Offline { base, archive, segments, accounts, sum, primary: data, settings }
}

/// The segments of an archive by name, and their stored sizes.
fn stored(archive: &Path) -> Vec<(String, usize)> {
    let entries = std::fs::read_dir(archive.join("wal_005")).expect("the archive");
    let mut segments: Vec<_> = entries
        .map(|entry| entry.expect("an entry"))
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().strip_suffix(".lzo")?.to_owned();
            Some((name, entry.metadata().expect("its size").len() as usize))
        })
        .filter(|(name, _)| name.len() == 24)
        .collect();
    segments.sort();
    segments
}

/// Tables for work of every kind.
const WORKPLACE: &str = "
    create table tellers (id int primary key, branch int, balance bigint, filler char(84)) with (fillfactor = 90);
    insert into tellers select i, i % 10, 0, '' from generate_series(1, 20000) i;
    create index on tellers (branch, balance);
    create table history (at serial, teller int, delta int, note text);
    create index on history (teller);
    create table wide (id int, v text)";

/// What all of [`work`] adds up to.
const WORKPLACE_SUMS: &str = "
    select (select sum(balance) || ' ' || count(*) from accounts), (select sum(balance * id) || ' ' || count(*) from tellers),
           (select sum(delta::bigint * at) || ' ' || count(*) from history),
           (select sum(length(v)) || ' ' || md5(string_agg(md5(v), '' order by id)) from wide)";

/// So many segments of work: many small transactions as pgbench makes them, full-page images, rows that do not fit a
/// page, records over several segments, half-empty segments, aborts.
pub fn work(server: &Server, segments: usize) {
    let mut session = server.connect("postgres").expect("a session");
    let size: i64 = session
        .query_one("select setting::bigint * (case unit when '8kB' then 8192 else 1 end) from pg_settings where name = 'wal_segment_size'", &[])
        .expect("the segment size")
        .get(0);
    let position = |session: &mut postgres::Client| -> i64 {
        let place = "select (pg_current_wal_lsn() - '0/0')::bigint";
        session.query_one(place, &[]).expect("the position").get(0)
    };
    let end = position(&mut session) + size * segments as i64;
    // Large segments hold more of everything, not larger things.
    let size = size.min(1 << 20);
    let mut round = 0u32;
    while position(&mut session) < end {
        round += 1;
        // What goes round is decided by its number alone; how much WAL it makes is not.
        let transaction = format!(
            "update tellers set balance = balance + (id % 7) - 3 + {round} where id % 400 = {round} % 400;
             insert into history (teller, delta, note) select i * 37 % 20000, i + {round}, repeat('n', i % 90) from generate_series(1, 400) i;
             update accounts set balance = balance + {round} where id % 50 = {round} % 50"
        );
        session.batch_execute(&transaction).expect("a transaction");
        let more = match round % 16 {
            3 => String::from("checkpoint"),
            5 => format!("begin; update tellers set balance = 0 where id % 100 = {round} % 100; rollback"),
            7 | 13 => format!(
                "insert into wide select {round} * 1000 + i, (select string_agg(md5({round}::text || i || j), '') from generate_series(1, 90) j) \
                 from generate_series(1, {}) i",
                size / 24_000
            ),
            10 => format!(
                "select pg_logical_emit_message(false, 'walr', (select string_agg(md5({round}::text || j), '') from generate_series(1, {}) j))",
                size * 5 / 2 / 32
            ),
            12 => String::from("select pg_switch_wal()"),
            14 => String::from("reindex table tellers"),
            _ => continue,
        };
        session.batch_execute(&more).expect("more work");
    }
    session.batch_execute("select pg_switch_wal()").expect("the last segment goes");
}

/// Some transactions whose sum tells how many of them were replayed.
fn spend(server: &Server, round: u32) {
    for step in 1..=5u32 {
        server.ask(&format!("update accounts set balance = balance + {round} * {step} * id where id % 50 = {step}"));
    }
}

impl Facts {
    /// Every fact, as a file holds them.
    pub fn text(&self) -> &str {
        &self.text
    }
}
