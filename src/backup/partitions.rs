//! The tar partitions of a base backup: are they all there, in which order.
//!
//! In: a listing. Out: them in numeric order, or what is missing. Never: sorts by name (`part_10` comes before `part_9`
//! there), or takes what is listed for all there is: WAL-E numbers from 0 without gaps, and only that is proof.

use crate::error::Answer;
use crate::layout::entry::PartName;
use crate::layout::{BackupName, Compression, Entry};
use crate::storage::{Depth, Listed, ObjectId, Store};
use futures::TryStreamExt;
use serde::Serialize;

/// What lies where a backup's partitions do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    /// Archives, in the order of the listing.
    pub parts: Vec<(PartName, Compression, ObjectId)>,
    /// Anything else, by its last name.
    pub foreign: Vec<String>,
}

/// Lists them: a request for each thousand.
pub async fn list(store: &dyn Store, backup: &BackupName) -> Answer<Folder> {
    let mut folder = Folder::default();
    let mut lines = store.list(&backup.partitions_prefix(), Depth::All, None);
    while let Some(line) = lines.try_next().await? {
        let Listed::Object(object) = line else { continue };
        match Entry::parse(&object.key) {
            Entry::Partition { part, stored, .. } => folder.parts.push((part, stored, object)),
            _ => folder.foreign.push(object.key.base_name().to_owned()),
        }
    }
    Ok(folder)
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 0.
    pub number: u32,
    /// How it is stored.
    pub stored: Compression,
    /// Which object.
    pub object: ObjectId,
}

/// Why a backup's partitions are not all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
pub enum Incomplete {
    /// There are none.
    #[error("it has no partitions")]
    None,
    /// Numbers below the highest one are missing.
    #[error("partitions are missing: {}", numbers(.0))]
    Missing(Vec<u32>),
    /// One number is there twice: `part_7.tar.lzo` and `part_00000007.tar.lzo`.
    #[error("partition {number} is there twice: {first} and {second}")]
    Twice {
        /// The number.
        number: u32,
        /// One key.
        first: String,
        /// The other.
        second: String,
    },
    /// An archive that WAL-E does not write.
    #[error("{0} is no partition of WAL-E's")]
    Foreign(String),
}

fn numbers(missing: &[u32]) -> String {
    let shown: Vec<String> = missing.iter().take(20).map(u32::to_string).collect();
    let more = missing.len().saturating_sub(shown.len());
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &tail
}

/// The partitions of a WAL-E backup, in order. A partition missing at the end cannot be seen here: the sentinel's byte
/// count shows it after extraction.
pub fn wal_e(listed: Vec<(PartName, Compression, ObjectId)>) -> Result<Vec<Partition>, Incomplete> {
    let mut parts = Vec::with_capacity(listed.len());
    for (name, stored, object) in listed {
        match name {
            PartName::Part(number) => parts.push(Partition { number, stored, object }),
            _ => return Err(Incomplete::Foreign(object.key.to_string())),
        }
    }
    parts.sort_by_key(|part| part.number);
    for pair in parts.windows(2) {
        if let [first, second] = pair
            && first.number == second.number
        {
            let (first, second) = (first.object.key.to_string(), second.object.key.to_string());
            return Err(Incomplete::Twice { number: pair[0].number, first, second });
        }
    }
    let Some(last) = parts.last() else { return Err(Incomplete::None) };
    if last.number as usize + 1 == parts.len() {
        return Ok(parts);
    }
    // A number may be anything up to 2^32: list the first missing ones only.
    let mut there = parts.iter().map(|part| part.number).peekable();
    let mut missing = Vec::new();
    for number in 0..last.number {
        if there.next_if_eq(&number).is_none() {
            missing.push(number);
            if missing.len() == 1000 {
                break;
            }
        }
    }
    Err(Incomplete::Missing(missing))
}

/// WAL-E closes a partition when the next file would bring it to so many bytes...
const FULL_BYTES: u64 = 1_610_612_736;
/// ... or when it has so many members.
const FULL_MEMBERS: u64 = 6_144;
/// Members that vanished while it was written are not in it: it may be full with so many fewer.
const VANISHED_MEMBERS: u64 = 200;

/// Can a partition behind the last one be lost, by how WAL-E cuts them? `members` and `bytes` are those of the last one
/// that is there, `lacks_bytes` what the sentinel counts beyond all of them. Where this says no, files vanished.
/// Source: WAL-E `wal_e/tar_partition.py` (`PARTITION_MAX_SZ`, `PARTITION_MAX_MEMBERS`).
pub fn may_lack_last(members: u64, bytes: u64, lacks_bytes: u64) -> bool {
    let by_members = members + VANISHED_MEMBERS >= FULL_MEMBERS;
    // Then the lost one began with a file that did not fit.
    let by_bytes = bytes.saturating_add(lacks_bytes) >= FULL_BYTES;
    lacks_bytes > 0 && (by_members || by_bytes)
}

#[cfg(test)]
mod tests;
