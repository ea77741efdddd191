//! stdout and stderr.
//!
//! In: finished text. Out: bytes on stdout (results) or stderr (all else).
//! Never: prints one on the other, or fails because nobody reads stderr.

use super::args::Format;
use super::render;
use crate::error::{Answer, Code, Error};
use std::error::Error as _;
use std::fmt;
use std::io::{self, IsTerminal, Write};

/// The two streams, and how to talk on them.
#[derive(Debug, Clone)]
pub struct Console {
    format: Format,
    color: bool,
}

impl Console {
    /// `color` allows it; it is used where stderr is a terminal.
    pub fn new(format: Format, color: bool) -> Self {
        Console { format, color: color && io::stderr().is_terminal() }
    }

    /// Print a result. Flushed; a full disk behind stdout is an error.
    pub fn print(&self, text: &str) -> Answer<()> {
        Out.write_all(text.as_bytes()).and_then(|()| Out.flush()).map_err(stdout_failed)
    }

    /// stdout for results that come line by line.
    pub fn lines(&self) -> Lines {
        Lines(String::new())
    }

    /// Print an error on stderr, as text or, where JSON was asked for, as JSON.
    pub fn error(&self, error: &Error, exit: u8) {
        to_stderr(&match self.format {
            Format::Table => render::error_text(error, self.color),
            Format::Json => render::error_json(error, exit),
        });
    }

    /// Print something else for people on stderr.
    pub fn note(&self, text: &str) {
        to_stderr(text);
    }
}

/// Does somebody look at the results?
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Lines of a result, printed in larger pieces.
#[derive(Debug)]
pub struct Lines(String);

impl Lines {
    /// One more piece of text.
    pub fn print(&mut self, text: &str) -> Answer<()> {
        self.0.push_str(text);
        if self.0.len() < 32 * 1024 { Ok(()) } else { self.finish() }
    }

    /// What is left.
    pub fn finish(&mut self) -> Answer<()> {
        let text = std::mem::take(&mut self.0);
        Out.write_all(text.as_bytes()).and_then(|()| Out.flush()).map_err(stdout_failed)
    }
}

/// stdout for bytes. Its errors are told apart from others by [`at_stdout`].
#[derive(Debug)]
pub struct Out;

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().lock().write(bytes).map_err(marked)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().lock().flush().map_err(marked)
    }
}

/// A broken pipe on stdout, told apart from any other.
fn marked(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::other(ReaderGone),
        _ => error,
    }
}

/// stdout did not take what it was given. When its reader has gone away, [`reader_gone`] tells.
pub fn stdout_failed(error: io::Error) -> Error {
    Error::new(Code::LocalIo, "cannot write the result").on("stdout").because(marked(error))
}

/// An error of writing names stdout, where it names nothing else.
pub fn at_stdout(error: Error) -> Error {
    if error.object().is_none() { error.on("stdout") } else { error }
}

/// Is this only `wal-r … | head`?
pub fn reader_gone(error: &Error) -> bool {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    cause.and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<ReaderGone>())
}

#[derive(Debug)]
struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its reader is gone")
    }
}

impl std::error::Error for ReaderGone {}

/// clap stopped: help and version are results and succeed; anything else is a usage error with this exit code.
pub(super) fn clap_ended(error: &clap::Error, usage: u8, json: bool) -> u8 {
    if json && error.use_stderr() {
        let text = error.to_string();
        let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        to_stderr(&render::error_json(&Error::new(Code::UsageArgument, what), usage));
        return usage;
    }
    // clap's own printing colours where it may and knows which stream.
    match error.print() {
        Err(failed) if !error.use_stderr() && failed.kind() != io::ErrorKind::BrokenPipe => {
            to_stderr(&render::error_text(&stdout_failed(failed), false));
            super::exit::sysexit(Code::LocalIo)
        }
        _ if error.use_stderr() => usage,
        _ => super::exit::OK,
    }
}

/// An error without any state of the program: a panic's, or one before there is any.
pub(super) fn plain(error: &Error) {
    to_stderr(&render::error_text(error, false));
}

fn to_stderr(text: &str) {
    // Nobody may be listening there; that is no reason to fail.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
