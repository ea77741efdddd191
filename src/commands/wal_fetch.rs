//! `wal-fetch`: one file for PostgreSQL, from the feeder that looks ahead or from the store itself.
//!
//! In: a name PostgreSQL asks for, a destination, who asks. Out: the file under its name, whole and checked, or one of the
//! other three answers. Never: takes anything but the store's own word for absence. The judgement is `feed::fetch`'s.

pub use crate::feed::fetch::{OnGap, Options, Outcome, Publish, Report, name, overtaken_wait, run, run_for};
