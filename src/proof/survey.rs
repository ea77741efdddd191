//! An archive as its names tell it: one listing, the histories, the sentinels, and the segment size.
//!
//! In: a store. Out: [`Survey`], which every other part of `proof` starts from, and the questions all of them ask alike:
//! which way leads from a base backup to a timeline, which file serves which place on it, where a timeline ends.
//! Never: decides what is wrong (that is `names` and `judge`), reads WAL (but the first page of one segment, for its size).

use crate::backup::sentinel::Sentinel;
use crate::catalog::{Inventory, Timelines};
use crate::layout::BackupName;
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, SegmentSize, SystemId, TimelineId};
use jiff::Timestamp;

/// An archive as its names tell it.
#[derive(Debug)]
pub struct Survey {
    /// The prefix, for people.
    pub url: String,
    /// What the listing holds.
    pub inventory: Inventory,
    /// The histories.
    pub timelines: Timelines,
    /// Bytes of a segment.
    pub size: SegmentSize,
    /// Where that was learnt, for people: `the first page of 0000…`, `assumed: there is no segment`.
    pub size_from: String,
    /// The cluster, where the archive tells: the first page that was read, `sysids/sysid`, a sentinel.
    pub system: Option<SystemId>,
    /// `server_version_num / 10000` (or 906 for 9.6) of the newest WAL, where it was learnt.
    pub major: Option<u32>,
    /// Base backups, finished or not: oldest first, by where they start.
    pub backups: Vec<BackupFacts>,
}

/// What names and sentinels tell of one base backup.
#[derive(Debug)]
pub struct BackupFacts {
    /// Its name.
    pub name: BackupName,
    /// Its sentinel.
    pub sentinel: SentinelState,
    /// When the store says that the sentinel was written.
    pub modified: Option<Timestamp>,
    /// Timeline it was taken on.
    pub timeline: TimelineId,
    /// Where replay starts (the redo point).
    pub start: Lsn,
    /// The first byte that it does not need to be consistent: from the backup history file, else the sentinel. `None`
    /// where nothing tells.
    pub stop: Option<Lsn>,
    /// When it began, where the archive tells.
    pub started: Option<Timestamp>,
    /// When it ended, where the archive tells.
    pub finished: Option<Timestamp>,
    /// Is it what LATEST means?
    pub latest: bool,
}

/// The sentinel of a base backup.
#[derive(Debug)]
pub enum SentinelState {
    /// Read.
    Read(Box<Sentinel>),
    /// There, and no sentinel: why.
    Damaged(String),
    /// It could not be read: why.
    Unknown(String),
    /// None: failed, or being taken.
    Absent,
}

impl BackupFacts {
    /// It can be restored by name, as far as names and the sentinel tell.
    pub fn is_usable(&self) -> bool {
        matches!(self.sentinel, SentinelState::Read(_))
    }
}

impl Survey {
    /// The way from a base backup to a timeline: that timeline's history, where the backup lies on it and not behind the
    /// place where its own timeline was left. `None` where recovery from this backup never gets there.
    pub fn route(&self, backup: &BackupFacts, to: TimelineId) -> Option<TimelineHistory> {
        let history = self.timelines.history(to)?;
        let span = history.span(backup.timeline)?;
        // Consistent only behind its end: a timeline that was left before is not reached.
        let needed = backup.stop.unwrap_or(backup.start);
        span.end.is_none_or(|end| needed <= end).then_some(history)
    }
}
