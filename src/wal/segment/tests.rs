use super::*;
use crate::pg::{SegmentNo, TimelineId};
use crate::testing::forge::{Shape, Wal};
use crate::testing::lzop::unlzop;
use crate::wal::decoder::tests::{MAGICS, Op, form, ops, write};
use proptest::prelude::*;

/// The verdict on bytes given in pieces cut at these places.
fn check_cut(expect: Expect, bytes: &[u8], cuts: &[usize]) -> Result<SegmentReport, SegmentFault> {
    let mut check = SegmentCheck::new(expect);
    let mut start = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        check.push(&bytes[start..cut])?;
        start = cut;
    }
    let result = check.finish();
    assert_eq!(check.finish().is_err(), result.is_err());
    result
}

fn check(expect: Expect, bytes: &[u8]) -> Result<SegmentReport, SegmentFault> {
    check_cut(expect, bytes, &[])
}

/// The fault of a segment, as `kind at LSN: sentence`.
#[track_caller]
fn fault(expect: Expect, bytes: &[u8]) -> String {
    let fault = check(expect, bytes).expect_err("a fault");
    let step = (bytes.len() / 37).max(1);
    let cuts: Vec<usize> = (0..bytes.len()).step_by(step).collect();
    assert_eq!(check_cut(expect, bytes, &cuts), Err(fault.clone()), "in pieces");
    assert!(fault.offset <= bytes.len() as u64 && fault.lsn.0 - fault.offset > 0);
    format!("{:?} at {}: {}", fault.kind, fault.lsn, fault.what)
}

const ONE: TimelineId = TimelineId::FIRST;

fn two() -> TimelineId {
    TimelineId::new(2).unwrap()
}

/// A segment that is full to the last byte, one that continues, and one behind a switch; in this order.
fn three(shape: Shape) -> Vec<(SegmentName, Vec<u8>)> {
    let mut wal = Wal::new(shape, ONE, SegmentNo(5));
    wal.commit(7, 1);
    wal.fill();
    while wal.left_in_segment() > 9000 {
        wal.record(10, 0, 7, &[3; 5000]);
    }
    wal.record(10, 0, 7, &[4; 20_000]);
    wal.commit(8, 2);
    wal.switch();
    wal.segments()
}

#[test]
fn segments_end_in_three_ways() {
    for magic in MAGICS {
        let shape = Shape { magic, ..Shape::default() };
        let segments = three(shape);
        let reports: Vec<SegmentReport> = segments
            .iter()
            .map(|(name, bytes)| check(Expect { system: Some(shape.system), ..Expect::new(*name) }, bytes).unwrap())
            .collect();
        let ends: Vec<End> = reports.iter().map(|report| report.end).collect();
        assert!(matches!(ends[..], [End::Full, End::Continues { record: Some(_) }, End::Switch]), "{ends:?}");
        assert_eq!(reports[0].unchecked_head, 0);
        assert!(reports[2].unchecked_head > 10_000, "the head of the third belongs to the second's last record");
        assert!(reports.iter().all(|report| report.odd_bytes == 0 && report.magic == Some(magic)));
        assert_eq!(reports[2].records, 2, "a commit and the switch");
        // Chained, nothing is left unchecked.
        let mut carry = None;
        for ((name, bytes), alone) in segments.iter().zip(&reports) {
            let mut check = match carry.take() {
                Some(carry) => SegmentCheck::after(Expect::new(*name), carry),
                None => SegmentCheck::new(Expect::new(*name)),
            };
            check.push(bytes).unwrap();
            let report = check.finish().unwrap();
            assert_eq!((report.unchecked_head, report.end), (0, alone.end));
            carry = report.carry;
        }
    }
}

/// The same WAL as another version would mark it.
fn with_magic(bytes: &[u8], magic: u16) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.chunks_mut(8192).for_each(|page| page[..2].copy_from_slice(&magic.to_le_bytes()));
    bytes
}

