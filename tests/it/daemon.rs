//! `wal-r daemon` as it runs: clients that speak WAL-G's bytes, `wal-fetch --socket`, a service manager, servers in recovery.
//!
//! In: the binary, the bundled archive, real servers. Out: verdicts. Never: takes a file for whole that was not compared
//! byte for byte.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use super::support::daemon::{Daemon, answer, fetch_frame};
use super::support::need::Missing;
use super::support::pace::{Distance, Pace};
use super::support::recovery::{self, Kind, Source};
use super::support::{Scratch, archive, feeder, need, or_skip, stderr, wal_r};
use rustix::process::Signal;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const SEGMENT: &str = "000000010000000000000005";
const OTHER: &str = "000000020000000000000006";
const BEYOND: &str = "000000020000000000000008";
const HISTORY: &str = "00000002.history";

fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/archive/wal-e-pg13")
}

/// What the stored file decodes to.
fn plain(name: &str) -> Vec<u8> {
    let stored = fs::read(bundled().join(format!("wal_005/{name}.lzo"))).unwrap();
    let mut decoder = wal_r::codec::decoder(wal_r::layout::Compression::Lzo).unwrap();
    wal_r::codec::decode_all(&mut *decoder, &stored, 1 << 25).unwrap()
}

/// A folder with a data directory and a place for the socket.
struct Case(tempfile::TempDir);

impl Case {
    /// A data directory whose server is in this kind of recovery.
    fn new(signal_file: &str) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("pg_wal")).unwrap();
        fs::write(data.join("PG_VERSION"), "13\n").unwrap();
        fs::write(data.join(signal_file), "").unwrap();
        Case(folder)
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("socket")
    }

    /// `wal-r daemon` for this data directory and an archive that is a directory.
    fn daemon(&self, archive: &Path) -> Command {
        let mut command = wal_r();
        command.env("WALG_FILE_PREFIX", archive).env("PGDATA", self.data());
        command.arg("daemon").arg(self.socket());
        command
    }

    fn start(&self, archive: &Path) -> Daemon {
        Daemon::start(&mut self.daemon(archive), &self.socket())
    }

    /// The same for an archive some way off.
    fn start_at(&self, pace: &Pace) -> Daemon {
        let mut command = wal_r();
        command.envs(far(pace)).env("PGDATA", self.data()).arg("daemon").arg(self.socket());
        Daemon::start(&mut command, &self.socket())
    }

    /// `wal-fetch --socket`, as PostgreSQL calls it.
    fn client(&self, archive: &Path, file: &str) -> Command {
        let mut command = wal_r();
        command.current_dir(self.data()).env("WALG_FILE_PREFIX", archive);
        command.arg("wal-fetch").arg("--socket").arg(self.socket()).args([file, "pg_wal/RECOVERYXLOG"]);
        command
    }

    /// How it ended, and what it said.
    fn run(&self, archive: &Path, file: &str) -> (Option<i32>, String) {
        let _ = fs::remove_file(self.data().join("pg_wal/RECOVERYXLOG"));
        let output: Output = self.client(archive, file).output().unwrap();
        (output.status.code(), stderr(&output))
    }

    /// Names in the WAL directory.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.data().join("pg_wal")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn delivered(&self) -> Option<Vec<u8>> {
        fs::read(self.data().join("pg_wal/RECOVERYXLOG")).ok()
    }
}

/// The bundled archive as an S3 server some way off, and the environment that reaches it.
fn far(pace: &Pace) -> [(&'static str, String); 5] {
    [
        ("WALG_S3_PREFIX", "s3://bucket/".to_owned()),
        ("AWS_ENDPOINT_URL", pace.endpoint()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
    ]
}

/// A copy of the bundled archive's WAL, to be damaged.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("wal_005")).unwrap();
    for entry in fs::read_dir(bundled().join("wal_005")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join("wal_005").join(entry.file_name())).unwrap();
    }
    copy
}

