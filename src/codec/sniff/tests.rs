use super::*;
use crate::testing::lzop::lzop;
use proptest::prelude::*;

#[track_caller]
fn check(bytes: &[u8], want: Format) {
    assert_eq!(sniff(bytes), want, "{}", sniff(bytes));
}

/// First bytes as the programs named write them.
#[test]
fn marks() {
    check(b"", Format::Empty);
    check(&[0], Format::Zeros);
    check(&[0; 9000], Format::Zeros);
    check(&lzop(b"WAL"), Format::Lzop);
    check(b"\x89LZO\0\n\x1A\n", Format::Lzop);
    check(&[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3], Format::Gzip);
    check(&[0x28, 0xB5, 0x2F, 0xFD, 0x04, 0x58], Format::Zstd);
    check(&[0x04, 0x22, 0x4D, 0x18, 0x64, 0x40, 0xA7], Format::Lz4);
    check(&[0x02, 0x21, 0x4C, 0x18, 0, 0], Format::Lz4Legacy);
    check(&[0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0], Format::Skippable);
    check(&[0x5F, 0x2A, 0x4D, 0x18, 4, 0, 0, 0], Format::Skippable);
    check(&[0xFD, b'7', b'z', b'X', b'Z', 0, 0, 4], Format::Xz);
    check(&[0x5D, 0, 0, 0x80, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0x26], Format::LzmaAlone);
    check(&[0x5D, 0, 0, 0xC0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0x26], Format::LzmaAlone);
    check(b"BZh91AY&SY\x01\x02", Format::Bzip2);
    check(b"BZh9\x17\x72\x45\x38\x50\x90\0\0", Format::Bzip2);
    check(b"BZhang wrote this", Format::Text);
    check(b"-----BEGIN PGP MESSAGE-----\n\nhQEM", Format::PgpArmored);
    check(b"Salted__12345678", Format::OpenSsl);
}

/// First packets as gpg 1, gpg 2 and Go's and Rust's libraries write them.
#[test]
fn openpgp_messages() {
    let key_id = [0xDE, 0xAD, 0xBE, 0xEF, 1, 2, 3, 4];
    let pkesk = |head: &[u8], algorithm: u8| [head, &[3], &key_id, &[algorithm, 8, 0, 0xAA]].concat();
    check(&pkesk(&[0x85, 0x01, 0x0C], 1), Format::PgpPublicKey); // RSA 2048, old format
    check(&pkesk(&[0x85, 0x02, 0x0C], 1), Format::PgpPublicKey); // RSA 4096
    check(&pkesk(&[0x84, 0x5E], 18), Format::PgpPublicKey); // ECDH, one-byte length
    check(&pkesk(&[0xC1, 0x5E], 18), Format::PgpPublicKey); // new format
    check(&pkesk(&[0xC1, 0xC0, 0x4C], 1), Format::PgpPublicKey);
    check(&[0x8C, 0x0D, 4, 9, 3, 10, 1, 2], Format::PgpSymmetric);
    check(&[0xC3, 0x0D, 4, 7, 3, 8, 1, 2], Format::PgpSymmetric);
    check(&[0xD2, 0xC0, 0x10, 1, 0xAB], Format::Pgp);
    check(&[0xD2, 0xFF, 0, 0, 1, 0, 2, 9, 2], Format::Pgp);
    for encrypted in [Format::PgpPublicKey, Format::PgpSymmetric, Format::Pgp, Format::PgpArmored, Format::OpenSsl] {
        assert!(encrypted.is_encrypted());
    }
    assert!(!Format::Noise.is_encrypted() && Format::Noise.is_perhaps_encrypted());
}

#[test]
fn pages_tar_and_text() {
    let mut page = [0u8; 40];
    page[..4].copy_from_slice(&[0x06, 0xD1, 0x06, 0x00]);
    page[8..16].copy_from_slice(&0x0300_0000u64.to_le_bytes());
    page[32..36].copy_from_slice(&(16u32 << 20).to_le_bytes());
    page[36..40].copy_from_slice(&8192u32.to_le_bytes());
    check(&page, Format::WalPage);
    check(&page[..24], Format::WalPage);
    let mut swapped = [0u8; 40];
    swapped[..4].copy_from_slice(&[0xD1, 0x06, 0x00, 0x06]);
    swapped[8..16].copy_from_slice(&0x0300_0000u64.to_be_bytes());
    swapped[32..36].copy_from_slice(&(16u32 << 20).to_be_bytes());
    swapped[36..40].copy_from_slice(&8192u32.to_be_bytes());
    check(&swapped, Format::WalPageSwapped);
    page[33] = 3;
    assert_ne!(sniff(&page), Format::WalPage, "a segment size that is no power of two");

    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_cksum();
    builder.append_data(&mut header, "base/1/1259", &b"abc"[..]).unwrap();
    check(&builder.into_inner().unwrap(), Format::Tar);

    check(b"<!DOCTYPE html>\n<html>", Format::Html);
    check(b"\n  <HTML><body>403", Format::Html);
    check(b"\xEF\xBB\xBF<html>", Format::Html);
    check(b"<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code>", Format::Xml);
    check(b"<Error><Code>SlowDown</Code></Error>", Format::Xml);
    check(b"{\"expanded_size_bytes\": 1}", Format::Json);
    check(b"{}", Format::Json);
    check(b"[\n {\"a\": 1}]", Format::Json);
    check(b"1\t0/A000000\tno recovery target specified\n", Format::Text);
    check("START WAL LOCATION: 0/3000028 (\u{e9}".as_bytes(), Format::Text);
    check(&"\u{e9}".as_bytes()[..1], Format::Unknown);
    check(b"ab\x00cd", Format::Unknown);
}

proptest! {
    #[test]
    fn noise_is_never_more_than_perhaps(seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let bytes: Vec<u8> = (0..WANTED).map(|_| random.u8(..)).collect();
        let format = sniff(&bytes);
        // One in thousands has a mark by chance; no mark of encryption may be that short.
        prop_assert!(!format.is_encrypted() || bytes[0] >= 0x80, "{format}");
    }

    #[test]
    fn total(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for end in [0, 1, 5, 13, 24, 40, bytes.len()] {
            let _ = sniff(&bytes[..end.min(bytes.len())]);
        }
    }
}

#[test]
fn noise_is_seen_as_noise_and_structure_is_not() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut taken_for_something = 0;
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..WANTED).map(|_| random.u8(..)).collect();
        taken_for_something += u32::from(sniff(&bytes) != Format::Noise);
    }
    assert!(taken_for_something < 8, "{taken_for_something} of 2000");
    let structured: Vec<u8> = (0..WANTED as u32).flat_map(|n| [0xFF, 0, n as u8]).collect();
    check(&structured, Format::Unknown);
}
