//! The S3 store against a real server, and through connections that are cut, stalled, throttled and answered short.
//!
//! In: Garage, and a TCP proxy before it. Out: the contract kept; bodies resumed by range, silence seen, deadlines held
//! with their cause named. Never: uses the program; that is what the other areas are for.

use crate::support::garage::{BUCKET, Garage, KEY, REGION, SECRET};
use crate::support::{free_port, require};
use futures::TryStreamExt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wal_r::error::{Class, Code, Error, Verdict};
use wal_r::storage::open::{self, Location, S3Endpoint, S3Settings, Secret, StoreSettings};
use wal_r::storage::retry::{Counters, RetryPolicy, Retrying};
use wal_r::storage::s3::S3Store;
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

fn settings(endpoint: &str) -> S3Settings {
    S3Settings {
        access_key: Some(KEY.into()),
        secret_key: Some(Secret::new(SECRET)),
        region: Some(REGION.into()),
        endpoint: Some(S3Endpoint::parse(endpoint).expect("an endpoint")),
        ..S3Settings::default()
    }
}

fn raw(endpoint: &str, prefix: &str) -> S3Store {
    S3Store::new(BUCKET, format!("{prefix}/"), settings(endpoint), Arc::default())
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
async fn through_proxy(garage: &Garage, name: &str, deadline: Option<Duration>) -> (Proxy, Retrying, Vec<u8>) {
    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at * 7 + at / 256) as u8).collect();
    let prefix = garage.prefix(name);
    let direct = raw(&garage.endpoint(), &prefix);
    direct.put(&"object".into(), content.clone().into(), When::Always).await.expect("an object");
    let proxy = Proxy::start(([127, 0, 0, 1], garage.port()).into()).await;
    let store = Retrying::new(Arc::new(raw(&proxy.url(), &prefix)), policy(deadline));
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
fn garage_keeps_the_contract() {
    let garage = require!(garage);
    let prefix = garage.prefix("contract");
    run(contract::check(&raw(&garage.endpoint(), &prefix)));
    run(contract::check_writing(&raw(&garage.endpoint(), &prefix)));
}

/// What is too large for one request the server copies in parts: the same bytes, the version that was meant, nothing left over.
#[test]
fn large_objects_are_copied_in_parts_by_the_server() {
    let garage = require!(garage);
    let prefix = format!("{}/", garage.prefix("parts"));
    let (largest, part) = (6 << 20, 5 << 20);
    let store = raw(&garage.endpoint(), &prefix).copying_in_parts(largest, part);
    run(async {
        let content: Vec<u8> = (0..(13u32 << 20) + 5).map(|at| (at / 4096 + at * 3) as u8).collect();
        store.put(&"from".into(), content.clone().into(), When::Absent).await.expect("an object of three parts");
        let (source, place) = (store.head(&"from".into()).await.expect("head"), store.place().expect("a place"));
        let copied = store.copy_from(&place, &source, &"to".into(), When::Absent).await.expect("a copy");
        let got = store.get(&"to".into(), ByteRange::ALL, None).await.expect("the copy");
        assert_eq!(got.object.etag, copied.etag);
        assert!(got.body.try_collect::<Vec<_>>().await.expect("its bytes").concat() == content);
        let again = store.copy_from(&place, &source, &"to".into(), When::Absent).await.expect_err("it is there");
        assert_eq!(again.kind, StoreErrorKind::Exists, "{again:?}");
        store.put(&"from".into(), content.into(), When::Always).await.expect("the same bytes");
        let other = store.put(&"from".into(), vec![1; 7 << 20].into(), When::Always).await.expect("another version");
        assert_ne!(other, source.etag);
        let changed =
            store.copy_from(&place, &source, &"other".into(), When::Absent).await.expect_err("an old version");
        assert_eq!(changed.kind, StoreErrorKind::Changed, "{changed:?}");
        assert!(store.head(&"other".into()).await.is_err());
    });
    let uploads = garage.blocking(|client| async move {
        client.list_multipart_uploads().bucket(BUCKET).prefix(&prefix).send().await.expect("a listing").uploads().len()
    });
    assert_eq!(uploads, 0, "an upload that was given up is left");
}

