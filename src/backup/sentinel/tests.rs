//! Every shape of sentinel, and what is none.

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Sentinel {
    Sentinel::parse(text.as_bytes()).expect(text)
}

#[test]
fn wal_e_as_written_by_1_1_1() {
    let sentinel = parse(
        r#"{"wal_segment_backup_stop": "000000010000000000000002", "wal_segment_offset_backup_stop": "00000312",
            "expanded_size_bytes": 13485976, "spec": {"base_prefix": "/srv/pg/", "tablespaces": ["16400"],
            "16400": {"loc": "/srv/ts1/", "link": "pg_tblspc/16400"}}}"#,
    );
    assert!(sentinel.is_wal_e());
    assert_eq!(sentinel.stop_segment.map(|name| name.to_string()).as_deref(), Some("000000010000000000000002"));
    assert_eq!(sentinel.stop_offset, Some(312), "decimal, neither octal nor hexadecimal");
    assert_eq!(sentinel.expanded_bytes, Some(13_485_976));
    let spec = sentinel.spec.expect("a spec");
    assert_eq!(spec.base_prefix.as_deref(), Some("/srv/pg/"));
    assert_eq!(spec.location("16400"), Some("/srv/ts1/"));
    assert_eq!(spec.location("1"), None);
    assert!(sentinel.unknown.is_empty());
}

#[test]
fn wal_e_before_tablespaces_and_edited_by_hand() {
    let old = parse(
        r#"{"wal_segment_backup_stop":"00000001000000000000000A","wal_segment_offset_backup_stop":"00000090","expanded_size_bytes":7}"#,
    );
    assert_eq!((old.spec, old.expanded_bytes), (None, Some(7)));

    let edited = parse(
        r#"{"expanded_size_bytes":" 7 ","wal_segment_offset_backup_stop":9,"ticket":"OPS-1","wal_segment_backup_stop":null}"#,
    );
    assert_eq!((edited.expanded_bytes, edited.stop_offset, edited.stop_segment), (Some(7), Some(9), None));
    assert_eq!(edited.unknown, ["ticket"]);

    let layout_004 =
        parse(r#"{"wal_segment":"000000010000000000000001","wal_segment_offset":"00000040","expanded_size_bytes":1}"#);
    assert_eq!(layout_004.stop_offset, Some(40));
    // A byte order mark, and a newline at the end.
    assert!(Sentinel::parse(b"\xEF\xBB\xBF{\"expanded_size_bytes\":1}\n").is_ok());
}

#[test]
fn wal_g_of_both_versions() {
    let one = parse(
        r#"{"LSN":83886080,"PgVersion":90624,"FinishLSN":83886416,"SystemIdentifier":17710354800899113174,"UncompressedSize":5,"CompressedSize":3,"ChkpNum":null,"Spec":null}"#,
    );
    assert_eq!(one.origin, Origin::WalG1);
    assert_eq!(one.start_lsn, Some(Lsn(0x5000000)));
    assert_eq!(one.system, Some(SystemId(17_710_354_800_899_113_174)), "above 2^63, to the last digit");
    assert_eq!(one.server_version, Some(90_624));
    assert!(one.unknown.is_empty() && one.delta.is_none());

    let two = parse(
        r#"{"LSN":1,"DeltaLSN":2,"DeltaFrom":"base_A","DeltaFullName":"base_B","DeltaCount":3,"PgVersion":150000,"FinishLSN":4,"UncompressedSize":0,"CompressedSize":0,"Version":2,"StartTime":"2024-05-01T10:00:00.5Z","FinishTime":"2024-05-01T12:00:00+02:00","DateFmt":"%Y","Hostname":"db1","DataDir":"/pg","IsPermanent":true,"FilesMetadataDisabled":true,"UserData":{"a":1},"Novel":1}"#,
    );
    assert_eq!(two.origin, Origin::WalG2);
    assert_eq!(two.finish_time, Some("2024-05-01T10:00:00Z".parse().expect("a time")));
    let delta = two.delta.expect("a delta");
    assert_eq!((delta.since, delta.from.as_str(), delta.full.as_str(), delta.count), (Lsn(2), "base_A", "base_B", 3));
    assert_eq!(two.permanent, Some(true));
    assert!(two.files_metadata_disabled);
    assert_eq!(two.unknown, ["Novel"]);

    // Catch-up: empty names are names. The oldest key of the LSN. Go's zero time is none.
    let catch_up = parse(
        r#"{"LSN":1,"DeltaFromLSN":9,"DeltaFrom":"","DeltaFullName":"","DeltaCount":1,"FinishTime":"0001-01-01T00:00:00Z"}"#,
    );
    assert_eq!(catch_up.delta.map(|delta| (delta.since, delta.from)), Some((Lsn(9), String::new())));
    assert_eq!(catch_up.finish_time, None);
}

#[test]
fn what_is_no_sentinel_says_why() {
    for (text, want) in [
        ("", "not JSON: EOF while parsing a value at line 1 column 0"),
        ("<html>", "not JSON: expected value at line 1 column 1"),
        ("[1]", "JSON, but not an object"),
        ("{}", "neither WAL-E's nor WAL-G's keys are in it"),
        (r#"{"expanded_size_bytes":-1}"#, "`expanded_size_bytes` is -1, expected an unsigned number"),
        (r#"{"expanded_size_bytes":"0x10"}"#, "`expanded_size_bytes` is \"0x10\", expected an unsigned number"),
        (
            r#"{"wal_segment_backup_stop":"00000001000000000000000g"}"#,
            "`wal_segment_backup_stop` is 00000001000000000000000g, expected a segment name",
        ),
        (r#"{"expanded_size_bytes":1,"spec":[]}"#, "`spec` is [], expected an object"),
        (r#"{"LSN":1,"DeltaFrom":"base_A"}"#, "`DeltaFrom` is there, `DeltaLSN` is not"),
        (r#"{"LSN":1e3}"#, "`LSN` is 1000.0, expected an unsigned number"),
        (r#"{"LSN":1,"FinishTime":"yesterday"}"#, "`FinishTime` is \"yesterday\", expected a time as in RFC 3339"),
    ] {
        let error = Sentinel::parse(text.as_bytes()).expect_err(text);
        assert_eq!(error.to_string(), want);
    }
}

#[test]
fn a_listed_tablespace_without_its_object_is_kept() {
    let spec = Spec::parse(br#"{"tablespaces":["16400",16401],"16401":{"loc":"/b"}}"#).expect("a spec");
    assert_eq!(spec.tablespaces[0], Tablespace { name: "16400".into(), location: None });
    assert_eq!(spec.location("16401"), Some("/b"));
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Sentinel::parse(&bytes);
    }

    #[test]
    fn every_u64_survives(number in any::<u64>()) {
        let text = format!(r#"{{"LSN":{number},"SystemIdentifier":"{number}"}}"#);
        let sentinel = parse(&text);
        prop_assert_eq!(sentinel.start_lsn, Some(Lsn(number)));
        prop_assert_eq!(sentinel.system, Some(SystemId(number)));
    }
}
