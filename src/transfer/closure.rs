//! What must go along, so that the copy can be restored.
//!
//! In: the objects of an archive, what each base backup needs, what was chosen. Out: [`Closure`]: the objects, each with its
//! place in the order of copying, and what is missing. Never: asks a store; leaves something out in silence.
//!
//! A delta backup takes its ancestors along, a backup the WAL that makes it consistent, everything the timeline histories.
//! Order: data, then what describes it, then sentinels: those of parents before those of children, else as they were written,
//! because WAL-E and WAL-G take for LATEST the sentinel written last.

use crate::layout::{BackupName, Entry, OWN, ObjectKey, WalFile};
use crate::pg::{SegmentName, SegmentNo, SegmentSize, TimelineId};
use crate::storage::ObjectId;
use std::collections::{BTreeMap, BTreeSet};

/// When an object is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// WAL, partitions, everything else.
    Data,
    /// What describes a backup and is not its sentinel.
    Description,
    /// What makes a backup one.
    Sentinel,
}

impl Stage {
    /// Of this object.
    pub fn of(key: &ObjectKey) -> Stage {
        match Entry::parse(key) {
            Entry::Sentinel(_) => Stage::Sentinel,
            Entry::Metadata(_) => Stage::Description,
            _ => Stage::Data,
        }
    }
}

/// The WAL that goes along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wal {
    /// From the oldest backup's start on, of every timeline.
    #[default]
    All,
    /// Of each backup, what makes it consistent.
    ToConsistency,
    /// None.
    None,
}

/// What one base backup needs besides its own objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The backup that it is a delta of.
    pub parent: Option<BackupName>,
    /// The timeline it was taken on.
    pub timeline: TimelineId,
    /// First and last segment until it is consistent. `None`: taken from a stopped server, or nothing tells.
    pub wal: Option<(SegmentNo, SegmentNo)>,
    /// It has a sentinel.
    pub finished: bool,
}

impl Need {
    /// Is this segment one of those that make the backup consistent?
    pub fn needs(&self, segment: SegmentName, size: SegmentSize) -> bool {
        let Ok(number) = segment.number(size) else { return false };
        self.wal.is_some_and(|(first, last)| segment.timeline() == self.timeline && (first..=last).contains(&number))
    }
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// These backups with what belongs to them.
    Backups(BTreeSet<BackupName>, Wal),
    /// Every object below the prefix, known or not.
    Everything,
}

/// What goes along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closure {
    /// The objects, in the order of their keys.
    pub objects: Vec<ObjectId>,
    /// The base backups among them, ancestors included.
    pub backups: BTreeSet<BackupName>,
    /// Sentinels, in the order in which they must be written.
    pub sentinels: Vec<ObjectKey>,
    /// What the source does not hold although the copy needs it: one sentence each.
    pub problems: Vec<String>,
    /// Objects that stay behind.
    pub left: Vec<ObjectId>,
}

/// Take along what belongs to a choice. `size` is that of a segment.
pub fn closure(
    objects: Vec<ObjectId>,
    needs: &BTreeMap<BackupName, Need>,
    choice: &Choice,
    size: SegmentSize,
) -> Closure {
    let mut closure = Closure::default();
    let wal = match choice {
        Choice::Everything => {
            closure.backups = needs.keys().copied().collect();
            Ranges::Everything
        }
        Choice::Backups(chosen, wal) => {
            closure.backups = with_ancestors(chosen, needs, &mut closure.problems);
            Ranges::of(*wal, chosen, needs)
        }
    };
    let everything = *choice == Choice::Everything;
    let mut stored = BTreeSet::new();
    let mut parts = BTreeSet::new();
    for object in objects {
        if object.key.as_str().starts_with(OWN) {
            continue;
        }
        let entry = Entry::parse(&object.key);
        let wanted = match &entry {
            Entry::Wal { file, .. } => {
                if let WalFile::Segment(name) = file {
                    stored.insert(*name);
                }
                wal.take(file, size)
            }
            Entry::WalDelta(name) => wal.take(&WalFile::Segment(*name), size),
            Entry::WalMetadata => wal.open(),
            Entry::Partition { backup, .. } => {
                parts.insert(*backup);
                closure.backups.contains(backup)
            }
            Entry::Sentinel(backup)
            | Entry::Version(backup)
            | Entry::Metadata(backup)
            | Entry::FilesMetadata(backup) => closure.backups.contains(backup),
            Entry::SystemId => true,
            Entry::OldLayout | Entry::Foreign => false,
        };
        if wanted || everything {
            closure.objects.push(object);
        } else {
            closure.left.push(object);
        }
    }
    closure.objects.sort_by(|a, b| a.key.cmp(&b.key));
    closure.objects.dedup_by(|a, b| a.key == b.key);
    for name in &closure.backups {
        let Some(need) = needs.get(name).filter(|need| need.finished) else { continue };
        if !parts.contains(name) {
            closure.problems.push(format!("base backup {name} has a sentinel and no partition"));
        }
        // Of a parent only the files are needed.
        let restored = match choice {
            Choice::Everything => true,
            Choice::Backups(chosen, _) => chosen.contains(name),
        };
        if restored && wal != Ranges::None {
            closure.problems.extend(missing(name, need, &stored, size));
        }
    }
    closure.sentinels = order(&closure, needs);
    closure
}

