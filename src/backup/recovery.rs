//! Recovery settings, in the form that the restored version wants.
//!
//! In: what recovery shall do, and the version. Out: the text of the files to write. Never: writes one, puts a secret
//! into one, or leaves settings of the source in force that would steer this recovery (an old target, a cleanup command
//! that deletes from the archive).
//!
//! Before 12: `recovery.conf`. From 12: lines in `postgresql.auto.conf`, read after `postgresql.conf`, and a signal file.
//! Source: PostgreSQL `src/backend/access/transam/xlogrecovery.c`, `src/backend/utils/misc/guc-file.l`.

use crate::error::{Answer, Code, Error};
use crate::pg::version::PgVersion;
use crate::pg::{Lsn, TargetTimeline};
use jiff::Timestamp;
use serde::Serialize;

/// What recovery shall do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// The shell command that fetches one file, `%f` and `%p` in it.
    pub restore_command: String,
    /// Where to stop. `None`: at the end of the archive.
    pub target: Option<RecoveryTarget>,
    /// Stop behind the target (the default), or before it.
    pub inclusive: Option<bool>,
    /// Which timeline to follow.
    pub timeline: TargetTimeline,
    /// What to do at the target.
    pub action: Option<Action>,
    /// Go on for ever as a standby.
    pub standby: bool,
}

/// Where recovery stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryTarget {
    /// Before the first commit later than this.
    Time(Timestamp),
    /// At this place in the WAL (10 and later).
    Lsn(Lsn),
    /// At the end of this transaction.
    Xid(u64),
    /// At this restore point.
    Name(String),
    /// As soon as the backup is consistent.
    Immediate,
}

/// What the server does when it has reached the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Wait, read only, until somebody resumes: the server's default.
    Pause,
    /// Open for writing.
    Promote,
    /// Stop.
    Shutdown,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Pause => "pause",
            Action::Promote => "promote",
            Action::Shutdown => "shutdown",
        }
    }
}

/// The files that make it happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Files {
    /// The file that gets `lines`: `recovery.conf` or `postgresql.auto.conf`.
    pub file: &'static str,
    /// The settings, one a line, without line ends.
    pub lines: Vec<String>,
    /// The empty file whose presence starts recovery, from 12 on.
    pub signal: Option<&'static str>,
    /// Files of the source's recovery that must not be there.
    pub remove: Vec<&'static str>,
}

/// Decides what is written for this version.
pub fn files(recovery: &Recovery, version: PgVersion) -> Answer<Files> {
    let unusable = |what: String| Err(Error::new(Code::UsageTarget, what));
    let mut lines = vec![setting("restore_command", &recovery.restore_command)?];
    if let Some(target) = &recovery.target {
        let (name, value) = match target {
            // Microseconds are what the server compares; the zone is spelled out, so no setting can shift it.
            RecoveryTarget::Time(time) => ("recovery_target_time", server_time(*time)),
            RecoveryTarget::Lsn(_) if !version.has_target_lsn() => {
                return unusable(format!("PostgreSQL {version} has no recovery target by LSN; 10 and later have"));
            }
            RecoveryTarget::Lsn(lsn) => ("recovery_target_lsn", lsn.to_string()),
            RecoveryTarget::Xid(xid) => ("recovery_target_xid", xid.to_string()),
            RecoveryTarget::Name(name) if name.len() > 63 => {
                return unusable("the name of a restore point has at most 63 bytes".to_owned());
            }
            RecoveryTarget::Name(name) => ("recovery_target_name", name.clone()),
            RecoveryTarget::Immediate => ("recovery_target", "immediate".to_owned()),
        };
        lines.push(setting(name, &value)?);
        if let Some(inclusive) = recovery.inclusive {
            lines.push(setting("recovery_target_inclusive", if inclusive { "on" } else { "off" })?);
        }
        if let Some(action) = recovery.action {
            lines.push(setting("recovery_target_action", action.word())?);
        }
    }
    match recovery.timeline {
        // Until 11 the backup's own timeline has no word: it is what happens without the setting.
        TargetTimeline::Current if !version.follows_latest_by_default() => {}
        timeline => lines.push(setting("recovery_target_timeline", &timeline.to_string())?),
    }
    if version.has_recovery_conf() {
        if recovery.standby {
            lines.push(setting("standby_mode", "on")?);
        }
        return Ok(Files { file: "recovery.conf", lines, signal: None, remove: vec!["recovery.done"] });
    }
    let (signal, other) = match recovery.standby {
        true => ("standby.signal", "recovery.signal"),
        false => ("recovery.signal", "standby.signal"),
    };
    let remove = vec![other, "recovery.conf", "recovery.done"];
    Ok(Files { file: "postgresql.auto.conf", lines, signal: Some(signal), remove })
}

