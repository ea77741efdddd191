//! What can be recovered, and to which times: commits and switch points to windows.
//!
//! In: a survey, the facts of segments, what breaks replay. Out: [`Windows`]: for each timeline and base backup where
//! recovery becomes consistent, where it ends and why, and the commit times between; the holes; what a wish can get.
//! Never: reads anything; claims a time that a server would refuse. Facts are kept by segment, so where a place inside a
//! segment decides, the claim is the smaller one, and says so.
//!
//! How a server stops (spec: PostgreSQL `recoveryStopsBefore`, `recoveryStopsAfter`, `CheckRecoveryConsistency`):
//!
//! ```text
//! R = redo of the backup     C = behind its BACKUP_END     E = where the WAL ends
//! |----------- replay -----------|------------- window -------------|
//!   a time T stops before the first commit or abort later than T, wherever that is:
//!   before C it is fatal, so T >= the latest time in [R, C);
//!   beyond E there is none, so T < M, the latest time in [C, E) (from 13 on fatal, before it the server opens at E)
//! ```

use super::facts::{Level, MarkKind, Outcome, SegmentFacts, SegmentProof, Times};
use super::finding::{Breaks, Defect, FindingCode, Place};
use super::survey::{BackupFacts, Survey};
use crate::catalog::continuity::{self, WalRange};
use crate::layout::BackupName;
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, SegmentName, SegmentNo, SegmentSize, TimelineId};
use crate::wal::record::PgTime;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// Microseconds since 2000 that a commit of PostgreSQL can have: up to 2200. Floating-point timestamps of 9.5 and 9.6, read as
/// integers, lie a hundred thousand years further.
const PLAUSIBLE: std::ops::Range<i64> = 0..200 * 31_557_600_000_000;
/// Commits of many sessions are written a little out of order; more than this is a clock that was set back.
const CLOCK_SLACK: i64 = 5_000_000;
/// Steps back of the clock that are kept of one timeline.
const CLOCK_KEPT: usize = 20;

/// What can be recovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Windows {
    /// Each timeline that a recovery can aim at, ascending.
    pub timelines: Vec<Line>,
}

/// What recoveries along one timeline can reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The timeline that is aimed at; the way there leads over its ancestors.
    pub timeline: TimelineId,
    /// It is what `latest` means for the newest base backup that leads there.
    pub latest: bool,
    /// Stretches of WAL without a break, with at least one base backup that becomes consistent in them: in order.
    pub windows: Vec<Window>,
    /// What lies between the windows, and behind the last one.
    pub holes: Vec<Hole>,
    /// Named targets, in order.
    pub restore_points: Vec<RestorePoint>,
    /// Every base backup that leads there: by where it starts.
    pub backups: Vec<Reach>,
    /// Where the server's clock was set back, at most 20.
    pub clock: Vec<ClockStep>,
    /// What people should know, one sentence each.
    pub notes: Vec<String>,
    /// How commit times go along the WAL.
    #[serde(skip)]
    pub pace: Vec<Pace>,
}

/// The latest time of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The end of the segment.
    pub end: Lsn,
    /// The latest commit or abort in it.
    pub max: Timestamp,
}

/// A commit or an abort: where it starts, and its time by the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Edge {
    /// The record.
    pub lsn: Lsn,
    /// Its time.
    pub time: Timestamp,
}

/// A stretch of WAL that can be replayed to any place in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Where the first base backup in it is consistent.
    pub from_lsn: Lsn,
    /// Where replay ends.
    pub to_lsn: Lsn,
    /// The earliest target time.
    pub from: Option<Earliest>,
    /// The latest commit or abort by its time. A target time must be before it; the record itself is reached by its LSN,
    /// or without a target. `None`: no commit lies in the window, or none is known.
    pub to: Option<Edge>,
    /// The last commit in it.
    pub last_commit: Option<Edge>,
    /// Why it ends.
    pub ends: Stop,
    /// Base backups that become consistent in it.
    pub backups: u64,
    /// Every record of it was checked, and chained to the one before.
    pub proven: bool,
    /// Segments of it that were not read.
    pub unread: u64,
}

/// The earliest target time of a base backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Earliest {
    /// A server accepts it and later ones.
    pub time: Timestamp,
    /// Where that is known from.
    pub by: By,
}

/// Where an earliest time is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The latest commit before the backup is consistent: exact.
    Commit,
    /// No earlier than it must be, perhaps a little later: the commits of the segment are known as one.
    Segment,
    /// Nothing was committed while the backup was taken: the last commit before it. A server takes any earlier time, too,
    /// and gives this state.
    Before,
    /// As above, and no commit before it is known: when the backup began.
    Began,
    /// As above, and that is not known either: the first commit behind it.
    Behind,
}

/// What lies between windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hole {
    /// Where the window before it ends; the start of the WAL where there is none.
    pub from_lsn: Lsn,
    /// Where the next window begins. `None`: nothing behind it can be recovered.
    pub to_lsn: Option<Lsn>,
    /// The latest commit before it.
    pub from: Option<Edge>,
    /// The earliest target time behind it.
    pub to: Option<Earliest>,
    /// The last commit that is known in it: there, and out of reach.
    pub lost: Option<Edge>,
    /// What breaks replay there, in order.
    pub because: Vec<Stop>,
}

