//! How fast does an archive move? `wal-r copy` against `rclone copy` and `s3cmd sync`, between two buckets of one Garage.
//!
//! In: an archive of 300 WAL objects of 5 MB and 4 partitions of 200 MB in one bucket, bytes that do not compress. Out: for each
//! program seconds, MB/s, the ratio to rclone's, and its peak memory; in one run, in turns. Twice: with every byte passing
//! through the program, and with the server told to copy. The bars (no test asserts a time): 1.0 times rclone, and no byte
//! moved where the server copies.
//!
//! Every program makes the same destination; wal-r also digests every byte, compares, keeps a manifest, and looks at its source
//! once more. Needs `rclone` and `s3cmd` (both in Debian); one that is missing is left out and said.
#![allow(clippy::print_stdout, reason = "a bench prints")]

#[path = "../tests/it/support/mod.rs"]
#[allow(unused_macros, unused_imports, reason = "the tests' harness")]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::garage::{BUCKET, Garage, KEY, REGION, SECRET};
use support::{Scratch, need, wal_r};

const ROUNDS: usize = 7;
const SEGMENTS: usize = 300;
const SEGMENT: usize = 5 << 20;
const PARTS: usize = 4;
const PART: usize = 200 << 20;

/// Bytes that do not repeat: a store that compresses or deduplicates gains nothing.
fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn fill(garage: &Garage) -> u64 {
    let mut all = 0;
    for segment in 0..SEGMENTS {
        garage.put(&format!("from/wal_005/0000000100000000{segment:08X}.lzo"), bytes(SEGMENT, segment as u64));
        all += SEGMENT as u64;
    }
    let backup = "from/basebackups_005/base_000000010000000000000001_00000040";
    for part in 0..PARTS {
        let key = format!("{backup}/tar_partitions/part_{part:08}.tar.lzo");
        garage.put(&key, bytes(PART, 1_000_000 + part as u64));
        all += PART as u64;
    }
    let sentinel = "{\"wal_segment_backup_stop\": \"000000010000000000000001\", \"wal_segment_offset_backup_stop\": \"00000100\", \"expanded_size_bytes\": 1}";
    garage.put(&format!("{backup}_backup_stop_sentinel.json"), sentinel.into());
    all
}

/// Run to the end: how long, and how much memory it had at the most, its children's included.
fn run(mut command: Command) -> (Duration, u64) {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut peak = 0;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        if let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            peak = line.trim().trim_end_matches(" kB").parse().unwrap_or(peak);
        }
        if let Some(ended) = child.try_wait().expect("it can be asked") {
            assert!(ended.success(), "{command:?}: {ended}");
            return (began.elapsed(), peak);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ours(garage: &Garage, to: &str, flags: &[&str]) -> Command {
    let mut command = wal_r();
    command.args(["copy", "--mirror", "--from", &format!("s3://{BUCKET}/from"), "--to", &format!("s3://{to}/copy")]);
    command.args(flags).envs(garage.environment());
    command
}

/// Two names for one server: between them rclone moves the bytes itself.
fn rclone(garage: &Garage, scratch: &Path, to: &str, other: bool) -> Command {
    let remote = |name: &str| {
        format!(
            "[{name}]\ntype = s3\nprovider = Other\naccess_key_id = {KEY}\nsecret_access_key = {SECRET}\nregion = {REGION}\n\
             endpoint = {}\nforce_path_style = true\n",
            garage.endpoint()
        )
    };
    let config = scratch.join("rclone.conf");
    std::fs::write(&config, format!("{}{}", remote("one"), remote("two"))).expect("rclone's settings");
    let name = if other { "two" } else { "one" };
    let mut command = Command::new("rclone");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", scratch);
    command.args(["--config"]).arg(config).args(["copy", "--transfers", "8", "--checkers", "8"]);
    command.arg(format!("one:{BUCKET}/from")).arg(format!("{name}:{to}/copy"));
    command
}

fn s3cmd(garage: &Garage, scratch: &Path, to: &str) -> Command {
    let host = garage.endpoint().replace("http://", "");
    let mut command = Command::new("s3cmd");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", scratch);
    command.args(["--access_key", KEY, "--secret_key", SECRET, "--region", REGION, "--no-ssl", "--host", &host]);
    // Without the bucket in it: path style.
    command.args(["--host-bucket", &host, "sync"]);
    command.arg(format!("s3://{BUCKET}/from/")).arg(format!("s3://{to}/copy/"));
    command
}

/// Remove every object of a bucket.
fn empty(garage: &Garage, bucket: &str) {
    garage.blocking(|client| async move {
        let mut pages = client.list_objects_v2().bucket(bucket).into_paginator().send();
        while let Some(page) = pages.next().await {
            for object in page.expect("a page of a listing").contents() {
                let delete = client.delete_object().bucket(bucket).key(object.key().unwrap_or_default());
                delete.send().await.expect("an object is deleted");
            }
        }
    });
}

fn there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        println!("copy: without {program}, which is left out");
    }
    found
}

