use super::*;

#[test]
fn prefixes() {
    let local = |path: &str| Ok(Location::Local(path.into()));
    let s3 = |bucket: &str, path: &str| Ok(Location::S3 { bucket: bucket.into(), path: path.into() });
    let azure = |container: &str, path: &str| Ok(Location::Azure { container: container.into(), path: path.into() });
    let table: &[(&str, Result<Location, Code>)] = &[
        ("/x/y", local("/x/y")),
        ("x/y", local("x/y")),
        ("./a:b", local("./a:b")),
        ("c:/x", local("c:/x")),
        ("file:///x/y", local("/x/y")),
        ("file://localhost/x/y", local("/x/y")),
        ("file://localhost//x//y/", local("//x//y/")),
        ("FILE://anyhost/x", local("/x")),
        ("file:/x", local("/x")),
        ("file:///with%20percent", local("/with%20percent")),
        ("file://x", Err(Code::ConfigPrefix)),
        ("file:x", Err(Code::ConfigPrefix)),
        ("", Err(Code::ConfigPrefix)),
        ("s3://b", s3("b", "")),
        ("s3://b/", s3("b", "/")),
        ("S3://b/db/wal", s3("b", "/db/wal")),
        ("s3://b//a//db//", s3("b", "//a//db//")),
        ("s3://B_u.cket/%41 b", s3("B_u.cket", "/%41 b")),
        ("s3://", Err(Code::ConfigPrefix)),
        ("s3:///x", Err(Code::ConfigPrefix)),
        ("s3:b/x", Err(Code::ConfigPrefix)),
        ("s3://b/x?y", Err(Code::ConfigPrefix)),
        ("s3://b/x#y", Err(Code::ConfigPrefix)),
        ("s3://key:secret@b/x", Err(Code::ConfigPrefix)),
        ("azure://c/x", azure("c", "/x")),
        ("wabs://c/x", azure("c", "/x")),
        ("WABS://c", azure("c", "")),
        ("azure://c//a//db//", azure("c", "//a//db//")),
        ("azure:///x", Err(Code::ConfigPrefix)),
        ("azure:c/x", Err(Code::ConfigPrefix)),
        ("azure://c/x?sv=1&sig=x", Err(Code::ConfigPrefix)),
        ("wabs://account:key@c/x", Err(Code::ConfigPrefix)),
        ("gs://b/x", Err(Code::ConfigUnsupported)),
        ("swift://c/x", Err(Code::ConfigUnsupported)),
        ("http://b/x", Err(Code::ConfigPrefix)),
    ];
    for (text, want) in table {
        assert_eq!(Location::parse(text).map_err(|error| error.code()), *want, "{text}");
    }
}

#[test]
fn secrets_are_not_repeated() {
    assert_eq!(format!("{:?}", Secret::new("hush")), "***");
    let errors = [
        Location::parse("s3://key:hush@bucket/x").map(drop),
        Location::parse("azure://key:hush@container/x").map(drop),
        azure_endpoint("https://key:hush@host").map(drop),
        azure_endpoint("https://host/?sv=1&sig=hush").map(drop),
        azure_key("hush!").map(drop),
        azure_sas("hush").map(drop),
        ConnectionString::parse("AccountName=a;AccountKey=hush!").map(drop),
        ConnectionString::parse("hush").map(drop),
        S3Endpoint::parse("https://key:hush@host").map(drop),
        S3Endpoint::parse_wale("https+path://key:hush@host").map(drop),
    ];
    for error in errors {
        let error = error.expect_err("a user in a URL");
        assert!(!error.chain().contains("hush"), "{}", error.chain());
    }
}

