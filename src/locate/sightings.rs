//! What the events of logs add up to: instances, their containers, their archives.
//!
//! In: [`Event`]s, log by log. Out: [`Sightings::instances`]: each with what was seen of it, joined by the GUID in the
//! archive's prefix, by the broker's words, and by the container that wrote. Never: grows beyond its caps (what is left out
//! is counted), calls an upload complete that only began, or an instance deleted that lives on in another container.

use super::moment::{Moment, Setting};
use super::place::Found;
use super::{Event, Guid, Place, What};
use crate::layout::entry::PartName;
use crate::layout::{BackupName, Entry, WalFile};
use crate::pg::SegmentName;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Archives, instances and containers that are kept, each.
const KEPT: usize = 100_000;
/// Base backups of one archive that are kept: those seen last.
const BACKUPS: usize = 1000;
/// Numbers of partitions of one base backup that are kept; beyond them only the count is a lower bound.
const PARTS: usize = 10_000;
/// Different words of the broker about one instance that are kept.
const WORDS: usize = 32;
/// What ends in its own time goes on for a moment: an upload that was under way when the container was removed.
const ENDING: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);
/// The broker's words for a container that is taken away.
const REMOVED: &str = "cluster.remove-node.perform";

/// All that logs told.
#[derive(Debug, Default)]
pub struct Sightings {
    archives: BTreeMap<Place, Archive>,
    instances: BTreeMap<Guid, Broker>,
    nodes: BTreeMap<Guid, Node>,
    left_out: u64,
}

/// What was seen of one archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Archive {
    /// Where it is.
    #[serde(rename = "url")]
    pub place: Place,
    /// The first line that names it.
    pub first: Option<Moment>,
    /// The last line that tells of an upload to it, begun or complete.
    pub written: Option<Moment>,
    /// The last line that names it.
    pub last: Option<Moment>,
    /// WAL files whose upload is complete, by its own record.
    pub wal_complete: u64,
    /// The segment that was uploaded last.
    pub last_segment: Option<Segment>,
    /// The segment whose upload began last, where no line says that it was completed.
    pub last_begun: Option<Segment>,
    /// When the container uploaded the system identifier beside it.
    pub system_id: Option<Moment>,
    /// Base backups of which there are lines, the one seen last at the end.
    pub backups: Vec<Backup>,
    /// Base backups that were seen and are left out here.
    pub more_backups: u64,
    /// Objects that were deleted, by the lines of who did it.
    pub deleted_objects: u64,
    /// The last of those lines.
    pub last_deletion: Option<Moment>,
    /// Lines of somebody who reads from it: a recovery or a standby.
    pub reads: u64,
    /// Containers that uploaded to it.
    pub nodes: BTreeSet<Guid>,
}

/// A WAL segment, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Its name.
    pub name: SegmentName,
    /// When the line was written.
    pub at: Moment,
}

/// What was seen of one base backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// Its name.
    pub name: BackupName,
    /// The first line of its upload.
    pub begun: Option<Moment>,
    /// The last line of its upload.
    pub last: Option<Moment>,
    /// Partitions whose upload began.
    pub parts_begun: usize,
    /// Partitions whose upload is complete.
    pub parts_complete: usize,
    /// When its backup history file was archived: the server had ended the backup. The sentinel, which makes it one that
    /// can be restored, comes after that, and no line tells of it.
    pub stopped: Option<Moment>,
    /// When objects of it were deleted.
    pub deleted: Option<Moment>,
    #[serde(skip)]
    begun_numbers: BTreeSet<u32>,
    #[serde(skip)]
    complete_numbers: BTreeSet<u32>,
}

/// What was seen of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Where it said that it is reached.
    pub address: Option<String>,
    /// When it last said so: it had started.
    pub started: Option<Moment>,
    /// The machine that the broker named with it.
    pub backend: Option<String>,
    /// When the broker removed it.
    pub removed: Option<Moment>,
    /// Whose it is, by the broker.
    #[serde(skip)]
    instances: BTreeSet<Guid>,
}

/// What the broker said of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Broker {
    words: BTreeMap<String, Word>,
}

/// One kind of line of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Word {
    /// Its message.
    pub message: String,
    /// How often.
    pub count: u64,
    /// The first time.
    pub first: Option<Moment>,
    /// The last time.
    pub last: Option<Moment>,
}

