//! What a prefix holds, compactly: WAL files in order, base backups with their objects, and everything else by name.
//!
//! In: the lines of a listing, in any order, repeated lines allowed. Out: [`Inventory`].
//! Never: keeps a key it can build again (a million segments take 40 MiB), or drops one it cannot.
//! Invariant: [`Inventory::segments`] is ascending by timeline, then as the WAL runs, then by how it is stored.

use crate::layout::entry::PartName;
use crate::layout::{self, BackupName, Compression, Entry, ObjectKey, WalFile};
use crate::pg::{SegmentName, TimelineId};
use crate::storage::{Fingerprint, Listed, ObjectId};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Foreign keys that are kept by name; beyond them they are only counted. A prefix may be a whole bucket.
const FOREIGN_KEPT: usize = 10_000;

/// How one WAL file is stored: the promise of its suffix, and which of the two spellings "plain" has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Form {
    /// What the suffix promises.
    pub stored: Compression,
    /// Old WAL-G left the dot in front of an empty suffix: `000000010000000000000001.`
    pub dangling_dot: bool,
}

impl Form {
    /// With its suffix spelled the one way that all but plain files have.
    pub fn of_suffix(stored: Compression) -> Form {
        Form { stored, dangling_dot: false }
    }

    fn of(key: &ObjectKey, stored: Compression) -> Form {
        Form { stored, dangling_dot: stored == Compression::Plain && key.as_str().ends_with('.') }
    }

    /// The key of a WAL file stored this way.
    pub fn key(self, file: impl std::fmt::Display) -> ObjectKey {
        let name = self.stored.apply(&file.to_string());
        ObjectKey::new(format!("{}{name}{}", layout::WAL, if self.dangling_dot { "." } else { "" }))
    }
}

/// The order in which the stored forms of one file are tried, by whoever wants its content: what this build decodes
/// first, else as they are listed.
pub fn order_of_trial<T>(forms: &mut [T], stored: impl Fn(&T) -> Compression) {
    forms.sort_by_key(|form| crate::codec::decoder(stored(form)).is_none());
}

/// One stored segment. 40 bytes; there may be millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSegment {
    /// Which segment.
    pub name: SegmentName,
    /// How it is stored.
    pub form: Form,
    /// Stored bytes.
    pub size: u64,
    /// Which version it is: what the listing alone tells of it.
    pub version: Fingerprint,
    // Unix seconds; MIN for unknown. Whole seconds are what stores agree on.
    modified: i64,
}

impl StoredSegment {
    /// Its key.
    pub fn key(&self) -> ObjectKey {
        self.form.key(self.name)
    }

    /// When the store says that it was written, in whole seconds.
    pub fn modified(&self) -> Option<Timestamp> {
        (self.modified != i64::MIN).then(|| Timestamp::from_second(self.modified).ok()).flatten()
    }

    fn order(&self) -> (SegmentName, Form) {
        (self.name, self.form)
    }
}

/// One stored form of a WAL file that is not a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// What its suffix promises.
    pub stored: Compression,
    /// The object.
    pub object: ObjectId,
}

/// A data part of a base backup. Its key is not kept: WAL-E padded numbers only from 0.7 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// Which of its archives.
    pub name: PartName,
    /// What its suffix promises.
    pub stored: Compression,
    /// Stored bytes.
    pub size: u64,
}

/// The objects of one base backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupObjects {
    /// Its sentinel. `None`: the backup never finished, failed, or is being taken just now.
    pub sentinel: Option<ObjectId>,
    /// Its partitions, ascending; empty also when only its folder was listed.
    pub parts: Vec<Part>,
    /// `extended_version.txt`.
    pub version: Option<ObjectId>,
    /// `metadata.json`.
    pub metadata: Option<ObjectId>,
    /// `files_metadata.json`.
    pub files_metadata: Option<ObjectId>,
    /// Objects in its folder that no original wrote. At most 1000 are kept.
    pub foreign: Vec<ObjectKey>,
}

impl BackupObjects {
    /// Was it finished? That is all a sentinel's presence says.
    pub fn is_finished(&self) -> bool {
        self.sentinel.is_some()
    }

