//! Push bytes in, step records out.
//!
//! In: the bytes of a stretch of WAL from a segment's start, cut anywhere. Out: [`Step`]s: every complete record, the
//! place where the WAL ends, or a [`WalFault`] with its LSN. Any cut of the input gives the same steps.
//! Never: keeps a record's body (its CRC runs along), goes on behind a fault, takes an unknown version for damage.
//! Source: PostgreSQL `xlogreader.c` (`XLogReaderValidatePageHeader`, `XLogDecodeNextRecord`, `ValidXLogRecord`).
//!
//! ```text
//! page header → rest of an earlier record → record, padding, record, … → page header → …
//! ```
//!
//! What is demanded beyond the server's own checks: a long header on first pages only, pages of no later timeline than
//! the file's name, and a first `xl_prev` that points before the segment. What is only counted ([`Decoder::odd`]): bytes
//! that no checksum covers and that every server writes as zero.

use super::blocks::{self, KEPT_BLOCKS};
use super::crc::RecordCrc;
use super::page::{self, LongHeader, PageHeader};
use super::record::{HEADER_LEN, Kind, MAX_LEN, Record, RecordHeader};
use crate::pg::version::PgVersion;
use crate::pg::{Lsn, SegmentSize, SystemId, TimelineId};
use serde::{Deserialize, Serialize};

/// What sort of wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Too few or too many bytes.
    Size,
    /// Not WAL at all.
    NotWal,
    /// WAL of a version that this build does not read. Not damage.
    Version,
    /// WAL of a big-endian machine. Not damage.
    Endian,
    /// Of another cluster, timeline or place than its name says.
    Foreign,
    /// A page that cannot stand where it is.
    Page,
    /// A record that cannot be right.
    Record,
    /// Good as far as it goes, but the WAL ends before the segment does.
    NotWhole,
}

/// Why WAL cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at {lsn}")]
pub struct WalFault {
    /// What sort of wrong.
    pub kind: FaultKind,
    /// Where: the first byte of the page or record that is wrong.
    pub lsn: Lsn,
    /// One clause: `the record's CRC is 0a1b2c3d, computed 00000000`.
    pub what: String,
}

/// What the WAL must be, beyond consistent in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// LSN of the first byte.
    pub start: Lsn,
    /// No page may be of a later timeline.
    pub timeline: TimelineId,
    /// The segment size, where it is known beforehand.
    pub size: Option<SegmentSize>,
    /// The cluster, where it is known beforehand.
    pub system: Option<SystemId>,
    /// Read records; else page headers only.
    pub records: bool,
    /// Say which pages each record is about ([`Record::blocks`]).
    pub blocks: bool,
}

/// What one step of a [`Decoder`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The input is used up.
    NeedMore,
    /// A complete record.
    Record(Record),
    /// Where a record should start there are zeros: the WAL ends here.
    EndOfWal {
        /// The first byte that no record covers.
        at: Lsn,
    },
}

/// What the first page said, and holds for every page behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Magic of every page.
    pub magic: u16,
    /// Bytes of a segment.
    pub segment_size: u32,
    /// Bytes of a page.
    pub page_size: u32,
    /// The cluster.
    pub system: SystemId,
}

impl Shape {
    /// The major version; known, since other magics are refused.
    pub fn version(&self) -> PgVersion {
        PgVersion::from_page_magic(self.magic).unwrap_or(PgVersion::NEWEST)
    }
}

/// What must be known at a segment's end to go on in the next one: a few hundred bytes, enough to check the record that
/// crosses and the link of the next. Can be stored as a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carry {
    /// Where the next segment starts.
    pub lsn: Lsn,
    /// What every page must say.
    pub shape: Shape,
    /// Timeline of the last page.
    pub timeline: u32,
    /// Start of the last complete record, for the next one's link. `None` when no record was seen.
    pub last_record: Option<Lsn>,
    /// How the segment's end is crossed.
    crossing: Crossing,
}

/// What crosses a segment's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Crossing {
    /// Nothing: a record ends at the end, or a switch.
    Nothing,
    /// This record.
    Record(Pending),
    /// So many bytes of a record that was begun before anything that was read.
    Unknown(u32),
}

