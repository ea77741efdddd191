//! A base backup as a data directory: the restore as a value, and its execution.
//!
//! In: [`Restore`] (which partitions, where to, what to write beside them), a store. Out: [`Restored`], after everything
//! was proven and synced. Never: touches a directory that is in use or holds anything but its own unfinished work, calls
//! it done before the last byte is synced, or leaves a directory on which a server could start before that.
//!
//! What keeps a server off an unfinished directory: `global/pg_control` is not there. Every version refuses to start
//! without it ("could not find the database system"), and `pg_resetwal` does too, while a damaged or empty one would
//! invite it to guess. The archive's pg_control waits in the journal and is renamed into place last of all, behind one
//! sync of every file system; then the journal goes.
//!
//! ```text
//! look at target -> journal -> partitions (parallel) -> proof -> links, labels, settings -> syncfs -> pg_control -> done
//! ```

use super::contents::Contents;
use super::extract::{self, Redirect, Target};
use super::journal::{self, Finished, Header, Journal};
use super::pages::{self, Judged};
use super::partitions::Partition;
use super::recovery::{self, Recovery};
use super::tablespaces::{self, Place};
use super::whole::{self, Claims};
use crate::error::{Answer, Class, Code, Error};
use crate::layout::BackupName;
use crate::pg::control::ControlFile;
use crate::pg::label::TablespaceMap;
use crate::pg::version::PgVersion;
use crate::pg::{Lsn, SegmentName, SystemId};
use crate::pipeline::budget::Budget;
use crate::pipeline::decode::Plain;
use crate::pipeline::read::{Reading, Settings};
use crate::storage::Store;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::Serialize;
use std::collections::{BTreeSet, VecDeque};
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinSet;

/// Told the bytes of regular files as they are written.
pub type Advance = Arc<dyn Fn(u64) + Send + Sync>;

/// What is to be done, decided.
#[derive(Debug, Clone)]
pub struct Restore {
    /// Which backup.
    pub backup: BackupName,
    /// Its partitions, in order.
    pub parts: Vec<Partition>,
    /// Bytes of regular files that its sentinel promises.
    pub expanded_bytes: Option<u64>,
    /// The data directory, absolute.
    pub target: PathBuf,
    /// Places for tablespaces.
    pub tablespaces: Vec<Place>,
    /// Another directory for the WAL.
    pub waldir: Option<PathBuf>,
    /// What recovery shall do; `None` writes no settings.
    pub recovery: Option<Recovery>,
    /// Configuration files that WAL-E leaves out of backups.
    pub config: ConfigFiles,
    /// The cluster that the archive says it is of.
    pub system: Option<SystemId>,
    /// Look at page checksums?
    pub verify_pages: bool,
    /// User and group of all files; `None`: whoever runs this.
    pub owner: Option<(u32, u32)>,
    /// Members that are left out.
    pub left_out: BTreeSet<Vec<u8>>,
    /// Go on where an earlier run stopped.
    pub resume: bool,
}

/// Where missing configuration files come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigFiles {
    /// They stay missing, and the report says so.
    #[default]
    Leave,
    /// From this directory.
    From(PathBuf),
    /// Enough to start, written here: local connections only, no archiving.
    Minimal,
}

/// Names of the files that `ConfigFiles` is about.
pub const CONFIG_FILES: [&str; 3] = ["postgresql.conf", "pg_hba.conf", "pg_ident.conf"];

/// How much may be done at once.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Partitions at once.
    pub workers: usize,
    /// Cores.
    pub cores: usize,
}

impl Effort {
    /// Partitions at once, where nobody says: decoding keeps about one core busy for each; a remote store is waited for
    /// besides.
    pub fn workers_for(store: &dyn Store, cores: usize) -> usize {
        if store.capabilities().remote { (cores * 2).clamp(4, 16) } else { cores.clamp(1, 16) }
    }

    /// Stored bytes in flight.
    pub fn budget_bytes(self) -> usize {
        (6 << 20) + self.workers * (1 << 20)
    }
}

