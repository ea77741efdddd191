//! `daemon`: WAL files for PostgreSQL from a warm process, over WAL-G's daemon socket.
//!
//! In: a socket's path, a data directory, who serves ([`Serves`]), what the service manager wants to be told. Out: a
//! [`Report`] when it was stopped in order. Never: writes into an archive, writes outside the data directory, answers
//! "not there" by anything but the archive's word, lets one client keep another one waiting, gives a file its name for a
//! client that is gone.
//!
//! ```text
//! accept ── a task for each connection: frames ─▶ check │ fetch ─▶ Serves ─▶ one byte back, and the end
//!    │                                                                │
//!    └── seats: who idles longest makes room                          └── Ticket: is it still wanted? then rename
//! ```
//!
//! **A late rename is dangerous.** PostgreSQL asks for file after file under one name, RECOVERYXLOG. A client that was
//! killed, or that outlived its server, must not have its file put there when the next one has been asked for. So a file
//! gets its name while its client is connected and nobody has asked for another file at that place since, and both are
//! looked at under one lock with the rename.

use crate::error::{Answer, Code, Error};
use crate::feed::walg_socket::{Malformed, Reply, Request, Requests};
use crate::layout::WalFile;
use async_trait::async_trait;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};

pub mod ahead;
pub mod direct;
pub mod notify;
mod seats;
mod socket;
pub mod ticket;

pub use ahead::Ahead;
pub use direct::Direct;
pub use notify::{Manager, Notifier};
pub use ticket::{Ticket, Turns};

use seats::Seats;
use ticket::{Desk, gone, is_gone};

/// How often the service manager hears how it goes, if that has changed.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// After a failure to accept: descriptors may be short.
const BREATH: Duration = Duration::from_millis(100);

/// What the daemon is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub socket: PathBuf,
    /// The data directory that destinations belong to. It need not exist yet.
    pub data: PathBuf,
    /// What it puts up with.
    pub limits: Limits,
    /// Who wants to know how it goes.
    pub manager: Manager,
}

/// What the daemon puts up with.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at one time. When all are taken the one that idles longest makes room.
    pub connections: usize,
    /// From the first byte of a request to its last, and for the answer to be taken.
    pub frame: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// From a request until the store must have answered.
    pub deadline: Duration,
}

impl Limits {
    /// What will do. The deadline is below the 60 s that clients wait: then they hear why.
    pub const USUAL: Limits = Limits {
        connections: 256,
        frame: Duration::from_secs(5),
        idle: Duration::from_secs(600),
        deadline: Duration::from_secs(55),
    };
}

/// What became of a request, when it did not fail.
#[derive(Debug, Clone)]
pub struct Served {
    /// Is the file at its destination, or is it not in the archive?
    pub delivered: bool,
    /// What people should know and need not act on.
    pub notes: Vec<String>,
    /// What people should act on.
    pub warnings: Vec<String>,
}

/// Brings WAL files to their destinations.
#[async_trait]
pub trait Serves: Send + Sync + fmt::Debug {
    /// Bring this one. The file must get its name through the ticket.
    async fn fetch(&self, ticket: &Ticket<'_>) -> Answer<Served>;

    /// Leave nothing behind: there will be no more.
    async fn close(&self) {}
}

/// How often what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Files delivered.
    pub delivered: u64,
    /// Files that are not in the archive.
    pub absent: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests whose client was gone before the end.
    pub left: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { delivered, absent, failed, left } = self;
        write!(f, "{delivered} delivered, {absent} not in the archive, {failed} failed, {left} not waited for")
    }
}

/// Serve until SIGTERM or SIGINT.
pub async fn run(options: &Options, serves: Arc<dyn Serves>) -> Answer<Report> {
    let of_system = |error: io::Error| Error::new(Code::LocalIo, "cannot be told when to stop").because(error);
    let mut term = signal(SignalKind::terminate()).map_err(of_system)?;
    let mut int = signal(SignalKind::interrupt()).map_err(of_system)?;
    let (stop, stopped) = watch::channel(Stop::No);
    let signals = async move {
        for how in [Stop::InOrder, Stop::Now] {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            stop.send_replace(how);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        report = serve(options, serves, stopped) => report,
        () = signals => Err(Error::new(Code::InternalBug, "a wait without an end ended")),
    }
}

/// How urgently to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Go on.
    No,
    /// Take no more; finish what runs.
    InOrder,
    /// Leave what runs.
    Now,
}

