//! The verb on forged archives: what it restores, what it refuses, what survives an interruption.

use super::*;
use crate::commands::Silent;
use crate::pg::Lsn;
use crate::pg::control::ControlFile;
use crate::storage::memory::MemoryStore;
use crate::testing::backup::{CONTROL, CONTROL_SHUT_DOWN, Forged, NAME, label};
use crate::testing::faulty::{Call, Fault, FaultPlan, FaultyStore, hasty};
use crate::testing::tar::Tar;
use std::path::Path;

fn options(target: &Path) -> Options {
    Options {
        target: target.to_owned(),
        which: Which::Latest,
        resume: false,
        tablespaces: Wishes::default(),
        waldir: None,
        verify_pages: true,
        owner: None,
        is_root: false,
        left_out: BTreeSet::new(),
        config: ConfigFiles::Leave,
        any_system: false,
        wal_elsewhere: false,
        recovery: None,
        workers: Some(2),
        cores: 2,
    }
}

fn recover(target: Option<RecoveryTarget>, timeline: TargetTimeline) -> Option<Wanted> {
    let command = ["/bin/wal-r", "--prefix", "memory:///", "wal-fetch"].map(str::to_owned).to_vec();
    Some(Wanted { command, target, inclusive: None, timeline, action: None, standby: false, trusted: false })
}

async fn restore_from(store: Arc<dyn Store>, options: &Options) -> Answer<Report> {
    let plan = plan(&*store, options).await?;
    run(store, options, plan, Arc::new(Silent)).await
}

fn restore(store: impl Store + 'static, options: &Options) -> Answer<Report> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(restore_from(Arc::new(store), options))
}

/// Every file with its content, links as text, directories as a slash.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(at: &Path, root: &Path, out: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(at).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            let about = path.symlink_metadata().expect("an entry");
            if about.is_symlink() {
                let to = std::fs::read_link(&path).expect("a link");
                out.insert(name, to.to_string_lossy().into_owned().into_bytes());
            } else if about.is_dir() {
                out.insert(format!("{name}/"), Vec::new());
                walk(&path, root, out);
            } else {
                out.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut out);
    out
}

/// In memory where that can be had: a hundred restores wait for a hundred syncs otherwise.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

#[test]
fn a_backup_becomes_a_directory() {
    let scratch = scratch();
    let target = scratch.path().join("deep/pg");
    let report = restore(Forged::small().store(), &options(&target)).expect("restored");
    let tree = tree(&target);
    assert_eq!(tree["global/pg_control"], CONTROL);
    assert_eq!(tree["backup_label"], label().as_bytes());
    assert_eq!(tree["base/hard"], tree["base/big"]);
    assert_eq!(tree["base/big"].len(), 150_000);
    for name in ["pg_wal/archive_status/", "pg_tblspc/", "pg_logical/snapshots/"] {
        assert!(tree.contains_key(name), "{name}");
    }
    assert!(!tree.keys().any(|name| name.contains("wal-r")), "nothing of ours is left: {:?}", tree.keys());
    assert_eq!(report.restored.missing_config, ["postgresql.conf", "pg_hba.conf"]);
    assert_eq!((report.restored.start, report.restored.fetched, report.restored.kept), (Lsn(0x3000028), 2, 0));
    assert_eq!(report.restored.warnings, Vec::<String>::new());
    assert_eq!(report.restored.file_bytes, Forged::small().expanded_bytes);
    // Once more: it is not empty now.
    let error = restore(Forged::small().store(), &options(&target)).expect_err("not empty");
    assert_eq!(error.code(), Code::LocalTarget);
}

