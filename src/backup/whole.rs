//! Are the contents of all partitions a base backup?
//!
//! In: what the archive claims of it ([`Claims`]), the [`Contents`] of its partitions. Out: [`Whole`]: every fault, what a
//! person should know, and what the backup says of itself. Never: stops at the first fault, or takes something for
//! missing while a partition is not read. A restore refuses the first fault; a proof lists all of them.

use super::contents::{Contents, Hex};
use crate::error::{Code, Error};
use crate::layout::BackupName;
use crate::pg::control::{ClusterState, ControlFile};
use crate::pg::label::{BackupLabel, TablespaceMap};
use crate::pg::version::PgVersion;
use crate::pg::{Lsn, SegmentName, SystemId};

/// What the archive says of a backup.
#[derive(Debug, Clone, Copy)]
pub struct Claims {
    /// Its name.
    pub backup: BackupName,
    /// Bytes of regular files that its sentinel counts.
    pub expanded_bytes: Option<u64>,
    /// The cluster that the archive is of.
    pub system: Option<SystemId>,
    /// All partitions were read: what was not met is not there.
    pub complete: bool,
}

/// What a fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// Sums, or a file that every cluster has.
    Files,
    /// pg_control.
    Control,
    /// backup_label, or tablespace_map.
    Label,
}

/// One reason why this is no base backup that may be restored.
#[derive(Debug)]
pub struct Fault {
    /// What it is about.
    pub about: About,
    /// `damaged.backup`, without its object.
    pub error: Error,
}

/// All partitions together.
#[derive(Debug, Default)]
pub struct Whole {
    /// Why it is none.
    pub faults: Vec<Fault>,
    /// What a person should know, whole sentences.
    pub remarks: Vec<String>,
    /// Bytes of files that the sentinel counts beyond what was met: of files that vanished while the backup was taken, or
    /// of a partition missing at the end.
    pub lacks_bytes: u64,
    /// pg_control, and its bytes.
    pub control: Option<(ControlFile, Vec<u8>)>,
    /// backup_label, and its bytes. `None` beside a fault, or in a backup of a server that was down.
    pub label: Option<(BackupLabel, Vec<u8>)>,
    /// tablespace_map.
    pub map: Option<TablespaceMap>,
    /// Where replay starts, and the segment that holds it. Online: from the label; offline: from pg_control.
    pub start: Option<(Lsn, SegmentName)>,
}

impl Whole {
    fn fault(&mut self, about: About, what: impl Into<String>) {
        self.faults.push(Fault { about, error: Error::new(Code::DamagedBackup, what) });
    }

    fn because(&mut self, about: About, what: &str, cause: impl std::error::Error + Send + Sync + 'static) {
        self.faults.push(Fault { about, error: Error::new(Code::DamagedBackup, what).because(cause) });
    }
}

/// Judges all but the pages, which are `super::pages::judge`'s.
pub fn judge(claims: &Claims, found: &Contents) -> Whole {
    let mut whole = Whole::default();
    sums(claims, found, &mut whole);
    control(claims, found, &mut whole);
    label(claims, found, &mut whole);
    if let Some(bytes) = the_one(found, "tablespace_map", About::Label, &mut whole) {
        let version = whole.control.as_ref().map(|(control, _)| control.version);
        match TablespaceMap::parse(&bytes, version) {
            Ok(map) => whole.map = Some(map),
            Err(error) => whole.because(About::Label, "its tablespace_map cannot be read", error),
        }
    }
    if claims.complete {
        landmarks(found, &mut whole);
    }
    for (what, names) in [
        ("Members that occurred twice; the last one stands", &found.duplicates),
        ("Links that lead out of the data directory, not made", &found.links_left_out),
        ("Left out, of no use in a restored directory or on request", &found.left_out),
        ("Directories whose set-id or sticky bit was dropped", &found.bits_dropped),
    ] {
        if names.count > 0 {
            let more = names.count.saturating_sub(10);
            let shown: Vec<_> = names.names.iter().take(10).cloned().collect();
            let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
            whole.remarks.push(format!("{what}: {}{tail}.", shown.join(", ")));
        }
    }
    whole
}

fn sums(claims: &Claims, found: &Contents, whole: &mut Whole) {
    match claims.expanded_bytes {
        Some(promised) if found.file_bytes > promised => whole.fault(
            About::Files,
            format!(
                "its partitions hold {} bytes of files and its sentinel counts {promised}: partitions of another \
                 backup are among them",
                found.file_bytes
            ),
        ),
        Some(promised) if claims.complete => whole.lacks_bytes = promised - found.file_bytes,
        Some(_) => {}
        None => whole
            .remarks
            .push("The sentinel has no byte count, so a partition missing at the end would not show.".into()),
    }
}

fn control(claims: &Claims, found: &Contents, whole: &mut Whole) {
    let Some(bytes) = the_one(found, "global/pg_control", About::Control, whole) else {
        if claims.complete && !found.held_back.contains_key("global/pg_control") {
            whole.fault(About::Control, "no partition holds global/pg_control");
        }
        return;
    };
    let control = match ControlFile::parse(&bytes) {
        Ok(control) => control,
        Err(error) => return whole.because(About::Control, "its global/pg_control is damaged", error),
    };
    if let Some(expected) = claims.system.filter(|expected| *expected != control.system) {
        let what = format!("it is of cluster {}, and the archive says that it is of {expected}", control.system);
        let hint = "Two clusters may share the prefix: look at sysids/sysid and at `wal-r backup-list --detail`; \
                    --any-system takes the backup as it is.";
        whole.faults.push(Fault { about: About::Control, error: Error::new(Code::DamagedBackup, what).hint(hint) });
    }
    let version = found.pg_version.as_deref().and_then(|text| PgVersion::parse(text.trim()));
    match (&found.pg_version, version) {
        (None, _) if claims.complete => whole.fault(About::Files, "no partition holds PG_VERSION"),
        (Some(text), version) if version != Some(control.version) => {
            let what = format!("PG_VERSION says {}, and pg_control {}", text.trim(), control.version);
            whole.fault(About::Control, what);
        }
        _ => {}
    }
    whole.control = Some((control, bytes));
}

