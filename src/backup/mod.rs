//! One base backup: its sentinel, its partitions, its files on disk.
//!
//! In: sentinels, partitions as streams, a target directory. Out: which backup is meant, and a data directory that
//! PostgreSQL can start on. Never: asks a store (the bytes are handed in), takes a backup for complete because its
//! streams ended, or writes outside the directories that were named.

pub mod contents;
pub mod extract;
pub mod journal;
pub mod members;
pub mod pages;
pub mod partitions;
pub mod recovery;
pub mod restore;
pub mod select;
pub mod sentinel;
pub mod tablespaces;
pub mod whole;
