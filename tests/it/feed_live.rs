//! The feed under real recoveries: PostgreSQL does not wait, gets every row, and nothing is left when it is over.
//!
//! In: PostgreSQL 13, 15 and 18, hundreds of segments of 1 MiB, Garage behind a proxy that is some way off, feeders as
//! wal-fetch starts them. Out: rows, requests, status files, processes and folders. Never: asserts a time.
#![allow(clippy::print_stdout, reason = "figures for whoever runs it by hand")]

use crate::support::archive::{self, Extent, Offline};
use crate::support::feeder;
use crate::support::garage::Garage;
use crate::support::need::Missing;
use crate::support::pace::{Distance, Pace};
use crate::support::postgres::{Postgres, Server};
use crate::support::recovery::{self, Kind, Source};
use crate::support::{Scratch, need, or_skip, succeed};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A cluster, its archive in Garage, and a long way between.
struct Stage {
    scratch: Scratch,
    postgres: Postgres,
    _garage: Arc<Garage>,
    pace: Pace,
    offline: Offline,
    source: Source,
}

impl Stage {
    fn new(major: u32, extent: Extent) -> Result<Stage, Missing> {
        // With pg_amcheck, where it can be had.
        let postgres = need::whole_postgres(major).or_else(|_| need::postgres(major))?;
        let (garage, lzop) = (need::garage()?, need::lzop()?);
        let scratch = Scratch::new();
        let offline = archive::make_offline_of(&scratch, &postgres, &lzop, extent);
        let pace = Pace::before(garage.port(), Distance::of(50, 80));
        let prefix = garage.upload(&offline.archive, &garage.prefix("feed"));
        // The server runs restore_command in its data directory.
        let flags = "--status-file ../status.prom";
        let source = Source { prefix, environment: garage.environment_at(&pace.endpoint()), flags };
        Ok(Stage { scratch, postgres, _garage: garage, pace, offline, source })
    }

    fn recover(&self, name: &str, kind: Kind) -> (Server, PathBuf) {
        let data = self.scratch.join(name);
        if !data.exists() {
            recovery::copy(&self.scratch, &self.offline.base, name);
        }
        (recovery::spawn(&self.scratch, &self.postgres, &data, kind, &self.source), data)
    }

    /// What the feeder wrote of itself.
    fn metrics(&self) -> std::collections::BTreeMap<String, f64> {
        let text = std::fs::read_to_string(self.scratch.join("status.prom")).expect("a status file");
        feeder::metrics(&text)
    }
}

/// The segments that a server says it restored.
fn restored(server: &Server) -> BTreeSet<String> {
    let log = server.log();
    let names = log.split("restored log file \"").skip(1).filter_map(|rest| rest.get(..24).map(String::from));
    names.filter(|name| !name.contains('.')).collect()
}

/// Rows, indexes and heaps are what they were.
fn proven(scratch: &Scratch, postgres: &Postgres, server: &Server, offline: &Offline) {
    assert_eq!(server.ask(offline.accounts), offline.sum);
    server.ask("create extension amcheck");
    let indexes = "select count(*) from (select bt_index_check(c.oid, true) from pg_class c join pg_am a on a.oid = c.relam \
                   where a.amname = 'btree' and c.relkind = 'i' and c.relpersistence = 'p') checked";
    let count: u32 = server.ask(indexes).parse().expect("a number");
    assert!(count > 100, "{count} indexes");
    if postgres.major >= 14 {
        let heaps = "select c.relname, found.* from pg_class c, lateral verify_heapam(c.oid) found where c.relkind in ('r', 't')";
        assert_eq!(server.ask(heaps), "");
    }
    // The program is not in every package of the server.
    let program = postgres.program(scratch, "pg_amcheck");
    if program.is_file() {
        let mut command = scratch.command(program);
        command.args(["--all", "--heapallindexed", "--install-missing", "-U", "postgres"]);
        succeed(command.env("PGHOST", server.host()).env("PGPORT", server.port().to_string()));
    }
}