#[test]
fn the_whole_segment_is_wrong() {
    let shape = Shape::default();
    let (name, good) = three(shape).swap_remove(1);
    let expect = Expect { size: Some(shape.size), system: Some(shape.system), ..Expect::new(name) };
    let edit = |at: usize, new: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        bytes
    };
    let starts = |text: String, start: &str| assert!(text.starts_with(start), "{text}\nnot: {start}");
    starts(fault(expect, &[]), "Size at 0/600000: it is empty");
    starts(fault(expect, &good[..20]), "Size at 0/600000: it has only 20 bytes");
    starts(fault(expect, &good[..1 << 19]), "Size at 0/680000: cut short: 524288 bytes of 1048576");
    starts(fault(Expect::new(name), &good[..1 << 19]), "Size at 0/680000: cut short");
    starts(fault(expect, &[&good[..], &[0]].concat()), "Size at 0/700000: longer than 1 MiB");
    starts(fault(expect, &vec![0; 1 << 20]), "NotWal at 0/600000: no WAL but zeros");
    starts(fault(expect, &vec![b'<'; 1 << 20]), "NotWal at 0/600000: no WAL");
    let other = SystemId(42);
    starts(
        fault(Expect { system: Some(other), ..expect }, &good),
        "Foreign at 0/600000: the segment is of the cluster",
    );
    starts(
        fault(Expect { size: SegmentSize::new(2 << 20), ..expect }, &[&good[..], &good[..]].concat()),
        "Foreign at 0/C00000",
    );
    let next = name.next(shape.size).unwrap();
    starts(
        fault(Expect { file: next, ..expect }, &good),
        "Foreign at 0/700000: the segment says that it starts at 0/600000, which is 000000010000000000000006",
    );
    starts(fault(expect, &edit(4, &2u32.to_le_bytes())), "Foreign at 0/600000: a page of timeline 2 in a file of 1");
    // The parent's segment under the child's name: nothing in it begins the child's timeline.
    starts(fault(Expect { file: name.on(two()), ..expect }, &good), "Foreign at 0/600000: every page is of timeline 1");
    // A version that nobody knows is no damage where all of the segment is of it; one flipped bit is.
    starts(fault(expect, &with_magic(&good, 0xD07E)), "Version at 0/600000: WAL of PostgreSQL 9.4");
    starts(fault(expect, &with_magic(&good, 0xD120)), "Version at 0/600000: WAL with page magic D120");
    starts(
        fault(expect, &edit(0, &0xD111u16.to_le_bytes())),
        "Page at 0/600000: the first page's magic is D111, the second's D110",
    );
    let mut swapped = edit(0, &0xD110u16.to_be_bytes());
    swapped[8..16].reverse();
    starts(fault(expect, &swapped), "Endian at 0/600000: WAL of PostgreSQL 15 from a big-endian machine");
    starts(fault(expect, &edit(2, &[0])), "Page at 0/600000: no long header on the first page");
    starts(fault(expect, &edit(32, &[1])), "Page at 0/600000: the first page states a segment size");
    starts(fault(expect, &edit(36, &[1])), "Page at 0/600000: the first page states a page size");
}

#[test]
fn codes_and_hints() {
    let shape = Shape::default();
    let (name, good) = three(shape).swap_remove(0);
    let error = |bytes: &[u8], expect: Expect| Error::from(check(expect, bytes).unwrap_err());
    let expect = Expect::new(name);
    assert_eq!(error(&good[..100], expect).code(), Code::DamagedSegment);
    assert_eq!(error(&good, Expect { system: Some(SystemId(1)), ..expect }).code(), Code::DamagedForeign);
    let error = error(&with_magic(&good, 0xD12A), expect);
    assert_eq!(error.code(), Code::DamagedCodec);
    assert!(error.to_string().starts_with("WAL segment 000000010000000000000005: WAL with page magic D12A"), "{error}");
}

