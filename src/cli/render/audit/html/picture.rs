//! The picture: timelines, base backups, holes and what can be recovered, over time, or over the WAL where no times are
//! known.
//!
//! In: [`Report`]. Out: one inline SVG whose places across are percentages (it is as wide as the page, and text keeps its
//! size), with its legend. Never: grows with the WAL: what lies closer than a pixel is drawn as one; what would be thinner
//! than one is still seen.

use super::Text;
use crate::commands::audit::Report;
use crate::commands::audit::report::{Backup, Lane, Reach, State, Times};
use crate::pg::Lsn;
use crate::proof::Severity;
use crate::proof::verdict::at;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan, Unit};
use std::fmt::Write as _;

/// Lanes that are drawn.
const LANES: usize = 40;
/// Of more lanes the lines between them step back.
const MANY: usize = 12;
/// Base backups on one lane that are drawn as marks; more are thin lines.
const MARKS: usize = 40;
/// Percent of the width: what lies closer is one.
const NEAR: f64 = 0.12;
/// The same for marks that have a size.
const MARK_NEAR: f64 = 2.2;

const BAR: f64 = 12.0;

/// What the picture runs over.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Axis {
    /// Seconds since 1970.
    Time { from: f64, to: f64 },
    /// Bytes of WAL.
    Wal { from: f64, to: f64 },
}

impl Axis {
    fn of(report: &Report) -> Axis {
        let reaches = || report.timelines.iter().flat_map(|lane| &lane.stretches).map(|stretch| stretch.place);
        let known =
            report.times != Times::None && reaches().all(|reach| reach.begins.is_some() && reach.ends.is_some());
        let times: Vec<f64> = match known {
            true => {
                let walls = reaches().flat_map(|reach| [reach.begins, reach.ends]);
                let backups = report.backups.iter().flat_map(|backup| [backup.started, backup.finished]);
                walls.chain(backups).flatten().map(seconds).collect()
            }
            false => Vec::new(),
        };
        let bounds = |values: &[f64]| {
            let from = values.iter().copied().fold(f64::INFINITY, f64::min);
            let to = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (to > from).then_some((from, to))
        };
        if let Some((from, to)) = bounds(&times) {
            return Axis::Time { from, to };
        }
        let places: Vec<f64> = reaches().flat_map(|reach| [reach.from.0 as f64, reach.to.0 as f64]).collect();
        let (from, to) = bounds(&places).unwrap_or((0.0, 1.0));
        Axis::Wal { from, to }
    }

    /// From 1 to 99 percent.
    fn percent(self, value: f64) -> f64 {
        let (Axis::Time { from, to } | Axis::Wal { from, to }) = self;
        1.0 + 98.0 * ((value - from) / (to - from)).clamp(0.0, 1.0)
    }

    fn reach(self, reach: Reach) -> Option<(f64, f64)> {
        let (from, to) = match self {
            Axis::Time { .. } => (seconds(reach.begins?), seconds(reach.ends?)),
            Axis::Wal { .. } => (reach.from.0 as f64, reach.to.0 as f64),
        };
        Some((self.percent(from), self.percent(to.max(from))))
    }

    fn place(self, time: Option<Timestamp>, lsn: Lsn) -> Option<f64> {
        match self {
            Axis::Time { .. } => time.map(|time| self.percent(seconds(time))),
            Axis::Wal { .. } => Some(self.percent(lsn.0 as f64)),
        }
    }

