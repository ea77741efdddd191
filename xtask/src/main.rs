//! Everything a developer or CI does with this tree, as verbs: `cargo xtask VERB`.
//!
//! In: a verb and its flags. Out: commands run (each printed before it runs), and an exit code.
//! Never: links wal-r; needs a crate of its own; installs anything outside the tools directory, but for the Debian
//! packages and the user that `setup` names before it adds them.

mod bench;
mod ci;
mod damage;
mod demo;
mod docs;
mod install;
mod setup;
mod shell;
mod test;
mod testdata;
mod tidy;
#[allow(dead_code, reason = "shared with the test harness")]
mod tools;

use shell::Outcome;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask VERB

For everyone
  demo                    restore a bundled WAL-E archive and ask PostgreSQL a question
  test [--require-all] [-- ARGS]
                          set up, then run every test; what could not run is counted and named
                          (--require-all makes it a failure); ARGS go to the test programs
  install [--root DIR] [--debug]
                          wal-r and wal-r-fetch, the latter linked for the quickest start
For developers
  setup                   install what the tests need: PostgreSQL 10 to 18, Garage, wal-e, lzop
  ci                      all that CI runs, in its order
  tidy                    the direction of imports and the other checks of the house
  docs                    man pages, shell completions and the generated pages, into target/docs
  testdata [archive]      rewrite expected outputs; `archive` makes testdata/archive anew with wal-e
  damage ARCHIVE OUT [--kind NAME] [SEED…]
                          damaged copies of an archive, each with what was done (--kinds names the kinds);
                          --sweep N [ARCHIVE] tries N seeds of every kind
  bench [NAME] [-- ARGS]  the benchmarks
  fuzz [TARGET] [--seconds N]
                          each fuzz target, or one, for N seconds (60)
";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let verb = if arguments.is_empty() { String::from("help") } else { arguments.remove(0) };
    let outcome = match verb.as_str() {
        "setup" => setup::run(&arguments),
        "test" => test::run(&arguments),
        "ci" => ci::run(&arguments),
        "demo" => demo::run(&arguments),
        "tidy" => tidy::run(&arguments),
        "testdata" => testdata::run(&arguments),
        "damage" => damage::run(&arguments),
        "bench" => bench::bench(&arguments),
        "fuzz" => bench::fuzz(&arguments),
        "docs" => docs::run(&arguments),
        "install" => install::run(&arguments),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(format!("there is no verb {other:?}\n\n{USAGE}")),
    };
    report(outcome)
}

fn report(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
