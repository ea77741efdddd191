//! The library's verdict on WAL that real servers wrote.
//!
//! In: the larger archive; WAL of a PostgreSQL 15 that this test runs. Out: clean, chained without a byte unchecked, and
//! the same records as pg_waldump sees. Never: WAL of our own making (the unit tests forge that).

use crate::support::{Scratch, need, require};
use std::path::Path;
use wal_r::codec::decode_all;
use wal_r::codec::lzo::LzopDecoder;
use wal_r::pg::{SegmentName, SystemId};
use wal_r::testing::lzop::{Checksums, Writer, unlzop};
use wal_r::wal::{Carry, End, Expect, SegmentCheck, SegmentReport};

/// Judges segments in their order, each alone and behind the one before it.
fn judge(segments: &[(SegmentName, Vec<u8>)], expect: impl Fn(SegmentName) -> Expect) -> Vec<SegmentReport> {
    let mut carry: Option<Carry> = None;
    let mut reports = Vec::new();
    for (name, bytes) in segments {
        let mut alone = SegmentCheck::new(expect(*name));
        bytes.chunks(100_000).try_for_each(|piece| alone.push(piece)).unwrap_or_else(|fault| panic!("{fault}"));
        let alone = alone.finish().unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!((alone.odd_bytes, alone.odd_at), (0, None), "{name}");
        carry = if let Some(carry) = carry.take() {
            let mut chained = SegmentCheck::after(expect(*name), carry);
            chained.push(bytes).unwrap_or_else(|fault| panic!("{fault}"));
            let chained = chained.finish().unwrap_or_else(|fault| panic!("{fault}"));
            assert_eq!(chained.unchecked_head, 0, "{name}");
            let crossing = u64::from(alone.unchecked_head > 0 && alone.end != End::Continues { record: None });
            assert_eq!(chained.records, alone.records + crossing, "{name}");
            chained.carry
        } else {
            alone.carry.clone()
        };
        reports.push(alone);
    }
    reports
}

#[test]
fn every_segment_of_a_real_archive_is_clean() {
    let archive = require!(shared_archive).join("wal-e-pg13/wal_005");
    let mut segments: Vec<(SegmentName, Vec<u8>)> = std::fs::read_dir(&archive)
        .expect("the archive")
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| {
            let name = path.file_stem()?.to_str()?.parse().ok()?;
            Some((name, unlzop(&std::fs::read(&path).expect("an object"))))
        })
        .collect();
    segments.sort_by_key(|(name, _)| *name);
    assert_eq!(segments.len(), 15);
    let system = Some(SystemId(7_710_354_800_899_113_174));
    let reports = judge(&segments, |name| Expect { system, ..Expect::new(name) });
    assert!(reports.iter().all(|report| report.version.is_some_and(|version| version.major() == 13)));
}

/// Lines of pg_waldump, which prints one for each record that starts in the file and is complete.
fn waldump(program: &Path, segment: &Path) -> u64 {
    let output = std::process::Command::new(program).arg(segment).output().expect("pg_waldump");
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with("rmgr:")).count() as u64
}

