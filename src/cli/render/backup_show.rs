//! `backup-show` as text and JSON.
//!
//! In: [`Report`]. Out: text. Never: prints.

use super::{bytes, document, plain};
use crate::cli::args::Format;
use crate::commands::backup_show::Report;
use crate::error::Answer;

/// The report in this format.
pub fn render(report: &Report, format: Format) -> Answer<String> {
    match format {
        Format::Json => document("wal-r.backup-show", 1, report),
        Format::Table => Ok(text(report)),
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!("{name:<18}{}\n", plain(&value));
        }
    };
    line("name", Some(report.name.to_string()));
    line("at", Some(report.url.clone()));
    line(
        "state",
        Some(match (&report.trouble, report.finished) {
            (Some(trouble), _) => format!("its sentinel cannot be read: {trouble}"),
            (None, true) => "finished".to_owned(),
            (None, false) => "unfinished: no sentinel; failed, or still running".to_owned(),
        }),
    );
    line("sentinel written", report.modified.map(|time| format!("{time:.0}")));
    line("server", report.version.clone());
    let sentinel = report.sentinel.as_ref();
    line("starts in", Some(report.name.start().to_string()));
    line("stops in", sentinel.and_then(|one| one.stop_segment).map(|stop| stop.to_string()));
    line("start LSN", sentinel.and_then(|one| one.start_lsn).map(|lsn| lsn.to_string()));
    line("finish LSN", sentinel.and_then(|one| one.finish_lsn).map(|lsn| lsn.to_string()));
    line("start time", sentinel.and_then(|one| one.start_time).map(|time| time.to_string()));
    line("finish time", sentinel.and_then(|one| one.finish_time).map(|time| time.to_string()));
    if let Some(history) = &report.history {
        line("WAL needed", Some(format!("{} to {}", history.start_lsn, history.stop_lsn)));
        line("started", history.start_time.clone());
        line("stopped", history.stop_time.clone());
        line("label", history.label.clone());
    }
    line("system id", sentinel.and_then(|one| one.system).map(|system| system.to_string()));
    line(
        "delta of",
        sentinel.and_then(|one| one.delta.as_ref()).map(|delta| format!("{} (step {})", delta.from, delta.count)),
    );
    line("files", sentinel.and_then(|one| one.expanded_bytes).map(bytes));
    let kinds: Vec<String> = report.compressions.iter().map(|(suffix, count)| format!("{count} {suffix}")).collect();
    let parts = format!("{} ({}), {}", report.partitions, kinds.join(", "), bytes(report.stored_bytes));
    line("partitions", Some(parts));
    if !report.missing_parts.is_empty() {
        let missing: Vec<String> = report.missing_parts.iter().map(ToString::to_string).collect();
        line("missing", Some(format!("partitions {}", missing.join(", "))));
    }
    if let Some(spec) = sentinel.and_then(|one| one.spec.as_ref()) {
        line("data directory", spec.base_prefix.clone());
        for tablespace in &spec.tablespaces {
            let place = tablespace.location.clone().unwrap_or_else(|| "place unknown".to_owned());
            line("tablespace", Some(format!("{} {place}", tablespace.name)));
        }
    }
    for key in &report.foreign {
        line("foreign", Some(key.to_string()));
    }
    text
}
