//! What the WAL itself tells of timelines: a history that is lost, or that is not this cluster's.
//!
//! In: the marks of segments that were read, and the defects of the names. Out: the same defects, saying more, and
//! [`FindingCode::ForkContradicts`] where WAL and history disagree. Never: writes a history file; believes a mark of a
//! segment that was not good.

use super::history::must_say;
use super::{Level, defect};
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, TimelineId};
use crate::proof::facts::{Mark, MarkKind, Outcome, SegmentProof};
use crate::proof::finding::{Breaks, Defect, FindingCode, Place};
use crate::proof::survey::Survey;

/// A timeline that begins, as its first record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The new timeline.
    pub timeline: TimelineId,
    /// The one it left.
    pub previous: TimelineId,
    /// The record. The switch point is here, or before it by a page header or an abandoned record.
    pub at: Lsn,
}

/// How far behind its switch point a timeline's first own record may start: a page header, and the note that the record
/// which the old timeline left unfinished was given up.
const SLACK: u64 = 64 * 1024;

/// The beginnings of timelines in segments that were read and found good.
pub fn begins(proofs: &[SegmentProof]) -> Vec<Begin> {
    let good = proofs.iter().filter_map(|proof| match &proof.outcome {
        Outcome::Good(facts) => Some(facts.marks.iter()),
        _ => None,
    });
    let begin = |mark: &Mark| match mark.kind {
        MarkKind::TimelineBegins { timeline, previous } => {
            Some(Begin { timeline: TimelineId::new(timeline)?, previous: TimelineId::new(previous)?, at: mark.at })
        }
        _ => None,
    };
    let mut begins: Vec<Begin> = good.flatten().filter_map(begin).filter(|one| one.previous < one.timeline).collect();
    begins.sort_unstable_by_key(|one| (one.timeline, one.at));
    begins.dedup();
    begins
}

/// What the lost or damaged history of a timeline must say, by the WAL and the histories that can be read.
pub fn reconstruct(survey: &Survey, timeline: TimelineId, begins: &[Begin]) -> Option<TimelineHistory> {
    let own = survey.told(timeline);
    if own.is_some() {
        return own;
    }
    let begin = begins.iter().find(|one| one.timeline == timeline)?;
    let before = match begin.previous {
        TimelineId::FIRST => None,
        // Parents have lower numbers, so this ends.
        previous => reconstruct(survey, previous, begins),
    };
    Some(TimelineHistory::child_of(begin.previous, before.as_ref(), begin.at, timeline))
}

/// Adds to the defects what the WAL tells: what a missing history must say, and where a history contradicts the WAL.
pub fn compare_with_wal(survey: &Survey, proofs: &[SegmentProof], defects: &mut Vec<Defect>) {
    let begins = begins(proofs);
    for one in defects.iter_mut() {
        let lost = matches!(one.code, FindingCode::HistoryMissing | FindingCode::HistoryDamaged);
        if let Place::History(timeline) = one.place
            && lost
            && survey.told(timeline).is_none()
            && let Some(history) = reconstruct(survey, timeline, &begins)
        {
            one.what.push_str(&format!("; by the WAL it must say: {}", must_say(&history)));
        }
    }
    defects.extend(begins.iter().filter_map(|begin| contradiction(survey, begin)));
}

fn contradiction(survey: &Survey, begin: &Begin) -> Option<Defect> {
    let history = survey.told(begin.timeline)?;
    let parent = history.parent()?;
    let near = parent.switch <= begin.at && begin.at.0 - parent.switch.0 <= SLACK;
    if parent.timeline == begin.previous && near {
        return None;
    }
    let what = format!(
        "it says that timeline {} left timeline {} at {}; the WAL says timeline {} at {}",
        begin.timeline, parent.timeline, parent.switch, begin.previous, begin.at
    );
    let place = Place::History(begin.timeline);
    let object = begin.timeline.history_name();
    let found = defect(FindingCode::ForkContradicts, place, object, what, Breaks::Replay);
    Some(Defect { lsn: Some(begin.at), level: Level::Records, ..found })
}
