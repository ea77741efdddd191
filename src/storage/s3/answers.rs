//! What an answer of an S3 server means, and what a failure on the way to it means.
//!
//! In: status, headers and body of an answer that is an error; chains of errors of the HTTP client. Out: a
//! [`StoreErrorKind`] and a clause for people. Never: asks anything; says absent for anything but S3's own
//! `NoSuchKey` and `NoSuchBucket` in S3's own XML.
//!
//! A 404 without that XML (a proxy's page, a load balancer, an empty body) may mean that nothing of the archive was
//! reached; it is [`StoreErrorKind::Failed`]. Answers to HEAD have no body, so their errors are never read: the store
//! asks again by GET.
//! Source: Amazon S3 API reference, "Error responses"; the error tables of Ceph RGW, Garage and MinIO.

use crate::storage::StoreErrorKind as Kind;
use aws_credential_types::provider::error::CredentialsError;
use std::error::Error as StdError;
use std::io;

/// An answer that is an error.
#[derive(Debug, Default)]
pub(super) struct Refusal<'a> {
    pub status: u16,
    pub body: &'a [u8],
    /// `x-amz-bucket-region`.
    pub region: Option<&'a str>,
    /// `Location`.
    pub location: Option<&'a str>,
    /// `Date`: the server's clock.
    pub date: Option<&'a str>,
}

/// What it means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub kind: Kind,
    /// Behind the verb: `refused with 403 AccessDenied: Access Denied`.
    pub what: String,
    /// Where the bucket is, when the answer says so.
    pub region: Option<String>,
}

/// The text of the first element of this name. Enough for S3's flat error documents.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once('<')?;
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// One line, not too long: servers put what they like into messages.
fn line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl Refusal<'_> {
    /// S3's error document, if this is one.
    fn document(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.body).ok()?.trim_start_matches('\u{feff}').trim_start();
        let root = match text.strip_prefix("<?xml") {
            Some(rest) => rest.split_once("?>")?.1.trim_start(),
            None => text,
        };
        (root.starts_with("<Error>") || root.starts_with("<Error ")).then_some(root)
    }

    pub(super) fn meaning(&self) -> Meaning {
        let document = self.document();
        let code = document.and_then(|document| element(document, "Code"));
        let message = document.and_then(|document| element(document, "Message"));
        let kind = kind(self.status, code);
        let verdict = match kind {
            Kind::Refused | Kind::Expired | Kind::Archived => "refused with",
            _ => "answered with",
        };
        let mut what = format!("{verdict} {}", self.status);
        if let Some(code) = code {
            what.push_str(&format!(" {}", line(code)));
        }
        if let Some(message) = message {
            what.push_str(&format!(": {}", line(message)));
        }
        if document.is_none() {
            what.push_str(match self.body.iter().find(|byte| !byte.is_ascii_whitespace()) {
                None => " and no explanation",
                Some(b'<') => " and a page that is not S3's",
                Some(_) => " and a text that is not S3's",
            });
        }
        if code == Some("RequestTimeTooSkewed") {
            what.push_str("; the clock of this machine is wrong");
            if let Some(date) = self.date {
                what.push_str(&format!(" (the store's says {})", line(date)));
            }
        }
        let region = self.region.or_else(|| document.and_then(|document| element(document, "Region")));
        if kind == Kind::Redirected {
            if let Some(region) = region {
                what.push_str(&format!("; the bucket is in region {}", line(region)));
            } else if let Some(place) = document.and_then(|d| element(d, "Endpoint")).or(self.location) {
                what.push_str(&format!("; it points to {}", line(place)));
            }
        }
        Meaning { kind, what, region: region.map(str::to_owned) }
    }
}

/// The table. `code` is that of S3's XML, `None` when the body is not S3's.
fn kind(status: u16, code: Option<&str>) -> Kind {
    match (status, code) {
        (404, Some("NoSuchKey")) => Kind::NoSuchObject,
        (404, Some("NoSuchBucket")) => Kind::NoSuchPrefix,
        // Some of these come with 400, others with 403 or 500.
        (400.., Some("ExpiredToken" | "TokenRefreshRequired" | "ExpiredTokenException")) => Kind::Expired,
        (400.., Some("SlowDown" | "RequestLimitExceeded" | "BandwidthLimitExceeded" | "TooManyRequests")) => {
            Kind::Throttled
        }
        (400.., Some("Throttling" | "ThrottlingException" | "RequestThrottled" | "ServiceUnavailable")) => {
            Kind::Throttled
        }
        (400.., Some("InvalidObjectState")) => Kind::Archived,
        (400..=403, Some("AuthorizationHeaderMalformed" | "IllegalLocationConstraintException")) => Kind::Redirected,
        (400, Some("InvalidToken" | "InvalidAccessKeyId" | "InvalidSecurity" | "SignatureDoesNotMatch")) => {
            Kind::Refused
        }
        (400, Some("RequestTimeout" | "IncompleteBody" | "BadDigest")) => Kind::Failed,
        (400, Some(_)) => Kind::Config,
        (300..=399, _) if status != 304 => Kind::Redirected,
        (401 | 403 | 407, _) => Kind::Refused,
        (412, _) => Kind::Changed,
        (429 | 503 | 509, _) => Kind::Throttled,
        _ => Kind::Failed,
    }
}