/// Every file of the archive, each by a client that speaks the original's bytes, many at one time.
#[test]
fn files_for_many_clients_at_once() {
    let case = Case::new("standby.signal");
    let daemon = case.start(&bundled());
    assert_eq!(fs::metadata(case.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    let files: Vec<String> = fs::read_dir(bundled().join("wal_005"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap().trim_end_matches(".lzo").to_owned())
        .collect();
    assert!(files.len() > 6, "{files:?}");
    std::thread::scope(|scope| {
        for number in 0..4 * files.len() {
            let (case, daemon, file) = (&case, &daemon, &files[number % files.len()]);
            scope.spawn(move || {
                let name = format!("pg_wal/to-{number}");
                // As PostgreSQL says it, and as pg_rewind does.
                let whole = case.data().join(&name);
                let sent = if number % 3 == 0 { whole.to_str().unwrap() } else { &name };
                assert_eq!(daemon.fetch(file, sent), 'O', "{file}: {}", daemon.log());
                assert!(fs::read(&whole).unwrap() == plain(file), "{file}");
                fs::remove_file(whole).unwrap();
            });
        }
    });
    assert!(case.names().is_empty(), "{:?}", case.names());
    // One file, one place, many clients.
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(daemon.fetch(SEGMENT, "pg_wal/RECOVERYXLOG"), 'O'));
        }
    });
    assert!(case.delivered().unwrap() == plain(SEGMENT));
    assert_eq!(case.names(), ["RECOVERYXLOG"]);
    let log = daemon.log();
    assert!(!log.contains("warning") && !log.contains("error"), "{log}");
}

#[test]
fn what_is_not_there_or_not_good() {
    let case = Case::new("standby.signal");
    let archive = copy();
    let spoiled = archive.path().join(format!("wal_005/{SEGMENT}.lzo"));
    let mut bytes = fs::read(&spoiled).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    fs::write(&spoiled, bytes).unwrap();
    let daemon = case.start(archive.path());
    assert_eq!(daemon.fetch(BEYOND, "pg_wal/RECOVERYXLOG"), 'N');
    assert_eq!(daemon.fetch(BEYOND, "pg_wal/RECOVERYXLOG"), 'N');
    assert_eq!(daemon.fetch("00000009.history", "pg_wal/RECOVERYHISTORY"), 'N');
    assert_eq!(daemon.fetch(SEGMENT, "pg_wal/RECOVERYXLOG"), 'E');
    assert_eq!(daemon.fetch("postgresql.conf", "pg_wal/RECOVERYXLOG"), 'E');
    assert_eq!(daemon.fetch(OTHER, "../RECOVERYXLOG"), 'E');
    assert_eq!(daemon.fetch(OTHER, "/etc/wal-r-was-here"), 'E');
    assert!(case.names().is_empty(), "{:?}", case.names());
    let log = daemon.log();
    for told in [&*format!("error: {SEGMENT}: [damaged."), "[usage.name]", "[local.target] ../RECOVERYXLOG"] {
        assert!(log.contains(told), "no {told:?}:\n{log}");
    }
    assert_eq!(log.matches(&format!("{BEYOND} is not in the archive yet")).count(), 1, "told once:\n{log}");
    // To archive is another program's business, and that is told once.
    for _ in 0..3 {
        let mut stream = daemon.connect();
        stream.write_all(b"F\0\x1b000000010000000000000005").unwrap();
        assert_eq!(answer(&mut stream).unwrap(), 'E');
    }
    assert_eq!(daemon.log().matches("wal-r writes nothing into archives").count(), 1, "{}", daemon.log());
    assert_eq!(daemon.fetch(OTHER, "pg_wal/RECOVERYXLOG"), 'O');
}

/// Whoever sends garbage, stalls or goes away hurts nobody.
#[test]
fn garbage_and_stalls() {
    let case = Case::new("standby.signal");
    let daemon = case.start(&bundled());
    let mut random = fastrand::Rng::with_seed(44);
    let mut stalled = Vec::new();
    for number in 0..400 {
        let mut stream = daemon.connect();
        let mut bytes: Vec<u8> = (0..random.usize(1..200)).map(|_| random.u8(..)).collect();
        match number % 4 {
            // Half a good request.
            0 => bytes = fetch_frame(SEGMENT, "pg_wal/RECOVERYXLOG")[..random.usize(1..40)].to_vec(),
            // A good head before garbage.
            1 => bytes.splice(0..0, [b'f', 0, 200]).for_each(drop),
            _ => {}
        }
        // It may have hung up already.
        let _ = stream.write_all(&bytes);
        match number % 3 {
            0 => drop(stream),
            _ => stalled.push(stream),
        }
        if number % 40 == 0 {
            let begun = Instant::now();
            assert_eq!(daemon.fetch(SEGMENT, "pg_wal/RECOVERYXLOG"), 'O', "{}", daemon.log());
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        }
    }
    assert!(case.delivered().unwrap() == plain(SEGMENT));
    let memory = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 200 << 10, "{peak} kB");
    assert_eq!(daemon.log().matches("a client sent").count(), 1, "{}", daemon.log());
}

