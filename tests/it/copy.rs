//! `wal-r copy` as operators call it: between prefixes, buckets, clouds, to a directory and back; killed, hindered, and
//! followed by a restore.
//!
//! In: real archives, Garage, Azurite, PostgreSQL. Out: verdicts. Never: takes the copy's own word for what arrived: the bytes
//! are compared, and servers started on them.

use crate::support::archive::{self, Place};
use crate::support::azurite::{Azurite, CONTAINER};
use crate::support::garage::{BUCKET, Garage, KEY, REGION, SECRET};
use crate::support::recovery::Source;
use crate::support::{Scratch, need, or_skip, require, restore, stderr, stdout, succeed, wal_r};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const OLD: &str = "6e101b27-ee1b-4f4d-a032-4401a3709ec3";
const NEW: &str = "78218ded-7d88-4d69-bd44-6f478c300134";

fn copy(environment: &[(&str, String)], arguments: &[&str]) -> Output {
    let mut command = wal_r();
    command.arg("copy").args(arguments).envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
    command.output().expect("wal-r runs")
}

#[track_caller]
fn copied(environment: &[(&str, String)], arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--format", "json"]).collect();
    let output = copy(environment, &arguments);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    serde_json::from_str(&stdout(&output)).expect("a report")
}

/// Every file of a directory but our own, with its digest.
fn digests(root: &Path) -> BTreeMap<String, String> {
    let (mut open, mut found) = (vec![root.to_path_buf()], BTreeMap::new());
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let key = path.strip_prefix(root).expect("below").display().to_string();
            if path.is_dir() {
                open.push(path);
            } else if !key.starts_with(".wal-r/") {
                let digest = Sha256::digest(std::fs::read(&path).expect("a file"));
                found.insert(key, digest.iter().map(|byte| format!("{byte:02x}")).collect());
            }
        }
    }
    found
}

/// The same of a prefix in Garage.
fn digests_in(garage: &Garage, prefix: &str) -> BTreeMap<String, String> {
    let keys = garage.list(&format!("{prefix}/"));
    let own = format!("{prefix}/.wal-r/");
    let keys: Vec<String> = keys.into_iter().filter(|key| !key.starts_with(&own)).collect();
    garage.blocking(|client| async move {
        let mut found = BTreeMap::new();
        for key in keys {
            let got = client.get_object().bucket(BUCKET).key(&key).send().await.expect("an object");
            let bytes = got.body.collect().await.expect("a body").into_bytes();
            let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            found.insert(key.strip_prefix(&format!("{prefix}/")).expect("below").to_owned(), digest);
        }
        found
    })
}

/// A prefix in Azurite that is not there yet.
fn azure(azurite: &Azurite, name: &str) -> String {
    format!("azure://{CONTAINER}/{}", azurite.prefix(name))
}

/// Settings of one gateway in a file, as --from-config and --to-config take them.
fn settings_file(scratch: &Scratch, name: &str, garage: &Garage) -> PathBuf {
    let path = scratch.join(name);
    let settings: BTreeMap<_, _> = garage.environment().into_iter().collect();
    std::fs::write(&path, serde_json::to_vec(&settings).expect("JSON")).expect("a settings file");
    path
}

