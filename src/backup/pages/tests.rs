//! The checksum against a real page and a naive model; names; cuts; verdicts.

use super::*;
use proptest::prelude::*;

/// Block 3 of a catalog relation of a real cluster, version 15, made with checksums.
const REAL: &[u8; PAGE] = include_bytes!("../../../testdata/pages/pg15-1249-block3.page");

/// The text of the algorithm, one lane at a time.
fn naive(page: &[u8], block: u32) -> u16 {
    let mut page = page.to_vec();
    page[8] = 0;
    page[9] = 0;
    let mut hash = block;
    for (lane, base) in BASE.into_iter().enumerate() {
        let mut state = base;
        let words = (0..64).map(|row| &page[row * 128 + lane * 4..][..4]);
        let zeros: [u8; 4] = [0; 4];
        for word in words.chain([&zeros[..], &zeros[..]]) {
            let mixed = state ^ u32::from_le_bytes(word.try_into().expect("four"));
            state = (u64::from(mixed) * 16_777_619 % (1 << 32)) as u32 ^ (mixed >> 17);
        }
        hash ^= state;
    }
    (hash % 65_535 + 1) as u16
}

fn stored(page: &[u8; PAGE]) -> u16 {
    u16::from_le_bytes([page[8], page[9]])
}

#[test]
fn a_real_page_of_a_real_server() {
    assert_ne!(stored(REAL), 0);
    assert_eq!(checksum(REAL, 3), stored(REAL));
    assert_ne!(checksum(REAL, 4), stored(REAL), "a page at the wrong place");
}

fn check(path: &str, bytes: &[u8], cut: usize) -> Seen {
    let mut seen = Seen::default();
    let mut check = PageCheck::new(path.as_bytes(), relation_segment(path.as_bytes()).expect("a relation"));
    for piece in bytes.chunks(cut) {
        check.push(piece, &mut seen);
    }
    check.finish(&mut seen);
    seen
}

/// A page with this LSN and a right checksum for its block.
fn page(block: u32, lsn: u64) -> [u8; PAGE] {
    let mut page = *REAL;
    page[..4].copy_from_slice(&((lsn >> 32) as u32).to_le_bytes());
    page[4..8].copy_from_slice(&(lsn as u32).to_le_bytes());
    let sum = checksum(&page, block);
    page[8..10].copy_from_slice(&sum.to_le_bytes());
    page
}

#[test]
fn what_is_suspect_and_what_becomes_of_it() {
    let mut old = page(1, 0x100);
    old[5000] ^= 1;
    let mut torn = page(2, 0x9000);
    torn[5000] ^= 1;
    let mut unset = page(4, 0x100);
    unset[8..10].copy_from_slice(&[0, 0]);
    let mut not_new = [0; PAGE];
    not_new[4] = 7; // low half of the LSN
    let file = [page(0, 0x100), old, torn, [0; PAGE], unset, not_new].concat();
    for cut in [1, 100, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 1 << 20] {
        let seen = check("base/5/1234", &file, cut);
        assert_eq!(seen.pages, 6);
        let judged = judge(seen.clone(), true, Some(Lsn(0x1000)));
        let blocks: Vec<u32> = judged.damaged.iter().map(|suspect| suspect.block).collect();
        assert_eq!((blocks, judged.replayed), (vec![1, 4, 5], 1), "cut at {cut}");
        assert!(matches!(judged.damaged[1].fault, Fault::Checksum { stored: 0, .. }));
        assert_eq!(judged.damaged[2].fault, Fault::NotNew);
        assert_eq!(judged.damaged[0].lsn, Lsn(0x100));
        // Offline: nothing replays it.
        assert_eq!(judge(seen.clone(), true, None).damaged.len(), 4);
        // No checksums: nothing to say.
        let none = judge(seen, false, Some(Lsn(0x1000)));
        assert_eq!((none.damaged.len(), none.replayed, none.pages), (0, 0, 6));
    }
}

#[test]
fn later_segments_count_on_and_a_partial_page_is_only_growth_while_online() {
    let file = [page(2 * SEGMENT_PAGES, 1).to_vec(), vec![1; 100]].concat();
    let seen = check("base/5/1234.2", &file, 1000);
    assert_eq!(seen.suspects.len(), 1, "the whole page is right at block {}", 2 * SEGMENT_PAGES);
    assert_eq!(seen.suspects[0].fault, Fault::Partial { bytes: 100 });
    assert!(judge(seen.clone(), true, Some(Lsn(0))).damaged.is_empty());
    assert_eq!(judge(seen, true, None).damaged.len(), 1);
}

#[test]
fn the_list_is_bounded() {
    let mut seen = check("base/5/1", &[7; PAGE * 3], PAGE);
    for _ in 0..500 {
        seen.merge(check("base/5/1", &[7; PAGE * 3], PAGE));
    }
    assert_eq!((seen.suspects.len(), seen.unlisted, seen.pages), (Seen::MOST, 503, 1503));
}

#[test]
fn names_of_relations() {
    for (path, segment) in [
        ("global/1262", 0),
        ("global/1262_fsm", 0),
        ("base/1/16384", 0),
        ("base/1/16384.1", 1),
        ("base/1/16384_vm.12", 12),
        ("base/1/16384_init", 0),
        ("pg_tblspc/16400/PG_13_202007201/16384/16401.3", 3),
    ] {
        assert_eq!(relation_segment(path.as_bytes()), Some(segment), "{path}");
    }
    for path in [
        "global/pg_control",
        "global/pg_filenode.map",
        "global/pg_internal.init",
        "base/1/PG_VERSION",
        "base/1/pg_internal.init.123",
        "base/1/t3_16384",
        "base/1/016384",
        "base/1/16384.0",
        "base/1/16384.x",
        "base/1/16384_x",
        "base/1/4294967296",
        "base/pgsql_tmp/1",
        "base/1/16384/1",
        "pg_tblspc/16400/1/2/3",
        "pg_wal/000000010000000000000001",
        "16384",
        "",
    ] {
        assert_eq!(relation_segment(path.as_bytes()), None, "{path}");
    }
    assert_eq!(relation_segment(b"base/1/\xff"), None);
}

proptest! {
    #[test]
    fn the_naive_model_agrees(seed in any::<u64>(), block in any::<u32>()) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let page: [u8; PAGE] = std::array::from_fn(|_| rng.u8(..));
        prop_assert_eq!(checksum(&page, block), naive(&page, block));
    }
}
