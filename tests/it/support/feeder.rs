//! The feeder beside a server, as people see it: by its socket, its status file and its folder.
//!
//! In: a data directory. Out: its [`Status`], its process, whether anything of it is left. Never: starts one (wal-fetch
//! does); ends another process than the one that answers there.

use super::postgres::PATIENCE;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use wal_r::feed::client;
use wal_r::feed::spool::{FOLDER, Meeting};
use wal_r::feed::status::Status;

/// The folder where it is met.
pub fn folder(data: &Path) -> PathBuf {
    data.join("pg_wal").join(FOLDER)
}

/// What it says, if there is one.
pub fn status(data: &Path) -> Option<Status> {
    let line = client::status(&Meeting::in_wal_directory(&data.join("pg_wal"))).ok()??;
    serde_json::from_str(&line).ok()
}

/// Does this process run?
pub fn runs(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // An orphan that has ended stays in the table until somebody takes note of it.
    pid.is_some_and(|pid| test_kill_process(pid).is_ok() && !is_zombie(pid))
}

fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z'))
}

/// Kill the feeder of this data directory, if there is one.
pub fn kill(data: &Path) -> bool {
    let pid = status(data).and_then(|status| Pid::from_raw(i32::try_from(status.pid).ok()?));
    pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

/// Wait until neither a feeder nor a folder of one is there.
#[track_caller]
pub fn wait_gone(data: &Path, pid: Option<u32>) {
    let (begun, folder) = (Instant::now(), folder(data));
    while folder.exists() || pid.is_some_and(runs) {
        let left: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
        assert!(begun.elapsed() < PATIENCE, "the feeder {pid:?} is not gone, or left {left:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The samples of a Prometheus text by name, without `walr_feed_`, and labels, but for those that say whose they are.
pub fn metrics(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.strip_prefix("walr_feed_")?.rsplit_once(' ')?;
        let (name, labels) = name.trim_end_matches('}').split_once('{').unwrap_or((name, ""));
        let own = |label: &&str| !label.is_empty() && !label.starts_with("data=") && !label.starts_with("archive=");
        let labels: Vec<&str> = labels.split(',').filter(own).collect();
        let name = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) };
        Some((name, value.parse().ok()?))
    };
    lines.filter_map(sample).collect()
}
