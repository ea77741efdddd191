//! `copy-verify` end to end: real archives, copied by `copy`, whole and then damaged; certificates that other tools check.
//!
//! In: the archive of this repository, a larger one, Garage, Azurite, jq. Out: verdicts. Never: a clock in an expectation; takes
//! the copy's own word for a digest.

use crate::support::azurite::CONTAINER;
use crate::support::garage::BUCKET;
use crate::support::{Scratch, archive, need, or_skip, require, stderr, stdout, succeed, wal_r};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SEGMENT: &str = "wal_005/000000010000000000000005.lzo";

/// A copy of the bundled archive, made by `copy`, and the source as its tests may damage it.
fn copied(scratch: &Scratch, arguments: &[&str]) -> (PathBuf, PathBuf) {
    let source = scratch.copy(&archive::bundled().0, "source");
    let copy = scratch.join("copy");
    succeed(wal_r().args(["copy", "-q", "--from"]).arg(&source).arg("--to").arg(&copy).args(arguments));
    (source, copy)
}

fn verify(source: &Path, copy: &Path, arguments: &[&str]) -> Output {
    let mut command = wal_r();
    command.args(["copy-verify", "-q", "--from"]).arg(source).arg("--to").arg(copy).args(arguments);
    command.output().expect("the program runs")
}

