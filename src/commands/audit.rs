//! `audit`: one verdict on an archive, for cron.
//!
//! In: a store, how closely to look, what may be spent, what is wished and what is known to be lost. Out: [`Report`], also
//! of an archive that cannot be reached. Never: ends because one object is bad; calls good what it did not read; writes to
//! the archive.
//!
//! ```text
//! survey ─ names ─ walk ─ base backups ─▶ judge ─ windows ─ wishes ─ acknowledgements ─▶ one verdict
//! ```

mod lanes;
mod look;
pub mod report;

pub use report::Report;

use super::{Progress, Unit};
use crate::backup::restore::Effort;
use crate::error::{Answer, Error};
use crate::layout::BackupName;
use crate::pg::TimelineId;
use crate::proof::ack::{self, Acks};
use crate::proof::facts::{Level, Outcome, SegmentProof};
use crate::proof::finding::{Breaks, Defect, Finding, FindingCode, Place, Severity};
use crate::proof::judge::{self, judge};
use crate::proof::names;
use crate::proof::survey::{self, BackupFacts, SentinelState, Survey};
use crate::proof::verdict::{self, Counts, Freshness, NewestBackup, NewestCommit, NewestSegment, Thresholds, Verdict};
use crate::proof::windows::{self, Stop};
use crate::storage::Store;
use jiff::Timestamp;
use lanes::Clock;
use look::close;
use report::{Acknowledgements, Backup, Cluster, Coverage, Reach, State, Step, Times, Window};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// How closely to look.
    pub level: Level,
    /// Which base backups are read, from [`Level::Decode`] on.
    pub backups: Backups,
    /// Stored bytes that may be read.
    pub budget_bytes: Option<u64>,
    /// How long reading may take.
    pub budget_time: Option<Duration>,
    /// What was proven before, and where to keep what is proven now.
    pub ledger: Option<PathBuf>,
    /// Which share of what the ledger knows is read again, 0 to 1.
    pub recheck: f64,
    /// What is wished.
    pub thresholds: Thresholds,
    /// What is known to be lost.
    pub ack: Option<PathBuf>,
    /// At how much at once.
    pub effort: Effort,
    /// What time it is.
    pub now: Timestamp,
}

/// Which base backups are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backups {
    /// None: their names only.
    None,
    /// The one that LATEST means.
    Latest,
    /// All, the newest first.
    All,
}

/// What was tried before the archive itself.
pub fn unreached(archive: &str, error: &Error, options: &Options) -> Report {
    let steps = vec![step("open the store", Err(chain(error)))];
    closed(archive, error, options, steps, Instant::now())
}

/// Audit it.
pub async fn run(store: Arc<dyn Store>, options: &Options, progress: Arc<dyn Progress>) -> Answer<Report> {
    let began = Instant::now();
    progress.begin("listing the archive", None, Unit::Things("objects"));
    let survey = survey::scan(&*store).await;
    let report = match survey {
        Ok(survey) => Audit::new(&survey, store, options, began).run(&progress).await,
        Err(error) => {
            let steps = vec![step("list the archive", Err(chain(&error)))];
            Ok(closed(&store.url(), &error, options, steps, began))
        }
    };
    progress.end();
    report
}

/// A verdict on an archive that nobody could look at.
fn closed(archive: &str, error: &Error, options: &Options, steps: Vec<Step>, began: Instant) -> Report {
    let findings = vec![Finding {
        consequence: "Nothing is known about the archive.".to_owned(),
        level: options.level,
        ..judge::unread(archive, error)
    }];
    Report {
        archive: archive.to_owned(),
        verdict: Verdict::of(&findings),
        counts: Counts::of(&findings),
        began: options.now,
        took_ms: millis(began.elapsed()),
        level: options.level,
        claim: options.level.claim().to_owned(),
        cluster: None,
        freshness: Freshness::default(),
        thresholds: options.thresholds,
        coverage: Coverage::default(),
        times: Times::None,
        timelines: Vec::new(),
        backups: Vec::new(),
        windows: Vec::new(),
        reach: windows::Windows { timelines: Vec::new() },
        findings,
        acknowledgements: None,
        steps,
    }
}

