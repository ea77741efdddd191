//! An S3 server some way off: each answer's first byte comes later, each connection carries so many bytes a second, and
//! every request is counted.
//!
//! In: where the answers come from (the port of a real server, or a folder with objects), a delay, a cap. Out: a port to
//! talk to; [`Counts`]. Never: gathers a body, changes one, spoils one (that is `proxy`); ends a connection that both
//! sides would keep; takes more of the cores than it must, because what it is measured with shares them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Entries of one page of a listing of a folder, as in S3.
const PAGE: usize = 1000;
/// Bytes that pass at once.
const PIECE: u64 = 64 << 10;

/// How far away, how thick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distance {
    /// Before the first byte of every answer, on top of what the server takes.
    pub delay: Duration,
    /// The most bytes of bodies a second on one connection; 0: no cap.
    pub bytes_a_second: u64,
}

impl Distance {
    /// On the same machine.
    pub const NONE: Distance = Distance { delay: Duration::ZERO, bytes_a_second: 0 };

    /// So many milliseconds, so many million bytes a second.
    pub const fn of(milliseconds: u64, megabytes_a_second: u64) -> Distance {
        Distance { delay: Duration::from_millis(milliseconds), bytes_a_second: megabytes_a_second * 1_000_000 }
    }
}

/// What was asked.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// GETs of WAL segments, by the segment's name. Every try counts.
    pub segments: BTreeMap<String, usize>,
    /// Listings.
    pub lists: usize,
    /// Everything else: histories, HEADs, …
    pub others: usize,
    /// Bytes of bodies.
    pub bytes: u64,
    /// Connections that were opened.
    pub connections: usize,
    /// The most requests that were answered at one time.
    pub most_at_once: usize,
}

impl Counts {
    /// All requests.
    pub fn requests(&self) -> usize {
        self.segments.values().sum::<usize>() + self.lists + self.others
    }
}

/// Where answers come from.
enum Origin {
    /// A server on this port of 127.0.0.1.
    Port(u16),
    /// The folder of a bucket: any bucket's name leads to it.
    Folder(Folder),
}

struct Shared {
    origin: Origin,
    delay_us: AtomicU64,
    bytes_a_second: AtomicU64,
    counts: Mutex<Counts>,
    answering: AtomicU64,
    open: Mutex<BTreeMap<usize, TcpStream>>,
    stop: AtomicBool,
}

/// A running server, gone when dropped.
pub struct Pace {
    port: u16,
    shared: Arc<Shared>,
    accept: Option<JoinHandle<()>>,
}

impl Pace {
    /// Before the server on this port of 127.0.0.1.
    pub fn before(upstream: u16, distance: Distance) -> Pace {
        Pace::start(Origin::Port(upstream), distance)
    }

    /// A server of its own for the objects in a folder, by GET and by list: for measurements that a real server's own
    /// appetite for CPU would spoil. The folder must not change meanwhile.
    pub fn of_folder(folder: &Path, distance: Distance) -> Pace {
        Pace::start(Origin::Folder(Folder::read(folder)), distance)
    }

