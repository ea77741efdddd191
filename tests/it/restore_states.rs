//! Real archives of the original, restored by wal-r to each state their facts describe, by real servers.
//!
//! In: the bundled archive, the larger one, archives made by this run with wal-e on PostgreSQL 10 and 14 with a
//! tablespace; from a directory and from Garage. Out: rows equal to what the old servers said.
//! Never: a server that the archive was not made with.

use crate::support::archive::{self, Facts, Place};
use crate::support::need::{self, Missing};
use crate::support::postgres::Postgres;
use crate::support::recovery::Source;
use crate::support::restore::{all_states, fetch, recovered};
use crate::support::{Scratch, or_skip, require, stderr, stdout};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Both archives of PostgreSQL 13 from a directory and from Garage.
fn of_13(archive: &Path, facts: &Facts, garage: bool) -> Result<(), Missing> {
    let postgres = need::postgres(13)?;
    let scratch = Scratch::new();
    if garage {
        let garage = need::garage()?;
        let prefix = garage.upload(archive, &garage.prefix("restore"));
        let source = Source { prefix, environment: garage.environment(), flags: "" };
        all_states(&scratch, &postgres, &source, facts, &[]);
    } else {
        let archive = scratch.reachable(archive);
        all_states(&scratch, &postgres, &Source::directory(&archive), facts, &[]);
    }
    Ok(())
}

#[test]
fn bundled_from_a_directory() {
    let (archive, facts) = archive::bundled();
    or_skip!(of_13(&archive, &facts, false));
}

#[test]
fn bundled_from_garage() {
    let (archive, facts) = archive::bundled();
    or_skip!(of_13(&archive, &facts, true));
}

#[test]
fn larger_from_a_directory() {
    let (archive, facts) = archive::shared(&require!(shared_archive));
    or_skip!(of_13(&archive, &facts, false));
}

#[test]
fn larger_from_garage() {
    let (archive, facts) = archive::shared(&require!(shared_archive));
    or_skip!(of_13(&archive, &facts, true));
}

/// wal-e on another version, with a tablespace, into this kind of place, and back.
fn made(major: u32, garage: bool) -> Result<(), Missing> {
    let (postgres, wal_e) = (need::postgres(major)?, need::wal_e()?);
    let scratch = Scratch::new();
    let elsewhere = scratch.dir("elsewhere");
    let (source, facts);
    if garage {
        let garage = need::garage()?;
        let prefix = garage.prefix("made");
        facts = archive::make(&scratch, &postgres, &wal_e, Place::Garage(&garage, &prefix), Some(&elsewhere));
        let prefix = format!("s3://{}/{prefix}", crate::support::garage::BUCKET);
        // As a host that ran WAL-E has it: the endpoint in WAL-E's own grammar.
        let mut environment = garage.environment();
        environment.retain(|(name, _)| !name.contains("ENDPOINT") && !name.contains("PATH_STYLE"));
        environment.push(("WALE_S3_ENDPOINT", format!("http+path://127.0.0.1:{}", garage.port())));
        source = Source { prefix, environment, flags: "" };
        states_with_tablespace(&scratch, &postgres, &source, &facts);
    } else {
        let place = scratch.dir("archive");
        facts = archive::make(&scratch, &postgres, &wal_e, Place::Directory(&place), Some(&elsewhere));
        source = Source::directory(&place);
        states_with_tablespace(&scratch, &postgres, &source, &facts);
    }
    Ok(())
}

fn states_with_tablespace(scratch: &Scratch, postgres: &Postgres, source: &Source, facts: &Facts) {
    // The place it had is not ours to take: without a word about it, nothing is restored.
    let data = scratch.join("refused");
    let mut command = scratch.command(scratch.wal_r());
    command.args(["backup-fetch", "--prefix", &source.prefix]).arg(&data).arg("LATEST").envs(source.environment());
    let output = command.output().expect("it runs");
    assert!(!output.status.success() && stderr(&output).contains("local.tablespace"), "{}", stderr(&output));

    // In a place of its own.
    let oid = tablespace_of(&stderr(&output));
    let place = scratch.join("tablespace");
    let flag = format!("{oid}={}", place.display());
    let flags = ["LATEST", "--tablespace", &flag, "--recover"];
    let server = recovered(scratch, postgres, source, "placed", &flags);
    assert_eq!(server.ask("select count(*), sum(id) from faraway"), "300|45150");
    let location = server.ask("select pg_tablespace_location(oid) from pg_tablespace where spcname = 'elsewhere'");
    assert_eq!(location, place.display().to_string());
    drop(server);

    // Inside the data directory, to every state.
    all_states(scratch, postgres, source, facts, &["--blind-restore"]);
}

/// The OID of the one tablespace, as the refusal names it.
fn tablespace_of(refusal: &str) -> String {
    let oids: Vec<&str> =
        refusal.split(|c: char| !c.is_ascii_digit()).filter(|word| word.len() == 5 && word.starts_with('1')).collect();
    oids.first().unwrap_or_else(|| panic!("no OID in:\n{refusal}")).to_string()
}

#[test]
fn made_on_10_in_a_directory() {
    or_skip!(made(10, false));
}

#[test]
fn made_on_10_in_garage() {
    or_skip!(made(10, true));
}

