//! `copy-verify`: a copy beside its source: can both recover the same points?
//!
//! In: two archives, what of the source is meant, how closely to look. Out: [`Report`]: what was compared and how, what
//! differs and whom that hurts, the audits and the recovery windows of both. Never: writes to either; calls the same what it
//! did not compare: how many bytes were read is said with every claim.
//!
//! ```text
//! objects ─ digests ─ order of sentinels ─ audit of each ─ windows of each ─▶ differences ─▶ one verdict ─▶ certificate
//! ```

pub mod certificate;
mod digests;
mod evidence;
pub mod report;
mod until;

pub use digests::Digests;
pub use report::Report;

use super::audit::{self, Backups};
use super::copy::choice::{self, Chosen, Selection, Which};
use super::copy::overlap;
use super::{Progress, Unit};
use crate::backup::restore::Effort;
use crate::catalog::inventory::InventoryBuilder;
use crate::error::{Answer, Code, Error};
use crate::layout::{BackupName, Entry, ObjectKey, WalFile};
use crate::proof::survey::{self, Survey};
use crate::proof::verdict::{Thresholds, Verdict};
use crate::proof::{Level, Severity};
use crate::storage::{Listed, ObjectId, Store};
use crate::transfer::closure::Wal;
use crate::transfer::compare::{self, Comparison};
use crate::transfer::manifest::Manifest;
use evidence::Scope;
use jiff::Timestamp;
use report::{Audited, Count, Difference, Kind, Latest, Objects, Selected};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use until::Until;

/// Keys shown of a list that may be long.
const SHOWN: usize = 20;

/// What to compare, and how closely.
#[derive(Debug, Clone)]
pub struct Options {
    /// What of the source must be in the destination.
    pub selection: Selection,
    /// Of the source, only what was written until then: it goes on being written after it was copied.
    pub until: Option<Timestamp>,
    /// Of which objects the bytes are read.
    pub digests: Digests,
    /// Read the source even where the copy's manifest has its digest.
    pub read_both: bool,
    /// How closely both are audited.
    pub level: Level,
    /// Which base backups an audit reads.
    pub backups: Backups,
    /// Objects at once.
    pub jobs: usize,
    /// Threads of the audits.
    pub effort: Effort,
    /// What time it is.
    pub now: Timestamp,
    /// The version of this program.
    pub program: String,
}

/// Two archives, to be read only.
#[derive(Debug, Clone)]
pub struct Sides {
    /// The archive.
    pub source: Arc<dyn Store>,
    /// Its copy.
    pub destination: Arc<dyn Store>,
}