/// A restore that is whole.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// The data directory.
    pub target: PathBuf,
    /// Partitions fetched by this run.
    pub fetched: usize,
    /// Partitions that an earlier run had finished.
    pub kept: usize,
    /// Members.
    pub members: u64,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// What the sentinel promised.
    pub expanded_bytes: Option<u64>,
    /// The cluster.
    pub system: SystemId,
    /// Its version.
    pub version: String,
    /// Online: from `backup_label`; offline: from pg_control.
    pub start: Lsn,
    /// The segment that holds it.
    pub start_segment: SegmentName,
    /// There is no `backup_label`: the cluster was shut down.
    pub offline: bool,
    /// Verdict on the pages; `None` when they were not looked at.
    pub pages: Option<Judged>,
    /// Configuration files that the directory lacks.
    pub missing_config: Vec<String>,
    /// The file that got the recovery settings, and its lines.
    pub recovery: Option<recovery::Files>,
    /// What a person should know, whole sentences.
    pub warnings: Vec<String>,
}

/// What lies at the target.
#[derive(Debug, PartialEq)]
pub enum Found {
    /// Nothing, or an empty directory.
    Empty,
    /// An unfinished restore.
    Unfinished(Box<journal::Read>),
}

/// Looks at the target, and refuses one that is in use or holds something else. Changes nothing.
pub fn look(target: &Path) -> Answer<Found> {
    let refuse = |what: String| Err(Error::new(Code::LocalTarget, what).on(target.display()));
    let entries = match std::fs::read_dir(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Empty),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return refuse("the target is not a directory".to_owned());
        }
        Err(error) => {
            return Err(Error::new(Code::LocalIo, "cannot read the target").on(target.display()).because(error));
        }
        Ok(entries) => entries,
    };
    let names: Result<Vec<String>, io::Error> =
        entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect();
    let mut names = names
        .map_err(|error| Error::new(Code::LocalIo, "cannot read the target").on(target.display()).because(error))?;
    if names.iter().any(|name| name == "postmaster.pid") {
        return refuse("a server runs there, or did: postmaster.pid exists".to_owned());
    }
    let unfinished = journal::read(target).map_err(|error| {
        Error::new(Code::LocalTarget, "the journal of an unfinished restore cannot be used")
            .on(target.join(journal::NAME).display())
            .because(error)
    })?;
    if let Some(unfinished) = unfinished {
        return Ok(Found::Unfinished(Box::new(unfinished)));
    }
    // A mount point is empty too; so is a directory in which a run was killed before it began.
    names.retain(|name| name != "lost+found" && name != journal::NEW);
    if names.is_empty() {
        return Ok(Found::Empty);
    }
    names.sort();
    names.truncate(4);
    refuse(format!("the target is not empty: {}", names.join(", ")))
}

