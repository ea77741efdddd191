//! The machine itself fails under wal-fetch and its feeder: the disk is full or broken at any system call, memory is
//! short, the clock jumps.
//!
//! In: the binary, archives of forged WAL, strace, libfaketime, a control group. Out: verdicts. Never: takes a segment for
//! right that was not compared byte for byte; passes where no fault was met.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use super::feeding::{ARCHIVE, Archive, Data, forge_of};
use super::support::clock::Clock;
use super::support::need::Missing;
use super::support::strace::{Fault, Strace};
use super::support::{need, or_skip, require, stderr};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use wal_r::pg::SegmentSize;
use wal_r::pg::control::ControlFile;
use wal_r::testing::backup::control_with;
use wal_r::testing::forge::Shape;

/// Calls that take room, or give back that there is none.
const TAKES_ROOM: [&str; 12] = [
    "openat",
    "write",
    "pwrite64",
    "writev",
    "fallocate",
    "ftruncate",
    "fsync",
    "fdatasync",
    "rename",
    "mkdir",
    "copy_file_range",
    "sendfile",
];
const BEYOND: &str = "00000001000000000000002D";

/// What the system says of each error.
fn words(error: &str) -> &'static str {
    match error {
        "ENOSPC" => "No space left on device",
        "EIO" => "Input/output error",
        other => panic!("{other}"),
    }
}

/// An archive of [`ARCHIVE`]'s segments without the second one.
fn with_a_gap() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("wal_005")).unwrap();
    for at in [0, 2, 3] {
        let name = format!("wal_005/{}.lzo", ARCHIVE.name(at));
        fs::copy(ARCHIVE.path().join(&name), copy.path().join(&name)).unwrap();
        // So old that nobody waits for the one that it overtook.
        let then = std::time::SystemTime::now() - Duration::from_secs(86_400);
        fs::File::options().write(true).open(copy.path().join(&name)).unwrap().set_modified(then).unwrap();
    }
    copy
}

/// Every path on the disk that a wal-fetch may touch, as it says it and as the system does.
fn disk(data: &Data, archive: &Path, file: &str, destination: &str) -> Vec<PathBuf> {
    let of_data = ["PG_VERSION", "recovery.signal", "standby.signal", "recovery.conf", "global/pg_control", "pg_wal"];
    let of_data = of_data.map(String::from).into_iter();
    let of_data = of_data.chain([format!("pg_wal/{destination}"), format!("pg_wal/.{destination}.wal-r-0")]);
    let mut paths: Vec<PathBuf> = of_data
        .flat_map(|name| [data.path().join(&name), PathBuf::from(&name), PathBuf::from(format!("./{name}"))])
        .collect();
    paths.extend([archive.to_owned(), archive.join("wal_005"), archive.join(format!("wal_005/{file}.lzo"))]);
    paths
}

fn fetch(data: &Data, archive: &Path, file: &str, destination: &str) -> Command {
    let mut command = super::support::wal_r();
    command.current_dir(data.path()).env("WALG_FILE_PREFIX", archive);
    command.args(["wal-fetch", file, &format!("pg_wal/{destination}"), "-p", "0"]);
    command
}

