use super::answers::{Refusal, url_decode};
use super::*;
use crate::storage::StoreErrorKind as Kind;
use crate::storage::open::{Addressing, S3Endpoint};
use crate::storage::remote::{content_range, name};
use crate::storage::retry::Retrying;
use crate::testing::contract;
use crate::testing::faulty::hasty;
use crate::testing::http::{Reply, Request, Server};
use crate::testing::s3::{BUCKET, FakeS3};
use futures::TryStreamExt;

pub(super) fn store(server: &Server, prefix: &str) -> S3Store {
    S3Store::new(BUCKET, prefix, FakeS3::settings(&server.url()), Arc::default())
}

async fn names(store: &dyn Store) -> Result<Vec<String>, StoreError> {
    let entries: Vec<Listed> = store.list("", Depth::All, None).try_collect().await?;
    Ok(entries.iter().map(|entry| name(entry).to_string()).collect())
}

async fn read(store: &dyn Store, range: ByteRange, version: Option<&str>) -> Result<Vec<u8>, StoreError> {
    let version = version.map(ETag::new);
    let got = store.get(&"key".into(), range, version.as_ref()).await?;
    Ok(got.body.try_collect::<Vec<_>>().await?.concat())
}

#[tokio::test]
async fn keeps_the_contract() {
    let fakes = [
        (FakeS3::default(), ""),
        (FakeS3::with_pages_of(7), "a b/+%/"),
        (FakeS3::with_pages_of(7).without_encoding(), "deep/prefix/"),
        (FakeS3::with_pages_of(500), "/lead//mid///"),
    ];
    for (fake, prefix) in fakes {
        if !prefix.is_empty() {
            fake.insert("beside", "x");
        }
        let server = Server::start(move |request, _| fake.answer(request)).await;
        contract::check(&store(&server, prefix)).await;
    }
}

#[tokio::test]
async fn requests_are_what_they_should_be() {
    let fake = FakeS3::with_pages_of(2);
    for key in ["p/a", "p/b", "p/c", "p/d", "p/e"] {
        fake.insert(key, "content");
    }
    let server = Server::start(move |request, _| fake.answer(request)).await;
    let counters = Arc::new(Counters::default());
    let raw = S3Store::new(BUCKET, "p/", FakeS3::settings(&server.url()), counters.clone());
    let store = Retrying::counting(Arc::new(raw), hasty(), counters.clone());
    let got = store.get(&"a".into(), ByteRange::ALL, None).await.unwrap();
    assert_eq!(got.body.try_collect::<Vec<_>>().await.unwrap().concat(), b"content");
    // One GET, nothing before it; counted as one.
    let line = |request: &Request| format!("{} {}", request.method, request.target.replace("?x-id=GetObject", ""));
    assert_eq!(server.requests().iter().map(line).collect::<Vec<_>>(), ["GET /bucket/p/a"]);
    assert_eq!(counters.requests(), 1);
    assert_eq!(server.requests()[0].header("range"), None);
    let etag = got.object.etag.unwrap();
    store.get(&"a".into(), ByteRange::new(2, 3), Some(&etag)).await.unwrap();
    let request = server.requests().pop().unwrap();
    assert_eq!((request.header("range"), request.header("if-match")), (Some("bytes=2-4"), Some(etag.as_str())));
    // Pages are requests too.
    let before = counters.requests();
    assert_eq!(names(&store).await.unwrap(), ["a", "b", "c", "d", "e"]);
    assert_eq!((counters.requests() - before, counters.retries()), (3, 0));
    assert_eq!(server.requests().len() as u64, counters.requests());
}

