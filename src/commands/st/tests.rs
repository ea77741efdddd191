use super::*;
use crate::commands::Silent;
use crate::storage::memory::MemoryStore;
use expect_test::{Expect, expect};

/// An lzop file that holds `hello\n` in one stored block, as `lzop` writes it, made by hand.
fn lzop_hello() -> Vec<u8> {
    // Version, library, needed, method, level, flags (Adler-32 of plain data), mode, times, no name.
    let mut header = vec![0x10, 0x40, 0x20, 0xa0, 0x09, 0x40, 1, 5, 0, 0, 0, 1, 0, 0, 0x81, 0xa4];
    header.extend([0; 8]);
    header.push(0);
    let mut adler = simd_adler32::Adler32::new();
    adler.write(&header);
    let mut file = codec::lzo::MAGIC.to_vec();
    file.extend(&header);
    file.extend(adler.finish().to_be_bytes());
    let mut block = simd_adler32::Adler32::new();
    block.write(b"hello\n");
    file.extend(6u32.to_be_bytes());
    file.extend(6u32.to_be_bytes());
    file.extend(block.finish().to_be_bytes());
    file.extend(b"hello\n");
    file.extend([0; 4]);
    file
}

const SEGMENT: &str = "wal_005/000000010000000000000002.lzo";

fn store() -> MemoryStore {
    let store = MemoryStore::new();
    let time = "2026-11-20T19:29:31Z".parse().unwrap();
    store.insert_at(SEGMENT, lzop_hello(), time);
    store.insert("wal_005/000000010000000000000003.lzo", "<html>proxy error</html>");
    store.insert("wal_005/00000002.history.lzo", "-----BEGIN PGP MESSAGE-----\n\nhQEMA");
    store.insert("wal_005/000000010000000000000004.zst", vec![0x28, 0xB5, 0x2F, 0xFD, 0, 0]);
    store.insert("notes.txt", "hello\n");
    store.insert("empty", "");
    store
}

async fn listed(path: &str, recursive: bool) -> String {
    let mut text = String::new();
    let options = Ls { path: path.to_owned(), recursive };
    let mut each = |line: Line| {
        text.push_str(&format!("{} {} {:?}\n", line.kind, line.key, line.size));
        Ok(())
    };
    match ls(&store(), &options, &mut each).await {
        Ok(count) => assert_eq!(count as usize, text.lines().count()),
        Err(error) => text.push_str(&format!("[{}]\n", error.code())),
    }
    text
}

#[tokio::test]
async fn a_folder_the_beginning_of_names_or_nothing() {
    let root = "obj empty Some(0)\nobj notes.txt Some(6)\ndir wal_005/ None\n";
    for path in ["", "/", ".", "memory:///", "memory://"] {
        assert_eq!(listed(path, false).await, root, "{path:?}");
    }
    for path in ["wal_005", "wal_005/", "memory:///wal_005/"] {
        assert_eq!(listed(path, false).await.lines().count(), 4, "{path:?}");
    }
    assert_eq!(listed("", true).await.lines().count(), 6);
    assert_eq!(listed("wal_005/00000002", false).await, "obj wal_005/00000002.history.lzo Some(34)\n");
    assert_eq!(listed("wal_005/x", false).await, "[absent.object]\n");
    let error = ls(&MemoryStore::new(), &Ls::default(), &mut |_| Ok(())).await.unwrap_err();
    assert_eq!(error.code(), Code::AbsentPrefix);
}

async fn catted(path: &str, decompress: bool) -> Result<Vec<u8>, Code> {
    let mut out = Vec::new();
    let options = Cat { path: path.to_owned(), decompress };
    cat(&store(), &options, &mut out, &Silent).await.map(|_| out).map_err(|error| error.code())
}