/// Serve until told to stop.
pub async fn serve(options: &Options, serves: Arc<dyn Serves>, stop: watch::Receiver<Stop>) -> Answer<Report> {
    let mut told_to_stop = stop.clone();
    let notifier = Notifier::new(options.manager.socket.as_deref());
    let (listener, bound) = socket::bind(&options.socket)?;
    let listener = UnixListener::from_std(listener).map_err(|error| {
        Error::new(Code::LocalIo, "cannot listen there").on(options.socket.display()).because(error)
    })?;
    let shared = Arc::new(Shared {
        serves,
        data: std::path::absolute(&options.data).unwrap_or_else(|_| options.data.clone()),
        named: options.data.clone(),
        limits: options.limits.clone(),
        seats: Seats::new(options.limits.connections.max(1)),
        desk: Desk::default(),
        counts: Counts::default(),
        pushes: AtomicBool::new(false),
        garbage: AtomicBool::new(false),
        last_absent: Mutex::default(),
    });
    tracing::info!("serving {} on {}", shared.data.display(), options.socket.display());
    notifier.tell(&format!("READY=1\nSTATUS=Serving {}", shared.data.display()));

    // Half the time, as sd_watchdog_enabled(3) advises.
    let beat = options.manager.watchdog.map(|watchdog| (watchdog / 2).max(Duration::from_millis(1)));
    let mut beats = interval(beat.unwrap_or(STATUS_EVERY));
    let mut looks = interval(STATUS_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = Report::default();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (shared, stop) = (shared.clone(), stop.clone());
                    tasks.spawn(async move { shared.connection(stream, stop).await });
                }
                Err(error) => {
                    tracing::warn!("cannot take a connection: {error}");
                    sleep(BREATH).await;
                }
            },
            Some(ended) = tasks.join_next() => reap(ended),
            _ = beats.tick(), if beat.is_some() => notifier.tell("WATCHDOG=1"),
            _ = looks.tick() => {
                let now = shared.counts.report();
                if now != said {
                    notifier.tell(&format!("STATUS=Serving {}: {now}", shared.data.display()));
                    said = now;
                }
            }
            () = told(&mut told_to_stop, Stop::InOrder) => break,
        }
    }

    // First nobody comes any more: a new client sees that there is no daemon, and need not wait to hear it.
    bound.remove();
    drop(listener);
    notifier.tell("STOPPING=1\nSTATUS=Stopping");
    tracing::info!("stopping");
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(ended) => reap(ended),
                None => break,
            },
            _ = beats.tick(), if beat.is_some() => notifier.tell("WATCHDOG=1"),
            () = told(&mut told_to_stop, Stop::Now) => {
                tracing::warn!("stopped at once: {} requests were not finished", shared.seats.busy());
                tasks.shutdown().await;
                break;
            }
        }
    }
    shared.serves.close().await;
    Ok(shared.counts.report())
}

/// Until it is to stop, at least so.
async fn told(stop: &mut watch::Receiver<Stop>, how: Stop) {
    // Nobody left who could say it: stop.
    let _ = stop.wait_for(|stop| *stop >= how).await;
}

/// A connection's task has ended; by a panic it would be a bug.
fn reap(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("[{}] the task of a connection panicked", Code::InternalBug);
    }
}

#[derive(Debug, Default)]
struct Counts {
    delivered: AtomicU64,
    absent: AtomicU64,
    failed: AtomicU64,
    left: AtomicU64,
}

