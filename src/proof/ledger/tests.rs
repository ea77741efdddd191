use super::*;
use crate::pg::Lsn;
use crate::proof::facts::Times;
use crate::testing::forge::{Shape, Wal};
use crate::wal::record::PgTime;
use crate::wal::segment::{Expect, SegmentCheck};
use proptest::prelude::*;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const ARCHIVE: Identity<'static> =
    Identity { url: "file:///archive/", system: Some(SystemId(u64::MAX)), size: SegmentSize::MIN };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("ledger.sqlite")
    }

    fn open_at(&self, seconds: i64) -> Ledger {
        Ledger::open(&self.path(), &ARCHIVE, "audit", at(seconds)).unwrap()
    }

    fn ask(&self, sql: &str) -> String {
        let db = Connection::open(self.path()).unwrap();
        let mut ask = db.prepare(sql).unwrap();
        let columns = ask.column_count();
        let mut rows = ask.query([]).unwrap();
        let mut text = String::new();
        while let Some(row) = rows.next().unwrap() {
            let cells = (0..columns).map(|column| match row.get::<_, rusqlite::types::Value>(column).unwrap() {
                rusqlite::types::Value::Null => "-".to_owned(),
                rusqlite::types::Value::Integer(number) => number.to_string(),
                rusqlite::types::Value::Text(text) => text,
                other => format!("{other:?}"),
            });
            text += &(cells.collect::<Vec<_>>().join(" | ") + "\n");
        }
        text
    }
}

fn object(name: SegmentName, etag: &str) -> ObjectId {
    ObjectId {
        key: format!("wal_005/{name}.lzo").into(),
        size: 77,
        modified: Some(at(-5)),
        etag: Some(ETag::new(etag)),
    }
}

fn name(number: u64) -> SegmentName {
    crate::pg::SegmentNo(number).name(crate::pg::TimelineId::FIRST, SegmentSize::MIN).unwrap()
}

/// A segment with a record that crosses its end, so that its state is of the richest kind.
fn good(number: u64, etag: &str) -> SegmentProof {
    let mut wal = Wal::new(Shape::default(), crate::pg::TimelineId::FIRST, crate::pg::SegmentNo(number));
    let mut times = Times::default();
    for (xid, time) in [(7, 848_521_977_970_395), (8, 848_521_980_038_924), (9, 848_521_979_000_001)] {
        times.add(wal.commit(xid, time), PgTime(time), true);
    }
    while wal.left_in_segment() > 10_000 {
        wal.record(10, 0, 7, &[0xAB; 5000]);
    }
    wal.record(10, 0, 7, &[0xCD; 20_000]);
    let (file, bytes) = wal.segments().swap_remove(0);
    let mut check = SegmentCheck::new(Expect::new(file));
    check.push(&bytes).unwrap();
    let report = check.finish().unwrap();
    let mark = |at: Lsn, kind: MarkKind| Mark { at, end: Lsn(at.0 + 64), kind, before: times };
    let facts = SegmentFacts {
        size: 1 << 20,
        system: report.system,
        magic: report.magic,
        timelines: report.timelines,
        first_record: report.first_record,
        last_record: report.last_record,
        records: report.records,
        unchecked_head: 0,
        chained: false,
        switched: false,
        odd_bytes: 0,
        odd_at: None,
        times,
        marks: vec![
            mark(report.start, MarkKind::Checkpoint { redo: Lsn(40), shutdown: false }),
            mark(
                report.start,
                MarkKind::RestorePoint { name: "before 'it'".into(), time: PgTime(848_521_980_000_001) },
            ),
            mark(report.start, MarkKind::BackupEnd { start: Lsn(80) }),
            mark(report.start, MarkKind::WalLevel(0)),
        ],
        more_marks: 3,
        carry: report.carry.map(Box::new),
    };
    assert!(facts.carry.is_some());
    SegmentProof {
        name: file,
        object: object(file, etag),
        level: Level::Records,
        outcome: Outcome::Good(Box::new(facts)),
    }
}

fn damaged(number: u64, etag: &str) -> SegmentProof {
    let outcome = Outcome::Damaged {
        code: FindingCode::SegmentRecord,
        lsn: Some(Lsn(0x1_0000_0028)),
        what: "the record's CRC is wrong".into(),
    };
    SegmentProof { name: name(number), object: object(name(number), etag), level: Level::Records, outcome }
}

