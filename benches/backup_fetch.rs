//! How fast does a base backup become files, against `lzop -dc | tar x` of the same partitions?
//!
//! Unit: bytes of files per second. `ours` restores from a directory into memory (or a temporary folder), everything
//! verified, with one worker per core; `lzop_tar` runs one pipe per partition, as many at once as there are cores.
//! Where lzop or tar is not installed their half is left out. `s3` restores the same through our S3 client from a server
//! in this process, which takes its own share of the cores: what is left of `ours` is what the way over S3 leaves.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use wal_r::backup::restore::ConfigFiles;
use wal_r::backup::tablespaces::Wishes;
use wal_r::commands::Silent;
use wal_r::commands::backup_fetch::{Options, Which, plan, run};
use wal_r::storage::Store;
use wal_r::storage::local::LocalStore;
use wal_r::testing::backup::{CONTROL, NAME, label};
use wal_r::testing::lzop::lzop;
use wal_r::testing::tar::Tar;

/// Partitions, and files of one MiB in each.
const PARTS: usize = 4;
const FILES: usize = 48;

/// About 2.5 to 1, in pages without checksums.
fn content(seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = Vec::with_capacity(1 << 20);
    while bytes.len() < 1 << 20 {
        bytes.extend((0..random.usize(10..200)).map(|_| random.u8(..)));
        bytes.extend(vec![0; random.usize(10..500)]);
    }
    bytes.truncate(1 << 20);
    bytes
}

fn archive(folder: &Path) -> u64 {
    let parts = folder.join(format!("basebackups_005/{NAME}/tar_partitions"));
    std::fs::create_dir_all(&parts).expect("a folder");
    std::fs::create_dir_all(folder.join("wal_005")).expect("a folder");
    std::fs::write(folder.join("wal_005/000000010000000000000003.lzo"), lzop(b"x")).expect("a file");
    let mut total = 0;
    for part in 0..PARTS {
        let mut tar = Tar::new(true);
        if part == 0 {
            let label = label();
            total += 3 + label.len() as u64 + CONTROL.len() as u64;
            tar = tar.dir("/", 0o700).file("PG_VERSION", b"13\n").file("backup_label", label.as_bytes());
            tar = tar.file("global/pg_control", CONTROL);
        }
        for file in 0..FILES {
            let content = content((part * FILES + file) as u64);
            total += content.len() as u64;
            tar = tar.file(&format!("base/{}/{}", part + 1, file + 1), &content);
        }
        std::fs::write(parts.join(format!("part_{part:08}.tar.lzo")), lzop(&tar.finish())).expect("a file");
    }
    let sentinel = format!(
        r#"{{"wal_segment_backup_stop": "000000010000000000000003", "wal_segment_offset_backup_stop": "00000312", "expanded_size_bytes": {total}, "spec": {{}}}}"#
    );
    std::fs::write(folder.join(format!("basebackups_005/{NAME}_backup_stop_sentinel.json")), sentinel).expect("a file");
    total
}

/// Every file below `folder`, relative to `root`.
#[cfg(feature = "s3")]
fn keys(root: &Path, folder: &Path) -> Vec<String> {
    let mut keys = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            keys.extend(self::keys(root, &path));
        } else {
            keys.push(path.strip_prefix(root).expect("below it").to_string_lossy().into_owned());
        }
    }
    keys
}

fn bench(criterion: &mut Criterion) {
    let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    let folder = place.path().join("archive");
    let total = archive(&folder);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let target = place.path().join("pg");
    let mut group = criterion.benchmark_group("backup_fetch");
    group.throughput(Throughput::Bytes(total)).sample_size(10);
    let options = Options {
        target: target.clone(),
        which: Which::Latest,
        resume: false,
        tablespaces: Wishes::default(),
        waldir: None,
        verify_pages: true,
        owner: None,
        is_root: false,
        left_out: Default::default(),
        config: ConfigFiles::Leave,
        any_system: false,
        wal_elsewhere: false,
        recovery: None,
        workers: None,
        cores,
    };
    let restore = |store: Arc<dyn Store>| {
        let _ = std::fs::remove_dir_all(&target);
        runtime.block_on(async {
            let plan = plan(&*store, &options).await.expect("a plan");
            run(store, &options, plan, Arc::new(Silent)).await.expect("restored");
        });
    };
    group.bench_function("ours", |bench| bench.iter(|| restore(Arc::new(LocalStore::new(&folder)))));
    #[cfg(feature = "s3")]
    group.bench_function("s3", |bench| {
        let objects = wal_r::testing::s3::FakeS3::default();
        for key in keys(&folder, &folder) {
            objects.insert(&key, std::fs::read(folder.join(&key)).expect("a file"));
        }
        let server = runtime.block_on(wal_r::testing::http::Server::start(move |request, _| objects.answer(request)));
        let settings = wal_r::testing::s3::FakeS3::settings(&server.url());
        let bucket = wal_r::testing::s3::BUCKET;
        let store = wal_r::storage::s3::S3Store::new(bucket, "", settings, Arc::default());
        let store: Arc<dyn Store> = Arc::new(wal_r::storage::retry::Retrying::new(Arc::new(store), Default::default()));
        bench.iter(|| restore(store.clone()));
    });
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
    if there("lzop") && there("tar") {
        group.bench_function("lzop_tar", |bench| {
            let script = format!(
                "ls {0}/basebackups_005/{NAME}/tar_partitions/*.lzo | xargs -P {cores} -I PART sh -c 'lzop -dc PART | tar x -C {1} 2>/dev/null'",
                folder.display(),
                target.display()
            );
            bench.iter(|| {
                let _ = std::fs::remove_dir_all(&target);
                std::fs::create_dir(&target).expect("a folder");
                assert!(Command::new("sh").arg("-c").arg(&script).status().expect("a shell").success());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
