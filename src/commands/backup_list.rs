//! `backup-list`: the base backups of an archive.
//!
//! In: a store. Out: [`Report`]: every backup with a sentinel, oldest first, and beside them what is unfinished, unreadable
//! or foreign. Never: stops at one that cannot be read, or reads a sentinel when nobody asked for what is in it.

use crate::backup::select::{self, Candidate, Wanted};
use crate::backup::sentinel::Sentinel;
use crate::catalog::scan;
use crate::error::{Answer, Code, Error, Verdict};
use crate::layout::{BackupName, ObjectKey};
use crate::proof::survey;
use crate::storage::Store;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Read what the sentinels say.
    pub read_sentinels: bool,
    /// Only one of them.
    pub query: Option<Query>,
}

/// Which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// The newest, as every command chooses it.
    Latest,
    /// This one.
    Named(BackupName),
}

/// The base backups of an archive.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The archive.
    pub archive: String,
    /// Backups with a sentinel, oldest first.
    pub backups: Vec<Backup>,
    /// Backups without one: failed, or being taken just now.
    pub unfinished: Vec<BackupName>,
    /// What lies beside the backups and is none.
    pub foreign: Vec<ObjectKey>,
    /// What should be known about the choice of LATEST.
    pub notes: Vec<String>,
}

/// One backup with a sentinel.
#[derive(Debug, Serialize)]
pub struct Backup {
    /// Its name.
    pub name: BackupName,
    /// When the store says that its sentinel was written. Copying changes it.
    pub modified: Option<Timestamp>,
    /// Is it what LATEST means? Known only when sentinels were read.
    pub latest: bool,
    /// What its sentinel says; `None` where it was not read or cannot be.
    pub sentinel: Option<Sentinel>,
    /// Why it cannot be read.
    #[serde(serialize_with = "trouble")]
    pub trouble: Option<Error>,
}

fn trouble<S: serde::Serializer>(trouble: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    match trouble {
        Some(error) => serializer.serialize_some(&format!("[{}] {}", error.code(), error.chain())),
        None => serializer.serialize_none(),
    }
}

impl Report {
    /// What people should hear beside the list: one line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for backup in &self.backups {
            if let Some(error) = &backup.trouble {
                remarks.push(format!("{}: its sentinel cannot be read: {}", backup.name, error.chain()));
            }
        }
        if !self.unfinished.is_empty() {
            let names: Vec<String> = self.unfinished.iter().take(5).map(ToString::to_string).collect();
            let more = self.unfinished.len().saturating_sub(names.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            remarks.push(format!("without a sentinel, so failed or still running: {}{more}", names.join(", ")));
        }
        if let Some(first) = self.foreign.first() {
            remarks.push(format!("{} objects beside the backups are none, such as {first}", self.foreign.len()));
        }
        remarks.extend(self.notes.iter().cloned());
        remarks
    }

    /// The code of the first sentinel that could not be asked for: the list is incomplete then.
    pub fn unknown(&self) -> Option<Code> {
        let troubles = self.backups.iter().filter_map(|backup| backup.trouble.as_ref());
        troubles.filter(|error| error.verdict() == Verdict::Unknown).map(Error::code).next()
    }
}

/// List them.
pub async fn run(store: &dyn Store, options: &Options) -> Answer<Report> {
    let inventory = scan::backups(store).await?;
    let unfinished = inventory.backups.iter().filter(|(_, objects)| !objects.is_finished()).map(|(name, _)| *name);
    let unfinished: Vec<BackupName> = unfinished.collect();
    let finished = inventory.backups.iter().filter_map(|(name, objects)| Some((*name, objects.sentinel.clone()?)));
    let mut backups: Vec<Backup> = stream::iter(finished)
        .map(|(name, object)| async move {
            let read = match options.read_sentinels {
                true => Some(survey::sentinel(store, &name).await),
                false => None,
            };
            let (sentinel, trouble) = match read {
                Some(Ok(sentinel)) => (Some(sentinel), None),
                Some(Err(error)) => (None, Some(error)),
                None => (None, None),
            };
            Backup { name, modified: object.modified, latest: false, sentinel, trouble }
        })
        .buffered(scan::AT_ONCE)
        .collect()
        .await;
    let mut notes = Vec::new();
    if options.read_sentinels {
        let candidates: Vec<Candidate> = backups.iter().map(candidate).collect();
        let latest = select::select(&candidates, &Wanted::Latest).ok();
        if let Some(choice) = &latest {
            notes.extend(choice.written_last.map(|other| {
                format!(
                    "LATEST is {}, but the sentinel written last is that of {}: copied since, perhaps",
                    choice.chosen.name, other.name
                )
            }));
            notes.extend(choice.unreadable.map(|other| {
                format!(
                    "LATEST is {}; {} is newer by its name, but its sentinel cannot be read",
                    choice.chosen.name, other.name
                )
            }));
            if choice.systems > 1 {
                notes.push(format!("the backups are of {} clusters; LATEST is chosen within one", choice.systems));
            }
        }
        let latest = latest.map(|choice| choice.chosen.name);
        let mut ordered: Vec<Option<Backup>> = backups.into_iter().map(Some).collect();
        backups = select::order(&candidates).into_iter().filter_map(|index| ordered.get_mut(index)?.take()).collect();
        backups.iter_mut().for_each(|backup| backup.latest = Some(backup.name) == latest);
    }
    match &options.query {
        None => {}
        Some(Query::Named(name)) => backups.retain(|backup| backup.name == *name),
        Some(Query::Latest) => backups.retain(|backup| backup.latest),
    }
    let foreign = inventory.foreign.into_iter().collect();
    Ok(Report { archive: store.url(), backups, unfinished, foreign, notes })
}

/// What selection needs of a backup.
fn candidate(backup: &Backup) -> Candidate {
    Candidate { name: backup.name, sentinel: backup.sentinel.clone(), modified: backup.modified, finished: None }
}

#[cfg(test)]
mod tests;
