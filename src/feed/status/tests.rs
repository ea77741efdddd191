use super::*;
use crate::testing::exposition;

#[test]
fn rates_are_of_late() {
    let begin = Instant::now();
    let at = |ms: u64| begin + Duration::from_millis(ms);
    let mut tally = Tally::new(begin, Status::default());
    let name: SegmentName = "000000010000000000000001".parse().unwrap();
    assert_eq!(tally.now(at(10)).segments_per_second, None);
    for n in 0..100 {
        tally.asked(at(n * 100));
        tally.served(
            name,
            1 << 20,
            if n < 10 { Served::InFlight } else { Served::Hit },
            Duration::from_millis(1),
            at(n * 100),
        );
    }
    tally.status.ahead_segments = Some(50);
    let status = tally.now(at(9_900));
    assert!((status.segments_per_second.unwrap() - 10.0).abs() < 0.01, "{status:?}");
    assert!((status.seconds_left.unwrap() - 5.0).abs() < 0.01);
    assert_eq!((status.segments(), status.hit_share()), (100, Some(0.9)));
    assert!((status.waiting_seconds - 0.1).abs() < 1e-6);
    // A minute later nothing was served of late.
    let status = tally.now(at(70_000));
    assert_eq!((status.segments_per_second, status.seconds_left), (None, None));
    // How far it is to the end of more than was counted, nobody knows.
    tally.status.ahead_more = true;
    assert_eq!(tally.now(at(9_900)).seconds_left, None);
}

#[test]
fn metrics_are_valid() {
    for status in [Status::default(), Status { hits: 5, misses: 1, ahead_segments: Some(7), ..Status::default() }] {
        let samples = exposition::parse(&status.prometheus(true)).unwrap();
        assert!(samples.iter().any(|sample| sample.name == "walr_feed_up" && sample.value == 1.0));
        assert_eq!(samples.iter().filter(|sample| sample.name == "walr_feed_segments_total").count(), 4);
        assert_eq!(samples.iter().any(|sample| sample.name == "walr_feed_hit_ratio"), status.hits > 0);
    }
}

#[test]
fn troubles_are_few_and_not_repeated() {
    let mut tally = Tally::new(Instant::now(), Status::default());
    for n in 0..20 {
        tally.trouble(&format!("trouble {}", n / 2));
    }
    assert_eq!(tally.status.troubles, ["trouble 5", "trouble 6", "trouble 7", "trouble 8", "trouble 9"]);
}
