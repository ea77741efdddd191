//! The harness itself: archives that the original makes hold what their facts say, by the originals' means alone.
//!
//! In: PostgreSQL, wal-e, lzop; the bundled archive. Out: what wal-r's own tests compare with is true.
//! Never: uses wal-r.

use crate::support::archive::{self, Extent, Place};
use crate::support::garage::BUCKET;
use crate::support::need::Missing;
use crate::support::pace::{Distance, Pace};
use crate::support::proxy::{Fault, Proxy};
use crate::support::recovery::{self, Kind};
use crate::support::scratch::give_tree;
use crate::support::{Scratch, need, or_skip, require, succeed};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

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
        (Fault::ResetAfter(5_000), "reset"),
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
    proxy.rule(|_| Fault::Header("etag", "\"another\""));
    assert!(get() == Ok(content.clone()));
    proxy.rule(|_| Fault::Body(b"<html>".to_vec()));
    assert_eq!(get().as_deref(), Ok(&b"<html>"[..]));
    let listed = || {
        let prefix = key.trim_end_matches("object").to_owned();
        garage.blocking_at(&proxy.endpoint(), |client| async move {
            let page = client.list_objects_v2().bucket(BUCKET).prefix(prefix).send().await.expect("a page");
            page.contents().len()
        })
    };
    for (fault, entries) in [(Fault::None, 1), (Fault::Repeat, 2), (Fault::Hide("/object".into()), 0)] {
        proxy.rule(move |_| fault.clone());
        assert_eq!(listed(), entries);
    }
    proxy.rule(|_| Fault::None);
    proxy.listen(false);
    assert!(get().expect_err("nobody listens").contains("ConnectionRefused"));
    proxy.listen(true);
    assert!(get() == Ok(content));
}

/// A server some way off is as slow as it is told to be, whole, counted, and keeps its connections.
#[test]
fn the_pace_is_kept() {
    let garage = require!(garage);
    let prefix = garage.prefix("pace");
    let content: Vec<u8> = (0..400_000u32).map(|at| (at % 251) as u8).collect();
    let scratch = Scratch::new();
    let names: Vec<String> =
        (1..=30).map(|number| format!("{prefix}/wal_005/0000000100000000000000{number:02X}.lzo")).collect();
    std::fs::create_dir_all(scratch.join(format!("{prefix}/wal_005"))).expect("a folder");
    for name in &names {
        garage.put(name, content.clone());
        std::fs::write(scratch.join(name), &content).expect("an object");
    }
    for pace in [Pace::before(garage.port(), Distance::NONE), Pace::of_folder(scratch.path(), Distance::NONE)] {
        // One client, whose connections it keeps as any client does.
        let (pace, content, prefix, names) = (&pace, &content, &prefix, &names);
        let began = Instant::now();
        let took = || Instant::now() - began;
        garage.blocking_at(&pace.endpoint(), |client| async move {
            let get = |key: &str, range: Option<&str>| {
                let request = client.get_object().bucket(BUCKET).key(key).set_range(range.map(String::from));
                async { request.send().await.expect("an answer").body.collect().await.expect("a body").to_vec() }
            };
            for name in names {
                assert!(get(name, None).await == *content);
            }
            assert!(get(&names[0], Some("bytes=5-9")).await == content[5..10]);
            let list = client.list_objects_v2().bucket(BUCKET).prefix(prefix);
            let page = list.clone().start_after(&names[9]).max_keys(7).send().await.expect("a page");
            let keys: Vec<_> = page.contents().iter().filter_map(|object| object.key()).collect();
            assert_eq!(keys, names[10..17], "the first page");
            assert_eq!(page.contents()[0].size(), Some(400_000));
            let token = page.next_continuation_token().expect("there is more");
            let page = list.clone().continuation_token(token).send().await.expect("a page");
            assert_eq!(page.contents().len(), 13);
            let absent = client.get_object().bucket(BUCKET).key(format!("{prefix}/none")).send().await;
            assert!(absent.expect_err("it is not there").into_service_error().is_no_such_key());
            let counts = pace.counts();
            assert_eq!((counts.segments.len(), counts.segments.values().sum::<usize>()), (30, 31));
            assert_eq!((counts.lists, counts.others, counts.requests()), (2, 1, 34));
            assert!(counts.connections == 1 && counts.most_at_once == 1, "{counts:?}");
            assert!(counts.bytes > 30 * 400_000 && counts.bytes < 31 * 400_000, "{counts:?}");

            // Never faster than told; how much slower is the machine's business.
            pace.forget();
            pace.set(Distance { delay: Duration::from_millis(40), bytes_a_second: 2_000_000 });
            let before = took();
            let (one, other) = tokio::join!(get(&names[0], None), get(&names[1], None));
            assert!(one == *content && other == *content);
            let whole = took() - before;
            assert!(whole >= Duration::from_millis(240), "{whole:?}");
            assert_eq!(pace.counts().most_at_once, 2);
            let before = took();
            list.send().await.expect("a page");
            let first_byte = took() - before;
            assert!(first_byte >= Duration::from_millis(40), "{first_byte:?}");
        });
    }
}

/// A cluster of any version and the WAL behind it: by lzop alone, recovery gives what the server said.
fn offline(major: u32, extent: Extent) -> Result<(), Missing> {
    let (postgres, lzop) = (need::postgres(major)?, need::lzop()?);
    let scratch = Scratch::new();
    let made = archive::make_offline_of(&scratch, &postgres, &lzop, extent);
    let data = recovery::copy(&scratch, &made.base, "data");
    let fetch = format!("'{}' -dc '{}'/wal_005/%f.lzo >%p", lzop.display(), made.archive.display());
    let settings = recovery::configure_with(&postgres, &data, Kind::PointInTime, &fetch);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut server = postgres.spawn(&scratch, &data, &settings, &[]);
    server.wait_promoted();
    assert_eq!(server.ask(made.accounts), made.sum);
    assert!(server.log().matches("restored log file").count() >= extent.segments.max(4), "{}", server.log());
    Ok(())
}

#[test]
fn offline_10() {
    or_skip!(offline(10, Extent::SMALL));
}

#[test]
fn offline_18() {
    or_skip!(offline(18, Extent::SMALL));
}

#[test]
fn offline_large_13() {
    or_skip!(offline(13, Extent { promotions: 2, ..Extent::LARGE }));
}

#[test]
fn offline_large_18() {
    or_skip!(offline(18, Extent::LARGE));
}
