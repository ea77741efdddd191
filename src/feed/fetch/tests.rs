//! On a real archive: every answer, every mode, every storage call failing once in every way.

use super::*;
use crate::pg::control::ControlFile;
use crate::pg::version::PgVersion;
use crate::pg::{Lsn, SystemId, TargetTimeline};
use crate::storage::memory::MemoryStore;
use crate::storage::retry::{RetryPolicy, Retrying};
use crate::testing::faulty::{Call, Fault, FaultPlan, FaultyStore, hasty};
use crate::testing::lzop::lzop;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// `testdata/wal_prefix`, segments of 1 MiB: 1: 06..0A, 0B.partial; 2: 0B, 0C; the switch lies within 0B.
static ARCHIVE: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let wal = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/wal_prefix/wal_005");
    let objects = fs::read_dir(wal).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (format!("wal_005/{}", entry.file_name().into_string().unwrap()), fs::read(entry.path()).unwrap())
    });
    objects.collect()
});
const SYSTEM: SystemId = SystemId(7_710_562_474_338_309_725);
const LAST: &str = "00000001000000000000000A";

pub(in crate::feed) fn archive() -> MemoryStore {
    let store = MemoryStore::new();
    for (key, bytes) in ARCHIVE.iter() {
        store.insert(key, bytes.clone());
    }
    store
}

pub(in crate::feed) fn stored(name: &str) -> Vec<u8> {
    let key = format!("wal_005/{name}.lzo");
    ARCHIVE.iter().find(|(known, _)| *known == key).map(|(_, bytes)| bytes.clone()).unwrap()
}

/// What it decodes to.
pub(in crate::feed) fn plain(name: &str) -> Vec<u8> {
    let mut decoder = crate::codec::decoder(Compression::Lzo).unwrap();
    crate::codec::decode_all(&mut *decoder, &stored(name), 1 << 25).unwrap()
}

pub(in crate::feed) fn mode(who: Who) -> Mode {
    Mode {
        who,
        because: "a test".to_owned(),
        data: None,
        control: None,
        control_trouble: None,
        version: PgVersion::parse("13"),
        target: crate::feed::mode::Target::default(),
        histories: Vec::new(),
        histories_trouble: None,
        transient: true,
    }
}

/// A data directory's pg_control of the archive's cluster, on this timeline.
pub(in crate::feed) fn control(timeline: u32) -> ControlFile {
    let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/wal_prefix/pg_control")).unwrap();
    ControlFile { timeline: TimelineId::new(timeline).unwrap(), ..ControlFile::parse(&bytes).unwrap() }
}

/// The archive's 00000002.history, as the server keeps it.
fn history() -> TimelineHistory {
    TimelineHistory::parse(TimelineId::new(2).unwrap(), &plain("00000002.history")).unwrap()
}

struct Case {
    directory: tempfile::TempDir,
    mode: Mode,
    on_gap: Option<OnGap>,
    check: Level,
    now: jiff::Timestamp,
    deadline: Duration,
}

impl Case {
    fn new(mode: Mode) -> Case {
        let directory = tempfile::tempdir().unwrap();
        Case {
            directory,
            mode,
            on_gap: None,
            check: Level::Records,
            now: jiff::Timestamp::UNIX_EPOCH,
            deadline: Duration::from_secs(60),
        }
    }

    fn fetch(&self, store: &dyn Store, file: &str) -> Answer<Report> {
        let options = Options {
            file: name(file)?,
            destination: self.directory.path().join("RECOVERYXLOG"),
            check: self.check,
            on_gap: self.on_gap,
            likely: Form::of_suffix(Compression::Lzo),
            now: self.now,
            overtaken: overtaken_wait(self.deadline),
            seen: None,
        };
        // Waiting for a body, the checking thread keeps a paused clock from going on by itself.
        let paused = self.now != jiff::Timestamp::UNIX_EPOCH;
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(paused).build().unwrap().block_on(run(store, &options, &self.mode))
    }

