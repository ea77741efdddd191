//! `wal-verify`: WAL-G's two checks of names, and the levels of proof.
//!
//! In: a store, which checks, where the server is now (or nothing: then the archive's own newest end stands for it). Out:
//! [`Report`]: a status for each check, always with its details. Never: needs a database; ends because an object is bad;
//! calls an archive good that is empty or could not be reached.
//! The levels `decode`, `headers` and `records` read every stored segment once, whichever of them are asked for.
//!
//! `integrity` walks from the server's place down to the oldest base backup that leads there, as WAL-G does, with its
//! statuses: what the server may still be uploading is not lost yet. Without a server nothing is known to be on its way, so
//! whatever is missing is lost. Where WAL-G goes wrong we do not: two switches in one segment, numbers of timelines that
//! skip, one unreadable sentinel, empty objects.
//! Source: WAL-G `internal/databases/postgres/integrity_check_runner.go`, `timeline_check_runner.go`.

use super::{Progress, Unit};
use crate::backup::restore::Effort;
use crate::catalog::continuity;
use crate::error::{Answer, Code, Error};
use crate::layout::BackupName;
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, SegmentName, SegmentNo, SegmentSize, TimelineId};
use crate::proof::facts::{Forgetful, Outcome};
use crate::proof::finding::{Defect, FindingCode};
use crate::proof::segment::Advance;
use crate::proof::survey::{BackupFacts, SentinelState, Survey, scan};
use crate::proof::verdict::Verdict;
use crate::proof::walk::{self, Selection, Walked};
use crate::proof::{Finding, Level, judge, names};
use crate::storage::Store;
use serde::Serialize;
use std::sync::Arc;

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Is the WAL without gaps from the oldest base backup to where the server is?
    Integrity,
    /// Is the newest timeline in the archive the server's?
    Timeline,
    /// The names level of `audit`: whom does what is missing hurt?
    Names,
    /// The names, and every object whole.
    Decode,
    /// And every page at its place.
    Headers,
    /// And every record good and linked.
    Records,
}

impl Check {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Check::Integrity => "integrity",
            Check::Timeline => "timeline",
            Check::Names => "names",
            Check::Decode => "decode",
            Check::Headers => "headers",
            Check::Records => "records",
        }
    }
}

impl Check {
    /// How closely it reads the WAL.
    fn level(self) -> Level {
        match self {
            Check::Integrity | Check::Timeline | Check::Names => Level::Names,
            Check::Decode => Level::Decode,
            Check::Headers => Level::Headers,
            Check::Records => Level::Records,
        }
    }
}

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The first byte that it has not written (or received) yet.
    pub lsn: Lsn,
    /// Its timeline.
    pub timeline: TimelineId,
}

/// Which base backup the walk ends at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The oldest that leads to the server's place.
    Oldest,
    /// The newest.
    Latest,
    /// This one.
    Named(BackupName),
}

/// What to verify.
#[derive(Debug, Clone)]
pub struct Options {
    /// In this order.
    pub checks: Vec<Check>,
    /// Where the server is; `None`: where the archive ends.
    pub place: Option<Place>,
    /// Where the walk ends.
    pub from: From,
    /// Newest segments that may not have been handed to the archiver yet.
    pub delayed: u64,
    /// Segments behind those that may be on their way, in any order.
    pub uploading: u64,
    /// Segments read at once.
    pub workers: Option<usize>,
    /// Cores of this machine.
    pub cores: usize,
}

/// All checks.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The archive.
    pub archive: String,
    /// Bytes of a segment, where anything was learnt.
    pub segment_bytes: Option<u64>,
    /// Where that was learnt.
    pub segment_bytes_from: Option<String>,
    /// Where the server is, or where the archive ends.
    pub place: Option<Place>,
    /// Was a server's place given?
    pub of_a_server: bool,
    /// The checks, in the order asked for.
    pub checks: Vec<Checked>,
}

/// One check's outcome.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Which.
    pub check: Check,
    /// In one word.
    pub status: Status,
    /// What it rests on.
    pub details: Details,
    /// What was read for it, beyond the names.
    pub read: Option<Read>,
}

/// What was read of the WAL.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Read {
    /// Objects.
    pub objects: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// Segments that are good.
    pub good: u64,
    /// Records in them; 0 below that level.
    pub records: u64,
    /// Segments that follow none that was checked: the link of their first record is not.
    pub unlinked: u64,
}

/// WAL-G's words, and one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Good.
    Ok,
    /// Not lost yet, or nobody needs it now.
    Warning,
    /// Could not be looked at.
    Unknown,
    /// Lost.
    Failure,
}

