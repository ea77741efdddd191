//! The stores that may hold a file of one archive: its own, and those that WAL-G turned to while that one was away.
//!
//! In: stores, in the order in which they are asked; what to fetch. Out: one answer of all of them, by `feed::fetch`'s
//! judgement of each. Never: says "not there" unless every one of them said so; hands over what does not validate because
//! another one is away; lets one that is away or damaged keep the next from being asked.
//!
//! **In which order.** Each is asked once, and not for long, before any is asked again; whoever could not be asked a moment
//! ago comes last. Only when none has the file are those that could not be asked waited for, all at the same time, until the
//! caller's deadline (for a standby, only where nobody answered). So a file that one of them has comes soon, and for one
//! that none has everybody's word is there.
//!
//! Source: WAL-G's `WALG_FAILOVER_STORAGES`: whole roots of one layout, into which it archives while the one before is not
//! alive. It leaves out whom it takes for dead, for a quarter of an hour, and then says "does not exist".

use super::ahead::Listing;
use super::fetch::{self, Around, Options, Outcome, Publish, Report};
use super::mode::{Mode, Who};
use crate::error::{Answer, Class, Code, Error, Verdict};
use crate::pg::{SegmentName, SegmentSize};
use crate::storage::Store;
use crate::storage::retry::{Counters, RetryPolicy, Retrying};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one of several is waited for before the next one is asked.
const HASTE: Duration = Duration::from_secs(5);
/// How long one that could not be asked comes last.
const AWAY: Duration = Duration::from_secs(30);

/// What to do when one of several could not be asked, and none of the others has the file.
const AWAY_HINT: &str = "It may be there: start PostgreSQL again when that store is back. If the store is lost for good, and \
     another one has all there is, WALG_TARGET_STORAGE names the one to use (`wal-r config check` lists them).";

/// Stores in the order in which they are asked; one at least. Cheap to clone: what is known of them is shared.
#[derive(Debug, Clone)]
pub struct Stores {
    all: Vec<One>,
    counters: Arc<Counters>,
}

#[derive(Debug, Clone)]
struct One {
    /// Answers once.
    bare: Arc<dyn Store>,
    /// Tries as long as the caller waits.
    patient: Arc<dyn Store>,
    /// Tries once: another one may have it.
    hasty: Arc<dyn Store>,
    /// When it could not be asked.
    away: Arc<Mutex<Option<Instant>>>,
}

/// What listings showed a moment ago, for one file, by the store's place in the order.
#[derive(Debug, Clone, Default)]
pub struct Seen(BTreeMap<usize, Around>);

impl Seen {
    /// Nothing was listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a store said. Of what it listed in [`Seen`] alone.
type Said = Answer<Report>;

impl Stores {
    /// Of stores that answer once each. The policy's deadline runs from now.
    pub fn new(
        first: Arc<dyn Store>,
        others: Vec<Arc<dyn Store>>,
        policy: &RetryPolicy,
        counters: &Arc<Counters>,
    ) -> Self {
        let one = |bare| One::new(bare, policy, counters, Arc::default());
        let all = std::iter::once(first).chain(others).map(one).collect();
        Stores { all, counters: Arc::clone(counters) }
    }

    /// The same stores for another piece of work: with this policy, from now.
    #[must_use]
    pub fn anew(&self, policy: &RetryPolicy) -> Self {
        let one = |one: &One| One::new(Arc::clone(&one.bare), policy, &self.counters, Arc::clone(&one.away));
        Stores { all: self.all.iter().map(one).collect(), counters: Arc::clone(&self.counters) }
    }

    /// What is asked of all of them.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Their URLs, for people.
    pub fn url(&self) -> String {
        self.all.iter().map(|one| one.bare.url()).collect::<Vec<_>>().join(", ")
    }

    /// Fetch a file from whoever has it; the store at the place `likely` is asked first. `seen` may save the listings of an
    /// absence, as [`Options::seen`] does for one store; what was listed now comes back.
    pub async fn fetch(
        &self,
        options: &Options,
        likely: usize,
        seen: Seen,
        mode: &Mode,
        publish: Publish<'_>,
    ) -> (Said, Seen) {
        let mut asking = Asking { stores: self, options, mode, publish, seen, said: BTreeMap::new() };
        let said = asking.run(likely).await;
        (said, asking.seen)
    }