impl Counts {
    fn report(&self) -> Report {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Report {
            delivered: read(&self.delivered),
            absent: read(&self.absent),
            failed: read(&self.failed),
            left: read(&self.left),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[derive(Debug)]
struct Shared {
    serves: Arc<dyn Serves>,
    /// The data directory, absolute.
    data: PathBuf,
    /// The same as the settings name it.
    named: PathBuf,
    limits: Limits,
    seats: Seats,
    desk: Desk,
    counts: Counts,
    /// It was said that nothing is archived here.
    pushes: AtomicBool,
    /// It was said that somebody sends what is no request.
    garbage: AtomicBool,
    /// A standby asks for the same file every few seconds.
    last_absent: Mutex<Option<WalFile>>,
}

impl Shared {
    async fn connection(&self, mut stream: UnixStream, mut stop: watch::Receiver<Stop>) {
        // The socket's mode says the same; it was not yet so when the socket was made.
        let ours = rustix::process::geteuid().as_raw();
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == ours || peer.uid() == 0 => {}
            Ok(peer) => return tracing::warn!("user {} was turned away", peer.uid()),
            Err(error) => return tracing::warn!("somebody of whom nothing is known was turned away: {error}"),
        }
        let Some(seat) = self.seats.take() else {
            tracing::warn!("{} requests are being served: one more was turned away", self.limits.connections);
            count(&self.counts.failed);
            return self.last_answer(stream, Reply::Failed).await;
        };
        let mut incoming = Incoming::new();
        loop {
            seat.idles();
            let request = tokio::select! {
                request = incoming.next(&mut stream, &self.limits) => request,
                () = seat.wanted() => return,
                () = told(&mut stop, Stop::InOrder) => return,
            };
            seat.works();
            let reply = match request {
                Ok(Some(Request::Check)) => {
                    self.answer(&mut stream, Reply::Done).await;
                    continue;
                }
                Ok(Some(Request::Push(_))) => self.push(),
                Ok(Some(Request::Fetch { name, destination })) => {
                    match self.fetch(&stream, &name, &destination).await {
                        Some(reply) => reply,
                        None => return,
                    }
                }
                Ok(None) => return,
                Err(error) => self.nonsense(&error),
            };
            return self.last_answer(stream, reply).await;
        }
    }

    /// Answer and end the connection. What was sent and not looked at is taken: left there, it would reset the connection.
    async fn last_answer(&self, mut stream: UnixStream, reply: Reply) {
        self.answer(&mut stream, reply).await;
        let mut unread = [0; 4096];
        for _ in 0..16 {
            match stream.try_read(&mut unread) {
                Ok(length) if length > 0 => {}
                _ => break,
            }
        }
    }

    async fn answer(&self, stream: &mut UnixStream, reply: Reply) {
        // Who does not take it is gone or will be.
        let _ = timeout(self.limits.frame, stream.write_all(&[reply.byte()])).await;
    }

    fn push(&self) -> Reply {
        count(&self.counts.failed);
        if !self.pushes.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "a client asks to archive a file: wal-r writes nothing into archives. Point archive_command at the \
                 daemon of WAL-G, on a socket of its own (said once)"
            );
        }
        Reply::Failed
    }

    fn nonsense(&self, error: &NoRequest) -> Reply {
        count(&self.counts.failed);
        match self.garbage.swap(true, Ordering::Relaxed) {
            false => tracing::warn!("a client sent {error} (said once)"),
            true => tracing::debug!("a client sent {error}"),
        }
        Reply::Failed
    }

    /// Serve a fetch. `None`: there is nobody left to be answered.
    async fn fetch(&self, stream: &UnixStream, name: &[u8], destination: &[u8]) -> Option<Reply> {
        let (file, destination) = match self.wish(name, destination) {
            Ok(wish) => wish,
            Err(error) => {
                tracing::error!("[{}] {}", error.code(), error.chain());
                count(&self.counts.failed);
                return Some(Reply::Failed);
            }
        };
        let ticket = self.desk.ticket(file, destination, stream, Instant::now() + self.limits.deadline);
        let served = tokio::select! {
            served = self.serves.fetch(&ticket) => served,
            () = gone(stream) => Err(ticket.left_error()),
        };
        if is_gone(stream) && !matches!(&served, Ok(Served { delivered: true, .. })) {
            tracing::info!("{file}: its client did not wait for it", file = ticket.file());
            count(&self.counts.left);
            return None;
        }
        Some(match served {
            Ok(Served { delivered, notes, warnings }) => {
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                match delivered {
                    true => {
                        notes.iter().for_each(|note| tracing::info!("{note}"));
                        tracing::debug!("{} delivered to {}", ticket.file(), ticket.destination().display());
                        count(&self.counts.delivered);
                        Reply::Done
                    }
                    false => {
                        self.absent(ticket.file(), &notes);
                        count(&self.counts.absent);
                        Reply::Absent
                    }
                }
            }
            Err(error) => {
                tracing::error!("{}: [{}] {}", ticket.file(), error.code(), error.chain());
                count(&self.counts.failed);
                Reply::Failed
            }
        })
    }

