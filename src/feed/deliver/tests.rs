use super::*;
use std::fs;

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().join("RECOVERYXLOG");
    let landing = Landing::open(&destination).unwrap();
    landing.writer().unwrap().write(b"half", None).unwrap();
    assert_eq!(names(directory.path()), [".RECOVERYXLOG.wal-r-0"]);
    drop(landing);
    assert_eq!(names(directory.path()), [""; 0]);

    for sync in [false, true] {
        let mut landing = Landing::open(&destination).unwrap();
        landing.writer().unwrap().write(b"wrong and longer", None).unwrap();
        landing.restart().unwrap();
        landing.writer().unwrap().write(b"whole", None).unwrap();
        landing.publish(sync).unwrap();
        assert_eq!(names(directory.path()), ["RECOVERYXLOG"]);
        assert_eq!(fs::read(&destination).unwrap(), b"whole");
    }
}

#[test]
fn what_killed_writers_left_is_swept_and_what_is_written_stays() {
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().join("RECOVERYXLOG");
    let writing = Landing::open(&destination).unwrap();
    for left in [".RECOVERYXLOG.wal-r-1", ".RECOVERYXLOG.wal-r-9", ".RECOVERYHISTORY.wal-r-0"] {
        fs::write(directory.path().join(left), "half").unwrap();
    }
    sweep_beside(&destination);
    assert_eq!(names(directory.path()), [".RECOVERYHISTORY.wal-r-0", ".RECOVERYXLOG.wal-r-0"]);
    writing.publish(false).unwrap();
    assert!(destination.exists());
}

#[test]
fn writers_do_not_meet() {
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().join("x");
    let landings: Vec<Landing> = (0..20).map(|_| Landing::open(&destination).unwrap()).collect();
    assert_eq!(names(directory.path()).len(), 20);
    for (number, landing) in landings.into_iter().enumerate() {
        landing.writer().unwrap().write(number.to_string().as_bytes(), None).unwrap();
        landing.publish(false).unwrap();
        assert_eq!(fs::read(&destination).unwrap(), number.to_string().as_bytes());
    }
    assert_eq!(names(directory.path()), ["x"]);
}

#[test]
fn many_threads_many_times() {
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().join("x");
    let content = |number: u8| vec![number; 100_000];
    std::thread::scope(|scope| {
        for number in 0..8_u8 {
            let destination = &destination;
            scope.spawn(move || {
                for _ in 0..40 {
                    let landing = Landing::open(destination).unwrap();
                    let mut writer = landing.writer().unwrap();
                    for chunk in content(number).chunks(1000) {
                        writer.write(chunk, None).unwrap();
                    }
                    landing.publish(false).unwrap();
                    let seen = fs::read(destination).unwrap();
                    assert!(seen.len() == 100_000 && seen.iter().all(|byte| *byte == seen[0]), "two writers mixed");
                }
            });
        }
    });
    assert_eq!(names(directory.path()), ["x"]);
}

#[test]
fn what_a_killed_writer_left_is_reclaimed() {
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().join("x");
    // No lock on any of them: their owners are dead.
    for number in [0, 3, 17] {
        fs::write(directory.path().join(format!(".x.wal-r-{number}")), vec![7; 5000]).unwrap();
    }
    let landing = Landing::open(&destination).unwrap();
    assert_eq!(names(directory.path()), [".x.wal-r-0"]);
    landing.writer().unwrap().write(b"new", None).unwrap();
    landing.publish(false).unwrap();
    assert_eq!(fs::read(&destination).unwrap(), b"new");
}

#[test]
fn what_is_no_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    for (place, wanted) in [
        (Path::new("/dev/null"), "no regular file"),
        (directory.path(), "is a directory"),
        (Path::new("/"), "is no file name"),
        (&directory.path().join("none/x"), "cannot create a file beside it"),
    ] {
        let error = Landing::open(place).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(error.code(), Code::LocalIo);
    }
}

#[test]
fn a_link_in_the_slot_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let victim = directory.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, directory.path().join(".x.wal-r-0")).unwrap();
    assert!(Landing::open(&directory.path().join("x")).is_err());
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn a_copy_that_comes_short_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let (source, destination) = (directory.path().join("s"), directory.path().join("x"));
    fs::write(&source, [7; 1000]).unwrap();
    for size in [999, 1001] {
        let landing = Landing::open(&destination).unwrap();
        let error = landing.fill_from(&mut File::open(&source).unwrap(), size).unwrap_err();
        assert!(error.to_string().contains(&format!("only 1000 of {size} bytes")), "{error}");
    }
    let landing = Landing::open(&destination).unwrap();
    landing.fill_from(&mut File::open(&source).unwrap(), 1000).unwrap();
    landing.publish(false).unwrap();
    assert_eq!(fs::read(&destination).unwrap(), [7; 1000]);
    assert_eq!(names(directory.path()), ["s", "x"]);
}

#[test]
fn which_file_systems_say_at_once_that_they_are_full() {
    for (folder, wanted) in [("/dev/shm", false), ("/proc/self", true), ("/sys", true)] {
        let Ok(file) = File::open(folder) else { continue };
        assert_eq!(says_too_late(&file), wanted, "{folder}");
    }
}

#[test]
fn modes_follow_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    for (outer, inner) in [(0o700, 0o600), (0o750, 0o640), (0o755, 0o640)] {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(outer)).unwrap();
        let destination = directory.path().join("x");
        Landing::open(&destination).unwrap().publish(false).unwrap();
        let mode = fs::metadata(&destination).unwrap().permissions().mode() & 0o777;
        // The caller's umask may take more away.
        assert_eq!(mode & !inner, 0, "{mode:o} in {outer:o}");
        assert_eq!(mode & 0o600, 0o600);
    }
}
