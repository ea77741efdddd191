//! Every partition of a base backup, streamed: decoded, taken apart, its pages summed; nothing is written.
//!
//! In: a store, the partitions. Out: [`Read`]: the [`Contents`] of those that are whole, a defect for each that is not.
//! Never: lets one bad partition hide another, keeps more than one block of each in memory, or calls a partition damaged
//! that could not be read. The walls are those of a restore: `backup::contents`.

use super::{About, many};
use crate::backup::contents::{self, Contents, Links, MemberPath, Sink};
use crate::backup::members::Member;
use crate::backup::restore::{Advance, Effort};
use crate::codec;
use crate::error::{Answer, Code, Error, Verdict};
use crate::layout::Compression;
use crate::layout::entry::PartName;
use crate::pipeline::budget::Budget;
use crate::pipeline::decode::{Plain, Whole};
use crate::pipeline::read::{Reading, Settings};
use crate::proof::FindingCode;
use crate::proof::finding::{Breaks, Defect};
use crate::storage::{ObjectId, Store};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinSet;

/// One partition as listed.
pub(super) type Part = (PartName, Compression, ObjectId);

/// Refused members of one partition that become findings; more only count.
const MOST_REFUSED: usize = 20;

/// What reading all partitions came to.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Those that are whole, merged.
    pub contents: Contents,
    /// Partitions that are whole.
    pub good: usize,
    /// Their stored bytes, and what came out of them.
    pub stored_bytes: u64,
    /// Plain bytes.
    pub plain_bytes: u64,
    /// What is wrong with the others, and members that were refused.
    pub defects: Vec<Defect>,
    /// Members and bytes of files of the last of WAL-E's partitions.
    pub last: (u64, u64),
    /// Names that were met: of files and, in WAL-G's backups, of directories and links.
    pub names: Arc<NameSet>,
    /// A partition could not be judged to its end.
    pub incomplete: bool,
}

/// Names of files as hashes, with keys of this run: eight bytes each, whatever their length. In a backup of ten million
/// files two of them share one with a chance of 10^-6.
#[derive(Debug, Default)]
pub(super) struct NameSet {
    state: RandomState,
    hashes: HashSet<u64>,
}

impl NameSet {
    /// `false`: it was there already.
    pub fn insert(&mut self, name: &[u8]) -> bool {
        self.hashes.insert(self.state.hash_one(name))
    }

    /// Was it met?
    pub fn has(&self, name: &[u8]) -> bool {
        self.hashes.contains(&self.state.hash_one(name))
    }
}

/// What all partitions share.
struct Shared {
    links: Links,
    names: Mutex<NameSet>,
    pages: bool,
    rooted: bool,
    advance: Advance,
}

/// Reads them all, the largest first. `pages`: look at relation pages; `rooted`: WAL-G's names.
pub(super) async fn read(
    store: &Arc<dyn Store>,
    parts: &[Part],
    (pages, rooted): (bool, bool),
    effort: Effort,
    advance: Advance,
    about: &About,
) -> Read {
    let mut read = Read::default();
    let mut waiting = Vec::new();
    let mut no_codec: BTreeMap<Compression, Vec<&Part>> = BTreeMap::new();
    for part in parts {
        let (_, stored, object) = part;
        if codec::decoder(*stored).is_none() {
            no_codec.entry(*stored).or_default().push(part);
        } else if object.size == 0 {
            let url = store.object_url(&object.key);
            read.defects.push(about.defect(FindingCode::BackupPart, url, "it has no bytes", Breaks::Backup));
            read.incomplete = true;
        } else {
            waiting.push(part.clone());
        }
    }
    for (stored, parts) in no_codec {
        // One finding for all: there may be thousands, and the reason is one.
        let first = parts.first().map(|(.., object)| store.object_url(&object.key)).unwrap_or_default();
        let what =
            format!("{} stored as .{stored}, which this build cannot decode", many(parts.len() as u64, "partition"));
        read.defects.push(about.defect(FindingCode::BackupUnread, first, what, Breaks::Unknown));
        read.incomplete = true;
    }
    waiting.sort_by_key(|(.., object)| std::cmp::Reverse(object.size));
    let shared = Arc::new(Shared { links: Links::default(), names: Mutex::default(), pages, rooted, advance });
    let wanted = waiting.len();
    let results = all(store, waiting, effort, &shared).await;
    if results.len() < wanted {
        let lost = (wanted - results.len()) as u64;
        let what = format!("{} not judged: a task died, which is a bug", many(lost, "partition"));
        read.defects.push(about.defect(FindingCode::BackupUnread, store.url(), what, Breaks::Unknown));
        read.incomplete = true;
    }
    let mut control = None;
    for (part, result) in results {
        let url = store.object_url(&part.2.key);
        match result {
            Ok((contents, whole, refused)) => {
                read.good += 1;
                read.stored_bytes += whole.stored.len_bytes;
                read.plain_bytes += whole.plain_bytes;
                read.defects.extend(refused.into_defects(&url, about));
                if part.0 == PartName::Control {
                    control = contents.held_back.get(CONTROL).cloned();
                }
                read.last = (contents.members, contents.file_bytes);
                read.contents.merge(contents);
            }
            Err(error) => {
                let (code, breaks) = classify(&error);
                read.defects.push(about.defect(code, url, clause(&error), breaks));
                read.incomplete = true;
            }
        }
    }
    // WAL-G's streamed backups hold an earlier copy as well; its own archive has the one that counts.
    if let Some(control) = control {
        read.contents.held_back.insert(CONTROL.to_owned(), control);
    }
    if let Some(shared) = Arc::into_inner(shared) {
        read.names = Arc::new(shared.names.into_inner().unwrap_or_else(PoisonError::into_inner));
    }
    read
}

