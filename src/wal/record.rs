//! Records: their header, and the few kinds that matter to somebody who keeps archives.
//!
//! In: a record's 24 header bytes and the beginning of its body. Out: [`Record`] with its [`Kind`].
//! Never: looks into block images or table data; takes a body it cannot follow for damage (the CRC was right: then it is
//! [`Kind::Other`]).
//! Source: PostgreSQL `xlogrecord.h`, `xact.h`, `pg_control.h`, `xlog_internal.h`, `DecodeXLogRecord`.

use super::blocks::BlockRef;
use super::page::take;
use crate::pg::Lsn;
use crate::pg::version::PgVersion;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 24;
/// No record is longer: PostgreSQL allocates at most one byte less than 1 GiB for one.
pub const MAX_LEN: u32 = 0x3FFF_FFFF;

/// The resource manager that speaks of the log itself.
pub const RM_XLOG: u8 = 0;
/// The resource manager of transactions.
pub const RM_XACT: u8 = 1;

/// The resource manager of databases.
pub const RM_DATABASE: u8 = 4;

/// `xl_info` of XLOG_SWITCH, masked.
pub const XLOG_SWITCH: u8 = 0x40;
/// `xl_info` of XLOG_OVERWRITE_CONTRECORD, masked.
pub const XLOG_OVERWRITE: u8 = 0xD0;

/// Body bytes that [`Kind`] is read from: enough for every XLOG record and for a commit up to its subtransactions.
pub(super) const KEPT: usize = 256;
/// The same for prepared transactions' ends, whose own number lies behind lists of any length.
pub(super) const KEPT_PREPARED: usize = 64 << 10;

/// Microseconds since 2000-01-01 00:00:00 UTC (`TimestampTz`). Servers of 9.5 and 9.6 that were built with
/// floating-point timestamps wrote a double here; the WAL does not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct PgTime(pub i64);

impl PgTime {
    /// Microseconds since 1970, unless that overflows.
    pub fn unix_micros(self) -> Option<i64> {
        self.0.checked_add(946_684_800_000_000)
    }
}

/// The fixed header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the whole record, this header included, padding behind it not.
    pub total_len: u32,
    /// Transaction, or 0.
    pub xid: u32,
    /// Start of the record before this one.
    pub prev: Lsn,
    /// Flags; the high half-byte belongs to the resource manager.
    pub info: u8,
    /// Resource manager.
    pub rmid: u8,
    /// CRC-32C as stored.
    pub crc: u32,
}

impl RecordHeader {
    /// From its 24 bytes.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let [t0, t1, t2, t3, x0, x1, x2, x3, p0, p1, p2, p3, p4, p5, p6, p7, info, rmid, _, _, c0, c1, c2, c3] = *bytes;
        RecordHeader {
            total_len: u32::from_le_bytes([t0, t1, t2, t3]),
            xid: u32::from_le_bytes([x0, x1, x2, x3]),
            prev: Lsn(u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7])),
            info,
            rmid,
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
        }
    }

    /// XLOG_SWITCH: nothing else follows in this segment.
    pub fn is_switch(&self) -> bool {
        self.rmid == RM_XLOG && self.info & 0xF0 == XLOG_SWITCH
    }

    /// XLOG_OVERWRITE_CONTRECORD.
    pub fn is_overwrite(&self) -> bool {
        self.rmid == RM_XLOG && self.info & 0xF0 == XLOG_OVERWRITE
    }

    /// Resource managers that this version has.
    pub fn has_known_rmid(&self, version: PgVersion) -> bool {
        match self.rmid {
            0..=19 => true,
            20 | 21 => version > PgVersion::OLDEST,
            128.. => version.is_at_least(15),
            _ => false,
        }
    }

    /// How many body bytes to keep for [`Kind`].
    pub(super) fn kept(&self) -> usize {
        match (self.rmid, self.info & 0x70) {
            (RM_XACT, 0x30 | 0x40) => KEPT_PREPARED,
            (RM_XLOG | RM_XACT | RM_DATABASE, _) => KEPT,
            _ => 0,
        }
    }
}

