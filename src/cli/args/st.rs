//! Flags of `st`.
//!
//! In: argv. Out: [`Args`]. Never: looks at the store.

use std::path::PathBuf;

/// A raw look at the storage, read only.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// `st …`
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// What lies under the prefix
    #[command(
        after_help = "Examples:\n  wal-r st ls\n  wal-r st ls wal_005/00000002\n  wal-r st ls -r basebackups_005"
    )]
    Ls {
        /// A folder, or the beginning of names
        #[arg(value_name = "PATH", default_value = "", hide_default_value = true)]
        path: String,
        /// Every object below, not one level
        #[arg(short, long)]
        recursive: bool,
    },
    /// An object's bytes on stdout, as they are stored
    #[command(after_help = "Examples:\n  \
                            wal-r st cat basebackups_005/base_000000010000000000000003_00000040_backup_stop_sentinel.json\n  \
                            wal-r st cat --decompress wal_005/00000002.history.lzo")]
    Cat {
        /// The object
        #[arg(value_name = "PATH")]
        path: String,
        /// Decode it, by its first bytes, else by its name
        #[arg(long)]
        decompress: bool,
    },
    /// An object into a file, decoded
    #[command(after_help = "The file appears when it is whole, and replaces nothing.\n\n\
                            Examples:\n  \
                            wal-r st get wal_005/000000010000000000000001.lzo 000000010000000000000001\n  \
                            wal-r st get --no-decompress wal_005/000000010000000000000001.lzo ./raw.lzo")]
    Get {
        /// The object
        #[arg(value_name = "PATH")]
        path: String,
        /// The file to make
        #[arg(value_name = "DEST")]
        destination: PathBuf,
        /// As it is stored
        #[arg(long)]
        no_decompress: bool,
        /// Nothing is decrypted yet: understood for WAL-G's sake
        #[arg(long, hide = true)]
        no_decrypt: bool,
    },
    /// Size, time and version of an object, what its name says and what it really is
    #[command(after_help = "Examples:\n  wal-r st stat wal_005/000000010000000000000001.lzo")]
    Stat {
        /// The object
        #[arg(value_name = "PATH")]
        path: String,
    },
}