    /// At most `most` marks: where, and their text.
    fn ticks(self, most: usize) -> Vec<(f64, String)> {
        match self {
            Axis::Time { from, to } => {
                time_ticks(from, to, most).into_iter().map(|(at, text)| (self.percent(at), text)).collect()
            }
            Axis::Wal { from, to } => {
                let mut step = f64::from(1 << 20);
                while (to - from) / step > most as f64 {
                    step *= 2.0;
                }
                let first = (from / step).ceil();
                let count = ((to / step).floor() - first).max(0.0) as usize;
                (0..=count.min(most))
                    .map(|index| (first + index as f64) * step)
                    .map(|at| (self.percent(at), Lsn(at as u64).to_string()))
                    .collect()
            }
        }
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

/// Round moments between two, in UTC.
fn time_ticks(from: f64, to: f64, most: usize) -> Vec<(f64, String)> {
    let steps: [(Span, f64, Unit, &str); 25] = [
        (1.second(), 1.0, Unit::Second, "%H:%M:%S"),
        (2.seconds(), 2.0, Unit::Second, "%H:%M:%S"),
        (5.seconds(), 5.0, Unit::Second, "%H:%M:%S"),
        (10.seconds(), 10.0, Unit::Second, "%H:%M:%S"),
        (30.seconds(), 30.0, Unit::Second, "%H:%M:%S"),
        (1.minute(), 60.0, Unit::Minute, "%H:%M"),
        (2.minutes(), 120.0, Unit::Minute, "%H:%M"),
        (5.minutes(), 300.0, Unit::Minute, "%H:%M"),
        (10.minutes(), 600.0, Unit::Minute, "%H:%M"),
        (30.minutes(), 1800.0, Unit::Minute, "%H:%M"),
        (1.hour(), 3600.0, Unit::Hour, "%H:%M"),
        (2.hours(), 7200.0, Unit::Hour, "%H:%M"),
        (6.hours(), 21_600.0, Unit::Hour, "%-d %b %H:%M"),
        (12.hours(), 43_200.0, Unit::Hour, "%-d %b %H:%M"),
        (1.day(), 86_400.0, Unit::Day, "%-d %b"),
        (2.days(), 172_800.0, Unit::Day, "%-d %b"),
        (5.days(), 432_000.0, Unit::Day, "%-d %b"),
        (10.days(), 864_000.0, Unit::Day, "%-d %b"),
        (1.month(), 2_629_800.0, Unit::Month, "%b %Y"),
        (2.months(), 5_259_600.0, Unit::Month, "%b %Y"),
        (3.months(), 7_889_400.0, Unit::Month, "%b %Y"),
        (6.months(), 15_778_800.0, Unit::Month, "%b %Y"),
        (1.year(), 31_557_600.0, Unit::Year, "%Y"),
        (2.years(), 63_115_200.0, Unit::Year, "%Y"),
        (10.years(), 315_576_000.0, Unit::Year, "%Y"),
    ];
    let fits = steps.iter().find(|(_, length, ..)| (to - from) / length <= most as f64);
    let (step, _, unit, format) = fits.unwrap_or(&steps[steps.len() - 1]);
    let Some(mut moment) = Timestamp::from_second(from as i64).ok().map(|start| start.to_zoned(TimeZone::UTC)) else {
        return Vec::new();
    };
    // Back to a round one at or before the start.
    let civil = moment.datetime();
    let date = civil.date();
    let day = match unit {
        Unit::Year => jiff::civil::Date::new(date.year() - date.year() % 10, 1, 1).unwrap_or(date),
        Unit::Month => jiff::civil::Date::new(date.year(), 1, 1).unwrap_or(date),
        Unit::Day => date.first_of_month(),
        _ => date,
    };
    if let Ok(midnight) = day.to_zoned(TimeZone::UTC) {
        moment = midnight;
    }
    let mut ticks = Vec::new();
    // From a round moment not long before; no more steps than that can take.
    for _ in 0..100_000 {
        let at = seconds(moment.timestamp());
        if at > to {
            break;
        }
        if at >= from {
            ticks.push((at, moment.strftime(*format).to_string()));
        }
        let Ok(mut next) = moment.checked_add(*step) else { break };
        // Days of a month are counted anew in each.
        if *unit == Unit::Day && next.date().month() != moment.date().month() {
            next = next.date().first_of_month().to_zoned(TimeZone::UTC).unwrap_or(next);
        }
        moment = next;
    }
    // Ten days and the first of the next month lie close together.
    let apart = (to - from) / (most as f64 * 2.5);
    let mut kept: Vec<(f64, String)> = Vec::new();
    for tick in ticks.into_iter().rev() {
        if kept.last().is_none_or(|(last, _)| last - tick.0 >= apart) {
            kept.push(tick);
        }
    }
    kept.reverse();
    kept
}

/// Where a lane is.
struct Row<'a> {
    lane: &'a Lane,
    /// Top of its bar.
    bar: f64,
}

/// The figure.
pub(super) fn draw(report: &Report, page: &mut String) {
    if report.timelines.iter().all(|lane| lane.stretches.is_empty()) {
        return;
    }
    let axis = Axis::of(report);
    let lanes = chosen(report);
    let mut y = 10.0;
    let mut body = String::new();
    // What can be recovered by `latest` comes first: it is what people want to know.
    let latest: Vec<(f64, f64)> =
        report.windows.iter().filter(|window| window.latest).filter_map(|window| axis.reach(window.place)).collect();
    if !latest.is_empty() {
        let _ = writeln!(
            body,
            "<text x=\"1%\" y=\"{:.0}\">Recoverable<tspan class=\"soft wide\" dx=\"8\">to any moment, following the newest timeline</tspan></text>",
            y + 11.0
        );
        for (from, to) in joined(latest, NEAR) {
            let _ = writeln!(body, "{}", rect(from, to, y + 20.0, 10.0, "window", 2.0));
        }
        y += 52.0;
    }
    let rows: Vec<Row> = lanes
        .into_iter()
        .map(|lane| {
            let row = Row { lane, bar: y + 34.0 };
            // Below the bar there is room for marks only where there are some.
            y += if lane.spots.iter().any(|spot| spot.severity > Severity::Harmless) { 76.0 } else { 60.0 };
            row
        })
        .collect();
    let bottom = y - 8.0;
    forks(axis, &rows, &mut body);
    rows.iter().for_each(|row| draw_lane(report, axis, row, &mut body));

    let mut grid = String::new();
    for (most, class) in [(8, "wide"), (4, "narrow")] {
        for (x, text) in axis.ticks(most) {
            let anchor = match x {
                x if x < 6.0 => "start",
                x if x > 94.0 => "end",
                _ => "middle",
            };
            let _ = writeln!(
                grid,
                "<g class=\"{class}\"><line class=\"grid\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"4\" y2=\"{bottom:.0}\"/>\
                 <text class=\"tick\" x=\"{x:.2}%\" y=\"{:.0}\" text-anchor=\"{anchor}\">{}</text></g>",
                bottom + 16.0,
                Text(&text)
            );
        }
    }
    let label = format!(
        "{} timelines, {} base backups, {} segments missing; the tables below say the same in words.",
        report.timelines.len(),
        report.backups.len(),
        report.segments_missing()
    );
    let _ = write!(
        page,
        "<h2>Timelines, backups and holes</h2>\n<figure>\n<svg class=\"picture\" height=\"{:.0}\" role=\"img\" aria-label=\"{label}\">\n\
         {}{grid}{body}</svg>\n<figcaption>\n{}",
        bottom + 24.0,
        defs(),
        legend(report),
    );
    let over = match axis {
        Axis::Time { from, to } => {
            let moment = |at_: f64| Timestamp::from_second(at_ as i64).map_or_else(|_| String::new(), at);
            let source = match report.times {
                Times::Commits => "as the WAL's commits tell",
                _ => "as the store tells when segments were written; copying an archive changes that",
            };
            format!("{} to {}, {source}.", moment(from), moment(to))
        }
        Axis::Wal { from, to } => {
            format!("Over the WAL, from {} to {}: times are not known.", Lsn(from as u64), Lsn(to as u64))
        }
    };
    let left_out = report.timelines.len() - rows.len();
    let left_out = if left_out > 0 { format!(" {left_out} more timelines are not drawn.") } else { String::new() };
    let _ = write!(page, "<p>{over}{left_out}</p>\n</figcaption>\n</figure>\n");
}

/// Which lanes are drawn: all, or those that matter most.
fn chosen(report: &Report) -> Vec<&Lane> {
    let mut lanes: Vec<&Lane> = report.timelines.iter().filter(|lane| !lane.stretches.is_empty()).collect();
    if lanes.len() > LANES {
        let weight = |lane: &&Lane| {
            let worst = lane.spots.iter().map(|spot| spot.severity).max();
            (!lane.on_the_way, std::cmp::Reverse(worst), std::cmp::Reverse(lane.timeline))
        };
        lanes.sort_by_key(weight);
        lanes.truncate(LANES);
        lanes.sort_by_key(|lane| lane.timeline);
    }
    lanes
}

/// A line from the parent's bar to where the child's begins.
fn forks(axis: Axis, rows: &[Row], body: &mut String) {
    let class = if rows.len() > MANY { "fork faint" } else { "fork" };
    for row in rows {
        let Some(fork) = &row.lane.fork else { continue };
        let Some(parent) = rows.iter().find(|one| one.lane.timeline == fork.parent) else { continue };
        let Some(x) = axis.place(fork.time, fork.lsn) else { continue };
        let from = parent.bar + BAR / 2.0;
        let _ = writeln!(
            body,
            "<line class=\"{class}\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"{from:.0}\" y2=\"{:.0}\"/>",
            row.bar + BAR / 2.0
        );
    }
}

fn draw_lane(report: &Report, axis: Axis, row: &Row, body: &mut String) {
    let Row { lane, bar } = *row;
    let title = bar - 23.0;
    let count = if lane.segments == 1 { "1 segment".to_owned() } else { format!("{} segments", lane.segments) };
    let (fork, count) = match &lane.fork {
        Some(fork) => (format!("left timeline {} at {}", fork.parent, fork.lsn), format!(" · {count}")),
        None => (String::new(), count),
    };
    let _ = writeln!(
        body,
        "<text x=\"1%\" y=\"{title:.0}\">Timeline {}<tspan class=\"soft\" dx=\"8\">{fork}<tspan class=\"wide\">{count}</tspan></tspan></text>",
        lane.timeline,
    );
    let all: Vec<(f64, f64)> = lane.stretches.iter().filter_map(|stretch| axis.reach(stretch.place)).collect();
    let Some((from, to)) = joined(all, 200.0).first().copied() else { return };
    let _ = writeln!(body, "{}", rect(from, to, bar, BAR, "wal", 3.0));
    holes(axis, row, body);
    let windows: Vec<(f64, f64)> = report
        .windows
        .iter()
        .filter(|window| window.timeline == lane.timeline)
        .filter_map(|window| axis.reach(window.place))
        .map(|(begin, end)| (begin.max(from), end.min(to)))
        .filter(|(begin, end)| begin <= end)
        .collect();
    for (begin, end) in joined(windows, NEAR) {
        let _ = writeln!(body, "{}", rect(begin, end, bar + BAR + 4.0, 4.0, "window", 2.0));
    }
    if let Some(fork) = &lane.fork
        && let Some(x) = axis.place(fork.time, fork.lsn)
    {
        let _ = writeln!(body, "<circle class=\"forkdot\" cx=\"{x:.2}%\" cy=\"{:.0}\" r=\"4\"/>", bar + BAR / 2.0);
    }
    backups(report, axis, row, body);
    spots(report, axis, row, body);
}

/// Missing segments: hatched, in the colour of what that does.
fn holes(axis: Axis, row: &Row, body: &mut String) {
    for severity in [Severity::Harmless, Severity::Warning, Severity::Unknown, Severity::Critical] {
        let missing = row.lane.stretches.iter().filter(|stretch| !stretch.present);
        let of = missing.filter(|stretch| {
            let meets = |place: Reach| place.from < stretch.place.to && stretch.place.from < place.to;
            let worst = row.lane.spots.iter().filter(|spot| meets(spot.place)).map(|spot| spot.severity).max();
            worst.unwrap_or(Severity::Harmless) == severity
        });
        let of: Vec<(f64, f64)> = of.filter_map(|stretch| axis.reach(stretch.place)).collect();
        let word = severity.word();
        for (from, to) in joined(of, NEAR) {
            let hole = rect(from, to, row.bar, BAR, "hole", 0.0);
            let hatch = rect(from, to, row.bar, BAR, &format!("edge-{word}"), 0.0);
            let _ = writeln!(body, "{hole}\n{hatch}");
        }
    }
}

fn backups(report: &Report, axis: Axis, row: &Row, body: &mut String) {
    let on: Vec<&Backup> = report.backups.iter().filter(|backup| backup.timeline == row.lane.timeline).collect();
    let y = row.bar - 3.0;
    for backup in &on {
        let Some(x) = axis.place(backup.finished.or(backup.started), backup.start) else { continue };
        let class = match backup.state {
            State::Usable => "backup",
            State::Unfinished => "backup-unfinished",
            State::Damaged => "backup-damaged",
            State::Unknown => "backup-unknown",
        };
        let latest = if backup.latest { ", LATEST" } else { "" };
        let title = format!("<title>{} ({}{latest})</title>", backup.name, backup.state.word());
        let shape = if on.len() > MARKS && !backup.latest && backup.state == State::Usable { "tick" } else { "backup" };
        let _ = writeln!(body, "<use href=\"#{shape}\" class=\"{class}\" x=\"{x:.2}%\" y=\"{y:.0}\">{title}</use>");
        if backup.latest {
            let anchor = if x > 50.0 { ("end", -9) } else { ("start", 9) };
            let _ = writeln!(
                body,
                "<text class=\"tick\" x=\"{x:.2}%\" dx=\"{}\" y=\"{:.0}\" text-anchor=\"{}\">LATEST</text>",
                anchor.1,
                y - 1.0,
                anchor.0
            );
        }
    }
}

/// Findings that count: a mark below the bar, one for all that lie at one place.
fn spots(report: &Report, axis: Axis, row: &Row, body: &mut String) {
    let counting = row.lane.spots.iter().filter(|spot| spot.severity > Severity::Harmless);
    let mut marks: Vec<(f64, Severity, usize, usize)> = counting
        .filter_map(|spot| axis.reach(spot.place).map(|(from, to)| ((from + to) / 2.0, spot.severity, spot.finding, 1)))
        .collect();
    marks.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut merged: Vec<(f64, Severity, usize, usize)> = Vec::new();
    for mark in marks {
        match merged.last_mut() {
            Some(last) if mark.0 - last.0 < MARK_NEAR => {
                if mark.1 > last.1 {
                    (last.1, last.2) = (mark.1, mark.2);
                }
                last.3 += 1;
            }
            _ => merged.push(mark),
        }
    }
    for (x, severity, finding, count) in merged {
        let word = severity.word();
        let object = report.findings.get(finding).map(|finding| format!("{}: {}", finding.code, finding.object));
        let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        let _ = writeln!(
            body,
            "<g class=\"mark-{word}\"><use href=\"#s-{word}\" x=\"{x:.2}%\" y=\"{:.0}\"><title>{}{more}</title></use></g>",
            row.bar + BAR + 17.0,
            Text(&object.unwrap_or_default())
        );
    }
}

/// At least 2 pixels wide.
fn rect(from: f64, to: f64, y: f64, height: f64, class: &str, round: f64) -> String {
    let width = (to - from).max(0.15);
    format!(
        "<rect class=\"{class}\" x=\"{:.2}%\" y=\"{y:.0}\" width=\"{width:.2}%\" height=\"{height:.0}\" rx=\"{round:.0}\"/>",
        from.min(99.0 - 0.15)
    )
}

/// Ranges that overlap or lie closer than `near` as one, ascending.
fn joined(mut ranges: Vec<(f64, f64)>, near: f64) -> Vec<(f64, f64)> {
    ranges.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut joined: Vec<(f64, f64)> = Vec::new();
    for (from, to) in ranges {
        match joined.last_mut() {
            Some(last) if from - last.1 <= near => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

fn defs() -> String {
    let mut text = "<defs>\n".to_owned();
    for word in ["harmless", "warning", "unknown", "critical"] {
        let _ = writeln!(
            text,
            "<pattern id=\"hatch-{word}\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
             <line class=\"hatch-{word}\" x1=\"1\" y1=\"0\" x2=\"1\" y2=\"5\" stroke-width=\"1.6\"/></pattern>"
        );
    }
    for word in ["warning", "unknown", "critical"] {
        let _ = writeln!(text, "<g id=\"s-{word}\"><use href=\"#i-{word}\" transform=\"scale(.8)\"/></g>");
    }
    text + "<path id=\"backup\" d=\"M-5.5-9h11L0 0z\"/>\n<path id=\"tick\" d=\"M-.6-8h1.2v8h-1.2z\"/>\n</defs>\n"
}

/// Only what is in the picture.
fn legend(report: &Report) -> String {
    let svg = |inner: &str| format!("<svg width=\"22\" height=\"14\" aria-hidden=\"true\">{inner}</svg>");
    let mut entries: Vec<(String, &str)> =
        vec![(svg("<rect class=\"wal\" y=\"1\" width=\"22\" height=\"12\" rx=\"3\"/>"), "WAL that is there")];
    let missing = report.timelines.iter().flat_map(|lane| &lane.stretches).any(|stretch| !stretch.present);
    if missing {
        entries.push((
            svg("<rect class=\"edge-critical\" x=\".5\" y=\"1.5\" width=\"21\" height=\"11\"/>"),
            "WAL that is missing; grey where that hurts nothing",
        ));
    }
    if !report.windows.is_empty() {
        entries
            .push((svg("<rect class=\"window\" y=\"5\" width=\"22\" height=\"4\" rx=\"2\"/>"), "can be recovered to"));
    }
    let has = |state| report.backups.iter().any(|backup| backup.state == state);
    for (state, class, text) in [
        (State::Usable, "backup", "base backup"),
        (State::Unfinished, "backup-unfinished", "unfinished base backup"),
        (State::Damaged, "backup-damaged", "damaged base backup"),
        (State::Unknown, "backup-unknown", "base backup that could not be looked at"),
    ] {
        if has(state) {
            entries.push((svg(&format!("<use href=\"#backup\" class=\"{class}\" x=\"11\" y=\"12\"/>")), text));
        }
    }
    if report.timelines.iter().any(|lane| lane.fork.is_some()) {
        entries.push((
            svg("<line class=\"fork\" x1=\"11\" x2=\"11\" y1=\"0\" y2=\"7\"/><circle class=\"forkdot\" cx=\"11\" cy=\"8\" r=\"4\"/>"),
            "a timeline begins",
        ));
    }
    for severity in [Severity::Critical, Severity::Unknown, Severity::Warning] {
        if report.timelines.iter().flat_map(|lane| &lane.spots).any(|spot| spot.severity == severity) {
            let word = severity.word();
            let mark = svg(&format!("<g class=\"mark-{word}\"><use href=\"#s-{word}\" x=\"11\" y=\"7\"/></g>"));
            entries.push((mark, severity.word()));
        }
    }
    let items: String = entries.iter().map(|(mark, text)| format!("<li>{mark}{text}</li>\n")).collect();
    format!("<ul class=\"legend\">\n{items}</ul>\n")
}
