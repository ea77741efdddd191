//! Honest archives become trees, hostile ones are refused by the member's name and leave nothing outside.

use super::*;
use crate::backup::contents::Hex;
use crate::testing::tar::Tar;
use std::io::BufReader;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// A target inside a directory whose every other entry must stay as it is.
struct Place {
    outer: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let outer = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(outer.path().join("pg")).expect("a directory");
        std::fs::create_dir(outer.path().join("ts")).expect("a directory");
        std::fs::write(outer.path().join("victim"), "untouched").expect("a file");
        Place { outer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.outer.path().join(name)
    }

    fn target(&self) -> Target {
        let tablespace = Redirect::open("pg_tblspc/16400", &self.path("ts")).expect("a directory");
        let mut target = Target::open(&self.path("pg"), vec![tablespace]).expect("a directory");
        target.reserved = vec!["wal-r.unfinished".into()];
        target
    }

    fn extract(&self, tar: &Tar) -> Answer<Contents> {
        extract(BufReader::with_capacity(1000, tar.finish().as_slice()), &self.target(), &|_| {})
    }

    /// `path mode size` of everything below `pg` and `ts`, sorted.
    fn tree(&self) -> String {
        fn walk(at: &Path, name: &str, out: &mut Vec<String>) {
            let about = at.symlink_metadata().expect("an entry");
            let kind = if about.is_dir() {
                "dir".to_owned()
            } else if about.is_symlink() {
                format!("-> {}", std::fs::read_link(at).expect("a link").display())
            } else {
                format!("{} bytes", about.len())
            };
            out.push(format!("{name} {:o} {kind}", about.permissions().mode() & 0o7777));
            if about.is_dir() {
                for entry in std::fs::read_dir(at).expect("a directory") {
                    let entry = entry.expect("an entry");
                    walk(&entry.path(), &format!("{name}/{}", entry.file_name().to_string_lossy()), out);
                }
            }
        }
        let mut out = Vec::new();
        walk(&self.path("pg"), "pg", &mut out);
        walk(&self.path("ts"), "ts", &mut out);
        out.retain(|line| !line.starts_with("pg 7") && !line.starts_with("ts 7"));
        out.sort();
        out.join("\n")
    }

    fn untouched(&self) {
        let mut names: Vec<_> = std::fs::read_dir(self.outer.path())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["pg", "ts", "victim"]);
        assert_eq!(std::fs::read_to_string(self.path("victim")).expect("a file"), "untouched");
    }
}

#[test]
fn an_archive_as_python_wrote_it_becomes_a_tree() {
    for pax in [false, true] {
        let place = Place::new();
        let tar = Tar::new(pax)
            .dir("/", 0o750)
            .file("PG_VERSION", b"13\n")
            .file("global/pg_control", &[7; 8192])
            .file("backup_label", b"START")
            .dir("base/", 0o750)
            .file_mode("base/5/1259", &[0; 8192], 0o640)
            .file("base/5/implicit/parents", b"x")
            .file(&format!("base/{}/{}", "d".repeat(120), "f".repeat(120)), b"long")
            .symlink("pg_wal", "/mnt/wal/pg")
            .symlink("link-inside", "base/5/1259")
            .symlink("base/5/up", "../../PG_VERSION")
            .symlink("server.crt", "/etc/ssl/certs/x.pem")
            .hard_link("base/5/second", "base/5/1259")
            .file("pg_tblspc/16400/PG_13_202007201/5/16401", b"elsewhere")
            .file("pg_wal/.wal-e/prefetch/000000010000000000000001", b"cache")
            .file("postmaster.opts", b"opts");
        let found = place.extract(&tar).expect("extracted");
        assert_eq!(found.pg_version.as_deref(), Some("13\n"));
        assert_eq!(found.held_back["global/pg_control"], [Hex(vec![7; 8192])]);
        assert_eq!(found.root_mode, Some(0o750));
        assert_eq!(found.file_bytes, 3 + 8192 + 5 + 8192 + 1 + 4 + 9 + 5 + 4, "everything the sentinel counts");
        assert_eq!(found.links_left_out.names, ["pg_wal -> /mnt/wal/pg", "server.crt -> /etc/ssl/certs/x.pem"]);
        assert_eq!(found.left_out.count, 2);
        assert_eq!(found.pages.pages, 1, "1259; the tablespace's file has no whole page");
        link_all(&place.target(), &found.hard_links).expect("linked");
        let tree = place.tree().replace(&"d".repeat(120), "d*120").replace(&"f".repeat(120), "f*120");
        let want = [
            "pg/PG_VERSION 600 3 bytes",
            "pg/base 750 dir",
            "pg/base/5 700 dir",
            "pg/base/5/1259 640 8192 bytes",
            "pg/base/5/implicit 700 dir",
            "pg/base/5/implicit/parents 600 1 bytes",
            "pg/base/5/second 640 8192 bytes",
            "pg/base/5/up 777 -> ../../PG_VERSION",
            "pg/base/d*120 700 dir",
            "pg/base/d*120/f*120 600 4 bytes",
            "pg/link-inside 777 -> base/5/1259",
            "pg/pg_tblspc 700 dir",
            "ts/PG_13_202007201 700 dir",
            "ts/PG_13_202007201/5 700 dir",
            "ts/PG_13_202007201/5/16401 600 9 bytes",
        ];
        assert_eq!(tree.lines().collect::<Vec<_>>(), want, "pax: {pax}");
        let about = place.path("pg/PG_VERSION").metadata().expect("a file");
        assert_eq!(about.mtime(), 1_795_202_240);
        place.untouched();
    }
}

