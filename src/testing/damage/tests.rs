use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn bundled() -> Scene {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/archive/wal-e-pg13");
    Scene::new(Archive::read(&folder).expect("the bundled archive")).expect("a clean archive")
}

#[test]
fn the_naive_reader_sees_the_bundled_archive() {
    let model = bundled().model;
    assert_eq!(model.size, 16 << 20);
    let segments: Vec<_> = model.segments.keys().copied().collect();
    assert_eq!(segments, [(1, 2), (1, 3), (1, 4), (1, 5), (2, 6), (2, 7)]);
    assert_eq!(model.partials.keys().copied().collect::<Vec<_>>(), [(1, 6)]);
    assert_eq!(model.backups.len(), 1);
    let backup = &model.backups[0];
    assert_eq!((backup.timeline, backup.start, backup.parts.len()), (1, 0x300_0028, 1));
    assert_eq!(model.path(backup, 2).expect("it leads there"), [(1, 3), (1, 4), (1, 5), (2, 6), (2, 7)]);
    assert_eq!(model.newest().map(|newest| &newest.name), Some(&backup.name));
    // Nothing needs what lies before the only base backup; all else leads to the newest state.
    assert_eq!(model.replay_breaks(&[(1, 2)]), Model::nothing());
    assert_eq!(model.replay_breaks(&[(2, 6)]).worst, (Severity::Critical, Severity::Critical));
    assert!(model.is_missed((2, 6)) && !model.is_missed((2, 7)) && !model.is_missed((1, 2)));
}

#[test]
fn the_naive_reader_follows_branches() {
    // 1: 1..9, left at 5.5 for 2 (5..8), which is left at 7.5 for 3 (7..9). Backups at 2, 6 on 2, 8 on 3.
    let base = |timeline: u32, number: u64| Base {
        name: format!("at {timeline}/{number}"),
        timeline,
        start: number * 100 + 40,
        stop: number * 100 + 60,
        parts: Vec::new(),
        sentinel: String::new(),
    };
    let mut model = Model {
        size: 100,
        segments: BTreeMap::new(),
        partials: BTreeMap::new(),
        histories: BTreeMap::from([(2, vec![(1, 550)]), (3, vec![(1, 550), (2, 750)])]),
        backups: vec![base(1, 2), base(2, 6), base(3, 8)],
    };
    for (timeline, numbers) in [(1, 1..=9), (2, 5..=8), (3, 7..=9)] {
        for number in numbers {
            model.segments.insert((timeline, number), String::new());
        }
    }
    assert_eq!(
        model.path(&model.backups[0], 3).expect("it leads there"),
        [(1, 2), (1, 3), (1, 4), (2, 5), (2, 6), (3, 7), (3, 8), (3, 9)]
    );
    assert_eq!(model.path(&model.backups[1], 1), None);
    let hurt = |at| model.replay_breaks(&[at]);
    // The newest backup is behind it: only older ones are hurt.
    assert_eq!(hurt((3, 7)).certainly, ["at 1/2", "at 2/6"]);
    assert_eq!(hurt((3, 7)).worst, (Severity::Warning, Severity::Warning));
    assert_eq!(hurt((3, 9)).worst, (Severity::Critical, Severity::Critical));
    // The end of a timeline that was left.
    assert_eq!(
        (hurt((2, 8)).certainly.len(), hurt((2, 8)).perhaps.as_slice()),
        (0, &["at 1/2".to_owned(), "at 2/6".to_owned()][..])
    );
    assert_eq!(hurt((1, 1)), Model::nothing());
}