/// One complete record whose CRC is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// LSN of its first byte.
    pub start: Lsn,
    /// LSN behind it and its padding: what PostgreSQL calls its end.
    pub end: Lsn,
    /// Its header.
    pub header: RecordHeader,
    /// What it says, for the kinds that we know.
    pub kind: Kind,
    /// The pages it is about, where that was asked for (`Rules::blocks`) and its headers add up.
    pub blocks: Option<Vec<BlockRef>>,
}

/// The kinds of records that decide what an archive can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// COMMIT, COMMIT_PREPARED.
    Commit {
        /// When, by the clock of the server; not monotonic along the WAL.
        time: PgTime,
        /// The transaction; `None` for a prepared one whose number lies behind more than 64 KiB of lists.
        xid: Option<u32>,
    },
    /// ABORT, ABORT_PREPARED. A recovery to a time can stop here too.
    Abort {
        /// As above.
        time: PgTime,
        /// As above.
        xid: Option<u32>,
    },
    /// CHECKPOINT_SHUTDOWN and CHECKPOINT_ONLINE.
    Checkpoint {
        /// Where replay from it starts.
        redo: Lsn,
        /// Timeline it is on.
        timeline: u32,
        /// Timeline before; different only in a shutdown checkpoint that begins a timeline.
        previous_timeline: u32,
        /// Unix seconds.
        time: i64,
        /// Taken while nothing else wrote.
        shutdown: bool,
    },
    /// END_OF_RECOVERY: a timeline begins here.
    EndOfRecovery {
        /// When.
        time: PgTime,
        /// The new timeline.
        timeline: u32,
        /// The one it left.
        previous_timeline: u32,
    },
    /// RESTORE_POINT: a named target.
    RestorePoint {
        /// When.
        time: PgTime,
        /// Its name; bytes that are no UTF-8 are replaced.
        name: String,
    },
    /// BACKUP_END.
    BackupEnd {
        /// The start LSN of the backup that ended.
        start: Lsn,
    },
    /// SWITCH: the rest of the segment is unused.
    Switch,
    /// OVERWRITE_CONTRECORD: a record begun before will never be finished.
    OverwriteContrecord {
        /// Start of the abandoned record.
        abandoned: Lsn,
        /// When.
        time: PgTime,
    },
    /// PARAMETER_CHANGE.
    ParameterChange {
        /// As stored: 0 is minimal, which no recovery survives.
        wal_level: i32,
    },
    /// CHECKPOINT_REDO (17 and later): where replay from an online checkpoint starts.
    CheckpointRedo {
        /// As above.
        wal_level: i32,
    },
    /// DBASE_CREATE by copying files (the only way up to 14): replay copies the whole directory of the template anew.
    DatabaseCopied {
        /// OID of the new database.
        database: u32,
        /// OID of its tablespace.
        tablespace: u32,
    },
    /// Anything else.
    Other,
}

impl Kind {
    /// From a header and the beginning of the body. `body` is all of it, or its first [`KEPT`] bytes.
    pub(super) fn parse(header: &RecordHeader, body: &[u8], version: PgVersion) -> Kind {
        if header.is_switch() {
            return Kind::Switch;
        }
        let known = match header.rmid {
            RM_XLOG => main_data(body).and_then(|data| xlog(header, data, version)),
            RM_XACT => main_data(body).and_then(|data| xact(header, data, version)),
            RM_DATABASE if header.info & 0xF0 == 0 => main_data(body).and_then(database_copied),
            _ => None,
        };
        known.unwrap_or(Kind::Other)
    }

    /// The timeline that begins with this record.
    pub fn begins_timeline(&self) -> Option<u32> {
        match *self {
            Kind::EndOfRecovery { timeline, .. } => Some(timeline),
            Kind::Checkpoint { timeline, previous_timeline, shutdown: true, .. } if timeline != previous_timeline => {
                Some(timeline)
            }
            _ => None,
        }
    }
}

