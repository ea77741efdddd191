//! Naming a stream never panics, and the name can be printed.
//!
//! In: the first bytes of anything. Out: a crash if not. Never: judges the answer.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let format = wal_r::codec::sniff::sniff(bytes);
    assert!(!format.to_string().is_empty());
});
