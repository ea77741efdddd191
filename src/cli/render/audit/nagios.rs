//! The verdict for Nagios, Icinga and their kin.
//!
//! In: [`Report`]. Out: one line with performance data, then long output. Never: a `|` or a line break that comes from
//! the archive; a first line longer than 1000 characters (agents cut there).
//! Source: the Monitoring Plugins' development guidelines, "Plugin Output for Nagios" and "Performance data".

use super::super::plain;
use super::ago;
use crate::commands::audit::Report;
use crate::proof::verdict::at;
use crate::proof::{Finding, Severity};
use std::time::Duration;

/// Findings in the long output.
const SHOWN: usize = 30;
/// Characters of the text before the performance data.
const MOST: usize = 500;

/// The plugin's output.
pub fn render(report: &Report, fail_on: Severity) -> String {
    let verdict = report.verdict.failing_on(fail_on);
    let passed_over = if verdict == report.verdict { "" } else { "warnings do not count (--fail-on critical); " };
    let headline: String = clean(&report.headline()).chars().take(MOST).collect();
    let mut text = format!(
        "WAL-R {} - {passed_over}{headline} | {}\n",
        verdict.word().to_uppercase(),
        performance(report).join(" ")
    );
    let fresh = &report.freshness;
    let mut line = |what: String| text.push_str(&(clean(&what) + "\n"));
    line(format!("archive: {}", report.archive));
    line(format!(
        "findings: {} critical, {} unknown, {} warning, {} harmless, {} acknowledged",
        report.counts.critical,
        report.counts.unknown,
        report.counts.warning,
        report.counts.harmless,
        report.counts.acknowledged
    ));
    if let Some(commit) = fresh.newest_commit {
        line(format!("newest commit: {}, {}", at(commit.time), ago(commit.time, report.began)));
    }
    if let Some(segment) = fresh.newest_segment {
        let stored = segment.stored.map(|time| format!(", stored {}", ago(time, report.began))).unwrap_or_default();
        line(format!("newest segment: {}{stored}", segment.name));
    }
    if let (Some(from), Some(to)) = (fresh.window_start, fresh.window_end) {
        line(format!("recoverable: {} to {}", at(from), at(to)));
    }
    line(format!("level: {}; {}", report.level.word(), super::looked_at(report)));
    let counting: Vec<&Finding> = report.findings.iter().filter(|one| one.severity > Severity::Harmless).collect();
    for finding in counting.iter().take(SHOWN) {
        line(format!(
            "{} {} {}: {}. {} {}",
            finding.severity.word().to_uppercase(),
            finding.code,
            finding.object,
            finding.what,
            finding.consequence,
            finding.next
        ));
    }
    if counting.len() > SHOWN {
        line(format!("and {} more findings", counting.len() - SHOWN));
    }
    text
}

/// Text that Nagios takes for text.
fn clean(text: &str) -> String {
    plain(text).replace(['\n', '\t'], " ").replace('|', "/")
}

/// `'label'=value[unit];warn;crit;min;max`, where what a label stands for is known.
fn performance(report: &Report) -> Vec<String> {
    let fresh = &report.freshness;
    let limit = |time: Option<Duration>| time.map(|time| time.as_secs().to_string()).unwrap_or_default();
    let mut data = Vec::new();
    let mut seconds = |label: &str, value: Option<u64>, warn: String, crit: String| {
        if let Some(value) = value {
            data.push(format!("'{label}'={value}s;{warn};{crit};0").trim_end_matches(';').to_owned());
        }
    };
    let none = String::new;
    let commit = fresh.newest_commit.map(|commit| report.age_seconds(commit.time));
    let stored = fresh.newest_segment.and_then(|segment| segment.stored).map(|time| report.age_seconds(time));
    let backup = fresh.newest_backup.and_then(|backup| backup.finished).map(|time| report.age_seconds(time));
    let wal_age = limit(report.thresholds.max_wal_age);
    let (of_commit, of_segment) = if commit.is_some() { (wal_age, none()) } else { (none(), wal_age) };
    seconds("newest_commit_age", commit, none(), of_commit);
    seconds("newest_segment_age", stored, none(), of_segment);
    seconds("newest_backup_age", backup, limit(report.thresholds.max_backup_age), none());
    let window = fresh.window_start.map(|start| report.age_seconds(start));
    // A range `N:` alerts below N.
    let least = report.thresholds.min_window.map(|time| format!("{}:", time.as_secs())).unwrap_or_default();
    seconds("window", window, least, none());
    for (label, value, unit) in [
        ("critical", report.counts.critical, ""),
        ("unknown", report.counts.unknown, ""),
        ("warning", report.counts.warning, ""),
        ("segments", report.coverage.segments, ""),
        ("segments_missing", report.segments_missing(), ""),
        ("read", report.coverage.bytes_read, "B"),
    ] {
        data.push(format!("'{label}'={value}{unit};;;0"));
    }
    data.push(format!("'duration'={:.3}s;;;0", report.took_ms as f64 / 1000.0));
    data
}
