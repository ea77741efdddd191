use super::*;

#[test]
fn what_was_said_by_flag_is_said_again_but_no_secret() {
    let said = |id, flag: &str, value: &str| (id, flag.to_owned(), value.to_owned());
    let flags = Flags {
        settings: vec![
            said(Id::AWS_ENDPOINT, "--aws-endpoint", "https://ceph:7480"),
            said(Id::AWS_SECRET_ACCESS_KEY, "--aws-secret-access-key", "canary"),
            said(Id::WALG_S3_PREFIX, "--walg-s3-prefix", "s3://bucket/db"),
            said(Id::WALG_STORAGE_PREFIX, "--walg-storage-prefix", "below"),
        ],
        ..Flags::default()
    };
    let context = Context::new(Global::default(), flags, Environment::default());
    let words = context.again("s3://bucket/db/below/").expect("words");
    // The first word is this program.
    assert_eq!(words[1..], ["--prefix", "s3://bucket/db/below/", "--aws-endpoint=https://ceph:7480"]);
}

#[test]
fn restore_command_is_the_quick_twin_where_it_lies_beside() {
    let folder = tempfile::tempdir().unwrap();
    let beside = |name: &str| folder.path().join(name).display().to_string();
    let program = |name: &str, mode: u32| {
        std::fs::write(beside(name), "").unwrap();
        std::fs::set_permissions(beside(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    program("wal-r", 0o755);
    assert_eq!(quick_twin(&beside("wal-r")), None);
    program("wal-r-fetch", 0o644);
    assert_eq!(quick_twin(&beside("wal-r")), None, "it cannot be run");
    program("wal-r-fetch", 0o755);
    assert_eq!(quick_twin(&beside("wal-r")), Some(beside("wal-r-fetch")));
    // It would look for another one.
    program("my-wal-r", 0o755);
    assert_eq!(quick_twin(&beside("my-wal-r")), None);
}

#[test]
fn the_default_place_of_a_ledger() {
    let home = tempfile::tempdir().unwrap();
    let environment = |name| Environment::from_pairs([(name, home.path().to_str().unwrap())]);
    let place = |name, url| {
        Context::new(Global::default(), Flags::default(), environment(name))
            .ledger_place(url)
            .map(|path| path.strip_prefix(home.path()).unwrap().display().to_string())
    };
    assert_eq!(place("XDG_STATE_HOME", "s3://bucket/db/").unwrap(), "wal-r/s3-bucket-db-d2773b35.sqlite");
    assert!(place("HOME", "s3://bucket/db/").unwrap().starts_with(".local/state/wal-r/s3-bucket-db-"));
    assert_ne!(place("HOME", "s3://bucket/db/").unwrap(), place("HOME", "s3://bucket-db/").unwrap());
    assert!(place("NOTHING", "s3://bucket/db/").is_err());
}
