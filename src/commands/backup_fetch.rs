//! A base backup as a directory PostgreSQL can start on.
//!
//! In: [`Options`], a store. Out: [`Plan`], and after [`run`] a [`Report`]. The run follows the plan; `--plan` stops
//! there. Never: writes before the plan stands, chooses a backup that cannot be consistent before the target, or writes
//! a credential: restore_command gets them as every other call does.

mod choose;
mod time;

pub use choose::{Considered, Excluded};
pub use time::{parse_target_time, parse_wished_time};

use super::{Progress, Unit};
use crate::backup::partitions;
use crate::backup::recovery::{self, Action, Recovery, RecoveryTarget};
use crate::backup::restore::{self, ConfigFiles, Effort, Found, Restore, Restored};
use crate::backup::select::{Candidate, NoChoice};
use crate::backup::sentinel::{self, Sentinel};
use crate::backup::tablespaces::{self, Place, Wishes};
use crate::catalog::scan;
use crate::error::{Answer, Code, Error, Verdict};
use crate::layout::{self, BackupName, Compression, Entry, ObjectKey, WalFile};
use crate::pg::version::PgVersion;
use crate::pg::{SegmentName, SegmentSize, SystemId, TargetTimeline};
use crate::storage::{Depth, Listed, Store};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Sentinels and labels that are read at once.
const READS: usize = 16;
/// Stored bytes a second that the estimate assumes.
const ASSUMED_RATE: u64 = 100 << 20;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory, absolute.
    pub target: PathBuf,
    /// Which backup.
    pub which: Which,
    /// Go on where an earlier run stopped.
    pub resume: bool,
    /// Tablespaces.
    pub tablespaces: Wishes,
    /// Another directory for the WAL, absolute.
    pub waldir: Option<PathBuf>,
    /// Look at page checksums?
    pub verify_pages: bool,
    /// User and group of the files.
    pub owner: Option<(u32, u32)>,
    /// Is this root? Then somebody must own the files.
    pub is_root: bool,
    /// Members that are left out.
    pub left_out: BTreeSet<Vec<u8>>,
    /// Configuration files.
    pub config: ConfigFiles,
    /// Take the backup although `sysids/sysid` names another cluster.
    pub any_system: bool,
    /// Restore although WAL that consistency needs is not in the archive.
    pub wal_elsewhere: bool,
    /// Recovery settings to be written.
    pub recovery: Option<Wanted>,
    /// Partitions at once.
    pub workers: Option<usize>,
    /// Cores of this machine.
    pub cores: usize,
}

/// Which backup is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The newest, whatever the target.
    Latest,
    /// By name.
    Named(BackupName),
    /// The newest that was finished at this time.
    Before(Timestamp),
    /// The newest from which the recovery target can be reached.
    Fitting,
}

/// Recovery as it is asked for; [`Recovery`] without what this program adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The words of restore_command, but for the file.
    pub command: Vec<String>,
    /// Where to stop.
    pub target: Option<RecoveryTarget>,
    /// Stop behind the target?
    pub inclusive: Option<bool>,
    /// Which timeline.
    pub timeline: TargetTimeline,
    /// What to do there.
    pub action: Option<Action>,
    /// For ever.
    pub standby: bool,
    /// Somebody read the WAL and knows that a named backup reaches the target, where names and sentinels cannot tell.
    pub trusted: bool,
}

/// What will be done. Serialises as `--plan --format json` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The backup.
    pub backup: BackupName,
    /// Why this one.
    pub why: String,
    /// The archive.
    pub archive: String,
    /// The data directory.
    pub target: PathBuf,
    /// What lies there: `empty`, or how much of an interrupted run.
    pub found: String,
    /// Its full backup and its deltas, oldest first. WAL-E has no deltas.
    pub chain: Vec<BackupName>,
    /// The partitions.
    pub parts: Vec<PlannedPart>,
    /// Their stored bytes together.
    pub stored_bytes: u64,
    /// Bytes of files that the sentinel counts.
    pub expanded_bytes: Option<u64>,
    /// PostgreSQL as the archive's `extended_version.txt` has it; the backup itself has the last word.
    pub version: Option<String>,
    /// The cluster, as `sysids/sysid` has it.
    pub system: Option<SystemId>,
    /// When the backup was finished, for certain.
    pub finished: Option<Timestamp>,
    /// By its name and sentinel it was taken while the server was down.
    pub offline: bool,
    /// Tablespaces and where they go.
    pub tablespaces: Vec<Place>,
    /// Where the WAL directory goes, when elsewhere.
    pub waldir: Option<PathBuf>,
    /// Each file system that is written to.
    pub space: Vec<Space>,
    /// WAL that the backup needs to become consistent.
    pub wal: WalNeed,
    /// What will be written for recovery.
    pub recovery: Option<PlannedRecovery>,
    /// Seconds at 100 MiB/s of stored bytes.
    pub estimate_seconds: u64,
    /// What a person should know, whole sentences.
    pub notes: Vec<String>,
    #[serde(skip)]
    restore: Option<Box<Restore>>,
}

