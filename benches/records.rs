//! What does proving every record cost, against the codec alone, and against pg_waldump?
//!
//! Unit: bytes of plain WAL per second of processor time, so that a busy machine gives the same ratios. One run measures
//! all, so that the ratios hold on any machine. `codec` is the lzop decoder alone, `records` the whole proof of the same object (`proof::segment`: read, decode, judge);
//! `raw/records` the proof of the plain segments, `raw/pg_waldump` is `pg_waldump --quiet` over the same files in one
//! process. The WAL is a real server's: a directory of PostgreSQL 15's segments in `WALR_BENCH_WAL`, else the few of
//! testdata; pg_waldump is Debian's or `WALR_PG_WALDUMP`. Where it is missing its half is left out, and said so.

#![allow(clippy::print_stderr, reason = "a bench says what it leaves out")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use wal_r::codec::{Decode, lzo::LzopDecoder};
use wal_r::layout::Compression;
use wal_r::pg::{SegmentName, SegmentSize};
use wal_r::pipeline::budget::Budget;
use wal_r::proof::Level;
use wal_r::proof::facts::Outcome;
use wal_r::proof::segment::{Reader, Wanted};
use wal_r::storage::local::LocalStore;
use wal_r::storage::{ObjectId, Store};
use wal_r::testing::lzop::{lzop, unlzop};
use wal_r::wal::{Carry, Expect, SegmentCheck};

/// Segments at most: enough for a checkpoint's images and for what comes behind them.
const SEGMENTS: usize = 16;

fn segments() -> Vec<(SegmentName, Vec<u8>)> {
    let given = std::env::var_os("WALR_BENCH_WAL").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/wal/pg15")));
    let mut found: Vec<(SegmentName, Vec<u8>)> = std::fs::read_dir(&folder)
        .expect("a directory of segments")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name: SegmentName = path.file_stem()?.to_str()?.parse().ok()?;
            let bytes = std::fs::read(&path).ok()?;
            let bytes = if path.extension().is_some() { unlzop(&bytes) } else { bytes };
            (name.timeline().get() == 1).then_some((name, bytes))
        })
        .collect();
    found.sort_by_key(|(name, _)| *name);
    // The last one of a server that was stopped ends early: an archive holds whole ones.
    found.retain(|(name, bytes)| {
        let mut check = SegmentCheck::new(Expect::new(*name));
        check.push(bytes).and_then(|()| check.finish()).is_ok()
    });
    found.truncate(SEGMENTS);
    found
}

/// Processor time that so many runs took, of this process and of the children it waited for.
fn processor(runs: u64, mut run: impl FnMut()) -> Duration {
    let before = used();
    (0..runs).for_each(|_| run());
    used() - before
}

fn used() -> Duration {
    let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let own = Duration::new(own.tv_sec as u64, own.tv_nsec as u32);
    // Behind the name in brackets: the 14th and 15th field are of the children, in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let children: u64 = fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    own + Duration::from_millis(children * 10)
}

/// Proves all of them in order, chained.
fn prove(reader: &Reader, wanted: &[Wanted]) {
    let mut carry: Option<Carry> = None;
    for one in wanted {
        let proven = reader.read(one, carry.as_ref());
        carry = match proven.proof.outcome {
            Outcome::Good(facts) => facts.carry.map(|carry| *carry),
            other => panic!("{}: {other:?}", one.name),
        };
    }
    black_box(carry);
}

fn bench(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let segments = segments();
    let size = segments.first().and_then(|(_, bytes)| SegmentSize::new(bytes.len() as u64)).expect("segments");
    let whole: u64 = segments.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let stored: Vec<Vec<u8>> = segments.iter().map(|(_, bytes)| lzop(bytes)).collect();
    for ((name, bytes), lzo) in segments.iter().zip(&stored) {
        std::fs::write(folder.path().join(name.to_string()), bytes).expect("a file");
        std::fs::write(folder.path().join(format!("{name}.lzo")), lzo).expect("a file");
    }
    let reader = Reader {
        store: Arc::new(LocalStore::new(folder.path())) as Arc<dyn Store>,
        budget: Budget::new(4 << 20),
        advance: Arc::new(|_| {}),
    };
    let wanted = |stored: Compression, level: Level| -> Vec<Wanted> {
        let one = |name: &SegmentName| {
            let key = stored.apply(&name.to_string());
            let len = std::fs::metadata(folder.path().join(&key)).expect("a file").len();
            let object = ObjectId { key: key.as_str().into(), size: len, modified: None, etag: None };
            Wanted { name: *name, partial: false, size: Some(size), object, stored, level, digest: false }
        };
        segments.iter().map(|(name, _)| one(name)).collect()
    };
    let mut group = criterion.benchmark_group("records");
    group.throughput(Throughput::Bytes(whole)).sample_size(10);
    group.bench_function("lzo/codec", |bench| {
        let decode = || {
            let mut out = Vec::new();
            for object in &stored {
                let mut decoder = LzopDecoder::new();
                let mut rest = &object[..];
                while !rest.is_empty() {
                    out.clear();
                    let taken = decoder.decode(rest, &mut out).expect("checked: written well");
                    rest = &rest[taken..];
                }
                decoder.finish().expect("checked: written well");
            }
            black_box(out.len());
        };
        bench.iter_custom(|runs| processor(runs, decode));
    });
    // This thread decodes and judges, another one reads files.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let _entered = runtime.enter();
    for (name, stored, level) in [
        ("lzo/decode", Compression::Lzo, Level::Decode),
        ("lzo/records", Compression::Lzo, Level::Records),
        ("raw/decode", Compression::Plain, Level::Decode),
        ("raw/records", Compression::Plain, Level::Records),
    ] {
        let wanted = wanted(stored, level);
        group.bench_function(name, |bench| bench.iter_custom(|runs| processor(runs, || prove(&reader, &wanted))));
    }
    let program = std::env::var_os("WALR_PG_WALDUMP").unwrap_or_else(|| "/usr/lib/postgresql/15/bin/pg_waldump".into());
    let (Some((first, _)), Some((last, _))) = (segments.first(), segments.last()) else { return };
    let waldump = || {
        let (first, last) = (first.to_string(), last.to_string());
        // It complains that the record behind the last segment is missing; what it read, it has checked.
        Command::new(&program)
            .current_dir(folder.path())
            .args(["--quiet", &first, &last])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    match waldump() {
        Ok(_) => drop(group.bench_function("raw/pg_waldump", |bench| {
            bench.iter_custom(|runs| processor(runs, || drop(waldump())));
        })),
        Err(_) => eprintln!("pg_waldump is not there: no comparison with it"),
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
