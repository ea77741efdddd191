use super::*;
use std::io::BufRead;
use std::os::unix::net::UnixListener;

fn argv(line: &str) -> Vec<OsString> {
    line.split(' ').map(OsString::from).collect()
}

#[test]
fn only_a_server_on_its_way_looks_ahead() {
    for line in [
        "wal-r wal-fetch 000000010000000000000005 pg_wal/RECOVERYXLOG",
        "wal-r --prefix s3://b/p wal-fetch -v 00000002.history pg_wal/RECOVERYHISTORY",
        "/usr/bin/wal-r wal-fetch --check records 000000010000000000000005 /data/pg_xlog/RECOVERYXLOG",
    ] {
        assert!(looks_ahead(&argv(line)).is_some(), "{line}");
    }
    for line in [
        "wal-r wal-fetch 000000010000000000000005 pg_wal/000000010000000000000005",
        "wal-r wal-fetch 000000010000000000000005 /tmp/x",
        "wal-r st get 000000010000000000000005 RECOVERYXLOG",
        "wal-r wal-fetch 000000010000000000000005.partial pg_wal/RECOVERYXLOG",
        "wal-r wal-fetch ../x pg_wal/RECOVERYXLOG",
        "wal-r wal-fetch",
    ] {
        assert!(looks_ahead(&argv(line)).is_none(), "{line}");
    }
}

#[test]
fn the_digest_is_of_the_settings_alone() {
    let digest = |line: &str, environment: &[(&'static str, &'static str)]| {
        settings_digest(&argv(line), environment.iter().map(|(name, value)| (*name, OsStr::new(value))))
    };
    let one = digest("wal-r wal-fetch 000000010000000000000005 pg_wal/RECOVERYXLOG", &[("A", "1")]);
    let same = [
        ("wal-r-feeder wal-fetch 00000002.history pg_wal/RECOVERYHISTORY", vec![("A", "1")]),
        ("wal-r wal-fetch 000000010000000000000006 pg_wal/RECOVERYXLOG", vec![("A", "1"), ("PWD", "/x"), ("_", "y")]),
    ];
    for (line, environment) in same {
        assert_eq!(digest(line, &environment), one, "{line}");
    }
    let others = [
        ("wal-r --prefix x wal-fetch 000000010000000000000005 pg_wal/RECOVERYXLOG", vec![("A", "1")]),
        ("wal-r wal-fetch 000000010000000000000005 pg_wal/RECOVERYXLOG", vec![("A", "2")]),
        ("wal-r wal-fetch 000000010000000000000005 pg_wal/RECOVERYXLOG", vec![("A", "1"), ("B", "")]),
        ("wal-r wal-fetch 000000010000000000000005 pg_wal/RECOVERYXLOG -v", vec![("A", "1")]),
        // Not the same words in other places.
        ("wal-r wal-fetch 000000010000000000000005 pg_wal/RECOVERYXLOG A1", vec![]),
    ];
    for (line, environment) in others {
        assert_ne!(digest(line, &environment), one, "{line}");
    }
}

/// A feeder that says this; what came of asking it, and what it was asked.
fn against(answers: &'static [&'static str], before: impl FnOnce(&Path)) -> (tempfile::TempDir, Told) {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("RECOVERYXLOG");
    let meeting = Meeting::beside(&destination).unwrap();
    meeting.prepare().unwrap();
    before(meeting.directory());
    let listener: UnixListener = meeting.listen().unwrap();
    let serving = std::thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            assert_eq!(line, "wal-r 1 get 000000010000000000000005 abcd\n");
            (&stream).write_all(answer.as_bytes()).unwrap();
        }
    });
    let told = ask(&destination, &"000000010000000000000005".parse().unwrap(), "abcd");
    serving.join().unwrap();
    (folder, told)
}

