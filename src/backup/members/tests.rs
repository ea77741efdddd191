//! Python's own archives, what others write, and everything that is not whole.

use super::*;
use expect_test::expect;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::io::BufReader;

const GNU: &[u8] = include_bytes!("../../../testdata/tar/python-gnu.tar");
const PAX: &[u8] = include_bytes!("../../../testdata/tar/python-pax.tar");

/// Reads it all: one line per member, or the fault.
fn list(bytes: &[u8], buffer: usize) -> Result<String, TarError> {
    let mut members = Members::new(BufReader::with_capacity(buffer, bytes));
    let mut text = String::new();
    while let Some(member) = members.next_member()? {
        let mut data = Vec::new();
        loop {
            let ready = members.data()?;
            if ready.is_empty() {
                break;
            }
            let count = ready.len();
            data.extend_from_slice(ready);
            members.consume(count);
        }
        assert_eq!(data.len() as u64, member.size);
        let kind = match &member.kind {
            Kind::File => format!("file {}", member.size),
            Kind::Directory => "dir".into(),
            Kind::HardLink(to) => format!("hard link to {}", to.escape_ascii()),
            Kind::SymLink(to) => format!("link to {}", to.escape_ascii()),
            Kind::Other(flag) => format!("type {}", char::from(*flag)),
        };
        let shown = member
            .path
            .escape_ascii()
            .to_string()
            .replace(&"d".repeat(200), "d*200")
            .replace(&"f".repeat(120), "f*120");
        let (seconds, nanos) = member.mtime;
        let owner = format!("{}:{}", member.uid, member.gid);
        writeln!(text, "{shown} {kind} {:o} {owner} {seconds}.{nanos:09}", member.mode).expect("a string");
    }
    assert!(matches!(members.next_member(), Ok(None)), "the end stays the end");
    Ok(text)
}