/// Compare them. An error only where one of them cannot be listed at all, or what is meant is not in the source.
pub async fn run(sides: &Sides, options: &Options, progress: Arc<dyn Progress>) -> Answer<Report> {
    let began = Instant::now();
    let sides = &match options.until {
        Some(time) => Sides { source: Arc::new(Until { inner: sides.source.clone(), time }), ..sides.clone() },
        None => sides.clone(),
    };
    let (source, destination) = (&*sides.source, &*sides.destination);
    if let Some(what) = overlap(source, destination, options.selection.mirror) {
        return Err(Error::new(Code::UsageArgument, what).on(source.url()));
    }
    progress.begin("listing both", None, Unit::Things("objects"));
    let chosen = choice::look(source, &options.selection).await?;
    let there = choice::objects(destination, options.selection.mirror).await?;
    let manifest = Manifest::read(destination, &source.url()).await?;
    let mut builder = InventoryBuilder::new();
    there.iter().for_each(|object| builder.add(Listed::Object(object.clone())));
    let theirs = survey::of(destination, builder.finish()).await;

    let mut this = Verifying { sides, options, chosen, theirs, manifest, differences: Vec::new(), notes: Vec::new() };
    let (objects, pairs) = this.objects(there);
    let compared = digests::compare(sides, &this.manifest, pairs, options, &*progress).await;
    this.differences.extend(compared.differences);
    this.clusters();
    let latest = this.latest();
    let audits = this.audits(&progress).await;
    progress.end();
    let (ours, theirs) = audits?;
    let scope = Scope::of(&this.chosen, &options.selection);
    this.differences.extend(evidence::findings(&scope, &ours, &theirs, &mut this.notes));
    let (windows, differing) = evidence::windows(&scope, &ours.reach, &theirs.reach);
    this.differences.extend(differing);
    this.notes.extend(this.chosen.closure.problems.iter().map(|problem| format!("in the source: {problem}")));
    this.notes.append(&mut this.manifest.remarks);
    this.differences.sort_by_key(|one| std::cmp::Reverse(one.severity));
    let verdict = this.differences.iter().map(|one| Verdict::from(one.severity)).max().unwrap_or(Verdict::Ok);
    let mut report = Report {
        from: source.url(),
        to: destination.url(),
        system: this.chosen.survey.system.map(|system| system.to_string()),
        verdict,
        equal: verdict <= Verdict::Warning,
        claim: String::new(),
        selected: this.selected(),
        objects,
        digests: compared.digests,
        latest,
        source: Audited::of(&ours),
        destination: Audited::of(&theirs),
        windows,
        differences: this.differences,
        notes: this.notes,
        at: options.now,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        wal_r: options.program.clone(),
        lines: compared.lines,
    };
    report.claim = report.claimed(options.level);
    Ok(report)
}

/// One comparison under way.
struct Verifying<'a> {
    sides: &'a Sides,
    options: &'a Options,
    chosen: Chosen,
    theirs: Survey,
    manifest: Manifest,
    differences: Vec<Difference>,
    notes: Vec<String>,
}

