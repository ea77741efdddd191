//! `explain` as text and JSON.
//!
//! In: [`Report`]. Out: text. Never: prints.

use super::{document, table};
use crate::cli::args::Format;
use crate::commands::explain::Report;
use crate::error::Answer;

/// The report in this format.
pub fn render(report: &Report, format: Format) -> Answer<String> {
    match format {
        Format::Json => document("wal-r.explain", 1, report),
        Format::Table if report.single => {
            let pages = report.codes.iter();
            Ok(pages.map(|page| format!("{}\n\n{}\n\n{}\n", page.code, page.meaning, page.next)).collect())
        }
        Format::Table => Ok(table(
            ["CODE", "MEANING"],
            report.codes.iter().map(|page| [page.code.to_owned(), page.meaning.to_owned()]),
        )),
    }
}
