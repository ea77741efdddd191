//! A small HTTP server that answers as it is told, and a TCP proxy that spoils connections: for stores over the network.
//!
//! In: a function from requests to [`Reply`]s; for the proxy, a server and the [`Spoil`]s of its connections. Out: an
//! address on this machine, and a record of the requests. Never: speaks TLS, keeps connections alive, answers by chance.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request, as far as tests look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// `/bucket/key?list-type=2`, as sent.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Of a PUT.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of the query, as sent.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
    }

    async fn read(stream: &mut TcpStream) -> Option<Request> {
        let mut bytes = Vec::new();
        let head_len = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let mut body = bytes.split_off(head_len + 4);
        let head = String::from_utf8_lossy(&bytes);
        let mut lines = head.lines();
        let mut first = lines.next()?.split(' ');
        let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
        let header =
            |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        let mut request = Request { method, target, headers: lines.filter_map(header).collect(), body: Vec::new() };
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        while body.len() < length {
            if stream.read_buf(&mut body).await.ok()? == 0 {
                return None;
            }
        }
        request.body = body;
        Some(request)
    }
}

/// What goes back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status line and headers are these, with a Content-Length unless `raw` says so.
    pub status: u16,
    /// Besides Content-Length and Connection.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What the Content-Length says when it is not the body's; `Some(None)`: there is none, and the body ends with the
    /// connection.
    pub length: Option<Option<u64>>,
    /// Between the headers and the body.
    pub pause: Duration,
    /// Bytes of the body that are sent before the connection is reset.
    pub reset_after: Option<usize>,
    /// Silence, for ever, behind so many bytes of the body.
    pub stall_after: Option<usize>,
    /// Sent as it is instead of all that.
    pub raw: Option<Vec<u8>>,
}

impl Reply {
    /// An answer with a body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Reply {
            status,
            headers: Vec::new(),
            body: body.into(),
            length: None,
            pause: Duration::ZERO,
            reset_after: None,
            stall_after: None,
            raw: None,
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// S3's error document.
    pub fn s3_error(status: u16, code: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>about {code}</Message>\
             <RequestId>4442587FB7D0A2F9</RequestId></Error>"
        );
        Reply::new(status, body).header("Content-Type", "application/xml")
    }

    /// An object, or the part of it that a request asks for.
    pub fn object(request: &Request, bytes: &[u8], etag: &str) -> Self {
        if request.header("if-match").is_some_and(|wanted| wanted != etag) {
            return Reply::s3_error(412, "PreconditionFailed");
        }
        let size = bytes.len();
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let reply = match range.map(|(first, last)| (first.parse::<usize>(), last.parse::<usize>())) {
            None => Reply::new(200, bytes),
            Some((Ok(first), last)) if first < size => {
                let end = last.map_or(size, |last| last.saturating_add(1).min(size));
                let part = bytes.get(first..end).unwrap_or_default();
                Reply::new(206, part).header("Content-Range", format!("bytes {first}-{}/{size}", end - 1))
            }
            Some(_) => return Reply::s3_error(416, "InvalidRange").header("Content-Range", format!("bytes */{size}")),
        };
        reply.header("ETag", etag).header("Last-Modified", "Sat, 21 Nov 2026 09:00:00 GMT")
    }

    async fn send(self, stream: &mut TcpStream, head_only: bool) -> std::io::Result<()> {
        if let Some(raw) = self.raw {
            stream.write_all(&raw).await?;
            return stream.shutdown().await;
        }
        let mut head = format!("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = self.length.unwrap_or(Some(self.body.len() as u64)) {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await?;
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        let cut = self.reset_after.or(self.stall_after).unwrap_or(self.body.len()).min(self.body.len());
        if !head_only {
            stream.write_all(self.body.get(..cut).unwrap_or_default()).await?;
            stream.flush().await?;
        }
        if self.stall_after.is_some() {
            std::future::pending::<()>().await;
        }
        if self.reset_after.is_some() {
            // Let what was sent arrive: a reset throws away what the other side has not read.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return stream.set_zero_linger();
        }
        stream.shutdown().await
    }
}