#[test]
fn hostile_members_are_refused_by_name() {
    let evil = |tar: fn(Tar) -> Tar| tar(Tar::new(false).file("PG_VERSION", b"13\n"));
    let rows: Vec<(Tar, &str)> = vec![
        (evil(|tar| tar.file("../victim", b"x")), "../victim: the member is refused: its name has a part `..`"),
        (
            evil(|tar| tar.file("base/../../victim", b"x")),
            "base/../../victim: the member is refused: its name has a part `..`",
        ),
        (evil(|tar| tar.file("/victim", b"x")), "/victim: the member is refused: its name is absolute"),
        (evil(|tar| tar.dir("//x/", 0o700)), "//x/: the member is refused: its name is absolute"),
        (
            evil(|tar| tar.symlink("out", "..").file("out/victim", b"x")),
            "out/victim: the member is refused: its path leads through the link `out`",
        ),
        (
            evil(|tar| tar.symlink("out", "/etc").dir("out/x/", 0o700)),
            "out/x: the member is refused: its path leads through the link `out`",
        ),
        (
            evil(|tar| tar.symlink("in", "base").file("in/x", b"x")),
            "in/x: the member is refused: its path leads through `in`, a link or a file",
        ),
        (
            evil(|tar| tar.file("a", b"x").file("a/b", b"x")),
            "a/b: the member is refused: its path leads through `a`, a link or a file",
        ),
        (
            evil(|tar| tar.dir("a/", 0o700).file("a", b"x")),
            "a: the member is refused: it is a file where another member is a directory",
        ),
        (
            evil(|tar| tar.dir("a/", 0o700).symlink("a", "b")),
            "a: the member is refused: it is a link where another member is a directory",
        ),
        (evil(|tar| tar.other("dev", b'3')), "dev: the member is refused: it is a device"),
        (evil(|tar| tar.other("dev", b'4')), "dev: the member is refused: it is a device"),
        (evil(|tar| tar.other("pipe", b'6')), "pipe: the member is refused: it is a fifo"),
        (evil(|tar| tar.other("odd", b'V')), "odd: the member is refused: it is of the unknown type `V`"),
        (
            evil(|tar| tar.file_mode("sh", b"x", 0o4755)),
            "sh: the member is refused: it is a file with a set-id or sticky bit",
        ),
        (
            evil(|tar| tar.file("wal-r.unfinished", b"x")),
            "wal-r.unfinished: the member is refused: its name is one that the restore itself uses",
        ),
        (
            evil(|tar| tar.symlink("global/pg_control", "x")),
            "global/pg_control: the member is refused: it must be a regular file",
        ),
        (
            evil(|tar| tar.hard_link("./global//pg_control", "PG_VERSION")),
            "global/pg_control: the member is refused: it must be a regular file",
        ),
        (
            evil(|tar| tar.hard_link("x", "global/pg_control")),
            "x: the member is refused: a hard link to or from a file that the restore itself handles",
        ),
        (
            evil(|tar| tar.hard_link("x", "../victim")),
            "x: the member is refused: the member it is another name of cannot be: its name has a part `..`",
        ),
        (
            evil(|tar| tar.file("pg_tblspc/7/x", b"x")),
            "pg_tblspc/7/x: the backup holds tablespace 7, and it has no place to go",
        ),
        (
            evil(|tar| tar.symlink("pg_tblspc/7", "/etc")),
            "pg_tblspc/7: the backup holds tablespace 7, and it has no place to go",
        ),
    ];
    for (tar, want) in rows {
        let place = Place::new();
        let error = place.extract(&tar).expect_err(want);
        assert_eq!(error.to_string(), want);
        assert!(matches!(error.code(), Code::DamagedMember | Code::LocalTablespace), "{want}");
        place.untouched();
    }
    // Hard links are made at the end: to nothing, to a link.
    let place = Place::new();
    let found =
        place.extract(&Tar::new(false).hard_link("x", "gone").symlink("l", "PG_VERSION").file("PG_VERSION", b"1"));
    let found = found.expect("extracted");
    let error = link_all(&place.target(), &found.hard_links).expect_err("no target");
    assert_eq!(error.to_string(), "x: it is another name of `gone`, which no partition holds");
    let error = link_all(&place.target(), &[("y".into(), "l".into())]).expect_err("a link");
    assert_eq!(error.to_string(), "y: the member is refused: a hard link to something that is no regular file");
}

