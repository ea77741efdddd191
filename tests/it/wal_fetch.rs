//! wal-fetch as PostgreSQL calls it: exit codes by mode, kills at any moment, many at once, a full disk, odd surroundings.
//!
//! In: the binary, the bundled archive. Out: verdicts. Never: takes a file for whole that was not compared byte for byte.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use super::support::{need, stderr, wal_r};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const SEGMENT: &str = "000000010000000000000005";
const BEYOND: &str = "000000020000000000000008";

fn archive() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/archive/wal-e-pg13")
}

/// What the stored file decodes to, by the program's own codec, which others judge.
fn plain(archive: &Path, name: &str) -> Vec<u8> {
    let stored = fs::read(archive.join(format!("wal_005/{name}.lzo"))).unwrap();
    let mut decoder = wal_r::codec::decoder(wal_r::layout::Compression::Lzo).unwrap();
    wal_r::codec::decode_all(&mut *decoder, &stored, 1 << 25).unwrap()
}

/// A directory that looks like PostgreSQL's.
struct Data(tempfile::TempDir);

impl Data {
    fn new(version: &str, files: &[(&str, &str)]) -> Data {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("pg_wal")).unwrap();
        fs::write(data.path().join("PG_VERSION"), version).unwrap();
        for (name, content) in files {
            fs::write(data.path().join(name), content).unwrap();
        }
        Data(data)
    }

    fn command(&self, archive: &Path, file: &str) -> Command {
        let mut command = wal_r();
        command.current_dir(self.0.path()).env("WALG_FILE_PREFIX", archive);
        command.args(["wal-fetch", file, "pg_wal/RECOVERYXLOG"]);
        command
    }

    fn run(&self, archive: &Path, file: &str) -> (Option<i32>, Output) {
        let output = self.command(archive, file).output().unwrap();
        (output.status.code(), output)
    }

    /// Names in the WAL directory.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path().join("pg_wal")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn delivered(&self) -> Option<Vec<u8>> {
        fs::read(self.0.path().join("pg_wal/RECOVERYXLOG")).ok()
    }
}

fn point_in_time() -> Data {
    Data::new("13\n", &[("recovery.signal", "")])
}

/// A copy of the bundled archive's WAL, to be damaged.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("wal_005")).unwrap();
    for entry in fs::read_dir(archive().join("wal_005")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join("wal_005").join(entry.file_name())).unwrap();
    }
    copy
}

#[test]
fn exit_codes_by_who_asks() {
    let standby = Data::new("13\n", &[("standby.signal", "")]);
    let old_standby = Data::new("11\n", &[("recovery.conf", "standby_mode = 'on'")]);
    let old_point_in_time = Data::new("11\n", &[("recovery.conf", "restore_command = 'x'")]);
    let nobody = Data::new("13\n", &[]);
    let damaged = copy();
    fs::write(damaged.path().join(format!("wal_005/{SEGMENT}.lzo")), "<html>").unwrap();
    let gap = copy();
    fs::remove_file(gap.path().join("wal_005/000000010000000000000004.lzo")).unwrap();
    let none = archive().join("no/such/prefix");
    for (data, base) in
        [(&point_in_time(), 200), (&old_point_in_time, 200), (&standby, 100), (&old_standby, 100), (&nobody, 100)]
    {
        let check = |archive: &Path, file: &str, wanted: i32| {
            let (code, output) = data.run(archive, file);
            assert_eq!(code, Some(wanted), "{file}: {}", stderr(&output));
            assert!(data.names().is_empty(), "{:?}", data.names());
        };
        check(&archive(), BEYOND, 74);
        check(&archive(), "00000003.history", 74);
        check(&archive(), "../x", base);
        check(&none, SEGMENT, base);
        check(damaged.path(), SEGMENT, base + 3);
        check(gap.path(), "000000010000000000000004", if base == 200 { 206 } else { 74 });
        let (code, output) = data.run(&archive(), SEGMENT);
        assert_eq!(code, Some(0), "{}", stderr(&output));
        assert_eq!(data.names(), ["RECOVERYXLOG"]);
        assert!(data.delivered().unwrap() == plain(&archive(), SEGMENT));
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", stderr(&output));
    }
    // The end of the archive is one calm line.
    let (_, output) = nobody.run(&archive(), BEYOND);
    let said = stderr(&output);
    assert!(said.lines().count() == 1 && said.contains("normal at the end of the archive"), "{said}");
    assert!(!said.to_lowercase().contains("error"), "{said}");
    // And its exit code is the user's to choose.
    let mut other = nobody.command(&archive(), BEYOND);
    assert_eq!(other.args(["--absent-exit", "1"]).output().unwrap().status.code(), Some(1));
}

