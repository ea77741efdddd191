//! The bytes of both sides: which objects are read, and what comes of it.
//!
//! In: objects that are on both sides with the same size, the manifest of the copy. Out: [`Compared`]. Never: takes the
//! manifest's word for what is in the destination now: that is read; lets chance choose: two runs on one archive read the same.

use super::report::{Count, Difference, DigestsDone, Kind};
use super::{Options, SHOWN, Sides};
use crate::commands::{Progress, Unit};
use crate::error::{Error, Verdict};
use crate::layout::{Entry, ObjectKey, WalFile};
use crate::proof::Severity;
use crate::storage::ObjectId;
use crate::transfer::compare::md5;
use crate::transfer::manifest::{How, Manifest};
use crate::transfer::{Hex32, run};
use futures::{StreamExt, stream};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// No sample is smaller.
const LEAST: usize = 32;
/// After so many objects that cannot be read, the rest is not tried.
const ENOUGH: usize = 10;

/// Of which objects the bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digests {
    /// None.
    None,
    /// What describes the archive (sentinels, metadata, histories), and so many percent of the rest, at least 32.
    Sample(u8),
    /// All.
    All,
}

/// What came of it.
#[derive(Debug)]
pub struct Compared {
    pub digests: DigestsDone,
    pub differences: Vec<Difference>,
    pub lines: String,
}

/// What was read of one object.
struct Read {
    object: ObjectId,
    /// In the destination.
    theirs: Hex32,
    same: bool,
    by_manifest: bool,
}

/// Read and compare.
pub async fn compare(
    sides: &Sides,
    manifest: &Manifest,
    pairs: Vec<(ObjectId, ObjectId)>,
    options: &Options,
    progress: &dyn Progress,
) -> Compared {
    let digests = options.digests;
    let chosen = pick(pairs.iter().map(|(object, _)| &object.key), digests);
    let mut done = DigestsDone {
        mode: match digests {
            Digests::None => "none",
            Digests::Sample(_) => "sample",
            Digests::All => "all",
        },
        sample_percent: if let Digests::Sample(percent) = digests { Some(percent) } else { None },
        of: Count::of(pairs.iter().map(|(object, _)| object)),
        read: Count::default(),
        source_by_manifest: Count::default(),
        different: Count::default(),
        by_md5: Count::default(),
        by_size: Count::default(),
        unread: Count::default(),
        sha256: Hex32([0; 32]),
    };
    let (wanted, rest): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(object, _)| chosen.contains(&object.key));
    for (object, there) in &rest {
        match (md5(object), md5(there)) {
            (Some(one), Some(other)) if one == other => done.by_md5.add(object.size),
            _ => done.by_size.add(object.size),
        }
    }
    let wanted_in_all = Count::of(wanted.iter().map(|(object, _)| object));
    progress.begin("comparing bytes", Some(wanted_in_all.bytes), Unit::Bytes);
    let known = Some(manifest).filter(|_| !options.read_both);
    let read = wanted.into_iter().map(|(object, there)| async move {
        let read = one(sides, known, &object, &there).await;
        progress.advance(object.size);
        (object, read)
    });
    let mut reading = stream::iter(read).buffer_unordered(options.jobs.max(1));
    let mut lines = Vec::new();
    let (mut other, mut unread) = (Vec::new(), Vec::new());
    while let Some((object, read)) = reading.next().await {
        match read {
            Ok(Read { object, theirs, same, by_manifest }) => {
                done.read.add(object.size);
                if by_manifest {
                    done.source_by_manifest.add(object.size);
                }
                lines.push(format!("{theirs}  {}  {}\n", object.size, object.key));
                if !same {
                    done.different.add(object.size);
                    other.push(object.key);
                }
            }
            Err(error) => {
                unread.push((object.key, error));
                if unread.len() >= ENOUGH {
                    break;
                }
            }
        }
    }
    drop(reading);
    let left = |of: fn(&Count) -> u64| of(&wanted_in_all) - of(&done.read);
    done.unread = Count { objects: left(|count| count.objects), bytes: left(|count| count.bytes) };
    let mut differences = Vec::new();
    if !other.is_empty() {
        differences.push(Difference::of(Severity::Critical, Kind::Bytes, other, "of other bytes in the destination"));
    }
    if !unread.is_empty() {
        differences.push(not_read(unread, &done));
    }
    lines.sort_unstable();
    let lines = lines.concat();
    done.sha256 = Hex32(Sha256::digest(lines.as_bytes()).into());
    Compared { digests: done, differences, lines }
}

async fn one(sides: &Sides, manifest: Option<&Manifest>, object: &ObjectId, there: &ObjectId) -> Result<Read, Error> {
    // Only what passed through here says what the source's bytes are; a provider says what it made of them.
    let known = manifest
        .and_then(|manifest| manifest.entry(&object.key))
        .filter(|entry| entry.how != How::Provider && entry.is_from(object));
    let known = known.and_then(|entry| entry.sha256);
    let ours = async {
        match known {
            Some(sha256) => Ok(sha256),
            None => run::digest(&*sides.source, object).await.map(|digest| digest.sha256),
        }
    };
    let theirs = async { run::digest(&*sides.destination, there).await.map(|digest| digest.sha256) };
    let (ours, theirs) = futures::try_join!(ours, theirs)?;
    Ok(Read { object: object.clone(), theirs, same: ours == theirs, by_manifest: known.is_some() })
}

