//! `audit` as a page for people, JSON, a line for Nagios, metrics for Prometheus, and a page for a browser.
//!
//! In: [`Report`], and from which severity on it fails. Out: text. Never: prints; computes a verdict of its own.

pub mod html;
pub mod nagios;
pub mod page;
pub mod prometheus;
#[cfg(any(test, feature = "testing"))]
pub mod samples;

use super::document;
use crate::cli::args::Output;
use crate::commands::audit::Report;
use crate::error::Answer;
use crate::proof::Severity;
use crate::proof::verdict::signed;
use jiff::{SignedDuration, Timestamp};

/// A verdict in the form that was asked for. `fail_on`: the least severity that fails.
pub fn render(report: &Report, output: Output, fail_on: Severity) -> Answer<String> {
    Ok(match output {
        Output::Table => page::render(report),
        Output::Json => document("wal-r.audit", 1, report)?,
        Output::Nagios => nagios::render(report, fail_on),
        Output::Prometheus => prometheus::render(report),
    })
}

/// `5 min ago`, or `in 3 h` for clocks that disagree.
fn ago(time: Timestamp, now: Timestamp) -> String {
    let age = now.duration_since(time);
    if age < SignedDuration::ZERO { format!("in {}", signed(-age)) } else { format!("{} ago", signed(age)) }
}

/// What was read, as one sentence.
fn looked_at(report: &Report) -> String {
    let read = &report.coverage;
    let things = |count: u64, one: &str| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") };
    let mut text = format!("{} ({})", things(read.segments, "stored segment"), super::bytes(read.segment_bytes));
    if read.objects_read > 0 || read.remembered > 0 || read.not_reached > 0 {
        text += &format!("; {} read now ({})", things(read.objects_read, "object"), super::bytes(read.bytes_read));
    } else {
        text += "; nothing was read but the listing and small files";
    }
    if read.remembered > 0 {
        let since = read
            .remembered_since
            .map(|since| format!(", the oldest proof from {}", crate::proof::verdict::at(since)))
            .unwrap_or_default();
        text += &format!("; {} remembered from the ledger{since}", things(read.remembered, "object"));
    }
    if read.not_reached > 0 {
        text += &format!("; {} NOT reached", things(read.not_reached, "segment"));
    }
    if read.backups_read > 0 {
        text += &format!("; {} read to the end", things(read.backups_read, "base backup"));
    }
    if read.backups_not_reached > 0 {
        text += &format!("; {} NOT reached", things(read.backups_not_reached, "base backup"));
    }
    text
}

#[cfg(test)]
mod tests;
