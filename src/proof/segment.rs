//! One stored form of a segment, read once from its first byte to its last and judged.
//!
//! In: a store, one object, what it should be, how closely to look, and at [`Level::Records`] the [`Carry`] of the
//! segment before it. Out: [`Proven`]: a [`SegmentProof`], and what is wrong at the border to the segment before.
//! Never: calls damaged what could not be read here (the store, a codec, a key, a version that is not known), calls good
//! what was not read to its end, or holds more of it than a block of its codec.
//!
//! Reading, decoding and judging are one thread's work, block by block while it is in the cache; the store's ranges come
//! from the runtime. All functions here block: they are for threads that may.
//!
//! **Borders.** A segment that does not follow from the carry is judged once more by itself. If it is good alone, it is
//! the border that is wrong, and neither side can be told to be the damaged one: `segment.seam`. So the verdict on a
//! segment does not depend on where somebody began to read.

use super::facts::{Level, MAX_MARKS, Mark, MarkKind, Outcome, SegmentFacts, SegmentProof, Times};
use super::finding::FindingCode;
use crate::codec::sniff::{self, Format};
use crate::codec::{self, CodecError};
use crate::error::Error;
use crate::layout::Compression;
use crate::pg::{Lsn, SegmentName, SegmentSize};
use crate::pipeline::budget::Budget;
use crate::pipeline::digest::{Digest, Digesting};
use crate::pipeline::read::{Reading, Settings};
use crate::storage::{ObjectId, Store};
pub use crate::wal::border::{Broken, Joined};
use crate::wal::page::PageHeader;

use crate::wal::border::Joining;
use crate::wal::{self, Carry, End, Expect, FaultKind, Kind, Record, SegmentCheck, SegmentFault};
use std::sync::Arc;

/// Told stored bytes as they are read.
pub type Advance = Arc<dyn Fn(u64) + Send + Sync>;

/// Plain bytes that are judged at once: a block of lzop, which is still in the cache.
const PIECE: usize = 128 << 10;

/// Reads segments of one store.
#[derive(Clone)]
pub struct Reader {
    /// Where they are.
    pub store: Arc<dyn Store>,
    /// Stored bytes in flight, for all threads.
    pub budget: Budget,
    /// Told what was read.
    pub advance: Advance,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("store", &self.store).finish_non_exhaustive()
    }
}

/// What is to be read.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which segment it should be.
    pub name: SegmentName,
    /// It is stored as `.partial`: the WAL may end within it.
    pub partial: bool,
    /// Bytes of this archive's segments. `None`: its own word is taken.
    pub size: Option<SegmentSize>,
    /// The object.
    pub object: ObjectId,
    /// What its suffix promises.
    pub stored: Compression,
    /// How closely to look.
    pub level: Level,
    /// Give a digest of its content, to compare it with another stored form.
    pub digest: bool,
}

/// A segment that was read.
#[derive(Debug, Clone)]
pub struct Proven {
    /// What came of it.
    pub proof: SegmentProof,
    /// What is wrong at the border to the segment before it, where the carry was of the same cluster.
    pub seam: Option<Broken>,
    /// Of its plain bytes, where it was wanted and they could be read to the end.
    pub digest: Option<Digest>,
    /// The store could not be asked; the next object may fare the same.
    pub no_answer: bool,
    /// Stored bytes read.
    pub stored_bytes: u64,
}

/// How one pass over an object ended.
enum Pass {
    Good(Box<wal::SegmentReport>, Watch, ObjectId, Digest),
    /// The segment's own check.
    Fault(SegmentFault, Digest),
    Damaged(FindingCode, Option<Lsn>, String),
    Unknown(String),
    /// The store could not be asked.
    NoAnswer(String),
}

