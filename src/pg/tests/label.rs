//! backup_label, backup history files and tablespace_map: of real servers, and everything the server's readers refuse.

use super::{REAL, golden, lsn, segment, timeline};
use crate::pg::label::{BackupHistoryFile, BackupLabel, TablespaceLink, TablespaceMap};
use crate::pg::version::PgVersion;
use expect_test::expect;
use proptest::prelude::*;

const EXCLUSIVE: &str = "START WAL LOCATION: 0/3000028 (file 000000010000000000000003)
CHECKPOINT LOCATION: 0/3000060
BACKUP METHOD: pg_start_backup
BACKUP FROM: master
START TIME: 2026-11-20 20:34:36 UTC
LABEL: freeze_start_2026-11-20T20:34:35.971373+00:00
";

fn refusal(text: &str) -> String {
    BackupLabel::parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn label_by_hand() {
    let label = BackupLabel::parse(EXCLUSIVE.as_bytes()).unwrap();
    assert_eq!(label.start, lsn("0/3000028"));
    assert_eq!(label.start_segment, segment("000000010000000000000003"));
    assert_eq!(label.checkpoint, lsn("0/3000060"));
    assert_eq!(label.method.as_deref(), Some("pg_start_backup"));
    assert_eq!(label.label.as_deref(), Some("freeze_start_2026-11-20T20:34:35.971373+00:00"));
    assert_eq!(label.start_timeline, None);
    assert!(!label.is_from_standby());

    let standby = EXCLUSIVE.replace("master", "standby") + "START TIMELINE: 1\n";
    let label = BackupLabel::parse(standby.as_bytes()).unwrap();
    assert!(label.is_from_standby());
    assert_eq!(label.start_timeline, Some(timeline(1)));

    let incremental = EXCLUSIVE.to_owned() + "INCREMENTAL FROM LSN: 0/2000028\nINCREMENTAL FROM TLI: 1\n";
    let label = BackupLabel::parse(incremental.as_bytes()).unwrap();
    assert_eq!(label.incremental_from, Some((lsn("0/2000028"), timeline(1))));
}

#[test]
fn label_refused() {
    expect!["line 1: `START WAL LOCATION` is missing"].assert_eq(&refusal(""));
    expect!["line 1: `START WAL LOCATION: 0/3000028` is not an LSN and a segment"]
        .assert_eq(&refusal("START WAL LOCATION: 0/3000028\n"));
    expect!["line 1: `START WAL LOCATION` is missing"].assert_eq(&refusal(&format!("\n{EXCLUSIVE}")));
    expect!["line 2: `CHECKPOINT LOCATION` is missing"]
        .assert_eq(&refusal(&EXCLUSIVE.replace("CHECKPOINT LOCATION", "checkpoint")));
    // Cut in the second line: the server demands its end.
    expect!["line 2: `CHECKPOINT LOCATION` is missing"]
        .assert_eq(&refusal(&EXCLUSIVE[..EXCLUSIVE.find("\nBACKUP").unwrap()]));
    expect!["line 7: START TIMELINE: 2 contradicts 000000010000000000000003"]
        .assert_eq(&refusal(&format!("{EXCLUSIVE}START TIMELINE: 2\n")));
    expect!["line 7: START TIMELINE: `x` is not a timeline number"]
        .assert_eq(&refusal(&format!("{EXCLUSIVE}START TIMELINE: x\n")));
}

#[test]
fn of_real_servers() {
    for version in REAL {
        let label = BackupLabel::parse(&golden(&format!("{version}/backup_label"))).unwrap();
        assert_eq!(label.label, Some(format!("golden {version}")));
        assert_eq!(label.method.as_deref(), Some("streamed"));
        assert_eq!(label.from.as_deref(), Some(if version < 14 { "master" } else { "primary" }));
        assert_eq!(label.start_timeline.is_some(), version >= 11, "{version}");
        assert!(label.checkpoint > label.start);

        let history = BackupHistoryFile::parse(&golden(&format!("{version}/history.backup"))).unwrap();
        assert_eq!(history.label, label, "{version}: the history file repeats the label");
        assert!(history.stop > label.checkpoint);
        assert_eq!(history.stop_timeline, label.start_timeline);
        assert!(history.stop_time.is_some());

        let version = PgVersion::parse(&version.to_string()).unwrap();
        let bytes = golden(&format!("{version}/tablespace_map"));
        let map = TablespaceMap::parse(&bytes, Some(version)).unwrap();
        assert_eq!(map.entries.len(), 2);
        assert!(map.entries.iter().any(|entry| entry.path.ends_with(br"/ts back\slash")), "{version}: {map:?}");
        assert_eq!(map.encode(version), bytes, "{version}");
    }
}

#[test]
fn map_by_hand() {
    let new = PgVersion::parse("14");
    let old = PgVersion::parse("13");
    let link = |oid, path: &[u8]| TablespaceLink { oid, path: path.to_vec() };
    let parse = |text: &str, version| TablespaceMap::parse(text.as_bytes(), version).unwrap().entries;
    assert_eq!(parse("", new), []);
    assert_eq!(parse("16400 /srv/ts1\n16401 /srv/t s\n", new), [link(16400, b"/srv/ts1"), link(16401, b"/srv/t s")]);
    assert_eq!(parse("1 /a\\\nb\n", new), [link(1, b"/a\nb")]);
    assert_eq!(parse("1 /a\\\nb\n", old), [link(1, b"/a\nb")]);
    assert_eq!(parse("1 /a\\\\b\n", new), [link(1, br"/a\b")]);
    assert_eq!(parse("1 /a\\\\b\n", old), [link(1, br"/a\\b")]);
    assert_eq!(parse("1 /a\\b\r\n2 /c\r\n", None), [link(1, br"/a\b"), link(2, b"/c")]);
    let refusal = |text: &str| TablespaceMap::parse(text.as_bytes(), new).unwrap_err().to_string();
    expect!["line 2: ends in the middle"].assert_eq(&refusal("1 /a\n2 /b"));
    expect!["line 1: `/srv/ts1` is not a number and a path"].assert_eq(&refusal("/srv/ts1\n"));
    expect!["line 1: `0 /a` is not a number and a path"].assert_eq(&refusal("0 /a\n"));
    expect!["line 1: `../x /a` is not a number and a path"].assert_eq(&refusal("../x /a\n"));
    expect!["line 1: `1 ` is not a number and a path"].assert_eq(&refusal("1 \n"));
    expect!["line 1: `+1 /a` is not a number and a path"].assert_eq(&refusal("+1 /a\n"));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, head in 0_usize..4) {
        let mut text = EXCLUSIVE.lines().take(head).collect::<Vec<_>>().join("\n").into_bytes();
        text.extend_from_slice(&bytes);
        let _ = BackupLabel::parse(&text);
        let _ = BackupHistoryFile::parse(&text);
        let _ = TablespaceMap::parse(&bytes, None);
        let _ = TablespaceMap::parse(&bytes, PgVersion::parse("15"));
    }

    #[test]
    fn a_map_survives_the_round_trip(
        entries in prop::collection::vec((1_u32.., prop::collection::vec(1_u8.., 1..40)), 0..6), new: bool,
    ) {
        let version = PgVersion::parse(if new { "14" } else { "13" }).unwrap();
        // Before 14 the form cannot tell a backslash in front of a line end, or at the end, from an escape.
        let ambiguous = |path: &[u8]| {
            !new && (path.ends_with(b"\\") || path.windows(2).any(|pair| pair[0] == b'\\' && matches!(pair[1], b'\n' | b'\r')))
        };
        prop_assume!(!entries.iter().any(|(_, path)| ambiguous(path)));
        let map = TablespaceMap { entries: entries.into_iter().map(|(oid, path)| TablespaceLink { oid, path }).collect() };
        prop_assert_eq!(TablespaceMap::parse(&map.encode(version), Some(version)).unwrap(), map);
    }
}
