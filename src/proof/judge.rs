//! Whom it hurts: defects become findings.
//!
//! In: a [`Survey`] and the [`Defect`]s of all checks. Out: [`Finding`]s, worst first: how bad, which base backups, which
//! recoveries end where, what to do. Never: looks at an archive; drops a defect, however harmless.
//!
//! The policy, in one place ([`Judge::severity`]):
//!
//! ```text
//! critical   recovery from the newest usable base backup to the newest state ends early; or no base backup is usable
//! unknown    it could not be looked at, and somebody needs it
//! warning    only older base backups, or ways that are not the main line, need it; or it will break something soon
//! harmless   nobody needs it: older than the oldest base backup, on a timeline that no base backup leads to
//! ```
//!
//! The newest state is the end of what recovery by `latest` follows from the newest usable base backup, and the end of the
//! line with the highest number that it can reach, or of one that was clearly written later, where those are others.

use super::facts::Level;
use super::finding::{Breaks, Defect, Finding, FindingCode, Place, Severity};
use super::names::range_text;
use super::survey::{BackupFacts, Survey, stretches};
use crate::error::Error;
use crate::layout::BackupName;
use crate::pg::{Lsn, SegmentNo, TimelineId};
use std::collections::BTreeSet;

/// Judges them all. Sorted: worst first, then by place.
pub fn judge(survey: &Survey, defects: Vec<Defect>) -> Vec<Finding> {
    let judge = Judge::new(survey, &defects);
    let mut findings: Vec<Finding> = defects.into_iter().map(|defect| judge.finding(defect)).collect();
    findings.extend(judge.ruined.iter().filter_map(|ruin| judge.ruin(ruin)));
    findings.sort_by(|a, b| {
        b.severity.cmp(&a.severity).then_with(|| a.place.cmp(&b.place)).then_with(|| a.code.cmp(&b.code))
    });
    findings
}

/// The finding on an archive that could not be listed: nothing is known of it.
pub fn unread(url: &str, error: &Error) -> Finding {
    Finding {
        code: FindingCode::ArchiveUnread,
        severity: Severity::Unknown,
        place: Place::Archive,
        object: url.to_owned(),
        timeline: None,
        first_segment: None,
        last_segment: None,
        lsn: None,
        what: format!("[{}] {}", error.code(), error.chain()),
        consequence: "Nothing could be looked at, so nothing can be said.".to_owned(),
        next: error.advice().unwrap_or(FindingCode::ArchiveUnread.next()).to_owned(),
        hurts: Vec::new(),
        level: Level::Names,
        acknowledged: None,
    }
}

/// Codes that are at least a warning, whatever they break: somebody must look.
const AT_LEAST_A_WARNING: &[FindingCode] = &[
    FindingCode::ArchiveClusters,
    FindingCode::ArchiveStale,
    FindingCode::SegmentMisfit,
    FindingCode::SegmentStray,
    FindingCode::SegmentForeign,
    FindingCode::SegmentDiffers,
    FindingCode::ForkContradicts,
    FindingCode::HistoryDisagrees,
    FindingCode::TimelineOther,
    FindingCode::BackupStale,
    FindingCode::WindowShort,
    FindingCode::AckExpired,
    FindingCode::LedgerVanished,
];

/// One way: from a base backup to the end of a timeline.
struct Way<'a> {
    backup: &'a BackupFacts,
    to: TimelineId,
    /// Which segments of which timelines it reads.
    reads: Vec<(TimelineId, SegmentNo, SegmentNo)>,
    /// From the newest usable base backup to the newest state.
    is_main: bool,
    /// Where the first defect of all ends it.
    ends: Option<Lsn>,
}

/// A way that a defect of the WAL interrupts.
struct Hit<'a> {
    way: &'a Way<'a>,
    /// Where recovery ends.
    at: Lsn,
    /// Before the backup is consistent.
    ruins: bool,
}

/// A base backup that its WAL makes useless.
struct Ruin {
    backup: BackupName,
    /// The defect that does, for people.
    by: String,
    level: Level,
    /// Its own finding is there already.
    told: bool,
}

struct Judge<'a> {
    survey: &'a Survey,
    /// Base backups that can be restored, oldest first.
    usable: Vec<&'a BackupFacts>,
    ways: Vec<Way<'a>>,
    ruined: Vec<Ruin>,
    /// What recovery by `latest` from the newest usable one follows, and what was written last.
    main: Vec<TimelineId>,
}

