//! The lzop container: framing apart from decompression.
//!
//! In: bytes of an lzop file, cut anywhere. Out: [`Framer`] finds members and blocks and checks all that can be checked
//! without decompressing; [`Block::decode`] turns one block into plain bytes, needs nothing but the block, and so may
//! run on any core; [`LzopDecoder`] does both in one place. Offsets in errors count from the start of the file.
//! Never: allocates for a block before its bytes are there, hands out a block whose checksums do not hold, takes a file
//! that stops without its end marker for whole.
//!
//! ```text
//! file   = member+ zero*
//! member = magic(9) header [extra] block* 00000000
//! block  = plain_len(4) stored_len(4) [adler_D(4)] [crc_D(4)] [adler_C(4)] [crc_C(4)] data(stored_len)
//! ```
//!
//! All numbers are big-endian. `stored_len == plain_len` means stored as it is, then without C words. D words are over
//! the plain bytes, C words over the stored ones. Blocks share nothing.
//! Source: `lzop.c` of lzop 1.04, `archival/libarchive/decompress_lzop` of BusyBox, github.com/cyberdelia/lzo.

use super::{CodecError, Decode, lzo1x};
use std::borrow::Cow;
use std::fmt;

/// The first nine bytes of every member.
pub const MAGIC: [u8; 9] = [0x89, b'L', b'Z', b'O', 0x00, b'\r', b'\n', 0x1A, b'\n'];

/// The format's own limit on the plain bytes of a block, 64 MiB. lzop writes 256 KiB.
pub const MAX_BLOCK: u32 = 64 << 20;

/// What we skip of an extra field, whose content nobody defined. lzop has no limit.
const MAX_EXTRA: u32 = 1 << 20;

/// The newest format that lzop 1.04 reads.
const NEWEST_FORMAT: u16 = 0x1040;

mod flag {
    pub const ADLER32_D: u32 = 0x0001;
    pub const ADLER32_C: u32 = 0x0002;
    pub const H_EXTRA_FIELD: u32 = 0x0040;
    pub const CRC32_D: u32 = 0x0100;
    pub const CRC32_C: u32 = 0x0200;
    pub const H_FILTER: u32 = 0x0800;
    pub const H_CRC32: u32 = 0x1000;
    pub const RESERVED: u32 = 0x000F_C000;
}

/// The header of one member: who wrote it and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Offset of its magic in the file.
    pub offset: u64,
    /// Version of the writing program, as in `0x1040` for 1.04. BusyBox writes `0x1010`, the Go package `0x1030`.
    pub version: u16,
    /// Version of its LZO library, as in `0x20a0` for 2.10.
    pub library: u16,
    /// Format that a reader must know; `None` in headers of versions before 0.940.
    pub needed: Option<u16>,
    /// 1 = LZO1X-1, 2 = LZO1X-1(15), 3 = LZO1X-999. They decode alike.
    pub method: u8,
    /// 0..=9, as the writer was asked; 0 when unknown.
    pub level: u8,
    /// Which checksums there are, and facts about the writer.
    pub flags: u32,
    /// Distance of the delta filter, 0..=16; 0 is none.
    pub filter: u8,
    /// `st_mode` of what was compressed; 0 for a pipe.
    pub mode: u32,
    /// Unix seconds of the file compressed, or of the compression for a pipe.
    pub mtime: u64,
    /// Base name of what was compressed. Untrusted; empty for a pipe.
    pub name: Vec<u8>,
}

/// What can be said about a whole file beyond that it decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Remarks {
    /// Members seen. More than one: lzop decodes it with a warning, WAL-E fails on it.
    pub members: u32,
    /// Blocks seen.
    pub blocks: u64,
    /// Zero bytes behind the last member, which lzop ignores.
    pub trailing_zeros: u64,
    /// Only the four zero bytes that Go's writer leaves for empty input. lzop refuses it.
    pub go_empty: bool,
}

