//! Tables: severities to verdicts, ages to findings.

use super::*;
use expect_test::{Expect, expect};

fn now() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

fn with(severity: Severity, acknowledged: bool) -> Finding {
    let wish = Wish {
        code: FindingCode::ArchiveStale,
        severity,
        place: Place::Archive,
        object: String::new(),
        what: String::new(),
        consequence: "",
        next: "",
    };
    Finding { acknowledged: acknowledged.then(String::new), ..wish.finding(Level::Names) }
}

#[test]
fn critical_beats_unknown_beats_warning() {
    use Severity::{Critical, Harmless, Unknown, Warning};
    let table: [(&[Severity], Verdict, Verdict); 7] = [
        (&[], Verdict::Ok, Verdict::Ok),
        (&[Harmless], Verdict::Ok, Verdict::Ok),
        (&[Harmless, Warning], Verdict::Warning, Verdict::Ok),
        (&[Unknown], Verdict::Unknown, Verdict::Unknown),
        (&[Warning, Unknown], Verdict::Unknown, Verdict::Unknown),
        (&[Unknown, Critical, Warning], Verdict::Critical, Verdict::Critical),
        (&[Critical], Verdict::Critical, Verdict::Critical),
    ];
    for (severities, verdict, on_critical) in table {
        let findings: Vec<Finding> = severities.iter().map(|severity| with(*severity, false)).collect();
        let is = Verdict::of(&findings);
        assert_eq!(is, verdict, "{severities:?}");
        assert_eq!(is.failing_on(Severity::Warning), verdict, "{severities:?}");
        assert_eq!(is.failing_on(Severity::Critical), on_critical, "{severities:?}");
    }
}

#[test]
fn acknowledged_ones_are_counted_apart() {
    let findings = [
        with(Severity::Harmless, true),
        with(Severity::Harmless, false),
        with(Severity::Warning, false),
        with(Severity::Critical, false),
    ];
    let counts = Counts { critical: 1, warning: 1, harmless: 1, acknowledged: 1, unknown: 0 };
    assert_eq!(Counts::of(&findings), counts);
}

/// `before`: ISO lengths of time before now; a sign in front means behind now.
fn ago(before: &str) -> Timestamp {
    now() - before.parse::<SignedDuration>().unwrap()
}

struct Case<'a> {
    commit: Option<&'a str>,
    stored: Option<&'a str>,
    backup: Option<Option<&'a str>>,
    window: Option<&'a str>,
}

const NOTHING: Case = Case { commit: None, stored: None, backup: None, window: None };

fn check(wishes: Thresholds, case: Case, expected: Expect) {
    let fresh = Freshness {
        newest_commit: case.commit.map(|before| NewestCommit {
            time: ago(before),
            lsn: Lsn(0x0500_0028),
            timeline: TimelineId::FIRST,
        }),
        newest_segment: case.stored.map(|before| NewestSegment {
            name: "000000010000000000000005".parse().unwrap(),
            stored: Some(ago(before)),
        }),
        newest_backup: case.backup.map(|finished| NewestBackup {
            name: "base_000000010000000000000003".parse().unwrap(),
            finished: finished.map(ago),
        }),
        window_start: case.window.map(ago),
        window_end: None,
    };
    let findings = thresholds(&wishes, &fresh, Level::Records, now());
    let line = |one: &Finding| format!("{} {} {}: {}\n", one.severity.word(), one.code, one.object, one.what);
    expected.assert_eq(&findings.iter().map(line).collect::<String>());
    for finding in &findings {
        assert!(finding.consequence.ends_with('.') && finding.next.ends_with('.'), "{finding:?}");
    }
}

fn hours(count: u64) -> Option<Duration> {
    Some(Duration::from_secs(count * 3600))
}

#[test]
fn no_wishes_no_findings() {
    check(Thresholds::default(), NOTHING, expect![""]);
    check(Thresholds::default(), Case { commit: Some("PT9000H"), ..NOTHING }, expect![""]);
}

