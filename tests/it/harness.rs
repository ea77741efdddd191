//! The harness itself: archives that the original makes hold what their facts say, by the originals' means alone.
//!
//! In: PostgreSQL, wal-e, lzop; the bundled archive. Out: what wal-r's own tests compare with is true.
//! Never: uses wal-r.

use crate::support::archive::{self, Place};
use crate::support::garage::BUCKET;
use crate::support::need::Missing;
use crate::support::proxy::{Fault, Proxy};
use crate::support::recovery::{self, Kind};
use crate::support::scratch::give_tree;
use crate::support::{Scratch, need, or_skip, require, succeed};
use std::collections::BTreeSet;
use std::path::Path;

/// Names of all objects below a folder, with digits that differ from run to run.
fn objects(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                names.insert(path.strip_prefix(folder).expect("below it").display().to_string());
            }
        }
    }
    names
}

/// `cargo xtask testdata archive` runs this with `WALR_UPDATE_ARCHIVE=1`; it then replaces testdata/archive.
#[test]
fn the_bundled_archive_is_made_like_this() {
    let postgres = require!(postgres 13);
    let wal_e = require!(wal_e);
    let scratch = Scratch::new();
    let made = scratch.dir("archive");
    let facts = archive::make(&scratch, &postgres, &wal_e, Place::Directory(&made), None);
    let bundled = need::root().join("testdata/archive/wal-e-pg13");
    if std::env::var_os("WALR_UPDATE_ARCHIVE").is_some() {
        let _ = std::fs::remove_dir_all(&bundled);
        std::fs::create_dir_all(bundled.parent().expect("testdata/archive")).expect("testdata/archive");
        succeed(std::process::Command::new("cp").arg("-r").arg(&made).arg(&bundled));
        std::fs::write(bundled.with_extension("facts.txt"), facts.text()).expect("the facts");
    }
    // Numbers may differ (a checkpoint more, a segment more); what kinds of objects there are may not.
    let kinds = |folder: &Path| -> BTreeSet<String> {
        let letter = |c: char| if c.is_ascii_digit() || ('A'..='F').contains(&c) { '9' } else { c };
        objects(folder).iter().map(|name| name.chars().map(letter).collect()).collect()
    };
    assert_eq!(kinds(&made), kinds(&bundled));
}

#[test]
fn the_facts_of_the_bundled_archive_are_true() {
    let postgres = require!(postgres 13);
    let lzop = require!(lzop);
    let (archive, facts) = archive::bundled();
    let scratch = Scratch::new();
    let archive = scratch.copy(&archive, "archive");
    let fetch = format!("restore_command='{}' -dc '{}'/wal_005/%f.lzo >%p", lzop.display(), archive.display());
    // What a person would type without wal-r.
    let restore = |name: &str| {
        let data = scratch.dir(name);
        let part = "basebackups_005/*/tar_partitions/part_00000000.tar.lzo";
        let line = format!("{} -dc {}/{part} | tar -xf - -C {}", lzop.display(), archive.display(), data.display());
        succeed(std::process::Command::new("sh").arg("-c").arg(line));
        std::fs::write(data.join("recovery.signal"), "").expect("recovery.signal");
        give_tree(&data);
        data
    };

    let mut server = postgres.start(&scratch, &restore("newest"), &[&fetch], &[]);
    server.wait_promoted();
    assert_eq!(server.ask(facts.accounts), facts.get("tli2_accounts_sum"));
    assert!(server.try_ask(archive::PRECIOUS).is_err(), "precious was dropped");

    let to = ["recovery_target_timeline=1", "recovery_target_action=promote", &fetch];
    let mut server = postgres.start(&scratch, &restore("first"), &to, &[]);
    server.wait_promoted();
    assert_eq!(server.ask(facts.accounts), facts.get("tli1_accounts_sum"));

    let time = format!("recovery_target_time={}", facts.get("precious_exists_at"));
    let to = [&time, "recovery_target_action=promote", &fetch];
    let mut server = postgres.start(&scratch, &restore("before"), &to, &[]);
    server.wait_promoted();
    assert_eq!(server.ask(archive::PRECIOUS), facts.precious());
}

