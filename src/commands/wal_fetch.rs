//! `wal-fetch`: one file for PostgreSQL, from the feeder that looks ahead or from the stores themselves.
//!
//! In: a name PostgreSQL asks for, a destination, who asks. Out: the file under its name, whole and checked, or one of the
//! other three answers. Never: takes anything but the store's own word for absence. The judgement is `feed::fetch`'s.

use crate::error::Answer;
use crate::feed::deliver::Landing;
use crate::feed::mode::Mode;
use crate::feed::stores::{Seen, Stores};

pub use crate::feed::fetch::{OnGap, Options, Outcome, Publish, Report, name, overtaken_wait};

/// Fetch it from whichever store has it.
pub async fn run(stores: &Stores, options: &Options, mode: &Mode) -> Answer<Report> {
    let publish = |landing: Landing, sync| landing.publish(sync);
    stores.fetch(options, 0, Seen::default(), mode, &publish).await.0
}
