//! Recoveries with a real server and wal-fetch as its restore_command.
//!
//! In: a data directory without WAL, an archive's URL, the environment that reaches it. Out: a running server.
//! Never: a recovery setting that a person would not write.

use super::postgres::{Postgres, Server};
use super::scratch::{give, give_tree};
use super::{Scratch, succeed};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a recovery is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It ends, and promotes.
    PointInTime,
    /// It goes on for ever.
    Standby,
}

/// An archive as a restore_command reaches it.
#[derive(Debug, Clone)]
pub struct Source {
    /// `s3://…` or a path.
    pub prefix: String,
    /// Keys, endpoint and the like.
    pub environment: Vec<(&'static str, String)>,
    /// More flags for wal-fetch.
    pub flags: &'static str,
}

impl Source {
    /// A directory.
    pub fn directory(path: &Path) -> Source {
        Source { prefix: path.display().to_string(), environment: Vec::new(), flags: "" }
    }

    /// The environment as a server's child wants it.
    pub fn environment(&self) -> Vec<(&str, &str)> {
        self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// `wal-r … wal-fetch %f %p`, the prefix quoted for the shell, its percent signs for the server.
    pub fn restore_command(&self, scratch: &Scratch) -> String {
        let wal_r = scratch.wal_r();
        let prefix = self.prefix.replace('\'', r"'\''").replace('%', "%%");
        format!("'{}' wal-fetch --prefix '{prefix}' {} %f %p", wal_r.display(), self.flags)
    }
}

/// Write recovery settings into a data directory by hand, in the form its version wants; more settings for the server.
pub fn configure_with(postgres: &Postgres, data: &Path, kind: Kind, command: &str) -> Vec<String> {
    if postgres.major < 12 {
        let standby = if kind == Kind::Standby { "standby_mode = on\n" } else { "" };
        let command = command.replace('\'', "''");
        let text = format!("restore_command = '{command}'\nrecovery_target_timeline = 'latest'\n{standby}");
        std::fs::write(data.join("recovery.conf"), text).expect("recovery.conf");
        give(&data.join("recovery.conf"));
        return Vec::new();
    }
    let signal = data.join(if kind == Kind::Standby { "standby.signal" } else { "recovery.signal" });
    std::fs::write(&signal, "").expect("a signal file");
    give(&signal);
    vec![format!("restore_command={command}")]
}

/// Start a server that recovers; what it asks of the archive it asks often, so that tests need not wait.
pub fn spawn(scratch: &Scratch, postgres: &Postgres, data: &Path, kind: Kind, source: &Source) -> Server {
    let mut settings = configure_with(postgres, data, kind, &source.restore_command(scratch));
    settings.push("wal_retrieve_retry_interval=200ms".into());
    settings.push("hot_standby=on".into());
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    postgres.spawn(scratch, data, &settings, &source.environment())
}

/// A data directory of one's own from one that stays as it is.
pub fn copy(scratch: &Scratch, from: &Path, name: &str) -> PathBuf {
    let data = scratch.join(name);
    succeed(Command::new("cp").arg("-a").arg(from).arg(&data));
    give_tree(&data);
    data
}
