//! One verdict from all findings, and the findings that only a clock and somebody's wishes make: too old, too short.
//!
//! In: findings, the newest commit, segment and backup, the window, [`Thresholds`], what time it is. Out: more
//! [`Finding`]s, and the [`Verdict`] with its [`Counts`]. Never: asks a clock; takes a time that is not known, or lies in
//! the future, for a fresh one.

use super::facts::Level;
use super::finding::{Finding, FindingCode, Place, Severity};
use crate::layout::BackupName;
use crate::pg::{Lsn, SegmentName, TimelineId};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::time::Duration;

/// What an archive comes to. In order of badness: critical beats unknown beats warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing that counts was found.
    Ok,
    /// Something that another backup or timeline makes good, or that will break something soon.
    Warning,
    /// Something could not be looked at, and nothing worse was seen.
    Unknown,
    /// The newest data, or the only way to some data, cannot be recovered.
    Critical,
}

impl Verdict {
    /// The worst of them.
    pub fn of(findings: &[Finding]) -> Verdict {
        findings.iter().map(|finding| Verdict::from(finding.severity)).max().unwrap_or(Verdict::Ok)
    }

    /// The word for people and scripts.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Unknown => "unknown",
            Verdict::Critical => "critical",
        }
    }

    /// What counts under `--fail-on critical`: a warning is shown and fails nothing. What nobody knows still does.
    #[must_use]
    pub fn failing_on(self, least: Severity) -> Verdict {
        if self == Verdict::Warning && least > Severity::Warning { Verdict::Ok } else { self }
    }
}

impl From<Severity> for Verdict {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Harmless => Verdict::Ok,
            Severity::Warning => Verdict::Warning,
            Severity::Unknown => Verdict::Unknown,
            Severity::Critical => Verdict::Critical,
        }
    }
}

/// How many findings of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// [`Severity::Critical`].
    pub critical: u64,
    /// [`Severity::Unknown`].
    pub unknown: u64,
    /// [`Severity::Warning`].
    pub warning: u64,
    /// [`Severity::Harmless`], acknowledged ones apart.
    pub harmless: u64,
    /// Acknowledged: they do not count.
    pub acknowledged: u64,
}

impl Counts {
    /// Count them.
    pub fn of(findings: &[Finding]) -> Counts {
        let mut counts = Counts::default();
        for finding in findings {
            let one = match finding.severity {
                _ if finding.acknowledged.is_some() => &mut counts.acknowledged,
                Severity::Critical => &mut counts.critical,
                Severity::Unknown => &mut counts.unknown,
                Severity::Warning => &mut counts.warning,
                Severity::Harmless => &mut counts.harmless,
            };
            *one += 1;
        }
        counts
    }
}

/// What somebody wishes. `None`: no wish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Thresholds {
    /// The newest WAL must not be older.
    #[serde(serialize_with = "seconds")]
    pub max_wal_age: Option<Duration>,
    /// The newest usable base backup must not be older.
    #[serde(serialize_with = "seconds")]
    pub max_backup_age: Option<Duration>,
    /// Recovery must reach back so far from now.
    #[serde(serialize_with = "seconds")]
    pub min_window: Option<Duration>,
}

fn seconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs()).serialize(serializer)
}

/// How new an archive is. Part of every verdict, with thresholds or without.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Freshness {
    /// The last commit on the way that `latest` takes. Only [`Level::Records`] knows it.
    pub newest_commit: Option<NewestCommit>,
    /// The last segment of that way.
    pub newest_segment: Option<NewestSegment>,
    /// The usable base backup that LATEST means.
    pub newest_backup: Option<NewestBackup>,
    /// The earliest moment that recovery to `latest` can stop at, without a hole up to the newest WAL.
    pub window_start: Option<Timestamp>,
    /// The latest.
    pub window_end: Option<Timestamp>,
}

/// The newest commit of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NewestCommit {
    /// When, by the clock of the server that wrote it.
    pub time: Timestamp,
    /// Where.
    pub lsn: Lsn,
    /// On which timeline.
    pub timeline: TimelineId,
}

/// The newest segment of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NewestSegment {
    /// Its name.
    pub name: SegmentName,
    /// When the store says that it was written. Copying an archive changes it.
    pub stored: Option<Timestamp>,
}

