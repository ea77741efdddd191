//! Damage to the plain bytes of a segment, stored again in a sound container: headers and records must show it.
//!
//! In: a [`Scene`] and a seed. Out: damages. Never: a container that is wrong; a change that changes no byte.

use super::model::At;
use super::names::pick;
use super::raw::{self, PAGE, Record};
use super::stored::{AROUND, broken, pick_segment};
use super::{Claim, Expect, Made, Make, Model, Scene};
use crate::proof::FindingCode::{self as Code, *};
use crate::proof::Severity;
use crate::testing::lzop::lzop;
use fastrand::Rng;

pub(super) const KINDS: &[(&str, Make)] = &[
    ("plain-bit-flipped", plain_bit_flipped),
    ("plain-record-bit-flipped", plain_record_bit_flipped),
    ("plain-header-flipped", plain_header_flipped),
    ("plain-padding-set", plain_padding_set),
    ("page-zeroed", page_zeroed),
    ("half-page-zeroed", half_page_zeroed),
    ("halves-swapped", halves_swapped),
    ("pages-swapped", pages_swapped),
    ("content-of-neighbour", content_of_neighbour),
    ("content-of-another-cluster", content_of_another_cluster),
    ("content-of-parent", content_of_parent),
    ("content-of-child", content_of_child),
    ("content-all-zero", content_all_zero),
    ("tail-zeroed-at-a-record", tail_zeroed),
    ("tail-recycled", tail_recycled),
    ("switch-removed", switch_removed),
    ("link-edited", link_edited),
    ("link-edited-at-the-seam", link_edited_at_the_seam),
    ("crossing-record-edited", crossing_record_edited),
    ("length-edited", length_edited),
    ("version-unknown", version_unknown),
    ("cluster-mixed-in", cluster_mixed_in),
];

/// Not where it belongs. Where nothing of the right segment is found behind, it looks like a file used before.
const PLACE: &[Code] = &[SegmentForeign, SegmentPage, SegmentNotWhole, ArchiveClusters];
const CONTENT: &[Code] = &[
    SegmentForeign,
    SegmentPage,
    SegmentRecord,
    SegmentNotWhole,
    SegmentSeam,
    ForkContradicts,
    SegmentMinimal,
    SegmentUnread,
    SegmentSize,
    ArchiveClusters,
    HistoryDisagrees,
];

/// The records of a segment; those that are given up here or in a segment behind are marked.
fn records(scene: &Scene, at: At) -> Option<Vec<Record>> {
    let mut records = raw::records(&scene.plain(&scene.model.key(at))?);
    if let Some(last) = records.last_mut().filter(|last| !last.ends) {
        last.abandoned |= is_given_up(scene, at);
    }
    Some(records)
}

/// Is the record that goes on behind this segment never finished?
fn is_given_up(scene: &Scene, (timeline, number): At) -> bool {
    let mut next = number + 1;
    while let Some(plain) = scene.plain(&scene.model.key((timeline, next))) {
        match raw::records(&plain).first() {
            // It begins with a page that overwrites.
            Some(first) if first.begins => return true,
            Some(first) if first.abandoned => return true,
            Some(first) if first.ends => return false,
            _ => next += 1,
        }
    }
    false
}

fn plain(scene: &Scene, at: At) -> Option<Vec<u8>> {
    Some(scene.plain(&scene.model.key(at))?.to_vec())
}

/// A segment with this content, found by that level. `None` where nothing changed.
fn changed(scene: &Scene, at: At, claim: Claim, codes: &[Code], what: String, bytes: &[u8]) -> Option<Made> {
    if scene.plain(&scene.model.key(at))? == bytes {
        return None;
    }
    let mut expect = Expect::new(claim, codes, broken(scene, at)).also(CONTENT).also(AROUND);
    if codes.contains(&SegmentForeign) {
        // Whoever writes foreign files into an archive is worth knowing, also where nobody needs the place.
        expect.worst.1 = expect.worst.1.max(Severity::Warning);
    }
    let key = scene.model.key(at);
    Some(Made::new(format!("{key}: {what}"), expect).put(key, lzop(bytes)))
}

/// What a byte of a segment is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Record,
    /// Of a record that was given up: nobody reads it.
    Abandoned,
    Header,
    /// Nothing covers it, and it is zero.
    Unused,
}

