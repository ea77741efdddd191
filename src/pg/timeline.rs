//! A timeline's number.
//!
//! In: eight hex digits from names, decimals from history files. Out: [`TimelineId`], never zero.
//! Never: guesses which of the two forms a text is in. Source: PostgreSQL `src/include/access/xlogdefs.h`.

use super::NameError;
use std::fmt;
use std::num::NonZeroU32;

/// A timeline. Decimal for people and in history files, eight hex digits in names ([`TimelineId::hex`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimelineId(NonZeroU32);

impl TimelineId {
    /// The timeline every cluster starts on. It never has a history file.
    pub const FIRST: TimelineId = TimelineId(NonZeroU32::MIN);

    /// `None` for zero, which PostgreSQL never uses.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(TimelineId)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// The next number, unless this is the last one.
    pub fn next(self) -> Option<Self> {
        self.get().checked_add(1).and_then(TimelineId::new)
    }

    /// From the decimal form of history files and command lines.
    pub fn parse_decimal(text: &str) -> Result<Self, NameError> {
        let error = || NameError::new("a timeline number", text);
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        text.parse().ok().and_then(TimelineId::new).ok_or_else(error)
    }

    /// From the eight upper-case hex digits of file names.
    pub fn parse_hex(text: &str) -> Result<Self, NameError> {
        upper_hex8(text).and_then(TimelineId::new).ok_or_else(|| NameError::new("a timeline in eight hex digits", text))
    }

    /// The eight hex digits used in names.
    pub fn hex(self) -> impl fmt::Display {
        struct Hex(u32);
        impl fmt::Display for Hex {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:08X}", self.0)
            }
        }
        Hex(self.get())
    }

    /// The name of its history file, `TTTTTTTT.history`.
    pub fn history_name(self) -> String {
        format!("{}.history", self.hex())
    }
}

/// Eight upper-case hex digits as a number; anything else, also lower case, is `None`.
pub(crate) fn upper_hex8(text: &str) -> Option<u32> {
    let valid = text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b));
    if valid { u32::from_str_radix(text, 16).ok() } else { None }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimelineId({self})")
    }
}

impl serde::Serialize for TimelineId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.get())
    }
}

/// Which timeline recovery follows: the value of `recovery_target_timeline`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TargetTimeline {
    /// The newest that descends from the backup's.
    #[default]
    Latest,
    /// The backup's own.
    Current,
    /// This one.
    Number(TimelineId),
}

impl serde::Serialize for TargetTimeline {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for TargetTimeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetTimeline::Latest => f.write_str("latest"),
            TargetTimeline::Current => f.write_str("current"),
            TargetTimeline::Number(number) => number.fmt(f),
        }
    }
}

impl std::str::FromStr for TargetTimeline {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "latest" => Ok(TargetTimeline::Latest),
            "current" => Ok(TargetTimeline::Current),
            number => TimelineId::parse_decimal(number).map(TargetTimeline::Number),
        }
    }
}