/// The newest base backup of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NewestBackup {
    /// Its name.
    pub name: BackupName,
    /// When it ended, by what it says itself; else by its sentinel's time in the store.
    pub finished: Option<Timestamp>,
}

/// A clock may be so wrong before an age is not believed.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Findings from wishes: `archive.stale`, `backup.stale`, `window.short`. A time that is wished for and not known is a
/// finding of [`Severity::Unknown`].
pub fn thresholds(wishes: &Thresholds, fresh: &Freshness, level: Level, now: Timestamp) -> Vec<Finding> {
    let judges = [
        wishes.max_wal_age.and_then(|most| wal_age(most, fresh, now)),
        wishes.max_backup_age.and_then(|most| backup_age(most, fresh, now)),
        wishes.min_window.and_then(|least| window(least, fresh, level, now)),
    ];
    judges.into_iter().flatten().map(|wish| wish.finding(level)).collect()
}

/// A finding about the whole archive, before it has its level.
struct Wish {
    code: FindingCode,
    severity: Severity,
    place: Place,
    object: String,
    what: String,
    consequence: &'static str,
    next: &'static str,
}

impl Wish {
    fn finding(self, level: Level) -> Finding {
        Finding {
            code: self.code,
            severity: self.severity,
            object: self.object,
            timeline: None,
            first_segment: None,
            last_segment: None,
            lsn: None,
            what: self.what,
            consequence: self.consequence.to_owned(),
            next: self.next.to_owned(),
            hurts: match self.place {
                Place::Backup(name) => vec![name],
                _ => Vec::new(),
            },
            place: self.place,
            level,
            acknowledged: None,
        }
    }
}

/// Not older than the wish, older, or nobody knows.
enum Age {
    Good,
    Old(SignedDuration),
    Future(SignedDuration),
}

fn age(of: Timestamp, most: Duration, now: Timestamp) -> Age {
    let age = now.duration_since(of);
    let most = SignedDuration::try_from(most).unwrap_or(SignedDuration::MAX);
    match age {
        age if -age > SKEW => Age::Future(-age),
        age if age > most => Age::Old(age),
        _ => Age::Good,
    }
}

fn wal_age(most: Duration, fresh: &Freshness, now: Timestamp) -> Option<Wish> {
    let segment = fresh.newest_segment;
    let stored = segment.and_then(|segment| segment.stored);
    let wish = |severity, what| Wish {
        code: FindingCode::ArchiveStale,
        severity,
        place: Place::Archive,
        object: segment.map_or_else(|| "the archive".to_owned(), |segment| segment.name.to_string()),
        what,
        consequence: match severity {
            Severity::Critical => {
                "What was committed since is not in the archive: if the server is lost now, it is lost."
            }
            Severity::Unknown => "Nobody can tell whether the newest commits are in the archive.",
            _ => "If the server was not idle, what was committed since is not in the archive.",
        },
        next: "Look at pg_stat_archiver on the server, and at the archiver's log.",
    };
    let most_text = length(most);
    let stored_text = stored.map_or_else(
        || "the store does not say when its segment was written".to_owned(),
        |stored| format!("its segment was stored at {}", at(stored)),
    );
    match (fresh.newest_commit, stored) {
        (Some(commit), _) => match age(commit.time, most, now) {
            Age::Good => None,
            Age::Future(ahead) => Some(wish(
                Severity::Unknown,
                format!(
                    "the newest commit is dated {}, {} after this machine's clock: one of the two is wrong",
                    at(commit.time),
                    signed(ahead)
                ),
            )),
            Age::Old(old) => {
                // A fresh segment without a fresh commit is an idle server with archive_timeout, as far as WAL tells.
                let arrives = stored.is_some_and(|stored| matches!(age(stored, most, now), Age::Good));
                let severity = if arrives { Severity::Warning } else { Severity::Critical };
                let what = format!(
                    "the newest commit is {} old ({}, LSN {}); at most {most_text} is allowed; {stored_text}",
                    signed(old),
                    at(commit.time),
                    commit.lsn
                );
                Some(wish(severity, what))
            }
        },
        (None, Some(stored)) => match age(stored, most, now) {
            Age::Good => None,
            Age::Future(ahead) => Some(wish(
                Severity::Unknown,
                format!(
                    "the newest segment was stored at {}, {} after this machine's clock: one of the two is wrong",
                    at(stored),
                    signed(ahead)
                ),
            )),
            Age::Old(old) => Some(wish(
                Severity::Critical,
                format!(
                    "the newest segment was stored {} ago ({}); at most {most_text} is allowed",
                    signed(old),
                    at(stored)
                ),
            )),
        },
        (None, None) => Some(wish(
            Severity::Unknown,
            format!("the age of the newest WAL is not known; at most {most_text} is allowed"),
        )),
    }
}