impl Status {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Warning => "WARNING",
            Status::Unknown => "UNKNOWN",
            Status::Failure => "FAILURE",
        }
    }
}

impl std::convert::From<Verdict> for Status {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Ok => Status::Ok,
            Verdict::Warning => Status::Warning,
            Verdict::Unknown => Status::Unknown,
            Verdict::Critical => Status::Failure,
        }
    }
}

/// What a check rests on.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Details {
    /// `integrity`: the walk, oldest first.
    Integrity(Vec<Stretch>),
    /// `timeline`
    Timeline {
        /// Of the server, or of what recovery by `latest` follows.
        current_timeline_id: u32,
        /// The highest number in the archive; 0 when there is none.
        highest_storage_timeline_id: u32,
    },
    /// `names`, and every check of what could not be listed.
    Findings(Vec<Finding>),
}

/// Neighbouring segments of one timeline in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// The timeline.
    pub timeline_id: TimelineId,
    /// The first one.
    pub start_segment: SegmentName,
    /// The last one.
    pub end_segment: SegmentName,
    /// How many.
    pub segments_count: u64,
    /// Their state.
    pub status: State,
}

/// State of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// There.
    Found,
    /// The server may not have handed it to the archiver yet.
    MissingDelayed,
    /// It may be on its way.
    MissingUploading,
    /// Gone.
    MissingLost,
}

impl State {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            State::Found => "FOUND",
            State::MissingDelayed => "MISSING_DELAYED",
            State::MissingUploading => "MISSING_UPLOADING",
            State::MissingLost => "MISSING_LOST",
        }
    }
}

impl Report {
    /// The worst of all checks.
    pub fn verdict(&self) -> Verdict {
        match self.checks.iter().map(|one| one.status).max() {
            None | Some(Status::Ok) => Verdict::Ok,
            Some(Status::Warning) => Verdict::Warning,
            Some(Status::Unknown) => Verdict::Unknown,
            Some(Status::Failure) => Verdict::Critical,
        }
    }

    /// Nothing is known of the archive: every check says why.
    pub fn unread(archive: &str, options: &Options, error: &Error) -> Report {
        let finding = judge::unread(archive, error);
        let details = || Details::Findings(vec![finding.clone()]);
        let checked =
            |check: &Check| Checked { check: *check, status: Status::Unknown, details: details(), read: None };
        Report {
            archive: archive.to_owned(),
            segment_bytes: None,
            segment_bytes_from: None,
            place: options.place.clone(),
            of_a_server: options.place.is_some(),
            checks: options.checks.iter().map(checked).collect(),
        }
    }
}

/// Run the checks. An error only for a base backup that was named and cannot be used.
pub async fn run(store: Arc<dyn Store>, options: &Options, progress: Arc<dyn Progress>) -> Answer<Report> {
    progress.begin("listing", None, Unit::Things("objects"));
    let survey = scan(&*store).await;
    progress.end();
    let survey = match survey {
        Ok(survey) => survey,
        Err(error) => return Ok(Report::unread(&store.url(), options, &error)),
    };
    let level = options.checks.iter().map(|check| check.level()).max().unwrap_or(Level::Names);
    let walked = match level {
        Level::Names => None,
        _ if survey.inventory.is_empty() => None,
        level => Some(walk(store, &survey, level, options, progress).await?),
    };
    let place = options.place.clone().or_else(|| end_of(&survey));
    let mut checks = Vec::new();
    for check in &options.checks {
        checks.push(match check {
            // Nothing was found: that is no proof of anything.
            _ if survey.inventory.is_empty() => found(*check, &survey, None),
            Check::Integrity => integrity(&survey, place.as_ref(), options)?,
            Check::Timeline => timeline(&survey, place.as_ref()),
            Check::Names => found(*check, &survey, None),
            Check::Decode | Check::Headers | Check::Records => found(*check, &survey, walked.as_ref()),
        });
    }
    Ok(Report {
        archive: survey.url.clone(),
        segment_bytes: Some(survey.size.bytes()),
        segment_bytes_from: Some(survey.size_from.clone()),
        place,
        of_a_server: options.place.is_some(),
        checks,
    })
}

fn found(check: Check, survey: &Survey, walked: Option<&Walked>) -> Checked {
    let mut defects = names::defects(survey);
    if let Some(walked) = walked {
        names::told_by_wal(survey, &walked.proofs, &mut defects);
        defects.extend(walked.defects.iter().filter(|one| seen_at(one) <= check.level()).cloned());
    }
    let findings = judge::judge(survey, defects);
    let status = Verdict::of(&findings).into();
    Checked { check, status, details: Details::Findings(findings), read: walked.map(read) }
}