fn main() {
    let program = match need::garage_program() {
        Ok(program) => program,
        Err(missing) => return println!("copy: {missing:?}"),
    };
    let garage = Garage::start(&program);
    garage.cli(&["key", "allow", "--create-bucket", KEY]);
    let scratch = Scratch::new();
    let all = fill(&garage);
    println!("copy: {} objects, {} MB, {ROUNDS} rounds in turns", SEGMENTS + PARTS + 1, all / 1_000_000);
    let (rclone_there, s3cmd_there) = (there("rclone"), there("s3cmd"));
    type Make<'a> = Box<dyn Fn(&str) -> Command + 'a>;
    let mut programs: Vec<(&str, Make)> =
        vec![("through: wal-r copy", Box::new(|to: &str| ours(&garage, to, &["--through-here"])))];
    if rclone_there {
        programs.push(("through: rclone copy", Box::new(|to: &str| rclone(&garage, scratch.path(), to, true))));
    }
    programs.push(("server:  wal-r copy", Box::new(|to: &str| ours(&garage, to, &[]))));
    if rclone_there {
        programs.push(("server:  rclone copy", Box::new(|to: &str| rclone(&garage, scratch.path(), to, false))));
    }
    if s3cmd_there {
        programs.push(("server:  s3cmd sync", Box::new(|to: &str| s3cmd(&garage, scratch.path(), to))));
    }
    let mut figures: Vec<(Vec<Duration>, u64)> = vec![(Vec::new(), 0); programs.len()];
    for round in 0..ROUNDS {
        for (number, (_, make)) in programs.iter().enumerate() {
            let bucket = format!("to-{round}-{number}");
            garage.cli(&["bucket", "create", &bucket]);
            garage.cli(&["bucket", "allow", "--read", "--write", "--owner", "--key", KEY, &bucket]);
            let (took, peak) = run(make(&bucket));
            figures[number].0.push(took);
            figures[number].1 = figures[number].1.max(peak);
            // Or the disk would be busier for whoever comes later.
            empty(&garage, &bucket);
        }
    }
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort_unstable();
        times[times.len() / 2]
    };
    let medians: Vec<Duration> = figures.iter().map(|(times, _)| median(times)).collect();
    let of = |name: &str| programs.iter().position(|(known, _)| *known == name).map(|number| medians[number]);
    for (number, (name, _)) in programs.iter().enumerate() {
        let rival = of(if name.starts_with("through") { "through: rclone copy" } else { "server:  rclone copy" });
        let ratio = rival.map(|rival| format!(", {:.2} x rclone", rival.as_secs_f64() / medians[number].as_secs_f64()));
        println!(
            "copy: {name:<22} {:>6.2} s  {:>6.0} MB/s{}  peak {} MiB",
            medians[number].as_secs_f64(),
            all as f64 / 1e6 / medians[number].as_secs_f64(),
            ratio.unwrap_or_default(),
            figures[number].1 >> 10
        );
    }
}