/// The header of one block, and what of its member is needed to decode it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    /// Offset in the file of the first byte of its data.
    pub data_offset: u64,
    /// Bytes it decodes to, 1..=64 MiB.
    pub plain_len: u32,
    /// Bytes of its data in the file, 1..=`plain_len`.
    pub stored_len: u32,
    /// Checksums over the plain bytes.
    plain_sums: Sums,
    /// Checksums over the stored bytes; none for a stored block.
    stored_sums: Sums,
    filter: u8,
}

/// One block with its data. `Block<'static>` owns them and can go to another thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<'a> {
    /// Lengths, place and checksums.
    pub header: BlockHeader,
    /// The stored bytes, `header.stored_len` of them.
    pub data: Cow<'a, [u8]>,
}

impl Block<'_> {
    /// Copies the data if they are borrowed.
    pub fn into_owned(self) -> Block<'static> {
        Block { header: self.header, data: Cow::Owned(self.data.into_owned()) }
    }

    /// Appends the plain bytes to `out`, after every checksum was verified. On an error `out` is as it was.
    pub fn decode(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        let result = self.decode_behind(start, out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn decode_behind(&self, start: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let header = &self.header;
        let fail = |what: String| CodecError { offset: header.data_offset, what, truncated: false };
        if self.data.len() != header.stored_len as usize {
            return Err(fail(format!("block of {} bytes with {} of them", header.stored_len, self.data.len())));
        }
        header.stored_sums.verify(&self.data).map_err(|sum| fail(format!("compressed block: {sum}")))?;
        let plain_len = header.plain_len as usize;
        if header.stored_len == header.plain_len {
            out.extend_from_slice(&self.data);
        } else {
            // Before the allocation: a few bytes must not make us allocate megabytes.
            if self.data.len().saturating_mul(lzo1x::MAX_EXPANSION) < plain_len {
                let stored = header.stored_len;
                return Err(fail(format!("block of {stored} bytes cannot expand to the {plain_len} of its header")));
            }
            out.resize(start + plain_len, 0);
            let room = out.get_mut(start..).unwrap_or_default();
            let len =
                lzo1x::decompress(&self.data, room).map_err(|error| fail(format!("LZO data of a block {error}")))?;
            if len != plain_len {
                return Err(fail(format!("block decodes to {len} bytes, its header says {plain_len}")));
            }
        }
        let plain = out.get_mut(start..).unwrap_or_default();
        undo_filter(header.filter, plain);
        header.plain_sums.verify(plain).map_err(|sum| fail(format!("block: {sum}")))
    }
}

/// `out[i] = in[i] + out[i - distance]`: what lzop's `--filter` took away.
fn undo_filter(distance: u8, bytes: &mut [u8]) {
    let distance = usize::from(distance);
    if distance == 0 {
        return;
    }
    let mut before = [0u8; 16];
    for chunk in bytes.chunks_mut(distance) {
        for (byte, sum) in chunk.iter_mut().zip(&mut before) {
            *sum = byte.wrapping_add(*sum);
            *byte = *sum;
        }
    }
}

/// Adler-32 and CRC-32 over the same bytes, each where the member's flags ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sums {
    adler: Option<u32>,
    crc: Option<u32>,
}

/// A checksum that does not hold.
struct SumMismatch {
    name: &'static str,
    stored: u32,
    computed: u32,
}

impl fmt::Display for SumMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {:08x}, computed {:08x}", self.name, self.stored, self.computed)
    }
}

impl Sums {
    fn verify(&self, bytes: &[u8]) -> Result<(), SumMismatch> {
        if let Some(stored) = self.adler {
            let computed = simd_adler32::adler32(&bytes);
            if computed != stored {
                return Err(SumMismatch { name: "Adler-32", stored, computed });
            }
        }
        if let Some(stored) = self.crc {
            let computed = crc32fast::hash(bytes);
            if computed != stored {
                return Err(SumMismatch { name: "CRC-32", stored, computed });
            }
        }
        Ok(())
    }
}

