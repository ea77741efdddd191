//! A store with scripted faults.
//!
//! In: a store, and a [`FaultPlan`] that says which call goes wrong how. Out: that store, failing as told, and a record of
//! the calls it got. Never: fails by chance.
//!
//! A sweep runs a command once with [`FaultPlan::none`], asks [`FaultyStore::calls_made`], then runs it again for every
//! position and every fault of [`Fault::all`]: each run must end in the right result or in a loud failure.

use crate::layout::ObjectKey;
use crate::storage::retry::RetryPolicy;
use crate::storage::{
    BodyStream, ByteRange, Capabilities, Content, Copied, Depth, ETag, Got, ListStream, ObjectId, Place, Store,
    StoreError, StoreErrorKind, StoreWrite, Swept, Unfinished, Upload, When,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What goes wrong in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails with this.
    Error(StoreErrorKind),
    /// The call never answers.
    Hang,
    /// The body, or the listing, breaks with a reset connection behind so many bytes, or entries.
    CutAt(u64),
    /// The same, but it ends as if that were all: a store that breaks its promise.
    ShortAt(u64),
    /// The body, or the listing, is silent from there on.
    StallAt(u64),
    /// The byte at this place of the body (not of the object) is another. Nothing in a listing.
    CorruptAt(u64),
    /// The answer is of another version than the last one of this object. Nothing in a listing.
    OtherVersion,
    /// The body is an HTML page of the same length, as a proxy sends them. Nothing in a listing.
    Html,
}

impl From<StoreErrorKind> for Fault {
    fn from(kind: StoreErrorKind) -> Self {
        Fault::Error(kind)
    }
}

impl Fault {
    /// Every kind of error but the two absences and [`StoreErrorKind::Exists`]: after these nobody may believe that
    /// something is not there.
    pub const ERRORS: &'static [StoreErrorKind] = &[
        StoreErrorKind::Refused,
        StoreErrorKind::Expired,
        StoreErrorKind::NoCredentials,
        StoreErrorKind::Throttled,
        StoreErrorKind::Failed,
        StoreErrorKind::Unreachable,
        StoreErrorKind::Dns,
        StoreErrorKind::Tls,
        StoreErrorKind::Timeout,
        StoreErrorKind::Changed,
        StoreErrorKind::Archived,
        StoreErrorKind::Redirected,
        StoreErrorKind::Local,
        StoreErrorKind::Config,
        StoreErrorKind::Unsupported,
    ];

    /// Every error, and every way to break a body; cuts at the first byte and behind `len / 2`.
    pub fn all(len: u64) -> Vec<Fault> {
        let mut all: Vec<Fault> = Fault::ERRORS.iter().copied().map(Fault::Error).collect();
        all.extend([Fault::Hang, Fault::OtherVersion, Fault::Html]);
        for at in [0, len / 2] {
            all.extend([Fault::CutAt(at), Fault::ShortAt(at), Fault::StallAt(at), Fault::CorruptAt(at)]);
        }
        all
    }
}

/// Which calls go wrong, and how. Calls are numbered from 0 in the order in which they are made.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan(Vec<(u64, u64, Fault)>);

impl FaultPlan {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        FaultPlan::default()
    }

    /// Call number `n` alone goes wrong.
    pub fn nth(n: u64, fault: impl Into<Fault>) -> Self {
        FaultPlan::none().and(n..n + 1, fault)
    }

    /// Call number `n` and every later one.
    pub fn from(n: u64, fault: impl Into<Fault>) -> Self {
        FaultPlan::none().and(n..u64::MAX, fault)
    }

    /// Every call.
    pub fn always(fault: impl Into<Fault>) -> Self {
        FaultPlan::from(0, fault)
    }

    /// And these calls. The first line of a plan that fits a call is the one that counts.
    #[must_use]
    pub fn and(mut self, calls: std::ops::Range<u64>, fault: impl Into<Fault>) -> Self {
        self.0.push((calls.start, calls.end, fault.into()));
        self
    }

    /// What happens to this call.
    pub fn fault(&self, call: u64) -> Option<Fault> {
        self.0.iter().find(|(start, end, _)| (*start..*end).contains(&call)).map(|(.., fault)| *fault)
    }
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// A listing of this prefix, from behind this key.
    List(String, Option<ObjectKey>),
    /// Bytes of an object.
    Get(ObjectKey, ByteRange),
    /// What is known of an object.
    Head(ObjectKey),
}

