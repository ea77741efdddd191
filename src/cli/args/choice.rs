//! Flags that choose from an archive: of `copy` and `copy-verify`.
//!
//! In: argv. Out: [`Selection`]. Never: asks a store.

use crate::commands::backup_fetch::parse_target_time;
use crate::commands::copy::choice::{Selection, Which};
use crate::error::{Answer, Code, Error};
use crate::transfer::closure::Wal;
use clap::ValueEnum;

/// What of the source is meant.
#[derive(Debug, clap::Args)]
pub struct Choice {
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

impl Choice {
    /// `usage.name` and `usage.time` for what cannot be understood.
    pub fn selection(&self) -> Answer<Selection> {
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
        Ok(Selection {
            which,
            since,
            wal: match self.wal {
                WalArg::All => Wal::All,
                WalArg::ToConsistency => Wal::ToConsistency,
                WalArg::None => Wal::None,
            },
            mirror: self.mirror,
        })
    }
}
