//! `recovery-windows` as text and JSON.
//!
//! In: the report, the zone of this machine. Out: text. Never: prints.

use super::findings::wrapped;
use super::{bytes, document, plain};
use crate::cli::args::Format;
use crate::commands::recovery_windows::{Reply, Report};
use crate::error::Answer;
use crate::proof::windows::{By, Earliest, Edge, Hole, Line, Near, RestorePoint, Way, Window, Wish};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Restore points, unusable backups and steps of the clock that are shown of one timeline; JSON has all.
const SHOWN: usize = 20;

/// The whole report.
pub fn render(report: &Report, format: Format, zone: &TimeZone) -> Answer<String> {
    match format {
        Format::Json => document("wal-r.recovery-windows", 1, report),
        Format::Table => Ok(people(report, zone)),
    }
}

fn people(report: &Report, zone: &TimeZone) -> String {
    let mut text = format!("{}\n", plain(&report.archive));
    let read = &report.read;
    text += &format!("{} objects read ({})", read.objects, bytes(read.bytes));
    if read.remembered > 0 {
        text += &format!(", {} known from the ledger", read.remembered);
    }
    text += if report.quick { "; only the edges of the windows: not proven in between\n" } else { "\n" };
    if let Some(reply) = &report.answer {
        text.push('\n');
        text += &answer(reply, zone);
        text += &left_out(report);
        return text;
    }
    if report.timelines.iter().all(|line| line.backups.is_empty()) {
        text += "\nNothing can be recovered: no finished base backup is there.\n";
    }
    for line in &report.timelines {
        text.push('\n');
        text += &timeline(line, zone);
    }
    text += &left_out(report);
    text
}

/// Timelines of which nothing is said, and why: nobody should take that for nothing being there.
fn left_out(report: &Report) -> String {
    let mut text = String::new();
    for one in &report.left_out {
        let why = if one.damaged { "its history is damaged" } else { "its history could not be read" };
        text += &format!("\nTIMELINE {}, left out: {why}\n", one.timeline);
        text += &wrapped("  ", &plain(&one.what));
    }
    text
}

/// `2026-11-20 21:34:38.970395+01:00 (20:34:38 UTC)`; one of them where the zone is UTC.
fn both(time: Timestamp, zone: &TimeZone) -> String {
    let utc = time.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string();
    let here = time.to_zoned(zone.clone());
    if here.offset().is_zero() {
        return format!("{utc} UTC");
    }
    format!("{} ({utc} UTC)", here.strftime("%Y-%m-%d %H:%M:%S%.6f%:z"))
}

fn timeline(line: &Line, zone: &TimeZone) -> String {
    let latest = if line.latest { ", where `latest` leads" } else { "" };
    let mut text = format!("TIMELINE {}{latest}\n", line.timeline);
    if line.windows.is_empty() {
        text += &wrapped("  ", "Nothing can be recovered along it.");
    }
    let mut holes = line.holes.iter().peekable();
    for window in &line.windows {
        while let Some(before) = holes.next_if(|hole| hole.from_lsn < window.from_lsn) {
            text += &hole(before, zone);
        }
        text += &one_window(window, zone);
    }
    holes.for_each(|one| text += &hole(one, zone));
    text += &points(&line.restore_points, zone);
    let doubtful: Vec<_> = line.backups.iter().filter(|one| one.trouble.is_some() || one.doubt.is_some()).collect();
    for reach in doubtful.iter().take(SHOWN) {
        let (word, why) = match (&reach.trouble, &reach.doubt) {
            (Some(trouble), _) => ("unusable", trouble),
            (None, Some(doubt)) => ("doubtful", doubt),
            (None, None) => continue,
        };
        text += &wrapped(&format!("  {word}  "), &plain(&format!("{}: {why}", reach.backup)));
    }
    if doubtful.len() > SHOWN {
        text += &format!("  and {} base backups more\n", doubtful.len() - SHOWN);
    }
    for step in &line.clock {
        let back = both(step.behind.time, zone);
        let what = format!(
            "the server's clock went back from {} at {} to {back} at {}: a target time between the two stops at the first \
             later commit, before what was committed after the step",
            both(step.before.time, zone),
            step.before.lsn,
            step.behind.lsn
        );
        text += &wrapped("  clock     ", &what);
    }
    for note in &line.notes {
        text += &wrapped("  note      ", note);
    }
    text
}

