//! `backup-list` as WAL-E's text, WAL-G's JSON, a table, or a document.
//!
//! In: [`Report`]. Out: text. Never: prints, or puts anything into WAL-E's and WAL-G's forms that is no restorable backup:
//! their readers count lines and elements.
//! Source: WAL-E `wal_e/operator/backup.py` (`backup_list`), WAL-G `internal/backup_list_handler.go`.

use super::{document, json, plain, table};
use crate::commands::backup_list::{Backup, Report};
use crate::error::Answer;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value};

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Seven columns, tabs, CRLF.
    WalE {
        /// Columns 3, 6, 7 are filled.
        detail: bool,
    },
    /// A bare array.
    WalGJson {
        /// Indented.
        pretty: bool,
        /// All keys.
        detail: bool,
    },
    /// For people.
    Table {
        /// All columns, and what is no backup.
        detail: bool,
    },
    /// Everything, with `schema` and `version`.
    Document,
}

/// The report in this flavour.
pub fn render(report: &Report, flavour: Flavour) -> Answer<String> {
    match flavour {
        Flavour::WalE { detail } => Ok(wal_e(report, detail)),
        Flavour::WalGJson { pretty, detail } => {
            let array: Vec<Value> = report.backups.iter().map(|backup| wal_g(backup, detail)).collect();
            if pretty { json(&array) } else { Ok(Value::Array(array).to_string() + "\n") }
        }
        Flavour::Table { detail } => Ok(people(report, detail)),
        Flavour::Document => document("wal-r.backup-list", 1, report),
    }
}

const HEADER: &str = "name\tlast_modified\texpanded_size_bytes\twal_segment_backup_start\t\
                      wal_segment_offset_backup_start\twal_segment_backup_stop\twal_segment_offset_backup_stop\r\n";

fn wal_e(report: &Report, detail: bool) -> String {
    let mut backups: Vec<&Backup> = report.backups.iter().collect();
    // The order of keys, as S3 lists them: WAL-E does not sort.
    backups.sort_by_key(|backup| backup.name.sentinel_key());
    let mut text = HEADER.to_owned();
    for backup in backups {
        let sentinel = backup.sentinel.as_ref().filter(|_| detail);
        let size = sentinel.and_then(|sentinel| sentinel.expanded_bytes).map(|size| size.to_string());
        let stop = sentinel.and_then(|sentinel| sentinel.stop_segment).map(|stop| stop.to_string());
        let offset = sentinel.and_then(|sentinel| sentinel.stop_offset).map(|offset| format!("{offset:08}"));
        let row = [
            backup.name.to_string(),
            backup.modified.map(|time| wal_e_time(time, &report.archive)).unwrap_or_default(),
            size.unwrap_or_default(),
            backup.name.start().to_string(),
            backup.name.offset_text().unwrap_or_default().to_owned(),
            stop.unwrap_or_default(),
            offset.unwrap_or_default(),
        ];
        text += &row.join("\t");
        text += "\r\n";
    }
    text
}

/// As WAL-E printed times of this store.
fn wal_e_time(time: Timestamp, archive: &str) -> String {
    let utc = time.to_zoned(TimeZone::UTC).datetime();
    let micros = utc.subsec_nanosecond() / 1000;
    match archive.split_once(':').map(|(scheme, _)| scheme) {
        Some("s3") => format!("{}.{:03}Z", utc.strftime("%Y-%m-%dT%H:%M:%S"), micros / 1000),
        Some("gs" | "azure" | "wabs") => match micros {
            0 => format!("{}+00:00", utc.strftime("%Y-%m-%d %H:%M:%S")),
            micros => format!("{}.{micros:06}+00:00", utc.strftime("%Y-%m-%d %H:%M:%S")),
        },
        _ => {
            let utc = python_time(time).to_zoned(TimeZone::UTC).datetime();
            match utc.subsec_nanosecond() / 1000 {
                0 => utc.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
                micros => format!("{}.{micros:06}", utc.strftime("%Y-%m-%dT%H:%M:%S")),
            }
        }
    }
}

