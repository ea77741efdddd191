//! Page checksums of relation files, looked at while the files are written.
//!
//! In: a member's path, its bytes cut anywhere. Out: pages counted, and [`Suspect`]s: pages whose checksum or header is
//! wrong. Never: judges them. Whether the cluster has checksums at all stands in pg_control, and whether a page may be
//! torn stands in backup_label; both may come last, so [`judge`] is asked at the end.
//! Source: PostgreSQL `src/include/storage/checksum_impl.h`, `bufpage.h`; `src/common/relpath.c` for the names.

use crate::pg::Lsn;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Bytes of a page. Other sizes need another build of PostgreSQL; then nothing is judged.
pub const PAGE: usize = 8192;
/// Pages of a relation segment file, of which `.1` is the second.
pub const SEGMENT_PAGES: u32 = 131_072;

const BASE: [u32; 32] = [
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C, 0xF8D4474F,
    0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB, 0xE58F764B, 0x187636BC,
    0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4, 0x783125BB, 0x6CA8EAA2, 0xE407EAC6,
    0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
];
const PRIME: u32 = 16_777_619;

/// The checksum of a page at this block of its fork; `pd_checksum` itself counts as 0. Never 0.
pub fn checksum(page: &[u8; PAGE], block: u32) -> u16 {
    // 32 independent lanes: the compiler turns the inner loop into vector instructions.
    let mut lanes = BASE;
    let (rows, _) = page.as_chunks::<128>();
    for (index, row) in rows.iter().enumerate() {
        let (words, _) = row.as_chunks::<4>();
        let mut values = [0u32; 32];
        for (value, word) in values.iter_mut().zip(words) {
            *value = u32::from_le_bytes(*word);
        }
        if index == 0 {
            values[2] &= 0xFFFF_0000; // pd_checksum, at byte 8
        }
        mix(&mut lanes, &values);
    }
    mix(&mut lanes, &[0; 32]);
    mix(&mut lanes, &[0; 32]);
    let hash = lanes.iter().fold(0, |hash, lane| hash ^ lane) ^ block;
    (hash % 65_535 + 1) as u16
}

#[inline(always)]
fn mix(lanes: &mut [u32; 32], values: &[u32; 32]) {
    for (lane, value) in lanes.iter_mut().zip(values) {
        let mixed = *lane ^ value;
        *lane = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
    }
}

/// What is wrong with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The stored checksum is not the computed one.
    Checksum {
        /// What stands in the page; 0 where none was ever stored.
        stored: u16,
        /// What its bytes give. 0 where it was not computed: a stored 0 is wrong in any cluster with checksums.
        computed: u16,
    },
    /// `pd_upper` is 0, which only new pages have, and new pages are all zeros. This one is not.
    NotNew,
    /// The file ends within a page.
    Partial {
        /// Bytes of it.
        bytes: u16,
    },
}

/// A page that is wrong if the cluster has checksums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// Path of the relation file in the data directory.
    pub path: String,
    /// Block within the fork (all its segments counted).
    pub block: u32,
    /// `pd_lsn`: the last change of the page.
    pub lsn: Lsn,
    /// What is wrong.
    pub fault: Fault,
}

/// The file of a relation, as its path tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RelationFile {
    /// OID of the tablespace: 1663 for `base`, 1664 for `global`.
    pub tablespace: u32,
    /// OID of the database; 0 in `global`.
    pub database: u32,
    /// Number of the relation's files.
    pub number: u32,
    /// 0 main, 1 free space map, 2 visibility map, 3 init.
    pub fork: u8,
    /// Which of the fork's segments; 0 has no suffix.
    pub segment: u32,
}

impl RelationFile {
    /// Number of the main fork.
    pub const MAIN: u8 = 0;
    /// Number of the fork that a relation without WAL is made anew from.
    pub const INIT: u8 = 3;

