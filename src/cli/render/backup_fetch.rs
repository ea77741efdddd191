//! `backup-fetch` as text and JSON.
//!
//! In: the plan or the report of `commands::backup_fetch`. Out: text. Never: prints.

use super::{bytes, document, plain, time};
use crate::backup::recovery::RecoveryTarget;
use crate::cli::args::Format;
use crate::commands::backup_fetch::{Plan, Report};
use crate::error::Answer;
use jiff::tz::TimeZone;
use std::fmt::Write as _;

/// `--plan`.
pub fn plan(plan: &Plan, format: Format) -> Answer<String> {
    match format {
        Format::Json => document("wal-r.backup-fetch.plan", 1, plan),
        Format::Table => Ok(plan_text(plan)),
    }
}

/// The end of a run.
pub fn report(report: &Report, format: Format) -> Answer<String> {
    match format {
        Format::Json => document("wal-r.backup-fetch", 1, report),
        Format::Table => Ok(report_text(report)),
    }
}

/// A line of the left column's width.
fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{name:<12} {}", plain(&value.to_string()));
}

fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    let out = &mut text;
    line(out, "backup", format_args!("{} ({})", plan.backup, plan.why));
    line(out, "archive", &plan.archive);
    if let Some(finished) = plan.finished {
        line(out, "finished", format_args!("not later than {}", both(finished)));
    }
    if let Some(version) = &plan.version {
        line(out, "postgresql", format_args!("{version} by extended_version.txt"));
    }
    if let Some(system) = plan.system {
        line(out, "cluster", system);
    }
    line(out, "target", format_args!("{} ({})", plan.target.display(), plan.found));
    let expanded = plan.expanded_bytes.map_or_else(|| "an unknown size".to_owned(), bytes);
    line(
        out,
        "partitions",
        format_args!("{}: {} stored, {expanded} of files", plan.parts.len(), bytes(plan.stored_bytes)),
    );
    for space in &plan.space {
        let names: Vec<String> = space.directories.iter().map(|path| path.display().to_string()).collect();
        line(out, "space", format_args!("{} free for {}", bytes(space.free_bytes), names.join(", ")));
    }
    for one in &plan.tablespaces {
        let was = one.was.as_deref().map(|was| format!(" (was {was})")).unwrap_or_default();
        line(out, "tablespace", format_args!("{} -> {}{was}", one.oid, one.place.display()));
    }
    if let Some(waldir) = &plan.waldir {
        line(out, "wal", format_args!("in {}", waldir.display()));
    }
    match (plan.wal.first, plan.wal.last) {
        (Some(first), Some(last)) if plan.wal.missing.is_empty() => {
            line(out, "needs", format_args!("WAL {first} to {last}: all {} in the archive", plan.wal.present));
        }
        (Some(first), Some(last)) => {
            let missing: Vec<String> = plan.wal.missing.iter().take(8).map(ToString::to_string).collect();
            let more = plan.wal.missing.len().saturating_sub(missing.len());
            let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
            line(out, "needs", format_args!("WAL {first} to {last}: NOT in the archive: {}{tail}", missing.join(", ")));
        }
        _ => line(out, "needs", "WAL from the place that its pg_control names: taken from a stopped server"),
    }
    if let Some(recovery) = &plan.recovery {
        match &recovery.settings.target {
            Some(RecoveryTarget::Time(target)) => line(out, "recover to", both(*target)),
            Some(RecoveryTarget::Lsn(lsn)) => line(out, "recover to", lsn),
            Some(RecoveryTarget::Xid(xid)) => line(out, "recover to", format_args!("transaction {xid}")),
            Some(RecoveryTarget::Name(name)) => line(out, "recover to", format_args!("restore point {name}")),
            Some(RecoveryTarget::Immediate) => line(out, "recover to", "the first consistent moment"),
            None if recovery.settings.standby => line(out, "recover", "for ever, as a standby"),
            None => line(out, "recover to", "the end of the archive"),
        }
        match &recovery.files {
            Some(files) => {
                let signal = files.signal.map(|signal| format!(" and {signal}")).unwrap_or_default();
                line(out, "writes", format_args!("{}{signal}:", files.file));
                for setting in &files.lines {
                    line(out, "", setting);
                }
            }
            None => line(out, "writes", "recovery settings in the form of the version that the backup turns out to be"),
        }
    }
    line(out, "estimate", format_args!("{} at 100 MiB/s", time(plan.estimate_seconds)));
    for note in &plan.notes {
        line(out, "note", note);
    }
    text
}

/// An instant here and in UTC.
fn both(instant: jiff::Timestamp) -> String {
    let utc = instant.strftime("%Y-%m-%d %H:%M:%S%.f UTC");
    let here = instant.to_zoned(TimeZone::system());
    if here.offset().seconds() == 0 {
        utc.to_string()
    } else {
        format!("{} ({utc})", here.strftime("%Y-%m-%d %H:%M:%S%.f%:z"))
    }
}

fn report_text(report: &Report) -> String {
    let restored = &report.restored;
    let mut text = String::new();
    let out = &mut text;
    line(out, "restored", format_args!("{} into {}", report.plan.backup, restored.target.display()));
    let kept = if restored.kept > 0 { format!(", {} of them by an earlier run", restored.kept) } else { String::new() };
    line(
        out,
        "files",
        format_args!(
            "{} files, {} from {} partitions{kept}",
            restored.files,
            bytes(restored.file_bytes),
            restored.fetched + restored.kept
        ),
    );
    line(out, "cluster", format_args!("{}, PostgreSQL {}", restored.system, restored.version));
    line(out, "starts at", format_args!("{} in {}", restored.start, restored.start_segment));
    match &restored.pages {
        None => line(out, "pages", "not looked at"),
        Some(pages) if !pages.checksums => line(out, "pages", "the cluster keeps no checksums"),
        Some(pages) => {
            let replayed = match pages.replayed {
                0 => String::new(),
                count => format!("; {count} changed while the backup ran, which replay makes good"),
            };
            line(out, "pages", format_args!("{} looked at, {} damaged{replayed}", pages.pages, pages.damaged.len()));
            for page in pages.damaged.iter().take(20) {
                line(out, "damaged", format_args!("{} block {} (LSN {})", page.path, page.block, page.lsn));
            }
            let more = pages.damaged.len().saturating_sub(20) as u64 + pages.unjudged;
            if more > 0 {
                line(out, "damaged", format_args!("and {more} more or not judged"));
            }
        }
    }
    if let Some(files) = &restored.recovery {
        let signal = files.signal.map(|signal| format!(" and {signal}")).unwrap_or_default();
        line(out, "recovery", format_args!("settings in {}{signal}", files.file));
    }
    for warning in restored.warnings.iter().chain(&report.plan.notes) {
        line(out, "warning", warning);
    }
    for (index, step) in report.next.iter().enumerate() {
        line(out, if index == 0 { "next" } else { "" }, format_args!("{}. {step}", index + 1));
    }
    text
}
