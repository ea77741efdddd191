//! Damage to base backups: partitions, their members, labels, pg_control, sentinels.
//!
//! In: a [`Scene`] and a seed. Out: damages. Never: a file changed that no check could know (there is no checksum over
//! settings or commit logs): that is `backup-file-flipped-unseen`, which nobody need find.

use super::model::Base;
use super::names::pick;
use super::raw::{self, TarMember, members};
use super::{Claim, Expect, Made, Make, Model, Scene};
use crate::proof::FindingCode::{self as Code, *};
use crate::proof::Severity;
use crate::testing::lzop::lzop;
use crate::testing::tar::Tar;
use fastrand::Rng;

pub(super) const KINDS: &[(&str, Make)] = &[
    ("backup-part-missing", part_missing),
    ("backup-parts-all-missing", parts_all_missing),
    ("backup-part-empty", part_empty),
    ("backup-part-cut", part_cut),
    ("backup-part-flipped", part_flipped),
    ("backup-part-html", part_html),
    ("backup-part-swapped", part_swapped),
    ("backup-part-twice", part_twice),
    ("backup-tar-cut", tar_cut),
    ("backup-tar-header-flipped", tar_header_flipped),
    ("backup-tar-end-missing", tar_end_missing),
    ("backup-member-missing", member_missing),
    ("backup-member-missing-unseen", member_missing_unseen),
    ("backup-member-hostile", member_hostile),
    ("backup-page-flipped", page_flipped),
    ("backup-page-checksum-edited", page_checksum_edited),
    ("backup-page-zeroed-in-part", page_half_zeroed),
    ("backup-file-flipped-unseen", file_flipped_unseen),
    ("backup-label-edited", label_edited),
    ("backup-label-missing", label_missing),
    ("backup-label-doubled", label_doubled),
    ("backup-control-missing", control_missing),
    ("backup-control-flipped", control_flipped),
    ("backup-control-of-another-cluster", control_of_another_cluster),
    ("backup-sentinel-garbage", sentinel_garbage),
    ("backup-sentinel-empty", sentinel_empty),
    ("backup-sentinel-missing", sentinel_missing),
    ("backup-sentinel-of-another", sentinel_of_another),
    ("backup-size-edited", size_edited),
    ("backup-unfinished", unfinished),
    ("backup-version-file-missing", version_file_missing),
];

const PART: &[Code] = &[BackupPart, BackupTar];
/// What a backup that lacks files may be called, too.
const ADDS_UP: &[Code] = &[BackupPart, BackupTar, BackupFiles, BackupLabel, BackupControl, BackupPage, BackupWal];

fn any(scene: &Scene, rng: &mut Rng) -> Option<Base> {
    pick(rng, &scene.model.backups)
}

fn bad(scene: &Scene, backup: &Base, claim: Claim, codes: &[Code]) -> Expect {
    let follows = &[BackupNone, BackupStale, WindowShort, TimelineStray, TimelineOther];
    Expect::new(claim, codes, scene.model.backup_breaks(backup)).also(ADDS_UP).also(follows)
}

fn part_missing(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = any(scene, rng)?;
    let number = rng.usize(..backup.parts.len());
    let key = backup.parts.get(number)?.clone();
    // Numbers run from 0 without a gap; how many there were, no list says.
    let claim = if number + 1 < backup.parts.len() || number == 0 { Claim::Names } else { Claim::Backup };
    Some(Made::new(format!("{key} is gone"), bad(scene, &backup, claim, ADDS_UP)).remove(key))
}

fn parts_all_missing(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = any(scene, rng)?;
    let mut made = Made::new(format!("{} has no partitions", backup.name), bad(scene, &backup, Claim::Names, PART));
    for key in backup.parts {
        made = made.remove(key);
    }
    Some(made)
}

fn a_part(scene: &Scene, rng: &mut Rng) -> Option<(Base, String, Vec<u8>)> {
    let backup = any(scene, rng)?;
    let key = pick(rng, &backup.parts)?;
    let bytes = scene.archive.get(&key)?.to_vec();
    Some((backup, key, bytes))
}

fn part_empty(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, _) = a_part(scene, rng)?;
    Some(Made::new(format!("{key} has no bytes"), bad(scene, &backup, Claim::Names, PART)).put(key, Vec::new()))
}

fn stored(scene: &Scene, backup: &Base, key: String, what: &str, bytes: Vec<u8>) -> Option<Made> {
    let before = scene.plain(&key)?;
    let mut decoder = crate::codec::lzo::LzopDecoder::new();
    let expect = match crate::codec::decode_all(&mut decoder, &bytes, before.len() + (1 << 20)) {
        Ok(after) if after == before => Expect::nothing(),
        _ => bad(scene, backup, Claim::Backup, PART),
    };
    Some(Made::new(format!("{key}: {what}"), expect).put(key, bytes))
}

