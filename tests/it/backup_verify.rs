//! `backup-verify` end to end: real archives are good, damage by hand is named with its exit code, and torn pages of real
//! servers alarm exactly when replay does not make them good.
//!
//! In: the bundled and the larger archive; PostgreSQL with checksums, lzop. Out: verdicts. Never: an archive that no
//! server wrote, but for what a test broke.

use crate::support::archive::bundled;
use crate::support::need::Missing;
use crate::support::postgres::{Postgres, Server};
use crate::support::{Scratch, clean, need, or_skip, require, stderr, wal_r};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wal_r::testing::lzop::{lzop, unlzop};
use wal_r::testing::tar::Tar;

/// The exit code and the JSON document.
#[track_caller]
fn verify(archive: &Path, which: &str) -> (i32, Value) {
    let mut command = wal_r();
    command.arg("--prefix").arg(archive).args(["--format", "json", "backup-verify", which]);
    let out = command.output().expect("a run");
    let code = out.status.code().expect("no signal");
    let json = serde_json::from_slice(&out.stdout);
    (code, json.unwrap_or_else(|why| panic!("{why}: exit {code}\n{}", stderr(&out))))
}

/// `severity code` of each finding, and the objects and clauses as one text.
fn findings(report: &Value) -> (Vec<String>, String) {
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let all = report["findings"].as_array().expect("findings");
    let codes = all.iter().map(|one| format!("{} {}", text(one, "severity"), text(one, "code"))).collect();
    let words = all.iter().map(|one| format!("{}: {}\n", text(one, "object"), text(one, "what"))).collect();
    (codes, words)
}

#[test]
fn the_larger_archive_is_good() {
    let (archive, _) = crate::support::archive::shared(&require!(shared_archive));
    let (code, report) = verify(&archive, "ALL");
    let (codes, words) = findings(&report);
    assert_eq!((code, codes), (0, Vec::new()), "{words}");
    let backups = report["backups"].as_array().expect("backups");
    assert_eq!(backups.len(), 3);
    for backup in backups {
        assert_eq!((&backup["word"], &backup["good_parts"]), (&Value::from("good"), &backup["parts"]), "{backup}");
        assert_eq!(backup["file_bytes"], backup["expanded_bytes"], "every byte that the sentinel counts");
        assert!(backup["pages"]["seen"].as_u64() > Some(1000) && backup["consistent"].is_string(), "{backup}");
    }
    let mut command = wal_r();
    let out = command.arg("--prefix").arg(&archive).args(["backup-verify", "LATEST"]).output().expect("a run");
    let page = String::from_utf8_lossy(&out.stdout);
    for want in ["LATEST", "state       good", "partitions  1 of 1 whole", "verdict     ok"] {
        assert!(page.contains(want), "{want}\n{page}");
    }
}

/// The one partition of the bundled archive.
fn partition(archive: &Path) -> PathBuf {
    let mut paths =
        std::fs::read_dir(archive.join("basebackups_005")).expect("backups").map(|one| one.expect("it").path());
    let folder = paths.find(|path| path.is_dir()).expect("a backup's folder");
    folder.join("tar_partitions/part_00000000.tar.lzo")
}

/// Changes the partition's plain bytes and stores them whole again.
fn recompress(archive: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let part = partition(archive);
    let mut plain = unlzop(&std::fs::read(&part).expect("it"));
    change(&mut plain);
    std::fs::write(&part, lzop(&plain)).expect("written");
}

/// Where a member's data begin in a tar.
fn data_of(tar: &[u8], name: &str) -> usize {
    let header = |at: usize| tar[at..].starts_with(name.as_bytes()) && tar[at + name.len()] == 0;
    // Python writes pax headers first, whose names are others.
    let at = (0..tar.len()).step_by(512).find(|at| header(*at) && &tar[at + 257..at + 262] == b"ustar");
    at.unwrap_or_else(|| panic!("no member {name}")) + 512
}

