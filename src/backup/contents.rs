//! What the members of a partition are, judged one after the other: alike for whoever writes them to a directory and for
//! whoever only looks.
//!
//! In: a partition's plain bytes, a [`Sink`]. Out: [`Contents`]: what must be known when all partitions are through (sums,
//! hard links, the files that are held back, pages). Never: touches a file system; hands a sink a name that leads out of
//! the data directory, through a link, or to a device; goes on after a member that lies unless the sink says so.

use super::members::{Kind, Member, Members, TarError};
use super::pages::{self, PageCheck, Seen};
use crate::error::{Answer, Code, Error};
use crate::pg::SegmentName;
use crate::pipeline;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::sync::{Mutex, PoisonError};

/// Files of these paths are handed up whole instead of to the sink.
pub const HELD_BACK: [&str; 3] = ["global/pg_control", "backup_label", "tablespace_map"];
/// Largest file that is held back. pg_control has 8 KiB, a label some hundred bytes.
const MAX_HELD_BACK: u64 = 1 << 20;
/// Names that are listed of a kind of remark; more only count.
const MOST_NAMES: usize = 100;
/// WAL segments within a partition whose names are kept; honest ones hold a few.
const MOST_SEGMENTS: usize = 10_000;
/// Landmarks that are kept; honest backups have a few dozen.
const MOST_LANDMARKS: usize = 100_000;
/// Databases below this number were made by initdb.
const FIRST_USER_OID: u32 = 16_384;

/// Where members go.
pub trait Sink {
    /// Links that were not made, of all partitions of one backup.
    fn links(&self) -> &Links;
    /// Was it asked to leave this member out?
    fn leaves_out(&self, path: &MemberPath) -> bool;
    /// May a member have this name?
    fn admit(&self, path: &MemberPath) -> Answer<()>;
    /// Is this the name of a directory that lies elsewhere, such as a tablespace?
    fn is_elsewhere(&self, path: &MemberPath) -> bool;
    /// Names that hard links may neither have nor mean.
    fn is_reserved(&self, path: &MemberPath) -> bool;
    /// A directory with these permission bits; the data directory itself does not come.
    fn directory(&mut self, path: &MemberPath, mode: u32) -> Answer<()>;
    /// A file begins. `true`: its name was there already.
    fn begin(&mut self, path: &MemberPath) -> Answer<bool>;
    /// Its next bytes. Also asked to stop here, by an error.
    fn data(&mut self, path: &MemberPath, bytes: &[u8]) -> Answer<()>;
    /// It ends.
    fn end(&mut self, path: &MemberPath, member: &Member) -> Answer<()>;
    /// A symbolic link that stays in the data directory.
    fn symlink(&mut self, path: &MemberPath, to: &[u8]) -> Answer<()>;
    /// Look at page checksums?
    fn wants_pages(&self) -> bool;
    /// So many bytes of files that are held back went by.
    fn passed(&self, bytes: u64);
    /// A member was refused. `Ok`: go on with the next one.
    fn refused(&mut self, error: Error) -> Answer<()> {
        Err(error)
    }
}

/// Names of links that were not made: nothing may come below them.
#[derive(Debug, Default)]
pub struct Links(Mutex<BTreeSet<Vec<u8>>>);

impl Links {
    fn add(&self, path: &MemberPath) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.as_bytes().to_vec());
    }

    /// Nothing may pass through the name of a link, made or not.
    fn none_above(&self, path: &MemberPath) -> Answer<()> {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let through = |link: &&Vec<u8>| path.as_bytes() != link.as_slice() && below(path.as_bytes(), link);
        match links.iter().find(through) {
            Some(link) => {
                let what = format!("its path leads through the link `{}`", link.escape_ascii());
                Err(refused(&path.to_string(), &what))
            }
            None => Ok(()),
        }
    }
}

/// What must be known of a partition when all are through. Also a line of the journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// Members, extension headers not counted.
    pub members: u64,
    /// Regular files.
    pub files: u64,
    /// Their bytes, held-back ones included: what the sentinel's size counts.
    pub file_bytes: u64,
    /// Hard links still to be made: name, and the member it is another name of.
    pub hard_links: Vec<(String, String)>,
    /// The held-back files that were found, by path. Content in hex.
    pub held_back: BTreeMap<String, Vec<Hex>>,
    /// Files without which it is no cluster, as far as they were met: [`landmark`].
    pub landmarks: BTreeSet<String>,
    /// WAL segments in its WAL directory. At most ten thousand.
    pub segments: BTreeSet<String>,
    /// Content of `PG_VERSION` of the data directory.
    pub pg_version: Option<String>,
    /// Mode of the data directory itself, where the archive has it.
    pub root_mode: Option<u32>,
    /// Members whose name was there already: the last one stands.
    pub duplicates: Names,
    /// Links that lead out of the data directory, not made: `name -> target`.
    pub links_left_out: Names,
    /// Left out because they are of no use in a restored directory, or on request.
    pub left_out: Names,
    /// Directories that had a set-id or sticky bit, which was dropped.
    pub bits_dropped: Names,
    /// Pages.
    pub pages: Seen,
}

