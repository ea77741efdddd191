//! What is learnt of an archive from its names, its small objects and one first page.

use super::{SentinelState, Survey, scan};
use crate::error::Code;
use crate::pg::{SegmentNo, SegmentSize, SystemId, TimelineId};
use crate::storage::local::LocalStore;
use crate::storage::memory::MemoryStore;
use crate::storage::{ByteRange, StoreErrorKind};
use crate::testing::faulty::{Call, Fault, FaultPlan, FaultyStore};
use crate::testing::fixture;
use crate::testing::forge::{Shape, Wal};
use crate::testing::lzop::lzop;
use expect_test::{Expect, expect};
use std::path::Path;
use std::sync::Arc;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn survey(store: &MemoryStore) -> Survey {
    block_on(scan(store)).unwrap()
}

fn show(survey: &Survey) -> String {
    let mut text = format!("{}: {}\n", survey.size, survey.size_from);
    for (system, from) in &survey.systems {
        text += &format!("cluster {system} by {from}\n");
    }
    if let Some(major) = survey.major {
        text += &format!("version {major}\n");
    }
    for (timeline, extent) in &survey.extents {
        let runs: Vec<String> = extent.runs.iter().map(|run| format!("{:X}..={:X}", run.first.0, run.last.0)).collect();
        let strays: Vec<String> = extent.strays.iter().map(|run| format!("{:X}", run.first.0)).collect();
        text += &format!("{timeline}: {:X}..={:X} {}", extent.first.0, extent.last.0, runs.join(" "));
        text += &if strays.is_empty() { "\n".to_owned() } else { format!(" strays {}\n", strays.join(" ")) };
    }
    for backup in &survey.backups {
        let sentinel = match &backup.sentinel {
            SentinelState::Read(_) => "read",
            SentinelState::Damaged(_) => "damaged",
            SentinelState::Unknown(_) => "unknown",
            SentinelState::Absent => "absent",
        };
        let stop = backup.stop.map_or_else(|| "?".to_owned(), |stop| stop.to_string());
        let finished = backup.finished.map(|time| format!(" {time}")).unwrap_or_default();
        let latest = if backup.latest { " LATEST" } else { "" };
        text += &format!("{} {sentinel} {}..{stop}{finished}{latest}\n", backup.name, backup.start);
    }
    text
}

fn check(store: &MemoryStore, expected: Expect) {
    expected.assert_eq(&show(&survey(store)));
}

