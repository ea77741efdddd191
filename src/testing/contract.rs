//! What every [`Store`](crate::storage::Store) must do, as a test that any of them can be put through.
//!
//! In: an empty store that can be written. Out: a panic that names the broken promise. Never: cleans up behind itself.

use crate::layout::ObjectKey;
use crate::storage::{ByteRange, Depth, ETag, Got, Listed, Store, StoreErrorKind, StoreWrite, Swept, When};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;

/// Keys in the order of their bytes: neighbours of the slash, characters that URLs, XML and shells treat specially.
const KEYS: &[&str] = &[
    "%41%2F",
    "a b/c d",
    "a+b",
    "a-b",
    "a.lzo",
    "a/1",
    "a/2/3",
    "a/2/4",
    "a/2.x",
    "a0",
    "basebackups_005/base_000000010000000000000002_00000040_backup_stop_sentinel.json",
    "quote\"'<>&;",
    "wal_005/000000010000000000000001.lzo",
    "wal_005/000000010000000000000002.lzo",
    "wal_005/00000002.history.lzo",
    "wal_005/x.tmp.20200101T000000-0123456789abcdef",
    "x=y&z?#~",
    "\u{e4}\u{20ac}/\u{1f418}",
    "\\back\\slash",
];
/// More than one page of any store.
const MANY: usize = 1234;

/// Put an empty store through everything.
pub async fn check(store: &dyn StoreWrite) {
    check_with(store, |_| true).await;
}

/// The same for a store whose service makes slashes of backslashes (Azure): such a key is refused, never taken for another.
pub async fn check_without_backslashes(store: &dyn StoreWrite) {
    for key in KEYS.iter().filter(|key| key.contains('\\')).map(|&key| ObjectKey::from(key)) {
        let put = store
            .put(&key, Bytes::from_static(b"x").into(), When::Always)
            .await
            .expect_err("put of a name it cannot hold");
        let get = store.get(&key, ByteRange::ALL, None).await.expect_err("get of a name it cannot hold");
        let head = store.head(&key).await.expect_err("head of a name it cannot hold");
        assert_eq!([put.kind, get.kind, head.kind], [StoreErrorKind::Config; 3]);
    }
    check_with(store, |key| !key.contains('\\')).await;
}

/// Put a store through what copies need besides puts.
pub async fn check_writing(store: &dyn StoreWrite) {
    parts(store).await;
    provider_copies(store).await;
    removes(store).await;
    assert_eq!(store.sweep().await.expect("sweep"), Swept::default(), "swept what nobody left");
}

async fn check_with(store: &dyn StoreWrite, holds: impl Fn(&str) -> bool) {
    empty(store).await;
    let objects = fill(store, holds).await;
    lists(store, &objects).await;
    reads(store, &objects).await;
    versions(store).await;
    pages(store).await;
}

async fn empty(store: &dyn Store) {
    assert!(names(store, "", Depth::All, None).await.is_empty(), "the store given is not empty");
    assert!(names(store, "nothing/here", Depth::Level, None).await.is_empty(), "nothing lies under an unused prefix");
    for key in ["nothing", "nothing/here/either", "nothing/"] {
        let key = ObjectKey::from(key);
        let error = store.get(&key, ByteRange::ALL, None).await.expect_err("get of what is not there");
        assert_eq!(error.kind, StoreErrorKind::NoSuchObject, "get {key}: {error:?}");
        assert_eq!(error.object, store.object_url(&key), "an error names its object");
        let error = store.head(&key).await.expect_err("head of what is not there");
        assert_eq!(error.kind, StoreErrorKind::NoSuchObject, "head {key}: {error:?}");
    }
    assert!(names(store, "", Depth::All, None).await.is_empty(), "asking created something");
}

/// Contents that differ by key in length and bytes, one of them empty, one larger than any piece of a body.
fn content(number: usize) -> Bytes {
    let len = match number {
        0 => 0,
        1 => 1_500_001,
        number => number * 37,
    };
    (0..len).map(|at| (at * 31 + at / 256 * 7 + number) as u8).collect::<Vec<u8>>().into()
}