#[test]
fn age_of_the_wal() {
    let wish = Thresholds { max_wal_age: hours(1), ..Thresholds::default() };
    check(wish, Case { commit: Some("PT59M"), stored: Some("PT5H"), ..NOTHING }, expect![""]);
    check(wish, Case { commit: Some("PT1H"), ..NOTHING }, expect![""]);
    check(
        wish,
        Case { commit: Some("PT61M1S"), stored: Some("PT61M"), ..NOTHING },
        expect![[r#"
            critical archive.stale 000000010000000000000005: the newest commit is 1 h 1 min old (2026-11-26 10:58:59 UTC, LSN 0/5000028); at most 1 h is allowed; its segment was stored at 2026-11-26 10:59:00 UTC
        "#]],
    );
    // Segments arrive, commits do not: an idle server.
    check(
        wish,
        Case { commit: Some("PT30H"), stored: Some("PT2M"), ..NOTHING },
        expect![[r#"
            warning archive.stale 000000010000000000000005: the newest commit is 1 d 6 h old (2026-11-25 06:00:00 UTC, LSN 0/5000028); at most 1 h is allowed; its segment was stored at 2026-11-26 11:58:00 UTC
        "#]],
    );
    check(
        wish,
        Case { stored: Some("PT2H"), ..NOTHING },
        expect![[r#"
            critical archive.stale 000000010000000000000005: the newest segment was stored 2 h ago (2026-11-26 10:00:00 UTC); at most 1 h is allowed
        "#]],
    );
    check(
        wish,
        NOTHING,
        expect![[r#"
            unknown archive.stale the archive: the age of the newest WAL is not known; at most 1 h is allowed
        "#]],
    );
    // Clocks that disagree by a little are ordinary, by much are not.
    check(wish, Case { commit: Some("-PT4M"), ..NOTHING }, expect![""]);
    check(
        wish,
        Case { commit: Some("-PT3H"), ..NOTHING },
        expect![[r#"
            unknown archive.stale the archive: the newest commit is dated 2026-11-26 15:00:00 UTC, 3 h after this machine's clock: one of the two is wrong
        "#]],
    );
}

#[test]
fn age_of_the_backup() {
    let wish = Thresholds { max_backup_age: hours(26), ..Thresholds::default() };
    check(wish, Case { backup: Some(Some("PT25H")), ..NOTHING }, expect![""]);
    check(
        wish,
        Case { backup: Some(Some("PT49H")), ..NOTHING },
        expect![[r#"
            warning backup.stale base_000000010000000000000003: the newest usable base backup is 2 d 1 h old (finished 2026-11-24 11:00:00 UTC); at most 1 d 2 h is allowed
        "#]],
    );
    check(
        wish,
        Case { backup: Some(None), ..NOTHING },
        expect![[r#"
            unknown backup.stale base_000000010000000000000003: its age is not known; at most 1 d 2 h is allowed
        "#]],
    );
    check(
        wish,
        NOTHING,
        expect![[r#"
            critical backup.stale the archive: there is no usable base backup; one of at most 1 d 2 h is demanded
        "#]],
    );
}

#[test]
fn length_of_the_window() {
    let wish = Thresholds { min_window: hours(24 * 7), ..Thresholds::default() };
    let backup = Some(Some("PT1H"));
    check(wish, Case { window: Some("PT168H"), backup, ..NOTHING }, expect![""]);
    check(
        wish,
        Case { window: Some("PT167H"), backup, ..NOTHING },
        expect![[r#"
            warning window.short the archive: recovery reaches back 6 d 23 h (to 2026-11-19 13:00:00 UTC) without a hole; 7 d is demanded
        "#]],
    );
    check(
        wish,
        Case { backup, ..NOTHING },
        expect![[r#"
            unknown window.short the archive: how far back recovery reaches is not known at this level; 7 d is demanded
        "#]],
    );
    check(
        wish,
        NOTHING,
        expect![[r#"
            critical window.short the archive: there is no time that can be recovered to; 7 d is demanded
        "#]],
    );
}

#[test]
fn lengths_for_people() {
    let table = [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (90_000, "1 d 1 h"),
        (86_400, "1 d"),
    ];
    for (seconds, text) in table {
        assert_eq!(length(Duration::from_secs(seconds)), text);
    }
    assert_eq!(signed(SignedDuration::from_secs(-61)), "-1 min 1 s");
}
