//! What names tell; whole partitions are tested with `extract` and `proof::backup`.

use super::*;

#[test]
fn landmarks() {
    for (path, want) in [
        ("global/pg_filenode.map", Some("global/pg_filenode.map")),
        ("pg_xact/0000", Some("pg_xact/")),
        ("pg_clog/0012", Some("pg_clog/")),
        ("base/1/PG_VERSION", Some("base/1/PG_VERSION")),
        ("base/13395/pg_filenode.map", Some("base/13395/pg_filenode.map")),
        ("base/1/1259", Some("base/1/")),
        ("pg_tblspc/16400/PG_13_202007201/1/2", Some("pg_tblspc/16400/")),
        // A database of a user's may be dropped, or half made, while the backup runs.
        ("base/16384/PG_VERSION", None),
        ("base/01/PG_VERSION", None),
        ("base/pgsql_tmp/x", None),
        ("base/1/x/PG_VERSION", None),
        ("PG_VERSION", None),
    ] {
        let path = MemberPath::parse(path.as_bytes()).expect("a path");
        assert_eq!(landmark(&path).as_deref(), want, "{path}");
    }
}

#[test]
fn links_that_only_seem_to_stay_inside() {
    let rows = [
        ("a", "b", true),
        ("a", "b/c", true),
        ("a/b", "../c", true),
        ("a/b", "../../c", false),
        ("a", "../c", false),
        ("a", "b/../../c", false),
        ("a/b", "c/../d", false), // through a link c it would be elsewhere
        ("a", "/b", false),
        ("a", "", false),
        ("a", "..", false),
        ("a/b", "..", false),
        ("a", ".", false),
        ("a", "./b", true),
    ];
    for (path, to, want) in rows {
        let path = MemberPath::parse(path.as_bytes()).expect("a path");
        assert_eq!(stays_inside(&path, to.as_bytes()), want, "{path} -> {to}");
    }
}

#[test]
fn summaries_survive_the_journal() {
    let mut one = Contents { members: 1, pg_version: Some("13\n".into()), ..Contents::default() };
    for index in 0..150 {
        one.duplicates.add(format!("{index}"));
    }
    let text = serde_json::to_string(&one).expect("JSON");
    assert_eq!(serde_json::from_str::<Contents>(&text).expect("the same"), one);
    let mut both = one.clone();
    both.merge(one);
    assert_eq!((both.duplicates.count, both.duplicates.names.len(), both.members), (300, 100, 2));
    assert!(serde_json::from_str::<Hex>("\"abc\"").is_err() && serde_json::from_str::<Hex>("\"zz\"").is_err());
}
