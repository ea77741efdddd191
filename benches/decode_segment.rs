//! How fast is a WAL segment judged, against how fast it comes out of its codec?
//!
//! Unit: bytes of plain WAL per second, one core. One run measures both, so that the ratio holds on any machine:
//! `records` must be small against `lzo` for "fetched" to mean "validated" at no price. Segments of 16 MiB, forged:
//! `images` (8 KiB a record, as after a checkpoint), `small` (60 to 180 bytes, as from single-row statements), `zeros`
//! (a switch early on). LZO of forged images is faster than of real ones: they are made of little.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use wal_r::codec::{Decode, lzo::LzopDecoder};
use wal_r::pg::{SegmentName, SegmentNo, SegmentSize, TimelineId};
use wal_r::testing::forge::{Shape, Wal};
use wal_r::testing::lzop::lzop;
use wal_r::wal::{Expect, Level, SegmentCheck};

fn segment(kind: &str) -> (SegmentName, Vec<u8>) {
    let shape = Shape { size: SegmentSize::DEFAULT, ..Shape::default() };
    let mut wal = Wal::new(shape, TimelineId::FIRST, SegmentNo(5));
    let mut random = fastrand::Rng::with_seed(1);
    // Half text, half noise: compresses about as WAL does.
    let noise: Vec<u8> =
        (0..1 << 20).map(|n| if n / 64 % 2 == 0 { random.u8(..) } else { b'a' + (n % 7) as u8 }).collect();
    let limit = if kind == "zeros" { 15 << 20 } else { 20_000 };
    while wal.left_in_segment() > limit {
        let len = if kind == "images" { 8192 } else { random.usize(36..156) };
        let at = random.usize(0..noise.len() - len);
        wal.record(10, 0, 7, &noise[at..at + len]);
    }
    wal.switch();
    wal.segments().swap_remove(0)
}

fn judge(name: SegmentName, bytes: &[u8], level: Level) {
    let mut check = SegmentCheck::new(Expect { level, ..Expect::new(name) });
    // As a decoder delivers them.
    for piece in bytes.chunks(256 << 10) {
        check.push(piece).expect("checked: forged well");
    }
    black_box(check.finish().expect("checked: forged well"));
}

fn bench(criterion: &mut Criterion) {
    for kind in ["images", "small", "zeros"] {
        let (name, bytes) = segment(kind);
        let stored = lzop(&bytes);
        let mut group = criterion.benchmark_group(format!("decode_segment/{kind}"));
        group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(20);
        group.bench_function("lzo", |bench| {
            bench.iter_batched_ref(
                || (LzopDecoder::new(), Vec::new()),
                |(decoder, out)| {
                    let mut rest = &stored[..];
                    while !rest.is_empty() {
                        out.clear();
                        let taken = decoder.decode(rest, out).expect("checked: written well");
                        rest = &rest[taken..];
                    }
                    decoder.finish().expect("checked: written well");
                },
                BatchSize::PerIteration,
            );
        });
        for level in [Level::Records, Level::Headers] {
            group
                .bench_function(format!("{level:?}").to_lowercase(), |bench| bench.iter(|| judge(name, &bytes, level)));
        }
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