    /// What they show of a timeline from this segment on. Those that cannot be listed are left out, as long as one can:
    /// who looks ahead needs to know what is there, and not what is not.
    pub async fn listing(&self, from: SegmentName, size: SegmentSize, most: usize) -> Answer<Listing> {
        if let [one] = self.all.as_slice() {
            return Listing::read(&*one.patient, from, size, most).await;
        }
        let listings = join_all(self.all.iter().enumerate().map(|(place, one)| async move {
            let listing = Listing::read(&*one.hasty, from, size, most).await.map(|listing| listing.of(place));
            one.was_there(listing.as_ref().err());
            listing
        }));
        let mut listed: Option<Listing> = None;
        let mut failed = None;
        for one in listings.await {
            match (one, &mut listed) {
                (Ok(one), Some(listed)) => listed.join(one),
                (Ok(one), none) => *none = Some(one),
                (Err(error), _) => {
                    tracing::debug!("not listed: {}", error.chain());
                    failed = failed.or(Some(error));
                }
            }
        }
        match (listed, failed) {
            (Some(listed), _) => Ok(listed),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::new(Code::InternalBug, "there is no store to list")),
        }
    }

    /// The likely one first, those that could not be asked a moment ago last.
    fn order(&self, likely: usize) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.all.len()).collect();
        places.sort_by_key(|place| (self.all.get(*place).is_some_and(One::is_away), *place != likely));
        places
    }
}

impl One {
    fn new(
        bare: Arc<dyn Store>,
        policy: &RetryPolicy,
        counters: &Arc<Counters>,
        away: Arc<Mutex<Option<Instant>>>,
    ) -> One {
        let with = |policy| Arc::new(Retrying::counting(Arc::clone(&bare), policy, Arc::clone(counters)));
        let patience = policy.deadline.map_or(HASTE, |deadline| HASTE.min(deadline / 4));
        let hasty = with(RetryPolicy { attempts: 1, stall: policy.stall.min(patience), ..policy.clone() });
        One { patient: with(policy.clone()), hasty, away, bare }
    }

    fn is_away(&self) -> bool {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|since| since.elapsed() < AWAY)
    }

    /// Take note of whether it could be asked.
    fn was_there(&self, error: Option<&Error>) {
        let away = error.is_some_and(could_not_be_asked);
        *self.away.lock().unwrap_or_else(PoisonError::into_inner) = away.then(Instant::now);
    }
}

/// Asking for one file.
struct Asking<'a> {
    stores: &'a Stores,
    options: &'a Options,
    mode: &'a Mode,
    publish: Publish<'a>,
    /// Before a store is asked: what was listed earlier; behind that: what was listed now.
    seen: Seen,
    /// What those said that do not have it.
    said: BTreeMap<usize, Said>,
}

