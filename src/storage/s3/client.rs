//! The SDK's client, built the way wal-r wants it.
//!
//! In: [`S3Settings`], a bucket, a region learnt from the store. Out: a client without retries of its own, with our
//! connect timeout and certificate authorities. Never: sends a request for an object; asks the instance's metadata for
//! longer than two seconds, so that a machine without it fails fast.
//!
//! Credentials: key and secret of the settings, else the SDK's whole chain: environment, profiles (with SSO, processes and
//! roles), web identity, ECS, instance metadata. Proxies come from `HTTPS_PROXY` and its kin, like the rest of that chain,
//! but not for this machine and its metadata.

use crate::storage::open::{Addressing, S3Settings};
use crate::storage::remote::is_this_machine;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::imds;
use aws_config::meta::region::RegionProviderChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::endpoint::{Endpoint, EndpointFuture, Params, ResolveEndpoint};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents, SharedCredentialsProvider,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnectorSettings, SharedHttpConnector};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A TCP and TLS connection takes no longer, or the next try may.
const CONNECT: Duration = Duration::from_secs(5);
/// The instance's metadata answers within this, or is not there.
const METADATA_CONNECT: Duration = Duration::from_millis(500);
const METADATA_READ: Duration = Duration::from_secs(1);

/// Build a client. `region` is what the store itself said, and wins. The error is a clause.
pub(super) async fn build(settings: &S3Settings, bucket: &str, region: Option<String>) -> Result<Client, String> {
    let keys = match (&settings.access_key, &settings.secret_key) {
        (Some(key), Some(secret)) => {
            let token = settings.session_token.as_ref().map(|token| token.reveal().to_owned());
            Some(Credentials::new(key.clone(), secret.reveal(), token, None, "settings"))
        }
        (None, None) => None,
        (Some(_), None) => return Err("there is an access key, but no secret for it".into()),
        (None, Some(_)) => return Err("there is a secret, but no access key for it".into()),
    };
    let trust = trust_store(settings.ca_file.as_deref())?;
    let secure = http_client(trust.clone(), ProxyConfig::from_env())?;

    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(secure.clone());
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    let region = match region.or_else(|| settings.region.clone()) {
        Some(region) => Region::new(region),
        None => usual_region(settings.profile.as_deref()).await,
    };
    loader = loader.region(region.clone());
    let conf = ProviderConfig::without_region().with_region(Some(region)).with_http_client(secure.clone());
    // The metadata is this machine's own; a proxy would answer with another's, or not at all.
    let direct = http_client(TrustStore::empty(), ProxyConfig::disabled())?;
    let metadata = imds::Client::builder()
        .configure(&conf.clone().with_http_client(direct))
        .connect_timeout(METADATA_CONNECT)
        .read_timeout(METADATA_READ)
        .max_attempts(1)
        .build();
    let provider = if settings.anonymous {
        None
    } else if let Some(keys) = keys {
        Some(SharedCredentialsProvider::new(keys))
    } else if settings.instance_profile {
        let provider = imds::credentials::ImdsCredentialsProvider::builder().imds_client(metadata).build();
        Some(SharedCredentialsProvider::new(provider))
    } else {
        let mut chain = DefaultCredentialsChain::builder().imds_client(metadata).configure(conf);
        if let Some(profile) = &settings.profile {
            chain = chain.profile_name(profile);
        }
        Some(SharedCredentialsProvider::new(chain.build().await))
    };
    loader = match provider {
        Some(provider) => loader.credentials_provider(provider),
        None => loader.no_credentials(),
    };
    let mut shared = loader.load().await;
    if let (Some(role), Some(base)) = (&settings.role_arn, shared.credentials_provider()) {
        let mut assume = AssumeRoleProvider::builder(role).configure(&shared);
        if let Some(name) = &settings.role_session_name {
            assume = assume.session_name(name);
        }
        let role = assume.build_from_provider(base).await;
        shared = shared.into_builder().credentials_provider(SharedCredentialsProvider::new(role)).build();
    }

    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build())
        // storage::retry watches for silence, and knows where to go on.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Kin of S3 answer without the checksums that Amazon adds.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .disable_s3_express_session_auth(true);
    if settings.anonymous {
        config = config.allow_no_auth();
    }
    let endpoint = settings.endpoint.as_ref();
    let addressing = match (settings.path_style, endpoint.and_then(|endpoint| endpoint.addressing)) {
        (Some(true), _) => Some(Addressing::Path),
        (Some(false), None) => Some(Addressing::Subdomain),
        (_, Some(addressing)) => Some(addressing),
        (None, None) => (endpoint.is_some() || shared.endpoint_url().is_some()).then_some(Addressing::Path),
    };
    config = config.force_path_style(addressing == Some(Addressing::Path));
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(&endpoint.url);
        // Nothing to trust without TLS: the system's certificates need not be read.
        let trust = if endpoint.url.starts_with("http:") { TrustStore::empty() } else { trust };
        let proxy = if is_this_machine(&endpoint.url) { ProxyConfig::disabled() } else { ProxyConfig::from_env() };
        config = config.http_client(http_client(trust, proxy)?);
        if addressing == Some(Addressing::BucketHost) {
            config = config.endpoint_resolver(BucketIsHost(bucket_host(&endpoint.url, bucket)?));
        }
    }
    Ok(Client::from_conf(config.build()))
}

