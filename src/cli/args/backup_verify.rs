//! Flags of `backup-verify`.
//!
//! In: argv. Out: [`Options`](crate::commands::backup_verify::Options). Never: asks a store.

use crate::commands::backup_verify::{Options, Which};

/// Prove base backups by reading them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every partition is read, decoded and taken apart; nothing is written. Checked are partitions, members, \
                        sums, pg_control, backup_label, page checksums, and the WAL up to the place where the backup is \
                        consistent.\n\nExit codes: 0 all is well, 1 warning, 2 critical, 3 something could not be read.\n\n\
                        Examples:\n  wal-r backup-verify LATEST\n  wal-r backup-verify ALL --format json\n  \
                        wal-r backup-verify base_000000010000000000000003_00000040"
)]
pub struct Args {
    /// The backup's name, LATEST, or ALL that are finished
    #[arg(value_name = "NAME", value_parser = which)]
    which: Which,
}

fn which(text: &str) -> Result<Which, String> {
    match text {
        "LATEST" => Ok(Which::Latest),
        "ALL" => Ok(Which::All),
        name => name.parse().map(Which::Named).map_err(|error: crate::pg::NameError| error.to_string()),
    }
}

impl Args {
    /// `workers`: what the settings say.
    pub fn options(&self, workers: Option<usize>) -> Options {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Options { which: self.which, workers, cores }
    }
}
