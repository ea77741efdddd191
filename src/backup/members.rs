//! The members of a tar stream, as Python's writer (GNU and pax) and other common ones wrote them.
//!
//! In: the tar as a `BufRead`. Out: [`Member`]s in order, their data, and at the end the proof that it is the end: two
//! zero blocks and nothing but zeros behind them. Never: takes the end of the input for the end of the archive, skips a
//! header that does not add up, follows two descriptions of one length, or allocates what a length field asks for.
//!
//! Header fields are taken apart by the `tar` crate. Not used is its iterator, because it accepts an archive that stops
//! at a member boundary, one zero block as the end, data behind it, base-256 numbers that overflow, and splits pax
//! records at line ends although values may hold one.
//! Source: POSIX pax, GNU tar's `tar.h`, CPython `Lib/tarfile.py`.

use std::borrow::Cow;
use std::io::{self, BufRead};
use tar::Header;

/// Bytes of a tar block.
const BLOCK: usize = 512;
/// Largest extension header (long names, pax records) that is read.
const MAX_EXTENSION: u64 = 1 << 20;

/// Largest member: no file system holds more, and sums of it still fit.
const MAX_MEMBER: u64 = 1 << 60;

/// One member. Text fields are raw bytes: names in data directories need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// As written, a directory's slash at the end included.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Bytes of data that follow. 0 for all but regular files.
    pub size: u64,
    /// Permission bits, `0..=0o7777`.
    pub mode: u32,
    /// Owner on the source host.
    pub uid: u64,
    /// Group there.
    pub gid: u64,
    /// Time of modification: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Place of its header in the plain stream.
    pub offset: u64,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Another name of a member: that member's path.
    HardLink(Vec<u8>),
    /// A symbolic link: its target as written.
    SymLink(Vec<u8>),
    /// A device, a fifo, or a type that is none of the above: its type flag.
    Other(u8),
}

/// A stream that is no whole tar archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The bytes below could not be read; perhaps not tar's fault at all.
    #[error(transparent)]
    Read(io::Error),
    /// The bytes are wrong.
    #[error("{what} at byte {offset} of the tar stream")]
    Damaged {
        /// One clause.
        what: Cow<'static, str>,
        /// Where, in the plain stream.
        offset: u64,
    },
}

/// A tar archive being read.
#[derive(Debug)]
pub struct Members<R> {
    input: R,
    /// Bytes taken from the input.
    offset: u64,
    /// Data of the current member still to come.
    data: u64,
    /// Fill behind the data, up to the next block.
    fill: u64,
    ended: bool,
}

impl<R: BufRead> Members<R> {
    /// At the beginning of the stream.
    pub fn new(input: R) -> Self {
        Members { input, offset: 0, data: 0, fill: 0, ended: false }
    }

    /// The next member, skipping what is left of the current one's data. `None` after the end was proven.
    pub fn next_member(&mut self) -> Result<Option<Member>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let left = self.data + self.fill;
        (self.data, self.fill) = (0, 0);
        self.skip(left)?;
        let mut long = Long::default();
        loop {
            let start = self.offset;
            let mut block = [0; BLOCK];
            if !self.block(&mut block)? {
                return Err(damaged("the archive ends without its end mark", start));
            }
            if block == [0; BLOCK] {
                if long != Long::default() {
                    return Err(damaged("an extension header without its member", start));
                }
                self.end()?;
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            check_sum(header, start)?;
            let size = unsigned(&header.as_old().size).ok_or_else(|| damaged("a size that is no number", start))?;
            match header.as_old().linkflag[0] {
                b'L' => long.path = Some(up_to_nul(self.extension(size, start)?)),
                b'K' => long.link = Some(up_to_nul(self.extension(size, start)?)),
                b'x' => {
                    let records = self.extension(size, start)?;
                    long.pax(&records, start)?;
                }
                b'g' => {
                    // Never written by Python; `git archive` writes a comment. What it changes for all must be nothing.
                    let records = self.extension(size, start)?;
                    let mut global = Long::default();
                    global.pax(&records, start)?;
                    if global != Long::default() {
                        return Err(damaged("a global pax header that changes members", start));
                    }
                }
                flag => return self.member(header, flag, size, long, start).map(Some),
            }
        }
    }

