//! A wish: can this time, place or restore point be reached, how, and if not, what can?
//!
//! In: [`Windows`], a [`Wish`]. Out: [`Answered`]: the way that replays least, or the nearest that can be had on both
//! sides, and why. Never: calls a state by a time that is not its own: the state at the last commit is reached by that
//! commit's place, as a server refuses its time.

use super::{Earliest, Edge, Line, Reach, Stop, Windows};
use crate::layout::BackupName;
use crate::pg::{Lsn, TimelineId};
use jiff::{Timestamp, ToSpan};
use serde::Serialize;

/// What somebody wants back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// The state at this time.
    Time(Timestamp),
    /// The state at this place in the WAL.
    Lsn(Lsn),
    /// The state at this restore point.
    Name(String),
}

/// A recovery target, as backup-fetch takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// `--recovery-target-time`
    Time(Timestamp),
    /// `--recovery-target-lsn`
    Lsn(Lsn),
    /// `--recovery-target-name`
    Name(String),
}

/// A recovery that ends where it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// From this base backup.
    pub backup: BackupName,
    /// Along this timeline.
    pub timeline: TimelineId,
    /// `latest` is that timeline, so it need not be named.
    pub by_latest: bool,
    /// To this target.
    pub target: Target,
    /// Bytes of WAL to replay: up to the end of the segment in which it stops. `None` where that is not known.
    pub replay_bytes: Option<u64>,
    /// backup-fetch would not take this target by itself: by what names and sentinels say, the backup ended too late.
    pub beyond_names: bool,
    /// Every record on the way was checked.
    pub proven: bool,
    /// What is known against the base backup, although it can be used.
    pub doubt: Option<String>,
}

/// The nearest that can be had on one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Near {
    /// The state at this time.
    pub time: Timestamp,
    /// How.
    pub way: Way,
}

/// The answer to a wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// What was asked.
    pub wish: Wish,
    /// How it is reached; `None`: it is not.
    pub way: Option<Way>,
    /// Other timelines on which the same time, place or name can be reached.
    pub also_on: Vec<TimelineId>,
    /// Without a way: the latest state before it.
    pub before: Option<Near>,
    /// Without a way: the earliest state behind it.
    pub after: Option<Near>,
    /// Without a way: why, one clause each.
    pub because: Vec<String>,
}

/// Answers a wish. `only`: along this timeline. `major` as in the survey: up to 906 there is no target by LSN.
pub fn can_reach(windows: &Windows, wish: &Wish, only: Option<TimelineId>, major: Option<u32>) -> Answered {
    let lines: Vec<&Line> =
        windows.timelines.iter().filter(|line| only.is_none_or(|only| only == line.timeline)).collect();
    let asking = Asking { lines, has_lsn: major.is_none_or(|major| (10..=99).contains(&major)) };
    let ways: Vec<Way> = match wish {
        Wish::Time(time) => asking.ways(|line, reach| asking.to_time(line, reach, *time)),
        Wish::Lsn(lsn) => asking.ways(|line, reach| asking.to_lsn(line, reach, *lsn)),
        Wish::Name(name) => asking.ways(|line, reach| to_name(line, reach, name)),
    };
    let mut answered =
        Answered { wish: wish.clone(), way: None, also_on: Vec::new(), before: None, after: None, because: Vec::new() };
    if let Some(best) = best(ways.iter()) {
        answered.also_on = ways.iter().map(|way| way.timeline).filter(|one| *one != best.timeline).collect();
        answered.also_on.sort_unstable();
        answered.also_on.dedup();
        answered.way = Some(best.clone());
        return answered;
    }
    match wish {
        Wish::Time(time) => {
            (answered.before, answered.after) = asking.around(|edge| edge.time <= *time, |at| at.time > *time);
            answered.because = asking.why_time(*time);
        }
        Wish::Lsn(lsn) => {
            let fits = |reach: &Reach| reach.end <= *lsn;
            let before = asking.ways(|line, reach| asking.to_end(line, reach).filter(|_| fits(reach)));
            answered.before = best(before.iter()).and_then(|way| asking.near_end(way));
            let after =
                asking.ways(|line, reach| asking.to_begin(line, reach).filter(|_| reach.consistent > Some(*lsn)));
            answered.after =
                after.iter().min_by_key(|way| asking.reach(way).map(|reach| reach.start)).and_then(|way| {
                    let time = asking.reach(way)?.earliest?.time;
                    Some(Near { time, way: way.clone() })
                });
            answered.because = asking.why_lsn(*lsn);
        }
        Wish::Name(name) => {
            let point = asking.lines.iter().flat_map(|line| &line.restore_points).find(|point| point.name == *name);
            if let Some(time) = point.and_then(|point| point.time) {
                (answered.before, answered.after) = asking.around(|edge| edge.time <= time, |at| at.time > time);
            }
            answered.because = asking.why_name(name);
        }
    }
    answered
}

