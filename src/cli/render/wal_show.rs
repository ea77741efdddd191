//! `wal-show` as a table with a drawing, as WAL-G's JSON, or as a document.
//!
//! In: [`Report`]. Out: text. Never: prints, or judges.
//! Source: WAL-G `internal/databases/postgres/wal_show_handler.go`.

mod drawing;

use super::{document, findings, json, plain, table};
use crate::commands::wal_show::{Report, Timeline, version};
use crate::error::Answer;
use crate::proof::{Finding, FindingCode};
use serde_json::{Map, Value};

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// For people.
    Table {
        /// With base backups.
        backups: bool,
        /// With the drawing and what is wrong.
        drawing: bool,
    },
    /// A bare array.
    WalGJson {
        /// With base backups.
        backups: bool,
    },
    /// Everything, with `schema` and `version`.
    Document,
}

/// The report in this flavour.
pub fn render(report: &Report, flavour: Flavour) -> Answer<String> {
    match flavour {
        Flavour::Table { backups, drawing } => Ok(people(report, backups, drawing)),
        Flavour::WalGJson { backups } => {
            let with_segments = report.timelines.iter().filter(|one| one.start_segment.is_some());
            json(&with_segments.map(|one| wal_g(report, one, backups)).collect::<Vec<Value>>())
        }
        Flavour::Document => document("wal-r.wal-show", 1, report),
    }
}

/// WAL-G's keys, then ours.
fn wal_g(report: &Report, timeline: &Timeline, backups: bool) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
    let name = |name: Option<crate::pg::SegmentName>| name.map_or(Value::Null, |name| name.to_string().into());
    put("id", timeline.id.get().into());
    put("parent_id", timeline.parent.map_or(0, |parent| parent.get()).into());
    put("switch_point_lsn", timeline.switch_point.map_or(0, |lsn| lsn.0).into());
    put("start_segment", name(timeline.start_segment));
    put("end_segment", name(timeline.end_segment));
    put("segments_count", timeline.count.into());
    let missing = timeline.missing_names(report.size);
    put("missing_segments", missing.iter().map(|name| Value::from(name.to_string())).collect());
    if backups && timeline.backups.iter().any(|backup| backup.finished) {
        let finished = timeline.backups.iter().rev().filter(|backup| backup.finished);
        put("backups", finished.map(|backup| super::backup_list::wal_g(&backup.listed, true)).collect());
    }
    put("segment_range_size", timeline.range.into());
    put("status", timeline.status.word().into());
    let ranges = timeline.missing.iter().map(|stretch| {
        serde_json::json!({
            "first": stretch.first.to_string(),
            "last": stretch.last.to_string(),
            "segments": stretch.segments,
        })
    });
    put("missing_ranges", ranges.collect());
    put("partial_segments", timeline.partials.iter().map(|name| Value::from(name.to_string())).collect());
    put("followed_by_latest", timeline.followed.into());
    Value::Object(map)
}

fn people(report: &Report, backups: bool, drawing: bool) -> String {
    let mut text = rows(report, backups);
    if !drawing {
        return text;
    }
    text.push('\n');
    text += &drawing::draw(report, backups);
    text.push('\n');
    text += &ground(report);
    let worth_saying =
        |one: &&Finding| !matches!(one.code, FindingCode::BackupUnfinished | FindingCode::ArchiveForeign);
    let told: Vec<Finding> = report.findings.iter().filter(worth_saying).cloned().collect();
    text += &findings::page(&told);
    text
}

/// What all of it rests on, in one line.
fn ground(report: &Report) -> String {
    let size = super::bytes(report.segment_bytes);
    let system = report.system.map(|system| format!("cluster {system}; ")).unwrap_or_default();
    let server = report.postgresql.map(|series| format!("PostgreSQL {}; ", version(series))).unwrap_or_default();
    findings::wrapped("", &plain(&format!("{server}{system}segments of {size}: {}", report.segment_bytes_from)))
}

fn rows(report: &Report, backups: bool) -> String {
    let dash = || "-".to_owned();
    let name = |name: Option<crate::pg::SegmentName>| name.map_or_else(dash, |name| name.to_string());
    let row = |timeline: &Timeline| {
        [
            timeline.id.to_string(),
            timeline.parent.map_or_else(dash, |parent| parent.to_string()),
            timeline.switch_point.map_or_else(dash, |lsn| lsn.to_string()),
            name(timeline.start_segment),
            name(timeline.end_segment),
            timeline.range.to_string(),
            timeline.count.to_string(),
            timeline.status.word().to_owned(),
        ]
    };
    const HEADER: [&str; 8] = [
        "TLI",
        "PARENT TLI",
        "SWITCHPOINT LSN",
        "START SEGMENT",
        "END SEGMENT",
        "SEGMENT RANGE",
        "SEGMENTS COUNT",
        "STATUS",
    ];
    if !backups {
        return table(HEADER, report.timelines.iter().map(row));
    }
    let count = |timeline: &Timeline| timeline.backups.iter().filter(|backup| backup.finished).count().to_string();
    let [a, b, c, d, e, f, g, h] = HEADER;
    table(
        [a, b, c, d, e, f, g, h, "BACKUPS COUNT"],
        report.timelines.iter().map(|timeline| {
            let [a, b, c, d, e, f, g, h] = row(timeline);
            [a, b, c, d, e, f, g, h, count(timeline)]
        }),
    )
}

#[cfg(test)]
mod tests;
