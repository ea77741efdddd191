//! Writes WAL that a server could have written: any version, segment size and page size, records across pages and
//! segments, switches, new timelines.
//!
//! In: a [`Shape`], then records one by one. Out: whole segments with their names. Never: checks anything; what is
//! valid or not is for `wal` to say. Record bodies are laid out as PostgreSQL does for the kinds that `wal::record` knows,
//! and are noise in a main-data wrapper otherwise.

use crate::pg::version::PgVersion;
use crate::pg::{Lsn, SegmentName, SegmentNo, SegmentSize, SystemId, TimelineId};
use crate::wal::crc::RecordCrc;
use crate::wal::page::{CONTINUED, LONG, LONG_LEN, LongHeader, OVERWRITE, PageHeader, SHORT_LEN};
use std::ops::Range;

/// What does not change along the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The page magic.
    pub magic: u16,
    /// Of a segment.
    pub size: SegmentSize,
    /// Bytes of a page.
    pub page_size: u32,
    /// The cluster.
    pub system: SystemId,
}

impl Default for Shape {
    /// PostgreSQL 15 with the smallest segments.
    fn default() -> Self {
        Shape { magic: 0xD110, size: SegmentSize::MIN, page_size: 8192, system: SystemId(7_000_000_000_000_000_001) }
    }
}

/// A stretch of WAL being written.
#[derive(Debug, Clone)]
pub struct Wal {
    shape: Shape,
    timeline: TimelineId,
    start: u64,
    bytes: Vec<u8>,
    prev: Lsn,
    records: Vec<Written>,
    abandoned: Vec<Range<Lsn>>,
}

/// One record as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Its first byte.
    pub start: Lsn,
    /// Behind its last byte, padding not included.
    pub end: Lsn,
    /// Resource manager.
    pub rmid: u8,
    /// `xl_info`.
    pub info: u8,
}

impl Wal {
    /// At the start of a segment, as if WAL lay before it.
    pub fn new(shape: Shape, timeline: TimelineId, first: SegmentNo) -> Self {
        let start = first.start(shape.size).expect("checked: tests start within 64 bits");
        let prev = Lsn(start.0.saturating_sub(64));
        Wal { shape, timeline, start: start.0, bytes: Vec::new(), prev, records: Vec::new(), abandoned: Vec::new() }
    }

    /// What does not change along it.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// LSN of the next byte.
    pub fn position(&self) -> Lsn {
        Lsn(self.start + self.bytes.len() as u64)
    }

    /// Bytes left in the current segment, headers still to come not deducted.
    pub fn left_in_segment(&self) -> u64 {
        let size = self.shape.size.bytes();
        size - self.bytes.len() as u64 % size
    }

    /// What was written so far.
    pub fn records(&self) -> &[Written] {
        &self.records
    }

    /// What is left of records that were begun and never finished: to the end of the page that they began on.
    pub fn abandoned(&self) -> &[Range<Lsn>] {
        &self.abandoned
    }

    fn page_left(&self) -> usize {
        let page = self.shape.page_size as usize;
        page - self.bytes.len() % page
    }

    fn page_header(&mut self, info: u16, remaining: u32) {
        debug_assert_eq!(self.page_left(), self.shape.page_size as usize);
        let first = (self.bytes.len() as u64).is_multiple_of(self.shape.size.bytes());
        let header = PageHeader {
            magic: self.shape.magic,
            info: info | if first { LONG } else { 0 },
            timeline: self.timeline.get(),
            address: self.position(),
            remaining,
            padding: 0,
            long: first.then_some(LongHeader {
                system: self.shape.system,
                segment_size: self.shape.size.bytes() as u32,
                page_size: self.shape.page_size,
            }),
        };
        self.bytes.extend(header.to_bytes());
    }

    fn at_page_start(&self) -> bool {
        self.page_left() == self.shape.page_size as usize
    }

    /// Bytes of a record of this whole length that fit before the segment's end, from here.
    pub fn room_in_segment(&self) -> u64 {
        let (page, size) = (u64::from(self.shape.page_size), self.shape.size.bytes());
        let mut at = self.bytes.len() as u64;
        let end = (at / size + 1) * size;
        let mut room = 0;
        while at < end {
            if at.is_multiple_of(page) {
                at += if at.is_multiple_of(size) { LONG_LEN } else { SHORT_LEN } as u64;
            }
            let next = (at / page + 1) * page;
            room += next - at;
            at = next;
        }
        room
    }

