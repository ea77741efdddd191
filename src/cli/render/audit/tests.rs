//! Golden pages, and what readers of each form demand.

use super::*;
use crate::testing::exposition;
use expect_test::expect;

#[test]
fn the_page_for_people() {
    expect![[r#"
        CRITICAL  s3://backups/spilo/acid-main/14/wal/
        00000005000000050000000A to 00000005000000050000000B: 2 segments are missing, and the timeline goes on behind
        them (and 4 more)

        recoverable     from 2026-11-24 22:15:00 UTC to 2026-11-25 10:30:00 UTC (12 h 15 min)
        newest commit   2026-11-26 09:15:00 UTC, 2 h 49 min ago, LSN 5/64FFF000 on timeline 5
        newest segment  000000050000000500000064, stored 2026-11-26 09:15:00 UTC, 2 h 49 min ago
        newest backup   base_0000000500000004000000D8_00000040, finished 2026-11-24 22:15:00 UTC, 1 d 13 h ago
        cluster         PostgreSQL 14, system identifier 7710354800899113174, segments of 16.0 MiB
        looked at       1469 stored segments (7.3 GiB); 1469 objects read now (7.3 GiB)
        level           records: All of `headers`; and every WAL record's CRC and its link to the record before it
                        hold, within segments, across them and across timelines. What can be recovered is known to the
                        commit.
        acknowledged    1 of 1 entries in losses.toml
        audited         2026-11-26 12:04:10 UTC, in 4.2 s

        CRITICAL segment.missing  00000005000000050000000A to 00000005000000050000000B at 5/A000000
            2 segments are missing, and the timeline goes on behind them
            Recovery from every base backup ends at 5/0A000000 (2026-11-25 10:30:00 UTC): the 26 hours since then
            cannot be recovered.
            hurts  base_000000010000000000000014_00000040, base_00000001000000010000002C_00000040,
                   base_000000020000000200000058_00000040
            next   Look for them in pg_wal of the old primary and its standbys, and in other buckets; put them under
                   their names. If they are lost: take a new base backup, and acknowledge the loss (`--ack`).

        UNKNOWN segment.unread  000000030000000300000052 to 000000030000000300000054
            they are encrypted by OpenPGP, and no key is configured
            Nobody can tell whether timeline 3 can be recovered.
            hurts  base_000000010000000000000014_00000040, base_00000001000000010000002C_00000040,
                   base_000000020000000200000058_00000040
            next   The cause is named. Audit again when it is gone.

        WARNING segment.record  0000000500000004000000B0 at 4/B01A2B3C
            the record's CRC is 0a1b2c3d, computed 77e0914f
            The base backups before it recover up to 2026-11-24 12:00:00 UTC only; a newer one leads past it.
            hurts  base_000000010000000000000014_00000040, base_00000001000000010000002C_00000040,
                   base_000000020000000200000058_00000040
            next   Look for another copy of the segment. To end recovery before it on purpose: a target before the LSN
                   named.

        WARNING segment.missing  0000000200000002000000BC to 0000000200000002000000DD at 2/BC000000
            34 segments are missing, and the timeline goes on behind them
            From the base backup of 18 November no recovery leads past them.
            hurts  base_000000010000000000000014_00000040, base_00000001000000010000002C_00000040,
                   base_000000020000000200000058_00000040
            next   Look for them in pg_wal of the old primary and its standbys, and in other buckets; put them under
                   their names. If they are lost: take a new base backup, and acknowledge the loss (`--ack`).

        WARNING backup.part  base_000000020000000200000058_00000040
            part_00000003.tar.lzo ends in the middle of a block, at byte 41,943,040
            It cannot be restored.
            hurts  base_000000020000000200000058_00000040
            next   Restore another backup: the WAL from it onward leads to the same states.

        Acknowledged
          segment.missing  000000010000000000000078 to 000000010000000000000083: the old primary's disk died before it
                           had archived them (jane, until 2026-12-31, 35 days left)

        Harmless
          segment.missing  000000010000000100000092: 1 segment is missing, and no base backup needs it
          timeline.stray  00000004.history: no base backup leads to timeline 4

        base backup                             state           recovers from            to                       LSN
        base_000000010000000000000014_00000040  usable          2026-11-12 05:15:00 UTC  2026-11-13 06:00:00 UTC  0/78000000  000000010000000000000078 is missing
        base_00000001000000010000002C_00000040  usable          2026-11-15 03:15:00 UTC  2026-11-16 04:30:00 UTC  1/92000000  000000010000000000000192 is missing
        base_000000020000000200000058_00000040  damaged         -                        -                        -
        base_000000020000000300000016_00000040  usable          2026-11-20 05:45:00 UTC  2026-11-24 12:00:00 UTC  4/B0000000  0000000500000000000004B0 is missing
        base_0000000500000003000000F2_00000040  usable          2026-11-22 12:45:00 UTC  2026-11-24 12:00:00 UTC  4/B0000000  0000000500000000000004B0 is missing
        base_0000000500000004000000D8_00000040  usable, LATEST  2026-11-24 22:15:00 UTC  2026-11-25 10:30:00 UTC  5/A000000   a record at 50A/1A2B3C8 is wrong
        base_000000050000000500000046_00000040  unfinished      -                        -                        -
    "#]].assert_eq(&page::render(&samples::branches()));
    expect![[r#"
        UNKNOWN  s3://backups/spilo/acid-main/14/wal/
        s3://backups/spilo/acid-main/14/wal/: cannot list: dns error: failed to look up backups.s3.example: Name or
        service not known

        level           records, which could not be kept: nothing is claimed
        audited         2026-11-26 12:04:10 UTC, in 4.2 s

        UNKNOWN archive.unread  s3://backups/spilo/acid-main/14/wal/
            cannot list: dns error: failed to look up backups.s3.example: Name or service not known
            Nothing is known about the archive.
            next   Check the endpoint for a typing error and this machine's DNS.

        Tried
          FAILED  list the archive: store.dns: cannot list: dns error: failed to look up backups.s3.example
    "#]]
    .assert_eq(&page::render(&samples::unreachable()));
}

#[test]
fn nagios_first_line_and_long_output() {
    expect![[r#"
        WAL-R CRITICAL - 00000005000000050000000A to 00000005000000050000000B: 2 segments are missing, and the timeline goes on behind them (and 4 more) | 'newest_commit_age'=10150s;;3600;0 'newest_segment_age'=10150s;;;0 'newest_backup_age'=136150s;;;0 'window'=136150s;;;0 'critical'=1;;;0 'unknown'=1;;;0 'warning'=3;;;0 'segments'=1469;;;0 'segments_missing'=50;;;0 'read'=7785700000B;;;0 'duration'=4.210s;;;0
        archive: s3://backups/spilo/acid-main/14/wal/
        findings: 1 critical, 1 unknown, 3 warning, 2 harmless, 1 acknowledged
        newest commit: 2026-11-26 09:15:00 UTC, 2 h 49 min ago
        newest segment: 000000050000000500000064, stored 2 h 49 min ago
        recoverable: 2026-11-24 22:15:00 UTC to 2026-11-25 10:30:00 UTC
        level: records; 1469 stored segments (7.3 GiB); 1469 objects read now (7.3 GiB)
        CRITICAL segment.missing 00000005000000050000000A to 00000005000000050000000B: 2 segments are missing, and the timeline goes on behind them. Recovery from every base backup ends at 5/0A000000 (2026-11-25 10:30:00 UTC): the 26 hours since then cannot be recovered. Look for them in pg_wal of the old primary and its standbys, and in other buckets; put them under their names. If they are lost: take a new base backup, and acknowledge the loss (`--ack`).
        UNKNOWN segment.unread 000000030000000300000052 to 000000030000000300000054: they are encrypted by OpenPGP, and no key is configured. Nobody can tell whether timeline 3 can be recovered. The cause is named. Audit again when it is gone.
        WARNING segment.record 0000000500000004000000B0: the record's CRC is 0a1b2c3d, computed 77e0914f. The base backups before it recover up to 2026-11-24 12:00:00 UTC only; a newer one leads past it. Look for another copy of the segment. To end recovery before it on purpose: a target before the LSN named.
        WARNING segment.missing 0000000200000002000000BC to 0000000200000002000000DD: 34 segments are missing, and the timeline goes on behind them. From the base backup of 18 November no recovery leads past them. Look for them in pg_wal of the old primary and its standbys, and in other buckets; put them under their names. If they are lost: take a new base backup, and acknowledge the loss (`--ack`).
        WARNING backup.part base_000000020000000200000058_00000040: part_00000003.tar.lzo ends in the middle of a block, at byte 41,943,040. It cannot be restored. Restore another backup: the WAL from it onward leads to the same states.
    "#]].assert_eq(&nagios::render(&samples::branches(), Severity::Warning));
    let mut report = samples::branches();
    report.verdict = crate::proof::verdict::Verdict::Warning;
    let line = nagios::render(&report, Severity::Critical);
    assert!(line.starts_with("WAL-R OK - warnings do not count (--fail-on critical); "), "{line}");
    let attacked = nagios::render(&samples::hostile(), Severity::Warning);
    let (first, rest) = attacked.split_once('\n').unwrap();
    assert_eq!(first.matches('|').count(), 1, "{first}");
    assert!(!rest.contains('|') && !attacked.contains('\u{1b}'), "{rest}");
    assert!(first.len() < 1500, "{}", first.len());
    for (name, report) in samples::all() {
        let text = nagios::render(&report, Severity::Warning);
        let data = text.lines().next().unwrap().split_once(" | ").unwrap().1;
        for one in data.split(' ') {
            let (label, value) = one.split_once('=').unwrap_or_else(|| panic!("{name}: {one}"));
            assert!(label.starts_with('\'') && label.ends_with('\'') && label.len() <= 21, "{name}: {one}");
            let number: String = value.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            assert!(number.parse::<f64>().is_ok(), "{name}: {one}");
        }
    }
}

#[test]
fn metrics_are_valid_and_say_what_is_known() {
    for (name, report) in samples::all() {
        let text = prometheus::render(&report);
        let metrics = exposition::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
        let names: Vec<&str> = metrics.iter().map(|sample| sample.name.as_str()).collect();
        for always in ["walr_audit_verdict", "walr_audit_timestamp_seconds", "walr_audit_findings"] {
            assert!(names.contains(&always), "{name}: {always}");
        }
        assert!(
            metrics.iter().all(|sample| sample.label("archive") == Some(&crate::cli::render::plain(&report.archive)))
        );
        let known = names.contains(&"walr_newest_commit_timestamp_seconds");
        assert_eq!(known, report.freshness.newest_commit.is_some(), "{name}");
        assert_eq!(names.contains(&"walr_archive_segments"), report.cluster.is_some(), "{name}");
    }
    let lines = prometheus::render(&samples::healthy());
    let shown: String = lines
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.replace("{archive=\"s3://backups/spilo/acid-main/14/wal/\"", "{…") + "\n")
        .collect();
    expect![[r#"
        walr_audit_verdict{…} 0
        walr_audit_timestamp_seconds{…} 1795694650
        walr_audit_duration_seconds{…} 4.21
        walr_audit_info{…,level="records",version="0.1.0"} 1
        walr_audit_findings{…,severity="critical"} 0
        walr_audit_findings{…,severity="unknown"} 0
        walr_audit_findings{…,severity="warning"} 0
        walr_audit_findings{…,severity="harmless"} 1
        walr_audit_findings{…,severity="acknowledged"} 0
        walr_audit_findings_by_code{…,code="archive.foreign",severity="harmless"} 1
        walr_audit_read_bytes{…} 4897200000
        walr_audit_read_objects{…} 924
        walr_audit_remembered_objects{…} 0
        walr_audit_unreached_segments{…} 0
        walr_archive_segments{…} 924
        walr_archive_segment_bytes{…} 4897200000
        walr_archive_segments_missing{…} 0
        walr_archive_timelines{…} 2
        walr_archive_backups{…,state="usable"} 3
        walr_archive_backups{…,state="unfinished"} 0
        walr_archive_backups{…,state="damaged"} 0
        walr_archive_backups{…,state="unknown"} 0
        walr_newest_commit_timestamp_seconds{…} 1795694400
        walr_newest_segment_timestamp_seconds{…} 1795694400
        walr_newest_backup_timestamp_seconds{…} 1795489800
        walr_window_start_timestamp_seconds{…} 1795144200
        walr_window_end_timestamp_seconds{…} 1795694400
    "#]]
    .assert_eq(&shown);
}

#[test]
fn json_has_everything() {
    for (name, report) in samples::all() {
        let text = render(&report, Output::Json, Severity::Warning).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["schema"], &value["version"]), (&"wal-r.audit".into(), &1.into()), "{name}");
        assert_eq!(value["verdict"], report.verdict.word());
        assert_eq!(value["findings"].as_array().unwrap().len(), report.findings.len());
        assert_eq!(value["began"], report.began.to_string());
    }
    let value: serde_json::Value =
        serde_json::from_str(&render(&samples::branches(), Output::Json, Severity::Warning).unwrap()).unwrap();
    let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    expect![[r#"["schema", "version", "archive", "verdict", "counts", "began", "took_ms", "level", "claim", "cluster", "freshness", "thresholds", "coverage", "times", "timelines", "backups", "windows", "findings", "acknowledgements", "steps"]"#]].assert_eq(&format!("{keys:?}"));
    assert_eq!(value["cluster"]["system"], "7710354800899113174");
    assert_eq!(value["thresholds"]["max_wal_age"], 3600);
    assert_eq!(value["timelines"][0]["stretches"][1]["present"], false);
    assert_eq!(value["timelines"][0]["stretches"][1]["from"], "0/78000000");
}

#[test]
fn times_that_are_ahead() {
    let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
    assert_eq!(ago("2026-11-26T11:00:00Z".parse().unwrap(), now), "1 h ago");
    assert_eq!(ago("2026-11-26T13:00:00Z".parse().unwrap(), now), "in 1 h");
}
