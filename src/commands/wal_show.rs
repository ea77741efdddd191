//! `wal-show`: the timelines of an archive, what is there of each, and where their base backups are.
//!
//! In: a store. Out: [`Report`]: a row for each timeline, the stretches that are there and those that are missing, and what
//! that means. Never: reads a segment (but the first page of one); calls lost what every healthy archive lacks after a
//! promotion or behind its oldest base backup.

use crate::commands::backup_list;
use crate::error::{Answer, Code, Error};
use crate::pg::version::PgVersion;
use crate::pg::{Lsn, SegmentName, SegmentNo, SegmentSize, SystemId, TimelineId};
use crate::proof::finding::{FindingCode, Place};
use crate::proof::survey::{BackupFacts, SentinelState, Survey, scan};
use crate::proof::{Defect, Finding, judge, names};
use crate::storage::Store;
use jiff::Timestamp;
use serde::Serialize;

/// Names of missing segments that WAL-G's form lists one by one; all are in the stretches.
pub const NAMES_LISTED: u64 = 100_000;

/// The timelines of an archive.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The archive.
    pub archive: String,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Where that was learnt.
    pub segment_bytes_from: String,
    /// The cluster, where the archive tells.
    pub system: Option<SystemId>,
    /// The newest major version, where the archive tells: 906 for 9.6, 13 for 13.
    pub postgresql: Option<u32>,
    /// The timelines, ascending.
    pub timelines: Vec<Timeline>,
    /// What is wrong or odd, worst first.
    pub findings: Vec<Finding>,
    /// For the drawing.
    #[serde(skip)]
    pub size: SegmentSize,
}

/// One timeline.
#[derive(Debug, Serialize)]
pub struct Timeline {
    /// Its number.
    pub id: TimelineId,
    /// The one it left, where its history tells.
    pub parent: Option<TimelineId>,
    /// Where it left it.
    pub switch_point: Option<Lsn>,
    /// The first stored segment.
    pub start_segment: Option<SegmentName>,
    /// The last stored segment.
    pub end_segment: Option<SegmentName>,
    /// When the store says that the first one was written. Copying changes it.
    pub start_written: Option<Timestamp>,
    /// The same of the last one.
    pub end_written: Option<Timestamp>,
    /// Segments from the first to the last.
    pub range: u64,
    /// How many of them are there.
    pub count: u64,
    /// Stretches that are there.
    pub present: Vec<Stretch>,
    /// Stretches that are missing where something needs them, at its ends too.
    pub missing: Vec<Stretch>,
    /// Incomplete last segments of a timeline that was left.
    pub partials: Vec<SegmentName>,
    /// Is it what recovery from the newest base backup follows by `latest`?
    pub followed: bool,
    /// In one word.
    pub status: Status,
    /// Base backups that were taken on it, oldest first.
    pub backups: Vec<Backup>,
}

/// Neighbouring segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// The first one's name.
    pub first: SegmentName,
    /// The last one's name.
    pub last: SegmentName,
    /// How many.
    pub segments: u64,
    /// The first one's number.
    #[serde(skip)]
    pub from: SegmentNo,
    /// The last one's number.
    #[serde(skip)]
    pub to: SegmentNo,
}

/// WAL-G's words, and one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Everything is there that should be.
    Ok,
    /// Segments are missing.
    LostSegments,
    /// Only its history, or a base backup, is there.
    NoSegments,
}

impl Status {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::LostSegments => "LOST_SEGMENTS",
            Status::NoSegments => "NO_SEGMENTS",
        }
    }
}

/// A base backup of a timeline.
#[derive(Debug, Serialize)]
pub struct Backup {
    /// As `backup-list` has it.
    #[serde(flatten)]
    pub listed: backup_list::Backup,
    /// Where it starts.
    pub start_lsn: Lsn,
    /// Where it is consistent, where the archive tells.
    pub stop_lsn: Option<Lsn>,
    /// Was it finished?
    pub finished: bool,
    /// The segment in which it starts.
    #[serde(skip)]
    pub at: SegmentNo,
}

