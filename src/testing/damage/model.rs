//! What is true of a clean archive, and what the loss of a part of it means: slow, plain, and nobody else's code.
//!
//! In: the objects of a clean archive. Out: its segments, timelines and base backups; whom a broken segment hurts and how
//! bad that is. Never: uses `catalog`, `proof` or the parsers of `pg`: a mistake there must not be made here again.

use super::Archive;
use crate::proof::Severity;
use crate::testing::lzop::unlzop;
use std::collections::{BTreeMap, BTreeSet};

/// A segment: timeline and number.
pub type At = (u32, u64);

/// What is true of a clean archive.
#[derive(Debug)]
pub struct Model {
    /// Bytes of a segment.
    pub size: u64,
    /// Keys of whole segments, all of them `.lzo`.
    pub segments: BTreeMap<At, String>,
    /// Keys of `.partial` ones.
    pub partials: BTreeMap<At, String>,
    /// Ancestors of each timeline with a history: timeline, and where it was left. Oldest first.
    pub histories: BTreeMap<u32, Vec<(u32, u64)>>,
    /// Finished base backups by where they start.
    pub backups: Vec<Base>,
}

/// A base backup.
#[derive(Debug, Clone)]
pub struct Base {
    /// `base_…`
    pub name: String,
    /// Timeline in its name.
    pub timeline: u32,
    /// LSN of its start.
    pub start: u64,
    /// LSN of its end.
    pub stop: u64,
    /// Keys of its partitions in their order.
    pub parts: Vec<String>,
    /// Key of its sentinel.
    pub sentinel: String,
}

/// Whom a damage hurts, and how bad that is: from … to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hurt {
    /// Must be named.
    pub certainly: Vec<String>,
    /// May be named.
    pub perhaps: Vec<String>,
    /// Not milder than, not worse than.
    pub worst: (Severity, Severity),
}

fn hex(text: Option<&str>) -> Option<u64> {
    u64::from_str_radix(text?, 16).ok()
}

impl Model {
    /// Of a clean archive.
    pub fn read(archive: &Archive) -> Option<Model> {
        let wal: Vec<&str> = archive.keys().filter_map(|key| key.strip_prefix("wal_005/")).collect();
        let is_segment = |name: &str| name.len() == 28 && name.ends_with(".lzo");
        let first = wal.iter().find(|name| is_segment(name))?;
        let page = unlzop(archive.get(&format!("wal_005/{first}"))?);
        let size = u64::from(u32::from_le_bytes(page.get(32..36)?.try_into().ok()?));
        let mut model = Model {
            size,
            segments: BTreeMap::new(),
            partials: BTreeMap::new(),
            histories: BTreeMap::new(),
            backups: Vec::new(),
        };
        for name in wal {
            let key = format!("wal_005/{name}");
            if is_segment(name) {
                model.segments.insert(model.at(name)?, key);
            } else if name.ends_with(".partial.lzo") {
                model.partials.insert(model.at(name)?, key);
            } else if name.ends_with(".history.lzo") {
                let text = String::from_utf8(unlzop(archive.get(&key)?)).ok()?;
                let timeline = u32::try_from(hex(name.get(..8))?).ok()?;
                model.histories.insert(timeline, ancestors(&text)?);
            }
        }
        for key in archive.keys().filter(|key| key.ends_with("_backup_stop_sentinel.json")) {
            model.backups.push(model.backup(archive, key)?);
        }
        model.backups.sort_by_key(|backup| backup.start);
        Some(model)
    }

    fn at(&self, name: &str) -> Option<At> {
        let (timeline, log, segment) = (hex(name.get(..8))?, hex(name.get(8..16))?, hex(name.get(16..24))?);
        Some((u32::try_from(timeline).ok()?, log * ((1 << 32) / self.size) + segment))
    }

    fn backup(&self, archive: &Archive, sentinel: &str) -> Option<Base> {
        let name = sentinel.strip_prefix("basebackups_005/")?.strip_suffix("_backup_stop_sentinel.json")?;
        let (timeline, number) = self.at(name.strip_prefix("base_")?)?;
        let text: serde_json::Value = serde_json::from_slice(archive.get(sentinel)?).ok()?;
        let (_, stop) = self.at(text["wal_segment_backup_stop"].as_str()?)?;
        let offset = |text: &str| text.parse::<u64>().ok();
        let parts = format!("basebackups_005/{name}/tar_partitions/");
        Some(Base {
            name: name.to_owned(),
            timeline,
            start: number * self.size + offset(name.get(30..)?)?,
            stop: stop * self.size + offset(text["wal_segment_offset_backup_stop"].as_str()?)?,
            parts: archive.keys().filter(|key| key.starts_with(&parts)).map(str::to_owned).collect(),
            sentinel: sentinel.to_owned(),
        })
    }

    /// The key a whole segment would have.
    pub fn key(&self, (timeline, number): At) -> String {
        let per_log = (1 << 32) / self.size;
        format!("wal_005/{timeline:08X}{:08X}{:08X}.lzo", number / per_log, number % per_log)
    }

    /// The highest timeline with segments.
    pub fn latest(&self) -> u32 {
        self.segments.keys().map(|(timeline, _)| *timeline).max().unwrap_or(1)
    }

