//! Honest backups are good, real ones and forged; each damage is named once, with what it breaks; nothing that could not
//! be read is called good.

use super::*;
use crate::proof::survey;
use crate::storage::local::LocalStore;
use crate::storage::memory::MemoryStore;
use crate::testing::backup::{CONTROL, CONTROL_SHUT_DOWN, control_with, page};
use crate::testing::damage::{Archive, Claim, Kind as DamageKind, Scene};
use crate::testing::faulty::{Fault as StoreFault, FaultPlan, FaultyStore, hasty};
use crate::testing::forge::{Shape, Wal as ForgedWal};
use crate::testing::lzop::lzop;
use crate::testing::tar::Tar;
use expect_test::{Expect, expect};
use std::path::Path;

const EFFORT: Effort = Effort { workers: 2, cores: 2 };
/// The segment of 2 MiB that holds 0/3000028.
const SEGMENT: &str = "000000010000000000000018";
const START: u64 = 0x300_0028;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn prove(store: impl Store + 'static) -> Vec<BackupProof> {
    runtime().block_on(prove_all(Arc::new(store))).expect("surveyed")
}

async fn prove_all(store: Arc<dyn Store>) -> crate::error::Answer<Vec<BackupProof>> {
    let survey = survey::scan(&*store).await?;
    let mut proofs = Vec::new();
    for facts in &survey.backups {
        proofs.push(verify(Arc::clone(&store), &survey, facts, EFFORT, Arc::new(|_| ())).await?);
    }
    Ok(proofs)
}

/// `word`, then a line for each defect.
fn show(proof: &BackupProof) -> String {
    let mut text = format!("{:?}\n", proof.word());
    for defect in &proof.defects {
        let object = defect.object.strip_prefix("memory:///").unwrap_or(&defect.object).replace("basebackups_005/", "");
        let lsn = defect.lsn.map(|lsn| format!(" at {lsn}")).unwrap_or_default();
        text += &format!("{} {:?}{lsn} | {object} | {}\n", defect.code, defect.breaks, defect.what);
    }
    text
}

/// An online backup of two partitions, and the WAL it needs.
struct Case {
    /// Members of each partition, by path.
    parts: Vec<Vec<(String, Vec<u8>)>>,
    /// What is logged between the start and the end.
    log: Box<dyn Fn(&mut ForgedWal)>,
    /// Partitions as stored, changed.
    stored: Box<dyn Fn(usize, Vec<u8>) -> Vec<u8>>,
    /// Beside everything else.
    after: Box<dyn Fn(&MemoryStore)>,
    end: bool,
}

fn label() -> String {
    crate::testing::backup::label().replace("000000010000000000000003", SEGMENT)
}

fn name() -> String {
    format!("base_{SEGMENT}_00000040")
}

fn part(number: usize) -> String {
    format!("basebackups_005/{}/tar_partitions/part_{number:08}.tar.lzo", name())
}

impl Case {
    fn new() -> Case {
        let file = |path: &str, bytes: &[u8]| (path.to_owned(), bytes.to_vec());
        let pages = [page(0, 0x100), page(1, 0x200), [0; pages::PAGE], page(3, START + 0x100)].concat();
        let first = vec![
            file("PG_VERSION", b"13\n"),
            file("backup_label", label().as_bytes()),
            file("global/pg_control", CONTROL),
            file("global/pg_filenode.map", &[1; 512]),
            file("pg_xact/0000", &[0; 8192]),
        ];
        let second = vec![
            file("base/1/PG_VERSION", b"13\n"),
            file("base/1/pg_filenode.map", &[2; 512]),
            file("base/1/16385", &pages),
        ];
        Case {
            parts: vec![first, second],
            log: Box::new(|_| ()),
            stored: Box::new(|_, bytes| bytes),
            after: Box::new(|_| ()),
            end: true,
        }
    }

    fn file(&mut self, path: &str) -> &mut Vec<u8> {
        let mut all = self.parts.iter_mut().flatten();
        &mut all.find(|(name, _)| name == path).expect("a file of the case").1
    }

    fn store(&self) -> MemoryStore {
        let store = MemoryStore::new();
        let mut sum = 0;
        for (number, members) in self.parts.iter().enumerate() {
            let mut tar = Tar::new(true);
            for (path, bytes) in members {
                sum += bytes.len();
                tar = tar.file(path, bytes);
            }
            store.insert(&part(number), (self.stored)(number, lzop(&tar.finish())));
        }
        let shape = Shape {
            magic: 0xD106,
            size: crate::pg::SegmentSize::new(2 << 20).expect("a size"),
            page_size: 8192,
            system: SystemId(7_710_550_641_332_579_099),
        };
        let mut wal =
            ForgedWal::new(shape, SEGMENT.parse::<SegmentName>().expect("a name").timeline(), crate::pg::SegmentNo(24));
        wal.data(10, 0, 7, &[1; 1000]);
        (self.log)(&mut wal);
        if self.end {
            wal.data(0, 0x50, 0, &START.to_le_bytes());
        }
        let stop = wal.position();
        wal.commit(8, 1);
        wal.switch();
        wal.data(10, 0, 7, &[1; 100]);
        wal.switch();
        for (name, bytes) in wal.segments() {
            store.insert(&format!("wal_005/{name}.lzo"), lzop(&bytes));
        }
        let sentinel = format!(
            r#"{{"wal_segment_backup_stop": "{SEGMENT}", "wal_segment_offset_backup_stop": "{:08}", "expanded_size_bytes": {sum}, "spec": {{"base_prefix": "/pg/", "tablespaces": []}}}}"#,
            stop.0 % (2 << 20)
        );
        store.insert(&format!("basebackups_005/{}_backup_stop_sentinel.json", name()), sentinel);
        store.insert(&format!("basebackups_005/{}/extended_version.txt", name()), "PostgreSQL 13.23 on x86_64");
        (self.after)(&store);
        store
    }
}

