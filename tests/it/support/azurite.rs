//! Azurite, Microsoft's own stand-in for Azure Blob Storage: one for all tests that run at the same time, each with a
//! prefix of its own.
//!
//! In: node and the script. Out: endpoint, keys, signatures, and blobs put there. Never: listens beyond this machine;
//! outlives the last test that holds it; uses wal-r's own storage code (it is what that code is tested against).

use super::{Scratch, free_port};
use azure_core::credentials::Secret;
use futures::{StreamExt, TryStreamExt};
use reqwest::{Client, RequestBuilder};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// The account.
pub const ACCOUNT: &str = "walracct";
/// Its key.
pub const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==";
/// The container that is there from the start.
pub const CONTAINER: &str = "archives";
const VERSION: &str = "2021-12-02";

/// A running blob service.
#[derive(Debug)]
pub struct Azurite {
    child: Child,
    port: u16,
    prefixes: AtomicU32,
    _scratch: Scratch,
}

impl Azurite {
    /// The server that other tests use now, else a new one.
    pub fn shared(node: &Path, script: &Path) -> Arc<Azurite> {
        static SHARED: Mutex<Weak<Azurite>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let azurite = Arc::new(Azurite::start(node, script));
            *shared = Arc::downgrade(&azurite);
            azurite
        })
    }

    fn start(node: &Path, script: &Path) -> Azurite {
        let scratch = Scratch::new();
        let port = free_port();
        let log = std::fs::File::create(scratch.join("azurite.log")).expect("a log");
        let child = Command::new(node)
            .arg(script)
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--silent", "--disableTelemetry"])
            .arg("--location")
            .arg(scratch.path())
            .env_clear()
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{KEY}"))
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log twice"))
            .stderr(log)
            .spawn()
            .expect("Azurite starts");
        let azurite = Azurite { child, port, prefixes: AtomicU32::new(0), _scratch: scratch };
        let begun = Instant::now();
        let container = format!("{}/{CONTAINER}?restype=container", azurite.endpoint());
        while !azurite.blocking(async |client| {
            let answer =
                azurite.signed(client.put(format!("{container}&{}", azurite.signature("rwdlac")))).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        }) {
            let log = || std::fs::read_to_string(azurite._scratch.join("azurite.log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "Azurite does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        azurite
    }

    /// `http://127.0.0.1:PORT/ACCOUNT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The environment with which wal-r reaches it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AZURE_STORAGE_ENDPOINT", self.endpoint()),
            ("AZURE_STORAGE_ACCOUNT", ACCOUNT.into()),
            ("AZURE_STORAGE_ACCESS_KEY", KEY.into()),
        ]
    }

    /// A shared access signature of the account with these permissions, for a hundred years.
    pub fn signature(&self, permissions: &str) -> String {
        self.signature_until(permissions, "2120-01-01T00:00:00Z")
    }

    /// The same, until then.
    pub fn signature_until(&self, permissions: &str, end: &str) -> String {
        let text = format!("{ACCOUNT}\n{permissions}\nb\nsco\n\n{end}\n\n\n{VERSION}\n\n");
        let signature = azure_core::hmac::hmac_sha256(&text, &Secret::new(KEY)).expect("a signature");
        let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let end = end.replace(':', "%3A");
        format!("sv={VERSION}&ss=b&srt=sco&sp={permissions}&se={end}&sig={signature}")
    }

    /// A prefix in [`CONTAINER`] that no other test uses: no slash at either end.
    pub fn prefix(&self, name: &str) -> String {
        format!("{name}-{}", self.prefixes.fetch_add(1, Ordering::Relaxed))
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("x-ms-version", VERSION)
    }

    /// Do something with an HTTP client and wait for it.
    fn blocking<T>(&self, work: impl AsyncFnOnce(Client) -> T) -> T {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let client = Client::builder().no_proxy().tls_backend_preconfigured(tls).build().expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work(client))
    }

    /// Put blobs into [`CONTAINER`].
    pub fn put_all(&self, blobs: Vec<(String, Vec<u8>)>) {
        let signature = self.signature("rwdlac");
        self.blocking(async |client| {
            let put = |(key, bytes): (String, Vec<u8>)| {
                let url = format!("{}/{CONTAINER}/{key}?{signature}", self.endpoint());
                let put = self.signed(client.put(url)).header("x-ms-blob-type", "BlockBlob").body(bytes);
                async move { put.send().await?.error_for_status().map(drop) }
            };
            let puts = futures::stream::iter(blobs.into_iter().map(put)).buffer_unordered(8);
            puts.try_collect::<Vec<()>>().await.expect("every blob is taken");
        });
    }

    /// Put one blob into [`CONTAINER`].
    pub fn put(&self, key: &str, bytes: Vec<u8>) {
        self.put_all(vec![(key.to_owned(), bytes)]);
    }

    /// Delete one blob of [`CONTAINER`].
    pub fn delete(&self, key: &str) {
        let url = format!("{}/{CONTAINER}/{key}?{}", self.endpoint(), self.signature("rwdlac"));
        self.blocking(async |client| {
            let answer = self.signed(client.delete(url)).send().await.and_then(|answer| answer.error_for_status());
            answer.map(drop).expect("a blob is deleted");
        });
    }

    /// Every blob of [`CONTAINER`] below a prefix, as one page of the service's own XML: names, times, versions.
    pub fn listing(&self, prefix: &str) -> String {
        let page = format!("restype=container&comp=list&prefix={prefix}");
        let url = format!("{}/{CONTAINER}?{page}&{}", self.endpoint(), self.signature("rwdlac"));
        self.blocking(async |client| {
            let answer = self.signed(client.get(url)).send().await.and_then(|answer| answer.error_for_status());
            answer.expect("a listing").text().await.expect("its text")
        })
    }

    /// Put a whole archive of the file system below a prefix; `CONTAINER/PREFIX`, to put a scheme before.
    pub fn upload(&self, archive: &Path, prefix: &str) -> String {
        let (mut open, mut files) = (vec![archive.to_path_buf()], Vec::<(String, PathBuf)>::new());
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(&folder).expect("an archive's folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let key = path.strip_prefix(archive).expect("below the archive").display().to_string();
                    files.push((format!("{prefix}/{key}"), path));
                }
            }
        }
        let read = |(key, path)| (key, std::fs::read(path).expect("an object"));
        self.put_all(files.into_iter().map(read).collect());
        format!("{CONTAINER}/{prefix}")
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
