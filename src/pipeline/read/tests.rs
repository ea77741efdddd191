//! Order, bounds and ends of ranged reads.

use super::*;
use crate::layout::ObjectKey;
use crate::storage::memory::MemoryStore;
use crate::storage::{BodyStream, Capabilities, Depth, ListStream};
use async_trait::async_trait;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A memory store that counts as remote, answers later ranges sooner, and can be told to misbehave.
#[derive(Debug, Default)]
struct Slow {
    inner: MemoryStore,
    under_way: AtomicUsize,
    most: AtomicUsize,
    bytes: AtomicUsize,
    most_bytes: AtomicUsize,
    asked: Mutex<Vec<(u64, Option<u64>)>>,
    short: AtomicBool,
    replace: AtomicBool,
    no_etag_in_list: bool,
}

#[async_trait]
impl Store for Slow {
    fn url(&self) -> String {
        "slow:///".into()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { sorted: true, etags: true, remote: true, keeps_times: false }
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        self.inner.list(prefix, depth, start_after)
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
        self.asked.lock().expect("a lock").push((range.start, range.len));
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let len = range.len.unwrap_or(0) as usize;
        let bytes = self.bytes.fetch_add(len, Ordering::SeqCst) + len;
        self.most_bytes.fetch_max(bytes, Ordering::SeqCst);
        // The later the range, the sooner the answer: order must come from us.
        for _ in 0..40u64.saturating_sub(range.start / 50) {
            tokio::task::yield_now().await;
        }
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        self.bytes.fetch_sub(len, Ordering::SeqCst);
        if range.start > 0 && self.replace.swap(false, Ordering::SeqCst) {
            self.inner.insert(key.as_str(), vec![9; 1000]);
        }
        let mut got = self.inner.get(key, range, version).await?;
        if range.start >= 500 && self.short.load(Ordering::SeqCst) {
            let body: BodyStream = futures::stream::iter([Ok(Bytes::from_static(b"x"))]).boxed();
            got.body = body;
        }
        Ok(got)
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        panic!("a HEAD of {key}");
    }
}

fn content() -> Vec<u8> {
    (0..1000u32).map(|i| (i * 7 % 251) as u8).collect()
}

async fn object(store: &Slow) -> ObjectId {
    store.inner.insert("k", content());
    let mut id = store.inner.head(&"k".into()).await.expect("an object");
    if store.no_etag_in_list {
        id.etag = None;
    }
    id
}

async fn drain(store: Arc<Slow>, id: ObjectId, budget: &Budget, range_bytes: u64) -> Result<Vec<u8>, StoreError> {
    let settings = Settings { range_bytes, requests: 4 };
    let mut reading = Reading::start(store, id, budget.clone(), settings);
    let mut all = Vec::new();
    while let Some(chunk) = reading.next().await {
        assert_eq!(chunk.offset, all.len() as u64, "in order, without holes");
        assert!(!chunk.bytes.is_empty());
        all.extend_from_slice(&chunk.bytes);
    }
    reading.finish().await.map(|done| {
        assert!(done.object.etag.is_some());
        all
    })
}

#[tokio::test]
async fn parallel_ranges_arrive_in_order() {
    let store = Arc::new(Slow::default());
    let id = object(&store).await;
    let budget = Budget::new(1 << 20);
    assert_eq!(drain(Arc::clone(&store), id, &budget, 90).await.expect("whole"), content());
    assert_eq!(store.most.load(Ordering::SeqCst), 4, "as many requests as allowed");
    assert_eq!(store.asked.lock().expect("a lock").len(), 12, "one request per range, none twice");
    assert_eq!(budget.free_bytes(), 1 << 20, "all bytes given back");
}

#[tokio::test]
async fn the_budget_bounds_requests_and_never_locks() {
    for total in [1, 50, 90, 100, 180, 250] {
        let store = Arc::new(Slow::default());
        let id = object(&store).await;
        let budget = Budget::new(total);
        // Three objects share one budget.
        let readers = (0..3).map(|_| drain(Arc::clone(&store), id.clone(), &budget, 90));
        for result in futures::future::join_all(readers).await {
            assert_eq!(result.expect("whole"), content(), "budget {total}");
        }
        let most = store.most_bytes.load(Ordering::SeqCst);
        assert!(most <= total, "budget {total}: {most} bytes were in flight");
        assert_eq!(budget.free_bytes(), total as u64);
    }
}

#[tokio::test]
async fn one_version_only() {
    // With the listing's etag, and with the first answer's.
    for no_etag_in_list in [false, true] {
        let store = Arc::new(Slow { no_etag_in_list, ..Slow::default() });
        let id = object(&store).await;
        store.replace.store(true, Ordering::SeqCst);
        let error = drain(store, id, &Budget::new(1 << 20), 300).await.expect_err("two versions");
        assert_eq!(error.kind, StoreErrorKind::Changed);
    }
    // Another size than listed.
    let store = Arc::new(Slow::default());
    let id = ObjectId { size: 10, etag: None, ..object(&store).await };
    let error = drain(store, id, &Budget::new(1 << 20), 300).await.expect_err("another size");
    assert_eq!(error.kind, StoreErrorKind::Changed);
}

#[tokio::test]
async fn a_short_answer_is_an_error_and_the_channel_alone_is_not_the_end() {
    let store = Arc::new(Slow::default());
    let id = object(&store).await;
    store.short.store(true, Ordering::SeqCst);
    let error = drain(Arc::clone(&store), id.clone(), &Budget::new(1 << 20), 250).await.expect_err("short");
    assert_eq!(error.kind, StoreErrorKind::Failed);
    let missing = ObjectId { key: "no".into(), ..id };
    let error = drain(store, missing, &Budget::new(1 << 20), 250).await.expect_err("missing");
    assert_eq!(error.kind, StoreErrorKind::NoSuchObject);
}

#[tokio::test]
async fn dropping_the_reader_gives_everything_back() {
    let store = Arc::new(Slow::default());
    let id = object(&store).await;
    let budget = Budget::new(500);
    let mut reading = Reading::start(store, id, budget.clone(), Settings { range_bytes: 100, requests: 8 });
    assert!(reading.next().await.is_some());
    drop(reading);
    for _ in 0..1000 {
        if budget.free_bytes() == 500 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} bytes are still held", 500 - budget.free_bytes());
}

#[tokio::test]
async fn an_empty_object_has_no_chunks_and_an_end() {
    let store = MemoryStore::new();
    store.insert("k", Vec::new());
    let id = store.head(&"k".into()).await.expect("an object");
    let mut reading = Reading::start(Arc::new(store), id, Budget::new(10), Settings::default());
    assert!(reading.next().await.is_none());
    assert_eq!(reading.finish().await.expect("an end").object.size, 0);
}
