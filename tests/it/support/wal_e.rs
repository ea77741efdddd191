//! The original WAL-E, which makes the archives that wal-r reads.
//!
//! In: a Python environment with wal-e. Out: a script that a server's archive_command can call, base backups.
//! Never: another program in wal-e's place. The one thing added: its client library cannot find out a region from an
//! address such as 127.0.0.1, so it is told one.

use super::postgres::Server;
use super::{Scratch, succeed};
use std::path::{Path, PathBuf};

/// wal-e as it was installed.
#[derive(Debug, Clone)]
pub struct WalE {
    python: PathBuf,
    libraries: PathBuf,
}

/// What tells wal-e's client library its region, then is wal-e.
const START: &str = "\
import os, sys
import boto.auth
region = os.environ.get('AWS_REGION')
if region:
    boto.auth.S3HmacAuthV4Handler.determine_region_name = lambda self, host: region
from wal_e.cmd import main
sys.argv[0] = 'wal-e'
main()
";

impl WalE {
    /// The environment in this folder, run by this Python.
    pub fn new(python: PathBuf, folder: &Path) -> WalE {
        let lib = std::fs::read_dir(folder.join("lib")).expect("an environment's lib");
        let libraries = lib
            .filter_map(|entry| Some(entry.ok()?.path().join("site-packages")))
            .find(|path| path.join("wal_e").is_dir())
            .expect("an environment with wal_e");
        WalE { python, libraries }
    }

    /// A script for one archive, to be called as `SCRIPT wal-push %p`.
    pub fn script(&self, scratch: &Scratch, name: &str, environment: &[(&str, &str)]) -> Script {
        let libraries = scratch.reachable(&self.libraries);
        let start = scratch.script("wal-e.py", START);
        let mut text = String::from(
            "#!/bin/sh\nexec env -i PATH=/usr/bin:/bin LC_ALL=C.UTF-8 WALE_LOG_DESTINATION=stderr PYTHONDONTWRITEBYTECODE=1 ",
        );
        text.push_str(&format!("PYTHONPATH='{}' ", libraries.display()));
        text.push_str("PGHOST=\"$PGHOST\" PGPORT=\"$PGPORT\" PGUSER=postgres PGDATABASE=postgres ");
        for (name, value) in environment {
            text.push_str(&format!("{name}='{value}' "));
        }
        text.push_str(&format!("'{}' '{}' \"$@\"\n", self.python.display(), start.display()));
        Script { path: scratch.script(name, &text) }
    }
}

/// wal-e, bound to one archive.
#[derive(Debug, Clone)]
pub struct Script {
    path: PathBuf,
}

impl Script {
    /// For `archive_command` and the like.
    pub fn push_command(&self) -> String {
        format!("'{}' wal-push %p", self.path.display())
    }

    /// For `restore_command`: the original against its own archives.
    pub fn fetch_command(&self) -> String {
        format!("'{}' wal-fetch -p 0 %f %p", self.path.display())
    }

    /// The newest base backup, as the original itself restores it.
    #[track_caller]
    pub fn restore(&self, scratch: &Scratch, data: &Path) {
        succeed(scratch.command(&self.path).arg("backup-fetch").arg(data).arg("LATEST"));
    }

    /// A base backup of a running server.
    #[track_caller]
    pub fn backup(&self, scratch: &Scratch, server: &Server, data: &Path) {
        let mut command = scratch.command(&self.path);
        command.arg("backup-push").arg(data).env("PGHOST", server.host()).env("PGPORT", server.port().to_string());
        succeed(&mut command);
    }
}
