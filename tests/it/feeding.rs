//! wal-fetch and its feeder as PostgreSQL calls them: kills at any moment, many at once, strange spools, odd surroundings.
//!
//! In: the binary, an archive of forged WAL. Out: verdicts. Never: takes a segment for right that was not compared byte for
//! byte; leaves a feeder behind.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use super::support::{need, stderr, wal_r};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use wal_r::feed::status::Status;
use wal_r::pg::control::ControlFile;
use wal_r::pg::{SegmentNo, SegmentSize, TimelineId};
use wal_r::testing::forge::{Shape, Wal};
use wal_r::testing::lzop::lzop;

/// Segments of the forged archive.
const SEGMENTS: usize = 40;

pub(super) fn bundled(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path)
}

/// An archive of 1 MiB segments with records across every border, of the cluster of the bundled pg_control.
pub(super) struct Archive {
    folder: tempfile::TempDir,
    pub(super) segments: BTreeMap<String, Vec<u8>>,
}

fn forge(fill: u8) -> Archive {
    let control = ControlFile::parse(&fs::read(bundled("wal_prefix/pg_control")).unwrap()).unwrap();
    let shape = Shape { system: control.system, size: SegmentSize::MIN, ..Shape::default() };
    forge_of(shape, SEGMENTS, |number| vec![number as u8 ^ fill; 61_000])
}

/// The same of another shape, full of these records of 61 kB.
pub(super) fn forge_of(shape: Shape, segments: usize, record: impl Fn(usize) -> Vec<u8>) -> Archive {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("wal_005")).unwrap();
    let mut wal = Wal::new(shape, TimelineId::FIRST, SegmentNo(5));
    for number in 0..segments * (shape.size.bytes() / 61_600) as usize {
        wal.record(10, 0, 7, &record(number));
    }
    wal.commit(8, 2);
    wal.switch();
    let mut found = BTreeMap::new();
    for (name, plain) in wal.segments().into_iter().take(segments) {
        fs::write(folder.path().join(format!("wal_005/{name}.lzo")), lzop(&plain)).unwrap();
        found.insert(name.to_string(), plain);
    }
    // Readable for the user that unprivileged tests run as.
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    Archive { folder, segments: found }
}

pub(super) static ARCHIVE: LazyLock<Archive> = LazyLock::new(|| forge(0));

impl Archive {
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn name(&self, at: usize) -> &str {
        self.segments.keys().nth(at).unwrap()
    }
}

/// A data directory in recovery, with a server that can be seen to live.
pub(super) struct Data {
    folder: tempfile::TempDir,
    server: Child,
    pub(super) flags: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

impl Data {
    pub(super) fn new(sign: &str) -> Data {
        let folder = tempfile::tempdir().unwrap();
        for name in ["global", "pg_wal"] {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(0o700)).unwrap();
        }
        fs::copy(bundled("wal_prefix/pg_control"), folder.path().join("global/pg_control")).unwrap();
        fs::write(folder.path().join("PG_VERSION"), "13\n").unwrap();
        fs::write(folder.path().join(sign), "").unwrap();
        let server = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        fs::write(folder.path().join("postmaster.pid"), format!("{}\n", server.id())).unwrap();
        Data { folder, server, flags: Vec::new(), environment: Vec::new() }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn spool(&self) -> PathBuf {
        self.path().join("pg_wal/.wal-r")
    }

    pub(super) fn command(&self, archive: &Path, file: &str) -> Command {
        let mut command = wal_r();
        command.arg("wal-fetch");
        self.complete(command, archive, file)
    }

    /// The same by `wal-r-fetch`, from where it lies.
    fn short_command(&self, program: &Path, archive: &Path, file: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        self.complete(command, archive, file)
    }