fn part_of(records: &[Record], plain: &[u8], at: usize) -> Part {
    if let Some(record) = records.iter().find(|record| record.spans.iter().any(|span| span.contains(&at))) {
        return if record.abandoned { Part::Abandoned } else { Part::Record };
    }
    let in_page = at % PAGE;
    let first = at < PAGE;
    // Behind a switch or the end there may be pages without a header.
    let page = at - in_page;
    let has_header = raw::u16_at(plain, page) != 0;
    if has_header && in_page < if first { 40 } else { 24 } { Part::Header } else { Part::Unused }
}

/// Any bit of a segment: what it is decides what is owed.
fn plain_bit_flipped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut bytes = plain(scene, at)?;
    let records = records(scene, at)?;
    let place = rng.usize(..bytes.len());
    flip(scene, rng, at, &mut bytes, &records, place)
}

fn flip(scene: &Scene, rng: &mut Rng, at: At, bytes: &mut [u8], records: &[Record], place: usize) -> Option<Made> {
    let bit = rng.u32(..8);
    let part = part_of(records, bytes, place);
    let behind_switch =
        records.last().is_some_and(|last| last.switch && last.spans.last().is_some_and(|span| place >= span.end));
    bytes[place] ^= 1 << bit;
    let what = format!("bit {bit} of plain byte {place} ({part:?}) is flipped");
    match part {
        // A length that is wrong shows first on the page where the record should end.
        Part::Record => {
            let codes = &[SegmentRecord, SegmentNotWhole, SegmentSeam, SegmentPage];
            changed(scene, at, Claim::Records, codes, what, bytes)
        }
        // Its length still says where it would end: that may show.
        Part::Abandoned => {
            let codes = &[SegmentRecord, SegmentPage, SegmentSeam];
            let expect = Expect::new(Claim::Ledger, codes, broken(scene, at)).also(CONTENT).also(AROUND);
            let key = scene.model.key(at);
            Some(Made::new(format!("{key}: {what}"), expect).put(key, lzop(bytes)))
        }
        Part::Header if behind_switch => {
            // Bare pages behind a switch, as servers up to 10 leave them: nobody reads them.
            let expect = Expect::new(Claim::Records, &[SegmentOdd, SegmentPage], broken(scene, at)).also(CONTENT);
            let expect = Expect { worst: (Severity::Harmless, expect.worst.1), certainly: Vec::new(), ..expect };
            let key = scene.model.key(at);
            Some(Made::new(format!("{key}: {what}"), expect).put(key, lzop(bytes)))
        }
        // Informational, ignored by everybody.
        Part::Header if place % PAGE == 2 && bit == 2 => {
            let key = scene.model.key(at);
            Some(Made::new(format!("{key}: {what}"), Expect::nothing()).put(key, lzop(bytes)))
        }
        // Unused, always zero.
        Part::Header if (20..24).contains(&(place % PAGE)) => odd(scene, at, what, bytes),
        Part::Header => header(scene, at, what, bytes),
        Part::Unused => odd(scene, at, what, bytes),
    }
}

/// No checksum covers the place, and every server leaves it zero.
fn odd(scene: &Scene, at: At, what: String, bytes: &[u8]) -> Option<Made> {
    // Who does not read records cannot know that nothing is used there.
    let expect = Expect::new(Claim::Records, &[SegmentOdd], Model::nothing()).also(&[SegmentPage]);
    let key = scene.model.key(at);
    Some(Made::new(format!("{key}: {what}"), expect).put(key, lzop(bytes)))
}

fn header(scene: &Scene, at: At, what: String, bytes: &[u8]) -> Option<Made> {
    changed(
        scene,
        at,
        Claim::Records,
        &[PLACE, &[SegmentRecord, SegmentUnread, SegmentSeam, SegmentNotWhole, SegmentSize]].concat(),
        what,
        bytes,
    )
}

fn plain_record_bit_flipped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut bytes = plain(scene, at)?;
    let records = records(scene, at)?;
    let record = pick(rng, &records)?;
    let place = record.place(rng.usize(..record.len()))?;
    flip(scene, rng, at, &mut bytes, &records, place)
}

