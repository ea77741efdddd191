//! S3 and everything that speaks it: one request, one answer.
//!
//! In: a bucket, a prefix, [`S3Settings`]. Out: what every [`Store`] gives, with every answer classed by
//! `s3::answers`. Never: retries (that is `storage::retry`), sends a HEAD before a GET, takes for a listing or an object
//! what is not one: a body shorter or longer than it says, a range that was not asked for, another version, a page that
//! ends early, a success without an ETag (no S3 answers so, but proxies and portals do).
//!
//! Writing is in `s3::write`.
//!
//! Two things are tried again here, once each, because only this file can know how: a bucket in another region than the
//! one signed for (the answer names it), and the reason of a refused HEAD (its answers have no body).
//! Source: Amazon S3 API reference (GetObject, HeadObject, ListObjectsV2).

mod answers;
mod client;
mod write;

use super::open::S3Settings;
use super::remote::{body_stream, check_range, listing, merge, normalise, root};
use super::retry::Counters;
use super::{
    ByteRange, Capabilities, Depth, ETag, Got, ListStream, Listed, ObjectId, Place, Store, StoreError, StoreErrorKind,
};
use crate::layout::ObjectKey;
use answers::{Refusal, transport, unsatisfied_size, url_decode};
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{EncodingType, RequestPayer};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::byte_stream::error::Error as ByteStreamError;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::fmt;
use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// A prefix in a bucket. Cheap to clone.
#[derive(Clone)]
pub struct S3Store(Arc<Inner>);

struct Inner {
    bucket: String,
    /// What stands before every key: empty, or ends in a slash.
    prefix: String,
    settings: S3Settings,
    counters: Arc<Counters>,
    /// Made at the first request, anew when credentials expire or the bucket turns out to be in another region.
    client: Mutex<Arc<OnceCell<Client>>>,
    /// Where the bucket said that it is.
    region: Mutex<Option<String>>,
    copies: write::Copies,
    /// A put was refused whose bytes are not what another store's ETag says: its ETags are no MD5s.
    doubts_md5: AtomicBool,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3Store").field(&self.url()).finish()
    }
}

/// What is seen of an answer that the SDK does not pass on.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<Mutex<Seen>>);

#[derive(Debug, Clone, Default)]
struct Seen {
    status: u16,
    /// The body, once read, is a whole listing: the SDK's parser takes a document that ends early for a short one.
    whole_listing: bool,
}

impl Watch {
    fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "Watch"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).status = context.response().status().as_u16();
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).whole_listing =
            body.trim_ascii_end().ends_with(b"</ListBucketResult>");
        Ok(())
    }
}

/// A request that failed, with what this file may do about it.
struct Failure {
    error: StoreError,
    /// Where the bucket is, when the answer said so.
    region: Option<String>,
    /// Of a 416: the size of the object.
    size: Option<u64>,
    status: u16,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure { error, region: None, size: None, status: 0 }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl S3Store {
    /// The store below `prefix` (empty, or ending in a slash) in a bucket. `counters` gets the pages of listings beyond
    /// the first of each.
    pub fn new(
        bucket: impl Into<String>,
        prefix: impl Into<String>,
        settings: S3Settings,
        counters: Arc<Counters>,
    ) -> Self {
        Self::with(bucket.into(), prefix.into(), settings, counters, write::Copies::default())
    }

    fn with(
        bucket: String,
        prefix: String,
        settings: S3Settings,
        counters: Arc<Counters>,
        copies: write::Copies,
    ) -> Self {
        let (client, region) = (Mutex::default(), Mutex::default());
        S3Store(Arc::new(Inner {
            bucket,
            prefix,
            settings,
            counters,
            client,
            region,
            copies,
            doubts_md5: AtomicBool::new(false),
        }))
    }

    /// The same, which has the server copy what is larger than `largest` in parts of `part` bytes (5 MiB or more): for tests,
    /// whose objects are smaller than Amazon's limit.
    #[must_use]
    pub fn copying_in_parts(self, largest: u64, part: u64) -> Self {
        let Inner { bucket, prefix, settings, counters, .. } = &*self.0;
        let copies = write::Copies { largest, part };
        Self::with(bucket.clone(), prefix.clone(), settings.clone(), counters.clone(), copies)
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.0.prefix)
    }

