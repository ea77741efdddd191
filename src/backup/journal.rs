//! What a restore has finished, kept in the target until the restore is whole.
//!
//! In: a plan's identity, partitions as they are finished. Out: the file [`NAME`] in the data directory: a first line
//! that says what is being restored, then one line per finished partition. Never: trusts a line that is not whole,
//! resumes another backup or other bytes, or believes in files that a power cut may have taken (nothing is synced before
//! the end, so after another boot every partition is fetched again).

use super::contents::Contents;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the journal in the data directory. It is there exactly as long as the restore is not whole.
pub const NAME: &str = "wal-r.unfinished";
/// Its name while its first line is being written.
pub const NEW: &str = "wal-r.unfinished.new";
/// Version of the form below.
const VERSION: u32 = 2;

/// What is being restored, to where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of this form.
    pub version: u32,
    /// Name of the backup.
    pub backup: String,
    /// URL of the archive; for people, since one archive may be reached by several.
    pub archive: String,
    /// Which boot of which machine wrote it.
    pub boot: String,
    /// The partitions, as listed.
    pub parts: Vec<Part>,
    /// Places outside the data directory: path in it, and directory.
    pub places: Vec<(String, PathBuf)>,
}

/// One version of one partition's object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its number.
    pub number: u32,
    /// Key.
    pub key: String,
    /// Stored bytes.
    pub size: u64,
    /// Version, where the store tells.
    pub etag: Option<String>,
}

/// A partition whose files are all written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Its number.
    pub part: u32,
    /// SHA-256 of its stored bytes.
    pub sha256: String,
    /// Its plain bytes.
    pub plain_bytes: u64,
    /// What was in it.
    pub found: Contents,
}

/// A line behind the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Finished(Box<Finished>),
    Finishing { finishing: bool },
}

/// A journal as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// Its first line.
    pub header: Header,
    /// Finished partitions, each once.
    pub finished: Vec<Finished>,
    /// All partitions were through, and the last steps had begun.
    pub finishing: bool,
}

/// Reads the journal in this directory. `None`: there is none. A first line that cannot be read is an error; a later one
/// ends the list: the run was killed while it wrote.
pub fn read(directory: &Path) -> io::Result<Option<Read>> {
    let text = match std::fs::read_to_string(directory.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    parse(&text).map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its first line cannot be read"))
}

fn parse(text: &str) -> Option<Read> {
    // What has no line end is not whole.
    let mut lines = text.split_inclusive('\n').map_while(|line| line.strip_suffix('\n'));
    let header: Header = serde_json::from_str(lines.next()?).ok()?;
    if header.version != VERSION {
        return None;
    }
    let mut read = Read { header, finished: Vec::new(), finishing: false };
    for line in lines.map_while(|line| serde_json::from_str::<Line>(line).ok()) {
        match line {
            Line::Finished(part) => {
                read.finished.retain(|other| other.part != part.part);
                read.finished.push(*part);
            }
            Line::Finishing { finishing } => read.finishing = finishing,
        }
    }
    Some(read)
}

impl Header {
    /// The first line of a new journal.
    pub fn new(
        backup: String,
        archive: String,
        boot: String,
        parts: Vec<Part>,
        places: Vec<(String, PathBuf)>,
    ) -> Self {
        Header { version: VERSION, backup, archive, boot, parts, places }
    }

    /// Why a run with `self` cannot go on where `old` stopped; `None` when it can. Places may be added, not moved.
    pub fn differs_from(&self, old: &Header) -> Option<String> {
        if self.backup != old.backup {
            return Some(format!("it belongs to a restore of {}", old.backup));
        }
        if self.parts != old.parts {
            return Some("the backup's partitions in the archive are not those it was begun with".to_owned());
        }
        for (at, place) in &old.places {
            match self.places.iter().find(|(other, _)| other == at) {
                Some((_, now)) if now == place => {}
                Some((_, now)) => {
                    return Some(format!("{at} went to {}, and would now go to {}", place.display(), now.display()));
                }
                None => return Some(format!("{at} went to {}, and now has no place", place.display())),
            }
        }
        None
    }
}

/// A journal being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Starts a journal, or starts it anew with what an earlier run finished. Whole or not at all.
    pub fn create(directory: &Path, header: &Header, finished: &[Finished]) -> io::Result<Journal> {
        let mut text = line(header)?;
        for part in finished {
            text.extend(line(part)?);
        }
        let new = directory.join(NEW);
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        let path = directory.join(NAME);
        std::fs::rename(&new, &path)?;
        File::open(directory)?.sync_all()?;
        Ok(Journal { file, path })
    }

    /// A partition is through.
    pub fn finished(&mut self, part: &Finished) -> io::Result<()> {
        self.append(&line(part)?)
    }

    /// The last steps begin.
    pub fn finishing(&mut self) -> io::Result<()> {
        self.append(&line(&Line::Finishing { finishing: true })?)
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)?;
        self.file.sync_data()
    }

    /// The restore is whole.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)?;
        match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// Which boot of which machine this is. Where the system does not say: unique, so that nothing is believed.
pub fn boot_id() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) if id.trim().len() >= 32 => id.trim().to_owned(),
        _ => format!("unknown-{:x}", fastrand::u64(..)),
    }
}

#[cfg(test)]
mod tests;
