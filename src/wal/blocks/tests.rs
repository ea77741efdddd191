use super::*;
use crate::pg::{Lsn, SegmentName, SegmentSize};
use crate::testing::lzop::unlzop;
use crate::wal::{Decoder, Expect, Record, Rules, SegmentCheck, Step};
use proptest::prelude::*;

fn version(major: u32) -> PgVersion {
    PgVersion::from_number(if major < 10 { 90_600 } else { major * 10_000 }).unwrap()
}

/// What a test writes of one block.
#[derive(Debug, Clone)]
struct Block {
    same: bool,
    relation: Relation,
    fork: u8,
    block: u32,
    data: u16,
    will_init: bool,
    image: Option<Written>,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    applies: bool,
    /// Bytes of the hole; 0 for none.
    hole: u16,
    /// Compressed to so many bytes.
    compressed: Option<u16>,
}

/// Lays a body down as `XLogRecordAssemble` does, and says what must be read from it.
fn write(blocks: &[Block], origin: bool, main: usize, major: u32) -> (Vec<u8>, Vec<BlockRef>) {
    let (mut body, mut payload, mut want) = (Vec::new(), 0, Vec::new());
    let mut before = None;
    for (id, block) in blocks.iter().enumerate() {
        let relation = before.filter(|_| block.same);
        let flags = block.fork
            | if block.image.is_some() { HAS_IMAGE } else { 0 }
            | if block.data > 0 { HAS_DATA } else { 0 }
            | if block.will_init { WILL_INIT } else { 0 }
            | if relation.is_some() { SAME_RELATION } else { 0 };
        body.extend([id as u8, flags]);
        body.extend(block.data.to_le_bytes());
        payload += usize::from(block.data);
        let image = block.image.map(|image| {
            let len = image.compressed.unwrap_or(8192 - image.hole);
            let (apply, compressed) = if major >= 15 { (0x02, 0x08) } else { (0x04, 0x02) };
            let info = u8::from(image.hole > 0)
                | if image.applies && major >= 10 { apply } else { 0 }
                | if image.compressed.is_some() { compressed } else { 0 };
            body.extend(len.to_le_bytes());
            body.extend(if image.hole > 0 { 40u16 } else { 0 }.to_le_bytes());
            body.push(info);
            if image.compressed.is_some() && image.hole > 0 {
                body.extend(image.hole.to_le_bytes());
            }
            payload += usize::from(len);
            Image { len, applies: image.applies || major < 10 }
        });
        let own = relation.unwrap_or(block.relation);
        if relation.is_none() {
            body.extend([own.tablespace, own.database, own.number].iter().flat_map(|int| int.to_le_bytes()));
        }
        before = Some(own);
        body.extend(block.block.to_le_bytes());
        want.push(BlockRef { relation: own, fork: block.fork, block: block.block, image, will_init: block.will_init });
    }
    if origin {
        body.extend([253, 1, 0]);
        if major >= 14 {
            body.extend([252, 9, 0, 0, 0]);
        }
    }
    match main {
        0 => {}
        1..=255 => body.extend([255, main as u8]),
        _ => {
            body.push(254);
            body.extend((main as u32).to_le_bytes());
        }
    }
    // Payloads that would be headers, if anybody took them for such.
    body.resize(body.len() + payload + main, 7);
    (body, want)
}

fn header(body: &[u8]) -> RecordHeader {
    let total_len = (HEADER_LEN + body.len()) as u32;
    RecordHeader { total_len, xid: 1, prev: Lsn::ZERO, info: 0, rmid: 10, crc: 0 }
}

fn relation() -> impl Strategy<Value = Relation> {
    any::<[u32; 3]>().prop_map(|[tablespace, database, number]| Relation { tablespace, database, number })
}

