//! The Azure store against Microsoft's own stand-in, and what reads an archive through it.
//!
//! In: Azurite, a TCP proxy before it, the bundled archive. Out: the contract kept; bodies resumed by range, deadlines held
//! with their cause named; the program's verbs with a key, a signature, a connection string. Never: Entra ID, which nothing
//! here can stand in for.

use crate::support::azurite::{ACCOUNT, Azurite, CONTAINER, KEY};
use crate::support::recovery::Source;
use crate::support::{Scratch, archive, free_port, need, or_skip, require, restore, stderr, stdout, succeed, wal_r};
use futures::TryStreamExt;
use std::future::Future;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wal_r::error::{Class, Code, Error, Verdict};
use wal_r::storage::azure::AzureStore;
use wal_r::storage::open::{self, AzureAuth, AzureSettings, Location, Secret, StoreSettings, azure_sas};
use wal_r::storage::retry::{Counters, RetryPolicy, Retrying};
use wal_r::storage::{ByteRange, Depth, Listed, Store, StoreError, StoreErrorKind, StoreWrite, When};
use wal_r::testing::contract;
use wal_r::testing::http::{Proxy, Spoil};

fn run<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

fn settings(endpoint: &str) -> AzureSettings {
    AzureSettings {
        account: Some(ACCOUNT.into()),
        endpoint: Some(endpoint.into()),
        auth: AzureAuth::Key(Secret::new(KEY)),
        ..AzureSettings::default()
    }
}

fn raw(endpoint: &str, prefix: &str) -> AzureStore {
    AzureStore::new(CONTAINER, format!("{prefix}/"), settings(endpoint), Arc::default())
}

/// Fast enough for a test, slow enough for a busy machine.
fn policy(deadline: Option<Duration>) -> RetryPolicy {
    RetryPolicy {
        deadline,
        attempts: if deadline.is_some() { u32::MAX } else { 15 },
        stall: Duration::from_secs(1),
        first_wait: Duration::from_millis(10),
        first_throttled_wait: Duration::from_millis(20),
        longest_wait: Duration::from_millis(200),
    }
}

/// A store with retries through a proxy, and an object of 3 MB behind it.
async fn through_proxy(azurite: &Azurite, name: &str, deadline: Option<Duration>) -> (Proxy, Retrying, Vec<u8>) {
    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at * 7 + at / 256) as u8).collect();
    let prefix = azurite.prefix(name);
    let direct = raw(&azurite.endpoint(), &prefix);
    direct.put(&"object".into(), content.clone().into(), When::Always).await.expect("an object");
    let proxy = Proxy::start(([127, 0, 0, 1], azurite.port()).into()).await;
    let store = Retrying::new(Arc::new(raw(&format!("{}/{ACCOUNT}", proxy.url()), &prefix)), policy(deadline));
    (proxy, store, content)
}

async fn read(store: &dyn Store) -> Result<Vec<u8>, StoreError> {
    let got = store.get(&"object".into(), ByteRange::ALL, None).await?;
    Ok(got.body.try_collect::<Vec<_>>().await?.concat())
}

async fn names(store: &dyn Store) -> Result<Vec<String>, StoreError> {
    let name = |entry| match entry {
        Listed::Object(object) => object.key.to_string(),
        Listed::Folder(folder) => folder.to_string(),
    };
    store.list("", Depth::All, None).map_ok(name).try_collect().await
}

#[test]
fn azurite_keeps_the_contract() {
    let azurite = require!(azurite);
    let store = raw(&azurite.endpoint(), &azurite.prefix("contract"));
    run(contract::check_without_backslashes(&store));
    run(contract::check_writing(&store));
}

/// Pages of a hundred, and a signature instead of the key.
#[test]
fn azurite_keeps_the_contract_page_by_page() {
    let azurite = require!(azurite);
    let auth = AzureAuth::Sas(azure_sas(&azurite.signature("rwdlc")).expect("a signature"));
    let settings = AzureSettings { auth, page_len: Some(100), ..settings(&azurite.endpoint()) };
    let prefix = format!("{}/", azurite.prefix("a b/+%"));
    let store = AzureStore::new(CONTAINER, prefix, settings, Arc::default());
    run(contract::check_without_backslashes(&store));
    run(contract::check_writing(&store));
}