    /// Stored bytes of its partitions.
    pub fn stored_bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.size))
    }
}

/// Everything below a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    segments: Vec<StoredSegment>,
    /// `SEGMENT.partial`, by segment.
    pub partials: BTreeMap<SegmentName, Vec<StoredFile>>,
    /// Timeline history files.
    pub histories: BTreeMap<TimelineId, Vec<StoredFile>>,
    /// Backup history files, by segment and offset.
    pub backup_histories: BTreeMap<(SegmentName, u32), Vec<StoredFile>>,
    /// Base backups, finished or not.
    pub backups: BTreeMap<BackupName, BackupObjects>,
    /// `sysids/sysid`.
    pub system_id: Option<ObjectId>,
    /// Folders of layouts that WAL-E left behind in 2011.
    pub old_layouts: BTreeSet<String>,
    /// WAL-G's lists of changed blocks: how many.
    pub wal_deltas: u64,
    /// WAL-G's JSON beside WAL files: how many.
    pub wal_metadata: u64,
    /// Keys nobody knows, ascending; folders end in a slash.
    pub foreign: BTreeSet<ObjectKey>,
    /// How many more there are than are kept.
    pub more_foreign: u64,
}

impl Inventory {
    /// All stored segments, in order.
    pub fn segments(&self) -> &[StoredSegment] {
        &self.segments
    }

    /// Those of one timeline.
    pub fn on(&self, timeline: TimelineId) -> &[StoredSegment] {
        let start = self.segments.partition_point(|one| one.name.timeline() < timeline);
        let len = self.segments.get(start..).unwrap_or_default().partition_point(|one| one.name.timeline() == timeline);
        self.segments.get(start..start + len).unwrap_or_default()
    }

    /// All stored forms of one segment.
    pub fn stored(&self, name: SegmentName) -> &[StoredSegment] {
        let start = self.segments.partition_point(|one| one.name < name);
        let len = self.segments.get(start..).unwrap_or_default().partition_point(|one| one.name == name);
        self.segments.get(start..start + len).unwrap_or_default()
    }

    /// Is there any stored form of it?
    pub fn has(&self, name: SegmentName) -> bool {
        !self.stored(name).is_empty()
    }

    /// The last segment of a timeline.
    pub fn newest(&self, timeline: TimelineId) -> Option<&StoredSegment> {
        self.on(timeline).last()
    }

    /// The timelines of which there is a segment, a history or a partial segment.
    pub fn timelines(&self) -> BTreeSet<TimelineId> {
        let mut found: BTreeSet<TimelineId> = self.histories.keys().copied().collect();
        found.extend(self.partials.keys().map(|name| name.timeline()));
        let mut rest = self.segments.as_slice();
        while let Some(first) = rest.first() {
            let timeline = first.name.timeline();
            found.insert(timeline);
            let end = rest.partition_point(|one| one.name.timeline() == timeline);
            rest = rest.get(end..).unwrap_or_default();
        }
        found
    }

    /// Nothing of an archive is there; foreign keys may be.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.histories.is_empty() && self.partials.is_empty() && self.backups.is_empty()
    }
}

/// Collects the lines of listings.
#[derive(Debug, Default)]
pub struct InventoryBuilder {
    inventory: Inventory,
}

