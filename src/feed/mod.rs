//! Keeps PostgreSQL fed: who is asking, and later what it will ask for next.
//!
//! In: the data directory that a restore_command runs in. Out: [`Mode`]. Never: writes a file
//! under its final name before it is whole.

pub mod deliver;
pub mod mode;
pub mod pull;

pub use mode::{Mode, Who};
