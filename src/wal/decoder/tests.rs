use super::*;
use crate::pg::{SegmentName, SegmentNo};
use crate::testing::forge::{Shape as Form, Wal, Written};
use proptest::prelude::*;

pub(crate) const MAGICS: [u16; 11] =
    [0xD087, 0xD093, 0xD097, 0xD098, 0xD101, 0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118];

/// What a test writes, one after the other.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Record { rmid: u8, len: usize, fill: u8 },
    Commit(i64),
    Fill,
    Switch,
    Abandon,
    ToEnd { short: u64 },
}

pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let len = prop_oneof![4 => 0usize..300, 2 => 0usize..20_000, 1 => 0usize..2_500_000];
    let op = prop_oneof![
        12 => (2u8..20, len, any::<u8>()).prop_map(|(rmid, len, fill)| Op::Record { rmid, len, fill }),
        4 => any::<i64>().prop_map(Op::Commit),
        1 => Just(Op::Fill),
        1 => Just(Op::Switch),
        1 => Just(Op::Abandon),
        2 => (0u64..64).prop_map(|eights| Op::ToEnd { short: eights * 8 }),
    ];
    prop::collection::vec(op, 1..25)
}

pub(crate) fn form() -> impl Strategy<Value = Form> {
    (prop::sample::select(&MAGICS[..]), 10u32..=16, 20u32..=22).prop_map(|(magic, page, size)| Form {
        magic,
        page_size: 1 << page,
        size: SegmentSize::new(1 << size).unwrap(),
        ..Form::default()
    })
}

pub(crate) fn write(form: Form, ops: &[Op]) -> Wal {
    let mut wal = Wal::new(form, TimelineId::FIRST, SegmentNo(5));
    write_on(&mut wal, ops);
    wal
}

pub(crate) fn write_on(wal: &mut Wal, ops: &[Op]) {
    let version = PgVersion::from_page_magic(wal.shape().magic).unwrap();
    for op in ops {
        match *op {
            Op::Record { rmid, len, fill } => drop(wal.record(rmid, 0, 9, &vec![fill; len])),
            Op::Commit(time) => drop(wal.commit(9, time)),
            Op::Fill => wal.fill(),
            Op::Switch => drop(wal.switch()),
            Op::Abandon if version > PgVersion::OLDEST => drop(wal.abandon(200_000)),
            Op::Abandon => {}
            // So close to the segment's end that the next header crosses it, or starts the next one.
            Op::ToEnd { short } => {
                let room = wal.room_in_segment();
                if room > short + 24 {
                    wal.record(10, 0, 9, &vec![1; (room - short - 24) as usize]);
                }
            }
        }
    }
}

/// The naive model: the whole stretch in memory, page headers cut out, records one after the other.
fn model(form: Form, start: u64, bytes: &[u8]) -> Vec<Written> {
    // Content bytes with their LSNs; a page that overwrites cuts off what was open.
    let mut content: Vec<(u64, u8)> = Vec::new();
    let mut cuts: Vec<usize> = Vec::new();
    for (number, page) in bytes.chunks(form.page_size as usize).enumerate() {
        let at = start + number as u64 * u64::from(form.page_size);
        let header = PageHeader::parse(page).unwrap();
        let len = if header.is(page::LONG) { 40 } else { 24 };
        if header.is(page::OVERWRITE) {
            cuts.push(content.len());
        }
        content.extend(page[len..].iter().zip(at + len as u64..).map(|(byte, at)| (at, *byte)));
    }
    let mut records = Vec::new();
    let mut at = 0;
    while at + 4 <= content.len() {
        let word = |at: usize| -> Vec<u8> { content[at..at + 4].iter().map(|(_, byte)| *byte).collect() };
        let total = u32::from_le_bytes(word(at).try_into().unwrap()) as usize;
        if total == 0 {
            break;
        }
        if let Some(cut) = cuts.iter().copied().find(|cut| at < *cut && *cut < at + total) {
            at = cut;
            continue;
        }
        if at + total > content.len() {
            break;
        }
        let (info, rmid) = (content[at + 16].1, content[at + 17].1);
        let end = content[at + total - 1].0 + 1;
        records.push(Written { start: Lsn(content[at].0), end: Lsn(end), rmid, info });
        at += total;
        if rmid == 0 && info == 0x40 {
            let size = form.size.bytes();
            let next = (end - 1) / size * size + size;
            at = content.iter().position(|(lsn, _)| *lsn >= next).unwrap_or(content.len());
        } else {
            while at < content.len() && !content[at].0.is_multiple_of(8) {
                at += 1;
            }
        }
    }
    records
}

pub(in crate::wal) fn rules(name: SegmentName, size: SegmentSize) -> Rules {
    Rules {
        start: name.start(size).unwrap(),
        timeline: name.timeline(),
        size: None,
        system: None,
        records: true,
        blocks: false,
    }
}

