//! Flags of `copy-verify`.
//!
//! In: argv. Out: [`Options`], where certificates go. Never: asks a store; knows what time it is.

use super::audit::{LevelArg, backups};
use super::choice::Choice;
use super::ends::Ends;
use crate::backup::restore::Effort;
use crate::commands::audit::Backups;
use crate::commands::backup_fetch::parse_target_time;
use crate::commands::copy_verify::{Digests, Options};
use crate::error::Answer;
use clap::ValueEnum;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};

/// Can a copy recover what its source can? Source and destination side by side.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Both ends are only read. What was chosen for the copy is chosen here by the same flags: only that must be in \
                        the destination. The bytes of a sample are read on both sides (of the source, where the copy's \
                        manifest does not have the digest of the very version that is there); both are audited, and what can \
                        be recovered from each base backup is compared. docs/copy-verify.md has the form of the certificate \
                        and how to compute its digests anew.\n\n\
                        Exit code: 0 both can recover the same points; 1 they can, and something else differs; 2 the \
                        destination cannot, or holds other bytes; 3 something could not be looked at.\n\n\
                        Examples:\n  \
                        wal-r copy-verify --from s3://bucket/db/ --to /srv/archive\n  \
                        wal-r copy-verify --from s3://bucket/db/ --to azure://second/db/ --to-config azure.json --mirror --level names\n  \
                        wal-r copy-verify --from /srv/archive --to s3://new/db/ --digests all --certificate moved.json --signed-off-by jane"
)]
pub struct Args {
    #[command(flatten)]
    ends: Ends,
    #[command(flatten)]
    choice: Choice,
    /// Of the source, only what was written until then: when it goes on being written, the time of the copy
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Whose bytes are read and compared by SHA-256: of no object, of a sample, of all
    #[arg(long, value_enum, default_value_t = DigestsArg::Sample, value_name = "WHICH")]
    digests: DigestsArg,
    /// How large a sample is: percent of the objects, and no fewer than 32; sentinels, metadata and histories besides
    #[arg(long, value_name = "PERCENT", default_value_t = 1, value_parser = percent)]
    sample: u8,
    /// Read the source, too, where the copy's manifest has the digest of the version that is there
    #[arg(long)]
    read_both: bool,
    /// How closely both are audited
    #[arg(long, value_enum, default_value = "records", value_name = "LEVEL")]
    level: LevelArg,
    /// Which base backups the audits read to their end; at the level names none is
    #[arg(long, value_name = "LATEST|ALL|none", default_value = "LATEST", value_parser = backups)]
    audit_backups: Backups,
    /// Objects at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Write a certificate: JSON with everything that was found, and a seal
    #[arg(long, value_name = "FILE", help_heading = "Where it goes")]
    certificate: Option<PathBuf>,
    /// Who stands for it: goes into the certificate
    #[arg(long, value_name = "NAME", requires = "certificate", help_heading = "Where it goes")]
    signed_off_by: Option<String>,
    /// Write a line `sha256  size  key` for every object that was read: the certificate has the SHA-256 of this file
    #[arg(long, value_name = "FILE", help_heading = "Where it goes")]
    digest_list: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DigestsArg {
    /// None: names and sizes, and the MD5 where both stores tell it
    None,
    /// What describes the archive, and a share of the rest: the same in every run
    Sample,
    /// Every object
    All,
}

/// `5`, `5%`.
fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<u8>().ok();
    number
        .filter(|number| (1..=100).contains(number))
        .ok_or_else(|| format!("not a percentage from 1 to 100: {text:?}"))
}

impl Args {
    /// Source and destination.
    pub fn ends(&self) -> &Ends {
        &self.ends
    }

    /// `usage.name` and `usage.time` for what cannot be understood.
    pub fn options(&self, effort: Effort, now: Timestamp) -> Answer<Options> {
        Ok(Options {
            selection: self.choice.selection()?,
            until: self.until.as_deref().map(|text| parse_target_time(text, &TimeZone::system())).transpose()?,
            digests: match self.digests {
                DigestsArg::None => Digests::None,
                DigestsArg::Sample => Digests::Sample(self.sample),
                DigestsArg::All => Digests::All,
            },
            read_both: self.read_both,
            level: self.level.into(),
            backups: self.audit_backups,
            jobs: usize::from(self.jobs),
            effort,
            now,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// Where the certificate goes.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// Who stands for it.
    pub fn signed_off_by(&self) -> Option<&str> {
        self.signed_off_by.as_deref()
    }

    /// Where the lines go of which the digest is computed.
    pub fn digest_list(&self) -> Option<&Path> {
        self.digest_list.as_deref()
    }
}
