use super::*;

fn header() -> Header {
    let part = |number: u32| Part { number, key: format!("part_{number}"), size: 7, etag: Some("\"a\"".into()) };
    Header::new(
        "base_A".into(),
        "file:///a/".into(),
        "boot".into(),
        vec![part(0), part(1)],
        vec![("pg_wal".into(), "/w".into())],
    )
}

fn finished(part: u32) -> Finished {
    let mut found = Contents { members: 3, ..Contents::default() };
    found.held_back.insert("global/pg_control".into(), vec![super::super::contents::Hex(vec![0, 255, 16])]);
    found.hard_links.push(("a".into(), "b".into()));
    Finished { part, sha256: "00".into(), plain_bytes: 9, found }
}

#[test]
fn what_is_written_is_read_wherever_it_is_cut() {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(read(directory.path()).expect("none"), None);
    let mut journal = Journal::create(directory.path(), &header(), &[]).expect("a journal");
    journal.finished(&finished(1)).expect("a line");
    journal.finished(&finished(0)).expect("a line");
    journal.finishing().expect("a line");
    let whole = Read { header: header(), finished: vec![finished(1), finished(0)], finishing: true };
    assert_eq!(read(directory.path()).expect("a journal"), Some(whole.clone()));

    let text = std::fs::read_to_string(directory.path().join(NAME)).expect("text");
    for end in 0..text.len() {
        match parse(&text[..end]) {
            None => assert!(!text[..end].contains('\n'), "only without a first line"),
            Some(cut) => {
                assert_eq!(cut.finished, whole.finished[..cut.finished.len()]);
                assert!(!cut.finishing);
            }
        }
    }
    // Anew, with what was finished.
    Journal::create(directory.path(), &header(), &[finished(1)]).expect("a journal");
    let again = read(directory.path()).expect("a journal").expect("there");
    assert_eq!((again.finished, again.finishing), (vec![finished(1)], false));
    std::fs::write(directory.path().join(NAME), "garbage\n").expect("written");
    assert!(read(directory.path()).is_err());
}

#[test]
fn what_may_be_resumed() {
    let same = header();
    assert_eq!(same.differs_from(&header()), None);
    let more = Header { places: vec![("pg_wal".into(), "/w".into()), ("pg_tblspc/7".into(), "/t".into())], ..header() };
    assert_eq!(more.differs_from(&header()), None, "a place may be added");
    assert_eq!(Header { boot: "other".into(), ..header() }.differs_from(&header()), None, "that is judged elsewhere");
    let rows = [
        (Header { backup: "base_B".into(), ..header() }, "it belongs to a restore of base_A"),
        (
            Header { parts: vec![], ..header() },
            "the backup's partitions in the archive are not those it was begun with",
        ),
        (Header { places: vec![], ..header() }, "pg_wal went to /w, and now has no place"),
        (
            Header { places: vec![("pg_wal".into(), "/x".into())], ..header() },
            "pg_wal went to /w, and would now go to /x",
        ),
    ];
    for (new, want) in rows {
        assert_eq!(new.differs_from(&header()).as_deref(), Some(want));
    }
}
