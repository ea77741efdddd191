//! Archives as text, and the report on them.

use super::judge;
use crate::layout::BackupName;
use crate::pg::{Lsn, SegmentNo, SegmentSize};
use crate::proof::finding::{Finding, FindingCode, Severity};
use crate::proof::names::defects;
use crate::proof::survey::{BackupFacts, Survey, scan};
use crate::storage::Store;
use crate::testing::fixture;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn survey(store: &dyn Store) -> Survey {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(scan(store)).unwrap()
}

fn report(store: &dyn Store) -> String {
    let survey = survey(store);
    let mut text = String::new();
    for finding in judge(&survey, defects(&survey)) {
        text += &format!("{} {} {}: {}\n", finding.severity.word(), finding.code, finding.object, finding.what);
        if !finding.consequence.is_empty() {
            text += &format!("  {}\n", finding.consequence);
        }
    }
    text
}

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&report(&fixture::store(text)));
}

#[test]
fn healthy() {
    // One timeline; after a promotion in every shape; after retention; branches of branches.
    for text in [
        "1: 03..0F\nbackup base_000000010000000000000003_00000040 parts 0",
        "1: 01..09\n2.history: 1@0/A000060\n2: 0A..0F\nbackup base_000000010000000000000003_00000040 parts 0",
        "1: 01..0A\n2.history: 1@0/A000060\n2: 0A..0F\nbackup base_000000010000000000000003_00000040 parts 0",
        "1: 01..09 0A.partial\n2.history: 1@0/A000060\n2: 0A..0F\nbackup base_000000010000000000000003_00000040 parts 0",
        "1: 01..0C\n2.history: 1@0/A000060\n2: 0A..0F\nbackup base_000000010000000000000003_00000040 parts 0",
        "1: 01..09\n2.history: 1@0/A000000\n2: 0A..0F\nbackup base_000000010000000000000003_00000040 parts 0",
        "2.history: 1@0/A000060\n2: 0C..0F\nbackup base_00000002000000000000000C_00000040 parts 0",
        "2.history: 1@0/A000060\n2: 0A..0F\nbackup base_00000002000000000000000A_00000128 parts 0",
        "2: 0C..0F\nbackup base_00000002000000000000000C_00000040 parts 0",
        "3.history: 1@0/5000060 2@0/A000060\n3: 0C..0F\nbackup base_00000003000000000000000C_00000040 parts 0",
        "1: 01..05\n2.history: 1@0/5000060\n2: 05..09\n3.history: 1@0/5000060 2@0/9000060\n3: 09..0C
         4.history: 1@0/5000060 2@0/9000060 3@0/C000060\n4: 0C..0D
         backup base_000000010000000000000003_00000040 parts 0\nbackup base_00000003000000000000000A_00000040 parts 0",
        "1: 01..05\n2.history: 1@0/5000060\n3.history: 1@0/5000060 2@0/5000090\n3: 05..0C
         backup base_000000010000000000000003_00000040 parts 0",
        "1: 03..07\nbackup base_000000010000000000000003_00000040 parts 0..11",
    ] {
        let report = report(&fixture::store(text));
        assert!(report.is_empty(), "{text}\n{report}");
    }
}

const BACKUPS: &str = "backup base_000000010000000000000003_00000040 parts 0
                       backup base_000000010000000000000006_00000040 parts 0\n";

