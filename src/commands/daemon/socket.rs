//! The daemon's own socket: bound, of its owner alone, and gone when the daemon goes.
//!
//! In: a path. Out: a listening socket there. Never: removes what is no socket, takes the place of a daemon that lives, or
//! removes a socket that is not its own.

use crate::error::{Answer, Code, Error};
use crate::feed::{folder_of, walg_client};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of the longest path that a socket's address holds, its end included: `sun_path` of Linux; elsewhere less.
const SUN_PATH: usize = if cfg!(target_os = "linux") { 108 } else { 104 };
/// How long a daemon that was there before is given to show that it lives.
const PATIENCE: Duration = Duration::from_secs(2);

/// A socket that listens.
#[derive(Debug)]
pub struct Bound {
    path: PathBuf,
    /// Device and inode: which file is ours.
    identity: (u64, u64),
}

/// Bind it. What a dead daemon left there is removed.
pub fn bind(path: &Path) -> Answer<(UnixListener, Bound)> {
    let failed = |what: &str, error: io::Error| Error::new(Code::LocalIo, what).on(path.display()).because(error);
    let length = path.as_os_str().as_bytes().len();
    if length >= SUN_PATH {
        let what = format!("its path has {length} bytes, and a socket's may have {} at most", SUN_PATH - 1);
        return Err(Error::new(Code::UsageArgument, what)
            .on(path.display())
            .hint("Choose a shorter one, such as /run/wal-r/socket."));
    }
    // Two daemons that start at once: one looks, removes and binds, then the other one.
    let _alone = lock_folder(path);
    make_way(path)?;
    let listener = UnixListener::bind(path).map_err(|error| failed("cannot listen there", error))?;
    let made = fs::symlink_metadata(path).map_err(|error| failed("is gone again", error))?;
    let bound = Bound { path: path.to_owned(), identity: (made.dev(), made.ino()) };
    // Who is quicker than this is told from its credentials.
    let only_ours = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
    only_ours.map_err(|error| failed("cannot be made its owner's alone", error))?;
    listener.set_nonblocking(true).map_err(|error| failed("cannot be listened on", error))?;
    Ok((listener, bound))
}

/// Remove the socket of a daemon that is dead; anything else that is there is somebody's.
fn make_way(path: &Path) -> Answer<()> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::new(Code::LocalIo, "cannot look there").on(path.display()).because(error)),
    };
    if !there.file_type().is_socket() {
        let what = "is there and is no socket: not removed";
        return Err(Error::new(Code::LocalIo, what).on(path.display()).hint("Give the path of a socket to be made."));
    }
    match walg_client::connect(path, PATIENCE) {
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {}
        Err(error) if error.kind() != io::ErrorKind::TimedOut => {
            let what = "is a socket, and it cannot be told whether anybody answers on it";
            return Err(Error::new(Code::LocalIo, what).on(path.display()).because(error));
        }
        Ok(_) | Err(_) => {
            let what = "another daemon answers on this socket";
            let hint = "Stop that one first, or give this one a socket of its own.";
            return Err(Error::new(Code::LocalIo, what).on(path.display()).hint(hint));
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::new(Code::LocalIo, "cannot remove a dead daemon's socket").on(path.display()).because(error))
        }
        _ => {
            tracing::info!("{}: removed the socket of a daemon that is no more", path.display());
            Ok(())
        }
    }
}

/// The socket's folder, locked. `None` where it cannot be: then two that start at the same instant are not told apart.
fn lock_folder(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder_of(path), flags, Mode::empty()).ok()?;
    rustix::fs::flock(&folder, FlockOperation::LockExclusive).ok()?;
    Some(folder)
}

impl Bound {
    /// Remove the socket, if it is still this one.
    pub fn remove(&self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("{}: cannot remove the socket: {error}", self.path.display());
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What binding fails with.
    fn refused(path: &Path) -> String {
        let error = bind(path).err().unwrap_or_else(|| panic!("{} was bound", path.display()));
        format!("[{}] {}", error.code(), error.chain())
    }

    #[test]
    fn a_dead_daemons_socket_gives_way_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (listener, bound) = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(refused(&path).contains("another daemon answers"));

        // Killed: the file stays.
        drop(listener);
        std::mem::forget(bound);
        assert!(path.exists());
        let (_listener, bound) = bind(&path).unwrap();
        // Somebody else's now.
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(bound);
        assert!(path.exists(), "another's socket was removed");

        for make in [
            |path: &Path| fs::write(path, "precious").unwrap(),
            |path: &Path| fs::create_dir(path).unwrap(),
            |path: &Path| std::os::unix::fs::symlink("elsewhere", path).unwrap(),
        ] {
            let path = folder.path().join("other");
            make(&path);
            assert!(refused(&path).contains("no socket"), "{}", refused(&path));
            assert!(fs::symlink_metadata(&path).is_ok());
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
    }

    #[test]
    fn it_goes_with_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(bind(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn paths_that_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(110));
        let told = refused(&long);
        assert!(told.starts_with("[usage.argument]") && told.contains("107 at most"), "{told}");
        assert!(refused(&folder.path().join("no/such/folder")).starts_with("[local.io]"));
    }

    #[test]
    fn of_many_that_start_at_once_one_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        let bound: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| bind(&path).ok())).collect();
            starts.into_iter().filter_map(|start| start.join().unwrap()).collect()
        });
        assert_eq!(bound.len(), 1);
        assert!(walg_client::connect(&path, PATIENCE).is_ok());
    }
}
