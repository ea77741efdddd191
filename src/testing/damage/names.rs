//! Damage that a listing, the histories and the sentinels show: names that are missing, too many, or odd.
//!
//! In: a [`Scene`] and a seed. Out: damages. Never: bytes of a segment changed.

use super::model::{At, Hurt};
use super::{Claim, Expect, Made, Make, Model, Scene};
use crate::proof::FindingCode::{self as Code, *};
use crate::proof::Severity;
use crate::testing::lzop::lzop;
use fastrand::Rng;

pub(super) const KINDS: &[(&str, Make)] = &[
    ("segment-missing-first", segment_missing_first),
    ("segment-missing-middle", segment_missing_middle),
    ("segment-missing-before-fork", segment_missing_before_fork),
    ("segment-missing-at-fork", segment_missing_at_fork),
    ("segment-missing-within-backup", segment_missing_within_backup),
    ("segments-missing-run", segments_missing_run),
    ("segments-missing-behind-newest-backup", segments_missing_behind_newest_backup),
    ("segment-missing-last", segment_missing_last),
    ("segment-partial-in-place-of-whole", segment_partial),
    ("segment-empty", segment_empty),
    ("segment-in-a-folder", segment_in_a_folder),
    ("segment-renamed", segment_renamed),
    ("segment-misfit-name", segment_misfit),
    ("segment-far-away", segment_far_away),
    ("timeline-stray", timeline_stray),
    ("timeline-gap-in-numbers", timeline_gap_in_numbers),
    ("history-missing", history_missing),
    ("history-cut", history_cut),
    ("history-cut-stored", history_cut_stored),
    ("history-html", history_html),
    ("history-empty", history_empty),
    ("history-switch-edited", history_switch_edited),
    ("history-parent-edited", history_parent_edited),
    ("history-swapped", history_swapped),
    ("history-line-ends", history_line_ends),
    ("foreign-objects", foreign_objects),
    ("partial-missing", partial_missing),
    ("backup-history-missing", backup_history_missing),
    ("pruned-as-wal-e-does", pruned_as_wal_e_does),
    ("history-of-a-promotion-just-now", promotion_just_now),
];

/// What a segment that is not there may be called.
const MISSING: &[Code] = &[SegmentMissing, ForkMissing, SegmentPartial, SegmentEmpty, BackupWal];
/// What may follow from that: where `latest` leads, timelines that nothing leads to any more.
const FOLLOWS: &[Code] = &[TimelineStray, TimelineOther, BackupWal, WindowShort, BackupNone, HistoryUnreachable];
/// What a history that is lost or false may be called.
const HISTORY: &[Code] = &[
    HistoryMissing,
    HistoryDamaged,
    HistoryDisagrees,
    HistoryUnreachable,
    ForkContradicts,
    ForkMissing,
    SegmentMissing,
    SegmentPartial,
    SegmentSeam,
    SegmentForeign,
    SegmentPage,
];

pub(super) fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> Option<T> {
    (!from.is_empty()).then(|| from[rng.usize(..from.len())].clone())
}

/// A segment whose absence shows, of those for which something holds.
fn pick_missed(scene: &Scene, rng: &mut Rng, holds: impl Fn(At) -> bool) -> Option<At> {
    let model = &scene.model;
    let all: Vec<At> = model.needed().into_iter().filter(|at| model.is_missed(*at) && holds(*at)).collect();
    pick(rng, &all)
}

fn missing(scene: &Scene, at: &[At]) -> Expect {
    Expect::new(Claim::Names, MISSING, scene.model.replay_breaks(at)).also(FOLLOWS)
}

fn without(scene: &Scene, at: At, what: &str) -> Made {
    let key = scene.model.key(at);
    Made::new(format!("{key} is gone: {what}"), missing(scene, &[at])).remove(key)
}

fn segment_missing_first(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = pick(rng, &scene.model.backups)?;
    let at = (backup.timeline, backup.start / scene.model.size);
    Some(without(scene, at, "a base backup starts in it"))
}

fn segment_missing_middle(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_missed(scene, rng, |_| true)?;
    Some(without(scene, at, "something behind it is there"))
}

/// Where timelines begin: parent, child, switch point.
fn forks(model: &Model) -> Vec<(u32, u32, u64)> {
    let fork = |(child, ancestors): (&u32, &Vec<(u32, u64)>)| {
        let (parent, switch) = ancestors.last()?;
        Some((*parent, *child, *switch))
    };
    model.histories.iter().filter_map(fork).collect()
}

