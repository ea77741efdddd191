//! Clean archives of real servers of every version, with all that makes WAL odd and not wrong.
//!
//! In: a PostgreSQL from 10 on, lzop, a scratch folder. Out: a directory in WAL-E's layout, which holds what a failing
//! server, a failover and a busy day leave behind, and what the last server said. Base backups are taken by the
//! low-level API and written by hand: wal-e itself knows only servers up to 14. Never: asks wal-r anything.
//!
//! ```text
//! 1  ─B─ switches, long records, prepared transactions ─ crash ─ crash ─ idle ─●fork_here─ B ─╮ recovered in place
//! 2                                                                            │              ╰─╮ and again at once
//! 3                                                                            │                ╰─ … crash … stopped
//! 4      restored to fork_here                                                 ╰─ … ─ B ──┬─ goes on ── stopped
//! 5      a standby of it, promoted meanwhile                                              ╰─ … ─ B ─ … stopped
//! ```

use super::Scratch;
use super::postgres::{PATIENCE, Postgres, Server};
use super::scratch::{give, give_tree};
use super::succeed;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// A clean archive, and what is true of it.
#[derive(Debug)]
pub struct Clean {
    /// The folder with `wal_005` and `basebackups_005`.
    pub archive: PathBuf,
    /// Bytes of a segment.
    pub segment: usize,
    /// [`ACCOUNTS`], at the end of the last timeline.
    pub sum: String,
    /// The time just behind the last commit there, as the server writes times.
    pub last_commit: String,
    /// Names of its base backups, oldest first.
    pub backups: Vec<String>,
}

/// The query whose answer tells how much was replayed.
pub const ACCOUNTS: &str = "select sum(balance), count(*) from accounts";

/// How a base backup is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The label lies in the data directory meanwhile: up to 14.
    Exclusive,
    /// The label is what the server answers at the end.
    NonExclusive,
}

/// Who dies.
#[derive(Debug, Clone, Copy)]
enum Death {
    /// The whole server, at once.
    OfAll,
    /// One process; the server then starts over by itself.
    OfOne,
}

/// What all steps share.
struct Maker<'a> {
    scratch: &'a Scratch,
    postgres: &'a Postgres,
    lzop: &'a Path,
    archive: PathBuf,
    segment: usize,
    settings: Vec<String>,
    backups: Vec<String>,
}

/// Make one. Takes some ten seconds.
pub fn make(scratch: &Scratch, postgres: &Postgres, lzop: &Path) -> Clean {
    let mut maker = Maker::new(scratch, postgres, lzop);
    let primary = scratch.join("primary");
    maker.initdb(&primary);
    maker.first_timeline(&primary);
    maker.two_promotions_in_a_row(&primary);
    let (sum, last_commit) = maker.branches();
    let Maker { archive, segment, backups, .. } = maker;
    Clean { archive, segment, sum, last_commit, backups }
}

/// One of a quiet life, for a server with settings of its own: a base backup, work in some segments behind it, the end.
pub fn make_plain(scratch: &Scratch, postgres: &Postgres, lzop: &Path) -> Clean {
    let mut maker = Maker::new(scratch, postgres, lzop);
    maker.settings.retain(|setting| !setting.starts_with("max_prepared_transactions"));
    let primary = scratch.join("primary");
    maker.initdb(&primary);
    let mut server = maker.start(&primary);
    server.ask("create table accounts (id int primary key, balance bigint); insert into accounts select i, 0 from generate_series(1, 2000) i");
    maker.backup(&server, &primary, if postgres.major < 15 { Mode::Exclusive } else { Mode::NonExclusive });
    for round in 1..=8 {
        spend(&server, round);
        server.ask("select pg_switch_wal()");
    }
    let (sum, last_commit) = (server.ask(ACCOUNTS), server.ask("select clock_timestamp()"));
    server.stop();
    let Maker { archive, segment, backups, .. } = maker;
    Clean { archive, segment, sum, last_commit, backups }
}