fn earliest(earliest: Option<Earliest>, zone: &TimeZone) -> String {
    let Some(Earliest { time, by }) = earliest else { return "a time that is not known".to_owned() };
    let how = match by {
        By::Commit => "",
        By::Segment => ", or a little earlier",
        By::Before => ", the last commit before the backup",
        By::Began => ", when the backup began",
        By::Behind => ", the first commit behind the backup",
    };
    format!("{}{how}", both(time, zone))
}

fn latest(edge: Option<Edge>, zone: &TimeZone) -> String {
    edge.map_or_else(|| "no commit time that is known".to_owned(), |edge| both(edge.time, zone))
}

fn one_window(window: &Window, zone: &TimeZone) -> String {
    let plural = if window.backups == 1 { "" } else { "s" };
    let sure = match (window.proven, window.unread) {
        (true, _) => "every record checked".to_owned(),
        (false, 0) => "not every record could be checked".to_owned(),
        (false, unread) => format!("not proven: {unread} segments not read"),
    };
    let mut text = format!("  from      {}\n", earliest(window.from, zone));
    text += &format!("  to        {}\n", latest(window.to, zone));
    let places = format!(
        "{} to {}, {} base backup{plural}, {sure}; then {}",
        window.from_lsn, window.to_lsn, window.backups, window.ends
    );
    text += &wrapped("            ", &plain(&places));
    text
}

fn hole(hole: &Hole, zone: &TimeZone) -> String {
    let until = match (hole.to_lsn, hole.to) {
        (None, _) => "on: nothing behind it can be recovered".to_owned(),
        (Some(_), to) => format!("to {}", earliest(to, zone)),
    };
    let because: Vec<String> = hole.because.iter().map(ToString::to_string).collect();
    let lost = hole.lost.map_or_else(String::new, |lost| {
        format!("; there are commits up to {} that no base backup leads to", both(lost.time, zone))
    });
    let text = format!("from {} {until}, because {}{lost}", latest(hole.from, zone), because.join("; "));
    wrapped("  HOLE      ", &plain(&text))
}

fn points(points: &[RestorePoint], zone: &TimeZone) -> String {
    let mut text = String::new();
    let skipped = points.len().saturating_sub(SHOWN);
    if skipped > 0 {
        text += &format!("  point     {skipped} older restore points: --format json has all\n");
    }
    for point in points.iter().skip(skipped) {
        let time = point.time.map_or_else(String::new, |time| format!(" of {}", both(time, zone)));
        let from = point.from.map_or_else(|| ", out of reach".to_owned(), |from| format!(", from {from}"));
        text += &wrapped("  point     ", &plain(&format!("{}{time} at {}{from}", point.name, point.lsn)));
    }
    text
}

fn answer(reply: &Reply, zone: &TimeZone) -> String {
    let asked = match &reply.answered.wish {
        Wish::Time(time) => both(*time, zone),
        Wish::Lsn(lsn) => format!("LSN {lsn}"),
        Wish::Name(name) => format!("restore point {}", plain(name)),
    };
    if let Some(way) = &reply.answered.way {
        let mut text = format!("yes       {asked}\n");
        text += &by(way, reply.command.as_deref());
        if !reply.answered.also_on.is_empty() {
            let also: Vec<String> = reply.answered.also_on.iter().map(ToString::to_string).collect();
            let what = format!("the same can be had of timeline {} (--timeline): another history", also.join(", "));
            text += &wrapped("  also    ", &what);
        }
        return text;
    }
    let mut text = format!("no        {asked}\n");
    for why in &reply.answered.because {
        text += &wrapped("          ", &plain(why));
    }
    text += &nearest("before", reply.answered.before.as_ref(), reply.command_before.as_deref(), zone);
    text += &nearest("behind", reply.answered.after.as_ref(), reply.command_after.as_deref(), zone);
    text
}

fn nearest(side: &str, near: Option<&Near>, command: Option<&str>, zone: &TimeZone) -> String {
    match near {
        Some(near) => format!("\n{side}    {}\n{}", both(near.time, zone), by(&near.way, command)),
        None => format!("\n{side}    nothing\n"),
    }
}

fn by(way: &Way, command: Option<&str>) -> String {
    let replay = way.replay_bytes.map_or_else(|| "some".to_owned(), |count| format!("at most {}", bytes(count)));
    let proven = if way.proven { "every record checked" } else { "not every record checked" };
    let mut text = wrapped(
        "          ",
        &format!("from {} along timeline {}, {replay} of WAL to replay, {proven}", way.backup, way.timeline),
    );
    if let Some(doubt) = &way.doubt {
        text += &wrapped("  doubt   ", &plain(doubt));
    }
    // In one piece: it is there to be copied.
    text += &format!("\n  {}\n", plain(command.unwrap_or_default()));
    text
}
