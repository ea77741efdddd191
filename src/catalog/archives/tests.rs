use super::*;
use crate::storage::StoreErrorKind;
use crate::storage::local::LocalStore;
use crate::storage::memory::MemoryStore;
use crate::testing::faulty::{Call, FaultPlan, FaultyStore};
use std::sync::atomic::{AtomicU64, Ordering};

const SEGMENT: &str = "wal_005/000000010000000000000001.lzo";
const SENTINEL: &str = "basebackups_005/base_000000010000000000000002_00000040_backup_stop_sentinel.json";

fn store_of(keys: &[&str]) -> Arc<dyn Store> {
    let store = MemoryStore::new();
    keys.iter().for_each(|key| store.insert(key, "x"));
    Arc::new(store)
}

fn found(store: &dyn Store) -> Answer<Found> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let looked = AtomicU64::new(0);
    let found = runtime.block_on(find(store, &|| {
        looked.fetch_add(1, Ordering::Relaxed);
    }));
    if let Ok(found) = &found {
        assert_eq!(found.folders, looked.into_inner());
    }
    found
}

fn prefixes(found: &Found) -> Vec<&str> {
    found.archives.iter().map(|one| &*one.prefix).collect()
}

fn check(keys: &[&str], wanted: &[&str]) {
    let found = found(&*store_of(keys)).unwrap();
    assert_eq!(prefixes(&found), wanted, "{keys:?}");
    assert!(found.troubles.is_empty());
}

#[test]
fn archives_lie_at_any_depth() {
    check(&[], &[]);
    check(&["a", "b/c", "wal_005", "x/wal_005x/y", "x/wal_05/y"], &[]);
    check(&[SEGMENT], &[""]);
    check(&[SENTINEL], &[""]);
    check(
        &[
            "a/b/c/wal/wal_005/000000010000000000000001.lzo",
            "a/b/c/wal/basebackups_005/base_000000010000000000000002_00000040/extended_version.txt",
            // One within another, by version.
            "spilo/acid/wal/wal_005/000000010000000000000001.lzo",
            "spilo/acid/wal/9.5/wal_005/000000010000000000000001.lzo",
            // Nothing of ours, and what a copy keeps.
            "logs/2016/03/16.gz",
            "a/b/c/wal/.wal-r/wal_005/x",
            "a/b/c/wal/sysids/sysid",
            // What looks like an archive within an archive's own folders.
            "a/b/c/wal/wal_005/wal_005/000000010000000000000001.lzo",
            // Two slashes; a layout of 2011.
            "odd//db/wal_005/000000010000000000000001.lzo",
            "old/basebackups_003/base_x/part_0.tar.lzo",
        ],
        &["a/b/c/wal/", "odd//db/", "old/", "spilo/acid/wal/", "spilo/acid/wal/9.5/"],
    );
}

#[test]
fn an_identifier_that_is_glued_to_the_prefix_is_the_archives() {
    let keys = [
        "a/wal/wal_005/000000010000000000000001.lzo",
        "a/walsysids/sysid",
        "b/wal/wal_005/000000010000000000000001.lzo",
        "b/wal/sysids/sysid",
        "c/dbsysids/sysid",
    ];
    let found = found(&*store_of(&keys)).unwrap();
    let glued: Vec<_> = found.archives.iter().map(|one| one.glued_system_id.as_ref().map(ObjectKey::as_str)).collect();
    assert_eq!((prefixes(&found), glued), (vec!["a/wal/", "b/wal/"], vec![Some("a/walsysids/sysid"), None]));
}

/// One request for each folder, whatever lies in an archive's own.
#[test]
fn millions_of_segments_cost_one_request() {
    let store = MemoryStore::new();
    (0..5000).for_each(|n| store.insert(&format!("a/wal/wal_005/0000000100000000{n:08X}.lzo"), "x"));
    let faulty = FaultyStore::new(Arc::new(store), FaultPlan::none());
    assert_eq!(prefixes(&found(&faulty).unwrap()), ["a/wal/"]);
    let list = |prefix: &str| Call::List(prefix.to_owned(), None);
    assert_eq!(faulty.calls(), [list(""), list("a/"), list("a/wal/")]);
}

#[test]
fn what_cannot_be_listed_is_kept_with_its_error() {
    let store = store_of(&["a/wal_005/000000010000000000000001.lzo", "b/wal_005/000000010000000000000001.lzo"]);
    let of = |n| found(&FaultyStore::new(store.clone(), FaultPlan::nth(n, StoreErrorKind::Unreachable)));
    assert_eq!(of(0).unwrap_err().code(), Code::StoreUnreachable);
    for (n, lost, left) in [(1, "a/", "b/"), (2, "b/", "a/")] {
        let found = of(n).unwrap();
        assert_eq!(prefixes(&found), [left]);
        assert_eq!((&*found.troubles[0].0, found.troubles[0].1.code()), (lost, Code::StoreUnreachable));
    }
}

#[test]
fn directories_that_are_linked_in_circles_have_an_end() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("a/wal_005")).unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/again")).unwrap();
    let found = found(&LocalStore::new(folder.path())).unwrap();
    assert_eq!(found.archives[0].prefix, "a/");
    assert!(found.troubles.iter().all(|(_, error)| error.what().contains("32 folders deep")));
    assert!(!found.troubles.is_empty());
}

#[tokio::test]
async fn a_folder_is_a_store_of_its_own() {
    let store = MemoryStore::new();
    let time = jiff::Timestamp::from_second(1_458_195_017).unwrap();
    store.insert("before", "1");
    store.insert("db/sysids/sysid", "22");
    store.insert_at("db/wal_005/a", "333", time);
    store.insert_at("db/wal_005/b", "4444", time - jiff::SignedDuration::from_secs(5));
    store.insert("dbx/wal_005/c", "5");
    let below = Below::new(Arc::new(store.clone()), "db/");
    let list = async |prefix: &str, depth, after: Option<&str>| {
        let after = after.map(ObjectKey::from);
        let lines: Vec<Listed> = below.list(prefix, depth, after.as_ref()).try_collect().await.unwrap();
        let name = |line: Listed| match line {
            Listed::Object(object) => object.key.to_string(),
            Listed::Folder(key) => key.to_string(),
        };
        lines.into_iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(list("", Depth::Level, None).await, ["sysids/", "wal_005/"]);
    assert_eq!(below.tally(), Tally::default());
    assert_eq!(list("wal_005/", Depth::All, None).await, ["wal_005/a", "wal_005/b"]);
    let tally = below.tally();
    assert_eq!((tally.objects, tally.bytes, tally.last), (2, 7, Some(time)));
    assert_eq!(tally.first.unwrap().as_second(), 1_458_195_012);
    assert_eq!(list("wal_005/", Depth::All, Some("wal_005/a")).await, ["wal_005/b"]);
    let key = ObjectKey::from("wal_005/a");
    let got = below.get(&key, ByteRange::ALL, None).await.unwrap();
    assert_eq!(got.object, below.head(&key).await.unwrap());
    assert_eq!((got.object.key, got.object.size), (key.clone(), 3));
    assert_eq!(below.object_url(&key), store.object_url(&ObjectKey::from("db/wal_005/a")));
    let error = below.head(&ObjectKey::from("before")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoSuchObject);
}
