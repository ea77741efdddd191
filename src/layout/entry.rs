//! What any key under a prefix is.
//!
//! In: a key relative to the prefix, as listed. Out: an [`Entry`]; parsing is total, what nobody knows is `Foreign`.
//! Never: fails, or guesses: both ends of every name are anchored, so `….lzo.bak` is not a segment.
//! Source: the layouts of WAL-E (005 and before) and WAL-G.

use super::{BACKUPS, BackupName, Compression, ObjectKey, SENTINEL_SUFFIX, WAL};
use crate::pg::timeline::upper_hex8;
use crate::pg::{NameError, SegmentName, TimelineId};
use std::fmt;
use std::str::FromStr;

/// A file PostgreSQL archives and asks for: all that `wal-fetch` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WalFile {
    /// `TTTTTTTTLLLLLLLLSSSSSSSS`
    Segment(SegmentName),
    /// `TTTTTTTT.history`
    History(TimelineId),
    /// `SEGMENT.XXXXXXXX.backup`: the backup history file; the digits are the start's offset, hexadecimal.
    BackupHistory(SegmentName, u32),
    /// `SEGMENT.partial`: the last, incomplete segment of a timeline.
    Partial(SegmentName),
}

impl FromStr for WalFile {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::new("a WAL file name", text);
        let Some((stem, kind)) = text.split_once('.') else {
            return text.parse().map(WalFile::Segment).map_err(|_| error());
        };
        match kind {
            "history" => TimelineId::parse_hex(stem).map(WalFile::History).map_err(|_| error()),
            "partial" => stem.parse().map(WalFile::Partial).map_err(|_| error()),
            _ => {
                let offset = kind.strip_suffix(".backup").and_then(upper_hex8).ok_or_else(error)?;
                Ok(WalFile::BackupHistory(stem.parse().map_err(|_| error())?, offset))
            }
        }
    }
}

impl fmt::Display for WalFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalFile::Segment(name) => f.pad(&name.to_string()),
            WalFile::History(timeline) => f.pad(&timeline.history_name()),
            WalFile::BackupHistory(name, offset) => f.pad(&format!("{name}.{offset:08X}.backup")),
            WalFile::Partial(name) => f.pad(&format!("{name}.partial")),
        }
    }
}

/// What a key under a prefix is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// `wal_005/…`: a file of PostgreSQL's.
    Wal {
        /// Which one.
        file: WalFile,
        /// What its suffix promises.
        stored: Compression,
    },
    /// `wal_005/SEGMENT_delta…`: WAL-G's list of changed blocks.
    WalDelta(SegmentName),
    /// `wal_005/….json`: WAL-G's metadata of one file or of sixteen segments.
    WalMetadata,
    /// `basebackups_005/NAME_backup_stop_sentinel.json`: the backup is complete.
    Sentinel(BackupName),
    /// `basebackups_005/NAME/tar_partitions/…`
    Partition {
        /// The backup it is part of.
        backup: BackupName,
        /// Which of its archives.
        part: PartName,
        /// What its suffix promises.
        stored: Compression,
    },
    /// `basebackups_005/NAME/extended_version.txt`: WAL-E; text of `SELECT version()`.
    Version(BackupName),
    /// `basebackups_005/NAME/metadata.json`: WAL-G.
    Metadata(BackupName),
    /// `basebackups_005/NAME/files_metadata.json`: WAL-G.
    FilesMetadata(BackupName),
    /// `sysids/sysid`: written by Patroni containers; the cluster's system identifier in decimal.
    SystemId,
    /// A layout that WAL-E left behind in 2011: named, not read.
    OldLayout,
    /// Nothing that the originals wrote. Kept and shown, never fatal.
    Foreign,
}

