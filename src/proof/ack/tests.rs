//! Tables: what a file says, what it hides, what it does not.

use super::*;
use crate::pg::Lsn;
use expect_test::{Expect, expect};

fn now() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

fn finding(code: FindingCode, severity: Severity, place: Place) -> Finding {
    let segments = place.segments(SegmentSize::DEFAULT);
    let object = match (&place, &segments) {
        (_, Some((first, last))) if first == last => first.clone(),
        (_, Some((first, last))) => format!("{first} to {last}"),
        (Place::Backup(name), _) => name.to_string(),
        (Place::History(timeline), _) => format!("{}.history", timeline.hex()),
        (Place::Object(key), _) => key.to_string(),
        _ => "the archive".to_owned(),
    };
    Finding {
        code,
        severity,
        object,
        timeline: None,
        first_segment: segments.as_ref().map(|(first, _)| first.clone()),
        last_segment: segments.map(|(_, last)| last),
        lsn: matches!(place, Place::Wal { .. }).then_some(Lsn(0x0500_0028)),
        place,
        what: "it is wrong".into(),
        consequence: "Nothing works.".into(),
        next: "Weep.".into(),
        hurts: Vec::new(),
        level: Level::Names,
        acknowledged: None,
    }
}

fn wal(first: u64, last: u64) -> Place {
    Place::Wal { timeline: TimelineId::FIRST, first: SegmentNo(first), last: SegmentNo(last) }
}

fn show(findings: &[Finding]) -> String {
    let line = |one: &Finding| {
        let lsn = one.lsn.map(|lsn| format!(" at {lsn}")).unwrap_or_default();
        let acknowledged = one.acknowledged.as_ref().map(|text| format!(" [{text}]")).unwrap_or_default();
        format!("{} {} {}{lsn}: {}{acknowledged}\n", one.severity.word(), one.code, one.object, one.what)
    };
    findings.iter().map(line).collect()
}

fn check(findings: Vec<Finding>, file: &str, expected: Expect) {
    let acks = parse("losses.toml", file).unwrap();
    expected.assert_eq(&show(&apply(findings, &acks, SegmentSize::DEFAULT, Level::Names, now())));
}

/// An entry; `what` is its lines that name place and code.
fn loss(what: &str, until: &str) -> String {
    format!("[[loss]]\n{what}\nreason = \"the disk died\"\nby = \"jane\"\nuntil = {until}\n")
}

const GAP: &str = "segments = \"000000010000000000000005 to 000000010000000000000007\"";

