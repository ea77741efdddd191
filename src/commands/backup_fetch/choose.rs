//! Which backup a recovery target needs.
//!
//! In: candidates, what is asked, timeline histories. Out: one of them with the reason, or why none. Never: takes a
//! backup that may not be consistent before the target: the server would replay for hours and then refuse.
//!
//! Conservative by intent: a backup counts as finished at the `STOP TIME` of its history file plus one second (it is cut
//! to seconds), else when its sentinel was written, which is later. What cannot prove that it fits is passed over.

use super::{READS, Wanted, Which, no_choice, wal_key};
use crate::backup::recovery::RecoveryTarget;
use crate::backup::select::{self, Candidate};
use crate::catalog::scan;
use crate::error::{Answer, Code, Error, Verdict};
use crate::layout::{Compression, WalFile};
use crate::pg::history::TimelineHistory;
use crate::pg::label::BackupHistoryFile;
use crate::pg::{Lsn, SegmentSize, TargetTimeline, TimelineId};
use crate::storage::Store;
use futures::{StreamExt, TryStreamExt};
use jiff::{Timestamp, ToSpan};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Which backup.
    pub which: &'a Which,
    /// What recovery will be.
    pub recovery: Option<&'a Wanted>,
}

impl Asked<'_> {
    fn target(&self) -> Option<&RecoveryTarget> {
        self.recovery.and_then(|wanted| wanted.target.as_ref())
    }

    /// Do the ends of the backups matter, beyond what sentinels say?
    fn needs_ends(&self) -> bool {
        matches!(self.which, Which::Before(_))
            || matches!(self.target(), Some(RecoveryTarget::Time(_) | RecoveryTarget::Lsn(_)))
    }
}

/// A candidate, and where its backup stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Considered {
    /// The candidate.
    pub candidate: Candidate,
    /// Where it stopped: from its history file or WAL-G's sentinel, else from the stop segment as if segments had 16 MiB.
    pub stop: Option<Lsn>,
}

/// A candidate that does not fit, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Excluded(pub String);

/// The chosen one.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// Which.
    pub candidate: &'a Considered,
    /// Why.
    pub why: String,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// Adds what the backup history files say, where it matters.
pub async fn with_ends(store: &dyn Store, candidates: Vec<Candidate>, asked: &Asked<'_>) -> Answer<Vec<Considered>> {
    let read = asked.needs_ends();
    let considered = candidates.into_iter().map(|candidate| async move {
        let mut stop = stop_by_sentinel(&candidate);
        let mut candidate = candidate;
        if read && let Some(history) = history_file(store, &candidate).await? {
            stop = Some(history.stop);
            candidate.finished = history.stop_time.as_deref().and_then(server_time);
        }
        Ok::<_, Error>(Considered { candidate, stop })
    });
    futures::stream::iter(considered).buffered(READS).try_collect().await
}

/// The backup history file, where WAL-E's name says where it would be. Damage is no reason to fail: it only helps.
async fn history_file(store: &dyn Store, candidate: &Candidate) -> Answer<Option<BackupHistoryFile>> {
    let Some(offset) = candidate.name.offset() else { return Ok(None) };
    let key = wal_key(WalFile::BackupHistory(candidate.name.start(), offset));
    match scan::small(store, &key, Compression::Lzo).await {
        Ok(bytes) => Ok(BackupHistoryFile::parse(&bytes).ok()),
        Err(error) if matches!(error.verdict(), Verdict::Absent | Verdict::Damaged) => Ok(None),
        Err(error) if matches!(error.code(), Code::CryptKey | Code::CryptUnsupported) => Ok(None),
        Err(error) => Err(error),
    }
}

fn stop_by_sentinel(candidate: &Candidate) -> Option<Lsn> {
    let sentinel = candidate.sentinel.as_ref()?;
    if let Some(lsn) = sentinel.finish_lsn {
        return Some(lsn);
    }
    sentinel.stop_segment?.start(SegmentSize::DEFAULT).ok()?.checked_add(sentinel.stop_offset?)
}

