//! All segments that somebody wants proven: on all cores, and chained to each other without a byte left unchecked.
//!
//! In: a store, a [`Survey`], a [`Selection`], how closely to look, a [`Memory`] of earlier runs. Out: [`Walked`]: a proof
//! of each segment, and [`Defect`]s. Never: holds more than a few carries, calls good what a budget or a store kept from
//! being read, or gives another verdict with another number of workers.
//!
//! ```text
//! timeline 1   1 2 3 4 | 5 6 7 8 | 9        stretches, each read in order with the carry handed along
//!                      ▲         ▲          borders between them: the beginning of 5 and 9 is read once more, from the
//! timeline 2             └ 6 7 8            carries of 4 and 8; and of timeline 2's first from that of timeline 1's 5
//! ```
//!
//! **Before a segment** comes the file that serves the place before it on its timeline's history: a child's first segment
//! follows its parent's, and so does the parent's own of the same number. Behind a gap, and behind a segment that is
//! damaged, nothing is known: the record that crosses into it is not checked, and [`Unchecked`] counts it.

mod plan;
mod report;
mod run;

use super::facts::{Level, Memory, SegmentProof};
use super::finding::Defect;
use super::segment::{Advance, Reader};
use super::survey::Survey;
use crate::backup::restore::Effort;
use crate::catalog::continuity::WalRange;
use crate::error::Answer;
use crate::pg::SegmentNo;
use crate::pipeline::budget::Budget;
use crate::storage::Store;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Which segments, and how much may be read for them.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only these. `None`: all that are stored.
    pub ranges: Option<Vec<WalRange>>,
    /// Stored bytes that may be read; the segment under way is finished.
    pub budget_bytes: Option<u64>,
    /// How long reading may take; likewise.
    pub budget_time: Option<Duration>,
    /// Which share of the segments that are remembered as good is read again, those first that were looked at longest
    /// ago: 0.05 is one in twenty.
    pub recheck: f64,
}

impl Selection {
    /// All that are stored, without limits.
    pub fn all() -> Self {
        Selection::default()
    }

    fn holds(&self, timeline: crate::pg::TimelineId, number: SegmentNo) -> bool {
        self.ranges.as_ref().is_none_or(|ranges| {
            ranges.iter().any(|range| range.timeline == timeline && (range.first..=range.last).contains(&number))
        })
    }
}

/// What a walk came to.
#[derive(Debug, Clone)]
pub struct Walked {
    /// Of each segment the stored form that serves it, in the order of their names; without their carries.
    pub proofs: Vec<SegmentProof>,
    /// Further stored forms of the same segments, `.partial` files, and names that this archive's segment size cannot have.
    pub others: Vec<SegmentProof>,
    /// What is wrong, in the order of places.
    pub defects: Vec<Defect>,
    /// What was read for it.
    pub read: Tally,
    /// What the WAL at hand cannot prove.
    pub unchecked: Unchecked,
    /// What was selected and not read, because a budget was used up or the store gave up; with a defect each.
    pub unread: Vec<WalRange>,
}

/// How much was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Objects read.
    pub objects: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// Segments that were known from earlier runs and not read.
    pub remembered: u64,
    /// Segments that were known and read again.
    pub rechecked: u64,
    /// Remembered segments that should have been read again, but for a budget.
    pub not_rechecked: u64,
}

/// Segments at [`Level::Records`] that do not follow one that was checked: the first ones, and those behind gaps and damage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unchecked {
    /// How many: the link of their first record is not checked.
    pub segments: u64,
    /// Bytes at the beginning of segments that belong to records begun before them, whose CRC is not checked.
    pub head_bytes: u64,
}

/// Stored bytes that a walk reads at most, for a progress bar.
pub fn stored_bytes(survey: &Survey, selection: &Selection) -> u64 {
    let plan = plan::Plan::new(survey, selection, Level::Records);
    plan.indices().flat_map(|index| plan.forms(survey, index, Level::Decode)).map(|form| form.object.size).sum()
}

/// Reads, judges and chains what is selected. An error only where the memory fails or wal-r itself is wrong.
pub async fn walk(
    store: Arc<dyn Store>,
    survey: &Survey,
    selection: &Selection,
    level: Level,
    effort: Effort,
    memory: &mut dyn Memory,
    advance: Advance,
) -> Answer<Walked> {
    let workers = effort.workers.max(effort.cores).max(1);
    let stored_in_flight = (2 << 20) + workers * (1 << 20);
    let reader = Reader { store, budget: Budget::new(stored_in_flight), advance };
    run::run(reader, survey, selection, level, Cut { workers, longest: None }, memory).await
}

/// How the work is cut. The result does not depend on it.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Stretches at once.
    workers: usize,
    /// Segments of one stretch at most; `None`: by how many there are.
    longest: Option<usize>,
}

#[cfg(test)]
mod tests;
