//! `backup-fetch` end to end: equal to `lzop | tar`, killed at any instant, on a full disk, and never startable before
//! it is whole.

use crate::support::archive::bundled;
use crate::support::{Scratch, require, stderr, stdout, wal_r};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const JOURNAL: &str = "wal-r.unfinished";

/// Every entry below `root` with its content (links: their target).
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(at: &Path, root: &Path, out: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(at).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("below").to_owned();
            let about = path.symlink_metadata().expect("an entry");
            if about.is_symlink() {
                out.insert(name, std::fs::read_link(&path).expect("a link").into_os_string().into_encoded_bytes());
            } else if about.is_dir() {
                out.insert(name, b"/".to_vec());
                walk(&path, root, out);
            } else {
                out.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut out);
    out
}

fn fetch(archive: &Path, target: &Path, flags: &[&str]) -> Command {
    let mut command = wal_r();
    command.arg("--prefix").arg(archive).arg("backup-fetch").arg(target).args(flags);
    command
}

fn names(archive: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(archive.join("basebackups_005")).expect("an archive");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter_map(|name| name.strip_suffix("_backup_stop_sentinel.json").map(str::to_owned)).collect();
    names.sort();
    names
}

/// Each backup of an archive is the same as through `lzop -dc | tar x`, but for what wal-r adds.
fn equals_lzop_and_tar(archive: &Path, lzop: &Path) {
    let scratch = Scratch::new();
    let names = names(archive);
    assert!(!names.is_empty());
    for name in names {
        let target = scratch.join(&name);
        let out = fetch(archive, &target, &[&name]).output().expect("a run");
        assert!(out.status.success(), "{}", stderr(&out));
        let reference = scratch.dir(format!("{name}-tar"));
        let parts = archive.join("basebackups_005").join(&name).join("tar_partitions");
        for part in std::fs::read_dir(parts).expect("partitions") {
            let part = part.expect("an entry").path();
            let mut decoded =
                Command::new(lzop).arg("-dc").arg(&part).stdout(Stdio::piped()).spawn().expect("lzop starts");
            let tar = Command::new("tar")
                .args(["x", "-C"])
                .arg(&reference)
                .stdin(decoded.stdout.take().expect("a pipe"))
                .stderr(Stdio::null())
                .status();
            assert!(tar.expect("tar runs").success() && decoded.wait().expect("lzop ends").success());
        }
        let mut ours = tree(&target);
        // A server would make it; we do, so that archive recovery finds it.
        ours.remove(Path::new("pg_wal/archive_status"));
        let want = tree(&reference);
        let differ: Vec<_> =
            want.iter().filter(|(path, content)| ours.get(*path) != Some(content)).map(|(path, _)| path).collect();
        assert!(differ.is_empty(), "{name}: {differ:?}");
        let more: Vec<_> = ours.keys().filter(|path| !want.contains_key(*path)).collect();
        assert!(more.is_empty(), "{name}: {more:?}");
    }
}

#[test]
fn the_bundled_archive_is_restored_as_lzop_and_tar_do() {
    let lzop = require!(lzop);
    equals_lzop_and_tar(&bundled().0, &lzop);
}

#[test]
fn the_larger_archive_is_restored_as_lzop_and_tar_do() {
    let folder = require!(shared_archive);
    let lzop = require!(lzop);
    equals_lzop_and_tar(&folder.join("wal-e-pg13"), &lzop);
}

