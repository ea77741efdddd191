//! The only place that talks to stores.
//!
//! In: keys below a prefix. Out: listings, bytes, and errors that say whether the store *said* no or could not be asked.
//! Never: creates anything when reading, not even a missing directory; parses a key; turns a refusal into absence.
//!
//! [`Store`] reads. [`StoreWrite`] writes, and is a trait of its own so that no read command can reach it. A backend
//! answers one request; [`retry::Retrying`] around it tries again and resumes; `pipeline` reads in parallel.

#[cfg(feature = "azure")]
pub mod azure;
pub mod error;
pub mod local;
pub mod memory;
pub mod object;
pub mod open;
#[cfg(any(feature = "azure", feature = "s3"))]
mod remote;
pub mod retry;
#[cfg(feature = "s3")]
pub mod s3;
pub mod write;

pub use error::{StoreError, StoreErrorKind};
pub use object::{ByteRange, ETag, Fingerprint, ObjectId};
pub use write::{Content, Copied, Place, StoreWrite, Swept, Unfinished, Upload, When};

use crate::layout::ObjectKey;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::fmt;

/// Entries of a listing, in the order of their keys' bytes where [`Capabilities::sorted`] says so.
pub type ListStream<'a> = BoxStream<'a, Result<Listed, StoreError>>;
/// Bytes of an object, in order. Ends after the last byte of the range, or with an error: never short in silence.
pub type BodyStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// An object.
    Object(ObjectId),
    /// With [`Depth::Level`]: everything below this prefix (ends in a slash), folded.
    Folder(ObjectKey),
}

/// How deep a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every key that begins with the prefix.
    All,
    /// Only up to the next slash; what is below is one [`Listed::Folder`].
    Level,
}

/// What a store can do, asked instead of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Listings come in the order of the keys' bytes.
    pub sorted: bool,
    /// Objects have an etag, and a read can be tied to one.
    pub etags: bool,
    /// A request costs a round trip, so requests in parallel pay.
    pub remote: bool,
    /// An object's time can be set ([`StoreWrite::set_modified`]).
    pub keeps_times: bool,
}

/// An answer to a read: the bytes to come, and which version they are of.
pub struct Got {
    /// The version; `size` is that of the whole object, not of the range.
    pub object: ObjectId,
    /// The bytes of the range.
    pub body: BodyStream,
}

impl fmt::Debug for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Got").field("object", &self.object).finish_non_exhaustive()
    }
}

/// A place that holds one archive: a bucket and prefix, a container, a directory. Read only.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The prefix, for people: `s3://bucket/path/`, `file:///path/`. Never holds a secret.
    fn url(&self) -> String;

    /// The URL of one object, for people.
    fn object_url(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.url())
    }

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// What lies below `prefix` (text, not necessarily a folder), behind `start_after`. Keys as stored, below this
    /// store's own prefix. A prefix with nothing under it is an empty listing; a bucket or directory that does not
    /// exist is [`StoreErrorKind::NoSuchPrefix`].
    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a>;

    /// Bytes of an object. With `version`, of that version or [`StoreErrorKind::Changed`]. No request goes before it.
    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError>;

    /// Size, time and version of an object.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError>;

    /// Where its objects lie, as the provider sees it. `None` where no provider copies between places.
    fn place(&self) -> Option<Place> {
        None
    }

    /// Forget credentials that were kept, so that the next request asks their source for new ones. For
    /// [`retry::Retrying`], after [`StoreErrorKind::Expired`].
    async fn refresh_credentials(&self) {}
}
