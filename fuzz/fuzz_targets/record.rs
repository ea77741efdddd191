//! A record whose CRC is right and whose body is anything: no panic, and the same record however the input is cut.
//!
//! In: version, resource manager, info, where to cut, then the body. Out: a crash if a promise is broken: what is said of
//! the record, its pages included, must not depend on cuts, nor on a carry between segments.
//! Never: damages (that is `segment`'s part).

#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_r::pg::{Lsn, SegmentNo, TimelineId};
use wal_r::testing::forge::{Shape, Wal};
use wal_r::wal::{Carry, Decoder, Record, Rules, Step};

const MAGICS: [u16; 11] = [0xD087, 0xD093, 0xD097, 0xD098, 0xD101, 0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118];

fn rules(start: Lsn) -> Rules {
    Rules { start, timeline: TimelineId::FIRST, size: None, system: None, records: true, blocks: true }
}

/// All records up to a fault or the end, and the carry.
fn read(mut decoder: Decoder, pieces: &[&[u8]]) -> (Vec<Record>, Option<Carry>, Option<String>) {
    let mut records = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            match decoder.step(&mut input) {
                Ok(Step::NeedMore) => break,
                Ok(Step::Record(record)) => records.push(record),
                Ok(Step::EndOfWal { .. }) => return (records, None, None),
                Err(fault) => return (records, None, Some(fault.to_string())),
            }
        }
    }
    (records, decoder.carry(), None)
}

fuzz_target!(|input: &[u8]| {
    let Some(([magic, rmid, info, near, cut, cut2], body)) = input.split_first_chunk::<6>() else { return };
    let shape = Shape { magic: MAGICS[usize::from(*magic) % MAGICS.len()], page_size: 1024, ..Shape::default() };
    let mut wal = Wal::new(shape, TimelineId::FIRST, SegmentNo(5));
    if near & 1 == 1 {
        // Close to the segment's end, so that the record crosses it.
        let room = wal.room_in_segment();
        wal.record(10, 0, 1, &vec![0; room as usize - 24 - 8 * (1 + usize::from(near >> 1))]);
    }
    wal.record(*rmid, *info, 9, body);
    wal.commit(5, 6);
    let segments = wal.segments();
    let start = SegmentNo(5).start(shape.size).unwrap();
    let Some((_, first)) = segments.first() else { return };
    let whole = read(Decoder::new(rules(start)), &[first]);
    let cut = first.len().min(usize::from(u16::from_le_bytes([*cut, *cut2])));
    assert!(read(Decoder::new(rules(start)), &[&first[..cut], &first[cut..]]) == whole);
    if near & 1 == 0 {
        let head = first.len().min(3000);
        let pieces: Vec<&[u8]> = first[..head].chunks(1).chain([&first[head..]]).collect();
        assert!(read(Decoder::new(rules(start)), &pieces) == whole);
    }
    // Over the border: as one stretch, and by a carry that was stored meanwhile.
    if let (Some((_, second)), Some(carry)) = (segments.get(1), whole.1) {
        let behind = Lsn(start.0 + first.len() as u64);
        let at_once = read(Decoder::new(rules(start)), &[first, second]);
        let carried = read(Decoder::resume(rules(behind), &carry), &[second]);
        let joined: Vec<Record> = whole.0.iter().chain(&carried.0).cloned().collect();
        assert!(joined == at_once.0 && carried.2 == at_once.2);
    }
});
