use super::*;
use crate::storage::open::{Addressing, AzureAuth, Location, Secret};
use expect_test::{Expect, expect};

/// `env: A=b C=d | file: X=y | flags: --walg-s3-prefix=z | envdir: N=v | prefix: p`
fn resolved(given: &str) -> Answer<Config> {
    let directory = tempfile::tempdir().unwrap();
    let mut flags = Flags::default();
    let mut environment = Vec::new();
    for part in given.split(" | ").filter(|part| !part.is_empty()) {
        let (kind, words) = part.split_once(": ").unwrap();
        let pairs = words.split(' ').filter_map(|word| word.split_once('='));
        match kind {
            "env" => environment.extend(pairs),
            "prefix" => flags.prefix = Some(words.to_owned()),
            "flags" => {
                let (_, taken) =
                    crate::cli::args::settings::take(words.split(' ').map(OsString::from).collect(), &[]).unwrap();
                flags.settings = taken;
            }
            "file" => {
                let path = directory.path().join("walg.env");
                std::fs::write(&path, words.replace(' ', "\n")).unwrap();
                flags.config = Some(path);
            }
            "envdir" => {
                flags.envdir = Some(directory.path().join("envdir"));
                std::fs::create_dir(directory.path().join("envdir")).unwrap();
                for (name, value) in pairs {
                    std::fs::write(directory.path().join("envdir").join(name), value).unwrap();
                }
            }
            other => panic!("{other}"),
        }
    }
    Config::resolve(&flags, &Environment::from_pairs(environment))
}

fn check(given: &str, wanted: Expect) {
    let config = resolved(given).unwrap();
    let mut text = String::new();
    for (setting, value) in config.values() {
        let origin = match &value.origin {
            Origin::File(_) => "file".to_owned(),
            Origin::EnvDir(_) => "envdir".to_owned(),
            other => other.to_string(),
        };
        text.push_str(&format!("{} = {} by {} ({origin})\n", setting.name, value.shown(setting), value.name));
    }
    match config.prefix() {
        Ok(chosen) => text.push_str(&format!("archive: {} by {}\n", chosen.text, chosen.name)),
        Err(error) => text.push_str(&format!("[{}]\n", error.code())),
    }
    for warning in config.warnings() {
        let paths = [config.file(), resolved_envdir(&config).as_deref()]
            .into_iter()
            .flatten()
            .map(Path::to_path_buf)
            .collect::<Vec<_>>();
        let mut warning = warning.clone();
        for path in paths {
            warning = warning.replace(&path.display().to_string(), "PATH");
        }
        text.push_str(&format!("warning: {warning}\n"));
    }
    wanted.assert_eq(&text);
}

fn resolved_envdir(config: &Config) -> Option<PathBuf> {
    config.values().find_map(|(_, value)| match &value.origin {
        Origin::EnvDir(path) => Some(path.clone()),
        _ => None,
    })
}

#[test]
fn flags_over_envdir_over_environment_over_file() {
    let all = "flags: --aws-region=flag | envdir: AWS_REGION=dir | env: AWS_REGION=env | file: AWS_REGION=file";
    let parts: Vec<&str> = all.split(" | ").collect();
    for (at, wins) in ["flag", "dir", "env", "file"].iter().enumerate() {
        let config = resolved(&parts[at..].join(" | ")).unwrap();
        assert_eq!(config.text(Id::AWS_REGION), Some(*wins));
        assert_eq!(config.warnings(), &[] as &[String], "precedence is no contradiction");
    }
}