/// Every status there is, with every kind of body, to every kind of request: only S3's own word for it is an absence, and
/// nothing but a good answer is a success.
#[tokio::test]
async fn no_status_but_the_documented_is_an_absence() {
    let xml = |code: &str| Reply::s3_error(0, code).body;
    let listing = FakeS3::default().answer(&Request {
        method: "GET".into(),
        target: format!("/{BUCKET}?list-type=2"),
        headers: Vec::new(),
        body: Vec::new(),
    });
    let bodies: Vec<(&'static str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("html", b"<html><head><title>404 Not Found</title></head><body>nginx</body></html>".to_vec()),
        ("text", b"NoSuchKey".to_vec()),
        ("key", xml("NoSuchKey")),
        ("bucket", xml("NoSuchBucket")),
        ("denied", xml("AccessDenied")),
        ("cut", xml("NoSuchKey")[..60].to_vec()),
        ("listing", listing.body),
    ];
    let chosen: Arc<Mutex<Reply>> = Arc::new(Mutex::new(Reply::new(200, "")));
    let answer = chosen.clone();
    let server = Server::start(move |_, _| answer.lock().unwrap().clone()).await;
    let store = store(&server, "p/");
    let key = ObjectKey::from("key");
    let mut checked = 0;
    for status in 100..600 {
        for (body_name, body) in &bodies {
            // Every status, with every body where bodies matter; elsewhere two that would deceive.
            if !matches!(status, 200..=210 | 300..=310 | 400..=420 | 500..=510)
                && !matches!(*body_name, "key" | "listing")
            {
                continue;
            }
            *chosen.lock().unwrap() = Reply::new(status, body.clone());
            let get = store.get(&key, ByteRange::ALL, None).await.map(|_| ()).map_err(|error| error.kind);
            let part = store.get(&key, ByteRange::new(0, 1), None).await.map(|_| ()).map_err(|error| error.kind);
            let head = store.head(&key).await.map(|_| ()).map_err(|error| error.kind);
            let list = names(&store).await.map(|_| ()).map_err(|error| error.kind);
            let object = match (status, *body_name) {
                (404, "key") => Err(Kind::NoSuchObject),
                (404, "bucket") => Err(Kind::NoSuchPrefix),
                // No ETag, no S3: even 200 is no object.
                _ => Err(Kind::Failed),
            };
            let prefix = match (status, *body_name) {
                (200, "listing") => Ok(()),
                (404, "bucket") => Err(Kind::NoSuchPrefix),
                _ => Err(Kind::Failed),
            };
            let same = |found: Result<(), Kind>, want: Result<(), Kind>| match (found, want) {
                // Which kind of failure is the other tables' matter.
                (Err(found), Err(Kind::Failed)) => !matches!(found, Kind::NoSuchObject | Kind::NoSuchPrefix),
                (found, want) => found == want,
            };
            // A part that begins at byte 0 and does not exist is an object without bytes: S3 says so with 416.
            let empty = status == 416 && part.is_ok();
            assert!(same(get, object), "GET {status} {body_name}: {get:?}");
            assert!(same(part, object) || empty, "GET of a part {status} {body_name}: {part:?}");
            assert!(same(head, object), "HEAD {status} {body_name}: {head:?}");
            assert!(same(list, prefix), "LIST {status} {body_name}: {list:?}");
            checked += 1;
        }
    }
    assert_eq!(checked, 54 * 8 + 446 * 2);
}

