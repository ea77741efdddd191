//! Tar members to files below a target directory, and nothing outside it.
//!
//! In: a partition's plain bytes, a [`Target`]. Out: files, and [`Extracted`]: what must be known when all partitions
//! are through (sums, hard links, the files that are held back). Never: follows a link the archive made, makes a device
//! or fifo, keeps set-id bits, writes `global/pg_control`, `backup_label` or `tablespace_map` (they are handed up: until
//! the last step no server can start), or goes on after a member that lies.
//!
//! Every path is walked from its root directory, one component at a time, without following links, so a link that
//! appears in another partition meanwhile cannot lead out either. Only the directories the user named for tablespaces
//! and WAL lie elsewhere: [`Redirect`].

use super::members::{Kind, Member, Members, TarError};
use super::pages::{self, PageCheck, Seen};
use crate::error::{Answer, Code, Error};
use crate::pipeline;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Files of these paths are handed up instead of written.
pub const HELD_BACK: [&str; 3] = ["global/pg_control", "backup_label", "tablespace_map"];
/// Largest file that is held back. pg_control has 8 KiB, a label some hundred bytes.
const MAX_HELD_BACK: u64 = 1 << 20;
/// Names that are listed of a kind of remark; more only count.
const MOST_NAMES: usize = 100;

/// A place below the target that lies in another directory.
#[derive(Debug)]
pub struct Redirect {
    /// Path in the data directory: `pg_tblspc/16400`, `pg_wal`.
    pub at: String,
    /// Where it really is.
    pub to: PathBuf,
    directory: OwnedFd,
}

impl Redirect {
    /// Members below `at` go below `to`, which exists.
    pub fn open(at: impl Into<String>, to: &Path) -> io::Result<Redirect> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Redirect { at: at.into(), to: to.to_owned(), directory: rustix::fs::open(to, flags, Mode::empty())? })
    }
}

/// Where files go, shared by all partitions of one restore.
#[derive(Debug)]
pub struct Target {
    path: PathBuf,
    directory: OwnedFd,
    redirects: Vec<Redirect>,
    /// User and group that get the files; `None` leaves them to whoever runs this.
    pub owner: Option<(u32, u32)>,
    /// Members that are left out, by their path; what is below one is left out with it.
    pub left_out: BTreeSet<Vec<u8>>,
    /// Names that no member may have: those of the restore itself.
    pub reserved: Vec<String>,
    /// Look at page checksums?
    pub verify_pages: bool,
    /// Bytes of regular files that the sentinel promises, for a message about a full disk.
    pub expected_bytes: Option<u64>,
    /// Replacing a file that is there already is no surprise: an interrupted run left it.
    pub resumed: bool,
    written: AtomicU64,
    cancelled: AtomicBool,
    /// Links that were not made: nothing may be written below their names.
    no_links: Mutex<BTreeSet<Vec<u8>>>,
}

impl Target {
    /// The data directory at `path`, which exists.
    pub fn open(path: &Path, redirects: Vec<Redirect>) -> io::Result<Target> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Target {
            path: path.to_owned(),
            directory,
            redirects,
            owner: None,
            left_out: BTreeSet::new(),
            reserved: Vec::new(),
            verify_pages: true,
            expected_bytes: None,
            resumed: false,
            written: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            no_links: Mutex::new(BTreeSet::new()),
        })
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where parts of it really are.
    pub fn redirects(&self) -> &[Redirect] {
        &self.redirects
    }

    /// The data directory and every redirect: what must be synced.
    pub fn directories(&self) -> impl Iterator<Item = (&Path, &OwnedFd)> {
        let redirects = self.redirects.iter().map(|one| (one.to.as_path(), &one.directory));
        std::iter::once((self.path.as_path(), &self.directory)).chain(redirects)
    }

    /// Stop every partition at its next piece of data: one of them has failed.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Bytes of regular files written so far.
    pub fn written_bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// So many bytes were written by an earlier run.
    pub fn count_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    fn display(&self, path: &MemberPath) -> String {
        self.path.join(path.to_string()).display().to_string()
    }

    /// The error for a system call on a path of the target.
    pub fn failed(&self, path: &str, doing: &str, error: io::Error) -> Error {
        let full = [Some(Errno::NOSPC.raw_os_error()), Some(Errno::DQUOT.raw_os_error())];
        if full.contains(&error.raw_os_error()) {
            return self.no_space(path, error);
        }
        Error::new(Code::LocalIo, format!("cannot {doing}")).on(self.path.join(path).display()).because(error)
    }

    fn no_space(&self, path: &str, error: io::Error) -> Error {
        let place = self.redirects.iter().rev().find(|one| below(path.as_bytes(), one.at.as_bytes()));
        let (at, directory) = place.map_or((&self.path, &self.directory), |one| (&one.to, &one.directory));
        let free = rustix::fs::fstatvfs(directory).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)).unwrap_or(0);
        let needed = match self.expected_bytes {
            Some(expected) => format!("up to {} bytes more are needed", expected.saturating_sub(self.written_bytes())),
            None => "how much more is needed is not known".to_owned(),
        };
        let what = format!("the file system is full: {needed}, {free} are free");
        let hint = "Make room there and run the same command with --resume: finished partitions are kept.";
        Error::new(Code::LocalSpace, what).on(at.display()).hint(hint).because(error)
    }
}

