//! The segment size of an archive: from the first page of one segment, else from how the names run.
//!
//! In: a store, its inventory, which clusters its other files speak of. Out: [`Learnt`]. Never: reads more of a segment than
//! its first block, trusts a page that is not at its place, or assumes 16 MiB without saying so.

use crate::catalog::Inventory;
use crate::catalog::inventory::StoredSegment;
use crate::codec;
use crate::error::{Answer, Code, Error};
use crate::pg::{SegmentName, SegmentSize, SystemId};
use crate::storage::{ByteRange, Store};
use crate::wal::PageHeader;
use crate::wal::page::LONG_LEN;
use futures::TryStreamExt;

/// Stored bytes that hold the first block of plain ones, whatever the codec.
const HEAD: u64 = 1 << 20;
/// Segments that are tried.
const TRIES: usize = 8;
/// Timelines whose newest segments are tried.
const TIMELINES: usize = 4;

/// What was learnt.
#[derive(Debug)]
pub struct Learnt {
    /// Bytes of a segment.
    pub size: SegmentSize,
    /// Where that comes from, for people.
    pub from: String,
    /// The page that told, and of which segment it is the first.
    pub page: Option<(SegmentName, PageHeader)>,
    /// Clusters of pages that were passed over, because the archive's other files do not speak of them.
    pub strangers: Vec<(SystemId, SegmentName)>,
}

/// Learns the segment size: from the newest segment whose first page is what it should be, and of a cluster that the
/// archive's other files know, where they speak of one.
pub async fn learn(store: &dyn Store, inventory: &Inventory, known: &[(SystemId, String)]) -> Learnt {
    let mut other = None;
    let mut trouble = None;
    let mut strangers = Vec::new();
    for segment in candidates(inventory) {
        match first_page(store, segment).await {
            Ok((page, size)) => {
                let system = page.long.map(|long| long.system);
                let from = format!("the first page of {}", segment.name);
                let learnt = Learnt { size, from, page: Some((segment.name, page)), strangers: Vec::new() };
                if known.is_empty() || known.iter().any(|(one, _)| Some(*one) == system) {
                    return Learnt { strangers, ..learnt };
                }
                strangers.extend(system.map(|system| (system, segment.name)));
                other = other.or(Some(learnt));
            }
            Err(error) => trouble = trouble.or(Some(error.on(store.object_url(&segment.key())))),
        }
    }
    other.unwrap_or_else(|| by_names(inventory, trouble.as_ref()))
}

/// The newest segments of the newest timelines.
fn candidates(inventory: &Inventory) -> impl Iterator<Item = &StoredSegment> {
    let newest = |timeline| inventory.on(timeline).iter().rev().filter(|one| one.size > 0).take(TRIES / TIMELINES);
    let timelines = inventory.timelines().into_iter().rev().filter(|one| !inventory.on(*one).is_empty());
    timelines.take(TIMELINES).flat_map(newest)
}

/// The first page of a stored segment and the size it states, where it is the page that its name promises.
async fn first_page(store: &dyn Store, segment: &StoredSegment) -> Answer<(PageHeader, SegmentSize)> {
    let key = segment.key();
    let wrong = |what: &str| Error::new(Code::DamagedSegment, what);
    let mut decoder = codec::decoder_for(segment.form.stored)?;
    let mut body = store.get(&key, ByteRange::new(0, HEAD), None).await?.body;
    let mut plain = Vec::new();
    'read: while let Some(chunk) = body.try_next().await? {
        let mut rest = &*chunk;
        while !rest.is_empty() {
            let taken = decoder.decode(rest, &mut plain)?;
            rest = rest.get(taken..).unwrap_or_default();
            if plain.len() >= LONG_LEN {
                break 'read;
            }
        }
    }
    let page = PageHeader::parse(&plain).ok_or_else(|| wrong("it has no whole page"))?;
    let long = page.long.ok_or_else(|| wrong("its first page has no long header"))?;
    let size =
        SegmentSize::new(long.segment_size.into()).ok_or_else(|| wrong("its first page states no segment size"))?;
    let at_place = segment.name.start(size).is_ok_and(|start| start == page.address);
    // A child's first segment is a copy of its parent's.
    let of_timeline = page.timeline != 0 && page.timeline <= segment.name.timeline().get();
    if at_place && of_timeline { Ok((page, size)) } else { Err(wrong("its first page is another place's")) }
}

/// The size by which most names follow each other across a border of log ids, else the default where it fits.
fn by_names(inventory: &Inventory, trouble: Option<&Error>) -> Learnt {
    let segments = inventory.segments();
    if segments.is_empty() {
        return guess(SegmentSize::DEFAULT, "assumed: there is no segment".to_owned());
    }
    let why = trouble.map_or_else(|| "no segment has any bytes".to_owned(), Error::chain);
    let mut votes = [0_u64; 11];
    for pair in segments.windows(2) {
        if let [a, b] = pair {
            let mut fitting = SegmentSize::all().enumerate().filter(|(_, size)| a.name.next(*size) == Some(b.name));
            if let (Some((one, _)), None) = (fitting.next(), fitting.next())
                && let Some(vote) = votes.get_mut(one)
            {
                *vote += 1;
            }
        }
    }
    let most = SegmentSize::all().zip(votes).max_by_key(|(_, votes)| *votes).filter(|(_, votes)| *votes > 0);
    if let Some((size, _)) = most {
        return guess(size, format!("how the names run; no first page could be read: {why}"));
    }
    let mut sizes: Vec<SegmentSize> = SegmentSize::all().filter(|size| *size <= SegmentSize::DEFAULT).collect();
    sizes.reverse();
    let fits = |size: &SegmentSize| {
        let fitting = segments.iter().filter(|one| one.name.number(*size).is_ok()).count();
        fitting >= segments.len() - segments.len() / 10
    };
    let size = sizes.into_iter().find(fits).unwrap_or(SegmentSize::DEFAULT);
    guess(size, format!("assumed; no first page could be read: {why}"))
}

fn guess(size: SegmentSize, from: String) -> Learnt {
    Learnt { size, from, page: None, strangers: Vec::new() }
}