/// A deleted instance: its archive is found in the logs, copied over the young archive of the new instance, and restored.
fn recovered_service() -> Result<(), need::Missing> {
    let (postgres, garage, wal_e) = (need::postgres(13)?, need::garage()?, need::wal_e()?);
    let scratch = Scratch::new();
    let (bundled, facts) = archive::bundled();
    let root = garage.prefix("service");
    let (old, new) = (format!("{root}/backups/{OLD}/wal"), format!("{root}/backups/{NEW}/wal"));
    garage.upload(&bundled, &old);
    garage.put(&format!("{old}/sysids/sysid"), format!("{}\n", facts.get("system_identifier")).into_bytes());
    // The new instance archives already, under the same names, another cluster's WAL.
    let young = Scratch::new();
    archive::make(&young, &postgres, &wal_e, Place::Garage(&garage, &new), None);
    garage.put(&format!("{new}/sysids/sysid"), b"42\n".to_vec());
    let before = digests_in(&garage, &new);

    // The platform's log, in the words of its runbook.
    let (stamp, node) =
        ("Mar 16 19:11:47 14ddd22e-719e-4aca-b318-7f291c97fbba", "c8ce128e-7b4c-4fe7-a533-e9379356f906");
    let segment = "000000010000000000000003";
    let key = format!("s3://{BUCKET}/{old}/wal_005/{segment}.lzo");
    let log = format!(
        "{stamp} docker/cf-{node}:  patroni> upload: tmp/sysids/sysid to s3://{BUCKET}/{old}/sysids/sysid\n\
         {stamp} docker/cf-{node}:  patroni>         STRUCTURED: time=2016-03-17T02:11:48.811154-00 pid=231 action=push-wal key={key} prefix={old}/ rate=2 seg={segment} state=complete\n\
         Mar 16 23:10:17 0.router broker.stdout.log:  {{\"timestamp\":\"1458195017.896692991\",\"source\":\"patroni-broker\",\"message\":\"patroni-broker.cluster.remove-node.perform\",\"log_level\":1,\"data\":{{\"backend\":\"10.58.111.150\",\"instance-id\":\"{OLD}\",\"node-uuid\":\"{node}\",\"session\":\"76\"}}}}\n"
    );
    let file = scratch.join("syslog");
    std::fs::write(&file, log).expect("a log");
    let found = succeed(wal_r().args(["locate", "--deleted"]).arg(&file));
    let line =
        found.lines().find(|line| line.contains("wal-r copy ")).unwrap_or_else(|| panic!("no command:\n{found}"));
    let words: Vec<String> = line
        .split_whitespace()
        .skip_while(|word| *word != "wal-r")
        .skip(2)
        .map(|word| word.replace("NEW_GUID", NEW))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(words.last(), Some(&"aside"), "{found}");

    let environment = garage.environment();
    // A server that still writes there is noticed; nothing was moved.
    let busy = copy(&environment, &words);
    assert_eq!(busy.status.code(), Some(75), "{}{}", stdout(&busy), stderr(&busy));
    assert!(stderr(&busy).contains("target.busy") && stderr(&busy).contains("--quiet-for"), "{}", stderr(&busy));
    assert_eq!(digests_in(&garage, &new), before);
    let plan = copy(&environment, &[words.as_slice(), &["--dry-run"]].concat());
    assert!(plan.status.success(), "{}", stderr(&plan));
    assert!(stdout(&plan).contains("will be moved to a prefix beside") && stdout(&plan).contains("nothing was done"));
    assert_eq!(digests_in(&garage, &new), before);

    let quiet = [words.as_slice(), &["--quiet-for", "0"]].concat();
    let report = copied(&environment, &quiet);
    let aside = report["aside"].as_str().expect("it was moved").trim_end_matches('/').to_owned();
    let aside = aside.strip_prefix(&format!("s3://{BUCKET}/")).expect("in the bucket").to_owned();
    assert!(aside.starts_with(&format!("{new}.replaced-")), "{aside}");
    assert_eq!(digests_in(&garage, &aside), before, "the young archive is beside, whole");
    let mut wanted = digests_in(&garage, &old);
    wanted.retain(|key, _| !key.ends_with("000000010000000000000002.lzo"));
    assert_eq!(digests_in(&garage, &new), wanted, "and the old one is in its place, alone");
    // One bucket, one key: no byte came through here.
    assert_eq!(report["by_provider"], report["copied"]);

    let source = Source { prefix: format!("s3://{BUCKET}/{new}"), environment, flags: "" };
    restore::all_states(&scratch, &postgres, &source, &facts, &[]);
    Ok(())
}

#[test]
fn a_deleted_service_is_recovered() {
    or_skip!(recovered_service());
}

