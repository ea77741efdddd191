//! Keeps PostgreSQL fed: who is asking, and later what it will ask for next.
//!
//! In: the data directory that a restore_command runs in. Out: [`Mode`]. Never: writes into a data directory.

pub mod mode;

pub use mode::{Mode, Who};