    /// A record with this body (everything behind its 24 header bytes). Returns its LSN.
    pub fn record(&mut self, rmid: u8, info: u8, xid: u32, body: &[u8]) -> Lsn {
        if self.at_page_start() {
            self.page_header(0, 0);
        }
        let start = self.position();
        let mut header = [0u8; 24];
        header[..4].copy_from_slice(&(24 + body.len() as u32).to_le_bytes());
        header[4..8].copy_from_slice(&xid.to_le_bytes());
        header[8..16].copy_from_slice(&self.prev.0.to_le_bytes());
        header[16] = info;
        header[17] = rmid;
        let mut crc = RecordCrc::new();
        crc.body(body);
        let crc = crc.finish(&header);
        header[20..].copy_from_slice(&crc.to_le_bytes());
        let record = [&header[..], body].concat();
        let mut rest = &record[..];
        while !rest.is_empty() {
            if self.at_page_start() {
                self.page_header(CONTINUED, rest.len() as u32);
            }
            let (now, later) = rest.split_at(rest.len().min(self.page_left()));
            self.bytes.extend(now);
            rest = later;
        }
        self.records.push(Written { start, end: self.position(), rmid, info });
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.prev = start;
        start
    }

    /// A record whose body is main data.
    pub fn data(&mut self, rmid: u8, info: u8, xid: u32, data: &[u8]) -> Lsn {
        let mut body = match u8::try_from(data.len()) {
            Ok(len) => vec![255, len],
            Err(_) => [&[254][..], &(data.len() as u32).to_le_bytes()].concat(),
        };
        body.extend(data);
        self.record(rmid, info, xid, &body)
    }

    /// A commit at this time.
    pub fn commit(&mut self, xid: u32, time: i64) -> Lsn {
        self.data(1, 0x00, xid, &time.to_le_bytes())
    }

    /// An XLOG_SWITCH and the unused rest of the segment, in the form of the version.
    pub fn switch(&mut self) -> Lsn {
        let start = self.record(0, 0x40, 0, &[]);
        let size = self.shape.size.bytes();
        let bare_pages = PgVersion::from_page_magic(self.shape.magic).is_some_and(|version| !version.is_at_least(11));
        while !(self.bytes.len() as u64).is_multiple_of(size) {
            if bare_pages && self.at_page_start() {
                self.page_header(0, 0);
            }
            let len = self.bytes.len() + self.page_left();
            self.bytes.resize(len, 0);
        }
        start
    }

    /// The same stretch from here on, without the bytes so far: for more WAL than fits into memory. At a segment's end only.
    pub fn go_on(&self) -> Wal {
        debug_assert!((self.bytes.len() as u64).is_multiple_of(self.shape.size.bytes()));
        let start = self.position().0;
        Wal { start, bytes: Vec::new(), records: Vec::new(), abandoned: Vec::new(), ..*self }
    }

    /// Fills up to the end of the segment: the last record ends exactly there.
    pub fn fill(&mut self) {
        while self.left_in_segment() < self.shape.size.bytes() || self.at_page_start() && self.bytes.is_empty() {
            // Whole records of at most 5000 bytes, the last one exactly as long as there is room.
            let room = self.room_in_segment();
            let len = if room > 10_000 { 5000 } else { room };
            self.record(10, 0, 7, &vec![0xAB; (len as usize).saturating_sub(24)]);
        }
    }

    /// What a promotion writes: from here on another timeline, beginning with END_OF_RECOVERY.
    pub fn promote(&mut self, timeline: TimelineId) -> Lsn {
        let old = std::mem::replace(&mut self.timeline, timeline);
        let mut data = 800_000_000_000_000i64.to_le_bytes().to_vec();
        data.extend(timeline.get().to_le_bytes());
        data.extend(old.get().to_le_bytes());
        self.data(0, 0x90, 0, &data)
    }

    /// As crash recovery leaves it: the record begun here is never finished, the next page overwrites it. The record
    /// must be longer than the page. Returns the LSN of the abandoned record.
    pub fn abandon(&mut self, body_len: usize) -> Lsn {
        let before = self.clone();
        let start = self.record(10, 0, 7, &vec![0xCD; body_len]);
        // Keep the part on its first page, up to the page's end.
        let page = self.shape.page_size as usize;
        let kept = (start.0 - self.start) as usize / page * page + page;
        self.bytes.truncate(kept);
        self.records = before.records;
        self.prev = before.prev;
        self.abandoned.push(start..self.position());
        self.page_header(OVERWRITE, 0);
        let data = [start.0.to_le_bytes(), 800_000_000_000_000u64.to_le_bytes()].concat();
        self.data(0, 0xD0, 0, &data);
        start
    }

    /// The bytes so far, zeros to the end of the last segment, as segments under their names.
    pub fn segments(&self) -> Vec<(SegmentName, Vec<u8>)> {
        let size = self.shape.size.bytes() as usize;
        let first = Lsn(self.start).segment(self.shape.size);
        let segments = self.bytes.chunks(size).zip(first.0..);
        segments
            .map(|(bytes, number)| {
                let name = SegmentNo(number).name(self.timeline, self.shape.size);
                let mut bytes = bytes.to_vec();
                bytes.resize(size, 0);
                (name.expect("checked: tests stay within 64 bits"), bytes)
            })
            .collect()
    }
}
