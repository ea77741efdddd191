//! One log, read line by line.
//!
//! In: its bytes, cut anywhere. Out: [`Event`]s, in the order of their lines. Never: asserts more than the line does:
//! `begin` is no upload, and a line that only names a URL is a mention.
//!
//! What is known: syslog's header, or none; the tag `docker/cf-GUID:` of a container and the word `patroni>` or `backup>`
//! of a program in it; WAL-E's records, over several lines, joined by `#012`, or with their middle lines alone; the
//! broker's JSON; `upload: … to URL` of a container's tools; any other line that names an object of an archive.
//! Source: WAL-E `wal_e/log_help.py` (0.5 to 1.1); Patroni containers and broker of the Dingo platform; RFC 3164.

use super::Guid;
use super::lines::Lines;
use super::moment::{self, Clock, Moment, Setting};
use super::place::Found;
use crate::layout::Entry;
use jiff::Timestamp;
use memchr::memmem::Finder;
use std::collections::HashMap;
use std::fmt;

/// Objects named by lines whose record has not ended, of one writer.
const PENDING: usize = 32;
/// Writers (host, tag and program) whose unfinished records are kept.
const STREAMS: usize = 4096;
/// Hosts whose clocks are known.
const HOSTS: usize = 1024;
/// A record's last line is at most so many lines of its writer behind the one that names the object.
const NEAR: u64 = 8;
/// Characters of a broker's message or address that are kept.
const WORD: usize = 200;

/// What a line tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An upload to the archive began.
    Begun(Found),
    /// An upload to the archive is complete.
    Complete(Found),
    /// An object was read or looked for, which is no proof that it is there.
    Read(Found),
    /// An object was deleted.
    Deleted(Found),
    /// The line names an object of an archive and nothing is known of what happened to it.
    Named(Found),
    /// The broker said something of an instance.
    Broker {
        /// Its words: `patroni-broker.cluster.remove-node.perform`.
        message: String,
        /// The instance, by the platform's name for it.
        instance: Guid,
        /// The container that it is about.
        node: Option<Guid>,
        /// The machine that it is about.
        backend: Option<String>,
    },
    /// A container said where it is reached: it has started.
    Address(String),
}

/// What one line tells, when, and of which container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, as far as the log tells.
    pub moment: Moment,
    /// The container whose line it is.
    pub node: Option<Guid>,
    /// What.
    pub what: What,
}

/// One log.
pub struct Log {
    lines: Lines,
    reader: Reader,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("lines", &self.lines.count()).finish_non_exhaustive()
    }
}

impl Log {
    /// At its beginning. `order`: what was read before it, of other logs ([`Log::order`]).
    pub fn new(order: u64) -> Log {
        Log { lines: Lines::new(), reader: Reader::new(order) }
    }

    /// More bytes.
    pub fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(Event)) {
        let reader = &mut self.reader;
        self.lines.push(bytes, |line| reader.line(line, each));
    }

    /// No more will come.
    pub fn finish(&mut self, each: &mut dyn FnMut(Event)) {
        let reader = &mut self.reader;
        self.lines.finish(|line| reader.line(line, each));
        reader.flush(each);
    }

    /// Its lines so far.
    pub fn lines(&self) -> u64 {
        self.lines.count()
    }

    /// Those of them that were too long to be looked at whole.
    pub fn cut(&self) -> u64 {
        self.lines.cut()
    }

    /// Where the next log's order begins.
    pub fn order(&self) -> u64 {
        self.reader.order
    }

    /// How its clock goes, by the first line that tells.
    pub fn setting(&self) -> Option<Setting> {
        self.reader.first
    }
}

/// An object that a line named, whose record has not ended.
#[derive(Debug)]
struct Pending {
    what: What,
    /// The line's own time, or that of WAL-E 0.5's record.
    own: Option<Timestamp>,
    clock: Option<Clock>,
    node: Option<Guid>,
    order: u64,
    /// Which line of its writer.
    line: u64,
}

#[derive(Debug, Default)]
struct Stream {
    lines: u64,
    /// The time with which its record began, where WAL-E wrote it there.
    head: Option<Timestamp>,
    pending: Vec<Pending>,
}

struct Reader {
    order: u64,
    streams: HashMap<String, Stream>,
    hosts: HashMap<String, Setting>,
    first: Option<Setting>,
    last: Option<Setting>,
    marks: [Finder<'static>; 5],
    joint: Finder<'static>,
}

/// What stands around a line's own text.
#[derive(Debug, Default)]
struct Envelope<'a> {
    stamp: Option<Timestamp>,
    clock: Option<Clock>,
    host: &'a str,
    /// Who wrote it: host, tag and program.
    writer: String,
    node: Option<Guid>,
    text: &'a str,
}

