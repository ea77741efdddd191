//! Which base backup is meant: LATEST, a name, or "before this time". One function for every command.
//!
//! In: [`Candidate`]s, one per sentinel. Out: their order, and the one that was chosen with the reason.
//! Never: orders by the object's modification time (copying an old backup makes it the newest), and never chooses in
//! silence where that time disagrees: both are reported.
//!
//! - WAL-G's sentinels say when the backup finished, at which LSN, and of which cluster: order is by finish time, then
//!   LSN, within one system identifier. Where a prefix holds several clusters (after `pg_upgrade`), LATEST is of the
//!   cluster whose newest backup finished last.
//! - WAL-E's say neither: order is by timeline, then stop position (segment, offset), then start. Another cluster
//!   under the same prefix cannot be told apart, which is one reason to report where the modification time disagrees.
//! - A prefix that holds both kinds (people moved from WAL-E to WAL-G) has both orders merged by timeline and segment.

use super::sentinel::Sentinel;
use crate::layout::BackupName;
use crate::pg::{SegmentName, SystemId, TimelineId};
use jiff::Timestamp;
use std::cmp::Ordering;

/// A base backup that has a sentinel.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its name.
    pub name: BackupName,
    /// What its sentinel says; `None` where it cannot be read, which takes it out of every choice but by name.
    pub sentinel: Option<Sentinel>,
    /// When the store says that the sentinel was written. Copying changes it.
    pub modified: Option<Timestamp>,
    /// When the backup finished, where something better than the sentinel says so: the backup history file in the
    /// archive (WAL-E).
    pub finished: Option<Timestamp>,
}

impl Candidate {
    /// When it finished, by what the archive itself says: never by the store's modification time.
    pub fn finish_time(&self) -> Option<Timestamp> {
        self.sentinel.as_ref().and_then(|sentinel| sentinel.finish_time).or(self.finished)
    }

    fn system(&self) -> Option<SystemId> {
        self.sentinel.as_ref()?.system
    }

    fn is_wal_e(&self) -> bool {
        self.sentinel.as_ref().is_none_or(Sentinel::is_wal_e)
    }

    /// Where it lies in the WAL, by what both kinds have.
    fn place(&self) -> (TimelineId, SegmentName, u64, SegmentName, u32) {
        let sentinel = self.sentinel.as_ref();
        let start = self.name.start();
        let stop = sentinel.and_then(|sentinel| sentinel.stop_segment).unwrap_or(start);
        let offset = sentinel.and_then(|sentinel| sentinel.stop_offset).unwrap_or(0);
        // A stop segment is on the start's timeline; should one say otherwise, the name decides.
        (start.timeline(), stop.on(start.timeline()), offset, start, self.name.offset().unwrap_or(0))
    }

    /// Older or newer than another of its own kind.
    fn order(&self, other: &Candidate) -> Ordering {
        let wal_g = |one: &Candidate| {
            let sentinel = one.sentinel.as_ref();
            (sentinel.and_then(|sentinel| sentinel.finish_time), sentinel.and_then(|sentinel| sentinel.start_lsn))
        };
        let by_sentinel = match (self.is_wal_e(), other.is_wal_e()) {
            (false, false) => match (wal_g(self), wal_g(other)) {
                // Version 1 has no times: compare what both have.
                ((Some(a), a_lsn), (Some(b), b_lsn)) => a.cmp(&b).then(a_lsn.cmp(&b_lsn)),
                ((None, a), (None, b)) => self.name.timeline().cmp(&other.name.timeline()).then(a.cmp(&b)),
                // And version 1 is older than version 2.
                ((a, _), (b, _)) => a.is_some().cmp(&b.is_some()),
            },
            _ => Ordering::Equal,
        };
        by_sentinel
            .then(self.place().cmp(&other.place()))
            .then_with(|| self.name.to_string().cmp(&other.name.to_string()))
    }
}

/// How a backup is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest one.
    Latest,
    /// This one.
    Named(BackupName),
    /// The newest one that was certainly finished at this time.
    Before(Timestamp),
}

/// The chosen backup.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice<'a> {
    /// Which.
    pub chosen: &'a Candidate,
    /// The one whose sentinel was written last, where that is another: somebody copied, or the clock was wrong.
    pub written_last: Option<&'a Candidate>,
    /// Newer by its name, but its sentinel cannot be read.
    pub unreadable: Option<&'a Candidate>,
    /// How many clusters the sentinels speak of; above 1 the choice was made within one of them.
    pub systems: usize,
}