/// Why replay ends somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Stop {
    /// There is no more WAL.
    ArchiveEnds {
        /// The last segment.
        last: Option<SegmentName>,
    },
    /// Segments are missing, and the timeline goes on behind them.
    Missing {
        /// The first one.
        first: SegmentName,
        /// The last one.
        last: SegmentName,
        /// How many.
        segments: u64,
    },
    /// A segment that wal-fetch will not hand over, or that no server replays.
    Broken {
        /// Which.
        segment: SegmentName,
        /// Which kind of finding.
        code: FindingCode,
        /// Where exactly, where that is known.
        lsn: Option<Lsn>,
        /// One clause.
        what: String,
    },
    /// A segment that could not be judged: replay may pass it or not.
    Unknown {
        /// Which.
        segment: SegmentName,
        /// One clause.
        what: String,
    },
    /// The server wrote with wal_level=minimal from here on.
    Minimal {
        /// Which segment.
        segment: SegmentName,
        /// The record that says so.
        lsn: Lsn,
    },
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::ArchiveEnds { last: Some(last) } => write!(f, "the archive ends with {last}"),
            Stop::ArchiveEnds { last: None } => f.write_str("the archive ends"),
            Stop::Missing { first, segments: 1, .. } => write!(f, "segment {first} is missing"),
            Stop::Missing { first, last, segments } => write!(f, "{segments} segments are missing, {first} to {last}"),
            Stop::Broken { segment, code, lsn: Some(lsn), what } => {
                write!(f, "segment {segment} is unusable from {lsn} on: {what} ({code})")
            }
            Stop::Broken { segment, code, lsn: None, what } => {
                write!(f, "segment {segment} is unusable: {what} ({code})")
            }
            Stop::Unknown { segment, what } => write!(f, "segment {segment} could not be judged: {what}"),
            Stop::Minimal { segment, lsn } => write!(f, "wal_level is minimal from {lsn} on ({segment})"),
        }
    }
}

/// A named target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestorePoint {
    /// Its name.
    pub name: String,
    /// When it was made; `None` where the time cannot be one.
    pub time: Option<Timestamp>,
    /// Its record.
    pub lsn: Lsn,
    /// The newest base backup from which a recovery to this name ends at this record. `None`: none does.
    pub from: Option<BackupName>,
}

/// Recovery from one base backup along one timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// The base backup.
    pub backup: BackupName,
    /// Where replay starts.
    pub start: Lsn,
    /// Where it is consistent.
    pub consistent: Option<Lsn>,
    /// The record that says so was seen; else it is what names and sentinels say.
    pub consistent_by_record: bool,
    /// The earliest target time.
    pub earliest: Option<Earliest>,
    /// As in [`Window::to`].
    pub latest: Option<Edge>,
    /// The last commit.
    pub last_commit: Option<Edge>,
    /// Where names and sentinels say that the backup stopped.
    pub stop: Option<Lsn>,
    /// Where replay ends.
    pub end: Lsn,
    /// Where the last record before that starts, as far as it is known; no target may be behind it.
    pub last_record: Option<Lsn>,
    /// Why.
    pub ends: Stop,
    /// Every record from `start` to `end` was checked, and chained to the one before.
    pub proven: bool,
    /// Why it leads nowhere; `None` when it does.
    pub trouble: Option<String>,
    /// What is known against it, although it can be used.
    pub doubt: Option<String>,
    /// When it was finished, where the archive tells: backup-fetch takes no earlier target time by itself.
    pub finished: Option<Timestamp>,
    /// `latest` leads here from this backup, so that no timeline need be named.
    pub latest_leads_here: bool,
}

impl Reach {
    /// It leads somewhere.
    pub fn is_usable(&self) -> bool {
        self.trouble.is_none() && self.consistent.is_some()
    }

    /// A server that recovers from here to this time, along this timeline, opens (or pauses) there.
    pub fn reaches_time(&self, time: Timestamp) -> bool {
        self.is_usable()
            && self.earliest.is_some_and(|earliest| earliest.time <= time)
            && self.latest.is_some_and(|latest| time < latest.time)
    }
}

/// A place where the server's clock was set back, or where clocks of two servers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClockStep {
    /// The latest commit before it: a target time from `behind` up to its own stops at it or before.
    pub before: Edge,
    /// A commit behind it.
    pub behind: Edge,
}

/// A time of the WAL, when it can be one.
fn edge(at: (Lsn, PgTime)) -> Option<Edge> {
    let micros = at.1.unix_micros().filter(|_| PLAUSIBLE.contains(&at.1.0))?;
    Some(Edge { lsn: at.0, time: Timestamp::from_microsecond(micros).ok()? })
}

type Stamp = (Lsn, PgTime);

fn later(a: Option<Stamp>, b: Option<Stamp>) -> Option<Stamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.1 > a.1 { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// The latest time within a part of a stretch: at least `low`, at most `high`; `None` and `None`: nothing is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Part {
    low: Option<Stamp>,
    high: Option<Stamp>,
}