#[test]
fn the_last_of_two_members_stands_and_is_named() {
    let place = Place::new();
    let tar = Tar::new(false).file("a", b"first").file("a", b"second").hard_link("b", "a").hard_link("c", "b");
    let found = place.extract(&tar).expect("extracted");
    assert_eq!((found.duplicates.count, found.duplicates.names.as_slice()), (1, &["a".to_owned()][..]));
    // A link to a link, in the wrong order; and once more, as after an interruption.
    let mut links = found.hard_links.clone();
    links.reverse();
    for _ in 0..2 {
        link_all(&place.target(), &links).expect("linked");
    }
    assert_eq!(std::fs::read_to_string(place.path("pg/c")).expect("a file"), "second");
    // A file that has other names is replaced, not written through.
    let again =
        extract(BufReader::new(Tar::new(false).file("c", b"new").finish().as_slice()), &place.target(), &|_| {});
    again.expect("extracted");
    assert_eq!(std::fs::read_to_string(place.path("pg/a")).expect("a file"), "second");
}

#[test]
fn members_on_request_are_left_out_and_counted() {
    let place = Place::new();
    let mut target = place.target();
    target.left_out.insert(b"sock".to_vec());
    target.left_out.insert(b"tmp".to_vec());
    let tar = Tar::new(false).other("sock", b'6').file("tmp/x", b"12345").file("tmpx", b"1");
    let found = extract(BufReader::new(tar.finish().as_slice()), &target, &|_| {}).expect("extracted");
    assert_eq!((found.left_out.count, found.file_bytes), (2, 6));
    assert!(!place.path("pg/tmp").exists() && place.path("pg/tmpx").exists());
}

#[test]
fn a_cut_archive_is_an_error_wherever_it_is_cut() {
    let tar = Tar::new(true).file("a", &[1; 700]).dir("b/", 0o700).finish();
    let content = tar.iter().rposition(|byte| *byte != 0).expect("content") + 1;
    for end in (0..content).step_by(100) {
        let place = Place::new();
        let error = extract(&tar[..end], &place.target(), &|_| {}).expect_err("cut");
        assert_eq!(error.code(), Code::DamagedBackup, "{end}");
    }
}
