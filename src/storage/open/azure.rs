//! What Azure Blob Storage needs besides the place: account, endpoint, and who asks.
//!
//! In: names and texts of settings, a connection string. Out: [`AzureSettings`]. Never: asks anything, shows a key, a
//! signature or a connection string.
//! Source: Azure's "Configure connection strings"; WAL-G's `pkg/storages/azure` and WAL-E's `wabs` for the settings.

use super::{Secret, check_authority};
use crate::error::{Answer, Code, Error};
use std::path::PathBuf;

/// Settings of Azure Blob Storage.
#[derive(Debug, Clone, Default)]
pub struct AzureSettings {
    /// The storage account. Needed unless the endpoint says it.
    pub account: Option<String>,
    /// The URL of the account's blobs, without a slash at its end: `http://127.0.0.1:10000/devstoreaccount1`. Unsaid:
    /// `https://ACCOUNT.blob.DOMAIN`.
    pub endpoint: Option<String>,
    /// That domain (`AZURE_ENDPOINT_SUFFIX`); unsaid: the cloud's.
    pub domain: Option<String>,
    /// Which of Azure's clouds.
    pub cloud: AzureCloud,
    /// Who asks.
    pub auth: AzureAuth,
    /// Version of the protocol; unsaid: the one this build was tested with.
    pub api_version: Option<String>,
    /// Entries in a page of a listing; unsaid: as many as the service gives (5000).
    pub page_len: Option<u32>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AzureAuth {
    /// Whoever has the account's key, in base64.
    Key(Secret),
    /// Whoever has this shared access signature, without the question mark before it.
    Sas(Secret),
    /// An identity of Entra ID.
    Entra(Entra),
}

impl Default for AzureAuth {
    fn default() -> Self {
        AzureAuth::Entra(Entra::default())
    }
}

/// An identity of Entra ID: with a secret a service principal, with a token file a workload, else the machine's own
/// (managed) identity, of which `client` may name one of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entra {
    /// The directory.
    pub tenant: Option<String>,
    /// The identity.
    pub client: Option<String>,
    /// The service principal's secret.
    pub secret: Option<Secret>,
    /// The workload's token.
    pub token_file: Option<PathBuf>,
}

/// Azure's clouds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AzureCloud {
    /// The one for everybody.
    #[default]
    Public,
    /// That of the US government.
    Government,
    /// That of China.
    China,
    /// That of Germany, closed since 2021; addresses only.
    Germany,
}

impl AzureCloud {
    /// By the names of `AZURE_ENVIRONMENT_NAME`, in any case.
    pub fn named(name: &str) -> Option<AzureCloud> {
        let known = [
            ("AzurePublicCloud", AzureCloud::Public),
            ("AzureUSGovernmentCloud", AzureCloud::Government),
            ("AzureChinaCloud", AzureCloud::China),
            ("AzureGermanCloud", AzureCloud::Germany),
        ];
        known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, cloud)| cloud)
    }

    /// What accounts' names stand before.
    pub fn domain(self) -> &'static str {
        match self {
            AzureCloud::Public => "core.windows.net",
            AzureCloud::Government => "core.usgovcloudapi.net",
            AzureCloud::China => "core.chinacloudapi.cn",
            AzureCloud::Germany => "core.cloudapi.de",
        }
    }
}

impl AzureSettings {
    /// The URL of the account's blobs. The error is a clause.
    pub fn service(&self) -> Result<String, String> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        let account = self.account.as_deref().ok_or("no storage account is named (AZURE_STORAGE_ACCOUNT)")?;
        if account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err("the storage account's name is none: letters and digits".into());
        }
        Ok(format!("https://{account}.blob.{}", self.domain.as_deref().unwrap_or(self.cloud.domain())))
    }

    /// The account that keys sign for: as said, else as the endpoint has it.
    pub fn signing_account(&self) -> Option<String> {
        self.account.clone().or_else(|| {
            let (_, rest) = self.endpoint.as_deref()?.split_once("://")?;
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let in_path = path.split('/').next().filter(|name| !name.is_empty());
            let in_host = authority.split_once(".blob.").map(|(account, _)| account);
            in_path.or(in_host).map(str::to_owned)
        })
    }
}

/// Understand the URL of an account's blobs: http or https, a path (the account, with emulators), no query.
pub fn azure_endpoint(text: &str) -> Answer<String> {
    // Never the text: signatures are put behind endpoints.
    let wrong = |what: &str| Error::new(Code::ConfigValue, format!("the endpoint {what}"));
    let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("is no URL: https://ACCOUNT.blob.DOMAIN"))?;
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(wrong("has another protocol than http and https"));
    }
    if rest.contains(['?', '#']) {
        return Err(wrong("has a query or fragment; a signature has a setting of its own"));
    }
    let rest = rest.trim_end_matches('/');
    let authority = rest.split('/').next().unwrap_or_default();
    check_authority(authority).map_err(|what| wrong(&what))?;
    Ok(format!("{scheme}://{rest}"))
}

