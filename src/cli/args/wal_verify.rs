//! Flags of `wal-verify`.
//!
//! In: argv. Out: what to verify, and how the server is asked where it is. Never: asks it.

use super::Format;
use crate::cli::render::wal_verify::Flavour;
use crate::commands::wal_verify::{Check, From, Options, Place};
use crate::layout::BackupName;
use crate::pg::{Lsn, TimelineId};
use clap::ValueEnum;

/// Is the WAL of an archive whole? WAL-G's checks, and the levels of proof.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --lsn and --timeline, or --pg, no server is asked: the archive's own newest end counts, and what is \
                        missing before it is lost, not late.\nEnds with 0 (ok), 1 (warning), 2 (failure) or 3 (could not look); \
                        the details are printed in every case.\n\nExamples:\n  wal-r wal-verify\n  wal-r wal-verify integrity timeline \
                        --json\n  wal-r wal-verify integrity --lsn 0/9000060 --timeline 2\n  wal-r wal-verify names integrity \
                        --pg host=/run/postgresql\n  wal-r wal-verify records"
)]
pub struct Args {
    /// What to check; without a word, names
    #[arg(value_name = "CHECK", value_enum)]
    checks: Vec<Word>,
    /// WAL-G's JSON: an object with one key a check
    #[arg(long)]
    json: bool,
    /// Where the server is: the first byte it has not written yet
    #[arg(long, requires = "timeline", value_name = "LSN", value_parser = lsn)]
    lsn: Option<Lsn>,
    /// On which timeline the server is
    #[arg(long, requires = "lsn", value_name = "N", value_parser = timeline)]
    timeline: Option<TimelineId>,
    /// Ask the server where it is: libpq's connection string or URL. Without TLS
    #[arg(long, conflicts_with = "lsn", value_name = "CONNECTION")]
    pg: Option<String>,
    /// integrity: walk down to this base backup, or LATEST, instead of the oldest that leads there
    #[arg(long, value_name = "NAME", value_parser = from)]
    backup_name: Option<From>,
}

/// A check, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Word {
    /// Is the WAL without gaps from the oldest base backup to where the server is?
    Integrity,
    /// Is the newest timeline in the archive the server's?
    Timeline,
    /// What do the names show, and whom does it hurt?
    Names,
    /// And is every object whole? Reads every segment
    Decode,
    /// And does every page say that it belongs where it is?
    Headers,
    /// And is every record good, and linked to the one before?
    Records,
}

fn lsn(text: &str) -> Result<Lsn, String> {
    text.parse().map_err(|error: crate::pg::NameError| error.to_string())
}

fn timeline(text: &str) -> Result<TimelineId, String> {
    TimelineId::parse_decimal(text).map_err(|error| error.to_string())
}

fn from(text: &str) -> Result<From, String> {
    match text {
        "LATEST" => Ok(From::Latest),
        name => name.parse::<BackupName>().map(From::Named).map_err(|error| error.to_string()),
    }
}

impl Args {
    /// How to reach the server, where it shall be asked.
    pub fn server(&self) -> Option<&str> {
        self.pg.as_deref()
    }

    /// What the verb takes. `asked`: what the server said.
    pub fn options(&self, asked: Option<Place>, delayed: u64, uploading: u64, workers: Option<usize>) -> Options {
        let told = self.lsn.zip(self.timeline).map(|(lsn, timeline)| Place { lsn, timeline });
        let check = |word: &Word| match word {
            Word::Integrity => Check::Integrity,
            Word::Timeline => Check::Timeline,
            Word::Names => Check::Names,
            Word::Decode => Check::Decode,
            Word::Headers => Check::Headers,
            Word::Records => Check::Records,
        };
        let mut checks: Vec<Check> = Vec::new();
        for check in self.checks.iter().map(check) {
            if !checks.contains(&check) {
                checks.push(check);
            }
        }
        if checks.is_empty() {
            checks.push(Check::Names);
        }
        Options {
            checks,
            place: told.or(asked),
            from: self.backup_name.clone().unwrap_or(From::Oldest),
            delayed,
            uploading,
            workers,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Which text.
    pub fn flavour(&self, format: Format) -> Flavour {
        match (self.json, format) {
            (true, _) => Flavour::WalGJson,
            (false, Format::Json) => Flavour::Document,
            (false, Format::Table) => Flavour::Table,
        }
    }
}
