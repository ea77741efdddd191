//! What is wrong, as data: first a defect (a fact about one place), then a finding (whom it hurts, and what to do).
//!
//! In: what the checks of `names`, `walk` and `backup` saw. Out: [`Defect`]s, and with `judge` [`Finding`]s: sentences
//! with object, LSN, consequence and next step, under a stable code that scripts may match.
//! Never: prints, decides an exit code, or lets one bad object end a run.

use super::facts::Level;
use crate::layout::{BackupName, ObjectKey};
use crate::pg::{Lsn, SegmentNo, SegmentSize, TimelineId};
use serde::Serialize;
use std::fmt;

/// How bad a finding is. In order of badness, as far as people are concerned; `cli::exit` has the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// True, and breaks nothing that anybody could want back.
    Harmless,
    /// Breaks something that another backup or timeline makes good, or will break something soon.
    Warning,
    /// It could not be looked at: nobody may call it good.
    Unknown,
    /// The newest data, or the only way to some data, cannot be recovered.
    Critical,
}

impl Severity {
    /// The word that people and scripts read.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Harmless => "harmless",
            Severity::Warning => "warning",
            Severity::Unknown => "unknown",
            Severity::Critical => "critical",
        }
    }
}

/// Which part of an archive something is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// All of it.
    Archive,
    /// Segments of one timeline, both ends included.
    Wal {
        /// The timeline in their names.
        timeline: TimelineId,
        /// The first one.
        first: SegmentNo,
        /// The last one.
        last: SegmentNo,
    },
    /// A timeline's history file.
    History(TimelineId),
    /// One base backup.
    Backup(BackupName),
    /// An object that is none of these.
    Object(ObjectKey),
}

/// What a defect does to a recovery that comes by, before anybody asked which one that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Breaks {
    /// Nothing.
    Nothing,
    /// Replay cannot pass this WAL: it ends at the place, or just before it.
    Replay,
    /// The base backup cannot be restored, or not to a state that may be trusted.
    Backup,
    /// Part of the base backup is wrong: rows of one relation may be.
    Rows,
    /// Nobody knows: it could not be looked at.
    Unknown,
}

/// One fact about one place of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// Which kind.
    pub code: FindingCode,
    /// Where.
    pub place: Place,
    /// The object or range for people: a URL, a key, `00000001… to 00000001…`.
    pub object: String,
    /// The exact place in the WAL, where there is one.
    pub lsn: Option<Lsn>,
    /// One clause, lower case, no full stop: `the record's CRC is 0a1b2c3d, computed 00000000`.
    pub what: String,
    /// What it does.
    pub breaks: Breaks,
    /// The level at which it was seen.
    pub level: Level,
}

/// A defect, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which kind; `wal-r explain CODE` has its page.
    pub code: FindingCode,
    /// How bad, by whom it hurts. An acknowledged one is [`Severity::Harmless`].
    pub severity: Severity,
    /// The part of the archive, as the defect had it: what acknowledgements are held against.
    #[serde(skip)]
    pub place: Place,
    /// The object or range for people.
    pub object: String,
    /// Timeline of the WAL concerned.
    pub timeline: Option<TimelineId>,
    /// First segment concerned.
    pub first_segment: Option<String>,
    /// Last segment concerned.
    pub last_segment: Option<String>,
    /// The exact place in the WAL, where there is one.
    pub lsn: Option<Lsn>,
    /// One clause: what is wrong.
    pub what: String,
    /// A sentence: what cannot be done because of it. Empty only where nothing is hurt.
    pub consequence: String,
    /// A sentence: what to do next.
    pub next: String,
    /// Base backups it hurts, oldest first.
    pub hurts: Vec<BackupName>,
    /// The level at which it was seen.
    pub level: Level,
    /// Why it is acknowledged, and until when, where it is.
    pub acknowledged: Option<String>,
}

impl Place {
    /// First and last segment as names, for a segment size. `None` for what is no WAL.
    pub fn segments(&self, size: SegmentSize) -> Option<(String, String)> {
        let Place::Wal { timeline, first, last } = self else { return None };
        let name = |number: SegmentNo| number.name(*timeline, size).map(|name| name.to_string());
        Some((name(*first)?, name(*last)?))
    }
}