/// The chosen backups and all that they are deltas of.
fn with_ancestors(
    chosen: &BTreeSet<BackupName>,
    needs: &BTreeMap<BackupName, Need>,
    problems: &mut Vec<String>,
) -> BTreeSet<BackupName> {
    let mut all = BTreeSet::new();
    for &name in chosen {
        let mut next = Some(name);
        // What was seen is not followed again: chains end, rings too.
        while let Some(name) = next.filter(|name| all.insert(*name)) {
            next = needs.get(&name).and_then(|need| need.parent);
            if let Some(parent) = next
                && !needs.get(&parent).is_some_and(|need| need.finished)
            {
                problems.push(format!("base backup {name} is a delta of {parent}, which has no sentinel"));
            }
        }
    }
    all
}

/// The first few segments that a backup lacks, in one sentence.
fn missing(name: &BackupName, need: &Need, stored: &BTreeSet<SegmentName>, size: SegmentSize) -> Option<String> {
    let (first, last) = need.wal?;
    let absent: Vec<SegmentName> = (first.0..=last.0)
        .filter_map(|number| SegmentNo(number).name(need.timeline, size))
        .filter(|segment| !stored.contains(segment))
        .take(1000)
        .collect();
    let shown: Vec<String> = absent.iter().take(3).map(ToString::to_string).collect();
    let more =
        if absent.len() > shown.len() { format!(" and {} more", absent.len() - shown.len()) } else { String::new() };
    let list = shown.join(", ");
    (!absent.is_empty()).then(|| format!("base backup {name} needs WAL that is not in the archive: {list}{more}"))
}

/// Which numbers of segments are wanted.
#[derive(Debug, PartialEq, Eq)]
enum Ranges {
    Everything,
    /// From here on, whatever the timeline.
    From(SegmentNo),
    /// Of a timeline or one that came later.
    Between(Vec<(TimelineId, SegmentNo, SegmentNo)>),
    None,
}

impl Ranges {
    fn of(wal: Wal, chosen: &BTreeSet<BackupName>, needs: &BTreeMap<BackupName, Need>) -> Ranges {
        let needs = || chosen.iter().filter_map(|name| needs.get(name));
        match wal {
            Wal::None => Ranges::None,
            Wal::All => {
                // A backup of which nothing tells where it begins may need any of it.
                let first = needs().map(|need| need.wal.map_or(SegmentNo(0), |(first, _)| first)).min();
                Ranges::From(first.unwrap_or(SegmentNo(0)))
            }
            Wal::ToConsistency => {
                let range = |need: &Need| need.wal.map(|(first, last)| (need.timeline, first, last));
                Ranges::Between(needs().filter_map(range).collect())
            }
        }
    }

    fn open(&self) -> bool {
        matches!(self, Ranges::Everything | Ranges::From(_))
    }

    fn take(&self, file: &WalFile, size: SegmentSize) -> bool {
        let name = match file {
            // Small, and without them no timeline is understood. But one whose WAL stays behind would lead recovery there.
            WalFile::History(timeline) => {
                return match self {
                    Ranges::Everything | Ranges::From(_) => true,
                    Ranges::Between(ranges) => ranges.iter().any(|(newest, ..)| timeline <= newest),
                    Ranges::None => false,
                };
            }
            WalFile::Segment(name) | WalFile::Partial(name) | WalFile::BackupHistory(name, _) => name,
        };
        match (self, name.number(size)) {
            (Ranges::Everything, _) => true,
            (Ranges::None, _) => false,
            // No segment of this archive's size: nobody can say that it is not needed.
            (_, Err(_)) => true,
            (Ranges::From(first), Ok(number)) => number >= *first,
            (Ranges::Between(ranges), Ok(number)) => ranges
                .iter()
                .any(|(timeline, first, last)| name.timeline() >= *timeline && (*first..=*last).contains(&number)),
        }
    }
}

/// Sentinels as they were written, but parents before children.
fn order(closure: &Closure, needs: &BTreeMap<BackupName, Need>) -> Vec<ObjectKey> {
    let copied = closure.objects.iter().filter_map(|object| match Entry::parse(&object.key) {
        Entry::Sentinel(name) => Some((object.modified, name)),
        _ => None,
    });
    let mut by_time: Vec<_> = copied.collect();
    by_time.sort();
    let all: BTreeSet<BackupName> = by_time.iter().map(|(_, name)| *name).collect();
    let mut done = BTreeSet::new();
    let mut ordered = Vec::with_capacity(by_time.len());
    for (_, name) in by_time {
        let mut chain = Vec::new();
        let mut next = Some(name);
        while let Some(name) = next.filter(|name| all.contains(name) && !done.contains(name) && !chain.contains(name)) {
            chain.push(name);
            next = needs.get(&name).and_then(|need| need.parent);
        }
        for name in chain.into_iter().rev() {
            done.insert(name);
            ordered.push(name.sentinel_key());
        }
    }
    ordered
}

#[cfg(test)]
mod tests;
