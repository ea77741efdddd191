//! What makes partitions a base backup, one missing or wrong thing at a time.

use super::*;
use crate::testing::backup::{CONTROL, NAME, label};
use expect_test::expect;

#[test]
fn whether_a_label_is_this_backups() {
    let rows = [
        ("base_000000010000000000000003_00000040", "0/3000028", "000000010000000000000003", 24, true),
        ("base_000000010000000000000003_00000028", "0/3000028", "000000010000000000000003", 24, false), // hexadecimal
        ("base_000000020000000000000003_00000040", "0/3000028", "000000010000000000000003", 24, false),
        ("base_000000010000000000000004_00000040", "0/3000028", "000000010000000000000003", 24, false),
        // A boundary is named by the segment before.
        ("base_000000010000000000000002_00000000", "0/3000000", "000000010000000000000003", 24, true),
        // Segments of 1 GiB: nine digits, of which WAL-E kept eight.
        ("base_000000010000000000000000_10000000", "0/5F5E100", "000000010000000000000000", 30, true),
        // WAL-G's names have no offset.
        ("base_000000010000000000000003", "0/3000028", "000000010000000000000003", 24, true),
    ];
    for (name, start, segment, bits, want) in rows {
        let text = label().replace("0/3000028", start).replace("000000010000000000000003", segment);
        let label = BackupLabel::parse(text.as_bytes()).expect("a label");
        let fit = fits(&label, &name.parse().expect("a name"), Some(1 << bits));
        assert_eq!(fit.is_ok(), want, "{name} {start}: {fit:?}");
    }
    let incremental = format!("{}INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n", label());
    let label = BackupLabel::parse(incremental.as_bytes()).expect("a label");
    assert!(fits(&label, &crate::testing::backup::NAME.parse().expect("a name"), Some(1 << 24)).is_err());
}

/// A sound online backup of the real cluster, with all that one has.
fn sound() -> Contents {
    let mut found = Contents { pg_version: Some("13\n".into()), file_bytes: 100, ..Contents::default() };
    for (name, content) in [("global/pg_control", CONTROL), ("backup_label", label().as_bytes())] {
        found.held_back.insert(name.into(), vec![Hex(content.to_vec())]);
    }
    let landmarks = ["global/pg_filenode.map", "pg_xact/", "base/1/", "base/1/PG_VERSION", "base/1/pg_filenode.map"];
    found.landmarks = landmarks.map(str::to_owned).into();
    found
}

fn claims() -> Claims {
    Claims { backup: NAME.parse().expect("a name"), expanded_bytes: Some(100), system: None, complete: true }
}

/// One line a fault.
fn check(edit: impl FnOnce(&mut Contents, &mut Claims), expect: expect_test::Expect) {
    let (mut found, mut claims) = (sound(), claims());
    edit(&mut found, &mut claims);
    let whole = judge(&claims, &found);
    let lines: Vec<String> =
        whole.faults.iter().map(|fault| format!("{:?}: {}", fault.about, fault.error.chain())).collect();
    expect.assert_eq(&lines.join("\n"));
}

#[test]
fn each_fault_is_named_and_none_hides_another() {
    check(|_, _| {}, expect![""]);
    check(
        |found, _| found.file_bytes = 101,
        expect![
            "Files: its partitions hold 101 bytes of files and its sentinel counts 100: partitions of another backup are among them"
        ],
    );
    check(
        |found, _| drop(found.held_back.remove("global/pg_control")),
        expect!["Control: no partition holds global/pg_control"],
    );
    check(
        |found, _| {
            let mut control = CONTROL.to_vec();
            control[40] ^= 1;
            found.held_back.insert("global/pg_control".into(), vec![Hex(control)]);
        },
        expect!["Control: its global/pg_control is damaged: has checksum 9103958b, computed 28e3be0d"],
    );
    check(
        |_, claims| claims.system = Some(SystemId(7)),
        expect!["Control: it is of cluster 7710550641332579099, and the archive says that it is of 7"],
    );
    check(|found, _| found.pg_version = Some("14\n".into()), expect!["Control: PG_VERSION says 14, and pg_control 13"]);
    check(|found, _| found.pg_version = None, expect!["Files: no partition holds PG_VERSION"]);
    check(
        |found, _| drop(found.held_back.remove("backup_label")),
        expect![
            "Label: it has no backup_label, and its pg_control says that the cluster was running (InProduction): without the label recovery would start at the wrong place"
        ],
    );
    check(
        |found, _| {
            let other = label().replace("0/3000028", "0/4000028").replace("03)", "04)");
            found.held_back.insert("backup_label".into(), vec![Hex(other.clone().into_bytes())]);
        },
        expect![
            "Label: its backup_label is another backup's: it starts at 0/4000028 (000000010000000000000004, offset 40)"
        ],
    );
    check(
        |found, _| {
            let other = Hex(label().replace("0/3000060", "0/3000070").into_bytes());
            found.held_back.get_mut("backup_label").expect("there").push(other);
        },
        expect!["Label: it holds 2 different backup_label: partitions of two backups are mixed"],
    );
    check(
        |found, _| found.landmarks.clear(),
        expect![
            "Files: no partition holds global/pg_filenode.map and pg_xact/ and base/ with a database, without which there is no cluster"
        ],
    );
    check(
        |found, _| assert!(found.landmarks.remove("base/1/pg_filenode.map")),
        expect!["Files: no partition holds base/1/pg_filenode.map, without which there is no cluster"],
    );
    check(
        |found, _| drop(found.held_back.insert("tablespace_map".into(), vec![Hex(b"x y\n".to_vec())])),
        expect!["Label: its tablespace_map cannot be read: line 1: `x y` is not a number and a path"],
    );
    check(
        |found, claims| {
            (found.pg_version, claims.system, found.file_bytes) = (None, Some(SystemId(7)), 1000);
            found.landmarks.clear();
            found.held_back.insert("backup_label".into(), vec![Hex(b"x".to_vec())]);
        },
        expect![[r#"
            Files: its partitions hold 1000 bytes of files and its sentinel counts 100: partitions of another backup are among them
            Control: it is of cluster 7710550641332579099, and the archive says that it is of 7
            Files: no partition holds PG_VERSION
            Label: its backup_label cannot be read: line 1: `START WAL LOCATION` is missing
            Files: no partition holds global/pg_filenode.map and pg_xact/ and base/ with a database, without which there is no cluster"#]],
    );
}

#[test]
fn while_a_partition_is_not_read_nothing_is_missing() {
    let (mut found, mut claims) = (Contents { file_bytes: 7, ..Contents::default() }, claims());
    claims.complete = false;
    assert!(judge(&claims, &found).faults.is_empty());
    // What is there is judged all the same.
    found.held_back.insert("global/pg_control".into(), vec![Hex(vec![0; 8192])]);
    assert_eq!(judge(&claims, &found).faults.len(), 1);
}