/// A record that is being read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    start: Lsn,
    /// Bytes read so far, of the header and the body.
    gathered: u32,
    header: [u8; HEADER_LEN],
    crc: RecordCrc,
    /// The beginning of the body, as much as its kind is read from.
    kept: Vec<u8>,
}

impl Pending {
    fn total_len(&self) -> u32 {
        self.header.first_chunk().map_or(0, |len| u32::from_le_bytes(*len))
    }
}

/// Where in the grammar the next byte stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Before the first page.
    First,
    /// In the rest of a record begun before anything that was read. Its last 8 bytes at most are kept.
    Head { left: u32, short: Option<Vec<u8>> },
    /// Where a record starts, or in the padding before it.
    Between,
    /// Within a record.
    Within(Pending),
    /// Behind an XLOG_SWITCH, up to the end of the segment.
    Unused,
    /// Page headers only. `zero`: since a page without header (the tail behind a switch) only zeros may follow.
    Headers { zero: bool },
    /// Behind the end of the WAL.
    Stopped,
}

/// The reader of one stretch of WAL.
#[derive(Debug, Clone)]
pub struct Decoder {
    rules: Rules,
    shape: Option<Shape>,
    version: PgVersion,
    /// LSN of the next byte.
    at: u64,
    /// Bytes of the current page behind `at`; 0 at a page's start.
    page_left: u32,
    phase: Phase,
    timeline: u32,
    last_record: Option<Lsn>,
    /// The first record read must be an OVERWRITE_CONTRECORD, of this record where it is known.
    overwrite: Option<Option<Lsn>>,
    /// A page header that is being gathered.
    partial: Vec<u8>,
    failed: Option<WalFault>,
    /// The page header that was refused.
    refused: Option<PageHeader>,
    head_len: u64,
    /// The head may have been the rest of an XLOG_SWITCH, and no record followed yet.
    head_switched: bool,
    odd_len: u64,
    odd_at: Option<Lsn>,
    first_timeline: u32,
}

impl Decoder {
    /// At the start of a segment, knowing nothing of what lies before it.
    pub fn new(rules: Rules) -> Self {
        Decoder {
            rules,
            shape: None,
            version: PgVersion::NEWEST,
            at: rules.start.0,
            page_left: 0,
            phase: Phase::First,
            timeline: 0,
            last_record: None,
            overwrite: None,
            partial: Vec::with_capacity(page::LONG_LEN),
            failed: None,
            refused: None,
            head_len: 0,
            head_switched: false,
            odd_len: 0,
            odd_at: None,
            first_timeline: 0,
        }
    }

    /// At the start of a segment, with what the one before it left.
    pub fn resume(rules: Rules, carry: &Carry) -> Self {
        let mut decoder = Decoder::new(rules);
        decoder.version = carry.shape.version();
        decoder.shape = Some(carry.shape);
        decoder.timeline = carry.timeline;
        decoder.last_record = carry.last_record;
        decoder.phase = match &carry.crossing {
            _ if !rules.records => Phase::Headers { zero: false },
            Crossing::Nothing => Phase::Between,
            Crossing::Record(pending) => Phase::Within(pending.clone()),
            Crossing::Unknown(left) => Phase::Head { left: *left, short: None },
        };
        decoder
    }

    /// LSN of the next byte that it wants.
    pub fn position(&self) -> Lsn {
        Lsn(self.at)
    }

    /// What the first page said, once it was read.
    pub fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// Timelines of the first and the last page read; 0 before the first.
    pub fn timelines(&self) -> (u32, u32) {
        (self.first_timeline, self.timeline)
    }

    /// Start of the last complete record.
    pub fn last_record(&self) -> Option<Lsn> {
        self.last_record
    }

    /// Bytes at the start that could not be checked, since they belong to a record begun before what was read.
    pub fn unchecked_head(&self) -> u64 {
        self.head_len
    }

    /// Bytes of the record that is not complete yet, as far as they were read: its CRC stands open.
    pub fn unchecked_tail(&self) -> u64 {
        match &self.phase {
            Phase::Within(pending) => u64::from(pending.gathered),
            _ => 0,
        }
    }

    /// Bytes that no checksum covers and that are not zero as every server writes them (padding, unused header fields,
    /// what lies behind a switch), and where the first is.
    pub fn odd(&self) -> (u64, Option<Lsn>) {
        (self.odd_len, self.odd_at)
    }