/// One wal-fetch, with each of its system calls to the disk failing in turn: the right answer, or a clear error that stops
/// a point-in-time recovery; then, on a sound disk, the right answer, and nothing is left.
#[test]
fn every_call_of_a_fetch_fails_once() {
    let strace = Strace::new(require!(strace));
    let gap = with_a_gap();
    let name = ARCHIVE.name(1);
    let content = &ARCHIVE.segments[name];
    for (archive, file, destination, right) in [
        (ARCHIVE.path(), name, "RECOVERYXLOG", 0),
        (ARCHIVE.path(), name, name, 0),
        (gap.path(), name, "RECOVERYXLOG", 206),
        (ARCHIVE.path(), BEYOND, "RECOVERYXLOG", 74),
    ] {
        let data = Data::new("recovery.signal");
        let place = data.path().join("pg_wal").join(destination);
        let paths = disk(&data, archive, file, destination);
        let command = fetch(&data, archive, file, destination);
        let delivered = || match fs::read(&place) {
            Ok(bytes) => bytes == *content || panic!("{file}: other bytes under its name"),
            Err(_) => false,
        };
        let (output, calls) = strace.calls(&command, &paths);
        assert_eq!(output.status.code(), Some(right), "{}", stderr(&output));
        assert_eq!(delivered(), right == 0);
        assert!(calls.len() >= 4 && calls.values().sum::<usize>() >= 15, "{calls:?}");
        let (mut failed, mut met) = (0, 0);
        let whens = |count: usize| (1..=count).map(|at| at.to_string()).chain(["1+".to_owned()]);
        let mut faults = Vec::new();
        for (call, count) in &calls {
            for error in ["EIO", "ENOSPC"] {
                // Rust's own library ends a program that cannot close a directory: that stops a recovery, too.
                if call == "close" {
                    continue;
                }
                if error == "EIO" || TAKES_ROOM.contains(&call.as_str()) {
                    faults.extend(whens(*count).map(|when| Fault { call, error, when }));
                }
            }
        }
        for fault in faults {
            let _ = fs::remove_file(&place);
            let output = strace.output(&command, &fault, &paths);
            let (code, said) = (output.status.code(), stderr(&output));
            // Which thread makes a call is not always the same.
            met += usize::from(strace.injected() > 0);
            match code {
                Some(code) if code == right => assert_eq!(delivered(), right == 0, "{fault:?}: {said}"),
                Some(204) => {
                    failed += 1;
                    assert!(!delivered(), "{fault:?}: an error, and a file: {said}");
                    assert!(said.contains(words(fault.error)), "{fault:?}: {said}");
                    let named = ["pg_wal", "wal_005", &archive.display().to_string()];
                    assert!(
                        said.contains("error[local.") && named.iter().any(|n| said.contains(n)),
                        "{fault:?}: {said}"
                    );
                }
                other => panic!("{fault:?}: {other:?}: {said}"),
            }
            // What a disk does not let us remove, or say whether it is ours, the next call clears.
            let left: BTreeSet<String> = data.left().into_iter().filter(|left| left != destination).collect();
            let excused = matches!(fault.call, "unlink" | "unlinkat" | "flock");
            assert!(left.is_empty() || excused && left.iter().all(|left| left.starts_with('.')), "{fault:?}: {left:?}");
            if code == Some(right) && left.is_empty() {
                continue;
            }
            let again = command_output(&command);
            assert_eq!(again.status.code(), Some(right), "after {fault:?}: {}", stderr(&again));
            assert_eq!(delivered(), right == 0, "after {fault:?}");
            assert!(data.left().iter().all(|left| left == destination), "after {fault:?}: {:?}", data.left());
        }
        assert!(failed >= 5 && met > 15, "{file}: {failed} of {met} failed: {calls:?}");
    }
}

/// The same command once more; `Command` cannot be run twice by a shared reference.
fn command_output(command: &Command) -> Output {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args()).env_clear().stdin(Stdio::null());
    again.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    again.current_dir(command.get_current_dir().unwrap());
    again.output().unwrap()
}

/// A file system that takes bytes and says later that it had no room for them, as those over a network do: what is thrown
/// away after a crash is not synced elsewhere, and here it must be.
#[test]
fn a_disk_that_says_too_late_that_it_is_full() {
    let strace = Strace::new(require!(strace));
    let name = ARCHIVE.name(1);
    let data = Data::new("recovery.signal");
    let place = data.path().join("pg_wal/RECOVERYXLOG");
    let paths = disk(&data, ARCHIVE.path(), name, "RECOVERYXLOG");
    let command = fetch(&data, ARCHIVE.path(), name, "RECOVERYXLOG");
    // NFS_SUPER_MAGIC, in the field that says which one it is.
    let traced = "trace=fstatfs,fdatasync".to_owned();
    let nfs = "inject=fstatfs:poke_exit=@arg2=6969000000000000".to_owned();
    for error in ["ENOSPC", "EIO", "EDQUOT"] {
        let _ = fs::remove_file(&place);
        let fault = format!("inject=fdatasync:error={error}");
        let output = strace.tampered(&command, &[traced.clone(), nfs.clone(), fault.clone()], &paths);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(204), "{error}: {said}");
        assert!(said.contains(if error == "EIO" { "error[local.io]" } else { "error[local.space]" }), "{said}");
        assert!(data.left().is_empty(), "{:?}", data.left());
        // One that says so at once is not synced.
        let output = strace.tampered(&command, &[traced.clone(), fault], &paths);
        assert_eq!((output.status.code(), strace.injected()), (Some(0), 0), "{}", stderr(&output));
    }
    let _ = fs::remove_file(&place);
    let output = strace.tampered(&command, &[traced, nfs], &paths);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(fs::read(&place).unwrap() == ARCHIVE.segments[name]);
}

