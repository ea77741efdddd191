//! What a comparison came to, as data.
//!
//! In: filled by `commands::copy_verify`. Out: [`Report`], which serialises; a certificate is made of it. Never: a number with
//! a fraction, or one that JSON readers round: the certificate's seal is computed over its text.

use crate::commands::audit;
use crate::layout::{BackupName, ObjectKey};
use crate::pg::{Lsn, TimelineId};
use crate::proof::verdict::{Counts, Verdict};
use crate::proof::{Level, Severity};
use crate::storage::ObjectId;
use crate::transfer::Hex32;
use jiff::Timestamp;
use serde::Serialize;

/// What a comparison came to.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The source.
    pub from: String,
    /// The destination.
    pub to: String,
    /// The cluster, where the source tells: its system identifier.
    pub system: Option<String>,
    /// The worst of the differences.
    pub verdict: Verdict,
    /// Nothing was found, and nothing left unread, that keeps the destination from what [`Report::claim`] says.
    pub equal: bool,
    /// What is claimed: whole sentences.
    pub claim: String,
    /// What of the source must be in the destination.
    pub selected: Selected,
    /// The objects, by name and size.
    pub objects: Objects,
    /// Their bytes.
    pub digests: DigestsDone,
    /// What LATEST means.
    pub latest: Latest,
    /// The audit of the source.
    pub source: Audited,
    /// The audit of the destination.
    pub destination: Audited,
    /// What can be recovered from each base backup.
    pub windows: Vec<Row>,
    /// What differs, worst first.
    pub differences: Vec<Difference>,
    /// What else should be known.
    pub notes: Vec<String>,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// The version of wal-r.
    pub wal_r: String,
    /// One line for each object that was read, sorted: [`DigestsDone::sha256`] is that of this text.
    #[serde(skip)]
    pub lines: String,
}

/// What of the source is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Selected {
    /// Every object below the prefix.
    pub everything: bool,
    /// `ALL`, `LATEST` or names.
    pub asked: String,
    /// Of those, what was finished since then.
    pub since: Option<Timestamp>,
    /// Of the source, only what was written until then.
    pub until: Option<Timestamp>,
    /// `all`, `to_consistency`, `none`.
    pub wal: &'static str,
    /// The base backups that follow from it, as their sentinels were written.
    pub backups: Vec<BackupName>,
}

/// Objects and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Objects.
    pub objects: u64,
    /// Stored bytes.
    pub bytes: u64,
}

impl Count {
    /// Of these.
    pub fn of<'a>(objects: impl IntoIterator<Item = &'a ObjectId>) -> Count {
        let mut count = Count::default();
        objects.into_iter().for_each(|object| count.add(object.size));
        count
    }

    /// One more.
    pub fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// The objects, by name and size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Objects {
    /// Of the source, that must be in the destination.
    pub chosen: Count,
    /// Of those, there with the same size.
    pub same_size: Count,
    /// Of those, not there.
    pub missing: Count,
    /// Of those, there with another size: counted as they are in the destination.
    pub other_size: Count,
    /// In the destination only, of an archive, and not copied from this source.
    pub strangers: Count,
    /// In the destination, and not chosen: in the source, too, or copied from there before.
    pub left_over: Count,
    /// In the destination only, and of no archive.
    pub foreign: Count,
}

/// What was found out of the bytes of objects that are there with the same size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DigestsDone {
    /// `none`, `sample`, `all`.
    pub mode: &'static str,
    /// How much of a sample was asked for, in percent.
    pub sample_percent: Option<u8>,
    /// Objects that could have been read.
    pub of: Count,
    /// Read in the destination and compared by SHA-256 with the source.
    pub read: Count,
    /// Of those, where the source was not read again: the copy's manifest has the digest of the version that is there now.
    pub source_by_manifest: Count,
    /// Of those, where the bytes differ.
    pub different: Count,
    /// Not read; both stores name the same MD5.
    pub by_md5: Count,
    /// Not read; name and size are all that was compared.
    pub by_size: Count,
    /// To be read, and could not be.
    pub unread: Count,
    /// SHA-256 of the sorted lines `sha256  size  key` of all that was read, as it is in the destination.
    pub sha256: Hex32,
}

/// What LATEST means: to WAL-E and WAL-G the base backup whose sentinel was written last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Latest {
    /// In the source.
    pub source: Option<BackupName>,
    /// Among those of the source that were chosen.
    pub of_chosen: Option<BackupName>,
    /// In the destination.
    pub destination: Option<BackupName>,
    /// The destination's is one of the two.
    pub same: bool,
}

/// An audit in short.
#[derive(Debug, Clone, Serialize)]
pub struct Audited {
    /// How closely it looked.
    pub level: Level,
    /// What it came to, alone.
    pub verdict: Verdict,
    /// How many findings of each kind.
    pub findings: Counts,
    /// The worst finding, or that there is none.
    pub headline: String,
    /// Stored segments.
    pub segments: u64,
    /// Objects that were read.
    pub objects_read: u64,
    /// Stored bytes of them.
    pub bytes_read: u64,
    /// Base backups that were read to their end.
    pub backups_read: u64,
}

