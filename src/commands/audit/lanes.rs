//! Timelines as rows of a picture: what is there, what is missing, where findings are, and about when all that was written.
//!
//! In: a [`Survey`], proofs, findings. Out: [`Lane`]s and where their times come from. Never: reads anything; takes the
//! store's times for the WAL's own where they do not run as the WAL does.

use super::report::{Fork, Lane, Reach, Spot, Stretch, Times};
use crate::pg::{Lsn, SegmentNo, SegmentSize, TimelineId};
use crate::proof::facts::{Outcome, SegmentProof};
use crate::proof::finding::{Finding, Place};
use crate::proof::survey::Survey;
use crate::wal::record::PgTime;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Points of a clock that are kept of one timeline; a picture has no more pixels.
const POINTS: usize = 4000;
/// Of this many neighbours at most one may be out of order, or the store's times are those of a copy.
const ORDERLY: usize = 20;

/// When the WAL was written, timeline by timeline.
#[derive(Debug)]
pub(super) struct Clock {
    timelines: BTreeMap<TimelineId, Vec<(Lsn, Timestamp)>>,
    /// Where the times come from.
    pub(super) times: Times,
}

/// A time of a commit or abort record.
pub(super) fn moment(time: PgTime) -> Option<Timestamp> {
    Timestamp::from_microsecond(time.unix_micros()?).ok()
}

impl Clock {
    /// By commits where any were read, else by the store.
    pub(super) fn new(survey: &Survey, proofs: &[SegmentProof]) -> Clock {
        let commits = by_commits(proofs);
        let (timelines, times) = match commits.is_empty() {
            false => (commits, Times::Commits),
            true => by_store(survey).map_or((BTreeMap::new(), Times::None), |stored| (stored, Times::Stored)),
        };
        let mut clock = Clock { timelines, times };
        clock.begin_children(survey);
        clock
    }

    /// A child begins when its parent was left: its own first commit may come long after. Parents come first.
    fn begin_children(&mut self, survey: &Survey) {
        for timeline in survey.all_timelines() {
            let Some((parent, switch)) = survey.timelines.parent(timeline) else { continue };
            let Some(begins) = self.at(parent, switch) else { continue };
            let start = switch.segment(survey.size).start(survey.size).unwrap_or(switch);
            let points = self.timelines.entry(timeline).or_default();
            points.insert(0, (start, begins));
            orderly(points);
        }
    }

    /// About when this place was written: between the neighbours that are known.
    pub(super) fn at(&self, timeline: TimelineId, lsn: Lsn) -> Option<Timestamp> {
        let points = self.timelines.get(&timeline)?;
        let behind = points.partition_point(|(place, _)| *place < lsn);
        let (before, after) = (behind.checked_sub(1).and_then(|index| points.get(index)), points.get(behind));
        match (before, after) {
            (Some((from, early)), Some((to, late))) => {
                let share = (lsn.0 - from.0) as f64 / (to.0 - from.0).max(1) as f64;
                let micros = (late.as_microsecond() - early.as_microsecond()) as f64 * share;
                Timestamp::from_microsecond(early.as_microsecond() + micros as i64).ok()
            }
            (one, other) => one.or(other).map(|(_, time)| *time),
        }
    }

    fn reach(&self, timeline: TimelineId, from: Lsn, to: Lsn) -> Reach {
        Reach { from, to, begins: self.at(timeline, from), ends: self.at(timeline, to) }
    }
}

fn by_commits(proofs: &[SegmentProof]) -> BTreeMap<TimelineId, Vec<(Lsn, Timestamp)>> {
    let mut timelines: BTreeMap<TimelineId, Vec<(Lsn, Timestamp)>> = BTreeMap::new();
    for proof in proofs {
        let Outcome::Good(facts) = &proof.outcome else { continue };
        let points = timelines.entry(proof.name.timeline()).or_default();
        for (lsn, time) in [facts.times.first, facts.times.last].into_iter().flatten() {
            points.extend(moment(time).map(|time| (lsn, time)));
        }
    }
    timelines.retain(|_, points| !points.is_empty());
    timelines.values_mut().for_each(orderly);
    timelines
}

