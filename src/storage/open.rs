//! From the text of a prefix and settings to a store.
//!
//! In: a prefix as people write it (`s3://bucket/path`, `file:///path`, `/path`), [`StoreSettings`]. Out: [`Location`],
//! the candidates of an odd prefix, and a [`Store`] that retries and resumes.
//! Never: reads the environment, asks a store (but [`resolve`], and only when a prefix can mean more than one place).
//! Source: WAL-E's and WAL-G's handling of prefixes (what WAL-E made of double slashes is in [`Location::candidates`]).

mod azure;

pub use azure::{AzureAuth, AzureCloud, AzureSettings, ConnectionString, Entra, azure_endpoint, azure_key, azure_sas};

use super::local::LocalStore;
use super::retry::{Counters, RetryPolicy, Retrying};
use super::{Depth, Store, StoreError, StoreErrorKind, StoreWrite};
use crate::error::{Answer, Code, Error};
use crate::layout;
use futures::StreamExt;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where an archive lies: a prefix, understood but not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A directory.
    Local(PathBuf),
    /// A bucket, and everything behind it as written: `s3://bucket` + `/path`. Empty, or begins with a slash.
    S3 {
        /// The bucket.
        bucket: String,
        /// The rest of the URL, slashes as they were.
        path: String,
    },
    /// A bucket, and what stands before every key: empty, or ends in a slash. Means one place, as [`Location::candidates`]
    /// give it.
    S3Prefix {
        /// The bucket.
        bucket: String,
        /// Literally.
        prefix: String,
    },
    /// A container of Azure Blob Storage, and everything behind it as written. Empty, or begins with a slash.
    Azure {
        /// The container.
        container: String,
        /// The rest of the URL, slashes as they were.
        path: String,
    },
    /// A container, and what stands before every key: empty, or ends in a slash. Means one place.
    AzurePrefix {
        /// The container.
        container: String,
        /// Literally.
        prefix: String,
    },
}

impl Location {
    /// Understand a prefix. The scheme is taken in any case; nothing is percent-decoded, as in both originals.
    ///
    /// Errors: `config.unsupported` for stores this build does not have, `config.prefix` for the rest.
    pub fn parse(text: &str) -> Answer<Location> {
        let wrong = |what: &str| Error::new(Code::ConfigPrefix, what).on(text);
        // An error that names nothing means all of it.
        let whole = |error: Error| if error.object().is_some() { error } else { error.on(text) };
        let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
            return match text {
                "" => Err(Error::new(Code::ConfigPrefix, "the prefix is empty")),
                path => Ok(Location::Local(PathBuf::from(path))),
            };
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => {
                let path = match rest.strip_prefix("//") {
                    // The host is not looked at, as in WAL-E.
                    Some(authority) => authority.find('/').and_then(|slash| authority.get(slash..)),
                    None => Some(rest).filter(|path| path.starts_with('/')),
                };
                let path = path.ok_or_else(|| wrong("a file URL needs an absolute path: file:///path"))?;
                Ok(Location::Local(PathBuf::from(path)))
            }
            "s3" => {
                let rest = rest.strip_prefix("//").ok_or_else(|| wrong("an S3 prefix reads s3://bucket/path"))?;
                let (bucket, path) = bucket_and_path("s3", "bucket", rest).map_err(whole)?;
                Ok(Location::S3 { bucket, path })
            }
            // WAL-G's word and WAL-E's for one store.
            scheme @ ("azure" | "wabs") => {
                let rest = rest.strip_prefix("//");
                let rest = rest.ok_or_else(|| wrong(&format!("an Azure prefix reads {scheme}://container/path")))?;
                let (container, path) = bucket_and_path(scheme, "container", rest).map_err(whole)?;
                Ok(Location::Azure { container, path })
            }
            known @ ("gs" | "swift" | "oss" | "ssh") => {
                let what = format!(
                    "this build has no store for {known}://; it reads s3://, azure://, wabs://, file:// and directories"
                );
                Err(Error::new(Code::ConfigUnsupported, what).on(text))
            }
            other => {
                Err(wrong(&format!("no store answers to {other}://: s3://, azure://, wabs://, file:// or a directory")))
            }
        }
    }

    /// The places this prefix can mean, the likeliest first; one for every prefix without odd slashes.
    ///
    /// WAL-E's S3 client collapsed runs of slashes in the names it wrote and read, but not in those it listed; WAL-G keeps
    /// them. So `s3://b/a//db` was written to `a/db/` by the one and to `a//db/` by the other. To Azure WAL-E wrote names
    /// as they stood, without the slashes at the end; before 1.0 with the slash at the beginning, so that what is in
    /// `wabs://c/db` for it is `wabs://c//db` here.
    pub fn candidates(&self) -> Vec<Location> {
        let folder = |path: &str| match path {
            "" => String::new(),
            path if path.ends_with('/') => path.to_owned(),
            path => format!("{path}/"),
        };
        let (Location::S3 { path, .. } | Location::Azure { path, .. }) = self else {
            return vec![self.clone()];
        };
        let literal = folder(path.trim_start_matches('/'));
        let mut collapsed = literal.clone();
        while collapsed.contains("//") {
            collapsed = collapsed.replace("//", "/");
        }
        let raw = folder(path.strip_prefix('/').unwrap_or(path));
        let stripped = |path: &str| folder(path.trim_end_matches('/'));
        let wanted = match self {
            Location::Azure { .. } => vec![stripped(&literal), stripped(&raw), literal, raw, collapsed],
            _ => vec![collapsed, literal, raw],
        };
        let mut prefixes = Vec::new();
        for prefix in wanted {
            if !prefixes.contains(&prefix) {
                prefixes.push(prefix);
            }
        }
        let place = |prefix| match self {
            Location::Azure { container, .. } => Location::AzurePrefix { container: container.clone(), prefix },
            Location::S3 { bucket, .. } => Location::S3Prefix { bucket: bucket.clone(), prefix },
            other => other.clone(),
        };
        prefixes.into_iter().map(place).collect()
    }
}

