//! Storms: one recovery after the other, or one standby, through everything that a store and the way to it do to a reader.
//!
//! In: PostgreSQL 13 and 18, segments of 1 MiB in Garage, a proxy whose answers a [`Storm`] spoils from the middle of the
//! archive on. Out: what the servers did, by their logs and their rows: a point-in-time recovery stops or goes on, and
//! never opens with rows missing; a standby stays up and catches up. Never: a fault that no network or store would make;
//! a storm that hit nothing.

use crate::support::archive::{self, Extent, Offline};
use crate::support::garage::Garage;
use crate::support::need::Missing;
use crate::support::postgres::{Postgres, Server};
use crate::support::proxy::{Fault, Proxy, Request};
use crate::support::recovery::{self, Kind, Source};
use crate::support::{Scratch, need, or_skip};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Segment by segment, so that a storm falls upon the very one that is asked for. A store that never answers is known
/// within the test's patience.
pub(super) const HURRIED: &str = "--deadline 1s -p 0";
/// With a feeder that looks a little ahead, so that a storm of the middle meets it there.
pub(super) const AHEAD: &str = "--deadline 1s --spool-bytes 3M";

/// What a storm falls upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upon {
    /// Every request from then on.
    Everything,
    /// The victim's own bytes.
    OneSegment,
    /// Listings, from then on.
    Listings,
}

/// What becomes of requests, one after the other; then all over again, or it is over.
#[derive(Debug, Clone)]
struct Storm {
    name: &'static str,
    upon: Upon,
    faults: Vec<Fault>,
    ever: bool,
}

impl Storm {
    fn ever(name: &'static str, upon: Upon, fault: Fault) -> Storm {
        Storm { name, upon, faults: vec![fault], ever: true }
    }

    fn passing(name: &'static str, upon: Upon, faults: &[Fault]) -> Storm {
        Storm { name, upon, faults: faults.to_vec(), ever: false }
    }
}

/// Those after which no reader can go on, or say that something is not there.
fn that_last() -> Vec<Storm> {
    use Upon::{Everything, OneSegment};
    let cut = Fault::CutAfter(20_000);
    let status = |name, upon, status, code| Storm::ever(name, upon, Fault::Status(status, code));
    vec![
        status("500", Everything, 500, "InternalError"),
        status("502", Everything, 502, "BadGateway"),
        status("503", Everything, 503, "SlowDown"),
        status("429", Everything, 429, "TooManyRequests"),
        status("408", Everything, 408, "RequestTimeout"),
        status("499", Everything, 499, "ClientClosedRequest"),
        status("a proxy's 404", Everything, 404, "NotFound"),
        status("the bucket is gone", Everything, 404, "NoSuchBucket"),
        status("moved to another region", Everything, 301, "PermanentRedirect"),
        status("expired", Everything, 400, "ExpiredToken"),
        status("wrong clock", Everything, 403, "RequestTimeTooSkewed"),
        status("refused", Everything, 403, "AccessDenied"),
        status("archived", OneSegment, 403, "InvalidObjectState"),
        status("listed and not there", OneSegment, 404, "NoSuchKey"),
        Storm::ever("hangup", Everything, Fault::Hangup),
        Storm::ever("silence", Everything, Fault::StallAfter(0)),
        Storm::ever("a page", OneSegment, Fault::Body(b"<html><body>Sign in to the network</body></html>".to_vec())),
        Storm::ever("empty", OneSegment, Fault::Body(Vec::new())),
        Storm::ever("short", OneSegment, Fault::ShortBy(1_000)),
        Storm::ever("no length, and short", OneSegment, Fault::NoLength(20_000)),
        Storm::ever("a bit", OneSegment, Fault::FlipAt(2_000)),
        Storm { ever: true, ..Storm::passing("replaced", OneSegment, &[cut, Fault::Header("etag", "\"another\"")]) },
    ]
}

