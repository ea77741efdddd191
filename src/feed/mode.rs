//! Which recovery is asking for a WAL file: point in time, standby, pg_rewind, a person.
//!
//! In: the working directory (PostgreSQL runs a restore_command in its data directory), the destination, the name asked
//! for. Out: [`Mode`], with the reason in words. Never: guesses towards the dangerous side: where a point-in-time
//! recovery could be asking, a failure must stop it.
//! Source: PostgreSQL `xlogrecovery.c` (`readRecoverySignalFile`), `guc-file.l`, `pg_rewind`.
//!
//! | in the data directory | who asks |
//! |---|---|
//! | `standby.signal` (12 on), or `recovery.conf` with `standby_mode = on` (before 12) | a standby |
//! | `recovery.signal` (12 on), or another `recovery.conf` (before 12) | a point-in-time recovery |
//! | none of them; the destination has the file's own name | pg_rewind, or a person |
//! | none of them; the destination is RECOVERYXLOG or RECOVERYHISTORY | a server at the end of its recovery, or 12 after a crash: nobody who would lose anything by "not there" |
//!
//! Settings come from `recovery.conf` (before 12), else from `postgresql.conf` with its includes, `postgresql.auto.conf`
//! and the command line in `postmaster.opts`. Not looked at: `ALTER SYSTEM` not yet read by the server, settings of the
//! environment (`PGOPTIONS` does not reach the startup process).

use crate::layout::WalFile;
use crate::pg::control::{ControlError, ControlFile};
use crate::pg::history::TimelineHistory;
use crate::pg::version::PgVersion;
use crate::pg::{Lsn, TargetTimeline};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// A recovery that ends, and promotes, when a file is "not there".
    PointInTime,
    /// A standby: it asks again.
    Standby,
    /// pg_rewind, by the destination's name; it wants this one file.
    Rewind,
    /// Somebody else: a person, a script, a server that has finished its recovery.
    Other,
}

impl Who {
    /// For messages.
    pub fn words(self) -> &'static str {
        match self {
            Who::PointInTime => "point-in-time recovery",
            Who::Standby => "standby",
            Who::Rewind => "pg_rewind or a person",
            Who::Other => "no recovery",
        }
    }
}

/// What recovery was told to reach, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Is there a recovery target at all (time, LSN, transaction, name, immediate)?
    pub set: bool,
    /// It is this LSN.
    pub lsn: Option<Lsn>,
    /// `recovery_target_timeline`, as the version understands it.
    pub timeline: TargetTimeline,
}

/// Who asks, and what its data directory says.
#[derive(Debug, Clone)]
pub struct Mode {
    /// Who.
    pub who: Who,
    /// How that was found out, for messages.
    pub because: String,
    /// The data directory, where one was found.
    pub data: Option<PathBuf>,
    /// Its pg_control, where it can be read.
    pub control: Option<ControlFile>,
    /// Why there is no pg_control although its file is there.
    pub control_trouble: Option<String>,
    /// The major version in `PG_VERSION`.
    pub version: Option<PgVersion>,
    /// The recovery target.
    pub target: Target,
    /// The timeline histories in its WAL directory: every timeline that recovery decided to follow is among them.
    pub histories: Vec<TimelineHistory>,
    /// Why they cannot be read, although they may be there.
    pub histories_trouble: Option<String>,
    /// Does the server throw the destination away after a crash? Then it need not be synced.
    pub transient: bool,
}

impl Mode {
    /// Look. `directory` is the working directory; `forced` is what `--mode` said.
    pub fn find(directory: &Path, file: &WalFile, destination: &Path, forced: Option<Who>) -> Mode {
        let name = destination.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let transient = matches!(name, "RECOVERYXLOG" | "RECOVERYHISTORY");
        let own_name = name == file.to_string();
        let data = data_directory(directory, destination);
        let version = data.as_deref().and_then(|data| PgVersion::parse(&read(&data.join("PG_VERSION"))?));
        let settings = data.as_deref().map(|data| Settings::read(data, version)).unwrap_or_default();
        let (who, because) = match (forced, data.as_deref()) {
            (Some(who), _) => (who, "--mode says so".to_owned()),
            (None, Some(data)) => who(data, version, &settings, own_name),
            (None, None) if own_name => (Who::Rewind, "the destination has the file's own name".to_owned()),
            (None, None) => (Who::Other, "the working directory is no data directory".to_owned()),
        };
        let (control, control_trouble) = match data.as_deref().map(read_control) {
            Some(Ok(control)) => (control, None),
            Some(Err(trouble)) => (None, Some(trouble)),
            None => (None, None),
        };
        let (histories, histories_trouble) = match data.as_deref().map(|data| local_histories(data, version)) {
            Some(Ok(histories)) => (histories, None),
            Some(Err(trouble)) => (Vec::new(), Some(trouble)),
            None => (Vec::new(), None),
        };
        let target = settings.target(version);
        Mode { who, because, data, control, control_trouble, version, target, histories, histories_trouble, transient }
    }

