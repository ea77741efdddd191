//! The verdict on one segment.
//!
//! In: what the segment should be ([`Expect`]) and its bytes, cut anywhere. Out: a [`SegmentReport`], or the first
//! [`SegmentFault`] with its LSN and byte offset. Needs a few hundred bytes of memory whatever the segment's size.
//! Never: calls a segment whole that PostgreSQL would take for the end of the WAL; calls an unknown version damaged.
//!
//! PostgreSQL reads a full-named file from the archive up to its first record that is not valid and takes that for the
//! end of the WAL, without a word. So a file of 24 digits must end in one of three ways: full (a record ends at its
//! end), continued (a record goes on in the next segment), or behind an XLOG_SWITCH. Only a `.partial` may just stop.
//! What cannot be checked from one segment alone is said: the head that belongs to a record begun before it.

use super::decoder::{Carry, Decoder, Rules, Step, WalFault};
use super::page::{self, PageHeader};
use super::record::{Kind, Record};
use crate::error::{Code, Error};
use crate::pg::version::PgVersion;
use crate::pg::{Lsn, SegmentName, SegmentSize, SystemId};
use std::fmt;

pub use super::decoder::FaultKind;

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Level {
    /// The exact size, and no other cluster's segment where the first page can be read.
    None,
    /// Every page says that it belongs where it is.
    Headers,
    /// And every record is whole and follows the one before it.
    #[default]
    Records,
}

/// What a segment should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// Its name.
    pub file: SegmentName,
    /// Its size, where it is known; else the segment's own word is taken.
    pub size: Option<SegmentSize>,
    /// Its cluster, where it is known.
    pub system: Option<SystemId>,
    /// How closely to look.
    pub level: Level,
    /// It is stored as `.partial`: the WAL may end within it.
    pub partial: bool,
    /// Say which pages each record is about, to whoever watches the records ([`SegmentCheck::push_with`]).
    pub blocks: bool,
}

impl Expect {
    /// A whole segment of this name, of any cluster and size, looked at as closely as possible.
    pub fn new(file: SegmentName) -> Self {
        Expect { file, size: None, system: None, level: Level::Records, partial: false, blocks: false }
    }
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A record ends where the segment does.
    Full,
    /// A record goes on in the next segment.
    Continues {
        /// Where it starts; `None` when that is before this segment.
        record: Option<Lsn>,
    },
    /// Behind an XLOG_SWITCH nothing is used.
    Switch,
    /// The WAL ends within the segment (`.partial` only).
    Early {
        /// The first byte that no complete record covers.
        at: Lsn,
    },
    /// Not looked at, at this level.
    NotRead,
}

/// What a good segment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its name.
    pub file: SegmentName,
    /// Its size.
    pub size: SegmentSize,
    /// LSN of its first byte.
    pub start: Lsn,
    /// Its cluster. `None` only where [`Level::None`] could not read the first page; so are the next two.
    pub system: Option<SystemId>,
    /// Magic of its pages.
    pub magic: Option<u16>,
    /// The major version that wrote it.
    pub version: Option<PgVersion>,
    /// Timelines of the first and the last page that were read. Lower than the name's at the start of a timeline.
    pub timelines: (u32, u32),
    /// Start of the first record that starts in it.
    pub first_record: Option<Lsn>,
    /// Start of the last complete record.
    pub last_record: Option<Lsn>,
    /// Records that end in it and were checked.
    pub records: u64,
    /// How it ends.
    pub end: End,
    /// Bytes at its start that belong to a record begun before it and could not be checked.
    pub unchecked_head: u64,
    /// Bytes at its end of a record that goes on in the next segment: its CRC could not be checked yet.
    pub unchecked_tail: u64,
    /// Bytes that no checksum covers (padding, unused header fields, behind a switch) and that are not zero, as every
    /// server writes them. PostgreSQL ignores them; a sign of damage nevertheless.
    pub odd_bytes: u64,
    /// Where the first of them is.
    pub odd_at: Option<Lsn>,
    /// What the check of the next segment needs to leave nothing unchecked. With [`Level::Records`] only.
    pub carry: Option<Carry>,
}

