//! wal-fetch and the feeder: what is tried before anything else, and how the feeder runs.
//!
//! In: argv and the environment. Out: an answer of the feeder, or none; a feeder. Never: parses more than it needs for a hit:
//! PostgreSQL waits.

use super::args::wal_fetch::Args;
use super::config::{Environment, Id};
use super::context::Context;
use super::exit;
use crate::catalog::inventory::Form;
use crate::commands::daemon::{Ahead, Direct, Serves, Turns};
use crate::commands::wal_fetch::Options;
use crate::error::{Answer, Code, Error};
use crate::feed::client::{self, Told, What};
use crate::feed::detach;
use crate::feed::feeder::{self, Settings};
use crate::feed::mode::{Mode, Who};
use crate::feed::protocol::Question;
use crate::feed::spool::Meeting;
use crate::layout::{Compression, WalFile};
use crate::storage::retry::Counters;
use crate::wal::Carry;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// What the feeder said, and what it takes to talk to it again.
#[derive(Debug)]
pub struct Asked {
    file: WalFile,
    destination: PathBuf,
    digest: String,
    began: Instant,
    /// What it said.
    pub told: Told,
}

/// Ask the feeder, when the command line is that of a server on its way. Before anything is parsed: a feeder answers only
/// a command line that differs from its own in nothing but the file, and its own was parsed.
pub fn ask(argv: &[OsString], environment: &Environment) -> Option<Asked> {
    let began = Instant::now();
    // Whom a daemon serves, its feeder serves: with other settings than this command line's.
    if argv.iter().any(|word| word == "--socket" || word.as_encoded_bytes().starts_with(b"--socket=")) {
        return None;
    }
    let (file, destination) = client::looks_ahead(argv)?;
    let digest = client::settings_digest(argv, environment.iter());
    let told = client::ask(&destination, &file, &digest);
    Some(Asked { file, destination, digest, began, told })
}

impl Asked {
    /// Delivered, and nothing to be said.
    pub fn is_done(&self) -> bool {
        matches!(self.told.what, What::Delivered) && self.told.notes.is_empty() && self.told.warnings.is_empty()
    }

    /// Since the call began.
    pub fn waited(&self) -> Duration {
        self.began.elapsed()
    }

    /// Start a feeder, if this call is one that it can work for.
    pub fn start_feeder(&self, argv: &[OsString], args: &Args, mode: &Mode, parallel: Option<u64>) {
        let What::Alone { start: true, .. } = self.told.what else { return };
        let wanted = args.looks_ahead() && parallel != Some(1);
        if !wanted || !matches!(mode.who, Who::PointInTime | Who::Standby) || mode.control.is_none() {
            return;
        }
        let Some(meeting) = Meeting::beside(&self.destination).filter(Meeting::is_in_our_folder) else { return };
        let started = meeting.prepare().map_err(|error| error.chain());
        let started = started.and_then(|()| {
            super::config::this_program()
                .and_then(|program| detach::start(&program, argv))
                .map_err(|error| format!("cannot start it: {error}"))
        });
        if let Err(why) = started {
            // For every file it would be too often.
            let number = match &self.file {
                WalFile::Segment(name) => name.to_string().as_bytes().last().copied().unwrap_or(b'0'),
                _ => b'0',
            };
            match number {
                b'0' => tracing::warn!("nothing is fetched ahead: {why}"),
                _ => tracing::debug!("nothing is fetched ahead: {why}"),
            }
        }
    }

    /// Tell the feeder that this file was fetched without it.
    pub fn report(&self, carry: Option<Carry>) {
        let What::Alone { .. } = self.told.what else { return };
        let microseconds = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (file, settings) = (self.file, self.digest.clone());
        client::tell(&self.destination, &Question::Got { file, settings, microseconds, carry: carry.map(Box::new) });
    }
}

