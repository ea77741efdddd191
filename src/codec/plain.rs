//! Objects stored as they are.
//!
//! In: bytes. Out: the same bytes, in pieces of at most 64 KiB a call so that a caller's buffer stays small.
//! Never: says that they are whole. A plain stream has no end of its own: length and content are judged by who knows
//! what it should be.

use super::{CodecError, Decode};

/// Most bytes that one call passes on.
const STEP: usize = 64 << 10;

/// Passes bytes through.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainDecoder;

impl Decode for PlainDecoder {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, CodecError> {
        let piece = input.get(..STEP).unwrap_or(input);
        out.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn finish(&mut self) -> Result<(), CodecError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_everything_on_in_small_steps() {
        let bytes: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let mut out = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let before = out.len();
            let taken = PlainDecoder.decode(rest, &mut out).unwrap();
            assert!(taken > 0 && out.len() - before <= STEP);
            rest = &rest[taken..];
        }
        assert_eq!(out, bytes);
        assert_eq!(PlainDecoder.finish(), Ok(()));
    }
}
