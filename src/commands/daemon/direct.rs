//! WAL files asked of the stores themselves, each for one request, over warm connections.
//!
//! In: tickets. Out: files at their destinations, by `wal_fetch`'s judgement. Never: keeps anything from one request to the
//! next but connections and credentials.

use super::ticket::Turns;
use super::{Served, Serves, Ticket};
use crate::catalog::inventory::Form;
use crate::commands::wal_fetch::{self, OnGap, Outcome, Report};
use crate::error::{Answer, Code, Error};
use crate::feed::mode::Mode;
use crate::feed::stores::{Seen, Stores};
use crate::layout::Compression;
use crate::storage::retry::RetryPolicy;
use crate::wal::segment::Level;
use async_trait::async_trait;
use std::path::PathBuf;

/// Asks the store.
#[derive(Debug)]
pub struct Direct {
    /// The archive: each request has a deadline of its own.
    pub stores: Stores,
    /// The data directory.
    pub data: PathBuf,
    /// How closely a segment is looked at.
    pub check: Level,
    /// What a gap means; `None`: by who asks.
    pub on_gap: Option<OnGap>,
    /// How many do so at one time.
    pub turns: Turns,
}

impl Direct {
    /// Bring it, and say all that is known of it.
    pub(super) async fn run(&self, ticket: &Ticket<'_>) -> Answer<Report> {
        let _turn = self.turns.take(ticket).await?;
        let (data, file, destination) = (self.data.clone(), *ticket.file(), ticket.destination().to_owned());
        let options = wal_fetch::Options {
            file,
            destination: destination.clone(),
            check: self.check,
            on_gap: self.on_gap,
            likely: Form::of_suffix(Compression::Lzo),
            now: jiff::Timestamp::now(),
            overtaken: wal_fetch::overtaken_wait(ticket.left()),
            seen: None,
        };
        // Many small files of the server.
        let mode = tokio::task::spawn_blocking(move || Mode::find(&data, &file, &destination, None));
        let mode = mode.await.map_err(|cause| Error::new(Code::InternalBug, "a thread died").because(cause))?;
        let stores = self.stores.anew(&RetryPolicy::within(ticket.left()));
        let publish = |landing, sync| ticket.publish(landing, sync);
        stores.fetch(&options, 0, Seen::default(), &mode, &publish).await.0
    }
}

#[async_trait]
impl Serves for Direct {
    async fn fetch(&self, ticket: &Ticket<'_>) -> Answer<Served> {
        Ok(self.run(ticket).await?.into())
    }
}

impl From<Report> for Served {
    fn from(report: Report) -> Served {
        Served {
            delivered: matches!(report.outcome, Outcome::Delivered { .. }),
            notes: report.notes,
            warnings: report.warnings,
        }
    }
}
