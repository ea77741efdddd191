use super::*;
use crate::commands::Silent;
use crate::layout;
use crate::storage::memory::MemoryStore;
use crate::testing::faulty::{FaultyWriter, Moment};
use crate::transfer::manifest::How;
use futures::TryStreamExt;

const FULL: &str = "base_000000010000000000000002_00000040";
const NEXT: &str = "base_000000010000000000000004_00000040";

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn sentinel(segment: u32) -> String {
    format!(
        r#"{{"wal_segment_backup_stop": "00000001000000000000000{segment}", "wal_segment_offset_backup_stop": "00000100", "expanded_size_bytes": 10}}"#
    )
}

/// Two base backups of WAL-E's with the WAL around them. What is in the objects does not matter for names.
fn archive() -> MemoryStore {
    let store = MemoryStore::new();
    for segment in 1..=6 {
        let key = format!("wal_005/00000001000000000000000{segment}.lzo");
        store.insert_at(&key, vec![segment as u8; 1000], time(segment));
    }
    for (name, segment) in [(FULL, 2), (NEXT, 4)] {
        let folder = format!("basebackups_005/{name}");
        let at = time(i64::from(segment) * 10);
        store.insert_at(&format!("{folder}/extended_version.txt"), "PostgreSQL 13", at);
        store.insert_at(&format!("{folder}/tar_partitions/part_00000000.tar.lzo"), vec![7; 5000], at);
        store.insert_at(&format!("{folder}_backup_stop_sentinel.json"), sentinel(segment), at);
    }
    store.insert_at("sysids/sysid", "7710553512918031522\n", time(0));
    store
}

fn ends(source: &MemoryStore, destination: impl StoreWrite + 'static) -> Ends {
    let beside = MemoryStore::new();
    Ends {
        source: Arc::new(source.clone()),
        destination: Arc::new(destination),
        sibling: Box::new(move |_| Ok(Arc::new(beside.clone()))),
    }
}

async fn copy(ends: &Ends, options: &Options) -> Answer<Report> {
    let plan = plan(ends, options).await?;
    run(ends, options, plan, Arc::new(Silent)).await
}

/// What tells bytes apart, and can be read when a test fails.
fn mark(bytes: &[u8]) -> String {
    format!("{} bytes, {:08x}", bytes.len(), crc32c::crc32c(bytes))
}

async fn contents(store: &dyn Store) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for object in objects(store, true).await.unwrap() {
        if !object.key.as_str().starts_with(layout::OWN) {
            let got = store.get(&object.key, crate::storage::ByteRange::ALL, None).await.unwrap();
            all.insert(object.key.to_string(), mark(&got.body.try_collect::<Vec<_>>().await.unwrap().concat()));
        }
    }
    all
}

