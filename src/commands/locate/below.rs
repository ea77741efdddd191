//! `locate --under`: every archive below a prefix, where no log tells.
//!
//! In: a store. Out: [`Report`]: each archive with its newest base backup and segment, its cluster, its size and times. Never:
//! leaves out an archive that cannot be read (it is there with its error), or lists WAL to find where it is.

use super::{Copy, NEW_INSTANCE, copy};
use crate::catalog::archives::{self, Below, Tally};
use crate::catalog::scan;
use crate::commands::{Progress, Unit};
use crate::error::{Answer, Code, Error, Verdict};
use crate::layout::BackupName;
use crate::locate::{Guid, Place};
use crate::pg::{SegmentName, SystemId, TimelineId};
use crate::proof::survey::{self, SentinelState, Survey};
use crate::storage::Store;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// Archives that are listed at one time. Each takes 40 bytes a segment while it is.
const AT_ONCE: usize = 4;

/// What lies below a prefix.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The prefix.
    pub under: String,
    /// The archives: the one that was written last comes first, those that cannot be read at the end.
    pub archives: Vec<Archive>,
    /// How many others there are.
    pub others: usize,
    /// How many folders were looked into.
    pub folders: u64,
    /// Folders that could not be looked into: there may be archives in them.
    pub unread: Vec<Unread>,
}

/// A folder that could not be looked into.
#[derive(Debug, Serialize)]
pub struct Unread {
    /// Its URL.
    pub url: String,
    /// Why.
    #[serde(serialize_with = "super::trouble")]
    pub trouble: Option<Error>,
}

/// One archive.
#[derive(Debug, Serialize)]
pub struct Archive {
    /// Its prefix.
    pub url: Place,
    /// The instance in its prefix.
    pub instance: Option<Guid>,
    /// Its cluster's system identifier.
    pub system: Option<SystemId>,
    /// Who says so, or why nobody does.
    pub system_from: Option<String>,
    /// Other clusters that something in it speaks of, and what. An archive has one.
    pub other_systems: Vec<(SystemId, String)>,
    /// Base backups with a sentinel.
    pub base_backups: usize,
    /// Base backups without one: failed, or being taken just now.
    pub unfinished: usize,
    /// Base backups whose sentinel is damaged or could not be read.
    pub unreadable: usize,
    /// What LATEST means, of those that are readable.
    pub newest_backup: Option<NewestBackup>,
    /// Stored segments.
    pub segments: usize,
    /// The newest segment of the timeline that was written last.
    pub newest_segment: Option<NewestSegment>,
    /// Its timelines.
    pub timelines: Vec<TimelineId>,
    /// Folders of layouts that WAL-E left behind in 2011, which nothing here reads.
    pub old_layouts: Vec<String>,
    /// Objects in the archive's folders.
    pub objects: u64,
    /// Their stored bytes.
    pub bytes: u64,
    /// When the oldest of them was written, as the store says. Copying changes it.
    pub first: Option<Timestamp>,
    /// When the newest of them was written.
    pub last: Option<Timestamp>,
    /// The command that copies it to a new instance.
    pub copy: Copy,
    /// Why it cannot be read, or not all of it.
    #[serde(serialize_with = "super::trouble")]
    pub trouble: Option<Error>,
}

/// A base backup that can be restored by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewestBackup {
    /// Its name.
    pub name: BackupName,
    /// When the store says that its sentinel was written.
    pub written: Option<Timestamp>,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewestSegment {
    /// Its name.
    pub name: SegmentName,
    /// When the store says that it was written.
    pub written: Option<Timestamp>,
}

impl Report {
    /// What should be known beside the result, one line each.
    pub fn remarks(&self) -> Vec<String> {
        let unread = self.unread.iter().filter_map(|one| Some((&one.url, one.trouble.as_ref()?)));
        unread.map(|(url, error)| format!("{url}: could not be looked into: {}", survey::why(error))).collect()
    }

    /// The code of the first thing that could not be looked at.
    pub fn shortfall(&self) -> Option<Code> {
        let archives = self.archives.iter().filter_map(|archive| archive.trouble.as_ref());
        let folders = self.unread.iter().filter_map(|one| one.trouble.as_ref());
        archives.chain(folders).map(Error::code).next()
    }

    /// Is this the place of a new instance in what is proposed?
    pub fn names_new_instance(&self) -> bool {
        self.archives.iter().any(|archive| archive.copy.to.contains(NEW_INSTANCE))
    }
}