#[test]
fn bodies_are_resumed_by_range() {
    let garage = require!(garage);
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
            ("slow down", &[Spoil::Answer(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n")]),
        ];
        let resumed = plans.iter().map(async |(what, plan)| {
            let (proxy, store, content) = through_proxy(&garage, "resume", None).await;
            proxy.spoil(plan, Spoil::No);
            assert!(read(&store).await.unwrap_or_else(|error| panic!("{what}: {error:?}")) == content, "{what}");
            assert_eq!(store.counters().bytes(), content.len() as u64, "{what}: no byte twice");
            let faults = plan.iter().filter(|spoil| !matches!(spoil, Spoil::Delay(_))).count() as u64;
            assert_eq!(store.counters().retries(), faults, "{what}");
        });
        futures::future::join_all(resumed).await;
    });
}

/// 3 MB at 2 MB/s take longer than the deadline and are not cut off by it.
#[test]
fn a_slow_link_is_not_a_dead_one() {
    let garage = require!(garage);
    run(async {
        let (proxy, store, content) = through_proxy(&garage, "slow", Some(Duration::from_secs(1))).await;
        proxy.spoil(&[], Spoil::Throttle(2_000_000));
        let began = Instant::now();
        assert!(read(&store).await.expect("slow, not dead") == content);
        assert!(began.elapsed() > Duration::from_millis(1200), "{:?}", began.elapsed());
        assert_eq!(store.counters().retries(), 0);
    });
}

