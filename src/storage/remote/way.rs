//! Why no answer came, or why it broke off.
//!
//! In: chains of errors of an HTTP client made of hyper and rustls. Out: a [`StoreErrorKind`](Kind) and a clause for
//! people. Never: shows a URL (keys may be in it).

use super::line;
use crate::storage::StoreErrorKind as Kind;
use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use std::error::Error as StdError;
use std::io;

/// A cause in a chain of errors. [`io::Error`] hides what it wraps from `source()`.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => error.source(),
    }
}

pub(in crate::storage) fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| below(*error))
}

/// The text of the deepest cause.
pub(in crate::storage) fn root(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(|error| line(&error.to_string())).unwrap_or_default()
}

/// Why no answer came, or why it broke off. `None`: not a matter of the way.
pub(in crate::storage) fn transport(error: &(dyn StdError + 'static)) -> Option<(Kind, String)> {
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
    // Errors of the system may be wrapped in others of no kind: the first that says something counts.
    let system: Vec<io::ErrorKind> =
        chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>().map(io::Error::kind)).collect();
    for kind in &system {
        use io::ErrorKind as K;
        return Some(match kind {
            K::ConnectionRefused => (Kind::Unreachable, "connection refused".into()),
            K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe => (Kind::Unreachable, "connection reset".into()),
            K::UnexpectedEof => (Kind::Unreachable, "connection closed in the middle".into()),
            K::TimedOut => (Kind::Timeout, "no connection in time".into()),
            _ => continue,
        });
    }
    if !system.is_empty() {
        return Some((Kind::Unreachable, "no connection".into()));
    }
    if says("connect timeout") || says("HTTP connect timeout") || says("operation timed out") {
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
        E::InvalidCertificate(C::ExpiredContext { not_after, .. }) => {
            format!("the certificate expired on {}, or the clock of this machine is wrong", moment(*not_after))
        }
        E::InvalidCertificate(C::Expired) => {
            "the certificate has expired, or the clock of this machine is wrong".into()
        }
        E::InvalidCertificate(C::NotValidYetContext { not_before, .. }) => {
            let from = moment(*not_before);
            format!("the certificate is not valid before {from}, or the clock of this machine is wrong")
        }
        E::InvalidCertificate(C::NotValidYet) => {
            "the certificate is not valid yet, or the clock of this machine is wrong".into()
        }
        E::InvalidCertificate(C::NotValidForNameContext { expected, presented }) => {
            format!("the certificate is for {}, not for {}", hosts(presented), line(&expected.to_str()))
        }
        E::InvalidCertificate(C::NotValidForName) => "the certificate is for another host name".into(),
        // An authority that was made anew under its old name.
        E::InvalidCertificate(C::BadSignature) => {
            "the certificate is signed by another key than that of the authority which is trusted under this name"
                .into()
        }
        E::InvalidCertificate(other) => format!("the certificate is not valid: {}", line(&other.to_string())),
        E::InvalidMessage(_) => "what answers does not speak TLS".into(),
        _ => "no TLS connection could be agreed on".into(),
    }
}

fn moment(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a day out of reach".to_owned(), |time| time.to_string())
}

/// The hosts that a certificate is for. rustls has them as `DnsName("host")` and `IpAddress(127.0.0.1)`.
fn hosts(presented: &[String]) -> String {
    const SHOWN: usize = 3;
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')')).unwrap_or(name);
        line(inner.trim_matches('"'))
    };
    let names: Vec<String> = presented.iter().take(SHOWN).map(bare).collect();
    match presented.len() {
        0 => "no host".to_owned(),
        count if count > SHOWN => format!("{} and {} more", names.join(", "), count - SHOWN),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests;
