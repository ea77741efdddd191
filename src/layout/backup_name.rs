//! Names of base backups.
//!
//! In: `base_SEG`, `base_SEG_OFFSET` (WAL-E), `base_SEG_D_SEG` (WAL-G delta), with or without the sentinel's suffix.
//! Out: [`BackupName`]. Never: takes the offset for hexadecimal, or trusts it (WAL-E cut it at eight digits, and wrote
//! a wrong one for offline backups). Both ends are anchored: `..._sentinel.json.bak` is no backup.

use crate::pg::{NameError, SegmentName, TimelineId};
use std::fmt;
use std::str::FromStr;

/// The name of a base backup, which is also its folder's name.
///
/// ```text
/// base_000000010000000000000003_00000040                        WAL-E: start segment, decimal offset
/// base_000000010000000000000003                                 WAL-G: full
/// base_00000001000000000000000A_D_000000010000000000000003      WAL-G: delta, and the start of its parent
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackupName {
    start: SegmentName,
    parent: Option<SegmentName>,
    // Eight characters of 0-9A-F, as WAL-E's own pattern takes them.
    offset: Option<[u8; 8]>,
}

impl BackupName {
    /// The segment in which the backup starts. Wrong for WAL-E's offline backups: see `pg_control` there.
    pub fn start(&self) -> SegmentName {
        self.start
    }

    /// The timeline in the name.
    pub fn timeline(&self) -> TimelineId {
        self.start.timeline()
    }

    /// For a delta backup, the start segment in the name of its direct parent.
    pub fn parent(&self) -> Option<SegmentName> {
        self.parent
    }

    /// Is it a delta backup, by its name?
    pub fn is_delta(&self) -> bool {
        self.parent.is_some()
    }

    /// The eight digits WAL-E writes behind the segment, as they stand there.
    pub fn offset_text(&self) -> Option<&str> {
        self.offset.as_ref().and_then(|digits| std::str::from_utf8(digits).ok())
    }

    /// WAL-E's start offset within the segment, where it is a decimal number. Bytes.
    pub fn offset(&self) -> Option<u32> {
        self.offset_text().and_then(|text| text.parse().ok())
    }

    /// Key of the sentinel, relative to the prefix.
    pub fn sentinel_key(&self) -> super::ObjectKey {
        format!("{}{self}{}", super::BACKUPS, super::SENTINEL_SUFFIX).into()
    }

    /// Prefix of the keys of its partitions, relative to the archive's prefix.
    pub fn partitions_prefix(&self) -> String {
        format!("{}{self}/tar_partitions/", super::BACKUPS)
    }
}

impl FromStr for BackupName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::new("the name of a base backup", text);
        let rest = text.strip_prefix("base_").ok_or_else(error)?;
        let (start, mut rest) = take_segment(rest).ok_or_else(error)?;
        let mut parent = None;
        if let Some(delta) = rest.strip_prefix("_D_") {
            let (segment, behind) = take_segment(delta).ok_or_else(error)?;
            parent = Some(segment);
            rest = behind;
        }
        let offset = match rest.strip_prefix('_') {
            None if rest.is_empty() => None,
            None => return Err(error()),
            Some(digits) => {
                let valid = |b: &u8| b.is_ascii_digit() || (b'A'..=b'F').contains(b);
                let digits: [u8; 8] = digits.as_bytes().try_into().map_err(|_| error())?;
                if !digits.iter().all(valid) {
                    return Err(error());
                }
                Some(digits)
            }
        };
        Ok(BackupName { start, parent, offset })
    }
}

fn take_segment(text: &str) -> Option<(SegmentName, &str)> {
    let (segment, rest) = text.split_at_checked(SegmentName::LEN)?;
    Some((segment.parse().ok()?, rest))
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("base_{}", self.start);
        if let Some(parent) = self.parent {
            text.push_str(&format!("_D_{parent}"));
        }
        if let Some(offset) = self.offset_text() {
            text.push('_');
            text.push_str(offset);
        }
        f.pad(&text)
    }
}

impl fmt::Debug for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for BackupName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
