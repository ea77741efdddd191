//! gzip, of one member or many behind each other, as `cat`, rotation and parallel compressors leave them.
//!
//! In: a gzip stream, cut anywhere. Out: plain bytes; each member's CRC-32 and length are checked where it ends.
//! Never: looks at names, times or comments in headers; takes anything behind the last member for good but zero bytes, with
//! which tapes and block devices pad.
//! Source: RFC 1952.

use super::{CodecError, Decode};
use crc32fast::Hasher;
use flate2::{Decompress, FlushDecompress, Status};
use std::fmt;

/// Plain bytes after which a call returns, when there is more input.
const STEP: usize = 64 << 10;
/// Before each member.
const MAGIC: [u8; 3] = [0x1F, 0x8B, 0x08];

const HEADER_CRC: u8 = 0x02;
const EXTRA: u8 = 0x04;
const NAME: u8 = 0x08;
const COMMENT: u8 = 0x10;
const RESERVED: u8 = 0xE0;

/// Which field the next byte is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Fixed,
    ExtraLen,
    Extra(u16),
    Name,
    Comment,
    HeaderCrc,
    Body,
    Trailer,
    /// Behind a member: another one, padding, or the end.
    Between,
    Padding,
}

/// A streaming gzip decoder.
pub struct GzipDecoder {
    at: At,
    /// The bytes of a short field that have come.
    field: Vec<u8>,
    flags: u8,
    inflate: Decompress,
    crc: Hasher,
    plain: u32,
    offset: u64,
}

impl fmt::Debug for GzipDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GzipDecoder").field("at", &self.at).field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl Default for GzipDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl GzipDecoder {
    /// At the start of a stream.
    pub fn new() -> Self {
        GzipDecoder {
            at: At::Fixed,
            field: Vec::new(),
            flags: 0,
            inflate: Decompress::new(false),
            crc: Hasher::new(),
            plain: 0,
            offset: 0,
        }
    }

    fn wrong(&self, what: impl Into<String>) -> CodecError {
        CodecError { offset: self.offset, what: what.into(), truncated: false }
    }

    /// One more byte of a field of `len`; the whole field when it is the last one.
    fn gather(&mut self, byte: u8, len: usize) -> Option<Vec<u8>> {
        self.field.push(byte);
        (self.field.len() >= len).then(|| std::mem::take(&mut self.field))
    }

    /// The field that follows, of those that the header's flags announce.
    fn after(&self, done: u8) -> At {
        let optional = [(EXTRA, At::ExtraLen), (NAME, At::Name), (COMMENT, At::Comment), (HEADER_CRC, At::HeaderCrc)];
        let mut left = optional.into_iter().skip_while(|(flag, _)| done != 0 && *flag != done);
        if done != 0 {
            left.next();
        }
        left.find(|(flag, _)| self.flags & flag != 0).map_or(At::Body, |(_, at)| at)
    }

    /// A byte outside of the compressed data.
    fn byte(&mut self, byte: u8) -> Result<(), CodecError> {
        match self.at {
            At::Fixed => {
                if MAGIC.get(self.field.len()).is_some_and(|magic| *magic != byte) {
                    return Err(self.wrong("no gzip member begins"));
                }
                let Some(header) = self.gather(byte, 10) else { return Ok(()) };
                self.flags = header.get(3).copied().unwrap_or_default();
                if self.flags & RESERVED != 0 {
                    return Err(self.wrong("a header with unknown flags"));
                }
                self.at = self.after(0);
            }
            At::ExtraLen => {
                if let Some([low, high]) = self.gather(byte, 2).as_deref() {
                    let len = u16::from_le_bytes([*low, *high]);
                    self.at = if len == 0 { self.after(EXTRA) } else { At::Extra(len) };
                }
            }
            At::Extra(1) => self.at = self.after(EXTRA),
            At::Extra(left) => self.at = At::Extra(left.saturating_sub(1)),
            At::Name if byte == 0 => self.at = self.after(NAME),
            At::Comment if byte == 0 => self.at = self.after(COMMENT),
            At::Name | At::Comment | At::Body => {}
            At::HeaderCrc => {
                // Over the header, which is not kept: what matters is the data's own.
                if self.gather(byte, 2).is_some() {
                    self.at = At::Body;
                }
            }
            At::Trailer => {
                let Some(trailer) = self.gather(byte, 8) else { return Ok(()) };
                let computed = (std::mem::take(&mut self.crc).finalize(), std::mem::take(&mut self.plain));
                if let Some((crc, len)) = trailer.split_first_chunk::<4>() {
                    let len: [u8; 4] = len.try_into().unwrap_or_default();
                    if (u32::from_le_bytes(*crc), u32::from_le_bytes(len)) != computed {
                        return Err(self.wrong("a member's CRC-32 or length is not that of its data"));
                    }
                }
                self.inflate.reset(false);
                self.at = At::Between;
            }
            At::Between | At::Padding if byte == 0 => self.at = At::Padding,
            At::Between => {
                self.at = At::Fixed;
                return self.byte(byte);
            }
            At::Padding => return Err(self.wrong("neither a member nor padding behind the last member")),
        }
        Ok(())
    }

    /// Compressed data: how much of it was taken.
    fn body(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, CodecError> {
        let (begin, before) = (out.len(), self.inflate.total_in());
        let mut taken = 0;
        loop {
            if out.capacity() - out.len() < STEP / 4 {
                out.reserve(STEP);
            }
            let from = out.len();
            let rest = input.get(taken..).unwrap_or_default();
            let status = self.inflate.decompress_vec(rest, out, FlushDecompress::None);
            let status = status.map_err(|error| self.wrong(format!("the compressed data is wrong ({error})")))?;
            taken = usize::try_from(self.inflate.total_in() - before).unwrap_or(usize::MAX).min(input.len());
            let new = out.get(from..).unwrap_or_default();
            self.crc.update(new);
            self.plain = self.plain.wrapping_add(new.len() as u32);
            // Room that was used up: there may be more to come from what was taken already.
            let full = out.len() == out.capacity();
            match status {
                Status::StreamEnd => {
                    self.at = At::Trailer;
                    break;
                }
                _ if full => {}
                _ if taken == input.len() || new.is_empty() => break,
                _ => {}
            }
            if taken > 0 && taken < input.len() && out.len() - begin >= STEP {
                break;
            }
        }
        Ok(taken)
    }
}

impl Decode for GzipDecoder {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, CodecError> {
        let (mut taken, begin) = (0, out.len());
        while let Some((here, (byte, rest))) = input.get(taken..).and_then(|here| Some((here, here.split_first()?))) {
            let step = match self.at {
                At::Body => {
                    let before = out.len();
                    let step = self.body(here, out)?;
                    if step == 0 && out.len() == before && self.at == At::Body {
                        return Err(self.wrong("the compressed data leads nowhere"));
                    }
                    step
                }
                _ => {
                    self.byte(*byte)?;
                    1
                }
            };
            self.offset = self.offset.saturating_add(step as u64);
            taken += step;
            if out.len() - begin >= STEP && !rest.is_empty() && taken > 0 {
                break;
            }
        }
        Ok(taken)
    }

    fn finish(&mut self) -> Result<(), CodecError> {
        match self.at {
            At::Between | At::Padding => Ok(()),
            _ => Err(CodecError { offset: self.offset, what: "the gzip stream ends".to_owned(), truncated: true }),
        }
    }
}

#[cfg(test)]
mod tests;