impl Verifying<'_> {
    fn selected(&self) -> Selected {
        let selection = &self.options.selection;
        Selected {
            everything: selection.mirror,
            asked: match &selection.which {
                Which::All => "ALL".to_owned(),
                Which::Latest => "LATEST".to_owned(),
                Which::Named(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            },
            since: selection.since,
            until: self.options.until,
            wal: match selection.wal {
                _ if selection.mirror => "all",
                Wal::All => "all",
                Wal::ToConsistency => "to_consistency",
                Wal::None => "none",
            },
            backups: self.chosen.closure.sentinels.iter().filter_map(choice::backup_of).collect(),
        }
    }

    /// What is there of what must be: the pairs whose bytes may be compared.
    fn objects(&mut self, there: Vec<ObjectId>) -> (Objects, Vec<(ObjectId, ObjectId)>) {
        let (wanted, rest) = (&self.chosen.closure.objects, &self.chosen.closure.left);
        let by_key: BTreeMap<ObjectKey, ObjectId> =
            there.iter().map(|object| (object.key.clone(), object.clone())).collect();
        let Comparison { absent, mut left_over, unclear_left_over, strangers, foreign, .. } =
            compare::compare(wanted, rest, there, &self.manifest);
        let mut pairs = Vec::new();
        let mut resized = Vec::new();
        for object in wanted {
            match by_key.get(&object.key) {
                Some(other) if other.size == object.size => pairs.push((object.clone(), other.clone())),
                Some(other) => resized.push(other.clone()),
                None => {}
            }
        }
        // Under the name of what was not chosen something of another archive may lie.
        left_over.extend(unclear_left_over.iter().map(|(_, there)| there.clone()));
        let same_size = Count::of(pairs.iter().map(|(object, _)| object));
        pairs.extend(unclear_left_over);
        let objects = Objects {
            chosen: Count::of(wanted),
            same_size,
            missing: Count::of(&absent),
            other_size: Count::of(&resized),
            strangers: Count::of(&strangers),
            left_over: Count::of(&left_over),
            foreign: Count::of(&foreign),
        };
        let (needed, handy): (Vec<ObjectId>, Vec<ObjectId>) =
            absent.into_iter().partition(|object| self.is_needed(&object.key));
        let said = "not in the destination";
        self.differ(Severity::Critical, Kind::Missing, needed, said);
        self.differ(Severity::Warning, Kind::Missing, handy, "not in the destination, and needed by no recovery");
        self.differ(Severity::Critical, Kind::Size, resized, "of another size in the destination");
        let said = "in the destination, not in the source, and not copied from there";
        self.differ(Severity::Critical, Kind::Stranger, strangers, said);
        let of_source: BTreeSet<&ObjectKey> = self.chosen.closure.left.iter().map(|object| &object.key).collect();
        let (not_chosen, gone): (Vec<&ObjectId>, Vec<&ObjectId>) =
            left_over.iter().partition(|object| of_source.contains(&object.key));
        for (objects, why) in [
            (not_chosen, "in the destination was not chosen, and is in the source, too"),
            (gone, "in the destination was copied before, and the source no longer has it"),
        ] {
            let first: Vec<&str> = objects.iter().take(3).map(|object| object.key.as_str()).collect();
            let more = if objects.len() > first.len() { ", …" } else { "" };
            if !objects.is_empty() {
                let of = if objects.len() == 1 { "1 object" } else { &format!("each of {} objects", objects.len()) };
                self.notes.push(format!("{of} {why}: {}{more}", first.join(", ")));
            }
        }
        (objects, pairs)
    }

    /// Is it for a recovery that somebody may want?
    fn is_needed(&self, key: &ObjectKey) -> bool {
        let size = self.chosen.survey.size;
        match Entry::parse(key) {
            Entry::Wal { file: WalFile::Segment(name), .. } => {
                let oldest = self.chosen.closure.backups.iter().filter_map(|backup| self.chosen.needs.get(backup));
                // A backup of which nothing tells where it begins may need any of it.
                let oldest = oldest.map(|need| need.wal.map(|(first, _)| first)).min().flatten();
                match (name.number(size), oldest) {
                    (Ok(number), Some(oldest)) => number >= oldest,
                    _ => true,
                }
            }
            Entry::Wal { file, .. } => matches!(file, WalFile::History(_)),
            Entry::Sentinel(_)
            | Entry::Partition { .. }
            | Entry::Version(_)
            | Entry::Metadata(_)
            | Entry::FilesMetadata(_) => true,
            Entry::WalDelta(_) | Entry::WalMetadata | Entry::SystemId | Entry::OldLayout | Entry::Foreign => false,
        }
    }

    fn differ(&mut self, severity: Severity, kind: Kind, objects: Vec<ObjectId>, what: &str) {
        if objects.is_empty() {
            return;
        }
        let keys = objects.into_iter().map(|object| object.key);
        self.differences.push(Difference::of(severity, kind, keys.collect(), what));
    }

    /// The destination must speak of the source's cluster, and of no other.
    fn clusters(&mut self) {
        let Some(ours) = self.chosen.survey.system else { return };
        for (system, by) in &self.theirs.systems {
            if !self.chosen.survey.systems.iter().any(|(known, _)| known == system) {
                let what = format!("the destination speaks of the cluster {system} ({by}); the source's is {ours}");
                self.differences.push(Difference::about(Severity::Critical, Kind::Cluster, what));
            }
        }
    }

    /// What LATEST means: to WAL-E and WAL-G the sentinel written last, as the store says.
    fn latest(&mut self) -> Latest {
        let (ours, theirs) = (Written::of(&self.chosen.survey), Written::of(&self.theirs));
        let backups = &self.chosen.closure.backups;
        let (chosen, copied) = (ours.among(|name| backups.contains(name)), theirs.among(|name| backups.contains(name)));
        let (of_source, of_chosen, of_destination) = (ours.last(), chosen.last(), theirs.last());
        let same = of_destination.is_some() && [of_source, of_chosen].contains(&of_destination);
        let mut wrong = |severity, kind, what| self.differences.push(Difference::about(severity, kind, what));
        if let (false, Some(there)) = (same, of_destination) {
            let meant = of_chosen.map_or_else(|| "none".to_owned(), |name| name.to_string());
            let what = format!(
                "LATEST is {there} in the destination, by the times of the sentinels, and {meant} in the source: WAL-E and WAL-G \
                 restore another base backup"
            );
            // One that was copied before and is not meant now is the source's own all the same.
            let known = self.manifest.entry(&there.sentinel_key()).is_some() && !backups.contains(&there);
            wrong(if known { Severity::Warning } else { Severity::Critical }, Kind::Latest, what);
        } else if chosen.names_in(&copied) != copied.names_in(&chosen) {
            let what = "the sentinels' times have another order in the destination: WAL-E and WAL-G list the base backups in \
                        another order, and take others for the oldest";
            wrong(Severity::Warning, Kind::Order, what.to_owned());
        }
        if let [.., (Some(time), first), (Some(other), second)] = theirs.0.as_slice()
            && time == other
            && ours.time(first) != ours.time(second)
        {
            let what = format!(
                "{first} and {second} have sentinels of one time in the destination: which is LATEST is chance"
            );
            wrong(Severity::Warning, Kind::Order, what);
        }
        Latest { source: of_source, of_chosen, destination: of_destination, same }
    }

    async fn audits(&self, progress: &Arc<dyn Progress>) -> Answer<(audit::Report, audit::Report)> {
        let options = audit::Options {
            level: self.options.level,
            backups: self.options.backups,
            budget_bytes: None,
            budget_time: None,
            ledger: None,
            recheck: 0.0,
            thresholds: Thresholds::default(),
            ack: None,
            effort: self.options.effort,
            now: self.options.now,
        };
        let of = |name| Arc::new(Named(name, progress.clone()));
        let ours = audit::run(self.sides.source.clone(), &options, of("source")).await?;
        let theirs = audit::run(self.sides.destination.clone(), &options, of("destination")).await?;
        Ok((ours, theirs))
    }
}