#[test]
fn candidates_of_odd_prefixes() {
    let table: &[(&str, &[&str])] = &[
        ("s3://b", &["s3://b/"]),
        ("s3://b/", &["s3://b/"]),
        ("s3://b/db", &["s3://b/db/"]),
        ("s3://b/db/", &["s3://b/db/"]),
        ("s3://b//db", &["s3://b/db/", "s3://b//db/"]),
        ("s3://b/a//db", &["s3://b/a/db/", "s3://b/a//db/"]),
        ("s3://b/db//", &["s3://b/db/", "s3://b/db//"]),
        ("s3://b//a///db//", &["s3://b/a/db/", "s3://b/a///db//", "s3://b//a///db//"]),
        ("/x//y", &["file:///x//y/"]),
        ("azure://c", &["azure://c/"]),
        ("azure://c/db", &["azure://c/db/"]),
        ("wabs://c/db/", &["azure://c/db/"]),
        // WAL-E before 1.0 wrote the slash at the beginning.
        ("wabs://c//db", &["azure://c/db/", "azure://c//db/"]),
        ("azure://c/a//db", &["azure://c/a//db/", "azure://c/a/db/"]),
        ("azure://c/db//", &["azure://c/db/", "azure://c/db//"]),
    ];
    for (text, want) in table {
        let candidates = Location::parse(text).expect(text).candidates();
        let found: Vec<String> = candidates.iter().map(Location::to_string).collect();
        assert_eq!(found, *want, "{text}");
    }
}

#[test]
fn endpoints() {
    let good = |url: &str, addressing| Ok(S3Endpoint { url: url.into(), addressing });
    let wale: &[(&str, Result<S3Endpoint, Code>)] = &[
        ("https+path://s3.example.com", good("https://s3.example.com", Some(Addressing::Path))),
        ("HTTP+Path://s3.example.com:9000", good("http://s3.example.com:9000", Some(Addressing::Path))),
        ("http+pathx://h", good("http://h", Some(Addressing::Path))),
        ("https+subdomain://h:1", good("https://h:1", Some(Addressing::Subdomain))),
        ("https+virtualhost://h", good("https://h", Some(Addressing::BucketHost))),
        ("http+path://[::1]:9000", good("http://[::1]:9000", Some(Addressing::Path))),
        ("http+path://[::1]", good("http://[::1]", Some(Addressing::Path))),
        ("https://h", Err(Code::ConfigValue)),
        ("ftp+path://h", Err(Code::ConfigValue)),
        ("http+dns://h", Err(Code::ConfigValue)),
        ("http+path://", Err(Code::ConfigValue)),
        ("http+path://h/", Err(Code::ConfigValue)),
        ("http+path://h?x", Err(Code::ConfigValue)),
        ("http+path://h#x", Err(Code::ConfigValue)),
        ("http+path://u:p@h", Err(Code::ConfigValue)),
        ("http+path://h:port", Err(Code::ConfigValue)),
        ("http+path://h:0", Err(Code::ConfigValue)),
        ("http+path://h:70000", Err(Code::ConfigValue)),
        ("http+path://h:", Err(Code::ConfigValue)),
        ("http+path:h", Err(Code::ConfigValue)),
    ];
    for (text, want) in wale {
        assert_eq!(S3Endpoint::parse_wale(text).map_err(|error| error.code()), *want, "{text}");
    }
    let plain: &[(&str, Result<S3Endpoint, Code>)] = &[
        ("https://s3.example.com/", good("https://s3.example.com", None)),
        ("HTTP://127.0.0.1:3900", good("http://127.0.0.1:3900", None)),
        ("https://gate.example.com/s3", good("https://gate.example.com/s3", None)),
        ("minio:9000", good("https://minio:9000", None)),
        ("s3.example.com", good("https://s3.example.com", None)),
        ("https+path://h", good("https://h", Some(Addressing::Path))),
        ("ftp://h", Err(Code::ConfigValue)),
        ("https://", Err(Code::ConfigValue)),
        ("https://u@h", Err(Code::ConfigValue)),
        ("https://h/x?y", Err(Code::ConfigValue)),
        ("", Err(Code::ConfigValue)),
    ];
    for (text, want) in plain {
        assert_eq!(S3Endpoint::parse(text).map_err(|error| error.code()), *want, "{text}");
    }
}

