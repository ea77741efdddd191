//! A place in the WAL.
//!
//! In: `X/X` text or a 64-bit number. Out: [`Lsn`], its arithmetic, its place within a segment.
//! Never: silently wraps. Source: PostgreSQL `src/include/access/xlogdefs.h`, `pg_lsn` input and output.

use super::{NameError, SegmentNo, SegmentSize};
use std::fmt;
use std::str::FromStr;

/// A byte position in the WAL stream of one timeline. Text form `HI/LO`, both hexadecimal, not padded (`0/3000028`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The invalid LSN, `0/0`, which PostgreSQL uses for "none".
    pub const ZERO: Lsn = Lsn(0);

    /// The segment that holds the byte at this place.
    pub fn segment(self, size: SegmentSize) -> SegmentNo {
        SegmentNo(self.0 / size.bytes())
    }

    /// The segment of an exclusive end: of the byte before this place.
    pub fn segment_before(self, size: SegmentSize) -> SegmentNo {
        Lsn(self.0.saturating_sub(1)).segment(size)
    }

    /// Bytes from the start of its segment, `0..size`.
    pub fn offset_in_segment(self, size: SegmentSize) -> u64 {
        self.0 % size.bytes()
    }

    /// This many bytes further, unless that is beyond 64 bits.
    pub fn checked_add(self, bytes: u64) -> Option<Lsn> {
        self.0.checked_add(bytes).map(Lsn)
    }

    /// Rounded up to a multiple of 8, where records start.
    pub fn align8(self) -> Option<Lsn> {
        self.0.checked_add(7).map(|lsn| Lsn(lsn & !7))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Lsn {
    type Err = NameError;

    /// Accepts padded halves and lower case, as the server does.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::new("an LSN such as 0/3000028", text);
        let (high, low) = text.split_once('/').ok_or_else(error)?;
        let half = |half: &str| {
            if half.is_empty() || half.len() > 8 || !half.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(error());
            }
            u64::from_str_radix(half, 16).map_err(|_| error())
        };
        Ok(Lsn(half(high)? << 32 | half(low)?))
    }
}

impl serde::Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
