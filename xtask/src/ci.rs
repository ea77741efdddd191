//! `cargo xtask ci`: all that CI runs, in its order. The first failure ends it.
//!
//! In: `--but-tests` to leave the tests out (`.ci/run` calls `cargo xtask test` itself, as a reader of the README does).
//! Out: each command before it runs. Never: changes a file of the tree.

use crate::shell::{self, Outcome, cargo, run as sh};
use crate::{demo, docs, install, test, tidy};

/// `cargo xtask ci [--but-tests]`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let mut arguments = arguments.to_vec();
    let but_tests = shell::take_flag(&mut arguments, "--but-tests");
    shell::nothing_else(&arguments)?;

    sh(cargo().args(["fmt", "--all", "--check"]))?;
    tidy::run(&[])?;
    // The whole, and each light build that the features promise.
    let deny = ["--", "-D", "warnings"];
    sh(cargo().args(["clippy", "--workspace", "--all-targets", "--features", "testing"]).args(deny))?;
    sh(cargo().args(["clippy", "--lib", "--no-default-features"]).args(deny))?;
    sh(cargo().args(["clippy", "--lib", "--no-default-features", "--features", "azure"]).args(deny))?;
    sh(cargo().args(["clippy", "--lib", "--no-default-features", "--features", "s3"]).args(deny))?;
    sh(cargo().args(["clippy", "--no-default-features", "--features", "cli"]).args(deny))?;
    sh(cargo().args(["doc", "--workspace", "--no-deps", "--features", "testing"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    docs::run(&[])?;
    demo::run(&[])?;
    install::run(&["--debug", "--root", "target/installed"].map(String::from))?;
    if but_tests { Ok(()) } else { test::run(&[String::from("--require-all")]) }
}
