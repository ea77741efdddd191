//! A control group with a limit on memory, and no swap.
//!
//! In: a limit. Out: commands that run within it; whether anything was killed there. Never: stays behind; ends a process that
//! it did not start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A group of processes.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
    unified: bool,
}

impl Cgroup {
    /// With so much memory. `None`: this machine does not let us.
    pub fn new(bytes: u64) -> Option<Cgroup> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("wal-r-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let root = Path::new("/sys/fs/cgroup");
        let has =
            |file: &Path| fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|w| w == "memory"));
        let unified = has(&root.join("cgroup.controllers"));
        let base = if unified { root.to_owned() } else { root.join("memory") };
        if unified && !has(&root.join("cgroup.subtree_control")) {
            fs::write(root.join("cgroup.subtree_control"), "+memory").ok()?;
        }
        // Not the folder alone: where no such file system is mounted, it is a folder like any other.
        if !base.join("cgroup.procs").is_file() {
            return None;
        }
        let group = Cgroup { folder: base.join(name), unified };
        fs::create_dir(&group.folder).ok()?;
        let (limit, swap, no_swap) = match unified {
            true => ("memory.max", "memory.swap.max", 0),
            false => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", bytes),
        };
        fs::write(group.folder.join(limit), bytes.to_string()).ok()?;
        // A kernel that cannot count swap has none to speak of, or the machine has none.
        let _ = fs::write(group.folder.join(swap), no_swap.to_string());
        Some(group)
    }

    /// The same command within it.
    pub fn around(&self, command: &Command) -> Command {
        let mut within = Command::new("/bin/sh");
        within.args(["-c", r#"echo $$ > "$0" && exec "$@""#]).arg(self.folder.join("cgroup.procs"));
        within.arg(command.get_program()).args(command.get_args()).env_clear().stdin(Stdio::null());
        within.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(directory) = command.get_current_dir() {
            within.current_dir(directory);
        }
        within
    }

    /// Processes that were killed there for want of memory.
    pub fn killed(&self) -> u64 {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        self.number(file, "oom_kill ")
    }

    /// The most bytes that it held.
    pub fn most(&self) -> u64 {
        self.number(if self.unified { "memory.peak" } else { "memory.max_usage_in_bytes" }, "")
    }

    /// Processes in it now.
    pub fn processes(&self) -> usize {
        fs::read_to_string(self.folder.join("cgroup.procs")).expect("its processes").lines().count()
    }

    fn number(&self, file: &str, before: &str) -> u64 {
        let text = fs::read_to_string(self.folder.join(file)).expect("what it counts");
        let line = text.lines().find_map(|line| line.strip_prefix(before)).expect("the count");
        line.trim().parse().expect("a number")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let begun = Instant::now();
        // Processes that have ended may be counted for a moment.
        while fs::remove_dir(&self.folder).is_err() && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
