//! `..._backup_stop_sentinel.json`, in every shape that WAL-E and WAL-G wrote.
//!
//! In: the object's bytes. Out: [`Sentinel`]. Never: fails on a key it does not know, trusts a path in it, or loses a
//! number above 2^53. WAL-E's say where the backup stopped; where it started is only in the object's name. WAL-G's say
//! both, and when; version 1 lacks the times.
//! Source: WAL-E `wal_e/operator/backup.py`, WAL-G `internal/databases/postgres/backup_sentinel_dto.go`.

use crate::pg::{Lsn, SegmentName, SystemId};
use serde::Serialize;
use serde_json::{Map, Value};

/// Largest sentinel that is read. Real ones have some hundred bytes; early WAL-G's listed every file in them.
pub const MAX_BYTES: u64 = 256 << 20;

/// What a sentinel says. Every field is what was written, or `None`; nothing is filled in.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sentinel {
    /// Which program wrote it.
    pub origin: Origin,
    /// WAL-E: the segment that holds the stop position, the last one needed for consistency.
    pub stop_segment: Option<SegmentName>,
    /// WAL-E: the stop position within that segment, bytes. Only its first eight decimal digits were kept, so it is
    /// not to be trusted where segments are larger than 64 MiB.
    pub stop_offset: Option<u64>,
    /// Bytes of all regular files when the backup walked them. WAL-E: files that vanished are counted, tar headers not.
    pub expanded_bytes: Option<u64>,
    /// Where the tablespaces were. `None` where the key is missing (WAL-E before 0.7, WAL-G without tablespaces).
    pub spec: Option<Spec>,
    /// WAL-G: start LSN.
    pub start_lsn: Option<Lsn>,
    /// WAL-G: stop LSN.
    pub finish_lsn: Option<Lsn>,
    /// WAL-G: the cluster.
    pub system: Option<SystemId>,
    /// WAL-G: `server_version_num`, such as 130023.
    pub server_version: Option<u32>,
    /// WAL-G: when it began (version 2).
    pub start_time: Option<jiff::Timestamp>,
    /// WAL-G: when it ended (version 2).
    pub finish_time: Option<jiff::Timestamp>,
    /// WAL-G: stored bytes.
    pub compressed_bytes: Option<u64>,
    /// WAL-G: what it is a delta of.
    pub delta: Option<Delta>,
    /// WAL-G: kept by retention when it was made. `metadata.json` has the last word.
    pub permanent: Option<bool>,
    /// WAL-G: the host it was made on.
    pub hostname: Option<String>,
    /// WAL-G: its data directory there.
    pub data_dir: Option<String>,
    /// WAL-G: what the user gave along.
    pub user_data: Option<Value>,
    /// WAL-G: there is no `files_metadata.json`.
    pub files_metadata_disabled: bool,
    /// Names of the keys that nobody knows, in their order.
    pub unknown: Vec<String>,
}

/// Which program wrote a sentinel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// `wal_segment_backup_stop` and so on.
    #[default]
    WalE,
    /// The fields of version 1 only: no times.
    WalG1,
    /// `Version` 2: with times.
    WalG2,
}

/// A delta backup's place in its chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delta {
    /// Pages from this LSN on are in the increments.
    pub since: Lsn,
    /// Name of the direct parent; empty for a catch-up.
    pub from: String,
    /// Name of the full backup at the root.
    pub full: String,
    /// 1 for the first delta.
    pub count: u64,
}

/// Where the data directory and the tablespaces were on the source host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Spec {
    /// The data directory. For people: nothing is ever written there because a sentinel says so.
    pub base_prefix: Option<String>,
    /// In the order of the sentinel.
    pub tablespaces: Vec<Tablespace>,
}

/// One tablespace of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tablespace {
    /// Name of its entry in `pg_tblspc`. Digits in everything PostgreSQL makes; not checked here.
    pub name: String,
    /// Where the entry pointed. `None` where the sentinel lists the name without its object.
    pub location: Option<String>,
}

