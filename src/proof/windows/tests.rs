use super::*;
use crate::proof::facts::{Mark, SegmentProof};
use crate::proof::survey;
use crate::storage::ObjectId;
use crate::testing::fixture;
use futures::executor::block_on;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SIZE: SegmentSize = SegmentSize::DEFAULT;
/// Records of one segment in the model.
const SLOTS: u64 = 6;
/// The first segment of the model.
const FIRST: u64 = 3;

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

/// A record of the model: 64 bytes, nothing crosses a page.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rec {
    Nothing,
    Commit(i64),
    Abort(i64),
    Point(&'static str),
    End(Lsn),
    Minimal,
}

fn lsn_of(slot: u64) -> Lsn {
    Lsn((FIRST + slot / SLOTS) * SIZE.bytes() + 40 + slot % SLOTS * 64)
}

/// One second each, so that a microsecond beside it is another time.
fn pg(time: i64) -> PgTime {
    PgTime(800_000_000_000_000 + time * 1_000_000)
}

fn stamp(time: PgTime) -> Timestamp {
    Timestamp::from_microsecond(time.unix_micros().unwrap()).unwrap()
}

/// An archive as it really is: what lies in each file, record by record.
#[derive(Debug, Clone)]
struct World {
    /// Slots of timeline 1, and those of timeline 2 from `fork` on.
    one: Vec<Rec>,
    two: Vec<Rec>,
    /// The first slot that is timeline 2's own. `None`: there is no timeline 2.
    fork: Option<u64>,
    /// Files that are not there, or damaged: timeline and number of the segment from 0.
    missing: BTreeSet<(u32, u64)>,
    damaged: BTreeSet<(u32, u64)>,
    backups: Vec<Made>,
}

#[derive(Debug, Clone, Copy)]
struct Made {
    timeline: u32,
    start: u64,
    end: u64,
}

/// What a server does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ends {
    /// It opens, and these records were replayed.
    Opens(Vec<Lsn>),
    /// It refuses: before it was consistent, at the end of the WAL, or at a segment that is not delivered.
    Refuses,
}

impl World {
    fn segments(&self, timeline: u32) -> u64 {
        let slots = if timeline == 1 { self.one.len() as u64 } else { self.fork.unwrap_or(0) + self.two.len() as u64 };
        slots.div_ceil(SLOTS)
    }

    /// The records in a file, in order; `None` when there is no such file.
    fn file(&self, timeline: u32, segment: u64) -> Option<Vec<(Lsn, Rec)>> {
        let fork = self.fork.unwrap_or(u64::MAX);
        let first = if timeline == 1 { 0 } else { fork / SLOTS };
        if segment < first || segment >= self.segments(timeline) || self.missing.contains(&(timeline, segment)) {
            return None;
        }
        let slots = (segment * SLOTS..(segment + 1) * SLOTS).filter_map(|slot| {
            let rec = if timeline == 1 || slot < fork {
                self.one.get(slot as usize)
            } else {
                self.two.get((slot - fork) as usize)
            };
            Some((lsn_of(slot), rec?.clone()))
        });
        Some(slots.collect())
    }

    /// A server that recovers from a backup along a timeline, and asks the target of each record.
    fn recover(&self, made: Made, along: u32, stops: impl Fn(Lsn, &Rec) -> Stops) -> (Ends, Option<Lsn>, Lsn) {
        let start = lsn_of(made.start);
        let mut replayed = Vec::new();
        let mut consistent = None;
        for segment in made.start / SLOTS.. {
            let owner = if along == 2 && segment >= self.fork.unwrap() / SLOTS { 2 } else { 1 };
            let begin = Lsn((FIRST + segment) * SIZE.bytes());
            let Some(file) = self.file(owner, segment) else { return (Ends::Refuses, consistent, begin) };
            if self.damaged.contains(&(owner, segment)) {
                return (Ends::Refuses, consistent, begin);
            }
            for (lsn, rec) in file.into_iter().filter(|(lsn, _)| *lsn >= start) {
                let opens = |replayed: Vec<Lsn>| match consistent {
                    Some(_) => Ends::Opens(replayed),
                    None => Ends::Refuses,
                };
                if stops(lsn, &rec) == Stops::Before {
                    return (opens(replayed), consistent, lsn);
                }
                if rec == Rec::Minimal {
                    return (Ends::Refuses, consistent, lsn);
                }
                replayed.push(lsn);
                if rec == Rec::End(start) {
                    consistent = Some(Lsn(lsn.0 + 64));
                }
                if stops(lsn, &rec) == Stops::After {
                    let ends = if consistent.is_some() { Ends::Opens(replayed) } else { Ends::Refuses };
                    return (ends, consistent, lsn);
                }
            }
        }
        unreachable!("files end")
    }

