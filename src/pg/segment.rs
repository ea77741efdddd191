//! WAL segments: their size, their number, their name.
//!
//! In: names of 24 hex digits, LSNs. Out: [`SegmentSize`], [`SegmentNo`], [`SegmentName`] and the conversions.
//! Never: assumes 16 MiB: the same name is another place at another segment size, so the size is always an argument.
//! Source: PostgreSQL `src/include/access/xlog_internal.h` (`XLogFileName`, `XLogFromFileName`).

use super::timeline::upper_hex8;
use super::{Lsn, NameError, TimelineId};
use std::fmt;
use std::str::FromStr;

/// Bytes of a WAL segment: a power of two from 1 MiB to 1 GiB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentSize(u32);

impl SegmentSize {
    /// What every cluster has unless somebody chose otherwise.
    pub const DEFAULT: SegmentSize = SegmentSize(16 << 20);
    /// The smallest size PostgreSQL takes.
    pub const MIN: SegmentSize = SegmentSize(1 << 20);
    /// The largest size PostgreSQL takes.
    pub const MAX: SegmentSize = SegmentSize(1 << 30);

    /// `None` unless it is a power of two from 1 MiB to 1 GiB.
    pub fn new(bytes: u64) -> Option<Self> {
        let bytes = u32::try_from(bytes).ok()?;
        let valid = bytes.is_power_of_two() && (Self::MIN.0..=Self::MAX.0).contains(&bytes);
        valid.then_some(SegmentSize(bytes))
    }

    /// All eleven sizes, smallest first.
    pub fn all() -> impl Iterator<Item = SegmentSize> {
        (20..=30).map(|shift| SegmentSize(1 << shift))
    }

    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        u64::from(self.0)
    }

    /// Segments per log id: how far the last eight digits of a name count, 4..=4096.
    pub fn per_log(self) -> u64 {
        (1 << 32) / self.bytes()
    }
}

impl fmt::Display for SegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 20 {
            1024 => f.write_str("1 GiB"),
            mib => write!(f, "{mib} MiB"),
        }
    }
}

impl fmt::Debug for SegmentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a segment in its WAL stream: LSN divided by segment size. A new cluster starts at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentNo(pub u64);

impl SegmentNo {
    /// LSN of the first byte, or `None` beyond 64 bits.
    pub fn start(self, size: SegmentSize) -> Option<Lsn> {
        self.0.checked_mul(size.bytes()).map(Lsn)
    }

    /// Its name on a timeline. `None` when the log id does not fit 32 bits: beyond the last LSN.
    pub fn name(self, timeline: TimelineId, size: SegmentSize) -> Option<SegmentName> {
        let log = u32::try_from(self.0 / size.per_log()).ok()?;
        let seg = u32::try_from(self.0 % size.per_log()).ok()?;
        Some(SegmentName { timeline, log, seg })
    }

    /// The one behind it.
    pub fn next(self) -> SegmentNo {
        SegmentNo(self.0.saturating_add(1))
    }

    /// The one before it; there is none before 0.
    pub fn previous(self) -> Option<SegmentNo> {
        self.0.checked_sub(1).map(SegmentNo)
    }
}

/// The name of a segment file: 24 upper-case hex digits, `TTTTTTTTLLLLLLLLSSSSSSSS`.
///
/// Orders by timeline, then as the WAL runs (for one segment size).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentName {
    timeline: TimelineId,
    log: u32,
    seg: u32,
}

impl SegmentName {
    /// Digits of a name.
    pub const LEN: usize = 24;

    /// The timeline in its first eight digits.
    pub fn timeline(self) -> TimelineId {
        self.timeline
    }

    /// Its number at this segment size. An error where the last eight digits count further than the size allows.
    pub fn number(self, size: SegmentSize) -> Result<SegmentNo, NameError> {
        if u64::from(self.seg) >= size.per_log() {
            return Err(NameError::new("a segment name at this segment size", &self.to_string()));
        }
        Ok(SegmentNo(u64::from(self.log) * size.per_log() + u64::from(self.seg)))
    }

    /// LSN of its first byte at this segment size.
    pub fn start(self, size: SegmentSize) -> Result<Lsn, NameError> {
        let number = self.number(size)?;
        number.start(size).ok_or_else(|| NameError::new("a segment name within 64 bits", &self.to_string()))
    }

    /// The largest segment size at which this name is valid.
    pub fn largest_size(self) -> Option<SegmentSize> {
        SegmentSize::all().filter(|size| u64::from(self.seg) < size.per_log()).last()
    }

    /// The same place on another timeline.
    pub fn on(self, timeline: TimelineId) -> SegmentName {
        SegmentName { timeline, ..self }
    }

    /// The next name on the same timeline, at this segment size.
    pub fn next(self, size: SegmentSize) -> Option<SegmentName> {
        self.number(size).ok()?.next().name(self.timeline, size)
    }
}

impl FromStr for SegmentName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::new("a segment name of 24 upper-case hex digits", text);
        let field = |range: std::ops::Range<usize>| text.get(range).and_then(upper_hex8).ok_or_else(error);
        if text.len() != Self::LEN {
            return Err(error());
        }
        Ok(SegmentName {
            timeline: TimelineId::new(field(0..8)?).ok_or_else(error)?,
            log: field(8..16)?,
            seg: field(16..24)?,
        })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Through `pad`, so that tables can align it.
        f.pad(&format!("{}{:08X}{:08X}", self.timeline.hex(), self.log, self.seg))
    }
}

impl fmt::Debug for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for SegmentName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
