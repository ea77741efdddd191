//! Every damage is found by the level that claims it, under the right name, as bad as it is, and nothing else is said.
//!
//! In: the damage kit over the bundled archive, an archive of a real server, and the larger archive. Out: a list of what
//! was missed or said wrongly, or nothing. Never: an expectation of wal-r's own making (the kit's model is its own).
//!
//! `WALR_DAMAGE_SEEDS=N` tries N seeds of each kind (`cargo xtask damage --sweep N`), `WALR_DAMAGE_KIND` one kind only.

#![allow(clippy::print_stderr, reason = "a test speaks on stderr")]

use crate::support::{Scratch, archive, clean, require};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::runtime::Runtime;
use wal_r::backup::restore::Effort;
use wal_r::catalog::inventory::StoredSegment;
use wal_r::commands::{Silent, audit};
use wal_r::error::Answer;
use wal_r::layout::ObjectKey;
use wal_r::proof::facts::{Memory, Recall, SegmentProof};
use wal_r::proof::survey;
use wal_r::proof::verdict::Thresholds;
use wal_r::proof::walk::{Selection, walk};
use wal_r::proof::{Finding, FindingCode, Level, Severity, backup, judge, names};
use wal_r::storage::memory::MemoryStore;
use wal_r::storage::{ObjectId, Store};
use wal_r::testing::damage::{Archive, Claim, Damage, Kind, Scene};

fn scene(folder: &Path) -> Scene {
    let archive = Archive::read(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    Scene::new(archive).unwrap_or_else(|| panic!("{} holds no archive of WAL-E's", folder.display()))
}

/// `cargo xtask damage` runs this with `WALR_DAMAGE`: damaged copies to look at. Without it: one copy, read back.
#[test]
fn copies_for_people() {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match set("WALR_DAMAGE").as_deref() {
        Some("kinds") => Kind::all().for_each(|kind| eprintln!("{kind:?}")),
        Some(archive) => {
            let (archive, out) = (PathBuf::from(archive), PathBuf::from(set("WALR_DAMAGE_OUT").expect("where to")));
            let only = set("WALR_DAMAGE_KIND");
            let seeds = set("WALR_DAMAGE_SEEDS").unwrap_or_else(|| "0".into());
            let seeds: Vec<u64> = seeds.split_whitespace().map(|seed| seed.parse().expect("a seed")).collect();
            let scene = scene(&archive);
            for kind in Kind::all().filter(|kind| only.as_deref().is_none_or(|only| only == kind.name)) {
                for seed in &seeds {
                    if let Some(damage) = kind.damage(&scene, *seed) {
                        let folder = copy(&scene, &archive, &damage, &out);
                        eprintln!("{}: {}", folder.display(), damage.what);
                    }
                }
            }
        }
        None => {
            let (archive, _) = crate::support::archive::bundled();
            let scene = scene(&archive);
            let out = tempfile::tempdir().expect("a folder");
            let damage = Kind::named("history-missing").and_then(|kind| kind.damage(&scene, 7)).expect("a damage");
            let folder = copy(&scene, &archive, &damage, out.path());
            let copied = Archive::read(&folder).expect("the copy");
            let expected = scene.archive.damaged(&damage);
            assert!(copied.keys().eq(expected.keys()));
            assert!(copied.keys().all(|key| copied.get(key) == expected.get(key)));
        }
    }
}

/// A damaged copy in a folder of its own, and beside it what was done.
fn copy(scene: &Scene, archive: &Path, damage: &Damage, out: &Path) -> PathBuf {
    let folder = out.join(format!("{}-{}", damage.kind, damage.seed));
    scene.archive.write_damaged(archive, damage, &folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let text = format!("{}\n\n{:#?}\n", damage.what, damage.expect);
    std::fs::write(folder.with_extension("txt"), text).expect("a note beside it");
    folder
}

/// How many seeds of each kind, unless `WALR_DAMAGE_SEEDS` says otherwise.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    0..std::env::var("WALR_DAMAGE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(usual)
}

#[test]
fn of_the_bundled_archive() {
    let (folder, _) = archive::bundled();
    all_are_found(&scene(&folder), seeds(2), 150);
}

#[test]
fn of_the_larger_archive() {
    let (folder, _) = archive::shared(&require!(shared_archive));
    all_are_found(&scene(&folder), seeds(1), 80);
}

/// An archive that is at hand, named by `WALR_DAMAGE_ARCHIVE`.
#[test]
fn of_any_archive() {
    if let Some(folder) = std::env::var_os("WALR_DAMAGE_ARCHIVE") {
        all_are_found(&scene(Path::new(&folder)), seeds(1), 1);
    }
}

/// Small segments, five timelines, four base backups with checksums.
#[test]
fn of_an_archive_of_a_real_server() {
    let postgres = require!(postgres 16);
    let lzop = require!(lzop);
    let scratch = Scratch::new();
    let made = clean::make(&scratch, &postgres, &lzop);
    all_are_found(&scene(&made.archive), seeds(4), 300);
}

/// Damage of every kind, each looked at by who claims it, and by those who look less closely.
fn all_are_found(scene: &Scene, seeds: std::ops::Range<u64>, at_least: usize) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let only = std::env::var("WALR_DAMAGE_KIND").unwrap_or_default();
    let wanted = |kind: &Kind| only.is_empty() || kind.name == only;
    let kinds = Mutex::new(Kind::all().filter(wanted).collect::<Vec<_>>());
    let (failures, done) = (Mutex::new(Vec::new()), Mutex::new(0));
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let mut bench = Bench::new(scene);
                let next = || kinds.lock().expect("nobody panics with it").pop();
                while let Some(kind) = next() {
                    for damage in seeds.clone().filter_map(|seed| kind.damage(scene, seed)) {
                        let failed = bench.try_one(&damage);
                        *done.lock().expect("nobody panics with it") += 1;
                        failures.lock().expect("nobody panics with it").extend(failed);
                    }
                }
            });
        }
    });
    let (mut failures, done) = (failures.into_inner().expect("no panic"), done.into_inner().expect("no panic"));
    failures.sort();
    assert!(failures.is_empty(), "{} of {done} damages:\n{}", failures.len(), failures.join("\n"));
    let asked = !only.is_empty() || std::env::var_os("WALR_DAMAGE_SEEDS").is_some();
    assert!(done >= at_least || asked, "only {done} damages");
}