impl<'a> Maker<'a> {
    fn new(scratch: &'a Scratch, postgres: &'a Postgres, lzop: &'a Path) -> Maker<'a> {
        let archive = scratch.dir("archive");
        scratch.dir("archive/wal_005");
        scratch.dir("archive/basebackups_005");
        // Two servers may push one name at a time.
        let text = format!(
            "#!/bin/sh\nset -e\n'{}' -c \"$1\" >'{a}/.making'$$\nmv '{a}/.making'$$ '{a}/wal_005/'\"$2\".lzo\n",
            lzop.display(),
            a = archive.display()
        );
        let push = format!("archive_command='{}' %p %f", scratch.script("push", &text).display());
        // Few segments kept, so that files are recycled with their old content.
        let kept = if postgres.major < 11 { "max_wal_size=64MB" } else { "max_wal_size=6MB" };
        let settings = [
            "archive_mode=on",
            &push,
            kept,
            "wal_level=replica",
            "autovacuum=off",
            "wal_compression=on",
            "max_prepared_transactions=4",
            "max_wal_senders=2",
            "hot_standby=on",
            "wal_retrieve_retry_interval=100ms",
        ];
        Maker {
            scratch,
            postgres,
            lzop,
            archive,
            segment: if postgres.major < 11 { 16 << 20 } else { 1 << 20 },
            settings: settings.map(str::to_owned).to_vec(),
            backups: Vec::new(),
        }
    }

    fn initdb(&self, data: &Path) {
        let flags: &[&str] =
            if self.postgres.major < 11 { &["--data-checksums"] } else { &["--data-checksums", "--wal-segsize=1"] };
        self.postgres.initdb_with(self.scratch, data, flags);
    }

    fn start(&self, data: &Path) -> Server {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        self.postgres.start(self.scratch, data, &settings, &[])
    }

    /// Start a server that recovers from the archive, with these settings of recovery. It is not waited for.
    fn recover(&self, data: &Path, standby: bool, settings: &[(&str, &str)]) -> Server {
        let fetch = format!("'{}' -dc '{}/wal_005/%f.lzo' >'%p'", self.lzop.display(), self.archive.display());
        let mut all = vec![("restore_command", fetch.as_str())];
        all.extend(settings);
        let mut server_settings = self.settings.clone();
        if self.postgres.major < 12 {
            let mut text = if standby { String::from("standby_mode = 'on'\n") } else { String::new() };
            for (name, value) in all {
                writeln!(text, "{name} = '{}'", value.replace('\'', "''")).expect("text takes text");
            }
            std::fs::write(data.join("recovery.conf"), text).expect("recovery.conf");
            give(&data.join("recovery.conf"));
        } else {
            let signal = data.join(if standby { "standby.signal" } else { "recovery.signal" });
            std::fs::write(&signal, "").expect("a signal file");
            give(&signal);
            server_settings.extend(all.iter().map(|(name, value)| format!("{name}={value}")));
        }
        let settings: Vec<&str> = server_settings.iter().map(String::as_str).collect();
        self.postgres.spawn(self.scratch, data, &settings, &[])
    }

    fn first_timeline(&mut self, data: &Path) {
        let mut server = self.start(data);
        server.ask(
            "create table accounts (id int primary key, balance bigint); \
             insert into accounts select i, 0 from generate_series(1, 2000) i; \
             create table wide (id int, v text); create unlogged table passing as select 1 as one",
        );
        server.ask("vacuum accounts");
        let first = if self.postgres.major < 15 { Mode::Exclusive } else { Mode::NonExclusive };
        self.backup(&server, data, first);
        spend(&server, 1);
        prepare(&server, "committed_later");
        prepare(&server, "rolled_back_later");
        // Twice: at the start of a segment there is nothing to switch from.
        server.ask("select pg_switch_wal()");
        server.ask("select pg_switch_wal()");
        server.ask("select pg_create_restore_point('early')");
        self.long_record(&server);
        wide_rows(&server, self.segment);
        server.ask("commit prepared 'committed_later'");
        server.ask("checkpoint");

        // A server that dies in the middle of a record, then one of its processes alone: what was begun is given up.
        self.die_in_a_long_record(&mut server, Death::OfAll);
        let mut server = self.start(data);
        spend(&server, 2);
        self.die_in_a_long_record(&mut server, Death::OfOne);
        // For a moment it may still answer.
        server.wait_for("back", |server| {
            server.log().contains("all server processes terminated") && server.try_ask("select 1").is_ok()
        });
        server.ask("rollback prepared 'rolled_back_later'");
        spend(&server, 3);
        self.idle_switch(&mut server);
        server.ask("select pg_create_restore_point('fork_here')");
        spend(&server, 4);
        self.backup(&server, data, Mode::NonExclusive);
        spend(&server, 5);
        server.stop();
    }

    /// Timelines 2 and 3: the same data directory recovers to the end of the archive, and at once again.
    fn two_promotions_in_a_row(&mut self, data: &Path) {
        for round in [6, 7] {
            let mut server = self.recover(data, false, &[("recovery_target_timeline", "latest")]);
            server.wait_promoted();
            if round == 7 {
                spend(&server, round);
                server.ask("checkpoint");
                server.ask("select pg_switch_wal()");
                wide_rows(&server, self.segment);
                server.crash();
                server = self.start(data);
                spend(&server, round);
                server.ask("select pg_switch_wal()");
            }
            server.stop();
        }
    }

    /// Timeline 4 leaves 1 at a restore point; 5 leaves 4 while that goes on. The end of 5 is the newest state.
    fn branches(&mut self) -> (String, String) {
        let first = self.backups.first().cloned().expect("there is a backup");
        let branch = self.restore(&first, "branch");
        let to = [
            ("recovery_target_name", "fork_here"),
            ("recovery_target_timeline", "1"),
            ("recovery_target_action", "promote"),
        ];
        let mut old = self.recover(&branch, false, &to);
        old.wait_promoted();
        spend(&old, 8);
        self.long_record(&old);
        let backup = self.backup(&old, &branch, Mode::NonExclusive);
        spend(&old, 9);
        old.ask("select pg_switch_wal()");
        spend(&old, 10);

        let standby = self.restore(&backup, "standby");
        let mut new = self.recover(&standby, true, &[("recovery_target_timeline", "latest")]);
        let switched = old.ask("select pg_switch_wal()");
        new.wait_for("at the old primary's end", |new| {
            let query = format!("select pg_last_wal_replay_lsn() >= '{switched}'");
            new.try_ask(&query).is_ok_and(|answer| answer == "t")
        });
        succeed(
            self.scratch
                .command(self.postgres.program(self.scratch, "pg_ctl"))
                .args(["promote", "-W", "-D"])
                .arg(&standby),
        );
        // Nobody told it.
        spend(&old, 11);
        old.ask("select pg_switch_wal()");
        spend(&old, 12);
        old.stop();
        new.wait_promoted();
        spend(&new, 13);
        self.backup(&new, &standby, Mode::NonExclusive);
        spend(&new, 14);
        let sum = new.ask(ACCOUNTS);
        let last_commit = new.ask("select clock_timestamp()");
        new.ask("select pg_switch_wal()");
        new.stop();
        (sum, last_commit)
    }

    /// A record over several segments, some of which hold no start of a record.
    fn long_record(&self, server: &Server) {
        let bytes = self.segment * if self.segment > 1 << 20 { 5 } else { 7 } / 2;
        server.ask(&format!("select pg_logical_emit_message(false, 'walr', repeat('r', {bytes}))"));
    }

    /// Begin a record of many segments, and die when some of them are written.
    fn die_in_a_long_record(&self, server: &mut Server, death: Death) {
        let before = server.ask("select pg_current_wal_lsn()");
        let mut client = server.connect("postgres").expect("a session");
        let pid: i32 = client.query_one("select pg_backend_pid()", &[]).expect("its process").get(0);
        // Far more than is written in the time that a signal takes.
        let query = "select pg_logical_emit_message(false, 'walr', repeat('r', 400 << 20))";
        let work = std::thread::spawn(move || client.simple_query(query).is_err());
        let begun = Instant::now();
        let query = format!("select pg_current_wal_lsn() - '{before}' > {}", self.segment * 2);
        while server.ask(&query) != "t" {
            assert!(begun.elapsed() < PATIENCE, "the long record was not begun");
        }
        match death {
            Death::OfAll => server.crash(),
            Death::OfOne => {
                let pid = Pid::from_raw(pid).expect("a process");
                kill_process(pid, Signal::KILL).expect("it runs");
            }
        }
        assert!(work.join().expect("a thread"), "the record was finished before the crash");
    }

    /// Little work, then nothing: the server itself ends the segment.
    fn idle_switch(&self, server: &mut Server) {
        server.ask("alter system set archive_timeout = '1s'");
        server.ask("select pg_reload_conf()");
        spend(server, 1);
        let number = format!("select div(pg_current_wal_insert_lsn() - '0/0', {})", self.segment);
        let before = server.ask(&number);
        server.wait_for("at the next segment by itself", |server| server.ask(&number) != before);
        server.ask("alter system reset archive_timeout");
        server.ask("select pg_reload_conf()");
    }

    /// A base backup in WAL-E's layout, of a server that works meanwhile. Its name.
    fn backup(&mut self, server: &Server, data: &Path, mode: Mode) -> String {
        let new_names = self.postgres.major >= 15;
        let mut session = server.connect("postgres").expect("a session");
        let start = match (mode, new_names) {
            (Mode::Exclusive, _) => "select pg_start_backup('by hand', true)::text",
            (Mode::NonExclusive, false) => "select pg_start_backup('by hand', true, false)::text",
            (Mode::NonExclusive, true) => "select pg_backup_start('by hand', true)::text",
        };
        let start: String = session.query_one(start, &[]).expect("the backup starts").get(0);
        let place = |lsn: &str| {
            let answer = server.ask(&format!(
                "select file_name || '_' || lpad(file_offset::text, 8, '0') from pg_walfile_name_offset('{lsn}')"
            ));
            answer.split_once('_').map(|(file, offset)| (file.to_owned(), offset.to_owned())).expect("two parts")
        };
        let (file, offset) = place(&start);
        let name = format!("base_{file}_{offset}");
        let folder = self.archive.join("basebackups_005").join(&name);
        std::fs::create_dir_all(folder.join("tar_partitions")).expect("a new folder");
        std::fs::write(folder.join("extended_version.txt"), server.ask("select version()")).expect("a small file");

        // First half of the files, work, second half, more work.
        let mut files = Vec::new();
        walk(data, Path::new(""), &mut files);
        let (control, mut files): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.name == Path::new("global/pg_control"));
        let rest = files.split_off(files.len() / 2);
        let mut size = self.part(data, &folder, 0, &files, &[]);
        spend(server, 1);
        server.ask("checkpoint");
        let control: Vec<_> = rest.into_iter().chain(control).collect();
        spend(server, 1);

        let (stop, label, map): (String, String, String) = if mode == Mode::Exclusive {
            size += self.part(data, &folder, 1, &control, &[]);
            let row = session.query_one("select pg_stop_backup()::text", &[]).expect("the backup ends");
            (row.get(0), String::new(), String::new())
        } else {
            let stop = if new_names { "pg_backup_stop()" } else { "pg_stop_backup(false)" };
            let query = format!("select lsn::text, labelfile, spcmapfile from {stop}");
            // pg_control before the end, as the files of a low-level backup are; the label when it is known.
            let early: Vec<(Entry, Vec<u8>)> = control.iter().map(|file| (file.clone(), file.read(data))).collect();
            let row = session.query_one(&query, &[]).expect("the backup ends");
            let label: String = row.get(1);
            let mut made = vec![("backup_label", label.clone())];
            let map: String = row.get(2);
            if !map.is_empty() {
                made.push(("tablespace_map", map.clone()));
            }
            size += self.part_of(&folder, 1, early, &made);
            (row.get(0), label, map)
        };
        assert!(map.is_empty() && (mode == Mode::Exclusive || label.contains("START WAL LOCATION")), "{label}");
        let (stop_file, stop_offset) = place(&stop);
        let sentinel = format!(
            r#"{{"wal_segment_backup_stop": "{stop_file}", "wal_segment_offset_backup_stop": "{stop_offset}", "expanded_size_bytes": {size}, "spec": {{"base_prefix": "/srv/pg/", "tablespaces": []}}}}"#
        );
        let file = self.archive.join("basebackups_005").join(format!("{name}_backup_stop_sentinel.json"));
        std::fs::write(file, sentinel).expect("the sentinel");
        self.backups.push(name.clone());
        name
    }