/// A file's time as Python has it: a float of seconds, rounded half to even to microseconds. Up to one off the truth.
fn python_time(time: Timestamp) -> Timestamp {
    let float = time.as_second() as f64 + 1e-9 * f64::from(time.subsec_nanosecond());
    let micros = (float.fract() * 1e6).round_ties_even() as i64;
    let rounded = (float.trunc() as i64).saturating_mul(1_000_000).saturating_add(micros);
    Timestamp::from_microsecond(rounded).unwrap_or(time)
}

#[cfg(test)]
mod tests;

/// WAL-G's keys, then ours.
pub(super) fn wal_g(backup: &Backup, detail: bool) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), value);
        }
    };
    let text = |value: String| Some(Value::String(value));
    put("backup_name", text(backup.name.to_string()));
    put("time", backup.modified.map(|time| time.to_string().into()));
    put("wal_file_name", text(backup.name.start().to_string()));
    put("storage_name", text("default".to_owned()));
    if let Some(sentinel) = backup.sentinel.as_ref().filter(|_| detail) {
        let size = sentinel.expanded_bytes;
        put("start_time", sentinel.start_time.map(|time| time.to_string().into()));
        put("finish_time", sentinel.finish_time.map(|time| time.to_string().into()));
        put("hostname", sentinel.hostname.clone().map(Value::String));
        put("data_dir", sentinel.data_dir.clone().map(Value::String));
        put("pg_version", sentinel.server_version.map(Value::from));
        put("start_lsn", sentinel.start_lsn.map(|lsn| lsn.0.into()));
        put("finish_lsn", sentinel.finish_lsn.map(|lsn| lsn.0.into()));
        put("is_permanent", sentinel.permanent.map(Value::from));
        put("system_identifier", sentinel.system.map(|system| system.0.into()));
        put("uncompressed_size", size.map(Value::from));
        put("compressed_size", sentinel.compressed_bytes.map(Value::from));
        put("user_data", sentinel.user_data.clone());
        put("wal_segment_backup_stop", sentinel.stop_segment.map(|stop| stop.to_string().into()));
        put("wal_segment_offset_backup_stop", sentinel.stop_offset.map(Value::from));
    }
    put("latest", Some(backup.latest.into()));
    put("error", backup.trouble.as_ref().map(|error| error.chain().into()));
    Value::Object(map)
}

fn people(report: &Report, detail: bool) -> String {
    let dash = || "-".to_owned();
    let time = |time: Option<Timestamp>| time.map_or_else(dash, |time| format!("{time:.0}"));
    let mut text = if detail {
        let rows = report.backups.iter().map(|backup| {
            let sentinel = backup.sentinel.as_ref();
            let stop = sentinel.and_then(|one| match (one.finish_lsn, one.stop_segment) {
                (Some(lsn), _) => Some(lsn.to_string()),
                (None, stop) => stop.map(|stop| stop.to_string()),
            });
            let size = sentinel.and_then(|one| one.expanded_bytes);
            let host = sentinel.and_then(|one| one.hostname.clone());
            [
                backup.name.to_string(),
                time(backup.modified),
                time(sentinel.and_then(|one| one.finish_time)),
                size.map_or_else(dash, super::bytes),
                stop.unwrap_or_else(dash),
                host.map_or_else(dash, |host| plain(&host)),
                state(backup),
            ]
        });
        table(["NAME", "MODIFIED", "FINISHED", "SIZE", "STOPS AT", "HOST", ""], rows)
    } else {
        let row = |backup: &Backup| {
            [backup.name.to_string(), time(backup.modified), backup.name.start().to_string(), state(backup)]
        };
        table(["NAME", "MODIFIED", "WAL SEGMENT", ""], report.backups.iter().map(row))
    };
    if detail {
        for name in &report.unfinished {
            text += &format!("{name}  unfinished: no sentinel\n");
        }
        for key in &report.foreign {
            text += &format!("{}  foreign\n", plain(key.as_str()));
        }
    }
    text
}

fn state(backup: &Backup) -> String {
    match (&backup.trouble, backup.latest) {
        (Some(error), _) => format!("[{}]", error.code()),
        (None, true) => "LATEST".to_owned(),
        (None, false) => String::new(),
    }
}
