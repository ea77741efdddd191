use super::*;
use crate::storage::StoreErrorKind as Kind;
use crate::storage::open::Secret;
use crate::storage::remote::name;
use crate::storage::retry::Retrying;
use crate::storage::{StoreWrite, When};
use crate::testing::azure::{ACCOUNT, CONTAINER, FakeAzure, blob, refusal};
use crate::testing::contract;
use crate::testing::faulty::hasty;
use crate::testing::http::{Reply, Request, Server};

fn store(server: &Server, prefix: &str) -> AzureStore {
    AzureStore::new(CONTAINER, prefix, FakeAzure::settings(&server.url()), Arc::default())
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
    for (page, prefix) in [(0, ""), (7, "a b/+%/"), (500, "/lead//mid///")] {
        let fake = FakeAzure::with_pages_of(page);
        if !prefix.is_empty() {
            fake.insert("beside", "x");
        }
        let server = Server::start(move |request, _| fake.answer(request)).await;
        contract::check_without_backslashes(&store(&server, prefix)).await;
    }
}

#[tokio::test]
async fn requests_are_what_they_should_be() {
    let fake = FakeAzure::with_pages_of(2);
    for key in ["p/a", "p/b", "p/c", "p/d", "p/e"] {
        fake.insert(key, "content");
    }
    let server = Server::start(move |request, _| fake.answer(request)).await;
    let counters = Arc::new(Counters::default());
    let raw = AzureStore::new(CONTAINER, "p/", FakeAzure::settings(&server.url()), counters.clone());
    let store = Retrying::counting(Arc::new(raw), hasty(), counters.clone());
    let got = store.get(&"a".into(), ByteRange::ALL, None).await.unwrap();
    assert_eq!(got.body.try_collect::<Vec<_>>().await.unwrap().concat(), b"content");
    // One GET, nothing before it; counted as one.
    let line = |request: &Request| format!("{} {}", request.method, request.target);
    assert_eq!(server.requests().iter().map(line).collect::<Vec<_>>(), ["GET /account/container/p%2Fa"]);
    assert_eq!(counters.requests(), 1);
    let first = server.requests().remove(0);
    assert_eq!((first.header("range"), first.header("accept-encoding")), (None, None));
    assert!(first.header("authorization").unwrap().starts_with("SharedKey account:"));
    assert_eq!(first.header("x-ms-version"), Some("2021-12-02"));

    let part = store.get(&"a".into(), ByteRange::new(1, 3), got.object.etag.as_ref()).await.unwrap();
    assert_eq!(part.body.try_collect::<Vec<_>>().await.unwrap().concat(), b"ont");
    let second = server.requests().remove(1);
    assert_eq!((second.header("range"), second.header("if-match")), (Some("bytes=1-3"), Some("\"0x1\"")));

    assert_eq!(names(&store).await.unwrap(), ["a", "b", "c", "d", "e"]);
    assert_eq!(counters.requests(), 5, "three pages");
}

/// A shared access signature goes behind every URL, and is in nothing that can be printed.
#[tokio::test]
async fn signatures_reach_the_wire_and_nothing_else() {
    let server = Server::start(|_, _| refusal(403, "AuthenticationFailed")).await;
    let auth = AzureAuth::Sas(Secret::new("sv=2021-12-02&sp=rl&sig=CANARY%3D"));
    let settings = AzureSettings { auth, ..FakeAzure::settings(&server.url()) };
    let store = AzureStore::new(CONTAINER, "", settings.clone(), Arc::default());
    let errors = [
        read(&store, ByteRange::ALL, None).await.unwrap_err(),
        store.head(&"key".into()).await.unwrap_err(),
        names(&store).await.unwrap_err(),
        store.put(&"key".into(), "x".into(), When::Absent).await.unwrap_err(),
    ];
    assert!(errors.iter().all(|error| error.kind == Kind::Refused), "{errors:?}");
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| request.query("sig") == Some("CANARY%3D")), "{requests:?}");
    assert!(requests.iter().all(|request| request.header("authorization").is_none()));
    drop(server);
    // And nobody there.
    let gone = read(&store, ByteRange::ALL, None).await.unwrap_err();
    for shown in errors.iter().chain([&gone]).map(|error| format!("{error:?} {error}")) {
        assert!(!shown.contains("CANARY"), "{shown}");
    }
    assert!(!format!("{store:?} {settings:?}").contains("CANARY"));
}