/// One partition of the plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedPart {
    /// Its number.
    pub number: u32,
    /// Its object.
    pub key: ObjectKey,
    /// Stored bytes.
    pub size: u64,
}

/// One file system.
#[derive(Debug, Clone, Serialize)]
pub struct Space {
    /// The directories on it.
    pub directories: Vec<PathBuf>,
    /// Free bytes.
    pub free_bytes: u64,
}

/// WAL for consistency.
#[derive(Debug, Clone, Default, Serialize)]
pub struct WalNeed {
    /// The segment in which the backup starts. `None` where only pg_control knows (offline backups).
    pub first: Option<SegmentName>,
    /// The segment in which it stopped.
    pub last: Option<SegmentName>,
    /// How many of them the archive has.
    pub present: usize,
    /// Those that it does not have.
    pub missing: Vec<SegmentName>,
}

/// Recovery settings of the plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedRecovery {
    /// As decided.
    pub settings: Recovery,
    /// The files, where the version is known.
    pub files: Option<recovery::Files>,
    /// A target time, here and in UTC.
    pub target_utc: Option<Timestamp>,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was planned.
    pub plan: Plan,
    /// What came of it.
    pub restored: Restored,
    /// What to do next, in order.
    pub next: Vec<String>,
}

/// Decides everything. Reads listings, sentinels and small files; writes nothing.
pub async fn plan(store: &dyn Store, options: &Options) -> Answer<Plan> {
    let candidates = candidates(store).await?;
    let asked = choose::Asked { which: &options.which, recovery: options.recovery.as_ref() };
    let candidates = choose::with_ends(store, candidates, &asked).await?;
    let histories = choose::histories(store, &asked, &candidates).await?;
    let chosen = choose::choose(&candidates, &asked, &histories).map_err(|error| error.on(store.url()))?;
    let mut notes = chosen.notes.clone();
    let backup = chosen.candidate.candidate.name;
    let Some(sentinel) = &chosen.candidate.candidate.sentinel else {
        return Err(Error::new(Code::DamagedSentinel, "the sentinel of this backup cannot be read")
            .on(store.object_url(&backup.sentinel_key())));
    };
    if !sentinel.is_wal_e() {
        let what = "it was made by WAL-G, whose backups this build lists but does not restore yet";
        return Err(Error::new(Code::ConfigUnsupported, what).on(backup).hint("Restore it with wal-g."));
    }
    let (parts, foreign) = parts(store, &backup).await?;
    if !foreign.is_empty() {
        notes.push(format!("Foreign objects beside the partitions are skipped: {}.", foreign.join(", ")));
    }
    let version = version(store, &backup).await?;
    let system = system(store, &mut notes).await?;
    let offline = is_offline(&backup, sentinel);
    let wal = if offline { WalNeed::default() } else { wal_need(store, &backup, sentinel, &mut notes).await? };
    let places = tablespaces::places(sentinel.spec.as_ref(), &options.tablespaces, &options.target)?;
    let stored_bytes = parts.iter().map(|part| part.object.size).sum();
    let recovery = options.recovery.as_ref().map(settings);
    // The version may be unknown here; a target it does not know is refused now where it is.
    let files = match (&recovery, version) {
        (Some(recovery), Some(version)) => Some(recovery::files(recovery, version)?),
        _ => None,
    };
    let restore = Restore {
        backup,
        expanded_bytes: sentinel.expanded_bytes,
        target: options.target.clone(),
        tablespaces: places.clone(),
        waldir: options.waldir.clone(),
        recovery: recovery.clone(),
        config: options.config.clone(),
        system: system.filter(|_| !options.any_system),
        verify_pages: options.verify_pages,
        owner: options.owner,
        left_out: options.left_out.clone(),
        resume: options.resume,
        parts,
    };
    let (found, done_bytes) = match restore::look(&options.target)? {
        Found::Empty => ("empty".to_owned(), 0),
        Found::Unfinished(unfinished) => {
            let done: u64 = unfinished.finished.iter().map(|part| part.found.file_bytes).sum();
            let text =
                format!("{} of {} partitions by an interrupted run", unfinished.finished.len(), restore.parts.len());
            (text, done)
        }
    };
    let space = space(&restore)?;
    if done_bytes == 0 {
        for place in places.iter().map(|one| &one.place).chain(&options.waldir) {
            restore::expect_empty(place)?;
        }
    }
    enough(&space, sentinel.expanded_bytes.map(|all| all.saturating_sub(done_bytes)))?;
    if sentinel
        .spec
        .as_ref()
        .and_then(|spec| spec.base_prefix.as_deref())
        .is_some_and(|base| options.target.as_path() != std::path::Path::new(base) && options.tablespaces.as_on_source)
    {
        notes.push("--restore-spec moves tablespaces only: the data directory goes where DIR says.".to_owned());
    }
    if options.is_root && options.owner.is_none() {
        notes.push("The files will belong to root, and PostgreSQL refuses to run as root: give --owner postgres, or run this as that user.".to_owned());
    }
    Ok(Plan {
        backup,
        why: chosen.why.clone(),
        archive: store.url(),
        target: options.target.clone(),
        found,
        chain: vec![backup],
        parts: restore
            .parts
            .iter()
            .map(|part| PlannedPart { number: part.number, key: part.object.key.clone(), size: part.object.size })
            .collect(),
        stored_bytes,
        expanded_bytes: sentinel.expanded_bytes,
        version: version.map(|version| version.to_string()),
        system,
        finished: crate::backup::select::finished_at_the_latest(&chosen.candidate.candidate),
        offline,
        tablespaces: places,
        waldir: options.waldir.clone(),
        space,
        wal,
        recovery: recovery.map(|settings| PlannedRecovery {
            target_utc: match settings.target {
                Some(RecoveryTarget::Time(time)) => Some(time),
                _ => None,
            },
            settings,
            files,
        }),
        estimate_seconds: stored_bytes.div_ceil(ASSUMED_RATE),
        notes,
        restore: Some(Box::new(restore)),
    })
}

