use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A recovery and a store in simulated time: each fetch takes `fetch`, `parallel` at once at most; PostgreSQL replays for
/// `replay`. Gives the waiting times, and the window at the end.
fn recover(window: &mut Window, replay: Duration, fetch: Duration, parallel: usize, segments: u32) -> Vec<Duration> {
    let mut now = Duration::ZERO;
    let mut ready: BTreeMap<u32, Duration> = BTreeMap::new();
    let mut waits = Vec::new();
    let mut answered = None;
    let start = |ready: &mut BTreeMap<u32, Duration>, window: &mut Window, number: u32, now: Duration| {
        if ready.contains_key(&number) {
            return;
        }
        // Behind as many others as may run at once.
        let mut busy: Vec<Duration> = ready.values().copied().filter(|end| *end > now).collect();
        busy.sort_unstable();
        let begin = busy.len().checked_sub(parallel).map_or(now, |index| busy[index]);
        ready.insert(number, begin + fetch);
        window.fetched(fetch);
    };
    for number in 0..segments {
        window.asked(answered.map(|answered| now - answered));
        start(&mut ready, window, number, now);
        for next in 1..=window.ahead() {
            start(&mut ready, window, number + next, now);
        }
        let wait = ready[&number].saturating_sub(now);
        now += wait;
        window.answered(wait);
        waits.push(wait);
        answered = Some(now);
        now += replay;
    }
    waits
}

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn a_fast_replay_never_waits_once_it_is_warm() {
    for (replay, fetch) in [(25, 110), (25, 60), (15, 120), (50, 350), (5, 30)] {
        let mut window = Window::new(16);
        let waits = recover(&mut window, MS(replay), MS(fetch), 10, 300);
        let warm = &waits[20..];
        assert!(warm.iter().all(Duration::is_zero), "replay {replay} ms, fetch {fetch} ms: {warm:?}");
    }
}

#[test]
fn a_slow_replay_keeps_little() {
    let mut window = Window::new(64);
    recover(&mut window, MS(20), MS(400), 16, 100);
    assert!(window.ahead() > 20, "{window:?}");
    // Now it applies big pages.
    let waits = recover(&mut window, MS(5_000), MS(400), 16, 1_500);
    assert!(window.ahead() <= 4, "{window:?}");
    assert!(waits[5..].iter().all(Duration::is_zero));
}

#[test]
fn the_first_question_costs_little() {
    let mut window = Window::new(16);
    window.asked(None);
    assert_eq!(window.ahead(), 2);
    assert_eq!(Window::new(1).ahead(), 1);
    assert_eq!(Window::new(0).ahead(), 0);
}

proptest! {
    #[test]
    fn it_stays_within_its_bound(bound in 0..200u32, steps in prop::collection::vec((0..4_000u64, 0..4_000u64, 0..4_000u64), 0..200)) {
        let mut window = Window::new(bound);
        for (since, waited, took) in steps {
            window.asked(Some(MS(since)));
            window.fetched(MS(took));
            window.answered(MS(waited));
            prop_assert!(window.ahead() <= bound);
            prop_assert!(window.ahead() >= 1.min(bound));
        }
    }
}
