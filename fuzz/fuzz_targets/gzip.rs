//! A gzip stream never panics; any two cuts of it give the same bytes or an error.
//!
//! In: any bytes; the first two say where the second reading cuts them. Out: a crash if a promise is broken.
//! Never: expands more than 16 MiB.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_r::codec::Decode;
use wal_r::codec::gzip::GzipDecoder;

fn decode(pieces: &[&[u8]]) -> Option<Vec<u8>> {
    let (mut decoder, mut out) = (GzipDecoder::new(), Vec::new());
    for mut rest in pieces.iter().copied() {
        while !rest.is_empty() && out.len() < 16 << 20 {
            let taken = decoder.decode(rest, &mut out).ok()?;
            assert!(taken > 0, "no progress");
            rest = &rest[taken..];
        }
    }
    if out.len() >= 16 << 20 {
        return None;
    }
    decoder.finish().ok().map(|()| out)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first_chunk::<2>() else { return };
    let cut = usize::from(u16::from_le_bytes(*cut)) % (bytes.len() + 1);
    assert!(decode(&[&bytes[..cut], &bytes[cut..]]) == decode(&[bytes]));
});
