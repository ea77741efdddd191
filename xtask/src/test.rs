//! `cargo xtask test`: set up, then every test; what could not run is counted and named.
//!
//! In: `--require-all` (a test that cannot run fails), and arguments for the test programs behind `--`.
//! Out: the output of `cargo test`, the skipped tests with what each lacks, and cargo's own closing lines last.
//! Never: passes a test in silence that could not run.

use crate::shell::{self, Outcome, typed};
use crate::{setup, tools};
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::Stdio;

/// `cargo xtask test [--require-all] [-- ARGS]`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let mut own: Vec<String> = arguments.iter().take_while(|argument| *argument != "--").cloned().collect();
    let passed_on: Vec<String> = arguments.iter().skip(own.len() + 1).cloned().collect();
    let require_all = shell::take_flag(&mut own, "--require-all");
    shell::nothing_else(&own)?;

    // What is missing now is named again by each test that needs it.
    setup::everything();
    println!();

    let root = shell::root();
    let skips = root.join("target/skipped-tests.txt");
    let _ = std::fs::remove_file(&skips);
    let mut command = shell::cargo();
    command.args(["test", "--workspace", "--features", "testing", "--no-fail-fast"]);
    if std::io::stdout().is_terminal() {
        command.args(["--color", "always"]);
    }
    command.arg("--").args(&passed_on);
    command.env("WALR_TOOLS", tools::folder(&root)).env("WALR_SKIPS", &skips).env_remove("WALR_REQUIRE_ALL");
    if require_all {
        command.env("WALR_REQUIRE_ALL", "1");
    }
    eprintln!("$ {}", typed(&command));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|why| format!("cannot run cargo: {why}"))?;
    let output = child.stdout.take().ok_or("cargo has no output")?;
    let mut closing = Vec::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.map_err(|why| format!("reading cargo's output: {why}"))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if line.starts_with("test result:") {
            closing.push(line.into_owned());
        }
    }
    let status = child.wait().map_err(|why| format!("waiting for cargo: {why}"))?;

    print_skips(&skips);
    for line in &closing {
        println!("{line}");
    }
    if status.success() { Ok(()) } else { Err(format!("cargo test: {status}")) }
}

/// The skipped tests, by what they lack. The harness writes a line for each: test, what is missing, how to get it.
fn print_skips(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    rows.sort_by_key(|row| (row.get(1).copied(), row.first().copied()));
    rows.dedup();
    if rows.is_empty() {
        println!("\nno test was skipped");
        return;
    }
    println!("\n{} tests could not run:", rows.len());
    let mut last = None;
    for row in rows {
        let (test, missing, how) =
            (row.first().unwrap_or(&"?"), row.get(1).copied().unwrap_or("?"), row.get(2).copied().unwrap_or(""));
        if last != Some(missing) {
            println!("  without {missing} ({how}):");
            last = Some(missing);
        }
        println!("    {test}");
    }
    println!();
}
