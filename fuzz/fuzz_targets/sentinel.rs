//! Sentinels and tablespace specifications: no panic, and places only for numbers.
//!
//! In: JSON, or not. Out: a crash if a promise is broken. Never: looks at a path.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use wal_r::backup::sentinel::{Sentinel, Spec};
use wal_r::backup::tablespaces::{Wishes, places};

fuzz_target!(|bytes: &[u8]| {
    let spec = match Sentinel::parse(bytes) {
        Ok(sentinel) => sentinel.spec,
        Err(_) => Spec::parse(bytes).ok(),
    };
    let target = Path::new("/restored/pg");
    let wishes = Wishes { inside: true, ..Wishes::default() };
    for place in places(spec.as_ref(), &wishes, target).unwrap_or_default() {
        assert!(place.oid > 0 && place.place.starts_with(target), "{place:?}");
    }
});
