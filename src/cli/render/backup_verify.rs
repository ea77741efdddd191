//! `backup-verify` as text and JSON.
//!
//! In: [`Report`]. Out: text. Never: prints.

use super::{bytes, document, findings, plain};
use crate::cli::args::Format;
use crate::commands::backup_verify::{Report, Verified};
use crate::error::Answer;
use crate::proof::backup::{Found, Word};

/// The report in this format.
pub fn render(report: &Report, format: Format) -> Answer<String> {
    match format {
        Format::Json => document("wal-r.backup-verify", 1, report),
        Format::Table => Ok(text(report)),
    }
}

fn text(report: &Report) -> String {
    let mut text = format!("{:<12}{}\n", "archive", plain(&report.archive));
    for backup in &report.backups {
        text.push('\n');
        text += &one(backup);
    }
    for name in &report.unfinished {
        text += &format!("\n{name}\n  unfinished: no sentinel; failed, or still running\n");
    }
    if report.backups.is_empty() && report.unfinished.is_empty() {
        text += "\nno base backup\n";
    }
    text += &findings::page(&report.findings);
    text += &format!("\nverdict     {}\n", report.verdict.word());
    text
}

fn one(backup: &Verified) -> String {
    let found = &backup.found;
    let latest = if backup.latest { "  LATEST" } else { "" };
    let mut text = format!("{}{latest}\n", plain(&found.name));
    let mut line = |name: &str, value: String| text += &findings::wrapped(&format!("  {name:<12}"), &plain(&value));
    let word = match backup.word {
        Word::Good => "good",
        Word::Unfinished => "unfinished",
        Word::Unknown => "unknown: not all of it could be judged",
        Word::Damaged => "DAMAGED",
    };
    line("state", word.to_owned());
    if backup.word == Word::Unfinished {
        return text;
    }
    let stored = bytes(found.stored_bytes);
    line("partitions", format!("{} of {} whole, {stored} stored", found.good_parts, found.parts));
    let expanded =
        found.expanded_bytes.map(|bytes| format!(" of {bytes} that the sentinel counts")).unwrap_or_default();
    line("files", format!("{}, {} bytes{expanded}", found.files, found.file_bytes));
    if let (Some(version), Some(system)) = (&found.version, found.system) {
        line("cluster", format!("PostgreSQL {version}, system identifier {system}"));
    }
    line("pages", pages(found));
    if let Some(start) = found.start {
        let how = match (found.offline, found.standby) {
            (true, _) => ", taken while the server was down",
            (false, true) => ", taken on a standby",
            (false, false) => "",
        };
        let end = found.consistent.map_or_else(|| "nowhere".to_owned(), |end| end.to_string());
        line("consistent", format!("at {end}, from {start}{how}"));
    }
    if let (Some(first), Some(last)) = (&found.wal.first, &found.wal.last) {
        let range = if first == last { first.clone() } else { format!("{first} to {last}") };
        line("WAL needed", format!("{range}: {} read and good", found.wal.segments));
    }
    for remark in &found.remarks {
        line("remark", remark.clone());
    }
    text
}

fn pages(found: &Found) -> String {
    let pages = &found.pages;
    match pages.checksums {
        None => format!("{}; no pg_control says whether they have checksums", pages.seen),
        Some(false) => format!("{}; the cluster keeps no checksums, so they could not be proven", pages.seen),
        Some(true) => {
            let mut text = format!("{} looked at, {} damaged", pages.seen, pages.damaged);
            for (count, what) in [(pages.torn, "torn and made good by replay"), (pages.undecided, "undecided")] {
                if count > 0 {
                    text += &format!(", {count} {what}");
                }
            }
            text
        }
    }
}