fn plain_header_flipped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut bytes = plain(scene, at)?;
    let records = records(scene, at)?;
    let page = rng.usize(..bytes.len() / PAGE) * PAGE;
    let place = page + rng.usize(..raw::header_len(page));
    flip(scene, rng, at, &mut bytes, &records, place)
}

/// Alignment behind a record, or the unused word of a page header.
fn plain_padding_set(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut bytes = plain(scene, at)?;
    let ends = records(scene, at)?.into_iter().filter(|record| record.ends).filter_map(|record| {
        let end = record.spans.last()?.end;
        (end % 8 != 0).then_some(end)
    });
    let mut places: Vec<usize> = ends.collect();
    places.extend(
        (0..bytes.len() / PAGE).filter(|page| raw::u16_at(&bytes, page * PAGE) != 0).map(|page| page * PAGE + 20),
    );
    let place = pick(rng, &places)?;
    bytes[place] = rng.u8(1..);
    odd(scene, at, format!("plain byte {place}, which is padding, is not zero"), &bytes)
}

/// Bytes that hold something and are zero now.
fn zeroed(scene: &Scene, rng: &mut Rng, len: usize, claim: Claim) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut bytes = plain(scene, at)?;
    let records = records(scene, at)?;
    let covered = |from: usize| {
        records.iter().filter(|record| !record.abandoned).flat_map(|record| &record.spans).any(|span| {
            let here = span.start.max(from)..span.end.min(from + len);
            here.start < here.end && bytes[here].iter().any(|byte| *byte != 0)
        })
    };
    let places: Vec<usize> = (0..bytes.len() / len).map(|n| n * len).filter(|from| covered(*from)).collect();
    let from = pick(rng, &places)?;
    bytes[from..from + len].fill(0);
    let codes = &[SegmentPage, SegmentRecord, SegmentNotWhole, SegmentSeam, SegmentForeign];
    changed(scene, at, claim, codes, format!("plain bytes {from} to {} are zero", from + len), &bytes)
}

fn page_zeroed(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    zeroed(scene, rng, PAGE, Claim::Records)
}

fn half_page_zeroed(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    zeroed(scene, rng, PAGE / 2, Claim::Records)
}

fn halves_swapped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut bytes = plain(scene, at)?;
    let middle = bytes.len() / 2;
    bytes.rotate_left(middle);
    changed(scene, at, Claim::Headers, PLACE, "the halves of its content are swapped".into(), &bytes)
}

fn pages_swapped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut bytes = plain(scene, at)?;
    // Pages in use: those of a tail say nothing.
    let end = records(scene, at)?.last()?.spans.last()?.end;
    let used = end.div_ceil(PAGE);
    if used < 3 {
        return None;
    }
    let page = rng.usize(1..used - 1);
    let (a, b) = bytes.split_at_mut((page + 1) * PAGE);
    a[page * PAGE..].swap_with_slice(&mut b[..PAGE]);
    changed(scene, at, Claim::Headers, PLACE, format!("pages {page} and {} are swapped", page + 1), &bytes)
}

fn content_of(scene: &Scene, at: At, other: At, what: &str) -> Option<Made> {
    let bytes = plain(scene, other)?;
    changed(scene, at, Claim::Headers, PLACE, format!("it holds {}, {what}", scene.model.key(other)), &bytes)
}

fn content_of_neighbour(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let neighbours = [(at.0, at.1 + 1), (at.0, at.1.wrapping_sub(1))];
    let there: Vec<At> = neighbours.into_iter().filter(|at| scene.model.segments.contains_key(at)).collect();
    content_of(scene, at, pick(rng, &there)?, "its neighbour")
}

/// Another cluster's segment of the same place: all that differs is who wrote it.
fn content_of_another_cluster(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut bytes = plain(scene, at)?;
    let system = raw::u64_at(&bytes, 24) ^ (1 + rng.u64(..1 << 40));
    bytes[24..32].copy_from_slice(&system.to_le_bytes());
    changed(scene, at, Claim::Headers, PLACE, format!("it is of the cluster {system}"), &bytes)
}