#[test]
fn the_deadline_holds_and_the_cause_is_named() {
    let garage = require!(garage);
    run(async {
        let answer = |text: &'static [u8]| Spoil::Answer(text);
        let plans: &[(Spoil, Code, &str)] = &[
            (Spoil::StallAfter(0), Code::StoreTimeout, "no answer for"),
            (Spoil::ResetAfter(0), Code::StoreUnreachable, "connection"),
            (Spoil::Refuse, Code::StoreUnreachable, "connection"),
            (Spoil::CloseAfter(60), Code::StoreUnreachable, "connection closed"),
            (answer(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"), Code::StoreThrottled, "503"),
            (answer(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"), Code::StoreFailed, "500"),
            (answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>"), Code::StoreFailed, "404"),
            (answer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"), Code::StoreFailed, "not S3"),
        ];
        let held = plans.iter().map(async |(spoil, code, cause)| {
            let deadline = Duration::from_secs(3);
            let (proxy, store, _) = through_proxy(&garage, "deadline", Some(deadline)).await;
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
    let garage = require!(garage);
    run(async {
        let retrying = |settings: S3Settings, bucket: &str| {
            let store = S3Store::new(bucket, "p/", settings, Arc::default());
            Retrying::new(Arc::new(store), RetryPolicy::within(Duration::from_secs(60)))
        };
        let good = || settings(&garage.endpoint());
        let cases = [
            (
                "wrong secret",
                S3Settings { secret_key: Some(Secret::new("wrong")), ..good() },
                BUCKET,
                Class::Credentials,
            ),
            ("unknown key", S3Settings { access_key: Some("GK00000000".into()), ..good() }, BUCKET, Class::Credentials),
            ("half a key", S3Settings { secret_key: None, ..good() }, BUCKET, Class::Config),
            ("another's bucket, or none", good(), "no-such-bucket", Class::Absent),
        ];
        for (what, settings, bucket, class) in cases {
            let store = retrying(settings, bucket);
            let began = Instant::now();
            let errors = [
                read(&store).await.expect_err(what),
                store.head(&"object".into()).await.expect_err(what),
                names(&store).await.expect_err(what),
            ];
            assert!(began.elapsed() < Duration::from_secs(10), "{what}: {:?}", began.elapsed());
            for error in errors {
                assert_ne!(error.kind, StoreErrorKind::NoSuchObject, "{what}: {error:?}");
                assert_eq!(Error::from(error).class(), class, "{what}");
            }
        }
    });
}

/// The region of the settings is wrong; the answer says which is right.
#[test]
fn garages_region_is_learnt() {
    let garage = require!(garage);
    let prefix = garage.prefix("region");
    garage.put(&format!("{prefix}/object"), b"content".to_vec());
    run(async {
        let settings = S3Settings { region: None, ..settings(&garage.endpoint()) };
        let store = S3Store::new(BUCKET, format!("{prefix}/"), settings, Arc::default());
        assert_eq!(read(&store).await.expect("a second try"), b"content");
        assert_eq!(names(&store).await.expect("a listing"), ["object"]);
    });
}

#[test]
fn a_replaced_object_is_never_pieced_together() {
    let garage = require!(garage);
    run(async {
        let (proxy, store, content) = through_proxy(&garage, "replaced", None).await;
        proxy.spoil(&[Spoil::StallAfter(500_000)], Spoil::No);
        let mut got = store.get(&"object".into(), ByteRange::ALL, None).await.expect("an answer");
        got.body.try_next().await.expect("a first piece").expect("a first piece");
        let url = store.url();
        let prefix = url.strip_prefix(&format!("s3://{BUCKET}/")).expect("below the bucket").trim_end_matches('/');
        let other: Vec<u8> = content.iter().rev().copied().collect();
        let direct = raw(&garage.endpoint(), prefix);
        direct.put(&"object".into(), other.into(), When::Always).await.expect("another version");
        let error = got.body.try_collect::<Vec<_>>().await.expect_err("half of each");
        assert_eq!(error.kind, StoreErrorKind::Changed, "{error:?}");
    });
}

/// What WAL-E made of double slashes: written and read collapsed, listed as they stood.
#[test]
fn odd_prefixes_are_resolved() {
    let garage = require!(garage);
    let prefix = garage.prefix("slashes");
    let wal = "wal_005/000000010000000000000001.lzo";
    garage.put(&format!("{prefix}/collapsed/db/{wal}"), b"x".to_vec());
    garage.put(&format!("{prefix}/literal//db/{wal}"), b"x".to_vec());
    let settings = StoreSettings { s3: settings(&garage.endpoint()), ..StoreSettings::default() };
    let root = format!("s3://{BUCKET}");
    let cases = [
        (format!("{root}/{prefix}/collapsed/db"), format!("{root}/{prefix}/collapsed/db/"), 0),
        (format!("{root}/{prefix}/collapsed//db"), format!("{root}/{prefix}/collapsed/db/"), 0),
        (format!("{root}//{prefix}/collapsed/db//"), format!("{root}/{prefix}/collapsed/db/"), 0),
        (format!("{root}/{prefix}/literal//db"), format!("{root}/{prefix}/literal//db/"), 1),
        (format!("{root}//{prefix}/literal//db"), format!("{root}/{prefix}/literal//db/"), 1),
        (format!("{root}/{prefix}/nothing//db"), format!("{root}/{prefix}/nothing/db/"), 0),
    ];
    run(async {
        for (text, want, passed_over) in cases {
            let location = Location::parse(&text).expect("a prefix");
            let resolved = open::resolve(&location, &settings).await.expect("the store answers");
            assert_eq!(resolved.location.to_string(), want, "{text}");
            assert_eq!(resolved.store.url(), want);
            if !text.contains("nothing") {
                assert_eq!(resolved.passed_over.len(), passed_over, "{text}");
                assert_eq!(names(&*resolved.store).await.expect("a listing"), [wal], "{text}");
            }
        }
    });
}

/// A prefix without odd slashes costs nothing to resolve; a fetch is one request.
#[test]
fn one_request_for_one_object() {
    let garage = require!(garage);
    let prefix = garage.prefix("requests");
    garage.put(&format!("{prefix}/object"), b"content".to_vec());
    let counters = Arc::new(Counters::default());
    let settings =
        StoreSettings { s3: settings(&garage.endpoint()), counters: counters.clone(), ..StoreSettings::default() };
    run(async {
        let location = Location::parse(&format!("s3://{BUCKET}/{prefix}")).expect("a prefix");
        let resolved = open::resolve(&location, &settings).await.expect("no question, no failure");
        assert_eq!(counters.requests(), 0);
        assert_eq!(read(&*resolved.store).await.expect("the object"), b"content");
        assert_eq!((counters.requests(), counters.retries(), counters.bytes()), (1, 0, 7));
    });
}

#[test]
fn a_server_that_is_gone_is_unreachable_and_comes_back() {
    let garage = require!(garage);
    run(async {
        let port = free_port();
        let gone = raw(&format!("http://127.0.0.1:{port}"), "p");
        let error = read(&Retrying::new(Arc::new(gone), policy(Some(Duration::from_secs(1))))).await;
        let error = Error::from(error.expect_err("nobody listens"));
        assert_eq!(error.code(), Code::StoreUnreachable, "{}", error.chain());
        assert!(error.chain().contains("connection refused"), "{}", error.chain());

        // It is back before the deadline, and nobody notices but the counters.
        let (proxy, store, content) = through_proxy(&garage, "back", Some(Duration::from_secs(30))).await;
        proxy.spoil(&[Spoil::Refuse; 8], Spoil::No);
        assert!(read(&store).await.expect("it came back") == content);
        assert!(store.counters().retries() >= 8);
    });
}
