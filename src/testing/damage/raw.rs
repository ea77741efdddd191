//! Bytes of WAL segments and tar archives taken apart, just far enough to damage a place on purpose.
//!
//! In: valid plain bytes. Out: where records, pages and members are; records resealed after a change.
//! Never: copes with damage: what is not as a server writes it ends the walk.

use crate::wal::crc::RecordCrc;
use std::ops::Range;

/// Bytes of a page of WAL.
pub const PAGE: usize = 8192;

/// A record or the part of one that lies in a segment.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its bytes in the segment, page headers left out.
    pub spans: Vec<Range<usize>>,
    /// It begins here (else it began in the segment before).
    pub begins: bool,
    /// It ends here (else it goes on in the segment behind).
    pub ends: bool,
    /// It is an XLOG_SWITCH.
    pub switch: bool,
    /// It was given up within this segment: nothing reads its bytes.
    pub abandoned: bool,
}

pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, u16::from_le_bytes)
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Bytes of the header of the page at this offset.
pub fn header_len(at: usize) -> usize {
    if at == 0 { 40 } else { 24 }
}

enum Stop {
    End,
    Overwritten(usize),
}

/// So many bytes from here, across pages; and where the next record is.
fn gather(plain: &[u8], mut at: usize, mut len: usize) -> (Vec<Range<usize>>, Result<usize, Stop>) {
    let mut spans = Vec::new();
    loop {
        let here = len.min(PAGE - at % PAGE);
        spans.push(at..at + here);
        at += here;
        len -= here;
        if len == 0 {
            return (spans, Ok(at.next_multiple_of(8)));
        }
        if at >= plain.len() {
            return (spans, Err(Stop::End));
        }
        if u16_at(plain, at + 2) & 0x0008 != 0 {
            return (spans, Err(Stop::Overwritten(at)));
        }
        at += header_len(at);
    }
}

/// The records of a segment in their order, up to its end, its switch, or the first zero length.
pub fn records(plain: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    let mut at = 0;
    let record = |spans, begins, ends| Record { spans, begins, ends, switch: false, abandoned: false };
    if u16_at(plain, 2) & 1 != 0 {
        let (spans, next) = gather(plain, 40, u32_at(plain, 16) as usize);
        match next {
            Ok(next) => {
                found.push(record(spans, false, true));
                at = next;
            }
            Err(Stop::End) => {
                found.push(record(spans, false, false));
                return found;
            }
            Err(Stop::Overwritten(page)) => {
                found.push(Record { abandoned: true, ..record(spans, false, false) });
                at = page;
            }
        }
    }
    while at + 8 <= plain.len() {
        if at.is_multiple_of(PAGE) {
            at += header_len(at);
        }
        let len = u32_at(plain, at) as usize;
        if len < 24 {
            break;
        }
        let (spans, next) = gather(plain, at, len);
        let head = bytes(plain, &spans);
        let switch = len == 24 && head.get(17) == Some(&0) && head.get(16).is_some_and(|info| info & 0xF0 == 0x40);
        match next {
            Ok(next) => {
                found.push(Record { switch, ..record(spans, true, true) });
                at = next;
            }
            Err(Stop::End) => {
                found.push(record(spans, true, false));
                break;
            }
            Err(Stop::Overwritten(page)) => {
                found.push(Record { abandoned: true, ..record(spans, true, false) });
                at = page;
                continue;
            }
        }
        if switch {
            break;
        }
    }
    found
}

/// The bytes of some spans.
pub fn bytes(plain: &[u8], spans: &[Range<usize>]) -> Vec<u8> {
    spans.iter().filter_map(|span| plain.get(span.clone())).flatten().copied().collect()
}

impl Record {
    /// Bytes of it in this segment.
    pub fn len(&self) -> usize {
        self.spans.iter().map(Range::len).sum()
    }

    /// Where in the segment its n-th byte is.
    pub fn place(&self, mut n: usize) -> Option<usize> {
        for span in &self.spans {
            if n < span.len() {
                return Some(span.start + n);
            }
            n -= span.len();
        }
        None
    }

    /// Change its bytes and give it the CRC that fits. It must be whole.
    pub fn rewrite(&self, plain: &mut [u8], change: impl FnOnce(&mut [u8])) {
        let mut record = bytes(plain, &self.spans);
        change(&mut record);
        let mut crc = RecordCrc::new();
        crc.body(&record[24..]);
        let header: [u8; 24] = record[..24].try_into().expect("checked: a record has a header");
        record[20..24].copy_from_slice(&crc.finish(&header).to_le_bytes());
        for (at, byte) in record.into_iter().enumerate() {
            if let Some(place) = self.place(at) {
                plain[place] = byte;
            }
        }
    }
}

/// A member of a tar archive: its extension headers included.
#[derive(Debug, Clone)]
pub struct TarMember {
    /// Name as written.
    pub name: String,
    /// Type flag.
    pub flag: u8,
    /// From its first header on, up to the next member.
    pub whole: Range<usize>,
    /// Where its own header is.
    pub header: usize,
    /// Its data.
    pub data: Range<usize>,
}

/// Members of a tar archive in their order, and where its end mark begins.
pub fn members(tar: &[u8]) -> (Vec<TarMember>, usize) {
    let (mut found, mut at, mut start) = (Vec::new(), 0, 0);
    while let Some(header) = tar.get(at..at + 512).filter(|header| header.iter().any(|byte| *byte != 0)) {
        let text = |range: Range<usize>| {
            let field = header.get(range).unwrap_or_default();
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            String::from_utf8_lossy(&field[..end]).trim().to_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).unwrap_or(0);
        let (flag, data) = (header[156], at + 512..at + 512 + size);
        let next = data.end.next_multiple_of(512);
        if !matches!(flag, b'x' | b'g' | b'L' | b'K') {
            found.push(TarMember { name: text(0..100), flag, whole: start..next, header: at, data });
            start = next;
        }
        at = next;
    }
    (found, at)
}