#[test]
fn a_real_archive() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/archive/wal-e-pg13");
    let survey = block_on(scan(&LocalStore::new(path))).unwrap();
    expect![[r#"
        16 MiB: the first page of 000000020000000000000007
        cluster 7710553512918031522 by the first page of 000000020000000000000007
        version 13
        1: 2..=5 2..=5
        2: 6..=7 6..=7
        base_000000010000000000000003_00000040 read 0/3000028..0/3000100 2026-11-21T09:25:39Z LATEST
    "#]]
    .assert_eq(&show(&survey));
}

#[test]
fn names_alone() {
    check(
        &fixture::store(
            "1: 01..07 09 0A.empty
             2.history: 1@0/A000000
             2: 0B.partial
             3: 01 FFFFFFFFFF
             backup base_000000010000000000000003_00000040 parts 0
             backup base_000000010000000000000006_00000040 unfinished parts 0",
        ),
        expect![[r#"
            16 MiB: assumed; no first page could be read: memory:///wal_005/00000003FFFFFFFF000000FF.lzo: the object does not decode: not an lzop file at byte 0
            1: 1..=A 1..=7 9..=9
            3: 1..=1 1..=1 strays FFFFFFFFFF
            base_000000010000000000000003_00000040 read 0/3000028..0/3000138 LATEST
            base_000000010000000000000006_00000040 absent 0/6000028..?
        "#]],
    );
    check(
        &fixture::store("backup base_000000010000000000000003_00000040 parts 0"),
        expect![[r#"
            16 MiB: assumed: there is no segment
            base_000000010000000000000003_00000040 read 0/3000028..0/3000138 LATEST
        "#]],
    );
    check(
        &fixture::store("key README"),
        expect![[r#"
            16 MiB: assumed: there is no segment
        "#]],
    );
}

/// Segments of any size, with their first pages.
fn forged(size: SegmentSize, first: u64) -> MemoryStore {
    let store = MemoryStore::new();
    let shape = Shape { size, ..Shape::default() };
    let mut wal = Wal::new(shape, TimelineId::FIRST, SegmentNo(first));
    wal.commit(7, 0);
    for (name, bytes) in wal.segments() {
        store.insert(&format!("wal_005/{name}.lzo"), lzop(bytes.get(..8192).unwrap()));
    }
    store
}

#[test]
fn every_size_is_read_from_a_first_page() {
    for size in SegmentSize::all() {
        let survey = survey(&forged(size, 5));
        assert_eq!((survey.size, survey.system), (size, Some(Shape::default().system)), "{}", survey.size_from);
        assert_eq!(
            survey.size_from,
            format!("the first page of {}", SegmentNo(5).name(TimelineId::FIRST, size).unwrap())
        );
        assert_eq!(survey.major, Some(15));
    }
}

#[test]
fn a_page_that_is_not_at_its_place_is_not_believed() {
    let store = forged(SegmentSize::MIN, 5);
    // Newer by their names: junk, another place's content, a codec of the future.
    let bytes =
        block_on(crate::catalog::scan::raw(&store, &"wal_005/000000010000000000000005.lzo".into(), 1 << 20)).unwrap();
    store.insert("wal_005/FFFFFFFFFFFFFFFFFFFFFFFE.lzo", "junk");
    store.insert("wal_005/000000030000000000000009.lzo", bytes);
    store.insert("wal_005/000000020000000000000009.zst", "x");
    check(
        &store,
        expect![[r#"
            1 MiB: the first page of 000000010000000000000005
            cluster 7000000000000000001 by the first page of 000000010000000000000005
            version 15
            1: 5..=5 5..=5
            2: 9..=9 9..=9
            3: 9..=9 9..=9
        "#]],
    );
}

#[test]
fn the_cluster_that_others_speak_of_decides() {
    let store = forged(SegmentSize::MIN, 5);
    let shape = Shape { system: SystemId(9), size: SegmentSize::DEFAULT, ..Shape::default() };
    let mut other = Wal::new(shape, TimelineId::new(2).unwrap(), SegmentNo(7));
    other.commit(7, 0);
    for (name, bytes) in other.segments() {
        store.insert(&format!("wal_005/{name}.lzo"), lzop(bytes.get(..8192).unwrap()));
    }
    store.insert("sysids/sysid", "7000000000000000001\n");
    check(
        &store,
        expect![[r#"
            1 MiB: the first page of 000000010000000000000005
            cluster 7000000000000000001 by the first page of 000000010000000000000005
            cluster 9 by the first page of 000000020000000000000007
            version 15
            1: 5..=5 5..=5
            2: 7..=7 7..=7
        "#]],
    );
}

#[test]
fn names_that_run_across_a_border_tell_the_size() {
    let store = MemoryStore::new();
    for number in 60..70 {
        let name = SegmentNo(number).name(TimelineId::FIRST, SegmentSize::new(64 << 20).unwrap()).unwrap();
        store.insert(&format!("wal_005/{name}.zst"), "x");
    }
    assert_eq!(survey(&store).size.bytes(), 64 << 20);
}

/// An archive with each kind of small object; and the same behind what counts the calls.
fn one_of_each() -> (MemoryStore, FaultyStore) {
    let store = fixture::store(
        "1: 01..07
         2.history: 1@0/8000000
         2: 08..0A
         key sysids/sysid
         backup base_000000010000000000000003_00000040 parts 0",
    );
    let counted = FaultyStore::new(Arc::new(store.clone()), FaultPlan::none());
    (store, counted)
}

/// Whatever small object cannot be read, and however: the survey stands, and says so where it matters.
#[test]
fn one_object_that_cannot_be_read_ends_nothing() {
    let (store, counted) = one_of_each();
    block_on(scan(&counted)).unwrap();
    let calls = counted.calls_made();
    for call in 0..calls {
        for kind in [StoreErrorKind::Refused, StoreErrorKind::Unreachable, StoreErrorKind::NoSuchObject] {
            let faulty = FaultyStore::new(Arc::new(store.clone()), FaultPlan::nth(call, Fault::Error(kind)));
            match block_on(scan(&faulty)) {
                // Listings: four of them.
                Err(error) => assert!(call < 4, "call {call} {kind:?}: {error:?}"),
                Ok(survey) => {
                    assert!(call >= 4 || kind == StoreErrorKind::NoSuchObject, "call {call} {kind:?}");
                    let damaged = survey.backups.iter().any(|one| matches!(one.sentinel, SentinelState::Damaged(_)));
                    assert!(!damaged, "call {call} {kind:?}: what could not be asked is not damaged");
                }
            }
        }
    }
}

/// A sentinel, history or system identifier that is replaced while it is read costs one more request, and nothing is missing.
#[test]
fn small_objects_that_are_replaced_are_read_anew() {
    let (store, counted) = one_of_each();
    let clean = show(&block_on(scan(&counted)).unwrap());
    let whole = |(_, call): &(u64, Call)| matches!(call, Call::Get(_, ByteRange::ALL));
    let calls: Vec<(u64, Call)> = (0..).zip(counted.calls()).filter(whole).collect();
    assert!(calls.len() >= 3, "{calls:?}");
    for (number, call) in calls {
        let plan = FaultPlan::nth(number, StoreErrorKind::Changed);
        let faulty = FaultyStore::new(Arc::new(store.clone()), plan);
        assert_eq!(show(&block_on(scan(&faulty)).unwrap()), clean, "{call:?}");
        assert_eq!(faulty.calls_made(), counted.calls_made() + 1, "{call:?}");
    }
}

#[test]
fn an_empty_or_mistyped_prefix_is_an_answer_and_nothing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let mistyped = directory.path().join("mistyped");
    let error = block_on(scan(&LocalStore::new(&mistyped))).unwrap_err();
    assert_eq!(error.code(), Code::AbsentPrefix);
    assert!(!mistyped.exists());
    assert!(block_on(scan(&LocalStore::new(directory.path()))).unwrap().inventory.is_empty());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
