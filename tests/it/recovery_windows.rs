//! `recovery-windows` on real archives, and its claims put to real servers: a target just inside a window opens, one just
//! outside does what was said.
//!
//! In: the bundled archive and the larger one; archives made by this run on PostgreSQL 12, 13 and 14. Out: agreement with
//! the facts, with the servers' own commit timestamps, and with what servers do. Never: times computed by the test.

use crate::support::archive::{self, Facts};
use crate::support::need::{self, Missing};
use crate::support::postgres::{Postgres, Server};
use crate::support::recovery::{self, Kind, Source};
use crate::support::{Scratch, or_skip, require, stdout, wal_r};
use jiff::{Timestamp, ToSpan};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The report, and the exit code.
#[track_caller]
fn ask(archive: &Path, flags: &[&str]) -> (Value, i32) {
    let mut command = wal_r();
    command.args(["recovery-windows", "--format", "json", "-q", "--prefix"]).arg(archive).args(flags);
    let output = command.output().expect("it runs");
    let text = stdout(&output);
    let value = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}\n{:?}", output.stderr));
    (value, output.status.code().expect("an exit code"))
}

#[track_caller]
fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no time: {value}"))
}

fn fact(facts: &Facts, name: &str) -> Timestamp {
    let text = facts.get(name).split(" timeline").next().expect("a time");
    text.parse().unwrap_or_else(|why| panic!("{name} {text}: {why}"))
}

fn line(report: &Value, timeline: u64) -> &Value {
    let lines = report["timelines"].as_array().expect("timelines");
    lines.iter().find(|line| line["timeline"] == timeline).expect("that timeline")
}

fn agrees(archive: &Path, facts: &Facts) {
    let (report, code) = ask(archive, &[]);
    assert_eq!((code, &report["schema"], &report["version"]), (0, &"wal-r.recovery-windows".into(), &1.into()));
    for (timeline, latest, begun) in [(1, false, None), (2, true, Some("tli2_started"))] {
        let line = line(&report, timeline);
        assert_eq!(line["latest"], latest);
        assert!(line["holes"].as_array().is_some_and(Vec::is_empty), "{line}");
        let [window] = line["windows"].as_array().expect("windows").as_slice() else { panic!("{line}") };
        assert_eq!((&window["proven"], &window["ends"]["kind"]), (&true.into(), &"archive_ends".into()));
        // The facts' times were asked of the server behind the last commit.
        let last = time(&window["to"]["time"]);
        let known = fact(facts, &format!("tli{timeline}_last_commit"));
        assert!(last <= known && last > known - 5.seconds(), "{last} {known}");
        assert!(begun.is_none_or(|begun| last > fact(facts, begun)));
        assert!(time(&window["from"]["time"]) < fact(facts, "precious_exists_at"));
        let points = line["restore_points"].as_array().expect("restore points");
        let point = points.iter().find(|point| point["name"] == "before_drop").expect("the restore point");
        assert!(time(&point["time"]) < fact(facts, "precious_dropped_by") && point["from"].is_string());
    }
    // On both sides of the drop; by a ledger the second time, which reads nothing.
    let scratch = Scratch::new();
    let ledger = scratch.join("ledger.sqlite");
    let ledger = ledger.to_str().expect("a path");
    for (name, remembered) in [("precious_exists_at", false), ("precious_dropped_by", true)] {
        let (report, code) = ask(archive, &["--ledger", ledger, "--can-reach", facts.get(name)]);
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["read"]["objects"] == 0, remembered, "{}", report["read"]);
        assert!(report["answer"]["command"].as_str().is_some_and(|command| command.contains("backup-fetch DIR base_")));
        assert_eq!(report["answer"]["way"]["timeline"], 2, "what `latest` means");
    }
    // Reading the edges alone gives the same times, and claims less.
    let (quick, _) = ask(archive, &["--quick"]);
    for timeline in [1, 2] {
        let (quick, full) = (&line(&quick, timeline)["windows"][0], &line(&report, timeline)["windows"][0]);
        assert_eq!((&quick["to"], &quick["from"], &quick["from_lsn"]), (&full["to"], &full["from"], &full["from_lsn"]));
    }
    assert!(quick["read"]["objects"].as_u64() <= report["read"]["objects"].as_u64());
}

