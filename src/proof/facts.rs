//! What was learnt of one stored segment, and what is remembered of it.
//!
//! In: what a check read. Out: [`SegmentProof`]: which version of which object, how closely it was looked at, and either
//! what it holds ([`SegmentFacts`]), what is wrong, or why nobody could tell. Never: bytes of the WAL itself.

use super::finding::FindingCode;
use crate::catalog::inventory::StoredSegment;
use crate::error::Answer;
use crate::layout::ObjectKey;
use crate::pg::{Lsn, SegmentName, SegmentSize, SystemId};
use crate::storage::ObjectId;
use crate::wal::Carry;
use crate::wal::record::PgTime;
use serde::{Deserialize, Serialize};

/// How closely an archive is looked at, and so what may be claimed of it. Each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// One listing: every segment between a backup's start and the end of its timeline path is there; every backup has
    /// its parts.
    Names,
    /// Every byte: every object decodes, its container's checksums hold, its size is exact.
    Decode,
    /// Every byte: each page says that it belongs where it is.
    Headers,
    /// Every byte: every record's CRC and link, within and across segments and timelines; commit times.
    Records,
}

impl Level {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Level::Names => "names",
            Level::Decode => "decode",
            Level::Headers => "headers",
            Level::Records => "records",
        }
    }

    /// What may be said of an archive in which this level found nothing: a whole sentence.
    pub fn claim(self) -> &'static str {
        match self {
            Level::Names => {
                "Every segment between a base backup's start and the end of its timelines is there by name, and every \
                 base backup has its parts. Nothing was read: the content is not vouched for."
            }
            Level::Decode => {
                "Everything that the names promise; and every object decodes to its end, its container's checksums hold, \
                 and its size is exact. Containers without checksums can still hide a flipped bit."
            }
            Level::Headers => {
                "All of `decode`; and every WAL page says that it belongs where it is: cluster, timeline, address and \
                 segment size. Records within the pages are not checked."
            }
            Level::Records => {
                "All of `headers`; and every WAL record's CRC and its link to the record before it hold, within segments, \
                 across them and across timelines. What can be recovered is known to the commit."
            }
        }
    }
}

/// One stored form of a segment, read once.
#[derive(Debug, Clone)]
pub struct SegmentProof {
    /// Which segment.
    pub name: SegmentName,
    /// Which version of which object.
    pub object: ObjectId,
    /// How closely it was looked at.
    pub level: Level,
    /// What came of it.
    pub outcome: Outcome,
}

/// What reading a segment came to: three of the four answers (absence is a matter of the listing).
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It holds what its name and the level promise.
    Good(Box<SegmentFacts>),
    /// It is there and it is wrong.
    Damaged {
        /// Which kind of wrong.
        code: FindingCode,
        /// Where, where that can be told.
        lsn: Option<Lsn>,
        /// One clause.
        what: String,
    },
    /// It could not be judged: the store, a codec or a key is missing, or its version is not known here.
    Unknown {
        /// One clause with its causes.
        what: String,
    },
}

/// What a good segment holds. Fields that a level does not read are `None`, empty or 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentFacts {
    /// Its size, bytes.
    pub size: u32,
    /// Its cluster.
    pub system: Option<SystemId>,
    /// Magic of its pages.
    pub magic: Option<u16>,
    /// Timelines of its first and last page.
    pub timelines: (u32, u32),
    /// Start of the first record that starts in it.
    pub first_record: Option<Lsn>,
    /// Start of the last complete record that starts in it or crosses into it.
    pub last_record: Option<Lsn>,
    /// Complete records.
    pub records: u64,
    /// Bytes at its start that belong to a record begun before it and were not checked. 0 when it was chained.
    pub unchecked_head: u64,
    /// It was checked as the continuation of the segment before it: the record that crosses, and the link.
    pub chained: bool,
    /// An XLOG_SWITCH ends it.
    pub switched: bool,
    /// Bytes that no checksum covers and that are not zero.
    pub odd_bytes: u64,
    /// Where the first of them is.
    pub odd_at: Option<Lsn>,
    /// Commits and aborts.
    pub times: Times,
    /// What else matters for recovery, in order of LSN. At most [`MAX_MARKS`].
    pub marks: Vec<Mark>,
    /// Marks beyond that number, not kept.
    pub more_marks: u64,
    /// State for the segment behind it. At [`Level::Records`] only. Boxed, as it is taken out of most.
    pub carry: Option<Box<Carry>>,
}

/// Marks that are kept of one segment: restore points can be made in a loop.
pub const MAX_MARKS: usize = 1000;