    /// Will the server itself refuse to open when the archive ends before its target?
    pub fn server_guards_its_target(&self) -> bool {
        self.target.set && self.version.is_some_and(PgVersion::refuses_to_miss_its_target)
    }

    /// The histories that recovery may be following, by its settings; the ones it has fetched are in its WAL directory.
    pub fn ways(&self) -> impl Iterator<Item = &TimelineHistory> {
        let wanted = self.target.timeline;
        let start = self.control.as_ref().map(|control| control.timeline);
        self.histories.iter().filter(move |way| match wanted {
            TargetTimeline::Number(number) => way.timeline() == number,
            TargetTimeline::Current => Some(way.timeline()) == start,
            // A history that does not lead on from where the server is, is left over from another life.
            TargetTimeline::Latest => start.is_none_or(|start| way.contains(start)),
        })
    }
}

/// The directory we run in, or the one whose WAL directory the destination is in.
fn data_directory(directory: &Path, destination: &Path) -> Option<PathBuf> {
    // Where it cannot be told, it may be one.
    let is_data = |path: &Path| match fs::metadata(path.join("PG_VERSION")) {
        Ok(about) => about.is_file(),
        Err(error) => !is_absence(&error),
    };
    let of_destination = || {
        let wal = destination.parent()?;
        let named = matches!(wal.file_name()?.to_str()?, "pg_wal" | "pg_xlog");
        let parent = wal.parent().filter(|_| named)?;
        Some(directory.join(parent))
    };
    let here = Some(directory.to_owned()).filter(|path| is_data(path));
    here.or_else(|| of_destination().filter(|path| is_data(path)))
}

fn who(data: &Path, version: Option<PgVersion>, settings: &Settings, own_name: bool) -> (Who, String) {
    let look = |name: &str| fs::metadata(data.join(name)).map(drop);
    let there = |name: &str| look(name).is_ok();
    // A version that does not know a file does not act on it either; an unknown version may know both.
    let signals = version.is_none_or(|version| !version.has_recovery_conf());
    let conf = version.is_none_or(PgVersion::has_recovery_conf);
    if signals && there("standby.signal") {
        return (Who::Standby, "standby.signal is there".to_owned());
    }
    if signals && there("recovery.signal") {
        return (Who::PointInTime, "recovery.signal is there".to_owned());
    }
    if conf && there("recovery.conf") {
        return match settings.flag("standby_mode") {
            true => (Who::Standby, "recovery.conf has standby_mode on".to_owned()),
            false => (Who::PointInTime, "recovery.conf is there".to_owned()),
        };
    }
    // A disk that fails must not turn a recovery that would promote into nobody.
    let names = [("standby.signal", signals), ("recovery.signal", signals), ("recovery.conf", conf)];
    for name in names.into_iter().filter(|(_, known)| *known).map(|(name, _)| name) {
        if let Err(error) = look(name)
            && !is_absence(&error)
        {
            return (Who::PointInTime, format!("it cannot be told whether {name} is there: {error}"));
        }
    }
    match own_name {
        true => (Who::Rewind, "the destination has the file's own name".to_owned()),
        false => (Who::Other, "neither a signal file nor recovery.conf is there".to_owned()),
    }
}

