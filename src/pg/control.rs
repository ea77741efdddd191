//! `global/pg_control`: which cluster this is, where recovery starts, and the sizes everything else depends on.
//!
//! In: the file's bytes (8 KiB; the first 296 are enough). Out: [`ControlFile`], its CRC verified.
//! Never: trusts a field before the CRC over all of them, or guesses the layout of an unknown version.
//! Source: PostgreSQL `src/include/catalog/pg_control.h` of 9.5 to 18 (little-endian, 8-byte alignment).
//!
//! ```text
//! 0 system_identifier u64 | 8 control version u32 | 12 catalog version u32 | 16 state u32 | 24 time i64
//! 32 checkPoint LSN       | 9.5-10: 40 previous checkpoint
//! 48 or 40                  copy of the checkpoint record: redo LSN, timeline u32, previous timeline u32 …
//! 128 or 120 unloggedLSN  | +8 minRecoveryPoint, +16 its timeline | +24 backup start | +32 backup end | +40 required
//! 216 or 208 blcksz | +4 relseg_size | +8 xlog_blcksz | +12 xlog_seg_size | +36 data_checksum_version
//! 256..292   CRC-32C of everything before it
//! ```

use super::version::PgVersion;
use super::{Lsn, SegmentSize, SystemId, TimelineId};

/// What the cluster was doing when the file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClusterState {
    /// 0
    StartingUp,
    /// 1: cleanly stopped.
    ShutDown,
    /// 2: a standby, cleanly stopped.
    ShutDownInRecovery,
    /// 3
    ShuttingDown,
    /// 4
    InCrashRecovery,
    /// 5: a standby or a restore, running; also what a backup taken on a standby shows.
    InArchiveRecovery,
    /// 6
    InProduction,
}

/// The fields of pg_control that a reader of archives needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// Which cluster.
    pub system: SystemId,
    /// Its major version.
    pub version: PgVersion,
    /// Catalog version number, also part of the names of tablespace folders (`PG_13_202007201`).
    pub catalog_version: u32,
    /// What it was doing.
    pub state: ClusterState,
    /// When the file was last written. Unix seconds.
    pub time: i64,
    /// Where the last checkpoint's record starts.
    pub checkpoint: Lsn,
    /// Where replay starts from that checkpoint.
    pub redo: Lsn,
    /// Timeline of the checkpoint.
    pub timeline: TimelineId,
    /// Timeline before it; another one when the checkpoint began a timeline.
    pub previous_timeline: TimelineId,
    /// When the checkpoint was made. Unix seconds.
    pub checkpoint_time: i64,
    /// Replay must reach this place before the data are consistent. `0/0`: none.
    pub min_recovery: Lsn,
    /// Timeline of `min_recovery`; 0 in the file where there is none.
    pub min_recovery_timeline: Option<TimelineId>,
    /// Start of the backup that is being replayed. `0/0`: none, or its end was reached.
    pub backup_start: Lsn,
    /// End of a backup that was taken on a standby. `0/0`: none.
    pub backup_end: Lsn,
    /// Must a backup's end record be met before the data are consistent?
    pub backup_end_required: bool,
    /// `wal_level` as its number in this version.
    pub wal_level: i32,
    /// Bytes of a relation page; 8192.
    pub block_size: u32,
    /// Pages of one file of a relation; 131072 (1 GiB).
    pub blocks_per_file: u32,
    /// Bytes of a WAL page; 8192.
    pub wal_block_size: u32,
    /// Bytes of a WAL segment.
    pub segment_size: SegmentSize,
    /// 0: relation pages carry no checksums.
    pub data_checksum_version: u32,
}