/// Commit and abort records of a stretch of WAL. A recovery to a time can stop at either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Commits, of prepared transactions too.
    pub commits: u64,
    /// Aborts, of prepared transactions too.
    pub aborts: u64,
    /// The first of either: place and time.
    pub first: Option<(Lsn, PgTime)>,
    /// The last of either.
    pub last: Option<(Lsn, PgTime)>,
    /// The latest time of either. Times are not monotonic along the WAL.
    pub max: Option<(Lsn, PgTime)>,
    /// The last commit.
    pub last_commit: Option<(Lsn, PgTime)>,
}

impl Times {
    /// One more record, behind those that were seen.
    pub fn add(&mut self, at: Lsn, time: PgTime, commit: bool) {
        if commit {
            self.commits += 1;
            self.last_commit = Some((at, time));
        } else {
            self.aborts += 1;
        }
        self.first = self.first.or(Some((at, time)));
        self.last = Some((at, time));
        if self.max.is_none_or(|(_, max)| time > max) {
            self.max = Some((at, time));
        }
    }

    /// The times of this stretch and the one behind it.
    #[must_use]
    pub fn and(self, behind: Times) -> Times {
        let later = match (self.max, behind.max) {
            (Some(a), Some(b)) => Some(if b.1 > a.1 { b } else { a }),
            (a, b) => a.or(b),
        };
        Times {
            commits: self.commits + behind.commits,
            aborts: self.aborts + behind.aborts,
            first: self.first.or(behind.first),
            last: behind.last.or(self.last),
            max: later,
            last_commit: behind.last_commit.or(self.last_commit),
        }
    }
}

/// A record that decides what a recovery can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its first byte.
    pub at: Lsn,
    /// Behind it.
    pub end: Lsn,
    /// What it is.
    pub kind: MarkKind,
    /// Commits and aborts of this segment before it.
    pub before: Times,
}

/// What a [`Mark`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// A checkpoint, and where replay from it starts.
    Checkpoint {
        /// Where replay starts.
        redo: Lsn,
        /// Taken while nothing else wrote.
        shutdown: bool,
    },
    /// A timeline begins here.
    TimelineBegins {
        /// The new one.
        timeline: u32,
        /// The one it left.
        previous: u32,
    },
    /// A named target.
    RestorePoint {
        /// Its name.
        name: String,
        /// When.
        time: PgTime,
    },
    /// The end of a base backup: it is consistent behind this record.
    BackupEnd {
        /// The start LSN of the backup that ended.
        start: Lsn,
    },
    /// A record begun before was given up.
    Overwrite {
        /// Where that one started.
        abandoned: Lsn,
    },
    /// `wal_level` as it is from here on; 0 is minimal, which no recovery survives.
    WalLevel(i32),
}

/// What is remembered of objects that were read before.
pub trait Memory: Send {
    /// What is known of this version of this object.
    fn recall(&mut self, object: &ObjectId) -> Answer<Recall>;

    /// The same from what the listing tells, so that nothing need be asked of the store for what is known.
    fn recall_listed(&mut self, stored: &StoredSegment) -> Answer<Recall>;

    /// The segments that were looked at longest ago, at most so many: those to look at again first.
    fn oldest(&mut self, count: u64) -> Answer<Vec<ObjectKey>>;

    /// Keep what was learnt. Called in any order; crash-safe at any call.
    fn remember(&mut self, proof: &SegmentProof) -> Answer<()>;
}

/// What a [`Memory`] knows of an object.
#[derive(Debug, Clone)]
pub enum Recall {
    /// Nothing.
    New,
    /// This very version was read before.
    Same(Box<SegmentProof>),
    /// Another version was read before and was good then.
    Changed(Box<SegmentProof>),
}

/// Memory of nothing: everything is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forgetful;

impl Memory for Forgetful {
    fn recall(&mut self, _object: &ObjectId) -> Answer<Recall> {
        Ok(Recall::New)
    }

    fn recall_listed(&mut self, _stored: &StoredSegment) -> Answer<Recall> {
        Ok(Recall::New)
    }

    fn oldest(&mut self, _count: u64) -> Answer<Vec<ObjectKey>> {
        Ok(Vec::new())
    }

    fn remember(&mut self, _proof: &SegmentProof) -> Answer<()> {
        Ok(())
    }
}

impl SegmentFacts {
    /// Its size as a checked one.
    pub fn segment_size(&self) -> Option<SegmentSize> {
        SegmentSize::new(u64::from(self.size))
    }
}