impl Part {
    /// Of what lies from `from` up to `to`, as far as the first, the last and the latest tell.
    fn clip(times: &Times, from: Lsn, to: Lsn) -> Part {
        let (Some(first), Some(last)) = (times.first, times.last) else { return Part::default() };
        if first.0 >= to || last.0 < from {
            return Part::default();
        }
        let inside = |stamp: &Stamp| from <= stamp.0 && stamp.0 < to;
        let known = [times.first, times.last, times.max, times.last_commit];
        let low = known.into_iter().flatten().filter(inside).fold(None, |low, stamp| later(low, Some(stamp)));
        Part { low, high: times.max.filter(inside).or(times.max) }
    }

    fn and(self, other: Part) -> Part {
        Part { low: later(self.low, other.low), high: later(self.high, other.high) }
    }
}

/// One segment on the way.
#[derive(Debug, Clone, Copy)]
struct Step<'a> {
    name: SegmentName,
    start: Lsn,
    /// What it holds; `None` when its records were not read.
    facts: Option<&'a SegmentFacts>,
    /// It was chained to the one before it.
    chained: bool,
}

/// A stretch of the way that replay passes without a break.
#[derive(Debug)]
struct Leg<'a> {
    steps: Vec<Step<'a>>,
    begin: Lsn,
    end: Lsn,
    stop: Stop,
    /// Times of the last step up to `end`, when that lies within it.
    tail: Option<Times>,
    /// By step: the latest time from it on.
    suffix: Vec<Option<Stamp>>,
    /// By step: how many before it were not read, and how many not proven.
    unread: Vec<(u64, u64)>,
    /// A time in it cannot be one.
    nonsense: Option<Stamp>,
}

impl<'a> Leg<'a> {
    fn new(steps: Vec<Step<'a>>, begin: Lsn, end: Lsn, stop: Stop, tail: Option<Times>) -> Leg<'a> {
        let (suffix, unread) = (Vec::new(), vec![(0, 0)]);
        let mut leg = Leg { steps, begin, end, stop, tail, suffix, unread, nonsense: None };
        let mut max = None;
        for index in (0..leg.steps.len()).rev() {
            let times = leg.times(index);
            max = later(max, times.and_then(|times| times.max));
            leg.suffix.push(max);
        }
        leg.suffix.reverse();
        for (index, step) in leg.steps.iter().enumerate() {
            let (unread, unproven) = leg.unread.last().copied().unwrap_or_default();
            let read = step.facts.is_some();
            let proven = read && (step.chained || index == 0);
            leg.unread.push((unread + u64::from(!read), unproven + u64::from(!proven)));
        }
        let maxima = (0..leg.steps.len()).filter_map(|index| leg.times(index)?.max);
        leg.nonsense = maxima.into_iter().find(|stamp| edge(*stamp).is_none());
        leg
    }

    /// Commits of a step, up to the end of the leg.
    fn times(&self, index: usize) -> Option<Times> {
        let times = self.steps.get(index)?.facts?.times;
        Some(self.tail.filter(|_| index + 1 == self.steps.len()).unwrap_or(times))
    }

    fn at(&self, lsn: Lsn) -> Option<usize> {
        if lsn < self.begin || lsn >= self.end {
            return None;
        }
        self.steps.partition_point(|step| step.start <= lsn).checked_sub(1)
    }

    /// Not read, and not proven, from the first step up to and including the last. A first step has nothing to be
    /// chained to that would matter.
    fn gaps(&self, first: usize, last: usize) -> (u64, u64) {
        let at = |index: usize| self.unread.get(index).copied().unwrap_or_default();
        let (from, to) = (at(first + 1), at(last + 1));
        let own = u64::from(self.steps.get(first).is_some_and(|step| step.facts.is_none()));
        (to.0 - from.0 + own, to.1 - from.1 + own)
    }

    /// Segments between two steps, both included, that were not read.
    fn unread_in(&self, first: usize, last: usize) -> impl Iterator<Item = SegmentName> + '_ {
        let steps = self.steps.get(first..=last.min(self.last())).unwrap_or_default().iter();
        steps.filter(|step| step.facts.is_none()).map(|step| step.name)
    }

    fn last(&self) -> usize {
        self.steps.len().saturating_sub(1)
    }

    /// The last commit, and the last commit or abort, at or behind a place.
    fn last_commit(&self, from: Lsn) -> Option<Stamp> {
        let commits = (0..self.steps.len()).rev().filter_map(|index| self.times(index)?.last_commit);
        commits.into_iter().next().filter(|stamp| stamp.0 >= from)
    }

    /// The start of the last record that is known before the end.
    fn last_record(&self) -> Option<Lsn> {
        let step = self.steps.last()?;
        let facts = match step.facts {
            Some(facts) => facts,
            // Not read: some record starts in the segments before it.
            None => return Some(step.start).filter(|start| *start > self.begin),
        };
        match self.tail {
            None => facts.last_record,
            Some(_) => {
                let marks = facts.marks.iter().map(|mark| mark.at);
                let times =
                    [facts.times.first, facts.times.last, facts.times.max].into_iter().flatten().map(|one| one.0);
                marks.chain(times).chain(facts.first_record).filter(|at| *at < self.end).max()
            }
        }
    }

