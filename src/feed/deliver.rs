//! A file appears under its name only when it is whole.
//!
//! In: a destination, bytes in order. Out: the file, by one rename. Never: writes under the destination's own name,
//! leaves anything behind an error, or lets two writers share a file.
//!
//! The bytes go to `.NAME.wal-r-N` beside the destination (PostgreSQL, pg_archivecleanup and pg_rewind pass over such
//! names), N counted from 0, each held by an flock. A writer that was killed has lost its lock, so the next call takes
//! its file over: what a crash leaves is reclaimed, and there are never more such files than writers at one time.

use super::folder_of;
use crate::error::{Answer, Code, Error};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Writers of one destination at one time; PostgreSQL has one, people have tested 50.
const SLOTS: u32 = 256;
/// Slots looked at for what killed writers left behind.
const SWEPT: u32 = 32;

/// A file on its way to its name. Dropped without [`Landing::publish`], it is gone.
#[derive(Debug)]
pub struct Landing {
    file: File,
    temporary: PathBuf,
    destination: PathBuf,
    published: bool,
}

impl Landing {
    /// Prepare to write beside `destination`, whose directory must exist.
    pub fn open(destination: &Path) -> Answer<Landing> {
        let error = |what: &str| Error::new(Code::LocalIo, what).on(destination.display());
        let name = destination.file_name().ok_or_else(|| error("is no file name"))?;
        // `/dev/stdout`, a fifo, a directory: a rename would replace the thing itself.
        if let Ok(known) = std::fs::metadata(destination) {
            let kind = known.file_type();
            if kind.is_dir() {
                return Err(error("is a directory; give the file's full path"));
            }
            if kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket() {
                return Err(error("is no regular file, and the destination is replaced as a whole"));
            }
        }
        let parent = folder_of(destination);
        // As readable for the group as the directory is: data directories are 0700 or 0750.
        let group = std::fs::metadata(parent).map_or(0, |parent| parent.permissions().mode() & 0o040);
        let slot = |number| slot(parent, name, number);
        for number in 0..SLOTS {
            let temporary = slot(number);
            if let Some(file) = take(&temporary, Mode::from_raw_mode(0o600 | group), true).map_err(|cause| {
                space(&cause, parent, None, 0)
                    .unwrap_or_else(|| error("cannot create a file beside it"))
                    .because(io::Error::from(cause))
            })? {
                let destination = destination.to_owned();
                let landing = Landing { file, temporary, destination, published: false };
                landing.file.set_len(0).map_err(|cause| error("cannot empty the temporary file").because(cause))?;
                sweep(Some(number), &slot);
                return Ok(landing);
            }
        }
        Err(error("too many fetches of this one file at the same time"))
    }

    /// A second handle on the file, for a thread that writes.
    pub fn writer(&self) -> Answer<Writer> {
        let file = self.file.try_clone().map_err(|cause| {
            Error::new(Code::LocalIo, "cannot open it twice").on(self.destination.display()).because(cause)
        })?;
        Ok(Writer { file, destination: self.destination.clone() })
    }

    /// Copy a whole file of this size into it; the kernel does, where it can.
    pub fn fill_from(&self, source: &mut File, size: u64) -> Answer<()> {
        let copied = io::copy(source, &mut &self.file).map_err(|cause| {
            let written = self.file.metadata().map_or(0, |file| file.blocks().saturating_mul(512));
            write_failed(&cause, &self.destination, Some(size), written)
        })?;
        if copied != size {
            let what = format!("only {copied} of {size} bytes could be copied");
            return Err(Error::new(Code::LocalIo, what).on(self.destination.display()));
        }
        Ok(())
    }

