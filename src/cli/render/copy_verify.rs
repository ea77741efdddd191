//! `copy-verify` as text and JSON.
//!
//! In: [`Report`]. Out: text, the verdict in words on its first line. Never: prints.

use super::findings::wrapped;
use super::{bytes, document, plain, table};
use crate::cli::args::Format;
use crate::commands::copy_verify::Report;
use crate::commands::copy_verify::report::{Audited, Count, Difference, Reached, Row};
use crate::error::Answer;
use crate::proof::verdict::{Verdict, at};
use crate::transfer::Hex32;
use std::path::Path;

/// So many names are shown of a long list.
const SHOWN: usize = 5;
/// So many base backups; JSON has all.
const ROWS: usize = 20;

/// The report, in this format. `certificate`: the file that was written, and its seal.
pub fn render(report: &Report, certificate: Option<(&Path, Hex32)>, format: Format) -> Answer<String> {
    match format {
        Format::Json => document("wal-r.copy-verify", 1, report),
        Format::Table => Ok(people(report, certificate)),
    }
}

/// The first line: what a tired person wants to know.
fn verdict(report: &Report) -> &'static str {
    let recovery = report.selected.wal;
    match (report.verdict, recovery) {
        (Verdict::Ok, "none") => "SAME  the base backups are there; without WAL nothing is said of recovery",
        (Verdict::Ok, "to_consistency") => "SAME  both can recover the chosen base backups to consistency",
        (Verdict::Ok, _) => "SAME  both can recover the same points",
        (Verdict::Warning, "none") => "SAME, WITH A WARNING  the base backups are there, and something else differs",
        (Verdict::Warning, "to_consistency") => {
            "SAME, WITH A WARNING  both can recover the chosen base backups to consistency, and something else differs"
        }
        (Verdict::Warning, _) => "SAME, WITH A WARNING  both can recover the same points, and something else differs",
        (Verdict::Critical, _) => "DIFFERENT  do not rely on the copy",
        (Verdict::Unknown, _) => "NOT KNOWN  something could not be looked at",
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    *text += &wrapped(&format!("{name:<14}"), &plain(value));
}

fn count(count: Count) -> String {
    let noun = if count.objects == 1 { "object" } else { "objects" };
    format!("{} {noun} ({})", count.objects, bytes(count.bytes))
}

fn people(report: &Report, certificate: Option<(&Path, Hex32)>) -> String {
    let mut text = format!("{}\n", verdict(report));
    text += &wrapped("", &report.claim);
    for difference in &report.differences {
        text.push('\n');
        text += &one(difference);
    }
    text.push('\n');
    line(&mut text, "source", &report.from);
    line(&mut text, "destination", &report.to);
    if let Some(system) = &report.system {
        line(&mut text, "cluster", &format!("system identifier {system}"));
    }
    let backups = report.selected.backups.len();
    let noun = if backups == 1 { "base backup" } else { "base backups" };
    let objects = &report.objects;
    let there = match (objects.missing.objects, objects.other_size.objects) {
        (0, 0) => "all are there".to_owned(),
        (missing, resized) => format!("{missing} missing, {resized} of another size"),
    };
    line(&mut text, "chosen", &format!("{backups} {noun}, {}: {there}", count(objects.chosen)));
    for (name, what, why) in [
        ("besides", objects.left_over, "of the source, or once of it, and not chosen"),
        ("strangers", objects.strangers, "that this source never had"),
        ("foreign", objects.foreign, "that are of no archive"),
    ] {
        if what.objects > 0 {
            line(&mut text, name, &format!("{} in the destination {why}", count(what)));
        }
    }
    line(&mut text, "bytes", &read(report));
    if report.digests.read.objects > 0 {
        line(&mut text, "digest", &report.digests.sha256.to_string());
    }
    let latest = &report.latest;
    if let Some(there) = latest.destination {
        let said = match (latest.same, latest.source) {
            (true, Some(source)) if source == there => format!("{there} on both sides"),
            (true, _) => format!("{there}: the newest of those that were chosen"),
            (false, _) => format!("{there} in the destination: another than in the source"),
        };
        line(&mut text, "LATEST", &said);
    }
    line(&mut text, "audits", &format!("level {}", report.source.level.word()));
    for (name, audited) in [("  source", &report.source), ("  destination", &report.destination)] {
        line(&mut text, name, &audit(audited));
    }
    if !report.windows.is_empty() {
        text.push('\n');
        text += &windows(&report.windows);
    }
    if !report.notes.is_empty() {
        text.push('\n');
    }
    for note in report.notes.iter().take(ROWS) {
        line(&mut text, "note", note);
    }
    if report.notes.len() > ROWS {
        line(&mut text, "note", &format!("and {} more: --format json has all", report.notes.len() - ROWS));
    }
    if let Some((path, seal)) = certificate {
        text.push('\n');
        line(&mut text, "certificate", &path.display().to_string());
        line(&mut text, "seal", &seal.to_string());
    }
    text
}