#[track_caller]
fn json(source: &Path, copy: &Path, arguments: &[&str], code: i32) -> Value {
    let output = verify(source, copy, &[arguments, &["--format", "json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{}{}", stdout(&output), stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {}", stdout(&output)))
}

/// `severity kind` of each difference, once.
fn kinds(report: &Value) -> Vec<String> {
    let all = report["differences"].as_array().expect("differences").iter();
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    let mut kinds: Vec<String> = all.map(|one| format!("{} {}", word(&one["severity"]), word(&one["kind"]))).collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_copy_can_recover_what_its_source_can() {
    let scratch = Scratch::new();
    let (source, copy) = copied(&scratch, &[]);
    let (_, facts) = archive::bundled();
    for level in ["names", "records"] {
        let report = json(&source, &copy, &["--level", level], 0);
        assert_eq!((&report["equal"], kinds(&report)), (&true.into(), vec![]), "{level}");
        assert_eq!(report["system"], facts.get("system_identifier"));
        let windows = report["windows"].as_array().expect("windows");
        assert_eq!(windows.len(), 2);
        assert!(windows.iter().all(|row| row["same"] == true && row["source"] == row["destination"]), "{windows:?}");
        assert!(windows.iter().all(|row| row["destination"]["proven"] == (level == "records")), "{windows:?}");
    }
    let page = verify(&source, &copy, &[]);
    assert!(stdout(&page).starts_with("SAME  both can recover the same points\n"), "{}", stdout(&page));
    // The same without the manifest, and of a mirror.
    fs::remove_dir_all(copy.join(".wal-r")).expect("a manifest");
    let report = json(&source, &copy, &["--digests", "all"], 0);
    assert_eq!(report["digests"]["source_by_manifest"]["objects"], 0);
    assert_eq!(report["digests"]["read"], report["objects"]["chosen"]);
    succeed(wal_r().args(["copy", "-q", "--mirror", "--from"]).arg(&source).arg("--to").arg(&copy));
    assert_eq!(kinds(&json(&source, &copy, &["--mirror"], 0)), [] as [String; 0]);
}

#[test]
fn damage_is_told_by_what_it_does() {
    let part = "basebackups_005/base_000000010000000000000003_00000040/tar_partitions/part_00000000.tar.lzo";
    type Damage = fn(&Path);
    fn flip(path: &Path) {
        let mut bytes = fs::read(path).expect("an object");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).expect("written");
    }
    fn remove(path: &Path) {
        fs::remove_file(path).expect("it is there");
    }
    let cases: [(&str, Damage, i32, &[&str]); 4] = [
        (SEGMENT, flip, 2, &["critical bytes", "critical audit", "critical window"]),
        (SEGMENT, remove, 2, &["critical missing", "critical audit", "critical window"]),
        (part, remove, 2, &["critical missing", "critical audit", "critical window", "critical restore_point"]),
        ("wal_005/000000010000000000000006.partial.lzo", remove, 1, &["warning missing"]),
    ];
    for (key, damage, code, wanted) in cases {
        let scratch = Scratch::new();
        let (source, copy) = copied(&scratch, &[]);
        damage(&copy.join(key));
        let report = json(&source, &copy, &[], code);
        assert_eq!(kinds(&report), wanted, "{key}");
        assert_eq!(report["equal"], code == 1, "{key}");
        let page = stdout(&verify(&source, &copy, &[]));
        assert!(page.starts_with(if code == 2 { "DIFFERENT  " } else { "SAME, WITH A WARNING  " }), "{page}");
        assert!(page.contains(key), "{page}");
    }
}

#[test]
fn a_part_is_verified_as_a_part() {
    for (wal, rows) in [("to-consistency", 1), ("none", 0)] {
        let scratch = Scratch::new();
        let (source, copy) = copied(&scratch, &["--backup", "LATEST", "--wal", wal]);
        let report = json(&source, &copy, &["--backup", "LATEST", "--wal", wal], 0);
        assert_eq!(report["windows"].as_array().expect("windows").len(), rows, "{wal}");
        assert_eq!(json(&source, &copy, &[], 2)["equal"], false, "{wal}");
    }
}

#[test]
fn what_could_not_be_looked_at_is_3() {
    let scratch = Scratch::new();
    let (source, copy) = copied(&scratch, &[]);
    let nowhere = scratch.join("nowhere");
    assert_eq!(verify(&source, &nowhere, &[]).status.code(), Some(3));
    assert!(!nowhere.exists());
    assert_eq!(verify(&nowhere, &copy, &[]).status.code(), Some(3));
    assert_eq!(verify(&source, &source, &[]).status.code(), Some(64));
    assert_eq!(verify(&source, &copy, &["--sample", "0"]).status.code(), Some(64));
    // The verdict stands; that there is no certificate is said.
    let output = verify(&source, &copy, &["--certificate", "/no/such/folder/certificate.json"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stdout(&output).starts_with("SAME  ") && stderr(&output).contains("local."), "{}", stderr(&output));
    assert!(!stdout(&output).contains("\ncertificate "), "{}", stdout(&output));
}

#[test]
fn other_tools_compute_both_digests() {
    let jq = or_skip!(need::jq());
    let scratch = Scratch::new();
    let (source, copy) = copied(&scratch, &[]);
    let (certificate, list) = (scratch.join("certificate.json"), scratch.join("digests"));
    let arguments =
        ["--certificate", "certificate.json", "--digest-list", "digests", "--signed-off-by", "Zoë \u{1f418}"];
    let mut command = wal_r();
    command.args(["copy-verify", "-q", "--digests", "all", "--from"]).arg(&source).arg("--to").arg(&copy);
    succeed(command.args(arguments).current_dir(scratch.path()));
    let value: Value = serde_json::from_slice(&fs::read(&certificate).expect("a certificate")).expect("JSON");
    assert_eq!(value["signed_off_by"], "Zoë \u{1f418}");
    let canonical = succeed(Command::new(jq).args(["-cS", "del(.seal)"]).arg(&certificate));
    let sum = |bytes: &[u8]| {
        let file = scratch.join("sum");
        fs::write(&file, bytes).expect("written");
        succeed(Command::new("sha256sum").arg(&file)).split(' ').next().expect("a digest").to_owned()
    };
    assert_eq!(value["seal"], sum(canonical.as_bytes()));
    assert_eq!(value["digests"]["sha256"], sum(&fs::read(&list).expect("a list")));
    for line in fs::read_to_string(&list).expect("a list").lines() {
        let mut words = line.splitn(3, "  ");
        let mut word = || words.next().expect("three words");
        let (digest, size, key) = (word(), word(), word());
        let bytes = fs::read(copy.join(key)).expect("an object");
        assert_eq!((sum(&bytes).as_str(), bytes.len().to_string().as_str()), (digest, size), "{key}");
    }
}

/// Two prefixes of a real S3 server: copied by the provider, so that no manifest knows a digest; then one object is replaced.
#[test]
fn in_garage() {
    let garage = require!(garage);
    let (from, to) = (garage.prefix("copy-verify-from"), garage.prefix("copy-verify-to"));
    let source = garage.upload(&archive::bundled().0, &from);
    let copy = format!("s3://{BUCKET}/{to}");
    let call = |arguments: &[&str]| {
        let mut command = wal_r();
        command.args(arguments).args(["-q", "--from", &source, "--to", &copy]).envs(garage.environment());
        command.output().expect("the program runs")
    };
    let output = call(&["copy"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = call(&["copy-verify", "--format", "json", "--digests", "all"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["digests"]["read"], &report["equal"]), (&report["objects"]["chosen"], &true.into()));
    // Nothing is read, and yet all is told: both sides name the same MD5.
    let output = call(&["copy-verify", "--format", "json", "--digests", "none", "--level", "names"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let by = |how: &str| report["digests"][how]["objects"].as_u64().expect("a number");
    assert_eq!((by("read"), by("by_size")), (0, 0), "{report}");
    assert!(by("by_md5") > 5, "{report}");
    let mut bytes = fs::read(archive::bundled().0.join(SEGMENT)).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    garage.put(&format!("{to}/{SEGMENT}"), bytes);
    let before = garage.list(&to);
    let output = call(&["copy-verify", "--format", "json"]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(kinds(&report).contains(&"critical bytes".to_owned()), "{report}");
    assert_eq!(garage.list(&to), before);
}

/// What a certificate says, and whether its seal is that of its text.
#[track_caller]
fn sealed(file: &Path) -> Value {
    let certificate: Value = serde_json::from_slice(&fs::read(file).expect("a certificate")).expect("JSON");
    let mut rest = certificate.clone();
    rest.as_object_mut().expect("members").remove("seal");
    rest.sort_all_objects();
    assert_eq!(certificate["seal"], sha256(format!("{rest}\n").as_bytes()));
    certificate
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every file below a folder, by its key.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut open, mut found) = (vec![root.to_path_buf()], BTreeMap::new());
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let key = path.strip_prefix(root).expect("below").display().to_string();
                    found.insert(key, fs::read(&path).expect("an object"));
                }
            }
        }
    }
    found
}

/// A copy from S3 in Azure, all digests: equal with the same recovery points; then one byte, then one blob, and no certificate
/// says so any more. `damages`: how many of them are tried.
fn in_another_cloud(archive: &Path, system: &str, damages: usize) -> Result<(), need::Missing> {
    let (garage, azurite) = (need::garage()?, need::azurite()?);
    let scratch = Scratch::new();
    let source = garage.upload(archive, &garage.prefix("clouds"));
    let prefix = azurite.prefix("clouds");
    let copy = format!("azure://{CONTAINER}/{prefix}");
    let environment: Vec<(&str, String)> = garage.environment().into_iter().chain(azurite.environment()).collect();
    let (certificate, list) = (scratch.join("certificate.json"), scratch.join("digests"));
    let run = |arguments: &[&str]| {
        let mut command = wal_r();
        command.args(arguments).args(["-q", "--mirror", "--from", &source, "--to", &copy]);
        command.envs(environment.iter().map(|(name, value)| (*name, value))).output().expect("the program runs")
    };
    let call = |arguments: &[&str], code: i32| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{}{}", stdout(&output), stderr(&output));
        output
    };
    // The page, and what is signed off.
    let verify = |arguments: &[&str], code: i32| {
        let _ = fs::remove_file(&certificate);
        let (file, digests) = (certificate.to_str().expect("UTF-8"), list.to_str().expect("UTF-8"));
        let all = ["copy-verify", "--digests", "all", "--certificate", file, "--digest-list", digests];
        let before = azurite.listing(&prefix);
        let output = call(&[&all, arguments].concat(), code);
        assert_eq!(azurite.listing(&prefix), before, "it only reads");
        (stdout(&output), sealed(&certificate))
    };
    call(&["copy"], 0);
    let whole = files(archive);
    let of_copy: String =
        whole.iter().map(|(key, bytes)| format!("{}  {}  {key}\n", sha256(bytes), bytes.len())).collect();
    let mut of_copy: Vec<&str> = of_copy.lines().collect();
    of_copy.sort_unstable();

    for (arguments, by_manifest) in [(&[][..], whole.len()), (&["--read-both"], 0)] {
        let (page, signed) = verify(arguments, 0);
        assert!(page.starts_with("SAME  both can recover the same points\n"), "{page}");
        assert_eq!((&signed["equal"], &signed["verdict"]), (&true.into(), &"ok".into()), "{signed}");
        assert_eq!((&signed["system"], &signed["latest"]["same"]), (&system.into(), &true.into()), "{signed}");
        assert_eq!((&signed["from"], &signed["to"]), (&format!("{source}/").into(), &format!("{copy}/").into()));
        assert_eq!(signed["digests"]["read"]["objects"], whole.len(), "{signed}");
        assert_eq!(signed["digests"]["source_by_manifest"]["objects"], by_manifest, "{signed}");
        let windows = signed["windows"].as_array().expect("windows");
        let same = |row: &Value| row["same"] == true && row["source"] == row["destination"];
        assert!(windows.len() >= 2 && windows.iter().all(same), "{windows:?}");
        assert!(windows.iter().all(|row| row["destination"]["proven"] == true), "{windows:?}");
        let text = fs::read_to_string(&list).expect("a list");
        assert_eq!(text.lines().collect::<Vec<_>>(), of_copy);
        assert_eq!(signed["digests"]["sha256"], sha256(text.as_bytes()));
    }

    let ends = |end: &str| whole.keys().find(|key| key.ends_with(end)).expect("an object").clone();
    let segment = |key: &&String| key.len() == SEGMENT.len() && key.starts_with("wal_005/00000002");
    let segment = whole.keys().find(segment).expect("a segment of timeline 2").clone();
    let part = ends("part_00000000.tar.lzo");
    let sentinel = ends("_backup_stop_sentinel.json");
    let all = [(&segment, "bytes"), (&part, "bytes"), (&segment, "missing"), (&sentinel, "missing")];
    for (key, kind) in all.into_iter().take(damages) {
        let (bytes, blob) = (&whole[key], format!("{prefix}/{key}"));
        if kind == "bytes" {
            let mut other = bytes.clone();
            other[bytes.len() / 2] ^= 1;
            azurite.put(&blob, other);
        } else {
            azurite.delete(&blob);
        }
        let (page, signed) = verify(&[], 2);
        assert!(page.starts_with("DIFFERENT  do not rely on the copy\n") && page.contains(key.as_str()), "{page}");
        assert_eq!((&signed["equal"], &signed["verdict"]), (&false.into(), &"critical".into()), "{signed}");
        assert!(signed["claim"].as_str().expect("a claim").ends_with("Nothing is claimed."), "{}", signed["claim"]);
        // It says which object, and calls no other one wrong.
        let differences = signed["differences"].as_array().expect("differences").iter();
        let told: Vec<_> = differences.filter(|one| one["kind"] == "bytes" || one["kind"] == "missing").collect();
        let [one] = told[..] else { panic!("{told:?}") };
        assert_eq!((&one["kind"], &one["severity"]), (&kind.into(), &"critical".into()), "{one}");
        assert_eq!((&one["count"], &one["objects"]), (&1.into(), &vec![key.as_str()].into()), "{one}");
        if key != &sentinel {
            azurite.put(&blob, bytes.clone());
        }
    }
    // The next copy brings what is missing, in its place among the sentinels: as good as it was.
    call(&["copy"], 0);
    let (_, signed) = verify(&["--read-both"], 0);
    assert_eq!((&signed["equal"], &signed["verdict"]), (&true.into(), &"ok".into()), "{signed}");
    Ok(())
}

#[test]
fn a_copy_in_another_cloud() {
    let (bundled, facts) = archive::bundled();
    or_skip!(in_another_cloud(&bundled, facts.get("system_identifier"), 4));
}

#[test]
fn a_larger_copy_in_another_cloud() {
    let (larger, facts) = archive::shared(&require!(shared_archive));
    or_skip!(in_another_cloud(&larger, facts.get("system_identifier"), 1));
}
