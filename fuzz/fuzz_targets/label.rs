//! Labels, backup histories and maps never panic; a map survives being written again.
//!
//! In: any bytes. Out: a crash if not. Never: judges more than that.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    use wal_r::pg::label::{BackupHistoryFile, BackupLabel, TablespaceMap};
    let _ = BackupLabel::parse(bytes);
    let _ = BackupHistoryFile::parse(bytes);
    let version = wal_r::pg::version::PgVersion::NEWEST;
    if let Ok(map) = TablespaceMap::parse(bytes, Some(version)) {
        assert_eq!(TablespaceMap::parse(&map.encode(version), Some(version)).ok(), Some(map));
    }
});