fn check(edit: impl FnOnce(&mut Case), expected: Expect) {
    let mut case = Case::new();
    edit(&mut case);
    let proofs = prove(case.store());
    assert_eq!(proofs.len(), 1);
    expected.assert_eq(&show(&proofs[0]));
}

/// A full-page image of a page of the default tablespace, in the form of version 13.
fn image(wal: &mut ForgedWal, database: u32, relation: u32, fork: u8, block: u32) {
    let mut body = vec![0, 0x10 | fork, 0, 0];
    body.extend(8192_u16.to_le_bytes());
    body.extend([0, 0, 0x04]);
    for number in [1663, database, relation, block] {
        body.extend(number.to_le_bytes());
    }
    body.extend([7; 8192]);
    wal.record(0, 0xB0, 0, &body);
}

#[test]
fn real_backups_are_good() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/archive/wal-e-pg13");
    for proof in prove(LocalStore::new(path)) {
        assert_eq!(proof.defects, [], "{}", proof.found.name);
        expect![[r#"
            Found {
                name: "base_000000010000000000000003_00000040",
                parts: 1,
                good_parts: 1,
                stored_bytes: 4744067,
                plain_bytes: 26132480,
                files: 942,
                file_bytes: 24638459,
                expanded_bytes: Some(
                    24638459,
                ),
                system: Some(
                    SystemId(
                        7710553512918031522,
                    ),
                ),
                version: Some(
                    "13",
                ),
                offline: false,
                standby: false,
                start: Some(
                    0/3000028,
                ),
                consistent: Some(
                    0/3000100,
                ),
                pages: Pages {
                    seen: 2981,
                    checksums: Some(
                        false,
                    ),
                    torn: 0,
                    damaged: 0,
                    undecided: 0,
                },
                wal: WalNeed {
                    first: Some(
                        "000000010000000000000003",
                    ),
                    last: Some(
                        "000000010000000000000003",
                    ),
                    segments: 1,
                    stored_bytes: 76687,
                },
                remarks: [
                    "The cluster keeps no page checksums, so its pages could not be proven.",
                ],
            }
        "#]]
        .assert_debug_eq(&proof.found);
    }
}

#[test]
fn a_forged_backup_is_good_and_says_what_it_holds() {
    let proof = prove(Case::new().store()).remove(0);
    assert_eq!(show(&proof), "Good\n");
    expect![[r#"
        Found {
            name: "base_000000010000000000000018_00000040",
            parts: 2,
            good_parts: 2,
            stored_bytes: 1391,
            plain_bytes: 61440,
            files: 8,
            file_bytes: 42746,
            expanded_bytes: Some(
                42746,
            ),
            system: Some(
                SystemId(
                    7710550641332579099,
                ),
            ),
            version: Some(
                "13",
            ),
            offline: false,
            standby: false,
            start: Some(
                0/3000028,
            ),
            consistent: Some(
                0/3000458,
            ),
            pages: Pages {
                seen: 4,
                checksums: Some(
                    true,
                ),
                torn: 0,
                damaged: 0,
                undecided: 0,
            },
            wal: WalNeed {
                first: Some(
                    "000000010000000000000018",
                ),
                last: Some(
                    "000000010000000000000018",
                ),
                segments: 1,
                stored_bytes: 9727,
            },
            remarks: [],
        }
    "#]]
    .assert_debug_eq(&proof.found);
}

#[test]
fn partitions() {
    let stored = |number: usize, change: fn(Vec<u8>) -> Vec<u8>| {
        move |case: &mut Case| {
            case.stored = Box::new(move |at, bytes| if at == number { change(bytes) } else { bytes });
        }
    };
    check(
        stored(1, |_| Vec::new()),
        expect![[r#"
        Damaged
        backup.part Backup | base_000000010000000000000018_00000040/tar_partitions/part_00000001.tar.lzo | it has no bytes
    "#]],
    );
    check(
        stored(1, |mut bytes| bytes.split_off(0).into_iter().take(100).collect()),
        expect![[r#"
        Damaged
        backup.part Backup | base_000000010000000000000018_00000040/tar_partitions/part_00000001.tar.lzo | the object is cut short: file ends in the data of a block at byte 100
    "#]],
    );
    check(
        stored(0, |mut bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            bytes
        }),
        expect![[r#"
            Damaged
            backup.part Backup | base_000000010000000000000018_00000040/tar_partitions/part_00000000.tar.lzo | the object does not decode: block: Adler-32 is b7ee320e, computed cc5a321e at byte 50
        "#]],
    );
    check(
        stored(0, |_| b"<html>502 Bad Gateway</html> and so on and so forth".to_vec()),
        expect![[r#"
        Damaged
        backup.part Backup | base_000000010000000000000018_00000040/tar_partitions/part_00000000.tar.lzo | its name ends in .lzo, but it is an HTML page
    "#]],
    );
    check(
        stored(0, |_| [&b"Salted__"[..], &[9; 500]].concat()),
        expect![[r#"
        Unknown
        backup.unread Unknown | base_000000010000000000000018_00000040/tar_partitions/part_00000000.tar.lzo | its name ends in .lzo, but it is a file encrypted by openssl
    "#]],
    );
    check(
        stored(1, |_| lzop(b"no tar at all, but whole".repeat(100).as_slice())),
        expect![[r#"
        Damaged
        backup.tar Backup | base_000000010000000000000018_00000040/tar_partitions/part_00000001.tar.lzo | the partition is no whole tar archive: a block that is no header at byte 0 of the tar stream
    "#]],
    );
    check(
        stored(1, |_| lzop(&[])),
        expect![[r#"
        Damaged
        backup.tar Backup | base_000000010000000000000018_00000040/tar_partitions/part_00000001.tar.lzo | the partition is no whole tar archive: the archive ends without its end mark at byte 0 of the tar stream
    "#]],
    );
    // Each is named, and neither hides the other.
    check(
        |case| case.stored = Box::new(|_, bytes| bytes.into_iter().take(200).collect()),
        expect![[r#"
        Damaged
        backup.part Backup | base_000000010000000000000018_00000040/tar_partitions/part_00000000.tar.lzo | the object is cut short: file ends in the data of a block at byte 200
        backup.part Backup | base_000000010000000000000018_00000040/tar_partitions/part_00000001.tar.lzo | the object is cut short: file ends in the data of a block at byte 200
    "#]],
    );
    check(
        |case| case.after = Box::new(|store| assert!(store.remove(&part(0)))),
        expect![[r#"
        Damaged
        backup.part Backup | base_000000010000000000000018_00000040/tar_partitions/ | partitions are missing: 0
    "#]],
    );
    // Missing at the end: only what it held shows it.
    check(
        |case| case.after = Box::new(|store| assert!(store.remove(&part(1)))),
        expect![[r#"
            Damaged
            backup.files Backup | base_000000010000000000000018_00000040/ | no partition holds base/ with a database, without which there is no cluster
            backup.files Nothing | base_000000010000000000000018_00000040/ | its partitions hold 33283 bytes fewer than its sentinel counts: files vanished while it was taken, which replay makes good
        "#]],
    );
    check(
        |case| {
            case.after = Box::new(|store| {
                store.insert(&part(0).replace("part_00000000", "part_0"), lzop(&Tar::new(true).finish()));
            });
        },
        expect![[r#"
            Damaged
            backup.part Backup | base_000000010000000000000018_00000040/tar_partitions/ | partition 0 is there twice: basebackups_005/base_000000010000000000000018_00000040/tar_partitions/part_0.tar.lzo and basebackups_005/base_000000010000000000000018_00000040/tar_partitions/part_00000000.tar.lzo
        "#]],
    );
}

#[test]
fn members() {
    let hostile = |tar: fn(Tar) -> Tar| {
        move |case: &mut Case| {
            case.after = Box::new(move |store| store.insert(&part(2), lzop(&tar(Tar::new(true)).finish())));
        }
    };
    check(
        hostile(|tar| tar.file("../evil", b"x").file("/etc/passwd", b"y").other("dev", b'3')),
        expect![[r#"
        Damaged
        backup.tar Backup | base_000000010000000000000018_00000040/tar_partitions/part_00000002.tar.lzo | ../evil: the member is refused: its name has a part `..`
        backup.tar Backup | base_000000010000000000000018_00000040/tar_partitions/part_00000002.tar.lzo | /etc/passwd: the member is refused: its name is absolute
        backup.tar Backup | base_000000010000000000000018_00000040/tar_partitions/part_00000002.tar.lzo | dev: the member is refused: it is a device
        backup.files Backup | base_000000010000000000000018_00000040/ | its partitions hold 42748 bytes of files and its sentinel counts 42746: partitions of another backup are among them
    "#]],
    );
    check(
        hostile(|tar| tar.symlink("out", "/etc").file("out/passwd", b"")),
        expect![[r#"
        Damaged
        backup.tar Backup | base_000000010000000000000018_00000040/tar_partitions/part_00000002.tar.lzo | out/passwd: the member is refused: its path leads through the link `out`
    "#]],
    );
    check(
        hostile(|tar| tar.hard_link("a", "nowhere")),
        expect![[r#"
        Damaged
        backup.tar Backup | base_000000010000000000000018_00000040/ | a is another name of nowhere, which no partition holds
    "#]],
    );
    check(
        hostile(|tar| tar.file("pg_tblspc/16400/PG_13_202007201/1/2", b"")),
        expect![[r#"
        Damaged
        backup.files Backup | base_000000010000000000000018_00000040/ | it holds files of tablespace 16400, which neither its sentinel nor its tablespace_map names
    "#]],
    );
    // A file twice: partitions of two backups.
    check(
        |case| case.parts[1].push(("pg_xact/0000".to_owned(), vec![1; 8192])),
        expect![[r#"
            Damaged
            backup.files Backup | base_000000010000000000000018_00000040/ | it holds 1 file twice, so partitions of another backup are among them: pg_xact/0000
        "#]],
    );
    check(
        |case| {
            case.after = Box::new(|store| {
                let tar = Tar::new(true).file("base/1/99", &[1; 300]);
                store.insert(&part(2), lzop(&tar.finish()));
            });
        },
        expect![[r#"
            Damaged
            backup.files Backup | base_000000010000000000000018_00000040/ | its partitions hold 43046 bytes of files and its sentinel counts 42746: partitions of another backup are among them
            backup.torn Nothing | base_000000010000000000000018_00000040/ | 1 page torn: written while being copied, which replay makes good; base/1/99 block 0 for one
        "#]],
    );
}

#[test]
fn label_control_and_sentinel() {
    check(
        |case| *case.file("backup_label") = label().replace("3000028", "3000038").into_bytes(),
        expect![[r#"
        Damaged
        backup.label Backup | base_000000010000000000000018_00000040/ | its backup_label is another backup's: it starts at 0/3000038 (000000010000000000000018, offset 56)
        backup.wal Backup at 0/3400000 | 00000001000000000000001A | the WAL up to where it is said to have stopped does not end the backup, and 00000001000000000000001A is not there
    "#]],
    );
    check(
        |case| case.parts[0].retain(|(name, _)| name != "backup_label"),
        expect![[r#"
        Damaged
        backup.label Backup | base_000000010000000000000018_00000040/ | it has no backup_label, and its pg_control says that the cluster was running (InProduction): without the label recovery would start at the wrong place
    "#]],
    );
    check(
        |case| case.file("global/pg_control")[50] ^= 1,
        expect![[r#"
        Damaged
        backup.control Backup | base_000000010000000000000018_00000040/ | its global/pg_control is damaged: has checksum 9103958b, computed b0353d47
    "#]],
    );
    // Another cluster's, with a right CRC.
    check(
        |case| *case.file("global/pg_control") = control_with(&[(0, &[7; 8])]),
        expect![[r#"
        Damaged
        backup.control Backup | base_000000010000000000000018_00000040/ | it is of cluster 506381209866536711, and the archive says that it is of 7710550641332579099
        backup.wal Backup at 0/3000000 | wal_005/000000010000000000000018.lzo | WAL segment 000000010000000000000018: the segment is of the cluster with system identifier 7710550641332579099, not 506381209866536711, at 0/3000000 (byte 0)
    "#]],
    );
    check(
        |case| *case.file("PG_VERSION") = b"12\n".to_vec(),
        expect![[r#"
        Damaged
        backup.control Backup | base_000000010000000000000018_00000040/ | PG_VERSION says 12, and pg_control 13
    "#]],
    );
    check(
        |case| case.parts[0].retain(|(name, _)| !name.starts_with("pg_xact")),
        expect![[r#"
        Damaged
        backup.files Backup | base_000000010000000000000018_00000040/ | no partition holds pg_xact/, without which there is no cluster
    "#]],
    );
    let sentinel = |text: &'static str| {
        move |case: &mut Case| {
            case.after = Box::new(move |store| {
                store.insert(&format!("basebackups_005/{}_backup_stop_sentinel.json", name()), text);
            });
        }
    };
    check(
        sentinel("garbage"),
        expect![[r#"
            Damaged
            backup.sentinel Backup | base_000000010000000000000018_00000040_backup_stop_sentinel.json | it is no sentinel: not JSON: expected value at line 1 column 1
        "#]],
    );
    check(
        sentinel(
            r#"{"wal_segment_backup_stop": "000000010000000000000018", "wal_segment_offset_backup_stop": "00000999"}"#,
        ),
        expect![[r#"
            Damaged
            backup.sentinel Backup at 0/3000458 | base_000000010000000000000018_00000040_backup_stop_sentinel.json | it says that the backup stopped at 0/30003E7, and its end record in the WAL ends at 0/3000458: the sentinel is another backup's, or was edited
        "#]],
    );
    // An end before the start is none, for the survey.
    check(
        sentinel(
            r#"{"wal_segment_backup_stop": "000000010000000000000017", "wal_segment_offset_backup_stop": "00000999"}"#,
        ),
        expect![[r#"
            Damaged
            backup.sentinel Backup at 0/3000458 | base_000000010000000000000018_00000040_backup_stop_sentinel.json | it says that the backup stopped at 0/2E003E7, and its end record in the WAL ends at 0/3000458: the sentinel is another backup's, or was edited
        "#]],
    );
    check(
        |case| {
            case.after = Box::new(|store| {
                assert!(store.remove(&format!("basebackups_005/{}_backup_stop_sentinel.json", name())));
            });
        },
        expect![[r#"
            Unfinished
            backup.unfinished Backup | base_000000010000000000000018_00000040_backup_stop_sentinel.json | it has no sentinel
        "#]],
    );
}

#[test]
fn wal_it_needs() {
    let wal = format!("wal_005/{SEGMENT}.lzo");
    let key = wal.clone();
    check(
        move |case| case.after = Box::new(move |store| assert!(store.remove(&key))),
        expect![[r#"
        Damaged
        backup.wal Backup at 0/3000000 | 000000010000000000000018 | the segment 000000010000000000000018, which the backup needs to be consistent, is missing
    "#]],
    );
    check(
        |case| {
            case.after = Box::new(move |store| store.insert(&wal, lzop(b"no WAL")));
        },
        expect![[r#"
            Damaged
            backup.wal Backup at 0/3000000 | wal_005/000000010000000000000018.lzo | WAL segment 000000010000000000000018: it has only 6 bytes, at 0/3000000 (byte 0)
        "#]],
    );
    // A record is flipped between the start and the end.
    check(
        |case| {
            case.after = Box::new(|store| flip_in_wal(store, 0x200));
        },
        expect![[r#"
            Damaged
            backup.wal Backup at 0/3000028 | wal_005/000000010000000000000018.lzo | WAL segment 000000010000000000000018: the record's CRC is efc76f8d, computed 8113c95b, at 0/3000028 (byte 40)
        "#]],
    );
    // Behind the end: the backup is consistent, and replay stops soon after.
    check(
        |case| {
            case.after = Box::new(|store| flip_in_wal(store, 0x46c));
        },
        expect![[r#"
            Good
            segment.record Replay at 0/3000458 | wal_005/000000010000000000000018.lzo | WAL segment 000000010000000000000018: the record's CRC is 9d38bfdd, computed 9d38bf22, at 0/3000458 (byte 1112); the backup is consistent before that, and replay goes no further
        "#]],
    );
    check(
        |case| case.end = false,
        expect![[r#"
        Damaged
        backup.wal Backup at 0/3400000 | 00000001000000000000001A | the WAL up to where it is said to have stopped does not end the backup, and 00000001000000000000001A is not there
    "#]],
    );
}

/// Flips a byte of the plain segment at this offset.
fn flip_in_wal(store: &MemoryStore, offset: usize) {
    let key = format!("wal_005/{SEGMENT}.lzo");
    let bytes = runtime().block_on(scan::raw(store, &key.as_str().into(), 1 << 24)).expect("there");
    let mut decoder = crate::codec::lzo::LzopDecoder::new();
    let mut plain = crate::codec::decode_all(&mut decoder, &bytes, 1 << 24).expect("whole");
    plain[offset] ^= 0xFF;
    store.insert(&key, lzop(&plain));
}

#[test]
fn pages_torn_and_damaged() {
    let break_block = |case: &mut Case, block: usize| case.file("base/1/16385")[block * pages::PAGE + 8150] ^= 1;
    // Changed before the start, and no image: damage.
    check(
        |case| break_block(case, 1),
        expect![[r#"
        Damaged
        backup.page Rows at 0/200 | base_000000010000000000000018_00000040/ | relation file base/1/16385, block 1: checksum 7649, computed 4dd1, and no full-page image in the WAL replaces it
    "#]],
    );
    // Changed since: as long as the WAL has no image, this is damage as well.
    check(
        |case| break_block(case, 3),
        expect![[r#"
        Damaged
        backup.page Rows at 0/3000128 | base_000000010000000000000018_00000040/ | relation file base/1/16385, block 3: checksum fdb2, computed be47, and no full-page image in the WAL replaces it
    "#]],
    );
    check(
        |case| {
            break_block(case, 1);
            break_block(case, 3);
            case.log = Box::new(|wal| {
                image(wal, 1, 16385, 0, 1);
                image(wal, 1, 16385, 0, 3);
            });
        },
        expect![[r#"
            Good
            backup.torn Nothing | base_000000010000000000000018_00000040/ | 2 pages torn: written while being copied, which replay makes good; base/1/16385 block 1 for one
        "#]],
    );
    // Images of another block, fork, relation or database do not count.
    check(
        |case| {
            break_block(case, 1);
            case.log = Box::new(|wal| {
                image(wal, 1, 16385, 0, 2);
                image(wal, 1, 16385, 1, 1);
                image(wal, 1, 16386, 0, 1);
                image(wal, 2, 16385, 0, 1);
            });
        },
        expect![[r#"
            Damaged
            backup.page Rows at 0/200 | base_000000010000000000000018_00000040/ | relation file base/1/16385, block 1: checksum 7649, computed 4dd1, and no full-page image in the WAL replaces it
        "#]],
    );
    // A database that is copied anew.
    check(
        |case| {
            break_block(case, 1);
            case.log = Box::new(|wal| {
                let ints = [1, 1663, 2, 1663].map(u32::to_le_bytes).concat();
                wal.data(4, 0, 7, &ints);
            });
        },
        expect![[r#"
            Good
            backup.torn Nothing | base_000000010000000000000018_00000040/ | 1 page torn: written while being copied, which replay makes good; base/1/16385 block 1 for one
        "#]],
    );
    // Unlogged: made anew from its init fork.
    check(
        |case| {
            break_block(case, 1);
            case.parts[0].push(("base/1/16385_init".to_owned(), page(0, 0x100).to_vec()));
        },
        expect![[r#"
            Good
            backup.torn Nothing | base_000000010000000000000018_00000040/ | 1 page torn: written while being copied, which replay makes good; base/1/16385 block 1 for one
        "#]],
    );
    // A map of free space is made anew without a word.
    check(
        |case| {
            let mut broken = page(0, 0x100);
            broken[8000] ^= 1;
            case.parts[0].push(("base/1/16385_fsm".to_owned(), broken.to_vec()));
        },
        expect![[r#"
            Good
            backup.page Nothing at 0/100 | base_000000010000000000000018_00000040/ | relation file base/1/16385_fsm, block 0: checksum 9625, computed 42af, and no full-page image in the WAL replaces it; the server makes such pages anew
        "#]],
    );
    // The file grew while it was read.
    check(
        |case| case.file("base/1/16385").extend([7; 100]),
        expect![[r#"
            Good
            backup.torn Nothing | base_000000010000000000000018_00000040/ | 1 page torn: written while being copied, which replay makes good; base/1/16385 block 4 for one
        "#]],
    );
    // New pages are empty.
    check(
        |case| case.file("base/1/16385")[2 * pages::PAGE + 100] = 1,
        expect![[r#"
        Damaged
        backup.page Rows at 0/0 | base_000000010000000000000018_00000040/ | relation file base/1/16385, block 2: marked as new, and not empty, and no full-page image in the WAL replaces it
    "#]],
    );
    // The WAL cannot be read: nobody knows.
    check(
        |case| {
            break_block(case, 1);
            case.after = Box::new(|store| assert!(store.remove(&format!("wal_005/{SEGMENT}.lzo"))));
        },
        expect![[r#"
            Damaged
            backup.wal Backup at 0/3000000 | 000000010000000000000018 | the segment 000000010000000000000018, which the backup needs to be consistent, is missing
            backup.unread Unknown | base_000000010000000000000018_00000040/ | 1 page with a wrong checksum, and nobody knows whether replay makes that good, because the WAL to consistency could not be read; base/1/16385 block 1 for one
        "#]],
    );
    // Changed after the backup's end: from another time.
    check(
        |case| case.file("base/1/16385")[pages::PAGE..2 * pages::PAGE].copy_from_slice(&page(1, 0x400_0000)),
        expect![[r#"
            Damaged
            backup.page Rows at 0/4000000 | base_000000010000000000000018_00000040/ | base/1/16385 block 1 was changed last at 0/4000000, and the backup ended at 0/3000458: it is from another backup or another cluster
        "#]],
    );
    // Many: one finding.
    check(
        |case| {
            let file: Vec<u8> = (0..30).flat_map(|block| page(block + 1, 0x100)).collect();
            *case.file("base/1/16385") = file;
        },
        expect![[r#"
            Damaged
            backup.page Rows at 0/100 | base_000000010000000000000018_00000040/ | relation file base/1/16385, block 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 20 more: checksum 9626, computed 9625, and no full-page image in the WAL replaces it
        "#]],
    );
    // No checksums: nothing to say, and that is said.
    let mut case = Case::new();
    *case.file("global/pg_control") = control_with(&[(252, &[0; 4])]);
    break_block(&mut case, 1);
    let proof = prove(case.store()).remove(0);
    assert_eq!(show(&proof), "Good\n");
    assert!(proof.found.remarks.iter().any(|remark| remark.contains("no page checksums")), "{:?}", proof.found);
}

#[test]
fn more_wrong_pages_than_are_kept_are_not_called_good() {
    let mut case = Case::new();
    let file: Vec<u8> = (0..1100).flat_map(|block| page(block + 1, 0x100)).collect();
    *case.file("base/1/16385") = file;
    let proof = prove(case.store()).remove(0);
    assert_eq!((proof.found.pages.damaged, proof.found.pages.undecided), (1000, 100));
    assert_eq!(proof.word(), Word::Damaged);
}

/// Taken on a standby there is no record of its end: pg_control says how far replay must come, and it was in recovery then.
#[test]
fn a_backup_of_a_standby() {
    let standby = |state: u32, min_recovery: u64| {
        move |case: &mut Case| {
            let label = String::from_utf8(case.file("backup_label").clone()).expect("text");
            *case.file("backup_label") = label.replace("BACKUP FROM: master", "BACKUP FROM: standby").into_bytes();
            *case.file("global/pg_control") =
                control_with(&[(16, &state.to_le_bytes()), (136, &min_recovery.to_le_bytes())]);
            case.end = false;
            case.log = Box::new(|wal| {
                wal.data(10, 0, 7, &[2; 1000]);
            });
        }
    };
    const IN_ARCHIVE_RECOVERY: u32 = 5;
    let mut case = Case::new();
    standby(IN_ARCHIVE_RECOVERY, START + 0x500)(&mut case);
    let proof = prove(case.store()).remove(0);
    assert_eq!(show(&proof), "Good\n");
    assert!(proof.found.standby && proof.found.consistent >= Some(Lsn(START + 0x500)), "{:?}", proof.found);
    // Further than the WAL that is there.
    check(
        standby(IN_ARCHIVE_RECOVERY, START + (8 << 20)),
        expect![[r#"
        Damaged
        backup.wal Backup at 0/3400000 | 00000001000000000000001A | the WAL up to where it is said to have stopped does not end the backup, and 00000001000000000000001A is not there
    "#]],
    );
    // A primary's pg_control: the server refuses it.
    const IN_PRODUCTION: u32 = 6;
    check(
        standby(IN_PRODUCTION, START + 0x500),
        expect![[r#"
            Damaged
            backup.control Backup | base_000000010000000000000018_00000040/ | its backup_label says that it was taken on a standby, and its pg_control was no standby's (InProduction): the server refuses it
        "#]],
    );
}

#[test]
fn a_backup_of_a_stopped_server() {
    let control = ControlFile::parse(CONTROL_SHUT_DOWN).expect("a real one");
    let mut case = Case::new();
    *case.file("global/pg_control") = CONTROL_SHUT_DOWN.to_vec();
    case.parts[0].retain(|(name, _)| name != "backup_label");
    *case.file("base/1/16385") = page(0, 0x100).to_vec();
    let proof = prove(case.store()).remove(0);
    assert!(proof.found.offline);
    // The segment of its checkpoint is nowhere.
    let needed =
        control.redo.segment(control.segment_size).name(control.timeline, control.segment_size).expect("a name");
    assert_eq!(proof.word(), Word::Damaged);
    assert_eq!(proof.defects.len(), 1, "{:?}", proof.defects);
    assert!(proof.defects[0].what.contains(&format!("{needed}, which the backup needs")), "{:?}", proof.defects);
    // It lies in the partitions, as old WAL-E's stored it.
    case.parts[0].push((format!("pg_wal/{needed}"), vec![0; 100]));
    let proof = prove(case.store()).remove(0);
    assert_eq!(show(&proof), "Good\n");
    assert!(proof.found.remarks.iter().any(|remark| remark.contains("lies in its partitions")), "{:?}", proof.found);
}

/// WAL-G's form: rooted names, pg_control and label apart, a list of files.
fn wal_g(suffix: &str) -> MemoryStore {
    let from = Case::new();
    let store = MemoryStore::new();
    let wal = from.store();
    let name = format!("base_{SEGMENT}");
    let put = |key: &str, bytes: Vec<u8>| store.insert(&format!("basebackups_005/{name}{key}"), bytes);
    let mut tars = [Tar::new(false), Tar::new(false), Tar::new(false)];
    let mut listed = Vec::new();
    for (path, bytes) in from.parts.iter().flatten() {
        let at = match path.as_str() {
            "global/pg_control" => 1,
            "backup_label" => 2,
            _ => 0,
        };
        let path = if at == 2 { path.clone() } else { format!("/{path}") };
        if at == 0 {
            listed.push(format!(r#""{path}": {{"IsSkipped": false, "IsIncremented": false}}"#));
        }
        tars[at] = tars[at].clone().file(&path, bytes);
    }
    for (part, tar) in ["part_001", "pg_control", "backup_label"].iter().zip(&tars) {
        put(&format!("/tar_partitions/{part}.tar{suffix}"), tar.finish());
    }
    let files = format!(
        r#"{{"Files": {{{}, "/base/1": {{"IsSkipped": true}}}}, "TarFileSets": {{"part_001.tar{suffix}": ["x"]}}, "DatabasesByNames": {{}}}}"#,
        listed.join(", ")
    );
    put("/files_metadata.json", files.into_bytes());
    let sentinel = format!(
        r#"{{"LSN": {START}, "FinishLSN": null, "PgVersion": 130023, "SystemIdentifier": 7710550641332579099, "UncompressedSize": 1, "Version": 2}}"#
    );
    put("_backup_stop_sentinel.json", sentinel.into_bytes());
    let runtime = runtime();
    for segment in [SEGMENT.to_owned(), SEGMENT.replace("18", "19")] {
        let key = format!("wal_005/{segment}.lzo");
        let bytes = runtime.block_on(scan::raw(&wal, &key.as_str().into(), 1 << 24)).expect("there");
        store.insert(&key, bytes);
    }
    store
}

#[test]
fn wal_gs_backups_as_far_as_their_codec_is_built_in() {
    let check = |store: MemoryStore, expected: Expect| expected.assert_eq(&show(&prove(store)[0]));
    let folder = format!("basebackups_005/base_{SEGMENT}");
    check(
        wal_g(""),
        expect![[r#"
        Good
    "#]],
    );
    check(
        wal_g(".lz4"),
        expect![[r#"
            Unknown
            backup.unread Unknown | base_000000010000000000000018/tar_partitions/backup_label.tar.lz4 | 3 partitions stored as .lz4, which this build cannot decode
        "#]],
    );
    let store = wal_g("");
    assert!(store.remove(&format!("{folder}/tar_partitions/part_001.tar")));
    store.insert(&format!("{folder}/tar_partitions/part_002.tar"), Tar::new(false).finish());
    check(
        store,
        expect![[r#"
            Damaged
            backup.part Backup | base_000000010000000000000018/files_metadata.json | archives that it lists are missing: part_001.tar
        "#]],
    );
    let store = wal_g("");
    store.insert(
        &format!("{folder}/files_metadata.json"),
        r#"{"Files": {"/base/1/lost": {"IsSkipped": false}, "/base/1/kept": {"IsSkipped": true}}, "TarFileSets": null}"#,
    );
    check(
        store,
        expect![[r#"
            Damaged
            backup.files Backup | base_000000010000000000000018/files_metadata.json | in no partition, and it lists 1 file: /base/1/lost
        "#]],
    );
    let store = wal_g("");
    store.insert(&format!("{folder}/files_metadata.json"), r#"{"Files": {"/base/1/lost"#);
    check(
        store,
        expect![[r#"
        Damaged
        backup.files Backup | base_000000010000000000000018/files_metadata.json | it is no list of files: EOF while parsing a string at line 1 column 24
    "#]],
    );
    let store = wal_g("");
    assert!(store.remove(&format!("{folder}/tar_partitions/pg_control.tar")));
    check(
        store,
        expect![[r#"
        Damaged
        backup.part Backup | base_000000010000000000000018/tar_partitions/ | its pg_control.tar is missing
    "#]],
    );
}

#[test]
fn a_proof_survives_its_ledger_and_its_fingerprint_knows_every_object() {
    let mut case = Case::new();
    case.file("base/1/16385")[pages::PAGE + 8150] ^= 1;
    let proof = prove(case.store()).remove(0);
    let text = serde_json::to_string(&proof).expect("JSON");
    let back: BackupProof = serde_json::from_str(&text).expect("the same");
    assert_eq!((back.found, &back.defects), (proof.found, &proof.defects));

    let print = |store: MemoryStore| {
        runtime().block_on(async {
            let survey = survey::scan(&store).await.expect("surveyed");
            fingerprint(&store, &survey, &survey.backups[0]).await.expect("listed")
        })
    };
    let base = print(case.store());
    assert_eq!(base, print(case.store()));
    let changes: [&dyn Fn(&MemoryStore); 4] = [
        &|store| store.insert(&part(1), lzop(b"another")),
        &|store| assert!(store.remove(&part(1))),
        &|store| store.insert(&format!("wal_005/{SEGMENT}.lzo"), lzop(b"another")),
        &|store| store.insert(&format!("basebackups_005/{}/extended_version.txt", name()), "PostgreSQL 14.1"),
    ];
    for (index, change) in changes.iter().enumerate() {
        let store = case.store();
        change(&store);
        assert_ne!(print(store), base, "{index}");
    }
}

/// A store in trouble never makes a bad backup good, nor an honest one bad where it only did not answer.
#[test]
fn every_storage_call_fails_once_with_everything() {
    let runtime = runtime();
    let mut bad = Case::new();
    bad.file("base/1/16385")[pages::PAGE + 8150] ^= 1;
    for (case, honest) in [(Case::new(), true), (bad, false)] {
        let store: Arc<dyn Store> = Arc::new(case.store());
        let calls = {
            let faulty = FaultyStore::new(Arc::clone(&store), FaultPlan::none());
            let counted: Arc<dyn Store> = Arc::new(faulty.clone());
            runtime.block_on(prove_all(counted)).expect("surveyed");
            faulty.calls_made()
        };
        assert!(calls > 8, "{calls}");
        for call in 0..calls {
            for fault in StoreFault::all(1000) {
                let faulty = FaultyStore::new(Arc::clone(&store), FaultPlan::nth(call, fault));
                let retrying = crate::storage::retry::Retrying::new(Arc::new(faulty), hasty());
                // Given up when the store hangs: that is the caller's deadline.
                let proving = prove_all(Arc::new(retrying));
                let patience = std::time::Duration::from_secs(20);
                let proofs = runtime.block_on(async { tokio::time::timeout(patience, proving).await });
                let Ok(Ok(proofs)) = proofs else { continue };
                let Some(proof) = proofs.first() else { continue };
                let word = proof.word();
                if honest && matches!(fault, StoreFault::Error(_) | StoreFault::Hang | StoreFault::StallAt(_)) {
                    assert_ne!(word, Word::Damaged, "call {call} {fault:?}: {}", show(proof));
                }
                if !honest {
                    assert_ne!(word, Word::Good, "call {call} {fault:?}: {}", show(proof));
                }
            }
        }
    }
}

/// The damage kit over the bundled archive: what is claimed of a proof by content is found.
#[test]
fn the_damage_kit_is_found() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/archive/wal-e-pg13");
    let scene = Scene::new(Archive::read(&path).expect("the archive")).expect("a scene");
    let mut missed = Vec::new();
    let mut seen = 0;
    for kind in DamageKind::all().filter(|kind| kind.name.starts_with("backup-")) {
        for seed in 0..2 {
            let Some(damage) = kind.damage(&scene, seed) else { continue };
            seen += 1;
            let proofs = prove(scene.archive.damaged(&damage).store());
            let codes: Vec<FindingCode> = proofs
                .iter()
                .flat_map(|proof| &proof.defects)
                // A member that is gone looks like a file that vanished while the backup was taken.
                .filter(|defect| defect.breaks != Breaks::Nothing || kind.name == "backup-member-missing")
                .map(|defect| defect.code)
                .collect();
            let found = codes.iter().any(|code| damage.expect.codes.contains(code));
            let nobody = damage.expect.claim == Claim::Nobody || damage.expect.codes.is_empty();
            if nobody != codes.is_empty() && !found {
                missed.push(format!(
                    "{} {seed}: {} wants {:?}, got {codes:?}",
                    kind.name, damage.what, damage.expect.codes
                ));
            }
        }
    }
    assert!(seen > 40, "{seen}");
    assert_eq!(missed, Vec::<String>::new());
}