#[tokio::test]
async fn bytes_as_they_are_or_decoded() {
    assert_eq!(catted(SEGMENT, false).await, Ok(lzop_hello()));
    assert_eq!(catted(SEGMENT, true).await, Ok(b"hello\n".to_vec()));
    for decompress in [false, true] {
        assert_eq!(catted("notes.txt", decompress).await, Ok(b"hello\n".to_vec()));
        assert_eq!(catted("empty", decompress).await, Ok(Vec::new()));
        assert_eq!(catted("nothing", decompress).await, Err(Code::AbsentObject));
        assert_eq!(catted("wal_005/", decompress).await, Err(Code::UsageArgument));
    }
    assert_eq!(catted("wal_005/000000010000000000000003.lzo", true).await, Err(Code::DamagedCodec));
    assert_eq!(catted("wal_005/00000002.history.lzo", true).await, Err(Code::CryptUnsupported));
    assert_eq!(catted("wal_005/000000010000000000000004.zst", true).await, Err(Code::DamagedCodec));
}

#[tokio::test]
async fn a_cut_object_is_an_error_at_every_length() {
    let whole = lzop_hello();
    for len in 0..whole.len() {
        let store = MemoryStore::new();
        store.insert(SEGMENT, whole[..len].to_vec());
        let options = Cat { path: SEGMENT.to_owned(), decompress: true };
        let result = cat(&store, &options, &mut Vec::new(), &Silent).await;
        assert!(result.is_err(), "{len} bytes passed for whole");
    }
}

async fn stated(path: &str, wanted: Expect) {
    let text = match stat(&store(), path).await {
        Ok(stat) => format!("{} | {} | {:?}", stat.name_says, stat.content.unwrap_or_default(), stat.agree),
        Err(error) => error.code().to_string(),
    };
    wanted.assert_eq(&text);
}

#[tokio::test]
async fn what_the_name_says_and_what_it_is() {
    stated(SEGMENT, expect!["WAL file 000000010000000000000002, lzo | an lzop file | Some(true)"]).await;
    stated(
        "wal_005/000000010000000000000003.lzo",
        expect!["WAL file 000000010000000000000003, lzo | an HTML page | Some(false)"],
    )
    .await;
    stated(
        "wal_005/00000002.history.lzo",
        expect!["WAL file 00000002.history, lzo | an OpenPGP message in ASCII armor | None"],
    )
    .await;
    stated("notes.txt", expect!["nothing that WAL-E or WAL-G write | text | None"]).await;
    stated("empty", expect!["nothing that WAL-E or WAL-G write | empty | None"]).await;
    stated("nothing", expect!["absent.object"]).await;
}

fn files_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_appears_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let run = async |path: &str, name: &str| {
        let cat = Cat { path: path.to_owned(), decompress: true };
        let options = Get { cat, destination: directory.path().join(name) };
        get(&store(), &options, &Silent).await.map(|fetched| fetched.bytes).map_err(|error| error.code())
    };
    assert_eq!(run(SEGMENT, "a").await, Ok(6));
    assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"hello\n");
    assert_eq!(run("notes.txt", "a").await, Err(Code::LocalTarget), "it is not replaced");
    assert_eq!(run("nothing", "b").await, Err(Code::AbsentObject));
    assert_eq!(run("wal_005/000000010000000000000003.lzo", "b").await, Err(Code::DamagedCodec));
    assert_eq!(run("notes.txt", "no/such/place").await, Err(Code::LocalIo));
    assert_eq!(run("notes.txt", "..").await, Err(Code::LocalTarget));
    // What a killed process left is taken over; what a living one writes is not.
    fs::write(directory.path().join(".c.wal-r"), "longer than what is to come").unwrap();
    assert_eq!(run("notes.txt", "c").await, Ok(6));
    assert_eq!(fs::read(directory.path().join("c")).unwrap(), b"hello\n");
    std::os::unix::fs::symlink(directory.path().join("a"), directory.path().join(".e.wal-r")).unwrap();
    assert_eq!(run("notes.txt", "e").await, Err(Code::LocalIo));
    assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"hello\n");
    let living = Temporary::beside(&directory.path().join("d")).unwrap();
    assert_eq!(run("notes.txt", "d").await, Err(Code::LocalTarget));
    drop(living);
    assert_eq!(run("notes.txt", "d").await, Ok(6));
    std::os::unix::fs::symlink("/nonexistent", directory.path().join("dangling")).unwrap();
    assert_eq!(run("notes.txt", "dangling").await, Err(Code::LocalTarget));
    assert_eq!(files_in(directory.path()), [".e.wal-r", "a", "c", "d", "dangling"]);
}