fn segment_missing_before_fork(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let model = &scene.model;
    let before: Vec<At> =
        forks(model).into_iter().map(|(parent, _, switch)| (parent, switch / model.size - 1)).collect();
    let at = pick_missed(scene, rng, |at| before.contains(&at))?;
    Some(without(scene, at, "the last one before a switch"))
}

fn segment_missing_at_fork(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let model = &scene.model;
    let children: Vec<At> = forks(model).into_iter().map(|(_, child, switch)| (child, switch / model.size)).collect();
    let at = pick_missed(scene, rng, |at| children.contains(&at))?;
    Some(without(scene, at, "the child's first one"))
}

fn segment_missing_within_backup(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = pick(rng, &scene.model.backups)?;
    let size = scene.model.size;
    let number = rng.u64(backup.start / size..=(backup.stop - 1) / size);
    Some(without(scene, (backup.timeline, number), "a base backup needs it to become consistent"))
}

fn segments_missing_run(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let first = pick_missed(scene, rng, |(timeline, number)| {
        (number..number + 2).all(|number| scene.model.is_missed((timeline, number)))
    })?;
    let at = [first, (first.0, first.1 + 1)];
    let mut made = Made::new(format!("{} and the next are gone", scene.model.key(first)), missing(scene, &at));
    for one in at {
        made = made.remove(scene.model.key(one));
    }
    Some(made)
}

fn segments_missing_behind_newest_backup(scene: &Scene, _: &mut Rng) -> Option<Made> {
    let model = &scene.model;
    let newest = model.newest()?;
    let gone: Vec<At> = model.path(newest, model.latest())?;
    let mut made = Made::new(format!("all WAL from {} on is gone", newest.name), missing(scene, &gone));
    for at in gone {
        made = made.remove(model.key(at));
    }
    Some(made)
}

/// The very end: no listing can know that there was more.
fn segment_missing_last(scene: &Scene, _: &mut Rng) -> Option<Made> {
    let model = &scene.model;
    let at = (model.latest(), model.last(model.latest())?);
    let key = model.key(at);
    let expect = if model.is_missed(at) {
        missing(scene, &[at])
    } else {
        // What is left may end within a record, and still be all there is.
        Expect::new(Claim::Ledger, &[LedgerVanished], model.anything((Severity::Harmless, Severity::Critical)))
    };
    Some(Made::new(format!("{key}, the newest one, is gone"), expect).remove(key))
}

fn segment_partial(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_missed(scene, rng, |_| true)?;
    let key = scene.model.key(at);
    let partial = format!("{}.partial.lzo", key.strip_suffix(".lzo")?);
    let bytes = scene.archive.get(&key)?.clone();
    Some(Made::new(format!("{key} is there only as .partial"), missing(scene, &[at])).remove(key).put(partial, bytes))
}

fn segment_empty(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_missed(scene, rng, |_| true)?;
    let key = scene.model.key(at);
    Some(Made::new(format!("{key} has no bytes"), missing(scene, &[at])).put(key, Vec::new()))
}

fn segment_in_a_folder(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_missed(scene, rng, |_| true)?;
    let key = scene.model.key(at);
    let (bytes, to) = (scene.archive.get(&key)?.clone(), key.replace("wal_005/", "wal_005/old/"));
    let expect = missing(scene, &[at]).also(&[ArchiveForeign]);
    Some(Made::new(format!("{key} was moved to {to}"), expect).remove(key).put(to, bytes))
}

fn segment_renamed(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_missed(scene, rng, |(_, number)| format!("{number:X}").contains(|c: char| c.is_alphabetic()))
        .or_else(|| pick_missed(scene, rng, |_| true))?;
    let key = scene.model.key(at);
    let to = match rng.u32(..4) {
        0 => format!("{key}.bak"),
        1 => format!("{key}.tmp"),
        2 => key.replacen("wal_005/", "wal_005/ ", 1),
        _ => format!("{}.lzo.lzo", key.strip_suffix(".lzo")?),
    };
    let bytes = scene.archive.get(&key)?.clone();
    let expect = missing(scene, &[at]).also(&[ArchiveForeign]);
    Some(Made::new(format!("{key} was renamed to {to}"), expect).remove(key).put(to, bytes))
}

fn segment_misfit(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let per_log = (1u64 << 32) / scene.model.size;
    let key = format!("wal_005/00000001{:08X}{:08X}.lzo", rng.u32(..3), per_log + rng.u64(..1000));
    let some = scene.archive.get(scene.model.segments.values().next()?)?.clone();
    let hurt = Hurt { worst: (Severity::Harmless, Severity::Warning), ..Model::nothing() };
    let expect = Expect::new(Claim::Names, &[SegmentMisfit], hurt).also(&[SegmentForeign]);
    Some(Made::new(format!("{key}: no segment of this size has this name"), expect).put(key, some))
}