    /// The page header that the last fault is about.
    pub fn refused_page(&self) -> Option<&PageHeader> {
        self.refused.as_ref()
    }

    /// Start of the record that is not complete yet; with `Some(None)` it started before anything that was read.
    pub fn pending(&self) -> Option<Option<Lsn>> {
        match &self.phase {
            Phase::Head { .. } => Some(None),
            Phase::Within(pending) => Some(Some(pending.start)),
            _ => None,
        }
    }

    /// The header of the record that is not complete yet, when all of it was read.
    pub fn pending_header(&self) -> Option<RecordHeader> {
        match &self.phase {
            Phase::Within(pending) if pending.gathered as usize >= HEADER_LEN => {
                Some(RecordHeader::parse(&pending.header))
            }
            _ => None,
        }
    }

    /// An XLOG_SWITCH was the last record, and the segment has not ended since.
    pub fn is_behind_switch(&self) -> bool {
        matches!(self.phase, Phase::Unused)
    }

    /// What the next segment's decoder must know. `None` anywhere but at the end of a segment that was read with its
    /// records and without a fault.
    pub fn carry(&self) -> Option<Carry> {
        let shape = self.shape.filter(|_| self.failed.is_none())?;
        let crossing = match &self.phase {
            Phase::Between | Phase::Unused => Crossing::Nothing,
            Phase::Within(pending) => Crossing::Record(pending.clone()),
            Phase::Head { left, .. } => Crossing::Unknown(*left),
            Phase::First | Phase::Headers { .. } | Phase::Stopped => return None,
        };
        let at_end =
            self.page_left == 0 && self.partial.is_empty() && self.at.is_multiple_of(u64::from(shape.segment_size));
        at_end.then_some(Carry {
            lsn: Lsn(self.at),
            shape,
            timeline: self.timeline,
            last_record: self.last_record,
            crossing,
        })
    }

    /// Reads over whole records that say nothing of the log itself ([`Kind::Other`]), as far as they lie at hand and on
    /// this page: how many, and where the first one starts. What is special in any way, and what is wrong, is left to
    /// [`Decoder::step`]. Most WAL is such records, of a hundred bytes each: telling of each costs more than checking it.
    pub fn skim(&mut self, input: &mut &[u8]) -> (u64, Option<Lsn>) {
        let (mut count, mut first) = (0, None);
        let plain = matches!(self.phase, Phase::Between) && self.overwrite.is_none() && !self.rules.blocks;
        if !plain || self.failed.is_some() {
            return (count, first);
        }
        loop {
            let padding = (self.at.wrapping_neg() & 7) as usize;
            let Some((pad, rest)) = input.split_at_checked(padding) else { break };
            let Some(room) = (self.page_left as usize).checked_sub(padding) else { break };
            let Some(bytes) = rest.first_chunk::<HEADER_LEN>() else { break };
            let header = RecordHeader::parse(bytes);
            let start = Lsn(self.at.wrapping_add(padding as u64));
            let total = header.total_len as usize;
            let fits = (HEADER_LEN..=room).contains(&total) && pad.iter().all(|byte| *byte == 0);
            let Some((record, behind)) = rest.split_at_checked(total).filter(|_| fits) else { break };
            if header.kept() > 0 || self.check_header(&header, start).is_err() {
                break;
            }
            let mut crc = RecordCrc::new();
            crc.body(record.get(HEADER_LEN..).unwrap_or_default());
            if crc.finish(bytes) != header.crc {
                break;
            }
            first = first.or(Some(start));
            count += 1;
            self.last_record = Some(start);
            self.head_switched = false;
            self.at = start.0.wrapping_add(total as u64);
            self.page_left -= (padding + total) as u32; // checked: both fit into what is left of the page
            *input = behind;
        }
        (count, first)
    }