    /// Begin again with an empty file: what came was no good.
    pub fn restart(&mut self) -> Answer<()> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(|cause| {
            Error::new(Code::LocalIo, "cannot empty the temporary file").on(self.destination.display()).because(cause)
        })
    }

    /// Give it its name. `sync`: it must also survive a power cut. Not for what PostgreSQL throws away after one.
    pub fn publish(self, sync: bool) -> Answer<()> {
        self.publish_if(sync, || Ok(()))
    }

    /// The same, if it still may: `may` is asked right before the rename, and what it gives is held until that is done.
    pub fn publish_if<T>(mut self, sync: bool, may: impl FnOnce() -> Answer<T>) -> Answer<()> {
        let error = |what: &str| Error::new(Code::LocalIo, what).on(self.destination.display());
        let kept = match sync {
            true => self.file.sync_all(),
            false if says_too_late(&self.file) => self.file.sync_data(),
            false => Ok(()),
        };
        kept.map_err(|cause| write_failed(&cause, &self.destination, None, 0))?;
        let _held = may()?;
        std::fs::rename(&self.temporary, &self.destination)
            .map_err(|cause| error("cannot give the finished file its name").because(cause))?;
        self.published = true;
        if sync {
            let synced = File::open(folder_of(&self.destination)).and_then(|parent| parent.sync_all());
            synced.map_err(|cause| {
                // Nothing is left behind an error.
                let _ = std::fs::remove_file(&self.destination);
                error("its directory cannot be synced").because(cause)
            })?;
        }
        Ok(())
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.published {
            // Still locked by us, so it is still ours.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Where the bytes go.
#[derive(Debug)]
pub struct Writer {
    file: File,
    destination: PathBuf,
}

impl Writer {
    /// Append. `size` is what the file will need in the end, for the message when there is no room.
    pub fn write(&mut self, bytes: &[u8], size: Option<u64>) -> Answer<()> {
        self.file.write_all(bytes).map_err(|cause| {
            // What was written goes away with the temporary file, so it counts as free.
            let written = self.file.metadata().map_or(0, |file| file.blocks().saturating_mul(512));
            write_failed(&cause, &self.destination, size, written)
        })
    }
}

/// Remove what killed writers left beside a destination; what somebody is still writing stays.
pub fn sweep_beside(destination: &Path) {
    if let Some(name) = destination.file_name() {
        sweep(None, &|number| slot(folder_of(destination), name, number));
    }
}

fn slot(parent: &Path, name: &OsStr, number: u32) -> PathBuf {
    let mut file = OsString::from(".");
    file.push(name);
    file.push(format!(".wal-r-{number}"));
    parent.join(file)
}

/// Open and lock one slot. `None`: somebody else has it. With `create` unset also when there is none.
pub(super) fn take(path: &Path, mode: Mode, create: bool) -> rustix::io::Result<Option<File>> {
    let mut flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    flags.set(OFlags::CREATE, create);
    // Again when the file was renamed or removed between opening and locking: then the lock is on another file.
    for _ in 0..100 {
        let file = match rustix::fs::open(path, flags, mode) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) if !create => return Ok(None),
            Err(error) => return Err(error),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error),
        }
        let same = |ours: &std::fs::Metadata, there: &std::fs::Metadata| {
            (ours.dev(), ours.ino()) == (there.dev(), there.ino())
        };
        if let (Ok(ours), Ok(there)) = (file.metadata(), std::fs::symlink_metadata(path))
            && same(&ours, &there)
        {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Remove what killed writers left in the other slots.
fn sweep(ours: Option<u32>, slot: &dyn Fn(u32) -> PathBuf) {
    for number in (0..SWEPT).filter(|number| Some(*number) != ours) {
        let path = slot(number);
        if let Ok(Some(_held)) = take(&path, Mode::empty(), false) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Is this file system none of those that say when they take bytes whether there is room for them? Over a network it may be
/// said only when the file is synced or closed, and what did not fit reads as zeros by then. (Closing such a file sends
/// everything as well, so that syncing costs nothing more.)
fn says_too_late(file: &File) -> bool {
    /// ext2 to ext4, XFS, Btrfs, tmpfs, ramfs, ZFS, F2FS, bcachefs, overlayfs. Source: Linux, `magic.h`; statfs(2).
    const AT_ONCE: [u32; 9] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0x0102_1994,
        0x8584_58F6,
        0x2FC1_2FC1,
        0xF2F5_2010,
        0xCA45_1A4E,
        0x794C_7630,
    ];
    // The field's type differs between machines; all of these have 32 bits.
    rustix::fs::fstatfs(file).map_or(true, |of| !AT_ONCE.contains(&(of.f_type as u32)))
}

fn write_failed(cause: &io::Error, destination: &Path, size: Option<u64>, written: u64) -> Error {
    let errno = rustix::io::Errno::from_io_error(cause);
    let error = errno
        .and_then(|errno| space(&errno, folder_of(destination), size, written))
        .unwrap_or_else(|| Error::new(Code::LocalIo, "cannot write it").on(destination.display()));
    error.because(io::Error::new(cause.kind(), cause.to_string()))
}

/// No room: needed and free, named.
fn space(errno: &rustix::io::Errno, directory: &Path, size: Option<u64>, written: u64) -> Option<Error> {
    if !matches!(*errno, rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) {
        return None;
    }
    let needed = size.map_or_else(|| "the file".to_owned(), |size| format!("the file's {size} bytes"));
    let free = rustix::fs::statvfs(directory).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    let free = free.map_or_else(String::new, |free| format!(": {} are free", free.saturating_add(written)));
    let quota = if *errno == rustix::io::Errno::DQUOT { "within the quota " } else { "" };
    Some(Error::new(Code::LocalSpace, format!("no room {quota}for {needed}{free}")).on(directory.display()))
}

#[cfg(test)]
mod tests;
