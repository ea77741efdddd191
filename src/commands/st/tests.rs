use super::*;
use crate::commands::Silent;
use crate::commands::config_check;
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

/// Every call of every command goes wrong in every way, once and from there on: the result is right, or an error that is
/// not "absent", and the run after it is right.
mod sweep {
    use super::*;
    use crate::error::Verdict;
    use crate::storage::retry::Retrying;
    use crate::testing::faulty::{Call, Fault, FaultPlan, FaultyStore, hasty};
    use std::sync::Arc;

    const SENTINEL: &str = "basebackups_005/base_000000010000000000000002_00000040_backup_stop_sentinel.json";

    fn archive() -> MemoryStore {
        let store = MemoryStore::new();
        store.insert(SEGMENT, crate::testing::lzop::lzop(&b"0123456789abcdef".repeat(40_000)));
        store.insert(
            SENTINEL,
            r#"{"wal_segment_backup_stop": "000000010000000000000002", "wal_segment_offset_backup_stop": "00000312", "expanded_size_bytes": 22, "spec": {}}"#,
        );
        store
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Command {
        Ls,
        LsAll,
        LsNames,
        Cat,
        Decoded,
        Get,
        Stat,
        Check,
    }

    /// What it gave as text, or its error.
    async fn run(command: Command, store: &dyn Store) -> Answer<String> {
        let mut text = String::new();
        let mut bytes = Vec::new();
        let listing = |path: &str, recursive| Ls { path: path.to_owned(), recursive };
        let mut each = |line: Line| {
            text.push_str(&format!("{line:?}\n"));
            Ok(())
        };
        let decoded = Cat { path: SEGMENT.to_owned(), decompress: true };
        match command {
            Command::Ls => ls(store, &listing("", false), &mut each).await.map(drop)?,
            Command::LsAll => ls(store, &listing("", true), &mut each).await.map(drop)?,
            Command::LsNames => ls(store, &listing("wal_005/0000", false), &mut each).await.map(drop)?,
            Command::Cat => {
                let raw = Cat { decompress: false, ..decoded };
                cat(store, &raw, &mut bytes, &Silent).await?;
                return Ok(format!("{} bytes", bytes.len()));
            }
            Command::Decoded => {
                cat(store, &decoded, &mut bytes, &Silent).await?;
                return Ok(format!("{} {:?}", bytes.len(), codec::sniff::sniff(&bytes)));
            }
            Command::Get => {
                let directory = tempfile::tempdir().unwrap();
                let destination = directory.path().join("file");
                let fetched = get(store, &Get { cat: decoded, destination: destination.clone() }, &Silent).await;
                let names = files_in(directory.path());
                let Ok(fetched) = fetched else {
                    assert!(names.is_empty(), "residue: {names:?}");
                    return Err(fetched.unwrap_err());
                };
                return Ok(format!("{} {:?}", fetched.bytes, fs::read(destination).map(|bytes| bytes.len()).ok()));
            }
            Command::Stat => {
                let mut stat = stat(store, SEGMENT).await?;
                if let Some(error) = stat.trouble.take() {
                    return Err(error);
                }
                return Ok(format!("{} {:?}", stat.size, stat.content));
            }
            Command::Check => {
                let steps = config_check::run(store, &Silent).await;
                if let Some(code) = steps.iter().find_map(|step| step.failed) {
                    return Err(Error::new(code, "a step failed"));
                }
                return Ok(steps.iter().map(|step| format!("{} {}\n", step.step, step.found)).collect());
            }
        }
        Ok(text)
    }

    async fn sweep(command: Command) {
        let store = archive();
        let clean = FaultyStore::new(Arc::new(store.clone()), FaultPlan::none());
        let right = run(command, &clean).await.unwrap();
        let calls = clean.calls();
        assert!(!calls.is_empty());
        let size = store.head(&SEGMENT.into()).await.unwrap().size;
        let (mut survived, mut failed) = (0, 0);
        for (number, call) in calls.iter().enumerate() {
            let number = number as u64;
            for fault in Fault::all(size) {
                let list = matches!(call, Call::List(..));
                // What nobody can see: a listing that breaks its promise, and bytes that carry no checksum.
                let raw = matches!(command, Command::Cat | Command::Stat);
                let unseen = match fault {
                    Fault::ShortAt(_) => list,
                    Fault::CorruptAt(_) | Fault::Html => raw,
                    _ => false,
                };
                if unseen {
                    continue;
                }
                for plan in [FaultPlan::nth(number, fault), FaultPlan::from(number, fault)] {
                    let faulty = FaultyStore::new(Arc::new(store.clone()), plan);
                    let retrying = Retrying::new(Arc::new(faulty), hasty());
                    match run(command, &retrying).await {
                        Ok(result) => {
                            survived += 1;
                            assert_eq!(result, right, "{command:?} {number} {fault:?}");
                        }
                        Err(error) => {
                            failed += 1;
                            assert_ne!(error.verdict(), Verdict::Absent, "{command:?} {number} {fault:?}: {error:?}");
                        }
                    }
                }
            }
            assert_eq!(run(command, &store).await.unwrap(), right, "the run after it");
        }
        assert!(survived > 5 && failed > 20, "{command:?}: {survived} survived, {failed} failed");
    }

    #[tokio::test(start_paused = true)]
    async fn listings() {
        for command in [Command::Ls, Command::LsAll, Command::LsNames] {
            sweep(command).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes() {
        for command in [Command::Cat, Command::Decoded, Command::Get, Command::Stat] {
            sweep(command).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_check() {
        sweep(Command::Check).await;
    }
}