/// A client that is killed: its file does not turn up later, when PostgreSQL may have asked for another one.
#[test]
fn nothing_turns_up_for_a_killed_client() {
    let case = Case::new("standby.signal");
    let pace = Pace::of_folder(&bundled(), Distance::of(400, 0));
    let mut daemon = case.start_at(&pace);
    for round in 0..6 {
        let mut client = case.client(&bundled(), SEGMENT).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while !pace.counts().segments.contains_key(SEGMENT) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", daemon.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(70 * round));
        client.kill().unwrap();
        client.wait().unwrap();
        let then = case.delivered();
        std::thread::sleep(Duration::from_millis(700));
        assert!(case.delivered() == then, "it turned up in round {round}:\n{}", daemon.log());
        let _ = fs::remove_file(case.data().join("pg_wal/RECOVERYXLOG"));
        assert!(case.names().is_empty(), "{:?}", case.names());
        pace.forget();
    }
    assert!(daemon.log().contains("its client did not wait for it"), "{}", daemon.log());

    // Stopped while it serves: what runs is finished first.
    let mut stream = daemon.connect();
    stream.write_all(&fetch_frame(SEGMENT, "pg_wal/RECOVERYXLOG")).unwrap();
    while !pace.counts().segments.contains_key(SEGMENT) {
        std::thread::sleep(Duration::from_millis(2));
    }
    daemon.signal(Signal::TERM);
    assert_eq!(answer(&mut stream).unwrap(), 'O');
    assert!(case.delivered().unwrap() == plain(SEGMENT));
    assert!(daemon.ended().success());
    assert!(!case.socket().exists());
}

#[test]
fn starting_and_stopping() {
    let case = Case::new("standby.signal");
    let told = |command: &mut Command, code: i32, words: &str| {
        let output = command.output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{words}: {said}");
    };
    // What is no socket stays.
    fs::write(case.socket(), "precious").unwrap();
    told(&mut case.daemon(&bundled()), 74, "no socket");
    assert_eq!(fs::read_to_string(case.socket()).unwrap(), "precious");
    fs::remove_file(case.socket()).unwrap();

    let daemon = case.start(&bundled());
    told(&mut case.daemon(&bundled()), 74, "another daemon answers");
    assert_eq!(daemon.fetch(SEGMENT, "pg_wal/RECOVERYXLOG"), 'O', "it was not disturbed");
    daemon.signal(Signal::KILL);
    drop(daemon);
    assert!(case.socket().exists());
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = case.start(&bundled());
        assert_eq!(daemon.fetch(SEGMENT, "pg_wal/RECOVERYXLOG"), 'O');
        // Logs are rotated under it.
        daemon.signal(Signal::USR1);
        daemon.signal(Signal::HUP);
        daemon.signal(signal);
        assert!(daemon.ended().success(), "{}", daemon.log());
        assert!(!case.socket().exists());
        assert!(daemon.log().contains("stopped: 1 delivered"), "{}", daemon.log());
    }

    let mut nowhere = wal_r();
    told(nowhere.arg("daemon").arg(case.socket()).env("WALG_FILE_PREFIX", bundled()), 78, "--pgdata DIR");
    let long = case.0.path().join("x".repeat(120));
    told(case.daemon(&bundled()).args(["--socket-is-last"]), 64, "--socket-is-last");
    let mut command = wal_r();
    command.env("WALG_FILE_PREFIX", bundled()).arg("daemon").arg("--pgdata").arg(case.data()).arg(&long);
    told(&mut command, 64, "107 at most");
    told(wal_r().env("PGDATA", case.data()).arg("daemon").arg(case.socket()), 78, "config.prefix");
    assert!(!case.socket().exists());
}

