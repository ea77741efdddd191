use super::*;
use crate::testing::lzop::{Checksums, Writer};
use proptest::prelude::*;

/// Decodes a whole file given in pieces cut at these places.
fn decode_cut(file: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, Remarks), CodecError> {
    let mut decoder = LzopDecoder::new();
    let mut out = Vec::new();
    let mut feed = |mut piece: &[u8]| {
        while !piece.is_empty() {
            let taken = decoder.decode(piece, &mut out)?;
            assert!(taken > 0, "no progress");
            piece = &piece[taken..];
        }
        Ok(())
    };
    let mut start = 0;
    for cut in cuts.iter().copied().chain([file.len()]) {
        feed(&file[start..cut.max(start)])?;
        start = cut.max(start);
    }
    decoder.finish()?;
    Ok((out, decoder.remarks()))
}

fn decode(file: &[u8]) -> Result<Vec<u8>, CodecError> {
    decode_cut(file, &[]).map(|(out, _)| out)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

const MAGIC_HEX: &str = "894c5a4f000d0a1a0a";
const HEADER_A: &str = "894c5a4f000d0a1a0a 1040 20a0 0940 0105 0300000d 00000000 6b00a3ec 00000000 00 2d1c036a";

/// Annotated files, each from another writer. All of them decode with lzop 1.04.
#[test]
fn known_files() {
    #[track_caller]
    fn check(what: &str, text: &str, want: &[u8]) {
        let file = hex(text);
        assert_eq!(decode(&file).as_deref(), Ok(want), "{what}");
        let every: Vec<usize> = (0..file.len()).collect();
        assert_eq!(decode_cut(&file, &every).map(|(out, _)| out).as_deref(), Ok(want), "{what}, byte by byte");
        // Cut short anywhere, it is truncated, where it ends.
        for cut in 0..file.len() {
            let error = decode(&file[..cut]).unwrap_err();
            assert!(error.truncated && error.offset == cut as u64, "{what} cut to {cut}: {error}");
        }
    }
    let data_b = "02 4141414141 20f31000 0001 41414141414141414141414141414141414141 110000 00000000";
    check("A: a stored block", &format!("{HEADER_A} 00000006 00000006 05a00161 57414c2d450a 00000000"), b"WAL-E\n");
    check("B: a compressed block", &format!("{HEADER_A} 0000012c 00000022 cb9e4c2d {data_b}"), &[b'A'; 300]);
    check(
        "C: level 9",
        &format!(
            "{} 00000019 0000000b 7c1b093b 14 616263 33 0900 0a 110000 00000000",
            HEADER_A.replace("0105", "0309").replace("2d1c036a", "2d8a0370")
        ),
        b"abcabcabcabcabcabcabcabc\n",
    );
    check(
        "D: CRC-32 everywhere",
        &format!(
            "{MAGIC_HEX} 1040 20a0 1001 0105 0300130c 00000000 6b00a3ec 00000000 00 {} \
             0000012c 00000022 bba03323 11b1d2cc {data_b}",
            crc_of("1040 20a0 1001 0105 0300130c 00000000 6b00a3ec 00000000 00"),
        ),
        &[b'A'; 300],
    );
    check(
        "F: BusyBox",
        "894c5a4f000d0a1a0a10102030094001050300000100000000000000000000000000109400c4
         000000060000000605a0016157414c2d450a00000000",
        b"WAL-E\n",
    );
    check(
        "G: Go",
        "894c5a4f000d0a1a0a103020a0094001030000000f000000006b009b00000000000025a10263
         000000300000001cb521118b728707830368656c6c6f203a14000b6f2068656c6c6f2068656c6c6f0a11000000000000",
        b"hello hello hello hello hello hello hello hello\n",
    );
    check(
        "H: the short header of version 0.900",
        "894c5a4f000d0a1a0a09001010010300000d000000006b009b000007430141000000060000000605a0016157414c2d450a00000000",
        b"WAL-E\n",
    );
}

fn crc_of(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(&hex(text)))
}

