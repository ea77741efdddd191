//! The one retry loop: what is tried again, how often, how long.
//!
//! In: a [`Store`] that answers one request at a time, a [`RetryPolicy`]. Out: the same store, whose bodies go on at the
//! byte where they broke (on the same version, or [`StoreErrorKind::Changed`]) and whose listings go on behind the last
//! entry. Never: retries what [`StoreError::retry`] calls permanent, cuts off a body that flows, turns any error into
//! absence, or lets a body end short.
//!
//! What is tried again: refused and reset connections, names that do not resolve, silence, 5xx and their like. A name that
//! "does not exist" too: resolvers say so for a moment when a zone is moved, and `getaddrinfo` does not tell the cases
//! apart. Not tried again: TLS without trust (a wrong certificate does not mend itself within a minute; a handshake that is
//! cut is a reset, and is), and every answer that is about rights or settings. Expired credentials are refreshed once, and
//! once more only after something worked in between.
//!
//! How long: until [`RetryPolicy::deadline`], or [`RetryPolicy::attempts`] in a row that brought nothing. The error is then
//! the last cause, of its own kind (so that its code says refused, DNS, 503 or silence) with "tried n times in m s".

mod write;

pub use write::RetryingWrite;

use super::{
    BodyStream, ByteRange, Capabilities, Depth, ETag, Got, ListStream, Listed, ObjectId, Place, Store, StoreError,
    StoreErrorKind,
};
use crate::layout::ObjectKey;
use crate::storage::error::RetryClass;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Fewer bytes a second than this, over the length of the stall timeout, count as silence.
const CRAWL_BYTES_PER_SECOND: f64 = 1024.0;
/// What is sent more slowly than this counts as not being sent.
const UPLOAD_BYTES_PER_SECOND: u64 = 64 * 1024;
/// Refreshes of credentials closer together than this are one: many requests learn of an expiry at the same time.
const REFRESH_TOGETHER: Duration = Duration::from_secs(2);

/// What is tried again, how often, how long.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// From the making of the store: no try begins after it, no wait for an answer outlasts it. A body that flows is not
    /// cut off by it. `None`: only [`RetryPolicy::attempts`] ends trying.
    pub deadline: Option<Duration>,
    /// Silence of this length ends a try: no answer, or a body slower than 1 KiB a second. Time in which the reader does
    /// not ask for more does not count.
    pub stall: Duration,
    /// Tries in a row that bring nothing, not even one byte or one entry.
    pub attempts: u32,
    /// The first wait; it doubles from try to try. The wait that is really made is between half of it and all of it.
    pub first_wait: Duration,
    /// The first wait when the store asked to slow down.
    pub first_throttled_wait: Duration,
    /// No wait is longer.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// For long work: survives a store that is gone for some two minutes, at any byte.
    fn default() -> Self {
        RetryPolicy {
            deadline: None,
            stall: Duration::from_secs(30),
            attempts: 15,
            first_wait: Duration::from_millis(100),
            first_throttled_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(20),
        }
    }
}

impl RetryPolicy {
    /// For somebody who waits: a verdict when the deadline is over, and a store that is back is noticed soon.
    pub fn within(deadline: Duration) -> Self {
        RetryPolicy {
            deadline: Some(deadline),
            stall: Duration::from_secs(20),
            attempts: u32::MAX,
            longest_wait: Duration::from_secs(4),
            ..RetryPolicy::default()
        }
    }

    /// The wait before try number `failed` + 1; `random` in 0.0..1.0.
    fn wait(&self, class: RetryClass, failed: u32, random: f64) -> Duration {
        let first = match class {
            RetryClass::Throttled => self.first_throttled_wait,
            _ => self.first_wait,
        };
        let doubled = first.saturating_mul(1 << failed.saturating_sub(1).min(20));
        doubled.min(self.longest_wait).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }
}

/// What a store was asked, counted while it happens.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    /// Requests sent, tries included; each page of a listing is one.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Those that were tries after the first.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Bytes of bodies that came.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// One more request. Called here, and by backends for requests of which one call makes several.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// A store that tries again and resumes. Cheap to clone.
#[derive(Clone)]
pub struct Retrying(Arc<Core>);

