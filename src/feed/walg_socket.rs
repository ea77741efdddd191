//! The frames of WAL-G's daemon: what its clients ask over a Unix socket, and what they are answered.
//!
//! In: bytes of a connection, cut anywhere; requests and answers as values. Out: requests and answers; bytes. Never:
//! does I/O, takes a length field's word for how much to allocate, or goes on behind a frame that makes no sense.
//! Source: WAL-G `internal/daemon/{common,client}.go`, `internal/databases/postgres/daemon_handler.go`.
//!
//! ```text
//! request   kind u8 │ length u16 BE, these 3 bytes included │ body
//!   C       are you there      body of no meaning (some clients write CHECK)    answered O; the connection stays open
//!   F       archive this       the WAL file's name, or whatever one argument    the server closes behind its answer
//!   f       fetch this         count u8 = 2 │ len u16 BE │ name │ len u16 BE │ destination    the server closes
//! answer    one byte: O done, N not in the archive, E anything else
//! ```
//!
//! A client counts its arguments only when there are several: one stands in the body as it is, so `f` never has one.

use std::fmt;

/// Bytes before the body: kind and length.
const HEAD: usize = 3;
/// Bytes of the longest frame: its length is 16 bits.
const LONGEST: usize = u16::MAX as usize;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Are you there?
    Check,
    /// Archive this file. Its one argument, as sent.
    Push(Vec<u8>),
    /// Fetch a WAL file.
    Fetch {
        /// Its name, as sent: any bytes.
        name: Vec<u8>,
        /// Where it goes, as sent: any bytes.
        destination: Vec<u8>,
    },
}

/// What it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Done; for a fetch, the file is at its destination.
    Done,
    /// The archive does not hold it.
    Absent,
    /// Anything else; the server's log says what.
    Failed,
}

/// A frame that makes no sense: the connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No request begins so.
    #[error("no request begins with the byte {0:#04x}")]
    Kind(u8),
    /// Shorter than its own head.
    #[error("a request that says it is {0} bytes long, its own 3 included")]
    Length(u16),
    /// The body of `f` is no count and arguments, or other than two of them.
    #[error("a fetch whose arguments {0}")]
    Arguments(&'static str),
}

/// A request that does not fit into a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request of {0} bytes does not fit into the {LONGEST} of a frame")]
pub struct TooLong(usize);

impl Reply {
    /// The byte.
    pub fn byte(self) -> u8 {
        match self {
            Reply::Done => b'O',
            Reply::Absent => b'N',
            Reply::Failed => b'E',
        }
    }

    /// What a byte says; `None`: no server answers so.
    pub fn from_byte(byte: u8) -> Option<Reply> {
        [Reply::Done, Reply::Absent, Reply::Failed].into_iter().find(|reply| reply.byte() == byte)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reply::Done => "done",
            Reply::Absent => "not in the archive",
            Reply::Failed => "an error",
        })
    }
}

impl Request {
    /// The frame, as WAL-G's client writes it.
    pub fn encode(&self) -> Result<Vec<u8>, TooLong> {
        let (kind, body) = match self {
            Request::Check => (b'C', Vec::new()),
            Request::Push(argument) => (b'F', argument.clone()),
            Request::Fetch { name, destination } => {
                let mut body = vec![2];
                for argument in [name, destination] {
                    let length = u16::try_from(argument.len()).map_err(|_| TooLong(argument.len()))?;
                    body.extend_from_slice(&length.to_be_bytes());
                    body.extend_from_slice(argument);
                }
                (b'f', body)
            }
        };
        let length = HEAD + body.len();
        let mut frame = vec![kind];
        frame.extend_from_slice(&u16::try_from(length).map_err(|_| TooLong(length))?.to_be_bytes());
        frame.extend_from_slice(&body);
        Ok(frame)
    }

    fn of(kind: Kind, body: &[u8]) -> Result<Request, Malformed> {
        Ok(match kind {
            Kind::Check => Request::Check,
            Kind::Push => Request::Push(body.to_vec()),
            Kind::Fetch => {
                let (name, destination) = two_arguments(body).map_err(Malformed::Arguments)?;
                Request::Fetch { name: name.to_vec(), destination: destination.to_vec() }
            }
        })
    }
}

fn two_arguments(body: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let (count, rest) = body.split_first().ok_or("are none")?;
    let argument = |rest| {
        let (length, rest): (&[u8; 2], &[u8]) = <[u8]>::split_first_chunk(rest).ok_or("end early")?;
        rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or("end early")
    };
    if *count != 2 {
        return Err("are not two");
    }
    let (name, rest) = argument(rest)?;
    let (destination, rest) = argument(rest)?;
    if rest.is_empty() { Ok((name, destination)) } else { Err("end before the request does") }
}

/// The kinds of requests.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Check,
    Push,
    Fetch,
}

impl Kind {
    fn of(byte: u8) -> Option<Kind> {
        match byte {
            b'C' => Some(Kind::Check),
            b'F' => Some(Kind::Push),
            b'f' => Some(Kind::Fetch),
            _ => None,
        }
    }
}

/// Takes a connection's bytes apart into requests. Holds at most one frame, and of that only what came.
#[derive(Debug, Default)]
pub struct Requests {
    frame: Vec<u8>,
    broken: Option<Malformed>,
}

impl Requests {
    /// At the beginning of a connection.
    pub fn new() -> Self {
        Requests::default()
    }

    /// Take bytes up to the end of the frame: how many were taken, and the request when it is whole. What is wrong shows
    /// at the first byte that makes it so, and from then on.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Request>), Malformed> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        self.take(bytes).inspect_err(|broken| self.broken = Some(*broken))
    }

    /// Is the connection between two requests?
    pub fn is_between(&self) -> bool {
        self.frame.is_empty()
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Request>), Malformed> {
        let mut taken = 0;
        loop {
            let head = self.head()?;
            if let Some((kind, length)) = head
                && self.frame.len() == length
            {
                let frame = std::mem::take(&mut self.frame);
                return Ok((taken, Some(Request::of(kind, frame.get(HEAD..).unwrap_or_default())?)));
            }
            let wanted = head.map_or(HEAD, |(_, length)| length).saturating_sub(self.frame.len());
            let rest = bytes.get(taken..).unwrap_or_default();
            let more = rest.get(..wanted).unwrap_or(rest);
            if more.is_empty() {
                return Ok((taken, None));
            }
            self.frame.extend_from_slice(more);
            taken += more.len();
        }
    }

    /// The kind and the length of the frame that has begun, once they are there.
    fn head(&self) -> Result<Option<(Kind, usize)>, Malformed> {
        let Some(first) = self.frame.first() else { return Ok(None) };
        let kind = Kind::of(*first).ok_or(Malformed::Kind(*first))?;
        let Some([_, high, low]) = self.frame.first_chunk::<HEAD>() else { return Ok(None) };
        let length = u16::from_be_bytes([*high, *low]);
        if usize::from(length) < HEAD { Err(Malformed::Length(length)) } else { Ok(Some((kind, length.into()))) }
    }
}

#[cfg(test)]
mod tests;
