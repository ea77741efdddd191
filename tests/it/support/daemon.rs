//! A running `wal-r daemon`, and a client that speaks as WAL-G's does: its bytes, not our code.
//!
//! In: a command for the daemon, a socket. Out: answers, its log, how it ended. Never: outlives its value.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Start it with this command (`wal-r … daemon … SOCKET` comes from it); it listens when this returns.
    #[track_caller]
    pub fn start(command: &mut Command, socket: &Path) -> Daemon {
        let daemon = Daemon::spawn(command, socket);
        let begun = Instant::now();
        while UnixStream::connect(socket).is_err() {
            assert!(begun.elapsed() < PATIENCE, "it does not listen:\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    /// The same without waiting. Its log goes beside the socket.
    pub fn spawn(command: &mut Command, socket: &Path) -> Daemon {
        let log = socket.with_extension("log");
        let file = File::options().append(true).create(true).open(&log).expect("a log");
        let child = command.stderr(file).spawn().expect("the daemon starts");
        Daemon { child, socket: socket.to_owned(), log }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Send it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// Wait until it has ended.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Wait until its log has these words.
    #[track_caller]
    pub fn wait_for(&self, words: &str) {
        let begun = Instant::now();
        while !self.log().contains(words) {
            assert!(begun.elapsed() < PATIENCE, "no {words:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A connection.
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Ask for a file as `walg-daemon-client SOCKET wal-fetch NAME DEST` does; the byte that is answered.
    #[track_caller]
    pub fn fetch(&self, name: &str, destination: &str) -> char {
        let mut stream = self.connect();
        stream.write_all(&fetch_frame(name, destination)).expect("it listens");
        answer(&mut stream).unwrap_or_else(|why| panic!("{name}: {why}\n{}", self.log()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `f`, the length of all of it, two arguments, each behind its length.
pub fn fetch_frame(name: &str, destination: &str) -> Vec<u8> {
    let length = 3 + 1 + 2 + name.len() + 2 + destination.len();
    let mut frame = vec![b'f', (length >> 8) as u8, length as u8, 2];
    for argument in [name, destination] {
        frame.extend([(argument.len() >> 8) as u8, argument.len() as u8]);
        frame.extend(argument.bytes());
    }
    frame
}

/// The first byte of what comes, as the original's client takes it.
pub fn answer(stream: &mut UnixStream) -> io::Result<char> {
    let mut bytes = [0; 512];
    match stream.read(&mut bytes)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(char::from(bytes[0])),
    }
}
