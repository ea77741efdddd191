//! The feeder: one process that owns a spool and keeps it filled with what PostgreSQL will ask for next.
//!
//! In: [`Settings`], questions through [`Feeder`]. Out: whole, validated files in the spool, and for each question one
//! [`Reply`]. Never: hands over what did not validate, or what changed since; answers that something is absent by what it
//! remembers; looks behind a gap; keeps more than its bytes; outlives the recovery.
//!
//! One task owns all state and never waits: fetches, listings and joins are tasks of their own that end by a message.
//!
//! ```text
//!             questions                    fetches (feed::fetch, several at once)
//! wal-fetch ──────────────▶  the actor  ◀──────────────────────────────────────── store
//!           ◀──────────────  place, way,   listings (feed::ahead, one at a time)
//!             replies        entries,      joins (does this segment follow the one before?)
//!                            window
//! ```
//!
//! **A segment's life.** Fetched and validated by itself into the spool; joined: what crosses from the one before is
//! checked with that one's carry; handed over when asked for, if it is still the very file; removed when PostgreSQL is
//! past it. What an earlier owner left is removed at the start: it may be of another recovery, and no check could tell.
//!
//! **Absence.** Each "not there" is the store's answer to a request made for this question. A standby that asks for the
//! same file again and again costs one GET each time: the listing that absence needs as its witness may be a minute old.

use super::ahead::{self, Kept, Known, Listing, Map};
use super::client::is_transient;
use super::deliver::{self, Landing};
use super::fetch::{self, OnGap, Options, Outcome, Report};
use super::mode::{Mode, Who};
use super::protocol::Question;
use super::spool::{self, Meeting, Stamp};
use super::status::{Served, Status, Tally};
use super::stores::{Seen, Stores};
use super::window::Window;
use crate::catalog::inventory::Form;
use crate::error::{Answer, Class, Code, Error};
use crate::layout::WalFile;
use crate::pg::history::TimelineHistory;
use crate::pg::{Lsn, SegmentName, SegmentSize};
use crate::storage::retry::Counters;
use crate::wal::border::{Broken, Joined, Joining};
use crate::wal::{Carry, End, Level, SegmentReport};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

pub mod life;
pub mod listen;

/// How old the listing may be that a standby's repeated absence rests on.
const WITNESS: Duration = Duration::from_secs(60);
/// What could not be fetched ahead is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);
/// How long PostgreSQL is kept waiting while not a byte comes.
const SILENCE: Duration = Duration::from_secs(10);
/// Room that is left to PostgreSQL on the spool's file system, in segments.
const SPARED: u64 = 4;
/// How long nothing new is begun behind a hit: its asker has a rename and its end before it, PostgreSQL waits for both, and
/// fetches would take all cores from them.
const GIVING_WAY: Duration = Duration::from_millis(3);
/// So many segments may be fetched between a feeder's start and its listening.
const UNTOLD: usize = 3;
/// How often the actor looks around.
const TICK: Duration = Duration::from_millis(250);

/// What a feeder is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The archive.
    pub stores: Stores,
    /// Where it is met.
    pub meeting: Meeting,
    /// Where entries wait instead.
    pub elsewhere: Option<PathBuf>,
    /// The server's data directory: where restore_command runs.
    pub directory: PathBuf,
    /// The destination as PostgreSQL named it.
    pub destination: PathBuf,
    /// What `--mode` said.
    pub forced: Option<Who>,
    /// How closely segments are looked at.
    pub check: Level,
    /// What a gap means.
    pub on_gap: Option<OnGap>,
    /// The form that is asked for first while no listing told another.
    pub likely: Form,
    /// Bytes in the spool, at most. `None`: [`Settings::SPOOL_BYTES`], and two segments at least.
    pub spool_bytes: Option<u64>,
    /// Fetches at one time.
    pub parallel: usize,
    /// Digest of the settings; questions of others are not answered.
    pub digest: String,
    /// How long PostgreSQL waits for one file, whoever brings it.
    pub deadline: Duration,
    /// Where metrics are written every second.
    pub status_file: Option<PathBuf>,
    /// It was started by a command of the server, which therefore can be seen to live; else it may be in another container.
    pub beside_server: bool,
    /// It goes when nobody asked for so long.
    pub idle: Duration,
}

impl Settings {
    /// The spool's bytes unless told otherwise.
    pub const SPOOL_BYTES: u64 = 256 << 20;
    /// Fetches at one time unless told otherwise: WAL-G's default.
    pub const PARALLEL: usize = 10;
    /// How long nobody asks until it goes: a standby that streams needs no archive.
    pub const IDLE: Duration = Duration::from_secs(600);
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// What it is.
    pub what: What,
    /// What people should know.
    pub notes: Vec<String>,
    /// What people should act on.
    pub warnings: Vec<String>,
}

