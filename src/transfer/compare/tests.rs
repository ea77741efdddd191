use super::*;
use crate::transfer::manifest::{Entry as Known, How};

const MD5: &str = "\"0123456789abcdef0123456789abcdef\"";
const OTHER: &str = "\"ffffffffffffffffffffffffffffffff\"";
const PARTS: &str = "\"0123456789abcdef0123456789abcdef-2\"";

fn object(key: &str, size: u64, etag: &str) -> ObjectId {
    ObjectId { key: key.into(), size, modified: None, etag: Some(ETag::new(etag)) }
}

fn look(source: ObjectId, there: Option<ObjectId>, known: Option<(&str, &str)>) -> &'static str {
    let mut manifest = Manifest::new("to", "from");
    if let Some((source_version, version)) = known {
        let was = object(source.key.as_str(), source.size, source_version);
        manifest.record(Known::new(&was, Some(&ETag::new(version)), None, How::Streamed));
    }
    let comparison = compare(&[source], &[], there.into_iter().collect(), &manifest);
    let Comparison { absent, same, unclear, different, .. } = comparison;
    match (absent.len(), same.len(), unclear.len(), different.len()) {
        (1, 0, 0, 0) => "absent",
        (0, 1, 0, 0) => "same",
        (0, 0, 1, 0) => "unclear",
        (0, 0, 0, 1) => "different",
        other => panic!("{other:?}"),
    }
}

/// Nothing but a known version, an MD5 or a digest says that two objects are one.
#[test]
fn what_tells_that_two_are_the_same() {
    let key = "wal_005/000000010000000000000001.lzo";
    let rows = [
        ("absent", MD5, None, None),
        ("same", MD5, Some((10, MD5)), None),
        ("different", MD5, Some((11, MD5)), None),
        ("unclear", MD5, Some((10, OTHER)), None),
        // Uploads in parts: equal by chance of the same cuts, and still no MD5 of the bytes.
        ("unclear", PARTS, Some((10, PARTS)), None),
        ("unclear", "\"local\"", Some((10, "\"local\"")), None),
        // The manifest knows both versions.
        ("same", "\"s1\"", Some((10, "\"d1\"")), Some(("\"s1\"", "\"d1\""))),
        // The source, or the destination, is another now.
        ("unclear", "\"s2\"", Some((10, "\"d1\"")), Some(("\"s1\"", "\"d1\""))),
        ("unclear", "\"s1\"", Some((10, "\"d2\"")), Some(("\"s1\"", "\"d1\""))),
    ];
    for (wanted, etag, there, known) in rows {
        let there = there.map(|(size, etag)| object(key, size, etag));
        assert_eq!(look(object(key, 10, etag), there.clone(), known), wanted, "{etag} {there:?} {known:?}");
    }
}

#[test]
fn who_is_a_stranger() {
    let here = [object("wal_005/000000010000000000000001.lzo", 1, MD5)];
    let rest = ["2", "4", "5"].map(|n| object(&format!("wal_005/00000001000000000000000{n}.lzo"), 1, MD5));
    let mut manifest = Manifest::new("to", "from");
    let removed = object("wal_005/000000010000000000000003.lzo", 1, "\"d\"");
    manifest.record(Known::new(&removed, removed.etag.as_ref(), None, How::Streamed));
    let there = vec![
        // Of the source, not chosen this time; copied before and removed there since.
        object("wal_005/000000010000000000000002.lzo", 1, MD5),
        removed,
        // Of somebody else, by a name that the source has too, and by one that it has not; of no archive; ours.
        object("wal_005/000000010000000000000004.lzo", 2, MD5),
        object("wal_005/000000070000000000000001.lzo", 1, MD5),
        object("readme.txt", 1, MD5),
        object(".wal-r/manifest/00000001.json", 1, MD5),
    ];
    let comparison = compare(&here, &rest, there.clone(), &manifest);
    let count = |objects: &[ObjectId]| objects.len();
    assert_eq!(
        [
            count(&comparison.absent),
            count(&comparison.left_over),
            count(&comparison.strangers),
            count(&comparison.foreign)
        ],
        [1, 2, 2, 1]
    );
    assert!(!comparison.is_occupied(), "some of it is the source's");
    let only_stranger = compare(&here, &rest, there[2..].to_vec(), &manifest);
    assert!(only_stranger.is_occupied());
    // Of its size, under a name that the source has: nobody knows yet.
    let unclear = compare(&here, &rest, vec![object("wal_005/000000010000000000000005.lzo", 1, OTHER)], &manifest);
    assert_eq!((count(&unclear.strangers), unclear.unclear_left_over.len()), (0, 1));
    let only_foreign = compare(&here, &rest, there[4..].to_vec(), &manifest);
    assert!(!only_foreign.is_occupied(), "what is of no archive is in nobody's way");
}