fn part_cut(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, mut bytes) = a_part(scene, rng)?;
    let cut = match rng.u32(..3) {
        0 => bytes.len() - 1 - rng.usize(..4),
        1 => 1 + rng.usize(..60),
        _ => 1 + rng.usize(..bytes.len() - 1),
    };
    bytes.truncate(cut);
    stored(scene, &backup, key, &format!("cut at byte {cut}"), bytes)
}

fn part_flipped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, mut bytes) = a_part(scene, rng)?;
    let place = rng.usize(..bytes.len());
    bytes[place] ^= 1 << rng.u32(..8);
    stored(scene, &backup, key, &format!("a bit of stored byte {place} is flipped"), bytes)
}

fn part_html(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, _) = a_part(scene, rng)?;
    let page = b"<html><body><h1>502 Bad Gateway</h1></body></html>\n".to_vec();
    stored(scene, &backup, key, "it is an HTML page", page)
}

fn part_swapped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, bytes) = a_part(scene, rng)?;
    let others: Vec<Base> = scene.model.backups.iter().filter(|other| other.name != backup.name).cloned().collect();
    let other = pick(rng, &others)?;
    let part = pick(rng, &other.parts)?;
    let content = scene.archive.get(&part)?.clone();
    if content == bytes {
        return None;
    }
    let what = format!("{key} holds {part}, of another backup");
    let files = |key: &str| members(&scene.plain(key).unwrap_or_default()).0;
    let tells = |key: &str| files(key).iter().any(|one| one.name == "backup_label" || one.name == "global/pg_control");
    let bytes_of = |key: &str| files(key).iter().map(|member| member.data.len() as u64).sum::<u64>();
    let sum: u64 = backup.parts.iter().map(|one| bytes_of(if *one == key { &part } else { one })).sum();
    let mut promised = 0;
    sized(scene, &backup, |size| {
        promised = size;
        size
    })?;
    let mut expect = bad(scene, &backup, Claim::Backup, ADDS_UP);
    if !tells(&key) && !tells(&part) && sum <= promised {
        // The same files at another time, or fewer: no checksum knows.
        expect.claim = Claim::Ledger;
    }
    Some(Made::new(what, expect).put(key, content))
}

fn part_twice(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, _, bytes) = a_part(scene, rng)?;
    let key = format!("basebackups_005/{}/tar_partitions/part_{:08}.tar.lzo", backup.name, backup.parts.len());
    let expect = bad(scene, &backup, Claim::Backup, ADDS_UP);
    Some(Made::new(format!("{key} is there, and is another one again"), expect).put(key, bytes))
}

/// A partition with its plain bytes changed, in a sound container.
fn plain(backup_expect: Expect, key: String, what: &str, tar: &[u8]) -> Made {
    Made::new(format!("{key}: {what}"), backup_expect).put(key, lzop(tar))
}

fn a_tar(scene: &Scene, rng: &mut Rng) -> Option<(Base, String, Vec<u8>)> {
    let (backup, key, _) = a_part(scene, rng)?;
    let tar = scene.plain(&key)?.to_vec();
    Some((backup, key, tar))
}

/// The tar of a backup that holds a member.
fn with_member(
    scene: &Scene,
    backup: &Base,
    rng: &mut Rng,
    holds: impl Fn(&TarMember, &[u8]) -> bool,
) -> Option<(String, Vec<u8>, TarMember)> {
    let mut parts = backup.parts.clone();
    rng.shuffle(&mut parts);
    parts.into_iter().find_map(|key| {
        let tar = scene.plain(&key)?.to_vec();
        let found: Vec<TarMember> =
            members(&tar).0.into_iter().filter(|member| member.flag == b'0' && holds(member, &tar)).collect();
        Some((key, tar, pick(rng, &found)?))
    })
}

fn tar_cut(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, mut tar) = a_tar(scene, rng)?;
    let (all, end) = members(&tar);
    // At a member's border, where a careless reader sees nothing wrong, or anywhere.
    let cut = if rng.bool() { pick(rng, &all)?.whole.start } else { rng.usize(..end) };
    tar.truncate(cut);
    Some(plain(bad(scene, &backup, Claim::Backup, PART), key, &format!("the tar ends at byte {cut}"), &tar))
}