#[test]
fn recovery_settings_and_least_configuration() {
    let scratch = scratch();
    let target = scratch.path().join("pg");
    let time: Timestamp = "2026-11-20T21:00:00Z".parse().expect("a time");
    let mut forged = Forged::small();
    forged.parts[0] = forged.parts[0].clone().file("standby.signal", b"");
    let store = forged.store();
    store.insert(
        "wal_005/000000010000000000000003.00000028.backup.lzo",
        crate::testing::lzop::lzop(history().as_bytes()),
    );
    let options = Options {
        which: Which::Fitting,
        recovery: recover(Some(RecoveryTarget::Time(time)), TargetTimeline::Latest),
        config: ConfigFiles::Minimal,
        waldir: Some(scratch.path().join("wal")),
        ..options(&target)
    };
    let report = restore(store, &options).expect("restored");
    let tree = tree(&target);
    let auto = String::from_utf8_lossy(&tree["postgresql.auto.conf"]).into_owned();
    assert!(auto.contains("# of the source: recovery_target_xid = '7'\n"), "{auto}");
    assert!(auto.contains("restore_command = '/bin/wal-r --prefix memory:/// wal-fetch \"%f\" \"%p\"'\n"), "{auto}");
    assert!(auto.contains("recovery_target_time = '2026-11-20 21:00:00.000000+00'\n"), "{auto}");
    assert!(tree.contains_key("recovery.signal") && !tree.contains_key("standby.signal"));
    let conf = String::from_utf8_lossy(&tree["postgresql.conf"]).into_owned();
    assert!(conf.contains("max_connections = 100\n") && conf.contains("archive_mode = off"), "{conf}");
    assert_eq!(tree["pg_wal"], scratch.path().join("wal").to_string_lossy().into_owned().into_bytes());
    assert!(report.restored.missing_config.is_empty());
    assert_eq!(report.plan.finished, Some("2026-11-20T20:34:34Z".parse().expect("a time")), "from the history file");
}

fn history() -> String {
    let label = label();
    let (first, rest) = label.split_once('\n').expect("lines");
    format!(
        "{first}\nSTOP WAL LOCATION: 0/3000138 (file 000000010000000000000003)\n{rest}STOP TIME: 2026-11-20 20:34:33 UTC\nSTOP TIMELINE: 1\n"
    )
}

#[test]
fn what_is_no_whole_backup_is_refused_and_cannot_start() {
    let with = |edit: &dyn Fn(&mut Forged)| {
        let mut forged = Forged::small();
        edit(&mut forged);
        forged
    };
    let first = |part: &dyn Fn(Tar) -> Tar| {
        with(&|forged| {
            let small = Forged::small();
            forged.parts = vec![part(Tar::new(true).dir("/", 0o700)), small.parts[1].clone()];
        })
    };
    let label = label();
    let label = label.as_bytes();
    let mut broken = CONTROL.to_vec();
    broken[20] ^= 1;
    let rows: Vec<(&str, Forged, &str)> = vec![
        ("stale partitions", with(&|forged| forged.expanded_bytes -= 1), "partitions of another backup are among them"),
        (
            "no control",
            first(&|tar| tar.file("PG_VERSION", b"13\n").file("backup_label", label)),
            "no partition holds global/pg_control",
        ),
        (
            "damaged control",
            first(&|tar| {
                tar.file("PG_VERSION", b"13\n").file("backup_label", label).file("global/pg_control", &broken)
            }),
            "its global/pg_control is damaged",
        ),
        (
            "no version",
            first(&|tar| tar.file("backup_label", label).file("global/pg_control", CONTROL)),
            "no partition holds PG_VERSION",
        ),
        (
            "another version",
            first(&|tar| {
                tar.file("PG_VERSION", b"14\n").file("backup_label", label).file("global/pg_control", CONTROL)
            }),
            "PG_VERSION says 14, and pg_control 13",
        ),
        (
            "two labels",
            with(&|forged| forged.parts[1] = forged.parts[1].clone().file("backup_label", b"other")),
            "partitions of another backup are among them",
        ),
        (
            "another backup's label",
            first(&|tar| {
                let other = String::from_utf8_lossy(label).replace("0/3000028", "0/3000090");
                tar.file("PG_VERSION", b"13\n")
                    .file("global/pg_control", CONTROL)
                    .file("backup_label", other.as_bytes())
            }),
            "its backup_label is another backup's: it starts at 0/3000090 (000000010000000000000003, offset 144)",
        ),
        (
            "a garbled label",
            first(&|tar| tar.file("PG_VERSION", b"13\n").file("global/pg_control", CONTROL).file("backup_label", b"x")),
            "its backup_label cannot be read",
        ),
        (
            "a link to nothing",
            with(&|forged| forged.parts[0] = forged.parts[0].clone().hard_link("z", "gone")),
            "which no partition holds",
        ),
    ];
    for (what, mut forged, want) in rows {
        if !matches!(what, "stale partitions" | "two labels") {
            forged.expanded_bytes = 10_000_000;
        }
        let scratch = scratch();
        let target = scratch.path().join("pg");
        let error = restore(forged.store(), &options(&target)).expect_err(what);
        assert!(error.chain().contains(want), "{what}: {}", error.chain());
        assert_eq!(error.verdict(), Verdict::Damaged, "{what}");
        assert!(!target.join("global/pg_control").exists(), "{what}");
        assert!(target.join("wal-r.unfinished").exists(), "{what}");
    }
    // Fewer bytes are files that vanished.
    let scratch = scratch();
    let target = scratch.path().join("pg");
    let report = restore(with(&|forged| forged.expanded_bytes += 5).store(), &options(&target)).expect("restored");
    assert!(report.restored.warnings[0].starts_with("5 bytes fewer than the sentinel counts"));
}

