//! What every arm of the dispatch needs: settings, streams, progress, the store.
//!
//! In: the global flags and the environment. Out: [`Context`]. Never: knows a verb.

mod ends;

use super::args::{Format, Global, Output};
use super::config::storages::Storage;
use super::config::{Config, Environment, Flags, Id, Kind, Setting};
use super::console::Console;
use super::progress;
use crate::commands::daemon::Manager;
use crate::commands::{Progress, Silent};
use crate::error::{Answer, Code, Error};
use crate::feed::stores::Stores;
use crate::proof::ledger::{Identity, Ledger};
use crate::proof::survey::Survey;
use crate::storage::Store;
use crate::storage::open::{self, StoreSettings};
use crate::storage::retry::{Counters, RetryPolicy};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::cell::OnceCell;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What every verb gets.
#[derive(Debug)]
pub struct Context {
    global: Global,
    flags: Flags,
    environment: Environment,
    config: OnceCell<Config>,
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
    pub fn new(global: Global, flags: Flags, environment: Environment) -> Self {
        let color = environment.get("NO_COLOR").is_none();
        let console = Console::new(global.format.unwrap_or_default().into(), color);
        Context { global, flags, environment, config: OnceCell::new(), console }
    }

    /// The settings, resolved at the first call. `config.file` when a file that was named cannot be read.
    pub fn config(&self) -> Answer<&Config> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = Config::resolve(&self.flags, &self.environment)?;
        Ok(self.config.get_or_init(|| config))
    }

    /// Say what is odd about the settings. Not for verbs that run thousands of times in a row.
    pub fn warn(&self) -> Answer<()> {
        for warning in self.config()?.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    /// What restore_command calls for the archive at `url`, but for the file: `wal-r-fetch` where it lies beside this program,
    /// which is the same and starts in half the time.
    pub fn restore_command(&self, url: &str) -> Answer<Vec<String>> {
        let mut words = self.again(url)?;
        match words.first_mut().map(|program| (quick_twin(program), program)) {
            Some((Some(twin), program)) => *program = twin,
            _ => words.push("wal-fetch".to_owned()),
        }
        Ok(words)
    }

    /// Program and flags with which another call, from anywhere, reaches the archive at `url`. No secrets: those stay in the
    /// environment and in files.
    pub fn again(&self, url: &str) -> Answer<Vec<String>> {
        let program = super::config::this_program();
        let program =
            program.map_err(|error| Error::new(Code::LocalIo, "cannot tell where this program is").because(error))?;
        let text = |path: &Path| {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            absolute.into_os_string().into_string().map_err(|path| {
                Error::new(Code::ConfigValue, "its path is not UTF-8, which restore_command must be").on(path.display())
            })
        };
        let mut words = vec![text(&program)?, "--prefix".to_owned(), url.to_owned()];
        for (flag, path) in [("--config", &self.flags.config), ("--envdir", &self.flags.envdir)] {
            if let Some(path) = path {
                words.extend([flag.to_owned(), text(path)?]);
            }
        }
        // What was said by flag is in no environment and no file: an endpoint, a region. The prefix is said already.
        for (id, flag, value) in &self.flags.settings {
            let setting = Setting::of(*id);
            if !setting.is_secret() && setting.kind != Kind::Prefix && *id != Id::WALG_STORAGE_PREFIX {
                words.push(format!("{flag}={value}"));
            }
        }
        Ok(words)
    }

    /// stdout and stderr.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// How results are printed.
    pub fn format(&self) -> Format {
        self.output().into()
    }

    /// The same for the verb that knows more forms.
    pub fn output(&self) -> Output {
        self.global.format.unwrap_or_default()
    }

    /// How much is said on stderr: flags, else `WALG_LOG_LEVEL`.
    pub fn verbosity(&self) -> Verbosity {
        let quiet = self.global.quiet.saturating_add(u8::from(self.global.terse));
        match (quiet, self.global.verbose) {
            (0, 0) => match self.config().ok().and_then(|config| config.word(Id::WALG_LOG_LEVEL).ok().flatten()) {
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

    /// The file that log lines go to instead of stderr.
    pub fn log_file(&self) -> Option<PathBuf> {
        self.config().ok()?.path(Id::WALG_LOG_DESTINATION).filter(|path| !matches!(path.to_str(), Some("stderr" | "-")))
    }

    /// Where a long verb says how far it is: a bar on a terminal, lines elsewhere, nothing with -q.
    pub fn progress(&self) -> Arc<dyn Progress> {
        if self.verbosity() < Verbosity::Normal { Arc::new(Silent) } else { progress::on_stderr() }
    }

    /// The ledger of an archive: in this file, or at the default place, by the archive's URL. What there is to say about
    /// it is said.
    pub fn ledger(
        &self,
        path: Option<&Path>,
        anew: bool,
        survey: &Survey,
        command: &str,
        now: Timestamp,
    ) -> Answer<Ledger> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => self.ledger_place(&survey.url)?,
        };
        let archive = Identity { url: &survey.url, system: survey.system, size: survey.size };
        let open = if anew { Ledger::rebuild } else { Ledger::open };
        let ledger = open(&path, &archive, command, now)?;
        ledger.notes().iter().for_each(|note| tracing::warn!("{}: {note}", path.display()));
        Ok(ledger)
    }

    /// `$XDG_STATE_HOME/wal-r/NAME.sqlite`, else below `~/.local/state`: never in the archive. The directory is made.
    pub fn ledger_place(&self, url: &str) -> Answer<PathBuf> {
        let named = |name: &str| self.environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")));
        let Some(state) = state else {
            let what = "there is no default place for a ledger: neither XDG_STATE_HOME nor HOME is set";
            return Err(Error::new(Code::UsageArgument, what).hint("Name the file: --ledger FILE."));
        };
        let directory = state.join("wal-r");
        std::fs::create_dir_all(&directory).map_err(|error| {
            Error::new(Code::LocalLedger, "its directory cannot be made").on(directory.display()).because(error)
        })?;
        Ok(directory.join(ledger_name(url)))
    }

    /// What the service manager that started this process wants to be told: systemd's variables.
    pub fn manager(&self) -> Manager {
        let number = |name: &str| self.environment.get(name)?.to_str()?.parse::<u64>().ok();
        // The watchdog may be meant for another process than this one.
        let ours = number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|time| ours && *time > 0).map(Duration::from_micros);
        Manager { socket: self.environment.get("NOTIFY_SOCKET").map(OsString::from), watchdog }
    }

    /// The archive's store, with retries and resuming, and with `--deadline` where it was given.
    pub async fn store(&self) -> Answer<Arc<dyn Store>> {
        self.open(self.global.deadline).await
    }

    /// The same for somebody who waits: with this deadline where none was given.
    pub async fn store_within(&self, deadline: Duration) -> Answer<Arc<dyn Store>> {
        self.open(self.global.deadline.or(Some(deadline))).await
    }

    /// All stores of the archive, for somebody who waits and has waited for so long already.
    pub async fn stores_after(&self, waited: Duration, deadline: Duration) -> Answer<Stores> {
        let left = self.global.deadline.unwrap_or(deadline).saturating_sub(waited);
        // Once they must be asked, to say what is wrong.
        self.all_stores(&RetryPolicy::within(left.max(Duration::from_secs(1)))).await
    }

    /// The same for many pieces of work, each with a deadline of its own. They are found within this time, if that takes a
    /// request.
    pub async fn stores(&self, deadline: Duration) -> Answer<Stores> {
        self.all_stores(&RetryPolicy::within(deadline)).await
    }

    /// The same for who feeds a server as long as it recovers: it never gives up for good, and notices soon that a store is
    /// back.
    pub async fn stores_to_feed_from(&self) -> Answer<Stores> {
        let hasty = RetryPolicy::within(Duration::ZERO);
        let retry = RetryPolicy { deadline: None, attempts: RetryPolicy::default().attempts, ..hasty };
        self.all_stores(&retry).await
    }

    /// Each of the archive's stores by its name, or why it cannot be opened.
    pub async fn each_store(&self, deadline: Duration) -> Answer<Vec<(String, Answer<Arc<dyn Store>>)>> {
        let retry = RetryPolicy::within(self.global.deadline.unwrap_or(deadline));
        let mut each = Vec::new();
        for storage in self.config()?.storages()? {
            let name = storage.name.clone();
            each.push((name, resolve(storage, &retry, &Arc::default()).await.map(|resolved| resolved.store)));
        }
        Ok(each)
    }

    /// `--deadline`, where it was given.
    pub fn deadline(&self) -> Option<Duration> {
        self.global.deadline
    }

    /// The environment.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The store of another prefix, with the same settings, taken as it is written: that nothing of an archive is at it
    /// itself tells nothing of what it means.
    pub fn store_at(&self, url: &str) -> Answer<Arc<dyn Store>> {
        let config = Config::resolve(&Flags { prefix: Some(url.to_owned()), ..self.flags.clone() }, &self.environment)?;
        let (location, settings) = config.place()?;
        let retry = self.global.deadline.map_or_else(RetryPolicy::default, RetryPolicy::within);
        Ok(open::open(&location, &StoreSettings { retry, ..settings })?)
    }

    async fn open(&self, deadline: Option<Duration>) -> Answer<Arc<dyn Store>> {
        let config = self.config()?;
        if config.leaves_out_stores() {
            let target = Id::WALG_TARGET_STORAGE;
            tracing::warn!("the failover storages are not looked at here: {target:?} names one that is, instead");
        }
        let retry = deadline.map_or_else(RetryPolicy::default, RetryPolicy::within);
        Ok(resolve(config.storage()?, &retry, &Arc::default()).await?.store)
    }

    async fn all_stores(&self, retry: &RetryPolicy) -> Answer<Stores> {
        let counters = Arc::default();
        let mut storages = self.config()?.storages()?.into_iter();
        let no_store = || Error::new(Code::InternalBug, "there is no store");
        let first = resolve(storages.next().ok_or_else(no_store)?, retry, &counters).await?.bare;
        let mut others = Vec::new();
        for storage in storages {
            others.push(resolve(storage, retry, &counters).await?.bare);
        }
        Ok(Stores::new(first, others, retry, &counters))
    }
}

/// Find out which place its prefix means, and open it.
async fn resolve(storage: Storage, retry: &RetryPolicy, counters: &Arc<Counters>) -> Answer<open::Resolved> {
    let settings = StoreSettings { retry: retry.clone(), counters: Arc::clone(counters), ..storage.settings };
    let resolved = open::resolve(&storage.location, &settings).await?;
    for place in &resolved.passed_over {
        tracing::info!("{place} holds no archive, {} does: the prefix can mean both", resolved.location);
    }
    Ok(resolved)
}

/// A file name that people recognise, and that no two archives share.
fn ledger_name(url: &str) -> String {
    let words = url.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = words.collect::<Vec<_>>().join("-");
    name.truncate(80);
    let digest = Sha256::digest(url.as_bytes());
    let digits: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{name}-{digits}.sqlite")
}

/// The `wal-r-fetch` beside this `wal-r`, if there is one that can be run; it looks for a program of that name itself.
fn quick_twin(program: &str) -> Option<String> {
    let folder = program.strip_suffix("wal-r").filter(|folder| folder.ends_with('/'))?;
    let twin = format!("{folder}wal-r-fetch");
    let runs = std::fs::metadata(&twin).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    runs.then_some(twin)
}

#[cfg(test)]
mod tests;
