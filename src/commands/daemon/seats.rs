//! Places for connections: who idles longest makes room for who comes.
//!
//! In: connections that come, idle, work and go. Out: a [`Seat`] for each, and word for whom must leave. Never: asks anybody to
//! leave who has a request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// So many places.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    taken: Mutex<HashMap<u64, Sitter>>,
    number: AtomicU64,
}

#[derive(Debug)]
struct Sitter {
    /// Since when it has no request; `None`: it has one.
    idle: Option<Instant>,
    leave: Arc<Notify>,
}

impl Seats {
    pub(super) fn new(most: usize) -> Self {
        Seats { most, taken: Mutex::default(), number: AtomicU64::new(0) }
    }

    fn sitters(&self) -> MutexGuard<'_, HashMap<u64, Sitter>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that is free or is made free. `None`: everybody has a request.
    pub(super) fn take(&self) -> Option<Seat<'_>> {
        let mut sitters = self.sitters();
        if sitters.len() >= self.most {
            let idle = sitters.iter().filter_map(|(number, sitter)| Some((sitter.idle?, *number)));
            let (_, longest) = idle.min()?;
            if let Some(sitter) = sitters.remove(&longest) {
                sitter.leave.notify_one();
            }
        }
        let (number, leave) = (self.number.fetch_add(1, Ordering::Relaxed), Arc::new(Notify::new()));
        sitters.insert(number, Sitter { idle: Some(Instant::now()), leave: leave.clone() });
        drop(sitters);
        Some(Seat { seats: self, number, leave })
    }

    /// How many have a request.
    pub(super) fn busy(&self) -> usize {
        self.sitters().values().filter(|sitter| sitter.idle.is_none()).count()
    }
}

/// A place, as long as a connection has it.
#[derive(Debug)]
pub(super) struct Seat<'a> {
    seats: &'a Seats,
    number: u64,
    leave: Arc<Notify>,
}

impl Seat<'_> {
    pub(super) fn idles(&self) {
        self.set(Some(Instant::now()));
    }

    pub(super) fn works(&self) {
        self.set(None);
    }

    fn set(&self, idle: Option<Instant>) {
        // Gone from the table when it was asked to leave just now; its request is served all the same.
        if let Some(sitter) = self.seats.sitters().get_mut(&self.number) {
            sitter.idle = idle;
        }
    }

    /// Until somebody else wants it.
    pub(super) async fn wanted(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.seats.sitters().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_idles_longest_makes_room() {
        let seats = Seats::new(2);
        let first = seats.take().unwrap();
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        let second = seats.take().unwrap();
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        // It did something since.
        first.works();
        first.idles();
        let third = seats.take().unwrap();
        second.wanted().await;
        second.works();
        drop(second);
        first.works();
        third.works();
        assert!(seats.take().is_none(), "everybody works");
        assert_eq!(seats.busy(), 2);
        drop(first);
        assert!(seats.take().is_some());
    }
}
