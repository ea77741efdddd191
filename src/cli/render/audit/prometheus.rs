//! The verdict as metrics, for node_exporter's textfile collector.
//!
//! In: [`Report`]. Out: the text exposition format, version 0.0.4. Never: a sample without HELP and TYPE; two samples
//! of one name and one set of labels; a value that is not known as a number.
//! Source: Prometheus, "Exposition formats" and "Metric and label naming".

use super::super::plain;
use crate::commands::audit::Report;
use crate::commands::audit::report::State;
use crate::proof::FindingCode;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The metrics.
pub fn render(report: &Report) -> String {
    let mut out = Metrics { text: String::new(), archive: plain(&report.archive) };
    let fresh = &report.freshness;
    let read = &report.coverage;
    let verdict = crate::cli::exit::audit(report.verdict);

    out.one("walr_audit_verdict", "Verdict: 0 ok, 1 warning, 2 critical, 3 unknown.", Some(f64::from(verdict)));
    out.one(
        "walr_audit_timestamp_seconds",
        "When the audit began; its age is time() minus this.",
        seconds(Some(report.began)),
    );
    out.one("walr_audit_duration_seconds", "How long the audit took.", Some(report.took_ms as f64 / 1000.0));
    let level = [("level", report.level.word().to_owned()), ("version", env!("CARGO_PKG_VERSION").to_owned())];
    out.many("walr_audit_info", "How closely the audit looked, and by which version.", [(level.to_vec(), 1.0)]);

    let severities = [
        ("critical", report.counts.critical),
        ("unknown", report.counts.unknown),
        ("warning", report.counts.warning),
        ("harmless", report.counts.harmless),
        ("acknowledged", report.counts.acknowledged),
    ];
    let samples = severities.map(|(word, count)| (vec![("severity", word.to_owned())], count as f64));
    out.many("walr_audit_findings", "Findings by severity.", samples);
    let mut codes: BTreeMap<(FindingCode, &str), u64> = BTreeMap::new();
    for finding in &report.findings {
        let word = if finding.acknowledged.is_some() { "acknowledged" } else { finding.severity.word() };
        *codes.entry((finding.code, word)).or_default() += 1;
    }
    let samples = codes
        .into_iter()
        .map(|((code, word), count)| (vec![("code", code.to_string()), ("severity", word.to_owned())], count as f64));
    out.many("walr_audit_findings_by_code", "Findings by code and severity.", samples);

    out.one("walr_audit_read_bytes", "Stored bytes read by this audit.", Some(read.bytes_read as f64));
    out.one("walr_audit_read_objects", "Objects read by this audit.", Some(read.objects_read as f64));
    out.one(
        "walr_audit_remembered_objects",
        "Objects whose proof came out of the ledger.",
        Some(read.remembered as f64),
    );
    out.one(
        "walr_audit_unreached_segments",
        "Segments that were not read within the budget.",
        Some(read.not_reached as f64),
    );

    if report.cluster.is_some() {
        out.one("walr_archive_segments", "Stored WAL segments.", Some(read.segments as f64));
        out.one("walr_archive_segment_bytes", "Stored bytes of the WAL segments.", Some(read.segment_bytes as f64));
        out.one(
            "walr_archive_segments_missing",
            "Segments missing within their timelines.",
            Some(report.segments_missing() as f64),
        );
        out.one("walr_archive_timelines", "Timelines.", Some(report.timelines.len() as f64));
        let states = [State::Usable, State::Unfinished, State::Damaged, State::Unknown];
        let samples = states.map(|state| {
            let count = report.backups.iter().filter(|backup| backup.state == state).count();
            (vec![("state", state.word().to_owned())], count as f64)
        });
        out.many("walr_archive_backups", "Base backups by state.", samples);
    }
    out.one(
        "walr_newest_commit_timestamp_seconds",
        "Time of the newest commit in the archive, by the server's clock.",
        seconds(fresh.newest_commit.map(|commit| commit.time)),
    );
    out.one(
        "walr_newest_segment_timestamp_seconds",
        "When the newest segment was stored.",
        seconds(fresh.newest_segment.and_then(|segment| segment.stored)),
    );
    out.one(
        "walr_newest_backup_timestamp_seconds",
        "When the newest usable base backup was finished.",
        seconds(fresh.newest_backup.and_then(|backup| backup.finished)),
    );
    out.one(
        "walr_window_start_timestamp_seconds",
        "The earliest moment that can be recovered to.",
        seconds(fresh.window_start),
    );
    out.one(
        "walr_window_end_timestamp_seconds",
        "The latest moment that can be recovered to.",
        seconds(fresh.window_end),
    );
    out.text
}

fn seconds(time: Option<Timestamp>) -> Option<f64> {
    time.map(|time| time.as_millisecond() as f64 / 1000.0)
}

struct Metrics {
    text: String,
    archive: String,
}

impl Metrics {
    fn one(&mut self, name: &str, help: &str, value: Option<f64>) {
        self.many(name, help, value.map(|value| (Vec::new(), value)));
    }

    fn many(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Vec<(&'static str, String)>, f64)>) {
        for (index, (labels, value)) in samples.into_iter().enumerate() {
            if index == 0 {
                // Writing to text does not fail.
                let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
            }
            let mut all = format!("archive=\"{}\"", escaped(&self.archive));
            for (label, text) in labels {
                let _ = write!(all, ",{label}=\"{}\"", escaped(&text));
            }
            let _ = writeln!(self.text, "{name}{{{all}}} {value}");
        }
    }
}

/// The value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