const CONTROL: &str = "global/pg_control";

type Judged = Answer<(Contents, Whole, Refused)>;

/// Every partition's result, in the order of their numbers. All tasks have ended when this returns.
async fn all(store: &Arc<dyn Store>, waiting: Vec<Part>, effort: Effort, shared: &Arc<Shared>) -> Vec<(Part, Judged)> {
    let mut waiting = VecDeque::from(waiting);
    let workers = effort.workers.clamp(1, waiting.len().max(1));
    // Cores that no partition keeps busy help to decode.
    let helpers = (effort.cores / workers).max(1);
    let budget = Budget::new(effort.budget_bytes());
    let mut running = JoinSet::new();
    let mut results = Vec::new();
    loop {
        while running.len() < workers {
            let Some(part) = waiting.pop_front() else { break };
            let (store, budget, shared) = (Arc::clone(store), budget.clone(), Arc::clone(shared));
            running.spawn(async move {
                let result = one(store, &part, budget, helpers, shared).await;
                (part, result)
            });
        }
        match running.join_next().await {
            None => break,
            Some(Ok(done)) => results.push(done),
            // A panic is a bug; the partition it was about is missing among the results, and so is never called good.
            Some(Err(error)) => tracing::error!("a partition's task died: {error}"),
        }
    }
    results.sort_by_key(|((name, stored, _), _)| (*name, *stored));
    results
}

async fn one(store: Arc<dyn Store>, part: &Part, budget: Budget, helpers: usize, shared: Arc<Shared>) -> Judged {
    let (_, stored, object) = part;
    let reading = Reading::start(store, object.clone(), budget, Settings::default());
    let mut plain = Plain::start(reading, *stored, helpers)?;
    let work = tokio::task::spawn_blocking(move || {
        let mut looking = Looking { shared: &shared, refused: Refused::default() };
        let contents = contents::read(&mut plain, shared.rooted, &mut looking)?;
        let refused = looking.refused;
        match plain.whole() {
            Some(whole) => Ok((contents, whole.clone(), refused)),
            None => Err(Error::new(Code::InternalBug, "a partition ended without a word")),
        }
    });
    work.await.map_err(|error| Error::new(Code::InternalBug, "a partition's thread died").because(error))?
}

/// Which finding a partition's failure is.
fn classify(error: &Error) -> (FindingCode, Breaks) {
    match error.verdict() {
        Verdict::Unknown => (FindingCode::BackupUnread, Breaks::Unknown),
        Verdict::Damaged if error.code() == Code::DamagedBackup => (FindingCode::BackupTar, Breaks::Backup),
        // Listed a moment ago, and gone.
        Verdict::Damaged | Verdict::Absent => (FindingCode::BackupPart, Breaks::Backup),
    }
}

/// The error and its causes without the object, which the defect names.
pub(super) fn clause(error: &Error) -> String {
    let chain = error.chain();
    match error.object() {
        Some(object) => chain.strip_prefix(&format!("{object}: ")).unwrap_or(&chain).to_owned(),
        None => chain,
    }
}

/// Members that no restore would write.
#[derive(Debug, Default)]
struct Refused {
    kept: Vec<Error>,
    more: u64,
}

impl Refused {
    fn into_defects(self, url: &str, about: &About) -> Vec<Defect> {
        let defect = |what: String| about.defect(FindingCode::BackupTar, url, what, Breaks::Backup);
        let mut defects: Vec<Defect> = self.kept.iter().map(|error| defect(error.to_string())).collect();
        if self.more > 0 {
            defects.push(defect(format!("{} more members are refused", self.more)));
        }
        defects
    }
}

/// A sink that only looks.
struct Looking<'a> {
    shared: &'a Shared,
    refused: Refused,
}

impl Looking<'_> {
    /// WAL-G lists directories and links, too.
    fn met(&self, path: &MemberPath) {
        if self.shared.rooted {
            self.shared.names.lock().unwrap_or_else(PoisonError::into_inner).insert(path.as_bytes());
        }
    }
}

impl Sink for Looking<'_> {
    fn links(&self) -> &Links {
        &self.shared.links
    }

    fn leaves_out(&self, _path: &MemberPath) -> bool {
        false
    }

    fn admit(&self, _path: &MemberPath) -> Answer<()> {
        Ok(())
    }

    /// The link of a tablespace.
    fn is_elsewhere(&self, path: &MemberPath) -> bool {
        matches!(path.split(), Some((b"pg_tblspc", oid)) if oid.iter().all(u8::is_ascii_digit))
    }

    fn is_reserved(&self, _path: &MemberPath) -> bool {
        false
    }

    fn directory(&mut self, path: &MemberPath, _mode: u32) -> Answer<()> {
        self.met(path);
        Ok(())
    }

    fn begin(&mut self, path: &MemberPath) -> Answer<bool> {
        let mut names = self.shared.names.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(!names.insert(path.as_bytes()))
    }

    fn data(&mut self, _path: &MemberPath, bytes: &[u8]) -> Answer<()> {
        self.passed(bytes.len() as u64);
        Ok(())
    }

    fn end(&mut self, _path: &MemberPath, _member: &Member) -> Answer<()> {
        Ok(())
    }

    fn symlink(&mut self, path: &MemberPath, _to: &[u8]) -> Answer<()> {
        self.met(path);
        Ok(())
    }

    fn wants_pages(&self) -> bool {
        self.shared.pages
    }

    fn passed(&self, bytes: u64) {
        (self.shared.advance)(bytes);
    }

    fn refused(&mut self, error: Error) -> Answer<()> {
        if self.refused.kept.len() < MOST_REFUSED {
            self.refused.kept.push(error)
        } else {
            self.refused.more += 1
        }
        Ok(())
    }
}