    /// Takes bytes off the front of `input` up to the next thing worth telling. After a fault or the end of the WAL it
    /// takes nothing more: the fault is returned again, and the end is an end.
    pub fn step(&mut self, input: &mut &[u8]) -> Result<Step, WalFault> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        let result = self.advance(input);
        if let Err(fault) = &result {
            self.failed = Some(fault.clone());
        }
        result
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Step, WalFault> {
        loop {
            if let Phase::Stopped = self.phase {
                return Ok(Step::EndOfWal { at: Lsn(self.at) });
            }
            if self.page_left == 0 {
                if !self.page_header(input)? {
                    return Ok(Step::NeedMore);
                }
                continue;
            }
            if input.is_empty() {
                return Ok(Step::NeedMore);
            }
            match &mut self.phase {
                Phase::Between => {
                    if let Some(step) = self.between(input)? {
                        return Ok(step);
                    }
                }
                Phase::Within(_) => {
                    if let Some(step) = self.within(input)? {
                        return Ok(step);
                    }
                }
                Phase::Head { .. } => self.head(input),
                Phase::Unused => {
                    let len = self.page_left;
                    self.take_zeros(input, len);
                }
                Phase::Headers { zero: false } => drop(self.take(input, self.page_left)),
                Phase::Headers { zero: true } => {
                    let len = self.page_left;
                    self.take_zeros(input, len);
                }
                Phase::First | Phase::Stopped => return Err(self.fault(FaultKind::Page, "no page begins here".into())),
            }
        }
    }

    fn fault(&self, kind: FaultKind, what: String) -> WalFault {
        WalFault { kind, lsn: Lsn(self.at), what }
    }

