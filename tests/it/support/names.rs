//! The name of a host, known to single programs and taken from them while they run: nss_wrapper in the place of the
//! C library's resolver.
//!
//! In: the library, a folder. Out: the environment that loads it, and a hand to take the name away. Never: asks a name
//! server, nor lets a program ask one: the test does not depend on the network that it runs in.

use super::Scratch;
use super::scratch::give;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

/// A name in a file of hosts.
#[derive(Debug)]
pub struct Names {
    library: PathBuf,
    folder: PathBuf,
    changes: Mutex<u64>,
}

impl Names {
    /// By this library; the name is known.
    pub fn new(library: PathBuf, scratch: &Scratch) -> Names {
        let names = Names { library, folder: scratch.dir("names"), changes: Mutex::new(0) };
        names.known(true);
        names
    }

    /// The name. Its label is longer than any that a name server may be asked for, so that without the file the lookup
    /// fails at once, with a network and without.
    pub fn name() -> String {
        format!("{}.invalid", "store".repeat(13))
    }

    fn file(&self) -> PathBuf {
        self.folder.join("hosts")
    }

    /// From now on: does the name lead to this machine, or nowhere?
    pub fn known(&self, known: bool) {
        let mut changes = self.changes.lock().expect("nobody fails with it");
        *changes += 1;
        let new = self.folder.join("new");
        let text = if known { format!("127.0.0.1 {}\n", Names::name()) } else { String::new() };
        std::fs::write(&new, text).expect("a file of hosts");
        // The library looks at the time, in seconds, to see whether it must read again.
        let file = std::fs::File::options().write(true).open(&new).expect("it is there");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + *changes)).expect("its time");
        give(&new);
        std::fs::rename(new, self.file()).expect("its name");
    }

    /// What programs must have in their environment to go by it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("NSS_WRAPPER_HOSTS", self.file().display().to_string()),
        ]
    }
}