/// A time as every version reads it, whatever its DateStyle and TimeZone.
pub fn server_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string()
}

/// `name = 'value'`, quoted as the server unquotes it.
pub fn setting(name: &str, value: &str) -> Answer<String> {
    if value.contains(['\n', '\r', '\0']) {
        return Err(Error::new(Code::UsageArgument, format!("the value of {name} holds a line end")));
    }
    Ok(format!("{name} = '{}'", value.replace('\\', "\\\\").replace('\'', "''")))
}

/// A restore_command: the program with its arguments, each quoted for `/bin/sh`, then the two places the server fills
/// in. A percent sign of ours is doubled, so that the server does not fill it in.
pub fn restore_command(words: &[String]) -> String {
    let mut command: Vec<String> = words.iter().map(|word| shell_word(word).replace('%', "%%")).collect();
    command.extend(["\"%f\"".to_owned(), "\"%p\"".to_owned()]);
    command.join(" ")
}

/// A word as `/bin/sh` and people at a terminal take it.
pub fn shell_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@,+%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The marks around our lines, so that a second run replaces them.
const BEGIN: &str = "# written by wal-r backup-fetch; a later run replaces these lines";
const END: &str = "# end of what wal-r backup-fetch wrote";

/// `postgresql.auto.conf` with our lines at its end, where they win. Settings of the source that would steer recovery
/// are made comments; the second value names them.
pub fn merge(old: &str, lines: &[String]) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut disarmed = Vec::new();
    let mut ours = false;
    for line in old.lines() {
        match line {
            BEGIN => ours = true,
            END => ours = false,
            _ if ours => {}
            _ => match setting_name(line).filter(|name| steers_recovery(name)) {
                Some(name) => {
                    disarmed.push(name.to_owned());
                    text.push_str(&format!("# of the source: {line}\n"));
                }
                None => text.push_str(&format!("{line}\n")),
            },
        }
    }
    text.push_str(BEGIN);
    text.push('\n');
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(END);
    text.push('\n');
    (text, disarmed)
}

/// The name a line of a settings file sets.
fn setting_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(line.len());
    line.get(..end).filter(|name| !name.is_empty())
}

fn steers_recovery(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let exact = ["restore_command", "archive_cleanup_command", "recovery_end_command", "recovery_min_apply_delay"];
    exact.contains(&name.as_str()) || name == "recovery_target" || name.starts_with("recovery_target_")
}

/// The value that a settings file gives a name; the last one wins.
pub fn value_of(text: &str, name: &str) -> Option<String> {
    let line = text.lines().rfind(|line| setting_name(line).is_some_and(|found| found.eq_ignore_ascii_case(name)))?;
    let rest = line.trim_start().get(name.len()..)?.trim_start();
    let value = rest.strip_prefix('=').unwrap_or(rest).trim();
    match value.strip_prefix('\'') {
        Some(quoted) => {
            let end = quoted.rfind('\'')?;
            Some(quoted.get(..end)?.replace("''", "'"))
        }
        None => Some(value.split(['#', ' ']).next().unwrap_or_default().to_owned()),
    }
}

#[cfg(test)]
mod tests;
