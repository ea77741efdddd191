//! What the WAL tells of timelines whose histories are lost or wrong, and real archives.

use super::{defects, reconstruct, told_by_wal};
use crate::layout::ObjectKey;
use crate::pg::{Lsn, SegmentNo, SegmentSize, TimelineId};
use crate::proof::facts::{Level, Mark, MarkKind, Outcome, SegmentFacts, SegmentProof, Times};
use crate::proof::finding::{Defect, FindingCode, Severity};
use crate::proof::judge::judge;
use crate::proof::survey::{Survey, scan};
use crate::storage::local::LocalStore;
use crate::storage::{ObjectId, Store};
use crate::testing::fixture;
use std::path::Path;

fn survey(store: &dyn Store) -> Survey {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(scan(store)).unwrap()
}

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

/// The first segment of a timeline, read and good: it begins at this place.
fn proof(number: u32, previous: u32, at: Lsn) -> SegmentProof {
    let size = SegmentSize::DEFAULT;
    let name = at.segment(size).name(timeline(number), size).unwrap();
    let kind = MarkKind::TimelineBegins { timeline: number, previous };
    let mark = Mark { at, end: Lsn(at.0 + 0x48), kind, before: Times::default() };
    let facts = SegmentFacts {
        size: size.bytes() as u32,
        system: None,
        magic: None,
        timelines: (previous, number),
        first_record: None,
        last_record: None,
        records: 1,
        unchecked_head: 0,
        chained: false,
        switched: false,
        odd_bytes: 0,
        odd_at: None,
        times: Times::default(),
        marks: vec![mark],
        more_marks: 0,
        carry: None,
    };
    let object = ObjectId { key: ObjectKey::new(format!("wal_005/{name}.lzo")), size: 1, modified: None, etag: None };
    SegmentProof { name, object, level: Level::Records, outcome: Outcome::Good(Box::new(facts)) }
}

fn what(found: &[Defect], code: FindingCode) -> Vec<&str> {
    found.iter().filter(|one| one.code == code).map(|one| one.what.as_str()).collect()
}

#[test]
fn lost_histories_are_told_by_the_wal() {
    let place = |segment: u64| fixture::place(segment, 0x60);
    let survey = survey(&fixture::store(
        "1: 01..05
         2: 05..09
         3.history: damaged
         3: 09..0C
         4: 0C..0D
         backup base_000000010000000000000003_00000040 parts 0",
    ));
    let proofs = [proof(2, 1, place(5)), proof(3, 2, place(9)), proof(4, 3, place(0xC))];
    let begins = super::begins(&proofs);
    let lines = |number| super::history::must_say(&reconstruct(&survey, timeline(number), &begins).unwrap());
    assert_eq!(lines(4), "1 0/5000060, 2 0/9000060, 3 0/C000060");
    assert_eq!(reconstruct(&survey, timeline(5), &begins), None);
    let mut found = defects(&survey);
    told_by_wal(&survey, &proofs, &mut found);
    let missing = what(&found, FindingCode::HistoryMissing);
    assert!(missing[0].ends_with("by the WAL it must say: 1 0/5000060"), "{missing:?}");
    assert!(what(&found, FindingCode::HistoryDamaged)[0].ends_with("must say: 1 0/5000060, 2 0/9000060"));
}

#[test]
fn the_bundled_archive_is_healthy() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/archive/wal-e-pg13");
    let survey = survey(&LocalStore::new(path));
    assert_eq!(judge(&survey, defects(&survey)), []);
}

#[test]
fn a_name_at_the_end_of_all_wal_costs_nothing() {
    let store = fixture::store("1: 01..03\nbackup base_000000010000000000000003_00000040 parts 0");
    for name in
        ["FFFFFFFFFFFFFFFFFFFFFFFF", "FFFFFFFFFFFFFFFF000000FF", "00000001FFFFFFFF000000FF", "000000010FFFFFFF000000FF"]
    {
        store.insert(&format!("wal_005/{name}.lzo"), "x");
        store.insert(&format!("wal_005/{name}.partial.lzo"), "x");
    }
    store.insert("wal_005/00000007.history", "1\tFFFFFFFF/FFFFFFFF\tno recovery target specified\n");
    let began = std::time::Instant::now();
    let survey = survey(&store);
    let found = judge(&survey, defects(&survey));
    assert!(found.iter().any(|one| one.code == FindingCode::SegmentStray), "{found:#?}");
    // What is counted one by one would take hours.
    assert!(began.elapsed().as_secs() < 60);
    assert_eq!(SegmentNo(u64::MAX).next(), SegmentNo(u64::MAX));
}