/// E: the header of a named file.
#[test]
fn a_named_file_tells_its_name() {
    let text = "1040 20a0 0940 0105 03000009 000081a0 65937d25 00000000 05 672e747874 51b90621";
    let mut framer = Framer::new();
    framer.push(&hex(&format!("{MAGIC_HEX}{text}"))).unwrap();
    let member = framer.member().unwrap();
    assert_eq!((&member.name[..], member.mode, member.mtime), (&b"g.txt"[..], 0o100640, 0x65937d25));
    assert_eq!((member.version, member.library, member.needed), (0x1040, 0x20A0, Some(0x0940)));
}

/// Files made by lzop 1.04 with each of its options, of the text that `sample` makes.
#[test]
fn files_of_the_real_lzop() {
    let sample = sample();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/lzop");
    let mut seen = 0;
    for case in std::fs::read_dir(folder).unwrap() {
        let case = case.unwrap();
        let name = case.file_name().into_string().unwrap();
        let file = std::fs::read(case.path().join("in.lzo")).unwrap();
        let want = match name.as_str() {
            "empty_input" => Vec::new(),
            "stored_block" => b"WAL-E\n".to_vec(),
            "two_members" | "two_members_named" => sample.repeat(2),
            _ => sample.clone(),
        };
        let (out, remarks) = decode_cut(&file, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(out == want, "{name}: other bytes");
        assert_eq!(remarks.members, 1 + u32::from(name.starts_with("two_")), "{name}");
        assert_eq!(remarks.trailing_zeros, if name == "trailing_zeros" { 1000 } else { 0 }, "{name}");
        for step in [1, 7, 4096] {
            let cuts: Vec<usize> = (0..file.len()).step_by(step).collect();
            assert!(decode_cut(&file, &cuts) == Ok((want.clone(), remarks)), "{name} in pieces of {step}");
        }
        seen += 1;
    }
    assert_eq!(seen, 24);
}

/// 100 lines of words, over and over, to 300 000 bytes: two blocks.
fn sample() -> Vec<u8> {
    let words = ["segment", "timeline", "record", "checkpoint", "page", "prefix", "sentinel", "archive"];
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let lines: String = (0..100).map(|_| format!("{} {}\n", next() % 1000, words[next() % 8])).collect();
    lines.bytes().cycle().take(300_000).collect()
}

/// One line for every way to be wrong: a good file with something replaced, and where the error must point.
#[test]
fn what_is_refused() {
    #[track_caller]
    fn check(file: &[u8], offset: u64, truncated: bool, what: &str) {
        let error = decode(file).expect_err(what);
        assert_eq!((error.offset, error.truncated), (offset, truncated), "{error}");
        assert!(error.what.contains(what), "{error}, expected: {what}");
        let every: Vec<usize> = (0..file.len()).collect();
        assert_eq!(decode_cut(file, &every).map(|(out, _)| out), Err(error), "byte by byte");
    }
    let plain = sample();
    let good = Writer::default().file(&plain);
    let with = |edit: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::default();
        edit(&mut writer);
        writer.file(b"WAL-E\n")
    };
    check(b"", 0, true, "empty");
    check(b"<html>", 0, false, "not an lzop file");
    check(&[0, 0, 0, 0, 0], 0, false, "not an lzop file");
    check(&[0, 0, 0], 3, true, "header of a member");
    check(b"\x89LZO\0\n\x1A\n\x10\x40", 5, false, "line ends");
    check(b"\x89LZO\0\r\r\n\x1A\r\n\x10\x40", 5, false, "line ends");
    check(&with(&|w| w.version = 0x08FF), 9, false, "older than any release");
    check(&with(&|w| w.needed = 0x1050), 13, false, "needs lzop version 1050");
    check(&with(&|w| w.needed = 0x0800), 13, false, "needs lzop version 0800");
    check(&with(&|w| w.method = 0), 15, false, "method 0");
    check(&with(&|w| w.method = 4), 15, false, "method 4");
    check(&with(&|w| w.level = 10), 16, false, "level 10");
    check(&with(&|w| w.extra_flags = 0x4000), 17, false, "reserved");
    check(&with(&|w| w.extra_flags = 0x80000), 17, false, "reserved");
    check(&with(&|w| w.extra_flags = 0x0200), 17, false, "checksums of compressed blocks");
    check(&with(&|w| w.filter = Some(17)), 21, false, "filter 17");
    // Where the header's checksum lies: 34 bytes behind the magic's start plus the name.
    let mut bad = good.clone();
    bad[30] ^= 1;
    check(&bad, 34, false, "header of a member: Adler-32");
    let mut crc = Writer { sums: Checksums::CRC_D, ..Writer::default() }.file(b"WAL-E\n");
    crc[30] ^= 1;
    check(&crc, 34, false, "header of a member: CRC-32");
    // The first block header lies at 38: lengths, Adler-32 of the plain bytes, data at 50.
    let edit = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    check(&edit(38, &[0xFF; 4]), 38, false, "split");
    check(&edit(38, &0x0400_0001u32.to_be_bytes()), 38, false, "the format ends at 67108864");
    check(&edit(42, &[0; 4]), 42, false, "stored in 0");
    check(&edit(42, &262_145u32.to_be_bytes()), 42, false, "stored in 262145");
    check(&edit(46, &[1, 2, 3, 4]), 50, false, "Adler-32 is 01020304, computed");
    check(&edit(50, &[0; 40]), 50, false, "LZO data");
    // A little data that claims to be much is refused before anything is allocated for it.
    let mut bomb = good[..38].to_vec();
    bomb.extend([4, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0, 0, 0, 0]);
    check(&bomb, 50, false, "cannot expand");
    // Output that is shorter or longer than promised, data behind LZO's end marker.
    let block = |plain_len: u32, data: &[u8]| {
        let mut file = good[..38].to_vec();
        file.extend(plain_len.to_be_bytes());
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(simd_adler32::adler32(&&b"abcabcabcabcabcabcabcabc\n"[..]).to_be_bytes());
        file.extend(data);
        file.extend([0; 4]);
        file
    };
    let data = [0x14, b'a', b'b', b'c', 0x33, 0x09, 0x00, b'\n', 0x11, 0x00, 0x00];
    assert!(decode(&block(25, &data)).is_ok());
    check(&block(26, &data), 50, false, "decodes to 25 bytes, its header says 26");
    check(&block(24, &data), 50, false, "more than its header says");
    check(&block(25, &[&data[..], &[0]].concat()), 50, false, "before its last byte");
    check(&block(25, &data[..8]), 50, false, "without its end marker");
    // What follows the end.
    let end = good.len() as u64;
    let behind = |bytes: &[u8]| [&good[..], bytes].concat();
    check(&good[..good.len() - 4], end - 4, true, "without the end marker");
    check(&good[..good.len() - 1], end - 1, true, "header of a block");
    check(&behind(b"x"), end, false, "neither zero nor another member");
    check(&behind(&[0, 0, 1]), end + 2, false, "not zero");
    check(&behind(&MAGIC), end + 9, true, "header of a member");
    check(&behind(&MAGIC[..5]), end + 5, true, "header of a member");
    check(&behind(b"\x89PNG"), end, false, "neither zero nor another member");
}