    fn payer(&self) -> Option<RequestPayer> {
        self.0.settings.requester_pays.then_some(RequestPayer::Requester)
    }

    async fn client(&self) -> Result<Client, StoreError> {
        let cell = self.0.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let build = || {
            let region = self.0.region.lock().unwrap_or_else(PoisonError::into_inner).clone();
            client::build(&self.0.settings, &self.0.bucket, region)
        };
        let built = cell.get_or_try_init(build).await;
        built.cloned().map_err(|what| StoreError::new(StoreErrorKind::Config, self.url(), what))
    }

    fn forget_client(&self) {
        *self.0.client.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
    }

    /// Sign for the region that the store named, when that is news.
    fn follow(&self, failure: &Failure) -> bool {
        let Some(named) = failure.region.as_ref().filter(|_| failure.error.kind == StoreErrorKind::Redirected) else {
            return false;
        };
        let mut region = self.0.region.lock().unwrap_or_else(PoisonError::into_inner);
        if region.is_some() {
            return region.as_ref() == Some(named);
        }
        tracing::warn!("bucket {} is in region {named}: set AWS_REGION to save a request", self.0.bucket);
        *region = Some(named.clone());
        drop(region);
        self.forget_client();
        true
    }

    /// Send a request, and once more when the bucket turns out to be in another region.
    async fn ask<T, E, F>(
        &self,
        verb: &'static str,
        url: &str,
        request: impl Fn(Client, Watch) -> F,
    ) -> Result<(T, Seen), Failure>
    where
        F: Future<Output = Result<T, SdkError<E, Response>>>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let mut followed = false;
        loop {
            let client = self.client().await?;
            let watch = Watch::default();
            let failure = match request(client, watch.clone()).await {
                Ok(output) => return Ok((output, watch.seen())),
                Err(error) => failure(verb, url, &error),
            };
            if followed || !self.follow(&failure) {
                return Err(failure);
            }
            followed = true;
            self.0.counters.count_request();
        }
    }

    /// A HEAD and nothing behind it.
    async fn head_alone(&self, key: &ObjectKey) -> Result<ObjectId, Failure> {
        let url = self.object_url(key);
        let request = |client: Client, watch| {
            client
                .head_object()
                .bucket(&self.0.bucket)
                .key(self.full(key.as_str()))
                .set_request_payer(self.payer())
                .customize()
                .interceptor(watch)
                .send()
        };
        let (output, seen) = self.ask("HEAD", &url, request).await?;
        let size = output.content_length().and_then(|length| u64::try_from(length).ok());
        let object = size.and_then(|size| self.identify(key, size, output.last_modified(), output.e_tag()));
        object.filter(|_| seen.status == 200).ok_or_else(|| {
            let what = format!("HEAD answered with {}, but without size and ETag: this is not S3", seen.status);
            StoreError::new(StoreErrorKind::Failed, url, what).into()
        })
    }

    fn identify(
        &self,
        key: &ObjectKey,
        size: u64,
        modified: Option<&DateTime>,
        etag: Option<&str>,
    ) -> Option<ObjectId> {
        let etag = Some(normalise(etag?));
        Some(ObjectId { key: key.clone(), size, modified: modified.and_then(timestamp), etag })
    }

    async fn page(
        &self,
        prefix: &str,
        depth: Depth,
        start_after: Option<&ObjectKey>,
        token: Option<&str>,
    ) -> Result<ListObjectsV2Output, StoreError> {
        let url = format!("{}{prefix}", self.url());
        // A token knows where it began. A place before the prefix is no place to begin, and Garage then finds nothing.
        let after = start_after.filter(|key| token.is_none() && key.as_str() > prefix);
        let request = |client: Client, watch| {
            client
                .list_objects_v2()
                .bucket(&self.0.bucket)
                .prefix(self.full(prefix))
                .set_delimiter((depth == Depth::Level).then(|| "/".into()))
                .set_start_after(after.map(|key| self.full(key.as_str())))
                .set_continuation_token(token.map(str::to_owned))
                .encoding_type(EncodingType::Url)
                .set_request_payer(self.payer())
                .customize()
                .interceptor(watch)
                .send()
        };
        let (page, seen) = self.ask("LIST", &url, request).await.map_err(|failure| {
            let mut error = failure.error;
            if error.kind == StoreErrorKind::NoSuchObject {
                // No answer to a listing: a bucket without such keys is an empty page.
                error.kind = StoreErrorKind::Failed;
            }
            error
        })?;
        let wrong = |what: &str| StoreError::new(StoreErrorKind::Failed, &url, format!("LIST answered with {what}"));
        if seen.status != 200 {
            return Err(wrong(&format!("{}, which is no listing", seen.status)));
        }
        if !seen.whole_listing {
            return Err(wrong("a page that is cut short"));
        }
        match page.is_truncated() {
            None => Err(wrong("a page that does not say whether it is the last")),
            Some(true) if page.next_continuation_token().is_none_or(|next| Some(next) == token) => {
                Err(wrong("a page that is not the last and does not say how to go on"))
            }
            Some(_) => Ok(page),
        }
    }

    /// The entries of a page, objects and folders together in the order of their keys.
    fn entries(&self, page: &ListObjectsV2Output) -> Result<Vec<Listed>, StoreError> {
        let wrong =
            |what: String| StoreError::new(StoreErrorKind::Failed, self.url(), format!("LIST answered with {what}"));
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        let key = |text: Option<&str>| {
            let text = text.ok_or_else(|| wrong("an entry without a name".into()))?;
            let full = if encoded { url_decode(text) } else { text.to_owned() };
            match full.strip_prefix(&self.0.prefix) {
                Some(key) => Ok(ObjectKey::from(key)),
                None => Err(wrong(format!("{full:?}, which was not asked for"))),
            }
        };
        let mut objects = Vec::with_capacity(page.contents().len());
        for object in page.contents() {
            let key = key(object.key())?;
            let size = object.size().and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or_else(|| wrong(format!("{key} without a size")))?;
            let (modified, etag) = (object.last_modified().and_then(timestamp), object.e_tag().map(normalise));
            objects.push(Listed::Object(ObjectId { key, size, modified, etag }));
        }
        let mut folders = Vec::with_capacity(page.common_prefixes().len());
        for folder in page.common_prefixes() {
            folders.push(Listed::Folder(key(folder.prefix())?));
        }
        Ok(merge(objects, folders))
    }
}

