//! Becoming a process of one's own, and starting one.
//!
//! In: a command line. Out: a process that the caller's end, terminal and descriptors do not concern. Never: called after
//! anything was opened that is to stay open.
//!
//! PostgreSQL runs a restore_command with descriptors of its own open, and whoever captures its output waits for the last
//! one that can write there. A feeder holds none of them, is in no session with a terminal, and is nobody's child when
//! its caller has ended.
#![allow(unsafe_code, reason = "closing what was inherited, which no safe function does")]

use std::ffi::OsString;
use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The name a feeder runs under: what `ps` shows, and how the program knows what it is to be.
pub const NAME: &str = "wal-r-feeder";

/// Start a feeder: this program again, with the same arguments, under [`NAME`].
pub fn start(program: &Path, argv: &[OsString]) -> std::io::Result<()> {
    // Replaced or removed since it began: the kernel still has it.
    let program = if program.exists() { program } else { Path::new("/proc/self/exe") };
    let mut command = Command::new(program);
    command.arg0(NAME).args(argv.iter().skip(1));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Not waited for: it is somebody else's child when we have ended, which is soon.
    command.spawn().map(drop)
}

/// Is this process to be a feeder?
pub fn is_feeder(argv: &[OsString]) -> bool {
    argv.first().is_some_and(|name| name == NAME)
}

/// Leave the caller's session, and close every descriptor of the caller's but the first three. To be called first of all.
pub fn leave() {
    // Fails only for who leads a group already.
    let _ = rustix::process::setsid();
    let listed = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<i32> = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in open.into_iter().filter(|number| *number > 2) {
        // The one that listed them is closed by now.
        if fs::read_link(format!("/proc/self/fd/{number}")).is_ok() {
            // SAFETY: the process has only begun and has one thread: nothing here owns a descriptor above 2 yet, so the
            // caller left it open, and this is the only owner from now on.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}