/// Where the WAL of a full-named file ends early, recovery would end there too.
#[test]
fn a_whole_segment_must_not_end_early() {
    let shape = Shape::default();
    let mut wal = Wal::new(shape, ONE, SegmentNo(5));
    for n in 0..500 {
        wal.record(10, 0, n, &[7; 900]);
    }
    let end = wal.position();
    let (name, zeros) = wal.segments().swap_remove(0);
    let expect = Expect::new(name);
    let partial = Expect { partial: true, ..expect };
    let at = (end.0 - name.start(shape.size).unwrap().0) as usize;
    let text = fault(expect, &zeros);
    assert_eq!(text, format!("NotWhole at {end}: the WAL ends here; behind it are only zeros"));
    assert_eq!(check(partial, &zeros).unwrap().end, End::Early { at: end });
    // A recycled file: the rest of the page is zero, then pages of an earlier use.
    let mut old = Wal::new(shape, ONE, SegmentNo(2));
    old.fill();
    let (_, old) = old.segments().swap_remove(0);
    let page = at.next_multiple_of(8192);
    let mut recycled = zeros.clone();
    recycled[page..].copy_from_slice(&old[page..]);
    let text = fault(expect, &recycled);
    assert_eq!(
        text,
        format!("NotWhole at {end}: the WAL ends here; behind it are pages of an earlier use of the file")
    );
    assert_eq!(check(partial, &recycled).unwrap().end, End::Early { at: end });
    // Pages that belong here behind the end: a hole, which is damage in both.
    let (_, full) = {
        let mut wal = wal.clone();
        wal.fill();
        wal.segments().swap_remove(0)
    };
    let mut hole = full.clone();
    hole[at..page + 8192].fill(0);
    for expect in [expect, partial] {
        let text = fault(expect, &hole);
        assert!(
            text.starts_with(&format!("Record at {end}: no record where one must start, yet the page at ")),
            "{text}"
        );
    }
    // A record that goes on, but the next page is zeros: the WAL ends at the record.
    let mut cut = full;
    let last = wal.records().last().unwrap();
    let crossing = (0..)
        .map(|n| last.start.0 - n * 8)
        .find(|lsn| wal.records().iter().any(|r| r.start.0 == *lsn && r.start.0 / 8192 < (r.end.0 - 1) / 8192));
    let crossing = Lsn(crossing.unwrap());
    let behind = ((crossing.0 - name.start(shape.size).unwrap().0) as usize).next_multiple_of(8192);
    cut[behind..].fill(0);
    let text = fault(expect, &cut);
    assert!(text.starts_with(&format!("NotWhole at {crossing}: the WAL ends here (a page of zeros")), "{text}");
    assert_eq!(check(partial, &cut).unwrap().end, End::Early { at: crossing });
}

/// The first segment of a new timeline begins with a copy of the old one's pages.
#[test]
fn the_first_segment_of_a_timeline() {
    for magic in [0xD097, 0xD118] {
        let mut wal = Wal::new(Shape { magic, ..Shape::default() }, ONE, SegmentNo(5));
        for n in 0..300 {
            wal.record(10, 0, n, &[7; 900]);
        }
        wal.promote(two());
        for n in 0..300 {
            wal.record(10, 0, n, &[8; 900]);
        }
        wal.switch();
        let (name, bytes) = wal.segments().swap_remove(0);
        let report = check(Expect::new(name), &bytes).unwrap();
        assert_eq!((report.timelines.0, report.end), (1, End::Switch));
        // Under the parent's name the later pages do not belong.
        assert!(fault(Expect::new(name.on(ONE)), &bytes).starts_with("Foreign at "));
    }
    // The promotion in the very last page: no page is of the new timeline, but a record begins it.
    let shape = Shape::default();
    let mut wal = Wal::new(shape, ONE, SegmentNo(5));
    let room = wal.room_in_segment();
    wal.record(10, 0, 1, &vec![1; room as usize - 24 - 500]);
    wal.promote(two());
    let rest = wal.room_in_segment() as usize;
    wal.record(10, 0, 1, &vec![1; rest - 24]);
    let (name, bytes) = wal.segments().swap_remove(0);
    let report = check(Expect::new(name), &bytes).unwrap();
    assert_eq!((report.timelines, report.end), ((1, 1), End::Full));
    assert_eq!(name.timeline(), two());
}

