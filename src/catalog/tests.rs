//! Listings to inventories, runs and gaps, and the tree of timelines.

use super::continuity::{self, WalRange, misfits};
use super::inventory::InventoryBuilder;
use super::timelines::Oddity;
use super::{Inventory, Timelines, scan};
use crate::layout::Compression;
use crate::pg::history::TimelineHistory;
use crate::pg::{SegmentNo, SegmentSize, TimelineId};
use crate::storage::{Listed, ObjectId};
use crate::testing::fixture;
use expect_test::{Expect, expect};
use futures::executor::block_on;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SIZE: SegmentSize = SegmentSize::DEFAULT;

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

fn inventory(text: &str) -> Inventory {
    block_on(scan::everything(&fixture::store(text))).unwrap()
}

fn timelines(text: &str) -> Timelines {
    let store = fixture::store(text);
    block_on(async { scan::timelines(&store, &scan::everything(&store).await.unwrap()).await })
}

fn check_scan(text: &str, expected: Expect) {
    expected.assert_eq(&fixture::show(&inventory(text)));
}

#[test]
fn what_a_prefix_holds() {
    check_scan("", expect![""]);
    check_scan(
        "1: 01..07 09 0A.zst 0B.plain 09.partial
         2.history: 1@0/A000000
         2: 0A..0F
         backup base_000000010000000000000003_00000040 parts 0..2 version
         backup base_000000010000000000000006_00000040 unfinished parts 0
         key basebackups_005/base_000000010000000000000006_00000040/tar_partitions/README
         key wal_005/000000010000000000000001.lzo.bak
         key sysids/sysid
         key basebackups_004/base_000000010000000000000003_00000040_backup_stop_sentinel.json
         key another/archive/wal_005/000000010000000000000001.lzo
         key README",
        expect![[r#"
            1: 01..07 09 0A.zst 0B.plain 09.partial
            2.history
            2: 0A..0F
            backup base_000000010000000000000003_00000040 parts 0..2 version
            backup base_000000010000000000000006_00000040 unfinished parts 0
            key basebackups_005/base_000000010000000000000006_00000040/tar_partitions/README
            key sysids/sysid
            old basebackups_004/
            key README
            key another/
            key wal_005/000000010000000000000001.lzo.bak
        "#]],
    );
    // Markers that consoles make are nothing, but a marker elsewhere is a foreign folder.
    check_scan(
        "key wal_005/\nkey basebackups_005/\nkey sysids/\nkey x/",
        expect![[r#"
        key x/
    "#]],
    );
}

#[test]
fn several_stored_forms_of_one_segment() {
    let inventory = inventory("1: 01 01.zst 01.plain\nkey wal_005/000000010000000000000001.");
    let name = "000000010000000000000001".parse().unwrap();
    let forms = inventory.stored(name);
    let keys: Vec<String> = forms.iter().map(|one| one.key().to_string()).collect();
    let names = ["lzo", "zst"].map(|suffix| format!("wal_005/000000010000000000000001.{suffix}"));
    assert_eq!(keys[..2], names);
    assert_eq!(keys[2..], ["wal_005/000000010000000000000001", "wal_005/000000010000000000000001."]);
    assert_eq!(forms[0].form.stored, Compression::Lzo);
    assert_eq!(forms[0].modified(), None);
    assert_eq!(inventory.newest(timeline(1)).unwrap().name, name);
    assert!(!inventory.has("000000020000000000000001".parse().unwrap()));
}

#[test]
fn one_backup_is_not_its_namesakes() {
    let store = fixture::store(
        "backup base_000000010000000000000003 parts 1
         backup base_000000010000000000000003_00000040 parts 0
         backup base_00000001000000000000000A_D_000000010000000000000003 parts 1",
    );
    let name = "base_000000010000000000000003".parse().unwrap();
    let found = block_on(scan::backup(&store, &name)).unwrap();
    expect![[r#"
        backup base_000000010000000000000003 parts 1
    "#]]
    .assert_eq(&fixture::show(&found));
    assert_eq!(block_on(scan::backups(&store)).unwrap().backups.len(), 3);
}

#[test]
fn foreign_keys_are_bounded() {
    let mut builder = InventoryBuilder::new();
    for number in 0..10_500 {
        let key = format!("junk/{number:06}").into();
        builder.add(Listed::Object(ObjectId { key, size: 1, modified: None, etag: None }));
    }
    let inventory = builder.finish();
    assert_eq!((inventory.foreign.len(), inventory.more_foreign), (10_000, 500));
}

fn check_runs(text: &str, tli: u32, first: u64, last: u64, expected: Expect) {
    let range = WalRange { timeline: timeline(tli), first: SegmentNo(first), last: SegmentNo(last) };
    expected.assert_eq(&show_runs(&continuity::runs(&inventory(text), range, SIZE)));
}

fn show_runs(runs: &[continuity::Run]) -> String {
    let line = |run: &continuity::Run| {
        let kind = if run.present { "present" } else { "gap" };
        format!("{kind} {}: {:02X}..={:02X} ({})\n", run.timeline, run.first.0, run.last.0, run.segments())
    };
    runs.iter().map(line).collect()
}

#[test]
fn runs_and_gaps() {
    check_runs(
        "1: 01..03 05 05.zst",
        1,
        1,
        6,
        expect![[r#"
        present 1: 01..=03 (3)
        gap 1: 04..=04 (1)
        present 1: 05..=05 (1)
        gap 1: 06..=06 (1)
    "#]],
    );
    check_runs(
        "1: 01..03",
        1,
        2,
        2,
        expect![[r#"
        present 1: 02..=02 (1)
    "#]],
    );
    check_runs(
        "1: 01..03",
        2,
        1,
        3,
        expect![[r#"
        gap 2: 01..=03 (3)
    "#]],
    );
    check_runs("1: 01..03", 1, 3, 2, expect![""]);
    // One stray name at the end of all WAL is one gap, not 2^40 of them.
    check_runs(
        "1: 01 FFFFFFFFFF",
        1,
        1,
        0xFF_FFFF_FFFF,
        expect![[r#"
        present 1: 01..=01 (1)
        gap 1: 02..=FFFFFFFFFE (1099511627773)
        present 1: FFFFFFFFFF..=FFFFFFFFFF (1)
    "#]],
    );
}

#[test]
fn what_lies_beside_is_not_there() {
    // Empty, partial, in a sub-folder, with something behind its suffix; and an empty form beside a good one.
    check_runs(
        "1: 01 02.empty 03.partial 06.zst 06.empty 07
         key wal_005/old/000000010000000000000004.lzo
         key wal_005/000000010000000000000003.partial.zst
         key wal_005/000000010000000000000005.lzo.bak",
        1,
        1,
        7,
        expect![[r#"
        present 1: 01..=01 (1)
        gap 1: 02..=05 (4)
        present 1: 06..=07 (2)
    "#]],
    );
}

fn check_extent(text: &str, expected: Expect) {
    let extent = continuity::extent(&inventory(text), timeline(1), SIZE);
    let shown = extent.map_or_else(
        || "none\n".to_owned(),
        |one| {
            format!(
                "{:X}..={:X}\n{}{}",
                one.first.0,
                one.last.0,
                show_runs(&one.runs),
                show_runs(&one.strays).replace("present", "stray")
            )
        },
    );
    expected.assert_eq(&shown);
}

#[test]
fn how_the_files_of_a_timeline_lie() {
    check_extent(
        "2: 01",
        expect![[r#"
        none
    "#]],
    );
    check_extent(
        "1: 02.empty 03 03.zst 04 06 09.empty",
        expect![[r#"
        2..=9
        present 1: 03..=04 (2)
        present 1: 06..=06 (1)
    "#]],
    );
    // 1 PiB is 2^26 segments: a gap of that is believed, more is not.
    check_extent(
        "1: 01 04000001",
        expect![[r#"
        1..=4000001
        present 1: 01..=01 (1)
        present 1: 4000001..=4000001 (1)
    "#]],
    );
    check_extent(
        "1: 01 04000002",
        expect![[r#"
        1..=1
        present 1: 01..=01 (1)
        stray 1: 4000002..=4000002 (1)
    "#]],
    );
    // A leftover at the beginning is the stray, where the others are more.
    check_extent(
        "1: 01 FFFFFFF0..FFFFFFF4",
        expect![[r#"
        FFFFFFF0..=FFFFFFF4
        present 1: FFFFFFF0..=FFFFFFF4 (5)
        stray 1: 01..=01 (1)
    "#]],
    );
}

#[test]
fn names_of_another_size_are_no_segments_of_this_one() {
    let inventory = inventory("1: 3E..41");
    let larger = SegmentSize::new(64 << 20).unwrap();
    let strays: Vec<String> = misfits(&inventory, larger).map(|name| name.to_string()).collect();
    assert_eq!(strays, ["000000010000000000000040", "000000010000000000000041"]);
    let range = WalRange { timeline: timeline(1), first: SegmentNo(0x3E), last: SegmentNo(0x41) };
    expect![[r#"
        present 1: 3E..=3F (2)
        gap 1: 40..=41 (2)
    "#]]
    .assert_eq(&show_runs(&continuity::runs(&inventory, range, larger)));
}

#[test]
fn runs_along_a_way() {
    let way = TimelineHistory::parse(timeline(3), b"1\t0/A000028\tx\n2\t0/C000000\tx\n").unwrap();
    // The parent's file at the switch does not stand in for the child's.
    let inventory = inventory("1: 08..0B\n2: 0B\n3: 0C..0E");
    let runs = continuity::along(&inventory, &way, fixture::place(8, 40), fixture::place(0xF, 0), SIZE);
    expect![[r#"
        present 1: 08..=09 (2)
        gap 2: 0A..=0A (1)
        present 2: 0B..=0B (1)
        present 3: 0C..=0E (3)
    "#]]
    .assert_eq(&show_runs(&runs));
    assert_eq!(continuity::along(&inventory, &way, fixture::place(8, 0), fixture::place(8, 0), SIZE), []);
}

#[test]
fn the_tree() {
    let tree = timelines(
        "1: 01..0A
         2.history: 1@0/A000000
         2: 0A..0F
         3.history: 1@0/A000000 2@0/F000110
         3: 0F
         4.history: 1@0/5000000
         6.history: 1@0/B000000 4@0/8000000",
    );
    assert_eq!(tree.latest(timeline(1)).get(), 4, "5 is missing, so 6 is never asked for");
    assert_eq!(tree.latest(timeline(6)).get(), 6);
    assert_eq!(tree.parent(timeline(3)).unwrap().0, timeline(2));
    assert_eq!(tree.parent(timeline(1)), None);
    let children: Vec<u32> = tree.children(timeline(1)).iter().map(|(child, _)| child.get()).collect();
    assert_eq!(children, [2, 4]);
    let oddities = [Oddity::Disagree { child: timeline(6), ancestor: timeline(4) }, Oddity::Unreachable(timeline(6))];
    assert_eq!(tree.oddities(), oddities);
}

#[test]
fn what_is_odd_about_timelines() {
    let oddities = |text| timelines(text).oddities();
    assert_eq!(oddities("1: 01\n2: 02"), [Oddity::NoHistory(timeline(2))]);
    assert_eq!(oddities("2: 02"), [], "retention took the rest");
    assert_eq!(oddities("1: 01\n2.history: damaged\n2: 02"), [Oddity::Damaged(timeline(2))]);
    let damaged = timelines("1: 01\n2.history: damaged");
    assert_eq!(damaged.history(timeline(2)), None);
    assert!(
        damaged
            .iter()
            .any(|(_, node)| matches!(&node.history, Some(Err(error)) if error.code().as_str() == "damaged.history"))
    );
    assert_eq!(damaged.history(timeline(9)).unwrap().ancestors(), []);
    assert_eq!(damaged.latest(timeline(1)).get(), 2, "PostgreSQL finds it, and then stops");
}

/// A million of them must not cost more than they do.
#[test]
fn a_stored_segment_is_small_and_knows_its_version() {
    assert_eq!(size_of::<super::inventory::StoredSegment>(), 40);
    let object = |etag: Option<&str>, nanos: Option<i128>| ObjectId {
        key: "wal_005/000000010000000000000001.lzo".into(),
        size: 5,
        modified: nanos.map(|nanos| jiff::Timestamp::from_nanosecond(nanos).unwrap()),
        etag: etag.map(crate::storage::ETag::new),
    };
    let version = |object: ObjectId| {
        let mut builder = InventoryBuilder::new();
        builder.add(Listed::Object(object.clone()));
        let listed = builder.finish().segments()[0].version;
        assert_eq!(listed, object.fingerprint());
        listed.0
    };
    // What is stored on disks must not change between builds.
    assert_eq!(version(object(Some("\"abc\""), Some(1))), 0x3376_BB8F_853F_C46C);
    assert_eq!(version(object(Some("\"abc\""), None)), version(object(Some("\"abc\""), Some(1))));
    assert_ne!(version(object(None, Some(1))), version(object(None, Some(2))), "one nanosecond is enough");
}

proptest! {
    /// Against a naive model: a set of numbers, asked one by one.
    #[test]
    fn runs_tile_the_range(present in prop::collection::btree_set(0_u64..40, 0..30), first in 0_u64..40, len in 1_u64..40) {
        let text = format!("1: {}", present.iter().map(|number| format!("{number:02X}")).collect::<Vec<_>>().join(" "));
        let range = WalRange { timeline: timeline(1), first: SegmentNo(first), last: SegmentNo(first + len - 1) };
        let runs = continuity::runs(&inventory(&text), range, SIZE);
        let mut seen = Vec::new();
        for run in &runs {
            seen.extend((run.first.0..=run.last.0).map(|number| (number, run.present)));
        }
        let model: Vec<_> = (first..first + len).map(|number| (number, present.contains(&number))).collect();
        prop_assert_eq!(seen, model);
        prop_assert!(runs.windows(2).all(|pair| pair[0].present != pair[1].present));
    }

    /// The order in which a store lists, and what it repeats, change nothing.
    #[test]
    fn order_and_repetition_do_not_matter(order in Just((0..30).collect::<Vec<u64>>()).prop_shuffle(), again in 0_usize..30) {
        let object = |number: &u64| {
            let name = SegmentNo(*number / 2).name(timeline(1), SIZE).unwrap();
            let suffix = if number.is_multiple_of(2) { "lzo" } else { "zst" };
            Listed::Object(ObjectId { key: format!("wal_005/{name}.{suffix}").into(), size: *number, modified: None, etag: None })
        };
        let build = |numbers: &[u64]| {
            let mut builder = InventoryBuilder::new();
            numbers.iter().for_each(|number| builder.add(object(number)));
            builder.finish()
        };
        let sorted: Vec<u64> = (0..30).collect();
        let shuffled: Vec<u64> = order.iter().chain(order.get(again)).copied().collect();
        prop_assert_eq!(build(&shuffled), build(&sorted));
        let names: BTreeSet<_> = build(&shuffled).segments().iter().map(|one| one.name).collect();
        prop_assert_eq!(names.len(), 15);
    }
}