/// Finished base backups by the time at which the store says that their sentinels were written.
struct Written(Vec<(Option<Timestamp>, BackupName)>);

impl Written {
    fn of(survey: &Survey) -> Written {
        let finished = survey.backups.iter().filter(|backup| backup.is_finished());
        let mut all: Vec<_> = finished.map(|backup| (backup.modified, backup.name)).collect();
        all.sort();
        Written(all)
    }

    fn among(&self, is: impl Fn(&BackupName) -> bool) -> Written {
        Written(self.0.iter().copied().filter(|(_, name)| is(name)).collect())
    }

    fn last(&self) -> Option<BackupName> {
        self.0.last().map(|(_, name)| *name)
    }

    fn time(&self, of: &BackupName) -> Option<Timestamp> {
        self.0.iter().find(|(_, name)| name == of).and_then(|(time, _)| *time)
    }

    /// Those that are in both, in the order of this one.
    fn names_in(&self, other: &Written) -> Vec<BackupName> {
        let both = self.among(|name| other.0.iter().any(|(_, one)| one == name));
        both.0.into_iter().map(|(_, name)| name).collect()
    }
}

/// Progress that says of which side it is.
#[derive(Debug)]
struct Named(&'static str, Arc<dyn Progress>);

impl Progress for Named {
    fn begin(&self, stage: &str, total: Option<u64>, unit: Unit) {
        self.1.begin(&format!("{}: {stage}", self.0), total, unit);
    }

    fn advance(&self, by: u64) {
        self.1.advance(by);
    }

    fn set_total(&self, total: u64) {
        self.1.set_total(total);
    }

    fn end(&self) {
        self.1.end();
    }
}

#[cfg(test)]
mod tests;
