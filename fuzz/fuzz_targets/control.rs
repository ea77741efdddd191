//! pg_control never panics.
//!
//! In: any bytes. Out: a crash if not. Never: judges more than that.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = wal_r::pg::control::ControlFile::parse(bytes);
});
