//! Flags of `wal-fetch`.
//!
//! In: argv. Out: [`Options`](crate::commands::wal_fetch::Options), and who asks. Never: asks a store.

use crate::catalog::inventory::Form;
use crate::cli::exit;
use crate::commands::wal_fetch::{Options, name, overtaken_wait};
use crate::error::Answer;
use crate::feed::mode::{Mode, Who};
use crate::layout::{Compression, WalFile};
use crate::pg::TimelineId;
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long PostgreSQL is kept waiting for a verdict.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How long for a daemon to take the question, as WAL-G's client does.
pub const CONNECT: Duration = Duration::from_secs(5);

/// One validated WAL file for PostgreSQL: the restore_command.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The file appears under its name only when it is whole, is of the right cluster and every record of \
                        it is good.\nExit: 0 delivered; 74 not in the archive; else by who asks: 200.. stops a \
                        point-in-time recovery, 100.. lets a standby ask again.\n\nExamples:\n  \
                        restore_command = 'wal-r wal-fetch %f %p'\n  \
                        restore_command = 'wal-r wal-fetch --socket /run/wal-r/socket %f %p'\n  \
                        wal-r wal-fetch 000000010000000000000005 ./000000010000000000000005\n  \
                        wal-r wal-fetch --mode standby 00000002.history /tmp/h"
)]
pub struct Args {
    /// Segment, TTTTTTTT.history, SEGMENT.XXXXXXXX.backup or SEGMENT.partial
    #[arg(value_name = "NAME")]
    name: String,
    /// Where it goes; what is there is replaced
    #[arg(value_name = "DEST")]
    destination: PathBuf,
    /// Who asks, instead of what the data directory says
    #[arg(long, value_enum)]
    mode: Option<AskedBy>,
    #[command(flatten)]
    pub feeding: super::feeding::Feeding,
    /// The exit code for "not in the archive", 1 to 125
    #[arg(long, value_name = "N", default_value_t = exit::ABSENT, value_parser = clap::value_parser!(u8).range(1..=125))]
    pub absent_exit: u8,
    /// Ask the daemon that listens there; where it has no answer, the archive itself
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// WAL-E's flag: 0 looks at nothing ahead; how far else is measured
    #[arg(short = 'p', long, hide = true, value_name = "N")]
    prefetch: Option<u32>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum AskedBy {
    /// A recovery that ends, and promotes, when a file is not there
    PointInTime,
    /// A server that asks again
    Standby,
    /// pg_rewind: this one file
    Rewind,
    /// A person or a script
    Manual,
}

impl Args {
    /// What the verb takes, by this deadline; `usage.name` for names no archive holds.
    pub fn options(&self, now: jiff::Timestamp, deadline: Duration) -> Answer<Options> {
        Ok(Options {
            file: name(&self.name)?,
            destination: self.destination.clone(),
            check: self.feeding.level(),
            on_gap: self.feeding.on_gap(),
            likely: Form::of_suffix(Compression::Lzo),
            now,
            overtaken: overtaken_wait(deadline),
            seen: None,
        })
    }

    /// May anything be fetched ahead, with so many fetches at one time by the settings?
    pub fn looks_ahead(&self, parallel: Option<usize>) -> bool {
        self.prefetch != Some(0) && self.feeding.looks_ahead(parallel)
    }

    /// What `--mode` said.
    pub fn forced(&self) -> Option<Who> {
        self.mode.map(|mode| match mode {
            AskedBy::PointInTime => Who::PointInTime,
            AskedBy::Standby => Who::Standby,
            AskedBy::Rewind => Who::Rewind,
            AskedBy::Manual => Who::Other,
        })
    }

    /// The daemon to ask first.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Is there more to an absence than the daemon can know? It does not hear these flags.
    pub fn judges_absence(&self) -> bool {
        self.mode.is_some() || self.feeding.on_gap().is_some()
    }

    /// Who asks; also for names that are none, because the exit code depends on it.
    pub fn mode(&self) -> Mode {
        let forced = self.forced();
        let file = self.name.parse().unwrap_or(WalFile::History(TimelineId::FIRST));
        Mode::find(Path::new("."), &file, &self.destination, forced)
    }
}