/// SIGKILL at 200 random instants: never a wrong file under the name, and the next call makes it good.
#[test]
fn killed_at_any_moment() {
    let (data, content) = (point_in_time(), plain(&archive(), SEGMENT));
    let began = Instant::now();
    assert_eq!(data.run(&archive(), SEGMENT).0, Some(0));
    let whole = began.elapsed();
    let mut random = fastrand::Rng::with_seed(20);
    let mut cut_short = 0;
    for _ in 0..200 {
        let _ = fs::remove_file(data.0.path().join("pg_wal/RECOVERYXLOG"));
        let mut child = data.command(&archive(), SEGMENT).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.u64(0..(whole.as_micros() as u64).max(2))));
        let _ = child.kill();
        let ended = child.wait().unwrap();
        match data.delivered() {
            Some(bytes) => assert!(bytes == content, "a file that is not whole under its name"),
            None => {
                assert!(!ended.success(), "success without a file");
                cut_short += 1;
            }
        }
        // At most the one file of the call that was killed.
        let left = data.names().into_iter().filter(|name| name.starts_with('.')).count();
        assert!(left <= 1, "{:?}", data.names());
    }
    assert!(cut_short > 0, "no kill hit");
    assert_eq!(data.run(&archive(), SEGMENT).0, Some(0));
    assert_eq!(data.names(), ["RECOVERYXLOG"], "what the killed left was reclaimed");
    assert!(data.delivered().unwrap() == content);
}

#[test]
fn twenty_at_once() {
    let (data, content) = (point_in_time(), plain(&archive(), SEGMENT));
    let spawn = |_| data.command(&archive(), SEGMENT).stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<_> = (0..20).map(spawn).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(data.delivered().unwrap() == content);
    }
    assert_eq!(data.names(), ["RECOVERYXLOG"]);
}

#[test]
fn a_full_disk_is_named() {
    let data = point_in_time();
    let wal = data.0.path().join("pg_wal");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=10m", "none"]).arg(&wal).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        fn here() {}
        return need::skip(std::any::type_name_of_val(&here), &need::Missing::right("the right to mount a tmpfs"));
    }
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(&self.0).output();
        }
    }
    let _mounted = Mounted(wal);
    for _ in 0..3 {
        let (code, output) = data.run(&archive(), SEGMENT);
        let said = stderr(&output);
        assert_eq!(code, Some(204), "{said}");
        assert!(said.contains("local.space") && said.contains("16777216 bytes") && said.contains("free"), "{said}");
        assert!(data.names().is_empty(), "{:?}", data.names());
    }
}

#[test]
fn odd_surroundings() {
    let data = point_in_time();
    let content = plain(&archive(), SEGMENT);
    let shell = |script: &str| {
        let mut command = Command::new("/bin/sh");
        command.current_dir(data.0.path()).env_clear().stdin(Stdio::null());
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_wal-r")]).arg(archive()).arg(SEGMENT);
        command.output().unwrap()
    };
    let fetch = r#""$1" --prefix "$2" wal-fetch "$3" pg_wal/RECOVERYXLOG"#;
    for script in [
        format!("exec {fetch}"),
        format!("exec {fetch} <&- >&- 2>&-"),
        format!("umask 000; exec {fetch}"),
        format!("umask 077; exec {fetch}"),
        format!("ulimit -n 16; exec {fetch}"),
    ] {
        let output = shell(&script);
        assert_eq!(output.status.code(), Some(0), "{script}: {}", stderr(&output));
        assert!(data.delivered().unwrap() == content, "{script}");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(data.0.path().join("pg_wal/RECOVERYXLOG")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o137, 0, "{script}: {mode:o}");
        fs::remove_file(data.0.path().join("pg_wal/RECOVERYXLOG")).unwrap();
    }
    // No such directory, and one nobody may write to.
    let output = shell(r#"exec "$1" --prefix "$2" wal-fetch "$3" none/RECOVERYXLOG"#);
    assert_eq!(output.status.code(), Some(204), "{}", stderr(&output));
    let output = shell(r#"exec "$1" --prefix "$2" wal-fetch "$3" /proc/RECOVERYXLOG"#);
    assert_eq!(output.status.code(), Some(204), "{}", stderr(&output));
    // What is no file is not replaced.
    let output = shell(r#"exec "$1" --prefix "$2" wal-fetch "$3" /dev/null"#);
    assert_eq!(output.status.code(), Some(204), "{}", stderr(&output));
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
}
