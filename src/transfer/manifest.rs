//! What went: the manifest of a copy, kept in the destination.
//!
//! In: one [`Entry`] per object as it is copied, documents that earlier runs left. Out: JSON documents below
//! `.wal-r/manifest/`, the latest entry of a key being the one that counts. Never: is believed about an object whose version
//! in the destination is not the one it names; loses what an earlier run wrote.
//!
//! A run writes a document now and then, so that one that is killed leaves little to be found out again; at the end of one
//! that succeeded, small documents are made one. Any host can go on: all that it takes is in the destination.
//!
//! ```json
//! {"schema": "wal-r.copy-manifest", "version": 1, "from": "s3://a/db/", "to": "s3://b/db/", "written": "2026-11-26T01:00:00Z",
//!  "objects": [{"key": "wal_005/00000001000000000000000A.lzo", "size": 123, "modified": "2026-11-20T20:34:38Z",
//!               "sha256": "9f86…", "crc32c": 3632233996, "source_version": "\"…\"", "version": "\"…\"", "how": "streamed"}]}
//! ```

use super::{Digest, Hex32};
use crate::catalog::scan;
use crate::error::{Answer, Code, Error};
use crate::layout::{OWN, ObjectKey};
use crate::storage::{Content, Depth, ETag, Listed, ObjectId, Store, StoreErrorKind, StoreWrite, When};
use futures::TryStreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const SCHEMA: &str = "wal-r.copy-manifest";
/// No document is larger.
const MOST_ENTRIES: usize = 20_000;
/// No older entry waits to be written.
const EVERY: Duration = Duration::from_secs(15);
/// So many documents are left as they are.
const FEW: usize = 8;
/// What is larger is no document of ours.
const MOST_BYTES: u64 = 64 << 20;

/// One object that was copied, or found to be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its key below both prefixes.
    pub key: String,
    /// Stored bytes.
    pub size: u64,
    /// When the source's store says that it was written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub modified: Option<Timestamp>,
    /// Of its stored bytes. None where the provider copied and did not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<Hex32>,
    /// CRC-32C of its stored bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub crc32c: Option<u32>,
    /// Its version in the source.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_version: Option<String>,
    /// Its version in the destination.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// How it came there.
    pub how: How,
}

/// How an object came to be in the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Its bytes passed here.
    Streamed,
    /// The provider copied it.
    Provider,
    /// It was there, with the same digest.
    Found,
}

impl Entry {
    /// Of an object that is now there in this version.
    pub fn new(source: &ObjectId, version: Option<&ETag>, digest: Option<Digest>, how: How) -> Entry {
        Entry {
            key: source.key.to_string(),
            size: source.size,
            modified: source.modified,
            sha256: digest.map(|digest| digest.sha256),
            crc32c: digest.and_then(|digest| digest.crc32c),
            source_version: source.etag.as_ref().map(|etag| etag.as_str().to_owned()),
            version: version.map(|etag| etag.as_str().to_owned()),
            how,
        }
    }

    /// Is this object of the destination the one that was copied?
    pub fn is_of(&self, there: &ObjectId) -> bool {
        self.size == there.size && same(self.version.as_deref(), there.etag.as_ref())
    }

    /// And is this the version of the source from which it was?
    pub fn is_from(&self, source: &ObjectId) -> bool {
        self.size == source.size && same(self.source_version.as_deref(), source.etag.as_ref())
    }
}

/// Versions that nobody knows are not the same.
fn same(one: Option<&str>, other: Option<&ETag>) -> bool {
    one.is_some() && one == other.map(ETag::as_str)
}

/// A document as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    schema: String,
    version: u32,
    from: String,
    to: String,
    written: Timestamp,
    objects: Vec<Entry>,
}

/// What is known of a destination.
#[derive(Debug)]
pub struct Manifest {
    from: String,
    to: String,
    /// The latest entry of each key that was copied from this source.
    known: BTreeMap<ObjectKey, Entry>,
    /// Documents by their key: how many entries each has, of whatever source.
    documents: BTreeMap<ObjectKey, usize>,
    unwritten: Vec<Entry>,
    since: Instant,
    next: u64,
    /// What could not be understood: said once.
    pub remarks: Vec<String>,
}

fn folder() -> String {
    format!("{OWN}manifest/")
}

impl Manifest {
    /// Of a copy that begins. Both URLs are for people; the source's also tells its entries from others'.
    pub fn new(to: &str, from: &str) -> Manifest {
        Manifest {
            from: from.to_owned(),
            to: to.to_owned(),
            known: BTreeMap::new(),
            documents: BTreeMap::new(),
            unwritten: Vec::new(),
            since: Instant::now(),
            next: 1,
            remarks: Vec::new(),
        }
    }

