//! One version of an object as chunks in order, read in parallel ranges.
//!
//! In: a store, an [`ObjectId`] from a listing, a [`Budget`]. Out: [`Reading`]: chunks in order, then one word that says
//! whether that was all. Never: mixes two versions of an object, asks for a range before its bytes are in the budget,
//! or sends a HEAD. Trying again and resuming inside a range is the store's own business (`storage::retry`).

use super::budget::{Budget, Held};
use crate::storage::{ByteRange, ETag, Got, ObjectId, Store, StoreError, StoreErrorKind};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinHandle};

/// How an object is cut.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Bytes per request where requests in parallel pay.
    pub range_bytes: u64,
    /// Requests of one object under way at once, at most; the budget may allow fewer.
    pub requests: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { range_bytes: 1 << 20, requests: 8 }
    }
}

/// Consecutive stored bytes. Its bytes count against the budget until it is dropped.
#[derive(Debug)]
pub struct Chunk {
    /// Place of the first byte in the object.
    pub offset: u64,
    /// The bytes, never none.
    pub bytes: Bytes,
    _held: Held,
}

/// The end of an object that was read to its last byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The version that was read; etag and time, where they were not known before, as the store gave them with the bytes.
    pub object: ObjectId,
}

/// An object being read. Dropping it stops the requests.
#[derive(Debug)]
pub struct Reading {
    chunks: mpsc::Receiver<Chunk>,
    end: Option<oneshot::Receiver<Result<Done, StoreError>>>,
    task: AbortHandle,
    url: String,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reading {
    /// Start reading. Must be called within a runtime.
    pub fn start(store: Arc<dyn Store>, object: ObjectId, budget: Budget, settings: Settings) -> Reading {
        let (send, chunks) = mpsc::channel(settings.requests.max(1));
        let (say, end) = oneshot::channel();
        let url = store.object_url(&object.key);
        let task = tokio::spawn(async move {
            let result = read(store, object, &budget, settings, &send).await;
            drop(send);
            let _ = say.send(result);
        });
        Reading { chunks, end: Some(end), task: task.abort_handle(), url }
    }

    /// The URL of the object, for messages.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next chunk; `None` at the end, of which only [`Reading::finish`] says whether it is the object's.
    pub async fn next(&mut self) -> Option<Chunk> {
        self.chunks.recv().await
    }

    /// [`Reading::next`] for a thread that may block.
    pub fn blocking_next(&mut self) -> Option<Chunk> {
        self.chunks.blocking_recv()
    }

    /// After the last chunk: was it the object's end?
    pub async fn finish(mut self) -> Result<Done, StoreError> {
        match self.end.take() {
            Some(end) => end.await.unwrap_or_else(|_| Err(self.cut_off())),
            None => Err(self.cut_off()),
        }
    }

    /// [`Reading::finish`] for a thread that may block.
    pub fn blocking_finish(mut self) -> Result<Done, StoreError> {
        match self.end.take() {
            Some(end) => end.blocking_recv().unwrap_or_else(|_| Err(self.cut_off())),
            None => Err(self.cut_off()),
        }
    }

    /// The task is gone without a word: the runtime is going down, or it panicked.
    fn cut_off(&self) -> StoreError {
        StoreError::new(StoreErrorKind::Failed, &self.url, "reading was stopped before its end")
    }
}

async fn read(
    store: Arc<dyn Store>,
    mut object: ObjectId,
    budget: &Budget,
    settings: Settings,
    out: &mpsc::Sender<Chunk>,
) -> Result<Done, StoreError> {
    let range_bytes = settings.range_bytes.clamp(1, budget.total_bytes());
    if !store.capabilities().remote || object.size <= range_bytes {
        let object = stream(&*store, object, budget, out).await?;
        return Ok(Done { object });
    }
    let mut under_way: VecDeque<Owned<Result<(ObjectId, Chunk), StoreError>>> = VecDeque::new();
    let mut next = 0;
    loop {
        // Without an etag from the listing the first range tells it, alone.
        let limit = if object.etag.is_none() && store.capabilities().etags { 1 } else { settings.requests.max(1) };
        while next < object.size && under_way.len() < limit {
            let len = range_bytes.min(object.size - next);
            // In delivery order, before the request: what must be delivered first never waits for what comes later.
            // With something under way, delivering that comes first: its bytes may be the ones that are missing here.
            let held = match under_way.is_empty() {
                true => budget.take(len).await,
                false => match budget.try_take(len) {
                    Some(held) => held,
                    None => break,
                },
            };
            let (store, object, start) = (Arc::clone(&store), object.clone(), next);
            under_way.push_back(Owned(tokio::spawn(async move { range(&*store, object, start, len, held).await })));
            next += len;
        }
        let Some(mut first) = under_way.pop_front() else { break };
        let (seen, chunk) = match (&mut first.0).await {
            Ok(result) => result?,
            Err(error) => {
                let url = store.object_url(&object.key);
                return Err(StoreError::new(StoreErrorKind::Failed, url, "a range request died").because(error));
            }
        };
        object.etag = object.etag.or(seen.etag);
        object.modified = object.modified.or(seen.modified);
        if out.send(chunk).await.is_err() {
            let url = store.object_url(&object.key);
            return Err(StoreError::new(StoreErrorKind::Failed, url, "nobody reads any more"));
        }
    }
    Ok(Done { object })
}

/// A task that ends with its owner.
struct Owned<T>(JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One range as one chunk.
async fn range(
    store: &dyn Store,
    object: ObjectId,
    start: u64,
    len: u64,
    held: Held,
) -> Result<(ObjectId, Chunk), StoreError> {
    let Got { object: seen, mut body } =
        store.get(&object.key, ByteRange::new(start, len), object.etag.as_ref()).await?;
    same(store, &object, &seen)?;
    let capacity = usize::try_from(len).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::with_capacity(capacity);
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if piece.len() > capacity - bytes.len() {
            return Err(wrong_length(store, &object, "more bytes than were asked for"));
        }
        bytes.extend_from_slice(&piece);
    }
    if bytes.len() != capacity {
        return Err(wrong_length(store, &object, "fewer bytes than were asked for"));
    }
    Ok((seen, Chunk { offset: start, bytes: bytes.freeze(), _held: held }))
}

/// The whole object in one request: where requests cost nothing to follow each other, or it is small.
async fn stream(
    store: &dyn Store,
    object: ObjectId,
    budget: &Budget,
    out: &mpsc::Sender<Chunk>,
) -> Result<ObjectId, StoreError> {
    let mut offset = 0;
    let Got { object: seen, mut body } = store.get(&object.key, ByteRange::ALL, object.etag.as_ref()).await?;
    same(store, &object, &seen)?;
    while let Some(piece) = body.next().await {
        let bytes = piece?;
        if bytes.is_empty() {
            continue;
        }
        let held = budget.take(bytes.len() as u64).await;
        let len = bytes.len() as u64;
        if out.send(Chunk { offset, bytes, _held: held }).await.is_err() {
            return Err(wrong_length(store, &object, "nobody reads any more"));
        }
        offset += len;
    }
    if offset != object.size {
        return Err(wrong_length(store, &object, &format!("{offset} bytes came of {}", object.size)));
    }
    Ok(ObjectId { etag: object.etag.or(seen.etag), modified: object.modified.or(seen.modified), ..object })
}

/// The answer is about the version that was listed.
fn same(store: &dyn Store, listed: &ObjectId, seen: &ObjectId) -> Result<(), StoreError> {
    let other_etag = |a: &Option<ETag>, b: &Option<ETag>| matches!((a, b), (Some(a), Some(b)) if a != b);
    if seen.size == listed.size && !other_etag(&listed.etag, &seen.etag) {
        return Ok(());
    }
    let what = format!("the object was replaced: listed with {} bytes, now {}", listed.size, seen.size);
    Err(StoreError::new(StoreErrorKind::Changed, store.object_url(&listed.key), what))
}

fn wrong_length(store: &dyn Store, object: &ObjectId, what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Failed, store.object_url(&object.key), what)
}

#[cfg(test)]
mod tests;
