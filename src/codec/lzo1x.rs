//! One LZO1X block, decompressed by the reference decoder. The one file with unsafe code.
//!
//! In: the compressed bytes of one block and a buffer. Out: how many bytes of the buffer it filled, or why not.
//! Never: writes beyond the buffer, reads beyond the input, believes a length, allocates.
//! Source: the C library LZO 2.10 (`lzo1x_decompress_safe`), which the crate minilzo-rs compiles and links.
//!
//! The crate's own Rust wrapper is not used: it lets C write through a shared reference, allocates per block, and hides
//! an output that came out shorter than expected.

// Two calls into C: a decoder of our own would have to prove itself against this one for ever.
#![allow(unsafe_code)]

use minilzo_rs as _; // links the C library
use std::ffi::{c_int, c_void};

unsafe extern "C" {
    // `lzo_uint` is the C type as wide as a pointer ("must match size_t", lzoconf.h), hence `usize`.
    fn lzo1x_decompress_safe(
        src: *const u8,
        src_len: usize,
        dst: *mut u8,
        dst_len: *mut usize,
        wrkmem: *mut c_void,
    ) -> c_int;
}

/// Why a block is not LZO1X data for this buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lzo1xError {
    /// The data end before their end marker.
    #[error("ends without its end marker")]
    InputOverrun,
    /// More comes out than the buffer holds.
    #[error("expands to more than its header says")]
    OutputOverrun,
    /// A match points to before the start of the block.
    #[error("refers to bytes before its start")]
    LookbehindOverrun,
    /// The end marker comes before the end of the data.
    #[error("ends before its last byte")]
    InputNotConsumed,
    /// A code that LZO 2.10 does not return from here.
    #[error("is refused by LZO with code {0}")]
    Other(i32),
}

/// Bytes that one byte of LZO1X data can at most turn into: a zero in an extended length stands for 255.
pub const MAX_EXPANSION: usize = 255;

/// Decompresses one whole block into the front of `out`; returns how many bytes it filled, at most `out.len()`.
///
/// Whether that is what a container promised is for the caller to compare. Bytes of `out` beyond are unspecified.
///
/// What is accepted is what LZO accepts. The crate lzokay, the judge in our tests, agrees on every stream and every
/// byte, with one exception: LZO takes an end marker with any length bits (`12 00 00`), lzokay only `11 00 00`.
///
/// ```
/// let block = [0x12, 0x41, 0x20, 0x0c, 0x00, 0x00, 0x11, 0x00, 0x00]; // an A, then a match of 45 at distance 1
/// let mut out = [0; 64];
/// assert_eq!(wal_r::codec::lzo1x::decompress(&block, &mut out), Ok(46));
/// ```
pub fn decompress(data: &[u8], out: &mut [u8]) -> Result<usize, Lzo1xError> {
    let mut len = out.len();
    // SAFETY: `data` is readable for `data.len()` bytes and `out` writable for `len` bytes for the whole call, and being a
    // shared and a unique borrow they do not overlap. `len` is a live local, read before and written after the decoding.
    // `_safe` bounds every read by src_len and every write and look-behind by what it has written of dst_len. It keeps no
    // pointer, has no state, ignores wrkmem (hence null is allowed) and, unlike compression, needs no `lzo_init`, which
    // only compares the sizes of C types (a test makes that comparison).
    let code = unsafe {
        lzo1x_decompress_safe(data.as_ptr(), data.len(), out.as_mut_ptr(), &raw mut len, std::ptr::null_mut())
    };
    match code {
        0 if len <= out.len() => Ok(len),
        -4 => Err(Lzo1xError::InputOverrun),
        -5 => Err(Lzo1xError::OutputOverrun),
        -6 => Err(Lzo1xError::LookbehindOverrun),
        -8 => Err(Lzo1xError::InputNotConsumed),
        other => Err(Lzo1xError::Other(other)),
    }
}

#[cfg(test)]
mod tests;
