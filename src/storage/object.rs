//! One object of a store, and one version of it.
//!
//! In: what a listing or an answer says. Out: [`ObjectId`], [`ETag`], [`Fingerprint`], [`ByteRange`].
//! Never: compares versions by size or time alone.

use crate::layout::ObjectKey;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// What a store calls one version of an object's bytes. Opaque; equal means the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ETag(Arc<str>);

impl ETag {
    /// As the store wrote it, quotes included.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        ETag(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One version of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectId {
    /// Its name below the prefix.
    pub key: ObjectKey,
    /// Stored bytes.
    pub size: u64,
    /// When the store says that it was written. Copying changes it.
    pub modified: Option<jiff::Timestamp>,
    /// Which version. `None` where the store cannot say.
    pub etag: Option<ETag>,
}

impl ObjectId {
    /// Its version in 64 bits.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        match (&self.etag, self.modified) {
            (Some(etag), _) => hash.update(etag.as_str()),
            (None, Some(time)) => hash.update(time.as_nanosecond().to_le_bytes()),
            (None, None) => {}
        }
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Fingerprint(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }
}

/// Which version of an object it is, in 64 bits: of its etag, else of its time of modification with all its digits.
/// Compared only between versions of one key and one size. A directory's etag has the time in nanoseconds and the inode,
/// so that a file that was replaced within the same second is another version.
///
/// The ledger keeps it: it must come out the same in every build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

/// A stretch of an object's stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// How many; `None`: to the end.
    pub len: Option<u64>,
}

impl ByteRange {
    /// The whole object.
    pub const ALL: ByteRange = ByteRange { start: 0, len: None };

    /// From this byte to the end.
    pub fn from(start: u64) -> Self {
        ByteRange { start, len: None }
    }

    /// This many bytes from there.
    pub fn new(start: u64, len: u64) -> Self {
        ByteRange { start, len: Some(len) }
    }

    /// First byte and end (exclusive) of this range within an object of `size` bytes: cut off at its end, and empty
    /// when it begins there or behind.
    pub fn within(self, size: u64) -> (u64, u64) {
        let start = self.start.min(size);
        let end = self.len.map_or(size, |len| start.saturating_add(len).min(size));
        (start, end)
    }
}
