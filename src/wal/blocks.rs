//! Which pages a record is about, and whether it holds them whole.
//!
//! In: a record's header and the beginning of its body, [`KEPT_BLOCKS`] bytes of it or all. Out: [`BlockRef`]s, by id.
//! Never: looks into images or data; reads what does not add up as blocks (the record's CRC was right, so that is no
//! damage, but something this build does not know).
//! Source: PostgreSQL `xlogrecord.h`, `DecodeXLogRecord`.
//!
//! ```text
//! body: block header* | origin, top-level transaction | main-data header | payloads, in the order of the headers
//! block header: id u8 | fork and flags u8 | data length u16 | image header? | relation (12)? | block u32
//! image header: length u16 | hole offset u16 | flags u8 | hole length u16, if compressed and with a hole
//! ```

use super::page::take;
use super::record::{HEADER_LEN, RecordHeader};
use crate::pg::version::PgVersion;

/// Body bytes that all headers fit into: 33 blocks of 27 bytes at most, a transaction, an origin and the main data's.
pub(super) const KEPT_BLOCKS: usize = 33 * 27 + 5 + 3 + 5;

/// The highest id of a block: `XLR_MAX_BLOCK_ID`.
const MAX_ID: u8 = 32;

const FORK: u8 = 0x0F;
const HAS_IMAGE: u8 = 0x10;
const HAS_DATA: u8 = 0x20;
const WILL_INIT: u8 = 0x40;
const SAME_RELATION: u8 = 0x80;

const HAS_HOLE: u8 = 0x01;

/// The files of one relation, as WAL names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Relation {
    /// OID of its tablespace: 1663 is the default, 1664 the global one.
    pub tablespace: u32,
    /// OID of its database; 0 for shared relations.
    pub database: u32,
    /// Number of its file.
    pub number: u32,
}

/// One page that a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRef {
    /// Whose page.
    pub relation: Relation,
    /// 0 main, 1 free space map, 2 visibility map, 3 init.
    pub fork: u8,
    /// Number of the page within the fork.
    pub block: u32,
    /// The record holds the whole page.
    pub image: Option<Image>,
    /// Replay makes the page anew, whatever it held before.
    pub will_init: bool,
}

/// A page within a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Bytes as stored, hole left out, compressed if it is.
    pub len: u16,
    /// Replay puts it in the page's place. False where it is there only for checking (`wal_consistency_checking`).
    pub applies: bool,
}

impl BlockRef {
    /// Replay of the record writes the page whole: what it held before does not matter.
    pub fn restores_page(&self) -> bool {
        self.will_init || self.image.is_some_and(|image| image.applies)
    }
}

/// The pages of a record. `None`: what is kept of the body does not add up to what the header announces.
pub(super) fn parse(header: &RecordHeader, kept: &[u8], version: PgVersion) -> Option<Vec<BlockRef>> {
    let body_len = (header.total_len as usize).checked_sub(HEADER_LEN)?;
    let mut rest = kept;
    let mut blocks: Vec<BlockRef> = Vec::new();
    let mut last_id = None;
    let mut payload = 0;
    // What is not header yet; the headers end where the payloads announced fill the rest.
    let left = |rest: &[u8]| body_len.checked_sub(kept.len() - rest.len());
    while left(rest)? > payload {
        let [id] = take(&mut rest)?;
        match id {
            252 if version.is_at_least(14) => drop(take::<4>(&mut rest)?),
            253 => drop(take::<2>(&mut rest)?),
            254 => {
                payload = payload.checked_add(u32::from_le_bytes(take(&mut rest)?) as usize)?;
                break;
            }
            255 => {
                let [len] = take(&mut rest)?;
                payload += usize::from(len);
                break;
            }
            0..=MAX_ID if last_id.is_none_or(|last| id > last) => {
                last_id = Some(id);
                let before = blocks.last().map(|block| block.relation);
                let (block, data_len) = block(&mut rest, before, version)?;
                payload += data_len + block.image.map_or(0, |image| usize::from(image.len));
                blocks.push(block);
            }
            _ => return None,
        }
    }
    (left(rest)? == payload).then_some(blocks)
}

/// One block header behind its id, and the length of its data.
fn block(rest: &mut &[u8], before: Option<Relation>, version: PgVersion) -> Option<(BlockRef, usize)> {
    let [flags] = take(rest)?;
    let data_len = u16::from_le_bytes(take(rest)?);
    if (flags & HAS_DATA != 0) != (data_len > 0) {
        return None;
    }
    let image = if flags & HAS_IMAGE == 0 { None } else { Some(image(rest, version)?) };
    let relation = if flags & SAME_RELATION == 0 {
        Relation { tablespace: int(rest)?, database: int(rest)?, number: int(rest)? }
    } else {
        before?
    };
    let block = BlockRef { relation, fork: flags & FORK, block: int(rest)?, image, will_init: flags & WILL_INIT != 0 };
    Some((block, data_len.into()))
}

fn image(rest: &mut &[u8], version: PgVersion) -> Option<Image> {
    let (len, hole_offset) = (u16::from_le_bytes(take(rest)?), u16::from_le_bytes(take(rest)?));
    let [flags] = take(rest)?;
    let (compressed, applies) = if version.is_at_least(15) {
        (flags & 0x1C != 0, flags & 0x02 != 0)
    } else {
        // Up to 9.6 every image is for replay.
        (flags & 0x02 != 0, flags & 0x04 != 0 || !version.is_at_least(10))
    };
    let has_hole = flags & HAS_HOLE != 0;
    let hole_len = if compressed && has_hole { Some(u16::from_le_bytes(take(rest)?)) } else { None };
    let sound = match (has_hole, compressed) {
        (true, _) => hole_offset > 0 && hole_len != Some(0),
        (false, true) => hole_offset == 0,
        // The page itself. Its size is not in the WAL, but it is a power of two.
        (false, false) => hole_offset == 0 && len.is_power_of_two(),
    };
    sound.then_some(Image { len, applies })
}

fn int(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests;
