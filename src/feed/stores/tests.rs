//! Two and three stores, each in every condition, against what anybody would expect of them together.

use super::*;
use crate::catalog::inventory::Form;
use crate::feed::deliver::Landing;
use crate::feed::fetch::tests::{archive, control, mode, plain, stored};
use crate::feed::mode::Who;
use crate::layout::Compression;
use crate::storage::StoreErrorKind;
use crate::storage::memory::MemoryStore;
use crate::testing::faulty::{Fault, FaultPlan, FaultyStore};
use crate::wal::Level;
use std::fs;

/// The file that is asked for, the one before it and the one behind it.
const BEFORE: &str = "000000010000000000000007";
const ASKED: &str = "000000010000000000000008";
const BEHIND: &str = "000000010000000000000009";

/// What a store is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Like {
    /// It has the file.
    Whole,
    /// Its archive ends before the file.
    Ends,
    /// It has what is behind the file.
    Gap,
    /// There is nothing at all.
    Empty,
    /// Half of the object is there.
    Cut,
    /// Under the file's name is another segment.
    Another,
    /// Nobody answers.
    Down,
    /// Nobody answers the first five times; then it has the file.
    Back,
    /// It hangs.
    Silent,
    /// It refuses the key.
    Refuses,
    /// It answers with somebody's page.
    Page,
}

const ALL: [Like; 11] = {
    use Like::{Another, Back, Cut, Down, Empty, Ends, Gap, Page, Refuses, Silent, Whole};
    [Whole, Ends, Gap, Empty, Cut, Another, Down, Back, Silent, Refuses, Page]
};

impl Like {
    fn store(self) -> FaultyStore {
        let key = |name: &str| format!("wal_005/{name}.lzo");
        let store = match self {
            Like::Empty => MemoryStore::new(),
            _ => archive(),
        };
        match self {
            Like::Gap => drop(store.remove(&key(ASKED))),
            Like::Ends => {
                for name in [ASKED, BEHIND, "00000001000000000000000A"] {
                    store.remove(&key(name));
                }
            }
            Like::Cut => {
                let whole = stored(ASKED);
                store.insert(&key(ASKED), whole[..whole.len() / 2].to_vec());
            }
            Like::Another => store.insert(&key(ASKED), stored(BEHIND)),
            _ => {}
        }
        let plan = match self {
            Like::Down => FaultPlan::always(StoreErrorKind::Unreachable),
            Like::Back => FaultPlan::none().and(0..5, StoreErrorKind::Unreachable),
            Like::Silent => FaultPlan::always(Fault::Hang),
            Like::Refuses => FaultPlan::always(StoreErrorKind::Refused),
            Like::Page => FaultPlan::always(Fault::Html),
            _ => FaultPlan::none(),
        };
        FaultyStore::new(Arc::new(store), plan)
    }
}

/// What becomes of it, in one word.
fn expected(stores: &[Like]) -> &'static str {
    let first = |likes: &[Like]| stores.iter().find(|like| likes.contains(like));
    let any = |likes: &[Like]| first(likes).is_some();
    match () {
        () if any(&[Like::Whole, Like::Back]) => "delivered",
        () if first(&[Like::Down, Like::Silent, Like::Refuses]) == Some(&Like::Refuses) => "credentials",
        () if any(&[Like::Down, Like::Silent]) => "store",
        () if any(&[Like::Cut, Like::Another, Like::Page]) => "damaged",
        () if any(&[Like::Gap]) => "gap",
        () => "absent",
    }
}

struct Asked {
    word: String,
    said: Said,
    seen: Seen,
}

fn runtime(paused: bool) -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(paused).build().unwrap()
}

fn policy() -> RetryPolicy {
    RetryPolicy::within(Duration::from_secs(60))
}

fn stores(all: &[FaultyStore]) -> Stores {
    let mut all = all.iter().map(|store| Arc::new(store.clone()) as Arc<dyn Store>);
    let first = all.next().unwrap();
    Stores::new(first, all.collect(), &policy(), &Arc::default())
}

async fn ask(stores: &Stores, file: &str, seen: Seen) -> Asked {
    ask_for(Who::PointInTime, stores, file, seen).await
}

