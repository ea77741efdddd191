//! Flags as typed.
//!
//! In: argv. Out: [`Cli`], whose words still mean nothing: no file was looked at, no environment read.
//! Never: fills in a default that depends on the environment (that is `cli::config`).
//!
//! One file per verb. Names and flags are those of WAL-G and WAL-E where these have them.

pub mod audit;
pub mod backup_fetch;
pub mod backup_list;
pub mod backup_show;
pub mod backup_verify;
pub mod choice;
pub mod config;
pub mod copy;
pub mod copy_verify;
pub mod daemon;
pub mod ends;
pub mod explain;
pub mod feed_status;
pub mod feeding;
pub mod locate;
pub mod recovery_windows;
pub mod settings;
pub mod st;
pub mod wal_fetch;
pub mod wal_show;
pub mod wal_verify;

use crate::codec;
use crate::layout::Compression;
use clap::{ArgAction, CommandFactory, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "wal-r",
    bin_name = "wal-r",
    version,
    long_version = long_version(),
    about = "Fetches, proves, copies and rehearses PostgreSQL archives written by WAL-E and WAL-G",
    after_help = "The archive is named by --prefix or by WALG_S3_PREFIX, WALE_S3_PREFIX, WALG_FILE_PREFIX and their \
                  twins: `wal-r config explain`.\nNothing here changes or deletes what it reads; `copy` alone writes to a store, to its destination.",
    subcommand_required = true,
    arg_required_else_help = true,
    // Said twice, the last one counts: wrappers put their flags in front.
    args_override_self = true,
    max_term_width = 110
)]
pub struct Cli {
    /// Flags that every verb takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The heading of the flags that every verb takes.
pub const EVERYWHERE: &str = "Everywhere";

/// Flags that every verb takes, before or behind its name.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = EVERYWHERE)]
pub struct Global {
    /// Where the archive is: s3://BUCKET/PATH, file:///PATH or a path. Wins over every setting
    #[arg(long, global = true, value_name = "URL")]
    pub prefix: Option<String>,
    /// Settings file: JSON, YAML or NAME=value lines. Else WALG_CONFIG_PATH, else ~/.walg.json, .yaml, .yml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory with one file per setting, as `envdir` reads it
    #[arg(long, global = true, value_name = "DIR")]
    pub envdir: Option<PathBuf>,
    /// How results are printed; nagios and prometheus: `audit` only
    #[arg(long, global = true, value_name = "FORMAT")]
    pub format: Option<Output>,
    /// Give up on the store after this long: 30s, 5m, 1h. wal-fetch: 60s; else none
    #[arg(long, global = true, value_name = "TIME", value_parser = deadline)]
    pub deadline: Option<Duration>,
    /// Say less: no progress and no notes; twice: errors only
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub quiet: u8,
    /// Say more; twice: everything
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// WAL-E's word for --quiet
    #[arg(long, global = true, hide = true)]
    pub terse: bool,
}

/// How a result is printed. Errors follow on stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON document with `schema` and `version`.
    Json,
}

/// What `--format` takes: [`Format`], and what monitoring reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    #[value(alias = "text")]
    Table,
    /// One JSON document with `schema` and `version`.
    Json,
    /// A monitoring plugin's output.
    Nagios,
    /// Metrics for the textfile collector.
    Prometheus,
}

impl From<Output> for Format {
    fn from(output: Output) -> Self {
        match output {
            Output::Json => Format::Json,
            Output::Table | Output::Nagios | Output::Prometheus => Format::Table,
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// One validated WAL file for PostgreSQL: the restore_command
    WalFetch(wal_fetch::Args),
    /// How a server that recovers is fed just now
    FeedStatus(feed_status::Args),
    /// WAL files for PostgreSQL from a warm process, over WAL-G's daemon socket
    Daemon(daemon::Args),
    /// The base backups, oldest first
    BackupList(backup_list::Args),
    /// All that is known of one base backup
    BackupShow(backup_show::Args),
    /// Base backups proven by content: partitions, files, pages, and the WAL they need
    BackupVerify(backup_verify::Args),
    /// The timelines, what is there of each, and what is missing
    WalShow(wal_show::Args),
    /// Is the WAL of an archive whole? WAL-G's checks, and the levels of proof
    WalVerify(wal_verify::Args),
    /// A base backup as a directory that PostgreSQL can start on
    BackupFetch(Box<backup_fetch::Args>),
    /// Which times can be recovered to, from which base backup, and the holes between
    RecoveryWindows(recovery_windows::Args),
    /// One verdict on the archive, for cron
    Audit(Box<audit::Args>),
    /// An archive from one place to another, so that the copy can be restored
    Copy(Box<copy::Args>),
    /// Where an instance's archive lies, from logs or by looking into the store
    Locate(locate::Args),
    /// Can the copy recover what its source can? Both side by side, with a certificate
    CopyVerify(Box<copy_verify::Args>),
    /// A raw look at the storage, read only
    St(st::Args),
    /// What the settings are, where each comes from, and whether they work
    Config(config::Args),
    /// What the code of an error or a finding means and what to do next
    Explain(explain::Args),
    /// Write docs, man pages and shell completions into a directory
    #[command(hide = true)]
    GenerateDocs {
        /// The directory, made when missing
        directory: PathBuf,
    },
    /// Print the version, as --version does
    #[command(hide = true)]
    Version,
}

impl Verb {
    /// Is there enough to do at once for all cores?
    pub fn heavy(&self) -> bool {
        match self {
            Verb::Daemon(_)
            | Verb::BackupFetch(_)
            | Verb::BackupVerify(_)
            | Verb::RecoveryWindows(_)
            | Verb::Copy(_)
            | Verb::CopyVerify(_)
            | Verb::Audit(_) => true,
            Verb::WalFetch(_)
            | Verb::BackupList(_)
            | Verb::BackupShow(_)
            | Verb::WalShow(_)
            | Verb::FeedStatus(_)
            | Verb::WalVerify(_)
            | Verb::Locate(_)
            | Verb::St(_)
            | Verb::Config(_)
            | Verb::Explain(_)
            | Verb::GenerateDocs { .. }
            | Verb::Version => false,
        }
    }
}

/// The clap definition, for parsing, man pages, completions and the docs.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Text of `--version` behind the program's name: the features, codecs and stores of this build.
pub fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let codecs: Vec<String> = Compression::ALL
            .into_iter()
            .filter(|one| codec::decoder(*one).is_some())
            .map(|one| one.to_string())
            .collect();
        let mut features = vec!["cli"];
        let mut stores = vec!["file"];
        if cfg!(feature = "azure") {
            features.push("azure");
            stores.push("azure");
        }
        if cfg!(feature = "s3") {
            features.push("s3");
            stores.push("s3");
        }
        if cfg!(feature = "testing") {
            features.push("testing");
        }
        format!(
            "{}\nfeatures: {}\nstores:   {}\ncodecs:   {}",
            env!("CARGO_PKG_VERSION"),
            features.join(" "),
            stores.join(" "),
            codecs.join(" ")
        )
    });
    &TEXT
}

fn deadline(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() { Err("no time at all: leave --deadline out for none".to_owned()) } else { Ok(time) }
}

/// A length of time as people write it: `90`, `90s`, `5m`, `1h`, `500ms`, `1m30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("not a length of time: {text:?}; write 90s, 5m, 1h, 500ms");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// Bytes with a unit: `500000000`, `500M`, `20GiB`. Units are powers of 1024.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("not a number of bytes: {text:?}; write 500M, 20G");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default().to_ascii_uppercase();
    let shift = match unit.trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}