#[test]
fn resolution() {
    check(
        "env: WALE_S3_PREFIX=s3://b/p AWS_SECURITY_TOKEN=CANARY",
        expect![[r#"
        WALG_S3_PREFIX = s3://b/p by WALE_S3_PREFIX (environment)
        AWS_SESSION_TOKEN = *** by AWS_SECURITY_TOKEN (environment)
        archive: s3://b/p by WALE_S3_PREFIX
    "#]],
    );
    check(
        "env: WALG_S3_PREFIX= WALE_S3_PREFIX=s3://b/p",
        expect![[r#"
        WALG_S3_PREFIX = s3://b/p by WALE_S3_PREFIX (environment)
        archive: s3://b/p by WALE_S3_PREFIX
    "#]],
    );
    check(
        "env: WALG_S3_PREFIX=s3://g WALE_S3_PREFIX=s3://e",
        expect![[r#"
        WALG_S3_PREFIX = s3://g by WALG_S3_PREFIX (environment)
        archive: s3://g by WALG_S3_PREFIX
        warning: WALE_S3_PREFIX and WALG_S3_PREFIX (environment) contradict each other: WALG_S3_PREFIX counts
    "#]],
    );
    check(
        "envdir: WALG_S3_PREFIX= | env: WALG_S3_PREFIX=s3://hidden WALG_FILE_PREFIX=/a",
        expect![[r#"
        WALG_FILE_PREFIX = /a by WALG_FILE_PREFIX (environment)
        archive: /a by WALG_FILE_PREFIX
    "#]],
    );
    check(
        "env: WALG_S3_PERFIX=s3://b WALG_NOBODY_KNOWS=1 OTHER_THING=2 | file: other_thing=3 walg_file_prefix=/a",
        expect![[r#"
            WALG_FILE_PREFIX = /a by walg_file_prefix (file)
            archive: /a by walg_file_prefix
            warning: WALG_NOBODY_KNOWS (environment) is no setting
            warning: WALG_S3_PERFIX (environment) is no setting; is WALG_S3_PREFIX meant?
            warning: other_thing (PATH) is no setting
        "#]],
    );
    check(
        "env: AWS_S3_FORCE_PATH_STYLE=maybe WALG_DOWNLOAD_CONCURRENCY=0 WALG_UPLOAD_CONCURRENCY=0",
        expect![[r#"
            AWS_S3_FORCE_PATH_STYLE = maybe by AWS_S3_FORCE_PATH_STYLE (environment)
            WALG_DOWNLOAD_CONCURRENCY = 0 by WALG_DOWNLOAD_CONCURRENCY (environment)
            WALG_UPLOAD_CONCURRENCY = 0 by WALG_UPLOAD_CONCURRENCY (environment)
            [config.prefix]
            warning: AWS_S3_FORCE_PATH_STYLE (environment) is not true or false
            warning: WALG_DOWNLOAD_CONCURRENCY (environment) is not a whole number, at least 1
            warning: WALG_UPLOAD_CONCURRENCY (environment) is not a whole number, at least 1
        "#]],
    );
    check(
        "file: AWS_WEB_IDENTITY_TOKEN_FILE=/t",
        expect![[r#"
        AWS_WEB_IDENTITY_TOKEN_FILE = /t by AWS_WEB_IDENTITY_TOKEN_FILE (file)
        [config.prefix]
        warning: AWS_WEB_IDENTITY_TOKEN_FILE in PATH has no effect: the AWS SDK reads it from the environment only
    "#]],
    );
    check(
        "",
        expect![[r#"
        [config.prefix]
    "#]],
    );
}

#[test]
fn which_prefix_counts() {
    // WAL-E alone: file, gs, s3, swift, wabs.
    check(
        "env: WALE_S3_PREFIX=s3://b WALE_WABS_PREFIX=wabs://c WALE_FILE_PREFIX=/a",
        expect![[r#"
            WALG_S3_PREFIX = s3://b by WALE_S3_PREFIX (environment)
            WALG_FILE_PREFIX = /a by WALE_FILE_PREFIX (environment)
            WALG_AZ_PREFIX = wabs://c by WALE_WABS_PREFIX (environment)
            archive: /a by WALE_FILE_PREFIX
            warning: s3://b (WALE_S3_PREFIX, environment) does not count: /a (WALE_FILE_PREFIX, environment) does
            warning: wabs://c (WALE_WABS_PREFIX, environment) does not count: /a (WALE_FILE_PREFIX, environment) does
        "#]],
    );
    // A WALG_ name among them: WAL-G's order.
    check(
        "env: WALG_S3_PREFIX=s3://b WALE_FILE_PREFIX=/a",
        expect![[r#"
            WALG_S3_PREFIX = s3://b by WALG_S3_PREFIX (environment)
            WALG_FILE_PREFIX = /a by WALE_FILE_PREFIX (environment)
            archive: s3://b by WALG_S3_PREFIX
            warning: /a (WALE_FILE_PREFIX, environment) does not count: s3://b (WALG_S3_PREFIX, environment) does
        "#]],
    );
    check(
        "env: WALG_FILE_PREFIX=/a WALE_S3_PREFIX=s3://b",
        expect![[r#"
            WALG_S3_PREFIX = s3://b by WALE_S3_PREFIX (environment)
            WALG_FILE_PREFIX = /a by WALG_FILE_PREFIX (environment)
            archive: s3://b by WALE_S3_PREFIX
            warning: /a (WALG_FILE_PREFIX, environment) does not count: s3://b (WALE_S3_PREFIX, environment) does
        "#]],
    );
    // WAL-E's flags.
    check(
        "flags: --s3-prefix=s3://b --file-prefix=/a",
        expect![[r#"
            WALG_S3_PREFIX = s3://b by --s3-prefix (command line)
            WALG_FILE_PREFIX = /a by --file-prefix (command line)
            archive: /a by --file-prefix
            warning: s3://b (--s3-prefix, command line) does not count: /a (--file-prefix, command line) does
        "#]],
    );
    check(
        "flags: --walg-s3-prefix=s3://b --walg-file-prefix=/a",
        expect![[r#"
            WALG_S3_PREFIX = s3://b by --walg-s3-prefix (command line)
            WALG_FILE_PREFIX = /a by --walg-file-prefix (command line)
            archive: s3://b by --walg-s3-prefix
            warning: /a (--walg-file-prefix, command line) does not count: s3://b (--walg-s3-prefix, command line) does
        "#]],
    );
    // What is said nearer counts more.
    check(
        "env: WALG_FILE_PREFIX=/a | file: WALG_S3_PREFIX=s3://b",
        expect![[r#"
            WALG_S3_PREFIX = s3://b by WALG_S3_PREFIX (file)
            WALG_FILE_PREFIX = /a by WALG_FILE_PREFIX (environment)
            archive: /a by WALG_FILE_PREFIX
            warning: s3://b (WALG_S3_PREFIX, PATH) does not count: /a (WALG_FILE_PREFIX, environment) does
        "#]],
    );
    check(
        "prefix: /p | flags: --s3-prefix=s3://f | env: WALG_S3_PREFIX=s3://b",
        expect![[r#"
            WALG_S3_PREFIX = s3://f by --s3-prefix (command line)
            archive: /p by --prefix
            warning: s3://f (--s3-prefix, command line) does not count: /p (--prefix, command line) does
        "#]],
    );
    // Twice the same place is no contradiction.
    check(
        "prefix: s3://b/x/ | env: WALG_S3_PREFIX=s3://b/x WALG_STORAGE_PREFIX=/in/side/",
        expect![[r#"
        WALG_S3_PREFIX = s3://b/x by WALG_S3_PREFIX (environment)
        WALG_STORAGE_PREFIX = /in/side/ by WALG_STORAGE_PREFIX (environment)
        archive: s3://b/x/ by --prefix
        warning: WALG_STORAGE_PREFIX does not count: --prefix is the whole place
    "#]],
    );
}

#[test]
fn the_storage_prefix_lies_below() {
    for (prefix, below, wanted) in [
        ("s3://b", "x", "s3://b/x"),
        ("s3://b/", "/x/", "s3://b/x"),
        ("s3://b/p//", "x/y", "s3://b/p/x/y"),
        ("/", "x", "/x"),
        ("/a", "/", "/a"),
        ("file:///a/", "x", "file:///a/x"),
    ] {
        let config = resolved(&format!("env: WALG_S3_PREFIX={prefix} WALG_STORAGE_PREFIX={below}")).unwrap();
        assert_eq!(config.prefix().unwrap().text, wanted);
        // What restore_command says is the whole place.
        let config = resolved(&format!("prefix: {wanted} | env: WALG_STORAGE_PREFIX={below}")).unwrap();
        assert_eq!(config.prefix().unwrap().text, wanted);
    }
}

#[test]
fn places() {
    let place = |prefix: &str| resolved(&format!("prefix: {prefix}")).unwrap().location();
    assert_eq!(place("/a").unwrap(), Location::Local("/a".into()));
    assert!(matches!(place("s3://b/p").unwrap(), Location::S3 { .. }));
    for (prefix, code) in
        [("gs://b", Code::ConfigUnsupported), ("s3://", Code::ConfigPrefix), ("ftp://y", Code::ConfigPrefix)]
    {
        assert_eq!(place(prefix).unwrap_err().code(), code, "{prefix}");
    }
    assert_eq!(resolved("").unwrap().location().unwrap_err().code(), Code::ConfigPrefix);
    // restore_command runs in the data directory, not here.
    let here = std::env::current_dir().unwrap().join("db");
    assert_eq!(place("db").unwrap(), Location::Local(here.clone()));
    assert_eq!(place("db").unwrap().to_string(), format!("file://{}/", here.display()));
}

#[test]
fn keys_in_urls_are_not_repeated() {
    for prefix in ["s3://user:CANARY@bucket/x", "ftp://CANARY@host", "gs://a:CANARY@b"] {
        let config = resolved(&format!("prefix: {prefix} | env: WALG_FILE_PREFIX=s3://CANARY@other")).unwrap();
        let error = config.location().unwrap_err();
        let all = format!("{error:?} {} {:?}", config.prefix().unwrap(), config.warnings());
        assert!(!all.contains("CANARY") && all.contains("***@"), "{all}");
    }
}

fn bucket() -> Location {
    Location::parse("s3://bucket/db").unwrap()
}

#[test]
fn settings_of_another_store_do_no_harm() {
    let config = resolved("env: AWS_ACCESS_KEY_ID=half AWS_ENDPOINT=nonsense://").unwrap();
    assert!(config.store_settings(&bucket()).is_err());
    assert!(config.store_settings(&Location::Local("/a".into())).is_ok());
}

#[test]
fn s3_settings() {
    let s3 = |given: &str| resolved(&format!("env: {given}")).unwrap().store_settings(&bucket()).map(|all| all.s3);
    let keys = s3("AWS_ACCESS_KEY=id AWS_SECRET_KEY=secret AWS_SECURITY_TOKEN=token").unwrap();
    assert_eq!(keys.access_key.as_deref(), Some("id"));
    assert_eq!(keys.secret_key.map(|secret| secret.reveal().to_owned()).as_deref(), Some("secret"));
    assert_eq!(keys.session_token.map(|secret| secret.reveal().to_owned()).as_deref(), Some("token"));
    for half in ["AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=secret"] {
        assert_eq!(s3(half).unwrap_err().code(), Code::CredentialsMissing, "{half}");
    }
    let endpoint = |given: &str| s3(given).unwrap().endpoint.map(|one| (one.url, one.addressing));
    let url = "http://h:1".to_owned();
    assert_eq!(endpoint("AWS_ENDPOINT=http://h:1"), Some((url.clone(), None)));
    assert_eq!(endpoint("AWS_ENDPOINT_URL=http://h:1 AWS_ENDPOINT=http://other"), Some((url.clone(), None)));
    assert_eq!(endpoint("AWS_ENDPOINT_URL_S3=http://h:1 AWS_ENDPOINT_URL=http://other"), Some((url.clone(), None)));
    let path = Some(Addressing::Path);
    assert_eq!(endpoint("WALE_S3_ENDPOINT=http+path://h:1"), Some((url.clone(), path)));
    assert_eq!(endpoint("WALE_S3_ENDPOINT=http+path://h:1 AWS_ENDPOINT=http://h:1"), Some((url, path)));
    assert_eq!(endpoint(""), None);
    for bad in [
        "WALE_S3_ENDPOINT=https://h",
        "AWS_ENDPOINT=ftp://h",
        "AWS_S3_FORCE_PATH_STYLE=perhaps",
        "AWS_REQUEST_PAYER=me",
    ] {
        assert_eq!(s3(bad).unwrap_err().code(), Code::ConfigValue, "{bad}");
    }
    let leaking = s3("AWS_ENDPOINT=https://user:CANARY@host").unwrap_err();
    assert!(!leaking.chain().contains("CANARY") && !format!("{leaking:?}").contains("CANARY"), "{leaking:?}");
    assert_eq!(s3("AWS_ROLE_ARN=arn").unwrap().role_arn.as_deref(), Some("arn"));
    assert_eq!(s3("AWS_ROLE_ARN=arn AWS_WEB_IDENTITY_TOKEN_FILE=/t").unwrap().role_arn, None);
    assert!(s3("AWS_REQUEST_PAYER=requester AWS_NO_SIGN_REQUEST=1").is_ok_and(|s3| s3.requester_pays && s3.anonymous));
}

#[test]
fn azure_settings() {
    let container = Location::parse("wabs://container/db").unwrap();
    let azure =
        |given: &str| resolved(&format!("env: {given}")).unwrap().store_settings(&container).map(|all| all.azure);
    let key = |text: &str| AzureAuth::Key(Secret::new(text));
    let sas = |text: &str| AzureAuth::Sas(Secret::new(text));
    // WAL-G's names and WAL-E's; the key counts before the signature.
    let named = azure("AZURE_STORAGE_ACCOUNT=a AZURE_STORAGE_ACCESS_KEY=a2V5 AZURE_STORAGE_SAS_TOKEN=sig=x").unwrap();
    assert_eq!((named.account.as_deref(), &named.auth), (Some("a"), &key("a2V5")));
    assert_eq!(azure("WABS_ACCOUNT_NAME=a WABS_ACCESS_KEY=a2V5").unwrap().auth, key("a2V5"));
    assert_eq!(azure("AZURE_STORAGE_ACCOUNT=a AZURE_STORAGE_KEY=a2V5").unwrap().auth, key("a2V5"));
    assert_eq!(azure("WABS_ACCOUNT_NAME=a WABS_SAS_TOKEN=?sv=1&sig=x").unwrap().auth, sas("sv=1&sig=x"));
    // A connection string alone, and what is said besides.
    let string = "AZURE_STORAGE_CONNECTION_STRING=AccountName=a;AccountKey=a2V5;BlobEndpoint=http://h:1/a";
    let alone = azure(string).unwrap();
    assert_eq!(
        (alone.account.as_deref(), &alone.auth, alone.service()),
        (Some("a"), &key("a2V5"), Ok("http://h:1/a".into()))
    );
    assert_eq!(azure(&format!("{string} WABS_SAS_TOKEN=sig=x")).unwrap().auth, sas("sig=x"));
    assert_eq!(azure(&format!("{string} AZURE_STORAGE_ENDPOINT=http://g")).unwrap().service(), Ok("http://g".into()));
    assert!(azure(&format!("{string} AZURE_STORAGE_ACCOUNT=a")).is_ok());
    // Where requests go.
    let service = |given: &str| azure(&format!("AZURE_STORAGE_ACCOUNT=a {given}")).unwrap().service().unwrap();
    assert_eq!(service(""), "https://a.blob.core.windows.net");
    assert_eq!(service("AZURE_ENVIRONMENT_NAME=AzureChinaCloud"), "https://a.blob.core.chinacloudapi.cn");
    assert_eq!(service("AZURE_ENVIRONMENT_NAME=AzureChinaCloud AZURE_ENDPOINT_SUFFIX=.x.y"), "https://a.blob.x.y");
    // Nothing said: an identity.
    let identity =
        azure("AZURE_STORAGE_ACCOUNT=a AZURE_CLIENT_ID=c AZURE_TENANT_ID=t AZURE_CLIENT_SECRET=CANARY").unwrap();
    let AzureAuth::Entra(entra) = &identity.auth else { panic!("{identity:?}") };
    assert_eq!((entra.client.as_deref(), entra.tenant.as_deref()), (Some("c"), Some("t")));
    assert!(!format!("{identity:?}").contains("CANARY"));
    for bad in [
        "",
        "AZURE_STORAGE_ACCOUNT=a/b",
        "AZURE_STORAGE_ACCOUNT=a AZURE_STORAGE_ACCESS_KEY=CANARY!",
        "AZURE_STORAGE_ACCOUNT=a WABS_SAS_TOKEN=CANARY",
        "AZURE_STORAGE_ACCOUNT=a AZURE_STORAGE_ENDPOINT=http://h?sig=CANARY",
        "AZURE_STORAGE_ACCOUNT=a AZURE_ENVIRONMENT_NAME=Cloud",
        "AZURE_STORAGE_CONNECTION_STRING=CANARY",
        "AZURE_STORAGE_ACCOUNT=b AZURE_STORAGE_CONNECTION_STRING=AccountName=a;AccountKey=a2V5",
    ] {
        let error = azure(bad).unwrap_err();
        assert_eq!(error.code(), Code::ConfigValue, "{bad}");
        assert!(!error.chain().contains("CANARY") && !format!("{error:?}").contains("CANARY"), "{error:?}");
    }
    // Settings of Azure may be wrong where the archive is elsewhere.
    let config = resolved("env: AZURE_STORAGE_CONNECTION_STRING=nonsense").unwrap();
    assert!(config.store_settings(&bucket()).is_ok());
}

#[test]
fn files_are_looked_for_at_home() {
    let home = tempfile::tempdir().unwrap();
    let text = home.path().display().to_string();
    let config =
        |pairs: &[(&str, &str)]| Config::resolve(&Flags::default(), &Environment::from_pairs(pairs.iter().copied()));
    assert_eq!(config(&[("HOME", &text)]).unwrap().file(), None);
    std::fs::write(home.path().join(".walg.yaml"), "WALG_FILE_PREFIX: /yaml").unwrap();
    assert_eq!(config(&[("HOME", &text)]).unwrap().text(Id::WALG_FILE_PREFIX), Some("/yaml"));
    std::fs::write(home.path().join(".walg.json"), r#"{"WALG_FILE_PREFIX": "/json"}"#).unwrap();
    assert_eq!(config(&[("HOME", &text)]).unwrap().text(Id::WALG_FILE_PREFIX), Some("/json"));
    // One that is named must be there; no home is no error.
    let named = config(&[("HOME", &text), ("WALG_CONFIG_PATH", "/nonexistent/x")]);
    assert_eq!(named.unwrap_err().code(), Code::ConfigFile);
    assert_eq!(config(&[]).unwrap().file(), None);
    assert!(config(&[("HOME", "/nonexistent")]).unwrap().warnings().is_empty());
}

#[test]
fn values_that_are_no_text_are_refused_not_ignored() {
    use std::os::unix::ffi::OsStringExt;
    let mut environment = Environment::default();
    environment.0.insert("WALG_FILE_PREFIX".into(), OsString::from_vec(vec![b'/', 0xff]));
    environment.0.insert("SOMETHING_ELSE".into(), OsString::from_vec(vec![0xff]));
    let error = Config::resolve(&Flags::default(), &environment).unwrap_err();
    assert_eq!((error.code(), error.object()), (Code::ConfigValue, Some("WALG_FILE_PREFIX")));
}

#[test]
fn debug_output_keeps_secrets() {
    let given =
        "env: AWS_SECRET_ACCESS_KEY=CANARY AWS_ACCESS_KEY_ID=x WALG_PGP_KEY=CANARY | flags: --aws-session-token=CANARY";
    let config = resolved(given).unwrap();
    assert!(!format!("{config:?} {:?}", config.store_settings(&bucket())).contains("CANARY"));
}