    fn member(&mut self, header: &Header, flag: u8, size: u64, long: Long, start: u64) -> Result<Member, TarError> {
        let size = long.size.unwrap_or(size);
        let path = long.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = || long.link.clone().unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        if path.is_empty() {
            return Err(damaged("a member without a name", start));
        }
        if size > MAX_MEMBER {
            return Err(damaged(format!("a member of {size} bytes"), start));
        }
        let kind = match flag {
            // Before POSIX a directory was a file whose name ends in a slash.
            0 if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' => Kind::File,
            b'1' => Kind::HardLink(link()),
            b'2' => Kind::SymLink(link()),
            b'5' => Kind::Directory,
            other => Kind::Other(other),
        };
        if matches!(kind, Kind::HardLink(_) | Kind::SymLink(_) | Kind::Directory) && size != 0 {
            // Readers disagree whether data follow; nobody who means well writes it.
            return Err(damaged("a link or directory with a size", start));
        }
        let number = |field: &[u8], what| unsigned(field).ok_or_else(|| damaged(what, start));
        let old = header.as_old();
        let mode = number(&old.mode, "a mode that is no number")?;
        let member = Member {
            path,
            kind,
            size,
            mode: (mode & 0o7777) as u32,
            uid: long.uid.map_or_else(|| number(&old.uid, "an owner that is no number"), Ok)?,
            gid: long.gid.map_or_else(|| number(&old.gid, "a group that is no number"), Ok)?,
            mtime: match long.mtime {
                Some(time) => time,
                None => (signed(&old.mtime).ok_or_else(|| damaged("a time that is no number", start))?, 0),
            },
            offset: start,
        };
        self.data = size;
        self.fill = fill(size);
        Ok(member)
    }

    /// The next bytes of the current member's data; empty when there are no more. Take them with [`Members::consume`].
    pub fn data(&mut self) -> Result<&[u8], TarError> {
        if self.data == 0 {
            return Ok(&[]);
        }
        let offset = self.offset;
        let ready = self.input.fill_buf().map_err(TarError::Read)?;
        if ready.is_empty() {
            return Err(damaged("the archive ends within a file", offset));
        }
        let count = usize::try_from(self.data).unwrap_or(usize::MAX).min(ready.len());
        Ok(&ready[..count])
    }

    /// So many bytes of [`Members::data`] were used.
    pub fn consume(&mut self, bytes: usize) {
        let bytes = (bytes as u64).min(self.data);
        self.input.consume(bytes as usize);
        self.data -= bytes;
        self.offset += bytes;
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The input, after the end.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// The second zero block, then zeros to the end of the input.
    fn end(&mut self) -> Result<(), TarError> {
        let start = self.offset;
        let mut block = [0; BLOCK];
        if !self.block(&mut block)? {
            return Err(damaged("the archive ends in the middle of its end mark", start));
        }
        if block != [0; BLOCK] {
            return Err(damaged("one zero block, and then more", start));
        }
        loop {
            let offset = self.offset;
            let ready = self.input.fill_buf().map_err(TarError::Read)?;
            if ready.is_empty() {
                self.ended = true;
                return Ok(());
            }
            if let Some(place) = ready.iter().position(|byte| *byte != 0) {
                return Err(damaged("something behind the end of the archive", offset + place as u64));
            }
            let count = ready.len();
            self.input.consume(count);
            self.offset += count as u64;
        }
    }

    /// A whole block, or `false` where the input ends before its first byte.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, TarError> {
        let mut filled = 0;
        while filled < BLOCK {
            let ready = self.input.fill_buf().map_err(TarError::Read)?;
            if ready.is_empty() {
                if filled == 0 {
                    return Ok(false);
                }
                return Err(damaged("the archive ends within a header", self.offset));
            }
            let count = ready.len().min(BLOCK - filled);
            block[filled..filled + count].copy_from_slice(&ready[..count]);
            self.input.consume(count);
            self.offset += count as u64;
            filled += count;
        }
        Ok(true)
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), TarError> {
        while bytes > 0 {
            let ready = self.input.fill_buf().map_err(TarError::Read)?;
            if ready.is_empty() {
                return Err(damaged("the archive ends within a file", self.offset));
            }
            let count = usize::try_from(bytes).unwrap_or(usize::MAX).min(ready.len());
            self.input.consume(count);
            self.offset += count as u64;
            bytes -= count as u64;
        }
        Ok(())
    }

