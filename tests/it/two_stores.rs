//! An archive in two stores, as WAL-G leaves it that archives into the second while the first is away.
//!
//! In: PostgreSQL 13 and 18, segments of 1 MiB in two prefixes of Garage, a proxy before each; the second one named by
//! `WALG_FAILOVER_STORAGES`. Out: what recoveries make of it when one is away, lacks what the other has, or has something
//! else under its name. Never: a server that opens with rows missing because one of the two could not be asked.

use super::storms::{complaints, never_promoted, never_promoted_standby, segment_of, wait_for_the_feeders_end};
use crate::support::archive::{self, Extent, Offline};
use crate::support::garage::Garage;
use crate::support::need::Missing;
use crate::support::postgres::{Postgres, Server};
use crate::support::proxy::{Fault, Proxy};
use crate::support::recovery::{self, Kind, Source};
use crate::support::scratch::give;
use crate::support::{Scratch, need, or_skip};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SEGMENTS: usize = 60;
/// A verdict soon, and a feeder that looks a little ahead.
const FLAGS: &str = "--deadline 3s --spool-bytes 3M";

/// One of the two.
struct Store {
    prefix: String,
    proxy: Proxy,
}

/// A cluster, its archive twice, and the settings file that names both.
struct Stage {
    scratch: Scratch,
    postgres: Postgres,
    garage: Arc<Garage>,
    offline: Offline,
    first: Store,
    second: Store,
    source: Source,
}

impl Stage {
    fn new(major: u32) -> Result<Stage, Missing> {
        let (postgres, garage, lzop) = (need::postgres(major)?, need::garage()?, need::lzop()?);
        let scratch = Scratch::new();
        let extent = Extent { segments: SEGMENTS, ..Extent::LARGE };
        let offline = archive::make_offline_of(&scratch, &postgres, &lzop, extent);
        let store = |name| {
            let prefix = garage.prefix(name);
            garage.upload(&offline.archive, &prefix);
            Store { prefix, proxy: Proxy::before(garage.port()) }
        };
        let (first, second) = (store("first"), store("second"));
        let settings = format!(
            "WALG_FAILOVER_STORAGES:\n  Second:\n    WALG_S3_PREFIX: {}\n    AWS_ENDPOINT: {}\n",
            second.url(),
            second.proxy.endpoint()
        );
        let file = scratch.join("walg.yaml");
        std::fs::write(&file, settings).expect("a settings file");
        give(&file);
        let mut environment = garage.environment_at(&first.proxy.endpoint());
        environment.push(("WALG_CONFIG_PATH", file.display().to_string()));
        let source = Source { prefix: first.url(), environment, flags: FLAGS };
        Ok(Stage { scratch, postgres, garage, offline, first, second, source })
    }

    fn recover(&self, name: &str, kind: Kind) -> Server {
        self.recover_from(name, kind, &self.source)
    }

    fn recover_from(&self, name: &str, kind: Kind, source: &Source) -> Server {
        let data = self.scratch.join(name);
        if !data.exists() {
            recovery::copy(&self.scratch, &self.offline.base, name);
        }
        recovery::spawn(&self.scratch, &self.postgres, &data, kind, source)
    }

    /// By its place, from 0 at the first to be replayed.
    fn segment(&self, place: usize) -> &str {
        &self.offline.segments.get(place).expect("there are so many").0
    }

    fn stored(&self, place: usize) -> Vec<u8> {
        std::fs::read(self.kept(place)).expect("it is kept")
    }

    fn kept(&self, place: usize) -> PathBuf {
        self.offline.archive.join(format!("wal_005/{}.lzo", self.segment(place)))
    }

    fn key(&self, store: &Store, place: usize) -> String {
        format!("{}/wal_005/{}.lzo", store.prefix, self.segment(place))
    }

    fn delete(&self, store: &Store, places: impl IntoIterator<Item = usize>) {
        places.into_iter().for_each(|place| self.garage.delete(&self.key(store, place)));
    }

