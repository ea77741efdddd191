//! `audit` end to end: verdicts and exit codes on real archives, whole and mutilated; what monitoring and browsers get.
//!
//! In: the archive of this repository, the larger one, Garage, Chromium. Out: verdicts. Never: a clock in an expectation.

use crate::support::{self, Scratch, archive, require, stderr, stdout, wal_r};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use wal_r::cli::render::audit::{html, samples};
use wal_r::testing::exposition;

/// A copy of the bundled archive to damage.
fn bundled(scratch: &Scratch) -> PathBuf {
    scratch.copy(&archive::bundled().0, "archive")
}

fn audit(archive: &Path, arguments: &[&str]) -> Output {
    let mut command = wal_r();
    command.args(["audit", "-q", "--prefix"]).arg(archive).args(arguments);
    command.output().expect("the program runs")
}

#[track_caller]
fn expect(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}{}", stdout(output), stderr(output));
}

#[track_caller]
fn json(archive: &Path, arguments: &[&str], code: i32) -> Value {
    let output = audit(archive, &[arguments, &["--format", "json"]].concat());
    expect(&output, code);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {}", stdout(&output)))
}

/// `code severity object` of each finding that counts, or is acknowledged.
fn findings(report: &Value) -> Vec<String> {
    let all = report["findings"].as_array().expect("findings");
    let counts = all.iter().filter(|one| one["severity"] != "harmless" || !one["acknowledged"].is_null());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    counts.map(|one| format!("{} {} {}", text(&one["code"]), text(&one["severity"]), text(&one["object"]))).collect()
}

/// Whole archives of the original WAL-E: nothing counts, at any level, and the newest commit is the server's own.
#[test]
fn clean_archives_are_ok() {
    let (folder, facts) = archive::bundled();
    for level in ["names", "decode", "headers", "records"] {
        let report = json(&folder, &["--level", level, "--backups", "ALL"], 0);
        assert_eq!((&report["verdict"], findings(&report)), (&"ok".into(), vec![]), "{level}");
        assert_eq!(report["cluster"]["system"], facts.get("system_identifier"));
        let commit = report["freshness"]["newest_commit"]["time"].as_str();
        match level {
            "records" => assert_newest(commit.expect("a commit"), &facts),
            _ => assert_eq!(commit, None, "{level}"),
        }
        assert_eq!(report["coverage"]["objects_read"].as_u64().expect("a number") > 0, level != "names");
        assert_eq!(report["timelines"].as_array().expect("timelines").len(), 2);
    }
}

#[test]
fn the_larger_archive_is_ok() {
    let (folder, facts) = archive::shared(&require!(shared_archive));
    let report = json(&folder, &["--backups", "ALL"], 0);
    assert_eq!((&report["verdict"], findings(&report)), (&"ok".into(), vec![]));
    let commit = report["freshness"]["newest_commit"]["time"].as_str().expect("a commit");
    assert_newest(commit, &facts);
    assert_eq!(report["coverage"]["backups_read"], 3);
    assert!(report["freshness"]["window_start"].as_str().expect("a window") < commit);
}

/// The fact is the server's clock just behind its last commit.
#[track_caller]
fn assert_newest(commit: &str, facts: &archive::Facts) {
    let started = facts.get("tli2_started").split(" timeline").next().expect("a time");
    let (commit, started, behind) = (time(commit), time(started), time(facts.get("tli2_last_commit")));
    assert!(started < commit && commit < behind && behind - commit < 5_000_000, "{started} {commit} {behind}");
}

/// Microseconds, from the forms of the program and of psql.
#[track_caller]
fn time(text: &str) -> i64 {
    let text = text.trim_end_matches("+00").trim_end_matches('Z').replacen(' ', "T", 1) + "Z";
    let time: jiff::Timestamp = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
    time.as_microsecond()
}

