//! Flags of `recovery-windows`.
//!
//! In: argv. Out: [`Options`] and where the ledger is. Never: asks a store.

use crate::backup::restore::Effort;
use crate::commands::backup_fetch::parse_wished_time;
use crate::commands::recovery_windows::Options;
use crate::error::{Answer, Code, Error};
use crate::pg::TimelineId;
use crate::proof::windows::Wish;
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};

/// Which times can be recovered to, from which base backup, and the holes between.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Times are those of commits and aborts in the WAL, as a server compares them. A target time must be before the end \
                  of\na window: the last commit itself is reached by its LSN, or without a target.\nEvery segment is read, unless a \
                  ledger remembers it or --quick is given.\n\nExit codes: 0 yes (without --can-reach: something can be recovered), \
                  1 no, 3 nobody knows: something\ncould not be read; 64 the command line.\n\nExamples:\n  \
                  wal-r recovery-windows\n  \
                  wal-r recovery-windows --quick --timeline 2\n  \
                  wal-r recovery-windows --ledger --can-reach '2026-11-20T20:34:38+00:00'\n  \
                  wal-r recovery-windows --can-reach before_drop"
)]
pub struct Args {
    /// Can this be reached, and how? A time with its zone, an LSN, or the name of a restore point (name:… for any name)
    #[arg(long, value_name = "TIME|LSN|NAME")]
    can_reach: Option<String>,
    /// Only along this timeline
    #[arg(long, value_name = "NUMBER", value_parser = TimelineId::parse_decimal)]
    timeline: Option<TimelineId>,
    /// Read only the segments at the edges; nothing between is proven then
    #[arg(long)]
    quick: bool,
    /// Remember what was read in this file, and read only what is new; without FILE in the state directory of the user
    #[arg(long, value_name = "FILE")]
    ledger: Option<Option<PathBuf>>,
    /// Begin the ledger anew; the old one is moved aside
    #[arg(long, requires = "ledger")]
    rebuild_ledger: bool,
}

impl Args {
    /// What the verb takes. `program`: the words that reach the same archive.
    pub fn options(&self, program: Vec<String>) -> Answer<Options> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Options {
            timeline: self.timeline,
            wish: self.can_reach.as_deref().map(|text| wish(text, &TimeZone::system())).transpose()?,
            quick: self.quick,
            program,
            effort: Effort { workers: cores, cores },
        })
    }

    /// The ledger's file (`None`: at the default place), and whether it is begun anew.
    pub fn ledger(&self) -> Option<(Option<&Path>, bool)> {
        self.ledger.as_ref().map(|path| (path.as_deref(), self.rebuild_ledger))
    }
}

/// An LSN has a slash, a time is one; all else is a name.
fn wish(text: &str, local: &TimeZone) -> Answer<Wish> {
    if let Some(name) = text.strip_prefix("name:") {
        return Ok(Wish::Name(name.to_owned()));
    }
    if let Ok(lsn) = text.parse() {
        return Ok(Wish::Lsn(lsn));
    }
    if let Some(time) = parse_wished_time(text, local)? {
        return Ok(Wish::Time(time));
    }
    if text.is_empty() || text.len() > 63 {
        let what = format!("`{text}` is no time, no place in the WAL, and no name that a restore point can have");
        return Err(Error::new(Code::UsageTarget, what));
    }
    Ok(Wish::Name(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes() {
        let read = |text: &str| match wish(text, &TimeZone::UTC) {
            Ok(Wish::Time(time)) => format!("time {time}"),
            Ok(Wish::Lsn(lsn)) => format!("lsn {lsn}"),
            Ok(Wish::Name(name)) => format!("name {name}"),
            Err(error) => error.code().to_string(),
        };
        for (text, wanted) in [
            ("0/3000028", "lsn 0/3000028"),
            ("2026-11-20 20:34:38+00", "time 2026-11-20T20:34:38Z"),
            ("2026-11-20T21:34:38.5+01:00", "time 2026-11-20T20:34:38.5Z"),
            ("2026-11-20 20:34:38 UTC", "time 2026-11-20T20:34:38Z"),
            ("2026-11-20 20:34:38", "usage.time"),
            ("2026-11-20 20:34:38 CET", "usage.time"),
            ("2026-11-20", "usage.time"),
            ("@1795206878", "time 2026-11-20T20:34:38Z"),
            ("before_drop", "name before_drop"),
            ("release 2026-11", "name release 2026-11"),
            ("name:0/3000028", "name 0/3000028"),
            ("", "usage.target"),
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
    }
}
