//! The clock between commits, by the store, and not at all; stretches, holes and spots.

use super::*;
use crate::proof::facts::{Level, SegmentFacts, Times as Commits};
use crate::proof::finding::{FindingCode, Severity};
use crate::storage::ObjectId;
use crate::testing::fixture;

async fn survey(text: &str) -> Survey {
    crate::proof::survey::scan(&fixture::store(text)).await.unwrap()
}

fn proof(name: &str, commits: &[(u64, i64)]) -> SegmentProof {
    let mut times = Commits::default();
    for (lsn, seconds) in commits {
        times.add(Lsn(*lsn), PgTime(seconds * 1_000_000), true);
    }
    let facts = SegmentFacts {
        size: 16 << 20,
        system: None,
        magic: None,
        timelines: (1, 1),
        first_record: None,
        last_record: None,
        records: 0,
        unchecked_head: 0,
        chained: true,
        switched: false,
        odd_bytes: 0,
        odd_at: None,
        times,
        marks: Vec::new(),
        more_marks: 0,
        carry: None,
    };
    SegmentProof {
        name: name.parse().unwrap(),
        object: ObjectId { key: format!("wal_005/{name}.lzo").into(), size: 1, modified: None, etag: None },
        level: Level::Records,
        outcome: Outcome::Good(Box::new(facts)),
    }
}

fn at(seconds: i64) -> Timestamp {
    moment(PgTime(seconds * 1_000_000)).unwrap()
}

#[tokio::test]
async fn between_commits_time_runs_evenly() {
    let survey = survey("1: 01..03").await;
    let proofs = [
        proof("000000010000000000000001", &[(0x100_0000, 0), (0x1F0_0000, 100)]),
        proof("000000010000000000000002", &[]),
        // The clock was set back: the picture's does not run backwards.
        proof("000000010000000000000003", &[(0x300_0000, 50), (0x3F0_0000, 200)]),
    ];
    let clock = Clock::new(&survey, &proofs);
    assert_eq!(clock.times, Times::Commits);
    let one = TimelineId::FIRST;
    for (lsn, seconds) in [
        (0, 0),
        (0x100_0000, 0),
        (0x178_0000, 50),
        (0x1F0_0000, 100),
        (0x300_0000, 100),
        (0x378_0000, 150),
        (u64::MAX, 200),
    ] {
        assert_eq!(clock.at(one, Lsn(lsn)), Some(at(seconds)), "{lsn:X}");
    }
    assert_eq!(clock.at(TimelineId::new(2).unwrap(), Lsn(0)), None);
}

#[test]
fn a_clock_of_many_commits_stays_small() {
    let mut points: Vec<(Lsn, Timestamp)> = (0..100_000).map(|n| (Lsn(n), at(n as i64))).collect();
    orderly(&mut points);
    assert!(points.len() <= POINTS + 1, "{}", points.len());
    assert_eq!((points[0].0, points[points.len() - 1].0), (Lsn(0), Lsn(99_999)));
    assert!(points.is_sorted());
}

#[tokio::test]
async fn a_child_begins_when_its_parent_was_left() {
    let survey = survey("1: 01..02\n2: 02..03\n2.history: 1@0/2800000").await;
    let proofs = [
        proof("000000010000000000000002", &[(0x200_0000, 0), (0x280_0000, 100)]),
        proof("000000020000000000000003", &[(0x300_0000, 5000), (0x380_0000, 6000)]),
    ];
    let clock = Clock::new(&survey, &proofs);
    let two = TimelineId::new(2).unwrap();
    assert_eq!(clock.at(two, Lsn(0x200_0000)), Some(at(100)));
    assert_eq!(clock.at(two, Lsn(0x300_0000)), Some(at(5000)));
}

#[tokio::test]
async fn holes_forks_and_spots() {
    let survey = survey(
        "1: 01..03 06..07\n2: 07..08\n2.history: 1@0/7000100\nbackup base_000000010000000000000001_00000040 parts 0",
    )
    .await;
    let two = TimelineId::new(2).unwrap();
    let finding = |timeline, first, last| Finding {
        code: FindingCode::SegmentMissing,
        severity: Severity::Critical,
        place: Place::Wal { timeline, first: SegmentNo(first), last: SegmentNo(last) },
        object: String::new(),
        timeline: None,
        first_segment: None,
        last_segment: None,
        lsn: None,
        what: String::new(),
        consequence: String::new(),
        next: String::new(),
        hurts: Vec::new(),
        level: Level::Names,
        acknowledged: None,
    };
    let clock = Clock { timelines: BTreeMap::new(), times: Times::None };
    let findings = [finding(two, 7, 7), finding(TimelineId::FIRST, 4, 5)];
    let lanes = lanes(&survey, &clock, &findings, &[TimelineId::FIRST, two]);
    let stretches: Vec<String> = lanes
        .iter()
        .flat_map(|lane| &lane.stretches)
        .map(|one| format!("{} {} {} {}", one.present, one.first, one.segments, one.place.from))
        .collect();
    assert_eq!(
        stretches,
        [
            "true 000000010000000000000001 3 0/1000000",
            "false 000000010000000000000004 2 0/4000000",
            "true 000000010000000000000006 2 0/6000000",
            "true 000000020000000000000007 2 0/7000000"
        ]
    );
    assert_eq!(lanes.iter().map(|lane| (lane.segments, lane.on_the_way)).collect::<Vec<_>>(), [(5, true), (2, true)]);
    assert_eq!(lanes[1].fork.as_ref().map(|fork| (fork.parent, fork.lsn)), Some((TimelineId::FIRST, Lsn(0x700_0100))));
    assert_eq!(
        lanes.iter().map(|lane| lane.spots.iter().map(|spot| spot.finding).collect()).collect::<Vec<Vec<usize>>>(),
        [[1], [0]]
    );
    assert_eq!(lanes[0].spots[0].place.to, Lsn(0x600_0000));
}
