//! From settings to the archive's place and what its store needs.
//!
//! In: a [`Config`]. Out: [`Chosen`] prefix and [`Location`], [`StoreSettings`]. Never: asks the store.
//!
//! Several prefixes can be set at once, and the originals choose differently. `--prefix` wins over all; then the flags,
//! the envdir, the environment, the file, in this order. Within one of them: WAL-E's order among `--file-prefix`,
//! `--gs-prefix`, `--s3-prefix`, `--wabs-prefix` and where only `WALE_` names are set (file, gs, s3, swift, wabs);
//! WAL-G's order where a `WALG_` name is among them (oss, s3, file, gs, az, swift, ssh). The scheme of the value
//! decides which store it is, not the setting. Source: `wal_e/cmd.py`, WAL-G `internal/configure.go`.

use super::{Config, Id, Origin};
use crate::error::{Answer, Code, Error};
use crate::storage::open::{
    AzureAuth, AzureCloud, AzureSettings, ConnectionString, Entra, Location, S3Endpoint, S3Settings, Secret,
    StoreSettings, azure_endpoint, azure_key, azure_sas,
};
use std::fmt;

const WALG_ORDER: [Id; 7] = [
    Id::WALG_OSS_PREFIX,
    Id::WALG_S3_PREFIX,
    Id::WALG_FILE_PREFIX,
    Id::WALG_GS_PREFIX,
    Id::WALG_AZ_PREFIX,
    Id::WALG_SWIFT_PREFIX,
    Id::WALG_SSH_PREFIX,
];

const WALE_ORDER: [Id; 7] = [
    Id::WALG_FILE_PREFIX,
    Id::WALG_GS_PREFIX,
    Id::WALG_S3_PREFIX,
    Id::WALG_SWIFT_PREFIX,
    Id::WALG_AZ_PREFIX,
    Id::WALG_OSS_PREFIX,
    Id::WALG_SSH_PREFIX,
];

/// The endpoint's settings, the one that counts first.
pub(super) const ENDPOINTS: [Id; 4] =
    [Id::AWS_ENDPOINT_URL_S3, Id::AWS_ENDPOINT_URL, Id::AWS_ENDPOINT, Id::WALE_S3_ENDPOINT];

/// The prefix that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// As written, with `WALG_STORAGE_PREFIX` behind it.
    pub text: String,
    /// By which name or flag.
    pub name: String,
    /// Where that was.
    pub origin: Origin,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", without_user(&self.text), self.name, self.origin)
    }
}

