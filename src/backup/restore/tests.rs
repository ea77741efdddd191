//! The small decisions; whole restores are tested with the verb, `commands::backup_fetch`.

use super::*;
use crate::testing::backup::{CONTROL, label};

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
        let fit = fits(&label, &name.parse().expect("a name"), 1 << bits);
        assert_eq!(fit.is_ok(), want, "{name} {start}: {fit:?}");
    }
    let incremental = format!("{}INCREMENTAL FROM LSN: 0/1000028\nINCREMENTAL FROM TLI: 1\n", label());
    let label = BackupLabel::parse(incremental.as_bytes()).expect("a label");
    assert!(fits(&label, &crate::testing::backup::NAME.parse().expect("a name"), 1 << 24).is_err());
}

/// The limits as the server itself says them.
#[test]
fn limits_of_the_source_are_read_from_its_control_file() {
    let control = ControlFile::parse(CONTROL).expect("a real one");
    let text = minimal_config("postgresql.conf", CONTROL, control.version);
    for line in
        ["max_connections = 100", "max_worker_processes = 8", "max_wal_senders = ", "max_locks_per_transaction = 64"]
    {
        assert!(text.contains(line), "{line}\n{text}");
    }
    // Nonsense is left out rather than written.
    let broken = vec![0xFF; 512];
    assert!(!minimal_config("postgresql.conf", &broken, control.version).contains("max_connections"));
    assert!(minimal_config("postgresql.conf", &[], control.version).contains("archive_mode = off"));
}

#[test]
fn free_space_is_that_of_the_nearest_parent() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (device, free) = free_bytes(&scratch.path().join("not/there/yet")).expect("a file system");
    assert_eq!(device, scratch.path().metadata().expect("a directory").dev());
    assert!(free > 0);
}

#[test]
fn two_restores_into_one_directory() {
    let scratch = tempfile::tempdir().expect("a directory");
    let first = lock(scratch.path()).expect("free");
    assert_eq!(lock(scratch.path()).expect_err("taken").code(), Code::LocalTarget);
    drop(first);
    lock(scratch.path()).expect("free again");
}