/// A switch whose 24 bytes cross into the next segment uses that one up.
#[test]
fn a_switch_across_the_end() {
    for magic in MAGICS {
        for short in [8, 16] {
            let mut wal = Wal::new(Shape { magic, ..Shape::default() }, ONE, SegmentNo(5));
            let room = wal.room_in_segment() as usize;
            wal.record(10, 0, 1, &vec![1; room - 24 - short]);
            wal.switch();
            let segments = wal.segments();
            assert_eq!(segments.len(), 2);
            assert!(matches!(check(Expect::new(segments[0].0), &segments[0].1).unwrap().end, End::Continues { .. }));
            let report = check(Expect::new(segments[1].0), &segments[1].1).unwrap();
            assert_eq!((report.end, report.unchecked_head, report.odd_bytes), (End::Switch, 24 - short as u64, 0));
        }
    }
}

#[test]
fn an_abandoned_record() {
    let mut wal = Wal::new(Shape::default(), ONE, SegmentNo(5));
    wal.commit(1, 1);
    wal.abandon(100_000);
    wal.commit(2, 2);
    wal.switch();
    let (name, good) = wal.segments().swap_remove(0);
    let report = check(Expect::new(name), &good).unwrap();
    assert_eq!((report.records, report.end), (4, End::Switch));
    // Without the flag the record is simply not continued.
    let mut bad = good.clone();
    bad[8192 + 2] = 0;
    assert!(fault(Expect::new(name), &bad).contains("is not continued on this page"));
    // At a segment's end: the next segment starts with the overwriting record.
    let mut wal = Wal::new(Shape::default(), ONE, SegmentNo(5));
    let room = wal.room_in_segment() as usize;
    wal.record(10, 0, 1, &vec![1; room - 24 - 4000]);
    wal.abandon(100_000);
    wal.switch();
    let segments = wal.segments();
    let first = check(Expect::new(segments[0].0), &segments[0].1).unwrap();
    assert!(matches!(first.end, End::Continues { .. }));
    assert_eq!(check(Expect::new(segments[1].0), &segments[1].1).unwrap().records, 2);
    let mut chained = SegmentCheck::after(Expect::new(segments[1].0), first.carry.unwrap());
    chained.push(&segments[1].1).unwrap();
    assert_eq!(chained.finish().unwrap().end, End::Switch);
}

/// What is behind a switch is not read by anybody; zero or not is said, never fatal.
#[test]
fn odd_bytes_behind_a_switch_are_counted() {
    for magic in MAGICS {
        let (name, good) = three(Shape { magic, ..Shape::default() }).pop().unwrap();
        for at in [good.len() - 1, good.len() - 8192 + 30, good.len() - 8192 * 3 + 20] {
            let mut bytes = good.clone();
            bytes[at] ^= 4;
            let report = check(Expect::new(name), &bytes).unwrap();
            assert!(report.odd_bytes > 0 && report.end == End::Switch, "{magic:04X} byte {at}");
            assert_eq!(report.odd_at.unwrap().0 - report.start.0, at as u64);
        }
    }
}