macro_rules! finding_codes {
    ($( $name:ident, $text:literal, $meaning:literal, $next:literal; )*) => {
        /// The stable code of a finding: `segment.missing`. Its page is in docs/findings.md.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum FindingCode { $( #[doc = $meaning] $name, )* }

        impl FindingCode {
            /// All codes, in the order of docs/findings.md.
            pub const ALL: &'static [FindingCode] = &[ $( FindingCode::$name, )* ];

            /// The dotted text.
            pub fn as_str(self) -> &'static str {
                match self { $( FindingCode::$name => $text, )* }
            }

            /// What it means, in one or two sentences.
            pub fn meaning(self) -> &'static str {
                match self { $( FindingCode::$name => $meaning, )* }
            }

            /// What to do, as whole sentences.
            pub fn next(self) -> &'static str {
                match self { $( FindingCode::$name => $next, )* }
            }
        }
    };
}

finding_codes! {
    ArchiveEmpty, "archive.empty",
        "The prefix was reached and holds no archive: no segment, no history, no base backup. A verdict on nothing is no verdict.",
        "Check the prefix with `wal-r config check`; `wal-r st ls` shows what is there.";
    ArchiveUnread, "archive.unread",
        "The archive could not be listed or read, so nothing is known about it.",
        "The cause is named: `wal-r config check` tries it again.";
    ArchiveClusters, "archive.clusters",
        "Files of more than one cluster (system identifier) lie under one prefix.",
        "Find the server that archives into the wrong prefix and stop it; then audit again.";
    ArchiveForeign, "archive.foreign",
        "Objects lie in the archive that neither WAL-E nor WAL-G write. They are passed over.",
        "Nothing, unless you wonder who put them there.";
    ArchiveStale, "archive.stale",
        "The newest WAL (or its newest commit) is older than it may be: archiving has stopped, or the server is idle.",
        "Look at `pg_stat_archiver` on the server, and at the archiver's log.";
    SegmentMissing, "segment.missing",
        "WAL segments are missing that something needs which is there: later segments, a timeline that branched off behind them, or a base backup. Recovery ends where they begin.",
        "Look for them in pg_wal of the old primary and its standbys, and in other buckets; put them under their names. If they are lost: take a new base backup, and acknowledge the loss (`--ack`).";
    SegmentPartial, "segment.partial",
        "Where a segment is needed, only its `.partial` is there: the last, incomplete segment of a timeline that was left.",
        "Look for the whole segment in pg_wal of the old primary. A recovery to the end of the old timeline can use the partial one, renamed, up to where it ends.";
    SegmentEmpty, "segment.empty",
        "A stored segment has no bytes.",
        "Look for another copy in pg_wal of the primary and its standbys.";
    SegmentTwice, "segment.twice",
        "A segment is stored in more than one form. wal-r takes the first that is whole; other tools may take the other.",
        "Compare them with `wal-r st cat`; keep the one that validates.";
    SegmentDiffers, "segment.differs",
        "Two stored forms of one segment have different content.",
        "One of them is not this cluster's, or damaged: the finding says which one validates.";
    SegmentMisfit, "segment.misfit",
        "The name of a stored segment cannot exist at this cluster's segment size: from another cluster, or from before the size was changed.",
        "Nothing, if the size was changed with pg_resetwal; otherwise find out who wrote it.";
    SegmentStray, "segment.stray",
        "A segment's name lies so far away from all others of its timeline that no server can have written what would be between. It is passed over; some tools take what lies before it for a gap.",
        "Find out who wrote it, and whether it is this cluster's.";
    SegmentUndecodable, "segment.undecodable",
        "The object does not decode: it is cut short, flipped, or something else altogether.",
        "Look for another copy of the segment in pg_wal of the primary and its standbys, or in another bucket.";
    SegmentSize, "segment.size",
        "The decoded segment does not have a segment's size.",
        "Look for another copy of the segment.";
    SegmentForeign, "segment.foreign",
        "The segment is of another cluster, another timeline or another place than its name says.",
        "Find out who wrote it; look for the right one in pg_wal of the primary and its standbys.";
    SegmentPage, "segment.page",
        "A page of the segment cannot stand where it is: magic, address, timeline or flags are wrong.",
        "Look for another copy of the segment.";
    SegmentRecord, "segment.record",
        "A WAL record is wrong: its CRC, its length, or its link to the record before it. PostgreSQL takes it for the end of the WAL and opens with later transactions missing.",
        "Look for another copy of the segment. To end recovery before it on purpose: a target before the LSN named.";
    SegmentNotWhole, "segment.not-whole",
        "The WAL ends within a segment that should be whole: it was archived too early, or is padding of a WAL receiver.",
        "Look for the whole segment in pg_wal of the server that wrote it.";
    SegmentSeam, "segment.seam",
        "Two neighbouring segments do not belong together: the record that crosses, or the link of the first record behind the border, does not fit.",
        "One of the two was overwritten or comes from another history. Look for other copies of both.";
    SegmentOdd, "segment.odd",
        "Bytes that no checksum covers are not zero, as every server writes them. PostgreSQL ignores them.",
        "A sign of a failing disk or transfer: audit the neighbours, too.";
    SegmentUnread, "segment.unread",
        "The segment could not be judged: no codec or key for it here, a version that this build does not read, or a store that did not answer. It is not called good.",
        "The cause is named. Audit again when it is gone.";
    SegmentMinimal, "segment.minimal",
        "From here on the WAL was written with wal_level=minimal: no recovery leads across it.",
        "Only base backups taken after wal_level was raised again lead to later times.";
    ForkMissing, "fork.missing",
        "A timeline's first segment, the one with its switch point, is missing. Where the parent's segment of the same number is there, PostgreSQL would replay that past the fork and open with another history's rows; wal-r refuses to hand it over.",
        "Look for the child's segment in pg_wal of the server that was promoted.";
    ForkContradicts, "fork.contradicts",
        "The history file and the WAL disagree about where the timeline begins.",
        "One of the two comes from another cluster or was edited. Compare with the history file in pg_wal of any server of that timeline.";
    HistoryMissing, "history.missing",
        "A timeline has segments and no history file. PostgreSQL takes it as having no ancestors, so no base backup of an earlier timeline leads to it.",
        "Copy TTTTTTTT.history from pg_wal of any server of that timeline; where the WAL shows its content, the finding says what it was.";
    HistoryDamaged, "history.damaged",
        "A history file cannot be read as one.",
        "Copy it again from pg_wal of any server of that timeline; where the WAL shows its content, the finding says what it was.";
    HistoryUnread, "history.unread",
        "A history file could not be read: no codec or key for it here, or a store that did not answer. Which ways lead to its timeline is not known.",
        "The cause is named. Audit again when it is gone.";
    HistoryDisagrees, "history.disagrees",
        "Two history files tell different stories of the same ancestor.",
        "One of them is of another cluster, or was edited.";
    HistoryUnreachable, "history.unreachable",
        "`latest` never looks at this timeline, because a history file with a number in between is missing.",
        "Name it: `--recovery-target-timeline N`; or put the missing history file back.";
    TimelineStray, "timeline.stray",
        "A timeline that no base backup leads to: a test restore archived into this prefix, or the backups it needs are gone.",
        "Nothing, if you know it. No recovery by `latest` may find it newer than the server's own: see the finding on `latest`.";
    TimelineNew, "timeline.new",
        "The history of a timeline is there, and no segment of it yet: a promotion that happened just now, whose first segment is not full.",
        "Nothing; its first segment comes when it is full or archive_timeout has passed. If that was long ago: look at the archiver of the new primary.";
    TimelineOther, "timeline.other",
        "Recovery to `latest` would not end where the newest WAL is: it follows another timeline.",
        "Name the timeline that you mean: `--recovery-target-timeline N`.";
    BackupNone, "backup.none",
        "There is WAL and no finished base backup that it could be replayed on.",
        "Take a base backup now.";
    BackupUnfinished, "backup.unfinished",
        "A base backup without its sentinel: it failed, was deleted in part, or is being taken just now. No tool restores it.",
        "Nothing while it runs; delete it with the tool that wrote it if it failed.";
    BackupSentinel, "backup.sentinel",
        "The sentinel of a base backup cannot be read, so the backup cannot be restored by name.",
        "Look at it with `wal-r st cat`; repair it in a copy. The parts may be whole.";
    BackupPart, "backup.part",
        "A partition of a base backup is missing, empty, cut short or damaged.",
        "Restore another backup: the WAL from it onward leads to the same states.";
    BackupChain, "backup.chain",
        "A delta backup's chain is broken: a backup that it builds on is missing, unfinished or unreadable.",
        "Restore another backup; look for the parent where the chain was copied from.";
    BackupTar, "backup.tar",
        "A partition decodes, but it is no sound tar archive, or holds a member that no data directory has.",
        "Restore another backup.";
    BackupFiles, "backup.files",
        "The members of a base backup do not add up: sizes against the sentinel, files against the metadata, or a file that every data directory has.",
        "Restore another backup; compare with `wal-r backup-show`.";
    BackupLabel, "backup.label",
        "The backup_label is missing, there twice, or another backup's.",
        "Restore another backup. Without its own label recovery starts in the wrong place, and the result is corrupt.";
    BackupControl, "backup.control",
        "pg_control is missing, its CRC is wrong, or it is another cluster's.",
        "Restore another backup.";
    BackupPage, "backup.page",
        "A relation page does not match its checksum, and no full-page image in the WAL up to consistency replaces it.",
        "Restore another backup for this relation; an index can be rebuilt (REINDEX).";
    BackupTorn, "backup.torn",
        "A relation page does not match its checksum, and replay overwrites it with a full image before the backup is consistent. It was torn while the backup was taken, which is ordinary.",
        "Nothing.";
    BackupWal, "backup.wal",
        "WAL that a base backup needs to become consistent is missing or damaged: the backup cannot be used at all.",
        "Look for the segments; restore another backup; take a new one now if this was the newest.";
    BackupUnread, "backup.unread",
        "A base backup, or part of it, could not be judged: no codec or key for it here, or a store that did not answer.",
        "The cause is named. Audit again when it is gone.";
    BackupStale, "backup.stale",
        "The newest usable base backup is older than it may be.",
        "Look at the job that takes them.";
    WindowShort, "window.short",
        "The time that can be recovered to reaches back less far than it must.",
        "Keep base backups and their WAL longer.";
    LedgerChanged, "ledger.changed",
        "An object that was proven before has other bytes now. Archives are written once.",
        "Find out who rewrote it: access logs, versions of the object. Compare it with another copy before you trust it.";
    LedgerVanished, "ledger.vanished",
        "A segment that was proven before is gone although the archive still needs it.",
        "Find out who removed it.";
    AuditUnfinished, "audit.unfinished",
        "Objects were not read: the budget of the audit was spent, or its deadline had come. Nothing is claimed of them beyond their names.",
        "Give it more (`--budget-bytes`, `--budget-time`); with `--ledger` the next run goes on where this one ended.";
    LedgerUnusable, "ledger.unusable",
        "The ledger cannot be used, so nothing was read: without it an audit would read the whole archive again.",
        "The cause is named. A ledger can be thrown away: the next audit builds it anew.";
    AckUnreadable, "ack.unreadable",
        "The acknowledgement file cannot be read or understood, so nobody knows which findings count.",
        "Mend the line that is named; docs/audit.md shows the form.";
    AckExpired, "ack.expired",
        "An acknowledged loss has expired, so it counts again.",
        "Renew it in the acknowledgement file, or mend what it is about.";
    AckUnused, "ack.unused",
        "An acknowledgement matches nothing any more.",
        "Take it out of the file.";
}

impl FindingCode {
    /// The code of a dotted text, if there is one.
    pub fn parse(text: &str) -> Option<FindingCode> {
        FindingCode::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for FindingCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_read_back() {
        for code in FindingCode::ALL {
            assert_eq!(FindingCode::parse(code.as_str()), Some(*code));
            assert!(code.meaning().ends_with('.') && code.next().ends_with('.'), "{code}");
        }
    }
}
