//! What differs between two archives that are made of a few lines, and how bad that is.

use super::*;
use crate::commands::Silent;
use crate::commands::copy;
use crate::storage::local::LocalStore;
use crate::testing::fixture;
use futures::TryStreamExt;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const OLD: &str = "base_000000010000000000000002_00000040";
const NEW: &str = "base_000000020000000000000008_00000040";
const WHOLE: &str = "1: 01..07\n2: 07..09\n2.history: 1@0/7000100\nkey sysids/sysid\nkey notes.txt\n\
                     backup base_000000010000000000000002_00000040 parts 0..1 version\n\
                     backup base_000000020000000000000008_00000040 parts 0..1 version";

fn options() -> Options {
    Options {
        selection: Selection::default(),
        until: None,
        digests: Digests::Sample(1),
        read_both: false,
        level: Level::Names,
        backups: Backups::Latest,
        jobs: 4,
        effort: Effort { workers: 1, cores: 1 },
        now: Timestamp::now(),
        program: "0".to_owned(),
    }
}

/// A source, and a copy of it made by `copy`.
struct Two {
    folder: TempDir,
}

impl Two {
    async fn new(text: &str) -> Two {
        let two = Two { folder: tempfile::tempdir().unwrap() };
        let store = fixture::store(text);
        let objects: Vec<Listed> = store.list("", crate::storage::Depth::All, None).try_collect().await.unwrap();
        for listed in objects {
            let Listed::Object(object) = listed else { continue };
            let path = two.path("source", object.key.as_str());
            let bytes = crate::catalog::scan::raw(&store, &object.key, 1 << 20).await.unwrap();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            // No two objects of one content: an exchange would not show.
            fs::write(
                &path,
                [&bytes[..], if object.key.as_str().ends_with(".lzo") { object.key.as_str().as_bytes() } else { b"" }]
                    .concat(),
            )
            .unwrap();
        }
        for (number, name) in [OLD, NEW].iter().enumerate() {
            two.written("source", name, 1000 + number as u64);
        }
        two
    }

    async fn copied(text: &str, options: copy::Options) -> Two {
        let two = Two::new(text).await;
        two.copy(options).await;
        two
    }

    async fn copy(&self, options: copy::Options) {
        let sides = self.sides();
        let ends = copy::Ends {
            source: sides.source,
            destination: Arc::new(LocalStore::new(self.folder.path().join("copy"))),
            sibling: Box::new(|_| Err(Error::new(Code::InternalBug, "nothing is moved aside"))),
        };
        let plan = copy::plan(&ends, &options).await.unwrap();
        copy::run(&ends, &options, plan, Arc::new(Silent)).await.unwrap();
    }

    fn sides(&self) -> Sides {
        let store = |name: &str| Arc::new(LocalStore::new(self.folder.path().join(name)));
        Sides { source: store("source"), destination: store("copy") }
    }

    fn path(&self, side: &str, key: &str) -> PathBuf {
        self.folder.path().join(side).join(key)
    }

    /// Sets the time of a sentinel, where there is one.
    fn written(&self, side: &str, name: &str, second: u64) {
        let path = self.path(side, &format!("basebackups_005/{name}_backup_stop_sentinel.json"));
        if let Ok(file) = fs::File::options().write(true).open(path) {
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).unwrap();
        }
    }

    fn remove(&self, key: &str) {
        fs::remove_file(self.path("copy", key)).unwrap();
    }

    /// Other bytes of the same size and the same time.
    fn flip(&self, side: &str, key: &str) {
        let path = self.path(side, key);
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }

    async fn verify(&self, options: &Options) -> Report {
        run(&self.sides(), options, Arc::new(Silent)).await.unwrap()
    }
}

/// `severity kind` of each difference, once.
fn kinds(report: &Report) -> Vec<String> {
    let mut kinds: Vec<String> =
        report.differences.iter().map(|one| format!("{} {}", one.severity.word(), one.kind.word())).collect();
    kinds.dedup();
    kinds
}

fn with(wal: Wal, which: Which) -> (copy::Options, Options) {
    let selection = Selection { which: which.clone(), wal, ..Selection::default() };
    (copy::Options { which, wal, ..copy::Options::default() }, Options { selection, ..options() })
}