/// What became of an instance, as far as the logs tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Every container that is known of it was removed, and nothing was uploaded after that.
    Deleted,
    /// Containers were removed, and others are known that were not.
    Shrunk,
    /// Every container that is known was removed, but something was uploaded later.
    WrittenAfter,
    /// Nothing was removed.
    Seen,
}

/// One instance, or an archive in whose prefix there is no instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// The platform's name for it.
    pub id: Option<Guid>,
    /// What became of it.
    pub state: State,
    /// When its last container was removed, where all were.
    pub deleted: Option<Moment>,
    /// The first line of it.
    pub first: Option<Moment>,
    /// The last line of it.
    pub last: Option<Moment>,
    /// Its archives: one, mostly.
    pub archives: Vec<Archive>,
    /// Its containers.
    pub nodes: BTreeMap<Guid, Node>,
    /// What the broker said of it.
    pub broker: Vec<Word>,
}

impl Sightings {
    /// Nothing was seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Archives, instances or containers that are left out: there are more than are kept.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// One more event.
    pub fn add(&mut self, event: Event) {
        let Event { moment, node, what } = event;
        match what {
            What::Begun(found) => self.object(&found, Act::Begun, moment, node),
            What::Complete(found) => self.object(&found, Act::Complete, moment, node),
            What::Read(found) => self.object(&found, Act::Read, moment, node),
            What::Deleted(found) => self.object(&found, Act::Deleted, moment, node),
            What::Named(found) => self.object(&found, Act::Named, moment, node),
            What::Address(address) => {
                if let Some(node) = node.and_then(|node| kept(&mut self.nodes, node, &mut self.left_out)) {
                    let before = node.started;
                    Moment::latest(&mut node.started, moment);
                    if node.started != before {
                        node.address = Some(address);
                    }
                }
            }
            What::Broker { message, instance, node, backend } => {
                let Some(broker) = kept(&mut self.instances, instance, &mut self.left_out) else { return };
                let removed = message.ends_with(REMOVED);
                if broker.words.len() < WORDS || broker.words.contains_key(&message) {
                    let new = || Word { message: message.clone(), count: 0, first: None, last: None };
                    let word = broker.words.entry(message.clone()).or_insert_with(new);
                    word.count += 1;
                    Moment::earliest(&mut word.first, moment);
                    Moment::latest(&mut word.last, moment);
                }
                if let Some(node) = node.and_then(|node| kept(&mut self.nodes, node, &mut self.left_out)) {
                    if node.instances.len() < WORDS {
                        node.instances.insert(instance);
                    }
                    node.backend = backend.or(node.backend.take());
                    if removed {
                        Moment::latest(&mut node.removed, moment);
                    }
                }
            }
        }
    }

    fn object(&mut self, found: &Found, act: Act, moment: Moment, node: Option<Guid>) {
        let full = self.archives.len() >= KEPT && !self.archives.contains_key(&found.place);
        if full {
            self.left_out += 1;
            return;
        }
        let archive = self.archives.entry(found.place.clone()).or_insert_with(|| Archive::new(found.place.clone()));
        archive.add(&found.entry, act, moment);
        // Who reads may be another instance's: a restore, a clone.
        if let Some(node) = node
            && act.is_upload()
            && archive.nodes.len() < BACKUPS
        {
            archive.nodes.insert(node);
        }
    }

    /// A log was read to its end. `setting`: how its clock goes, by the first line that tells; earlier lines go by it too.
    pub fn settle(&mut self, setting: Option<Setting>) {
        let moments = self.archives.values_mut().flat_map(Archive::moments);
        let words = self.instances.values_mut().flat_map(|broker| broker.words.values_mut());
        let words = words.flat_map(|word| [&mut word.first, &mut word.last]);
        let nodes = self.nodes.values_mut().flat_map(|node| [&mut node.started, &mut node.removed]);
        moments.chain(words.chain(nodes).flatten()).for_each(|moment| moment.settle(setting));
    }

