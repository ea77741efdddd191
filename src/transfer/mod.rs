//! Moving an archive: what must go along, what went, doing it.
//!
//! In: a source to read, a destination to write, what was chosen. Out: objects in the destination, byte for byte, and a
//! manifest of them. Never: decodes what it copies; shows a sentinel before everything that it promises is there; replaces or
//! removes an object unless it was told to.
//!
//! [`closure`] decides what belongs to a choice, [`compare`] what of it is to do, [`run`] does it, [`manifest`] remembers.

pub mod closure;
pub mod compare;
pub mod manifest;
pub mod run;

use sha2::{Digest as _, Sha256};
use std::fmt;

/// What an object's bytes are: computed while they pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// SHA-256.
    pub sha256: Hex32,
    /// CRC-32C, where the bytes passed here.
    pub crc32c: Option<u32>,
}

/// A SHA-256, in hex for people and JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hex32(pub [u8; 32]);

impl fmt::Display for Hex32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hex32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Hex32 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Hex32 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pairs = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let bytes: Option<Vec<u8>> = pairs.collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Hex32).ok_or_else(|| serde::de::Error::custom("64 hex digits are wanted"))
    }
}

/// Digests bytes as they pass.
#[derive(Debug, Clone, Default)]
pub struct Digester {
    sha256: Sha256,
    crc32c: u32,
}

impl Digester {
    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
    }

    /// Of all of them.
    pub fn finish(self) -> Digest {
        Digest { sha256: Hex32(self.sha256.finalize().into()), crc32c: Some(self.crc32c) }
    }
}
