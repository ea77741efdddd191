//! `locate` as text and JSON.
//!
//! In: [`Report`] of logs, [`below::Report`] of a store. Out: text. Never: prints, or says of an upload more than its lines did.

use super::{document, plain, table};
use crate::cli::args::Format;
use crate::commands::locate::{Located, NEW_INSTANCE, Report, below};
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
        line(
            "archive",
            "no line names it: give older logs too, or look in the bucket, `wal-r locate --under URL`".to_owned(),
        );
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

/// What lies below a prefix.
pub fn below(report: &below::Report, format: Format) -> Answer<String> {
    if format == Format::Json {
        return document("wal-r.locate-under", 1, report);
    }
    let mut text = String::new();
    if report.archives.len() <= WHOLE {
        for archive in &report.archives {
            if !text.is_empty() {
                text.push('\n');
            }
            text += &whole_archive(archive);
        }
        if report.names_new_instance() {
            text += &format!("\n{NEW_INSTANCE} is the new instance's; its server must be stopped\n");
        }
    } else {
        text += &archives(&report.archives);
        text += "\n`--instance NAME` shows one of them whole: its GUID, or a folder of its prefix\n";
    }
    Ok(text)
}

fn time(time: Option<jiff::Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"))
}

fn archives(archives: &[below::Archive]) -> String {
    let dash = || "-".to_owned();
    let row = |archive: &below::Archive| {
        let place = plain(archive.url.as_str());
        [
            time(archive.last),
            if archive.objects > 0 { super::bytes(archive.bytes) } else { dash() },
            archive.newest_backup.as_ref().map_or_else(dash, |backup| backup.name.to_string()),
            time(archive.newest_backup.as_ref().and_then(|backup| backup.written)),
            archive.newest_segment.as_ref().map_or_else(dash, |segment| segment.name.to_string()),
            archive.system.map_or_else(dash, |system| system.to_string()),
            match &archive.trouble {
                Some(error) => format!("{place}  [{}]", error.code()),
                None if archive.objects == 0 && !archive.old_layouts.is_empty() => format!("{place}  [old layout]"),
                None => place,
            },
        ]
    };
    let header = ["WRITTEN LAST", "SIZE", "NEWEST BASE BACKUP", "AT", "NEWEST WAL", "SYSTEM", "ARCHIVE"];
    table(header, archives.iter().map(row))
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn whole_archive(archive: &below::Archive) -> String {
    let mut text = format!("{}\n", plain(archive.url.as_str()));
    let mut line = |label: &str, value: String| text.push_str(&format!("  {label:<13}{}\n", plain(&value)));
    if let Some(error) = &archive.trouble {
        line("trouble", format!("[{}] {}", error.code(), error.chain()));
    }
    if let Some(id) = archive.instance {
        line("instance", id.to_string());
    }
    match (archive.system, &archive.system_from) {
        (Some(system), Some(from)) => line("system", format!("{system} ({from})")),
        (None, Some(why)) => line("system", format!("nothing tells its identifier ({why})")),
        _ => line("system", "nothing tells its identifier".to_owned()),
    }
    for (system, from) in &archive.other_systems {
        line("", format!("but {system} by {from}: there is another cluster's WAL or backup in it"));
    }
    let unfinished = match archive.unfinished {
        0 => String::new(),
        count => format!(", {count} unfinished"),
    };
    line("base backups", format!("{}{unfinished}", archive.base_backups));
    if archive.unreadable > 0 {
        line("", format!("of {} the sentinel is damaged or could not be read", archive.unreadable));
    }
    if let Some(newest) = &archive.newest_backup {
        line("", format!("newest {}, its sentinel written {}", newest.name, time(newest.written)));
    }
    let timelines: Vec<String> = archive.timelines.iter().map(ToString::to_string).collect();
    let timelines = match &*timelines {
        [] => String::new(),
        [one] => format!(" on timeline {one}"),
        several => format!(" on timelines {}", several.join(", ")),
    };
    line("WAL", format!("{}{timelines}", counted(archive.segments as u64, "segment")));
    if let Some(newest) = &archive.newest_segment {
        line("", format!("newest {}, written {}", newest.name, time(newest.written)));
    }
    for folder in &archive.old_layouts {
        line("old layout", format!("{folder}: WAL-E's before 0.5, which nothing here reads"));
    }
    // Of an old layout nothing was listed.
    if archive.objects > 0 {
        line("size", format!("{} in {}", super::bytes(archive.bytes), counted(archive.objects, "object")));
        line("written", format!("{} to {}", time(archive.first), time(archive.last)));
        line("copy", archive.copy.command.clone());
    }
    text
}

#[cfg(test)]
mod tests;