/// Nobody can read what it says: the answer is the same.
#[test]
fn a_full_disk_behind_stdout_and_stderr() {
    let gap = with_a_gap();
    for (archive, file, right) in
        [(ARCHIVE.path(), ARCHIVE.name(1), 0), (ARCHIVE.path(), BEYOND, 74), (gap.path(), ARCHIVE.name(1), 206)]
    {
        for flags in [vec![], vec!["-v"], vec!["--format", "json"], vec!["-v", "--format", "json"]] {
            let data = Data::new("recovery.signal");
            let mut command = fetch(&data, archive, file, "RECOVERYXLOG");
            let full = || fs::File::options().write(true).open("/dev/full").unwrap();
            let status = command.args(&flags).stdout(full()).stderr(full()).status().unwrap();
            assert_eq!(status.code(), Some(right), "{file} {flags:?}");
            assert_eq!(data.left(), if right == 0 { vec!["RECOVERYXLOG"] } else { vec![] });
            assert!(right != 0 || fs::read(data.path().join("pg_wal/RECOVERYXLOG")).unwrap() == ARCHIVE.segments[file]);
        }
    }
}

/// A feeder whose disk fails now and then, or always: every segment arrives all the same, whole.
#[test]
fn a_feeder_on_a_disk_that_fails() {
    let strace = Strace::new(require!(strace));
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said");
    const ASKED: usize = 10;
    let (mut injected, mut troubles) = (0, BTreeSet::new());
    for (call, error) in [
        ("write", "ENOSPC"),
        ("write", "EIO"),
        ("openat", "ENOSPC"),
        ("openat", "EIO"),
        ("rename", "ENOSPC"),
        ("rename", "EIO"),
        ("ftruncate", "EIO"),
        ("flock", "EIO"),
        ("statx", "EIO"),
        ("fstatfs", "EIO"),
        ("read", "EIO"),
        ("pread64", "EIO"),
        ("getdents64", "EIO"),
    ] {
        for when in ["1+", "2+3"] {
            let fault = Fault { call, error, when: when.to_owned() };
            let data = Data::new("recovery.signal");
            let mut paths = Vec::new();
            for place in [PathBuf::from("pg_wal/.wal-r"), data.spool()] {
                for at in 0..ASKED + 8 {
                    let name = ARCHIVE.name(at);
                    paths.extend([place.join(name), place.join(format!(".{name}.wal-r-0"))]);
                }
                paths.extend([place.join("lock"), place]);
            }
            paths.extend([ARCHIVE.path().to_owned(), ARCHIVE.path().join("wal_005")]);
            paths.extend((0..ASKED + 8).map(|at| ARCHIVE.path().join(format!("wal_005/{}.lzo", ARCHIVE.name(at)))));
            // The first one starts the feeder, which is traced from its beginning. What it fetches itself may fail, too.
            let destination = data.path().join("pg_wal/RECOVERYXLOG");
            let mut code =
                strace.detached(&data.command(ARCHIVE.path(), ARCHIVE.name(0)), &fault, &paths, &said).code();
            if code == Some(204) {
                let said = fs::read_to_string(&said).unwrap();
                assert!(!destination.exists() && said.contains(words(error)), "{fault:?}: {said}");
                code = Some(0);
            } else {
                assert!(fs::read(&destination).unwrap() == ARCHIVE.segments[ARCHIVE.name(0)], "{fault:?}");
            }
            assert_eq!(code, Some(0), "{fault:?}: {}", fs::read_to_string(&said).unwrap());
            for at in 0..ASKED {
                data.gets(&ARCHIVE, at);
            }
            injected += strace.injected();
            let status = data.status();
            troubles.extend(status.into_iter().flat_map(|status| status.troubles).filter(|t| t.contains(words(error))));
            data.end();
        }
    }
    // Many of these calls are made for nobody who waits.
    assert!(injected > 200, "{injected}");
    let told = |what: &str| troubles.iter().any(|trouble| trouble.contains(what));
    assert!(told("no room") && told("cannot write it") && told("cannot be read back"), "{troubles:?}");
}