    /// An ordinary end of the archive is told once, not at each poll of a standby.
    fn absent(&self, file: &WalFile, notes: &[String]) {
        let before = self.last_absent.lock().unwrap_or_else(PoisonError::into_inner).replace(*file);
        match before.as_ref() == Some(file) {
            true => notes.iter().for_each(|note| tracing::debug!("{note}")),
            false => notes.iter().for_each(|note| tracing::info!("{note}")),
        }
    }

    /// What is wished for, if it can be.
    fn wish(&self, name: &[u8], destination: &[u8]) -> Answer<(WalFile, PathBuf)> {
        let text = String::from_utf8_lossy(name);
        let file = super::wal_fetch::name(&text)?;
        Ok((file, place(&self.data, &self.named, destination)?))
    }
}

/// The destination within the data directory. What is relative is relative to it; what is absolute must lie in it, by the
/// name it is set by or its real one.
///
/// WAL-G joins everything to the data directory that does not contain its name somewhere.
fn place(data: &Path, named: &Path, sent: &[u8]) -> Answer<PathBuf> {
    let path = Path::new(OsStr::from_bytes(sent));
    let refused = |what: &str| Error::new(Code::LocalTarget, what.to_owned()).on(path.display());
    if sent.is_empty() || sent.contains(&0) {
        return Err(refused("is no destination"));
    }
    let real = std::fs::canonicalize(data).ok();
    let bases = [Some(data), real.as_deref(), Some(named)];
    let inner = match bases.into_iter().flatten().find_map(|base| path.strip_prefix(base).ok()) {
        Some(inner) => inner,
        None if path.is_relative() => path,
        None => return Err(refused(&format!("is not in the data directory {}", data.display()))),
    };
    let stays = inner.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !stays || inner.file_name().is_none() || sent.ends_with(b"/") {
        return Err(refused(&format!("leaves the data directory {}, or names no file in it", data.display())));
    }
    Ok(data.join(inner))
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
enum NoRequest {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("a part of a request, and then nothing for {0:?}")]
    Stalled(Duration),
    #[error("a part of a request, and then ended the connection")]
    Cut,
}

/// What came of a connection and was not looked at yet.
struct Incoming {
    requests: Requests,
    buffer: Vec<u8>,
    /// When the request began that is not whole yet.
    since: Option<Instant>,
}

impl Incoming {
    fn new() -> Self {
        Incoming { requests: Requests::new(), buffer: Vec::with_capacity(1024), since: None }
    }

    /// The next request; `None` when the connection ended or idled between two.
    async fn next(&mut self, stream: &mut UnixStream, limits: &Limits) -> Result<Option<Request>, NoRequest> {
        let begun = Instant::now();
        loop {
            let (taken, request) = self.requests.feed(&self.buffer)?;
            self.buffer.drain(..taken);
            if let Some(request) = request {
                self.since = None;
                return Ok(Some(request));
            }
            let between = self.requests.is_between();
            let until = match between {
                true => begun + limits.idle,
                false => *self.since.get_or_insert_with(Instant::now) + limits.frame,
            };
            match timeout_at(until, stream.read_buf(&mut self.buffer)).await {
                Ok(Ok(length)) if length > 0 => {}
                _ if between => return Ok(None),
                Ok(_) => return Err(NoRequest::Cut),
                Err(_) => return Err(NoRequest::Stalled(limits.frame)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
