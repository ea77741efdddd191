//! Live servers and a store in trouble: a point-in-time recovery never promotes with rows missing, a standby never goes
//! down, and both reach the end once the store is well again.
//!
//! In: PostgreSQL 10, 13 and 18, Garage behind a proxy that spoils answers, wal-fetch as restore_command.
//! Out: what the servers did, by their logs and their rows. Never: a fault that no network or store would make.

use crate::support::archive::{self, Offline};
use crate::support::garage::Garage;
use crate::support::need::Missing;
use crate::support::postgres::{Postgres, Server};
use crate::support::proxy::{Fault, Proxy};
use crate::support::recovery::{self, Kind, Source};
use crate::support::{Scratch, need, or_skip, require};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// A cluster, its archive in Garage, and the proxy that recoveries go through.
struct Stage {
    scratch: Scratch,
    postgres: Postgres,
    _garage: Arc<Garage>,
    proxy: Proxy,
    offline: Offline,
    source: Source,
}

impl Stage {
    fn new(major: u32) -> Result<Stage, Missing> {
        let (postgres, garage, lzop) = (need::postgres(major)?, need::garage()?, need::lzop()?);
        let scratch = Scratch::new();
        let offline = archive::make_offline(&scratch, &postgres, &lzop);
        let proxy = Proxy::before(garage.port());
        let prefix = garage.upload(&offline.archive, &garage.prefix("live"));
        let source = Source { prefix, environment: garage.environment_at(&proxy.endpoint()), flags: "" };
        Ok(Stage { scratch, postgres, _garage: garage, proxy, offline, source })
    }

    /// The same archive for a store in trouble, segment by segment: one that never answers is known within the test's
    /// patience, and the trouble begins with the very segment that is asked for. (With a feeder: `storms`.)
    fn hurried(&self) -> Source {
        Source { flags: "--deadline 2s -p 0", ..self.source.clone() }
    }

    fn recover(&self, name: &str, kind: Kind, source: &Source) -> Server {
        let data = self.scratch.join(name);
        if !data.exists() {
            recovery::copy(&self.scratch, &self.offline.base, name);
        }
        recovery::spawn(&self.scratch, &self.postgres, &data, kind, source)
    }

    /// The segment in the middle of the archive that the faults are about.
    fn victim(&self) -> String {
        let mut names: Vec<String> = std::fs::read_dir(self.offline.archive.join("wal_005"))
            .expect("the archive")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name.len() == 28)
            .collect();
        names.sort();
        assert!(names.len() >= 4, "{names:?}");
        names.swap_remove(names.len() / 2)
    }
}

/// How a store is in trouble.
#[derive(Debug, Clone)]
enum Trouble {
    /// From the first request for the victim on, everything is answered so.
    FromThenOn(Fault),
    /// Only the victim's own bytes are spoiled.
    ItsBytes(Fault),
}

/// What the store does, and under which name.
fn troubles(major: u32) -> Vec<(&'static str, Trouble)> {
    let mut all = vec![
        ("503", Trouble::FromThenOn(Fault::Status(503, "SlowDown"))),
        ("403", Trouble::FromThenOn(Fault::Status(403, "AccessDenied"))),
        ("html", Trouble::ItsBytes(Fault::Body(b"<html><body>Sign in to the network</body></html>".to_vec()))),
        ("flip", Trouble::ItsBytes(Fault::FlipAt(2_000))),
    ];
    // What wal-r does is the same for every server; what servers do with its answers is not. So one has it all.
    if major == 13 {
        all.extend([
            ("500", Trouble::FromThenOn(Fault::Status(500, "InternalError"))),
            ("hangup", Trouble::FromThenOn(Fault::Hangup)),
            ("silence", Trouble::FromThenOn(Fault::StallAfter(0))),
            ("empty", Trouble::ItsBytes(Fault::Body(Vec::new()))),
            ("short", Trouble::ItsBytes(Fault::ShortBy(1_000))),
        ]);
    }
    all
}

impl Stage {
    fn spoil(&self, trouble: Trouble) {
        let victim = self.victim();
        match trouble {
            Trouble::FromThenOn(fault) => {
                let begun = AtomicBool::new(false);
                self.proxy.rule(move |request| {
                    if begun.fetch_or(request.target.contains(&victim), SeqCst) || request.target.contains(&victim) {
                        fault.clone()
                    } else {
                        Fault::None
                    }
                });
            }
            Trouble::ItsBytes(fault) => self.proxy.rule(move |request| {
                let path = request.target.split('?').next().unwrap_or_default();
                if request.method == "GET" && path.ends_with(&victim) { fault.clone() } else { Fault::None }
            }),
        }
    }
}