    fn pace(&self, size: SegmentSize) -> impl Iterator<Item = Pace> + '_ {
        let indexes = 0..if self.nonsense.is_none() { self.steps.len() } else { 0 };
        indexes.filter_map(move |index| {
            let end = self.steps.get(index)?.start.checked_add(size.bytes())?;
            Some(Pace { end, max: edge(self.times(index)?.max?)?.time })
        })
    }
}

/// What is to be said of each stored segment.
struct Judged<'a> {
    proofs: &'a [SegmentProof],
    single: HashMap<(TimelineId, SegmentNo), &'a Defect>,
    ranges: Vec<(TimelineId, SegmentNo, SegmentNo, &'a Defect)>,
}

impl<'a> Judged<'a> {
    fn new(proofs: &'a [SegmentProof], defects: &'a [Defect]) -> Self {
        let mut judged = Judged { proofs, single: HashMap::new(), ranges: Vec::new() };
        for defect in defects.iter().filter(|one| matches!(one.breaks, Breaks::Replay | Breaks::Unknown)) {
            let Place::Wal { timeline, first, last } = defect.place else { continue };
            // Two neighbours that do not fit: replay gets to the end of the first one.
            let first = if defect.code == FindingCode::SegmentSeam { last } else { first };
            if first == last {
                let known = judged.single.entry((timeline, first)).or_insert(defect);
                if known.breaks == Breaks::Unknown {
                    *known = defect;
                }
            } else {
                judged.ranges.push((timeline, first, last, defect));
            }
        }
        judged
    }

    fn defect(&self, timeline: TimelineId, number: SegmentNo) -> Option<&'a Defect> {
        let within = |one: &&(TimelineId, SegmentNo, SegmentNo, &'a Defect)| {
            one.0 == timeline && one.1 <= number && number <= one.2
        };
        let single = self.single.get(&(timeline, number)).copied();
        single.or_else(|| self.ranges.iter().find(within).map(|one| one.3))
    }

    /// A stored segment: what it holds (`None`: not read), or why replay does not pass it.
    fn segment(&self, name: SegmentName, number: SegmentNo) -> Result<Option<&'a SegmentFacts>, Stop> {
        let from = self.proofs.partition_point(|proof| proof.name < name);
        let forms = self.proofs.get(from..).unwrap_or_default().iter().take_while(|proof| proof.name == name);
        let mut stop = None;
        let mut good = None;
        for form in forms {
            match &form.outcome {
                // The first one that is whole is what wal-fetch delivers.
                Outcome::Good(facts) => {
                    good = Some((form.level >= Level::Records).then_some(&**facts));
                    break;
                }
                Outcome::Damaged { code, lsn, what } => {
                    stop = Some(Stop::Broken { segment: name, code: *code, lsn: *lsn, what: what.clone() });
                }
                Outcome::Unknown { what } => {
                    stop = stop.or(Some(Stop::Unknown { segment: name, what: what.clone() }));
                }
            }
        }
        let facts = match (good, stop) {
            (Some(facts), _) => facts,
            (None, Some(stop)) => return Err(stop),
            (None, None) => None,
        };
        match self.defect(name.timeline(), number) {
            // Where the record is, its mark says better.
            Some(defect) if defect.code == FindingCode::SegmentMinimal && facts.is_some() => Ok(facts),
            // That is about a stored form which another one makes good.
            Some(defect) if facts.is_some() && is_of_one_form(defect.code) => Ok(facts),
            Some(defect) if defect.breaks == Breaks::Unknown => {
                Err(Stop::Unknown { segment: name, what: defect.what.clone() })
            }
            Some(defect) => {
                let Defect { code, lsn, what, .. } = defect;
                Err(Stop::Broken { segment: name, code: *code, lsn: *lsn, what: what.clone() })
            }
            None => Ok(facts),
        }
    }
}

/// Codes that condemn one stored form of a segment, not its place in the WAL.
fn is_of_one_form(code: FindingCode) -> bool {
    matches!(
        code,
        FindingCode::SegmentUndecodable
            | FindingCode::SegmentSize
            | FindingCode::SegmentEmpty
            | FindingCode::SegmentForeign
            | FindingCode::SegmentPage
            | FindingCode::SegmentRecord
            | FindingCode::SegmentNotWhole
            | FindingCode::SegmentUnread
            | FindingCode::SegmentTwice
            | FindingCode::SegmentDiffers
    )
}

