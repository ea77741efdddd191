//! WAL-G's text and JSON, from archives as text.

use super::{Flavour, render};
use crate::commands::Silent;
use crate::commands::wal_verify::{Check, From, Options, Place, run};
use crate::pg::TimelineId;
use crate::testing::fixture;
use expect_test::expect;
use std::sync::Arc;

fn shown(text: &str, place: Option<(&str, u32)>, checks: &[Check], flavour: Flavour) -> String {
    let place =
        place.map(|(lsn, timeline)| Place { lsn: lsn.parse().unwrap(), timeline: TimelineId::new(timeline).unwrap() });
    let options = Options {
        checks: checks.to_vec(),
        place,
        from: From::Oldest,
        delayed: 0,
        uploading: 2,
        workers: None,
        cores: 2,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    render(&runtime.block_on(run(Arc::new(fixture::store(text)), &options, Arc::new(Silent))).unwrap(), flavour)
        .unwrap()
}

const ARCHIVE: &str = "1: 01..04 06..09
    2.history: 1@0/A000060
    2: 0A..0C 0E..10 12
    backup base_000000010000000000000003_00000040 parts 0";
const ALL: &[Check] = &[Check::Integrity, Check::Timeline, Check::Names];

#[test]
fn as_wal_g_prints_it() {
    expect![[r#"
        [wal-verify] integrity check status: FAILURE
        [wal-verify] integrity check details:
        +-----+--------------------------+--------------------------+----------------+-------------------+
        | TLI | START                    | END                      | SEGMENTS COUNT | STATUS            |
        +-----+--------------------------+--------------------------+----------------+-------------------+
        |   1 | 000000010000000000000003 | 000000010000000000000004 |              2 |             FOUND |
        |   1 | 000000010000000000000005 | 000000010000000000000005 |              1 |      MISSING_LOST |
        |   1 | 000000010000000000000006 | 000000010000000000000009 |              4 |             FOUND |
        |   2 | 00000002000000000000000A | 00000002000000000000000C |              3 |             FOUND |
        |   2 | 00000002000000000000000D | 00000002000000000000000D |              1 |      MISSING_LOST |
        |   2 | 00000002000000000000000E | 000000020000000000000010 |              3 |             FOUND |
        |   2 | 000000020000000000000011 | 000000020000000000000011 |              1 | MISSING_UPLOADING |
        |   2 | 000000020000000000000012 | 000000020000000000000012 |              1 |             FOUND |
        +-----+--------------------------+--------------------------+----------------+-------------------+
        [wal-verify] timeline check status: OK
        [wal-verify] timeline check details:
        Highest timeline found in storage: 2
        Current cluster timeline: 2
        [wal-verify] names check status: FAILURE
        [wal-verify] names check details:

        CRITICAL segment.missing  000000010000000000000005 at 0/5000000
            1 segment is missing; the timeline goes on behind with 000000010000000000000006
            Recovery from base_000000010000000000000003_00000040 ends at 0/5000000; later states, up to the end of
            000000020000000000000012, are out of reach.
            hurts  base_000000010000000000000003_00000040
            next   Look for them in pg_wal of the old primary and its standbys, and in other buckets; put them under
                   their names. If they are lost: take a new base backup, and acknowledge the loss (`--ack`).

        CRITICAL segment.missing  00000002000000000000000D at 0/D000000
            1 segment is missing; the timeline goes on behind with 00000002000000000000000E
            Recovery from base_000000010000000000000003_00000040 would not get past 0/D000000; later states, up to the
            end of 000000020000000000000012, are out of reach.
            hurts  base_000000010000000000000003_00000040
            next   Look for them in pg_wal of the old primary and its standbys, and in other buckets; put them under
                   their names. If they are lost: take a new base backup, and acknowledge the loss (`--ack`).

        CRITICAL segment.missing  000000020000000000000011 at 0/11000000
            1 segment is missing; the timeline goes on behind with 000000020000000000000012
            Recovery from base_000000010000000000000003_00000040 would not get past 0/11000000; later states, up to
            the end of 000000020000000000000012, are out of reach.
            hurts  base_000000010000000000000003_00000040
            next   Look for them in pg_wal of the old primary and its standbys, and in other buckets; put them under
                   their names. If they are lost: take a new base backup, and acknowledge the loss (`--ack`).
    "#]]
    .assert_eq(&shown(ARCHIVE, Some(("0/13000060", 2)), ALL, Flavour::Table));
    expect![[r#"
        [wal-verify] integrity check status: FAILURE
        [wal-verify] integrity check details:
        +-----+--------------------------+--------------------------+----------------+--------------+
        | TLI | START                    | END                      | SEGMENTS COUNT | STATUS       |
        +-----+--------------------------+--------------------------+----------------+--------------+
        |   1 | 000000010000000000000003 | 000000010000000000000004 |              2 |        FOUND |
        |   1 | 000000010000000000000005 | 000000010000000000000005 |              1 | MISSING_LOST |
        |   1 | 000000010000000000000006 | 000000010000000000000009 |              4 |        FOUND |
        |   2 | 00000002000000000000000A | 00000002000000000000000C |              3 |        FOUND |
        |   2 | 00000002000000000000000D | 00000002000000000000000D |              1 | MISSING_LOST |
        |   2 | 00000002000000000000000E | 000000020000000000000010 |              3 |        FOUND |
        |   2 | 000000020000000000000011 | 000000020000000000000011 |              1 | MISSING_LOST |
        |   2 | 000000020000000000000012 | 000000020000000000000012 |              1 |        FOUND |
        +-----+--------------------------+--------------------------+----------------+--------------+
        [wal-verify] timeline check status: OK
        [wal-verify] timeline check details:
        Highest timeline found in storage: 2
        Current cluster timeline: 2
    "#]]
    .assert_eq(&shown(ARCHIVE, None, &ALL[..2], Flavour::Table));
    expect![[r#"
        [wal-verify] integrity check status: OK
        [wal-verify] integrity check details:
        +-----+--------------------------+--------------------------+----------------+--------+
        | TLI | START                    | END                      | SEGMENTS COUNT | STATUS |
        +-----+--------------------------+--------------------------+----------------+--------+
        |   1 | 000000010000000000000003 | 000000010000000000000005 |              3 |  FOUND |
        +-----+--------------------------+--------------------------+----------------+--------+
        [wal-verify] timeline check status: OK
        [wal-verify] timeline check details:
        Highest timeline found in storage: 1
        Current cluster timeline: 1
        [wal-verify] names check status: OK
        [wal-verify] names check details:
        nothing is wrong, nothing is missing
    "#]]
    .assert_eq(&shown("1: 03..05\nbackup base_000000010000000000000003_00000040 parts 0", None, ALL, Flavour::Table));
}

#[test]
fn as_wal_g_s_json() {
    expect![[r#"
        {
          "integrity": {
            "status": "FAILURE",
            "details": [
              {
                "timeline_id": 1,
                "start_segment": "000000010000000000000003",
                "end_segment": "000000010000000000000004",
                "segments_count": 2,
                "status": "FOUND"
              },
              {
                "timeline_id": 1,
                "start_segment": "000000010000000000000005",
                "end_segment": "000000010000000000000005",
                "segments_count": 1,
                "status": "MISSING_LOST"
              },
              {
                "timeline_id": 1,
                "start_segment": "000000010000000000000006",
                "end_segment": "000000010000000000000009",
                "segments_count": 4,
                "status": "FOUND"
              },
              {
                "timeline_id": 2,
                "start_segment": "00000002000000000000000A",
                "end_segment": "00000002000000000000000C",
                "segments_count": 3,
                "status": "FOUND"
              },
              {
                "timeline_id": 2,
                "start_segment": "00000002000000000000000D",
                "end_segment": "00000002000000000000000D",
                "segments_count": 1,
                "status": "MISSING_LOST"
              },
              {
                "timeline_id": 2,
                "start_segment": "00000002000000000000000E",
                "end_segment": "000000020000000000000010",
                "segments_count": 3,
                "status": "FOUND"
              },
              {
                "timeline_id": 2,
                "start_segment": "000000020000000000000011",
                "end_segment": "000000020000000000000011",
                "segments_count": 1,
                "status": "MISSING_UPLOADING"
              },
              {
                "timeline_id": 2,
                "start_segment": "000000020000000000000012",
                "end_segment": "000000020000000000000012",
                "segments_count": 1,
                "status": "FOUND"
              }
            ]
          },
          "timeline": {
            "status": "OK",
            "details": {
              "current_timeline_id": 2,
              "highest_storage_timeline_id": 2
            }
          }
        }
    "#]]
    .assert_eq(&shown(ARCHIVE, Some(("0/13000060", 2)), &ALL[..2], Flavour::WalGJson));
    // Nothing was walked.
    let text = "1: 03\nbackup base_000000010000000000000003_00000040 parts 0";
    let nothing = shown(text, Some(("0/3000060", 1)), &ALL[..1], Flavour::WalGJson);
    assert!(nothing.contains("\"details\": null") && nothing.contains("\"OK\""), "{nothing}");
    let document = shown(ARCHIVE, None, ALL, Flavour::Document);
    assert!(
        document.contains("\"schema\": \"wal-r.wal-verify\"") && document.contains("\"code\": \"segment.missing\"")
    );
}
