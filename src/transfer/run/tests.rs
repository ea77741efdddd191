use super::*;
use crate::storage::memory::MemoryStore;
use crate::storage::retry::{RetryPolicy, RetryingWrite};
use crate::testing::faulty::{Fault, FaultPlan, FaultyStore, FaultyWriter, Moment};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// A small part, so that objects of many parts are small.
const PART: u64 = 64 << 10;

fn limits() -> Limits {
    Limits { part: PART, ..Limits::default() }
}

fn content(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251 + seed) as u8).collect()
}

/// Sizes around every border: nothing, one byte, one part, a little more, many parts.
fn filled() -> (MemoryStore, BTreeMap<String, Vec<u8>>) {
    let store = MemoryStore::new();
    let part = PART as usize;
    let sizes = [0, 1, 1000, part - 1, part, part + 1, 3 * part + 12_34];
    let objects: BTreeMap<String, Vec<u8>> =
        sizes.iter().enumerate().map(|(n, len)| (format!("object/{n}"), content(*len, n))).collect();
    objects.iter().for_each(|(key, bytes)| store.insert(key, bytes.clone()));
    (store, objects)
}

async fn work(store: &dyn Store, when: When) -> Vec<Work> {
    let listed: Vec<crate::storage::Listed> =
        store.list("", crate::storage::Depth::All, None).try_collect().await.unwrap();
    let object = |one| match one {
        crate::storage::Listed::Object(object) => Work { object, when },
        crate::storage::Listed::Folder(folder) => panic!("{folder}"),
    };
    listed.into_iter().map(object).collect()
}

async fn copy(copier: &Copier, work: Vec<Work>) -> Answer<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    copier
        .all(work, async |outcome| {
            outcomes.push(outcome);
            Ok(())
        })
        .await?;
    Ok(outcomes)
}

async fn bytes(store: &MemoryStore, key: &str) -> Vec<u8> {
    let got = store.get(&key.into(), ByteRange::ALL, None).await.unwrap();
    got.body.try_collect::<Vec<_>>().await.unwrap().concat()
}

fn retrying(inner: impl StoreWrite + 'static) -> Arc<dyn StoreWrite> {
    Arc::new(RetryingWrite::new(Arc::new(inner), RetryPolicy::default(), Arc::default()))
}

#[tokio::test]
async fn every_size_arrives_with_its_digest() {
    let (source, objects) = filled();
    let destination = MemoryStore::new();
    let advanced = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = advanced.clone();
    let copier = Copier::new(Arc::new(source.clone()), Arc::new(destination.clone()), limits(), move |bytes| {
        counted.fetch_add(bytes, Ordering::Relaxed);
    });
    let outcomes = copy(&copier, work(&source, When::ListedAbsent).await).await.unwrap();
    assert_eq!(outcomes.len(), objects.len());
    for outcome in outcomes {
        let Outcome::Copied(entry) = outcome else { panic!("{outcome:?}") };
        let wanted = &objects[&entry.key];
        assert!(bytes(&destination, &entry.key).await == *wanted, "{}", entry.key);
        assert_eq!(entry.sha256, Some(super::super::Hex32(Sha256::digest(wanted).into())));
        assert_eq!(entry.crc32c, Some(crc32c::crc32c(wanted)));
        assert!(entry.is_of(&destination.head(&entry.key.as_str().into()).await.unwrap()));
        assert!(entry.is_from(&source.head(&entry.key.as_str().into()).await.unwrap()));
    }
    assert_eq!(advanced.load(Ordering::Relaxed), objects.values().map(|bytes| bytes.len() as u64).sum::<u64>());
}

/// A write that fails, at every place, done or not: the end is the same, or an error and no object that is not whole.
#[tokio::test(start_paused = true)]
async fn every_write_may_fail() {
    let (source, objects) = filled();
    for moment in [Moment::Before, Moment::After] {
        // Changed: somebody took the upload away.
        let kinds = [StoreErrorKind::Unreachable, StoreErrorKind::Throttled, StoreErrorKind::Changed];
        for kind in kinds.into_iter().chain([StoreErrorKind::Refused]) {
            let mut at = 0;
            loop {
                let memory = MemoryStore::new();
                let faulty = FaultyWriter::new(memory.clone(), at, kind, moment);
                let limits = Limits { jobs: 2, ..limits() };
                let copier = Copier::new(Arc::new(source.clone()), retrying(faulty.clone()), limits, |_| {});
                let copied = copy(&copier, work(&source, When::ListedAbsent).await).await;
                let last = faulty.writes() <= at;
                for (key, wanted) in &objects {
                    match memory.head(&key.as_str().into()).await {
                        Ok(_) => assert!(bytes(&memory, key).await == *wanted, "{key} at {at} {kind:?} {moment:?}"),
                        Err(_) => assert!(copied.is_err(), "{key} at {at} {kind:?} {moment:?}"),
                    }
                }
                // What may be tried again is; a refusal is final unless it came behind the deed of a whole object's end.
                if kind != StoreErrorKind::Refused {
                    assert!(copied.is_ok(), "at {at} {kind:?} {moment:?}: {:?}", copied.err());
                }
                if last {
                    break;
                }
                at += 1;
            }
            assert!(at >= 9, "a part and an end of each were met: {at}");
        }
    }
}

