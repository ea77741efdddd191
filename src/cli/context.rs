//! What every arm of the dispatch needs: settings, streams, progress, the store.
//!
//! In: the global flags and the environment. Out: [`Context`]. Never: knows a verb.

use super::args::{Format, Global};
use super::config::Environment;
use super::console::Console;
use super::progress;
use crate::commands::{Progress, Silent};
use crate::error::{Answer, Code, Error};
use crate::storage::Store;
use std::sync::Arc;

/// What every verb gets.
#[derive(Debug)]
pub struct Context {
    global: Global,
    environment: Environment,
    console: Console,
}

/// How much is said on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors.
    Errors,
    /// And warnings; no progress.
    Quiet,
    /// And notes and progress.
    Normal,
    /// And what was asked of whom.
    Verbose,
    /// And everything else.
    Debug,
}

impl Context {
    /// From flags and environment. Nothing is read yet.
    pub fn new(global: Global, environment: Environment) -> Self {
        let color = environment.get("NO_COLOR").is_none();
        let console = Console::new(global.format.unwrap_or_default(), color);
        Context { global, environment, console }
    }

    /// stdout and stderr.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// How results are printed.
    pub fn format(&self) -> Format {
        self.global.format.unwrap_or_default()
    }

    /// How much is said on stderr: flags, else `WALG_LOG_LEVEL`.
    pub fn verbosity(&self) -> Verbosity {
        let quiet = self.global.quiet + u8::from(self.global.terse);
        match (quiet, self.global.verbose) {
            (0, 0) => match self.environment.get("WALG_LOG_LEVEL").map(str::to_ascii_uppercase).as_deref() {
                Some("ERROR") => Verbosity::Errors,
                Some("DEVEL") => Verbosity::Verbose,
                _ => Verbosity::Normal,
            },
            (0, 1) => Verbosity::Verbose,
            (0, _) => Verbosity::Debug,
            (1, _) => Verbosity::Quiet,
            _ => Verbosity::Errors,
        }
    }

    /// Where a long verb says how far it is: a bar on a terminal, lines elsewhere, nothing with -q.
    pub fn progress(&self) -> Arc<dyn Progress> {
        if self.verbosity() < Verbosity::Normal { Arc::new(Silent) } else { progress::on_stderr() }
    }

    /// The archive's store, with retries, resuming and the deadline.
    pub fn store(&self) -> Answer<Arc<dyn Store>> {
        Err(Error::new(Code::ConfigUnsupported, "stores are not open yet in this build"))
    }
}
