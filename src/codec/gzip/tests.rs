use super::*;
use crate::codec::decode_all;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use proptest::prelude::*;
use std::io::Write;

fn member(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// With every optional field.
fn dressed(plain: &[u8]) -> Vec<u8> {
    let builder = GzBuilder::new().filename("syslog.1").comment("rotated").extra(vec![7; 300]).mtime(1);
    let mut encoder = builder.write(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    let mut bytes = encoder.finish().unwrap();
    // A header CRC, which nobody writes and everybody must skip: behind the comment.
    bytes[3] |= HEADER_CRC;
    let end = bytes.windows(8).position(|window| window == b"rotated\0").unwrap() + 8;
    bytes.splice(end..end, [1, 2]);
    bytes
}

fn plain_of(stored: &[u8]) -> Result<Vec<u8>, CodecError> {
    decode_all(&mut GzipDecoder::new(), stored, 1 << 30)
}

fn in_pieces(stored: &[u8], len: usize) -> Result<Vec<u8>, CodecError> {
    let (mut decoder, mut out) = (GzipDecoder::new(), Vec::new());
    for piece in stored.chunks(len) {
        let mut rest = piece;
        while !rest.is_empty() {
            let taken = decoder.decode(rest, &mut out)?;
            assert!(taken > 0);
            rest = &rest[taken..];
        }
    }
    decoder.finish().map(|()| out)
}

#[test]
fn members_follow_each_other_and_zeros_may_follow_them() {
    let text = b"Mar 16 19:11:48 host tag: text\n".repeat(5000);
    let stored = [member(&text), dressed(b"two\n"), member(b""), member(b"three\n")].concat();
    let wanted = [&text[..], b"two\nthree\n"].concat();
    for len in [1, 2, 3, 7, 64, 4096, stored.len()] {
        assert_eq!(in_pieces(&stored, len).unwrap(), wanted, "pieces of {len}");
    }
    assert_eq!(plain_of(&[&stored[..], &[0; 1000]].concat()).unwrap(), wanted);
}

#[test]
fn every_cut_and_every_flip_is_noticed() {
    let stored = [dressed(b"one one one one\n"), member(b"two\n")].concat();
    let border = dressed(b"one one one one\n").len();
    for end in (0..stored.len()).filter(|end| *end != border) {
        let error = plain_of(&stored[..end]).unwrap_err();
        assert!(error.truncated && error.offset == end as u64, "{end}: {error:?}");
    }
    assert_eq!(plain_of(&stored[..border]).unwrap(), b"one one one one\n");
    // The last eight bytes of a member speak for its data; its header has nothing that does.
    let last = member(b"two\n");
    for at in 10..last.len() {
        let mut broken = last.clone();
        broken[at] ^= 0x10;
        match plain_of(&broken) {
            Err(_) => {}
            // The bits behind the last block fill up its byte and mean nothing.
            Ok(plain) => assert!(plain == b"two\n" && at == last.len() - 9, "byte {at}"),
        }
    }
}

#[test]
fn what_is_behind_the_last_member_is_judged() {
    let whole = member(b"one\n");
    for (behind, what) in
        [(&b"x"[..], "no gzip member begins"), (b"\x1f\x8c", "no gzip member begins"), (b"\0\0x", "padding")]
    {
        let error = plain_of(&[&whole[..], behind].concat()).unwrap_err();
        assert!(error.what.contains(what) && !error.truncated, "{error:?}");
    }
    let error = plain_of(&[0x1F, 0x8B, 8, 0xFF, 0, 0, 0, 0, 0, 0]).unwrap_err();
    assert_eq!((error.offset, &*error.what), (9, "a header with unknown flags"));
}

/// A thousandfold expansion comes in steps.
#[test]
fn a_bomb_comes_in_small_pieces() {
    let stored = member(&vec![0; 50 << 20]);
    let (mut decoder, mut out, mut total, mut rest) = (GzipDecoder::new(), Vec::new(), 0, &stored[..]);
    while !rest.is_empty() {
        out.clear();
        let taken = decoder.decode(rest, &mut out).unwrap();
        assert!(taken > 0 && out.len() <= 4 * STEP, "{} bytes at once", out.len());
        total += out.len();
        rest = &rest[taken..];
    }
    decoder.finish().unwrap();
    assert_eq!(total, 50 << 20);
}

proptest! {
    /// Any bytes: no panic, and the same answer however they are cut.
    #[test]
    fn any_bytes_any_cut(bytes in proptest::collection::vec(any::<u8>(), 0..300), len in 1..40usize, real in any::<bool>()) {
        let stored = if real { member(&bytes) } else { [&MAGIC[..], &bytes].concat() };
        let whole = plain_of(&stored);
        if real {
            prop_assert_eq!(whole.as_ref().unwrap(), &bytes);
        }
        prop_assert_eq!(in_pieces(&stored, len).is_ok(), whole.is_ok());
        prop_assert!(in_pieces(&stored, len).ok() == whole.ok());
    }
}
