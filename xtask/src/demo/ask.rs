//! One question to a PostgreSQL server, over its Unix socket, as user `postgres`, trusted.
//!
//! In: the socket, one SQL statement. Out: its rows as text, columns parted by `|`; or the server's own error.
//! Never: authenticates; more than the simple query protocol, which servers of every version speak.
//! Source: PostgreSQL documentation, "Frontend/Backend Protocol", messages Q, T, D, C, E, Z.

use crate::shell::Outcome;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Ask, and give the rows.
pub(super) fn ask(socket: &Path, sql: &str) -> Outcome<String> {
    let mut server = UnixStream::connect(socket).map_err(said)?;
    let mut start = 196_608u32.to_be_bytes().to_vec();
    start.extend(b"user\0postgres\0database\0postgres\0\0");
    send(&mut server, None, &start)?;
    while receive(&mut server)?.0 != b'Z' {}
    send(&mut server, Some(b'Q'), &[sql.as_bytes(), b"\0"].concat())?;
    let mut rows = Vec::new();
    loop {
        match receive(&mut server)? {
            (b'D', body) => rows.push(row(&body).ok_or("a row that cannot be read")?),
            (b'Z', _) => return Ok(rows.join("\n")),
            _ => {}
        }
    }
}

fn send(server: &mut UnixStream, kind: Option<u8>, body: &[u8]) -> Outcome {
    let mut message: Vec<u8> = kind.into_iter().collect();
    message.extend((body.len() as u32 + 4).to_be_bytes());
    message.extend(body);
    server.write_all(&message).map_err(said)
}

/// The next message; an error of the server is an error.
fn receive(server: &mut UnixStream) -> Outcome<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    server.read_exact(&mut head).map_err(said)?;
    let [kind, length @ ..] = head;
    let mut body = vec![0; (u32::from_be_bytes(length) as usize).saturating_sub(4).min(1 << 20)];
    server.read_exact(&mut body).map_err(said)?;
    if kind == b'E' { Err(String::from_utf8_lossy(&body).replace('\0', " ")) } else { Ok((kind, body)) }
}

/// Column count (u16), then for each column its length (i32, negative for NULL) and its text.
fn row(body: &[u8]) -> Option<String> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        columns.push(String::from_utf8_lossy(after.get(..length)?).into_owned());
        rest = after.get(length..)?;
    }
    Some(columns.join("|"))
}

fn said(why: std::io::Error) -> String {
    why.to_string()
}