    /// All instances, and the archives without one: those deleted last come first, then by the last line of them.
    pub fn instances(&self) -> Vec<Instance> {
        let mut all: BTreeMap<Key, Instance> = BTreeMap::new();
        let key = |archive: &Archive| match archive.place.instance().or_else(|| self.instance_of(&archive.nodes)) {
            Some(id) => Key::Instance(id),
            None => Key::Archive(archive.place.clone()),
        };
        for archive in self.archives.values() {
            let instance = all.entry(key(archive)).or_default();
            instance.archives.push(archive.shown());
            for id in &archive.nodes {
                instance.nodes.insert(*id, self.nodes.get(id).cloned().unwrap_or_default());
            }
        }
        for (id, broker) in &self.instances {
            let instance = all.entry(Key::Instance(*id)).or_default();
            instance.broker = broker.words.values().cloned().collect();
        }
        for (id, node) in &self.nodes {
            for of in &node.instances {
                all.entry(Key::Instance(*of)).or_default().nodes.insert(*id, node.clone());
            }
        }
        let judged = all.into_iter().map(|(key, mut instance)| {
            instance.id = match key {
                Key::Instance(id) => Some(id),
                Key::Archive(_) => None,
            };
            instance.judge();
            instance
        });
        let mut judged: Vec<Instance> = judged.collect();
        judged.sort_by_key(|one| {
            let time = |moment: Option<Moment>| std::cmp::Reverse(moment.and_then(|moment| moment.time()));
            (one.state != State::Deleted, time(one.deleted), time(one.last))
        });
        judged
    }

    /// The one instance to which containers belong, by the broker.
    fn instance_of(&self, nodes: &BTreeSet<Guid>) -> Option<Guid> {
        let mut instances = nodes.iter().filter_map(|node| self.nodes.get(node)).flat_map(|node| &node.instances);
        let first = instances.next().copied()?;
        instances.all(|other| *other == first).then_some(first)
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Instance(Guid),
    Archive(Place),
}

/// The value of a key, unless there are too many.
fn kept<'a, V: Default>(map: &'a mut BTreeMap<Guid, V>, key: Guid, left_out: &mut u64) -> Option<&'a mut V> {
    if map.len() >= KEPT && !map.contains_key(&key) {
        *left_out += 1;
        return None;
    }
    Some(map.entry(key).or_default())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Begun,
    Complete,
    Read,
    Deleted,
    Named,
}

impl Act {
    fn is_upload(self) -> bool {
        matches!(self, Act::Begun | Act::Complete)
    }
}

impl Archive {
    fn new(place: Place) -> Archive {
        Archive {
            place,
            first: None,
            written: None,
            last: None,
            wal_complete: 0,
            last_segment: None,
            last_begun: None,
            system_id: None,
            backups: Vec::new(),
            more_backups: 0,
            deleted_objects: 0,
            last_deletion: None,
            reads: 0,
            nodes: BTreeSet::new(),
        }
    }

    fn add(&mut self, entry: &Entry, act: Act, at: Moment) {
        Moment::earliest(&mut self.first, at);
        Moment::latest(&mut self.last, at);
        match act {
            Act::Begun | Act::Complete => Moment::latest(&mut self.written, at),
            Act::Read => self.reads += 1,
            Act::Deleted => {
                self.deleted_objects += 1;
                Moment::latest(&mut self.last_deletion, at);
            }
            Act::Named => {}
        }
        match entry {
            Entry::Wal { file, .. } => self.wal(*file, act, at),
            Entry::SystemId if act.is_upload() => Moment::latest(&mut self.system_id, at),
            Entry::Version(name) => self.backup(*name, None, act, at),
            Entry::Partition { backup, part, .. } => {
                let number = match part {
                    PartName::Part(number) => Some(*number),
                    _ => None,
                };
                self.backup(*backup, number, act, at);
            }
            Entry::Sentinel(name) | Entry::Metadata(name) | Entry::FilesMetadata(name) => {
                self.backup(*name, None, act, at);
            }
            _ => {}
        }
    }

    fn wal(&mut self, file: WalFile, act: Act, at: Moment) {
        self.wal_complete += u64::from(act == Act::Complete);
        match (file, act) {
            (WalFile::Segment(name), Act::Begun) => later(&mut self.last_begun, Segment { name, at }),
            (WalFile::Segment(name), Act::Complete) => later(&mut self.last_segment, Segment { name, at }),
            (WalFile::BackupHistory(start, offset), Act::Complete) => {
                // The name of WAL-E's backup has the same offset, in decimal.
                let Ok(name) = format!("base_{start}_{offset:08}").parse::<BackupName>() else { return };
                if let Some(backup) = self.backup_mut(name) {
                    Moment::latest(&mut backup.stopped, at);
                }
            }
            _ => {}
        }
    }

    fn backup(&mut self, name: BackupName, part: Option<u32>, act: Act, at: Moment) {
        if !matches!(act, Act::Begun | Act::Complete | Act::Deleted) {
            return;
        }
        let Some(backup) = self.backup_mut(name) else { return };
        if act == Act::Deleted {
            return Moment::latest(&mut backup.deleted, at);
        }
        Moment::earliest(&mut backup.begun, at);
        Moment::latest(&mut backup.last, at);
        if let Some(number) = part {
            let complete = act == Act::Complete;
            let numbers = if complete { &mut backup.complete_numbers } else { &mut backup.begun_numbers };
            if numbers.len() < PARTS {
                numbers.insert(number);
            }
        }
    }

