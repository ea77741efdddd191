//! Flags of `copy`.
//!
//! In: argv. Out: [`Options`](crate::commands::copy::Options) and the two ends as typed. Never: asks a store.

use super::choice::Choice;
use super::ends::Ends;
use super::{bytes, duration};
use crate::commands::copy::choice::Selection;
use crate::commands::copy::{Options, Replace};
use crate::error::Answer;
use crate::transfer::run::Limits;
use clap::ValueEnum;
use std::time::Duration;

/// Copy an archive so that the copy can be restored.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Base backups go with the deltas' parents and the WAL they need; sentinels are written last and in their \
                        order, so that WAL-E and WAL-G find the same LATEST. Nothing that exists is overwritten or removed \
                        unless a flag says so. A run that was killed is run again: what is there is compared by digest. The \
                        manifest of what was copied is kept below .wal-r/ in the destination.\n\n\
                        Each end takes its settings from a file or an envdir of its own (then nothing of the environment), \
                        else both from the usual ones.\n\n\
                        Exit codes: 0 copied; 65 the source lacks what its backups need; 73 the destination holds something \
                        else; 75 it is still being written, or the source changes; the rest as everywhere.\n\n\
                        Examples:\n  \
                        wal-r copy --from s3://bucket/db/ --to /srv/archive --dry-run\n  \
                        wal-r copy --from s3://bucket/backups/OLD-GUID/wal --to s3://bucket/backups/NEW-GUID/wal --replace aside\n  \
                        wal-r copy --mirror --from s3://bucket/db/ --to azure://second/db/ --to-config azure.json --create"
)]
pub struct Args {
    #[command(flatten)]
    ends: Ends,
    /// Say what would be done, and do nothing
    #[arg(long, visible_alias = "plan")]
    dry_run: bool,
    #[command(flatten)]
    choice: Choice,
    /// Copy also what cannot be restored from the source
    #[arg(long)]
    damaged: bool,
    /// Where both ends have an object of one name and different bytes, take the source's
    #[arg(long)]
    overwrite: bool,
    /// When the destination holds another archive: move it to a prefix beside it, or remove it
    #[arg(long, value_enum, value_name = "HOW")]
    replace: Option<ReplaceArg>,
    /// With --replace: nothing may have been written there for so long
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5m")]
    quiet_for: Duration,
    /// With --mirror: remove from the destination what was copied before and the source no longer has
    #[arg(long, requires = "mirror")]
    delete_extra: bool,
    /// Yes: remove what --replace delete or --delete-extra would
    #[arg(long)]
    confirm: bool,
    /// Make the bucket, the container or the directory when there is none
    #[arg(long)]
    create: bool,
    /// Objects at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// No more bytes a second than this: 20M
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    limit_rate: Option<u64>,
    /// Have all bytes pass here, even where the provider could copy: for their digests
    #[arg(long)]
    through_here: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReplaceArg {
    /// Move it to a sibling prefix
    Aside,
    /// Remove it; needs --confirm
    Delete,
}

impl Args {
    /// Source and destination.
    pub fn ends(&self) -> &Ends {
        &self.ends
    }

    /// Nothing is to be done?
    pub fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// `usage.name` and `usage.time` for what cannot be understood.
    pub fn options(&self) -> Answer<Options> {
        let Selection { which, since, wal, mirror } = self.choice.selection()?;
        Ok(Options {
            which,
            since,
            wal,
            mirror,
            damaged: self.damaged,
            overwrite: self.overwrite,
            replace: self.replace.map(|how| match how {
                ReplaceArg::Aside => Replace::Aside,
                ReplaceArg::Delete => Replace::Delete,
            }),
            quiet_for: self.quiet_for,
            delete_extra: self.delete_extra,
            confirm: self.confirm,
            create: self.create,
            limits: Limits {
                jobs: usize::from(self.jobs),
                rate: self.limit_rate,
                provider: !self.through_here,
                ..Limits::default()
            },
        })
    }
}