/// Whatever is visible: a sentinel is there only with all that it promises.
async fn expect_whole_backups(store: &dyn Store, what: &str) {
    let there = contents(store).await;
    for name in [FULL, NEXT] {
        if there.contains_key(&format!("basebackups_005/{name}_backup_stop_sentinel.json")) {
            let part = format!("basebackups_005/{name}/tar_partitions/part_00000000.tar.lzo");
            assert!(there.contains_key(&part), "{what}: {name} is shown without its partition");
            let first = if name == FULL { 2 } else { 4 };
            for segment in first..=6 {
                let key = format!("wal_005/00000001000000000000000{segment}.lzo");
                assert!(there.contains_key(&key), "{what}: {name} is shown without {key}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_holds_what_was_chosen_and_runs_again_for_nothing() {
    let (source, destination) = (archive(), MemoryStore::new());
    let ends = ends(&source, destination.clone());
    let options = Options::default();
    let report = copy(&ends, &options).await.unwrap();
    // Segment 1 is of no use to any backup.
    let mut wanted = contents(&source).await;
    wanted.remove("wal_005/000000010000000000000001.lzo");
    assert_eq!(contents(&destination).await, wanted);
    assert_eq!(report.copied.objects as usize, wanted.len());
    assert_eq!(report.latest, Some(NEXT.parse().unwrap()));
    // A directory would; memory keeps times too.
    let kept = destination.head(&NEXT.parse::<BackupName>().unwrap().sentinel_key()).await.unwrap();
    assert_eq!(kept.modified, Some(time(40)));

    let again = copy(&ends, &options).await.unwrap();
    assert_eq!((again.copied.objects, again.same.objects as usize), (0, wanted.len()));
    let mirror = copy(&ends, &Options { mirror: true, ..options }).await.unwrap();
    assert_eq!(mirror.copied.objects, 1, "only what is new");
    assert_eq!(contents(&destination).await, contents(&source).await);
}

/// A destination that refuses the n-th write, for every n: what is visible can be restored, and the next run ends equal.
#[tokio::test(start_paused = true)]
async fn the_nth_write_fails() {
    let source = archive();
    let mut at = 0;
    loop {
        for moment in [Moment::Before, Moment::After] {
            let destination = MemoryStore::new();
            let faulty = FaultyWriter::new(destination.clone(), at, crate::storage::StoreErrorKind::Refused, moment);
            let what = format!("write {at}, {moment:?}");
            let limits = Limits { jobs: 2, ..Limits::default() };
            let options = Options { limits, ..Options::default() };
            let first = copy(&ends(&source, faulty.clone()), &options).await;
            expect_whole_backups(&destination, &what).await;
            if faulty.writes() <= at {
                first.unwrap();
                assert!(at > 12, "writes were counted: {at}");
                return;
            }
            let error = first.expect_err(&what);
            assert_eq!(error.code(), Code::CredentialsRefused, "{what}");
            copy(&ends(&source, destination.clone()), &options).await.expect(&what);
            let mut wanted = contents(&source).await;
            wanted.remove("wal_005/000000010000000000000001.lzo");
            assert_eq!(contents(&destination).await, wanted, "{what}");
        }
        at += 1;
    }
}

/// The source replaces an object, or loses one, between the listing and the end.
#[tokio::test(start_paused = true)]
async fn a_source_that_changes_meanwhile() {
    let rows = [
        // Replaced: copied as it is now.
        ("wal_005/000000010000000000000003.lzo", Some("other"), Ok((1, 0))),
        // WAL that retention took and nothing needs: said. And WAL without which a backup that is left is none.
        ("wal_005/000000010000000000000003.lzo", None, Ok((0, 1))),
        ("wal_005/000000010000000000000002.lzo", None, Err(Code::StoreChanged)),
        // A partition whose backup is still shown.
        (
            "basebackups_005/base_000000010000000000000004_00000040/tar_partitions/part_00000000.tar.lzo",
            None,
            Err(Code::StoreChanged),
        ),
        ("sysids/sysid", Some("1\n"), Ok((1, 0))),
    ];
    for (key, now, wanted) in rows {
        let (source, destination) = (archive(), MemoryStore::new());
        let ends = ends(&source, destination.clone());
        let options = Options::default();
        let planned = plan(&ends, &options).await.unwrap();
        match now {
            Some(bytes) => source.insert(key, bytes),
            None => drop(source.remove(key)),
        }
        let done = run(&ends, &options, planned, Arc::new(Silent)).await;
        let counts = done.map(|report| (report.changed.len(), report.vanished.len())).map_err(|error| error.code());
        assert_eq!(counts, wanted, "{key}");
        if let Some(bytes) = now {
            assert_eq!(contents(&destination).await[key], mark(bytes.as_bytes()));
        }
        if wanted.is_err() {
            assert!(!contents(&destination).await.keys().any(|key| key.contains("sentinel")), "{key}");
        }
    }
}

/// A backup that retention took as a whole is not copied, and nothing is wrong with that.
#[tokio::test(start_paused = true)]
async fn a_backup_that_retention_took() {
    let (source, destination) = (archive(), MemoryStore::new());
    let ends = ends(&source, destination.clone());
    let options = Options::default();
    let planned = plan(&ends, &options).await.unwrap();
    for key in contents(&source).await.keys().filter(|key| key.contains(FULL)) {
        source.remove(key);
    }
    let report = run(&ends, &options, planned, Arc::new(Silent)).await.unwrap();
    assert_eq!(report.backups, [NEXT.parse().unwrap()]);
    assert!(!contents(&destination).await.contains_key(&format!("basebackups_005/{FULL}_backup_stop_sentinel.json")));
}

#[tokio::test(start_paused = true)]
async fn what_differs_is_not_overwritten_unasked() {
    let key = "wal_005/000000010000000000000003.lzo";
    let (source, destination) = (archive(), MemoryStore::new());
    // Of the same size.
    destination.insert(key, vec![9; 1000]);
    let ends = ends(&source, destination.clone());
    let error = copy(&ends, &Options::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::TargetConflict);
    assert_eq!(contents(&destination).await.len(), 1, "nothing was copied");
    // A mirror brings everything else, and says what it left.
    let mirror = copy(&ends, &Options { mirror: true, ..Options::default() }).await.unwrap();
    assert_eq!(mirror.conflicts, [ObjectKey::from(key)]);
    assert_eq!(contents(&destination).await.len(), contents(&source).await.len());
    assert_eq!(contents(&destination).await[key], mark(&[9; 1000]));
    let taken = copy(&ends, &Options { overwrite: true, ..Options::default() }).await.unwrap();
    assert_eq!(taken.copied.objects, 1);
    assert_eq!(contents(&destination).await, contents(&source).await);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_restored_is_copied_only_when_told() {
    let (source, destination) = (archive(), MemoryStore::new());
    source.remove("wal_005/000000010000000000000004.lzo");
    let ends = ends(&source, destination.clone());
    let error = copy(&ends, &Options::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::DamagedArchive);
    assert!(error.what().contains("000000010000000000000004"), "{}", error.what());
    assert!(destination.is_empty());
    // The other one is whole.
    let which = Which::Named(vec![FULL.parse().unwrap()]);
    let to_consistency = Options { which, wal: Wal::ToConsistency, ..Options::default() };
    copy(&ends, &to_consistency).await.unwrap();
    copy(&ends, &Options { damaged: true, ..Options::default() }).await.unwrap();
    assert_eq!(contents(&destination).await.len(), contents(&source).await.len() - 1);
}

/// The young archive of a service that is being recovered: same names, another cluster.
fn young() -> MemoryStore {
    let store = MemoryStore::new();
    store.insert_at("wal_005/000000010000000000000001.lzo", vec![70; 900], time(100));
    store.insert_at("wal_005/000000010000000000000002.lzo", vec![71; 1000], time(101));
    let folder = "basebackups_005/base_000000010000000000000002_00000028";
    store.insert_at(&format!("{folder}/tar_partitions/part_00000000.tar.lzo"), vec![72; 100], time(102));
    store.insert_at(&format!("{folder}_backup_stop_sentinel.json"), sentinel(2), time(103));
    store.insert_at("sysids/sysid", "42\n", time(99));
    // The same in both archives.
    let version = "basebackups_005/base_000000010000000000000002_00000040/extended_version.txt";
    store.insert_at(version, "PostgreSQL 13", time(98));
    store
}

#[tokio::test(start_paused = true)]
async fn another_archive_is_in_the_way() {
    let source = archive();
    let aside = MemoryStore::new();
    let with = |destination: Arc<dyn StoreWrite>, aside: &MemoryStore| {
        let beside = aside.clone();
        Ends { source: Arc::new(source.clone()), destination, sibling: Box::new(move |_| Ok(Arc::new(beside.clone()))) }
    };
    let destination = young();
    let before = contents(&destination).await;
    let ends = with(Arc::new(destination.clone()), &aside);
    // Names of both are there: a conflict. Without such names: occupied. Neither changes anything.
    let error = copy(&ends, &Options::default()).await.unwrap_err();
    assert_eq!(error.code(), Code::TargetConflict, "{error:?}");
    let replace = |how, confirm, quiet_for| Options { replace: Some(how), confirm, quiet_for, ..Options::default() };
    let unconfirmed = copy(&ends, &replace(Replace::Delete, false, Duration::ZERO)).await.unwrap_err();
    assert_eq!(unconfirmed.code(), Code::TargetUnconfirmed);
    assert_eq!(contents(&destination).await, before);
    // Still being written.
    destination.insert_at("wal_005/000000010000000000000003.lzo", "x", Timestamp::now());
    let busy = copy(&ends, &replace(Replace::Aside, false, Duration::from_secs(300))).await.unwrap_err();
    assert_eq!(busy.code(), Code::TargetBusy);
    destination.remove("wal_005/000000010000000000000003.lzo");
    assert_eq!(contents(&destination).await, before);

    let report = copy(&ends, &replace(Replace::Aside, false, Duration::ZERO)).await.unwrap();
    assert!(report.aside.is_some());
    assert_eq!(contents(&aside).await, before, "all of it is beside");
    let mut wanted = contents(&source).await;
    wanted.remove("wal_005/000000010000000000000001.lzo");
    assert_eq!(contents(&destination).await, wanted, "and nothing of it is left");

    // Again, as after a kill: what is the source's stays where it is.
    let again = copy(&ends, &replace(Replace::Aside, false, Duration::ZERO)).await.unwrap();
    assert_eq!((again.removed.objects, again.aside), (0, None));

    let removed = with(Arc::new(young()), &MemoryStore::new());
    copy(&removed, &replace(Replace::Delete, true, Duration::ZERO)).await.unwrap();
    assert_eq!(contents(&*removed.destination).await, wanted);
}

/// Replacing is killed by the n-th write, for every n, and run again: one archive here, one beside, each whole.
#[tokio::test(start_paused = true)]
async fn a_replacement_that_is_interrupted() {
    let source = archive();
    let mut wanted = contents(&source).await;
    wanted.remove("wal_005/000000010000000000000001.lzo");
    let before = contents(&young()).await;
    let options = Options { replace: Some(Replace::Aside), quiet_for: Duration::ZERO, ..Options::default() };
    for at in 0.. {
        let (destination, aside) = (young(), MemoryStore::new());
        let faulty =
            FaultyWriter::new(destination.clone(), at, crate::storage::StoreErrorKind::Refused, Moment::Before);
        let ends = |destination: Arc<dyn StoreWrite>| {
            let beside = aside.clone();
            Ends {
                source: Arc::new(source.clone()),
                destination,
                sibling: Box::new(move |_| Ok(Arc::new(beside.clone()))),
            }
        };
        let first = copy(&ends(Arc::new(faulty.clone())), &options).await;
        if faulty.writes() <= at {
            first.unwrap();
            assert!(at > 20, "{at}");
            return;
        }
        first.unwrap_err();
        // Nothing of the young archive is lost at any moment.
        let (here, beside) = (contents(&destination).await, contents(&aside).await);
        for (key, bytes) in &before {
            assert!(here.get(key) == Some(bytes) || beside.get(key) == Some(bytes), "write {at}: {key} is lost");
        }
        copy(&ends(Arc::new(destination.clone())), &options)
            .await
            .unwrap_or_else(|error| panic!("write {at}: {error:?}"));
        assert_eq!(contents(&destination).await, wanted, "write {at}");
        assert_eq!(contents(&aside).await, before, "write {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_removes_only_when_told_twice() {
    let (source, destination) = (archive(), MemoryStore::new());
    let ends = ends(&source, destination.clone());
    let mirror = Options { mirror: true, ..Options::default() };
    copy(&ends, &mirror).await.unwrap();
    destination.insert("readme.txt", "somebody's");
    source.remove("wal_005/000000010000000000000001.lzo");
    copy(&ends, &mirror).await.unwrap();
    assert!(contents(&destination).await.contains_key("wal_005/000000010000000000000001.lzo"));
    let unconfirmed = copy(&ends, &Options { delete_extra: true, ..mirror.clone() }).await.unwrap_err();
    assert_eq!(unconfirmed.code(), Code::TargetUnconfirmed);
    let report = copy(&ends, &Options { delete_extra: true, confirm: true, ..mirror }).await.unwrap();
    assert_eq!(report.removed.objects, 1);
    let there = contents(&destination).await;
    assert!(!there.contains_key("wal_005/000000010000000000000001.lzo") && there.contains_key("readme.txt"));
}

/// A store that knows no time but that of the write: an older backup that is copied later must not become LATEST.
#[tokio::test(start_paused = true)]
async fn the_order_of_sentinels_survives_a_late_copy() {
    let (source, memory) = (archive(), MemoryStore::new());
    let log = FaultyWriter::new(memory.clone(), u64::MAX, crate::storage::StoreErrorKind::Refused, Moment::Before);
    let ends = ends(&source, log.clone().without_times());
    let next = Options { which: Which::Latest, ..Options::default() };
    copy(&ends, &next).await.unwrap();
    let began = tokio::time::Instant::now();
    let report = copy(&ends, &Options::default()).await.unwrap();
    assert_eq!(report.renewed, 1);
    let sentinels: Vec<String> =
        log.log().iter().map(ToString::to_string).filter(|key| key.ends_with("_sentinel.json")).collect();
    let key = |name: &str| format!("basebackups_005/{name}_backup_stop_sentinel.json");
    assert_eq!(sentinels, [key(NEXT), key(FULL), key(NEXT)]);
    assert!(began.elapsed() >= Duration::from_secs(1), "no two within one second");
    let manifest = Manifest::read(&memory, &source.url()).await.unwrap();
    assert!(manifest.entries().all(|(_, entry)| entry.how == How::Streamed));
}
