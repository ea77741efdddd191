//! `backup-show`: all that an archive says about one base backup.
//!
//! In: a name or LATEST. Out: [`Report`]: sentinel, partitions, version, and where the primary archived one, the backup
//! history file. Never: opens a partition, or fails because something beside the sentinel is missing.

use super::backup_list::{self, Options};
use crate::backup::sentinel::Sentinel;
use crate::catalog::scan;
use crate::error::{Answer, Code, Error};
use crate::layout::entry::PartName;
use crate::layout::{self, BackupName, Compression, ObjectKey, WalFile};
use crate::pg::Lsn;
use crate::pg::label::BackupHistoryFile;
use crate::proof::survey;
use crate::storage::Store;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// All that an archive says about one base backup.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub name: BackupName,
    /// Its folder.
    pub url: String,
    /// Was its sentinel written? Without one it failed, or is being taken just now.
    pub finished: bool,
    /// When the store says that the sentinel was written.
    pub modified: Option<Timestamp>,
    /// What the sentinel says.
    pub sentinel: Option<Sentinel>,
    /// Why it cannot be read.
    pub trouble: Option<String>,
    /// How many partitions there are.
    pub partitions: usize,
    /// Their stored bytes.
    pub stored_bytes: u64,
    /// How many of them by suffix.
    pub compressions: BTreeMap<String, usize>,
    /// Numbers that are missing among WAL-E's partitions, which have none missing.
    pub missing_parts: Vec<u32>,
    /// `extended_version.txt`.
    pub version: Option<String>,
    /// From the backup history file.
    pub history: Option<History>,
    /// Objects in its folder that no original wrote.
    pub foreign: Vec<ObjectKey>,
}

/// What the primary archived about the backup's end.
#[derive(Debug, Serialize)]
pub struct History {
    /// Start of replay.
    pub start_lsn: Lsn,
    /// The first byte that is not needed.
    pub stop_lsn: Lsn,
    /// As the server printed it.
    pub start_time: Option<String>,
    /// As the server printed it.
    pub stop_time: Option<String>,
    /// The name it was given.
    pub label: Option<String>,
}

/// Look it up.
pub async fn run(store: &dyn Store, name: &str) -> Answer<Report> {
    let absent = |what: String| Error::new(Code::AbsentBackup, what).on(store.url());
    let name: BackupName = match name {
        "LATEST" => {
            let all = backup_list::run(store, &Options { read_sentinels: true, query: None }).await?;
            let latest = all.backups.iter().find(|backup| backup.latest).map(|backup| backup.name);
            latest.ok_or_else(|| absent("there is no base backup with a readable sentinel".to_owned()))?
        }
        name => name.parse().map_err(|cause| Error::new(Code::UsageName, "cannot show it").on(name).because(cause))?,
    };
    let inventory = scan::backup(store, &name).await?;
    let Some(objects) = inventory.backups.get(&name) else {
        return Err(absent(format!("there is no base backup {name}")));
    };
    let (sentinel, trouble) = match &objects.sentinel {
        None => (None, None),
        Some(_) => match survey::sentinel(store, &name).await {
            Ok(sentinel) => (Some(sentinel), None),
            Err(error) => (None, Some(format!("[{}] {}", error.code(), error.chain()))),
        },
    };
    let mut compressions = BTreeMap::new();
    for part in &objects.parts {
        *compressions.entry(part.stored.to_string()).or_default() += 1;
    }
    let version = match &objects.version {
        Some(object) => Some(String::from_utf8_lossy(&scan::raw(store, &object.key, 1 << 16).await?).trim().to_owned()),
        None => None,
    };
    Ok(Report {
        name,
        url: store.object_url(&ObjectKey::new(format!("{}{name}/", layout::BACKUPS))),
        finished: objects.is_finished(),
        modified: objects.sentinel.as_ref().and_then(|object| object.modified),
        missing_parts: missing(objects.parts.iter().map(|part| part.name), sentinel.as_ref()),
        sentinel,
        trouble,
        partitions: objects.parts.len(),
        stored_bytes: objects.stored_bytes(),
        compressions,
        version,
        history: history(store, &name).await?,
        foreign: objects.foreign.clone(),
    })
}

/// WAL-E numbers from 0 without gaps; WAL-G does not, so nothing can be said there.
fn missing(parts: impl Iterator<Item = PartName>, sentinel: Option<&Sentinel>) -> Vec<u32> {
    if !sentinel.is_some_and(Sentinel::is_wal_e) {
        return Vec::new();
    }
    let numbers: std::collections::BTreeSet<u32> = parts
        .filter_map(|part| match part {
            PartName::Part(number) => Some(number),
            _ => None,
        })
        .collect();
    let last = numbers.last().copied().unwrap_or(0);
    (0..=last).filter(|number| !numbers.contains(number)).take(100).collect()
}

/// The backup history file of WAL-E's backups: their names say where it is. `None` when it is missing or unreadable.
async fn history(store: &dyn Store, name: &BackupName) -> Answer<Option<History>> {
    let Some(offset) = name.offset() else { return Ok(None) };
    let file = WalFile::BackupHistory(name.start(), offset);
    let key = ObjectKey::new(format!("{}{}", layout::WAL, Compression::Lzo.apply(&file.to_string())));
    let bytes = match scan::small(store, &key, Compression::Lzo).await {
        Ok(bytes) => bytes,
        Err(error) if error.code() == Code::AbsentObject || error.class() == crate::error::Class::Damaged => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    Ok(BackupHistoryFile::parse(&bytes).ok().map(|file| History {
        start_lsn: file.label.start,
        stop_lsn: file.stop,
        start_time: file.label.start_time,
        stop_time: file.stop_time,
        label: file.label.label,
    }))
}