fn by_store(survey: &Survey) -> Option<BTreeMap<TimelineId, Vec<(Lsn, Timestamp)>>> {
    let mut timelines: BTreeMap<TimelineId, Vec<(Lsn, Timestamp)>> = BTreeMap::new();
    let (mut neighbours, mut inversions) = (0, 0);
    for one in survey.inventory.segments() {
        let (Some(time), Ok(number)) = (one.modified(), one.name.number(survey.size)) else { continue };
        // A segment is stored when its last byte is written.
        let Some(end) = number.next().start(survey.size) else { continue };
        let points = timelines.entry(one.name.timeline()).or_default();
        if let Some((_, before)) = points.last() {
            neighbours += 1;
            inversions += usize::from(*before > time);
        }
        points.push((end, time));
    }
    let moments = || timelines.values().flatten().map(|(_, time)| *time);
    let spread = moments().max()? > moments().min()?;
    if !spread || inversions * ORDERLY > neighbours {
        return None;
    }
    timelines.values_mut().for_each(orderly);
    Some(timelines)
}

/// Ascending in place and time, and few. Times are not monotonic along the WAL, a picture's axis is.
fn orderly(points: &mut Vec<(Lsn, Timestamp)>) {
    points.sort_by_key(|(lsn, _)| *lsn);
    points.dedup_by_key(|(lsn, _)| *lsn);
    let mut newest = Timestamp::MIN;
    for (_, time) in points.iter_mut() {
        newest = newest.max(*time);
        *time = newest;
    }
    let step = points.len().div_ceil(POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let mut index = 0;
    points.retain(|_| {
        let keep = index % step == 0 || index == last;
        index += 1;
        keep
    });
}

/// The rows, ascending. `way`: the timelines that recovery by `latest` goes over.
pub(super) fn lanes(survey: &Survey, clock: &Clock, findings: &[Finding], way: &[TimelineId]) -> Vec<Lane> {
    let timelines = survey.all_timelines().into_iter();
    let mut lanes: Vec<Lane> = timelines.map(|timeline| lane(survey, clock, timeline, way)).collect();
    for (index, finding) in findings.iter().enumerate() {
        let Place::Wal { timeline, first, last } = finding.place else { continue };
        let Some(lane) = lanes.iter_mut().find(|lane| lane.timeline == timeline) else { continue };
        let (Some(from), Some(to)) = (first.start(survey.size), last.next().start(survey.size)) else { continue };
        let place = match finding.lsn {
            // One record is a point.
            Some(lsn) if first == last => clock.reach(timeline, lsn, lsn),
            _ => clock.reach(timeline, from, to),
        };
        lane.spots.push(Spot { finding: index, severity: finding.severity, place });
    }
    for lane in &mut lanes {
        lane.spots.sort_by_key(|spot| spot.place.from);
    }
    lanes
}

fn lane(survey: &Survey, clock: &Clock, timeline: TimelineId, way: &[TimelineId]) -> Lane {
    let size = survey.size;
    let runs = survey.extents.get(&timeline).map(|extent| extent.runs.as_slice()).unwrap_or_default();
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut next = None;
    for run in runs {
        if let Some(next) = next.filter(|next| *next < run.first) {
            let last = run.first.previous().unwrap_or(run.first);
            stretches.extend(stretch(clock, timeline, (next, last), false, size));
        }
        stretches.extend(stretch(clock, timeline, (run.first, run.last), true, size));
        next = Some(run.last.next());
    }
    let fork = survey.timelines.parent(timeline).map(|(parent, lsn)| Fork {
        parent,
        lsn,
        time: clock.at(parent, lsn).or_else(|| clock.at(timeline, lsn)),
    });
    Lane {
        timeline,
        fork,
        on_the_way: way.contains(&timeline),
        segments: stretches.iter().filter(|one| one.present).fold(0, |sum, one| sum.saturating_add(one.segments)),
        stretches,
        spots: Vec::new(),
    }
}

fn stretch(
    clock: &Clock,
    timeline: TimelineId,
    (first, last): (SegmentNo, SegmentNo),
    present: bool,
    size: SegmentSize,
) -> Option<Stretch> {
    Some(Stretch {
        present,
        first: first.name(timeline, size)?.to_string(),
        last: last.name(timeline, size)?.to_string(),
        segments: (last.0 - first.0).saturating_add(1),
        place: clock.reach(timeline, first.start(size)?, last.next().start(size)?),
    })
}

#[cfg(test)]
mod tests;
