//! The place of an archive, from the URL of one of its objects in a log.
//!
//! In: text. Out: [`Found`]: the archive's prefix, and which of its objects it is. Never: takes a URL that no archive can
//! have, or one with a user and password in it, which must not be shown again.
//!
//! ```text
//! s3://our-backups/backups/6e101b27-…/wal/wal_005/000000010000000000000001.lzo
//! └──────────── prefix ─────────────────┘└──── key below it ───────────────┘
//! ```

use super::Guid;
use crate::layout::{Entry, ObjectKey};
use std::fmt;
use std::sync::Arc;

/// The schemes that the originals have, and what stands behind them in a URL.
const SCHEMES: [&str; 6] = ["s3", "wabs", "azure", "gs", "swift", "file"];
/// Characters of a URL that are looked at.
const LONGEST: usize = 4096;
/// What containers put beside an archive.
const SYSTEM_ID: &str = "sysids/sysid";

/// An archive's prefix as a URL: `s3://bucket/path/`, always with a slash at its end. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(Arc<str>);

impl Place {
    /// A prefix that is known from elsewhere, with or without its last slash.
    pub fn of_prefix(url: &str) -> Place {
        Place(format!("{}/", url.trim_end_matches('/')).into())
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folders of its path, and where each stands in the URL.
    fn folders(&self) -> Vec<(usize, &str)> {
        let begin = self.0.find("://").map_or(0, |at| at + 3);
        // Before the first slash is the store.
        let slashes = self.0.match_indices('/').map(|(at, _)| at).filter(|at| *at >= begin);
        let starts: Vec<usize> = slashes.map(|at| at + 1).collect();
        let folder = |pair: &[usize]| match pair {
            [start, next] => Some((*start, self.0.get(*start..next - 1)?)),
            _ => None,
        };
        starts.windows(2).filter_map(folder).collect()
    }

    /// The instance whose archive it is: the last folder of its path that is a GUID.
    pub fn instance(&self) -> Option<Guid> {
        self.folders().iter().rev().find_map(|(_, folder)| Guid::parse(folder))
    }

    /// Has its path a folder of this name?
    pub fn has_folder(&self, name: &str) -> bool {
        !name.is_empty() && self.folders().iter().any(|(_, folder)| *folder == name)
    }

    /// The same place of another instance: the GUID in its path replaced. `None` where there is none.
    pub fn of_instance(&self, name: &str) -> Option<String> {
        let (at, folder) = self.folders().into_iter().rev().find(|(_, folder)| Guid::parse(folder).is_some())?;
        let (before, rest) = self.0.split_at_checked(at)?;
        Some(format!("{before}{name}{}", rest.get(folder.len()..)?))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl serde::Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// An object of an archive, named in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The archive.
    pub place: Place,
    /// What it is.
    pub entry: Entry,
}

impl Found {
    /// From the whole URL of an object: blanks are part of it.
    pub fn of_url(url: &str) -> Option<Found> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        if url.len() > LONGEST || !SCHEMES.contains(&&*scheme) {
            return None;
        }
        let slash = rest.find('/')?;
        let (store, path) = rest.split_at_checked(slash)?;
        // A password, or what neither original can read below.
        if store.contains(['@', ' ']) || rest.contains(|c: char| c.is_control() || matches!(c, '?' | '#' | '"')) {
            return None;
        }
        let (prefix, entry) = match path.strip_suffix(SYSTEM_ID) {
            // Beside the folders; glued to the prefix where that had no slash at its end.
            Some(prefix) => (prefix, Entry::SystemId),
            None => {
                let at = layout_at(path)?;
                (path.get(..at)?, Entry::parse(&ObjectKey::from(path.get(at + 1..)?)))
            }
        };
        let prefix = prefix.trim_end_matches('/');
        let store = match &*scheme {
            // The host is looked at by nobody.
            "file" => "",
            _ if store.is_empty() => return None,
            _ => store,
        };
        Some(Found { place: Place(format!("{scheme}://{store}{prefix}/").into()), entry })
    }

    /// The first URL of an archive's object in a text: to the closing quote where it stands in quotes, else to a blank.
    pub fn in_text(text: &str) -> Option<Found> {
        let mut from = 0;
        while let Some(at) = text.get(from..)?.find("://").map(|at| from + at) {
            let begin = text.get(..at)?.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |before| {
                before + text.get(before..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
            });
            let quoted = text.get(..begin)?.ends_with('"');
            let rest = text.get(begin..)?;
            let end = match quoted {
                true => rest.find('"'),
                false => rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | ')')),
            };
            let url = rest.get(..end.unwrap_or(rest.len()))?;
            // Behind a URL without quotes a sentence may end.
            let url = if quoted { url } else { url.strip_suffix('.').unwrap_or(url) };
            if let Some(found) = Found::of_url(url) {
                return Some(found);
            }
            from = at + 3;
        }
        None
    }
}

/// Where `/wal_005/` or `/basebackups_005/` begins (any three digits): the last one, as a prefix can have such a folder too.
fn layout_at(path: &str) -> Option<usize> {
    path.match_indices('/').map(|(at, _)| at).rev().find(|at| {
        let folder = path.get(at + 1..).and_then(|rest| rest.split_once('/')).map_or("", |(folder, _)| folder);
        let version = folder.strip_prefix("wal_").or_else(|| folder.strip_prefix("basebackups_"));
        version.is_some_and(|digits| digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_digit()))
    })
}
