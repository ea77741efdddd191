use super::LocalStore;
use crate::layout::ObjectKey;
use crate::storage::{ByteRange, Depth, Listed, Store, StoreError, StoreErrorKind, StoreWrite, When};
use crate::testing::contract;
use futures::{StreamExt, TryStreamExt};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

async fn names(store: &LocalStore, prefix: &str, depth: Depth) -> Result<Vec<String>, StoreError> {
    let entries: Vec<Listed> = store.list(prefix, depth, None).try_collect().await?;
    let name = |entry| match entry {
        Listed::Object(object) => object.key.to_string(),
        Listed::Folder(folder) => folder.to_string(),
    };
    Ok(entries.into_iter().map(name).collect())
}

async fn read(store: &LocalStore, key: &str) -> Result<Vec<u8>, StoreError> {
    let got = store.get(&ObjectKey::from(key), ByteRange::ALL, None).await?;
    Ok(got.body.try_collect::<Vec<_>>().await?.concat())
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreErrorKind {
    result.expect_err("a failure").kind
}

/// Everything below a directory, so that a test can say that nothing came or went.
fn tree(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            found.push(entry.path());
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract::check(&LocalStore::new(dir.path())).await;
    contract::check_writing(&LocalStore::new(dir.path())).await;
    assert!(
        !tree(dir.path()).iter().any(|path| path.to_string_lossy().contains(&format!(".tmp.{}", std::process::id())))
    );
}

#[tokio::test]
async fn a_directory_that_does_not_exist_is_an_answer_and_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::new(dir.path().join("no/such"));
    for prefix in ["", "wal_005/", "wal_005/0000"] {
        assert_eq!(kind(names(&store, prefix, Depth::All).await), StoreErrorKind::NoSuchPrefix, "{prefix}");
    }
    assert_eq!(kind(read(&store, "wal_005/x").await), StoreErrorKind::NoSuchPrefix);
    assert_eq!(kind(store.head(&"x".into()).await), StoreErrorKind::NoSuchPrefix);
    assert!(tree(dir.path()).is_empty());
}

#[tokio::test]
async fn a_link_that_leads_nowhere_is_never_an_absence() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    fs::create_dir(&root).unwrap();
    symlink("/no/such/disk", root.join("wal_005")).unwrap();
    let store = LocalStore::new(&root);
    assert_eq!(kind(read(&store, "wal_005/000000010000000000000001.lzo").await), StoreErrorKind::Local);
    assert_eq!(kind(read(&store, "wal_005").await), StoreErrorKind::Local);
    assert_eq!(kind(names(&store, "wal_005/", Depth::All).await), StoreErrorKind::Local);
    // Shown, not hidden and not fatal.
    assert_eq!(names(&store, "", Depth::All).await.unwrap(), ["wal_005"]);

    symlink("/no/such/disk", dir.path().join("other")).unwrap();
    let store = LocalStore::new(dir.path().join("other"));
    assert_eq!(kind(read(&store, "x").await), StoreErrorKind::Local);
    assert_eq!(kind(names(&store, "", Depth::All).await), StoreErrorKind::Local);
}

#[tokio::test]
async fn links_are_followed_but_not_in_circles() {
    let dir = tempfile::tempdir().unwrap();
    let (root, disk) = (dir.path().join("archive"), dir.path().join("disk"));
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(disk.join("deep")).unwrap();
    fs::write(disk.join("deep/one"), b"1").unwrap();
    symlink(&disk, root.join("wal_005")).unwrap();
    symlink(disk.join("deep/one"), root.join("file")).unwrap();
    symlink(&root, disk.join("circle")).unwrap();
    symlink("self", root.join("self")).unwrap();
    let store = LocalStore::new(&root);
    let all = names(&store, "", Depth::All).await.unwrap();
    assert_eq!(all, ["file", "self", "wal_005/circle", "wal_005/deep/one"]);
    assert_eq!(names(&store, "", Depth::Level).await.unwrap(), ["file", "self", "wal_005/"]);
    assert_eq!(read(&store, "wal_005/deep/one").await.unwrap(), b"1");
    assert_eq!(read(&store, "file").await.unwrap(), b"1");
    assert_eq!(kind(read(&store, "self").await), StoreErrorKind::Local);
    // A directory is no object.
    assert_eq!(kind(read(&store, "wal_005").await), StoreErrorKind::NoSuchObject);
}