/// Places where parent and child both have a segment, and they differ.
fn shared(scene: &Scene) -> Vec<(At, At)> {
    let begins = scene.model.histories.iter().filter_map(|(child, all)| Some((*child, *all.last()?)));
    let pairs = begins.map(|(child, (parent, switch))| {
        let number = switch / scene.model.size;
        ((parent, number), (child, number))
    });
    pairs.filter(|(a, b)| [a, b].iter().all(|at| scene.model.segments.contains_key(at))).collect()
}

fn content_of_parent(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (parent, child) = pick(rng, &shared(scene))?;
    let bytes = plain(scene, parent)?;
    // A parent's pages may stand in its child's first segment: records show it.
    changed(scene, child, Claim::Records, CONTENT, format!("it holds its parent's {}", scene.model.key(parent)), &bytes)
}

fn content_of_child(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (parent, child) = pick(rng, &shared(scene))?;
    let bytes = plain(scene, child)?;
    let what = format!("it holds its child's {}", scene.model.key(child));
    changed(scene, parent, Claim::Records, CONTENT, what, &bytes)
}

fn content_all_zero(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let bytes = vec![0; plain(scene, at)?.len()];
    let codes = [PLACE, &[SegmentUndecodable, SegmentNotWhole]].concat();
    changed(scene, at, Claim::Headers, &codes, "it holds zeros".into(), &bytes)
}

/// Where the WAL could end: behind a whole record.
fn an_end(rng: &mut Rng, records: &[Record]) -> Option<usize> {
    let whole: Vec<usize> = records
        .iter()
        .filter(|record| record.begins && record.ends && !record.switch)
        .filter_map(|record| Some(record.spans.last()?.end.next_multiple_of(8)))
        .collect();
    pick(rng, &whole)
}

fn tail_zeroed(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut bytes = plain(scene, at)?;
    let end = an_end(rng, &records(scene, at)?)?;
    bytes[end..].fill(0);
    let what = format!("archived too early: zeros from byte {end} on, where a record ends");
    changed(scene, at, Claim::Records, &[SegmentNotWhole, SegmentSeam], what, &bytes)
}

/// A recycled file, archived before it was filled: behind its end lie pages of an older segment.
fn tail_recycled(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let older = (at.0, at.1.checked_sub(1 + rng.u64(..2))?);
    let (mut bytes, old) = (plain(scene, at)?, plain(scene, older)?);
    let end = an_end(rng, &records(scene, at)?)?;
    let page = end.next_multiple_of(PAGE);
    bytes[end..page].fill(0);
    bytes[page..].copy_from_slice(old.get(page..)?);
    let what = format!("a recycled file: its own WAL ends at byte {end}, behind it lies an older segment's");
    let codes = &[SegmentNotWhole, SegmentPage, SegmentForeign, SegmentSeam];
    changed(scene, at, Claim::Records, codes, what, &bytes)
}

fn switched(scene: &Scene, rng: &mut Rng) -> Option<(At, Vec<u8>, Record)> {
    let mut all: Vec<At> = scene.model.needed().into_iter().collect();
    rng.shuffle(&mut all);
    all.into_iter().find_map(|at| {
        let bytes = plain(scene, at)?;
        let record = raw::records(&bytes).into_iter().find(|record| record.switch && record.begins)?;
        Some((at, bytes, record))
    })
}

fn switch_removed(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (at, mut bytes, record) = switched(scene, rng)?;
    for place in (0..record.len()).filter_map(|n| record.place(n)) {
        bytes[place] = 0;
    }
    let codes = &[SegmentNotWhole, SegmentRecord, SegmentPage];
    changed(scene, at, Claim::Records, codes, "its switch record is gone".into(), &bytes)
}

/// A record's link to the one before it, with the CRC that fits.
fn link_edited(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut bytes = plain(scene, at)?;
    let records: Vec<Record> = records(scene, at)?.into_iter().filter(|record| record.begins && record.ends).collect();
    // The first one's link leads out of the segment.
    let record = pick(rng, records.get(1..)?)?;
    record.rewrite(&mut bytes, |record| record[8] ^= 8 << rng.u32(..4));
    let codes = &[SegmentRecord, SegmentNotWhole, SegmentSeam];
    changed(scene, at, Claim::Records, codes, "a record's link is another one".into(), &bytes)
}

