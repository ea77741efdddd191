//! `locate` as text and JSON.
//!
//! In: [`Report`]. Out: text. Never: prints, or says of an upload more than its lines did.

use super::{document, plain, table};
use crate::cli::args::Format;
use crate::commands::locate::{Located, NEW_INSTANCE, Report};
use crate::error::Answer;
use crate::locate::Moment;
use crate::locate::sightings::{Archive, Backup, Instance, State};

/// Instances that are shown whole; of more, there is a table first, and the deleted ones are shown whole.
const WHOLE: usize = 3;
/// Deleted instances that are shown whole below a table.
const DELETED: usize = 5;

/// What logs told.
pub fn logs(report: &Report, format: Format) -> Answer<String> {
    if format == Format::Json {
        return document("wal-r.locate", 1, report);
    }
    let mut text = String::new();
    let shown: Vec<&Located> = if report.instances.len() <= WHOLE {
        report.instances.iter().collect()
    } else {
        text += &overview(&report.instances);
        let deleted = report.instances.iter().filter(|one| one.instance.state == State::Deleted);
        deleted.take(DELETED).collect()
    };
    for one in &shown {
        if !text.is_empty() {
            text.push('\n');
        }
        text += &whole(one);
    }
    if report.instances.len() > shown.len() {
        text += "\n`--instance GUID` shows one of them whole\n";
    }
    Ok(text)
}

fn name(instance: &Instance) -> String {
    instance.id.map_or_else(|| "-".to_owned(), |id| id.to_string())
}

fn state(instance: &Instance) -> String {
    match (instance.state, instance.deleted) {
        (State::Deleted, Some(at)) => format!("deleted {at}"),
        (State::Deleted, None) => "deleted".to_owned(),
        (State::Shrunk, _) => "containers were removed, others are left".to_owned(),
        (State::WrittenAfter, _) => "its containers were removed, and something was uploaded later".to_owned(),
        (State::Seen, _) => "no line tells that it was removed".to_owned(),
    }
}

fn overview(instances: &[Located]) -> String {
    let dash = || "-".to_owned();
    let short = |moment: Option<Moment>| match moment.map(|moment| (moment.time(), moment.clock())) {
        Some((Some(time), _)) => format!("{time:.0}"),
        Some((None, Some(clock))) => format!("{clock} ?"),
        _ => dash(),
    };
    let row = |one: &Located| {
        let instance = &one.instance;
        let state = match instance.state {
            State::Deleted => "deleted",
            State::Shrunk => "shrunk",
            State::WrittenAfter => "removed, written",
            State::Seen => "",
        };
        let archive = instance.archives.iter().max_by_key(|archive| archive.written.and_then(|moment| moment.time()));
        let place = match (archive, instance.archives.len()) {
            (None, _) => "none seen".to_owned(),
            (Some(archive), 1) => plain(archive.place.as_str()),
            (Some(archive), several) => format!("{} (and {} more)", plain(archive.place.as_str()), several - 1),
        };
        let segment = archive.and_then(|archive| archive.last_segment);
        let when = segment.map(|segment| segment.at);
        [
            name(instance),
            state.to_owned(),
            short(instance.deleted),
            segment.map_or_else(dash, |segment| segment.name.to_string()),
            short(when),
            place,
        ]
    };
    table(["INSTANCE", "", "DELETED", "LAST WAL UPLOADED", "AT", "ARCHIVE"], instances.iter().map(row))
}

fn whole(one: &Located) -> String {
    let instance = &one.instance;
    let mut text = match instance.id {
        Some(id) => format!("instance {id}: {}\n", state(instance)),
        None => "an archive in whose prefix is no instance's GUID\n".to_owned(),
    };
    let mut line = |label: &str, value: String| text.push_str(&format!("  {label:<13}{}\n", plain(&value)));
    for archive in &instance.archives {
        archive_lines(archive, &mut line);
    }
    if instance.archives.is_empty() {
        line("archive", "no line names it. Give older logs too, or look in the bucket".to_owned());
    }
    for (id, node) in &instance.nodes {
        let mut said = format!("cf-{id}");
        if let Some(place) = node.address.as_ref().or(node.backend.as_ref()) {
            said += &format!(" on {place}");
        }
        if let Some(at) = node.started {
            said += &format!(", started {at}");
        }
        if let Some(at) = node.removed {
            said += &format!(", removed {at}");
        }
        line("container", said);
    }
    for word in &instance.broker {
        let times = if word.count == 1 { String::new() } else { format!(", {} times, last", word.count) };
        line("broker", format!("{}{times} {}", word.message, moment(word.last)));
    }
    line("seen", format!("{} to {}", moment(instance.first), moment(instance.last)));
    for copy in &one.copies {
        let look = format!("wal-r backup-list --pretty --prefix {}", crate::backup::recovery::shell_word(&copy.from));
        line("look first", look);
        line("then copy", copy.command.clone());
    }
    if one.copies.iter().any(|copy| copy.to.contains(NEW_INSTANCE)) {
        line("", format!("{NEW_INSTANCE} is the new instance's; its server must be stopped"));
    }
    for id in &one.younger {
        line("", format!("perhaps {id}: first seen after this one was deleted; the platform knows for certain"));
    }
    text
}

fn moment(moment: Option<Moment>) -> String {
    moment.map_or_else(|| "at an unknown time".to_owned(), |moment| moment.to_string())
}

fn archive_lines(archive: &Archive, line: &mut impl FnMut(&str, String)) {
    line("archive", archive.place.to_string());
    match archive.last_segment {
        Some(last) => line("last WAL", format!("{} complete {}", last.name, last.at)),
        None => line("last WAL", "no line says that one is complete".to_owned()),
    }
    if let Some(begun) = archive.last_begun {
        line("", format!("{} begun {}, and no line says that it was completed", begun.name, begun.at));
    }
    match archive.backups.iter().rev().find(|backup| backup.deleted.is_none()) {
        Some(last) => backup(last, line),
        None => line("last backup", "no line tells of one".to_owned()),
    }
    if archive.deleted_objects > 0 {
        let count = archive.deleted_objects;
        line("deletions", format!("{count} objects were deleted from it, the last {}", moment(archive.last_deletion)));
    }
    if let Some(at) = archive.system_id {
        line("system id", format!("uploaded beside it {at}"));
    }
}

/// What the lines say, and what they do not.
fn backup(backup: &Backup, line: &mut impl FnMut(&str, String)) {
    let parts = match (backup.parts_complete, backup.parts_begun) {
        (_, 0) => "no line tells of its partitions".to_owned(),
        (complete, begun) => format!("{complete} of {begun} partitions complete"),
    };
    let begun = backup.begun.map(|at| format!("begun {at}, ")).unwrap_or_default();
    line("last backup", format!("{}: {begun}{parts}", backup.name));
    match backup.stopped {
        Some(at) => {
            line("", format!("ended by the server, whose .backup file was uploaded {at}; of its sentinel no log tells"))
        }
        None => line("", "no line says that it ended: it may be unfinished".to_owned()),
    }
}

#[cfg(test)]
mod tests;
