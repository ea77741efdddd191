//! Writing to a store, apart from reading, so that no read command can reach it.
//!
//! In: bytes, whole or in parts; or another object that the provider can copy by itself. Out: what the store calls the
//! version that is there now. Never: shows an object that is not whole; replaces one unless [`When::Always`] was said.
//!
//! A backend answers one request; [`super::retry::RetryingWrite`] around it tries again.

use super::{ETag, ObjectId, Store, StoreError};
use crate::layout::ObjectKey;
use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fmt;

/// May what is there be replaced?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Whatever is there.
    Always,
    /// Only if nothing is there. The store is asked first: not every server knows conditional requests, and those that do
    /// not would replace.
    Absent,
    /// The same for who has just listed the place: the condition goes along, and that is all.
    ListedAbsent,
}

impl When {
    /// Is an object that is there an error?
    pub fn must_be_absent(self) -> bool {
        self != When::Always
    }
}

/// The bytes of an object, with the digests of them that are known already: no store computes them again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Content {
    /// All of them.
    pub bytes: Bytes,
    sha256: Option<[u8; 32]>,
    md5: Option<[u8; 16]>,
}

impl Content {
    /// With what they were digested to on their way here.
    pub fn digested(bytes: Bytes, sha256: [u8; 32]) -> Content {
        Content { bytes, sha256: Some(sha256), md5: None }
    }

    /// The MD5 that somebody else gives for them, who may mean something else by it.
    #[must_use]
    pub fn said_to_be(self, md5: Option<[u8; 16]>) -> Content {
        Content { md5, ..self }
    }

    /// What they are said to be.
    pub fn said_md5(&self) -> Option<[u8; 16]> {
        self.md5
    }

    /// Their SHA-256.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256.unwrap_or_else(|| Sha256::digest(&self.bytes).into())
    }
}

impl<B: Into<Bytes>> From<B> for Content {
    fn from(bytes: B) -> Content {
        Content { bytes: bytes.into(), sha256: None, md5: None }
    }
}

/// Where a store's objects lie, as its provider sees it: two stores of one service can copy between each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Endpoint and identity: equal for two stores that one set of credentials reaches. Only to be compared.
    pub service: String,
    /// Bucket or container.
    pub container: String,
    /// What stands before every key: empty, or ends in a slash.
    pub prefix: String,
}

/// What a provider's own copy came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// The version that is there now.
    pub etag: Option<ETag>,
    /// The digest of its bytes, where the provider computed it.
    pub sha256: Option<[u8; 32]>,
}

/// An upload in parts that was begun and not finished: killed, or still under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// What it is to become.
    pub key: ObjectKey,
    /// The store's name for it.
    pub id: String,
}

/// What a [`StoreWrite::sweep`] came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many uploads it removed.
    pub removed: u64,
    /// Those of which it cannot tell whether somebody is still at them.
    pub unfinished: Vec<Unfinished>,
}

/// Writing, for copies and tests.
#[async_trait]
pub trait StoreWrite: Store {
    /// Write a whole object. [`super::StoreErrorKind::Exists`] when it must be absent and is not. Appears whole or not at all.
    async fn put(&self, key: &ObjectKey, content: Content, when: When) -> Result<Option<ETag>, StoreError>;

    /// Begin to write an object in parts. Nothing is seen of it before [`Upload::finish`].
    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError>;

    /// Have the provider copy this version of an object of another of its places ([`Store::place`], of the same service), to
    /// `key` here. No byte comes through this machine.
    async fn copy_from(
        &self,
        from: &Place,
        source: &ObjectId,
        key: &ObjectKey,
        when: When,
    ) -> Result<Copied, StoreError>;

    /// Remove an object. That there is none is no error. In a bucket with versions, older ones stay.
    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError>;

    /// Make the bucket, container or directory.
    async fn create(&self) -> Result<(), StoreError>;

    /// Give an object the time of its original, where [`super::Capabilities::keeps_times`]. The version that is there now.
    async fn set_modified(&self, key: &ObjectKey, time: jiff::Timestamp) -> Result<Option<ETag>, StoreError>;

    /// Remove what uploads that were killed have left: never what somebody is still writing.
    async fn sweep(&self) -> Result<Swept, StoreError>;

    /// Take the parts of an upload away that [`StoreWrite::sweep`] left: for who knows that nobody needs it. That it is gone
    /// already is no error. Whoever was at it gets [`super::StoreErrorKind::Changed`], and may begin anew.
    async fn abandon(&self, _: &Unfinished) -> Result<(), StoreError> {
        Ok(())
    }
}

/// An object that is being written in parts.
#[async_trait]
pub trait Upload: Send + Sync + fmt::Debug {
    /// One part: number from 1 and place of its first byte. All but the last are of one size, 5 MiB or more. Several at once,
    /// in any order; one that is sent again replaces its earlier self.
    async fn part(&self, number: u32, at: u64, bytes: Bytes) -> Result<(), StoreError>;

    /// All parts were sent: show the object.
    async fn finish(&self, when: When) -> Result<Option<ETag>, StoreError>;

    /// Take the parts away again.
    async fn abort(&self) -> Result<(), StoreError>;
}
