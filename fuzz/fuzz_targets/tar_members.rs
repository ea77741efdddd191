//! Tar members: no panic, the same members however the input is cut, and an end only where the end mark is.
//!
//! In: a tar stream; its first byte says how it is cut. Out: a crash if a promise is broken.
//! Never: writes a file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::BufReader;
use wal_r::backup::members::{Member, Members, TarError};

fn read(bytes: &[u8], buffer: usize) -> Result<(Vec<Member>, u64), TarError> {
    let mut members = Members::new(BufReader::with_capacity(buffer, bytes));
    let mut all = Vec::new();
    while let Some(member) = members.next_member()? {
        let mut size = 0;
        loop {
            let ready = members.data()?.len();
            if ready == 0 {
                break;
            }
            size += ready as u64;
            members.consume(ready);
        }
        assert_eq!(size, member.size);
        all.push(member);
    }
    Ok((all, members.offset()))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, tar)) = bytes.split_first() else { return };
    let whole = read(tar, 1 << 16);
    match (&whole, read(tar, usize::from(*cut).max(1))) {
        (Ok(one), Ok(other)) => assert_eq!(*one, other),
        (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
        (one, other) => panic!("{one:?} and {other:?}"),
    }
    if let Ok((_, end)) = whole {
        assert_eq!(end, tar.len() as u64);
        assert!(tar.len() >= 1024 && tar.ends_with(&[0; 1024]));
    }
});
