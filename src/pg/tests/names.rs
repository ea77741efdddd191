//! LSNs, timelines and segments: every segment size, every edge of the text forms.

use super::{lsn, segment, timeline};
use crate::pg::{Lsn, SegmentName, SegmentNo, SegmentSize, TimelineId};
use proptest::prelude::*;

fn sizes() -> impl Strategy<Value = SegmentSize> {
    (20_u32..=30).prop_map(|shift| SegmentSize::new(1 << shift).unwrap())
}

#[test]
fn lsn_text() {
    for (text, value, shown) in [
        ("0/0", 0, "0/0"),
        ("0/3000028", 0x300_0028, "0/3000028"),
        ("16/B374D848", 0x16_B374_D848, "16/B374D848"),
        ("00000016/b374d848", 0x16_B374_D848, "16/B374D848"),
        ("0/0A000028", 0xA00_0028, "0/A000028"),
        ("FFFFFFFF/FFFFFFFF", u64::MAX, "FFFFFFFF/FFFFFFFF"),
    ] {
        assert_eq!(lsn(text), Lsn(value), "{text}");
        assert_eq!(Lsn(value).to_string(), shown);
    }
    let wrong = [
        "",
        "/",
        "0",
        "0/",
        "/0",
        "0/0/0",
        "0/g",
        "+1/0",
        "0/+1",
        " 0/0",
        "0/0 ",
        "100000000/0",
        "0/000000000",
        "0\\0",
    ];
    for text in wrong {
        assert!(text.parse::<Lsn>().is_err(), "{text:?}");
    }
}

#[test]
fn segment_text() {
    assert_eq!(segment("000000010000000000000001").to_string(), "000000010000000000000001");
    for text in [
        "",
        "00000001000000000000000",
        "0000000100000000000000011",
        "00000001000000000000000g",
        "00000001000000000000000a",
        "000000000000000000000001",
        "+0000001000000000000000A",
        " 00000010000000000000001",
        "00000001:000000000000001",
        "0000000é000000000000001",
        "00000001000000000000000\u{660}",
    ] {
        assert!(text.parse::<SegmentName>().is_err(), "{text:?}");
    }
}

#[test]
fn segments_of_each_size() {
    // Name of the last segment of log 0, and what follows it.
    for (mib, last, next) in [
        (1, "000000010000000000000FFF", "000000010000000100000000"),
        (2, "0000000100000000000007FF", "000000010000000100000000"),
        (16, "0000000100000000000000FF", "000000010000000100000000"),
        (64, "00000001000000000000003F", "000000010000000100000000"),
        (1024, "000000010000000000000003", "000000010000000100000000"),
    ] {
        let size = SegmentSize::new(mib << 20).unwrap();
        assert_eq!(segment(last).next(size), Some(segment(next)), "{size}");
        assert_eq!(segment(last).start(size).unwrap(), Lsn((1 << 32) - size.bytes()), "{size}");
        assert_eq!(segment(last).largest_size(), Some(size));
        if let Some(larger) = SegmentSize::new(size.bytes() * 2) {
            assert!(segment(last).number(larger).is_err());
        }
    }
    assert_eq!(segment("000000010000000000001000").largest_size(), None);
    assert_eq!(
        segment("0000000100000000000000FE").next(SegmentSize::DEFAULT),
        Some(segment("0000000100000000000000FF"))
    );
}

#[test]
fn edges_of_the_wal() {
    let size = SegmentSize::DEFAULT;
    let last = segment("00000001FFFFFFFF000000FF");
    assert_eq!(last.next(size), None);
    assert_eq!(Lsn(u64::MAX).segment(size).name(timeline(1), size), Some(last));
    assert_eq!(SegmentNo(0).previous(), None);
    assert_eq!(SegmentNo(u64::MAX).start(size), None);
    assert_eq!(SegmentNo(u64::MAX).next(), SegmentNo(u64::MAX));
    // An exclusive end on a boundary belongs to the segment before it.
    assert_eq!(lsn("0/2000000").segment_before(size), SegmentNo(1));
    assert_eq!(lsn("0/2000000").segment(size), SegmentNo(2));
    assert_eq!(Lsn(u64::MAX).align8(), None);
    assert_eq!(lsn("0/29").align8(), Some(lsn("0/30")));
    assert_eq!(lsn("0/28").align8(), Some(lsn("0/28")));
}