/// Its log can be moved away.
#[test]
fn the_log_is_opened_anew() {
    let case = Case::new("standby.signal");
    let (log, old) = (case.0.path().join("own.log"), case.0.path().join("own.log.1"));
    let daemon = Daemon::start(case.daemon(&bundled()).env("WALG_LOG_DESTINATION", &log), &case.socket());
    fs::rename(&log, &old).unwrap();
    daemon.signal(Signal::USR1);
    let begun = Instant::now();
    while !log.exists() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(daemon.fetch("nonsense", "pg_wal/RECOVERYXLOG"), 'E');
    assert!(fs::read_to_string(&log).unwrap().contains("usage.name"));
    assert!(fs::read_to_string(&old).unwrap().contains("serving"));
}

#[test]
fn a_service_manager_is_told() {
    let case = Case::new("standby.signal");
    let path = case.0.path().join("notify");
    let listener = UnixDatagram::bind(&path).unwrap();
    listener.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut command = case.daemon(&bundled());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut daemon = Daemon::spawn(&mut command, &case.socket());
    let hear = || {
        let mut bytes = [0; 1000];
        let length = listener.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let first = hear();
    assert!(first.starts_with("READY=1\nSTATUS=Serving "), "{first}");
    assert_eq!(daemon.fetch(SEGMENT, "pg_wal/RECOVERYXLOG"), 'O', "ready is ready");
    let begun = Instant::now();
    let mut alive = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        alive += i32::from(hear() == "WATCHDOG=1");
    }
    assert!(alive >= 8, "{alive}");
    daemon.signal(Signal::TERM);
    let stopping = std::iter::repeat_with(hear).take(20).find(|told| told.starts_with("STOPPING=1"));
    assert!(stopping.is_some());
    assert!(daemon.ended().success());

    // The watchdog is another process's.
    let mut command = case.daemon(&bundled());
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "50000").env("WATCHDOG_PID", "1");
    let mut daemon = Daemon::spawn(&mut command, &case.socket());
    assert!(hear().starts_with("READY=1"));
    std::thread::sleep(Duration::from_millis(300));
    daemon.signal(Signal::TERM);
    assert!(hear().starts_with("STOPPING=1"));
    assert!(daemon.ended().success());
}

/// Whatever the daemon can or cannot do, the exit code is the one that this recovery needs.
#[test]
fn exit_codes_of_a_client() {
    let damaged = copy();
    fs::write(damaged.path().join(format!("wal_005/{SEGMENT}.lzo")), "<html>").unwrap();
    let gap = copy();
    fs::remove_file(gap.path().join("wal_005/000000010000000000000004.lzo")).unwrap();
    for (signal_file, base) in [("recovery.signal", 200), ("standby.signal", 100)] {
        let case = Case::new(signal_file);
        // Nobody there: the archive itself.
        let (code, said) = case.run(&bundled(), SEGMENT);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("asking the archive itself"), "{said}");
        assert!(case.delivered().unwrap() == plain(SEGMENT));
        assert_eq!(case.run(&bundled(), BEYOND).0, Some(74));
        assert_eq!(case.run(damaged.path(), SEGMENT).0, Some(base + 3));
        assert_eq!(case.run(&bundled(), "../x").0, Some(base));

        let daemon = case.start(&bundled());
        // The client knows no archive of its own: what arrives, the daemon brought.
        let none = case.0.path().join("no/such/archive");
        for file in [SEGMENT, OTHER, HISTORY] {
            let (code, said) = case.run(&none, file);
            assert_eq!((code, &*said), (Some(0), ""), "{file}");
            assert!(case.delivered().unwrap() == plain(file), "{file}");
        }
        let (code, said) = case.run(&none, BEYOND);
        assert_eq!(code, Some(74), "{said}");
        assert!(said.lines().count() == 1 && said.contains("says the daemon"), "{said}");
        assert!(case.names().is_empty(), "{:?}", case.names());
        let mut other = case.client(&none, BEYOND);
        assert_eq!(other.args(["--absent-exit", "3"]).output().unwrap().status.code(), Some(3));
        // What the daemon does not hear of decides about an absence, so the archive is asked.
        let mut judged = case.client(&none, BEYOND);
        assert_eq!(judged.args(["--mode", "point-in-time"]).output().unwrap().status.code(), Some(200));
        drop(daemon);

        let daemon = case.start(damaged.path());
        let (code, said) = case.run(damaged.path(), SEGMENT);
        assert_eq!(code, Some(base + 3), "{said}");
        assert!(said.contains("asking the archive itself") && said.contains("damaged."), "{said}");
        assert!(daemon.log().contains("damaged."), "{}", daemon.log());
        drop(daemon);

        let daemon = case.start(gap.path());
        let (code, said) = case.run(gap.path(), "000000010000000000000004");
        assert_eq!(code, Some(if base == 200 { 206 } else { 74 }), "{said}");
        assert!(daemon.log().contains("the timeline goes on") || daemon.log().contains("goes on behind it"));
        assert!(case.names().is_empty(), "{:?}", case.names());
    }
}

