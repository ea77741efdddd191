//! Losses that somebody knows of: the acknowledgement file.
//!
//! In: a TOML file that people write by hand and review, findings, what time it is. Out: findings: what is named there
//! no longer counts and says why; what has expired counts again; what matches nothing is said.
//! Never: hides more than it names (a gap that grew is cut, and its rest counts); takes a file in part.
//!
//! ```toml
//! [[loss]]
//! segments = "000000010000000000000005 to 000000010000000000000007"   # or one; or backup, history, object
//! code = "segment.missing"      # this kind only; without it every kind but ledger.changed
//! reason = "the old primary's disk died on 12 May, before it had archived them"
//! by = "jane"
//! until = 2026-12-31            # counts again from the day after (UTC)
//! ```

use super::facts::Level;
use super::finding::{Finding, FindingCode, Place, Severity};
use super::verdict::at;
use crate::layout::BackupName;
use crate::pg::{SegmentName, SegmentNo, SegmentSize, TimelineId};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use std::fmt::Write as _;
use std::ops::Range;

/// No such file is longer.
pub const MAX_BYTES: u64 = 1 << 20;

/// An acknowledgement file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acks {
    /// Its name, for people.
    pub file: String,
    /// Its entries, in its order.
    pub entries: Vec<Ack>,
}

/// One loss that somebody knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is lost.
    pub what: Lost,
    /// Only findings of this kind.
    pub code: Option<FindingCode>,
    /// Why that is known and borne.
    pub reason: String,
    /// Who says so.
    pub by: String,
    /// The last day it holds, in UTC.
    pub until: Date,
}

/// The place of a loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Segments of one timeline, both ends included.
    Segments(SegmentName, SegmentName),
    /// A base backup.
    Backup(BackupName),
    /// A timeline's history: that it is missing or damaged, and what is said of the timeline as a whole.
    History(TimelineId),
    /// Any other object, by its key.
    Object(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    loss: Vec<toml::Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    segments: Option<String>,
    backup: Option<String>,
    history: Option<u32>,
    object: Option<String>,
    code: Option<String>,
    reason: String,
    by: String,
    until: toml::value::Datetime,
}

/// Read a file's text. The error is one clause with its line.
pub fn parse(file: &str, text: &str) -> Result<Acks, String> {
    let parsed: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span));
        format!("line {line}: {}", error.message().trim_end_matches('\n').replace('\n', ", "))
    })?;
    let entries = parsed.loss.into_iter().map(|entry| {
        let line = line_of(text, entry.span());
        entry.into_inner().check(line).map_err(|what| format!("the loss at line {line}: {what}"))
    });
    Ok(Acks { file: file.to_owned(), entries: entries.collect::<Result<_, _>>()? })
}

