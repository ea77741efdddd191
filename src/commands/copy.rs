//! `copy`: an archive, or a choice of it, from one place to another, so that the copy can be restored.
//!
//! In: a source, a destination, what was chosen. Out: [`Plan`], which says what would happen, and [`Report`], which says what
//! did. Never: shows a sentinel before everything that it promises is there; replaces or removes anything unasked; mixes two
//! archives; calls a copy whole whose source changed on the way.
//!
//! A run that was killed is run again, on any host: what is there is compared by digest, and the rest is copied.

pub mod choice;
mod replace;

use super::{Progress, Unit};
use crate::error::{Answer, Code, Error};
use crate::layout::{BackupName, Entry, ObjectKey, WalFile};
use crate::pg::SegmentSize;
use crate::storage::{ObjectId, Store, StoreWrite, Swept, When};
use crate::transfer::closure::{Closure, Need, Stage, Wal};
use crate::transfer::compare::{self, Comparison};
use crate::transfer::manifest::{Entry as Copied, How, Manifest};
use crate::transfer::run::{self, Copier, Limits, Outcome, Work};
use choice::{Chosen, Selection, backup_of, objects};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use choice::Which;
pub use replace::{Occupant, Replace};

/// Between the times of two sentinels: stores count in seconds.
const APART: Duration = Duration::from_millis(1_050);
/// How often what changed in the source is copied once more.
const ROUNDS: usize = 3;
/// Keys shown of a list that may be long.
const SHOWN: usize = 20;

/// What to copy, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which base backups.
    pub which: Which,
    /// Of those, only what was finished at this time or later.
    pub since: Option<Timestamp>,
    /// Which WAL.
    pub wal: Wal,
    /// Every object below the prefix instead.
    pub mirror: bool,
    /// Also what cannot be restored.
    pub damaged: bool,
    /// Take the source's object where both have one.
    pub overwrite: bool,
    /// What to do with another archive in the destination.
    pub replace: Option<Replace>,
    /// The destination's newest object must be so old before it is replaced.
    pub quiet_for: Duration,
    /// With a mirror: remove what was copied before and the source no longer has.
    pub delete_extra: bool,
    /// Yes, remove it.
    pub confirm: bool,
    /// Make the bucket, container or directory.
    pub create: bool,
    /// How much at once.
    pub limits: Limits,
}

impl Options {
    fn selection(&self) -> Selection {
        Selection { which: self.which.clone(), since: self.since, wal: self.wal, mirror: self.mirror }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            which: Which::All,
            since: None,
            wal: Wal::All,
            mirror: false,
            damaged: false,
            overwrite: false,
            replace: None,
            quiet_for: Duration::from_secs(300),
            delete_extra: false,
            confirm: false,
            create: false,
            limits: Limits::default(),
        }
    }
}

/// From where to where.
pub struct Ends {
    /// The archive.
    pub source: Arc<dyn Store>,
    /// Where it goes.
    pub destination: Arc<dyn StoreWrite>,
    /// A prefix beside the destination: its name with this behind it.
    #[allow(clippy::type_complexity, reason = "said once")]
    pub sibling: Box<dyn Fn(&str) -> Answer<Arc<dyn StoreWrite>> + Send + Sync>,
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ends").field("source", &self.source).field("destination", &self.destination).finish()
    }
}

/// Objects and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Objects.
    pub objects: u64,
    /// Stored bytes.
    pub bytes: u64,
}

