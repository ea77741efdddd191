//! The two ends of a copy, and of its verification.
//!
//! In: what was said of each: a URL, a settings file or an envdir of its own. Out: [`Ends`], or [`Sides`] for who only reads. Never: lets an end that has
//! settings of its own see the environment: its keys may be the other one's.

use super::Context;
use crate::cli::args::ends::{End, Ends as Typed};
use crate::cli::config::{Config, Environment, Flags};
use crate::commands::copy::Ends;
use crate::commands::copy_verify::Sides;
use crate::error::Answer;
use crate::storage::open::{self, Location, StoreSettings};
use crate::storage::retry::{RetryPolicy, RetryingWrite};
use crate::storage::{StoreErrorKind, StoreWrite};
use std::sync::Arc;

impl Context {
    /// Both ends of a copy.
    pub async fn ends(&self, typed: &Typed) -> Answer<Ends> {
        let (location, settings) = self.end(typed.from())?;
        let source = open::resolve(&location, &settings).await?;
        let (location, settings) = self.end(typed.to())?;
        let location = match open::resolve(&location, &settings).await {
            Ok(resolved) => resolved.location,
            // It is to be made, perhaps.
            Err(error) if error.kind == StoreErrorKind::NoSuchPrefix => location,
            Err(error) => return Err(error.into()),
        };
        let writer = move |location: &Location| -> Answer<Arc<dyn StoreWrite>> {
            let inner = open::open_writer(location, &settings)?;
            Ok(Arc::new(RetryingWrite::new(inner, settings.retry.clone(), settings.counters.clone())))
        };
        let destination = writer(&location)?;
        let sibling = Box::new(move |suffix: &str| writer(&location.sibling(suffix)));
        Ok(Ends { source: source.store, destination, sibling })
    }

    /// The same two, to be read only.
    pub async fn sides(&self, typed: &Typed) -> Answer<Sides> {
        let (location, settings) = self.end(typed.from())?;
        let source = open::resolve(&location, &settings).await?.store;
        let (location, settings) = self.end(typed.to())?;
        let destination = open::resolve(&location, &settings).await?.store;
        Ok(Sides { source, destination })
    }

    /// One of them: with settings of its own, and then nothing of the environment, or with the usual ones.
    fn end(&self, end: End<'_>) -> Answer<(Location, StoreSettings)> {
        let prefix = end.url.map(str::to_owned);
        let (location, settings) = if end.config.is_some() || end.envdir.is_some() {
            let flags =
                Flags { prefix, config: end.config.cloned(), envdir: end.envdir.cloned(), settings: Vec::new() };
            Config::resolve(&flags, &Environment::default())?.place()?
        } else if prefix.is_some() {
            Config::resolve(&Flags { prefix, ..self.flags.clone() }, &self.environment)?.place()?
        } else {
            // The one of several stores that other verbs read.
            let storage = self.config()?.storage()?;
            (storage.location, storage.settings)
        };
        let retry = self.global.deadline.map_or_else(RetryPolicy::default, RetryPolicy::within);
        Ok((location, StoreSettings { retry, ..settings }))
    }
}