struct Core {
    inner: Arc<dyn Store>,
    policy: RetryPolicy,
    begun: Instant,
    counters: Arc<Counters>,
    random: fn() -> f64,
    refreshed: Mutex<Option<Instant>>,
}

impl fmt::Debug for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Retrying").field(&self.0.inner).field(&self.0.policy).finish()
    }
}

impl Retrying {
    /// Around a store. The deadline runs from now.
    pub fn new(inner: Arc<dyn Store>, policy: RetryPolicy) -> Self {
        Retrying::counting(inner, policy, Arc::default())
    }

    /// The same, adding to counters that somebody else reads.
    pub fn counting(inner: Arc<dyn Store>, policy: RetryPolicy, counters: Arc<Counters>) -> Self {
        Retrying(Arc::new(Core {
            inner,
            policy,
            begun: Instant::now(),
            counters,
            random: fastrand::f64,
            refreshed: Mutex::new(None),
        }))
    }

    /// What was asked so far.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

/// The tries of one request that brought nothing yet.
struct Tries {
    core: Arc<Core>,
    /// When the first of them began: when somebody began to wait for it.
    since: Instant,
    failed: u32,
    refreshed: bool,
    /// What the one before the last ended with.
    previous: Option<StoreError>,
}

impl Core {
    fn tries(self: &Arc<Self>) -> Tries {
        Tries { core: self.clone(), since: Instant::now(), failed: 0, refreshed: false, previous: None }
    }

    /// How long an answer may be waited for now.
    fn patience(&self) -> Duration {
        match self.policy.deadline {
            Some(deadline) => (self.begun + deadline).saturating_duration_since(Instant::now()).min(self.policy.stall),
            None => self.policy.stall,
        }
    }

    /// An answer, or the error that none came.
    async fn answer<T>(
        &self,
        url: impl FnOnce() -> String,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.answer_to(0, url, request).await
    }

    /// The same for a request that takes so many bytes along: they need their time, and nobody says how far they are.
    async fn answer_to<T>(
        &self,
        bytes: u64,
        url: impl FnOnce() -> String,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let patience = match self.patience() {
            patience if patience.is_zero() => return Err(self.too_late(url())),
            patience => patience + Duration::from_secs(bytes / UPLOAD_BYTES_PER_SECOND),
        };
        self.counters.count_request();
        match timeout(patience, request).await {
            Ok(answer) => answer,
            Err(_) => Err(silence(url(), "no answer", patience)),
        }
    }

    fn too_late(&self, url: String) -> StoreError {
        let deadline = seconds(self.policy.deadline.unwrap_or_default());
        StoreError::new(StoreErrorKind::Timeout, url, format!("not asked: the deadline of {deadline} is over"))
    }

    /// Make the store forget its credentials, unless somebody just did.
    async fn refresh(&self) {
        let now = Instant::now();
        {
            let mut refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
            if refreshed.is_some_and(|before| now.saturating_duration_since(before) < REFRESH_TOGETHER) {
                return;
            }
            *refreshed = Some(now);
        }
        self.inner.refresh_credentials().await;
    }
}

fn silence(url: String, what: &str, patience: Duration) -> StoreError {
    StoreError::new(StoreErrorKind::Timeout, url, format!("{what} for {}", seconds(patience)))
}

fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        secs if secs < 9.95 => format!("{secs:.1} s"),
        secs => format!("{secs:.0} s"),
    }
}

impl Tries {
    /// A try begins.
    fn begin(&mut self) {
        if self.failed == 0 {
            self.since = Instant::now();
        }
    }

    /// Something came: what fails from now on fails for the first time.
    fn progress(&mut self) {
        self.failed = 0;
        self.refreshed = false;
        self.previous = None;
    }

