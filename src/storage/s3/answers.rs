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
use crate::storage::remote::{self, chain, element, error_document, line, percent_decode};
use aws_credential_types::provider::error::CredentialsError;
use std::error::Error as StdError;

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
    /// This machine's, when the answer came.
    pub now: Option<jiff::Timestamp>,
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

impl Refusal<'_> {
    pub(super) fn meaning(&self) -> Meaning {
        let document = error_document(self.body);
        let code = document.and_then(|document| element(document, "Code"));
        let message = document.and_then(|document| element(document, "Message"));
        // Not every store says so itself: Garage has "Date is too old", others that the signature is wrong.
        let off = matches!(self.status, 400..=403) && remote::clock_is_off(self.date, self.now);
        let kind = match kind(self.status, code) {
            Kind::Config if off && code == Some("InvalidRequest") => Kind::Refused,
            kind => kind,
        };
        let mut what = remote::answered(kind, self.status, code, message);
        if document.is_none() {
            what.push_str(&remote::unexplained(self.body, "S3"));
        }
        if off || code == Some("RequestTimeTooSkewed") {
            what.push_str(&remote::wrong_clock(self.date));
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
        // Somebody finished or removed it meanwhile. It can be begun anew.
        (404, Some("NoSuchUpload")) => Kind::Changed,
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
    remote::transport(error)
}

/// The size of an object from an answer of 416: its Content-Range (`bytes */1234`), or the document.
pub(super) fn unsatisfied_size(content_range: Option<&str>, body: &[u8]) -> Option<u64> {
    let stated = content_range.and_then(|text| text.rsplit_once("*/")?.1.trim().parse().ok());
    stated.or_else(|| element(std::str::from_utf8(body).ok()?, "ActualObjectSize")?.parse().ok())
}

/// Undo `encoding-type=url`. `+` is a space: who encodes so writes a plus sign as `%2B`.
pub(super) fn url_decode(text: &str) -> String {
    percent_decode(text, true)
}
