//! What a client of the daemon sends: no panic, the same requests however the bytes are cut, and those that fit written
//! again as they were.
//!
//! In: a connection's bytes; the first two say where the second reading cuts them. Out: a crash if a promise is broken.
//! Never: opens a socket.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_r::feed::walg_socket::{Malformed, Request, Requests};

fn parse(pieces: &[&[u8]]) -> (Vec<Request>, Option<Malformed>) {
    let (mut parser, mut requests) = (Requests::new(), Vec::new());
    for mut piece in pieces.iter().copied() {
        while !piece.is_empty() {
            match parser.feed(piece) {
                Ok((taken, request)) => {
                    assert!(taken > 0, "no progress");
                    requests.extend(request);
                    piece = &piece[taken..];
                }
                Err(broken) => return (requests, Some(broken)),
            }
        }
    }
    (requests, None)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first_chunk::<2>() else { return };
    let cut = usize::from(u16::from_le_bytes(*cut)) % (bytes.len() + 1);
    let whole = parse(&[bytes]);
    assert!(parse(&[&bytes[..cut], &bytes[cut..]]) == whole);
    assert!(parse(&bytes.chunks(1).collect::<Vec<_>>()) == whole);
    for request in whole.0 {
        let Ok(frame) = request.encode() else { panic!("what was read fits into a frame") };
        assert!(parse(&[&frame]) == (vec![request], None));
    }
});
