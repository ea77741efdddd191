//! Garage, a real S3 server: one for all tests that run at the same time, each with a prefix or bucket of its own.
//!
//! In: the program. Out: endpoint, keys, buckets, and objects put there. Never: listens beyond this machine; outlives
//! the last test that holds it; uses wal-r's own storage code (it is what that code is tested against).

use super::{Scratch, free_port, succeed};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use futures::{StreamExt, TryStreamExt};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Access key that may do all in [`BUCKET`].
pub const KEY: &str = "GK0123456789abcdef01234567";
/// Its secret.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// The bucket that is there from the start.
pub const BUCKET: &str = "archives";
/// The only region it answers for.
pub const REGION: &str = "garage";

/// A running S3 server.
#[derive(Debug)]
pub struct Garage {
    child: Child,
    program: PathBuf,
    config: PathBuf,
    port: u16,
    prefixes: AtomicU32,
    _scratch: Scratch,
}

impl Garage {
    /// The server that other tests use now, else a new one.
    pub fn shared(program: &Path) -> Arc<Garage> {
        static SHARED: Mutex<Weak<Garage>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let garage = Arc::new(Garage::start(program));
            *shared = Arc::downgrade(&garage);
            garage
        })
    }

    /// A server of one's own, to stop or to stall.
    pub fn start(program: &Path) -> Garage {
        let scratch = Scratch::new();
        let (port, rpc) = (free_port(), free_port());
        let folder = scratch.path().display();
        let config = scratch.join("garage.toml");
        let text = format!(
            "metadata_dir = \"{folder}/meta\"\ndata_dir = \"{folder}/data\"\ndb_engine = \"lmdb\"\n\
             metadata_fsync = false\ndata_fsync = false\nreplication_factor = 1\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{SECRET}\"\n\
             [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"127.0.0.1:{port}\"\nroot_domain = \".s3.local\"\n"
        );
        std::fs::write(&config, text).expect("Garage's settings");
        let log = std::fs::File::create(scratch.join("garage.log")).expect("a log");
        let child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .args(["server", "--single-node", "--default-bucket"])
            .env_clear()
            .env("GARAGE_DEFAULT_ACCESS_KEY", KEY)
            .env("GARAGE_DEFAULT_SECRET_KEY", SECRET)
            .env("GARAGE_DEFAULT_BUCKET", BUCKET)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log twice"))
            .stderr(log)
            .spawn()
            .expect("Garage starts");
        let garage =
            Garage { child, program: program.into(), config, port, prefixes: AtomicU32::new(0), _scratch: scratch };
        let begun = Instant::now();
        while garage.blocking(|client| async move { client.list_objects_v2().bucket(BUCKET).send().await.is_err() }) {
            let log = || std::fs::read_to_string(garage._scratch.join("garage.log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "Garage does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        garage
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The environment with which wal-r reaches it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        self.environment_at(&self.endpoint())
    }

    /// The same through another endpoint, such as a proxy before it.
    pub fn environment_at(&self, endpoint: &str) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", endpoint.into()),
            ("AWS_REGION", REGION.into()),
            ("AWS_ACCESS_KEY_ID", KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.into()),
            ("AWS_S3_FORCE_PATH_STYLE", "true".into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ]
    }

    /// A prefix in [`BUCKET`] that no other test uses: no slash at either end.
    pub fn prefix(&self, name: &str) -> String {
        format!("{name}-{}", self.prefixes.fetch_add(1, Ordering::Relaxed))
    }

    /// Run its command line: `garage bucket create x`, `garage key create y`, …
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> String {
        succeed(Command::new(&self.program).env_clear().arg("-c").arg(&self.config).args(arguments))
    }

    /// A client of Amazon's own making, which tries once and takes what it gets.
    pub fn client(&self, endpoint: &str) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new(KEY, SECRET, None, None, "test"))
            .force_path_style(true)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Client::from_conf(config)
    }

    /// Do something with a client and wait for it.
    pub fn blocking<F: Future>(&self, work: impl FnOnce(Client) -> F) -> F::Output {
        self.blocking_at(&self.endpoint(), work)
    }

    /// The same through another endpoint, such as a proxy before it.
    pub fn blocking_at<F: Future>(&self, endpoint: &str, work: impl FnOnce(Client) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work(self.client(endpoint)))
    }

    /// Put one object into [`BUCKET`].
    pub fn put(&self, key: &str, bytes: Vec<u8>) {
        self.blocking(|client| async move {
            client.put_object().bucket(BUCKET).key(key).body(bytes.into()).send().await.expect("an object is taken")
        });
    }

    /// Every key of [`BUCKET`] below a prefix.
    pub fn list(&self, prefix: &str) -> Vec<String> {
        self.blocking(|client| async move {
            let mut pages = client.list_objects_v2().bucket(BUCKET).prefix(prefix).into_paginator().send();
            let mut keys = Vec::new();
            while let Some(page) = pages.next().await {
                let page = page.expect("a page of a listing");
                keys.extend(page.contents().iter().filter_map(|object| object.key().map(String::from)));
            }
            keys
        })
    }

    /// Delete one object of [`BUCKET`].
    pub fn delete(&self, key: &str) {
        self.blocking(|client| async move {
            client.delete_object().bucket(BUCKET).key(key).send().await.expect("an object is deleted")
        });
    }

    /// Put a whole archive of the file system below a prefix; the archive's URL.
    pub fn upload(&self, archive: &Path, prefix: &str) -> String {
        let (mut open, mut files) = (vec![archive.to_path_buf()], Vec::new());
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
        self.blocking(|client| async move {
            let put = |(key, path): (String, PathBuf)| {
                let put = client.put_object().bucket(BUCKET).key(key);
                async move { put.body(std::fs::read(path).expect("an object").into()).send().await.map(drop) }
            };
            // Hundreds of small objects, one after the other, would take longer than many a test.
            let puts = futures::stream::iter(files.into_iter().map(put)).buffer_unordered(8);
            puts.try_collect::<Vec<()>>().await.expect("every object is taken");
        });
        format!("s3://{BUCKET}/{prefix}")
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