#[test]
fn meanings() {
    let table = [
        (403, Some("AccessDenied"), Kind::Refused),
        (403, Some("SignatureDoesNotMatch"), Kind::Refused),
        (403, Some("InvalidAccessKeyId"), Kind::Refused),
        (403, Some("RequestTimeTooSkewed"), Kind::Refused),
        (403, Some("InvalidObjectState"), Kind::Archived),
        (403, None, Kind::Refused),
        (401, None, Kind::Refused),
        (407, None, Kind::Refused),
        (400, Some("ExpiredToken"), Kind::Expired),
        (403, Some("ExpiredToken"), Kind::Expired),
        (400, Some("InvalidToken"), Kind::Refused),
        (400, Some("AuthorizationHeaderMalformed"), Kind::Redirected),
        (400, Some("InvalidArgument"), Kind::Config),
        (400, Some("RequestTimeout"), Kind::Failed),
        (400, None, Kind::Failed),
        (301, Some("PermanentRedirect"), Kind::Redirected),
        (307, Some("TemporaryRedirect"), Kind::Redirected),
        (302, None, Kind::Redirected),
        (304, None, Kind::Failed),
        (404, Some("NoSuchKey"), Kind::NoSuchObject),
        (404, Some("NoSuchBucket"), Kind::NoSuchPrefix),
        (404, Some("NoSuchUpload"), Kind::Changed),
        (404, Some("NotFound"), Kind::Failed),
        (404, None, Kind::Failed),
        (410, Some("NoSuchKey"), Kind::Failed),
        (405, Some("MethodNotAllowed"), Kind::Failed),
        (408, None, Kind::Failed),
        (409, Some("OperationAborted"), Kind::Failed),
        (412, Some("PreconditionFailed"), Kind::Changed),
        (429, None, Kind::Throttled),
        (499, None, Kind::Failed),
        (500, Some("InternalError"), Kind::Failed),
        (500, Some("SlowDown"), Kind::Throttled),
        (502, None, Kind::Failed),
        (503, Some("SlowDown"), Kind::Throttled),
        (503, None, Kind::Throttled),
        (504, None, Kind::Failed),
        (509, None, Kind::Throttled),
    ];
    for (status, code, want) in table {
        let body = code.map(|code| Reply::s3_error(status, code).body).unwrap_or_default();
        let meaning = Refusal { status, body: &body, ..Refusal::default() }.meaning();
        assert_eq!(meaning.kind, want, "{status} {code:?}");
        assert!(meaning.what.contains(&status.to_string()), "{}", meaning.what);
        assert!(code.is_none_or(|code| meaning.what.contains(code)), "{}", meaning.what);
    }
}

#[test]
fn sentences() {
    let check = |refusal: Refusal<'_>, want: &str| assert_eq!(refusal.meaning().what, want);
    let skewed = Reply::s3_error(403, "RequestTimeTooSkewed").body;
    check(
        Refusal { status: 403, body: &skewed, date: Some("Sat, 21 Nov 2026 09:00:00 GMT"), ..Refusal::default() },
        "refused with 403 RequestTimeTooSkewed: about RequestTimeTooSkewed; the clock of this machine is wrong \
         (the store's says Sat, 21 Nov 2026 09:00:00 GMT)",
    );
    // Where the store says something else, the two clocks tell.
    let old = b"<Error><Code>InvalidRequest</Code><Message>Bad request: Date is too old</Message></Error>";
    let (date, now) = ("Sat, 21 Nov 2026 09:00:00 GMT", |text: &str| Some(text.parse().unwrap()));
    let refusal = |now| Refusal { status: 400, body: old, date: Some(date), now, ..Refusal::default() };
    for wrong in ["2026-11-20T08:00:00Z", "2026-11-21T08:54:59Z", "2026-11-21T09:05:01Z", "2027-01-01T00:00:00Z"] {
        let meaning = refusal(now(wrong)).meaning();
        assert_eq!(meaning.kind, Kind::Refused);
        assert_eq!(
            meaning.what,
            "refused with 400 InvalidRequest: Bad request: Date is too old; the clock of this machine is wrong (the \
             store's says Sat, 21 Nov 2026 09:00:00 GMT)"
        );
        let forged = Reply::s3_error(403, "SignatureDoesNotMatch").body;
        let meaning = Refusal { status: 403, body: &forged, ..refusal(now(wrong)) }.meaning();
        assert!(
            meaning.kind == Kind::Refused && meaning.what.contains("the clock of this machine"),
            "{}",
            meaning.what
        );
        let absent = Reply::s3_error(404, "NoSuchKey").body;
        let meaning = Refusal { status: 404, body: &absent, ..refusal(now(wrong)) }.meaning();
        assert!(meaning.kind == Kind::NoSuchObject && !meaning.what.contains("clock"), "{}", meaning.what);
    }
    for right in [None, now("2026-11-21T08:55:00Z"), now("2026-11-21T09:05:00Z")] {
        let meaning = refusal(right).meaning();
        assert_eq!(meaning.kind, Kind::Config);
        assert!(!meaning.what.contains("clock"), "{}", meaning.what);
    }
    assert!(!Refusal { date: Some("noon"), ..refusal(now("2027-01-01T00:00:00Z")) }.meaning().what.contains("clock"));
    check(Refusal { status: 403, ..Refusal::default() }, "refused with 403 and no explanation");
    check(
        Refusal { status: 502, body: b"<html>nginx</html>", ..Refusal::default() },
        "answered with 502 and a page that is not S3's",
    );
    let moved = Reply::s3_error(301, "PermanentRedirect").body;
    check(
        Refusal { status: 301, body: &moved, region: Some("eu-west-1"), ..Refusal::default() },
        "answered with 301 PermanentRedirect: about PermanentRedirect; the bucket is in region eu-west-1",
    );
    check(
        Refusal { status: 302, location: Some("http://portal.example/login"), ..Refusal::default() },
        "answered with 302 and no explanation; it points to http://portal.example/login",
    );
    let long = format!("<Error><Code>X</Code><Message>{}\n{}</Message></Error>", "a ".repeat(50), "b".repeat(400));
    let what = Refusal { status: 500, body: long.as_bytes(), ..Refusal::default() }.meaning().what;
    assert!(what.len() < 260 && !what.contains('\n'), "{what}");
}