fn same(recall: Recall) -> SegmentProof {
    match recall {
        Recall::Same(proof) => *proof,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_same(a: &SegmentProof, b: &SegmentProof) {
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

#[test]
fn what_was_learnt_comes_back_in_the_next_run() {
    let place = Place::new();
    let proofs = [good(1, "\"a\""), good(2, "\"b\""), damaged(3, "\"c\"")];
    let unknown = SegmentProof { outcome: Outcome::Unknown { what: "no key".into() }, ..good(4, "\"d\"") };
    let mut ledger = place.open_at(0);
    for proof in proofs.iter().chain([&unknown]) {
        assert!(matches!(ledger.recall(&proof.object), Ok(Recall::New)));
        ledger.remember(proof).unwrap();
    }
    // At once, before anything was committed.
    assert_same(&same(ledger.recall(&proofs[0].object).unwrap()), &proofs[0]);
    drop(ledger);

    let mut ledger = place.open_at(10);
    for proof in &proofs {
        assert_same(&same(ledger.recall(&proof.object).unwrap()), proof);
    }
    assert!(matches!(ledger.recall(&unknown.object), Ok(Recall::New)), "nobody knows is no verdict");
    let mut builder = crate::catalog::InventoryBuilder::new();
    builder.add(crate::storage::Listed::Object(proofs[1].object.clone()));
    let listed = builder.finish().segments()[0];
    assert_same(&same(ledger.recall_listed(&listed).unwrap()), &proofs[1]);
    assert_eq!(ledger.proven(name(1), name(9), 10).unwrap(), [name(1), name(2)]);
    assert_eq!(ledger.proven(name(2), name(9), 10).unwrap(), [name(2)]);
    let ended = Ended { level: Level::Records, outcome: "ok", objects: 3, bytes: 231, remembered: 2, at: at(12) };
    ledger.finish(&ended);
    assert!(ledger.trouble().is_none());
    drop(ledger);
    expect_test::expect![[r#"
        2027-01-15T08:00:00Z | - | audit | - | -
        2027-01-15T08:00:10Z | 2027-01-15T08:00:12Z | audit | ok | 3
    "#]]
    .assert_eq(&place.ask("SELECT began_at, ended_at, command, outcome, objects FROM runs"));
}

/// What docs/ledger.md promises to people with sqlite3.
#[test]
fn people_can_ask_it() {
    let place = Place::new();
    let mut ledger = place.open_at(0);
    ledger.remember(&good(1, "\"a\"")).unwrap();
    ledger.remember(&damaged(0x12_3456, "\"c\"")).unwrap();
    ledger.remember_backup(&"base_000000010000000000000003".parse().unwrap(), Fingerprint(5), true, "{}");
    drop(ledger);
    expect_test::expect![[r#"
        000000010000000000000001 | 1 | 0/100000 | 210 | 3 | 0 | 2026-11-20 20:32:57.970395+00 | 1795206777970395 | 2026-11-20 20:32:59.000001+00 | 2026-11-20 20:33:00.038924+00
    "#]]
    .assert_eq(&place.ask(
        "SELECT name, segment, start_lsn, records, commits, aborts, first_time, first_micros, last_time, max_time \
         FROM segments WHERE verdict = 'good'",
    ));
    assert_eq!(
        place.ask("SELECT key, code, damage_lsn, damage, first_time FROM segments WHERE verdict = 'damaged'"),
        format!("wal_005/{}.lzo | segment.record | 1/28 | the record's CRC is wrong | -\n", name(0x12_3456))
    );
    expect_test::expect![[r#"
        checkpoint | - | -
        restore_point | before 'it' | 2026-11-20 20:33:00.000001+00
        backup_end | - | -
        wal_level | - | -
    "#]]
    .assert_eq(&place.ask("SELECT kind, name, time FROM marks ORDER BY nr"));
    assert_eq!(place.ask("SELECT carry LIKE '{\"lsn\":\"0/200000\"%' FROM segments WHERE verdict = 'good'"), "1\n");
    assert_eq!(place.ask("PRAGMA integrity_check"), "ok\n");
}

#[test]
fn the_schema_in_the_docs_is_the_schema_in_the_code() {
    let page = include_str!("../../../docs/ledger.md");
    let schema = page.split("```sql\n").last().and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(schema, SCHEMA);
    assert!(page.contains(&format!("Number {VERSION} (")) && page.contains(&format!("{APPLICATION:08X}")));
    // And the questions of the page are questions to it.
    let place = Place::new();
    drop(place.open_at(0));
    let examples: Vec<&str> = page.split("```sql\n").skip(1).collect();
    let db = Connection::open(place.path()).unwrap();
    let mut asked = 0;
    for example in &examples[..examples.len() - 1] {
        for question in example.split("```").next().unwrap().split(';').filter(|text| !text.trim().is_empty()) {
            db.prepare(question).unwrap().query([]).unwrap().next().unwrap();
            asked += 1;
        }
    }
    assert_eq!(asked, 4);
}

#[test]
fn another_version_of_an_object() {
    let place = Place::new();
    let mut ledger = place.open_at(0);
    let (first, other, broken) = (good(1, "\"a\""), good(1, "\"b\""), damaged(1, "\"c\""));
    ledger.remember(&first).unwrap();
    match ledger.recall(&other.object).unwrap() {
        Recall::Changed(before) => assert_same(&before, &first),
        what => panic!("{what:?}"),
    }
    ledger.remember(&broken).unwrap();
    assert!(matches!(ledger.recall(&other.object).unwrap(), Recall::Changed(_)), "it was good once");
    ledger.remember(&other).unwrap();
    for proof in [&first, &other, &broken] {
        assert_same(&same(ledger.recall(&proof.object).unwrap()), proof);
    }
    // Damaged before, and another now: that is a repair.
    let (before, after) = (damaged(2, "\"a\""), good(2, "\"b\""));
    ledger.remember(&before).unwrap();
    assert!(matches!(ledger.recall(&after.object), Ok(Recall::New)));
    // The size is part of the version.
    let longer = ObjectId { size: 78, ..first.object.clone() };
    assert!(matches!(ledger.recall(&longer), Ok(Recall::Changed(_))));
}

#[test]
fn a_look_that_is_less_close_forgets_nothing() {
    let place = Place::new();
    let mut ledger = place.open_at(0);
    let close = good(1, "\"a\"");
    let mut coarse = close.clone();
    coarse.level = Level::Decode;
    ledger.remember(&coarse).unwrap();
    assert_same(&same(ledger.recall(&close.object).unwrap()), &coarse);
    ledger.remember(&close).unwrap();
    ledger.remember(&coarse).unwrap();
    assert_same(&same(ledger.recall(&close.object).unwrap()), &close);
    // But damage counts at any level.
    ledger.remember(&damaged(1, "\"a\"")).unwrap();
    assert!(matches!(same(ledger.recall(&close.object).unwrap()).outcome, Outcome::Damaged { .. }));
    drop(ledger);
    assert_eq!(place.ask("SELECT count(*) FROM marks"), "0\n");
}

#[test]
fn the_longest_not_looked_at_come_first() {
    let place = Place::new();
    for (seconds, number) in [(0, 5), (10, 3), (20, 4), (30, 5)] {
        place.open_at(seconds).remember(&good(number, "\"a\"")).unwrap();
    }
    let mut ledger = place.open_at(40);
    let key = |number| object(name(number), "").key;
    assert_eq!(ledger.oldest(2).unwrap(), [key(3), key(4)]);
    assert_eq!(ledger.oldest(9).unwrap(), [key(3), key(4), key(5)]);
}

#[test]
fn backups() {
    let place = Place::new();
    let backup: BackupName = "base_000000010000000000000003_00000040".parse().unwrap();
    let mut ledger = place.open_at(0);
    ledger.remember_backup(&backup, Fingerprint(u64::MAX), true, "{\"parts\": 1}");
    assert_eq!(ledger.recall_backup(&backup, Fingerprint(u64::MAX)).unwrap(), Some((true, "{\"parts\": 1}".into())));
    assert_eq!(ledger.recall_backup(&backup, Fingerprint(1)).unwrap(), None);
    ledger.remember_backup(&backup, Fingerprint(u64::MAX), false, "{}");
    assert_eq!(ledger.recall_backup(&backup, Fingerprint(u64::MAX)).unwrap(), Some((false, "{}".into())));
}

#[track_caller]
fn refusal(result: Answer<Ledger>, words: &str) -> Error {
    let error = result.expect_err("refused");
    assert_eq!(error.code(), Code::LocalLedger);
    assert!(error.to_string().contains(words), "{error}");
    error
}

#[test]
fn what_is_refused() {
    let place = Place::new();
    let open = |archive: &Identity<'_>| Ledger::open(&place.path(), archive, "audit", at(0));
    drop(open(&Identity { system: None, ..ARCHIVE }).unwrap());
    refusal(open(&Identity { url: "file:///other/", ..ARCHIVE }), "another archive, file:///archive/");
    // The cluster is learnt once, and holds from then on.
    drop(open(&ARCHIVE).unwrap());
    drop(open(&Identity { system: None, ..ARCHIVE }).unwrap());
    refusal(open(&Identity { system: Some(SystemId(5)), ..ARCHIVE }), "another cluster");

    let held = open(&ARCHIVE).unwrap();
    let error = refusal(open(&ARCHIVE), "in use by another run");
    assert!(error.advice().unwrap().contains(".lock"), "{error}");
    refusal(Ledger::rebuild(&place.path(), &ARCHIVE, "audit", at(0)), "in use by another run");
    drop(held);
    drop(open(&ARCHIVE).unwrap());

    let nowhere = place.0.path().join("no/such/directory/ledger");
    refusal(Ledger::open(&nowhere, &ARCHIVE, "audit", at(0)), "is its directory there");
    let other = place.0.path().join("other.sqlite");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE precious (data TEXT)").unwrap();
    let before = std::fs::read(&other).unwrap();
    refusal(Ledger::open(&other, &ARCHIVE, "audit", at(0)), "another program");
    assert_eq!(std::fs::read(&other).unwrap(), before, "left as it was");
}

#[test]
fn schemas_of_other_versions() {
    let place = Place::new();
    place.open_at(0).remember(&good(1, "\"a\"")).unwrap();
    let open = |version| Ledger::with_version(&place.path(), &ARCHIVE, "audit", at(9), version);
    refusal(open(VERSION - 1), "made by a newer wal-r");
    let mut newer = open(VERSION + 1).unwrap();
    assert!(newer.notes()[0].contains("older wal-r"), "{:?}", newer.notes());
    assert!(matches!(newer.recall(&good(1, "\"a\"").object), Ok(Recall::New)));
    drop(newer);
    assert!(place.0.path().join("ledger.sqlite.old").exists());
    assert_eq!(place.ask("PRAGMA user_version"), format!("{}\n", VERSION + 1));
}

#[test]
fn what_is_no_ledger_is_refused_and_can_be_replaced_without_loss() {
    for content in [
        &b"this is my thesis, which is longer than a header of a database would be, and so on and on and on"[..],
        &[0xFF; 5000],
    ] {
        let place = Place::new();
        std::fs::write(place.path(), content).unwrap();
        let error = refusal(Ledger::open(&place.path(), &ARCHIVE, "audit", at(0)), "no ledger");
        assert!(error.advice().unwrap().contains("--rebuild-ledger"));
        let ledger = Ledger::rebuild(&place.path(), &ARCHIVE, "audit", at(0)).unwrap();
        assert!(ledger.notes()[0].contains(".old"));
        drop(ledger);
        drop(place.open_at(1));
        assert_eq!(std::fs::read(place.0.path().join("ledger.sqlite.old")).unwrap(), content);
    }
    // Nothing there is nothing to move.
    let place = Place::new();
    assert!(Ledger::rebuild(&place.path(), &ARCHIVE, "audit", at(0)).unwrap().notes().is_empty());
}

/// A full disk, which SQLite feels as a limit of pages.
#[test]
fn a_full_disk_stops_the_remembering_and_nothing_else() {
    let place = Place::new();
    let mut ledger = place.open_at(0);
    (1..=u64::from(BATCH)).for_each(|number| ledger.remember(&good(number, "\"a\"")).unwrap());
    let pages: i64 = ledger.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    ledger.db.pragma_update(None, "max_page_count", pages + 3).unwrap();
    for number in 1000..1200 {
        ledger.remember(&good(number, "\"a\"")).unwrap();
        let _ = ledger.recall(&good(number, "\"a\"").object).unwrap();
    }
    let trouble = ledger.trouble().expect("the disk is full").chain();
    assert!(trouble.contains("not remembered") && trouble.contains("full"), "{trouble}");
    let ended = Ended { level: Level::Records, outcome: "ok", objects: 1, bytes: 1, remembered: 0, at: at(1) };
    ledger.finish(&ended);
    drop(ledger);
    let mut ledger = place.open_at(2);
    for number in 1..=u64::from(BATCH) {
        assert_same(&same(ledger.recall(&good(number, "\"a\"").object).unwrap()), &good(number, "\"a\""));
    }
    assert!(matches!(ledger.recall(&good(1199, "\"a\"").object), Ok(Recall::New)));
}

/// Not a test of its own: what [`killed_at_any_moment`] kills. It says when it has begun, and how far it is.
#[test]
fn remembers_until_it_is_killed() {
    let Some(path) = std::env::var_os("WALR_TEST_LEDGER") else { return };
    let mut ledger = Ledger::open(Path::new(&path), &ARCHIVE, "audit", at(0)).unwrap();
    let template = good(1, "\"a\"");
    for number in 1_u64.. {
        let mut proof = template.clone();
        proof.name = name(number);
        proof.object = object(proof.name, &number.to_string());
        ledger.remember(&proof).unwrap();
        if number == 50 {
            File::create(beside(Path::new(&path), ".begun")).unwrap();
        }
    }
}

#[test]
fn killed_at_any_moment_it_is_trusted_as_far_as_it_was_committed() {
    let template = good(1, "\"a\"");
    let mut kept = 0;
    for round in 0..12_u64 {
        let place = Place::new();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "proof::ledger::tests::remembers_until_it_is_killed", "--nocapture"]);
        child.env("WALR_TEST_LEDGER", place.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child.spawn().unwrap();
        let begun = beside(&place.path(), ".begun");
        for _ in 0..3000 {
            if begun.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(begun.exists(), "it never began");
        std::thread::sleep(Duration::from_millis(round * 7));
        child.kill().unwrap();
        child.wait().unwrap();

        let mut ledger = place.open_at(100);
        let count: u64 = place.ask("SELECT count(*) FROM segments").trim().parse().unwrap();
        assert_eq!(count % u64::from(BATCH), 0, "whole transactions");
        for number in 1..=count + 1 {
            let object = object(name(number), &number.to_string());
            match ledger.recall(&object).unwrap() {
                Recall::Same(proof) => {
                    let wanted = SegmentProof { name: name(number), object, ..template.clone() };
                    assert_same(&proof, &wanted);
                }
                Recall::New => assert_eq!(number, count + 1),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(place.ask("PRAGMA integrity_check"), "ok\n");
        kept += count;
    }
    assert!(kept > 0, "nothing was ever committed");
}

fn pristine() -> &'static (Vec<u8>, Vec<SegmentProof>) {
    static MADE: std::sync::LazyLock<(Vec<u8>, Vec<SegmentProof>)> = std::sync::LazyLock::new(|| {
        let place = Place::new();
        let proofs: Vec<SegmentProof> =
            (1..8).map(|number| if number == 4 { damaged(number, "\"a\"") } else { good(number, "\"a\"") }).collect();
        let mut ledger = place.open_at(0);
        proofs.iter().for_each(|proof| ledger.remember(proof).unwrap());
        drop(ledger);
        (std::fs::read(place.path()).unwrap(), proofs)
    });
    &MADE
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A ledger with a flipped bit is refused, or gives back what was written, or knows nothing: never anything else.
    #[test]
    fn a_flipped_bit_is_never_believed(place_of in 0.0..1.0_f64, bit in 0..8_u8) {
        let (bytes, proofs) = pristine();
        let place = Place::new();
        let mut bytes = bytes.clone();
        let offset = (place_of * bytes.len() as f64) as usize;
        bytes[offset] ^= 1 << bit;
        std::fs::write(place.path(), &bytes).unwrap();
        let Ok(mut ledger) = Ledger::open(&place.path(), &ARCHIVE, "audit", at(1)) else { return Ok(()) };
        for proof in proofs {
            match ledger.recall(&proof.object) {
                Ok(Recall::Same(found)) => prop_assert_eq!(format!("{found:?}"), format!("{proof:?}")),
                Ok(Recall::New) | Err(_) => {}
                Ok(Recall::Changed(found)) => prop_assert!(false, "byte {offset}: {found:?}"),
            }
        }
    }
}