#[test]
fn lighter_levels() {
    let shape = Shape::default();
    let segments = three(shape);
    for (name, good) in &segments {
        let headers = Expect { level: Level::Headers, system: Some(shape.system), ..Expect::new(*name) };
        let report = check(headers, good).unwrap();
        assert_eq!((report.end, report.records, report.size), (End::NotRead, 0, shape.size));
        let mut bad = good.clone();
        bad[100] ^= 1;
        assert!(check(headers, &bad).is_ok(), "records are not read");
        let none = Expect { level: Level::None, size: Some(shape.size), ..headers };
        assert_eq!(check(none, good).unwrap().system, Some(shape.system));
        bad[8192 + 9] ^= 1;
        if good[8192..8216] != [0; 24] {
            assert!(fault(headers, &bad).contains("the page says that it belongs at"));
        }
        assert!(check(none, &bad).is_ok());
        assert!(fault(none, &bad[1..]).starts_with("Size at "));
        assert!(fault(Expect { system: Some(SystemId(3)), ..none }, good).starts_with("Foreign at "));
    }
    // Nothing readable and nothing known: any segment size will do.
    let none = Expect { level: Level::None, ..Expect::new(segments[0].0) };
    assert_eq!(check(none, &vec![7; 2 << 20]).unwrap().size.bytes(), 2 << 20);
    assert!(fault(none, &vec![7; 3 << 20]).starts_with("Size at "));
    // At the level of headers the tail of a switch is pages of zeros, and nothing may follow them.
    let (name, mut tail) = segments[2].clone();
    let last = tail.len() - 8192;
    let header = segments[0].1[8192..8216].to_vec();
    tail[last..last + 24].copy_from_slice(&header);
    let headers = Expect { level: Level::Headers, ..Expect::new(name) };
    assert!(fault(headers, &tail).contains("behind pages of zeros"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Any cut of the input gives the same report, or the same fault; damaged or not.
    #[test]
    fn any_cut_gives_the_same(
        form in form(),
        ops in ops(),
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        partial in any::<bool>(),
        more in 0usize..3,
    ) {
        let mut segments = write(form, &ops).segments();
        let (name, mut bytes) = segments.swap_remove(which.index(segments.len()));
        for (place, bit) in flips {
            let at = place.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        bytes.extend(vec![0; more]);
        let expect = Expect { partial, ..Expect::new(name) };
        let whole = check(expect, &bytes);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([1, 39, 40, 41]);
        cuts.sort_unstable();
        prop_assert!(check_cut(expect, &bytes, &cuts) == whole);
        let even: Vec<usize> = (0..bytes.len()).step_by(4093).collect();
        prop_assert!(check_cut(expect, &bytes, &even) == whole);
    }

    /// One flipped bit in whatever a checksum, a length, a link or a place covers is found; in what servers leave zero
    /// it is counted. What remains: the ends of records that cross to other segments, and a flag without meaning.
    #[test]
    fn a_flipped_bit_is_found(
        form in form(),
        ops in ops(),
        which in any::<prop::sample::Index>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 24),
    ) {
        // What is left of an abandoned record counts for nothing, and nothing covers it.
        let mut ops: Vec<Op> = ops.into_iter().filter(|op| !matches!(op, Op::Abandon)).collect();
        ops.push(Op::Switch);
        let wal = write(form, &ops);
        let mut segments = wal.segments();
        let (name, good) = segments.swap_remove(which.index(segments.len()));
        let expect = Expect { system: Some(form.system), ..Expect::new(name) };
        let report = match check(expect, &good) {
            Ok(report) => report,
            Err(fault) => return Err(TestCaseError::fail(format!("{fault}"))),
        };
        prop_assert_eq!(report.odd_bytes, 0);
        let page = form.page_size as usize;
        for (place, bit) in places {
            // Half of the places among the headers of pages, which are few.
            let at = match place.index(2) {
                0 => place.index(good.len()),
                _ => place.index(good.len() / page) * page + place.index(40),
            };
            let in_page = at % page;
            let first = at < page;
            let header_len = if first { 40 } else { 24 };
            let removable = in_page == 2 && bit == 2;
            // The head's own bytes: everything up to where the first record starts, but for page headers.
            let in_head = report.unchecked_head > 0
                && in_page >= header_len
                && report.first_record.is_none_or(|lsn| (at as u64) < lsn.0 - report.start.0)
                && report.unchecked_head + 40 + (at as u64 / page as u64) * 24 + 8 > at as u64;
            // The record that goes on: its content is checked with the next segment.
            let in_tail = match report.end {
                End::Continues { record: Some(lsn) } => in_page >= header_len && at as u64 >= lsn.0 - report.start.0 + 4,
                _ => false,
            };
            if removable || in_head || in_tail {
                continue;
            }
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            let found = match check(expect, &bytes) {
                Err(_) => true,
                Ok(report) => report.odd_bytes > 0,
            };
            prop_assert!(found, "bit {} of byte {} ({} in its page): {:?}", bit, at, in_page, report);
        }
    }

    /// Noise in any place never panics.
    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..3000), good in 0usize..200) {
        let (name, segment) = three(Shape::default()).swap_remove(1);
        let mut mixed = segment[..good].to_vec();
        mixed.extend(bytes);
        mixed.resize(1 << 20, 0);
        prop_assert!(check(Expect::new(name), &mixed).is_err());
        let _ = check(Expect { partial: true, ..Expect::new(name) }, &mixed);
    }
}

