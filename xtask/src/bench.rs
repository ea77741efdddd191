//! `cargo xtask bench` and `cargo xtask fuzz`: thin callers of `cargo bench` and `cargo fuzz`.
//!
//! In: names and their arguments. Out: what those programs print. Never: installs anything; names what is missing.

use crate::shell::{self, Outcome, cargo, quiet, root, run};

/// `cargo xtask bench [NAME] [-- ARGS]`.
pub(crate) fn bench(arguments: &[String]) -> Outcome {
    let mut command = cargo();
    command.args(["bench", "--features", "testing"]);
    let names = arguments.iter().take_while(|argument| *argument != "--").count();
    for name in &arguments[..names] {
        command.args(["--bench", name]);
    }
    run(command.args(&arguments[names..]))
}

/// `cargo xtask fuzz [TARGET] [--seconds N]`.
pub(crate) fn fuzz(arguments: &[String]) -> Outcome {
    let mut arguments = arguments.to_vec();
    let seconds = shell::take_value(&mut arguments, "--seconds")?.unwrap_or_else(|| String::from("60"));
    quiet(cargo().args(["fuzz", "--version"]))
        .map_err(|_| String::from("cargo-fuzz and a nightly toolchain are needed: cargo install cargo-fuzz"))?;
    let all = quiet(cargo().args(["+nightly", "fuzz", "list"]).current_dir(root()))?;
    let targets: Vec<&str> = match arguments.first() {
        Some(one) => vec![one],
        None => all.lines().collect(),
    };
    for target in targets {
        let limit = format!("-max_total_time={seconds}");
        run(cargo().args(["+nightly", "fuzz", "run", target, "--", &limit]))?;
    }
    Ok(())
}
