use super::*;

const SOURCE: &str = r#"{"base_prefix":"/srv/pg/","tablespaces":["16400","16401"],"16400":{"loc":"/srv/ts1/"},"16401":{"loc":"/srv/ts2/"}}"#;

fn decide(source: Option<&str>, wishes: &Wishes) -> String {
    let spec = source.map(|text| Spec::parse(text.as_bytes()).expect("a spec"));
    match places(spec.as_ref(), wishes, Path::new("/new/pg")) {
        Ok(places) => {
            places.iter().map(|one| format!("{}={}", one.oid, one.place.display())).collect::<Vec<_>>().join(" ")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn who_decides_where() {
    let given = |pairs: &[(u32, &str)]| pairs.iter().map(|(oid, path)| (*oid, PathBuf::from(path))).collect();
    let none = Wishes::default();
    let inside = Wishes { inside: true, ..Wishes::default() };
    let source = Wishes { as_on_source: true, ..Wishes::default() };
    let one = Wishes { places: given(&[(16400, "/a")]), ..Wishes::default() };
    let spec =
        Spec::parse(br#"{"base_prefix":"/elsewhere","tablespaces":["16400"],"16400":{"loc":"/b"}}"#).expect("a spec");
    let rows = [
        (
            Some(SOURCE),
            none.clone(),
            "the backup has tablespaces without a place to go: 16400 (was /srv/ts1/), 16401 (was /srv/ts2/)",
        ),
        (None, none.clone(), ""),
        (Some(SOURCE), inside.clone(), "16400=/new/pg/tablespaces/16400 16401=/new/pg/tablespaces/16401"),
        (Some(SOURCE), source, "16400=/srv/ts1/ 16401=/srv/ts2/"),
        (Some(SOURCE), one.clone(), "the backup has tablespaces without a place to go: 16401 (was /srv/ts2/)"),
        (Some(SOURCE), Wishes { inside: true, ..one }, "16400=/a 16401=/new/pg/tablespaces/16401"),
        (
            Some(SOURCE),
            Wishes { spec: Some(spec), inside: true, ..Wishes::default() },
            "16400=/b 16401=/new/pg/tablespaces/16401",
        ),
        (None, Wishes { places: given(&[(7, "/a")]), ..Wishes::default() }, "7=/a"),
        (
            Some(SOURCE),
            Wishes { places: given(&[(16400, "/a"), (16401, "/a/b")]), ..none.clone() },
            "/a: tablespaces 16400 and 16401 would share a place",
        ),
        (
            None,
            Wishes { places: given(&[(7, "/new/pg/base")]), ..none.clone() },
            "/new/pg/base: tablespace 7 and the data directory would share a place",
        ),
        (
            None,
            Wishes { places: given(&[(7, "/new")]), ..none.clone() },
            "/new: tablespace 7 and the data directory would share a place",
        ),
        (
            None,
            Wishes { places: given(&[(7, "a")]), ..none.clone() },
            "a: the place of tablespace 7 must be an absolute path",
        ),
        (
            Some(r#"{"tablespaces":["../../etc"]}"#),
            inside.clone(),
            "the sentinel names a tablespace `../../etc`, which is no OID",
        ),
        (Some(r#"{"tablespaces":["007"]}"#), inside, "the sentinel names a tablespace `007`, which is no OID"),
    ];
    for (source, wishes, want) in rows {
        assert_eq!(decide(source, &wishes), want, "{wishes:?}");
    }
}

#[test]
fn the_map_follows_the_places_and_knows_no_others() {
    let places = [Place { oid: 16400, was: None, place: "/a b\\c".into() }];
    let found = TablespaceMap { entries: vec![TablespaceLink { oid: 16400, path: b"/srv/ts1".to_vec() }] };
    assert_eq!(
        map(&found, &places).expect("a map").entries,
        [TablespaceLink { oid: 16400, path: b"/a b\\c".to_vec() }]
    );
    let more = TablespaceMap { entries: vec![TablespaceLink { oid: 9, path: b"/x".to_vec() }] };
    assert_eq!(
        map(&more, &places).expect_err("one too many").to_string(),
        "tablespace_map lists tablespace 9 (was /x), which has no place to go"
    );
}
