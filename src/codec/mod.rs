//! Compressed in, plain out.
//!
//! In: stored bytes, cut anywhere. Out: plain bytes, and at the end the word that the stream was whole.
//! Never: does I/O, allocates what a length field asks for without a cap, panics on bytes from outside, or takes a
//! stream for complete because its input ended.

pub mod lzo;
pub mod lzo1x;
pub mod plain;
pub mod sniff;

use crate::layout::Compression;

/// A streaming decoder.
pub trait Decode: Send {
    /// Takes stored bytes and appends plain bytes to `out`. Returns how many bytes of `input` it took: all of them, or
    /// fewer when it stopped after a block so that `out` stays small; then call again with the rest.
    /// Appends at most one block (64 MiB for a hostile lzop, 256 KiB in practice).
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, CodecError>;

    /// No more input will come. An error unless the stream ended where its format says that it ends.
    fn finish(&mut self) -> Result<(), CodecError>;
}

/// Why a stream cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct CodecError {
    /// Offset in the stored stream of the first byte that cannot be right.
    pub offset: u64,
    /// One clause: `block checksum is 0a1b2c3d, computed 00000000`.
    pub what: String,
    /// The input ended too early: perhaps only the upload or the download is unfinished.
    pub truncated: bool,
}

/// The decoder for a suffix, where this build has one.
pub fn decoder(compression: Compression) -> Option<Box<dyn Decode>> {
    match compression {
        // Their places; they come with the issue on WAL-G archives.
        Compression::Lzo
        | Compression::Plain
        | Compression::Lz4
        | Compression::Zstd
        | Compression::Brotli
        | Compression::Lzma
        | Compression::Gzip
        | Compression::Xz => None,
    }
}
