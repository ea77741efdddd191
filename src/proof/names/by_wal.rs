//! What the WAL itself tells of timelines whose history is lost.
//!
//! In: the marks of segments that were read, and the defects of the names. Out: the same defects, saying what the history
//! must say. Never: writes a history file; believes a mark of a segment that was not good; judges a history that can be read
//! (that is `walk`).

use super::history::must_say;
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, TimelineId};
use crate::proof::facts::{Mark, MarkKind, Outcome, SegmentProof};
use crate::proof::finding::{Defect, FindingCode, Place};
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

/// Adds to the defects of the names what the WAL tells of them: what a missing or damaged history must say.
pub fn told_by_wal(survey: &Survey, proofs: &[SegmentProof], defects: &mut [Defect]) {
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
}
