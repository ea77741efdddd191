//! One base backup proven by content: every partition streamed through decode and tar, every relation page summed, what
//! it says of itself held against the archive, and the WAL read that it needs to be consistent. Nothing is written.
//!
//! In: a store, the survey, which backup. Out: [`BackupProof`]: what it holds, and a defect for everything that is wrong.
//! Never: lets one bad partition hide another, calls good what it could not read, or alarms about a page that replay
//! writes anew. Its walls are those of a restore: `backup::contents` for members, `backup::whole` for the whole.
//!
//! ```text
//! partitions ─ parts ─ contents ─┐
//!                                ├─ whole: sums, pg_control, label ─┐
//! sentinel, metadata ────────────┘                                  ├─ pages: torn or damaged? ─ defects
//! WAL from the start to consistency ─ wal: images of those pages ───┘
//! ```
//!
//! **Pages.** With checksums a page may be wrong in a sound online backup: it was being written while it was copied. Such a
//! page was changed after the start, and its first change since then put a full image into the WAL. So a wrong page is
//! harmless exactly where the WAL from the start to consistency holds an image that replay applies, or a record that
//! makes the page anew, or where replay copies the whole database anew, or where the relation is unlogged and made anew
//! after recovery. `pd_lsn` does not decide: damage can change it. Where the WAL cannot be read, nobody knows. A page whose
//! checksum is right and that was changed after the backup ended is from another backup, or from another cluster.
//!
//! Source: PostgreSQL `xlogrecovery.c`, `basebackup.c`, `bufpage.c`.

mod metadata;
mod parts;
mod wal;

use super::finding::{Breaks, Defect, Place};
use super::survey::{self, BackupFacts, SentinelState, Survey};
use super::{FindingCode, Level};
use crate::backup::contents::Contents;
use crate::backup::pages::{self, Fault, Judged, RelationFile, Suspect};
use crate::backup::partitions;
use crate::backup::restore::{Advance, Effort};
use crate::backup::sentinel::Sentinel;
use crate::backup::whole::{self, Claims, Whole};
use crate::catalog::scan;
use crate::error::Verdict;
use crate::layout::entry::PartName;
use crate::layout::{self, BackupName};
use crate::pg::control::{ClusterState, ControlFile};
use crate::pg::version::PgVersion;
use crate::pg::{Lsn, SegmentName, SystemId};
use crate::pipeline::digest::Sha256Hash;
use crate::storage::Store;
use parts::{Part, Read};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use wal::{Goal, Need, Page, Wal};

/// Blocks of one relation that a finding names.
const MOST_BLOCKS: usize = 10;

/// What was learnt of one base backup. Serialises: a ledger may keep it under [`fingerprint`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BackupProof {
    /// What it holds.
    pub found: Found,
    /// What is wrong with it.
    #[serde(with = "stored")]
    pub defects: Vec<Defect>,
}

/// What a base backup holds, as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Partitions in the archive.
    pub parts: u64,
    /// Those that are whole.
    pub good_parts: u64,
    /// Stored bytes of those that are whole.
    pub stored_bytes: u64,
    /// Plain bytes of those.
    pub plain_bytes: u64,
    /// Regular files in them.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Bytes of files that the sentinel counts.
    pub expanded_bytes: Option<u64>,
    /// The cluster, by pg_control.
    pub system: Option<SystemId>,
    /// The major version, by pg_control.
    pub version: Option<String>,
    /// It was taken while the server was down.
    pub offline: bool,
    /// It was taken on a standby.
    pub standby: bool,
    /// Where replay starts.
    pub start: Option<Lsn>,
    /// Where it is consistent: no recovery may stop before.
    pub consistent: Option<Lsn>,
    /// Pages.
    pub pages: Pages,
    /// WAL it needs to be consistent.
    pub wal: WalNeed,
    /// What a person should know, whole sentences.
    pub remarks: Vec<String>,
}

/// Pages of a base backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// Pages of relations that went by.
    pub seen: u64,
    /// Does the cluster keep checksums? `None`: no pg_control said.
    pub checksums: Option<bool>,
    /// Wrong, and written whole by replay.
    pub torn: u64,
    /// Wrong, and nothing mends them.
    pub damaged: u64,
    /// Wrong, and nobody knows: the WAL could not be read, or there are too many of them.
    pub undecided: u64,
}

