//! The SDK's pipeline, built the way wal-r wants it.
//!
//! In: [`AzureSettings`], a container. Out: [`Client`]: requests that are signed, sent once, and answered with whatever
//! came. Never: tries again (`storage::retry` does), follows a redirect, decodes a Content-Encoding (WAL-E 0.7 to 0.9 wrote
//! nonsense there), sends a token over a connection without TLS, shows a URL with a signature.
//!
//! The SDK signs for Entra ID only; account keys and shared access signatures are policies of our own. Proxies come from
//! `HTTPS_PROXY` and its kin, but not for this machine and its metadata.
//! Source: Azure's "Authorize with Shared Key" (2015-02-21 and later).

use crate::storage::open::{AzureAuth, AzureCloud, AzureSettings, Entra};
use crate::storage::remote::is_this_machine;
use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret, TokenCredential};
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::{AUTHORIZATION, Headers};
use azure_core::http::policies::auth::BearerTokenAuthorizationPolicy;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{
    AsyncRawResponse, Body, ClientOptions, Context, HttpClient, Method, Pipeline, PipelineStreamOptions, Request,
    RetryOptions, Transport, Url,
};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use azure_storage_blob::{
    BlobClient, BlobClientOptions, BlobContainerClient, BlobContainerClientOptions, BlockBlobClient,
    BlockBlobClientOptions,
};
use futures::TryStreamExt;
use std::sync::Arc;
use std::time::Duration;

/// A TCP and TLS connection takes no longer, or the next try may.
const CONNECT: Duration = Duration::from_secs(5);
/// The machine's metadata answers within this, or is not there.
const METADATA_CONNECT: Duration = Duration::from_millis(500);
const METADATA: Duration = Duration::from_secs(10);
/// Known to every cloud and to Azurite; nothing here needs a newer one.
const VERSION: &str = "2021-12-02";
/// Storage, in every cloud.
const SCOPE: &str = "https://storage.azure.com/.default";

/// A container, and the way to it.
#[derive(Debug, Clone)]
pub(super) struct Client {
    container: Url,
    version: String,
    options: ClientOptions,
    pipeline: Pipeline,
}

/// Build a client. The error is a clause.
pub(super) fn build(settings: &AzureSettings, container: &str) -> Result<Client, String> {
    let service = settings.service()?;
    let mut url = Url::parse(&service).map_err(|_| "the endpoint is no URL".to_owned())?;
    url.path_segments_mut().map_err(|()| "the endpoint is no URL".to_owned())?.pop_if_empty().push(container);
    let transport = Transport::new(Arc::new(http(&service)?));
    let policy: Arc<dyn Policy> = match &settings.auth {
        AzureAuth::Key(key) => {
            let account = settings.signing_account().ok_or("no storage account is named (AZURE_STORAGE_ACCOUNT)")?;
            Arc::new(SharedKey { account, key: Secret::new(key.reveal().to_owned()) })
        }
        AzureAuth::Sas(signature) => Arc::new(Signature(Secret::new(signature.reveal().to_owned()))),
        AzureAuth::Entra(entra) => {
            let credential = credential(entra, settings.cloud, &transport, metadata)?;
            Arc::new(BearerTokenAuthorizationPolicy::new(credential, [SCOPE]))
        }
    };
    let options = ClientOptions {
        per_try_policies: vec![policy],
        retry: RetryOptions::none(),
        transport: Some(transport),
        ..ClientOptions::default()
    };
    let pipeline =
        Pipeline::new(Some("wal-r"), option_env!("CARGO_PKG_VERSION"), options.clone(), vec![], vec![], None);
    let version = settings.api_version.clone().unwrap_or_else(|| VERSION.into());
    Ok(Client { container: url, version, options, pipeline })
}

impl Client {
    /// The URL of a blob, or `None` for the names that no blob can have.
    fn blob(&self, name: &str) -> Option<Url> {
        // The service makes slashes of backslashes: it would answer about another blob.
        if matches!(name, "" | "." | "..") || name.contains('\\') {
            return None;
        }
        let mut url = self.container.clone();
        // One segment, slashes encoded: else what stands between two dots or two slashes would be lost.
        url.path_segments_mut().ok()?.push(name);
        Some(url)
    }

    /// Ask for a blob. `None`: no blob can have this name.
    pub(super) fn request(&self, method: Method, name: &str) -> Option<Request> {
        let mut request = Request::new(self.blob(name)?, method);
        request.insert_header("x-ms-version", self.version.clone());
        Some(request)
    }

    /// Ask for a page of the container's listing.
    pub(super) fn list(&self, parameters: &[(&str, &str)]) -> Request {
        let mut url = self.container.clone();
        url.query_pairs_mut().extend_pairs([("restype", "container"), ("comp", "list")]).extend_pairs(parameters);
        let mut request = Request::new(url, Method::Get);
        request.insert_header("x-ms-version", self.version.clone());
        request
    }

