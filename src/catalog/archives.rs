//! Every archive below a prefix, at any depth, and each of them as a store of its own.
//!
//! In: a store. Out: [`find`]: the folders that hold `basebackups_005/` or `wal_005/` (or what WAL-E had before 005), and those
//! that could not be looked into; [`Below`]: one of them as a [`Store`]. Never: lists what is in those folders to find them
//! (millions of WAL objects cost one request), or leaves out in silence what it could not list.

use crate::error::{Answer, Code, Error};
use crate::layout::{self, Entry, ObjectKey};
use crate::storage::{
    ByteRange, Capabilities, Depth, ETag, Got, ListStream, Listed, ObjectId, Store, StoreError, StoreErrorKind,
};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Folders that are listed at one time.
const AT_ONCE: usize = 16;
/// Folders below each other. Directories can be linked in circles.
const DEEPEST: usize = 32;
/// What a container's upload is called; glued to the prefix of the archive where that had no slash at its end.
const SYSTEM_ID: &str = "sysids/";

/// What lies below a prefix.
#[derive(Debug, Default)]
pub struct Found {
    /// The archives, by the prefix of each.
    pub archives: Vec<Place>,
    /// Folders that could not be listed, and why.
    pub troubles: Vec<(String, Error)>,
    /// Folders that were listed.
    pub folders: u64,
}

/// One archive below a prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its prefix below the store's own: empty, or ends in a slash.
    pub prefix: String,
    /// The system identifier that lies beside it, as its key in the store: `db/walsysids/sysid` for `db/wal/`.
    pub glued_system_id: Option<ObjectKey>,
}

/// One folder, looked into.
#[derive(Debug, Default)]
struct Folder {
    /// Those in it, with their whole prefix.
    folders: BTreeSet<String>,
    /// Some of them are an archive's.
    is_archive: bool,
}

/// Looks for archives. `looked`: called for each folder. An error only where the prefix itself cannot be listed.
pub async fn find(store: &dyn Store, looked: &(dyn Fn() + Sync)) -> Answer<Found> {
    let mut found = Found::default();
    let mut open = vec![String::new()];
    let mut glued = BTreeSet::new();
    for depth in 0..=DEEPEST {
        let listed = open.drain(..).map(|prefix| async move {
            let folder = folder(store, &prefix).await;
            looked();
            (prefix, folder)
        });
        let mut listed: Vec<_> = stream::iter(listed).buffer_unordered(AT_ONCE).collect().await;
        listed.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (prefix, folder) in listed {
            found.folders += 1;
            match folder {
                Ok(folder) => {
                    if folder.is_archive {
                        found.archives.push(Place { prefix, glued_system_id: None });
                    }
                    open.extend(folder.folders);
                }
                Err(error) if prefix.is_empty() => return Err(error),
                Err(error) => found.troubles.push((prefix, error)),
            }
        }
        glued.extend(open.iter().filter(|folder| folder.ends_with(SYSTEM_ID)).cloned());
        if depth == DEEPEST {
            let too_deep = |prefix: String| {
                let what = format!("more than {DEEPEST} folders deep: it was not looked into");
                let hint = "Name it itself, if it is no directory that is linked in a circle.";
                let error = Error::new(Code::StoreFailed, what).on(format!("{}{prefix}", store.url())).hint(hint);
                (prefix, error)
            };
            found.troubles.extend(open.drain(..).map(too_deep));
        }
    }
    for archive in &mut found.archives {
        let beside = archive.prefix.strip_suffix('/').map(|stem| format!("{stem}{SYSTEM_ID}"));
        archive.glued_system_id =
            beside.filter(|folder| glued.contains(folder)).map(|folder| ObjectKey::new(format!("{folder}sysid")));
    }
    found.archives.sort();
    Ok(found)
}

async fn folder(store: &dyn Store, prefix: &str) -> Answer<Folder> {
    let mut folder = Folder::default();
    let mut lines = store.list(prefix, Depth::Level, None);
    while let Some(line) = lines.try_next().await? {
        let Listed::Folder(key) = line else { continue };
        let Some(name) = key.as_str().strip_prefix(prefix) else { continue };
        let ours = name == layout::BACKUPS || name == layout::WAL;
        if ours || Entry::parse(&ObjectKey::from(name)) == Entry::OldLayout {
            folder.is_archive = true;
        } else if name != SYSTEM_ID && name != layout::OWN {
            folder.folders.insert(key.as_str().to_owned());
        }
    }
    Ok(folder)
}

/// What was counted of a listing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Objects.
    pub objects: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// When the oldest of them was written.
    pub first: Option<Timestamp>,
    /// When the newest of them was written.
    pub last: Option<Timestamp>,
}

impl Tally {
    fn add(&mut self, object: &ObjectId) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(object.size);
        if let Some(time) = object.modified {
            self.first = Some(self.first.map_or(time, |first| first.min(time)));
            self.last = Some(self.last.map_or(time, |last| last.max(time)));
        }
    }
}

/// A folder of a store as a store of its own, which counts what its listings show.
#[derive(Debug)]
pub struct Below {
    store: Arc<dyn Store>,
    prefix: String,
    tally: Mutex<Tally>,
}

impl Below {
    /// The folder with this prefix: empty, or ending in a slash.
    pub fn new(store: Arc<dyn Store>, prefix: impl Into<String>) -> Below {
        Below { store, prefix: prefix.into(), tally: Mutex::default() }
    }

    /// What its listings have shown so far. An object that was listed twice counts twice.
    pub fn tally(&self) -> Tally {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whole(&self, key: &ObjectKey) -> ObjectKey {
        ObjectKey::new(format!("{}{key}", self.prefix))
    }

    fn own(&self, key: &ObjectKey) -> Result<ObjectKey, StoreError> {
        key.as_str().strip_prefix(&self.prefix).map(ObjectKey::from).ok_or_else(|| {
            let what = format!("a listing below {} shows it, which it is not", self.url());
            StoreError::new(StoreErrorKind::Failed, self.store.object_url(key), what)
        })
    }

    fn line(&self, line: Listed) -> Result<Listed, StoreError> {
        Ok(match line {
            Listed::Folder(key) => Listed::Folder(self.own(&key)?),
            Listed::Object(object) => {
                self.tally.lock().unwrap_or_else(PoisonError::into_inner).add(&object);
                Listed::Object(ObjectId { key: self.own(&object.key)?, ..object })
            }
        })
    }
}

#[async_trait]
impl Store for Below {
    fn url(&self) -> String {
        format!("{}{}", self.store.url(), self.prefix)
    }

    fn object_url(&self, key: &ObjectKey) -> String {
        self.store.object_url(&self.whole(key))
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        let after = start_after.map(|key| self.whole(key));
        let lines = self.store.list(&format!("{}{prefix}", self.prefix), depth, after.as_ref());
        lines.map(move |line| line.and_then(|line| self.line(line))).boxed()
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
        let got = self.store.get(&self.whole(key), range, version).await?;
        Ok(Got { object: ObjectId { key: key.clone(), ..got.object }, body: got.body })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        Ok(ObjectId { key: key.clone(), ..self.store.head(&self.whole(key)).await? })
    }

    async fn refresh_credentials(&self) {
        self.store.refresh_credentials().await;
    }
}

#[cfg(test)]
mod tests;