fn line_of(text: &str, span: Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

impl Entry {
    fn check(self, line: usize) -> Result<Ack, String> {
        let said = |text: String, name: &str| match text.trim() {
            "" => Err(format!("`{name}` is empty: somebody will ask")),
            trimmed => Ok(trimmed.to_owned()),
        };
        let what = match (&self.segments, &self.backup, self.history, &self.object) {
            (Some(range), None, None, None) => segments(range)?,
            (None, Some(name), None, None) => Lost::Backup(name.parse().map_err(|error| format!("`backup`: {error}"))?),
            (None, None, Some(number), None) => {
                Lost::History(TimelineId::new(number).ok_or("`history`: there is no timeline 0")?)
            }
            (None, None, None, Some(key)) => Lost::Object(said(key.clone(), "object")?),
            _ => return Err("it names one of `segments`, `backup`, `history`, `object`: exactly one".to_owned()),
        };
        let code = match self.code {
            None => None,
            Some(text) => Some(FindingCode::parse(&text).ok_or_else(|| format!("`code`: there is no {text:?}"))?),
        };
        let date = self.until.date.filter(|_| self.until.time.is_none());
        let date = date.and_then(|date| {
            Date::new(i16::try_from(date.year).ok()?, i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?).ok()
        });
        Ok(Ack {
            line,
            what,
            code,
            reason: said(self.reason, "reason")?,
            by: said(self.by, "by")?,
            until: date.ok_or("`until` is a day, such as 2026-12-31")?,
        })
    }
}

fn segments(text: &str) -> Result<Lost, String> {
    let name = |text: &str| text.trim().parse::<SegmentName>().map_err(|error| format!("`segments`: {error}"));
    let (first, last) = match text.split_once(" to ") {
        None => (name(text)?, name(text)?),
        Some((first, last)) => (name(first)?, name(last)?),
    };
    if first.timeline() != last.timeline() {
        return Err(format!("`segments`: {first} and {last} are of two timelines"));
    }
    if last < first {
        return Err(format!("`segments`: {last} comes before {first}"));
    }
    Ok(Lost::Segments(first, last))
}

impl Lost {
    fn text(&self) -> String {
        match self {
            Lost::Segments(first, last) if first == last => first.to_string(),
            Lost::Segments(first, last) => format!("{first} to {last}"),
            Lost::Backup(name) => name.to_string(),
            Lost::History(timeline) => format!("the history of timeline {timeline}"),
            Lost::Object(key) => key.clone(),
        }
    }
}

impl Ack {
    /// Has it run out?
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.days_left(now) < 0
    }

    /// Whole days that it still holds, today not counted; negative: expired.
    pub fn days_left(&self, now: Timestamp) -> i64 {
        let today = now.to_zoned(TimeZone::UTC).date();
        today.until(self.until).map_or(-1, |span| i64::from(span.get_days()))
    }

    fn is_about(&self, code: FindingCode) -> bool {
        // An object that was proven and changed since is news, whatever was known of it.
        self.code.map_or(code != FindingCode::LedgerChanged, |only| only == code)
    }

    /// Does it name this place? For WAL: which part of it, both ends included.
    fn meets(&self, finding: &Finding, size: SegmentSize) -> Option<Option<(SegmentNo, SegmentNo)>> {
        if !self.is_about(finding.code) {
            return None;
        }
        match (&self.what, &finding.place) {
            (Lost::Segments(from, to), Place::Wal { timeline, first, last }) if from.timeline() == *timeline => {
                let (from, to) = (from.number(size).ok()?.max(*first), to.number(size).ok()?.min(*last));
                (from <= to).then_some(Some((from, to)))
            }
            (Lost::Backup(name), Place::Backup(other)) if name == other => Some(None),
            (Lost::History(one), Place::History(other)) if one == other => Some(None),
            (Lost::Object(key), Place::Object(other)) if key == other.as_str() => Some(None),
            _ => None,
        }
    }

    fn note(&self, now: Timestamp) -> String {
        let left = match self.days_left(now) {
            0 => "its last day".to_owned(),
            1 => "1 day left".to_owned(),
            days => format!("{days} days left"),
        };
        format!("{} ({}, until {}, {left})", self.reason, self.by, self.until)
    }
}

/// Hold findings against a file. Order is kept, pieces of a finding in the order of the WAL.
pub fn apply(findings: Vec<Finding>, acks: &Acks, size: SegmentSize, level: Level, now: Timestamp) -> Vec<Finding> {
    let mut used = vec![Use::default(); acks.entries.len()];
    let mut judged: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        judged.extend(cut(finding, acks, &mut used, size, now));
    }
    for (ack, used) in acks.entries.iter().zip(&used) {
        let (code, severity, what, consequence, next) = if ack.is_expired(now) && used.counts {
            let what = format!("it expired on {}: {}, said {}", ack.until, ack.reason, ack.by);
            let consequence = "What it was about counts again.".to_owned();
            (FindingCode::AckExpired, Severity::Warning, what, consequence, "Renew it, or mend what it is about.")
        } else if !used.matched {
            let what = "it matches nothing in the archive".to_owned();
            (FindingCode::AckUnused, Severity::Harmless, what, String::new(), "Take it out of the file.")
        } else {
            continue;
        };
        judged.push(Finding {
            code,
            severity,
            place: Place::Archive,
            object: format!("{}:{} ({})", acks.file, ack.line, ack.what.text()),
            timeline: None,
            first_segment: None,
            last_segment: None,
            lsn: None,
            what,
            consequence,
            next: next.to_owned(),
            hurts: Vec::new(),
            level,
            acknowledged: None,
        });
    }
    judged
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, Default)]
struct Use {
    /// It names a finding of any severity.
    matched: bool,
    /// It names one that counts.
    counts: bool,
}

