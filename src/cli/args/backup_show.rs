//! Flags of `backup-show`.
//!
//! In: argv. Out: a name. Never: asks a store.

/// All that is known of one base backup.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  wal-r backup-show LATEST\n  \
                        wal-r backup-show base_000000010000000000000003_00000040 --format json")]
pub struct Args {
    /// The backup's name, or LATEST
    #[arg(value_name = "NAME")]
    pub name: String,
}
