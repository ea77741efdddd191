//! `st`: a raw look at the storage. Read only.
//!
//! In: keys below the prefix as people type them (or paste them, as whole URLs). Out: listings, bytes, and what an object
//! says it is against what it really is. Never: writes to the store, decodes in silence what is damaged, leaves a file
//! under its name that is not whole.

use super::{Progress, Unit, object};
use crate::codec::{self, Decode, sniff};
use crate::error::{Answer, Code, Error};
use crate::layout::entry::PartName;
use crate::layout::{Compression, Entry, ObjectKey};
use crate::storage::{ByteRange, Depth, Listed, Store};
use futures::StreamExt;
use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags};
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a listing shows.
#[derive(Debug, Clone, Default)]
pub struct Ls {
    /// A folder, or the beginning of names. Empty: the prefix itself.
    pub path: String,
    /// Every object below it, instead of one level.
    pub recursive: bool,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// `obj` or `dir`, as WAL-G says.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The key below the prefix; a folder's ends in a slash.
    pub key: ObjectKey,
    /// Stored bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it was written, by the store's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<jiff::Timestamp>,
}

/// List. Every line is handed over as it comes: archives have millions. How many there were.
///
/// `absent.prefix` when nothing lies under the prefix at all, `absent.object` when nothing begins with the path.
pub async fn ls(store: &dyn Store, options: &Ls, each: &mut (dyn FnMut(Line) -> Answer<()> + Send)) -> Answer<u64> {
    let path = relative(store, &options.path);
    let depth = if options.recursive { Depth::All } else { Depth::Level };
    // First as a folder; what is none may still be the beginning of names, as in `wal_005/00000001`.
    let folder = if path.is_empty() || path.ends_with('/') { path.clone() } else { format!("{path}/") };
    let mut count = list(store, &folder, depth, each).await?;
    if count == 0 && folder != path {
        count = list(store, &path, depth, each).await?;
    }
    match (count, path.is_empty()) {
        (0, true) => Err(Error::new(Code::AbsentPrefix, "nothing is there").on(store.url())),
        (0, false) => {
            Err(Error::new(Code::AbsentObject, "nothing is there").on(store.object_url(&ObjectKey::from(path))))
        }
        _ => Ok(count),
    }
}

async fn list(
    store: &dyn Store,
    prefix: &str,
    depth: Depth,
    each: &mut (dyn FnMut(Line) -> Answer<()> + Send),
) -> Answer<u64> {
    let mut entries = store.list(prefix, depth, None);
    let mut count = 0;
    while let Some(entry) = entries.next().await {
        count += 1;
        each(entry?.into())?;
    }
    Ok(count)
}

/// What one object is.
#[derive(Debug, Serialize)]
pub struct Stat {
    /// Its key below the prefix.
    pub key: ObjectKey,
    /// Its whole URL.
    pub url: String,
    /// Stored bytes.
    pub size: u64,
    /// When it was written, by the store's clock.
    pub modified: Option<jiff::Timestamp>,
    /// Which version, where the store can say.
    pub etag: Option<String>,
    /// What its name says that it is.
    pub name_says: String,
    /// What its first bytes say; `None` when they cannot be read.
    pub content: Option<String>,
    /// Do the two agree? `None` where the name promises nothing, or there is no content.
    pub agree: Option<bool>,
    /// Why the content cannot be read. Fixes the exit code.
    #[serde(skip)]
    pub trouble: Option<Error>,
}

