//! Storms that break before a request reaches the store: its name is gone, or what answers to it shows a certificate that
//! is not to be trusted. And archives whose every name is odd.
//!
//! In: PostgreSQL 13 and 18, segments of 1 MiB in Garage below a prefix full of quotes, percent signs and umlauts, with
//! neighbours that look like segments and are none; a resolver and a TLS front that change in the middle of the archive.
//! Out: what the servers did, by their logs and their rows: a point-in-time recovery stops with the cause named, or goes on,
//! and never opens with rows missing; a standby stays up and catches up. Never: asks the network that the test runs in;
//! passes where nobody was turned away.

use super::storms::{AHEAD, HURRIED, Stage, complaints, never_promoted, never_promoted_standby, segment_of};
use crate::support::archive;
use crate::support::clean;
use crate::support::garage::{BUCKET, Garage};
use crate::support::names::Names;
use crate::support::need::{self, Missing};
use crate::support::postgres::{Postgres, Server};
use crate::support::proxy::Fault;
use crate::support::recovery::{Kind, Source};
use crate::support::restore;
use crate::support::tls::{Front, Shown};
use crate::support::{Scratch, or_skip, require};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// All that a prefix may hold and a shell, a server's `%f`, a URL or a settings file would take for its own.
const ODD: &str = r#"odd ü+&='%2F %f%p%% 100% "$(id)" `id` \n;~!@()*[]{}|<>^,:ß-"#;

/// What is wrong on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The name of the store leads nowhere.
    NoName,
    /// What answers shows this.
    Shows(Shown),
}

/// Each, and what the server's log must say of it: the code, then the sentence.
const TROUBLES: [(Trouble, &str, &str); 7] = [
    (Trouble::NoName, "store.dns", "the name of the store cannot be resolved"),
    (Trouble::Shows(Shown::Expired), "store.tls", "the certificate expired on 2021-01-01T00:00:00Z"),
    (Trouble::Shows(Shown::OfAnotherAuthority), "store.tls", "the certificate's issuer is not trusted here"),
    (Trouble::Shows(Shown::OfAnotherHost), "store.tls", "the certificate is for elsewhere.invalid, not for localhost"),
    (Trouble::Shows(Shown::NotYet), "store.tls", "the certificate is not valid before 2119-01-01T00:00:00Z"),
    (Trouble::Shows(Shown::OfItsNamesake), "store.tls", "the certificate is signed by another key"),
    (Trouble::Shows(Shown::Nothing), "store.unreachable", "connection closed in the middle"),
];

/// How often a server's log names this cause.
fn named(server: &Server, code: &str, sentence: &str) -> usize {
    let log = server.log();
    log.lines().filter(|line| line.starts_with(&format!("error[{code}]: s3://")) && line.contains(sentence)).count()
}

/// A stage below an odd prefix among odd neighbours, and the way to it.
struct Road {
    stage: Stage,
    names: Arc<Names>,
    front: Arc<Front>,
    by_name: Source,
    by_tls: Source,
}

impl Road {
    fn new(major: u32, segments: usize) -> Result<Road, Missing> {
        let library = need::nss_wrapper()?;
        let stage = Stage::below(ODD, major, segments)?;
        let names = Arc::new(Names::new(library, &stage.scratch));
        let front = Arc::new(Front::before(stage.proxy.port(), &stage.scratch));
        let through = |endpoint: &str, more: Vec<(&'static str, String)>| {
            let environment = stage.garage.environment_at(endpoint).into_iter().chain(more).collect();
            Source { environment, ..stage.source.clone() }
        };
        let by_name = through(&format!("http://{}:{}", Names::name(), stage.proxy.port()), names.environment());
        let by_tls = through(&front.endpoint(), vec![("AWS_CA_BUNDLE", front.trusted())]);
        let (middle, last) = (stage.segment(segments / 2), stage.offline.segments.last().expect("some").0.clone());
        let other = stage.offline.archive.join(format!("wal_005/{}.lzo", stage.segment(0)));
        let other = std::fs::read(other).expect("a segment");
        for segment in [middle, after(&last), last] {
            neighbours(&stage.garage, &stage.prefix, &segment, &other);
        }
        Ok(Road { stage, names, front, by_name, by_tls })
    }