impl Audited {
    /// Of this one.
    pub fn of(report: &audit::Report) -> Audited {
        Audited {
            level: report.level,
            verdict: report.verdict,
            findings: report.counts,
            headline: report.headline(),
            segments: report.coverage.segments,
            objects_read: report.coverage.objects_read,
            bytes_read: report.coverage.bytes_read,
            backups_read: report.coverage.backups_read,
        }
    }
}

/// What can be recovered from one base backup along one timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The base backup.
    pub backup: BackupName,
    /// The timeline that is aimed at.
    pub timeline: TimelineId,
    /// In the source; `None` where nothing can.
    pub source: Option<Reached>,
    /// In the destination.
    pub destination: Option<Reached>,
    /// The destination reaches what the source does, as far as was chosen.
    pub same: bool,
}

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// Where the base backup is consistent: the first place.
    pub from_lsn: Lsn,
    /// Where replay ends.
    pub to_lsn: Lsn,
    /// The earliest target time, where it is known.
    pub from: Option<Timestamp>,
    /// The latest commit or abort: a target time must be before it.
    pub to: Option<Timestamp>,
    /// The last commit.
    pub last_commit: Option<Timestamp>,
    /// `latest` leads here.
    pub latest: bool,
    /// Every record of it was checked, and chained to the one before.
    pub proven: bool,
}

/// What kind of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An object is not in the destination.
    Missing,
    /// It has another size there.
    Size,
    /// It has other bytes there.
    Bytes,
    /// The destination has one that the source never had.
    Stranger,
    /// Another cluster.
    Cluster,
    /// LATEST is another base backup.
    Latest,
    /// The sentinels' times have another order.
    Order,
    /// A recovery reaches less, or more.
    Window,
    /// A named target is out of reach.
    RestorePoint,
    /// An audit finds something on one side only.
    Audit,
    /// Something could not be read, so nobody knows.
    Unread,
}

impl Kind {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Missing => "missing",
            Kind::Size => "size",
            Kind::Bytes => "bytes",
            Kind::Stranger => "stranger",
            Kind::Cluster => "cluster",
            Kind::Latest => "latest",
            Kind::Order => "order",
            Kind::Window => "window",
            Kind::RestorePoint => "restore point",
            Kind::Audit => "audit",
            Kind::Unread => "unread",
        }
    }
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// How bad: critical where the destination cannot recover what the source can, or holds other bytes.
    pub severity: Severity,
    /// What kind.
    pub kind: Kind,
    /// What differs: a clause.
    pub what: String,
    /// How many objects that is.
    pub count: u64,
    /// The first of them.
    pub objects: Vec<ObjectKey>,
}

impl Difference {
    /// Of many objects; the first are kept by name.
    pub fn of(severity: Severity, kind: Kind, mut keys: Vec<ObjectKey>, what: &str) -> Difference {
        keys.sort();
        let count = keys.len() as u64;
        keys.truncate(super::SHOWN);
        let noun = if count == 1 { "object is" } else { "objects are" };
        Difference { severity, kind, what: format!("{count} {noun} {what}"), count, objects: keys }
    }

    /// Of no object in particular.
    pub fn about(severity: Severity, kind: Kind, what: String) -> Difference {
        Difference { severity, kind, what, count: 0, objects: Vec::new() }
    }
}

impl Report {
    /// What the outcome lets one say, and on what it rests.
    pub(super) fn claimed(&self, level: Level) -> String {
        let digests = &self.digests;
        let known = match digests.source_by_manifest.objects {
            0 => String::new(),
            known => format!(
                " For {known} of them the source's digest is that in the copy's manifest, of the version that is there now."
            ),
        };
        let until = match self.selected.until {
            Some(until) => format!(" Of the source that is what was written until {until}."),
            None => String::new(),
        };
        let bytes = match (digests.read.objects, digests.of.objects) {
            (0, _) => "No object's bytes were read for it.".to_owned(),
            (read, of) if read == of => format!("All {of} objects have the same SHA-256 on both sides."),
            (read, of) => format!(
                "{read} of {of} objects were read and have the same SHA-256 on both sides; of {} more both stores name the \
                 same MD5, and of {} name and size are the same.",
                digests.by_md5.objects, digests.by_size.objects
            ),
        };
        if !self.equal {
            let what = match self.verdict {
                Verdict::Unknown => "Something could not be looked at, and nothing worse was seen. Nothing is claimed.",
                _ => "The destination holds other bytes, or cannot recover what the source can. Nothing is claimed.",
            };
            return what.to_owned();
        }
        let how = match level {
            Level::Records => "every WAL record was read on both sides",
            Level::Headers => "every WAL page was read on both sides, its records were not checked",
            Level::Decode => "every WAL object was decoded on both sides, its content was not checked",
            Level::Names => "by the names of what is there: no WAL was read",
        };
        let recovery = match self.selected.wal {
            "none" => "No WAL was chosen, so nothing is claimed of recovery: the base backups' own objects are there."
                .to_owned(),
            "to_consistency" => format!(
                "Each chosen base backup can be recovered from the destination to the place where it is consistent, as from \
                 the source ({how}); no later place is claimed."
            ),
            _ => format!(
                "From each chosen base backup the destination can be recovered to the same times and places as the source \
                 ({how})."
            ),
        };
        format!("{recovery} {bytes}{known}{until}")
    }
}