    /// Send it, once; any answer is an answer.
    pub(super) async fn send(&self, mut request: Request) -> azure_core::Result<AsyncRawResponse> {
        let any = PipelineStreamOptions { skip_checks: true, ..PipelineStreamOptions::default() };
        self.pipeline.stream(&Context::new(), &mut request, Some(any)).await
    }

    /// The SDK's client of a blob, for what is written at once or in blocks. `None`: no blob can have this name.
    pub(super) fn blocks(&self, name: &str) -> Option<azure_core::Result<BlockBlobClient>> {
        let url = self.blob(name)?;
        let options = BlockBlobClientOptions { client_options: self.options.clone(), version: self.version.clone() };
        Some(BlockBlobClient::new(url, None, Some(options)))
    }

    /// The same for what is done to a blob whatever its kind.
    pub(super) fn any(&self, name: &str) -> Option<azure_core::Result<BlobClient>> {
        let url = self.blob(name)?;
        let options = BlobClientOptions { client_options: self.options.clone(), version: self.version.clone() };
        Some(BlobClient::new(url, None, Some(options)))
    }

    /// And of the container.
    pub(super) fn container(&self) -> azure_core::Result<BlobContainerClient> {
        let (client_options, version) = (self.options.clone(), self.version.clone());
        let options = BlobContainerClientOptions { client_options, version };
        BlobContainerClient::new(self.container.clone(), None, Some(options))
    }

    /// The URL of a blob of any container of this account, as a copy names its source.
    pub(super) fn elsewhere(&self, container: &str, name: &str) -> Option<String> {
        let mut url = self.container.clone();
        url.path_segments_mut().ok()?.pop().push(container);
        Client { container: url, ..self.clone() }.blob(name).map(String::from)
    }
}

/// Signs with the account's key.
#[derive(Debug)]
struct SharedKey {
    account: String,
    key: Secret,
}

#[async_trait]
impl Policy for SharedKey {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let now = azure_core::time::to_rfc7231(&azure_core::time::OffsetDateTime::now_utc());
        request.insert_header("x-ms-date", now);
        let length = request.body().len().unwrap_or(0);
        let text = string_to_sign(&self.account, request.method(), request.url(), request.headers(), length);
        let signature = azure_core::hmac::hmac_sha256(&text, &self.key)?;
        request.insert_header(AUTHORIZATION, format!("SharedKey {}:{signature}", self.account));
        pass_on(context, request, next).await
    }
}

/// Puts a shared access signature behind each URL.
#[derive(Debug)]
struct Signature(Secret);

#[async_trait]
impl Policy for Signature {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let query = match request.url().query() {
            Some(query) if !query.is_empty() => format!("{query}&{}", self.0.secret()),
            _ => self.0.secret().to_owned(),
        };
        request.url_mut().set_query(Some(&query));
        pass_on(context, request, next).await
    }
}

async fn pass_on(context: &Context<'_>, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
    match next.split_first() {
        Some((first, rest)) => first.send(context, request, rest).await,
        None => Err(Error::with_message(ErrorKind::Other, "a pipeline without a transport")),
    }
}

/// What the account's key signs.
pub(super) fn string_to_sign(account: &str, method: Method, url: &Url, headers: &Headers, length: u64) -> String {
    let header = |name: &str| {
        let found = headers.iter().find(|(header, _)| header.as_str().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str().trim()).unwrap_or_default()
    };
    let length = if length == 0 { String::new() } else { length.to_string() };
    let method = method.as_str();
    let mut text = String::new();
    for line in [method, header("content-encoding"), header("content-language"), &length, header("content-md5")] {
        text.push_str(line);
        text.push('\n');
    }
    // The empty one is the date, which x-ms-date says.
    let names = ["content-type", "", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since"];
    for name in names.into_iter().chain(["range"]) {
        text.push_str(if name.is_empty() { "" } else { header(name) });
        text.push('\n');
    }
    let mut own: Vec<(String, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_ascii_lowercase(), value.as_str().trim()))
        .filter(|(name, _)| name.starts_with("x-ms-"))
        .collect();
    own.sort();
    for (name, value) in own {
        text.push_str(&format!("{name}:{value}\n"));
    }
    text.push_str(&format!("/{account}{}", url.path()));
    let mut parameters: Vec<(String, String)> =
        url.query_pairs().map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned())).collect();
    parameters.sort();
    for (name, value) in parameters {
        text.push_str(&format!("\n{name}:{value}"));
    }
    text
}

