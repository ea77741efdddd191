//! What a wal-fetch and the feeder say to each other: lines of text on a Unix socket.
//!
//! In: a [`Question`] or an [`Answer`](Line), or a line from the other side. Out: the other. Never: trusts a line; panics;
//! takes one that it does not know for one that it does (a feeder of another version is no feeder).
//!
//! ```text
//! wal-r 1 get NAME SETTINGS      ->  wait BYTES (several), note TEXT, warn TEXT (several), then one of
//!                                    take PATH | absent | refused CODE TEXT | self WHY | leave
//! wal-r 1 ready NAME SETTINGS    ->  take PATH if it lies ready and there is nothing to say, else self WHY, at once
//! wal-r 1 got NAME SETTINGS MICROSECONDS CARRY
//!                                    (fetched without the feeder; no answer)
//! wal-r 1 status                 ->  one line of JSON
//! ```
//!
//! SETTINGS is a digest of what decides where files come from and how they are judged: a feeder answers only who means the
//! same. CARRY is the state at the end of a segment as JSON, or `-`.

use crate::error::{Code, Error};
use crate::layout::WalFile;
use crate::wal::Carry;
use std::fmt::Write;

/// The word every question begins with, and the version of what follows.
const GREETING: &str = "wal-r 1 ";
/// No line is longer; a carry is a few hundred bytes.
pub const LONGEST: usize = 64 * 1024;

/// What a client wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// This file.
    Get {
        /// Which.
        file: WalFile,
        /// Digest of the settings.
        settings: String,
    },
    /// This segment if it lies ready: it has somebody else to ask who can do more.
    Ready {
        /// Which.
        file: WalFile,
        /// Digest of the settings.
        settings: String,
    },
    /// Nothing: it fetched this one itself.
    Got {
        /// Which.
        file: WalFile,
        /// Digest of the settings.
        settings: String,
        /// How long its caller waited.
        microseconds: u64,
        /// The state at the segment's end.
        carry: Option<Box<Carry>>,
    },
    /// How it goes.
    Status,
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Not yet; so many bytes came in so far, which is how a slow store is told from a silent one.
    Wait(u64),
    /// People should know.
    Note(String),
    /// People should act.
    Warn(String),
    /// Rename it: it lies at the meeting place under this name, or elsewhere at this path.
    Take(String),
    /// The store said that it is not there.
    Absent,
    /// It is there, and must not be handed over.
    Refused(Code, String),
    /// Fetch it yourself, because.
    Yourself(String),
    /// I serve other settings, and go.
    Leave,
}

impl Question {
    /// As a line, its end included.
    pub fn line(&self) -> String {
        match self {
            Question::Get { file, settings } => format!("{GREETING}get {file} {settings}\n"),
            Question::Ready { file, settings } => format!("{GREETING}ready {file} {settings}\n"),
            Question::Got { file, settings, microseconds, carry } => {
                let carry = carry.as_ref().and_then(|carry| serde_json::to_string(carry).ok());
                let carry = carry.as_deref().filter(|carry| carry.len() < LONGEST / 2).unwrap_or("-");
                format!("{GREETING}got {file} {settings} {microseconds} {carry}\n")
            }
            Question::Status => format!("{GREETING}status\n"),
        }
    }

    /// From a line without its end.
    pub fn parse(line: &str) -> Option<Question> {
        let rest = line.strip_prefix(GREETING)?;
        let mut words = rest.splitn(5, ' ');
        let question = match words.next()? {
            "get" => Question::Get { file: words.next()?.parse().ok()?, settings: digest(words.next()?)? },
            "ready" => Question::Ready { file: words.next()?.parse().ok()?, settings: digest(words.next()?)? },
            "got" => Question::Got {
                file: words.next()?.parse().ok()?,
                settings: digest(words.next()?)?,
                microseconds: words.next()?.parse().ok()?,
                carry: match words.next()? {
                    "-" => None,
                    carry => Some(serde_json::from_str(carry).ok()?),
                },
            },
            "status" => Question::Status,
            _ => return None,
        };
        words.next().is_none().then_some(question)
    }
}

/// Digests are hexadecimal.
fn digest(word: &str) -> Option<String> {
    (!word.is_empty() && word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| word.to_owned())
}

impl Line {
    /// As a line, its end included.
    pub fn line(&self) -> String {
        let mut line = match self {
            Line::Wait(bytes) => format!("wait {bytes}"),
            Line::Note(text) => format!("note {}", one_line(text)),
            Line::Warn(text) => format!("warn {}", one_line(text)),
            Line::Take(path) => format!("take {path}"),
            Line::Absent => "absent".to_owned(),
            Line::Refused(code, text) => format!("refused {code} {}", one_line(text)),
            Line::Yourself(why) => format!("self {}", one_line(why)),
            Line::Leave => "leave".to_owned(),
        };
        line.push('\n');
        line
    }

    /// From a line without its end.
    pub fn parse(line: &str) -> Option<Line> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match word {
            "wait" => Line::Wait(rest.parse().ok()?),
            "note" => Line::Note(rest.to_owned()),
            "warn" => Line::Warn(rest.to_owned()),
            // Whatever the folder, it is a WAL file.
            "take" => {
                let name = rest.rsplit_once('/').map_or(rest, |(_, name)| name);
                name.parse::<WalFile>().ok()?;
                Line::Take(rest.to_owned())
            }
            "absent" if rest.is_empty() => Line::Absent,
            "refused" => {
                let (code, text) = rest.split_once(' ').unwrap_or((rest, ""));
                Line::Refused(Code::parse(code)?, text.to_owned())
            }
            "self" => Line::Yourself(rest.to_owned()),
            "leave" if rest.is_empty() => Line::Leave,
            _ => return None,
        })
    }

    /// Does an answer end with it?
    pub fn is_last(&self) -> bool {
        !matches!(self, Line::Wait(_) | Line::Note(_) | Line::Warn(_))
    }
}

/// An error as one line: its code travels apart.
pub fn told(error: &Error) -> Line {
    Line::Refused(error.code(), error.chain())
}

/// Text from anywhere as part of a line.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars().take(4000) {
        match c {
            '\n' | '\r' => line.push(' '),
            c if c.is_control() => drop(write!(line, "\\u{{{:x}}}", u32::from(c))),
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests;