    /// Everything in the directory, and the content of the destination.
    fn left(&self) -> (Vec<String>, Option<Vec<u8>>) {
        let names = fs::read_dir(self.directory.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        (names, fs::read(self.directory.path().join("RECOVERYXLOG")).ok())
    }

    /// It must fail with this code and leave nothing.
    #[track_caller]
    fn refuses(&self, store: &dyn Store, file: &str, code: Code) -> String {
        let error = self.fetch(store, file).unwrap_err();
        assert_eq!(error.code(), code, "{error:?}");
        assert_eq!(self.left().0, [""; 0], "nothing is left behind an error");
        error.chain()
    }

    /// It must be delivered, byte for byte.
    #[track_caller]
    fn delivers(&self, store: &dyn Store, file: &str, content: &[u8]) -> Report {
        let report = self.fetch(store, file).unwrap();
        assert!(matches!(report.outcome, Outcome::Delivered { .. }), "{report:?}");
        let (names, bytes) = self.left();
        assert_eq!(names, ["RECOVERYXLOG"]);
        assert!(bytes.unwrap() == content, "other bytes than the archive's");
        fs::remove_file(self.directory.path().join("RECOVERYXLOG")).unwrap();
        report
    }

    /// It must be absent, with nothing left.
    #[track_caller]
    fn absent(&self, store: &dyn Store, file: &str) -> Report {
        let report = self.fetch(store, file).unwrap();
        assert!(matches!(report.outcome, Outcome::Absent), "{report:?}");
        assert_eq!(self.left().0, [""; 0]);
        report
    }
}

fn calls(store: &FaultyStore) -> Vec<String> {
    let line = |call: Call| match call {
        Call::Get(key, _) => format!("GET {key}"),
        Call::List(prefix, after) => {
            format!("LIST {prefix} after {}", after.map_or("-".to_owned(), |key| key.to_string()))
        }
        Call::Head(key) => format!("HEAD {key}"),
    };
    store.calls().into_iter().map(line).collect()
}

fn counted(store: MemoryStore) -> FaultyStore {
    FaultyStore::new(Arc::new(store), FaultPlan::none())
}

#[test]
fn every_file_of_the_archive_arrives() {
    for who in [Who::PointInTime, Who::Standby, Who::Rewind, Who::Other] {
        let case = Case::new(Mode { control: Some(control(1)), ..mode(who) });
        for (key, _) in ARCHIVE.iter() {
            let file = key.strip_prefix("wal_005/").unwrap().strip_suffix(".lzo").unwrap();
            let store = counted(archive());
            let report = case.delivers(&store, file, &plain(file));
            assert_eq!((report.notes.len(), report.warnings.len()), (0, 0), "{file}: {report:?}");
            // A .partial is not asked for by PostgreSQL: its form is looked for.
            let cost = if file.ends_with(".partial") { 2 } else { 1 };
            assert_eq!(store.calls_made(), cost, "{file}: {:?}", calls(&store));
        }
    }
}

#[test]
fn only_names_of_an_archive_are_asked_for() {
    let case = Case::new(mode(Who::PointInTime));
    let store = counted(archive());
    for wrong in [
        "",
        "../basebackups_005/base_000000010000000000000003_00000040_backup_stop_sentinel.json",
        "00000001000000000000000A.lzo",
        "00000001000000000000000a",
        "wal_005/00000001000000000000000A",
        "00000001000000000000000A ",
        "RECOVERYXLOG",
        "00000001.partial",
        "00000001000000000000000A.done",
    ] {
        case.refuses(&store, wrong, Code::UsageName);
    }
    assert_eq!(store.calls_made(), 0);
}

#[test]
fn the_end_of_the_archive_is_calm() {
    for who in [Who::PointInTime, Who::Standby, Who::Rewind, Who::Other] {
        let mut case = Case::new(Mode { histories: vec![history()], control: Some(control(1)), ..mode(who) });
        let store = archive();
        store.insert_at(
            "wal_005/00000002000000000000000C.lzo",
            stored("00000002000000000000000C"),
            jiff::Timestamp::UNIX_EPOCH,
        );
        case.now = jiff::Timestamp::from_second(12).unwrap();
        let store = counted(store);
        let report = case.absent(&store, "00000002000000000000000D");
        assert_eq!(
            report.notes,
            [
                "00000002000000000000000D is not in the archive yet (newest is 00000002000000000000000C, 12 s old); normal at the end of the archive"
            ]
        );
        assert_eq!(report.warnings, [""; 0]);
        assert_eq!(
            calls(&store),
            [
                "GET wal_005/00000002000000000000000D.lzo",
                "LIST wal_005/00000002 after wal_005/00000002000000000000000B~"
            ]
        );
        let report = case.absent(&store, "00000003.history");
        assert_eq!(report.notes.len(), 1);
        assert_eq!(store.calls_made(), 4, "two requests for a history that is not there");
        case.absent(&store, "00000002000000000000000C.00000028.backup");
        case.absent(&store, "00000002000000000000000C.partial");
    }
}

#[test]
fn a_gap_stops_a_point_in_time_recovery_only() {
    let store = archive();
    store.remove(&format!("wal_005/{LAST}.lzo"));
    store.insert("wal_005/00000001000000000000000B.lzo", stored("000000010000000000000009"));
    let warns = |case: &Case| {
        let report = case.absent(&store, LAST);
        assert!(
            report.warnings[0].contains("timeline 1 goes on behind it with 00000001000000000000000B"),
            "{report:?}"
        );
    };
    let case = Case::new(mode(Who::PointInTime));
    case.refuses(&store, LAST, Code::GapSegment);
    for who in [Who::Standby, Who::Rewind, Who::Other] {
        warns(&Case::new(mode(who)));
    }
    // With a target 13 finds out by itself; 12 does not.
    let target = crate::feed::mode::Target { set: true, ..Default::default() };
    warns(&Case::new(Mode { target: target.clone(), ..mode(Who::PointInTime) }));
    Case::new(Mode { target, version: PgVersion::parse("12"), ..mode(Who::PointInTime) }).refuses(
        &store,
        LAST,
        Code::GapSegment,
    );
    // And the user has the last word.
    warns(&Case { on_gap: Some(OnGap::Absent), ..Case::new(mode(Who::PointInTime)) });
    Case { on_gap: Some(OnGap::Stop), ..Case::new(mode(Who::Standby)) }.refuses(&store, LAST, Code::GapSegment);
}

#[test]
fn a_gap_that_only_a_history_shows() {
    let store = archive();
    store.remove(&format!("wal_005/{LAST}.lzo"));
    // Nothing of timeline 1 lies behind 0A, but the way to timeline 2 leaves it only in 0B.
    let case = Case::new(Mode { histories: vec![history()], control: Some(control(1)), ..mode(Who::PointInTime) });
    let said = case.refuses(&store, LAST, Code::GapSegment);
    assert!(said.contains("leaves timeline 1 only at"), "{said}");
    // Without that history nobody can know; nor when recovery stays on timeline 1.
    Case::new(mode(Who::PointInTime)).absent(&store, LAST);
    let target = crate::feed::mode::Target { timeline: TargetTimeline::Current, ..Default::default() };
    let stays = Mode { histories: vec![history()], control: Some(control(1)), target, ..mode(Who::PointInTime) };
    Case::new(stays).absent(&store, LAST);
}

#[test]
fn histories_that_cannot_be_read_stop_a_recovery() {
    let trouble = Some("pg_wal/00000002.history: Input/output error".to_owned());
    for who in [Who::PointInTime, Who::Standby] {
        let case = Case::new(Mode { histories_trouble: trouble.clone(), ..mode(who) });
        let said = case.refuses(&archive(), LAST, Code::LocalIo);
        assert!(said.contains("which timelines are followed: pg_wal/00000002.history: Input/output"), "{said}");
    }
}

#[test]
fn a_segment_that_was_overtaken_is_waited_for_once() {
    let store = archive();
    store.remove(&format!("wal_005/{LAST}.lzo"));
    let now = jiff::Timestamp::from_second(1_000_000).unwrap();
    store.insert_at("wal_005/00000001000000000000000B.lzo", stored(LAST), now);
    let counted = counted(store);
    let case = Case { now, ..Case::new(mode(Who::PointInTime)) };
    case.refuses(&counted, LAST, Code::GapSegment);
    assert_eq!(counted.calls_made(), 3, "{:?}", calls(&counted));

    // Whoever has little time gets the same answer within it.
    for deadline in [Duration::from_millis(400), Duration::from_secs(2), Duration::from_secs(3)] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        let within = Retrying::new(Arc::new(counted.clone()), RetryPolicy::within(deadline));
        let case = Case { now, deadline, ..Case::new(mode(Who::PointInTime)) };
        case.refuses(&within, LAST, Code::GapSegment);
    }
}