/// An identity of Entra ID.
fn credential(
    entra: &Entra,
    cloud: AzureCloud,
    transport: &Transport,
    metadata: impl FnOnce() -> Result<Http, String>,
) -> Result<Arc<dyn TokenCredential>, String> {
    let cloud = match cloud {
        AzureCloud::Public => None,
        AzureCloud::Government => Some(CloudConfiguration::AzureGovernment),
        AzureCloud::China => Some(CloudConfiguration::AzureChina),
        AzureCloud::Germany => {
            let mut german = CustomConfiguration::default();
            german.authority_host = "https://login.microsoftonline.de".into();
            Some(german.into())
        }
    };
    let client_options = ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(transport.clone()),
        cloud: cloud.map(Arc::new),
        ..ClientOptions::default()
    };
    let wrong = |error: Error| format!("the identity of Entra ID cannot be: {error}");
    let need =
        |text: &Option<String>, name: &str| text.clone().ok_or(format!("{name} is not set, and the identity needs it"));
    if let Some(secret) = &entra.secret {
        let (tenant, client) = (need(&entra.tenant, "AZURE_TENANT_ID")?, need(&entra.client, "AZURE_CLIENT_ID")?);
        let secret = Secret::new(secret.reveal().to_owned());
        let options = ClientSecretCredentialOptions { client_options };
        let credential = ClientSecretCredential::new(&tenant, client, secret, Some(options));
        return credential.map(|credential| credential as Arc<dyn TokenCredential>).map_err(wrong);
    }
    if let Some(file) = &entra.token_file {
        let options = WorkloadIdentityCredentialOptions {
            credential_options: ClientAssertionCredentialOptions { client_options },
            client_id: Some(need(&entra.client, "AZURE_CLIENT_ID")?),
            tenant_id: Some(need(&entra.tenant, "AZURE_TENANT_ID")?),
            token_file_path: Some(file.clone()),
        };
        let credential = WorkloadIdentityCredential::new(Some(options));
        return credential.map(|credential| credential as Arc<dyn TokenCredential>).map_err(wrong);
    }
    let options = ManagedIdentityCredentialOptions {
        user_assigned_id: entra.client.clone().map(UserAssignedId::ClientId),
        client_options: ClientOptions { transport: Some(Transport::new(Arc::new(metadata()?))), ..client_options },
    };
    let credential = ManagedIdentityCredential::new(Some(options));
    credential.map(|credential| credential as Arc<dyn TokenCredential>).map_err(wrong)
}

/// Connections by hyper and rustls with ring, made when first needed and kept.
#[derive(Debug)]
struct Http {
    client: reqwest::Client,
    /// The SDK asks for a managed identity's token again and again, for more than a minute, whatever it is told: so a
    /// failure must look final to it.
    is_final: bool,
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().connect_timeout(CONNECT).redirect(reqwest::redirect::Policy::none())
}

fn http(service: &str) -> Result<Http, String> {
    let mut builder = builder();
    if is_this_machine(service) {
        builder = builder.no_proxy();
    }
    // Nothing to trust without TLS: the system's certificates need not be read.
    let trust = if service.starts_with("http:") { rustls::RootCertStore::empty() } else { trust() };
    let client = builder.tls_backend_preconfigured(tls(trust)?).build();
    Ok(Http { client: client.map_err(|error| error.to_string())?, is_final: false })
}

/// The metadata is this machine's own; a proxy would answer with another's, or not at all.
fn metadata() -> Result<Http, String> {
    let builder = builder().connect_timeout(METADATA_CONNECT).timeout(METADATA).no_proxy();
    let client = builder.tls_backend_preconfigured(tls(rustls::RootCertStore::empty())?).build();
    Ok(Http { client: client.map_err(|error| error.to_string())?, is_final: true })
}

fn tls(trust: rustls::RootCertStore) -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(trust).with_no_client_auth())
}

/// Whom this machine trusts; where that is nobody, the connection says so.
fn trust() -> rustls::RootCertStore {
    let mut trust = rustls::RootCertStore::empty();
    trust.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    trust
}

#[async_trait]
impl HttpClient for Http {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let kind = if self.is_final { ErrorKind::Credential } else { ErrorKind::Io };
        // Not the URL: a signature may be in it.
        let failed =
            |error: reqwest::Error, what: &'static str| Error::with_error(kind.clone(), error.without_url(), what);
        let method = reqwest::Method::from_bytes(request.method().as_str().as_bytes());
        let method = method.map_err(|error| Error::with_error(ErrorKind::Other, error, "no such method"))?;
        let mut asked = self.client.request(method, request.url().clone());
        for (name, value) in request.headers().iter() {
            asked = asked.header(name.as_str(), value.as_str());
        }
        match request.body() {
            Body::Bytes(bytes) if bytes.is_empty() => {}
            Body::Bytes(bytes) => asked = asked.body(bytes.clone()),
            Body::SeekableStream(_) => return Err(Error::with_message(ErrorKind::Other, "a body without a length")),
        }
        let answer = asked.send().await.map_err(|error| failed(error, "no answer"))?;
        let status = answer.status().as_u16();
        if self.is_final && !answer.status().is_success() {
            let what = format!("the machine's metadata answered with {status}");
            return Err(Error::with_message(ErrorKind::Credential, what));
        }
        let mut headers = Headers::new();
        for (name, value) in answer.headers() {
            if let Ok(value) = value.to_str() {
                headers.insert(name.as_str().to_owned(), value.to_owned());
            }
        }
        let body = answer
            .bytes_stream()
            .map_err(|error| Error::with_error(ErrorKind::Io, error.without_url(), "the answer broke off"));
        Ok(AsyncRawResponse::new(status.into(), headers, Box::pin(body)))
    }
}

#[cfg(test)]
mod tests;
