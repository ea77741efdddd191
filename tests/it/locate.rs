//! `wal-r locate` as people call it: logs as files, gzip, streams; buckets and directories.
//!
//! In: the lines of a platform's runbook, the logs of a real WAL-E beside its archive. Out: verdicts.
//! Never: expects of a log what is not also true of the archive that was made with it.

use crate::support::{require, stderr, stdout, wal_r};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

const OLD: &str = "6e101b27-ee1b-4f4d-a032-4401a3709ec3";
const PREFIX: &str = "s3://our-postgresql-backups/backups/6e101b27-ee1b-4f4d-a032-4401a3709ec3/wal/";

fn dingo() -> PathBuf {
    crate::support::need::root().join("testdata/logs/dingo.log")
}

fn locate(arguments: &[&str]) -> Output {
    wal_r().arg("locate").args(arguments).output().expect("wal-r runs")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}:\n{text}"))
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).expect("it compresses");
    encoder.finish().expect("it compresses")
}

/// The runbook: a search of the logs for the removal, another one for the GUID, and a command put together by hand.
#[test]
fn the_runbooks_log_leads_to_the_archive() {
    let output = locate(&["--deleted", dingo().to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with(&format!("instance {OLD}: deleted 2016-03-17T06:10:17Z\n")), "{text}");
    let command =
        format!("wal-r copy --from {PREFIX} --to s3://our-postgresql-backups/backups/NEW_GUID/wal/ --replace aside");
    assert!(text.contains(&command), "{text}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn files_gzip_members_and_streams_are_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = std::fs::read(dingo()).expect("the log");
    let (one, other) = plain.split_at(plain.len() / 3);
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a log");
        path.to_str().expect("UTF-8").to_owned()
    };
    let instances = |output: Output| {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let document = json(&stdout(&output));
        assert_eq!((&document["schema"], &document["version"]), (&"wal-r.locate".into(), &1.into()));
        document["instances"].clone()
    };
    let wanted = instances(locate(&["--json", &file("syslog", &plain)]));
    assert_eq!(wanted[0]["id"], OLD);
    assert_eq!(wanted[0]["state"], "deleted");
    assert_eq!(wanted[0]["archives"][0]["url"], PREFIX);
    assert_eq!(wanted[0]["nodes"]["c8ce128e-7b4c-4fe7-a533-e9379356f906"]["backend"], "10.58.111.150");
    // The name does not matter.
    for bytes in [gzip(&plain), [gzip(one), gzip(other)].concat()] {
        assert_eq!(instances(locate(&["--format", "json", &file("syslog.2", &bytes)])), wanted);
        let mut child = wal_r()
            .args(["locate", "--json", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("wal-r runs");
        child.stdin.take().expect("a pipe").write_all(&bytes).expect("it reads");
        assert_eq!(instances(child.wait_with_output().expect("it ends")), wanted);
    }
}

#[test]
fn what_is_not_found_and_what_is_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").expect("a log");
    let (empty, dingo) = (empty.to_str().expect("UTF-8").to_owned(), dingo().to_str().expect("UTF-8").to_owned());
    let none = folder.path().join("none").display().to_string();
    let here = folder.path().display().to_string();
    let rows: [(&[&str], i32, &str); 6] = [
        (&[&empty], 66, "absent.archive"),
        (&["--instance", "00000000-0000-0000-0000-000000000000", &dingo], 66, "absent.archive"),
        (&[&none], 74, "local.io"),
        (&[&here], 74, "it is a directory"),
        // The other log is read and told of, and the exit code says that not all was.
        (&[&none, &dingo], 74, "cannot read this log"),
        (&[], 64, "required"),
    ];
    for (arguments, code, said) in rows {
        let output = locate(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{arguments:?}: {}", stderr(&output));
    }
    assert!(stdout(&locate(&[&none, &dingo])).contains(OLD));
}

/// What the logs of a real server and a real WAL-E tell is what is in the archive that they wrote.
#[test]
fn the_logs_of_a_real_wal_e_agree_with_its_archive() {
    let folder = require!(shared_archive);
    let logs = folder.join("wal-e-pg13.logs");
    if !logs.is_dir() {
        // An archive without its logs: nothing to hold against it.
        return crate::support::need::skip(
            "locate::the_logs_of_a_real_wal_e_agree_with_its_archive",
            &crate::support::need::Missing::of_machine("the archive's logs", "the folder wal-e-pg13.logs beside it"),
        );
    }
    let mut files: Vec<String> = names(&logs).into_iter().map(|name| logs.join(name).display().to_string()).collect();
    files.sort();
    let arguments: Vec<&str> = std::iter::once("--json").chain(files.iter().map(String::as_str)).collect();
    let output = locate(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let document = json(&stdout(&output));
    let archive = &document["instances"][0]["archives"][0];
    let stored = names(&folder.join("wal-e-pg13/wal_005"));
    let newest = stored.iter().filter(|name| name.len() == 28).max().expect("segments");
    assert_eq!(archive["last_segment"]["name"], newest.trim_end_matches(".lzo"));
    assert_eq!(archive["wal_complete"], stored.len());
    assert_eq!(archive["last_begun"], Value::Null);
    let seen: Vec<&str> =
        archive["backups"].as_array().expect("backups").iter().filter_map(|one| one["name"].as_str()).collect();
    let mut there = names(&folder.join("wal-e-pg13/basebackups_005"));
    there.retain(|name| !name.contains("sentinel"));
    there.sort();
    assert_eq!(seen, there);
    assert!(
        archive["backups"]
            .as_array()
            .expect("backups")
            .iter()
            .all(|one| one["stopped"]["time"].is_string() && one["parts_complete"] == one["parts_begun"])
    );
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// A month's log of a whole platform through a pipe: the deleted instance is found in it, and memory does not follow it.
#[test]
fn a_large_log_is_streamed() {
    const MIB: usize = 200;
    let mut child = wal_r()
        .args(["locate", "--deleted", "--json", "-q", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("wal-r runs");
    let mut pipe = BufWriter::with_capacity(1 << 20, child.stdin.take().expect("a pipe"));
    let dingo = std::fs::read(dingo()).expect("the log");
    let mut written = 0;
    let mut number = 0u64;
    // One line of two megabytes, and then a mix: most lines mean nothing, some are another instance's uploads.
    pipe.write_all(&vec![b'x'; 2 << 20]).and_then(|()| pipe.write_all(b"\n")).expect("it reads");
    while written < MIB << 20 {
        number += 1;
        let line = match number % 16 {
            0 => format!(
                "Mar 16 {:02}:{:02}:{:02} host docker/cf-00000000-0000-4000-8000-{:012}:  patroni>         STRUCTURED: \
                 time=2016-03-16T07:00:00.5-00 pid=1 action=push-wal key=s3://our-postgresql-backups/backups/00000000-0000-4000-8000-{:012}/wal/wal_005/00000001{number:016X}.lzo \
                 prefix=x/ seg=00000001{number:016X} state=complete\n",
                number / 3600 % 24,
                number / 60 % 60,
                number % 60,
                number / 16 % 500,
                number / 16 % 500
            ),
            1 => format!("Mar 16 00:00:00 host app[{number}]: GET http://example.com/{number} in {number} ms\n"),
            _ => format!(
                "Mar 16 00:00:00 router-{} haproxy[{number}]: backend {number} has no server available, and so on and so forth\n",
                number % 7
            ),
        };
        pipe.write_all(line.as_bytes()).expect("it reads");
        if number == 100_000 {
            pipe.write_all(&dingo).expect("it reads");
        }
        written += line.len();
    }
    pipe.flush().expect("it reads");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it still waits");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    drop(pipe);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    let document = json(&stdout(&output));
    assert_eq!(document["instances"].as_array().expect("instances").len(), 1);
    assert_eq!(document["instances"][0]["id"], OLD);
    assert_eq!(document["others"], 500);
    assert_eq!(document["logs"][0]["cut_lines"], 1);
    assert!(peak < 32 << 10, "{peak} KiB");
}
