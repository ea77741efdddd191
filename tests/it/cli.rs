//! The frame around every verb: help, version, exit codes, streams, the pages of errors.
//!
//! In: the binary, a small local archive. Out: verdicts. Never: needs a network or another program.

use std::process::{Command, Output, Stdio};

/// The program with an empty environment, no input, in a directory that is no data directory.
fn wal_r(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wal-r"));
    command.args(args).env_clear().stdin(Stdio::null()).current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

fn run(args: &[&str]) -> Output {
    wal_r(args).output().expect("the binary runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_and_version_are_results() {
    for args in [&["--help"][..], &["-h"], &["help"], &["explain", "--help"], &["--version"], &["-V"], &["version"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}: {}", err(&output));
    }
    let version = out(&run(&["--version"]));
    for line in ["wal-r ", "features: ", "stores: ", "codecs: "] {
        assert!(version.contains(line), "{version}");
    }
    assert_eq!(version, out(&run(&["version"])));
}

#[test]
fn usage_errors_are_64_and_speak_on_stderr() {
    for args in [&[][..], &["no-such-verb"], &["explain", "--no-such-flag"], &["--format", "xml", "explain"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn every_code_has_a_page() {
    let list = out(&run(&["explain"]));
    let codes: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert!(codes.contains(&"store.unreachable") && codes.len() > 30, "{list}");
    for code in codes {
        let page = run(&["explain", code]);
        assert_eq!(page.status.code(), Some(0), "{code}");
        assert!(out(&page).starts_with(code) && out(&page).lines().count() >= 5, "{}", out(&page));
    }
    let unknown = run(&["explain", "no.such"]);
    assert_eq!(unknown.status.code(), Some(64));
    assert!(err(&unknown).starts_with("error[usage.argument]: "), "{}", err(&unknown));
}

#[test]
fn json_in_json_out() {
    let page = run(&["--format", "json", "explain", "gap"]);
    assert!(out(&page).contains("\"schema\": \"wal-r.explain\""), "{}", out(&page));
    let failed = run(&["explain", "no.such", "--format", "json"]);
    assert!(failed.stdout.is_empty());
    assert!(err(&failed).starts_with("{\"schema\":\"wal-r.error\"") && err(&failed).contains("\"exit\":64"));
}

#[test]
fn a_reader_that_goes_away_is_success_and_a_full_disk_is_not() {
    let mut child = wal_r(&["explain"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    for args in [&["explain"][..], &["--help"], &["--version"]] {
        let output = wal_r(args).stdout(full.try_clone().expect("dup")).output().expect("runs");
        assert_eq!(output.status.code(), Some(74), "{args:?}");
        assert!(err(&output).contains("error[local.io]: stdout"), "{args:?}: {}", err(&output));
    }
}

#[test]
fn closed_streams_change_nothing() {
    let program = env!("CARGO_BIN_EXE_wal-r");
    for (args, code) in [("explain store.dns", 0), ("explain no.such", 64), ("no-such-verb", 64)] {
        for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
            let line = format!("{program} {args} {closed}");
            let status = Command::new("/bin/sh").args(["-c", &line]).env_clear().output().expect("sh runs").status;
            assert_eq!(status.code(), Some(code), "{line}");
        }
    }
}

#[test]
fn in_the_data_directory_of_a_recovery_a_typing_error_stops_it() {
    let data = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-recovering");
    std::fs::create_dir_all(&data).expect("writable");
    std::fs::write(data.join("recovery.signal"), "").expect("writable");
    for args in [&["walfetch", "a", "b"][..], &["wal-fetch", "--no-such-flag", "a", "b"]] {
        let output = wal_r(args).current_dir(&data).output().expect("runs");
        assert_eq!(output.status.code(), Some(200), "{args:?}");
    }
}