/// Look at one object.
pub async fn stat(store: &dyn Store, path: &str) -> Answer<Stat> {
    let key = key(store, path)?;
    let object = store.head(&key).await?;
    let entry = Entry::parse(&key);
    let first = match object.size {
        0 => Ok(Vec::new()),
        size => {
            let len = size.min(sniff::WANTED as u64);
            object::read(store, &key, ByteRange::new(0, len), len).await
        }
    };
    let (content, trouble) = match first {
        Ok(bytes) => (Some(sniff::sniff(&bytes)), None),
        Err(error) => (None, Some(error)),
    };
    Ok(Stat {
        url: store.object_url(&key),
        key,
        size: object.size,
        modified: object.modified,
        etag: object.etag.map(|etag| etag.to_string()),
        agree: content.and_then(|content| agree(promised(&entry)?, content)),
        name_says: name_says(&entry),
        content: content.map(|content| content.to_string()),
        trouble,
    })
}

/// What to read of one object.
#[derive(Debug, Clone, Default)]
pub struct Cat {
    /// Its key.
    pub path: String,
    /// Decode what is compressed, by content first, then by name.
    pub decompress: bool,
}

/// Write an object's bytes out. Stored bytes that were read.
pub async fn cat(
    store: &dyn Store,
    options: &Cat,
    out: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Answer<u64> {
    let key = key(store, &options.path)?;
    let url = store.object_url(&key);
    let mut got = store.get(&key, ByteRange::ALL, None).await?;
    progress.begin("reading", Some(got.object.size), Unit::Bytes);
    let written = async {
        let mut sink = Sink { out, plain: Vec::new() };
        let mut begin = Vec::new();
        let mut decoder: Option<Box<dyn Decode>> = None;
        let mut read = 0;
        while let Some(piece) = got.body.next().await {
            let piece = piece?;
            read += piece.len() as u64;
            progress.advance(piece.len() as u64);
            if let Some(decoder) = &mut decoder {
                sink.decode(&mut **decoder, &piece, &url)?;
                continue;
            }
            if !options.decompress {
                sink.write(&piece)?;
                continue;
            }
            // Enough to know what it is, or all there is.
            begin.extend_from_slice(&piece);
            if begin.len() >= sniff::WANTED {
                let chosen = decoder.insert(decoder_of(&key, &begin, &url)?);
                sink.decode(&mut **chosen, &begin, &url)?;
                begin = Vec::new();
            }
        }
        if options.decompress && decoder.is_none() {
            let chosen = decoder.insert(decoder_of(&key, &begin, &url)?);
            sink.decode(&mut **chosen, &begin, &url)?;
        }
        if let Some(decoder) = &mut decoder {
            decoder.finish().map_err(|error| Error::from(error).on(&url))?;
        }
        sink.out.flush().map_err(cannot_write)?;
        Ok(read)
    }
    .await;
    progress.end();
    written
}

struct Sink<'a> {
    out: &'a mut (dyn Write + Send),
    plain: Vec<u8>,
}

impl Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Answer<()> {
        self.out.write_all(bytes).map_err(cannot_write)
    }

    fn decode(&mut self, decoder: &mut dyn Decode, mut stored: &[u8], url: &str) -> Answer<()> {
        while !stored.is_empty() {
            self.plain.clear();
            let taken = decoder.decode(stored, &mut self.plain).map_err(|error| Error::from(error).on(url))?;
            self.out.write_all(&self.plain).map_err(cannot_write)?;
            stored = stored.get(taken..).unwrap_or_default();
        }
        Ok(())
    }
}

fn cannot_write(error: io::Error) -> Error {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::LocalSpace,
        _ => Code::LocalIo,
    };
    Error::new(code, "cannot write").because(error)
}

/// The decoder for an object that begins so: what the bytes are, counts; where they have no mark, its name.
pub(super) fn decoder_of(key: &ObjectKey, begin: &[u8], url: &str) -> Answer<Box<dyn Decode>> {
    let format = sniff::sniff(begin);
    if format.is_encrypted() {
        return Err(Error::new(Code::CryptUnsupported, format!("it is {format}")).on(url));
    }
    let named = promised(&Entry::parse(key)).or_else(|| suffix(key));
    let really = match (compression(format), named) {
        (Some(really), _) => really,
        // The name promises a compression that leaves a mark, and it is not there.
        (None, Some(named)) if has_mark(named) && !begin.is_empty() => {
            return Err(Error::new(Code::DamagedCodec, format!("its name says {named}, it is {format}")).on(url));
        }
        (None, Some(named)) => named,
        (None, None) => Compression::Plain,
    };
    codec::decoder_for(really).map_err(|error| Error::from(error).on(url))
}