/// Bytes that are written as hex in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes = text.as_bytes().chunks(2).map(pair).collect::<Option<Vec<u8>>>();
        bytes.filter(|_| text.len() % 2 == 0).map(Hex).ok_or_else(|| serde::de::Error::custom("not hex"))
    }
}

/// Some names, and how many there were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// How many.
    pub count: u64,
    /// The first hundred of them.
    pub names: Vec<String>,
}

impl Names {
    /// One more.
    pub fn add(&mut self, name: impl Into<String>) {
        self.count += 1;
        if self.names.len() < MOST_NAMES {
            self.names.push(name.into());
        }
    }

    /// Both together.
    pub fn merge(&mut self, other: Names) {
        let kept = other.names.len() as u64;
        for name in other.names {
            self.add(name);
        }
        self.count += other.count.saturating_sub(kept);
    }
}

impl Contents {
    /// What its name tells.
    fn note(&mut self, path: &MemberPath) {
        if self.landmarks.len() < MOST_LANDMARKS {
            self.landmarks.extend(landmark(path));
        }
        let Some((b"pg_wal" | b"pg_xlog", name)) = path.split() else { return };
        let name: Option<SegmentName> = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        if let Some(name) = name.filter(|_| self.segments.len() < MOST_SEGMENTS) {
            self.segments.insert(name.to_string());
        }
    }

    /// Both together.
    pub fn merge(&mut self, other: Contents) {
        self.members += other.members;
        self.files += other.files;
        self.file_bytes += other.file_bytes;
        self.hard_links.extend(other.hard_links);
        for (path, found) in other.held_back {
            self.held_back.entry(path).or_default().extend(found);
        }
        self.landmarks.extend(other.landmarks);
        self.segments.extend(other.segments);
        self.pg_version = self.pg_version.take().or(other.pg_version);
        self.root_mode = self.root_mode.or(other.root_mode);
        self.duplicates.merge(other.duplicates);
        self.links_left_out.merge(other.links_left_out);
        self.left_out.merge(other.left_out);
        self.bits_dropped.merge(other.bits_dropped);
        self.pages.merge(other.pages);
    }
}

/// A member's path: relative, no empty, `.` or `..` parts. The data directory itself is the empty one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberPath(Vec<u8>);

impl MemberPath {
    /// Normalises a name as written. The data directory itself is `/` in WAL-E's archives. The error is one clause.
    pub fn parse(raw: &[u8]) -> Result<MemberPath, &'static str> {
        if raw.contains(&0) {
            return Err("its name has a zero byte");
        }
        if raw.starts_with(b"/") && raw.iter().any(|byte| *byte != b'/') {
            return Err("its name is absolute");
        }
        let mut path: Vec<u8> = Vec::with_capacity(raw.len());
        for part in raw.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err("its name has a part `..`"),
                part if part.len() > 255 => return Err("a part of its name is longer than 255 bytes"),
                part => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(part);
                }
            }
        }
        // Paths are walked part by part, so PATH_MAX is no limit of ours; the server's own would be.
        if path.len() > 4096 { Err("its name is longer than 4096 bytes") } else { Ok(MemberPath(path)) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory it is in, and its name there. `None` for the data directory itself.
    pub fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (self.0.get(..slash)?, self.0.get(slash + 1..)?),
            None => (&[], &self.0),
        })
    }

    /// Its parts, from the outside in.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }
}

impl std::fmt::Display for MemberPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&String::from_utf8_lossy(&self.0))
    }
}

/// Is `path` the same as `at`, or below it?
pub fn below(path: &[u8], at: &[u8]) -> bool {
    path.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Reads one partition to its end, on a thread that may block, and proves that it is the end. `rooted`: names begin with
/// a slash, as WAL-G writes them.
pub fn read(input: impl BufRead, rooted: bool, sink: &mut impl Sink) -> Answer<Contents> {
    let mut work = Work { members: Members::new(input), rooted, sink, found: Contents::default(), pages: None };
    loop {
        match work.members.next_member() {
            Ok(Some(member)) => match work.member(&member) {
                Err(error) if error.code() == Code::DamagedMember => work.sink.refused(error)?,
                other => other?,
            },
            Ok(None) => return Ok(work.found),
            Err(error) => return Err(tar_error(error)),
        }
    }
}

struct Work<'a, R, S> {
    members: Members<R>,
    rooted: bool,
    sink: &'a mut S,
    found: Contents,
    pages: Option<PageCheck>,
}