/// Those that take the end of the archive out of sight.
fn of_listings() -> Vec<Storm> {
    let of = |name, fault| Storm::ever(name, Upon::Listings, fault);
    vec![
        of("no right to list", Fault::Status(403, "AccessDenied")),
        of("no listings now", Fault::Status(503, "SlowDown")),
        of("a listing cut short", Fault::ShortBy(40)),
        of("a page for a listing", Fault::Body(b"<html></html>".to_vec())),
    ]
}

/// Those that a reader weathers.
fn that_pass() -> Vec<Storm> {
    use Upon::{Everything, Listings, OneSegment};
    let cut = Fault::CutAfter(20_000);
    vec![
        Storm::passing("a burst of 503", Everything, &vec![Fault::Status(503, "SlowDown"); 4]),
        Storm::passing("a burst of 500", Everything, &vec![Fault::Status(500, "InternalError"); 4]),
        Storm::passing("a burst of hangups", Everything, &vec![Fault::Hangup; 4]),
        Storm::passing("one 429", OneSegment, &[Fault::Status(429, "TooManyRequests")]),
        Storm::passing("late", OneSegment, &[Fault::Late(1_500)]),
        Storm::passing("cut", OneSegment, std::slice::from_ref(&cut)),
        Storm::passing("the whole for a range", OneSegment, &[cut.clone(), Fault::Whole]),
        Storm::passing("another range", OneSegment, &[cut.clone(), Fault::Header("content-range", "bytes 0-9/10")]),
        Storm::passing("a listing that fails once", Listings, &[Fault::Status(503, "SlowDown")]),
        Storm::passing("silence in the middle", OneSegment, &[Fault::StallAfter(30_000)]),
        Storm::passing("repeated keys", Listings, &vec![Fault::Repeat; 1_000]),
    ]
}

/// A storm on its way: it begins with the first request for a segment at or behind a place.
struct Weather {
    storm: Storm,
    from: String,
    victim: Option<String>,
    hits: usize,
}

impl Weather {
    fn strike(&mut self, request: &Request) -> Fault {
        let segment = segment_of(request);
        if let Some(name) = segment.filter(|name| *name >= self.from.as_str() && self.victim.is_none()) {
            self.victim = Some(name.to_owned());
        }
        let Some(victim) = self.victim.as_deref() else { return Fault::None };
        let struck = match self.storm.upon {
            Upon::Everything => true,
            Upon::OneSegment => segment == Some(victim),
            Upon::Listings => request.target.contains("list-type=2"),
        };
        let count = self.storm.faults.len();
        match self.storm.faults.get(if self.storm.ever { self.hits % count } else { self.hits }) {
            Some(fault) if struck => {
                self.hits += 1;
                fault.clone()
            }
            _ => Fault::None,
        }
    }
}

/// The segment whose bytes a request asks for.
pub(super) fn segment_of(request: &Request) -> Option<&str> {
    let path = request.target.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next()?.strip_suffix(".lzo").filter(|name| name.len() == 24);
    name.filter(|_| request.method == "GET")
}

/// A cluster, its archive in Garage, and the proxy that recoveries go through.
pub(super) struct Stage {
    pub(super) scratch: Scratch,
    pub(super) postgres: Postgres,
    pub(super) garage: Arc<Garage>,
    pub(super) prefix: String,
    pub(super) proxy: Proxy,
    pub(super) offline: Offline,
    pub(super) source: Source,
}

impl Stage {
    fn new(major: u32, segments: usize) -> Result<Stage, Missing> {
        Stage::below("storm", major, segments)
    }

    /// Below a prefix of this name.
    pub(super) fn below(name: &str, major: u32, segments: usize) -> Result<Stage, Missing> {
        let (postgres, garage, lzop) = (need::postgres(major)?, need::garage()?, need::lzop()?);
        let scratch = Scratch::new();
        let offline = archive::make_offline_of(&scratch, &postgres, &lzop, Extent { segments, ..Extent::LARGE });
        let proxy = Proxy::before(garage.port());
        let prefix = garage.prefix(name);
        let url = garage.upload(&offline.archive, &prefix);
        let source = Source { prefix: url, environment: garage.environment_at(&proxy.endpoint()), flags: "" };
        Ok(Stage { scratch, postgres, garage, prefix, proxy, offline, source })
    }

