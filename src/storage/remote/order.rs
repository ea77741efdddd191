//! The entries of a listing, held to its promise.
//!
//! In: entries as a store gives them. Out: the same, each below the prefix, in order, once. Never: puts in order what is
//! not; lets through in silence what was not asked for.

use crate::layout::ObjectKey;
use crate::storage::{Listed, StoreError, StoreErrorKind};

/// What an entry is called.
pub(in crate::storage) fn name(entry: &Listed) -> &ObjectKey {
    match entry {
        Listed::Object(object) => &object.key,
        Listed::Folder(folder) => folder,
    }
}

/// The objects and folders of a page, each in order of its own, together in order.
pub(in crate::storage) fn merge(objects: Vec<Listed>, folders: Vec<Listed>) -> Vec<Listed> {
    let (mut objects, mut folders) = (objects.into_iter().peekable(), folders.into_iter().peekable());
    let next = || {
        let folder_first = match (objects.peek(), folders.peek()) {
            (Some(object), Some(folder)) => name(folder) < name(object),
            (object, _) => object.is_none(),
        };
        if folder_first { folders.next() } else { objects.next() }
    };
    std::iter::from_fn(next).collect()
}

/// Holds a listing to its promise: below the prefix, in order.
pub(in crate::storage) struct Order {
    pub prefix: String,
    pub last: Option<ObjectKey>,
    pub began: bool,
}

impl Order {
    pub fn check(&mut self, entry: Result<Listed, StoreError>, url: &str) -> Option<Result<Listed, StoreError>> {
        let Ok(listed) = &entry else { return Some(entry) };
        let key = name(listed);
        let wrong = |what: String| {
            Some(Err(StoreError::new(StoreErrorKind::Failed, url, format!("LIST answered with {what}"))))
        };
        if !key.as_str().starts_with(&self.prefix) {
            return wrong(format!("{key:?}, which was not asked for"));
        }
        match &self.last {
            // Servers differ in what they make of a place to start that lies in a folder, or do not know it at all.
            Some(last) if key <= last && !self.began => None,
            // Repeated at the border of two pages.
            Some(last) if key == last => None,
            Some(last) if key < last => wrong(format!("{key:?} behind {last:?}: not in the order of the keys")),
            _ => {
                self.began = true;
                self.last = Some(key.clone());
                Some(entry)
            }
        }
    }
}