impl<R: BufRead, S: Sink> Work<'_, R, S> {
    fn member(&mut self, member: &Member) -> Answer<()> {
        self.found.members += 1;
        if member.kind == Kind::File {
            self.found.files += 1;
            // Also of what is left out: its bytes are in the sentinel's sum all the same.
            self.found.file_bytes += member.size;
        }
        let raw = || member.path.escape_ascii().to_string();
        let name = match member.path.strip_prefix(b"/") {
            Some(rest) if self.rooted => rest,
            _ => &member.path,
        };
        let path = MemberPath::parse(name).map_err(|why| refused(&raw(), why))?;
        if matches!(member.kind, Kind::File | Kind::HardLink(_)) {
            self.found.note(&path);
        }
        if is_of_no_use(&path) || self.sink.leaves_out(&path) {
            self.found.left_out.add(path.to_string());
            return Ok(());
        }
        self.sink.admit(&path)?;
        self.sink.links().none_above(&path)?;
        let held_back = is_held_back(&path);
        if held_back && member.kind != Kind::File {
            return Err(refused(&path.to_string(), "it must be a regular file"));
        }
        match &member.kind {
            Kind::File => self.file(member, &path, held_back),
            Kind::Directory => self.directory(member, &path),
            Kind::SymLink(to) => self.symlink(&path, to),
            Kind::HardLink(to) => self.hard_link(&path, to),
            Kind::Other(b'3' | b'4') => Err(refused(&path.to_string(), "it is a device")),
            Kind::Other(b'6') => Err(refused(&path.to_string(), "it is a fifo")),
            Kind::Other(b'S') => Err(refused(&path.to_string(), "it is a sparse file, which WAL-E never wrote")),
            Kind::Other(flag) => {
                Err(refused(&path.to_string(), &format!("it is of the unknown type `{}`", flag.escape_ascii())))
            }
        }
    }

    fn directory(&mut self, member: &Member, path: &MemberPath) -> Answer<()> {
        if member.mode & 0o7000 != 0 {
            self.found.bits_dropped.add(path.to_string());
        }
        // As the cluster had it: private, or readable by its group (from 11 on); never more.
        let mode = 0o700 | (member.mode & 0o050);
        if path.as_bytes().is_empty() {
            self.found.root_mode = Some(mode);
            return Ok(());
        }
        self.sink.directory(path, mode)
    }

    fn file(&mut self, member: &Member, path: &MemberPath, held_back: bool) -> Answer<()> {
        if member.mode & 0o7000 != 0 {
            return Err(refused(&path.to_string(), "it is a file with a set-id or sticky bit"));
        }
        if held_back {
            let content = self.content(member, path)?;
            self.found.held_back.entry(path.to_string()).or_default().push(Hex(content));
            return Ok(());
        }
        if path.as_bytes().is_empty() {
            return Err(refused("/", "the data directory itself is a file"));
        }
        if self.sink.begin(path)? {
            self.found.duplicates.add(path.to_string());
        }
        let segment = if self.sink.wants_pages() { pages::relation_segment(path.as_bytes()) } else { None };
        if let Some(segment) = segment {
            match &mut self.pages {
                Some(check) => check.restart(path.as_bytes(), segment),
                None => self.pages = Some(PageCheck::new(path.as_bytes(), segment)),
            }
        }
        let mut head = Vec::new();
        let is_version = path.as_bytes() == b"PG_VERSION";
        loop {
            let data = self.members.data().map_err(tar_error)?;
            if data.is_empty() {
                break;
            }
            let count = data.len();
            if let (Some(_), Some(check)) = (segment, &mut self.pages) {
                check.push(data, &mut self.found.pages);
            }
            if is_version && head.len() < 64 {
                head.extend(data.iter().take(64));
            }
            self.sink.data(path, data)?;
            self.members.consume(count);
        }
        if let (Some(_), Some(check)) = (segment, &mut self.pages) {
            check.finish(&mut self.found.pages);
        }
        if is_version {
            self.found.pg_version = Some(String::from_utf8_lossy(&head).into_owned());
        }
        self.sink.end(path, member)
    }

    /// The whole of a small file.
    fn content(&mut self, member: &Member, path: &MemberPath) -> Answer<Vec<u8>> {
        if member.size > MAX_HELD_BACK {
            return Err(refused(&path.to_string(), &format!("it has {} bytes, far too many", member.size)));
        }
        let mut content = Vec::new();
        loop {
            let data = self.members.data().map_err(tar_error)?;
            if data.is_empty() {
                break;
            }
            let count = data.len();
            content.extend_from_slice(data);
            self.members.consume(count);
        }
        self.sink.passed(member.size);
        Ok(content)
    }

    fn symlink(&mut self, path: &MemberPath, to: &[u8]) -> Answer<()> {
        if path.as_bytes().is_empty() {
            return Err(refused("/", "the data directory itself is a link"));
        }
        // Where the source kept its WAL or logs is no place of this machine; a directory is made at the end.
        let moved = matches!(path.as_bytes(), b"pg_wal" | b"pg_xlog" | b"pg_log" | b"log" | b"pg_replslot");
        let elsewhere = self.sink.is_elsewhere(path);
        if moved || elsewhere || !stays_inside(path, to) {
            self.found.links_left_out.add(format!("{path} -> {}", String::from_utf8_lossy(to)));
            if !moved && !elsewhere {
                self.sink.links().add(path);
            }
            return Ok(());
        }
        self.sink.symlink(path, to)
    }

    fn hard_link(&mut self, path: &MemberPath, to: &[u8]) -> Answer<()> {
        let why = |why: &str| format!("the member it is another name of cannot be: {why}");
        let to = match to.strip_prefix(b"/") {
            Some(rest) if self.rooted => rest,
            _ => to,
        };
        let to = MemberPath::parse(to).map_err(|clause| refused(&path.to_string(), &why(clause)))?;
        let kept = |path: &MemberPath| path.as_bytes().is_empty() || is_held_back(path) || self.sink.is_reserved(path);
        if kept(path) || kept(&to) {
            return Err(refused(&path.to_string(), "a hard link to or from a file that the restore itself handles"));
        }
        if std::str::from_utf8(path.as_bytes()).is_err() || std::str::from_utf8(to.as_bytes()).is_err() {
            return Err(refused(&path.to_string(), "a hard link whose name is not UTF-8"));
        }
        self.found.hard_links.push((path.to_string(), to.to_string()));
        Ok(())
    }
}