/// Why a segment is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFault {
    /// What sort of wrong.
    pub kind: FaultKind,
    /// Which file.
    pub file: SegmentName,
    /// The first byte of the page or record that is wrong; start or end of the segment for its size.
    pub lsn: Lsn,
    /// The same place as an offset in the file.
    pub offset: u64,
    /// One clause: `the record's CRC is 0a1b2c3d, computed 00000000`.
    pub what: String,
}

impl fmt::Display for SegmentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WAL segment {}: {}, at {} (byte {})", self.file, self.what, self.lsn, self.offset)
    }
}

impl std::error::Error for SegmentFault {}

impl From<SegmentFault> for Error {
    fn from(fault: SegmentFault) -> Self {
        let error = |code| Error::new(code, fault.to_string());
        match fault.kind {
            FaultKind::Foreign => error(Code::DamagedForeign),
            FaultKind::Version | FaultKind::Endian => error(Code::DamagedCodec).hint(
                "The segment may be good: a server of its version can read it. `--check none` delivers it unread.",
            ),
            FaultKind::Size | FaultKind::NotWal | FaultKind::Page | FaultKind::Record | FaultKind::NotWhole => {
                error(Code::DamagedSegment)
            }
        }
    }
}

/// Judges one segment as its bytes come in.
#[derive(Debug)]
pub struct SegmentCheck {
    expect: Expect,
    before: Option<Carry>,
    stage: Stage,
    /// Bytes that came in so far.
    seen: u64,
    size: SegmentSize,
    start: Lsn,
    first_record: Option<Lsn>,
    records: u64,
    /// A record said that the timeline of the name begins.
    begun: bool,
    failed: Option<SegmentFault>,
}

#[derive(Debug)]
enum Stage {
    /// Gathering the first page's header, which says the size and so the place.
    Front(Vec<u8>),
    /// Counting only; what the first page said, if it could be read.
    Counting(Option<PageHeader>),
    /// Reading.
    Reading(Box<Decoder>),
    /// Behind the place where reading stopped: is it damage, or the end of the WAL?
    Behind(Box<Behind>),
    /// The first page's magic is of no known version: is the second one's, too?
    Strange(Box<Strange>),
}

/// A first page of a version that nobody knows, until the second page says whether that is the segment's version or a
/// flipped bit.
#[derive(Debug)]
struct Strange {
    fault: WalFault,
    magic: u16,
    page_size: u64,
    /// The first 16 bytes of the second page, as far as they are known.
    second: Vec<u8>,
}

impl Strange {
    fn new(fault: WalFault, front: &PageHeader) -> Self {
        let stated = front.long.map(|long| long.page_size).filter(|size| size.is_power_of_two());
        let page_size = u64::from(stated.filter(|size| (1024..=65536).contains(size)).unwrap_or(8192));
        Strange { fault, magic: front.magic, page_size, second: Vec::new() }
    }

    /// Looks at bytes from this offset in the segment on. `Some` is the last word.
    fn look(&mut self, offset: u64, bytes: &[u8]) -> Option<WalFault> {
        let from = (self.page_size + self.second.len() as u64).checked_sub(offset)?;
        let bytes = usize::try_from(from).ok().and_then(|from| bytes.get(from..))?;
        let missing = 16usize.saturating_sub(self.second.len());
        self.second.extend_from_slice(bytes.get(..missing).unwrap_or(bytes));
        let (Some([m0, m1]), Some(address)) = (
            self.second.first_chunk::<2>().copied(),
            self.second.get(8..).and_then(|address| address.first_chunk::<8>()),
        ) else {
            return None;
        };
        let second = u16::from_le_bytes([m0, m1]);
        let known = PgVersion::from_page_magic(second).is_some_and(|version| version >= PgVersion::OLDEST);
        let here = Some(u64::from_le_bytes(*address)) == self.fault.lsn.0.checked_add(self.page_size);
        let mut fault = self.fault.clone();
        if known && here {
            fault.kind = FaultKind::Page;
            fault.what = format!("the first page's magic is {:04X}, the second's {second:04X}", self.magic);
        }
        Some(fault)
    }
}

