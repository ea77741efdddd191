//! What an audit says of archives that are made of a few lines.

use super::*;
use crate::commands::Silent;
use crate::storage::memory::MemoryStore;
use crate::testing::fixture;
use jiff::SignedDuration;

fn options() -> Options {
    Options {
        level: Level::Names,
        backups: Backups::Latest,
        budget_bytes: None,
        budget_time: None,
        ledger: None,
        recheck: 0.0,
        thresholds: Thresholds::default(),
        ack: None,
        effort: Effort { workers: 1, cores: 1 },
        now: Timestamp::now(),
    }
}

async fn audit(store: MemoryStore, options: &Options) -> Report {
    run(Arc::new(store), options, Arc::new(Silent)).await.unwrap()
}

fn codes(report: &Report) -> Vec<&'static str> {
    let counting = report.findings.iter().filter(|one| one.severity > Severity::Harmless);
    counting.map(|one| one.code.as_str()).collect()
}

const WHOLE: &str = "1: 01..07\n2: 07..09\n2.history: 1@0/7000100\n\
                     backup base_000000010000000000000002_00000040 parts 0\n\
                     backup base_000000020000000000000008_00000040 parts 0..1";

#[tokio::test]
async fn an_empty_prefix_is_unknown() {
    let report = audit(MemoryStore::new(), &options()).await;
    assert_eq!((report.verdict, codes(&report)), (Verdict::Unknown, vec!["archive.empty"]));
    assert!(report.timelines.is_empty() && report.freshness == Freshness::default());
}

#[tokio::test]
async fn names_of_a_whole_archive() {
    let report = audit(fixture::store(WHOLE), &options()).await;
    assert_eq!(report.coverage.segments, 10);
    assert_eq!((report.coverage.objects_read, report.coverage.is_whole()), (0, true));
    let segment = report.freshness.newest_segment.unwrap();
    assert_eq!(segment.name.to_string(), "000000020000000000000009");
    assert_eq!(report.timelines.iter().map(|lane| lane.on_the_way).collect::<Vec<_>>(), [true, true]);
    assert_eq!(report.freshness.newest_commit, None);
    assert!(report.headline().ends_with("(level: names)") || report.verdict != Verdict::Ok, "{}", report.headline());
}

#[tokio::test]
async fn wishes_are_held_against_what_is_known() {
    let thresholds = Thresholds {
        max_wal_age: Some(Duration::from_secs(60)),
        max_backup_age: None,
        min_window: Some(Duration::from_secs(60)),
    };
    let later = Timestamp::now() + SignedDuration::from_hours(48);
    let report = audit(fixture::store(WHOLE), &Options { thresholds, now: later, ..options() }).await;
    let codes = codes(&report);
    assert!(codes.contains(&"archive.stale") && codes.contains(&"window.short"), "{codes:?}");
    assert!(report.verdict >= Verdict::Unknown);
}

#[tokio::test]
async fn a_store_that_is_away_is_unknown_and_says_what_was_tried() {
    let error = Error::new(crate::error::Code::StoreDns, "cannot list").hint("Check the endpoint.");
    let report = unreached("s3://bucket/x/", &error, &options());
    assert_eq!((report.verdict, codes(&report)), (Verdict::Unknown, vec!["archive.unread"]));
    assert!(report.findings[0].what.starts_with("[store.dns] "), "{}", report.findings[0].what);
    assert_eq!(report.findings[0].next, "Check the endpoint.");
    assert_eq!(report.steps.iter().map(|step| step.done).collect::<Vec<_>>(), [false]);
}

#[tokio::test]
async fn an_acknowledgement_file_that_is_none_acknowledges_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("losses.toml");
    let gap = || fixture::store("1: 01..03 05..07\nbackup base_000000010000000000000002_00000040 parts 0");
    let with = Options { ack: Some(path.clone()), ..options() };
    for (text, good) in [("[[loss", false), ("", true)] {
        std::fs::write(&path, text).unwrap();
        let report = audit(gap(), &with).await;
        assert_eq!(codes(&report).contains(&"ack.unreadable"), !good, "{text}");
        assert!(codes(&report).contains(&"segment.missing"), "{text}");
        assert_eq!(report.acknowledgements.is_some(), good);
    }
    std::fs::write(&path, "#".repeat(ack::MAX_BYTES as usize + 1)).unwrap();
    assert!(codes(&audit(gap(), &with).await).contains(&"ack.unreadable"));
}

#[test]
fn the_window_is_the_stretch_that_ends_last() {
    let time = |seconds: i64| Timestamp::from_second(seconds).ok();
    let window = |from, to, latest| Window {
        backup: "base_000000010000000000000002_00000040".parse().unwrap(),
        timeline: TimelineId::FIRST,
        latest,
        place: Reach { from: crate::pg::Lsn(0), to: crate::pg::Lsn(1), begins: time(from), ends: time(to) },
        cut_short: None,
    };
    let windows = [window(1, 10, true), window(20, 50, true), window(30, 50, true), window(0, 99, false)];
    assert_eq!(recoverable(&windows), (time(20), time(50)));
    assert_eq!(recoverable(&windows[3..]), (None, None));
}