/// Of no use in a restored directory.
pub fn is_of_no_use(path: &MemberPath) -> bool {
    let tool = path.parts().any(|part| part == b".wal-e" || part == b"lost+found");
    tool || matches!(path.as_bytes(), b"postmaster.pid" | b"postmaster.opts")
}

fn is_held_back(path: &MemberPath) -> bool {
    HELD_BACK.iter().any(|name| name.as_bytes() == path.as_bytes())
}

/// What a file tells about the whole, by its path: itself, or its directory with a slash at the end. Only what initdb
/// makes and nothing takes away (databases of its own numbers, the first mapping of catalogs to files, the commit log), and
/// which tablespaces have files.
pub fn landmark(path: &MemberPath) -> Option<String> {
    let path = std::str::from_utf8(path.as_bytes()).ok()?;
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["global", "pg_filenode.map"] => Some(path.to_owned()),
        [log @ ("pg_xact" | "pg_clog"), _] => Some(format!("{log}/")),
        ["pg_tblspc", oid, _, ..] => Some(format!("pg_tblspc/{oid}/")),
        ["base", database, name] => {
            let number: u32 = database.parse().ok()?;
            let kept = matches!(*name, "PG_VERSION" | "pg_filenode.map");
            let own = number < FIRST_USER_OID && number.to_string() == *database;
            own.then(|| if kept { path.to_owned() } else { format!("base/{number}/") })
        }
        _ => None,
    }
}

/// Does a link with this target, made at this path, stay in the data directory? `..` only at its beginning: behind a
/// part that is itself a link it would mean another directory than it says.
fn stays_inside(path: &MemberPath, to: &[u8]) -> bool {
    if to.is_empty() || to.starts_with(b"/") || to.contains(&0) {
        return false;
    }
    let depth = path.parts().count().saturating_sub(1);
    let mut up = 0;
    let mut named = false;
    for part in to.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if named => return false,
            b".." => up += 1,
            _ => named = true,
        }
    }
    up <= depth && named
}

/// A member that no data directory of an honest archive holds.
pub fn refused(member: &str, why: &str) -> Error {
    let hint = format!(
        "Nothing was written for it. Find out who could write to the archive before you trust anything in it; to \
         restore without this member: --resume --leave-out '{member}'."
    );
    Error::new(Code::DamagedMember, format!("the member is refused: {why}")).on(member).hint(hint)
}

/// The tar is not whole, or what is below it failed: then that is the error.
fn tar_error(error: TarError) -> Error {
    match error {
        TarError::Read(error) => match pipeline::decode::into_error(error) {
            Ok(error) => error,
            Err(error) => Error::new(Code::LocalIo, "cannot read the partition").because(error),
        },
        damaged => Error::new(Code::DamagedBackup, "the partition is no whole tar archive").because(damaged),
    }
}

#[cfg(test)]
mod tests;
