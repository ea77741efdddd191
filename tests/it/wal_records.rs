//! `proof::walk` over archives that real servers wrote.
//!
//! In: the archives in testdata and the larger one; WAL of a PostgreSQL 15 that this test runs. Out: no defect, nothing
//! unchecked behind the first segment, and pg_waldump's records. Never: WAL of our own making (the unit tests forge that).

use crate::support::{Scratch, need, require};
use std::path::Path;
use std::sync::Arc;
use wal_r::backup::restore::Effort;
use wal_r::proof::facts::{Forgetful, MarkKind, Outcome, SegmentFacts};
use wal_r::proof::survey::{self, Survey};
use wal_r::proof::walk::{Selection, Walked, walk};
use wal_r::proof::{Defect, Level};
use wal_r::storage::Store;
use wal_r::storage::local::LocalStore;

fn walked(archive: &Path, level: Level, workers: usize) -> (Survey, Walked) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store: Arc<dyn Store> = Arc::new(LocalStore::new(archive));
        let survey = survey::scan(&*store).await.expect("an archive");
        let effort = Effort { workers, cores: 1 };
        let walked = walk(store, &survey, &Selection::all(), level, effort, &mut Forgetful, Arc::new(|_| {})).await;
        (survey, walked.expect("a walk"))
    })
}

fn facts(walked: &Walked) -> Vec<(String, SegmentFacts)> {
    let good = |outcome: &Outcome| match outcome {
        Outcome::Good(facts) => (**facts).clone(),
        other => panic!("{other:?}"),
    };
    walked.proofs.iter().map(|proof| (proof.name.to_string(), good(&proof.outcome))).collect()
}

#[test]
fn real_archives_have_no_defects() {
    let shared = require!(shared_archive).join("wal-e-pg13");
    for archive in [need::root().join("testdata/archive/wal-e-pg13"), shared] {
        for level in [Level::Decode, Level::Headers, Level::Records] {
            let (_, walked) = walked(&archive, level, 1);
            assert_eq!(walked.defects, Vec::<Defect>::new(), "{archive:?}");
            assert!(walked.unread.is_empty() && walked.proofs.len() > 3);
        }
        let (survey, one) = walked(&archive, Level::Records, 1);
        // Only the very first segment follows none.
        assert_eq!(one.unchecked.segments, 1, "{:?}", one.unchecked);
        let (_, three) = walked(&archive, Level::Records, 3);
        assert_eq!(facts(&one), facts(&three));
        // Each timeline begins where its history says, and each base backup ends in the WAL.
        let marks: Vec<MarkKind> =
            facts(&one).into_iter().flat_map(|(_, facts)| facts.marks).map(|mark| mark.kind).collect();
        for backup in &survey.backups {
            assert!(marks.contains(&MarkKind::BackupEnd { start: backup.start }), "{:?}", backup.name);
        }
        let begun = marks.iter().filter(|kind| matches!(kind, MarkKind::TimelineBegins { .. })).count();
        assert_eq!(begun, survey.inventory.histories.len());
    }
}

/// Records that pg_waldump prints of one file: those that start in it and are complete there.
fn waldump(program: &Path, segment: &Path) -> u64 {
    let output = std::process::Command::new(program).arg(segment).output().expect("pg_waldump");
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with("rmgr:")).count() as u64
}

/// The same records as pg_waldump of the same version sees, segment by segment, and all of them clean: a record over
/// several segments, a switch, a crash, idle switches, a promotion.
#[test]
fn pg_waldump_counts_the_same() {
    let postgres = require!(postgres 15);
    let program = require!(pg_waldump);
    let scratch = Scratch::new();
    let (data, archive) = (scratch.join("data"), scratch.join("archive"));
    std::fs::create_dir_all(archive.join("wal_005")).expect("the archive");
    postgres.initdb(&scratch, &data);
    let settings = ["wal_keep_size=1000", "max_prepared_transactions=2", "wal_level=replica"];
    let mut server = postgres.start(&scratch, &data, &settings, &[]);
    server.ask("create table t(i int primary key, v text)");
    server.ask("insert into t select i, repeat('row ' || i, 10) from generate_series(1, 60000) i");
    server.ask("checkpoint");
    server.ask("update t set v = 'changed' where i % 3 = 0");
    server.ask("select pg_logical_emit_message(false, 'x', repeat('long', 8000000))");
    server.ask("select pg_create_restore_point('before the delete')");
    server.ask("delete from t where i % 7 = 0");
    for _ in 0..2 {
        server.ask("select pg_switch_wal()");
        server.ask("insert into t select coalesce(max(i), 0) + 1, 'after a switch' from t");
    }
    let last = server.ask("select pg_walfile_name(pg_current_wal_lsn())");
    server.stop();
    let folder = data.join("pg_wal");
    for entry in std::fs::read_dir(&folder).expect("pg_wal") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name");
        if name.len() == 24 && name < last {
            std::fs::copy(folder.join(&name), archive.join("wal_005").join(&name)).expect("a copy");
        }
    }
    let (_, walked) = walked(&archive, Level::Records, 2);
    assert_eq!(walked.defects, Vec::<Defect>::new());
    let facts = facts(&walked);
    assert!(facts.len() >= 5, "{}", facts.len());
    let (mut commits, mut compared) = (0, 0);
    for (place, (name, one)) in facts.iter().enumerate() {
        // pg_waldump leaves out the record that crosses into the file; a chained proof has it.
        let start = (u64::from_str_radix(&name[8..16], 16).expect("a name") << 32)
            | (u64::from_str_radix(&name[16..], 16).expect("a name") << 24);
        // Its first own record starts behind the first page's header, unless one crosses.
        let crosses = place > 0 && one.records > 0 && one.first_record.is_none_or(|first| first.0 != start + 40);
        let crossing = u64::from(crosses);
        assert_eq!(one.records - crossing, waldump(&program, &folder.join(name)), "{name}");
        compared += 1;
        commits += one.times.commits;
    }
    assert!(compared == facts.len() && commits >= 8, "{commits}");
    assert!(
        facts
            .iter()
            .flat_map(|(_, one)| &one.marks)
            .any(|mark| matches!(&mark.kind, MarkKind::RestorePoint { name, .. } if name == "before the delete"))
    );
}