/// Bytes that are no sentinel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SentinelError {
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(String),
    /// JSON, but not an object.
    #[error("JSON, but not an object")]
    NotAnObject,
    /// None of the keys that tell a sentinel from any other JSON.
    #[error("neither WAL-E's nor WAL-G's keys are in it")]
    Foreign,
    /// A key has a value of the wrong kind.
    #[error("`{key}` is {found}, expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wanted there.
        expected: &'static str,
        /// What stands there, cut to a length people can read.
        found: String,
    },
    /// `DeltaFrom` without the rest of the chain's fields.
    #[error("`DeltaFrom` is there, `{0}` is not")]
    HalfDelta(&'static str),
}

impl Sentinel {
    /// Reads a sentinel. Whose it is shows in its keys.
    pub fn parse(bytes: &[u8]) -> Result<Sentinel, SentinelError> {
        // Editors leave byte order marks.
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let value: Value = serde_json::from_slice(bytes).map_err(|error| SentinelError::Json(error.to_string()))?;
        let Value::Object(map) = value else { return Err(SentinelError::NotAnObject) };
        let mut fields = Fields { map };
        let sentinel = if fields.has_any(&WAL_E_KEYS) {
            wal_e(&mut fields)?
        } else if fields.has_any(&WAL_G_KEYS) {
            wal_g(&mut fields)?
        } else {
            return Err(SentinelError::Foreign);
        };
        Ok(Sentinel { unknown: fields.map.keys().cloned().collect(), ..sentinel })
    }

    /// Did WAL-E write it?
    pub fn is_wal_e(&self) -> bool {
        self.origin == Origin::WalE
    }
}

const WAL_E_KEYS: [&str; 5] = [
    "wal_segment_backup_stop",
    "wal_segment_offset_backup_stop",
    "expanded_size_bytes",
    "wal_segment", // layout 004
    "wal_segment_offset",
];
const WAL_G_KEYS: [&str; 6] = ["LSN", "FinishLSN", "PgVersion", "UncompressedSize", "SystemIdentifier", "DeltaFrom"];

fn wal_e(fields: &mut Fields) -> Result<Sentinel, SentinelError> {
    let stop = match fields.text("wal_segment_backup_stop")? {
        Some(text) => Some(segment("wal_segment_backup_stop", &text)?),
        None => match fields.text("wal_segment")? {
            Some(text) => Some(segment("wal_segment", &text)?),
            None => None,
        },
    };
    // The digits are decimal; `00000312` must not be read as octal, nor as hexadecimal.
    let offset = match fields.number("wal_segment_offset_backup_stop")? {
        Some(offset) => Some(offset),
        None => fields.number("wal_segment_offset")?,
    };
    Ok(Sentinel {
        origin: Origin::WalE,
        stop_segment: stop,
        stop_offset: offset,
        expanded_bytes: fields.number("expanded_size_bytes")?,
        spec: fields.spec("spec")?,
        ..Sentinel::default()
    })
}

fn segment(key: &'static str, text: &str) -> Result<SegmentName, SentinelError> {
    text.parse().map_err(|_| SentinelError::Value { key, expected: "a segment name", found: short(text) })
}