#[tokio::test]
async fn a_copy_is_the_same_and_says_what_was_read() {
    let two = Two::copied(WHOLE, copy::Options::default()).await;
    let report = two.verify(&options()).await;
    assert_eq!((report.verdict, report.equal, kinds(&report)), (Verdict::Ok, true, vec![]), "{report:#?}");
    assert_eq!(report.windows.len(), 3, "{:?}", report.windows);
    assert!(report.windows.iter().all(|row| row.same && row.source == row.destination), "{:?}", report.windows);
    assert_eq!(report.selected.backups.iter().map(ToString::to_string).collect::<Vec<_>>(), [OLD, NEW]);
    // All that was copied passed through: the manifest has it.
    let digests = &report.digests;
    assert_eq!((digests.read, digests.source_by_manifest), (digests.of, digests.of), "{digests:?}");
    assert_eq!(report.objects.chosen, report.objects.same_size);
    assert!(report.claim.contains("in the copy's manifest"), "{}", report.claim);
    // The lines are what anybody computes from the files.
    let mut lines: Vec<String> = Vec::new();
    for line in report.lines.lines() {
        let key = line.rsplit("  ").next().unwrap();
        let bytes = fs::read(two.path("copy", key)).unwrap();
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        lines.push(format!("{digest}  {}  {key}\n", bytes.len()));
    }
    lines.sort();
    assert_eq!(lines.concat(), report.lines);
    assert_eq!(lines.len() as u64, report.objects.chosen.objects);
    let whole: String = Sha256::digest(&report.lines).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digests.sha256.to_string(), whole);
}

#[tokio::test]
async fn without_a_manifest_both_sides_are_read() {
    let two = Two::copied(WHOLE, copy::Options::default()).await;
    fs::remove_dir_all(two.path("copy", ".wal-r")).unwrap();
    let report = two.verify(&options()).await;
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Ok, vec![]));
    assert_eq!((report.digests.read, report.digests.source_by_manifest.objects), (report.digests.of, 0));
    let none = two.verify(&Options { digests: Digests::None, ..options() }).await;
    assert_eq!((none.verdict, none.digests.read.objects, none.digests.by_size), (Verdict::Ok, 0, none.digests.of));
    assert!(none.claim.contains("No object's bytes were read"), "{}", none.claim);
}

#[tokio::test]
async fn other_bytes_of_the_same_size_are_critical_and_only_reading_shows_them() {
    let key = "wal_005/000000010000000000000004.lzo";
    for manifest in [true, false] {
        let two = Two::copied(WHOLE, copy::Options::default()).await;
        two.flip("copy", key);
        if !manifest {
            fs::remove_dir_all(two.path("copy", ".wal-r")).unwrap();
        }
        let report = two.verify(&options()).await;
        assert_eq!((report.verdict, report.equal), (Verdict::Critical, false));
        assert_eq!(kinds(&report), ["critical bytes"]);
        assert_eq!(report.differences[0].objects, [ObjectKey::from(key)]);
        let unread = two.verify(&Options { digests: Digests::None, ..options() }).await;
        assert_eq!(unread.verdict, Verdict::Ok);
    }
    // Behind the store's back: the manifest knows the source as it was, and reading it shows what it is.
    let two = Two::copied(WHOLE, copy::Options::default()).await;
    two.flip("source", key);
    assert_eq!(two.verify(&options()).await.verdict, Verdict::Ok);
    let report = two.verify(&Options { read_both: true, ..options() }).await;
    assert_eq!((kinds(&report), report.digests.source_by_manifest.objects), (vec!["critical bytes".to_owned()], 0));
    // The source's version is another than that in the manifest: the manifest is not believed.
    fs::File::options().write(true).open(two.path("source", key)).unwrap().set_modified(SystemTime::now()).unwrap();
    let report = two.verify(&options()).await;
    assert_eq!(kinds(&report), ["critical bytes"]);
    assert_eq!(report.digests.source_by_manifest.objects, report.digests.read.objects - 1);
}

#[tokio::test]
async fn what_is_missing_hurts_whom_it_hurts() {
    let part = format!("basebackups_005/{NEW}/tar_partitions/part_00000001.tar.lzo");
    let sentinel = format!("basebackups_005/{NEW}_backup_stop_sentinel.json");
    let cases: [(&str, Verdict, &[&str]); 6] = [
        (
            "wal_005/000000010000000000000005.lzo",
            Verdict::Critical,
            &["critical missing", "warning audit", "critical window"],
        ),
        ("wal_005/000000020000000000000009.lzo", Verdict::Critical, &["critical missing", "critical window"]),
        ("wal_005/00000002.history", Verdict::Critical, &["critical missing", "critical window"]),
        (&part, Verdict::Critical, &["critical missing"]),
        (&sentinel, Verdict::Critical, &["critical missing", "critical latest", "critical window"]),
        ("sysids/sysid", Verdict::Warning, &["warning missing"]),
    ];
    for (key, verdict, wanted) in cases {
        let two = Two::copied(WHOLE, copy::Options::default()).await;
        two.remove(key);
        let report = two.verify(&options()).await;
        let found = kinds(&report);
        assert_eq!((report.verdict, report.equal), (verdict, verdict == Verdict::Warning), "{key}: {found:?}");
        assert!(wanted.iter().all(|one| found.iter().any(|other| other == one)), "{key}: {found:?}");
        assert_eq!(report.objects.missing.objects, 1, "{key}");
    }
}

