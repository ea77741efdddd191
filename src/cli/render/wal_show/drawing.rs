//! Timelines, base backups, runs and gaps as a picture of 80 columns, in letters that every terminal has.
//!
//! In: [`Report`]. Out: lines. Never: hides a gap because it is small: a column in which anything is missing says so.
//!
//! ```text
//!             0/1000000                                    0/10000000
//!               L         B
//! timeline 1  ====!====
//! timeline 2           \=====>
//! ```

use crate::commands::wal_show::{Report, Stretch, Timeline};
use crate::pg::Lsn;
use crate::pg::SegmentNo;
use jiff::Timestamp;

/// Columns of the whole picture.
const WIDTH: usize = 80;

/// Which column a segment is in: as many segments a column as it takes.
struct Scale {
    first: u64,
    segments: u64,
    per_column: u64,
}

impl Scale {
    fn new(report: &Report, width: usize) -> Option<Scale> {
        let stretches = |timeline: &Timeline| {
            let there = timeline.present.iter().chain(&timeline.missing).flat_map(|one| [one.from.0, one.to.0]);
            let backups = timeline.backups.iter().filter(|one| one.finished).map(|one| one.at.0);
            there.chain(backups).collect::<Vec<u64>>()
        };
        let numbers: Vec<u64> = report.timelines.iter().flat_map(stretches).collect();
        let (first, last) = (numbers.iter().min()?, numbers.iter().max()?);
        let segments = (last - first).saturating_add(1);
        Some(Scale { first: *first, segments, per_column: segments.div_ceil(width as u64) })
    }

    fn columns(&self) -> usize {
        usize::try_from(self.segments.div_ceil(self.per_column)).unwrap_or(WIDTH)
    }

    fn column(&self, number: SegmentNo) -> usize {
        usize::try_from(number.0.saturating_sub(self.first) / self.per_column).unwrap_or(WIDTH)
    }

    /// The columns of a stretch.
    fn span(&self, stretch: &Stretch) -> std::ops::RangeInclusive<usize> {
        self.column(stretch.from)..=self.column(stretch.to)
    }
}

/// The picture, with its legend.
pub(super) fn draw(report: &Report, backups: bool) -> String {
    let labels: Vec<String> = report.timelines.iter().map(|one| format!("timeline {}", one.id)).collect();
    let label = labels.iter().map(String::len).max().unwrap_or(0);
    // Two blanks behind the label; the second may hold the stroke of a timeline that begins in the first column.
    let Some(scale) = Scale::new(report, WIDTH - label - 3) else {
        return "Nothing to draw: no segment is there.\n".to_owned();
    };
    let mut lines = vec![format!("{:label$}  {}", "", ruler(report, &scale))];
    for (timeline, name) in report.timelines.iter().zip(&labels) {
        if backups && !timeline.backups.is_empty() {
            lines.push(format!("{:label$}  {}", "", marks(timeline, &scale)));
        }
        lines.push(format!("{name:label$} {}", bar(report, timeline, &scale)));
    }
    lines.push(String::new());
    lines.push(legend(report, &scale, backups));
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The LSN at both ends, and when what lies there was stored.
fn ruler(report: &Report, scale: &Scale) -> String {
    let at = |number: u64| SegmentNo(number).start(report.size).unwrap_or(Lsn(u64::MAX)).to_string();
    let with = |lsn: String, time: Option<Timestamp>| match time {
        Some(time) => format!("{lsn} ({})", time.strftime("%Y-%m-%d")),
        None => lsn,
    };
    let first = report.timelines.iter().filter(|one| one.start_segment.is_some());
    let oldest = first.clone().min_by_key(|one| one.start_segment.map(|name| name.number(report.size).ok()));
    let newest = first.max_by_key(|one| one.end_segment.map(|name| name.number(report.size).ok()));
    let left = with(at(scale.first), oldest.and_then(|one| one.start_written));
    let right = with(at(scale.first.saturating_add(scale.segments)), newest.and_then(|one| one.end_written));
    let room = scale.columns().max(left.len() + right.len() + 2);
    format!("{left}{right:>rest$}", rest = room - left.len())
}

/// Where base backups start.
fn marks(timeline: &Timeline, scale: &Scale) -> String {
    let mut line = vec![' '; scale.columns()];
    for backup in &timeline.backups {
        let mark = match (backup.listed.latest, backup.listed.sentinel.is_some()) {
            (true, _) => 'L',
            (false, true) => 'B',
            (false, false) => 'b',
        };
        // LATEST is seen above all, and a good one above a bad one.
        if let Some(cell) = line.get_mut(scale.column(backup.at))
            && (mark == 'L' || *cell == ' ' || (*cell == 'b' && mark == 'B'))
        {
            *cell = mark;
        }
    }
    line.into_iter().collect()
}

/// What is there and what is missing; begins one column before the scale.
fn bar(report: &Report, timeline: &Timeline, scale: &Scale) -> String {
    let mut line = vec![' '; scale.columns()];
    let mut mark = |stretch: &Stretch, alone: char, with: (char, char)| {
        for column in scale.span(stretch) {
            if let Some(cell) = line.get_mut(column) {
                *cell = if *cell == with.0 || *cell == with.1 { with.1 } else { alone };
            }
        }
    };
    timeline.present.iter().for_each(|stretch| mark(stretch, '=', ('=', '=')));
    timeline.missing.iter().for_each(|stretch| mark(stretch, 'x', ('=', '!')));
    let mut line: Vec<char> = std::iter::once(' ').chain(line).collect();
    if let Some(switch) = timeline.switch_point {
        let column = scale.column(switch.segment(report.size).max(SegmentNo(scale.first)));
        if let Some(cell) = line.get_mut(column).filter(|cell| **cell == ' ') {
            *cell = '\\';
        }
    }
    let end = line.iter().rposition(|cell| *cell != ' ').map_or(0, |last| last + 1);
    line.truncate(end);
    if timeline.followed {
        line.push('>');
    }
    line.into_iter().collect()
}

fn legend(report: &Report, scale: &Scale, backups: bool) -> String {
    let column = match scale.per_column {
        1 => "one column is 1 segment".to_owned(),
        more => format!("one column is {more} segments"),
    };
    let missing = report.timelines.iter().any(|one| !one.missing.is_empty());
    let mut signs = vec!["= there"];
    if missing {
        signs.extend(["x missing", "! partly missing"]);
    }
    if report.timelines.iter().any(|one| one.switch_point.is_some()) {
        signs.push("\\ leaves its parent");
    }
    signs.push("> followed by `latest`");
    if backups {
        signs.push("B base backup");
        signs.push("L LATEST");
        if report.timelines.iter().any(|one| one.backups.iter().any(|backup| backup.listed.sentinel.is_none())) {
            signs.push("b one that is unfinished or unreadable");
        }
    }
    super::findings::wrapped("", &format!("{column}; {}", signs.join(", "))).trim_end().to_owned()
}
