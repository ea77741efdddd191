//! What was found, as defects.
//!
//! In: a proof of each segment, and the borders between them. Out: [`Walked`]. Never: reads anything.
//!
//! Two things are only seen from above: segments of another cluster among this one's, and whether the WAL begins a
//! timeline where its history says.

use super::run::{Found, Same, Slot, facts};
use super::{Tally, Unchecked, Walked};
use crate::catalog::continuity::WalRange;
use crate::pg::version::PgVersion;
use crate::pg::{Lsn, SystemId, TimelineId};
use crate::proof::facts::{Level, MarkKind, Outcome, SegmentFacts, SegmentProof};
use crate::proof::finding::{Breaks, Defect, FindingCode, Place};
use crate::proof::survey::Survey;
use crate::storage::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

pub(super) fn report(store: &dyn Store, survey: &Survey, found: Found, read: Tally, unchecked: Unchecked) -> Walked {
    let mut report = Report { store, survey, found, defects: Vec::new(), told: BTreeSet::new() };
    report.foreign();
    report.segments();
    report.seams();
    report.forks();
    let unread = report.unread();
    let Report { found, mut defects, .. } = report;
    defects.sort_by(|a, b| (&a.place, a.lsn).cmp(&(&b.place, b.lsn)));
    // A record over three segments and more is seen broken at each border that was read twice.
    defects.dedup();
    let mut walked = Walked { proofs: Vec::new(), others: Vec::new(), defects, read, unchecked, unread };
    for (index, slot) in found.slots.into_iter().enumerate() {
        let Some(Slot { proof, others }) = slot else { continue };
        let serves = found.plan.node(index).is_some_and(|node| !node.is_partial() && node.number.is_some());
        if serves { &mut walked.proofs } else { &mut walked.others }.push(proof);
        walked.others.extend(others.into_iter().map(|(proof, _)| proof));
    }
    walked
}

struct Report<'a> {
    store: &'a dyn Store,
    survey: &'a Survey,
    found: Found,
    defects: Vec<Defect>,
    /// Segments whose damage is told with their neighbours'.
    told: BTreeSet<usize>,
}

