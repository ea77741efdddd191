//! `wal-verify` as WAL-G's text and JSON, or as a document.
//!
//! In: [`Report`]. Out: text. Never: prints, or judges.
//! Source: WAL-G `internal/databases/postgres/wal_verify_handler.go` and its go-pretty tables.

use super::{document, findings, json};
use crate::commands::wal_verify::{Checked, Details, Read, Report, Stretch};
use crate::error::Answer;
use serde_json::{Map, Value};

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// For people, as WAL-G prints it.
    Table,
    /// An object with one key a check.
    WalGJson,
    /// Everything, with `schema` and `version`.
    Document,
}

/// The report in this flavour.
pub fn render(report: &Report, flavour: Flavour) -> Answer<String> {
    match flavour {
        Flavour::Table => Ok(report.checks.iter().map(text).collect()),
        Flavour::WalGJson => {
            let mut map = Map::new();
            for checked in &report.checks {
                map.insert(checked.check.word().to_owned(), wal_g(checked)?);
            }
            json(&Value::Object(map))
        }
        Flavour::Document => document("wal-r.wal-verify", 1, report),
    }
}

fn wal_g(checked: &Checked) -> Answer<Value> {
    let details = match &checked.details {
        // Go's empty list is null.
        Details::Integrity(stretches) if stretches.is_empty() => Value::Null,
        details => serde_json::to_value(details).map_err(|error| {
            crate::error::Error::new(crate::error::Code::InternalBug, "a report does not serialise").because(error)
        })?,
    };
    let mut map = Map::new();
    map.insert("status".to_owned(), checked.status.word().into());
    map.insert("details".to_owned(), details);
    if let Some(read) = &checked.read {
        map.insert("read".to_owned(), serde_json::to_value(read).unwrap_or_default());
    }
    Ok(Value::Object(map))
}

fn text(checked: &Checked) -> String {
    let check = checked.check.word();
    let mut text = format!("[wal-verify] {check} check status: {}\n", checked.status.word());
    text += &format!("[wal-verify] {check} check details:\n");
    text += &checked.read.as_ref().map(looked_at).unwrap_or_default();
    text += &match &checked.details {
        Details::Integrity(stretches) => framed(stretches),
        Details::Timeline { current_timeline_id, highest_storage_timeline_id } => format!(
            "Highest timeline found in storage: {highest_storage_timeline_id}\nCurrent cluster timeline: {current_timeline_id}\n"
        ),
        Details::Findings(found) if found.is_empty() => "nothing is wrong, nothing is missing\n".to_owned(),
        Details::Findings(found) => findings::page(found),
    };
    text
}

/// `18 objects (20.1 MiB) read: 18 segments are good, 123456 records; 1 segment follows none that was checked`
fn looked_at(read: &Read) -> String {
    let things = |count: u64, one: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") };
    let records = if read.records > 0 { format!(", with {}", things(read.records, "record")) } else { String::new() };
    let unlinked = match read.unlinked {
        0 => String::new(),
        1 => "; the link of 1 segment's first record is not checked: none before it is there or good".to_owned(),
        more => {
            format!("; the links of {more} segments' first records are not checked: none before them is there or good")
        }
    };
    let (objects, bytes) = (things(read.objects, "object"), super::bytes(read.bytes));
    format!("{objects} read ({bytes}): {} good{records}{unlinked}\n", things(read.good, "segment"))
}

/// A table with a frame; numbers and statuses stand to the right, as WAL-G has them.
fn framed(stretches: &[Stretch]) -> String {
    const HEADER: [&str; 5] = ["TLI", "START", "END", "SEGMENTS COUNT", "STATUS"];
    const RIGHT: [bool; 5] = [true, false, false, true, true];
    let row = |one: &Stretch| {
        [
            one.timeline_id.to_string(),
            one.start_segment.to_string(),
            one.end_segment.to_string(),
            one.segments_count.to_string(),
            one.status.word().to_owned(),
        ]
    };
    let rows: Vec<[String; 5]> = stretches.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::len);
        cells.chain(HEADER.get(column).map(|title| title.len())).max().unwrap_or(0)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let rule = widths.map(|width| "-".repeat(width + 2)).join("+");
    let line = |cells: [&str; 5], header: bool| {
        let cell = |((text, width), right): ((&str, usize), bool)| match right && !header {
            true => format!(" {text:>width$} "),
            false => format!(" {text:width$} "),
        };
        let cells: Vec<String> = cells.into_iter().zip(widths).zip(RIGHT).map(cell).collect();
        format!("|{}|\n", cells.join("|"))
    };
    let body: String = rows.iter().map(|row| line(row.each_ref().map(String::as_str), false)).collect();
    format!("+{rule}+\n{}+{rule}+\n{body}+{rule}+\n", line(HEADER, true))
}

#[cfg(test)]
mod tests;
