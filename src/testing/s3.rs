//! An S3 server in memory, as much of it as wal-r uses: for tests of requests and answers without a real server.
//!
//! In: objects. Out: a handler for [`Server::start`](super::http::Server::start), and a store that speaks to it.
//! Never: checks signatures; stands in for a real server where one can be had (tests/it has Garage).

use super::http::{Reply, Request};
use crate::storage::open::{S3Endpoint, S3Settings, Secret};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// The only bucket there is.
pub const BUCKET: &str = "bucket";

/// Bytes by key, and which write they are of.
type Objects = BTreeMap<String, (Arc<[u8]>, u64)>;

/// The objects of a bucket. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub struct FakeS3 {
    objects: Arc<Mutex<Objects>>,
    writes: Arc<Mutex<u64>>,
    page: usize,
    plain_listing: bool,
}

impl FakeS3 {
    /// A bucket without objects, with so many entries in a page of a listing (0: 1000).
    pub fn with_pages_of(page: usize) -> Self {
        FakeS3 { page, ..FakeS3::default() }
    }

    /// The same, by a server that does not know `encoding-type`.
    #[must_use]
    pub fn without_encoding(mut self) -> Self {
        self.plain_listing = true;
        self
    }

    /// Put an object there.
    pub fn insert(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        *writes += 1;
        self.objects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.to_owned(), (bytes.into().into(), *writes));
    }

    /// Settings to reach a server at this URL.
    pub fn settings(url: &str) -> S3Settings {
        S3Settings {
            access_key: Some("AKIDEXAMPLE".into()),
            secret_key: Some(Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")),
            region: Some("us-east-1".into()),
            endpoint: Some(S3Endpoint { url: url.to_owned(), addressing: None }),
            ..S3Settings::default()
        }
    }

    /// The answer to a request.
    pub fn answer(&self, request: &Request) -> Reply {
        let path = request.target.split('?').next().unwrap_or_default();
        let path = decode(path.strip_prefix('/').unwrap_or(path));
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        if bucket != BUCKET {
            return Reply::s3_error(404, "NoSuchBucket");
        }
        if key.is_empty() && request.query("list-type") == Some("2") {
            return self.list(request);
        }
        let found = self.objects.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        match request.method.as_str() {
            "PUT" if request.header("if-none-match") == Some("*") && found.is_some() => {
                Reply::s3_error(412, "PreconditionFailed")
            }
            "PUT" => {
                self.insert(key, request.body.clone());
                Reply::new(200, "").header("ETag", format!("\"v{}\"", self.writes.lock().map_or(0, |writes| *writes)))
            }
            "GET" | "HEAD" => match found {
                Some((bytes, write)) => Reply::object(request, &bytes, &format!("\"v{write}\"")),
                None => Reply::s3_error(404, "NoSuchKey"),
            },
            _ => Reply::s3_error(405, "MethodNotAllowed"),
        }
    }

    fn list(&self, request: &Request) -> Reply {
        let query = |name: &str| request.query(name).map(|value| decode(&value.replace('+', " ")));
        let prefix = query("prefix").unwrap_or_default();
        let after = query("continuation-token").or_else(|| query("start-after")).unwrap_or_default();
        let encoded = query("encoding-type").is_some() && !self.plain_listing;
        let text = |text: &str| if encoded { encode(text) } else { escape(text) };
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let mut folders = BTreeSet::new();
        let (mut entries, mut count, mut last, mut more) = (String::new(), 0, String::new(), false);
        for (key, (bytes, write)) in objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            let folder = query("delimiter").and_then(|slash| {
                let end = key.get(prefix.len()..)?.find(&slash)?;
                Some(key.get(..prefix.len() + end + slash.len())?.to_owned())
            });
            let name = folder.as_ref().unwrap_or(key);
            if *name <= after || folders.contains(name) {
                continue;
            }
            if count == if self.page == 0 { 1000 } else { self.page } {
                more = true;
                break;
            }
            count += 1;
            last = name.clone();
            let _ = match folder {
                Some(folder) => folders.insert(folder),
                None => {
                    let _ = write!(
                        entries,
                        "<Contents><Key>{}</Key><LastModified>2026-11-21T09:00:00.000Z</LastModified>\
                         <ETag>&quot;v{write}&quot;</ETag><Size>{}</Size></Contents>",
                        text(key),
                        bytes.len()
                    );
                    true
                }
            };
        }
        let encoding = if encoded { "<EncodingType>url</EncodingType>" } else { "" };
        let next = match more {
            true => format!("<NextContinuationToken>{}</NextContinuationToken>", escape(&last)),
            false => String::new(),
        };
        for folder in folders {
            let _ = write!(entries, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", text(&folder));
        }
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <Name>{BUCKET}</Name>{encoding}<IsTruncated>{more}</IsTruncated>{next}{entries}</ListBucketResult>\n"
        );
        Reply::new(200, body).header("Content-Type", "application/xml")
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// As Go's `QueryEscape` with slashes kept, which is what MinIO sends: a space is a plus sign.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(char::from(byte))
            }
            b' ' => encoded.push('+'),
            byte => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// Percent signs only: in a path, plus is plus.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).unwrap_or(0) as u8;
        bytes.push(if byte == b'%' { hex(rest.next()) * 16 + hex(rest.next()) } else { byte });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
