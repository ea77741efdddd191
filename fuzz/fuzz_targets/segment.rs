//! A WAL segment: no panic, and the same verdict however the input is cut.
//!
//! In: raw pages, for the decoder as they are or padded with zeros to a segment; or a script: records for the forge, whose
//! CRCs are right, then bytes to damage. Out: a crash if a promise is broken; also if a forged, undamaged segment is refused.
//! Never: segments above 1 MiB, which only cost time.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_r::pg::{SegmentName, SegmentNo, TimelineId};
use wal_r::testing::forge::{Shape, Wal};
use wal_r::pg::Lsn;
use wal_r::wal::{Decoder, Expect, Level, Rules, SegmentCheck, SegmentFault, SegmentReport, Step, WalFault};

fn check(expect: Expect, pieces: &[&[u8]]) -> Result<SegmentReport, SegmentFault> {
    let mut check = SegmentCheck::new(expect);
    for piece in pieces {
        check.push(piece)?;
    }
    check.finish()
}

/// The decoder alone, which needs no whole segment.
fn steps(pieces: &[&[u8]]) -> (Vec<Step>, Option<WalFault>) {
    let start = Lsn(0x60_0000);
    let mut decoder = Decoder::new(Rules { start, timeline: TimelineId::FIRST, size: None, system: None, records: true, blocks: false });
    let mut steps = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            match decoder.step(&mut input) {
                Ok(Step::NeedMore) => break,
                Ok(step) => {
                    let ends = matches!(step, Step::EndOfWal { .. });
                    steps.push(step);
                    if ends {
                        return (steps, None);
                    }
                }
                Err(fault) => return (steps, Some(fault)),
            }
        }
    }
    (steps, None)
}

const MAGICS: [u16; 4] = [0xD087, 0xD097, 0xD106, 0xD118];

/// A script: records until a zero; what is left damages.
fn forged(script: &[u8], magic: u16) -> Option<(SegmentName, Vec<u8>, bool)> {
    let shape = Shape { magic, page_size: 1024, ..Shape::default() };
    let mut wal = Wal::new(shape, TimelineId::FIRST, SegmentNo(5));
    let mut rest = script;
    while let Some(([len, rmid, info], behind)) = rest.split_first_chunk::<3>() {
        rest = behind;
        if *len == 0 || wal.left_in_segment() < 100_000 {
            break;
        }
        match len {
            1 => drop(wal.switch()),
            2 if magic != 0xD087 => drop(wal.abandon(20_000)),
            3 => drop(wal.record(10, 0, 1, &vec![*info; usize::from(*rmid) * 300])),
            len => {
                let (data, behind) = rest.split_at(rest.len().min(usize::from(*len)));
                rest = behind;
                wal.data(*rmid % 20, *info, 9, data);
            }
        }
    }
    let (name, mut bytes) = wal.segments().into_iter().next()?;
    let mut damaged = false;
    for damage in rest.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([damage[0], damage[1]])) << (damage[2] & 4);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= damage[3];
            damaged |= damage[3] != 0;
        }
    }
    Some((name, bytes, damaged))
}

fuzz_target!(|input: &[u8]| {
    let Some(([mode, cut, cut2], rest)) = input.split_first_chunk::<3>() else { return };
    if mode & 0x81 == 0 {
        let whole = steps(&[rest]);
        let cut = usize::from(u16::from_le_bytes([*cut, *cut2])).min(rest.len());
        assert!(steps(&[&rest[..cut], &rest[cut..]]) == whole);
        assert!(steps(&rest.chunks(1).collect::<Vec<_>>()) == whole);
        return;
    }
    let level = if mode & 2 == 0 { Level::Records } else { Level::Headers };
    let (name, bytes, expect_good) = if mode & 1 == 0 {
        let mut bytes = rest.to_vec();
        bytes.resize(1 << 20, 0);
        ("000000010000000000000006".parse().unwrap(), bytes, false)
    } else {
        let Some((name, bytes, damaged)) = forged(rest, MAGICS[usize::from(*mode >> 3) % 4]) else { return };
        (name, bytes, !damaged)
    };
    // A WAL that just ends is good as `.partial` only.
    let expect = Expect { partial: expect_good || mode & 4 != 0, level, ..Expect::new(name) };
    let whole = check(expect, &[&bytes]);
    if expect_good && let Err(fault) = &whole {
        panic!("refused: {fault}");
    }
    let cut = usize::from(u16::from_le_bytes([*cut, *cut2])).min(bytes.len());
    assert!(check(expect, &[&bytes[..cut], &bytes[cut..]]) == whole);
    let few: Vec<&[u8]> = bytes[..3000].chunks(1).chain([&bytes[3000..]]).collect();
    assert!(check(expect, &few) == whole);
});