/// What must be known of a partition when all are through. Also a line of the journal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Extracted {
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

impl Extracted {
    /// Both together.
    pub fn merge(&mut self, other: Extracted) {
        self.members += other.members;
        self.files += other.files;
        self.file_bytes += other.file_bytes;
        self.hard_links.extend(other.hard_links);
        for (path, found) in other.held_back {
            self.held_back.entry(path).or_default().extend(found);
        }
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
    fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (self.0.get(..slash)?, self.0.get(slash + 1..)?),
            None => (&[], &self.0),
        })
    }

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|part| !part.is_empty())
    }
}

impl std::fmt::Display for MemberPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&String::from_utf8_lossy(&self.0))
    }
}

/// Is `path` the same as `at`, or below it?
fn below(path: &[u8], at: &[u8]) -> bool {
    path.strip_prefix(at).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Extracts one partition, on a thread that may block. `input` is read to its end, and that end is proven. `advance` is
/// told the bytes of regular files as they are written.
pub fn extract(input: impl BufRead, target: &Target, advance: &dyn Fn(u64)) -> Answer<Extracted> {
    let mut work = Work {
        members: Members::new(input),
        walk: Walk { target, open: Vec::new() },
        target,
        found: Extracted::default(),
        pages: None,
        advance,
    };
    loop {
        match work.members.next_member() {
            Ok(Some(member)) => work.member(&member)?,
            Ok(None) => return Ok(work.found),
            Err(error) => return Err(tar_error(error)),
        }
    }
}

struct Work<'a, R> {
    members: Members<R>,
    walk: Walk<'a>,
    target: &'a Target,
    found: Extracted,
    pages: Option<PageCheck>,
    advance: &'a dyn Fn(u64),
}

