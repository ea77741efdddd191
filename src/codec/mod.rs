//! Compressed in, plain out.
//!
//! In: stored bytes, cut anywhere. Out: plain bytes, and at the end the word that the stream was whole.
//! Never: does I/O, allocates what a length field asks for without a cap, panics on bytes from outside, or takes a
//! stream for complete because its input ended.

pub mod gzip;
pub mod lzo;
pub mod lzo1x;
pub mod plain;
pub mod sniff;

use crate::error::{Code, Error};
use crate::layout::Compression;

/// A streaming decoder.
pub trait Decode: Send {
    /// Takes stored bytes and appends plain bytes to `out`. Returns how many bytes of `input` it took: all of them, or
    /// fewer when it stopped after a block so that `out` stays small; then call again with the rest.
    /// Appends at most one block (64 MiB for a hostile lzop, 256 KiB in practice). Takes at least one byte of any
    /// input that is not empty.
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, CodecError>;

    /// No more input will come. An error unless the stream ended where its format says that it ends.
    fn finish(&mut self) -> Result<(), CodecError>;
}

/// Why a stream cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct CodecError {
    /// Offset in the stored stream of the first byte that cannot be right, or its end where that came too early.
    pub offset: u64,
    /// One clause: `block: Adler-32 is 0a1b2c3d, computed 00000000`.
    pub what: String,
    /// The input ended too early: perhaps only the upload or the download is unfinished.
    pub truncated: bool,
}

impl From<CodecError> for Error {
    /// Damaged; the caller knows the object.
    fn from(error: CodecError) -> Self {
        let what = if error.truncated { "the object is cut short" } else { "the object does not decode" };
        Error::new(Code::DamagedObject, what).because(error)
    }
}

/// A suffix whose streams this build cannot decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this build cannot decode .{0} objects")]
pub struct Unsupported(pub Compression);

impl From<Unsupported> for Error {
    fn from(unsupported: Unsupported) -> Self {
        Error::new(Code::DamagedCodec, unsupported.to_string())
    }
}

/// The decoder for a suffix, or which codec is missing.
pub fn decoder_for(compression: Compression) -> Result<Box<dyn Decode>, Unsupported> {
    match compression {
        Compression::Lzo => Ok(Box::new(lzo::LzopDecoder::new())),
        Compression::Plain => Ok(Box::new(plain::PlainDecoder)),
        Compression::Gzip => Ok(Box::new(gzip::GzipDecoder::new())),
        // Their places; they come with WAL-G's archives.
        Compression::Lz4 | Compression::Zstd | Compression::Brotli | Compression::Lzma | Compression::Xz => {
            Err(Unsupported(compression))
        }
    }
}

/// The decoder for a suffix, where this build has one.
pub fn decoder(compression: Compression) -> Option<Box<dyn Decode>> {
    decoder_for(compression).ok()
}

/// Decodes a whole small object, such as a history file, into at most `limit` plain bytes.
pub fn decode_all(decoder: &mut dyn Decode, stored: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    let mut rest = stored;
    while !rest.is_empty() {
        let taken = decoder.decode(rest, &mut out)?;
        let offset = (stored.len() - rest.len()) as u64;
        rest = rest.get(taken..).unwrap_or_default();
        if out.len() > limit {
            let what = format!("expands to more than {limit} bytes");
            return Err(CodecError { offset, what, truncated: false });
        }
    }
    decoder.finish()?;
    Ok(out)
}