/// All records of a stretch, given in pieces; and the state at its end.
fn run(rules: Rules, pieces: &[&[u8]]) -> (Vec<Record>, Result<Option<Lsn>, WalFault>, Option<Carry>) {
    let mut decoder = Decoder::new(rules);
    let mut records = Vec::new();
    let mut end = Ok(None);
    'pieces: for piece in pieces {
        let mut input = *piece;
        loop {
            match decoder.step(&mut input) {
                Ok(Step::NeedMore) => break,
                Ok(Step::Record(record)) => records.push(record),
                Ok(Step::EndOfWal { at }) => {
                    end = Ok(Some(at));
                    break 'pieces;
                }
                Err(fault) => {
                    end = Err(fault);
                    break 'pieces;
                }
            }
        }
        assert!(input.is_empty(), "what is not taken would be lost");
    }
    (records, end, decoder.carry())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Every record that was written comes out, for every version, size and page size; the naive model agrees.
    #[test]
    fn what_was_written_is_read(form in form(), ops in ops()) {
        let wal = write(form, &ops);
        let segments = wal.segments();
        let bytes: Vec<u8> = segments.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let (records, end, _) = run(rules(segments[0].0, form.size), &[&bytes]);
        let read: Vec<Written> = records
            .iter()
            .map(|r| Written {
                start: r.start,
                // The record's own end: without the padding.
                end: wal.records().iter().find(|w| w.start == r.start).map_or(r.end, |w| w.end),
                rmid: r.header.rmid,
                info: r.header.info,
            })
            .collect();
        prop_assert_eq!(&read[..], wal.records());
        for (record, written) in records.iter().zip(wal.records()) {
            prop_assert_eq!(record.end, written.end.align8().unwrap());
        }
        // Zeros to the end of the last segment are where the WAL ends, or its page where one would have to begin.
        let full = wal.position().0.is_multiple_of(form.size.bytes());
        let page_end = wal.position().0.is_multiple_of(u64::from(form.page_size));
        match end {
            Ok(None) => prop_assert!(full),
            Ok(Some(at)) => prop_assert_eq!(at, wal.position()),
            Err(fault) => prop_assert!(page_end && !full && fault.lsn == wal.position(), "{}", fault),
        }
        // The model cannot tell pages of zeros from pages, so it sees what was written only.
        let written = (wal.position().0 - segments[0].0.start(form.size).unwrap().0) as usize;
        let used = &bytes[..written.next_multiple_of(form.page_size as usize).min(bytes.len())];
        if !ops.iter().any(|op| matches!(op, Op::Switch)) || form.magic < 0xD098 {
            prop_assert_eq!(&model(form, segments[0].0.start(form.size).unwrap().0, used)[..], wal.records());
        }
    }

    /// Any cut of the input gives the same steps.
    #[test]
    fn any_cut_gives_the_same(form in form(), ops in ops(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let wal = write(form, &ops);
        let segments = wal.segments();
        let bytes: Vec<u8> = segments.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let rules = rules(segments[0].0, form.size);
        let whole = run(rules, &[&bytes]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        // Cuts close to where records and pages start are the ones that hurt.
        for written in wal.records().iter().take(10) {
            cuts.extend([0, 1, 3, 4, 5, 23, 24, 25].map(|more| (written.start.0 - rules.start.0) as usize + more));
        }
        cuts.extend([1, 2, 23, 24, 39, 40, 41]);
        cuts.retain(|cut| *cut <= bytes.len());
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut last = 0;
        for cut in cuts {
            pieces.push(&bytes[last..cut]);
            last = cut;
        }
        pieces.push(&bytes[last..]);
        prop_assert!(run(rules, &pieces) == whole);
        let first = &bytes[..bytes.len().min(70_000)];
        let single: Vec<&[u8]> = first.chunks(1).collect();
        prop_assert!(run(rules, &single) == run(rules, &[first]));
    }

    /// Read one segment at a time with the state carried over, as in one go; and the state survives being stored.
    #[test]
    fn segments_chain(form in form(), ops in ops()) {
        let wal = write(form, &ops);
        let segments = wal.segments();
        let bytes: Vec<u8> = segments.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
        let (whole, end, _) = run(rules(segments[0].0, form.size), &[&bytes]);
        let mut records = Vec::new();
        let mut carry: Option<Carry> = None;
        let mut last = Ok(None);
        for (name, bytes) in &segments {
            let rules = rules(*name, form.size);
            let mut decoder = match &carry {
                Some(carry) => Decoder::resume(rules, &serde_json::from_str(&serde_json::to_string(carry).unwrap()).unwrap()),
                None => Decoder::new(rules),
            };
            let mut input = &bytes[..];
            last = loop {
                match decoder.step(&mut input) {
                    Ok(Step::NeedMore) => break Ok(None),
                    Ok(Step::Record(record)) => records.push(record),
                    Ok(Step::EndOfWal { at }) => break Ok(Some(at)),
                    Err(fault) => break Err(fault),
                }
            };
            prop_assert_eq!(decoder.unchecked_head(), 0);
            carry = decoder.carry();
            if carry.is_none() {
                break;
            }
        }
        prop_assert!(records == whole);
        prop_assert_eq!(last, end);
    }

    /// Noise never panics, wherever it stands.
    #[test]
    fn noise_never_panics(
        form in form(),
        ops in ops(),
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..50),
        head in any::<bool>(),
    ) {
        let wal = write(form, &ops);
        let (name, mut bytes) = wal.segments().swap_remove(0);
        for (place, byte) in noise {
            let at = if head { place.index(200) } else { place.index(bytes.len()) };
            bytes[at] = byte;
        }
        let rules = rules(name, form.size);
        let whole = run(rules, &[&bytes]);
        prop_assert!(run(rules, &bytes.chunks(1000).collect::<Vec<_>>()) == whole);
    }
}

#[test]
fn the_last_segment_there_can_be() {
    let name: SegmentName = "00000001FFFFFFFF00000FFF".parse().unwrap();
    let form = Form::default();
    let mut wal = Wal::new(form, TimelineId::FIRST, name.number(form.size).unwrap());
    while wal.left_in_segment() > 20_000 {
        wal.commit(1, 1);
    }
    let (_, bytes) = wal.segments().swap_remove(0);
    let (records, end, _) = run(rules(name, form.size), &[&bytes]);
    assert_eq!(records.len(), wal.records().len());
    assert_eq!(end, Ok(Some(wal.position())));
    let all = vec![0xFF; 1 << 20];
    assert!(run(rules(name, form.size), &[&all]).1.is_err());
}