#[test]
fn sizes_are_powers_of_two_within_bounds() {
    assert_eq!(SegmentSize::all().count(), 11);
    for wrong in [0, 1, 1 << 19, (1 << 20) + 1, 3 << 20, 1 << 31, 1 << 32, u64::MAX] {
        assert_eq!(SegmentSize::new(wrong), None, "{wrong}");
    }
    assert_eq!(SegmentSize::DEFAULT.to_string(), "16 MiB");
    assert_eq!(SegmentSize::MAX.to_string(), "1 GiB");
}

#[test]
fn timelines() {
    assert_eq!(TimelineId::new(0), None);
    assert_eq!(TimelineId::parse_hex("0000001F").unwrap(), timeline(31));
    assert_eq!(TimelineId::parse_decimal("31").unwrap().hex().to_string(), "0000001F");
    assert_eq!(timeline(u32::MAX).next(), None);
    assert_eq!(timeline(10).history_name(), "0000000A.history");
    for wrong in ["", "0", "-1", "+1", "1 ", "4294967296", "0x1"] {
        assert!(TimelineId::parse_decimal(wrong).is_err(), "{wrong:?}");
    }
    for wrong in ["", "1", "00000000", "0000000a", "000000001", "+0000001"] {
        assert!(TimelineId::parse_hex(wrong).is_err(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn lsn_round_trip(value: u64) {
        prop_assert_eq!(lsn(&Lsn(value).to_string()), Lsn(value));
        let json = serde_json::to_string(&Lsn(value)).unwrap();
        prop_assert_eq!(serde_json::from_str::<Lsn>(&json).unwrap(), Lsn(value));
    }

    #[test]
    fn segment_round_trip(tli in 1_u32.., place: u64, size in sizes()) {
        let number = Lsn(place).segment(size);
        let name = number.name(timeline(tli), size).unwrap();
        prop_assert_eq!(segment(&name.to_string()), name);
        prop_assert_eq!(name.number(size).unwrap(), number);
        prop_assert_eq!(name.timeline(), timeline(tli));
        let start = name.start(size).unwrap();
        prop_assert_eq!(start.0 + Lsn(place).offset_in_segment(size), place);
        // The server's own arithmetic, spelled out.
        let (log, seg) = (place >> 32, (place & 0xFFFF_FFFF) / size.bytes());
        prop_assert_eq!(name.to_string(), format!("{tli:08X}{log:08X}{seg:08X}"));
    }

    #[test]
    fn names_order_as_the_wal_runs(a: u64, b: u64, size in sizes()) {
        let name = |place| Lsn(place).segment(size).name(timeline(1), size).unwrap();
        prop_assert_eq!(name(a).cmp(&name(b)), (a / size.bytes()).cmp(&(b / size.bytes())));
        prop_assert_eq!(name(a).to_string().cmp(&name(b).to_string()), name(a).cmp(&name(b)));
    }

    #[test]
    fn no_text_panics(text: String) {
        let _ = text.parse::<Lsn>();
        let _ = text.parse::<SegmentName>();
        let _ = TimelineId::parse_hex(&text);
        let _ = TimelineId::parse_decimal(&text);
    }

    #[test]
    fn what_parses_prints_the_same(text in "[0-9A-Fa-f]{24}") {
        if let Ok(name) = text.parse::<SegmentName>() {
            prop_assert_eq!(name.to_string(), text);
        }
    }
}