/// The way to a timeline from the segment of `from` on, cut where replay breaks.
fn legs<'a>(survey: &Survey, way: &TimelineHistory, from: Lsn, judged: &Judged<'a>) -> Vec<Leg<'a>> {
    let size = survey.size;
    let end_of = |number: SegmentNo| number.next().start(size).unwrap_or(Lsn(u64::MAX));
    // Without a segment of its own, the way ends before the segment with its beginning.
    let own = survey.last_stored(way.timeline()).map(end_of);
    let to = own.unwrap_or_else(|| way.begin().and_then(|begin| begin.segment(size).start(size)).unwrap_or(Lsn::ZERO));
    let mut cut = Cutter { legs: Vec::new(), steps: Vec::new(), begin: from.segment(size).start(size).unwrap_or(from) };
    for run in continuity::along(&survey.inventory, way, from, to, size) {
        let (Some(first), Some(last), Some(start)) = (run.first_name(size), run.last_name(size), run.first.start(size))
        else {
            continue;
        };
        if !run.present {
            cut.at(start, Stop::Missing { first, last, segments: run.segments() }, None, end_of(run.last));
            continue;
        }
        for number in run.first.0..=run.last.0 {
            let number = SegmentNo(number);
            let (Some(name), Some(start)) = (number.name(run.timeline, size), number.start(size)) else { continue };
            match judged.segment(name, number) {
                Err(stop) => cut.at(start, stop, None, end_of(number)),
                Ok(facts) => cut.step(Step { name, start, facts, chained: facts.is_some_and(|facts| facts.chained) }),
            }
        }
    }
    let last = cut.steps.last().map(|step| step.name);
    cut.at(to, Stop::ArchiveEnds { last }, None, to);
    cut.legs
}

/// Collects steps into legs.
struct Cutter<'a> {
    legs: Vec<Leg<'a>>,
    steps: Vec<Step<'a>>,
    begin: Lsn,
}

impl<'a> Cutter<'a> {
    fn step(&mut self, step: Step<'a>) {
        self.steps.push(step);
        for mark in step.facts.map_or(&[][..], |facts| &facts.marks) {
            if mark.kind == MarkKind::WalLevel(0) {
                let stop = Stop::Minimal { segment: step.name, lsn: mark.at };
                self.at(mark.at, stop, Some(mark.before), mark.end);
                self.steps.push(step);
            }
        }
    }

    /// Replay ends at `lsn`; what comes next begins at `next`.
    fn at(&mut self, lsn: Lsn, stop: Stop, tail: Option<Times>, next: Lsn) {
        let steps = std::mem::take(&mut self.steps);
        let begin = std::mem::replace(&mut self.begin, next);
        self.legs.push(Leg::new(steps, begin, lsn, stop, tail));
    }
}

/// The segments that windows are made of: from the oldest base backup on along every timeline, or along this one.
pub fn needed(survey: &Survey, only: Option<TimelineId>) -> Vec<WalRange> {
    let mut ranges: BTreeMap<TimelineId, (SegmentNo, SegmentNo)> = BTreeMap::new();
    for timeline in aims(survey, only) {
        let Some(way) = survey.timelines.history(timeline) else { continue };
        let starts = leading_to(survey, timeline).into_iter().map(|backup| backup.start.segment(survey.size));
        let Some(from) = starts.min() else { continue };
        for span in way.spans() {
            let end = span.end.map(|end| end.segment(survey.size)).or_else(|| survey.last_stored(span.timeline));
            let first = from.max(span.begin.segment(survey.size));
            let Some(last) = end.filter(|last| first <= *last) else { continue };
            let range = ranges.entry(span.timeline).or_insert((first, last));
            *range = (range.0.min(first), range.1.max(last));
        }
    }
    ranges.into_iter().map(|(timeline, (first, last))| WalRange { timeline, first, last }).collect()
}

/// Segments that were not read and decide: from each base backup's start up to its consistency, and from each end
/// backwards to a commit. Empty when the windows' edges are known; to be asked again with what was read.
pub fn edges(survey: &Survey, proofs: &[SegmentProof], only: Option<TimelineId>) -> Vec<WalRange> {
    let judged = Judged::new(proofs, &[]);
    let mut wanted: BTreeSet<SegmentName> = BTreeSet::new();
    for timeline in aims(survey, only) {
        let backups = leading_to(survey, timeline);
        let (Some(way), Some(first)) = (survey.timelines.history(timeline), backups.first()) else { continue };
        for leg in legs(survey, &way, first.start, &judged) {
            let mut used = false;
            for backup in &backups {
                let Some(first) = leg.at(backup.start) else { continue };
                used = true;
                let by_record = backup_end(&leg, backup.start).map(|(index, _)| index);
                let by_names = || backup.stop.and_then(|stop| leg.at(Lsn(stop.0.saturating_sub(1))));
                let end = by_record.or_else(by_names);
                wanted.extend(leg.unread_in(first, end.unwrap_or(first)));
                if end.is_none() && backup.stop.is_none() {
                    // Nothing says where it ends: onward until its record is met.
                    wanted.extend(leg.unread_in(first, leg.last()).next());
                }
            }
            let is_end = |index: &usize| leg.times(*index).is_none_or(|times| times.max.is_some());
            if let Some(tail) = (0..leg.steps.len()).rev().find(is_end).filter(|_| used) {
                wanted.extend(leg.unread_in(tail, tail));
            }
        }
    }
    let range = |name: SegmentName| {
        let number = name.number(survey.size).ok()?;
        Some(WalRange { timeline: name.timeline(), first: number, last: number })
    };
    wanted.into_iter().filter_map(range).collect()
}