impl Reader {
    /// Reads one object and judges it. Must be called on a thread that may block, within a runtime.
    pub fn read(&self, wanted: &Wanted, carry: Option<&Carry>) -> Proven {
        let mut stored_bytes = 0;
        let mut pass =
            |expect: Expect, carry: Option<&Carry>| self.pass(wanted, expect, carry.cloned(), &mut stored_bytes);
        let expect = Expect {
            size: wanted.size,
            level: match wanted.level {
                Level::Names | Level::Decode => wal::Level::None,
                Level::Headers => wal::Level::Headers,
                Level::Records => wal::Level::Records,
            },
            partial: wanted.partial,
            ..Expect::new(wanted.name)
        };
        let mut seam = None;
        let mut chained = carry.is_some();
        let mut read = pass(expect, carry);
        if let (Pass::Fault(fault, _), Some(carry)) = (&read, carry) {
            let broken = Broken { lsn: fault.lsn, what: fault.what.clone() };
            chained = false;
            read = pass(expect, None);
            if let Pass::Good(report, ..) = &read
                && report.system == Some(carry.shape.system)
            {
                // In the decoder's own words, which do not depend on what lies behind.
                let border = self.border(wanted, carry.clone(), Lsn(carry.lsn.0));
                seam = Some(match border {
                    Border::Broken(broken) => broken,
                    _ => broken,
                });
            }
        }
        // Another size than this archive's: whole by its own word, or damaged after all?
        if let Pass::Fault(SegmentFault { kind: FaultKind::Foreign | FaultKind::Size, .. }, _) = &read
            && expect.size.is_some()
        {
            let other = pass(Expect { size: None, ..expect }, None);
            if let Pass::Good(report, ..) = &other
                && report.system.is_some()
            {
                (read, seam, chained) = (other, None, false);
            }
        }
        // Headers are looked at where no server reads, too: behind a switch. Who reads the records knows.
        if let Pass::Fault(..) = &read
            && wanted.level == Level::Headers
            && let Pass::Good(report, _, object, digest) = pass(Expect { level: wal::Level::Records, ..expect }, None)
        {
            read = Pass::Good(Box::new(as_headers(*report)), Watch::default(), object, digest);
        }
        let mut object = wanted.object.clone();
        let (mut digest, mut no_answer) = (None, false);
        let outcome = match read {
            Pass::Good(report, watch, seen, of) => {
                object = seen;
                digest = Some(of);
                Outcome::Good(Box::new(facts(*report, watch, chained)))
            }
            Pass::Fault(fault, of) => {
                digest = Some(of);
                judge(fault)
            }
            Pass::Damaged(code, lsn, what) => Outcome::Damaged { code, lsn, what },
            Pass::Unknown(what) => Outcome::Unknown { what },
            Pass::NoAnswer(what) => {
                no_answer = true;
                Outcome::Unknown { what }
            }
        };
        let digest = digest.filter(|_| wanted.digest);
        let proof = SegmentProof { name: wanted.name, object, level: wanted.level, outcome };
        Proven { proof, seam, digest, no_answer, stored_bytes }
    }

    fn pass(&self, wanted: &Wanted, expect: Expect, carry: Option<Carry>, stored_bytes: &mut u64) -> Pass {
        let Some(mut decoder) = codec::decoder(wanted.stored) else {
            return Pass::Unknown(format!("this build cannot decode .{} objects", wanted.stored));
        };
        let mut check = match carry {
            Some(carry) => SegmentCheck::after(expect, carry),
            None => SegmentCheck::new(expect),
        };
        let mut watch = Watch::default();
        let mut digest = wanted.digest.then(Digesting::new);
        let mut head = Vec::new();
        let mut plain = Vec::with_capacity(2 * PIECE);
        let mut plain_bytes = 0;
        let mut reading = self.start(wanted, Settings::default());
        let mut judge = |plain: &[u8], watch: &mut Watch| {
            if let Some(digest) = &mut digest {
                digest.push(plain);
            }
            check.push_telling(plain, &mut |record| watch.see(record))
        };
        while let Some(chunk) = reading.blocking_next() {
            *stored_bytes += chunk.bytes.len() as u64;
            (self.advance)(chunk.bytes.len() as u64);
            if head.len() < sniff::WANTED {
                head.extend_from_slice(chunk.bytes.get(..sniff::WANTED - head.len()).unwrap_or(&chunk.bytes));
            }
            let mut rest = &chunk.bytes[..];
            if wanted.stored == Compression::Plain {
                // As it is: a copy would cost as much as the check.
                if let Err(fault) = judge(std::mem::take(&mut rest), &mut watch) {
                    return faulty(wanted, fault, &head, Digesting::new().finish());
                }
            }
            while !rest.is_empty() {
                let before = plain.len();
                match decoder.decode(rest, &mut plain) {
                    Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
                    Err(error) => return undecodable(wanted, error, &head, plain_bytes),
                }
                plain_bytes += (plain.len() - before) as u64;
                if plain.len() >= PIECE {
                    if let Err(fault) = judge(&plain, &mut watch) {
                        return faulty(wanted, fault, &head, Digesting::new().finish());
                    }
                    plain.clear();
                }
            }
        }
        // First the store's word, then the container's: a cut connection must not be called damage.
        let done = match reading.blocking_finish() {
            Ok(done) => done,
            Err(error) => return Pass::NoAnswer(Error::from(error).chain()),
        };
        if let Err(error) = decoder.finish() {
            return undecodable(wanted, error, &head, plain_bytes);
        }
        let result = judge(&plain, &mut watch).and_then(|()| check.finish());
        let digest = digest.unwrap_or_default().finish();
        match result {
            Ok(report) => Pass::Good(Box::new(report), watch, done.object, digest),
            Err(fault) => faulty(wanted, fault, &head, digest),
        }
    }