    fn part(&self, data: &Path, folder: &Path, number: u32, files: &[Entry], made: &[(&str, String)]) -> u64 {
        let files = files.iter().map(|file| (file.clone(), file.read(data))).collect();
        self.part_of(folder, number, files, made)
    }

    /// Write one partition; how many bytes of files are in it.
    fn part_of(&self, folder: &Path, number: u32, files: Vec<(Entry, Vec<u8>)>, made: &[(&str, String)]) -> u64 {
        let (mut tar, mut size) = (tar::Builder::new(Vec::new()), 0);
        if number == 0 {
            append(&mut tar, "/", true, &[]);
        }
        for (entry, content) in &files {
            append(&mut tar, &entry.name.display().to_string(), entry.folder, content);
            size += content.len() as u64;
        }
        for (name, text) in made {
            append(&mut tar, name, false, text.as_bytes());
            size += text.len() as u64;
        }
        let bytes = tar.into_inner().expect("memory takes all");
        let plain = self.scratch.join("part.tar");
        std::fs::write(&plain, bytes).expect("a partition");
        let stored = folder.join(format!("tar_partitions/part_{number:08}.tar.lzo"));
        let into = std::fs::File::create(stored).expect("a stored partition");
        let done =
            Command::new(self.lzop).arg("-c").stdin(std::fs::File::open(plain).expect("it")).stdout(into).status();
        assert!(done.expect("lzop runs").success());
        size
    }