#[test]
fn exit_codes_follow_the_worst_that_counts() {
    let scratch = Scratch::new();
    let folder = bundled(&scratch);
    let wal = folder.join("wal_005");
    // Stored just now, committed long ago: an idle server, or a copy. Stored long ago, too: archiving has stopped.
    expect(&audit(&folder, &["--max-wal-age", "1h"]), 1);
    expect(&audit(&folder, &["--max-wal-age", "1h", "--level", "names"]), 0);
    support::succeed(Command::new("sh").arg("-c").arg("touch -d '2026-11-21 12:00' \"$0\"/wal_005/*").arg(&folder));
    expect(&audit(&folder, &["--max-wal-age", "1h"]), 2);
    expect(&audit(&folder, &["--max-wal-age", "1h", "--level", "names"]), 2);
    expect(&audit(&folder, &["--max-backup-age", "1h"]), 1);
    expect(&audit(&folder, &["--max-backup-age", "1h", "--fail-on", "critical"]), 0);
    expect(&audit(&folder, &["--min-window", "99999d"]), 1);
    // A hole in the middle of the way.
    std::fs::remove_file(wal.join("000000010000000000000004.lzo")).expect("it is there");
    let report = json(&folder, &["--level", "names"], 2);
    assert!(findings(&report).iter().any(|one| one.starts_with("segment.missing critical ")), "{report}");
    let page = audit(&folder, &["--level", "names", "--fail-on", "critical"]);
    expect(&page, 2);
    assert!(stdout(&page).starts_with("CRITICAL  "), "{}", stdout(&page));
    // Not read is not ok.
    let report = json(&archive::bundled().0, &["--budget-bytes", "1"], 3);
    assert!(report["coverage"]["not_reached"].as_u64().expect("a number") > 0, "{report}");
    assert_eq!(report["verdict"], "unknown");
    expect(&audit(&archive::bundled().0, &["--budget-time", "0s"]), 3);
}

#[test]
fn damage_is_found_by_the_level_that_claims_it() {
    let scratch = Scratch::new();
    let folder = bundled(&scratch);
    let victim = folder.join("wal_005/000000010000000000000005.lzo");
    let mut bytes = std::fs::read(&victim).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&victim, bytes).expect("written");
    expect(&audit(&folder, &["--level", "names"]), 0);
    let report = json(&folder, &["--level", "decode"], 2);
    assert!(findings(&report).iter().any(|one| one.contains("000000010000000000000005")), "{report}");
}