#[test]
fn a_segment_that_is_replaced_while_it_is_read_is_read_anew_once() {
    let case = Case::new(mode(Who::PointInTime));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    // A body that breaks, and another version where it is gone on with.
    let replaced = |call| FaultPlan::nth(call, Fault::CutAt(30_000)).and(call + 1..call + 2, Fault::OtherVersion);
    let with = |plan| {
        let faulty = FaultyStore::new(Arc::new(archive()), plan);
        (faulty.clone(), Retrying::new(Arc::new(faulty), hasty()))
    };
    let (counted, store) = with(replaced(0));
    let report = case.delivers(&store, LAST, &plain(LAST));
    assert!(report.notes[0].contains("read anew"), "{report:?}");
    assert_eq!(counted.calls_made(), 3, "{:?}", calls(&counted));
    // Again in a row it is an error; and so is one that is gone then, which is no end of the archive.
    let (counted, store) = with(replaced(0).and(2..3, Fault::CutAt(30_000)).and(3..4, Fault::OtherVersion));
    case.refuses(&store, LAST, Code::StoreChanged);
    assert_eq!(counted.calls_made(), 4, "{:?}", calls(&counted));
    let (_, store) = with(replaced(0).and(2..3, StoreErrorKind::NoSuchObject));
    case.refuses(&store, LAST, Code::StoreChanged);
    // The same where the listing showed the form.
    let bare = archive();
    bare.remove(&format!("wal_005/{LAST}.lzo"));
    bare.insert(&format!("wal_005/{LAST}"), plain(LAST));
    let faulty = FaultyStore::new(Arc::new(bare), replaced(2));
    case.delivers(&Retrying::new(Arc::new(faulty), hasty()), LAST, &plain(LAST));
}