async fn ask_for(who: Who, stores: &Stores, file: &str, seen: Seen) -> Asked {
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().join("RECOVERYXLOG");
    let options = Options {
        file: fetch::name(file).unwrap(),
        destination: destination.clone(),
        check: Level::Records,
        on_gap: None,
        likely: Form::of_suffix(Compression::Lzo),
        now: jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(100_000),
        overtaken: Duration::ZERO,
        seen: None,
    };
    let mode = Mode { control: Some(control(1)), ..mode(who) };
    let publish = |landing: Landing, sync| landing.publish(sync);
    let (said, seen) = stores.fetch(&options, 0, seen, &mode, &publish).await;
    let word = match &said {
        Ok(report) if matches!(report.outcome, Outcome::Absent) => "absent".to_owned(),
        Ok(_) => {
            assert!(fs::read(&destination).unwrap() == plain(file), "other bytes than the archive's");
            fs::remove_file(&destination).unwrap();
            "delivered".to_owned()
        }
        Err(error) => error.class().word().to_owned(),
    };
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "{word}: {left:?}");
    Asked { word, said, seen }
}

#[test]
fn two_stores_in_every_condition() {
    for first in ALL {
        for second in ALL {
            let pair = [first, second];
            let paused = pair.contains(&Like::Silent) || pair.contains(&Like::Down) || pair.contains(&Like::Back);
            let all = pair.map(Like::store);
            let asked = runtime(paused).block_on(ask(&stores(&all), ASKED, Seen::default()));
            assert_eq!(asked.word, expected(&pair), "{first:?}, {second:?}: {:?}", asked.said);
            assert!(first == Like::Whole || all[1].calls_made() > 0, "{first:?}, {second:?}: the second was not asked");
            match asked.said {
                // Who reads the error hears of both.
                Err(error) => {
                    let (text, kinds) = (error.chain(), "; memory:///");
                    assert!(text.contains(kinds), "{first:?}, {second:?}: {text}");
                }
                Ok(report) if asked.word == "absent" => {
                    assert!(report.notes[0].ends_with("(memory:/// and memory:/// were asked)"), "{report:?}");
                }
                Ok(report) => {
                    let told = report.warnings.len() + report.notes.len();
                    let quiet = first == Like::Whole;
                    assert_eq!(told, usize::from(!quiet), "{first:?}, {second:?}: {report:?}");
                }
            }
        }
    }
}

#[test]
fn three_stores_and_the_last_one_decides() {
    for first in ALL {
        for second in ALL.into_iter().filter(|like| *like != Like::Whole) {
            for third in [Like::Whole, Like::Ends, Like::Down] {
                let likes = [first, second, third];
                let asked = runtime(true).block_on(ask(&stores(&likes.map(Like::store)), ASKED, Seen::default()));
                assert_eq!(asked.word, expected(&likes), "{likes:?}: {:?}", asked.said);
            }
        }
    }
}

#[test]
fn one_store_is_asked_as_ever() {
    for like in ALL {
        let store = like.store();
        let asked = runtime(true).block_on(ask(&stores(std::slice::from_ref(&store)), ASKED, Seen::default()));
        assert_eq!(asked.word, expected(&[like]), "{like:?}: {:?}", asked.said);
        if let Err(error) = asked.said {
            assert!(!error.chain().contains("; memory:///"), "{error:?}");
        }
    }
}

#[test]
fn a_missing_history_takes_everybodys_word() {
    let history = "00000002.history";
    for like in [Like::Whole, Like::Empty, Like::Down, Like::Refuses] {
        for first in [true, false] {
            let mut all = [Like::Empty.store(), like.store()];
            if !first {
                all.reverse();
            }
            let asked = runtime(true).block_on(ask(&stores(&all), history, Seen::default()));
            let wanted = if like == Like::Empty { "absent" } else { expected(&[like]) };
            assert_eq!(asked.word, wanted, "{like:?}: {:?}", asked.said);
        }
    }
}