/// Every status with every kind of body: only what Azure itself says in its own words is an absence, and nothing but a good
/// answer is a success.
#[tokio::test]
async fn no_status_but_the_documented_is_an_absence() {
    let xml = |code: &str| refusal(0, code).body;
    let listing = FakeAzure::default().answer(&Request {
        method: "GET".into(),
        target: format!("/{ACCOUNT}/{CONTAINER}?restype=container&comp=list"),
        headers: Vec::new(),
        body: Vec::new(),
    });
    // A body, and the header that says why to who asks by HEAD.
    let bodies: Vec<(&'static str, Vec<u8>, Option<&str>)> = vec![
        ("empty", Vec::new(), None),
        ("html", b"<html><head><title>404 Not Found</title></head><body>nginx</body></html>".to_vec(), None),
        ("text", b"BlobNotFound".to_vec(), None),
        ("blob", xml("BlobNotFound"), Some("BlobNotFound")),
        ("container", xml("ContainerNotFound"), Some("ContainerNotFound")),
        ("resource", xml("ResourceNotFound"), Some("ResourceNotFound")),
        ("s3", xml("NoSuchKey"), Some("NoSuchKey")),
        ("cut", xml("BlobNotFound")[..60].to_vec(), None),
        ("listing", listing.body, None),
    ];
    let chosen: Arc<Mutex<Reply>> = Arc::new(Mutex::new(Reply::new(200, "")));
    let answer = chosen.clone();
    let server = Server::start(move |_, _| answer.lock().unwrap().clone()).await;
    let store = store(&server, "p/");
    let key = ObjectKey::from("key");
    let mut checked = 0;
    for status in 100..600 {
        for (body_name, body, code) in &bodies {
            // Every status, with every body where bodies matter; elsewhere two that would deceive.
            if !matches!(status, 200..=206 | 300..=308 | 400..=416 | 500..=504)
                && !matches!(*body_name, "blob" | "listing")
            {
                continue;
            }
            let mut reply = Reply::new(status, body.clone());
            if let Some(code) = code {
                reply = reply.header("x-ms-error-code", *code);
            }
            *chosen.lock().unwrap() = reply;
            let get = store.get(&key, ByteRange::ALL, None).await.map(|_| ()).map_err(|error| error.kind);
            let part = store.get(&key, ByteRange::new(0, 1), None).await.map(|_| ()).map_err(|error| error.kind);
            let head = store.head(&key).await.map(|_| ()).map_err(|error| error.kind);
            let list = names(&store).await.map(|_| ()).map_err(|error| error.kind);
            let object = match (status, *body_name) {
                (404, "blob") => Err(Kind::NoSuchObject),
                (404, "container") => Err(Kind::NoSuchPrefix),
                // No ETag and no type of blob, no Azure: even 200 is no object.
                _ => Err(Kind::Failed),
            };
            let prefix = match (status, *body_name) {
                (200, "listing") => Ok(()),
                (404, "container") => Err(Kind::NoSuchPrefix),
                _ => Err(Kind::Failed),
            };
            let same = |found: Result<(), Kind>, want: Result<(), Kind>| match (found, want) {
                // Which kind of failure is the other tables' matter.
                (Err(found), Err(Kind::Failed)) => !matches!(found, Kind::NoSuchObject | Kind::NoSuchPrefix),
                (found, want) => found == want,
            };
            assert!(same(get, object), "GET {status} {body_name}: {get:?}");
            assert!(same(part, object), "GET of a part {status} {body_name}: {part:?}");
            assert!(same(head, object), "HEAD {status} {body_name}: {head:?}");
            assert!(same(list, prefix), "LIST {status} {body_name}: {list:?}");
            checked += 1;
        }
    }
    assert_eq!(checked, 38 * 9 + 462 * 2);
}

