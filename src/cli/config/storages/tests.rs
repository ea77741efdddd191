//! What the settings of several stores come to.

use crate::cli::config::{Config, Environment, Flags};
use crate::error::Code;
use expect_test::{Expect, expect};
use std::path::PathBuf;

/// Settings in the environment, and in a file in YAML or JSON.
fn resolved(environment: &[(&str, &str)], name: &str, file: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join(name);
    std::fs::write(&path, file).unwrap();
    let flags = Flags { config: Some(path), ..Flags::default() };
    Config::resolve(&flags, &Environment::from_pairs(environment.iter().copied())).unwrap()
}

/// Name, place and what tells one store's settings from another's, a line each.
fn check(config: &Config, wanted: Expect) {
    let mut text = String::new();
    // The file lies somewhere else in each run.
    let file = config.file().unwrap().display().to_string();
    match config.storages() {
        Ok(all) => {
            for one in all {
                let s3 = one.settings.s3;
                let endpoint = s3.endpoint.map_or("-".to_owned(), |endpoint| endpoint.url);
                let secret = s3.secret_key.map_or("-".to_owned(), |secret| secret.reveal().to_owned());
                let (key, region) = (s3.access_key.unwrap_or("-".into()), s3.region.unwrap_or("-".into()));
                let token = s3.session_token.is_some();
                text.push_str(&format!("{}: {} {endpoint} {region} {key}:{secret} {token}\n", one.name, one.location));
            }
        }
        Err(error) => {
            text.push_str(&format!("[{}] {}\n{}\n", error.code(), error.chain(), error.advice().unwrap_or("-")))
        }
    }
    for warning in config.warnings() {
        text.push_str(&format!("warning: {warning}\n"));
    }
    let text = text.replace(&file, "FILE");
    assert!(!text.contains("CANARY"), "{text}");
    wanted.assert_eq(&text);
}

