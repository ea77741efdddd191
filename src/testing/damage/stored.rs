//! Damage to the stored bytes of a segment: what a disk, a transfer or a wrong copy does.
//!
//! In: a [`Scene`] and a seed. Out: damages. Whether a flipped bit matters at all, the decoder in use says: some change
//! no plain byte. Never: a stored object that decodes to other bytes unless its container says so.

use super::model::At;
use super::names::pick;
use super::{Claim, Expect, Hurt, Made, Make, Model, Scene};
use crate::codec::decode_all;
use crate::codec::lzo::LzopDecoder;
use crate::proof::FindingCode::{self as Code, *};
use crate::proof::Severity;
use crate::testing::lzop::lzop;
use fastrand::Rng;

pub(super) const KINDS: &[(&str, Make)] = &[
    ("stored-cut", stored_cut),
    ("stored-cut-last-byte", stored_cut_last_byte),
    ("stored-bit-flipped", stored_bit_flipped),
    ("stored-zeroed-4k", stored_zeroed_4k),
    ("stored-halves-swapped", stored_halves_swapped),
    ("stored-doubled", stored_doubled),
    ("stored-garbage-behind", stored_garbage_behind),
    ("stored-zeros-behind", stored_zeros_behind),
    ("stored-html", stored_html),
    ("stored-of-another-size", stored_of_another_size),
    ("suffix-plain-as-lzo", suffix_plain_as_lzo),
    ("suffix-lzo-as-plain", suffix_lzo_as_plain),
    ("suffix-unknown-codec", suffix_unknown_codec),
    ("two-forms-alike", two_forms_alike),
    ("two-forms-different", two_forms_different),
    ("rewritten-unseen", rewritten_unseen),
];

/// What an object that cannot be a segment may be called.
const UNDECODABLE: &[Code] = &[SegmentUndecodable, SegmentSize, SegmentEmpty];
/// What may be said of the neighbours and of whom it hurts.
pub(super) const AROUND: &[Code] = &[BackupWal, SegmentSeam, TimelineStray, TimelineOther, WindowShort];

/// Any whole segment, needed ones more often than others.
pub(super) fn pick_segment(scene: &Scene, rng: &mut Rng) -> Option<At> {
    let needed: Vec<At> = scene.model.needed().into_iter().collect();
    if rng.u32(..8) > 0 { pick(rng, &needed) } else { None }
        .or_else(|| pick(rng, &scene.model.segments.keys().copied().collect::<Vec<_>>()))
}

/// What a segment that cannot be replayed comes to.
pub(super) fn broken(scene: &Scene, at: At) -> Hurt {
    scene.model.replay_breaks(&[at])
}

/// Put these stored bytes in the place of a segment. What they decode to decides what is owed.
fn stored(scene: &Scene, at: At, what: &str, bytes: Vec<u8>) -> Option<Made> {
    let key = scene.model.key(at);
    let before = scene.plain(&key)?;
    let expect = match decode_all(&mut LzopDecoder::new(), &bytes, 2 * before.len()) {
        Ok(after) if after == before => Expect::nothing(),
        Ok(after) if after.len() == before.len() => return None, // a checksum of 32 bits hit by chance
        _ => Expect::new(Claim::Decode, UNDECODABLE, broken(scene, at)).also(AROUND),
    };
    Some(Made::new(format!("{key}: {what}"), expect).put(key, bytes))
}

fn of(scene: &Scene, rng: &mut Rng) -> Option<(At, Vec<u8>)> {
    let at = pick_segment(scene, rng)?;
    Some((at, scene.archive.get(&scene.model.key(at))?.to_vec()))
}

fn stored_cut(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (at, mut bytes) = of(scene, rng)?;
    let len = bytes.len();
    let cut = match rng.u32(..4) {
        0 => 1 + rng.usize(..60.min(len - 1)),
        1 => len / 4 * (1 + rng.usize(..3)),
        2 => (4096 * (1 + rng.usize(..1 + len / 4096))).min(len - 1),
        _ => 1 + rng.usize(..len - 1),
    };
    bytes.truncate(cut.max(1));
    stored(scene, at, &format!("cut at byte {cut} of {len}"), bytes)
}

fn stored_cut_last_byte(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (at, mut bytes) = of(scene, rng)?;
    bytes.truncate(bytes.len() - 1 - rng.usize(..4));
    stored(scene, at, "its last bytes are gone", bytes)
}

fn stored_bit_flipped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (at, mut bytes) = of(scene, rng)?;
    // The container's own bytes, first and last, as often as the data.
    let len = bytes.len();
    let place = match rng.u32(..4) {
        0 => rng.usize(..60.min(len)),
        1 => len - 1 - rng.usize(..20.min(len)),
        _ => rng.usize(..len),
    };
    bytes[place] ^= 1 << rng.u32(..8);
    stored(scene, at, &format!("a bit of stored byte {place} is flipped"), bytes)
}

fn stored_zeroed_4k(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (at, mut bytes) = of(scene, rng)?;
    let place = rng.usize(..1 + bytes.len() / 4096) * 4096;
    let end = (place + 4096).min(bytes.len());
    bytes[place..end].fill(0);
    stored(scene, at, &format!("stored bytes {place} to {end} are zero"), bytes)
}