    fn start(&self, wanted: &Wanted, settings: Settings) -> Reading {
        Reading::start(Arc::clone(&self.store), wanted.object.clone(), self.budget.clone(), settings)
    }

    /// Reads a segment that was found good by itself from the carry of the one before it, up to where nothing is open
    /// any more: until a record that starts at `own` or behind was checked. Only the beginning is asked for.
    pub fn border(&self, wanted: &Wanted, carry: Carry, own: Lsn) -> Border {
        let Some(mut codec) = codec::decoder(wanted.stored) else { return Border::Unknown("no codec".to_owned()) };
        let mut joining = Joining::new(&carry, wanted.name.timeline(), wanted.size, own);
        let mut reading = self.start(wanted, Settings { range_bytes: 256 << 10, requests: 2 });
        let mut plain = Vec::new();
        while let Some(chunk) = reading.blocking_next() {
            (self.advance)(chunk.bytes.len() as u64);
            let mut rest = &chunk.bytes[..];
            while !rest.is_empty() {
                plain.clear();
                match codec.decode(rest, &mut plain) {
                    Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
                    Err(error) => return Border::Unknown(error.to_string()),
                }
                match joining.push(&plain) {
                    Ok(None) => {}
                    Ok(Some(joined)) => return Border::Whole(joined),
                    Err(broken) => return Border::Broken(broken),
                }
            }
        }
        if let Err(error) = reading.blocking_finish() {
            return Border::Unknown(Error::from(error).chain());
        }
        match joining.finish() {
            Some(joined) => Border::Open(joined),
            None => Border::Unknown("it ended before its end".to_owned()),
        }
    }
}

/// What a border came to.
#[derive(Debug)]
pub enum Border {
    /// Nothing is open any more.
    Whole(Joined),
    /// The segment ended, and no record that starts behind the border was checked yet.
    Open(Joined),
    /// The two do not belong together.
    Broken(Broken),
    /// It could not be read again: why.
    Unknown(String),
}

/// Puts what crossed a border into the facts of the segment behind it, so that they are what they would be had it been
/// read behind the one before.
pub fn apply(joined: Joined, facts: &mut SegmentFacts) {
    // It was behind another version of the one before it: what crossed is counted.
    let counted = facts.chained && facts.unchecked_head == 0;
    facts.chained = true;
    facts.unchecked_head = joined.unchecked_head;
    if let Some(carry) = joined.carry {
        facts.carry = Some(Box::new(carry));
    }
    let Some(record) = joined.crossing.filter(|_| !counted) else { return };
    facts.records += 1;
    facts.last_record = facts.last_record.or(Some(record.start));
    let mut first = Watch::default();
    first.see(&record);
    for mark in &mut facts.marks {
        mark.before = first.times.and(mark.before);
    }
    facts.times = first.times.and(facts.times);
    facts.marks.splice(0..0, first.marks);
    let more = facts.marks.len().saturating_sub(MAX_MARKS);
    facts.marks.truncate(MAX_MARKS);
    facts.more_marks += more as u64;
}

/// Gathers what matters for recovery while records pass by.
#[derive(Debug, Default)]
struct Watch {
    times: Times,
    marks: Vec<Mark>,
    more_marks: u64,
}

impl Watch {
    fn see(&mut self, record: &Record) {
        match &record.kind {
            Kind::Other | Kind::Switch => {}
            Kind::Commit { time, .. } => self.times.add(record.start, *time, true),
            Kind::Abort { time, .. } => self.times.add(record.start, *time, false),
            kind => {
                if let Some((timeline, previous)) = begins(kind) {
                    self.mark(record, MarkKind::TimelineBegins { timeline, previous });
                }
                if let Some(kind) = mark(kind) {
                    self.mark(record, kind);
                }
            }
        }
    }

    fn mark(&mut self, record: &Record, kind: MarkKind) {
        if self.marks.len() < MAX_MARKS {
            self.marks.push(Mark { at: record.start, end: record.end, kind, before: self.times });
        } else {
            self.more_marks += 1;
        }
    }
}

fn begins(kind: &Kind) -> Option<(u32, u32)> {
    let timeline = kind.begins_timeline()?;
    match *kind {
        Kind::EndOfRecovery { previous_timeline, .. } | Kind::Checkpoint { previous_timeline, .. } => {
            Some((timeline, previous_timeline))
        }
        _ => None,
    }
}

