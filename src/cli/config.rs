//! What was meant: flags, environment and files resolved into settings.
//!
//! In: flags as typed, an [`Environment`], settings files. Out: values with their origin. Never: asks a store.
//! The only place that reads the environment (the AWS SDK's own chain excepted).

use std::collections::BTreeMap;
use std::ffi::OsString;

/// The environment variables of a process, or of a test. Empty ones count as unset, as in WAL-G.
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

    /// A variable that is set, not empty, and text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().filter(|value| !value.is_empty())
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}
