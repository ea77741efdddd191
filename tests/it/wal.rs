//! The library's verdict on WAL that real servers wrote.
//!
//! In: the larger archive; WAL of a PostgreSQL 15 that this test runs. Out: clean, chained without a byte unchecked, and
//! the same records as pg_waldump sees. Never: WAL of our own making (the unit tests forge that).

use crate::support::{Scratch, require};
use std::path::Path;
use wal_r::pg::{SegmentName, SystemId};
use wal_r::testing::lzop::unlzop;
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