/// Who serves the clients of a daemon: the store, and a feeder where anything is to be fetched ahead.
pub async fn serves(
    context: &Context,
    args: &super::args::daemon::Args,
    data: &Path,
    deadline: Duration,
) -> Answer<Arc<dyn Serves>> {
    let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let config = context.config()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let direct = Direct {
        store: context.bare_store(super::PATIENCE).await?,
        data: data.clone(),
        check: args.level(),
        on_gap: args.on_gap(),
        turns: Turns::new(cores.max(2) * 2),
    };
    let parallel = config.count(Id::WALG_DOWNLOAD_CONCURRENCY)?.and_then(|count| usize::try_from(count).ok());
    if args.spool_bytes == Some(0) || parallel == Some(1) {
        return Ok(Arc::new(direct));
    }
    let counters = Arc::new(Counters::default());
    let settings = Settings {
        store: context.store_to_feed_from(Arc::clone(&counters)).await?,
        counters,
        // Those of the question that starts a feeder take their place.
        meeting: Meeting::in_wal_directory(&data.join("pg_wal")),
        destination: data.join("pg_wal/RECOVERYXLOG"),
        elsewhere: config.path(Id::WALG_PREFETCH_DIR),
        directory: data,
        forced: None,
        check: args.level(),
        on_gap: args.on_gap(),
        likely: Form::of_suffix(Compression::Lzo),
        spool_bytes: args.spool_bytes,
        parallel: parallel.unwrap_or(Settings::PARALLEL),
        // No wal-fetch's.
        digest: "daemon".to_owned(),
        // What it cannot bring within this time is asked of the store anew, within the same deadline.
        patience: deadline / 3,
        status_file: args.status_file.clone(),
        beside_server: false,
        idle: Settings::IDLE,
    };
    Ok(Arc::new(Ahead::new(direct, settings)))
}

/// Be the feeder until it is time to go. Exit codes are 0 and 1 only: in a container whose first process is the server, it
/// is the server that takes note of how an orphan ended, and any other code would look like a crash to it.
pub async fn run(context: &Context, args: &Args, argv: &[OsString]) -> u8 {
    match feed(context, args, argv).await {
        Ok(()) => exit::OK,
        Err(error) => {
            tracing::error!("nothing is fetched ahead: {}", error.chain());
            1
        }
    }
}

async fn feed(context: &Context, args: &Args, argv: &[OsString]) -> Answer<()> {
    let options: Options = args.options(jiff::Timestamp::now())?;
    let Some(meeting) = Meeting::beside(&options.destination) else { return Ok(()) };
    let config = context.config()?;
    let parallel = config.count(Id::WALG_DOWNLOAD_CONCURRENCY)?.and_then(|count| usize::try_from(count).ok());
    let counters = Arc::new(Counters::default());
    let settings = Settings {
        store: context.store_to_feed_from(Arc::clone(&counters)).await?,
        counters,
        meeting,
        elsewhere: config.path(Id::WALG_PREFETCH_DIR),
        directory: Path::new(".").to_owned(),
        destination: options.destination,
        forced: args.forced(),
        check: options.check,
        on_gap: options.on_gap,
        likely: options.likely,
        spool_bytes: args.spool_bytes,
        parallel: parallel.unwrap_or(Settings::PARALLEL),
        digest: client::settings_digest(argv, context.environment().iter()),
        // Its askers go to the store themselves then, within the same deadline.
        patience: context.deadline().unwrap_or(super::args::wal_fetch::DEADLINE) / 3,
        status_file: args.status_file.clone(),
        beside_server: true,
        idle: Settings::IDLE,
    };
    let of_system = |error| Error::new(Code::LocalIo, "cannot be told when to stop").because(error);
    let mut term = signal(SignalKind::terminate()).map_err(of_system)?;
    let mut int = signal(SignalKind::interrupt()).map_err(of_system)?;
    let mut hup = signal(SignalKind::hangup()).map_err(of_system)?;
    let Some((feeder, mut running)) = feeder::start(settings, &options.file)? else { return Ok(()) };
    tokio::select! {
        _ = &mut running => return Ok(()),
        _ = term.recv() => {}
        _ = int.recv() => {}
        _ = hup.recv() => {}
    }
    feeder.stop().await;
    let _ = running.await;
    Ok(())
}