fn label(claims: &Claims, found: &Contents, whole: &mut Whole) {
    let bytes = the_one(found, "backup_label", About::Label, whole);
    let label = match bytes.as_deref().map(BackupLabel::parse) {
        Some(Ok(label)) => Some(label),
        Some(Err(error)) => return whole.because(About::Label, "its backup_label cannot be read", error),
        None if found.held_back.contains_key("backup_label") => return,
        None => None,
    };
    let control = whole.control.as_ref().map(|(control, _)| control.clone());
    match (label, control) {
        (Some(label), control) => {
            // Without pg_control the segment size is not known, and with it the offset.
            let size = control.as_ref().map(|control| control.segment_size.bytes());
            if let Some(control) = control.filter(|control| label.is_from_standby() && !is_in_recovery(control)) {
                let what = format!(
                    "its backup_label says that it was taken on a standby, and its pg_control was no standby's ({:?}): the \
                     server refuses it",
                    control.state
                );
                whole.fault(About::Control, what);
            }
            if let Err(what) = fits(&label, &claims.backup, size) {
                whole.fault(About::Label, what);
            }
            whole.start = Some((label.start, label.start_segment));
            whole.label = Some((label, bytes.unwrap_or_default()));
        }
        (None, Some(control)) if claims.complete => {
            if !matches!(control.state, ClusterState::ShutDown | ClusterState::ShutDownInRecovery) {
                let what = format!(
                    "it has no backup_label, and its pg_control says that the cluster was running ({:?}): without \
                     the label recovery would start at the wrong place",
                    control.state
                );
                return whole.fault(About::Label, what);
            }
            let size = control.segment_size;
            match control.redo.segment(size).name(control.timeline, size) {
                Some(name) => whole.start = Some((control.redo, name)),
                None => whole.fault(About::Control, "its redo point is beyond all WAL"),
            }
        }
        (None, _) => {}
    }
}

/// As `InitWalRecovery` asks for it before it believes a standby's label.
fn is_in_recovery(control: &ControlFile) -> bool {
    matches!(control.state, ClusterState::InArchiveRecovery | ClusterState::ShutDownInRecovery)
}

/// What no server of any version starts or reads without, and what initdb makes and nothing takes away.
fn landmarks(found: &Contents, whole: &mut Whole) {
    let Some((control, _)) = &whole.control else { return };
    let log = if control.version.is_at_least(10) { "pg_xact/" } else { "pg_clog/" };
    let mut missing: Vec<String> = Vec::new();
    for name in ["global/pg_filenode.map", log] {
        if !found.landmarks.contains(name) {
            missing.push(name.to_owned());
        }
    }
    let databases: Vec<&str> = found
        .landmarks
        .iter()
        .filter(|name| name.starts_with("base/"))
        .filter_map(|name| name.split('/').nth(1))
        .collect();
    if databases.is_empty() {
        missing.push("base/ with a database".to_owned());
    }
    for database in databases {
        for name in ["PG_VERSION", "pg_filenode.map"].map(|name| format!("base/{database}/{name}")) {
            if !found.landmarks.contains(&name) && !missing.contains(&name) {
                missing.push(name);
            }
        }
    }
    if !missing.is_empty() {
        let what = format!("no partition holds {}, without which there is no cluster", missing.join(" and "));
        whole.fault(About::Files, what);
    }
}

/// The held-back file of this name, of which there must not be two that differ.
fn the_one(found: &Contents, name: &str, about: About, whole: &mut Whole) -> Option<Vec<u8>> {
    let all = found.held_back.get(name)?;
    let Hex(first) = all.first()?;
    if all.iter().any(|Hex(other)| other != first) {
        let what = format!("it holds {} different {name}: partitions of two backups are mixed", all.len());
        whole.fault(about, what);
        return None;
    }
    if all.len() > 1 {
        whole.remarks.push(format!("{name} occurred {} times, with the same content.", all.len()));
    }
    Some(first.clone())
}

/// Does the label belong to this backup? WAL-E names a backup after `pg_walfile_name_offset` of its start, the offset in
/// decimal and cut to eight digits. Without a segment size only the segment is compared.
fn fits(label: &BackupLabel, backup: &BackupName, segment_bytes: Option<u64>) -> Result<(), String> {
    if label.incremental_from.is_some() {
        return Err("its backup_label says that it is incremental".to_owned());
    }
    let Some(segment_bytes) = segment_bytes else {
        return match backup.timeline() == label.start_segment.timeline() {
            true => Ok(()),
            false => Err(format!("its backup_label is another backup's: it starts in {}", label.start_segment)),
        };
    };
    let offset = label.start.0 % segment_bytes;
    let digits: String = format!("{offset:08}").chars().take(8).collect();
    let offset_fits = backup.offset_text().is_none_or(|text| text == digits);
    // A start exactly at a boundary is named by the segment before (up to 15).
    let segment_fits =
        backup.start() == label.start_segment || (offset == 0 && backup.timeline() == label.start_segment.timeline());
    if offset_fits && segment_fits {
        return Ok(());
    }
    Err(format!(
        "its backup_label is another backup's: it starts at {} ({}, offset {offset})",
        label.start, label.start_segment
    ))
}

#[cfg(test)]
mod tests;