/// The daemon of one data directory and the client of another: neither gets the other's files.
#[test]
fn the_daemon_of_another_server() {
    let (case, other) = (Case::new("recovery.signal"), Case::new("recovery.signal"));
    let daemon = other.start(&bundled());
    let ask = |file: &str| {
        let mut command = case.client(&bundled(), file);
        command.arg("--socket").arg(other.socket());
        let output = command.output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, said) = ask(SEGMENT);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("asking the archive itself"), "{said}");
    assert!(case.delivered().unwrap() == plain(SEGMENT));
    assert!(other.names().is_empty(), "{:?}", other.names());
    daemon.wait_for("is not in the data directory");
}

/// Daemons that answer nonsense, nothing, or what is not so.
#[test]
fn a_client_believes_its_eyes() {
    let case = Case::new("recovery.signal");
    for (answer, why) in [(&b"O"[..], "and it is not"), (b"?", "is no answer"), (b"", "without an answer")] {
        let listener = UnixListener::bind(case.socket()).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 512]).unwrap();
            stream.write_all(answer).unwrap();
        });
        let (code, said) = case.run(&bundled(), SEGMENT);
        daemon.join().unwrap();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(why), "{why}: {said}");
        assert!(case.delivered().unwrap() == plain(SEGMENT));
        fs::remove_file(case.socket()).unwrap();
    }
    // It takes the question and never answers.
    let listener = UnixListener::bind(case.socket()).unwrap();
    let mut command = case.client(&bundled(), SEGMENT);
    let begun = Instant::now();
    let output = command.args(["--deadline", "2s"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("did not answer"), "{}", stderr(&output));
    assert!(begun.elapsed() >= Duration::from_secs(2));
    drop(listener);
}

/// docs/daemon.md and the unit: command lines that parse, and a restore_command for WAL-G's client that stops a recovery.
#[test]
fn what_the_page_shows_to_paste_is_good() {
    let page = fs::read_to_string(need::root().join("docs/daemon.md")).unwrap();
    let unit = fs::read_to_string(need::root().join("contrib/wal-r-daemon.service")).unwrap();
    let mut calls = 0;
    for line in page.lines().chain(unit.lines().filter(|line| !line.starts_with('#'))) {
        let shown = line.contains("restore_command = ") || line.contains("PGDATA=/") || line.starts_with("ExecStart=");
        let Some((_, call)) = line.split_once("wal-r ").filter(|_| shown && !line.contains("walg-daemon-client"))
        else {
            continue;
        };
        let words = call.trim_end_matches('\'').split(' ').map(|word| match word {
            "%f" => SEGMENT,
            "%p" => "pg_wal/RECOVERYXLOG",
            word => word,
        });
        let parsed = wal_r::cli::args::command().try_get_matches_from(std::iter::once("wal-r").chain(words));
        assert!(parsed.is_ok(), "{line}: {parsed:?}");
        calls += 1;
    }
    assert_eq!(calls, 3);
    for setting in ["Type=notify", "WatchdogSec=30s", "User=postgres", "NoNewPrivileges=yes"] {
        assert!(unit.lines().any(|line| line == setting), "{setting}");
    }

    let line = page.lines().find(|line| line.starts_with("restore_command = 'walg-daemon-client")).unwrap();
    let command = line.split_once('\'').unwrap().1.trim_end_matches('\'');
    let folder = tempfile::tempdir().unwrap();
    let client = folder.path().join("walg-daemon-client");
    for (code, wanted) in [(0, 0), (74, 74), (1, 255), (2, 255)] {
        fs::write(&client, format!("#!/bin/sh\nexit {code}\n")).unwrap();
        fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).unwrap();
        let mut shell = Command::new("/bin/sh");
        let output = shell.args(["-c", command]).env("PATH", folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(wanted), "{code}: {}", stderr(&output));
    }
}