/// The checksum of a header or extra field while its bytes come in.
#[derive(Clone)]
enum HeaderSum {
    Adler(simd_adler32::Adler32),
    Crc(crc32fast::Hasher),
}

impl fmt::Debug for HeaderSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeaderSum::Adler(_) => "Adler(..)",
            HeaderSum::Crc(_) => "Crc(..)",
        })
    }
}

impl HeaderSum {
    fn new(flags: u32) -> Self {
        match flags & flag::H_CRC32 {
            0 => HeaderSum::Adler(simd_adler32::Adler32::new()),
            _ => HeaderSum::Crc(crc32fast::Hasher::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            HeaderSum::Adler(sum) => sum.write(bytes),
            HeaderSum::Crc(sum) => sum.update(bytes),
        }
    }

    fn verify(self, stored: u32) -> Result<(), SumMismatch> {
        let (name, computed) = match self {
            HeaderSum::Adler(sum) => ("Adler-32", sum.finish()),
            HeaderSum::Crc(sum) => ("CRC-32", sum.finalize()),
        };
        if computed == stored { Ok(()) } else { Err(SumMismatch { name, stored, computed }) }
    }
}

/// Finds the members and blocks of one file.
#[derive(Debug)]
pub struct Framer {
    state: State,
    /// Of the current member; its flags and filter apply to its blocks.
    member: Option<Member>,
    /// The bytes of an item that earlier calls brought in part.
    pending: Vec<u8>,
    /// File offset of the first byte of `pending`, or of the next input when that is empty.
    offset: u64,
    max_block: u32,
    remarks: Remarks,
    failed: Option<CodecError>,
}

#[derive(Debug)]
enum State {
    /// Before a member: its magic and header.
    Header,
    /// At the length of an extra field.
    ExtraLen,
    /// This much of the extra field left to skip.
    Extra { left: u32, sum: HeaderSum },
    /// At the extra field's checksum.
    ExtraSum { sum: HeaderSum },
    /// At a block header or the end marker.
    BlockHeader,
    /// At a block's data.
    Data(BlockHeader),
    /// The block in `pending` was handed out.
    HandedOut,
    /// Behind a member: another one, zeros, or the end.
    Behind,
    /// Only zeros may follow.
    Zeros,
}

/// Why an item cannot be read now.
enum Stop {
    More,
    Bad(CodecError),
}

impl From<CodecError> for Stop {
    fn from(error: CodecError) -> Self {
        Stop::Bad(error)
    }
}

/// What one item was.
enum Item {
    Nothing,
    Block(BlockHeader),
}

impl Default for Framer {
    fn default() -> Self {
        Framer::new()
    }
}

impl Framer {
    /// At the start of a file.
    pub fn new() -> Self {
        Framer {
            state: State::Header,
            member: None,
            pending: Vec::new(),
            offset: 0,
            max_block: MAX_BLOCK,
            remarks: Remarks::default(),
            failed: None,
        }
    }

    /// Refuses blocks of more plain bytes than this, for callers with little memory. Default and maximum: 64 MiB.
    pub fn with_max_block(mut self, bytes: u32) -> Self {
        self.max_block = bytes.min(MAX_BLOCK);
        self
    }

    /// The header of the member that is being read, once it is complete.
    pub fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }

    /// What was seen so far.
    pub fn remarks(&self) -> Remarks {
        self.remarks
    }