/// A server on a port of this machine, gone when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Start. `answer` gets each request and its number, from 0.
    pub async fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of this machine");
        let address = listener.local_addr().expect("checked: it listens");
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (answer, record) = (Arc::new(answer), requests.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, record) = (answer.clone(), record.clone());
                connections.spawn(async move {
                    let Some(request) = Request::read(&mut stream).await else { return };
                    let number = {
                        let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
                        record.push(request.clone());
                        record.len() - 1
                    };
                    let _ = answer(&request, number).send(&mut stream, request.method == "HEAD").await;
                });
            }
        });
        Server { address, requests, task }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What happens to one connection through a [`Proxy`]. Bytes are counted from the server's side, headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// Nothing.
    No,
    /// It is accepted and closed at once.
    Refuse,
    /// Reset behind so many bytes.
    ResetAfter(u64),
    /// Closed in order behind so many bytes.
    CloseAfter(u64),
    /// Silence behind so many bytes.
    StallAfter(u64),
    /// The first byte comes later.
    Delay(Duration),
    /// So many bytes a second.
    Throttle(u64),
    /// Instead of the server's answer, this one.
    Answer(&'static [u8]),
}

/// A TCP proxy before a server, gone when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    plan: Arc<Mutex<(Vec<Spoil>, Spoil, usize)>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Start before the server at `upstream`, spoiling nothing.
    pub async fn start(upstream: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of this machine");
        let address = listener.local_addr().expect("checked: it listens");
        let plan = Arc::new(Mutex::new((Vec::new(), Spoil::No, 0)));
        let shared = plan.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let spoil = {
                    let mut plan = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    let number = plan.2;
                    plan.2 += 1;
                    plan.0.get(number).copied().unwrap_or(plan.1)
                };
                connections.spawn(async move {
                    let _ = relay(stream, upstream, spoil).await;
                });
            }
        });
        Proxy { address, plan, task }
    }

    /// What happens to the next connections, one after the other, and to all behind them. Counts anew.
    pub fn spoil(&self, next: &[Spoil], then: Spoil) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = (next.to_vec(), then, 0);
    }

    /// Connections since the last [`Proxy::spoil`].
    pub fn connections(&self) -> usize {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).2
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn relay(mut client: TcpStream, upstream: SocketAddr, spoil: Spoil) -> std::io::Result<()> {
    if spoil == Spoil::Refuse {
        return client.set_zero_linger();
    }
    if let Spoil::Answer(answer) = spoil {
        let _ = Request::read(&mut client).await;
        client.write_all(answer).await?;
        return client.shutdown().await;
    }
    let server = TcpStream::connect(upstream).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let limit = match spoil {
        Spoil::ResetAfter(limit) | Spoil::CloseAfter(limit) | Spoil::StallAfter(limit) => limit,
        _ => u64::MAX,
    };
    let mut passed = 0u64;
    let mut buffer = vec![0; 16 * 1024];
    let end = loop {
        if passed >= limit {
            break Some(spoil);
        }
        let most = usize::try_from(limit - passed).unwrap_or(usize::MAX).min(buffer.len());
        let most = if let Spoil::Throttle(rate) = spoil { most.min((rate / 20).max(1) as usize) } else { most };
        let read = from_server.read(buffer.get_mut(..most).unwrap_or_default()).await?;
        if read == 0 {
            break None;
        }
        match spoil {
            Spoil::Delay(delay) if passed == 0 => tokio::time::sleep(delay).await,
            Spoil::Throttle(rate) => tokio::time::sleep(Duration::from_secs_f64(read as f64 / rate as f64)).await,
            _ => {}
        }
        passed += read as u64;
        to_client.write_all(buffer.get(..read).unwrap_or_default()).await?;
    };
    match end {
        Some(Spoil::StallAfter(_)) => std::future::pending().await,
        Some(Spoil::ResetAfter(_)) => {
            // Let what was sent arrive: a reset throws away what the other side has not read.
            tokio::time::sleep(Duration::from_millis(50)).await;
            up.abort();
            let _ = up.await;
            to_client.as_ref().set_zero_linger()?;
            // Dropping it would close the connection in order first.
            to_client.forget();
            Ok(())
        }
        _ => to_client.shutdown().await,
    }
}
