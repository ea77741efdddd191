//! An HTTP/1.1 proxy before a real server, which does to its answers what networks and stores do.
//!
//! In: an upstream port, a rule from request to [`Fault`]. Out: a port to talk to; a log of every request.
//! Never: judges content; keeps a connection for a second request (so that each fault meets one request).

use super::free_port;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the server's own answer.
    None,
    /// An answer in the server's place: a status and an S3 error code in XML.
    Status(u16, &'static str),
    /// An answer in the server's place: 200 with this body.
    Body(Vec<u8>),
    /// The connection ends before any answer.
    Hangup,
    /// The answer's head and so many bytes of its body, then the connection ends.
    CutAfter(usize),
    /// The answer with so many bytes of its body, and a Content-Length that agrees: no client can see it is short.
    ShortBy(usize),
    /// The answer's head and so many bytes of its body, then silence.
    StallAfter(usize),
    /// One bit of the body's byte at this offset is flipped.
    FlipAt(usize),
    /// The answer, so many milliseconds later.
    Late(u64),
    /// The answer's head and so many bytes of its body, then the connection is reset.
    ResetAfter(usize),
    /// The answer, with this header as given (it is added where the server sent none).
    Header(&'static str, &'static str),
    /// A listing without the entries whose key contains this.
    Hide(String),
    /// A listing with its first entry once more at its end.
    Repeat,
    /// The answer without its length and with so many bytes of its body, then the connection ends in order.
    NoLength(usize),
    /// For a range of an object that [`Fault::CutAfter`] fell upon before: 200, and the whole of it.
    Whole,
}

/// A request as a rule sees it.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `HEAD`, `PUT`, …
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// The value of the Range header.
    pub range: Option<String>,
    /// How many requests the proxy saw before this one.
    pub number: usize,
}

type Rule = Arc<dyn Fn(&Request) -> Fault + Send + Sync>;

struct Shared {
    upstream: u16,
    rule: Mutex<Rule>,
    requests: Mutex<Vec<Request>>,
    /// Answers that were cut, whole, by the request's path and query.
    cut: Mutex<HashMap<String, Vec<u8>>>,
    listening: AtomicBool,
    stop: AtomicBool,
}

/// A running proxy.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accept: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Before the server on this port of 127.0.0.1; without faults at first.
    pub fn before(upstream: u16) -> Proxy {
        let shared = Arc::new(Shared {
            upstream,
            rule: Mutex::new(Arc::new(|_| Fault::None)),
            requests: Mutex::default(),
            cut: Mutex::default(),
            listening: AtomicBool::new(true),
            stop: AtomicBool::new(false),
        });
        let port = free_port();
        let first = TcpListener::bind(("127.0.0.1", port)).expect("a port that was free");
        let inside = shared.clone();
        let accept = std::thread::spawn(move || accept(&inside, port, first));
        Proxy { port, shared, accept: Some(accept) }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on, what becomes of each request.
    pub fn rule(&self, rule: impl Fn(&Request) -> Fault + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rule);
    }

    /// Let nobody connect (refused), or let them again.
    pub fn listen(&self, listening: bool) {
        self.shared.listening.store(listening, Ordering::SeqCst);
        // The accepting thread looks every few milliseconds.
        std::thread::sleep(Duration::from_millis(100));
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forget the requests so far.
    pub fn forget(&self) {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(accept) = self.accept.take() {
            let _ = accept.join();
        }
    }
}

