//! What an audit came to, as data: one verdict, what it rests on, and what the pages need to show it.
//!
//! In: filled by `commands::audit`. Out: [`Report`], which serialises. Never: words for one kind of page only.

use crate::layout::BackupName;
use crate::pg::{Lsn, SystemId, TimelineId};
use crate::proof::finding::Severity;
use crate::proof::verdict::{Counts, Freshness, Thresholds, Verdict};
use crate::proof::windows::Windows;
use crate::proof::{Finding, Level};
use jiff::Timestamp;
use serde::Serialize;

/// What an audit came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The archive.
    pub archive: String,
    /// The one verdict.
    pub verdict: Verdict,
    /// How many findings of each kind.
    pub counts: Counts,
    /// When the audit began: what all ages in it are counted from.
    pub began: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// How closely it looked.
    pub level: Level,
    /// What that level claims, where it found nothing: a sentence.
    pub claim: String,
    /// The cluster; `None` where the archive could not be listed.
    pub cluster: Option<Cluster>,
    /// How new the archive is.
    pub freshness: Freshness,
    /// What was asked of it.
    pub thresholds: Thresholds,
    /// What was read.
    pub coverage: Coverage,
    /// Where the times of WAL come from.
    pub times: Times,
    /// The timelines, ascending.
    pub timelines: Vec<Lane>,
    /// The base backups, oldest first.
    pub backups: Vec<Backup>,
    /// What can be recovered to, oldest base backup first.
    pub windows: Vec<Window>,
    /// The same in full, for who compares two archives.
    #[serde(skip)]
    pub reach: Windows,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
    /// The acknowledgement file that was used.
    pub acknowledgements: Option<Acknowledgements>,
    /// What was done, in order, and what came of it.
    pub steps: Vec<Step>,
}

/// Whose WAL it is.
#[derive(Debug, Clone, Serialize)]
pub struct Cluster {
    /// Its system identifier, where the archive tells. Text: it has more digits than a JSON number keeps everywhere.
    #[serde(serialize_with = "text")]
    pub system: Option<SystemId>,
    /// PostgreSQL's major, such as `13` or `9.6`, where the archive tells.
    pub postgresql: Option<String>,
    /// Bytes of a WAL segment.
    pub segment_bytes: u64,
    /// Where that was learnt.
    pub segment_bytes_from: String,
}

fn text<S: serde::Serializer>(value: &Option<SystemId>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(|value| value.to_string()).serialize(serializer)
}

/// What was read of the WAL and of the base backups.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Coverage {
    /// Stored segments.
    pub segments: u64,
    /// Stored bytes of them.
    pub segment_bytes: u64,
    /// Objects that were read now.
    pub objects_read: u64,
    /// Stored bytes that were read now.
    pub bytes_read: u64,
    /// Objects of the WAL whose proof came out of the ledger.
    pub remembered: u64,
    /// When the oldest of those proofs was made.
    pub remembered_since: Option<Timestamp>,
    /// Segments that were to be read and were not: the budget was spent, or the deadline had come.
    pub not_reached: u64,
    /// Base backups that were read to their end now.
    pub backups_read: u64,
    /// Base backups that were to be read and were not.
    pub backups_not_reached: u64,
}

/// Where the times of WAL come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Times {
    /// Commit and abort records.
    Commits,
    /// When the store says that segments were written. Copying an archive changes it.
    Stored,
    /// Nobody tells, or the store's times do not run as the WAL does.
    None,
}

/// One timeline.
#[derive(Debug, Clone, Serialize)]
pub struct Lane {
    /// Its number.
    pub timeline: TimelineId,
    /// Where it left its parent, where a readable history tells.
    pub fork: Option<Fork>,
    /// Does recovery by `latest` from the newest base backup go over it?
    pub on_the_way: bool,
    /// Stored segments, each counted once.
    pub segments: u64,
    /// Stretches of segments that are there and that are missing, as the WAL runs.
    pub stretches: Vec<Stretch>,
    /// Where findings are, as the WAL runs.
    pub spots: Vec<Spot>,
}

/// Where a timeline begins.
#[derive(Debug, Clone, Serialize)]
pub struct Fork {
    /// The one it left.
    pub parent: TimelineId,
    /// The first byte that is its own.
    pub lsn: Lsn,
    /// About when.
    pub time: Option<Timestamp>,
}

/// Neighbouring segments that are all there or all missing.
#[derive(Debug, Clone, Serialize)]
pub struct Stretch {
    /// Are they there?
    pub present: bool,
    /// The first.
    pub first: String,
    /// The last.
    pub last: String,
    /// How many.
    pub segments: u64,
    /// Where they are.
    #[serde(flatten)]
    pub place: Reach,
}