impl Report<'_> {
    fn place(&self, index: usize) -> Place {
        match self.found.plan.node(index).map(|node| (node.name.timeline(), node.number)) {
            Some((timeline, Some(number))) => Place::Wal { timeline, first: number, last: number },
            _ => match self.proof(index) {
                Some(proof) => Place::Object(proof.object.key.clone()),
                None => Place::Archive,
            },
        }
    }

    fn proof(&self, index: usize) -> Option<&SegmentProof> {
        self.found.slots.get(index)?.as_ref().map(|slot| &slot.proof)
    }

    fn url(&self, index: usize) -> String {
        match (self.proof(index), self.found.plan.node(index)) {
            (Some(proof), _) => self.store.object_url(&proof.object.key),
            (None, Some(node)) => node.name.to_string(),
            (None, None) => String::new(),
        }
    }

    fn name(&self, index: usize) -> String {
        self.found.plan.node(index).map(|node| node.name.to_string()).unwrap_or_default()
    }

    fn names(&self, range: &RangeInclusive<usize>) -> String {
        match range.start() == range.end() {
            true => self.url(*range.start()),
            false => format!("{} to {}", self.name(*range.start()), self.name(*range.end())),
        }
    }

    fn add(&mut self, index: usize, code: FindingCode, lsn: Option<Lsn>, what: String, breaks: Breaks) {
        let (place, object, level) = (self.place(index), self.url(index), self.found.level);
        self.defects.push(Defect { code, place, object, lsn, what, breaks, level });
    }

    /// Is there a file, whole or of a child, that recovery takes instead of this `.partial`?
    fn is_needed(&self, index: usize) -> bool {
        let Some(node) = self.found.plan.node(index) else { return true };
        !node.is_partial() || !self.survey.inventory.has(node.name)
    }

    /// What each segment itself shows.
    fn segments(&mut self) {
        let mut unknown: Option<(RangeInclusive<usize>, String, Breaks)> = None;
        for index in self.found.plan.indices() {
            let Some(proof) = self.proof(index) else { continue };
            let breaks = if self.is_needed(index) { Breaks::Replay } else { Breaks::Nothing };
            match proof.outcome.clone() {
                Outcome::Good(facts) => self.good(index, &facts),
                // Names tell an empty object from all others already.
                Outcome::Damaged { code: FindingCode::SegmentEmpty, .. } => {}
                Outcome::Damaged { .. } if self.told.contains(&index) => {}
                Outcome::Damaged { code, lsn, what } => self.add(index, code, lsn, what, breaks),
                Outcome::Unknown { what } => {
                    let breaks = if breaks == Breaks::Replay { Breaks::Unknown } else { breaks };
                    // One defect for a thousand segments that lack the same codec.
                    match &mut unknown {
                        Some((range, same, _)) if *same == what && self.follows(*range.end(), index) => {
                            *range = *range.start()..=index;
                        }
                        _ => {
                            self.unknown(unknown.take());
                            unknown = Some((index..=index, what, breaks));
                        }
                    }
                }
            }
            self.forms(index);
        }
        self.unknown(unknown);
        for (index, what) in std::mem::take(&mut self.found.changed) {
            self.add(index, FindingCode::LedgerChanged, None, what, Breaks::Nothing);
        }
    }

    /// The second stands right behind the first on the same timeline.
    fn follows(&self, first: usize, second: usize) -> bool {
        let place = |index| self.found.plan.node(index).and_then(|node| Some((node.name.timeline(), node.number?)));
        let partial = |index| self.found.plan.node(index).is_some_and(|node| node.is_partial());
        match (place(first), place(second)) {
            (Some((one, a)), Some((other, b))) => one == other && a.next() == b && !partial(first) && !partial(second),
            _ => false,
        }
    }

    fn unknown(&mut self, unknown: Option<(RangeInclusive<usize>, String, Breaks)>) {
        let Some((range, what, breaks)) = unknown else { return };
        self.range(&range, FindingCode::SegmentUnread, None, what, breaks);
    }

    fn range(
        &mut self,
        range: &RangeInclusive<usize>,
        code: FindingCode,
        lsn: Option<Lsn>,
        what: String,
        breaks: Breaks,
    ) {
        let place = match (self.place(*range.start()), self.place(*range.end())) {
            (Place::Wal { timeline, first, .. }, Place::Wal { last, .. }) => Place::Wal { timeline, first, last },
            (place, _) => place,
        };
        let (object, level) = (self.names(range), self.found.level);
        self.defects.push(Defect { code, place, object, lsn, what, breaks, level });
    }

    fn good(&mut self, index: usize, facts: &SegmentFacts) {
        if let Some(at) = facts.odd_at {
            let what = format!("{} bytes that no checksum covers are not zero, the first at {at}", facts.odd_bytes);
            self.add(index, FindingCode::SegmentOdd, Some(at), what, Breaks::Nothing);
        }
        let size = u64::from(facts.size);
        if self.found.plan.node(index).is_some_and(|node| node.number.is_some()) && size != self.survey.size.bytes() {
            let what = format!(
                "it is a whole segment of {} MiB, and this archive's are of {}: from before the size was changed, or of \
                 another cluster",
                size >> 20,
                self.survey.size
            );
            self.add(index, FindingCode::SegmentMisfit, None, what, Breaks::Replay);
        }
        let minimal = facts.marks.iter().find(|mark| mark.kind == MarkKind::WalLevel(0));
        if let Some(at) = minimal.map(|mark| mark.at) {
            let version = facts.magic.and_then(PgVersion::from_page_magic);
            let what = match version.is_some_and(|version| version.is_at_least(14)) {
                true => "wal_level is minimal from here on: replay refuses to go on",
                false => {
                    "wal_level is minimal from here on: replay goes on with a warning, and rows are missing behind it"
                }
            };
            self.add(index, FindingCode::SegmentMinimal, Some(at), what.to_owned(), Breaks::Replay);
        }
    }

    /// Further stored forms, against the one that serves.
    fn forms(&mut self, index: usize) {
        let Some(Some(slot)) = self.found.slots.get(index) else { return };
        let said = |outcome: &Outcome| match outcome {
            Outcome::Good(_) => "validates".to_owned(),
            Outcome::Damaged { what, .. } => format!("is damaged ({what})"),
            Outcome::Unknown { what } => format!("could not be judged ({what})"),
        };
        let key = |proof: &SegmentProof| proof.object.key.base_name().to_owned();
        let serving = (key(&slot.proof), said(&slot.proof.outcome));
        let good = matches!(slot.proof.outcome, Outcome::Good(_));
        let mut found = Vec::new();
        for (other, same) in &slot.others {
            let what = format!("{} {}, {} {}", serving.0, serving.1, key(other), said(&other.outcome));
            match same {
                Same::Yes => {}
                Same::No => found.push((FindingCode::SegmentDiffers, what, Breaks::Nothing)),
                Same::Unknown if good => found.push((FindingCode::SegmentUnread, what, Breaks::Nothing)),
                // The segment is unread anyway.
                Same::Unknown => {}
            }
        }
        for (code, what, breaks) in found {
            self.add(index, code, None, what, breaks);
        }
    }

    /// Borders that do not fit, or could not be looked at.
    fn seams(&mut self) {
        let broken = std::mem::take(&mut self.found.seams).into_iter();
        let unread = std::mem::take(&mut self.found.unread_seams).into_iter();
        let broken =
            broken.map(|(index, one)| (index, FindingCode::SegmentSeam, Some(one.lsn), one.what, Breaks::Replay));
        let unread = unread.map(|(index, what)| {
            let what = format!("the record that crosses into it could not be checked: {what}");
            (index, FindingCode::SegmentUnread, None, what, Breaks::Unknown)
        });
        for (index, code, lsn, what, breaks) in broken.chain(unread) {
            let before = self.found.plan.node(index).and_then(|node| node.before());
            let Some(before) = before else { continue };
            let both = format!("{} and {}", self.name(before), self.url(index));
            let breaks = if self.is_needed(index) { breaks } else { Breaks::Nothing };
            let place = match (self.place(before), self.place(index)) {
                (Place::Wal { timeline: one, first, .. }, Place::Wal { timeline, last, .. }) if one == timeline => {
                    Place::Wal { timeline, first, last }
                }
                (_, place) => place,
            };
            let level = self.found.level;
            self.defects.push(Defect { code, place, object: both, lsn, what, breaks, level });
        }
    }

    /// Segments of another cluster. The archive's is the one of most of its segments. Another one that has base backups
    /// of its own here is a neighbour: only the border to it counts, since no recovery crosses it.
    fn foreign(&mut self) {
        let mut counts: BTreeMap<SystemId, u64> = BTreeMap::new();
        let systems: Vec<(usize, SystemId)> = self
            .found
            .plan
            .indices()
            .filter_map(|index| Some((index, facts(&self.found.slots, index)?.system?)))
            .collect();
        for (_, system) in &systems {
            *counts.entry(*system).or_default() += 1;
        }
        if counts.len() < 2 {
            return;
        }
        let most = counts.values().max().copied().unwrap_or(0);
        let with_most: Vec<SystemId> = counts.iter().filter(|(_, n)| **n == most).map(|(system, _)| *system).collect();
        let surveyed = self.survey.system.filter(|system| with_most.contains(system));
        let Some(ours) = surveyed.or(with_most.first().copied()) else { return };
        // Stretches of one cluster, in order.
        let mut groups: Vec<(RangeInclusive<usize>, SystemId)> = Vec::new();
        for (index, system) in systems {
            match groups.last_mut() {
                Some((range, same)) if *same == system && self.is_same_timeline(*range.end(), index) => {
                    *range = *range.start()..=index;
                }
                _ => groups.push((index..=index, system)),
            }
        }
        for (place, (range, system)) in groups.iter().enumerate() {
            let neighbour = |other: Option<&(RangeInclusive<usize>, SystemId)>| {
                other.filter(|(other, _)| self.is_same_timeline(*other.start(), *range.start())).cloned()
            };
            if *system == ours {
                continue;
            }
            if !self.has_backup(range) {
                let what = format!("it is of the cluster with system identifier {system}, the archive's is {ours}");
                self.range(range, FindingCode::SegmentForeign, None, what.clone(), Breaks::Replay);
                for index in range.clone() {
                    if let Some(Some(slot)) = self.found.slots.get_mut(index)
                        && matches!(slot.proof.outcome, Outcome::Good(_))
                    {
                        let (code, lsn) = (FindingCode::SegmentForeign, None);
                        // Named above, all of them at once.
                        slot.proof.outcome = Outcome::Damaged { code, lsn, what: what.clone() };
                        self.told.insert(index);
                    }
                }
                continue;
            }
            let before = place.checked_sub(1).and_then(|before| neighbour(groups.get(before)));
            let behind = neighbour(groups.get(place + 1));
            for (last, other) in
                [before.map(|(one, _)| (*one.end(), *system)), behind.map(|(_, other)| (*range.end(), other))]
                    .into_iter()
                    .flatten()
            {
                let what = format!("the WAL behind it is of another cluster, with system identifier {other}");
                self.add(last, FindingCode::SegmentForeign, None, what, Breaks::Replay);
            }
        }
    }

    fn is_same_timeline(&self, one: usize, other: usize) -> bool {
        let of = |index| self.found.plan.node(index).map(|node| (node.name.timeline(), node.is_partial()));
        of(one) == of(other)
    }

    /// Does a base backup start in these segments?
    fn has_backup(&self, range: &RangeInclusive<usize>) -> bool {
        let number = |index: usize| self.found.plan.node(index).and_then(|node| node.number);
        let (Some(first), Some(last)) = (number(*range.start()), number(*range.end())) else { return false };
        let timeline = self.found.plan.node(*range.start()).map(|node| node.name.timeline());
        let starts = |backup: &crate::proof::survey::BackupFacts| {
            Some(backup.timeline) == timeline && (first..=last).contains(&backup.start.segment(self.survey.size))
        };
        self.survey.backups.iter().any(starts)
    }

    /// Does the WAL begin each timeline where its history says?
    fn forks(&mut self) {
        if self.found.level != Level::Records {
            return;
        }
        let timelines: Vec<TimelineId> = self.survey.timelines.iter().map(|(timeline, _)| timeline).collect();
        for timeline in timelines {
            let Some((parent, switch)) = self.survey.timelines.parent(timeline) else { continue };
            let Some((index, lsn, what)) = self.fork(timeline, parent, switch) else { continue };
            self.add(index, FindingCode::ForkContradicts, Some(lsn), what, Breaks::Replay);
        }
    }

    fn fork(&self, timeline: TimelineId, parent: TimelineId, switch: Lsn) -> Option<(usize, Lsn, String)> {
        let nodes = &self.found.plan.nodes;
        let first = nodes.partition_point(|node| !node.is_partial() && node.name.timeline() < timeline);
        // Its first segments may be gone by retention, or were not asked for.
        let number = nodes.get(first).and_then(|node| node.number);
        let from_its_beginning = number.is_some_and(|number| number <= switch.segment(self.found.plan.size));
        let own = self.found.plan.whole_ones().skip(first);
        let own = own.take_while(|index| nodes.get(*index).is_some_and(|node| node.name.timeline() == timeline));
        for index in own.take(FORK_WITHIN) {
            let facts = facts(&self.found.slots, index)?;
            for mark in &facts.marks {
                match mark.kind {
                    MarkKind::TimelineBegins { timeline: begun, previous } if begun == timeline.get() => {
                        let here = is_first_record(mark.at, switch) || self.is_overwritten(facts, switch, mark.at);
                        if !here {
                            let what = format!(
                                "the history of timeline {timeline} says that it begins at {switch}, and the WAL begins it \
                                 at {}",
                                mark.at
                            );
                            return Some((index, mark.at, what));
                        }
                        if previous != parent.get() {
                            let what = format!(
                                "the history of timeline {timeline} names {parent} as its parent, and the WAL {previous}"
                            );
                            return Some((index, mark.at, what));
                        }
                        return None;
                    }
                    _ => {}
                }
            }
            if from_its_beginning && facts.last_record.is_some_and(|last| last > switch) {
                let what = format!("no record begins timeline {timeline} at {switch}, where its history says");
                return Some((index, switch, what));
            }
        }
        None
    }

    /// Some minor releases overwrote the record that was cut off at the end of the old timeline, before they began the new.
    fn is_overwritten(&self, facts: &SegmentFacts, switch: Lsn, begins: Lsn) -> bool {
        let overwrites = |kind: &MarkKind| matches!(kind, MarkKind::Overwrite { .. });
        facts.marks.iter().any(|mark| overwrites(&mark.kind) && (switch..begins).contains(&mark.at))
    }

    /// What was selected and not read, as ranges.
    fn unread(&mut self) -> Vec<WalRange> {
        let why = self.found.stopped.clone().unwrap_or_else(|| "it was not read".to_owned());
        let missing: Vec<usize> = self.found.plan.indices().filter(|index| self.proof(*index).is_none()).collect();
        let mut ranges: Vec<RangeInclusive<usize>> = Vec::new();
        for index in missing {
            match ranges.last_mut() {
                Some(range) if self.follows(*range.end(), index) => *range = *range.start()..=index,
                _ => ranges.push(index..=index),
            }
        }
        let mut unread = Vec::new();
        for range in ranges {
            let needed = self.is_needed(*range.start());
            let breaks = if needed { Breaks::Unknown } else { Breaks::Nothing };
            self.range(&range, FindingCode::SegmentUnread, None, format!("not read: {why}"), breaks);
            if let (Place::Wal { timeline, first, .. }, Place::Wal { last, .. }) =
                (self.place(*range.start()), self.place(*range.end()))
            {
                unread.push(WalRange { timeline, first, last });
            }
        }
        unread
    }
}

/// Segments at the beginning of a timeline in which its first record must be: it can be long, and what lies before it too.
const FORK_WITHIN: usize = 3;

/// Is this the place of the first record at or behind a switch point? At the start of a page its header comes first.
fn is_first_record(at: Lsn, switch: Lsn) -> bool {
    let between = at.0.checked_sub(switch.0);
    between == Some(0) || switch.0.is_multiple_of(1024) && matches!(between, Some(24 | 40))
}
