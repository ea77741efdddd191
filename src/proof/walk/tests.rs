use super::*;
use crate::catalog::inventory::StoredSegment;
use crate::layout::ObjectKey;
use crate::pg::{Lsn, SegmentName, TimelineId};
use crate::proof::facts::{Forgetful, Outcome, Recall};
use crate::proof::finding::{Breaks, FindingCode};
use crate::proof::survey;
use crate::storage::memory::MemoryStore;
use crate::storage::{Fingerprint, ObjectId};
use crate::testing::forge::{Shape, Wal};
use crate::testing::lzop::lzop;
use crate::wal::decoder::tests::{Op, form, ops, write};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

/// Segments by name, as the archive holds them.
type Files = BTreeMap<String, Vec<u8>>;

fn store(files: &Files) -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    for (name, bytes) in files {
        let stored = if name.ends_with(".lzo") { lzop(bytes) } else { bytes.clone() };
        store.insert(&format!("wal_005/{name}"), stored);
    }
    Arc::new(store)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(future)
}

/// Walks an archive, cut as told.
fn walk_cut(
    store: &Arc<MemoryStore>,
    selection: &Selection,
    level: Level,
    cut: (usize, usize),
    memory: &mut dyn Memory,
) -> Walked {
    block_on(async {
        let survey = survey::scan(&**store).await.unwrap();
        let reader = Reader { store: store.clone(), budget: Budget::new(4 << 20), advance: Arc::new(|_| {}) };
        let cut = Cut { workers: cut.0, longest: Some(cut.1) };
        run::run(reader, &survey, selection, level, cut, memory).await.unwrap()
    })
}

const SEQUENTIAL: (usize, usize) = (1, usize::MAX);

fn walked(files: &Files, level: Level) -> Walked {
    walk_cut(&store(files), &Selection::all(), level, SEQUENTIAL, &mut Forgetful)
}

/// What counts of a walk: everything but how much was read for it.
fn shown(walked: &Walked) -> String {
    let proofs: Vec<_> = walked.proofs.iter().map(|proof| (proof.name, &proof.outcome)).collect();
    // Forms that serve nobody are not joined to what lies before them.
    let others: Vec<_> =
        walked.others.iter().map(|proof| (&proof.object.key, matches!(proof.outcome, Outcome::Good(_)))).collect();
    format!("{proofs:#?}\n{others:?}\n{:#?}\n{:?}\n{:?}", walked.defects, walked.unchecked, walked.unread)
}

fn lines(walked: &Walked) -> Vec<String> {
    let lsn = |lsn: Option<Lsn>| lsn.map(|lsn| lsn.to_string()).unwrap_or_default();
    walked.defects.iter().map(|one| format!("{} {} {}: {}", one.code, one.object, lsn(one.lsn), one.what)).collect()
}

/// The files of a stretch of WAL; without the last one, which is not finished, unless it is.
fn files(wal: &Wal) -> Files {
    let whole = wal.segments().len() - usize::from(wal.left_in_segment() < wal.shape().size.bytes());
    wal.segments().into_iter().take(whole).map(|(name, bytes)| (name.to_string(), bytes)).collect()
}

/// A timeline and a child that leaves it at its end, and goes on as told: the files of both, and the history.
fn forked(parent: &Wal, behind: &[Op], child: &[Op]) -> (Files, Wal, Wal) {
    let switch = parent.position();
    let (mut old, mut new) = (parent.clone(), parent.clone());
    new.promote(timeline(2));
    crate::wal::decoder::tests::write_on(&mut old, behind);
    crate::wal::decoder::tests::write_on(&mut new, child);
    let mut all = files(&old);
    let size = parent.shape().size;
    // Where the switch lies at a segment's start, that segment is the child's first.
    let from = switch.segment(size);
    all.extend(
        files(&new).into_iter().filter(|(name, _)| name.parse::<SegmentName>().unwrap().number(size).unwrap() >= from),
    );
    all.insert("00000002.history".to_owned(), format!("1\t{switch}\tno recovery target specified\n").into_bytes());
    (all, old, new)
}