async fn fill(store: &dyn StoreWrite, holds: impl Fn(&str) -> bool) -> BTreeMap<&'static str, Bytes> {
    let keys = KEYS.iter().enumerate().filter(|(_, key)| holds(key));
    let objects: BTreeMap<_, _> = keys.map(|(number, &key)| (key, content(number))).collect();
    for (&key, bytes) in &objects {
        store
            .put(&key.into(), bytes.clone().into(), When::Absent)
            .await
            .unwrap_or_else(|error| panic!("put {key}: {error:?}"));
    }
    objects
}

/// The listing as names; a folder's ends in a slash.
async fn names(store: &dyn Store, prefix: &str, depth: Depth, after: Option<&str>) -> Vec<String> {
    let after = after.map(ObjectKey::from);
    let entries: Vec<Listed> = store
        .list(prefix, depth, after.as_ref())
        .try_collect()
        .await
        .unwrap_or_else(|error| panic!("list {prefix:?} {depth:?} after {after:?}: {error:?}"));
    entries
        .into_iter()
        .map(|entry| match entry {
            Listed::Object(object) => object.key.to_string(),
            Listed::Folder(folder) => folder.to_string(),
        })
        .collect()
}

/// What a listing must be, by the plainest way to say it.
fn expected(objects: &BTreeMap<&str, Bytes>, prefix: &str, depth: Depth, after: Option<&str>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for key in objects.keys().filter(|key| key.starts_with(prefix)) {
        let name = match key[prefix.len()..].find('/') {
            Some(slash) if depth == Depth::Level => &key[..prefix.len() + slash + 1],
            _ => key,
        };
        if after.is_none_or(|after| name > after) && names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
    }
    names
}

async fn lists(store: &dyn Store, objects: &BTreeMap<&str, Bytes>) {
    assert!(store.capabilities().sorted, "every store of ours lists in order");
    let prefixes =
        ["", "a", "a/", "a/2", "a/2/", "a b/", "wal_005/", "wal_005/0000000100", "%41", "q", "\u{e4}", "zzz", "\\"];
    for prefix in prefixes {
        for depth in [Depth::All, Depth::Level] {
            let found = names(store, prefix, depth, None).await;
            assert_eq!(found, expected(objects, prefix, depth, None), "list {prefix:?} {depth:?}");
        }
    }
    // Every place to go on from, those that are no key as well.
    let places =
        KEYS.iter().copied().chain(["", "a/", "a/2", "a/2/", "wal_005/", "wal_005/000000010000000000000001", "zzz"]);
    for after in places {
        for (prefix, depth) in [("", Depth::All), ("", Depth::Level), ("a/", Depth::All), ("a/", Depth::Level)] {
            let found = names(store, prefix, depth, Some(after)).await;
            assert_eq!(
                found,
                expected(objects, prefix, depth, Some(after)),
                "list {prefix:?} {depth:?} after {after:?}"
            );
        }
    }
    let listed: Vec<Listed> = store.list("", Depth::All, None).try_collect().await.expect("list");
    for entry in listed {
        let Listed::Object(listed) = entry else { panic!("{entry:?} in a deep listing") };
        assert_eq!(listed.size, objects[listed.key.as_str()].len() as u64, "size of {} in a listing", listed.key);
        let head = store.head(&listed.key).await.expect("head of what was listed");
        assert_eq!((head.size, &head.etag), (listed.size, &listed.etag), "head of {} and its listing", listed.key);
    }
}

async fn read(got: Got) -> Bytes {
    let parts: Vec<Bytes> = got.body.try_collect().await.expect("body");
    assert!(parts.iter().all(|part| !part.is_empty()), "an empty piece of a body");
    parts.concat().into()
}

