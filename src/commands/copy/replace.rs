//! The archive that is in the way: the young one of a service that is being recovered.
//!
//! In: what the destination holds that is not the source's. Out: it is beside the destination, whole, or removed; and nothing of
//! it is left where the source goes. Never: moves what is still being written, what was copied from this source, or what it
//! cannot put elsewhere first.
//!
//! A mark in the destination says where the archive goes while it is moved, so that a run that was killed goes on with the same
//! place, from any host.

use super::{Comparison, Count, Run};
use crate::catalog::scan;
use crate::commands::Unit;
use crate::error::{Answer, Code, Error};
use crate::layout::{Entry, OWN, ObjectKey};
use crate::storage::{ObjectId, Store, StoreErrorKind, StoreWrite, When};
use crate::transfer::closure::Stage;
use crate::transfer::manifest::How;
use crate::transfer::run::{self, Copier, Outcome, Work};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What to do with an archive that is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Move it to a prefix beside the destination.
    Aside,
    /// Remove it.
    Delete,
}

/// An archive in the destination that is not the source's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Occupant {
    /// Its objects.
    pub objects: Count,
    /// Of those, base backups with a sentinel.
    pub backups: u64,
    /// WAL files.
    pub wal: u64,
    /// When the oldest was written.
    pub oldest: Option<Timestamp>,
    /// When the newest was written.
    pub newest: Option<Timestamp>,
}

impl Occupant {
    /// What is in the way. `None`: nothing.
    pub(super) fn of(comparison: &Comparison) -> Option<Occupant> {
        let objects = in_the_way(comparison);
        let mut occupant =
            Occupant { objects: Count::of(objects.clone()), backups: 0, wal: 0, oldest: None, newest: None };
        if occupant.objects.objects == 0 {
            return None;
        }
        for object in objects {
            match Entry::parse(&object.key) {
                Entry::Sentinel(_) => occupant.backups += 1,
                Entry::Wal { .. } => occupant.wal += 1,
                _ => {}
            }
            occupant.oldest = [occupant.oldest, object.modified].into_iter().flatten().min();
            occupant.newest = occupant.newest.max(object.modified);
        }
        Some(occupant)
    }
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Occupant { objects, backups, wal, newest, .. } = self;
        let plural = if *backups == 1 { "" } else { "s" };
        write!(f, "{} objects of another archive ({backups} base backup{plural}, {wal} WAL files", objects.objects)?;
        match newest {
            Some(time) => write!(f, ", the newest of {})", time.strftime("%Y-%m-%d %H:%M:%S UTC")),
            None => f.write_str(")"),
        }
    }
}

fn in_the_way(comparison: &Comparison) -> impl Iterator<Item = &ObjectId> + Clone {
    comparison.strangers.iter().chain(comparison.different.iter().map(|(_, there)| there))
}

/// The mark.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    schema: String,
    version: u32,
    /// What stands behind the destination's name.
    suffix: String,
    begun: Timestamp,
}

const SCHEMA: &str = "wal-r.copy-replace";

fn mark_key() -> ObjectKey {
    ObjectKey::from(format!("{OWN}replace.json"))
}

