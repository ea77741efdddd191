//! How long does a listing of 1 000 000 names take to become an inventory, and how much memory?
//!
//! In: nothing; the names are made here. Out: entries a second, our own time in all, and the peak of memory (Linux).
//! The bars (no test asserts a time): 3 s, 128 MiB; the whole names level of `audit` keeps them, too. And: how long do 500 sentinels take at 20 ms a request? Bar: 3 s.
#![allow(clippy::print_stdout, reason = "a bench prints")]

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use std::time::{Duration, Instant};
use wal_r::catalog::continuity::{self, WalRange};
use wal_r::catalog::scan;
use wal_r::commands::backup_list::{self, Options};
use wal_r::layout::ObjectKey;
use wal_r::pg::{SegmentNo, SegmentSize, TimelineId};
use wal_r::proof::{judge, names, survey};
use wal_r::storage::memory::MemoryStore;
use wal_r::storage::{
    ByteRange, Capabilities, Depth, ETag, Got, ListStream, Listed, ObjectId, Store, StoreError, StoreErrorKind,
};

const NAMES: u64 = 1_000_000;

/// A store of a million segments that costs nothing to list: what is measured is ours.
#[derive(Debug)]
struct Names;

#[async_trait]
impl Store for Names {
    fn url(&self) -> String {
        "names:///".into()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { sorted: true, etags: true, remote: false, keeps_times: false }
    }

    fn list<'a>(&'a self, prefix: &str, _: Depth, _: Option<&ObjectKey>) -> ListStream<'a> {
        let count = if prefix == "wal_005/" { NAMES } else { 0 };
        stream::iter((0..count).map(|number| {
            let name = SegmentNo(number + 1).name(TimelineId::FIRST, SegmentSize::DEFAULT).expect("a name");
            let etag = Some(ETag::new(format!("\"{number:032x}\"")));
            let key = ObjectKey::new(format!("wal_005/{name}.lzo"));
            Ok(Listed::Object(ObjectId { key, size: 5_000_000, modified: jiff::Timestamp::from_second(1).ok(), etag }))
        }))
        .boxed()
    }

    async fn get(&self, key: &ObjectKey, _: ByteRange, _: Option<&ETag>) -> Result<Got, StoreError> {
        Err(StoreError::new(StoreErrorKind::NoSuchObject, key, "names only"))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        Err(StoreError::new(StoreErrorKind::NoSuchObject, key, "names only"))
    }
}

/// A store whose every request takes 20 ms.
#[derive(Debug)]
struct Slow(MemoryStore);

#[async_trait]
impl Store for Slow {
    fn url(&self) -> String {
        self.0.url()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { remote: true, ..self.0.capabilities() }
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        let listing = self.0.list(prefix, depth, start_after);
        stream::once(tokio::time::sleep(Duration::from_millis(20)))
            .flat_map(|()| stream::empty())
            .chain(listing)
            .boxed()
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.0.get(key, range, version).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        self.0.head(key).await
    }
}

/// Peak of this process's memory, KiB.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").trim().parse().ok()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let began = Instant::now();
    let inventory = runtime.block_on(scan::everything(&Names)).expect("a listing");
    let listed = began.elapsed();
    let range = WalRange { timeline: TimelineId::FIRST, first: SegmentNo(1), last: SegmentNo(NAMES + 10) };
    let runs = continuity::runs(&inventory, range, SegmentSize::DEFAULT);
    assert_eq!((inventory.segments().len() as u64, runs.len()), (NAMES, 2));
    let peak = peak_kib().map_or_else(|| "unknown".to_owned(), |kib| format!("{} MiB", kib / 1024));
    let rate = NAMES as f64 / listed.as_secs_f64();
    println!(
        "list_large: {NAMES} names, {listed:.2?} ({rate:.0}/s), runs and gaps with it {:.2?}, peak {peak}",
        began.elapsed()
    );

    drop(inventory);
    let began = Instant::now();
    let survey = runtime.block_on(survey::scan(&Names)).expect("a survey");
    let findings = judge::judge(&survey, names::defects(&survey));
    let peak = peak_kib().map_or_else(|| "unknown".to_owned(), |kib| format!("{} MiB", kib / 1024));
    println!("names level: {NAMES} names, {:.2?} with {} findings, peak {peak}", began.elapsed(), findings.len());

    let store = MemoryStore::new();
    for number in 0..500 {
        let key = format!("basebackups_005/base_0000000100000000000000{number:04X}_00000040_backup_stop_sentinel.json");
        let key = key.replace("base_0000000100000000000000", "base_00000001000000000000");
        store.insert(&key, r#"{"wal_segment_backup_stop": "000000010000000000000003", "expanded_size_bytes": 1}"#);
    }
    let began = Instant::now();
    let all = Options { read_sentinels: true, query: None };
    let report = runtime.block_on(backup_list::run(&Slow(store), &all)).expect("a list");
    assert_eq!(report.backups.len(), 500);
    println!("sentinels: 500 at 20 ms a request, {:.2?}", began.elapsed());
}
