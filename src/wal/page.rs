//! Page headers: what stands at the start of every page of WAL.
//!
//! In: the first 24 or 40 bytes of a page. Out: [`PageHeader`], its fields as they are.
//! Never: judges them; `decoder` knows what a page at its place must say.
//! Source: PostgreSQL `src/include/access/xlog_internal.h` (`XLogPageHeaderData`, `XLogLongPageHeaderData`).
//!
//! ```text
//! 0 magic u16 | 2 info u16 | 4 timeline u32 | 8 address u64 | 16 remaining u32 | 20 zero u32
//! long: 24 system u64 | 32 segment size u32 | 36 page size u32
//! ```

use crate::pg::{Lsn, SystemId};

/// Bytes of a page header on all pages but a segment's first.
pub const SHORT_LEN: usize = 24;
/// Bytes of the header on a segment's first page.
pub const LONG_LEN: usize = 40;

/// The page begins with the rest of a record begun on an earlier page.
pub const CONTINUED: u16 = 0x0001;
/// The header is the long one.
pub const LONG: u16 = 0x0002;
/// Informational; ignored.
pub const REMOVABLE: u16 = 0x0004;
/// The page begins with an OVERWRITE_CONTRECORD record: what was begun before will never be finished.
pub const OVERWRITE: u16 = 0x0008;

/// A page header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// Which major version wrote it.
    pub magic: u16,
    /// Flags: [`CONTINUED`], [`LONG`], [`REMOVABLE`], [`OVERWRITE`].
    pub info: u16,
    /// Timeline of the first record on the page.
    pub timeline: u32,
    /// LSN of the page's first byte.
    pub address: Lsn,
    /// Bytes of the continued record still to come, those on this page included; 0 when the page starts with a record.
    pub remaining: u32,
    /// Unused, always zero.
    pub padding: u32,
    /// What only a segment's first page says.
    pub long: Option<LongHeader>,
}

/// The long header's own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongHeader {
    /// Which cluster.
    pub system: SystemId,
    /// Bytes of a segment, as stated.
    pub segment_size: u32,
    /// Bytes of a page, as stated.
    pub page_size: u32,
}

impl PageHeader {
    /// The header at the start of a page. `None` when there are fewer than 24 bytes, or than 40 and it is a long one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let magic = u16::from_le_bytes(take(&mut rest)?);
        let info = u16::from_le_bytes(take(&mut rest)?);
        let timeline = u32::from_le_bytes(take(&mut rest)?);
        let address = Lsn(u64::from_le_bytes(take(&mut rest)?));
        let remaining = u32::from_le_bytes(take(&mut rest)?);
        let padding = u32::from_le_bytes(take(&mut rest)?);
        let long = if info & LONG == 0 {
            None
        } else {
            Some(LongHeader {
                system: SystemId(u64::from_le_bytes(take(&mut rest)?)),
                segment_size: u32::from_le_bytes(take(&mut rest)?),
                page_size: u32::from_le_bytes(take(&mut rest)?),
            })
        };
        Some(PageHeader { magic, info, timeline, address, remaining, padding, long })
    }

    /// The flag is set.
    pub fn is(&self, flag: u16) -> bool {
        self.info & flag != 0
    }

    /// The bytes as PostgreSQL lays them down, 24 or 40 of them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LONG_LEN);
        bytes.extend(self.magic.to_le_bytes());
        bytes.extend(self.info.to_le_bytes());
        bytes.extend(self.timeline.to_le_bytes());
        bytes.extend(self.address.0.to_le_bytes());
        bytes.extend(self.remaining.to_le_bytes());
        bytes.extend(self.padding.to_le_bytes());
        if let Some(long) = &self.long {
            bytes.extend(long.system.0.to_le_bytes());
            bytes.extend(long.segment_size.to_le_bytes());
            bytes.extend(long.page_size.to_le_bytes());
        }
        bytes
    }
}

/// The next `N` bytes, and `rest` behind them.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            match PageHeader::parse(&bytes) {
                Some(header) => {
                    let len = if header.is(LONG) { LONG_LEN } else { SHORT_LEN };
                    prop_assert_eq!(&header.to_bytes()[..], &bytes[..len]);
                }
                None => prop_assert!(bytes.len() < SHORT_LEN || (bytes.len() < LONG_LEN && bytes[2] & 2 != 0)),
            }
        }
    }
}
