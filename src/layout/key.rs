//! The name of an object below a prefix.
//!
//! In: raw keys from listings. Out: [`ObjectKey`]. Never: normalises, decodes or rejects what a store really holds.

use std::fmt;
use std::sync::Arc;

/// The name of an object, relative to the prefix of its archive: `wal_005/000000010000000000000001.lzo`.
///
/// Any text is a key: stores hold what somebody once wrote. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// A key as listed, or as built from parts.
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        ObjectKey(key.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the last slash; empty for a directory marker.
    pub fn base_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl From<&str> for ObjectKey {
    fn from(key: &str) -> Self {
        ObjectKey::new(key)
    }
}

impl From<String> for ObjectKey {
    fn from(key: String) -> Self {
        ObjectKey::new(key)
    }
}

impl serde::Serialize for ObjectKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