    fn to_time(&self, made: Made, along: u32, time: Timestamp) -> Ends {
        let later = |at: i64| if stamp(pg(at)) > time { Stops::Before } else { Stops::No };
        let stops = |_: Lsn, rec: &Rec| match rec {
            Rec::Commit(at) | Rec::Abort(at) => later(*at),
            _ => Stops::No,
        };
        self.recover(made, along, stops).0
    }

    fn to_target(&self, made: Made, along: u32, target: &Target) -> Ends {
        match target {
            Target::Time(time) => self.to_time(made, along, *time),
            Target::Lsn(target) => {
                let stops = |lsn: Lsn, _: &Rec| if lsn >= *target { Stops::After } else { Stops::No };
                self.recover(made, along, stops).0
            }
            Target::Name(name) => {
                let stops = |_: Lsn, rec: &Rec| match rec {
                    Rec::Point(point) if point == name => Stops::After,
                    _ => Stops::No,
                };
                self.recover(made, along, stops).0
            }
        }
    }

    fn name(&self, made: Made) -> BackupName {
        let segment = SegmentNo(FIRST + made.start / SLOTS).name(timeline(made.timeline), SIZE).unwrap();
        format!("base_{segment}_{:08}", 40 + made.start % SLOTS * 64).parse().unwrap()
    }

    fn made(&self, name: BackupName) -> Made {
        *self.backups.iter().find(|made| self.name(**made) == name).unwrap()
    }

    fn survey(&self) -> Survey {
        let mut text = String::new();
        for line in [1, 2] {
            let there = (0..self.segments(line)).filter(|segment| self.file(line, *segment).is_some());
            let there: Vec<String> = there.map(|segment| format!("{:02X}", FIRST + segment)).collect();
            if !there.is_empty() {
                text += &format!("{line}: {}\n", there.join(" "));
            }
        }
        if let Some(fork) = self.fork {
            text += &format!("2.history: 1@{}\n", lsn_of(fork));
        }
        for made in &self.backups {
            text += &format!("backup {} parts 0\n", self.name(*made));
        }
        let mut survey = block_on(survey::scan(&fixture::store(&text))).unwrap();
        for backup in &mut survey.backups {
            let made = self.made(backup.name);
            backup.start = lsn_of(made.start);
            backup.stop = Some(Lsn(lsn_of(made.end).0 + 64));
        }
        survey
    }

    /// What reading every file would have told.
    fn proofs(&self) -> Vec<SegmentProof> {
        let mut proofs = Vec::new();
        for line in [1, 2] {
            for segment in 0..self.segments(line) {
                let Some(file) = self.file(line, segment) else { continue };
                let name = SegmentNo(FIRST + segment).name(timeline(line), SIZE).unwrap();
                let outcome = if self.damaged.contains(&(line, segment)) {
                    Outcome::Damaged { code: FindingCode::SegmentRecord, lsn: None, what: "its CRC is wrong".into() }
                } else {
                    Outcome::Good(Box::new(facts(&file)))
                };
                let key = format!("wal_005/{name}.lzo");
                let object = ObjectId { key: key.into(), size: 1, modified: None, etag: None };
                proofs.push(SegmentProof { name, object, level: Level::Records, outcome });
            }
        }
        proofs
    }

