//! Several stores for one archive: the one of the prefix, and WAL-G's failover storages.
//!
//! In: a [`Config`] whose `WALG_FAILOVER_STORAGES` maps names to settings. Out: [`Storage`]s: place and settings of each, in
//! the order in which they are asked. Never: gives one store the keys of another one that has some of its own; asks a store.
//!
//! A failover storage has its own prefix and keys, and what it leaves open is what the rest of the settings say, folder
//! below the prefix included. Names count in lower case and in their order; `default` is the store of the prefix.
//! `WALG_TARGET_STORAGE` names the only one to use. Source: WAL-G, `ConfigureFailoverStorages`, `StorageAdapter.loadSettings`.

use super::{Config, Id, Kind, Setting, Value, file, settings};
use crate::error::{Answer, Code, Error};
use crate::storage::open::{Location, StoreSettings};
use std::collections::BTreeMap;

/// The name of the store of the prefix.
const DEFAULT: &str = "default";

/// Settings that mean one thing only together: who says one of them means all.
const TOGETHER: [&[Id]; 3] = [
    &[
        Id::AWS_ACCESS_KEY_ID,
        Id::AWS_SECRET_ACCESS_KEY,
        Id::AWS_SESSION_TOKEN,
        Id::AWS_INSTANCE_PROFILE,
        Id::AWS_PROFILE,
        Id::AWS_ROLE_ARN,
        Id::AWS_NO_SIGN_REQUEST,
    ],
    &super::store::ENDPOINTS,
    &[
        Id::AZURE_STORAGE_ACCOUNT,
        Id::AZURE_STORAGE_ACCESS_KEY,
        Id::AZURE_STORAGE_SAS_TOKEN,
        Id::AZURE_STORAGE_CONNECTION_STRING,
        Id::AZURE_TENANT_ID,
        Id::AZURE_CLIENT_ID,
        Id::AZURE_CLIENT_SECRET,
        Id::AZURE_FEDERATED_TOKEN_FILE,
    ],
];

/// One of the stores that hold the archive.
#[derive(Debug)]
pub struct Storage {
    /// `default`, or what `WALG_FAILOVER_STORAGES` calls it.
    pub name: String,
    /// Where it is.
    pub location: Location,
    /// What it takes to reach it.
    pub settings: StoreSettings,
}

impl Config {
    /// The one store of verbs that look at one.
    pub fn storage(&self) -> Answer<Storage> {
        match self.target() {
            Some(target) if target != DEFAULT => {
                let mut failovers = self.failovers()?;
                let names = failovers.keys().cloned().collect::<Vec<_>>().join(", ");
                match failovers.remove(&target) {
                    Some(config) => config.named(target),
                    None => {
                        let what = format!("names a store that is none: {DEFAULT}, {names}");
                        Err(Error::new(Code::ConfigValue, what.trim_end_matches([',', ' ']))
                            .on(self.given_as(Id::WALG_TARGET_STORAGE)))
                    }
                }
            }
            _ => self.named(DEFAULT.to_owned()),
        }
    }

    /// All that hold the archive, in the order in which they are asked; the one store where `WALG_TARGET_STORAGE` names it.
    pub fn storages(&self) -> Answer<Vec<Storage>> {
        if self.target().is_some() {
            return Ok(vec![self.storage()?]);
        }
        let mut all = vec![self.named(DEFAULT.to_owned())?];
        for (name, config) in self.failovers()? {
            all.push(config.named(name)?);
        }
        Ok(all)
    }

    /// Are there stores that a verb leaves out that looks at one?
    pub fn leaves_out_stores(&self) -> bool {
        self.target().is_none() && self.failovers().map_or(true, |failovers| !failovers.is_empty())
    }

    fn target(&self) -> Option<String> {
        let name = self.text(Id::WALG_TARGET_STORAGE)?.trim().to_lowercase();
        // WAL-G's word of its storage tools for no choice.
        (!matches!(name.as_str(), "" | "all")).then_some(name)
    }

    fn named(&self, name: String) -> Answer<Storage> {
        match self.place() {
            Ok((location, settings)) => Ok(Storage { name, location, settings }),
            Err(error) if name == DEFAULT => Err(error),
            Err(error) => {
                let named = Error::new(error.code(), format!("failover storage {name}: {}", error.what()));
                let named = match error.object() {
                    Some(object) => named.on(object),
                    None => named.on(Setting::of(Id::WALG_FAILOVER_STORAGES).name),
                };
                Err(named.hint(format!(
                    "Mend it, or name the one store to use: WALG_TARGET_STORAGE={DEFAULT} is that of the prefix."
                )))
            }
        }
    }

    /// The failover storages by their names. What is odd about their settings is in [`Config::warnings`] of each.
    pub(super) fn failovers(&self) -> Answer<BTreeMap<String, Config>> {
        let Some(value) = self.value(Id::WALG_FAILOVER_STORAGES) else { return Ok(BTreeMap::new()) };
        // Not the text: keys are in it.
        let wrong = |what: &str| Error::new(Code::ConfigValue, format!("{what} ({})", value.origin)).on(&value.name);
        let maps: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&value.text).map_err(|_| wrong("is not a map of names to settings"))?;
        let mut failovers = BTreeMap::new();
        for (name, map) in maps {
            let name = name.to_lowercase();
            if matches!(name.as_str(), DEFAULT | "all") {
                return Err(wrong(&format!("{name} is no name for a failover storage")));
            }
            let members = file::flat(map).map_err(|_| wrong(&format!("{name} is not a map of settings")))?;
            let mut config = Config::default();
            config.take(&value.origin, members.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            config.inherit(self);
            config.judge();
            if failovers.insert(name.clone(), config).is_some() {
                return Err(wrong(&format!("{name} is there twice")));
            }
        }
        Ok(failovers)
    }

    /// Take what the store's own settings leave open.
    fn inherit(&mut self, from: &Config) {
        let own = |id: Id| self.values.contains_key(&id);
        let said = |id: Id| own(id) || TOGETHER.iter().any(|ids| ids.contains(&id) && ids.iter().any(|one| own(*one)));
        let of_stores = |setting: &Setting| {
            (setting.read == settings::S3 || setting.read == settings::AZURE) && setting.kind != Kind::Prefix
                || setting.id == Id::WALG_STORAGE_PREFIX
        };
        let open: Vec<(Id, Value)> = (from.values())
            .filter(|(setting, _)| of_stores(setting) && !said(setting.id))
            .map(|(setting, value)| (setting.id, value.clone()))
            .collect();
        self.values.extend(open);
    }
}

#[cfg(test)]
mod tests;
