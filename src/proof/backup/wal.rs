//! The WAL that a base backup needs: from its start to the place where it is consistent.
//!
//! In: the survey, where replay starts, what ends it ([`Goal`]), the pages that may be torn. Out: [`Wal`]: where it is
//! consistent, which of those pages replay writes whole, and what is missing or wrong. Never: reads further than it must,
//! or takes WAL that it could not read for WAL that holds no image of a page.
//! Source: PostgreSQL `xlogrecovery.c` (`CheckRecoveryConsistency`), `dbcommands.c` (`dbase_redo`).

use super::About;
use super::parts::clause;
use crate::backup::pages::{RelationFile, Suspect};
use crate::catalog::inventory::StoredSegment;
use crate::error::{Answer, Code, Error, Verdict};
use crate::pg::{Lsn, SegmentName, SegmentNo, SegmentSize, SystemId, TimelineId};
use crate::pipeline;
use crate::pipeline::budget::Budget;
use crate::pipeline::decode::Plain;
use crate::pipeline::read::{Reading, Settings};
use crate::proof::FindingCode;
use crate::proof::finding::{Breaks, Defect, Place};
use crate::proof::survey::Survey;
use crate::storage::{ObjectId, Store};
use crate::wal::segment::{Expect, FaultKind, SegmentCheck, SegmentFault, SegmentReport};
use crate::wal::{BlockRef, Carry, Kind, Record};
use std::collections::HashSet;
use std::io::BufRead;
use std::sync::Arc;

/// Stored bytes in flight.
const BUDGET: usize = 6 << 20;
/// Segments behind the claimed stop in which the backup's end is still looked for.
const BEYOND: u64 = 16;

/// What makes a backup consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Goal {
    /// The record that ends the backup which began here; `None`: there is none (taken on a standby, or offline).
    pub end_of: Option<Lsn>,
    /// And replay must have come this far: minRecoveryPoint, or the end of the checkpoint.
    pub at_least: Lsn,
}

/// What is to be read.
#[derive(Debug, Clone)]
pub(super) struct Need {
    /// Timeline of the backup.
    pub timeline: TimelineId,
    /// Where replay starts.
    pub start: Lsn,
    /// Where it becomes consistent.
    pub goal: Goal,
    /// Where the archive says that it stopped.
    pub stop: Option<Lsn>,
    /// Segment size.
    pub size: SegmentSize,
    /// The cluster by pg_control.
    pub system: Option<SystemId>,
    /// Pages to look out for.
    pub pages: Arc<HashSet<Page>>,
    /// Segments that lie in the partitions themselves.
    pub inside: HashSet<String>,
}

/// A page of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Page {
    relation: (u32, u32, u32),
    fork: u8,
    block: u32,
}

impl Page {
    /// The page a suspect is.
    pub fn of(suspect: &Suspect) -> Option<Page> {
        let file = RelationFile::parse(suspect.path.as_bytes())?;
        Some(Page { relation: file.relation(), fork: file.fork, block: suspect.block })
    }

