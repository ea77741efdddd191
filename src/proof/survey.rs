//! An archive as its names tell it: one listing, the histories, the sentinels, and the segment size.
//!
//! In: a store. Out: [`Survey`], which every other part of `proof` starts from, and the questions all of them ask alike:
//! which way leads from a base backup to a timeline, which file serves which place on it, where a timeline ends.
//! Never: decides what is wrong (that is `names` and `judge`), reads WAL (but the first page of one segment, for its size),
//! or fails because one small object cannot be read: that is kept beside it.

mod header;

use crate::backup::select::{self, Candidate, Wanted};
use crate::backup::sentinel::{self, Sentinel};
use crate::catalog::continuity::{self, Extent};
use crate::catalog::inventory::StoredFile;
use crate::catalog::scan::AT_ONCE;
use crate::catalog::{Inventory, Timelines};
use crate::error::{Answer, Code, Error, Verdict};
use crate::layout::BackupName;
use crate::pg::history::TimelineHistory;
use crate::pg::label::{BackupHistoryFile, server_time};
use crate::pg::version::PgVersion;
use crate::pg::{Lsn, SegmentNo, SegmentSize, SystemId, TimelineId};
use crate::storage::Store;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// An archive as its names tell it.
#[derive(Debug)]
pub struct Survey {
    /// The prefix, for people.
    pub url: String,
    /// What the listing holds.
    pub inventory: Inventory,
    /// The histories.
    pub timelines: Timelines,
    /// Bytes of a segment.
    pub size: SegmentSize,
    /// Where that was learnt, for people: `the first page of 0000…`, `assumed: there is no segment`.
    pub size_from: String,
    /// The cluster, where the archive tells: the first page that was read, `sysids/sysid`, a sentinel.
    pub system: Option<SystemId>,
    /// Every cluster that the archive speaks of, each with who says so; the first is [`Survey::system`].
    pub systems: Vec<(SystemId, String)>,
    /// How the files of each timeline lie.
    pub extents: BTreeMap<TimelineId, Extent>,
    /// `server_version_num / 10000` (or 906 for 9.6) of the newest WAL, where it was learnt.
    pub major: Option<u32>,
    /// Base backups, finished or not: oldest first, in the order in which LATEST is chosen.
    pub backups: Vec<BackupFacts>,
}

/// What names and sentinels tell of one base backup.
#[derive(Debug)]
pub struct BackupFacts {
    /// Its name.
    pub name: BackupName,
    /// Its sentinel.
    pub sentinel: SentinelState,
    /// When the store says that the sentinel was written.
    pub modified: Option<Timestamp>,
    /// Timeline it was taken on.
    pub timeline: TimelineId,
    /// Where replay starts (the redo point).
    pub start: Lsn,
    /// The first byte that it does not need to be consistent: from the backup history file, else the sentinel. `None`
    /// where nothing tells.
    pub stop: Option<Lsn>,
    /// When it began, where the archive tells.
    pub started: Option<Timestamp>,
    /// When it ended, where the archive tells.
    pub finished: Option<Timestamp>,
    /// Is it what LATEST means?
    pub latest: bool,
}

/// How much later a segment must have been written for its timeline to be taken for the newer one.
const LATER: SignedDuration = SignedDuration::from_hours(1);

/// The sentinel of a base backup.
#[derive(Debug)]
pub enum SentinelState {
    /// Read.
    Read(Box<Sentinel>),
    /// There, and no sentinel: why.
    Damaged(String),
    /// It could not be read: why.
    Unknown(String),
    /// None: failed, or being taken.
    Absent,
}

impl BackupFacts {
    /// It can be restored by name, as far as names and the sentinel tell.
    pub fn is_usable(&self) -> bool {
        matches!(self.sentinel, SentinelState::Read(_))
    }

    /// It has a sentinel, readable or not.
    pub fn is_finished(&self) -> bool {
        !matches!(self.sentinel, SentinelState::Absent)
    }

    /// The first segment it needs.
    pub fn first_segment(&self, size: SegmentSize) -> SegmentNo {
        self.start.segment(size)
    }

    /// The last segment it needs to be consistent; the first one where nothing tells its end.
    pub fn last_segment(&self, size: SegmentSize) -> SegmentNo {
        self.stop
            .map_or_else(|| self.first_segment(size), |stop| stop.segment_before(size))
            .max(self.first_segment(size))
    }
}