fn stored_halves_swapped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (at, mut bytes) = of(scene, rng)?;
    let middle = bytes.len() / 2;
    bytes.rotate_left(middle);
    stored(scene, at, "its halves are swapped", bytes)
}

fn stored_doubled(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (at, bytes) = of(scene, rng)?;
    stored(scene, at, "it is there twice, one behind the other", [&bytes[..], &bytes].concat())
}

fn stored_garbage_behind(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (at, mut bytes) = of(scene, rng)?;
    let len = 1 + rng.usize(..200);
    bytes.extend(std::iter::repeat_with(|| rng.u8(1..)).take(len));
    stored(scene, at, "garbage lies behind it", bytes)
}

fn stored_zeros_behind(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (at, mut bytes) = of(scene, rng)?;
    bytes.resize(bytes.len() + 1 + rng.usize(..4096), 0);
    stored(scene, at, "zeros lie behind it", bytes)
}

fn stored_html(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (at, _) = of(scene, rng)?;
    let page = "<!DOCTYPE html><html><head><title>403 Forbidden</title></head><body></body></html>\n";
    stored(scene, at, "it is an HTML page", page.repeat(1 + rng.usize(..50)).into_bytes())
}

fn stored_of_another_size(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    let mut other = scene.plain(&scene.model.key(at))?.to_vec();
    let whole = other.len();
    let len = match rng.u32(..4) {
        0 => whole / 2,
        1 => whole - 8192,
        2 => whole - 1 - rng.usize(..8192),
        _ => whole + 8192,
    };
    other.resize(len, 0);
    stored(scene, at, &format!("it holds {len} bytes"), lzop(&other))
}

fn suffix_plain_as_lzo(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let at = pick_segment(scene, rng)?;
    stored(scene, at, "it is not compressed, whatever its name says", scene.plain(&scene.model.key(at))?.to_vec())
}

fn suffix_lzo_as_plain(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (at, bytes) = of(scene, rng)?;
    let key = scene.model.key(at);
    let plain = key.strip_suffix(".lzo")?.to_owned();
    let codes = [UNDECODABLE, &[SegmentForeign, SegmentPage]].concat();
    let expect = Expect::new(Claim::Decode, &codes, broken(scene, at)).also(AROUND);
    Some(Made::new(format!("{key} lost its suffix"), expect).remove(key).put(plain, bytes))
}

/// A form that this build may not read is not good, and is not called damaged either.
fn suffix_unknown_codec(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (at, _) = of(scene, rng)?;
    let key = scene.model.key(at);
    let other = format!("{}.br", key.strip_suffix(".lzo")?);
    let hurt = scene.model.anything((Severity::Warning, Severity::Critical));
    let expect = Expect::new(Claim::Decode, &[SegmentUnread, SegmentUndecodable], hurt).also(AROUND);
    let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(5000).collect();
    Some(Made::new(format!("{key} is only there as {other}"), expect).remove(key).put(other, noise))
}

fn two_forms_alike(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let key = scene.model.key(pick_segment(scene, rng)?);
    let plain = key.strip_suffix(".lzo")?.to_owned();
    let expect = Expect::new(Claim::Names, &[SegmentTwice], Model::nothing());
    Some(Made::new(format!("{plain} is there twice, alike"), expect).put(plain, scene.plain(&key)?))
}

fn two_forms_different(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let stored = scene.model.key(pick_segment(scene, rng)?);
    let key = stored.strip_suffix(".lzo")?.to_owned();
    let mut other = scene.plain(&stored)?.to_vec();
    let record = super::raw::records(&other).into_iter().find(|record| record.begins && record.ends)?;
    if rng.bool() {
        // Both whole: only one can be true.
        record.rewrite(&mut other, |record| record[4] ^= 1);
    } else {
        other[record.place(20)?] ^= 1;
    }
    let hurt = scene.model.anything((Severity::Warning, Severity::Critical));
    let also = [AROUND, &[SegmentTwice, SegmentRecord]].concat();
    let expect = Expect::new(Claim::Records, &[SegmentDiffers, SegmentRecord], hurt).also(&also);
    Some(Made::new(format!("{key} is there twice, and different"), expect).put(key, other))
}

/// One record exchanged for another valid one: only who remembers the object can know.
fn rewritten_unseen(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let key = scene.model.key(pick_segment(scene, rng)?);
    let mut plain = scene.plain(&key)?.to_vec();
    let whole: Vec<_> =
        super::raw::records(&plain).into_iter().filter(|one| one.begins && one.ends && !one.switch).collect();
    let record = pick(rng, &whole)?;
    record.rewrite(&mut plain, |record| record[4] ^= 1 << rng.u32(..8));
    let worst = (Severity::Critical, Severity::Critical);
    let expect = Expect::new(Claim::Ledger, &[LedgerChanged], scene.model.anything(worst));
    Some(Made::new(format!("{key}: another transaction's id, and the CRC that fits"), expect).put(key, lzop(&plain)))
}