    fn written_by(block: &BlockRef) -> Page {
        let relation = block.relation;
        Page {
            relation: (relation.tablespace, relation.database, relation.number),
            fork: block.fork,
            block: block.block,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Wal {
    /// The first segment.
    pub first: Option<SegmentName>,
    /// The last one that was read, or should have been.
    pub last: Option<SegmentName>,
    /// How many were read.
    pub segments: u64,
    /// Their stored bytes.
    pub stored_bytes: u64,
    /// Where the backup is consistent. `None`: the WAL that is there does not lead to that.
    pub consistent: Option<Lsn>,
    /// Where the record that ended the backup ends.
    pub end: Option<Lsn>,
    /// What is wrong.
    pub defects: Vec<Defect>,
    /// The segment lies in the partitions, not in the archive.
    pub inside: Option<SegmentName>,
    written: HashSet<Page>,
    copied: HashSet<(u32, u32)>,
}

impl Wal {
    /// Replay writes this page whole before the backup is consistent.
    pub fn writes(&self, suspect: &Suspect) -> bool {
        let Some(page) = Page::of(suspect) else { return false };
        let (tablespace, database, _) = page.relation;
        self.written.contains(&page) || self.copied.contains(&(tablespace, database))
    }
}

/// Reads from the start to the goal.
pub(super) async fn read(store: &Arc<dyn Store>, survey: &Survey, need: &Need, about: &About) -> Wal {
    let mut walk = Walk { store, survey, need, about, wal: Wal::default(), carry: None };
    let first = need.start.segment(need.size);
    let last = need.stop.map(|stop| stop.segment_before(need.size).max(first));
    let mut number = first;
    while let Some(name) = number.name(need.timeline, need.size) {
        walk.wal.first = walk.wal.first.or(Some(name));
        walk.wal.last = Some(name);
        let beyond = last.is_some_and(|last| number > last);
        if !walk.segment(number, name, beyond).await || walk.wal.consistent.is_some() {
            break;
        }
        if last.is_some_and(|last| number.0 >= last.0.saturating_add(BEYOND)) {
            let what = "the WAL up to where it is said to have stopped, and behind it, does not end the backup";
            walk.wal.defects.push(about.defect(FindingCode::BackupWal, name, what, Breaks::Backup));
            break;
        }
        number = number.next();
    }
    walk.wal
}

struct Walk<'a> {
    store: &'a Arc<dyn Store>,
    survey: &'a Survey,
    need: &'a Need,
    about: &'a About,
    wal: Wal,
    carry: Option<Carry>,
}

impl Walk<'_> {
    /// One segment. `false`: nothing further can be read. `beyond`: behind where the backup is said to have stopped.
    async fn segment(&mut self, number: SegmentNo, name: SegmentName, beyond: bool) -> bool {
        let need = self.need;
        let stored = self.survey.inventory.stored(name);
        let forms: Vec<&StoredSegment> = stored.iter().filter(|one| one.size > 0).collect();
        if forms.is_empty() {
            if need.inside.contains(&name.to_string()) {
                self.wal.inside = Some(name);
                return false;
            }
            let what = match (beyond, stored.is_empty()) {
                (true, _) => format!(
                    "the WAL up to where it is said to have stopped does not end the backup, and {name} is not there"
                ),
                (false, false) => format!("the segment {name}, which the backup needs to be consistent, has no bytes"),
                (false, true) => format!("the segment {name}, which the backup needs to be consistent, is missing"),
            };
            let defect = self.about.defect(FindingCode::BackupWal, name, what, Breaks::Backup);
            self.wal.defects.push(Defect { lsn: number.start(need.size), ..defect });
            return false;
        }
        let mut expect = Expect::new(name);
        expect.size = Some(need.size);
        expect.system = need.system;
        expect.blocks = !need.pages.is_empty();
        let seen = Seen {
            start: need.start,
            goal: need.goal,
            pages: Arc::clone(&need.pages),
            end: self.wal.end,
            ..Seen::default()
        };
        match best(self.store, &forms, expect, self.carry.take(), seen).await {
            Ok((report, seen, stored_bytes)) => {
                self.wal.segments += 1;
                self.wal.stored_bytes += stored_bytes;
                self.carry = report.carry;
                self.wal.take(seen);
                true
            }
            Err(bad) => {
                self.bad(number, bad);
                false
            }
        }
    }

    fn bad(&mut self, number: SegmentNo, Bad { object, fault, seen }: Bad) {
        let (code, what, lsn) = match fault {
            Fault::Unread(what) => {
                let defect = self.about.defect(FindingCode::BackupUnread, object, what, Breaks::Unknown);
                return self.wal.defects.push(defect);
            }
            Fault::Damaged(code, what, lsn) => (code, what, lsn),
        };
        // Consistent before the damage: the backup is not hurt, but what comes behind it is.
        if seen.consistent.is_some_and(|at| lsn.is_some_and(|lsn| at <= lsn)) {
            let what = format!("{what}; the backup is consistent before that, and replay goes no further");
            let place = Place::Wal { timeline: self.need.timeline, first: number, last: number };
            self.wal.defects.push(Defect { lsn, place, ..self.about.defect(code, object, what, Breaks::Replay) });
            self.wal.take(seen);
        } else {
            let defect = self.about.defect(FindingCode::BackupWal, object, what, Breaks::Backup);
            self.wal.defects.push(Defect { lsn, ..defect });
        }
    }
}

impl Wal {
    fn take(&mut self, seen: Seen) {
        self.written.extend(seen.written);
        self.copied.extend(seen.copied);
        self.end = seen.end;
        self.consistent = seen.consistent;
    }
}

/// What the records of one segment say.
#[derive(Debug, Clone, Default)]
struct Seen {
    start: Lsn,
    goal: Goal,
    pages: Arc<HashSet<Page>>,
    end: Option<Lsn>,
    consistent: Option<Lsn>,
    written: HashSet<Page>,
    copied: HashSet<(u32, u32)>,
}

impl Default for Goal {
    fn default() -> Self {
        Goal { end_of: None, at_least: Lsn(u64::MAX) }
    }
}

impl Seen {
    fn record(&mut self, record: &Record) {
        if record.start < self.start || self.consistent.is_some() {
            return;
        }
        match record.kind {
            Kind::BackupEnd { start } if Some(start) == self.goal.end_of => self.end = Some(record.end),
            Kind::DatabaseCopied { database, tablespace } => drop(self.copied.insert((tablespace, database))),
            _ => {}
        }
        for block in record.blocks.iter().flatten().filter(|block| block.restores_page()) {
            let page = Page::written_by(block);
            if self.pages.contains(&page) {
                self.written.insert(page);
            }
        }
        let ended = self.goal.end_of.is_none() || self.end.is_some();
        if ended && record.end >= self.goal.at_least {
            self.consistent = Some(record.end);
        }
    }
}

/// A segment that does not hold what it should.
struct Bad {
    object: String,
    fault: Fault,
    seen: Seen,
}

enum Fault {
    /// It could not be judged: why.
    Unread(String),
    /// It is wrong: what sort, how, and where.
    Damaged(FindingCode, String, Option<Lsn>),
}

/// The first stored form that is whole, as wal-fetch takes it; else what is wrong with the first.
async fn best(
    store: &Arc<dyn Store>,
    forms: &[&StoredSegment],
    expect: Expect,
    carry: Option<Carry>,
    seen: Seen,
) -> Result<(SegmentReport, Seen, u64), Bad> {
    let mut first = None;
    for form in forms {
        let object = store.object_url(&form.key());
        let (result, seen) = one(store, form, expect, carry.clone(), seen.clone()).await;
        let fault = match result {
            Ok(Ok(report)) => return Ok((report, seen, form.size)),
            Ok(Err(fault)) if matches!(fault.kind, FaultKind::Version | FaultKind::Endian) => {
                Fault::Unread(fault.to_string())
            }
            Ok(Err(fault)) => {
                let code = match fault.kind {
                    FaultKind::Page => FindingCode::SegmentPage,
                    FaultKind::NotWhole => FindingCode::SegmentNotWhole,
                    _ => FindingCode::SegmentRecord,
                };
                Fault::Damaged(code, fault.to_string(), Some(fault.lsn))
            }
            Err(error) if error.verdict() == Verdict::Damaged && error.code() != Code::DamagedCodec => {
                Fault::Damaged(FindingCode::SegmentUndecodable, clause(&error), None)
            }
            Err(error) if error.is_absent() => Fault::Damaged(FindingCode::SegmentMissing, clause(&error), None),
            Err(error) => Fault::Unread(clause(&error)),
        };
        first = first.or(Some(Bad { object, fault, seen }));
    }
    let none = || Bad { object: expect.file.to_string(), fault: Fault::Unread("it has no stored form".into()), seen };
    Err(first.unwrap_or_else(none))
}

async fn one(
    store: &Arc<dyn Store>,
    form: &StoredSegment,
    expect: Expect,
    carry: Option<Carry>,
    mut seen: Seen,
) -> (Answer<Result<SegmentReport, SegmentFault>>, Seen) {
    let object = ObjectId { key: form.key(), size: form.size, modified: None, etag: None };
    let reading = Reading::start(Arc::clone(store), object, Budget::new(BUDGET), Settings::default());
    let mut plain = match Plain::start(reading, form.form.stored, 1) {
        Ok(plain) => plain,
        Err(error) => return (Err(error), seen),
    };
    let before = seen.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut check = match carry {
            Some(carry) => SegmentCheck::after(expect, carry),
            None => SegmentCheck::new(expect),
        };
        let result = judge(&mut plain, &mut check, &mut seen);
        (result, seen)
    });
    work.await
        .unwrap_or_else(|error| (Err(Error::new(Code::InternalBug, "a segment's thread died").because(error)), before))
}

fn judge(plain: &mut Plain, check: &mut SegmentCheck, seen: &mut Seen) -> Answer<Result<SegmentReport, SegmentFault>> {
    loop {
        let ready = match plain.fill_buf() {
            Ok(ready) => ready,
            Err(error) => {
                return Err(match pipeline::decode::into_error(error) {
                    Ok(error) => error,
                    Err(error) => Error::new(Code::LocalIo, "cannot read the segment").because(error),
                });
            }
        };
        if ready.is_empty() {
            return Ok(check.finish());
        }
        let count = ready.len();
        if let Err(fault) = check.push_with(ready, &mut |record| seen.record(record)) {
            return Ok(Err(fault));
        }
        plain.consume(count);
    }
}