/// An error as one clause, with its code.
fn chain(error: &Error) -> String {
    format!("[{}] {}", error.code(), error.chain())
}

fn step(what: &str, outcome: Result<String, String>) -> Step {
    let done = outcome.is_ok();
    Step { step: what.to_owned(), done, outcome: outcome.unwrap_or_else(|why| why) }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One audit under way.
struct Audit<'a> {
    survey: &'a Survey,
    store: Arc<dyn Store>,
    options: &'a Options,
    began: Instant,
    steps: Vec<Step>,
    defects: Vec<Defect>,
    proofs: Vec<SegmentProof>,
    coverage: Coverage,
    /// Base backups whose parts were read, now or before.
    looked_into: BTreeSet<BackupName>,
}

impl<'a> Audit<'a> {
    fn new(survey: &'a Survey, store: Arc<dyn Store>, options: &'a Options, began: Instant) -> Self {
        let segments = survey.inventory.segments();
        let mut names: Vec<_> = segments.iter().map(|one| one.name).collect();
        names.dedup();
        let bytes = segments.iter().fold(0_u64, |sum, one| sum.saturating_add(one.size));
        let coverage = Coverage { segments: names.len() as u64, segment_bytes: bytes, ..Coverage::default() };
        let (steps, defects, proofs) = (Vec::new(), Vec::new(), Vec::new());
        Audit { survey, store, options, began, steps, defects, proofs, coverage, looked_into: BTreeSet::new() }
    }

    async fn run(mut self, progress: &Arc<dyn Progress>) -> Answer<Report> {
        let survey = self.survey;
        let many = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let said = [
            many(usize::try_from(self.coverage.segments).unwrap_or(usize::MAX), "segment"),
            many(survey.all_timelines().len(), "timeline"),
            many(survey.backups.len(), "base backup"),
        ]
        .join(", ");
        self.steps.push(step("list the archive", Ok(said)));
        self.defects = names::defects(survey);
        let mut ledger = self.open_ledger();
        if self.options.level > Level::Names && !survey.inventory.is_empty() {
            match &mut ledger {
                Some(Ok(ledger)) => {
                    self.vanished(ledger)?;
                    self.walk(Some(ledger), progress).await?;
                    self.backups(Some(ledger), progress).await?;
                }
                Some(Err(error)) => self.without_ledger(error),
                None => {
                    self.walk(None, progress).await?;
                    self.backups(None, progress).await?;
                }
            }
        }
        let mut report = self.judged();
        if let Some(Ok(ledger)) = &mut ledger {
            let closed = close(ledger, &report);
            report.steps.extend(closed);
        }
        Ok(report)
    }
}

