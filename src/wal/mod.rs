//! WAL content: pages, records, and the verdict on a segment.
//!
//! In: plain bytes of WAL, cut anywhere. Out: page headers, records, faults with their LSN, one report per segment.
//! Never: does I/O, decompresses, keeps more than one record's head in memory, panics on bytes from outside.
//! Source: PostgreSQL `src/backend/access/transam/xlogreader.c`; the differences between 9.5 and 18 are named where
//! they matter.

pub mod blocks;
pub mod border;
pub mod crc;
pub mod decoder;
pub mod page;
pub mod record;
pub mod segment;

pub use blocks::{BlockRef, Relation};
pub use decoder::{Carry, Decoder, Rules, Step, WalFault};
pub use page::PageHeader;
pub use record::{Kind, PgTime, Record};
pub use segment::{End, Expect, FaultKind, Level, SegmentCheck, SegmentFault, SegmentReport};