/// Bytes that are there and cannot be had are damage; all else nobody knows.
fn not_read(unread: Vec<(ObjectKey, Error)>, done: &DigestsDone) -> Difference {
    let damaged = unread.iter().any(|(_, error)| error.verdict() == Verdict::Damaged);
    let why = unread.first().map(|(_, error)| format!("[{}] {}", error.code(), error.chain())).unwrap_or_default();
    let count = unread.len() as u64;
    let mut keys: Vec<ObjectKey> = unread.into_iter().map(|(key, _)| key).collect();
    keys.sort();
    keys.truncate(SHOWN);
    let left = done.unread.objects - count;
    let left = if left > 0 { format!(", and {left} more were not tried") } else { String::new() };
    let noun = if count == 1 { "object" } else { "objects" };
    Difference {
        severity: if damaged { Severity::Critical } else { Severity::Unknown },
        kind: Kind::Unread,
        what: format!("{count} {noun} could not be read{left}: {why}"),
        count,
        objects: keys,
    }
}

/// Which keys are read.
fn pick<'a>(keys: impl Iterator<Item = &'a ObjectKey>, digests: Digests) -> BTreeSet<ObjectKey> {
    match digests {
        Digests::None => BTreeSet::new(),
        Digests::All => keys.cloned().collect(),
        Digests::Sample(percent) => {
            let (always, rest): (Vec<&ObjectKey>, Vec<&ObjectKey>) = keys.partition(|key| describes(key));
            let mut rest: Vec<([u8; 32], &ObjectKey)> =
                rest.into_iter().map(|key| (Sha256::digest(key.as_str().as_bytes()).into(), key)).collect();
            rest.sort_unstable();
            let share = rest.len().saturating_mul(usize::from(percent)).div_ceil(100);
            rest.truncate(share.max(LEAST));
            always.into_iter().chain(rest.into_iter().map(|(_, key)| key)).cloned().collect()
        }
    }
}

/// Small, and everything else is understood by it.
fn describes(key: &ObjectKey) -> bool {
    match Entry::parse(key) {
        Entry::Sentinel(_) | Entry::Version(_) | Entry::Metadata(_) | Entry::FilesMetadata(_) | Entry::SystemId => true,
        Entry::Wal { file, .. } => matches!(file, WalFile::History(_) | WalFile::BackupHistory(..)),
        Entry::Partition { .. } | Entry::WalDelta(_) | Entry::WalMetadata | Entry::OldLayout | Entry::Foreign => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: usize) -> Vec<ObjectKey> {
        (0..count).map(|number| ObjectKey::from(format!("wal_005/0000000100000000{number:08X}.lzo"))).collect()
    }

    fn size(count: usize, digests: Digests) -> usize {
        pick(keys(count).iter(), digests).len()
    }

    #[test]
    fn a_sample_is_large_enough_and_the_same_each_time() {
        for (count, percent, wanted) in [(10, 1, 10), (1000, 1, 32), (4000, 1, 40), (4001, 1, 41), (100, 100, 100)] {
            assert_eq!(size(count, Digests::Sample(percent)), wanted, "{count} {percent}");
        }
        assert_eq!((size(9, Digests::None), size(9, Digests::All)), (0, 9));
        let all = keys(4000);
        let mut turned = all.clone();
        turned.reverse();
        assert_eq!(pick(all.iter(), Digests::Sample(2)), pick(turned.iter(), Digests::Sample(2)));
        // A larger one holds the smaller one, and what is new does not change the rest much.
        assert!(pick(all.iter(), Digests::Sample(2)).is_subset(&pick(all.iter(), Digests::Sample(3))));
    }

    #[test]
    fn what_describes_the_archive_is_in_every_sample() {
        let mut all = keys(1000);
        let always: Vec<ObjectKey> = [
            "basebackups_005/base_000000010000000000000003_00000040_backup_stop_sentinel.json",
            "basebackups_005/base_000000010000000000000003_00000040/extended_version.txt",
            "basebackups_005/base_000000010000000000000003/metadata.json",
            "basebackups_005/base_000000010000000000000003/files_metadata.json",
            "wal_005/00000002.history.lzo",
            "wal_005/000000010000000000000003.00000028.backup.lzo",
            "sysids/sysid",
        ]
        .map(ObjectKey::from)
        .into();
        all.extend(always.iter().cloned());
        let picked = pick(all.iter(), Digests::Sample(1));
        assert!(always.iter().all(|key| picked.contains(key)), "{picked:?}");
        assert_eq!(picked.len(), always.len() + LEAST);
    }
}
