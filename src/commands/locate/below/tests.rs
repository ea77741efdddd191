use super::*;
use crate::commands::Silent;
use crate::storage::StoreErrorKind;
use crate::storage::memory::MemoryStore;
use crate::testing::faulty::{FaultPlan, FaultyStore};
use std::path::Path;

const OLD: &str = "6e101b27-ee1b-4f4d-a032-4401a3709ec3";

/// The bundled archive under a GUID, a young one beside it, and one with a glued identifier.
fn bucket() -> MemoryStore {
    let store = MemoryStore::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/archive/wal-e-pg13");
    let mut open = vec![folder.clone()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let key = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            let modified = jiff::Timestamp::from_second(1_458_195_017).unwrap();
            store.insert_at(&format!("backups/{OLD}/wal/{key}"), std::fs::read(&path).unwrap(), modified);
        }
    }
    let young = jiff::Timestamp::from_second(1_458_295_017).unwrap();
    store.insert_at("backups/young/wal/wal_005/000000010000000000000001.lzo", "x", young);
    store.insert_at("backups/young/wal/sysids/sysid", "42\n", young);
    store.insert("glued/wal/wal_005/000000010000000000000001.lzo", "");
    store.insert("glued/walsysids/sysid", "7710354800899113174\n");
    store
}

fn ask(store: impl Store + 'static, instance: Option<&str>) -> Answer<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(run(Arc::new(store), instance, Arc::new(Silent)))
}

#[test]
fn every_archive_with_what_is_newest_in_it() {
    let report = ask(bucket(), None).unwrap();
    let [young, old, glued] = &*report.archives else { panic!("{:?}", report.archives) };
    assert_eq!((young.system, young.segments, young.base_backups), (Some(SystemId(42)), 1, 0));
    assert_eq!(young.system_from.as_deref(), Some("sysids/sysid"));
    assert_eq!((young.bytes, young.objects), (4, 2));
    assert_eq!(old.instance.unwrap().to_string(), OLD);
    assert_eq!(old.newest_backup.as_ref().unwrap().name.to_string(), "base_000000010000000000000003_00000040");
    assert_eq!(old.newest_segment.as_ref().unwrap().name.to_string(), "000000020000000000000007");
    assert_eq!((old.segments, old.base_backups, old.unfinished, old.objects), (6, 1, 0, 12));
    assert_eq!(old.last.unwrap().as_second(), 1_458_195_017);
    assert!(old.copy.to.ends_with("backups/NEW_GUID/wal/"), "{}", old.copy.to);
    assert_eq!(glued.system, Some(SystemId(7_710_354_800_899_113_174)));
    assert!(glued.system_from.as_deref().unwrap().ends_with("glued/walsysids/sysid"));
    assert_eq!((report.shortfall(), report.others), (None, 0));
}

#[test]
fn only_what_is_asked_for_and_nothing_at_all() {
    let report = ask(bucket(), Some(OLD)).unwrap();
    assert_eq!((report.archives.len(), report.others), (1, 2));
    assert_eq!(ask(bucket(), Some("young")).unwrap().archives.len(), 1);
    let error = ask(bucket(), Some("nobody")).unwrap_err();
    assert_eq!(
        (error.code(), error.what()),
        (Code::AbsentArchive, "no archive has nobody in its prefix; there are 3 others")
    );
    assert_eq!(ask(MemoryStore::new(), None).unwrap_err().code(), Code::AbsentArchive);
}

#[test]
fn two_clusters_in_one_prefix_are_said() {
    let store = bucket();
    store.insert(&format!("backups/{OLD}/walsysids/sysid"), "1");
    let report = ask(store, Some(OLD)).unwrap();
    assert_eq!(report.archives[0].other_systems[0].0, SystemId(1));
}

/// Whichever call fails: every archive is there, or something says that not all was looked at.
#[test]
fn whichever_call_fails_nothing_is_left_out_in_silence() {
    let faulty = FaultyStore::new(Arc::new(bucket()), FaultPlan::none());
    ask(faulty.clone(), None).unwrap();
    let (calls, whole) = (faulty.calls_made(), ask(bucket(), None).unwrap());
    assert!(calls > 20);
    let told = |one: &Archive| (one.url.clone(), one.newest_backup.clone(), one.bytes);
    for n in 0..calls {
        let report =
            match ask(FaultyStore::new(Arc::new(bucket()), FaultPlan::nth(n, StoreErrorKind::Unreachable)), None) {
                Ok(report) => report,
                Err(error) => {
                    assert_eq!((n, error.code()), (0, Code::StoreUnreachable));
                    continue;
                }
            };
        for one in report.archives.iter().filter(|one| one.trouble.is_none()) {
            assert!(whole.archives.iter().any(|other| told(one) == told(other)), "call {n}: {one:?}");
        }
        assert!(report.archives.len() == 3 || report.shortfall().is_some(), "call {n}");
    }
    // All but the search: each archive is shown, each with its error.
    let report = ask(FaultyStore::new(Arc::new(bucket()), FaultPlan::from(7, StoreErrorKind::Refused)), None).unwrap();
    assert_eq!(report.shortfall(), Some(Code::CredentialsRefused));
}