fn never_promoted(server: &Server, fault: &str) {
    let log = server.log();
    for words in ["selected new timeline", "archive recovery complete", "ready to accept connections"] {
        assert!(!log.contains(words), "{fault}: promoted:\n{log}");
    }
}

/// A recovery that would promote stops instead, and goes on to the end when the store is well.
fn point_in_time(stage: &Stage) {
    for (name, trouble) in troubles(stage.postgres.major) {
        stage.spoil(trouble);
        let mut server = stage.recover(name, Kind::PointInTime, &stage.hurried());
        let status = server.wait_ended();
        assert!(!status.success(), "{name}: {status}");
        never_promoted(&server, name);
        assert!(server.log().contains("restored log file"), "{name}: it was meant for the middle:\n{}", server.log());
        drop(server);

        stage.proxy.rule(|_| Fault::None);
        reaches_the_end(stage, name);
    }

    // Connections that break are no trouble at all: each goes on where the last one broke.
    stage.spoil(Trouble::ItsBytes(Fault::CutAfter(20_000)));
    reaches_the_end(stage, "cut");
    let victim = stage.victim();
    let resumed =
        stage.proxy.requests().iter().any(|request| request.target.contains(&victim) && request.range.is_some());
    assert!(resumed, "nothing was resumed");

    // Gone in the middle: nobody listens any more.
    stage.proxy.rule(|_| Fault::None);
    stage.proxy.forget();
    let mut server = stage.recover("gone", Kind::PointInTime, &stage.hurried());
    while server.ended().is_none() {
        if stage.proxy.requests().iter().any(|request| request.target.contains(&victim)) {
            stage.proxy.listen(false);
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!server.wait_ended().success());
    never_promoted(&server, "gone");
    stage.proxy.listen(true);
    drop(server);
    reaches_the_end(stage, "gone");
}

/// The recovery in the folder `name` promotes, with every row.
fn reaches_the_end(stage: &Stage, name: &str) {
    let mut server = stage.recover(name, Kind::PointInTime, &stage.source);
    server.wait_promoted();
    assert_eq!(server.ask(stage.offline.accounts), stage.offline.sum, "{name}");
    drop(server);
    std::fs::remove_dir_all(stage.scratch.join(name)).expect("room for the next");
}

/// A standby stays up through all of it and reaches the end when the store is well.
fn standby(stage: &Stage) {
    let victim = stage.victim();
    let caught_up = |server: &mut Server| {
        server.wait_for("caught up", |server| {
            server.try_ask(stage.offline.accounts).is_ok_and(|sum| sum == stage.offline.sum)
        });
        assert_eq!(server.ask("select pg_is_in_recovery()"), "t");
    };
    for (name, trouble) in troubles(stage.postgres.major) {
        stage.spoil(trouble);
        let mut server = stage.recover(name, Kind::Standby, &stage.hurried());
        // It must have met the trouble, and have asked again after it.
        server.wait_for("asking again", |server| complaints(server, &victim) >= 2);
        assert!(server.ended().is_none(), "{name}: down:\n{}", server.log());
        never_promoted(&server, name);

        stage.proxy.rule(|_| Fault::None);
        caught_up(&mut server);
        drop(server);
        std::fs::remove_dir_all(stage.scratch.join(name)).expect("room for the next");
    }

    // Nobody listens for a while.
    stage.proxy.listen(false);
    let mut server = stage.recover("gone", Kind::Standby, &stage.hurried());
    server.wait_for("asking again", |server| server.log().matches("store.unreachable").count() >= 2);
    assert!(server.ended().is_none(), "gone: down:\n{}", server.log());
    stage.proxy.listen(true);
    caught_up(&mut server);
}

/// How often wal-r said of this object that it could not be delivered.
fn complaints(server: &Server, object: &str) -> usize {
    let segment = object.trim_end_matches(".lzo");
    let codes = ["store.", "credentials.", "damaged."];
    server.log().lines().filter(|line| line.contains(segment) && codes.iter().any(|code| line.contains(code))).count()
}

#[test]
fn point_in_time_13() {
    point_in_time(&or_skip!(Stage::new(13)));
}

#[test]
fn point_in_time_18() {
    point_in_time(&or_skip!(Stage::new(18)));
}

#[test]
fn standby_13() {
    standby(&or_skip!(Stage::new(13)));
}

#[test]
fn standby_18() {
    standby(&or_skip!(Stage::new(18)));
}

/// Which recovery asks is seen from the data directory, on every version's own way of saying it: the same store that
/// cannot be reached stops a point-in-time recovery and leaves a standby up.
fn modes(major: u32) -> Result<(), Missing> {
    let (postgres, lzop) = (need::postgres(major)?, need::lzop()?);
    let scratch = Scratch::new();
    let offline = archive::make_offline(&scratch, &postgres, &lzop);
    let whole = Source::directory(&offline.archive);
    let nobody = Source {
        prefix: "s3://bucket/prefix".into(),
        environment: vec![
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", crate::support::free_port())),
            ("AWS_REGION", "garage".into()),
            ("AWS_ACCESS_KEY_ID", "key".into()),
            ("AWS_SECRET_ACCESS_KEY", "secret".into()),
        ],
        flags: "--deadline 1s",
    };
    let start = |name: &str, kind: Kind, source: &Source| {
        let data = recovery::copy(&scratch, &offline.base, name);
        recovery::spawn(&scratch, &postgres, &data, kind, source)
    };

    let mut server = start("nobody-pitr", Kind::PointInTime, &nobody);
    assert!(!server.wait_ended().success());
    never_promoted(&server, "nobody");
    assert!(server.log().contains("store.unreachable"), "the cause is named:\n{}", server.log());

    let mut server = start("nobody-standby", Kind::Standby, &nobody);
    server.wait_for("asking again", |server| server.log().matches("store.unreachable").count() >= 2);
    assert!(server.ended().is_none(), "{}", server.log());
    drop(server);

    // The end of the archive: one promotes there, the other waits.
    let mut server = start("whole-pitr", Kind::PointInTime, &whole);
    server.wait_promoted();
    assert_eq!(server.ask(offline.accounts), offline.sum);
    drop(server);
    let mut server = start("whole-standby", Kind::Standby, &whole);
    server.wait_for("caught up", |server| server.try_ask(offline.accounts).is_ok_and(|sum| sum == offline.sum));
    assert_eq!(server.ask("select pg_is_in_recovery()"), "t");
    drop(server);

    // A directory that is not there is no empty archive.
    let nowhere = Source::directory(&scratch.join("no-such-archive"));
    let mut server = start("nowhere-pitr", Kind::PointInTime, &nowhere);
    assert!(!server.wait_ended().success());
    never_promoted(&server, "nowhere");
    Ok(())
}

#[test]
fn modes_10() {
    or_skip!(modes(10));
}

#[test]
fn modes_13() {
    or_skip!(modes(13));
}

#[test]
fn modes_18() {
    or_skip!(modes(18));
}

/// A gap is not the end of the archive: recovery stops there, with the gap named.
#[test]
fn a_gap_stops_recovery() {
    let postgres = require!(postgres 13);
    let lzop = require!(lzop);
    let scratch = Scratch::new();
    let offline = archive::make_offline(&scratch, &postgres, &lzop);
    let mut names: Vec<_> = std::fs::read_dir(offline.archive.join("wal_005"))
        .expect("the archive")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.len() == 28))
        .collect();
    names.sort();
    let victim = &names[names.len() / 2];
    std::fs::rename(victim, scratch.join("kept")).expect("a segment goes");
    let source = Source::directory(&offline.archive);
    let data = recovery::copy(&scratch, &offline.base, "data");
    let mut server = recovery::spawn(&scratch, &postgres, &data, Kind::PointInTime, &source);
    assert!(!server.wait_ended().success());
    never_promoted(&server, "gap");
    assert!(server.log().contains("gap.segment"), "{}", server.log());
    drop(server);

    std::fs::rename(scratch.join("kept"), victim).expect("it comes back");
    let mut server = recovery::spawn(&scratch, &postgres, &data, Kind::PointInTime, &source);
    server.wait_promoted();
    assert_eq!(server.ask(offline.accounts), offline.sum);
}