impl Count {
    fn of<'a>(objects: impl IntoIterator<Item = &'a ObjectId>) -> Count {
        let mut count = Count::default();
        objects.into_iter().for_each(|object| count.add(object.size));
        count
    }

    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What would happen.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The source.
    pub from: String,
    /// The destination.
    pub to: String,
    /// The destination's bucket, container or directory does not exist.
    pub missing: bool,
    /// It is reached over a network.
    pub remote: bool,
    /// Base backups that go along, as their sentinels will be written.
    pub backups: Vec<BackupName>,
    /// The one that LATEST means, among them.
    pub latest: Option<BackupName>,
    /// The cluster, where the source tells.
    pub system: Option<String>,
    /// All that was chosen.
    pub chosen: Count,
    /// To be copied.
    pub copy: Count,
    /// There, and the same.
    pub same: Count,
    /// There with the same size: to be told by digest.
    pub unclear: Count,
    /// There, and another: the first of them.
    pub different: Vec<ObjectKey>,
    /// How many those are.
    pub differing: u64,
    /// Objects of the source that stay behind.
    pub stays: Count,
    /// Objects of the destination that were copied before and are not, or no longer, chosen.
    pub left_over: Count,
    /// Another archive in the destination.
    pub occupant: Option<Occupant>,
    /// What the source lacks although the copy needs it.
    pub problems: Vec<String>,
    /// The provider copies: no byte comes through this machine.
    pub by_provider: bool,
    /// Seconds that the sentinels need, one after the other.
    pub sentinel_seconds: u64,
    #[serde(skip)]
    work: Prepared,
}

/// What the plan was made from.
#[derive(Debug)]
struct Prepared {
    closure: Closure,
    comparison: Comparison,
    manifest: Manifest,
    needs: BTreeMap<BackupName, Need>,
    size: SegmentSize,
}

/// What did happen.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The source.
    pub from: String,
    /// The destination.
    pub to: String,
    /// Copied in this run.
    pub copied: Count,
    /// Of those, by the provider.
    pub by_provider: Count,
    /// There before, and the same.
    pub same: Count,
    /// Base backups that can be restored from the destination now, as their sentinels were written.
    pub backups: Vec<BackupName>,
    /// The one that LATEST means.
    pub latest: Option<BackupName>,
    /// Sentinels that were written anew, so that the order of their times stays that of the source.
    pub renewed: u64,
    /// Changed in the source while the copy ran, and copied again.
    pub changed: Vec<ObjectKey>,
    /// Vanished from the source while the copy ran: copied before, or needed by no base backup that is left.
    pub vanished: Vec<ObjectKey>,
    /// Left as they are, because they are others in the destination.
    pub conflicts: Vec<ObjectKey>,
    /// Where the archive that was there before is now.
    pub aside: Option<String>,
    /// Removed from the destination.
    pub removed: Count,
    /// What else should be known.
    pub notes: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// Look at both sides.
pub async fn plan(ends: &Ends, options: &Options) -> Answer<Plan> {
    let (source, destination) = (&*ends.source, &*ends.destination);
    let Chosen { survey, needs, closure } = choice::look(source, &options.selection()).await?;
    let (there, missing) = match objects(destination, options.mirror).await {
        Ok(there) => (there, false),
        Err(error) if error.code() == Code::AbsentPrefix => (Vec::new(), true),
        Err(error) => return Err(error),
    };
    let manifest = match missing {
        true => Manifest::new(&destination.url(), &source.url()),
        false => Manifest::read(destination, &source.url()).await?,
    };
    let comparison = compare::compare(&closure.objects, &closure.left, there, &manifest);
    let backups: Vec<BackupName> = closure.sentinels.iter().filter_map(backup_of).collect();
    let latest = survey.latest().map(|backup| backup.name).filter(|name| closure.backups.contains(name));
    let waits = !destination.capabilities().keeps_times;
    let new = comparison.absent.iter().filter(|object| Stage::of(&object.key) == Stage::Sentinel).count();
    let copier = Copier::new(ends.source.clone(), ends.destination.clone(), options.limits, |_| {});
    // Where they may be replaced, or make room.
    let takes = options.overwrite || options.replace.is_some();
    let taken = comparison.different.iter().filter(|_| takes).map(|(object, _)| object);
    Ok(Plan {
        from: source.url(),
        to: destination.url(),
        missing,
        remote: destination.capabilities().remote,
        latest,
        backups,
        system: survey.system.map(|system| system.to_string()),
        chosen: Count::of(&closure.objects),
        copy: Count::of(comparison.absent.iter().chain(taken)),
        same: Count::of(&comparison.same),
        unclear: Count::of(comparison.unclear.iter().map(|(object, _)| object)),
        different: comparison.different.iter().take(SHOWN).map(|(object, _)| object.key.clone()).collect(),
        differing: comparison.different.len() as u64,
        stays: Count::of(&closure.left),
        left_over: Count::of(&comparison.left_over),
        occupant: Occupant::of(&comparison),
        problems: closure.problems.clone(),
        by_provider: copier.by_provider(),
        sentinel_seconds: if waits { new.saturating_sub(1) as u64 } else { 0 },
        work: Prepared { closure, comparison, manifest, needs, size: survey.size },
    })
}