impl<'a> Judge<'a> {
    fn new(survey: &'a Survey, defects: &[Defect]) -> Self {
        let broken: BTreeSet<BackupName> = defects
            .iter()
            .filter(|one| one.breaks == Breaks::Backup && one.code != FindingCode::BackupWal)
            .filter_map(|one| match one.place {
                Place::Backup(name) => Some(name),
                _ => None,
            })
            .collect();
        let is_whole = |one: &&BackupFacts| one.is_usable() && !broken.contains(&one.name);
        let usable: Vec<&BackupFacts> = survey.backups.iter().filter(is_whole).collect();
        let main = usable.last().map(|newest| main_lines(survey, newest)).unwrap_or_default();
        let ways = ways(survey, &usable, &main);
        let mut judge = Judge { survey, usable, ways, ruined: Vec::new(), main };
        let replay = || defects.iter().filter(|one| one.breaks == Breaks::Replay);
        for way in 0..judge.ways.len() {
            let ends =
                judge.ways.get(way).and_then(|way| replay().filter_map(|one| Some(judge.hit_of(way, one)?.at)).min());
            if let Some(way) = judge.ways.get_mut(way) {
                way.ends = ends;
            }
        }
        judge.ruined = judge.find_ruins(defects);
        judge
    }

    fn find_ruins(&self, defects: &[Defect]) -> Vec<Ruin> {
        let mut ruined: Vec<Ruin> = Vec::new();
        let mut push = |backup, defect: &Defect, told| {
            if !ruined.iter().any(|one| one.backup == backup) {
                ruined.push(Ruin { backup, by: defect.object.clone(), level: defect.level, told });
            }
        };
        for defect in defects {
            if let (FindingCode::BackupWal, Place::Backup(name)) = (defect.code, &defect.place) {
                push(*name, defect, true);
            }
        }
        for defect in defects.iter().filter(|one| one.breaks == Breaks::Replay) {
            self.hits(defect).iter().filter(|hit| hit.ruins).for_each(|hit| push(hit.way.backup.name, defect, false));
        }
        ruined
    }

    /// Every usable base backup is ruined by its WAL.
    fn none_is_left(&self) -> bool {
        self.usable.iter().all(|one| self.is_ruined(one.name))
    }

    fn is_ruined(&self, name: BackupName) -> bool {
        self.ruined.iter().any(|one| one.backup == name)
    }