#[tokio::test]
async fn the_region_is_learnt_from_the_answer() {
    let moved = Reply::s3_error(301, "PermanentRedirect").header("x-amz-bucket-region", "eu-west-1");
    let malformed = Reply::new(
        400,
        "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-west-1</Region></Error>",
    );
    for first in [moved, malformed] {
        let wrong = first.clone();
        let server = Server::start(move |request, _| {
            let signed = request.header("authorization").unwrap_or_default();
            if signed.contains("/eu-west-1/s3/") { Reply::object(request, b"hello", "\"e\"") } else { wrong.clone() }
        })
        .await;
        let store = store(&server, "");
        assert_eq!(read(&store, ByteRange::ALL, None).await.unwrap(), b"hello");
        assert_eq!(read(&store, ByteRange::ALL, None).await.unwrap(), b"hello");
        assert_eq!(server.requests().len(), 3, "learnt once");
    }
    // One that is never content is not asked for ever.
    let server = Server::start(|_, number| {
        Reply::s3_error(301, "PermanentRedirect").header("x-amz-bucket-region", format!("region-{number}"))
    })
    .await;
    let error = read(&store(&server, ""), ByteRange::ALL, None).await.unwrap_err();
    assert_eq!(error.kind, Kind::Redirected);
    assert!(error.what.contains("region-1") && server.requests().len() == 2, "{error:?}");
}

