//! The archive's nouns: prefix, object key, base backup name, and what any key under a prefix is.
//!
//! In: keys as a store lists them, names as people type them. Out: checked values; [`Entry`] is total.
//! Never: asks a store, fails on a foreign key, decides a name by a regular expression.

pub mod backup_name;
pub mod compression;
pub mod entry;
pub mod key;

pub use backup_name::BackupName;
pub use compression::Compression;
pub use entry::{Entry, WalFile};
pub use key::ObjectKey;

/// The folder of base backups, below a prefix. The version has been 005 since 2011 in WAL-E and always in WAL-G.
pub const BACKUPS: &str = "basebackups_005/";
/// The folder of WAL files, below a prefix.
pub const WAL: &str = "wal_005/";
/// The folder of what wal-r itself keeps below a prefix that it copies to. No part of the archive.
pub const OWN: &str = ".wal-r/";
/// What a sentinel's key ends in, behind the backup's name.
pub const SENTINEL_SUFFIX: &str = "_backup_stop_sentinel.json";

#[cfg(test)]
mod tests;