fn wal_g(fields: &mut Fields) -> Result<Sentinel, SentinelError> {
    let lsn = |number: Option<u64>| number.map(Lsn);
    let from = fields.text("DeltaFrom")?;
    let since = match fields.number("DeltaLSN")? {
        Some(since) => Some(since),
        None => fields.number("DeltaFromLSN")?, // the oldest name of the key
    };
    let full = fields.text("DeltaFullName")?;
    let count = fields.number("DeltaCount")?;
    let delta = match from {
        None => None,
        Some(from) => Some(Delta {
            from,
            since: lsn(since).ok_or(SentinelError::HalfDelta("DeltaLSN"))?,
            full: full.ok_or(SentinelError::HalfDelta("DeltaFullName"))?,
            count: count.ok_or(SentinelError::HalfDelta("DeltaCount"))?,
        }),
    };
    let start_time = fields.time("StartTime")?;
    let finish_time = fields.time("FinishTime")?;
    let version = fields.number("Version")?;
    let spec = match fields.spec("Spec")? {
        Some(spec) => Some(spec),
        None => fields.spec("spec")?,
    };
    for told in ["DateFmt", "DataCatalogSize", "ChkpNum", "DeltaChkpNum", "Files", "TarFileSets", "DatabasesByNames"] {
        fields.map.shift_remove(told);
    }
    Ok(Sentinel {
        origin: if version >= Some(2) || finish_time.is_some() { Origin::WalG2 } else { Origin::WalG1 },
        expanded_bytes: fields.number("UncompressedSize")?,
        compressed_bytes: fields.number("CompressedSize")?,
        spec,
        start_lsn: lsn(fields.number("LSN")?),
        finish_lsn: lsn(fields.number("FinishLSN")?),
        system: fields.number("SystemIdentifier")?.map(SystemId),
        server_version: fields.number("PgVersion")?.and_then(|number| u32::try_from(number).ok()),
        start_time,
        finish_time,
        delta,
        permanent: fields.flag("IsPermanent")?,
        hostname: fields.text("Hostname")?,
        data_dir: fields.text("DataDir")?,
        user_data: fields.map.shift_remove("UserData"),
        files_metadata_disabled: fields.flag("FilesMetadataDisabled")?.unwrap_or(false),
        ..Sentinel::default()
    })
}

/// The object's keys; each is taken out when it is read, so that what is left is unknown. `null` is absent.
struct Fields {
    map: Map<String, Value>,
}

impl Fields {
    fn has_any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.map.contains_key(*key))
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &'static str) -> Result<Option<String>, SentinelError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(key, "a text", &other)),
        }
    }

    /// An unsigned number; people who edit by hand put it between quotes.
    fn number(&mut self, key: &'static str) -> Result<Option<u64>, SentinelError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => digits(text.trim()),
            _ => None,
        };
        number.map(Some).ok_or_else(|| wrong(key, "an unsigned number", &value))
    }

    fn flag(&mut self, key: &'static str) -> Result<Option<bool>, SentinelError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong(key, "true or false", &other)),
        }
    }

    fn time(&mut self, key: &'static str) -> Result<Option<jiff::Timestamp>, SentinelError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        // Go's zero time: nobody filled it in.
        if text.starts_with("0001-01-01") {
            return Ok(None);
        }
        let time = text.parse().map_err(|_| wrong(key, "a time as in RFC 3339", &Value::String(text)))?;
        Ok(Some(time))
    }

    fn spec(&mut self, key: &'static str) -> Result<Option<Spec>, SentinelError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        Spec::from_json(&value).map(Some)
    }
}

impl Spec {
    /// Reads a tablespace specification: the sentinel's, or a file given with `--restore-spec`.
    pub fn parse(bytes: &[u8]) -> Result<Spec, SentinelError> {
        let value = serde_json::from_slice(bytes).map_err(|error| SentinelError::Json(error.to_string()))?;
        Spec::from_json(&value)
    }

    fn from_json(value: &Value) -> Result<Spec, SentinelError> {
        let Value::Object(map) = value else { return Err(wrong("spec", "an object", value)) };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let names = match map.get("tablespaces") {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(names)) => names,
            Some(other) => return Err(wrong("tablespaces", "a list", other)),
        };
        let tablespaces = names
            .iter()
            .map(|name| {
                let name = match name {
                    Value::String(name) => name.clone(),
                    Value::Number(oid) => oid.to_string(),
                    other => return Err(wrong("tablespaces", "a list of texts", other)),
                };
                let location = text(map.get(&name).and_then(|entry| entry.get("loc")));
                Ok(Tablespace { name, location })
            })
            .collect::<Result<_, _>>()?;
        Ok(Spec { base_prefix: text(map.get("base_prefix")), tablespaces })
    }

    /// Where a tablespace was, by the name of its entry in `pg_tblspc`.
    pub fn location(&self, name: &str) -> Option<&str> {
        self.tablespaces.iter().find(|one| one.name == name)?.location.as_deref()
    }
}

fn digits(text: &str) -> Option<u64> {
    let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if valid { text.parse().ok() } else { None }
}

fn wrong(key: &'static str, expected: &'static str, value: &Value) -> SentinelError {
    SentinelError::Value { key, expected, found: short(&value.to_string()) }
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