/// An object that the source replaces while it is read is copied as it is now; one that is replaced again and again is an
/// error; one that is gone is said.
#[tokio::test]
async fn a_source_that_changes() {
    let (source, _) = filled();
    let stale = work(&source, When::ListedAbsent).await;
    source.insert("object/2", "another");
    source.remove("object/3");
    let destination = MemoryStore::new();
    let copier = Copier::new(Arc::new(source.clone()), Arc::new(destination.clone()), limits(), |_| {});
    let outcomes = copy(&copier, stale).await.unwrap();
    assert!(outcomes.contains(&Outcome::Vanished("object/3".into())));
    assert_eq!(bytes(&destination, "object/2").await, b"another");
    assert_eq!(outcomes.len(), 7);

    let faulty = FaultyStore::new(Arc::new(source.clone()), FaultPlan::always(Fault::OtherVersion));
    let copier = Copier::new(Arc::new(faulty), Arc::new(MemoryStore::new()), limits(), |_| {});
    let error = copy(&copier, work(&source, When::ListedAbsent).await).await.unwrap_err();
    assert_eq!(error.code(), Code::StoreChanged, "{error:?}");
}

/// What is there is not replaced unasked; where it is the same, it is found to be.
#[tokio::test]
async fn what_is_there_stays() {
    let (source, _) = filled();
    for (key, there, wanted) in [
        ("object/2", content(1000, 2), Ok(())),
        ("object/2", content(1000, 3), Err(Code::TargetConflict)),
        ("object/2", content(999, 2), Err(Code::TargetConflict)),
        ("object/6", content(3 * PART as usize + 12_34, 6), Ok(())),
        ("object/6", content(3 * PART as usize + 12_34, 7), Err(Code::TargetConflict)),
    ] {
        let destination = MemoryStore::new();
        destination.insert(key, there.clone());
        let copier = Copier::new(Arc::new(source.clone()), Arc::new(destination.clone()), limits(), |_| {});
        let one = work(&source, When::ListedAbsent).await.into_iter().filter(|work| work.object.key.as_str() == key);
        let copied = copy(&copier, one.collect()).await;
        assert_eq!(copied.map(|_| ()).map_err(|error| error.code()), wanted, "{key}");
        assert!(bytes(&destination, key).await == there, "{key}");
    }
}

/// Bytes that are wrong on the way do not arrive: a source that ends early, or gives more than it said.
#[tokio::test]
async fn a_source_that_lies() {
    let (source, _) = filled();
    let one = work(&source, When::ListedAbsent).await.into_iter().find(|work| work.object.key.as_str() == "object/6");
    for fault in [Fault::ShortAt(PART + 5), Fault::ShortAt(0), Fault::CutAt(PART + 5)] {
        let faulty = FaultyStore::new(Arc::new(source.clone()), FaultPlan::always(fault));
        let destination = MemoryStore::new();
        let copier = Copier::new(Arc::new(faulty), Arc::new(destination.clone()), limits(), |_| {});
        copy(&copier, one.clone().into_iter().collect()).await.unwrap_err();
        assert!(destination.is_empty(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept() {
    let source = MemoryStore::new();
    (0..20).for_each(|n| source.insert(&format!("{n}"), content(100_000, n)));
    let limits = Limits { rate: Some(200_000), ..limits() };
    let copier = Copier::new(Arc::new(source.clone()), Arc::new(MemoryStore::new()), limits, |_| {});
    let began = Instant::now();
    copy(&copier, work(&source, When::ListedAbsent).await).await.unwrap();
    let took = began.elapsed().as_secs_f64();
    assert!((9.5..=10.5).contains(&took), "2 MB at 200 kB/s took {took} s");
}

#[test]
fn no_object_has_more_parts_than_s3_takes() {
    let limits = Limits::default();
    for size in [16 << 20, 5 << 30, 150 << 30, 5 << 40u64] {
        let part = limits.part_of(size);
        assert!(size.div_ceil(part) <= 10_000 && part >= 16 << 20, "{size}: {part}");
        assert!(size.div_ceil(part) <= MOST_PARTS, "{size}: {part}");
    }
}