/// When it had certainly stopped: a second later than the server printed, which cuts.
fn server_time(text: &str) -> Option<Timestamp> {
    crate::pg::label::server_time(text)?.checked_add(1.second()).ok()
}

/// Histories of the timelines that recovery may follow: the numbered one, or, as the server looks for `latest`, those
/// from the newest backup's timeline on without a gap.
pub async fn histories(
    store: &dyn Store,
    asked: &Asked<'_>,
    candidates: &[Considered],
) -> Answer<Vec<TimelineHistory>> {
    let Some(wanted) = asked.recovery else { return Ok(Vec::new()) };
    let read = async |timeline: TimelineId| -> Answer<Option<TimelineHistory>> {
        let key = wal_key(WalFile::History(timeline));
        let bytes = match scan::small(store, &key, Compression::Lzo).await {
            Ok(bytes) => bytes,
            Err(error) if error.verdict() == Verdict::Absent => return Ok(None),
            Err(error) => return Err(error),
        };
        let parsed = TimelineHistory::parse(timeline, &bytes);
        parsed.map(Some).map_err(|error| {
            Error::new(Code::DamagedHistory, "is not a timeline history").on(store.object_url(&key)).because(error)
        })
    };
    match wanted.timeline {
        TargetTimeline::Current => Ok(Vec::new()),
        TargetTimeline::Number(TimelineId::FIRST) => Ok(vec![TimelineHistory::without_file(TimelineId::FIRST)]),
        TargetTimeline::Number(number) => match read(number).await? {
            Some(history) => Ok(vec![history]),
            None => {
                let what = format!("timeline {number} is asked for, and the archive has no history of it");
                Err(Error::new(Code::UsageTarget, what).on(number.history_name()))
            }
        },
        TargetTimeline::Latest => {
            let mut all = Vec::new();
            let newest = candidates.iter().map(|one| one.candidate.name.timeline()).max();
            let mut next = candidates.iter().map(|one| one.candidate.name.timeline()).min().and_then(TimelineId::next);
            while let Some(timeline) = next {
                match read(timeline).await? {
                    Some(history) => all.push(history),
                    // The server stops here; a backup beyond tells that there is more.
                    None if newest.is_some_and(|newest| timeline <= newest) => {}
                    None => break,
                }
                next = timeline.next();
            }
            Ok(all)
        }
    }
}

/// Can recovery from this backup go where it is asked to?
fn fits(one: &Considered, asked: &Asked<'_>, histories: &[TimelineHistory]) -> Result<(), Excluded> {
    let Some(wanted) = asked.recovery else { return Ok(()) };
    let excluded = |why: String| Err(Excluded(why));
    let timeline = one.candidate.name.timeline();
    let stop = one.stop;
    let leads = |history: &TimelineHistory| match history.span(timeline) {
        None => Err(format!("timeline {} does not descend from its timeline {timeline}", history.timeline())),
        Some(span) => match (span.end, stop) {
            (Some(end), Some(stop)) if stop > end => {
                Err(format!("it stopped at {stop}, and timeline {} left its timeline at {end}", history.timeline()))
            }
            (Some(_), None) => Err("where it stopped is not known".to_owned()),
            _ => Ok(()),
        },
    };
    match wanted.timeline {
        TargetTimeline::Current => {}
        TargetTimeline::Number(_) => {
            for history in histories {
                leads(history).or_else(excluded)?;
            }
        }
        TargetTimeline::Latest => {
            // As the server does: from the backup's own timeline on, up to the first number without a history.
            let mut latest = None;
            let mut next = timeline.next();
            while let Some(history) = next.and_then(|next| histories.iter().find(|one| one.timeline() == next)) {
                latest = Some(history);
                next = history.timeline().next();
            }
            if let Some(history) = latest {
                leads(history).or_else(excluded)?;
            }
        }
    }
    match &wanted.target {
        _ if wanted.trusted && matches!(asked.which, Which::Named(_)) => Ok(()),
        Some(RecoveryTarget::Time(target)) => match select::finished_at_the_latest(&one.candidate) {
            Some(finished) if finished <= *target => Ok(()),
            Some(finished) => excluded(format!("it was finished at {finished}, and the target is {target}")),
            None => excluded("when it was finished is not known".to_owned()),
        },
        Some(RecoveryTarget::Lsn(target)) => match stop {
            Some(stop) if stop <= *target => Ok(()),
            Some(stop) => excluded(format!("it is consistent from {stop} on, and the target is {target}")),
            None => excluded("where it stopped is not known".to_owned()),
        },
        _ => Ok(()),
    }
}