#[test]
fn the_bundled_archive_agrees_with_its_facts() {
    let (archive, facts) = archive::bundled();
    agrees(&archive, &facts);
}

#[test]
fn the_larger_archive_agrees_with_its_facts() {
    let (archive, facts) = archive::shared(&require!(shared_archive));
    agrees(&archive, &facts);
    let (quick, _) = ask(&archive, &["--quick"]);
    assert!(line(&quick, 2)["windows"][0]["unread"].as_u64() > Some(0), "something lies between the edges");
    assert_eq!(line(&quick, 2)["windows"][0]["proven"], false);
}

#[test]
fn what_cannot_be_reached_and_what_is_nearest() {
    let (from, _) = archive::bundled();
    let scratch = Scratch::new();
    let archive = scratch.copy(&from, "archive");
    std::fs::remove_file(archive.join("wal_005/000000020000000000000006.lzo")).expect("a segment goes");
    let (report, code) = ask(&archive, &["--can-reach", "2026-11-21 09:25:43.13+00"]);
    assert_eq!((code, &report["answer"]["way"], &report["answer"]["after"]), (1, &Value::Null, &Value::Null));
    let because = report["answer"]["because"][0].as_str().expect("a reason");
    assert!(because.contains("000000020000000000000006 is missing"), "{because}");
    let before = report["answer"]["command_before"].as_str().expect("the nearest");
    assert!(before.contains("--recovery-target-lsn"), "{before}");
    let (report, code) = ask(&archive, &["--can-reach", "no_such_point"]);
    assert_eq!(code, 1);
    assert!(report["answer"]["because"][0].as_str().is_some_and(|why| why.contains("before_drop")), "{report}");

    // Nobody knows, nothing there, a time without a zone: each its own exit code.
    let code = |archive: &Path, flags: &[&str]| {
        let mut command = wal_r();
        command.args(["recovery-windows", "--prefix"]).arg(archive).args(flags);
        command.output().expect("it runs").status.code()
    };
    assert_eq!(code(&scratch.join("nowhere"), &[]), Some(3));
    assert_eq!(code(&scratch.dir("empty"), &[]), Some(3));
    assert_eq!(code(&archive, &["--can-reach", "2026-11-21 09:25:43"]), Some(64));
    assert_eq!(code(&archive, &["--timeline", "7"]), Some(64));
    // The ledger of another archive is refused, and that archive is left alone.
    let ledger = scratch.join("ledger.sqlite");
    let ledger = ledger.to_str().expect("a path");
    assert_eq!(code(&archive, &["--ledger", ledger]), Some(0));
    assert_eq!(code(&from, &["--ledger", ledger]), Some(3));
    assert_eq!(code(&from, &["--ledger", ledger, "--rebuild-ledger"]), Some(0));
    let names = std::fs::read_dir(&from).expect("the archive").count();
    assert_eq!(names, 2, "nothing was put into it");
}

/// A base backup taken while others commit, and the archive of its WAL.
struct Made {
    base: PathBuf,
    archive: PathBuf,
    /// When rows 1 to 7 were committed, by the server's own record. 3 and 4 while the backup was taken.
    committed: Vec<Timestamp>,
}

const ROWS_DURING: usize = 4;
const ROWS: usize = 7;

