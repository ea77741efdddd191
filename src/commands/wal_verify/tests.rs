//! WAL-G's checks, case by case.

use super::{Check, Details, From, Options, Place, Report, run};
use crate::commands::Silent;
use crate::error::Code;
use crate::pg::TimelineId;
use crate::proof::verdict::Verdict;
use crate::storage::local::LocalStore;
use crate::testing::fixture;
use expect_test::{Expect, expect};
use std::sync::Arc;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn place(text: &str) -> Option<Place> {
    let (lsn, timeline) = text.split_once('@')?;
    Some(Place { lsn: lsn.parse().unwrap(), timeline: TimelineId::parse_decimal(timeline).unwrap() })
}

fn options(checks: &[Check], at: &str, delayed: u64, uploading: u64) -> Options {
    Options {
        checks: checks.to_vec(),
        place: place(at),
        from: From::Oldest,
        delayed,
        uploading,
        workers: None,
        cores: 2,
    }
}

fn show(report: &Report) -> String {
    let mut text = String::new();
    for checked in &report.checks {
        text += &format!("{} {}\n", checked.check.word(), checked.status.word());
        match &checked.details {
            Details::Integrity(stretches) => {
                for one in stretches {
                    let (first, last) = (one.start_segment, one.end_segment);
                    text += &format!("  {first} {last} {} {}\n", one.segments_count, one.status.word());
                }
            }
            Details::Timeline { current_timeline_id, highest_storage_timeline_id } => {
                text += &format!("  {current_timeline_id} of {highest_storage_timeline_id}\n");
            }
            Details::Findings(findings) => {
                findings.iter().for_each(|one| text += &format!("  {} {}\n", one.severity.word(), one.code));
            }
        }
    }
    text
}

fn check(text: &str, at: &str, (delayed, uploading): (u64, u64), expected: Expect) {
    let options = options(&[Check::Integrity, Check::Timeline], at, delayed, uploading);
    expected.assert_eq(&show(&block_on(run(Arc::new(fixture::store(text)), &options, Arc::new(Silent))).unwrap()));
}

const BACKUP: &str = "backup base_000000010000000000000003_00000040 parts 0\n";