    fn recover(&self, name: &str, kind: Kind, flags: &'static str) -> Server {
        self.recover_by(&self.source, name, kind, flags)
    }

    /// The same, over another way to the same archive.
    pub(super) fn recover_by(&self, source: &Source, name: &str, kind: Kind, flags: &'static str) -> Server {
        let data = self.scratch.join(name);
        if !data.exists() {
            recovery::copy(&self.scratch, &self.offline.base, name);
        }
        recovery::spawn(&self.scratch, &self.postgres, &data, kind, &Source { flags, ..source.clone() })
    }

    /// The name of a segment by its place, from 0 at the first to be replayed.
    pub(super) fn segment(&self, place: usize) -> String {
        self.offline.segments.get(place).expect("there are so many").0.clone()
    }

    fn arm(&self, storm: &Storm, from: &str) -> Arc<Mutex<Weather>> {
        let weather = Weather { storm: storm.clone(), from: from.into(), victim: None, hits: 0 };
        let weather = Arc::new(Mutex::new(weather));
        let inside = weather.clone();
        self.proxy.rule(move |request| inside.lock().unwrap_or_else(PoisonError::into_inner).strike(request));
        weather
    }

    pub(super) fn is_all_there(&self, server: &Server) -> bool {
        server.try_ask(self.offline.accounts).is_ok_and(|sum| sum == self.offline.sum)
    }

    pub(super) fn reaches_the_end(&self, name: &str, kind: Kind) {
        let mut server = self.recover(name, kind, "");
        server.wait_promoted();
        assert_eq!(server.ask(self.offline.accounts), self.offline.sum);
    }

    /// Whoever read ahead for the server in this data directory is gone.
    #[track_caller]
    pub(super) fn wait_for_the_feeders_end(&self, name: &str) {
        wait_for_the_feeders_end(&self.scratch, name);
    }

    /// The object of a segment.
    pub(super) fn key(&self, segment: &str) -> String {
        format!("{}/wal_005/{segment}.lzo", self.prefix)
    }

    pub(super) fn put_back(&self, segment: &str) {
        let file = self.offline.archive.join(format!("wal_005/{segment}.lzo"));
        self.garage.put(&self.key(segment), std::fs::read(file).expect("it is kept"));
    }
}

fn hits(weather: &Mutex<Weather>) -> usize {
    weather.lock().unwrap_or_else(PoisonError::into_inner).hits
}

/// Whoever read ahead for the server in this data directory is gone.
#[track_caller]
pub(super) fn wait_for_the_feeders_end(scratch: &Scratch, name: &str) {
    let (spool, began) = (scratch.join(name).join("pg_wal/.wal-r"), Instant::now());
    while spool.exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "{name}: the feeder stays");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn never_promoted(server: &Server, storm: &str) {
    let log = server.log();
    for words in ["selected new timeline", "archive recovery complete", "ready to accept connections"] {
        assert!(!log.contains(words), "{storm}: promoted:\n{log}");
    }
}

/// How often wal-r said that it could not deliver, and why.
pub(super) fn complaints(server: &Server) -> usize {
    server.log().matches("\nerror[").count()
}