/// Look for archives and into each. `absent.archive` where there is none and everything was looked into.
pub async fn run(store: Arc<dyn Store>, instance: Option<&str>, progress: Arc<dyn Progress>) -> Answer<Report> {
    progress.begin("looking for archives", None, Unit::Things("folders"));
    let found = archives::find(&*store, &|| progress.advance(1)).await;
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            progress.end();
            return Err(error);
        }
    };
    let url = |prefix: &str| format!("{}{prefix}", store.url());
    let all = found.archives.len();
    let wanted: Vec<archives::Place> = found
        .archives
        .into_iter()
        .filter(|one| instance.is_none_or(|name| is_named(&url(&one.prefix), name)))
        .collect();
    progress.begin("listing archives", Some(wanted.len() as u64), Unit::Things("archives"));
    let others = all - wanted.len();
    let looked = wanted.into_iter().map(|place| async {
        let archive = look(store.clone(), place).await;
        progress.advance(1);
        archive
    });
    let mut archives: Vec<Archive> = stream::iter(looked).buffered(AT_ONCE).collect().await;
    progress.end();
    archives.sort_by_key(|archive| std::cmp::Reverse(archive.last));
    let unread = found.troubles.into_iter();
    let mut unread: Vec<Unread> =
        unread.map(|(prefix, error)| Unread { url: url(&prefix), trouble: Some(error) }).collect();
    if archives.is_empty() {
        // Not looked into is not absent.
        if let Some(error) = unread.iter_mut().find_map(|one| one.trouble.take()) {
            return Err(error);
        }
        let folders = found.folders;
        let what = match (instance, others) {
            (Some(name), 1..) => format!("no archive has {name} in its prefix; there are {others} others"),
            _ => format!("no archive lies below it ({folders} folders looked into)"),
        };
        let hint =
            "Look one level higher, and in the other buckets; an archive has a folder wal_005 or basebackups_005.";
        return Err(Error::new(Code::AbsentArchive, what).on(store.url()).hint(hint));
    }
    Ok(Report { under: store.url(), archives, others, folders: found.folders, unread })
}

fn is_named(url: &str, name: &str) -> bool {
    let place = Place::of_prefix(url);
    place.has_folder(name) || Guid::parse(name).is_some_and(|guid| place.instance() == Some(guid))
}

async fn look(store: Arc<dyn Store>, place: archives::Place) -> Archive {
    let below = Below::new(store.clone(), place.prefix);
    let url = Place::of_prefix(&below.url());
    let glued = match &place.glued_system_id {
        Some(key) => beside(&*store, key).await,
        None => Ok(None),
    };
    let survey = survey::scan(&below).await;
    let tally = below.tally();
    let mut archive = match &survey {
        Ok(survey) => told(url, survey, tally),
        Err(_) => empty(url, tally),
    };
    archive.trouble = survey.map_or_else(Some, |survey| unread(&below, &survey));
    match glued {
        Ok(None) => {}
        Ok(Some((system, from))) => match archive.system {
            None => (archive.system, archive.system_from) = (Some(system), Some(from)),
            Some(own) if own == system => {}
            Some(_) => archive.other_systems.push((system, from)),
        },
        Err(error) => archive.trouble = archive.trouble.or(Some(error)),
    }
    archive
}

/// A sentinel that could not be asked for: an older base backup than the newest may stand for it then.
fn unread(store: &dyn Store, survey: &Survey) -> Option<Error> {
    survey.backups.iter().rev().find_map(|backup| match &backup.sentinel {
        SentinelState::Unknown(why) => {
            let on = store.object_url(&backup.name.sentinel_key());
            Some(Error::new(Code::StoreFailed, "the sentinel could not be read").on(on).because(why.clone()))
        }
        _ => None,
    })
}

/// Why nothing tells which cluster it is: what kept the WAL from telling its segment size, too.
fn untold(survey: &Survey) -> String {
    survey.size_from.trim_start_matches("assumed").trim_start_matches([';', ':', ' ']).to_owned()
}

/// What lies beside the archive, its name glued to the prefix. What is not a number tells nothing.
async fn beside(store: &dyn Store, key: &crate::layout::ObjectKey) -> Answer<Option<(SystemId, String)>> {
    match scan::raw(store, key, 1024).await {
        Ok(bytes) => {
            let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
            Ok(number.map(|number| (SystemId(number), store.object_url(key))))
        }
        // A folder of that name that holds something else, or no number: there is no identifier.
        Err(error) if error.verdict() != Verdict::Unknown => Ok(None),
        Err(error) => Err(error),
    }
}

fn empty(url: Place, tally: Tally) -> Archive {
    Archive {
        instance: url.instance(),
        copy: copy(&url),
        url,
        system: None,
        system_from: None,
        other_systems: Vec::new(),
        base_backups: 0,
        unfinished: 0,
        unreadable: 0,
        newest_backup: None,
        segments: 0,
        newest_segment: None,
        timelines: Vec::new(),
        old_layouts: Vec::new(),
        objects: tally.objects,
        bytes: tally.bytes,
        first: tally.first,
        last: tally.last,
        trouble: None,
    }
}

fn told(url: Place, survey: &Survey, tally: Tally) -> Archive {
    let finished = survey.backups.iter().filter(|one| one.is_finished()).count();
    let newest = survey.extents.keys().filter_map(|timeline| {
        let name = survey.last_stored(*timeline)?.name(*timeline, survey.size)?;
        Some(NewestSegment { name, written: survey.written(*timeline) })
    });
    let mut systems = survey.systems.iter().cloned();
    let first = systems.next();
    Archive {
        system: survey.system,
        system_from: Some(first.map_or_else(|| untold(survey), |(_, from)| from)),
        other_systems: systems.collect(),
        base_backups: finished,
        unfinished: survey.backups.len() - finished,
        unreadable: survey.backups.iter().filter(|one| one.is_finished() && !one.is_usable()).count(),
        newest_backup: survey.latest().map(|one| NewestBackup { name: one.name, written: one.modified }),
        segments: survey.inventory.segments().len(),
        newest_segment: newest.max_by_key(|one| (one.written, one.name)),
        timelines: survey.all_timelines(),
        old_layouts: survey.inventory.old_layouts.iter().cloned().collect(),
        ..empty(url, tally)
    }
}

#[cfg(test)]
mod tests;