#[test]
fn meanings() {
    let table: &[(u16, &str, Kind)] = &[
        (404, "BlobNotFound", Kind::NoSuchObject),
        (404, "ContainerNotFound", Kind::NoSuchPrefix),
        (404, "ResourceNotFound", Kind::Refused),
        (403, "BlobNotFound", Kind::Refused),
        (500, "BlobNotFound", Kind::Failed),
        (404, "", Kind::Failed),
        (404, "Oddity", Kind::Failed),
        (403, "AuthenticationFailed", Kind::Refused),
        (403, "AuthorizationPermissionMismatch", Kind::Refused),
        (403, "", Kind::Refused),
        (401, "NoAuthenticationInformation", Kind::Refused),
        (401, "InvalidAuthenticationInfo", Kind::Expired),
        (400, "InvalidAuthenticationInfo", Kind::Refused),
        (409, "PublicAccessNotPermitted", Kind::Refused),
        (409, "BlobArchived", Kind::Archived),
        (409, "BlobBeingRehydrated", Kind::Archived),
        (409, "BlobAlreadyExists", Kind::Exists),
        (409, "ContainerBeingDeleted", Kind::Failed),
        (412, "ConditionNotMet", Kind::Changed),
        (400, "InvalidResourceName", Kind::Config),
        (400, "InvalidHeaderValue", Kind::Config),
        (400, "Md5Mismatch", Kind::Failed),
        (400, "", Kind::Failed),
        (301, "", Kind::Redirected),
        (304, "", Kind::Failed),
        (407, "", Kind::Refused),
        (408, "", Kind::Failed),
        (429, "TooManyRequests", Kind::Throttled),
        (500, "InternalError", Kind::Failed),
        (500, "OperationTimedOut", Kind::Failed),
        (503, "ServerBusy", Kind::Throttled),
        (503, "", Kind::Throttled),
    ];
    for &(status, code, want) in table {
        let body = if code.is_empty() { Vec::new() } else { refusal(status, code).body };
        let refusal = Refusal { status, body: &body, ..Refusal::default() };
        assert_eq!(refusal.meaning().0, want, "{status} {code}");
        // The header counts where there can be no body, and nowhere else.
        let header = Some(code).filter(|code| !code.is_empty());
        let head = Refusal { status, bodiless: true, code: header, ..Refusal::default() };
        assert_eq!(head.meaning().0, want, "HEAD {status} {code}");
        let bare = Refusal { status, code: header, ..Refusal::default() };
        assert!(!matches!(bare.meaning().0, Kind::NoSuchObject | Kind::NoSuchPrefix), "{status} {code}");
    }
}

#[test]
fn sentences() {
    let said = |status: u16, body: &[u8]| {
        let date = Some("Sat, 21 Nov 2026 09:00:00 GMT");
        Refusal { status, body, date, location: Some("https://x/login?sig=CANARY"), ..Refusal::default() }.meaning()
    };
    let failed = |detail: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>AuthenticationFailed</Code><Message>Server failed to \
             authenticate the request.\nRequestId:1\nTime:2</Message><AuthenticationErrorDetail>{detail}\
             </AuthenticationErrorDetail></Error>"
        )
    };
    let table = [
        (404, refusal(404, "BlobNotFound").body, "answered with 404 BlobNotFound: about BlobNotFound"),
        (404, b"<html>".to_vec(), "answered with 404 and a page that is not Azure's"),
        (403, vec![], "refused with 403 and no explanation"),
        (502, b"bad".to_vec(), "answered with 502 and a text that is not Azure's"),
        (302, vec![], "answered with 302 and no explanation; it points to https://x/login"),
        (
            403,
            failed("The MAC signature found in the HTTP request 'CANARY' is not the same as any computed signature. Server used following string to sign: 'GET...").into_bytes(),
            "refused with 403 AuthenticationFailed: Server failed to authenticate the request.",
        ),
        (
            403,
            failed("Signature not valid in the specified time frame").into_bytes(),
            "refused with 403 AuthenticationFailed: Signature not valid in the specified time frame",
        ),
        (
            403,
            failed("The Date header in the request is incorrect.").into_bytes(),
            "refused with 403 AuthenticationFailed: The Date header in the request is incorrect.; the clock of this \
             machine is wrong (the store's says Sat, 21 Nov 2026 09:00:00 GMT)",
        ),
    ];
    for (status, body, want) in table {
        assert_eq!(said(status, &body).1, want);
    }
    assert_eq!(said(403, failed("Signature not valid in the specified time frame").as_bytes()).0, Kind::Expired);
}