/// From where to where, in the WAL and about when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// First byte.
    pub from: Lsn,
    /// Behind the last.
    pub to: Lsn,
    /// About when the first was written.
    pub begins: Option<Timestamp>,
    /// About when the last was.
    pub ends: Option<Timestamp>,
}

/// A finding's place on a timeline.
#[derive(Debug, Clone, Serialize)]
pub struct Spot {
    /// Which of the findings.
    pub finding: usize,
    /// How bad.
    pub severity: Severity,
    /// Where it is.
    #[serde(flatten)]
    pub place: Reach,
}

/// One base backup.
#[derive(Debug, Clone, Serialize)]
pub struct Backup {
    /// Its name.
    pub name: BackupName,
    /// The timeline it was taken on.
    pub timeline: TimelineId,
    /// Where replay starts.
    pub start: Lsn,
    /// Behind what it needs to be consistent.
    pub stop: Option<Lsn>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Is it what LATEST means?
    pub latest: bool,
    /// `usable`, `unfinished`, `damaged`, `unknown`.
    pub state: State,
    /// The worst finding that hurts it.
    pub worst: Option<Severity>,
    /// How it was looked at: `names` or, where its parts were read, `pages`.
    pub looked_at: &'static str,
}

/// What a base backup is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It can be restored, as far as was looked.
    Usable,
    /// It has no sentinel: failed, or being taken.
    Unfinished,
    /// It cannot be restored, or not to a state that may be trusted.
    Damaged,
    /// It could not be looked at.
    Unknown,
}

impl State {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            State::Usable => "usable",
            State::Unfinished => "unfinished",
            State::Damaged => "damaged",
            State::Unknown => "unknown",
        }
    }
}

/// Where one base backup leads to on one timeline.
#[derive(Debug, Clone, Serialize)]
pub struct Window {
    /// The base backup.
    pub backup: BackupName,
    /// The timeline it is followed on.
    pub timeline: TimelineId,
    /// Is that the way `latest` takes?
    pub latest: bool,
    /// From where (consistent) to where (the end of what can be replayed).
    #[serde(flatten)]
    pub place: Reach,
    /// What ends it before the end of its timeline: one clause.
    pub cut_short: Option<String>,
}

/// The acknowledgement file.
#[derive(Debug, Clone, Serialize)]
pub struct Acknowledgements {
    /// Its path.
    pub file: String,
    /// Its entries.
    pub entries: usize,
}

/// One step of the audit.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// What was tried: `list the archive`.
    pub step: String,
    /// Did it go well?
    pub done: bool,
    /// What came of it: one clause.
    pub outcome: String,
}

impl Report {
    /// The sentence above everything: the worst finding, or what can be recovered.
    pub fn headline(&self) -> String {
        let worst = self.findings.iter().find(|finding| Verdict::from(finding.severity) == self.verdict);
        match worst.filter(|_| self.verdict != Verdict::Ok) {
            Some(finding) => {
                let more = self.counts.critical + self.counts.unknown + self.counts.warning;
                let more = match more.saturating_sub(1) {
                    0 => String::new(),
                    more => format!(" (and {more} more)"),
                };
                format!("{}: {}{more}", finding.object, finding.what)
            }
            None => {
                let known = if self.counts.acknowledged > 0 { "nothing new is wrong" } else { "nothing is wrong" };
                let whole = if self.coverage.is_whole() { "" } else { " in what was read; not all was" };
                format!("{known}{whole} (level: {})", self.level.word())
            }
        }
    }

    /// Seconds from a moment to the audit; not below 0.
    pub fn age_seconds(&self, of: Timestamp) -> u64 {
        u64::try_from(self.began.duration_since(of).as_secs()).unwrap_or(0)
    }

    /// Missing segments on all timelines.
    pub fn segments_missing(&self) -> u64 {
        let stretches = self.timelines.iter().flat_map(|lane| &lane.stretches);
        stretches.filter(|stretch| !stretch.present).fold(0, |sum, stretch| sum.saturating_add(stretch.segments))
    }
}

impl Coverage {
    /// Was all looked at that the level asks for?
    pub fn is_whole(&self) -> bool {
        self.not_reached == 0 && self.backups_not_reached == 0
    }
}

impl Cluster {
    /// `server_version_num / 10000`, or 906 for 9.6, as people say it.
    pub fn version_text(major: u32) -> String {
        if major >= 900 { format!("{}.{}", major / 100, major % 100) } else { major.to_string() }
    }
}