/// Do it.
pub async fn run(ends: &Ends, options: &Options, plan: Plan, progress: Arc<dyn Progress>) -> Answer<Report> {
    let began = Instant::now();
    refuse(ends, options, &plan)?;
    let Plan { from, to, missing, latest, backups, work, .. } = plan;
    let Prepared { closure, comparison, manifest, needs, size } = work;
    let mut this = Run {
        ends,
        options,
        copier: Copier::new(ends.source.clone(), ends.destination.clone(), options.limits, {
            let progress = progress.clone();
            move |bytes| progress.advance(bytes)
        }),
        progress,
        closure,
        comparison,
        manifest,
        needs,
        size,
        incomplete: BTreeSet::new(),
        report: Report { from, to, latest, ..Report::default() },
    };
    this.report.notes.append(&mut this.manifest.remarks);
    if missing {
        ends.destination.create().await?;
    }
    let done = this.everything().await;
    this.progress.end();
    // What was copied is remembered, whatever came after.
    let written = this.manifest.write(&*ends.destination, Timestamp::now()).await;
    done?;
    written?;
    this.manifest.tidy(&*ends.destination, Timestamp::now()).await?;
    this.report.backups = backups.into_iter().filter(|name| !this.incomplete.contains(name)).collect();
    this.report.latest = this.report.latest.filter(|name| !this.incomplete.contains(name));
    this.report.seconds = began.elapsed().as_secs_f64();
    Ok(this.report)
}

/// What must not even begin.
fn refuse(ends: &Ends, options: &Options, plan: &Plan) -> Answer<()> {
    if let Some(what) = overlap(&*ends.source, &*ends.destination, options.mirror) {
        return Err(Error::new(Code::UsageArgument, what).on(ends.source.url()));
    }
    if !plan.problems.is_empty() && !options.damaged {
        let shown: Vec<&str> = plan.problems.iter().take(5).map(String::as_str).collect();
        let more = plan.problems.len() - shown.len();
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        return Err(Error::new(Code::DamagedArchive, format!("{}{more}", shown.join("; "))).on(ends.source.url()));
    }
    if plan.missing && !options.create && ends.destination.capabilities().remote {
        return Err(Error::new(Code::AbsentPrefix, "there is no such bucket or container")
            .on(ends.destination.url())
            .hint("Check its name; --create makes it."));
    }
    if plan.work.comparison.is_occupied() && options.replace.is_none() {
        return Err(occupied(plan.occupant.as_ref(), &*ends.destination));
    }
    if options.replace == Some(Replace::Delete) && plan.occupant.is_some() && !options.confirm {
        return Err(
            Error::new(Code::TargetUnconfirmed, "--replace delete removes what is there").on(ends.destination.url())
        );
    }
    if options.delete_extra && !options.confirm && plan.left_over.objects > 0 {
        let what = format!("--delete-extra removes {} objects that the source no longer has", plan.left_over.objects);
        return Err(Error::new(Code::TargetUnconfirmed, what).on(ends.destination.url()));
    }
    Ok(())
}