/// WAL for consistency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalNeed {
    /// The segment in which the backup starts.
    pub first: Option<String>,
    /// The segment that makes it consistent, or in which reading ended.
    pub last: Option<String>,
    /// Segments that were read and are good.
    pub segments: u64,
    /// Their stored bytes.
    pub stored_bytes: u64,
}

/// The word on a base backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// It can be restored and made consistent, as far as content tells.
    Good,
    /// It has no sentinel.
    Unfinished,
    /// It could not be read to its end.
    Unknown,
    /// Something in it is wrong.
    Damaged,
}

impl BackupProof {
    /// The word on it. Damage that was seen outweighs what was not; WAL that is damaged behind consistency is no fault of
    /// the backup's.
    pub fn word(&self) -> Word {
        let any = |breaks: &[Breaks]| self.defects.iter().any(|defect| breaks.contains(&defect.breaks));
        if self.defects.iter().any(|defect| defect.code == FindingCode::BackupUnfinished) {
            Word::Unfinished
        } else if any(&[Breaks::Backup, Breaks::Rows]) {
            Word::Damaged
        } else if any(&[Breaks::Unknown]) {
            Word::Unknown
        } else {
            Word::Good
        }
    }
}

/// Whose defects they are.
#[derive(Debug, Clone, Copy)]
struct About(BackupName);

impl About {
    fn defect(&self, code: FindingCode, object: impl ToString, what: impl Into<String>, breaks: Breaks) -> Defect {
        Defect {
            code,
            place: Place::Backup(self.0),
            object: object.to_string(),
            lsn: None,
            what: what.into(),
            breaks,
            level: Level::Records,
        }
    }
}

/// Everything that decides the verdict on a backup, in one digest: key, size and version of each of its objects, and of
/// the WAL segments it needs. Equal means that a verdict still stands.
pub async fn fingerprint(store: &dyn Store, survey: &Survey, facts: &BackupFacts) -> crate::error::Answer<String> {
    let folder = partitions::list(store, &facts.name).await?;
    let mut lines: Vec<String> = Vec::new();
    let mut add =
        |key: &dyn std::fmt::Display, size: u64, version: u64| lines.push(format!("{key} {size} {version:x}"));
    for (_, _, object) in &folder.parts {
        add(&object.key, object.size, object.fingerprint().0);
    }
    if let Some(objects) = survey.inventory.backups.get(&facts.name) {
        for object in
            [&objects.sentinel, &objects.version, &objects.metadata, &objects.files_metadata].into_iter().flatten()
        {
            add(&object.key, object.size, object.fingerprint().0);
        }
    }
    let (first, last) = (facts.first_segment(survey.size), facts.last_segment(survey.size));
    for one in survey.inventory.on(facts.timeline) {
        if one.name.number(survey.size).is_ok_and(|number| (first..=last).contains(&number)) {
            add(&one.key(), one.size, one.version.0);
        }
    }
    lines.sort_unstable();
    Ok(Sha256Hash::of(lines.join("\n").as_bytes()).to_string())
}

/// Proves one base backup. `advance` is told the bytes of regular files as they go by. What goes wrong is in the proof:
/// an error is a bug.
pub async fn verify(
    store: Arc<dyn Store>,
    survey: &Survey,
    facts: &BackupFacts,
    effort: Effort,
    advance: Advance,
) -> crate::error::Answer<BackupProof> {
    let mut work = Work {
        about: About(facts.name),
        url: store.object_url(&format!("{}{}/", layout::BACKUPS, facts.name).into()),
        proof: BackupProof { found: Found { name: facts.name.to_string(), ..Found::default() }, defects: Vec::new() },
        store,
        survey,
        facts,
    };
    if work.sentinel() {
        work.content(effort, advance).await;
    }
    Ok(work.proof)
}

struct Work<'a> {
    store: Arc<dyn Store>,
    survey: &'a Survey,
    facts: &'a BackupFacts,
    about: About,
    url: String,
    proof: BackupProof,
}