    fn put(&self, store: &Store, place: usize, bytes: Vec<u8>) {
        self.garage.put(&self.key(store, place), bytes);
    }

    fn put_back(&self, store: &Store, places: impl IntoIterator<Item = usize>) {
        places.into_iter().for_each(|place| self.put(store, place, self.stored(place)));
    }

    /// Everything that is asked of the store goes wrong once the first one was asked for this segment or a later one.
    fn arm(&self, store: &Store, place: usize, fault: &Fault) {
        let (from, begun) = (self.segment(place).to_owned(), Arc::new(AtomicBool::new(false)));
        let inside = begun.clone();
        self.first.proxy.rule(move |request| {
            if segment_of(request).is_some_and(|name| name >= from.as_str()) {
                inside.store(true, Ordering::SeqCst);
            }
            Fault::None
        });
        let (fault, from) = (fault.clone(), self.segment(place).to_owned());
        store.proxy.rule(move |request| {
            // It may be the first one itself.
            if segment_of(request).is_some_and(|name| name >= from.as_str()) {
                begun.store(true, Ordering::SeqCst);
            }
            if begun.load(Ordering::SeqCst) { fault.clone() } else { Fault::None }
        });
    }

    /// A point-in-time recovery ends with every row.
    fn recovers(&self, name: &str) -> String {
        self.recovers_from(name, &self.source)
    }

    fn recovers_from(&self, name: &str, source: &Source) -> String {
        let mut server = self.recover_from(name, Kind::PointInTime, source);
        server.wait_promoted();
        assert_eq!(server.ask(self.offline.accounts), self.offline.sum, "{name}: rows are missing:\n{}", server.log());
        server.log()
    }

    /// A point-in-time recovery stops and says this.
    fn stops(&self, name: &str, says: &[&str]) -> String {
        let mut server = self.recover(name, Kind::PointInTime);
        let status = server.wait_ended();
        let log = server.log();
        assert!(!status.success(), "{name}: {status}");
        never_promoted(&server, name);
        assert!(log.contains("restored log file"), "{name}: it was meant for the middle:\n{log}");
        for words in says {
            assert!(log.contains(words), "{name}: it does not say {words:?}:\n{log}");
        }
        // Its feeder would carry what it knows into the next recovery of this directory.
        wait_for_the_feeders_end(&self.scratch, name);
        log
    }

    fn is_all_there(&self, server: &Server) -> bool {
        server.try_ask(self.offline.accounts).is_ok_and(|sum| sum == self.offline.sum)
    }
}

impl Store {
    fn url(&self) -> String {
        format!("s3://{}/{}", crate::support::garage::BUCKET, self.prefix)
    }

    fn asked_for(&self, segment: &str) -> usize {
        self.proxy.requests().iter().filter(|request| segment_of(request) == Some(segment)).count()
    }
}