fn tar_header_flipped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, mut tar) = a_tar(scene, rng)?;
    let member = pick(rng, &members(&tar).0)?;
    // The fields that mean something; the sum covers the rest, too.
    let place = member.header + rng.usize(..148);
    tar[place] ^= 1 << rng.u32(..7);
    Some(plain(
        bad(scene, &backup, Claim::Backup, PART),
        key,
        &format!("a bit of the header of {} is flipped", member.name),
        &tar,
    ))
}

fn tar_end_missing(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, mut tar) = a_tar(scene, rng)?;
    let (_, end) = members(&tar);
    tar.truncate(end + 512 * rng.usize(..2));
    Some(plain(bad(scene, &backup, Claim::Backup, PART), key, "the end mark of the tar is gone", &tar))
}

/// A file that every data directory has.
fn member_missing(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = any(scene, rng)?;
    let needed = ["PG_VERSION", "global/pg_control", "backup_label"];
    let (key, mut tar, member) = with_member(scene, &backup, rng, |member, _| needed.contains(&member.name.as_str()))?;
    tar.drain(member.whole.clone());
    let what = format!("{} is not in it", member.name);
    Some(plain(bad(scene, &backup, Claim::Backup, ADDS_UP), key, &what, &tar))
}

/// Any other: so look files that vanished while the backup was taken, which WAL-E counts all the same.
fn member_missing_unseen(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = any(scene, rng)?;
    let relation = |member: &TarMember| member.name.starts_with("base/") && !member.data.is_empty();
    let (key, mut tar, member) = with_member(scene, &backup, rng, |member, _| relation(member))?;
    tar.drain(member.whole.clone());
    Some(plain(Expect::nothing(), key, &format!("{} is not in it", member.name), &tar))
}

fn append(tar: &mut Vec<u8>, more: Tar) {
    let (_, end) = members(tar);
    tar.truncate(end);
    tar.extend(more.finish());
}

fn member_hostile(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, mut tar) = a_tar(scene, rng)?;
    let evil = b"evil";
    let (what, more) = match rng.u32(..5) {
        0 => ("../evil", Tar::new(false).file("../evil", evil)),
        1 => ("/etc/evil", Tar::new(false).file("/etc/evil", evil)),
        2 => ("base/../../evil", Tar::new(false).file("base/../../evil", evil)),
        3 => ("a device", Tar::new(false).other("base/device", b'3')),
        _ => ("a hard link that leads out", Tar::new(false).hard_link("base/link", "../../etc/passwd")),
    };
    append(&mut tar, more);
    let codes = &[BackupTar, BackupFiles, BackupPart];
    Some(plain(bad(scene, &backup, Claim::Backup, codes), key, &format!("{what} is in it"), &tar))
}

/// A page that the checksum speaks for, that nobody touched while the backup was taken, and its block.
fn a_page(scene: &Scene, rng: &mut Rng) -> Option<(Base, String, Vec<u8>, usize, String)> {
    let backup = any(scene, rng)?;
    let (_, tar, control) = with_member(scene, &backup, rng, |member, _| member.name == "global/pg_control")?;
    let control = tar.get(control.data)?;
    let place = if raw::u32_at(control, 8) == 1100 { 244 } else { 252 };
    if raw::u32_at(control, place) != 1 {
        return None;
    }
    // The template database: nobody works there.
    let is_relation = |name: &str| {
        name.strip_prefix("base/1/")
            .is_some_and(|file| !file.is_empty() && file.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let settled = |page: &[u8]| {
        let lsn = (u64::from(raw::u32_at(page, 0)) << 32) + u64::from(raw::u32_at(page, 4));
        raw::u16_at(page, 14) != 0 && lsn < backup.start && page.len() == 8192
    };
    let (key, tar, member) = with_member(scene, &backup, rng, |member, tar| {
        is_relation(&member.name) && tar.get(member.data.clone()).is_some_and(|data| data.chunks(8192).any(settled))
    })?;
    let pages: Vec<usize> = (member.data.start..member.data.end)
        .step_by(8192)
        .filter(|at| tar.get(*at..at + 8192).is_some_and(settled))
        .collect();
    let page = pick(rng, &pages)?;
    let what = format!("page {} of {}", (page - member.data.start) / 8192, member.name);
    Some((backup, key, tar, page, what))
}

fn rows(scene: &Scene, backup: &Base) -> Expect {
    Expect { worst: (Severity::Warning, Severity::Critical), ..bad(scene, backup, Claim::Backup, &[BackupPage]) }
}

fn page_flipped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, mut tar, page, what) = a_page(scene, rng)?;
    tar[page + rng.usize(24..8192)] ^= 1 << rng.u32(..8);
    Some(plain(rows(scene, &backup), key, &format!("a bit of {what} is flipped"), &tar))
}

