//! The frame around every verb: help, version, exit codes, streams, the pages of errors.
//!
//! In: the binary, a small local archive. Out: verdicts. Never: needs a network or another program.

use super::support::require;
use std::process::{Command, Output, Stdio};

/// The program with an empty environment, no input, in a directory that is no data directory.
fn wal_r(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wal-r"));
    command.args(args).env_clear().stdin(Stdio::null()).current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

fn run(args: &[&str]) -> Output {
    wal_r(args).output().expect("the binary runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_and_version_are_results() {
    for args in [&["--help"][..], &["-h"], &["help"], &["explain", "--help"], &["--version"], &["-V"], &["version"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}: {}", err(&output));
    }
    let version = out(&run(&["--version"]));
    for line in ["wal-r ", "features: ", "stores: ", "codecs: "] {
        assert!(version.contains(line), "{version}");
    }
    assert_eq!(version, out(&run(&["version"])));
}

#[test]
fn usage_errors_are_64_and_speak_on_stderr() {
    for args in [&[][..], &["no-such-verb"], &["explain", "--no-such-flag"], &["--format", "xml", "explain"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn every_code_has_a_page() {
    let list = out(&run(&["explain"]));
    let codes: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert!(codes.contains(&"store.unreachable") && codes.len() > 30, "{list}");
    for code in codes {
        let page = run(&["explain", code]);
        assert_eq!(page.status.code(), Some(0), "{code}");
        assert!(out(&page).starts_with(code) && out(&page).lines().count() >= 5, "{}", out(&page));
    }
    let unknown = run(&["explain", "no.such"]);
    assert_eq!(unknown.status.code(), Some(64));
    assert!(err(&unknown).starts_with("error[usage.argument]: "), "{}", err(&unknown));
}

#[test]
fn json_in_json_out() {
    let page = run(&["--format", "json", "explain", "gap"]);
    assert!(out(&page).contains("\"schema\": \"wal-r.explain\""), "{}", out(&page));
    let failed = run(&["explain", "no.such", "--format", "json"]);
    assert!(failed.stdout.is_empty());
    assert!(err(&failed).starts_with("{\"schema\":\"wal-r.error\"") && err(&failed).contains("\"exit\":64"));
    for args in [&["--format", "json", "no-such-verb"][..], &["st", "ls", "--format=json", "--no-such-flag"]] {
        let failed = run(args);
        let value: serde_json::Value = serde_json::from_str(&err(&failed)).expect("JSON");
        assert_eq!(value["error"]["code"], "usage.argument", "{args:?}");
        assert_eq!(failed.status.code(), Some(64), "{args:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_success_and_a_full_disk_is_not() {
    let mut child = wal_r(&["explain"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    for args in [&["explain"][..], &["--help"], &["--version"]] {
        let output = wal_r(args).stdout(full.try_clone().expect("dup")).output().expect("runs");
        assert_eq!(output.status.code(), Some(74), "{args:?}");
        assert!(err(&output).contains("error[local.io]: stdout"), "{args:?}: {}", err(&output));
    }
}

#[test]
fn closed_streams_change_nothing() {
    let program = env!("CARGO_BIN_EXE_wal-r");
    for (args, code) in [("explain store.dns", 0), ("explain no.such", 64), ("no-such-verb", 64)] {
        for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
            let line = format!("{program} {args} {closed}");
            let status = Command::new("/bin/sh").args(["-c", &line]).env_clear().output().expect("sh runs").status;
            assert_eq!(status.code(), Some(code), "{line}");
        }
    }
}

#[test]
fn in_the_data_directory_of_a_recovery_a_typing_error_stops_it() {
    let data = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-recovering");
    std::fs::create_dir_all(&data).expect("writable");
    std::fs::write(data.join("recovery.signal"), "").expect("writable");
    std::fs::write(data.join("PG_VERSION"), "15\n").expect("writable");
    for args in [&["walfetch", "a", "b"][..], &["wal-fetch", "--no-such-flag", "a", "b"]] {
        let output = wal_r(args).current_dir(&data).output().expect("runs");
        assert_eq!(output.status.code(), Some(200), "{args:?}");
    }
}

const SEGMENT: &str = "wal_005/000000010000000000000002.lzo";
const SENTINEL: &str = "basebackups_005/base_000000010000000000000002_00000040_backup_stop_sentinel.json";

/// A small archive in a directory of its own: enough for listing, reading and being wrong.
fn archive(name: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let put = |key: &str, bytes: &[u8]| {
        let path = root.join(key);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("writable");
        std::fs::write(path, bytes).expect("writable");
    };
    let sentinel = br#"{"wal_segment_backup_stop": "000000010000000000000002",
        "wal_segment_offset_backup_stop": "00000312", "expanded_size_bytes": 22, "spec": {}}"#;
    put(SENTINEL, sentinel);
    // `printf 'hello\n' | lzop`: header, one stored block, end.
    put(SEGMENT, HELLO);
    put("wal_005/000000010000000000000003.lzo", b"<html>502 Bad Gateway</html>");
    put("wal_005/000000010000000000000004.lzo", b"");
    root.display().to_string()
}

const HELLO: &[u8] = &[
    0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a, 0x10, 0x40, 0x20, 0xa0, 0x09, 0x40, 0x01, 0x05, 0x03, 0x00,
    0x00, 0x0d, 0x00, 0x00, 0x00, 0x00, 0x6b, 0x01, 0x68, 0x79, 0x00, 0x00, 0x00, 0x00, 0x00, 0x28, 0xd5, 0x02, 0xbd,
    0x00, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00, 0x06, 0x08, 0x4b, 0x02, 0x1f, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0x0a, 0x00,
    0x00, 0x00, 0x00,
];

#[test]
fn a_look_at_a_local_store() {
    let root = archive("cli-st");
    let st = |args: &[&str]| run(&[&["--prefix", &root, "st"], args].concat());
    let rows = [
        (&["ls"][..], 0, "basebackups_005/\n"),
        (&["ls", "-r"], 0, SEGMENT),
        (&["ls", "wal_005/000000010000000000000003"], 0, "000000010000000000000003.lzo"),
        (&["ls", "nothing"], 66, ""),
        (&["cat", SENTINEL], 0, "expanded_size_bytes"),
        (&["cat", "--decompress", SEGMENT], 0, "hello\n"),
        (&["cat", "--decompress", "wal_005/000000010000000000000003.lzo"], 65, ""),
        (&["cat", "wal_005/000000010000000000000003.lzo"], 0, "502 Bad Gateway"),
        (&["cat", "nothing"], 66, ""),
        (&["cat", "wal_005"], 66, ""),
        (&["stat", SEGMENT], 0, "an lzop file"),
        (&["stat", "wal_005/000000010000000000000003.lzo"], 0, "not what its name promises"),
        (&["stat", "nothing"], 66, ""),
    ];
    for (args, code, wanted) in rows {
        let output = st(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", err(&output));
        assert!(out(&output).contains(wanted), "{args:?}: {}", out(&output));
        assert_eq!(output.stderr.is_empty(), code == 0, "{args:?}: {}", err(&output));
        let json = st(&[args, &["--format", "json"]].concat());
        assert_eq!(json.status.code(), Some(code), "{args:?}");
        let text = if code == 0 { out(&json) } else { err(&json) };
        if args[0] != "cat" || code != 0 {
            let value: serde_json::Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}: {text}"));
            assert!(value["schema"].is_string() && value["version"].is_number(), "{args:?}");
        }
    }
}

#[test]
fn a_file_is_fetched_whole_or_not_at_all() {
    let root = archive("cli-get");
    let place = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-get-to");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).expect("writable");
    let get = |key: &str, more: &[&str]| {
        let args = [&["--prefix", &root, "st", "get", key, "file"], more].concat();
        let output = wal_r(&args).current_dir(&place).output().expect("runs");
        (
            output.status.code(),
            std::fs::read(place.join("file")).ok(),
            std::fs::read_dir(&place).expect("there").count(),
        )
    };
    assert_eq!(get("wal_005/000000010000000000000003.lzo", &[]), (Some(65), None, 0));
    assert_eq!(get("nothing", &[]), (Some(66), None, 0));
    assert_eq!(get(SEGMENT, &[]), (Some(0), Some(b"hello\n".to_vec()), 1));
    assert_eq!(get(SENTINEL, &[]), (Some(73), Some(b"hello\n".to_vec()), 1));
    std::fs::remove_file(place.join("file")).expect("there");
    assert_eq!(get(SEGMENT, &["--no-decompress"]), (Some(0), Some(HELLO.to_vec()), 1));
}

#[test]
fn settings_are_checked_against_the_store() {
    let root = archive("cli-check");
    let check = |prefix: &str, more: &[&str]| run(&[&["--prefix", prefix, "config", "check"], more].concat());
    let good = check(&root, &[]);
    assert_eq!(good.status.code(), Some(0), "{}", out(&good));
    for wanted in ["list: present: 1 base backup", "read: present", "decode: present", "--prefix"] {
        assert!(out(&good).contains(wanted), "{wanted}: {}", out(&good));
    }
    let typo = check(&format!("{root}-typo"), &[]);
    assert_eq!(typo.status.code(), Some(66), "{}", out(&typo));
    assert!(out(&typo).contains("absent.prefix"), "{}", out(&typo));
    assert!(!std::path::Path::new(&format!("{root}-typo")).exists(), "nothing is created");
    let below = check(&format!("{root}/wal_005"), &[]);
    assert_eq!(below.status.code(), Some(66), "{}", out(&below));
    let file = check(&format!("{root}/{SEGMENT}"), &[]);
    assert_eq!(file.status.code(), Some(74), "{}", out(&file));
    let scheme = check("gs://bucket", &[]);
    assert_eq!(scheme.status.code(), Some(78), "{}", out(&scheme));
    assert_eq!(run(&["config", "check"]).status.code(), Some(78));
    assert_eq!(run(&["--config", "/nonexistent", "config", "check"]).status.code(), Some(78));
    assert_eq!(check("s3://bucket", &["--offline"]).status.code(), Some(0));
    let json = check(&root, &["--format", "json"]);
    let value: serde_json::Value = serde_json::from_str(&out(&json)).expect("JSON");
    assert_eq!(value["steps"].as_array().map(Vec::len), Some(3), "{}", out(&json));
}

#[test]
fn an_unreadable_directory_is_unknown_not_absent() {
    use std::os::unix::fs::PermissionsExt;
    let root = archive("cli-unreadable");
    let wal = std::path::Path::new(&root).join("basebackups_005");
    std::fs::set_permissions(&wal, std::fs::Permissions::from_mode(0o000)).expect("ours");
    let may_read_all_the_same = std::fs::read_dir(&wal).is_ok();
    let output = run(&["--prefix", &root, "config", "check"]);
    std::fs::set_permissions(&wal, std::fs::Permissions::from_mode(0o755)).expect("ours");
    // The super user can read everything: then there is nothing to be refused.
    let wanted = if may_read_all_the_same { 0 } else { 77 };
    assert_eq!(output.status.code(), Some(wanted), "{}", out(&output));
}

/// No secret is printed by any verb, whatever happens: every secret setting is a canary, in the environment, in a file, in
/// an envdir and as flags.
#[test]
fn secrets_are_never_printed() {
    let root = archive("cli-secrets");
    let explained = run(&["--format", "json", "config", "explain"]);
    let table: serde_json::Value = serde_json::from_str(&out(&explained)).expect("JSON");
    let secrets: Vec<String> = table["settings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|setting| setting["secret"] == true)
        .flat_map(|setting| {
            let also = setting["also"].as_array().expect("a list").iter();
            also.chain([&setting["name"]]).map(|name| name.as_str().expect("text").to_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert!(secrets.iter().any(|name| name == "AWS_SECRET_ACCESS_KEY") && secrets.len() > 20, "{secrets:?}");
    let place = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-secrets-settings");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(place.join("envdir")).expect("writable");
    let mut lines = String::from("WALG_S3_PREFIX=s3://bucket\n");
    let mut broken = String::from("{");
    for name in &secrets {
        lines.push_str(&format!("{name}=CANARY\n"));
        broken.push_str(&format!("\"{name}\": \"CANARY\" "));
        std::fs::write(place.join("envdir").join(name), "CANARY\n").expect("writable");
    }
    std::fs::write(place.join("walg.env"), lines).expect("writable");
    std::fs::write(place.join("walg.json"), broken).expect("writable");
    let file = |name: &str| place.join(name).display().to_string();
    let ways: [Vec<String>; 6] = [
        vec![],
        vec!["--config".into(), file("walg.env")],
        vec!["--config".into(), file("walg.json")],
        vec!["--envdir".into(), file("envdir")],
        vec!["--aws-secret-access-key".into(), "CANARY".into(), "--aws-session-token=CANARY".into()],
        vec!["--prefix".into(), "s3://key:CANARY@bucket".into()],
    ];
    let verbs: [&[&str]; 12] = [
        &["config", "check"],
        &["config", "check", "--offline"],
        &["config", "explain"],
        &["config", "explain", "AWS_SECRET_ACCESS_KEY"],
        &["st", "ls"],
        &["st", "cat", SEGMENT],
        &["st", "stat", "nothing"],
        &["st", "get", SEGMENT, "/nonexistent/x"],
        &["explain"],
        &["--version"],
        &["--aws-secret-acess-key=CANARY", "st", "ls"],
        &["--aws-secret-access-key"],
    ];
    let prefixes = [root.as_str(), "/nonexistent", "s3://bucket"];
    let mut runs = 0;
    for way in &ways {
        for verb in verbs {
            for prefix in prefixes {
                // Nothing listens there: requests fail at once.
                let mut args: Vec<&str> = vec!["-vv", "--deadline", "100ms", "--aws-endpoint", "http://127.0.0.1:9"];
                if !way.iter().any(|word| word == "--prefix") {
                    args.extend(["--prefix", prefix]);
                } else if prefix != root {
                    continue;
                }
                args.extend(way.iter().map(String::as_str));
                args.extend(verb);
                runs += 1;
                args.extend(["--format", if runs % 2 == 0 { "table" } else { "json" }]);
                let mut command = wal_r(&args);
                for name in secrets.iter().filter(|_| way.is_empty()) {
                    command.env(name, "CANARY");
                }
                command.env("AWS_ACCESS_KEY_ID", "id").env("AWS_EC2_METADATA_DISABLED", "true");
                let output = command.output().expect("runs");
                let said = format!("{}{}", out(&output), err(&output));
                assert!(!said.contains("CANARY"), "{args:?}: {said}");
                assert!(output.status.code().is_some_and(|code| code != 70 && code != 101), "{args:?}: {said}");
            }
        }
    }
}

#[test]
fn no_home_no_path_and_both_originals_flags() {
    let root = archive("cli-flags");
    for flags in [
        vec!["--file-prefix", &root],
        vec!["--wale-file-prefix", &root],
        vec!["--walg-file-prefix", &root, "--terse"],
        vec!["--prefix", "/nonexistent", "--prefix", &root],
        vec!["-k", "ID", "--aws-instance-profile", "--gs-access-key-id", "X", "-a", "Y", "--file-prefix", &root],
    ] {
        let output = run(&[&flags[..], &["st", "ls"]].concat());
        assert_eq!(output.status.code(), Some(0), "{flags:?}: {}", err(&output));
    }
    let url = format!("file://localhost{root}");
    let output = wal_r(&["st", "ls"]).env("WALE_FILE_PREFIX", url).env("HOME", "/nonexistent").output().expect("runs");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let unknown = wal_r(&["st", "ls"]).env("WALG_FILE_PERFIX", &root).output().expect("runs");
    assert_eq!(unknown.status.code(), Some(78));
    assert!(err(&unknown).contains("is WALG_FILE_PREFIX meant?"), "{}", err(&unknown));
}

#[test]
fn log_lines_go_where_they_are_sent() {
    let root = archive("cli-log");
    let log = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-log.txt");
    let _ = std::fs::remove_file(&log);
    let ls = |log: &str, level: &str| {
        let mut command = wal_r(&["--prefix", &root, "st", "ls"]);
        command.env("WALG_NO_SUCH_SETTING", "x").env("WALG_LOG_DESTINATION", log).env("WALG_LOG_LEVEL", level);
        let output = command.output().expect("runs");
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        err(&output)
    };
    let path = log.display().to_string();
    assert_eq!(ls(&path, ""), "");
    assert_eq!(ls(&path, ""), "");
    let lines = std::fs::read_to_string(&log).expect("made");
    let warned = lines.lines().filter(|line| line.contains("warning: WALG_NO_SUCH_SETTING"));
    assert_eq!(warned.count(), 2, "{lines}");
    assert!(ls("stderr", "").contains("warning: WALG_NO_SUCH_SETTING"));
    assert!(ls("/nonexistent/log", "").contains("cannot write log lines"));
    assert_eq!(ls("stderr", "ERROR"), "");
    assert_eq!(ls("stderr", "error"), "");
}

#[test]
fn settings_are_checked_against_a_real_s3_server() {
    let garage = require!(garage);
    let prefix = garage.upload(std::path::Path::new(&archive("cli-garage")), &garage.prefix("cli"));
    let run = |args: &[&str], change: &[(&str, &str)]| {
        let mut command = wal_r(&[&["--deadline", "3s"], args].concat());
        command.env("WALG_S3_PREFIX", &prefix).envs(garage.environment()).envs(change.iter().copied());
        command.output().expect("runs")
    };
    let good = run(&["config", "check"], &[]);
    assert_eq!(good.status.code(), Some(0), "{}", out(&good));
    assert_eq!(out(&good).matches(": present: ").count(), 3, "{}", out(&good));
    assert_eq!(out(&run(&["st", "cat", "--decompress", SEGMENT], &[])), "hello\n");
    let stat = out(&run(&["st", "stat", SEGMENT], &[]));
    assert!(stat.contains("an lzop file") && stat.contains("etag"), "{stat}");
    // WAL-E's way to say the same.
    let endpoint = garage.endpoint().replace("http://", "http+path://");
    let wal_e = [("AWS_ENDPOINT_URL", ""), ("AWS_S3_FORCE_PATH_STYLE", ""), ("WALE_S3_ENDPOINT", endpoint.as_str())];
    assert_eq!(run(&["st", "ls"], &wal_e).status.code(), Some(0));
    let closed = format!("http://127.0.0.1:{}", super::support::free_port());
    let rows: [(&str, &str, i32, &str); 5] = [
        ("AWS_SECRET_ACCESS_KEY", "wrong", 77, "credentials.refused"),
        ("AWS_ACCESS_KEY_ID", "", 77, "credentials.missing"),
        ("AWS_ENDPOINT_URL", &closed, 69, "store.unreachable"),
        ("AWS_ENDPOINT_URL", "http://no-such-host.invalid", 69, "store.dns"),
        ("WALG_STORAGE_PREFIX", "typo", 66, "absent.prefix"),
    ];
    for (name, value, code, dotted) in rows {
        let checked = run(&["config", "check"], &[(name, value)]);
        assert_eq!(checked.status.code(), Some(code), "{name}={value}: {}", out(&checked));
        assert!(out(&checked).contains(dotted), "{name}={value}: {}", out(&checked));
        // An error, or a folder with nothing in it: never a listing.
        let listed = run(&["st", "ls"], &[(name, value)]);
        assert_eq!(listed.status.code(), Some(code), "{name}={value}: {}", err(&listed));
        assert!(listed.stdout.is_empty() && err(&listed).contains(dotted), "{name}={value}: {}", err(&listed));
    }
    let bucket = run(&["--prefix", "s3://no-such-bucket-here", "config", "check"], &[]);
    assert!(matches!(bucket.status.code(), Some(66 | 77)), "{}", out(&bucket));
}