/// Taking what lies ready fails at any call: on one file system that is a rename, from another one a copy.
#[test]
fn every_call_of_a_hit_fails_once() {
    let strace = Strace::new(require!(strace));
    let shared = tempfile::tempdir_in("/dev/shm").unwrap();
    for elsewhere in [false, true] {
        let mut data = Data::new("recovery.signal");
        if elsewhere && fs::metadata(shared.path()).unwrap().dev() == fs::metadata(data.path()).unwrap().dev() {
            continue;
        }
        if elsewhere {
            data.environment.push(("WALG_PREFETCH_DIR".into(), shared.path().display().to_string()));
        }
        data.gets(&ARCHIVE, 0);
        let destination = data.path().join("pg_wal/RECOVERYXLOG");
        let ready = |data: &Data| data.wait_for_status("ready", |status| status.ready > 0 && status.fetching == 0);
        let spool = PathBuf::from(ready(&data).spool);
        let paths = |at: usize| {
            let name = ARCHIVE.name(at);
            let mut paths = disk(&data, Path::new("/none"), name, "RECOVERYXLOG");
            paths.extend([spool.join(name), data.path().join(&spool).join(name), PathBuf::from("pg_wal/.wal-r")]);
            paths
        };
        let (first, mut calls) = strace.calls(&data.command(ARCHIVE.path(), ARCHIVE.name(1)), &paths(1));
        assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
        // The error that says which of the two it is.
        assert!(calls.contains_key("rename") && (!elsewhere || calls.len() > 4), "{calls:?}");
        calls.entry("write".into()).or_insert(2);
        let (mut at, mut injected) = (2, 0);
        for (call, count) in &calls {
            for number in 1..=*count {
                for error in ["EIO", "ENOSPC"] {
                    let fault = Fault { call, error, when: number.to_string() };
                    at = if at + 2 < ARCHIVE.segments.len() { at + 1 } else { 2 };
                    if at > 2 {
                        ready(&data);
                    }
                    let _ = fs::remove_file(&destination);
                    let output = strace.output(&data.command(ARCHIVE.path(), ARCHIVE.name(at)), &fault, &paths(at));
                    injected += strace.injected();
                    let said = stderr(&output);
                    match (output.status.code(), fs::read(&destination)) {
                        (Some(0), Ok(bytes)) => assert!(bytes == ARCHIVE.segments[ARCHIVE.name(at)], "{fault:?}"),
                        (Some(204), Err(_)) => assert!(said.contains(words(error)), "{fault:?}: {said}"),
                        (code, there) => panic!("{fault:?}: {code:?}, {:?}: {said}", there.map(|bytes| bytes.len())),
                    }
                    data.gets(&ARCHIVE, at);
                }
            }
        }
        assert!(injected >= calls.len(), "{injected}: {calls:?}");
        data.end();
    }
}

/// Segments of 16 MiB that do not compress, and the control file of their cluster.
struct Large {
    archive: Archive,
    control: Vec<u8>,
}

static LARGE: LazyLock<Large> = LazyLock::new(|| {
    let size = SegmentSize::DEFAULT;
    let control = control_with(&[(228, &(size.bytes() as u32).to_le_bytes())]);
    let known = ControlFile::parse(&control).unwrap();
    assert_eq!(known.segment_size, size);
    let shape = Shape { system: known.system, size, ..Shape::default() };
    let archive = forge_of(shape, 12, |number| {
        let mut random = fastrand::Rng::with_seed(number as u64);
        std::iter::repeat_with(|| random.u8(..)).take(61_000).collect()
    });
    let stored = fs::metadata(archive.path().join(format!("wal_005/{}.lzo", archive.name(1)))).unwrap().len();
    assert!(stored >= 16 << 20, "full content: {stored}");
    Large { archive, control }
});