/// Look.
pub async fn run(store: &dyn Store) -> Answer<Report> {
    let survey = scan(store).await?;
    let defects = names::defects(&survey);
    let gaps: Vec<Stretch> = defects.iter().filter_map(|defect| gap(defect, survey.size)).collect();
    let findings = judge::judge(&survey, defects);
    let followed = survey.latest().map(|latest| survey.timelines.latest(latest.timeline));
    let rows = survey.all_timelines().into_iter().map(|id| timeline(&survey, id, followed, &gaps));
    let mut timelines: Vec<Timeline> = rows.collect();
    for backup in survey.backups {
        let row = timelines.iter_mut().find(|row| row.id == backup.timeline);
        if let Some(row) = row {
            row.backups.push(listed(backup, survey.size));
        }
    }
    Ok(Report {
        archive: survey.url,
        segment_bytes: survey.size.bytes(),
        segment_bytes_from: survey.size_from,
        system: survey.system,
        postgresql: survey.major,
        timelines,
        findings,
        size: survey.size,
    })
}

/// The version as people write it.
pub fn version(series: u32) -> String {
    let number = if series >= 100 { series * 100 } else { series * 10_000 };
    PgVersion::from_number(number).map_or_else(|| series.to_string(), |version| version.to_string())
}

/// The stretch of a defect that takes segments away.
fn gap(defect: &Defect, size: SegmentSize) -> Option<Stretch> {
    let takes = matches!(
        defect.code,
        FindingCode::SegmentMissing
            | FindingCode::SegmentPartial
            | FindingCode::SegmentEmpty
            | FindingCode::ForkMissing
    );
    match defect.place {
        Place::Wal { timeline, first, last } if takes => stretch(timeline, first, last, size),
        _ => None,
    }
}

fn stretch(timeline: TimelineId, from: SegmentNo, to: SegmentNo, size: SegmentSize) -> Option<Stretch> {
    let (first, last) = (from.name(timeline, size)?, to.name(timeline, size)?);
    Some(Stretch { first, last, segments: to.0.saturating_sub(from.0).saturating_add(1), from, to })
}

fn timeline(survey: &Survey, id: TimelineId, followed: Option<TimelineId>, gaps: &[Stretch]) -> Timeline {
    let size = survey.size;
    let extent = survey.extents.get(&id);
    let told = survey.told(id);
    let parent = told.as_ref().and_then(|history| history.parent());
    let present: Vec<Stretch> = extent
        .map(|extent| extent.runs.iter().filter_map(|run| stretch(id, run.first, run.last, size)).collect())
        .unwrap_or_default();
    let missing: Vec<Stretch> = gaps.iter().filter(|gap| gap.first.timeline() == id).copied().collect();
    let name = |number: SegmentNo| number.name(id, size);
    let written = |name: Option<SegmentName>| {
        name.and_then(|name| survey.inventory.stored(name).iter().filter_map(|one| one.modified()).max())
    };
    let (start_segment, end_segment) = (extent.and_then(|one| name(one.first)), extent.and_then(|one| name(one.last)));
    Timeline {
        id,
        parent: parent.map(|parent| parent.timeline),
        switch_point: parent.map(|parent| parent.switch),
        start_segment,
        end_segment,
        start_written: written(start_segment),
        end_written: written(end_segment),
        range: extent.map_or(0, |one| one.last.0 - one.first.0 + 1),
        count: present.iter().map(|stretch| stretch.segments).sum(),
        status: match (extent, missing.is_empty()) {
            (_, false) => Status::LostSegments,
            (Some(_), true) => Status::Ok,
            (None, true) => Status::NoSegments,
        },
        present,
        missing,
        partials: survey.inventory.partials.keys().filter(|name| name.timeline() == id).copied().collect(),
        followed: followed == Some(id),
        backups: Vec::new(),
    }
}

fn listed(backup: BackupFacts, size: SegmentSize) -> Backup {
    let finished = backup.is_finished();
    let at = backup.first_segment(size);
    let (sentinel, trouble) = match backup.sentinel {
        SentinelState::Read(sentinel) => (Some(*sentinel), None),
        SentinelState::Damaged(why) => (None, Some(Error::new(Code::DamagedSentinel, why))),
        SentinelState::Unknown(why) => (None, Some(Error::new(Code::StoreFailed, why))),
        SentinelState::Absent => (None, None),
    };
    let listed =
        backup_list::Backup { name: backup.name, modified: backup.modified, latest: backup.latest, sentinel, trouble };
    Backup { listed, start_lsn: backup.start, stop_lsn: backup.stop, finished, at }
}

impl Timeline {
    /// Names of missing segments, newest first, as WAL-G lists them; at most [`NAMES_LISTED`].
    pub fn missing_names(&self, size: SegmentSize) -> Vec<SegmentName> {
        let numbers = self.missing.iter().rev().flat_map(|stretch| (stretch.from.0..=stretch.to.0).rev());
        numbers.take(NAMES_LISTED as usize).filter_map(|number| SegmentNo(number).name(self.id, size)).collect()
    }
}
