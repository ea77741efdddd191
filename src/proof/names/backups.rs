//! Base backups as their names and sentinels tell them.
//!
//! In: a survey. Out: defects. Never: takes a backup that is being taken just now for a failed one.

use super::{and_more, defect};
use crate::backup::sentinel::Sentinel;
use crate::catalog::inventory::{BackupObjects, Part};
use crate::layout::BackupName;
use crate::layout::entry::PartName;
use crate::pg::SegmentName;
use crate::proof::finding::{Breaks, Defect, FindingCode, Place};
use crate::proof::survey::{BackupFacts, SentinelState, Survey, is_same_stop, stop_of_wal_e};
use std::collections::BTreeSet;

/// A sentinel is written within seconds of the end of a base backup; an upload may be slow.
const SETTLED: jiff::SignedDuration = jiff::SignedDuration::from_mins(30);
/// Numbers that are named in one sentence.
const NAMED: usize = 20;

pub(super) fn defects(survey: &Survey, found: &mut Vec<Defect>) {
    if !survey.backups.iter().any(BackupFacts::is_finished) {
        let what = "no base backup in it was ever finished".to_owned();
        found.push(defect(FindingCode::BackupNone, Place::Archive, survey.url.clone(), what, Breaks::Backup));
    }
    for backup in &survey.backups {
        let mut add = |code, what, breaks| {
            found.push(defect(code, Place::Backup(backup.name), backup.name.to_string(), what, breaks));
        };
        let objects = survey.inventory.backups.get(&backup.name);
        match &backup.sentinel {
            SentinelState::Absent => {
                let parts = match objects.map_or(0, |objects| objects.parts.len()) {
                    1 => "1 partition".to_owned(),
                    more => format!("{more} partitions"),
                };
                match was_ended(survey, backup) {
                    true => add(
                        FindingCode::BackupUnfinished,
                        format!(
                            "it has no sentinel, but {parts}, and the server ended it: its backup history file is there"
                        ),
                        Breaks::Backup,
                    ),
                    false => {
                        add(FindingCode::BackupUnfinished, format!("it has no sentinel, but {parts}"), Breaks::Nothing)
                    }
                }
                continue;
            }
            SentinelState::Damaged(why) => add(FindingCode::BackupSentinel, why.clone(), Breaks::Backup),
            SentinelState::Unknown(why) => add(FindingCode::BackupUnread, why.clone(), Breaks::Unknown),
            SentinelState::Read(sentinel) => {
                if let Some(what) = stops(survey, backup, sentinel) {
                    add(FindingCode::BackupSentinel, what, Breaks::Backup);
                }
            }
        }
        if let Some(what) = objects.and_then(|objects| parts(objects, is_wal_e(backup))) {
            add(FindingCode::BackupPart, what, Breaks::Backup);
        }
        if let Some(what) = chain(survey, backup) {
            add(FindingCode::BackupChain, what, Breaks::Backup);
        }
    }
}

/// The server's own note of a backup's end against what WAL-E's sentinel says.
fn stops(survey: &Survey, backup: &BackupFacts, sentinel: &Sentinel) -> Option<String> {
    // The survey takes the server's, where it is there.
    let (said, true_one) = (stop_of_wal_e(sentinel, survey.size)?, backup.stop?);
    let what = || {
        format!(
            "it says that the backup stopped at {said}, and the backup history file that it stopped at {true_one}: the \
             sentinel is another backup's, or was edited"
        )
    };
    (!is_same_stop(said, true_one, survey.size)).then(what)
}

/// The server ended this base backup, some time ago, and whoever took it should have written its sentinel since: its
/// backup history file is there, and so is a later base backup, or WAL that was stored long after its end.
fn was_ended(survey: &Survey, backup: &BackupFacts) -> bool {
    // Without a sentinel only the history file tells where it stopped.
    let Some(stop) = backup.stop else { return false };
    let later =
        survey.backups.iter().any(|one| one.is_finished() && one.timeline == backup.timeline && one.start >= stop);
    let stored = |name: SegmentName| survey.inventory.stored(name).first()?.modified();
    let at_end = backup.last_segment(survey.size).name(backup.timeline, survey.size).and_then(stored);
    let newest = survey.inventory.newest(backup.timeline).and_then(|one| one.modified());
    later || matches!((at_end, newest), (Some(end), Some(newest)) if newest.duration_since(end) > SETTLED)
}

fn is_wal_e(backup: &BackupFacts) -> bool {
    match &backup.sentinel {
        SentinelState::Read(sentinel) => sentinel.is_wal_e(),
        _ => backup.name.offset_text().is_some(),
    }
}

/// What its partitions lack, as far as their names and sizes tell. Numbers without a gap from 0 are WAL-E's promise only.
fn parts(objects: &BackupObjects, is_wal_e: bool) -> Option<String> {
    if objects.parts.is_empty() {
        return Some("it has no partitions".to_owned());
    }
    let named = |numbers: &[u32]| {
        let shown: Vec<String> = numbers.iter().take(NAMED).map(u32::to_string).collect();
        shown.join(", ") + &and_more(numbers.len().saturating_sub(NAMED) as u64)
    };
    let number = |part: &Part| match part.name {
        PartName::Part(number) => Some(number),
        _ => None,
    };
    if is_wal_e {
        let there: BTreeSet<u32> = objects.parts.iter().filter_map(number).collect();
        let last = there.last().copied().unwrap_or(0);
        // A name may hold any number up to 2^32: as many as people read are enough.
        let missing: Vec<u32> = (0..last).filter(|number| !there.contains(number)).take(1000).collect();
        if there.is_empty() || !missing.is_empty() {
            return Some(format!(
                "partitions are missing: {}",
                if there.is_empty() { "all".to_owned() } else { named(&missing) }
            ));
        }
    }
    let empty = |part: &&Part| part.size == 0;
    let numbers: Vec<u32> = objects.parts.iter().filter(empty).filter_map(number).collect();
    if !numbers.is_empty() {
        return Some(format!("partitions have no bytes: {}", named(&numbers)));
    }
    objects.parts.iter().any(|part| part.size == 0).then(|| "one of its archives has no bytes".to_owned())
}

/// Where the chain of a delta backup breaks.
fn chain(survey: &Survey, backup: &BackupFacts) -> Option<String> {
    let mut seen = BTreeSet::from([backup.name]);
    let mut link = backup;
    loop {
        let SentinelState::Read(sentinel) = &link.sentinel else {
            // The backup's own sentinel is another finding.
            return (link.name != backup.name)
                .then(|| format!("the sentinel of {}, which it builds on, cannot be read", link.name));
        };
        // A catch-up names no parent.
        let delta = sentinel.delta.as_ref().filter(|delta| !delta.from.is_empty())?;
        let parent = delta.from.parse::<BackupName>().ok();
        let parent = parent.and_then(|name| survey.backups.iter().find(|one| one.name == name));
        let Some(parent) = parent.filter(|parent| parent.is_finished()) else {
            return Some(format!("{} builds on {}, which is not there", link.name, delta.from));
        };
        if !seen.insert(parent.name) {
            return Some(format!("its chain comes back to {}", parent.name));
        }
        link = parent;
    }
}
