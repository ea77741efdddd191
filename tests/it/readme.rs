//! README.md and the pages of docs/ with commands in them hold: every console block is run on the bundled archive and its output compared; the tables are true.
//!
//! In: the pages. Out: verdicts; with `WALR_UPDATE=1`, the pages with the outputs that were wrong replaced.
//! Never: a block that nothing runs.
//!
//! A block marked `console` has lines `$ command`, each followed by what it prints (stdout and stderr together). All
//! blocks run in one folder, in order, as the servers' user; `export NAME=VALUE` lasts. In expected output `…` stands
//! for anything within a line, and alone on a line for any lines. A block marked `sh` may hold only what CI runs.

use crate::support::garage::{Garage, KEY};
use crate::support::scratch::give;
use crate::support::{Scratch, need, or_skip, succeed, wal_r};
use std::fmt::Write;
use std::path::Path;
use wal_r::cli::exit::{self, Asker};
use wal_r::error::{Class, Code};

/// One command of a console block and what the README says it prints.
#[derive(Debug)]
struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
}

/// A fenced block: its mark, its first line's number, its lines.
fn blocks(text: &str) -> Vec<(String, usize, Vec<String>)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, usize, Vec<String>)> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(mark), None) => open = Some((mark.into(), number + 2, Vec::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((.., lines))) => lines.push(line.into()),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

fn steps(first: usize, lines: &[String]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { line: first + number, command: command.into(), expected: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            if step.expected.is_empty() && step.command.ends_with('\\') {
                step.command = format!("{}{}", step.command.trim_end_matches('\\'), line.trim_start_matches("> "));
            } else {
                step.expected.push(line.clone());
            }
        } else {
            panic!("line {}: a console block begins with a command", first + number);
        }
    }
    steps
}

/// `…` within a line is anything.
fn line_fits(expected: &str, actual: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = actual.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// `…` alone on a line is any lines.
fn fits(expected: &[String], actual: &[&str]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((line, more)) if line == "…" => (0..=actual.len()).any(|skip| fits(more, &actual[skip..])),
        Some((line, more)) => {
            actual.split_first().is_some_and(|(first, rest)| line_fits(line, first.trim_end()) && fits(more, rest))
        }
    }
}

#[test]
fn every_console_block_prints_what_it_says() {
    console_blocks_of("README.md");
}

/// The page on audits is read with a terminal beside it.
#[test]
fn the_audit_page_prints_what_it_says() {
    console_blocks_of("docs/audit.md");
}

#[test]
fn the_feeding_page_prints_what_it_says() {
    console_blocks_of("docs/feeding.md");
}

#[test]
fn the_locate_page_prints_what_it_says() {
    console_blocks_of("docs/locate.md");
}

#[test]
fn the_page_on_verifying_a_copy_prints_what_it_says() {
    or_skip!(need::jq());
    console_blocks_of("docs/copy-verify.md");
}

/// The audit page's other blocks hold what somebody pastes: command lines that parse, an acknowledgement file that is one.
#[test]
fn what_the_audit_page_shows_to_paste_is_good() {
    let text = std::fs::read_to_string(need::root().join("docs/audit.md")).expect("docs/audit.md");
    let (mut lines, mut files) = (0, 0);
    for (mark, first, block) in blocks(&text) {
        match mark.as_str() {
            "toml" => {
                let acks = wal_r::proof::ack::parse("docs/audit.md", &block.join("\n"));
                assert!(!acks.expect("an acknowledgement file").entries.is_empty());
                files += 1;
            }
            "text" | "ini" => {
                for (number, line) in block.iter().enumerate() {
                    let Some((_, call)) = line.split_once("wal-r audit ") else { continue };
                    let words = call.split_whitespace().take_while(|word| !word.starts_with(['>', '|']));
                    let argv = ["wal-r", "audit"].into_iter().chain(words);
                    let parsed = wal_r::cli::args::command().try_get_matches_from(argv);
                    assert!(parsed.is_ok(), "docs/audit.md:{}: {line}: {parsed:?}", first + number);
                    lines += 1;
                }
            }
            "console" | "yaml" => {}
            _ => panic!("docs/audit.md:{first}: a block marked {mark:?}: nothing looks at it"),
        }
    }
    assert!(lines >= 4 && files == 1, "{lines} lines, {files} files");
}