fn page_checksum_edited(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, mut tar, page, what) = a_page(scene, rng)?;
    tar[page + 8] ^= rng.u8(1..);
    Some(plain(rows(scene, &backup), key, &format!("the checksum of {what} is another one"), &tar))
}

fn page_half_zeroed(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, mut tar, page, what) = a_page(scene, rng)?;
    if tar[page + 4096..page + 8192].iter().all(|byte| *byte == 0) {
        return None;
    }
    tar[page + 4096..page + 8192].fill(0);
    Some(plain(rows(scene, &backup), key, &format!("half of {what} is zero"), &tar))
}

fn file_flipped_unseen(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = any(scene, rng)?;
    let (key, mut tar, member) =
        with_member(scene, &backup, rng, |member, _| member.name.starts_with("pg_xact/") && member.data.len() > 100)?;
    tar[member.data.start + rng.usize(..100)] ^= 1;
    Some(plain(Expect::nothing(), key, &format!("a bit of {} is flipped: nothing covers it", member.name), &tar))
}

fn label_edited(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = any(scene, rng)?;
    let (key, mut tar, member) = with_member(scene, &backup, rng, |member, _| member.name == "backup_label")?;
    let label = String::from_utf8(tar.get(member.data.clone())?.to_vec()).ok()?;
    let start = label.find("START WAL LOCATION: ")? + "START WAL LOCATION: ".len();
    let digit = start + label.get(start..)?.find(' ')? - 1 - rng.usize(..3);
    let edited = if rng.bool() {
        let place = member.data.start + digit;
        tar[place] = if tar[place] == b'7' { b'0' } else { b'7' };
        "says another start"
    } else {
        tar[member.data.start..member.data.start + 5].copy_from_slice(b"HELLO");
        "begins with HELLO"
    };
    Some(plain(bad(scene, &backup, Claim::Backup, &[BackupLabel]), key, &format!("backup_label {edited}"), &tar))
}

fn label_missing(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = any(scene, rng)?;
    let (key, mut tar, member) = with_member(scene, &backup, rng, |member, _| member.name == "backup_label")?;
    let size = member.data.len() as u64;
    tar.drain(member.whole);
    // The sum agrees, so only the label itself can be missed.
    let sentinel = sized(scene, &backup, |bytes| bytes - size)?;
    let made =
        plain(bad(scene, &backup, Claim::Backup, &[BackupLabel, BackupFiles]), key, "backup_label is gone", &tar);
    Some(made.put(backup.sentinel, sentinel))
}

fn label_doubled(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = any(scene, rng)?;
    let (_, tar, member) = with_member(scene, &backup, rng, |member, _| member.name == "backup_label")?;
    let label = tar.get(member.data)?.to_vec();
    let key = pick(rng, &backup.parts)?;
    let mut tar = scene.plain(&key)?.to_vec();
    append(&mut tar, Tar::new(false).file("backup_label", &label));
    let expect = bad(scene, &backup, Claim::Backup, &[BackupLabel, BackupFiles, BackupTar]);
    Some(plain(expect, key, "backup_label is there twice", &tar))
}

/// The sentinel with another `expanded_size_bytes`.
fn sized(scene: &Scene, backup: &Base, change: impl FnOnce(u64) -> u64) -> Option<Vec<u8>> {
    let mut sentinel: serde_json::Value = serde_json::from_slice(scene.archive.get(&backup.sentinel)?).ok()?;
    let size = sentinel["expanded_size_bytes"].as_u64()?;
    sentinel["expanded_size_bytes"] = change(size).into();
    serde_json::to_vec(&sentinel).ok()
}

fn control(scene: &Scene, rng: &mut Rng) -> Option<(Base, String, Vec<u8>, TarMember)> {
    let backup = any(scene, rng)?;
    let (key, tar, member) = with_member(scene, &backup, rng, |member, _| member.name == "global/pg_control")?;
    Some((backup, key, tar, member))
}

fn control_missing(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, mut tar, member) = control(scene, rng)?;
    let size = member.data.len() as u64;
    tar.drain(member.whole);
    let sentinel = sized(scene, &backup, |bytes| bytes - size)?;
    let made =
        plain(bad(scene, &backup, Claim::Backup, &[BackupControl, BackupFiles]), key, "pg_control is gone", &tar);
    Some(made.put(backup.sentinel, sentinel))
}

fn control_flipped(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, mut tar, member) = control(scene, rng)?;
    tar[member.data.start + rng.usize(..240)] ^= 1 << rng.u32(..8);
    Some(plain(bad(scene, &backup, Claim::Backup, &[BackupControl]), key, "a bit of pg_control is flipped", &tar))
}