impl Location {
    /// The prefix beside this one whose name has so much more at its end. At the root of a bucket there is no beside: then a
    /// folder in it.
    #[must_use]
    pub fn sibling(&self, suffix: &str) -> Location {
        let beside = |path: &str| match path.trim_end_matches('/') {
            "" => format!("{}/", suffix.trim_start_matches('.')),
            path => format!("{path}{suffix}/"),
        };
        match self.candidates().into_iter().next() {
            Some(Location::S3Prefix { bucket, prefix }) => Location::S3Prefix { bucket, prefix: beside(&prefix) },
            Some(Location::AzurePrefix { container, prefix }) => {
                Location::AzurePrefix { container, prefix: beside(&prefix) }
            }
            Some(Location::Local(path)) => {
                let mut name = path.file_name().unwrap_or_default().to_owned();
                name.push(suffix);
                Location::Local(path.with_file_name(name))
            }
            _ => self.clone(),
        }
    }
}

/// `bucket/path` behind a scheme. An error without an object means the whole text.
fn bucket_and_path(scheme: &str, noun: &str, rest: &str) -> Answer<(String, String)> {
    let wrong = |what: String| Error::new(Code::ConfigPrefix, what);
    let (bucket, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if bucket.is_empty() {
        return Err(wrong(format!("the prefix names no {noun}: {scheme}://{noun}/path")));
    }
    if let Some(odd) = rest.chars().find(|&c| matches!(c, '?' | '#') || c.is_control()) {
        return Err(wrong(format!("a prefix cannot hold {odd:?}: neither original can read below it")));
    }
    if bucket.contains(['@', ':']) {
        // Not named: a password may be in it.
        let what = format!("where the {noun} should be is a user, a password or a port: {scheme}://{noun}/path");
        return Err(wrong(what).on(format!("{scheme}://***")));
    }
    Ok((bucket.to_owned(), path.to_owned()))
}

/// A URL's scheme: two characters or more, so that `c:/` is none.
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Local(path) => f.write_str(&LocalStore::new(path.clone()).url()),
            Location::S3 { bucket, path } => write!(f, "s3://{bucket}{path}"),
            Location::S3Prefix { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Location::Azure { container, path } => write!(f, "azure://{container}{path}"),
            Location::AzurePrefix { container, prefix } => write!(f, "azure://{container}/{prefix}"),
        }
    }
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keep it.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text, for the one who needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Everything a store needs besides its place.
#[derive(Debug, Clone, Default)]
pub struct StoreSettings {
    /// What is tried again, how often, how long.
    pub retry: RetryPolicy,
    /// Where requests, retries and bytes are counted.
    pub counters: Arc<Counters>,
    /// S3 and everything that speaks it.
    pub s3: S3Settings,
    /// Azure Blob Storage.
    pub azure: AzureSettings,
}

/// Where requests for a bucket go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// `https://host/BUCKET/KEY`.
    Path,
    /// `https://BUCKET.host/KEY`.
    Subdomain,
    /// `https://BUCKET/KEY`: the bucket's name is the host (WAL-E's `virtualhost`).
    BucketHost,
}

/// An endpoint other than Amazon's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Endpoint {
    /// `https://host:port`, without a slash at its end.
    pub url: String,
    /// How buckets are addressed there; `None`: not said.
    pub addressing: Option<Addressing>,
}

