//! When a feeder goes.
//!
//! In: the data directory, the spool, the time. Out: [`Why`]. Never: outlives the server it feeds by more than a moment;
//! goes while a recovery still asks.

use super::Settings;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Without a server whose end can be seen, nobody asking for so long is the end.
const ALONE: Duration = Duration::from_secs(60);

/// Why it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The server is gone.
    Server,
    /// The server is not in recovery any more.
    Recovered,
    /// Nobody asked for long.
    Idle,
    /// By the program around it.
    Told,
    /// It was asked with other settings.
    Settings,
    /// The spool's folder is another one, or gone.
    Replaced,
}

impl Why {
    /// For the log.
    pub fn words(self) -> &'static str {
        match self {
            Why::Server => "the server is gone",
            Why::Recovered => "the recovery is over",
            Why::Idle => "nobody has asked for long",
            Why::Told => "it was told to",
            Why::Settings => "the settings are others now",
            Why::Replaced => "the spool was replaced",
        }
    }
}

/// What is watched.
#[derive(Debug)]
pub(super) struct Life {
    /// Signal files, one of which is there during recovery. Empty where that says nothing.
    signs: Vec<PathBuf>,
    /// It had ended before anybody looked.
    gone: bool,
    /// Says so when the server has ended.
    server: Option<oneshot::Receiver<()>>,
    folder: PathBuf,
    identity: Option<(u64, u64)>,
    idle: Duration,
}

impl Life {
    pub(super) fn new(settings: &Settings, data: Option<&Path>) -> Life {
        let signs = ["recovery.signal", "standby.signal", "recovery.conf"];
        let signs = data.filter(|_| settings.forced.is_none()).map(|data| signs.map(|name| data.join(name)));
        let found = data.and_then(server);
        let gone = found.is_none() && data.is_some() && settings.beside_server;
        let server = found.and_then(watch);
        let idle = if server.is_some() { settings.idle } else { settings.idle.min(ALONE) };
        let folder = settings.meeting.directory().to_owned();
        Life {
            gone,
            signs: signs.map(Vec::from).unwrap_or_default(),
            server,
            identity: identity(&folder),
            folder,
            idle,
        }
    }

    /// Is it over?
    pub(super) fn over(&mut self, asked: Instant) -> Option<Why> {
        if self.gone {
            return Some(Why::Server);
        }
        if self.identity != identity(&self.folder) {
            return Some(Why::Replaced);
        }
        if !self.signs.is_empty() && !self.signs.iter().any(|sign| sign.exists()) {
            return Some(Why::Recovered);
        }
        (asked.elapsed() > self.idle).then_some(Why::Idle)
    }

    /// Waits for the server's end: whoever stops a server and runs pg_rewind on its directory at once must find no spool
    /// there that is just being cleared.
    pub(super) async fn server_ended(&mut self) {
        if let Some(server) = &mut self.server {
            if server.await.is_ok() {
                return;
            }
            // It cannot be watched any more.
            self.server = None;
        }
        std::future::pending().await
    }
}

/// The server of this data directory, to be watched.
fn server(data: &Path) -> Option<OwnedFd> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Tells when this process has ended. A thread of its own waits for it, as long as anybody wants to know.
fn watch(process: OwnedFd) -> Option<oneshot::Receiver<()>> {
    let (sender, receiver) = oneshot::channel();
    let wait = move || {
        while !sender.is_closed() {
            let mut watched = [PollFd::new(&process, PollFlags::IN)];
            match poll(&mut watched, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => {
                    let _ = sender.send(());
                    return;
                }
                Err(_) => return,
            }
        }
    };
    std::thread::Builder::new().name("server".into()).stack_size(64 * 1024).spawn(wait).ok()?;
    Some(receiver)
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(folder).ok().map(|folder| (folder.dev(), folder.ino()))
}
