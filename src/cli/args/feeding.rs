//! Flags of whoever brings segments to a server: `wal-fetch` and `daemon`.
//!
//! In: argv. Out: how segments are looked at, what waits on disk, where metrics go. Never: looks at a file.

use crate::commands::wal_fetch::OnGap;
use crate::wal::segment::Level;
use clap::ValueEnum;
use std::path::PathBuf;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Feeding {
    /// How closely a segment is looked at
    #[arg(long, value_enum, default_value_t = Check::Records)]
    check: Check,
    /// What an absent segment means behind which the timeline goes on; else by who asks
    #[arg(long, value_enum)]
    on_gap: Option<GapMeans>,
    /// Most that waits on disk, fetched ahead: 256M, 1G. Default 256 MiB; 0 looks at nothing ahead
    #[arg(long, value_name = "BYTES", value_parser = super::bytes)]
    pub spool_bytes: Option<u64>,
    /// Write metrics of the recovery there every second, as Prometheus' textfile collector takes them
    #[arg(long, value_name = "FILE")]
    pub status_file: Option<PathBuf>,
}

/// How closely a segment is looked at.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Check {
    /// Every page and the checksum and link of every record
    Records,
    /// Every page says that it belongs where it is
    Headers,
    /// The size and the cluster
    None,
}

/// What a gap means.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum GapMeans {
    /// Recovery must stop
    Stop,
    /// It is not there, and a warning
    Absent,
}

impl Feeding {
    /// How closely a segment is looked at.
    pub fn level(&self) -> Level {
        match self.check {
            Check::Records => Level::Records,
            Check::Headers => Level::Headers,
            Check::None => Level::None,
        }
    }

    /// What a gap means; `None`: by who asks.
    pub fn on_gap(&self) -> Option<OnGap> {
        self.on_gap.map(|means| match means {
            GapMeans::Stop => OnGap::Stop,
            GapMeans::Absent => OnGap::Absent,
        })
    }

    /// May anything be fetched ahead, with so many fetches at one time by the settings?
    pub fn looks_ahead(&self, parallel: Option<usize>) -> bool {
        self.spool_bytes != Some(0) && parallel != Some(1)
    }
}
