//! How far to look ahead: as far as PostgreSQL consumes while a fetch takes, and no further.
//!
//! In: when PostgreSQL asked, how long it waited, how long fetches took. Out: a number of segments. Never: more than the
//! bound; less than one where looking ahead is wanted at all. Pure: times are given.
//!
//! A recovery that replays `r` segments a second from a store that takes `t` seconds for each needs `r * t` of them under
//! way at any time, and some in reserve for the slow ones. Both are measured. As long as nothing is known, and whenever
//! PostgreSQL had to wait, the window doubles; when a whole window went by that was wider than the measures ask for, it narrows by half the excess.
//! So one request at the end of an archive costs little, a fast replay gets all that fits, and a slow one does not fill the
//! disk with what it needs in an hour.

use std::time::Duration;

/// Where every window begins.
const FIRST: u32 = 2;
/// How much a new measure weighs against all before it.
const WEIGHT: f64 = 0.2;
/// What is waited for no longer than this is a hit: the answer was on its way.
const HIT: Duration = Duration::from_millis(2);

/// How far to look ahead.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    bound: u32,
    want: u32,
    /// Seconds PostgreSQL takes for one segment, its waiting for us apart.
    replay: Option<f64>,
    /// Seconds a fetch takes.
    fetch: Option<f64>,
    /// How many times in a row it was wider than needed.
    idle: u32,
}

impl Window {
    /// Never more than `bound` segments.
    pub fn new(bound: u32) -> Window {
        Window { bound, want: FIRST.min(bound), replay: None, fetch: None, idle: 0 }
    }

    /// So many segments ahead of the one asked for.
    pub fn ahead(&self) -> u32 {
        self.want
    }

    /// No more than this, ever.
    pub fn bound(&self) -> u32 {
        self.bound
    }

    /// PostgreSQL asks for the next segment, so long after its last question was answered.
    pub fn asked(&mut self, since_answer: Option<Duration>) {
        if let Some(replay) = since_answer {
            measure(&mut self.replay, replay);
        }
    }

    /// It was answered after so long.
    pub fn answered(&mut self, waited: Duration) {
        let needed = self.needed();
        if waited > HIT {
            self.idle = 0;
            self.want = self.want.saturating_mul(2).max(needed).clamp(1.min(self.bound), self.bound);
        } else if self.want < needed {
            self.want = needed.min(self.bound);
        } else if self.want > needed {
            self.idle += 1;
            // A whole window went by without a need for it.
            if self.idle > self.want {
                self.idle = 0;
                self.want -= (self.want - needed).div_ceil(2);
            }
        }
    }

    /// A fetch took so long.
    pub fn fetched(&mut self, took: Duration) {
        measure(&mut self.fetch, took);
    }

    /// How many segments the measures ask for; what is known of nothing yet asks for the beginning.
    fn needed(&self) -> u32 {
        let (Some(replay), Some(fetch)) = (self.replay, self.fetch) else { return FIRST.min(self.bound) };
        let under_way = fetch / replay.max(1e-4);
        // Half as many again for the slow ones, and two that wait.
        (under_way * 1.5 + 2.0).ceil().min(f64::from(self.bound)) as u32
    }
}

fn measure(known: &mut Option<f64>, new: Duration) {
    let new = new.as_secs_f64();
    *known = Some(known.map_or(new, |known| known + WEIGHT * (new - known)));
}

#[cfg(test)]
mod tests;
