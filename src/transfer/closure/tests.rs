use super::*;
use crate::storage::ETag;
use jiff::Timestamp;
use proptest::prelude::*;

const SIZE: u64 = 16 << 20;

fn size() -> SegmentSize {
    SegmentSize::new(SIZE).unwrap()
}

fn object(key: &str) -> ObjectId {
    ObjectId { key: key.into(), size: 10, modified: None, etag: Some(ETag::new("\"e\"")) }
}

fn objects(keys: &[&str]) -> Vec<ObjectId> {
    keys.iter().map(|key| object(key)).collect()
}

fn name(text: &str) -> BackupName {
    text.parse().unwrap()
}

fn keys(closure: &Closure) -> Vec<&str> {
    closure.objects.iter().map(|object| object.key.as_str()).collect()
}

const FULL: &str = "base_000000010000000000000004";
const DELTA: &str = "base_000000010000000000000006_D_000000010000000000000004";
const OLD: &str = "base_000000010000000000000002_00000040";

fn needs() -> BTreeMap<BackupName, Need> {
    let need = |parent: Option<&str>, first, last| Need {
        parent: parent.map(name),
        timeline: TimelineId::new(1).unwrap(),
        wal: Some((SegmentNo(first), SegmentNo(last))),
        finished: true,
    };
    BTreeMap::from([
        (name(OLD), need(None, 2, 2)),
        (name(FULL), need(None, 4, 5)),
        (name(DELTA), need(Some(FULL), 6, 6)),
    ])
}

fn archive() -> Vec<ObjectId> {
    let mut all = Vec::new();
    for segment in 1..=9 {
        all.push(object(&format!("wal_005/0000000100000000{segment:08X}.lzo")));
    }
    for backup in [OLD, FULL, DELTA] {
        all.push(object(&format!("basebackups_005/{backup}/tar_partitions/part_001.tar.lz4")));
        all.push(object(&format!("basebackups_005/{backup}_backup_stop_sentinel.json")));
    }
    for segment in [5, 6] {
        all.push(object(&format!("wal_005/0000000200000000{segment:08X}.lzo")));
    }
    all.extend(objects(&[
        "basebackups_005/base_000000010000000000000008/tar_partitions/part_001.tar.lz4",
        "basebackups_005/base_000000010000000000000004/metadata.json",
        "sysids/sysid",
        "wal_005/00000002.history.lzo",
        "wal_005/000000010000000000000004.00000028.backup.lzo",
        "notes.txt",
        ".wal-r/manifest/00000001.json",
    ]));
    all
}

fn chosen(names: &[&str], wal: Wal) -> Closure {
    let choice = Choice::Backups(names.iter().map(|text| name(text)).collect(), wal);
    closure(archive(), &needs(), &choice, size())
}

#[test]
fn a_delta_takes_its_parent_and_its_wal_along() {
    let closure = chosen(&[DELTA], Wal::ToConsistency);
    assert_eq!(closure.backups, BTreeSet::from([name(FULL), name(DELTA)]));
    assert_eq!(
        keys(&closure),
        [
            &format!("basebackups_005/{FULL}/metadata.json"),
            &format!("basebackups_005/{FULL}/tar_partitions/part_001.tar.lz4"),
            &format!("basebackups_005/{FULL}_backup_stop_sentinel.json"),
            &format!("basebackups_005/{DELTA}/tar_partitions/part_001.tar.lz4"),
            &format!("basebackups_005/{DELTA}_backup_stop_sentinel.json"),
            "sysids/sysid",
            "wal_005/000000010000000000000006.lzo",
            "wal_005/000000020000000000000006.lzo",
        ]
    );
    let sentinels: Vec<&str> = closure.sentinels.iter().map(ObjectKey::as_str).collect();
    assert!(sentinels[0].contains(&format!("{FULL}_backup")), "{sentinels:?}");
    assert_eq!(closure.problems, Vec::<String>::new());
}

#[test]
fn all_wal_is_from_the_oldest_choice_on() {
    let closure = chosen(&[FULL], Wal::All);
    let wal: Vec<&str> = keys(&closure).into_iter().filter_map(|key| key.strip_prefix("wal_005/")).collect();
    assert_eq!(wal.len(), 6 + 2 + 2, "{wal:?}");
    assert!(wal.iter().all(|name| !name.starts_with("000000010000000000000003")));
    // The unfinished backup, the older one with its WAL, and what is of no archive stay behind.
    assert_eq!(closure.left.len(), 1 + 2 + 2 + 3 + 1, "{wal:?}");
    assert_eq!(chosen(&[FULL], Wal::None).objects.iter().filter(|one| one.key.as_str().starts_with("wal")).count(), 0);
}

#[test]
fn everything_is_everything_but_what_is_our_own() {
    let closure = closure(archive(), &needs(), &Choice::Everything, size());
    assert_eq!(closure.objects.len(), archive().len() - 1);
    assert!(closure.left.is_empty());
    assert!(keys(&closure).contains(&"notes.txt"));
}