/// Hundreds of segments from a store that is 50 ms away and gives 80 MB a second on a connection.
fn far_away(stage: &Stage) {
    let (mut server, data) = stage.recover("data", Kind::PointInTime);
    let mut pid = None;
    server.wait_for("promoted", |server| {
        pid = feeder::status(&data).map(|status| status.pid).or(pid);
        server.try_ask("select pg_is_in_recovery()").is_ok_and(|answer| answer == "f")
    });
    proven(&stage.scratch, &stage.postgres, &server, &stage.offline);
    assert!(pid.is_some(), "no feeder ran:\n{}", server.log());
    feeder::wait_gone(&data, pid);

    let (segments, counts, metrics) = (restored(&server).len(), stage.pace.counts(), stage.metrics());
    let requests = counts.requests() as f64 / segments as f64;
    let of = |how: &str| metrics[&format!("segments_total{{how=\"{how}\"}}")];
    let (hits, waited) = (of("hit"), of("in_flight"));
    println!(
        "{segments} segments, {requests:.3} requests each ({} lists, {} others), {} connections, {} at once; hits {hits}, \
         waited for {waited}, missed {}, direct {}; {:.2} s of waiting, the longest {:.3} s",
        counts.lists,
        counts.others,
        counts.connections,
        counts.most_at_once,
        of("miss"),
        of("direct"),
        metrics["waiting_seconds_total"],
        metrics["longest_wait_seconds"],
    );
    assert!(segments >= 400, "{segments} segments");
    assert!(requests <= 1.05, "{requests} requests per segment: {counts:?}");
    assert_eq!(metrics["up"], 0.0, "{metrics:?}");
    // Once the window is warm PostgreSQL finds them ready; where replay is quicker than the store it waits for what is on
    // its way. Nearly none is one that nobody had begun to fetch.
    assert!(of("miss") + of("direct") <= 10.0, "{metrics:?}");
    assert!(hits >= 0.9 * segments as f64, "{metrics:?}");
}

#[test]
fn far_away_13() {
    far_away(&or_skip!(Stage::new(13, Extent { promotions: 2, ..Extent::LARGE })));
}

#[test]
fn far_away_15() {
    far_away(&or_skip!(Stage::new(15, Extent::LARGE)));
}

#[test]
fn far_away_18() {
    far_away(&or_skip!(Stage::new(18, Extent::LARGE)));
}

