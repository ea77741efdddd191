//! A directory as a store.
//!
//! In: a directory, keys as paths below it. Out: listings in the order of the keys' bytes, bodies in pieces, errors that
//! tell "is not there" from "may not be read" and "cannot be read".
//! Never: creates anything when reading; follows a name out of the directory by `..`; holds up the runtime (every system
//! call that may hang on a dead network mount is made on a blocking thread).
//!
//! What a listing shows: everything that is not a directory, by its name. Links are followed; one that leads nowhere, and
//! a fifo, a socket or a device, is listed with what is known of it, and reading it is an error that says what it is: an
//! archive behind a link whose disk is not mounted must not look empty. Names that are not UTF-8 are shown with U+FFFD
//! and cannot be asked for.

use super::{
    ByteRange, Capabilities, Content, Copied, Depth, ETag, Got, ListStream, Listed, ObjectId, Place, Store, StoreError,
    StoreErrorKind, StoreWrite, Swept, Upload, When,
};
use crate::layout::ObjectKey;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use rustix::fs::FlockOperation;
use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Bytes per piece of a body: large enough that hand-overs do not count, small enough that a few in flight do not either.
const CHUNK: usize = 256 * 1024;
/// Pieces read ahead of the reader.
const CHUNKS_AHEAD: usize = 2;
/// Entries of a listing handed over at once.
const BATCH: usize = 256;
/// Directories below each other; deeper is an error, not a stack without end.
const MAX_DEPTH: usize = 128;
/// What a name that is not UTF-8 is shown with.
const REPLACEMENT: char = '\u{fffd}';

/// A directory as a store. The directory need not exist until it is asked.
#[derive(Debug, Clone)]
pub struct LocalStore {
    root: PathBuf,
}

