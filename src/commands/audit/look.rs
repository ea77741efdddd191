//! The parts of an audit that read: the ledger, the WAL, the base backups, each within what may be spent.
//!
//! In: an [`Audit`] under way. Out: defects, proofs, and what was read, in it. Never: reads the whole archive because the
//! ledger is out of order; goes over a budget by more than the object under way.

use super::report::{Report, Step};
use super::{Audit, Backups, chain, step};
use crate::backup::restore::Advance;
use crate::commands::{Progress, Unit};
use crate::error::{Answer, Error};
use crate::pg::{SegmentNo, TimelineId};
use crate::proof::backup::{self as proof_of, BackupProof, Word};
use crate::proof::facts::{Forgetful, Level, Memory};
use crate::proof::finding::{Breaks, Defect, Finding, FindingCode, Place, Severity};
use crate::proof::ledger::{Ended, Identity, Ledger};
use crate::proof::names;
use crate::proof::survey::{BackupFacts, Survey};
use crate::proof::walk::{self, Selection};
use crate::storage::Fingerprint;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Names of vanished segments that are asked of the ledger, for one stretch.
const VANISHED: u32 = 10_000;

impl Audit<'_> {
    /// The ledger that was asked for.
    pub(super) fn open_ledger(&mut self) -> Option<Answer<Ledger>> {
        // Names are not remembered: they are read anew each time.
        let path = self.options.ledger.as_ref().filter(|_| self.options.level > Level::Names)?;
        let survey = self.survey;
        let identity = Identity { url: &survey.url, system: survey.system, size: survey.size };
        let ledger = Ledger::open(path, &identity, "audit", self.options.now);
        let said = match &ledger {
            Ok(ledger) => {
                let notes = ledger.notes().join("; ");
                Ok(if notes.is_empty() { path.display().to_string() } else { notes })
            }
            Err(error) => Err(chain(error)),
        };
        self.steps.push(step("open the ledger", said));
        Some(ledger)
    }

    /// The ledger is out of order: nothing is read, because all would be.
    pub(super) fn without_ledger(&mut self, error: &Error) {
        self.coverage.not_reached = self.coverage.segments;
        self.defects.push(Defect {
            code: FindingCode::LedgerUnusable,
            place: Place::Archive,
            object: self.options.ledger.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            lsn: None,
            what: chain(error),
            breaks: Breaks::Unknown,
            level: self.options.level,
        });
    }

    /// What was proven once and is not there any more: in holes, and behind the end.
    pub(super) fn vanished(&mut self, ledger: &mut Ledger) -> Answer<()> {
        let survey = self.survey;
        let holes = self.defects.iter().filter(|defect| defect.code == FindingCode::SegmentMissing);
        let mut stretches: Vec<(TimelineId, SegmentNo, SegmentNo)> = holes
            .filter_map(|defect| match defect.place {
                Place::Wal { timeline, first, last } => Some((timeline, first, last)),
                _ => None,
            })
            .collect();
        let end = SegmentNo(u64::from(u32::MAX).saturating_mul(survey.size.per_log()));
        stretches.extend(survey.extents.iter().map(|(timeline, extent)| (*timeline, extent.last.next(), end)));
        for (timeline, first, last) in stretches {
            let (Some(from), Some(to)) = (first.name(timeline, survey.size), last.name(timeline, survey.size)) else {
                continue;
            };
            let gone = ledger.proven(from, to, VANISHED)?;
            let numbers = gone.iter().filter_map(|name| name.number(survey.size).ok());
            let (Some(first), Some(last)) = (numbers.clone().min(), numbers.max()) else { continue };
            self.defects.push(Defect {
                code: FindingCode::LedgerVanished,
                place: Place::Wal { timeline, first, last },
                object: names::range_text(timeline, first, last, survey.size),
                lsn: first.start(survey.size),
                what: format!("proven before and gone now: {}", segments(gone.len() as u64)),
                breaks: Breaks::Replay,
                level: Level::Names,
            });
        }
        Ok(())
    }

    /// Time that is left for reading.
    fn time_left(&self) -> Option<Duration> {
        self.options.budget_time.map(|time| time.saturating_sub(self.began.elapsed()))
    }

    /// Read the WAL.
    pub(super) async fn walk(&mut self, ledger: Option<&mut Ledger>, progress: &Arc<dyn Progress>) -> Answer<()> {
        let selection = Selection {
            ranges: None,
            budget_bytes: self.options.budget_bytes,
            budget_time: self.time_left(),
            recheck: self.options.recheck,
        };
        progress.begin("reading WAL", Some(walk::stored_bytes(self.survey, &selection)), Unit::Bytes);
        let mut forgetful = Forgetful;
        let with_ledger = ledger.is_some();
        let mut oldest = None;
        let memory: &mut dyn Memory = match ledger {
            Some(ledger) => {
                oldest = self.oldest(ledger);
                ledger
            }
            None => &mut forgetful,
        };
        let (store, level, effort) = (Arc::clone(&self.store), self.options.level, self.options.effort);
        let walked = walk::walk(store, self.survey, &selection, level, effort, memory, advance(progress)).await?;
        self.coverage.objects_read += walked.read.objects;
        self.coverage.bytes_read += walked.read.bytes;
        self.coverage.remembered = walked.read.remembered;
        self.coverage.remembered_since = oldest.filter(|_| walked.read.remembered > 0);
        let unread = walked.unread.iter().map(|range| (range.last.0 - range.first.0).saturating_add(1));
        self.coverage.not_reached = unread.fold(0, u64::saturating_add);
        let mut said = format!("{} read, {} remembered", walked.read.objects, walked.read.remembered);
        if with_ledger && self.options.recheck > 0.0 {
            said += &format!(", {} of the remembered read again", walked.read.rechecked);
        }
        if walked.unchecked.segments > 0 && level == Level::Records {
            said += &format!(
                "; the first record of {} begins before the WAL that is there or sound and was not checked ({} bytes)",
                segments(walked.unchecked.segments),
                walked.unchecked.head_bytes
            );
        }
        let said = match self.coverage.not_reached {
            0 => Ok(said),
            count => Err(format!("{said}; {} NOT reached", segments(count))),
        };
        self.steps.push(step("read the WAL", said));
        self.found(walked.defects);
        self.proofs = walked.proofs;
        Ok(())
    }

    /// When the oldest of the proofs was made that may be used.
    fn oldest(&mut self, ledger: &mut Ledger) -> Option<Timestamp> {
        let name = |timeline: TimelineId, number: SegmentNo| number.name(timeline, self.survey.size);
        let stretches = self.survey.extents.iter();
        let stretches =
            stretches.filter_map(|(one, extent)| Some((name(*one, extent.first)?, name(*one, extent.last)?)));
        stretches.filter_map(|(first, last)| ledger.oldest_check(first, last).ok().flatten()).min()
    }

    /// Read base backups, the newest first.
    pub(super) async fn backups(
        &mut self,
        mut ledger: Option<&mut Ledger>,
        progress: &Arc<dyn Progress>,
    ) -> Answer<()> {
        let survey = self.survey;
        let finished = survey.backups.iter().rev().filter(|backup| backup.is_finished());
        let chosen: Vec<&BackupFacts> = match self.options.backups {
            Backups::None => return Ok(()),
            Backups::Latest => finished.filter(|backup| backup.latest).collect(),
            Backups::All => finished.collect(),
        };
        let (mut read, mut remembered) = (0_u64, 0_u64);
        for facts in &chosen {
            let print = proof_of::fingerprint(&*self.store, survey, facts).await.ok().and_then(|text| short(&text));
            if let (Some(ledger), Some(print)) = (ledger.as_deref_mut(), print)
                && let Some((_, json)) = ledger.recall_backup(&facts.name, print)?
                && let Ok(proof) = serde_json::from_str::<BackupProof>(&json)
            {
                remembered += 1;
                self.looked_into.insert(facts.name);
                self.found(proof.defects);
                continue;
            }
            match self.verify(facts, progress).await? {
                Some(proof) => {
                    read += 1;
                    let word = proof.word();
                    if let (Some(ledger), Some(print), Word::Good | Word::Damaged, Ok(json)) =
                        (ledger.as_deref_mut(), print, word, serde_json::to_string(&proof))
                    {
                        ledger.remember_backup(&facts.name, print, word == Word::Good, &json);
                    }
                    self.coverage.objects_read += proof.found.good_parts;
                    self.coverage.bytes_read += proof.found.stored_bytes;
                    self.looked_into.insert(facts.name);
                    self.found(proof.defects);
                }
                None => self.not_reached(facts),
            }
        }
        self.coverage.backups_read = read;
        let said = format!(
            "{read} read, {remembered} remembered, of {} that are finished",
            survey.backups.iter().filter(|one| one.is_finished()).count()
        );
        let said = match self.coverage.backups_not_reached {
            0 => Ok(said),
            count => Err(format!("{said}; {count} NOT reached")),
        };
        self.steps.push(step("read base backups", said));
        Ok(())
    }

    /// One base backup; `None`: what may be spent does not suffice.
    async fn verify(&mut self, facts: &BackupFacts, progress: &Arc<dyn Progress>) -> Answer<Option<BackupProof>> {
        let stored = self.survey.inventory.backups.get(&facts.name).map_or(0, |objects| objects.stored_bytes());
        let bytes_left = self.options.budget_bytes.map(|budget| budget.saturating_sub(self.coverage.bytes_read));
        let time_left = self.time_left();
        if bytes_left.is_some_and(|left| left < stored) || time_left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        progress.begin(&format!("reading {}", facts.name), None, Unit::Bytes);
        let (store, effort) = (Arc::clone(&self.store), self.options.effort);
        let verified = proof_of::verify(store, self.survey, facts, effort, advance(progress));
        match time_left {
            None => verified.await.map(Some),
            Some(left) => match tokio::time::timeout(left, verified).await {
                Ok(proof) => proof.map(Some),
                Err(_) => Ok(None),
            },
        }
    }

    fn not_reached(&mut self, facts: &BackupFacts) {
        self.coverage.backups_not_reached += 1;
        self.defects.push(Defect {
            code: FindingCode::AuditUnfinished,
            place: Place::Backup(facts.name),
            object: facts.name.to_string(),
            lsn: None,
            what: "the budget of the audit was spent before it was read".to_owned(),
            breaks: Breaks::Unknown,
            level: self.options.level,
        });
    }

    /// More defects. What the names alone had said of the same thing is said better now.
    fn found(&mut self, defects: Vec<Defect>) {
        self.defects.retain(|old| !defects.iter().any(|new| new.code == old.code && new.place == old.place));
        self.defects.extend(defects);
    }
}

