//! The names level: what one listing and the small objects show to be wrong.
//!
//! In: a [`Survey`]. Out: [`Defect`]s: facts, each about one place. Whom they hurt is for `judge` to say.
//! Never: reads anything; counts what could exist (it walks what does); takes for a defect what every healthy archive shows
//! after a promotion: both timelines' files of the switch point's number, a parent's `.partial`, an archive that begins at
//! its oldest base backup.
//! Source: PostgreSQL `XLogFileReadAnyTLI`, `findNewestTimeLine`, `writeTimeLineHistory`.

mod backups;
mod by_wal;
mod history;
mod wal;

pub use by_wal::{Begin, begins, reconstruct, told_by_wal};

use super::facts::Level;
use super::finding::{Breaks, Defect, FindingCode, Place};
use super::survey::Survey;
use crate::catalog::continuity::Run;
use crate::pg::{SegmentNo, SegmentSize, TimelineId};

/// Everything that the names show to be wrong or odd.
pub fn defects(survey: &Survey) -> Vec<Defect> {
    if survey.inventory.is_empty() {
        let beside = survey.inventory.foreign.first().map(|key| format!("; what lies there is {key}"));
        let more = (survey.inventory.foreign.len() as u64 + survey.inventory.more_foreign).saturating_sub(1);
        let beside = beside.map(|text| text + &and_more(more)).unwrap_or_default();
        let what = format!("neither a segment nor a history nor a base backup lies under it{beside}");
        return vec![defect(FindingCode::ArchiveEmpty, Place::Archive, survey.url.clone(), what, Breaks::Unknown)];
    }
    let mut found = Vec::new();
    archive(survey, &mut found);
    wal::gaps(survey, &mut found);
    wal::oddities(survey, &mut found);
    history::files(survey, &mut found);
    history::timelines(survey, &mut found);
    backups::defects(survey, &mut found);
    found
}

/// The prefix as a whole.
fn archive(survey: &Survey, found: &mut Vec<Defect>) {
    let mut add = |code, what| found.push(defect(code, Place::Archive, survey.url.clone(), what, Breaks::Nothing));
    if survey.systems.len() > 1 {
        let systems = survey.systems.iter().map(|(system, from)| format!("{system} by {from}"));
        add(FindingCode::ArchiveClusters, systems.collect::<Vec<_>>().join(", "));
    }
    let inventory = &survey.inventory;
    let backups = inventory.backups.values().flat_map(|backup| &backup.foreign);
    let mut foreign = inventory.foreign.iter().chain(backups);
    if let Some(first) = foreign.next() {
        let more = foreign.count() as u64 + inventory.more_foreign;
        add(FindingCode::ArchiveForeign, format!("{first}{}", and_more(more)));
    }
    if let Some(first) = inventory.old_layouts.first() {
        let more = inventory.old_layouts.len() as u64 - 1;
        add(FindingCode::ArchiveForeign, format!("a layout that WAL-E gave up in 2011: {first}{}", and_more(more)));
    }
}

/// ` and 3 more`, or nothing.
fn and_more(count: u64) -> String {
    if count > 0 { format!(" and {count} more") } else { String::new() }
}

fn defect(code: FindingCode, place: Place, object: String, what: String, breaks: Breaks) -> Defect {
    Defect { code, place, object, lsn: None, what, breaks, level: Level::Names }
}

/// Segments of one timeline as a place.
fn place(run: Run) -> Place {
    Place::Wal { timeline: run.timeline, first: run.first, last: run.last }
}

/// Segments of one timeline for people: one name, or the first and the last.
pub fn range_text(timeline: TimelineId, first: SegmentNo, last: SegmentNo, size: SegmentSize) -> String {
    let name = |number: SegmentNo| {
        let name = number.name(timeline, size).map(|name| name.to_string());
        name.unwrap_or_else(|| format!("segment {} of timeline {timeline}", number.0))
    };
    if first == last { name(first) } else { format!("{} to {}", name(first), name(last)) }
}

fn text_of(run: Run, size: SegmentSize) -> String {
    range_text(run.timeline, run.first, run.last, size)
}

/// `1 segment is`, `3 segments are`.
fn segments_are(count: u64) -> String {
    if count == 1 { "1 segment is".to_owned() } else { format!("{count} segments are") }
}

#[cfg(test)]
mod tests;