/// Answers to GET that are not what was asked for.
#[tokio::test]
async fn bodies_that_lie() {
    fn content() -> Vec<u8> {
        (0..100_000u32).map(|at| (at * 7 + at / 256) as u8).collect()
    }
    fn good(reply: Reply) -> Reply {
        reply.header("ETag", "\"e\"").header("x-ms-blob-type", "BlockBlob")
    }
    fn whole() -> Reply {
        good(Reply::new(200, content()))
    }
    fn part(range: &str, len: usize) -> Reply {
        good(Reply::new(206, vec![1; len]).header("Content-Range", range))
    }
    let (all, some) = (ByteRange::ALL, ByteRange::new(1000, 500));
    let raw = |bytes: &[u8]| Reply { raw: Some(bytes.to_vec()), ..Reply::new(0, "") };
    type Case = (&'static str, ByteRange, Option<&'static str>, Reply, Result<(usize, usize), Kind>);
    let table: Vec<Case> = vec![
        ("200 to a range", some, None, whole(), Ok((1000, 1500))),
        ("200 to an open range", ByteRange::from(99_000), None, whole(), Ok((99_000, 100_000))),
        ("200 behind the end", ByteRange::from(200_000), None, whole(), Ok((0, 0))),
        // WAL-E 0.7 to 0.9 wrote this, and nothing is to be decoded by it.
        ("an odd encoding", all, None, whole().header("Content-Encoding", "text/plain"), Ok((0, 100_000))),
        ("a wrong encoding", all, None, whole().header("Content-Encoding", "gzip"), Ok((0, 100_000))),
        ("no etag", all, None, Reply::new(200, content()).header("x-ms-blob-type", "BlockBlob"), Err(Kind::Failed)),
        ("a file of a web server", all, None, Reply::new(200, content()).header("ETag", "\"e\""), Err(Kind::Failed)),
        ("html", all, None, Reply::new(200, "<html></html>").header("Content-Type", "text/html"), Err(Kind::Failed)),
        ("204", all, None, good(Reply::new(204, "")), Err(Kind::Failed)),
        ("206 to the whole", all, None, part("bytes 0-9/10", 10), Err(Kind::Failed)),
        ("206, no range", some, None, good(Reply::new(206, vec![1; 500])), Err(Kind::Failed)),
        ("other start", some, None, part("bytes 999-1498/100000", 500), Err(Kind::Failed)),
        ("other end", some, None, part("bytes 1000-1498/100000", 499), Err(Kind::Failed)),
        ("other length", some, None, part("bytes 1000-1499/100000", 400), Err(Kind::Failed)),
        ("nothing at the end", ByteRange::from(100_000), None, part("bytes 100000-99999/100000", 0), Ok((0, 0))),
        ("nothing before the end", some, None, part("bytes 100000-99999/100000", 0), Err(Kind::Failed)),
        ("nothing, with bytes", ByteRange::from(7), None, part("bytes 7-6/7", 3), Err(Kind::Failed)),
        ("size unknown", some, None, part("bytes 1000-1499/*", 500), Err(Kind::Failed)),
        ("cut by reset", all, None, Reply { reset_after: Some(5000), ..whole() }, Err(Kind::Unreachable)),
        ("closed early", all, None, Reply { length: Some(Some(200_000)), ..whole() }, Err(Kind::Unreachable)),
        ("no length", all, None, Reply { length: Some(None), ..whole() }, Err(Kind::Failed)),
        (
            "no length, but a range",
            some,
            None,
            Reply { length: Some(None), ..part("bytes 1000-1499/100000", 400) },
            Err(Kind::Unreachable),
        ),
        (
            "no length, and too much",
            some,
            None,
            Reply { length: Some(None), ..part("bytes 1000-1499/100000", 600) },
            Err(Kind::Failed),
        ),
        ("if-match not heeded", some, Some("\"old\""), part("bytes 1000-1499/100000", 500), Err(Kind::Changed)),
        ("412", some, Some("\"old\""), refusal(412, "ConditionNotMet"), Err(Kind::Changed)),
        ("not http", all, None, raw(b"SSH-2.0-OpenSSH_9.2\r\n"), Err(Kind::Failed)),
        ("nothing", all, None, raw(b""), Err(Kind::Unreachable)),
    ];
    for (what, range, version, reply, want) in table {
        let server = Server::start(move |_, _| reply.clone()).await;
        let found = read(&store(&server, ""), range, version).await;
        match want {
            Ok((start, end)) => assert!(found.unwrap() == content()[start..end], "{what}"),
            Err(kind) => {
                let error = found.expect_err(what);
                assert_eq!(error.kind, kind, "{what}: {error:?}");
                assert_eq!(error.object, "azure://container/key", "{what}");
            }
        }
    }
}