/// Timelines that a recovery can aim at.
fn aims(survey: &Survey, only: Option<TimelineId>) -> impl Iterator<Item = TimelineId> {
    survey.all_timelines().into_iter().filter(move |one| only.is_none_or(|only| only == *one))
}

/// Finished base backups from which recovery gets to a timeline: by where they start.
fn leading_to(survey: &Survey, timeline: TimelineId) -> Vec<&BackupFacts> {
    let finished = survey.backups.iter().filter(|backup| backup.is_finished());
    let mut backups: Vec<&BackupFacts> = finished.filter(|backup| survey.route(backup, timeline).is_some()).collect();
    backups.sort_by_key(|backup| (backup.start, backup.name));
    backups
}

/// What can be recovered.
pub fn windows(survey: &Survey, proofs: &[SegmentProof], defects: &[Defect]) -> Windows {
    let judged = Judged::new(proofs, defects);
    let mut of_backups: BTreeMap<BackupName, Vec<&Defect>> = BTreeMap::new();
    for defect in defects {
        if let Place::Backup(name) = &defect.place {
            of_backups.entry(*name).or_default().push(defect);
        }
    }
    let line = |timeline: TimelineId| line(survey, timeline, &judged, &of_backups);
    Windows { timelines: survey.all_timelines().into_iter().filter_map(line).collect() }
}

fn line(
    survey: &Survey,
    timeline: TimelineId,
    judged: &Judged<'_>,
    of_backups: &BTreeMap<BackupName, Vec<&Defect>>,
) -> Option<Line> {
    let backups = leading_to(survey, timeline);
    let way = survey.timelines.history(timeline)?;
    let legs = legs(survey, &way, backups.first()?.start, judged);
    let reaches: Vec<(Option<usize>, Reach)> = backups
        .iter()
        .map(|backup| {
            let leg = legs.iter().position(|leg| leg.begin <= backup.start && backup.start < leg.end);
            let mut reach = reach(backup, leg.and_then(|leg| legs.get(leg)), &legs);
            reach.latest_leads_here = survey.timelines.latest(backup.timeline) == timeline;
            let about = of_backups.get(&backup.name).map_or(&[][..], Vec::as_slice);
            if let Some(defect) = about.iter().find(|defect| defect.breaks == Breaks::Backup) {
                reach.trouble = reach.trouble.or(Some(format!("{}: {}", defect.code, defect.what)));
            }
            let doubt = about.iter().find(|defect| matches!(defect.breaks, Breaks::Rows | Breaks::Unknown));
            reach.doubt = doubt.map(|defect| format!("{}: {}", defect.code, defect.what));
            (leg, reach)
        })
        .collect();
    let (windows, holes) = merge(&legs, &reaches);
    let restore_points = restore_points(&legs, &reaches);
    let clock = clock(&legs);
    let notes = notes(&legs, &reaches);
    let pace = legs.iter().flat_map(|leg| leg.pace(survey.size)).collect();
    let reaches: Vec<Reach> = reaches.into_iter().map(|(_, reach)| reach).collect();
    let latest = reaches.last().is_some_and(|reach| reach.latest_leads_here);
    Some(Line { timeline, latest, windows, holes, restore_points, backups: reaches, clock, notes, pace })
}

/// Where the backup's end-of-backup record is: its step, and the mark.
fn backup_end<'l>(leg: &'l Leg<'_>, start: Lsn) -> Option<(usize, &'l super::facts::Mark)> {
    let first = leg.at(start)?;
    (first..leg.steps.len()).find_map(|index| {
        let marks = &leg.steps.get(index)?.facts?.marks;
        let fits = |mark: &&super::facts::Mark| {
            mark.kind == MarkKind::BackupEnd { start } && mark.at >= start && mark.end <= leg.end
        };
        marks.iter().find(fits).map(|mark| (index, mark))
    })
}