impl SegmentCheck {
    /// For one segment, knowing nothing of the one before it.
    pub fn new(expect: Expect) -> Self {
        SegmentCheck {
            expect,
            before: None,
            stage: Stage::Front(Vec::with_capacity(page::LONG_LEN)),
            seen: 0,
            size: expect.size.unwrap_or(SegmentSize::DEFAULT),
            start: Lsn::ZERO,
            first_record: None,
            records: 0,
            begun: false,
            failed: None,
        }
    }

    /// For the segment behind one that was checked: also the record that crosses and the link are checked, and that it
    /// is the next one. A later timeline of the same history may follow.
    pub fn after(expect: Expect, before: Carry) -> Self {
        SegmentCheck { before: Some(before), ..SegmentCheck::new(expect) }
    }

    /// The next bytes. Faults that concern the whole segment (another cluster, not WAL, too long) come at once; damage
    /// further on comes from [`Self::finish`], when what lies behind it was seen.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), SegmentFault> {
        self.push_telling(bytes, &mut |_| {})
    }

    /// [`Self::push`], and every record of a known kind is shown to `see`: all but [`Kind::Other`], which are most.
    pub fn push_telling(&mut self, bytes: &[u8], see: &mut impl FnMut(&Record)) -> Result<(), SegmentFault> {
        self.push_as::<true>(bytes, see)
    }

    /// [`Self::push`], and every complete record is shown to `see`, in order. What it saw counts only when
    /// [`Self::finish`] calls the segment good; a record that crossed into the segment is one of them.
    pub fn push_with(&mut self, bytes: &[u8], see: &mut impl FnMut(&Record)) -> Result<(), SegmentFault> {
        self.push_as::<false>(bytes, see)
    }

    fn push_as<const SKIM: bool>(&mut self, bytes: &[u8], see: &mut impl FnMut(&Record)) -> Result<(), SegmentFault> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        let result = self.take::<SKIM>(bytes, see);
        if let Err(fault) = &result {
            self.failed = Some(fault.clone());
        }
        result
    }

    fn take<const SKIM: bool>(&mut self, bytes: &[u8], see: &mut impl FnMut(&Record)) -> Result<(), SegmentFault> {
        let mut rest = bytes;
        if let Stage::Front(front) = &mut self.stage {
            let missing = page::LONG_LEN.saturating_sub(front.len()).min(rest.len());
            let (now, later) = rest.split_at(missing);
            front.extend_from_slice(now);
            rest = later;
            if front.len() < page::LONG_LEN {
                self.seen += now.len() as u64;
                return Ok(());
            }
            let front = std::mem::take(front);
            self.seen = 0;
            self.open(&front)?;
            self.read::<SKIM>(&front, see)?;
        }
        self.read::<SKIM>(rest, see)
    }

    /// The first page's header is there: where and how large is this, and what is to be done?
    fn open(&mut self, front: &[u8]) -> Result<(), SegmentFault> {
        let header = PageHeader::parse(front);
        let known = header.filter(|header| {
            PgVersion::from_page_magic(header.magic).is_some_and(|version| version >= PgVersion::OLDEST)
        });
        // Also where the version is unknown: then it is named for what it is, at its place.
        let stated = header
            .and_then(|header| header.long)
            .filter(|long| long.page_size.is_power_of_two())
            .and_then(|long| SegmentSize::new(long.segment_size.into()));
        let file = self.expect.file;
        let fallback =
            || if file.number(SegmentSize::DEFAULT).is_ok() { SegmentSize::DEFAULT } else { SegmentSize::MIN };
        self.size = self.expect.size.or(stated).unwrap_or_else(fallback);
        self.start = file.start(self.size).map_err(|_| {
            let what = format!("no segment of {} can have this name", self.size);
            self.fault(FaultKind::Foreign, Lsn::ZERO, what)
        })?;
        if self.expect.level == Level::None {
            self.stage = Stage::Counting(known.filter(|header| header.long.is_some()));
            if let Some(PageHeader { address, long: Some(long), .. }) = known {
                if let Some(expected) = self.expect.system.filter(|expected| *expected != long.system) {
                    let what = format!("it is of the cluster with system identifier {}, not {expected}", long.system);
                    return Err(self.fault(FaultKind::Foreign, self.start, what));
                }
                if address != self.start {
                    let what = format!("it says that it starts at {address}");
                    return Err(self.fault(FaultKind::Foreign, self.start, what));
                }
            }
            return Ok(());
        }
        let rules = Rules {
            start: self.start,
            timeline: file.timeline(),
            size: self.expect.size,
            system: self.expect.system,
            records: self.expect.level == Level::Records,
            blocks: self.expect.blocks,
        };
        let decoder = match &self.before {
            Some(carry) if carry.lsn != self.start => {
                let what = format!("the segment before it ends at {}", carry.lsn);
                return Err(self.fault(FaultKind::Foreign, self.start, what));
            }
            Some(carry) => Decoder::resume(rules, carry),
            None => Decoder::new(rules),
        };
        self.stage = Stage::Reading(Box::new(decoder));
        Ok(())
    }

    fn read<const SKIM: bool>(&mut self, bytes: &[u8], see: &mut impl FnMut(&Record)) -> Result<(), SegmentFault> {
        let room = self.size.bytes().saturating_sub(self.seen);
        let within = usize::try_from(room).ok().and_then(|room| bytes.get(..room)).unwrap_or(bytes);
        let too_long = within.len() < bytes.len();
        let mut rest = within;
        while !rest.is_empty() {
            let before = rest.len();
            if SKIM && let Stage::Reading(decoder) = &mut self.stage {
                let (count, first) = decoder.skim(&mut rest);
                self.records += count;
                self.first_record = self.first_record.or(first);
            }
            match &mut self.stage {
                Stage::Front(_) | Stage::Counting(_) => rest = &[],
                Stage::Reading(decoder) => match decoder.step(&mut rest) {
                    Ok(Step::NeedMore) => {}
                    Ok(Step::Record(record)) => {
                        self.records += 1;
                        if self.first_record.is_none() && record.start >= self.start {
                            self.first_record = Some(record.start);
                        }
                        if record.kind != Kind::Other {
                            self.begun |= record.kind.begins_timeline() == Some(self.expect.file.timeline().get());
                        }
                        see(&record);
                    }
                    Ok(Step::EndOfWal { at }) => {
                        let stop = Stop { at, fault: None };
                        let place = self.start.0.wrapping_add(self.seen + (before - rest.len()) as u64);
                        self.stage = Stage::Behind(Box::new(Behind::new(stop, decoder, place)));
                    }
                    Err(fault) => {
                        let whole = matches!(
                            fault.kind,
                            FaultKind::Foreign | FaultKind::NotWal | FaultKind::Version | FaultKind::Endian
                        );
                        let strange = decoder
                            .refused_page()
                            .filter(|_| fault.kind == FaultKind::Version)
                            .map(|front| Strange::new(fault.clone(), front));
                        if let Some(strange) = strange {
                            self.stage = Stage::Strange(Box::new(strange));
                        } else if whole || fault.lsn == self.start {
                            return Err(self.located(fault));
                        } else {
                            let place = self.start.0.wrapping_add(self.seen + (before - rest.len()) as u64);
                            let at = match decoder.pending() {
                                Some(record) => record.unwrap_or(self.start),
                                None => fault.lsn,
                            };
                            let stop = Stop { at, fault: Some(fault) };
                            self.stage = Stage::Behind(Box::new(Behind::new(stop, decoder, place)));
                        }
                    }
                },
                Stage::Behind(behind) => {
                    behind.look(rest);
                    rest = &[];
                }
                Stage::Strange(strange) => {
                    if let Some(fault) = strange.look(self.seen, rest) {
                        return Err(self.located(fault));
                    }
                    rest = &[];
                }
            }
            self.seen += (before - rest.len()) as u64;
        }
        if too_long {
            // What is wrong within comes first; only then the bytes behind it.
            self.judge()?;
            let end = Lsn(self.start.0.wrapping_add(self.size.bytes()));
            return Err(self.fault(FaultKind::Size, end, format!("longer than {}", self.size)));
        }
        Ok(())
    }

    /// No more bytes will come.
    pub fn finish(&mut self) -> Result<SegmentReport, SegmentFault> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        let result = self.conclude();
        if let Err(fault) = &result {
            self.failed = Some(fault.clone());
        }
        result
    }

    fn conclude(&mut self) -> Result<SegmentReport, SegmentFault> {
        if let Stage::Front(_) = self.stage {
            self.start = self.expect.file.start(self.size).unwrap_or(Lsn::ZERO);
            let what =
                if self.seen == 0 { "it is empty".to_owned() } else { format!("it has only {} bytes", self.seen) };
            return Err(self.fault(FaultKind::Size, self.start, what));
        }
        if self.seen < self.size.bytes() {
            let known = self.expect.size.is_some() || !matches!(self.stage, Stage::Counting(None));
            if known || SegmentSize::new(self.seen).is_none() {
                let end = Lsn(self.start.0.wrapping_add(self.seen));
                let what = format!("cut short: {} bytes of {}", self.seen, self.size.bytes());
                return Err(self.fault(FaultKind::Size, end, what));
            }
            // Nothing says the size but the bytes themselves.
            self.size = SegmentSize::new(self.seen).unwrap_or(self.size);
        }
        let end = self.judge()?;
        let mut report = SegmentReport {
            file: self.expect.file,
            size: self.size,
            start: self.start,
            system: None,
            magic: None,
            version: None,
            timelines: (0, 0),
            first_record: self.first_record,
            last_record: None,
            records: self.records,
            end,
            unchecked_head: 0,
            unchecked_tail: 0,
            odd_bytes: 0,
            odd_at: None,
            carry: None,
        };
        let decoder = match &self.stage {
            Stage::Reading(decoder) => decoder,
            Stage::Behind(behind) => &behind.decoder,
            Stage::Counting(Some(header)) => {
                report.system = header.long.map(|long| long.system);
                report.magic = Some(header.magic);
                report.version = PgVersion::from_page_magic(header.magic);
                report.timelines = (header.timeline, header.timeline);
                return Ok(report);
            }
            Stage::Counting(None) | Stage::Front(_) | Stage::Strange(_) => return Ok(report),
        };
        if let Some(shape) = decoder.shape() {
            report.system = Some(shape.system);
            report.magic = Some(shape.magic);
            report.version = Some(shape.version());
        }
        report.timelines = decoder.timelines();
        report.last_record = decoder.last_record().filter(|_| self.records > 0);
        report.unchecked_head = decoder.unchecked_head();
        // Of a record that was given up nothing goes on: how much of it had been gathered depends on how the input was cut.
        if matches!(report.end, End::Continues { .. }) {
            report.unchecked_tail = decoder.unchecked_tail();
        }
        (report.odd_bytes, report.odd_at) = decoder.odd();
        report.carry = decoder.carry();
        Ok(report)
    }

    /// How the segment ends, all its bytes seen.
    fn judge(&self) -> Result<End, SegmentFault> {
        let decoder = match &self.stage {
            Stage::Front(_) | Stage::Counting(_) => return Ok(End::NotRead),
            Stage::Strange(strange) => return Err(self.located(strange.fault.clone())),
            Stage::Behind(behind) => {
                let fault = behind.verdict();
                return match fault {
                    Err(fault) => Err(self.located(fault)),
                    Ok(_) if self.expect.partial => Ok(End::Early { at: behind.stop.at }),
                    Ok(fault) => Err(self.located(fault)),
                };
            }
            Stage::Reading(decoder) => decoder,
        };
        if self.expect.level != Level::Records {
            return Ok(End::NotRead);
        }
        let end = match decoder.pending() {
            Some(record) => End::Continues { record },
            None if decoder.is_behind_switch() => End::Switch,
            None => End::Full,
        };
        let (_, last) = decoder.timelines();
        let named = self.expect.file.timeline();
        if last < named.get() && !self.begun && !self.may_begin_behind(decoder) {
            let what = format!("every page is of timeline {last} or earlier, and no record begins timeline {named}");
            return Err(self.fault(FaultKind::Foreign, self.start, what));
        }
        Ok(end)
    }

    /// The record that crosses the segment's end may be the one that begins the timeline.
    fn may_begin_behind(&self, decoder: &Decoder) -> bool {
        match (decoder.pending(), decoder.pending_header()) {
            (Some(Some(_)), None) => true,
            (Some(Some(_)), Some(header)) => header.rmid == 0 && matches!(header.info & 0xF0, 0x00 | 0x90),
            _ => false,
        }
    }

    fn fault(&self, kind: FaultKind, lsn: Lsn, what: String) -> SegmentFault {
        self.located(WalFault { kind, lsn, what })
    }

    fn located(&self, fault: WalFault) -> SegmentFault {
        let WalFault { kind, lsn, what } = fault;
        SegmentFault { kind, file: self.expect.file, lsn, offset: lsn.0.wrapping_sub(self.start.0), what }
    }
}

