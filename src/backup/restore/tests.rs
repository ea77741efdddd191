//! The small decisions; whole restores are tested with the verb, `commands::backup_fetch`.

use super::*;
use crate::testing::backup::CONTROL;

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