/// A stray name far behind the end must neither hang nor hide.
fn segment_far_away(scene: &Scene, _: &mut Rng) -> Option<Made> {
    let model = &scene.model;
    let (timeline, last) = (model.latest(), model.last(model.latest())?);
    let far = (timeline, last + (1 << 40) / model.size);
    let bytes = scene.archive.get(&model.key((timeline, last)))?.clone();
    let codes = &[SegmentMissing, SegmentStray];
    let expect = Expect::new(Claim::Names, codes, model.anything((Severity::Warning, Severity::Critical)))
        .also(&[SegmentForeign]);
    Some(Made::new(format!("{} lies far behind the end", model.key(far)), expect).put(model.key(far), bytes))
}

/// Segments of a timeline that nobody wrote a history for, as a test restore leaves them.
fn timeline_stray(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let model = &scene.model;
    let stray = model.latest() + rng.u32(2..30);
    let at = (stray, pick(rng, &model.segments.keys().copied().collect::<Vec<_>>())?.1);
    let plain = on_timeline(&scene.plain(model.segments.values().next_back()?)?, model, at);
    let codes = &[HistoryMissing, TimelineStray, TimelineOther, HistoryUnreachable];
    // As far as our own newest WAL, it looks like a promotion whose history was lost.
    let like_ours = model.last(model.latest()).is_some_and(|last| at.1 >= last);
    let worst = (Severity::Harmless, if like_ours { Severity::Critical } else { Severity::Warning });
    let expect = Expect::new(Claim::Names, codes, model.anything(worst)).also(&[
        ForkContradicts,
        SegmentSeam,
        SegmentNotWhole,
        SegmentPage,
        SegmentRecord,
        SegmentForeign,
    ]);
    Some(Made::new(format!("a stray {}", model.key(at)), expect).put(model.key(at), lzop(&plain)))
}

/// Pages of a segment said to be at another place; its records stay as they are.
fn on_timeline(plain: &[u8], model: &Model, (timeline, number): At) -> Vec<u8> {
    let mut plain = plain.to_vec();
    for (page, bytes) in plain.chunks_mut(super::raw::PAGE).enumerate() {
        if bytes.iter().any(|byte| *byte != 0) {
            bytes[4..8].copy_from_slice(&timeline.to_le_bytes());
            let address = number * model.size + (page * super::raw::PAGE) as u64;
            bytes[8..16].copy_from_slice(&address.to_le_bytes());
        }
    }
    plain
}

/// A history with a number far away: `latest` never finds it, and nothing is missing.
fn timeline_gap_in_numbers(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let model = &scene.model;
    let timeline = model.latest() + rng.u32(2..40);
    let (parent, switch) = (model.latest(), (model.last(model.latest())? + 1) * model.size);
    let text = format!("{parent}\t{:X}/{:X}\tno recovery target specified\n", switch >> 32, switch & 0xFFFF_FFFF);
    let key = format!("wal_005/{timeline:08X}.history.lzo");
    let codes = &[HistoryUnreachable, TimelineStray, TimelineNew, HistoryDisagrees, TimelineOther, ForkMissing];
    let expect = Expect::new(Claim::Names, codes, model.anything((Severity::Harmless, Severity::Critical)));
    Some(Made::new(format!("{key} leaves numbers out"), expect).put(key, lzop(text.as_bytes())))
}

fn history_key(timeline: u32) -> String {
    format!("wal_005/{timeline:08X}.history.lzo")
}

/// The history of a timeline is no good: backups of earlier timelines do not get there.
fn history_breaks(model: &Model, timeline: u32) -> Hurt {
    let comes_from_before = |to: u32| {
        let lost =
            to == timeline || model.histories.get(&to).is_some_and(|all| all.iter().any(|(one, _)| *one == timeline));
        move |backup: &&super::Base| lost && backup.timeline != to && model.path(backup, to).is_some()
    };
    let names = |all: Vec<&super::Base>| all.into_iter().map(|backup| backup.name.clone()).collect::<Vec<_>>();
    let perhaps = names(model.backups.iter().collect());
    let newest = model.newest().map(|newest| newest.timeline);
    let latest = model.latest();
    if timeline != latest {
        // Its own end is not reached; `latest` may stop before it.
        return Hurt { certainly: Vec::new(), perhaps, worst: (Severity::Harmless, Severity::Critical) };
    }
    let certainly = names(model.backups.iter().filter(comes_from_before(latest)).collect());
    let least = if newest == Some(latest) { Severity::Warning } else { Severity::Critical };
    Hurt { certainly, perhaps, worst: (least, Severity::Critical) }
}