impl Reader {
    fn new(order: u64) -> Reader {
        // A line with none of these holds nothing for us. Most lines of a syslog do not.
        let marks = ["://", "STRUCTURED: ", " MSG: ", "\"instance-id\"", "public address "];
        Reader {
            order,
            streams: HashMap::new(),
            hosts: HashMap::new(),
            first: None,
            last: None,
            marks: marks.map(Finder::new),
            joint: Finder::new("#012"),
        }
    }

    fn line(&mut self, line: &[u8], each: &mut dyn FnMut(Event)) {
        self.order += 1;
        if !self.marks.iter().any(|mark| mark.find(line).is_some()) {
            return;
        }
        let joined = self.joint.find(line).is_some();
        let text = String::from_utf8_lossy(line);
        let envelope = Envelope::parse(&text);
        if joined {
            for part in envelope.text.split("#012") {
                self.part(&envelope, part, each);
            }
        } else {
            self.part(&envelope, envelope.text, each);
        }
    }

    /// One line of a record, without its envelope.
    fn part(&mut self, envelope: &Envelope, text: &str, each: &mut dyn FnMut(Event)) {
        if let Some(at) = text.find("STRUCTURED: time=") {
            return self.structured(envelope, text.get(at + 12..).unwrap_or_default(), each);
        }
        if text.contains("\"instance-id\"") && text.contains('{') {
            return self.broker(envelope, text, each);
        }
        if let Some((_, address)) = text.split_once("public address ") {
            let address: String = address.trim().chars().take(WORD).collect();
            if envelope.node.is_some() && !address.is_empty() {
                self.tell(envelope, None, What::Address(address), each);
            }
            return;
        }
        if let Some(at) = text.find("DETAIL: ") {
            let detail = text.get(at + 8..).unwrap_or_default();
            if let Some(what) = detail_of(detail) {
                self.wait(envelope, what, each);
            }
            return;
        }
        if text.contains(" MSG: ") {
            // The next record of this writer begins. WAL-E pushes files in parallel: those find their own end by their key.
            let head = record_head(text).or(envelope.stamp);
            if let Some(own) = record_head(text) {
                self.set_clock(envelope, own);
            }
            let setting = self.setting(envelope.host);
            if let Some(stream) = self.stream(&envelope.writer) {
                stream.lines += 1;
                stream.head = head;
                let ended: Vec<Pending> = stream.pending.extract_if(.., |one| !one.is_wal()).collect();
                ended.into_iter().for_each(|one| each(one.ended(None, setting)));
            }
            return;
        }
        // `upload: FILE to URL` is printed when it is done.
        let uploaded = text.split_once("upload: ").and_then(|(_, rest)| rest.rsplit_once(" to "));
        if let Some(found) = uploaded.and_then(|(_, url)| Found::of_url(url.trim())) {
            return self.tell(envelope, None, What::Complete(found), each);
        }
        if let Some(found) = Found::in_text(text) {
            self.tell(envelope, None, What::Named(found), each);
        }
    }

    /// The last line of a record: its time, and for WAL files all of it.
    fn structured(&mut self, envelope: &Envelope, fields: &str, each: &mut dyn FnMut(Event)) {
        let Some(own) = field(fields, "time").and_then(moment::stamp) else { return };
        self.set_clock(envelope, own);
        let key = field(fields, "key").and_then(Found::of_url);
        let what = match (field(fields, "action"), field(fields, "state"), key) {
            (Some("push-wal"), Some("begin"), Some(found)) => Some(What::Begun(found)),
            (Some("push-wal"), Some("complete"), Some(found)) => Some(What::Complete(found)),
            // It was pushed by another one, whose records tell.
            (Some("push-wal"), _, Some(found)) => Some(What::Named(found)),
            // `complete` comes also where the object does not exist.
            (Some("wal-fetch" | "wal-prefetch"), _, Some(found)) => Some(What::Read(found)),
            (Some(_), _, Some(found)) => Some(What::Named(found)),
            _ => None,
        };
        let mut ended = Vec::new();
        if let Some(stream) = self.streams.get_mut(&envelope.writer) {
            stream.lines += 1;
            let now = stream.lines;
            match what.as_ref().and_then(What::found) {
                // This record's own line in the middle says the same with less.
                Some(found) => stream.pending.retain(|one| !one.is_of(found)),
                None => {
                    let ours = |one: &mut Pending| !one.is_wal() && now.saturating_sub(one.line) <= NEAR;
                    ended.extend(stream.pending.extract_if(.., ours));
                }
            }
            if stream.pending.is_empty() {
                self.streams.remove(&envelope.writer);
            }
        }
        let setting = self.setting(envelope.host);
        ended.into_iter().for_each(|one| each(one.ended(Some(own), setting)));
        if let Some(what) = what {
            self.tell(envelope, Some(own), what, each);
        }
    }