/// Stopped by each storm in turn, in the same data directory; it goes on when the store is well, with every row.
fn point_in_time(stage: &Stage) {
    let victim = stage.segment(4);
    for storm in that_last().into_iter().chain(of_listings()) {
        let weather = stage.arm(&storm, &victim);
        let mut server = stage.recover("data", Kind::PointInTime, HURRIED);
        let status = server.wait_ended();
        let name = storm.name;
        assert!(!status.success(), "{name}: {status}");
        never_promoted(&server, name);
        assert!(hits(&weather) > 0, "{name} hit nothing:\n{}", server.log());
        assert!(complaints(&server) > 0, "{name}: no clear message:\n{}", server.log());
        assert!(server.log().contains("restored log file"), "{name}: it was meant for the middle:\n{}", server.log());
    }

    // Gone for good: a gap, and it is named. (Answered by a listing that shows what is behind it.)
    stage.proxy.rule(|_| Fault::None);
    let missing = stage.segment(6);
    stage.garage.delete(&stage.key(&missing));
    let mut server = stage.recover("second", Kind::PointInTime, "");
    assert!(!server.wait_ended().success());
    never_promoted(&server, "gap");
    assert!(server.log().contains("gap.segment") && server.log().contains(&missing), "{}", server.log());
    drop(server);
    stage.put_back(&missing);
    stage.reaches_the_end("data", Kind::PointInTime);

    // Those that pass, each at a place of its own, and a store that is down for a while: without stopping.
    let storms: Vec<_> = that_pass();
    let weathers: Vec<Mutex<Weather>> = (storms.iter().enumerate())
        .map(|(place, storm)| (storm.clone(), stage.segment(6 + 3 * place)))
        .map(|(storm, from)| Mutex::new(Weather { storm, from, victim: None, hits: 0 }))
        .collect();
    let weathers = Arc::new(weathers);
    let inside = weathers.clone();
    stage.proxy.rule(move |request| {
        let strike = |weather: &Mutex<Weather>| weather.lock().unwrap_or_else(PoisonError::into_inner).strike(request);
        inside.iter().map(strike).find(|fault| *fault != Fault::None).unwrap_or(Fault::None)
    });
    let down_at = stage.segment(6 + 3 * storms.len());
    stage.proxy.forget();
    let mut server = stage.recover("second", Kind::PointInTime, "");
    server.wait_for("in the middle", |_| {
        stage.proxy.requests().iter().any(|request| segment_of(request) >= Some(down_at.as_str()))
    });
    stage.proxy.listen(false);
    std::thread::sleep(Duration::from_secs(5));
    assert!(server.ended().is_none(), "{}", server.log());
    never_promoted(&server, "down");
    stage.proxy.listen(true);
    server.wait_promoted();
    assert_eq!(server.ask(stage.offline.accounts), stage.offline.sum);
    for weather in weathers.iter() {
        assert!(hits(weather) > 0, "{} hit nothing", weather.lock().expect("a storm").storm.name);
    }
    drop(server);

    quarters(stage);
}

/// The same storms upon a feeder: PostgreSQL may have what was fetched before, and then it stops; or the storm did not keep
/// anything from it, and it has every row.
fn point_in_time_ahead(stage: &Stage) {
    let (victim, mut stopped) = (stage.segment(20), 0);
    for storm in that_last().into_iter().chain(of_listings()) {
        let weather = stage.arm(&storm, &victim);
        let mut server = stage.recover("ahead", Kind::PointInTime, AHEAD);
        let name = storm.name;
        server.wait_for_end_or("promoted", |server| {
            server.try_ask("select pg_is_in_recovery()").is_ok_and(|answer| answer == "f")
        });
        assert!(hits(&weather) > 0, "{name} hit nothing:\n{}", server.log());
        assert!(server.log().contains("restored log file"), "{name}: it was meant for the middle:\n{}", server.log());
        if server.ended().is_some() {
            stopped += 1;
            never_promoted(&server, name);
            assert!(complaints(&server) > 0, "{name}: no clear message:\n{}", server.log());
        } else {
            assert_eq!(server.ask(stage.offline.accounts), stage.offline.sum, "{name}: fewer rows:\n{}", server.log());
        }
        drop(server);
        stage.proxy.rule(|_| Fault::None);
        // Its feeder would carry this storm's requests into the next one.
        stage.wait_for_the_feeders_end("ahead");
        std::fs::remove_dir_all(stage.scratch.join("ahead")).expect("room for the next");
    }
    assert!(stopped >= that_last().len(), "{stopped} stopped");
}

