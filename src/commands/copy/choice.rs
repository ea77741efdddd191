//! What of an archive is meant: the choice that `copy` and `copy-verify` have in common.
//!
//! In: a source, a [`Selection`]. Out: [`Chosen`]: its survey, and every object that goes along. Never: looks at the
//! destination; writes.

use crate::catalog::inventory::InventoryBuilder;
use crate::error::{Answer, Code, Error};
use crate::layout::{self, BackupName, Entry, ObjectKey};
use crate::proof::survey::{self, BackupFacts, SentinelState, Survey};
use crate::storage::{Depth, Listed, ObjectId, Store};
use crate::transfer::closure::{self, Choice, Closure, Need, Wal};
use futures::TryStreamExt;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Which base backups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Which {
    /// All that are finished.
    #[default]
    All,
    /// The one that LATEST means.
    Latest,
    /// These.
    Named(Vec<BackupName>),
}

/// What is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Which base backups.
    pub which: Which,
    /// Of those, only what was finished at this time or later.
    pub since: Option<Timestamp>,
    /// Which WAL.
    pub wal: Wal,
    /// Every object below the prefix instead.
    pub mirror: bool,
}

/// What of a source is meant.
#[derive(Debug)]
pub struct Chosen {
    /// The source as its names tell it.
    pub survey: Survey,
    /// What each base backup needs.
    pub needs: BTreeMap<BackupName, Need>,
    /// What goes along.
    pub closure: Closure,
}

/// Look at a source. `absent.prefix` where nothing lies there, `absent.backup` where what is meant does not.
pub async fn look(source: &dyn Store, selection: &Selection) -> Answer<Chosen> {
    let listed = objects(source, selection.mirror).await?;
    let mut builder = InventoryBuilder::new();
    listed.iter().for_each(|object| builder.add(Listed::Object(object.clone())));
    let survey = survey::of(source, builder.finish()).await;
    let needs = needs(&survey);
    if listed.is_empty() {
        return Err(Error::new(Code::AbsentPrefix, "nothing lies there").on(source.url()));
    }
    let choice = match selection.mirror {
        true => Choice::Everything,
        false => Choice::Backups(choose(&survey, selection)?, selection.wal),
    };
    let closure = closure::closure(listed, &needs, &choice, survey.size);
    Ok(Chosen { survey, needs, closure })
}

/// Every object that may matter: of the archive, and with `everything` below the whole prefix.
pub async fn objects(store: &dyn Store, everything: bool) -> Answer<Vec<ObjectId>> {
    let folders: &[(&str, Depth)] = match everything {
        true => &[("", Depth::All)],
        false => &[
            ("", Depth::Level),
            (layout::BACKUPS, Depth::All),
            (layout::WAL, Depth::All),
            ("sysids/", Depth::All),
            (layout::OWN, Depth::All),
        ],
    };
    let mut found = Vec::new();
    for (folder, depth) in folders {
        let mut listing = store.list(folder, *depth, None);
        while let Some(line) = listing.try_next().await? {
            if let Listed::Object(object) = line {
                found.push(object);
            }
        }
    }
    Ok(found)
}

/// What each base backup needs.
fn needs(survey: &Survey) -> BTreeMap<BackupName, Need> {
    let need = |backup: &BackupFacts| {
        let read = match &backup.sentinel {
            SentinelState::Read(sentinel) => Some(&**sentinel),
            _ => None,
        };
        let parent = read.and_then(|sentinel| sentinel.delta.as_ref()?.from.parse().ok());
        Need {
            parent,
            timeline: backup.timeline,
            wal: backup.stop.map(|_| (backup.first_segment(survey.size), backup.last_segment(survey.size))),
            finished: backup.is_finished(),
        }
    };
    survey.backups.iter().map(|backup| (backup.name, need(backup))).collect()
}

/// The base backup whose sentinel this is.
pub fn backup_of(key: &ObjectKey) -> Option<BackupName> {
    match Entry::parse(key) {
        Entry::Sentinel(name) => Some(name),
        _ => None,
    }
}

/// The base backups that are meant.
fn choose(survey: &Survey, selection: &Selection) -> Answer<BTreeSet<BackupName>> {
    let none = |what: String| Error::new(Code::AbsentBackup, what).on(&survey.url);
    let finished = || survey.backups.iter().filter(|backup| backup.is_finished());
    let mut chosen: BTreeSet<BackupName> = match &selection.which {
        Which::All => finished().map(|backup| backup.name).collect(),
        Which::Latest => survey.latest().map(|backup| backup.name).into_iter().collect(),
        Which::Named(names) => {
            for name in names {
                if !finished().any(|backup| backup.name == *name) {
                    return Err(none(format!("there is no base backup {name} with a sentinel")));
                }
            }
            names.iter().copied().collect()
        }
    };
    if chosen.is_empty() {
        return Err(none("there is no base backup with a sentinel".into()).hint(
            "WAL alone restores nothing. To copy it all the same, with everything else below the prefix: --mirror.",
        ));
    }
    if let Some(since) = selection.since {
        // What tells no time is as young as its sentinel.
        let young = |backup: &&BackupFacts| backup.finished.or(backup.modified).is_none_or(|time| time >= since);
        let young: BTreeSet<BackupName> = finished().filter(young).map(|backup| backup.name).collect();
        chosen.retain(|name| young.contains(name));
        if chosen.is_empty() {
            return Err(none(format!("no base backup of those chosen was finished since {since}")));
        }
    }
    Ok(chosen)
}