/// With the exclusive backup that WAL-E used (up to 14), so that the files may be copied by hand.
fn make(scratch: &Scratch, postgres: &Postgres) -> Made {
    let (data, base, archive) = (scratch.join("primary"), scratch.join("base"), scratch.dir("archive"));
    postgres.initdb(scratch, &data);
    scratch.dir("archive/wal_005");
    scratch.dir("archive/basebackups_005");
    let push = format!("archive_command=cp %p '{}/wal_005/%f'", archive.display());
    let settings = ["archive_mode=on", &push, "wal_level=replica", "autovacuum=off", "track_commit_timestamp=on"];
    let mut server = postgres.start(scratch, &data, &settings, &[]);
    server.ask("create table rows (id int)");
    let insert = |server: &Server, id: usize| {
        server.ask(&format!("insert into rows values ({id})"));
        // Apart from each other, as people's targets are.
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    (1..=2).for_each(|id| insert(&server, id));
    let start = server.ask("select pg_start_backup('windows', true)");
    (3..=ROWS_DURING).for_each(|id| insert(&server, id));
    // Files may come and go under it: that is what the WAL is for.
    let _ = Command::new("cp").arg("-a").arg(&data).arg(&base).output().expect("cp runs");
    let stop = server.ask("select pg_stop_backup()");
    (ROWS_DURING + 1..=ROWS).for_each(|id| insert(&server, id));
    let times = "select to_char(pg_xact_commit_timestamp(xmin) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') \
                 from rows order by id";
    let committed = server.ask(times).lines().map(|line| line.parse().expect("a time")).collect();
    server.ask("select pg_switch_wal()");
    let name_of = |lsn: &str| server.ask(&format!("select pg_walfile_name('{lsn}')"));
    let offset = |lsn: &str| {
        let low = lsn.split('/').nth(1).expect("an LSN");
        u32::from_str_radix(low, 16).expect("hex") % (16 << 20)
    };
    // What WAL-E would have left of it, but for the files themselves.
    let name = format!("base_{}_{:08}", name_of(&start), offset(&start));
    let sentinel = format!(
        r#"{{"wal_segment_backup_stop": "{}", "wal_segment_offset_backup_stop": "{:08}", "expanded_size_bytes": 1}}"#,
        name_of(&stop),
        offset(&stop)
    );
    let folder = archive.join("basebackups_005");
    std::fs::write(folder.join(format!("{name}_backup_stop_sentinel.json")), sentinel).expect("a sentinel");
    let parts = folder.join(&name).join("tar_partitions");
    std::fs::create_dir_all(&parts).expect("a folder");
    std::fs::write(parts.join("part_00000000.tar.lzo"), "not looked into").expect("a partition");
    server.stop();
    for gone in ["postmaster.pid", "postmaster.opts"] {
        let _ = std::fs::remove_file(base.join(gone));
    }
    for entry in std::fs::read_dir(base.join("pg_wal")).expect("pg_wal") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            std::fs::remove_file(&path).expect("a segment goes");
        }
    }
    Made { base, archive, committed }
}

/// What became of a recovery to a target: how many rows there are, or the server's last words.
fn recover(scratch: &Scratch, postgres: &Postgres, made: &Made, target: &str) -> Result<usize, String> {
    let name = format!("data-{}", std::fs::read_dir(scratch.path()).expect("the scratch folder").count());
    let data = recovery::copy(scratch, &made.base, &name);
    let source = Source::directory(&made.archive);
    let command = source.restore_command(scratch);
    let mut settings = recovery::configure_with(postgres, &data, Kind::PointInTime, &command);
    settings.extend([target.to_owned(), "recovery_target_action=promote".to_owned()]);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut server = postgres.spawn(scratch, &data, &settings, &[]);
    let promoted = |server: &mut Server| server.try_ask("select pg_is_in_recovery()").is_ok_and(|answer| answer == "f");
    server.wait_for_end_or("promoted", promoted);
    match server.ended() {
        Some(_) => Err(server.log()),
        None => Ok(server.ask("select count(*) from rows").parse().expect("a number")),
    }
}

