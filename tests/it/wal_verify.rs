//! `wal-show` and `wal-verify` end to end: exit codes, and that the body is always there.
//!
//! In: the binary, the bundled archive, copies of it with files taken away, a running server. Out: verdicts. Never: changes
//! the bundled archive.

use super::support::postgres::{Postgres, Server};
use super::support::{Scratch, archive, require};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn wal_r(prefix: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wal-r"));
    command.arg("--prefix").arg(prefix).args(args).env_clear().stdin(Stdio::null());
    command.current_dir(env!("CARGO_TARGET_TMPDIR")).output().expect("the binary runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Exit code, and the body.
fn verify(prefix: &Path, args: &[&str]) -> (i32, String) {
    let args: Vec<&str> = std::iter::once("wal-verify").chain(args.iter().copied()).collect();
    let output = wal_r(prefix, &args);
    (output.status.code().expect("an exit code"), out(&output))
}

/// A copy of the bundled archive without these files.
fn without(scratch: &Scratch, files: &[&str]) -> PathBuf {
    let (bundled, _) = archive::bundled();
    let copy = scratch.copy(&bundled, "archive");
    for file in files {
        std::fs::remove_file(copy.join(file)).expect(file);
    }
    copy
}

const ALL: &[&str] = &["integrity", "timeline", "names"];
const LEVELS: &[&str] = &["decode", "headers", "records"];

#[test]
fn a_healthy_archive_is_ok() {
    let (bundled, _) = archive::bundled();
    let (code, body) = verify(&bundled, ALL);
    assert_eq!(code, 0, "{body}");
    for check in ALL {
        assert!(body.contains(&format!("[wal-verify] {check} check status: OK")), "{body}");
    }
    let (code, body) = verify(&bundled, LEVELS);
    assert_eq!((code, body.matches("check status: OK").count()), (0, 3), "{body}");
    let (code, json) = verify(&bundled, &["integrity", "timeline", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &json["integrity"]["status"]), (0, &"OK".into()));
    assert_eq!(json["timeline"]["details"]["highest_storage_timeline_id"], 2);
    assert_eq!(json["integrity"]["details"][0]["start_segment"], "000000010000000000000003");
}

#[test]
fn what_is_lost_fails_with_its_body() {
    // File taken away, and what must be said of it: exit code of `names`, a code, a clause.
    let cases = [
        ("wal_005/000000010000000000000004.lzo", 2, "CRITICAL segment.missing  000000010000000000000004 at 0/4000000"),
        ("wal_005/000000020000000000000006.lzo", 2, "CRITICAL fork.missing  000000020000000000000006 at 0/6000000"),
        ("wal_005/000000010000000000000003.lzo", 2, "CRITICAL backup.wal  base_000000010000000000000003_00000040"),
        ("wal_005/00000002.history.lzo", 2, "CRITICAL history.missing  00000002.history"),
        ("basebackups_005/base_000000010000000000000003_00000040_backup_stop_sentinel.json", 2, "CRITICAL backup.none"),
        (
            "basebackups_005/base_000000010000000000000003_00000040/tar_partitions/part_00000000.tar.lzo",
            2,
            "CRITICAL backup.part",
        ),
        // Older than the base backup, and the incomplete end of a timeline that was left.
        ("wal_005/000000010000000000000002.lzo", 0, "nothing is wrong, nothing is missing"),
        ("wal_005/000000010000000000000006.partial.lzo", 0, "nothing is wrong, nothing is missing"),
        ("wal_005/000000010000000000000003.00000028.backup.lzo", 0, "nothing is wrong, nothing is missing"),
    ];
    for (file, expected, clause) in cases {
        let scratch = Scratch::new();
        let archive = without(&scratch, &[file]);
        let (code, body) = verify(&archive, &[]);
        assert_eq!(code, expected, "{file}\n{body}");
        assert!(body.contains(clause), "{file}\n{body}");
        // Showing is no verdict.
        let shown = wal_r(&archive, &["wal-show"]);
        assert_eq!(shown.status.code(), Some(0), "{file}");
        assert!(out(&shown).contains("timeline 1"), "{file}\n{}", out(&shown));
    }
}

#[test]
fn what_only_the_content_shows() {
    let scratch = Scratch::new();
    let archive = without(&scratch, &[]);
    let (from, to) = ("wal_005/000000010000000000000004.lzo", "wal_005/000000010000000000000005.lzo");
    std::fs::copy(archive.join(from), archive.join(to)).expect("a segment");
    let (code, body) = verify(&archive, &["names"]);
    assert_eq!(code, 0, "{body}");
    let (code, body) = verify(&archive, &["names", "decode", "headers", "records"]);
    assert_eq!(code, 2, "{body}");
    for (check, status) in [("names", "OK"), ("decode", "OK"), ("headers", "FAILURE"), ("records", "FAILURE")] {
        assert!(body.contains(&format!("{check} check status: {status}")), "{body}");
    }
    assert!(body.contains("ends at 0/5000000") && body.contains("CRITICAL segment.foreign"), "{body}");
}

#[test]
fn a_warning_is_1() {
    let scratch = Scratch::new();
    let archive = without(&scratch, &[]);
    std::fs::write(archive.join("wal_005/00000001FFFFFFFF000000FE.lzo"), "no segment").expect("a stray");
    let (code, body) = verify(&archive, &["names"]);
    assert_eq!(code, 1, "{body}");
    assert!(body.contains("WARNING segment.stray"), "{body}");
    // The server is a few segments ahead: what is missing may be on its way.
    let (code, body) = verify(&archive, &["integrity", "--lsn", "0/A000060", "--timeline", "2"]);
    assert_eq!(code, 1, "{body}");
    assert!(body.contains("MISSING_UPLOADING") && body.contains("status: WARNING"), "{body}");
}

#[test]
fn what_could_not_be_looked_at_is_3_with_its_body() {
    let scratch = Scratch::new();
    let empty = scratch.dir("empty");
    let mistyped = empty.join("mistyped");
    for (prefix, clause) in [(&empty, "UNKNOWN archive.empty"), (&mistyped, "UNKNOWN archive.unread")] {
        let (code, body) = verify(prefix, ALL);
        assert_eq!(code, 3, "{body}");
        assert!(body.matches(clause).count() == 3, "{body}");
        let (code, json) = verify(prefix, &["names", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((code, &json["names"]["status"]), (3, &"UNKNOWN".into()));
    }
    assert_eq!(std::fs::read_dir(&empty).expect("a directory").count(), 0, "a reader made something");
    let refused = verify(Path::new("s3://bucket/of/nobody"), &["names", "--deadline", "1s"]);
    assert_eq!(refused.0, 3, "{}", refused.1);
    assert!(refused.1.contains("UNKNOWN archive.unread"), "{}", refused.1);
    // A base backup that is not there is no verdict on the archive.
    let (bundled, _) = archive::bundled();
    let (code, body) = verify(&bundled, &["integrity", "--backup-name", "base_000000010000000000000009"]);
    assert_eq!((code, body.as_str()), (3, ""));
}

#[test]
fn a_larger_real_archive_has_no_finding() {
    let archives = require!(shared_archive);
    let (code, body) = verify(&archives.join("wal-e-pg13"), ALL);
    assert_eq!(code, 0, "{body}");
    assert!(body.contains("nothing is wrong, nothing is missing"), "{body}");
}

/// A server says where it is, as a primary, as a standby, and promoted.
fn asked(postgres: &Postgres, promote: bool) {
    let scratch = Scratch::new();
    let archive = scratch.dir("archive");
    let wal = scratch.dir("archive/wal_005");
    let data = scratch.dir("data");
    postgres.initdb(&scratch, &data);
    let command = format!("archive_command=cp %p '{}'/%f", wal.display());
    let mut server = postgres.start(&scratch, &data, &["archive_mode=on", &command], &[]);
    let switch = if postgres.major >= 10 { "SELECT pg_switch_wal()" } else { "SELECT pg_switch_xlog()" };
    for table in 0..3 {
        server.ask(&format!("CREATE TABLE t{table} ()"));
        server.ask(switch);
    }
    // At the very border the segment before counts as the one being written.
    server.ask("CREATE TABLE behind ()");
    let archived = |count: u64| format!("SELECT archived_count >= {count} FROM pg_stat_archiver");
    server.wait_for("archiving", |server| server.ask(&archived(3)) == "t");
    let there =
        |server: &Server| format!("host={} port={} user=postgres dbname=postgres", server.host(), server.port());
    let (code, body) = verify(&archive, &["integrity", "timeline", "--pg", &there(&server)]);
    assert_eq!(code, 0, "{body}");
    assert!(
        body.contains("| 000000010000000000000001 | 000000010000000000000003 |              3 |  FOUND |"),
        "{body}"
    );
    assert!(body.contains("Current cluster timeline: 1"), "{body}");
    // One that is missing may be on its way.
    std::fs::rename(wal.join("000000010000000000000002"), archive.join("kept")).expect("a segment");
    let (code, body) = verify(&archive, &["integrity", "--pg", &there(&server)]);
    assert_eq!(code, 1, "{body}");
    assert!(body.contains("MISSING_UPLOADING"), "{body}");
    std::fs::rename(archive.join("kept"), wal.join("000000010000000000000002")).expect("a segment");
    if promote {
        server.stop();
        std::fs::write(data.join("standby.signal"), "").expect("a signal file");
        let restore = format!("restore_command=cp '{}'/%f %p", wal.display());
        let mut server = postgres.start(&scratch, &data, &["archive_mode=on", &command, &restore], &[]);
        let (_, body) = verify(&archive, &["timeline", "--pg", &there(&server)]);
        assert!(body.contains("Current cluster timeline: 1"), "{body}");
        assert_eq!(server.ask("SELECT pg_promote()"), "t");
        server.wait_for("archiving its history", |_| wal.join("00000002.history").exists());
        let (code, body) = verify(&archive, &["timeline", "--pg", &there(&server)]);
        assert_eq!(code, 0, "{body}");
        assert!(body.contains("Current cluster timeline: 2"), "{body}");
    }
    // Nobody answers: no verdict.
    let nobody = format!("host={} port=9 user=postgres", scratch.dir("nobody").display());
    let output = wal_r(&archive, &["wal-verify", "--pg", &nobody]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--lsn"), "{output:?}");
}

#[test]
fn a_server_of_10_says_where_it_is() {
    asked(&require!(postgres 10), false);
}

#[test]
fn a_server_of_13_says_where_it_is() {
    asked(&require!(postgres 13), true);
}

#[test]
fn a_server_of_18_says_where_it_is() {
    asked(&require!(postgres 18), true);
}