    /// Read what is there. `from` is the source's URL: what was copied from elsewhere is left alone.
    pub async fn read(destination: &dyn Store, from: &str) -> Answer<Manifest> {
        let mut manifest = Manifest::new(&destination.url(), from);
        let mut documents = Vec::new();
        {
            let folder = folder();
            let mut listing = destination.list(&folder, Depth::All, None);
            loop {
                match listing.try_next().await {
                    Ok(Some(Listed::Object(object))) => documents.push(object),
                    Ok(Some(Listed::Folder(_))) => {}
                    Ok(None) => break,
                    Err(error) if error.kind == StoreErrorKind::NoSuchPrefix => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        documents.sort_by(|a, b| a.key.cmp(&b.key));
        for object in documents {
            let number = object.key.base_name().strip_suffix(".json").and_then(|text| text.parse::<u64>().ok());
            manifest.next = manifest.next.max(number.unwrap_or(0) + 1);
            manifest.take(destination, &object).await?;
        }
        Ok(manifest)
    }

    async fn take(&mut self, store: &dyn Store, object: &ObjectId) -> Answer<()> {
        let url = store.object_url(&object.key);
        let bytes = match object.size {
            0..=MOST_BYTES => scan::raw(store, &object.key, MOST_BYTES).await?,
            _ => Vec::new(),
        };
        match serde_json::from_slice::<Document>(&bytes) {
            Ok(document) if document.schema == SCHEMA && document.version == 1 => {
                self.documents.insert(object.key.clone(), document.objects.len());
                if document.from == self.from {
                    for entry in document.objects {
                        self.known.insert(ObjectKey::from(entry.key.as_str()), entry);
                    }
                }
            }
            Ok(document) => self.remarks.push(format!(
                "{url} is a {} of version {}, which this program does not read: what it lists is compared anew",
                document.schema, document.version
            )),
            Err(error) => {
                self.remarks.push(format!("{url} is no manifest ({error}): what it lists is compared anew"));
            }
        }
        Ok(())
    }

    /// What is known of a key.
    pub fn entry(&self, key: &ObjectKey) -> Option<&Entry> {
        self.known.get(key)
    }

    /// How many objects are known to have come from this source.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Every entry, by key.
    pub fn entries(&self) -> impl Iterator<Item = (&ObjectKey, &Entry)> {
        self.known.iter()
    }

    /// One more object. Says whether it is time to [`Manifest::document`].
    pub fn record(&mut self, entry: Entry) -> bool {
        if self.unwritten.is_empty() {
            self.since = Instant::now();
        }
        self.known.insert(ObjectKey::from(entry.key.as_str()), entry.clone());
        self.unwritten.push(entry);
        self.unwritten.len() >= MOST_ENTRIES || self.since.elapsed() >= EVERY
    }

    /// An object that is no longer there.
    pub fn forget(&mut self, key: &ObjectKey) {
        self.known.remove(key);
    }

    /// The next document to write: its key and bytes. `None`: nothing new.
    pub fn document(&mut self, now: Timestamp) -> Answer<Option<(ObjectKey, Vec<u8>)>> {
        if self.unwritten.is_empty() {
            return Ok(None);
        }
        let objects = std::mem::take(&mut self.unwritten);
        self.make(objects, now).map(Some)
    }

    fn make(&mut self, objects: Vec<Entry>, now: Timestamp) -> Answer<(ObjectKey, Vec<u8>)> {
        let key = ObjectKey::from(format!("{}{:08}.json", folder(), self.next));
        self.next += 1;
        self.documents.insert(key.clone(), objects.len());
        let (from, to) = (self.from.clone(), self.to.clone());
        let document = Document { schema: SCHEMA.into(), version: 1, from, to, written: now, objects };
        let bytes = serde_json::to_vec(&document)
            .map_err(|error| Error::new(Code::InternalBug, "a manifest does not serialise").because(error))?;
        Ok((key, bytes))
    }

    /// Write what is new.
    pub async fn write(&mut self, destination: &dyn StoreWrite, now: Timestamp) -> Answer<()> {
        while let Some((key, bytes)) = self.document(now)? {
            self.put(destination, key, bytes).await?;
        }
        Ok(())
    }

    /// Write one document. One that somebody else wrote meanwhile stays.
    async fn put(&mut self, destination: &dyn StoreWrite, mut key: ObjectKey, bytes: Vec<u8>) -> Answer<()> {
        let content = Content::from(bytes);
        loop {
            match destination.put(&key, content.clone(), When::Absent).await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind == StoreErrorKind::Exists => {
                    let entries = self.documents.remove(&key).unwrap_or(0);
                    key = ObjectKey::from(format!("{}{:08}.json", folder(), self.next));
                    self.next += 1;
                    self.documents.insert(key.clone(), entries);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Make one of many small documents: after a run that succeeded. The new ones are there before an old one goes.
    pub async fn tidy(&mut self, destination: &dyn StoreWrite, now: Timestamp) -> Answer<()> {
        let full = MOST_ENTRIES / 2;
        let small = self.documents.iter().filter(|(_, entries)| **entries < full);
        let small: BTreeSet<ObjectKey> = small.map(|(key, _)| key.clone()).collect();
        if small.len() <= FEW {
            return Ok(());
        }
        // Entries of another source would be lost: those documents stay.
        let mut keys: BTreeSet<ObjectKey> = BTreeSet::new();
        let mut gone = Vec::new();
        for key in small {
            let bytes = scan::raw(destination, &key, MOST_BYTES).await?;
            let Ok(document) = serde_json::from_slice::<Document>(&bytes) else { continue };
            if document.from == self.from {
                keys.extend(document.objects.iter().map(|entry| ObjectKey::from(entry.key.as_str())));
                gone.push(key);
            }
        }
        // The latest entry of each, wherever it was; what was removed since is not remembered for ever.
        let entries: Vec<Entry> = keys.iter().filter_map(|key| self.known.get(key).cloned()).collect();
        for entries in entries.chunks(MOST_ENTRIES) {
            let (key, bytes) = self.make(entries.to_vec(), now)?;
            self.put(destination, key, bytes).await?;
        }
        for key in gone {
            destination.delete(&key).await?;
            self.documents.remove(&key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