#[test]
fn as_wal_g_documents_them() {
    let yaml = "
WALG_S3_PREFIX: s3://first/db
AWS_ENDPOINT: https://s3.example.com
AWS_REGION: here
AWS_ACCESS_KEY_ID: k
AWS_SECRET_ACCESS_KEY: s
AWS_SESSION_TOKEN: t
WALG_FAILOVER_STORAGES:
    STORAGE2:
        WALE_S3_PREFIX: s3://third/
    TEST_STORAGE:
        AWS_SECRET_ACCESS_KEY: s2
        AWS_ACCESS_KEY_ID: k2
        AWS_ENDPOINT_URL_S3: http://other:9000
        WALE_S3_PREFIX: \"s3://some-s3-storage-1/\"
    file_storage:
        WALG_FILE_PREFIX: /some/prefix
";
    check(
        &resolved(&[], "walg.yaml", yaml),
        expect![[r#"
        default: s3://first/db https://s3.example.com here k:s true
        file_storage: file:///some/prefix/ - - -:- false
        storage2: s3://third/ https://s3.example.com here k:s true
        test_storage: s3://some-s3-storage-1/ http://other:9000 here k2:s2 false
    "#]],
    );
    // The folder below the prefix is that of all of them, unless one has its own.
    let json = r#"{"WALG_FILE_PREFIX": "/a", "WALG_FAILOVER_STORAGES": {"b": {"WALG_FILE_PREFIX": "/b"},
        "c": {"walg_file_prefix": "/c", "WALG_STORAGE_PREFIX": "own"}}}"#;
    check(
        &resolved(&[("WALG_STORAGE_PREFIX", "below")], "walg.json", json),
        expect![[r#"
        default: file:///a/below/ - - -:- false
        b: file:///b/below/ - - -:- false
        c: file:///c/own/ - - -:- false
    "#]],
    );
    // In lines of NAME=value the map is JSON.
    let lines = r#"WALG_FILE_PREFIX=/a
WALG_FAILOVER_STORAGES={"b":{"WALG_FILE_PREFIX":"/b"}}"#;
    check(
        &resolved(&[], "walg.env", lines),
        expect![[r#"
        default: file:///a/ - - -:- false
        b: file:///b/ - - -:- false
    "#]],
    );
}

#[test]
fn one_of_them() {
    let json = r#"{"WALG_FILE_PREFIX": "/a", "WALG_FAILOVER_STORAGES": {"Second": {"WALG_FILE_PREFIX": "/b"},
        "gone": {"WALG_GS_PREFIX": "gs://x"}}}"#;
    for target in ["second", "SECOND ", "default", "all", "", "third", "gone"] {
        let config = resolved(&[("WALG_TARGET_STORAGE", target)], "walg.json", json);
        let one = match config.storage() {
            Ok(one) => one.location.to_string(),
            Err(error) => error.code().to_string(),
        };
        let all = match config.storages() {
            Ok(all) => all.iter().map(|one| one.location.to_string()).collect::<Vec<_>>().join(" "),
            Err(error) => error.code().to_string(),
        };
        let wanted = match target {
            "second" | "SECOND " => ("file:///b/", "file:///b/", false),
            "default" => ("file:///a/", "file:///a/", false),
            "third" => ("config.value", "config.value", false),
            "gone" => ("config.unsupported", "config.unsupported", false),
            // Who looks at one store is not kept from it by another one that this build cannot read.
            _ => ("file:///a/", "config.unsupported", true),
        };
        assert_eq!((&*one, &*all, config.leaves_out_stores()), wanted, "{target:?}");
    }
    for alone in [r#"{"WALG_FILE_PREFIX": "/a"}"#, r#"{"WALG_FILE_PREFIX": "/a", "WALG_FAILOVER_STORAGES": {}}"#] {
        assert!(!resolved(&[], "walg.json", alone).leaves_out_stores());
    }
}

#[test]
fn what_cannot_be_understood_is_said_and_no_key_with_it() {
    let with = |map: &str| {
        resolved(&[], "walg.json", &format!(r#"{{"WALG_FILE_PREFIX": "/a", "WALG_FAILOVER_STORAGES": {map}}}"#))
    };
    check(
        &with(r#""CANARY""#),
        expect![[r#"
            [config.value] WALG_FAILOVER_STORAGES: is not a map of names to settings (FILE)
            `wal-r config explain NAME` says what it takes.
            warning: WALG_FAILOVER_STORAGES: is not a map of names to settings (FILE)
        "#]],
    );
    check(
        &with(r#"["CANARY"]"#),
        expect![[r#"
            [config.value] WALG_FAILOVER_STORAGES: is not a map of names to settings (FILE)
            `wal-r config explain NAME` says what it takes.
            warning: WALG_FAILOVER_STORAGES: is not a map of names to settings (FILE)
        "#]],
    );
    check(
        &with(r#"{"b": "CANARY"}"#),
        expect![[r#"
            [config.value] WALG_FAILOVER_STORAGES: b is not a map of settings (FILE)
            `wal-r config explain NAME` says what it takes.
            warning: WALG_FAILOVER_STORAGES: b is not a map of settings (FILE)
        "#]],
    );
    check(
        &with(r#"{"default": {"WALG_FILE_PREFIX": "/b"}}"#),
        expect![[r#"
            [config.value] WALG_FAILOVER_STORAGES: default is no name for a failover storage (FILE)
            `wal-r config explain NAME` says what it takes.
            warning: WALG_FAILOVER_STORAGES: default is no name for a failover storage (FILE)
        "#]],
    );
    check(
        &with(r#"{"b": {"WALG_FILE_PREFIX": "/b"}, "B": {"WALG_FILE_PREFIX": "/c"}}"#),
        expect![[r#"
            [config.value] WALG_FAILOVER_STORAGES: b is there twice (FILE)
            `wal-r config explain NAME` says what it takes.
            warning: WALG_FAILOVER_STORAGES: b is there twice (FILE)
        "#]],
    );
    check(
        &with(r#"{"b": {"AWS_SECRET_ACCESS_KEY": "CANARY"}}"#),
        expect![[r#"
            [config.prefix] WALG_FAILOVER_STORAGES: failover storage b: no prefix says where the archive is
            Mend it, or name the one store to use: WALG_TARGET_STORAGE=default is that of the prefix.
        "#]],
    );
    check(
        &with(r#"{"b": {"WALG_S3_PREFIX": "s3://b/x", "AWS_SECRET_ACCESS_KEY": "CANARY"}}"#),
        expect![[r#"
        [credentials.missing] AWS_SECRET_ACCESS_KEY: failover storage b: set, but AWS_ACCESS_KEY_ID is not
        Mend it, or name the one store to use: WALG_TARGET_STORAGE=default is that of the prefix.
    "#]],
    );
    check(
        &with(r#"{"b": {"WALG_FILE_PREFIX": "/b", "WALG_FILE_PREFX": "/x"}}"#),
        expect![[r#"
        default: file:///a/ - - -:- false
        b: file:///b/ - - -:- false
        warning: failover storage b: WALG_FILE_PREFX (FILE) is no setting; is WALG_FILE_PREFIX meant?
    "#]],
    );
    check(
        &with(r#"{}"#),
        expect![[r#"
        default: file:///a/ - - -:- false
    "#]],
    );
    assert_eq!(with(r#"["x"]"#).storages().unwrap_err().code(), Code::ConfigValue);
}