    /// The last segment of a timeline.
    pub fn last(&self, timeline: u32) -> Option<u64> {
        self.segments.keys().filter(|(one, _)| *one == timeline).map(|(_, number)| *number).max()
    }

    /// Ancestors of a timeline and itself, each with where it begins; oldest first.
    fn spans(&self, timeline: u32) -> Vec<(u32, u64)> {
        let mut spans = Vec::new();
        let mut begin = 0;
        for (ancestor, switch) in self.histories.get(&timeline).into_iter().flatten() {
            spans.push((*ancestor, begin));
            begin = *switch;
        }
        spans.push((timeline, begin));
        spans
    }

    /// Segments that a recovery of this backup to the end of this timeline reads, in order. `None`: it never gets there.
    pub fn path(&self, backup: &Base, to: u32) -> Option<Vec<At>> {
        let spans = self.spans(to);
        let own = spans.iter().position(|(timeline, _)| *timeline == backup.timeline)?;
        if spans.get(own + 1).is_some_and(|(_, left)| backup.stop > *left) {
            return None;
        }
        let last = self.last(to)?.max((backup.stop - 1) / self.size);
        let owner = |number: u64| spans.iter().rev().find(|(_, begin)| begin / self.size <= number).map(|one| one.0);
        (backup.start / self.size..=last).map(|number| Some((owner(number)?, number))).collect()
    }

    fn timelines(&self) -> BTreeSet<u32> {
        self.segments.keys().map(|(timeline, _)| *timeline).collect()
    }

    /// Every backup with every path that begins at it.
    fn paths(&self) -> impl Iterator<Item = (&Base, u32, Vec<At>)> {
        let timelines = self.timelines();
        self.backups.iter().flat_map(move |backup| {
            let all: Vec<_> = timelines.iter().filter_map(|to| Some((backup, *to, self.path(backup, *to)?))).collect();
            all
        })
    }

    /// Segments that some path leads through.
    pub fn needed(&self) -> BTreeSet<At> {
        self.paths().flat_map(|(.., path)| path).filter(|at| self.segments.contains_key(at)).collect()
    }

    /// Would the names alone show that this segment is missing? Something behind it on its path is there, or a base
    /// backup needs it to become consistent.
    pub fn is_missed(&self, at: At) -> bool {
        self.paths().any(|(backup, _, path)| {
            let Some(place) = path.iter().position(|one| *one == at) else { return false };
            path.get(place + 1..).unwrap_or_default().iter().any(|one| self.segments.contains_key(one))
                || at.0 == backup.timeline && at.1 * self.size < backup.stop
        })
    }

    /// The base backup that recovery of the newest state would begin at.
    pub fn newest(&self) -> Option<&Base> {
        self.backups.iter().rfind(|backup| self.path(backup, self.latest()).is_some())
    }

    /// Replay cannot pass these segments.
    pub fn replay_breaks(&self, at: &[At]) -> Hurt {
        let through = |path: &[At]| path.iter().any(|one| at.contains(one));
        let mut perhaps: Vec<String> =
            self.paths().filter(|(.., path)| through(path)).map(|(backup, ..)| backup.name.clone()).collect();
        perhaps.dedup();
        let to_latest = |backup: &&Base| self.path(backup, self.latest()).is_some_and(|path| through(&path));
        let certainly: Vec<String> = self.backups.iter().filter(to_latest).map(|backup| backup.name.clone()).collect();
        let newest = self.newest().is_some_and(|newest| certainly.contains(&newest.name));
        let worst = if newest {
            (Severity::Critical, Severity::Critical)
        } else if !certainly.is_empty() {
            (Severity::Warning, Severity::Warning)
        } else if !perhaps.is_empty() {
            (Severity::Harmless, Severity::Warning)
        } else {
            (Severity::Harmless, Severity::Harmless)
        };
        Hurt { certainly, perhaps, worst }
    }

    /// A base backup is no good.
    pub fn backup_breaks(&self, backup: &Base) -> Hurt {
        let another = |other: &&Base| other.name != backup.name && self.path(other, self.latest()).is_some();
        let least =
            if self.backups.iter().any(|other| another(&other)) { Severity::Warning } else { Severity::Critical };
        let name = vec![backup.name.clone()];
        Hurt { certainly: name.clone(), perhaps: name, worst: (least, Severity::Critical) }
    }

    /// Something may be hurt, in a way that is not worked out here.
    pub fn anything(&self, worst: (Severity, Severity)) -> Hurt {
        let perhaps = self.backups.iter().map(|backup| backup.name.clone()).collect();
        Hurt { certainly: Vec::new(), perhaps, worst }
    }

    /// Nothing is hurt.
    pub fn nothing() -> Hurt {
        let worst = (Severity::Harmless, Severity::Harmless);
        Hurt { certainly: Vec::new(), perhaps: Vec::new(), worst }
    }
}

/// Lines of a history: timeline, where it was left.
fn ancestors(text: &str) -> Option<Vec<(u32, u64)>> {
    let mut ancestors = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let timeline = words.next()?.parse().ok()?;
        let (high, low) = words.next()?.split_once('/')?;
        ancestors.push((timeline, (hex(Some(high))? << 32) + hex(Some(low))?));
    }
    Some(ancestors)
}