impl Survey {
    /// The way from a base backup to a timeline: that timeline's history, where the backup lies on it and not behind the
    /// place where its own timeline was left. `None` where recovery from this backup never gets there.
    pub fn route(&self, backup: &BackupFacts, to: TimelineId) -> Option<TimelineHistory> {
        let history = self.timelines.history(to)?;
        let span = history.span(backup.timeline)?;
        // Consistent only behind its end: a timeline that was left before is not reached.
        let needed = backup.stop.unwrap_or(backup.start);
        span.end.is_none_or(|end| needed <= end).then_some(history)
    }

    /// Every timeline of which there is anything, base backups included.
    pub fn all_timelines(&self) -> Vec<TimelineId> {
        let mut all: Vec<TimelineId> = self.timelines.iter().map(|(timeline, _)| timeline).collect();
        all.extend(self.backups.iter().map(|backup| backup.timeline));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The last segment that is stored of a timeline; names beyond belief are left out.
    pub fn last_stored(&self, timeline: TimelineId) -> Option<SegmentNo> {
        self.extents.get(&timeline).map(|extent| extent.last)
    }
}

impl Survey {
    /// The newest base backup that can be restored by name: what LATEST means.
    pub fn latest(&self) -> Option<&BackupFacts> {
        self.backups.iter().find(|backup| backup.latest)
    }

    /// When the newest segment of a timeline was written, as the store says.
    pub fn written(&self, timeline: TimelineId) -> Option<Timestamp> {
        let last = self.last_stored(timeline)?.name(timeline, self.size)?;
        self.inventory.stored(last).iter().filter_map(|one| one.modified()).max()
    }

    /// Was the newest segment of one timeline written so much later than that of another that archivers which catch up, or
    /// a copy, do not explain it? `false` where the store does not tell.
    pub fn is_later(&self, one: TimelineId, than: TimelineId) -> bool {
        match (self.written(one), self.written(than)) {
            (Some(one), Some(than)) => one.duration_since(than) > LATER,
            _ => false,
        }
    }

    /// Where a timeline begins: by its own history, else by that of one that descends from it.
    pub fn begin(&self, timeline: TimelineId) -> Option<Lsn> {
        self.told(timeline)?.begin()
    }

    /// The history of a timeline, where its own file or that of a descendant tells it.
    pub fn told(&self, timeline: TimelineId) -> Option<TimelineHistory> {
        let read =
            |node: &crate::catalog::timelines::Node| node.history.as_ref().and_then(|one| one.as_ref().ok().cloned());
        let of = |wanted| self.timelines.iter().find(|(one, _)| *one == wanted).and_then(|(_, node)| read(node));
        let descendant = || self.timelines.iter().find_map(|(_, node)| read(node)?.of_ancestor(timeline));
        of(timeline).or_else(descendant)
    }