/// A store that fails as told. Cheap to clone; clones share plan and record.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    plan: Arc<FaultPlan>,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl FaultyStore {
    /// Around a store.
    pub fn new(inner: Arc<dyn Store>, plan: FaultPlan) -> Self {
        FaultyStore { inner, plan: Arc::new(plan), calls: Arc::default() }
    }

    /// How many calls were made so far.
    pub fn calls_made(&self) -> u64 {
        self.calls().len() as u64
    }

    /// The calls made so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn called(&self, call: Call) -> Option<Fault> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let number = calls.len() as u64;
        calls.push(call);
        self.plan.fault(number)
    }

    /// What a call that fails as a whole gives; the rest is for the body.
    async fn answer(&self, fault: Option<Fault>, url: String) -> Result<(), StoreError> {
        match fault {
            Some(Fault::Error(kind)) => Err(StoreError::new(kind, url, format!("scripted: {kind:?}"))),
            Some(Fault::Hang) => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

fn cut(url: String, at: u64) -> StoreError {
    StoreError::new(StoreErrorKind::Unreachable, url, format!("scripted: connection reset behind {at}"))
}

/// A stream that breaks as the fault says; `take` cuts the head of so many places off an item and says how many it has.
/// A fault behind the end of the stream does not happen.
fn broken<'a, T: Send + 'static>(
    stream: BoxStream<'a, Result<T, StoreError>>,
    fault: Fault,
    url: String,
    take: fn(T, u64) -> (T, u64),
) -> BoxStream<'a, Result<T, StoreError>> {
    let (Fault::CutAt(at) | Fault::ShortAt(at) | Fault::StallAt(at)) = fault else { return stream };
    futures::stream::unfold(Some((stream, at)), move |state| {
        let url = url.clone();
        async move {
            let (mut stream, left) = state?;
            if left == 0 {
                return match fault {
                    Fault::CutAt(at) => Some((Err(cut(url, at)), None)),
                    Fault::StallAt(_) => std::future::pending().await,
                    _ => None,
                };
            }
            let item = stream.next().await?.map(|item| take(item, left));
            Some(match item {
                Ok((item, places)) => (Ok(item), Some((stream, left - places))),
                Err(error) => (Err(error), None),
            })
        }
    })
    .boxed()
}

fn html(len: u64) -> Bytes {
    let page = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>proxy</body></html>\n";
    page.iter().copied().cycle().take(usize::try_from(len).unwrap_or(usize::MAX)).collect::<Vec<u8>>().into()
}

#[async_trait]
impl Store for FaultyStore {
    fn url(&self) -> String {
        self.inner.url()
    }

    fn object_url(&self, key: &ObjectKey) -> String {
        self.inner.object_url(key)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        let fault = self.called(Call::List(prefix.to_owned(), start_after.cloned()));
        let url = format!("{}{prefix}", self.url());
        let listing = self.inner.list(prefix, depth, start_after);
        let broken = match fault {
            Some(fault) => broken(listing, fault, url.clone(), |entry, _| (entry, 1)),
            None => listing,
        };
        let gate = futures::stream::once(self.answer(fault, url));
        gate.flat_map({
            let mut broken = Some(broken);
            move |gate| match gate {
                Ok(()) => broken.take().unwrap_or_else(|| futures::stream::empty().boxed()),
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            }
        })
        .boxed()
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
        let fault = self.called(Call::Get(key.clone(), range));
        let url = self.object_url(key);
        self.answer(fault, url.clone()).await?;
        let mut got = self.inner.get(key, range, version).await?;
        let Some(fault) = fault else { return Ok(got) };
        match fault {
            Fault::OtherVersion => {
                // What a store does that is asked for a version that is gone.
                if version.is_some() {
                    let what = "scripted: the object is no longer that version";
                    return Err(StoreError::new(StoreErrorKind::Changed, url, what));
                }
                got.object.etag = got.object.etag.map(|etag| ETag::new(format!("{etag}-other")));
            }
            Fault::Html => {
                let (start, end) = range.within(got.object.size);
                got.body = futures::stream::iter([Ok(html(end - start))]).boxed();
            }
            Fault::CorruptAt(at) => got.body = corrupt(got.body, at),
            fault => {
                got.body = broken(got.body, fault, url, |mut piece: Bytes, most| {
                    piece.truncate(usize::try_from(most).unwrap_or(usize::MAX));
                    let places = piece.len() as u64;
                    (piece, places)
                });
            }
        }
        Ok(got)
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        let fault = self.called(Call::Head(key.clone()));
        self.answer(fault, self.object_url(key)).await?;
        let mut object = self.inner.head(key).await?;
        if fault == Some(Fault::OtherVersion) {
            object.etag = object.etag.map(|etag| ETag::new(format!("{etag}-other")));
        }
        Ok(object)
    }

    async fn refresh_credentials(&self) {
        self.inner.refresh_credentials().await;
    }
}

/// Flip every bit of the byte at `at`.
fn corrupt(body: BodyStream, at: u64) -> BodyStream {
    let mut passed = 0;
    body.map(move |piece| {
        let piece = piece?;
        let place = at.checked_sub(passed).and_then(|place| usize::try_from(place).ok());
        passed += piece.len() as u64;
        let mut bytes = Vec::from(piece);
        if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
            *byte = !*byte;
        }
        Ok(bytes.into())
    })
    .boxed()
}

