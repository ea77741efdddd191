//! What of a closure is to do: source and destination side by side.
//!
//! In: the objects that go along, a listing of the destination, what the manifest knows. Out: [`Comparison`]. Never: takes
//! objects of one size for the same: only a version that the manifest names, an MD5 that both stores give, or a digest of the
//! bytes (which is for the caller to compute) says so.

use super::manifest::Manifest;
use crate::layout::{Entry, OWN, ObjectKey};
use crate::storage::{ETag, ObjectId};
use std::collections::{BTreeMap, BTreeSet};

/// Both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Not there.
    pub absent: Vec<ObjectId>,
    /// There, and the same.
    pub same: Vec<ObjectId>,
    /// There with the same size: source and destination. Only their bytes tell.
    pub unclear: Vec<(ObjectId, ObjectId)>,
    /// There, and another: source and destination.
    pub different: Vec<(ObjectId, ObjectId)>,
    /// In the destination only, and once copied from this source: it has removed them since, or they were not chosen.
    pub left_over: Vec<ObjectId>,
    /// In the destination only, of an archive, and nobody knows from where.
    pub strangers: Vec<ObjectId>,
    /// In the destination only, and of no archive.
    pub foreign: Vec<ObjectId>,
}

impl Comparison {
    /// Does the destination hold another archive: some of one, and nothing of this one?
    pub fn is_occupied(&self) -> bool {
        !self.strangers.is_empty()
            && self.same.is_empty()
            && self.unclear.is_empty()
            && self.different.is_empty()
            && self.left_over.is_empty()
    }
}

/// Compare. `all` are the keys of the whole source, chosen or not.
pub fn compare(
    chosen: &[ObjectId],
    all: &BTreeSet<ObjectKey>,
    destination: Vec<ObjectId>,
    manifest: &Manifest,
) -> Comparison {
    let mut there: BTreeMap<ObjectKey, ObjectId> =
        destination.into_iter().map(|object| (object.key.clone(), object)).collect();
    let mut comparison = Comparison::default();
    for source in chosen {
        let Some(object) = there.remove(&source.key) else {
            comparison.absent.push(source.clone());
            continue;
        };
        let known = manifest.entry(&source.key).filter(|entry| entry.is_of(&object));
        match known {
            Some(entry) if entry.is_from(source) => comparison.same.push(source.clone()),
            _ if source.size != object.size => comparison.different.push((source.clone(), object)),
            _ => match (md5(source), md5(&object)) {
                (Some(one), Some(other)) if one == other => comparison.same.push(source.clone()),
                _ => comparison.unclear.push((source.clone(), object)),
            },
        }
    }
    for (key, object) in there {
        if key.as_str().starts_with(OWN) {
            continue;
        }
        if manifest.entry(&key).is_some_and(|entry| entry.is_of(&object)) || all.contains(&key) {
            comparison.left_over.push(object);
        } else if matches!(Entry::parse(&key), Entry::Foreign | Entry::OldLayout) {
            comparison.foreign.push(object);
        } else {
            comparison.strangers.push(object);
        }
    }
    comparison
}

/// The MD5 of an object's bytes, where its ETag looks like one. That of an upload in parts does not; that of an object that
/// the store has sealed does and is none, but two of those are never equal by chance.
fn md5(object: &ObjectId) -> Option<&str> {
    let text = object.etag.as_ref().map(ETag::as_str)?.trim_matches('"');
    (text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))).then_some(text)
}

#[cfg(test)]
mod tests;