#[test]
fn wal_e_writes_to_garage() {
    let postgres = require!(postgres 14);
    let wal_e = require!(wal_e);
    let garage = require!(garage);
    let scratch = Scratch::new();
    let prefix = garage.prefix("harness");
    let tablespace = scratch.dir("elsewhere");
    let place = Place::Garage(&garage, &prefix);
    let facts = archive::make(&scratch, &postgres, &wal_e, place, Some(&tablespace));
    let listed = garage.list(&prefix);
    assert!(listed.iter().any(|key| key.ends_with("_backup_stop_sentinel.json")), "{listed:?}");
    assert!(listed.iter().any(|key| key.ends_with("00000002.history.lzo")), "{listed:?}");
    assert!(facts.get("version").starts_with("14."));
}

/// Each fault is what it says, as a client that knows nothing of it sees it.
#[test]
fn the_proxy_does_what_it_is_told() {
    let garage = require!(garage);
    let key = format!("{}/object", garage.prefix("proxy"));
    let content: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
    garage.put(&key, content.clone());
    let proxy = Proxy::before(garage.port());
    let get = || {
        let key = key.clone();
        garage.blocking_at(&proxy.endpoint(), |client| async move {
            let got = client.get_object().bucket(BUCKET).key(key).send().await.map_err(|why| format!("{why:?}"))?;
            got.body.collect().await.map(|body| body.to_vec()).map_err(|why| format!("{why:?}"))
        })
    };
    // Not `assert_eq!`: nobody wants to read 100 000 numbers.
    assert!(get() == Ok(content.clone()));
    assert_eq!(proxy.requests().len(), 1);
    for (fault, word) in [
        (Fault::Status(503, "SlowDown"), "SlowDown"),
        (Fault::Status(403, "AccessDenied"), "AccessDenied"),
        (Fault::Hangup, "Dispatch"),
        (Fault::CutAfter(5_000), "Incomplete"),
    ] {
        let rule = fault.clone();
        proxy.rule(move |_| rule.clone());
        let why = get().expect_err("a fault");
        assert!(why.contains(word), "{fault:?}: {why}");
    }
    proxy.rule(|_| Fault::ShortBy(1_000));
    assert!(get().is_ok_and(|got| got == content[..99_000]));
    proxy.rule(|_| Fault::FlipAt(7));
    assert_eq!(get().expect("a body")[7], content[7] ^ 0x10);
    proxy.rule(|_| Fault::Body(b"<html>".to_vec()));
    assert_eq!(get().as_deref(), Ok(&b"<html>"[..]));
    proxy.rule(|_| Fault::None);
    proxy.listen(false);
    assert!(get().expect_err("nobody listens").contains("ConnectionRefused"));
    proxy.listen(true);
    assert!(get() == Ok(content));
}
/// A cluster of any version and the WAL behind it: by lzop alone, recovery gives what the server said.
fn offline(major: u32) -> Result<(), Missing> {
    let (postgres, lzop) = (need::postgres(major)?, need::lzop()?);
    let scratch = Scratch::new();
    let made = archive::make_offline(&scratch, &postgres, &lzop);
    let data = recovery::copy(&scratch, &made.base, "data");
    let fetch = format!("'{}' -dc '{}'/wal_005/%f.lzo >%p", lzop.display(), made.archive.display());
    let settings = recovery::configure_with(&postgres, &data, Kind::PointInTime, &fetch);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut server = postgres.spawn(&scratch, &data, &settings, &[]);
    server.wait_promoted();
    assert_eq!(server.ask(made.accounts), made.sum);
    assert!(server.log().matches("restored log file").count() >= 4, "{}", server.log());
    Ok(())
}

#[test]
fn offline_10() {
    or_skip!(offline(10));
}

#[test]
fn offline_18() {
    or_skip!(offline(18));
}