#[test]
fn damage_by_hand_is_named() {
    type Break = fn(&Path);
    let rows: [(&str, Break, &str); 8] = [
        ("a partition is lost", |archive| std::fs::remove_file(partition(archive)).expect("gone"), "backup.part"),
        (
            "flipped before it was compressed again",
            |archive| recompress(archive, |tar| tar[512 * 3] ^= 1),
            "backup.tar",
        ),
        (
            "stored bytes are flipped",
            |archive| {
                let mut bytes = std::fs::read(partition(archive)).expect("it");
                let middle = bytes.len() / 2;
                // One bit of LZO may mean the same bytes, from elsewhere.
                bytes[middle..middle + 16].iter_mut().for_each(|byte| *byte ^= 0x55);
                std::fs::write(partition(archive), bytes).expect("written");
            },
            "backup.part",
        ),
        (
            "another label",
            |archive| {
                recompress(archive, |tar| {
                    let at = data_of(tar, "backup_label");
                    let digit = tar[at..].iter().position(|byte| *byte == b'2').expect("0/…28");
                    tar[at + digit] = b'3';
                });
            },
            "backup.label",
        ),
        (
            "a byte of pg_control",
            |archive| {
                recompress(archive, |tar| {
                    let at = data_of(tar, "global/pg_control");
                    tar[at + 40] ^= 1;
                });
            },
            "backup.control",
        ),
        (
            "the end of the tar is cut off",
            |archive| recompress(archive, |tar| tar.truncate(tar.len() - 10240)),
            "backup.tar",
        ),
        (
            "a sentinel of garbage",
            |archive| {
                let folder = std::fs::read_dir(archive.join("basebackups_005")).expect("backups");
                let file = folder.map(|one| one.expect("it").path()).find(|path| path.is_file()).expect("a sentinel");
                std::fs::write(file, "{garbage").expect("written");
            },
            "backup.sentinel",
        ),
        (
            "the WAL it starts in is another segment's",
            |archive| {
                let wal = archive.join("wal_005");
                let next = wal.join("000000010000000000000004.lzo");
                std::fs::copy(next, wal.join("000000010000000000000003.lzo")).expect("copied");
            },
            "backup.wal",
        ),
    ];
    for (what, damage, code) in rows {
        let scratch = Scratch::new();
        let archive = scratch.copy(&bundled().0, "archive");
        damage(&archive);
        let (exit, report) = verify(&archive, "ALL");
        let (codes, words) = findings(&report);
        assert_eq!(exit, 2, "{what}: {codes:?}\n{words}");
        assert!(codes.iter().any(|one| one == &format!("critical {code}")), "{what}: {codes:?}\n{words}");
    }
}

/// Two backups of one cluster change partitions with each other.
#[test]
fn swapped_partitions_are_seen_in_both() {
    let (from, _) = crate::support::archive::shared(&require!(shared_archive));
    let scratch = Scratch::new();
    let archive = scratch.copy(&from, "archive");
    let names = ["base_000000010000000000000003_00000040", "base_000000010000000000000006_00000040"];
    let parts = names.map(|name| archive.join(format!("basebackups_005/{name}/tar_partitions/part_00000000.tar.lzo")));
    let bytes = parts.clone().map(|part| std::fs::read(part).expect("a partition"));
    for (part, bytes) in parts.iter().zip(bytes.iter().rev()) {
        std::fs::write(part, bytes).expect("written");
    }
    for name in names {
        let (exit, report) = verify(&archive, name);
        let (codes, words) = findings(&report);
        assert!(exit != 0 && codes.iter().any(|code| code.ends_with("backup.label")), "{name}: {codes:?}\n{words}");
    }
}

#[test]
fn an_empty_prefix_is_unknown() {
    let scratch = Scratch::new();
    let (exit, report) = verify(&scratch.dir("empty"), "ALL");
    assert_eq!((exit, report["verdict"].as_str()), (3, Some("unknown")));
}

#[test]
fn backups_of_a_busy_server_are_good_18() {
    or_skip!(busy(18));
}

#[test]
fn backups_of_a_busy_server_are_good_10() {
    or_skip!(busy(10));
}

