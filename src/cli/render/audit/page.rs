//! The verdict as a page for people: what it is, what it rests on, what is wrong and what to do.
//!
//! In: [`Report`]. Out: text of at most some 110 columns, names aside. Never: leaves out a finding that counts.

use super::super::findings::{self, wrapped};
use super::super::{plain, table};
use super::{ago, looked_at};
use crate::commands::audit::Report;
use crate::commands::audit::report::{Backup, Window};
use crate::proof::Severity;
use crate::proof::verdict::{at, signed};

/// The page.
pub fn render(report: &Report) -> String {
    let mut text = format!("{}  {}\n", report.verdict.word().to_uppercase(), plain(&report.archive));
    text += &wrapped("", &plain(&report.headline()));
    text.push('\n');
    text += &facts(report);
    text += &findings::page(&report.findings);
    text += &backups(report);
    text += &steps(report);
    text
}

fn facts(report: &Report) -> String {
    let fresh = &report.freshness;
    let now = report.began;
    let moment = |time| format!("{}, {}", at(time), ago(time, now));
    let mut rows: Vec<(&str, String)> = Vec::new();
    let recoverable = match (fresh.window_start, fresh.window_end) {
        (Some(from), Some(to)) => {
            format!("from {} to {} ({})", at(from), at(to), signed(to.duration_since(from)))
        }
        _ => format!("not known at the level `{}`", report.level.word()),
    };
    if report.cluster.is_some() {
        rows.push(("recoverable", recoverable));
        rows.push((
            "newest commit",
            match fresh.newest_commit {
                Some(commit) => format!("{}, LSN {} on timeline {}", moment(commit.time), commit.lsn, commit.timeline),
                None => format!("not known at the level `{}`", report.level.word()),
            },
        ));
        rows.push((
            "newest segment",
            match fresh.newest_segment {
                Some(segment) => {
                    let stored = segment.stored.map_or_else(|| "at a time nobody knows".to_owned(), moment);
                    format!("{}, stored {stored}", segment.name)
                }
                None => "none".to_owned(),
            },
        ));
        rows.push((
            "newest backup",
            match fresh.newest_backup {
                Some(backup) => {
                    let finished = backup.finished.map_or_else(|| "at a time nobody knows".to_owned(), moment);
                    format!("{}, finished {finished}", backup.name)
                }
                None => "none that can be restored".to_owned(),
            },
        ));
    }
    if let Some(cluster) = &report.cluster {
        let version = cluster.postgresql.as_ref().map(|major| format!("PostgreSQL {major}, ")).unwrap_or_default();
        let system = cluster.system.map(|system| format!("system identifier {system}, ")).unwrap_or_default();
        let megabytes = super::super::bytes(cluster.segment_bytes);
        rows.push(("cluster", format!("{version}{system}segments of {megabytes}")));
        rows.push(("looked at", looked_at(report)));
    }
    rows.push((
        "level",
        match report.cluster.is_some() {
            true => format!("{}: {}", report.level.word(), report.claim),
            false => format!("{}, which could not be kept: nothing is claimed", report.level.word()),
        },
    ));
    if let Some(acks) = &report.acknowledgements {
        rows.push((
            "acknowledged",
            format!("{} of {} entries in {}", report.counts.acknowledged, acks.entries, acks.file),
        ));
    }
    rows.push(("audited", format!("{}, in {:.1} s", at(report.began), report.took_ms as f64 / 1000.0)));
    rows.iter().map(|(name, value)| wrapped(&format!("{name:<15} "), &plain(value))).collect()
}

fn backups(report: &Report) -> String {
    if report.backups.is_empty() {
        return String::new();
    }
    let rows = report.backups.iter().map(|backup| {
        let window = window_of(report, backup);
        let time = |time: Option<jiff::Timestamp>| time.map_or_else(|| "-".to_owned(), at);
        let place = window.map(|window| window.place);
        [
            backup.name.to_string(),
            state(backup),
            time(place.and_then(|place| place.begins)),
            time(place.and_then(|place| place.ends)),
            place.map_or_else(|| "-".to_owned(), |place| place.to.to_string()),
            window.and_then(|window| window.cut_short.clone()).unwrap_or_default(),
        ]
        .map(|cell| plain(&cell))
    });
    format!("\n{}", table(["base backup", "state", "recovers from", "to", "LSN", ""], rows))
}

/// Where a backup leads by `latest`, else the furthest it leads.
fn window_of<'a>(report: &'a Report, backup: &Backup) -> Option<&'a Window> {
    let of: Vec<&Window> = report.windows.iter().filter(|window| window.backup == backup.name).collect();
    of.iter().copied().find(|window| window.latest).or_else(|| of.into_iter().max_by_key(|window| window.place.to))
}

fn state(backup: &Backup) -> String {
    let mut text = backup.state.word().to_owned();
    if backup.latest {
        text += ", LATEST";
    }
    match backup.worst {
        Some(worst) if worst > Severity::Harmless => text += &format!(", {}", worst.word()),
        _ => {}
    }
    text
}

/// What was tried, where something of it failed.
fn steps(report: &Report) -> String {
    if report.steps.iter().all(|step| step.done) {
        return String::new();
    }
    let mut text = "\nTried\n".to_owned();
    for step in &report.steps {
        let mark = if step.done { "ok" } else { "FAILED" };
        text += &wrapped(&format!("  {mark:<7} {}: ", plain(&step.step)), &plain(&step.outcome));
    }
    text
}
