use super::*;
use std::sync::Mutex;

/// The example of Azure's "Authorize with Shared Key", and what a part of a blob is signed as.
#[test]
fn strings_to_sign() {
    let mut headers = Headers::new();
    headers.insert("x-ms-version", "2015-02-21");
    headers.insert("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT");
    let url = "https://myaccount.blob.core.windows.net/mycontainer?restype=container&timeout=20&comp=metadata";
    let url = Url::parse(url).unwrap();
    assert_eq!(
        string_to_sign("myaccount", Method::Get, &url, &headers, 0),
        "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
         /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
    );
    headers.insert("range", "bytes=5-9");
    headers.insert("if-match", "\"e\"");
    headers.insert("content-type", "application/octet-stream");
    let url = Url::parse("http://127.0.0.1:10000/account/c/a%20b%2Fc?Prefix=x%2Fy").unwrap();
    assert_eq!(
        string_to_sign("account", Method::Put, &url, &headers, 17),
        "PUT\n\n\n17\n\napplication/octet-stream\n\n\n\"e\"\n\n\nbytes=5-9\n\
         x-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n/account/account/c/a%20b%2Fc\nprefix:x/y"
    );
}

#[test]
fn names_become_one_segment() {
    let settings = AzureSettings {
        account: Some("a".into()),
        auth: AzureAuth::Sas(crate::storage::open::Secret::new("sig=CANARY")),
        ..AzureSettings::default()
    };
    let client = build(&settings, "c").unwrap();
    let url = |name: &str| client.blob(name).map(|url| url.to_string());
    let at = |rest: &str| Some(format!("https://a.blob.core.windows.net/c/{rest}"));
    assert_eq!(url("wal_005/x.lzo"), at("wal_005%2Fx.lzo"));
    assert_eq!(url("a/../b//c/."), at("a%2F..%2Fb%2F%2Fc%2F."));
    assert_eq!(url("x?y#z%41"), at("x%3Fy%23z%2541"));
    assert_eq!((url(""), url("."), url(".."), url("a\\b")), (None, None, None, None));
    assert!(!format!("{client:?}").contains("CANARY"));
}

/// What was asked of Entra ID and the store, answered with a token.
#[derive(Debug, Default)]
struct Asked(Mutex<Vec<(String, String)>>);

#[async_trait]
impl HttpClient for Asked {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let body = match request.body() {
            Body::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Body::SeekableStream(_) => String::new(),
        };
        let authorization = request.headers().get_optional_str(&AUTHORIZATION).unwrap_or_default();
        self.0.lock().unwrap().push((request.url().to_string(), format!("{body}{authorization}")));
        let token = r#"{"token_type":"Bearer","expires_in":3600,"ext_expires_in":3600,"access_token":"TOKEN"}"#;
        Ok(AsyncRawResponse::from_bytes(200.into(), Headers::new(), token))
    }
}

/// A secret and a workload's token are exchanged at the cloud's own Entra ID; the store sees the token, and only with TLS.
#[tokio::test]
async fn identities_reach_the_wire() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "ASSERTION").unwrap();
    let named = Entra { tenant: Some("tenant".into()), client: Some("client".into()), ..Entra::default() };
    let secret = Entra { secret: Some(crate::storage::open::Secret::new("SECRET")), ..named.clone() };
    let workload = Entra { token_file: Some(file.path().into()), ..named };
    let cases = [
        (&secret, AzureCloud::Government, "https://login.microsoftonline.us/", "client_secret=SECRET"),
        (&secret, AzureCloud::China, "https://login.chinacloudapi.cn/", "client_secret=SECRET"),
        (&workload, AzureCloud::Government, "https://login.microsoftonline.us/", "client_assertion=ASSERTION"),
    ];
    for (entra, cloud, authority, proof) in cases {
        let asked = Arc::new(Asked::default());
        let transport = Transport::new(asked.clone());
        let credential = credential(entra, cloud, &transport, || Err("no metadata".into())).unwrap();
        let policy: Arc<dyn Policy> = Arc::new(BearerTokenAuthorizationPolicy::new(credential, [SCOPE]));
        let options = ClientOptions {
            per_try_policies: vec![policy],
            retry: RetryOptions::none(),
            transport: Some(transport),
            ..ClientOptions::default()
        };
        let pipeline = Pipeline::new(None, None, options, vec![], vec![], None);
        let send = async |url: &str| {
            let mut request = Request::new(Url::parse(url).unwrap(), Method::Get);
            pipeline.stream(&Context::new(), &mut request, None).await
        };
        send("https://a.blob.core.windows.net/c/b").await.unwrap();
        send("http://a.blob.core.windows.net/c/b").await.map(drop).expect_err("no token without TLS");
        let asked = asked.0.lock().unwrap().clone();
        assert_eq!(asked.len(), 2, "{asked:?}");
        assert_eq!(asked[0].0, format!("{authority}tenant/oauth2/v2.0/token"));
        assert!(asked[0].1.contains(proof) && asked[0].1.contains("client_id=client"), "{}", asked[0].1);
        assert_eq!(asked[1].1, "Bearer TOKEN");
    }
    let half = Entra { tenant: None, ..secret };
    let transport = Transport::new(Arc::new(Asked::default()));
    let error = credential(&half, AzureCloud::Public, &transport, metadata).unwrap_err();
    assert!(error.contains("AZURE_TENANT_ID"), "{error}");
}

/// The SDK asks six times over a minute for a managed identity, whatever it is told. Here: once.
#[tokio::test]
async fn a_machine_without_an_identity_is_told_at_once() {
    #[derive(Debug, Default)]
    struct Nobody(std::sync::atomic::AtomicU32);
    let begun = std::time::Instant::now();
    let nobody = Arc::new(Nobody::default());
    #[async_trait]
    impl HttpClient for Nobody {
        async fn execute_request(&self, _: &Request) -> azure_core::Result<AsyncRawResponse> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Err(Error::with_message(ErrorKind::Credential, "nobody"))
        }
    }
    let options = ManagedIdentityCredentialOptions {
        client_options: ClientOptions { transport: Some(Transport::new(nobody.clone())), ..ClientOptions::default() },
        ..ManagedIdentityCredentialOptions::default()
    };
    let credential = ManagedIdentityCredential::new(Some(options)).unwrap();
    let error = credential.get_token(&[SCOPE], None).await.unwrap_err();
    assert_eq!(nobody.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert!(begun.elapsed() < Duration::from_secs(1));
    let (kind, what) = crate::storage::azure::answers::trouble(&error, true);
    assert_eq!(kind, crate::storage::StoreErrorKind::NoCredentials, "{what}");
}
