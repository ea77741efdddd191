//! Flags of `copy`.
//!
//! In: argv. Out: [`Options`](crate::commands::copy::Options) and the two ends as typed. Never: asks a store.

use crate::cli::args::{bytes, duration};
use crate::commands::backup_fetch::parse_target_time;
use crate::commands::copy::{Options, Replace, Which};
use crate::error::{Answer, Code, Error};
use crate::transfer::closure::Wal;
use crate::transfer::run::Limits;
use clap::ValueEnum;
use std::path::PathBuf;
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
    /// The archive. Else what --prefix and the settings name
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Where it goes. Else the prefix in --to-config or --to-envdir
    #[arg(long, value_name = "URL", required_unless_present_any = ["to_config", "to_envdir"])]
    to: Option<String>,
    /// Settings of the source alone
    #[arg(long, value_name = "FILE")]
    from_config: Option<PathBuf>,
    /// Settings of the destination alone
    #[arg(long, value_name = "FILE")]
    to_config: Option<PathBuf>,
    /// The same as a directory with one file per setting
    #[arg(long, value_name = "DIR")]
    from_envdir: Option<PathBuf>,
    /// The same for the destination
    #[arg(long, value_name = "DIR")]
    to_envdir: Option<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long, visible_alias = "plan")]
    dry_run: bool,
    /// Which base backups: ALL that are finished, LATEST, or a name; may be said more than once
    #[arg(long, value_name = "NAME", visible_alias = "backup-name", default_value = "ALL")]
    backup: Vec<String>,
    /// Of those, what was finished since then: a time with its zone
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Which WAL: all from the oldest backup on, or what makes the backups consistent, or none
    #[arg(long, value_enum, default_value_t = WalArg::All)]
    wal: WalArg,
    /// WAL-G's word for --wal all
    #[arg(long, hide = true)]
    with_history: bool,
    /// Every object below the prefix, known or not; later runs copy what is new
    #[arg(long, conflicts_with_all = ["backup", "since", "wal"])]
    mirror: bool,
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
enum WalArg {
    /// From the oldest backup's start on
    All,
    /// What makes the backups consistent
    ToConsistency,
    /// None
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReplaceArg {
    /// Move it to a sibling prefix
    Aside,
    /// Remove it; needs --confirm
    Delete,
}

/// One end as typed.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Its URL.
    pub url: Option<&'a str>,
    /// A settings file of its own.
    pub config: Option<&'a PathBuf>,
    /// An envdir of its own.
    pub envdir: Option<&'a PathBuf>,
}

impl Args {
    /// The source.
    pub fn from(&self) -> End<'_> {
        End { url: self.from.as_deref(), config: self.from_config.as_ref(), envdir: self.from_envdir.as_ref() }
    }

    /// The destination.
    pub fn to(&self) -> End<'_> {
        End { url: self.to.as_deref(), config: self.to_config.as_ref(), envdir: self.to_envdir.as_ref() }
    }

    /// Nothing is to be done?
    pub fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// `usage.name` and `usage.time` for what cannot be understood.
    pub fn options(&self) -> Answer<Options> {
        let which = match self.backup.as_slice() {
            [one] if one == "ALL" => Which::All,
            [one] if one == "LATEST" => Which::Latest,
            names => {
                let name = |name: &String| {
                    name.parse().map_err(|error: crate::pg::NameError| {
                        Error::new(Code::UsageName, "no name of a base backup, nor ALL or LATEST alone")
                            .on(name)
                            .because(error)
                    })
                };
                Which::Named(names.iter().map(name).collect::<Answer<_>>()?)
            }
        };
        let zone = jiff::tz::TimeZone::system();
        let since = self.since.as_deref().map(|text| parse_target_time(text, &zone)).transpose()?;
        Ok(Options {
            which,
            since,
            wal: match self.wal {
                WalArg::All => Wal::All,
                WalArg::ToConsistency => Wal::ToConsistency,
                WalArg::None => Wal::None,
            },
            mirror: self.mirror,
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