/// Within 64 MiB of memory, page cache and all: nothing is killed, and everything arrives.
fn within_little_memory(url: Option<(&str, Vec<(&'static str, String)>)>) -> Result<(), Missing> {
    const TMPFS: u64 = 0x0102_1994;
    let group = need::memory(64 << 20)?;
    for ahead in [false, true] {
        let mut data = Data::new("recovery.signal");
        if rustix::fs::statfs(data.path()).unwrap().f_type as u64 == TMPFS {
            return Err(Missing::of_machine("a temporary folder on a disk", "TMPDIR on a disk"));
        }
        fs::write(data.path().join("global/pg_control"), &LARGE.control).unwrap();
        if let Some((url, environment)) = &url {
            data.flags.extend(["--prefix".into(), (*url).to_owned()]);
            data.environment.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        if !ahead {
            data.flags.extend(["-p".into(), "0".into()]);
        }
        let destination = data.path().join("pg_wal/RECOVERYXLOG");
        let kept = tempfile::tempdir_in(data.path()).unwrap();
        for at in 0..if ahead { 12 } else { 3 } {
            let name = LARGE.archive.name(at);
            let output = group.around(&data.command(LARGE.archive.path(), name)).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
            // A server keeps what it was given for a while, and the page cache with it.
            let own = kept.path().join(name);
            fs::rename(&destination, &own).unwrap();
            assert!(fs::read(own).unwrap() == LARGE.archive.segments[name], "{name}: other bytes");
            if ahead {
                assert!(group.processes() > 0, "the feeder is in it");
            }
        }
        if let Some(status) = data.status() {
            assert!(status.troubles.is_empty() && status.hits + status.in_flight + status.misses > 5, "{status:?}");
        }
        assert_eq!((ahead, data.status().is_some()), (ahead, ahead));
        data.end();
        assert_eq!(group.killed(), 0);
    }
    assert!(group.most() > 60 << 20, "the limit was never met: {}", group.most());
    Ok(())
}

#[test]
fn little_memory_from_a_directory() {
    or_skip!(within_little_memory(None));
}

#[test]
fn little_memory_from_garage() {
    let garage = require!(garage);
    drop(or_skip!(need::memory(64 << 20)));
    let url = garage.upload(LARGE.archive.path(), &garage.prefix("memory"));
    or_skip!(within_little_memory(Some((&url, garage.environment()))));
}

/// When wal-fetch says that it is: what a line of its log begins with.
fn its_time(data: &Data) -> jiff::Timestamp {
    // Not a segment: a feeder would follow there.
    let (code, _, output) = data.fetch(ARCHIVE.path(), "00000002.history");
    let said = stderr(&output);
    assert_eq!(code, Some(74), "{said}");
    said.split(' ').next().unwrap().parse().unwrap_or_else(|why| panic!("{why}: {said}"))
}

/// The clock is set back and ahead while a recovery runs from a directory: nobody notices.
#[test]
fn a_clock_that_jumps() {
    let clock = Clock::new(require!(faketime));
    for sign in ["recovery.signal", "standby.signal"] {
        clock.set("+0");
        let mut data = Data::new(sign);
        data.environment.extend(clock.environment());
        for at in 0..ARCHIVE.segments.len() {
            let jump = match at {
                10 => Some(("-1h", -3_600)),
                17 => Some(("+1d", 86_400)),
                24 => Some(("-400d", -400 * 86_400)),
                31 => Some(("+0", 0)),
                _ => None,
            };
            if let Some((offset, seconds)) = jump {
                clock.set(offset);
                let off = its_time(&data).duration_since(jiff::Timestamp::now()).as_secs();
                assert!((seconds - 60..seconds + 60).contains(&off), "{offset}: its clock is off by {off} s");
            }
            data.gets(&ARCHIVE, at);
        }
        let status = data.status().unwrap();
        assert_eq!(status.segments(), ARCHIVE.segments.len() as u64, "{status:?}");
        assert!(status.hits > 10 && status.troubles.is_empty(), "{status:?}");
        data.end();
    }
}

/// A store that signs for times, and a clock that is wrong for a while: a clear error that names the clock and stops a
/// point-in-time recovery, never "not there"; right again, it goes on.
#[test]
fn a_wrong_clock_before_a_store_that_minds() {
    let clock = Clock::new(require!(faketime));
    let garage = require!(garage);
    let url = garage.upload(ARCHIVE.path(), &garage.prefix("clock"));
    for (sign, refused) in [("recovery.signal", 201), ("standby.signal", 101)] {
        clock.set("+0");
        let mut data = Data::new(sign);
        data.flags = vec!["--prefix".into(), url.clone(), "--spool-bytes".into(), "4M".into()];
        data.environment = garage.environment().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        data.environment.extend(clock.environment());
        for at in 0..8 {
            data.gets(&ARCHIVE, at);
        }
        // Garage minds a day; others, a quarter of an hour.
        clock.set("-25h");
        let mut at = 8;
        let said = loop {
            let (code, bytes, output) = data.fetch(ARCHIVE.path(), ARCHIVE.name(at));
            let said = stderr(&output);
            match code {
                // Fetched before.
                Some(0) => {
                    assert!(bytes.as_deref() == Some(&ARCHIVE.segments[ARCHIVE.name(at)][..]), "{at}: other bytes")
                }
                code => {
                    assert_eq!((code, bytes), (Some(refused), None), "{said}");
                    break said;
                }
            }
            at += 1;
            assert!(at < 30, "it is never refused");
        };
        assert!(said.contains("credentials.refused") && said.contains("the clock of this machine is wrong"), "{said}");
        assert!(said.contains("the store's says "), "{said}");
        // Also what is not there cannot be told.
        let (code, _, output) = data.fetch(ARCHIVE.path(), BEYOND);
        assert_eq!(code, Some(refused), "{}", stderr(&output));
        clock.set("+0");
        for at in at..35 {
            data.gets(&ARCHIVE, at);
        }
        let began = Instant::now();
        while data.status().is_none_or(|status| status.hits == 0) {
            assert!(began.elapsed() < Duration::from_secs(20), "nothing is fetched ahead: {:?}", data.status());
            data.gets(&ARCHIVE, 35);
            data.gets(&ARCHIVE, 36);
        }
        data.end();
    }
}