/// The SDK's body as a stream.
fn pieces(body: ByteStream) -> impl Stream<Item = Result<Bytes, ByteStreamError>> {
    futures::stream::unfold(body, |mut body| async { body.next().await.map(|piece| (piece, body)) })
}

fn timestamp(time: &DateTime) -> Option<jiff::Timestamp> {
    jiff::Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

/// What a failed request means.
fn failure<E: std::error::Error + Send + Sync + 'static>(
    verb: &'static str,
    url: &str,
    error: &SdkError<E, Response>,
) -> Failure {
    let plain = |kind, what: String| Failure::from(StoreError::new(kind, url, format!("{verb}: {what}")));
    let cause = |mut failure: Failure| {
        let root = root(error);
        if !root.is_empty() && !failure.error.what.contains(&root) {
            failure.error = failure.error.because(root);
        }
        failure
    };
    let raw = match error {
        SdkError::ServiceError(context) => context.raw(),
        // A success that cannot be understood, or whose body broke off.
        SdkError::ResponseError(context) => context.raw(),
        SdkError::TimeoutError(_) => return cause(plain(StoreErrorKind::Timeout, "no connection in time".into())),
        error => {
            let (kind, what) = transport(error).unwrap_or_else(|| match error {
                SdkError::ConstructionFailure(_) => (StoreErrorKind::Config, "the request cannot be made".into()),
                _ => (StoreErrorKind::Failed, "the request failed".into()),
            });
            return cause(plain(kind, what));
        }
    };
    let status = raw.status().as_u16();
    if status < 300 {
        let (kind, what) = transport(error)
            .unwrap_or_else(|| (StoreErrorKind::Failed, format!("answered with {status} and a body that is not S3's")));
        return cause(plain(kind, what));
    }
    let body = raw.body().bytes().unwrap_or_default();
    let header = |name: &str| raw.headers().get(name);
    let meaning = Refusal {
        status,
        body,
        region: header("x-amz-bucket-region"),
        location: header("location"),
        date: header("date"),
        now: Some(jiff::Timestamp::now()),
    }
    .meaning();
    Failure {
        error: StoreError::new(meaning.kind, url, format!("{verb} {}", meaning.what)),
        region: meaning.region,
        size: (status == 416).then(|| unsatisfied_size(header("content-range"), body)).flatten(),
        status,
    }
}