/// Does the system say that there is no such file? All else says nothing about it; but what is closed to us is not the
/// directory of a server whose command we are.
fn is_absence(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

/// pg_control; `Ok(None)` when there is none (a restore that is not finished).
fn read_control(data: &Path) -> Result<Option<ControlFile>, String> {
    let path = data.join("global/pg_control");
    let mut trouble = String::new();
    // The server may be writing it: a torn read shows as a wrong checksum.
    for _ in 0..5 {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        match ControlFile::parse(&bytes) {
            Ok(control) => return Ok(Some(control)),
            Err(error @ ControlError::Checksum { .. }) => trouble = format!("{} {error}", path.display()),
            Err(error) => return Err(format!("{} {error}", path.display())),
        }
    }
    Err(trouble)
}

/// PostgreSQL keeps a copy of every history that it follows. One that is no history is not its own.
fn local_histories(data: &Path, version: Option<PgVersion>) -> Result<Vec<TimelineHistory>, String> {
    let names = version.map_or(["pg_wal", "pg_xlog"].as_slice(), |version| match version.wal_dir() {
        "pg_xlog" => &["pg_xlog"],
        _ => &["pg_wal"],
    });
    let mut histories = Vec::new();
    for folder in names.iter().map(|name| data.join(name)) {
        let trouble = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if is_absence(&error) => continue,
            Err(error) => return Err(trouble(&folder, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| trouble(&folder, error))?;
            let name = entry.file_name();
            let Some(Ok(WalFile::History(timeline))) = name.to_str().map(str::parse) else { continue };
            match fs::read(entry.path()) {
                Ok(bytes) => histories.extend(TimelineHistory::parse(timeline, &bytes)),
                // Renamed or removed since, a directory, or somebody else's.
                Err(error) if is_absence(&error) || error.kind() == std::io::ErrorKind::IsADirectory => {}
                Err(error) => return Err(trouble(&entry.path(), error)),
            }
        }
    }
    histories.sort_by_key(TimelineHistory::timeline);
    Ok(histories)
}

fn read(path: &Path) -> Option<String> {
    // Comments may be in any encoding.
    fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The server's settings: the last value of each name.
#[derive(Debug, Clone, Default)]
struct Settings(BTreeMap<String, String>);

impl Settings {
    fn read(data: &Path, version: Option<PgVersion>) -> Settings {
        let mut settings = Settings::default();
        if version.is_none_or(PgVersion::has_recovery_conf) {
            settings.file(&data.join("recovery.conf"), 0);
        }
        if version.is_none_or(|version| !version.has_recovery_conf()) {
            let options = read(&data.join("postmaster.opts")).map(|text| command_line(&text)).unwrap_or_default();
            // Debian keeps the file elsewhere and says so on the command line.
            let elsewhere =
                options.iter().rev().find(|(name, _)| name == "config_file").map(|(_, path)| data.join(path));
            settings.file(&elsewhere.unwrap_or_else(|| data.join("postgresql.conf")), 0);
            settings.file(&data.join("postgresql.auto.conf"), 0);
            settings.0.extend(options);
        }
        settings
    }

    fn file(&mut self, path: &Path, depth: usize) {
        // The server gives up at the same depth.
        let Some(text) = read(path).filter(|_| depth <= 10) else { return };
        let folder = path.parent().unwrap_or(Path::new("."));
        for (name, value) in text.lines().filter_map(line) {
            match name.as_str() {
                "include" | "include_if_exists" => self.file(&folder.join(value), depth + 1),
                "include_dir" => {
                    let entries = fs::read_dir(folder.join(value)).into_iter().flatten().flatten();
                    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
                    files.retain(|path| {
                        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                        name.ends_with(".conf") && !name.starts_with('.')
                    });
                    files.sort();
                    files.iter().for_each(|path| self.file(path, depth + 1));
                }
                _ => {
                    self.0.insert(name, value);
                }
            }
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A boolean as the server takes it: any unambiguous beginning of on, true, yes, or 1.
    fn flag(&self, name: &str) -> bool {
        let value = self.get(name).unwrap_or_default().to_ascii_lowercase();
        value == "1"
            || value == "on"
            || (!value.is_empty() && ("true".starts_with(&value) || "yes".starts_with(&value)))
    }

    fn target(&self, version: Option<PgVersion>) -> Target {
        let kinds = ["recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid"];
        let lsn = self.get("recovery_target_lsn");
        let default = match version {
            Some(version) if !version.follows_latest_by_default() => TargetTimeline::Current,
            _ => TargetTimeline::Latest,
        };
        Target {
            set: lsn.is_some() || kinds.iter().any(|name| self.get(name).is_some()),
            lsn: lsn.and_then(|lsn| lsn.parse().ok()),
            timeline: match self.get("recovery_target_timeline") {
                Some(text) => text.parse().unwrap_or(default),
                None => default,
            },
        }
    }
}

/// One line of a settings file: `name = 'value'`, the sign and the quotes optional.
fn line(text: &str) -> Option<(String, String)> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.')).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end).filter(|(name, _)| !name.is_empty())?;
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let mut value = String::new();
    if let Some(quoted) = rest.strip_prefix('\'') {
        let mut characters = quoted.chars().peekable();
        while let Some(c) = characters.next() {
            match (c, characters.peek()) {
                ('\'', Some('\'')) => value.extend(characters.next()),
                ('\'', _) => break,
                ('\\', Some(_)) => value.extend(characters.next()),
                _ => value.push(c),
            }
        }
    } else {
        value.extend(rest.chars().take_while(|c| !c.is_whitespace() && *c != '#'));
    }
    Some((name.to_ascii_lowercase(), value))
}

/// Settings on the server's command line, from `postmaster.opts`: `/usr/bin/postgres "-D" "/data" "-c" "name=value"`.
fn command_line(text: &str) -> Vec<(String, String)> {
    let words: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let setting = match word {
            "-c" => words.next(),
            _ => word.strip_prefix("--").or_else(|| word.strip_prefix("-c")),
        };
        if let Some((name, value)) = setting.and_then(|setting| setting.split_once('=')) {
            settings.push((name.replace('-', "_").to_ascii_lowercase(), value.to_owned()));
        }
    }
    settings
}

#[cfg(test)]
mod tests;