/// `latest` before what must be named; what backup-fetch takes by itself before what it does not; then the least replay,
/// which is that of the newest base backup.
fn best<'w>(ways: impl Iterator<Item = &'w Way>) -> Option<&'w Way> {
    ways.max_by_key(|way| {
        let replay = way.replay_bytes.unwrap_or(u64::MAX);
        (way.doubt.is_none(), way.by_latest, !way.beyond_names, std::cmp::Reverse(replay), way.timeline, way.backup)
    })
}

struct Asking<'w> {
    lines: Vec<&'w Line>,
    has_lsn: bool,
}

impl<'w> Asking<'w> {
    fn ways(&self, way: impl Fn(&'w Line, &'w Reach) -> Option<Way>) -> Vec<Way> {
        let usable = |line: &&'w Line| {
            let line: &'w Line = line;
            line.backups
                .iter()
                .filter(|reach| reach.is_usable())
                .filter_map(|reach| way(line, reach))
                .collect::<Vec<_>>()
        };
        self.lines.iter().flat_map(usable).collect()
    }

    fn reach(&self, way: &Way) -> Option<&'w Reach> {
        let line = self.lines.iter().find(|line| line.timeline == way.timeline)?;
        line.backups.iter().find(|reach| reach.backup == way.backup)
    }

    fn to_time(&self, line: &Line, reach: &Reach, time: Timestamp) -> Option<Way> {
        if reach.reaches_time(time) {
            let stops_in = line.pace.iter().find(|pace| Some(pace.end) > reach.consistent && pace.max > time);
            let replay = stops_in.map(|pace| pace.end.0.saturating_sub(reach.start.0));
            let beyond_names = reach.finished.is_none_or(|finished| finished > time);
            return Some(Way { replay_bytes: replay, beyond_names, ..way(line, reach, Target::Time(time)) });
        }
        // The very last one: no server takes its time, but all take its place.
        self.to_end(line, reach).filter(|_| reach.latest.is_some_and(|latest| latest.time == time))
    }

    fn to_lsn(&self, line: &Line, reach: &Reach, lsn: Lsn) -> Option<Way> {
        let inside = self.has_lsn && reach.consistent? <= lsn && lsn <= reach.last_record?;
        let replay_bytes = Some(lsn.0.saturating_sub(reach.start.0));
        let beyond_names = reach.stop.is_none_or(|stop| stop > lsn);
        inside.then(|| Way { replay_bytes, beyond_names, ..way(line, reach, Target::Lsn(lsn)) })
    }

    /// Everything that can be replayed.
    fn to_end(&self, line: &Line, reach: &Reach) -> Option<Way> {
        let latest = reach.latest?;
        let last = reach.last_commit.map_or(latest.lsn, |last| last.lsn.max(latest.lsn));
        if self.has_lsn {
            return self.to_lsn(line, reach, last);
        }
        // Servers without a target by place open at the end of the WAL by themselves, but not at a gap.
        let time = match reach.ends {
            Stop::ArchiveEnds { .. } => latest.time,
            _ => latest.time.checked_sub(1.microsecond()).ok()?,
        };
        let beyond_names = reach.finished.is_none_or(|finished| finished > time);
        let replay_bytes = Some(reach.end.0.saturating_sub(reach.start.0));
        let from = reach.earliest.is_some_and(|earliest| earliest.time <= time);
        from.then(|| Way { replay_bytes, beyond_names, ..way(line, reach, Target::Time(time)) })
    }

    /// The first state.
    fn to_begin(&self, line: &Line, reach: &Reach) -> Option<Way> {
        let time = reach.earliest?.time;
        if reach.reaches_time(time) {
            return self.to_time(line, reach, time);
        }
        self.to_lsn(line, reach, reach.consistent?)
    }

    fn near_end(&self, way: &Way) -> Option<Near> {
        Some(Near { time: self.reach(way)?.latest?.time, way: way.clone() })
    }

    fn around(
        &self,
        is_before: impl Fn(Edge) -> bool,
        is_after: impl Fn(Earliest) -> bool,
    ) -> (Option<Near>, Option<Near>) {
        let time_of = |way: &Way, of: fn(&Reach) -> Option<Timestamp>| self.reach(way).and_then(of);
        let ends = self.ways(|line, reach| self.to_end(line, reach).filter(|_| reach.latest.is_some_and(&is_before)));
        let latest = |reach: &Reach| reach.latest.map(|latest| latest.time);
        let last = ends.iter().filter_map(|way| time_of(way, latest)).max();
        let before = best(ends.iter().filter(|way| time_of(way, latest) == last));
        let begins =
            self.ways(|line, reach| self.to_begin(line, reach).filter(|_| reach.earliest.is_some_and(&is_after)));
        let earliest = |reach: &Reach| reach.earliest.map(|earliest| earliest.time);
        let first = begins.iter().filter_map(|way| time_of(way, earliest)).min();
        let after = best(begins.iter().filter(|way| time_of(way, earliest) == first));
        let near = |time: Option<Timestamp>, way: Option<&Way>| Some(Near { time: time?, way: way?.clone() });
        (near(last, before), near(first, after))
    }

    /// The line that people mean when they name none.
    fn main(&self) -> Option<&'w Line> {
        self.lines.iter().rev().find(|line| line.latest).or(self.lines.last()).copied()
    }

    fn nothing(&self) -> Vec<String> {
        let troubles = self
            .lines
            .iter()
            .flat_map(|line| &line.backups)
            .rev()
            .filter_map(|reach| Some(format!("{} leads nowhere: {}", reach.backup, reach.trouble.as_ref()?)));
        let mut because: Vec<String> = troubles.take(3).collect();
        if because.is_empty() {
            because.push("no base backup leads there".to_owned());
        }
        because
    }

    fn why_time(&self, time: Timestamp) -> Vec<String> {
        let Some(line) = self.main().filter(|line| !line.windows.is_empty()) else { return self.nothing() };
        if line.windows.iter().all(|window| window.to.is_none()) {
            return vec!["no commit time is known of any window".to_owned()];
        }
        if let Some(from) = line.windows.first().and_then(|window| window.from).filter(|from| time < from.time) {
            return vec![format!("the first base backup is consistent at {} only", micros(from.time))];
        }
        let behind = |hole: &&super::Hole| hole.from.is_none_or(|from| from.time <= time);
        let in_hole = |hole: &&super::Hole| behind(hole) && hole.to.is_none_or(|to| time < to.time);
        if let Some(hole) = line.holes.iter().find(in_hole) {
            return hole.because.iter().map(ToString::to_string).collect();
        }
        let Some((window, to)) = line.windows.iter().rev().find_map(|window| Some((window, window.to?))) else {
            return Vec::new();
        };
        let last =
            format!("no commit or abort at or behind that time is in the archive; the last is of {}", micros(to.time));
        vec![last, window.ends.to_string()]
    }

    fn why_lsn(&self, lsn: Lsn) -> Vec<String> {
        if !self.has_lsn {
            return vec!["this version of PostgreSQL has no recovery target by LSN; 10 and later have".to_owned()];
        }
        let Some(line) = self.main().filter(|line| !line.windows.is_empty()) else { return self.nothing() };
        if let Some(first) = line.windows.first().filter(|window| lsn < window.from_lsn) {
            return vec![format!("the first base backup is consistent at {} only", first.from_lsn)];
        }
        let in_hole = |hole: &&super::Hole| hole.from_lsn <= lsn && hole.to_lsn.is_none_or(|to| lsn < to);
        if let Some(hole) = line.holes.iter().find(in_hole) {
            return hole.because.iter().map(ToString::to_string).collect();
        }
        line.windows.last().map(|window| format!("no record starts there: {}", window.ends)).into_iter().collect()
    }

    fn why_name(&self, name: &str) -> Vec<String> {
        let points: Vec<_> = self.lines.iter().flat_map(|line| &line.restore_points).collect();
        if let Some(point) = points.iter().find(|point| point.name == name) {
            let when = point.time.map_or_else(String::new, |time| format!(", made at {}", micros(time)));
            return vec![format!(
                "the restore point is at {}{when}, and no base backup leads to it (or an earlier one of its name comes first)",
                point.lsn
            )];
        }
        let mut names: Vec<&str> =
            points.iter().filter(|one| one.from.is_some()).map(|one| one.name.as_str()).collect();
        names.dedup();
        let known = match names.as_slice() {
            [] => "there is none at all that can be reached".to_owned(),
            names => format!("there are {}", names.iter().rev().take(10).copied().collect::<Vec<_>>().join(", ")),
        };
        vec![format!("no restore point of this name was seen; {known}")]
    }
}

