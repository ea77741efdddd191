//! Flags of `audit`.
//!
//! In: argv. Out: [`Options`](crate::commands::audit::Options), where pages go, what fails. Never: asks a store; knows what
//! time it is.

use crate::backup::restore::Effort;
use crate::commands::audit::{Backups, Options};
use crate::proof::verdict::Thresholds;
use crate::proof::{Level, Severity};
use jiff::{Span, SpanRelativeTo, Timestamp};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One verdict on the archive, for cron.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 ok, 1 warning, 2 critical, 3 something could not be looked at and nothing critical was seen.\n\
                  The verdict is printed whatever it is. docs/audit.md has crontabs, Nagios, Prometheus and the form of the\n\
                  acknowledgement file.\n\n\
                  Examples:\n  \
                  wal-r audit --level names\n  \
                  wal-r audit --ledger /var/lib/wal-r/main.ledger --recheck 1% --max-wal-age 1h --max-backup-age 26h\n  \
                  wal-r audit --since-ledger --budget-time 2h --html /srv/www/audit.html\n  \
                  wal-r audit --level names --format prometheus --output /var/lib/node_exporter/walr.prom\n  \
                  wal-r audit --ack losses.toml --format nagios"
)]
pub struct Args {
    /// How closely to look
    #[arg(long, value_enum, default_value = "records", value_name = "LEVEL")]
    level: LevelArg,
    /// Which base backups are read to their end; at the level names none is
    #[arg(long, value_name = "LATEST|ALL|none", default_value = "LATEST", value_parser = backups)]
    backups: Backups,

    /// Stored bytes to read at most: 500M, 20G. What is left unread is no OK
    #[arg(long, value_name = "BYTES", value_parser = super::bytes, help_heading = "What it may cost")]
    budget_bytes: Option<u64>,
    /// How long to read at most: 30m, 2h. What is left unread is no OK
    #[arg(long, value_name = "TIME", value_parser = super::duration, help_heading = "What it may cost")]
    budget_time: Option<Duration>,
    /// Remember what was proven in this file, and read only what is new or has changed
    #[arg(long, value_name = "FILE", help_heading = "What it may cost")]
    ledger: Option<PathBuf>,
    /// The same, in a file of the archive's own below XDG_STATE_HOME or ~/.local/state
    #[arg(long, conflicts_with = "ledger", help_heading = "What it may cost")]
    since_ledger: bool,
    /// Read this share of what the ledger knows again, those first that were looked at longest ago
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0%", help_heading = "What it may cost")]
    recheck: f64,

    /// The newest commit (below the level records: segment) may be so old
    #[arg(long, value_name = "TIME", value_parser = age, help_heading = "What is wished")]
    max_wal_age: Option<Duration>,
    /// The newest base backup may be so old
    #[arg(long, value_name = "TIME", value_parser = age, help_heading = "What is wished")]
    max_backup_age: Option<Duration>,
    /// Recovery must reach back so far: 7d
    #[arg(long, value_name = "TIME", value_parser = age, help_heading = "What is wished")]
    min_window: Option<Duration>,
    /// Losses that are known and no longer count
    #[arg(long, value_name = "FILE", help_heading = "What is wished")]
    ack: Option<PathBuf>,
    /// The least severity that fails. Unknown always does
    #[arg(long, value_enum, default_value = "warning", value_name = "SEVERITY", help_heading = "What is wished")]
    fail_on: FailOn,