    /// Takes bytes until a block is complete or none are left. Returns how many it took, and the block: borrowed from
    /// `input` where it lies there whole. An error stays: every later call returns it again.
    pub fn push<'a>(&'a mut self, input: &'a [u8]) -> Result<(usize, Option<Block<'a>>), CodecError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut rest = input;
        loop {
            match self.item(&mut rest) {
                Ok(Item::Nothing) => {}
                Ok(Item::Block(header)) => {
                    self.remarks.blocks += 1;
                    let taken = input.len() - rest.len();
                    let data = if self.pending.is_empty() {
                        input.get(taken.saturating_sub(header.stored_len as usize)..taken).unwrap_or_default()
                    } else {
                        &self.pending
                    };
                    return Ok((taken, Some(Block { header, data: Cow::Borrowed(data) })));
                }
                Err(Stop::More) => return Ok((input.len(), None)),
                Err(Stop::Bad(error)) => {
                    self.failed = Some(error.clone());
                    return Err(error);
                }
            }
        }
    }

    /// No more input will come. An error unless a member has ended and only zeros followed.
    pub fn finish(&mut self) -> Result<(), CodecError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.settle();
        let end = self.offset + self.pending.len() as u64;
        let what = match &self.state {
            State::Behind if self.pending.is_empty() => return Ok(()),
            State::Zeros => return Ok(()),
            State::Header if self.pending == [0; 4] => {
                self.remarks.go_empty = true;
                self.state = State::Zeros;
                return Ok(());
            }
            State::Header if end == 0 => "file is empty: not an lzop file",
            State::Header | State::Behind => "file ends in the header of a member",
            State::ExtraLen | State::Extra { .. } | State::ExtraSum { .. } => {
                "file ends in the extra field of a header"
            }
            State::BlockHeader if self.pending.is_empty() => "file ends without the end marker",
            State::BlockHeader | State::HandedOut => "file ends in the header of a block",
            State::Data(_) => "file ends in the data of a block",
        };
        let error = CodecError { offset: end, what: what.to_owned(), truncated: true };
        self.failed = Some(error.clone());
        Err(error)
    }

    /// Goes behind a block that was handed out.
    fn settle(&mut self) {
        if matches!(self.state, State::HandedOut) {
            self.offset += self.pending.len() as u64;
            self.pending.clear();
            self.state = State::BlockHeader;
        }
    }

    /// Reads one item from `pending` and `input`.
    fn item(&mut self, input: &mut &[u8]) -> Result<Item, Stop> {
        match &mut self.state {
            State::HandedOut => {
                self.settle();
                Ok(Item::Nothing)
            }
            State::Header | State::Behind => self.member_header(input),
            State::ExtraLen => {
                let flags = self.flags();
                let at = self.offset;
                let len = self.gather(input, 4, |bytes| Ok(be32(bytes)))?;
                if len > MAX_EXTRA {
                    return Err(bad(at, format!("extra field of {len} bytes, more than the limit of {MAX_EXTRA}")));
                }
                let mut sum = HeaderSum::new(flags);
                sum.update(&len.to_be_bytes());
                self.state = State::Extra { left: len, sum };
                Ok(Item::Nothing)
            }
            State::Extra { left: 0, sum } => {
                self.state = State::ExtraSum { sum: sum.clone() };
                Ok(Item::Nothing)
            }
            State::Extra { left, sum } => {
                let take = input.len().min(*left as usize);
                if take == 0 {
                    return Err(Stop::More);
                }
                let (now, later) = input.split_at(take);
                sum.update(now);
                *left -= take as u32; // checked: at most `left`
                *input = later;
                self.offset += take as u64;
                Ok(Item::Nothing)
            }
            State::ExtraSum { sum } => {
                let sum = sum.clone();
                let at = self.offset;
                let stored = self.gather(input, 4, |bytes| Ok(be32(bytes)))?;
                sum.verify(stored).map_err(|sum| bad(at, format!("extra field of a header: {sum}")))?;
                self.state = State::BlockHeader;
                Ok(Item::Nothing)
            }
            State::BlockHeader => self.block_header(input),
            State::Data(header) => {
                let header = *header;
                let len = header.stored_len as usize;
                if self.pending.is_empty() && input.len() >= len {
                    // Whole in the input: lend it out from there.
                    *input = input.get(len..).unwrap_or_default();
                    self.offset += len as u64;
                    self.state = State::BlockHeader;
                } else {
                    self.fill(input, len)?;
                    self.state = State::HandedOut;
                }
                Ok(Item::Block(header))
            }
            State::Zeros => {
                let zeros = input.iter().take_while(|byte| **byte == 0).count();
                self.remarks.trailing_zeros += zeros as u64;
                self.offset += zeros as u64;
                *input = input.get(zeros..).unwrap_or_default();
                if input.is_empty() {
                    return Err(Stop::More);
                }
                Err(bad(self.offset, "bytes behind the end of the file that are not zero".into()))
            }
        }
    }

    fn flags(&self) -> u32 {
        self.member.as_ref().map_or(0, |member| member.flags)
    }

    /// Brings `pending` to `len` bytes. Grows with what is there, not with what a length field says.
    fn fill(&mut self, input: &mut &[u8], len: usize) -> Result<(), Stop> {
        let take = input.len().min(len.saturating_sub(self.pending.len()));
        let (now, later) = input.split_at(take);
        self.pending.extend_from_slice(now);
        *input = later;
        if self.pending.len() < len { Err(Stop::More) } else { Ok(()) }
    }

    /// Reads an item of exactly `len` bytes and goes behind it.
    fn gather<T>(
        &mut self,
        input: &mut &[u8],
        len: usize,
        read: impl FnOnce(&[u8]) -> Result<T, CodecError>,
    ) -> Result<T, Stop> {
        self.fill(input, len)?;
        let value = read(&self.pending)?;
        self.pending.clear();
        self.offset += len as u64;
        Ok(value)
    }

    /// Magic and header, whose length shows only as it is read: gathered byte by byte, once per member.
    fn member_header(&mut self, input: &mut &[u8]) -> Result<Item, Stop> {
        let first = self.remarks.members == 0;
        loop {
            if !first && self.pending.is_empty() && input.first() == Some(&0) {
                self.state = State::Zeros;
                return Ok(Item::Nothing);
            }
            match parse_member(&self.pending, self.offset) {
                Ok((member, len)) => {
                    debug_assert_eq!(len, self.pending.len());
                    self.offset += len as u64;
                    self.pending.clear();
                    self.remarks.members += 1;
                    self.state =
                        if member.flags & flag::H_EXTRA_FIELD == 0 { State::BlockHeader } else { State::ExtraLen };
                    self.member = Some(member);
                    return Ok(Item::Nothing);
                }
                Err(Stop::More) => {}
                // Four zeros alone are a file of Go's writer; what tells is whether a fifth byte comes.
                Err(Stop::Bad(_)) if first && self.pending.len() <= 4 && self.pending.iter().all(|byte| *byte == 0) => {
                }
                Err(Stop::Bad(error)) if !first && error.what == NOT_LZOP => {
                    let what = "bytes behind the end of the file that are neither zero nor another member";
                    return Err(bad(error.offset, what.into()));
                }
                Err(bad) => return Err(bad),
            }
            let Some((byte, rest)) = input.split_first() else { return Err(Stop::More) };
            self.pending.push(*byte);
            *input = rest;
        }
    }

    fn block_header(&mut self, input: &mut &[u8]) -> Result<Item, Stop> {
        let (flags, offset, max_block) = (self.flags(), self.offset, self.max_block);
        let filter = self.member.as_ref().map_or(0, |member| member.filter);
        if self.pending.len() < 4 {
            self.fill(input, 4)?;
            let plain_len = be32(&self.pending);
            match plain_len {
                0 => {
                    self.pending.clear();
                    self.offset += 4;
                    self.state = State::Behind;
                    return Ok(Item::Nothing);
                }
                u32::MAX => return Err(bad(offset, "a split file, which no lzop ever wrote".into())),
                len if len > MAX_BLOCK => {
                    return Err(bad(offset, format!("block of {len} bytes, the format ends at {MAX_BLOCK}")));
                }
                len if len > max_block => {
                    return Err(bad(offset, format!("block of {len} bytes, more than the {max_block} allowed here")));
                }
                _ => {}
            }
        }
        if self.pending.len() < 8 {
            self.fill(input, 8)?;
            let mut field = Fields::new(&self.pending);
            let (plain_len, stored_len) = (field.u32()?, field.u32()?);
            if stored_len == 0 || stored_len > plain_len {
                return Err(bad(offset + 4, format!("block of {plain_len} bytes stored in {stored_len}")));
            }
        }
        let stored = self.pending.get(..4) == self.pending.get(4..8);
        let compressed_sums = if stored { 0 } else { flags & (flag::ADLER32_C | flag::CRC32_C) };
        let words = 2 + (flags & (flag::ADLER32_D | flag::CRC32_D)).count_ones() + compressed_sums.count_ones();
        let len = 4 * words as usize;
        self.fill(input, len)?;
        let mut field = Fields::new(&self.pending);
        let (plain_len, stored_len) = (field.u32()?, field.u32()?);
        let mut word = |bit: u32, flags: u32| if flags & bit == 0 { Ok(None) } else { field.u32().map(Some) };
        let plain_sums = Sums { adler: word(flag::ADLER32_D, flags)?, crc: word(flag::CRC32_D, flags)? };
        let stored_sums =
            Sums { adler: word(flag::ADLER32_C, compressed_sums)?, crc: word(flag::CRC32_C, compressed_sums)? };
        let data_offset = offset + len as u64;
        self.pending.clear();
        self.offset = data_offset;
        self.state = State::Data(BlockHeader { data_offset, plain_len, stored_len, plain_sums, stored_sums, filter });
        Ok(Item::Nothing)
    }
}