/// The levels at which WAL is read.
const LEVELS: [Level; 3] = [Level::Decode, Level::Headers, Level::Records];

/// One archive in memory, damaged and mended again, and what is known of its undamaged segments: so only what a damage
/// changes is read, as in a nightly audit.
struct Bench<'a> {
    scene: &'a Scene,
    store: MemoryStore,
    runtime: Runtime,
    /// What a look at the clean archive left in the memory, at each level.
    clean: HashMap<Level, Known>,
    /// And what an audit of it left in a ledger, in `clean`.
    ledgers: tempfile::TempDir,
}

/// Versions that were proven.
#[derive(Clone, Default)]
struct Known(HashMap<(ObjectKey, u64), SegmentProof>);

impl Known {
    /// An object has a new version with its old bytes.
    fn renew(&mut self, object: &ObjectId) {
        if let Some(old) = self.0.keys().find(|(key, _)| *key == object.key).cloned()
            && let Some(proof) = self.0.remove(&old)
        {
            let proof = SegmentProof { object: object.clone(), ..proof };
            self.0.insert((object.key.clone(), object.fingerprint().0), proof);
        }
    }
}

impl Memory for Known {
    fn recall(&mut self, object: &ObjectId) -> Answer<Recall> {
        let known = self.0.get(&(object.key.clone(), object.fingerprint().0));
        Ok(known.map_or(Recall::New, |proof| Recall::Same(Box::new(proof.clone()))))
    }

    fn recall_listed(&mut self, stored: &StoredSegment) -> Answer<Recall> {
        let known = self.0.get(&(stored.key(), stored.version.0));
        Ok(known.map_or(Recall::New, |proof| Recall::Same(Box::new(proof.clone()))))
    }

    fn oldest(&mut self, _: u64) -> Answer<Vec<ObjectKey>> {
        Ok(Vec::new())
    }

    fn remember(&mut self, proof: &SegmentProof) -> Answer<()> {
        self.0.insert((proof.object.key.clone(), proof.object.fingerprint().0), proof.clone());
        Ok(())
    }
}

impl<'a> Bench<'a> {
    fn new(scene: &'a Scene) -> Bench<'a> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let store = scene.archive.store();
        let ledgers = tempfile::tempdir().expect("a folder");
        let mut bench = Bench { scene, store, runtime, clean: HashMap::new(), ledgers };
        for level in LEVELS {
            let (known, findings) = bench.look(level);
            assert_eq!(alarms(&findings), Vec::<String>::new(), "the clean archive, at {level:?}");
            bench.clean.insert(level, known);
        }
        let findings = bench.audit(scene.archive.store(), "clean");
        assert_eq!(alarms(&findings), Vec::<String>::new(), "the clean archive, audited");
        bench
    }