    /// A base backup as a data directory again, by lzop and tar.
    fn restore(&self, backup: &str, name: &str) -> PathBuf {
        restore(self.scratch, self.lzop, &self.archive, backup, name)
    }
}

/// A base backup of an archive as a data directory, by lzop and tar alone.
pub fn restore(scratch: &Scratch, lzop: &Path, archive: &Path, backup: &str, name: &str) -> PathBuf {
    let data = scratch.dir(name);
    let parts = archive.join("basebackups_005").join(backup).join("tar_partitions");
    let line = format!(
        "for part in '{}'/*; do '{}' -dc \"$part\" | tar -xf - -C '{}' || exit 1; done",
        parts.display(),
        lzop.display(),
        data.display()
    );
    succeed(Command::new("sh").arg("-c").arg(line));
    succeed(Command::new("chmod").arg("700").arg(&data));
    give_tree(&data);
    data
}

/// One file or folder of a data directory.
#[derive(Debug, Clone)]
struct Entry {
    name: PathBuf,
    folder: bool,
}

impl Entry {
    fn read(&self, data: &Path) -> Vec<u8> {
        if self.folder { Vec::new() } else { std::fs::read(data.join(&self.name)).unwrap_or_default() }
    }
}

/// Files and folders of a data directory, but for those whose content WAL-E leaves out (spec: selection of files).
fn walk(data: &Path, below: &Path, found: &mut Vec<Entry>) {
    const FOLDER_ONLY: &[&str] = &["pg_wal", "pg_replslot", "pg_log", "pgsql_tmp", "pg_stat_tmp"];
    const DROPPED: &[&str] = &[
        "postmaster.pid",
        "postmaster.opts",
        "recovery.conf",
        "recovery.done",
        "postgresql.conf",
        "pg_hba.conf",
        "pg_ident.conf",
    ];
    let mut names: Vec<PathBuf> = std::fs::read_dir(data.join(below))
        .expect("a folder of the server")
        .map(|entry| below.join(entry.expect("an entry").file_name()))
        .filter(|name| !DROPPED.iter().any(|dropped| name == Path::new(dropped)))
        .collect();
    names.sort();
    for name in names {
        let folder = data.join(&name).is_dir();
        found.push(Entry { name: name.clone(), folder });
        if folder && !FOLDER_ONLY.iter().any(|only| name.ends_with(only)) {
            walk(data, &name, found);
        }
    }
}

fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, folder: bool, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    let path = if folder && name != "/" { format!("{name}/") } else { name.to_owned() };
    let bytes = path.as_bytes();
    let field = &mut header.as_old_mut().name;
    assert!(bytes.len() <= field.len(), "{path}: names of a data directory are short");
    field[..bytes.len()].copy_from_slice(bytes);
    header.set_entry_type(if folder { tar::EntryType::Directory } else { tar::EntryType::Regular });
    header.set_mode(if folder { 0o700 } else { 0o600 });
    header.set_mtime(1_795_202_240);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let into = tar.get_mut();
    into.extend_from_slice(header.as_bytes());
    into.extend_from_slice(content);
    into.resize(into.len().next_multiple_of(512), 0);
}

/// Some transactions whose sum tells how many of them were replayed; one is rolled back.
fn spend(server: &Server, round: u32) {
    for step in 1..=3u32 {
        server.ask(&format!("update accounts set balance = balance + {round} * {step} * id where id % 100 = {step}"));
    }
    let mut session = server.connect("postgres").expect("a session");
    session.batch_execute("begin; update accounts set balance = 0 where id = 1; rollback").expect("nothing happened");
}

fn prepare(server: &Server, name: &str) {
    let id = 5000 + name.len();
    server.ask(&format!("begin; insert into accounts values ({id}, 1); prepare transaction '{name}'"));
}

/// Ordinary records over some segments: rows that do not compress.
fn wide_rows(server: &Server, segment: usize) {
    let rows = if segment > 1 << 20 { 12_000 } else { 2_000 };
    server.ask(&format!(
        "insert into wide select i, (select string_agg(md5(i::text || j), '') from generate_series(1, 30) j) \
         from generate_series(1, {rows}) i"
    ));
}
