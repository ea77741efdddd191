//! Length and SHA-256 of a stream that came to its end.
//!
//! In: bytes, cut anywhere. Out: [`Digest`], only after [`Digesting::finish`] was told that the stream is whole.
//! Never: gives a digest of a stream that broke off.

use sha2::{Digest as _, Sha256};
use std::fmt;

/// What a whole stream was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Digest {
    /// Its bytes.
    pub len_bytes: u64,
    /// SHA-256 of them.
    pub sha256: Sha256Hash,
}

/// A SHA-256, as hex for people and JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sha256Hash(pub [u8; 32]);

impl Sha256Hash {
    /// Of bytes at hand.
    pub fn of(bytes: &[u8]) -> Self {
        Sha256Hash(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Sha256Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A stream under way.
#[derive(Debug, Clone, Default)]
pub struct Digesting {
    len_bytes: u64,
    hash: Sha256,
}

impl Digesting {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.len_bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// The stream is whole: say so only when whoever read it did.
    pub fn finish(self) -> Digest {
        Digest { len_bytes: self.len_bytes, sha256: Sha256Hash(self.hash.finalize().into()) }
    }
}