async fn reads(store: &dyn Store, objects: &BTreeMap<&str, Bytes>) {
    for (&key, bytes) in objects {
        let key = ObjectKey::from(key);
        let len = bytes.len() as u64;
        let got = store.get(&key, ByteRange::ALL, None).await.expect("get");
        assert_eq!((&got.object.key, got.object.size), (&key, len), "what an answer says of {key}");
        assert_eq!(got.object.etag.is_some(), store.capabilities().etags, "etag of {key}");
        let version = got.object.etag.clone();
        assert!(read(got).await == bytes, "bytes of {key}");

        let ranges = [
            ByteRange::new(0, 1),
            ByteRange::new(0, len),
            ByteRange::new(0, len + 10),
            ByteRange::new(len / 2, 5),
            ByteRange::new(len.saturating_sub(3), 3),
            ByteRange::new(len.saturating_sub(3), 100),
            ByteRange::from(len / 3),
            ByteRange::new(len, 1),
            ByteRange::from(len + 5),
            ByteRange::new(1, u64::MAX),
        ];
        for range in ranges {
            let got = store.get(&key, range, version.as_ref()).await;
            let got = got.unwrap_or_else(|error| panic!("get {key} {range:?}: {error:?}"));
            assert_eq!(got.object.size, len, "the size of {key} is that of the object, not of {range:?}");
            let (start, end) = range.within(len);
            assert!(read(got).await == bytes[start as usize..end as usize], "bytes of {key} {range:?}");
        }
    }
    // A reader that stops half way leaves nothing behind that disturbs the next.
    let large = ObjectKey::from(KEYS[1]);
    for _ in 0..20 {
        let mut got = store.get(&large, ByteRange::ALL, None).await.expect("get");
        let first = got.body.next().await.expect("a first piece").expect("a good first piece");
        assert_eq!(first[..], objects[KEYS[1]][..first.len()]);
    }
}

async fn versions(store: &dyn StoreWrite) {
    let key = ObjectKey::from("versions/one");
    store.put(&key, Bytes::from_static(b"first").into(), When::Always).await.expect("put");
    let first = store.head(&key).await.expect("head").etag;
    let error =
        store.put(&key, Bytes::from_static(b"again").into(), When::Absent).await.expect_err("put over what exists");
    assert_eq!(error.kind, StoreErrorKind::Exists, "{error:?}");
    let got = store.get(&key, ByteRange::ALL, first.as_ref()).await.expect("get of the version that is there");
    assert_eq!(read(got).await, "first", "a refused put changed the object");

    store
        .put(&key, Bytes::from_static(b"2nd").into(), When::Always)
        .await
        .expect("put over what exists, when asked to");
    let second = store.head(&key).await.expect("head").etag;
    assert_ne!(first, second, "two versions with one etag");
    for version in [first, Some(ETag::new("\"no such version\""))] {
        for range in [ByteRange::ALL, ByteRange::new(1, 2), ByteRange::from(3)] {
            let error = store.get(&key, range, version.as_ref()).await.expect_err("get of a version that is gone");
            assert_eq!(error.kind, StoreErrorKind::Changed, "{range:?}: {error:?}");
        }
    }
    let got = store.get(&key, ByteRange::ALL, second.as_ref()).await.expect("get");
    assert_eq!(read(got).await, "2nd");
}

/// What is sent in parts is seen when it is whole, and then as a whole.
async fn parts(store: &dyn StoreWrite) {
    const PART: usize = 5 << 20;
    let key = ObjectKey::from("parts/large");
    let whole: Bytes = (0..2 * PART + 77).map(|at| (at / 251 + at * 3) as u8).collect::<Vec<u8>>().into();
    let send = async |order: [usize; 3]| {
        let upload = store.upload(&key).await.expect("an upload");
        for part in order {
            let bytes = whole.slice(part * PART..((part + 1) * PART).min(whole.len()));
            upload.part(part as u32 + 1, (part * PART) as u64, bytes).await.expect("a part");
        }
        upload
    };
    let upload = send([2, 0, 1]).await;
    let error = store.head(&key).await.expect_err("head of what is not finished");
    assert_eq!(error.kind, StoreErrorKind::NoSuchObject, "{error:?}");
    let etag = upload.finish(When::ListedAbsent).await.expect("finish");
    let got = store.get(&key, ByteRange::ALL, None).await.expect("get what came in parts");
    assert_eq!(got.object.etag, etag, "finish gives the version that is there");
    assert!(read(got).await == whole, "what came in parts is another");
    let upload = send([0, 1, 2]).await;
    let error = upload.finish(When::Absent).await.expect_err("finish over what exists");
    assert_eq!(error.kind, StoreErrorKind::Exists, "{error:?}");
    upload.abort().await.expect("abort");
    assert_eq!(store.head(&key).await.expect("head").etag, etag, "an upload that failed changed something");
    let upload = send([0, 1, 2]).await;
    upload.abort().await.expect("abort");
    assert_eq!(
        names(store, "parts/", Depth::All, None).await,
        ["parts/large"],
        "an upload that was given up left something"
    );
}