#[test]
fn what_cannot_be_looked_at_is_unknown_and_still_printed() {
    let scratch = Scratch::new();
    let missing = scratch.join("no/such/archive");
    let empty = scratch.dir("empty");
    for (folder, word) in [(&missing, "archive.unread"), (&empty, "archive.empty")] {
        for format in ["table", "json", "nagios", "prometheus"] {
            let page = scratch.join("page.html");
            let html = page.display().to_string();
            let output = audit(folder, &["--format", format, "--html", &html, "--max-wal-age", "1h"]);
            expect(&output, 3);
            let text = stdout(&output);
            let says = match format {
                "table" => text.starts_with("UNKNOWN  ") && text.contains(word),
                "json" => text.contains("\"verdict\": \"unknown\"") && text.contains(word),
                "nagios" => text.starts_with("WAL-R UNKNOWN - "),
                _ => text.contains("walr_audit_verdict{") && exposition::parse(&text).is_ok(),
            };
            assert!(says, "{format}: {text}");
            assert!(std::fs::read_to_string(&page).expect("a page").contains(word));
        }
    }
    assert!(!scratch.join("no").exists(), "it was made");
    let mut nothing = wal_r();
    let output = nothing.args(["audit", "--format", "nagios"]).output().expect("runs");
    expect(&output, 3);
    assert!(stdout(&output).starts_with("WAL-R UNKNOWN - no archive: "), "{}", stdout(&output));
    // A folder that may not be read. Root may read all.
    let shut = scratch.dir("shut");
    std::fs::set_permissions(&shut, std::os::unix::fs::PermissionsExt::from_mode(0o000)).expect("chmod");
    let mut command = scratch.command(scratch.wal_r());
    let output = command.args(["audit", "-q", "--prefix"]).arg(&shut).output().expect("runs");
    std::fs::set_permissions(&shut, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    expect(&output, 3);
    assert!(stdout(&output).starts_with("UNKNOWN  "), "{}", stdout(&output));
}

/// Names of an archive under which no file lies. Nothing hangs, nothing of it is called good, and a timeline that is left
/// out is named.
#[test]
fn what_is_no_file_is_not_good() {
    let scratch = Scratch::new();
    let make = |way: &str, path: &Path| {
        std::fs::remove_file(path).expect("it is there");
        match way {
            "fifo" => drop(support::succeed(Command::new("mkfifo").arg(path))),
            // Made where its path is short enough.
            "socket" => {
                let short = scratch.join("s");
                drop(std::os::unix::net::UnixListener::bind(&short).expect("a socket"));
                std::fs::rename(short, path).expect("moved");
            }
            "link" => std::os::unix::fs::symlink("/no/such/file", path).expect("a link"),
            _ => std::fs::create_dir(path).expect("a folder"),
        }
    };
    let backup = "basebackups_005/base_000000010000000000000003_00000040";
    let segment = "wal_005/000000010000000000000005.lzo".to_owned();
    let history = "wal_005/00000002.history.lzo".to_owned();
    let sentinel = format!("{backup}_backup_stop_sentinel.json");
    let part = format!("{backup}/tar_partitions/part_00000000.tar.lzo");
    for way in ["fifo", "socket", "link", "folder"] {
        for object in [&segment, &history, &sentinel, &part] {
            let folder = scratch.copy(&archive::bundled().0, "a");
            make(way, &folder.join(object));
            let output = audit(&folder, &["--backups", "ALL"]);
            let code = output.status.code();
            // A folder is no object, so it is missing; of all else nobody knows what it would be, but that it is no whole file.
            let due: &[i32] = if way == "folder" { &[2] } else { &[2, 3] };
            assert!(code.is_some_and(|code| due.contains(&code)), "{way} {object}: {code:?} {}", stdout(&output));
            if *object == segment {
                let to = scratch.join("fetched");
                let mut fetch = wal_r();
                fetch.args(["wal-fetch", "--prefix"]).arg(&folder).arg("000000010000000000000005").arg(&to);
                let output = fetch.output().expect("runs");
                assert!(!output.status.success() && !to.exists(), "{way}: {}", stderr(&output));
            }
            if *object == history && way != "folder" {
                let mut windows = wal_r();
                windows.args(["recovery-windows", "-q", "--timeline", "2", "--prefix"]).arg(&folder);
                let output = windows.output().expect("runs");
                expect(&output, 3);
                assert!(stdout(&output).contains("TIMELINE 2, left out: "), "{way}: {}", stdout(&output));
            }
            std::fs::remove_dir_all(&folder).expect("it is there");
        }
    }
}

#[test]
fn acknowledged_losses_do_not_count() {
    let scratch = Scratch::new();
    let folder = bundled(&scratch);
    std::fs::remove_file(folder.join("wal_005/000000010000000000000004.lzo")).expect("it is there");
    let names = ["--level", "names"];
    let template = audit(&folder, &[&names[..], &["--ack-template"]].concat());
    expect(&template, 2);
    let file = scratch.join("losses.toml");
    let path = file.display().to_string();
    let with_ack = [&names[..], &["--ack", &path]].concat();
    // Nobody has said why.
    std::fs::write(&file, stdout(&template)).expect("written");
    let report = json(&folder, &with_ack, 2);
    assert!(findings(&report).iter().any(|one| one.starts_with("ack.unreadable unknown ")), "{report}");
    let filled = stdout(&template).replace("reason = \"\"", "reason = \"lost\"").replace("by = \"\"", "by = \"jane\"");
    std::fs::write(&file, &filled).expect("written");
    let report = json(&folder, &with_ack, 0);
    assert!(report["counts"]["acknowledged"].as_u64().expect("a number") > 0, "{report}");
    // The gap grows by one: that one counts.
    std::fs::remove_file(folder.join("wal_005/000000010000000000000005.lzo")).expect("it is there");
    let report = json(&folder, &with_ack, 2);
    let counting = findings(&report);
    assert!(counting.contains(&"segment.missing critical 000000010000000000000005".to_owned()), "{counting:?}");
    // Expired.
    let expired: String = filled
        .lines()
        .map(|line| if line.starts_with("until") { "until = 2020-01-01\n".into() } else { format!("{line}\n") })
        .collect();
    std::fs::write(&file, expired).expect("written");
    let report = json(&folder, &with_ack, 2);
    assert!(findings(&report).iter().any(|one| one.starts_with("ack.expired warning ")), "{report}");
    // On a whole archive: an unreadable file is unknown, an unused one harmless.
    let whole = archive::bundled().0;
    std::fs::write(&file, &filled).expect("written");
    expect(&audit(&whole, &with_ack), 0);
    std::fs::write(&file, "[[loss]]\nsegments = 7\n").expect("written");
    expect(&audit(&whole, &with_ack), 3);
    expect(&audit(&whole, &[&names[..], &["--ack", "/no/such/file"]].concat()), 3);
}

#[test]
fn a_ledger_makes_the_next_night_cheap_and_notices_what_changed() {
    let scratch = Scratch::new();
    let folder = bundled(&scratch);
    let ledger = scratch.join("main.ledger").display().to_string();
    let run = |more: &[&str], code| json(&folder, &[&["--ledger", &ledger][..], more].concat(), code);
    let first = run(&[], 0);
    let read = |report: &Value| report["coverage"]["objects_read"].as_u64().expect("a number");
    assert!(read(&first) > 5 && first["coverage"]["remembered"] == 0, "{first}");
    let second = run(&[], 0);
    assert_eq!((read(&second), &second["coverage"]["bytes_read"]), (0, &0.into()), "{second}");
    assert!(second["coverage"]["remembered"].as_u64().expect("a number") >= 6, "{second}");
    assert_eq!(second["freshness"], first["freshness"]);
    assert!(!second["coverage"]["remembered_since"].is_null());
    let third = run(&["--recheck", "100%"], 0);
    assert!(read(&third) >= 6, "{third}");
    // A proven object that has changed; one that is gone from the end.
    let newest = folder.join("wal_005/000000020000000000000007.lzo");
    let copy = std::fs::read(&newest).expect("it is there");
    std::fs::write(folder.join("wal_005/000000010000000000000005.lzo"), &copy).expect("written");
    let report = run(&[], 2);
    assert!(findings(&report).iter().any(|one| one.starts_with("ledger.changed critical ")), "{:?}", findings(&report));
    std::fs::remove_file(&newest).expect("it is there");
    let report = run(&[], 2);
    assert!(
        findings(&report).iter().any(|one| one.starts_with("ledger.vanished critical 000000020000000000000007")),
        "{:?}",
        findings(&report)
    );
    // No ledger, no reading.
    std::fs::write(&ledger, "this is no database, and longer than a header of one may be by a good deal of bytes")
        .expect("written");
    let report = run(&[], 3);
    assert_eq!(read(&report), 0, "{report}");
    assert!(findings(&report).iter().any(|one| one.starts_with("ledger.unusable unknown ")), "{:?}", findings(&report));
}

#[test]
fn the_ledger_of_ones_own() {
    let scratch = Scratch::new();
    let run = || {
        let mut command = wal_r();
        command.args(["audit", "-q", "--since-ledger", "--format", "json", "--prefix"]).arg(archive::bundled().0);
        let output = command.env("XDG_STATE_HOME", scratch.path()).output().expect("runs");
        expect(&output, 0);
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    assert!(run()["coverage"]["objects_read"].as_u64().expect("a number") > 0);
    assert_eq!(run()["coverage"]["objects_read"], 0);
    assert_eq!(
        std::fs::read_dir(scratch.join("wal-r"))
            .expect("made")
            .filter(|one| one.as_ref().expect("an entry").path().extension().is_some_and(|suffix| suffix == "sqlite"))
            .count(),
        1
    );
}

#[test]
fn files_are_whole_and_streams_may_close() {
    let scratch = Scratch::new();
    let folder = bundled(&scratch);
    let metrics = scratch.join("walr.prom");
    let path = metrics.display().to_string();
    let output = audit(&folder, &["--level", "names", "--format", "prometheus", "--output", &path]);
    expect(&output, 0);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}{}", stdout(&output), stderr(&output));
    let text = std::fs::read_to_string(&metrics).expect("written");
    let samples = exposition::parse(&text).expect("metrics");
    assert!(samples.iter().any(|one| one.name == "walr_archive_segments" && one.value == 6.0), "{text}");
    assert_eq!(std::fs::read_dir(scratch.path()).expect("a folder").count(), 2, "something was left");
    // A reader that goes away has read enough: the verdict stands.
    std::fs::remove_file(folder.join("wal_005/000000010000000000000004.lzo")).expect("it is there");
    let mut child = wal_r();
    child.args(["audit", "-q", "--level", "names", "--prefix"]).arg(&folder).stdout(Stdio::piped());
    let mut child = child.spawn().expect("runs");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("ends").code(), Some(2));
    // A page that cannot be written does not hide the verdict, and is no success.
    let whole = archive::bundled().0;
    let output = audit(&whole, &["--level", "names", "--html", "/no/such/folder/page.html"]);
    expect(&output, 3);
    assert!(stdout(&output).starts_with("OK  ") && stderr(&output).contains("error[local.io]"), "{}", stderr(&output));
    // What others cannot print is said before anything is done.
    for verb in [&["backup-list"][..], &["st", "ls"]] {
        let output = wal_r().args(verb).args(["--format", "nagios"]).output().expect("runs");
        expect(&output, 64);
        assert!(stderr(&output).contains("for `wal-r audit`"), "{}", stderr(&output));
    }
}