/// The main data of a record without block references: behind the optional top-level transaction and origin, and the
/// main-data header. `None` with blocks, whose payloads would come first.
fn main_data(body: &[u8]) -> Option<&[u8]> {
    let mut rest = body;
    loop {
        let [id] = take(&mut rest)?;
        match id {
            252 => drop(take::<4>(&mut rest)?),
            253 => drop(take::<2>(&mut rest)?),
            254 => {
                let len = u32::from_le_bytes(take(&mut rest)?);
                return Some(rest.get(..usize::try_from(len).ok()?).unwrap_or(rest));
            }
            255 => {
                let [len] = take(&mut rest)?;
                return Some(rest.get(..usize::from(len)).unwrap_or(rest));
            }
            _ => return None,
        }
    }
}

fn int32(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_le_bytes)
}

fn int64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

fn time(rest: &mut &[u8]) -> Option<PgTime> {
    take(rest).map(i64::from_le_bytes).map(PgTime)
}

fn xlog(header: &RecordHeader, mut data: &[u8], version: PgVersion) -> Option<Kind> {
    let data = &mut data;
    Some(match header.info & 0xF0 {
        info @ (0x00 | 0x10) => {
            let (redo, timeline, previous_timeline) = (Lsn(int64(data)?), int32(data)?, int32(data)?);
            // The time lies at 56 up to 11 and at 64 from 12; 16 bytes are read by now.
            let skip = if version.is_at_least(12) { 64 - 16 } else { 56 - 16 };
            let time = i64::from_le_bytes(*data.get(skip..)?.first_chunk()?);
            Kind::Checkpoint { redo, timeline, previous_timeline, time, shutdown: info == 0 }
        }
        0x50 => Kind::BackupEnd { start: Lsn(int64(data)?) },
        0x60 => {
            let at = if version.is_at_least(12) { 20 } else { 16 };
            Kind::ParameterChange { wal_level: i32::from_le_bytes(*data.get(at..)?.first_chunk()?) }
        }
        0x70 => {
            let time = time(data)?;
            let name = data.split(|byte| *byte == 0).next().unwrap_or_default();
            Kind::RestorePoint { time, name: String::from_utf8_lossy(name).into_owned() }
        }
        0x90 => Kind::EndOfRecovery { time: time(data)?, timeline: int32(data)?, previous_timeline: int32(data)? },
        0xE0 => Kind::CheckpointRedo { wal_level: i32::from_le_bytes(take(data)?) },
        XLOG_OVERWRITE => Kind::OverwriteContrecord { abandoned: Lsn(int64(data)?), time: time(data)? },
        _ => return None,
    })
}

/// `xl_dbase_create_rec`, which is `xl_dbase_create_file_copy_rec` since 15.
fn database_copied(mut data: &[u8]) -> Option<Kind> {
    Some(Kind::DatabaseCopied { database: int32(&mut data)?, tablespace: int32(&mut data)? })
}

fn xact(header: &RecordHeader, mut data: &[u8], version: PgVersion) -> Option<Kind> {
    let data = &mut data;
    let operation = header.info & 0x70;
    let (commit, prepared) = match operation {
        0x00 => (true, false),
        0x20 => (false, false),
        0x30 => (true, true),
        0x40 => (false, true),
        _ => return None,
    };
    let time = time(data)?;
    let xid = if prepared { prepared_xid(header.info, data, version) } else { Some(header.xid) };
    Some(if commit { Kind::Commit { time, xid } } else { Kind::Abort { time, xid } })
}

/// The number of the transaction that was prepared: behind what the extra-info word announces.
fn prepared_xid(info: u8, data: &mut &[u8], version: PgVersion) -> Option<u32> {
    let parts = if info & 0x80 == 0 { 0 } else { int32(data)? };
    if parts & 0x001 != 0 {
        int64(data)?; // database and tablespace
    }
    // Each a count and that many entries: subtransactions, relations, dropped statistics, invalidations.
    let statistics = if version.is_at_least(18) { 16 } else { 12 };
    for (part, entry_len) in [(0x002, 4), (0x004, 12), (0x100, statistics), (0x008, 16)] {
        if parts & part != 0 {
            let len = usize::try_from(int32(data)?).ok()?.checked_mul(entry_len)?;
            *data = data.get(len..)?;
        }
    }
    if parts & 0x010 == 0 { None } else { int32(data) }
}

#[cfg(test)]
mod tests;
