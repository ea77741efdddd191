//! Doing it: object by object, several at once, within one budget of memory.
//!
//! In: objects of a source, a destination, limits. Out: each object in the destination, and an [`Entry`] for the manifest.
//! Never: holds more bytes than the budget says, whatever the objects' size; replaces what it was not told to; calls an object
//! copied whose bytes it has not seen arrive, or whose provider has not said so.
//!
//! Where the provider can copy, no byte comes through here. Else the bytes are read once, digested as they pass, and sent as
//! they come: reading and sending go on at the same time.

use super::compare::md5;
use super::manifest::{Entry, How};
use super::{Digest, Digester};
use crate::error::{Answer, Code, Error};
use crate::layout::ObjectKey;
use crate::storage::{
    ByteRange, Content, ETag, Got, ObjectId, Place, Store, StoreError, StoreErrorKind, StoreWrite, Upload, When,
};
use bytes::{Bytes, BytesMut};
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

/// No object has more parts than S3 takes.
const MOST_PARTS: u64 = 9_000;
/// Parts of one object on their way at once.
const PARTS_AT_ONCE: usize = 3;
/// The budget counts in these.
const UNIT: u64 = 1 << 20;
/// How often an object is begun anew when the source replaces it while it is read.
const ANEW: u32 = 3;

/// How much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Objects at once.
    pub jobs: usize,
    /// Bytes a second, of all of them together.
    pub rate: Option<u64>,
    /// Bytes in memory: one part at the least.
    pub memory: u64,
    /// What is larger goes up in parts of so many bytes, or larger ones where S3 would not take so many. 5 MiB or more.
    pub part: u64,
    /// May the provider copy?
    pub provider: bool,
}

impl Limits {
    /// The budget.
    fn units(&self) -> u64 {
        self.memory.max(self.part).div_ceil(UNIT)
    }

    /// Bytes of a part of an object of this size.
    fn part_of(&self, size: u64) -> u64 {
        match size.div_ceil(MOST_PARTS) {
            least if least <= self.part => self.part,
            least => least.next_multiple_of(UNIT),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { jobs: 8, rate: None, memory: 128 << 20, part: 16 << 20, provider: true }
    }
}

/// One object to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The object of the source.
    pub object: ObjectId,
    /// May what is there be replaced?
    pub when: When,
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is there.
    Copied(Box<Entry>),
    /// The source no longer has it.
    Vanished(ObjectKey),
}

/// Copies between two places. Cheap to clone.
#[derive(Clone)]
pub struct Copier(Arc<Inner>);

struct Inner {
    source: Arc<dyn Store>,
    destination: Arc<dyn StoreWrite>,
    limits: Limits,
    memory: Semaphore,
    pace: Pace,
    /// The provider of both, as long as it copies.
    place: Option<Place>,
    refuses: AtomicBool,
    advance: Box<dyn Fn(u64) + Send + Sync>,
}

impl fmt::Debug for Copier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copier")
            .field("source", &self.0.source)
            .field("destination", &self.0.destination)
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}

impl Copier {
    /// From here to there. `advance` hears of every byte that is done.
    pub fn new(
        source: Arc<dyn Store>,
        destination: Arc<dyn StoreWrite>,
        limits: Limits,
        advance: impl Fn(u64) + Send + Sync + 'static,
    ) -> Copier {
        let same_service = match (source.place(), destination.place()) {
            (Some(from), Some(to)) if from.service == to.service => Some(from),
            _ => None,
        };
        let units = limits.units();
        Copier(Arc::new(Inner {
            memory: Semaphore::new(usize::try_from(units).unwrap_or(Semaphore::MAX_PERMITS)),
            pace: Pace::new(limits.rate),
            place: same_service.filter(|_| limits.provider),
            refuses: AtomicBool::new(false),
            advance: Box::new(advance),
            source,
            destination,
            limits,
        }))
    }

    /// Does the provider copy?
    pub fn by_provider(&self) -> bool {
        self.0.place.is_some() && !self.0.refuses.load(Ordering::Relaxed)
    }