    fn start(origin: Origin, distance: Distance) -> Pace {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a local port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared {
            origin,
            delay_us: AtomicU64::default(),
            bytes_a_second: AtomicU64::default(),
            counts: Mutex::default(),
            answering: AtomicU64::default(),
            open: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let inside = shared.clone();
        let accept = std::thread::spawn(move || accept(&inside, &listener));
        let pace = Pace { port, shared, accept: Some(accept) };
        pace.set(distance);
        pace
    }

    /// From the next answer on.
    pub fn set(&self, distance: Distance) {
        let Distance { delay, bytes_a_second } = distance;
        self.shared.delay_us.store(delay.as_micros() as u64, Ordering::Relaxed);
        self.shared.bytes_a_second.store(bytes_a_second, Ordering::Relaxed);
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        lock(&self.shared.counts).clone()
    }

    /// Count from nothing.
    pub fn forget(&self) {
        *lock(&self.shared.counts) = Counts::default();
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Whoever waits in `accept` or in a read wakes.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
        for stream in lock(&self.shared.open).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for number in 0.. {
        let Ok((client, _)) = listener.accept() else { return };
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(handle) = client.try_clone() else { return };
        lock(&shared.open).insert(number, handle);
        lock(&shared.counts).connections += 1;
        let shared = shared.clone();
        std::thread::spawn(move || {
            // A client that goes away in the middle is not an error of ours.
            let _ = serve(&shared, &client);
            let _ = client.shutdown(Shutdown::Both);
            lock(&shared.open).remove(&number);
        });
    }
}

/// One connection: requests and answers, until either side has enough.
fn serve(shared: &Shared, client: &TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut input = BufReader::new(client.try_clone()?);
    let mut upstream = None;
    loop {
        let head = Head::read(&mut input)?;
        let Some((method, target)) = head.request() else { return Ok(()) };
        count(shared, method, target);
        let _answering = Answering::begin(shared);
        let keep = match &shared.origin {
            Origin::Port(port) => relay(shared, *port, &mut upstream, &head, client)?,
            Origin::Folder(folder) => answer(shared, folder, &head, client)?,
        };
        if !keep || head.says("connection", "close") {
            return Ok(());
        }
    }
}

fn count(shared: &Shared, method: &str, target: &str) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default();
    let mut counts = lock(&shared.counts);
    if query.contains("list-type=2") {
        counts.lists += 1;
    } else if method == "GET" && path.contains("/wal_005/") && name.len() == 24 && !path.contains(".backup") {
        *counts.segments.entry(name.to_owned()).or_default() += 1;
    } else {
        counts.others += 1;
    }
}

/// One more request is being answered.
struct Answering<'a>(&'a Shared);

impl<'a> Answering<'a> {
    fn begin(shared: &'a Shared) -> Answering<'a> {
        let now = shared.answering.fetch_add(1, Ordering::SeqCst) + 1;
        let mut counts = lock(&shared.counts);
        counts.most_at_once = counts.most_at_once.max(now as usize);
        Answering(shared)
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn wait_for_the_first_byte(&self) {
        let delay = Duration::from_micros(self.delay_us.load(Ordering::Relaxed));
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }

    /// Pieces of one body, none before its time.
    fn valve(&self) -> Valve<'_> {
        Valve { shared: self, began: Instant::now(), passed: 0, cap: self.bytes_a_second.load(Ordering::Relaxed) }
    }
}

struct Valve<'a> {
    shared: &'a Shared,
    began: Instant,
    passed: u64,
    cap: u64,
}

impl Valve<'_> {
    /// So many more bytes are about to go.
    fn wait_for(&mut self, bytes: u64) {
        self.passed += bytes;
        if self.cap > 0 {
            let due = Duration::from_secs_f64(self.passed as f64 / self.cap as f64);
            std::thread::sleep(due.saturating_sub(self.began.elapsed()));
        }
    }

    /// The next bytes of a body, as many as that.
    fn pass(&mut self, from: &mut impl Read, mut to: &TcpStream, mut left: u64) -> std::io::Result<()> {
        let mut piece = vec![0; PIECE as usize];
        while left > 0 {
            let most = left.min(PIECE) as usize;
            let read = from.read(&mut piece[..most])?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.wait_for(read as u64);
            to.write_all(&piece[..read])?;
            left -= read as u64;
        }
        Ok(())
    }
}

impl Drop for Valve<'_> {
    fn drop(&mut self) {
        lock(&self.shared.counts).bytes += self.passed;
    }
}

/// A request's or an answer's lines, up to the empty one.
struct Head(Vec<String>);