#[test]
fn extra_field_is_checked_and_skipped() {
    for sums in [Checksums::ADLER_D, Checksums::CRC_D] {
        let writer = Writer { sums, extra: Some(vec![7; 1000]), ..Writer::default() };
        let mut file = writer.file(b"WAL-E\n");
        assert_eq!(decode(&file).as_deref(), Ok(&b"WAL-E\n"[..]));
        file[600] ^= 1;
        let error = decode(&file).unwrap_err();
        assert!(error.what.contains("extra field") && error.offset == 38 + 4 + 1000, "{error}");
        let huge = Writer { sums, extra: Some(vec![7; 1 << 20 | 1]), ..Writer::default() }.file(b"");
        assert!(decode(&huge).unwrap_err().what.contains("extra field of 1048577 bytes"));
    }
}

#[test]
fn large_blocks_up_to_the_limit_of_the_format_and_of_the_caller() {
    let plain = vec![0; MAX_BLOCK as usize];
    let file = Writer { block: MAX_BLOCK as usize, ..Writer::default() }.file(&plain);
    assert!(decode(&file).as_deref() == Ok(&plain[..]));
    let mut small = LzopDecoder::with(Framer::new().with_max_block(1 << 20));
    let error = small.decode(&file, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "block of 67108864 bytes, more than the 1048576 allowed here at byte 38");
    assert_eq!(small.finish(), Err(error), "an error stays");
}

