//! Writing to S3: puts, uploads in parts, copies that the server makes.
//!
//! In: bytes with a key, or the place of another object. Out: the version that is there now. Never: sends bytes without a
//! digest of them that is signed, which every kin of S3 checks them against; replaces what must be absent (see [`When`]).
//!
//! That is the MD5 that the source gives as its ETag, where it does; else their SHA-256, which a copy has already. To compute
//! an MD5 would cost more than all else together. A copy that the server makes asks for no checksum: a server that has none
//! would read, and some write, every byte for it.
//! Source: Amazon S3 API reference (PutObject, CreateMultipartUpload and its kin, CopyObject, UploadPartCopy, CreateBucket).

use super::{S3Store, Watch};
use crate::layout::ObjectKey;
use crate::storage::{
    Content, Copied, ETag, ObjectId, Place, Store, StoreError, StoreErrorKind, StoreWrite, Swept, Unfinished, Upload,
    When, remote,
};
use async_trait::async_trait;
use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CompletedMultipartUpload, CompletedPart, CreateBucketConfiguration, MultipartUpload,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_types::base64;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// So many parts at once.
const COPY_PARTS: usize = 4;
/// An upload in parts that began so long ago, nobody is still at.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// A key and the id of an upload to it: a page of uploads begins behind these.
type Marker = (String, Option<String>);

/// How the server is told to copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copies {
    /// It copies no larger object in one request.
    pub(super) largest: u64,
    /// Else in parts of this size.
    pub(super) part: u64,
}

impl Default for Copies {
    fn default() -> Self {
        Copies { largest: 5 << 30, part: 512 << 20 }
    }
}

/// How the server can tell that the bytes which arrive are those that were sent. Signed either way.
#[derive(Debug, Clone)]
struct Vouched {
    /// Compared by the server with the one that it computes for its ETag.
    md5: Option<String>,
    signing: PayloadSigningOverride,
}

impl Vouched {
    /// By our own digest; the SDK would compute another.
    fn by_us(content: &Content) -> Vouched {
        let sha256 = content.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
        Vouched { md5: None, signing: PayloadSigningOverride::Precomputed(sha256) }
    }

    /// By what the source says of them: costs nobody anything, and holds from its disk to the server's.
    fn by_source(content: &Content) -> Option<Vouched> {
        let md5 = Some(base64::encode(content.said_md5()?));
        Some(Vouched { md5, signing: PayloadSigningOverride::unsigned_payload() })
    }
}

impl Intercept for Vouched {
    fn name(&self) -> &'static str {
        "Vouched"
    }

    fn modify_before_signing(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(self.signing.clone());
        Ok(())
    }
}