impl S3Endpoint {
    /// Understand `AWS_ENDPOINT_URL`, `AWS_ENDPOINT`: a URL of http or https, or a bare `host[:port]` (https, as WAL-G
    /// takes it).
    pub fn parse(text: &str) -> Answer<S3Endpoint> {
        let shown = hide_user(text);
        let wrong = |what: String| Error::new(Code::ConfigValue, format!("the endpoint {what}")).on(&shown);
        let text_with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let (scheme, rest) = text_with_scheme.split_once("://").unwrap_or_default();
        let scheme = scheme.to_ascii_lowercase();
        if scheme.contains('+') {
            return S3Endpoint::parse_wale(text);
        }
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(wrong(format!("has the protocol {scheme:?}: http or https")));
        }
        let rest = rest.trim_end_matches('/');
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        check_authority(authority).map_err(wrong)?;
        if path.contains(['?', '#']) {
            return Err(wrong("has a query or fragment".into()));
        }
        Ok(S3Endpoint { url: format!("{scheme}://{rest}"), addressing: None })
    }

    /// Understand `WALE_S3_ENDPOINT`: `protocol+convention://host[:port]`, nothing behind it, not even a slash.
    pub fn parse_wale(text: &str) -> Answer<S3Endpoint> {
        let shown = hide_user(text);
        let wrong = |what: String| {
            Error::new(Code::ConfigValue, format!("WALE_S3_ENDPOINT {what}"))
                .on(&shown)
                .hint("It reads protocol+convention://host:port, as in https+path://s3.example.com:443; protocols are http and https, conventions path, virtualhost and subdomain.")
        };
        let (scheme, authority) = text.split_once("://").ok_or_else(|| wrong("has no ://".into()))?;
        let (protocol, convention) =
            scheme.split_once('+').ok_or_else(|| wrong("names no convention (protocol+convention)".into()))?;
        let protocol = protocol.to_ascii_lowercase();
        if !matches!(protocol.as_str(), "http" | "https") {
            return Err(wrong(format!("has the protocol {protocol:?}")));
        }
        // WAL-E compared the beginning only (`http+pathx://` was `path`); urlparse had made it lower case before.
        let convention = convention.to_ascii_lowercase();
        let known =
            [("path", Addressing::Path), ("virtualhost", Addressing::BucketHost), ("subdomain", Addressing::Subdomain)];
        let addressing = known.iter().find(|(name, _)| convention.starts_with(name)).map(|&(_, style)| style);
        let addressing = addressing.ok_or_else(|| wrong(format!("has the convention {convention:?}")))?;
        if let Some(odd) = authority.chars().find(|c| matches!(c, '/' | '?' | '#')) {
            return Err(wrong(format!("goes on behind the host with {odd:?}")));
        }
        check_authority(authority).map_err(wrong)?;
        Ok(S3Endpoint { url: format!("{protocol}://{authority}"), addressing: Some(addressing) })
    }
}

/// What stands before an @ may be a password.
fn hide_user(text: &str) -> String {
    text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("***@{host}"))
}

/// `host[:port]`, the host an IPv6 address in brackets or anything without a colon. Says what is wrong.
fn check_authority(authority: &str) -> Result<(), String> {
    if authority.contains('@') {
        return Err("holds a user or password: keys have settings of their own".into());
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (address, rest.strip_prefix(':').or(rest.is_empty().then_some("443"))),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("443")),
        },
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("names no host".into());
    }
    match port.and_then(|port| port.parse::<u16>().ok()) {
        Some(port) if port > 0 => Ok(()),
        _ => Err("has a port that is not a number from 1 to 65535".into()),
    }
}

/// Settings of S3, each `None` where nobody said anything: then the SDK's own chain decides.
#[derive(Debug, Clone, Default)]
pub struct S3Settings {
    /// Key, with its secret. Without it: environment, profile, SSO, process, web identity, ECS, instance metadata.
    pub access_key: Option<String>,
    /// The key's secret.
    pub secret_key: Option<Secret>,
    /// Token of temporary keys (`AWS_SESSION_TOKEN`, WAL-E's `AWS_SECURITY_TOKEN`).
    pub session_token: Option<Secret>,
    /// Ask the instance's metadata for keys and nothing else (`AWS_INSTANCE_PROFILE`).
    pub instance_profile: bool,
    /// Profile of `~/.aws/config`.
    pub profile: Option<String>,
    /// Region; else the SDK's chain, else `us-east-1`.
    pub region: Option<String>,
    /// Another endpoint than Amazon's.
    pub endpoint: Option<S3Endpoint>,
    /// Path style (`AWS_S3_FORCE_PATH_STYLE`). Unsaid: with an endpoint, or for bucket names that make no host name.
    pub path_style: Option<bool>,
    /// PEM file of certificate authorities trusted besides the system's (`AWS_CA_BUNDLE`, `WALG_S3_CA_CERT_FILE`).
    pub ca_file: Option<PathBuf>,
    /// Role to take on.
    pub role_arn: Option<String>,
    /// Name of that session.
    pub role_session_name: Option<String>,
    /// Pay for requests to somebody else's bucket.
    pub requester_pays: bool,
    /// Send requests without a signature (public buckets).
    pub anonymous: bool,
}