/// What is missing is said, and by whom it is needed.
#[test]
fn what_is_missing_is_said() {
    let without = |gone: &str| -> Vec<String> {
        let rest = archive().into_iter().filter(|object| !object.key.as_str().contains(gone)).collect();
        let choice = Choice::Backups(BTreeSet::from([name(DELTA)]), Wal::All);
        let mut needs = needs();
        if gone.contains("sentinel") {
            needs.get_mut(&name(FULL)).unwrap().finished = false;
        }
        closure(rest, &needs, &choice, size()).problems
    };
    assert_eq!(without("nothing"), Vec::<String>::new());
    assert_eq!(
        without("000000010000000000000006.lzo"),
        [format!("base backup {DELTA} needs WAL that is not in the archive: 000000010000000000000006")]
    );
    // Its parent's WAL it does not need: the pages are as they were when the delta was taken.
    assert_eq!(without("000000010000000000000004.lzo"), Vec::<String>::new());
    assert_eq!(without(&format!("{FULL}/tar")), [format!("base backup {FULL} has a sentinel and no partition")]);
    assert_eq!(
        without(&format!("{FULL}_backup_stop_sentinel")),
        [format!("base backup {DELTA} is a delta of {FULL}, which has no sentinel")]
    );
}

/// A ring of deltas, which only damage makes, ends.
#[test]
fn a_ring_ends() {
    let mut needs = needs();
    needs.get_mut(&name(FULL)).unwrap().parent = Some(name(DELTA));
    let choice = Choice::Backups(BTreeSet::from([name(DELTA)]), Wal::All);
    let closure = closure(archive(), &needs, &choice, size());
    assert_eq!(closure.backups.len(), 2);
    assert_eq!(closure.sentinels.len(), 2);
}

proptest! {
    /// Whatever the times of the sentinels: each once, parents before children, and else as they were written.
    #[test]
    fn sentinels_are_in_order(times in proptest::collection::vec(proptest::option::of(0i64..5), 8), parents in proptest::collection::vec(0usize..8, 8)) {
        let names: Vec<BackupName> = (0..8).map(|n| name(&format!("base_00000001000000000000001{n}"))).collect();
        // A parent has a smaller number; itself stands for none.
        let parent = |n: usize| (parents[n] < n).then(|| names[parents[n]]);
        let needs: BTreeMap<BackupName, Need> = (0..8)
            .map(|n| {
                let timeline = TimelineId::new(1).unwrap();
                (names[n], Need { parent: parent(n), timeline, wal: None, finished: true })
            })
            .collect();
        let objects: Vec<ObjectId> = (0..8)
            .map(|n| ObjectId {
                modified: times[n].map(|time| Timestamp::from_second(time).unwrap()),
                ..object(names[n].sentinel_key().as_str())
            })
            .collect();
        let closure = closure(objects, &needs, &Choice::Everything, size());
        let place = |n: usize| closure.sentinels.iter().position(|key| *key == names[n].sentinel_key());
        prop_assert_eq!(closure.sentinels.len(), 8);
        for n in 0..8 {
            prop_assert!(place(n).is_some());
            if let Some(parent) = parent(n) {
                let parent = names.iter().position(|one| *one == parent).unwrap();
                prop_assert!(place(parent) < place(n));
            }
        }
        // Without deltas it is the order of times alone.
        if (0..8).all(|n| parent(n).is_none()) {
            for (a, b) in (0..8).flat_map(|a| (0..8).map(move |b| (a, b))) {
                if times[a] < times[b] {
                    prop_assert!(place(a) < place(b));
                }
            }
        }
    }

    /// Against a model that looks at each object by itself: what is copied, and that nothing is lost on the way.
    #[test]
    fn nothing_is_lost(first in 0u64..12, last in 0u64..12, wal in 0usize..3) {
        let (first, last) = (first.min(last), first.max(last));
        let wal = [Wal::All, Wal::ToConsistency, Wal::None][wal];
        let mut needs = needs();
        needs.get_mut(&name(OLD)).unwrap().wal = Some((SegmentNo(first), SegmentNo(last)));
        let choice = Choice::Backups(BTreeSet::from([name(OLD)]), wal);
        let all = archive();
        let closure = closure(all.clone(), &needs, &choice, size());
        prop_assert_eq!(closure.objects.len() + closure.left.len(), all.len() - 1);
        for segment in 1..=9 {
            let key = format!("wal_005/0000000100000000{segment:08X}.lzo");
            let wanted = match wal {
                Wal::All => segment >= first,
                Wal::ToConsistency => (first..=last).contains(&segment),
                Wal::None => false,
            };
            prop_assert_eq!(keys(&closure).contains(&key.as_str()), wanted, "{}", key);
        }
        let lacks = wal != Wal::None && (first == 0 || last > 9);
        prop_assert_eq!(!closure.problems.is_empty(), lacks, "{:?}", closure.problems);
    }
}