fn a_server_does_what_was_said(major: u32) -> Result<(), Missing> {
    let postgres = need::postgres(major)?;
    let scratch = Scratch::new();
    let made = make(&scratch, &postgres);
    let (report, code) = ask(&made.archive, &[]);
    assert_eq!(code, 0, "{report}");
    let window = &report["timelines"][0]["windows"][0];
    assert_eq!(report["timelines"][0]["backups"][0]["consistent_by_record"], true, "{report}");
    // To the microsecond what the server itself says of its commits.
    let (from, to) = (time(&window["from"]["time"]), time(&window["to"]["time"]));
    assert_eq!(
        (from, &window["from"]["by"]),
        (made.committed[ROWS_DURING - 1], &"commit".into()),
        "{:?}",
        made.committed
    );
    assert_eq!(to, made.committed[ROWS - 1]);

    let at = |time: Timestamp| format!("recovery_target_time={}", time.strftime("%Y-%m-%d %H:%M:%S.%6f+00"));
    let micro = 1.microsecond();
    assert_eq!(recover(&scratch, &postgres, &made, &at(from)).expect("inside"), ROWS_DURING);
    let early = recover(&scratch, &postgres, &made, &at(from - micro)).expect_err("before it is consistent");
    assert!(early.contains("before consistent recovery point"), "{early}");
    assert_eq!(recover(&scratch, &postgres, &made, &at(to - micro)).expect("inside"), ROWS - 1);
    match recover(&scratch, &postgres, &made, &at(to)) {
        // Up to 12 the end of the WAL is good enough, in silence.
        Ok(rows) => assert!(major < 13 && rows == ROWS, "{rows}"),
        Err(log) => {
            assert!(
                major >= 13 && log.contains("recovery ended before configured recovery target was reached"),
                "{log}"
            );
        }
    }
    // And what it proposes instead, is the state with everything.
    let (report, code) = ask(&made.archive, &["--can-reach", &to.to_string()]);
    assert_eq!(code, 0);
    let lsn = report["answer"]["way"]["target"]["lsn"].as_str().expect("a place");
    assert_eq!(recover(&scratch, &postgres, &made, &format!("recovery_target_lsn={lsn}")).expect("by its place"), ROWS);
    // Its first place, too.
    let first = window["from_lsn"].as_str().expect("a place");
    let rows = recover(&scratch, &postgres, &made, &format!("recovery_target_lsn={first}")).expect("consistent");
    assert!((ROWS_DURING..=ROWS_DURING + 1).contains(&rows), "{rows}");
    Ok(())
}

#[test]
fn targets_inside_and_outside_12() {
    or_skip!(a_server_does_what_was_said(12));
}

#[test]
fn targets_inside_and_outside_13() {
    or_skip!(a_server_does_what_was_said(13));
}

#[test]
fn targets_inside_and_outside_14() {
    or_skip!(a_server_does_what_was_said(14));
}

/// The commands that are printed are commands: each is run as it stands, and gives what it promised.
#[test]
fn the_printed_command_restores() {
    let (from, facts) = archive::bundled();
    let postgres = require!(postgres 13);
    let scratch = Scratch::new();
    let archive = scratch.copy(&from, "archive");
    let (report, _) = ask(&archive, &["--can-reach", facts.get("precious_exists_at")]);
    let (latest, _) = ask(&archive, &["--timeline", "1", "--can-reach", "2027-01-01 00:00:00+00"]);
    let before = &latest["answer"]["command_before"];
    for (name, command, query, wanted) in [
        ("precious", &report["answer"]["command"], archive::PRECIOUS, facts.precious()),
        ("end-of-1", before, facts.accounts, facts.get("tli1_accounts_sum").to_owned()),
    ] {
        let data = scratch.join(name);
        let command = command.as_str().expect("a command").replacen(" DIR ", &format!(" '{}' ", data.display()), 1);
        // The program as the servers' user reaches it.
        let rest = command.split_once(" --prefix").expect("its flags").1;
        let line = format!("'{}' --prefix{rest} --recovery-target-action promote", scratch.wal_r().display());
        let mut shell = scratch.command("/bin/sh");
        crate::support::succeed(shell.args(["-c", &line]));
        let mut server = postgres.spawn(&scratch, &data, &[], &[]);
        server.wait_promoted();
        assert_eq!(server.ask_in(facts.database, query), wanted, "{name}");
    }
}