fn one(difference: &Difference) -> String {
    let label = format!("{} {}  ", difference.severity.word().to_uppercase(), difference.kind.word());
    let mut text = wrapped(&label, &plain(&difference.what));
    for key in difference.objects.iter().take(SHOWN) {
        text += &format!("    {}\n", plain(key.as_str()));
    }
    let more = difference.count.saturating_sub(SHOWN as u64);
    if difference.objects.len() > SHOWN {
        text += &format!("    and {more} more\n");
    }
    text
}

/// Which bytes were read, and what was compared of the rest.
fn read(report: &Report) -> String {
    let digests = &report.digests;
    let mut parts = Vec::new();
    if digests.read.objects > 0 {
        let equal = match digests.different.objects {
            0 => "equal".to_owned(),
            1 => "1 differs".to_owned(),
            different => format!("{different} differ"),
        };
        let how = match (digests.mode, digests.sample_percent) {
            ("sample", Some(percent)) if digests.read != digests.of => format!("; a sample of {percent} %"),
            _ => String::new(),
        };
        parts.push(format!("{} of {} read: {equal}{how}", digests.read.objects, count(digests.of)));
    }
    if digests.source_by_manifest.objects > 0 {
        let all = if digests.source_by_manifest == digests.read {
            "all".to_owned()
        } else {
            digests.source_by_manifest.objects.to_string()
        };
        parts.push(format!("{all} of those in the destination only, against the digest in the copy's manifest"));
    }
    for (what, how) in [
        (digests.by_md5, "not read: both stores name the same MD5"),
        (digests.by_size, "not read: name and size are the same"),
        (digests.unread, "could not be read, or were not tried after that"),
    ] {
        if what.objects > 0 {
            parts.push(format!("{} {how}", count(what)));
        }
    }
    if parts.is_empty() { "nothing to compare".to_owned() } else { parts.join("; ") }
}

fn audit(audited: &Audited) -> String {
    let read = match audited.objects_read {
        0 => "nothing read".to_owned(),
        objects => count(Count { objects, bytes: audited.bytes_read }) + " read",
    };
    let verdict = audited.verdict.word();
    let noun = if audited.segments == 1 { "segment" } else { "segments" };
    match audited.verdict {
        Verdict::Ok => format!("{verdict}; {} {noun}, {read}", audited.segments),
        _ => format!("{verdict}: {}; {} {noun}, {read}", audited.headline, audited.segments),
    }
}

fn windows(rows: &[Row]) -> String {
    let time = |time: Option<jiff::Timestamp>| time.map_or_else(|| "?".to_owned(), at);
    let place = |reached: &Reached| format!("{} to {}", reached.from_lsn, reached.to_lsn);
    let skipped = rows.len().saturating_sub(ROWS);
    // What differs is shown first of all.
    let mut shown: Vec<&Row> = rows.iter().filter(|row| !row.same).collect();
    let room = ROWS.saturating_sub(shown.len());
    shown.extend(rows.iter().filter(|row| row.same).rev().take(room).collect::<Vec<_>>().into_iter().rev());
    let cells = shown.into_iter().map(|row| {
        let of = row.destination.as_ref().or(row.source.as_ref());
        let both = if row.same { "the same on both" } else { "NOT THE SAME" };
        [
            row.backup.to_string(),
            row.timeline.to_string(),
            of.map_or_else(|| "?".to_owned(), |one| time(one.from)),
            of.map_or_else(|| "?".to_owned(), |one| time(one.to)),
            of.map_or_else(String::new, place),
            both.to_owned(),
        ]
    });
    let mut text = table(["base backup", "timeline", "recovers from", "to", "LSN", ""], cells);
    if skipped > 0 {
        text += &format!("and {skipped} more: --format json has all\n");
    }
    text
}