impl Audit<'_> {
    /// Everything that was seen, as one report.
    fn judged(mut self) -> Report {
        let (survey, options) = (self.survey, self.options);
        names::told_by_wal(survey, &self.proofs, &mut self.defects);
        let whole = self.defects.clone();
        let way = self.way();
        let mut findings = judge(survey, std::mem::take(&mut self.defects));
        look::newest_gone(survey, &way, &mut findings);
        let reach = windows::windows(survey, &self.proofs, &whole);
        let windows = rows(&reach);
        let freshness = self.freshness(&way, &windows);
        findings.extend(verdict::thresholds(&options.thresholds, &freshness, options.level, options.now));
        let (mut findings, acknowledgements) = self.acknowledged(findings);
        // Worst first; what judge and the pieces of a finding have as order is kept within.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let clock = Clock::new(survey, &self.proofs);
        let timelines = lanes::lanes(survey, &clock, &findings, &way);
        let backups = survey.backups.iter().map(|facts| self.backup(facts, &whole, &findings)).collect();
        Report {
            archive: survey.url.clone(),
            verdict: Verdict::of(&findings),
            counts: Counts::of(&findings),
            began: options.now,
            took_ms: millis(self.began.elapsed()),
            level: options.level,
            claim: options.level.claim().to_owned(),
            cluster: Some(Cluster {
                system: survey.system,
                postgresql: survey.major.map(Cluster::version_text),
                segment_bytes: survey.size.bytes(),
                segment_bytes_from: survey.size_from.clone(),
            }),
            freshness,
            thresholds: options.thresholds,
            coverage: self.coverage,
            times: clock.times,
            timelines,
            backups,
            windows,
            reach,
            findings,
            acknowledgements,
            steps: self.steps,
        }
    }

    /// The timelines that recovery by `latest` goes over from the newest usable base backup; without one, those that lead
    /// to the newest timeline. Oldest first.
    fn way(&self) -> Vec<TimelineId> {
        let survey = self.survey;
        let newest = survey.backups.iter().find(|backup| backup.latest);
        let stored = |timeline: &TimelineId| survey.last_stored(*timeline).is_some();
        let target = match newest {
            Some(backup) => survey.timelines.latest(backup.timeline),
            None => match survey.extents.keys().next_back() {
                Some(timeline) => *timeline,
                None => return Vec::new(),
            },
        };
        let history = survey.timelines.history(target);
        let way = history.map_or_else(|| vec![target], |history| history.spans().map(|span| span.timeline).collect());
        way.into_iter().filter(stored).collect()
    }

    fn freshness(&self, way: &[TimelineId], windows: &[Window]) -> Freshness {
        let survey = self.survey;
        let newest_segment = way.last().and_then(|timeline| {
            let name = survey.last_stored(*timeline)?.name(*timeline, survey.size)?;
            let stored = survey.inventory.stored(name).iter().filter_map(|one| one.modified()).max();
            Some(NewestSegment { name, stored })
        });
        let newest_backup = survey
            .backups
            .iter()
            .find(|backup| backup.latest)
            .map(|backup| NewestBackup { name: backup.name, finished: backup.finished.or(backup.modified) });
        let (window_start, window_end) = recoverable(windows);
        let newest_commit = self.newest_commit(way);
        Freshness { newest_commit, newest_segment, newest_backup, window_start, window_end }
    }

    /// The last commit of the way; a parent's WAL behind the place where it was left is not on it.
    fn newest_commit(&self, way: &[TimelineId]) -> Option<NewestCommit> {
        let history = self.survey.timelines.history(*way.last()?)?;
        way.iter().rev().find_map(|timeline| {
            let end = history.span(*timeline)?.end;
            let of = self.proofs.iter().filter(|proof| proof.name.timeline() == *timeline);
            let commits = of.filter_map(|proof| match &proof.outcome {
                Outcome::Good(facts) => facts.times.last_commit,
                _ => None,
            });
            let (lsn, time) =
                commits.filter(|(lsn, _)| end.is_none_or(|end| *lsn < end)).max_by_key(|(lsn, _)| *lsn)?;
            Some(NewestCommit { time: lanes::moment(time)?, lsn, timeline: *timeline })
        })
    }

    fn backup(&self, facts: &BackupFacts, defects: &[Defect], findings: &[Finding]) -> Backup {
        let own = Place::Backup(facts.name);
        let breaks = |which: Breaks| defects.iter().any(|defect| defect.place == own && defect.breaks == which);
        let state = match &facts.sentinel {
            SentinelState::Absent => State::Unfinished,
            SentinelState::Damaged(_) => State::Damaged,
            _ if breaks(Breaks::Backup) || breaks(Breaks::Rows) => State::Damaged,
            SentinelState::Unknown(_) => State::Unknown,
            _ if breaks(Breaks::Unknown) => State::Unknown,
            SentinelState::Read(_) => State::Usable,
        };
        let about = findings.iter().filter(|one| one.place == own || one.hurts.contains(&facts.name));
        Backup {
            name: facts.name,
            timeline: facts.timeline,
            start: facts.start,
            stop: facts.stop,
            started: facts.started,
            finished: facts.finished.or(facts.modified),
            latest: facts.latest,
            state,
            worst: about.map(|finding| finding.severity).max(),
            looked_at: if self.looked_into.contains(&facts.name) { "pages" } else { "names" },
        }
    }

    /// Hold the findings against the acknowledgement file. One that cannot be read acknowledges nothing, and says so.
    fn acknowledged(&mut self, findings: Vec<Finding>) -> (Vec<Finding>, Option<Acknowledgements>) {
        let options = self.options;
        let Some(path) = &options.ack else { return (findings, None) };
        let file = path.display().to_string();
        match read_acks(path) {
            Ok(acks) => {
                let said = format!("{} entries", acks.entries.len());
                self.steps.push(step("read the acknowledgement file", Ok(said)));
                let entries = acks.entries.len();
                let findings = ack::apply(findings, &acks, self.survey.size, options.level, options.now);
                (findings, Some(Acknowledgements { file, entries }))
            }
            Err(why) => {
                self.steps.push(step("read the acknowledgement file", Err(why.clone())));
                let mut findings = findings;
                findings.push(unread_acks(file, why, options.level));
                (findings, None)
            }
        }
    }
}

