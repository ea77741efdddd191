//! How fast is an lzop file decoded, against the original `lzop`?
//!
//! Unit: plain bytes per second. `ours` decodes in this process on one core, `lzop` is `lzop -dc` with its start (a
//! fetch by WAL-E pays that for each segment), both of the same file, all checksums verified. `of_16_mib` is one WAL
//! segment; `of_256_mib` makes the start negligible. Where lzop is not installed its half is left out, and said so.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::process::{Command, Stdio};
use wal_r::codec::{Decode, lzo::LzopDecoder};
use wal_r::testing::lzop::lzop;

/// Runs of text, repeats and noise, about 2.5 to 1.
fn plain(len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let mut plain = Vec::with_capacity(len + 400);
    while plain.len() < len {
        match random.u8(0..4) {
            0 => plain.extend((0..random.usize(10..200)).map(|_| random.u8(..))),
            1 => plain.extend(format!("{} inserted row {}\t", random.u32(0..1000), random.u32(..)).bytes()),
            2 => plain.extend(vec![0; random.usize(10..300)]),
            _ => {
                let from = plain.len().saturating_sub(random.usize(1..4000));
                let copy: Vec<u8> = plain[from..].iter().copied().take(random.usize(4..120)).collect();
                plain.extend(copy);
            }
        }
    }
    plain.truncate(len);
    plain
}

fn bench(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program =
        Command::new("lzop").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    for (name, len) in [("of_16_mib", 16 << 20), ("of_256_mib", 256 << 20)] {
        let stored = lzop(&plain(len));
        let file = folder.path().join(name);
        std::fs::write(&file, &stored).expect("the input");
        let mut group = criterion.benchmark_group(format!("decompress/{name}"));
        group.throughput(Throughput::Bytes(len as u64)).sample_size(10);
        group.bench_function("ours", |bench| {
            let mut out = Vec::new();
            bench.iter(|| {
                let mut decoder = LzopDecoder::new();
                let mut rest = &stored[..];
                let mut total = 0;
                while !rest.is_empty() {
                    out.clear();
                    let taken = decoder.decode(rest, &mut out).expect("checked: written well");
                    total += out.len();
                    rest = &rest[taken..];
                }
                decoder.finish().expect("checked: written well");
                assert_eq!(black_box(total), len);
            });
        });
        if program {
            group.bench_function("lzop", |bench| {
                bench.iter(|| {
                    let status = Command::new("lzop").args(["-dc"]).arg(&file).stdout(Stdio::null()).status();
                    assert!(status.is_ok_and(|status| status.success()));
                });
            });
        }
        group.finish();
    }
    if !program {
        criterion.bench_function("decompress/lzop is not installed", |bench| bench.iter(|| ()));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