fn mark(kind: &Kind) -> Option<MarkKind> {
    Some(match kind {
        Kind::Checkpoint { redo, shutdown, .. } => MarkKind::Checkpoint { redo: *redo, shutdown: *shutdown },
        Kind::RestorePoint { time, name } => MarkKind::RestorePoint { name: name.clone(), time: *time },
        Kind::BackupEnd { start } => MarkKind::BackupEnd { start: *start },
        Kind::OverwriteContrecord { abandoned, .. } => MarkKind::Overwrite { abandoned: *abandoned },
        Kind::ParameterChange { wal_level } => MarkKind::WalLevel(*wal_level),
        // At every online checkpoint: only where it says what no recovery survives.
        Kind::CheckpointRedo { wal_level: 0 } => MarkKind::WalLevel(0),
        _ => return None,
    })
}

fn facts(report: wal::SegmentReport, watch: Watch, chained: bool) -> SegmentFacts {
    SegmentFacts {
        size: u32::try_from(report.size.bytes()).unwrap_or(u32::MAX),
        system: report.system,
        magic: report.magic,
        timelines: report.timelines,
        first_record: report.first_record,
        last_record: report.last_record,
        records: report.records,
        unchecked_head: report.unchecked_head,
        chained,
        switched: report.end == End::Switch,
        odd_bytes: report.odd_bytes,
        odd_at: report.odd_at,
        times: watch.times,
        marks: watch.marks,
        more_marks: watch.more_marks,
        carry: report.carry.map(Box::new),
    }
}

/// Without what only records show: nobody takes it for more than was asked for.
fn as_headers(report: wal::SegmentReport) -> wal::SegmentReport {
    wal::SegmentReport {
        first_record: None,
        last_record: None,
        records: 0,
        end: End::NotRead,
        unchecked_head: 0,
        unchecked_tail: 0,
        carry: None,
        ..report
    }
}

/// The fault of a segment as a finding's code, or as something that nobody here can judge.
fn judge(fault: SegmentFault) -> Outcome {
    let code = match fault.kind {
        FaultKind::Version | FaultKind::Endian => return Outcome::Unknown { what: fault.what },
        FaultKind::Size => FindingCode::SegmentSize,
        FaultKind::Foreign => FindingCode::SegmentForeign,
        FaultKind::NotWal | FaultKind::Page => FindingCode::SegmentPage,
        FaultKind::Record => FindingCode::SegmentRecord,
        FaultKind::NotWhole => FindingCode::SegmentNotWhole,
    };
    Outcome::Damaged { code, lsn: Some(fault.lsn), what: fault.what }
}

fn faulty(wanted: &Wanted, fault: SegmentFault, head: &[u8], digest: Digest) -> Pass {
    if head.is_empty() {
        return empty();
    }
    // An object without a codec may be sealed all the same.
    let format = sniff::sniff(head);
    let sealed = format.is_encrypted() || format.is_perhaps_encrypted() && !is_nearly_wal(head, fault.lsn);
    if wanted.stored == Compression::Plain && fault.kind == FaultKind::NotWal && sealed {
        return Pass::Unknown(format!("it is {format}, and this build cannot decrypt"));
    }
    Pass::Fault(fault, digest)
}

fn empty() -> Pass {
    Pass::Damaged(FindingCode::SegmentEmpty, None, "the stored object has no bytes".to_owned())
}

/// A first page whose address is right is a page, whatever its magic says.
fn is_nearly_wal(head: &[u8], start: Lsn) -> bool {
    PageHeader::parse(head).is_some_and(|header| header.address == start)
}

/// Bytes that do not decode: by what they really are.
fn undecodable(wanted: &Wanted, cause: CodecError, head: &[u8], plain_bytes: u64) -> Pass {
    let format = sniff::sniff(head);
    if format.is_encrypted() {
        return Pass::Unknown(format!("it is {format}, and this build cannot decrypt"));
    }
    if format.is_perhaps_encrypted() && !sniff::is_nearly_lzop(head) {
        return Pass::Unknown(format!("it is {format}"));
    }
    if head.is_empty() {
        return empty();
    }
    let named = match format {
        Format::Lzop | Format::Unknown | Format::Noise => String::new(),
        _ => format!("it is {format}, not what .{} promises: ", wanted.stored),
    };
    let what = if cause.truncated { "cut short" } else { "does not decode" };
    let what = format!("{named}{what}: {cause}");
    let start = wanted.size.and_then(|size| wanted.name.start(size).ok());
    let lsn = start.and_then(|start| start.checked_add(plain_bytes));
    Pass::Damaged(FindingCode::SegmentUndecodable, lsn, what)
}