impl Work<'_> {
    fn defect(&mut self, code: FindingCode, what: impl Into<String>, breaks: Breaks) {
        self.proof.defects.push(self.about.defect(code, &self.url, what, breaks));
    }

    fn remark(&mut self, remark: impl Into<String>) {
        self.proof.found.remarks.push(remark.into());
    }

    fn read_sentinel(&self) -> Option<&Sentinel> {
        match &self.facts.sentinel {
            SentinelState::Read(sentinel) => Some(sentinel),
            _ => None,
        }
    }

    /// `false`: the backup never finished, so there is nothing to prove.
    fn sentinel(&mut self) -> bool {
        let key = self.store.object_url(&self.facts.name.sentinel_key());
        let bare = |why: &str| why.strip_prefix(&format!("{key}: ")).unwrap_or(why).to_owned();
        let (code, what, breaks) = match &self.facts.sentinel {
            SentinelState::Read(_) => return true,
            SentinelState::Absent => (FindingCode::BackupUnfinished, "it has no sentinel".into(), Breaks::Backup),
            SentinelState::Damaged(why) => (FindingCode::BackupSentinel, bare(why), Breaks::Backup),
            SentinelState::Unknown(why) => (FindingCode::BackupUnread, bare(why), Breaks::Unknown),
        };
        self.proof.defects.push(self.about.defect(code, key, what, breaks));
        self.facts.is_finished()
    }

    async fn content(&mut self, effort: Effort, advance: Advance) {
        let folder = match partitions::list(&*self.store, &self.facts.name).await {
            Ok(folder) => folder,
            Err(error) => {
                return self.defect(
                    FindingCode::BackupUnread,
                    format!("its partitions cannot be listed: {}", error.chain()),
                    Breaks::Unknown,
                );
            }
        };
        if !folder.foreign.is_empty() {
            self.remark(format!("Foreign objects beside the partitions are skipped: {}.", folder.foreign.join(", ")));
        }
        let wal_e = self.is_wal_e(&folder.parts);
        let delta = self.read_sentinel().is_some_and(|one| one.delta.is_some());
        let mut complete = self.numbers(&folder.parts, wal_e) && !delta;
        self.proof.found.parts = folder.parts.len() as u64;
        let mut read = parts::read(&self.store, &folder.parts, (!delta, !wal_e), effort, advance, &self.about).await;
        complete &= !read.incomplete;
        self.proof.defects.append(&mut read.defects);
        if delta {
            self.parent();
        }
        if !wal_e {
            complete &= self.metadata(&folder.parts, &read, complete).await;
        }
        self.members(&mut read, complete);
        let whole = self.whole(&read.contents, complete, wal_e);
        self.fewer_bytes(whole.lacks_bytes, read.last);
        self.versions(&whole).await;
        self.tablespaces(&read.contents, &whole);
        self.consistency(read, whole).await;
    }

    /// By its sentinel; where that cannot be read, by its archives.
    fn is_wal_e(&self, parts: &[Part]) -> bool {
        match self.read_sentinel() {
            Some(sentinel) => sentinel.is_wal_e(),
            None => {
                self.facts.name.offset_text().is_some() || parts.iter().any(|(name, ..)| *name == PartName::Part(0))
            }
        }
    }

    /// Are all partitions there, as far as their numbers tell?
    fn numbers(&mut self, parts: &[Part], wal_e: bool) -> bool {
        let what = match (wal_e, parts.is_empty()) {
            (true, _) => partitions::wal_e(parts.to_vec()).err().map(|error| error.to_string()),
            (false, true) => Some("it has no partitions".to_owned()),
            (false, false) if !parts.iter().any(|(name, ..)| *name == PartName::Control) => {
                Some("its pg_control.tar is missing".to_owned())
            }
            (false, false) => None,
        };
        let Some(what) = what else { return true };
        let object = self.store.object_url(&self.facts.name.partitions_prefix().into());
        self.proof.defects.push(self.about.defect(FindingCode::BackupPart, object, what, Breaks::Backup));
        false
    }

    /// A delta is nothing without the backup it builds on.
    fn parent(&mut self) {
        let Some(delta) = self.read_sentinel().and_then(|one| one.delta.clone()) else { return };
        let found = self.survey.backups.iter().find(|one| one.name.to_string() == delta.from);
        match found.map(BackupFacts::is_usable) {
            Some(true) => {}
            Some(false) => self.defect(
                FindingCode::BackupFiles,
                format!("it builds on {}, which is not finished or whose sentinel cannot be read", delta.from),
                Breaks::Backup,
            ),
            None => self.defect(
                FindingCode::BackupFiles,
                format!("it builds on {}, which is not there", delta.from),
                Breaks::Backup,
            ),
        }
        self.remark("It is a delta: its pages are changed parts of files, whose checksums are not looked at.");
    }

    /// WAL-G's list of files and archives. `false`: an archive is missing.
    async fn metadata(&mut self, parts: &[Part], read: &Read, complete: bool) -> bool {
        let object = self.survey.inventory.backups.get(&self.facts.name).and_then(|one| one.files_metadata.clone());
        let Some(object) = object else {
            let disabled = self.read_sentinel().is_some_and(|one| one.files_metadata_disabled);
            let why = if disabled { "was switched off" } else { "is missing" };
            self.remark(format!("files_metadata.json {why}, so a partition or file that is lost may not show."));
            return true;
        };
        let url = self.store.object_url(&object.key);
        match metadata::read(&self.store, object, &read.names, parts).await {
            Ok(missing) => {
                if !missing.archives.is_empty() {
                    let what = format!("archives that it lists are missing: {}", missing.archives.join(", "));
                    self.proof.defects.push(self.about.defect(FindingCode::BackupPart, &url, what, Breaks::Backup));
                    return false;
                }
                if complete && missing.files.count > 0 {
                    let shown: Vec<&str> = missing.files.names.iter().take(10).map(String::as_str).collect();
                    let what = format!(
                        "in no partition, and it lists {}: {}",
                        many(missing.files.count, "file"),
                        shown.join(", ")
                    );
                    self.proof.defects.push(self.about.defect(FindingCode::BackupFiles, &url, what, Breaks::Backup));
                }
            }
            Err(error) => {
                let (code, breaks) = match error.verdict() {
                    Verdict::Unknown => (FindingCode::BackupUnread, Breaks::Unknown),
                    Verdict::Damaged | Verdict::Absent => (FindingCode::BackupFiles, Breaks::Backup),
                };
                self.proof.defects.push(self.about.defect(code, url, parts::clause(&error), breaks));
            }
        }
        true
    }

    /// Members that are there twice, and names of members that are not.
    fn members(&mut self, read: &mut Read, complete: bool) {
        let found = &mut self.proof.found;
        found.good_parts = read.good as u64;
        (found.stored_bytes, found.plain_bytes) = (read.stored_bytes, read.plain_bytes);
        (found.files, found.file_bytes) = (read.contents.files, read.contents.file_bytes);
        found.pages.seen = read.contents.pages.pages;
        let twice = std::mem::take(&mut read.contents.duplicates);
        if twice.count > 0 {
            let shown: Vec<&str> = twice.names.iter().take(10).map(String::as_str).collect();
            let what = format!(
                "it holds {} twice, so partitions of another backup are among them: {}",
                many(twice.count, "file"),
                shown.join(", ")
            );
            self.defect(FindingCode::BackupFiles, what, Breaks::Backup);
        }
        let links: BTreeSet<&str> = read.contents.hard_links.iter().map(|(name, _)| name.as_str()).collect();
        let lost = read
            .contents
            .hard_links
            .iter()
            .find(|(_, to)| !read.names.has(to.as_bytes()) && !links.contains(to.as_str()));
        if let Some((name, to)) = lost.filter(|_| complete) {
            let what = format!("{name} is another name of {to}, which no partition holds");
            self.defect(FindingCode::BackupTar, what, Breaks::Backup);
        }
    }

    /// Sums, pg_control, label: the walls of a restore.
    fn whole(&mut self, contents: &Contents, complete: bool, wal_e: bool) -> Whole {
        let sentinel = self.read_sentinel();
        let only = match self.survey.systems.as_slice() {
            [(system, _)] => Some(*system),
            // Two clusters in one prefix are a finding of their own; the WAL it needs shows which one this is of.
            _ => None,
        };
        let claims = Claims {
            backup: self.facts.name,
            // WAL-G's sum also counts what is in no partition.
            expanded_bytes: sentinel.filter(|_| wal_e).and_then(|one| one.expanded_bytes),
            system: sentinel.and_then(|one| one.system).or(only),
            complete,
        };
        let (expanded, start_lsn) =
            (sentinel.and_then(|one| one.expanded_bytes), sentinel.and_then(|one| one.start_lsn));
        let mut whole = whole::judge(&claims, contents);
        for fault in std::mem::take(&mut whole.faults) {
            let code = match fault.about {
                whole::About::Files => FindingCode::BackupFiles,
                whole::About::Control => FindingCode::BackupControl,
                whole::About::Label => FindingCode::BackupLabel,
            };
            self.defect(code, fault.error.chain(), Breaks::Backup);
        }
        let label = whole.label.as_ref().map(|(label, _)| label);
        if let (Some(label), Some(start)) = (label, start_lsn)
            && label.start != start
        {
            let what = format!("its backup_label starts at {}, and its sentinel says {start}", label.start);
            self.defect(FindingCode::BackupLabel, what, Breaks::Backup);
        }
        let found = &mut self.proof.found;
        found.expanded_bytes = expanded;
        found.start = whole.start.map(|(start, _)| start);
        found.standby = label.is_some_and(|label| label.is_from_standby());
        if let Some((control, _)) = &whole.control {
            found.system = Some(control.system);
            found.version = Some(control.version.to_string());
            found.offline = label.is_none() && whole.start.is_some();
            found.pages.checksums = Some(control.has_page_checksums());
        }
        found.remarks.append(&mut whole.remarks);
        whole
    }

    /// Fewer bytes than the sentinel counts: WAL-E counted before it read, and files vanish meanwhile. Only where the last
    /// partition is as full as WAL-E makes them can another one have followed it.
    fn fewer_bytes(&mut self, lacks_bytes: u64, (members, bytes): (u64, u64)) {
        if partitions::may_lack_last(members, bytes, lacks_bytes) {
            let what = format!(
                "its partitions hold {lacks_bytes} bytes fewer than its sentinel counts, and the last one is full: one \
                 behind it may be lost"
            );
            self.defect(FindingCode::BackupPart, what, Breaks::Unknown);
        } else if lacks_bytes > 0 {
            let what = format!(
                "its partitions hold {lacks_bytes} bytes fewer than its sentinel counts: files vanished while it was taken, \
                 which replay makes good"
            );
            self.defect(FindingCode::BackupFiles, what, Breaks::Nothing);
        }
    }

    /// `extended_version.txt` is often the client's, so it only makes a remark.
    async fn versions(&mut self, whole: &Whole) {
        let Some((control, _)) = &whole.control else { return };
        let objects = self.survey.inventory.backups.get(&self.facts.name);
        let Some(object) = objects.and_then(|one| one.version.clone()) else { return };
        let Ok(bytes) = scan::raw(&*self.store, &object.key, 1 << 16).await else { return };
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        let told = PgVersion::from_banner(&text);
        if let Some(told) = told.filter(|told| *told != control.version) {
            self.remark(format!(
                "extended_version.txt says {told}, and pg_control {}: pg_control has the last word.",
                control.version
            ));
        }
    }

    /// Members of a tablespace must have a place to go.
    fn tablespaces(&mut self, contents: &Contents, whole: &Whole) {
        let Some(spec) = self.read_sentinel().and_then(|one| one.spec.clone()) else { return };
        let declared = |oid: &str| {
            let in_map = whole.map.iter().flat_map(|map| &map.entries).any(|entry| entry.oid.to_string() == oid);
            in_map || spec.tablespaces.iter().any(|one| one.name == oid)
        };
        let met: Vec<&str> =
            contents.landmarks.iter().filter_map(|name| name.strip_prefix("pg_tblspc/")?.strip_suffix('/')).collect();
        let undeclared: Vec<&str> = met.iter().copied().filter(|oid| !declared(oid)).collect();
        if !undeclared.is_empty() {
            let what = format!(
                "it holds files of tablespace {}, which neither its sentinel nor its tablespace_map names",
                undeclared.join(", ")
            );
            self.defect(FindingCode::BackupFiles, what, Breaks::Backup);
        }
        for entry in whole.map.iter().flat_map(|map| &map.entries) {
            if !spec.tablespaces.iter().any(|one| one.name == entry.oid.to_string()) {
                self.remark(format!(
                    "tablespace_map names tablespace {}, which the sentinel does not: a restore asks for its place.",
                    entry.oid
                ));
            }
        }
    }

    /// The WAL, and then what it means for the pages.
    async fn consistency(&mut self, mut read: Read, whole: Whole) {
        let control = whole.control.as_ref().map(|(control, _)| control);
        let judged = control.map(|control| {
            let checksums = control.has_page_checksums() && control.block_size as usize == pages::PAGE;
            let newest = read.contents.pages.newest.clone();
            let unlogged = read.contents.pages.unlogged.clone();
            let seen = std::mem::take(&mut read.contents.pages);
            let start = whole.start.map(|(start, _)| start).filter(|_| whole.label.is_some());
            (pages::judge(seen, checksums, start), newest, unlogged)
        });
        let need = self.need(&whole, &read.contents, judged.as_ref().map(|(judged, ..)| judged));
        let wal = match &need {
            Some(need) => wal::read(&self.store, self.survey, need, &self.about).await,
            None => Wal::default(),
        };
        let found = &mut self.proof.found;
        found.consistent = wal.consistent;
        found.wal = WalNeed {
            first: wal.first.map(|name| name.to_string()),
            last: wal.last.map(|name| name.to_string()),
            segments: wal.segments,
            stored_bytes: wal.stored_bytes,
        };
        self.proof.defects.extend(wal.defects.iter().cloned());
        if let Some(inside) = wal.inside {
            self.remark(format!("The WAL it needs, {inside}, lies in its partitions and was not read."));
        }
        if need.is_none() && self.word_so_far_is_good() {
            // Nothing said why, so something must: a backup without a beginning is not good.
            self.defect(FindingCode::BackupUnread, "where its replay starts is not known", Breaks::Unknown);
        }
        self.stop(&wal);
        if let Some((judged, newest, unlogged)) = judged {
            let online = whole.label.is_some();
            self.pages(&judged, &unlogged, online, &wal);
            let bound = self.last_change(&whole, &wal);
            if let (Some(newest), Some(bound)) = (newest, bound)
                && newest.lsn > bound
            {
                let what = format!(
                    "{} block {} was changed last at {}, and the backup ended at {bound}: it is from another backup or \
                     another cluster",
                    newest.path, newest.block, newest.lsn
                );
                let defect = self.about.defect(FindingCode::BackupPage, &self.url, what, Breaks::Rows);
                self.proof.defects.push(Defect { lsn: Some(newest.lsn), ..defect });
            }
        }
    }

    fn word_so_far_is_good(&self) -> bool {
        self.proof.word() == Word::Good
    }

    /// Which WAL makes it consistent. `None` where nothing says where it starts.
    fn need(&self, whole: &Whole, contents: &Contents, judged: Option<&Judged>) -> Option<Need> {
        let (start, segment): (Lsn, SegmentName) = whole.start?;
        let control = whole.control.as_ref().map(|(control, _)| control);
        let label = whole.label.as_ref().map(|(label, _)| label);
        let goal = match (label, control) {
            (Some(label), Some(control)) if label.is_from_standby() => {
                Goal { end_of: None, at_least: control.min_recovery }
            }
            // Only pg_control tells the end, and there is none that can be read.
            (Some(label), None) if label.is_from_standby() => return None,
            (Some(label), control) => {
                Goal { end_of: Some(label.start), at_least: control.map_or(Lsn::ZERO, |control| control.min_recovery) }
            }
            (None, Some(control)) => {
                // Replay of at least the checkpoint itself.
                let checkpoint = control.checkpoint.checked_add(1).unwrap_or(control.checkpoint);
                Goal { end_of: None, at_least: checkpoint.max(control.min_recovery) }
            }
            (None, None) => return None,
        };
        let suspects = judged.into_iter().flat_map(|judged| judged.damaged.iter().chain(&judged.torn));
        Some(Need {
            timeline: segment.timeline(),
            start,
            goal,
            stop: self.facts.stop.filter(|stop| label.is_some() && *stop > start),
            size: control.map_or(self.survey.size, |control| control.segment_size),
            system: control.map(|control| control.system),
            pages: Arc::new(suspects.filter_map(Page::of).collect()),
            inside: contents.segments.iter().cloned().collect::<HashSet<_>>(),
        })
    }

    /// What the archive says of the backup's end, against its own record of it.
    fn stop(&mut self, wal: &Wal) {
        let Some(end) = wal.end else { return };
        // By another backup's label that backup's end was read: the sentinel is not to blame.
        let is_own = self.proof.defects.iter().all(|one| one.code != FindingCode::BackupLabel);
        let sentinel = self.read_sentinel().filter(|_| is_own);
        let said = sentinel.and_then(|one| survey::stop_of_wal_e(one, self.survey.size));
        if let Some(said) = said.filter(|said| !survey::is_same_stop(*said, end, self.survey.size)) {
            let key = self.store.object_url(&self.facts.name.sentinel_key());
            let what = format!(
                "it says that the backup stopped at {said}, and its end record in the WAL ends at {end}: the sentinel is \
                 another backup's, or was edited"
            );
            let defect = self.about.defect(FindingCode::BackupSentinel, key, what, Breaks::Backup);
            return self.proof.defects.push(Defect { lsn: Some(end), ..defect });
        }
        // By the server's own note, or by WAL-G.
        if let Some(stop) = self.facts.stop
            && !survey::is_same_stop(stop, end, self.survey.size)
        {
            let what =
                format!("the archive says that it stopped at {stop}, and its end record in the WAL ends at {end}");
            let defect = self.about.defect(FindingCode::BackupFiles, &self.url, what, Breaks::Backup);
            self.proof.defects.push(Defect { lsn: Some(end), ..defect });
        }
    }

    /// No page of the backup can have been changed behind this. `None` where nothing bounds it.
    fn last_change(&self, whole: &Whole, wal: &Wal) -> Option<Lsn> {
        let control: Option<&ControlFile> = whole.control.as_ref().map(|(control, _)| control);
        match (&whole.label, control) {
            // On a standby the end is what pg_control had when it was copied, and that may be before other files were.
            (Some((label, _)), _) => wal.end.filter(|_| !label.is_from_standby()),
            (None, Some(control)) => (control.state == ClusterState::ShutDown).then_some(control.checkpoint),
            (None, None) => None,
        }
    }

    fn pages(&mut self, judged: &Judged, unlogged: &BTreeSet<(u32, u32, u32)>, online: bool, wal: &Wal) {
        if !judged.checksums {
            return self.remark("The cluster keeps no page checksums, so its pages could not be proven.");
        }
        let mut torn: Vec<&Suspect> = Vec::new();
        let mut damaged: BTreeMap<&str, Vec<&Suspect>> = BTreeMap::new();
        let mut undecided = Vec::new();
        for suspect in judged.damaged.iter().chain(&judged.torn) {
            let file = RelationFile::parse(suspect.path.as_bytes());
            let made_anew = file
                .is_some_and(|file| online && file.fork != RelationFile::INIT && unlogged.contains(&file.relation()));
            let growing = online && matches!(suspect.fault, Fault::Partial { .. });
            if made_anew || growing || wal.writes(suspect) {
                torn.push(suspect);
            } else if online && wal.consistent.is_none() {
                undecided.push(suspect);
            } else {
                damaged.entry(&suspect.path).or_default().push(suspect);
            }
        }
        let counts = &mut self.proof.found.pages;
        counts.torn = torn.len() as u64;
        counts.damaged = damaged.values().map(|pages| pages.len() as u64).sum();
        counts.undecided = undecided.len() as u64 + judged.unjudged;
        if let Some(first) = torn.first() {
            let what = format!(
                "{} torn: written while being copied, which replay makes good; {} block {} for one",
                many(torn.len() as u64, "page"),
                first.path,
                first.block
            );
            self.defect(FindingCode::BackupTorn, what, Breaks::Nothing);
        }
        for (path, pages) in damaged {
            self.damaged(path, &pages, online);
        }
        if let Some(first) = undecided.first() {
            let what = format!(
                "{} with a wrong checksum, and nobody knows whether replay makes that good, because the WAL to consistency \
                 could not be read; {} block {} for one",
                many(undecided.len() as u64, "page"),
                first.path,
                first.block
            );
            self.defect(FindingCode::BackupUnread, what, Breaks::Unknown);
        }
        if judged.unjudged > 0 {
            let what = format!(
                "{} more with a wrong checksum; only {} are judged",
                many(judged.unjudged, "page"),
                pages::Seen::MOST
            );
            self.defect(FindingCode::BackupUnread, what, Breaks::Unknown);
        }
    }

    /// One finding for each relation file.
    fn damaged(&mut self, path: &str, pages: &[&Suspect], online: bool) {
        let blocks: Vec<String> = pages.iter().take(MOST_BLOCKS).map(|page| page.block.to_string()).collect();
        let more = pages.len().saturating_sub(MOST_BLOCKS);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        let how = match pages.first().map(|page| page.fault) {
            Some(Fault::Checksum { stored: 0, .. }) => "no checksum".to_owned(),
            Some(Fault::Checksum { stored, computed }) => format!("checksum {stored:04x}, computed {computed:04x}"),
            Some(Fault::NotNew) => "marked as new, and not empty".to_owned(),
            Some(Fault::Partial { bytes }) => format!("the file ends within it, behind {bytes} bytes"),
            None => return,
        };
        let image = if online { ", and no full-page image in the WAL replaces it" } else { "" };
        let hint = RelationFile::parse(path.as_bytes()).is_some_and(RelationFile::is_hint);
        let (breaks, note) = match hint {
            true => (Breaks::Nothing, "; the server makes such pages anew"),
            false => (Breaks::Rows, ""),
        };
        let what = format!("relation file {path}, block {}{tail}: {how}{image}{note}", blocks.join(", "));
        let defect = self.about.defect(FindingCode::BackupPage, &self.url, what, breaks);
        self.proof.defects.push(Defect { lsn: pages.first().map(|page| page.lsn), ..defect });
    }
}