    /// The data of an extension header.
    fn extension(&mut self, size: u64, start: u64) -> Result<Vec<u8>, TarError> {
        if size > MAX_EXTENSION {
            return Err(damaged(format!("an extension header of {size} bytes"), start));
        }
        let mut bytes = Vec::new();
        (self.data, self.fill) = (size, 0);
        loop {
            let ready = self.data()?;
            if ready.is_empty() {
                break;
            }
            let count = ready.len();
            bytes.extend_from_slice(ready);
            self.consume(count);
        }
        self.skip(fill(size))?;
        Ok(bytes)
    }
}

/// What extension headers say about the member behind them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Long {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
}

impl Long {
    /// Records `LENGTH KEY=VALUE\n`, where the length counts itself and the line end.
    fn pax(&mut self, mut records: &[u8], start: u64) -> Result<(), TarError> {
        let wrong = || damaged("a pax record that does not add up", start);
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
            let length = records.get(..space).and_then(decimal).ok_or_else(wrong)?;
            let length = usize::try_from(length).map_err(|_| wrong())?;
            let record = records.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n"));
            let record = record.ok_or_else(wrong)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let number = || decimal(value).ok_or_else(wrong);
            match key {
                b"path" if value.contains(&0) => return Err(wrong()),
                b"linkpath" if value.contains(&0) => return Err(wrong()),
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number()?),
                b"uid" => self.uid = Some(number()?),
                b"gid" => self.gid = Some(number()?),
                b"mtime" => self.mtime = Some(pax_time(value).ok_or_else(wrong)?),
                _ if key.starts_with(b"GNU.sparse.") => return Err(damaged("a sparse member", start)),
                // hdrcharset=BINARY says that values are raw bytes, which they are here anyway; names of owners, access
                // times, attributes and comments do not matter.
                _ => {}
            }
            records = records.get(length..).unwrap_or_default();
        }
        Ok(())
    }
}

fn check_sum(header: &Header, start: u64) -> Result<(), TarError> {
    let old = header.as_old();
    let want = unsigned(&old.cksum).ok_or_else(|| damaged("a block that is no header", start))?;
    // The sum counts its own field as blanks. Some old writers summed signed bytes; so does Python on reading.
    let bytes = header.as_bytes();
    let own = |index: usize| (148..156).contains(&index);
    let byte = |(index, byte): (usize, &u8)| if own(index) { b' ' } else { *byte };
    let sum: u64 = bytes.iter().enumerate().map(byte).map(u64::from).sum();
    let signed: i64 = bytes.iter().enumerate().map(byte).map(|byte| i64::from(byte as i8)).sum();
    if want == sum || i64::try_from(want) == Ok(signed) {
        return Ok(());
    }
    Err(damaged("a header whose checksum is wrong", start))
}

/// An octal or base-256 field that must not be negative. Empty is 0, as Python reads it.
fn unsigned(field: &[u8]) -> Option<u64> {
    u64::try_from(signed(field)?).ok()
}

fn signed(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    match first {
        0x80 | 0xFF => {
            // Base-256, big-endian two's complement; what does not fit 64 bits is refused, not cut.
            let mut value: i128 = if *first == 0xFF { -1 } else { 0 };
            for byte in rest {
                value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
            }
            i64::try_from(value).ok()
        }
        _ => {
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            let text = std::str::from_utf8(field.get(..end)?).ok()?.trim_matches(' ');
            if text.is_empty() {
                return Some(0);
            }
            let valid = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
            if valid { i64::from_str_radix(text, 8).ok() } else { None }
        }
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if valid { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

/// `1795202240.713175`, `-1.5`: seconds towards the past, and nanoseconds.
fn pax_time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds = i64::try_from(decimal(whole.as_bytes())?).ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    Some(match (negative, nanos) {
        (false, nanos) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, nanos) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

fn up_to_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn fill(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn damaged(what: impl Into<Cow<'static, str>>, offset: u64) -> TarError {
    TarError::Damaged { what: what.into(), offset }
}

#[cfg(test)]
mod tests;
