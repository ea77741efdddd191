//! `cargo xtask bench` and `cargo xtask fuzz`: thin callers of `cargo bench` and `cargo fuzz`.
//!
//! In: names and their arguments. Out: what those programs print. Never: installs anything; names what is missing.

use crate::shell::{self, Outcome, cargo, nightly, quiet, root, run};

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
    quiet(nightly().args(["fuzz", "--version"]))
        .map_err(|_| String::from("cargo-fuzz and a nightly toolchain are needed: cargo install cargo-fuzz"))?;
    let all = quiet(nightly().args(["fuzz", "list"]))?;
    let targets: Vec<&str> = match arguments.first() {
        Some(one) => vec![one],
        None => all.lines().collect(),
    };
    for target in targets {
        let limit = format!("-max_total_time={seconds}");
        // What it finds goes into the first; real samples are in the second.
        let corpora = [format!("fuzz/corpus/{target}"), format!("fuzz/corpus-seed/{target}")];
        let grown = root().join(&corpora[0]);
        std::fs::create_dir_all(&grown).map_err(|why| format!("{}: {why}", grown.display()))?;
        run(nightly().args(["fuzz", "run", target]).args(corpora).args(["--", &limit]))?;
    }
    Ok(())
}