const NOT_LZOP: &str = "not an lzop file";

fn bad(offset: u64, what: String) -> Stop {
    Stop::Bad(CodecError { offset, what, truncated: false })
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_be_bytes(*four))
}

/// Big-endian fields one behind the other.
struct Fields<'a> {
    bytes: &'a [u8],
    taken: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Fields { bytes, taken: 0 }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let end = self.taken.checked_add(len).ok_or(Stop::More)?;
        let field = self.bytes.get(self.taken..end).ok_or(Stop::More)?;
        self.taken = end;
        Ok(field)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        self.take(N).map(|field| field.first_chunk().copied().unwrap_or([0; N]))
    }

    fn u8(&mut self) -> Result<u8, Stop> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, Stop> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Stop> {
        self.array().map(u32::from_be_bytes)
    }
}

/// The magic as line-end conversion leaves it: CR LF to LF, LF to CR LF, CR to LF.
const CONVERTED: [&[u8]; 3] = [b"\x89LZO\0\n\x1A\n", b"\x89LZO\0\r\r\n\x1A\r\n", b"\x89LZO\0\n\n\x1A\n"];

/// The member at the start of `bytes`, which lie at `base` in the file, and its length up to its header's checksum.
/// Any proper prefix of a good header asks for more.
fn parse_member(bytes: &[u8], base: u64) -> Result<(Member, usize), Stop> {
    let seen = bytes.get(..MAGIC.len()).unwrap_or(bytes);
    if !MAGIC.starts_with(seen) {
        // A converted magic differs only in its sixth byte or later: wait until it is clear.
        if let Some(converted) = CONVERTED.iter().find(|one| one.starts_with(bytes) || bytes.starts_with(one)) {
            if bytes.len() < converted.len() {
                return Err(Stop::More);
            }
            return Err(bad(base + 5, "lzop magic whose line ends were converted: stored or sent as text".into()));
        }
        return Err(bad(base, NOT_LZOP.into()));
    }
    let mut field = Fields::new(bytes);
    field.take(MAGIC.len())?;
    let at = |offset: usize| base + offset as u64;
    let version = field.u16()?;
    if version < 0x0900 {
        return Err(bad(at(9), format!("lzop version {version:04x}, older than any release")));
    }
    let short = version < 0x0940;
    let library = field.u16()?;
    let needed = if short { None } else { Some(field.u16()?) };
    let method_at = field.taken;
    let method = field.u8()?;
    let level = if short { 0 } else { field.u8()? };
    let flags_at = field.taken;
    let flags = field.u32()?;
    let filter_at = field.taken;
    let filter = if flags & flag::H_FILTER == 0 { 0 } else { field.u32()? };
    let mode = field.u32()?;
    let mtime_low = field.u32()?;
    let mtime_high = if short { 0 } else { field.u32()? };
    let name_len = field.u8()?;
    let name = field.take(usize::from(name_len))?;
    let sum_at = field.taken;
    let mut sum = HeaderSum::new(flags);
    sum.update(bytes.get(MAGIC.len()..sum_at).unwrap_or_default());
    let stored = field.u32()?;
    // The checksum first: what a damaged header says is not worth repeating.
    sum.verify(stored).map_err(|sum| bad(at(sum_at), format!("header of a member: {sum}")))?;
    if let Some(needed) = needed
        && !(0x0900..=NEWEST_FORMAT).contains(&needed)
    {
        return Err(bad(at(13), format!("needs lzop version {needed:04x}, known are 0900 to {NEWEST_FORMAT:04x}")));
    }
    if !(1..=3).contains(&method) {
        return Err(bad(at(method_at), format!("compression method {method}, known are 1 to 3")));
    }
    if level > 9 {
        return Err(bad(at(method_at + 1), format!("compression level {level}, known are 0 to 9")));
    }
    if flags & flag::RESERVED != 0 {
        return Err(bad(at(flags_at), format!("reserved flags are set: {flags:08x}")));
    }
    // lzop 1.04 aborts on these; nothing is known to write them.
    for (plain, stored) in [(flag::ADLER32_D, flag::ADLER32_C), (flag::CRC32_D, flag::CRC32_C)] {
        if flags & stored != 0 && flags & plain == 0 {
            return Err(bad(
                at(flags_at),
                format!("checksums of compressed blocks without those of plain: {flags:08x}"),
            ));
        }
    }
    let filter = u8::try_from(filter)
        .ok()
        .filter(|distance| *distance <= 16)
        .ok_or_else(|| bad(at(filter_at), format!("filter {filter}, known are 0 to 16")))?;
    let member = Member {
        offset: base,
        version,
        library,
        needed,
        method,
        level,
        flags,
        filter,
        mode,
        mtime: u64::from(mtime_high) << 32 | u64::from(mtime_low),
        name: name.to_vec(),
    };
    Ok((member, field.taken))
}

/// The streaming decoder of one file, on one core.
#[derive(Debug, Default)]
pub struct LzopDecoder {
    framer: Framer,
    failed: Option<CodecError>,
}

impl LzopDecoder {
    /// At the start of a file.
    pub fn new() -> Self {
        LzopDecoder::default()
    }

    /// With a framer of the caller's, for its limits.
    pub fn with(framer: Framer) -> Self {
        LzopDecoder { framer, failed: None }
    }

    /// What was seen so far.
    pub fn remarks(&self) -> Remarks {
        self.framer.remarks()
    }

    /// The header of the member that is being read, once it is complete.
    pub fn member(&self) -> Option<&Member> {
        self.framer.member()
    }
}

impl Decode for LzopDecoder {
    fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, CodecError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let (taken, block) = self.framer.push(input)?;
        if let Some(block) = block
            && let Err(error) = block.decode(out)
        {
            self.failed = Some(error.clone());
            return Err(error);
        }
        Ok(taken)
    }

    fn finish(&mut self) -> Result<(), CodecError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => self.framer.finish(),
        }
    }
}

#[cfg(test)]
mod tests;