/// Where and why reading stopped; without a fault, at a place where the WAL may end.
#[derive(Debug)]
struct Stop {
    at: Lsn,
    fault: Option<WalFault>,
}

/// Looks at what lies behind the place where reading stopped. Pages that belong where they are mean damage; zeros, or
/// pages of an older place that a recycled file still holds, mean that the WAL ends there.
#[derive(Debug)]
struct Behind {
    stop: Stop,
    decoder: Decoder,
    /// LSN of the next byte.
    place: u64,
    page_size: u64,
    magic: u16,
    zeros_only: bool,
    /// The first 16 bytes of a page that is being gathered.
    front: Vec<u8>,
    good_page: Option<Lsn>,
    old_page: Option<Lsn>,
}

impl Behind {
    fn new(stop: Stop, decoder: &Decoder, place: u64) -> Self {
        let (page_size, magic) = decoder.shape().map_or((8192, 0), |shape| (u64::from(shape.page_size), shape.magic));
        let mut behind = Behind {
            decoder: decoder.clone(),
            place,
            page_size,
            magic,
            zeros_only: stop.fault.is_none(),
            front: Vec::new(),
            good_page: None,
            old_page: None,
            stop,
        };
        if let Some(header) = decoder.refused_page() {
            behind.zeros_only = super::decoder::is_zero(&header.to_bytes());
            let page = behind.stop.fault.as_ref().map_or(behind.stop.at, |fault| fault.lsn);
            behind.weigh(header.magic, header.address, page);
        }
        behind
    }