/// The level that shows such a defect: one walk, at the closest level asked for, stands for all of them.
fn seen_at(defect: &Defect) -> Level {
    match defect.code {
        FindingCode::SegmentUndecodable
        | FindingCode::SegmentSize
        | FindingCode::SegmentDiffers
        | FindingCode::SegmentUnread => Level::Decode,
        FindingCode::SegmentForeign | FindingCode::SegmentPage | FindingCode::SegmentMisfit => Level::Headers,
        _ => defect.level,
    }
}

/// Reads every stored segment.
async fn walk(
    store: Arc<dyn Store>,
    survey: &Survey,
    level: Level,
    options: &Options,
    progress: Arc<dyn Progress>,
) -> Answer<Walked> {
    let workers = options.workers.unwrap_or_else(|| Effort::workers_for(&*store, options.cores));
    let effort = Effort { workers, cores: options.cores.max(1) };
    let selection = Selection::all();
    progress.begin("reading segments", Some(walk::stored_bytes(survey, &selection)), Unit::Bytes);
    let bar = Arc::clone(&progress);
    let advance: Advance = Arc::new(move |bytes| bar.advance(bytes));
    let walked = walk::walk(store, survey, &selection, level, effort, &mut Forgetful, advance).await;
    progress.end();
    walked
}

fn read(walked: &Walked) -> Read {
    let good = walked.proofs.iter().filter_map(|proof| match &proof.outcome {
        Outcome::Good(facts) => Some(facts),
        _ => None,
    });
    Read {
        objects: walked.read.objects,
        bytes: walked.read.bytes,
        good: good.clone().count() as u64,
        records: good.map(|facts| facts.records).sum(),
        unlinked: walked.unchecked.segments,
    }
}

/// Where an archive ends: behind the newest segment of what recovery by `latest` follows, or without a base backup of its
/// highest timeline.
fn end_of(survey: &Survey) -> Option<Place> {
    let followed = survey.latest().map(|latest| survey.timelines.latest(latest.timeline));
    let stored = |timeline: &TimelineId| survey.extents.contains_key(timeline);
    let of_parent = followed.filter(|one| !stored(one)).and_then(|one| survey.timelines.parent(one));
    // A promotion that happened just now: its parent is where the WAL ends.
    let timeline = of_parent.map(|(parent, _)| parent).or(followed).filter(stored);
    let timeline = timeline.or_else(|| survey.extents.keys().next_back().copied())?;
    let behind = survey.last_stored(timeline)?.0.checked_add(1)?;
    Some(Place { lsn: SegmentNo(behind).start(survey.size)?.checked_add(1)?, timeline })
}

fn integrity(survey: &Survey, place: Option<&Place>, options: &Options) -> Answer<Checked> {
    let Some(place) = place else {
        return Ok(Checked {
            check: Check::Integrity,
            status: Status::Ok,
            details: Details::Integrity(Vec::new()),
            read: None,
        });
    };
    let history = survey.told(place.timeline).unwrap_or_else(|| TimelineHistory::without_file(place.timeline));
    let oldest = oldest(survey, place, &options.from)?;
    let first = oldest.map_or(SegmentNo(1), |backup| backup.first_segment(survey.size));
    // The segment that is being written is never looked at.
    let last = place.lsn.segment_before(survey.size).previous();
    let mut stretches = Vec::new();
    if let Some(last) = last.filter(|last| first <= *last) {
        let runs = runs_between(survey, &history, first, last);
        let on_its_way = options.place.as_ref().map(|_| on_its_way(&runs, last, options));
        for (timeline, from, to, present) in runs {
            cut(timeline, from, to, present, on_its_way, survey.size, &mut stretches);
        }
    }
    let status = status(&stretches, oldest.is_some());
    Ok(Checked { check: Check::Integrity, status, details: Details::Integrity(stretches), read: None })
}

type Run = (TimelineId, SegmentNo, SegmentNo, bool);

fn runs_between(survey: &Survey, history: &TimelineHistory, first: SegmentNo, last: SegmentNo) -> Vec<Run> {
    let start = first.start(survey.size).unwrap_or(Lsn::ZERO);
    let end = last.start(survey.size).and_then(|lsn| lsn.checked_add(1)).unwrap_or(Lsn(u64::MAX));
    let runs = continuity::along(&survey.inventory, history, start, end, survey.size);
    runs.into_iter().map(|run| (run.timeline, run.first, run.last, run.present)).collect()
}