/// Stopped and started in mid recovery, in order and by crashes; the feeder killed all the while; every row at the end.
#[test]
fn stopped_and_killed_on_the_way() {
    let stage = or_skip!(Stage::new(18, Extent { segments: 200, ..Extent::LARGE }));
    for round in 0..4 {
        let (mut server, data) = stage.recover("data", Kind::PointInTime);
        server.wait_for("on its way", |server| restored(server).len() > 20);
        let pid = feeder::status(&data).map(|status| status.pid);
        if round == 3 {
            // What a killed one leaves is understood by the next.
            assert!(feeder::kill(&data));
            assert!(feeder::folder(&data).exists());
        }
        if round % 2 == 0 {
            server.stop()
        } else {
            server.crash()
        }
        if round < 3 {
            feeder::wait_gone(&data, pid);
        }
    }
    let (mut server, data) = stage.recover("data", Kind::PointInTime);
    let mut kills = 0;
    while !server.try_ask("select pg_is_in_recovery()").is_ok_and(|answer| answer == "f") {
        kills += u32::from(feeder::kill(&data));
        assert!(server.ended().is_none(), "{}", server.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(kills > 3, "{kills} kills");
    proven(&stage.scratch, &stage.postgres, &server, &stage.offline);
}

/// Promoted by hand while the feeder runs: it goes, and the server works on over an empty place.
#[test]
fn promoted_while_it_runs() {
    let stage = or_skip!(Stage::new(13, Extent { segments: 100, ..Extent::LARGE }));
    let (mut server, data) = stage.recover("data", Kind::Standby);
    server.wait_for("on its way", |server| restored(server).len() > 10 && feeder::status(&data).is_some());
    let pid = feeder::status(&data).map(|status| status.pid);
    let pg_ctl = stage.postgres.program(&stage.scratch, "pg_ctl");
    succeed(stage.scratch.command(pg_ctl).args(["promote", "-W", "-D"]).arg(&data));
    server.wait_promoted();
    feeder::wait_gone(&data, pid);
    proven(&stage.scratch, &stage.postgres, &server, &stage.offline);
    archive::work(&server, 5);
    assert!(!feeder::folder(&data).exists());
}

/// A standby at the end of timeline 1; elsewhere timeline 2 begins and is archived; the feeder follows.
fn follows_a_switch(major: u32) -> Result<(), Missing> {
    let (postgres, lzop) = (need::postgres(major)?, need::lzop()?);
    let scratch = Scratch::new();
    let offline = archive::make_offline_of(&scratch, &postgres, &lzop, Extent { segments: 60, ..Extent::LARGE });
    let source = Source::directory(&offline.archive);
    let data = recovery::copy(&scratch, &offline.base, "standby");
    let mut standby = recovery::spawn(&scratch, &postgres, &data, Kind::Standby, &source);
    let is_at = |server: &Server, sum: &str| server.try_ask(offline.accounts).is_ok_and(|found| found == sum);
    standby.wait_for("at the end of timeline 1", |standby| is_at(standby, &offline.sum));
    let before = feeder::status(&data).expect("a feeder");

    // What the new primary writes appears all at once, as behind a connection that was down.
    let (stored, aside) = (offline.archive.join("wal_005"), scratch.dir("aside"));
    let push = format!("archive_command='{}' -c %p >'{a}/%f.lzo'", lzop.display(), a = aside.display());
    let fetch = format!("'{}' -dc '{}/%f.lzo' >%p", lzop.display(), stored.display());
    let recovering = recovery::configure_with(&postgres, &offline.primary, Kind::PointInTime, &fetch);
    let mut settings: Vec<&str> = offline.settings.iter().map(String::as_str).collect();
    settings.retain(|setting| !setting.starts_with("archive_command"));
    settings.push(&push);
    settings.extend(recovering.iter().map(String::as_str));
    let mut other = postgres.start(&scratch, &offline.primary, &settings, &[]);
    other.wait_promoted();
    archive::work(&other, 40);
    let sum = other.ask(offline.accounts);
    other.stop();
    let mut names: Vec<_> =
        std::fs::read_dir(&aside).expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
    // The history last: with it the standby turns.
    names.sort_by_key(|name| name.to_string_lossy().contains("history"));
    for name in &names {
        std::fs::rename(aside.join(name), stored.join(name)).expect("it is archived");
    }

    standby.wait_for("on timeline 2", |standby| is_at(standby, &sum));
    assert_eq!(standby.ask("select pg_is_in_recovery()"), "t");
    let after = feeder::status(&data).expect("a feeder");
    assert_eq!(after.pid, before.pid, "the same feeder went on");
    let ahead = |status: &wal_r::feed::status::Status| status.hits + status.in_flight;
    assert!(ahead(&after) >= ahead(&before) + 35, "{before:?}\n{after:?}");
    standby.stop();
    feeder::wait_gone(&data, Some(after.pid));
    Ok(())
}

#[test]
fn follows_a_switch_13() {
    or_skip!(follows_a_switch(13));
}

#[test]
fn follows_a_switch_18() {
    or_skip!(follows_a_switch(18));
}

/// Two servers of two clusters, whose segments have the same names, share a host and a prefetch directory.
#[test]
fn two_servers_share_a_prefetch_directory() {
    let shared = Scratch::new();
    let prefetch = shared.dir("prefetch");
    let mut servers = Vec::new();
    for major in [13, 18] {
        let (postgres, lzop) = (or_skip!(need::postgres(major)), or_skip!(need::lzop()));
        let scratch = Scratch::new();
        let extent = Extent { segments: 80, ..Extent::LARGE };
        let offline = archive::make_offline_of(&scratch, &postgres, &lzop, extent);
        let mut source = Source::directory(&offline.archive);
        source.environment.push(("WALG_PREFETCH_DIR", prefetch.display().to_string()));
        servers.push((scratch, postgres, offline, source));
    }
    let start = |(scratch, postgres, offline, source): &(Scratch, Postgres, Offline, Source)| {
        let data = recovery::copy(scratch, &offline.base, "data");
        (recovery::spawn(scratch, postgres, &data, Kind::PointInTime, source), data)
    };
    let mut started: Vec<_> = servers.iter().map(start).collect();
    let mut used = false;
    for ((server, data), (scratch, postgres, offline, _)) in started.iter_mut().zip(&servers) {
        server.wait_for("promoted", |server| {
            used |= prefetch.join(".wal-r").exists();
            server.try_ask("select pg_is_in_recovery()").is_ok_and(|answer| answer == "f")
        });
        proven(scratch, postgres, server, offline);
        feeder::wait_gone(data, None);
    }
    assert!(used, "the directory was not used");
    let left: Vec<PathBuf> = files_below(&prefetch);
    assert!(left.is_empty(), "{left:?}");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
            if entry.path().is_dir() { open.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files
}