fn link_edited_at_the_seam(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let mut all: Vec<At> = scene.model.needed().into_iter().collect();
    rng.shuffle(&mut all);
    let (at, mut bytes, record) = all.into_iter().find_map(|at| {
        // The one before must be there, on the way.
        if !scene.model.segments.contains_key(&(at.0, at.1.checked_sub(1)?)) {
            return None;
        }
        let bytes = plain(scene, at)?;
        let record = raw::records(&bytes).into_iter().find(|record| record.begins)?;
        record.ends.then_some((at, bytes, record))
    })?;
    // Lower than it is: alone, the segment looks as good as before.
    record.rewrite(&mut bytes, |record| {
        let link = u64::from_le_bytes(record[8..16].try_into().expect("checked: eight bytes"));
        record[8..16].copy_from_slice(&(link - 8 * rng.u64(1..20)).to_le_bytes());
    });
    let codes = &[SegmentSeam, SegmentRecord];
    changed(scene, at, Claim::Records, codes, "the first record's link is another one".into(), &bytes)
}

fn crossing_record_edited(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let mut all: Vec<At> = scene.model.needed().into_iter().collect();
    rng.shuffle(&mut all);
    let (at, mut bytes, record) = all.into_iter().find_map(|at| {
        if !scene.model.segments.contains_key(&(at.0, at.1.checked_sub(1)?)) {
            return None;
        }
        let bytes = plain(scene, at)?;
        let record = records(scene, at)?.into_iter().find(|record| !record.begins && !record.abandoned)?;
        Some((at, bytes, record))
    })?;
    let place = record.place(rng.usize(..record.len()))?;
    bytes[place] ^= 1 << rng.u32(..8);
    let codes = &[SegmentSeam, SegmentRecord];
    let what = format!("byte {place}, of a record that comes from the segment before, is flipped");
    changed(scene, at, Claim::Records, codes, what, &bytes)
}

fn length_edited(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut bytes = plain(scene, at)?;
    let records: Vec<Record> =
        records(scene, at)?.into_iter().filter(|record| record.begins && !record.abandoned).collect();
    let record = pick(rng, &records)?;
    let length = [0, 1, 23, 24, 0x4000_0000, u32::MAX][rng.usize(..6)];
    let start = record.place(0)?;
    bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    let codes = &[SegmentRecord, SegmentNotWhole, SegmentSeam, SegmentPage];
    changed(scene, at, Claim::Records, codes, format!("a record says that it has {length} bytes"), &bytes)
}

/// A version from the future may be good: nobody here can tell.
fn version_unknown(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut bytes = plain(scene, at)?;
    for page in bytes.chunks_mut(PAGE).filter(|page| page[0] != 0) {
        page[..2].copy_from_slice(&0xD1F0u16.to_le_bytes());
    }
    let hurt = scene.model.anything((Severity::Unknown, Severity::Critical));
    let expect = Expect::new(Claim::Headers, &[SegmentUnread, SegmentPage, SegmentForeign], hurt).also(AROUND);
    let key = scene.model.key(at);
    Some(Made::new(format!("{key} is of a version that nobody knows"), expect).put(key, lzop(&bytes)))
}

/// Another cluster archives into the same prefix, behind the end of ours.
fn cluster_mixed_in(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let model = &scene.model;
    let timeline = model.latest();
    let last = (timeline, model.last(timeline)?);
    let system = raw::u64_at(&plain(scene, last)?, 24) ^ (1 + rng.u64(..1 << 40));
    let worst = (Severity::Warning, Severity::Critical);
    let expect = Expect::new(Claim::Headers, PLACE, model.anything(worst)).also(CONTENT).also(AROUND);
    let mut made = Made::new(format!("two segments of the cluster {system} lie behind the end"), expect);
    for number in [last.1 + 1, last.1 + 2] {
        let mut bytes = plain(scene, last)?;
        bytes[24..32].copy_from_slice(&system.to_le_bytes());
        for (page, bytes) in bytes.chunks_mut(PAGE).enumerate().filter(|(_, page)| page[0] != 0) {
            bytes[8..16].copy_from_slice(&(number * model.size + (page * PAGE) as u64).to_le_bytes());
        }
        made = made.put(model.key((timeline, number)), lzop(&bytes));
    }
    Some(made)
}