#[test]
fn answers() {
    let put = |folder: &Path| std::fs::write(folder.join("000000010000000000000005"), "whole").unwrap();
    let (folder, told) = against(&["wait 0\nnote n\nwait 7\nwarn w\ntake 000000010000000000000005\n"], put);
    assert!(matches!(told.what, What::Delivered), "{told:?}");
    assert_eq!((told.notes, told.warnings), (vec!["n".to_owned()], vec!["w".to_owned()]));
    assert_eq!(std::fs::read(folder.path().join("RECOVERYXLOG")).unwrap(), b"whole");

    assert!(matches!(against(&["absent\n"], |_| ()).1.what, What::Absent));
    let (_, told) = against(&["refused damaged.segment it is wrong\n"], |_| ());
    assert!(matches!(told.what, What::Refused(error) if error.code() == Code::DamagedSegment), "refused");
    for (answer, starts) in [("self why\n", false), ("leave\n", true)] {
        let (_, told) = against(Box::leak(Box::new([answer])), |_| ());
        assert!(matches!(told.what, What::Alone { start, .. } if start == starts), "{answer}: {told:?}");
    }
    // A feeder that dies, or is none, is worth no verdict.
    for answer in ["", "wait 1\n", "hello\n", "take ../../etc/passwd\n", "abs", "\u{0}\n"] {
        let (_, told) = against(Box::leak(Box::new([answer])), |_| ());
        assert!(matches!(told.what, What::Alone { why: Some(_), start: false }), "{answer}: {told:?}");
    }
}

#[test]
fn what_lies_ready_is_taken_and_nothing_else() {
    let take = |answer: &'static str, lies: bool| {
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("RECOVERYXLOG");
        let meeting = Meeting::beside(&destination).unwrap();
        let file = "000000010000000000000005".parse().unwrap();
        assert!(!take_ready(&destination, &file, "abcd"), "nobody is there");
        meeting.prepare().unwrap();
        if lies {
            std::fs::write(meeting.directory().join("000000010000000000000005"), "whole").unwrap();
        }
        let listener: UnixListener = meeting.listen().unwrap();
        let serving = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            assert_eq!(line, "wal-r 1 ready 000000010000000000000005 abcd\n");
            (&stream).write_all(answer.as_bytes()).unwrap();
        });
        let taken = take_ready(&destination, &file, "abcd");
        serving.join().unwrap();
        assert_eq!(taken, destination.exists(), "{answer}");
        taken
    };
    assert!(take("take 000000010000000000000005\n", true));
    assert!(!take("take 000000010000000000000005\n", false), "somebody else took it");
    // A feeder of another version hangs up.
    for answer in ["self why\n", "leave\n", "absent\n", "refused damaged.segment it is wrong\n", "", "hello\n"] {
        assert!(!take(answer, true), "{answer}");
    }
}

#[test]
fn a_file_that_others_took_is_asked_for_again() {
    let take = "take 000000010000000000000005\n";
    let (folder, told) = against(Box::leak(Box::new([take; TRIES as usize])), |_| ());
    assert!(matches!(told.what, What::Alone { why: Some(_), start: false }), "{told:?}");
    assert!(!folder.path().join("RECOVERYXLOG").exists());
}

/// A spool whose disk fails is no reason to stop a recovery: the file is fetched without it, and that is said.
#[test]
fn what_cannot_be_taken_is_fetched_alone() {
    let (folder, told) = against(&["take 000000010000000000000005\n"], |spool| {
        std::fs::write(spool.join("000000010000000000000005"), "whole").unwrap();
        // No file takes the place of a folder, whatever the disk.
        std::fs::create_dir(spool.with_file_name("RECOVERYXLOG")).unwrap();
    });
    assert!(matches!(told.what, What::Alone { why: Some(_), start: false }), "{told:?}");
    assert!(matches!(&told.warnings[..], [one] if one.contains("from the spool")), "{told:?}");
    assert!(folder.path().join("RECOVERYXLOG").is_dir());
}

#[test]
fn without_a_feeder() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("RECOVERYXLOG");
    let file = "000000010000000000000005".parse().unwrap();
    assert!(matches!(ask(&destination, &file, "abcd").what, What::Alone { why: None, start: true }));
    Meeting::beside(&destination).unwrap().prepare().unwrap();
    assert!(matches!(ask(&destination, &file, "abcd").what, What::Alone { why: None, start: true }));
}

#[test]
fn across_file_systems_it_is_copied() {
    let (Ok(shared), folder) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir().unwrap()) else { return };
    let (from, to) = (shared.path().join("000000010000000000000005"), folder.path().join("RECOVERYXLOG"));
    std::fs::write(&from, vec![7; 100_000]).unwrap();
    assert!(hand_over(&from, &to).unwrap());
    assert_eq!((std::fs::read(&to).unwrap(), from.exists()), (vec![7; 100_000], false));
    assert!(!hand_over(&from, &to).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
