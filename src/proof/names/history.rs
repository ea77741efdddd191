//! History files, and which timelines recovery finds by them.
//!
//! In: a survey. Out: defects. Never: asks for a history that nothing needs: retention takes those of old ancestors.

use super::{defect, range_text};
use crate::codec;
use crate::error::{Code, Error, Verdict};
use crate::layout::ObjectKey;
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, TimelineId};
use crate::proof::finding::{Breaks, Defect, FindingCode, Place};
use crate::proof::survey::{BackupFacts, Survey, why};
use std::collections::BTreeMap;

/// Files that are missing, damaged, unread, or contradict each other or the segments.
pub(super) fn files(survey: &Survey, found: &mut Vec<Defect>) {
    let mut parents: BTreeMap<TimelineId, (TimelineId, Lsn, TimelineId)> = BTreeMap::new();
    for (timeline, node) in survey.timelines.iter() {
        match &node.history {
            None if is_missed(survey, timeline) => found.push(missing(survey, timeline)),
            None => {}
            Some(Err(error)) => found.push(unreadable(survey, timeline, error)),
            Some(Ok(history)) => {
                disagreements(survey, history, &mut parents, found);
                before_its_begin(survey, history, found);
            }
        }
    }
}

/// A timeline without a history, although something lies on older ones that recovery could come from.
fn is_missed(survey: &Survey, timeline: TimelineId) -> bool {
    let older = |one: TimelineId| one < timeline && survey.is_alive(one);
    timeline != TimelineId::FIRST && survey.is_alive(timeline) && survey.all_timelines().into_iter().any(older)
}

fn missing(survey: &Survey, timeline: TimelineId) -> Defect {
    let files = survey.extents.get(&timeline);
    let files = files.map(|extent| format!("{} ", range_text(timeline, extent.first, extent.last, survey.size)));
    let told = told(survey, timeline);
    let what = format!("timeline {timeline} has {}and no history file{told}", files.unwrap_or_default());
    let object = timeline.history_name();
    defect(FindingCode::HistoryMissing, Place::History(timeline), object, what, Breaks::Replay)
}

/// What a history must say, where a descendant's tells it.
fn told(survey: &Survey, timeline: TimelineId) -> String {
    survey.told(timeline).map_or_else(String::new, |history| {
        format!("; by its descendants' histories it must say: {}", must_say(&history))
    })
}

/// The lines of a history on one line: `1 0/A000060, 2 0/F000110`.
pub(super) fn must_say(history: &TimelineHistory) -> String {
    let lines = history.ancestors().iter().map(|line| format!("{} {}", line.timeline, line.switch));
    lines.collect::<Vec<_>>().join(", ")
}

fn unreadable(survey: &Survey, timeline: TimelineId, error: &Error) -> Defect {
    let forms = survey.inventory.histories.get(&timeline).map(Vec::as_slice).unwrap_or_default();
    let no_codec = error.code() == Code::DamagedCodec && forms.iter().all(|form| codec::decoder(form.stored).is_none());
    let object = forms.first().map_or_else(|| timeline.history_name(), |form| form.object.key.to_string());
    let place = Place::History(timeline);
    if error.verdict() == Verdict::Damaged && !no_codec {
        let what = format!("{}{}", why(error), told(survey, timeline));
        return defect(FindingCode::HistoryDamaged, place, object, what, Breaks::Replay);
    }
    defect(FindingCode::HistoryUnread, place, object, why(error), Breaks::Unknown)
}

/// Two files that name another parent or switch point for the same timeline.
fn disagreements(
    survey: &Survey,
    history: &TimelineHistory,
    parents: &mut BTreeMap<TimelineId, (TimelineId, Lsn, TimelineId)>,
    found: &mut Vec<Defect>,
) {
    let ancestors = history.ancestors();
    let children = ancestors.iter().skip(1).map(|next| next.timeline).chain([history.timeline()]);
    for (ancestor, child) in ancestors.iter().zip(children) {
        let says = (ancestor.timeline, ancestor.switch, history.timeline());
        let (parent, switch, by) = *parents.entry(child).or_insert(says);
        if (parent, switch) != (says.0, says.1) {
            let what = format!(
                "it says that timeline {child} left timeline {} at {}; {} says timeline {parent} at {switch}",
                says.0,
                says.1,
                by.history_name()
            );
            let object = object_of(survey, history.timeline());
            let place = Place::History(history.timeline());
            found.push(defect(FindingCode::HistoryDisagrees, place, object, what, Breaks::Nothing));
            return; // one is enough for a file
        }
    }
}

/// Segments of a timeline that lie before the place where its history lets it begin.
fn before_its_begin(survey: &Survey, history: &TimelineHistory, found: &mut Vec<Defect>) {
    let (timeline, size) = (history.timeline(), survey.size);
    let (Some(parent), Some(extent)) = (history.parent(), survey.extents.get(&timeline)) else { return };
    if extent.first < parent.switch.segment(size) {
        let first = range_text(timeline, extent.first, extent.first, size);
        let what = format!(
            "timeline {timeline} left timeline {} at {}, it says; {first} lies before that",
            parent.timeline, parent.switch
        );
        let object = object_of(survey, timeline);
        found.push(defect(FindingCode::ForkContradicts, Place::History(timeline), object, what, Breaks::Nothing));
    }
}

fn object_of(survey: &Survey, timeline: TimelineId) -> String {
    let forms = survey.inventory.histories.get(&timeline);
    let key: Option<&ObjectKey> = forms.and_then(|forms| forms.first()).map(|form| &form.object.key);
    key.map_or_else(|| timeline.history_name(), ToString::to_string)
}

