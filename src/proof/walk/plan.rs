//! What is to be read, what lies before it, and in which stretches.
//!
//! In: a survey and a selection. Out: [`Plan`]: every segment with the one before it; [`Stretch`]es of those that are to
//! be read. Never: reads anything. A segment costs 32 bytes here; there may be millions.

use super::{Cut, Selection};
use crate::catalog::inventory::{StoredSegment, order_of_trial};
use crate::pg::history::TimelineHistory;
use crate::pg::{SegmentName, SegmentNo, SegmentSize, TimelineId};
use crate::proof::facts::Level;
use crate::proof::segment::Wanted;
use crate::proof::survey::Survey;
use crate::storage::ObjectId;
use std::collections::BTreeMap;
use std::ops::Range;

/// Segments of one stretch at most: then a border costs little beside it.
const LONGEST: usize = 256;

/// One file to be proven.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) name: SegmentName,
    /// `None` where this archive's segment size has no such name.
    pub(super) number: Option<SegmentNo>,
    /// Place of its first stored form in the inventory, and how many there are. `None` for a `.partial`.
    stored: Option<(u32, u8)>,
    /// Index of the one before it, or [`NONE`].
    before: u32,
}

const NONE: u32 = u32::MAX;

impl Node {
    pub(super) fn is_partial(&self) -> bool {
        self.stored.is_none()
    }

    /// How many stored forms it has; a `.partial` counts as one.
    pub(super) fn forms(&self) -> usize {
        self.stored.map_or(1, |(_, count)| usize::from(count))
    }

    pub(super) fn before(&self) -> Option<usize> {
        (self.before != NONE).then_some(self.before as usize)
    }
}

/// Everything that is selected: whole segments in the order of their names, then `.partial` files.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
    pub(super) size: SegmentSize,
    whole: usize,
    chained: bool,
}

/// Neighbours that are read in order by one worker.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) nodes: Range<usize>,
}

impl Plan {
    pub(super) fn new(survey: &Survey, selection: &Selection, level: Level) -> Plan {
        let size = survey.size;
        let mut plan = Plan { nodes: Vec::new(), size, whole: 0, chained: level == Level::Records };
        let selected = |name: SegmentName| match name.number(size) {
            Ok(number) => selection.holds(name.timeline(), number).then_some(Some(number)),
            Err(_) => selection.ranges.is_none().then_some(None),
        };
        for (index, stored) in survey.inventory.segments().iter().enumerate() {
            if let Some(last) = plan.nodes.last_mut()
                && last.name == stored.name
            {
                last.stored = last.stored.map(|(first, count)| (first, count.saturating_add(1)));
            } else if let Some(number) = selected(stored.name) {
                let first = u32::try_from(index).unwrap_or(NONE);
                plan.nodes.push(Node { name: stored.name, number, stored: Some((first, 1)), before: NONE });
            }
        }
        plan.whole = plan.nodes.len();
        for name in survey.inventory.partials.keys() {
            if let Some(number) = selected(*name) {
                plan.nodes.push(Node { name: *name, number, stored: None, before: NONE });
            }
        }
        if plan.chained {
            plan.join(survey);
        }
        plan
    }

    /// Finds the one before each.
    fn join(&mut self, survey: &Survey) {
        let mut histories: BTreeMap<TimelineId, Option<TimelineHistory>> = BTreeMap::new();
        for index in 0..self.nodes.len() {
            let Some(node) = self.nodes.get(index).copied() else { continue };
            let timeline = node.name.timeline();
            let Some(previous) = node.number.and_then(SegmentNo::previous) else { continue };
            let history = histories.entry(timeline).or_insert_with(|| survey.timelines.history(timeline));
            let owner = history.as_ref().map_or(timeline, |history| history.segment_owner(previous, self.size));
            let before = previous.name(owner, self.size).and_then(|name| self.whole(name));
            if let Some(node) = self.nodes.get_mut(index) {
                node.before = before.and_then(|before| u32::try_from(before).ok()).unwrap_or(NONE);
            }
        }
    }

    /// The index of a whole segment.
    pub(super) fn whole(&self, name: SegmentName) -> Option<usize> {
        self.nodes.get(..self.whole)?.binary_search_by_key(&name, |node| node.name).ok()
    }

    pub(super) fn indices(&self) -> Range<usize> {
        0..self.nodes.len()
    }

    /// Whole segments, without the `.partial` files.
    pub(super) fn whole_ones(&self) -> Range<usize> {
        0..self.whole
    }

    pub(super) fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)
    }

    /// Its stored forms as the listing has them.
    pub(super) fn stored<'a>(&self, survey: &'a Survey, index: usize) -> &'a [StoredSegment] {
        let place = self.nodes.get(index).and_then(|node| node.stored);
        let range = place.map(|(first, count)| first as usize..first as usize + usize::from(count));
        range.and_then(|range| survey.inventory.segments().get(range)).unwrap_or_default()
    }

    /// Its stored forms, in the order in which wal-fetch tries them.
    pub(super) fn forms(&self, survey: &Survey, index: usize, level: Level) -> Vec<Wanted> {
        let Some(node) = self.nodes.get(index) else { return Vec::new() };
        let wanted = |object, stored| Wanted {
            name: node.name,
            partial: node.is_partial(),
            size: node.number.map(|_| self.size),
            object,
            stored,
            level,
            digest: false,
        };
        let mut forms: Vec<Wanted> = match node.is_partial() {
            true => {
                let stored = survey.inventory.partials.get(&node.name).map(Vec::as_slice).unwrap_or_default();
                stored.iter().map(|form| wanted(form.object.clone(), form.stored)).collect()
            }
            // Which version that is comes with its bytes.
            false => self
                .stored(survey, index)
                .iter()
                .map(|one| {
                    let object = ObjectId { key: one.key(), size: one.size, modified: None, etag: None };
                    wanted(object, one.form.stored)
                })
                .collect(),
        };
        order_of_trial(&mut forms, |form| form.stored);
        let several = forms.len() > 1;
        forms.iter_mut().for_each(|form| form.digest = several);
        forms
    }

    /// Cuts what is to be read into stretches: neighbours that follow each other, none too long, enough for all workers.
    pub(super) fn stretches(&self, to_read: impl Fn(usize) -> bool, count: usize, cut: Cut) -> Vec<Stretch> {
        let by_count = if cut.workers == 1 { LONGEST } else { (count / (4 * cut.workers)).clamp(4, LONGEST) };
        let longest = cut.longest.unwrap_or(by_count);
        let mut stretches: Vec<Stretch> = Vec::new();
        for index in self.indices().filter(|index| to_read(*index)) {
            let follows = |last: &Stretch| {
                last.nodes.end == index
                    && last.nodes.len() < longest
                    && (index < self.whole) == (last.nodes.start < self.whole)
                    && (!self.chained || self.node(index).and_then(Node::before) == index.checked_sub(1))
            };
            match stretches.last_mut() {
                Some(last) if follows(last) => last.nodes.end = index + 1,
                _ => stretches.push(Stretch { nodes: index..index + 1 }),
            }
        }
        stretches
    }
}
