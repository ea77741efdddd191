//! What the audits and the windows of both sides say, held against each other.
//!
//! In: two audits of the same level, what was chosen. Out: [`Difference`]s, and a [`Row`] for each base backup and timeline.
//! Never: takes a hole that was chosen (WAL that was to stay behind) for damage; passes over what could not be looked at.

use super::report::{Difference, Kind, Reached, Row};
use crate::commands::audit;
use crate::commands::copy::choice::{Chosen, Selection};
use crate::layout::{BackupName, Entry, WalFile};
use crate::pg::{SegmentNo, TimelineId};
use crate::proof::finding::Place;
use crate::proof::windows::{By, Earliest, Edge, Line, Reach, Stop, Windows};
use crate::proof::{Finding, FindingCode, Severity};
use crate::transfer::closure::Wal;
use std::collections::{BTreeMap, BTreeSet};

/// What may be expected of the destination.
#[derive(Debug)]
pub struct Scope {
    /// Which WAL.
    wal: Wal,
    /// Something of the source was to stay behind.
    partial: bool,
    backups: BTreeSet<BackupName>,
    /// The timeline on which each was taken.
    own: BTreeMap<BackupName, TimelineId>,
    segments: BTreeSet<(TimelineId, SegmentNo)>,
    histories: BTreeSet<TimelineId>,
}

impl Scope {
    /// Of a choice.
    pub fn of(chosen: &Chosen, selection: &Selection) -> Scope {
        let (mut segments, mut histories) = (BTreeSet::new(), BTreeSet::new());
        for object in &chosen.closure.objects {
            match Entry::parse(&object.key) {
                Entry::Wal { file: WalFile::Segment(name), .. } => {
                    segments.extend(name.number(chosen.survey.size).ok().map(|number| (name.timeline(), number)));
                }
                Entry::Wal { file: WalFile::History(timeline), .. } => {
                    histories.insert(timeline);
                }
                _ => {}
            }
        }
        let finished = |name: &&BackupName| chosen.needs.get(*name).is_some_and(|need| need.finished);
        let backups: BTreeSet<BackupName> = chosen.closure.backups.iter().filter(finished).copied().collect();
        let own = |name: &BackupName| Some((*name, chosen.needs.get(name)?.timeline));
        Scope {
            wal: if selection.mirror { Wal::All } else { selection.wal },
            partial: !selection.mirror,
            own: backups.iter().filter_map(own).collect(),
            backups,
            segments,
            histories,
        }
    }

    /// Is this what was to be expected of a part of the source?
    fn explains(&self, finding: &Finding) -> bool {
        if !self.partial {
            return false;
        }
        let without_all_wal = self.wal != Wal::All;
        match (&finding.place, finding.code) {
            // About ways onward, which were to stay behind.
            (
                _,
                FindingCode::TimelineOther
                | FindingCode::TimelineStray
                | FindingCode::TimelineNew
                | FindingCode::HistoryUnreachable
                | FindingCode::HistoryMissing,
            ) if without_all_wal => true,
            (_, FindingCode::BackupWal) if self.wal == Wal::None => true,
            (Place::Wal { timeline, first, last }, _) => {
                first > last || self.segments.range((*timeline, *first)..=(*timeline, *last)).next().is_none()
            }
            (Place::History(timeline), _) => !self.histories.contains(timeline),
            (Place::Backup(name), _) => !self.backups.contains(name),
            _ => false,
        }
    }
}

