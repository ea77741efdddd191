//! Azure Blob Storage: one request, one answer.
//!
//! In: a container, a prefix, [`AzureSettings`]. Out: what every [`Store`] gives, with every answer classed by
//! `azure::answers`. Never: retries (that is `storage::retry`), sends a HEAD before a GET, takes for a listing or a blob
//! what is not one: a body shorter or longer than it says, a range that was not asked for, another version, a page that
//! ends early, a success that is not Azure's.
//!
//! Reads are requests of our own over the SDK's pipeline: its download splits a read into several, in parallel, on its
//! own account, and its listing knows no folders. Writing is in `azure::write`.
//!
//! A listing has no place to start in the versions of the protocol that every cloud knows: what lies before `start_after`
//! is read and left out.
//! Source: Azure's REST reference (Get Blob, Get Blob Properties, List Blobs).

mod answers;
mod client;
mod listing;
mod write;

use super::open::{AzureAuth, AzureSettings};
use super::remote;
use super::remote::{body_stream, check_range, merge, normalise};
use super::retry::Counters;
use super::{
    ByteRange, Capabilities, Depth, ETag, Got, ListStream, Listed, ObjectId, Place, Store, StoreError, StoreErrorKind,
};
use crate::layout::ObjectKey;
use answers::{Refusal, trouble};
use async_trait::async_trait;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{AsyncRawResponse, Method, Request};
use client::Client;
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Of an answer that is an error, no more is read.
const MOST_OF_AN_ERROR: usize = 64 * 1024;
/// Nor more of a page of a listing: 5000 names of 1024 characters, escaped, with their properties.
const MOST_OF_A_PAGE: usize = 64 << 20;

/// A prefix in a container. Cheap to clone.
#[derive(Clone)]
pub struct AzureStore(Arc<Inner>);

struct Inner {
    container: String,
    /// What stands before every key: empty, or ends in a slash.
    prefix: String,
    settings: AzureSettings,
    counters: Arc<Counters>,
    /// Made at the first request, anew when credentials expire.
    client: Mutex<Option<Client>>,
}

impl fmt::Debug for AzureStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AzureStore").field(&self.url()).finish()
    }
}

/// A request that failed, with what this file may do about it.
struct Failure {
    error: StoreError,
    /// Of a 416: the size of the blob.
    size: Option<u64>,
    status: u16,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure { error, size: None, status: 0 }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

fn header<'a>(headers: &'a Headers, name: &'static str) -> Option<&'a str> {
    headers.get_optional_str(&HeaderName::from_static(name))
}

/// The size of a blob from Azurite's answer to a range that begins at its end, `bytes 7-6/7`: Azure says 416.
fn nothing_at_the_end(range: &str) -> Option<u64> {
    let (range, size) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let size: u64 = size.parse().ok()?;
    let last = size.checked_sub(1).map_or("-1".to_owned(), |last| last.to_string());
    (range == format!("{size}-{last}")).then_some(size)
}

/// The first bytes of a body, as many as there may be.
async fn collect(answer: AsyncRawResponse, most: usize) -> azure_core::Result<Vec<u8>> {
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(piece) = body.try_next().await? {
        let left = most - bytes.len();
        bytes.extend_from_slice(piece.get(..left).unwrap_or(&piece));
        if bytes.len() >= most {
            break;
        }
    }
    Ok(bytes)
}

impl AzureStore {
    /// The store below `prefix` (empty, or ending in a slash) in a container. `counters` gets the pages of listings
    /// beyond the first of each.
    pub fn new(
        container: impl Into<String>,
        prefix: impl Into<String>,
        settings: AzureSettings,
        counters: Arc<Counters>,
    ) -> Self {
        AzureStore(Arc::new(Inner {
            container: container.into(),
            prefix: prefix.into(),
            settings,
            counters,
            client: Mutex::default(),
        }))
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.0.prefix)
    }

    fn client(&self) -> Result<Client, StoreError> {
        let mut kept = self.0.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*kept {
            return Ok(client.clone());
        }
        let client = client::build(&self.0.settings, &self.0.container)
            .map_err(|what| StoreError::new(StoreErrorKind::Config, self.url(), what))?;
        *kept = Some(client.clone());
        Ok(client)
    }

    /// Is the identity that of this machine?
    fn is_own(&self) -> bool {
        matches!(&self.0.settings.auth, AzureAuth::Entra(entra) if entra.secret.is_none() && entra.token_file.is_none())
    }

    /// What an error of the SDK means.
    fn failed(&self, verb: &str, url: &str, error: &azure_core::Error) -> Failure {
        let (kind, what) = trouble(error, self.is_own());
        let root = remote::root(error);
        let plain = StoreError::new(kind, url, format!("{verb}: {what}"));
        if root.is_empty() || what.contains(&root) { plain.into() } else { plain.because(root).into() }
    }