#[test]
fn python_gnu() {
    expect![[r#"
        / dir 700 26:26 1795202240.000000000
        PG_VERSION file 3 600 26:26 1795202240.000000000
        base/ dir 700 26:26 1795202240.000000000
        base/1/ dir 700 26:26 1795202240.000000000
        base/1/1259 file 1000 600 26:26 1795202240.000000000
        base/1/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn file 19 600 26:26 1795202240.000000000
        base/1/d*200/f*120 file 11 600 26:26 1795202240.000000000
        base/1/\xc3\xa4\xc3\xb6 file 9 600 26:26 1795202240.000000000
        base/1/\xff\xfe file 9 600 26:26 1795202240.000000000
        base/1/big-owner file 1 600 3000000:2097152 1795202240.000000000
        base/1/empty file 0 600 26:26 1795202240.000000000
        base/1/old file 1 600 26:26 -1.000000000
        base/1/block file 512 600 26:26 1795202240.000000000
        base/1/hard hard link to base/1/1259 600 26:26 1795202240.000000000
        pg_wal link to /mnt/wal/wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww 777 26:26 1795202240.000000000
    "#]]
    .assert_eq(&list(GNU, 8192).expect("whole"));
}

#[test]
fn python_pax_says_the_same_and_the_fraction() {
    let pax = list(PAX, 8192).expect("whole");
    let cut = |line: &str| line.rsplit_once(' ').expect("a time").0.to_owned();
    let gnu = list(GNU, 8192).expect("whole");
    assert_eq!(pax.lines().map(cut).collect::<Vec<_>>(), gnu.lines().map(cut).collect::<Vec<_>>());
    assert!(
        pax.lines()
            .next()
            .is_some_and(|line| line.ends_with("1795202240.713175") || line.ends_with("1795202240.713175000")),
        "{pax}"
    );
    assert!(pax.contains("base/1/old file 1 600 26:26 -2.500000000"), "-1.5 is half a second behind -2");
}

#[test]
fn every_cut_of_the_input_gives_the_same() {
    for bytes in [GNU, PAX] {
        let whole = list(bytes, 1 << 20).expect("whole");
        for buffer in [1, 7, 511, 512, 513] {
            assert_eq!(list(bytes, buffer).expect("whole"), whole, "{buffer}");
        }
    }
}

#[test]
fn no_truncation_passes_for_the_end() {
    for bytes in [GNU, PAX] {
        let content = bytes.iter().rposition(|byte| *byte != 0).expect("content") + 1;
        let content = content.div_ceil(512) * 512;
        for end in (0..content + 1024).step_by(256).chain([1, 511, 513]) {
            let error = list(&bytes[..end], 4096).expect_err("cut");
            assert!(error.to_string().contains("ends"), "{end}: {error}");
        }
        // The two zero blocks are the end, whatever fill there is.
        for end in [content + 1024, content + 1025, content + 1536] {
            assert!(list(&bytes[..end.min(bytes.len())], 4096).is_ok(), "{end}");
        }
    }
}

/// A tar of one member with this header, edited.
fn one(edit: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_path("a").expect("short");
    header.set_size(0);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    edit(&mut header);
    header.set_cksum();
    [header.as_bytes().as_slice(), &[0; 1024]].concat()
}

/// Extension header of this type and data before a plain member.
fn extended(flag: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = one(|header| {
        header.as_old_mut().linkflag = [flag];
        header.set_size(data.len() as u64);
    });
    bytes.truncate(512);
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().div_ceil(512) * 512, 0);
    bytes.extend(one(|_| {}));
    bytes
}

#[test]
fn what_is_not_whole_or_not_honest() {
    let with = |extra: &[u8]| [one(|_| {}).as_slice(), extra].concat();
    let zero_block_then_member = [one(|_| {})[..512].to_vec(), vec![0; 512], one(|_| {})].concat();
    let mut flipped = one(|_| {});
    flipped[3] ^= 1;
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", vec![], "the archive ends without its end mark at byte 0 of the tar stream"),
        ("only zeros", vec![0; 512], "the archive ends in the middle of its end mark at byte 512 of the tar stream"),
        (
            "something behind the end",
            with(b"\0\0x"),
            "something behind the end of the archive at byte 1538 of the tar stream",
        ),
        (
            "a second archive",
            with(&one(|_| {})),
            "something behind the end of the archive at byte 1536 of the tar stream",
        ),
        ("one zero block", zero_block_then_member, "one zero block, and then more at byte 1024 of the tar stream"),
        ("a flipped bit", flipped, "a header whose checksum is wrong at byte 0 of the tar stream"),
        ("not a tar", b"<html>".repeat(200), "a block that is no header at byte 0 of the tar stream"),
        (
            "base-256 beyond 64 bits",
            one(|header| header.as_old_mut().size = [0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            "a size that is no number at byte 0 of the tar stream",
        ),
        (
            "a negative size",
            one(|header| header.as_old_mut().size = [0xFF; 12]),
            "a size that is no number at byte 0 of the tar stream",
        ),
        (
            "an octal 8",
            one(|header| header.as_old_mut().size = *b"00000000008\0"),
            "a size that is no number at byte 0 of the tar stream",
        ),
        (
            "a link with data",
            one(|header| {
                header.set_entry_type(tar::EntryType::Link);
                header.set_size(5);
            }),
            "a link or directory with a size at byte 0 of the tar stream",
        ),
        (
            "no name",
            one(|header| header.as_old_mut().name = [0; 100]),
            "a member without a name at byte 0 of the tar stream",
        ),
        ("sparse by pax", extended(b'x', b"22 GNU.sparse.major=1\n"), "a sparse member at byte 0 of the tar stream"),
        (
            "a lying pax length",
            extended(b'x', b"99 path=b\n"),
            "a pax record that does not add up at byte 0 of the tar stream",
        ),
        (
            "a short pax length",
            extended(b'x', b"9 path=b\n\n"),
            "a pax record that does not add up at byte 0 of the tar stream",
        ),
        (
            "a pax length of none",
            extended(b'x', b"0 path=b\n"),
            "a pax record that does not add up at byte 0 of the tar stream",
        ),
        (
            "NUL in a pax path",
            extended(b'x', b"11 path=b\0\n"),
            "a pax record that does not add up at byte 0 of the tar stream",
        ),
        (
            "a huge pax size",
            extended(b'x', b"29 size=18446744073709551615\n"),
            "a member of 18446744073709551615 bytes at byte 1024 of the tar stream",
        ),
        (
            "a global path",
            extended(b'g', b"10 path=b\n"),
            "a global pax header that changes members at byte 0 of the tar stream",
        ),
        (
            "an extension at the end",
            [&extended(b'x', b"10 path=b\n")[..1024], &[0; 1024]].concat(),
            "an extension header without its member at byte 1024 of the tar stream",
        ),
        (
            "a name of a megabyte",
            one(|header| {
                header.as_old_mut().linkflag = *b"L";
                header.set_size(1 << 30);
            }),
            "an extension header of 1073741824 bytes at byte 0 of the tar stream",
        ),
    ];
    for (what, bytes, want) in rows {
        let got = list(&bytes, 8192).map_or_else(|error| error.to_string(), |text| format!("accepted: {text}"));
        assert_eq!(got, want, "{what}");
    }
}

#[test]
fn what_others_write() {
    let path =
        |bytes: Vec<u8>| list(&bytes, 8192).expect("whole").split_whitespace().next().expect("a path").to_owned();
    assert_eq!(path(extended(b'x', b"10 path=b\n")), "b");
    assert_eq!(path(extended(b'x', b"12 path=c\nd\n")), "c\\nd", "a value may hold a line end");
    assert_eq!(path(extended(b'x', b"21 hdrcharset=BINARY\n10 path=\xff\n")), "\\xff");
    assert_eq!(path(extended(b'L', b"long\0")), "long");
    assert_eq!(path(extended(b'g', b"16 comment=abcd\n")), "a");
    // ustar's prefix field.
    let split = one(|header| {
        let ustar = header.as_ustar_mut().expect("ustar");
        ustar.prefix[..4].copy_from_slice(b"pre/");
        ustar.prefix[3] = 0;
    });
    assert_eq!(path(split), "pre/a");
    // A directory of the days before type flags.
    let old = one(|header| {
        header.as_old_mut().linkflag = [0];
        header.as_old_mut().name[1] = b'/';
    });
    assert_eq!(list(&old, 512).expect("whole"), "a/ dir 600 0:0 0.000000000\n");
}

proptest! {
    /// A changed byte is an error or changes nothing but what no checksum covers (the data).
    #[test]
    fn a_changed_header_byte_is_seen(place in 0usize..512, bit in 0u8..8) {
        let mut bytes = GNU.to_vec();
        bytes[512 + place] ^= 1 << bit; // the second header: PG_VERSION
        // Bytes of the checksum field itself may turn a NUL into a blank and mean the same.
        match list(&bytes, 8192) {
            Ok(text) => prop_assert_eq!(text, list(GNU, 8192).expect("whole")),
            Err(error) => prop_assert!(matches!(error, TarError::Damaged { offset: 512, .. }), "{}", error),
        }
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..3000), seed in any::<u64>()) {
        let _ = list(&bytes, 100);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut real = PAX.to_vec();
        for _ in 0..rng.usize(1..20) {
            let place = rng.usize(..real.len());
            real[place] = rng.u8(..);
        }
        let _ = list(&real, 100);
    }
}
