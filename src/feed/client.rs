//! wal-fetch's side: ask the feeder, and take what it has.
//!
//! In: the destination PostgreSQL names, the file, the digest of the settings. Out: [`Told`]. Never: starts a runtime, asks
//! a store, waits for a feeder that shows no sign of life, takes a file that was not said to be whole.
//!
//! A hit is a connect, a line there, a line back, a rename.

use super::deliver::Landing;
use super::folder_of;
use super::protocol::{LONGEST, Line, Question};
use super::spool::Meeting;
use crate::error::{Answer, Code, Error};
use crate::layout::WalFile;
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A feeder that is alive says something four times a second; on a machine that is short of everything, less often.
const SILENCE: Duration = Duration::from_secs(10);
/// How often a file may be gone again before it was taken: when many ask for the same one.
pub const TRIES: u32 = 5;

/// Variables that differ from one call to the next and decide nothing.
const INDIFFERENT: &[&str] = &["_", "OLDPWD", "PWD", "SHLVL"];

/// What came of asking the feeder.
#[derive(Debug)]
pub struct Told {
    /// The answer.
    pub what: What,
    /// What people should know.
    pub notes: Vec<String>,
    /// What people should act on.
    pub warnings: Vec<String>,
}

/// The answer.
#[derive(Debug)]
pub enum What {
    /// The file is under its name.
    Delivered,
    /// The store said that it is not there.
    Absent,
    /// It is there, and must not be handed over.
    Refused(Error),
    /// Fetch it without the feeder.
    Alone {
        /// Why, for the log; `None` when there simply is no feeder.
        why: Option<String>,
        /// Should one be started?
        start: bool,
    },
}

/// The files that a server asks for on its way, told from its command line: the file and its destination. PostgreSQL names
/// every destination `RECOVERYXLOG` or `RECOVERYHISTORY`; where it is the file's own name somebody wants this one file.
pub fn looks_ahead(argv: &[OsString]) -> Option<(WalFile, PathBuf)> {
    if !argv.iter().any(|word| word == "wal-fetch") {
        return None;
    }
    argv.windows(2).find_map(|pair| {
        let [name, destination] = pair else { return None };
        let file: WalFile = name.to_str()?.parse().ok()?;
        let ahead = matches!(file, WalFile::Segment(_) | WalFile::History(_)) && is_transient(Path::new(destination));
        ahead.then(|| (file, PathBuf::from(destination)))
    })
}

/// Is it a name that PostgreSQL gives to what it throws away after a crash?
pub fn is_transient(destination: &Path) -> bool {
    destination.file_name().is_some_and(|name| name == "RECOVERYXLOG" || name == "RECOVERYHISTORY")
}

/// A digest of all that decides what is fetched from where: the command line but for the file and its destination, and the
/// environment. Two calls that differ in nothing else mean the same.
pub fn settings_digest<'a>(argv: &[OsString], environment: impl IntoIterator<Item = (&'a str, &'a OsStr)>) -> String {
    let mut digest = Sha256::new();
    let mut add = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    let mut words = argv.iter().skip(1);
    while let Some(word) = words.next() {
        if word.to_str().is_some_and(|word| word.parse::<WalFile>().is_ok()) {
            words.next();
            continue;
        }
        add(word.as_bytes());
    }
    add(b"\0");
    for (name, value) in environment {
        if !INDIFFERENT.contains(&name) {
            add(name.as_bytes());
            add(value.as_bytes());
        }
    }
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Ask the feeder beside this destination for a file, and take it.
pub fn ask(destination: &Path, file: &WalFile, settings: &str) -> Told {
    let mut told = Told { what: What::Alone { why: None, start: true }, notes: Vec::new(), warnings: Vec::new() };
    let Some(meeting) = Meeting::beside(destination).filter(Meeting::is_ours) else { return told };
    for _ in 0..TRIES {
        let stream = match meeting.connect() {
            Ok(stream) => stream,
            // Nobody there, gone this moment, or a stranger.
            Err(_) => return told,
        };
        let question = Question::Get { file: *file, settings: settings.to_owned() };
        let mut beside = |line| match line {
            Line::Note(note) => told.notes.push(note),
            Line::Warn(warning) => told.warnings.push(warning),
            _ => {}
        };
        let path = match converse(stream, &question, &mut beside) {
            // A bare name lies here; elsewhere is a whole path.
            Ok(Line::Take(path)) => meeting.directory().join(path),
            Ok(Line::Absent) => {
                told.what = What::Absent;
                return told;
            }
            Ok(Line::Refused(code, text)) => {
                told.what = What::Refused(Error::new(code, text));
                return told;
            }
            Ok(Line::Yourself(why)) => {
                told.what = What::Alone { why: Some(why), start: false };
                return told;
            }
            Ok(_) => return told,
            Err(error) => {
                // It may be busy for a reason that will pass, or hang: no second one could be started beside it anyway.
                told.what = What::Alone { why: Some(format!("the feeder does not answer: {error}")), start: false };
                return told;
            }
        };
        match hand_over(&path, destination) {
            Ok(true) => {
                told.what = What::Delivered;
                return told;
            }
            // Somebody else took it.
            Ok(false) => {}
            // The spool's disk, or the destination's: who fetches it alone finds out.
            Err(error) => {
                told.warnings.push(error.chain());
                told.what = What::Alone { why: Some("what lies ready cannot be taken".to_owned()), start: false };
                return told;
            }
        }
    }
    told.what = What::Alone { why: Some("others take the same file".to_owned()), start: false };
    told
}