    /// From a path in the data directory. `None` for what has no pages.
    pub fn parse(path: &[u8]) -> Option<RelationFile> {
        let path = std::str::from_utf8(path).ok()?;
        let parts: Vec<&str> = path.split('/').collect();
        let (tablespace, database, name) = match parts.as_slice() {
            ["global", name] => (1664, 0, name),
            ["base", database, name] => (1663, number(database)?, name),
            ["pg_tblspc", oid, version, database, name] if version.starts_with("PG_") => {
                (number(oid)?, number(database)?, name)
            }
            _ => return None,
        };
        let (stem, segment) = match name.split_once('.') {
            None => (*name, 0),
            Some((stem, digits)) => (stem, number(digits)?),
        };
        let (digits, fork) = match stem.split_once('_') {
            None => (stem, Self::MAIN),
            Some((file, "fsm")) => (file, 1),
            Some((file, "vm")) => (file, 2),
            Some((file, "init")) => (file, Self::INIT),
            Some(_) => return None,
        };
        Some(RelationFile { tablespace, database, number: number(digits)?, fork, segment })
    }

    /// The server makes a damaged page of this fork anew without a word: it holds hints (free space, visibility).
    pub fn is_hint(self) -> bool {
        matches!(self.fork, 1 | 2)
    }

    /// Tablespace, database and number: the same for all files of a relation.
    pub fn relation(self) -> (u32, u32, u32) {
        (self.tablespace, self.database, self.number)
    }
}

/// Which of a fork's segments a relation file is (0 has no suffix), by its path. `None` for what has no pages.
pub fn relation_segment(path: &[u8]) -> Option<u32> {
    RelationFile::parse(path).map(|file| file.segment)
}

/// `[1-9][0-9]*` within 32 bits.
fn number(text: &str) -> Option<u32> {
    let valid = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if valid { text.parse().ok() } else { None }
}

/// One relation file going by.
#[derive(Debug)]
pub struct PageCheck {
    path: String,
    block: u32,
    page: Box<[u8; PAGE]>,
    filled: usize,
}

/// What was seen in one or more files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Pages that were looked at, new ones included.
    pub pages: u64,
    /// At most [`Seen::MOST`] of them.
    pub suspects: Vec<Suspect>,
    /// Suspects beyond those.
    pub unlisted: u64,
    /// The page that was changed last, of those whose checksum is right or missing.
    pub newest: Option<Newest>,
    /// Relations that have an init fork, as [`RelationFile::relation`]: they are made anew after recovery, whatever their
    /// other forks hold.
    pub unlogged: BTreeSet<(u32, u32, u32)>,
}

/// A page and its last change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    /// `pd_lsn`.
    pub lsn: Lsn,
    /// Path of the relation file.
    pub path: String,
    /// Block within the fork.
    pub block: u32,
}

impl Seen {
    /// Suspects that are kept; more only count.
    pub const MOST: usize = 1000;
    /// Unlogged relations that are kept.
    const MOST_UNLOGGED: usize = 100_000;

    fn add(&mut self, suspect: impl FnOnce() -> Suspect) {
        if self.suspects.len() < Self::MOST { self.suspects.push(suspect()) } else { self.unlisted += 1 }
    }

    /// Both together.
    pub fn merge(&mut self, other: Seen) {
        self.pages += other.pages;
        self.unlisted += other.unlisted;
        if other.newest.as_ref().map(|one| one.lsn) > self.newest.as_ref().map(|one| one.lsn) {
            self.newest = other.newest;
        }
        self.unlogged.extend(other.unlogged);
        for suspect in other.suspects {
            self.add(|| suspect);
        }
    }
}

impl PageCheck {
    /// A relation file from its beginning; `segment` from [`relation_segment`].
    pub fn new(path: &[u8], segment: u32) -> Self {
        PageCheck {
            path: String::from_utf8_lossy(path).into_owned(),
            block: segment.wrapping_mul(SEGMENT_PAGES),
            page: Box::new([0; PAGE]),
            filled: 0,
        }
    }

    /// The next file, reusing the buffer.
    pub fn restart(&mut self, path: &[u8], segment: u32) {
        self.path = String::from_utf8_lossy(path).into_owned();
        self.block = segment.wrapping_mul(SEGMENT_PAGES);
        self.filled = 0;
    }

