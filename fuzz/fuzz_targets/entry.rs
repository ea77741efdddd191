//! Any key is something, and a file that is recognised prints as its key.
//!
//! In: any bytes. Out: a crash if not. Never: judges more than that.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = wal_r::layout::Entry::parse(&text.into());
    if let Ok(file) = text.parse::<wal_r::layout::WalFile>() {
        assert_eq!(file.to_string(), text);
    }
    if let Ok(name) = text.parse::<wal_r::layout::BackupName>() {
        assert_eq!(name.to_string(), text);
    }
});