/// The three runbooks on copies, each with stores of its own.
#[test]
fn the_page_on_deleted_services_prints_what_it_says() {
    or_skip!(deleted_services());
}

fn deleted_services() -> Result<(), need::Missing> {
    let garage = Garage::start(&need::garage_program()?);
    let bucket = "our-postgresql-backups";
    garage.cli(&["bucket", "create", bucket]);
    garage.cli(&["bucket", "allow", "--read", "--write", "--owner", "--key", KEY, bucket]);
    let of = |guid: &str| format!("s3://{bucket}/backups/{guid}/wal");
    let environment = garage.environment();
    let bundled = need::root().join("testdata/archive/wal-e-pg13");
    put(&environment, &bundled, &of("6e101b27-ee1b-4f4d-a032-4401a3709ec3"));
    // The young archive: the same names, other bytes.
    let scratch = Scratch::new();
    let young = scratch.copy(&bundled, "young");
    for entry in std::fs::read_dir(young.join("wal_005")).expect("its WAL") {
        std::fs::write(entry.expect("an entry").path(), "another cluster's").expect("a segment");
    }
    let backup = young.join("basebackups_005/base_000000010000000000000003_00000040");
    std::fs::write(backup.join("tar_partitions/part_00000000.tar.lzo"), "another cluster's").expect("a partition");
    let sentinel = backup.with_file_name("base_000000010000000000000003_00000040_backup_stop_sentinel.json");
    let text = std::fs::read_to_string(&sentinel).expect("a sentinel");
    std::fs::write(&sentinel, format!("{text} ")).expect("a sentinel");
    put(&environment, &young, &of("78218ded-7d88-4d69-bd44-6f478c300134"));
    console_blocks_with("docs/recover-service.md", &environment, &[]);
    Ok(())
}

#[test]
fn the_page_on_moving_prints_what_it_says() {
    or_skip!(moving());
}

fn moving() -> Result<(), need::Missing> {
    let program = need::garage_program()?;
    let (old, new) = (Garage::start(&program), Garage::start(&program));
    new.cli(&["key", "allow", "--create-bucket", KEY]);
    old.upload(&need::root().join("testdata/archive/wal-e-pg13"), "db_wal");
    let file = |garage: &Garage| -> String {
        garage.environment().iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    };
    console_blocks_with("docs/move-archive.md", &[], &[("old.env", file(&old)), ("new.env", file(&new))]);
    Ok(())
}

#[test]
fn the_page_on_a_second_cloud_prints_what_it_says() {
    or_skip!(second_cloud());
}

fn second_cloud() -> Result<(), need::Missing> {
    let garage = Garage::start(&need::garage_program()?);
    let azurite = need::azurite()?;
    garage.upload(&need::root().join("testdata/archive/wal-e-pg13"), "db");
    let environment: Vec<_> = garage.environment().into_iter().chain(azurite.environment()).collect();
    console_blocks_with("docs/second-cloud.md", &environment, &[]);
    Ok(())
}

/// An archive of this machine, there.
fn put(environment: &[(&str, String)], archive: &Path, url: &str) {
    let mut command = wal_r();
    command.args(["copy", "--mirror", "--to", url, "--from"]).arg(archive);
    succeed(command.envs(environment.iter().map(|(name, value)| (*name, value.as_str()))));
}

/// Runs them all. `page`: a file of the repository.
fn console_blocks_of(page: &str) {
    console_blocks_with(page, &[], &[]);
}

