//! Flags of `config`.
//!
//! In: argv. Out: [`Args`]. Never: resolves a setting.

/// What the settings are, where each comes from, and whether they work.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which.
    #[command(subcommand)]
    pub verb: Verb,
}

/// `config …`
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Every effective setting with its origin; then the store is tried: listed, read, looked at for encryption
    #[command(after_help = "Secrets are shown as ***. Ends with 0 when an archive was found and can be read.\n\n\
                            Examples:\n  \
                            wal-r config check\n  \
                            wal-r --prefix s3://bucket/db config check --format json\n  \
                            wal-r --envdir /etc/wal-e.d/env config check --offline")]
    Check {
        /// Do not ask the store
        #[arg(long)]
        offline: bool,
    },
    /// What a setting is, what it takes and who reads it; without a name, all of them
    #[command(after_help = "Examples:\n  wal-r config explain\n  wal-r config explain WALE_S3_ENDPOINT")]
    Explain {
        /// Any of its names
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}
