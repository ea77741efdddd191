//! Azure Blob Storage in memory, as much of it as wal-r uses: for tests of requests and answers without a real server.
//!
//! In: blobs. Out: a handler for [`Server::start`](super::http::Server::start), and settings to reach it.
//! Never: checks signatures; stands in for a real server where one can be had (tests/it has Azurite).

use super::http::{Reply, Request};
use crate::storage::open::{AzureAuth, AzureSettings, Secret};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// The only container there is.
pub const CONTAINER: &str = "container";
/// The account.
pub const ACCOUNT: &str = "account";
/// Its key, of the example in Azure's documentation.
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Bytes by name, and which write they are of.
type Blobs = BTreeMap<String, (Arc<[u8]>, u64)>;

/// The blobs of a container. Cheap to clone; clones share them.
#[derive(Debug, Clone, Default)]
pub struct FakeAzure {
    blobs: Arc<Mutex<Blobs>>,
    blocks: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    page: usize,
}

/// Azure's error document, and the header that says the same.
pub fn refusal(status: u16, code: &str) -> Reply {
    let body = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>about {code}\n\
         RequestId:0b1e2c3d\nTime:2026-11-21T09:00:00.0000000Z</Message></Error>"
    );
    Reply::new(status, body).header("Content-Type", "application/xml").header("x-ms-error-code", code)
}

impl FakeAzure {
    /// A container without blobs, with so many entries in a page of a listing (0: 5000).
    pub fn with_pages_of(page: usize) -> Self {
        FakeAzure { page, ..FakeAzure::default() }
    }

    /// Put a blob there.
    pub fn insert(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let write = blobs.values().map(|(_, write)| write + 1).max().unwrap_or(1);
        blobs.insert(name.to_owned(), (bytes.into().into(), write));
    }

    /// Settings to reach a server at this URL.
    pub fn settings(url: &str) -> AzureSettings {
        AzureSettings {
            account: Some(ACCOUNT.into()),
            endpoint: Some(format!("{url}/{ACCOUNT}")),
            auth: AzureAuth::Key(Secret::new(KEY)),
            ..AzureSettings::default()
        }
    }

    /// The answer to a request.
    pub fn answer(&self, request: &Request) -> Reply {
        let path = request.target.split('?').next().unwrap_or_default();
        let path = path.strip_prefix(&format!("/{ACCOUNT}/")).unwrap_or_default();
        let (container, name) = path.split_once('/').unwrap_or((path, ""));
        if container != CONTAINER {
            return refusal(404, "ContainerNotFound");
        }
        if name.is_empty() && request.query("comp") == Some("list") {
            return self.list(request);
        }
        let name = decode(name);
        let found = self.blobs.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        match request.method.as_str() {
            "PUT" if request.query("comp") == Some("block") => {
                let id = decode(request.query("blockid").unwrap_or_default());
                self.blocks.lock().unwrap_or_else(PoisonError::into_inner).insert(id, request.body.clone());
                Reply::new(201, "")
            }
            "PUT" if request.header("if-none-match") == Some("*") && found.is_some() => {
                refusal(409, "BlobAlreadyExists")
            }
            "PUT" => {
                let mut content = request.body.clone();
                if request.query("comp") == Some("blocklist") {
                    let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
                    let list = String::from_utf8_lossy(&request.body).into_owned();
                    let ids = list.split("<Latest>").skip(1).filter_map(|rest| rest.split('<').next());
                    content = ids.filter_map(|id| blocks.get(id)).flatten().copied().collect();
                }
                self.insert(&name, content);
                Reply::new(201, "").header("ETag", "\"0x1\"")
            }
            "GET" | "HEAD" => match found {
                Some((bytes, write)) => blob(request, &bytes, &format!("\"0x{write:X}\"")),
                None => refusal(404, "BlobNotFound"),
            },
            _ => refusal(405, "UnsupportedHttpVerb"),
        }
    }

    fn list(&self, request: &Request) -> Reply {
        let query = |name: &str| request.query(name).map(|value| decode(&value.replace('+', " ")));
        let prefix = query("prefix").unwrap_or_default();
        let after = query("marker").unwrap_or_default();
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut entries, mut count, mut last, mut next) = (String::new(), 0, String::new(), String::new());
        for (name, (bytes, write)) in blobs.iter().filter(|(name, _)| name.starts_with(&prefix)) {
            let folder = query("delimiter").and_then(|slash| {
                let end = name.get(prefix.len()..)?.find(&slash)?;
                name.get(..prefix.len() + end + slash.len())
            });
            let shown = folder.unwrap_or(name).to_owned();
            if shown <= after || shown == last {
                continue;
            }
            if count == if self.page == 0 { 5000 } else { self.page } {
                next = escape(&last);
                break;
            }
            count += 1;
            last = shown;
            let _ = match folder {
                Some(folder) => write!(entries, "<BlobPrefix><Name>{}</Name></BlobPrefix>", escape(folder)),
                None => write!(
                    entries,
                    "<Blob><Name>{}</Name><Properties><Last-Modified>Sat, 21 Nov 2026 09:00:00 GMT</Last-Modified>\
                     <Etag>0x{write:X}</Etag><Content-Length>{}</Content-Length><BlobType>BlockBlob</BlobType>\
                     </Properties><OrMetadata /></Blob>",
                    escape(name),
                    bytes.len()
                ),
            };
        }
        let marker = if next.is_empty() { "<NextMarker />".into() } else { format!("<NextMarker>{next}</NextMarker>") };
        let body = format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults \
             ServiceEndpoint=\"http://x/\" ContainerName=\"{CONTAINER}\"><Blobs>{entries}</Blobs>{marker}\
             </EnumerationResults>"
        );
        Reply::new(200, body).header("Content-Type", "application/xml")
    }
}

/// A blob, or the part of it that a request asks for.
pub fn blob(request: &Request, bytes: &[u8], etag: &str) -> Reply {
    let reply = Reply::object(request, bytes, etag);
    match reply.status {
        412 => refusal(412, "ConditionNotMet"),
        416 => refusal(416, "InvalidRange").header("Content-Range", format!("bytes */{}", bytes.len())),
        _ => reply.header("x-ms-blob-type", "BlockBlob"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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