#[test]
fn who_was_away_comes_last_and_is_asked_all_the_same() {
    let runtime = runtime(true);
    let all = [Like::Down.store(), archive_counted()];
    let stores = stores(&all);
    let asked = runtime.block_on(ask(&stores, BEFORE, Seen::default()));
    assert_eq!((&*asked.word, all[0].calls_made(), all[1].calls_made()), ("delivered", 1, 1));
    let report = asked.said.unwrap();
    let warning = format!("memory:///wal_005/{BEFORE}.lzo: scripted: Unreachable; {BEFORE} was taken from memory:///");
    assert_eq!(report.warnings, [warning]);
    // It was away a moment ago: what the other one has costs it no request, also in the next piece of work.
    let stores = stores.anew(&policy());
    for file in [ASKED, BEHIND] {
        let asked = runtime.block_on(ask(&stores, file, Seen::default()));
        assert_eq!((&*asked.word, all[0].calls_made()), ("delivered", 1), "{:?}", asked.said);
        assert!(asked.said.unwrap().warnings.is_empty());
    }
    // What the other one does not have it may have.
    let asked = runtime.block_on(ask(&stores, "0000000100000000000000FF", Seen::default()));
    assert_eq!(asked.word, "store", "{:?}", asked.said);
    assert!(all[0].calls_made() > 1);
}

#[test]
fn a_standby_is_told_at_once_what_those_said_that_answer() {
    let runtime = runtime(true);
    let waited = |who, likes: [Like; 2]| {
        runtime.block_on(async {
            let began = tokio::time::Instant::now();
            let asked = ask_for(who, &stores(&likes.map(Like::store)), ASKED, Seen::default()).await;
            (asked.word, began.elapsed().as_secs())
        })
    };
    for likes in [[Like::Down, Like::Ends], [Like::Gap, Like::Down], [Like::Empty, Like::Down]] {
        assert_eq!(waited(Who::Standby, likes), ("store".to_owned(), 0), "{likes:?}");
        assert!(waited(Who::PointInTime, likes).1 > 50, "{likes:?}");
    }
    // Nobody answers: whoever is back first is noticed soon.
    assert_eq!(waited(Who::Standby, [Like::Down, Like::Back]).0, "delivered");
    assert!(waited(Who::Standby, [Like::Down, Like::Down]).1 > 50);
}

fn archive_counted() -> FaultyStore {
    FaultyStore::new(Arc::new(archive()), FaultPlan::none())
}

#[test]
fn an_absence_rests_on_a_listing_of_each() {
    let runtime = runtime(false);
    let all = [Like::Ends.store(), Like::Empty.store()];
    let stores = stores(&all);
    let asked = runtime.block_on(ask(&stores, ASKED, Seen::default()));
    assert_eq!((&*asked.word, all[0].calls_made(), all[1].calls_made()), ("absent", 2, 2));
    let notes = asked.said.unwrap().notes;
    assert!(notes[0].contains(&format!("newest is {BEFORE}")), "{notes:?}");
    // The listings of a moment ago stand in; each is asked for the file itself.
    let asked = runtime.block_on(ask(&stores, ASKED, asked.seen));
    assert_eq!((&*asked.word, all[0].calls_made(), all[1].calls_made()), ("absent", 3, 3));
    assert!(!asked.seen.is_empty());
}

#[test]
fn who_looks_ahead_sees_what_can_be_listed() {
    let runtime = runtime(true);
    let from: SegmentName = BEFORE.parse().unwrap();
    let size = control(1).segment_size;
    let listed = |likes: &[Like]| {
        let all: Vec<FaultyStore> = likes.iter().map(|like| like.store()).collect();
        let listing = runtime.block_on(stores(&all).listing(from, size, 100));
        listing
            .map(|listing| listing.kept.keys().map(|name| name.to_string().split_off(22)).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(listed(&[Like::Whole, Like::Ends]).unwrap(), "07 08 09 0A");
    assert_eq!(listed(&[Like::Ends, Like::Whole]).unwrap(), "07 08 09 0A");
    assert_eq!(listed(&[Like::Gap, Like::Whole]).unwrap(), "07 08 09 0A");
    assert_eq!(listed(&[Like::Gap, Like::Ends]).unwrap(), "07 09 0A");
    assert_eq!(listed(&[Like::Down, Like::Ends]).unwrap(), "07");
    assert_eq!(listed(&[Like::Whole, Like::Silent, Like::Empty]).unwrap(), "07 08 09 0A");
    assert_eq!(listed(&[Like::Silent, Like::Refuses]).unwrap_err().class(), Class::Store);
}