/// Timelines that recovery does not find, or finds when it should not.
pub(super) fn timelines(survey: &Survey, found: &mut Vec<Defect>) {
    let finished: Vec<&BackupFacts> = survey.backups.iter().filter(|one| one.is_finished()).collect();
    for (timeline, node) in survey.timelines.iter() {
        let leading: Vec<&&BackupFacts> = finished.iter().filter(|one| survey.route(one, timeline).is_some()).collect();
        let passed = |one: &&&BackupFacts| survey.timelines.latest(one.timeline) < timeline;
        let readable = matches!(node.history, Some(Ok(_))) || (node.history.is_none() && !is_missed(survey, timeline));
        if survey.is_alive(timeline) {
            if !leading.is_empty() && leading.iter().all(|one| one.timeline < timeline && passed(one)) {
                found.push(unreachable(survey, timeline, &leading));
            }
            if readable && leading.is_empty() && !finished.is_empty() && !leads_to_backups(survey, timeline) {
                found.push(stray(survey, timeline));
            }
        } else if readable
            && node.history.is_some()
            && !leads_to_life(survey, timeline)
            && !was_pruned(survey, timeline)
        {
            found.push(new(survey, timeline));
        }
    }
    found.extend(survey.latest().and_then(|latest| other(survey, latest)));
}

fn unreachable(survey: &Survey, timeline: TimelineId, leading: &[&&BackupFacts]) -> Defect {
    let newest = leading.iter().map(|one| survey.timelines.latest(one.timeline)).max();
    let next = newest.and_then(TimelineId::next).unwrap_or(timeline);
    let what = format!("recovery by `latest` ends its search at {}, which is missing", next.history_name());
    defect(FindingCode::HistoryUnreachable, Place::History(timeline), object_of(survey, timeline), what, Breaks::Replay)
}

/// Is it an ancestor of a timeline that has a finished base backup?
fn leads_to_backups(survey: &Survey, timeline: TimelineId) -> bool {
    let mut finished = survey.backups.iter().filter(|one| one.is_finished());
    finished.any(|one| survey.told(one.timeline).is_some_and(|history| history.contains(timeline)))
}

/// Is it an ancestor of a timeline of which there is something?
fn leads_to_life(survey: &Survey, timeline: TimelineId) -> bool {
    let alive = survey.timelines.iter().filter(|(one, _)| *one != timeline && survey.is_alive(*one));
    let mut histories = alive.filter_map(|(one, _)| survey.told(one));
    histories.any(|history| history.contains(timeline))
}

/// It was left for before everything that is there now begins: retention took its segments, and leaves histories.
fn was_pruned(survey: &Survey, timeline: TimelineId) -> bool {
    let oldest = survey.backups.iter().filter(|one| one.is_finished()).map(|one| one.start).min();
    let switch = survey.timelines.parent(timeline).map(|(_, switch)| switch);
    matches!((switch, oldest), (Some(switch), Some(oldest)) if switch < oldest)
}

fn stray(survey: &Survey, timeline: TimelineId) -> Defect {
    let extent = survey.extents.get(&timeline);
    let object = extent.map(|extent| range_text(timeline, extent.first, extent.last, survey.size));
    let from =
        survey.timelines.parent(timeline).map(|(parent, switch)| format!(" (it left timeline {parent} at {switch})"));
    let what = format!("no base backup leads to timeline {timeline}{}", from.unwrap_or_default());
    let place = extent.map_or(Place::History(timeline), |extent| Place::Wal {
        timeline,
        first: extent.first,
        last: extent.last,
    });
    defect(FindingCode::TimelineStray, place, object.unwrap_or_else(|| timeline.history_name()), what, Breaks::Nothing)
}

fn new(survey: &Survey, timeline: TimelineId) -> Defect {
    let left = survey.timelines.parent(timeline);
    let left = left.map(|(parent, switch)| format!("it left timeline {parent} at {switch}, and ")).unwrap_or_default();
    let what = format!("{left}no segment of timeline {timeline} is there yet");
    defect(FindingCode::TimelineNew, Place::History(timeline), object_of(survey, timeline), what, Breaks::Nothing)
}

/// Recovery from the newest base backup by `latest` would not end where the newest WAL is.
fn other(survey: &Survey, latest: &BackupFacts) -> Option<Defect> {
    let followed = survey.timelines.latest(latest.timeline);
    // Damaged or unread: said already.
    survey.timelines.history(followed)?;
    let told = |what| {
        Some(defect(
            FindingCode::TimelineOther,
            Place::History(followed),
            object_of(survey, followed),
            what,
            Breaks::Nothing,
        ))
    };
    if survey.route(latest, followed).is_none() {
        let from = survey.timelines.parent(followed);
        let from =
            from.map(|(parent, switch)| format!(", which left timeline {parent} at {switch}")).unwrap_or_default();
        return told(format!(
            "recovery from {} by `latest` asks for timeline {followed}{from}: the server refuses, as the backup is not on the way",
            latest.name
        ));
    }
    let newer = survey.timelines.iter().map(|(one, _)| one).filter(|one| survey.is_later(*one, followed));
    let newer = newer.filter(|one| survey.route(latest, *one).is_some()).max_by_key(|one| survey.written(*one))?;
    let until = |timeline| survey.written(timeline).map(|time| format!(" until {time:.0}")).unwrap_or_default();
    told(format!(
        "recovery by `latest` follows timeline {followed}, which was written{}; timeline {newer} was written{}",
        until(followed),
        until(newer)
    ))
}