/// The store of a location, with retries: its first candidate, or what [`resolve`] found. Nothing is asked yet; the
/// deadline runs from now.
pub fn open(location: &Location, settings: &StoreSettings) -> Result<Arc<dyn Store>, StoreError> {
    Ok(retrying(&backend(location, settings)?, settings))
}

fn retrying(bare: &Arc<dyn Store>, settings: &StoreSettings) -> Arc<dyn Store> {
    Arc::new(Retrying::counting(bare.clone(), settings.retry.clone(), settings.counters.clone()))
}

/// Which of the places a prefix can mean is meant.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The place taken.
    pub location: Location,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// The same without retries, connections and credentials shared: for who puts a deadline of its own around each
    /// piece of work.
    pub bare: Arc<dyn Store>,
    /// What was looked at before it and held nothing.
    pub passed_over: Vec<Location>,
}

/// The first candidate under which there is a base backup or a WAL file; where there is none in any, the first. A prefix
/// that can mean only one place (every one without odd slashes) costs no request.
pub async fn resolve(location: &Location, settings: &StoreSettings) -> Result<Resolved, StoreError> {
    let mut candidates = location.candidates();
    let first = candidates.remove(0);
    let bare = backend(&first, settings)?;
    let store = retrying(&bare, settings);
    if candidates.is_empty() || holds_archive(&*store).await? {
        return Ok(Resolved { location: first, store, bare, passed_over: Vec::new() });
    }
    let mut passed_over = vec![first.clone()];
    for location in candidates {
        let bare = backend(&location, settings)?;
        let store = retrying(&bare, settings);
        if holds_archive(&*store).await? {
            return Ok(Resolved { location, store, bare, passed_over });
        }
        passed_over.push(location);
    }
    passed_over.remove(0);
    Ok(Resolved { location: first, store, bare, passed_over })
}

async fn holds_archive(store: &dyn Store) -> Result<bool, StoreError> {
    for folder in [layout::BACKUPS, layout::WAL] {
        if store.list(folder, Depth::All, None).next().await.transpose()?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The same for writing. Not retried: whoever writes decides what to do about an attempt that may have succeeded.
pub fn open_writer(location: &Location, settings: &StoreSettings) -> Result<Arc<dyn StoreWrite>, StoreError> {
    match location {
        Location::Local(root) => Ok(Arc::new(LocalStore::new(root))),
        Location::S3 { .. } | Location::S3Prefix { .. } => s3(location, settings),
        Location::Azure { .. } | Location::AzurePrefix { .. } => azure(location, settings),
    }
}

fn backend(location: &Location, settings: &StoreSettings) -> Result<Arc<dyn Store>, StoreError> {
    Ok(open_writer(location, settings)?)
}

#[cfg(feature = "s3")]
fn s3(location: &Location, settings: &StoreSettings) -> Result<Arc<dyn StoreWrite>, StoreError> {
    let Some(Location::S3Prefix { bucket, prefix }) = location.candidates().into_iter().next() else {
        return Err(StoreError::new(StoreErrorKind::Config, location, "this is no S3 prefix"));
    };
    Ok(Arc::new(super::s3::S3Store::new(bucket, prefix, settings.s3.clone(), settings.counters.clone())))
}

#[cfg(not(feature = "s3"))]
fn s3(location: &Location, _: &StoreSettings) -> Result<Arc<dyn StoreWrite>, StoreError> {
    Err(StoreError::new(StoreErrorKind::Unsupported, location, "this build has no S3 (feature `s3`)"))
}

#[cfg(feature = "azure")]
fn azure(location: &Location, settings: &StoreSettings) -> Result<Arc<dyn StoreWrite>, StoreError> {
    let Some(Location::AzurePrefix { container, prefix }) = location.candidates().into_iter().next() else {
        return Err(StoreError::new(StoreErrorKind::Config, location, "this is no prefix of Azure"));
    };
    let (settings, counters) = (settings.azure.clone(), settings.counters.clone());
    Ok(Arc::new(super::azure::AzureStore::new(container, prefix, settings, counters)))
}

#[cfg(not(feature = "azure"))]
fn azure(location: &Location, _: &StoreSettings) -> Result<Arc<dyn StoreWrite>, StoreError> {
    Err(StoreError::new(StoreErrorKind::Unsupported, location, "this build has no Azure (feature `azure`)"))
}

#[cfg(test)]
mod tests;
