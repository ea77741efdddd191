//! Whole objects come out whole, everything else is an error; on one thread and on several.

use super::super::read::Settings;
use super::*;
use crate::storage::memory::MemoryStore;
use crate::storage::{Store, StoreErrorKind};
use crate::testing::faulty::{Fault, FaultPlan, FaultyStore};
use crate::testing::lzop::{Writer, lzop};

/// Compressible and not, more than a few blocks.
fn plain() -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(7);
    let noise = std::iter::repeat_with(|| rng.u8(..)).take(700_000);
    noise.chain(b"relation".iter().copied().cycle().take(1_500_000)).collect()
}

fn read_all(stored: &[u8], compression: Compression, helpers: usize, plan: FaultPlan) -> Result<Vec<u8>, Error> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let memory = MemoryStore::new();
        memory.insert("part", stored.to_vec());
        let id = memory.head(&"part".into()).await.expect("an object");
        let store = Arc::new(FaultyStore::new(Arc::new(memory), plan));
        let reading = Reading::start(store, id, Budget::new(1 << 20), Settings::default());
        let mut from = Plain::start(reading, compression, helpers)?;
        tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            match from.read_to_end(&mut all) {
                Ok(_) => {
                    let whole = from.whole().expect("the word");
                    assert_eq!(whole.plain_bytes, all.len() as u64);
                    assert_eq!(whole.stored.len_bytes, whole.read.object.size);
                    assert_eq!(from.read(&mut [0]).expect("the end stays"), 0);
                    Ok(all)
                }
                Err(error) => {
                    assert!(from.whole().is_none());
                    assert!(from.read(&mut [0]).is_err(), "no end behind an error");
                    Err(into_error(error).expect("ours"))
                }
            }
        })
        .await
        .expect("no panic")
    })
}

#[test]
fn whole_objects_come_out_whole() {
    let plain = plain();
    let files = [
        lzop(&plain),
        Writer { block: 1000, ..Writer::default() }.file(&plain),
        Writer { block: 4 << 20, ..Writer::default() }.file(&plain),
        lzop(b"x"),
    ];
    for (index, file) in files.iter().enumerate() {
        for helpers in [1, 2, 5] {
            let got = read_all(file, Compression::Lzo, helpers, FaultPlan::none()).expect("whole");
            let want: &[u8] = if index == 3 { b"x" } else { &plain };
            assert!(got == want, "file {index}, {helpers} helpers");
        }
    }
    assert_eq!(read_all(b"abc", Compression::Plain, 1, FaultPlan::none()).expect("plain"), b"abc");
}

#[test]
fn nothing_else_ends_quietly() {
    let plain = plain();
    let file = lzop(&plain);
    let mut flipped = file.clone();
    flipped[400_000] ^= 1;
    for helpers in [1, 3] {
        let code = |stored: &[u8], plan| {
            read_all(stored, Compression::Lzo, helpers, plan).map(|all| all.len()).expect_err("an error").code()
        };
        assert_eq!(code(&file[..file.len() - 1], FaultPlan::none()), Code::DamagedObject, "cut in its end mark");
        assert_eq!(code(&file[..500_000], FaultPlan::none()), Code::DamagedObject, "cut in a block");
        assert_eq!(code(&flipped, FaultPlan::none()), Code::DamagedObject, "a flipped bit");
        assert_eq!(code(b"", FaultPlan::none()), Code::DamagedObject, "nothing");
        assert_eq!(code(&b"<html><body>denied</body></html>".repeat(9), FaultPlan::none()), Code::DamagedCodec);
        let pgp = [&[0x85, 0x01, 0x0c, 0x03, 1, 2, 3, 4, 5, 6, 7, 8, 1][..], &plain[..600]].concat();
        assert_eq!(code(&pgp, FaultPlan::none()), Code::CryptUnsupported);
        // The store's failure is the store's, whatever the codec would say of the bytes so far.
        for fault in [Fault::CutAt(300_000), Fault::ShortAt(300_000), Fault::Error(StoreErrorKind::Refused)] {
            let class = code(&file, FaultPlan::nth(0, fault)).class();
            assert_ne!(class, crate::error::Class::Damaged, "{fault:?}");
            assert_ne!(class, crate::error::Class::Absent, "{fault:?}");
        }
    }
    let missing = read_all(b"x", Compression::Zstd, 1, FaultPlan::none()).expect_err("no such codec");
    assert_eq!(missing.code(), Code::DamagedCodec);
}