/// A platform's database bucket taken away to a directory, and brought to another gateway, into a bucket that is not there yet.
fn moved() -> Result<(), need::Missing> {
    let program = need::garage_program()?;
    let postgres = need::postgres(13)?;
    let (first, second) = (Garage::start(&program), Garage::start(&program));
    second.cli(&["key", "allow", "--create-bucket", KEY]);
    let scratch = Scratch::new();
    let (bundled, facts) = archive::bundled();
    first.upload(&bundled, "db_wal");
    let (from, to) = (settings_file(&scratch, "old.json", &first), settings_file(&scratch, "new.json", &second));
    let (from, to) = (from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8"));
    let directory = scratch.join("taken");
    let taken = directory.to_str().expect("UTF-8");

    let source = format!("s3://{BUCKET}/db_wal/");
    copied(&[], &["--mirror", "--from", &source, "--from-config", from, "--to", taken]);
    assert_eq!(digests(&directory), digests(&bundled));

    // Without --create nothing is made, and the error says how.
    let refused = copy(&[], &["--mirror", "--from", taken, "--to", "s3://db-wal/", "--to-config", to]);
    assert_eq!(refused.status.code(), Some(66), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("--create"), "{}", stderr(&refused));
    copied(&[], &["--mirror", "--from", taken, "--to", "s3://db-wal/", "--to-config", to, "--create"]);
    let back = scratch.join("back");
    let back = back.to_str().expect("UTF-8");
    copied(&[], &["--mirror", "--from", "s3://db-wal/", "--from-config", to, "--to", back, "--through-here"]);
    assert_eq!(digests(Path::new(back)), digests(&bundled));

    let source = Source { prefix: "s3://db-wal/".into(), environment: second.environment(), flags: "" };
    restore::all_states(&scratch, &postgres, &source, &facts, &[]);
    Ok(())
}

#[test]
fn an_archive_moves_to_another_gateway() {
    or_skip!(moved());
}

/// A second copy in another cloud, every night only what is new, and back again.
fn second_cloud() -> Result<(), need::Missing> {
    let (postgres, garage, azurite) = (need::postgres(13)?, need::garage()?, need::azurite()?);
    let scratch = Scratch::new();
    let (bundled, facts) = archive::bundled();
    let here = garage.prefix("cloud");
    // All but the newest segment: that comes the next night.
    let newest = "wal_005/000000020000000000000007.lzo";
    let newest = if bundled.join(newest).exists() { newest.to_owned() } else { last_segment(&bundled) };
    let first_night = scratch.join("night");
    succeed(Command::new("cp").arg("-a").arg(&bundled).arg(&first_night));
    std::fs::remove_file(first_night.join(&newest)).expect("the newest segment");
    garage.upload(&first_night, &here);
    let environment: Vec<(&str, String)> = garage.environment().into_iter().chain(azurite.environment()).collect();
    let from = format!("s3://{BUCKET}/{here}");
    let to = azure(&azurite, "cloud");

    let first = copied(&environment, &["--mirror", "--from", &from, "--to", &to]);
    assert_eq!(first["copied"]["objects"].as_u64(), Some(digests(&first_night).len() as u64));
    garage.put(&format!("{here}/{newest}"), std::fs::read(bundled.join(&newest)).expect("a segment"));
    let second = copied(&environment, &["--mirror", "--from", &from, "--to", &to]);
    assert_eq!(second["copied"]["objects"].as_u64(), Some(1), "{second}");
    let third = copied(&environment, &["--mirror", "--from", &from, "--to", &to]);
    assert_eq!(third["copied"]["objects"].as_u64(), Some(0), "{third}");

    let back = garage.prefix("back");
    copied(&environment, &["--mirror", "--from", &to, "--to", &format!("s3://{BUCKET}/{back}")]);
    assert_eq!(digests_in(&garage, &back), digests(&bundled));
    let source = Source { prefix: to, environment: azurite.environment(), flags: "" };
    restore::all_states(&scratch, &postgres, &source, &facts, &[]);
    Ok(())
}

#[test]
fn a_second_cloud_gets_only_what_is_new() {
    or_skip!(second_cloud());
}

fn last_segment(archive: &Path) -> String {
    let names = digests(archive);
    let segment = |key: &&String| key.starts_with("wal_005/") && key.len() == "wal_005/".len() + 24 + 4;
    names.keys().rfind(segment).expect("a segment").clone()
}

/// What a copy that was just killed has left must never look more whole than it is.
fn expect_no_early_sentinel(there: &BTreeMap<String, String>, whole: &BTreeMap<String, String>, what: &str) {
    let sentinel = |key: &String| key.ends_with("_backup_stop_sentinel.json");
    if there.keys().any(sentinel) {
        let missing: Vec<&String> = whole.keys().filter(|key| !there.contains_key(*key)).collect();
        assert!(missing.is_empty(), "{what}: a sentinel is there without {missing:?}");
    }
    for (key, digest) in there.iter().filter(|(key, _)| whole.contains_key(*key)) {
        assert_eq!(whole.get(key), Some(digest), "{what}: {key} is there and not whole");
    }
}

/// Killed three hundred times at any moment, and run again each time: no half object, no early sentinel, and the end is equal.
#[test]
fn killed_at_any_moment() {
    let scratch = Scratch::new();
    let (bundled, _) = archive::bundled();
    let whole = digests(&bundled);
    let destination = scratch.join("copy");
    let (mut kills, mut ends) = (0, 0);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    while kills < 300 {
        // xorshift: another moment each time, and the same ones in every run of the test.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut command = wal_r();
        command.args(["copy", "--mirror", "--jobs", "2", "--limit-rate", "30M", "--from"]).arg(&bundled);
        command.arg("--to").arg(&destination).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("wal-r starts");
        std::thread::sleep(Duration::from_micros(random % 250_000));
        let _ = child.kill();
        let ended = child.wait().expect("it ends");
        let there = digests(&destination);
        if ended.success() {
            let temporary = |key: &String| key.contains(".wal-r-");
            assert_eq!(there, whole, "after {kills} kills");
            assert!(!there.keys().any(temporary));
            ends += 1;
            std::fs::remove_dir_all(&destination).expect("room for the next");
            continue;
        }
        kills += 1;
        expect_no_early_sentinel(&there, &whole, &format!("kill {kills}"));
    }
    assert!(ends > 3, "only {ends} copies came to their end");
    copied(
        &[],
        &["--mirror", "--from", bundled.to_str().expect("UTF-8"), "--to", destination.to_str().expect("UTF-8")],
    );
    assert_eq!(digests(&destination), whole);
}

/// The same against a store, with other hosts going on: nothing of the killed run is left but what is in the store.
#[test]
fn killed_and_gone_on_with_elsewhere() {
    let garage = require!(garage);
    let (bundled, _) = archive::bundled();
    let whole = digests(&bundled);
    let environment = garage.environment();
    for round in 0..12_u64 {
        let prefix = garage.prefix("killed");
        let to = format!("s3://{BUCKET}/{prefix}");
        for attempt in 0.. {
            let mut command = wal_r();
            command.args(["copy", "--mirror", "--limit-rate", "20M", "--to", &to, "--from"]).arg(&bundled);
            command.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("wal-r starts");
            std::thread::sleep(Duration::from_millis(60 + (round * 37 + attempt * 53) % 400));
            let _ = child.kill();
            if child.wait().expect("it ends").success() {
                break;
            }
            expect_no_early_sentinel(&digests_in(&garage, &prefix), &whole, &format!("{round}.{attempt}"));
            assert!(attempt < 40, "it never comes to its end");
            if attempt == 5 {
                copied(&environment, &["--mirror", "--to", &to, "--from", bundled.to_str().expect("UTF-8")]);
                break;
            }
        }
        assert_eq!(digests_in(&garage, &prefix), whole);
    }
}

/// The source replaces an object while the copy runs: what is there in the end is what the source has then.
#[test]
fn a_source_object_is_replaced_in_mid_copy() {
    let garage = require!(garage);
    let (bundled, _) = archive::bundled();
    let (from, to) = (garage.prefix("replaced"), garage.prefix("replaced"));
    garage.upload(&bundled, &from);
    let environment = garage.environment();
    let mut command = wal_r();
    command.args(["copy", "--mirror", "--through-here", "--jobs", "1", "--limit-rate", "2M", "--format", "json"]);
    command.args(["--from", &format!("s3://{BUCKET}/{from}"), "--to", &format!("s3://{BUCKET}/{to}")]);
    command.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("wal-r starts");
    // Objects go in the order of their keys: the part first. Once it is there, one that is copied already and one that is
    // still to come are replaced.
    let began = Instant::now();
    let copied_first = loop {
        let there = garage.list(&format!("{to}/basebackups_005/"));
        if let Some(key) = there.first() {
            break key.strip_prefix(&format!("{to}/")).expect("below").to_owned();
        }
        assert!(began.elapsed() < Duration::from_secs(60), "nothing arrives");
        std::thread::sleep(Duration::from_millis(20));
    };
    let later = last_segment(&bundled);
    garage.put(&format!("{from}/{later}"), b"another segment".to_vec());
    garage.put(&format!("{from}/{copied_first}"), b"another version".to_vec());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).expect("a report");
    let changed = report["changed"].as_array().expect("a list");
    assert!(changed.iter().any(|key| key == &copied_first), "{changed:?} {copied_first}");
    assert!(changed.iter().any(|key| key == &later), "{changed:?}");
    assert_eq!(digests_in(&garage, &to), digests_in(&garage, &from));
}