fn records_of(walked: &Walked, on: u32) -> u64 {
    let good = walked.proofs.iter().filter(|proof| proof.name.timeline().get() == on);
    good.map(|proof| match &proof.outcome {
        Outcome::Good(facts) => facts.records,
        other => panic!("{} is {other:?}", proof.name),
    })
    .sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Healthy WAL of any version, size and layout, with a promotion: no defect, every record counted once, nothing
    /// unchecked but at the very beginning; and the same however it was cut, by however many workers.
    #[test]
    fn clean_wal_has_no_defects(
        form in form(),
        before in ops(),
        behind in ops(),
        child in ops(),
        workers in 2usize..6,
        longest in 1usize..4,
    ) {
        let parent = write(form, &before);
        let (files, old, _) = forked(&parent, &behind, &child);
        let store = store(&files);
        let all = Selection::all();
        let sequential = walk_cut(&store, &all, Level::Records, SEQUENTIAL, &mut Forgetful);
        prop_assert_eq!(&lines(&sequential), &Vec::<String>::new());
        let first = u64::from(!sequential.proofs.is_empty());
        prop_assert!(sequential.unchecked.segments <= first + 1 && sequential.unchecked.head_bytes == 0,
            "{:?}", sequential.unchecked);
        let end = files.keys().filter(|name| name.starts_with("00000001")).count() as u64 * form.size.bytes();
        let base = SegmentNo(5).start(form.size).unwrap().0;
        let whole = old.records().iter().filter(|record| record.end.0 <= base + end).count() as u64;
        prop_assert_eq!(records_of(&sequential, 1), whole);
        let parallel = walk_cut(&store, &all, Level::Records, (workers, longest), &mut Forgetful);
        prop_assert_eq!(shown(&parallel), shown(&sequential));
        // Newest first, as with a budget.
        let budget = Selection { budget_bytes: Some(u64::MAX - 1), ..Selection::all() };
        let reversed = walk_cut(&store, &budget, Level::Records, (workers, longest), &mut Forgetful);
        prop_assert_eq!(shown(&reversed), shown(&sequential));
        for level in [Level::Decode, Level::Headers] {
            let walked = walk_cut(&store, &all, level, (workers, longest), &mut Forgetful);
            prop_assert_eq!(lines(&walked), Vec::<String>::new());
        }
    }

    /// One bit anywhere: it is found, where it is, and all cuts tell the same.
    #[test]
    fn any_flipped_bit_is_found(
        form in form(),
        before in ops(),
        child in ops(),
        place: prop::sample::Index,
        bit in 0u8..8,
        workers in 2usize..5,
        longest in 1usize..4,
    ) {
        let parent = write(form, &before);
        let (mut files, old, new) = forked(&parent, &[], &child);
        let names: Vec<String> = files.keys().filter(|name| name.len() == 24).cloned().collect();
        prop_assume!(!names.is_empty());
        let size = form.size.bytes();
        let at = place.index(names.len() * size as usize);
        let (name, offset) = (&names[at / size as usize], at % size as usize);
        files.get_mut(name).unwrap()[offset] ^= 1 << bit;
        let start = name.parse::<SegmentName>().unwrap().start(form.size).unwrap();
        let damage = Lsn(start.0 + offset as u64);
        let store = store(&files);
        let sequential = walk_cut(&store, &Selection::all(), Level::Records, SEQUENTIAL, &mut Forgetful);
        let parallel = walk_cut(&store, &Selection::all(), Level::Records, (workers, longest), &mut Forgetful);
        prop_assert_eq!(shown(&parallel), shown(&sequential));
        let wal = if name.starts_with("00000001") { &old } else { &new };
        found(&sequential, wal, form, name, damage, offset)?;
    }
}