    /// Takes at most `len` bytes of the current page.
    fn take<'a>(&mut self, input: &mut &'a [u8], len: u32) -> &'a [u8] {
        let len = input.len().min(len as usize).min(self.page_left as usize);
        let (now, later) = input.split_at(len);
        *input = later;
        self.at = self.at.wrapping_add(len as u64);
        self.page_left -= len as u32; // checked: at most page_left
        now
    }

    /// Takes at most `len` bytes that should be zero, and counts those that are not.
    fn take_zeros(&mut self, input: &mut &[u8], len: u32) {
        let from = self.at;
        let bytes = self.take(input, len);
        self.count_odd(from, bytes);
    }

    fn count_odd(&mut self, from: u64, bytes: &[u8]) {
        if is_zero(bytes) {
            return;
        }
        for (at, byte) in (0u64..).zip(bytes) {
            if *byte != 0 {
                self.odd_len += 1;
                self.odd_at.get_or_insert(Lsn(from.wrapping_add(at)));
            }
        }
    }

    /// Gathers and judges the header of the page at `at`. `false`: more input is needed.
    fn page_header(&mut self, input: &mut &[u8]) -> Result<bool, WalFault> {
        // Straight from the input where it is whole there, else by way of `partial`.
        let header = if self.partial.is_empty() { PageHeader::parse(input) } else { None };
        let (header, len) = match header {
            Some(header) => {
                let len = if header.is(page::LONG) { page::LONG_LEN } else { page::SHORT_LEN };
                *input = input.get(len..).unwrap_or_default();
                (header, len)
            }
            None => loop {
                if let Some(header) = PageHeader::parse(&self.partial) {
                    let len = self.partial.len();
                    self.partial.clear();
                    break (header, len);
                }
                let Some((byte, rest)) = input.split_first() else { return Ok(false) };
                self.partial.push(*byte);
                *input = rest;
            },
        };
        if let Err(fault) = self.enter_page(&header) {
            self.refused = Some(header);
            return Err(fault);
        }
        let page_size = self.shape.map_or(0, |shape| shape.page_size);
        self.at = self.at.wrapping_add(len as u64); // the last segment ends at 2^64
        self.page_left = page_size.saturating_sub(len as u32);
        Ok(true)
    }

    /// Judges a page header against its place and what came before.
    fn enter_page(&mut self, header: &PageHeader) -> Result<(), WalFault> {
        let at_segment_start = match self.shape {
            None => true,
            Some(shape) => self.at.is_multiple_of(u64::from(shape.segment_size)),
        };
        if at_segment_start && let Phase::Unused = self.phase {
            self.phase = Phase::Between;
        }
        if let Phase::Unused = self.phase {
            self.unused_page(header);
            return Ok(());
        }
        if let Phase::Headers { zero } = &mut self.phase
            && !at_segment_start
        {
            // The tail behind a switch is judged by zeros alone, since no record says that there was one.
            let is_zero = is_zero(&header.to_bytes());
            if is_zero {
                *zero = true;
                return Ok(());
            }
            if *zero {
                return Err(self.fault(FaultKind::Page, "a page with content behind pages of zeros".into()));
            }
        }
        let shape = match self.shape {
            None => {
                let shape = self.first_page(header)?;
                self.shape = Some(shape);
                self.version = shape.version();
                self.first_timeline = header.timeline;
                shape
            }
            Some(shape) => {
                if header.magic != shape.magic {
                    let what = if is_zero(&header.to_bytes()) {
                        "a page of zeros where the WAL should go on".to_owned()
                    } else {
                        format!("the page's magic is {:04X}, the first page's {:04X}", header.magic, shape.magic)
                    };
                    return Err(self.fault(FaultKind::Page, what));
                }
                shape
            }
        };
        if self.first_timeline == 0 {
            self.first_timeline = header.timeline;
        }
        let known_flags = if self.version == PgVersion::OLDEST { 0x0007 } else { 0x000F };
        if header.info & !known_flags != 0 {
            return Err(self.fault(FaultKind::Page, format!("unknown flags in a page header: {:04X}", header.info)));
        }
        if header.is(page::LONG) != at_segment_start {
            let what = if at_segment_start {
                "no long header on the first page of a segment"
            } else {
                "a long header in the middle of a segment"
            };
            return Err(self.fault(FaultKind::Page, what.into()));
        }
        if let Some(long) = &header.long {
            self.check_long(long, &shape)?;
        }
        if header.address.0 != self.at {
            return Err(self.wrong_address(header, at_segment_start, &shape));
        }
        if header.timeline < self.timeline {
            let what = format!("a page of timeline {} behind one of {}", header.timeline, self.timeline);
            return Err(self.fault(FaultKind::Page, what));
        }
        if header.timeline > self.rules.timeline.get() || header.timeline == 0 {
            let what = format!("a page of timeline {} in a file of {}", header.timeline, self.rules.timeline);
            return Err(self.fault(FaultKind::Foreign, what));
        }
        self.timeline = header.timeline;
        if header.padding != 0 {
            let from = self.at + 20;
            self.count_odd(from, &header.padding.to_le_bytes());
        }
        if !header.is(page::CONTINUED) && header.remaining != 0 {
            let from = self.at + 16;
            self.count_odd(from, &header.remaining.to_le_bytes());
        }
        self.join(header)
    }

    /// What the page goes on with must be what the one before it left open.
    fn join(&mut self, header: &PageHeader) -> Result<(), WalFault> {
        let (continued, overwrite) = (header.is(page::CONTINUED), header.is(page::OVERWRITE));
        if continued && header.remaining == 0 {
            return Err(self.fault(FaultKind::Page, "a page that continues a record by 0 bytes".into()));
        }
        let wrong_rest =
            |want: u32| format!("a page continues a record by {} bytes, {want} are left", header.remaining);
        match &mut self.phase {
            Phase::First if !self.rules.records => self.phase = Phase::Headers { zero: false },
            Phase::First if continued => {
                let short = (header.remaining <= 16).then(Vec::new);
                self.phase = Phase::Head { left: header.remaining, short };
            }
            Phase::First => {
                self.phase = Phase::Between;
                self.overwrite = overwrite.then_some(None);
            }
            Phase::Headers { .. } => {}
            Phase::Head { .. } | Phase::Within(_) if overwrite && !continued => {
                let abandoned = self.pending().flatten();
                self.overwrite = Some(abandoned);
                self.phase = Phase::Between;
            }
            Phase::Head { .. } | Phase::Within(_) if !continued => {
                let what = match self.pending().flatten() {
                    Some(start) => format!("the record at {start} is not continued on this page"),
                    None => "the record of an earlier segment is not continued on this page".to_owned(),
                };
                return Err(self.fault(FaultKind::Page, what));
            }
            Phase::Head { left, .. } if header.remaining != *left => {
                let what = wrong_rest(*left);
                return Err(self.fault(FaultKind::Page, what));
            }
            Phase::Head { .. } => {}
            Phase::Within(pending) => {
                let left = pending.total_len().saturating_sub(pending.gathered);
                if header.remaining != left {
                    let what = wrong_rest(left);
                    return Err(self.fault(FaultKind::Page, what));
                }
            }
            Phase::Between if continued => {
                return Err(self.fault(FaultKind::Page, "a page continues a record, but none is open".into()));
            }
            Phase::Between if overwrite && self.last_record.is_some() => {
                return Err(self.fault(FaultKind::Page, "a page overwrites a record, but none is open".into()));
            }
            Phase::Between | Phase::Unused | Phase::Stopped => {}
        }
        Ok(())
    }

    /// The first page: is this WAL, of a version we know, of the place and cluster expected?
    fn first_page(&mut self, header: &PageHeader) -> Result<Shape, WalFault> {
        if PgVersion::from_page_magic(header.magic).is_none_or(|version| version < PgVersion::OLDEST) {
            return Err(self.unknown_magic(header));
        }
        let Some(long) = header.long else {
            return Err(self.fault(FaultKind::Page, "no long header on the first page of a segment".into()));
        };
        let size = SegmentSize::new(u64::from(long.segment_size)).ok_or_else(|| {
            self.fault(FaultKind::Page, format!("the first page states a segment size of {} bytes", long.segment_size))
        })?;
        if !long.page_size.is_power_of_two() || !(1024..=65536).contains(&long.page_size) {
            let what = format!("the first page states a page size of {} bytes", long.page_size);
            return Err(self.fault(FaultKind::Page, what));
        }
        let shape = Shape {
            magic: header.magic,
            segment_size: long.segment_size,
            page_size: long.page_size,
            system: long.system,
        };
        if let Some(expected) = self.rules.system
            && expected != long.system
        {
            let what = format!("the segment is of the cluster with system identifier {}, not {expected}", long.system);
            return Err(self.fault(FaultKind::Foreign, what));
        }
        if let Some(expected) = self.rules.size
            && expected != size
        {
            let what = format!("the segment is of a cluster with segments of {size}, not {expected}");
            return Err(self.fault(FaultKind::Foreign, what));
        }
        Ok(shape)
    }

    fn wrong_address(&self, header: &PageHeader, at_segment_start: bool, shape: &Shape) -> WalFault {
        let address = header.address;
        let size = SegmentSize::new(u64::from(shape.segment_size));
        let other = size
            .filter(|size| at_segment_start && address.offset_in_segment(*size) == 0)
            .and_then(|size| address.segment(size).name(TimelineId::new(header.timeline)?, size));
        match other {
            Some(name) => {
                let what = format!("the segment says that it starts at {address}, which is {name}");
                self.fault(FaultKind::Foreign, what)
            }
            None => self.fault(FaultKind::Page, format!("the page says that it belongs at {address}")),
        }
    }

    fn unknown_magic(&self, header: &PageHeader) -> WalFault {
        let PageHeader { magic, address, info, .. } = *header;
        let swapped = PgVersion::from_page_magic(magic.swap_bytes());
        let plausible = (0xD000..0xE000).contains(&magic) && address.0 == self.at && info <= 0x00FF;
        let old = PgVersion::from_page_magic(magic);
        if let Some(version) = old {
            let what = format!("WAL of PostgreSQL {version} (page magic {magic:04X}), read are 9.5 and later");
            self.fault(FaultKind::Version, what)
        } else if let Some(version) = swapped.filter(|_| address.0.swap_bytes() % 1024 == 0) {
            let what = format!("WAL of PostgreSQL {version} from a big-endian machine, which is not read");
            self.fault(FaultKind::Endian, what)
        } else if plausible {
            let newest = PgVersion::NEWEST;
            let what =
                format!("WAL with page magic {magic:04X}, of a version not supported; known are 9.5 to {newest}");
            self.fault(FaultKind::Version, what)
        } else if is_zero(&header.to_bytes()) {
            self.fault(FaultKind::NotWal, "no WAL but zeros".into())
        } else {
            self.fault(FaultKind::NotWal, format!("no WAL: the first page's magic would be {magic:04X}"))
        }
    }

    fn check_long(&self, long: &LongHeader, shape: &Shape) -> Result<(), WalFault> {
        if long.system != shape.system {
            let what =
                format!("the segment is of the cluster with system identifier {}, not {}", long.system, shape.system);
            return Err(self.fault(FaultKind::Foreign, what));
        }
        if (long.segment_size, long.page_size) != (shape.segment_size, shape.page_size) {
            let what = format!(
                "the first page states segments of {} and pages of {} bytes, the segment before {} and {}",
                long.segment_size, long.page_size, shape.segment_size, shape.page_size
            );
            return Err(self.fault(FaultKind::Foreign, what));
        }
        Ok(())
    }

    /// The header of a page behind a switch, which nobody reads: zeros from 11 on, a plain header before.
    fn unused_page(&mut self, header: &PageHeader) {
        let mut expected = [0; page::LONG_LEN];
        if !self.version.is_at_least(11) {
            if (self.timeline..=self.rules.timeline.get()).contains(&header.timeline) {
                self.timeline = header.timeline;
            }
            let bare = PageHeader {
                magic: self.shape.map_or(0, |shape| shape.magic),
                info: header.info & page::REMOVABLE,
                timeline: self.timeline,
                address: Lsn(self.at),
                remaining: 0,
                padding: 0,
                long: None,
            };
            for (place, byte) in expected.iter_mut().zip(bare.to_bytes()) {
                *place = byte;
            }
        }
        let differences: Vec<u8> = header.to_bytes().iter().zip(expected).map(|(found, want)| found ^ want).collect();
        self.count_odd(self.at, &differences);
    }

    /// In a record whose beginning was never read.
    fn head(&mut self, input: &mut &[u8]) {
        let Phase::Head { left, .. } = self.phase else { return };
        let bytes = self.take(input, left);
        self.head_len += bytes.len() as u64;
        let Phase::Head { left, short } = &mut self.phase else { return };
        *left -= bytes.len() as u32; // checked: at most `left` were taken
        if let Some(short) = short {
            short.extend_from_slice(bytes);
        }
        if *left == 0 {
            // A record of which 8 or 16 bytes are left may be an XLOG_SWITCH; its last 8 are info, rmid, 2 zeros, CRC.
            let switched = short.as_ref().is_some_and(|short| {
                let info = short.len().checked_sub(8).and_then(|at| short.get(at..at + 4));
                info.is_some_and(|info| matches!(info, [info, 0, 0, 0] if info & 0xF0 == super::record::XLOG_SWITCH))
            });
            self.head_switched = switched;
            self.phase = Phase::Between;
        }
    }

    /// Padding, then the start of a record: in one go when all of it lies in the input and on the page.
    fn between(&mut self, input: &mut &[u8]) -> Result<Option<Step>, WalFault> {
        let padding = (self.at.wrapping_neg() & 7) as u32;
        if padding > 0 {
            self.take_zeros(input, padding);
            return Ok(None);
        }
        let start = Lsn(self.at);
        if let Some(header) = input.first_chunk::<HEADER_LEN>()
            && self.page_left as usize >= HEADER_LEN
        {
            let parsed = RecordHeader::parse(header);
            let total = parsed.total_len as usize;
            if let Some(record) = input.get(..total)
                && total >= HEADER_LEN
                && total <= self.page_left as usize
            {
                self.check_header(&parsed, start)?;
                let body = record.get(HEADER_LEN..).unwrap_or_default();
                let mut crc = RecordCrc::new();
                crc.body(body);
                let kept = body.get(..self.kept(&parsed)).unwrap_or(body);
                let step = self.complete(start, &parsed, header, crc, kept, total as u64)?;
                self.take(input, parsed.total_len);
                return Ok(Some(step));
            }
        }
        let pending = Pending { start, gathered: 0, header: [0; HEADER_LEN], crc: RecordCrc::new(), kept: Vec::new() };
        self.phase = Phase::Within(pending);
        Ok(None)
    }

    /// In a record: its header until that is whole, then its body.
    fn within(&mut self, input: &mut &[u8]) -> Result<Option<Step>, WalFault> {
        let Phase::Within(pending) = &self.phase else { return Ok(None) };
        let gathered = pending.gathered as usize;
        if gathered < HEADER_LEN {
            // The length alone first: it is on this page, and zero ends the WAL.
            let want = if gathered < 4 { 4 - gathered } else { HEADER_LEN - gathered };
            let bytes = self.take(input, want as u32);
            let Phase::Within(pending) = &mut self.phase else { return Ok(None) };
            for (place, byte) in pending.header.iter_mut().skip(gathered).zip(bytes) {
                *place = *byte;
            }
            pending.gathered += bytes.len() as u32;
            let (start, total) = (pending.start, pending.total_len());
            if pending.gathered == 4 {
                if total == 0 && self.head_switched {
                    self.phase = Phase::Unused;
                    return Ok(None);
                }
                if total == 0 {
                    self.phase = Phase::Stopped;
                    self.at = start.0;
                    return Ok(Some(Step::EndOfWal { at: start }));
                }
                if total < HEADER_LEN as u32 || total > MAX_LEN {
                    let what = format!("a record of {total} bytes");
                    return Err(WalFault { kind: FaultKind::Record, lsn: start, what });
                }
            }
            if (pending.gathered as usize) < HEADER_LEN {
                return Ok(None);
            }
            let parsed = RecordHeader::parse(&pending.header);
            self.check_header(&parsed, start)?;
        }
        let Phase::Within(pending) = &self.phase else { return Ok(None) };
        let parsed = RecordHeader::parse(&pending.header);
        let left = pending.total_len().saturating_sub(pending.gathered);
        let bytes = self.take(input, left);
        let wanted = self.kept(&parsed);
        let Phase::Within(pending) = &mut self.phase else { return Ok(None) };
        let room = wanted.saturating_sub(pending.kept.len());
        // Only what joins on: a carry may have been made by somebody who kept less.
        if HEADER_LEN + pending.kept.len() == pending.gathered as usize {
            pending.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
        pending.gathered += bytes.len() as u32;
        pending.crc.body(bytes);
        if pending.gathered < pending.total_len() {
            return Ok(None);
        }
        let Phase::Within(pending) = std::mem::replace(&mut self.phase, Phase::Between) else {
            return Ok(None);
        };
        self.complete(pending.start, &parsed, &pending.header, pending.crc, &pending.kept, 0).map(Some)
    }

    /// What a record's header alone can say.
    fn check_header(&self, header: &RecordHeader, start: Lsn) -> Result<(), WalFault> {
        let fault = |what: String| Err(WalFault { kind: FaultKind::Record, lsn: start, what });
        if !header.has_known_rmid(self.version) {
            return fault(format!(
                "a record of resource manager {}, which version {} has not",
                header.rmid, self.version
            ));
        }
        match self.last_record {
            Some(last) if header.prev != last => {
                fault(format!("the record says that {} comes before it, but {last} does", header.prev))
            }
            None if header.prev >= self.rules.start => {
                fault(format!("the first record of the segment says that {} comes before it", header.prev))
            }
            _ => Ok(()),
        }
    }

    /// The record is whole: its CRC, and what it means. `ahead`: its bytes that are not taken off the input yet.
    fn complete(
        &mut self,
        start: Lsn,
        header: &RecordHeader,
        bytes: &[u8; HEADER_LEN],
        crc: RecordCrc,
        kept: &[u8],
        ahead: u64,
    ) -> Result<Step, WalFault> {
        let fault = |what: String| Err(WalFault { kind: FaultKind::Record, lsn: start, what });
        let computed = crc.finish(bytes);
        if computed != header.crc {
            return fault(format!("the record's CRC is {:08x}, computed {computed:08x}", header.crc));
        }
        let kind = Kind::parse(header, kept, self.version);
        if let Some(expected) = self.overwrite.take() {
            match kind {
                Kind::OverwriteContrecord { abandoned, .. } if expected.is_none_or(|lsn| lsn == abandoned) => {}
                Kind::OverwriteContrecord { abandoned, .. } => {
                    return fault(format!("the record overwrites the one at {abandoned}, but another was open"));
                }
                _ => return fault("the first record of a page that overwrites is of another kind".into()),
            }
        }
        self.last_record = Some(start);
        self.head_switched = false;
        self.phase = if header.is_switch() { Phase::Unused } else { Phase::Between };
        let behind = Lsn(self.at.wrapping_add(ahead));
        let end = behind.align8().unwrap_or(behind);
        let blocks = if self.rules.blocks { blocks::parse(header, kept, self.version) } else { None };
        Ok(Step::Record(Record { start, end, header: *header, kind, blocks }))
    }

    /// Bytes of a record's body to keep.
    fn kept(&self, header: &RecordHeader) -> usize {
        if self.rules.blocks { header.kept().max(KEPT_BLOCKS) } else { header.kept() }
    }
}

/// Whether all bytes are zero; fast, since whole segments can be.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let mut chunks = bytes.chunks_exact(64);
    chunks.all(|chunk| chunk.iter().fold(0, |any, byte| any | byte) == 0) && chunks.remainder().iter().all(|b| *b == 0)
}

#[cfg(test)]
pub(crate) mod tests;
