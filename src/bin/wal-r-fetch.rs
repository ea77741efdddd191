//! `wal-r-fetch`: `wal-r wal-fetch` for who counts milliseconds.
//!
//! In: the arguments of `wal-r wal-fetch`. Out: a segment that lay ready at the feeder; else whatever the `wal-r` beside this
//! program makes of the same arguments, by becoming it. Never: waits, asks a store, says "not there", starts a feeder.
//!
//! Most of what a hit costs is the start of a program of 27 MB. This one has nothing in it but the hit.

use std::process::ExitCode;
use wal_r::cli::{Environment, feeding};

fn main() -> ExitCode {
    ExitCode::from(feeding::fetch_or_become(std::env::args_os(), &Environment::of_process()))
}