/// Free bytes on the file system of this path, or of its nearest existing parent; and which file system that is.
pub fn free_bytes(path: &Path) -> Answer<(u64, u64)> {
    let mut at = path;
    loop {
        let result = std::fs::metadata(at).and_then(|about| Ok((about.dev(), rustix::fs::statvfs(at)?)));
        match result {
            Ok((device, fs)) => return Ok((device, fs.f_bavail.saturating_mul(fs.f_frsize))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match at.parent() {
                Some(parent) => at = if parent.as_os_str().is_empty() { Path::new(".") } else { parent },
                None => {
                    return Err(Error::new(Code::LocalIo, "cannot find a file system")
                        .on(path.display())
                        .because(error));
                }
            },
            Err(error) => {
                return Err(Error::new(Code::LocalIo, "cannot look at the file system")
                    .on(at.display())
                    .because(error));
            }
        }
    }
}

impl Restore {
    /// Paths in the data directory that lie elsewhere, and where. The WAL directory has one of two names.
    fn places(&self) -> Vec<(String, PathBuf)> {
        let tablespaces = self.tablespaces.iter().map(|one| (one.link(), one.place.clone()));
        let wal = self.waldir.iter().flat_map(|dir| ["pg_wal", "pg_xlog"].map(|name| (name.to_owned(), dir.clone())));
        tablespaces.chain(wal).collect()
    }

    /// The first line of this restore's journal.
    fn header(&self, archive: String) -> Header {
        let part = |part: &Partition| journal::Part {
            number: part.number,
            key: part.object.key.to_string(),
            size: part.object.size,
            etag: part.object.etag.as_ref().map(|etag| etag.as_str().to_owned()),
        };
        let parts = self.parts.iter().map(part).collect();
        Header::new(self.backup.to_string(), archive, journal::boot_id(), parts, self.places())
    }

    /// What an earlier run finished, when this one may go on; and what to say about it.
    fn earlier(&self, header: &Header) -> Answer<(Option<journal::Read>, Vec<String>)> {
        let unfinished = match look(&self.target)? {
            Found::Empty => return Ok((None, Vec::new())),
            Found::Unfinished(unfinished) => *unfinished,
        };
        let refuse = |what: String| Error::new(Code::LocalTarget, what).on(self.target.display());
        if !self.resume {
            let what = format!("an unfinished restore of {} lies there", unfinished.header.backup);
            return Err(refuse(what).hint("Go on with --resume, or give an empty directory."));
        }
        if let Some(why) = header.differs_from(&unfinished.header) {
            return Err(refuse(format!("the unfinished restore there cannot be resumed: {why}")));
        }
        let mut notes = Vec::new();
        let mut unfinished = unfinished;
        if unfinished.header.boot != header.boot && !unfinished.finished.is_empty() {
            notes.push(
                "The machine was started anew since the restore was interrupted, so files may have been lost: every \
                 partition is fetched again."
                    .to_owned(),
            );
            unfinished.finished.clear();
        }
        Ok((Some(unfinished), notes))
    }

    /// Restores. On an error the target keeps its journal, and `--resume` goes on from there.
    pub async fn run(&self, store: Arc<dyn Store>, effort: Effort, advance: Advance) -> Answer<Restored> {
        let header = self.header(store.url());
        // Once before anything is touched, and once more when nobody else can be at it.
        self.earlier(&header)?;
        make_directory(&self.target)?;
        let lock = lock(&self.target)?;
        let (earlier, mut warnings) = self.earlier(&header)?;
        let control = self.target.join("global/pg_control");
        if control.symlink_metadata().is_ok() {
            return self.all_but_journal(earlier, &control, warnings);
        }
        if earlier.is_none() {
            for place in self.tablespaces.iter().map(|one| &one.place).chain(&self.waldir) {
                expect_empty(place)?;
            }
        }
        let finished = earlier.map(|earlier| earlier.finished).unwrap_or_default();
        let journal = Journal::create(&self.target, &header, &finished).map_err(|error| {
            Error::new(Code::LocalIo, "cannot write the journal").on(self.target.display()).because(error)
        })?;
        let target = Arc::new(self.prepare(&header)?);
        for part in &finished {
            target.count_written(part.found.file_bytes);
            advance(part.found.file_bytes);
        }
        let journal = Arc::new(Mutex::new(journal));
        let kept = finished.len();
        let done = self.partitions(store, effort, &target, &journal, finished, &advance).await?;
        let journal =
            Arc::into_inner(journal).map(|journal| journal.into_inner().unwrap_or_else(PoisonError::into_inner));
        let Some(journal) = journal else {
            return Err(Error::new(Code::InternalBug, "a partition's task outlived its restore"));
        };
        let restore = self.clone();
        let finish = tokio::task::spawn_blocking(move || {
            let _lock = lock;
            restore.finish(&target, journal, &done)
        });
        let mut restored =
            finish.await.map_err(|error| Error::new(Code::InternalBug, "the last steps died").because(error))??;
        restored.kept = kept;
        restored.fetched = self.parts.len() - kept;
        warnings.append(&mut restored.warnings);
        restored.warnings = warnings;
        Ok(restored)
    }

    /// pg_control is in place and the journal is not gone: the run was killed between its last two steps.
    fn all_but_journal(
        &self,
        earlier: Option<journal::Read>,
        control: &Path,
        warnings: Vec<String>,
    ) -> Answer<Restored> {
        let refuse = || Error::new(Code::LocalTarget, "the target has a pg_control already").on(control.display());
        let earlier = earlier.filter(|earlier| earlier.finishing).ok_or_else(refuse)?;
        let there = std::fs::read(control)
            .map_err(|error| Error::new(Code::LocalIo, "cannot read the file").on(control.display()).because(error))?;
        let proof = self.prove(&earlier.finished)?;
        if there != proof.control_bytes {
            // Somebody started it meanwhile: it is theirs now.
            return Err(
                refuse().hint("The restore was complete and a server has used it since; remove wal-r.unfinished.")
            );
        }
        let removed = std::fs::remove_file(self.target.join(journal::NAME));
        removed.map_err(|error| {
            Error::new(Code::LocalIo, "cannot remove the journal").on(self.target.display()).because(error)
        })?;
        let mut restored = self.report(proof, None, warnings);
        restored.kept = self.parts.len();
        Ok(restored)
    }

    /// Directories for everything, and the target with its redirects.
    fn prepare(&self, header: &Header) -> Answer<Target> {
        let failed = |path: &Path, error: io::Error| {
            Error::new(Code::LocalIo, "cannot open the directory").on(path.display()).because(error)
        };
        let mut redirects = Vec::new();
        for (at, place) in &header.places {
            make_directory(place)?;
            redirects.push(Redirect::open(at.clone(), place).map_err(|error| failed(place, error))?);
        }
        let mut target = Target::open(&self.target, redirects).map_err(|error| failed(&self.target, error))?;
        target.owner = self.owner;
        target.left_out.clone_from(&self.left_out);
        target.reserved = vec![journal::NAME.to_owned(), journal::NEW.to_owned(), tablespaces::INSIDE.to_owned()];
        target.verify_pages = self.verify_pages;
        target.expected_bytes = self.expanded_bytes;
        target.resumed = self.resume;
        Ok(target)
    }

    /// Fetches what is not finished yet. All tasks have ended when this returns.
    async fn partitions(
        &self,
        store: Arc<dyn Store>,
        effort: Effort,
        target: &Arc<Target>,
        journal: &Arc<Mutex<Journal>>,
        mut finished: Vec<Finished>,
        advance: &Advance,
    ) -> Answer<Vec<Finished>> {
        let there: BTreeSet<u32> = finished.iter().map(|part| part.part).collect();
        // The largest first, so that the last one to end is a small one.
        let mut waiting: Vec<Partition> =
            self.parts.iter().filter(|part| !there.contains(&part.number)).cloned().collect();
        waiting.sort_by_key(|part| std::cmp::Reverse(part.object.size));
        let mut waiting = VecDeque::from(waiting);
        let workers = effort.workers.clamp(1, waiting.len().max(1));
        // Cores that no partition keeps busy help to decode.
        let helpers = (effort.cores / workers).max(1);
        let budget = Budget::new(effort.budget_bytes());
        let mut running = JoinSet::new();
        let mut failure = None;
        loop {
            while failure.is_none() && running.len() < workers {
                let Some(part) = waiting.pop_front() else { break };
                let (store, budget) = (Arc::clone(&store), budget.clone());
                let (target, journal, advance) = (Arc::clone(target), Arc::clone(journal), Arc::clone(advance));
                running
                    .spawn(async move { one_partition(store, part, budget, helpers, target, journal, advance).await });
            }
            match running.join_next().await {
                None => break,
                Some(Ok(Ok(part))) => finished.push(part),
                Some(Ok(Err(error))) => {
                    target.cancel();
                    failure = failure.or(Some(error));
                }
                Some(Err(error)) => {
                    target.cancel();
                    let bug = Error::new(Code::InternalBug, "a partition's task died").because(error);
                    failure = failure.or(Some(bug));
                }
            }
        }
        match failure {
            Some(error) => Err(error),
            None => {
                finished.sort_by_key(|part| part.part);
                Ok(finished)
            }
        }
    }

    /// All partitions are through: are they a base backup?
    fn prove(&self, parts: &[Finished]) -> Answer<Proof> {
        let mut found = Contents::default();
        for part in parts {
            found.merge(part.found.clone());
        }
        let claims =
            Claims { backup: self.backup, expanded_bytes: self.expanded_bytes, system: self.system, complete: true };
        let mut whole = whole::judge(&claims, &found);
        if !whole.faults.is_empty() {
            return Err(whole.faults.swap_remove(0).error.on(self.backup));
        }
        let (Some((control, control_bytes)), Some(start)) = (whole.control, whole.start) else {
            return Err(Error::new(Code::InternalBug, "a whole backup without a beginning").on(self.backup));
        };
        let mut warnings = whole.remarks;
        if whole.lacks_bytes > 0 {
            let fewer = format!(
                "{} bytes fewer than the sentinel counts ({}): files that vanished while the backup was taken are not in \
                 it, which replay makes good. A partition missing at the end would look the same.",
                whole.lacks_bytes,
                self.expanded_bytes.unwrap_or_default()
            );
            warnings.insert(0, fewer);
        }
        let pages = self.verify_pages.then(|| {
            let checksums = control.has_page_checksums() && control.block_size as usize == pages::PAGE;
            let label = whole.label.as_ref().map(|(label, _)| label.start);
            pages::judge(std::mem::take(&mut found.pages), checksums, label)
        });
        Ok(Proof {
            found,
            control,
            control_bytes,
            label_bytes: whole.label.map(|(_, bytes)| bytes),
            map: whole.map,
            start,
            pages,
            warnings,
        })
    }

    /// Proof, then everything that is not in the partitions, then the syncs, then pg_control.
    fn finish(&self, target: &Target, mut journal: Journal, parts: &[Finished]) -> Answer<Restored> {
        let proof = self.prove(parts)?;
        let version = proof.control.version;
        let write = Writing { target, owner: self.owner };
        extract::link_all(target, &proof.found.hard_links)?;
        for name in required_directories(version) {
            if self.waldir.is_none() || !name.starts_with(version.wal_dir()) {
                write.directory(name)?;
            }
        }
        if let Some(waldir) = &self.waldir {
            write.link(version.wal_dir(), waldir)?;
        }
        for place in &self.tablespaces {
            write.link(&place.link(), &place.place)?;
        }
        if let Some(found) = &proof.map {
            let map = tablespaces::map(found, &self.tablespaces)?;
            // An empty map says nothing, and the server would not miss it.
            if !map.entries.is_empty() {
                write.file("tablespace_map", &map.encode(version))?;
            }
        }
        if let Some(label) = &proof.label_bytes {
            write.file("backup_label", label)?;
        }
        let mut warnings = Vec::new();
        self.config_files(&write, &proof, &mut warnings)?;
        let recovery = match &self.recovery {
            Some(recovery) => Some(self.recovery_files(&write, recovery, version, &mut warnings)?),
            None => {
                self.warn_of_signals(version, &mut warnings);
                None
            }
        };
        self.warn_of_archiving(&mut warnings);
        // Modes last: the root of a restored directory decides whether a server takes it at all.
        let mode = proof.found.root_mode.unwrap_or(0o700);
        let mode = if version.has_group_access() { mode } else { 0o700 };
        for (path, directory) in target.directories() {
            let mode = if path == self.target { mode } else { 0o700 | (mode & 0o050) };
            let done = rustix::fs::fchmod(directory, Mode::from_raw_mode(mode)).and_then(|()| match self.owner {
                Some((user, group)) => {
                    let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
                    rustix::fs::fchown(directory, Some(user), Some(group))
                }
                None => Ok(()),
            });
            done.map_err(|error| {
                Error::new(Code::LocalIo, "cannot set the mode").on(path.display()).because(io::Error::from(error))
            })?;
        }
        journal.finishing().map_err(|error| {
            Error::new(Code::LocalIo, "cannot write the journal").on(self.target.display()).because(error)
        })?;
        sync(target)?;
        write.control(&proof.control_bytes)?;
        journal.remove().map_err(|error| {
            Error::new(Code::LocalIo, "cannot remove the journal").on(self.target.display()).because(error)
        })?;
        Ok(self.report(proof, recovery, warnings))
    }

    fn report(&self, proof: Proof, recovery: Option<recovery::Files>, warnings: Vec<String>) -> Restored {
        let missing = CONFIG_FILES.iter().filter(|name| !self.target.join(name).exists() && **name != "pg_ident.conf");
        Restored {
            target: self.target.clone(),
            fetched: 0,
            kept: 0,
            members: proof.found.members,
            files: proof.found.files,
            file_bytes: proof.found.file_bytes,
            expanded_bytes: self.expanded_bytes,
            system: proof.control.system,
            version: proof.control.version.to_string(),
            start: proof.start.0,
            start_segment: proof.start.1,
            offline: proof.label_bytes.is_none(),
            pages: proof.pages,
            missing_config: missing.map(|name| (*name).to_owned()).collect(),
            recovery,
            warnings: proof.warnings.into_iter().chain(warnings).collect(),
        }
    }

    /// WAL-E leaves them out of every backup.
    fn config_files(&self, write: &Writing<'_>, proof: &Proof, warnings: &mut Vec<String>) -> Answer<()> {
        for name in CONFIG_FILES {
            if self.target.join(name).exists() {
                continue;
            }
            let content = match &self.config {
                ConfigFiles::Leave => continue,
                ConfigFiles::From(directory) => match std::fs::read(directory.join(name)) {
                    Ok(content) => content,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => {
                        let path = directory.join(name);
                        return Err(Error::new(Code::LocalIo, "cannot read the file")
                            .on(path.display())
                            .because(error));
                    }
                },
                ConfigFiles::Minimal => minimal_config(name, &proof.control_bytes, proof.control.version).into_bytes(),
            };
            write.file(name, &content)?;
        }
        if self.config == ConfigFiles::Minimal {
            warnings.push("postgresql.conf and pg_hba.conf were written with the least that starts: local connections only, no archiving.".into());
        }
        Ok(())
    }

    fn recovery_files(
        &self,
        write: &Writing<'_>,
        recovery: &Recovery,
        version: PgVersion,
        warnings: &mut Vec<String>,
    ) -> Answer<recovery::Files> {
        let files = recovery::files(recovery, version)?;
        for name in &files.remove {
            match std::fs::remove_file(self.target.join(name)) {
                Ok(()) => {
                    warnings.push(format!("{name} of the source was removed: it would have steered this recovery."))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(write.target.failed(name, "remove the file", error)),
            }
        }
        let path = self.target.join(files.file);
        let old = match std::fs::read_to_string(&path) {
            Ok(old) => old,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(write.target.failed(files.file, "read the file", error)),
        };
        let (text, disarmed) = recovery::merge(&old, &files.lines);
        if !disarmed.is_empty() {
            let what = disarmed.join(", ");
            warnings.push(format!("Settings of the source in {} were made comments: {what}.", files.file));
        }
        write.file(files.file, text.as_bytes())?;
        if let Some(signal) = files.signal {
            write.file(signal, b"")?;
        }
        Ok(files)
    }

    /// Signal files in the backup start a recovery that nobody asked for here.
    fn warn_of_signals(&self, version: PgVersion, warnings: &mut Vec<String>) {
        let names =
            if version.has_recovery_conf() { &["recovery.conf"][..] } else { &["recovery.signal", "standby.signal"] };
        for name in names.iter().filter(|name| self.target.join(name).exists()) {
            warnings.push(format!(
                "The backup holds {name}: the server will start as its source did, with the source's settings."
            ));
        }
    }

    /// A copy that archives into the original's archive destroys it.
    fn warn_of_archiving(&self, warnings: &mut Vec<String>) {
        for file in ["postgresql.conf", "postgresql.auto.conf"] {
            let Ok(text) = std::fs::read_to_string(self.target.join(file)) else { continue };
            let set = |name| recovery::value_of(&text, name).filter(|value| !value.is_empty());
            let on = set("archive_mode").is_some_and(|mode| !matches!(mode.as_str(), "off" | "false" | "no" | "0"));
            if on || set("archive_command").is_some() {
                warnings.push(format!(
                    "{file} sets archive_mode or archive_command: before this server is opened beside the original, \
                     point it at another archive or turn it off."
                ));
            }
        }
    }
}

/// What all partitions together prove to be.
struct Proof {
    found: Contents,
    control: ControlFile,
    control_bytes: Vec<u8>,
    label_bytes: Option<Vec<u8>>,
    map: Option<TablespaceMap>,
    start: (Lsn, SegmentName),
    pages: Option<Judged>,
    warnings: Vec<String>,
}

/// One partition from the store to files, and its line in the journal.
async fn one_partition(
    store: Arc<dyn Store>,
    part: Partition,
    budget: Budget,
    helpers: usize,
    target: Arc<Target>,
    journal: Arc<Mutex<Journal>>,
    advance: Advance,
) -> Answer<Finished> {
    let url = store.object_url(&part.object.key);
    let reading = Reading::start(store, part.object.clone(), budget, Settings::default());
    let mut plain = Plain::start(reading, part.stored, helpers)?;
    let work = tokio::task::spawn_blocking(move || {
        let found = extract::extract(&mut plain, &target, &*advance)?;
        let Some(whole) = plain.whole() else {
            return Err(Error::new(Code::InternalBug, "a partition ended without a word"));
        };
        let finished = Finished {
            part: part.number,
            sha256: whole.stored.sha256.to_string(),
            plain_bytes: whole.plain_bytes,
            found,
        };
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.finished(&finished).map_err(|error| target.failed(journal::NAME, "write the journal", error))?;
        Ok(finished)
    });
    let died = |error| Error::new(Code::InternalBug, "a partition's thread died").because(error);
    work.await.map_err(died)?.map_err(|error: Error| match error.object() {
        // A member's name alone does not say in which of hundreds of objects it is.
        Some(object) if error.class() == Class::Damaged && !object.contains("://") => {
            let object = format!("{url}: {object}");
            error.on(object)
        }
        None => error.on(url),
        Some(_) => error,
    })
}

/// Files beside the partitions' own.
struct Writing<'a> {
    target: &'a Target,
    owner: Option<(u32, u32)>,
}

impl Writing<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.target.path().join(name)
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        match self.owner {
            Some((user, group)) => std::os::unix::fs::lchown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    /// Whole or not at all: temporary name, then rename. Synced with everything else.
    fn file(&self, name: &str, content: &[u8]) -> Answer<()> {
        let write = || {
            let new = self.path(&format!("{name}.wal-r"));
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(content)?;
            self.give(&new)?;
            std::fs::rename(&new, self.path(name))
        };
        write().map_err(|error| self.target.failed(name, "write the file", error))
    }

    fn directory(&self, name: &str) -> Answer<()> {
        let path = self.path(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => self.give(&path).map_err(|error| self.target.failed(name, "give the directory away", error)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(self.target.failed(name, "make the directory", error)),
        }
    }

    /// A link to a directory; replaces an empty directory of that name, and an older link of ours.
    fn link(&self, name: &str, to: &Path) -> Answer<()> {
        let path = self.path(name);
        let make = || {
            if let Some(parent) = path.parent() {
                match DirBuilder::new().mode(0o700).create(parent) {
                    Ok(()) => self.give(parent)?,
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
            match std::fs::symlink_metadata(&path) {
                Ok(about) if about.is_dir() => std::fs::remove_dir(&path)?,
                Ok(_) => std::fs::remove_file(&path)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            std::os::unix::fs::symlink(to, &path)?;
            self.give(&path)
        };
        make().map_err(|error| self.target.failed(name, "make the link", error))
    }

    /// The last step: from here on a server can start.
    fn control(&self, content: &[u8]) -> Answer<()> {
        let name = "global/pg_control";
        let write = || {
            let new = self.path("global/pg_control.wal-r");
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(content)?;
            self.give(&new)?;
            file.sync_all()?;
            std::fs::rename(&new, self.path(name))?;
            File::open(self.path("global"))?.sync_all()
        };
        write().map_err(|error| self.target.failed(name, "write the file", error))
    }
}

/// One sync per file system.
fn sync(target: &Target) -> Answer<()> {
    let mut seen = BTreeSet::new();
    for (path, directory) in target.directories() {
        let synced = rustix::fs::fstat(directory)
            .and_then(|about| if seen.insert(about.st_dev) { rustix::fs::syncfs(directory) } else { Ok(()) });
        synced.map_err(|error| {
            Error::new(Code::LocalIo, "cannot sync the file system").on(path.display()).because(io::Error::from(error))
        })?;
    }
    Ok(())
}

/// Directories a server of this version does not start without, in case the archive leaves them out.
fn required_directories(version: PgVersion) -> Vec<&'static str> {
    let mut names = match version.wal_dir() {
        "pg_xlog" => vec!["pg_xlog", "pg_xlog/archive_status"],
        _ => vec!["pg_wal", "pg_wal/archive_status"],
    };
    names.extend([
        "global",
        "pg_tblspc",
        "pg_replslot",
        "pg_stat",
        "pg_stat_tmp",
        "pg_notify",
        "pg_snapshots",
        "pg_serial",
        "pg_twophase",
        "pg_dynshmem",
        "pg_commit_ts",
        "pg_subtrans",
        "pg_logical",
        "pg_logical/mappings",
        "pg_logical/snapshots",
    ]);
    names
}

/// Enough to start and look: nobody from outside, nothing archived; and what hot standby demands to be at least as large
/// as on the source, which pg_control knows.
fn minimal_config(name: &str, control: &[u8], version: PgVersion) -> String {
    const HEAD: &str = "# Written by wal-r backup-fetch --minimal-config: the backup had no such file.\n";
    match name {
        "postgresql.conf" => {
            let mut text = format!("{HEAD}listen_addresses = 'localhost'\narchive_mode = off\nhot_standby = on\n");
            for (setting, value) in source_limits(control, version) {
                text.push_str(&format!("{setting} = {value}\n"));
            }
            text
        }
        "pg_hba.conf" => format!("{HEAD}local all all peer\nlocal replication all peer\n"),
        _ => HEAD.to_owned(),
    }
}

/// The source's limits, as pg_control keeps them behind `wal_log_hints`.
fn source_limits(control: &[u8], version: PgVersion) -> Vec<(&'static str, i32)> {
    let senders = version >= PgVersion::from_number(120_000).unwrap_or(PgVersion::NEWEST);
    let eleven = version.to_string() == "11";
    let first = if eleven { 172 } else { 180 };
    let mut names = vec!["max_connections", "max_worker_processes"];
    if senders {
        names.push("max_wal_senders");
    }
    names.extend(["max_prepared_transactions", "max_locks_per_transaction"]);
    let value = |index: usize| {
        let at = first + index * 4;
        let bytes: [u8; 4] = control.get(at..at + 4)?.try_into().ok()?;
        Some(i32::from_le_bytes(bytes)).filter(|value| (0..=262_143).contains(value))
    };
    names.into_iter().enumerate().filter_map(|(index, name)| Some((name, value(index)?))).collect()
}

/// The data directory, its parents too. A link to a directory is one.
fn make_directory(path: &Path) -> Answer<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Error::new(Code::LocalIo, "cannot make the directory").on(path.display()).because(error))?;
    let about = std::fs::metadata(path);
    let about = about
        .map_err(|error| Error::new(Code::LocalIo, "cannot look at the directory").on(path.display()).because(error))?;
    // Private from the first byte on.
    if about.permissions().mode() & 0o077 != 0 {
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(path, private).map_err(|error| {
            Error::new(Code::LocalIo, "cannot make the directory private").on(path.display()).because(error)
        })?;
    }
    Ok(())
}

/// A place outside the data directory must be empty too.
pub fn expect_empty(path: &Path) -> Answer<()> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other,
    };
    let failed = |error| Error::new(Code::LocalIo, "cannot read the directory").on(path.display()).because(error);
    for entry in entries.map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != "lost+found" {
            let what = format!("the directory is not empty: {}", name.to_string_lossy());
            return Err(Error::new(Code::LocalTarget, what).on(path.display()));
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Answer<OwnedFd> {
    let open = || {
        let directory = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        Ok(directory)
    };
    open().map_err(|error: rustix::io::Errno| match error {
        rustix::io::Errno::WOULDBLOCK => {
            Error::new(Code::LocalTarget, "another restore into this directory is running").on(path.display())
        }
        error => {
            Error::new(Code::LocalIo, "cannot lock the directory").on(path.display()).because(io::Error::from(error))
        }
    })
}

#[cfg(test)]
mod tests;
