//! A source as it was: what was written later is not seen.
//!
//! In: a store, a time. Out: the same store, whose listings end at that time. Never: hides an object whose store does not say
//! when it was written; knows what was removed or replaced since.

use crate::layout::ObjectKey;
use crate::storage::{
    ByteRange, Capabilities, Depth, ETag, Got, ListStream, Listed, ObjectId, Place, Store, StoreError,
};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use std::sync::Arc;

/// A store as it was at a time.
#[derive(Debug)]
pub struct Until {
    /// The store.
    pub inner: Arc<dyn Store>,
    /// The time.
    pub time: Timestamp,
}

#[async_trait]
impl Store for Until {
    fn url(&self) -> String {
        self.inner.url()
    }

    fn object_url(&self, key: &ObjectKey) -> String {
        self.inner.object_url(key)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        let later = |listed: &Listed| match listed {
            Listed::Object(object) => object.modified.is_some_and(|modified| modified > self.time),
            Listed::Folder(_) => false,
        };
        let listing = self.inner.list(prefix, depth, start_after);
        listing.try_filter(move |listed| std::future::ready(!later(listed))).boxed()
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
        self.inner.get(key, range, version).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        self.inner.head(key).await
    }

    fn place(&self) -> Option<Place> {
        self.inner.place()
    }

    async fn refresh_credentials(&self) {
        self.inner.refresh_credentials().await;
    }
}
