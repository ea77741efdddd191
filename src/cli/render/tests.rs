use super::*;
use expect_test::expect;

#[test]
fn an_error_says_each_thing_once_and_then_what_to_do() {
    let below = std::io::Error::other("failed to lookup address information");
    let error = Error::new(Code::StoreDns, "cannot list").on("s3://bucket/db/").because(below);
    expect![[r#"
        error[store.dns]: s3://bucket/db/: cannot list
          failed to lookup address information
        hint: Check the endpoint for a typing error and this machine's DNS.
    "#]]
    .assert_eq(&error_text(&error, false));
    expect![[r#"
        {"schema":"wal-r.error","version":1,"error":{"code":"store.dns","class":"store","answer":"unknown","object":"s3://bucket/db/","what":"cannot list","causes":["failed to lookup address information"],"hint":"Check the endpoint for a typing error and this machine's DNS.","exit":69}}
    "#]]
    .assert_eq(&error_json(&error, 69));
    let error = error.beside("file:///b/ does not have it");
    expect![[r#"
        error[store.dns]: s3://bucket/db/: cannot list
          failed to lookup address information
        also: file:///b/ does not have it
        hint: Check the endpoint for a typing error and this machine's DNS.
    "#]]
    .assert_eq(&error_text(&error, false));
    expect![[r#"
        {"schema":"wal-r.error","version":1,"error":{"code":"store.dns","class":"store","answer":"unknown","object":"s3://bucket/db/","what":"cannot list","causes":["failed to lookup address information"],"also":["file:///b/ does not have it"],"hint":"Check the endpoint for a typing error and this machine's DNS.","exit":69}}
    "#]].assert_eq(&error_json(&error, 69));
    expect!["s3://bucket/db/: cannot list: failed to lookup address information; file:///b/ does not have it"]
        .assert_eq(&error.chain());
}

#[test]
fn names_from_outside_cannot_steer_a_terminal() {
    let error = Error::new(Code::AbsentObject, "not there").on("wal_005/\x1b[2Jx\r\x07");
    assert!(!error_text(&error, false).contains(['\x1b', '\r', '\x07']));
}

#[test]
fn sizes() {
    let rows = [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (16 << 20, "16.0 MiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (u64::MAX, "16.0 EiB"),
    ];
    for (count, text) in rows {
        assert_eq!(bytes(count), text, "{count}");
    }
}

#[test]
fn tables_have_no_frame_and_no_trailing_blanks() {
    let rows = [["a".to_owned(), "1".to_owned()], ["long name".to_owned(), String::new()]];
    expect![[r#"
        NAME       N
        a          1
        long name
    "#]]
    .assert_eq(&table(["NAME", "N"], rows));
}
