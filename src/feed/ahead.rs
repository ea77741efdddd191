//! What comes next, and whether the archive has it.
//!
//! In: the way that recovery follows, listings of the archive. Out: the next segments' names, and how each is stored as far
//! as a listing told. Never: says that something is absent (a listing is only a reason not to ask ahead of time); looks
//! behind a gap. [`Listing::read`] is the only thing here that asks a store.

use crate::catalog::InventoryBuilder;
use crate::catalog::inventory::{Form, StoredSegment, order_of_trial};
use crate::error::Answer;
use crate::feed::mode::Mode;
use crate::layout::{self, ObjectKey};
use crate::pg::history::TimelineHistory;
use crate::pg::{SegmentName, SegmentNo, SegmentSize, TimelineId};
use crate::storage::{Depth, Store};
use futures::TryStreamExt;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Names that are read of the first listing, and of later ones: five and twenty pages of S3's. Who needs few segments does
/// not pay for the names of many.
pub const FIRST: usize = 5_000;
/// See [`FIRST`].
pub const LATER: usize = 20_000;
/// No listing is made anew sooner than this only to see whether there is more.
const ANEW: Duration = Duration::from_secs(10);

/// The way that recovery follows through a segment: the newest of those its settings allow.
pub fn way(mode: &Mode, through: TimelineId) -> TimelineHistory {
    let known = mode.ways().filter(|way| way.contains(through));
    let newest = known.max_by_key(|way| way.timeline()).cloned();
    newest.unwrap_or_else(|| TimelineHistory::without_file(through))
}

/// The segment that recovery wants behind this one.
pub fn next(way: &TimelineHistory, after: SegmentName, size: SegmentSize) -> Option<SegmentName> {
    let number = after.number(size).ok()?.next();
    // It never goes back to an older timeline.
    number.name(way.segment_owner(number, size).max(after.timeline()), size)
}

/// The segment that recovery wanted before this one.
pub fn before(way: &TimelineHistory, segment: SegmentName, size: SegmentSize) -> Option<SegmentName> {
    let number = segment.number(size).ok()?.previous()?;
    number.name(way.segment_owner(number, size).min(segment.timeline()), size)
}

/// How a segment is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The form to ask for.
    pub form: Form,
    /// In which of several stores: their order counts.
    pub place: usize,
}

/// What a listing of one timeline showed, from one segment on.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The first segment that would be in it.
    pub from: SegmentName,
    /// When it was begun.
    pub at: Instant,
    /// How each segment is kept; of several forms and stores the first.
    pub kept: BTreeMap<SegmentName, Kept>,
    /// Did it show the timeline's end? Else there are more behind the last one.
    pub whole: bool,
}

impl Listing {
    /// List a timeline from this segment on, so many names at most where they come in order.
    pub async fn read(store: &dyn Store, from: SegmentName, size: SegmentSize, most: usize) -> Answer<Listing> {
        let at = Instant::now();
        let prefix = format!("{}{}", layout::WAL, from.timeline().hex());
        // Behind every stored form of the one before: '~' comes after every character of a suffix.
        let before = from.number(size).ok().and_then(SegmentNo::previous);
        let before = before.and_then(|number| number.name(from.timeline(), size));
        let start = before.map(|before| ObjectKey::new(format!("{}{before}~", layout::WAL)));
        let mut builder = InventoryBuilder::new();
        let mut lines = store.list(&prefix, Depth::Level, start.as_ref());
        let (sorted, mut count, mut whole) = (store.capabilities().sorted, 0, true);
        while let Some(line) = lines.try_next().await? {
            builder.add(line);
            count += 1;
            // What does not come in order may have left out any of them so far.
            if sorted && count >= most {
                whole = false;
                break;
            }
        }
        let inventory = builder.finish();
        let mut kept: BTreeMap<SegmentName, Kept> = BTreeMap::new();
        let stored = inventory.on(from.timeline());
        for one in stored.chunk_by(|a, b| a.name == b.name) {
            let mut one: Vec<&StoredSegment> = one.iter().filter(|stored| stored.name >= from).collect();
            order_of_trial(&mut one, |stored| stored.form.stored);
            if let Some(first) = one.first() {
                kept.insert(first.name, Kept { form: first.form, place: 0 });
            }
        }
        Ok(Listing { from, at, kept, whole })
    }