impl Head {
    fn read(input: &mut impl BufRead) -> std::io::Result<Head> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
                return Ok(Head(lines));
            }
            lines.push(line.trim_end().to_owned());
        }
    }

    /// Method and target.
    fn request(&self) -> Option<(&str, &str)> {
        let mut words = self.0.first()?.split(' ');
        Some((words.next()?, words.next()?))
    }

    fn status(&self) -> u16 {
        self.0.first().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0)
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter().skip(1).filter_map(|line| line.split_once(':'));
        pairs.find(|(left, _)| left.eq_ignore_ascii_case(name)).map(|(_, right)| right.trim())
    }

    fn says(&self, name: &str, value: &str) -> bool {
        self.get(name).is_some_and(|said| said.eq_ignore_ascii_case(value))
    }

    fn length(&self) -> Option<u64> {
        self.get("content-length")?.parse().ok()
    }

    /// As it came.
    fn bytes(&self) -> Vec<u8> {
        let mut text = self.0.join("\r\n");
        text.push_str("\r\n\r\n");
        text.into_bytes()
    }
}

/// A connection to the server behind us.
struct Upstream {
    to: TcpStream,
    from: BufReader<TcpStream>,
}

impl Upstream {
    fn connect(port: u16) -> std::io::Result<Upstream> {
        let to = TcpStream::connect(("127.0.0.1", port))?;
        to.set_nodelay(true)?;
        let from = BufReader::with_capacity(PIECE as usize, to.try_clone()?);
        Ok(Upstream { to, from })
    }

    fn ask(&mut self, head: &Head) -> std::io::Result<Head> {
        self.to.write_all(&head.bytes())?;
        let answer = Head::read(&mut self.from)?;
        if answer.0.is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
    }
}

/// Pass one request on, and its answer back. May both connections be used again?
fn relay(
    shared: &Shared,
    port: u16,
    kept: &mut Option<Upstream>,
    head: &Head,
    mut client: &TcpStream,
) -> std::io::Result<bool> {
    if head.length().is_some_and(|length| length > 0) {
        // Readers send no bodies.
        return Err(std::io::ErrorKind::Unsupported.into());
    }
    let reused = kept.is_some();
    let mut upstream = kept.take().map_or_else(|| Upstream::connect(port), Ok)?;
    let answer = match upstream.ask(head) {
        Err(_) if reused => {
            // A server may end a connection that it kept: a new one, once.
            upstream = Upstream::connect(port)?;
            upstream.ask(head)?
        }
        answer => answer?,
    };
    shared.wait_for_the_first_byte();
    client.write_all(&answer.bytes())?;
    let mut valve = shared.valve();
    let bodiless = head.request().is_some_and(|(method, _)| method == "HEAD") || matches!(answer.status(), 204 | 304);
    let mut keep = !answer.says("connection", "close");
    match answer.length() {
        _ if bodiless => {}
        Some(length) => valve.pass(&mut upstream.from, client, length)?,
        None if answer.says("transfer-encoding", "chunked") => loop {
            let mut line = String::new();
            upstream.from.read_line(&mut line)?;
            let size = line.trim_end().split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size, 16).map_err(|_| std::io::ErrorKind::InvalidData)?;
            client.write_all(line.as_bytes())?;
            // The bytes and the line's end behind them. No server of ours sends trailers.
            valve.pass(&mut upstream.from, client, size + 2)?;
            if size == 0 {
                break;
            }
        },
        None => {
            std::io::copy(&mut upstream.from, &mut client)?;
            keep = false;
        }
    }
    if keep {
        *kept = Some(upstream);
    }
    Ok(keep)
}

/// Objects in a folder, as they were when it was read.
struct Folder {
    path: PathBuf,
    sizes: BTreeMap<String, u64>,
}

