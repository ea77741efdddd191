//! What of a closure is to do: source and destination side by side.
//!
//! In: the objects that go along, a listing of the destination, what the manifest knows. Out: [`Comparison`]. Never: takes
//! objects of one size for the same: only a version that the manifest names, an MD5 that both stores give, or a digest of the
//! bytes (which is for the caller to compute) says so.

use super::manifest::Manifest;
use crate::layout::{Entry, OWN, ObjectKey};
use crate::storage::{ETag, ObjectId};
use std::collections::BTreeMap;

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
    /// There, and the source's, but not chosen; or copied from this source before, which has removed them since.
    pub left_over: Vec<ObjectId>,
    /// There under the name of something that was not chosen, with its size: only their bytes tell.
    pub unclear_left_over: Vec<(ObjectId, ObjectId)>,
    /// Of an archive, and not of this source: nobody knows from where.
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
            && self.unclear_left_over.is_empty()
    }
}

/// How one object of the source and one of the destination are to each other.
enum Relation {
    Same,
    Unclear,
    Different,
}

fn relation(source: &ObjectId, there: &ObjectId, manifest: &Manifest) -> Relation {
    let known = manifest.entry(&source.key).filter(|entry| entry.is_of(there));
    match known {
        Some(entry) if entry.is_from(source) => Relation::Same,
        _ if source.size != there.size => Relation::Different,
        _ => match (md5(source), md5(there)) {
            (Some(one), Some(other)) if one == other => Relation::Same,
            _ => Relation::Unclear,
        },
    }
}

/// Compare. `rest` is what the source has besides and was not chosen.
pub fn compare(chosen: &[ObjectId], rest: &[ObjectId], destination: Vec<ObjectId>, manifest: &Manifest) -> Comparison {
    let mut there: BTreeMap<ObjectKey, ObjectId> =
        destination.into_iter().map(|object| (object.key.clone(), object)).collect();
    let mut comparison = Comparison::default();
    for source in chosen {
        let Some(object) = there.remove(&source.key) else {
            comparison.absent.push(source.clone());
            continue;
        };
        match relation(source, &object, manifest) {
            Relation::Same => comparison.same.push(source.clone()),
            Relation::Unclear => comparison.unclear.push((source.clone(), object)),
            Relation::Different => comparison.different.push((source.clone(), object)),
        }
    }
    let rest: BTreeMap<&ObjectKey, &ObjectId> = rest.iter().map(|object| (&object.key, object)).collect();
    for (key, object) in there {
        if key.as_str().starts_with(OWN) {
            continue;
        }
        let relation = rest.get(&key).map(|source| (*source, relation(source, &object, manifest)));
        if let Some((source, Relation::Unclear)) = relation {
            comparison.unclear_left_over.push((source.clone(), object));
        } else if matches!(relation, Some((_, Relation::Same)))
            || manifest.entry(&key).is_some_and(|entry| entry.is_of(&object))
        {
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
pub fn md5(object: &ObjectId) -> Option<&str> {
    let text = object.etag.as_ref().map(ETag::as_str)?.trim_matches('"');
    (text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))).then_some(text)
}

#[cfg(test)]
mod tests;
