//! `cargo xtask docs`: man pages, shell completions and the pages generated from the code, into `target/docs`.
//!
//! In: the wal-r program, through a hidden verb of its own: the flags are known there and nowhere else.
//! Out: `target/docs/{man,completions}` and the pages of `docs/` that are generated.
//! Never: writes a page by hand that the program can write.

use crate::shell::{self, Outcome, cargo, root, run as sh};

/// `cargo xtask docs`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    shell::nothing_else(arguments)?;
    sh(cargo().args(["run", "--quiet", "--", "generate-docs"]).arg(root().join("target/docs")))
}