/// A key in the form of `x-amz-copy-source`.
fn copy_source(from: &Place, key: &ObjectKey) -> String {
    let mut text = format!("{}/", from.container);
    for byte in from.prefix.bytes().chain(key.as_str().bytes()) {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

impl S3Store {
    fn exists(verb: &str, url: &str) -> StoreError {
        StoreError::new(StoreErrorKind::Exists, url, format!("{verb}: the object exists already"))
    }

    /// Ask first, where that is wanted.
    async fn expect_absent(&self, verb: &str, key: &ObjectKey, when: When) -> Result<(), StoreError> {
        if when != When::Absent {
            return Ok(());
        }
        match self.head(key).await {
            Ok(_) => Err(Self::exists(verb, &self.object_url(key))),
            Err(error) if error.kind == StoreErrorKind::NoSuchObject => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where a condition failed, the object is there.
    fn judged(verb: &str, url: &str, when: When, failure: super::Failure) -> StoreError {
        match failure.status {
            412 if when.must_be_absent() => Self::exists(verb, url),
            _ => failure.into(),
        }
    }

    fn not_s3(verb: &str, url: &str, status: u16, what: &str) -> StoreError {
        let what = format!("{verb} answered with {status} and no {what}: this is not S3");
        StoreError::new(StoreErrorKind::Failed, url, what)
    }

    /// One request.
    async fn put_vouched(
        &self,
        key: &ObjectKey,
        url: &str,
        content: &Content,
        when: When,
        vouched: &Vouched,
    ) -> Result<Option<ETag>, super::Failure> {
        let request = |client: Client, watch: Watch| {
            client
                .put_object()
                .bucket(&self.0.bucket)
                .key(self.full(key.as_str()))
                .set_if_none_match(when.must_be_absent().then(|| "*".into()))
                .set_content_md5(vouched.md5.clone())
                .body(ByteStream::from(content.bytes.clone()))
                .set_request_payer(self.payer())
                .customize()
                .interceptor(vouched.clone())
                .interceptor(watch)
                .send()
        };
        let (output, seen) = self.ask("PUT", url, request).await?;
        match output.e_tag() {
            Some(etag) if seen.status == 200 => Ok(Some(remote::normalise(etag))),
            _ => Err(Self::not_s3("PUT", url, seen.status, "ETag").into()),
        }
    }

    async fn begin(&self, key: &ObjectKey) -> Result<Parts, StoreError> {
        let url = self.object_url(key);
        let request = |client: Client, watch: Watch| {
            client
                .create_multipart_upload()
                .bucket(&self.0.bucket)
                .key(self.full(key.as_str()))
                .set_request_payer(self.payer())
                .customize()
                .interceptor(watch)
                .send()
        };
        let (output, seen) = self.ask("POST", &url, request).await?;
        let id = output.upload_id().ok_or_else(|| Self::not_s3("POST", &url, seen.status, "upload id"))?.to_owned();
        Ok(Parts { store: self.clone(), key: key.clone(), id, done: Mutex::default() })
    }

    /// A page of the uploads below the prefix that nobody finished, and when they were begun; and where the next page begins.
    async fn unfinished(
        &self,
        from: Option<Marker>,
    ) -> Result<(Vec<(Unfinished, Option<jiff::Timestamp>)>, Option<Marker>), StoreError> {
        let url = self.url();
        let (key, id) = from.clone().unzip();
        let request = |client: Client, watch: Watch| {
            client
                .list_multipart_uploads()
                .bucket(&self.0.bucket)
                .prefix(&self.0.prefix)
                .set_key_marker(key.clone())
                .set_upload_id_marker(id.clone().flatten())
                .set_request_payer(self.payer())
                .customize()
                .interceptor(watch)
                .send()
        };
        let (page, _) = self.ask("LIST", &url, request).await?;
        let one = |upload: &MultipartUpload| {
            let key = ObjectKey::from(upload.key()?.strip_prefix(&self.0.prefix)?);
            let id = upload.upload_id()?.to_owned();
            Some((Unfinished { key, id }, upload.initiated().and_then(super::timestamp)))
        };
        let found = page.uploads().iter().filter_map(one).collect();
        let next = page.next_key_marker().filter(|_| page.is_truncated() == Some(true));
        let next = next.map(|key| (key.to_owned(), page.next_upload_id_marker().map(str::to_owned)));
        // One that leads nowhere would never end.
        Ok((found, next.filter(|next| from.as_ref() != Some(next))))
    }

    /// A large object, by the server, in parts.
    async fn copy_parts(
        &self,
        from: &Place,
        source: &ObjectId,
        key: &ObjectKey,
        when: When,
    ) -> Result<Copied, StoreError> {
        let upload = self.begin(key).await?;
        let size = self.0.copies.part.max(1);
        let starts = (0..source.size.div_ceil(size)).map(|part| part * size);
        let parts = starts.zip(1..).map(|(start, number)| {
            let end = (start + size).min(source.size) - 1;
            upload.copy_part(from, source, number, format!("bytes={start}-{end}"))
        });
        let copied = stream::iter(parts).buffer_unordered(COPY_PARTS).try_collect::<()>().await;
        let finished = match copied {
            Ok(()) => upload.finish(when).await,
            Err(error) => Err(error),
        };
        match finished {
            Ok(etag) => Ok(Copied { etag, sha256: None }),
            Err(error) => {
                // Else it would be paid for until somebody looks.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }
}

#[async_trait]
impl StoreWrite for S3Store {
    async fn put(&self, key: &ObjectKey, content: Content, when: When) -> Result<Option<ETag>, StoreError> {
        let url = self.object_url(key);
        self.expect_absent("PUT", key, when).await?;
        let doubts = &self.0.doubts_md5;
        if let Some(vouched) = Vouched::by_source(&content).filter(|_| !doubts.load(Ordering::Relaxed)) {
            match self.put_vouched(key, &url, &content, when, &vouched).await {
                // No MD5, then (that of an encrypted object is none); or what will be said again.
                Err(failure) if failure.status == 400 => doubts.store(true, Ordering::Relaxed),
                answer => return answer.map_err(|failure| Self::judged("PUT", &url, when, failure)),
            }
        }
        let answer = self.put_vouched(key, &url, &content, when, &Vouched::by_us(&content)).await;
        answer.map_err(|failure| Self::judged("PUT", &url, when, failure))
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(self.begin(key).await?))
    }

    async fn copy_from(
        &self,
        from: &Place,
        source: &ObjectId,
        key: &ObjectKey,
        when: When,
    ) -> Result<Copied, StoreError> {
        self.expect_absent("COPY", key, when).await?;
        if source.size > self.0.copies.largest {
            return self.copy_parts(from, source, key, when).await;
        }
        let url = self.object_url(key);
        let request = |client: Client, watch: Watch| {
            client
                .copy_object()
                .bucket(&self.0.bucket)
                .key(self.full(key.as_str()))
                .copy_source(copy_source(from, &source.key))
                .set_copy_source_if_match(source.etag.as_ref().map(|etag| etag.as_str().to_owned()))
                .set_if_none_match(when.must_be_absent().then(|| "*".into()))
                .set_request_payer(self.payer())
                .customize()
                .interceptor(watch)
                .send()
        };
        let (output, seen) = match self.ask("COPY", &url, request).await {
            Ok(answer) => answer,
            Err(failure) if failure.status == 412 => {
                // One of two conditions failed: is it the source's?
                let there = self.head(key).await;
                return Err(match there {
                    Ok(_) if when.must_be_absent() => Self::exists("COPY", &url),
                    _ => StoreError::new(StoreErrorKind::Changed, &url, "COPY: the source is another version now"),
                });
            }
            Err(failure) => return Err(failure.into()),
        };
        let result = output.copy_object_result();
        let etag = result.and_then(|result| result.e_tag()).map(remote::normalise);
        let digest = result.and_then(|result| result.checksum_sha256()).and_then(|text| base64::decode(text).ok());
        let sha256 = digest.and_then(|digest| digest.try_into().ok());
        match etag {
            Some(etag) => Ok(Copied { etag: Some(etag), sha256 }),
            None => Err(Self::not_s3("COPY", &url, seen.status, "ETag")),
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let url = self.object_url(key);
        let request = |client: Client, watch: Watch| {
            client
                .delete_object()
                .bucket(&self.0.bucket)
                .key(self.full(key.as_str()))
                .set_request_payer(self.payer())
                .customize()
                .interceptor(watch)
                .send()
        };
        match self.ask("DELETE", &url, request).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.error.kind == StoreErrorKind::NoSuchObject => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn create(&self) -> Result<(), StoreError> {
        let url = format!("s3://{}/", self.0.bucket);
        // Amazon's oldest region has no name here.
        let region = self.client().await?.config().region().map(ToString::to_string);
        let place = region.filter(|region| region != "us-east-1").map(|region| {
            let place = BucketLocationConstraint::from(region.as_str());
            CreateBucketConfiguration::builder().location_constraint(place).build()
        });
        let request = |client: Client, watch: Watch| {
            let create = client.create_bucket().bucket(&self.0.bucket);
            create.set_create_bucket_configuration(place.clone()).customize().interceptor(watch).send()
        };
        self.ask("PUT", &url, request).await?;
        Ok(())
    }

    async fn set_modified(&self, key: &ObjectKey, _: jiff::Timestamp) -> Result<Option<ETag>, StoreError> {
        let what = "S3 knows no time but that of the write";
        Err(StoreError::new(StoreErrorKind::Unsupported, self.object_url(key), what))
    }

    async fn sweep(&self) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let mut from: Option<Marker> = None;
        loop {
            let (page, next) = self.unfinished(from.take()).await?;
            for (upload, begun) in page {
                let age = begun.map(|begun| begun.duration_until(jiff::Timestamp::now()).unsigned_abs());
                if age.is_some_and(|age| age > ABANDONED) {
                    self.abandon(&upload).await?;
                    swept.removed += 1;
                } else {
                    swept.unfinished.push(upload);
                }
            }
            match next {
                Some(next) => from = Some(next),
                None => return Ok(swept),
            }
        }
    }

    async fn abandon(&self, upload: &Unfinished) -> Result<(), StoreError> {
        let Unfinished { key, id } = upload.clone();
        Parts { store: self.clone(), key, id, done: Mutex::default() }.abort().await
    }
}

/// An upload in parts.
#[derive(Debug)]
struct Parts {
    store: S3Store,
    key: ObjectKey,
    id: String,
    /// Number and ETag of what is there.
    done: Mutex<BTreeMap<i32, String>>,
}

impl Parts {
    fn number(&self, number: u32) -> Result<i32, StoreError> {
        // The most that S3 takes.
        i32::try_from(number).ok().filter(|number| (1..=10_000).contains(number)).ok_or_else(|| {
            let url = self.store.object_url(&self.key);
            StoreError::new(StoreErrorKind::Config, url, format!("an object of {number} parts is more than S3 takes"))
        })
    }

    fn arrived(&self, number: i32, etag: Option<&str>, status: u16) -> Result<(), StoreError> {
        let url = || self.store.object_url(&self.key);
        let etag = etag.ok_or_else(|| S3Store::not_s3("PUT", &url(), status, "ETag"))?;
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(number, etag.to_owned());
        Ok(())
    }

    /// A part that the server takes from another object.
    async fn copy_part(&self, from: &Place, source: &ObjectId, number: u32, range: String) -> Result<(), StoreError> {
        let (store, number) = (&self.store, self.number(number)?);
        let url = store.object_url(&self.key);
        let request = |client: Client, watch: Watch| {
            client
                .upload_part_copy()
                .bucket(&store.0.bucket)
                .key(store.full(self.key.as_str()))
                .upload_id(&self.id)
                .part_number(number)
                .copy_source(copy_source(from, &source.key))
                .copy_source_range(&range)
                .set_copy_source_if_match(source.etag.as_ref().map(|etag| etag.as_str().to_owned()))
                .set_request_payer(store.payer())
                .customize()
                .interceptor(watch)
                .send()
        };
        let (output, seen) = match store.ask("COPY", &url, request).await {
            Ok(answer) => answer,
            Err(failure) if failure.status == 412 => {
                let what = "COPY: the source is another version now";
                return Err(StoreError::new(StoreErrorKind::Changed, url, what));
            }
            Err(failure) => return Err(failure.into()),
        };
        self.arrived(number, output.copy_part_result().and_then(|result| result.e_tag()), seen.status)
    }
}

#[async_trait]
impl Upload for Parts {
    async fn part(&self, number: u32, _: u64, bytes: Bytes) -> Result<(), StoreError> {
        let (store, number) = (&self.store, self.number(number)?);
        let (url, content) = (store.object_url(&self.key), Content::from(bytes));
        let vouched = Vouched::by_us(&content);
        let request = |client: Client, watch: Watch| {
            client
                .upload_part()
                .bucket(&store.0.bucket)
                .key(store.full(self.key.as_str()))
                .upload_id(&self.id)
                .part_number(number)
                .body(ByteStream::from(content.bytes.clone()))
                .set_request_payer(store.payer())
                .customize()
                .interceptor(vouched.clone())
                .interceptor(watch)
                .send()
        };
        let (output, seen) = store.ask("PUT", &url, request).await?;
        self.arrived(number, output.e_tag(), seen.status)
    }

    async fn finish(&self, when: When) -> Result<Option<ETag>, StoreError> {
        let store = &self.store;
        let url = store.object_url(&self.key);
        store.expect_absent("POST", &self.key, when).await?;
        let parts = {
            let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            let part =
                |(number, etag): (&i32, &String)| CompletedPart::builder().part_number(*number).e_tag(etag).build();
            CompletedMultipartUpload::builder().set_parts(Some(done.iter().map(part).collect())).build()
        };
        let request = |client: Client, watch: Watch| {
            client
                .complete_multipart_upload()
                .bucket(&store.0.bucket)
                .key(store.full(self.key.as_str()))
                .upload_id(&self.id)
                .set_if_none_match(when.must_be_absent().then(|| "*".into()))
                .multipart_upload(parts.clone())
                .set_request_payer(store.payer())
                .customize()
                .interceptor(watch)
                .send()
        };
        match store.ask("POST", &url, request).await {
            Ok((output, seen)) => match output.e_tag() {
                Some(etag) => Ok(Some(remote::normalise(etag))),
                None => Err(S3Store::not_s3("POST", &url, seen.status, "ETag")),
            },
            Err(failure) => Err(S3Store::judged("POST", &url, when, failure)),
        }
    }

    async fn abort(&self) -> Result<(), StoreError> {
        let store = &self.store;
        let url = store.object_url(&self.key);
        let request = |client: Client, watch: Watch| {
            let abort = client.abort_multipart_upload().bucket(&store.0.bucket).key(store.full(self.key.as_str()));
            abort.upload_id(&self.id).set_request_payer(store.payer()).customize().interceptor(watch).send()
        };
        match store.ask("DELETE", &url, request).await {
            Ok(_) => Ok(()),
            // It is gone already.
            Err(failure) if failure.status == 404 => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::s3::tests::store;
    use crate::testing::http::{Reply, Server};

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// What vouches for the bytes of each PUT: MD5 and SHA-256.
    fn vouched(server: &Server) -> Vec<(Option<String>, Option<String>)> {
        let puts = server.requests().into_iter().filter(|request| request.method == "PUT");
        puts.map(|put| ["content-md5", "x-amz-content-sha256"].map(|name| put.header(name).map(str::to_owned)).into())
            .collect()
    }

    fn said(md5: Option<&str>, sha256: &str) -> (Option<String>, Option<String>) {
        (md5.map(str::to_owned), Some(sha256.to_owned()))
    }

    /// The server checks the bytes against the digest that is signed for: theirs, and the one that is known already, unasked.
    #[tokio::test]
    async fn bytes_are_signed_for_by_their_digest() {
        let server = Server::start(|request, _| match request.method.as_str() {
            "POST" => {
                let body = "<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>";
                Reply::new(200, body)
            }
            _ => Reply::new(200, "").header("ETag", "\"e\""),
        })
        .await;
        let store = store(&server, "");
        store.put(&"key".into(), "abc".into(), When::Always).await.expect("put");
        store.put(&"key".into(), Content::digested("abc".into(), [0xa5; 32]), When::Always).await.expect("put");
        let upload = store.upload(&"key".into()).await.expect("an upload");
        upload.part(1, 0, "abc".into()).await.expect("a part");
        assert_eq!(vouched(&server), [said(None, ABC), said(None, &"a5".repeat(32)), said(None, ABC)]);
    }

    /// What the source says of the bytes goes along, until it turns out to be something else.
    #[tokio::test]
    async fn the_sources_md5_vouches_while_it_is_one() {
        let right = base64::encode(0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72_u128.to_be_bytes());
        let known = right.clone();
        let server = Server::start(move |request, _| match request.header("content-md5") {
            Some(md5) if md5 != known => Reply::s3_error(400, "BadDigest"),
            _ => Reply::new(200, "").header("ETag", "\"e\""),
        })
        .await;
        let store = store(&server, "");
        let put = async |md5: &str| {
            let md5 = base64::decode(md5).expect("an MD5").try_into().ok();
            store.put(&"key".into(), Content::from("abc").said_to_be(md5), When::Always).await.expect("put")
        };
        let wrong = base64::encode([0xee; 16]);
        put(&right).await;
        put(&wrong).await;
        put(&right).await;
        let unsigned = "UNSIGNED-PAYLOAD";
        let wanted = [said(Some(&right), unsigned), said(Some(&wrong), unsigned), said(None, ABC), said(None, ABC)];
        assert_eq!(vouched(&server), wanted);
    }

    /// Page by page: what is old goes, what is young is told, what lies beside the prefix is nobody's business here.
    #[tokio::test]
    async fn uploads_that_nobody_finished() {
        let now = jiff::Timestamp::now();
        let page = move |uploads: &[(&str, &str, i64)], next: Option<(&str, &str)>| {
            let upload = |(key, id, hours): &(&str, &str, i64)| {
                let begun = now - jiff::SignedDuration::from_hours(*hours);
                format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{begun:.3}</Initiated></Upload>")
            };
            let uploads: String = uploads.iter().map(upload).collect();
            let (key, id) = next.unwrap_or_default();
            let next = format!("<NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{id}</NextUploadIdMarker>");
            let more = format!("<IsTruncated>{}</IsTruncated>", !key.is_empty());
            Reply::new(200, format!("<ListMultipartUploadsResult>{more}{next}{uploads}</ListMultipartUploadsResult>"))
        };
        let server = Server::start(move |request, _| match (request.method.as_str(), request.query("key-marker")) {
            ("DELETE", _) if request.target.contains("gone") => Reply::s3_error(404, "NoSuchUpload"),
            ("DELETE", _) => Reply::new(204, ""),
            (_, None) => {
                page(&[("db/a", "old", 25), ("db/a", "young", 23), ("db/b", "gone", 48)], Some(("db%2Fb", "gone")))
            }
            (_, Some(_)) => page(&[("db/c", "young", 0), ("dbx/c", "beside", 99)], None),
        })
        .await;
        let store = store(&server, "db/");
        let swept = store.sweep().await.expect("a sweep");
        let young = |key: &str| Unfinished { key: key.into(), id: "young".into() };
        assert_eq!(swept, Swept { removed: 2, unfinished: vec![young("a"), young("c")] });
        store.abandon(&young("c")).await.expect("it is taken away");
        let removed = server.requests().into_iter().filter(|request| request.method == "DELETE");
        let removed: Vec<String> =
            removed.map(|request| request.query("uploadId").unwrap_or_default().into()).collect();
        assert_eq!(removed, ["old", "gone", "young"]);
    }

    #[test]
    fn a_source_is_escaped() {
        let from = Place { service: String::new(), container: "b".into(), prefix: "x y/".into() };
        assert_eq!(copy_source(&from, &"a+b%/\u{e4}".into()), "b/x%20y/a%2Bb%25/%C3%A4");
    }
}