/// One finding as pieces: acknowledged and not.
fn cut(finding: Finding, acks: &Acks, used: &mut [Use], size: SegmentSize, now: Timestamp) -> Vec<Finding> {
    let counts = finding.severity > Severity::Harmless;
    let mut covers: Vec<(&Ack, Option<(SegmentNo, SegmentNo)>)> = Vec::new();
    for (ack, used) in acks.entries.iter().zip(used) {
        let Some(part) = ack.meets(&finding, size) else { continue };
        used.matched = true;
        used.counts |= counts;
        if counts && !ack.is_expired(now) {
            covers.push((ack, part));
        }
    }
    let Some((first_ack, _)) = covers.first().copied() else { return vec![finding] };
    let Place::Wal { timeline, first, last } = finding.place else {
        return vec![acknowledged(finding, first_ack, now)];
    };
    let mut pieces = Vec::new();
    let mut next = first;
    loop {
        // The first entry that holds here, else the nearest one behind.
        let here = covers
            .iter()
            .find_map(|(ack, part)| part.filter(|(from, to)| (*from..=*to).contains(&next)).map(|(_, to)| (*ack, to)));
        let end = match here {
            Some((_, to)) => to,
            None => {
                let behind =
                    covers.iter().filter_map(|(_, part)| part.map(|(from, _)| from)).filter(|from| *from > next).min();
                behind.and_then(SegmentNo::previous).unwrap_or(last)
            }
        };
        let piece = piece(&finding, timeline, next, end, size);
        pieces.push(match here {
            Some((ack, _)) => acknowledged(piece, ack, now),
            None => piece,
        });
        if end >= last {
            return pieces;
        }
        next = end.next();
    }
}

fn acknowledged(finding: Finding, ack: &Ack, now: Timestamp) -> Finding {
    Finding { severity: Severity::Harmless, acknowledged: Some(ack.note(now)), ..finding }
}

/// The part of a finding on WAL that lies between two segments.
fn piece(whole: &Finding, timeline: TimelineId, first: SegmentNo, last: SegmentNo, size: SegmentSize) -> Finding {
    let place = Place::Wal { timeline, first, last };
    if place == whole.place {
        return whole.clone();
    }
    let Some((first_name, last_name)) = place.segments(size) else { return whole.clone() };
    let object = if first == last { first_name.clone() } else { format!("{first_name} to {last_name}") };
    Finding {
        what: format!("part of {}: {}", whole.object, whole.what),
        object,
        lsn: whole.lsn.filter(|lsn| (first..=last).contains(&lsn.segment(size))),
        first_segment: Some(first_name),
        last_segment: Some(last_name),
        place,
        ..whole.clone()
    }
}

/// Entries ready to paste for every finding that counts. The reason is left to be filled in: without one the file is
/// refused.
pub fn template(findings: &[Finding], now: Timestamp) -> String {
    let until =
        now.to_zoned(TimeZone::UTC).date().checked_add(90.days()).map_or_else(|_| String::new(), |day| day.to_string());
    let mut text = format!(
        "# Made at {} from what the audit found. Fill in reason and by; take out what is not lost for good.\n",
        at(now)
    );
    for finding in findings.iter().filter(|finding| finding.severity > Severity::Harmless) {
        let (name, value) = match (&finding.place, &finding.first_segment, &finding.last_segment) {
            (Place::Wal { .. }, Some(first), Some(last)) if first == last => ("segments", quoted(first)),
            (Place::Wal { .. }, Some(first), Some(last)) => ("segments", quoted(&format!("{first} to {last}"))),
            (Place::Backup(name), ..) => ("backup", quoted(&name.to_string())),
            (Place::History(timeline), ..) => ("history", timeline.to_string()),
            (Place::Object(key), ..) => ("object", quoted(key.as_str())),
            // What is true of the whole archive is mended, not acknowledged.
            _ => continue,
        };
        let sentence = finding.what.replace(|c: char| c.is_control(), " ");
        // Writing to text does not fail.
        let _ = write!(
            text,
            "\n# {}: {sentence}\n[[loss]]\n{name} = {value}\ncode = \"{}\"\nreason = \"\"\nby = \"\"\nuntil = {until}\n",
            finding.severity.word(),
            finding.code
        );
    }
    text
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests;
