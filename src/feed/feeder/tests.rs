//! The feeder on forged and on real WAL, asked as a server asks.

use super::*;
use crate::layout::Compression;
use crate::pg::control::ControlFile;
use crate::pg::{SegmentNo, TimelineId};
use crate::storage::Store;
use crate::storage::memory::MemoryStore;
use crate::storage::retry::RetryPolicy;
use crate::testing::faulty::{Call, FaultPlan, FaultyStore};
use crate::testing::forge::{Shape, Wal};
use crate::testing::lzop::lzop;
use std::fs;

const MIB: u64 = 1 << 20;

fn control() -> ControlFile {
    let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/wal_prefix/pg_control")).unwrap();
    ControlFile::parse(&bytes).unwrap()
}

/// So many segments of 1 MiB of the cluster of the bundled pg_control, records across every border.
fn forged(count: usize) -> Vec<(SegmentName, Vec<u8>)> {
    let shape = Shape { system: control().system, size: SegmentSize::new(MIB).unwrap(), ..Shape::default() };
    let mut wal = Wal::new(shape, TimelineId::FIRST, SegmentNo(5));
    for number in 0..count * 17 {
        wal.record(10, 0, 7, &vec![number as u8; 61_000]);
    }
    wal.commit(8, 2);
    wal.switch();
    let mut segments = wal.segments();
    segments.truncate(count);
    segments
}

fn put(store: &MemoryStore, name: &SegmentName, plain: &[u8]) {
    store.insert(&format!("wal_005/{name}.lzo"), lzop(plain));
}

/// A data directory in recovery, and a feeder for it.
struct Case {
    directory: tempfile::TempDir,
    store: FaultyStore,
    counters: Arc<Counters>,
    feeder: Feeder,
    running: tokio::task::JoinHandle<()>,
}

impl Case {
    async fn new(store: &MemoryStore, sign: &str, first: &str) -> Case {
        Case::with(store, sign, first, |_| ()).await
    }

    async fn with(store: &MemoryStore, sign: &str, first: &str, change: impl FnOnce(&mut Settings)) -> Case {
        let directory = tempfile::tempdir().unwrap();
        for folder in ["global", "pg_wal"] {
            fs::create_dir(directory.path().join(folder)).unwrap();
        }
        let control = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/wal_prefix/pg_control");
        fs::copy(control, directory.path().join("global/pg_control")).unwrap();
        fs::write(directory.path().join("PG_VERSION"), "13\n").unwrap();
        fs::write(directory.path().join(sign), "").unwrap();
        let store = FaultyStore::new(Arc::new(store.clone()), FaultPlan::none());
        let counters = Arc::new(Counters::default());
        let policy = RetryPolicy { attempts: 3, ..RetryPolicy::default() };
        let destination = directory.path().join("pg_wal/RECOVERYXLOG");
        let mut settings = Settings {
            stores: Stores::new(Arc::new(store.clone()), Vec::new(), &policy, &counters),
            meeting: Meeting::beside(&destination).unwrap(),
            elsewhere: None,
            directory: directory.path().to_owned(),
            destination,
            forced: None,
            check: Level::Records,
            on_gap: None,
            likely: Form::of_suffix(Compression::Lzo),
            spool_bytes: None,
            parallel: 4,
            digest: "ab".to_owned(),
            deadline: Duration::from_secs(60),
            status_file: None,
            beside_server: false,
            idle: Settings::IDLE,
        };
        change(&mut settings);
        let (feeder, running) = start(settings, &first.parse().unwrap()).unwrap().expect("nobody else has it");
        Case { directory, store, counters, feeder, running }
    }

    fn spool(&self) -> PathBuf {
        self.directory.path().join("pg_wal/.wal-r")
    }

    async fn ask(&self, file: &str) -> Reply {
        self.feeder.get(file.parse().unwrap(), "ab".to_owned()).await
    }

    /// Asked for, taken away as a wal-fetch does; what it was.
    async fn take(&self, file: &str) -> Vec<u8> {
        let reply = self.ask(file).await;
        let What::Take(path) = &reply.what else { panic!("{file}: {reply:?}") };
        let path = self.spool().join(path);
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        content
    }

    async fn status(&self) -> Status {
        self.feeder.tell(Question::Status).await.unwrap()
    }

