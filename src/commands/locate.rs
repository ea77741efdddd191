//! `locate`: where an instance's archive lies, from logs, or ([`below`]) by looking into the store.
//!
//! In: logs, plain or gzip, of any size. Out: [`Report`]: the instances seen in them, what became of each, its archives, and
//! the copy that would bring it back. Never: keeps more of a log than a line, takes a log that could not be read to its
//! end for one that names nothing, or asserts which instance is the new one.

pub mod below;

use super::{Progress, Unit};
use crate::backup::recovery::shell_word;
use crate::codec::gzip::GzipDecoder;
use crate::codec::{Decode, sniff};
use crate::error::{Answer, Code, Error};
use crate::locate::sightings::{Archive, Instance, State};
use crate::locate::{Guid, Log, Place, Sightings};
use serde::Serialize;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// Stored bytes of a log read at once.
const PIECE: usize = 256 << 10;
/// Younger instances that are named for one that was deleted.
const YOUNGER: usize = 3;
/// What stands for the new instance's name in a proposed command.
pub const NEW_INSTANCE: &str = "NEW_GUID";
/// What stands for a new prefix, where the old one has no instance's name in it.
pub const NEW_PREFIX: &str = "NEW_PREFIX";

/// One log.
pub enum Input {
    /// A file.
    File(PathBuf),
    /// A stream, and its name.
    Stream(String, Box<dyn Read + Send>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Input {
    fn name(&self) -> String {
        match self {
            Input::File(path) => path.display().to_string(),
            Input::Stream(name, _) => name.clone(),
        }
    }
}

/// What to show of it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only this instance: its GUID, that of one of its containers, or a folder of its archive's prefix.
    pub instance: Option<String>,
    /// Only those that were deleted.
    pub deleted: bool,
}

/// What the logs told.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The logs that were read.
    pub logs: Vec<LogRead>,
    /// The instances that were asked for: deleted ones first, the newest first.
    pub instances: Vec<Located>,
    /// How many others were seen.
    pub others: usize,
    /// Archives, instances and containers that were seen and not kept: there were too many.
    pub left_out: u64,
}

/// One log that was read.
#[derive(Debug, Serialize)]
pub struct LogRead {
    /// Its name.
    pub name: String,
    /// Was it compressed?
    pub gzip: bool,
    /// Bytes, decompressed.
    pub bytes: u64,
    /// Lines.
    pub lines: u64,
    /// Lines so long that only their beginning was looked at.
    pub cut_lines: u64,
    /// Why it was not read to its end.
    #[serde(serialize_with = "trouble")]
    pub trouble: Option<Error>,
}

fn trouble<S: serde::Serializer>(trouble: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    match trouble {
        Some(error) => serializer.serialize_some(&format!("[{}] {}", error.code(), error.chain())),
        None => serializer.serialize_none(),
    }
}

/// One instance, and what can be done.
#[derive(Debug, Serialize)]
pub struct Located {
    /// What was seen of it.
    #[serde(flatten)]
    pub instance: Instance,
    /// The command that copies each of its archives to a new instance.
    pub copies: Vec<Copy>,
    /// Instances whose archives lie beside this one's and which were first seen after it was deleted, the first one first:
    /// one of them may be the new one.
    pub younger: Vec<Guid>,
}

/// A proposed copy.
#[derive(Debug, Serialize)]
pub struct Copy {
    /// The archive.
    pub from: String,
    /// Where to: with [`NEW_INSTANCE`] or [`NEW_PREFIX`] in it.
    pub to: String,
    /// The whole command, for a shell.
    pub command: String,
}

impl Report {
    /// What should be known beside the result, one line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for log in &self.logs {
            if let Some(error) = &log.trouble {
                remarks.push(format!("{}; what came before was read ({} lines)", error.chain(), log.lines));
            }
            if log.cut_lines > 0 {
                let longest = crate::locate::lines::MAX >> 20;
                remarks.push(format!(
                    "{}: lines longer than {longest} MiB, of which only the beginning was looked at: {}",
                    log.name, log.cut_lines
                ));
            }
        }
        if self.left_out > 0 {
            remarks.push(format!(
                "{} lines tell of more archives, instances or containers than are kept; give fewer logs at a time",
                self.left_out
            ));
        }
        remarks
    }

    /// The code that the call ends with, where it is no success: a log that was not read to its end, or instances without
    /// any archive.
    pub fn shortfall(&self) -> Option<Code> {
        let unread = self.logs.iter().find_map(|log| log.trouble.as_ref()).map(Error::code);
        let located = self.instances.iter().any(|one| !one.instance.archives.is_empty());
        unread.or((!located).then_some(Code::AbsentArchive))
    }
}