/// Answers to GET that are not what was asked for.
#[tokio::test]
async fn bodies_that_lie() {
    let content: Vec<u8> = (0..100_000u32).map(|at| (at * 7 + at / 256) as u8).collect();
    let whole = |_: &Request| Reply::new(200, (0..100_000u32).map(|at| (at * 7 + at / 256) as u8).collect::<Vec<u8>>());
    let part =
        |range: &str, len: usize| Reply::new(206, vec![1; len]).header("Content-Range", range).header("ETag", "\"e\"");
    type Answer = Box<dyn Fn(&Request) -> Reply + Send + Sync>;
    let all = ByteRange::ALL;
    let some = ByteRange::new(1000, 500);
    type Case = (&'static str, ByteRange, Option<&'static str>, Answer, Result<(usize, usize), Kind>);
    let table: Vec<Case> = vec![
        // A server that knows no ranges: what was asked for is cut out.
        ("200 to a range", some, None, Box::new(move |r| whole(r).header("ETag", "\"e\"")), Ok((1000, 1500))),
        (
            "200 to an open range",
            ByteRange::from(99_000),
            None,
            Box::new(move |r| whole(r).header("ETag", "\"e\"")),
            Ok((99_000, 100_000)),
        ),
        (
            "200 behind the end",
            ByteRange::from(200_000),
            None,
            Box::new(move |r| whole(r).header("ETag", "\"e\"")),
            Ok((0, 0)),
        ),
        ("no etag", all, None, Box::new(move |r| whole(r)), Err(Kind::Failed)),
        (
            "html",
            all,
            None,
            Box::new(|_| Reply::new(200, "<html></html>").header("Content-Type", "text/html")),
            Err(Kind::Failed),
        ),
        ("204", all, None, Box::new(|_| Reply::new(204, "").header("ETag", "\"e\"")), Err(Kind::Failed)),
        ("206 to the whole", all, None, Box::new(move |_| part("bytes 0-9/10", 10)), Err(Kind::Failed)),
        (
            "206, no range",
            some,
            None,
            Box::new(|_| Reply::new(206, vec![1; 500]).header("ETag", "\"e\"")),
            Err(Kind::Failed),
        ),
        ("other start", some, None, Box::new(move |_| part("bytes 999-1498/100000", 500)), Err(Kind::Failed)),
        ("other end", some, None, Box::new(move |_| part("bytes 1000-1498/100000", 499)), Err(Kind::Failed)),
        ("other length", some, None, Box::new(move |_| part("bytes 1000-1499/100000", 400)), Err(Kind::Failed)),
        ("size unknown", some, None, Box::new(move |_| part("bytes 1000-1499/*", 500)), Err(Kind::Failed)),
        ("nonsense", some, None, Box::new(move |_| part("bytes 1499-1000/7", 500)), Err(Kind::Failed)),
        (
            "cut by reset",
            all,
            None,
            Box::new(move |r| Reply { reset_after: Some(5000), ..whole(r).header("ETag", "\"e\"") }),
            Err(Kind::Unreachable),
        ),
        (
            "closed early",
            all,
            None,
            Box::new(move |r| Reply { length: Some(Some(200_000)), ..whole(r).header("ETag", "\"e\"") }),
            Err(Kind::Unreachable),
        ),
        (
            "no length",
            all,
            None,
            Box::new(move |r| Reply { length: Some(None), ..whole(r).header("ETag", "\"e\"") }),
            Err(Kind::Failed),
        ),
        (
            "no length, but a range",
            some,
            None,
            Box::new(move |_| Reply { length: Some(None), ..part("bytes 1000-1499/100000", 400) }),
            Err(Kind::Unreachable),
        ),
        (
            "no length, and too much",
            some,
            None,
            Box::new(move |_| Reply { length: Some(None), ..part("bytes 1000-1499/100000", 600) }),
            Err(Kind::Failed),
        ),
        (
            "if-match not heeded",
            some,
            Some("\"old\""),
            Box::new(move |_| part("bytes 1000-1499/100000", 500)),
            Err(Kind::Changed),
        ),
        ("412", some, Some("\"old\""), Box::new(|_| Reply::s3_error(412, "PreconditionFailed")), Err(Kind::Changed)),
        (
            "not http",
            all,
            None,
            Box::new(|_| Reply { raw: Some(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), ..Reply::new(0, "") }),
            Err(Kind::Failed),
        ),
        (
            "nothing",
            all,
            None,
            Box::new(|_| Reply { raw: Some(Vec::new()), ..Reply::new(0, "") }),
            Err(Kind::Unreachable),
        ),
    ];
    for (what, range, version, answer, want) in table {
        let server = Server::start(move |request, _| answer(request)).await;
        let found = read(&store(&server, ""), range, version).await;
        match want {
            Ok((start, end)) => assert!(found.unwrap() == content[start..end], "{what}"),
            Err(kind) => {
                let error = found.expect_err(what);
                assert_eq!(error.kind, kind, "{what}: {error:?}");
                assert_eq!(error.object, "s3://bucket/key", "{what}");
            }
        }
    }
}