/// Every connection is reset, or ends in order, at some quarter of its body: each goes on where it broke.
fn quarters(stage: &Stage) {
    let sizes: BTreeMap<String, usize> = stage.offline.segments.iter().cloned().collect();
    let seen = Mutex::new(BTreeMap::new());
    stage.proxy.rule(move |request| {
        let Some(name) = segment_of(request).filter(|_| request.range.is_none()) else { return Fault::None };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let number = seen.len();
        if seen.insert(name.to_owned(), ()).is_some() {
            return Fault::None;
        }
        let at = sizes.get(name).map_or(0, |size| size * (number % 5) / 4);
        if number % 2 == 0 { Fault::ResetAfter(at) } else { Fault::CutAfter(at) }
    });
    stage.proxy.forget();
    stage.reaches_the_end("quarters", Kind::PointInTime);
    let resumed = stage.proxy.requests().iter().filter(|request| request.range.is_some()).count();
    assert!(resumed > 10, "{resumed} were resumed");
    stage.proxy.rule(|_| Fault::None);
}

/// One standby through all of it.
fn standby(stage: &Stage) {
    let mut server = stage.recover("standby", Kind::Standby, AHEAD);
    let mut place = 4;
    let outlives = |server: &mut Server, storm: &Storm, place: &mut usize| {
        let before = complaints(server);
        let weather = stage.arm(storm, &stage.segment(*place));
        let name = storm.name;
        server.wait_for(name, |server| hits(&weather) > 0 && complaints(server) > before);
        never_promoted_standby(server, name);
        stage.proxy.rule(|_| Fault::None);
        // The next one falls upon what was not asked for yet.
        let victim = weather.lock().unwrap_or_else(PoisonError::into_inner).victim.clone().expect("it hit");
        *place = stage.offline.segments.iter().position(|(name, _)| *name == victim).expect("a segment") + 2;
    };
    for storm in that_last() {
        outlives(&mut server, &storm, &mut place);
    }

    // Stopped and started. Late archiving: absent for a while, then there.
    server.stop();
    let missing = stage.segment(place + 4);
    stage.garage.delete(&stage.key(&missing));
    let mut server = stage.recover("standby", Kind::Standby, "");
    server.wait_for("at the gap", |server| server.log().matches(&missing).count() >= 2);
    never_promoted_standby(&mut server, "late");
    assert!(!stage.is_all_there(&server));
    stage.put_back(&missing);
    server.wait_for("caught up", |server| stage.is_all_there(server));

    // At the end of the archive, which it must not lose sight of.
    server.stop();
    let mut server = stage.recover("standby", Kind::Standby, AHEAD);
    server.wait_for("caught up", |server| stage.is_all_there(server));
    for storm in of_listings() {
        let before = complaints(&server);
        let weather = stage.arm(&storm, "");
        server.wait_for(storm.name, |server| hits(&weather) >= 2 && complaints(server) >= before + 2);
        never_promoted_standby(&mut server, storm.name);
    }
    stage.proxy.listen(false);
    let before = complaints(&server);
    server.wait_for("asking again", |server| complaints(server) >= before + 2);
    stage.proxy.listen(true);
    stage.proxy.rule(|_| Fault::None);
    assert!(stage.is_all_there(&server));
    never_promoted_standby(&mut server, "all");
}

#[track_caller]
pub(super) fn never_promoted_standby(server: &mut Server, storm: &str) {
    assert!(server.ended().is_none(), "{storm}: down:\n{}", server.log());
    let log = server.log();
    for words in ["selected new timeline", "archive recovery complete"] {
        assert!(!log.contains(words), "{storm}: promoted:\n{log}");
    }
}

#[test]
fn point_in_time_13() {
    point_in_time(&or_skip!(Stage::new(13, 80)));
}

#[test]
fn point_in_time_ahead_13() {
    point_in_time_ahead(&or_skip!(Stage::new(13, 40)));
}

#[test]
fn point_in_time_ahead_18() {
    point_in_time_ahead(&or_skip!(Stage::new(18, 40)));
}

#[test]
fn standby_ahead_13() {
    standby(&or_skip!(Stage::new(13, 240)));
}

#[test]
fn standby_ahead_18() {
    standby(&or_skip!(Stage::new(18, 240)));
}