/// Real recoveries to the end of the archive, every file through the daemon.
fn recovers(major: u32) -> Result<(), Missing> {
    let (postgres, lzop) = (need::postgres(major)?, need::lzop()?);
    let scratch = Scratch::new();
    let offline = archive::make_offline(&scratch, &postgres, &lzop);
    for kind in [Kind::PointInTime, Kind::Standby] {
        let name = if kind == Kind::Standby { "standby" } else { "point-in-time" };
        let data = recovery::copy(&scratch, &offline.base, name);
        let socket = scratch.join(format!("{name}.socket"));
        let mut command = scratch.command(scratch.wal_r());
        command.arg("--prefix").arg(&offline.archive).arg("daemon").arg("--pgdata").arg(&data).arg(&socket);
        let mut daemon = Daemon::start(&mut command, &socket);
        let flags: &'static str = Box::leak(format!("--socket '{}'", socket.display()).into_boxed_str());
        let source = Source { flags, ..Source::directory(&offline.archive) };
        let mut server = recovery::spawn(&scratch, &postgres, &data, kind, &source);
        match kind {
            Kind::PointInTime => server.wait_promoted(),
            Kind::Standby => server
                .wait_for("caught up", |server| server.try_ask(offline.accounts).is_ok_and(|sum| sum == offline.sum)),
        }
        assert_eq!(server.ask(offline.accounts), offline.sum, "{name}");
        assert!(!server.log().contains("asking the archive itself"), "{name}:\n{}", server.log());
        drop(server);
        daemon.signal(Signal::TERM);
        assert!(daemon.ended().success());
        let log = daemon.log();
        let stopped = log.lines().find_map(|line| line.split_once("stopped: ")).expect("a last line").1;
        let delivered: u32 = stopped.split(' ').next().unwrap().parse().unwrap();
        assert!(delivered >= 4 && stopped.contains(" 0 failed"), "{log}");
    }
    Ok(())
}

#[test]
fn recovers_13() {
    or_skip!(recovers(13));
}

#[test]
fn recovers_15() {
    or_skip!(recovers(15));
}

/// What PostgreSQL asks for next is fetched before it asks, each segment once, and nothing of it is left behind.
#[test]
fn it_looks_ahead() {
    let postgres = super::support::require!(postgres 13);
    let lzop = super::support::require!(lzop);
    let scratch = Scratch::new();
    let offline = archive::make_offline(&scratch, &postgres, &lzop);
    let pace = Pace::of_folder(&offline.archive, Distance::of(150, 0));
    let data = recovery::copy(&scratch, &offline.base, "data");
    let socket = scratch.join("socket");
    let mut command = scratch.command(scratch.wal_r());
    command.envs(far(&pace)).arg("daemon").arg("--pgdata").arg(&data).arg(&socket);
    let mut daemon = Daemon::start(&mut command, &socket);
    let flags: &'static str = Box::leak(format!("--socket '{}'", socket.display()).into_boxed_str());
    // What arrives, the daemon brought: the server knows of no archive.
    let source = Source { flags, ..Source::directory(&scratch.join("no/such/archive")) };
    let mut server = recovery::spawn(&scratch, &postgres, &data, Kind::Standby, &source);
    server.wait_for("caught up", |server| server.try_ask(offline.accounts).is_ok_and(|sum| sum == offline.sum));
    let status = scratch.command(scratch.wal_r()).args(["feed-status", "--once"]).arg(&data).output().unwrap();
    assert!(status.status.success(), "{}", stderr(&status));
    let counts = pace.counts();
    let stored: Vec<String> = fs::read_dir(offline.archive.join("wal_005"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.len() == 28)
        .collect();
    let asked = stored.iter().filter_map(|name| counts.segments.get(name.trim_end_matches(".lzo")));
    let asked: Vec<usize> = asked.copied().collect();
    assert!(asked.len() >= 4 && asked.iter().all(|times| *times == 1), "{counts:?}");
    assert!(counts.most_at_once > 1, "nothing was fetched ahead: {counts:?}");
    assert!(data.join("pg_wal/.wal-r").is_dir());

    // What is for the daemon is not for its feeder: the log is opened anew, and the same feeder goes on.
    let before = feeder::status(&data).expect("a feeder");
    daemon.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(800));
    let after = feeder::status(&data).expect("a feeder");
    assert!(after.up_seconds > before.up_seconds, "{before:?}\n{after:?}");

    daemon.signal(Signal::TERM);
    assert!(daemon.ended().success(), "{}", daemon.log());
    assert!(!data.join("pg_wal/.wal-r").exists(), "{}", daemon.log());
    assert!(daemon.log().contains(" 0 failed"), "{}", daemon.log());
    // Without it nobody is left who knows an archive: the standby says so, and stays.
    server.wait_for("asking without the daemon", |server| server.log().contains("asking the archive itself"));
    assert_eq!(server.ask("select pg_is_in_recovery()"), "t");
}