/// Take a file if it lies ready, and nothing else: no waiting, nothing that people should know is lost. `false`: [`ask`].
pub fn take_ready(destination: &Path, file: &WalFile, settings: &str) -> bool {
    let Some(meeting) = Meeting::beside(destination).filter(Meeting::is_ours) else { return false };
    let Ok(stream) = meeting.connect() else { return false };
    let question = Question::Ready { file: *file, settings: settings.to_owned() };
    match converse(stream, &question, &mut |_| ()) {
        Ok(Line::Take(path)) => matches!(hand_over(&meeting.directory().join(path), destination), Ok(true)),
        _ => false,
    }
}

/// Tell the feeder that this file was fetched without it. It need not listen.
pub fn tell(destination: &Path, question: &Question) {
    let Some(meeting) = Meeting::beside(destination).filter(Meeting::is_ours) else { return };
    if let Ok(mut stream) = meeting.connect() {
        let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
        let _ = stream.write_all(question.line().as_bytes());
    }
}

/// Ask how it goes: one line of JSON. `Ok(None)`: there is no feeder.
pub fn status(meeting: &Meeting) -> Answer<Option<String>> {
    let Ok(mut stream) = meeting.connect() else { return Ok(None) };
    let asked = || {
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        stream.write_all(Question::Status.line().as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream.take(LONGEST as u64)).read_line(&mut line)?;
        Ok(line)
    };
    let line = asked().map_err(|cause: io::Error| {
        Error::new(Code::LocalIo, "the feeder does not answer").on(meeting.directory().display()).because(cause)
    })?;
    Ok(Some(line).filter(|line| !line.is_empty()))
}

/// One question, and lines up to the last one, which is given back; the others to `beside`.
fn converse(mut stream: UnixStream, question: &Question, beside: &mut dyn FnMut(Line)) -> io::Result<Line> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    stream.write_all(question.line().as_bytes())?;
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let read = (&mut lines).take(LONGEST as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up"));
        }
        let text = String::from_utf8_lossy(&line);
        match Line::parse(text.trim_end_matches('\n')) {
            Some(line) if line.is_last() => return Ok(line),
            Some(line) => beside(line),
            None => return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks another language")),
        }
    }
}

/// Put a whole file under its final name. `Ok(false)`: it is gone.
pub fn hand_over(from: &Path, destination: &Path) -> Answer<bool> {
    hand_over_if(from, destination, || Ok(()))
}

/// The same, if it still may: `may` is asked right before the rename, and what it gives is held until that is done.
pub fn hand_over_if<T>(from: &Path, destination: &Path, may: impl Fn() -> Answer<T>) -> Answer<bool> {
    let error = |cause: io::Error| {
        Error::new(Code::LocalIo, format!("cannot take {} from the spool", from.display()))
            .on(destination.display())
            .because(cause)
    };
    let held = may()?;
    let renamed = std::fs::rename(from, destination);
    drop(held);
    match renamed {
        Ok(()) => Ok(true),
        // It may be there again by now, for the next one who asks.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && folder_of(destination).exists() => Ok(false),
        // Another file system: copied beside the destination first.
        Err(cause) if cause.kind() == io::ErrorKind::CrossesDevices => {
            let mut source = match std::fs::File::open(from) {
                Ok(source) => source,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(cause) => return Err(error(cause)),
            };
            let landing = Landing::open(destination)?;
            let size = source.metadata().map_err(error)?.len();
            landing.fill_from(&mut source, size)?;
            landing.publish_if(false, may)?;
            // Its place is wanted; the owner removes what is left.
            let _ = std::fs::remove_file(from);
            Ok(true)
        }
        Err(cause) => Err(error(cause)),
    }
}

#[cfg(test)]
mod tests;