    /// Write the verdict as a page for browsers, too
    #[arg(long, value_name = "FILE", help_heading = "Where it goes")]
    html: Option<PathBuf>,
    /// Write what --format says into this file instead of stdout: whole or not at all
    #[arg(long, value_name = "FILE", help_heading = "Where it goes")]
    output: Option<PathBuf>,
    /// Print entries for the acknowledgement file, one for each finding that counts, instead of the verdict
    #[arg(long, help_heading = "Where it goes")]
    ack_template: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LevelArg {
    /// One listing
    Names,
    /// Every byte: does it decode?
    Decode,
    /// Every byte: does each page belong where it is?
    Headers,
    /// Every byte: every record and commit time
    Records,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Names => Level::Names,
            LevelArg::Decode => Level::Decode,
            LevelArg::Headers => Level::Headers,
            LevelArg::Records => Level::Records,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    Warning,
    Critical,
}

pub(super) fn backups(text: &str) -> Result<Backups, String> {
    match text {
        "LATEST" | "latest" => Ok(Backups::Latest),
        "ALL" | "all" => Ok(Backups::All),
        "none" | "NONE" => Ok(Backups::None),
        _ => Err("one of LATEST, ALL, none".to_owned()),
    }
}

/// A length of time that may have days and weeks: `90`, `26h`, `7d`, `2w`. A day is 24 hours.
fn age(text: &str) -> Result<Duration, String> {
    if let Ok(time) = super::duration(text) {
        return Ok(time);
    }
    let wrong = || format!("not a length of time: {text:?}; write 90s, 26h, 7d, 2w");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let time = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(time).map_err(|_| wrong())
}

/// A share: `5%`, `0.05`.
fn share(text: &str) -> Result<f64, String> {
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let share: f64 = number.trim().parse().map_err(|_| format!("not a share: {text:?}; write 5% or 0.05"))?;
    let share = share / whole;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("{text} is not between 0% and 100%")) }
}

impl Args {
    /// What the verb takes. `ledger`: the archive's own, for `--since-ledger`.
    pub fn options(&self, ledger: Option<PathBuf>, effort: Effort, now: Timestamp) -> Options {
        Options {
            level: self.level.into(),
            backups: self.backups,
            budget_bytes: self.budget_bytes,
            budget_time: self.budget_time,
            ledger: self.ledger.clone().or(ledger),
            recheck: self.recheck,
            thresholds: Thresholds {
                max_wal_age: self.max_wal_age,
                max_backup_age: self.max_backup_age,
                min_window: self.min_window,
            },
            ack: self.ack.clone(),
            effort,
            now,
        }
    }

    /// Is the ledger where we choose?
    pub fn since_ledger(&self) -> bool {
        self.since_ledger
    }

    /// The least severity that fails.
    pub fn fail_on(&self) -> Severity {
        match self.fail_on {
            FailOn::Warning => Severity::Warning,
            FailOn::Critical => Severity::Critical,
        }
    }

    /// Where the page for browsers goes.
    pub fn html(&self) -> Option<&Path> {
        self.html.as_deref()
    }

    /// Where the verdict goes instead of stdout.
    pub fn output(&self) -> Option<&Path> {
        self.output.as_deref()
    }

    /// Entries for the acknowledgement file instead of the verdict.
    pub fn ack_template(&self) -> bool {
        self.ack_template
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_amounts_and_shares() {
        let hour = 3600;
        for (text, seconds) in
            [("90", 90), ("26h", 26 * hour), ("7d", 168 * hour), ("2w", 336 * hour), ("1d 12h", 36 * hour)]
        {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "x", "1mo", "1y", "-1d", "1 fortnight"] {
            assert!(age(text).is_err(), "{text}");
        }
        for (text, count) in
            [("0", 0), ("500M", 500 << 20), ("20G", 20 << 30), ("20GiB", 20 << 30), ("1kb", 1 << 10), ("1T", 1 << 40)]
        {
            assert_eq!(crate::cli::args::bytes(text), Ok(count), "{text}");
        }
        for text in ["", "M", "1.5G", "1X", "99999999999T", "-1"] {
            assert!(crate::cli::args::bytes(text).is_err(), "{text}");
        }
        for (text, value) in [("5%", 0.05), ("0.05", 0.05), ("100%", 1.0), ("0", 0.0)] {
            assert_eq!(share(text), Ok(value), "{text}");
        }
        for text in ["", "%", "101%", "5", "-1%", "NaN", "inf"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