#[test]
fn from_garage_with_a_ledger() {
    let garage = require!(garage);
    let scratch = Scratch::new();
    let url = garage.upload(&archive::bundled().0, &garage.prefix("audit"));
    let run = |code| {
        let mut command = wal_r();
        command.args(["audit", "-q", "--format", "json", "--prefix", &url, "--ledger"]).arg(scratch.join("ledger"));
        let output = command.envs(garage.environment()).output().expect("runs");
        expect(&output, code);
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let first = run(0);
    assert_eq!((&first["verdict"], findings(&first)), (&"ok".into(), vec![]));
    let second = run(0);
    assert_eq!((&second["coverage"]["objects_read"], &second["coverage"]["bytes_read"]), (&0.into(), &0.into()));
    // Refused: nothing is known.
    let mut command = wal_r();
    command.args(["audit", "-q", "--deadline", "20s", "--prefix", &url]).envs(garage.environment());
    let output = command.env("AWS_SECRET_ACCESS_KEY", "wrong").output().expect("runs");
    expect(&output, 3);
    assert!(stdout(&output).contains("credentials.refused"), "{}", stdout(&output));
}

/// What a browser says of a page.
struct Browser {
    program: PathBuf,
    scratch: Scratch,
}

impl Browser {
    fn run(&self, page: &Path, width: u32, dark: bool, more: &[&str]) -> Output {
        let scheme =
            if dark { "--blink-settings=preferredColorScheme=0" } else { "--blink-settings=preferredColorScheme=1" };
        let mut command = Command::new(&self.program);
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--no-first-run",
                "--disable-extensions",
            ])
            .arg(format!("--user-data-dir={}", self.scratch.join("profile").display()))
            .args([
                &format!("--window-size={width},900"),
                scheme,
                "--enable-logging=stderr",
                "--virtual-time-budget=2000",
            ])
            .args(more)
            .arg(format!("file://{}", page.display()))
            .env("HOME", self.scratch.path())
            .stdin(Stdio::null());
        let output = command.output().expect("Chromium runs");
        assert!(output.status.success(), "{}", stderr(&output));
        output
    }

    /// The page with a script that measures it: `width scrollWidth background widest` of what stands out.
    fn measure(&self, name: &str, page: &str, width: u32, dark: bool) -> Vec<String> {
        let script = "<script>var root = document.scrollingElement, out = [];\
             document.querySelectorAll('body *').forEach(function (one) {\
               var box = one.getBoundingClientRect();\
               if (box.width && box.right > innerWidth + 1 && !one.closest('svg.picture')) out.push(one.tagName + '.' + (one.className.baseVal || one.className)); });\
             parent.document.body.setAttribute('data-measured', [innerWidth, root.scrollWidth,\
               getComputedStyle(document.body).backgroundColor.replace(/ /g, ''), out.slice(0, 3).join('+') || 'nothing',\
               document.querySelectorAll('details').length].join(' '));</script></body>";
        // Ours is another script: the policy would stop it.
        let from = page.find("<meta http-equiv=\"Content-Security-Policy\"").expect("a policy");
        let to = from + page[from..].find('>').expect("its end") + 1;
        let page =
            format!("{}{}", &page[..from], &page[to..].replace("<details", "<details open").replace("</body>", script));
        // A window has a least width of its own, a frame has not.
        let page = page.replace('&', "&amp;").replace('"', "&quot;");
        let page = format!(
            "<body><iframe srcdoc=\"{page}\" width=\"{width}\" height=\"900\" style=\"border:0\"></iframe></body>"
        );
        let file = self.scratch.join(format!("{name}-measured.html"));
        std::fs::write(&file, page).expect("written");
        let dom = stdout(&self.run(&file, width + 200, dark, &["--dump-dom"]));
        let at = dom.find("data-measured=\"").unwrap_or_else(|| panic!("{name}: no script ran: {dom}")) + 15;
        dom[at..].split('"').next().expect("an attribute").split(' ').map(str::to_owned).collect()
    }
}