/// The damage at this place is found; unless nothing can find it.
fn found(walked: &Walked, wal: &Wal, form: Shape, name: &str, damage: Lsn, offset: usize) -> Result<(), TestCaseError> {
    let in_page = damage.0 % u64::from(form.page_size);
    // The flag that says whether a backup is running, on pages that are read for their records: nothing tells.
    let informational = in_page == 2 && offset > 2;
    let record = wal.records().iter().rfind(|record| record.start <= damage);
    let on = name.parse::<SegmentName>().unwrap().timeline();
    let last_of_its_timeline = walked.proofs.iter().rfind(|proof| proof.name.timeline() == on);
    let crosses = record.is_some_and(|record| {
        record.end > damage
            && last_of_its_timeline.is_some_and(|proof| {
                let end = proof.name.start(form.size).unwrap().0 + form.size.bytes();
                // Never finished, over however many segments: nobody knows its CRC.
                record.end.0 > end
            })
    });
    // Begun, and overwritten before it was finished: its CRC was never in any file.
    let abandoned = wal.abandoned().iter().any(|begun| begun.contains(&damage));
    if walked.defects.is_empty() {
        let first_record_before =
            walked.proofs.first().is_some_and(|proof| proof.name.start(form.size).unwrap() == damage);
        prop_assert!(
            informational || crosses || abandoned || first_record_before || in_page == 2 || is_timeline(in_page),
            "not found: {damage} in {name}"
        );
        return Ok(());
    }
    // Near: from the start of the record to the page behind the damage.
    let page = u64::from(form.page_size);
    let low = record.map_or(0, |record| record.start.0).min(damage.0 / page * page);
    let high = damage.0.max(record.map_or(0, |record| record.end.0)) + 2 * page + 64;
    let near = |lsn: Lsn| (low..=high).contains(&lsn.0) || lsn.0 == damage.0 / form.size.bytes() * form.size.bytes();
    prop_assert!(
        walked.defects.iter().any(|one| one.lsn.is_none_or(near)),
        "{damage} in {name}: {low:X}..{high:X}: {:?}",
        lines(walked)
    );
    Ok(())
}

/// A page's timeline can rise without anybody noticing, as long as no page behind it is of an earlier one.
fn is_timeline(in_page: u64) -> bool {
    (4..8).contains(&in_page)
}

/// Two segments and a bit, then a promotion in the third; nothing crosses the first border, a record the second.
fn small() -> (Files, Wal, Wal) {
    let mut parent = Wal::new(Shape::default(), TimelineId::FIRST, SegmentNo(5));
    for second in 0..50 {
        parent.commit(second as u32, 700_000_000_000_000 + second * 1_000_000);
    }
    parent.fill();
    while parent.left_in_segment() > 9000 {
        parent.record(10, 0, 7, &[3; 5000]);
    }
    parent.record(10, 0, 7, &[4; 20_000]);
    parent.commit(8, 700_000_100_000_000);
    forked(&parent, &[Op::Fill], &[Op::Commit(5), Op::Record { rmid: 10, len: 3_000_000, fill: 1 }, Op::Switch])
}

#[track_caller]
fn check(edit: impl FnOnce(&mut Files), expected: Expect) {
    let (mut files, ..) = small();
    edit(&mut files);
    let walked = walked(&files, Level::Records);
    expected.assert_eq(&lines(&walked).join("\n"));
    let parallel = walk_cut(&store(&files), &Selection::all(), Level::Records, (3, 1), &mut Forgetful);
    alike(&parallel, &walked);
}

#[track_caller]
fn alike(one: &Walked, other: &Walked) {
    assert_eq!(difference(one, other), None);
}

/// The first line in which two walks differ, with what stands before it.
fn difference(one: &Walked, other: &Walked) -> Option<String> {
    let (one, other) = (shown(one), shown(other));
    let differ = one.lines().zip(other.lines()).position(|(one, other)| one != other)?;
    let around = |text: &str| text.lines().skip(differ.saturating_sub(30)).take(34).collect::<Vec<_>>().join("\n");
    Some(format!("{}\n--- and ---\n{}", around(&one), around(&other)))
}

const FIVE: &str = "000000010000000000000005";
const SIX: &str = "000000010000000000000006";
const SEVEN: &str = "000000010000000000000007";
const CHILD: &str = "000000020000000000000007";