fn to_name(line: &Line, reach: &Reach, name: &str) -> Option<Way> {
    let point = line.restore_points.iter().find(|point| point.name == name && point.lsn >= reach.start)?;
    let reached = reach.consistent? <= point.lsn && point.lsn < reach.end && point.from.is_some();
    let replay_bytes = Some(point.lsn.0.saturating_sub(reach.start.0));
    reached.then(|| Way { replay_bytes, ..way(line, reach, Target::Name(name.to_owned())) })
}

fn way(line: &Line, reach: &Reach, target: Target) -> Way {
    Way {
        backup: reach.backup,
        timeline: line.timeline,
        by_latest: reach.latest_leads_here,
        target,
        replay_bytes: None,
        beyond_names: false,
        proven: reach.proven,
        doubt: reach.doubt.clone(),
    }
}

/// As PostgreSQL writes it, in UTC.
fn micros(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string()
}

impl Way {
    /// The flags of backup-fetch, behind the backup's name.
    pub fn flags(&self) -> Vec<String> {
        let (flag, value) = match &self.target {
            Target::Time(time) => ("--recovery-target-time", micros(*time)),
            Target::Lsn(lsn) => ("--recovery-target-lsn", lsn.to_string()),
            Target::Name(name) => ("--recovery-target-name", name.clone()),
        };
        let mut flags = vec![flag.to_owned(), value];
        if !self.by_latest {
            flags.extend(["--recovery-target-timeline".to_owned(), self.timeline.to_string()]);
        }
        if self.beyond_names {
            flags.push("--trust-target".to_owned());
        }
        flags
    }
}