    /// Segments or a finished base backup of it are there.
    pub fn is_alive(&self, timeline: TimelineId) -> bool {
        self.extents.contains_key(&timeline)
            || self.backups.iter().any(|backup| backup.timeline == timeline && backup.is_finished())
    }
}

/// Which stretch of segments each timeline serves on the way to a history's own, oldest first. The last one is open: its
/// end is the last number there is.
pub fn stretches(history: &TimelineHistory, size: SegmentSize) -> Vec<(TimelineId, SegmentNo, SegmentNo)> {
    let mut stretches = Vec::new();
    let mut end = Some(SegmentNo(u64::MAX));
    for span in history.spans().rev() {
        let first = span.begin.segment(size);
        if let Some(last) = end
            && first <= last
        {
            stretches.push((span.timeline, first, last));
            end = first.previous();
        }
    }
    stretches.reverse();
    stretches
}

/// Surveys an archive. An error only where it cannot be listed.
pub async fn scan(store: &dyn Store) -> Answer<Survey> {
    let inventory = crate::catalog::scan::everything(store).await?;
    Ok(of(store, inventory).await)
}

/// The same of what is listed already.
pub async fn of(store: &dyn Store, inventory: Inventory) -> Survey {
    let (timelines, sentinels, ends, sysid) = futures::join!(
        crate::catalog::scan::timelines(store, &inventory),
        sentinels(store, &inventory),
        ends(store, &inventory),
        sysid(store, &inventory),
    );
    let mut systems: Vec<(SystemId, String)> = sysid.into_iter().collect();
    for (name, state) in &sentinels {
        if let SentinelState::Read(sentinel) = state {
            systems.extend(sentinel.system.map(|system| (system, format!("the sentinel of {name}"))));
        }
    }
    let learnt = header::learn(store, &inventory, &systems).await;
    if let Some((segment, page)) = &learnt.page
        && let Some(long) = page.long
    {
        systems.insert(0, (long.system, format!("the first page of {segment}")));
    }
    let strangers = learnt.strangers.iter();
    systems.extend(strangers.map(|(system, segment)| (*system, format!("the first page of {segment}"))));
    let mut seen = std::collections::BTreeSet::new();
    systems.retain(|(system, _)| seen.insert(*system));
    let of_page = learnt.page.as_ref().and_then(|(_, page)| PgVersion::from_page_magic(page.magic));
    let size = learnt.size;
    let backups = backups(&inventory, sentinels, &ends, size);
    let of_sentinel = backups.iter().rev().find_map(|backup| match &backup.sentinel {
        SentinelState::Read(sentinel) => PgVersion::from_number(sentinel.server_version?),
        _ => None,
    });
    let extents = inventory.timelines().into_iter();
    Survey {
        url: store.url(),
        extents: extents.filter_map(|one| Some((one, continuity::extent(&inventory, one, size)?))).collect(),
        timelines,
        size,
        size_from: learnt.from,
        system: systems.first().map(|(system, _)| *system),
        systems,
        major: of_page.or(of_sentinel).map(PgVersion::series),
        backups,
        inventory,
    }
}

/// Reads one sentinel.
pub async fn sentinel(store: &dyn Store, name: &BackupName) -> Answer<Sentinel> {
    let key = name.sentinel_key();
    let bytes = crate::catalog::scan::raw(store, &key, sentinel::MAX_BYTES).await?;
    Sentinel::parse(&bytes).map_err(|cause| {
        Error::new(Code::DamagedSentinel, "it is no sentinel").on(store.object_url(&key)).because(cause)
    })
}

/// An error and its causes in one line, for where its object is named already.
pub fn why(error: &Error) -> String {
    let chain = error.chain();
    let object = error.object().map(|object| format!("{object}: "));
    object.and_then(|object| chain.strip_prefix(&object).map(str::to_owned)).unwrap_or(chain)
}

async fn sentinels(store: &dyn Store, inventory: &Inventory) -> BTreeMap<BackupName, SentinelState> {
    let read = inventory.backups.iter().map(|(name, objects)| async move {
        let state = match objects.is_finished() {
            false => SentinelState::Absent,
            true => match sentinel(store, name).await {
                Ok(sentinel) => SentinelState::Read(Box::new(sentinel)),
                Err(error) => match error.verdict() {
                    Verdict::Damaged => SentinelState::Damaged(why(&error)),
                    // Listed a moment ago: deleted meanwhile, so nobody knows.
                    Verdict::Unknown | Verdict::Absent => SentinelState::Unknown(why(&error)),
                },
            },
        };
        (*name, state)
    });
    stream::iter(read).buffer_unordered(AT_ONCE).collect().await
}

/// The backup history files of the base backups that are there: WAL-E's names say which they are. They only help, so one
/// that cannot be read is as good as none.
async fn ends(store: &dyn Store, inventory: &Inventory) -> BTreeMap<BackupName, BackupHistoryFile> {
    let read = inventory.backups.keys().filter_map(|name| Some((*name, history_forms(inventory, name)?)));
    let read = read.map(|(name, forms)| async move {
        for form in forms {
            if let Ok(bytes) = crate::catalog::scan::small(store, &form.object.key, form.stored).await
                && let Ok(file) = BackupHistoryFile::parse(&bytes)
            {
                return Some((name, file));
            }
        }
        None
    });
    stream::iter(read).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

/// The stored forms of a backup's history file. Its name has the timeline on which the backup stopped.
fn history_forms<'a>(inventory: &'a Inventory, name: &BackupName) -> Option<&'a [StoredFile]> {
    let (start, offset) = (name.start(), name.offset()?);
    let timelines = std::iter::once(start.timeline()).chain(inventory.histories.keys().copied());
    let mut forms = timelines.filter_map(|timeline| inventory.backup_histories.get(&(start.on(timeline), offset)));
    forms.next().map(Vec::as_slice)
}