#[test]
fn the_empty_file_of_go() {
    let (out, remarks) = decode_cut(&[0; 4], &[2]).unwrap();
    assert!(out.is_empty() && remarks.go_empty && remarks.members == 0);
}

#[test]
fn a_block_can_be_decoded_elsewhere() {
    let plain = sample();
    let file = Writer { block: 10_000, ..Writer::default() }.file(&plain);
    let mut framer = Framer::new();
    let mut blocks = Vec::new();
    let mut rest = &file[..];
    while !rest.is_empty() {
        let (taken, block) = framer.push(rest).unwrap();
        blocks.extend(block.map(Block::into_owned));
        rest = &rest[taken..];
    }
    framer.finish().unwrap();
    assert_eq!(blocks.len(), 30);
    let decoded: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let handles: Vec<_> = blocks
            .iter()
            .map(|block| {
                scope.spawn(move || {
                    let mut out = Vec::new();
                    block.decode(&mut out).map(|()| out)
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap().unwrap()).collect()
    });
    assert!(decoded.concat() == plain);
}

fn writer() -> impl Strategy<Value = Writer> {
    let sums = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (
        sums,
        0u32..=16,
        1usize..5000,
        prop::option::of(prop::collection::vec(any::<u8>(), 0..50)),
        "[a-z]{0,20}",
        any::<bool>(),
    )
        .prop_map(|((adler_d, crc_d, adler_c, crc_c, header_crc), filter, block, extra, name, short)| Writer {
            sums: Checksums { adler_d, crc_d, adler_c: adler_c && adler_d, crc_c: crc_c && crc_d, header_crc },
            filter: (filter > 0).then_some(filter),
            version: if short { 0x0900 } else { 0x1040 },
            block,
            extra,
            name: name.into_bytes(),
            ..Writer::default()
        })
}

proptest! {
    /// Whatever the header's variant, the bytes come back, however the input is cut.
    #[test]
    fn any_cut_gives_the_same(
        writer in writer(),
        plain in prop::collection::vec(prop_oneof![Just(0u8), 0u8..4, any::<u8>()], 0..20_000),
        members in 1usize..3,
        zeros in 0usize..5,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut file = writer.file(&plain).repeat(members);
        file.extend(vec![0; zeros]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(file.len())).collect();
        cuts.sort_unstable();
        let (out, remarks) = decode_cut(&file, &cuts).unwrap();
        prop_assert!(out == plain.repeat(members));
        prop_assert_eq!(remarks.members as usize, members);
        prop_assert_eq!(remarks.trailing_zeros as usize, zeros);
        let whole = decode_cut(&file, &[]).unwrap();
        prop_assert!(whole == (out, remarks));
    }

    /// With a checksum over the plain bytes, no flipped bit decodes to other bytes: it is an error, or a bit that
    /// nothing depends on (none within the header, which has its own checksum).
    #[test]
    fn a_flipped_bit_is_found(
        writer in writer(),
        plain in prop::collection::vec(prop_oneof![Just(0u8), 0u8..4, any::<u8>()], 0..3000),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
        cut in any::<prop::sample::Index>(),
    ) {
        prop_assume!(writer.sums.adler_d || writer.sums.crc_d);
        let mut file = writer.file(&plain);
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        let damaged = decode_cut(&file, &[]);
        prop_assert!(damaged.as_ref().is_err() || damaged.as_ref().is_ok_and(|(out, _)| *out == plain));
        if at < 38 {
            prop_assert!(damaged.is_err(), "bit {bit} of byte {at}");
        }
        prop_assert!(decode_cut(&file, &[cut.index(file.len())]) == damaged);
    }

    /// Noise behind a good start never panics, and any cut of it fails alike.
    #[test]
    fn noise_fails_alike(
        keep in 0usize..60,
        noise in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..200),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = Writer::default().file(b"WAL-E\n");
        file.truncate(keep);
        file.extend(noise);
        let whole = decode_cut(&file, &[]);
        let cut = if file.is_empty() { 0 } else { cut.index(file.len()) };
        prop_assert!(decode_cut(&file, &[cut]) == whole);
        let every: Vec<usize> = (0..file.len()).collect();
        prop_assert!(decode_cut(&file, &every) == whole);
    }
}
