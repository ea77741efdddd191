//! A whole archive in memory.
//!
//! In: a directory. Out: keys and stored bytes; a directory again, in which unchanged objects are the same files.
//! Never: decodes anything; changes the directory it was read from.

use super::Damage;
use crate::storage::memory::MemoryStore;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// A whole archive. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    objects: BTreeMap<String, Bytes>,
}

impl Archive {
    /// The files below a directory; keys are their paths in it.
    pub fn read(folder: &Path) -> io::Result<Archive> {
        let mut archive = Archive::default();
        let mut open = vec![folder.to_path_buf()];
        while let Some(at) = open.pop() {
            for entry in std::fs::read_dir(&at)? {
                let path = entry?.path();
                if path.is_dir() {
                    open.push(path);
                } else if let Some(key) = path.strip_prefix(folder).ok().and_then(Path::to_str) {
                    archive.objects.insert(key.to_owned(), std::fs::read(&path)?.into());
                }
            }
        }
        Ok(archive)
    }

    /// An object's stored bytes.
    pub fn get(&self, key: &str) -> Option<&Bytes> {
        self.objects.get(key)
    }

    /// Keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.objects.keys().map(String::as_str)
    }

    /// Put an object there.
    pub fn insert(&mut self, key: impl Into<String>, bytes: impl Into<Bytes>) {
        self.objects.insert(key.into(), bytes.into());
    }

    /// The archive after a damage.
    #[must_use]
    pub fn damaged(&self, damage: &Damage) -> Archive {
        let mut archive = self.clone();
        for (key, bytes) in &damage.changes {
            match bytes {
                Some(bytes) => archive.objects.insert(key.clone(), bytes.clone()),
                None => archive.objects.remove(key),
            };
        }
        archive
    }

    /// As a store.
    pub fn store(&self) -> MemoryStore {
        let store = MemoryStore::new();
        for (key, bytes) in &self.objects {
            store.insert(key, bytes.clone());
        }
        store
    }

    /// Write a copy of the directory `from`, which this archive was read from, with a damage done to it. Files that do
    /// not change are hard links where that is possible.
    pub fn write_damaged(&self, from: &Path, damage: &Damage, to: &Path) -> io::Result<()> {
        let changed = |key: &str| damage.changes.iter().any(|(changed, _)| changed == key);
        for key in self.keys().filter(|key| !changed(key)) {
            let (old, new) = (from.join(key), to.join(key));
            folder_of(&new)?;
            if std::fs::hard_link(&old, &new).is_err() {
                std::fs::copy(&old, &new)?;
            }
        }
        for (key, bytes) in &damage.changes {
            if let Some(bytes) = bytes {
                let path = to.join(key);
                folder_of(&path)?;
                std::fs::write(path, bytes)?;
            }
        }
        Ok(())
    }
}

fn folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}