impl Folder {
    fn read(path: &Path) -> Folder {
        let (mut sizes, mut open) = (BTreeMap::new(), vec![path.to_path_buf()]);
        while let Some(at) = open.pop() {
            for entry in std::fs::read_dir(&at).expect("a folder of objects") {
                let entry = entry.expect("an entry").path();
                if entry.is_dir() {
                    open.push(entry);
                } else {
                    let key = entry.strip_prefix(path).expect("below it").to_string_lossy().into_owned();
                    sizes.insert(key, entry.metadata().expect("an object").len());
                }
            }
        }
        Folder { path: path.to_path_buf(), sizes }
    }

    /// A page of `list-type=2`. Keys of archives need no encoding.
    fn list(&self, query: &str) -> String {
        let get = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().replace("%2F", "/").replace("%2f", "/")
        };
        let (prefix, slash) = (get("prefix"), get("delimiter"));
        let after = get("continuation-token").max(get("start-after"));
        let most = get("max-keys").parse().unwrap_or(PAGE).min(PAGE);
        let (mut entries, mut last, mut count, mut more) = (String::new(), String::new(), 0, false);
        for (key, size) in self.sizes.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
            let below = key[prefix.len()..].find('/').filter(|_| !slash.is_empty());
            let name = below.map_or(&key[..], |end| &key[..=prefix.len() + end]);
            if name <= after.as_str() || name == last {
                continue;
            }
            if count == most {
                more = true;
                break;
            }
            count += 1;
            name.clone_into(&mut last);
            let _ = match below {
                Some(_) => write!(entries, "<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"),
                None => write!(
                    entries,
                    "<Contents><Key>{name}</Key><LastModified>2026-11-21T09:00:00.000Z</LastModified>\
                     <ETag>&quot;{size:x}&quot;</ETag><Size>{size}</Size></Contents>"
                ),
            };
        }
        let next = if more { format!("<NextContinuationToken>{last}</NextContinuationToken>") } else { String::new() };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><EncodingType>url</EncodingType>\
             <IsTruncated>{more}</IsTruncated>{next}{entries}</ListBucketResult>\n"
        )
    }
}

/// The folder's own answer.
fn answer(shared: &Shared, folder: &Folder, head: &Head, mut client: &TcpStream) -> std::io::Result<bool> {
    let Some((method, target)) = head.request() else { return Ok(false) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    let found = folder.sizes.get(key).copied();
    shared.wait_for_the_first_byte();
    let (Some(size), "GET") = (found, method) else {
        let (status, body) = match (method, found) {
            ("GET", _) if query.contains("list-type=2") => (200, folder.list(query)),
            ("GET", _) => {
                let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code></Error>";
                (404, xml.to_owned())
            }
            _ => (405, String::new()),
        };
        let kind = "content-type: application/xml";
        let text = format!("HTTP/1.1 {status} X\r\n{kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        client.write_all(text.as_bytes())?;
        return Ok(method != "HEAD");
    };
    let range = head.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (first, end) = range.map_or((0, size), |(first, last)| {
        (first.parse().unwrap_or(0).min(size), last.parse().map_or(size, |last: u64| (last + 1).min(size)))
    });
    let mut text = match range {
        Some(_) => format!("HTTP/1.1 206 X\r\ncontent-range: bytes {first}-{}/{size}\r\n", end.saturating_sub(1)),
        None => String::from("HTTP/1.1 200 X\r\n"),
    };
    let _ = write!(text, "etag: \"{size:x}\"\r\nlast-modified: Sat, 21 Nov 2026 09:00:00 GMT\r\n");
    let _ = write!(text, "content-length: {}\r\n\r\n", end - first);
    client.write_all(text.as_bytes())?;
    let mut file = File::open(folder.path.join(key))?;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(first))?;
    let (mut valve, mut left) = (shared.valve(), end - first);
    while left > 0 {
        let most = left.min(PIECE);
        valve.wait_for(most);
        // The standard library lets the kernel do it: from the file's pages to the socket.
        if std::io::copy(&mut (&file).take(most), &mut client)? != most {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        left -= most;
    }
    Ok(true)
}