fn busy(major: u32) -> Result<(), Missing> {
    let (postgres, lzop) = (need::postgres(major)?, need::lzop()?);
    let scratch = Scratch::new();
    let made = clean::make(&scratch, &postgres, &lzop);
    let (exit, report) = verify(&made.archive, "ALL");
    let (codes, words) = findings(&report);
    assert!(codes.iter().all(|code| code.starts_with("harmless")), "{codes:?}\n{words}");
    assert_eq!(exit, 0);
    let backups = report["backups"].as_array().expect("backups");
    assert_eq!(backups.len(), made.backups.len());
    for backup in backups {
        assert_eq!(backup["word"], "good", "{backup}");
        assert_eq!(backup["pages"]["checksums"], true, "{backup}");
    }
    Ok(())
}

#[test]
fn torn_pages_13() {
    or_skip!(torn_pages(13));
}

#[test]
fn torn_pages_15() {
    or_skip!(torn_pages(15));
}

#[test]
fn torn_pages_18() {
    or_skip!(torn_pages(18));
}

/// Files of a data directory, but for what is of no use in a backup.
fn files(data: &Path, below: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(data.join(below)).expect("a folder of the server") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        match data.join(&path).is_dir() {
            true if ["pg_wal", "pg_replslot", "pg_stat_tmp"].contains(&name.as_str()) => {}
            true => files(data, &path, found),
            false if name.starts_with("postmaster.") || name.ends_with(".conf") => {}
            false => drop(found.insert(path.clone(), std::fs::read(data.join(&path)).unwrap_or_default())),
        }
    }
}

/// A base backup and its WAL; what each test breaks is changed before it is written.
struct Backup {
    name: String,
    files: BTreeMap<String, Vec<u8>>,
    stop: (String, String),
    wal: PathBuf,
}

impl Backup {
    /// Writes it as an archive of its own, with this change, and verifies it.
    fn verify(
        &self,
        scratch: &Scratch,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>),
    ) -> (i32, Value) {
        let mut files = self.files.clone();
        change(&mut files);
        let archive = scratch.dir(name);
        let folder = archive.join("basebackups_005").join(&self.name).join("tar_partitions");
        std::fs::create_dir_all(&folder).expect("a new folder");
        std::os::unix::fs::symlink(&self.wal, archive.join("wal_005")).expect("the WAL beside it");
        let mut tar = Tar::new(true).dir("/", 0o700);
        for (path, content) in &files {
            tar = tar.file(path, content);
        }
        std::fs::write(folder.join("part_00000000.tar.lzo"), lzop(&tar.finish())).expect("a partition");
        let size: usize = files.values().map(Vec::len).sum();
        let (segment, offset) = &self.stop;
        let sentinel = format!(
            r#"{{"wal_segment_backup_stop": "{segment}", "wal_segment_offset_backup_stop": "{offset}", "expanded_size_bytes": {size}, "spec": {{"base_prefix": "/pg/", "tablespaces": []}}}}"#
        );
        let file = archive.join("basebackups_005").join(format!("{}_backup_stop_sentinel.json", self.name));
        std::fs::write(file, sentinel).expect("a sentinel");
        verify(&archive, "LATEST")
    }
}

fn torn_pages(major: u32) -> Result<(), Missing> {
    let (postgres, lzop) = (need::postgres(major)?, need::lzop()?);
    let scratch = Scratch::new();
    let (backup, busy, old, quiet) = take(&postgres, &scratch, &lzop);

    let (exit, report) = backup.verify(&scratch, "sound", |_| ());
    let (codes, words) = findings(&report);
    assert_eq!((exit, codes), (0, Vec::new()), "{words}");
    assert!(report["backups"][0]["pages"]["seen"].as_u64() > Some(1000), "{report}");

    // Half of the page as it was before the backup began, half as it was written since; either half may come first.
    let new = &backup.files[&busy];
    assert_ne!(new[..8192], old[..8192], "the first page was written while the backup ran");
    for (name, (first, second)) in [("new-old", (new, &old)), ("old-new", (&old, new))] {
        let torn = [&first[..4096], &second[4096..8192]].concat();
        assert!(torn[..] != new[..8192] && torn[..] != old[..8192], "{name} is torn");
        let (exit, report) = backup.verify(&scratch, name, |files| {
            files.get_mut(&busy).expect("it")[..8192].copy_from_slice(&torn);
        });
        let (codes, words) = findings(&report);
        assert_eq!((exit, codes), (0, vec!["harmless backup.torn".to_owned()]), "{name}\n{words}");
        assert_eq!(report["backups"][0]["pages"]["torn"], 1);
    }

    // Nobody wrote these meanwhile: a page of another table, and another page of the same one.
    let last = new.len() - 8192;
    assert_eq!(new[last..], old[last..], "the last page was not written");
    for (name, file, at) in [("quiet", quiet.as_str(), 8000), ("last", busy.as_str(), last + 8000)] {
        let (exit, report) = backup.verify(&scratch, name, |files| files.get_mut(file).expect("it")[at] ^= 1);
        let (codes, words) = findings(&report);
        assert_ne!(exit, 0, "{name}\n{words}");
        assert!(codes.iter().any(|code| code.ends_with(" backup.page")), "{name}: {codes:?}\n{words}");
        assert!(words.contains(&format!("relation file {file}, block {}", at / 8192)), "{name}\n{words}");
    }
    Ok(())
}