/// Why a pg_control cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Fewer bytes than its version's fields take.
    #[error("has {got} bytes, at least {want} are needed")]
    Short {
        /// Bytes there are.
        got: usize,
        /// Bytes there should be.
        want: usize,
    },
    /// Written by a machine of the other byte order.
    #[error("was written on a big-endian machine, which is not supported")]
    BigEndian,
    /// Of a version whose layout is not known here.
    #[error("has control version {control_version} (catalog {catalog_version}), which is not supported")]
    Unsupported {
        /// `pg_control_version`.
        control_version: u32,
        /// `catalog_version_no`.
        catalog_version: u32,
    },
    /// The checksum does not fit: torn, damaged, or no pg_control.
    #[error("has checksum {stored:08x}, computed {computed:08x}")]
    Checksum {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// The checksum fits and yet a field is impossible.
    #[error("has an impossible {0}")]
    Field(&'static str),
}

/// Where the blocks of fields lie in one version.
struct Layout {
    checkpoint: usize,
    checkpoint_time: usize,
    // Of unloggedLSN; the recovery fields follow it at fixed distances.
    unlogged: usize,
    // Of blcksz; the size fields follow it.
    sizes: usize,
    crc: usize,
}

impl Layout {
    fn of(version: PgVersion) -> Option<Layout> {
        let (checkpoint, checkpoint_time, unlogged, sizes, crc) = match version.major() {
            9 if version >= PgVersion::OLDEST => (48, 56, 128, 216, 256),
            10 => (48, 56, 128, 216, 288),
            11 => (40, 56, 120, 208, 280),
            12..=17 => (40, 64, 128, 216, 288),
            18 => (40, 64, 128, 216, 292),
            _ => return None,
        };
        Some(Layout { checkpoint, checkpoint_time: checkpoint + checkpoint_time, unlogged, sizes, crc })
    }
}

impl ControlFile {
    /// Bytes of the file as the server writes it, most of them zero.
    pub const FILE_SIZE: usize = 8192;

    /// Judge and read a pg_control. Bytes behind its CRC are not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, ControlError> {
        let (control_version, catalog_version) = (u32_at(bytes, 8)?, u32_at(bytes, 12)?);
        let unsupported = ControlError::Unsupported { control_version, catalog_version };
        if control_version % 65536 == 0 && control_version != 0 {
            // As the server does: the small number stands in the other half.
            return Err(ControlError::BigEndian);
        }
        let version = PgVersion::from_control(control_version, catalog_version).ok_or(unsupported)?;
        let layout = Layout::of(version).ok_or(unsupported)?;
        let stored = u32_at(bytes, layout.crc)?;
        let computed = crc32c::crc32c(bytes.get(..layout.crc).unwrap_or_default());
        if stored != computed {
            return Err(ControlError::Checksum { stored, computed });
        }
        let lsn = |offset| u64_at(bytes, offset).map(Lsn);
        let timeline = |offset, name| TimelineId::new(u32_at(bytes, offset)?).ok_or(ControlError::Field(name));
        Ok(ControlFile {
            system: SystemId(u64_at(bytes, 0)?),
            version,
            catalog_version,
            state: match u32_at(bytes, 16)? {
                0 => ClusterState::StartingUp,
                1 => ClusterState::ShutDown,
                2 => ClusterState::ShutDownInRecovery,
                3 => ClusterState::ShuttingDown,
                4 => ClusterState::InCrashRecovery,
                5 => ClusterState::InArchiveRecovery,
                6 => ClusterState::InProduction,
                _ => return Err(ControlError::Field("state")),
            },
            time: u64_at(bytes, 24)?.cast_signed(),
            checkpoint: lsn(32)?,
            redo: lsn(layout.checkpoint)?,
            timeline: timeline(layout.checkpoint + 8, "timeline")?,
            previous_timeline: timeline(layout.checkpoint + 12, "previous timeline")?,
            checkpoint_time: u64_at(bytes, layout.checkpoint_time)?.cast_signed(),
            min_recovery: lsn(layout.unlogged + 8)?,
            min_recovery_timeline: TimelineId::new(u32_at(bytes, layout.unlogged + 16)?),
            backup_start: lsn(layout.unlogged + 24)?,
            backup_end: lsn(layout.unlogged + 32)?,
            backup_end_required: bytes.get(layout.unlogged + 40).is_some_and(|flag| *flag != 0),
            wal_level: u32_at(bytes, layout.unlogged + 44)?.cast_signed(),
            block_size: u32_at(bytes, layout.sizes)?,
            blocks_per_file: u32_at(bytes, layout.sizes + 4)?,
            wal_block_size: u32_at(bytes, layout.sizes + 8)?,
            segment_size: SegmentSize::new(u32_at(bytes, layout.sizes + 12)?.into())
                .ok_or(ControlError::Field("segment size"))?,
            data_checksum_version: u32_at(bytes, layout.sizes + 36)?,
        })
    }

    /// Do relation pages carry checksums?
    pub fn has_page_checksums(&self) -> bool {
        self.data_checksum_version != 0
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Result<u32, ControlError> {
    array_at(bytes, offset).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Result<u64, ControlError> {
    array_at(bytes, offset).map(u64::from_le_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], ControlError> {
    let field = bytes.get(offset..).and_then(|rest| rest.first_chunk::<N>());
    field.copied().ok_or(ControlError::Short { got: bytes.len(), want: offset + N })
}