/// `1 page`, `2 pages`.
fn many(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// Defects of one backup as a ledger keeps them: their place is the backup.
mod stored {
    use super::*;
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Stored {
        code: String,
        backup: String,
        object: String,
        lsn: Option<Lsn>,
        what: String,
        breaks: String,
    }

    const BREAKS: [(Breaks, &str); 5] = [
        (Breaks::Nothing, "nothing"),
        (Breaks::Replay, "replay"),
        (Breaks::Backup, "backup"),
        (Breaks::Rows, "rows"),
        (Breaks::Unknown, "unknown"),
    ];

    pub fn serialize<S: Serializer>(defects: &[Defect], serializer: S) -> Result<S::Ok, S::Error> {
        let stored = |defect: &Defect| {
            // One of the WAL itself is found anew by whoever reads the WAL.
            let Place::Backup(name) = defect.place else { return None };
            let breaks = BREAKS.iter().find(|(one, _)| *one == defect.breaks).map_or("unknown", |(_, word)| word);
            Some(Stored {
                code: defect.code.to_string(),
                backup: name.to_string(),
                object: defect.object.clone(),
                lsn: defect.lsn,
                what: defect.what.clone(),
                breaks: breaks.to_owned(),
            })
        };
        serializer.collect_seq(defects.iter().filter_map(stored))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Defect>, D::Error> {
        let all = Vec::<Stored>::deserialize(deserializer)?;
        let defect = |one: Stored| {
            let name: BackupName = one.backup.parse().map_err(D::Error::custom)?;
            let code = FindingCode::parse(&one.code).ok_or_else(|| D::Error::custom("no code of a finding"))?;
            let breaks = BREAKS.iter().find(|(_, word)| *word == one.breaks).map_or(Breaks::Unknown, |(one, _)| *one);
            Ok(Defect { lsn: one.lsn, ..About(name).defect(code, one.object, one.what, breaks) })
        };
        all.into_iter().map(defect).collect()
    }
}

#[cfg(test)]
mod tests;