/// The oldest segments that may still be delayed, and uploading: everything before the second one is lost when missing.
fn on_its_way(runs: &[Run], last: SegmentNo, options: &Options) -> (SegmentNo, SegmentNo) {
    let newest_missing = match runs.last() {
        Some((_, from, to, false)) => to.0 - from.0 + 1,
        _ => 0,
    };
    // The first phase ends at the first segment that is there.
    let delayed = options.delayed.min(newest_missing);
    let steps = options.delayed.min(newest_missing.saturating_add(1));
    let at = |count: u64| SegmentNo(last.0.saturating_sub(count.saturating_sub(1)));
    let behind = SegmentNo(last.0.saturating_add(1));
    (
        if delayed == 0 { behind } else { at(delayed) },
        if steps + options.uploading == 0 { behind } else { at(steps.saturating_add(options.uploading)) },
    )
}

/// One run, cut where its state changes.
fn cut(
    timeline: TimelineId,
    from: SegmentNo,
    to: SegmentNo,
    present: bool,
    on_its_way: Option<(SegmentNo, SegmentNo)>,
    size: SegmentSize,
    stretches: &mut Vec<Stretch>,
) {
    let (delayed, uploading) = on_its_way.unwrap_or((SegmentNo(u64::MAX), SegmentNo(u64::MAX)));
    let pieces = match present {
        true => vec![(from, to, State::Found)],
        false => {
            let before = |limit: SegmentNo| SegmentNo(limit.0.saturating_sub(1)).min(to);
            vec![
                (from, before(uploading), State::MissingLost),
                (from.max(uploading), before(delayed), State::MissingUploading),
                (from.max(delayed), to, State::MissingDelayed),
            ]
        }
    };
    for (first, last, status) in pieces {
        let names = first.name(timeline, size).zip(last.name(timeline, size));
        if let Some((start_segment, end_segment)) = names.filter(|_| first <= last) {
            let segments_count = last.0 - first.0 + 1;
            stretches.push(Stretch { timeline_id: timeline, start_segment, end_segment, segments_count, status });
        }
    }
}

/// WAL-G's rule: lost is a failure, but for what lies before everything that is there where no base backup is known.
fn status(stretches: &[Stretch], with_backup: bool) -> Status {
    let first_found = stretches.iter().position(|one| one.status == State::Found);
    let lost = |(index, one): (usize, &Stretch)| {
        let forgiven = !with_backup && first_found.is_none_or(|first| index < first);
        match one.status {
            State::Found => Status::Ok,
            State::MissingLost if !forgiven => Status::Failure,
            _ => Status::Warning,
        }
    };
    stretches.iter().enumerate().map(lost).max().unwrap_or(Status::Ok)
}

/// The base backup that the walk ends at. An error where the one that was named cannot be it.
fn oldest<'a>(survey: &'a Survey, place: &Place, from: &From) -> Answer<Option<&'a BackupFacts>> {
    let absent = |what: &str, name: String| Error::new(Code::AbsentBackup, what.to_owned()).on(name);
    match from {
        From::Latest => survey.latest().map(Some).ok_or_else(|| absent("there is no base backup", survey.url.clone())),
        From::Named(name) => {
            let found = survey.backups.iter().find(|one| one.name == *name && one.is_finished());
            found.map(Some).ok_or_else(|| absent("there is no finished base backup of this name", name.to_string()))
        }
        From::Oldest => {
            // One that is kept for ever needs no WAL behind it.
            let permanent = |one: &BackupFacts| match &one.sentinel {
                SentinelState::Read(sentinel) => sentinel.permanent == Some(true),
                _ => false,
            };
            let leads = |one: &&BackupFacts| {
                one.is_finished() && !permanent(one) && survey.route(one, place.timeline).is_some()
            };
            Ok(survey.backups.iter().filter(leads).min_by_key(|one| one.start))
        }
    }
}

fn timeline(survey: &Survey, place: Option<&Place>) -> Checked {
    let named = survey.inventory.segments().last().map(|one| one.name.timeline());
    let highest = survey.inventory.histories.keys().next_back().copied().max(named);
    // Without a server: what a recovery by `latest` would end on.
    let current = match survey.latest() {
        Some(latest) if place.is_none_or(|place| Some(place) == end_of(survey).as_ref()) => {
            Some(survey.timelines.latest(latest.timeline))
        }
        _ => place.map(|place| place.timeline),
    };
    let status = match (highest, current) {
        (None, _) => Status::Warning,
        (highest, current) if highest == current => Status::Ok,
        _ => Status::Failure,
    };
    let number = |timeline: Option<TimelineId>| timeline.map_or(0, TimelineId::get);
    let details =
        Details::Timeline { current_timeline_id: number(current), highest_storage_timeline_id: number(highest) };
    Checked { check: Check::Timeline, status, details, read: None }
}

#[cfg(test)]
mod tests;
