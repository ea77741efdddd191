//! Reports and errors as text and JSON.
//!
//! In: a `Report` of a verb, or an error. Out: the text to print, with its last newline. Never: prints, computes.
//!
//! JSON documents carry `schema` and `version`; LSNs are `X/Y` text, times RFC 3339 in UTC, sizes bytes.

pub mod audit;
pub mod backup_fetch;
pub mod backup_list;
pub mod backup_show;
pub mod backup_verify;
pub mod config;
pub mod copy;
pub mod copy_verify;
pub mod explain;
pub mod feed_status;
pub mod findings;
pub mod locate;
pub mod recovery_windows;
pub mod st;
pub mod wal_show;
pub mod wal_verify;

use crate::error::{Answer, Code, Error, Verdict};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;
use std::error::Error as _;

/// A JSON document: `schema`, `version`, then the fields of `report`, which must serialise to an object.
/// The version grows when a field is removed or changes its meaning, not when one is added.
pub fn document(schema: &str, version: u32, report: &impl Serialize) -> Answer<String> {
    #[derive(Serialize)]
    struct Document<'a, T> {
        schema: &'a str,
        version: u32,
        #[serde(flatten)]
        report: &'a T,
    }
    json(&Document { schema, version, report })
}

/// Any value as indented JSON.
pub fn json(value: &impl Serialize) -> Answer<String> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::new(Code::InternalBug, "a report does not serialise").because(error))?;
    text.push('\n');
    Ok(text)
}

/// A table for people: no frame, two blanks between columns, nothing behind the last one.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    // Not cut to the terminal: names must survive copy and paste.
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2)).set_constraint(ColumnConstraint::ContentWidth);
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Bytes for people, in powers of 1024: `0 B`, `999 B`, `16.0 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Seconds for people: `42s`, `3m 5s`, `2h 0m`, `3d 4h`.
pub fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

/// An error as people read it:
///
/// ```text
/// error[store.dns]: s3://bucket/db/: cannot list
///   dns error
///     failed to lookup address information
/// hint: Check the endpoint for a typing error and this machine's DNS.
/// ```
pub fn error_text(error: &Error, color: bool) -> String {
    let (red, bold, off) = if color { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
    let mut text = format!("{red}error[{}]{off}: {}\n", error.code(), plain(&error.to_string()));
    for (depth, cause) in causes(error).iter().enumerate() {
        text.push_str(&format!("{}{}\n", "  ".repeat(depth + 1), plain(cause)));
    }
    for clause in error.besides() {
        text.push_str(&format!("also: {}\n", plain(clause)));
    }
    if let Some(advice) = error.advice() {
        text.push_str(&format!("{bold}hint{off}: {}\n", plain(advice)));
    }
    text
}

/// The same as one line of JSON, for scripts that asked for JSON. `exit` is the code the program ends with.
pub fn error_json(error: &Error, exit: u8) -> String {
    #[derive(Serialize)]
    struct Failed<'a> {
        code: &'a str,
        class: &'a str,
        answer: &'a str,
        object: Option<&'a str>,
        what: &'a str,
        causes: Vec<String>,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        also: &'a [String],
        hint: Option<&'a str>,
        exit: u8,
    }
    #[derive(Serialize)]
    struct Document<'a> {
        schema: &'a str,
        version: u32,
        error: Failed<'a>,
    }
    let failed = Failed {
        code: error.code().as_str(),
        class: error.class().word(),
        answer: match error.verdict() {
            Verdict::Absent => "absent",
            Verdict::Unknown => "unknown",
            Verdict::Damaged => "damaged",
        },
        object: error.object(),
        what: error.what(),
        causes: causes(error),
        also: error.besides(),
        hint: error.advice(),
        exit,
    };
    // Strings and numbers only: it cannot fail, and if it did, the text is better than nothing.
    let document = Document { schema: "wal-r.error", version: 1, error: failed };
    serde_json::to_string(&document).map_or_else(|_| error_text(error, false), |line| line + "\n")
}

/// The causes behind an error, outermost first; one that only repeats the end of the one before is left out.
fn causes(error: &Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !text.is_empty() && !said.ends_with(&text) {
            causes.push(text.clone());
            said = text;
        }
        next = cause.source();
    }
    causes
}

/// Text from outside without what moves a cursor or colours a terminal: names come from whoever wrote the archive.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