/// Follows the plan.
pub async fn run(store: Arc<dyn Store>, options: &Options, plan: Plan, progress: Arc<dyn Progress>) -> Answer<Report> {
    let restore = plan.restore.clone().ok_or_else(|| Error::new(Code::InternalBug, "a plan without its restore"))?;
    if let Some(missing) = plan.wal.missing.first().filter(|_| !options.wal_elsewhere) {
        let what = format!(
            "{} of the segments that {} needs to become consistent are not in the archive",
            plan.wal.missing.len(),
            plan.backup
        );
        let hint =
            "Look for them in pg_wal of the old primary and its standbys; --wal-elsewhere restores all the same.";
        return Err(Error::new(Code::GapSegment, what).on(missing).hint(hint));
    }
    let workers = options.workers.unwrap_or_else(|| Effort::workers_for(&*store, options.cores)).max(1);
    let effort = Effort { workers, cores: options.cores.max(1) };
    let remote = store.capabilities().remote;
    progress.begin("restoring", plan.expanded_bytes, Unit::Bytes);
    let bar = Arc::clone(&progress);
    let result = restore.run(store, effort, Arc::new(move |bytes| bar.advance(bytes))).await;
    progress.end();
    let restored = result?;
    let next = next_steps(&plan, &restored, remote);
    Ok(Report { plan, restored, next })
}

fn settings(wanted: &Wanted) -> Recovery {
    Recovery {
        restore_command: recovery::restore_command(&wanted.command),
        target: wanted.target.clone(),
        inclusive: wanted.inclusive,
        timeline: wanted.timeline,
        action: wanted.action,
        standby: wanted.standby,
    }
}

/// Every backup with a sentinel, and what that says.
async fn candidates(store: &dyn Store) -> Answer<Vec<Candidate>> {
    let inventory = scan::backups(store).await?;
    let objects = inventory.backups.iter().filter_map(|(name, objects)| Some((*name, objects.sentinel.clone()?)));
    let read = objects.map(|(name, object)| async move {
        match scan::raw(store, &object.key, sentinel::MAX_BYTES).await {
            Ok(bytes) => {
                let sentinel = Sentinel::parse(&bytes).ok();
                Ok(Some(Candidate { name, sentinel, modified: object.modified, finished: None }))
            }
            // Deleted since it was listed.
            Err(error) if error.verdict() == Verdict::Absent => Ok(None),
            // There, and no sentinel: out of every choice but by name.
            Err(error) if error.verdict() == Verdict::Damaged => {
                Ok(Some(Candidate { name, sentinel: None, modified: object.modified, finished: None }))
            }
            Err(error) => Err(error),
        }
    });
    let read: Vec<Option<Candidate>> = futures::stream::iter(read).buffered(READS).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}