fn point_in_time(stage: &Stage) {
    let (first, second) = (&stage.first, &stage.second);

    // Away, from the middle on and for ever: the other one has it all, to the last one. Only that this is the end it
    // cannot say alone, unless somebody says that the first is lost.
    let last = &stage.offline.segments.last().expect("a segment").0;
    let replayed = format!("restored log file \"{last}\"");
    let taken = format!("was taken from {}/", second.url());
    let mut only_the_second = stage.source.clone();
    only_the_second.environment.push(("WALG_TARGET_STORAGE", "second".into()));
    let faults = [
        (Fault::Hangup, "error[store.unreachable]"),
        (Fault::StallAfter(0), "error[store.timeout]"),
        (Fault::Status(403, "AccessDenied"), "error[credentials.refused]"),
    ];
    for (number, (fault, error)) in faults.into_iter().enumerate() {
        let name = format!("away-{number}");
        stage.arm(first, 20, &fault);
        let absent = format!("also: {}/ does not have it", second.url());
        stage.stops(&name, &[&taken, &replayed, error, &absent, "WALG_TARGET_STORAGE"]);
        if number == 0 {
            stage.recovers_from(&name, &only_the_second);
        } else {
            first.proxy.rule(|_| Fault::None);
            stage.recovers(&name);
        }
    }

    // Other bytes under one name: the half, another segment, a page, one flipped bit.
    let mut flipped = stage.stored(32);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    let half = stage.stored(20);
    stage.put(first, 20, half[..half.len() / 2].to_vec());
    stage.put(first, 24, stage.stored(25));
    stage.put(first, 28, b"<html><body>Sign in to the network</body></html>".to_vec());
    stage.put(first, 32, flipped);
    let log = stage.recovers("other-bytes");
    for place in [20, 24, 28, 32] {
        assert!(log.contains(&format!("; {} was taken from", stage.segment(place))), "{place}:\n{log}");
    }

    // Apart: each has what the other one lacks. Who has what a listing shows; it is asked for once.
    stage.put_back(first, [20, 24, 28, 32]);
    stage.delete(first, 20..35);
    stage.delete(second, (0..20).chain(35..SEGMENTS));
    first.proxy.forget();
    second.proxy.forget();
    stage.recovers("apart");
    let spent: usize = (22..35).map(|place| first.asked_for(stage.segment(place))).sum();
    assert!(spent <= 3, "{spent} requests for what only the other one has");
    assert!((22..35).all(|place| second.asked_for(stage.segment(place)) == 1));

    // The first one ends here, and the second is away: it may have more. Nobody may open a server now.
    stage.delete(first, 35..SEGMENTS);
    stage.put_back(first, 20..35);
    let (wanted, there) = (format!("also: {}/ does not have it", first.url()), format!("{}/wal_005/", second.url()));
    stage.arm(second, 20, &Fault::Hangup);
    stage.stops("ends", &["error[store.unreachable]", &wanted, &there, "WALG_TARGET_STORAGE"]);
    // With more behind it, it is no end either; and the error is still that one could not be asked.
    stage.put_back(first, 40..SEGMENTS);
    stage.arm(second, 20, &Fault::Hangup);
    stage.stops("ends", &["error[store.unreachable]", &wanted]);
    // In neither of them: a gap, by what the first one shows.
    second.proxy.rule(|_| Fault::None);
    stage.stops("ends", &["error[gap.segment]", stage.segment(35)]);
    // It is in the second: all is well.
    stage.put_back(second, 35..40);
    stage.recovers("ends");
}

fn standby(stage: &Stage) {
    let (first, second) = (&stage.first, &stage.second);

    // The first one goes, and the second has not all of it.
    stage.delete(second, 40..SEGMENTS);
    stage.arm(first, 20, &Fault::Hangup);
    let mut server = stage.recover("standby", Kind::Standby);
    server.wait_for("at the end of the second", |server| {
        complaints(server) >= 2 && second.asked_for(stage.segment(39)) > 0
    });
    assert!(!stage.is_all_there(&server));
    never_promoted_standby(&mut server, "standby");
    let log = server.log();
    assert!(log.contains(&format!("{}/ does not have it", second.url())), "{log}");

    // It comes back, and the second goes: nothing is missing, and the end cannot be seen.
    first.proxy.rule(|_| Fault::None);
    second.proxy.listen(false);
    server.wait_for("caught up", |server| stage.is_all_there(server));
    let before = complaints(&server);
    server.wait_for("asking again", |server| complaints(server) >= before + 2);
    never_promoted_standby(&mut server, "standby");

    // Both are there: an ordinary end, told calmly, and what arrives in either is replayed.
    second.proxy.listen(true);
    let ordinary = "were asked)";
    let before = server.log().matches(ordinary).count();
    server.wait_for("an ordinary end", |server| server.log().matches(ordinary).count() >= before + 2);
    never_promoted_standby(&mut server, "standby");
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