/// A row for each timeline that a base backup leads to.
fn rows(windows: &windows::Windows) -> Vec<Window> {
    let lines = windows.timelines.iter();
    let mut rows: Vec<Window> = lines
        .flat_map(|line| line.backups.iter().filter(|reach| reach.is_usable()).map(move |reach| (line, reach)))
        .map(|(line, reach)| Window {
            backup: reach.backup,
            timeline: line.timeline,
            latest: line.latest,
            place: Reach {
                from: reach.consistent.unwrap_or(reach.start),
                to: reach.end,
                begins: reach.earliest.map(|earliest| earliest.time),
                ends: reach.latest.map(|latest| latest.time),
            },
            cut_short: match &reach.ends {
                Stop::ArchiveEnds { .. } => None,
                stop => Some(stop.to_string()),
            },
        })
        .collect();
    rows.sort_by_key(|row| (row.place.from, row.backup, row.timeline));
    rows
}

/// The stretch without a hole that ends last, of what `latest` leads to: from where, to where.
fn recoverable(windows: &[Window]) -> (Option<Timestamp>, Option<Timestamp>) {
    let latest = || windows.iter().filter(|window| window.latest);
    let Some(end) = latest().filter_map(|window| window.place.ends).max() else { return (None, None) };
    let last = latest().filter(|window| window.place.ends == Some(end));
    (last.filter_map(|window| window.place.begins).min(), Some(end))
}

/// An acknowledgement file, whole. The error is one clause.
fn read_acks(path: &Path) -> Result<Acks, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("it cannot be opened: {error}"))?;
    let mut text = String::new();
    let read = file.take(ack::MAX_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    if text.len() as u64 > ack::MAX_BYTES {
        return Err(format!("it is longer than {} bytes", ack::MAX_BYTES));
    }
    ack::parse(&path.display().to_string(), &text)
}

fn unread_acks(file: String, what: String, level: Level) -> Finding {
    Finding {
        code: FindingCode::AckUnreadable,
        severity: Severity::Unknown,
        place: Place::Archive,
        object: file,
        timeline: None,
        first_segment: None,
        last_segment: None,
        lsn: None,
        what,
        consequence: "Nothing is taken as acknowledged: every finding counts.".to_owned(),
        next: FindingCode::AckUnreadable.next().to_owned(),
        hurts: Vec::new(),
        level,
        acknowledged: None,
    }
}

#[cfg(test)]
mod tests;
