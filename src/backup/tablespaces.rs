//! Where the tablespaces of a backup go on this machine.
//!
//! In: what the sentinel says, what the user says. Out: one [`Place`] per tablespace, and the `tablespace_map` that fits.
//! Never: writes to a place only because the sentinel names it: the source's paths are taken when the user asks for them
//! (`--restore-spec SOURCE`) and not otherwise; never lets a specification move the data directory itself.

use super::sentinel::Spec;
use crate::error::{Answer, Code, Error};
use crate::pg::label::{TablespaceLink, TablespaceMap};
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where `--blind-restore` puts tablespaces, below the data directory. Not in `pg_tblspc` itself: recent servers refuse
/// to recover with real directories there.
pub const INSIDE: &str = "tablespaces";

/// What the user says about tablespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `--tablespace OID=DIR`; wins over all else.
    pub places: BTreeMap<u32, PathBuf>,
    /// `--restore-spec FILE`.
    pub spec: Option<Spec>,
    /// `--restore-spec SOURCE`: where they were on the source.
    pub as_on_source: bool,
    /// `--blind-restore`: all others inside the data directory.
    pub inside: bool,
}

/// One tablespace's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its number, and its name in `pg_tblspc`.
    pub oid: u32,
    /// Where it was on the source, as the sentinel says.
    pub was: Option<String>,
    /// Where it goes. Absolute.
    pub place: PathBuf,
}

impl Place {
    /// Path of its link in the data directory.
    pub fn link(&self) -> String {
        format!("pg_tblspc/{}", self.oid)
    }
}

/// Decides. `target` is the data directory, absolute. All tablespaces without a place are named in one error.
pub fn places(source: Option<&Spec>, wishes: &Wishes, target: &Path) -> Answer<Vec<Place>> {
    let mut names: BTreeMap<u32, Option<String>> = BTreeMap::new();
    for one in source.map(|spec| spec.tablespaces.as_slice()).unwrap_or_default() {
        let valid =
            !one.name.is_empty() && one.name.bytes().all(|byte| byte.is_ascii_digit()) && !one.name.starts_with('0');
        let Some(oid) = one.name.parse().ok().filter(|_| valid) else {
            let what = format!("the sentinel names a tablespace `{}`, which is no OID", one.name.escape_debug());
            return Err(Error::new(Code::DamagedSentinel, what));
        };
        names.insert(oid, one.location.clone());
    }
    // Known to the user alone: the sentinels of old WAL-E's do not say.
    for oid in wishes.places.keys() {
        names.entry(*oid).or_default();
    }
    let mut places: Vec<Place> = Vec::new();
    let mut homeless = Vec::new();
    for (oid, was) in names {
        let name = oid.to_string();
        let from_spec = || wishes.spec.as_ref().and_then(|spec| spec.location(&name)).map(PathBuf::from);
        let from_source = || was.as_ref().filter(|_| wishes.as_on_source).map(PathBuf::from);
        let inside = || wishes.inside.then(|| target.join(INSIDE).join(&name));
        match wishes.places.get(&oid).cloned().or_else(from_spec).or_else(from_source).or_else(inside) {
            Some(place) => places.push(Place { oid, was, place }),
            None => homeless.push(match &was {
                Some(was) => format!("{oid} (was {was})"),
                None => oid.to_string(),
            }),
        }
    }
    if !homeless.is_empty() {
        let what = format!("the backup has tablespaces without a place to go: {}", homeless.join(", "));
        return Err(Error::new(Code::LocalTablespace, what));
    }
    for (index, one) in places.iter().enumerate() {
        let inside = |path: &Path| one.place.starts_with(path);
        if !one.place.is_absolute() {
            let what = format!("the place of tablespace {} must be an absolute path", one.oid);
            return Err(Error::new(Code::LocalTablespace, what).on(one.place.display()));
        }
        if (inside(target) && !inside(&target.join(INSIDE))) || target.starts_with(&one.place) {
            let what = format!("tablespace {} and the data directory would share a place", one.oid);
            return Err(Error::new(Code::LocalTablespace, what).on(one.place.display()));
        }
        let shared =
            places.iter().skip(index + 1).find(|other| inside(&other.place) || other.place.starts_with(&one.place));
        if let Some(other) = shared {
            let what = format!("tablespaces {} and {} would share a place", one.oid, other.oid);
            return Err(Error::new(Code::LocalTablespace, what).on(one.place.display()));
        }
    }
    Ok(places)
}

/// The map that makes the server link to the new places. `Err` names what the backup's own map lists beyond them.
pub fn map(found: &TablespaceMap, places: &[Place]) -> Answer<TablespaceMap> {
    for entry in &found.entries {
        if !places.iter().any(|place| place.oid == entry.oid) {
            let was = String::from_utf8_lossy(&entry.path).into_owned();
            let what = format!("tablespace_map lists tablespace {} (was {was}), which has no place to go", entry.oid);
            let hint = format!("Run again with --resume and `--tablespace {}=DIR`: partitions are kept.", entry.oid);
            return Err(Error::new(Code::LocalTablespace, what).hint(hint));
        }
    }
    let link = |place: &Place| TablespaceLink { oid: place.oid, path: place.place.as_os_str().as_bytes().to_vec() };
    Ok(TablespaceMap { entries: places.iter().map(link).collect() })
}

#[cfg(test)]
mod tests;