impl LocalStore {
    /// The store in this directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        LocalStore { root: root.into() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn failure(&self, kind: StoreErrorKind, key: &ObjectKey, what: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.object_url(key), what)
    }

    /// The file of a key. `None`: no file can have this name, so no listing shows it.
    fn path(&self, key: &ObjectKey) -> Result<Option<PathBuf>, StoreError> {
        let mut path = self.root.clone();
        for part in key.as_str().split('/') {
            match part {
                ".." => {
                    let what = "the name leads out of the archive's directory (it has a part `..`)";
                    return Err(self.failure(StoreErrorKind::Local, key, what));
                }
                "" | "." => return Ok(None),
                part if part.contains('\0') => return Ok(None),
                part => path.push(part),
            }
        }
        Ok(Some(path))
    }

    /// Why the file of this key could not be opened.
    fn explain(&self, key: &ObjectKey, path: &Path, error: io::Error) -> StoreError {
        if error.kind() != io::ErrorKind::NotFound {
            let what = format!("{} cannot be read", path.display());
            return self.failure(kind_of(&error), key, what).because(error);
        }
        if let Err(error) = std::fs::metadata(&self.root) {
            return missing_root(&self.url(), &self.root, error);
        }
        if let Some(link) = dangling_link(&self.root, path) {
            return self.failure(StoreErrorKind::Local, key, leads_nowhere(&link));
        }
        if key.as_str().contains(REPLACEMENT) {
            let what = "its name is not UTF-8 as shown, and cannot be asked for";
            return self.failure(StoreErrorKind::Local, key, what);
        }
        self.failure(StoreErrorKind::NoSuchObject, key, "there is no such file")
    }

    /// Open the file of a key and see which version it is.
    fn open(&self, key: &ObjectKey) -> Result<(File, ObjectId), StoreError> {
        let Some(path) = self.path(key)? else {
            return Err(self.failure(StoreErrorKind::NoSuchObject, key, "no file can have this name"));
        };
        // A fifo would otherwise hold up the open until somebody writes to it.
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let opened = OpenOptions::new().read(true).custom_flags(nonblock).open(&path);
        let opened = opened.and_then(|file| file.metadata().map(|about| (file, about)));
        let (file, about) = opened.map_err(|error| self.explain(key, &path, error))?;
        if about.is_dir() {
            return Err(self.failure(StoreErrorKind::NoSuchObject, key, "there is a directory of this name, no file"));
        }
        if !about.is_file() {
            let what = format!("{} is not a regular file", path.display());
            return Err(self.failure(StoreErrorKind::Local, key, what));
        }
        let id = identify(key.clone(), &about);
        Ok((file, id))
    }

    /// The blocking side of [`Store::get`]: answers once, then sends the bytes.
    fn read(
        &self,
        key: &ObjectKey,
        range: ByteRange,
        version: Option<&ETag>,
        answer: oneshot::Sender<Result<ObjectId, StoreError>>,
        chunks: &mpsc::Sender<Result<Bytes, StoreError>>,
    ) {
        let changed = |what: &str| self.failure(StoreErrorKind::Changed, key, what);
        let (file, id) = match self.open(key) {
            Ok((_, id)) if version.is_some_and(|version| id.etag.as_ref() != Some(version)) => {
                let _ = answer.send(Err(changed("the file is no longer the version that was being read")));
                return;
            }
            Ok(opened) => opened,
            Err(error) => {
                let _ = answer.send(Err(error));
                return;
            }
        };
        let (mut at, end) = range.within(id.size);
        // Nobody waits any more when a send fails: the reader went away, and so do we.
        if answer.send(Ok(id.clone())).is_err() {
            return;
        }
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK);
            let mut chunk = Vec::with_capacity(want);
            while chunk.len() < want {
                let result = rustix::io::pread(&file, rustix::buffer::spare_capacity(&mut chunk), at);
                let error = match result {
                    Ok(0) => changed("the file became shorter while it was being read"),
                    Ok(read) => {
                        at += read as u64;
                        continue;
                    }
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(errno) => {
                        let error = io::Error::from(errno);
                        self.failure(kind_of(&error), key, format!("reading failed at byte {at}")).because(error)
                    }
                };
                let _ = chunks.blocking_send(Err(error));
                return;
            }
            // Files written in place (WAL-E does) may change under us: the last piece goes out only when they did not.
            if at >= end {
                let trouble = match file.metadata() {
                    Ok(about) if identify(key.clone(), &about) == id => None,
                    Ok(_) => Some(changed("the file was written to while it was being read")),
                    Err(error) => {
                        let what = "it cannot be told whether the file was written to while it was being read";
                        Some(self.failure(kind_of(&error), key, what).because(error))
                    }
                };
                if let Some(error) = trouble {
                    let _ = chunks.blocking_send(Err(error));
                    return;
                }
            }
            if chunks.blocking_send(Ok(chunk.into())).is_err() {
                return;
            }
        }
    }

    /// A file to write what will be the object into, beside its place.
    fn begin(&self, key: &ObjectKey) -> Result<Fresh, StoreError> {
        let Some(path) = self.path(key)? else {
            return Err(self.failure(StoreErrorKind::Local, key, "no file can have this name"));
        };
        let dir = path.parent().unwrap_or(&self.root);
        let made = std::fs::create_dir_all(dir).and_then(|()| create_temporary(&path));
        let (file, temporary) = made.map_err(|error| self.unwritable(key, &path, error))?;
        Ok(Fresh { store: self.clone(), key: key.clone(), path, temporary, file })
    }

    fn unwritable(&self, key: &ObjectKey, path: &Path, error: io::Error) -> StoreError {
        self.failure(kind_of(&error), key, format!("{} cannot be written", path.display())).because(error)
    }

    fn write(&self, key: &ObjectKey, bytes: &[u8], when: When) -> Result<Option<ETag>, StoreError> {
        let fresh = self.begin(key)?;
        let written = (&fresh.file).write_all(bytes);
        written.map_err(|error| self.unwritable(key, &fresh.path, error))?;
        fresh.show(when)
    }

    fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let Some(path) = self.path(key)? else { return Ok(()) };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let what = format!("{} cannot be removed", path.display());
                return Err(self.failure(kind_of(&error), key, what).because(error));
            }
            _ => {}
        }
        // A store has no empty folders. What is not empty stays.
        let mut dir = path.parent();
        while let Some(folder) = dir.filter(|dir| *dir != self.root && dir.starts_with(&self.root)) {
            if std::fs::remove_dir(folder).is_err() {
                break;
            }
            dir = folder.parent();
        }
        Ok(())
    }

    fn date(&self, key: &ObjectKey, time: jiff::Timestamp) -> Result<Option<ETag>, StoreError> {
        let Some(path) = self.path(key)? else { return Ok(None) };
        let dated = File::options().write(true).open(&path).and_then(|file| {
            file.set_modified(time.into())?;
            file.sync_all()?;
            file.metadata()
        });
        match dated {
            Ok(about) => Ok(identify(key.clone(), &about).etag),
            Err(error) => {
                let what = format!("the time of {} cannot be set", path.display());
                Err(self.failure(kind_of(&error), key, what).because(error))
            }
        }
    }

    /// Remove the temporary files that nobody holds any more.
    fn clear(&self, dir: &Path, depth: usize) -> io::Result<u64> {
        let mut removed = 0;
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && depth < MAX_DEPTH {
                removed += self.clear(&entry.path(), depth + 1)?;
            } else if kind.is_file() && is_temporary(&entry.file_name()) {
                let held = File::open(entry.path())
                    .is_ok_and(|file| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err());
                if !held {
                    std::fs::remove_file(entry.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// A file being written, locked as long as it is. It goes away unless it is shown.
#[derive(Debug)]
struct Fresh {
    store: LocalStore,
    key: ObjectKey,
    path: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl Fresh {
    /// Give it its name, once it is on the disk.
    fn show(&self, when: When) -> Result<Option<ETag>, StoreError> {
        let shown = self.file.sync_all().and_then(|()| {
            if when.must_be_absent() {
                // Unlike a rename, a link never replaces what is there.
                std::fs::hard_link(&self.temporary, &self.path)?;
                std::fs::remove_file(&self.temporary)?;
            } else {
                std::fs::rename(&self.temporary, &self.path)?;
            }
            File::open(self.path.parent().unwrap_or(&self.store.root))?.sync_all()?;
            self.file.metadata()
        });
        match shown {
            Ok(about) => Ok(identify(self.key.clone(), &about).etag),
            Err(error) if when.must_be_absent() && error.kind() == io::ErrorKind::AlreadyExists => {
                Err(self.store.failure(StoreErrorKind::Exists, &self.key, "the file exists already"))
            }
            Err(error) => Err(self.store.unwritable(&self.key, &self.path, error)),
        }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // Under this name there is nothing once it was shown.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// In the names of files that are being written.
const TEMPORARY: &str = ".wal-r-";

/// A new file beside `path`, locked, under a name no other writer of this machine takes.
fn create_temporary(path: &Path) -> io::Result<(File, PathBuf)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let mut name = OsStr::new(".").to_owned();
        name.push(path.file_name().unwrap_or_default());
        name.push(format!("{TEMPORARY}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let temporary = path.with_file_name(name);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => {
                // File systems without locks: then nothing is swept there while somebody writes, we hope.
                let _ = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
                return Ok((file, temporary));
            }
        }
    }
}

/// Is this the name of a file that is being written, or was when its writer was killed?
fn is_temporary(name: &OsStr) -> bool {
    let Some((_, writer)) = name.to_str().and_then(|name| name.strip_prefix('.')?.rsplit_once(TEMPORARY)) else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    writer.split_once('-').is_some_and(|(process, count)| digits(process) && digits(count))
}

/// Size, time and inode together: a file written anew differs in one of them.
fn identify(key: ObjectKey, about: &Metadata) -> ObjectId {
    let (seconds, nanos) = (about.mtime(), about.mtime_nsec());
    let etag = format!("{:x}-{seconds:x}.{nanos:x}-{:x}", about.size(), about.ino());
    ObjectId {
        key,
        size: about.size(),
        modified: jiff::Timestamp::new(seconds, i32::try_from(nanos).unwrap_or(0)).ok(),
        etag: Some(ETag::new(etag)),
    }
}

fn kind_of(error: &io::Error) -> StoreErrorKind {
    use io::ErrorKind as K;
    match error.kind() {
        K::PermissionDenied => StoreErrorKind::Refused,
        // Network file systems: the server is away, or restarted; another try opens the file anew.
        K::TimedOut | K::StaleNetworkFileHandle | K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown => {
            StoreErrorKind::Unreachable
        }
        _ => StoreErrorKind::Local,
    }
}

/// The answer when the root cannot be looked at.
fn missing_root(url: &str, root: &Path, error: io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::NotFound {
        return match dangling_link(Path::new("/"), root) {
            Some(link) => StoreError::new(StoreErrorKind::Local, url, leads_nowhere(&link)),
            None => StoreError::new(StoreErrorKind::NoSuchPrefix, url, "the directory does not exist"),
        };
    }
    let what = format!("the directory {} cannot be read", root.display());
    StoreError::new(kind_of(&error), url, what).because(error)
}

fn leads_nowhere(link: &Path) -> String {
    format!("{} is a link that leads nowhere: is what it points to mounted?", link.display())
}

/// The first link on the way from `root` to `path` that leads nowhere.
fn dangling_link(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut at = root.to_owned();
    for part in path.strip_prefix(root).ok()? {
        at.push(part);
        if std::fs::symlink_metadata(&at).ok()?.is_symlink() && std::fs::metadata(&at).is_err() {
            return Some(at);
        }
    }
    None
}

/// The names of one directory in the order of the keys they make, packed: a million names are two allocations.
struct Names {
    /// Raw names; that of a directory to walk ends in a slash, as the keys in it go on with one.
    bytes: Vec<u8>,
    /// Start and length in `bytes`.
    entries: Vec<(usize, u16)>,
}

impl Names {
    fn read(dir: &Path, ancestors: &[(u64, u64)]) -> io::Result<Names> {
        let mut names = Names { bytes: Vec::new(), entries: Vec::new() };
        let mut all_utf8 = true;
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_dir = match entry.file_type() {
                Ok(kind) if kind.is_dir() => true,
                // A link back to a directory above would never end.
                Ok(kind) if kind.is_symlink() => std::fs::metadata(entry.path())
                    .is_ok_and(|about| about.is_dir() && !ancestors.contains(&(about.dev(), about.ino()))),
                _ => false,
            };
            all_utf8 &= name.to_str().is_some();
            let start = names.bytes.len();
            names.bytes.extend_from_slice(name.as_bytes());
            if is_dir {
                names.bytes.push(b'/');
            }
            // File names end at 255 bytes everywhere.
            let len = u16::try_from(names.bytes.len() - start).map_err(|_| io::ErrorKind::InvalidFilename)?;
            names.entries.push((start, len));
        }
        let Names { bytes, entries } = &mut names;
        let raw = |&(start, len): &(usize, u16)| bytes.get(start..start + usize::from(len)).unwrap_or_default();
        if all_utf8 {
            entries.sort_unstable_by(|a, b| raw(a).cmp(raw(b)));
        } else {
            entries.sort_by_cached_key(|entry| (String::from_utf8_lossy(raw(entry)).into_owned(), raw(entry).to_vec()));
        }
        Ok(names)
    }

    /// A name, and whether it is that of a directory to walk.
    fn get(&self, index: usize) -> Option<(&OsStr, bool)> {
        let &(start, len) = self.entries.get(index)?;
        let raw = self.bytes.get(start..start + usize::from(len))?;
        let name = raw.strip_suffix(b"/");
        Some((OsStr::from_bytes(name.unwrap_or(raw)), name.is_some()))
    }
}

/// One directory of a walk.
struct Frame {
    path: PathBuf,
    /// What the keys in it begin with: empty, or ends in a slash.
    key: String,
    names: Names,
    next: usize,
}

/// A listing being made, depth first, in the order of the keys.
struct Walk {
    url: String,
    prefix: String,
    depth: Depth,
    after: Option<ObjectKey>,
    frames: Vec<Frame>,
    /// Device and inode of the directories in `frames`.
    ancestors: Vec<(u64, u64)>,
}

impl Walk {
    /// Begin in the directory that the prefix names. `None`: nothing can begin with this prefix.
    fn start(
        store: &LocalStore,
        prefix: String,
        depth: Depth,
        after: Option<ObjectKey>,
    ) -> Result<Option<Walk>, StoreError> {
        let url = store.url();
        if let Err(error) = std::fs::read_dir(&store.root) {
            return Err(missing_root(&url, &store.root, error));
        }
        // What is shown with U+FFFD has another name on disk: such prefixes are compared on the way, not opened.
        let literal = prefix.split(REPLACEMENT).next().unwrap_or_default();
        let (key, path) = match literal.rsplit_once('/') {
            None => (String::new(), store.root.clone()),
            Some((folder, _)) => match store.path(&ObjectKey::new(folder))? {
                None => return Ok(None),
                Some(path) => (format!("{folder}/"), path),
            },
        };
        let mut walk = Walk { url, prefix, depth, after, frames: Vec::new(), ancestors: Vec::new() };
        match walk.enter(path.clone(), key.clone()) {
            Ok(()) => Ok(Some(walk)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match dangling_link(&store.root, &path) {
                None => Ok(None),
                Some(link) => {
                    Err(StoreError::new(StoreErrorKind::Local, format!("{}{key}", walk.url), leads_nowhere(&link)))
                }
            },
            Err(error) => Err(walk.unreadable(&key, &path, error)),
        }
    }

    fn unreadable(&self, key: &str, path: &Path, error: io::Error) -> StoreError {
        let what = format!("{} cannot be listed", path.display());
        StoreError::new(kind_of(&error), format!("{}{key}", self.url), what).because(error)
    }

    fn enter(&mut self, path: PathBuf, key: String) -> io::Result<()> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(io::Error::other(format!("more than {MAX_DEPTH} directories below each other")));
        }
        let about = std::fs::metadata(&path)?;
        self.ancestors.push((about.dev(), about.ino()));
        let names = Names::read(&path, &self.ancestors).inspect_err(|_| {
            self.ancestors.pop();
        })?;
        self.frames.push(Frame { path, key, names, next: 0 });
        Ok(())
    }

    fn next(&mut self) -> Option<Result<Listed, StoreError>> {
        loop {
            let frame = self.frames.last_mut()?;
            let Some((name, is_dir)) = frame.names.get(frame.next) else {
                self.frames.pop();
                self.ancestors.pop();
                continue;
            };
            frame.next += 1;
            let mut key = format!("{}{}", frame.key, name.to_string_lossy());
            let path = frame.path.join(name);
            if is_dir {
                key.push('/');
            }
            let inside = key.starts_with(&self.prefix);
            let seen = self.after.as_ref().is_some_and(|after| key.as_str() <= after.as_str());
            if !is_dir {
                if !inside || seen {
                    continue;
                }
                // Following links; where one leads nowhere, the link itself.
                let about = std::fs::metadata(&path).or_else(|_| std::fs::symlink_metadata(&path));
                return match about {
                    Ok(about) => Some(Ok(Listed::Object(identify(key.into(), &about)))),
                    // Removed since the directory was read.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => Some(Err(self.unreadable(&key, &path, error))),
                };
            }
            if inside && self.depth == Depth::Level {
                if seen {
                    continue;
                }
                return Some(Ok(Listed::Folder(key.into())));
            }
            let on_the_way = inside || self.prefix.starts_with(&key);
            let all_seen = seen && self.after.as_ref().is_some_and(|after| !after.as_str().starts_with(&key));
            if !on_the_way || all_seen {
                continue;
            }
            match self.enter(path.clone(), key.clone()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Some(Err(self.unreadable(&key, &path, error))),
            }
        }
    }

    /// Send everything, in batches. Ends early when nobody listens or at the first error.
    fn run(mut self, batches: &mpsc::Sender<Vec<Result<Listed, StoreError>>>) {
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            let mut over = false;
            while batch.len() < BATCH && !over {
                match self.next() {
                    Some(entry) => {
                        over = entry.is_err();
                        batch.push(entry);
                    }
                    None => over = true,
                }
            }
            if batches.blocking_send(batch).is_err() || over {
                return;
            }
        }
    }
}

/// The blocking thread went away without a word: it panicked, or the runtime is going down.
fn abandoned(url: String) -> StoreError {
    StoreError::new(StoreErrorKind::Local, url, "reading was given up in this process")
}

#[async_trait]
impl Store for LocalStore {
    fn url(&self) -> String {
        let path = self.root.display().to_string();
        let slash = if path.ends_with('/') { "" } else { "/" };
        if path.starts_with('/') { format!("file://{path}{slash}") } else { format!("{path}{slash}") }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { sorted: true, etags: true, remote: false, keeps_times: true }
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        let (store, prefix, after) = (self.clone(), prefix.to_owned(), start_after.cloned());
        let listing = async move {
            let url = store.url();
            let (sender, receiver) = mpsc::channel(1);
            let worker = tokio::task::spawn_blocking(move || match Walk::start(&store, prefix, depth, after) {
                Ok(Some(walk)) => walk.run(&sender),
                Ok(None) => {}
                Err(error) => drop(sender.blocking_send(vec![Err(error)])),
            });
            let batches = futures::stream::unfold(receiver, |mut receiver| async {
                receiver.recv().await.map(|batch| (futures::stream::iter(batch), receiver))
            });
            // A channel that closes proves nothing: only the worker's own end does.
            let end = futures::stream::once(worker)
                .filter_map(move |joined| std::future::ready(joined.err().map(|_| Err(abandoned(url.clone())))));
            batches.flatten().chain(end)
        };
        futures::stream::once(listing).flatten().boxed()
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
        let (answer, answered) = oneshot::channel();
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let (store, wanted, version) = (self.clone(), key.clone(), version.cloned());
        tokio::task::spawn_blocking(move || store.read(&wanted, range, version.as_ref(), answer, &sender));
        let url = self.object_url(key);
        let object = answered.await.map_err(|_| abandoned(url.clone()))??;
        let (start, end) = range.within(object.size);
        let body = futures::stream::unfold(Some((receiver, end - start)), move |state| {
            let url = url.clone();
            async move {
                let (mut receiver, left) = state?;
                match receiver.recv().await {
                    Some(Ok(chunk)) => {
                        let left = left.saturating_sub(chunk.len() as u64);
                        Some((Ok(chunk), Some((receiver, left))))
                    }
                    Some(Err(error)) => Some((Err(error), None)),
                    None if left > 0 => Some((Err(abandoned(url)), None)),
                    None => None,
                }
            }
        });
        Ok(Got { object, body: body.boxed() })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        let (store, wanted) = (self.clone(), key.clone());
        let opened = tokio::task::spawn_blocking(move || store.open(&wanted).map(|(_, id)| id)).await;
        opened.unwrap_or_else(|_| Err(abandoned(self.object_url(key))))
    }
}

impl LocalStore {
    /// On a thread that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        url: String,
        work: impl FnOnce(LocalStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || work(store)).await.unwrap_or_else(|_| Err(abandoned(url)))
    }
}

#[async_trait]
impl StoreWrite for LocalStore {
    async fn put(&self, key: &ObjectKey, content: Content, when: When) -> Result<Option<ETag>, StoreError> {
        let wanted = key.clone();
        self.blocking(self.object_url(key), move |store| store.write(&wanted, &content.bytes, when)).await
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        let wanted = key.clone();
        let fresh = self.blocking(self.object_url(key), move |store| store.begin(&wanted)).await?;
        Ok(Box::new(Growing(Arc::new(fresh))))
    }

    async fn copy_from(&self, _: &Place, _: &ObjectId, key: &ObjectKey, _: When) -> Result<Copied, StoreError> {
        Err(self.failure(StoreErrorKind::Unsupported, key, "a directory has no provider that copies"))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let wanted = key.clone();
        self.blocking(self.object_url(key), move |store| store.remove(&wanted)).await
    }

    async fn create(&self) -> Result<(), StoreError> {
        let failed = |store: &LocalStore, error: io::Error| {
            StoreError::new(kind_of(&error), store.url(), "the directory cannot be made").because(error)
        };
        let make = move |store: LocalStore| std::fs::create_dir_all(&store.root).map_err(|error| failed(&store, error));
        self.blocking(self.url(), make).await
    }

    async fn set_modified(&self, key: &ObjectKey, time: jiff::Timestamp) -> Result<Option<ETag>, StoreError> {
        let wanted = key.clone();
        self.blocking(self.object_url(key), move |store| store.date(&wanted, time)).await
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        let sweep = |store: LocalStore| match store.clear(&store.root, 0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let what = "what killed uploads left cannot be removed";
                Err(StoreError::new(kind_of(&error), store.url(), what).because(error))
            }
            swept => Ok(Swept { removed: swept.unwrap_or(0), ..Swept::default() }),
        };
        self.blocking(self.url(), sweep).await
    }
}

/// A file that is written in parts.
#[derive(Debug, Clone)]
struct Growing(Arc<Fresh>);

impl Growing {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Fresh) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let fresh = self.0.clone();
        let url = fresh.store.object_url(&fresh.key);
        tokio::task::spawn_blocking(move || work(&fresh)).await.unwrap_or_else(|_| Err(abandoned(url)))
    }
}

#[async_trait]
impl Upload for Growing {
    async fn part(&self, _: u32, at: u64, bytes: Bytes) -> Result<(), StoreError> {
        let write = move |fresh: &Fresh| {
            let written = fresh.file.write_all_at(&bytes, at);
            written.map_err(|error| fresh.store.unwritable(&fresh.key, &fresh.path, error))
        };
        self.blocking(write).await
    }

    async fn finish(&self, when: When) -> Result<Option<ETag>, StoreError> {
        self.blocking(move |fresh| fresh.show(when)).await
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.blocking(|fresh| {
            let _ = std::fs::remove_file(&fresh.temporary);
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests;