fn accept(shared: &Arc<Shared>, port: u16, first: TcpListener) {
    let mut listener = Some(first);
    while !shared.stop.load(Ordering::SeqCst) {
        if shared.listening.load(Ordering::SeqCst) {
            let listener =
                listener.get_or_insert_with(|| TcpListener::bind(("127.0.0.1", port)).expect("our own port"));
            listener.set_nonblocking(true).expect("a socket without waiting");
            while let Ok((client, _)) = listener.accept() {
                client.set_nonblocking(false).expect("a socket that waits");
                let shared = shared.clone();
                // A client that goes away in the middle is not an error of the proxy.
                std::thread::spawn(move || drop(serve(&shared, &client)));
            }
        } else {
            listener = None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One request and its answer.
fn serve(shared: &Shared, client: &TcpStream) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut input = BufReader::new(client.try_clone()?);
    let head = read_head(&mut input)?;
    let Some(first) = head.first() else { return Ok(()) };
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let body = match header(&head, "content-length").and_then(|length| length.parse().ok()) {
        Some(length) => {
            let mut body = vec![0; length];
            input.read_exact(&mut body)?;
            body
        }
        None => Vec::new(),
    };
    let request = {
        let mut requests = shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let range = header(&head, "range").map(String::from);
        let request = Request { method: method.into(), target: target.into(), range, number: requests.len() };
        requests.push(request.clone());
        request
    };
    let rule = shared.rule.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let fault = rule(&request);
    let mut client = client;
    match &fault {
        Fault::Hangup => return client.shutdown(Shutdown::Both),
        Fault::Status(status, code) => {
            let xml = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>by rule</Message></Error>"
            );
            let xml = if method == "HEAD" { "" } else { xml.as_str() };
            let kind = "content-type: application/xml\r\nconnection: close";
            return write!(client, "HTTP/1.1 {status} X\r\n{kind}\r\ncontent-length: {}\r\n\r\n{xml}", xml.len());
        }
        Fault::Body(body) => {
            write!(client, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len())?;
            return client.write_all(body);
        }
        Fault::Whole => {
            // Its range is signed, so the server cannot be asked for all of it.
            let whole = shared.cut.lock().unwrap_or_else(PoisonError::into_inner).get(target).cloned();
            return client.write_all(&whole.expect("an answer was cut before"));
        }
        Fault::Late(milliseconds) => std::thread::sleep(Duration::from_millis(*milliseconds)),
        _ => {}
    }

    let mut server = TcpStream::connect(("127.0.0.1", shared.upstream))?;
    for line in head.iter().filter(|line| !is_header(line, "connection")) {
        write!(server, "{line}\r\n")?;
    }
    server.write_all(b"connection: close\r\n\r\n")?;
    server.write_all(&body)?;
    let mut answer = BufReader::new(server);
    let mut answered = read_head(&mut answer)?;
    let mut body = Vec::new();
    if method != "HEAD" {
        answer.read_to_end(&mut body)?;
    }
    match &fault {
        Fault::ShortBy(bytes) => body.truncate(body.len().saturating_sub(*bytes)),
        Fault::Hide(key) => edit_listing(&mut body, |entries| entries.retain(|entry| !entry.contains(key))),
        Fault::Repeat => edit_listing(&mut body, |entries| entries.extend(entries.first().cloned())),
        Fault::Header(name, value) => {
            answered.retain(|line| !is_header(line, name));
            answered.push(format!("{name}: {value}"));
        }
        _ => {}
    }
    if matches!(fault, Fault::NoLength(_)) {
        answered.retain(|line| !is_header(line, "content-length"));
    }
    if matches!(fault, Fault::ShortBy(_) | Fault::Hide(_) | Fault::Repeat) {
        let length = body.len();
        answered.retain(|line| !is_header(line, "content-length") && !is_header(line, "transfer-encoding"));
        answered.push(format!("content-length: {length}"));
    }
    let whole = body.len();
    if let Fault::FlipAt(at) = fault
        && let Some(byte) = body.get_mut(at)
    {
        *byte ^= 0x10;
    }
    let head: String =
        answered.iter().filter(|line| !is_header(line, "connection")).map(|line| format!("{line}\r\n")).collect();
    let head = format!("{head}connection: close\r\n\r\n").into_bytes();
    if matches!(fault, Fault::CutAfter(_)) && request.range.is_none() {
        let whole = [head.as_slice(), body.as_slice()].concat();
        shared.cut.lock().unwrap_or_else(PoisonError::into_inner).insert(target.to_owned(), whole);
    }
    client.write_all(&head)?;
    match fault {
        Fault::CutAfter(bytes) | Fault::NoLength(bytes) => client.write_all(&body[..bytes.min(whole)])?,
        Fault::ResetAfter(bytes) => {
            client.write_all(&body[..bytes.min(whole)])?;
            // Let what was sent arrive: a reset throws away what the other side has not read.
            std::thread::sleep(Duration::from_millis(20));
            return reset(client);
        }
        Fault::StallAfter(bytes) => {
            client.write_all(&body[..bytes.min(whole)])?;
            // Until the client gives up or the test ends.
            while !shared.stop.load(Ordering::SeqCst) {
                client.set_read_timeout(Some(Duration::from_millis(50)))?;
                match client.read(&mut [0; 16]) {
                    Ok(0) => break,
                    Err(why)
                        if !matches!(why.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
                    {
                        break;
                    }
                    _ => {}
                }
            }
        }
        _ => client.write_all(&body)?,
    }
    client.shutdown(Shutdown::Both)
}

/// End a connection as a crashed machine behind a firewall does. The standard library has no word for it; tokio has.
fn reset(client: &TcpStream) -> std::io::Result<()> {
    client.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::net::TcpStream::from_std(client.try_clone()?)?.set_zero_linger() })
}

/// Do something to the entries of a listing.
fn edit_listing(body: &mut Vec<u8>, edit: impl FnOnce(&mut Vec<String>)) {
    const END: &str = "</Contents>";
    let text = String::from_utf8_lossy(body).into_owned();
    let (Some(first), Some(last)) = (text.find("<Contents>"), text.rfind(END)) else { return };
    let mut entries: Vec<String> = text[first..last + END.len()].split_inclusive(END).map(String::from).collect();
    edit(&mut entries);
    *body = format!("{}{}{}", &text[..first], entries.concat(), &text[last + END.len()..]).into_bytes();
}

/// Lines up to the empty one.
fn read_head(input: &mut impl BufRead) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            return Ok(lines);
        }
        lines.push(line.trim_end().to_string());
    }
}

fn is_header(line: &str, name: &str) -> bool {
    line.split_once(':').is_some_and(|(left, _)| left.eq_ignore_ascii_case(name))
}

fn header<'a>(head: &'a [String], name: &str) -> Option<&'a str> {
    head.iter().find(|line| is_header(line, name)).and_then(|line| Some(line.split_once(':')?.1.trim()))
}