/// The same with variables that the reader has set, and files beside the clone.
fn console_blocks_with(page: &str, environment: &[(&str, String)], files: &[(&str, String)]) {
    let root = need::root();
    let text = std::fs::read_to_string(root.join(page)).unwrap_or_else(|why| panic!("{page}: {why}"));
    let scratch = Scratch::new();
    // The commands are typed at the root of a clone: the archive is where it is there, the rest is the reader's.
    scratch.dir("testdata/archive");
    scratch.copy(&root.join("testdata/archive/wal-e-pg13"), "testdata/archive/wal-e-pg13");
    scratch.copy(&root.join("testdata/logs"), "testdata/logs");
    let wal_r = scratch.wal_r();
    let path = format!("{}:/usr/bin:/bin", wal_r.parent().expect("it lies in a folder").display());

    for (name, text) in files {
        let path = scratch.join(name);
        std::fs::write(&path, text).unwrap_or_else(|why| panic!("{name}: {why}"));
        give(&path);
    }
    let mut exports: Vec<(String, String)> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut status = 0;
    let mut wrong = String::new();
    let mut updated = text.clone();
    for (mark, first, lines) in blocks(&text) {
        if mark != "console" {
            continue;
        }
        let mut now = String::new();
        let mut all_good = true;
        for step in steps(first, &lines) {
            let script = format!("(exit {status}); {}", step.command);
            let mut command = scratch.command("/bin/sh");
            command.arg("-c").arg(format!("exec 2>&1; {script}")).env("PATH", &path).env("HOME", scratch.path());
            command.envs(exports.iter().map(|(name, value)| (name, value)));
            let output = command.output().expect("sh");
            status = output.status.code().unwrap_or(-1);
            if let Some((name, value)) = step.command.strip_prefix("export ").and_then(|export| export.split_once('='))
            {
                exports.push((name.into(), value.replace("$PWD", &scratch.path().display().to_string())));
            }
            // What is long in a scratch folder is short in a clone.
            let said = String::from_utf8_lossy(&output.stdout).replace(&scratch.path().display().to_string(), "…");
            let actual: Vec<&str> = said.lines().collect();
            let good = fits(&step.expected, &actual);
            all_good &= good;
            if !good {
                let expected = step.expected.join("\n");
                writeln!(wrong, "{page}:{}: $ {}\n--- says\n{expected}\n--- is\n{said}", step.line, step.command)
                    .expect("text takes text");
            }
            writeln!(now, "$ {}", step.command).expect("text takes text");
            let keep: Vec<&str> = if good { step.expected.iter().map(String::as_str).collect() } else { actual };
            keep.iter().for_each(|line| now.push_str(&format!("{}\n", line.trim_end())));
        }
        if all_good {
            continue;
        }
        let before: String = lines.iter().map(|line| format!("{line}\n")).collect();
        updated = updated.replace(&format!("```console\n{before}```"), &format!("```console\n{now}```"));
    }
    if std::env::var_os("WALR_UPDATE").is_some() && updated != text {
        std::fs::write(root.join(page), updated).unwrap_or_else(|why| panic!("{page}: {why}"));
    } else {
        assert!(wrong.is_empty(), "WALR_UPDATE=1 writes what is:\n{wrong}");
    }
}

/// The two commands a newcomer runs are the ones CI runs; there is no block that nobody runs.
#[test]
fn other_blocks_are_what_ci_runs() {
    let root = need::root();
    let text = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let ci = std::fs::read_to_string(root.join(".ci/run")).expect(".ci/run");
    let steps = std::fs::read_to_string(root.join("xtask/src/ci.rs")).expect("xtask/src/ci.rs");
    for (mark, first, lines) in blocks(&text) {
        match mark.as_str() {
            "console" => {}
            "sh" => {
                for line in lines {
                    let command = line.split('#').next().unwrap_or_default().trim();
                    let run = match command {
                        "cargo xtask demo" => ci.contains("cargo xtask ci") && steps.contains("demo::run"),
                        "cargo xtask test" => ci.contains("cargo xtask test"),
                        _ => false,
                    };
                    assert!(run, "README.md:{first}: CI does not run `{command}`");
                }
            }
            _ => panic!("README.md:{first}: a block marked {mark:?}: nothing runs it"),
        }
    }
}

/// The table of exit codes is the code's own.
#[test]
fn the_exit_codes_are_the_codes() {
    let text = std::fs::read_to_string(need::root().join("README.md")).expect("README.md");
    let row = |class: Class| -> Vec<String> {
        let start = format!("| `{}` |", class.word());
        let line = text.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("no row `{}` in the table of exit codes", class.word()));
        line.split('|').map(|cell| cell.trim().to_string()).collect()
    };
    for code in Code::ALL {
        let cells = row(code.class());
        let number =
            |cell: usize| -> Vec<u8> { cells[cell].split([',', ' ']).filter_map(|word| word.parse().ok()).collect() };
        for (cell, asker) in [(3, Asker::PointInTime), (4, Asker::Patient)] {
            let is = exit::wal_fetch(*code, asker, exit::ABSENT);
            assert!(number(cell).contains(&is), "{code} for {asker:?} is {is}, README says {:?}", cells[cell]);
        }
        let is = exit::sysexit(*code);
        assert!(number(5).contains(&is), "{code} elsewhere is {is}, README says {:?}", cells[5]);
    }
}