#[test]
fn what_is_found_and_how_it_is_told() {
    check(|_| {}, expect![[""]]);
    let (healthy, ..) = small();
    assert_eq!(healthy.len(), 7, "{:?}", healthy.keys());
    check(
        |files| files.get_mut(FIVE).unwrap()[500_000] ^= 1,
        expect![
            "segment.record memory:///wal_005/000000010000000000000005 0/579B30: the record's CRC is 5fb118d2, computed 63813212"
        ],
    );
    // The record that crosses from 6 into 7 and into the child's 7: nobody can say which file is wrong.
    check(
        |files| files.get_mut(SIX).unwrap()[1_048_000] ^= 1,
        expect![[r#"
        segment.seam 000000010000000000000006 and memory:///wal_005/000000010000000000000007 0/6FEA70: the record's CRC is 8871dec7, computed 1e703fdc
        segment.seam 000000010000000000000006 and memory:///wal_005/000000020000000000000007 0/6FEA70: the record's CRC is 8871dec7, computed 1e703fdc"#]],
    );
    check(
        |files| files.get_mut(SEVEN).unwrap()[100] ^= 1,
        expect![
            "segment.seam 000000010000000000000006 and memory:///wal_005/000000010000000000000007 0/6FEA70: the record's CRC is 8871dec7, computed a08e2e1e"
        ],
    );
    check(
        |files| files.get_mut(CHILD).unwrap()[100] ^= 1,
        expect![
            "segment.seam 000000010000000000000006 and memory:///wal_005/000000020000000000000007 0/6FEA70: the record's CRC is 8871dec7, computed a08e2e1e"
        ],
    );
    check(
        |files| files.get_mut(SIX).unwrap()[8192..12288].fill(0),
        expect![
            "segment.page memory:///wal_005/000000010000000000000006 0/602000: a page of zeros where the WAL should go on"
        ],
    );
    check(
        |files| files.get_mut(SIX).unwrap().truncate(600_000),
        expect!["segment.size memory:///wal_005/000000010000000000000006 0/6927C0: cut short: 600000 bytes of 1048576"],
    );
    check(|files| drop(files.insert(SIX.to_owned(), Vec::new())), expect![[""]]);
    check(
        |files| drop(files.insert(SIX.to_owned(), healthy[FIVE].clone())),
        expect![
            "segment.foreign memory:///wal_005/000000010000000000000006 0/600000: the segment says that it starts at 0/500000, which is 000000010000000000000005"
        ],
    );
    check(
        |files| files.get_mut(SIX).unwrap().fill(0),
        expect!["segment.page memory:///wal_005/000000010000000000000006 0/600000: no WAL but zeros"],
    );
    check(|files| drop(files.remove(SIX)), expect![[""]]);
    // The parent's segment under the child's name.
    check(
        |files| drop(files.insert(CHILD.to_owned(), healthy[SEVEN].clone())),
        expect![
            "segment.foreign memory:///wal_005/000000020000000000000007 0/700000: every page is of timeline 1 or earlier, and no record begins timeline 2"
        ],
    );
    // Two forms.
    check(|files| drop(files.insert(format!("{SIX}.lzo"), healthy[SIX].clone())), expect![[""]]);
    check(
        |files| drop(files.insert(format!("{SIX}.lzo"), healthy[FIVE].clone())),
        expect![
            "segment.differs memory:///wal_005/000000010000000000000006 : 000000010000000000000006 validates, 000000010000000000000006.lzo is damaged (the segment says that it starts at 0/500000, which is 000000010000000000000005)"
        ],
    );
    check(
        |files| drop(files.insert(format!("{SIX}.zst"), vec![0x28, 0xB5, 0x2F, 0xFD])),
        expect![
            "segment.unread memory:///wal_005/000000010000000000000006 : 000000010000000000000006 validates, 000000010000000000000006.zst could not be judged (this build cannot decode .zst objects)"
        ],
    );
    check(
        |files| {
            for name in [FIVE, SIX, SEVEN] {
                files.remove(name);
                files.insert(format!("{name}.zst"), vec![0x28, 0xB5, 0x2F, 0xFD]);
            }
        },
        expect![
            "segment.unread 000000010000000000000005 to 000000010000000000000007 : this build cannot decode .zst objects"
        ],
    );
    // Another cluster's, whole in itself.
    let other = Shape { system: crate::pg::SystemId(42), ..Shape::default() };
    let mut foreign = Wal::new(other, TimelineId::FIRST, SegmentNo(6));
    foreign.commit(3, 4);
    foreign.switch();
    check(
        |files| drop(files.insert(SIX.to_owned(), foreign.segments().swap_remove(0).1)),
        expect![
            "segment.foreign memory:///wal_005/000000010000000000000006 : it is of the cluster with system identifier 42, the archive's is 7000000000000000001"
        ],
    );
    // Another version, which nobody knows.
    check(
        |files| files.get_mut(SIX).unwrap().chunks_mut(8192).for_each(|page| page[0] = 0x2A),
        expect![
            "segment.unread memory:///wal_005/000000010000000000000006 : WAL with page magic D12A, of a version not supported; known are 9.5 to 18"
        ],
    );
    // A broken `.partial` hurts nobody where the whole segment is there.
    check(
        |files| drop(files.insert(format!("{SEVEN}.partial"), healthy[SIX].clone())),
        expect![
            "segment.foreign memory:///wal_005/000000010000000000000007.partial 0/700000: the segment says that it starts at 0/600000, which is 000000010000000000000006"
        ],
    );
    check(
        |files| {
            files.remove(SEVEN);
            let mut partial = healthy[SEVEN].clone();
            partial[500_000..].fill(0);
            files.insert(format!("{SEVEN}.partial"), partial);
        },
        expect![[""]],
    );
    check(
        |files| drop(files.insert("00000002.history".to_owned(), b"1\t0/707000\tat a place of its own\n".to_vec())),
        expect![
            "fork.contradicts memory:///wal_005/000000020000000000000007 0/703910: the history of timeline 2 says that it begins at 0/707000, and the WAL begins it at 0/703910"
        ],
    );
    check(
        |files| files.get_mut(FIVE).unwrap()[20] = 1,
        expect![
            "segment.odd memory:///wal_005/000000010000000000000005 0/500014: 1 bytes that no checksum covers are not zero, the first at 0/500014"
        ],
    );
}

/// A memory as the ledger is one: by key, size and version.
#[derive(Debug, Default)]
struct Notebook(HashMap<String, SegmentProof>);

impl Notebook {
    fn known(&self, key: &str, size: u64, version: Fingerprint) -> Recall {
        match self.0.get(key) {
            Some(proof) if proof.object.size == size && proof.object.fingerprint() == version => {
                Recall::Same(Box::new(proof.clone()))
            }
            Some(proof) if matches!(proof.outcome, Outcome::Good(_)) => Recall::Changed(Box::new(proof.clone())),
            _ => Recall::New,
        }
    }
}

impl Memory for Notebook {
    fn recall(&mut self, object: &ObjectId) -> Answer<Recall> {
        Ok(self.known(object.key.as_str(), object.size, object.fingerprint()))
    }

    fn recall_listed(&mut self, stored: &StoredSegment) -> Answer<Recall> {
        Ok(self.known(stored.key().as_str(), stored.size, stored.version))
    }

    fn oldest(&mut self, count: u64) -> Answer<Vec<ObjectKey>> {
        let mut keys: Vec<&String> = self.0.keys().collect();
        keys.sort();
        Ok(keys.into_iter().take(count as usize).map(|key| key.as_str().into()).collect())
    }

    fn remember(&mut self, proof: &SegmentProof) -> Answer<()> {
        let good = matches!(&proof.outcome, Outcome::Good(facts) if facts.carry.is_some());
        assert!(good || !matches!(proof.outcome, Outcome::Good(_)), "{} without its carry", proof.name);
        self.0.insert(proof.object.key.as_str().to_owned(), proof.clone());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Segments arrive over several nights, in any order, each night is walked by what is remembered of the one before;
    /// the last night says what one walk over all says, and reads nothing twice.
    #[test]
    fn nights_add_up(
        form in form(),
        before in ops(),
        child in ops(),
        nights in prop::collection::vec(0u8..3, 1..12),
        workers in 1usize..4,
        longest in 1usize..4,
    ) {
        let (files, ..) = forked(&write(form, &before), &[], &child);
        let sequential = walk_cut(&store(&files), &Selection::all(), Level::Records, SEQUENTIAL, &mut Forgetful);
        let night = |name: &str, place: usize| if name.ends_with(".history") { 0 } else { nights[place % nights.len()] };
        let archive = Arc::new(MemoryStore::new());
        let mut memory = Notebook::default();
        let mut objects = 0;
        for tonight in 0..4 {
            for (place, (name, bytes)) in files.iter().enumerate() {
                if night(name, place) == tonight {
                    archive.insert(&format!("wal_005/{name}"), bytes.clone());
                }
            }
            let walked = walk_cut(&archive, &Selection::all(), Level::Records, (workers, longest), &mut memory);
            objects += walked.read.objects;
            if tonight == 3 {
                prop_assert_eq!(walked.read.objects, 0);
                prop_assert_eq!(difference(&walked, &sequential), None);
            }
        }
        prop_assert_eq!(objects, sequential.read.objects);
    }
}

#[test]
fn what_changed_is_read_again_and_joined() {
    let (files, ..) = small();
    let archive = store(&files);
    let mut memory = Notebook::default();
    let night = |archive: &Arc<MemoryStore>, memory: &mut Notebook, selection: &Selection| {
        walk_cut(archive, selection, Level::Records, (2, 2), memory)
    };
    let first = night(&archive, &mut memory, &Selection::all());
    assert_eq!((lines(&first).len(), first.read.objects, first.read.remembered), (0, 6, 0));
    let second = night(&archive, &mut memory, &Selection::all());
    assert_eq!((second.read.objects, second.read.remembered), (0, 6));
    assert_eq!(shown(&second), shown(&first));
    // Other content, good in itself: its last record lies elsewhere, so that the one behind it does not follow.
    let mut other = Wal::new(Shape::default(), TimelineId::FIRST, SegmentNo(5));
    other.commit(1, 2);
    other.switch();
    archive.insert(&format!("wal_005/{FIVE}"), other.segments().swap_remove(0).1);
    let third = night(&archive, &mut memory, &Selection::all());
    expect![[r#"
        ledger.changed memory:///wal_005/000000010000000000000005 : it was proven before, and is another version now, which is good too
        segment.seam 000000010000000000000005 and memory:///wal_005/000000010000000000000006 0/600028: the record says that 0/5FDEC0 comes before it, but 0/500050 does"#]].assert_eq(&lines(&third).join("\n"));
    assert_eq!(third.read.objects, 1);
    // And it stays so, although nothing is new any more.
    let fourth = night(&archive, &mut memory, &Selection::all());
    expect!["segment.seam 000000010000000000000005 and memory:///wal_005/000000010000000000000006 0/600028: the record says that 0/5FDEC0 comes before it, but 0/500050 does"].assert_eq(&lines(&fourth).join("\n"));
    assert_eq!(fourth.read.objects, 0);
    // Looked at again: as it was remembered, or not.
    let again = Selection { recheck: 1.0, ..Selection::all() };
    let fifth = night(&archive, &mut memory, &again);
    assert_eq!((fifth.read.rechecked, fifth.read.objects), (6, 6));
    let key = format!("wal_005/{CHILD}");
    if let Some(Outcome::Good(facts)) = memory.0.get_mut(&key).map(|proof| &mut proof.outcome) {
        facts.times.commits += 1;
    }
    let sixth = night(&archive, &mut memory, &again);
    expect![[r#"
        segment.seam 000000010000000000000005 and memory:///wal_005/000000010000000000000006 0/600028: the record says that 0/5FDEC0 comes before it, but 0/500050 does
        ledger.changed memory:///wal_005/000000020000000000000007 : it was proven before, and holds other WAL now"#]].assert_eq(&lines(&sixth).join("\n"));
}

#[test]
fn a_budget_that_is_used_up_is_said() {
    let (files, ..) = small();
    let archive = store(&files);
    let mut memory = Notebook::default();
    let selection = Selection { budget_bytes: Some(2 << 20), ..Selection::all() };
    let mut nights = 0;
    let last = loop {
        nights += 1;
        assert!(nights < 10);
        let walked = walk_cut(&archive, &selection, Level::Records, (1, 1), &mut memory);
        assert!(walked.read.objects <= 2);
        if walked.unread.is_empty() {
            break walked;
        }
        assert!(
            walked.defects.iter().all(|one| one.code == FindingCode::SegmentUnread && one.breaks == Breaks::Unknown)
        );
        assert_eq!(walked.defects.len(), walked.unread.len());
        assert!(walked.defects[0].what.contains("2097152 bytes allowed"), "{}", walked.defects[0].what);
    };
    assert_eq!(nights, 3);
    let at_once = walk_cut(&archive, &Selection::all(), Level::Records, SEQUENTIAL, &mut Forgetful);
    assert_eq!(shown(&last), shown(&at_once));
    let late = Selection { budget_time: Some(Duration::ZERO), ..Selection::all() };
    let walked = walk_cut(&archive, &late, Level::Records, (1, 1), &mut Forgetful);
    assert!(!walked.unread.is_empty(), "{:?}", walked.read);
}

/// Only what was asked for; the first of a range follows nobody, and that is counted.
#[test]
fn ranges() {
    let (files, ..) = small();
    let range = WalRange { timeline: TimelineId::FIRST, first: SegmentNo(7), last: SegmentNo(9) };
    let selection = Selection { ranges: Some(vec![range]), ..Selection::all() };
    let walked = walk_cut(&store(&files), &selection, Level::Records, SEQUENTIAL, &mut Forgetful);
    assert_eq!((walked.proofs.len(), walked.unchecked.segments), (1, 1));
    assert!(walked.unchecked.head_bytes > 10_000);
    assert_eq!(lines(&walked), Vec::<String>::new());
}

/// What disks and transfers do to more than one bit.
#[derive(Debug, Clone, Copy)]
enum Damage {
    ZeroPage,
    Zero4KiB,
    SwapPages,
    PageOfNeighbour,
    Noise,
}

impl Damage {
    fn apply(self, bytes: &mut [u8], neighbour: &[u8], page: usize, place: prop::sample::Index) {
        let at = place.index(bytes.len() / page) * page;
        let other = (at + 7 * page) % bytes.len();
        match self {
            Damage::ZeroPage => bytes[at..at + page].fill(0),
            Damage::Zero4KiB => {
                let at = at / 4096 * 4096;
                bytes[at..at + 4096].fill(0);
            }
            Damage::SwapPages => {
                let first = bytes[at..at + page].to_vec();
                bytes.copy_within(other..other + page, at);
                bytes[other..other + page].copy_from_slice(&first);
            }
            Damage::PageOfNeighbour => bytes[at..at + page].copy_from_slice(&neighbour[at..at + page]),
            Damage::Noise => bytes[at + page / 2..at + page].iter_mut().for_each(|byte| *byte ^= 0x5A),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whole pages: found near the first byte that is different, and told alike by all cuts.
    #[test]
    fn damaged_pages_are_found(
        form in form(),
        before in ops(),
        child in ops(),
        damage in prop::sample::select(vec![
            Damage::ZeroPage, Damage::Zero4KiB, Damage::SwapPages, Damage::PageOfNeighbour, Damage::Noise,
        ]),
        file: prop::sample::Index,
        place: prop::sample::Index,
        workers in 2usize..5,
        longest in 1usize..4,
    ) {
        let (mut files, old, new) = forked(&write(form, &before), &[], &child);
        let names: Vec<String> = files.keys().filter(|name| name.len() == 24).cloned().collect();
        prop_assume!(!names.is_empty());
        let chosen = file.index(names.len());
        let (name, neighbour) = (&names[chosen], files[&names[(chosen + 1) % names.len()]].clone());
        let healthy = files[name].clone();
        damage.apply(files.get_mut(name).unwrap(), &neighbour, form.page_size as usize, place);
        let differ = healthy.iter().zip(&files[name]).position(|(one, other)| one != other);
        prop_assume!(differ.is_some());
        let offset = differ.unwrap();
        let store = store(&files);
        let sequential = walk_cut(&store, &Selection::all(), Level::Records, SEQUENTIAL, &mut Forgetful);
        let parallel = walk_cut(&store, &Selection::all(), Level::Records, (workers, longest), &mut Forgetful);
        prop_assert_eq!(difference(&parallel, &sequential), None);
        let start = name.parse::<SegmentName>().unwrap().start(form.size).unwrap();
        let wal = if name.starts_with("00000001") { &old } else { &new };
        found(&sequential, wal, form, name, Lsn(start.0 + offset as u64), offset)?;
    }
}

/// What breaks recovery although every byte is right.
#[test]
fn wal_that_no_recovery_passes() {
    for (magic, says) in [(0xD106, "rows are missing"), (0xD110, "replay refuses")] {
        let mut wal = Wal::new(Shape { magic, ..Shape::default() }, TimelineId::FIRST, SegmentNo(5));
        wal.commit(1, 2);
        let at = wal.data(0, 0x60, 0, &[0; 26]);
        wal.switch();
        let walked = walked(&files(&wal), Level::Records);
        let [defect] = &walked.defects[..] else { panic!("{:?}", walked.defects) };
        assert_eq!((defect.code, defect.lsn, defect.breaks), (FindingCode::SegmentMinimal, Some(at), Breaks::Replay));
        assert!(defect.what.contains(says), "{}", defect.what);
    }
}

/// From before the size was changed: whole by its own word, but nothing that this archive's recovery can use.
#[test]
fn a_segment_of_another_size() {
    let (mut all, ..) = small();
    let size = crate::pg::SegmentSize::new(2 << 20).unwrap();
    let mut wal = Wal::new(Shape { size, ..Shape::default() }, TimelineId::FIRST, SegmentNo(6));
    wal.commit(1, 2);
    wal.switch();
    all.insert(SIX.to_owned(), wal.segments().swap_remove(0).1);
    let walked = walked(&all, Level::Records);
    assert!(walked.defects.iter().any(|one| one.code == FindingCode::SegmentMisfit), "{:?}", lines(&walked));
    assert!(walked.defects.iter().all(|one| one.code != FindingCode::SegmentRecord), "{:?}", lines(&walked));
}

/// Each object costs a deadline, so a store that is gone ends the walk; what was not read is not called good.
#[test]
fn a_store_that_gives_no_answer_ends_the_walk() {
    let (all, ..) = small();
    let memory = store(&all);
    let walked = block_on(async {
        let survey = survey::scan(&*memory).await.unwrap();
        // The objects are gone, so that every read fails; what the listing said is all there is.
        assert!(all.keys().all(|name| memory.remove(&format!("wal_005/{name}"))));
        let reader = Reader { store: memory.clone(), budget: Budget::new(4 << 20), advance: Arc::new(|_| {}) };
        let cut = Cut { workers: 1, longest: Some(1) };
        run::run(reader, &survey, &Selection::all(), Level::Records, cut, &mut Forgetful).await.unwrap()
    });
    assert_eq!(walked.read.objects, 3);
    assert!(walked.defects.iter().all(|one| one.code == FindingCode::SegmentUnread && one.breaks == Breaks::Unknown));
    assert_eq!(walked.unread.len(), 1, "{:?}", walked.unread);
    assert!(lines(&walked).iter().any(|line| line.contains("the store gives no answer")), "{:?}", lines(&walked));
}

/// Behind a switch no server reads on. A lower level calls nothing worse than a higher one does, and claims no more for it.
#[test]
fn headers_behind_a_switch_are_no_damage() {
    let (mut all, ..) = small();
    let last = all.keys().rfind(|name| !name.ends_with(".history")).unwrap().clone();
    let bytes = all.get_mut(&last).unwrap();
    let page = bytes.len() - 8192;
    bytes[page + 3] ^= 1;
    for level in [Level::Headers, Level::Records] {
        let walked = walked(&all, level);
        let [odd] = &walked.defects[..] else { panic!("{level:?}: {:?}", lines(&walked)) };
        assert_eq!((odd.code, odd.breaks), (FindingCode::SegmentOdd, Breaks::Nothing), "{level:?}: {}", odd.what);
        let facts = walked.proofs.iter().find(|proof| proof.name.to_string() == last).map(|proof| &proof.outcome);
        let Some(Outcome::Good(facts)) = facts else { panic!("{facts:?}") };
        let of_records = facts.records > 0 && facts.switched && facts.first_record.is_some();
        let of_headers = facts.records == 0 && !facts.switched && facts.first_record.is_none();
        assert!(if level == Level::Records { of_records } else { of_headers }, "{level:?}: {facts:?}");
    }
    // Where records are, it is.
    all.get_mut(&last).unwrap()[8192 + 3] ^= 1;
    let walked = walked(&all, Level::Headers);
    assert!(walked.defects.iter().any(|one| one.code == FindingCode::SegmentPage), "{:?}", lines(&walked));
}