    /// By name where the name is the trouble, else by TLS.
    fn recover(&self, name: &str, kind: Kind, flags: &'static str, trouble: Trouble) -> Server {
        let source = if trouble == Trouble::NoName { &self.by_name } else { &self.by_tls };
        self.stage.recover_by(source, name, kind, flags)
    }

    /// From the first request for this segment or a later one on, the way is as said.
    fn arm(&self, trouble: Trouble, from: &str) -> Arc<AtomicBool> {
        let struck = Arc::new(AtomicBool::new(false));
        let (inside, from, names, front) = (struck.clone(), from.to_owned(), self.names.clone(), self.front.clone());
        self.stage.proxy.rule(move |request| {
            if segment_of(request).is_some_and(|name| name >= from.as_str()) && !inside.swap(true, Ordering::SeqCst) {
                turn(&names, &front, trouble);
            }
            Fault::None
        });
        struck
    }

    fn mend(&self) {
        self.stage.proxy.rule(|_| Fault::None);
        self.names.known(true);
        self.front.show(Shown::Good);
    }
}

fn turn(names: &Names, front: &Front, trouble: Trouble) {
    match trouble {
        Trouble::NoName => names.known(false),
        Trouble::Shows(shown) => front.show(shown),
    }
}

/// The segment behind this one. (The archives of these tests do not reach the end of a log file.)
fn after(segment: &str) -> String {
    let (file, number) = segment.split_at(16);
    format!("{file}{:08X}", u32::from_str_radix(number, 16).expect("a number") + 1)
}

/// Objects that look like a segment, and are none.
fn neighbours(garage: &Garage, prefix: &str, segment: &str, content: &[u8]) {
    let of_wal = [
        format!("{segment}.lzo.bak"),
        format!("{segment}.lzo.tmp"),
        format!("{segment}.lzo (1)"),
        format!("{segment}.lzo "),
        format!(" {segment}.lzo"),
        format!("{segment} .lzo"),
        format!("+{segment}.lzo"),
        format!("{segment}.lzo%2F"),
        format!("%2F{segment}.lzo"),
        format!("{segment}%2Elzo"),
        format!("{segment}.lzo\n"),
        format!("\n{segment}.lzo"),
        format!("\u{1}{segment}.lzo"),
        format!("{segment}\t.lzo\r\n"),
        format!("{segment}.lzo.lzo"),
        format!("{segment}.LZO"),
        format!("{segment}.lz\u{f6}"),
        format!("\u{e4}rger & s\u{f6}hne ='{segment}'.lzo"),
        format!("{segment}.lzo&amp;<x>\"'"),
        format!("/{segment}.lzo"),
        format!("sub/{segment}.lzo"),
        format!("{segment}.lzo/part"),
    ];
    let beside = ["wal_005.bak", "wal_005 ", "wal_0050", "/wal_005", "wal_005%2F"];
    let keys = of_wal.iter().map(|name| format!("{prefix}/wal_005/{name}"));
    let keys = keys.chain(beside.iter().map(|folder| format!("{prefix}/{folder}/{segment}.lzo")));
    keys.for_each(|key| garage.put(&key, content.to_vec()));
}

/// Stopped by each trouble in turn, in the same data directory, and named; it goes on when the way is well, with every row.
fn point_in_time(road: &Road) {
    let stage = &road.stage;
    for (flags, data, victim) in [(HURRIED, "data", stage.segment(4)), (AHEAD, "ahead", stage.segment(20))] {
        for (trouble, code, sentence) in TROUBLES {
            let (struck, before) = (road.arm(trouble, &victim), road.front.turned_away());
            let mut server = road.recover(data, Kind::PointInTime, flags, trouble);
            server.wait_for_end_or("promoted", |server| {
                server.try_ask("select pg_is_in_recovery()").is_ok_and(|answer| answer == "f")
            });
            let name = format!("{trouble:?} {flags}");
            assert!(server.ended().is_some_and(|status| !status.success()), "{name}: not stopped:\n{}", server.log());
            never_promoted(&server, &name);
            let log = server.log();
            assert!(
                struck.load(Ordering::SeqCst) && log.contains("restored log file"),
                "{name}: not in the middle:\n{log}"
            );
            assert!(named(&server, code, sentence) > 0, "{name}: without {sentence:?}:\n{log}");
            assert!(
                trouble == Trouble::NoName || road.front.turned_away() > before,
                "{name}: nobody turned away:\n{log}"
            );
            drop(server);
            road.mend();
            stage.wait_for_the_feeders_end(data);
        }
        for (data, trouble) in [(data, TROUBLES[0].0), ("again", TROUBLES[1].0)] {
            let mut server = road.recover(data, Kind::PointInTime, flags, trouble);
            server.wait_promoted();
            assert_eq!(server.ask(stage.offline.accounts), stage.offline.sum, "{data} {flags}");
            drop(server);
            std::fs::remove_dir_all(stage.scratch.join(data)).expect("room for the next");
        }
    }
    passing(road);
    gap(road);
}