/// The compression of a format that is one.
fn compression(format: sniff::Format) -> Option<Compression> {
    use sniff::Format;
    match format {
        Format::Lzop => Some(Compression::Lzo),
        Format::Gzip => Some(Compression::Gzip),
        Format::Zstd => Some(Compression::Zstd),
        Format::Lz4 | Format::Lz4Legacy | Format::Skippable => Some(Compression::Lz4),
        Format::Xz => Some(Compression::Xz),
        Format::LzmaAlone => Some(Compression::Lzma),
        _ => None,
    }
}

/// Do streams of this compression begin with a mark?
fn has_mark(compression: Compression) -> bool {
    !matches!(compression, Compression::Plain | Compression::Brotli)
}

/// What an entry's name promises about its stored form.
fn promised(entry: &Entry) -> Option<Compression> {
    match entry {
        Entry::Wal { stored, .. } | Entry::Partition { stored, .. } => Some(*stored),
        Entry::Sentinel(_) | Entry::Version(_) | Entry::SystemId => Some(Compression::Plain),
        _ => None,
    }
}

/// A foreign key's suffix, where it is one of a codec's.
fn suffix(key: &ObjectKey) -> Option<Compression> {
    let (_, suffix) = key.base_name().rsplit_once('.')?;
    Compression::from_suffix(suffix).filter(|one| *one != Compression::Plain)
}

/// Does the content keep what the name promised? `None` where the content leaves it open.
fn agree(promised: Compression, content: sniff::Format) -> Option<bool> {
    match compression(content) {
        Some(really) => Some(really == promised),
        None if content.is_encrypted() || content.is_perhaps_encrypted() => None,
        None => Some(promised == Compression::Plain && content != sniff::Format::Empty),
    }
}

/// An entry in words.
fn name_says(entry: &Entry) -> String {
    let stored = |compression: &Compression| match compression {
        Compression::Plain => "not compressed".to_owned(),
        other => other.to_string(),
    };
    match entry {
        Entry::Wal { file, stored: how } => format!("WAL file {file}, {}", stored(how)),
        Entry::WalDelta(segment) => format!("WAL-G's list of blocks changed from segment {segment} on"),
        Entry::WalMetadata => "WAL-G's metadata of WAL files".to_owned(),
        Entry::Sentinel(backup) => format!("sentinel of base backup {backup}"),
        Entry::Partition { backup, part, stored: how } => {
            let part = match part {
                PartName::Part(number) => format!("partition {number}"),
                PartName::Copy(number) => format!("copied partition {number}"),
                PartName::Label => "backup label".to_owned(),
                PartName::Control => "pg_control".to_owned(),
            };
            format!("{part} of base backup {backup}, {}", stored(how))
        }
        Entry::Version(backup) => format!("server version of base backup {backup}"),
        Entry::Metadata(backup) => format!("metadata of base backup {backup}"),
        Entry::FilesMetadata(backup) => format!("list of files of base backup {backup}"),
        Entry::SystemId => "system identifier of the cluster".to_owned(),
        Entry::OldLayout => "of a layout that WAL-E left behind in 2011".to_owned(),
        Entry::Foreign => "nothing that WAL-E or WAL-G write".to_owned(),
    }
}

/// Where to put one object.
#[derive(Debug, Clone, Default)]
pub struct Get {
    /// What to read, and whether to decode it.
    pub cat: Cat,
    /// The file to make. Must not exist.
    pub destination: PathBuf,
}