/// Chooses. Pure.
pub fn choose<'a>(
    candidates: &'a [Considered],
    asked: &Asked<'_>,
    histories: &[TimelineHistory],
) -> Answer<Chosen<'a>> {
    let plain = |of: &[Considered]| -> Vec<Candidate> { of.iter().map(|one| one.candidate.clone()).collect() };
    let (fitting, passed): (Vec<&Considered>, Vec<&Considered>) = match asked.which {
        Which::Fitting => candidates.iter().partition(|one| fits(one, asked, histories).is_ok()),
        _ => (candidates.iter().collect(), Vec::new()),
    };
    let wanted = match asked.which {
        Which::Latest | Which::Fitting => select::Wanted::Latest,
        Which::Named(name) => select::Wanted::Named(*name),
        Which::Before(time) => select::Wanted::Before(*time),
    };
    let list: Vec<Candidate> = fitting.iter().map(|one| one.candidate.clone()).collect();
    let choice = match select::select(&list, &wanted) {
        Ok(choice) => choice,
        Err(_) if fitting.is_empty() && !passed.is_empty() => {
            let all = plain(candidates);
            let reasons = select::order(&all).into_iter().rev().filter_map(|index| candidates.get(index)).take(3);
            let reasons = reasons.filter_map(|one| {
                let Excluded(why) = fits(one, asked, histories).err()?;
                Some(format!("{}: {why}", one.candidate.name))
            });
            let what = format!("no base backup leads to the target: {}", reasons.collect::<Vec<_>>().join("; "));
            return Err(Error::new(Code::UsageTarget, what));
        }
        Err(error) => return Err(no_choice(error)),
    };
    let candidate = fitting
        .into_iter()
        .find(|one| one.candidate.name == choice.chosen.name)
        .ok_or_else(|| Error::new(Code::InternalBug, "the chosen backup is gone"))?;
    if let Err(Excluded(why)) = fits(candidate, asked, histories) {
        let what = format!("recovery from {} does not lead to the target: {why}", candidate.candidate.name);
        let hint = "Leave the backup's name out: the newest one that leads there is taken; or see `wal-r backup-list --detail`.";
        return Err(Error::new(Code::UsageTarget, what).hint(hint));
    }
    let mut notes = Vec::new();
    if let Some(other) = choice.written_last {
        notes.push(format!(
            "{}'s sentinel was written later ({}) than that of {} ({}): it was copied, or a clock was wrong. The order is by \
             what the archive says.",
            other.name,
            shown(other.modified),
            choice.chosen.name,
            shown(choice.chosen.modified)
        ));
    }
    if let Some(other) = choice.unreadable {
        notes.push(format!("{} is newer, and its sentinel cannot be read.", other.name));
    }
    if choice.systems > 1 {
        notes.push(format!("The prefix holds base backups of {} clusters.", choice.systems));
    }
    let why = match asked.which {
        Which::Named(_) => "named".to_owned(),
        Which::Latest => format!("the newest of {}", candidates.len()),
        Which::Before(time) => format!("the newest that was finished at {time}"),
        Which::Fitting if passed.is_empty() => {
            format!("the newest of {}, and it leads to the target", candidates.len())
        }
        Which::Fitting => format!("the newest that leads to the target; {} do not", passed.len()),
    };
    Ok(Chosen { candidate, why, notes })
}

fn shown(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "unknown".to_owned(), |time| time.to_string())
}