#[async_trait]
impl Store for S3Store {
    fn url(&self) -> String {
        format!("s3://{}/{}", self.0.bucket, self.0.prefix)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { sorted: true, etags: true, remote: true, keeps_times: false }
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        let (folder, after) = (prefix.to_owned(), start_after.cloned());
        let next = move |token: Option<String>| {
            let (folder, after) = (folder.clone(), after.clone());
            async move {
                let page = self.page(&folder, depth, after.as_ref(), token.as_deref()).await?;
                let more = page.is_truncated() == Some(true);
                let token = page.next_continuation_token().filter(|_| more).map(str::to_owned);
                Ok((self.entries(&page)?, token))
            }
        };
        listing(format!("{}{prefix}", self.url()), prefix, start_after, &self.0.counters, next)
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
        let url = self.object_url(key);
        if range != ByteRange::ALL && range.len == Some(0) {
            // No range of HTTP is empty.
            let object = self.head(key).await?;
            return Ok(Got { object, body: futures::stream::empty().boxed() });
        }
        let wanted = (range != ByteRange::ALL).then(|| match range.len {
            Some(len) => format!("bytes={}-{}", range.start, range.start.saturating_add(len - 1)),
            None => format!("bytes={}-", range.start),
        });
        let request = |client: Client, watch| {
            client
                .get_object()
                .bucket(&self.0.bucket)
                .key(self.full(key.as_str()))
                .set_range(wanted.clone())
                .set_if_match(version.map(|version| version.as_str().to_owned()))
                .set_request_payer(self.payer())
                .customize()
                .interceptor(watch)
                .send()
        };
        let (output, seen) = match self.ask("GET", &url, request).await {
            Ok(answer) => answer,
            Err(failure) if failure.status == 416 => {
                // The range begins at the object's end or behind it; not every server says where that is.
                let object = match failure.size {
                    Some(size) if size <= range.start => {
                        ObjectId { key: key.clone(), size, modified: None, etag: version.cloned() }
                    }
                    Some(_) => return Err(failure.into()),
                    // Not asked again by GET, whatever comes: that would be this place again.
                    None => self.head_alone(key).await?,
                };
                if version.is_some() && object.etag.as_ref() != version {
                    return Err(StoreError::new(
                        StoreErrorKind::Changed,
                        url,
                        "GET: the object is another version now",
                    ));
                }
                if object.size > range.start {
                    return Err(failure.into());
                }
                return Ok(Got { object, body: futures::stream::empty().boxed() });
            }
            Err(failure) => return Err(failure.into()),
        };
        let wrong = |what: String| StoreError::new(StoreErrorKind::Failed, &url, format!("GET answered with {what}"));
        let (size, skip, take) =
            check_range(range, seen.status, output.content_range(), output.content_length()).map_err(wrong)?;
        let object = self
            .identify(key, size, output.last_modified(), output.e_tag())
            .ok_or_else(|| wrong(format!("{} and no ETag: this is not S3", seen.status)))?;
        if version.is_some() && object.etag.as_ref() != version {
            return Err(StoreError::new(StoreErrorKind::Changed, url, "GET: the object is another version now"));
        }
        let exact = skip + take == size || seen.status == 206;
        Ok(Got { object, body: body_stream(pieces(output.body), url, skip, take, exact) })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        match self.head_alone(key).await {
            Ok(object) => Ok(object),
            // Answers to HEAD have no body. The reason, or what has come to be there since, is asked for by GET.
            Err(failure) if (300..500).contains(&failure.status) => {
                self.0.counters.count_request();
                self.get(key, ByteRange::new(0, 1), None).await.map(|got| got.object)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    fn place(&self) -> Option<Place> {
        let settings = &self.0.settings;
        let endpoint = settings.endpoint.as_ref().map(|endpoint| &endpoint.url);
        // What the SDK finds by itself is the same for two stores of one process.
        let identity = (&settings.access_key, &settings.profile, &settings.role_arn, settings.anonymous);
        let service = format!("s3 {endpoint:?} {identity:?}");
        Some(Place { service, container: self.0.bucket.clone(), prefix: self.0.prefix.clone() })
    }

    async fn refresh_credentials(&self) {
        self.forget_client();
    }
}

#[cfg(test)]
mod tests;