#[test]
fn what_is_large_goes_up_in_blocks() {
    let azurite = require!(azurite);
    let store = raw(&azurite.endpoint(), &azurite.prefix("blocks"));
    let content: Vec<u8> = (0..(70u32 << 20)).map(|at| (at / 4096 + at * 3) as u8).collect();
    run(async {
        store.put(&"object".into(), content.clone().into(), When::Absent).await.expect("an object of three blocks");
        assert!(read(&store).await.expect("the object") == content);
        let error = store.put(&"object".into(), content.clone().into(), When::Absent).await.expect_err("it is there");
        assert_eq!(error.kind, StoreErrorKind::Exists, "{error:?}");
    });
}

#[test]
fn bodies_are_resumed_by_range() {
    let azurite = require!(azurite);
    run(async {
        let plans: &[(&str, &[Spoil])] = &[
            ("nothing", &[]),
            ("reset", &[Spoil::ResetAfter(1_000_000)]),
            ("closed in order", &[Spoil::CloseAfter(1_000_000)]),
            ("silence", &[Spoil::StallAfter(1_000_000)]),
            ("again and again", &[Spoil::ResetAfter(900_000), Spoil::CloseAfter(900_000), Spoil::StallAfter(900_000)]),
            ("before the first byte", &[Spoil::ResetAfter(0), Spoil::CloseAfter(0), Spoil::Refuse]),
            ("in the headers", &[Spoil::CloseAfter(60), Spoil::ResetAfter(60)]),
            ("late", &[Spoil::Delay(Duration::from_millis(300))]),
            ("a proxy's page", &[Spoil::Answer(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>")]),
            ("slow down", &[Spoil::Answer(b"HTTP/1.1 503 Server Busy\r\nContent-Length: 0\r\n\r\n")]),
        ];
        let resumed = plans.iter().map(async |(what, plan)| {
            let (proxy, store, content) = through_proxy(&azurite, "resume", None).await;
            proxy.spoil(plan, Spoil::No);
            assert!(read(&store).await.unwrap_or_else(|error| panic!("{what}: {error:?}")) == content, "{what}");
            assert_eq!(store.counters().bytes(), content.len() as u64, "{what}: no byte twice");
            let faults = plan.iter().filter(|spoil| !matches!(spoil, Spoil::Delay(_))).count() as u64;
            assert_eq!(store.counters().retries(), faults, "{what}");
        });
        futures::future::join_all(resumed).await;
    });
}

#[test]
fn the_deadline_holds_and_the_cause_is_named() {
    let azurite = require!(azurite);
    run(async {
        let answer = |text: &'static [u8]| Spoil::Answer(text);
        let plans: &[(Spoil, Code, &str)] = &[
            (Spoil::StallAfter(0), Code::StoreTimeout, "no answer for"),
            (Spoil::ResetAfter(0), Code::StoreUnreachable, "connection"),
            (Spoil::Refuse, Code::StoreUnreachable, "connection"),
            (Spoil::CloseAfter(60), Code::StoreUnreachable, "connection closed"),
            (answer(b"HTTP/1.1 503 Server Busy\r\nContent-Length: 0\r\n\r\n"), Code::StoreThrottled, "503"),
            (answer(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"), Code::StoreFailed, "500"),
            (answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>"), Code::StoreFailed, "404"),
            (answer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"), Code::StoreFailed, "not Azure"),
        ];
        let held = plans.iter().map(async |(spoil, code, cause)| {
            let deadline = Duration::from_secs(3);
            let (proxy, store, _) = through_proxy(&azurite, "deadline", Some(deadline)).await;
            proxy.spoil(&[], *spoil);
            let began = Instant::now();
            let error = read(&store).await.expect_err("the store is out of order");
            let took = began.elapsed();
            assert!(took < deadline + Duration::from_secs(1), "{spoil:?}: {took:?}");
            assert!(took > deadline / 2, "{spoil:?}: {took:?}");
            let error = Error::from(error);
            assert_eq!((error.code(), error.verdict()), (*code, Verdict::Unknown), "{spoil:?}: {}", error.chain());
            assert!(error.chain().contains(cause) && error.chain().contains("(tried "), "{}", error.chain());
            let error = names(&store).await.expect_err("the store is out of order");
            assert!(!error.is_absent(), "{spoil:?}: {error:?}");
        });
        futures::future::join_all(held).await;
    });
}

/// What is permanent is said at once, whatever the deadline.
#[test]
fn refusals_are_told_at_once() {
    let azurite = require!(azurite);
    run(async {
        let good = || settings(&azurite.endpoint());
        let sas = |text: &str| AzureAuth::Sas(azure_sas(text).expect("a signature"));
        let other = "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyb3Ro";
        let (valid, past) = (azurite.signature("rl"), azurite.signature_until("rl", "2020-01-01T00:00:00Z"));
        let cases = [
            (
                "wrong key",
                AzureSettings { auth: AzureAuth::Key(Secret::new(other)), ..good() },
                CONTAINER,
                Class::Credentials,
            ),
            (
                "wrong signature",
                AzureSettings { auth: sas(&valid.replace("sp=rl", "sp=rwl")), ..good() },
                CONTAINER,
                Class::Credentials,
            ),
            ("past signature", AzureSettings { auth: sas(&past), ..good() }, CONTAINER, Class::Credentials),
            (
                "signature to write",
                AzureSettings { auth: sas(&azurite.signature("wc")), ..good() },
                CONTAINER,
                Class::Credentials,
            ),
            (
                "unknown account",
                AzureSettings { account: Some("nobody".into()), ..good() },
                CONTAINER,
                Class::Credentials,
            ),
            ("no container", good(), "no-such-container", Class::Absent),
        ];
        for (what, settings, container, class) in cases {
            let store = AzureStore::new(container, "p/", settings, Arc::default());
            let store = Retrying::new(Arc::new(store), RetryPolicy::within(Duration::from_secs(60)));
            let began = Instant::now();
            let errors = [
                read(&store).await.expect_err(what),
                store.head(&"object".into()).await.expect_err(what),
                names(&store).await.expect_err(what),
            ];
            assert!(began.elapsed() < Duration::from_secs(10), "{what}: {:?}", began.elapsed());
            for error in errors {
                assert_ne!(error.kind, StoreErrorKind::NoSuchObject, "{what}: {error:?}");
                assert!(!format!("{error:?}").contains("sig="), "{error:?}");
                let error = Error::from(error);
                assert_eq!(error.class(), class, "{what}: {}", error.chain());
            }
        }
    });
}

#[test]
fn a_replaced_object_is_never_pieced_together() {
    let azurite = require!(azurite);
    run(async {
        let (proxy, store, content) = through_proxy(&azurite, "replaced", None).await;
        proxy.spoil(&[Spoil::StallAfter(500_000)], Spoil::No);
        let mut got = store.get(&"object".into(), ByteRange::ALL, None).await.expect("an answer");
        got.body.try_next().await.expect("a first piece").expect("a first piece");
        let url = store.url();
        let prefix = url.strip_prefix(&format!("azure://{CONTAINER}/")).expect("below it").trim_end_matches('/');
        let other: Vec<u8> = content.iter().rev().copied().collect();
        let direct = raw(&azurite.endpoint(), prefix);
        direct.put(&"object".into(), other.into(), When::Always).await.expect("another version");
        let error = got.body.try_collect::<Vec<_>>().await.expect_err("half of each");
        assert_eq!(error.kind, StoreErrorKind::Changed, "{error:?}");
    });
}

/// WAL-E before 1.0 wrote names that begin with a slash.
#[test]
fn odd_prefixes_are_resolved() {
    let azurite = require!(azurite);
    let prefix = azurite.prefix("slashes");
    let wal = "wal_005/000000010000000000000001.lzo";
    let settings = StoreSettings { azure: settings(&azurite.endpoint()), ..StoreSettings::default() };
    let root = format!("wabs://{CONTAINER}");
    let cases = [
        (format!("{root}/{prefix}/new"), format!("azure://{CONTAINER}/{prefix}/new/")),
        (format!("{root}/{prefix}/new//"), format!("azure://{CONTAINER}/{prefix}/new/")),
        (format!("{root}//{prefix}/old"), format!("azure://{CONTAINER}//{prefix}/old/")),
        (format!("{root}/{prefix}/double//db"), format!("azure://{CONTAINER}/{prefix}/double//db/")),
        (format!("{root}/{prefix}/nothing//db"), format!("azure://{CONTAINER}/{prefix}/nothing//db/")),
    ];
    run(async {
        for place in [format!("{prefix}/new"), format!("/{prefix}/old"), format!("{prefix}/double//db")] {
            let store = AzureStore::new(CONTAINER, format!("{place}/"), settings.azure.clone(), Arc::default());
            store.put(&wal.into(), "x".into(), When::Absent).await.expect("an object");
        }
        for (text, want) in cases {
            let location = Location::parse(&text).expect("a prefix");
            let resolved = open::resolve(&location, &settings).await.expect("the store answers");
            assert_eq!(resolved.location.to_string(), want, "{text}");
            if !text.contains("nothing") {
                assert_eq!(names(&*resolved.store).await.expect("a listing"), [wal], "{text}");
            }
        }
    });
}

/// A prefix without odd slashes costs nothing to resolve; a fetch is one request.
#[test]
fn one_request_for_one_object() {
    let azurite = require!(azurite);
    let prefix = azurite.prefix("requests");
    azurite.put(&format!("{prefix}/object"), b"content".to_vec());
    let counters = Arc::new(Counters::default());
    let settings =
        StoreSettings { azure: settings(&azurite.endpoint()), counters: counters.clone(), ..StoreSettings::default() };
    run(async {
        let location = Location::parse(&format!("azure://{CONTAINER}/{prefix}")).expect("a prefix");
        let resolved = open::resolve(&location, &settings).await.expect("no question, no failure");
        assert_eq!(counters.requests(), 0);
        assert_eq!(read(&*resolved.store).await.expect("the object"), b"content");
        assert_eq!((counters.requests(), counters.retries(), counters.bytes()), (1, 0, 7));
    });
}

#[test]
fn a_server_that_is_gone_is_unreachable_and_comes_back() {
    let azurite = require!(azurite);
    run(async {
        let gone = raw(&format!("http://127.0.0.1:{}/{ACCOUNT}", free_port()), "p");
        let error = read(&Retrying::new(Arc::new(gone), policy(Some(Duration::from_secs(1))))).await;
        let error = Error::from(error.expect_err("nobody listens"));
        assert_eq!(error.code(), Code::StoreUnreachable, "{}", error.chain());
        assert!(error.chain().contains("connection refused"), "{}", error.chain());

        // It is back before the deadline, and nobody notices but the counters.
        let (proxy, store, content) = through_proxy(&azurite, "back", Some(Duration::from_secs(30))).await;
        proxy.spoil(&[Spoil::Refuse; 8], Spoil::No);
        assert!(read(&store).await.expect("it came back") == content);
        assert!(store.counters().retries() >= 8);
    });
}

/// The environments by which the archive can be reached: what they are called, and what they say.
fn ways(azurite: &Azurite) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let endpoint = azurite.endpoint();
    vec![
        ("WAL-G's names", azurite.environment()),
        (
            "WAL-E's names",
            vec![
                ("WABS_ACCOUNT_NAME", ACCOUNT.into()),
                ("WABS_ACCESS_KEY", KEY.into()),
                ("AZURE_STORAGE_ENDPOINT", endpoint.clone()),
            ],
        ),
        (
            "a signature with a question mark",
            vec![
                ("WABS_ACCOUNT_NAME", ACCOUNT.into()),
                ("WABS_SAS_TOKEN", format!("?{}", azurite.signature("rl"))),
                ("AZURE_STORAGE_ENDPOINT", endpoint.clone()),
            ],
        ),
        (
            "a connection string with the key",
            vec![(
                "AZURE_STORAGE_CONNECTION_STRING",
                format!(
                    "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint};\
                     QueueEndpoint=http://127.0.0.1:1/{ACCOUNT}"
                ),
            )],
        ),
        (
            "a connection string with a signature",
            vec![(
                "AZURE_STORAGE_CONNECTION_STRING",
                format!("BlobEndpoint={endpoint}/;SharedAccessSignature={}", azurite.signature("rl")),
            )],
        ),
    ]
}

#[test]
fn every_way_in_lists_and_audits_the_bundled_archive() {
    let azurite = require!(azurite);
    let place = azurite.upload(&archive::bundled().0, &azurite.prefix("ways"));
    let here = |arguments: &[&str], prefix: &str| {
        let mut command = wal_r();
        succeed(command.args(arguments).args(["--prefix", prefix]))
    };
    let listed = here(&["backup-list"], &archive::bundled().0.display().to_string());
    let backups = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    };
    for (number, (what, environment)) in ways(&azurite).into_iter().enumerate() {
        let scheme = ["azure", "wabs"][number % 2];
        let prefix = format!("{scheme}://{place}");
        let ask = |arguments: &[&str]| {
            let mut command = wal_r();
            command.args(arguments).args(["--prefix", &prefix]).envs(environment.clone());
            command.output().expect("runs")
        };
        let list = ask(&["backup-list"]);
        assert!(list.status.success(), "{what}: {}", stderr(&list));
        assert_eq!(backups(&stdout(&list)), backups(&listed), "{what}");
        let check = ask(&["config", "check"]);
        assert!(check.status.success(), "{what}: {}{}", stdout(&check), stderr(&check));
        for secret in [KEY, "sig="] {
            assert!(!stdout(&check).contains(secret) && !stderr(&check).contains(secret), "{what}: {}", stdout(&check));
        }
        if number < 2 {
            let audit = ask(&["audit", "-q", "--format", "json"]);
            assert_eq!(audit.status.code(), Some(0), "{what}: {}", stderr(&audit));
            let report: serde_json::Value = serde_json::from_slice(&audit.stdout).expect("JSON");
            assert_eq!(report["verdict"], "ok", "{what}");
        }
    }
    // The setting instead of the flag.
    let mut command = wal_r();
    command.args(["backup-list"]).env("WALE_WABS_PREFIX", format!("wabs://{place}")).envs(azurite.environment());
    assert_eq!(backups(&succeed(&mut command)), backups(&listed));
}

/// Exit codes of wal-fetch: there, absent, refused, no container.
#[test]
fn wal_fetch_tells_absent_from_refused() {
    let azurite = require!(azurite);
    let (archive, _) = archive::bundled();
    let place = azurite.upload(&archive, &azurite.prefix("fetch"));
    let stored = std::fs::read(archive.join("wal_005/000000010000000000000005.lzo")).expect("a segment");
    let mut decoder = wal_r::codec::decoder(wal_r::layout::Compression::Lzo).expect("a decoder");
    let plain = wal_r::codec::decode_all(&mut *decoder, &stored, 1 << 25).expect("a segment");
    let fetch = |prefix: &str, file: &str, more: &[(&str, &str)]| {
        let data = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(data.path().join("pg_wal")).expect("a folder");
        std::fs::write(data.path().join("PG_VERSION"), "13\n").expect("a file");
        std::fs::write(data.path().join("recovery.signal"), "").expect("a file");
        let mut command = wal_r();
        command.current_dir(data.path()).args(["wal-fetch", file, "pg_wal/RECOVERYXLOG", "--prefix", prefix]);
        command.args(["--deadline", "20s"]).env("WALG_DOWNLOAD_CONCURRENCY", "1");
        command.envs(azurite.environment()).envs(more.iter().copied());
        let output = command.output().expect("runs");
        let delivered = std::fs::read(data.path().join("pg_wal/RECOVERYXLOG")).ok();
        (output.status.code(), delivered, stderr(&output))
    };
    for scheme in ["azure", "wabs"] {
        let (code, delivered, said) = fetch(&format!("{scheme}://{place}"), "000000010000000000000005", &[]);
        assert_eq!(code, Some(0), "{said}");
        assert!(delivered.as_deref() == Some(&plain[..]), "the segment, byte for byte");
    }
    let prefix = format!("azure://{place}");
    let (code, delivered, said) = fetch(&prefix, "000000020000000000000008", &[]);
    assert_eq!((code, delivered), (Some(74), None), "{said}");
    let wrong = ("AZURE_STORAGE_ACCESS_KEY", "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVyb3Ro");
    let (code, delivered, said) = fetch(&prefix, "000000010000000000000005", &[wrong]);
    assert!(code.is_some_and(|code| code > 125) && delivered.is_none(), "{code:?} {said}");
    assert!(said.contains("credentials.refused") && !said.contains(wrong.1), "{said}");
    let (code, delivered, said) = fetch("azure://no-such-container/x", "000000010000000000000005", &[]);
    assert!(code.is_some_and(|code| code > 125) && delivered.is_none(), "{code:?} {said}");
    assert!(said.contains("absent.prefix"), "{said}");
}

/// backup-fetch, and PostgreSQL on what it brought: the states that the archive's server described.
fn restored() -> Result<(), need::Missing> {
    let (postgres, azurite) = (need::postgres(13)?, need::azurite()?);
    let scratch = Scratch::new();
    let (archive, facts) = archive::bundled();
    let prefix = format!("azure://{}", azurite.upload(&archive, &azurite.prefix("restored")));
    let source = Source { prefix, environment: azurite.environment(), flags: "" };
    restore::all_states(&scratch, &postgres, &source, &facts, &[]);
    Ok(())
}

#[test]
fn bundled_from_azurite() {
    or_skip!(restored());
}

/// A half upload, a changed disk, a second night: the ledger works on Azure's ETags as on others.
#[test]
fn a_second_audit_reads_nothing_again() {
    let azurite = require!(azurite);
    let scratch = Scratch::new();
    let prefix = format!("azure://{}", azurite.upload(&archive::bundled().0, &azurite.prefix("ledger")));
    let audit = || {
        let mut command: Command = wal_r();
        command.args(["audit", "-q", "--format", "json", "--prefix", &prefix, "--ledger"]).arg(scratch.join("ledger"));
        let text = succeed(command.envs(azurite.environment()));
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    assert_eq!(audit()["verdict"], "ok");
    let second = audit();
    assert_eq!((&second["coverage"]["objects_read"], &second["coverage"]["bytes_read"]), (&0.into(), &0.into()));
}