fn block() -> impl Strategy<Value = Block> {
    let image = (any::<bool>(), prop_oneof![Just(0), 1u16..8000], prop::option::of(1u16..8191))
        .prop_map(|(applies, hole, compressed)| Written { applies, hole, compressed });
    let data = prop_oneof![Just(0), 1u16..100, any::<u16>()];
    (any::<bool>(), relation(), 0u8..4, any::<u32>(), data, any::<bool>(), prop::option::of(image)).prop_map(
        |(same, relation, fork, block, data, will_init, image)| Block {
            same,
            relation,
            fork,
            block,
            data,
            will_init,
            image,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        blocks in prop::collection::vec(block(), 0..=33),
        origin: bool,
        main in prop_oneof![Just(0usize), 1usize..256, 256usize..70_000],
        major in prop::sample::select(vec![9, 10, 13, 14, 15, 18]),
    ) {
        let (body, want) = write(&blocks, origin, main, major);
        let header = header(&body);
        // The headers are all that is kept.
        let kept = &body[..body.len().min(KEPT_BLOCKS)];
        prop_assert_eq!(parse(&header, kept, version(major)), Some(want));
        // A length that does not add up is no reason to guess.
        let longer = RecordHeader { total_len: header.total_len + 1, ..header };
        prop_assert_eq!(parse(&longer, kept, version(major)), None);
    }

    #[test]
    fn noise_never_panics(body in prop::collection::vec(any::<u8>(), 0..300), more in 0u32..3000, major in 9u32..19) {
        let mut header = header(&body);
        header.total_len += more;
        let _ = parse(&header, &body, version(major));
    }
}

#[test]
fn what_does_not_add_up() {
    let plain = Block {
        same: false,
        relation: Relation { tablespace: 1663, database: 5, number: 16384 },
        fork: 0,
        block: 3,
        data: 4,
        will_init: false,
        image: Some(Written { applies: true, hole: 100, compressed: None }),
    };
    let (good, want) = write(&[plain.clone(), plain], false, 3, 15);
    let read = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut body = good.clone();
        edit(&mut body);
        parse(&header(&body), &body, version(15))
    };
    assert_eq!(read(&|_| {}), Some(want.clone()));
    assert!(want[0].restores_page());
    assert_eq!(read(&|body| body[0] = 33), None, "an id that no block has");
    assert_eq!(read(&|body| body[0] = 1), None, "ids that do not ascend");
    assert_eq!(read(&|body| body[1] ^= HAS_DATA), None, "data without the flag");
    assert_eq!(read(&|body| body[1] |= SAME_RELATION), None, "the same relation as none");
    assert_eq!(read(&|body| body[6] = 0), None, "a hole at the page's start");
    assert_eq!(read(&|body| body.truncate(9)), None, "cut in a header");
    assert_eq!(read(&|body| body.truncate(body.len() - 1)), None, "cut in a payload");
    // A byte of an image's flags: before 15 the same bit means another thing.
    let (body, _) = write(&[], false, 0, 15);
    assert_eq!(parse(&header(&body), &body, version(15)), Some(Vec::new()));
}

/// Every record of real WAL adds up, in pieces too, and images lie where a checkpoint makes the server write them.
#[test]
fn real_wal_adds_up() {
    for major in [10, 13, 15, 18] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/wal/pg{major}"));
        let mut images = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let Some(Ok(name)) = path.file_stem().map(|stem| stem.to_str().unwrap().parse::<SegmentName>()) else {
                continue;
            };
            let bytes = unlzop(&std::fs::read(&path).unwrap());
            if name.to_string() == "00000002000000000000000F" {
                continue; // recycled: an older segment's content
            }
            let run = |piece: usize| {
                let mut check = SegmentCheck::new(Expect { blocks: true, partial: true, ..Expect::new(name) });
                let mut seen: Vec<Record> = Vec::new();
                bytes
                    .chunks(piece)
                    .for_each(|bytes| check.push_with(bytes, &mut |one| seen.push(one.clone())).unwrap());
                assert_eq!(check.finish().unwrap().records, seen.len() as u64);
                seen
            };
            let seen = run(bytes.len());
            assert!(seen.iter().all(|record| record.blocks.is_some()), "{name}");
            assert_eq!(run(1000), seen, "{name}");
            images +=
                seen.iter().flat_map(|record| record.blocks.iter().flatten()).filter(|b| b.restores_page()).count();
        }
        assert!(images > 0, "{major}");
    }
}

/// A carry made without blocks has not kept what they are read from: then nothing is said, and nothing wrong.
#[test]
fn a_carry_that_kept_less() {
    use crate::pg::{SegmentNo, TimelineId};
    use crate::testing::forge::{Shape, Wal};
    let mut wal = Wal::new(Shape::default(), TimelineId::FIRST, SegmentNo(5));
    let block = Block {
        same: false,
        relation: Relation { tablespace: 1663, database: 5, number: 16384 },
        fork: 0,
        block: 3,
        data: 0,
        will_init: true,
        image: None,
    };
    let room = wal.room_in_segment();
    wal.record(10, 0, 1, &vec![0; room as usize - 24 - 64]);
    let (body, want) = write(&[block], false, 200, 15);
    wal.record(10, 0, 1, &body);
    let segments = wal.segments();
    for (blocks, want) in [(true, Some(want)), (false, None)] {
        let rules = |start, blocks| Rules {
            start,
            timeline: TimelineId::FIRST,
            size: Some(SegmentSize::MIN),
            system: None,
            records: true,
            blocks,
        };
        let (first, second) = (segments[0].0.start(SegmentSize::MIN).unwrap(), segments[1].0.start(SegmentSize::MIN));
        let mut decoder = Decoder::new(rules(first, blocks));
        let mut input = &segments[0].1[..];
        while decoder.step(&mut input).unwrap() != Step::NeedMore {}
        let carry = decoder.carry().unwrap();
        let mut decoder = Decoder::resume(rules(second.unwrap(), true), &carry);
        let Step::Record(record) = decoder.step(&mut &segments[1].1[..]).unwrap() else { panic!("no record") };
        assert_eq!(record.blocks, want);
    }
}