fn reach(backup: &BackupFacts, leg: Option<&Leg<'_>>, legs: &[Leg<'_>]) -> Reach {
    let mut reach = Reach {
        backup: backup.name,
        start: backup.start,
        consistent: None,
        consistent_by_record: false,
        earliest: None,
        latest: None,
        last_commit: None,
        stop: backup.stop,
        end: backup.start,
        last_record: None,
        ends: Stop::ArchiveEnds { last: None },
        proven: false,
        trouble: None,
        doubt: None,
        finished: crate::backup::select::finished_at_the_latest(&candidate(backup)),
        latest_leads_here: false,
    };
    if !backup.is_usable() {
        reach.trouble = Some("its sentinel cannot be read".to_owned());
    }
    let Some((leg, first)) = leg.and_then(|leg| Some((leg, leg.at(backup.start)?))) else {
        // It starts within a hole, or behind everything.
        let hole = legs.iter().rev().find(|leg| leg.end <= backup.start).or(legs.first());
        reach.ends = hole.map_or(reach.ends, |leg| leg.stop.clone());
        let why = match &reach.ends {
            Stop::ArchiveEnds { .. } => "none of the WAL that it needs is in the archive".to_owned(),
            stop => format!("the WAL with its start is not there: {stop}"),
        };
        reach.trouble = reach.trouble.or(Some(why));
        return reach;
    };
    (reach.end, reach.ends) = (leg.end, leg.stop.clone());
    let record = backup_end(leg, backup.start);
    let by_names = backup.stop.filter(|stop| *stop <= leg.end);
    let consistent = record.map(|(index, mark)| (index, mark.end));
    let stop_step = |stop: Lsn| leg.at(Lsn(stop.0.saturating_sub(1)).max(backup.start));
    let consistent = consistent.or_else(|| by_names.and_then(|stop| Some((stop_step(stop)?, stop))));
    let Some((step, place)) = consistent else {
        let why = match backup.stop {
            Some(stop) => format!("replay ends at {} before it is consistent at {stop}: {}", leg.end, leg.stop),
            None if leg.gaps(first, leg.last()).0 > 0 => "where it becomes consistent is not known".to_owned(),
            None => format!("no end-of-backup record is found up to {}: {}", leg.end, leg.stop),
        };
        reach.trouble = reach.trouble.or(Some(why));
        return reach;
    };
    reach.consistent = Some(place);
    reach.consistent_by_record = record.is_some();
    reach.proven = leg.gaps(first, leg.last()).1 == 0 && record.is_some();
    reach.last_record = leg.last_record().filter(|last| *last >= place);
    if leg.nonsense.is_none() {
        reach.last_commit = leg.last_commit(place).and_then(edge);
        let before = record.map(|(_, mark)| mark.before);
        reach.earliest = earliest(leg, backup, first, step, place, before.as_ref());
        reach.latest = latest(leg, step, record.map_or(place, |(_, mark)| mark.at));
    }
    reach
}

fn candidate(backup: &BackupFacts) -> crate::backup::select::Candidate {
    let sentinel = match &backup.sentinel {
        super::survey::SentinelState::Read(sentinel) => Some((**sentinel).clone()),
        _ => None,
    };
    let (modified, finished) = (backup.modified, backup.finished);
    crate::backup::select::Candidate { name: backup.name, sentinel, modified, finished }
}

/// The latest time of what is committed from the backup's start up to its consistency. `None` where it was not read.
fn earliest(
    leg: &Leg<'_>,
    backup: &BackupFacts,
    first: usize,
    step: usize,
    place: Lsn,
    before: Option<&Times>,
) -> Option<Earliest> {
    if leg.gaps(first, step).0 > 0 {
        return None;
    }
    let mut part = Part::default();
    for index in first..=step {
        let times = leg.times(index)?;
        let times = before.filter(|_| index == step).copied().unwrap_or(times);
        part = part.and(Part::clip(&times, backup.start, place));
    }
    if let Some(high) = part.high {
        let by = if part.low.is_some_and(|low| low.1 == high.1) { By::Commit } else { By::Segment };
        return edge(high).map(|edge| Earliest { time: edge.time, by });
    }
    // Nothing of the first segment is behind the start, then, but what is behind consistency.
    let own = before.filter(|_| first == step).copied().or(leg.times(first))?;
    let own = [own.first, own.last, own.max].into_iter().flatten().filter(|stamp| stamp.0 < backup.start);
    let own = own.fold(None, |latest, stamp| later(latest, Some(stamp)));
    let earlier = || (0..first).rev().find_map(|index| leg.times(index)?.max);
    if let Some(edge) = own.or_else(earlier).and_then(edge) {
        return Some(Earliest { time: edge.time, by: By::Before });
    }
    if let Some(time) = backup.started {
        return Some(Earliest { time, by: By::Began });
    }
    let behind = (step..leg.steps.len()).find_map(|index| {
        let times = leg.times(index)?;
        [times.first, times.max, times.last]
            .into_iter()
            .flatten()
            .filter(|stamp| stamp.0 >= place)
            .min_by_key(|one| one.0)
    });
    behind.and_then(edge).map(|edge| Earliest { time: edge.time, by: By::Behind })
}

/// The latest time of what is committed from a place up to the end of the leg.
fn latest(leg: &Leg<'_>, step: usize, from: Lsn) -> Option<Edge> {
    let own = leg.times(step).and_then(|times| Part::clip(&times, from, leg.end).low);
    later(own, leg.suffix.get(step + 1).copied().flatten()).and_then(edge)
}

