//! Which WAL segments are there and which are missing in a range.
//!
//! In: an [`Inventory`] and a [`WalRange`], or a way across timelines. Out: [`Run`]s, in order.
//! A segment is there when some stored form of it has bytes: that is what wal-fetch would try to deliver.
//! Never: reads the store, or counts through a gap (one stray name far away costs nothing).
//! Invariant: the runs tile the range: each segment is in exactly one of them, and neighbours differ.

use super::inventory::Inventory;
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, SegmentName, SegmentNo, SegmentSize, TimelineId};

/// Segments of one timeline, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalRange {
    /// The timeline.
    pub timeline: TimelineId,
    /// The first one.
    pub first: SegmentNo,
    /// The last one, not before the first.
    pub last: SegmentNo,
}

/// Neighbouring segments of one timeline that are all there or all missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The timeline.
    pub timeline: TimelineId,
    /// The first one.
    pub first: SegmentNo,
    /// The last one.
    pub last: SegmentNo,
    /// Are they there, in any stored form?
    pub present: bool,
}

impl Run {
    /// How many segments, at least 1.
    pub fn segments(&self) -> u64 {
        (self.last.0 - self.first.0).saturating_add(1)
    }

    /// Name of its first segment.
    pub fn first_name(&self, size: SegmentSize) -> Option<SegmentName> {
        self.first.name(self.timeline, size)
    }

    /// Name of its last segment.
    pub fn last_name(&self, size: SegmentSize) -> Option<SegmentName> {
        self.last.name(self.timeline, size)
    }
}

/// The runs that tile a range.
pub fn runs(inventory: &Inventory, range: WalRange, size: SegmentSize) -> Vec<Run> {
    let WalRange { timeline, first, last } = range;
    let mut runs = Vec::new();
    if last < first {
        return runs;
    }
    let on = inventory.on(timeline);
    // Names order as the WAL runs for one size, so the range is one stretch. What no name of this size can be is passed
    // over below.
    let start = first.name(timeline, size).map_or(on.len(), |name| on.partition_point(|one| one.name < name));
    let mut next = first;
    let whole = on.get(start..).unwrap_or_default().iter().filter(|one| one.size > 0);
    for number in whole.filter_map(|one| one.name.number(size).ok()) {
        if number > last {
            break;
        }
        if number < next {
            continue; // another stored form of the one before
        }
        if number > next {
            push(&mut runs, Run { timeline, first: next, last: SegmentNo(number.0 - 1), present: false });
        }
        push(&mut runs, Run { timeline, first: number, last: number, present: true });
        next = number.next();
    }
    if next <= last && runs.last().is_none_or(|run| run.last < last) {
        push(&mut runs, Run { timeline, first: next, last, present: false });
    }
    runs
}

fn push(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(before) if before.present == run.present && before.last.next() == run.first => before.last = run.last,
        _ => runs.push(run),
    }
}

/// The runs along the way to a history's timeline, from the segment of `from` up to the one with the byte before `to`.
pub fn along(inventory: &Inventory, way: &TimelineHistory, from: Lsn, to: Lsn, size: SegmentSize) -> Vec<Run> {
    let (first, last) = (from.segment(size), to.segment_before(size));
    let mut runs = Vec::new();
    let mut next = first;
    while to > from && next <= last {
        let timeline = way.segment_owner(next, size);
        // The owner changes only where a timeline begins; up to there it is the same.
        let begins = way.spans().map(|span| span.begin.segment(size)).filter(|begin| *begin > next);
        let end = begins.filter_map(SegmentNo::previous).min().map_or(last, |end| end.min(last));
        runs.extend(self::runs(inventory, WalRange { timeline, first: next, last: end }, size));
        if end.next() == end {
            break; // the last number there is
        }
        next = end.next();
    }
    runs
}

/// How the files of one timeline lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The stretches that are there, in order.
    pub runs: Vec<Run>,
    /// The first stored segment, an empty one too.
    pub first: SegmentNo,
    /// The last stored segment, an empty one too.
    pub last: SegmentNo,
    /// Stretches so far away from all others that no server can have written what would lie between.
    pub strays: Vec<Run>,
}

/// WAL that no server has written in one go, bytes: 1 PiB.
const BEYOND_BELIEF: u64 = 1 << 50;

/// How the files of a timeline lie. `None` when there are none that this size can have.
pub fn extent(inventory: &Inventory, timeline: TimelineId, size: SegmentSize) -> Option<Extent> {
    // Stretches of stored files, with their present runs: more than one only where strays are.
    let mut groups: Vec<(SegmentNo, SegmentNo, Vec<Run>)> = Vec::new();
    for one in inventory.on(timeline) {
        let Ok(number) = one.name.number(size) else { continue };
        let near = |last: SegmentNo| number.0.saturating_sub(last.0).saturating_mul(size.bytes()) <= BEYOND_BELIEF;
        match groups.last_mut() {
            Some((_, last, _)) if near(*last) => *last = number,
            _ => groups.push((number, number, Vec::new())),
        }
        if let Some((_, _, runs)) = groups.last_mut()
            && one.size > 0
            && runs.last().is_none_or(|run| run.last != number)
        {
            push(runs, Run { timeline, first: number, last: number, present: true });
        }
    }
    let weight = |(_, _, runs): &(SegmentNo, SegmentNo, Vec<Run>)| runs.iter().map(Run::segments).sum::<u64>();
    // The first of the heaviest: names far ahead are the likelier strays.
    let heaviest = groups.iter().map(weight).max()?;
    let main = groups.iter().position(|group| weight(group) == heaviest)?;
    let (first, last, runs) = groups.remove(main);
    let strays = groups.into_iter().flat_map(|(first, last, runs)| {
        if runs.is_empty() { vec![Run { timeline, first, last, present: false }] } else { runs }
    });
    Some(Extent { runs, first, last, strays: strays.collect() })
}

/// Stored segments whose names cannot be of this size: another size was in use before, or they are strays.
pub fn misfits(inventory: &Inventory, size: SegmentSize) -> impl Iterator<Item = SegmentName> + '_ {
    inventory.segments().iter().map(|one| one.name).filter(move |name| name.number(size).is_err())
}