fn occupied(occupant: Option<&Occupant>, destination: &dyn Store) -> Error {
    let what = occupant.map_or_else(|| "another archive".to_owned(), ToString::to_string);
    Error::new(Code::TargetOccupied, format!("it holds {what}")).on(destination.url())
}

/// Are source and destination one place, or one a part of the other where everything is copied?
pub(super) fn overlap(source: &dyn Store, destination: &dyn Store, everything: bool) -> Option<&'static str> {
    let (from, to) = match (source.place(), destination.place()) {
        (Some(from), Some(to)) if (&from.service, &from.container) == (&to.service, &to.container) => {
            (from.prefix, to.prefix)
        }
        // Directories; and only those are told by their URL: buckets of one name there may be many.
        (None, None) => (source.url(), destination.url()),
        _ => return None,
    };
    let is_directory = |url: &str| url.starts_with("file:");
    if source.place().is_none() && !(is_directory(&from) && is_directory(&to)) {
        return None;
    }
    match from == to {
        true => Some("source and destination are one place"),
        false if everything && (from.starts_with(&to) || to.starts_with(&from)) => {
            Some("one of source and destination lies in the other: a mirror would copy its own copies")
        }
        false => None,
    }
}

struct Run<'a> {
    ends: &'a Ends,
    options: &'a Options,
    copier: Copier,
    progress: Arc<dyn Progress>,
    closure: Closure,
    comparison: Comparison,
    manifest: Manifest,
    needs: BTreeMap<BackupName, Need>,
    size: SegmentSize,
    /// Base backups whose sentinel must not be written: some of theirs vanished.
    incomplete: BTreeSet<BackupName>,
    report: Report,
}