/// Copy, and look how much memory it has at the most: KiB.
fn peak_of(environment: &[(&str, String)], arguments: &[&str]) -> u64 {
    let mut command = wal_r();
    command.arg("copy").args(arguments).envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("wal-r starts");
    let mut peak = 0;
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        if let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            peak = line.trim().trim_end_matches(" kB").parse().expect("a number");
        }
        if let Some(ended) = child.try_wait().expect("it can be asked") {
            let output = child.wait_with_output().expect("its words");
            assert!(ended.success() && peak > 0, "{}", stderr(&output));
            return peak;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An object of many parts, in both directions and by the provider, in bounded memory.
#[test]
fn large_objects_in_little_memory() {
    let (garage, azurite) = (require!(garage), require!(azurite));
    let scratch = Scratch::new();
    let folder = scratch.join("large");
    std::fs::create_dir_all(folder.join("wal_005")).expect("a folder");
    let large: Vec<u8> = (0..160_u32 << 20).map(|at| (at / 4096 + at.wrapping_mul(7)) as u8).collect();
    for number in 0..2 {
        std::fs::write(folder.join(format!("wal_005/large.{number}")), &large).expect("a large object");
    }
    let whole = digests(&folder);
    let environment: Vec<(&str, String)> = garage.environment().into_iter().chain(azurite.environment()).collect();
    let prefixes = [garage.prefix("large"), garage.prefix("large")];
    let s3 = |n: usize| format!("s3://{BUCKET}/{}", prefixes[n]);
    let azure = azure(&azurite, "large");
    let directory = folder.to_str().expect("UTF-8").to_owned();
    for (from, to) in [(directory.clone(), s3(0)), (s3(0), s3(1)), (s3(1), azure.clone())] {
        let peak = peak_of(&environment, &["--mirror", "--from", &from, "--to", &to]);
        // One budget of 128 MiB for what is on its way, and what the program itself takes.
        assert!(peak < 260 << 10, "{from} to {to} took {peak} KiB");
    }
    assert_eq!(digests_in(&garage, &prefixes[0]), whole);
    assert_eq!(digests_in(&garage, &prefixes[1]), whole);
    let back = scratch.join("back");
    copied(&environment, &["--mirror", "--from", &azure, "--to", back.to_str().expect("UTF-8")]);
    assert_eq!(digests(&back), whole);
    // What the provider copied is in the manifest too.
    let manifest = garage.list(&format!("{}/.wal-r/manifest/", prefixes[1]));
    assert_eq!(manifest.len(), 1);
}

/// Uploads in parts below a prefix of Garage that nobody finished: their keys.
fn unfinished(garage: &Garage, prefix: &str) -> Vec<String> {
    garage.blocking(|client| async move {
        let page = client.list_multipart_uploads().bucket(BUCKET).prefix(prefix).send().await.expect("a listing");
        page.uploads().iter().map(|upload| upload.key().expect("a key").to_owned()).collect()
    })
}

/// A slow copy of one object in parts to Garage, once its upload has begun.
fn uploading(garage: &Garage, from: &str, to: &str) -> std::process::Child {
    let mut command = wal_r();
    command.args(["copy", "-q", "--mirror", "--limit-rate", "4M", "--from", from]);
    command.args(["--to", &format!("s3://{BUCKET}/{to}")]).envs(garage.environment());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("wal-r starts");
    let (began, before) = (Instant::now(), unfinished(garage, to).len());
    while unfinished(garage, to).len() == before {
        assert!(began.elapsed() < Duration::from_secs(60), "no upload begins");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// A folder with one object that goes up in two parts.
fn in_two_parts(scratch: &Scratch) -> (PathBuf, BTreeMap<String, String>) {
    let folder = scratch.join("large");
    std::fs::create_dir_all(folder.join("wal_005")).expect("a folder");
    let large: Vec<u8> = (0..20_u32 << 20).map(|at| (at / 4096 + at.wrapping_mul(11)) as u8).collect();
    std::fs::write(folder.join("wal_005/large"), large).expect("a large object");
    let whole = digests(&folder);
    (folder, whole)
}

/// What killed copies have left of an object goes as soon as a copy has brought it, and nothing else does.
#[test]
fn uploads_of_killed_runs_are_taken_away() {
    let garage = require!(garage);
    let scratch = Scratch::new();
    let (folder, whole) = in_two_parts(&scratch);
    let from = folder.to_str().expect("UTF-8");
    let prefix = garage.prefix("uploads");
    for _ in 0..2 {
        let mut child = uploading(&garage, from, &prefix);
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
    }
    let (ours, theirs) = (format!("{prefix}/wal_005/large"), format!("{prefix}/wal_005/other"));
    assert_eq!(unfinished(&garage, &prefix), [ours.as_str(), &ours]);
    garage.blocking(|client| async move {
        client.create_multipart_upload().bucket(BUCKET).key(theirs).send().await.expect("somebody else's upload")
    });
    let to = format!("s3://{BUCKET}/{prefix}");
    let report = copied(&garage.environment(), &["--mirror", "--from", from, "--to", &to]);
    assert_eq!(report["notes"], serde_json::json!(["2 uploads that killed runs had left were removed"]));
    assert_eq!(unfinished(&garage, &prefix), [format!("{prefix}/wal_005/other")]);
    assert_eq!(digests_in(&garage, &prefix), whole);
}

/// Two copies to one place: the faster takes the other's upload for what a killed run has left, and both end well.
#[test]
fn two_copies_at_once_both_end_well() {
    let garage = require!(garage);
    let scratch = Scratch::new();
    let (folder, whole) = in_two_parts(&scratch);
    let from = folder.to_str().expect("UTF-8");
    let prefix = garage.prefix("uploads");
    let slow = uploading(&garage, from, &prefix);
    let to = format!("s3://{BUCKET}/{prefix}");
    let report = copied(&garage.environment(), &["--mirror", "--from", from, "--to", &to]);
    assert_eq!(report["copied"]["objects"], 1, "{report}");
    let slow = slow.wait_with_output().expect("it ends");
    assert!(slow.status.success(), "{}", stderr(&slow));
    assert_eq!(unfinished(&garage, &prefix), [""; 0]);
    assert_eq!(digests_in(&garage, &prefix), whole);
}

/// WAL-E itself takes the copy for its own: the same backups, the same LATEST, the same segments.
fn as_wal_e_sees_it() -> Result<(), need::Missing> {
    let (garage, wal_e, postgres) = (need::garage()?, need::wal_e()?, need::postgres(13)?);
    let scratch = Scratch::new();
    let place = scratch.join("archive");
    let facts = archive::make(&scratch, &postgres, &wal_e, Place::Directory(&place), None);
    let prefix = garage.prefix("seen");
    let environment = garage.environment();
    copied(&environment, &["--from", place.to_str().expect("UTF-8"), "--to", &format!("s3://{BUCKET}/{prefix}")]);
    let environment = Place::Garage(&garage, &prefix).wal_e_environment();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let script = wal_e.script(&scratch, "wal-e-on-the-copy", &environment);
    let data = scratch.join("restored");
    script.restore(&scratch, &data);
    let version = std::fs::read_to_string(data.join("PG_VERSION")).expect("a data directory");
    assert_eq!(version.trim(), facts.get("version").split('.').next().expect("a version"));
    Ok(())
}

#[test]
fn wal_e_restores_from_the_copy() {
    or_skip!(as_wal_e_sees_it());
}

/// What is there under another key of the same account is not read with this one's keys: a refusal is no empty destination.
#[test]
fn keys_are_not_mixed() {
    let garage = require!(garage);
    let scratch = Scratch::new();
    let (bundled, _) = archive::bundled();
    let settings = scratch.join("wrong.json");
    let wrong = serde_json::json!({
        "AWS_ENDPOINT_URL": garage.endpoint(), "AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET.replace('0', "1"), "AWS_S3_FORCE_PATH_STYLE": "true",
    });
    std::fs::write(&settings, wrong.to_string()).expect("settings");
    // The right keys are in the environment, and are the other end's.
    let to = format!("s3://{BUCKET}/{}", garage.prefix("keys"));
    let refused = copy(
        &garage.environment(),
        &["--from", bundled.to_str().expect("UTF-8"), "--to", &to, "--to-config", settings.to_str().expect("UTF-8")],
    );
    assert_eq!(refused.status.code(), Some(77), "{}{}", stdout(&refused), stderr(&refused));
    assert!(!stderr(&refused).contains(SECRET), "{}", stderr(&refused));
}