    fn complete(&self, mut command: Command, archive: &Path, file: &str) -> Command {
        let destination = if file.ends_with("history") { "pg_wal/RECOVERYHISTORY" } else { "pg_wal/RECOVERYXLOG" };
        command.current_dir(self.path()).env("WALG_FILE_PREFIX", archive).envs(self.environment.iter().cloned());
        command.args([file, destination]).args(&self.flags);
        command
    }

    /// As a server does: the destination is removed, the command run, the file taken away.
    pub(super) fn fetch(&self, archive: &Path, file: &str) -> (Option<i32>, Option<Vec<u8>>, Output) {
        let destination = self.path().join("pg_wal/RECOVERYXLOG");
        let _ = fs::remove_file(&destination);
        let output = self.command(archive, file).output().unwrap();
        let bytes = fs::read(&destination).ok();
        (output.status.code(), bytes, output)
    }

    #[track_caller]
    pub(super) fn gets(&self, archive: &Archive, at: usize) {
        let name = archive.name(at);
        let (code, bytes, output) = self.fetch(archive.path(), name);
        assert_eq!(code, Some(0), "{name}: {}", stderr(&output));
        assert!(bytes.as_deref() == Some(&archive.segments[name][..]), "{name}: other bytes: {}", stderr(&output));
    }

