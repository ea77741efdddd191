//! What was meant: flags, environment and files resolved into settings.
//!
//! In: flags as typed, an [`Environment`], settings files. Out: a [`Config`]: every value with its origin, and from it
//! the archive's [`Location`](crate::storage::open::Location) and [`StoreSettings`](crate::storage::open::StoreSettings). Never: asks a store, prints a secret.
//! The only place that reads the environment (the AWS SDK's own chain excepted).
//!
//! Flags win over `--envdir`, that over the environment, that over the file. Within one of them the first of a
//! setting's names wins. Empty values count as unset everywhere, as in WAL-G; an empty file of an envdir unsets.

pub mod file;
pub mod settings;
pub mod storages;
pub mod store;

pub use settings::{Id, Kind, Read, Setting};
pub use store::Chosen;

use crate::error::{Answer, Code, Error};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The environment variables of a process, or of a test.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// That of this process. Variables whose names are not text are none of ours.
    pub fn of_process() -> Self {
        Environment(std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect())
    }

    /// For tests.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Environment(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_os_str()))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.as_str())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Where this program is: what a restore_command must call.
pub fn this_program() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}

/// Settings given on the command line.
#[derive(Clone, Default)]
pub struct Flags {
    /// `--prefix`.
    pub prefix: Option<String>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--envdir`.
    pub envdir: Option<PathBuf>,
    /// `--walg-s3-prefix URL` and the like: the flag and its value.
    pub settings: Vec<(Id, String, String)>,
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_list().entries(self.settings.iter().map(|(_, flag, _)| flag)).finish()
    }
}

/// Where a value came from. In order of precedence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The command line.
    Flag,
    /// `--envdir`.
    EnvDir(PathBuf),
    /// The environment.
    Environment,
    /// A settings file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag => f.write_str("command line"),
            Origin::EnvDir(path) | Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment => f.write_str("environment"),
        }
    }
}

/// One setting's effective value.
#[derive(Clone)]
pub struct Value {
    text: String,
    /// The name or flag by which it was given.
    pub name: String,
    /// Where.
    pub origin: Origin,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may be a secret.
        f.debug_struct("Value").field("name", &self.name).field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Everything that was set, resolved.
#[derive(Debug, Default)]
pub struct Config {
    prefix: Option<String>,
    values: BTreeMap<Id, Value>,
    file: Option<PathBuf>,
    warnings: Vec<String>,
}

impl Config {
    /// Resolve. `config.file` when a file that was named cannot be read or understood.
    pub fn resolve(flags: &Flags, environment: &Environment) -> Answer<Config> {
        let mut config = Config { prefix: flags.prefix.clone().filter(|text| !text.is_empty()), ..Config::default() };
        for (id, flag, value) in &flags.settings {
            // Said twice, the last one counts, as everywhere on command lines.
            if !value.is_empty() {
                config.values.insert(*id, Value { text: value.clone(), name: flag.clone(), origin: Origin::Flag });
            }
        }
        let mut hidden = Vec::new();
        if let Some(directory) = &flags.envdir {
            let variables = file::read_envdir(directory)?;
            hidden = variables.keys().cloned().collect();
            let members = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            config.take(&Origin::EnvDir(directory.clone()), members);
        }
        let mut variables = Vec::new();
        for name in environment.names().filter(|name| !hidden.iter().any(|other| other == name)) {
            match environment.get(name).and_then(OsStr::to_str) {
                Some(value) => variables.push((name, value)),
                None if Setting::named(name).is_some_and(|setting| setting.read.counts()) => {
                    return Err(Error::new(Code::ConfigValue, "its value is not UTF-8 text").on(name));
                }
                None => {}
            }
        }
        config.take(&Origin::Environment, variables);
        if let Some(path) = config.which_file(flags, environment) {
            let members = file::read(&path)?;
            let members = members.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            config.take(&Origin::File(path.clone()), members);
            config.file = Some(path);
        }
        config.judge();
        match config.failovers() {
            Ok(failovers) => {
                let odd = |(name, one): (String, Config)| {
                    one.warnings.into_iter().map(move |warning| format!("failover storage {name}: {warning}"))
                };
                let odd: Vec<String> = failovers.into_iter().flat_map(odd).collect();
                config.warnings.extend(odd);
            }
            // Of no use to who looks at one store, and an error to who needs all.
            Err(error) => config.warnings.push(error.chain()),
        }
        Ok(config)
    }

    fn which_file(&mut self, flags: &Flags, environment: &Environment) -> Option<PathBuf> {
        if let Some(path) = &flags.config {
            return Some(path.clone());
        }
        if let Some(path) = self.text(Id::WALG_CONFIG_PATH) {
            return Some(PathBuf::from(path));
        }
        let (path, warning) = file::in_home(Path::new(environment.get("HOME")?));
        self.warnings.extend(warning);
        path
    }

    /// The values of one origin, which fill what is still free. Empty ones count as not given.
    fn take<'a>(&mut self, origin: &Origin, members: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let in_file = matches!(origin, Origin::File(_));
        let mut mine: BTreeMap<Id, Vec<(usize, &str, &str)>> = BTreeMap::new();
        for (name, value) in members.into_iter().filter(|(_, value)| !value.is_empty()) {
            // Files may write names in any case; the environment knows one.
            let setting = Setting::named(name).filter(|_| in_file || *name == *name.to_ascii_uppercase());
            if let Some(setting) = setting {
                let upper = name.to_ascii_uppercase();
                let rank = setting.names().iter().position(|one| *one == upper).unwrap_or_default();
                mine.entry(setting.id).or_default().push((rank, name, value));
                if in_file && setting.read == Read::Sdk {
                    self.warnings.push(format!(
                        "{name} in {origin} has no effect: the AWS SDK reads it from the environment only"
                    ));
                }
            } else if in_file || name.starts_with("WALG_") || name.starts_with("WALE_") {
                let meant = settings::nearest(name).map_or_else(String::new, |near| format!("; is {near} meant?"));
                self.warnings.push(format!("{name} ({origin}) is no setting{meant}"));
            }
        }
        for (id, mut given) in mine {
            given.sort_by_key(|(rank, ..)| *rank);
            let Some((_, name, text)) = given.first().copied() else { continue };
            for (_, other, _) in given.iter().filter(|(_, _, other)| *other != text) {
                self.warnings.push(format!("{other} and {name} ({origin}) contradict each other: {name} counts"));
            }
            let value = || Value { text: text.to_owned(), name: name.to_owned(), origin: origin.clone() };
            self.values.entry(id).or_insert_with(value);
        }
    }

    /// Warnings that need all values.
    fn judge(&mut self) {
        let mut warnings = Vec::new();
        for (id, value) in &self.values {
            let setting = Setting::of(*id);
            if let (true, Err(takes)) = (setting.read.counts(), setting.kind.check(&value.text)) {
                warnings.push(format!("{} ({}) is not {takes}", value.name, value.origin));
            }
        }
        self.warnings.extend(warnings);
        self.warnings.extend(self.contradicting_prefixes());
    }

    /// What is odd, each as one clause for people. No secrets.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The settings file that was read.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Every value that was set, in the table's order.
    pub fn values(&self) -> impl Iterator<Item = (&'static Setting, &Value)> {
        self.values.iter().map(|(id, value)| (Setting::of(*id), value))
    }

    /// A value as it was set.
    pub fn text(&self, id: Id) -> Option<&str> {
        self.values.get(&id).map(|value| value.text.as_str())
    }

    /// A value and where it came from.
    pub fn value(&self, id: Id) -> Option<&Value> {
        self.values.get(&id)
    }

    /// A path.
    pub fn path(&self, id: Id) -> Option<PathBuf> {
        self.text(id).map(PathBuf::from)
    }

    /// A switch. `config.value` when it is neither on nor off.
    pub fn switch(&self, id: Id) -> Answer<Option<bool>> {
        self.parsed(id, settings::switch)
    }

    /// A whole number.
    pub fn count(&self, id: Id) -> Answer<Option<u64>> {
        self.parsed(id, |text| text.trim().parse().ok().filter(|_| Setting::of(id).kind.check(text).is_ok()))
    }

    /// A length of time.
    pub fn time(&self, id: Id) -> Answer<Option<Duration>> {
        self.parsed(id, settings::time)
    }

    /// One of its words, in the spelling of the table.
    pub fn word(&self, id: Id) -> Answer<Option<&'static str>> {
        let Kind::Word(words) = Setting::of(id).kind else { return Ok(None) };
        self.parsed(id, |text| words.iter().copied().find(|word| word.eq_ignore_ascii_case(text.trim())))
    }

    fn parsed<T>(&self, id: Id, parse: impl FnOnce(&str) -> Option<T>) -> Answer<Option<T>> {
        let Some(value) = self.values.get(&id) else { return Ok(None) };
        match parse(&value.text) {
            Some(parsed) => Ok(Some(parsed)),
            None => {
                let takes = Setting::of(id).kind.takes();
                Err(Error::new(Code::ConfigValue, format!("its value ({}) is not {takes}", value.origin))
                    .on(&value.name))
            }
        }
    }
}

impl Value {
    /// The value for people: `***` where it is a secret.
    pub fn shown(&self, setting: &Setting) -> String {
        if setting.is_secret() { "***".to_owned() } else { store::without_user(&self.text) }
    }
}

#[cfg(test)]
mod tests;