    fn weigh(&mut self, magic: u16, address: Lsn, place: Lsn) {
        if magic != self.magic {
            return;
        }
        if address == place {
            self.good_page.get_or_insert(place);
        } else if address < place {
            self.old_page.get_or_insert(place);
        }
    }

    fn look(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let in_page = self.place % self.page_size;
            // Within a page's first 16 bytes they are gathered, behind them only looked at.
            let want = if in_page < 16 { 16 - in_page } else { self.page_size - in_page };
            let len = rest.len().min(want as usize);
            let (now, later) = rest.split_at(len);
            rest = later;
            self.zeros_only = self.zeros_only && super::decoder::is_zero(now);
            if in_page < 16 {
                if in_page == 0 {
                    self.front.clear();
                }
                self.front.extend_from_slice(now);
                if let (16, Some([m0, m1]), Some(address)) = (
                    self.front.len(),
                    self.front.first_chunk::<2>().copied(),
                    self.front.get(8..).and_then(|address| address.first_chunk::<8>()),
                ) {
                    let address = Lsn(u64::from_le_bytes(*address));
                    self.weigh(u16::from_le_bytes([m0, m1]), address, Lsn(self.place - in_page));
                }
            }
            self.place = self.place.wrapping_add(len as u64);
        }
    }

    /// `Err`: damage. `Ok`: the WAL ends here, and how a whole segment's fault would be worded.
    fn verdict(&self) -> Result<WalFault, WalFault> {
        let ends = |how: &str| {
            let what = match &self.stop.fault {
                Some(fault) => format!("the WAL ends here ({}); behind it {how}", fault.what),
                None => format!("the WAL ends here; behind it {how}"),
            };
            WalFault { kind: FaultKind::NotWhole, lsn: self.stop.at, what }
        };
        match (&self.stop.fault, self.good_page) {
            (Some(fault), Some(_)) => Err(fault.clone()),
            (None, Some(page)) => {
                let what = format!("no record where one must start, yet the page at {page} belongs here");
                Err(WalFault { kind: FaultKind::Record, lsn: self.stop.at, what })
            }
            _ if self.zeros_only => Ok(ends("are only zeros")),
            _ if self.old_page.is_some() => Ok(ends("are pages of an earlier use of the file")),
            (Some(fault), None) => Ok(fault.clone()),
            (None, None) => Ok(ends("are bytes that are no WAL")),
        }
    }
}

#[cfg(test)]
mod tests;