fn backup_age(most: Duration, fresh: &Freshness, now: Timestamp) -> Option<Wish> {
    let backup = fresh.newest_backup;
    let wish = |severity, what| Wish {
        code: FindingCode::BackupStale,
        severity,
        place: backup.map_or(Place::Archive, |backup| Place::Backup(backup.name)),
        object: backup.map_or_else(|| "the archive".to_owned(), |backup| backup.name.to_string()),
        what,
        consequence: match severity {
            Severity::Unknown => "Nobody can tell how much WAL a restore has to replay.",
            _ => {
                "A restore replays all WAL since then: it takes longer, and each further segment is one more that must be whole."
            }
        },
        next: "Look at the job that takes base backups, and at its log.",
    };
    let most_text = length(most);
    let Some(backup) = backup else {
        let what = format!("there is no usable base backup; one of at most {most_text} is demanded");
        return Some(Wish { consequence: "Nothing can be restored.", ..wish(Severity::Critical, what) });
    };
    let Some(finished) = backup.finished else {
        return Some(wish(Severity::Unknown, format!("its age is not known; at most {most_text} is allowed")));
    };
    match age(finished, most, now) {
        Age::Good => None,
        Age::Old(old) => Some(wish(
            Severity::Warning,
            format!(
                "the newest usable base backup is {} old (finished {}); at most {most_text} is allowed",
                signed(old),
                at(finished)
            ),
        )),
        Age::Future(ahead) => Some(wish(
            Severity::Unknown,
            format!("it was finished at {}, {} after this machine's clock", at(finished), signed(ahead)),
        )),
    }
}

fn window(least: Duration, fresh: &Freshness, level: Level, now: Timestamp) -> Option<Wish> {
    let wish = |severity, what| Wish {
        code: FindingCode::WindowShort,
        severity,
        place: Place::Archive,
        object: "the archive".to_owned(),
        what,
        consequence: match severity {
            Severity::Unknown => "Nobody can tell how far back recovery reaches.",
            _ => "What was true before that moment cannot be brought back.",
        },
        next: "Keep base backups and their WAL longer; where a hole in the WAL cuts the window short, see its finding.",
    };
    let least_text = length(least);
    let Some(start) = fresh.window_start else {
        let (severity, what) = match (level, fresh.newest_backup) {
            (_, None) => {
                (Severity::Critical, format!("there is no time that can be recovered to; {least_text} is demanded"))
            }
            _ => (
                Severity::Unknown,
                format!("how far back recovery reaches is not known at this level; {least_text} is demanded"),
            ),
        };
        return Some(wish(severity, what));
    };
    let reach = now.duration_since(start);
    let least = SignedDuration::try_from(least).unwrap_or(SignedDuration::MAX);
    (reach < least).then(|| {
        let what = format!(
            "recovery reaches back {} (to {}) without a hole; {least_text} is demanded",
            signed(reach.max(SignedDuration::ZERO)),
            at(start)
        );
        wish(Severity::Warning, what)
    })
}

/// A moment for people: UTC, whole seconds.
pub fn at(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A length of time for people: its two largest units.
pub fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let parts = match (days, hours, minutes) {
        (0, 0, 0) => [(seconds, "s"), (0, "")],
        (0, 0, _) => [(minutes, "min"), (seconds % 60, "s")],
        (0, ..) => [(hours, "h"), (minutes, "min")],
        _ => [(days, "d"), (hours, "h")],
    };
    let [(first, unit), rest] = parts;
    match rest {
        (0, _) => format!("{first} {unit}"),
        (second, smaller) => format!("{first} {unit} {second} {smaller}"),
    }
}

/// The same for a length that may be negative.
pub fn signed(time: SignedDuration) -> String {
    let text = length(time.unsigned_abs());
    if time.is_negative() { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests;