    /// What an audit says that has a ledger. Versions in a store begin anew with it, so what is the same has the same.
    fn audit(&self, store: MemoryStore, ledger: &str) -> Vec<Finding> {
        let options = audit::Options {
            level: Level::Records,
            backups: audit::Backups::None,
            budget_bytes: None,
            budget_time: None,
            ledger: Some(self.ledgers.path().join(ledger)),
            recheck: 0.0,
            thresholds: Thresholds::default(),
            ack: None,
            effort: Effort { workers: 1, cores: 1 },
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let report = self.runtime.block_on(audit::run(Arc::new(store), &options, Arc::new(Silent)));
        report.expect("an audit").findings
    }

    /// The next audit misses no segment that was proven and has other bytes now, or is gone from the end.
    fn remembered(&self, damage: &Damage) -> Vec<String> {
        let store = self.scene.archive.store();
        let mut owed = Vec::new();
        for (key, bytes) in &damage.changes {
            let is_segment =
                key.strip_prefix("wal_005/").is_some_and(|name| name.len() == 28 && name.ends_with(".lzo"));
            let before = self.scene.archive.get(key).filter(|_| is_segment);
            match bytes {
                Some(bytes) => {
                    store.insert(key, bytes.clone());
                    owed.extend(before.filter(|before| *before != bytes).map(|_| (FindingCode::LedgerChanged, key)));
                }
                None => drop(store.remove(key)),
            }
        }
        let vanished = damage.expect.codes.contains(&FindingCode::LedgerVanished);
        owed.extend(damage.changes.first().filter(|_| vanished).map(|(key, _)| (FindingCode::LedgerVanished, key)));
        if owed.is_empty() {
            return Vec::new();
        }
        // One of its own for each: while another test starts a process, that may hold the lock of the one before.
        let name = format!("{}-{}", damage.kind, damage.seed);
        let (clean, next) = (self.ledgers.path().join("clean"), self.ledgers.path().join(&name));
        std::fs::copy(clean, &next).expect("a copy");
        let findings = self.audit(store, &name);
        std::fs::remove_file(next).expect("it is there");
        let is_told = |(code, key): &(FindingCode, &String)| {
            let name = key.trim_start_matches("wal_005/").trim_end_matches(".lzo");
            let about = |one: &&Finding| one.code == *code && one.object.contains(name);
            findings.iter().find(about).is_some_and(|one| one.severity == Severity::Critical)
        };
        let missed = owed.into_iter().filter(|one| !is_told(one));
        missed.map(|(code, key)| format!("{code} of {key} is not told: {:?}", alarms(&findings))).collect()
    }

    /// What names and WAL show at a level.
    fn look(&self, level: Level) -> (Known, Vec<Finding>) {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let mut memory = self.clean.get(&level).cloned().unwrap_or_default();
        self.runtime.block_on(async {
            let survey = survey::scan(&*store).await.expect("a listing");
            let mut defects = names::defects(&survey);
            if level != Level::Names {
                let effort = Effort { workers: 1, cores: 1 };
                let advance = Arc::new(|_| {});
                let selection = Selection::all();
                let walked = walk(Arc::clone(&store), &survey, &selection, level, effort, &mut memory, advance)
                    .await
                    .expect("a walk");
                if level == Level::Records {
                    names::told_by_wal(&survey, &walked.proofs, &mut defects);
                }
                defects.extend(walked.defects);
            }
            (memory, judge::judge(&survey, defects))
        })
    }

    /// What backup-verify says of the base backups that a damage touches.
    fn verify(&self, damage: &Damage) -> Vec<Finding> {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        self.runtime.block_on(async {
            let survey = survey::scan(&*store).await.expect("a listing");
            let mut defects = names::defects(&survey);
            for one in &survey.backups {
                let touched = |(key, _): &(String, _)| key.contains(&one.name.to_string());
                if damage.changes.iter().any(touched) {
                    let effort = Effort { workers: 1, cores: 1 };
                    let proof = backup::verify(Arc::clone(&store), &survey, one, effort, Arc::new(|_| {})).await;
                    defects.extend(proof.expect("a proof").defects);
                }
            }
            judge::judge(&survey, defects)
        })
    }

    /// Damage, look, mend. What was missed or said wrongly.
    fn try_one(&mut self, damage: &Damage) -> Vec<String> {
        for (key, bytes) in &damage.changes {
            match bytes {
                Some(bytes) => self.store.insert(key, bytes.clone()),
                None => drop(self.store.remove(key)),
            }
        }
        let claim = damage.expect.claim;
        let mut failures = Vec::new();
        let mut judged = |at: &str, claimed: bool, findings: &[Finding]| {
            let wrong = wrong_in(damage, claimed, findings);
            failures
                .extend(wrong.map(|why| format!("{} {} at {at}: {}: {why}", damage.kind, damage.seed, damage.what)));
        };
        // The level that claims it, the one below, and the names always: they cost nothing.
        let levels: &[(Level, bool)] = match claim {
            Claim::Names => &[(Level::Names, true), (Level::Records, true)],
            Claim::Decode => &[(Level::Names, false), (Level::Decode, true), (Level::Records, true)],
            Claim::Headers => &[(Level::Names, false), (Level::Decode, false), (Level::Headers, true)],
            Claim::Records => &[(Level::Names, false), (Level::Headers, false), (Level::Records, true)],
            Claim::Backup => &[(Level::Names, false)],
            Claim::Ledger => &[(Level::Names, false), (Level::Records, false)],
            Claim::Nobody => &[(Level::Names, true), (Level::Records, true)],
        };
        for (level, claimed) in levels {
            let (_, findings) = self.look(*level);
            judged(level.word(), *claimed, &findings);
        }
        if matches!(claim, Claim::Backup | Claim::Nobody) {
            let findings = self.verify(damage);
            judged("backup-verify", true, &findings);
        }
        self.mend(damage);
        let missed = self.remembered(damage).into_iter();
        failures.extend(missed.map(|why| format!("{} {} with a ledger: {why}", damage.kind, damage.seed)));
        failures
    }

    fn mend(&mut self, damage: &Damage) {
        for (key, _) in &damage.changes {
            match self.scene.archive.get(key) {
                None => drop(self.store.remove(key)),
                Some(bytes) => {
                    self.store.insert(key, bytes.clone());
                    // A new version with the old bytes: what was proven of them holds.
                    let object = self.runtime.block_on(self.store.head(&key.as_str().into())).expect("it is there");
                    for known in self.clean.values_mut() {
                        known.renew(&object);
                    }
                }
            }
        }
    }
}

/// Findings that would wake somebody, for people.
fn alarms(findings: &[Finding]) -> Vec<String> {
    let alarms = findings.iter().filter(|finding| finding.severity > Severity::Harmless);
    alarms.map(|one| format!("{} {} {}: {}", one.severity.word(), one.code, one.object, one.what)).collect()
}

/// What is wrong with an answer.
fn wrong_in(damage: &Damage, claimed: bool, findings: &[Finding]) -> Option<String> {
    let expect = &damage.expect;
    let said = || {
        let all = findings.iter().map(|one| {
            let hurts: Vec<String> = one.hurts.iter().map(ToString::to_string).collect();
            format!("\n    {} {} {}: {} {hurts:?}", one.severity.word(), one.code, one.object, one.what)
        });
        all.collect::<String>()
    };
    let loud: Vec<&Finding> = findings.iter().filter(|one| one.severity > Severity::Harmless).collect();
    let false_one = loud.iter().find(|one| expect.claim == Claim::Nobody || !expect.allows(one.code));
    if let Some(one) = false_one {
        return Some(format!("{} is a false alarm{}", one.code, said()));
    }
    if !claimed || expect.claim == Claim::Nobody {
        return None;
    }
    if !findings.iter().any(|one| expect.codes.contains(&one.code)) {
        let owed: Vec<&str> = expect.codes.iter().map(|code: &FindingCode| code.as_str()).collect();
        return Some(format!("not found; owed is one of {owed:?}{}", said()));
    }
    let worst = findings.iter().filter(|one| expect.allows(one.code)).map(|one| one.severity).max();
    let worst = worst.unwrap_or(Severity::Harmless);
    if worst < expect.worst.0 || worst > expect.worst.1 {
        let (least, most) = (expect.worst.0.word(), expect.worst.1.word());
        return Some(format!("{} instead of {least} to {most}{}", worst.word(), said()));
    }
    let hurt: BTreeSet<String> = loud.iter().flat_map(|one| one.hurts.iter().map(ToString::to_string)).collect();
    if let Some(name) = expect.certainly.iter().find(|name| !hurt.contains(*name)) {
        return Some(format!("{name} is not named as hurt{}", said()));
    }
    if let Some(name) = hurt.iter().find(|name| !expect.perhaps.contains(name)) {
        return Some(format!("{name} is not hurt{}", said()));
    }
    None
}