#[test]
fn a_plan_touches_nothing() {
    let scratch = Scratch::new();
    let target = scratch.join("pg");
    let (archive, _) = bundled();
    let out = fetch(&archive, &target, &["LATEST", "--plan", "--recover"]).output().expect("a run");
    assert!(out.status.success(), "{}", stderr(&out));
    let text = stdout(&out);
    for want in ["backup       base_", "restore_command = '", "wal-r-fetch --prefix ", "all 1 in the archive"] {
        assert!(text.contains(want), "{want}\n{text}");
    }
    assert!(!target.exists());
    let out = fetch(&archive, &target, &["LATEST", "--plan", "--format", "json"]).output().expect("a run");
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(json["schema"], "wal-r.backup-fetch.plan");
    assert!(json["stored_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    // A target time without a zone has two readings.
    let mut command = fetch(&archive, &target, &["--recovery-target-time", "2026-11-20 20:34:38"]);
    let out = command.env("TZ", "CET-1").output().expect("a run");
    assert_eq!(out.status.code(), Some(64), "{}", stderr(&out));
    let readings = "it could be 2026-11-20 20:34:38+00:00 or 2026-11-20 20:34:38+01:00";
    assert!(stderr(&out).contains(readings), "{}", stderr(&out));
    // On a machine in UTC both are the same.
    let out = command.env("TZ", "UTC0").output().expect("a run");
    assert_eq!(out.status.code(), Some(64), "{}", stderr(&out));
    assert!(stderr(&out).contains("Write '2026-11-20 20:34:38+00:00' if UTC was meant."), "{}", stderr(&out));
}

/// Killed at random instants, the directory cannot be started, and the run after it makes it whole.
#[test]
fn killed_at_any_instant_the_next_run_makes_it_whole() {
    let (archive, _) = bundled();
    // In memory where that can be had: each run syncs, and a busy disk is not what is tested.
    let scratch = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    let reference = scratch.path().join("reference");
    let start = Instant::now();
    let out = fetch(&archive, &reference, &["LATEST"]).output().expect("a run");
    assert!(out.status.success(), "{}", stderr(&out));
    let length = start.elapsed();
    let want = tree(&reference);
    let mut random = fastrand::Rng::with_seed(20_261_121);
    let (mut interrupted, mut unfinished) = (0, 0);
    for round in 0..60 {
        let target = scratch.path().join(format!("round-{round}"));
        let mut flags = vec!["LATEST"];
        // Up to three kills in a row on one directory.
        for _ in 0..random.usize(1..=3) {
            let mut run =
                fetch(&archive, &target, &flags).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a run");
            std::thread::sleep(Duration::from_micros(random.u64(0..length.as_micros() as u64)));
            run.kill().expect("SIGKILL");
            run.wait().expect("its end");
            flags = vec!["LATEST", "--resume"];
            interrupted += 1;
            if target.join(JOURNAL).exists() && !target.join("global/pg_control").exists() {
                unfinished += 1;
            }
            // Without a journal there is nothing, or everything.
            if target.exists() && !target.join(JOURNAL).exists() {
                let there = tree(&target);
                assert!(
                    there.keys().all(|name| name.starts_with("wal-r.unfinished.new")) || there == want,
                    "round {round}"
                );
            }
            if target.join("global/pg_control").exists() {
                let mut there = tree(&target);
                there.remove(Path::new(JOURNAL));
                assert_eq!(there.len(), want.len(), "round {round}: pg_control comes last");
                assert!(there == want, "round {round}: pg_control comes last");
            }
        }
        if !target.join("global/pg_control").exists() || target.join(JOURNAL).exists() {
            let out = fetch(&archive, &target, &["LATEST", "--resume"]).output().expect("a run");
            assert!(out.status.success(), "round {round}: {}", stderr(&out));
        }
        assert!(tree(&target) == want, "round {round}");
        std::fs::remove_dir_all(&target).expect("removed");
    }
    assert!(interrupted >= 60 && unfinished >= 10, "{interrupted} kills, {unfinished} within the restore");
}

/// What keeps a server off: no pg_control.
#[test]
fn no_server_starts_on_an_unfinished_restore() {
    let postgres = require!(postgres 13);
    let (archive, _) = bundled();
    let scratch = Scratch::new();
    let archive = scratch.copy(&archive, "archive");
    let target = scratch.join("pg");
    let parts = names(&archive);
    let latest = parts.last().expect("a backup");
    // The last partition breaks off at its end: everything is written, nothing is proven.
    let part = archive.join("basebackups_005").join(latest).join("tar_partitions/part_00000000.tar.lzo");
    let bytes = std::fs::read(&part).expect("a partition");
    std::fs::write(&part, &bytes[..bytes.len() - 4]).expect("cut");
    let mut command = scratch.command(scratch.wal_r());
    command.arg("--prefix").arg(&archive).arg("backup-fetch").arg(&target).args([latest.as_str(), "--minimal-config"]);
    let out = command.output().expect("a run");
    assert_eq!(out.status.code(), Some(65), "{}", stderr(&out));
    assert!(target.join("PG_VERSION").exists() && target.join("base/1").exists(), "files are there");
    std::fs::write(target.join("postgresql.conf"), "listen_addresses = ''\n").expect("a file");
    crate::support::scratch::give_tree(&target);
    let out = scratch.command(postgres.program(&scratch, "postgres")).arg("-D").arg(&target).output().expect("a run");
    assert!(!out.status.success());
    assert!(stderr(&out).contains("could not find the database system"), "{}", stderr(&out));
    // Not every package of servers has it.
    let resetwal = postgres.program(&scratch, "pg_resetwal");
    if resetwal.exists() {
        let out = scratch.command(resetwal).arg("-f").arg("-D").arg(&target).output().expect("a run");
        assert!(!out.status.success(), "pg_resetwal must not guess: {}", stderr(&out));
    }
}

/// 24 MiB and 4 for each worker, whatever the size of the partitions. Of these the program's own pages take 14 in a release
/// build; a debug build's are several times as many and say nothing, so that only what it allocates is held against the rest.
#[test]
fn memory_does_not_grow_with_the_backup() {
    let (archive, _) = bundled();
    let scratch = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    for workers in ["1", "2"] {
        let target = scratch.path().join(workers);
        let flags = ["LATEST", "--pool-size", workers];
        let mut run =
            fetch(&archive, &target, &flags).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a run");
        let status = format!("/proc/{}/status", run.id());
        let mut peak_kib = 0;
        while run.try_wait().expect("its state").is_none() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
            peak_kib = peak_kib.max(kib.unwrap_or(0));
            std::thread::sleep(Duration::from_micros(500));
        }
        let bar = (24 - 14 + 4 * workers.parse::<u64>().expect("a number")) * 1024;
        assert!(peak_kib > 0 && peak_kib <= bar, "{peak_kib} KiB with {workers} workers");
    }
}

/// 60 MB of room for more than that: refused before, and where the archive does not tell, fatal at once.
#[test]
fn a_full_disk_is_named_with_needed_and_free() {
    if !rustix::process::geteuid().is_root() {
        return crate::support::need::skip(
            "a_full_disk_is_named_with_needed_and_free",
            &crate::support::need::Missing::of_machine("root", "run as root: it mounts a small tmpfs"),
        );
    }
    let (archive, _) = bundled();
    let scratch = Scratch::new();
    let disk = scratch.dir("disk");
    let mount = |size: &str| {
        Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&disk).status()
    };
    if !mount("8m").is_ok_and(|status| status.success()) {
        return crate::support::need::skip(
            "a_full_disk_is_named_with_needed_and_free",
            &crate::support::need::Missing::of_machine("mount", "allow mounting: it mounts a small tmpfs"),
        );
    }
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let _unmount = Unmount(disk.clone());
    let target = disk.join("pg");
    let out = fetch(&archive, &target, &["LATEST"]).output().expect("a run");
    assert_eq!(out.status.code(), Some(73), "{}", stderr(&out));
    assert!(stderr(&out).contains("are needed and"), "{}", stderr(&out));
    assert!(!target.exists(), "nothing was begun");
    // A sentinel without its size: it is noticed on the way.
    let copy = scratch.copy(&archive, "archive");
    let name = names(&copy).pop().expect("a backup");
    let sentinel = copy.join(format!("basebackups_005/{name}_backup_stop_sentinel.json"));
    let text = std::fs::read_to_string(&sentinel).expect("a sentinel").replace("expanded_size_bytes", "some_size");
    std::fs::write(&sentinel, text).expect("a sentinel");
    let out = fetch(&copy, &target, &["LATEST"]).output().expect("a run");
    assert_eq!(out.status.code(), Some(73), "{}", stderr(&out));
    assert!(stderr(&out).contains("the file system is full") && stderr(&out).contains("are free"), "{}", stderr(&out));
    assert!(!target.join("global/pg_control").exists());
    // More room, and the same again.
    let room = Command::new("mount").args(["-o", "remount,size=200m"]).arg(&disk).status();
    assert!(room.is_ok_and(|status| status.success()));
    let out = fetch(&copy, &target, &["LATEST", "--resume"]).output().expect("a run");
    assert!(out.status.success(), "{}", stderr(&out));
}
