//! What logs tell of archives: which instances there were, where their archives lie, what was uploaded last, what was
//! removed.
//!
//! In: bytes of logs, cut anywhere. Out: [`Event`]s of a [`Log`], and what they add up to: [`Sightings`].
//! Never: does I/O, asks the time, keeps a line for longer than it takes to read it, or grows with the log: lines, pending
//! records, archives and instances are all capped, and what was left out is counted.
//!
//! ```text
//! bytes ─► lines ─► log: envelope (syslog, container) ─► WAL-E's record, broker's JSON, any URL of an archive ─► events
//!                                                                       events ─► sightings ─► instances, archives
//! ```
//!
//! A log's text is from outside: whoever could write to it can name any archive. Nothing here is a proof that an object
//! exists; only the store says that.

pub mod guid;
pub mod lines;
pub mod log;
pub mod moment;
pub mod place;
pub mod sightings;

pub use guid::Guid;
pub use log::{Event, Log, What};
pub use moment::{Clock, Moment};
pub use place::Place;
pub use sightings::Sightings;

#[cfg(test)]
mod tests;
