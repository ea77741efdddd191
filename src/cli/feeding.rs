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
use crate::wal::Carry;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
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
    if asks_daemon(argv) {
        return None;
    }
    let (file, destination) = client::looks_ahead(argv)?;
    let digest = client::settings_digest(argv, environment.iter());
    let told = client::ask(&destination, &file, &digest);
    Some(Asked { file, destination, digest, began, told })
}

/// `wal-r-fetch`, whose command line this is: take a segment that lies ready at the feeder. For everything else become the
/// `wal-r wal-fetch` beside this program, which asks, fetches and says what there is to say. Returns only with exit codes.
pub fn fetch_or_become(argv: impl IntoIterator<Item = OsString>, environment: &Environment) -> u8 {
    let words = ["wal-r", "wal-fetch"].map(OsString::from).into_iter();
    let argv: Vec<OsString> = words.chain(argv.into_iter().skip(1)).collect();
    // A panic is no answer: `wal-r` has one.
    let taken = catch_unwind(AssertUnwindSafe(|| take_ready(&argv, environment))).unwrap_or(false);
    if taken {
        return exit::OK;
    }
    let program = super::config::this_program().map(|program| program.with_file_name("wal-r"));
    let cause = match &program {
        Ok(program) => Command::new(program).args(argv.iter().skip(1)).exec(),
        Err(cause) => io::Error::new(cause.kind(), cause.to_string()),
    };
    let program = program.unwrap_or_else(|_| "wal-r".into());
    let error =
        Error::new(Code::LocalIo, "cannot be run, and wal-r-fetch needs it").on(program.display()).because(cause);
    let error = error.hint("Put wal-r and wal-r-fetch of one version into one folder.");
    super::console::plain(&error);
    super::before_verb(error.code(), &argv)
}

fn take_ready(argv: &[OsString], environment: &Environment) -> bool {
    if asks_daemon(argv) {
        return false;
    }
    let Some((file, destination)) = client::looks_ahead(argv) else { return false };
    let digest = client::settings_digest(argv, environment.iter());
    client::take_ready(&destination, &file, &digest)
}

/// Whom a daemon serves, its feeder serves: with other settings than this command line's.
fn asks_daemon(argv: &[OsString]) -> bool {
    argv.iter().any(|word| word == "--socket" || word.as_encoded_bytes().starts_with(b"--socket="))
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
    pub fn start_feeder(&self, argv: &[OsString], args: &Args, mode: &Mode, parallel: Option<usize>) {
        let What::Alone { start: true, .. } = self.told.what else { return };
        if !args.looks_ahead(parallel) || !matches!(mode.who, Who::PointInTime | Who::Standby) || mode.control.is_none()
        {
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
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let direct = Direct {
        stores: context.stores(super::PATIENCE).await?,
        data: data.clone(),
        check: args.feeding.level(),
        on_gap: args.feeding.on_gap(),
        turns: Turns::new(cores.max(2) * 2),
    };
    if !args.feeding.looks_ahead(parallel(context)?) {
        return Ok(Arc::new(direct));
    }
    // Those of the question that starts a feeder take their place.
    let (meeting, destination) = (Meeting::in_wal_directory(&data.join("pg_wal")), data.join("pg_wal/RECOVERYXLOG"));
    let settings = settings(context, &args.feeding, meeting, destination, deadline).await?;
    // No wal-fetch's digest.
    let settings = Settings { directory: data, digest: "daemon".to_owned(), beside_server: false, ..settings };
    Ok(Arc::new(Ahead::new(direct, settings)))
}

/// Fetches at one time, where the settings say so.
pub fn parallel(context: &Context) -> Answer<Option<usize>> {
    let count = context.config()?.count(Id::WALG_DOWNLOAD_CONCURRENCY)?;
    Ok(count.and_then(|count| usize::try_from(count).ok()))
}

/// What a feeder is told that runs where restore_command does.
async fn settings(
    context: &Context,
    args: &super::args::feeding::Feeding,
    meeting: Meeting,
    destination: PathBuf,
    deadline: Duration,
) -> Answer<Settings> {
    Ok(Settings {
        stores: context.stores_to_feed_from().await?,
        meeting,
        elsewhere: context.config()?.path(Id::WALG_PREFETCH_DIR),
        directory: Path::new(".").to_owned(),
        destination,
        forced: None,
        check: args.level(),
        on_gap: args.on_gap(),
        likely: Form::of_suffix(Compression::Lzo),
        spool_bytes: args.spool_bytes,
        parallel: parallel(context)?.unwrap_or(Settings::PARALLEL),
        digest: String::new(),
        deadline,
        status_file: args.status_file.clone(),
        beside_server: true,
        idle: Settings::IDLE,
    })
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
    let deadline = context.deadline().unwrap_or(super::args::wal_fetch::DEADLINE);
    let Options { file, destination, .. } = args.options(jiff::Timestamp::now(), deadline)?;
    let Some(meeting) = Meeting::beside(&destination) else { return Ok(()) };
    let settings = settings(context, &args.feeding, meeting, destination, deadline).await?;
    let digest = client::settings_digest(argv, context.environment().iter());
    let settings = Settings { forced: args.forced(), digest, ..settings };
    let of_system = |error| Error::new(Code::LocalIo, "cannot be told when to stop").because(error);
    let mut term = signal(SignalKind::terminate()).map_err(of_system)?;
    let mut int = signal(SignalKind::interrupt()).map_err(of_system)?;
    let mut hup = signal(SignalKind::hangup()).map_err(of_system)?;
    let Some((feeder, mut running)) = feeder::start(settings, &file)? else { return Ok(()) };
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
