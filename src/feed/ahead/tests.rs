use super::*;
use crate::pg::Lsn;
use crate::storage::memory::MemoryStore;

const SIZE: SegmentSize = SegmentSize::DEFAULT;

fn name(text: &str) -> SegmentName {
    text.parse().unwrap()
}

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

/// Timeline 2 leaves 1 within segment 5, timeline 3 leaves 2 at the very start of segment 8.
fn three() -> TimelineHistory {
    let at = |segment: u64, more: u64| Lsn(segment * SIZE.bytes() + more);
    let two = TimelineHistory::child_of(timeline(1), None, at(5, 100), timeline(2));
    TimelineHistory::child_of(timeline(2), Some(&two), at(8, 0), timeline(3))
}

#[test]
fn the_way_leads_through_switch_points() {
    let way = three();
    let mut at = name("000000010000000000000003");
    let mut all = Vec::new();
    for _ in 0..7 {
        let next = next(&way, at, SIZE).unwrap();
        assert_eq!(before(&way, next, SIZE), Some(at), "and back");
        (at, all) = (next, [all, vec![next.to_string()[7..].to_owned()]].concat());
    }
    assert_eq!(
        all,
        [
            "10000000000000004",
            "20000000000000005",
            "20000000000000006",
            "20000000000000007",
            "30000000000000008",
            "30000000000000009",
            "3000000000000000A"
        ]
    );
    // Who is on the child already never goes back to the parent.
    assert_eq!(next(&way, name("000000020000000000000003"), SIZE), Some(name("000000020000000000000004")));
    assert_eq!(next(&way, name("FFFFFFFFFFFFFFFF000000FF"), SIZE), None, "the end of all WAL");
}

async fn listed(store: &MemoryStore, from: &str) -> Listing {
    Listing::read(store, name(from), SIZE, FIRST).await.unwrap()
}

#[tokio::test]
async fn a_listing_shows_what_is_stored_and_where_it_ends() {
    let store = MemoryStore::new();
    for key in [
        "000000010000000000000001.lzo",
        "000000010000000000000002.lzo",
        "000000010000000000000003.zst",
        "000000010000000000000003.lzo",
        "000000010000000000000003.00000028.backup.lzo",
        "000000010000000000000005.lzo",
        "000000010000000000000006.partial.lzo",
        "000000010000000000000007.lzo.tmp",
        "000000020000000000000001.lzo",
    ] {
        store.insert(&format!("wal_005/{key}"), vec![1]);
    }
    let listing = listed(&store, "000000010000000000000002").await;
    let names: Vec<String> = listing.kept.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["000000010000000000000002", "000000010000000000000003", "000000010000000000000005"]);
    assert_eq!(listing.kept[&name("000000010000000000000003")].form.stored.suffix(), "lzo", "what this build decodes");
    let mut map = Map::default();
    let now = listing.at;
    map.add(listing);
    let known = |number: u64, now| map.known(name(&format!("00000001{number:016X}")), now);
    assert_eq!(known(1, now), Known::Unlisted, "before its beginning");
    assert!(matches!(known(3, now), Known::Stored(_)));
    assert_eq!(known(4, now), Known::NotShown);
    assert_eq!(known(6, now), Known::NotShown);
    // After a while it is worth a request to look again.
    assert_eq!(known(6, now + ANEW), Known::Unlisted);
    assert!(matches!(known(3, now + ANEW), Known::Stored(_)));
    let way = TimelineHistory::without_file(timeline(1));
    assert_eq!(map.distance(&way, name("000000010000000000000002"), SIZE), Some((1, false)), "up to the gap");
    assert_eq!(map.distance(&way, name("000000010000000000000003"), SIZE), Some((0, false)));
    assert_eq!(map.distance(&way, name("000000020000000000000003"), SIZE), None);

    // One that arrived since makes the listing old; one that it shows does not.
    map.outdated(name("000000010000000000000005"));
    assert!(matches!(map.known(name("000000010000000000000005"), now), Known::Stored(_)));
    map.outdated(name("000000010000000000000006"));
    assert_eq!(map.known(name("000000010000000000000005"), now), Known::Unlisted);
}

#[tokio::test]
async fn a_listing_that_was_cut_says_so() {
    let store = MemoryStore::new();
    for number in 1..=9 {
        store.insert(&format!("wal_005/{:024X}.lzo", (1u128 << 64) + number), vec![1]);
    }
    let from = name("000000010000000000000001");
    let listing = Listing::read(&store, from, SIZE, 5).await.unwrap();
    let (mut map, now) = (Map::default(), listing.at);
    map.add(listing);
    let known = |map: &Map, number: u64| map.known(name(&format!("00000001{number:016X}")), now);
    assert!(matches!(known(&map, 5), Known::Stored(_)));
    assert_eq!(known(&map, 6), Known::Unlisted, "not shown is not absent");
    let way = TimelineHistory::without_file(timeline(1));
    assert_eq!(map.distance(&way, from, SIZE), Some((4, true)));
    map.forget_before(name("000000010000000000000004"));
    assert_eq!(map.distance(&way, name("000000010000000000000004"), SIZE), Some((1, true)));
    let rest = Listing::read(&store, name("000000010000000000000006"), SIZE, map.worth_reading()).await.unwrap();
    map.add(rest);
    assert_eq!(map.distance(&way, name("000000010000000000000006"), SIZE), Some((3, false)));
}

#[tokio::test]
async fn two_listings_are_one_as_far_as_both_go() {
    let put = |store: &MemoryStore, numbers: std::ops::RangeInclusive<u32>, suffix: &str| {
        let key = |number| format!("wal_005/0000000100000000{number:08X}{suffix}");
        numbers.for_each(|number| store.insert(&key(number), b"x".to_vec()));
    };
    let (first, second) = (MemoryStore::new(), MemoryStore::new());
    put(&first, 1..=9, ".lzo");
    put(&second, 3..=30, ".zst");
    let from = "000000010000000000000001";
    let shown = |listing: &Listing| {
        let name = |name: Option<&SegmentName>| name.map(|name| name.to_string().split_off(22)).unwrap_or_default();
        (name(listing.kept.keys().next()), name(listing.kept.keys().last()), listing.kept.len(), listing.whole)
    };
    let read = async |store: &MemoryStore, most: usize| Listing::read(store, name(from), SIZE, most).await.unwrap();
    for both_ways in [false, true] {
        // The first shows seven of its nine: what the other one has behind those may hide the two.
        for (most, wanted) in [(1000, ("01", "1E", 30, true)), (7, ("01", "07", 7, false))] {
            let (mut one, mut other) = (read(&first, most).await, read(&second, 1000).await);
            if both_ways {
                std::mem::swap(&mut one, &mut other);
            }
            one.join(other);
            assert_eq!(shown(&one), (wanted.0.into(), wanted.1.into(), wanted.2, wanted.3));
            let lzo = Form::of_suffix(crate::layout::Compression::Lzo);
            assert_eq!(one.kept[&name("000000010000000000000002")].form, lzo);
        }
    }
    // Nothing of an empty page that breaks off at once is known.
    let (mut one, mut none) = (read(&second, 1000).await, read(&first, 1000).await);
    (none.whole, none.kept) = (false, BTreeMap::new());
    one.join(none);
    assert_eq!((one.kept.len(), one.whole), (0, false));
}