impl Run<'_> {
    /// Take away what is in the way.
    pub(super) async fn replace(&mut self) -> Answer<()> {
        let occupants: Vec<ObjectId> = in_the_way(&self.comparison).cloned().collect();
        let destination = self.ends.destination.clone();
        if occupants.is_empty() {
            // Of a run that was killed behind its last removal.
            return self.unmark().await;
        }
        let mark = self.mark().await?;
        self.expect_quiet(&occupants).await?;
        if self.options.replace == Some(Replace::Aside) {
            let sibling = (self.ends.sibling)(&mark.suffix)?;
            let mut whole = occupants.clone();
            whole.extend(self.in_both().await?);
            self.put_aside(&whole, sibling.clone()).await?;
            self.report.aside = Some(sibling.url());
        } else if !self.options.confirm {
            return Err(
                Error::new(Code::TargetUnconfirmed, "--replace delete removes what is there").on(destination.url())
            );
        }
        self.remove("clearing the destination", occupants).await?;
        // What was another here is nothing now.
        self.comparison.strangers.clear();
        let freed = std::mem::take(&mut self.comparison.different);
        self.comparison.absent.extend(freed.into_iter().map(|(source, _)| source));
        self.unmark().await
    }

    /// The mark that is there, or a new one.
    async fn mark(&self) -> Answer<Mark> {
        let destination = &*self.ends.destination;
        let key = mark_key();
        let now = Timestamp::now();
        match scan::raw(destination, &key, 64 << 10).await {
            Ok(bytes) => {
                let known = serde_json::from_slice::<Mark>(&bytes).ok().filter(|mark| mark.schema == SCHEMA);
                known.ok_or_else(|| {
                    Error::new(Code::DamagedObject, "it is no mark of a replacement")
                        .on(destination.object_url(&key))
                        .hint("Look at it, and remove it, if nobody is replacing this archive.")
                })
            }
            Err(error) if error.code() == Code::AbsentObject => {
                let suffix = now.strftime(".replaced-%Y%m%dT%H%M%SZ").to_string();
                let mark = Mark { schema: SCHEMA.into(), version: 1, suffix, begun: now };
                let bytes = serde_json::to_vec(&mark)
                    .map_err(|error| Error::new(Code::InternalBug, "a mark does not serialise").because(error))?;
                destination.put(&key, bytes.into(), When::Absent).await?;
                Ok(mark)
            }
            Err(error) => Err(error),
        }
    }

    async fn unmark(&self) -> Answer<()> {
        Ok(self.ends.destination.delete(&mark_key()).await?)
    }

    /// Nobody may be writing there. By the store's own clock: the mark was written by it.
    async fn expect_quiet(&self, occupants: &[ObjectId]) -> Answer<()> {
        let destination = &*self.ends.destination;
        let probe = ObjectKey::from(format!("{OWN}clock"));
        destination.put(&probe, bytes::Bytes::new().into(), When::Always).await?;
        let clock = destination.head(&probe).await?.modified;
        destination.delete(&probe).await?;
        let clock = clock.unwrap_or_else(Timestamp::now);
        let newest = occupants.iter().filter_map(|object| Some((object.modified?, &object.key))).max();
        let Some((newest, key)) = newest else { return Ok(()) };
        let wanted = SignedDuration::try_from(self.options.quiet_for).unwrap_or(SignedDuration::MAX);
        let age = clock.duration_since(newest);
        if wanted.is_zero() || age >= wanted {
            return Ok(());
        }
        self.unmark().await?;
        let what = format!(
            "{key} was written {} s ago, and nothing may have been for {} s (--quiet-for)",
            age.as_secs().max(0),
            wanted.as_secs()
        );
        Err(Error::new(Code::TargetBusy, what).on(destination.url()))
    }

    /// What both archives have, byte for byte: it stays here, and belongs to what goes aside all the same. Not what was
    /// copied here.
    async fn in_both(&self) -> Answer<Vec<ObjectId>> {
        let mut both = Vec::new();
        for object in &self.comparison.same {
            let copied = self.manifest.entry(&object.key).is_some_and(|entry| entry.how != How::Found);
            if !copied {
                both.push(self.ends.destination.head(&object.key).await?);
            }
        }
        Ok(both)
    }

    /// Copy it beside the destination, and be sure of it.
    async fn put_aside(&self, occupants: &[ObjectId], sibling: Arc<dyn StoreWrite>) -> Answer<()> {
        let total = occupants.iter().map(|object| object.size).sum();
        self.progress.begin("moving aside what is there", Some(total), Unit::Bytes);
        let progress = self.progress.clone();
        let source: Arc<dyn Store> = self.ends.destination.clone();
        let copier =
            Copier::new(source.clone(), sibling.clone(), self.options.limits, move |bytes| progress.advance(bytes));
        let there: BTreeMap<ObjectKey, ObjectId> = match super::objects(&*sibling, true).await {
            Ok(there) => there.into_iter().map(|object| (object.key.clone(), object)).collect(),
            Err(error) if error.code() == Code::AbsentPrefix => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let mut stages: BTreeMap<Stage, Vec<Work>> = BTreeMap::new();
        for object in occupants {
            // Of a run that was killed.
            if let Some(there) = there.get(&object.key) {
                let (ours, theirs) = futures::try_join!(run::digest(&*source, object), run::digest(&*sibling, there))?;
                if ours.sha256 == theirs.sha256 {
                    continue;
                }
                let what = "another object is there already";
                return Err(Error::new(Code::TargetConflict, what).on(sibling.object_url(&object.key)));
            }
            let work = Work { object: object.clone(), when: When::ListedAbsent };
            stages.entry(Stage::of(&object.key)).or_default().push(work);
        }
        for (stage, work) in stages {
            let mut vanished = None;
            let each = async |outcome| {
                if let Outcome::Vanished(key) = outcome {
                    vanished = Some(key);
                }
                Ok(())
            };
            match stage {
                Stage::Sentinel => {
                    // In their order, so that LATEST stays what it was.
                    let mut work = work;
                    work.sort_by_key(|work| work.object.modified);
                    let mut each = each;
                    for work in work {
                        copier.all(vec![work], &mut each).await?;
                        if !sibling.capabilities().keeps_times {
                            tokio::time::sleep(super::APART).await;
                        }
                    }
                }
                _ => copier.all(work, each).await?,
            }
            if let Some(key) = vanished {
                let what = "it vanished while it was being moved: somebody else is at work there";
                return Err(Error::new(Code::TargetBusy, what).on(source.object_url(&key)));
            }
        }
        self.expect_whole(occupants, &*sibling).await
    }

    /// Is all of it there, with its size? Nothing is removed before.
    async fn expect_whole(&self, occupants: &[ObjectId], sibling: &dyn Store) -> Answer<()> {
        let there: BTreeMap<ObjectKey, u64> =
            super::objects(sibling, true).await?.into_iter().map(|object| (object.key, object.size)).collect();
        match occupants.iter().find(|object| there.get(&object.key) != Some(&object.size)) {
            None => Ok(()),
            Some(object) => {
                let kind = StoreErrorKind::Failed;
                let what = "what was just written is not in the listing; nothing was removed";
                Err(crate::storage::StoreError::new(kind, sibling.object_url(&object.key), what).into())
            }
        }
    }
}