/// A backup of a server that writes meanwhile; the file of the table it writes, with its content before; that of one that
/// it leaves alone.
fn take(postgres: &Postgres, scratch: &Scratch, lzop: &Path) -> (Backup, String, Vec<u8>, String) {
    let data = scratch.join("primary");
    postgres.initdb_with(scratch, &data, &["--data-checksums"]);
    let wal = scratch.dir("wal");
    crate::support::scratch::give(&wal);
    let text = format!(
        "#!/bin/sh\nset -e\n'{}' -c \"$1\" >'{w}/.making'\nmv '{w}/.making' '{w}/'\"$2\".lzo\n",
        lzop.display(),
        w = wal.display()
    );
    let push = format!("archive_command='{}' %p %f", scratch.script("push", &text).display());
    let mut server = postgres.start(scratch, &data, &["archive_mode=on", &push, "autovacuum=off"], &[]);
    server.ask(
        "create table busy as select i as id, md5(i::text) as v from generate_series(1, 2000) i; \
         create table quiet as select * from busy",
    );
    server.ask("vacuum freeze busy");
    server.ask("vacuum freeze quiet");
    server.ask("checkpoint");
    let place = |table: &str| server.ask(&format!("select pg_relation_filepath('{table}')"));
    let (busy, quiet) = (place("busy"), place("quiet"));

    let mut session = server.connect("postgres").expect("a session");
    let names = |lsn: &str| {
        let query =
            format!("select file_name || '_' || lpad(file_offset::text, 8, '0') from pg_walfile_name_offset('{lsn}')");
        let answer = server.ask(&query);
        answer.split_once('_').map(|(file, offset)| (file.to_owned(), offset.to_owned())).expect("two parts")
    };
    let start = if postgres.major < 15 {
        "pg_start_backup('by hand', true, false)"
    } else {
        "pg_backup_start('by hand', true)"
    };
    let start: String = session.query_one(&format!("select {start}::text"), &[]).expect("the backup starts").get(0);
    let (segment, offset) = names(&start);
    let old = std::fs::read(data.join(&busy)).expect("the table");
    // In place, so that both halves of the first page change.
    server.ask("delete from busy where id in (1, 2, 3)");
    server.ask("vacuum busy");
    server.ask("insert into busy select -i, 'written meanwhile' from generate_series(1, 3) i");
    server.ask("checkpoint");
    let mut found = BTreeMap::new();
    files(&data, "", &mut found);
    let stop = if postgres.major < 15 { "pg_stop_backup(false)" } else { "pg_backup_stop()" };
    let query = format!("select lsn::text, labelfile from {stop}");
    let row = session.query_one(&query, &[]).expect("the backup ends");
    let stop = names(row.get::<_, String>(0).as_str());
    found.insert("backup_label".to_owned(), row.get::<_, String>(1).into_bytes());
    archived(&mut server, &wal, &stop.0);
    server.stop();
    let name = format!("base_{segment}_{offset}");
    (Backup { name, files: found, stop, wal }, busy, old, quiet)
}

/// Waits until a segment is in the archive.
fn archived(server: &mut Server, wal: &Path, segment: &str) {
    server.wait_for("archived", |_| wal.join(format!("{segment}.lzo")).exists());
}
