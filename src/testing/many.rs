//! A store of as many objects as one likes, which cost nothing: for benches of listings.
//!
//! In: a count, and the key of each number. Out: listings made while they are read. Never: holds the keys, or contents.

use crate::layout::ObjectKey;
use crate::storage::{
    ByteRange, Capabilities, Depth, ETag, Got, ListStream, Listed, ObjectId, Store, StoreError, StoreErrorKind,
};
use async_trait::async_trait;
use futures::StreamExt;

/// Objects that are only names.
#[derive(Debug, Clone, Copy)]
pub struct ManyStore {
    count: u64,
    key: fn(u64) -> String,
    size: u64,
}

impl ManyStore {
    /// `count` objects of `size` bytes; `key` gives their keys in ascending order.
    pub fn new(count: u64, size: u64, key: fn(u64) -> String) -> Self {
        ManyStore { count, key, size }
    }

    /// So many segments of timeline 1 without a gap, stored by WAL-E, from the second one on.
    pub fn wal(count: u64) -> Self {
        ManyStore::new(count, 5 << 20, |number| {
            let segment = number + 1;
            format!("wal_005/00000001{:08X}{:08X}.lzo", segment / 256, segment % 256)
        })
    }

    /// The first number whose key is not before this one.
    fn find(&self, key: &str) -> u64 {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if (self.key)(middle).as_str() < key { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn object(&self, key: ObjectKey) -> ObjectId {
        ObjectId { key, size: self.size, modified: None, etag: Some(ETag::new("\"many\"")) }
    }
}

#[async_trait]
impl Store for ManyStore {
    fn url(&self) -> String {
        "many:///".into()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { sorted: true, etags: true, remote: false, keeps_times: false }
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        let prefix = prefix.to_owned();
        let after = start_after.map(|after| after.as_str().to_owned());
        let mut number = self.find(after.as_ref().filter(|after| **after > prefix).unwrap_or(&prefix));
        let entries = std::iter::from_fn(move || {
            while number < self.count {
                let key = (self.key)(number);
                let below = key.strip_prefix(&prefix)?;
                let entry = match below.find('/').filter(|_| depth == Depth::Level) {
                    None => {
                        number += 1;
                        Listed::Object(self.object(key.into()))
                    }
                    Some(slash) => {
                        let folder = key.get(..prefix.len() + slash)?;
                        // '0' follows '/'.
                        number = self.find(&format!("{folder}0"));
                        Listed::Folder(format!("{folder}/").into())
                    }
                };
                let (Listed::Object(ObjectId { key, .. }) | Listed::Folder(key)) = &entry;
                if after.as_ref().is_none_or(|after| key.as_str() > after.as_str()) {
                    return Some(Ok(entry));
                }
            }
            None
        });
        futures::stream::iter(entries).boxed()
    }

    async fn get(&self, key: &ObjectKey, _: ByteRange, _: Option<&ETag>) -> Result<Got, StoreError> {
        let object = self.head(key).await?;
        let what = "these objects are only names";
        Err(StoreError::new(StoreErrorKind::Failed, self.object_url(&object.key), what))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        let number = self.find(key.as_str());
        if number < self.count && (self.key)(number) == key.as_str() {
            return Ok(self.object(key.clone()));
        }
        Err(StoreError::new(StoreErrorKind::NoSuchObject, self.object_url(key), "there is no such object"))
    }
}

#[cfg(test)]
mod tests;