    fn windows(&self) -> Windows {
        windows(&self.survey(), &self.proofs(), &[])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stops {
    No,
    Before,
    After,
}

fn facts(file: &[(Lsn, Rec)]) -> SegmentFacts {
    let mut times = Times::default();
    let mut marks = Vec::new();
    for (lsn, rec) in file {
        let kind = match rec {
            Rec::Nothing => continue,
            Rec::Commit(time) | Rec::Abort(time) => {
                times.add(*lsn, pg(*time), matches!(rec, Rec::Commit(_)));
                continue;
            }
            Rec::Point(name) => MarkKind::RestorePoint { name: (*name).to_owned(), time: pg(0) },
            Rec::End(start) => MarkKind::BackupEnd { start: *start },
            Rec::Minimal => MarkKind::WalLevel(0),
        };
        marks.push(Mark { at: *lsn, end: Lsn(lsn.0 + 64), kind, before: times });
    }
    SegmentFacts {
        size: SIZE.bytes() as u32,
        system: None,
        magic: None,
        timelines: (1, 1),
        first_record: file.first().map(|(lsn, _)| *lsn),
        last_record: file.last().map(|(lsn, _)| *lsn),
        records: file.len() as u64,
        unchecked_head: 0,
        chained: true,
        switched: false,
        odd_bytes: 0,
        odd_at: None,
        times,
        marks,
        more_marks: 0,
        carry: None,
    }
}

fn rec() -> impl Strategy<Value = Rec> {
    prop_oneof![
        6 => (0..40_i64).prop_map(Rec::Commit),
        2 => (0..40_i64).prop_map(Rec::Abort),
        3 => Just(Rec::Nothing),
        1 => prop_oneof![Just("a"), Just("b")].prop_map(Rec::Point),
    ]
}

/// Mostly ascending times, as servers have them; some worlds are wild.
fn world() -> impl Strategy<Value = World> {
    let slots = || prop::collection::vec(rec(), 1..40);
    let holes = || prop::collection::btree_set((1..3_u32, 0..7_u64), 0..3);
    let backups = prop::collection::vec((0..40_u64, 1..12_u64, any::<bool>()), 1..5);
    let minimal = prop::option::weighted(0.2, 0..40_usize);
    (slots(), slots(), prop::option::weighted(0.6, 1..40_u64), holes(), holes(), backups, minimal, any::<bool>())
        .prop_map(|(mut one, mut two, fork, missing, damaged, wanted, minimal, wild)| {
            let fork = fork.filter(|fork| *fork <= one.len() as u64);
            if fork.is_none() {
                two.clear();
            }
            if !wild {
                let mut clock = 0;
                for rec in one.iter_mut().chain(&mut two) {
                    if let Rec::Commit(time) | Rec::Abort(time) = rec {
                        clock += *time % 4;
                        *time = clock;
                    }
                }
            }
            if let Some(rec) = minimal.and_then(|at| one.get_mut(at)) {
                *rec = Rec::Minimal;
            }
            let mut backups: Vec<Made> = Vec::new();
            for (start, length, on_two) in wanted {
                let (base, slots) = match fork {
                    Some(fork) if on_two => (fork, &mut two),
                    _ => (0, &mut one),
                };
                let (first, last) = (start as usize, (start + length) as usize);
                let taken = |at: usize| matches!(slots.get(at), None | Some(Rec::End(_) | Rec::Minimal));
                let name = |made: &Made| made.start == base + start;
                if taken(first) || taken(last) || backups.iter().any(name) {
                    continue;
                }
                slots[first] = Rec::Nothing;
                slots[last] = Rec::End(lsn_of(base + start));
                let timeline = if base > 0 { 2 } else { 1 };
                backups.push(Made { timeline, start: base + start, end: base + start + length });
            }
            // What a later backup overwrote, is none.
            let kept = |made: &Made| {
                let (base, slots) = if made.timeline == 2 { (fork.unwrap_or(0), &two) } else { (0, &one) };
                let at = |slot: u64| slots.get((slot - base) as usize);
                at(made.start) == Some(&Rec::Nothing) && at(made.end) == Some(&Rec::End(lsn_of(made.start)))
            };
            backups.retain(kept);
            World { one, two, fork, missing, damaged, backups }
        })
}

fn moments() -> Vec<Timestamp> {
    (-1..200_i64).flat_map(|time| [pg(time).0 - 1, pg(time).0]).map(|micros| stamp(PgTime(micros))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Each claim of a window against a server that replays record by record.
    #[test]
    fn a_server_does_what_the_windows_say(world in world()) {
        let windows = world.windows();
        let mut seen = 0;
        for line in &windows.timelines {
            let along = line.timeline.get();
            for reach in &line.backups {
                let made = world.made(reach.backup);
                let (_, consistent, end) = world.recover(made, along, |_, _| Stops::No);
                prop_assert_eq!(reach.is_usable(), consistent.is_some(), "{:?}", reach);
                if !reach.is_usable() {
                    prop_assert!(moments().iter().all(|time| world.to_time(made, along, *time) == Ends::Refuses));
                    continue;
                }
                seen += 1;
                prop_assert_eq!(reach.consistent, consistent);
                prop_assert_eq!(reach.end, end);
                prop_assert!(reach.proven);
                for time in moments() {
                    let opens = matches!(world.to_time(made, along, time), Ends::Opens(_));
                    if reach.reaches_time(time) {
                        prop_assert!(opens, "claimed: {} from {:?}", time, reach);
                        continue;
                    }
                    // What is not claimed and would open, must be for a reason.
                    let early = reach.earliest.is_none_or(|earliest| time < earliest.time && earliest.by != By::Commit);
                    let in_segment_of_c = |latest: &Edge| {
                        latest.lsn.segment(SIZE) == reach.consistent.unwrap().segment_before(SIZE)
                    };
                    let late = reach.latest.as_ref().is_none_or(|latest| time >= latest.time && in_segment_of_c(latest));
                    prop_assert!(!opens || early || late, "not claimed: {} from {:?}", time, reach);
                }
            }
            // Windows are the union of their backups.
            for window in &line.windows {
                let inside = line.backups.iter().filter(|reach| reach.is_usable() && reach.end == window.to_lsn);
                prop_assert_eq!(inside.clone().count() as u64, window.backups);
                prop_assert_eq!(inside.clone().filter_map(|reach| reach.consistent).min(), Some(window.from_lsn));
                prop_assert_eq!(inside.filter_map(|reach| reach.latest).map(|edge| edge.time).max(), window.to.map(|to| to.time));
            }
            prop_assert!(line.windows.windows(2).all(|pair| pair[0].to_lsn <= pair[1].from_lsn));
            for point in &line.restore_points {
                let target = Target::Name(point.name.clone());
                let at = |made: Made| match world.to_target(made, along, &target) {
                    Ends::Opens(replayed) => replayed.last() == Some(&point.lsn),
                    Ends::Refuses => false,
                };
                let on_the_way = line.backups.iter().map(|reach| world.made(reach.backup));
                match point.from {
                    Some(name) => prop_assert!(at(world.made(name)), "{:?}", point),
                    None => prop_assert!(!on_the_way.into_iter().any(at), "{:?}", point),
                }
            }
        }
        // The property is about something in most worlds.
        prop_assume!(seen > 0 || world.backups.is_empty() || !world.missing.is_empty() || !world.damaged.is_empty() || world.fork.is_some() || world.one.contains(&Rec::Minimal));
    }

    /// Answers to wishes: what is said to be reached is reached, and so is what is said to be nearest.
    #[test]
    fn a_wish_gets_what_it_was_told(world in world(), seconds in -1..60_i64, nudge in -1..1_i64) {
        let windows = world.windows();
        let time = stamp(PgTime(pg(seconds).0 + nudge));
        let opens = |way: &Way| matches!(
            world.to_target(world.made(way.backup), way.timeline.get(), &way.target), Ends::Opens(_)
        );
        let answered = can_reach(&windows, &Wish::Time(time), None, Some(13));
        if let Some(way) = &answered.way {
            prop_assert!(opens(way), "{:?}", way);
            let later = |reach: &Reach| reach.start > world_start(&world, way) && reach.reaches_time(time);
            let line = windows.timelines.iter().find(|line| line.timeline == way.timeline).unwrap();
            if way.target == Target::Time(time) && way.by_latest {
                prop_assert!(!line.backups.iter().any(|reach| later(reach) && reach.latest_leads_here && reach.finished.is_some_and(|at| at <= time)));
            }
        } else {
            for line in &windows.timelines {
                prop_assert!(!line.backups.iter().any(|reach| reach.reaches_time(time)));
            }
            prop_assert!(!answered.because.is_empty());
        }
        for (near, before) in [(&answered.before, true), (&answered.after, false)] {
            let Some(near) = near else { continue };
            prop_assert!(opens(&near.way), "{:?}", near);
            prop_assert_eq!(near.time <= time, before);
        }
        // And the same by place.
        for slot in 0..40 {
            let wish = Wish::Lsn(lsn_of(slot));
            if let Some(way) = can_reach(&windows, &wish, None, Some(13)).way {
                prop_assert!(opens(&way), "{:?}", way);
            }
        }
        for name in ["a", "b"] {
            if let Some(way) = can_reach(&windows, &Wish::Name(name.into()), None, Some(13)).way {
                prop_assert!(opens(&way), "{:?}", way);
            }
        }
    }
}

fn world_start(world: &World, way: &Way) -> Lsn {
    lsn_of(world.made(way.backup).start)
}

/// `c5` commits at second 5, `a5` aborts, `!` is wal_level=minimal, `R` starts a backup, `E` ends it, `.` is nothing,
/// `=name` a restore point; `|` begins the next segment. Two slots before each other are in one segment.
fn line_of(text: &str) -> World {
    let mut one: Vec<Rec> = Vec::new();
    let mut backups = Vec::new();
    let mut starts: Vec<u64> = Vec::new();
    for word in text.split_whitespace() {
        let slot = one.len() as u64;
        let number = || word[1..].parse().unwrap();
        one.push(match &word[..1] {
            "c" => Rec::Commit(number()),
            "a" => Rec::Abort(number()),
            "!" => Rec::Minimal,
            "=" => Rec::Point(match &word[1..] {
                "x" => "x",
                _ => "y",
            }),
            "R" => {
                starts.push(slot);
                Rec::Nothing
            }
            "E" => {
                let start = starts.pop().unwrap();
                backups.push(Made { timeline: 1, start, end: slot });
                Rec::End(lsn_of(start))
            }
            "|" => {
                one.resize(slot.next_multiple_of(SLOTS) as usize, Rec::Nothing);
                continue;
            }
            _ => Rec::Nothing,
        });
    }
    backups.sort_by_key(|made| made.start);
    let (missing, damaged) = (BTreeSet::new(), BTreeSet::new());
    World { one, two: Vec::new(), fork: None, missing, damaged, backups }
}

fn seconds(edge: Option<Edge>) -> Option<i64> {
    Some((edge?.time.as_microsecond() - pg(0).unix_micros().unwrap()) / 1_000_000)
}

fn from(earliest: Option<Earliest>) -> Option<(i64, By)> {
    let earliest = earliest?;
    Some(((earliest.time.as_microsecond() - pg(0).unix_micros().unwrap()) / 1_000_000, earliest.by))
}

fn only(windows: &Windows) -> &Line {
    assert_eq!(windows.timelines.len(), 1);
    &windows.timelines[0]
}

#[test]
fn one_backup_and_its_window() {
    let windows = line_of("c1 R c2 c3 E c4 | c5 a9 c7 |").windows();
    let line = only(&windows);
    let window = &line.windows[0];
    assert_eq!(from(window.from), Some((3, By::Commit)));
    assert_eq!(seconds(window.to), Some(9), "an abort counts, and it is the latest though not the last");
    assert_eq!(seconds(window.last_commit), Some(7));
    assert!(window.proven && line.holes.is_empty() && line.latest, "{line:?}");
    assert!(matches!(window.ends, Stop::ArchiveEnds { .. }));
}

#[test]
fn nothing_committed_while_the_backup_was_taken() {
    let windows = line_of("c1 c2 R E c4 c5 |").windows();
    assert_eq!(from(only(&windows).windows[0].from), Some((2, By::Before)));
    // And nothing before it either, as far as anybody knows.
    let windows = line_of("R E c4 c5 |").windows();
    assert_eq!(from(only(&windows).windows[0].from), Some((4, By::Behind)));
    // Nothing at all behind it: no target time leads anywhere.
    let windows = line_of("c1 R c2 E |").windows();
    assert_eq!(only(&windows).windows[0].to, None);
    assert_eq!(only(&windows).windows.len(), 1);
    assert!(!only(&windows).backups[0].reaches_time(stamp(pg(2))));
}

#[test]
fn a_gap_makes_a_hole_and_the_lost_is_named() {
    let mut world = line_of("R E c1 | c2 | c3 | c4 | R c5 E c6 | c7 |");
    world.missing.insert((1, 2));
    let windows = world.windows();
    let line = only(&windows);
    let [hole] = line.holes.as_slice() else { panic!("{line:?}") };
    assert_eq!((seconds(hole.from), from(hole.to), seconds(hole.lost)), (Some(2), Some((5, By::Commit)), None));
    assert_eq!(hole.because[0].to_string(), "segment 000000010000000000000005 is missing");
    assert_eq!(line.windows.len(), 2);

    // No backup behind the gap: all of that is lost.
    let mut world = line_of("R E c1 | c2 | c3 | c4 | c6 | c7 |");
    world.missing.insert((1, 2));
    world.damaged.insert((1, 4));
    let windows = world.windows();
    let [hole] = only(&windows).holes.as_slice() else { panic!("{windows:?}") };
    assert_eq!((seconds(hole.from), hole.to_lsn, seconds(hole.lost)), (Some(2), None, Some(7)));
    assert_eq!(hole.because.len(), 2, "{hole:?}");

    let answer = |time| can_reach(&windows, &Wish::Time(stamp(pg(time))), None, Some(13));
    assert!(answer(5).way.is_none() && answer(5).after.is_none());
    let near = answer(5).before.unwrap();
    assert_eq!((near.time, near.way.target), (stamp(pg(2)), Target::Lsn(lsn_of(6))));
    assert!(answer(5).because[0].contains("is missing"), "{:?}", answer(5));
    // The last one itself is reached by its place, not by its time.
    assert_eq!(answer(2).way.unwrap().target, Target::Lsn(lsn_of(6)));
    assert_eq!(answer(1).way.unwrap().target, Target::Time(stamp(pg(1))));
    // Before 10 there is no such target: a moment before it, as a gap stops the server.
    let old = can_reach(&windows, &Wish::Time(stamp(pg(5))), None, Some(906)).before.unwrap();
    assert_eq!(old.way.target, Target::Time(stamp(PgTime(pg(2).0 - 1))));
}

#[test]
fn a_damaged_segment_where_the_backup_is_not_yet_consistent() {
    let mut world = line_of("c1 R c2 | E c3 | c4 |");
    world.damaged.insert((1, 1));
    let windows = world.windows();
    let line = only(&windows);
    assert!(line.windows.is_empty());
    let trouble = line.backups[0].trouble.as_deref().unwrap();
    assert!(trouble.contains("before it is consistent") && trouble.contains("CRC"), "{trouble}");
    let answered = can_reach(&windows, &Wish::Time(stamp(pg(3))), None, Some(13));
    assert!(answered.because[0].contains("leads nowhere"), "{answered:?}");
}

#[test]
fn two_stored_forms_of_which_one_is_whole() {
    let world = line_of("R E c1 | c2 | c3 |");
    let mut proofs = world.proofs();
    let mut broken = proofs[1].clone();
    broken.object.key = "wal_005/x.gz".into();
    broken.outcome = Outcome::Damaged { code: FindingCode::SegmentUndecodable, lsn: None, what: "cut".into() };
    let defect = |code| Defect {
        code,
        place: Place::Wal { timeline: timeline(1), first: SegmentNo(FIRST + 1), last: SegmentNo(FIRST + 1) },
        object: String::new(),
        lsn: None,
        what: "it is wrong".into(),
        breaks: Breaks::Replay,
        level: Level::Records,
    };
    proofs.insert(1, broken);
    let latest = |defects: &[Defect]| seconds(only(&windows(&world.survey(), &proofs, defects)).windows[0].to);
    assert_eq!(latest(&[defect(FindingCode::SegmentUndecodable)]), Some(3));
    assert_eq!(latest(&[defect(FindingCode::SegmentSeam)]), Some(1), "that no other form makes good");
}

#[test]
fn what_was_not_read_is_not_claimed_as_proven() {
    let world = line_of("c1 R c2 E c3 | c4 | c5 |");
    let survey = world.survey();
    let mut proofs = world.proofs();
    proofs.remove(1);
    let windows_ = windows(&survey, &proofs, &[]);
    let window = &only(&windows_).windows[0];
    assert_eq!((from(window.from), seconds(window.to), window.unread), (Some((2, By::Commit)), Some(5), 1));
    assert!(!window.proven);
    // From names alone: places, and no times.
    let windows_ = windows(&survey, &[], &[]);
    let window = &only(&windows_).windows[0];
    assert_eq!((window.from, window.to, window.from_lsn), (None, None, Lsn(lsn_of(3).0 + 64)));
    assert!(!window.proven && only(&windows_).notes[0].contains("names and sentinels"));
}

#[test]
fn clocks_that_go_back_and_times_that_are_none() {
    let windows_ = line_of("R E c1 c60 | c10 c11 | c61 |").windows();
    let [step] = only(&windows_).clock.as_slice() else { panic!("{windows_:?}") };
    assert_eq!((seconds(Some(step.before)), seconds(Some(step.behind))), (Some(60), Some(10)));
    assert!(line_of("R E c10 c8 | c9 c12 |").windows().timelines[0].clock.is_empty(), "sessions overtake each other");

    let world = line_of("c1 R c2 E c3 | c4 |");
    let mut proofs = world.proofs();
    let Outcome::Good(facts) = &mut proofs[1].outcome else { panic!() };
    // A server with floating-point timestamps: seconds as a double.
    facts.times = Times::default();
    facts.times.add(lsn_of(6), PgTime(848_000_000.5_f64.to_bits().cast_signed()), true);
    let windows_ = windows(&world.survey(), &proofs, &[]);
    let line = only(&windows_);
    assert_eq!((line.windows[0].from, line.windows[0].to, line.windows[0].last_commit), (None, None, None));
    assert!(line.notes[0].contains("floating-point"), "{line:?}");
    assert!(can_reach(&windows_, &Wish::Lsn(lsn_of(6)), None, Some(906)).way.is_none());
    assert!(can_reach(&windows_, &Wish::Lsn(lsn_of(6)), None, Some(10)).way.is_some());
}

#[test]
fn restore_points_of_one_name() {
    let windows_ = line_of("R E c1 =x | c2 =x | R E c3 =x =y |").windows();
    let points: Vec<(u64, bool)> = only(&windows_)
        .restore_points
        .iter()
        .map(|point| (point.lsn.0 / SIZE.bytes() - FIRST, point.from.is_some()))
        .collect();
    assert_eq!(points, [(0, true), (1, false), (2, true), (2, true)]);
    let reach = |name: &str| can_reach(&windows_, &Wish::Name(name.into()), None, Some(13));
    let way = reach("x").way.unwrap();
    assert_eq!(way.backup, only(&windows_).backups[1].backup, "the newest");
    assert_eq!(way.flags(), ["--recovery-target-name", "x"]);
    assert!(reach("z").because[0].contains("there are y, x"), "{:?}", reach("z").because);
}

#[test]
fn two_timelines_and_which_is_meant() {
    let mut world = line_of("R E c1 | c2 c3 | c20 c21 | c22 |");
    world.fork = Some(7);
    world.two = vec![Rec::Commit(30), Rec::Commit(31), Rec::Nothing, Rec::Nothing, Rec::Nothing, Rec::Commit(32)];
    let windows_ = world.windows();
    let [one, two] = windows_.timelines.as_slice() else { panic!("{windows_:?}") };
    assert_eq!((seconds(one.windows[0].to), seconds(two.windows[0].to)), (Some(22), Some(32)));
    assert!(two.latest && !one.latest);
    let ask = |time, only| can_reach(&windows_, &Wish::Time(stamp(pg(time))), only, Some(13));
    let before_fork = ask(1, None);
    assert_eq!((before_fork.way.unwrap().timeline.get(), before_fork.also_on), (2, vec![timeline(1)]));
    // In the time of both, what `latest` gives.
    assert_eq!(ask(21, None).way.unwrap().timeline.get(), 2);
    let named = ask(21, Some(timeline(1))).way.unwrap();
    assert_eq!(named.flags()[2..4], ["--recovery-target-timeline", "1"]);
    assert!(ask(25, Some(timeline(1))).way.is_none());
}
