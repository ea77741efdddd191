//! A directory that looks like the data directory of a server in recovery, and the feeder beside it.
//!
//! In: a pg_control, what kind of recovery. Out: commands that run there as restore_command would, what the feeder says.
//! Never: a server; the process in postmaster.pid is the bench itself. Ends the feeder by ending the "recovery".

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use wal_r::feed::client;
use wal_r::feed::spool::{FOLDER, Meeting};
use wal_r::feed::status::Status;

/// What PostgreSQL names every segment's destination.
pub const DESTINATION: &str = "pg_wal/RECOVERYXLOG";

/// The directory, gone when dropped.
#[derive(Debug)]
pub struct Recovering {
    folder: tempfile::TempDir,
    signal: &'static str,
}

impl Recovering {
    /// `signal` is the file that says what kind of recovery it is.
    pub fn new(control: &[u8], version: &str, signal: &'static str) -> Recovering {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("a file");
        for name in ["global", "pg_wal"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        write("global/pg_control", control);
        write("PG_VERSION", version.as_bytes());
        write(signal, b"");
        write("postmaster.pid", format!("{}\n{}\n", std::process::id(), folder.path().display()).as_bytes());
        Recovering { folder, signal }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where segments go.
    pub fn destination(&self) -> PathBuf {
        self.path().join(DESTINATION)
    }

    /// As the server does before it asks.
    pub fn make_room(&self) {
        let _ = std::fs::remove_file(self.destination());
    }

    /// A program in this directory, with nothing in its environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(self.path());
        command
    }

    /// What the feeder says, if there is one.
    pub fn status(&self) -> Option<Status> {
        let line = client::status(&Meeting::in_wal_directory(&self.path().join("pg_wal"))).ok()??;
        serde_json::from_str(&line).ok()
    }

    /// Wait until the feeder says so.
    pub fn wait(&self, holds: impl Fn(&Status) -> bool) -> Status {
        let began = Instant::now();
        loop {
            match self.status() {
                Some(status) if holds(&status) => return status,
                status => assert!(began.elapsed() < Duration::from_secs(60), "the feeder does not come: {status:?}"),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The recovery is over: the feeder goes.
    pub fn end(self) {
        std::fs::remove_file(self.path().join(self.signal)).expect("the signal file");
        let began = Instant::now();
        while self.path().join("pg_wal").join(FOLDER).exists() {
            assert!(began.elapsed() < Duration::from_secs(60), "the feeder does not go");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Where a program of ours is: as it was built for this bench, or where `WALR_BENCH_BIN` says that it was installed.
pub fn program(name: &str) -> String {
    let built = match name {
        "wal-r-fetch" => env!("CARGO_BIN_EXE_wal-r-fetch"),
        _ => env!("CARGO_BIN_EXE_wal-r"),
    };
    match std::env::var_os("WALR_BENCH_BIN") {
        Some(folder) => std::path::absolute(Path::new(&folder).join(name)).expect("a path").display().to_string(),
        None => built.to_owned(),
    }
}

/// The most memory that a process has had, while it lives.
pub fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok().map(|kb: u64| kb * 1024)
}

/// Processor time that a process has taken so far, in seconds: what load of others does not change.
pub fn processor(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything; in ticks, a hundred a second.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}

/// The value below which this share of them lies.
pub fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let at = (times.len() as f64 * share).ceil() as usize;
    times.get(at.saturating_sub(1)).copied().unwrap_or_default()
}