#[test]
fn pg_waldump_sees_the_same_records() {
    let postgres = require!(postgres 15);
    let program = require!(pg_waldump);
    let scratch = Scratch::new();
    let data = scratch.join("data");
    postgres.initdb(&scratch, &data);
    let mut server = postgres.start(&scratch, &data, &["wal_keep_size=1000", "max_prepared_transactions=2"], &[]);
    server.ask("create table t(i int primary key, v text)");
    server.ask("insert into t select i, repeat('row ' || i, 10) from generate_series(1, 60000) i");
    server.ask("checkpoint");
    server.ask("update t set v = 'changed' where i % 3 = 0");
    // One record over three segments, then a switch.
    server.ask("select pg_logical_emit_message(false, 'x', repeat('long', 8000000))");
    server.ask("delete from t where i % 7 = 0");
    server.ask("select pg_switch_wal()");
    server.ask("insert into t values (0, 'in the segment that is not finished')");
    let last = server.ask("select pg_walfile_name(pg_current_wal_lsn())");
    server.stop();
    let folder = data.join("pg_wal");
    let mut segments: Vec<(SegmentName, Vec<u8>)> = std::fs::read_dir(&folder)
        .expect("pg_wal")
        .filter_map(|entry| {
            let name: SegmentName = entry.expect("an entry").file_name().to_str()?.parse().ok()?;
            (name.to_string() < last).then(|| (name, std::fs::read(folder.join(name.to_string())).expect("a segment")))
        })
        .collect();
    segments.sort_by_key(|(name, _)| *name);
    assert!(segments.len() >= 4, "{}", segments.len());
    let reports = judge(&segments, Expect::new);
    assert!(reports.iter().any(|report| report.end == End::Continues { record: None }), "one is all one record");
    for report in &reports {
        let lines = waldump(&program, &folder.join(report.file.to_string()));
        assert_eq!(report.records, lines, "{}", report.file);
    }
    // What the server has not finished must not pass for a whole segment.
    let bytes = std::fs::read(folder.join(&last)).expect("the last segment");
    let name: SegmentName = last.parse().expect("a name");
    let check = |expect| {
        let mut check = SegmentCheck::new(expect);
        check.push(&bytes).and_then(|()| check.finish())
    };
    assert!(check(Expect::new(name)).is_err());
    let partial = check(Expect { partial: true, ..Expect::new(name) }).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(matches!(partial.end, End::Early { .. }));
    assert_eq!(partial.records, waldump(&program, &folder.join(&last)));
}

/// Whatever happens to a stored segment, it never comes out as other WAL without a word: the container finds it, the
/// segment's verdict finds it, or it is counted as bytes that nobody reads. The second object has no checksums of its own.
#[test]
fn a_damaged_object_never_passes() {
    let name: SegmentName = "000000010000000000000007".parse().expect("a name");
    let file = format!("testdata/wal/pg15/{name}.lzo");
    let real = std::fs::read(need::root().join(file)).expect("testdata");
    let plain = unlzop(&real);
    let none = Checksums { adler_d: false, ..Checksums::ADLER_D };
    let bare = Writer { sums: none, extra_flags: 0x0300_000C, ..Writer::default() }.file(&plain);
    for (object, checksums) in [(real, true), (bare, false)] {
        // What is delivered: the plain bytes and how many of them no checksum covers, or nothing.
        let fetch = |stored: &[u8]| -> Option<(Vec<u8>, u64)> {
            let plain = decode_all(&mut LzopDecoder::new(), stored, 16 << 20).ok()?;
            let mut check = SegmentCheck::new(Expect::new(name));
            check.push(&plain).ok()?;
            Some((plain, check.finish().ok()?.odd_bytes))
        };
        assert_eq!(fetch(&object).expect("undamaged").1, 0);
        let delivers = |stored: &[u8], what: &str| {
            if let Some((bytes, odd)) = fetch(stored) {
                assert!(bytes == plain || (!checksums && odd > 0), "{what} is delivered");
            }
        };
        let refused = |stored: &[u8], what: &str| assert!(fetch(stored).is_none(), "{what} is delivered");
        for at in (0..object.len()).step_by(4096) {
            refused(&object[..at], &format!("cut to {at}"));
            let mut zeroed = object.clone();
            let end = zeroed.len().min(at + 4096);
            zeroed[at..end].fill(0);
            delivers(&zeroed, &format!("zeros at {at}"));
        }
        let (first, second) = object.split_at(object.len() / 2);
        refused(&[second, first].concat(), "swapped halves");
        refused(&object.repeat(2), "the object twice");
        refused(&[&object[..], b"garbage"].concat(), "garbage behind it");
        delivers(&[&object[..], &[0; 5000]].concat(), "zeros behind it");
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..if checksums { 1000 } else { 5000 } {
            let mut flipped = object.clone();
            let (at, bit) = (random.usize(..object.len()), random.u8(..8));
            flipped[at] ^= 1 << bit;
            delivers(&flipped, &format!("bit {bit} of byte {at} flipped"));
        }
    }
}
