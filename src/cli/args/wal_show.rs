//! Flags of `wal-show`.
//!
//! In: argv. Out: the flavour of the text. Never: asks a store.

use super::Format;
use crate::cli::render::wal_show::Flavour;

/// The timelines, what is there of each, and what is missing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It shows, and ends with 0, whatever is missing: `wal-verify` and `audit` judge.\nThe drawing: one column is \
                        one segment, or as many as it says.\n\nExamples:\n  wal-r wal-show\n  wal-r wal-show --without-backups\n  \
                        wal-r wal-show --detailed-json\n  wal-r wal-show --format json"
)]
pub struct Args {
    /// WAL-G's JSON: an array, one element a timeline that has segments
    #[arg(long)]
    detailed_json: bool,
    /// Leave the base backups out
    #[arg(long)]
    without_backups: bool,
    /// Only the table
    #[arg(long)]
    no_drawing: bool,
}

impl Args {
    /// Which text.
    pub fn flavour(&self, format: Format) -> Flavour {
        let backups = !self.without_backups;
        match self.detailed_json {
            true => Flavour::WalGJson { backups },
            false if format == Format::Json => Flavour::Document,
            false => Flavour::Table { backups, drawing: !self.no_drawing },
        }
    }
}