#[test]
fn what_is_on_its_way_is_not_lost_yet() {
    let text = format!("{BACKUP}1: 01..04 06..09 0B");
    // The server writes 0E: of 03 to 0D two are delayed, two uploading.
    check(
        &text,
        "0/E000060@1",
        (2, 2),
        expect![[r#"
        integrity FAILURE
          000000010000000000000003 000000010000000000000004 2 FOUND
          000000010000000000000005 000000010000000000000005 1 MISSING_LOST
          000000010000000000000006 000000010000000000000009 4 FOUND
          00000001000000000000000A 00000001000000000000000A 1 MISSING_UPLOADING
          00000001000000000000000B 00000001000000000000000B 1 FOUND
          00000001000000000000000C 00000001000000000000000D 2 MISSING_DELAYED
        timeline OK
          1 of 1
    "#]],
    );
    check(
        &text,
        "0/E000060@1",
        (0, 0),
        expect![[r#"
        integrity FAILURE
          000000010000000000000003 000000010000000000000004 2 FOUND
          000000010000000000000005 000000010000000000000005 1 MISSING_LOST
          000000010000000000000006 000000010000000000000009 4 FOUND
          00000001000000000000000A 00000001000000000000000A 1 MISSING_LOST
          00000001000000000000000B 00000001000000000000000B 1 FOUND
          00000001000000000000000C 00000001000000000000000D 2 MISSING_LOST
        timeline OK
          1 of 1
    "#]],
    );
    // The first phase ends at the first that is there.
    check(
        &text,
        "0/C000060@1",
        (5, 1),
        expect![[r#"
        integrity FAILURE
          000000010000000000000003 000000010000000000000004 2 FOUND
          000000010000000000000005 000000010000000000000005 1 MISSING_LOST
          000000010000000000000006 000000010000000000000009 4 FOUND
          00000001000000000000000A 00000001000000000000000A 1 MISSING_UPLOADING
          00000001000000000000000B 00000001000000000000000B 1 FOUND
        timeline OK
          1 of 1
    "#]],
    );
    check(
        &text,
        "0/C000060@1",
        (0, 100),
        expect![[r#"
        integrity WARNING
          000000010000000000000003 000000010000000000000004 2 FOUND
          000000010000000000000005 000000010000000000000005 1 MISSING_UPLOADING
          000000010000000000000006 000000010000000000000009 4 FOUND
          00000001000000000000000A 00000001000000000000000A 1 MISSING_UPLOADING
          00000001000000000000000B 00000001000000000000000B 1 FOUND
        timeline OK
          1 of 1
    "#]],
    );
    // Nobody asked a server.
    check(
        &text,
        "",
        (5, 100),
        expect![[r#"
        integrity FAILURE
          000000010000000000000003 000000010000000000000004 2 FOUND
          000000010000000000000005 000000010000000000000005 1 MISSING_LOST
          000000010000000000000006 000000010000000000000009 4 FOUND
          00000001000000000000000A 00000001000000000000000A 1 MISSING_LOST
          00000001000000000000000B 00000001000000000000000B 1 FOUND
        timeline OK
          1 of 1
    "#]],
    );
    // At the border of a segment the one before is being written.
    check(
        &text,
        "0/A000000@1",
        (0, 0),
        expect![[r#"
        integrity FAILURE
          000000010000000000000003 000000010000000000000004 2 FOUND
          000000010000000000000005 000000010000000000000005 1 MISSING_LOST
          000000010000000000000006 000000010000000000000008 3 FOUND
        timeline OK
          1 of 1
    "#]],
    );
}

#[test]
fn across_timelines() {
    let text =
        format!("{BACKUP}1: 01..0B\n2.history: 1@0/A000060\n2: 0A..0D\n3.history: 1@0/A000060 2@0/A000090\n3: 0A..0F");
    check(
        &text,
        "0/10000060@3",
        (0, 0),
        expect![[r#"
        integrity OK
          000000010000000000000003 000000010000000000000009 7 FOUND
          00000003000000000000000A 00000003000000000000000F 6 FOUND
        timeline OK
          3 of 3
    "#]],
    );
    check(
        &text,
        "0/E000060@2",
        (0, 0),
        expect![[r#"
        integrity OK
          000000010000000000000003 000000010000000000000009 7 FOUND
          00000002000000000000000A 00000002000000000000000D 4 FOUND
        timeline FAILURE
          2 of 3
    "#]],
    );
    check(
        &text,
        "",
        (0, 0),
        expect![[r#"
        integrity OK
          000000010000000000000003 000000010000000000000009 7 FOUND
          00000003000000000000000A 00000003000000000000000F 6 FOUND
        timeline OK
          3 of 3
    "#]],
    );
    // The child's first segment is missing, the parent's is there: it does not count.
    let text = format!("{BACKUP}1: 01..0B\n2.history: 1@0/A000060\n2: 0B..0D");
    check(
        &text,
        "0/E000060@2",
        (0, 0),
        expect![[r#"
        integrity FAILURE
          000000010000000000000003 000000010000000000000009 7 FOUND
          00000002000000000000000A 00000002000000000000000A 1 MISSING_LOST
          00000002000000000000000B 00000002000000000000000D 3 FOUND
        timeline OK
          2 of 2
    "#]],
    );
    // The promotion happened just now.
    check(
        &format!("{BACKUP}1: 01..09\n2.history: 1@0/A000060"),
        "",
        (0, 0),
        expect![[r#"
        integrity OK
          000000010000000000000003 000000010000000000000009 7 FOUND
        timeline OK
          2 of 2
    "#]],
    );
}

#[test]
fn without_a_base_backup_only_the_beginning_is_forgiven() {
    check(
        "1: 05..09",
        "",
        (0, 0),
        expect![[r#"
        integrity WARNING
          000000010000000000000001 000000010000000000000004 4 MISSING_LOST
          000000010000000000000005 000000010000000000000009 5 FOUND
        timeline OK
          1 of 1
    "#]],
    );
    check(
        "1: 05..07 09",
        "",
        (0, 0),
        expect![[r#"
        integrity FAILURE
          000000010000000000000001 000000010000000000000004 4 MISSING_LOST
          000000010000000000000005 000000010000000000000007 3 FOUND
          000000010000000000000008 000000010000000000000008 1 MISSING_LOST
          000000010000000000000009 000000010000000000000009 1 FOUND
        timeline OK
          1 of 1
    "#]],
    );
    check(
        "1: FFFFFFFFFE",
        "",
        (0, 0),
        expect![[r#"
        integrity WARNING
          000000010000000000000001 00000001FFFFFFFF000000FD 1099511627773 MISSING_LOST
          00000001FFFFFFFF000000FE 00000001FFFFFFFF000000FE 1 FOUND
        timeline OK
          1 of 1
    "#]],
    );
}

#[test]
fn a_base_backup_that_is_named() {
    let store =
        fixture::store(&format!("{BACKUP}backup base_000000010000000000000006_00000040 parts 0\n1: 01..04 06..09"));
    let with = |from| Options { from, ..options(&[Check::Integrity], "", 0, 0) };
    let named = From::Named("base_000000010000000000000006_00000040".parse().unwrap());
    for from in [From::Latest, named] {
        expect![[r#"
            integrity OK
              000000010000000000000006 000000010000000000000009 4 FOUND
        "#]]
        .assert_eq(&show(&block_on(run(Arc::new(store.clone()), &with(from), Arc::new(Silent))).unwrap()));
    }
    let absent = From::Named("base_000000010000000000000007_00000040".parse().unwrap());
    assert_eq!(
        block_on(run(Arc::new(store.clone()), &with(absent), Arc::new(Silent))).unwrap_err().code(),
        Code::AbsentBackup
    );
}

#[test]
fn what_could_not_be_looked_at_is_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let all = options(&[Check::Integrity, Check::Timeline, Check::Names], "", 0, 0);
    let mistyped =
        block_on(run(Arc::new(LocalStore::new(directory.path().join("mistyped"))), &all, Arc::new(Silent))).unwrap();
    expect![[r#"
        integrity UNKNOWN
          unknown archive.unread
        timeline UNKNOWN
          unknown archive.unread
        names UNKNOWN
          unknown archive.unread
    "#]]
    .assert_eq(&show(&mistyped));
    let empty = block_on(run(Arc::new(LocalStore::new(directory.path())), &all, Arc::new(Silent))).unwrap();
    expect![[r#"
        integrity UNKNOWN
          unknown archive.empty
        timeline UNKNOWN
          unknown archive.empty
        names UNKNOWN
          unknown archive.empty
    "#]]
    .assert_eq(&show(&empty));
    for report in [mistyped, empty] {
        assert_eq!(report.verdict(), Verdict::Unknown);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn levels_read_what_they_claim() {
    let checks = [Check::Decode, Check::Headers, Check::Records];
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/archive/wal-e-pg13");
    let run = |store: Arc<dyn crate::storage::Store>| {
        block_on(super::run(store, &options(&checks, "", 0, 0), Arc::new(Silent))).unwrap()
    };
    let report = run(Arc::new(LocalStore::new(path)));
    assert_eq!(report.verdict(), Verdict::Ok);
    let read = report.checks[2].read.unwrap();
    assert_eq!((read.good, read.unlinked), (6, 1), "{read:?}");
    assert!(read.records > 100 && read.bytes > 100_000, "{read:?}");
    // Names are good, contents are none.
    let report = run(Arc::new(fixture::store(&format!("{BACKUP}1: 03..05"))));
    expect![[r#"
        decode FAILURE
          critical segment.undecodable
          critical segment.undecodable
          critical segment.undecodable
          critical backup.wal
        headers FAILURE
          critical segment.undecodable
          critical segment.undecodable
          critical segment.undecodable
          critical backup.wal
        records FAILURE
          critical segment.undecodable
          critical segment.undecodable
          critical segment.undecodable
          critical backup.wal
    "#]]
    .assert_eq(&show(&report));
    let report = run(Arc::new(fixture::store(&format!("{BACKUP}1: 03.zst 04.zst 05.zst"))));
    expect![[r#"
        decode UNKNOWN
          unknown segment.unread
        headers UNKNOWN
          unknown segment.unread
        records UNKNOWN
          unknown segment.unread
    "#]]
    .assert_eq(&show(&report));
}