#[test]
fn a_small_file_that_is_replaced_while_it_is_read_is_read_anew() {
    let case = Case::new(mode(Who::PointInTime));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let (history, label) = ("00000002.history", "000000010000000000000009.00000028.backup");
    let store = archive();
    let text = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus-seed/label/history18")).unwrap();
    store.insert(&format!("wal_005/{label}.lzo"), lzop(&text));
    for (file, content) in [(history, plain(history)), (label, text)] {
        // A body that breaks, and another version where it is gone on with: so often in a row.
        let with = |times: u64, then: Option<Fault>| {
            let replaced = |plan: FaultPlan, nth| {
                plan.and(nth..nth + 1, Fault::CutAt(10)).and(nth + 1..nth + 2, Fault::OtherVersion)
            };
            let plan = (0..times).map(|time| 2 * time).fold(FaultPlan::none(), replaced);
            let plan = then.into_iter().fold(plan, |plan, fault| plan.and(2 * times..u64::MAX, fault));
            let faulty = FaultyStore::new(Arc::new(store.clone()), plan);
            (faulty.clone(), Retrying::new(Arc::new(faulty), hasty()))
        };
        for times in 1..=2 {
            let (counted, store) = with(times, None);
            case.delivers(&store, file, &content);
            assert_eq!(counted.calls_made(), 2 * times + 1, "{:?}", calls(&counted));
        }
        // On and on it is an error; and so is one that is gone then, which no server may take for "not there".
        let (counted, store) = with(3, None);
        case.refuses(&store, file, Code::StoreChanged);
        assert_eq!(counted.calls_made(), 6, "{:?}", calls(&counted));
        let (_, store) = with(1, Some(StoreErrorKind::NoSuchObject.into()));
        case.refuses(&store, file, Code::StoreChanged);
    }
}