    fn no_such_name(verb: &str, url: &str) -> StoreError {
        StoreError::new(StoreErrorKind::Config, url, format!("{verb}: no blob can have this name"))
    }

    /// What an answer that is an error means.
    fn refused(verb: &str, url: &str, status: u16, headers: &Headers, body: &[u8]) -> Failure {
        let refusal = Refusal {
            status,
            body,
            bodiless: verb == "HEAD",
            code: header(headers, "x-ms-error-code"),
            location: header(headers, "location"),
            date: header(headers, "date"),
            now: Some(jiff::Timestamp::now()),
        };
        let (kind, what) = refusal.meaning();
        let stated = header(headers, "content-range").and_then(|text| text.rsplit_once("*/")?.1.trim().parse().ok());
        let error = StoreError::new(kind, url, format!("{verb} {what}"));
        Failure { error, size: stated.filter(|_| status == 416), status }
    }

    /// Send a request. What comes back says that it worked.
    async fn ask(&self, verb: &'static str, url: &str, request: Request) -> Result<AsyncRawResponse, Failure> {
        let client = self.client()?;
        let answer = client.send(request).await.map_err(|error| self.failed(verb, url, &error))?;
        let status = u16::from(answer.status());
        if status < 300 {
            return Ok(answer);
        }
        let headers = answer.headers().clone();
        // A body that breaks off says as much as one that is not there: the status stands.
        let body = collect(answer, MOST_OF_AN_ERROR).await.unwrap_or_default();
        Err(Self::refused(verb, url, status, &headers, &body))
    }

    /// Of an answer about a blob, which it is. `None`: the answer is not Azure's.
    fn identify(&self, key: &ObjectKey, size: u64, headers: &Headers) -> Option<ObjectId> {
        header(headers, "x-ms-blob-type")?;
        let etag = Some(normalise(header(headers, "etag")?));
        let modified = header(headers, "last-modified").and_then(listing::timestamp);
        Some(ObjectId { key: key.clone(), size, modified, etag })
    }

    async fn page(&self, prefix: &str, depth: Depth, marker: Option<&str>) -> Result<listing::Page, StoreError> {
        let url = format!("{}{prefix}", self.url());
        let full = self.full(prefix);
        let most = self.0.settings.page_len.map(|most| most.to_string());
        let mut parameters = vec![("prefix", full.as_str())];
        parameters.extend((depth == Depth::Level).then_some(("delimiter", "/")));
        parameters.extend(marker.map(|marker| ("marker", marker)));
        parameters.extend(most.as_deref().map(|most| ("maxresults", most)));
        let answer = self.ask("LIST", &url, self.client()?.list(&parameters)).await.map_err(|failure| {
            let mut error = failure.error;
            if error.kind == StoreErrorKind::NoSuchObject {
                // No answer to a listing: a container without such keys is an empty page.
                error.kind = StoreErrorKind::Failed;
            }
            error
        })?;
        let status = u16::from(answer.status());
        let wrong = |what: &str| StoreError::new(StoreErrorKind::Failed, &url, format!("LIST answered with {what}"));
        if status != 200 {
            return Err(wrong(&format!("{status}, which is no listing")));
        }
        let body = collect(answer, MOST_OF_A_PAGE).await.map_err(|error| self.failed("LIST", &url, &error).error)?;
        let page = listing::page(&body).map_err(|what| wrong(&what))?;
        if page.next.is_some() && page.next.as_deref() == marker {
            return Err(wrong("a page that is not the last and does not say how to go on"));
        }
        Ok(page)
    }

    /// The entries of a page, objects and folders together in the order of their keys.
    fn entries(&self, page: listing::Page) -> Result<Vec<Listed>, StoreError> {
        let below = |key: &ObjectKey| {
            let below = key.as_str().strip_prefix(&self.0.prefix).map(ObjectKey::from);
            let what = || format!("LIST answered with {:?}, which was not asked for", key.as_str());
            below.ok_or_else(|| StoreError::new(StoreErrorKind::Failed, self.url(), what()))
        };
        let relative = |entry: Listed| {
            Ok(match entry {
                Listed::Object(object) => Listed::Object(ObjectId { key: below(&object.key)?, ..object }),
                Listed::Folder(folder) => Listed::Folder(below(&folder)?),
            })
        };
        let objects = page.objects.into_iter().map(relative).collect::<Result<_, StoreError>>()?;
        let folders = page.folders.into_iter().map(relative).collect::<Result<_, StoreError>>()?;
        Ok(merge(objects, folders))
    }
}

