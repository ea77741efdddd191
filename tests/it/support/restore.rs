//! Base backups restored by `wal-r backup-fetch`, and servers started on them with the settings it wrote.
//!
//! In: an archive's [`Source`] and [`Facts`]. Out: the three states that the facts describe, proven or a panic.
//! Never: a recovery setting of the test's own; what wal-r wrote is what is tried.

use super::archive::{Facts, PRECIOUS};
use super::postgres::{Postgres, Server};
use super::recovery::Source;
use super::{Scratch, succeed};
use std::path::PathBuf;

/// Restore into a new folder `name` of the scratch folder.
#[track_caller]
pub fn fetch(scratch: &Scratch, source: &Source, name: &str, flags: &[&str]) -> PathBuf {
    let data = scratch.join(name);
    let mut command = scratch.command(scratch.wal_r());
    command.args(["backup-fetch", "--prefix", &source.prefix]).arg(&data).args(flags).envs(source.environment());
    succeed(&mut command);
    data
}

/// Restore, start, wait until it takes writes.
#[track_caller]
pub fn recovered(scratch: &Scratch, postgres: &Postgres, source: &Source, name: &str, flags: &[&str]) -> Server {
    let data = fetch(scratch, source, name, flags);
    let mut server = postgres.spawn(scratch, &data, &[], &source.environment());
    server.wait_promoted();
    server
}

/// The newest state, the end of timeline 1, and the moment before the drop: each equal to the facts.
#[track_caller]
pub fn all_states(scratch: &Scratch, postgres: &Postgres, source: &Source, facts: &Facts, flags: &[&str]) {
    let with = |more: &[&str]| -> Vec<String> { flags.iter().chain(more).map(ToString::to_string).collect() };
    let state = |name: &str, more: &[&str]| {
        let flags = with(more);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        recovered(scratch, postgres, source, name, &flags)
    };
    let done = |server: Server, name: &str| {
        drop(server);
        std::fs::remove_dir_all(scratch.join(name)).expect("room for the next");
    };

    let server = state("newest", &["LATEST", "--recover"]);
    assert_eq!(server.ask_in(facts.database, facts.accounts), facts.get("tli2_accounts_sum"));
    assert!(server.try_ask_in(facts.database, PRECIOUS).is_err(), "precious was dropped");
    done(server, "newest");

    let server = state("first", &["--recovery-target-timeline", "1"]);
    assert_eq!(server.ask_in(facts.database, facts.accounts), facts.get("tli1_accounts_sum"));
    done(server, "first");

    let moment = facts.get("precious_exists_at");
    let server = state("before", &["--recovery-target-time", moment, "--recovery-target-action", "promote"]);
    assert_eq!(server.ask_in(facts.database, PRECIOUS), facts.precious());
    done(server, "before");
}