#[tokio::test]
async fn another_size_is_told_without_reading() {
    let two = Two::copied(WHOLE, copy::Options::default()).await;
    fs::write(two.path("copy", "wal_005/000000010000000000000005.lzo"), "short").unwrap();
    let report = two.verify(&Options { digests: Digests::None, ..options() }).await;
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Critical, vec!["critical size".to_owned()]));
    assert_eq!(report.objects.other_size.bytes, 5);
}

#[tokio::test]
async fn strangers_are_critical_and_what_was_copied_before_is_a_note() {
    let two = Two::copied(WHOLE, copy::Options::default()).await;
    fs::write(two.path("copy", "wal_005/00000002000000000000000A.lzo"), "another's").unwrap();
    fs::write(two.path("copy", "readme"), "of nobody").unwrap();
    let report = two.verify(&options()).await;
    assert_eq!(kinds(&report), ["critical stranger", "warning window"], "{:#?}", report.differences);
    assert_eq!((report.objects.strangers.objects, report.objects.foreign.objects), (1, 1));

    let two = Two::copied(WHOLE, copy::Options::default()).await;
    for key in ["wal_005/000000010000000000000002.lzo", "wal_005/000000010000000000000003.lzo"] {
        fs::remove_file(two.path("source", key)).unwrap();
    }
    fs::remove_file(two.path("source", &format!("basebackups_005/{OLD}_backup_stop_sentinel.json"))).unwrap();
    let report = two.verify(&options()).await;
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Ok, vec![]), "{:#?}", report.differences);
    assert!(report.notes.iter().any(|note| note.contains("the source no longer has it")), "{:?}", report.notes);
    assert!(report.objects.left_over.objects >= 3);
}

#[tokio::test]
async fn the_order_of_sentinels_is_part_of_a_copy() {
    let two = Two::copied(WHOLE, copy::Options::default()).await;
    two.written("copy", OLD, 5000);
    let report = two.verify(&options()).await;
    assert_eq!(kinds(&report), ["critical latest"]);
    assert_eq!(
        (report.latest.source.unwrap().to_string(), report.latest.destination.unwrap().to_string()),
        (NEW.into(), OLD.into())
    );
    assert!(!report.latest.same);
    two.written("copy", OLD, 1001);
    let report = two.verify(&options()).await;
    assert_eq!(kinds(&report), ["warning order"], "{:?}", report.differences);
}

#[tokio::test]
async fn a_part_is_held_against_what_was_chosen() {
    let old = || Which::Named(vec![OLD.parse().unwrap()]);
    for (wal, which, rows) in [
        (Wal::ToConsistency, Which::All, 2),
        (Wal::ToConsistency, old(), 1),
        (Wal::None, Which::All, 0),
        (Wal::All, Which::Latest, 1),
    ] {
        let (copying, verifying) = with(wal, which.clone());
        let two = Two::copied(WHOLE, copying).await;
        let report = two.verify(&verifying).await;
        assert_eq!(
            (report.verdict, kinds(&report)),
            (Verdict::Ok, vec![]),
            "{wal:?} {which:?}: {:#?}",
            report.differences
        );
        assert_eq!(report.windows.len(), rows, "{wal:?} {which:?}: {:?}", report.windows);
        // It is not the whole.
        assert_eq!(two.verify(&options()).await.verdict, Verdict::Critical, "{wal:?} {which:?}");
    }
    // What makes it consistent is gone.
    let (copying, verifying) = with(Wal::ToConsistency, old());
    let two = Two::copied(WHOLE, copying).await;
    two.remove("wal_005/000000010000000000000002.lzo");
    let report = two.verify(&verifying).await;
    assert!(kinds(&report).contains(&"critical window".to_owned()), "{:?}", kinds(&report));
    assert!(!report.windows[0].same);
    // A part of a whole copy: the rest is not compared, and said.
    let (_, verifying) = with(Wal::ToConsistency, old());
    let two = Two::copied(WHOLE, copy::Options::default()).await;
    let report = two.verify(&verifying).await;
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Ok, vec![]), "{:#?}", report.differences);
    assert!(report.notes.iter().any(|note| note.contains("was not chosen")), "{:?}", report.notes);
}

