//! Flags of `locate`.
//!
//! In: argv. Out: which logs, or which prefix; what to show of it. Never: opens a file.

use super::Format;
use crate::commands::locate::Options;
use std::path::{Path, PathBuf};

/// Where an instance's archive lies, from logs, or from the bucket itself.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Logs are syslog or bare, plain or gzip, of any size; what is known: WAL-E's lines, alone or behind syslog and \
                  containers, the broker's lines, and any URL of an archive's object. Lines prove what somebody wrote, not \
                  what is in the bucket: look with `wal-r backup-list --prefix URL`.\nEnds with 66 where nothing is found, \
                  74 or 65 where a log could not be read to its end (what was read is printed).\n\n--under takes the settings \
                  of any other command but for the prefix; each archive is listed whole, for its size. One that cannot be read \
                  is shown with its error, which is then the exit code.\n\nExamples:\n  \
                  wal-r locate /var/log/syslog /var/log/syslog.1 /var/log/syslog.2.gz\n  \
                  wal-r locate --deleted /var/log/syslog\n  \
                  wal-r locate --instance 6e101b27-ee1b-4f4d-a032-4401a3709ec3 --json -\n  \
                  wal-r locate --under s3://our-postgresql-backups/backups/"
)]
pub struct Args {
    /// Logs, plain or gzip; - reads stdin
    #[arg(value_name = "FILE", required_unless_present = "under")]
    files: Vec<PathBuf>,
    /// Every archive below this prefix, at any depth, by looking into the store
    #[arg(long, value_name = "URL", conflicts_with_all = ["files", "deleted"])]
    under: Option<String>,
    /// Only this instance: its GUID, that of its container, or a folder of its prefix
    #[arg(long, value_name = "GUID")]
    instance: Option<String>,
    /// Only those that were deleted
    #[arg(long)]
    deleted: bool,
    /// The same as --format json
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The logs, by name; `-` stands for stdin.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// Look here instead of into logs.
    pub fn under(&self) -> Option<&str> {
        self.under.as_deref()
    }

    /// Only this instance.
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    /// What to show.
    pub fn options(&self) -> Options {
        Options { instance: self.instance.clone(), deleted: self.deleted }
    }

    /// How to print it.
    pub fn format(&self, format: Format) -> Format {
        if self.json { Format::Json } else { format }
    }
}
