//! Flags that name two archives: of `copy` and `copy-verify`.
//!
//! In: argv. Out: both ends as typed. Never: asks a store.

use std::path::PathBuf;

/// Source and destination.
#[derive(Debug, clap::Args)]
pub struct Ends {
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

impl Ends {
    /// The source.
    pub fn from(&self) -> End<'_> {
        End { url: self.from.as_deref(), config: self.from_config.as_ref(), envdir: self.from_envdir.as_ref() }
    }

    /// The destination.
    pub fn to(&self) -> End<'_> {
        End { url: self.to.as_deref(), config: self.to_config.as_ref(), envdir: self.to_envdir.as_ref() }
    }
}