#[test]
fn made_on_14_in_a_directory() {
    or_skip!(made(14, false));
}

#[test]
fn made_on_14_in_garage() {
    or_skip!(made(14, true));
}

/// The other kinds of target, each at the same place: the restore point before the drop.
#[test]
fn every_kind_of_target() {
    let postgres = require!(postgres 13);
    let (archive, facts) = archive::bundled();
    let scratch = Scratch::new();
    let source = Source::directory(&scratch.reachable(&archive));
    let promote = ["--recovery-target-action", "promote"];
    let state =
        |name: &str, target: &[&str]| recovered(&scratch, &postgres, &source, name, &[target, &promote].concat());

    let server = state("name", &["LATEST", "--recovery-target-name", "before_drop"]);
    assert_eq!(server.ask(archive::PRECIOUS), facts.precious());
    let (lsn, accounts) = (server.ask("select pg_last_wal_replay_lsn()"), server.ask(facts.accounts));
    drop(server);

    // Where that replay ended: one record more, which commits nothing.
    let server = state("lsn", &["LATEST", "--recovery-target-lsn", &lsn]);
    assert_eq!(server.ask(archive::PRECIOUS), facts.precious());
    assert_eq!(server.ask(facts.accounts), accounts);
    drop(server);

    // As soon as the backup is consistent: before the first transaction after it.
    let server = state("immediate", &["LATEST", "--recovery-target-immediate"]);
    assert_eq!(server.ask(facts.accounts), "0|1000");
    assert_eq!(server.ask(archive::PRECIOUS), facts.precious());
    let next: u64 = server.ask("select txid_current()").parse().expect("a transaction id");
    drop(server);

    // The base backup ended before five transactions of round 1; this is the second of them.
    let xid = next.to_string();
    let server = state("xid", &["LATEST", "--recovery-target-xid", &xid]);
    assert_ne!(server.ask(facts.accounts), "0|1000");
    assert_eq!(server.ask(archive::PRECIOUS), facts.precious());
    drop(server);
}

/// A standby by wal-r's own settings: it follows to the end of the archive and stays a standby.
#[test]
fn a_standby() {
    let postgres = require!(postgres 13);
    let (archive, facts) = archive::bundled();
    let scratch = Scratch::new();
    let source = Source::directory(&scratch.reachable(&archive));
    let data = fetch(&scratch, &source, "standby", &["LATEST", "--standby"]);
    let mut server = postgres.spawn(&scratch, &data, &["hot_standby=on", "wal_retrieve_retry_interval=200ms"], &[]);
    server.wait_for("caught up", |server| {
        server.try_ask(facts.accounts).is_ok_and(|sum| sum == facts.get("tli2_accounts_sum"))
    });
    assert_eq!(server.ask("select pg_is_in_recovery()"), "t");
}

/// Killed at any moment: no server starts on what is left, and the next run makes it whole.
#[test]
fn a_killed_restore_does_not_start_and_can_be_resumed() {
    let postgres = require!(postgres 13);
    let (archive, facts) = archive::bundled();
    let scratch = Scratch::new();
    let source = Source::directory(&scratch.reachable(&archive));
    let flags = ["LATEST", "--recover"];
    let begun = Instant::now();
    let whole = fetch(&scratch, &source, "whole", &flags);
    let takes = begun.elapsed();

    let data = scratch.join("killed");
    let mut resume: &[&str] = &[];
    let mut killed = 0;
    for step in 1..=8u32 {
        let mut command = scratch.command(scratch.wal_r());
        command.args(["backup-fetch", "--prefix", &source.prefix]).arg(&data).args(flags).args(resume);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
        std::thread::sleep(takes * step / 9);
        child.kill().expect("it can be killed");
        if child.wait().expect("it ended").success() {
            // It was done before: nothing left to kill.
            break;
        }
        killed += 1;
        if data.join("global/pg_control").exists() {
            // Killed behind the last step: it is whole, and a server may start on it.
            break;
        }
        if data.join("PG_VERSION").exists() {
            let mut server = postgres.spawn(&scratch, &data, &[], &[]);
            let status = server.wait_ended();
            let log = server.log();
            assert!(!status.success() && !log.contains("ready to accept"), "killed at {step}/9: started:\n{log}");
        }
        if data.exists() {
            resume = &["--resume"];
        }
    }
    assert!(killed >= 3, "killed only {killed} times");
    let whole_without_us = data.join("global/pg_control").exists() && !data.join("wal-r.unfinished").exists();
    if !whole_without_us {
        resume = if data.exists() { &["--resume"] } else { &[] };
        fetch(&scratch, &source, "killed", &[&flags[..], resume].concat());
    }
    // Settings files were added by the attempts to start; all else is the same, byte for byte.
    for name in ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"] {
        let _ = std::fs::remove_file(data.join(name));
    }
    let differ = Command::new("diff").arg("-r").arg(&whole).arg(&data).output().expect("diff");
    assert!(differ.status.success(), "{}", stdout(&differ));
    let mut server = postgres.spawn(&scratch, &data, &[], &[]);
    server.wait_promoted();
    assert_eq!(server.ask(facts.accounts), facts.get("tli2_accounts_sum"));
}