#[tokio::test]
async fn names_out_of_the_directory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), b"x").unwrap();
    let root = dir.path().join("archive");
    fs::create_dir(&root).unwrap();
    let store = LocalStore::new(&root);
    for key in ["../secret", "a/../../secret", "..", "wal_005/.."] {
        assert_eq!(kind(read(&store, key).await), StoreErrorKind::Local, "{key}");
        assert_eq!(kind(store.put(&key.into(), "x".into(), When::Always).await), StoreErrorKind::Local, "{key}");
    }
    assert_eq!(kind(names(&store, "../", Depth::All).await), StoreErrorKind::Local);
    // Names that no listing shows.
    let absolute = dir.path().join("secret").display().to_string();
    for key in [absolute.as_str(), "/x", "a//b", "./x", "", "nul\0"] {
        assert_eq!(kind(read(&store, key).await), StoreErrorKind::NoSuchObject, "{key}");
    }
    assert!(names(&store, "/", Depth::All).await.unwrap().is_empty());
    assert!(names(&store, "a//", Depth::All).await.unwrap().is_empty());
}

#[tokio::test]
async fn refused_and_unreadable_are_not_absent() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    fs::create_dir_all(root.join("closed")).unwrap();
    fs::write(root.join("closed/file"), b"x").unwrap();
    fs::write(root.join("shut"), b"x").unwrap();
    let store = LocalStore::new(&root);
    // A file where a directory should be.
    assert_eq!(kind(read(&store, "shut/file").await), StoreErrorKind::Local);
    assert_eq!(kind(names(&store, "shut/", Depth::All).await), StoreErrorKind::Local);
    assert_eq!(kind(names(&LocalStore::new(root.join("shut")), "", Depth::All).await), StoreErrorKind::Local);
    assert_eq!(kind(read(&store, &"n".repeat(300)).await), StoreErrorKind::Local);
    for (path, mode) in [("closed", 0o000), ("shut", 0o000)] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    // Root may read everything: then the table of errors below has to do.
    if !rustix::process::geteuid().is_root() {
        assert_eq!(kind(read(&store, "shut").await), StoreErrorKind::Refused);
        assert_eq!(kind(read(&store, "closed/file").await), StoreErrorKind::Refused);
        assert_eq!(kind(read(&store, "closed/none").await), StoreErrorKind::Refused);
        assert_eq!(kind(names(&store, "", Depth::All).await), StoreErrorKind::Refused);
    }
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn every_error_of_the_system_but_one_is_no_absence() {
    use super::kind_of;
    use std::io::Error;
    for errno in 1..134 {
        let error = Error::from_raw_os_error(errno);
        let kind = kind_of(&error);
        assert!(!matches!(kind, StoreErrorKind::NoSuchObject | StoreErrorKind::NoSuchPrefix), "{error}");
        let refused = [rustix::io::Errno::ACCESS, rustix::io::Errno::PERM].iter().any(|e| e.raw_os_error() == errno);
        assert_eq!(kind == StoreErrorKind::Refused, refused, "{error}");
    }
}

#[tokio::test]
async fn names_that_are_not_utf8_are_shown_and_never_fatal() {
    let dir = tempfile::tempdir().unwrap();
    let odd = |bytes: &[u8]| dir.path().join(OsStr::from_bytes(bytes));
    fs::write(odd(b"b\xff"), b"x").unwrap();
    fs::create_dir(odd(b"c\xfe")).unwrap();
    fs::write(odd(b"c\xfe/in"), b"x").unwrap();
    fs::write(odd("b\u{fffe}".as_bytes()), b"x").unwrap();
    fs::write(odd(b"a"), b"x").unwrap();
    let store = LocalStore::new(dir.path());
    let all = names(&store, "", Depth::All).await.unwrap();
    assert_eq!(all, ["a", "b\u{fffd}", "b\u{fffe}", "c\u{fffd}/in"]);
    assert_eq!(names(&store, "c\u{fffd}/", Depth::All).await.unwrap(), ["c\u{fffd}/in"]);
    // It is there, so it is not "absent".
    assert_eq!(kind(read(&store, "b\u{fffd}").await), StoreErrorKind::Local);
    assert_eq!(read(&store, "b\u{fffe}").await.unwrap(), b"x");
}