/// Close the ledger; what of that should be known.
pub(super) fn close(ledger: &mut Ledger, report: &Report) -> Option<Step> {
    ledger.finish(&Ended {
        level: report.level,
        outcome: report.verdict.word(),
        objects: report.coverage.objects_read,
        bytes: report.coverage.bytes_read,
        remembered: report.coverage.remembered,
        at: report.began,
    });
    ledger.trouble().map(|error| step("remember what was proven", Err(chain(error))))
}

/// Proven segments that are gone from the end of the way that recovery takes are the newest data. No way leads over them
/// any more, so nothing else shows it.
pub(super) fn newest_gone(survey: &Survey, way: &[TimelineId], findings: &mut [Finding]) {
    let Some(newest) = way.last() else { return };
    for finding in findings.iter_mut().filter(|finding| finding.code == FindingCode::LedgerVanished) {
        let Place::Wal { timeline, first, .. } = finding.place else { continue };
        if timeline == *newest && survey.last_stored(timeline).is_some_and(|last| first > last) {
            finding.severity = Severity::Critical;
            finding.consequence =
                "They were the newest WAL: what was committed in them cannot be recovered any more.".to_owned();
        }
    }
}

fn advance(progress: &Arc<dyn Progress>) -> Advance {
    let bar = Arc::clone(progress);
    Arc::new(move |bytes| bar.advance(bytes))
}

fn segments(count: u64) -> String {
    if count == 1 { "1 segment".to_owned() } else { format!("{count} segments") }
}

/// The ledger keeps 64 bits of a digest.
fn short(digest: &str) -> Option<Fingerprint> {
    u64::from_str_radix(digest.get(..16)?, 16).ok().map(Fingerprint)
}