    /// The broker's JSON. Its members are looked for by name; what else it says does not matter.
    fn broker(&mut self, envelope: &Envelope, text: &str, each: &mut dyn FnMut(Event)) {
        let Some(at) = text.find('{') else { return };
        let mut documents = serde_json::Deserializer::from_str(text.get(at..).unwrap_or_default()).into_iter();
        let Some(Ok(document)) = documents.next() else { return };
        let document: serde_json::Value = document;
        let data = document.get("data");
        let word = |name: &str| {
            let value = data.and_then(|data| data.get(name)).or_else(|| document.get(name))?;
            Some(value.as_str()?.chars().take(WORD).collect::<String>())
        };
        let Some(instance) = word("instance-id").and_then(|text| Guid::parse(&text)) else { return };
        let own = match document.get("timestamp") {
            Some(serde_json::Value::String(text)) => moment::unix(text).or_else(|| moment::stamp(text)),
            Some(serde_json::Value::Number(number)) => moment::unix(&number.to_string()),
            _ => None,
        };
        if let Some(own) = own {
            self.set_clock(envelope, own);
        }
        let what = What::Broker {
            message: word("message").unwrap_or_default(),
            instance,
            node: word("node-uuid").and_then(|text| Guid::parse(&text)),
            backend: word("backend"),
        };
        self.tell(envelope, own, what, each);
    }

    fn tell(&self, envelope: &Envelope, own: Option<Timestamp>, what: What, each: &mut dyn FnMut(Event)) {
        let own = own.or(envelope.stamp);
        let moment = Moment::new(own, envelope.clock, self.setting(envelope.host), self.order);
        each(Event { moment, node: envelope.node, what });
    }

    /// A line that names an object waits for the end of its record, which has the time.
    fn wait(&mut self, envelope: &Envelope, what: What, each: &mut dyn FnMut(Event)) {
        let (order, setting) = (self.order, self.setting(envelope.host));
        let Some(stream) = self.stream(&envelope.writer) else { return self.tell(envelope, None, what, each) };
        stream.lines += 1;
        if stream.pending.len() >= PENDING {
            each(stream.pending.remove(0).ended(None, setting));
        }
        let (own, clock, node, line) = (envelope.stamp.or(stream.head), envelope.clock, envelope.node, stream.lines);
        stream.pending.push(Pending { what, own, clock, node, order, line });
    }

    /// The unfinished records of a writer. `None`: there are too many writers.
    fn stream(&mut self, writer: &str) -> Option<&mut Stream> {
        if !self.streams.contains_key(writer) {
            if self.streams.len() >= STREAMS {
                return None;
            }
            self.streams.insert(writer.to_owned(), Stream::default());
        }
        self.streams.get_mut(writer)
    }

    fn flush(&mut self, each: &mut dyn FnMut(Event)) {
        let mut left: Vec<Pending> = self.streams.drain().flat_map(|(_, stream)| stream.pending).collect();
        left.sort_by_key(|one| one.order);
        left.into_iter().for_each(|one| each(one.ended(None, self.last)));
    }

    fn set_clock(&mut self, envelope: &Envelope, own: Timestamp) {
        let Some(setting) = envelope.clock.and_then(|clock| clock.set(own)) else { return };
        self.first = self.first.or(Some(setting));
        self.last = Some(setting);
        if let Some(known) = self.hosts.get_mut(envelope.host) {
            *known = setting;
        } else if self.hosts.len() < HOSTS {
            self.hosts.insert(envelope.host.to_owned(), setting);
        }
    }

    /// How this host's clock goes, else any clock of this log.
    fn setting(&self, host: &str) -> Option<Setting> {
        self.hosts.get(host).copied().or(self.last)
    }
}

impl What {
    /// The object that it is about.
    pub fn found(&self) -> Option<&Found> {
        match self {
            What::Begun(found)
            | What::Complete(found)
            | What::Read(found)
            | What::Deleted(found)
            | What::Named(found) => Some(found),
            What::Broker { .. } | What::Address(_) => None,
        }
    }
}

impl Pending {
    fn is_wal(&self) -> bool {
        matches!(self.what.found(), Some(Found { entry: Entry::Wal { .. }, .. }))
    }

