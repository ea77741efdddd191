use super::*;
use crate::pg::{SegmentNo, SegmentSize, TimelineId};
use crate::testing::forge::{Shape, Wal};
use crate::wal::decoder::{Decoder, Rules, Step};

fn version(major: u32) -> PgVersion {
    PgVersion::from_number(if major < 10 { 90_500 } else { major * 10_000 }).unwrap()
}

fn header(rmid: u8, info: u8, xid: u32) -> RecordHeader {
    RecordHeader { total_len: 0, xid, prev: Lsn::ZERO, info, rmid, crc: 0 }
}

fn wrap(data: &[u8]) -> Vec<u8> {
    [&[255, data.len() as u8], data].concat()
}

#[track_caller]
fn check(major: u32, rmid: u8, info: u8, data: &[u8], want: Kind) {
    let header = header(rmid, info, 77);
    assert_eq!(Kind::parse(&header, &wrap(data), version(major)), want);
    // Behind an origin and a top-level transaction, too.
    let origin = [&[253, 1, 0, 252, 9, 0, 0, 0][..], &wrap(data)].concat();
    assert_eq!(Kind::parse(&header, &origin, version(major)), want);
    // Cut anywhere it is something or nothing, never a panic.
    for cut in 0..origin.len() {
        let _ = Kind::parse(&header, &origin[..cut], version(major));
    }
}

fn ints(ints: &[u32]) -> Vec<u8> {
    ints.iter().flat_map(|int| int.to_le_bytes()).collect()
}

#[test]
fn what_the_log_says_of_itself() {
    let time = PgTime(820_000_000_000_000);
    let mut old = [0; 80];
    old[..8].copy_from_slice(&0x0300_0028u64.to_le_bytes());
    old[8..16].copy_from_slice(&ints(&[2, 1]));
    old[56..64].copy_from_slice(&1_700_000_000i64.to_le_bytes());
    let checkpoint = |shutdown| Kind::Checkpoint {
        redo: Lsn(0x0300_0028),
        timeline: 2,
        previous_timeline: 1,
        time: 1_700_000_000,
        shutdown,
    };
    check(10, 0, 0x00, &old, checkpoint(true));
    check(11, 0, 0x10, &old, checkpoint(false));
    let mut new = [0; 88];
    new[..16].copy_from_slice(&old[..16]);
    new[64..72].copy_from_slice(&1_700_000_000i64.to_le_bytes());
    check(12, 0, 0x00, &new, checkpoint(true));
    check(18, 0, 0x10, &new, checkpoint(false));
    assert_eq!(checkpoint(true).begins_timeline(), Some(2));
    assert_eq!(checkpoint(false).begins_timeline(), None);
    check(18, 0, 0xE0, &ints(&[1]), Kind::CheckpointRedo { wal_level: 1 });
    check(15, 0, 0x40, &[], Kind::Switch);
    check(15, 0, 0x50, &0x0300_0028u64.to_le_bytes(), Kind::BackupEnd { start: Lsn(0x0300_0028) });
    let mut point = time.0.to_le_bytes().to_vec();
    point.extend(b"before drop\0and what lay in memory behind it");
    point.resize(72, 0);
    check(15, 0, 0x70, &point, Kind::RestorePoint { time, name: "before drop".into() });
    let end = [&time.0.to_le_bytes()[..], &ints(&[3, 2])].concat();
    check(15, 0, 0x90, &end, Kind::EndOfRecovery { time, timeline: 3, previous_timeline: 2 });
    let overwrite = [0x0123_4568u64.to_le_bytes(), time.0.to_le_bytes()].concat();
    check(15, 0, 0xD0, &overwrite, Kind::OverwriteContrecord { abandoned: Lsn(0x0123_4568), time });
    check(11, 0, 0x60, &ints(&[100, 8, 0, 64, 1, 0]), Kind::ParameterChange { wal_level: 1 });
    check(12, 0, 0x60, &ints(&[100, 8, 10, 0, 64, 2, 0]), Kind::ParameterChange { wal_level: 2 });
    check(15, 4, 0x00, &ints(&[16400, 1663, 1, 1663]), Kind::DatabaseCopied { database: 16400, tablespace: 1663 });
    check(15, 4, 0x10, &ints(&[16400, 1663]), Kind::Other); // page by page, or a drop
    check(15, 0, 0x20, &[], Kind::Other);
    check(15, 10, 0x00, &[1, 2, 3], Kind::Other);
}

#[test]
fn transactions() {
    let time = PgTime(-1);
    let bytes = time.0.to_le_bytes();
    check(15, 1, 0x00, &bytes, Kind::Commit { time, xid: Some(77) });
    check(15, 1, 0x20, &bytes, Kind::Abort { time, xid: Some(77) });
    check(15, 1, 0x80, &[&bytes[..], &ints(&[1, 5, 6])].concat(), Kind::Commit { time, xid: Some(77) });
    check(15, 1, 0x10, &bytes, Kind::Other); // a prepare is no place to stop
    // Prepared: database, two subtransactions, one relation, statistics, one invalidation, then the number.
    let parts = |statistics: usize| {
        let mut data = [&bytes[..], &ints(&[0x11F, 5, 6, 2, 100, 101, 1, 1, 2, 3, 2])].concat();
        data.extend(vec![9; 2 * statistics]);
        data.extend(ints(&[1, 1, 2, 3, 4, 4711]));
        data.extend(b"gid\0");
        data
    };
    check(15, 1, 0xB0, &parts(12), Kind::Commit { time, xid: Some(4711) });
    check(17, 1, 0xC0, &parts(12), Kind::Abort { time, xid: Some(4711) });
    check(18, 1, 0xB0, &parts(16), Kind::Commit { time, xid: Some(4711) });
    // Lists that claim more than there is leave the number unknown.
    let hostile = [&bytes[..], &ints(&[0x12, u32::MAX, 4711])].concat();
    check(15, 1, 0xB0, &hostile, Kind::Commit { time, xid: None });
    assert_eq!(PgTime(0).unix_micros(), Some(946_684_800_000_000));
    assert_eq!(PgTime(i64::MAX).unix_micros(), None);
}

#[test]
fn resource_managers_by_version() {
    let known = |rmid, major| header(rmid, 0, 0).has_known_rmid(version(major));
    assert!(known(19, 9) && !known(20, 9) && known(21, 10) && !known(22, 18));
    assert!(!known(128, 14) && known(128, 15) && known(255, 18) && !known(127, 18));
}

/// A prepared transaction's number is found behind lists that are longer than any page.
#[test]
fn long_lists_across_pages() {
    let mut wal = Wal::new(Shape::default(), TimelineId::FIRST, SegmentNo(5));
    let mut data = 5i64.to_le_bytes().to_vec();
    data.extend(ints(&[0x12, 10_000]));
    data.extend(vec![1; 40_000]);
    data.extend(ints(&[4711]));
    wal.data(1, 0xB0, 0, &data);
    let (name, bytes) = wal.segments().swap_remove(0);
    let start = name.start(SegmentSize::MIN).unwrap();
    let rules = Rules { start, timeline: TimelineId::FIRST, size: None, system: None, records: true, blocks: false };
    for piece in [bytes.len(), 100] {
        let mut decoder = Decoder::new(rules);
        let record = bytes.chunks(piece).find_map(|mut piece| match decoder.step(&mut piece).unwrap() {
            Step::Record(record) => Some(record),
            _ => None,
        });
        assert_eq!(record.unwrap().kind, Kind::Commit { time: PgTime(5), xid: Some(4711) });
    }
}
