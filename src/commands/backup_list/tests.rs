use super::*;
use crate::storage::StoreErrorKind;
use crate::storage::memory::MemoryStore;
use crate::testing::faulty::{Fault, FaultPlan, FaultyStore};
use crate::testing::fixture;
use futures::executor::block_on;
use std::sync::Arc;

const ONE: &str = "base_000000010000000000000003_00000040";
const TWO: &str = "base_000000010000000000000006_00000040";
const ALL: Options = Options { read_sentinels: true, query: None };

fn archive() -> MemoryStore {
    fixture::store(&format!(
        "backup {ONE} parts 0 version\nbackup {TWO} parts 0..1\nbackup base_000000020000000000000009_00000040 unfinished parts 0"
    ))
}

fn names(report: &Report) -> Vec<String> {
    report.backups.iter().map(|backup| backup.name.to_string()).collect()
}

#[test]
fn what_is_listed_and_what_is_said_beside_it() {
    let store = archive();
    store.insert("basebackups_005/README", "x");
    let report = block_on(run(&store, &ALL)).unwrap();
    assert_eq!(names(&report), [ONE, TWO]);
    assert_eq!(report.backups.iter().map(|backup| backup.latest).collect::<Vec<_>>(), [false, true]);
    assert_eq!(report.unfinished.len(), 1);
    assert_eq!(report.remarks().len(), 2, "{:?}", report.remarks());
    assert_eq!(report.unknown(), None);
    // The plain list opens nothing.
    let counted = FaultyStore::new(Arc::new(archive()), FaultPlan::none());
    let report = block_on(run(&counted, &Options::default())).unwrap();
    assert_eq!((names(&report).len(), counted.calls_made()), (2, 1));
    let only = |query| block_on(run(&archive(), &Options { read_sentinels: true, query: Some(query) })).unwrap();
    assert_eq!(names(&only(Query::Latest)), [TWO]);
    assert_eq!(names(&only(Query::Named(ONE.parse().unwrap()))), [ONE]);
    assert_eq!(names(&only(Query::Named("base_000000090000000000000003".parse().unwrap()))), [""; 0]);
}

#[test]
fn one_bad_sentinel_does_not_end_the_list() {
    let store = archive();
    store.insert(&format!("basebackups_005/{TWO}_backup_stop_sentinel.json"), "<html>");
    let report = block_on(run(&store, &ALL)).unwrap();
    assert_eq!(names(&report), [ONE, TWO]);
    assert!(report.backups[0].latest, "what cannot be read is never LATEST");
    assert_eq!(report.backups[1].trouble.as_ref().map(Error::code), Some(Code::DamagedSentinel));
    assert_eq!(report.unknown(), None, "damaged is known");
}

/// Every call fails once in every way: never an empty list in silence.
#[test]
fn fault_sweep() {
    for position in 0..3 {
        for kind in Fault::ERRORS {
            let store = FaultyStore::new(Arc::new(archive()), FaultPlan::nth(position, *kind));
            match block_on(run(&store, &ALL)) {
                Ok(report) => {
                    // What is replaced while it is read is read anew.
                    let unknown = *kind != StoreErrorKind::Changed;
                    assert_eq!(report.unknown().is_some(), unknown, "{kind:?} at {position}");
                    assert_eq!(names(&report).len(), 2, "{kind:?} at {position}");
                }
                Err(error) => assert!(position == 0 && !error.is_absent(), "{kind:?} at {position}: {error:?}"),
            }
        }
    }
    // A sentinel that was listed and is gone: the backup is being deleted. Shown, not hidden.
    let store = FaultyStore::new(Arc::new(archive()), FaultPlan::nth(1, StoreErrorKind::NoSuchObject));
    let report = block_on(run(&store, &ALL)).unwrap();
    assert!(report.backups.iter().any(|backup| backup.trouble.is_some()));
}
