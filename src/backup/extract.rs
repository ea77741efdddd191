//! Tar members to files below a target directory, and nothing outside it.
//!
//! In: a partition's plain bytes, a [`Target`]. Out: files, and the partition's [`Contents`]. Never: follows a link the
//! archive made, makes a device or fifo, keeps set-id bits, writes `global/pg_control`, `backup_label` or `tablespace_map`
//! (they are handed up: until the last step no server can start), or goes on after a member that lies. Which members
//! those are is [`super::contents`]'s to say.
//!
//! Every path is walked from its root directory, one component at a time, without following links, so a link that
//! appears in another partition meanwhile cannot lead out either. Only the directories the user named for tablespaces
//! and WAL lie elsewhere: [`Redirect`].

use super::contents::{self, Contents, Links, MemberPath, Sink, below, refused};
use super::members::Member;
use crate::error::{Answer, Code, Error};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    links: Links,
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
            links: Links::default(),
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

/// Extracts one partition, on a thread that may block. `input` is read to its end, and that end is proven. `advance` is
/// told the bytes of regular files as they are written.
pub fn extract(input: impl BufRead, target: &Target, advance: &dyn Fn(u64)) -> Answer<Contents> {
    let mut writing = Writing { walk: Walk { target, open: Vec::new() }, target, file: None, advance };
    contents::read(input, false, &mut writing)
}

/// Members to files.
struct Writing<'a> {
    walk: Walk<'a>,
    target: &'a Target,
    file: Option<OwnedFd>,
    advance: &'a dyn Fn(u64),
}

impl Writing<'_> {
    fn failed(&self, path: &MemberPath, doing: &str, error: Errno) -> Error {
        self.target.failed(&path.to_string(), doing, error.into())
    }

    fn open(&self, path: &MemberPath) -> Answer<&OwnedFd> {
        self.file.as_ref().ok_or_else(|| Error::new(Code::InternalBug, "data without a file").on(path))
    }
}

impl Sink for Writing<'_> {
    fn links(&self) -> &Links {
        &self.target.links
    }

    fn leaves_out(&self, path: &MemberPath) -> bool {
        self.target.left_out.iter().any(|one| below(path.as_bytes(), one))
    }

    fn admit(&self, path: &MemberPath) -> Answer<()> {
        if self.is_reserved(path) {
            return Err(refused(&path.to_string(), "its name is one that the restore itself uses"));
        }
        if let Some(oid) = undeclared_tablespace(self.target, path) {
            let what = format!("the backup holds tablespace {oid}, and it has no place to go");
            let hint = format!("Run again with --resume and `--tablespace {oid}=DIR`.");
            return Err(Error::new(Code::LocalTablespace, what).on(path).hint(hint));
        }
        Ok(())
    }

    fn is_elsewhere(&self, path: &MemberPath) -> bool {
        self.target.redirects.iter().any(|one| one.at.as_bytes() == path.as_bytes())
    }

    fn is_reserved(&self, path: &MemberPath) -> bool {
        self.target.reserved.iter().any(|name| below(path.as_bytes(), name.as_bytes()))
    }

    fn wants_pages(&self) -> bool {
        self.target.verify_pages
    }

    fn passed(&self, bytes: u64) {
        self.target.written.fetch_add(bytes, Ordering::Relaxed);
        (self.advance)(bytes);
    }

    fn directory(&mut self, path: &MemberPath, mode: u32) -> Answer<()> {
        let directory = self.walk.directory(path.as_bytes(), path)?;
        let done = own(directory, self.target.owner).and_then(|()| {
            let now = rustix::fs::fstat(directory)?.st_mode & 0o7777;
            if now == mode { Ok(()) } else { rustix::fs::fchmod(directory, Mode::from_raw_mode(mode)) }
        });
        done.map_err(|error| self.failed(path, "set the directory's mode", error))
    }

    fn begin(&mut self, path: &MemberPath) -> Answer<bool> {
        let (parent, name) = path.split().unwrap_or_default();
        let directory = self.walk.directory(parent, path)?;
        let (file, replaced) = create(directory, name).map_err(|error| match error {
            Errno::ISDIR => refused(&path.to_string(), "it is a file where another member is a directory"),
            error => self.target.failed(&path.to_string(), "create the file", error.into()),
        })?;
        self.file = Some(file);
        Ok(replaced && !self.target.resumed)
    }

    fn data(&mut self, path: &MemberPath, mut bytes: &[u8]) -> Answer<()> {
        if self.target.cancelled.load(Ordering::Relaxed) {
            return Err(Error::new(Code::InternalBug, "stopped, because another partition failed"));
        }
        let file = self.open(path)?;
        let count = bytes.len() as u64;
        while !bytes.is_empty() {
            match rustix::io::write(file, bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failed(path, "write the file", error)),
            }
        }
        self.passed(count);
        Ok(())
    }

    fn end(&mut self, path: &MemberPath, member: &Member) -> Answer<()> {
        let done = finish(self.open(path)?, member, self.target.owner);
        self.file = None;
        done.map_err(|error| self.failed(path, "set the file's mode and times", error))
    }

    fn symlink(&mut self, path: &MemberPath, to: &[u8]) -> Answer<()> {
        let (parent, name) = path.split().unwrap_or_default();
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
}

/// The number of a tablespace that a member belongs to and that nobody gave a place.
fn undeclared_tablespace(target: &Target, path: &MemberPath) -> Option<String> {
    let oid = path.as_bytes().strip_prefix(b"pg_tblspc/")?.split(|byte| *byte == b'/').next()?;
    let declared = target.redirects.iter().any(|one| one.at.as_bytes().strip_prefix(b"pg_tblspc/") == Some(oid));
    if declared { None } else { Some(String::from_utf8_lossy(oid).into_owned()) }
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

#[cfg(test)]
mod tests;