    /// The same object: WAL-E up to 0.6 left the suffix out of one of the two names.
    fn is_of(&self, other: &Found) -> bool {
        self.what.found().is_some_and(|found| {
            let same = match (&found.entry, &other.entry) {
                (Entry::Wal { file: one, .. }, Entry::Wal { file: other, .. }) => one == other,
                (one, other) => one == other,
            };
            same && found.place == other.place
        })
    }

    fn ended(self, own: Option<Timestamp>, setting: Option<Setting>) -> Event {
        let moment = Moment::new(own.or(self.own), self.clock, setting, self.order);
        Event { moment, node: self.node, what: self.what }
    }
}

/// What a `DETAIL:` says of an object.
fn detail_of(detail: &str) -> Option<What> {
    let upload = detail.starts_with("Uploading ") || detail.starts_with("Archiving ");
    let found = match detail.strip_prefix("Uploading to ").filter(|rest| !rest.starts_with('"')) {
        // Without quotes, to the end of the line and its full stop: blanks are part of it.
        Some(url) => Found::of_url(url.trim_end().strip_suffix('.').unwrap_or(url)).or_else(|| Found::in_text(url)),
        None => Found::in_text(detail),
    }?;
    Some(match (upload, detail.contains("\" complete at "), detail.starts_with("The key being deleted is ")) {
        (true, true, _) => What::Complete(found),
        (true, false, _) => What::Begun(found),
        (false, _, true) => What::Deleted(found),
        (false, _, false) => What::Named(found),
    })
}

/// The time with which WAL-E 0.5 began a record: `2011-04-05T10:11:12.123+00 pid=4711 … MSG: …`.
fn record_head(text: &str) -> Option<Timestamp> {
    let (time, rest) = text.trim_start().split_once(' ')?;
    rest.starts_with("pid=").then(|| moment::stamp(time)).flatten()
}

/// A value of WAL-E's structured line. Nothing is quoted there, and a prefix may hold blanks: a value ends where the next
/// of the names that can follow it begins.
fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    let begin = match fields.strip_prefix(name).filter(|rest| rest.starts_with('=')) {
        Some(_) => name.len() + 1,
        None => fields.find(&format!(" {name}=")).map(|at| at + name.len() + 2)?,
    };
    let rest = fields.get(begin..)?;
    let ends: &[&str] = match name {
        "key" | "prefix" => &[" prefix=", " rate=", " seg=", " state="],
        _ => &[" "],
    };
    let end = ends.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    Some(rest.get(..end)?.trim_end())
}

impl<'a> Envelope<'a> {
    fn parse(line: &'a str) -> Envelope<'a> {
        let mut envelope = Envelope::default();
        let (header, rest) = match Clock::syslog(line) {
            Some((clock, rest)) => {
                envelope.clock = Some(clock);
                (true, rest)
            }
            None => match line.split_once(' ').and_then(|(time, rest)| Some((moment::stamp(time)?, time, rest))) {
                // WAL-E 0.5's own beginning, in front of which nothing stands.
                Some((stamp, _, rest)) if rest.starts_with("pid=") => {
                    envelope.stamp = Some(stamp);
                    (false, rest)
                }
                Some((stamp, _, rest)) => {
                    envelope.stamp = Some(stamp);
                    (true, rest)
                }
                None => (false, line),
            },
        };
        envelope.text = rest;
        let mut tag = "";
        if header && let Some((host, rest)) = rest.split_once(' ') {
            envelope.host = host;
            envelope.text = rest;
            if let Some((word, rest)) = rest.split_once(' ').or(Some((rest, "")))
                && let Some(word) = word.strip_suffix(':')
            {
                tag = word;
                envelope.text = rest;
            }
            envelope.node = tag.strip_prefix("docker/cf-").and_then(Guid::parse);
        }
        let mut program = "";
        let text = envelope.text.trim_start_matches(' ');
        if let Some((word, rest)) = text.split_once("> ")
            && !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            program = word;
            envelope.text = rest;
        }
        if let Some((clock, rest)) = wal_g_head(envelope.text) {
            envelope.clock = Some(clock);
            envelope.text = rest;
        }
        // Process numbers of a tag stay: two processes are two writers.
        envelope.writer = format!("{} {tag} {program}", envelope.host);
        envelope
    }
}

/// WAL-G's `INFO: 2026/11/20 20:34:31.608000 text`.
fn wal_g_head(text: &str) -> Option<(Clock, &str)> {
    let (level, rest) = text.trim_start().split_once(": ")?;
    matches!(level, "INFO" | "WARNING" | "ERROR" | "DEBUG" | "FATAL").then(|| Clock::wal_g(rest)).flatten()
}