#[test]
fn a_childs_segment_from_before_its_beginning_is_no_gap() {
    // Servers up to 9.5 ask for it, and go on with the parent's.
    let known = || Mode { control: Some(control(1)), ..mode(Who::PointInTime) };
    Case::new(known()).absent(&archive(), "000000020000000000000009");
    Case::new(Mode { histories: vec![history()], ..known() }).absent(&archive(), "000000020000000000000009");
    // Without any history it is one.
    let store = archive();
    store.remove("wal_005/00000002.history.lzo");
    Case::new(known()).refuses(&store, "000000020000000000000009", Code::GapSegment);
}

/// The parent's 0B is in the archive, the child's is not.
fn forked() -> MemoryStore {
    let store = archive();
    store.remove("wal_005/00000002000000000000000B.lzo");
    // Any good segment of that name: the head of the child's, and the parent's own end, is what `.partial` has.
    store.insert("wal_005/00000001000000000000000B.lzo", stored("00000001000000000000000B.partial"));
    store
}

#[test]
fn a_parents_segment_never_stands_in_for_its_childs() {
    let parent = "00000001000000000000000B";
    let child = "00000002000000000000000B";
    let follows = |who| Mode { histories: vec![history()], control: Some(control(1)), ..mode(who) };
    let store = forked();
    let said = Case::new(follows(Who::PointInTime)).refuses(&store, parent, Code::GapFork);
    assert!(said.contains(child), "{said}");
    let report = Case::new(follows(Who::Standby)).absent(&store, parent);
    assert!(report.warnings[0].contains(child), "{report:?}");
    // Also when the target is a number, and its history is the one in the WAL directory.
    let numbered = |number| crate::feed::mode::Target {
        timeline: TargetTimeline::Number(TimelineId::new(number).unwrap()),
        ..Default::default()
    };
    let mode_of = |target| Mode { target, ..follows(Who::PointInTime) };
    Case::new(mode_of(numbered(2))).refuses(&store, parent, Code::GapFork);

    // These mean the parent: the child's absence is nothing to them. (This file ends early, so it is damaged.)
    let current = crate::feed::mode::Target { timeline: TargetTimeline::Current, ..Default::default() };
    let before = crate::feed::mode::Target { set: true, lsn: Some(Lsn(0xB0_0000)), ..Default::default() };
    for mode in [
        mode_of(numbered(1)),
        mode_of(current),
        mode_of(before),
        follows(Who::Rewind),
        follows(Who::Other),
        mode(Who::PointInTime),
    ] {
        Case::new(mode).refuses(&store, parent, Code::DamagedSegment);
    }
    // And with the child's file there, the server has looked at it first.
    let store = forked();
    store.insert("wal_005/00000002000000000000000B.lzo", stored(child));
    Case::new(follows(Who::PointInTime)).refuses(&store, parent, Code::DamagedSegment);
    // Up to the fork the parent's segments are the way.
    Case::new(follows(Who::PointInTime)).delivers(&store, LAST, &plain(LAST));
}