/// Where the provider copies, it is the version that was meant, and nothing is replaced unasked.
async fn provider_copies(store: &dyn StoreWrite) {
    let Some(place) = store.place() else { return };
    let (from, to) = (ObjectKey::from("copy/a b+%"), ObjectKey::from("copy/to"));
    store.put(&from, Bytes::from_static(b"content").into(), When::Absent).await.expect("put");
    let source = store.head(&from).await.expect("head");
    let copied = store.copy_from(&place, &source, &to, When::Absent).await.expect("copy");
    let got = store.get(&to, ByteRange::ALL, None).await.expect("get a copy");
    assert_eq!(got.object.etag, copied.etag, "a copy gives the version that is there");
    assert_eq!(read(got).await, "content");
    let again = store.copy_from(&place, &source, &to, When::Absent).await.expect_err("copy over what exists");
    assert_eq!(again.kind, StoreErrorKind::Exists, "{again:?}");
    store.put(&from, Bytes::from_static(b"another").into(), When::Always).await.expect("put");
    let other = ObjectKey::from("copy/other");
    let changed = store.copy_from(&place, &source, &other, When::Absent).await.expect_err("copy of an old version");
    assert_eq!(changed.kind, StoreErrorKind::Changed, "{changed:?}");
    assert!(store.head(&other).await.is_err(), "a copy that failed left something");
}

async fn removes(store: &dyn StoreWrite) {
    let key = ObjectKey::from("remove/this/one");
    store.put(&key, Bytes::from_static(b"x").into(), When::Absent).await.expect("put");
    store.delete(&key).await.expect("delete");
    assert_eq!(store.head(&key).await.expect_err("it was removed").kind, StoreErrorKind::NoSuchObject);
    assert!(names(store, "remove/", Depth::All, None).await.is_empty());
    store.delete(&key).await.expect("delete what is not there");
    if store.capabilities().keeps_times {
        let time = jiff::Timestamp::from_second(1_400_000_000).expect("a time");
        store.put(&key, Bytes::from_static(b"x").into(), When::Absent).await.expect("put");
        let etag = store.set_modified(&key, time).await.expect("set the time");
        let object = store.head(&key).await.expect("head");
        assert_eq!((object.modified, object.etag), (Some(time), etag));
    }
}

async fn pages(store: &dyn StoreWrite) {
    let keys: Vec<String> = (0..MANY).map(|number| format!("many/{}/{number:08}", number / 700)).collect();
    let puts = keys
        .iter()
        .map(|key| async move { store.put(&key.as_str().into(), Bytes::from_static(b"x").into(), When::Always).await });
    futures::stream::iter(puts).buffer_unordered(32).try_collect::<Vec<_>>().await.expect("many puts");
    assert!(names(store, "many/", Depth::All, None).await == keys, "{MANY} keys over several pages");
    assert_eq!(names(store, "many/", Depth::Level, None).await, ["many/0/", "many/1/"]);
    let after = keys[MANY / 2].as_str();
    assert!(names(store, "many/", Depth::All, Some(after)).await == keys[MANY / 2 + 1..], "half of {MANY} keys");
    // A listing that is dropped half way.
    let first: Vec<_> = store.list("many/", Depth::All, None).take(10).collect().await;
    assert_eq!(first.len(), 10);
}