/// Pages of a listing that are not what was asked for.
#[tokio::test]
async fn listings_that_lie() {
    let page = |more: &str, keys: &[&str]| {
        let entries: String = keys
            .iter()
            .map(|key| format!("<Contents><Key>{key}</Key><Size>1</Size><ETag>e</ETag></Contents>"))
            .collect();
        format!("<?xml version=\"1.0\"?><ListBucketResult>{more}{entries}</ListBucketResult>")
    };
    let last = "<IsTruncated>false</IsTruncated>";
    let more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";
    let two = move |first: String, second: String| {
        move |request: &Request| {
            if request.query("continuation-token").is_none() { first.clone() } else { second.clone() }
        }
    };
    type Answer = Box<dyn Fn(&Request) -> String + Send + Sync>;
    type Case = (&'static str, Answer, Result<&'static [&'static str], Kind>);
    let table: Vec<Case> = vec![
        ("two pages", Box::new(two(page(more, &["p/a", "p/b"]), page(last, &["p/c"]))), Ok(&["a", "b", "c"])),
        (
            "a key repeated at the border",
            Box::new(two(page(more, &["p/a", "p/b"]), page(last, &["p/b", "p/c"]))),
            Ok(&["a", "b", "c"]),
        ),
        ("an empty page between", Box::new(two(page(more, &[]), page(last, &["p/c"]))), Ok(&["c"])),
        ("keys in another order", Box::new(two(page(more, &["p/b", "p/a"]), page(last, &["p/c"]))), Err(Kind::Failed)),
        ("pages in another order", Box::new(two(page(more, &["p/x"]), page(last, &["p/c"]))), Err(Kind::Failed)),
        ("the same token again", Box::new(two(page(more, &["p/a"]), page(more, &["p/b"]))), Err(Kind::Failed)),
        ("more, but no token", Box::new(move |_| page("<IsTruncated>true</IsTruncated>", &["p/a"])), Err(Kind::Failed)),
        ("more or not is not said", Box::new(move |_| page("", &["p/a"])), Err(Kind::Failed)),
        ("a key that was not asked for", Box::new(move |_| page(last, &["q/a"])), Err(Kind::Failed)),
        ("cut short", Box::new(move |_| page(last, &["p/a", "p/b"])[..120].to_owned()), Err(Kind::Failed)),
        (
            "cut between entries",
            Box::new(move |_| page(last, &["p/a", "p/b"]).replace("</ListBucketResult>", "")),
            Err(Kind::Failed),
        ),
        (
            "an entry without a key",
            Box::new(move |_| page(last, &["p/a"]).replace("<Key>p/a</Key>", "")),
            Err(Kind::Failed),
        ),
        (
            "an error with 200",
            Box::new(|_| String::from_utf8(Reply::s3_error(200, "InternalError").body).unwrap()),
            Err(Kind::Failed),
        ),
        ("html", Box::new(|_| "<html><body>hotel wifi</body></html>".into()), Err(Kind::Failed)),
        ("nothing", Box::new(|_| String::new()), Err(Kind::Failed)),
    ];
    for (what, answer, want) in table {
        let server = Server::start(move |request, _| Reply::new(200, answer(request))).await;
        let found = names(&store(&server, "p/")).await;
        match (found, want) {
            (Ok(found), Ok(want)) => assert_eq!(found, want, "{what}"),
            (Err(error), Err(kind)) => assert_eq!(error.kind, kind, "{what}: {error:?}"),
            (found, want) => panic!("{what}: {found:?} instead of {want:?}"),
        }
    }
}

/// A page that fails is asked for again from behind the last entry that came.
#[tokio::test]
async fn a_page_that_fails_once_is_nobodys_loss() {
    let fake = FakeS3::with_pages_of(10);
    for number in 0..55 {
        fake.insert(&format!("p/{number:03}"), "x");
    }
    for fault in
        [Reply::s3_error(503, "SlowDown"), Reply::new(502, "<html>"), Reply { raw: Some(vec![]), ..Reply::new(0, "") }]
    {
        for page in 0..6 {
            let (fake, fault) = (fake.clone(), fault.clone());
            let answer =
                move |request: &Request, number| if number == page { fault.clone() } else { fake.answer(request) };
            let server = Server::start(answer).await;
            let store = Retrying::new(Arc::new(store(&server, "p/")), hasty());
            let want: Vec<String> = (0..55).map(|number| format!("{number:03}")).collect();
            assert_eq!(names(&store).await.unwrap(), want);
            assert_eq!(server.requests().len(), 7);
        }
    }
}

#[tokio::test]
async fn resumed_where_it_broke_over_http() {
    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at * 7 + at / 256) as u8).collect();
    let (bytes, etag) = (content.clone(), "\"e\"");
    let server = Server::start(move |request, number| {
        let reply = Reply::object(request, &bytes, etag);
        match number {
            0 => Reply { reset_after: Some(1_000_000), ..reply },
            1 => Reply { length: Some(Some(2_500_000)), body: vec![], ..reply },
            2 => Reply { stall_after: Some(500_000), ..reply },
            _ => reply,
        }
    })
    .await;
    let store = Retrying::new(Arc::new(store(&server, "")), hasty());
    assert!(read(&store, ByteRange::ALL, None).await.unwrap() == content);
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests[1..].iter().all(|request| request.header("if-match") == Some(etag)));
    let begins: Vec<u64> = requests[1..]
        .iter()
        .map(|request| request.header("range").unwrap()["bytes=".len()..].split('-').next().unwrap().parse().unwrap())
        .collect();
    assert!(begins[0] > 0 && begins[0] <= 1_000_000 && begins[2] > begins[0], "{begins:?}");
    assert_eq!(store.counters().bytes(), 3_000_000, "no byte twice");
}