#[test]
fn connection_strings() {
    let key = || Some(AzureAuth::Key(Secret::new("a2V5")));
    let of = |account: &str, auth, endpoint: &str, domain: &str| {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Ok(ConnectionString { account: text(account), auth, endpoint: text(endpoint), domain: text(domain) })
    };
    let known = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let local = "http://127.0.0.1:10000/devstoreaccount1";
    let sas = Some(AzureAuth::Sas(Secret::new("sv=1&sig=x%3D")));
    let table: &[(&str, Result<ConnectionString, Code>)] = &[
        (
            "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5;EndpointSuffix=core.windows.net",
            of("a", key(), "", "core.windows.net"),
        ),
        ("accountname=a; accountkey=a2V5;", of("a", key(), "", "")),
        (
            "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5",
            of("a", key(), "http://a.blob.core.windows.net", ""),
        ),
        ("BlobEndpoint=https://a.blob.x/;SharedAccessSignature=?sv=1&sig=x%3D", of("", sas, "https://a.blob.x", "")),
        ("UseDevelopmentStorage=true", of("devstoreaccount1", Some(AzureAuth::Key(Secret::new(known))), local, "")),
        ("AccountName=a;QueueEndpoint=nonsense", of("a", None, "", "")),
        ("", Err(Code::ConfigValue)),
        ("nonsense", Err(Code::ConfigValue)),
        ("AccountKey=a2V5", Err(Code::ConfigValue)),
        ("AccountName=a;AccountKey=not base64", Err(Code::ConfigValue)),
        ("AccountName=a;BlobEndpoint=ftp://x", Err(Code::ConfigValue)),
        ("AccountName=a;DefaultEndpointsProtocol=ftp", Err(Code::ConfigValue)),
        ("AccountName=a;SharedAccessSignature=nonsense", Err(Code::ConfigValue)),
    ];
    for (text, want) in table {
        assert_eq!(ConnectionString::parse(text).map_err(|error| error.code()), *want, "{text}");
    }
}

#[test]
fn accounts_of_azure() {
    let settings = |account: &str, endpoint: &str, domain: &str| {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        AzureSettings {
            account: text(account),
            endpoint: text(endpoint),
            domain: text(domain),
            ..AzureSettings::default()
        }
    };
    let table: &[(AzureSettings, Result<&str, ()>, Option<&str>)] = &[
        (settings("a", "", ""), Ok("https://a.blob.core.windows.net"), Some("a")),
        (settings("a", "", "core.chinacloudapi.cn"), Ok("https://a.blob.core.chinacloudapi.cn"), Some("a")),
        (settings("a", "http://127.0.0.1:1/a", ""), Ok("http://127.0.0.1:1/a"), Some("a")),
        (settings("", "http://127.0.0.1:1/b", ""), Ok("http://127.0.0.1:1/b"), Some("b")),
        (settings("", "https://c.blob.x", ""), Ok("https://c.blob.x"), Some("c")),
        (settings("", "https://storage.example.com", ""), Ok("https://storage.example.com"), None),
        (settings("", "", ""), Err(()), None),
        (settings("a/b", "", ""), Err(()), Some("a/b")),
        (settings("evil.example.com", "", ""), Err(()), Some("evil.example.com")),
    ];
    for (settings, service, account) in table {
        assert_eq!(settings.service().map_err(drop).as_deref(), service.as_ref().copied().map_err(|()| &()));
        assert_eq!(settings.signing_account().as_deref(), *account);
    }
    for (name, domain) in
        [("azureusgovernmentcloud", "core.usgovcloudapi.net"), ("AzurePublicCloud", "core.windows.net")]
    {
        assert_eq!(AzureCloud::named(name).map(AzureCloud::domain), Some(domain));
    }
    assert_eq!(AzureCloud::named("cloud"), None);
}