impl Asking<'_> {
    async fn run(&mut self, likely: usize) -> Said {
        if let [one] = self.stores.all.as_slice() {
            let said = self.ask(0, &*one.patient).await;
            return self.listed(0, said);
        }
        for place in self.stores.order(likely) {
            let Some(one) = self.stores.all.get(place) else { continue };
            let said = self.ask(place, &*one.hasty).await;
            one.was_there(said.as_ref().err());
            if let Some(taken) = self.take(place, said) {
                return taken;
            }
        }
        // A standby asks again by itself, and what arrives meanwhile may be in one that answers.
        if self.mode.who == Who::Standby && self.said.values().any(Result::is_ok) {
            return self.nobody_has_it();
        }
        // Nobody has it; one of those that could not be asked may. Whoever comes back first.
        for (place, said) in self.wait_for_those_away().await {
            if let Some(taken) = self.take(place, said) {
                return taken;
            }
        }
        self.nobody_has_it()
    }

    async fn ask(&self, place: usize, store: &dyn Store) -> Said {
        let seen = self.seen.0.get(&place).cloned();
        let options = Options { seen, ..self.options.clone() };
        fetch::run_for(store, &options, self.mode, self.publish).await
    }

    /// Ask those that did not answer once more, patiently: until one delivers, or all have answered.
    async fn wait_for_those_away(&self) -> Vec<(usize, Said)> {
        let away = |said: &Said| matches!(said, Err(error) if error.class() == Class::Store);
        let away = self.said.iter().filter(|(_, said)| away(said)).map(|(place, _)| *place);
        let away = away.filter_map(|place| Some((place, self.stores.all.get(place)?)));
        let ask = |(place, one): (usize, &One)| {
            let store = Arc::clone(&one.patient);
            async move { (place, self.ask(place, &*store).await) }
        };
        let mut answers = Vec::new();
        let mut asked: FuturesUnordered<_> = away.map(ask).collect();
        while let Some((place, said)) = asked.next().await {
            let done = delivered(&said);
            answers.push((place, said));
            if done {
                break;
            }
        }
        answers
    }

    /// Keep what a store listed and said, or end with it if it delivered.
    fn take(&mut self, place: usize, said: Said) -> Option<Said> {
        let said = self.listed(place, said);
        if delivered(&said) {
            self.said.remove(&place);
            return Some(said.map(|report| self.taken_from(place, report)));
        }
        self.said.insert(place, said);
        None
    }

    /// Keep what it listed.
    fn listed(&mut self, place: usize, mut said: Said) -> Said {
        match said.as_mut().ok().and_then(|report| report.seen.take()) {
            Some(around) => drop(self.seen.0.insert(place, around)),
            None => drop(self.seen.0.remove(&place)),
        }
        said
    }

    /// One of them delivered. What the others said is worth knowing.
    fn taken_from(&self, place: usize, mut report: Report) -> Report {
        let (file, here) = (&self.options.file, self.name(place));
        for (other, said) in &self.said {
            match said {
                // A gap of that store alone is none.
                Err(error) if error.class() != Class::Gap => {
                    report.warnings.push(format!("{}; {file} was taken from {here}", error.chain()));
                }
                _ => report.notes.push(format!("{file} is not in {}, and was taken from {here}", self.name(*other))),
            }
        }
        report
    }

    /// The answer of all of them: what could not be asked weighs more than what is damaged, that more than a gap, and only
    /// where all say so it is not there.
    fn nobody_has_it(&mut self) -> Said {
        if !self.said.is_empty() && self.said.values().all(Result::is_ok) {
            return Ok(self.all_say_absent());
        }
        // Of equals the first.
        let heaviest = self.said.iter().rev().max_by_key(|(_, said)| weight(said)).map(|(place, _)| *place);
        let said = heaviest.and_then(|place| self.said.remove(&place));
        let mut said = said.unwrap_or_else(|| Err(Error::new(Code::InternalBug, "no store was asked")));
        said = said.map_err(|error| if could_not_be_asked(&error) { error.hint(AWAY_HINT) } else { error });
        for (other, theirs) in &self.said {
            said = said.map_err(|error| match theirs {
                Err(theirs) if theirs.class() != Class::Gap => error.beside(theirs.chain()),
                _ => error.beside(format!("{} does not have it", self.name(*other))),
            });
        }
        said
    }

    /// Each of them said that it is not there. The one with the newest segment tells how far the archive goes.
    fn all_say_absent(&mut self) -> Report {
        let (places, mut reports): (Vec<usize>, Vec<Report>) =
            std::mem::take(&mut self.said).into_iter().filter_map(|(place, said)| Some((place, said.ok()?))).unzip();
        let newest = |index: &usize| places.get(*index).and_then(|place| self.seen.0.get(place)?.newest_before());
        let tells = (0..reports.len()).rev().max_by_key(newest).unwrap_or_default();
        let warnings: BTreeSet<String> =
            reports.iter_mut().flat_map(|report| std::mem::take(&mut report.warnings)).collect();
        let mut report = reports.swap_remove(tells);
        report.warnings = warnings.into_iter().collect();
        let asked = places.iter().map(|place| self.name(*place)).collect::<Vec<_>>().join(" and ");
        if let Some(note) = report.notes.last_mut() {
            note.push_str(&format!(" ({asked} were asked)"));
        }
        report
    }

    fn name(&self, place: usize) -> String {
        self.stores.all.get(place).map(|one| one.bare.url()).unwrap_or_default()
    }
}

fn delivered(said: &Said) -> bool {
    matches!(said, Ok(Report { outcome: Outcome::Delivered { .. }, .. }))
}

/// The store did not answer, or did not let us ask.
fn could_not_be_asked(error: &Error) -> bool {
    matches!(error.class(), Class::Store | Class::Credentials | Class::Config)
}

fn weight(said: &Said) -> u8 {
    match said {
        Ok(_) => 0,
        Err(error) if error.class() == Class::Gap => 1,
        // Sealed without a key of ours, it is as good as damaged.
        Err(error) if error.verdict() == Verdict::Damaged || error.class() == Class::Crypt => 2,
        Err(_) => 3,
    }
}

#[cfg(test)]
mod tests;