#[tokio::test]
async fn causes_on_the_way_are_named() {
    let asked = async |settings: S3Settings| {
        let store = S3Store::new(BUCKET, "", settings, Arc::default());
        let error = read(&store, ByteRange::ALL, None).await.unwrap_err();
        assert_eq!(names(&store).await.unwrap_err().kind, error.kind);
        (error.kind, error.what)
    };
    let at = |url: &str| FakeS3::settings(url);
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    assert_eq!(asked(at(&closed)).await, (Kind::Unreachable, "GET: connection refused".into()));
    // No resolver is asked for a label this long.
    let nowhere = format!("http://{}.invalid", "n".repeat(64));
    assert_eq!(asked(at(&nowhere)).await, (Kind::Dns, "GET: the name of the store cannot be resolved".into()));

    // Plain HTTP behind https, as from a wrong port.
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", plain.local_addr().unwrap());
    let answers = tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    // Only the system's certificates would be looked at besides, and there need not be any.
    assert_eq!(asked(at(&url)).await, (Kind::Tls, "GET: what answers does not speak TLS".into()));
    answers.abort();

    let half = S3Settings { secret_key: None, ..at(&closed) };
    assert_eq!(asked(half).await.0, Kind::Config);
    let ca = |path: &str| S3Settings { ca_file: Some(path.into()), ..at(&closed) };
    assert_eq!(asked(ca("/no/such/file")).await.0, Kind::Config);
    let file = tempfile::NamedTempFile::new().unwrap();
    for junk in ["", "junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(file.path(), junk).unwrap();
        let (kind, what) = asked(ca(file.path().to_str().unwrap())).await;
        assert!(kind == Kind::Config && what.contains("certificates of"), "{junk:?}: {kind:?} {what}");
    }
}

#[tokio::test]
async fn addressing() {
    let server = Server::start(|request, _| Reply::object(request, b"x", "\"e\"")).await;
    let port = server.url().rsplit_once(':').unwrap().1.to_owned();
    let at = |bucket: &str, addressing, path_style| {
        let endpoint = Some(S3Endpoint { url: format!("http://localhost:{port}"), addressing });
        let settings = S3Settings { endpoint, path_style, ..FakeS3::settings("") };
        S3Store::new(bucket, "p/", settings, Arc::default())
    };
    let table = [
        ("with.dots", None, None, format!("localhost:{port} /with.dots/p/key")),
        ("with.dots", Some(Addressing::Path), None, format!("localhost:{port} /with.dots/p/key")),
        ("UPPER_case", None, None, format!("localhost:{port} /UPPER_case/p/key")),
        // WAL-E's: the bucket is the host.
        ("localhost", Some(Addressing::BucketHost), None, format!("localhost:{port} /p/key")),
        // Said twice, differently: the plainer setting wins.
        ("bucket", Some(Addressing::Subdomain), Some(true), format!("localhost:{port} /bucket/p/key")),
    ];
    for (bucket, addressing, path_style, want) in table {
        read(&at(bucket, addressing, path_style), ByteRange::ALL, None).await.unwrap();
        let request = server.requests().pop().unwrap();
        let target = request.target.replace("?x-id=GetObject", "");
        assert_eq!(format!("{} {target}", request.header("host").unwrap()), want, "{bucket} {addressing:?}");
    }
    // `BUCKET.localhost` need not resolve here; that it is what is asked for shows in either outcome.
    let _ = read(&at("bucket", Some(Addressing::Subdomain), None), ByteRange::ALL, None).await;
    if server.requests().len() > table_len() {
        let request = server.requests().pop().unwrap();
        assert_eq!(request.header("host"), Some(format!("bucket.localhost:{port}").as_str()));
    }
}