impl Reply {
    fn yourself(why: &str) -> Reply {
        Reply { what: What::Yourself(why.to_owned()), notes: Vec::new(), warnings: Vec::new() }
    }
}

/// The four answers, and two that are none.
#[derive(Debug)]
pub enum What {
    /// It is whole and lies here: rename it.
    Take(PathBuf),
    /// The store said that it is not there.
    Absent,
    /// It is there, and must not be handed over.
    Refused(Error),
    /// Ask the store yourself, because.
    Yourself(String),
    /// Other settings: this feeder goes.
    Leave,
}

/// A feeder, to be asked. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feeder {
    inbox: mpsc::Sender<Message>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
enum Message {
    Get { file: WalFile, settings: String, only_ready: bool, reply: oneshot::Sender<Reply> },
    Got { file: WalFile, settings: String, waited: Duration, carry: Option<Box<Carry>> },
    Status(oneshot::Sender<Status>),
    Stop,
}

impl Feeder {
    /// Ask for a file.
    pub async fn get(&self, file: WalFile, settings: String) -> Reply {
        self.question(file, settings, false).await
    }

    /// Ask for a segment that lies ready. Else the answer is [`What::Yourself`] at once, and nothing was asked.
    pub async fn ready(&self, file: WalFile, settings: String) -> Reply {
        self.question(file, settings, true).await
    }

    async fn question(&self, file: WalFile, settings: String, only_ready: bool) -> Reply {
        let (reply, answer) = oneshot::channel();
        let gone = || Reply::yourself("the feeder goes");
        if self.inbox.send(Message::Get { file, settings, only_ready, reply }).await.is_err() {
            return gone();
        }
        answer.await.unwrap_or_else(|_| gone())
    }

    /// Tell it what a client tells or asks; the answer to [`Question::Status`].
    pub async fn tell(&self, question: Question) -> Option<Status> {
        match question {
            Question::Got { file, settings, microseconds, carry } => {
                let waited = Duration::from_micros(microseconds);
                let _ = self.inbox.send(Message::Got { file, settings, waited, carry }).await;
                None
            }
            Question::Status => {
                let (reply, answer) = oneshot::channel();
                self.inbox.send(Message::Status(reply)).await.ok()?;
                answer.await.ok()
            }
            Question::Get { .. } | Question::Ready { .. } => None,
        }
    }

    /// End it in order.
    pub async fn stop(&self) {
        let _ = self.inbox.send(Message::Stop).await;
    }

    /// Bytes that came from the store so far: a sign of life.
    pub fn received(&self) -> u64 {
        self.counters.bytes()
    }
}

/// Become the owner of the spool and start feeding. `Ok(None)`: another process is. `first` is what the caller fetches by
/// itself just now. The handle ends when the feeder has gone and the spool is empty.
pub fn start(settings: Settings, first: &WalFile) -> Answer<Option<(Feeder, tokio::task::JoinHandle<()>)>> {
    settings.meeting.prepare()?;
    let Some(lock) = settings.meeting.lock()? else { return Ok(None) };
    let mut troubles = Vec::new();
    let entries = settings.meeting.entries(settings.elsewhere.as_deref()).or_else(|error| {
        troubles.push(format!("{}; segments wait beside their destination instead", error.chain()));
        settings.meeting.entries(None)
    })?;
    // Of an earlier owner: this recovery, or another one.
    let (files, rest) = spool::found(&entries);
    files
        .iter()
        .map(|file| entries.join(file.to_string()))
        .chain(rest)
        .for_each(|path| drop(std::fs::remove_file(path)));
    let listener = settings.meeting.listen()?;
    let destination = settings.destination.clone();
    let (sender, inbox) = mpsc::channel(64);
    let feeder = Feeder { inbox: sender, counters: Arc::clone(settings.stores.counters()) };
    let actor = Actor::new(settings, entries, first, troubles);
    let life = life::Life::new(&actor.settings, actor.mode.data.as_deref());
    let listening = listen::listen(listener, feeder.clone())?;
    let running = tokio::spawn(async move {
        let cleared = actor.run(inbox, life).await;
        listening.abort();
        // Until it has let go of its name: the next one may be of a folder that the system calls the same.
        let _ = listening.await;
        if let Some((meeting, entries)) = cleared {
            spool::clear(&meeting, &entries);
            // No wal-fetch may come that finds what a killed one left.
            let names = ["RECOVERYXLOG", "RECOVERYHISTORY"].map(|name| destination.with_file_name(name));
            names.iter().for_each(|name| deliver::sweep_beside(name));
        }
        drop(lock);
    });
    Ok(Some((feeder, running)))
}

/// Where a segment ahead is.
#[derive(Debug)]
enum Entry {
    Fetching { task: AbortHandle },
    Ready { stamp: Stamp, report: Box<SegmentReport>, joined: bool, joining: bool },
    Refused { code: Code, text: String, at: Instant },
    Failed { at: Instant },
}

