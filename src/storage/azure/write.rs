//! Writing to Azure Blob Storage: puts, uploads in blocks, copies that the service makes. By the SDK.
//!
//! In: bytes with a key, or the place of another blob. Out: the version that is there now. Never: replaces what must be
//! absent; believes that a copy is done before the service says so.
//! Source: Azure's REST reference (Put Blob, Put Block, Put Block List, Copy Blob, Delete Blob, Create Container).

use super::{AzureStore, Client, header};
use crate::layout::ObjectKey;
use crate::storage::{
    Content, Copied, ETag, ObjectId, Place, Store, StoreError, StoreErrorKind, StoreWrite, Swept, Upload, When, remote,
};
use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{Etag, Method};
use azure_storage_blob::models::{
    BlobClientStartCopyFromUrlOptions, BlockBlobClientCommitBlockListOptions, BlockBlobClientUploadOptions,
    BlockLookupList,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What is put at once and is larger goes up in blocks of this size.
const BLOCK: NonZero<u64> = NonZero::new(32 << 20).unwrap();
/// So many of them at once.
const BLOCKS: NonZero<usize> = NonZero::new(4).unwrap();
/// The service is asked so often how far its copy is, once the first answer was "pending".
const POLL: Duration = Duration::from_millis(500);

impl AzureStore {
    /// What the SDK's error means.
    fn meant(&self, verb: &'static str, url: &str, error: &azure_core::Error, when: When) -> StoreError {
        let ErrorKind::HttpResponse { status, raw_response: Some(answer), .. } = error.kind() else {
            return self.failed(verb, url, error).error;
        };
        let error = Self::refused(verb, url, u16::from(*status), answer.headers(), answer.body()).error;
        if when.must_be_absent() && matches!(error.kind, StoreErrorKind::Exists | StoreErrorKind::Changed) {
            return StoreError::new(StoreErrorKind::Exists, url, format!("{verb}: the object exists already"));
        }
        error
    }

    fn etag(verb: &str, url: &str, headers: &Headers) -> Result<Option<ETag>, StoreError> {
        match header(headers, "etag") {
            Some(etag) => Ok(Some(remote::normalise(etag))),
            None => {
                let what = format!("{verb} answered with success and no ETag: this is not Azure");
                Err(StoreError::new(StoreErrorKind::Failed, url, what))
            }
        }
    }

    /// A client of the SDK's. The outer `None`: no blob can have this name.
    fn made<T>(
        &self,
        verb: &'static str,
        key: &ObjectKey,
        make: impl FnOnce(&Client, &str) -> Option<azure_core::Result<T>>,
    ) -> Result<T, StoreError> {
        let (client, url) = (self.client()?, self.object_url(key));
        let made = make(&client, &self.full(key.as_str())).ok_or_else(|| Self::no_such_name(verb, &url))?;
        made.map_err(|error| self.failed(verb, &url, &error).error)
    }

    /// Wait for a copy that the service makes in its own time.
    async fn copied(&self, key: &ObjectKey) -> Result<Option<ETag>, StoreError> {
        let url = self.object_url(key);
        loop {
            let request = self.client()?.request(Method::Head, &self.full(key.as_str()));
            let request = request.ok_or_else(|| Self::no_such_name("HEAD", &url))?;
            let answer = self.ask("HEAD", &url, request).await?;
            let headers = answer.headers();
            match header(headers, "x-ms-copy-status") {
                Some("success") => return Self::etag("HEAD", &url, headers),
                Some("pending") => tokio::time::sleep(POLL).await,
                other => {
                    let why = header(headers, "x-ms-copy-status-description").unwrap_or("no reason given");
                    let what = format!("COPY ended as {}: {}", other.unwrap_or("unknown"), remote::line(why));
                    return Err(StoreError::new(StoreErrorKind::Failed, url, what));
                }
            }
        }
    }
}

#[async_trait]
impl StoreWrite for AzureStore {
    async fn put(&self, key: &ObjectKey, content: Content, when: When) -> Result<Option<ETag>, StoreError> {
        let url = self.object_url(key);
        let client = self.made("PUT", key, Client::blocks)?;
        let mut options = BlockBlobClientUploadOptions {
            parallel: Some(BLOCKS),
            partition_size: Some(BLOCK),
            ..BlockBlobClientUploadOptions::default()
        };
        if when.must_be_absent() {
            options = options.if_not_exists();
        }
        match client.upload(content.bytes.into(), Some(options)).await {
            Ok(put) => match put.etag {
                Some(etag) => Ok(Some(remote::normalise(etag.as_ref()))),
                None => Self::etag("PUT", &url, &Headers::new()),
            },
            Err(error) => Err(self.meant("PUT", &url, &error, when)),
        }
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        // Nothing to ask for: blocks are simply sent.
        self.made("PUT", key, Client::blocks)?;
        Ok(Box::new(Blocks { store: self.clone(), key: key.clone(), done: Mutex::default() }))
    }

    async fn copy_from(
        &self,
        from: &Place,
        source: &ObjectId,
        key: &ObjectKey,
        when: When,
    ) -> Result<Copied, StoreError> {
        let url = self.object_url(key);
        let client = self.made("COPY", key, Client::any)?;
        let there = self.client()?.elsewhere(&from.container, &format!("{}{}", from.prefix, source.key));
        let there = there.ok_or_else(|| Self::no_such_name("COPY", &url))?;
        let mut options = BlobClientStartCopyFromUrlOptions {
            source_if_match: source.etag.as_ref().map(|etag| Etag::from(etag.as_str())),
            ..BlobClientStartCopyFromUrlOptions::default()
        };
        if when.must_be_absent() {
            options.if_none_match = Some("*".into());
        }
        let answer = match client.start_copy_from_url(there, Some(options)).await {
            Ok(answer) => answer,
            Err(error) => {
                let error = self.meant("COPY", &url, &error, When::Always);
                // One of two conditions failed: is it the source's?
                let there = matches!(error.kind, StoreErrorKind::Changed | StoreErrorKind::Exists)
                    && when.must_be_absent()
                    && self.head(key).await.is_ok();
                return Err(match there {
                    true => StoreError::new(StoreErrorKind::Exists, &url, "COPY: the object exists already"),
                    false => error,
                });
            }
        };
        let etag = match header(answer.headers(), "x-ms-copy-status") {
            Some("success") => Self::etag("COPY", &url, answer.headers())?,
            _ => self.copied(key).await?,
        };
        Ok(Copied { etag, sha256: None })
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let url = self.object_url(key);
        match self.made("DELETE", key, Client::any)?.delete(None).await {
            Ok(_) => Ok(()),
            Err(error) => match self.meant("DELETE", &url, &error, When::Always) {
                error if error.kind == StoreErrorKind::NoSuchObject => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn create(&self) -> Result<(), StoreError> {
        let url = self.url();
        let container = self.client()?.container().map_err(|error| self.failed("PUT", &url, &error).error)?;
        let made = container.create(None).await;
        made.map(|_| ()).map_err(|error| self.meant("PUT", &url, &error, When::Always))
    }

    async fn set_modified(&self, key: &ObjectKey, _: jiff::Timestamp) -> Result<Option<ETag>, StoreError> {
        let what = "Azure knows no time but that of the write";
        Err(StoreError::new(StoreErrorKind::Unsupported, self.object_url(key), what))
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        // Blocks that no list names go away by themselves, after a week.
        Ok(Swept::default())
    }
}

/// A blob that is sent in blocks.
#[derive(Debug)]
struct Blocks {
    store: AzureStore,
    key: ObjectKey,
    done: Mutex<BTreeMap<u32, Vec<u8>>>,
}

#[async_trait]
impl Upload for Blocks {
    async fn part(&self, number: u32, _: u64, bytes: Bytes) -> Result<(), StoreError> {
        let url = self.store.object_url(&self.key);
        let client = self.store.made("PUT", &self.key, Client::blocks)?;
        // All ids of a blob are of one length.
        let id = format!("wal-r-{number:08}").into_bytes();
        let size = bytes.len() as u64;
        let sent = client.stage_block(&id, size, bytes.into(), None).await;
        sent.map_err(|error| self.store.meant("PUT", &url, &error, When::Always))?;
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(number, id);
        Ok(())
    }

    async fn finish(&self, when: When) -> Result<Option<ETag>, StoreError> {
        let url = self.store.object_url(&self.key);
        let client = self.store.made("PUT", &self.key, Client::blocks)?;
        let latest = self.done.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let list = BlockLookupList { latest: Some(latest), ..BlockLookupList::default() };
        let list = list.try_into().map_err(|error| self.store.failed("PUT", &url, &error).error)?;
        let mut options = BlockBlobClientCommitBlockListOptions::default();
        if when.must_be_absent() {
            options.if_none_match = Some("*".into());
        }
        match client.commit_block_list(list, Some(options)).await {
            Ok(answer) => AzureStore::etag("PUT", &url, answer.headers()),
            Err(error) => Err(self.store.meant("PUT", &url, &error, when)),
        }
    }

    async fn abort(&self) -> Result<(), StoreError> {
        // See `sweep`.
        Ok(())
    }
}
