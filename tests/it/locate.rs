//! `wal-r locate` as people call it: logs as files, gzip, streams; buckets and directories.
//!
//! In: the lines of a platform's runbook, the logs of a real WAL-E beside its archive. Out: verdicts.
//! Never: expects of a log what is not also true of the archive that was made with it.

use crate::support::{require, stderr, stdout, succeed, wal_r};
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

/// A bucket of a platform: two instances' archives, one of them damaged in its sentinel, and things that are none.
fn platform(folder: &Path) {
    let bundled = crate::support::need::root().join("testdata/archive/wal-e-pg13");
    for instance in [OLD, "78218ded-7d88-4d69-bd44-6f478c300134"] {
        let place = folder.join(format!("backups/{instance}"));
        std::fs::create_dir_all(&place).expect("a folder");
        succeed(std::process::Command::new("cp").arg("-rL").arg(&bundled).arg(place.join("wal")));
    }
    succeed(std::process::Command::new("chmod").args(["-R", "u+rwX"]).arg(folder));
    let young = folder.join("backups/78218ded-7d88-4d69-bd44-6f478c300134");
    let sentinel = "wal/basebackups_005/base_000000010000000000000003_00000040_backup_stop_sentinel.json";
    std::fs::write(young.join(sentinel), "{").expect("a sentinel");
    std::fs::create_dir_all(young.join("walsysids")).expect("a folder");
    std::fs::write(young.join("walsysids/sysid"), "6789\n").expect("an identifier");
    std::fs::create_dir_all(folder.join("logs/2016")).expect("a folder");
    std::fs::write(folder.join("logs/2016/03"), "x").expect("a file");
}

/// What `--under` must tell of it, wherever it is.
fn judge(document: &Value, under: &str) {
    assert_eq!((&document["schema"], &document["version"]), (&"wal-r.locate-under".into(), &1.into()));
    let archives = document["archives"].as_array().expect("archives");
    assert_eq!(archives.len(), 2, "{document}");
    let of = |instance: &str| archives.iter().find(|one| one["instance"] == instance).expect("it is found");
    let facts = std::fs::read_to_string(crate::support::need::root().join("testdata/archive/wal-e-pg13.facts.txt"));
    let facts = facts.expect("facts");
    let system = facts.lines().find_map(|line| line.strip_prefix("system_identifier ")).expect("a fact");
    let old = of(OLD);
    assert_eq!(old["url"], format!("{under}/backups/{OLD}/wal/"));
    assert_eq!(old["system"].to_string(), system);
    assert_eq!(old["newest_backup"]["name"], "base_000000010000000000000003_00000040");
    assert_eq!(old["newest_segment"]["name"], "000000020000000000000007");
    assert_eq!((&old["segments"], &old["base_backups"], &old["objects"]), (&6.into(), &1.into(), &12.into()));
    assert_eq!(old["trouble"], Value::Null);
    assert!(old["first"].as_str() <= old["last"].as_str() && old["last"].is_string());
    let young = of("78218ded-7d88-4d69-bd44-6f478c300134");
    assert_eq!(
        (&young["base_backups"], &young["unreadable"], &young["newest_backup"]),
        (&1.into(), &1.into(), &Value::Null)
    );
    assert_eq!(young["other_systems"][0][0], 6789, "{young}");
}

#[test]
fn every_archive_below_a_directory() {
    let folder = tempfile::tempdir().expect("a folder");
    platform(folder.path());
    let under = format!("file://{}", folder.path().display());
    let output = locate(&["--under", &under, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    judge(&json(&stdout(&output)), &under);
    // One that cannot be listed is shown with its error, which is the exit code; the other one is whole.
    let wal = folder.path().join(format!("backups/{OLD}/wal/wal_005"));
    std::fs::remove_dir_all(&wal).expect("it goes");
    std::os::unix::fs::symlink(folder.path().join("not-mounted"), &wal).expect("a link");
    let output = locate(&["--under", &under]);
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains(&format!("{under}/backups/{OLD}/wal/\n  trouble      [local.io] ")), "{text}");
    assert!(text.contains("newest 000000020000000000000007"), "{text}");
    // Nothing there, and no such place.
    let output = locate(&["--under", &format!("{under}/logs")]);
    assert_eq!((output.status.code(), stderr(&output).contains("absent.archive")), (Some(66), true));
    let output = locate(&["--under", &format!("{under}/nowhere")]);
    assert_eq!((output.status.code(), stderr(&output).contains("absent.prefix")), (Some(66), true));
    let output = locate(&["--under", &under, "some.log"]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
}

#[test]
fn every_archive_below_a_prefix_of_a_bucket() {
    let garage = require!(garage);
    let folder = tempfile::tempdir().expect("a folder");
    platform(folder.path());
    let prefix = garage.prefix("locate");
    let url = garage.upload(folder.path(), &prefix);
    let output = wal_r().args(["locate", "--json", "--under", &url]).envs(garage.environment()).output();
    let output = output.expect("wal-r runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    judge(&json(&stdout(&output)), &url);
    // Whoever may not look is told so, and not that there is nothing.
    let refused = wal_r()
        .args(["locate", "--under", &url])
        .envs(garage.environment())
        .env("AWS_SECRET_ACCESS_KEY", "wrong")
        .output()
        .expect("wal-r runs");
    assert_eq!(refused.status.code(), Some(77), "{}", stderr(&refused));
}