/// Somebody who waits for a file.
#[derive(Debug)]
struct Waiter {
    file: WalFile,
    since: Instant,
    how: Served,
    reply: oneshot::Sender<Reply>,
}

/// How a task ended.
#[derive(Debug)]
enum Done {
    Fetched { file: WalFile, begun: Instant, result: Box<Answer<Report>>, seen: Seen },
    Listed(Answer<Listing>),
    Joined { name: SegmentName, result: Result<Option<Joined>, Join> },
}

/// Why two segments could not be joined.
#[derive(Debug)]
enum Join {
    Broken(Broken),
    /// Somebody took the file away.
    Gone,
    /// The disk does not give it back.
    Unread(std::io::Error),
}

struct Actor {
    settings: Settings,
    entries_in: PathBuf,
    mode: Arc<Mode>,
    way: Option<TimelineHistory>,
    /// Histories were asked for since the mode was found: there may be another way.
    mode_is_old: bool,
    /// What PostgreSQL asked for last.
    place: Option<SegmentName>,
    /// What its caller fetched by itself when it was started, and has not told of.
    untold: Option<SegmentName>,
    /// It asked for this one, and it is not there: nothing behind it is looked for.
    at_end: Option<SegmentName>,
    /// How files are asked for that no listing shows.
    likely: Kept,
    entries: BTreeMap<SegmentName, Entry>,
    carries: BTreeMap<SegmentName, Carry>,
    map: Map,
    listing: bool,
    /// The store does not take our credentials any more: whoever comes next has newer ones, perhaps.
    outdated: bool,
    window: Window,
    answered: Option<Instant>,
    /// Nothing new is begun before.
    giving_way: Instant,
    waiters: Vec<Waiter>,
    witnesses: HashMap<WalFile, (Instant, Seen)>,
    tally: Tally,
    /// What the next asker is told.
    say: Vec<String>,
    room_said: Option<Instant>,
    progress: (u64, Instant),
    tasks: JoinSet<Done>,
}

impl Actor {
    fn new(settings: Settings, entries_in: PathBuf, first: &WalFile, say: Vec<String>) -> Actor {
        let now = Instant::now();
        let status = Status {
            pid: std::process::id(),
            archive: settings.stores.url(),
            spool: entries_in.display().to_string(),
            data: std::fs::canonicalize(&settings.directory).unwrap_or_default().display().to_string(),
            ..Status::default()
        };
        let mode = Arc::new(find_mode(&settings, first));
        let mut actor = Actor {
            entries_in,
            mode,
            way: None,
            mode_is_old: false,
            place: None,
            untold: None,
            at_end: None,
            likely: Kept { form: settings.likely, place: 0 },
            entries: BTreeMap::new(),
            carries: BTreeMap::new(),
            map: Map::default(),
            listing: false,
            outdated: false,
            window: Window::new(0),
            answered: None,
            giving_way: now,
            waiters: Vec::new(),
            witnesses: HashMap::new(),
            tally: Tally::new(now, status),
            say: Vec::new(),
            room_said: None,
            progress: (0, now),
            tasks: JoinSet::new(),
            settings,
        };
        say.iter().for_each(|trouble| actor.trouble(trouble));
        actor.window = Window::new(actor.bound());
        if let WalFile::Segment(name) = first {
            (actor.place, actor.untold) = (Some(*name), Some(*name));
            actor.way = Some(ahead::way(&actor.mode, name.timeline()));
        }
        actor
    }