/// A name that is gone for a while is waited for: recovery does not stop.
fn passing(road: &Road) {
    let stage = &road.stage;
    for flags in ["-p 0", "--spool-bytes 3M"] {
        road.arm(Trouble::NoName, &stage.segment(20));
        stage.proxy.forget();
        let mut server = road.recover("passing", Kind::PointInTime, flags, Trouble::NoName);
        let asked = || stage.proxy.requests().iter().filter(|request| segment_of(request).is_some()).count();
        // Nobody gets through, for longer than any pause between two tries at the beginning.
        let mut quiet = (0, 0);
        server.wait_for("cut off", |_| {
            let now = asked();
            quiet = if now == quiet.0 { (now, quiet.1 + 1) } else { (now, 0) };
            now > 0 && quiet.1 >= 40
        });
        assert!(!stage.is_all_there(&server), "{flags}: it hit nothing");
        never_promoted(&server, flags);
        assert_eq!(complaints(&server), 0, "{flags}: {}", server.log());
        road.mend();
        server.wait_promoted();
        assert_eq!(server.ask(stage.offline.accounts), stage.offline.sum, "{flags}");
        assert!(asked() > quiet.0, "{flags}: it needed nothing more");
        drop(server);
        std::fs::remove_dir_all(stage.scratch.join("passing")).expect("room for the next");
    }
}

/// A segment that is gone while all its neighbours are there: a gap, never a neighbour in its place.
fn gap(road: &Road) {
    let stage = &road.stage;
    let missing = stage.segment(stage.offline.segments.len() / 2);
    stage.garage.delete(&stage.key(&missing));
    for flags in ["-p 0", ""] {
        let mut server = stage.recover_by(&road.by_tls, "gap", Kind::PointInTime, flags);
        assert!(!server.wait_ended().success(), "{}", server.log());
        never_promoted(&server, "gap");
        assert!(server.log().contains("gap.segment") && server.log().contains(&missing), "{}", server.log());
        drop(server);
        stage.wait_for_the_feeders_end("gap");
    }
    stage.put_back(&missing);
    let mut server = stage.recover_by(&road.by_tls, "gap", Kind::PointInTime, "");
    server.wait_promoted();
    assert_eq!(server.ask(stage.offline.accounts), stage.offline.sum);
}

/// Those of the one way or of the other.
fn of_the_way(by_name: bool) -> impl Iterator<Item = (Trouble, &'static str, &'static str)> {
    TROUBLES.into_iter().filter(move |(trouble, ..)| (*trouble == Trouble::NoName) == by_name)
}