fn table_len() -> usize {
    5
}

#[tokio::test]
async fn settings_reach_the_wire() {
    let server = Server::start(|request, _| Reply::object(request, b"x", "\"e\"")).await;
    let settings = S3Settings {
        session_token: Some(crate::storage::open::Secret::new("the-token")),
        requester_pays: true,
        region: Some("eu-central-1".into()),
        ..FakeS3::settings(&server.url())
    };
    read(&S3Store::new(BUCKET, "", settings, Arc::default()), ByteRange::ALL, None).await.unwrap();
    let request = server.requests().pop().unwrap();
    assert_eq!(request.header("x-amz-security-token"), Some("the-token"));
    assert_eq!(request.header("x-amz-request-payer"), Some("requester"));
    assert!(request.header("authorization").unwrap().contains("AKIDEXAMPLE/"));
    assert!(request.header("authorization").unwrap().contains("/eu-central-1/s3/"));

    let settings =
        S3Settings { anonymous: true, access_key: None, secret_key: None, ..FakeS3::settings(&server.url()) };
    read(&S3Store::new(BUCKET, "", settings, Arc::default()), ByteRange::ALL, None).await.unwrap();
    assert_eq!(server.requests().pop().unwrap().header("authorization"), None);
}

#[test]
fn ranges() {
    let table = [
        ("bytes 0-99/1234", Some((0, 99, 1234))),
        ("bytes 0-0/1", Some((0, 0, 1))),
        (" bytes  5-6/7 ", Some((5, 6, 7))),
        ("bytes */1234", None),
        ("bytes 0-99/*", None),
        ("bytes 99-0/100", None),
        ("bytes 0-100/100", None),
        ("0-99/100", None),
        ("bytes 0-99", None),
        ("bytes -1-99/100", None),
        ("bytes 0-18446744073709551615/18446744073709551615", None),
        ("bytes 0-99999999999999999999/100", None),
        ("", None),
    ];
    for (text, want) in table {
        assert_eq!(content_range(text), want, "{text:?}");
    }
}

#[test]
fn keys_in_listings() {
    let table = [
        ("plain/key.lzo", "plain/key.lzo"),
        ("a%20b+c%2Bd", "a b c+d"),
        ("%C3%A4%e2%82%ac", "\u{e4}\u{20ac}"),
        ("100%", "100%"),
        ("%4", "%4"),
        ("%zz%41", "%zzA"),
        ("%FF", "\u{fffd}"),
        ("", ""),
    ];
    for (text, want) in table {
        assert_eq!(url_decode(text), want, "{text:?}");
    }
}

/// A server with a certificate of testdata/tls: trusted with its CA, and refused by name without it or for another host.
#[tokio::test]
async fn certificates() {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let file = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls").join(name);
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"e\"\r\nContent-Length: 5\r\n\r\nhello")
                .await;
            let _ = stream.shutdown().await;
        }
    });
    let asked = async |host: &str, ca: Option<&str>| {
        let settings = S3Settings { ca_file: ca.map(file), ..FakeS3::settings(&format!("https://{host}:{port}")) };
        read(&S3Store::new(BUCKET, "", settings, Arc::default()), ByteRange::ALL, None).await
    };
    assert_eq!(asked("localhost", Some("ca.pem")).await.unwrap(), b"hello");
    let refused = |error: StoreError| (error.kind, error.what);
    assert_eq!(
        refused(asked("localhost", None).await.unwrap_err()),
        (Kind::Tls, "GET: the certificate's issuer is not trusted here".into())
    );
    assert_eq!(
        refused(asked("127.0.0.1", Some("ca.pem")).await.unwrap_err()),
        (Kind::Tls, "GET: the certificate is for localhost, not for 127.0.0.1".into())
    );
    server.abort();
}