/// What was fetched.
#[derive(Debug, Serialize)]
pub struct Fetched {
    /// The object's URL.
    pub url: String,
    /// The file.
    pub file: String,
    /// Stored bytes read.
    pub stored_bytes: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Fetch one object into a file, which appears when it is whole.
pub async fn get(store: &dyn Store, options: &Get, progress: &dyn Progress) -> Answer<Fetched> {
    let destination = &options.destination;
    let exists = || {
        Error::new(Code::LocalTarget, "it exists already")
            .on(destination.display())
            .hint("Give another name, or move it away.")
    };
    // Before a byte is read; the rename below makes sure of it.
    if destination.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let temporary = Temporary::beside(destination)?;
    let mut out = Counted { file: &temporary.file, bytes: 0 };
    let stored_bytes = cat(store, &options.cat, &mut out, progress)
        .await
        .map_err(|error| if error.object().is_none() { error.on(destination.display()) } else { error })?;
    let bytes = out.bytes;
    temporary.publish(destination).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(),
        _ => cannot_write(error).on(destination.display()),
    })?;
    let url = store.object_url(&key(store, &options.cat.path)?);
    Ok(Fetched { url, file: destination.display().to_string(), stored_bytes, bytes })
}

struct Counted<'a> {
    file: &'a File,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that goes away unless it is published.
struct Temporary {
    path: PathBuf,
    file: File,
    published: bool,
}

impl Temporary {
    fn beside(destination: &Path) -> Answer<Self> {
        let name = destination.file_name().ok_or_else(|| {
            Error::new(Code::UsageArgument, "the destination names no file").on(destination.display())
        })?;
        // Always the same name, so that what a killed process left is taken over by the next one.
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".wal-r");
        let path = destination.with_file_name(hidden);
        let failed = |error: io::Error| Error::new(Code::LocalIo, "cannot create").on(path.display()).because(error);
        loop {
            // The archive's content is nobody else's to read, or to be led elsewhere.
            let mut open = OpenOptions::new();
            open.write(true).create(true).truncate(false).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits() as i32);
            let file = open.open(&path).map_err(failed)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(
                        Error::new(Code::LocalTarget, "another process is writing it").on(destination.display())
                    );
                }
                Err(error) => return Err(failed(error.into())),
            }
            // Whoever held the lock may just have published the file under its name: then this is not ours to cut.
            let ours = file.metadata().map_err(failed)?;
            match path.symlink_metadata() {
                Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                    file.set_len(0).map_err(failed)?;
                    return Ok(Temporary { path, file, published: false });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn publish(mut self, destination: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        match rustix::fs::renameat_with(CWD, &self.path, CWD, destination, RenameFlags::NOREPLACE) {
            // A file system that cannot promise not to replace: the check at the start has to do.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => fs::rename(&self.path, destination)?,
            renamed => renamed?,
        }
        self.published = true;
        let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published {
            // Nothing is lost when it stays.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A path as typed, below the prefix: messages show whole URLs, and people paste them.
fn relative(store: &dyn Store, path: &str) -> String {
    let url = store.url();
    if path.trim_end_matches('/') == url.trim_end_matches('/') || matches!(path, "/" | "." | "./") {
        return String::new();
    }
    path.strip_prefix(&url).unwrap_or(path).to_owned()
}

fn key(store: &dyn Store, path: &str) -> Answer<ObjectKey> {
    let path = relative(store, path);
    if path.is_empty() || path.ends_with('/') {
        return Err(
            Error::new(Code::UsageArgument, "a folder; this takes one object").on(store.object_url(&path.into()))
        );
    }
    Ok(ObjectKey::from(path))
}

impl From<Listed> for Line {
    fn from(entry: Listed) -> Self {
        match entry {
            Listed::Object(object) => {
                Line { kind: "obj", key: object.key, size: Some(object.size), modified: object.modified }
            }
            Listed::Folder(key) => Line { kind: "dir", key, size: None, modified: None },
        }
    }
}

#[cfg(test)]
mod tests;