/// The partitions in order, and what else lies among them.
async fn parts(store: &dyn Store, backup: &BackupName) -> Answer<(Vec<partitions::Partition>, Vec<String>)> {
    let partitions::Folder { parts, foreign } = partitions::list(store, backup).await?;
    let parts = partitions::wal_e(parts)
        .map_err(|why| Error::new(Code::DamagedBackup, "the base backup is not complete").on(backup).because(why))?;
    Ok((parts, foreign))
}

/// What `extended_version.txt` says; it is informational, and often of the client.
async fn version(store: &dyn Store, backup: &BackupName) -> Answer<Option<PgVersion>> {
    let key = ObjectKey::from(format!("{}{backup}/extended_version.txt", layout::BACKUPS));
    match scan::raw(store, &key, 1 << 16).await {
        Ok(bytes) => Ok(PgVersion::from_banner(&String::from_utf8_lossy(&bytes))),
        Err(error) if matches!(error.verdict(), Verdict::Absent | Verdict::Damaged) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What `sysids/sysid` says, where a container wrote it.
async fn system(store: &dyn Store, notes: &mut Vec<String>) -> Answer<Option<SystemId>> {
    let key = ObjectKey::from("sysids/sysid");
    let bytes = match scan::raw(store, &key, 1 << 10).await {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.verdict(), Verdict::Absent | Verdict::Damaged) => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match text.parse() {
        Ok(number) => Ok(Some(SystemId(number))),
        Err(_) => {
            notes
                .push("sysids/sysid holds no system identifier, so the cluster cannot be compared with it.".to_owned());
            Ok(None)
        }
    }
}

/// WAL-E's offline backups: start equals stop, and the offset is the segment's last field.
fn is_offline(backup: &BackupName, sentinel: &Sentinel) -> bool {
    let name = backup.start().to_string();
    sentinel.stop_segment == Some(backup.start())
        && backup.offset_text().is_some_and(|offset| name.ends_with(offset))
        && sentinel.stop_offset.is_some_and(|stop| Some(stop) == backup.offset().map(u64::from))
}

/// Which of the segments from start to stop the archive has: one bounded listing.
async fn wal_need(
    store: &dyn Store,
    backup: &BackupName,
    sentinel: &Sentinel,
    notes: &mut Vec<String>,
) -> Answer<WalNeed> {
    let first = backup.start();
    let last = sentinel.stop_segment.unwrap_or(first).max(first).on(first.timeline());
    let prefix = format!("{}{}", layout::WAL, first.timeline().hex());
    let after = ObjectKey::from(format!("{}{}", layout::WAL, before(first)));
    let sorted = store.capabilities().sorted;
    let mut found: BTreeMap<SegmentName, bool> = BTreeMap::new();
    let mut lines = store.list(&prefix, Depth::Level, Some(&after));
    while let Some(line) = lines.try_next().await? {
        let Listed::Object(object) = line else { continue };
        let Entry::Wal { file, .. } = Entry::parse(&object.key) else { continue };
        match file {
            WalFile::Segment(name) if name > last && sorted => break,
            WalFile::Segment(name) if (first..=last).contains(&name) => {
                let readable = object.size > 0;
                found.entry(name).and_modify(|there| *there |= readable).or_insert(readable);
            }
            _ => {}
        }
    }
    // How names count on depends on the segment size, which no object here tells: the largest at which both are valid.
    let size = [first, last].iter().filter_map(|name| name.largest_size()).min().unwrap_or(SegmentSize::DEFAULT);
    let size = size.min(SegmentSize::DEFAULT);
    let mut need = WalNeed { first: Some(first), last: Some(last), present: 0, missing: Vec::new() };
    let mut next = Some(first);
    while let Some(name) = next.filter(|name| *name <= last) {
        if found.get(&name) == Some(&true) {
            need.present += 1;
        } else {
            need.missing.push(name);
        }
        if need.present + need.missing.len() > 100_000 {
            notes.push("The backup spans more than 100000 segments; only those were looked for.".to_owned());
            break;
        }
        next = name.next(size);
    }
    Ok(need)
}

/// A text just before this name in the order of keys.
fn before(name: SegmentName) -> String {
    let text = name.to_string();
    let mut bytes = text.into_bytes();
    // The last digit one lower, and then the highest character: nothing of ours lies between.
    while let Some(last) = bytes.pop() {
        match last {
            b'0' => continue,
            b'A' => bytes.push(b'9'),
            other => bytes.push(other - 1),
        }
        bytes.push(b'~');
        break;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The file systems that are written to.
fn space(restore: &Restore) -> Answer<Vec<Space>> {
    let mut by_device: BTreeMap<u64, Space> = BTreeMap::new();
    let places = restore.tablespaces.iter().map(|one| &one.place);
    for directory in std::iter::once(&restore.target).chain(places).chain(&restore.waldir) {
        let (device, free_bytes) = restore::free_bytes(directory)?;
        let space = by_device.entry(device).or_insert_with(|| Space { directories: Vec::new(), free_bytes });
        space.directories.push(directory.clone());
    }
    Ok(by_device.into_values().collect())
}

/// Is there room for that many bytes? How they spread over tablespaces the archive does not tell, so only their sum can
/// be judged before; a file system that is full on the way is fatal at once.
fn enough(space: &[Space], needed: Option<u64>) -> Answer<()> {
    let free: u64 = space.iter().map(|one| one.free_bytes).fold(0, u64::saturating_add);
    let Some(needed) = needed.filter(|needed| *needed > free) else { return Ok(()) };
    let each: Vec<String> = space
        .iter()
        .map(|one| {
            let names: Vec<String> = one.directories.iter().map(|path| path.display().to_string()).collect();
            format!("{}: {} bytes free", names.join(", "), one.free_bytes)
        })
        .collect();
    Err(Error::new(Code::LocalSpace, format!("{needed} bytes are needed and {free} are free")).on(each.join("; ")))
}

/// What a person does now.
fn next_steps(plan: &Plan, restored: &Restored, remote: bool) -> Vec<String> {
    let mut next = Vec::new();
    if !restored.missing_config.is_empty() {
        next.push(format!(
            "Put {} in place: WAL-E leaves them out of backups (--config-from DIR copies them, --minimal-config writes \
             the least that starts; on Debian they are in /etc/postgresql).",
            restored.missing_config.join(" and ")
        ));
    }
    if let Some(pages) = restored.pages.as_ref().filter(|pages| !pages.damaged.is_empty()) {
        next.push(format!(
            "{} pages do not match their checksums and are older than the backup: replay repairs one only if the WAL holds \
             a full image of it. Compare with another backup before you rely on these relations.",
            pages.damaged.len()
        ));
    }
    match &plan.recovery {
        None if restored.offline => next.push(format!(
            "The backup was taken from a stopped server and holds no WAL: the server needs {} from the archive to start. \
             Run again with --recover, or set restore_command and recovery.signal (recovery.conf before 12).",
            restored.start_segment
        )),
        None => next.push(
            "No recovery settings were written: set restore_command and recovery.signal (recovery.conf before 12), or \
             run with --recover or a --recovery-target. Never delete backup_label."
                .to_owned(),
        ),
        Some(recovery) => {
            if remote {
                next.push(
                    "The settings hold no credentials: PostgreSQL must start with the same environment (keys, endpoint, \
                 region) or configuration file as this command had."
                    .to_owned(),
            );
            }
            next.push(format!("Start the server on {}, and follow its log.", restored.target.display()));
            let resume = if restored.version.starts_with("9.") { "pg_xlog_replay_resume" } else { "pg_wal_replay_resume" };
            if recovery.settings.target.is_some() && recovery.settings.action.is_none() {
                next.push(format!(
                    "At the target it pauses, read only: look at the data, then `SELECT {resume}();` to open it."
                ));
            }
        }
    }
    next
}

/// Why nothing could be chosen, for the outside.
fn no_choice(error: NoChoice) -> Error {
    let code = match &error {
        NoChoice::None | NoChoice::NoSuch(_) => Code::AbsentBackup,
        NoChoice::Unreadable(_) => Code::DamagedSentinel,
        NoChoice::NotBefore { .. } => Code::UsageTarget,
    };
    Error::new(code, error.to_string())
}

/// The key of a small WAL file as WAL-E stores it.
fn wal_key(file: WalFile) -> ObjectKey {
    ObjectKey::from(format!("{}{}", layout::WAL, Compression::Lzo.apply(&file.to_string())))
}

#[cfg(test)]
mod tests;
