//! A folder of one test, which the servers' user owns and can reach, whoever runs the tests.
//!
//! In: nothing. Out: paths below a short name in the system's temporary folder (socket names must be short).
//! Never: stays behind, unless `WALR_KEEP=1` says so.

use super::{succeed, tools};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A folder of one test.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
}

impl Scratch {
    /// A new, empty folder.
    pub fn new() -> Scratch {
        let system = std::env::temp_dir();
        let place = if tools::reachable(&system.join(".")) { system } else { PathBuf::from("/tmp") };
        let mut folder = tempfile::Builder::new().prefix("walr-").tempdir_in(place).expect("a temporary folder");
        if std::env::var_os("WALR_KEEP").is_some() {
            folder.disable_cleanup(true);
            eprintln!("kept: {}", folder.path().display());
        }
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("its mode");
        give(folder.path());
        Scratch { folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path below it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new folder below it, the servers' user's own.
    pub fn dir(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(&path).expect("a new folder");
        give(&path);
        path
    }

    /// The same program or tree where the servers' user can reach it: itself, or linked or copied into this folder.
    pub fn reachable(&self, path: &Path) -> PathBuf {
        if server_user().is_none() || tools::reachable(path) {
            return path.to_path_buf();
        }
        let name = path.file_name().expect("a named file or folder");
        let near = self.join("programs");
        std::fs::create_dir_all(&near).expect("a new folder");
        let copy = near.join(name);
        if !copy.exists() {
            let linked = Command::new("cp").arg("-al").arg(path).arg(&copy).stderr(Stdio::null()).status();
            if !linked.is_ok_and(|status| status.success()) {
                let _ = std::fs::remove_dir_all(&copy);
                succeed(Command::new("cp").arg("-a").arg(path).arg(&copy));
            }
        }
        copy
    }

    /// The program under test, where the servers' user can reach it.
    pub fn wal_r(&self) -> PathBuf {
        self.reachable(Path::new(env!("CARGO_BIN_EXE_wal-r")))
    }

    /// A program of ours as the servers' user, with an empty environment but for a PATH, and no input.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("TZ", "UTC").env("LC_ALL", "C");
        command.stdin(Stdio::null()).current_dir(self.path());
        as_server_user(&mut command);
        command
    }

    /// Write an executable script that the servers' user may run.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, text).expect("a script");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("its mode");
        give(&path);
        path
    }

    /// Copy a tree into this folder, as the servers' user's own.
    pub fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.join(name);
        succeed(Command::new("cp").arg("-rL").arg(from).arg(&to));
        succeed(Command::new("chmod").args(["-R", "u+rwX"]).arg(&to));
        give_tree(&to);
        to
    }
}

/// The user that servers run as: none when we are not root and they run as we do.
pub fn server_user() -> Option<(u32, u32)> {
    if rustix::process::geteuid().is_root() { tools::server_user() } else { None }
}

/// Let a command run as the servers' user.
pub fn as_server_user(command: &mut Command) {
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
}

/// Make the servers' user the owner.
pub fn give(path: &Path) {
    if let Some((uid, gid)) = server_user() {
        chown(path, Some(uid), Some(gid)).expect("root may give files away");
    }
}

/// Make the servers' user the owner of a whole tree.
pub fn give_tree(path: &Path) {
    if let Some((uid, gid)) = server_user() {
        succeed(Command::new("chown").arg("-R").arg(format!("{uid}:{gid}")).arg(path));
    }
}