#[test]
fn what_does_not_validate_is_not_handed_over() {
    let case = Case::new(Mode { control: Some(control(1)), ..mode(Who::PointInTime) });
    let key = format!("wal_005/{LAST}.lzo");
    let with = |bytes: Vec<u8>| {
        let store = archive();
        store.insert(&key, bytes);
        store
    };
    let good = stored(LAST);
    // Container.
    let said = case.refuses(&with(good[..good.len() / 2].to_vec()), LAST, Code::DamagedObject);
    assert!(said.contains("cut short") && said.contains(&key), "{said}");
    case.refuses(&with(Vec::new()), LAST, Code::DamagedCodec);
    case.refuses(&with(b"<html><body>503 Service Unavailable</body></html>".to_vec()), LAST, Code::DamagedCodec);
    case.refuses(
        &with([&[0x85, 0x01, 0x0C, 0x03, 1, 2, 3, 4, 5, 6, 7, 8, 1][..], &[7; 300]].concat()),
        LAST,
        Code::CryptUnsupported,
    );
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    case.refuses(&with(flipped), LAST, Code::DamagedObject);
    // Content, in a container that is whole.
    let mut bytes = plain(LAST);
    case.refuses(&with(lzop(&bytes[..500_000])), LAST, Code::DamagedSegment);
    bytes.extend_from_slice(&[0; 8192]);
    case.refuses(&with(lzop(&bytes)), LAST, Code::DamagedSegment);
    case.refuses(&with(lzop(&plain("000000010000000000000009"))), LAST, Code::DamagedForeign);
    let mut bit = plain(LAST);
    bit[8192 + 100] ^= 1;
    case.refuses(&with(lzop(&bit)), LAST, Code::DamagedSegment);
    case.refuses(&with(lzop(&[0; 1 << 20])), LAST, Code::DamagedSegment);
    // Of another cluster, whole.
    let other =
        Case::new(Mode { control: Some(ControlFile { system: SystemId(1), ..control(1) }), ..mode(Who::PointInTime) });
    let said = other.refuses(&archive(), LAST, Code::DamagedForeign);
    assert!(said.contains(&SYSTEM.to_string()), "{said}");
    // Less may be asked for.
    let headers = Case { check: Level::Headers, ..Case::new(mode(Who::PointInTime)) };
    headers.delivers(&with(lzop(&bit)), LAST, &bit);
}

#[test]
fn several_stored_forms() {
    let case = Case::new(mode(Who::PointInTime));
    let store = archive();
    let lzo = format!("wal_005/{LAST}.lzo");
    // Only another form: found by the listing.
    store.remove(&lzo);
    store.insert(&format!("wal_005/{LAST}"), plain(LAST));
    case.delivers(&store, LAST, &plain(LAST));
    store.remove(&format!("wal_005/{LAST}"));
    store.insert(&format!("wal_005/{LAST}."), plain(LAST));
    case.delivers(&store, LAST, &plain(LAST));
    // The likely one damaged: the other is used, and it is said.
    store.insert(&lzo, vec![0; 100]);
    let report = case.delivers(&store, LAST, &plain(LAST));
    assert!(report.warnings[0].contains("another stored form was used"), "{report:?}");
    // All of them damaged: the first one's error, never "absent".
    store.insert(&format!("wal_005/{LAST}."), plain(LAST)[..1000].to_vec());
    let said = case.refuses(&store, LAST, Code::DamagedCodec);
    assert!(said.contains(".lzo"), "{said}");
    // One that this build cannot decode is not absent either.
    let store = archive();
    store.remove(&lzo);
    store.insert(&format!("wal_005/{LAST}.zst"), [0x28, 0xB5, 0x2F, 0xFD, 0, 0].to_vec());
    let said = case.refuses(&store, LAST, Code::DamagedCodec);
    assert!(said.contains(".zst") && said.contains("Zstandard"), "{said}");
}