/// A policy for tests: everything a hundred times faster, for real clocks.
pub fn hasty() -> RetryPolicy {
    RetryPolicy {
        deadline: None,
        stall: Duration::from_millis(300),
        attempts: 4,
        first_wait: Duration::from_millis(1),
        first_throttled_wait: Duration::from_millis(3),
        longest_wait: Duration::from_millis(10),
    }
}

/// Does a write that fails happen?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It fails before anything was done.
    Before,
    /// It is done, and only the answer is lost.
    After,
}

/// A store in which one write goes wrong. Writes are numbered from 0 in the order in which they are made: puts, parts, ends
/// of uploads and removals. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct FaultyWriter {
    inner: Arc<dyn StoreWrite>,
    at: u64,
    kind: StoreErrorKind,
    moment: Moment,
    timeless: bool,
    log: Arc<Mutex<Vec<ObjectKey>>>,
}

impl FaultyWriter {
    /// Around a store: write number `at` fails so.
    pub fn new(inner: impl StoreWrite + 'static, at: u64, kind: StoreErrorKind, moment: Moment) -> Self {
        FaultyWriter { inner: Arc::new(inner), at, kind, moment, timeless: false, log: Arc::default() }
    }

    /// The same, without times that can be set: as object stores are.
    #[must_use]
    pub fn without_times(self) -> Self {
        FaultyWriter { timeless: true, ..self }
    }

    /// How many writes there were.
    pub fn writes(&self) -> u64 {
        self.log().len() as u64
    }

    /// What was written, in order.
    pub fn log(&self) -> Vec<ObjectKey> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn wrong<T>(
        &self,
        key: &ObjectKey,
        write: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let number = {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(key.clone());
            log.len() as u64 - 1
        };
        if number != self.at {
            return write.await;
        }
        if self.moment == Moment::After {
            write.await?;
        }
        Err(StoreError::new(self.kind, self.object_url(key), "this write was told to fail"))
    }
}

#[async_trait]
impl Store for FaultyWriter {
    fn url(&self) -> String {
        self.inner.url()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            keeps_times: self.inner.capabilities().keeps_times && !self.timeless,
            ..self.inner.capabilities()
        }
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        self.inner.list(prefix, depth, start_after)
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
        self.inner.get(key, range, version).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        self.inner.head(key).await
    }
}

#[async_trait]
impl StoreWrite for FaultyWriter {
    async fn put(&self, key: &ObjectKey, content: Content, when: When) -> Result<Option<ETag>, StoreError> {
        self.wrong(key, self.inner.put(key, content, when)).await
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(FaultyUpload { store: self.clone(), key: key.clone(), inner: self.inner.upload(key).await? }))
    }

    async fn copy_from(
        &self,
        from: &Place,
        source: &ObjectId,
        key: &ObjectKey,
        when: When,
    ) -> Result<Copied, StoreError> {
        self.wrong(key, self.inner.copy_from(from, source, key, when)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.wrong(key, self.inner.delete(key)).await
    }

    async fn create(&self) -> Result<(), StoreError> {
        self.inner.create().await
    }

    async fn set_modified(&self, key: &ObjectKey, time: jiff::Timestamp) -> Result<Option<ETag>, StoreError> {
        self.inner.set_modified(key, time).await
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        self.inner.sweep().await
    }

    async fn abandon(&self, upload: &Unfinished) -> Result<(), StoreError> {
        self.inner.abandon(upload).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    store: FaultyWriter,
    key: ObjectKey,
    inner: Box<dyn Upload>,
}

#[async_trait]
impl Upload for FaultyUpload {
    async fn part(&self, number: u32, at: u64, bytes: Bytes) -> Result<(), StoreError> {
        self.store.wrong(&self.key, self.inner.part(number, at, bytes)).await
    }

    async fn finish(&self, when: When) -> Result<Option<ETag>, StoreError> {
        self.store.wrong(&self.key, self.inner.finish(when)).await
    }

    async fn abort(&self) -> Result<(), StoreError> {
        self.inner.abort().await
    }
}