/// Segments that real servers of several majors wrote (10 and 13 with 16 MiB, 15 and 18 with 1 MiB): ordinary ones, a
/// record over three segments, first segments of a timeline, the unfinished last ones, and a recycled file.
#[test]
fn segments_of_real_servers() {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/wal"));
    let mut text = String::new();
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|case| case.unwrap().path()).collect();
    cases.sort();
    for case in cases {
        let mut files: Vec<_> = std::fs::read_dir(&case).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let name = file.file_stem().unwrap().to_str().unwrap();
            let bytes = unlzop(&std::fs::read(&file).unwrap());
            let name = name.strip_suffix(".partial").unwrap_or(name).parse().unwrap();
            let partial = file.to_str().unwrap().contains(".partial");
            let line = match check(Expect { partial, ..Expect::new(name) }, &bytes) {
                Ok(report) => format!(
                    "{:?} {} records, {:?}..{:?}, timelines {:?}, {} + {} unchecked, {} odd",
                    report.end,
                    report.records,
                    report.first_record,
                    report.last_record,
                    report.timelines,
                    report.unchecked_head,
                    report.unchecked_tail,
                    report.odd_bytes
                ),
                Err(fault) => fault.to_string(),
            };
            text += &format!("{} {name} {line}\n", case.file_name().unwrap().to_str().unwrap());
        }
    }
    expect_test::expect_file![concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/wal.txt")].assert_eq(&text);
}

/// Found by fuzzing: the bytes gathered of a record that is given up counted as going on, when the input was cut in them.
#[test]
fn a_record_given_up_leaves_no_tail_however_it_is_cut() {
    let mut wal = Wal::new(Shape::default(), TimelineId::new(1).unwrap(), SegmentNo(5));
    for record in 0..3 {
        wal.data(0, 0x30, record, b"next");
    }
    let last = wal.records().last().unwrap().start;
    let (file, mut bytes) = wal.segments().into_iter().next().unwrap();
    let at = (last.0 % bytes.len() as u64) as usize;
    bytes[at + 17] = 99; // no such resource manager: PostgreSQL takes it for the end of WAL
    let expect = Expect { partial: true, ..Expect::new(file) };
    let whole = check(expect, &bytes).unwrap();
    assert_eq!((whole.end, whole.unchecked_tail), (End::Early { at: last }, 0));
    for cut in at..at + 40 {
        let mut pieces = SegmentCheck::new(expect);
        pieces.push(&bytes[..cut]).unwrap();
        pieces.push(&bytes[cut..]).unwrap();
        assert_eq!(pieces.finish().as_ref(), Ok(&whole), "cut at {cut}");
    }
}

proptest! {
    /// Records that are skimmed are judged as those that are told one by one, damaged or not, however the input is cut.
    #[test]
    fn skimmed_or_told(
        form in form(),
        ops in ops(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..3),
        piece in 1000usize..300_000,
    ) {
        for (name, mut bytes) in write(form, &ops).segments() {
            for (at, bit) in &flips {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            let expect = Expect { partial: true, ..Expect::new(name) };
            let (mut skimmed, mut told) = (SegmentCheck::new(expect), SegmentCheck::new(expect));
            let mut seen = 0;
            for piece in bytes.chunks(piece) {
                let same = skimmed.push(piece) == told.push_with(piece, &mut |_| seen += 1);
                prop_assert!(same);
            }
            let report = told.finish();
            prop_assert_eq!(skimmed.finish(), report.clone());
            if let Ok(report) = report {
                prop_assert_eq!(report.records, seen);
            }
        }
    }
}
