//! Every frame there is, every way to cut it, and bytes that are none.

use super::*;
use proptest::prelude::*;

/// The requests in a connection's bytes, fed in pieces; and what ended it.
fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Request>, Result<bool, Malformed>) {
    let mut requests = Requests::new();
    let mut parsed = Vec::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            match requests.feed(piece) {
                Ok((taken, request)) => {
                    assert!(taken > 0 && taken <= piece.len(), "no progress");
                    assert!(requests.frame.capacity() <= 2 * LONGEST, "{}", requests.frame.capacity());
                    parsed.extend(request);
                    piece = &piece[taken..];
                }
                Err(broken) => {
                    assert_eq!(requests.feed(b"C\0\x03"), Err(broken), "it is of no more use");
                    return (parsed, Err(broken));
                }
            }
        }
    }
    (parsed, Ok(requests.is_between()))
}

fn fetch(name: &str, destination: &str) -> Request {
    Request::Fetch { name: name.into(), destination: destination.into() }
}

/// What the original's client and module write, byte by byte.
#[test]
fn frames_of_the_original() {
    let segment = "000000010000000000000005";
    let rows: [(&[u8], Request); 6] = [
        (b"C\0\x03", Request::Check),
        (b"C\0\x08CHECK", Request::Check),
        (b"F\0\x1b000000010000000000000005", Request::Push(segment.into())),
        (b"F\0\x03", Request::Push(Vec::new())),
        (b"f\0\x33\x02\0\x18000000010000000000000005\0\x13pg_wal/RECOVERYXLOG", fetch(segment, "pg_wal/RECOVERYXLOG")),
        (b"f\0\x08\x02\0\0\0\0", fetch("", "")),
    ];
    for (bytes, request) in rows {
        assert_eq!(parse([bytes]), (vec![request.clone()], Ok(true)), "{request:?}");
        if bytes != b"C\0\x08CHECK" {
            assert_eq!(request.encode().as_deref(), Ok(bytes), "{request:?}");
        }
        for cut in 1..bytes.len() {
            assert_eq!(parse([&bytes[..cut]]), (Vec::new(), Ok(false)), "{request:?} ends after {cut}");
        }
    }
}

#[test]
fn what_makes_no_sense() {
    use Malformed::{Arguments, Kind, Length};
    let rows: [(&[u8], Malformed); 15] = [
        (b"X", Kind(b'X')),
        (b"\0\0\x03", Kind(0)),
        (b"GET / HTTP/1.1\r\n\r\n", Kind(b'G')),
        (b"O", Kind(b'O')),
        (b"C\0\0", Length(0)),
        (b"f\0\x02", Length(2)),
        (b"f\0\x03", Arguments("are none")),
        (b"f\0\x04\0", Arguments("are not two")),
        (b"f\0\x1b000000010000000000000005", Arguments("are not two")),
        (b"f\0\x05\x01\0", Arguments("are not two")),
        (b"f\0\x04\x02", Arguments("end early")),
        (b"f\0\x06\x02\0\0", Arguments("end early")),
        (b"f\0\x09\x02\0\0\0\x02x", Arguments("end early")),
        (b"f\0\x08\x02\xff\xff\0\0", Arguments("end early")),
        (b"f\0\x09\x02\0\0\0\0x", Arguments("end before the request does")),
    ];
    for (bytes, wrong) in rows {
        assert_eq!(parse([bytes]), (Vec::new(), Err(wrong)), "{bytes:?}");
        assert_eq!(parse(bytes.chunks(1)), (Vec::new(), Err(wrong)), "{bytes:?} byte by byte");
        // What came before it stands.
        let behind = [b"C\0\x03", bytes].concat();
        assert_eq!(parse([&*behind]), (vec![Request::Check], Err(wrong)), "{bytes:?}");
    }
}

/// The longest frame there is, and one byte more.
#[test]
fn lengths_at_their_limit() {
    let longest = Request::Push(vec![b'x'; LONGEST - HEAD]);
    assert_eq!(parse([&*longest.encode().unwrap()]), (vec![longest], Ok(true)));
    let push = |length| Request::Push(vec![b'x'; length]).encode();
    assert_eq!(push(LONGEST - HEAD + 1), Err(TooLong(LONGEST + 1)));
    let path = |length| Request::Fetch { name: Vec::new(), destination: vec![b'x'; length] }.encode();
    assert!(path(LONGEST - HEAD - 5).is_ok());
    assert_eq!(path(LONGEST - HEAD - 4), Err(TooLong(LONGEST + 1)));
    assert_eq!(path(LONGEST + 1), Err(TooLong(LONGEST + 1)));
}

#[test]
fn a_length_is_not_believed() {
    let mut requests = Requests::new();
    assert_eq!(requests.feed(b"F\xff\xff"), Ok((3, None)));
    assert!(requests.frame.capacity() < 100);
}

#[test]
fn answers() {
    for reply in [Reply::Done, Reply::Absent, Reply::Failed] {
        assert_eq!(Reply::from_byte(reply.byte()), Some(reply));
    }
    assert_eq!(*b"ONE", [Reply::Done, Reply::Absent, Reply::Failed].map(Reply::byte));
    assert_eq!((0..=255).filter_map(Reply::from_byte).count(), 3);
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    let request = prop_oneof![
        Just(Request::Check),
        bytes().prop_map(Request::Push),
        (bytes(), bytes()).prop_map(|(name, destination)| Request::Fetch { name, destination }),
    ];
    prop::collection::vec(request, 0..6)
}

/// The bytes in pieces of these lengths, again and again.
fn cut<'a>(bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for length in lengths.iter().cycle() {
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    pieces
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        requests in requests(), lengths in prop::collection::vec(1_usize..200, 1..8), behind in 0_usize..3
    ) {
        let mut bytes: Vec<u8> = requests.iter().flat_map(|request| request.encode().unwrap()).collect();
        // And a frame that has only begun.
        bytes.extend_from_slice(&b"f\0"[..behind.min(2)]);
        prop_assert_eq!(parse(cut(&bytes, &lengths)), (requests, Ok(behind == 0)));
    }

    #[test]
    fn garbage_is_the_same_garbage_however_it_is_cut(
        kind in prop::sample::select(b"CFfx".to_vec()),
        bytes in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..400),
        lengths in prop::collection::vec(1_usize..20, 1..8)
    ) {
        let bytes = [&[kind], &*bytes].concat();
        prop_assert_eq!(parse(cut(&bytes, &lengths)), parse([&*bytes]));
    }
}