/// A URL without a user and password in it.
pub fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest.get(..end).and_then(|authority| authority.rfind('@')) {
        Some(at) => format!("{scheme}://***{}", rest.get(at..).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl Config {
    /// The prefix that counts, and the others that were set, in the order in which they would count.
    pub(super) fn prefixes(&self) -> Vec<Chosen> {
        let mut found: Vec<(Origin, Vec<Chosen>)> = Vec::new();
        for id in WALG_ORDER {
            let Some(value) = self.value(id) else { continue };
            let chosen = Chosen { text: value.text.clone(), name: value.name.clone(), origin: value.origin.clone() };
            match found.iter_mut().find(|(origin, _)| *origin == value.origin) {
                Some((_, here)) => here.push(chosen),
                None => found.push((value.origin.clone(), vec![chosen])),
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut all: Vec<Chosen> = Vec::new();
        if let Some(text) = &self.prefix {
            all.push(Chosen { text: text.clone(), name: "--prefix".to_owned(), origin: Origin::Flag });
        }
        for (_, mut here) in found {
            let walg = |one: &Chosen| {
                let name = one.name.to_ascii_uppercase().replace('-', "_");
                name.trim_start_matches('_').starts_with("WALG_")
            };
            if !here.iter().any(walg) {
                let place = |one: &Chosen| {
                    let id = self.values().find(|(_, value)| value.name == one.name && value.origin == one.origin);
                    id.and_then(|(setting, _)| WALE_ORDER.iter().position(|id| *id == setting.id))
                };
                here.sort_by_key(place);
            }
            all.append(&mut here);
        }
        all
    }

    /// The prefix that counts. `config.prefix` when there is none. `--prefix` is the whole place: restore_command names it
    /// so, in an environment that may still have the folder below it.
    pub fn prefix(&self) -> Answer<Chosen> {
        let first = self.prefixes().into_iter().next();
        let mut chosen = first.ok_or_else(|| Error::new(Code::ConfigPrefix, "no prefix says where the archive is"))?;
        let whole = self.prefix.is_some();
        if let Some(below) = self.text(Id::WALG_STORAGE_PREFIX).filter(|_| !whole) {
            let below = below.trim_matches('/');
            if !below.is_empty() {
                chosen.text = format!("{}/{below}", chosen.text.trim_end_matches('/'));
            }
        }
        Ok(chosen)
    }

    /// Where the archive is.
    pub fn location(&self) -> Answer<Location> {
        let chosen = self.prefix()?;
        // Not the error as it is: its object is the text, and people put keys into URLs.
        let location = Location::parse(&chosen.text);
        match location.map_err(|error| Error::new(error.code(), error.what()).on(&chosen))? {
            // It goes into restore_command and into commands to paste, which run elsewhere.
            Location::Local(path) => {
                let absolute = std::path::absolute(&path).map_err(|error| {
                    Error::new(Code::ConfigPrefix, "no such path can be").on(&chosen).because(error)
                })?;
                Ok(Location::Local(absolute))
            }
            location => Ok(location),
        }
    }

    /// Warnings about prefixes and endpoints of which one counts.
    pub(super) fn contradicting_prefixes(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
        let all = self.prefixes();
        if let Some((first, others)) = all.split_first() {
            for other in others.iter().filter(|other| !same(&other.text, &first.text)) {
                warnings.push(format!("{other} does not count: {first} does"));
            }
        }
        let below = self.value(Id::WALG_STORAGE_PREFIX).filter(|value| !value.text.trim_matches('/').is_empty());
        if let (Some(whole), Some(below)) = (&self.prefix, below) {
            let ends = whole.trim_end_matches('/').ends_with(below.text.trim_matches('/'));
            if !ends {
                warnings.push(format!("{} does not count: --prefix is the whole place", below.name));
            }
        }
        let mut endpoints = ENDPOINTS.iter().filter_map(|id| self.value(*id));
        if let Some(first) = endpoints.next() {
            let host =
                |text: &str| text.split_once("://").map_or(text, |(_, host)| host).trim_end_matches('/').to_owned();
            for other in endpoints.filter(|other| host(&other.text) != host(&first.text)) {
                warnings.push(format!("the endpoint of {} does not count: that of {} does", other.name, first.name));
            }
        }
        warnings
    }

    /// Where the archive is, and what its store needs besides.
    pub fn place(&self) -> Answer<(Location, StoreSettings)> {
        let location = self.location()?;
        let settings = self.store_settings(&location)?;
        Ok((location, settings))
    }

    /// What the store at this place needs besides; how long to try is the verb's matter. Settings of other stores may be
    /// as wrong as they like.
    pub fn store_settings(&self, location: &Location) -> Answer<StoreSettings> {
        match location {
            Location::Local(_) => Ok(StoreSettings::default()),
            Location::S3 { .. } | Location::S3Prefix { .. } => {
                Ok(StoreSettings { s3: self.s3()?, ..StoreSettings::default() })
            }
            Location::Azure { .. } | Location::AzurePrefix { .. } => {
                Ok(StoreSettings { azure: self.azure()?, ..StoreSettings::default() })
            }
        }
    }

    /// The text of a setting, without space around it.
    fn trimmed(&self, id: Id) -> Option<String> {
        self.text(id).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Key, signature, connection string, identity: the first of them that is set asks, as in WAL-G. A connection string
    /// also says what the settings of account and endpoint leave open.
    fn azure(&self) -> Answer<AzureSettings> {
        // Not the text: keys and signatures are in it.
        let named = |id: Id, error: Error| {
            let Some(value) = self.value(id) else { return error };
            let hint = error.advice().map(str::to_owned);
            let error = Error::new(error.code(), format!("{} ({})", error.what(), value.origin)).on(&value.name);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        };
        fn read<T>(
            text: Option<String>,
            how: fn(&str) -> Answer<T>,
            named: impl Fn(Error) -> Error,
        ) -> Answer<Option<T>> {
            text.map(|text| how(&text)).transpose().map_err(named)
        }
        let trimmed = |id| self.trimmed(id);
        let string = Id::AZURE_STORAGE_CONNECTION_STRING;
        let connection = read(trimmed(string), ConnectionString::parse, |error| named(string, error))?;
        let connection = connection.unwrap_or_default();
        let account = trimmed(Id::AZURE_STORAGE_ACCOUNT);
        if let (Some(one), Some(other)) = (&account, &connection.account)
            && one != other
        {
            let what = format!("names another account than {}", self.given_as(Id::AZURE_STORAGE_ACCOUNT));
            return Err(Error::new(Code::ConfigValue, what).on(self.given_as(string)));
        }
        let key =
            read(trimmed(Id::AZURE_STORAGE_ACCESS_KEY), azure_key, |error| named(Id::AZURE_STORAGE_ACCESS_KEY, error))?;
        let sas =
            read(trimmed(Id::AZURE_STORAGE_SAS_TOKEN), azure_sas, |error| named(Id::AZURE_STORAGE_SAS_TOKEN, error))?;
        let auth = key.map(AzureAuth::Key).or(sas.map(AzureAuth::Sas)).or(connection.auth).unwrap_or_else(|| {
            AzureAuth::Entra(Entra {
                tenant: trimmed(Id::AZURE_TENANT_ID),
                client: trimmed(Id::AZURE_CLIENT_ID),
                secret: trimmed(Id::AZURE_CLIENT_SECRET).map(Secret::new),
                token_file: self.path(Id::AZURE_FEDERATED_TOKEN_FILE),
            })
        });
        let cloud = match trimmed(Id::AZURE_ENVIRONMENT_NAME) {
            None => AzureCloud::default(),
            Some(name) => AzureCloud::named(&name).ok_or_else(|| {
                let what = "no such cloud: AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, AzureGermanCloud";
                named(Id::AZURE_ENVIRONMENT_NAME, Error::new(Code::ConfigValue, what))
            })?,
        };
        let endpoint = read(trimmed(Id::AZURE_STORAGE_ENDPOINT), azure_endpoint, |error| {
            named(Id::AZURE_STORAGE_ENDPOINT, error)
        })?;
        // A domain that is set is said more plainly than the one in a connection string.
        let domain = trimmed(Id::AZURE_ENDPOINT_SUFFIX).map(|domain| domain.trim_start_matches('.').to_owned());
        let settings = AzureSettings {
            account: account.or(connection.account),
            endpoint: endpoint.or(connection.endpoint.filter(|_| domain.is_none())),
            domain: domain.or(connection.domain),
            cloud,
            auth,
            api_version: trimmed(Id::AZURE_BLOB_STORE_API_VERSION),
            page_len: None,
        };
        let wrong = |what: String| Error::new(Code::ConfigValue, what);
        settings.service().map_err(wrong)?;
        Ok(settings)
    }

    /// By which name a setting was given.
    pub(super) fn given_as(&self, id: Id) -> String {
        self.value(id).map(|value| value.name.clone()).unwrap_or_default()
    }

    fn s3(&self) -> Answer<S3Settings> {
        let trimmed = |id| self.trimmed(id);
        let access_key = trimmed(Id::AWS_ACCESS_KEY_ID);
        let secret_key = trimmed(Id::AWS_SECRET_ACCESS_KEY).map(Secret::new);
        let instance_profile = self.switch(Id::AWS_INSTANCE_PROFILE)?.unwrap_or(false);
        if access_key.is_some() != secret_key.is_some() && !instance_profile {
            let (there, missing) = match access_key {
                Some(_) => (Id::AWS_ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY"),
                None => (Id::AWS_SECRET_ACCESS_KEY, "AWS_ACCESS_KEY_ID"),
            };
            let name = self.value(there).map(|value| value.name.clone()).unwrap_or_default();
            return Err(Error::new(Code::CredentialsMissing, format!("set, but {missing} is not")).on(name));
        }
        let role = self.text(Id::AWS_ROLE_ARN).filter(|_| self.text(Id::AWS_WEB_IDENTITY_TOKEN_FILE).is_none());
        Ok(S3Settings {
            access_key,
            secret_key,
            session_token: trimmed(Id::AWS_SESSION_TOKEN).map(Secret::new),
            instance_profile,
            profile: trimmed(Id::AWS_PROFILE),
            region: trimmed(Id::AWS_REGION),
            endpoint: self.endpoint()?,
            path_style: self.switch(Id::AWS_S3_FORCE_PATH_STYLE)?,
            ca_file: self.path(Id::AWS_CA_BUNDLE),
            // With a token file the SDK takes on the role by itself.
            role_arn: role.map(str::to_owned),
            role_session_name: trimmed(Id::AWS_ROLE_SESSION_NAME),
            requester_pays: matches!(self.word(Id::AWS_REQUEST_PAYER)?, Some("requester" | "true")),
            anonymous: self.switch(Id::AWS_NO_SIGN_REQUEST)?.unwrap_or(false),
        })
    }

    fn endpoint(&self) -> Answer<Option<S3Endpoint>> {
        let mut found: Option<S3Endpoint> = None;
        for id in ENDPOINTS {
            let Some(value) = self.value(id) else { continue };
            let named = |error: Error| {
                // Not the text: people put keys into URLs.
                Error::new(error.code(), format!("{} ({})", error.what(), value.origin)).on(&value.name)
            };
            let one = match id {
                Id::WALE_S3_ENDPOINT => S3Endpoint::parse_wale(value.text.trim()),
                _ => S3Endpoint::parse(value.text.trim()),
            };
            match &mut found {
                None => found = Some(one.map_err(named)?),
                // The same host twice: WAL-E's form also says how buckets are addressed.
                Some(first) => match one {
                    Ok(one) if one.url == first.url && first.addressing.is_none() => first.addressing = one.addressing,
                    _ => {}
                },
            }
        }
        Ok(found)
    }
}
