//! Tests of PostgreSQL's nouns: tables, properties against naive models, and files of real servers in `testdata/pg`.

mod control;
mod history;
mod label;
mod names;
mod version;

use super::{Lsn, SegmentName, TimelineId};

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

fn lsn(text: &str) -> Lsn {
    text.parse().unwrap()
}

fn segment(text: &str) -> SegmentName {
    text.parse().unwrap()
}

/// A file of `testdata/pg`.
fn golden(path: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pg").join(path);
    std::fs::read(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

/// The versions of which `testdata/pg` holds files of a real server.
const REAL: std::ops::RangeInclusive<u32> = 10..=18;