/// From environment and profile, else the one that every other can be learnt from.
async fn usual_region(profile: Option<&str>) -> Region {
    let mut profiles = aws_config::profile::region::Builder::default();
    if let Some(profile) = profile {
        profiles = profiles.profile_name(profile);
    }
    let chain =
        RegionProviderChain::first_try(aws_config::environment::region::EnvironmentVariableRegionProvider::new())
            .or_else(profiles.build())
            .or_else(Region::from_static("us-east-1"));
    chain.region().await.unwrap_or(Region::from_static("us-east-1"))
}

/// `https://host:port` with the bucket for the host.
fn bucket_host(endpoint: &str, bucket: &str) -> Result<String, String> {
    let (scheme, authority) = endpoint.split_once("://").ok_or("the endpoint has no protocol")?;
    let port = match authority.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => format!(":{port}"),
        _ => String::new(),
    };
    Ok(format!("{scheme}://{bucket}{port}"))
}

/// WAL-E's `virtualhost`: one host, which is the bucket.
#[derive(Debug)]
struct BucketIsHost(String);

impl ResolveEndpoint for BucketIsHost {
    fn resolve_endpoint<'a>(&'a self, _: &'a Params) -> EndpointFuture<'a> {
        EndpointFuture::ready(Ok(Endpoint::builder().url(self.0.clone()).build()))
    }
}

/// The system's certificate authorities, and those of a PEM file.
fn trust_store(file: Option<&Path>) -> Result<TrustStore, String> {
    let Some(file) = file else { return Ok(TrustStore::empty().with_native_roots(true)) };
    let unreadable = |why: String| format!("the certificates of {} cannot be used: {why}", file.display());
    let pem = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    // The HTTP client panics on what it cannot read; so it gets only what can be read.
    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::pem::PemObject;
    for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("it holds none in PEM form".into()));
    }
    Ok(TrustStore::empty().with_native_roots(true).with_pem_certificate(pem))
}

/// To connect, and to read.
type Timeouts = (Option<Duration>, Option<Duration>);

/// Connections by rustls with ring, made when first needed and kept.
#[derive(Debug)]
struct Http {
    trust: TlsContext,
    proxy: ProxyConfig,
    made: Mutex<Vec<(Timeouts, SharedHttpConnector)>>,
}

fn http_client(trust: TrustStore, proxy: ProxyConfig) -> Result<SharedHttpClient, String> {
    let trust = TlsContext::builder().with_trust_store(trust).build().map_err(|error| error.to_string())?;
    Ok(SharedHttpClient::new(Http { trust, proxy, made: Mutex::default() }))
}

impl HttpClient for Http {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let key = (settings.connect_timeout(), settings.read_timeout());
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, connector)) = made.iter().find(|(made, _)| *made == key) {
            return connector.clone();
        }
        let mut builder = Connector::builder().connector_settings(settings.clone()).proxy_config(self.proxy.clone());
        builder.set_sleep_impl(components.sleep_impl());
        let builder = builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(self.trust.clone());
        let connector = SharedHttpConnector::new(builder.build());
        made.push((key, connector.clone()));
        connector
    }
}

#[cfg(test)]
mod tests;
