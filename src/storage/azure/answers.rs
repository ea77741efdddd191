//! What an answer of Azure Blob Storage means, and what a failure on the way to it means.
//!
//! In: status, headers and body of an answer that is an error; errors of the SDK. Out: a [`StoreErrorKind`](Kind) and a
//! clause for people. Never: asks anything; says absent for anything but Azure's own `BlobNotFound` and
//! `ContainerNotFound`, in its own XML, or in its own header where an answer has no body (HEAD).
//!
//! `ResourceNotFound` is no absence: it is what Azure says to those who may not know.
//! Source: Azure's "Blob service error codes", "Common REST API error codes"; the errors of Azurite.

use crate::storage::StoreErrorKind as Kind;
use crate::storage::remote::{self, chain, element, error_document, line};
use azure_core::error::ErrorKind;

/// An answer that is an error.
#[derive(Debug, Default)]
pub(super) struct Refusal<'a> {
    pub status: u16,
    pub body: &'a [u8],
    /// An answer to HEAD: it has no body to say why.
    pub bodiless: bool,
    /// `x-ms-error-code`.
    pub code: Option<&'a str>,
    /// `Location`.
    pub location: Option<&'a str>,
    /// `Date`: the server's clock.
    pub date: Option<&'a str>,
    /// This machine's, when the answer came.
    pub now: Option<jiff::Timestamp>,
}

impl Refusal<'_> {
    /// Kind, and what stands behind the verb: `refused with 403 AuthenticationFailed: ...`.
    pub(super) fn meaning(&self) -> (Kind, String) {
        let document = error_document(self.body);
        let code = match document.and_then(|document| element(document, "Code")) {
            None if self.bodiless => self.code,
            code => code,
        };
        let text = |name: &str| document.and_then(|document| element(document, name));
        let detail = text("AuthenticationErrorDetail");
        let kind = kind(self.status, code, detail);
        // Its other lines are a number and a time.
        let message = text("Message").and_then(|message| message.lines().next());
        let message = detail.filter(|detail| !echoes(detail)).or(message);
        let mut what = remote::answered(kind, self.status, code, message);
        if document.is_none() && !self.bodiless {
            what.push_str(&remote::unexplained(self.body, "Azure"));
        }
        let off = matches!(self.status, 400..=403) && remote::clock_is_off(self.date, self.now);
        if off || detail.is_some_and(is_skewed) {
            what.push_str(&remote::wrong_clock(self.date));
        }
        if let Some(place) = self.location.filter(|_| kind == Kind::Redirected) {
            // A signature may stand behind the question mark.
            what.push_str(&format!("; it points to {}", line(place.split('?').next().unwrap_or_default())));
        }
        (kind, what)
    }
}

/// Details that repeat what was signed, or the signature.
fn echoes(detail: &str) -> bool {
    detail.contains("signature '") || detail.contains("string to sign") || detail.contains("sig=")
}

fn is_skewed(detail: &str) -> bool {
    detail.contains("date header") || detail.contains("Date header")
}

/// The table. `code` is Azure's, `None` when the answer is not Azure's.
fn kind(status: u16, code: Option<&str>, detail: Option<&str>) -> Kind {
    match (status, code) {
        (404, Some("BlobNotFound")) => Kind::NoSuchObject,
        (404, Some("ContainerNotFound")) => Kind::NoSuchPrefix,
        (404, Some("ResourceNotFound")) => Kind::Refused,
        (403, Some("AuthenticationFailed")) if detail.is_some_and(|detail| detail.contains("time frame")) => {
            Kind::Expired
        }
        (401, Some("InvalidAuthenticationInfo")) => Kind::Expired,
        (400, Some("InvalidAuthenticationInfo")) => Kind::Refused,
        (409, Some("PublicAccessNotPermitted")) => Kind::Refused,
        (409, Some("BlobArchived" | "BlobBeingRehydrated")) => Kind::Archived,
        (409, Some("BlobAlreadyExists")) => Kind::Exists,
        (400, Some("Md5Mismatch" | "Crc64Mismatch" | "IncompleteBody")) => Kind::Failed,
        (400, Some(_)) => Kind::Config,
        (300..=399, _) if status != 304 => Kind::Redirected,
        (401 | 403 | 407, _) => Kind::Refused,
        (412, _) => Kind::Changed,
        (429 | 503, _) => Kind::Throttled,
        _ => Kind::Failed,
    }
}

/// What an error of the SDK means that is no answer of the store. `own`: the identity is this machine's.
pub(super) fn trouble(error: &azure_core::Error, own: bool) -> (Kind, String) {
    let kinds = || chain(error).filter_map(|cause| cause.downcast_ref::<azure_core::Error>()).map(|cause| cause.kind());
    if !kinds().any(|kind| *kind == ErrorKind::Credential) {
        return remote::transport(error).unwrap_or((Kind::Failed, "the request failed".into()));
    }
    let status = kinds().find_map(|kind| match kind {
        ErrorKind::HttpResponse { status, .. } => Some(u16::from(*status)),
        _ => None,
    });
    match (status, remote::transport(error)) {
        (Some(429 | 503), _) => (Kind::Throttled, "Entra ID asks to be asked more slowly".into()),
        (Some(500..), _) => (Kind::Failed, "Entra ID failed".into()),
        (Some(status), _) => (Kind::Refused, format!("Entra ID refused this identity with {status}")),
        (None, Some((kind, what))) if !own => (kind, format!("on the way to Entra ID: {what}")),
        (None, _) if own => {
            let what = "no key, no signature and no identity was given, and this machine has none of its own";
            (Kind::NoCredentials, what.into())
        }
        (None, _) => (Kind::NoCredentials, "the identity's token could not be had".into()),
    }
}
