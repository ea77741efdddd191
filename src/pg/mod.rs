//! PostgreSQL's nouns: places in the WAL, timelines, segments, and the small files that describe a cluster.
//!
//! In: text and bytes that a server wrote. Out: checked values. Never: reads a file, asks the time, logs, panics on
//! bytes from outside. Source: PostgreSQL `src/include/access/xlog_internal.h` and what each file names.

pub mod control;
pub mod history;
pub mod label;
pub mod lsn;
pub mod segment;
pub mod timeline;
pub mod version;

pub use lsn::Lsn;
pub use segment::{SegmentName, SegmentNo, SegmentSize};
pub use timeline::{TargetTimeline, TimelineId};

use std::fmt;

/// The number a cluster got when it was initialised: which cluster a file belongs to. Decimal for people.
/// Values above 2^63 occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SystemId(pub u64);

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that is not what it should be: what was expected, and the text (cut to a length people can read).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct NameError {
    /// "a segment name", "an LSN".
    pub expected: &'static str,
    /// The offending text, at most 64 characters of it.
    pub text: String,
}

impl NameError {
    pub(crate) fn new(expected: &'static str, text: &str) -> Self {
        NameError { expected, text: text.chars().take(64).collect() }
    }
}

#[cfg(test)]
mod tests;
