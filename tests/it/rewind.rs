//! pg_rewind with wal-fetch as the target's restore_command: it walks backwards through segments that only the archive has.
//!
//! In: PostgreSQL 13, 15 and 18, two clusters that have diverged, a spool that a killed feeder left in the target's pg_wal. Out: a target that follows the source, with its
//! rows. Never: a segment left where pg_rewind would find it in pg_wal.

use crate::support::archive::{self, Extent};
use crate::support::feeder;
use crate::support::need::Missing;
use crate::support::recovery::{self, Kind, Source};
use crate::support::scratch::give;
use crate::support::{Scratch, need, or_skip, stderr};
use std::io::Write;
use wal_r::feed::status::Status;

/// What is in the target's pg_wal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// What a feeder left that was killed.
    ByKilled,
    /// A feeder is on its way out.
    ByGoing,
}

fn rewind(major: u32, left: Left) -> Result<(), Missing> {
    let (postgres, lzop) = (need::whole_postgres(major)?, need::lzop()?);
    let scratch = Scratch::new();
    let extent = Extent { segments: 20, ..Extent::LARGE };
    let offline = archive::make_offline_of(&scratch, &postgres, &lzop, extent);
    let target = offline.primary.clone();
    let fetch = format!("'{}' -dc '{}/wal_005/%f.lzo' >%p", lzop.display(), offline.archive.display());
    // Few segments stay in pg_wal; pages carry what pg_rewind needs.
    let settings: Vec<&str> = offline.settings.iter().map(String::as_str).collect();
    let few: Vec<&str> =
        settings.iter().copied().chain(["wal_log_hints=on", "max_wal_size=4MB", "min_wal_size=2MB"]).collect();
    let primary = |data| postgres.start(&scratch, data, &few, &[]);
    let mut server = primary(&target);
    server.stop();

    // The source leaves timeline 1 here and becomes timeline 2.
    let source = recovery::copy(&scratch, &target, "source");
    let recovery = recovery::configure_with(&postgres, &source, Kind::PointInTime, &fetch);
    let settings: Vec<&str> = few.iter().copied().chain(recovery.iter().map(String::as_str)).collect();
    let mut server = postgres.start(&scratch, &source, &settings, &[]);
    server.wait_promoted();
    archive::work(&server, 5);
    let sum = server.ask(offline.accounts);
    server.stop();

    // The target did not hear of it: far more than stays in its pg_wal.
    let mut server = primary(&target);
    server.ask("alter system set archive_timeout = 0");
    archive::work(&server, 40);
    server.ask("checkpoint");
    server.stop();
    let kept = std::fs::read_dir(target.join("pg_wal")).expect("pg_wal").count();
    assert!(kept < 20, "{kept} segments are still there");

    // It was tried as a standby for a while, and the host went down with it.
    let archive = Source::directory(&offline.archive);
    let mut settings = recovery::configure_with(&postgres, &target, Kind::Standby, &archive.restore_command(&scratch));
    // It does not look for the other timeline, and at the end of its own asks for nothing, which would start a feeder.
    settings.push("recovery_target_timeline=current".into());
    settings.push("wal_retrieve_retry_interval=5min".into());
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut standby = postgres.spawn(&scratch, &target, &settings, &[]);
    standby.wait_for("at the end", |server| {
        // Its questions may all have come before the feeder listened.
        let quiet = |status: Status| status.up_seconds > 0.5 && status.idle_seconds.is_none_or(|idle| idle > 0.5);
        server.log().contains("normal at the end of the archive") && feeder::status(&target).is_some_and(quiet)
    });
    match left {
        Left::ByKilled => {
            assert!(feeder::kill(&target));
            standby.crash();
        }
        // It goes when the server has gone: just now.
        Left::ByGoing => standby.stop(),
    }
    std::fs::remove_file(target.join("standby.signal")).expect("a signal file");
    let spool = feeder::folder(&target);
    if left == Left::ByKilled {
        assert!(spool.join("lock").exists(), "what a killed one leaves");
        for name in ["000000010000000000000030", ".000000010000000000000031.wal-r-0"] {
            std::fs::write(spool.join(name), vec![0xff; 1 << 20]).expect("a left-over");
            give(&spool.join(name));
        }
    }

    // Settings of the target: what -c reads.
    let command = archive.restore_command(&scratch).replace('\'', "''");
    let mut file = std::fs::OpenOptions::new().append(true).open(target.join("postgresql.conf")).expect("its settings");
    writeln!(file, "restore_command = '{command}'\nwal_log_hints = on\nunix_socket_directories = ''")
        .expect("settings");
    let run = |flags: &[&str]| {
        let mut rewind = scratch.command(postgres.program(&scratch, "pg_rewind"));
        rewind.arg("--target-pgdata").arg(&target).arg("--source-pgdata").arg(&source).args(flags);
        rewind.output().expect("pg_rewind runs")
    };
    let output = run(&["--restore-target-wal", "--no-sync", "--debug", "--progress"]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Done!"), "{said}");
    assert!(!spool.exists(), "pg_rewind takes away what the source has not");

    // It follows the source, which goes on archiving.
    let mut server = primary(&source);
    archive::work(&server, 3);
    let later = server.ask(offline.accounts);
    server.stop();
    assert_ne!(sum, later);
    let mut standby = recovery::spawn(&scratch, &postgres, &target, Kind::Standby, &archive);
    standby.wait_for("with the source", |server| server.try_ask(offline.accounts).is_ok_and(|found| found == later));
    Ok(())
}

#[test]
fn rewind_13() {
    or_skip!(rewind(13, Left::ByKilled));
}

#[test]
fn rewind_15() {
    or_skip!(rewind(15, Left::ByKilled));
}

#[test]
fn rewind_18() {
    or_skip!(rewind(18, Left::ByKilled));
}

#[test]
fn at_once_after_a_stop() {
    or_skip!(rewind(15, Left::ByGoing));
}