/// One standby through all of it, by name and then by TLS; in the middle of the archive, and at its end.
fn standby(road: &Road) {
    let stage = &road.stage;
    let mut place = 4;
    for (source, by_name) in [(&road.by_name, true), (&road.by_tls, false)] {
        let mut server = stage.recover_by(source, "standby", Kind::Standby, AHEAD);
        for (trouble, code, sentence) in of_the_way(by_name) {
            let name = format!("{trouble:?}");
            let (said, before) = (named(&server, code, sentence), road.front.turned_away());
            let struck = road.arm(trouble, &stage.segment(place));
            server.wait_for(&name, |server| named(server, code, sentence) > said);
            assert!(struck.load(Ordering::SeqCst), "{name}");
            assert!(by_name || road.front.turned_away() > before, "{name}: nobody turned away");
            assert!(!stage.is_all_there(&server), "{name}: there was nothing left to want");
            never_promoted_standby(&mut server, &name);
            let reached =
                stage.proxy.requests().iter().filter_map(|request| segment_of(request).map(str::to_owned)).max();
            road.mend();
            // The next one falls upon what was not asked for yet.
            let reached = reached.expect("some were asked for");
            place = stage.offline.segments.iter().position(|(name, _)| *name == reached).map_or(place, |at| at + 2);
        }
        if by_name {
            server.stop();
            continue;
        }
        server.wait_for("caught up", |server| stage.is_all_there(server));
    }
    // At the end of the archive, of which it must not lose sight.
    for (source, by_name) in [(&road.by_name, true), (&road.by_tls, false)] {
        let mut server = stage.recover_by(source, "standby", Kind::Standby, AHEAD);
        server.wait_for("caught up", |server| stage.is_all_there(server));
        for (trouble, code, sentence) in of_the_way(by_name) {
            let said = named(&server, code, sentence);
            turn(&road.names, &road.front, trouble);
            server.wait_for(sentence, |server| named(server, code, sentence) >= said + 2);
            never_promoted_standby(&mut server, sentence);
            road.mend();
        }
        assert!(stage.is_all_there(&server));
        server.stop();
    }
}

/// A whole archive below an odd prefix, restored by backup-fetch and recovered by the restore_command that it wrote.
fn restored(postgres: &Postgres, scratch: &Scratch, garage: &Garage, archive: &Path, query: &str, sum: &str) {
    let prefix = garage.prefix(ODD);
    let url = garage.upload(archive, &prefix);
    assert_eq!(url, format!("s3://{BUCKET}/{prefix}"));
    let backups = garage.list(&format!("{prefix}/basebackups_005/"));
    for sentinel in backups.iter().filter(|key| key.ends_with("_backup_stop_sentinel.json")) {
        for odd in [".bak", " ", "%2F", "\n", "\u{e4}"] {
            garage.put(&format!("{sentinel}{odd}"), b"{".to_vec());
        }
        garage.put(&sentinel.replace("basebackups_005/", "basebackups_005/z "), b"{".to_vec());
        garage.put(&sentinel.replace("basebackups_005/", "basebackups_005/\n"), b"{".to_vec());
    }
    let segments = garage.list(&format!("{prefix}/wal_005/"));
    let names = segments.iter().filter_map(|key| key.rsplit('/').next()?.strip_suffix(".lzo"));
    let mut names: Vec<&str> = names.filter(|name| name.len() == 24).collect();
    names.sort_unstable();
    for name in [names[names.len() / 2], names[names.len() - 1], &after(names[names.len() - 1])] {
        neighbours(garage, &prefix, name, b"not a segment");
    }
    let source = Source { prefix: url, environment: garage.environment(), flags: "" };
    let server = restore::recovered(scratch, postgres, &source, "odd", &["LATEST", "--recover"]);
    assert_eq!(server.ask(query), sum);
    let settings = std::fs::read_to_string(scratch.join("odd/postgresql.auto.conf")).expect("its settings");
    assert!(settings.contains("%%2F %%f%%p%%%% 100%% "), "{settings}");
}

#[test]
fn restored_from_an_odd_prefix_13() {
    let (postgres, garage) = (require!(postgres 13), require!(garage));
    let (archive, facts) = archive::bundled();
    restored(&postgres, &Scratch::new(), &garage, &archive, facts.accounts, facts.get("tli2_accounts_sum"));
}

#[test]
fn restored_from_an_odd_prefix_18() {
    let (postgres, garage, lzop) = (require!(postgres 18), require!(garage), require!(lzop));
    let scratch = Scratch::new();
    let made = clean::make_plain(&scratch, &postgres, &lzop);
    restored(&postgres, &scratch, &garage, &made.archive, clean::ACCOUNTS, &made.sum);
}

#[test]
fn point_in_time_13() {
    point_in_time(&or_skip!(Road::new(13, 60)));
}

#[test]
fn point_in_time_18() {
    point_in_time(&or_skip!(Road::new(18, 60)));
}

#[test]
fn standby_13() {
    standby(&or_skip!(Road::new(13, 120)));
}

#[test]
fn standby_18() {
    standby(&or_skip!(Road::new(18, 120)));
}