impl Run<'_> {
    async fn everything(&mut self) -> Answer<()> {
        let swept = self.ends.destination.sweep().await.unwrap_or_else(|error| {
            // Not everybody may list uploads.
            tracing::debug!("what killed runs left cannot be looked for: {}", error.what);
            Swept::default()
        });
        self.clear_up().await?;
        if self.comparison.is_occupied() && self.options.replace.is_none() {
            return Err(occupied(Occupant::of(&self.comparison).as_ref(), &*self.ends.destination));
        }
        if self.options.replace.is_some() {
            self.replace().await?;
        }
        let mut different = std::mem::take(&mut self.comparison.different);
        if !self.options.overwrite && !different.is_empty() {
            let keys = different.drain(..).map(|(source, _)| source.key);
            self.report.conflicts = keys.collect();
            if !self.options.mirror {
                return Err(self.conflict());
            }
            self.skip_what_conflicts();
        }
        self.report.same = Count::of(&self.comparison.same);
        for object in &self.comparison.same {
            // Known by the MD5 that both stores give. Once the source has removed it, the manifest still says whose it was.
            if !self.manifest.entry(&object.key).is_some_and(|entry| entry.is_from(object)) {
                self.manifest.record(Copied::new(object, object.etag.as_ref(), None, How::Found));
            }
        }
        let absent = std::mem::take(&mut self.comparison.absent);
        let new = absent.into_iter().map(|object| Work { object, when: When::ListedAbsent });
        let other = different.into_iter().map(|(object, _)| Work { object, when: When::Always });
        let mut stages: BTreeMap<Stage, Vec<Work>> = BTreeMap::new();
        for work in new.chain(other) {
            stages.entry(Stage::of(&work.object.key)).or_default().push(work);
        }
        let mut take = |stage| stages.remove(&stage).unwrap_or_default();
        let (data, description, sentinels) = (take(Stage::Data), take(Stage::Description), take(Stage::Sentinel));
        let total = data.iter().chain(&description).chain(&sentinels).map(|work| work.object.size).sum();
        self.progress.begin("copying", Some(total), Unit::Bytes);
        self.copy(data).await?;
        self.copy(description).await?;
        self.recheck().await?;
        self.sentinels(sentinels).await?;
        if self.options.delete_extra {
            self.delete_extra().await?;
        }
        self.abandon(swept).await;
        Ok(())
    }

    /// Uploads that were begun before this run, to keys that it was to bring: what they were to become is there now, whole. A
    /// copy that is at one all the same begins it anew, and finds that. All others may be an archiver's: they have their time.
    async fn abandon(&mut self, swept: Swept) {
        let Swept { removed: mut count, unfinished } = swept;
        let there: BTreeSet<&ObjectKey> = self.closure.objects.iter().map(|object| &object.key).collect();
        let left = |key: &ObjectKey| self.report.conflicts.contains(key) || self.report.vanished.contains(key);
        for upload in unfinished.iter().filter(|upload| there.contains(&upload.key) && !left(&upload.key)) {
            match self.ends.destination.abandon(upload).await {
                Ok(()) => count += 1,
                Err(error) => tracing::debug!("an upload that a killed run left stays: {}", error.what),
            }
        }
        match count {
            0 => {}
            1 => self.report.notes.push("1 upload that a killed run had left was removed".to_owned()),
            _ => self.report.notes.push(format!("{count} uploads that killed runs had left were removed")),
        }
    }

    /// Digests of both sides where nothing cheaper tells.
    async fn clear_up(&mut self) -> Answer<()> {
        let chosen = std::mem::take(&mut self.comparison.unclear).into_iter().map(|pair| (true, pair));
        let rest = std::mem::take(&mut self.comparison.unclear_left_over).into_iter().map(|pair| (false, pair));
        let unclear: Vec<_> = chosen.chain(rest).collect();
        if unclear.is_empty() {
            return Ok(());
        }
        let bytes: u64 = unclear.iter().map(|(_, (object, _))| object.size).sum();
        self.progress.begin("comparing", Some(bytes), Unit::Bytes);
        let (source, destination) = (&*self.ends.source, &*self.ends.destination);
        let known = &self.manifest;
        let progress = &self.progress;
        let compared = unclear.into_iter().map(|(chosen, (object, there))| async move {
            // What the manifest knows of this very version need not be read.
            let entry = known.entry(&object.key).filter(|entry| entry.is_of(&there));
            let theirs = async {
                match entry.and_then(|entry| entry.sha256) {
                    Some(sha256) => Ok(sha256),
                    None => run::digest(destination, &there).await.map(|digest| digest.sha256),
                }
            };
            let (ours, theirs) = futures::try_join!(run::digest(source, &object), theirs)?;
            progress.advance(object.size);
            Ok::<_, Error>((chosen, object, there, ours, ours.sha256 == theirs))
        });
        let mut compared = stream::iter(compared).buffer_unordered(self.options.limits.jobs.max(1));
        let mut same = Vec::new();
        while let Some((chosen, object, there, digest, equal)) = compared.try_next().await? {
            match (chosen, equal) {
                (true, true) => same.push((object, there, digest)),
                (true, false) => self.comparison.different.push((object, there)),
                (false, true) => self.comparison.left_over.push(there),
                (false, false) => self.comparison.strangers.push(there),
            }
        }
        drop(compared);
        for (object, there, digest) in same {
            self.manifest.record(Copied::new(&object, there.etag.as_ref(), Some(digest), How::Found));
            self.comparison.same.push(object);
        }
        self.comparison.different.sort_by(|a, b| a.0.key.cmp(&b.0.key));
        Ok(())
    }

    fn conflict(&self) -> Error {
        let shown: Vec<String> = self.report.conflicts.iter().take(3).map(ToString::to_string).collect();
        let more = self.report.conflicts.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let what = format!("other bytes are there under the name of {}{more}; nothing was copied", shown.join(", "));
        Error::new(Code::TargetConflict, what).on(self.ends.destination.url())
    }

    /// A backup of which an object is another one in the destination must not be shown there as whole.
    fn skip_what_conflicts(&mut self) {
        for key in &self.report.conflicts {
            if let Entry::Partition { backup, .. } | Entry::Version(backup) = Entry::parse(key) {
                self.incomplete.insert(backup);
            }
        }
    }

    async fn copy(&mut self, work: Vec<Work>) -> Answer<()> {
        let copier = self.copier.clone();
        let destination = &*self.ends.destination;
        let planned: BTreeMap<ObjectKey, ObjectId> =
            work.iter().map(|work| (work.object.key.clone(), work.object.clone())).collect();
        let (manifest, report, incomplete) = (&mut self.manifest, &mut self.report, &mut self.incomplete);
        copier
            .all(work, async |outcome| {
                match outcome {
                    Outcome::Copied(entry) => {
                        report.copied.add(entry.size);
                        if entry.how == How::Provider {
                            report.by_provider.add(entry.size);
                        }
                        let key = ObjectKey::from(entry.key.as_str());
                        if planned.get(&key).is_some_and(|object| !entry.is_from(object)) {
                            report.changed.push(key);
                        }
                        if manifest.record(*entry) {
                            manifest.write(destination, Timestamp::now()).await?;
                        }
                    }
                    Outcome::Vanished(key) => {
                        if let Some(backup) = part_of(&key) {
                            incomplete.insert(backup);
                        }
                        report.vanished.push(key);
                    }
                }
                Ok(())
            })
            .await
    }

    /// Is the source still what was copied? What changed is copied again, before any sentinel is written.
    async fn recheck(&mut self) -> Answer<()> {
        let destination = self.ends.destination.clone();
        self.manifest.write(&*destination, Timestamp::now()).await?;
        for round in 0.. {
            let now = objects(&*self.ends.source, self.options.mirror).await?;
            let now: BTreeMap<ObjectKey, ObjectId> =
                now.into_iter().map(|object| (object.key.clone(), object)).collect();
            let mut again = Vec::new();
            let mut gone = Vec::new();
            for object in &self.closure.objects {
                if Stage::of(&object.key) == Stage::Sentinel || self.report.conflicts.contains(&object.key) {
                    continue;
                }
                match now.get(&object.key) {
                    None => gone.push(object.key.clone()),
                    Some(current) => {
                        let known = self.manifest.entry(&object.key);
                        let as_copied = known.is_some_and(|entry| entry.is_from(current));
                        let as_planned = current.size == object.size && current.etag == object.etag;
                        if !as_copied && !as_planned {
                            again.push(Work { object: current.clone(), when: When::Always });
                        }
                    }
                }
            }
            self.judge_gone(gone, &now)?;
            if again.is_empty() {
                return Ok(());
            }
            if round >= ROUNDS {
                let what =
                    format!("{} objects change faster than they are copied, such as {}", again.len(), first(&again));
                return Err(Error::new(Code::StoreChanged, what).on(self.ends.source.url()));
            }
            self.report.changed.extend(again.iter().map(|work| work.object.key.clone()));
            self.copy(again).await?;
        }
        Ok(())
    }

    /// Objects that the source had when it was listed and has no longer: retention, mostly.
    fn judge_gone(&mut self, gone: Vec<ObjectKey>, now: &BTreeMap<ObjectKey, ObjectId>) -> Answer<()> {
        for key in gone {
            if !self.report.vanished.contains(&key) {
                self.report.vanished.push(key);
            }
        }
        let kept: Vec<BackupName> = now.keys().filter_map(backup_of).collect();
        let needed = |key: &ObjectKey| match Entry::parse(key) {
            Entry::Wal { file: WalFile::Segment(segment), .. } => {
                let by = |name: &BackupName| self.needs.get(name).is_some_and(|need| need.needs(segment, self.size));
                kept.iter().any(|name| self.closure.backups.contains(name) && by(name))
            }
            _ => part_of(key).is_some_and(|backup| kept.contains(&backup)),
        };
        // What was copied before it went is there.
        let mut lost = self.report.vanished.iter().filter(|key| self.manifest.entry(key).is_none());
        if let Some(key) = lost.find(|key| needed(key)) {
            let what = "it vanished while the archive was being copied, and a base backup that needs it did not";
            return Err(Error::new(Code::StoreChanged, what).on(self.ends.source.object_url(key)));
        }
        // The sentinels of those that went with everything are not copied either.
        for name in &self.closure.backups {
            if self.needs.get(name).is_some_and(|need| need.finished) && !kept.contains(name) {
                self.incomplete.insert(*name);
            }
        }
        // Nor is a delta whose parent went.
        let orphan = |this: &Self, name: &BackupName| {
            let parent = this.needs.get(name).and_then(|need| need.parent);
            !this.incomplete.contains(name) && parent.is_some_and(|parent| this.incomplete.contains(&parent))
        };
        while let Some(name) = self.closure.backups.iter().copied().find(|name| orphan(self, name)) {
            self.incomplete.insert(name);
        }
        Ok(())
    }

    /// Sentinels one by one, in the order in which they were written, no two within one second.
    async fn sentinels(&mut self, new: Vec<Work>) -> Answer<()> {
        let destination = self.ends.destination.clone();
        let mut new: BTreeMap<ObjectKey, Work> = new.into_iter().map(|work| (work.object.key.clone(), work)).collect();
        let objects: BTreeMap<ObjectKey, ObjectId> =
            self.closure.objects.iter().map(|object| (object.key.clone(), object.clone())).collect();
        let waits = !destination.capabilities().keeps_times;
        let order = self.closure.sentinels.clone();
        let mut last: Option<tokio::time::Instant> = None;
        let mut behind = false;
        for key in order {
            if backup_of(&key).is_some_and(|name| self.incomplete.contains(&name)) {
                new.remove(&key);
                continue;
            }
            let work = match new.remove(&key) {
                Some(work) => work,
                // Written before, and now older than one that is to be older: LATEST would be another.
                None if behind && waits && !self.report.conflicts.contains(&key) => {
                    let Some(object) = objects.get(&key).cloned() else { continue };
                    self.report.renewed += 1;
                    Work { object, when: When::Always }
                }
                None => continue,
            };
            behind = true;
            if let Some(last) = last.filter(|_| waits) {
                tokio::time::sleep_until(last + APART).await;
            }
            self.copy(vec![work]).await?;
            last = Some(tokio::time::Instant::now());
        }
        Ok(())
    }

    async fn delete_extra(&mut self) -> Answer<()> {
        let extra = std::mem::take(&mut self.comparison.left_over);
        self.remove("removing", extra).await
    }

    /// Remove objects of the destination: what shows a backup before what it shows.
    async fn remove(&mut self, stage: &str, objects: Vec<ObjectId>) -> Answer<()> {
        let destination = &*self.ends.destination;
        self.progress.begin(stage, Some(objects.len() as u64), Unit::Things("objects"));
        let (sentinels, rest): (Vec<_>, Vec<_>) =
            objects.into_iter().partition(|object| Stage::of(&object.key) == Stage::Sentinel);
        for objects in [sentinels, rest] {
            let removed = objects.into_iter().map(|object| async move {
                destination.delete(&object.key).await?;
                Ok::<_, Error>(object)
            });
            let mut removed = stream::iter(removed).buffer_unordered(self.options.limits.jobs.max(1));
            while let Some(object) = removed.try_next().await? {
                self.manifest.forget(&object.key);
                self.report.removed.add(object.size);
                self.progress.advance(1);
            }
        }
        Ok(())
    }
}

fn first(work: &[Work]) -> String {
    work.first().map(|work| work.object.key.to_string()).unwrap_or_default()
}

/// The backup whose restore needs this object.
fn part_of(key: &ObjectKey) -> Option<BackupName> {
    match Entry::parse(key) {
        Entry::Partition { backup, .. } | Entry::Version(backup) | Entry::FilesMetadata(backup) => Some(backup),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