/// A cause in a chain of errors. [`io::Error`] hides what it wraps from `source()`.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => error.source(),
    }
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| below(*error))
}

/// The text of the deepest cause.
pub(super) fn root(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(|error| line(&error.to_string())).unwrap_or_default()
}

/// Why no answer came, or why it broke off. `None`: not a matter of the way.
pub(super) fn transport(error: &(dyn StdError + 'static)) -> Option<(Kind, String)> {
    for cause in chain(error) {
        if let Some(credentials) = cause.downcast_ref::<CredentialsError>() {
            return Some(match credentials {
                CredentialsError::CredentialsNotLoaded(_) => (Kind::NoCredentials, "no credentials were found".into()),
                CredentialsError::ProviderTimedOut(_) => {
                    (Kind::NoCredentials, "the source of the credentials did not answer in time".into())
                }
                CredentialsError::InvalidConfiguration(_) => {
                    (Kind::NoCredentials, "the source of the credentials is configured wrongly".into())
                }
                _ => (Kind::NoCredentials, "the source of the credentials failed".into()),
            });
        }
    }
    for cause in chain(error) {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Some((Kind::Tls, trust(tls)));
        }
    }
    let texts: Vec<String> = chain(error).map(|cause| cause.to_string()).collect();
    let says = |needle: &str| texts.iter().any(|text| text.contains(needle));
    // hyper-util keeps these types to itself.
    if says("dns error") || says("failed to lookup address information") {
        return Some((Kind::Dns, "the name of the store cannot be resolved".into()));
    }
    if says("tunnel") || says("proxy") {
        return Some((Kind::Unreachable, "the proxy cannot be reached or lets nothing through".into()));
    }
    for cause in chain(error) {
        if let Some(kind) = cause.downcast_ref::<io::Error>().map(io::Error::kind) {
            use io::ErrorKind as K;
            return Some(match kind {
                K::ConnectionRefused => (Kind::Unreachable, "connection refused".into()),
                K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe => {
                    (Kind::Unreachable, "connection reset".into())
                }
                K::UnexpectedEof => (Kind::Unreachable, "connection closed in the middle".into()),
                K::TimedOut => (Kind::Timeout, "no connection in time".into()),
                _ => (Kind::Unreachable, "no connection".into()),
            });
        }
    }
    if says("connect timeout") || says("HTTP connect timeout") {
        return Some((Kind::Timeout, "no connection in time".into()));
    }
    if says("before message completed")
        || says("connection closed")
        || says("error reading a body")
        || says("unexpected end")
    {
        return Some((Kind::Unreachable, "connection closed in the middle of an answer".into()));
    }
    None
}

/// What is wrong with a TLS connection.
fn trust(error: &rustls::Error) -> String {
    use rustls::{CertificateError as C, Error as E};
    match error {
        E::InvalidCertificate(C::UnknownIssuer) => "the certificate's issuer is not trusted here".into(),
        E::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            "the certificate has expired, or the clock of this machine is wrong".into()
        }
        E::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            "the certificate is not valid yet, or the clock of this machine is wrong".into()
        }
        E::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            "the certificate is for another host name".into()
        }
        E::InvalidCertificate(_) => "the certificate is not valid".into(),
        E::InvalidMessage(_) => "what answers does not speak TLS".into(),
        _ => "no TLS connection could be agreed on".into(),
    }
}

/// `bytes 0-99/1234` as first byte, last byte, total.
pub(super) fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total) = (first.trim().parse().ok()?, last.trim().parse().ok()?, total.trim().parse().ok()?);
    (first <= last && last < total).then_some((first, last, total))
}

/// The size of an object from an answer of 416: its Content-Range (`bytes */1234`), or the document.
pub(super) fn unsatisfied_size(content_range: Option<&str>, body: &[u8]) -> Option<u64> {
    let stated = content_range.and_then(|text| text.rsplit_once("*/")?.1.trim().parse().ok());
    stated.or_else(|| element(std::str::from_utf8(body).ok()?, "ActualObjectSize")?.parse().ok())
}

/// Undo `encoding-type=url`. `+` is a space: who encodes so writes a plus sign as `%2B`. What is not UTF-8 is shown with
/// U+FFFD, and an odd percent sign stays.
pub(super) fn url_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        (rest, _) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                let (high, low) = (hex(high).unwrap_or_default(), hex(low).unwrap_or_default());
                (tail, bytes.push(high * 16 + low))
            }
            (b'+', tail) => (tail, bytes.push(b' ')),
            (byte, tail) => (tail, bytes.push(*byte)),
        };
    }
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}
