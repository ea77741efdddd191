//! Flags of `explain`.
//!
//! In: argv. Out: [`commands::explain::Options`]. Never: judges the code.

use crate::commands;

/// What the code of an error or a finding means and what to do next.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  wal-r explain                       every code, one line each\n  \
                        wal-r explain store.unreachable     one page\n  \
                        wal-r explain segment               the findings on segments")]
pub struct Args {
    /// The code as an error or an audit prints it; without one, all of them
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

impl Args {
    /// What the verb takes.
    pub fn options(&self) -> commands::explain::Options {
        commands::explain::Options { code: self.code.clone() }
    }
}
