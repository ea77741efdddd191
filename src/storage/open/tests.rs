use super::*;

#[test]
fn prefixes() {
    let local = |path: &str| Ok(Location::Local(path.into()));
    let s3 = |bucket: &str, path: &str| Ok(Location::S3 { bucket: bucket.into(), path: path.into() });
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
        ("azure://c/x", Err(Code::ConfigUnsupported)),
        ("wabs://c/x", Err(Code::ConfigUnsupported)),
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
