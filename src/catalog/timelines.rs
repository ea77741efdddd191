//! The timelines of an archive: who descends from whom, which one `latest` is, and the way to a target.
//!
//! In: an [`Inventory`] and the parsed histories. Out: [`Timelines`]. Never: reads the store; invents an ancestor for a
//! timeline whose history is missing (PostgreSQL takes such a one as having none, and so do we, saying it).
//! Source: PostgreSQL `src/backend/access/transam/timeline.c` (`findNewestTimeLine`, `restoreTimeLineHistoryFiles`).

use super::inventory::Inventory;
use crate::error::Error;
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, TimelineId};
use std::collections::BTreeMap;

/// All timelines of an archive.
#[derive(Debug)]
pub struct Timelines {
    nodes: BTreeMap<TimelineId, Node>,
}

/// One timeline.
#[derive(Debug)]
pub struct Node {
    /// Its history: parsed, or damaged. `None`: no file, which is right for the first one only.
    pub history: Option<Result<TimelineHistory, Error>>,
    /// Are there segments of it?
    pub has_segments: bool,
}

/// Something about the timelines that people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// Segments, and no history file, although it is not timeline 1.
    NoHistory(TimelineId),
    /// A history file that cannot be read.
    Damaged(TimelineId),
    /// The two histories tell different stories of the ancestor's past.
    Disagree {
        /// Whose history names `ancestor`.
        child: TimelineId,
        /// Whose own history says otherwise.
        ancestor: TimelineId,
    },
    /// `latest` stops at the first missing number: PostgreSQL never looks at this one by itself.
    Unreachable(TimelineId),
}

impl Timelines {
    /// From an inventory and the histories that were read.
    pub fn new(inventory: &Inventory, mut histories: BTreeMap<TimelineId, Result<TimelineHistory, Error>>) -> Self {
        // No server asks for the one of timeline 1, whatever lies there.
        histories.remove(&TimelineId::FIRST);
        let node = |timeline: TimelineId| {
            let node = Node { history: histories.remove(&timeline), has_segments: !inventory.on(timeline).is_empty() };
            (timeline, node)
        };
        Timelines { nodes: inventory.timelines().into_iter().map(node).collect() }
    }

    /// Every timeline with its node, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (TimelineId, &Node)> {
        self.nodes.iter().map(|(timeline, node)| (*timeline, node))
    }

    /// The readable history of a timeline, as PostgreSQL takes it: without a file it has no ancestors. `None`: damaged.
    pub fn history(&self, timeline: TimelineId) -> Option<TimelineHistory> {
        match self.nodes.get(&timeline).and_then(|node| node.history.as_ref()) {
            Some(Ok(history)) => Some(history.clone()),
            Some(Err(_)) => None,
            None => Some(TimelineHistory::without_file(timeline)),
        }
    }

    /// Its direct parent and the switch point, where a readable history names one.
    pub fn parent(&self, timeline: TimelineId) -> Option<(TimelineId, Lsn)> {
        let history = self.nodes.get(&timeline)?.history.as_ref()?.as_ref().ok()?;
        history.parent().map(|parent| (parent.timeline, parent.switch))
    }

    /// The direct children and where they begin, ascending.
    pub fn children(&self, timeline: TimelineId) -> Vec<(TimelineId, Lsn)> {
        let child = |child: TimelineId| self.parent(child).filter(|(parent, _)| *parent == timeline);
        self.nodes.keys().filter_map(|one| child(*one).map(|(_, switch)| (*one, switch))).collect()
    }

    /// The timeline PostgreSQL recovers to by `latest` from this one: it asks for the history of the next number, and of
    /// the next, until one is missing.
    pub fn latest(&self, from: TimelineId) -> TimelineId {
        let has_file = |timeline: &TimelineId| self.nodes.get(timeline).is_some_and(|node| node.history.is_some());
        let next = |timeline: &TimelineId| timeline.next().filter(has_file);
        std::iter::successors(Some(from), next).last().unwrap_or(from)
    }

    /// What is odd, by timeline.
    pub fn oddities(&self) -> Vec<Oddity> {
        let mut found = Vec::new();
        let oldest = self.nodes.keys().next().copied();
        let reachable = oldest.map(|oldest| self.latest(oldest));
        for (timeline, node) in &self.nodes {
            match &node.history {
                // The oldest one may have lost its history to retention.
                None if node.has_segments && oldest != Some(*timeline) && *timeline != TimelineId::FIRST => {
                    found.push(Oddity::NoHistory(*timeline));
                }
                Some(Err(_)) => found.push(Oddity::Damaged(*timeline)),
                Some(Ok(history)) => {
                    for ancestor in history.ancestors() {
                        let own = self.nodes.get(&ancestor.timeline).and_then(|node| node.history.as_ref());
                        if let Some(Ok(own)) = own
                            && !history.agrees_with(own)
                        {
                            found.push(Oddity::Disagree { child: *timeline, ancestor: ancestor.timeline });
                        }
                    }
                }
                None => {}
            }
            if node.history.is_some() && reachable.is_some_and(|last| *timeline > last) {
                found.push(Oddity::Unreachable(*timeline));
            }
        }
        found
    }
}
