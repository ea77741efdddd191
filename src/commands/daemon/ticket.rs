//! A request for a file at a place, and whether it is still wanted there.
//!
//! In: requests with their connections. Out: [`Ticket`]s, through which a finished file gets its name. Never: gives a file its
//! name for a client that is gone, or where another file has been asked for since.

use crate::error::{Answer, Code, Error};
use crate::feed::client;
use crate::feed::deliver::Landing;
use crate::layout::WalFile;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};

/// How often it is looked whether a client that waits for a file is still there.
const GLANCE: Duration = Duration::from_millis(100);

/// Who asks for what at which place.
#[derive(Debug, Default)]
pub(super) struct Desk {
    places: Mutex<HashMap<PathBuf, Asked>>,
    number: AtomicU64,
}

/// What was asked for last at one place.
#[derive(Debug)]
struct Asked {
    number: u64,
    file: WalFile,
    /// Tickets for this place.
    tickets: usize,
}

impl Desk {
    fn places(&self) -> MutexGuard<'_, HashMap<PathBuf, Asked>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ticket<'a>(
        &'a self,
        file: WalFile,
        destination: PathBuf,
        client: &'a UnixStream,
        until: Instant,
    ) -> Ticket<'a> {
        let mut places = self.places();
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let asked = places.entry(destination.clone()).or_insert_with(|| Asked { number, file, tickets: 0 });
        asked.number = number;
        asked.file = file;
        asked.tickets += 1;
        drop(places);
        Ticket { desk: self, number, client, file, destination, until }
    }
}

/// One request, as long as it is served.
#[derive(Debug)]
pub struct Ticket<'a> {
    desk: &'a Desk,
    number: u64,
    client: &'a UnixStream,
    file: WalFile,
    destination: PathBuf,
    until: Instant,
}

impl Ticket<'_> {
    /// What is asked for.
    pub fn file(&self) -> &WalFile {
        &self.file
    }

    /// Where it goes.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// How long the store may still take.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Give a finished file its name, if it is still wanted.
    pub fn publish(&self, landing: Landing, sync: bool) -> Answer<()> {
        landing.publish_if(sync, || self.wanted())
    }

    /// Take a finished file from elsewhere, if it is still wanted here. `Ok(false)`: it is gone.
    pub fn take(&self, from: &Path) -> Answer<bool> {
        client::hand_over_if(from, &self.destination, || self.wanted())
    }

    /// The leave to give it its name now, as long as it is held.
    fn wanted(&self) -> Answer<MutexGuard<'_, HashMap<PathBuf, Asked>>> {
        let places = self.desk.places();
        if is_gone(self.client) {
            return Err(self.left_error());
        }
        match places.get(&self.destination) {
            Some(last) if last.number > self.number && last.file != self.file => {
                let what = format!("not delivered: {} was asked for at the same place since", last.file);
                Err(Error::new(Code::LocalIo, what).on(self.destination.display()))
            }
            _ => Ok(places),
        }
    }

    pub(super) fn left_error(&self) -> Error {
        Error::new(Code::LocalIo, "not delivered: its client is gone").on(self.destination.display())
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut places = self.desk.places();
        if let Some(asked) = places.get_mut(&self.destination) {
            asked.tickets -= 1;
            if asked.tickets == 0 {
                places.remove(&self.destination);
            }
        }
    }
}

/// How many may ask the store at one time.
#[derive(Debug)]
pub struct Turns {
    most: usize,
    free: Semaphore,
}

impl Turns {
    /// So many.
    pub fn new(most: usize) -> Turns {
        Turns { most, free: Semaphore::new(most.max(1)) }
    }

    /// Wait for a turn, as long as the ticket's store may take.
    pub async fn take(&self, ticket: &Ticket<'_>) -> Answer<SemaphorePermit<'_>> {
        let busy = || {
            let what = format!("{} other fetches took until the deadline", self.most);
            Error::new(Code::StoreTimeout, what).on(ticket.file())
        };
        timeout_at(ticket.until, self.free.acquire()).await.map_err(|_| busy())?.map_err(|_| busy())
    }
}

/// Is nobody at the other end? A client that only has nothing more to say (`nc -N`) still listens.
pub(super) fn is_gone(stream: &UnixStream) -> bool {
    let mut look = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let looked = poll(&mut look, Some(&now));
    looked.is_ok() && look.iter().any(|one| one.revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

/// Until nobody is at the other end.
pub(super) async fn gone(stream: &UnixStream) {
    while !is_gone(stream) {
        sleep(GLANCE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A file in the spool is taken for who still wants it, and stays for the next one else.
    #[tokio::test]
    async fn from_the_spool_for_who_wants_it() {
        let folder = tempfile::tempdir().unwrap();
        let (spooled, place) = (folder.path().join("spooled"), folder.path().join("RECOVERYXLOG"));
        let [first, second]: [WalFile; 2] =
            ["000000010000000000000001", "000000010000000000000002"].map(|name| name.parse().unwrap());
        let until = Instant::now() + Duration::from_secs(60);
        let desk = Desk::default();
        let (client, peer) = UnixStream::pair().unwrap();
        let (other, _its_peer) = UnixStream::pair().unwrap();
        fs::write(&spooled, "whole").unwrap();

        // Another file was asked for at this place, and its client may even be done.
        let early = desk.ticket(first, place.clone(), &client, until);
        drop(desk.ticket(second, place.clone(), &other, until));
        assert!(early.take(&spooled).unwrap_err().to_string().contains("was asked for at the same place since"));
        assert!(spooled.exists() && !place.exists());
        drop(early);
        assert!(desk.places().is_empty());

        let ticket = desk.ticket(first, place.clone(), &client, until);
        drop(desk.ticket(first, place.clone(), &other, until));
        assert!(ticket.take(&spooled).unwrap());
        assert!(!spooled.exists() && place.exists());
        assert!(!ticket.take(&spooled).unwrap(), "taken already");

        fs::rename(&place, &spooled).unwrap();
        drop(peer);
        assert!(ticket.take(&spooled).unwrap_err().to_string().contains("its client is gone"));
        assert!(spooled.exists() && !place.exists());
    }
}
