//! Segments: gaps, and names that are odd.
//!
//! In: a survey. Out: defects. Never: looks further than what is there asks for.
//!
//! Of each timeline everything must be there between two places:
//!
//! ```text
//! from  its first file; or where one of its base backups starts; or its switch point, when something older leads to it
//! to    its last file; or what one of its base backups needs; or where a timeline that is there branches off
//! ```

use super::{defect, place, segments_are, text_of};
use crate::catalog::continuity::{self, Run, WalRange};
use crate::pg::{SegmentNo, TimelineId};
use crate::proof::finding::{Breaks, Defect, FindingCode};
use crate::proof::survey::{BackupFacts, Survey, stretches};
use std::collections::BTreeMap;

/// What of a timeline must be there, and why its ends are its ends.
struct Needed<'a> {
    first: SegmentNo,
    last: SegmentNo,
    /// The child whose switch point is the last place that is needed.
    child: Option<TimelineId>,
    /// The base backup that needs the last place.
    backup: Option<&'a BackupFacts>,
}

/// Where a timeline that branches off needs its ancestors up to: by ancestor, the furthest segment and who needs it.
type Branches = BTreeMap<TimelineId, (SegmentNo, TimelineId)>;

/// Segments that are missing, empty or partial where they are needed.
pub(super) fn gaps(survey: &Survey, found: &mut Vec<Defect>) {
    let branches = branches(survey);
    for timeline in survey.all_timelines() {
        let Some(needed) = needed(survey, timeline, &branches) else { continue };
        let range = WalRange { timeline, first: needed.first, last: needed.last };
        for gap in continuity::runs(&survey.inventory, range, survey.size) {
            if !gap.present {
                split(survey, gap).into_iter().for_each(|(run, kind)| found.push(missing(survey, run, kind, &needed)));
            }
        }
    }
}

fn branches(survey: &Survey) -> Branches {
    let mut branches = Branches::new();
    for (to, node) in survey.timelines.iter() {
        let Some(Ok(history)) = &node.history else { continue };
        for (timeline, first, last) in stretches(history, survey.size) {
            // What lies before the oldest file of the ancestor was removed on purpose, or another rule asks for it.
            if timeline != to && first <= last && branches.get(&timeline).is_none_or(|(furthest, _)| last > *furthest) {
                branches.insert(timeline, (last, to));
            }
        }
    }
    branches
}

fn needed<'a>(survey: &'a Survey, timeline: TimelineId, branches: &Branches) -> Option<Needed<'a>> {
    let size = survey.size;
    let extent = survey.extents.get(&timeline);
    let backups = || survey.backups.iter().filter(move |one| one.timeline == timeline && one.is_finished());
    let switch = survey.begin(timeline).map(|begin| begin.segment(size)).filter(|_| is_led_to(survey, timeline));
    let starts = backups().map(|one| one.first_segment(size));
    let first = starts.chain(extent.map(|extent| extent.first)).chain(switch).min()?;
    let backup = backups().max_by_key(|one| one.last_segment(size));
    let of_backup = backup.map(|one| one.last_segment(size));
    let of_child = branches.get(&timeline).copied();
    let of_files = extent.map(|extent| extent.last);
    let last = of_files.into_iter().chain(of_backup).chain(of_child.map(|(last, _)| last)).max()?;
    Some(Needed {
        first,
        last,
        child: of_child.filter(|(end, _)| *end == last && of_files < Some(last)).map(|(_, child)| child),
        backup: backup.filter(|one| one.last_segment(size) == last && of_files < Some(last)),
    })
}

