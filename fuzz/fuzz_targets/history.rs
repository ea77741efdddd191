//! A timeline history never panics, and every byte has an owner among its timelines.
//!
//! In: any bytes. Out: a crash if not. Never: judges more than that.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(timeline) = wal_r::pg::TimelineId::new(3) else { return };
    if let Ok(history) = wal_r::pg::history::TimelineHistory::parse(timeline, bytes) {
        for ancestor in history.ancestors() {
            assert!(history.contains(history.owner(ancestor.switch)));
        }
        assert!(history.agrees_with(&history));
    }
});