/// Which archive of a base backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartName {
    /// `part_N.tar`: WAL-E from 0 without gaps, WAL-G from 1 with gaps. Any number of digits.
    Part(u32),
    /// `copy_N.tar`: WAL-G, copied from an older backup.
    Copy(u32),
    /// `backup_label.tar`: WAL-G.
    Label,
    /// `pg_control.tar`: WAL-G.
    Control,
}

impl Entry {
    /// What this key is. Total.
    pub fn parse(key: &ObjectKey) -> Entry {
        let key = key.as_str();
        if let Some(name) = key.strip_prefix(WAL) {
            return wal(name);
        }
        if let Some(name) = key.strip_prefix(BACKUPS) {
            return backup(name);
        }
        // A container whose prefix had no slash at its end wrote it glued to the prefix: outside, and never listed.
        if key == "sysids/sysid" {
            return Entry::SystemId;
        }
        let folder = key.split_once('/').map_or(key, |(folder, _)| folder);
        let version = folder.strip_prefix("basebackups_").or_else(|| folder.strip_prefix("wal_"));
        match version {
            Some("0" | "000" | "001" | "002" | "003" | "004" | "dev-version") => Entry::OldLayout,
            _ => Entry::Foreign,
        }
    }
}

fn wal(name: &str) -> Entry {
    // The bare name first: `.history` and `.partial` are no suffixes of a codec.
    if let Ok(file) = name.parse() {
        return Entry::Wal { file, stored: Compression::Plain };
    }
    if let Some(stem) = name.strip_suffix(".json") {
        let bulk = stem.len() == SegmentName::LEN - 1 && format!("{stem}0").parse::<SegmentName>().is_ok();
        return if bulk || stem.parse::<WalFile>().is_ok() { Entry::WalMetadata } else { Entry::Foreign };
    }
    let (stem, stored) = match name.rsplit_once('.') {
        Some((stem, suffix)) => match Compression::from_suffix(suffix) {
            Some(stored) => (stem, stored),
            None => return Entry::Foreign,
        },
        None => (name, Compression::Plain),
    };
    if let Ok(file) = stem.parse() {
        return Entry::Wal { file, stored };
    }
    match stem.strip_suffix("_delta").map(str::parse) {
        Some(Ok(name)) => Entry::WalDelta(name),
        _ => Entry::Foreign,
    }
}

fn backup(name: &str) -> Entry {
    let Some((folder, rest)) = name.split_once('/') else {
        return match name.strip_suffix(SENTINEL_SUFFIX).map(str::parse) {
            Some(Ok(backup)) => Entry::Sentinel(backup),
            _ => Entry::Foreign,
        };
    };
    let Ok(backup) = folder.parse() else { return Entry::Foreign };
    match rest {
        "extended_version.txt" => Entry::Version(backup),
        "metadata.json" => Entry::Metadata(backup),
        "files_metadata.json" => Entry::FilesMetadata(backup),
        _ => match rest.strip_prefix("tar_partitions/").and_then(partition) {
            Some((part, stored)) => Entry::Partition { backup, part, stored },
            None => Entry::Foreign,
        },
    }
}

fn partition(name: &str) -> Option<(PartName, Compression)> {
    let (stem, suffix) = name.split_once(".tar")?;
    let stored = match suffix.strip_prefix('.') {
        Some("tar") => Compression::Plain, // `copy_0.tar.tar`: WAL-G with no compression
        Some(suffix) => Compression::from_suffix(suffix)?,
        None if suffix.is_empty() => Compression::Plain,
        None => return None,
    };
    let number = |digits: &str| {
        let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if valid { digits.parse().ok() } else { None }
    };
    let part = match stem {
        "backup_label" => PartName::Label,
        "pg_control" => PartName::Control,
        _ => match (stem.strip_prefix("part_"), stem.strip_prefix("copy_")) {
            (Some(digits), _) => PartName::Part(number(digits)?),
            (_, Some(digits)) => PartName::Copy(number(digits)?),
            _ => return None,
        },
    };
    Some((part, stored))
}