    pub(super) fn status(&self) -> Option<Status> {
        let mut command = wal_r();
        let output = command.args(["feed-status", "--format", "json"]).arg(self.path()).output().unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    #[track_caller]
    pub(super) fn wait_for_status(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let began = Instant::now();
        loop {
            match self.status() {
                Some(status) if holds(&status) => return status,
                status => assert!(began.elapsed() < Duration::from_secs(60), "never {what}: {status:?}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The server's end; the feeder must go, too, and leave nothing.
    #[track_caller]
    pub(super) fn end(mut self) {
        let feeder = self.status().map(|status| status.pid);
        let _ = self.server.kill();
        let _ = self.server.wait();
        let began = Instant::now();
        while self.spool().exists() || feeder.is_some_and(|feeder| Path::new(&format!("/proc/{feeder}")).exists()) {
            assert!(began.elapsed() < Duration::from_secs(30), "the feeder {feeder:?} stays: {:?}", self.left());
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = self.left();
        assert!(left.iter().all(|name| name.starts_with("RECOVERY")), "{left:?}");
    }

    pub(super) fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path().join("pg_wal")).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn kill(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

#[test]
fn it_warms_up_and_goes_with_the_server() {
    let data = Data::new("recovery.signal");
    assert!(data.status().is_none());
    for at in 0..SEGMENTS {
        data.gets(&ARCHIVE, at);
    }
    let status = data.status().unwrap();
    // Also what was fetched before the feeder listened.
    assert_eq!(status.segments(), SEGMENTS as u64, "{status:?}");
    assert!(status.direct <= 2 && status.hits > SEGMENTS as u64 / 2, "{status:?}");
    assert!(status.troubles.is_empty(), "{status:?}");
    // The end of the archive is said by the store, calmly.
    let (code, bytes, output) = data.fetch(ARCHIVE.path(), "00000001000000000000002D");
    assert_eq!((code, bytes), (Some(74), None));
    assert!(stderr(&output).contains("normal at the end of the archive"), "{}", stderr(&output));
    data.end();
}

/// What was said, without when and how old something was then: two calls may see two seconds.
fn without_times(said: &str) -> String {
    let line = |line: &str| {
        let said = line.split_once(" wal-r: ").map_or(line, |(_, said)| said);
        let words = said.split(' ').map(|word| if word.parse::<u64>().is_ok() { "N" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    said.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// `wal-r-fetch` takes what lies ready, and is `wal-r wal-fetch` in everything else; the two share one feeder.
#[test]
fn the_short_way() {
    let whole = Path::new(env!("CARGO_BIN_EXE_wal-r-fetch"));
    // Alone in a folder it can do nothing but take what lies ready.
    let elsewhere = tempfile::tempdir().unwrap();
    let alone = elsewhere.path().join("wal-r-fetch");
    fs::copy(whole, &alone).unwrap();
    for (sign, broken) in [("recovery.signal", 204), ("standby.signal", 104)] {
        let data = Data::new(sign);
        let destination = data.path().join("pg_wal/RECOVERYXLOG");
        let fetch = |program: &Path, file: &str| {
            let _ = fs::remove_file(&destination);
            let output = data.short_command(program, ARCHIVE.path(), file).output().unwrap();
            (output.status.code(), fs::read(&destination).ok(), stderr(&output))
        };
        let (code, bytes, said) = fetch(&alone, ARCHIVE.name(0));
        assert_eq!((code, bytes), (Some(broken), None), "{said}");
        assert!(said.contains("wal-r-fetch needs it") && said.contains("hint: "), "{said}");
        for at in 0..SEGMENTS - 2 {
            match at % 3 {
                0 => data.gets(&ARCHIVE, at),
                turn => {
                    let lies = turn == 2 && at > 5;
                    if lies {
                        data.wait_for_status("ready", |status| status.ready > 0 && status.fetching == 0);
                    }
                    let program = if lies { &alone } else { whole };
                    let (mut code, mut bytes, mut said) = fetch(program, ARCHIVE.name(at));
                    let began = Instant::now();
                    while lies && code == Some(broken) && began.elapsed() < Duration::from_secs(20) {
                        // It lies there, and may still be joined to the one before it.
                        (code, bytes, said) = fetch(program, ARCHIVE.name(at));
                    }
                    assert_eq!((code, &*said), (Some(0), ""), "{at}");
                    assert!(bytes.as_deref() == Some(&ARCHIVE.segments[ARCHIVE.name(at)][..]), "{at}: other bytes");
                }
            }
        }
        let status = data.status().unwrap();
        assert_eq!(status.segments(), SEGMENTS as u64 - 2, "{status:?}");
        assert!(status.direct <= 3 && status.hits > SEGMENTS as u64 / 2, "{status:?}");
        // Every other answer is that of `wal-r wal-fetch`, and costs what it costs there.
        let requests = status.requests;
        for file in ["00000001000000000000002D", "00000002.history", "nonsense"] {
            let ours = data.fetch(ARCHIVE.path(), file);
            let (code, _, said) = fetch(whole, file);
            assert_eq!((code, without_times(&said)), (ours.0, without_times(&stderr(&ours.2))), "{file}");
        }
        let status = data.status().unwrap();
        assert!(status.requests - requests <= 8, "{requests} before: {status:?}");
        data.end();
    }
}

/// SIGKILL of wal-fetch and of the feeder at random instants, some three hundred times: never a wrong byte under the
/// name, never success without the file, and in the end everything arrives.
#[test]
fn killed_at_any_moment() {
    let data = Data::new("recovery.signal");
    let mut random = fastrand::Rng::with_seed(4);
    let (mut kills, mut cut) = (0, 0);
    for round in 0..8 {
        for at in 0..SEGMENTS {
            let name = ARCHIVE.name(at);
            let destination = data.path().join("pg_wal/RECOVERYXLOG");
            let _ = fs::remove_file(&destination);
            let mut child = data.command(ARCHIVE.path(), name).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(random.u64(0..30_000)));
            if random.bool() {
                let _ = child.kill();
            }
            if random.u8(0..3) == 0
                && let Some(status) = data.status()
            {
                kill(status.pid);
            }
            kills += 1;
            let ended = child.wait().unwrap();
            match fs::read(&destination) {
                Ok(bytes) => assert!(bytes == ARCHIVE.segments[name], "round {round}: {name} is not what it should be"),
                Err(_) => {
                    assert!(!ended.success(), "round {round}: {name}: success without a file");
                    cut += 1;
                }
            }
            if !ended.success() {
                data.gets(&ARCHIVE, at);
            }
        }
    }
    assert!(kills >= 300 && cut > 10, "{kills} kills, {cut} of them in the middle");
    // What the last of them left, and no wal-fetch came to find, the feeder takes with it.
    for name in [".RECOVERYXLOG.wal-r-3", ".RECOVERYHISTORY.wal-r-0"] {
        fs::write(data.path().join("pg_wal").join(name), "half of it").unwrap();
    }
    data.end();
}

#[test]
fn fifty_at_once_for_one_segment() {
    let data = Data::new("standby.signal");
    data.gets(&ARCHIVE, 0);
    data.wait_for_status("ahead", |status| status.ready >= 1);
    for at in [1, 7] {
        let name = ARCHIVE.name(at);
        let spawn = |_| data.command(ARCHIVE.path(), name).stderr(Stdio::piped()).spawn().unwrap();
        let children: Vec<Child> = (0..50).map(spawn).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            assert!(fs::read(data.path().join("pg_wal/RECOVERYXLOG")).unwrap() == ARCHIVE.segments[name]);
        }
        let temporary = data.left().into_iter().filter(|name| name.starts_with('.') && name != ".wal-r").count();
        assert_eq!(temporary, 0, "{:?}", data.left());
    }
    data.end();
}

/// What the spool's folder holds at the start is another recovery's, or another cluster's: none of it is handed over.
#[test]
fn stale_spools() {
    let elsewhere = tempfile::tempdir().unwrap();
    for shared in [None, Some(elsewhere.path())] {
        let mut data = Data::new("recovery.signal");
        if let Some(shared) = shared {
            data.environment.push(("WALG_PREFETCH_DIR".into(), shared.display().to_string()));
        }
        // Other content of the same names and sizes, good in itself: the WAL of another branch.
        let other = forge(0x55);
        data.gets(&other, 0);
        let status = data.wait_for_status("ahead", |status| status.ready >= 2 && status.fetching == 0);
        kill(status.pid);
        let left = wal_files(&data.path().join(&status.spool)).len();
        assert!(left >= 2, "a spool is left: {left}");
        for name in [ARCHIVE.name(3), "000000070000000000000009", "00000002.history"] {
            fs::write(data.path().join(&status.spool).join(name), vec![0xFF; 1 << 20]).unwrap();
        }
        for at in 0..6 {
            data.gets(&ARCHIVE, at);
        }
        data.end();
    }
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "nothing is left there");
}

fn wal_files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.starts_with("0000")).collect()
}

#[test]
fn a_spool_on_another_file_system() {
    let Ok(shared) = tempfile::tempdir_in("/dev/shm") else { return };
    let mut data = Data::new("recovery.signal");
    if fs::metadata(shared.path()).unwrap().dev() == fs::metadata(data.path()).unwrap().dev() {
        fn here() {}
        return need::skip(std::any::type_name_of_val(&here), &need::Missing::right("a second file system"));
    }
    data.environment.push(("WALG_PREFETCH_DIR".into(), shared.path().display().to_string()));
    for at in 0..20 {
        data.gets(&ARCHIVE, at);
    }
    let status = data.status().unwrap();
    assert!(status.hits > 5 && Path::new(&status.spool).starts_with(shared.path()), "{status:?}");
    data.end();
    assert_eq!(fs::read_dir(shared.path()).unwrap().count(), 0);
}

#[test]
fn two_servers_share_a_host_and_a_spool_directory() {
    let shared = tempfile::tempdir().unwrap();
    let other = forge(0x33);
    let mut servers = [Data::new("recovery.signal"), Data::new("standby.signal")];
    for data in &mut servers {
        data.environment.push(("WALG_PREFETCH_DIR".into(), shared.path().display().to_string()));
    }
    let [one, two] = servers;
    // The same names in turns: each gets its own.
    for at in 0..15 {
        one.gets(&ARCHIVE, at);
        two.gets(&other, at);
    }
    let (first, second) = (one.status().unwrap(), two.status().unwrap());
    assert_ne!((first.pid, &first.spool), (second.pid, &second.spool));
    one.end();
    assert_eq!(fs::read_dir(shared.path().join(".wal-r")).unwrap().count(), 1, "the other one's stays");
    for at in 15..20 {
        two.gets(&other, at);
    }
    two.end();
}

/// Where nothing can be kept, segments are fetched one by one, and that is said; not for every one.
#[test]
fn spools_that_cannot_be_used() {
    // A folder of somebody else, one that all may write to, a file, a link.
    type Spoil = fn(&Path);
    let spoil: [(&str, Spoil); 4] = [
        ("others may write", |spool| {
            fs::create_dir(spool).unwrap();
            fs::set_permissions(spool, PermissionsExt::from_mode(0o777)).unwrap();
        }),
        ("no directory", |spool| fs::write(spool, "x").unwrap()),
        ("no directory", |spool| std::os::unix::fs::symlink("/tmp", spool).unwrap()),
        ("it belongs to user 65534", |spool| {
            fs::create_dir(spool).unwrap();
            chown(spool, Some(65534), Some(65534)).unwrap();
        }),
    ];
    for (why, spoil) in spoil {
        if why.contains("65534") && !rustix::process::geteuid().is_root() {
            continue;
        }
        let data = Data::new("recovery.signal");
        spoil(&data.spool());
        let mut said = 0;
        for at in 0..20 {
            let (code, bytes, output) = data.fetch(ARCHIVE.path(), ARCHIVE.name(at));
            assert_eq!(code, Some(0), "{}", stderr(&output));
            assert!(bytes.as_deref() == Some(&ARCHIVE.segments[ARCHIVE.name(at)][..]));
            said += usize::from(stderr(&output).contains(why));
            assert!(stderr(&output).lines().count() <= 1, "{}", stderr(&output));
        }
        assert!((1..=2).contains(&said), "{why}: said {said} times");
        assert!(data.status().is_none());
    }
    // A directory of the settings that is not there: beside the destination then, and the next one asking is told.
    let mut data = Data::new("recovery.signal");
    data.environment.push(("WALG_PREFETCH_DIR".into(), "/no/such/directory".into()));
    data.gets(&ARCHIVE, 0);
    data.wait_for_status("ahead", |status| status.ready >= 1);
    let (code, _, output) = data.fetch(ARCHIVE.path(), ARCHIVE.name(1));
    assert_eq!(code, Some(0));
    assert!(stderr(&output).contains("beside their destination instead"), "{}", stderr(&output));
    let (_, _, output) = data.fetch(ARCHIVE.path(), ARCHIVE.name(2));
    assert_eq!(stderr(&output), "", "once");
    data.end();
}

#[test]
fn a_full_disk_is_left_to_postgresql() {
    let data = Data::new("recovery.signal");
    let wal = data.path().join("pg_wal");
    // Room for the segment that PostgreSQL reads and few more.
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "none"]).arg(&wal).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        fn here() {}
        return need::skip(std::any::type_name_of_val(&here), &need::Missing::right("the right to mount a tmpfs"));
    }
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").args(["-l"]).arg(&self.0).output();
        }
    }
    let mounted = Mounted(wal.clone());
    let mut said = String::new();
    for at in 0..SEGMENTS {
        let name = ARCHIVE.name(at);
        let (code, bytes, output) = data.fetch(ARCHIVE.path(), name);
        assert_eq!(code, Some(0), "{name}: {}", stderr(&output));
        assert!(bytes.as_deref() == Some(&ARCHIVE.segments[name][..]), "{name}");
        said += &stderr(&output);
        let stat = rustix::fs::statvfs(&wal).unwrap();
        assert!(stat.f_bavail * stat.f_frsize >= 1 << 20, "room is left for PostgreSQL");
    }
    assert!(said.contains("bytes are free"), "{said}");
    // Full to the last byte: no room for a spool, and none for the segment. Recovery must stop.
    let _ = fs::remove_file(wal.join("RECOVERYXLOG"));
    fs::write(wal.join("fill"), vec![1; 8 << 20]).unwrap_err();
    let (code, bytes, output) = data.fetch(ARCHIVE.path(), ARCHIVE.name(0));
    assert_eq!((code, bytes), (Some(204), None), "{}", stderr(&output));
    drop(mounted);
}

#[test]
fn odd_surroundings() {
    let fetch = r#""$1" --prefix "$2" wal-fetch "$3" pg_wal/RECOVERYXLOG"#;
    for script in [
        format!("exec {fetch}"),
        format!("exec {fetch} <&- >&- 2>&-"),
        format!("umask 000; exec {fetch}"),
        format!("umask 077; exec {fetch}"),
        format!("ulimit -n 24; exec {fetch}"),
        format!("cd pg_wal; exec {}", fetch.replace("pg_wal/", "./")),
    ] {
        let data = Data::new("recovery.signal");
        for at in 0..6 {
            let mut command = Command::new("/bin/sh");
            command.current_dir(data.path()).env_clear().stdin(Stdio::null());
            let name = ARCHIVE.name(at);
            command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_wal-r")]).arg(ARCHIVE.path()).arg(name);
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{script}: {}", stderr(&output));
            let destination = data.path().join("pg_wal/RECOVERYXLOG");
            assert!(fs::read(&destination).unwrap() == ARCHIVE.segments[name], "{script}");
            assert_eq!(fs::metadata(&destination).unwrap().permissions().mode() & 0o137, 0, "{script}");
            if let Ok(spool) = fs::metadata(data.spool()) {
                assert_eq!(spool.permissions().mode() & 0o777, 0o700, "{script}");
            }
        }
        data.end();
    }
}

/// A feeder holds no descriptor of its caller's: whoever waits for the end of the output waits for no feeder.
#[test]
fn nothing_is_inherited() {
    let data = Data::new("recovery.signal");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let script = r#"exec 9>&2 8</etc/passwd 7>>pg_wal/seven; "$1" --prefix "$2" wal-fetch "$3" pg_wal/RECOVERYXLOG"#;
    let mut command = Command::new("/bin/sh");
    command.current_dir(data.path()).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_wal-r")]).arg(ARCHIVE.path()).arg(ARCHIVE.name(0));
    let began = Instant::now();
    assert!(command.status().unwrap().success());
    drop(command);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "the output ends with the caller");
    let feeder = data.wait_for_status("running", |_| true).pid;
    let open: Vec<String> = fs::read_dir(format!("/proc/{feeder}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()))
        .collect();
    assert!(!open.iter().any(|path| path.contains("passwd") || path.contains("seven")), "{open:?}");
    let session = fs::read_to_string(format!("/proc/{feeder}/stat")).unwrap();
    let fields: Vec<&str> = session.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(fields[3], feeder.to_string(), "a session of its own");
    assert_eq!(fields[4], "0", "no terminal");
    fs::remove_file(data.path().join("pg_wal/seven")).unwrap();
    data.end();
}

/// Objects of tomorrow, as after a clock was set back, are as good as any.
#[test]
fn a_clock_that_was_set_back() {
    let archive = forge(0);
    let tomorrow = std::time::SystemTime::now() + Duration::from_secs(86_400);
    for entry in fs::read_dir(archive.path().join("wal_005")).unwrap().flatten() {
        fs::File::options().write(true).open(entry.path()).unwrap().set_modified(tomorrow).unwrap();
    }
    let data = Data::new("standby.signal");
    for at in 0..10 {
        data.gets(&archive, at);
        // What waits is of tomorrow, too.
        for name in wal_files(&data.spool()) {
            if let Ok(file) = fs::File::options().write(true).open(data.spool().join(name)) {
                let _ = file.set_modified(tomorrow);
            }
        }
    }
    let (code, _, output) = data.fetch(archive.path(), "00000001000000000000002D");
    assert_eq!(code, Some(74));
    assert!(stderr(&output).contains(", 0 s old"), "{}", stderr(&output));
    data.end();
}

/// Other settings: the feeder of the old ones answers nobody, and goes.
#[test]
fn settings_that_change() {
    let other = forge(0x77);
    let data = Data::new("standby.signal");
    for at in 0..5 {
        data.gets(&ARCHIVE, at);
    }
    let old = data.wait_for_status("ahead", |status| status.ready >= 1).pid;
    for at in 5..12 {
        data.gets(&other, at);
        std::thread::sleep(Duration::from_millis(100));
    }
    let new = data.wait_for_status("another one", |_| true);
    assert_ne!(new.pid, old);
    assert!(new.archive.contains(other.path().file_name().unwrap().to_str().unwrap()), "{new:?}");
    let began = Instant::now();
    while Path::new(&format!("/proc/{old}")).exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "the old one stays");
        std::thread::sleep(Duration::from_millis(20));
    }
    data.end();
}

/// pg_rewind, and people, name the destination like the segment: that one file, and nothing beside it.
#[test]
fn one_file_for_who_wants_one() {
    let data = Data::new("recovery.signal");
    // Backwards, as pg_rewind walks.
    for at in (0..10).rev() {
        let name = ARCHIVE.name(at);
        let mut command = wal_r();
        command.current_dir(data.path()).env("WALG_FILE_PREFIX", ARCHIVE.path());
        let output = command.args(["wal-fetch", name, &format!("pg_wal/{name}")]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        // A single fetch says what it could not check.
        let said = stderr(&output);
        assert!(at == 0 || said.contains("belong to a record that began in the segment before it"), "{said}");
        assert!(fs::read(data.path().join(format!("pg_wal/{name}"))).unwrap() == ARCHIVE.segments[name]);
    }
    assert!(data.status().is_none());
    assert_eq!(data.left().len(), 10, "{:?}", data.left());
}

#[test]
fn looking_ahead_can_be_left_out() {
    for (flags, environment) in [
        (vec!["--spool-bytes", "0"], None),
        (vec!["-p", "0"], None),
        (vec![], Some(("WALG_DOWNLOAD_CONCURRENCY".to_owned(), "1".to_owned()))),
    ] {
        let mut data = Data::new("recovery.signal");
        data.flags = flags.into_iter().map(String::from).collect();
        data.environment.extend(environment);
        for at in 0..3 {
            data.gets(&ARCHIVE, at);
        }
        assert!(data.status().is_none());
        assert_eq!(data.left(), ["RECOVERYXLOG"]);
    }
}

#[test]
fn metrics_of_a_recovery() {
    let mut data = Data::new("recovery.signal");
    data.flags = vec!["--status-file".into(), "metrics.prom".into()];
    let path = data.path().join("metrics.prom");
    for at in 0..30 {
        data.gets(&ARCHIVE, at);
    }
    let value = |name: &str| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let samples = wal_r::testing::exposition::parse(&text).unwrap_or_default();
        samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum::<f64>()
    };
    let began = Instant::now();
    // Also what was fetched before the feeder listened.
    while value("walr_feed_segments_total") < 30.0 {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", fs::read_to_string(&path));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(value("walr_feed_up"), 1.0);
    assert!(value("walr_feed_store_requests_total") >= 29.0);
    assert_eq!(value("walr_feed_archive_ahead_segments"), 10.0);
    // For people.
    let output = wal_r().arg("feed-status").arg(data.path()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("handed over  ") && said.contains("left         10 segments"), "{said}");
    data.end();
    assert_eq!(value("walr_feed_up"), 0.0, "and that it is over");
}