fn merge(legs: &[Leg<'_>], reaches: &[(Option<usize>, Reach)]) -> (Vec<Window>, Vec<Hole>) {
    let mut windows: Vec<Window> = Vec::new();
    let mut holes: Vec<Hole> = Vec::new();
    let mut hole: Option<Hole> = None;
    for (number, leg) in legs.iter().enumerate() {
        let usable: Vec<&Reach> = reaches
            .iter()
            .filter(|(at, reach)| *at == Some(number) && reach.is_usable())
            .map(|(_, reach)| reach)
            .collect();
        let from = usable.iter().filter_map(|reach| reach.earliest).min_by_key(|earliest| earliest.time);
        let first = usable.iter().filter_map(|reach| reach.consistent).min();
        if let Some(from_lsn) = first {
            if let Some(hole) = hole.take() {
                holes.push(Hole { to_lsn: Some(from_lsn), to: from, ..hole });
            }
            let index = leg.at(from_lsn).unwrap_or_default();
            let start = usable.iter().map(|reach| reach.start).min().and_then(|start| leg.at(start)).unwrap_or(index);
            let (unread, _) = leg.gaps(start, leg.last());
            let latest = usable.iter().filter_map(|reach| reach.latest).max_by_key(|edge| edge.time);
            windows.push(Window {
                from_lsn,
                to_lsn: leg.end,
                from,
                to: latest,
                last_commit: leg.last_commit(from_lsn).filter(|_| leg.nonsense.is_none()).and_then(edge),
                ends: leg.stop.clone(),
                backups: usable.len() as u64,
                proven: usable.iter().all(|reach| reach.proven),
                unread,
            });
            if !matches!(leg.stop, Stop::ArchiveEnds { .. }) {
                let (from_lsn, because) = (leg.end, vec![leg.stop.clone()]);
                hole = Some(Hole { from_lsn, to_lsn: None, from: latest, to: None, lost: None, because });
            }
            continue;
        }
        // WAL that no base backup leads into.
        let Some(hole) = &mut hole else { continue };
        hole.lost = leg.last_commit(leg.begin).and_then(edge).or(hole.lost);
        if !matches!(leg.stop, Stop::ArchiveEnds { .. }) {
            hole.because.push(leg.stop.clone());
        }
    }
    holes.extend(hole);
    (windows, holes)
}

fn restore_points(legs: &[Leg<'_>], reaches: &[(Option<usize>, Reach)]) -> Vec<RestorePoint> {
    let mut points = Vec::new();
    for (number, leg) in legs.iter().enumerate() {
        // A name stops at the first record that has it, counted from the backup's start.
        let mut before: HashMap<&str, Lsn> = HashMap::new();
        for step in &leg.steps {
            for mark in step.facts.map_or(&[][..], |facts| &facts.marks) {
                let MarkKind::RestorePoint { name, time } = &mark.kind else { continue };
                if mark.at < leg.begin || mark.end > leg.end {
                    continue;
                }
                let previous = before.insert(name, mark.at);
                let fits = |reach: &&Reach| {
                    reach.is_usable()
                        && reach.consistent.is_some_and(|place| place <= mark.at)
                        && previous.is_none_or(|previous| previous < reach.start)
                };
                let here = reaches.iter().rev().filter(|(at, _)| *at == Some(number)).map(|(_, reach)| reach);
                let from = here.into_iter().find(fits).map(|reach| reach.backup);
                let time = edge((mark.at, *time)).map(|edge| edge.time);
                points.push(RestorePoint { name: name.clone(), time, lsn: mark.at, from });
            }
        }
    }
    points
}

fn clock(legs: &[Leg<'_>]) -> Vec<ClockStep> {
    let mut found = Vec::new();
    let mut max: Option<Stamp> = None;
    for leg in legs.iter().filter(|leg| leg.nonsense.is_none()) {
        for index in 0..leg.steps.len() {
            let Some(times) = leg.times(index) else { continue };
            // In order of LSN; the latest one stands where it is.
            let mut stamps: Vec<Stamp> = [times.first, times.max, times.last].into_iter().flatten().collect();
            stamps.sort_by_key(|stamp| stamp.0);
            for stamp in stamps {
                if let Some(before) = max
                    && before.1.0.saturating_sub(stamp.1.0) > CLOCK_SLACK
                    && found.len() < CLOCK_KEPT
                    && let (Some(before), Some(behind)) = (edge(before), edge(stamp))
                    && found.last().is_none_or(|last: &ClockStep| last.before != before)
                {
                    found.push(ClockStep { before, behind });
                }
                max = later(max, Some(stamp));
            }
        }
    }
    found
}

fn notes(legs: &[Leg<'_>], reaches: &[(Option<usize>, Reach)]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some((lsn, _)) = legs.iter().find_map(|leg| leg.nonsense) {
        notes.push(format!(
            "The commit at {lsn} has a time that cannot be one: the server was built with floating-point timestamps (9.5 or \
             9.6), or its clock was far off. Times are not told here; places in the WAL (LSN) are."
        ));
    }
    let by_names = reaches.iter().filter(|(_, reach)| reach.is_usable() && !reach.consistent_by_record).count();
    if by_names > 0 {
        notes.push(format!(
            "Of {by_names} base backups the end-of-backup record was not seen: where they are consistent is what names and \
             sentinels say. Backups taken on a standby have no such record."
        ));
    }
    let cut: u64 = legs.iter().flat_map(|leg| &leg.steps).filter_map(|step| Some(step.facts?.more_marks)).sum();
    if cut > 0 {
        notes.push(format!("{cut} restore points and checkpoints were too many to keep and are not shown."));
    }
    notes
}

mod wish;

pub use wish::{Answered, Near, Target, Way, Wish, can_reach};

#[cfg(test)]
mod tests;