fn bad_history(scene: &Scene, rng: &mut Rng, claim: Claim, codes: &[Code]) -> Option<(u32, String, Expect)> {
    let timelines: Vec<u32> = scene.model.histories.keys().copied().collect();
    let timeline = pick(rng, &timelines)?;
    let expect = Expect::new(claim, codes, history_breaks(&scene.model, timeline)).also(HISTORY).also(FOLLOWS);
    Some((timeline, history_key(timeline), expect))
}

fn history_missing(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (_, key, expect) = bad_history(scene, rng, Claim::Names, &[HistoryMissing])?;
    Some(Made::new(format!("{key} is gone"), expect).remove(key))
}

/// The plain text of a history, cut: what is left may still be one, of another story.
fn history_cut(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (timeline, key, expect) = bad_history(scene, rng, Claim::Records, HISTORY)?;
    let text = scene.plain(&key)?.to_vec();
    // Within the last line's place, so that something that counts is lost.
    let line = text.iter().rposition(|byte| *byte == b'/')?;
    let cut = line.checked_sub(rng.usize(..3))?;
    let expect = Expect { worst: (Severity::Harmless, Severity::Critical), certainly: Vec::new(), ..expect };
    let what = format!("the history of {timeline} ends behind {cut} bytes");
    Some(Made::new(what, expect).put(key, lzop(&text[..cut])))
}

fn history_cut_stored(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (_, key, expect) = bad_history(scene, rng, Claim::Names, &[HistoryDamaged])?;
    let stored = scene.archive.get(&key)?;
    let cut = rng.usize(1..stored.len());
    Some(Made::new(format!("{key} is cut at byte {cut}"), expect).put(key, stored.slice(..cut)))
}

fn history_html(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (_, key, expect) = bad_history(scene, rng, Claim::Names, &[HistoryDamaged])?;
    let page = b"<html><body>503 Service Unavailable</body></html>\n";
    let bytes = if rng.bool() { lzop(page) } else { page.to_vec() };
    Some(Made::new(format!("{key} is an HTML page"), expect).put(key, bytes))
}

fn history_empty(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (_, key, expect) = bad_history(scene, rng, Claim::Names, &[HistoryDamaged, HistoryMissing])?;
    let bytes = if rng.bool() { lzop(b"") } else { Vec::new() };
    Some(Made::new(format!("{key} is empty"), expect).put(key, bytes))
}

/// The place where a timeline begins, edited: the WAL knows better.
fn history_switch_edited(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (timeline, key, expect) = bad_history(scene, rng, Claim::Records, HISTORY)?;
    let text = String::from_utf8(scene.plain(&key)?.to_vec()).ok()?;
    let (_, switch) = *scene.model.histories.get(&timeline)?.last()?;
    let by = if rng.bool() { 8 * rng.u64(1..100) } else { scene.model.size * rng.u64(1..3) };
    let to = if rng.bool() && switch > by { switch - by } else { switch + by };
    let place = |lsn: u64| format!("{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF);
    let edited = replace_last(&text, &place(switch), &place(to))?;
    let expect = Expect { worst: (Severity::Harmless, Severity::Critical), certainly: Vec::new(), ..expect };
    let what = format!("the history of {timeline} says {} for {}", place(to), place(switch));
    Some(Made::new(what, expect).put(key, lzop(edited.as_bytes())))
}

fn replace_last(text: &str, old: &str, new: &str) -> Option<String> {
    let (before, after) = text.rsplit_once(old)?;
    Some(format!("{before}{new}{after}"))
}

fn history_parent_edited(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (timeline, key, expect) = bad_history(scene, rng, Claim::Names, HISTORY)?;
    let text = String::from_utf8(scene.plain(&key)?.to_vec()).ok()?;
    let (parent, _) = *scene.model.histories.get(&timeline)?.last()?;
    // Itself, or one that comes later: no timeline has such a parent.
    let false_one = timeline + rng.u32(..3);
    let edited = replace_last(&text, &format!("{parent}\t"), &format!("{false_one}\t"))?;
    let what = format!("the history of {timeline} names {false_one} as its parent");
    Some(Made::new(what, expect).put(key, lzop(edited.as_bytes())))
}

fn history_swapped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let timelines: Vec<u32> = scene.model.histories.keys().copied().collect();
    let one = pick(rng, &timelines)?;
    let other = pick(rng, &timelines.iter().copied().filter(|other| *other != one).collect::<Vec<_>>())?;
    let hurt = scene.model.anything((Severity::Warning, Severity::Critical));
    let expect = Expect::new(Claim::Records, HISTORY, hurt).also(FOLLOWS);
    let (a, b) = (history_key(one), history_key(other));
    let (x, y) = (scene.archive.get(&a)?.clone(), scene.archive.get(&b)?.clone());
    Some(Made::new(format!("the histories of {one} and {other} are swapped"), expect).put(a, y).put(b, x))
}

