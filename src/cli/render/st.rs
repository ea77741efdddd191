//! `st` as text and JSON.
//!
//! In: lines and reports of `commands::st`. Out: text. Never: prints.

use super::{bytes, document, plain};
use crate::cli::args::Format;
use crate::commands::st::{Fetched, Line, Stat};
use crate::error::{Answer, Code, Error};

/// What stands before, between and behind the lines of a listing, which is printed while it comes.
#[derive(Debug)]
pub struct Listing {
    format: Format,
    first: bool,
}

impl Listing {
    /// None printed yet.
    pub fn new(format: Format) -> Self {
        Listing { format, first: true }
    }

    /// One more line.
    pub fn line(&mut self, line: &Line) -> Answer<String> {
        let first = std::mem::take(&mut self.first);
        match self.format {
            Format::Table => {
                let size = line.size.map_or_else(|| "-".to_owned(), |size| size.to_string());
                let time = line.modified.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"));
                let row = format!("{:<4} {size:>15} {time:<20} {}\n", line.kind, plain(line.key.as_str()));
                let header = format!("{:<4} {:>15} {:<20} {}\n", "type", "size", "last modified", "name");
                Ok(if first { header + &row } else { row })
            }
            Format::Json => {
                let object = serde_json::to_string(line)
                    .map_err(|error| Error::new(Code::InternalBug, "a line does not serialise").because(error))?;
                let before = if first { OPEN } else { ",\n    " };
                Ok(format!("{before}{object}"))
            }
        }
    }

    /// After the last line.
    pub fn end(&self) -> &'static str {
        match self.format {
            Format::Table => "",
            Format::Json => "\n  ]\n}\n",
        }
    }
}

const OPEN: &str = "{\n  \"schema\": \"wal-r.st-ls\",\n  \"version\": 1,\n  \"entries\": [\n    ";

/// `st stat`.
pub fn stat(report: &Stat, format: Format) -> Answer<String> {
    if format == Format::Json {
        return document("wal-r.st-stat", 1, report);
    }
    let mut text = String::new();
    let mut line = |label: &str, value: &str| text.push_str(&format!("{label:<10} {}\n", plain(value)));
    line("object", &report.url);
    line("size", &format!("{} ({})", report.size, bytes(report.size)));
    line("modified", &report.modified.map_or_else(|| "unknown".to_owned(), |time| time.to_string()));
    line("etag", report.etag.as_deref().unwrap_or("none"));
    line("name says", &report.name_says);
    line("it is", report.content.as_deref().unwrap_or("not readable"));
    if report.agree == Some(false) {
        line("", "which is not what its name promises");
    }
    Ok(text)
}

/// `st get`.
pub fn fetched(report: &Fetched, format: Format) -> Answer<String> {
    match format {
        Format::Json => document("wal-r.st-get", 1, report),
        Format::Table => {
            Ok(format!("{} ({}, stored as {})\n", report.file, bytes(report.bytes), bytes(report.stored_bytes)))
        }
    }
}