/// Does anything that is there lie on the way to this timeline, before it begins?
fn is_led_to(survey: &Survey, timeline: TimelineId) -> bool {
    let Some(history) = survey.told(timeline) else { return false };
    let mut before = stretches(&history, survey.size).into_iter().filter(|(one, ..)| *one != timeline);
    before.any(|(ancestor, first, last)| {
        let file = survey.extents.get(&ancestor).is_some_and(|extent| extent.first <= last && extent.last >= first);
        let backup = |one: &BackupFacts| {
            let end = history.span(ancestor).and_then(|span| span.end);
            let inside = end.is_none_or(|end| one.stop.unwrap_or(one.start) <= end);
            one.timeline == ancestor && one.is_finished() && inside
        };
        file || survey.backups.iter().any(backup)
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Missing,
    Empty,
    Partial,
}

/// A gap cut where something lies in it: empty objects, partial segments.
fn split(survey: &Survey, gap: Run) -> Vec<(Run, Kind)> {
    let mut special: BTreeMap<SegmentNo, Kind> = BTreeMap::new();
    let within = |number: &SegmentNo| (gap.first..=gap.last).contains(number);
    let partials = survey.inventory.partials.keys().filter(|name| name.timeline() == gap.timeline);
    special.extend(
        partials.filter_map(|name| name.number(survey.size).ok()).filter(within).map(|one| (one, Kind::Partial)),
    );
    let on = survey.inventory.on(gap.timeline).iter().filter(|one| one.size == 0);
    special.extend(on.filter_map(|one| one.name.number(survey.size).ok()).filter(within).map(|one| (one, Kind::Empty)));
    let mut pieces: Vec<(Run, Kind)> = Vec::new();
    let mut push = |first: SegmentNo, last: SegmentNo, kind: Kind| match pieces.last_mut() {
        Some((run, before)) if *before == kind && run.last.next() == first => run.last = last,
        _ => pieces.push((Run { timeline: gap.timeline, first, last, present: false }, kind)),
    };
    // `None`: the last number there is was the last one.
    let mut next = Some(gap.first);
    for (number, kind) in special {
        if let (Some(first), Some(last)) = (next, number.previous())
            && first <= last
        {
            push(first, last, Kind::Missing);
        }
        push(number, number, kind);
        next = number.0.checked_add(1).map(SegmentNo);
    }
    if let Some(first) = next.filter(|first| *first <= gap.last) {
        push(first, gap.last, Kind::Missing);
    }
    pieces
}

fn missing(survey: &Survey, run: Run, kind: Kind, needed: &Needed<'_>) -> Defect {
    let (size, timeline) = (survey.size, run.timeline);
    let text = |number: SegmentNo| super::range_text(timeline, number, number, size);
    let begins_here = survey.begin(timeline).is_some_and(|begin| begin.segment(size) == run.first);
    let behind = match (survey.extents.get(&timeline), needed.child, needed.backup) {
        (Some(extent), ..) if run.last < extent.last => {
            format!("the timeline goes on behind with {}", text(run.last.next()))
        }
        (_, Some(child), _) if run.last == needed.last => {
            let at = survey.told(child).and_then(|history| history.span(timeline)?.end);
            let at = at.map(|at| format!(" at {at}")).unwrap_or_default();
            format!("timeline {child} leaves timeline {timeline} behind{at}")
        }
        (_, _, Some(backup)) if run.last == needed.last => {
            format!("{} needs the WAL up to {}", backup.name, backup.stop.unwrap_or(backup.start))
        }
        _ => format!("WAL is needed up to {}", text(needed.last)),
    };
    let (code, state) = match kind {
        Kind::Empty => (FindingCode::SegmentEmpty, "has no bytes".to_owned()),
        Kind::Partial if begins_here => (FindingCode::ForkMissing, "is there only as .partial".to_owned()),
        Kind::Partial => (FindingCode::SegmentPartial, "is there only as .partial".to_owned()),
        Kind::Missing if begins_here => (FindingCode::ForkMissing, format!("{} missing", segments_are(run.segments()))),
        Kind::Missing => (FindingCode::SegmentMissing, format!("{} missing", segments_are(run.segments()))),
    };
    let fork = match survey
        .told(timeline)
        .filter(|_| code == FindingCode::ForkMissing)
        .and_then(|one| one.parent().cloned())
    {
        None => String::new(),
        Some(parent) => {
            let same = run.first.name(parent.timeline, size);
            let there = same.filter(|name| survey.inventory.has(*name));
            let there = there.map(|name| format!("; {name}, which is there, goes past it")).unwrap_or_default();
            format!("; timeline {timeline} leaves timeline {} in it, at {}{there}", parent.timeline, parent.switch)
        }
    };
    Defect {
        lsn: run.first.start(size),
        ..defect(code, place(run), text_of(run, size), format!("{state}; {behind}{fork}"), Breaks::Replay)
    }
}

/// Names that cannot be, names far away, and segments that are stored more than once.
pub(super) fn oddities(survey: &Survey, found: &mut Vec<Defect>) {
    let size = survey.size;
    let mut misfits = continuity::misfits(&survey.inventory, size);
    if let Some(first) = misfits.next() {
        let more = super::and_more(misfits.count() as u64);
        let what = format!("no segment of {size} has such a name (the size: {})", survey.size_from);
        let key = survey.inventory.stored(first).first().map(|one| one.key());
        let place = key.map_or(crate::proof::finding::Place::Archive, crate::proof::finding::Place::Object);
        found.push(defect(FindingCode::SegmentMisfit, place, format!("{first}{more}"), what, Breaks::Nothing));
    }
    for extent in survey.extents.values() {
        for run in &extent.strays {
            let main = super::range_text(run.timeline, extent.first, extent.last, size);
            let what = format!("it lies far away from the timeline's other segments, {main}");
            found.push(defect(FindingCode::SegmentStray, place(*run), text_of(*run, size), what, Breaks::Nothing));
        }
    }
    for (run, forms) in twice(survey) {
        let what = format!("{} stored more than once: {forms}", segments_are(run.segments()));
        found.push(defect(FindingCode::SegmentTwice, place(run), text_of(run, size), what, Breaks::Nothing));
    }
}

/// Segments with more than one stored form, joined where neighbours are stored alike.
fn twice(survey: &Survey) -> Vec<(Run, String)> {
    let mut runs: Vec<(Run, String)> = Vec::new();
    for same in survey.inventory.segments().chunk_by(|a, b| a.name == b.name).filter(|same| same.len() > 1) {
        let Some((name, number)) = same.first().and_then(|one| Some((one.name, one.name.number(survey.size).ok()?)))
        else {
            continue;
        };
        let form = |one: &crate::catalog::inventory::StoredSegment| match one.size {
            0 => format!("{} (empty)", one.form.stored),
            _ => one.form.stored.to_string(),
        };
        let forms = same.iter().map(form).collect::<Vec<_>>().join(", ");
        match runs.last_mut() {
            Some((run, before)) if run.timeline == name.timeline() && run.last.next() == number && *before == forms => {
                run.last = number;
            }
            _ => runs.push((Run { timeline: name.timeline(), first: number, last: number, present: true }, forms)),
        }
    }
    runs
}