    /// The same, of the store at this place in the order of several.
    #[must_use]
    pub fn of(mut self, place: usize) -> Self {
        self.kept.values_mut().for_each(|kept| kept.place = place);
        self
    }

    /// Add what another store shows of the same.
    pub fn join(&mut self, other: Listing) {
        // Where one breaks off, only the other one's would be shown from there on.
        let ends = [&*self, &other].into_iter().filter(|listing| !listing.whole).map(Listing::last).min();
        self.at = self.at.min(other.at);
        self.whole &= other.whole;
        for (name, kept) in other.kept {
            self.kept.entry(name).or_insert(kept);
        }
        if let Some(end) = ends {
            self.kept.retain(|name, _| Some(*name) <= end);
        }
    }

    /// The last segment that it shows.
    pub fn last(&self) -> Option<SegmentName> {
        self.kept.last_key_value().map(|(name, _)| *name)
    }
}

/// What is known of a segment ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Stored so.
    Stored(Kept),
    /// The listing does not show it: the end of the archive, or a gap. A new listing is not worth a request yet.
    NotShown,
    /// Only a listing from here would tell.
    Unlisted,
}

/// The listings of the timelines on the way.
#[derive(Debug, Default)]
pub struct Map {
    listings: BTreeMap<TimelineId, Listing>,
    read: usize,
}

impl Map {
    /// A listing that was read.
    pub fn add(&mut self, listing: Listing) {
        self.read += 1;
        self.listings.insert(listing.from.timeline(), listing);
    }

    /// How many names the next listing should have.
    pub fn worth_reading(&self) -> usize {
        if self.read == 0 { FIRST } else { LATER }
    }

    /// What is known of this segment at this time.
    pub fn known(&self, name: SegmentName, now: Instant) -> Known {
        let Some(listing) = self.listings.get(&name.timeline()).filter(|listing| listing.from <= name) else {
            return Known::Unlisted;
        };
        match listing.kept.get(&name) {
            Some(kept) => Known::Stored(*kept),
            None if !listing.whole && listing.last().is_none_or(|last| last < name) => Known::Unlisted,
            None if now.saturating_duration_since(listing.at) >= ANEW => Known::Unlisted,
            None => Known::NotShown,
        }
    }

    /// This segment is there although no listing showed it: what is behind it may be there, too.
    pub fn outdated(&mut self, name: SegmentName) {
        let hides = |listing: &Listing| listing.from <= name && !listing.kept.contains_key(&name);
        if self.listings.get(&name.timeline()).is_some_and(hides) {
            self.listings.remove(&name.timeline());
        }
    }

    /// Segments that are listed along the way behind this one, without a break; and whether the archive goes on behind
    /// what is listed.
    pub fn distance(&self, way: &TimelineHistory, from: SegmentName, size: SegmentSize) -> Option<(u64, bool)> {
        self.listings.get(&from.timeline())?;
        let (mut count, mut at) = (0, from);
        while let Some(next) = next(way, at, size) {
            let Some(listing) = self.listings.get(&next.timeline()) else { return Some((count, true)) };
            if !listing.kept.contains_key(&next) {
                return Some((count, !listing.whole && listing.last().is_none_or(|last| last < next)));
            }
            (count, at) = (count + 1, next);
        }
        Some((count, false))
    }

    /// What lies behind recovery is not needed any more.
    pub fn forget_before(&mut self, name: SegmentName) {
        if let Some(listing) = self.listings.get_mut(&name.timeline()) {
            while let Some(first) = listing.kept.first_entry().filter(|first| *first.key() < name) {
                first.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests;