/// Offset of the CRC, by control version. Source: PostgreSQL `src/include/catalog/pg_control.h` of each version.
fn crc_offset(control: &[u8]) -> usize {
    match raw::u32_at(control, 8) {
        ..=960 => 256,
        1100 => 280,
        1800.. => 292,
        _ => 288,
    }
}

fn control_of_another_cluster(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, key, mut tar, member) = control(scene, rng)?;
    let bytes = tar.get_mut(member.data)?;
    bytes[0] ^= rng.u8(1..);
    let place = crc_offset(bytes);
    let crc = crc32c::crc32c(&bytes[..place]);
    bytes[place..place + 4].copy_from_slice(&crc.to_le_bytes());
    let expect = bad(scene, &backup, Claim::Backup, &[BackupControl]).also(&[ArchiveClusters]);
    Some(plain(expect, key, "pg_control is another cluster's", &tar))
}

fn sentinel_bad(scene: &Scene, rng: &mut Rng, what: &str, bytes: Vec<u8>) -> Option<Made> {
    let backup = any(scene, rng)?;
    let expect = bad(scene, &backup, Claim::Names, &[BackupSentinel]).also(&[BackupUnfinished]);
    Some(Made::new(format!("the sentinel of {} {what}", backup.name), expect).put(backup.sentinel, bytes))
}

fn sentinel_garbage(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let garbage: Vec<Vec<u8>> = vec![
        b"<html>".to_vec(),
        b"{\"wal_segment_backup_stop\": \"0000".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        vec![0; 200],
        std::iter::repeat_with(|| rng.u8(..)).take(150).collect(),
    ];
    let bytes = pick(rng, &garbage)?;
    sentinel_bad(scene, rng, "is garbage", bytes)
}

fn sentinel_empty(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    sentinel_bad(scene, rng, "is empty", Vec::new())
}

fn sentinel_missing(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = any(scene, rng)?;
    let hurt = scene.model.backup_breaks(&backup);
    // It may just be under way.
    let hurt = super::Hurt { worst: (Severity::Harmless, Severity::Critical), certainly: Vec::new(), ..hurt };
    let follows = &[BackupNone, BackupStale, WindowShort, TimelineStray, TimelineOther];
    let expect = Expect::new(Claim::Names, &[BackupUnfinished, BackupNone], hurt).also(follows);
    Some(Made::new(format!("the sentinel of {} is gone", backup.name), expect).remove(backup.sentinel))
}

fn sentinel_of_another(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = any(scene, rng)?;
    let others: Vec<Base> = scene.model.backups.iter().filter(|other| other.name != backup.name).cloned().collect();
    let other = pick(rng, &others)?;
    let bytes = scene.archive.get(&other.sentinel)?.clone();
    let codes = &[BackupSentinel, BackupFiles, BackupLabel, BackupWal];
    let expect = bad(scene, &backup, Claim::Backup, codes);
    Some(Made::new(format!("{} has the sentinel of {}", backup.name, other.name), expect).put(backup.sentinel, bytes))
}

fn size_edited(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = any(scene, rng)?;
    // Files that vanish while they are read make it smaller; so more than a few pages, or more than it says.
    let bytes = sized(scene, &backup, |size| if rng.bool() { size / 2 } else { 1000 })?;
    let expect = bad(scene, &backup, Claim::Backup, &[BackupFiles]);
    let expect = Expect { worst: (Severity::Warning, Severity::Critical), ..expect };
    Some(Made::new(format!("the sentinel of {} says another size", backup.name), expect).put(backup.sentinel, bytes))
}

/// One more, that failed long ago.
fn unfinished(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let (backup, _, bytes) = a_part(scene, rng)?;
    let name = format!("{}{:08}", backup.name.get(..30)?, 4096 + 8 * rng.u32(..1000));
    let key = format!("basebackups_005/{name}/tar_partitions/part_00000000.tar.lzo");
    let hurt = super::Hurt { worst: (Severity::Harmless, Severity::Warning), ..Model::nothing() };
    let hurt = super::Hurt { perhaps: vec![name.clone()], ..hurt };
    let expect = Expect::new(Claim::Names, &[BackupUnfinished], hurt);
    Some(Made::new(format!("{name} was never finished"), expect).put(key, bytes))
}

fn version_file_missing(scene: &Scene, rng: &mut Rng) -> Option<Made> {
    let backup = any(scene, rng)?;
    let key = format!("basebackups_005/{}/extended_version.txt", backup.name);
    scene.archive.get(&key)?;
    Some(Made::new(format!("{key} is gone"), Expect::nothing()).remove(key))
}