/// What editors and transfers do to a text, and PostgreSQL reads all the same.
fn history_line_ends(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let timelines: Vec<u32> = scene.model.histories.keys().copied().collect();
    let key = history_key(pick(rng, &timelines)?);
    let text = String::from_utf8(scene.plain(&key)?.to_vec()).ok()?;
    let text = match rng.u32(..4) {
        0 => text.replace('\n', "\r\n"),
        1 => text.replace('\n', "   \n"),
        2 => format!("# copied by hand\n\n{text}\n\n"),
        _ => text.trim_end().to_owned(),
    };
    Some(Made::new(format!("{key} has other line ends"), Expect::nothing()).put(key, lzop(text.as_bytes())))
}

fn foreign_objects(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let some = scene.model.segments.values().next()?;
    let keys = [
        "README.md".to_owned(),
        "wal_005/.DS_Store".to_owned(),
        format!("{some}.bak"),
        format!("{}.ready", some.strip_suffix(".lzo")?),
        "wal_005/RECOVERYXLOG.lzo".to_owned(),
        "wal_004/000000010000000000000001.lzo".to_owned(),
        "basebackups_005/notes.txt".to_owned(),
        "sysids/other".to_owned(),
    ];
    let key = pick(rng, &keys)?;
    Some(Made::new(format!("{key} is there, too"), Expect::nothing()).put(key, "hello"))
}

/// Nothing needs a `.partial` whose timeline was left.
fn partial_missing(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let key = pick(rng, &scene.model.partials.values().cloned().collect::<Vec<_>>())?;
    Some(Made::new(format!("{key} is gone"), Expect::nothing()).remove(key))
}

/// The sentinel says what this file says.
fn backup_history_missing(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let keys: Vec<String> =
        scene.archive.keys().filter(|key| key.ends_with(".backup.lzo")).map(str::to_owned).collect();
    let key = pick(rng, &keys)?;
    Some(Made::new(format!("{key} is gone"), Expect::nothing()).remove(key))
}

/// `wal-e delete before`: by numbers alone, whatever the timeline; histories and `.partial` files stay.
fn pruned_as_wal_e_does(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let model = &scene.model;
    let leads: Vec<_> =
        model.backups.iter().skip(1).filter(|backup| model.path(backup, model.latest()).is_some()).cloned().collect();
    let oldest = pick(rng, &leads)?;
    let first = oldest.start / model.size;
    let mut made = Made::new(format!("all that is older than {} was deleted", oldest.name), Expect::nothing());
    for (_, key) in model.segments.iter().filter(|((_, number), _)| *number < first) {
        made = made.remove(key.clone());
    }
    for backup in model.backups.iter().filter(|backup| backup.start / model.size < first) {
        let folder = format!("basebackups_005/{}", backup.name);
        for key in scene.archive.keys().filter(|key| key.starts_with(&folder)) {
            made = made.remove(key);
        }
        let notes = format!("{}.", model.key((backup.timeline, backup.start / model.size)).strip_suffix(".lzo")?);
        for key in scene.archive.keys().filter(|key| key.starts_with(&notes) && key.ends_with(".backup.lzo")) {
            made = made.remove(key);
        }
    }
    Some(made)
}

/// The history comes first, the new timeline's first segment when it is full.
fn promotion_just_now(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let model = &scene.model;
    let (parent, child) = (model.latest(), model.latest() + 1);
    let switch = (model.last(parent)? + 1) * model.size + 8 * rng.u64(10..1000);
    let before = scene.plain(&history_key(parent)).unwrap_or_default();
    let mut text = String::from_utf8(before.to_vec()).ok()?;
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&format!("{parent}\t{:X}/{:X}\tno recovery target specified\n", switch >> 32, switch & 0xFFFF_FFFF));
    let key = history_key(child);
    Some(Made::new(format!("{key} is there, and no segment yet"), Expect::nothing()).put(key, lzop(text.as_bytes())))
}