#[test]
fn near_misses_are_named_and_not_taken() {
    let store = archive();
    store.insert("wal_005/00000002000000000000000D.lzo.bak", stored(LAST));
    store.insert("wal_005/00000002000000000000000D.partial.lzo", stored(LAST));
    let report = Case::new(mode(Who::Standby)).absent(&store, "00000002000000000000000D");
    assert_eq!(
        report.warnings,
        ["memory:///wal_005/00000002000000000000000D.lzo.bak begins with the segment's name, but is none"]
    );
    assert!(report.notes[0].contains("only as .partial"), "{report:?}");
}

#[test]
fn histories_and_labels_are_read_before_they_are_handed_over() {
    let case = Case::new(mode(Who::PointInTime));
    let store = archive();
    store.insert("wal_005/00000003.history.lzo", lzop(b"<html></html>"));
    case.refuses(&store, "00000003.history", Code::DamagedHistory);
    store.insert("wal_005/00000003.history", "1\t0/A000000\tby hand\n");
    let report = case.delivers(&store, "00000003.history", b"1\t0/A000000\tby hand\n");
    assert_eq!(report.warnings.len(), 1, "the damaged form is named");
    store.insert("wal_005/000000010000000000000009.00000028.backup.lzo", lzop(b"nothing"));
    case.refuses(&store, "000000010000000000000009.00000028.backup", Code::DamagedObject);
    // A bare history that a proxy answered for.
    store.insert("wal_005/00000004.history", "<html>\n");
    case.refuses(&store, "00000004.history", Code::DamagedHistory);

    // Of another cluster in the same prefix, by its ancestors.
    let ours = TimelineHistory::parse(TimelineId::new(2).unwrap(), b"1\t0/1234568\tx\n").unwrap();
    let case = Case::new(Mode { histories: vec![ours], ..mode(Who::PointInTime) });
    store.insert("wal_005/00000005.history", "1\t0/A000000\tx\n2\t0/B000000\tx\n");
    let report = case.delivers(&store, "00000005.history", b"1\t0/A000000\tx\n2\t0/B000000\tx\n");
    assert!(report.warnings[0].contains("contradict"), "{report:?}");
}

/// What each kind of call must end in when nothing goes wrong.
enum Truth {
    Content(Vec<u8>),
    Absent,
    Refused(Code),
}

