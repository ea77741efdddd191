use super::*;
use crate::storage::memory::MemoryStore;

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn entry(key: &str, version: &str) -> Entry {
    let object = ObjectId {
        key: key.into(),
        size: 3,
        modified: Some(time(0)),
        etag: Some(ETag::new(format!("\"s{version}\""))),
    };
    let digest = Digest { sha256: Hex32([0xab; 32]), crc32c: Some(7) };
    Entry::new(&object, Some(&ETag::new(format!("\"d{version}\""))), Some(digest), How::Streamed)
}

async fn documents(store: &MemoryStore) -> Vec<String> {
    let listed: Vec<Listed> = store.list(OWN, Depth::All, None).try_collect().await.unwrap();
    let name = |one: Listed| match one {
        Listed::Object(object) => object.key.base_name().to_owned(),
        Listed::Folder(folder) => folder.to_string(),
    };
    listed.into_iter().map(name).collect()
}

#[tokio::test]
async fn what_was_written_is_read_again_and_the_latest_counts() {
    let store = MemoryStore::new();
    let mut manifest = Manifest::read(&store, "from").await.unwrap();
    assert!(manifest.is_empty());
    manifest.record(entry("a", "1"));
    manifest.record(entry("b", "1"));
    manifest.write(&store, time(1)).await.unwrap();
    manifest.record(entry("a", "2"));
    manifest.write(&store, time(2)).await.unwrap();
    manifest.write(&store, time(3)).await.unwrap();
    assert_eq!(documents(&store).await, ["00000001.json", "00000002.json"], "nothing new, no document");
    let read = Manifest::read(&store, "from").await.unwrap();
    assert_eq!(read.entry(&"a".into()), Some(&entry("a", "2")));
    assert_eq!(read.entry(&"b".into()), Some(&entry("b", "1")));
    // Of another source it says nothing.
    assert!(Manifest::read(&store, "elsewhere").await.unwrap().is_empty());
}

/// The form is an API: other programs read it.
#[tokio::test]
async fn the_form_of_a_document() {
    let mut manifest = Manifest::new("file:///to/", "file:///from/");
    manifest.record(entry("wal_005/a", "1"));
    let (key, bytes) = manifest.document(time(9)).unwrap().unwrap();
    assert_eq!(key.as_str(), ".wal-r/manifest/00000001.json");
    let text = String::from_utf8(bytes).unwrap();
    let digest = "ab".repeat(32);
    let wanted = format!(
        r#"{{"schema":"wal-r.copy-manifest","version":1,"from":"file:///from/","to":"file:///to/","written":"2023-11-14T22:13:29Z","objects":[{{"key":"wal_005/a","size":3,"modified":"2023-11-14T22:13:20Z","sha256":"{digest}","crc32c":7,"source_version":"\"s1\"","version":"\"d1\"","how":"streamed"}}]}}"#
    );
    assert_eq!(text, wanted);
}

/// What cannot be understood is said and costs a comparison, never the copy.
#[tokio::test]
async fn documents_that_are_none() {
    let store = MemoryStore::new();
    store.insert(".wal-r/manifest/00000001.json", "{");
    store.insert(
        ".wal-r/manifest/00000002.json",
        r#"{"schema":"x","version":9,"from":"from","to":"","written":"2023-11-14T22:13:29Z","objects":[]}"#,
    );
    store.insert(".wal-r/manifest/notes", "");
    let mut manifest = Manifest::read(&store, "from").await.unwrap();
    assert_eq!(manifest.remarks.len(), 3, "{:?}", manifest.remarks);
    manifest.record(entry("a", "1"));
    manifest.write(&store, time(1)).await.unwrap();
    assert!(documents(&store).await.contains(&"00000003.json".to_owned()), "nothing is written over");
}

/// Many small documents become one, whose entries are the latest; those of other sources stay.
#[tokio::test]
async fn many_small_documents_become_one() {
    let store = MemoryStore::new();
    let mut other = Manifest::read(&store, "elsewhere").await.unwrap();
    other.record(entry("x", "1"));
    other.write(&store, time(0)).await.unwrap();
    let mut manifest = Manifest::read(&store, "from").await.unwrap();
    for round in 0..12 {
        manifest.record(entry("a", &round.to_string()));
        manifest.record(entry(&format!("k{round}"), "1"));
        manifest.write(&store, time(round)).await.unwrap();
    }
    manifest.forget(&"k3".into());
    manifest.tidy(&store, time(99)).await.unwrap();
    assert_eq!(documents(&store).await.len(), 2);
    let read = Manifest::read(&store, "from").await.unwrap();
    assert_eq!(read.len(), 12);
    assert_eq!(read.entry(&"a".into()), Some(&entry("a", "11")));
    assert_eq!(read.entry(&"k3".into()), None);
    assert_eq!(Manifest::read(&store, "elsewhere").await.unwrap().len(), 1);
}

#[test]
fn a_digest_is_read_as_it_is_written() {
    let digest = Hex32([0x0f; 32]);
    let text = serde_json::to_string(&digest).unwrap();
    assert_eq!(serde_json::from_str::<Hex32>(&text).unwrap(), digest);
    for wrong in
        ["\"\"", "\"0f\"", "\"zz\"", &format!("\"{}\"", "0f".repeat(33)), "7", &format!("\"{}\u{e4}\"", "0".repeat(62))]
    {
        assert!(serde_json::from_str::<Hex32>(wrong).is_err(), "{wrong}");
    }
}