/// Each damage changes what it says, the same way each time, and no other object.
#[test]
fn damages_are_real_and_repeatable() {
    let scene = bundled();
    let mut without_a_place = BTreeSet::new();
    let mut made = 0;
    for kind in Kind::all() {
        let mut any = false;
        for seed in 0..4 {
            let Some(damage) = kind.damage(&scene, seed) else { continue };
            any = true;
            made += 1;
            if seed == 0 {
                let again = kind.damage(&scene, seed).expect("the same seed");
                assert_eq!((&damage.what, &damage.changes), (&again.what, &again.changes), "{kind:?} {seed}");
            }
            assert!(!damage.changes.is_empty(), "{kind:?} {seed}");
            let after = scene.archive.damaged(&damage);
            for (key, bytes) in &damage.changes {
                assert_ne!(scene.archive.get(key), bytes.as_ref(), "{kind:?} {seed}: {key} is as before");
                assert_eq!(after.get(key), bytes.as_ref(), "{kind:?} {seed}: {key}");
            }
            let same = |key: &&str| scene.archive.get(key) == after.get(key);
            let changed: BTreeSet<&str> = damage.changes.iter().map(|(key, _)| key.as_str()).collect();
            assert!(scene.archive.keys().filter(|key| !changed.contains(key)).all(|key| same(&key)), "{kind:?} {seed}");
            check(&damage);
        }
        if !any {
            without_a_place.insert(kind.name);
        }
    }
    // One base backup of one partition, one fork, no checksums, no record across a border: what needs those is tried on
    // archives that have them.
    let expected = BTreeSet::from(NEED_MORE);
    assert_eq!(without_a_place, expected);
    assert!(made > 200, "{made} damages");
}

/// Kinds that the small archive has no place for.
const NEED_MORE: [&str; 10] = [
    "backup-page-checksum-edited",
    "backup-page-flipped",
    "backup-page-zeroed-in-part",
    "backup-part-swapped",
    "backup-sentinel-of-another",
    "content-of-child",
    "content-of-parent",
    "crossing-record-edited",
    "history-swapped",
    "pruned-as-wal-e-does",
];

/// An expectation that can fail.
fn check(damage: &Damage) {
    let Expect { claim, codes, worst, certainly, perhaps, .. } = &damage.expect;
    assert!(worst.0 <= worst.1, "{damage:?}");
    assert_eq!(codes.is_empty(), *claim == Claim::Nobody, "{} {}", damage.kind, damage.seed);
    assert!(certainly.iter().all(|name| perhaps.contains(name)), "{} {}", damage.kind, damage.seed);
}

#[test]
fn kinds_have_names_of_their_own() {
    let names: BTreeSet<&str> = Kind::all().map(|kind| kind.name).collect();
    assert_eq!(names.len(), Kind::all().count());
    assert!(names.len() >= 25, "{}", names.len());
    assert!(Kind::named("page-zeroed").is_some() && Kind::named("nothing").is_none());
}

/// Written to a directory, what does not change is the same file.
#[test]
fn a_damaged_copy_shares_what_it_can() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (folder.path().join("clean"), folder.path().join("damaged"));
    let mut archive = Archive::default();
    for number in 1..4 {
        let key = format!("wal_005/{number}");
        let path = from.join(&key);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, format!("content {number}")).expect("a file");
        archive.insert(key, format!("content {number}"));
    }
    let changes = vec![("wal_005/1".to_owned(), None), ("wal_005/2".to_owned(), Some("other".into()))];
    let damage = Damage { kind: "test", seed: 0, what: String::new(), changes, expect: Expect::nothing() };
    archive.write_damaged(&from, &damage, &to).expect("a copy");
    let read = Archive::read(&to).expect("the copy");
    assert_eq!(read.keys().collect::<Vec<_>>(), ["wal_005/2", "wal_005/3"]);
    assert_eq!(read.get("wal_005/2").map(|bytes| &bytes[..]), Some(&b"other"[..]));
    let inode = |path: &Path| std::fs::metadata(path).expect("a file").ino();
    assert_eq!(inode(&from.join("wal_005/3")), inode(&to.join("wal_005/3")));
    assert_eq!(std::fs::read(from.join("wal_005/2")).expect("it").as_slice(), b"content 2");
}

/// Records as the walk of `raw` finds them are those that the decoder in use finds.
#[test]
fn records_are_found_where_they_are() {
    let scene = bundled();
    for key in scene.model.segments.values() {
        let plain = crate::testing::lzop::unlzop(scene.archive.get(key).expect("it"));
        let found = raw::records(&plain);
        let name = key["wal_005/".len()..][..24].parse().expect("a name");
        let mut check = crate::wal::SegmentCheck::new(crate::wal::Expect::new(name));
        check.push(&plain).expect("a clean segment");
        let report = check.finish().expect("a clean segment");
        let whole = found.iter().filter(|record| record.begins && record.ends).count() as u64;
        assert_eq!(whole, report.records, "{key}");
        // Resealed without a change, nothing changes.
        let mut copy = plain.clone();
        for record in found.iter().filter(|record| record.begins && record.ends) {
            record.rewrite(&mut copy, |_| {});
        }
        assert!(copy == plain, "{key}");
    }
}