/// Every storage call fails once in every way: a loud failure or the right result, nothing left, and the next run right.
#[test]
fn fault_sweep() {
    let bare = |store: MemoryStore, file: &str| {
        store.remove(&format!("wal_005/{file}.lzo"));
        store.insert(&format!("wal_005/{file}"), plain(file));
        store
    };
    let gap = archive();
    gap.remove("wal_005/000000010000000000000009.lzo");
    let follows = Mode { histories: vec![history()], control: Some(control(1)), ..mode(Who::PointInTime) };
    let known = Mode { control: Some(control(1)), ..mode(Who::PointInTime) };
    let pit = || mode(Who::PointInTime);
    // The shortest silence that a busy machine does not make by itself; should it, that is one more loud failure.
    let policy = || RetryPolicy { stall: Duration::from_millis(30), attempts: 2, ..hasty() };
    let sweeps = [
        ("a segment", archive(), LAST, pit(), Truth::Content(plain(LAST))),
        ("a segment of another form", bare(archive(), LAST), LAST, pit(), Truth::Content(plain(LAST))),
        ("the end", archive(), "00000002000000000000000D", pit(), Truth::Absent),
        ("a gap", gap, "000000010000000000000009", pit(), Truth::Refused(Code::GapSegment)),
        ("a fork", forked(), "00000001000000000000000B", follows, Truth::Refused(Code::GapFork)),
        ("before a beginning", archive(), "000000020000000000000009", known, Truth::Absent),
        ("a history", archive(), "00000002.history", pit(), Truth::Content(plain("00000002.history"))),
        ("no history", archive(), "00000003.history", pit(), Truth::Absent),
        (
            "a partial",
            archive(),
            "00000001000000000000000B.partial",
            pit(),
            Truth::Content(plain("00000001000000000000000B.partial")),
        ),
    ];
    for (what, store, file, mode, truth) in sweeps {
        let case = Case::new(mode);
        let check = |store: &dyn Store, faulty: bool, when: &str| {
            let answer = case.fetch(store, file);
            let (names, bytes) = case.left();
            match (&answer, &truth) {
                (Ok(Report { outcome: Outcome::Delivered { .. }, .. }), Truth::Content(content)) => {
                    assert!(
                        names == ["RECOVERYXLOG"] && bytes.as_ref() == Some(content),
                        "{what}, {when}: wrong bytes"
                    );
                    fs::remove_file(case.directory.path().join("RECOVERYXLOG")).unwrap();
                    return;
                }
                (Ok(Report { outcome: Outcome::Absent, .. }), Truth::Absent) => {}
                (Err(error), Truth::Refused(code)) if error.code() == *code => {}
                // A gap stops recovery too: loud, where nobody could tell.
                (Err(error), _) if faulty && (!error.is_absent() || error.class() == Class::Gap) => {}
                (Err(error), Truth::Absent | Truth::Content(_)) if faulty => panic!("{what}, {when}: {error:?}"),
                _ => panic!("{what}, {when}: {answer:?}"),
            }
            assert_eq!(names, [""; 0], "{what}, {when}");
        };
        let good = counted(store.clone());
        check(&good, false, "without a fault");
        for (position, call) in good.calls().iter().enumerate() {
            let listing = matches!(call, Call::List(..));
            let faults =
                Fault::all(80_000).into_iter().filter(|fault| !(listing && matches!(fault, Fault::ShortAt(_))));
            for fault in faults {
                let when = format!("{fault:?} at {call:?}");
                let plan = || FaultPlan::nth(position as u64, fault);
                let once = FaultyStore::new(Arc::new(store.clone()), plan());
                // Alone it hangs for ever where the store does; that is what the retrying store is for.
                if !matches!(fault, Fault::Hang | Fault::StallAt(_)) {
                    check(&once, true, &when);
                }
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let _guard = runtime.enter();
                let tried_again = Retrying::new(Arc::new(FaultyStore::new(Arc::new(store.clone()), plan())), policy());
                check(&tried_again, true, &format!("{when}, tried again"));
                check(&store, false, &format!("behind {when}"));
                if matches!(fault, Fault::ShortAt(_)) {
                    continue; // listings that lie for ever cannot be told from the truth
                }
                let for_ever = FaultPlan::from(position as u64, fault);
                let for_ever = Retrying::new(Arc::new(FaultyStore::new(Arc::new(store.clone()), for_ever)), policy());
                check(&for_ever, true, &format!("{when}, for ever"));
            }
        }
    }
}

/// Bits flipped in containers without any checksum: the records catch them.
#[test]
fn flipped_bits_never_pass() {
    let good = plain(LAST);
    let case = Case::new(mode(Who::PointInTime));
    let mut random = fastrand::Rng::with_seed(13);
    let used = good.iter().rposition(|byte| *byte != 0).unwrap();
    for _ in 0..300 {
        let mut bytes = good.clone();
        let bit = random.usize(..used * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let store = archive();
        store.remove(&format!("wal_005/{LAST}.lzo"));
        store.insert(&format!("wal_005/{LAST}"), bytes);
        match case.fetch(&store, LAST) {
            Err(error) => assert_eq!(error.verdict(), Verdict::Damaged, "bit {bit}: {error:?}"),
            // Bytes that no checksum covers, and that PostgreSQL ignores: said.
            Ok(report) => assert_eq!(report.warnings.len(), 1, "bit {bit}: {report:?}"),
        }
    }
}