#[tokio::test]
async fn a_mirror_has_every_object() {
    let mirror = Selection { mirror: true, ..Selection::default() };
    let two = Two::copied(WHOLE, copy::Options { mirror: true, ..copy::Options::default() }).await;
    let verifying = Options { selection: mirror, ..options() };
    let report = two.verify(&verifying).await;
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Ok, vec![]));
    two.remove("notes.txt");
    two.remove("wal_005/000000010000000000000001.lzo");
    let report = two.verify(&verifying).await;
    // Older than every base backup.
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Warning, vec!["warning missing".to_owned()]));
    assert_eq!(report.objects.missing.objects, 2);
}

#[tokio::test]
async fn a_source_that_goes_on_is_held_to_the_time_of_the_copy() {
    let two = Two::copied(WHOLE, copy::Options::default()).await;
    let then = Timestamp::now();
    let path = two.path("source", "wal_005/00000002000000000000000A.lzo");
    fs::write(&path, "new").unwrap();
    let later = SystemTime::from(then) + Duration::from_secs(60);
    fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    assert_eq!(two.verify(&options()).await.verdict, Verdict::Critical);
    let report = two.verify(&Options { until: Some(then), ..options() }).await;
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Ok, vec![]), "{:#?}", report.differences);
    assert!(report.claim.contains("what was written until"), "{}", report.claim);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_the_same() {
    use crate::storage::StoreErrorKind;
    use crate::testing::faulty::{FaultPlan, FaultyStore};
    let two = Two::copied(WHOLE, copy::Options::default()).await;
    let mut sides = two.sides();
    let calls = {
        let counting = Arc::new(FaultyStore::new(sides.destination.clone(), FaultPlan::none()));
        let sides = Sides { destination: counting.clone(), ..sides.clone() };
        run(&sides, &options(), Arc::new(Silent)).await.unwrap();
        counting.calls_made()
    };
    let mut unknown = 0;
    for call in 0..calls {
        sides.destination =
            Arc::new(FaultyStore::new(two.sides().destination, FaultPlan::nth(call, StoreErrorKind::Unreachable)));
        match run(&sides, &Options { jobs: 1, ..options() }, Arc::new(Silent)).await {
            // Small objects that only help (a backup history file) may be done without.
            Ok(report) if report.equal => assert_eq!(report.verdict, Verdict::Ok),
            Ok(report) => {
                assert!(report.verdict >= Verdict::Unknown, "{call}: {report:#?}");
                unknown += 1;
            }
            Err(error) => assert_eq!(error.code(), Code::StoreUnreachable, "{call}"),
        }
    }
    assert!(unknown > 10, "{unknown} of {calls}");
}

#[tokio::test]
async fn one_place_is_no_copy_and_nothing_is_made() {
    let two = Two::new(WHOLE).await;
    let sides = two.sides();
    let same = Sides { destination: sides.source.clone(), ..sides.clone() };
    assert_eq!(run(&same, &options(), Arc::new(Silent)).await.unwrap_err().code(), Code::UsageArgument);
    assert_eq!(run(&sides, &options(), Arc::new(Silent)).await.unwrap_err().code(), Code::AbsentPrefix);
    assert!(!two.path("copy", "").exists());
}

/// Every file below a folder, with its time.
fn files(folder: &Path) -> Vec<(PathBuf, SystemTime)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => found.push((entry.path(), entry.metadata().unwrap().modified().unwrap())),
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn nothing_is_written() {
    let two = Two::copied(WHOLE, copy::Options::default()).await;
    let before = files(two.folder.path());
    two.verify(&options()).await;
    assert_eq!(files(two.folder.path()), before);
}

#[tokio::test]
async fn a_certificate_has_a_seal_that_anybody_can_compute() {
    let two = Two::copied(WHOLE, copy::Options::default()).await;
    let report = two.verify(&options()).await;
    let (text, seal) = certificate::certificate(&report, Some("Zoë <zoe@example.org>")).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&value["schema"], &value["version"], &value["equal"]),
        (&"wal-r.copy-certificate".into(), &1.into(), &true.into())
    );
    assert_eq!(value["signed_off_by"], "Zoë <zoe@example.org>");
    assert_eq!(value["seal"], seal.to_string());
    // Without the program's own code: members by name, no blanks.
    value.as_object_mut().unwrap().shift_remove("seal");
    fn canonical(value: &Value) -> String {
        match value {
            Value::Object(members) => {
                let sorted: BTreeMap<&String, &Value> = members.iter().collect();
                let members =
                    sorted.iter().map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }
            Value::Array(values) => format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(",")),
            // No fractions, and nothing that a reader rounds.
            Value::Number(number) => {
                assert!(number.as_u64().unwrap() < 1 << 53);
                number.to_string()
            }
            other => other.to_string(),
        }
    }
    let digest: String = Sha256::digest(canonical(&value) + "\n").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, seal.to_string());
    let (other, _) = certificate::certificate(&report, None).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&other).unwrap()["signed_off_by"], Value::Null);
    assert_ne!(other, text);
}