/// Read them all. `absent.archive` where every log was read and none tells of what was asked for; the first log's own error
/// where nothing was found and not all was read.
pub async fn logs(inputs: Vec<Input>, options: Options, progress: Arc<dyn Progress>) -> Answer<Report> {
    // Reading and looking take turns; nothing else runs meanwhile.
    let read = tokio::task::spawn_blocking(move || read(inputs, &options, &*progress)).await;
    read.map_err(|error| Error::new(Code::InternalBug, "reading the logs ended early").because(error))?
}

fn read(inputs: Vec<Input>, options: &Options, progress: &dyn Progress) -> Answer<Report> {
    let sizes = inputs.iter().map(|input| match input {
        Input::File(path) => std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|about| about.len()),
        Input::Stream(..) => None,
    });
    progress.begin("reading logs", sizes.sum(), Unit::Bytes);
    let mut sightings = Sightings::new();
    let (mut logs, mut order) = (Vec::new(), 0);
    for input in inputs {
        let mut log = Log::new(order);
        let mut about = LogRead { name: input.name(), gzip: false, bytes: 0, lines: 0, cut_lines: 0, trouble: None };
        about.trouble = one(input, &mut log, &mut about, &mut sightings, progress).err();
        log.finish(&mut |event| sightings.add(event));
        sightings.settle(log.setting());
        (about.lines, about.cut_lines, order) = (log.lines(), log.cut(), log.order());
        logs.push(about);
    }
    progress.end();
    report(logs, &sightings, options)
}

/// One log to its end.
fn one(
    input: Input,
    log: &mut Log,
    about: &mut LogRead,
    sightings: &mut Sightings,
    progress: &dyn Progress,
) -> Answer<()> {
    let name = about.name.clone();
    let failed = |error: std::io::Error| Error::new(Code::LocalIo, "cannot read this log").on(&name).because(error);
    let mut stream: Box<dyn Read> = match input {
        Input::File(path) => {
            if path.is_dir() {
                let what = "it is a directory, not a log";
                let hint = format!("Name the files in it: wal-r locate {}/*", path.display());
                return Err(Error::new(Code::LocalIo, what).on(&name).hint(hint));
            }
            Box::new(File::open(path).map_err(failed)?)
        }
        Input::Stream(_, stream) => stream,
    };
    let mut piece = vec![0; PIECE];
    let (mut have, mut well) = fill(&mut *stream, &mut piece, sniff::WANTED);
    let mut decoder = match sniff::sniff(piece.get(..have).unwrap_or_default()) {
        sniff::Format::Gzip => Some(GzipDecoder::new()),
        other @ (sniff::Format::Zstd
        | sniff::Format::Xz
        | sniff::Format::Bzip2
        | sniff::Format::Lz4
        | sniff::Format::Lzop
        | sniff::Format::LzmaAlone) => {
            let hint = "Decompress it on the way: `xz -dc FILE | wal-r locate -`, with its own tool for xz.";
            return Err(Error::new(Code::DamagedCodec, format!("it is {other}, not a log")).on(&name).hint(hint));
        }
        _ => None,
    };
    about.gzip = decoder.is_some();
    let mut plain = Vec::new();
    while have > 0 {
        progress.advance(have as u64);
        let mut rest = piece.get(..have).unwrap_or_default();
        match &mut decoder {
            None => {
                about.bytes += rest.len() as u64;
                log.push(rest, &mut |event| sightings.add(event));
            }
            Some(decoder) => {
                while !rest.is_empty() {
                    plain.clear();
                    let step = decoder.decode(rest, &mut plain);
                    about.bytes += plain.len() as u64;
                    log.push(&plain, &mut |event| sightings.add(event));
                    rest = rest.get(step.map_err(|error| Error::from(error).on(&name))?..).unwrap_or_default();
                }
            }
        }
        // What came before a failure was looked at.
        well.map_err(failed)?;
        (have, well) = fill(&mut *stream, &mut piece, 1);
    }
    well.map_err(failed)?;
    match &mut decoder {
        Some(decoder) => decoder.finish().map_err(|error| Error::from(error).on(&name)),
        None => Ok(()),
    }
}

