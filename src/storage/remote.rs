//! What stores over HTTP have in common: how their answers are held to what was asked.
//!
//! In: headers, bodies, entries of listings, chains of errors. Out: ranges that are checked, bodies that are whole or end
//! with an error, listings in order, and what a failure on the way means. Never: sends a request; says absent, which only
//! a store's own words can.

mod body;
mod order;
mod pages;
mod way;

#[cfg(test)]
pub(super) use body::content_range;
pub(super) use body::{body_stream, check_range};
use order::Order;
pub(super) use order::merge;
#[cfg(test)]
pub(super) use order::name;
pub(super) use pages::listing;
pub(super) use way::{chain, root, transport};

use super::{ETag, StoreErrorKind};
use jiff::{SignedDuration, Timestamp};

/// Clocks that are so far apart are not both right. (Stores refuse what was signed more than 15 minutes ago; Garage, more
/// than a day.)
const APART: SignedDuration = SignedDuration::from_mins(5);

/// The text of the first element of this name. Enough for the flat error documents.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once('<')?;
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// One line, not too long: servers put what they like into messages.
pub(super) fn line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The error document of S3 and Azure, `<Error>` in XML, if this is one.
pub(super) fn error_document(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?.trim_start_matches('\u{feff}').trim_start();
    let root = match text.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>")?.1.trim_start(),
        None => text,
    };
    (root.starts_with("<Error>") || root.starts_with("<Error ")).then_some(root)
}

/// What an answer that is an error says, behind the verb: `refused with 403 AccessDenied: Access Denied`.
pub(super) fn answered(kind: StoreErrorKind, status: u16, code: Option<&str>, message: Option<&str>) -> String {
    let verdict = match kind {
        StoreErrorKind::Refused | StoreErrorKind::Expired | StoreErrorKind::Archived => "refused with",
        _ => "answered with",
    };
    let code = code.map(|code| format!(" {}", line(code))).unwrap_or_default();
    let message = message.map(|message| format!(": {}", line(message))).unwrap_or_default();
    format!("{verdict} {status}{code}{message}")
}

/// And that its body is no error document of this store's.
pub(super) fn unexplained(body: &[u8], store: &str) -> String {
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => " and no explanation".to_owned(),
        Some(b'<') => format!(" and a page that is not {store}'s"),
        Some(_) => format!(" and a text that is not {store}'s"),
    }
}

/// Is this machine's clock far from what an answer says? `date`: its header, as HTTP writes times.
pub(super) fn clock_is_off(date: Option<&str>, now: Option<Timestamp>) -> bool {
    let theirs = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    theirs.zip(now).is_some_and(|(theirs, now)| now.duration_since(theirs.timestamp()).abs() > APART)
}

/// And that it was the clock. `date` is the store's.
pub(super) fn wrong_clock(date: Option<&str>) -> String {
    let theirs = date.map(|date| format!(" (the store's says {})", line(date))).unwrap_or_default();
    format!("; the clock of this machine is wrong{theirs}")
}

/// Undo percent signs. What is not UTF-8 is shown with U+FFFD, and an odd percent sign stays.
pub(super) fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        (rest, _) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                let (high, low) = (hex(high).unwrap_or_default(), hex(low).unwrap_or_default());
                (tail, bytes.push(high * 16 + low))
            }
            (b'+', tail) if plus_is_space => (tail, bytes.push(b' ')),
            (byte, tail) => (tail, bytes.push(*byte)),
        };
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}

/// With quotes, as a header has it: some servers leave them out of their listings.
pub(super) fn normalise(etag: &str) -> ETag {
    if etag.ends_with('"') { ETag::new(etag) } else { ETag::new(format!("\"{etag}\"")) }
}

/// No proxy leads to this machine.
pub(super) fn is_this_machine(endpoint: &str) -> bool {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