/// Understand the key of an account: base64.
pub fn azure_key(text: &str) -> Answer<Secret> {
    let body = text.trim_end_matches('=');
    let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if body.is_empty() || !body.bytes().all(base64) || !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return Err(Error::new(Code::ConfigValue, "an account's key is base64, and this is not"));
    }
    Ok(Secret::new(text))
}

/// Understand a shared access signature: with or without the question mark before it.
pub fn azure_sas(text: &str) -> Answer<Secret> {
    let text = text.trim_start_matches('?').trim_end_matches('&');
    if !text.split('&').any(|pair| pair.starts_with("sig=")) || text.contains(['#', ' ']) {
        return Err(Error::new(Code::ConfigValue, "a shared access signature reads sv=...&sig=..., and this does not"));
    }
    Ok(Secret::new(text))
}

/// What a connection string says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionString {
    /// `AccountName`.
    pub account: Option<String>,
    /// `AccountKey`, or `SharedAccessSignature`, which counts first as in Azure's own clients.
    pub auth: Option<AzureAuth>,
    /// `BlobEndpoint`, or `EndpointSuffix` with another protocol than https.
    pub endpoint: Option<String>,
    /// `EndpointSuffix`.
    pub domain: Option<String>,
}

/// What everybody knows of the emulator.
const EMULATOR: (&str, &str, &str) = (
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "http://127.0.0.1:10000/devstoreaccount1",
);

impl ConnectionString {
    /// Understand `DefaultEndpointsProtocol=https;AccountName=...;AccountKey=...;EndpointSuffix=...` and its kin. Parts
    /// about queues, tables and files are passed over.
    pub fn parse(text: &str) -> Answer<ConnectionString> {
        // Never the text: the key is in it.
        let wrong = |what: &str| {
            let what = format!("the connection string {what}");
            Error::new(Code::ConfigValue, what)
                .hint("It reads NAME=VALUE;NAME=VALUE, as Azure shows it beside the key.")
        };
        let (mut found, mut protocol, mut emulator) = (ConnectionString::default(), None, false);
        let (mut key, mut sas) = (None, None);
        for part in text.trim().split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| wrong("has a part without a ="))?;
            let value = Some(value.trim()).filter(|value| !value.is_empty()).map(str::to_owned);
            match name.trim().to_ascii_lowercase().as_str() {
                "accountname" => found.account = value,
                "accountkey" => key = value,
                "sharedaccesssignature" => sas = value,
                "blobendpoint" => found.endpoint = value,
                "endpointsuffix" => found.domain = value,
                "defaultendpointsprotocol" => protocol = value,
                "usedevelopmentstorage" => emulator = value.is_some_and(|value| value.eq_ignore_ascii_case("true")),
                _ => {}
            }
        }
        if emulator {
            let (account, known, endpoint) = EMULATOR;
            found.account.get_or_insert_with(|| account.to_owned());
            found.endpoint.get_or_insert_with(|| endpoint.to_owned());
            key.get_or_insert_with(|| known.to_owned());
        }
        let inside = |error: Error| wrong(&format!("does not do: {}", error.what()));
        found.endpoint = found.endpoint.as_deref().map(azure_endpoint).transpose().map_err(inside)?;
        found.auth = match (sas, key) {
            (Some(sas), _) => Some(AzureAuth::Sas(azure_sas(&sas).map_err(inside)?)),
            (None, Some(key)) => Some(AzureAuth::Key(azure_key(&key).map_err(inside)?)),
            (None, None) => None,
        };
        match protocol.map(|protocol| protocol.to_ascii_lowercase()).as_deref() {
            None | Some("https") => {}
            Some("http") if found.endpoint.is_none() => {
                if let Some(account) = &found.account {
                    let domain = found.domain.as_deref().unwrap_or(AzureCloud::Public.domain());
                    found.endpoint = Some(azure_endpoint(&format!("http://{account}.blob.{domain}")).map_err(inside)?);
                }
            }
            Some("http") => {}
            Some(_) => return Err(wrong("has another protocol than http and https")),
        }
        if found.account.is_none() && found.endpoint.is_none() {
            return Err(wrong("names neither an account nor an endpoint of blobs"));
        }
        Ok(found)
    }
}
