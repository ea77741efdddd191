use super::*;
use crate::storage::memory::MemoryStore;
use futures::TryStreamExt;

/// The same listings as of a store that really holds them.
#[tokio::test]
async fn lists_like_any_other() {
    let many = ManyStore::wal(700);
    let memory = MemoryStore::new();
    for number in 0..700 {
        memory.insert(&(many.key)(number), "");
    }
    let names = async |store: &dyn Store, prefix: &str, depth, after: Option<&str>| -> Vec<String> {
        let after = after.map(ObjectKey::from);
        let name = |entry| match entry {
            Listed::Object(object) => object.key.to_string(),
            Listed::Folder(folder) => folder.to_string(),
        };
        store.list(prefix, depth, after.as_ref()).map_ok(name).try_collect().await.unwrap()
    };
    let last = (many.key)(699);
    for prefix in ["", "w", "wal_005", "wal_005/", "wal_005/0000000100000001", "x", "a"] {
        for after in [None, Some("a"), Some("wal_005/"), Some((many.key)(300).as_str()), Some(last.as_str()), Some("x")]
        {
            for depth in [Depth::All, Depth::Level] {
                let found = names(&many, prefix, depth, after).await;
                assert_eq!(found, names(&memory, prefix, depth, after).await, "{prefix:?} {after:?} {depth:?}");
            }
        }
    }
    assert!(many.head(&last.as_str().into()).await.is_ok());
    assert!(many.head(&"wal_005/x".into()).await.unwrap_err().is_absent());
}
