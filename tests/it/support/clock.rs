//! A clock that is moved while programs run: libfaketime in the place of the C library's, for single programs.
//!
//! In: the programs of faketime. Out: the environment that loads it, and a hand to move the clock. Never: moves this machine's clock;
//! touches the clock that runs one way, the times of files, or waits, which do not jump when a clock is set.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What is installed.
#[derive(Debug)]
pub struct Faketime {
    /// `faketime`.
    pub program: PathBuf,
    /// What it loads into programs.
    pub library: PathBuf,
}

/// A clock, at first right.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    folder: TempDir,
    holder: Child,
}

impl Clock {
    /// By these.
    pub fn new(faketime: Faketime) -> Clock {
        // Without memory that is there already, each program makes its own and says so in its environment, which then is
        // another one from call to call: other settings, for a feeder.
        let mut holder = Command::new(&faketime.program);
        holder.args(["-f", "+0", "cat"]).env_clear().env("PATH", "/usr/bin:/bin");
        let holder = holder.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("faketime starts");
        let (shared, begun) = (format!("/dev/shm/faketime_shm_{}", holder.id()), Instant::now());
        while !Path::new(&shared).exists() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{shared} is not there");
            std::thread::sleep(Duration::from_millis(10));
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Clock { library: faketime.library, folder, holder };
        clock.set("+0");
        clock
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// So far from the right time: `-1h`, `+1d`, `+0`.
    pub fn set(&self, offset: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{offset}\n")).expect("an offset");
        std::fs::rename(new, self.file()).expect("its name");
    }

    /// What programs must have in their environment to go by it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let set = |name: &str| (name.to_owned(), "1".to_owned());
        vec![
            ("LD_PRELOAD".into(), self.library.display().to_string()),
            ("FAKETIME_SHARED".into(), format!("/faketime_sem_{0} /faketime_shm_{0}", self.holder.id())),
            ("FAKETIME_TIMESTAMP_FILE".into(), self.file().display().to_string()),
            set("FAKETIME_NO_CACHE"),
            set("FAKETIME_DONT_FAKE_MONOTONIC"),
            set("FAKETIME_DONT_RESET"),
            set("NO_FAKE_STAT"),
        ]
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // It ends with its input, and clears up.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
