//! Archives as text, and what people see.

use super::{Flavour, render};
use crate::commands::wal_show::run;
use crate::storage::Store;
use crate::storage::local::LocalStore;
use crate::storage::memory::MemoryStore;
use crate::testing::fixture;
use expect_test::{Expect, expect};

fn shown(store: &dyn Store, flavour: Flavour) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    render(&runtime.block_on(run(store)).unwrap(), flavour).unwrap()
}

const TABLE: Flavour = Flavour::Table { backups: true, drawing: true };

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&shown(&fixture::store(text), TABLE));
}

#[test]
fn a_real_archive() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/archive/wal-e-pg13");
    let text = shown(&LocalStore::new(path), TABLE);
    // When the files were stored depends on who copied them.
    let masked: String = text.lines().filter(|line| !line.contains("(20")).map(|line| line.to_owned() + "\n").collect();
    expect![[r#"
        TLI  PARENT TLI  SWITCHPOINT LSN  START SEGMENT             END SEGMENT               SEGMENT RANGE  SEGMENTS COUNT  STATUS  BACKUPS COUNT
        1    -           -                000000010000000000000002  000000010000000000000005  4              4               OK      1
        2    1           0/60000A0        000000020000000000000006  000000020000000000000007  2              2               OK      0

                     L
        timeline 1  ====
        timeline 2     \==>

        one column is 1 segment; = there, \ leaves its parent, > followed by `latest`, B base backup, L LATEST

        PostgreSQL 13; cluster 7710553512918031522; segments of 16.0 MiB: the first page of 000000020000000000000007
    "#]].assert_eq(&masked);
}

#[test]
fn gaps_and_branches() {
    check(
        "1: 01..04 06..0C
         2.history: 1@0/A000060
         2: 0B..12 14..1F
         3.history: 1@0/A000060 2@0/15000060
         backup base_000000010000000000000003_00000040 parts 0
         backup base_000000010000000000000007_00000040 parts 0
         backup base_00000002000000000000000E_00000040 parts 0
         backup base_000000020000000000000014_00000040 unfinished parts 0",
        expect![[r#"
            TLI  PARENT TLI  SWITCHPOINT LSN  START SEGMENT             END SEGMENT               SEGMENT RANGE  SEGMENTS COUNT  STATUS         BACKUPS COUNT
            1    -           -                000000010000000000000001  00000001000000000000000C  12             11              LOST_SEGMENTS  2
            2    1           0/A000060        00000002000000000000000B  00000002000000000000001F  21             20              LOST_SEGMENTS  1
            3    2           0/15000060       -                         -                         0              0               NO_SEGMENTS    0

                        0/1000000            0/20000000
                          B   B
            timeline 1  ====x=======
                                     L     b
            timeline 2          \x========x============
            timeline 3                     \>

            one column is 1 segment; = there, x missing, ! partly missing, \ leaves its parent, > followed by `latest`, B
            base backup, L LATEST, b one that is unfinished or unreadable

            segments of 16.0 MiB: assumed; no first page could be read: memory:///wal_005/00000002000000000000001F.lzo:
            the object does not decode: not an lzop file at byte 0

            CRITICAL segment.missing  000000020000000000000013 at 0/13000000
                1 segment is missing; the timeline goes on behind with 000000020000000000000014
                Recovery from base_00000002000000000000000E_00000040 and from 2 older base backups ends at 0/13000000;
                later states, up to the end of 00000002000000000000001F, are out of reach.
                hurts  base_000000010000000000000003_00000040, base_000000010000000000000007_00000040,
                       base_00000002000000000000000E_00000040
                next   Look for them in pg_wal of the old primary and its standbys, and in other buckets; put them under
                       their names. If they are lost: take a new base backup, and acknowledge the loss (`--ack`).

            WARNING segment.missing  000000010000000000000005 at 0/5000000
                1 segment is missing; the timeline goes on behind with 000000010000000000000006
                Recovery from base_000000010000000000000003_00000040 ends at 0/5000000; later states need
                base_000000010000000000000007_00000040.
                hurts  base_000000010000000000000003_00000040
                next   Look for them in pg_wal of the old primary and its standbys, and in other buckets; put them under
                       their names. If they are lost: take a new base backup, and acknowledge the loss (`--ack`).

            WARNING fork.missing  00000002000000000000000A at 0/A000000
                1 segment is missing; the timeline goes on behind with 00000002000000000000000B; timeline 2 leaves
                timeline 1 in it, at 0/A000060; 00000001000000000000000A, which is there, goes past it
                Recovery from base_000000010000000000000007_00000040 and from 1 older base backup ends at 0/A000000; later
                states need base_00000002000000000000000E_00000040.
                hurts  base_000000010000000000000003_00000040, base_000000010000000000000007_00000040
                next   Look for the child's segment in pg_wal of the server that was promoted.

            Harmless
              timeline.new  wal_005/00000003.history: it left timeline 2 at 0/15000060, and no segment of timeline 3 is
                            there yet
        "#]],
    );
}

#[test]
fn three_hundred_days() {
    // A segment every five minutes, a base backup a day, one segment lost; then a promotion.
    let store = MemoryStore::new();
    let day = 288;
    let name = |timeline: u32, number: u64| format!("{timeline:08X}{:08X}{:08X}", number / 256, number % 256);
    let time = |number: u64| jiff::Timestamp::from_second(1_769_000_000 + number as i64 * 300).unwrap();
    for number in 1..300 * day {
        if number != 200 * day + 7 {
            store.insert_at(&format!("wal_005/{}.lzo", name(1, number)), "x", time(number));
        }
        if number % day == 3 {
            let backup = format!("basebackups_005/base_{}_00000040", name(1, number));
            store.insert_at(&format!("{backup}/tar_partitions/part_00000000.tar.lzo"), "x", time(number));
            let sentinel = format!(
                r#"{{"wal_segment_backup_stop": "{}", "wal_segment_offset_backup_stop": "00000312"}}"#,
                name(1, number)
            );
            store.insert_at(&format!("{backup}_backup_stop_sentinel.json"), sentinel, time(number + 1));
        }
    }
    store.insert("wal_005/00000002.history", "1\t151/80000060\tno recovery target specified\n");
    store.insert_at(&format!("wal_005/{}.lzo", name(2, 300 * day)), "x", time(300 * day));
    expect![[r#"
        TLI  PARENT TLI  SWITCHPOINT LSN  START SEGMENT             END SEGMENT               SEGMENT RANGE  SEGMENTS COUNT  STATUS         BACKUPS COUNT
        1    -           -                000000010000000000000001  00000001000001510000007F  86399          86398           LOST_SEGMENTS  300
        2    1           151/80000060     000000020000015100000080  000000020000015100000080  1              1               OK             0

                    0/1000000 (2026-01-21)                    151/81000000 (2026-11-17)
                    BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBL
        timeline 1  ============================================!======================
        timeline 2                                                                   \=>

        one column is 1290 segments; = there, x missing, ! partly missing, \ leaves its parent, > followed by
        `latest`, B base backup, L LATEST

        segments of 16.0 MiB: how the names run; no first page could be read:
        memory:///wal_005/000000020000015100000080.lzo: the object does not decode: not an lzop file at byte 0

        WARNING segment.missing  00000001000000E100000007 at E1/7000000
            1 segment is missing; the timeline goes on behind with 00000001000000E100000008
            Recovery from base_00000001000000E100000003_00000040 and from 200 older base backups ends at E1/7000000;
            later states need base_00000001000000E200000023_00000040.
            hurts  base_000000010000000000000003_00000040, base_000000010000000100000023_00000040,
                   base_000000010000000200000043_00000040, base_000000010000000300000063_00000040,
                   base_000000010000000400000083_00000040 and 196 more
            next   Look for them in pg_wal of the old primary and its standbys, and in other buckets; put them under
                   their names. If they are lost: take a new base backup, and acknowledge the loss (`--ack`).
    "#]].assert_eq(&shown(&store, TABLE));
}

#[test]
fn many_timelines() {
    let mut text = "backup base_000000010000000000000003_00000040 parts 0\n1: 01..04\n".to_owned();
    let mut history = String::new();
    for timeline in 2..=12_u64 {
        let at = 3 * timeline - 1;
        history += &format!(" {}@0/{:X}", timeline - 1, at * 0x100_0000 + 0x60);
        text += &format!("{timeline}.history:{history}\n{timeline}: {at:02X}..{:02X}\n", at + 2);
    }
    check(
        &text,
        expect![[r#"
        TLI  PARENT TLI  SWITCHPOINT LSN  START SEGMENT             END SEGMENT               SEGMENT RANGE  SEGMENTS COUNT  STATUS  BACKUPS COUNT
        1    -           -                000000010000000000000001  000000010000000000000004  4              4               OK      1
        2    1           0/5000060        000000020000000000000005  000000020000000000000007  3              3               OK      0
        3    2           0/8000060        000000030000000000000008  00000003000000000000000A  3              3               OK      0
        4    3           0/B000060        00000004000000000000000B  00000004000000000000000D  3              3               OK      0
        5    4           0/E000060        00000005000000000000000E  000000050000000000000010  3              3               OK      0
        6    5           0/11000060       000000060000000000000011  000000060000000000000013  3              3               OK      0
        7    6           0/14000060       000000070000000000000014  000000070000000000000016  3              3               OK      0
        8    7           0/17000060       000000080000000000000017  000000080000000000000019  3              3               OK      0
        9    8           0/1A000060       00000009000000000000001A  00000009000000000000001C  3              3               OK      0
        10   9           0/1D000060       0000000A000000000000001D  0000000A000000000000001F  3              3               OK      0
        11   10          0/20000060       0000000B0000000000000020  0000000B0000000000000022  3              3               OK      0
        12   11          0/23000060       0000000C0000000000000023  0000000C0000000000000025  3              3               OK      0

                     0/1000000                  0/26000000
                       L
        timeline 1   ====
        timeline 2      \===
        timeline 3         \===
        timeline 4            \===
        timeline 5               \===
        timeline 6                  \===
        timeline 7                     \===
        timeline 8                        \===
        timeline 9                           \===
        timeline 10                             \===
        timeline 11                                \===
        timeline 12                                   \===>

        one column is 1 segment; = there, \ leaves its parent, > followed by `latest`, B base backup, L LATEST

        segments of 16.0 MiB: assumed; no first page could be read: memory:///wal_005/0000000C0000000000000025.lzo:
        the object does not decode: not an lzop file at byte 0
    "#]],
    );
}

#[test]
fn nothing() {
    check(
        "key README",
        expect![[r#"
            TLI  PARENT TLI  SWITCHPOINT LSN  START SEGMENT  END SEGMENT  SEGMENT RANGE  SEGMENTS COUNT  STATUS  BACKUPS COUNT

            Nothing to draw: no segment is there.

            segments of 16.0 MiB: assumed: there is no segment

            UNKNOWN archive.empty  memory:///
                neither a segment nor a history nor a base backup lies under it; what lies there is README
                Nothing was found, so nothing can be said.
                next   Check the prefix with `wal-r config check`; `wal-r st ls` shows what is there.
        "#]],
    );
    assert_eq!(shown(&fixture::store(""), Flavour::WalGJson { backups: true }), "[]\n");
}

#[test]
fn json_in_wal_g_s_fields() {
    let store = fixture::store(
        "1: 01..04 06..09
         2.history: 1@0/A000060
         2: 0A
         3.history: 1@0/A000060 2@0/C000060
         backup base_000000010000000000000003_00000040 parts 0
         backup base_000000010000000000000007_00000040 unfinished parts 0",
    );
    expect![[r#"
        [
          {
            "id": 1,
            "parent_id": 0,
            "switch_point_lsn": 0,
            "start_segment": "000000010000000000000001",
            "end_segment": "000000010000000000000009",
            "segments_count": 8,
            "missing_segments": [
              "000000010000000000000005"
            ],
            "backups": [
              {
                "backup_name": "base_000000010000000000000003_00000040",
                "wal_file_name": "000000010000000000000003",
                "storage_name": "default",
                "uncompressed_size": 1,
                "wal_segment_backup_stop": "000000010000000000000003",
                "wal_segment_offset_backup_stop": 312,
                "latest": true
              }
            ],
            "segment_range_size": 9,
            "status": "LOST_SEGMENTS",
            "missing_ranges": [
              {
                "first": "000000010000000000000005",
                "last": "000000010000000000000005",
                "segments": 1
              }
            ],
            "partial_segments": [],
            "followed_by_latest": false
          },
          {
            "id": 2,
            "parent_id": 1,
            "switch_point_lsn": 167772256,
            "start_segment": "00000002000000000000000A",
            "end_segment": "00000002000000000000000A",
            "segments_count": 1,
            "missing_segments": [
              "00000002000000000000000B"
            ],
            "segment_range_size": 1,
            "status": "LOST_SEGMENTS",
            "missing_ranges": [
              {
                "first": "00000002000000000000000B",
                "last": "00000002000000000000000B",
                "segments": 1
              }
            ],
            "partial_segments": [],
            "followed_by_latest": false
          }
        ]
    "#]]
    .assert_eq(&shown(&store, Flavour::WalGJson { backups: true }));
    assert!(!shown(&store, Flavour::WalGJson { backups: false }).contains("\"backups\""));
    assert!(!shown(&store, Flavour::Table { backups: false, drawing: false }).contains("BACKUPS"));
    let document = shown(&store, Flavour::Document);
    assert!(document.starts_with("{\n  \"schema\": \"wal-r.wal-show\",\n  \"version\": 1,"), "{document}");
}