/// In a real browser: nothing stands out at 360 pixels or at 1200, light and dark differ, our script runs and no other,
/// and the console stays empty.
#[test]
fn pages_in_a_browser() {
    let browser = Browser { program: require!(chromium), scratch: Scratch::new() };
    let real = browser.scratch.join("real.html");
    let output = audit(&archive::bundled().0, &["--html", &real.display().to_string()]);
    expect(&output, 0);
    let mut pages: Vec<(&str, String)> =
        samples::all().into_iter().map(|(name, report)| (name, html::render(&report))).collect();
    pages.push(("real", std::fs::read_to_string(&real).expect("a page")));
    for (name, page) in &pages {
        let mut backgrounds = Vec::new();
        for (width, dark) in [(360, false), (1200, true)] {
            let measured = browser.measure(name, page, width, dark);
            let [inner, scroll, background, widest, ..] = measured.as_slice() else { panic!("{name}: {measured:?}") };
            assert_eq!(inner, &width.to_string(), "{name}: another width was measured");
            assert!(scroll.parse::<u32>().expect("a number") <= width, "{name} at {width}: {measured:?}");
            assert_eq!(widest, "nothing", "{name} at {width}");
            backgrounds.push(background.clone());
        }
        assert_ne!(backgrounds[0], backgrounds[1], "{name}: dark is light");
        // As it is, with its policy.
        let file = browser.scratch.join(format!("{name}.html"));
        std::fs::write(&file, page).expect("written");
        let shot = browser.scratch.join(format!("{name}.png"));
        let seen = browser.run(&file, 360, false, &["--dump-dom"]);
        assert!(!stderr(&seen).contains("CONSOLE"), "{name}: {}", stderr(&seen));
        let dom = stdout(&seen);
        assert!(dom.contains("<title>") && !dom.contains("<title>owned</title>"), "{name}: a script from outside ran");
        assert!(!dom.contains("<img"), "{name}: markup from outside");
        assert!(dom.contains("<span id=\"age\">, "), "{name}: our own script did not run");
        browser.run(&file, 1200, false, &[&format!("--screenshot={}", shot.display())]);
        assert!(std::fs::metadata(&shot).expect("a picture").len() > 10_000, "{name}: an empty picture");
    }
}