#[tokio::test]
async fn what_is_no_regular_file_is_listed_and_never_read() {
    let dir = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("mkfifo").arg(dir.path().join("fifo")).status().unwrap();
    assert!(status.success());
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let store = LocalStore::new(dir.path());
    assert_eq!(names(&store, "", Depth::All).await.unwrap(), ["fifo", "socket"]);
    assert_eq!(kind(read(&store, "fifo").await), StoreErrorKind::Local);
    assert_eq!(kind(read(&store, "socket").await), StoreErrorKind::Local);
}

#[tokio::test]
async fn a_file_that_changes_under_the_reader_is_never_taken_for_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let store = LocalStore::new(dir.path());
    let whole = vec![7u8; 8 * super::CHUNK];
    for change in ["shorter", "longer", "rewritten"] {
        fs::write(&path, &whole).unwrap();
        let mut got = store.get(&"file".into(), ByteRange::ALL, None).await.unwrap();
        got.body.next().await.unwrap().unwrap();
        match change {
            "shorter" => fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap(),
            "longer" => {
                fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(9 * super::CHUNK as u64).unwrap()
            }
            _ => {
                // Far enough from the first write for any clock that stamps files.
                std::thread::sleep(std::time::Duration::from_millis(20));
                fs::write(&path, vec![8u8; whole.len()]).unwrap();
            }
        }
        let rest = got.body.try_collect::<Vec<_>>().await;
        assert_eq!(kind(rest), StoreErrorKind::Changed, "{change}");
    }
    // Replaced by rename: the reader keeps the version it began with.
    fs::write(&path, &whole).unwrap();
    let got = store.get(&"file".into(), ByteRange::ALL, None).await.unwrap();
    fs::write(dir.path().join("new"), b"new").unwrap();
    fs::rename(dir.path().join("new"), &path).unwrap();
    assert!(got.body.try_collect::<Vec<_>>().await.unwrap().concat() == whole);
}

#[tokio::test]
async fn a_failed_write_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::new(dir.path());
    fs::create_dir_all(dir.path().join("taken/by/a/directory")).unwrap();
    let before = tree(dir.path());
    assert_eq!(kind(store.put(&"taken/by".into(), "x".into(), When::Always).await), StoreErrorKind::Local);
    assert_eq!(kind(store.put(&"taken/by".into(), "x".into(), When::Absent).await), StoreErrorKind::Exists);
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn urls() {
    let table = [("/x", "file:///x/"), ("/x/", "file:///x/"), ("x/y", "x/y/"), ("/", "file:///")];
    for (root, url) in table {
        assert_eq!(LocalStore::new(root).url(), url);
    }
    assert_eq!(LocalStore::new("/x").object_url(&"a/b".into()), "file:///x/a/b");
}

/// Versions are told apart by the listing alone, also within one second and at one size.
#[tokio::test]
async fn a_file_that_was_replaced_within_a_second_is_another_version() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalStore::new(dir.path());
    let path = dir.path().join("segment");
    let listed = async || {
        let entries: Vec<Listed> = store.list("", Depth::All, None).try_collect().await.unwrap();
        match entries.as_slice() {
            [Listed::Object(object)] => object.fingerprint(),
            other => panic!("{other:?}"),
        }
    };
    let at = |nanos: u32| std::time::UNIX_EPOCH + std::time::Duration::new(1_800_000_000, nanos);
    let write = |path: &Path, content: &str, nanos: u32| {
        fs::write(path, content).unwrap();
        fs::File::open(path).unwrap().set_modified(at(nanos)).unwrap();
    };
    write(&path, "first", 1);
    let first = listed().await;
    assert_eq!(first, listed().await);
    write(&path, "other", 2);
    let other = listed().await;
    assert_ne!(first, other, "one nanosecond is enough");
    // Renamed over it, with its size and its time to the nanosecond: another inode.
    let beside = dir.path().join(".beside");
    write(&beside, "third", 2);
    fs::rename(&beside, &path).unwrap();
    assert_ne!(other, listed().await);
}
