//! A store in memory, for tests and benches.
//!
//! In: keys and bytes that a test puts there. Out: what every [`Store`] gives. Never: fails, waits, or loses a version
//! silently: each write makes a new etag.

use super::{
    BodyStream, ByteRange, Capabilities, Content, Copied, Depth, ETag, Got, ListStream, Listed, ObjectId, Place, Store,
    StoreError, StoreErrorKind, StoreWrite, Swept, Upload, When,
};
use crate::layout::ObjectKey;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Entries taken under one lock; what is written meanwhile may or may not be seen, as in a real store.
const PAGE: usize = 1000;
/// Bytes per piece of a body, so that readers meet more than one.
const CHUNK: usize = 256 * 1024;

/// Objects in a sorted map. Cheap to clone: clones share the objects.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Inner>);

#[derive(Default)]
struct Inner {
    objects: RwLock<BTreeMap<Arc<str>, Object>>,
    writes: AtomicU64,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    write: u64,
    modified: Option<jiff::Timestamp>,
}

impl Object {
    fn id(&self, key: &str) -> ObjectId {
        ObjectId {
            key: ObjectKey::new(key),
            size: self.bytes.len() as u64,
            modified: self.modified,
            etag: Some(ETag::new(format!("\"{}\"", self.write))),
        }
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("objects", &self.len()).finish()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Put an object there, replacing what has its name. Its time of modification is unknown.
    pub fn insert(&self, key: &str, bytes: impl Into<Bytes>) {
        self.write(key, bytes.into(), None);
    }

    /// The same with a time of modification.
    pub fn insert_at(&self, key: &str, bytes: impl Into<Bytes>, modified: jiff::Timestamp) {
        self.write(key, bytes.into(), Some(modified));
    }

    /// Take an object away. True when there was one.
    pub fn remove(&self, key: &str) -> bool {
        self.0.objects.write().unwrap_or_else(PoisonError::into_inner).remove(key).is_some()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.objects.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn write(&self, key: &str, bytes: Bytes, modified: Option<jiff::Timestamp>) {
        let write = self.0.writes.fetch_add(1, Ordering::Relaxed);
        let object = Object { bytes, write, modified };
        self.0.objects.write().unwrap_or_else(PoisonError::into_inner).insert(key.into(), object);
    }

    fn find(&self, key: &ObjectKey) -> Result<Object, StoreError> {
        let objects = self.0.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.get(key.as_str()).cloned().ok_or_else(|| {
            StoreError::new(StoreErrorKind::NoSuchObject, self.object_url(key), "there is no such object")
        })
    }

    /// Up to [`PAGE`] entries from there on, and where to go on.
    fn page(&self, prefix: &str, depth: Depth, from: Bound<Arc<str>>) -> (Vec<Listed>, Option<Bound<Arc<str>>>) {
        let objects = self.0.objects.read().unwrap_or_else(PoisonError::into_inner);
        let mut entries = Vec::new();
        let mut rest = objects.range::<str, _>((from.as_ref().map(|key| &**key), Bound::Unbounded));
        let mut next = from;
        while entries.len() < PAGE {
            let Some((key, object)) = rest.next().filter(|(key, _)| key.starts_with(prefix)) else {
                return (entries, None);
            };
            let slash = key.get(prefix.len()..).and_then(|below| below.find('/'));
            match slash {
                Some(slash) if depth == Depth::Level => {
                    let folder = &key[..prefix.len() + slash];
                    entries.push(Listed::Folder(format!("{folder}/").into()));
                    // '0' follows '/': behind everything in the folder.
                    let behind = format!("{folder}0");
                    rest = objects.range::<str, _>((Bound::Included(behind.as_str()), Bound::Unbounded));
                    next = Bound::Included(behind.into());
                }
                _ => {
                    entries.push(Listed::Object(object.id(key)));
                    next = Bound::Excluded(key.clone());
                }
            }
        }
        (entries, Some(next))
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn url(&self) -> String {
        "memory:///".into()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { sorted: true, etags: true, remote: false, keeps_times: true }
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        let prefix = prefix.to_owned();
        let after = start_after.cloned();
        let from = match &after {
            Some(after) if after.as_str() > prefix.as_str() => Bound::Excluded(after.as_str().into()),
            _ => Bound::Included(prefix.as_str().into()),
        };
        let pages = futures::stream::unfold(Some(from), move |from| {
            std::future::ready(from.map(|from| self.page(&prefix, depth, from)))
        });
        pages
            .flat_map(futures::stream::iter)
            .filter(move |entry| {
                // A folder that begins before `start_after` was seen already.
                let new = match (entry, &after) {
                    (Listed::Folder(folder), Some(after)) => folder > after,
                    _ => true,
                };
                std::future::ready(new)
            })
            .map(Ok)
            .boxed()
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
        let object = self.find(key)?;
        let id = object.id(key.as_str());
        if let Some(version) = version.filter(|version| id.etag.as_ref() != Some(version)) {
            let what = format!("the object is no longer the version {version}");
            return Err(StoreError::new(StoreErrorKind::Changed, self.object_url(key), what));
        }
        let (start, end) = range.within(id.size);
        let mut rest = object.bytes.slice(start as usize..end as usize);
        let chunks = std::iter::from_fn(move || {
            let chunk = rest.split_to(rest.len().min(CHUNK));
            (!chunk.is_empty()).then_some(Ok(chunk))
        });
        let body: BodyStream = futures::stream::iter(chunks).boxed();
        Ok(Got { object: id, body })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        Ok(self.find(key)?.id(key.as_str()))
    }
}

#[async_trait]
impl StoreWrite for MemoryStore {
    async fn put(&self, key: &ObjectKey, content: Content, when: When) -> Result<Option<ETag>, StoreError> {
        let write = self.0.writes.fetch_add(1, Ordering::Relaxed);
        let mut objects = self.0.objects.write().unwrap_or_else(PoisonError::into_inner);
        if when.must_be_absent() && objects.contains_key(key.as_str()) {
            return Err(StoreError::new(StoreErrorKind::Exists, self.object_url(key), "the object exists already"));
        }
        let object = Object { bytes: content.bytes, write, modified: None };
        let etag = object.id(key.as_str()).etag;
        objects.insert(key.as_str().into(), object);
        Ok(etag)
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(Parts { store: self.clone(), key: key.clone(), parts: Mutex::default() }))
    }

    async fn copy_from(&self, _: &Place, _: &ObjectId, key: &ObjectKey, _: When) -> Result<Copied, StoreError> {
        Err(StoreError::new(StoreErrorKind::Unsupported, self.object_url(key), "nobody copies in memory"))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.remove(key.as_str());
        Ok(())
    }

    async fn create(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn set_modified(&self, key: &ObjectKey, time: jiff::Timestamp) -> Result<Option<ETag>, StoreError> {
        let mut objects = self.0.objects.write().unwrap_or_else(PoisonError::into_inner);
        Ok(objects.get_mut(key.as_str()).and_then(|object| {
            object.modified = Some(time);
            object.id(key.as_str()).etag
        }))
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        Ok(Swept::default())
    }
}

/// An object that is being written in parts.
#[derive(Debug)]
struct Parts {
    store: MemoryStore,
    key: ObjectKey,
    parts: Mutex<BTreeMap<u64, Bytes>>,
}

#[async_trait]
impl Upload for Parts {
    async fn part(&self, _: u32, at: u64, bytes: Bytes) -> Result<(), StoreError> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(at, bytes);
        Ok(())
    }

    async fn finish(&self, when: When) -> Result<Option<ETag>, StoreError> {
        let whole: Vec<u8> = {
            let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.values().flat_map(|part| part.iter().copied()).collect()
        };
        self.store.put(&self.key, whole.into(), when).await
    }

    async fn abort(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