    /// Copy these, several at once. Each outcome is handed over as it comes; the first error ends it, once what is on its way
    /// has stopped.
    pub async fn all(&self, work: Vec<Work>, mut each: impl AsyncFnMut(Outcome) -> Answer<()>) -> Answer<()> {
        let mut running = tokio::task::JoinSet::new();
        let mut waiting = work.into_iter();
        let mut failed = None;
        loop {
            while failed.is_none() && running.len() < self.0.limits.jobs.max(1) {
                let Some(work) = waiting.next() else { break };
                let copier = self.clone();
                running.spawn(async move { copier.one(work).await });
            }
            let Some(joined) = running.join_next().await else { break };
            let outcome = match joined {
                Ok(outcome) => outcome,
                Err(error) => Err(Error::new(Code::InternalBug, "copying an object panicked").because(error)),
            };
            let handed = match outcome {
                Ok(outcome) => each(outcome).await,
                Err(error) => Err(error),
            };
            if let Err(error) = handed {
                if failed.is_none() {
                    running.abort_all();
                }
                // Those that were told to stop say so too; the first reason counts.
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Copy one object, whatever the source does to it meanwhile, and whoever takes an upload away that is under way.
    pub async fn one(&self, work: Work) -> Answer<Outcome> {
        let inner = &*self.0;
        let mut object = work.object;
        let mut last = None;
        for _ in 0..ANEW {
            match self.attempt(&object, work.when).await {
                Ok(entry) => return Ok(Outcome::Copied(Box::new(entry))),
                Err(error) if matches!(error.code(), Code::StoreChanged | Code::AbsentObject) => last = Some(error),
                Err(error) => return Err(error),
            }
            // Is it another now, or gone?
            match inner.source.head(&object.key).await {
                Ok(now) => object = now,
                Err(error) if error.kind == StoreErrorKind::NoSuchObject => return Ok(Outcome::Vanished(object.key)),
                Err(error) => return Err(error.into()),
            }
        }
        let what = format!("begun {ANEW} times, and each time it became another on the way");
        let error = Error::new(Code::StoreChanged, what).on(inner.source.object_url(&object.key));
        Err(match last {
            Some(last) => error.because(last),
            None => error,
        })
    }

    async fn attempt(&self, object: &ObjectId, when: When) -> Answer<Entry> {
        let inner = &*self.0;
        let (mut version, digest, how) = match self.provide(object, when).await? {
            Some((version, digest)) => (version, digest, How::Provider),
            None => {
                let (version, digest) = self.stream(object, when).await?;
                (version, Some(digest), How::Streamed)
            }
        };
        if let Some(time) = object.modified.filter(|_| inner.destination.capabilities().keeps_times) {
            version = inner.destination.set_modified(&object.key, time).await?.or(version);
        }
        Ok(Entry::new(object, version.as_ref(), digest, how))
    }

    /// By the provider. `None`: it does not.
    async fn provide(&self, object: &ObjectId, when: When) -> Answer<Option<(Option<ETag>, Option<Digest>)>> {
        let inner = &*self.0;
        let Some(place) = inner.place.as_ref().filter(|_| !inner.refuses.load(Ordering::Relaxed)) else {
            return Ok(None);
        };
        match inner.destination.copy_from(place, object, &object.key, when).await {
            Ok(copied) => {
                (inner.advance)(object.size);
                let digest = copied.sha256.map(|sha256| Digest { sha256: super::Hex32(sha256), crc32c: None });
                Ok(Some((copied.etag, digest)))
            }
            Err(error) if matches!(error.kind, StoreErrorKind::Changed | StoreErrorKind::NoSuchObject) => {
                Err(Error::new(Code::StoreChanged, "it is another version now")
                    .on(inner.source.object_url(&object.key)))
            }
            Err(error) if error.kind == StoreErrorKind::Exists => {
                // By a try whose answer was lost, perhaps.
                let digest = digest(&*inner.source, object).await?;
                let version = self.settle(object, digest).await?.ok_or_else(|| conflict(error))?;
                (inner.advance)(object.size);
                Ok(Some((version, Some(digest))))
            }
            Err(error) => {
                // Rights to read there and to write here need not be one right, and not every server copies.
                if !inner.refuses.swap(true, Ordering::Relaxed) {
                    tracing::warn!("the provider does not copy ({}): the bytes go through this machine", error.what);
                }
                Ok(None)
            }
        }
    }

    /// Is there, under this key, what these bytes are? Then its version.
    async fn settle(&self, object: &ObjectId, wanted: Digest) -> Answer<Option<Option<ETag>>> {
        let there = self.0.destination.head(&object.key).await?;
        let same = there.size == object.size && digest(&*self.0.destination, &there).await?.sha256 == wanted.sha256;
        Ok(same.then_some(there.etag))
    }

    /// Through this machine.
    async fn stream(&self, object: &ObjectId, when: When) -> Answer<(Option<ETag>, Digest)> {
        let inner = &*self.0;
        let mut got = inner.source.get(&object.key, ByteRange::ALL, object.etag.as_ref()).await?;
        if got.object.size != object.size {
            let what = "it has another size than a moment ago";
            return Err(Error::new(Code::StoreChanged, what).on(inner.source.object_url(&object.key)));
        }
        let mut digester = Digester::default();
        let written = if object.size <= inner.limits.part {
            let _held = self.hold(object.size).await;
            let bytes = self.part(&mut got, object.size, &mut digester).await?;
            let content = Content::digested(bytes, digester.clone().finish().sha256.0);
            let content = content
                .said_to_be(md5(object).and_then(|md5| u128::from_str_radix(md5, 16).ok()).map(u128::to_be_bytes));
            inner.destination.put(&object.key, content, when).await.inspect(|_| (inner.advance)(object.size))
        } else {
            self.parts(object, &mut got, &mut digester, when).await?
        };
        let digest = digester.finish();
        match written {
            Ok(version) => Ok((version, digest)),
            Err(error) if error.kind == StoreErrorKind::Exists => {
                let version = self.settle(object, digest).await?;
                Ok((version.ok_or_else(|| conflict(error))?, digest))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// In parts. The inner error is that of the last step, when all parts are there.
    async fn parts(
        &self,
        object: &ObjectId,
        got: &mut Got,
        digester: &mut Digester,
        when: When,
    ) -> Answer<Result<Option<ETag>, StoreError>> {
        let inner = &*self.0;
        let upload = inner.destination.upload(&object.key).await?;
        match self.send(object, got, digester, &*upload).await {
            Ok(()) => {}
            Err(error) => {
                // Else it would be paid for until somebody looks.
                let _ = upload.abort().await;
                return Err(error);
            }
        }
        let error = match upload.finish(when).await {
            Ok(version) => return Ok(Ok(version)),
            Err(error) => error,
        };
        if error.kind == StoreErrorKind::Exists {
            let _ = upload.abort().await;
            return Ok(Err(error));
        }
        // It may be there all the same: the answer was lost, and what came to the next try is about an upload that is over.
        match self.settle(object, digester.clone().finish()).await {
            Ok(Some(version)) => Ok(Ok(version)),
            _ => {
                let _ = upload.abort().await;
                Ok(Err(error))
            }
        }
    }

    async fn send(&self, object: &ObjectId, got: &mut Got, digester: &mut Digester, upload: &dyn Upload) -> Answer<()> {
        let size = self.0.limits.part_of(object.size);
        let mut sending = FuturesUnordered::new();
        let mut at = 0;
        let mut number = 0;
        while at < object.size {
            while sending.len() >= PARTS_AT_ONCE {
                sending.try_next().await?;
            }
            let len = size.min(object.size - at);
            // While it waits for memory, what is on its way goes on.
            let held = {
                let hold = self.hold(len);
                tokio::pin!(hold);
                loop {
                    tokio::select! {
                        held = &mut hold => break held,
                        sent = sending.try_next(), if !sending.is_empty() => { sent?; }
                    }
                }
            };
            let bytes = {
                let part = self.part(got, len, digester);
                tokio::pin!(part);
                loop {
                    tokio::select! {
                        part = &mut part => break part?,
                        sent = sending.try_next(), if !sending.is_empty() => { sent?; }
                    }
                }
            };
            number += 1;
            let (number, start) = (number, at);
            sending.push(async move {
                upload.part(number, start, bytes).await?;
                drop(held);
                (self.0.advance)(len);
                Ok::<(), Error>(())
            });
            at += len;
        }
        while sending.try_next().await?.is_some() {}
        Ok(())
    }

    /// So many bytes of memory, until the guard goes.
    async fn hold(&self, bytes: u64) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let units = units.min(u32::try_from(self.0.limits.units()).unwrap_or(u32::MAX));
        // It is never closed.
        self.0.memory.acquire_many(units).await.ok()
    }

    /// The next bytes of a body: exactly so many.
    async fn part(&self, got: &mut Got, len: u64, digester: &mut Digester) -> Answer<Bytes> {
        let inner = &*self.0;
        let wrong = |what: &str| Error::new(Code::StoreFailed, what).on(inner.source.object_url(&got.object.key));
        let mut bytes = BytesMut::with_capacity(usize::try_from(len).unwrap_or(0));
        let mut rest = Bytes::new();
        while (bytes.len() as u64) < len {
            let Some(piece) = got.body.next().await else {
                return Err(wrong("it ended before its end"));
            };
            let mut piece = piece?;
            let wanted = usize::try_from(len - bytes.len() as u64).unwrap_or(usize::MAX);
            if piece.len() > wanted {
                rest = piece.split_off(wanted);
            }
            inner.pace.wait(piece.len() as u64).await;
            digester.update(&piece);
            bytes.extend_from_slice(&piece);
        }
        if !rest.is_empty() {
            let body = std::mem::replace(&mut got.body, futures::stream::empty().boxed());
            got.body = futures::stream::once(std::future::ready(Ok(rest))).chain(body).boxed();
        }
        Ok(bytes.freeze())
    }
}

fn conflict(error: StoreError) -> Error {
    Error::new(Code::TargetConflict, "another object is there already").on(error.object)
}

/// The digest of an object's stored bytes, read whole.
pub async fn digest(store: &dyn Store, object: &ObjectId) -> Answer<Digest> {
    let mut got = store.get(&object.key, ByteRange::ALL, object.etag.as_ref()).await?;
    let mut digester = Digester::default();
    while let Some(piece) = got.body.try_next().await? {
        digester.update(&piece);
    }
    Ok(digester.finish())
}

/// Bytes a second, of many tasks together.
#[derive(Debug)]
struct Pace {
    rate: Option<u64>,
    free: Mutex<Option<Instant>>,
}

impl Pace {
    fn new(rate: Option<u64>) -> Pace {
        Pace { rate: rate.filter(|rate| *rate > 0), free: Mutex::new(None) }
    }

    /// So many bytes came: wait until the next may.
    async fn wait(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let until = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let begin = free.map_or(now, |free| free.max(now));
            *free.insert(begin + Duration::from_secs_f64(bytes as f64 / rate as f64))
        };
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests;