/// At least so many bytes, or all that come, and whether that was the end of it or a failure.
fn fill(stream: &mut dyn Read, piece: &mut [u8], least: usize) -> (usize, std::io::Result<()>) {
    let mut have = 0;
    while have < least {
        match stream.read(piece.get_mut(have..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(more) => have += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return (have, Err(error)),
        }
    }
    (have, Ok(()))
}

fn report(mut logs: Vec<LogRead>, sightings: &Sightings, options: &Options) -> Answer<Report> {
    let all = sightings.instances();
    let wanted = |one: &&Instance| {
        let named = options.instance.as_deref().is_none_or(|name| is_named(one, name));
        named && (!options.deleted || one.state == State::Deleted)
    };
    let instances: Vec<Located> = all.iter().filter(wanted).map(|one| located(one, &all)).collect();
    let others = all.len() - instances.len();
    if !instances.is_empty() {
        return Ok(Report { logs, instances, others, left_out: sightings.left_out() });
    }
    // Not read is not absent.
    if let Some(error) = logs.iter_mut().find_map(|log| log.trouble.take()) {
        return Err(error);
    }
    let lines: u64 = logs.iter().map(|log| log.lines).sum();
    let what = match (&options.instance, options.deleted, others) {
        (_, _, 0) => "no line names an archive or an instance".to_owned(),
        (Some(name), _, _) => format!("no line tells of the instance {name}; {others} others are seen"),
        (None, _, _) => format!("no instance was deleted, as far as these lines tell; {others} are seen"),
    };
    let names: Vec<&str> = logs.iter().map(|log| &*log.name).collect();
    let on = match &*names {
        [one] => (*one).to_owned(),
        several => format!("{} logs", several.len()),
    };
    Err(Error::new(Code::AbsentArchive, format!("{what} ({lines} lines read)")).on(on))
}

fn is_named(instance: &Instance, name: &str) -> bool {
    let guid = Guid::parse(name.strip_prefix("cf-").unwrap_or(name));
    let by_guid = guid.is_some_and(|guid| instance.id == Some(guid) || instance.nodes.contains_key(&guid));
    by_guid || instance.archives.iter().any(|archive| archive.place.has_folder(name))
}

fn located(instance: &Instance, all: &[Instance]) -> Located {
    let beside = |archive: &Archive, other: &Archive| {
        let place = archive.place.of_instance(NEW_INSTANCE);
        place.is_some() && place == other.place.of_instance(NEW_INSTANCE)
    };
    let mut younger: Vec<&Instance> = match instance.deleted {
        None => Vec::new(),
        Some(deleted) => all
            .iter()
            .filter(|one| one.id != instance.id && one.state == State::Seen)
            .filter(|one| one.first.is_some_and(|first| first.is_after(&deleted)))
            .filter(|one| instance.archives.iter().any(|old| one.archives.iter().any(|new| beside(old, new))))
            .collect(),
    };
    younger.sort_by_key(|one| one.first.and_then(|moment| moment.time()));
    Located {
        instance: instance.clone(),
        copies: instance.archives.iter().map(|archive| copy(&archive.place)).collect(),
        younger: younger.into_iter().filter_map(|one| one.id).take(YOUNGER).collect(),
    }
}

fn copy(place: &Place) -> Copy {
    let from = place.to_string();
    let to = place.of_instance(NEW_INSTANCE).unwrap_or_else(|| NEW_PREFIX.to_owned());
    // A log's text is from outside: whatever is in it stays one word.
    let command = format!("wal-r copy --from {} --to {} --replace aside", shell_word(&from), shell_word(&to));
    Copy { from, to, command }
}

#[cfg(test)]
mod tests;
