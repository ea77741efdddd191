//! Writing that tries again.
//!
//! In: a [`StoreWrite`] that makes one request at a time. Out: the same, by the rules of `storage::retry`. Never: calls a
//! write failed that was done: where the answer to a try was lost, what is there afterwards is read and compared.
//!
//! Left to the caller: [`Upload::finish`] after a lost answer (only the caller knows what the object must be), and a copy
//! that must find nothing there and found something after a lost answer.

use super::{Core, RetryPolicy, Retrying};
use crate::layout::ObjectKey;
use crate::storage::retry::Counters;
use crate::storage::{
    ByteRange, Capabilities, Content, Copied, Depth, ETag, Got, ListStream, ObjectId, Place, Store, StoreError,
    StoreErrorKind, StoreWrite, Swept, Unfinished, Upload, When,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// A store that can be written, and tries again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RetryingWrite {
    read: Retrying,
    inner: Arc<dyn StoreWrite>,
}

impl RetryingWrite {
    /// Around a store. The policy's deadline runs from now.
    pub fn new(inner: Arc<dyn StoreWrite>, policy: RetryPolicy, counters: Arc<Counters>) -> Self {
        RetryingWrite { read: Retrying::counting(inner.clone(), policy, counters), inner }
    }

    /// Try until it works or may not be tried again. `bytes` go along.
    async fn attempt<T, F: Future<Output = Result<T, StoreError>>>(
        core: &Arc<Core>,
        bytes: u64,
        url: impl Fn() -> String,
        request: impl Fn() -> F,
    ) -> Result<T, Failed> {
        let mut tries = core.tries();
        let mut lost = false;
        loop {
            match core.answer_to(bytes, &url, request()).await {
                Ok(done) => return Ok(done),
                Err(error) => {
                    let was_lost = lost;
                    lost |= is_lost(error.kind);
                    tries.again(error).await.map_err(|error| Failed { error, lost: was_lost })?;
                }
            }
        }
    }

    /// Is what is there these bytes? Then the version.
    async fn holds(&self, key: &ObjectKey, mut bytes: Bytes) -> Result<Option<Option<ETag>>, StoreError> {
        let mut got = self.read.get(key, ByteRange::ALL, None).await?;
        while let Some(piece) = got.body.try_next().await? {
            if !bytes.starts_with(&piece) {
                return Ok(None);
            }
            let _ = bytes.split_to(piece.len());
        }
        Ok(bytes.is_empty().then_some(got.object.etag))
    }
}

/// The end of trying.
struct Failed {
    error: StoreError,
    /// The answer to an earlier try was lost: it may have been done.
    lost: bool,
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// May it have been done although there is an error?
fn is_lost(kind: StoreErrorKind) -> bool {
    use StoreErrorKind as K;
    matches!(kind, K::Failed | K::Unreachable | K::Timeout | K::Throttled)
}

#[async_trait]
impl Store for RetryingWrite {
    fn url(&self) -> String {
        self.read.url()
    }

    fn object_url(&self, key: &ObjectKey) -> String {
        self.read.object_url(key)
    }

    fn capabilities(&self) -> Capabilities {
        self.read.capabilities()
    }

    fn place(&self) -> Option<Place> {
        self.read.place()
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        self.read.list(prefix, depth, start_after)
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
        self.read.get(key, range, version).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        self.read.head(key).await
    }

    async fn refresh_credentials(&self) {
        self.read.refresh_credentials().await;
    }
}

#[async_trait]
impl StoreWrite for RetryingWrite {
    async fn put(&self, key: &ObjectKey, content: Content, when: When) -> Result<Option<ETag>, StoreError> {
        let url = || self.inner.object_url(key);
        let request = || self.inner.put(key, content.clone(), when);
        match Self::attempt(&self.read.0, content.bytes.len() as u64, url, request).await {
            Err(Failed { error, lost: true }) if error.kind == StoreErrorKind::Exists => {
                // By the try whose answer was lost?
                self.holds(key, content.bytes).await?.ok_or(error)
            }
            answer => Ok(answer?),
        }
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        let url = || self.inner.object_url(key);
        let upload = Self::attempt(&self.read.0, 0, url, || self.inner.upload(key)).await?;
        Ok(Box::new(RetryingUpload { core: self.read.0.clone(), url: url(), inner: upload }))
    }

    async fn copy_from(
        &self,
        from: &Place,
        source: &ObjectId,
        key: &ObjectKey,
        when: When,
    ) -> Result<Copied, StoreError> {
        let url = || self.inner.object_url(key);
        let request = || self.inner.copy_from(from, source, key, when);
        // The provider moves the bytes, at its own speed.
        Ok(Self::attempt(&self.read.0, source.size, url, request).await?)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let url = || self.inner.object_url(key);
        Ok(Self::attempt(&self.read.0, 0, url, || self.inner.delete(key)).await?)
    }

    async fn create(&self) -> Result<(), StoreError> {
        let url = || self.inner.url();
        Ok(Self::attempt(&self.read.0, 0, url, || self.inner.create()).await?)
    }

    async fn set_modified(&self, key: &ObjectKey, time: jiff::Timestamp) -> Result<Option<ETag>, StoreError> {
        let url = || self.inner.object_url(key);
        let request = || self.inner.set_modified(key, time);
        Ok(Self::attempt(&self.read.0, 0, url, request).await?)
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.inner.sweep().await
    }

    async fn abandon(&self, upload: &Unfinished) -> Result<(), StoreError> {
        self.inner.abandon(upload).await
    }
}

struct RetryingUpload {
    core: Arc<Core>,
    url: String,
    inner: Box<dyn Upload>,
}

impl fmt::Debug for RetryingUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Upload for RetryingUpload {
    async fn part(&self, number: u32, at: u64, bytes: Bytes) -> Result<(), StoreError> {
        let request = || self.inner.part(number, at, bytes.clone());
        let url = || self.url.clone();
        Ok(RetryingWrite::attempt(&self.core, bytes.len() as u64, url, request).await?)
    }

    async fn finish(&self, when: When) -> Result<Option<ETag>, StoreError> {
        let url = || self.url.clone();
        Ok(RetryingWrite::attempt(&self.core, 0, url, || self.inner.finish(when)).await?)
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.inner.abort().await
    }
}