/// What one audit finds and the other does not.
pub fn findings(
    scope: &Scope,
    ours: &audit::Report,
    theirs: &audit::Report,
    notes: &mut Vec<String>,
) -> Vec<Difference> {
    let counting = |report: &audit::Report| {
        let mut found: BTreeMap<(FindingCode, String), Finding> = BTreeMap::new();
        for finding in report.findings.iter().filter(|one| one.severity > Severity::Harmless) {
            if !scope.explains(finding) {
                // Without the prefix, which is another on each side.
                found.insert((finding.code, finding.object.replace(&report.archive, "")), finding.clone());
            }
        }
        found
    };
    let (source, destination) = (counting(ours), counting(theirs));
    let mut differences = Vec::new();
    for (key, finding) in &destination {
        let before = source.get(key).map(|finding| finding.severity);
        if finding.severity == Severity::Unknown || before.is_none_or(|before| before < finding.severity) {
            let only = if before.is_none() { ", and not in the source" } else { "" };
            let Finding { code, object, what, .. } = finding;
            let what = format!("the audit finds in the destination{only}: {code} {object}: {what}");
            differences.push(Difference::about(finding.severity, Kind::Audit, what));
        }
    }
    for (key, finding) in &source {
        let Finding { code, object, what, .. } = finding;
        if finding.severity == Severity::Unknown {
            let what = format!("the audit cannot tell of the source: {code} {object}: {what}");
            differences.push(Difference::about(Severity::Unknown, Kind::Audit, what));
        } else if destination.contains_key(key) {
            notes.push(format!("on both sides: {} {code} {object}: {what}", finding.severity.word()));
        } else {
            notes.push(format!("in the source only: {} {code} {object}: {what}", finding.severity.word()));
        }
    }
    differences
}

/// What each base backup leads to on both sides.
pub fn windows(scope: &Scope, source: &Windows, destination: &Windows) -> (Vec<Row>, Vec<Difference>) {
    let (mut rows, mut differences) = (Vec::new(), Vec::new());
    if scope.wal == Wal::None {
        return (rows, differences);
    }
    let to_consistency = scope.wal == Wal::ToConsistency;
    let of = |windows: &Windows| -> BTreeMap<(BackupName, TimelineId), Reach> {
        let reaches = windows.timelines.iter().flat_map(|line| line.backups.iter().map(|reach| (line.timeline, reach)));
        let chosen = reaches.filter(|(timeline, reach)| {
            // To consistency there is no way but its own.
            scope.backups.contains(&reach.backup) && (!to_consistency || scope.own.get(&reach.backup) == Some(timeline))
        });
        chosen.map(|(timeline, reach)| ((reach.backup, timeline), reach.clone())).collect()
    };
    let (ours, theirs) = (of(source), of(destination));
    let all: BTreeSet<(BackupName, TimelineId)> = ours.keys().chain(theirs.keys()).copied().collect();
    for (backup, timeline) in all {
        let (here, there) = (ours.get(&(backup, timeline)), theirs.get(&(backup, timeline)));
        if !here.into_iter().chain(there).any(Reach::is_usable) {
            continue;
        }
        let found = compare(here, there, to_consistency);
        rows.push(Row {
            backup,
            timeline,
            source: here.and_then(reached),
            destination: there.and_then(reached),
            same: found.iter().all(|(severity, _)| *severity == Severity::Warning),
        });
        differences.extend(found.into_iter().map(|(severity, what)| {
            let what = format!("from {backup} along timeline {timeline}: {what}");
            Difference::about(severity, Kind::Window, what)
        }));
    }
    if !to_consistency {
        differences.extend(points(scope, source, destination));
    }
    (rows, differences)
}

fn reached(reach: &Reach) -> Option<Reached> {
    reach.trouble.is_none().then_some(())?;
    Some(Reached {
        from_lsn: reach.consistent?,
        to_lsn: reach.end,
        from: reach.earliest.map(|earliest| earliest.time),
        to: reach.latest.map(|edge| edge.time),
        last_commit: reach.last_commit.map(|edge| edge.time),
        latest: reach.latest_leads_here,
        proven: reach.proven,
    })
}

