//! The spool: where the feeder is met, and where segments wait that were fetched ahead.
//!
//! In: the destination PostgreSQL names, a directory from the settings. Out: paths, the lock that makes one process its
//! owner, the identity of what lies there. Never: trusts a directory that others may write to; removes what is not its own.
//!
//! ```text
//! pg_wal/.wal-r/           the meeting place, always beside the destination
//!               lock       held (flock) by the feeder as long as it lives; it listens under the folder's identity
//!               NAME       whole, validated files, unless the settings name another directory:
//! WALG_PREFETCH_DIR/.wal-r/DIGEST/NAME      by the meeting place's path, as servers may share the directory
//! ```
//!
//! Only the owner writes here; a wal-fetch renames the one file it was told to take. So what is found after a crash needs
//! no marks: it belongs to nobody, and the next owner validates it like an object, or removes it.

use super::deliver::take;
use super::folder_of;
use crate::error::{Answer, Code, Error};
use crate::layout::WalFile;
use rustix::fs::Mode;
use sha2::{Digest, Sha256};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The name of every folder of ours.
pub const FOLDER: &str = ".wal-r";

/// Where a feeder is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meeting {
    directory: PathBuf,
}

impl Meeting {
    /// Beside the destination. `None` when it names no file.
    pub fn beside(destination: &Path) -> Option<Meeting> {
        destination.file_name()?;
        Some(Meeting { directory: folder_of(destination).join(FOLDER) })
    }

    /// In this WAL directory.
    pub fn in_wal_directory(directory: &Path) -> Meeting {
        Meeting { directory: directory.join(FOLDER) }
    }

    /// The folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Make the folder where there is none, and see that it is ours alone.
    pub fn prepare(&self) -> Answer<()> {
        own_folder(&self.directory)
    }

    /// Does the WAL directory belong to us? A feeder of root's would leave a folder there that the server's user cannot use.
    pub fn is_in_our_folder(&self) -> bool {
        fs::metadata(folder_of(&self.directory)).is_ok_and(|parent| parent.uid() == rustix::process::geteuid().as_raw())
    }

    /// Is it there, and ours alone?
    pub fn is_ours(&self) -> bool {
        fs::symlink_metadata(&self.directory).is_ok_and(|folder| strange(&folder).is_none())
    }

    /// Become the owner. `Ok(None)`: another process is.
    pub fn lock(&self) -> Answer<Option<File>> {
        take(&self.directory.join("lock"), Mode::from_raw_mode(0o600), true).map_err(|cause| {
            Error::new(Code::LocalIo, "the spool cannot be locked")
                .on(self.directory.display())
                .because(std::io::Error::from(cause))
        })
    }

    /// Listen there, for the owner.
    pub fn listen(&self) -> Answer<UnixListener> {
        self.address().and_then(|address| UnixListener::bind_addr(&address)).map_err(|cause| {
            Error::new(Code::LocalIo, "cannot listen for wal-fetch").on(self.directory.display()).because(cause)
        })
    }

    /// Talk to the owner, who must be of our user (or we are root). The error says that there is none.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect_addr(&self.address()?)?;
        let (us, owner) = (rustix::process::geteuid(), rustix::net::sockopt::socket_peercred(&stream)?.uid);
        // Anybody on the machine may listen under any name.
        if owner == us || us.is_root() { Ok(stream) } else { Err(ErrorKind::PermissionDenied.into()) }
    }

    /// The folder's identity as a socket's name. In Linux's abstract namespace: it ends with its process, and pg_rewind, which
    /// removes what it does not know and cannot remove a socket, finds only files.
    fn address(&self) -> io::Result<SocketAddr> {
        let folder = fs::symlink_metadata(&self.directory)?;
        SocketAddr::from_abstract_name(format!("wal-r-feeder/{:x}/{:x}/{}", folder.dev(), folder.ino(), folder.uid()))
    }

    /// Where entries wait: here, or below the directory of the settings, in a folder of this meeting place's own.
    pub fn entries(&self, elsewhere: Option<&Path>) -> Answer<PathBuf> {
        let Some(elsewhere) = elsewhere else { return Ok(self.directory.clone()) };
        let place = fs::canonicalize(&self.directory).map_err(|cause| {
            Error::new(Code::LocalIo, "the spool cannot be found").on(self.directory.display()).because(cause)
        })?;
        let digest = Sha256::digest(place.as_os_str().as_bytes());
        let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let base = elsewhere.join(FOLDER);
        // Servers of several users may share the directory: the base is everybody's like /tmp, the folder below is not.
        if let Err(cause) = fs::create_dir(&base)
            && cause.kind() != ErrorKind::AlreadyExists
        {
            return Err(Error::new(Code::LocalIo, "the spool cannot be made").on(base.display()).because(cause));
        }
        let folder = base.join(name);
        own_folder(&folder)?;
        Ok(folder)
    }
}

