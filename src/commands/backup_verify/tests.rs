//! Which backups are looked at, and what their proofs come to. The proof itself is tested in `proof::backup`.

use super::*;
use crate::commands::Silent;
use crate::storage::local::LocalStore;
use crate::storage::memory::MemoryStore;
use crate::testing::damage::Archive;
use crate::testing::fixture;
use std::path::Path;

fn verify(store: impl Store + 'static, which: Which) -> Answer<Report> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let options = Options { which, workers: None, cores: 2 };
    runtime.block_on(run(Arc::new(store), &options, Arc::new(Silent)))
}

fn bundled() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/archive/wal-e-pg13")
}

#[test]
fn a_real_archive_is_good() {
    for which in [Which::All, Which::Latest] {
        let report = verify(LocalStore::new(bundled()), which).expect("verified");
        assert_eq!((report.verdict, report.findings.len(), report.backups.len()), (Verdict::Ok, 0, 1));
        assert_eq!(report.backups[0].word, Word::Good);
    }
}

#[test]
fn the_only_backup_without_its_partitions_is_critical() {
    let archive = Archive::read(&bundled()).expect("the archive");
    let store = archive.store();
    let key = archive.keys().find(|key| key.contains("tar_partitions")).expect("a partition");
    assert!(store.remove(key));
    let report = verify(store, Which::Latest).expect("verified");
    assert_eq!(report.verdict, Verdict::Critical);
    assert_eq!(report.findings[0].code, FindingCode::BackupPart);
    assert!(!report.findings[0].consequence.is_empty() && !report.findings[0].next.is_empty());
}

#[test]
fn what_is_not_there_is_no_good_word() {
    let report = verify(MemoryStore::new(), Which::All).expect("a report");
    assert_eq!(report.verdict, Verdict::Unknown);
    for which in [Which::Latest, Which::Named("base_000000010000000000000003_00000040".parse().expect("a name"))] {
        assert_eq!(verify(MemoryStore::new(), which).expect_err("none").code(), Code::AbsentBackup);
    }
    let unfinished = "1: 03..04\nbackup base_000000010000000000000003_00000040 unfinished parts 0";
    let report = verify(fixture::store(unfinished), Which::All).expect("a report");
    assert_eq!((report.backups.len(), report.unfinished.len()), (0, 1));
    assert!(report.verdict > Verdict::Warning, "{:?}", report.verdict);
    // By name it is looked at, and what it lacks is said.
    let report = verify(fixture::store(unfinished), Which::Named(report.unfinished[0])).expect("a report");
    assert_eq!(report.backups[0].word, Word::Unfinished);
    assert_eq!(report.findings[0].code, FindingCode::BackupUnfinished);
}

/// LATEST passes over a sentinel that it cannot read; that the newest base backup may be another one must be said.
#[test]
fn latest_is_not_all_well_while_a_newer_sentinel_cannot_be_read() {
    let archive = Archive::read(&bundled()).expect("the archive");
    let verified = |sentinel: Option<&'static str>, name: &str| {
        let store = archive.store();
        if let Some(sentinel) = sentinel {
            store.insert(&format!("basebackups_005/{name}_backup_stop_sentinel.json"), sentinel);
            store.insert(&format!("basebackups_005/{name}/tar_partitions/part_00000000.tar.lzo"), "x");
        }
        let report = verify(store, Which::Latest).expect("verified");
        assert_eq!((report.backups.len(), report.backups[0].word), (1, Word::Good));
        (report.verdict, report.findings.iter().map(|one| one.code).collect::<Vec<_>>())
    };
    let (newer, older) = ("base_000000020000000000000007_00000040", "base_000000010000000000000001_00000040");
    assert_eq!(verified(None, newer), (Verdict::Ok, vec![]));
    assert_eq!(verified(Some("garbage"), newer), (Verdict::Warning, vec![FindingCode::BackupSentinel]));
    assert_eq!(verified(Some("garbage"), older), (Verdict::Ok, vec![]));
}
