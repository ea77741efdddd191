//! One verb each.
//!
//! In: `Options` (plain values, no clap), a store, a [`Progress`]. Out: a `Report`, which is data and serialises, or an
//! [`crate::error::Error`]. Where there is something to decide first, `plan` is a pure function and `run` follows it.
//! Never: prints, reads the environment, decides an exit code, uses clap.

#[cfg(feature = "ledger")]
pub mod audit;
pub mod backup_fetch;
pub mod backup_list;
pub mod backup_show;
pub mod backup_verify;
pub mod config_check;
pub mod copy;
#[cfg(feature = "ledger")]
pub mod copy_verify;
pub mod daemon;
pub mod explain;
pub mod feed_status;
pub mod locate;
mod object;
pub mod recovery_windows;
#[cfg(feature = "cli")]
pub mod server;
pub mod st;
pub mod wal_fetch;
pub mod wal_show;
pub mod wal_verify;

use std::fmt;

/// What a [`Progress`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes; shown with a rate in bytes per second.
    Bytes,
    /// Things: the plural to print, such as `objects`.
    Things(&'static str),
}

/// Where a long verb says how far it is. Shared between tasks; cheap to call often.
pub trait Progress: Send + Sync + fmt::Debug {
    /// A stage begins: `fetching partitions`. Ends the one before. `total` where it is known.
    fn begin(&self, stage: &str, total: Option<u64>, unit: Unit);
    /// So much more is done.
    fn advance(&self, by: u64);
    /// The total has become known, or was wrong.
    fn set_total(&self, total: u64);
    /// All is done, or given up: what was on screen is cleared.
    fn end(&self);
}

/// Progress that nobody watches: tests, wal-fetch, libraries.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _stage: &str, _total: Option<u64>, _unit: Unit) {}
    fn advance(&self, _by: u64) {}
    fn set_total(&self, _total: u64) {}
    fn end(&self) {}
}
