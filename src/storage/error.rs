//! What can go wrong when a store is asked.
//!
//! In: causes of the backends. Out: [`StoreError`] and its kind. Never: says `NoSuchObject` unless the store said so.

use crate::error::{Code, Error};
use std::fmt;

/// What a store answered, or why it could not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// The store said, with authority: there is no such object.
    NoSuchObject,
    /// The store said, with authority: there is no such bucket, container or directory.
    NoSuchPrefix,
    /// 401, 403 or EACCES: it may exist or not.
    Refused,
    /// Credentials past their time. Refreshed once, then tried again.
    Expired,
    /// No credentials could be found.
    NoCredentials,
    /// 429, 503: slow down.
    Throttled,
    /// Other 5xx, 408, 499, or an answer that is not the protocol.
    Failed,
    /// Connection refused, reset, cut in the middle of a body.
    Unreachable,
    /// The name cannot be resolved.
    Dns,
    /// No trusted TLS connection.
    Tls,
    /// No byte for the length of the stall timeout, or the deadline passed.
    Timeout,
    /// The object is no longer the version that was being read (412, other etag, other size).
    Changed,
    /// The object must be thawed by the provider first.
    Archived,
    /// The bucket is elsewhere (301, 307 without a place to go).
    Redirected,
    /// A conditional put found an object.
    Exists,
    /// A local file could not be read: EIO, ENOTDIR, EMFILE.
    Local,
    /// The settings cannot work: bad endpoint, bad region.
    Config,
    /// This build has no such store.
    Unsupported,
}

/// May a failed request be tried again, and how? Decided in one place: [`StoreError::retry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryClass {
    /// The same answer would come again.
    Permanent,
    /// Slower, please.
    Throttled,
    /// May well work the next time.
    Transient,
    /// Once more after the credentials were refreshed.
    Expired,
}

/// A request to a store that did not give what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StoreError {
    /// What kind of answer this is.
    pub kind: StoreErrorKind,
    /// One clause: `GET refused with 403 AccessDenied`.
    pub what: String,
    /// The URL of the object or prefix.
    pub object: String,
    /// The cause below, if there is one.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// A failure of this kind on this object (its URL).
    pub fn new(kind: StoreErrorKind, object: impl fmt::Display, what: impl Into<String>) -> Self {
        StoreError { kind, what: what.into(), object: object.to_string(), source: None }
    }

    /// The cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The store said, with authority, that it is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self.kind, StoreErrorKind::NoSuchObject | StoreErrorKind::NoSuchPrefix)
    }

    /// May it be tried again? The only place that knows.
    pub fn retry(&self) -> RetryClass {
        use StoreErrorKind as K;
        match self.kind {
            K::Throttled => RetryClass::Throttled,
            K::Failed | K::Unreachable | K::Dns | K::Timeout => RetryClass::Transient,
            K::Expired => RetryClass::Expired,
            K::NoSuchObject
            | K::NoSuchPrefix
            | K::Refused
            | K::NoCredentials
            | K::Tls
            | K::Changed
            | K::Archived
            | K::Redirected
            | K::Exists
            | K::Local
            | K::Config
            | K::Unsupported => RetryClass::Permanent,
        }
    }

    /// The code of the outer error.
    pub fn code(&self) -> Code {
        use StoreErrorKind as K;
        match self.kind {
            K::NoSuchObject => Code::AbsentObject,
            K::NoSuchPrefix => Code::AbsentPrefix,
            K::Refused => Code::CredentialsRefused,
            K::Expired => Code::CredentialsExpired,
            K::NoCredentials => Code::CredentialsMissing,
            K::Throttled => Code::StoreThrottled,
            K::Failed => Code::StoreFailed,
            K::Unreachable => Code::StoreUnreachable,
            K::Dns => Code::StoreDns,
            K::Tls => Code::StoreTls,
            K::Timeout => Code::StoreTimeout,
            K::Changed => Code::StoreChanged,
            K::Archived => Code::StoreArchived,
            K::Redirected => Code::StoreRedirected,
            K::Exists | K::Local => Code::LocalIo,
            K::Config => Code::ConfigValue,
            K::Unsupported => Code::ConfigUnsupported,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let outer = Error::new(error.code(), error.what).on(error.object);
        match error.source {
            Some(source) => outer.because(source),
            None => outer,
        }
    }
}