impl<R: BufRead> Work<'_, R> {
    fn member(&mut self, member: &Member) -> Answer<()> {
        self.found.members += 1;
        let raw = || member.path.escape_ascii().to_string();
        let path = MemberPath::parse(&member.path).map_err(|why| refused(&raw(), why))?;
        if self.leave_out(&path) {
            self.found.left_out.add(path.to_string());
            // Its bytes are in the sentinel's sum all the same.
            if member.kind == Kind::File {
                self.found.files += 1;
                self.found.file_bytes += member.size;
            }
            return Ok(());
        }
        if self.target.reserved.iter().any(|name| below(path.as_bytes(), name.as_bytes())) {
            return Err(refused(&path.to_string(), "its name is one that the restore itself uses"));
        }
        self.below_no_link(&path)?;
        let held_back = HELD_BACK.iter().any(|name| name.as_bytes() == path.as_bytes());
        if held_back && member.kind != Kind::File {
            return Err(refused(&path.to_string(), "it must be a regular file"));
        }
        if let Some(oid) = undeclared_tablespace(self.target, &path) {
            let what = format!("the backup holds tablespace {oid}, and it has no place to go");
            let hint = format!("Run again with --resume and `--tablespace {oid}=DIR`.");
            return Err(Error::new(Code::LocalTablespace, what).on(&path).hint(hint));
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

    /// Of no use in a restored directory, or unwanted.
    fn leave_out(&self, path: &MemberPath) -> bool {
        let tool = path.parts().any(|part| part == b".wal-e" || part == b"lost+found");
        let running = matches!(path.as_bytes(), b"postmaster.pid" | b"postmaster.opts");
        tool || running || self.target.left_out.iter().any(|one| below(path.as_bytes(), one))
    }

    /// Nothing may pass through the name of a link, made or not.
    fn below_no_link(&self, path: &MemberPath) -> Answer<()> {
        let links = self.target.no_links.lock().unwrap_or_else(PoisonError::into_inner);
        let through = |link: &&Vec<u8>| path.as_bytes() != link.as_slice() && below(path.as_bytes(), link);
        match links.iter().find(through) {
            Some(link) => {
                let what = format!("its path leads through the link `{}`", link.escape_ascii());
                Err(refused(&path.to_string(), &what))
            }
            None => Ok(()),
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
        let directory = self.walk.directory(path.as_bytes(), path)?;
        let done = own(directory, self.target.owner).and_then(|()| {
            let now = rustix::fs::fstat(directory)?.st_mode & 0o7777;
            if now == mode { Ok(()) } else { rustix::fs::fchmod(directory, Mode::from_raw_mode(mode)) }
        });
        done.map_err(|error| self.target.failed(&path.to_string(), "set the directory's mode", error.into()))
    }

    fn file(&mut self, member: &Member, path: &MemberPath, held_back: bool) -> Answer<()> {
        if member.mode & 0o7000 != 0 {
            return Err(refused(&path.to_string(), "it is a file with a set-id or sticky bit"));
        }
        self.found.files += 1;
        self.found.file_bytes += member.size;
        if held_back {
            let content = self.content(member, path)?;
            self.found.held_back.entry(path.to_string()).or_default().push(Hex(content));
            return Ok(());
        }
        let Some((parent, name)) = path.split() else {
            return Err(refused("/", "the data directory itself is a file"));
        };
        let failed = |doing: &str, error: Errno| self.target.failed(&path.to_string(), doing, error.into());
        let directory = self.walk.directory(parent, path)?;
        let (file, replaced) = create(directory, name).map_err(|error| match error {
            Errno::ISDIR => refused(&path.to_string(), "it is a file where another member is a directory"),
            error => failed("create the file", error),
        })?;
        if replaced && !self.target.resumed {
            self.found.duplicates.add(path.to_string());
        }
        let segment = if self.target.verify_pages { pages::relation_segment(path.as_bytes()) } else { None };
        if let Some(segment) = segment {
            match &mut self.pages {
                Some(check) => check.restart(path.as_bytes(), segment),
                None => self.pages = Some(PageCheck::new(path.as_bytes(), segment)),
            }
        }
        let mut head = Vec::new();
        let is_version = path.as_bytes() == b"PG_VERSION";
        loop {
            if self.target.cancelled.load(Ordering::Relaxed) {
                return Err(Error::new(Code::InternalBug, "stopped, because another partition failed"));
            }
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
            let mut rest = data;
            while !rest.is_empty() {
                match rustix::io::write(&file, rest) {
                    Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(failed("write the file", error)),
                }
            }
            self.members.consume(count);
            self.target.written.fetch_add(count as u64, Ordering::Relaxed);
            (self.advance)(count as u64);
        }
        if let (Some(_), Some(check)) = (segment, &mut self.pages) {
            check.finish(&mut self.found.pages);
        }
        if is_version {
            self.found.pg_version = Some(String::from_utf8_lossy(&head).into_owned());
        }
        finish(&file, member, self.target.owner).map_err(|error| failed("set the file's mode and times", error))
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
        self.target.written.fetch_add(member.size, Ordering::Relaxed);
        (self.advance)(member.size);
        Ok(content)
    }

    fn symlink(&mut self, path: &MemberPath, to: &[u8]) -> Answer<()> {
        let Some((parent, name)) = path.split() else {
            return Err(refused("/", "the data directory itself is a link"));
        };
        // Where the source kept its WAL or logs is no place of this machine; a directory is made at the end.
        let moved = matches!(path.as_bytes(), b"pg_wal" | b"pg_xlog" | b"pg_log" | b"log" | b"pg_replslot");
        let tablespace = self.target.redirects.iter().any(|one| one.at.as_bytes() == path.as_bytes());
        if moved || tablespace || !stays_inside(path, to) {
            self.found.links_left_out.add(format!("{path} -> {}", String::from_utf8_lossy(to)));
            if !moved && !tablespace {
                let mut links = self.target.no_links.lock().unwrap_or_else(PoisonError::into_inner);
                links.insert(path.as_bytes().to_vec());
            }
            return Ok(());
        }
        let directory = self.walk.directory(parent, path)?;
        let failed = |error: Errno| self.target.failed(&path.to_string(), "make the link", error.into());
        match kind_of(directory, name).map_err(failed)? {
            None => {}
            Some(FileType::Directory) => {
                return Err(refused(&path.to_string(), "it is a link where another member is a directory"));
            }
            Some(_) => rustix::fs::unlinkat(directory, name, AtFlags::empty()).map_err(failed)?,
        }
        rustix::fs::symlinkat(to, directory, name).map_err(failed)?;
        if let Some((user, group)) = self.target.owner {
            let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
            rustix::fs::chownat(directory, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        }
        Ok(())
    }

    fn hard_link(&mut self, path: &MemberPath, to: &[u8]) -> Answer<()> {
        let why = |why: &str| format!("the member it is another name of cannot be: {why}");
        let to = MemberPath::parse(to).map_err(|clause| refused(&path.to_string(), &why(clause)))?;
        let kept = |path: &MemberPath| {
            path.as_bytes().is_empty()
                || HELD_BACK.iter().any(|name| name.as_bytes() == path.as_bytes())
                || self.target.reserved.iter().any(|name| below(path.as_bytes(), name.as_bytes()))
        };
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

/// The number of a tablespace that a member belongs to and that nobody gave a place.
fn undeclared_tablespace(target: &Target, path: &MemberPath) -> Option<String> {
    let oid = path.as_bytes().strip_prefix(b"pg_tblspc/")?.split(|byte| *byte == b'/').next()?;
    let declared = target.redirects.iter().any(|one| one.at.as_bytes().strip_prefix(b"pg_tblspc/") == Some(oid));
    if declared { None } else { Some(String::from_utf8_lossy(oid).into_owned()) }
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

/// Makes the hard links, after all partitions: their targets may be in any of them, or be links themselves.
pub fn link_all(target: &Target, links: &[(String, String)]) -> Answer<()> {
    let mut left: Vec<&(String, String)> = links.iter().collect();
    while !left.is_empty() {
        let before = left.len();
        let mut still = Vec::new();
        for link in left {
            if !link_one(target, &link.0, &link.1)? {
                still.push(link);
            }
        }
        if still.len() == before {
            let (name, to) = still.first().expect("checked: not empty");
            let what = format!("it is another name of `{to}`, which no partition holds");
            return Err(Error::new(Code::DamagedBackup, what).on(name));
        }
        left = still;
    }
    Ok(())
}

/// `false`: the file is not there (yet).
fn link_one(target: &Target, name: &str, to: &str) -> Answer<bool> {
    let parse = |text: &str| MemberPath::parse(text.as_bytes()).map_err(|why| refused(text, why));
    let (path, from) = (parse(name)?, parse(to)?);
    let (Some((parent, last)), Some((from_parent, from_last))) = (path.split(), from.split()) else {
        return Err(refused(name, "a hard link of the data directory"));
    };
    let failed = |error: Errno| target.failed(name, "make the hard link", error.into());
    let mut source = Walk { target, open: Vec::new() };
    let source = source.directory(from_parent, &from)?;
    match kind_of(source, from_last).map_err(failed)? {
        None => return Ok(false),
        Some(FileType::RegularFile) => {}
        Some(_) => return Err(refused(name, "a hard link to something that is no regular file")),
    }
    let mut walk = Walk { target, open: Vec::new() };
    let directory = walk.directory(parent, &path)?;
    match kind_of(directory, last).map_err(failed)? {
        None => {}
        Some(FileType::Directory) => return Err(refused(name, "a hard link where another member is a directory")),
        Some(_) if path == from => return Ok(true),
        Some(_) => rustix::fs::unlinkat(directory, last, AtFlags::empty()).map_err(failed)?,
    }
    match rustix::fs::linkat(source, from_last, directory, last, AtFlags::empty()) {
        Ok(()) => Ok(true),
        // The two names went to different file systems: a copy is what PostgreSQL needs.
        Err(Errno::XDEV) => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let from = rustix::fs::openat(source, from_last, flags, Mode::empty()).map_err(failed)?;
            let (into, _) = create(directory, last).map_err(failed)?;
            let (mut from, mut into) = (std::fs::File::from(from), std::fs::File::from(into));
            io::copy(&mut from, &mut into).map_err(|error| target.failed(name, "copy the file", error))?;
            Ok(true)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The directories from a root down to where the last member went, kept open: members come directory by directory.
struct Walk<'a> {
    target: &'a Target,
    open: Vec<(Vec<u8>, OwnedFd)>,
}

impl Walk<'_> {
    /// The directory at this path; missing ones are made. `member` is who needs it, for messages.
    fn directory(&mut self, path: &[u8], member: &MemberPath) -> Answer<&OwnedFd> {
        let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
        let same = self.open.iter().zip(&parts).take_while(|((open, _), part)| open == *part).count();
        self.open.truncate(same);
        for (index, part) in parts.iter().enumerate().skip(same) {
            let at = parts.get(..=index).unwrap_or_default().join(&b'/');
            let next = match self.target.redirects.iter().find(|one| one.at.as_bytes() == at) {
                Some(redirect) => rustix::io::fcntl_dupfd_cloexec(&redirect.directory, 0),
                None => {
                    let here = self.open.last().map_or(&self.target.directory, |(_, open)| open);
                    enter(here, part)
                }
            };
            let next = next.map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => {
                    let what = format!("its path leads through `{}`, a link or a file", at.escape_ascii());
                    refused(&member.to_string(), &what)
                }
                error => self.target.failed(&String::from_utf8_lossy(&at), "make the directory", error.into()),
            })?;
            if let Some(owner) = self.target.owner {
                own(&next, Some(owner))
                    .map_err(|error| self.target.failed(&self.target.display(member), "give away", error.into()))?;
            }
            self.open.push((part.to_vec(), next));
        }
        Ok(self.open.last().map_or(&self.target.directory, |(_, open)| open))
    }
}

/// Opens a directory within another, without following a link; makes it if it is missing.
fn enter(here: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(here, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    match rustix::fs::mkdirat(here, name, Mode::from_raw_mode(0o700)) {
        // Another partition was faster.
        Ok(()) | Err(Errno::EXIST) => rustix::fs::openat(here, name, flags, Mode::empty()),
        Err(error) => Err(error),
    }
}

/// A new empty file; `true` when it replaces one. The old one is unlinked, not emptied: it may have other names.
fn create(directory: &OwnedFd, name: &[u8]) -> Result<(OwnedFd, bool), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    match rustix::fs::openat(directory, name, flags, mode) {
        Ok(file) => return Ok((file, false)),
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    match kind_of(directory, name)? {
        Some(FileType::Directory) => return Err(Errno::ISDIR),
        Some(_) => rustix::fs::unlinkat(directory, name, AtFlags::empty())?,
        None => {}
    }
    Ok((rustix::fs::openat(directory, name, flags, mode)?, true))
}

/// What has this name; `None` when nothing has. Does not follow links.
fn kind_of(directory: &OwnedFd, name: &[u8]) -> Result<Option<FileType>, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(about) => Ok(Some(FileType::from_raw_mode(about.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Owner, mode and times of a file that is written.
fn finish(file: &OwnedFd, member: &Member, owner: Option<(u32, u32)>) -> Result<(), Errno> {
    own(file, owner)?;
    // Files are made with 0600; a group that could read keeps that, nobody else ever gets anything.
    if member.mode & 0o040 != 0 {
        rustix::fs::fchmod(file, Mode::from_raw_mode(0o640))?;
    }
    let (seconds, nanos) = member.mtime;
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) as _ };
    match rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time }) {
        // A year that the file system cannot hold is no reason to fail.
        Err(Errno::INVAL | Errno::OVERFLOW) => Ok(()),
        other => other,
    }
}

fn own(file: impl AsFd, owner: Option<(u32, u32)>) -> Result<(), Errno> {
    let Some((user, group)) = owner else { return Ok(()) };
    rustix::fs::fchown(file, Some(rustix::fs::Uid::from_raw(user)), Some(rustix::fs::Gid::from_raw(group)))
}

/// A member that no data directory of an honest archive holds.
fn refused(member: &str, why: &str) -> Error {
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
