//! `copy` as text and JSON: what would happen, and what did.
//!
//! In: [`Plan`], [`Report`]. Out: text. Never: prints.

use super::{bytes, document, plain, time};
use crate::cli::args::Format;
use crate::commands::copy::{Count, Options, Plan, Replace, Report};
use crate::error::Answer;
use crate::layout::{BackupName, ObjectKey};

/// So many names are shown of a long list.
const SHOWN: usize = 5;

/// What would happen, in this format.
pub fn plan(plan: &Plan, options: &Options, format: Format) -> Answer<String> {
    match format {
        Format::Json => document("wal-r.copy-plan", 1, plan),
        Format::Table => Ok(plan_text(plan, options)),
    }
}

/// What did happen, in this format.
pub fn report(report: &Report, format: Format) -> Answer<String> {
    match format {
        Format::Json => document("wal-r.copy", 1, report),
        Format::Table => Ok(report_text(report)),
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    text.push_str(&format!("{name:<12}{}\n", plain(value)));
}

fn count(count: Count) -> String {
    let noun = if count.objects == 1 { "object" } else { "objects" };
    format!("{} {noun}, {}", count.objects, bytes(count.bytes))
}

fn backups(names: &[BackupName], latest: Option<&BackupName>) -> String {
    let noun = if names.len() == 1 { "base backup" } else { "base backups" };
    match latest {
        Some(latest) => format!("{} {noun}; LATEST is {latest}", names.len()),
        None => format!("{} {noun}", names.len()),
    }
}

fn keys(keys: &[ObjectKey], all: u64) -> String {
    let shown: Vec<&str> = keys.iter().take(SHOWN).map(ObjectKey::as_str).collect();
    let more = all.saturating_sub(shown.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn plan_text(plan: &Plan, options: &Options) -> String {
    let mut text = String::new();
    line(&mut text, "from", &plan.from);
    line(&mut text, "to", &plan.to);
    if plan.missing {
        let made = match options.create || !plan.remote {
            true => "will be made",
            false => "does not exist; --create makes it",
        };
        line(&mut text, "", made);
    }
    if let Some(system) = &plan.system {
        line(&mut text, "cluster", &format!("system identifier {system}"));
    }
    line(&mut text, "backups", &backups(&plan.backups, plan.latest.as_ref()));
    line(&mut text, "chosen", &count(plan.chosen));
    let how =
        if plan.by_provider { "by the provider: no byte comes through this machine" } else { "through this machine" };
    line(&mut text, "to copy", &format!("{}, {how}", count(plan.copy)));
    if plan.sentinel_seconds > 0 {
        let seconds = time(plan.sentinel_seconds);
        line(&mut text, "", &format!("the sentinels one a second, to keep their order: {seconds}"));
    }
    for (name, what, why) in [
        ("there", plan.same, "the same, and left"),
        ("to compare", plan.unclear, "there with the same size: to be told by digest"),
        ("stays", plan.stays, "of the source, not chosen"),
        ("left over", plan.left_over, "in the destination, copied before"),
    ] {
        if what.objects > 0 {
            line(&mut text, name, &format!("{}: {why}", count(what)));
        }
    }
    if plan.left_over.objects > 0 && options.delete_extra {
        line(&mut text, "", if options.confirm { "will be removed" } else { "would be removed with --confirm" });
    }
    if let Some(occupant) = &plan.occupant {
        line(&mut text, "in the way", &occupant.to_string());
        let what = match options.replace {
            None => "must be moved or removed first: --replace aside, or --replace delete --confirm",
            Some(Replace::Aside) => "will be moved to a prefix beside the destination",
            Some(Replace::Delete) if options.confirm => "will be REMOVED",
            Some(Replace::Delete) => "would be REMOVED with --confirm",
        };
        line(&mut text, "", what);
    } else if plan.differing > 0 {
        line(&mut text, "different", &keys(&plan.different, plan.differing));
    }
    for problem in &plan.problems {
        line(&mut text, "problem", problem);
    }
    if !plan.problems.is_empty() && !options.damaged {
        line(&mut text, "", "will not be copied: the copy could not be restored (--damaged copies it all the same)");
    }
    text.push_str("\nnothing was done\n");
    text
}

fn report_text(report: &Report) -> String {
    let mut text = String::new();
    line(&mut text, "from", &report.from);
    line(&mut text, "to", &report.to);
    let took = match report.copied.objects {
        0 => "nothing: all of it was there".to_owned(),
        _ => {
            let rate = report.copied.bytes as f64 / report.seconds.max(0.001);
            let took = time(report.seconds.round() as u64);
            format!("{} in {took} ({}/s)", count(report.copied), bytes(rate as u64))
        }
    };
    let by = match report.by_provider.objects {
        0 => String::new(),
        all if all == report.copied.objects => ", by the provider".to_owned(),
        some => format!(", {some} of them by the provider"),
    };
    line(&mut text, "copied", &format!("{took}{by}"));
    if report.same.objects > 0 {
        line(&mut text, "there", &format!("{}: the same before", count(report.same)));
    }
    line(&mut text, "backups", &backups(&report.backups, report.latest.as_ref()));
    if let Some(aside) = &report.aside {
        line(&mut text, "aside", &format!("what was there before: {aside}"));
    }
    if report.removed.objects > 0 {
        let what = if report.aside.is_some() { "from the destination, once it was aside" } else { "for good" };
        line(&mut text, "removed", &format!("{} {what}", count(report.removed)));
    }
    for (name, list, what) in [
        ("changed", &report.changed, "in the source meanwhile, and copied as they are now"),
        ("vanished", &report.vanished, "from the source meanwhile"),
        (
            "CONFLICT",
            &report.conflicts,
            "are others in the destination, and were left (--overwrite takes the source's)",
        ),
    ] {
        if !list.is_empty() {
            line(&mut text, name, &format!("{} {what}: {}", list.len(), keys(list, list.len() as u64)));
        }
    }
    if report.renewed > 0 {
        line(&mut text, "renewed", &format!("{} sentinels, so that their order stays", report.renewed));
    }
    for note in &report.notes {
        line(&mut text, "note", note);
    }
    text
}