#[test]
fn gaps() {
    check(
        &format!("{BACKUPS}1: 01..07 09..0B"),
        expect![[r#"
        critical segment.missing 000000010000000000000008: 1 segment is missing; the timeline goes on behind with 000000010000000000000009
          Recovery from base_000000010000000000000006_00000040 and from 1 older base backup ends at 0/8000000; later states, up to the end of 00000001000000000000000B, are out of reach.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..04 06..0B"),
        expect![[r#"
        warning segment.missing 000000010000000000000005: 1 segment is missing; the timeline goes on behind with 000000010000000000000006
          Recovery from base_000000010000000000000003_00000040 ends at 0/5000000; later states need base_000000010000000000000006_00000040.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01 03..0B"),
        expect![[r#"
        harmless segment.missing 000000010000000000000002: 1 segment is missing; the timeline goes on behind with 000000010000000000000003
          No base backup needs it: each that leads to timeline 1 starts behind it; the oldest is base_000000010000000000000003_00000040.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..05"),
        expect![[r#"
        critical segment.missing 000000010000000000000006: 1 segment is missing; base_000000010000000000000006_00000040 needs the WAL up to 0/6000138
          Recovery from base_000000010000000000000003_00000040 ends at 0/6000000; later states, up to the end of 000000010000000000000006, are out of reach. base_000000010000000000000006_00000040, the newest base backup, cannot be made consistent: it needs the WAL up to 0/6000138.
        warning backup.wal base_000000010000000000000006_00000040: of the WAL from 0/6000028 to 0/6000138, which it needs to be consistent, not all is good: 000000010000000000000006
          base_000000010000000000000006_00000040 cannot be restored; the newest that can is base_000000010000000000000003_00000040.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..02 06..0B"),
        expect![[r#"
        warning segment.missing 000000010000000000000003 to 000000010000000000000005: 3 segments are missing; the timeline goes on behind with 000000010000000000000006
          base_000000010000000000000003_00000040 cannot be made consistent: it needs the WAL up to 0/3000138.
        warning backup.wal base_000000010000000000000003_00000040: of the WAL from 0/3000028 to 0/3000138, which it needs to be consistent, not all is good: 000000010000000000000003 to 000000010000000000000005
          base_000000010000000000000003_00000040 cannot be restored; the newest that can is base_000000010000000000000006_00000040.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..05 07..0B"),
        expect![[r#"
        critical segment.missing 000000010000000000000006: 1 segment is missing; the timeline goes on behind with 000000010000000000000007
          Recovery from base_000000010000000000000003_00000040 ends at 0/6000000; later states, up to the end of 00000001000000000000000B, are out of reach. base_000000010000000000000006_00000040, the newest base backup, cannot be made consistent: it needs the WAL up to 0/6000138.
        warning backup.wal base_000000010000000000000006_00000040: of the WAL from 0/6000028 to 0/6000138, which it needs to be consistent, not all is good: 000000010000000000000006
          base_000000010000000000000006_00000040 cannot be restored; the newest that can is base_000000010000000000000003_00000040.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 06..0B"),
        expect![[r#"
        warning segment.missing 000000010000000000000003 to 000000010000000000000005: 3 segments are missing; the timeline goes on behind with 000000010000000000000006
          base_000000010000000000000003_00000040 cannot be made consistent: it needs the WAL up to 0/3000138.
        warning backup.wal base_000000010000000000000003_00000040: of the WAL from 0/3000028 to 0/3000138, which it needs to be consistent, not all is good: 000000010000000000000003 to 000000010000000000000005
          base_000000010000000000000003_00000040 cannot be restored; the newest that can is base_000000010000000000000006_00000040.
    "#]],
    );
    check(
        BACKUPS,
        expect![[r#"
            critical segment.missing 000000010000000000000003 to 000000010000000000000006: 4 segments are missing; base_000000010000000000000006_00000040 needs the WAL up to 0/6000138
              base_000000010000000000000006_00000040, the newest base backup, and 1 older cannot be made consistent.
            critical backup.wal base_000000010000000000000003_00000040: of the WAL from 0/3000028 to 0/3000138, which it needs to be consistent, not all is good: 000000010000000000000003 to 000000010000000000000006
              base_000000010000000000000003_00000040 cannot be restored; there is no other that can.
            critical backup.wal base_000000010000000000000006_00000040: of the WAL from 0/6000028 to 0/6000138, which it needs to be consistent, not all is good: 000000010000000000000003 to 000000010000000000000006
              base_000000010000000000000006_00000040 cannot be restored; there is no other that can.
        "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..07 08.empty 09 0A.partial 0B"),
        expect![[r#"
            critical segment.empty 000000010000000000000008: has no bytes; the timeline goes on behind with 000000010000000000000009
              Recovery from base_000000010000000000000006_00000040 and from 1 older base backup ends at 0/8000000; later states, up to the end of 00000001000000000000000B, are out of reach.
            critical segment.partial 00000001000000000000000A: is there only as .partial; the timeline goes on behind with 00000001000000000000000B
              Recovery from base_000000010000000000000006_00000040 and from 1 older base backup would not get past 0/A000000; later states, up to the end of 00000001000000000000000B, are out of reach.
        "#]],
    );
    check(
        "1: 01..05 07..09",
        expect![[r#"
        critical backup.none memory:///: no base backup in it was ever finished
          Nothing can be recovered from this archive alone.
        warning segment.missing 000000010000000000000006: 1 segment is missing; the timeline goes on behind with 000000010000000000000007
          No base backup of this archive could use it; one elsewhere could.
    "#]],
    );
    // Nothing to be sorry for: only the main line counts.
    check(
        &format!("{BACKUPS}1: 01..09 0B..0D\n2.history: 1@0/A000060\n2: 0A..0F"),
        expect![[r#"
            warning segment.missing 00000001000000000000000A: 1 segment is missing; the timeline goes on behind with 00000001000000000000000B
              Recovery from base_000000010000000000000006_00000040 and from 1 older base backup to timeline 1 ends at 0/A000000; later states, up to the end of 00000001000000000000000D, are out of reach. The main line (timeline 2) does not need it.
        "#]],
    );
}

#[test]
fn forks() {
    // The child's first segment, with and without the parent's; the parent's tail; a promotion just now.
    check(
        &format!("{BACKUPS}1: 01..0A\n2.history: 1@0/A000060\n2: 0B..0F"),
        expect![[r#"
        critical fork.missing 00000002000000000000000A: 1 segment is missing; the timeline goes on behind with 00000002000000000000000B; timeline 2 leaves timeline 1 in it, at 0/A000060; 00000001000000000000000A, which is there, goes past it
          Recovery from base_000000010000000000000006_00000040 and from 1 older base backup ends at 0/A000000; later states, up to the end of 00000002000000000000000F, are out of reach.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..09\n2.history: 1@0/A000060\n2: 0C..0F"),
        expect![[r#"
        critical fork.missing 00000002000000000000000A to 00000002000000000000000B: 2 segments are missing; the timeline goes on behind with 00000002000000000000000C; timeline 2 leaves timeline 1 in it, at 0/A000060
          Recovery from base_000000010000000000000006_00000040 and from 1 older base backup ends at 0/A000000; later states, up to the end of 00000002000000000000000F, are out of reach.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..07\n2.history: 1@0/A000060\n2: 0A..0F"),
        expect![[r#"
        critical segment.missing 000000010000000000000008 to 000000010000000000000009: 2 segments are missing; timeline 2 leaves timeline 1 behind at 0/A000060
          Recovery from base_000000010000000000000006_00000040 and from 1 older base backup ends at 0/8000000; later states, up to the end of 00000002000000000000000F, are out of reach.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..09\n2.history: 1@0/A000060"),
        expect![[r#"
        harmless timeline.new wal_005/00000002.history: it left timeline 1 at 0/A000060, and no segment of timeline 2 is there yet
          A recovery by `latest` ends at the switch point.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..07\n2.history: 1@0/A000060"),
        expect![[r#"
        warning segment.missing 000000010000000000000008 to 000000010000000000000009: 2 segments are missing; timeline 2 leaves timeline 1 behind at 0/A000060
          Recovery from base_000000010000000000000006_00000040 and from 1 older base backup to timeline 2 ends at 0/8000000; later states, up to the end of 000000010000000000000009, are out of reach. The main line (timeline 1) does not need it.
        harmless timeline.new wal_005/00000002.history: it left timeline 1 at 0/A000060, and no segment of timeline 2 is there yet
          A recovery by `latest` ends at the switch point.
    "#]],
    );
    // A branch of a branch whose middle is gone.
    check(
        &format!("{BACKUPS}1: 01..09\n2.history: 1@0/A000060\n3.history: 1@0/A000060 2@0/C000060\n3: 0C..0F"),
        expect![[r#"
            critical fork.missing 00000002000000000000000A to 00000002000000000000000B: 2 segments are missing; timeline 3 leaves timeline 2 behind at 0/C000060; timeline 2 leaves timeline 1 in it, at 0/A000060
              Recovery from base_000000010000000000000006_00000040 and from 1 older base backup ends at 0/A000000; later states, up to the end of 00000003000000000000000F, are out of reach.
        "#]],
    );
    // The new base backup makes all of that a matter of the past.
    check(
        &format!(
            "{BACKUPS}1: 01..07\n2.history: 1@0/A000060\n2: 0A..0F\nbackup base_00000002000000000000000C_00000040 parts 0"
        ),
        expect![[r#"
            warning segment.missing 000000010000000000000008 to 000000010000000000000009: 2 segments are missing; timeline 2 leaves timeline 1 behind at 0/A000060
              Recovery from base_000000010000000000000006_00000040 and from 1 older base backup ends at 0/8000000; later states need base_00000002000000000000000C_00000040.
        "#]],
    );
}

#[test]
fn histories() {
    check(
        &format!("{BACKUPS}1: 01..09\n2: 0A..0F"),
        expect![[r#"
        critical history.missing 00000002.history: timeline 2 has 00000002000000000000000A to 00000002000000000000000F and no history file
          Recovery from base_000000010000000000000006_00000040 and from 1 other base backup by `latest` ends on timeline 1, in silence; timeline 2, which goes to 00000002000000000000000F, is out of its reach.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..09\n2: 0B..0F"),
        expect![[r#"
        critical history.missing 00000002.history: timeline 2 has 00000002000000000000000B to 00000002000000000000000F and no history file
          Recovery from base_000000010000000000000006_00000040 and from 1 other base backup by `latest` ends on timeline 1, in silence; timeline 2, which goes to 00000002000000000000000F, is out of its reach.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..09\n2: 0A..0F\nbackup base_00000002000000000000000C_00000040 parts 0"),
        expect![[r#"
            warning history.missing 00000002.history: timeline 2 has 00000002000000000000000A to 00000002000000000000000F and no history file
              Recovery from base_000000010000000000000006_00000040 and from 1 other base backup by `latest` ends on timeline 1, in silence; timeline 2, which goes to 00000002000000000000000F, is out of its reach.
        "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..09\n2.history: damaged\n2: 0A..0F"),
        expect![[r#"
            critical history.damaged wal_005/00000002.history: is not a timeline history: line 1: `damaged` does not start with a timeline number
              Recovery from base_000000010000000000000006_00000040 and from 1 other base backup by `latest` is refused: the server stops at this file.
        "#]],
    );
    // A hole in the numbers.
    check(
        &format!("{BACKUPS}1: 01..09\n2: 0A..0C\n3.history: 1@0/A000060 2@0/C000060\n3: 0C..0F"),
        expect![[r#"
            critical history.unreachable wal_005/00000003.history: recovery by `latest` ends its search at 00000002.history, which is missing
              Recovery from base_000000010000000000000006_00000040 and from 1 other base backup by `latest` ends on timeline 1; timeline 3, which goes to 00000003000000000000000F, must be named.
            warning history.missing 00000002.history: timeline 2 has 00000002000000000000000A to 00000002000000000000000C and no history file; by its descendants' histories it must say: 1 0/A000060
              Recovery from base_000000010000000000000006_00000040 and from 1 other base backup by `latest` ends on timeline 1, in silence; timeline 2, which goes to 00000002000000000000000C, is out of its reach.
        "#]],
    );
    // Two stories; segments before the beginning.
    check(
        &format!(
            "{BACKUPS}1: 01..09\n2.history: 1@0/A000060\n2: 0A..0C\n3.history: 1@0/9000060 2@0/C000060\n3: 0C..0F"
        ),
        expect![[r#"
            warning history.disagrees wal_005/00000003.history: it says that timeline 2 left timeline 1 at 0/9000060; 00000002.history says timeline 1 at 0/A000060
              Recovery follows one story or the other, depending on the timeline it is told to reach.
        "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..09\n2.history: 1@0/A000060\n2: 08..0F"),
        expect![[r#"
        warning fork.contradicts wal_005/00000002.history: timeline 2 left timeline 1 at 0/A000060, it says; 000000020000000000000008 lies before that
          Recovery to this timeline leaves its parent at the wrong place.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..09\nkey wal_005/00000002.history.zst\n2: 0A..0F"),
        expect![[r#"
            unknown history.unread wal_005/00000002.history.zst: this build cannot decode .zst objects
              It is not known whether anything could be recovered with it.
        "#]],
    );
}

#[test]
fn strays() {
    check(
        &format!("{BACKUPS}1: 01..09\nkey wal_005/FFFFFFFFFFFFFFFFFFFFFFFE.lzo"),
        expect![[r#"
            warning segment.misfit FFFFFFFFFFFFFFFFFFFFFFFE: no segment of 16 MiB has such a name (the size: assumed; no first page could be read: memory:///wal_005/FFFFFFFFFFFFFFFFFFFFFFFE.lzo: the object does not decode: not an lzop file at byte 0)
        "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..09\nkey wal_005/00000001FFFFFFFF000000FE.lzo"),
        expect![[r#"
        warning segment.stray 00000001FFFFFFFF000000FE: it lies far away from the timeline's other segments, 000000010000000000000001 to 000000010000000000000009
          wal-fetch takes what lies before it for a gap, so a recovery stops where the archive ends instead of opening.
    "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..09\n5: 04..05"),
        expect![[r#"
        warning history.missing 00000005.history: timeline 5 has 000000050000000000000004 to 000000050000000000000005 and no history file
          Recovery from base_000000010000000000000006_00000040 and from 1 other base backup by `latest` ends on timeline 1, in silence; timeline 5, which goes to 000000050000000000000005, is out of its reach.
    "#]],
    );
    // A test restore from before the oldest base backup.
    check(
        &format!("{BACKUPS}1: 01..09\n2.history: 1@0/2000060\n2: 02..04"),
        expect![[r#"
        warning timeline.other wal_005/00000002.history: recovery from base_000000010000000000000006_00000040 by `latest` asks for timeline 2, which left timeline 1 at 0/2000060: the server refuses, as the backup is not on the way
          A recovery that names no timeline does not end where it should.
        harmless timeline.stray 000000020000000000000002 to 000000020000000000000004: no base backup leads to timeline 2 (it left timeline 1 at 0/2000060)
    "#]],
    );
    // A recovery into the past, without a base backup since.
    check(
        &format!("{BACKUPS}1: 01..09\n2.history: 1@0/4000060\n2: 04..05"),
        expect![[r#"
        warning timeline.other wal_005/00000002.history: recovery from base_000000010000000000000006_00000040 by `latest` asks for timeline 2, which left timeline 1 at 0/4000060: the server refuses, as the backup is not on the way
          A recovery that names no timeline does not end where it should.
    "#]],
    );
    check(
        "key README",
        expect![[r#"
            unknown archive.empty memory:///: neither a segment nor a history nor a base backup lies under it; what lies there is README
              Nothing was found, so nothing can be said.
        "#]],
    );
    check(
        "",
        expect![[r#"
            unknown archive.empty memory:///: neither a segment nor a history nor a base backup lies under it
              Nothing was found, so nothing can be said.
        "#]],
    );
}

#[test]
fn base_backups() {
    check(
        "1: 01..09",
        expect![[r#"
        critical backup.none memory:///: no base backup in it was ever finished
          Nothing can be recovered from this archive alone.
    "#]],
    );
    check(
        "1: 01..09\nbackup base_000000010000000000000003_00000040 unfinished parts 0",
        expect![[r#"
            critical backup.none memory:///: no base backup in it was ever finished
              Nothing can be recovered from this archive alone.
            harmless backup.unfinished base_000000010000000000000003_00000040: it has no sentinel, but 1 partition
        "#]],
    );
    check(
        &format!("{BACKUPS}1: 01..09\nbackup base_000000010000000000000008_00000040 unfinished parts 0"),
        expect![[r#"
            harmless backup.unfinished base_000000010000000000000008_00000040: it has no sentinel, but 1 partition
        "#]],
    );
    check(
        "1: 01..09\nbackup base_000000010000000000000003_00000040 parts 1..3",
        expect![[r#"
        critical backup.part base_000000010000000000000003_00000040: partitions are missing: 0
          base_000000010000000000000003_00000040 cannot be restored; there is no other that can.
    "#]],
    );
    check(
        "1: 01..09\nbackup base_000000010000000000000003_00000040",
        expect![[r#"
        critical backup.part base_000000010000000000000003_00000040: it has no partitions
          base_000000010000000000000003_00000040 cannot be restored; there is no other that can.
    "#]],
    );
    let store = fixture::store(&format!("{BACKUPS}1: 01..09"));
    store.insert("basebackups_005/base_000000010000000000000006_00000040_backup_stop_sentinel.json", "<html>");
    expect![[r#"
        warning backup.sentinel base_000000010000000000000006_00000040: it is no sentinel: not JSON: expected value at line 1 column 1
          base_000000010000000000000006_00000040 cannot be restored; the newest that can is base_000000010000000000000003_00000040.
    "#]].assert_eq(&report(&store));
    store.insert("basebackups_005/base_000000010000000000000003_00000040/tar_partitions/part_00000000.tar.lzo", "");
    expect![[r#"
        critical backup.part base_000000010000000000000003_00000040: partitions have no bytes: 0
          base_000000010000000000000003_00000040 cannot be restored; there is no other that can.
        critical backup.sentinel base_000000010000000000000006_00000040: it is no sentinel: not JSON: expected value at line 1 column 1
          base_000000010000000000000006_00000040 cannot be restored; there is no other that can.
    "#]].assert_eq(&report(&store));
}

#[test]
fn oddities() {
    check(
        &format!(
            "{BACKUPS}1: 01..09 03..05.zst\nkey README\nkey wal_005/000000010000000000000009.lzo.bak\nkey basebackups_004/x"
        ),
        expect![[r#"
            harmless archive.foreign memory:///: README and 1 more
            harmless archive.foreign memory:///: a layout that WAL-E gave up in 2011: basebackups_004/
            harmless segment.twice 000000010000000000000003 to 000000010000000000000005: 3 segments are stored more than once: lzo, zst
              Tools differ in which of them they take.
        "#]],
    );
    let store = fixture::store(&format!("{BACKUPS}1: 01..09"));
    store.insert("sysids/sysid", "7");
    let sentinel = r#"{"LSN": 167772200, "FinishLSN": 167772400, "PgVersion": 130005, "SystemIdentifier": 8}"#;
    store.insert("basebackups_005/base_00000001000000000000000A_backup_stop_sentinel.json", sentinel);
    store.insert("basebackups_005/base_00000001000000000000000A/tar_partitions/part_001.tar.lz4", "x");
    expect![[r#"
        critical segment.missing 00000001000000000000000A: 1 segment is missing; base_00000001000000000000000A needs the WAL up to 0/A0000F0
          Recovery from base_000000010000000000000006_00000040 and from 1 older base backup ends at 0/A000000; later states, up to the end of 00000001000000000000000A, are out of reach. base_00000001000000000000000A, the newest base backup, cannot be made consistent: it needs the WAL up to 0/A0000F0.
        warning archive.clusters memory:///: 7 by sysids/sysid, 8 by the sentinel of base_00000001000000000000000A
          A recovery may be handed another cluster's files; wal-r refuses them, other tools do not.
        warning backup.wal base_00000001000000000000000A: of the WAL from 0/A000028 to 0/A0000F0, which it needs to be consistent, not all is good: 00000001000000000000000A
          base_00000001000000000000000A cannot be restored; the newest that can is base_000000010000000000000006_00000040.
    "#]].assert_eq(&report(&store));
    let delta = r#"{"LSN": 150994984, "FinishLSN": 150995184, "PgVersion": 130005, "SystemIdentifier": 8,
        "DeltaFrom": "base_000000010000000000000008", "DeltaFullName": "base_000000010000000000000008", "DeltaLSN": 5, "DeltaCount": 1}"#;
    let name = "base_000000010000000000000009_D_000000010000000000000008";
    store.insert(&format!("basebackups_005/{name}_backup_stop_sentinel.json"), delta);
    store.insert(&format!("basebackups_005/{name}/tar_partitions/part_001.tar.lz4"), "x");
    expect![[r#"
        critical segment.missing 00000001000000000000000A: 1 segment is missing; base_00000001000000000000000A needs the WAL up to 0/A0000F0
          Recovery from base_000000010000000000000006_00000040 and from 1 older base backup ends at 0/A000000; later states, up to the end of 00000001000000000000000A, are out of reach. base_00000001000000000000000A, the newest base backup, cannot be made consistent: it needs the WAL up to 0/A0000F0.
        warning archive.clusters memory:///: 7 by sysids/sysid, 8 by the sentinel of base_000000010000000000000009_D_000000010000000000000008
          A recovery may be handed another cluster's files; wal-r refuses them, other tools do not.
        warning backup.chain base_000000010000000000000009_D_000000010000000000000008: base_000000010000000000000009_D_000000010000000000000008 builds on base_000000010000000000000008, which is not there
          base_000000010000000000000009_D_000000010000000000000008 cannot be restored; the newest that can is base_000000010000000000000006_00000040.
        warning backup.wal base_00000001000000000000000A: of the WAL from 0/A000028 to 0/A0000F0, which it needs to be consistent, not all is good: 00000001000000000000000A
          base_00000001000000000000000A cannot be restored; the newest that can is base_000000010000000000000006_00000040.
    "#]].assert_eq(&report(&store));
}

/// A random archive: a tree of timelines, base backups and what is missing.
#[derive(Debug, Clone)]
struct Random {
    /// Parent (an index) and switch point (segment, inside it or at its start) of the timelines 2, 3, ...
    forks: Vec<(usize, u64, bool)>,
    /// Last segment of each timeline.
    ends: Vec<u64>,
    /// Timeline (an index) and segment of base backups.
    backups: Vec<(usize, u64)>,
    /// Timeline (an index) and segment of files that are not there.
    lost: BTreeSet<(usize, u64)>,
}

fn random() -> impl Strategy<Value = Random> {
    let forks = prop::collection::vec((0_usize..4, 1_u64..20, any::<bool>()), 0..4);
    let ends = prop::collection::vec(1_u64..24, 5);
    let backups = prop::collection::vec((0_usize..5, 1_u64..20), 1..4);
    let lost = prop::collection::btree_set((0_usize..5, 1_u64..24), 0..5);
    (forks, ends, backups, lost).prop_map(|(forks, ends, backups, lost)| Random { forks, ends, backups, lost })
}

impl Random {
    /// As lines of a fixture. Timelines that would begin before their parent are put behind it.
    fn text(&self) -> String {
        let size = SegmentSize::DEFAULT.bytes();
        let mut begins = vec![(1_u64, String::new())];
        let mut text = String::new();
        for (index, (parent, segment, inside)) in self.forks.iter().enumerate() {
            let parent = parent % begins.len();
            let (begin, history) = begins[parent].clone();
            let segment = begin + segment % 8;
            // Two forks in one segment keep their order.
            let offset = if *inside { 0x60 + 0x40 * index as u64 } else { 0 };
            let switch = Lsn(segment * size + offset);
            let history = format!("{history} {}@{switch}", parent + 1);
            text += &format!("{}.history:{history}\n", index + 2);
            begins.push((segment, history));
        }
        for (index, (begin, _)) in begins.iter().enumerate() {
            let segments = (*begin..=self.ends[index].max(*begin)).filter(|one| !self.lost.contains(&(index, *one)));
            text +=
                &format!("{}: {}\n", index + 1, segments.map(|one| format!("{one:02X}")).collect::<Vec<_>>().join(" "));
        }
        for (timeline, segment) in &self.backups {
            let timeline = timeline % begins.len();
            // A base backup starts with a checkpoint of its own timeline.
            let segment = begins[timeline].0 + segment;
            text += &format!("backup base_{:08X}00000000{segment:08X}_00000040 parts 0\n", timeline + 1);
        }
        text
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Against a naive model: the file of every segment on every way, one by one.
    #[test]
    fn gaps_hurt_whom_they_hurt(random in random()) {
        let text = random.text();
        let survey = survey(&fixture::store(&text));
        let findings = judge(&survey, defects(&survey));
        let wal = |one: &&Finding| matches!(one.code, FindingCode::SegmentMissing | FindingCode::ForkMissing);
        let told: BTreeSet<BackupName> = findings.iter().filter(wal).flat_map(|one| one.hurts.clone()).collect();
        let usable: Vec<&BackupFacts> = survey.backups.iter().filter(|one| one.is_usable()).collect();
        let mut hurt = BTreeSet::new();
        let mut newest_is_hurt = false;
        for backup in &usable {
            for to in survey.all_timelines() {
                let Some(history) = survey.route(backup, to) else { continue };
                let stored = survey.inventory.on(to).last().map(|one| one.name.number(survey.size).unwrap());
                let own = usable.iter().filter(|one| one.timeline == to).map(|one| one.stop.unwrap().segment_before(survey.size));
                let begin = history.begin().map_or(SegmentNo(0), |begin| SegmentNo(begin.segment(survey.size).0.saturating_sub(1)));
                let end = stored.into_iter().chain(own).max().unwrap_or(begin);
                let end = end.next().start(survey.size).unwrap().max(backup.stop.unwrap());
                let whole = history.path(backup.start, end, survey.size).all(|name| survey.inventory.has(name));
                if !whole {
                    hurt.insert(backup.name);
                    // By `latest`, where that leads to something that is there.
                    let followed = survey.timelines.latest(backup.timeline) == to && survey.is_alive(to);
                    newest_is_hurt |= followed && usable.last().unwrap().name == backup.name;
                }
            }
        }
        prop_assert_eq!(told, hurt, "{}\n{:#?}", text, findings);
        if newest_is_hurt {
            prop_assert!(findings.first().unwrap().severity == Severity::Critical, "{}\n{:#?}", text, findings);
        }
    }
}