/// Why none could be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoChoice {
    /// There is no base backup.
    #[error("there is no base backup")]
    None,
    /// There are some, but no sentinel of theirs can be read.
    #[error("there are {0} base backups, and the sentinel of none can be read")]
    Unreadable(usize),
    /// No backup of this name has a sentinel.
    #[error("there is no base backup {0} with a sentinel")]
    NoSuch(BackupName),
    /// All of them finished later, or cannot prove that they did not.
    #[error("no base backup was certainly finished at {time}; the oldest is {oldest}")]
    NotBefore {
        /// The time asked for.
        time: Timestamp,
        /// The oldest there is.
        oldest: BackupName,
    },
}

/// The order of the candidates, oldest first: indexes into `candidates`. Total: unreadable ones stand by their names.
pub fn order(candidates: &[Candidate]) -> Vec<usize> {
    let get = |index: &usize| &candidates[*index];
    let (mut wal_e, mut wal_g): (Vec<usize>, Vec<usize>) =
        (0..candidates.len()).partition(|index| get(index).is_wal_e());
    wal_e.sort_by(|a, b| get(a).order(get(b)));
    wal_g.sort_by(|a, b| get(a).order(get(b)));
    // Clusters apart, the one with the newest backup last. Without an identifier there is no telling: they stay.
    if system_count(candidates) > 1 {
        let newest = |system: Option<SystemId>| wal_g.iter().rposition(|index| get(index).system() == system);
        let rank: Vec<_> = wal_g.iter().map(|index| newest(get(index).system())).collect();
        let mut ranked: Vec<_> = rank.into_iter().zip(wal_g.iter().copied()).collect();
        ranked.sort_by_key(|(rank, _)| *rank); // stable
        wal_g = ranked.into_iter().map(|(_, index)| index).collect();
    }
    let mut merged = Vec::with_capacity(candidates.len());
    let (mut e, mut g) = (wal_e.into_iter().peekable(), wal_g.into_iter().peekable());
    while let (Some(a), Some(b)) = (e.peek(), g.peek()) {
        // Equal places: WAL-G came after WAL-E.
        let by_place = |one: &Candidate| (one.name.timeline(), one.name.start());
        let next = if by_place(get(a)) <= by_place(get(b)) { e.next() } else { g.next() };
        merged.extend(next);
    }
    merged.extend(e);
    merged.extend(g);
    merged
}

/// Chooses.
pub fn select<'a>(candidates: &'a [Candidate], wanted: &Wanted) -> Result<Choice<'a>, NoChoice> {
    let ordered: Vec<&Candidate> = order(candidates).into_iter().filter_map(|index| candidates.get(index)).collect();
    let Some(oldest) = ordered.first() else {
        return Err(match wanted {
            Wanted::Named(name) => NoChoice::NoSuch(*name),
            _ => NoChoice::None,
        });
    };
    let readable = || ordered.iter().copied().filter(|one| one.sentinel.is_some());
    let chosen = match wanted {
        Wanted::Named(name) => ordered.iter().copied().find(|one| one.name == *name).ok_or(NoChoice::NoSuch(*name))?,
        Wanted::Latest => readable().next_back().ok_or(NoChoice::Unreadable(candidates.len()))?,
        Wanted::Before(time) => readable()
            .rfind(|one| finished_at_the_latest(one).is_some_and(|finished| finished <= *time))
            .ok_or(NoChoice::NotBefore { time: *time, oldest: oldest.name })?,
    };
    let latest = *wanted == Wanted::Latest;
    let newest_written = readable().filter(|one| one.modified.is_some()).max_by_key(|one| one.modified);
    Ok(Choice {
        chosen,
        written_last: newest_written.filter(|one| latest && one.name != chosen.name && one.modified > chosen.modified),
        unreadable: ordered
            .iter()
            .copied()
            .rfind(|one| latest && one.sentinel.is_none() && one.place() > chosen.place()),
        systems: system_count(candidates),
    })
}

/// A time at which the backup was finished for certain. What the archive itself says is best; else the sentinel's
/// modification time, which is later than the truth (it is written after the stop, and copying makes it later still),
/// so that a choice by it errs towards an older backup. `None` where neither is known.
pub fn finished_at_the_latest(candidate: &Candidate) -> Option<Timestamp> {
    candidate.finish_time().or(candidate.modified)
}

fn system_count(candidates: &[Candidate]) -> usize {
    let mut systems: Vec<SystemId> = candidates.iter().filter_map(Candidate::system).collect();
    systems.sort_unstable();
    systems.dedup();
    systems.len()
}

#[cfg(test)]
mod tests;
