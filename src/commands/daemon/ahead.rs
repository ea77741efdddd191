//! WAL files from a feeder in this process: what PostgreSQL asks for next is fetched and proven before it asks.
//!
//! In: tickets; how a feeder is set up. Out: files at their destinations, from the spool where they wait there, else as
//! [`Direct`] brings them. Never: keeps a feeder for a server that does not recover; takes a spool that another process owns.
//!
//! A feeder belongs to one recovery: it goes when that is over, and the next question of a recovery starts another one.

use super::direct::Direct;
use super::{Served, Serves, Ticket};
use crate::error::Answer;
use crate::feed::client::{TRIES, is_transient};
use crate::feed::feeder::{self, Feeder, Settings, What};
use crate::feed::mode::{Mode, Who};
use crate::feed::protocol::Question;
use crate::feed::spool::Meeting;
use crate::layout::WalFile;
use async_trait::async_trait;
use std::path::Path;
use std::sync::{Mutex as Blocking, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A feeder that was told to go clears its spool, and is not waited for longer.
const CLEARING: Duration = Duration::from_secs(5);

/// Asks a feeder, and the store where it has no answer.
#[derive(Debug)]
pub struct Ahead {
    direct: Direct,
    /// For each feeder; `meeting` and `destination` are those of the question that starts it.
    settings: Settings,
    running: Mutex<Running>,
    /// Why there is no feeder, as it was said last.
    said: Blocking<Option<String>>,
}

#[derive(Debug)]
enum Running {
    /// None, or one that has gone.
    No,
    Yes {
        feeder: Feeder,
        meeting: Meeting,
        ended: JoinHandle<()>,
    },
    /// The daemon stops: no more of them.
    Never,
}

impl Ahead {
    /// With feeders of these settings.
    pub fn new(direct: Direct, settings: Settings) -> Ahead {
        Ahead { direct, settings, running: Mutex::new(Running::No), said: Blocking::default() }
    }

    /// The feeder of the recovery that asks, started where there is none. `None`: nobody recovers here, or it cannot be.
    async fn feeder(&self, ticket: &Ticket<'_>) -> Option<(Feeder, Meeting)> {
        let (file, destination) = (*ticket.file(), ticket.destination().to_owned());
        // A server's own question: by the name it gives, in its WAL directory.
        let place = destination.parent().and_then(|wal| wal.strip_prefix(&self.settings.directory).ok());
        let is_wal = place.is_some_and(|place| ["pg_wal", "pg_xlog"].iter().any(|name| place == Path::new(name)));
        if !is_wal || !is_transient(&destination) || !matches!(file, WalFile::Segment(_) | WalFile::History(_)) {
            return None;
        }
        let wanted = Meeting::beside(&destination)?;
        let mut running = self.running.lock().await;
        match &*running {
            Running::Yes { feeder, meeting, ended } if !ended.is_finished() => {
                return (*meeting == wanted).then(|| (feeder.clone(), wanted));
            }
            Running::Never => return None,
            Running::No | Running::Yes { .. } => *running = Running::No,
        }
        let directory = self.settings.directory.clone();
        let settings = Settings { meeting: wanted.clone(), destination: destination.clone(), ..self.settings.clone() };
        let mode = tokio::task::spawn_blocking(move || Mode::find(&directory, &file, &destination, None)).await.ok()?;
        if !matches!(mode.who, Who::PointInTime | Who::Standby) || mode.control.is_none() {
            return None;
        }
        match feeder::start(settings, &file) {
            Ok(Some((feeder, ended))) => {
                *self.said.lock().unwrap_or_else(PoisonError::into_inner) = None;
                *running = Running::Yes { feeder: feeder.clone(), meeting: wanted.clone(), ended };
                Some((feeder, wanted))
            }
            Ok(None) => {
                self.say("nothing is fetched ahead: the feeder of another process owns the spool".to_owned());
                None
            }
            Err(error) => {
                self.say(format!("nothing is fetched ahead: {}", error.chain()));
                None
            }
        }
    }

    /// Once, not for every file.
    fn say(&self, what: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.as_ref() != Some(&what) {
            tracing::warn!("{what}");
            *said = Some(what);
        }
    }
}

#[async_trait]
impl Serves for Ahead {
    async fn fetch(&self, ticket: &Ticket<'_>) -> Answer<Served> {
        let Some((feeder, meeting)) = self.feeder(ticket).await else { return self.direct.fetch(ticket).await };
        let began = Instant::now();
        let (mut notes, mut warnings) = (Vec::new(), Vec::new());
        for _ in 0..TRIES {
            let reply = feeder.get(*ticket.file(), self.settings.digest.clone()).await;
            notes.extend(reply.notes);
            warnings.extend(reply.warnings);
            match reply.what {
                // A bare name lies in the meeting place; elsewhere is a whole path.
                What::Take(path) => {
                    if ticket.take(&meeting.directory().join(path))? {
                        return Ok(Served { delivered: true, notes, warnings });
                    }
                    // Another client took it.
                }
                What::Absent => return Ok(Served { delivered: false, notes, warnings }),
                What::Refused(error) => {
                    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                    return Err(error);
                }
                What::Yourself(why) => {
                    tracing::debug!("{}: fetched without the feeder: {why}", ticket.file());
                    break;
                }
                What::Leave => break,
            }
        }
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let mut report = self.direct.run(ticket).await?;
        if let Some(segment) = report.segment.take() {
            let microseconds = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            let (settings, carry) = (self.settings.digest.clone(), segment.carry.map(Box::new));
            feeder.tell(Question::Got { file: *ticket.file(), settings, microseconds, carry }).await;
        }
        Ok(report.into())
    }

    async fn close(&self) {
        let running = std::mem::replace(&mut *self.running.lock().await, Running::Never);
        if let Running::Yes { feeder, ended, .. } = running {
            feeder.stop().await;
            if timeout(CLEARING, ended).await.is_err() {
                tracing::warn!("the feeder did not clear its spool: the next one will");
            }
        }
    }
}
