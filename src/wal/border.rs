//! Two segments, each good by itself: do they belong together?
//!
//! In: the [`Carry`] of the first one, the beginning of the second one's bytes, cut anywhere. Out: what crosses the border,
//! or where it breaks. Never: reads further than to the first record that the second segment's own check has checked.

use super::decoder::{Carry, Decoder, Rules, Step};
use super::record::Record;
use crate::pg::{Lsn, SegmentSize, TimelineId};

/// Reads a segment from the carry of the one before it, up to where nothing is open any more: until a record that starts
/// at `own` or behind was checked.
#[derive(Debug)]
pub struct Joining {
    decoder: Decoder,
    own: Lsn,
    crossing: Option<Record>,
}

/// Where two segments do not belong together, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The page or record that does not fit.
    pub lsn: Lsn,
    /// One clause.
    pub what: String,
}

/// What the carry of the segment before it adds to a segment that was read alone.
#[derive(Debug)]
pub struct Joined {
    /// Bytes at its start that are not checked even so: their record began before anything that was read.
    pub unchecked_head: u64,
    /// The record that crossed into it, where it ends in it.
    pub crossing: Option<Record>,
    /// Its end, where that is another one now: the segment ended, and no record that starts in it was checked.
    pub carry: Option<Carry>,
}

impl Joining {
    /// For the segment of this timeline behind the carry; `size` where it is known.
    pub fn new(carry: &Carry, timeline: TimelineId, size: Option<SegmentSize>, own: Lsn) -> Joining {
        let rules = Rules { start: carry.lsn, timeline, size, system: None, records: true, blocks: false };
        Joining { decoder: Decoder::resume(rules, carry), own, crossing: None }
    }

    /// The next plain bytes. `Ok(Some)`: nothing is open any more, and no more bytes are wanted.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Joined>, Broken> {
        let mut input = bytes;
        loop {
            match self.decoder.step(&mut input) {
                Ok(Step::NeedMore) => return Ok(None),
                Ok(Step::Record(record)) if record.start >= self.own => {
                    let unchecked_head = self.decoder.unchecked_head();
                    return Ok(Some(Joined { unchecked_head, crossing: self.crossing.take(), carry: None }));
                }
                Ok(Step::Record(record)) => self.crossing = Some(record),
                Ok(Step::EndOfWal { at }) => return Err(Broken { lsn: at, what: "the WAL ends here".to_owned() }),
                Err(fault) => return Err(Broken { lsn: fault.lsn, what: fault.what }),
            }
        }
    }

    /// The segment's last byte was pushed. `None`: it ended before its end.
    pub fn finish(mut self) -> Option<Joined> {
        let carry = Some(self.decoder.carry()?);
        let unchecked_head = self.decoder.unchecked_head();
        Some(Joined { unchecked_head, crossing: self.crossing.take(), carry })
    }
}

#[cfg(test)]
mod tests;
