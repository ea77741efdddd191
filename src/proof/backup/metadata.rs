//! WAL-G's `files_metadata.json`, held against what the partitions hold.
//!
//! In: the object, the names that were met, the archives that are there. Out: [`Missing`]. Never: keeps the list in
//! memory: it may name millions of files, so it is read as a stream and each name is looked up as it goes by.
//! Source: WAL-G `internal/databases/postgres/files_metadata_dto.go`.

use super::parts::{NameSet, Part};
use crate::backup::contents::{self, MemberPath, Names};
use crate::error::{Answer, Code, Error};
use crate::layout::Compression;
use crate::pipeline;
use crate::pipeline::budget::Budget;
use crate::pipeline::decode::Plain;
use crate::pipeline::read::{Reading, Settings};
use crate::storage::{ObjectId, Store};
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Listed, and not there.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// Files that no partition holds.
    pub files: Names,
    /// Archives that the folder does not hold.
    pub archives: Vec<String>,
}

/// Reads the list.
pub(super) async fn read(
    store: &Arc<dyn Store>,
    object: ObjectId,
    names: &Arc<NameSet>,
    parts: &[Part],
) -> Answer<Missing> {
    let there: BTreeSet<String> = parts.iter().map(|(.., object)| object.key.base_name().to_owned()).collect();
    let names = Arc::clone(names);
    let reading = Reading::start(Arc::clone(store), object, Budget::new(1 << 20), Settings::default());
    let mut plain = Plain::start(reading, Compression::Plain, 1)?;
    let parse = tokio::task::spawn_blocking(move || {
        let mut missing = Missing::default();
        let mut json = serde_json::Deserializer::from_reader(&mut plain);
        let list = List { names: &names, there: &there, missing: &mut missing };
        let result = list.deserialize(&mut json).and_then(|()| json.end());
        result.map(|()| missing)
    });
    let result = parse.await.map_err(|error| Error::new(Code::InternalBug, "a thread died").because(error))?;
    result.map_err(|error| match error.is_io() {
        true => match pipeline::decode::into_error(error.into()) {
            Ok(error) => error,
            Err(error) => Error::new(Code::LocalIo, "cannot read the list of files").because(error),
        },
        false => Error::new(Code::DamagedObject, "it is no list of files").because(error),
    })
}

/// The document: `{"Files": {NAME: {..}}, "TarFileSets": {ARCHIVE: [..]}}`.
struct List<'a> {
    names: &'a NameSet,
    there: &'a BTreeSet<String>,
    missing: &'a mut Missing,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with Files")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "Files" => map.next_value_seed(each(|name, file: File| {
                    // Skipped ones are unchanged since the parent.
                    let path = MemberPath::parse(name.trim_start_matches('/').as_bytes());
                    let met = |path: &MemberPath| {
                        path.as_bytes().is_empty() || contents::is_of_no_use(path) || self.names.has(path.as_bytes())
                    };
                    if !file.skipped && !path.is_ok_and(|path| met(&path)) {
                        self.missing.files.add(name);
                    }
                }))?,
                "TarFileSets" => map.next_value_seed(each(|name, _: IgnoredAny| {
                    if !name.is_empty() && !self.there.contains(&name) {
                        self.missing.archives.push(name);
                    }
                }))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// What is said of one file, as far as it matters here.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(rename = "IsSkipped", default)]
    skipped: bool,
}

/// A map whose entries are looked at one after the other and not kept. `null` is an empty one.
struct Each<T, F>(F, PhantomData<T>);

fn each<T: DeserializeOwned, F: FnMut(String, T)>(see: F) -> Each<T, F> {
    Each(see, PhantomData)
}

impl<'de, T: DeserializeOwned, F: FnMut(String, T)> DeserializeSeed<'de> for Each<T, F> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(String, T)> Visitor<'de> for Each<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<(), M::Error> {
        while let Some((name, value)) = map.next_entry::<String, T>()? {
            (self.0)(name, value);
        }
        Ok(())
    }
}