    /// After a failure: wait and say that it may be tried again, or give the error to end with.
    async fn again(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.failed = self.failed.saturating_add(1);
        let core = &self.core;
        match error.retry() {
            RetryClass::Permanent => return Err(self.over(error)),
            RetryClass::Expired if self.refreshed => return Err(self.over(error)),
            RetryClass::Expired => {
                self.refreshed = true;
                tracing::info!(object = %error.object, "{}: refreshing the credentials", error.what);
                let _ = timeout(core.patience(), core.refresh()).await;
            }
            class => {
                let wait = core.policy.wait(class, self.failed, (core.random)());
                let over_in = |wait| core.policy.deadline.is_some_and(|end| Instant::now() + wait >= core.begun + end);
                if over_in(Duration::ZERO) && error.kind == StoreErrorKind::Timeout {
                    // Cut off by the deadline: the try before it, which came to its own end, knows more.
                    let error = self.previous.take().unwrap_or(error);
                    return Err(self.over(error));
                }
                if over_in(wait) || self.failed >= core.policy.attempts {
                    return Err(self.over(error));
                }
                tracing::debug!(object = %error.object, "{}: trying again in {}", error.what, seconds(wait));
                self.previous = Some(error);
                sleep(wait).await;
            }
        }
        core.counters.retries.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The error to end with: the last one, and how long it was tried.
    fn over(&self, mut error: StoreError) -> StoreError {
        if self.failed > 1 {
            let time = seconds(self.since.elapsed());
            error.what = format!("{} (tried {} times in {time})", error.what, self.failed);
        }
        error
    }
}

/// A body being read, and all that is needed to go on with it elsewhere.
struct Body {
    tries: Tries,
    object: ObjectId,
    /// The next byte to come, and the end of the range, in the object.
    at: u64,
    end: u64,
    /// The stream that gives them; `None` when it broke.
    source: Option<BodyStream>,
    /// Since when `crawled` bytes came: only time spent waiting counts.
    waited: Duration,
    crawled: u64,
}

impl Body {
    fn url(&self) -> String {
        self.tries.core.inner.object_url(&self.object.key)
    }

    /// The next piece, `None` at the end of the range.
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        loop {
            if self.at >= self.end && self.source.is_none() {
                return None;
            }
            self.tries.begin();
            let error = match self.piece().await {
                Ok(Some(piece)) => {
                    self.tries.progress();
                    self.at += piece.len() as u64;
                    self.tries.core.counters.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
                    return Some(Ok(piece));
                }
                Ok(None) => return None,
                Err(error) => error,
            };
            // Whatever the last source still has is not looked at again.
            self.source = None;
            if self.at >= self.end {
                // Every byte is here. That the connection broke behind them is nobody's loss; all else is said.
                let broke = matches!(error.kind, StoreErrorKind::Unreachable | StoreErrorKind::Timeout);
                return (!broke).then_some(Err(error));
            }
            if let Err(error) = self.tries.again(error).await {
                self.end = self.at;
                return Some(Err(error));
            }
        }
    }

    /// One piece from the source, which is asked for first when there is none.
    async fn piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        let mut source = match self.source.take() {
            Some(source) => source,
            None => self.resume().await?,
        };
        loop {
            let patience = self.tries.core.policy.stall.saturating_sub(self.waited);
            let next = match source.next().now_or_never() {
                Some(next) => next,
                None => {
                    let began = Instant::now();
                    let next = timeout(patience, source.next()).await;
                    self.waited += began.elapsed();
                    next.map_err(|_| {
                        silence(self.url(), &format!("no byte behind byte {}", self.at), self.tries.core.policy.stall)
                    })?
                }
            };
            let left = self.end - self.at;
            match next {
                Some(Ok(piece)) if piece.is_empty() => continue,
                Some(Ok(piece)) if piece.len() as u64 > left => {
                    let what = format!("the answer goes on behind its end at byte {}", self.end);
                    return Err(StoreError::new(StoreErrorKind::Failed, self.url(), what));
                }
                Some(Ok(piece)) => {
                    self.crawled += piece.len() as u64;
                    if self.crawled as f64 >= self.tries.core.policy.stall.as_secs_f64() * CRAWL_BYTES_PER_SECOND {
                        (self.crawled, self.waited) = (0, Duration::ZERO);
                    }
                    self.source = Some(source);
                    return Ok(Some(piece));
                }
                Some(Err(error)) => return Err(error),
                None if left > 0 => {
                    let what = format!("the answer ended at byte {} of {}", self.at, self.end);
                    return Err(StoreError::new(StoreErrorKind::Unreachable, self.url(), what));
                }
                None => return Ok(None),
            }
        }
    }

    /// Ask for the rest, of the same version.
    async fn resume(&mut self) -> Result<BodyStream, StoreError> {
        (self.crawled, self.waited) = (0, Duration::ZERO);
        let core = self.tries.core.clone();
        let range = ByteRange::new(self.at, self.end - self.at);
        let request = core.inner.get(&self.object.key, range, self.object.etag.as_ref());
        // By value: a body cannot be shared between threads, so nothing that lends it may wait.
        let url = self.url();
        let got = core.answer(|| url, request).await?;
        // Where there are no etags, a replaced object shows in its size or its time.
        if (got.object.size, &got.object.etag) != (self.object.size, &self.object.etag)
            || (self.object.etag.is_none() && got.object.modified != self.object.modified)
        {
            let what = format!("the object was replaced while it was being read (at byte {})", self.at);
            return Err(StoreError::new(StoreErrorKind::Changed, self.url(), what));
        }
        Ok(got.body)
    }
}

