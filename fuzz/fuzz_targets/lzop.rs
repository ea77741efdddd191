//! The lzop container: no panic, and the same result however the input is cut.
//!
//! In: a file; its first two bytes say where the second reading cuts it. Out: a crash if a promise is broken.
//! Never: decodes blocks above 1 MiB, which would only find that memory is finite.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_r::codec::lzo::{Framer, LzopDecoder, Remarks};
use wal_r::codec::{CodecError, Decode};

fn decode(pieces: &[&[u8]]) -> (Vec<u8>, Result<Remarks, CodecError>) {
    let mut decoder = LzopDecoder::with(Framer::new().with_max_block(1 << 20));
    let mut out = Vec::new();
    let result = (|| {
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() {
                let taken = decoder.decode(piece, &mut out)?;
                assert!(taken > 0, "no progress");
                piece = &piece[taken..];
            }
        }
        decoder.finish()?;
        Ok(decoder.remarks())
    })();
    (out, result)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, file)) = bytes.split_first_chunk::<2>() else { return };
    let cut = usize::from(u16::from_le_bytes(*cut)) % (file.len() + 1);
    let whole = decode(&[file]);
    assert!(decode(&[&file[..cut], &file[cut..]]) == whole);
    if file.len() < 2000 {
        let bytes: Vec<&[u8]> = file.chunks(1).collect();
        assert!(decode(&bytes) == whole);
    }
});