    /// The ways that a defect of the WAL interrupts.
    fn hits(&self, defect: &Defect) -> Vec<Hit<'_>> {
        self.ways.iter().filter_map(|way| self.hit_of(way, defect)).collect()
    }

    fn hit_of<'w>(&self, way: &'w Way<'w>, defect: &Defect) -> Option<Hit<'w>> {
        let Place::Wal { timeline: on, first, last } = defect.place else { return None };
        let lsn = defect.lsn;
        let size = self.survey.size;
        let (_, from, to) = way.reads.iter().find(|(timeline, ..)| *timeline == on)?;
        let (at, end) = (first.max(*from), last.min(*to));
        if at > end {
            return None;
        }
        let begin = at.start(size)?;
        // The exact place, where it lies in the segment at which this way comes by.
        let at_lsn = lsn.filter(|lsn| at == first && *lsn >= begin).unwrap_or(begin);
        let ruins = match way.backup.stop {
            Some(stop) => at_lsn < stop,
            None => at <= way.backup.first_segment(size),
        };
        Some(Hit { way, at: at_lsn.max(way.backup.start), ruins })
    }

    fn finding(&self, defect: Defect) -> Finding {
        let hits =
            if matches!(defect.breaks, Breaks::Replay | Breaks::Unknown) { self.hits(&defect) } else { Vec::new() };
        let severity = self.severity(&defect, &hits);
        let consequence = self.consequence(&defect, &hits, severity);
        let hurts = self.hurts(&defect, &hits);
        self.make(defect, severity, consequence, hurts)
    }

    fn make(&self, defect: Defect, severity: Severity, consequence: String, hurts: Vec<BackupName>) -> Finding {
        let (first_segment, last_segment) = defect.place.segments(self.survey.size).unzip();
        Finding {
            code: defect.code,
            severity,
            timeline: match defect.place {
                Place::Wal { timeline, .. } | Place::History(timeline) => Some(timeline),
                _ => None,
            },
            place: defect.place,
            object: defect.object,
            first_segment,
            last_segment,
            lsn: defect.lsn,
            what: defect.what,
            consequence,
            next: defect.code.next().to_owned(),
            hurts,
            level: defect.level,
            acknowledged: None,
        }
    }

    /// The policy.
    fn severity(&self, defect: &Defect, hits: &[Hit<'_>]) -> Severity {
        let by_stakes = match (defect.breaks, &defect.place) {
            // Proven objects never change: whoever changed one can have changed others.
            _ if defect.code == FindingCode::LedgerChanged => Severity::Critical,
            (Breaks::Nothing, _) => Severity::Harmless,
            (Breaks::Unknown, Place::Wal { .. }) if hits.is_empty() && !self.usable.is_empty() => Severity::Harmless,
            (Breaks::Unknown, _) => Severity::Unknown,
            (Breaks::Replay, Place::Wal { .. }) => self.severity_of_wal(hits),
            // Its name is no place in the WAL, so no recovery comes by.
            (Breaks::Replay, Place::Object(_)) => Severity::Warning,
            (Breaks::Replay | Breaks::Backup, Place::History(timeline)) => {
                self.severity_of_history(defect.code, *timeline)
            }
            (Breaks::Rows, Place::Backup(name)) if self.usable.iter().all(|one| one.name == *name) => {
                Severity::Critical
            }
            (Breaks::Rows, _) => Severity::Warning,
            (Breaks::Replay | Breaks::Backup, Place::Backup(_)) if !self.none_is_left() => Severity::Warning,
            (Breaks::Replay | Breaks::Backup, _) => Severity::Critical,
        };
        let floor = AT_LEAST_A_WARNING.contains(&defect.code);
        if floor { by_stakes.max(Severity::Warning) } else { by_stakes }
    }

    fn severity_of_wal(&self, hits: &[Hit<'_>]) -> Severity {
        if self.usable.is_empty() {
            // Nobody here needs it; whoever has a base backup elsewhere does.
            return Severity::Warning;
        }
        let no_backup_is_left = self.none_is_left() && hits.iter().any(|hit| hit.ruins);
        match hits {
            [] => Severity::Harmless,
            _ if no_backup_is_left || hits.iter().any(|hit| hit.way.is_main) => Severity::Critical,
            _ => Severity::Warning,
        }
    }

    fn severity_of_history(&self, code: FindingCode, timeline: TimelineId) -> Severity {
        let Some(newest) = self.usable.last() else { return Severity::Warning };
        let asked = self.survey.timelines.latest(newest.timeline);
        let is_newest = match code {
            // The server reads the file that its search ends at, and stops when it cannot.
            FindingCode::HistoryDamaged => asked == timeline,
            FindingCode::HistoryUnreachable => self.main.contains(&timeline) && asked < timeline,
            FindingCode::HistoryMissing => self.is_lost_and_newest(timeline),
            _ => false,
        };
        let hurts = !self.hurt_by_history(code, timeline).is_empty();
        match (is_newest, hurts) {
            (true, _) => Severity::Critical,
            (false, true) => Severity::Warning,
            (false, false) => Severity::Harmless,
        }
    }

    /// No base backup leads to it, and it goes as far as the main line or further, but not so far that it is a stray.
    fn is_lost_and_newest(&self, timeline: TimelineId) -> bool {
        let survey = self.survey;
        let own = self.usable.iter().any(|one| survey.route(one, timeline).is_some());
        let Some(last) = survey.last_stored(timeline).filter(|_| !own) else { return false };
        let main = self.main.iter().filter_map(|one| survey.last_stored(*one)).max();
        let Some(main) = main else { return true };
        let first = survey.extents.get(&timeline).map_or(last, |extent| extent.first);
        // The server that was promoted went on where the main line ends, give or take what was lost with it.
        let near = first.0.saturating_sub(main.0).saturating_mul(survey.size.bytes()) < 1 << 40;
        let written = |one: TimelineId| survey.written(one);
        let later = self.main.iter().all(|one| written(*one) < written(timeline));
        near && (last >= main || later)
    }

    /// Base backups that a history file in this state keeps from where they could lead.
    fn hurt_by_history(&self, code: FindingCode, timeline: TimelineId) -> Vec<&'a BackupFacts> {
        let survey = self.survey;
        let latest = |one: &BackupFacts| survey.timelines.latest(one.timeline);
        let is_hurt = |one: &&&BackupFacts| match code {
            FindingCode::HistoryDamaged => one.timeline <= timeline && latest(one) >= timeline,
            FindingCode::HistoryUnreachable => survey.route(one, timeline).is_some() && latest(one) < timeline,
            FindingCode::HistoryMissing => one.timeline < timeline && latest(one) < timeline,
            _ => false,
        };
        self.usable.iter().filter(is_hurt).copied().collect()
    }

    fn hurts(&self, defect: &Defect, hits: &[Hit<'_>]) -> Vec<BackupName> {
        let hurt: BTreeSet<BackupName> = match (&defect.place, defect.breaks) {
            (_, Breaks::Nothing) => BTreeSet::new(),
            (Place::Backup(name), _) => BTreeSet::from([*name]),
            (Place::History(timeline), _) => {
                self.hurt_by_history(defect.code, *timeline).iter().map(|one| one.name).collect()
            }
            _ => hits.iter().map(|hit| hit.way.backup.name).collect(),
        };
        // Oldest first, as they are ordered everywhere.
        self.survey.backups.iter().map(|one| one.name).filter(|name| hurt.contains(name)).collect()
    }

    fn consequence(&self, defect: &Defect, hits: &[Hit<'_>], severity: Severity) -> String {
        match (&defect.place, defect.breaks) {
            (_, Breaks::Nothing) => self.consequence_of_oddity(defect),
            (Place::Wal { .. }, Breaks::Replay) => self.consequence_of_wal(defect, hits),
            (Place::Wal { .. }, Breaks::Unknown) if severity == Severity::Harmless => self.nobody_needs(defect),
            _ if defect.code == FindingCode::ArchiveEmpty => "Nothing was found, so nothing can be said.".to_owned(),
            (_, Breaks::Unknown) => "It is not known whether anything could be recovered with it.".to_owned(),
            (Place::History(timeline), _) => self.consequence_of_history(defect.code, *timeline),
            (Place::Backup(name), Breaks::Rows) => {
                format!("A restore of {} may have wrong rows in this relation.", self.called(*name))
            }
            (Place::Backup(name), _) => {
                format!("{} cannot be restored; {}.", self.called(*name), self.what_is_left(*name))
            }
            _ if defect.code == FindingCode::BackupNone => {
                "Nothing can be recovered from this archive alone.".to_owned()
            }
            _ => String::new(),
        }
    }

    /// What can be restored instead of this one.
    fn what_is_left(&self, but: BackupName) -> String {
        let newest = self.usable.iter().rev().find(|one| one.name != but && !self.is_ruined(one.name));
        newest.map_or_else(
            || "there is no other that can".to_owned(),
            |newest| format!("the newest that can is {}", describe(newest)),
        )
    }

    fn called(&self, name: BackupName) -> String {
        let found = self.survey.backups.iter().find(|one| one.name == name);
        found.map_or_else(|| name.to_string(), describe)
    }

    fn consequence_of_wal(&self, defect: &Defect, hits: &[Hit<'_>]) -> String {
        if hits.is_empty() {
            return self.nobody_needs(defect);
        }
        let mut sentences = Vec::new();
        let ruined = backups_of(hits.iter().filter(|hit| hit.ruins));
        let main: Vec<&Hit<'_>> = hits.iter().filter(|hit| !hit.ruins && self.main.contains(&hit.way.to)).collect();
        let side: Vec<&Hit<'_>> = hits.iter().filter(|hit| !hit.ruins && !self.main.contains(&hit.way.to)).collect();
        let ended = if main.is_empty() { &side } else { &main };
        if let Some(newest) = ended.last() {
            let others = backups_of(ended.iter().copied()).len() - 1;
            let older = match others {
                0 => String::new(),
                1 => " and from 1 older base backup".to_owned(),
                more => format!(" and from {more} older base backups"),
            };
            let to = if main.is_empty() { format!(" to timeline {}", newest.way.to) } else { String::new() };
            let later = match self.later(newest, hits) {
                Some(other) => format!("later states need {}", describe(other)),
                None => format!("later states, up to the end of {}, are out of reach", self.end_of(newest.way)),
            };
            // Another defect may end it before.
            let ends = match newest.way.ends {
                Some(first) if first < newest.at => "would not get past",
                _ => "ends at",
            };
            sentences.push(format!(
                "Recovery from {}{older}{to} {ends} {}; {later}.",
                describe(newest.way.backup),
                newest.at
            ));
            if main.is_empty() {
                let lines: Vec<String> = self.main.iter().map(|one| format!("timeline {one}")).collect();
                sentences.push(format!("The main line ({}) does not need it.", lines.join(", ")));
            }
        }
        if let Some(newest) = ruined.last() {
            let newest_of_all = self.usable.last().is_some_and(|one| one.name == newest.name);
            let newest_of_all = if newest_of_all { ", the newest base backup," } else { "" };
            let stop = newest.stop.map(|stop| format!(": it needs the WAL up to {stop}")).unwrap_or_default();
            sentences.push(match ruined.len() - 1 {
                0 => format!("{}{newest_of_all} cannot be made consistent{stop}.", describe(newest)),
                more => format!("{}{newest_of_all} and {more} older cannot be made consistent.", describe(newest)),
            });
        }
        sentences.join(" ")
    }

    /// The oldest usable base backup behind a place that this defect does not hurt, on the same way.
    fn later(&self, hit: &Hit<'_>, hits: &[Hit<'_>]) -> Option<&'a BackupFacts> {
        let is_hit = |name: BackupName| hits.iter().any(|one| one.way.backup.name == name && one.way.to == hit.way.to);
        let leads = |one: &&&BackupFacts| {
            one.start >= hit.at
                && !is_hit(one.name)
                && !self.is_ruined(one.name)
                && self.ways.iter().any(|way| way.backup.name == one.name && way.to == hit.way.to)
        };
        self.usable.iter().find(leads).copied()
    }

    fn end_of(&self, way: &Way<'_>) -> String {
        let last = way.reads.last().map(|(timeline, _, last)| range_text(*timeline, *last, *last, self.survey.size));
        last.unwrap_or_else(|| format!("timeline {}", way.to))
    }

    fn nobody_needs(&self, defect: &Defect) -> String {
        let Place::Wal { timeline, .. } = defect.place else { return "No base backup needs it.".to_owned() };
        let oldest = self.usable.iter().find(|one| {
            self.ways.iter().any(|way| way.backup.name == one.name && way.reads.iter().any(|(on, ..)| *on == timeline))
        });
        match oldest {
            _ if self.usable.is_empty() => {
                "No base backup of this archive could use it; one elsewhere could.".to_owned()
            }
            Some(oldest) => {
                let on = self.survey.timelines.children(timeline);
                let left =
                    on.last().map(|_| format!(" or follows another timeline than {timeline}")).unwrap_or_default();
                format!(
                    "No base backup needs it: each that leads to timeline {timeline} starts behind it{left}; the oldest is {}.",
                    describe(oldest)
                )
            }
            None => format!("No base backup leads to timeline {timeline}."),
        }
    }

    fn consequence_of_history(&self, code: FindingCode, timeline: TimelineId) -> String {
        let hurt = self.hurt_by_history(code, timeline);
        let end = self.survey.last_stored(timeline).map(|last| range_text(timeline, last, last, self.survey.size));
        let end = end.map(|end| format!(", which goes to {end},")).unwrap_or_default();
        let Some(newest) = hurt.last() else {
            return format!("No base backup is on the way to timeline {timeline}.");
        };
        let others = match hurt.len() - 1 {
            0 => String::new(),
            1 => " and from 1 other base backup".to_owned(),
            more => format!(" and from {more} other base backups"),
        };
        let from = format!("{}{others}", describe(newest));
        let asked = self.survey.timelines.latest(newest.timeline);
        match code {
            FindingCode::HistoryDamaged if asked == timeline => {
                format!("Recovery from {from} by `latest` is refused: the server stops at this file.")
            }
            FindingCode::HistoryDamaged => {
                format!(
                    "Recovery from {from} cannot be told to end on timeline {timeline}; by `latest` it goes to timeline {asked} without it."
                )
            }
            FindingCode::HistoryUnreachable => {
                format!(
                    "Recovery from {from} by `latest` ends on timeline {asked}; timeline {timeline}{end} must be named."
                )
            }
            _ => format!(
                "Recovery from {from} by `latest` ends on timeline {asked}, in silence; timeline {timeline}{end} is out of its reach."
            ),
        }
    }

    fn consequence_of_oddity(&self, defect: &Defect) -> String {
        let text = match defect.code {
            FindingCode::ArchiveClusters => {
                "A recovery may be handed another cluster's files; wal-r refuses them, other tools do not."
            }
            FindingCode::SegmentTwice => "Tools differ in which of them they take.",
            FindingCode::SegmentStray => {
                "wal-fetch takes what lies before it for a gap, so a recovery stops where the archive ends instead of opening."
            }
            FindingCode::HistoryDisagrees => {
                "Recovery follows one story or the other, depending on the timeline it is told to reach."
            }
            FindingCode::TimelineOther => "A recovery that names no timeline does not end where it should.",
            FindingCode::TimelineNew => "A recovery by `latest` ends at the switch point.",
            FindingCode::ForkContradicts => "Recovery to this timeline leaves its parent at the wrong place.",
            _ => "",
        };
        text.to_owned()
    }

    /// The finding on a base backup that its WAL makes useless.
    fn ruin(&self, ruin: &Ruin) -> Option<Finding> {
        if ruin.told {
            return None;
        }
        let backup = self.usable.iter().find(|one| one.name == ruin.backup)?;
        let stop = backup.stop.map(|stop| format!(" to {stop}")).unwrap_or_default();
        let defect = Defect {
            code: FindingCode::BackupWal,
            place: Place::Backup(backup.name),
            object: backup.name.to_string(),
            lsn: Some(backup.start),
            what: format!(
                "of the WAL from {}{stop}, which it needs to be consistent, not all is good: {}",
                backup.start, ruin.by
            ),
            breaks: Breaks::Backup,
            level: ruin.level,
        };
        Some(self.finding(defect))
    }
}

/// The timelines on which the newest state lies: what `latest` follows, and the one with the highest number, or one that
/// was clearly written later.
fn main_lines(survey: &Survey, newest: &BackupFacts) -> Vec<TimelineId> {
    let led = |timeline: TimelineId| survey.is_alive(timeline) && survey.route(newest, timeline).is_some();
    let followed = Some(survey.timelines.latest(newest.timeline)).filter(|one| led(*one));
    let candidates = survey.all_timelines().into_iter().filter(|one| led(*one));
    let last = candidates.reduce(|best, one| if survey.is_later(best, one) { best } else { one });
    let mut main: Vec<TimelineId> = followed.into_iter().chain(last).collect();
    main.dedup();
    main
}

/// Every way from a usable base backup to the end of a timeline.
fn ways<'a>(survey: &'a Survey, usable: &[&'a BackupFacts], main: &[TimelineId]) -> Vec<Way<'a>> {
    let size = survey.size;
    let mut ways = Vec::new();
    for to in survey.all_timelines() {
        let Some(history) = survey.timelines.history(to) else { continue };
        let stretches = stretches(&history, size);
        let own = survey.backups.iter().filter(|one| one.timeline == to && one.is_finished());
        let proven = own.map(|one| one.last_segment(size)).chain(survey.last_stored(to)).max();
        // A timeline without any file yet: what leads to it still has to be there.
        let end = proven.or_else(|| history.begin().and_then(|begin| begin.segment(size).previous()));
        for backup in usable {
            if survey.route(backup, to).is_none() {
                continue;
            }
            let first = backup.first_segment(size);
            let last = end.unwrap_or(first).max(backup.last_segment(size));
            let cut =
                stretches.iter().map(|(timeline, from, until)| (*timeline, (*from).max(first), (*until).min(last)));
            let reads: Vec<_> = cut.filter(|(_, from, until)| from <= until).collect();
            let is_main = main.contains(&to) && usable.last().is_some_and(|newest| newest.name == backup.name);
            ways.push(Way { backup, to, reads, is_main, ends: None });
        }
    }
    ways
}

/// `base_… (2026-11-20 20:34:31Z)`.
fn describe(backup: &BackupFacts) -> String {
    match backup.finished {
        Some(time) => format!("{} ({})", backup.name, time.strftime("%Y-%m-%d %H:%M:%SZ")),
        None => backup.name.to_string(),
    }
}

/// The base backups of hits, each once, oldest first.
fn backups_of<'h>(hits: impl Iterator<Item = &'h Hit<'h>>) -> Vec<&'h BackupFacts> {
    let mut backups: Vec<&BackupFacts> = Vec::new();
    for hit in hits {
        if !backups.iter().any(|one| one.name == hit.way.backup.name) {
            backups.push(hit.way.backup);
        }
    }
    backups.sort_by_key(|one| one.start);
    backups
}

#[cfg(test)]
mod tests;
