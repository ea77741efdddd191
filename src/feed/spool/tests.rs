use super::*;
use std::os::unix::fs::symlink;

fn place() -> (tempfile::TempDir, Meeting) {
    let folder = tempfile::tempdir().unwrap();
    let meeting = Meeting::beside(&folder.path().join("RECOVERYXLOG")).unwrap();
    (folder, meeting)
}

#[test]
fn it_has_one_owner() {
    let (_folder, meeting) = place();
    assert!(!meeting.is_ours());
    meeting.prepare().unwrap();
    meeting.prepare().unwrap();
    assert!(meeting.is_ours());
    let lock = meeting.lock().unwrap().expect("nobody has it");
    assert!(meeting.lock().unwrap().is_none());
    drop(lock);
    let _lock = meeting.lock().unwrap().expect("given back");
    clear(&meeting, meeting.directory());
    assert!(!meeting.directory().exists());
}

#[test]
fn what_others_may_write_to_is_not_used() {
    let (folder, meeting) = place();
    std::fs::create_dir(meeting.directory()).unwrap();
    std::fs::set_permissions(meeting.directory(), PermissionsExt::from_mode(0o777)).unwrap();
    let error = meeting.prepare().unwrap_err();
    assert_eq!((error.code(), meeting.is_ours()), (Code::LocalIo, false), "{}", error.chain());
    std::fs::remove_dir(meeting.directory()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), meeting.directory()).unwrap();
    assert!(meeting.prepare().is_err() && !meeting.is_ours());
    std::fs::remove_file(meeting.directory()).unwrap();
    std::fs::write(meeting.directory(), "a file").unwrap();
    assert!(meeting.prepare().is_err() && !meeting.is_ours());
    // In no folder that is not there.
    let nowhere = Meeting::beside(&folder.path().join("no/such/RECOVERYXLOG")).unwrap();
    assert!(nowhere.prepare().is_err());
}

#[test]
fn servers_share_a_directory_and_no_folder() {
    let shared = tempfile::tempdir().unwrap();
    let ((_a, one), (_b, other)) = (place(), place());
    let mut folders = Vec::new();
    for meeting in [&one, &other] {
        meeting.prepare().unwrap();
        folders.push(meeting.entries(Some(shared.path())).unwrap());
        assert_eq!(meeting.entries(Some(shared.path())).unwrap(), *folders.last().unwrap(), "always the same");
    }
    assert_ne!(folders[0], folders[1]);
    std::fs::write(folders[1].join("000000010000000000000001"), "kept").unwrap();
    clear(&one, &folders[0]);
    assert!(!folders[0].exists() && folders[1].join("000000010000000000000001").exists());
    assert!(one.entries(Some(&shared.path().join("no/such"))).is_err());
}

#[test]
fn a_file_that_was_touched_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("000000010000000000000001");
    std::fs::write(&path, "content").unwrap();
    let stamp = Stamp::of(&path).unwrap();
    assert_eq!(Stamp::of(&path), Some(stamp));
    // The same bytes, size and time, written anew.
    std::thread::sleep(std::time::Duration::from_millis(20));
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "CONTENT").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    assert_ne!(Stamp::of(&path), Some(stamp));
    std::fs::remove_file(&path).unwrap();
    symlink("/etc/hostname", &path).unwrap();
    assert_eq!(Stamp::of(&path), None);
}

#[test]
fn what_is_not_ours_stays() {
    let (_folder, meeting) = place();
    meeting.prepare().unwrap();
    let folder = meeting.directory();
    for name in ["000000010000000000000001", ".000000010000000000000002.wal-r-0", "00000002.history", "README", "lock"]
    {
        std::fs::write(folder.join(name), "x").unwrap();
    }
    std::fs::create_dir(folder.join("000000010000000000000003")).unwrap();
    clear(&meeting, folder);
    let mut left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["000000010000000000000003", "README"]);
}

#[test]
fn the_owner_is_met_wherever_the_folder_is() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("a".repeat(120));
    std::fs::create_dir(&long).unwrap();
    let meeting = Meeting::in_wal_directory(&long);
    assert!(meeting.connect().is_err(), "no folder");
    meeting.prepare().unwrap();
    assert!(meeting.connect().is_err(), "nobody listens");
    let listener = meeting.listen().unwrap();
    assert!(meeting.listen().is_err(), "one does");
    // By another path, too.
    symlink(&long, folder.path().join("link")).unwrap();
    let client = Meeting::in_wal_directory(&folder.path().join("link")).connect().unwrap();
    listener.accept().unwrap();
    drop(client);
    // What a dead owner left does not stop the next one: it left nothing.
    drop(listener);
    assert!(meeting.connect().is_err());
    meeting.listen().unwrap();
    assert_eq!(std::fs::read_dir(meeting.directory()).unwrap().count(), 0);
}