    /// Until the spool is as wanted; what lies ready there.
    async fn wait_for(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        for _ in 0..2_000 {
            let status = self.status().await;
            if holds(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never {what}: {:?}", self.status().await);
    }

    async fn stop(self) {
        self.feeder.stop().await;
        self.running.await.unwrap();
        assert!(!self.directory.path().join("pg_wal/.wal-r").exists(), "nothing is left");
    }
}

fn names(segments: &[(SegmentName, Vec<u8>)]) -> Vec<String> {
    segments.iter().map(|(name, _)| name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_gets_every_segment_with_one_request_each() {
    let (store, segments) = (MemoryStore::new(), forged(60));
    segments.iter().for_each(|(name, plain)| put(&store, name, plain));
    let case = Case::new(&store, "recovery.signal", "00000002.history").await;
    assert!(matches!(case.ask("00000002.history").await.what, What::Absent));
    let before = case.counters.requests();
    for (name, plain) in &segments {
        assert!(case.take(&name.to_string()).await == *plain, "{name}");
    }
    let status = case.status().await;
    assert_eq!((status.segments(), status.direct, status.refused), (60, 0, 0), "{status:?}");
    assert!(status.troubles.is_empty(), "{status:?}");
    let requests = case.counters.requests() - before;
    assert!(requests <= 63, "{requests} requests for 60 segments: {:?}", case.store.calls());
    case.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_only_what_lies_ready_gets_it_or_nothing() {
    let (store, segments) = (MemoryStore::new(), forged(8));
    segments.iter().for_each(|(name, plain)| put(&store, name, plain));
    let all = names(&segments);
    let case = Case::new(&store, "recovery.signal", "00000002.history").await;
    let ready = async |file: &str| case.feeder.ready(file.parse().unwrap(), "ab".to_owned()).await;
    // Nothing is there: that is the answer, and no request comes of it.
    for file in [&*all[0], "00000002.history", "000000010000000000000FFF"] {
        assert!(matches!(ready(file).await.what, What::Yourself(_)), "{file}");
    }
    assert_eq!((case.counters.requests(), case.status().await.segments()), (0, 0));
    case.take(&all[0]).await;
    for (name, plain) in &segments[1..] {
        case.wait_for("ahead", |status| status.ready >= 1 && status.fetching == 0).await;
        // It lies there, and may still be joined to the one before it.
        let mut reply = ready(&name.to_string()).await;
        let began = Instant::now();
        while matches!(reply.what, What::Yourself(_)) && began.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            reply = ready(&name.to_string()).await;
        }
        let What::Take(path) = &reply.what else { panic!("{name}: {reply:?}") };
        assert!(fs::read(case.spool().join(path)).unwrap() == *plain, "{name}");
        assert_eq!((reply.notes.len(), reply.warnings.len()), (0, 0));
        fs::remove_file(case.spool().join(path)).unwrap();
        // Taken, it is not ready any more.
        assert!(matches!(ready(&name.to_string()).await.what, What::Yourself(_)), "{name}");
    }
    let status = case.status().await;
    assert_eq!((status.hits, status.misses), (7, 1), "{status:?}");
    case.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_before_it_listened_is_counted_once() {
    let (store, segments) = (MemoryStore::new(), forged(8));
    segments.iter().for_each(|(name, plain)| put(&store, name, plain));
    let all = names(&segments);
    let got = |name: &str| Question::Got {
        file: name.parse().unwrap(),
        settings: "ab".to_owned(),
        microseconds: 1000,
        carry: None,
    };
    // What is told before the first question, what is asked for then, and how many came without the feeder by then.
    for (told, asked, direct) in [
        (vec![], 1, 1),
        (vec![], 2, 2),
        (vec![0], 1, 1),
        (vec![0, 1], 2, 2),
        (vec![1], 2, 2),
        // It was not delivered, or recovery begins somewhere else.
        (vec![], 0, 0),
        (vec![], 7, 0),
    ] {
        let case = Case::new(&store, "recovery.signal", &all[0]).await;
        for at in &told {
            case.feeder.tell(got(&all[*at])).await;
        }
        case.take(&all[asked]).await;
        let status = case.status().await;
        assert_eq!((status.direct, status.segments()), (direct, direct + 1), "{told:?}, {asked}: {status:?}");
        case.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_looks_ahead_within_its_bytes() {
    let (store, segments) = (MemoryStore::new(), forged(30));
    segments.iter().for_each(|(name, plain)| put(&store, name, plain));
    let all = names(&segments);
    let case = Case::with(&store, "standby.signal", &all[0], |settings| settings.spool_bytes = Some(5 * MIB)).await;
    for (at, name) in all.iter().enumerate().take(20) {
        case.take(name).await;
        let lying = fs::read_dir(case.spool()).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
        let lying: Vec<String> = lying.filter(|name| name.contains("00000001")).collect();
        assert!(lying.len() <= 5, "{lying:?}");
        let behind = lying.iter().filter(|one| one.trim_start_matches('.') <= &*all[at]).count();
        assert_eq!(behind, 0, "{lying:?} at {name}");
    }
    // Back to where it was, and far ahead: each a fetch of its own, and what lay ahead goes.
    case.take(&all[3]).await;
    case.take(&all[28]).await;
    let status = case.wait_for("caught up", |status| status.fetching == 0).await;
    assert!(status.ready <= 5, "{status:?}");
    // None at all: each one is fetched when it is asked for.
    let without = Case::with(&store, "standby.signal", &all[0], |settings| settings.spool_bytes = Some(0)).await;
    without.take(&all[1]).await;
    without.take(&all[2]).await;
    let status = without.status().await;
    assert_eq!((status.misses, status.ready, status.fetching, status.window), (2, 0, 0, 0));
    case.stop().await;
    without.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_crosses_a_border_is_checked() {
    let (store, mut segments) = (MemoryStore::new(), forged(8));
    // Within the record that crosses into it: no check of the segment alone can see it.
    segments[3].1[200] ^= 1;
    segments.iter().for_each(|(name, plain)| put(&store, name, plain));
    let all = names(&segments);
    let case = Case::new(&store, "recovery.signal", "00000002.history").await;
    for name in &all[..3] {
        case.take(name).await;
    }
    let reply = case.ask(&all[3]).await;
    let What::Refused(error) = &reply.what else { panic!("{reply:?}") };
    assert_eq!(error.code(), Code::DamagedSegment);
    assert!(error.what().contains(&all[3]) && error.what().contains("CRC"), "{error:?}");
    // It stays refused, and is taken when the archive is mended and somebody asks again later.
    assert!(matches!(case.ask(&all[3]).await.what, What::Refused(_)));
    put(&store, &segments[3].0, &forged(8)[3].1);
    tokio::time::sleep(AGAIN).await;
    assert!(case.take(&all[3]).await == forged(8)[3].1);
    case.take(&all[4]).await;
    case.stop().await;

    // Whoever fetched the one before without the feeder tells its end. Spoiled before it begins to look ahead.
    put(&store, &segments[3].0, &segments[3].1);
    let case = Case::new(&store, "recovery.signal", &all[2]).await;
    let mut check = crate::wal::SegmentCheck::new(crate::wal::Expect::new(segments[2].0));
    check.push(&segments[2].1).unwrap();
    let carry = check.finish().unwrap().carry.map(Box::new);
    let (file, settings) = (all[2].parse().unwrap(), "ab".to_owned());
    case.feeder.tell(Question::Got { file, settings, microseconds: 1000, carry }).await;
    assert!(matches!(case.ask(&all[3]).await.what, What::Refused(_)));
    assert_eq!(case.status().await.direct, 1);
    case.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_touched_in_the_spool_is_not_handed_over() {
    let (store, segments) = (MemoryStore::new(), forged(10));
    segments.iter().for_each(|(name, plain)| put(&store, name, plain));
    let all = names(&segments);
    let case = Case::new(&store, "recovery.signal", "00000002.history").await;
    case.take(&all[0]).await;
    case.wait_for("ahead", |status| status.ready >= 2 && status.fetching == 0).await;
    let spool = case.spool();
    // Other bytes of the same size; the neighbour's file; nothing.
    fs::write(spool.join(&all[1]), vec![0xFF; MIB as usize]).unwrap();
    fs::copy(spool.join(&all[1]), spool.join(&all[2])).unwrap();
    assert!(case.take(&all[1]).await == segments[1].1);
    assert!(case.take(&all[2]).await == segments[2].1);
    case.wait_for("ahead", |status| status.ready >= 1 && status.fetching == 0).await;
    let _ = fs::remove_file(spool.join(&all[3]));
    assert!(case.take(&all[3]).await == segments[3].1);
    case.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_owner_left_is_removed() {
    let (store, segments) = (MemoryStore::new(), forged(4));
    segments.iter().for_each(|(name, plain)| put(&store, name, plain));
    let all = names(&segments);
    let case = Case::with(&store, "recovery.signal", "00000002.history", |settings| {
        settings.meeting.prepare().unwrap();
        let spool = settings.meeting.directory();
        // Of another branch of the same cluster's WAL, say: nobody could tell by looking at it.
        for name in [&all[1], "000000090000000000000005", "00000007.history", &format!(".{}.wal-r-3", all[2])] {
            fs::write(spool.join(name), vec![1; MIB as usize]).unwrap();
        }
    })
    .await;
    let left: Vec<_> = fs::read_dir(case.spool()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 1, "the lock: {left:?}");
    for (name, plain) in &segments {
        assert!(case.take(&name.to_string()).await == *plain);
    }
    case.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_is_always_fresh_and_costs_one_request() {
    let (store, segments) = (MemoryStore::new(), forged(8));
    segments[..3].iter().for_each(|(name, plain)| put(&store, name, plain));
    let all = names(&segments);
    let case = Case::new(&store, "standby.signal", "00000002.history").await;
    for name in &all[..3] {
        case.take(name).await;
    }
    case.wait_for("idle", |status| status.fetching == 0).await;
    let polls = async |file: &str| {
        let before = case.store.calls().len();
        for _ in 0..5 {
            let reply = case.ask(file).await;
            assert!(matches!(reply.what, What::Absent), "{reply:?}");
        }
        case.store.calls().split_off(before)
    };
    let calls = polls(&all[3]).await;
    let lists = calls.iter().filter(|call| matches!(call, Call::List(..))).count();
    assert!(calls.len() == 6 && lists == 1, "5 polls, and one witness for all of them: {calls:?}");
    let calls = polls("00000002.history").await;
    assert_eq!(calls.len(), 6, "{calls:?}");
    // It says how old the newest one is, each time.
    assert!(case.ask(&all[3]).await.notes[0].contains("normal at the end of the archive"));
    // What arrives is there at the next question, and what came with it is fetched ahead at once.
    segments[3..].iter().for_each(|(name, plain)| put(&store, name, plain));
    assert!(case.take(&all[3]).await == segments[3].1);
    case.wait_for("ahead", |status| status.ready >= 2).await;
    for (name, plain) in &segments[4..] {
        assert!(case.take(&name.to_string()).await == *plain);
    }
    case.stop().await;

    // Where "not there" would end a recovery, the listing is made anew each time.
    let case = Case::new(&store, "recovery.signal", "00000002.history").await;
    let before = case.store.calls().len();
    assert!(matches!(case.ask("00000002.history").await.what, What::Absent));
    assert!(matches!(case.ask("00000002.history").await.what, What::Absent));
    assert_eq!(case.store.calls().len() - before, 4);
    case.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_found_out_by_who_asks() {
    let (store, segments) = (MemoryStore::new(), forged(8));
    segments.iter().for_each(|(name, plain)| put(&store, name, plain));
    store.remove(&format!("wal_005/{}.lzo", segments[4].0));
    let all = names(&segments);
    let case = Case::new(&store, "recovery.signal", "00000002.history").await;
    for name in &all[..4] {
        case.take(name).await;
    }
    // Nothing behind the gap is fetched.
    let status = case.wait_for("idle", |status| status.fetching == 0).await;
    assert_eq!(status.ready, 0);
    let reply = case.ask(&all[4]).await;
    assert!(matches!(&reply.what, What::Yourself(why) if why.contains("goes on behind it")), "{reply:?}");
    case.stop().await;
    // A standby asks again.
    let case = Case::new(&store, "standby.signal", &all[3]).await;
    let reply = case.ask(&all[4]).await;
    assert!(matches!(reply.what, What::Absent) && reply.warnings[0].contains("goes on behind it"), "{reply:?}");
    case.stop().await;
}

/// Timeline 2 of the bundled prefix leaves timeline 1 within segment B.
fn switching() -> MemoryStore {
    let store = MemoryStore::new();
    let wal = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/wal_prefix/wal_005");
    for entry in fs::read_dir(wal).unwrap().flatten() {
        store.insert(&format!("wal_005/{}", entry.file_name().into_string().unwrap()), fs::read(entry.path()).unwrap());
    }
    store
}

#[tokio::test(flavor = "multi_thread")]
async fn it_follows_the_way_through_a_switch_point() {
    let store = switching();
    // The parent went on: its own B is there, too.
    let child = crate::codec::decode_all(
        &mut *crate::codec::decoder(Compression::Lzo).unwrap(),
        &fs::read(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/wal_prefix/wal_005/00000002000000000000000B.lzo"),
        )
        .unwrap(),
        1 << 25,
    )
    .unwrap();
    store.insert("wal_005/00000001000000000000000B.lzo", lzop(&child));
    let case = Case::new(&store, "recovery.signal", "00000002.history").await;
    let history = case.take("00000002.history").await;
    fs::write(case.directory.path().join("pg_wal/00000002.history"), history).unwrap();
    assert!(matches!(case.ask("00000003.history").await.what, What::Absent));
    for name in ["000000010000000000000008", "000000010000000000000009", "00000001000000000000000A"] {
        case.take(name).await;
    }
    case.wait_for("ahead", |status| status.ready >= 1 && status.fetching == 0).await;
    // Old servers ask for the child's segments before it began; that costs nothing.
    let before = case.store.calls().len();
    let reply = case.ask("00000002000000000000000A").await;
    assert!(matches!(reply.what, What::Absent) && reply.notes[0].contains("was never there"), "{reply:?}");
    assert_eq!(case.store.calls().len(), before);
    assert!(case.take("00000002000000000000000B").await == child);
    case.take("00000002000000000000000C").await;
    // The parent's is not handed over in the child's place, whatever lies where.
    store.remove("wal_005/00000002000000000000000B.lzo");
    let reply = case.ask("00000001000000000000000B").await;
    assert!(matches!(&reply.what, What::Yourself(why) if why.contains("is not handed over")), "{reply:?}");
    case.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_becomes_known_late_drops_what_was_fetched_for_another() {
    let store = switching();
    for number in ["B", "C", "D"] {
        let stored = fs::read(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/wal_prefix/wal_005/00000001000000000000000A.lzo"),
        )
        .unwrap();
        store.insert(&format!("wal_005/00000001000000000000000{number}.lzo"), stored);
    }
    let case = Case::new(&store, "standby.signal", "000000010000000000000009").await;
    case.take("00000001000000000000000A").await;
    let history = case.take("00000002.history").await;
    fs::write(case.directory.path().join("pg_wal/00000002.history"), history).unwrap();
    case.take("00000002000000000000000B").await;
    let lying: Vec<String> =
        fs::read_dir(case.spool()).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(lying.iter().all(|name| !name.contains("00000001000")), "{lying:?}");
    case.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_when_it_is_not_wanted() {
    let (store, segments) = (MemoryStore::new(), forged(4));
    segments.iter().for_each(|(name, plain)| put(&store, name, plain));
    let gone = async |case: Case| {
        tokio::time::timeout(Duration::from_secs(20), case.running).await.expect("it goes").unwrap();
        case.directory.path().join("pg_wal/.wal-r").exists()
    };
    // Other settings.
    let case = Case::new(&store, "recovery.signal", "00000002.history").await;
    let reply = case.feeder.get(segments[0].0.to_string().parse().unwrap(), "cd".to_owned()).await;
    assert!(matches!(reply.what, What::Leave), "{reply:?}");
    assert!(!gone(case).await);
    // The recovery is over.
    let case = Case::new(&store, "recovery.signal", "00000002.history").await;
    case.take(&segments[0].0.to_string()).await;
    fs::remove_file(case.directory.path().join("recovery.signal")).unwrap();
    assert!(!gone(case).await);
    // The server is gone.
    let mut server = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    let pid = server.id();
    let case = Case::with(&store, "recovery.signal", "00000002.history", |settings| {
        fs::write(settings.directory.join("postmaster.pid"), format!("{pid}\n/data\n")).unwrap();
    })
    .await;
    case.take(&segments[0].0.to_string()).await;
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(!gone(case).await);
    // It was gone before the feeder came.
    let case =
        Case::with(&store, "recovery.signal", "00000002.history", |settings| settings.beside_server = true).await;
    assert!(!gone(case).await);
    // Nobody asks.
    let case = Case::with(&store, "recovery.signal", "00000002.history", |settings| {
        settings.idle = Duration::from_millis(100)
    })
    .await;
    assert!(!gone(case).await);
    // Somebody moved the WAL directory's spool away: what is there now is not ours to clear.
    let case = Case::new(&store, "recovery.signal", "00000002.history").await;
    fs::rename(case.spool(), case.directory.path().join("moved")).unwrap();
    fs::create_dir(case.spool()).unwrap();
    assert!(gone(case).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_owner_and_the_status_of_it() {
    let (store, segments) = (MemoryStore::new(), forged(6));
    segments.iter().for_each(|(name, plain)| put(&store, name, plain));
    let metrics = tempfile::tempdir().unwrap();
    let path = metrics.path().join("walr.prom");
    let case =
        Case::with(&store, "standby.signal", "00000002.history", |settings| settings.status_file = Some(path.clone()))
            .await;
    let mut second = None;
    let other = FaultyStore::new(Arc::new(store.clone()), FaultPlan::none());
    let settings = Settings {
        stores: Stores::new(Arc::new(other), Vec::new(), &RetryPolicy::default(), &Arc::default()),
        meeting: Meeting::in_wal_directory(&case.directory.path().join("pg_wal")),
        elsewhere: None,
        directory: case.directory.path().to_owned(),
        destination: case.directory.path().join("pg_wal/RECOVERYXLOG"),
        forced: None,
        check: Level::Records,
        on_gap: None,
        likely: Form::of_suffix(Compression::Lzo),
        spool_bytes: None,
        parallel: 1,
        digest: "ab".to_owned(),
        deadline: Duration::from_secs(3),
        status_file: None,
        beside_server: false,
        idle: Settings::IDLE,
    };
    if let Some((feeder, _)) = start(settings, &"00000002.history".parse().unwrap()).unwrap() {
        second = Some(feeder);
    }
    assert!(second.is_none(), "the spool has an owner");
    for (name, _) in &segments {
        case.take(&name.to_string()).await;
    }
    let status = case.wait_for("counted", |status| status.segments() == 6).await;
    assert_eq!(status.who, "standby");
    assert_eq!(status.bytes, 6 * MIB);
    assert_eq!(status.segment.as_deref(), Some(&*segments[5].0.to_string()));
    assert_eq!((status.ahead_segments, status.ahead_more), (Some(0), false), "{status:?}");
    let running = case.running;
    case.feeder.stop().await;
    running.await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let samples = crate::testing::exposition::parse(&text).unwrap();
    let value =
        |name: &str| samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum::<f64>();
    assert_eq!((value("walr_feed_up"), value("walr_feed_segments_total")), (0.0, 6.0), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_looks_ahead_in_whichever_store_has_it() {
    let segments = forged(40);
    let (first, second, third) = (MemoryStore::new(), MemoryStore::new(), MemoryStore::new());
    // WAL-G turned to the second store twice, and pushed some of it to both. In the first one segment is damaged.
    for (place, (name, plain)) in segments.iter().enumerate() {
        match place {
            10..20 | 30..35 => put(&second, name, plain),
            20..25 => [&first, &second].iter().for_each(|store| put(store, name, plain)),
            _ => put(&first, name, plain),
        }
    }
    let (damaged, _) = &segments[22];
    first.insert(&format!("wal_005/{damaged}.lzo"), &b"<html></html>"[..]);
    let down =
        FaultyStore::new(Arc::new(third.clone()), FaultPlan::always(crate::storage::StoreErrorKind::Unreachable));
    for others in [vec![Arc::new(second.clone()) as Arc<dyn Store>], vec![Arc::new(down), Arc::new(second)]] {
        let (count, counters) = (others.len() as u64, Arc::new(Counters::default()));
        let policy = RetryPolicy { attempts: 3, ..RetryPolicy::default() };
        let case = Case::with(&MemoryStore::new(), "recovery.signal", &segments[0].0.to_string(), |settings| {
            settings.stores = Stores::new(Arc::new(first.clone()), others.clone(), &policy, &counters);
        })
        .await;
        for (name, plain) in &segments {
            assert!(case.take(&name.to_string()).await == *plain, "{name}");
        }
        let status = case.status().await;
        assert_eq!((status.segments(), status.refused), (40, 0), "{status:?}");
        assert!(status.hits + status.in_flight >= 30, "{status:?}");
        // One for each, whichever has it: the listings show that. (And the damaged one is asked for twice.)
        let spent = 40 + 1 + count * 4;
        assert!(status.requests <= spent + 6, "{status:?}");
        assert_eq!(status.archive, vec!["memory:///"; 1 + others.len()].join(", "));
        assert!(status.troubles.iter().any(|trouble| trouble.contains(&damaged.to_string())), "{status:?}");
        // Not there is what all of them say, each time.
        let next = "0000000100000000000000FF";
        let answer = case.ask(next).await.what;
        match count {
            1 => assert!(matches!(answer, What::Absent), "{answer:?}"),
            _ => assert!(matches!(&answer, What::Yourself(why) if why.contains("Unreachable")), "{answer:?}"),
        }
        case.stop().await;
    }
}