#[async_trait]
impl Store for AzureStore {
    fn url(&self) -> String {
        format!("azure://{}/{}", self.0.container, self.0.prefix)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { sorted: true, etags: true, remote: true, keeps_times: false }
    }

    fn list<'a>(&'a self, prefix: &str, depth: Depth, start_after: Option<&ObjectKey>) -> ListStream<'a> {
        let folder = prefix.to_owned();
        let next = move |marker: Option<String>| {
            let folder = folder.clone();
            async move {
                let mut page = self.page(&folder, depth, marker.as_deref()).await?;
                let marker = page.next.take();
                Ok((self.entries(page)?, marker))
            }
        };
        remote::listing(format!("{}{prefix}", self.url()), prefix, start_after, &self.0.counters, next)
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange, version: Option<&ETag>) -> Result<Got, StoreError> {
        let url = self.object_url(key);
        let changed = || StoreError::new(StoreErrorKind::Changed, &url, "GET: the object is another version now");
        let empty = |object: ObjectId| match version {
            Some(version) if object.etag.as_ref() != Some(version) => Err(changed()),
            _ => Ok(Got { object, body: futures::stream::empty().boxed() }),
        };
        if range != ByteRange::ALL && range.len == Some(0) {
            // No range of HTTP is empty.
            return empty(self.head(key).await?);
        }
        let client = self.client()?;
        let request = client.request(Method::Get, &self.full(key.as_str()));
        let mut request = request.ok_or_else(|| Self::no_such_name("GET", &url))?;
        if range != ByteRange::ALL {
            // The service counts in 63 bits.
            let last = range.len.and_then(|len| range.start.checked_add(len - 1)).filter(|last| *last < 1 << 62);
            let last = last.map(|last| last.to_string()).unwrap_or_default();
            request.insert_header("range", format!("bytes={}-{last}", range.start));
        }
        if let Some(version) = version {
            request.insert_header("if-match", version.as_str().to_owned());
        }
        let answer = match self.ask("GET", &url, request).await {
            Ok(answer) => answer,
            Err(failure) if failure.status == 416 => {
                // The range begins at the blob's end or behind it; not every answer says where that is.
                let object = match failure.size {
                    Some(size) if size <= range.start && version.is_none() => {
                        ObjectId { key: key.clone(), size, modified: None, etag: None }
                    }
                    _ => self.head(key).await?,
                };
                if object.size > range.start {
                    return Err(failure.into());
                }
                return empty(object);
            }
            Err(failure) => return Err(failure.into()),
        };
        let wrong = |what: String| StoreError::new(StoreErrorKind::Failed, &url, format!("GET answered with {what}"));
        let (status, headers) = (u16::from(answer.status()), answer.headers());
        let length = header(headers, "content-length").and_then(|length| length.trim().parse().ok());
        if let Some(size) = header(headers, "content-range").and_then(nothing_at_the_end)
            && (status, length) == (206, Some(0))
            && size <= range.start
        {
            let object = self.identify(key, size, headers);
            return empty(object.ok_or_else(|| wrong(format!("{status} and no blob: this is not Azure")))?);
        }
        let (size, skip, take) = check_range(range, status, header(headers, "content-range"), length).map_err(wrong)?;
        let object = self.identify(key, size, headers);
        let object = object.ok_or_else(|| wrong(format!("{status} and no blob: this is not Azure")))?;
        if version.is_some() && object.etag.as_ref() != version {
            return Err(changed());
        }
        let exact = skip + take == size || status == 206;
        Ok(Got { object, body: body_stream(answer.into_body(), url.clone(), skip, take, exact) })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectId, StoreError> {
        let url = self.object_url(key);
        let client = self.client()?;
        let request = client.request(Method::Head, &self.full(key.as_str()));
        let request = request.ok_or_else(|| Self::no_such_name("HEAD", &url))?;
        let answer = self.ask("HEAD", &url, request).await?;
        let (status, headers) = (u16::from(answer.status()), answer.headers());
        let size = header(headers, "content-length").and_then(|length| length.trim().parse().ok());
        let object = size.and_then(|size| self.identify(key, size, headers));
        object.filter(|_| status == 200).ok_or_else(|| {
            let what = format!("HEAD answered with {status}, but with no blob: this is not Azure");
            StoreError::new(StoreErrorKind::Failed, url, what)
        })
    }

    fn place(&self) -> Option<Place> {
        let settings = &self.0.settings;
        // A signature is for one place; the service would have to be given another to read from.
        if matches!(settings.auth, AzureAuth::Sas(_)) {
            return None;
        }
        let service = format!("azure {} {:?}", settings.service().ok()?, settings.signing_account());
        Some(Place { service, container: self.0.container.clone(), prefix: self.0.prefix.clone() })
    }

    async fn refresh_credentials(&self) {
        *self.0.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests;