/// Pages of a listing that are not what was asked for.
#[tokio::test]
async fn listings_that_lie() {
    let page = |next: &str, keys: &[&str]| {
        let blob = |key: &&str| {
            format!("<Blob><Name>{key}</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>")
        };
        let blobs: String = keys.iter().map(blob).collect();
        format!("<?xml version=\"1.0\"?><EnumerationResults><Blobs>{blobs}</Blobs>{next}</EnumerationResults>")
    };
    let (last, more) = ("<NextMarker />", "<NextMarker>t</NextMarker>");
    let one = |page: String| (page.clone(), page);
    let directory = "<Name>p/b</Name><Properties><ResourceType>directory</ResourceType>";
    type Case = (&'static str, (String, String), Result<&'static [&'static str], Kind>);
    let table: Vec<Case> = vec![
        ("two pages", (page(more, &["p/a", "p/b"]), page(last, &["p/c"])), Ok(&["a", "b", "c"])),
        ("a name at two pages", (page(more, &["p/a", "p/b"]), page(last, &["p/b", "p/c"])), Ok(&["a", "b", "c"])),
        ("an empty page between", (page(more, &[]), page(last, &["p/c"])), Ok(&["c"])),
        ("names in another order", (page(more, &["p/b", "p/a"]), page(last, &["p/c"])), Err(Kind::Failed)),
        ("pages in another order", (page(more, &["p/x"]), page(last, &["p/c"])), Err(Kind::Failed)),
        ("the same marker again", (page(more, &["p/a"]), page(more, &["p/b"])), Err(Kind::Failed)),
        ("more or not is not said", one(page("", &["p/a"])), Err(Kind::Failed)),
        ("a name that was not asked for", one(page(last, &["q/a"])), Err(Kind::Failed)),
        ("cut short", one(page(last, &["p/a", "p/b"])[..120].to_owned()), Err(Kind::Failed)),
        ("cut at its end", one(page(last, &["p/a", "p/b"]).replace("</EnumerationResults>", "")), Err(Kind::Failed)),
        ("an entry without a name", one(page(last, &["p/a"]).replace("<Name>p/a</Name>", "")), Err(Kind::Failed)),
        ("without a size", one(page(last, &["p/a"]).replace("Content-Length", "Length")), Err(Kind::Failed)),
        ("an error with 200", one(String::from_utf8(refusal(200, "InternalError").body).unwrap()), Err(Kind::Failed)),
        ("html", one("<html><body>hotel wifi</body></html>".into()), Err(Kind::Failed)),
        ("nothing", one(String::new()), Err(Kind::Failed)),
        // Hierarchical accounts list directories as blobs without bytes.
        (
            "a directory",
            one(page(last, &["p/a", "p/b"]).replace("<Name>p/b</Name><Properties>", directory)),
            Ok(&["a"]),
        ),
        (
            "odd names",
            one(page(last, &["p/ a ", "p/a&amp;&#x26;&#65;&lt;", "p/b%41"])
                .replace("<Name>p/b%41", "<Name Encoded=\"true\">p%2Fb%EF%BF%BE+")),
            Ok(&[" a ", "a&&A<", "b\u{fffe}+"]),
        ),
    ];
    for (what, (first, second), want) in table {
        let answer = move |request: &Request, _| {
            Reply::new(200, if request.query("marker").is_none() { first.clone() } else { second.clone() })
        };
        let server = Server::start(answer).await;
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
    let fake = FakeAzure::with_pages_of(10);
    for number in 0..55 {
        fake.insert(&format!("p/{number:03}"), "x");
    }
    let want: Vec<String> = (0..55).map(|number| format!("{number:03}")).collect();
    let nothing = Reply { raw: Some(vec![]), ..Reply::new(0, "") };
    for fault in [refusal(503, "ServerBusy"), Reply::new(502, "<html>"), nothing] {
        for page in 0..6 {
            let (fake, fault) = (fake.clone(), fault.clone());
            let answer =
                move |request: &Request, number| if number == page { fault.clone() } else { fake.answer(request) };
            let server = Server::start(answer).await;
            let store = Retrying::new(Arc::new(store(&server, "p/")), hasty());
            assert_eq!(names(&store).await.unwrap(), want);
        }
    }
}

#[tokio::test]
async fn resumed_where_it_broke_over_http() {
    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at * 7 + at / 256) as u8).collect();
    let (bytes, etag) = (content.clone(), "\"e\"");
    let server = Server::start(move |request, number| {
        let reply = blob(request, &bytes, etag);
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
    assert_eq!(store.counters().bytes(), 3_000_000, "no byte twice");
}

/// An answer to a put is Azure's, or none.
#[tokio::test]
async fn puts_that_lie() {
    let table = [
        ("a portal's page", Reply::new(200, "<html>"), Kind::Failed),
        ("exists", refusal(409, "BlobAlreadyExists"), Kind::Exists),
        ("exists, by the condition", refusal(412, "ConditionNotMet"), Kind::Exists),
        ("no container", refusal(404, "ContainerNotFound"), Kind::NoSuchPrefix),
        ("busy", refusal(503, "ServerBusy"), Kind::Throttled),
    ];
    for (what, reply, kind) in table {
        let server = Server::start(move |_, _| reply.clone()).await;
        let error = store(&server, "").put(&"key".into(), "x".into(), When::Absent).await.expect_err(what);
        assert_eq!(error.kind, kind, "{what}: {error:?}");
        // Tried once: the SDK's retries are off.
        assert_eq!(server.requests().len(), 1, "{what}");
        assert_eq!(server.requests()[0].header("if-none-match"), Some("*"), "{what}");
    }
}

#[tokio::test]
async fn causes_on_the_way_are_named() {
    let asked = async |settings: AzureSettings| {
        let store = AzureStore::new(CONTAINER, "", settings, Arc::default());
        let error = read(&store, ByteRange::ALL, None).await.unwrap_err();
        assert_eq!(names(&store).await.unwrap_err().kind, error.kind);
        (error.kind, error.what)
    };
    let at = |url: &str| FakeAzure::settings(url);
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
    assert_eq!(asked(at(&url)).await, (Kind::Tls, "GET: what answers does not speak TLS".into()));
    answers.abort();

    let nobody = AzureSettings { account: None, endpoint: None, ..at(&closed) };
    assert_eq!(asked(nobody).await.0, Kind::Config);
    // Names that no blob can have.
    let store = AzureStore::new(CONTAINER, "", at(&closed), Arc::default());
    for key in ["", ".", "..", "a\\b"] {
        let error = store.get(&key.into(), ByteRange::ALL, None).await.unwrap_err();
        assert_eq!(error.kind, Kind::Config, "{key:?}");
    }
}
