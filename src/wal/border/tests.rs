use super::*;
use crate::pg::{SegmentNo, TimelineId};
use crate::testing::forge::{Shape, Wal};
use crate::wal::segment::{Expect, SegmentCheck, SegmentReport};

/// Segments of 1 MiB with records across both borders, the second of them longer than a segment.
fn segments() -> Vec<(crate::pg::SegmentName, Vec<u8>)> {
    let mut wal = Wal::new(Shape::default(), TimelineId::FIRST, SegmentNo(5));
    wal.commit(7, 1);
    wal.fill();
    while wal.left_in_segment() > 9000 {
        wal.record(10, 0, 7, &[3; 5000]);
    }
    wal.record(10, 0, 7, &[4; 20_000]);
    while wal.left_in_segment() > 9000 {
        wal.record(10, 0, 7, &[5; 5000]);
    }
    wal.record(10, 0, 7, &vec![6; 17 << 20]);
    wal.commit(8, 2);
    wal.switch();
    wal.segments()
}

fn alone(name: crate::pg::SegmentName, bytes: &[u8]) -> SegmentReport {
    let mut check = SegmentCheck::new(Expect::new(name));
    check.push(bytes).unwrap();
    check.finish().unwrap()
}

/// Joined to the one before it, in pieces of this length.
fn join(carry: &Carry, report: &SegmentReport, bytes: &[u8], piece: usize) -> Result<Option<Joined>, Broken> {
    let own = report.first_record.unwrap_or(Lsn(u64::MAX));
    let mut joining = Joining::new(carry, TimelineId::FIRST, Some(report.size), own);
    for piece in bytes.chunks(piece) {
        if let Some(joined) = joining.push(piece)? {
            return Ok(Some(joined));
        }
    }
    Ok(joining.finish())
}

#[test]
fn borders_of_sound_segments() {
    let segments = segments();
    assert!(segments.len() >= 3, "the long record makes a segment of its own");
    let mut carry: Option<Carry> = None;
    for (name, bytes) in &segments {
        let report = alone(*name, bytes);
        if let Some(before) = carry.take() {
            for piece in [997, 1 << 20] {
                let joined = join(&before, &report, bytes, piece).unwrap().expect("an end");
                assert_eq!(joined.unchecked_head, 0, "{name}");
                // What the segment's check says when it is told what came before.
                let mut check = SegmentCheck::after(Expect::new(*name), before.clone());
                check.push(bytes).unwrap();
                let chained = check.finish().unwrap();
                assert_eq!(joined.carry.or_else(|| report.carry.clone()), chained.carry, "{name}");
                assert_eq!(joined.crossing.is_some(), report.unchecked_head > 0 && report.first_record.is_some());
                carry = chained.carry;
            }
        } else {
            carry = report.carry;
        }
    }
}

#[test]
fn borders_that_do_not_fit() {
    let segments = segments();
    let (first, second) = (&segments[1], &segments[2]);
    let carry = alone(first.0, &first.1).carry.unwrap();
    let report = alone(second.0, &second.1);
    assert!(report.unchecked_head > 0);
    // A byte of the record that crosses: the segment by itself cannot know.
    let mut flipped = second.1.clone();
    flipped[100] ^= 1;
    assert_eq!(alone(second.0, &flipped).unchecked_head, report.unchecked_head);
    let broken = join(&carry, &report, &flipped, 4096).unwrap_err();
    assert!(broken.what.contains("CRC"), "{broken:?}");
    // Cut off before the record ends.
    assert!(join(&carry, &report, &second.1[..8192], 4096).unwrap().is_none());
}
