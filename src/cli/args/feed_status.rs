//! Flags of `feed-status`.
//!
//! In: argv. Out: a directory, and whether to go on looking. Never: asks a feeder.

use std::path::PathBuf;

/// How a server that recovers is fed just now.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "On a terminal it is shown anew every second until the feeder goes or you have seen enough (Ctrl-C).\n\
                        Exit: 0; 66 where no feeder runs.\n\nExamples:\n  \
                        wal-r feed-status /var/lib/postgresql/13/main\n  \
                        wal-r feed-status /var/lib/postgresql/13/main --format json"
)]
pub struct Args {
    /// The server's data directory
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Show it once, also on a terminal
    #[arg(long)]
    pub once: bool,
}