/// What the destination cannot do that the source can, and the other way round.
fn compare(here: Option<&Reach>, there: Option<&Reach>, to_consistency: bool) -> Vec<(Severity, String)> {
    let usable = |reach: Option<&Reach>| reach.is_some_and(Reach::is_usable);
    let (here, there) = match (here, there) {
        (here, Some(there)) if !usable(here) => {
            let why = here.and_then(|here| here.trouble.clone()).unwrap_or_else(|| "no way leads there".to_owned());
            return vec![(
                Severity::Warning,
                format!("the destination can be recovered ({}), the source cannot: {why}", there.end),
            )];
        }
        (_, there) if !usable(there) => {
            let why = match there {
                Some(there) => there.trouble.clone().unwrap_or_else(|| there.ends.to_string()),
                None => "the base backup, or the way to that timeline, is not there".to_owned(),
            };
            let unknown = there.is_some_and(|there| matches!(there.ends, Stop::Unknown { .. }));
            let severity = if unknown { Severity::Unknown } else { Severity::Critical };
            return vec![(severity, format!("the source can be recovered, the destination cannot: {why}"))];
        }
        (Some(here), Some(there)) => (here, there),
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    let mut less = |what: String| {
        let severity = if matches!(there.ends, Stop::Unknown { .. }) { Severity::Unknown } else { Severity::Critical };
        found.push((severity, what));
    };
    if let (Some(one), Some(other)) = (here.consistent, there.consistent)
        && one != other
    {
        less(format!("consistent at {other} in the destination, and at {one} in the source"));
    }
    if to_consistency {
        return found;
    }
    if there.end < here.end {
        less(format!(
            "recovery ends at {} in the destination, and at {} in the source: {}",
            there.end, here.end, there.ends
        ));
    } else if before(there.latest, here.latest) || before(there.last_commit, here.last_commit) {
        let time =
            |edge: Option<Edge>| edge.map_or_else(|| "no time that is known".to_owned(), |edge| edge.time.to_string());
        let (one, other) = (time(there.latest), time(here.latest));
        less(format!("the latest time is {one} in the destination, and {other} in the source"));
    }
    if is_later(there.earliest, here.earliest) {
        let time = |one: Option<Earliest>| one.map_or_else(|| "not known".to_owned(), |one| one.time.to_string());
        let (one, other) = (time(there.earliest), time(here.earliest));
        less(format!("the earliest time is {one} in the destination, and {other} in the source"));
    }
    if here.latest_leads_here && !there.latest_leads_here {
        less("`latest` leads here in the source, and elsewhere in the destination".to_owned());
    }
    if there.end > here.end {
        let what =
            format!("recovery goes on to {} in the destination, and ends at {} in the source", there.end, here.end);
        found.push((Severity::Warning, what));
    }
    found
}

fn before(one: Option<Edge>, other: Option<Edge>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.time < other.time,
        (None, Some(_)) => true,
        _ => false,
    }
}

/// Does the destination refuse an earlier time than the source does? Where nothing was committed while the backup was taken, a
/// server takes any earlier time, whatever is known of before.
fn is_later(there: Option<Earliest>, here: Option<Earliest>) -> bool {
    match (there, here) {
        (Some(there), Some(here)) => matches!(there.by, By::Commit | By::Segment) && there.time > here.time,
        (None, Some(here)) => matches!(here.by, By::Commit | By::Segment),
        _ => false,
    }
}

/// Named targets that are within reach from a chosen base backup.
fn points(scope: &Scope, source: &Windows, destination: &Windows) -> Vec<Difference> {
    let of = |line: &Line| -> Vec<_> {
        let chosen =
            line.restore_points.iter().filter(|point| point.from.is_some_and(|from| scope.backups.contains(&from)));
        chosen.map(|point| (line.timeline, point.lsn, point.name.clone())).collect()
    };
    let there: BTreeSet<_> = destination.timelines.iter().flat_map(of).collect();
    let lost = source.timelines.iter().flat_map(of).filter(|point| !there.contains(point));
    lost.map(|(timeline, lsn, name)| {
        let what =
            format!("the restore point {name} at {lsn} of timeline {timeline} can be reached in the source, and not in the destination");
        Difference::about(Severity::Critical, Kind::RestorePoint, what)
    })
    .collect()
}