/// A sentinel that is gone: the server's own note tells a base backup that ended from one that is being taken.
#[test]
fn a_lost_sentinel_is_no_backup_under_way() {
    let note = "START WAL LOCATION: 0/3000028 (file 000000010000000000000003)\n\
                STOP WAL LOCATION: 0/3000100 (file 000000010000000000000003)\n\
                CHECKPOINT LOCATION: 0/3000060\nBACKUP METHOD: pg_start_backup\nBACKUP FROM: master\n";
    let judged = |later: &str, note: Option<&'static str>| {
        let archive = format!("1: 01..09\nbackup base_000000010000000000000003_00000040 unfinished parts 0\n{later}");
        let store = fixture::store(&archive);
        if let Some(note) = note {
            store.insert("wal_005/000000010000000000000003.00000028.backup", note);
        }
        let survey = survey(&store);
        let found = judge(&survey, defects(&survey));
        found.into_iter().find(|one| one.code == FindingCode::BackupUnfinished).map(|one| (one.severity, one.what))
    };
    let later = "backup base_000000010000000000000006_00000040 parts 0";
    let (severity, what) = judged(later, Some(note)).expect("it is told");
    assert_eq!(severity, Severity::Warning, "{what}");
    assert!(what.contains("the server ended it"), "{what}");
    // Failed before its end; and perhaps its sentinel is being written.
    assert_eq!(judged(later, None).map(|(severity, _)| severity), Some(Severity::Harmless));
    assert_eq!(judged("", Some(note)).map(|(severity, _)| severity), Some(Severity::Harmless));
}

/// Retention leaves the histories of timelines whose segments it takes: nothing comes there any more.
#[test]
fn a_history_without_segments_is_new_only_where_they_can_still_come() {
    let new = |text: &str| {
        let survey = survey(&fixture::store(text));
        let found = defects(&survey);
        found
            .iter()
            .filter(|one| one.code == FindingCode::TimelineNew)
            .map(|one| one.object.clone())
            .collect::<Vec<_>>()
    };
    let two = ["wal_005/00000002.history"];
    // Promoted just now: behind the oldest base backup, on its timeline.
    let backup = "backup base_000000010000000000000006_00000040 parts 0";
    assert_eq!(new(&format!("1: 06..0A\n2.history: 1@0/A000060\n{backup}")), two);
    // The place where it was left lies before the oldest base backup.
    assert_eq!(new(&format!("1: 06..0A\n2.history: 1@0/4000060\n{backup}")), [""; 0]);
    assert_eq!(new(&format!("1: 06..0A\n2.history: 1@0/6000000\n{backup}")), [""; 0]);
    // A descendant has segments; a base backup is enough.
    let later = "2.history: 1@0/4000060\n3.history: 1@0/4000060 2@0/7000060";
    assert_eq!(new(&format!("{later}\n3: 07..0A\nbackup base_000000030000000000000008_00000040 parts 0")), [""; 0]);
    assert_eq!(new(&format!("{later}\nbackup base_000000030000000000000008_00000040 parts 0")), [""; 0]);
    // Both are gone, with the branch that they were.
    let gone = format!("{later}\n4.history: 1@0/5000060\n4: 05..0A\n");
    assert_eq!(new(&format!("{gone}backup base_000000040000000000000008_00000040 parts 0")), [""; 0]);
    // Without a base backup nothing tells what was pruned.
    assert_eq!(new("1: 06..0A\n2.history: 1@0/4000060"), two);
}

/// No server asks for the history of timeline 1 (`readTimeLineHistory`), so whatever lies there under its name hurts nobody.
#[test]
fn the_first_timeline_has_no_history() {
    for content in ["", "damaged\n", "1\t0/5000000\tno recovery target specified\n"] {
        let store = fixture::store("1: 01..09\nbackup base_000000010000000000000003_00000040 parts 0");
        store.insert("wal_005/00000001.history", content);
        let survey = survey(&store);
        assert_eq!(judge(&survey, defects(&survey)), [], "{content:?}");
        assert!(survey.timelines.history(TimelineId::FIRST).is_some());
    }
}

/// A history that cannot be told from an encrypted one is not called damaged, as a segment is not: with the key it may be
/// good. A damaged one keeps its mark.
#[test]
fn an_encrypted_history_is_unknown() {
    let code = |bytes: Vec<u8>| {
        let store = fixture::store("1: 01..05\n2: 05..09\nbackup base_000000010000000000000003_00000040 parts 0");
        store.insert("wal_005/00000002.history.lzo", bytes);
        let survey = survey(&store);
        let found = judge(&survey, defects(&survey));
        found
            .iter()
            .filter(|one| one.severity > Severity::Harmless)
            .map(|one| (one.code, one.severity))
            .collect::<Vec<_>>()
    };
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(400).collect();
    let unread = [(FindingCode::HistoryUnread, Severity::Unknown)];
    assert_eq!(code(noise.clone()), unread);
    let mut whole = crate::testing::lzop::lzop(b"1\t0/5000060\tno recovery target specified\n");
    assert_eq!(code(whole.clone()), []);
    whole[3] ^= 0x40;
    assert_eq!(code(whole.clone()), [(FindingCode::HistoryDamaged, Severity::Critical)]);
    whole.splice(9.., noise);
    assert_eq!(code(whole), [(FindingCode::HistoryDamaged, Severity::Critical)]);
    assert_eq!(code(Vec::new()), [(FindingCode::HistoryDamaged, Severity::Critical)]);
}
