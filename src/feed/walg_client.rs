//! The client of a daemon that speaks WAL-G's protocol: one question, one answer, before any runtime is started.
//!
//! In: the socket's path, a name, a destination, how long to wait. Out: what the daemon answered, or why there is no answer.
//! Never: waits for ever, takes the daemon's word for a file that is not there, asks a store.

use super::walg_socket::{Reply, Request, TooLong};
use crate::layout::WalFile;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two tries where the daemon's queue is full.
const AGAIN: Duration = Duration::from_millis(20);

/// How long a client waits, as WAL-G's does.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For the connection.
    pub connect: Duration,
    /// For the answer.
    pub answer: Duration,
}

/// Why there is no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nobody there, not allowed, or a path that is none.
    #[error("cannot be reached")]
    Connect(#[source] io::Error),
    /// The names are longer than a frame.
    #[error("cannot be asked")]
    TooLong(#[from] TooLong),
    /// It went away.
    #[error("ended the connection")]
    Gone(#[source] io::Error),
    /// It went away without a word.
    #[error("ended the connection without an answer")]
    Closed,
    /// It says nothing.
    #[error("did not answer for {0:?}")]
    Silent(Duration),
    /// It speaks, but not this protocol.
    #[error("answered {0:#04x}, which is no answer")]
    Odd(u8),
    /// It says that it could not.
    #[error("answered that it could not; its log says why")]
    Failed,
    /// It says that the file is there, and it is not.
    #[error("answered that the file is there, and it is not: is it the daemon of another data directory?")]
    Lied,
}

/// What a daemon did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The file is at its destination.
    Delivered,
    /// The archive does not hold it.
    Absent,
}

/// Ask for a file.
pub fn fetch(socket: &Path, file: &WalFile, destination: &Path, patience: Patience) -> Result<Told, NoAnswer> {
    // Whole, so that a daemon of another data directory refuses instead of writing into its own.
    let whole = std::path::absolute(destination).unwrap_or_else(|_| destination.to_owned());
    let name = file.to_string().into_bytes();
    let request = Request::Fetch { name, destination: whole.as_os_str().as_bytes().to_vec() };
    let before = identity(&whole);
    match ask(socket, &request, patience)? {
        Reply::Done if identity(&whole).is_some_and(|now| Some(now) != before) => Ok(Told::Delivered),
        Reply::Done => Err(NoAnswer::Lied),
        Reply::Absent => Ok(Told::Absent),
        Reply::Failed => Err(NoAnswer::Failed),
    }
}

/// Which file it is, if it is one: what is delivered takes the place of what was there.
fn identity(path: &PathBuf) -> Option<(u64, u64)> {
    let file = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some((file.dev(), file.ino()))
}

/// One request, its answer.
pub fn ask(socket: &Path, request: &Request, patience: Patience) -> Result<Reply, NoAnswer> {
    let frame = request.encode()?;
    let mut stream = connect(socket, patience.connect).map_err(NoAnswer::Connect)?;
    let begun = Instant::now();
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => NoAnswer::Silent(patience.answer),
        _ => NoAnswer::Gone(error),
    };
    // None left is no wait without end.
    let left = || Some(patience.answer.saturating_sub(begun.elapsed()).max(Duration::from_millis(1)));
    stream.set_write_timeout(left()).map_err(failed)?;
    stream.write_all(&frame).map_err(failed)?;
    let mut answer = [0];
    loop {
        stream.set_read_timeout(left()).map_err(failed)?;
        match stream.read(&mut answer) {
            Ok(0) => return Err(NoAnswer::Closed),
            Ok(_) => {
                let [byte] = answer;
                return Reply::from_byte(byte).ok_or(NoAnswer::Odd(byte));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Connect within this time. A daemon whose queue is full is asked again.
pub fn connect(socket: &Path, patience: Duration) -> io::Result<UnixStream> {
    let begun = Instant::now();
    let address = SocketAddrUnix::new(socket)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    loop {
        match rustix::net::connect(&stream, &address) {
            Ok(()) => break,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) if begun.elapsed() < patience => {
                std::thread::sleep(AGAIN.min(patience));
            }
            Err(rustix::io::Errno::AGAIN) => return Err(ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
    let stream = UnixStream::from(stream);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(test)]
mod tests;