#[test]
fn what_the_plan_refuses_leaves_no_directory() {
    let scratch = scratch();
    let target = scratch.path().join("pg");
    let refuse = |store: MemoryStore, options: &Options, code: Code, want: &str| {
        let error = restore(store, options).expect_err(want);
        assert!(error.chain().contains(want), "{}", error.chain());
        assert_eq!(error.code(), code, "{want}");
        assert!(!target.exists(), "{want}");
    };
    let small = || Forged::small().store();
    refuse(MemoryStore::new(), &options(&target), Code::AbsentBackup, "there is no base backup");
    let missing = small();
    missing.remove(&format!("basebackups_005/{NAME}/tar_partitions/part_00000000.tar.lzo"));
    refuse(missing, &options(&target), Code::DamagedBackup, "partitions are missing: 0");
    let unfinished = small();
    unfinished.remove(&format!("basebackups_005/{NAME}_backup_stop_sentinel.json"));
    refuse(unfinished, &options(&target), Code::AbsentBackup, "there is no base backup");
    let garbled = small();
    garbled.insert(&format!("basebackups_005/{NAME}_backup_stop_sentinel.json"), "<html>");
    refuse(garbled, &options(&target), Code::DamagedSentinel, "the sentinel of none can be read");
    let no_wal = small();
    no_wal.remove("wal_005/000000010000000000000003.lzo");
    refuse(no_wal, &options(&target), Code::GapSegment, "needs to become consistent are not in the archive");
    let homeless =
        Forged { spec: r#"{"tablespaces":["16400"],"16400":{"loc":"/srv/ts1/"}}"#.into(), ..Forged::small() };
    refuse(homeless.store(), &options(&target), Code::LocalTablespace, "16400 (was /srv/ts1/)");
    let huge = Forged { expanded_bytes: 1 << 60, ..Forged::small() };
    refuse(huge.store(), &options(&target), Code::LocalSpace, "1152921504606846976 bytes are needed");
    let early = Options {
        which: Which::Fitting,
        recovery: recover(Some(RecoveryTarget::Lsn(Lsn(0x3000030))), TargetTimeline::Latest),
        ..options(&target)
    };
    refuse(small(), &early, Code::UsageTarget, "it is consistent from 0/3000138 on, and the target is 0/3000030");
    let named = Options { which: Which::Named(NAME.parse().expect("a name")), ..early };
    refuse(small(), &named, Code::UsageTarget, "does not lead to the target");
    // Somebody who read the WAL may know better; who names no backup leaves the choice to the names.
    let trusted = |which: &Which| {
        let wanted = named.recovery.clone().map(|wanted| Wanted { trusted: true, ..wanted });
        Options { which: which.clone(), recovery: wanted, target: target.join("trusted"), ..named.clone() }
    };
    refuse(small(), &trusted(&Which::Fitting), Code::UsageTarget, "it is consistent from 0/3000138 on");
    futures::executor::block_on(plan(&small(), &trusted(&named.which))).expect("it is taken");
    let system = small();
    system.insert("sysids/sysid", "1234567890\n");
    let error = restore(system.clone(), &options(&target)).expect_err("another cluster");
    assert!(error.to_string().contains("the archive says that it is of 1234567890"), "{error}");
    std::fs::remove_dir_all(&target).expect("removed");
    restore(system, &Options { any_system: true, ..options(&target) }).expect("restored");
}

#[test]
fn a_target_in_use_is_refused_and_stays_as_it_is() {
    for (name, want) in [("postmaster.pid", "a server runs there"), ("x", "the target is not empty: x")] {
        let target = scratch();
        std::fs::write(target.path().join(name), "mine").expect("a file");
        for resume in [false, true] {
            let error =
                restore(Forged::small().store(), &Options { resume, ..options(target.path()) }).expect_err(want);
            assert!(error.to_string().contains(want), "{error}");
        }
        assert_eq!(tree(target.path()).len(), 1);
    }
    let target = scratch();
    std::fs::create_dir(target.path().join("lost+found")).expect("a directory");
    restore(Forged::small().store(), &options(target.path())).expect("a mount point is empty");
}

#[test]
fn tablespaces_go_where_they_are_told() {
    let mut forged =
        Forged { spec: r#"{"tablespaces":["16400"],"16400":{"loc":"/srv/ts1/"}}"#.into(), ..Forged::small() };
    forged.parts[0] = forged.parts[0].clone().file("tablespace_map", b"16400 /srv/ts1\n");
    forged.parts[1] = forged.parts[1].clone().file("pg_tblspc/16400/PG_13_202007201/5/1", b"data");
    forged.expanded_bytes += 15 + 4;
    for inside in [false, true] {
        let scratch = scratch();
        let target = scratch.path().join("pg");
        let place = if inside { target.join("tablespaces/16400") } else { scratch.path().join("ts") };
        let mut wishes = Wishes { inside, ..Wishes::default() };
        if !inside {
            wishes.places.insert(16400, place.clone());
        }
        restore(forged.store(), &Options { tablespaces: wishes, ..options(&target) }).expect("restored");
        assert_eq!(std::fs::read(place.join("PG_13_202007201/5/1")).expect("a file"), b"data");
        assert_eq!(std::fs::read_link(target.join("pg_tblspc/16400")).expect("a link"), place);
        let map = std::fs::read_to_string(target.join("tablespace_map")).expect("a map");
        assert_eq!(map, format!("16400 {}\n", place.display()), "the server must not link to the source's place");
    }
}

#[test]
fn every_storage_call_fails_once_with_everything() {
    let forged = Forged::small();
    let reference = scratch();
    let target = reference.path().join("pg");
    restore(forged.store(), &options(&target)).expect("restored");
    let want = tree(&target);
    let counting = FaultyStore::new(Arc::new(forged.store()), FaultPlan::none());
    let scratch = scratch();
    let counting = Arc::new(counting);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(restore_from(counting.clone(), &options(&scratch.path().join("count")))).expect("restored");
    let calls = counting.calls();
    assert!(calls.len() >= 7, "{calls:?}");
    let mut failed = 0;
    for (call, made) in (0..).zip(&calls) {
        for (index, fault) in Fault::all(20_000).into_iter().enumerate() {
            // A store that leaves names out of a listing cannot be told from one that does not have them.
            if matches!((made, fault), (Call::List(..), Fault::ShortAt(_))) {
                continue;
            }
            let what = format!("call {call}, {fault:?}");
            let target = scratch.path().join(format!("{call}-{index}"));
            let faulty = FaultyStore::new(Arc::new(forged.store()), FaultPlan::nth(call, fault));
            let store = crate::storage::retry::Retrying::new(Arc::new(faulty), hasty());
            match runtime.block_on(restore_from(Arc::new(store), &options(&target))) {
                Ok(_) => assert_eq!(tree(&target), want, "{what}"),
                Err(error) => {
                    failed += 1;
                    assert!(!target.join("global/pg_control").exists(), "{what}");
                    let said_absent = error.is_absent();
                    assert!(!said_absent, "{what}: {}", error.chain());
                    // And the run after it is right.
                    let again = Options { resume: target.exists(), ..options(&target) };
                    runtime.block_on(restore_from(Arc::new(forged.store()), &again)).expect(&what);
                    assert_eq!(tree(&target), want, "{what}");
                }
            }
            let _ = std::fs::remove_dir_all(&target);
        }
    }
    assert!(failed > 0);
}

#[test]
fn resume_keeps_what_was_finished_and_refuses_another_backup() {
    let forged = Forged::small();
    let scratch = scratch();
    let target = scratch.path().join("pg");
    // The second partition's object is damaged at first.
    let store = forged.store();
    let key = format!("basebackups_005/{NAME}/tar_partitions/part_00000000.tar.lzo");
    let faulty = FaultyStore::new(Arc::new(store.clone()), FaultPlan::none());
    drop(faulty);
    let whole = crate::testing::lzop::lzop(&forged.parts[0].finish());
    let mut broken = whole.clone();
    let last = broken.len() - 1;
    broken[last] = 9;
    store.insert(&key, broken);
    let error = restore(store.clone(), &Options { workers: Some(1), ..options(&target) }).expect_err("damaged");
    assert_eq!(error.code(), Code::DamagedObject);
    assert!(error.to_string().contains("part_00000000"), "{error}");
    // Without the word it is refused; with it, the object is another version than the journal's.
    assert_eq!(restore(store.clone(), &options(&target)).expect_err("unfinished").code(), Code::LocalTarget);
    store.insert(&key, whole);
    let resume = Options { resume: true, ..options(&target) };
    let error = restore(store.clone(), &resume).expect_err("other bytes");
    assert!(error.to_string().contains("are not those it was begun with"), "{error}");

    // A disk error instead: same objects, so what was finished stays.
    std::fs::remove_dir_all(&target).expect("removed");
    let moved = Options { waldir: Some(scratch.path().join("wal")), ..options(&target) };
    std::fs::create_dir_all(scratch.path().join("wal/archive_status")).expect("a directory");
    assert_eq!(restore(store.clone(), &moved).expect_err("not empty").code(), Code::LocalTarget);
    std::fs::remove_dir_all(scratch.path().join("wal")).expect("removed");

    let stopped = FaultyStore::new(Arc::new(store.clone()), FaultPlan::none());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let stopped = Arc::new(stopped);
    runtime.block_on(restore_from(stopped.clone(), &Options { workers: Some(1), ..moved.clone() })).expect("restored");
    let reads = stopped.calls_made();
    std::fs::remove_dir_all(&target).expect("removed");
    std::fs::remove_dir_all(scratch.path().join("wal")).expect("removed");
    let fails_last = FaultyStore::new(
        Arc::new(store.clone()),
        FaultPlan::nth(reads - 1, crate::storage::StoreErrorKind::Unreachable),
    );
    restore(fails_last, &Options { workers: Some(1), ..moved.clone() }).expect_err("unreachable");
    let report = restore(store.clone(), &Options { resume: true, ..moved.clone() }).expect("resumed");
    assert_eq!((report.restored.kept, report.restored.fetched), (1, 1));
}

#[test]
fn backups_of_a_stopped_server() {
    let mut forged = Forged::small();
    // The wrong name that WAL-E gives them: two digits of the redo point, as segment and as offset.
    forged.name = "base_000000010000000000000015_00000015".into();
    forged.wal.clear();
    let with = |control: &[u8]| {
        let tar = Tar::new(true).dir("/", 0o700).file("PG_VERSION", b"13\n").file("global/pg_control", control);
        tar.file("global/pg_filenode.map", &[1; 512]).file("pg_xact/0000", &[0; 8192])
    };
    forged.parts[0] = with(CONTROL).hard_link("base/hard", "base/big");
    forged.expanded_bytes = 10_000_000;
    let store = forged.store();
    let sentinel = r#"{"wal_segment_backup_stop": "000000010000000000000015", "wal_segment_offset_backup_stop": "00000015", "expanded_size_bytes": 10000000, "spec": {}}"#;
    store.insert(&format!("basebackups_005/{}_backup_stop_sentinel.json", forged.name), sentinel);
    let scratch = scratch();
    let target = scratch.path().join("pg");
    let error = restore(store.clone(), &options(&target)).expect_err("a running server without a label");
    assert!(error.to_string().contains("it has no backup_label"), "{error}");
    std::fs::remove_dir_all(&target).expect("removed");

    forged.parts[0] = with(CONTROL_SHUT_DOWN).hard_link("base/hard", "base/big");
    forged.put(&store);
    store.insert(&format!("basebackups_005/{}_backup_stop_sentinel.json", forged.name), sentinel);
    let report = restore(store, &options(&target)).expect("restored");
    assert!(report.plan.offline && report.restored.offline);
    let control = ControlFile::parse(CONTROL_SHUT_DOWN).expect("a real one");
    assert_eq!(report.restored.start, control.redo, "from pg_control, not from the name");
    assert!(report.next.iter().any(|step| step.contains("stopped server")), "{:?}", report.next);
}

#[test]
fn target_times() {
    let vienna = jiff::tz::TimeZone::get("Europe/Vienna").unwrap_or(jiff::tz::TimeZone::fixed(jiff::tz::offset(1)));
    let instant: Timestamp = "2026-11-20T20:34:38Z".parse().expect("a time");
    for text in [
        "2026-11-20 20:34:38+00",
        "2026-11-20 20:34:38 +00",
        "2026-11-20T20:34:38Z",
        "2026-11-20 20:34:38 UTC",
        "2026-11-20 20:34:38 gmt",
        "2026-11-20T21:34:38+01:00",
        "2026-11-20 21:34:38+01",
        "@1795206878",
    ] {
        assert_eq!(parse_target_time(text, &vienna).expect(text), instant, "{text}");
    }
    let error = parse_target_time("2026-11-20 21:34:38", &vienna).expect_err("no zone");
    assert_eq!(error.code(), Code::UsageTime);
    assert_eq!(
        error.to_string(),
        "`2026-11-20 21:34:38` has no zone: it could be 2026-11-20 21:34:38+00:00 or 2026-11-20 21:34:38+01:00"
    );
    let error = parse_target_time("2026-11-20 21:34:38.25", &jiff::tz::TimeZone::UTC).expect_err("no zone");
    assert_eq!(error.advice(), Some("Write '2026-11-20 21:34:38.25+00:00' if UTC was meant."));
    for text in ["", "yesterday", "2026-13-01 00:00:00Z", "20:34:38Z", "2026-11-20 21:34:38 CET"] {
        assert_eq!(parse_target_time(text, &vienna).expect_err(text).code(), Code::UsageTime, "{text}");
    }
}

#[test]
fn names_just_before() {
    for name in ["000000010000000000000003", "00000001000000000000000A", "000000010000000100000000"] {
        let segment: SegmentName = name.parse().expect("a name");
        let before = before(segment);
        assert!(before.as_str() < name, "{before}");
        let previous = segment.number(SegmentSize::DEFAULT).expect("a number").previous().expect("one");
        let previous = previous.name(segment.timeline(), SegmentSize::DEFAULT).expect("a name").to_string();
        assert!(previous.as_str() < before.as_str(), "{previous} {before}");
    }
}