/// What `sysids/sysid` says: a number in decimal.
async fn sysid(store: &dyn Store, inventory: &Inventory) -> Option<(SystemId, String)> {
    let object = inventory.system_id.as_ref()?;
    let bytes = crate::catalog::scan::raw(store, &object.key, 1024).await.ok()?;
    let number = std::str::from_utf8(&bytes).ok()?.trim().parse().ok()?;
    Some((SystemId(number), object.key.to_string()))
}

fn backups(
    inventory: &Inventory,
    sentinels: BTreeMap<BackupName, SentinelState>,
    ends: &BTreeMap<BackupName, BackupHistoryFile>,
    size: SegmentSize,
) -> Vec<BackupFacts> {
    let modified = |name: &BackupName| inventory.backups.get(name)?.sentinel.as_ref()?.modified;
    let mut facts: Vec<BackupFacts> =
        sentinels.into_iter().map(|(name, state)| facts(name, state, ends.get(&name), modified(&name), size)).collect();
    let candidate = |one: &BackupFacts| Candidate {
        name: one.name,
        sentinel: match &one.sentinel {
            SentinelState::Read(sentinel) => Some((**sentinel).clone()),
            _ => None,
        },
        modified: one.modified,
        finished: one.finished,
    };
    let candidates: Vec<Candidate> = facts.iter().map(candidate).collect();
    let finished: Vec<Candidate> = facts.iter().filter(|one| one.is_finished()).map(candidate).collect();
    let latest = select::select(&finished, &Wanted::Latest).ok().map(|choice| choice.chosen.name);
    let mut rest: Vec<Option<BackupFacts>> = facts.drain(..).map(Some).collect();
    let ordered = select::order(&candidates).into_iter().filter_map(|index| rest.get_mut(index)?.take());
    ordered.map(|one| BackupFacts { latest: Some(one.name) == latest, ..one }).collect()
}

fn facts(
    name: BackupName,
    state: SentinelState,
    end: Option<&BackupHistoryFile>,
    modified: Option<Timestamp>,
    size: SegmentSize,
) -> BackupFacts {
    let read = match &state {
        SentinelState::Read(sentinel) => Some(&**sentinel),
        _ => None,
    };
    let of_name = name.start().start(size).ok().map(|start| {
        // Eight decimal digits hold any offset below 64 MiB and are cut beyond.
        let offset = name.offset().map(u64::from).filter(|offset| *offset < size.bytes() && size.bytes() <= 64 << 20);
        Lsn(start.0.saturating_add(offset.unwrap_or(0)))
    });
    let start = end.map(|end| end.label.start).or_else(|| read?.start_lsn).or(of_name).unwrap_or_default();
    let stop = end.map(|end| end.stop).or_else(|| read?.finish_lsn).or_else(|| stop_of_wal_e(read?, size));
    let time = |text: Option<&String>| text.and_then(|text| server_time(text));
    BackupFacts {
        name,
        timeline: end.map_or(name.timeline(), |end| end.label.start_segment.timeline()),
        start,
        // A stop before the start is no stop: an offline backup's name, or an edited sentinel.
        stop: stop.filter(|stop| *stop > start),
        started: read.and_then(|one| one.start_time).or_else(|| time(end?.label.start_time.as_ref())),
        finished: read.and_then(|one| one.finish_time).or_else(|| time(end?.stop_time.as_ref())),
        latest: false,
        modified,
        sentinel: state,
    }
}

/// Where WAL-E's sentinel says that the backup stopped; at segments above 64 MiB, where its digits may be cut, the end of
/// that segment.
pub(super) fn stop_of_wal_e(sentinel: &Sentinel, size: SegmentSize) -> Option<Lsn> {
    let begin = sentinel.stop_segment?.start(size).ok()?;
    // Offset 0 is the segment's end: the server names the segment of the byte before a border.
    match sentinel.stop_offset? {
        offset if offset == 0 || offset > size.bytes() || size.bytes() > 64 << 20 => begin.checked_add(size.bytes()),
        offset => begin.checked_add(offset),
    }
}

/// Are these the same end of a backup? At segments above 64 MiB WAL-E's digits may be cut: only the segment is told.
pub(super) fn is_same_stop(one: Lsn, other: Lsn, size: SegmentSize) -> bool {
    match size.bytes() > 64 << 20 {
        true => one.segment_before(size) == other.segment_before(size),
        false => one == other,
    }
}

#[cfg(test)]
mod tests;
