//! `backup-verify`: base backups proven by content.
//!
//! In: a name, LATEST or ALL. Out: [`Report`]: what each holds, what is wrong with it, whom that hurts. Never: writes
//! anything, ends because one backup is bad, or calls good what it could not read. The proof itself is
//! [`crate::proof::backup`]'s.

use super::{Progress, Unit};
use crate::backup::restore::Effort;
use crate::error::{Answer, Code, Error};
use crate::layout::BackupName;
use crate::proof::backup::{self, Found, Word};
use crate::proof::finding::{Defect, Finding, FindingCode, Place};
use crate::proof::survey::{self, BackupFacts, SentinelState, Survey};
use crate::proof::verdict::Verdict;
use crate::proof::{judge, names};
use crate::storage::Store;
use serde::Serialize;
use std::sync::Arc;

/// Which base backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// What LATEST means.
    Latest,
    /// This one.
    Named(BackupName),
    /// All that are finished.
    All,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which base backups.
    pub which: Which,
    /// Partitions at once.
    pub workers: Option<usize>,
    /// Cores of this machine.
    pub cores: usize,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The archive.
    pub archive: String,
    /// The worst of the findings.
    pub verdict: Verdict,
    /// The base backups, oldest first.
    pub backups: Vec<Verified>,
    /// Base backups without a sentinel, which were not looked at.
    pub unfinished: Vec<BackupName>,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
}

/// One base backup.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// The word on it.
    pub word: Word,
    /// Is it what LATEST means?
    pub latest: bool,
    /// What it holds.
    #[serde(flatten)]
    pub found: Found,
}

/// Verifies them, one after the other; the partitions of each at once.
pub async fn run(store: Arc<dyn Store>, options: &Options, progress: Arc<dyn Progress>) -> Answer<Report> {
    progress.begin("listing", None, Unit::Things("objects"));
    let survey = survey::scan(&*store).await;
    progress.end();
    let survey = survey?;
    let chosen = choose(&survey, options.which, &*store)?;
    let workers = options.workers.unwrap_or_else(|| Effort::workers_for(&*store, options.cores));
    let effort = Effort { workers, cores: options.cores.max(1) };
    let mut backups = Vec::new();
    let mut defects = Vec::new();
    for facts in chosen {
        let total = match &facts.sentinel {
            SentinelState::Read(sentinel) => sentinel.expanded_bytes,
            _ => None,
        };
        progress.begin(&format!("verifying {}", facts.name), total, Unit::Bytes);
        let bar = Arc::clone(&progress);
        let advance = Arc::new(move |bytes| bar.advance(bytes));
        let proof = backup::verify(Arc::clone(&store), &survey, facts, effort, advance).await;
        progress.end();
        let proof = proof?;
        backups.push(Verified { word: proof.word(), latest: facts.latest, found: proof.found });
        defects.extend(proof.defects);
    }
    if options.which == Which::All && backups.is_empty() {
        // Nothing was looked at, and that is no good word on anything.
        let nothing = [FindingCode::ArchiveEmpty, FindingCode::BackupNone];
        defects.extend(names::defects(&survey).into_iter().filter(|defect| nothing.contains(&defect.code)));
    }
    if options.which == Which::Latest {
        let names: Vec<BackupName> = unread_and_newer(&survey).map(|one| one.name).collect();
        let is_about = |defect: &Defect| matches!(defect.place, Place::Backup(name) if names.contains(&name));
        let sentinels = [FindingCode::BackupSentinel, FindingCode::BackupUnread];
        let told = names::defects(&survey).into_iter().filter(|one| sentinels.contains(&one.code));
        defects.extend(told.filter(is_about));
    }
    let unfinished = match options.which {
        Which::All => survey.backups.iter().filter(|one| !one.is_finished()).map(|one| one.name).collect(),
        _ => Vec::new(),
    };
    let findings = judge::judge(&survey, defects);
    let verdict = match (backups.is_empty(), Verdict::of(&findings)) {
        (true, Verdict::Ok) => Verdict::Unknown,
        (_, verdict) => verdict,
    };
    Ok(Report { archive: survey.url.clone(), verdict, backups, unfinished, findings })
}

/// Base backups behind what LATEST means whose sentinel cannot be read: one of them may be what it should mean.
fn unread_and_newer(survey: &Survey) -> impl Iterator<Item = &BackupFacts> {
    survey.backups.iter().rev().take_while(|one| !one.latest).filter(|one| one.is_finished() && !one.is_usable())
}

fn choose<'a>(survey: &'a Survey, which: Which, store: &dyn Store) -> Answer<Vec<&'a BackupFacts>> {
    let absent = |what: String| Error::new(Code::AbsentBackup, what).on(store.url());
    let one = |found: Option<&'a BackupFacts>, what: String| found.map(|one| vec![one]).ok_or_else(|| absent(what));
    match which {
        Which::All => Ok(survey.backups.iter().filter(|one| one.is_finished()).collect()),
        Which::Latest => one(
            survey.backups.iter().find(|one| one.latest),
            "there is no base backup with a readable sentinel".to_owned(),
        ),
        Which::Named(name) => {
            one(survey.backups.iter().find(|one| one.name == name), format!("there is no base backup {name}"))
        }
    }
}

#[cfg(test)]
mod tests;