/// Make a folder that is ours alone, or see that it is.
fn own_folder(folder: &Path) -> Answer<()> {
    let error = |what: String| Error::new(Code::LocalIo, what).on(folder.display());
    // As readable for the group as what is around it: data directories are 0700 or 0750.
    let group = folder.parent().and_then(|parent| fs::metadata(parent).ok());
    let group = group.map_or(0, |parent| parent.permissions().mode() & 0o050);
    match fs::DirBuilder::new().mode(0o700 | group).create(folder) {
        Err(cause) if cause.kind() != ErrorKind::AlreadyExists => {
            return Err(error("the spool cannot be made".to_owned()).because(cause));
        }
        _ => {}
    }
    let found =
        fs::symlink_metadata(folder).map_err(|cause| error("the spool cannot be looked at".into()).because(cause))?;
    match strange(&found) {
        None => Ok(()),
        Some(why) => Err(error(format!("the spool is not used: {why}"))
            .hint("Remove it; segments are fetched one by one as long as it is there.")),
    }
}

/// Why a folder is not ours alone.
fn strange(folder: &Metadata) -> Option<String> {
    if !folder.is_dir() {
        return Some("it is no directory".to_owned());
    }
    let us = rustix::process::geteuid().as_raw();
    if folder.uid() != us {
        return Some(format!("it belongs to user {}, and we are {us}", folder.uid()));
    }
    (folder.permissions().mode() & 0o022 != 0).then(|| "others may write to it".to_owned())
}

/// Which file lies there: as long as nothing of this changes, it is the one that was validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file at this path, unless there is none.
    pub fn of(path: &Path) -> Option<Stamp> {
        let file = fs::symlink_metadata(path).ok().filter(Metadata::is_file)?;
        Some(Stamp {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

/// What lies in a folder of entries: WAL files, and temporary files of ours.
pub fn found(folder: &Path) -> (Vec<WalFile>, Vec<PathBuf>) {
    let (mut files, mut rest) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        match name.to_str() {
            Some(name) if entry.file_type().is_ok_and(|kind| kind.is_file()) => match name.parse() {
                Ok(file) => files.push(file),
                // Temporary names of ours.
                Err(_) if name.starts_with('.') && name.contains(".wal-r-") => rest.push(entry.path()),
                Err(_) => {}
            },
            _ => {}
        }
    }
    files.sort_by_key(ToString::to_string);
    (files, rest)
}

/// Remove everything of ours, the folders too where nothing else is in them. For the owner, who goes.
pub fn clear(meeting: &Meeting, entries: &Path) {
    let (files, rest) = found(entries);
    for path in files.iter().map(|file| entries.join(file.to_string())).chain(rest) {
        let _ = fs::remove_file(path);
    }
    if entries != meeting.directory() {
        let _ = fs::remove_dir(entries);
        let _ = entries.parent().map(fs::remove_dir);
    }
    let _ = fs::remove_file(meeting.directory().join("lock"));
    let _ = fs::remove_dir(meeting.directory());
}

#[cfg(test)]
mod tests;