impl InventoryBuilder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One line of a listing. A repeated one replaces its earlier self.
    pub fn add(&mut self, listed: Listed) {
        match listed {
            Listed::Object(object) => self.object(object),
            Listed::Folder(folder) => self.folder(folder),
        }
    }

    /// All lines were added.
    pub fn finish(mut self) -> Inventory {
        let segments = &mut self.inventory.segments;
        // Listings come sorted but for stores that cannot: then this is a pass over sorted data.
        segments.sort_unstable_by_key(StoredSegment::order);
        segments.dedup_by(|a, b| a.order() == b.order());
        for backup in self.inventory.backups.values_mut() {
            backup.parts.sort_unstable();
            backup.parts.dedup_by_key(|part| (part.name, part.stored));
        }
        self.inventory
    }

    fn object(&mut self, object: ObjectId) {
        let inventory = &mut self.inventory;
        match Entry::parse(&object.key) {
            Entry::Wal { file: WalFile::Segment(name), stored } => inventory.segments.push(StoredSegment {
                name,
                form: Form::of(&object.key, stored),
                size: object.size,
                version: object.fingerprint(),
                modified: object.modified.map_or(i64::MIN, Timestamp::as_second),
            }),
            Entry::Wal { file: WalFile::Partial(name), stored } => {
                put(inventory.partials.entry(name).or_default(), stored, object);
            }
            Entry::Wal { file: WalFile::History(timeline), stored } => {
                put(inventory.histories.entry(timeline).or_default(), stored, object);
            }
            Entry::Wal { file: WalFile::BackupHistory(name, offset), stored } => {
                put(inventory.backup_histories.entry((name, offset)).or_default(), stored, object);
            }
            Entry::WalDelta(_) => inventory.wal_deltas += 1,
            Entry::WalMetadata => inventory.wal_metadata += 1,
            Entry::Sentinel(backup) => inventory.backups.entry(backup).or_default().sentinel = Some(object),
            Entry::Partition { backup, part, stored } => {
                let part = Part { name: part, stored, size: object.size };
                inventory.backups.entry(backup).or_default().parts.push(part);
            }
            Entry::Version(backup) => inventory.backups.entry(backup).or_default().version = Some(object),
            Entry::Metadata(backup) => inventory.backups.entry(backup).or_default().metadata = Some(object),
            Entry::FilesMetadata(backup) => inventory.backups.entry(backup).or_default().files_metadata = Some(object),
            Entry::SystemId => inventory.system_id = Some(object),
            Entry::OldLayout => {
                let folder = object.key.as_str().split('/').next().unwrap_or_default();
                inventory.old_layouts.insert(format!("{folder}/"));
            }
            Entry::Foreign => self.foreign(object.key),
        }
    }

    fn folder(&mut self, folder: ObjectKey) {
        let path = folder.as_str().trim_end_matches('/');
        if path == layout::WAL.trim_end_matches('/') || path == layout::BACKUPS.trim_end_matches('/') {
            return;
        }
        if let Some(Ok(backup)) = path.strip_prefix(layout::BACKUPS).map(str::parse) {
            self.inventory.backups.entry(backup).or_default();
        } else if Entry::parse(&folder) == Entry::OldLayout {
            self.inventory.old_layouts.insert(folder.as_str().to_owned());
        } else {
            self.foreign(folder);
        }
    }

    fn foreign(&mut self, key: ObjectKey) {
        if key.as_str().starts_with(layout::OWN) {
            return;
        }
        // What lies in a backup's folder is shown with that backup.
        let folder = key.as_str().strip_prefix(layout::BACKUPS).and_then(|rest| rest.split_once('/'));
        if let Some(Ok(backup)) = folder.map(|(folder, _)| folder.parse()) {
            let kept = &mut self.inventory.backups.entry(backup).or_default().foreign;
            if !is_marker(&key) && kept.len() < 1000 && !kept.contains(&key) {
                kept.push(key);
            }
        } else if is_marker(&key) && !self.inventory.foreign.contains(&key) && is_ours(&key) {
            // `wal_005/`: what consoles put there for a folder.
        } else if self.inventory.foreign.len() < FOREIGN_KEPT {
            self.inventory.foreign.insert(key);
        } else if !self.inventory.foreign.contains(&key) {
            self.inventory.more_foreign += 1;
        }
    }
}

/// The empty object that graphical tools put where a folder is.
fn is_marker(key: &ObjectKey) -> bool {
    key.base_name().is_empty()
}

fn is_ours(key: &ObjectKey) -> bool {
    matches!(key.as_str(), layout::WAL | layout::BACKUPS | "sysids/" | "")
}

fn put(forms: &mut Vec<StoredFile>, stored: Compression, object: ObjectId) {
    let file = StoredFile { stored, object };
    match forms.binary_search_by(|known| known.object.key.cmp(&file.object.key)) {
        Ok(known) => forms[known] = file,
        Err(place) => forms.insert(place, file),
    }
}
