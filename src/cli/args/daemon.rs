//! Flags of `daemon`.
//!
//! In: argv. Out: the socket, the data directory, how segments are looked at. Never: looks at a file.

use std::path::{Path, PathBuf};

/// WAL files for PostgreSQL from a warm process, over WAL-G's daemon socket.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Clients are `wal-r wal-fetch --socket SOCKET %f %p` and WAL-G's `walg-daemon-client`. Destinations belong \
                  to one data directory, the daemon's.\nRuns until SIGTERM or SIGINT, finishes what it serves, and \
                  removes its socket; a second signal stops it at once. SIGUSR1 and SIGHUP open WALG_LOG_DESTINATION anew.\n\n\
                  Examples:\n  \
                  wal-r daemon --pgdata /var/lib/postgresql/15/main /run/wal-r/socket\n  \
                  restore_command = 'wal-r wal-fetch --socket /run/wal-r/socket %f %p'"
)]
pub struct Args {
    /// Where it listens; a dead daemon's socket there is removed, anything else is not
    #[arg(value_name = "SOCKET")]
    pub socket: PathBuf,
    /// The data directory that destinations belong to; else PGDATA
    #[arg(long, value_name = "DIR")]
    pgdata: Option<PathBuf>,
    #[command(flatten)]
    pub feeding: super::feeding::Feeding,
}

impl Args {
    /// The data directory by flag.
    pub fn data(&self) -> Option<&Path> {
        self.pgdata.as_deref().filter(|path| !path.as_os_str().is_empty())
    }
}
