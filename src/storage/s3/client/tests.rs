use super::*;

#[test]
fn what_is_this_machine() {
    let here = [
        "http://localhost",
        "https://LOCALHOST:9000",
        "http://127.0.0.1:3900",
        "http://[::1]:1",
        "http://127.1.2.3/s3",
    ];
    let elsewhere =
        ["https://s3.example.com", "http://localhost.example.com", "http://10.0.0.1:80", "http://[fd00::1]", ""];
    assert!(here.iter().all(|url| is_this_machine(url)));
    assert!(!elsewhere.iter().any(|url| is_this_machine(url)));
}

#[test]
fn the_bucket_as_a_host() {
    let table = [
        ("https://h", "https://my.bucket"),
        ("http://h:8080", "http://my.bucket:8080"),
        ("http://[::1]:9000", "http://my.bucket:9000"),
        ("http://[::1]", "http://my.bucket"),
    ];
    for (endpoint, want) in table {
        assert_eq!(bucket_host(endpoint, "my.bucket").as_deref(), Ok(want), "{endpoint}");
    }
}