    /// Until it is time to go. What is to be cleared, unless the spool is not ours any more.
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>, mut life: life::Life) -> Option<(Meeting, PathBuf)> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut written = None;
        let why = loop {
            let wait = self.giving_way.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                self.fill();
            }
            tokio::select! {
                () = tokio::time::sleep(wait), if !wait.is_zero() => {}
                message = inbox.recv() => match message {
                    Some(Message::Get { file, settings, only_ready, reply }) => {
                        if settings != self.settings.digest {
                            let _ = reply.send(Reply { what: What::Leave, notes: Vec::new(), warnings: Vec::new() });
                            break life::Why::Settings;
                        }
                        match only_ready && !self.hands_over(&file) {
                            true => drop(reply.send(Reply::yourself("it does not lie ready"))),
                            false => self.get(file, reply),
                        }
                    }
                    Some(Message::Got { file, settings, waited, carry }) => {
                        if settings == self.settings.digest {
                            self.got(file, waited, carry);
                        }
                    }
                    Some(Message::Status(reply)) => drop(reply.send(self.status())),
                    Some(Message::Stop) | None => break life::Why::Told,
                },
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.done(done),
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => self.trouble(&format!("a task died: {error}")),
                },
                _ = tick.tick() => {
                    self.look_around();
                    if let Some(path) = self.settings.status_file.clone()
                        && written.is_none_or(|at: Instant| at.elapsed() >= Duration::from_secs(1))
                    {
                        written = Some(Instant::now());
                        self.write_status(&path, true);
                    }
                    if let Some(why) = life.over(self.tally.last_asked()) {
                        break why;
                    }
                    if self.outdated {
                        break life::Why::Settings;
                    }
                }
                () = life.server_ended() => break life::Why::Server,
            }
        };
        tracing::info!("the feeder goes: {}", why.words());
        self.tasks.shutdown().await;
        if let Some(path) = self.settings.status_file.clone() {
            self.write_status(&path, false);
        }
        for waiter in std::mem::take(&mut self.waiters) {
            self.reply(waiter, What::Yourself("the feeder goes".to_owned()), Vec::new(), Vec::new());
        }
        (why != life::Why::Replaced).then(|| (self.settings.meeting.clone(), self.entries_in.clone()))
    }

    fn size(&self) -> Option<SegmentSize> {
        self.mode.control.as_ref().map(|control| control.segment_size)
    }

    /// Segments in the spool, at most.
    fn bound(&self) -> u32 {
        let Some(size) = self.size() else { return 0 };
        let bytes = self.settings.spool_bytes.unwrap_or(Settings::SPOOL_BYTES.max(2 * size.bytes()));
        u32::try_from(bytes / size.bytes()).unwrap_or(u32::MAX)
    }

    fn path(&self, file: &impl ToString) -> PathBuf {
        self.entries_in.join(file.to_string())
    }

    /// The same as an asker is told it: a bare name at the meeting place, which may have another path for the asker.
    fn told_path(&self, file: &impl ToString) -> PathBuf {
        match self.entries_in == self.settings.meeting.directory() {
            true => PathBuf::from(file.to_string()),
            false => self.path(file),
        }
    }

    fn get(&mut self, file: WalFile, reply: oneshot::Sender<Reply>) {
        let now = Instant::now();
        self.tally.asked(now);
        let mut waiter = Waiter { file, since: now, how: Served::Miss, reply };
        match file {
            WalFile::Segment(name) => {
                self.arrive(name, now);
                if self.size().is_none() {
                    let why = "the segment size is not known: pg_control cannot be read".to_owned();
                    return self.reply(waiter, What::Yourself(why), Vec::new(), Vec::new());
                }
                waiter.how = match self.entries.get(&name) {
                    Some(Entry::Ready { .. }) => Served::Hit,
                    Some(Entry::Fetching { .. }) => Served::InFlight,
                    _ => Served::Miss,
                };
                self.waiters.push(waiter);
                self.settle(name);
            }
            WalFile::History(_) => {
                // PostgreSQL may keep it, and follow it.
                self.mode_is_old = true;
                let running = self.waiters.iter().any(|other| other.file == file);
                self.waiters.push(waiter);
                if !running {
                    self.fetch(file, self.likely);
                }
            }
            WalFile::Partial(_) | WalFile::BackupHistory(..) => {
                let why = "no server asks for it".to_owned();
                self.reply(waiter, What::Yourself(why), Vec::new(), Vec::new());
            }
        }
    }

    /// Could it be handed over this moment, without a word?
    fn hands_over(&self, file: &WalFile) -> bool {
        let WalFile::Segment(name) = file else { return false };
        let Some(Entry::Ready { stamp, joined, joining, .. }) = self.entries.get(name) else { return false };
        let checked = !joining && (*joined || !self.waits_for_carry(*name));
        checked && self.say.is_empty() && Stamp::of(&self.path(name)) == Some(*stamp)
    }

    fn got(&mut self, file: WalFile, waited: Duration, carry: Option<Box<Carry>>) {
        let now = Instant::now();
        self.tally.asked(now);
        let WalFile::Segment(name) = file else {
            self.mode_is_old = true;
            return;
        };
        match self.place == Some(name) {
            true => self.untold = self.untold.filter(|untold| *untold != name),
            false => self.arrive(name, now),
        }
        let bytes = self.size().map_or(0, SegmentSize::bytes);
        self.tally.served(name, bytes, Served::Direct, waited, now);
        self.window.answered(waited);
        self.answered = Some(now);
        if let Some(carry) = carry {
            self.carries.insert(name, *carry);
            self.join_next(name);
        }
    }

    /// Count what was fetched before anybody listened here: who asks for a segment has the ones before it.
    fn count_untold(&mut self, name: SegmentName, now: Instant) {
        let (Some(first), Some(way), Some(size)) = (self.untold.take(), self.way.as_ref(), self.size()) else { return };
        let steps = std::iter::successors(Some(first), |at| ahead::next(way, *at, size));
        let before: Vec<SegmentName> = steps.take(UNTOLD + 1).take_while(|at| *at != name).collect();
        // Farther away, or behind: it came there on another way.
        if before.len() <= UNTOLD {
            // How long was waited for them nobody knows.
            let count = |at| self.tally.served(at, size.bytes(), Served::Direct, Duration::ZERO, now);
            before.into_iter().for_each(count);
        }
    }

    /// PostgreSQL is here now.
    fn arrive(&mut self, name: SegmentName, now: Instant) {
        self.count_untold(name, now);
        let size = self.size();
        let expected = |place| self.way.as_ref().and_then(|way| ahead::next(way, place, size?)) == Some(name);
        let known = self.place.is_some_and(|place| place == name || expected(place));
        if self.mode_is_old || !known {
            self.mode = Arc::new(find_mode(&self.settings, &WalFile::Segment(name)));
            self.way = Some(ahead::way(&self.mode, name.timeline()));
            self.mode_is_old = false;
            if self.window.bound() != self.bound() {
                self.window = Window::new(self.bound());
            }
        }
        if self.place != Some(name) {
            self.window.asked(self.answered.map(|answered| now.saturating_duration_since(answered)));
        }
        self.place = Some(name);
        self.prune();
    }

    /// Drop what PostgreSQL is past, and what is not on its way.
    fn prune(&mut self) {
        let (Some(place), Some(size), Some(way)) = (self.place, self.size(), self.way.clone()) else { return };
        let number = |name: SegmentName| name.number(size).ok();
        let here = number(place);
        let on_way = |name: SegmentName| {
            name == place
                || number(name).is_some_and(|number| {
                    Some(number) > here && way.segment_owner(number, size).max(place.timeline()) == name.timeline()
                })
        };
        let gone: Vec<SegmentName> = self.entries.keys().copied().filter(|name| !on_way(*name)).collect();
        for name in gone {
            self.drop_entry(name);
        }
        let before = ahead::before(&way, place, size);
        self.carries.retain(|name, _| Some(*name) == before || number(*name) >= here);
        self.map.forget_before(place);
        self.witnesses.retain(|file, _| *file == WalFile::Segment(place) || matches!(file, WalFile::History(_)));
    }

    fn drop_entry(&mut self, name: SegmentName) {
        if let Some(Entry::Fetching { task, .. }) = self.entries.remove(&name) {
            task.abort();
        }
        let _ = std::fs::remove_file(self.path(&name));
    }

    /// Somebody waits for this segment: hand it over, or see that it comes.
    fn settle(&mut self, name: SegmentName) {
        let file = WalFile::Segment(name);
        if !self.waiters.iter().any(|waiter| waiter.file == file) {
            return;
        }
        let path = self.path(&name);
        let (what, bytes) = match self.entries.get(&name) {
            Some(Entry::Fetching { .. }) => return,
            // The very file that was validated?
            Some(Entry::Ready { stamp, report, joined, joining }) if Stamp::of(&path) == Some(*stamp) => {
                if *joining || (!joined && self.waits_for_carry(name)) {
                    return;
                }
                (What::Take(self.told_path(&name)), Some(report.size.bytes()))
            }
            Some(Entry::Refused { code, text, at }) if at.elapsed() < AGAIN => {
                (What::Refused(Error::new(*code, text.clone())), None)
            }
            _ => {
                self.drop_entry(name);
                let kept = match self.map.known(name, Instant::now()) {
                    Known::Stored(kept) => kept,
                    _ => self.likely,
                };
                return self.fetch(file, kept);
            }
        };
        let now = Instant::now();
        for waiter in self.waiting_for(&file) {
            let waited = now.saturating_duration_since(waiter.since);
            match bytes {
                Some(bytes) => self.tally.served(name, bytes, waiter.how, waited, now),
                None => {
                    self.tally.status.refused += 1;
                    self.tally.waited(waited);
                }
            }
            self.window.answered(waited);
            self.answered = Some(now);
            // Who had to wait shows that the fetches are behind: those go first then.
            if matches!((&what, waiter.how), (What::Take(_), Served::Hit)) {
                self.giving_way = now + GIVING_WAY;
            }
            let what = match &what {
                What::Take(path) => What::Take(path.clone()),
                What::Refused(error) => What::Refused(Error::new(error.code(), error.what())),
                _ => What::Leave,
            };
            self.reply(waiter, what, Vec::new(), Vec::new());
        }
    }

    /// May the check of what crosses into this segment still be made?
    fn waits_for_carry(&self, name: SegmentName) -> bool {
        let (Some(way), Some(size)) = (self.way.as_ref(), self.size()) else { return false };
        let Some(before) = ahead::before(way, name, size) else { return false };
        self.carries.contains_key(&before) || matches!(self.entries.get(&before), Some(Entry::Fetching { .. }))
    }

    fn waiting_for(&mut self, file: &WalFile) -> Vec<Waiter> {
        let (found, rest) = std::mem::take(&mut self.waiters).into_iter().partition(|waiter| waiter.file == *file);
        self.waiters = rest;
        found
    }

    fn reply(&mut self, waiter: Waiter, what: What, notes: Vec<String>, mut warnings: Vec<String>) {
        warnings.extend(std::mem::take(&mut self.say));
        let _ = waiter.reply.send(Reply { what, notes, warnings });
    }

    /// Begin to fetch a file into the spool.
    fn fetch(&mut self, file: WalFile, likely: Kept) {
        let begun = Instant::now();
        // Only who asks again and again may rest on what was listed before.
        let witness =
            self.witnesses.get(&file).filter(|(at, _)| at.elapsed() < WITNESS && self.mode.who == Who::Standby);
        let options = Options {
            destination: self.path(&file),
            file,
            check: self.settings.check,
            on_gap: self.settings.on_gap,
            likely: likely.form,
            now: jiff::Timestamp::now(),
            overtaken: fetch::overtaken_wait(self.settings.deadline),
            seen: None,
        };
        let seen = witness.map(|(_, seen)| seen.clone()).unwrap_or_default();
        let (stores, mode) = (self.settings.stores.clone(), Arc::clone(&self.mode));
        let task = self.tasks.spawn(async move {
            let file = options.file;
            let publish = |landing: Landing, sync| landing.publish(sync);
            let (result, seen) = stores.fetch(&options, likely.place, seen, &mode, &publish).await;
            Done::Fetched { file, begun, result: Box::new(result), seen }
        });
        if let WalFile::Segment(name) = file {
            self.entries.insert(name, Entry::Fetching { task });
        }
    }

    /// Fetch ahead what the window wants.
    fn fill(&mut self) {
        let (Some(mut at), Some(size)) = (self.place, self.size()) else { return };
        let Some(way) = self.way.clone() else { return };
        if self.at_end == self.place || !matches!(self.mode.who, Who::PointInTime | Who::Standby) {
            return;
        }
        let now = Instant::now();
        let mut fetching = self.fetching();
        for _ in 0..self.window.ahead() {
            let Some(name) = ahead::next(&way, at, size) else { return };
            at = name;
            match self.entries.get(&name) {
                Some(Entry::Failed { at, .. }) if at.elapsed() >= AGAIN => self.drop_entry(name),
                // Nobody gets past it: what lies behind is not needed.
                Some(Entry::Failed { .. } | Entry::Refused { .. }) => return,
                Some(Entry::Fetching { .. } | Entry::Ready { .. }) => continue,
                None => {}
            }
            if fetching >= self.settings.parallel {
                return;
            }
            match self.map.known(name, now) {
                Known::Stored(kept) => {
                    if !self.has_room(size, now) {
                        return;
                    }
                    self.fetch(WalFile::Segment(name), kept);
                    fetching += 1;
                }
                Known::NotShown => return,
                Known::Unlisted => {
                    if !self.listing {
                        self.listing = true;
                        let (stores, most) = (self.settings.stores.clone(), self.map.worth_reading());
                        self.tasks.spawn(async move { Done::Listed(stores.listing(name, size, most).await) });
                    }
                    return;
                }
            }
        }
    }

    fn fetching(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry, Entry::Fetching { .. })).count()
    }

    /// Is there room for one more, and some for PostgreSQL?
    fn has_room(&mut self, size: SegmentSize, now: Instant) -> bool {
        let Ok(stat) = rustix::fs::statvfs(&self.entries_in) else { return true };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let needed = size.bytes().saturating_mul(SPARED + 1 + self.fetching() as u64);
        if free >= needed {
            return true;
        }
        if self.room_said.is_none_or(|said| now.saturating_duration_since(said) > WITNESS) {
            self.room_said = Some(now);
            self.trouble(&format!(
                "{}: {free} bytes are free, {needed} needed to fetch ahead and leave PostgreSQL some; segments are fetched \
                 one by one",
                self.entries_in.display()
            ));
        }
        false
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Fetched { file, begun, result, seen } => self.fetched(file, begun, *result, seen),
            Done::Listed(result) => {
                self.listing = false;
                match result {
                    Ok(listing) => {
                        self.likely = listing.kept.last_key_value().map_or(self.likely, |(_, kept)| *kept);
                        self.map.add(listing);
                    }
                    Err(error) => {
                        self.trouble(&error.chain());
                        // Not at once: whoever needs something now asks for it by name.
                        if let Some(next) = self.next_of_place() {
                            self.entries.insert(next, Entry::Failed { at: Instant::now() });
                        }
                    }
                }
            }
            Done::Joined { name, result } => self.joined(name, result),
        }
    }

    fn next_of_place(&self) -> Option<SegmentName> {
        ahead::next(self.way.as_ref()?, self.place?, self.size()?).filter(|next| !self.entries.contains_key(next))
    }

    fn fetched(&mut self, file: WalFile, begun: Instant, result: Answer<Report>, seen: Seen) {
        let now = Instant::now();
        match (result, &file) {
            (Ok(Report { outcome: Outcome::Delivered { .. }, notes, warnings, segment, .. }), _) => {
                let path = self.path(&file);
                for warning in &warnings {
                    self.trouble(warning);
                }
                match (&file, segment, Stamp::of(&path)) {
                    (WalFile::Segment(name), Some(report), Some(stamp)) => {
                        self.window.fetched(now.saturating_duration_since(begun));
                        self.map.outdated(*name);
                        self.at_end = None;
                        self.ready(*name, stamp, report);
                    }
                    (WalFile::History(_), ..) => {
                        let place = self.told_path(&file);
                        for waiter in self.waiting_for(&file) {
                            self.tally.status.histories += 1;
                            self.tally.waited(now.saturating_duration_since(waiter.since));
                            self.reply(waiter, What::Take(place.clone()), notes.clone(), Vec::new());
                        }
                    }
                    _ => self.failed(&file, Error::new(Code::LocalIo, "it is gone from the spool").on(path.display())),
                }
            }
            (Ok(Report { outcome: Outcome::Absent, notes, warnings, .. }), _) => {
                if let WalFile::Segment(name) = &file {
                    self.drop_entry(*name);
                    self.at_end = self.at_end.or(self.place.filter(|place| place == name));
                    self.map.outdated(*name);
                }
                if !seen.is_empty() {
                    // The older the witness, the sooner it is replaced.
                    self.witnesses
                        .entry(file)
                        .and_modify(|known| {
                            if known.0.elapsed() >= WITNESS {
                                *known = (begun, seen.clone());
                            }
                        })
                        .or_insert_with(|| (begun, seen.clone()));
                }
                for waiter in self.waiting_for(&file) {
                    self.tally.status.absent += 1;
                    self.reply(waiter, What::Absent, notes.clone(), warnings.clone());
                }
            }
            (Err(error), _) => self.failed(&file, error),
        }
    }

    /// It could not be fetched. Whoever waits finds out the exact answer, fresh, and with the exit code that belongs to it.
    fn failed(&mut self, file: &WalFile, error: Error) {
        if let WalFile::Segment(name) = file {
            self.drop_entry(*name);
            self.entries.insert(*name, Entry::Failed { at: Instant::now() });
        }
        let text = error.chain();
        self.tally.trouble(&text);
        self.outdated |= matches!(error.class(), Class::Credentials | Class::Config);
        for waiter in self.waiting_for(file) {
            self.tally.waited(waiter.since.elapsed());
            self.reply(waiter, What::Yourself(text.clone()), Vec::new(), Vec::new());
        }
    }

    /// A segment lies in the spool, good by itself.
    fn ready(&mut self, name: SegmentName, stamp: Stamp, report: Box<SegmentReport>) {
        // What ends in a record begun before anything that was read says nothing about the next one yet.
        if !matches!(report.end, End::Continues { record: None })
            && let Some(carry) = &report.carry
        {
            self.carries.insert(name, carry.clone());
        }
        self.entries.insert(name, Entry::Ready { stamp, report, joined: false, joining: false });
        self.join(name);
        self.join_next(name);
        self.settle(name);
    }

    fn join_next(&mut self, name: SegmentName) {
        if let Some(next) = self.way.as_ref().zip(self.size()).and_then(|(way, size)| ahead::next(way, name, size)) {
            self.join(next);
        }
    }

    /// Check what crosses into a segment, if both sides are known.
    fn join(&mut self, name: SegmentName) {
        let (Some(way), Some(size)) = (self.way.as_ref(), self.size()) else { return };
        let carry = ahead::before(way, name, size).and_then(|before| self.carries.get(&before)).cloned();
        let path = self.path(&name);
        let Some(Entry::Ready { report, joined: joined @ false, joining: joining @ false, .. }) =
            self.entries.get_mut(&name)
        else {
            return;
        };
        let Some(carry) = carry else { return };
        if report.system != Some(carry.shape.system) || report.start != carry.lsn {
            *joined = true;
            return;
        }
        *joining = true;
        let own = report.first_record.unwrap_or(Lsn(u64::MAX));
        let timeline = name.timeline();
        self.tasks.spawn_blocking(move || {
            let joining = Joining::new(&carry, timeline, Some(size), own);
            Done::Joined { name, result: join_file(&path, joining) }
        });
    }

    fn joined(&mut self, name: SegmentName, result: Result<Option<Joined>, Join>) {
        let Some(Entry::Ready { joined, joining, .. }) = self.entries.get_mut(&name) else { return };
        (*joined, *joining) = (true, false);
        match result {
            Ok(found) => {
                if let Some(carry) = found.and_then(|found| found.carry) {
                    self.carries.insert(name, carry);
                    self.join_next(name);
                }
            }
            Err(Join::Broken(broken)) => {
                let text = format!(
                    "segment {name} does not follow the one before it: {}, at {}; one of the two is not what the server \
                     wrote",
                    broken.what, broken.lsn
                );
                self.trouble(&text);
                self.drop_entry(name);
                self.carries.remove(&name);
                let refused = Entry::Refused { code: Code::DamagedSegment, text, at: Instant::now() };
                self.entries.insert(name, refused);
            }
            // It is fetched anew when it is asked for.
            Err(Join::Gone) => {}
            // PostgreSQL would take a segment that it cannot read for the end of its WAL.
            Err(Join::Unread(cause)) => {
                let error =
                    Error::new(Code::LocalIo, "cannot be read back").on(self.path(&name).display()).because(cause);
                self.trouble(&error.chain());
                self.carries.remove(&name);
                // Not anew for who waits: it would end the same way, again and again.
                self.failed(&WalFile::Segment(name), error);
            }
        }
        self.settle(name);
    }

    /// What time alone brings.
    fn look_around(&mut self) {
        let received = self.settings.stores.counters().bytes();
        if received != self.progress.0 {
            self.progress = (received, Instant::now());
        }
        let silent = self.progress.1.elapsed() > SILENCE;
        // Its askers go to the store themselves then, within the same deadline.
        let patience = self.settings.deadline / 3;
        let (late, rest) = std::mem::take(&mut self.waiters).into_iter().partition(|waiter| {
            let waited = waiter.since.elapsed();
            waited > patience || (silent && waited > SILENCE)
        });
        self.waiters = rest;
        let late: Vec<Waiter> = late;
        for waiter in late {
            let why = format!("the store has not delivered it for {} s", waiter.since.elapsed().as_secs());
            self.tally.waited(waiter.since.elapsed());
            self.reply(waiter, What::Yourself(why), Vec::new(), Vec::new());
        }
    }

    fn trouble(&mut self, what: &str) {
        tracing::warn!("{what}");
        self.tally.trouble(what);
        if self.say.len() < 10 && !self.say.iter().any(|said| said == what) {
            self.say.push(what.to_owned());
        }
    }

    fn status(&mut self) -> Status {
        let size = self.size();
        // The one asked for last is PostgreSQL's by now.
        let ahead = self.entries.iter().filter(|(name, _)| Some(**name) != self.place);
        let ready = ahead.filter(|(_, entry)| matches!(entry, Entry::Ready { .. })).count() as u32;
        let fetching = self.fetching() as u32;
        let distance = self.place.zip(size).zip(self.way.as_ref());
        let distance = distance.and_then(|((place, size), way)| self.map.distance(way, place, size));
        let counters = self.settings.stores.counters();
        let status = &mut self.tally.status;
        status.who = self.mode.who.words().to_owned();
        (status.requests, status.retries, status.received_bytes) =
            (counters.requests(), counters.retries(), counters.bytes());
        (status.window, status.ready, status.fetching) = (self.window.ahead(), ready, fetching);
        status.spool_bytes = u64::from(ready) * size.map_or(0, SegmentSize::bytes);
        status.ahead_segments = distance.map(|(count, _)| count);
        status.ahead_more = distance.is_some_and(|(_, more)| more);
        self.tally.now(Instant::now())
    }

    fn write_status(&mut self, path: &Path, alive: bool) {
        let text = self.status().prometheus(alive);
        let written = Landing::open(path).and_then(|landing| {
            landing.writer()?.write(text.as_bytes(), None)?;
            landing.publish(false)
        });
        if let Err(error) = written {
            let text = format!("the status cannot be written: {}", error.chain());
            if !self.tally.status.troubles.contains(&text) {
                self.trouble(&text);
            }
        }
    }
}

fn find_mode(settings: &Settings, file: &WalFile) -> Mode {
    let mut mode = Mode::find(&settings.directory, file, &settings.destination, settings.forced);
    // What lies in the spool is not synced: after a crash it is removed.
    mode.transient = true;
    debug_assert!(is_transient(&settings.destination));
    mode
}

fn join_file(path: &Path, mut joining: Joining) -> Result<Option<Joined>, Join> {
    let unread = |cause: std::io::Error| match cause.kind() {
        std::io::ErrorKind::NotFound => Join::Gone,
        _ => Join::Unread(cause),
    };
    let mut file = File::open(path).map_err(unread)?;
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece).map_err(unread)? {
            0 => return Ok(joining.finish()),
            read => {
                if let Some(joined) = joining.push(piece.get(..read).unwrap_or_default()).map_err(Join::Broken)? {
                    return Ok(Some(joined));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