    /// The next bytes of the file.
    pub fn push(&mut self, mut bytes: &[u8], seen: &mut Seen) {
        if self.filled > 0 {
            let count = bytes.len().min(PAGE - self.filled);
            let (now, rest) = bytes.split_at(count);
            if let Some(room) = self.page.get_mut(self.filled..self.filled + count) {
                room.copy_from_slice(now);
            }
            self.filled += count;
            bytes = rest;
            if self.filled < PAGE {
                return;
            }
            self.filled = 0;
            look(&self.path, self.block, &self.page, seen);
            self.block = self.block.wrapping_add(1);
        }
        let (pages, rest) = bytes.as_chunks::<PAGE>();
        for page in pages {
            look(&self.path, self.block, page, seen);
            self.block = self.block.wrapping_add(1);
        }
        if let Some(room) = self.page.get_mut(..rest.len()) {
            room.copy_from_slice(rest);
        }
        self.filled = rest.len();
    }

    /// The file's end.
    pub fn finish(&mut self, seen: &mut Seen) {
        let file = RelationFile::parse(self.path.as_bytes()).filter(|file| file.fork == RelationFile::INIT);
        if let Some(file) = file.filter(|_| seen.unlogged.len() < Seen::MOST_UNLOGGED) {
            seen.unlogged.insert(file.relation());
        }
        let bytes = std::mem::take(&mut self.filled);
        if bytes > 0 {
            let lsn = if bytes >= 8 { page_lsn(&self.page) } else { Lsn::ZERO };
            let fault = Fault::Partial { bytes: bytes as u16 };
            seen.add(|| Suspect { path: self.path.clone(), block: self.block, lsn, fault });
        }
    }
}

fn look(path: &str, block: u32, page: &[u8; PAGE], seen: &mut Seen) {
    seen.pages += 1;
    let half = |at: usize| u16::from_le_bytes([page[at], page[at + 1]]);
    let (stored, upper) = (half(8), half(14));
    let fault = if upper == 0 {
        if *page == [0; PAGE] {
            return;
        }
        Fault::NotNew
    } else {
        let computed = if stored == 0 { 0 } else { checksum(page, block) };
        let lsn = page_lsn(page);
        if stored == computed && seen.newest.as_ref().is_none_or(|newest| lsn > newest.lsn) {
            seen.newest = Some(Newest { lsn, path: path.to_owned(), block });
        }
        if stored == computed && stored != 0 {
            return;
        }
        Fault::Checksum { stored, computed }
    };
    seen.add(|| Suspect { path: path.to_owned(), block, lsn: page_lsn(page), fault });
}

/// `pd_lsn`: two halves, the high one first.
fn page_lsn(page: &[u8; PAGE]) -> Lsn {
    let word = |at: usize| u64::from(u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]));
    Lsn(word(0) << 32 | word(4))
}

/// The verdict on what was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// Does the cluster keep checksums? Without, nothing can be said.
    pub checksums: bool,
    /// Pages that were looked at.
    pub pages: u64,
    /// Wrong, and older than the backup's start: damage, unless the WAL holds a full image of the page.
    pub damaged: Vec<Suspect>,
    /// Wrong, but changed while the backup ran: replay writes them anew.
    pub replayed: u64,
    /// Those pages.
    #[serde(skip)]
    pub torn: Vec<Suspect>,
    /// Suspects too many to list, and so not judged.
    pub unjudged: u64,
}

/// Judges what was seen. `start` is the start LSN of an online backup; in an offline one every wrong page is damage.
pub fn judge(seen: Seen, checksums: bool, start: Option<Lsn>) -> Judged {
    if !checksums {
        return Judged { pages: seen.pages, ..Judged::default() };
    }
    let during = |suspect: &Suspect| start.is_some_and(|start| suspect.lsn >= start);
    // A file that ends within a page grew while it was read.
    let growing = |suspect: &Suspect| start.is_some() && matches!(suspect.fault, Fault::Partial { .. });
    let (torn, damaged): (Vec<_>, Vec<_>) =
        seen.suspects.into_iter().partition(|suspect| during(suspect) || growing(suspect));
    Judged { checksums, pages: seen.pages, damaged, replayed: torn.len() as u64, torn, unjudged: seen.unlisted }
}

#[cfg(test)]
mod tests;