#[test]
fn what_is_named_no_longer_counts() {
    let gap = || vec![finding(FindingCode::SegmentMissing, Severity::Critical, wal(5, 7))];
    check(
        gap(),
        &loss(GAP, "2026-12-31"),
        expect![[r#"
            harmless segment.missing 000000010000000000000005 to 000000010000000000000007 at 0/5000028: it is wrong [the disk died (jane, until 2026-12-31, 35 days left)]
        "#]],
    );
    // Only this kind.
    check(
        gap(),
        &loss(&format!("{GAP}\ncode = \"segment.record\""), "2026-12-31"),
        expect![[r#"
            critical segment.missing 000000010000000000000005 to 000000010000000000000007 at 0/5000028: it is wrong
            harmless ack.unused losses.toml:1 (000000010000000000000005 to 000000010000000000000007): it matches nothing in the archive
        "#]],
    );
    // Another timeline's segments of the same numbers.
    check(
        gap(),
        &loss("segments = \"000000020000000000000005 to 000000020000000000000007\"", "2026-12-31"),
        expect![[r#"
            critical segment.missing 000000010000000000000005 to 000000010000000000000007 at 0/5000028: it is wrong
            harmless ack.unused losses.toml:1 (000000020000000000000005 to 000000020000000000000007): it matches nothing in the archive
        "#]],
    );
    // The last day still counts.
    check(
        gap(),
        &loss(GAP, "2026-11-26"),
        expect![[r#"
            harmless segment.missing 000000010000000000000005 to 000000010000000000000007 at 0/5000028: it is wrong [the disk died (jane, until 2026-11-26, its last day)]
        "#]],
    );
}

#[test]
fn a_gap_that_grew_counts_for_its_rest() {
    let gap = |first, last| vec![finding(FindingCode::SegmentMissing, Severity::Critical, wal(first, last))];
    check(
        gap(4, 9),
        &loss(GAP, "2026-12-31"),
        expect![[r#"
            critical segment.missing 000000010000000000000004: part of 000000010000000000000004 to 000000010000000000000009: it is wrong
            harmless segment.missing 000000010000000000000005 to 000000010000000000000007 at 0/5000028: part of 000000010000000000000004 to 000000010000000000000009: it is wrong [the disk died (jane, until 2026-12-31, 35 days left)]
            critical segment.missing 000000010000000000000008 to 000000010000000000000009: part of 000000010000000000000004 to 000000010000000000000009: it is wrong
        "#]],
    );
    // Two entries that overlap, and one that has expired and hides nothing.
    let three = [
        loss(GAP, "2026-12-31"),
        loss("segments = \"000000010000000000000006 to 000000010000000000000008\"", "2027-01-01"),
        loss("segments = \"000000010000000000000009\"", "2026-11-25"),
    ];
    check(
        gap(5, 9),
        &three.concat(),
        expect![[r#"
            harmless segment.missing 000000010000000000000005 to 000000010000000000000007 at 0/5000028: part of 000000010000000000000005 to 000000010000000000000009: it is wrong [the disk died (jane, until 2026-12-31, 35 days left)]
            harmless segment.missing 000000010000000000000008: part of 000000010000000000000005 to 000000010000000000000009: it is wrong [the disk died (jane, until 2027-01-01, 36 days left)]
            critical segment.missing 000000010000000000000009: part of 000000010000000000000005 to 000000010000000000000009: it is wrong
            warning ack.expired losses.toml:11 (000000010000000000000009): it expired on 2026-11-25: the disk died, said jane
        "#]],
    );
}

#[test]
fn other_places() {
    let backup = "base_000000010000000000000003_00000040";
    check(
        vec![
            finding(FindingCode::BackupPart, Severity::Warning, Place::Backup(backup.parse().unwrap())),
            finding(FindingCode::HistoryMissing, Severity::Critical, Place::History(TimelineId::new(3).unwrap())),
            finding(FindingCode::ArchiveForeign, Severity::Harmless, Place::Object("wal_005/x".into())),
            finding(FindingCode::ArchiveStale, Severity::Critical, Place::Archive),
            finding(FindingCode::LedgerChanged, Severity::Critical, wal(5, 5)),
        ],
        &[
            loss(&format!("backup = \"{backup}\""), "2026-12-31"),
            loss("history = 3", "2026-12-31"),
            loss("object = \"wal_005/x\"", "2026-12-31"),
            // A proven object that changed is news: only its own code names it.
            loss(GAP, "2026-12-31"),
        ]
        .concat(),
        expect![[r#"
            harmless backup.part base_000000010000000000000003_00000040: it is wrong [the disk died (jane, until 2026-12-31, 35 days left)]
            harmless history.missing 00000003.history: it is wrong [the disk died (jane, until 2026-12-31, 35 days left)]
            harmless archive.foreign wal_005/x: it is wrong
            critical archive.stale the archive: it is wrong
            critical ledger.changed 000000010000000000000005 at 0/5000028: it is wrong
            harmless ack.unused losses.toml:16 (000000010000000000000005 to 000000010000000000000007): it matches nothing in the archive
        "#]],
    );
}

#[test]
fn a_file_is_taken_whole_or_not_at_all() {
    let good = loss(GAP, "2026-12-31");
    assert_eq!(parse("f", &good).unwrap().entries.len(), 1);
    assert_eq!(parse("f", "# nothing yet\n").unwrap().entries.len(), 0);
    let wrong = [
        ("[[loss]", "line 1: "),
        ("loses = 1", "line 1: unknown field `loses`"),
        (&good.replace("reason", "raeson"), "line 3: unknown field `raeson`"),
        (&good.replace("the disk died", " "), "the loss at line 1: `reason` is empty"),
        (&good.replace("jane", ""), "the loss at line 1: `by` is empty"),
        (&format!("\n{}", good.replace("by = \"jane\"\n", "")), "missing field `by`"),
        (&good.replace("2026-12-31", "2026-12-31T00:00:00Z"), "`until` is a day"),
        (&good.replace("2026-12-31", "2026-02-30"), "line 5: "),
        (&good.replace("0005 to", "0008 to"), "comes before"),
        (&good.replace("000000010000000000000007", "000000020000000000000007"), "two timelines"),
        (&good.replace("000000010000000000000007", "7"), "`segments`: "),
        (&good.replace("segments =", "backup ="), "`backup`: "),
        (&loss("history = 0", "2026-12-31"), "there is no timeline 0"),
        (&loss("", "2026-12-31"), "exactly one"),
        (&loss(&format!("{GAP}\nhistory = 2"), "2026-12-31"), "exactly one"),
        (&loss(&format!("{GAP}\ncode = \"segment.msising\""), "2026-12-31"), "`code`: there is no \"segment.msising\""),
    ];
    for (text, expected) in wrong {
        let error = parse("f", text).unwrap_err();
        assert!(error.contains(expected), "{text}\n{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn the_template_is_refused_until_somebody_says_why() {
    let findings = vec![
        finding(FindingCode::SegmentMissing, Severity::Critical, wal(5, 7)),
        finding(
            FindingCode::BackupPart,
            Severity::Warning,
            Place::Backup("base_000000010000000000000003".parse().unwrap()),
        ),
        finding(FindingCode::HistoryMissing, Severity::Warning, Place::History(TimelineId::new(3).unwrap())),
        finding(FindingCode::BackupTar, Severity::Warning, Place::Object("a\"b\\c\n[[loss]]".into())),
        finding(FindingCode::ArchiveStale, Severity::Critical, Place::Archive),
        finding(FindingCode::ArchiveForeign, Severity::Harmless, Place::Object("x".into())),
    ];
    let text = template(&findings, now());
    assert!(parse("f", &text).unwrap_err().contains("`reason` is empty"), "{text}");
    let filled = text.replace("reason = \"\"", "reason = \"lost\"").replace("by = \"\"", "by = \"jane\"");
    let acks = parse("f", &filled).unwrap();
    assert_eq!(acks.entries.len(), 4);
    let left = apply(findings, &acks, SegmentSize::DEFAULT, Level::Names, now());
    let counting: Vec<&str> =
        left.iter().filter(|one| one.severity > Severity::Harmless).map(|one| one.code.as_str()).collect();
    assert_eq!(counting, ["archive.stale"]);
}

proptest::proptest! {
    /// Whatever the entries: the pieces tile the finding, and a segment counts if and only if no entry names it.
    #[test]
    fn pieces_tile_what_they_were(first in 1_u64..40, len in 0_u64..20, ranges in proptest::collection::vec((1_u64..60, 0_u64..15), 0..5)) {
        let last = first + len;
        let name = |number: u64| SegmentNo(number).name(TimelineId::FIRST, SegmentSize::DEFAULT).unwrap();
        let entries: String = ranges
            .iter()
            .map(|(from, len)| loss(&format!("segments = \"{} to {}\"", name(*from), name(from + len)), "2027-01-01"))
            .collect();
        let acks = parse("f", &entries).unwrap();
        let before = vec![finding(FindingCode::SegmentMissing, Severity::Critical, wal(first, last))];
        let after = apply(before, &acks, SegmentSize::DEFAULT, Level::Names, now());
        let mut next = first;
        for piece in after.iter().filter(|one| one.code == FindingCode::SegmentMissing) {
            let Place::Wal { first, last, .. } = piece.place else { panic!("no WAL") };
            proptest::prop_assert_eq!(first.0, next);
            for number in first.0..=last.0 {
                let named = ranges.iter().any(|(from, len)| (*from..=from + len).contains(&number));
                proptest::prop_assert_eq!(named, piece.acknowledged.is_some());
                proptest::prop_assert_eq!(named, piece.severity == Severity::Harmless);
            }
            next = last.0 + 1;
        }
        proptest::prop_assert_eq!(next, last + 1);
    }
}