    /// The backup of this name; the one seen first makes room for a new one.
    fn backup_mut(&mut self, name: BackupName) -> Option<&mut Backup> {
        let at = match self.backups.iter().rposition(|one| one.name == name) {
            Some(at) => at,
            None => {
                if self.backups.len() >= BACKUPS {
                    self.backups.remove(0);
                    self.more_backups += 1;
                }
                self.backups.push(Backup::new(name));
                self.backups.len() - 1
            }
        };
        self.backups.get_mut(at)
    }

    fn moments(&mut self) -> impl Iterator<Item = &mut Moment> {
        let backups = self.backups.iter_mut();
        let backups = backups.flat_map(|one| [&mut one.begun, &mut one.last, &mut one.stopped, &mut one.deleted]);
        let own = [&mut self.first, &mut self.written, &mut self.last, &mut self.system_id, &mut self.last_deletion];
        let segments = [&mut self.last_segment, &mut self.last_begun];
        let segments = segments.into_iter().flatten().map(|segment| &mut segment.at);
        own.into_iter().chain(backups).flatten().chain(segments)
    }

    /// As it is printed: oldest backups first, and no beginning whose end is known.
    fn shown(&self) -> Archive {
        let mut shown = self.clone();
        for backup in &mut shown.backups {
            backup.parts_begun = backup.begun_numbers.union(&backup.complete_numbers).count();
            backup.parts_complete = backup.complete_numbers.len();
        }
        let time = |one: &Backup| one.last.or(one.stopped).or(one.deleted).and_then(|moment| moment.time());
        shown.backups.sort_by_key(time);
        let done = |begun: &Segment| {
            shown.last_segment.is_some_and(|last| last.name == begun.name || last.at.is_after(&begun.at))
        };
        shown.last_begun = shown.last_begun.filter(|begun| !done(begun));
        shown
    }
}

fn later(kept: &mut Option<Segment>, new: Segment) {
    if kept.is_none_or(|old| new.at.is_after(&old.at)) {
        *kept = Some(new);
    }
}

impl Backup {
    fn new(name: BackupName) -> Backup {
        Backup {
            name,
            begun: None,
            last: None,
            parts_begun: 0,
            parts_complete: 0,
            stopped: None,
            deleted: None,
            begun_numbers: BTreeSet::new(),
            complete_numbers: BTreeSet::new(),
        }
    }
}

impl Default for Instance {
    fn default() -> Self {
        Instance {
            id: None,
            state: State::Seen,
            deleted: None,
            first: None,
            last: None,
            archives: Vec::new(),
            nodes: BTreeMap::new(),
            broker: Vec::new(),
        }
    }
}

impl Instance {
    /// When something was last uploaded.
    pub fn written(&self) -> Option<Moment> {
        let mut written = None;
        let moments = self.archives.iter().filter_map(|archive| archive.written);
        moments.for_each(|moment| Moment::latest(&mut written, moment));
        written
    }

    /// What became of it, and its first and last line.
    fn judge(&mut self) {
        let archives = self.archives.iter().flat_map(|archive| [archive.first, archive.last]);
        let nodes = self.nodes.values().flat_map(|node| [node.started, node.removed]);
        let words = self.broker.iter().flat_map(|word| [word.first, word.last]);
        for moment in archives.chain(nodes).chain(words).flatten() {
            Moment::earliest(&mut self.first, moment);
            Moment::latest(&mut self.last, moment);
        }
        let removed = self.nodes.values().filter(|node| node.removed.is_some()).count();
        let mut last = None;
        self.nodes.values().filter_map(|node| node.removed).for_each(|moment| Moment::latest(&mut last, moment));
        let Some(removal) = last else { return };
        if removed < self.nodes.len() {
            self.state = State::Shrunk;
            return;
        }
        let went_on = self.written().is_some_and(|written| match (written.time(), removal.time()) {
            (Some(written), Some(removal)) => written.duration_since(removal) > ENDING,
            _ => written.is_after(&removal),
        });
        if went_on {
            self.state = State::WrittenAfter;
        } else {
            self.state = State::Deleted;
            self.deleted = Some(removal);
        }
    }
}