/// A listing being read, and all that is needed to go on with it.
struct Listing<'a> {
    tries: Tries,
    inner: &'a dyn Store,
    prefix: String,
    depth: Depth,
    last: Option<ObjectKey>,
    source: Option<ListStream<'a>>,
    over: bool,
}

impl Listing<'_> {
    async fn next(&mut self) -> Option<Result<Listed, StoreError>> {
        while !self.over {
            self.tries.begin();
            let error = match self.entry().await {
                Ok(None) => break,
                Ok(Some(entry)) => {
                    self.tries.progress();
                    let key = match &entry {
                        Listed::Object(object) => &object.key,
                        Listed::Folder(folder) => folder,
                    };
                    self.last = Some(key.clone());
                    return Some(Ok(entry));
                }
                Err(error) => error,
            };
            self.source = None;
            if let Err(error) = self.tries.again(error).await {
                self.over = true;
                return Some(Err(error));
            }
        }
        None
    }

    async fn entry(&mut self) -> Result<Option<Listed>, StoreError> {
        let core = self.tries.core.clone();
        let url = || format!("{}{}", core.inner.url(), self.prefix);
        let source = match &mut self.source {
            Some(source) => source,
            None if core.patience().is_zero() => return Err(core.too_late(url())),
            none => {
                core.counters.count_request();
                none.insert(self.inner.list(&self.prefix, self.depth, self.last.as_ref()))
            }
        };
        let entry = match source.next().now_or_never() {
            Some(entry) => entry,
            None => {
                let patience = core.patience();
                if patience.is_zero() {
                    return Err(core.too_late(url()));
                }
                let entry = timeout(patience, source.next()).await;
                entry.map_err(|_| silence(url(), "no answer to the listing", patience))?
            }
        };
        entry.transpose()
    }
}

#[async_trait]
impl Store for Retrying {
    fn url(&self) -> String {
        self.0.inner.url()
    }

    fn object_url(&self, key: &ObjectKey) -> String {
        self.0.inner.object_url(key)
    }

    fn capabilities(&self) -> Capabilities {
        self.0.inner.capabilities()
    }

    fn place(&self) -> Option<Place> {
        self.0.inner.place()
    }

    async fn refresh_credentials(&self) {
        self.0.refresh().await;
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        let listing = Listing {
            tries: self.0.tries(),
            inner: &*self.0.inner,
            prefix: prefix.to_owned(),
            depth,
            last: start_after.cloned(),
            source: None,
            over: false,
        };
        futures::stream::unfold(listing, |mut listing| async move { Some((listing.next().await?, listing)) }).boxed()
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
        let core = &self.0;
        let mut tries = core.tries();
        let got = loop {
            let request = core.inner.get(key, range, version);
            match core.answer(|| core.inner.object_url(key), request).await {
                Ok(got) => break got,
                Err(error) => tries.again(error).await?,
            }
        };
        tries.progress();
        let (at, end) = range.within(got.object.size);
        let object = got.object.clone();
        let (waited, crawled) = (Duration::ZERO, 0);
        let body = Body { tries, object: got.object, at, end, source: Some(got.body), waited, crawled };
        let body = futures::stream::unfold(body, |mut body| async move { Some((body.next().await?, body)) }).boxed();
        Ok(Got { object, body })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        let core = &self.0;
        let mut tries = core.tries();
        loop {
            match core.answer(|| core.inner.object_url(key), core.inner.head(key)).await {
                Ok(object) => return Ok(object),
                Err(error) => tries.again(error).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests;