/// Another process looks ahead already: the daemon does without.
#[test]
fn a_spool_has_one_owner() {
    let postgres = super::support::require!(postgres 13);
    let lzop = super::support::require!(lzop);
    let scratch = Scratch::new();
    let offline = archive::make_offline(&scratch, &postgres, &lzop);
    let data = recovery::copy(&scratch, &offline.base, "data");
    let source = Source::directory(&offline.archive);
    let mut server = recovery::spawn(&scratch, &postgres, &data, Kind::Standby, &source);
    server.wait_for("caught up", |server| server.try_ask(offline.accounts).is_ok_and(|sum| sum == offline.sum));
    let socket = scratch.join("socket");
    let mut command = scratch.command(scratch.wal_r());
    command.arg("--prefix").arg(&offline.archive).arg("daemon").arg("--pgdata").arg(&data).arg(&socket);
    let daemon = Daemon::start(&mut command, &socket);
    let stored = fs::read_dir(offline.archive.join("wal_005")).unwrap();
    let names = stored.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let first = names.filter(|name| name.len() == 28).min().unwrap();
    for _ in 0..3 {
        assert_eq!(daemon.fetch(first.trim_end_matches(".lzo"), "pg_wal/RECOVERYXLOG"), 'O', "{}", daemon.log());
    }
    assert_eq!(daemon.log().matches("owns the spool").count(), 1, "{}", daemon.log());
    // What is no question of the server's makes no spool.
    assert_eq!(daemon.fetch(first.trim_end_matches(".lzo"), "base/RECOVERYXLOG"), 'O', "{}", daemon.log());
    assert!(!data.join("base/.wal-r").exists());
    assert_eq!(server.ask("select pg_is_in_recovery()"), "t");
    assert!(server.ended().is_none());
}

/// The daemon dies in the middle and comes back: nobody promotes early, and every row arrives.
#[test]
fn a_recovery_outlives_its_daemon() {
    let postgres = super::support::require!(postgres 13);
    let lzop = super::support::require!(lzop);
    let scratch = Scratch::new();
    let offline = archive::make_offline(&scratch, &postgres, &lzop);
    let data = recovery::copy(&scratch, &offline.base, "data");
    let socket = scratch.join("socket");
    let pace = Pace::of_folder(&offline.archive, Distance::of(300, 0));
    let environment: Vec<(&'static str, String)> =
        far(&pace).into_iter().filter(|(name, _)| *name != "WALG_S3_PREFIX").collect();
    let start = || {
        let mut command = scratch.command(scratch.wal_r());
        command.args(["--prefix", "s3://bucket/"]).envs(environment.clone());
        command.arg("daemon").arg("--pgdata").arg(&data).arg(&socket);
        Daemon::start(&mut command, &socket)
    };
    let daemon = start();
    let flags: &'static str = Box::leak(format!("--socket '{}'", socket.display()).into_boxed_str());
    let source = Source { prefix: "s3://bucket/".into(), environment: environment.clone(), flags };
    let mut server = recovery::spawn(&scratch, &postgres, &data, Kind::PointInTime, &source);
    server.wait_for("the first file", |server| server.log().contains("restored log file"));
    daemon.signal(Signal::KILL);
    drop(daemon);
    server.wait_for("a file without the daemon", |server| server.log().contains("asking the archive itself"));
    let _daemon = start();
    server.wait_promoted();
    assert_eq!(server.ask(offline.accounts), offline.sum);
}
