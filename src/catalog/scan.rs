//! Lists a prefix into an [`Inventory`]; with `archives` the only place of the catalogue that asks a store.
//!
//! In: a store. Out: everything below the folders of both originals, and what lies beside them, one level deep.
//! Never: descends into folders that are not the archive's (a prefix may be a whole bucket), takes a failed page for the
//! end of a listing, or reads an object (but [`small`], when asked to).

use super::inventory::{Inventory, InventoryBuilder, StoredFile};
use super::timelines::Timelines;
use crate::codec;
use crate::error::{Answer, Code, Error, Verdict};
use crate::layout::{self, Compression, ObjectKey};
use crate::pg::TimelineId;
use crate::pg::history::TimelineHistory;
use crate::storage::{ByteRange, Depth, Store, StoreError};
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;

/// Stored bytes of a history, label or sentinel that are read at most.
const SMALL: u64 = 1 << 20;
/// Small objects read at one time.
pub const AT_ONCE: usize = 32;
/// How often a small object is begun anew when it is replaced while it is read.
const ANEW: u32 = 3;

/// The whole archive: `basebackups_005/`, `wal_005/`, `sysids/`, and the names beside them.
pub async fn everything(store: &dyn Store) -> Answer<Inventory> {
    let mut builder = InventoryBuilder::new();
    let folders =
        [("", Depth::Level), (layout::BACKUPS, Depth::All), (layout::WAL, Depth::All), ("sysids/", Depth::All)];
    for (folder, depth) in folders {
        list(store, folder, depth, &mut builder).await?;
    }
    let mut inventory = builder.finish();
    // Its content was listed: it is not foreign as a folder too.
    inventory.foreign.remove(&ObjectKey::from("sysids/"));
    Ok(inventory)
}

/// Only the base backups, and of each only whether it is there and finished: a request for each thousand of them.
pub async fn backups(store: &dyn Store) -> Answer<Inventory> {
    let mut builder = InventoryBuilder::new();
    list(store, layout::BACKUPS, Depth::Level, &mut builder).await?;
    Ok(builder.finish())
}

/// Only this backup, with all its parts.
pub async fn backup(store: &dyn Store, name: &layout::BackupName) -> Answer<Inventory> {
    let mut builder = InventoryBuilder::new();
    // `base_SEG` is also the beginning of its deltas' names and of WAL-E's: what is not of this one is left out below.
    list(store, &format!("{}{name}/", layout::BACKUPS), Depth::All, &mut builder).await?;
    list(store, name.sentinel_key().as_str(), Depth::Level, &mut builder).await?;
    let mut inventory = builder.finish();
    inventory.backups.retain(|found, _| found == name);
    Ok(inventory)
}

/// Only the backup history files: they say when WAL-E's backups ended.
pub async fn wal(store: &dyn Store) -> Answer<Inventory> {
    let mut builder = InventoryBuilder::new();
    list(store, layout::WAL, Depth::All, &mut builder).await?;
    Ok(builder.finish())
}

async fn list(store: &dyn Store, prefix: &str, depth: Depth, builder: &mut InventoryBuilder) -> Answer<()> {
    let mut lines = store.list(prefix, depth, None);
    while let Some(line) = lines.try_next().await? {
        builder.add(line);
    }
    Ok(())
}

/// The histories of an inventory, read and parsed. One that is damaged in every stored form, or could not be read, is kept
/// with its error: the verdict of the error tells which.
pub async fn timelines(store: &dyn Store, inventory: &Inventory) -> Timelines {
    let read = inventory.histories.iter().map(|(timeline, forms)| async move {
        (*timeline, history(store, *timeline, forms).await.and_then(|parsed| parsed))
    });
    let histories: BTreeMap<_, _> = stream::iter(read).buffer_unordered(AT_ONCE).collect().await;
    Timelines::new(inventory, histories)
}

/// One history: the first stored form that parses. `Err` inside: there, and wrong. Outside: could not be asked.
pub async fn history(
    store: &dyn Store,
    timeline: TimelineId,
    forms: &[StoredFile],
) -> Answer<Result<TimelineHistory, Error>> {
    let mut first = None;
    for form in forms {
        let key = &form.object.key;
        let parsed = match small(store, key, form.stored).await {
            Ok(bytes) => TimelineHistory::parse(timeline, &bytes).map_err(|cause| {
                Error::new(Code::DamagedHistory, "is not a timeline history").on(store.object_url(key)).because(cause)
            }),
            Err(error) if error.verdict() == Verdict::Damaged => Err(error),
            Err(error) => return Err(error),
        };
        match parsed {
            Ok(history) => return Ok(Ok(history)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Ok(Err(first.unwrap_or_else(|| Error::new(Code::InternalBug, "a history without a stored form").on(timeline))))
}

/// A small object, decoded: at most 1 MiB stored and plain.
pub async fn small(store: &dyn Store, key: &ObjectKey, stored: Compression) -> Answer<Vec<u8>> {
    let bytes = raw(store, key, SMALL).await?;
    let url = || store.object_url(key);
    let mut decoder = codec::decoder(stored).ok_or_else(|| {
        Error::new(Code::DamagedCodec, format!("this build cannot decode .{stored} objects")).on(url())
    })?;
    codec::decode_all(&mut *decoder, &bytes, SMALL as usize).map_err(|cause| {
        let format = codec::sniff::sniff(&bytes);
        // As with segments: what may be sealed is not called damaged.
        if format.is_encrypted() || format.is_perhaps_encrypted() && !codec::sniff::is_nearly_lzop(&bytes) {
            return Error::new(Code::CryptUnsupported, format!("it is {format}")).on(url());
        }
        Error::new(Code::DamagedObject, format!("does not decode; it is {format}")).on(url()).because(cause)
    })
}

/// The bytes of an object as stored, refused above `limit`. The one place that reads a small object whole.
///
/// One that is replaced while it is read is read from its beginning: the new one is whole by itself. Within so few bytes that
/// is two archivers with one file, and over by the next try; who replaces it on and on gets the error.
pub async fn raw(store: &dyn Store, key: &ObjectKey, limit: u64) -> Answer<Vec<u8>> {
    let mut replaced: Option<Error> = None;
    for _ in 0..ANEW {
        match whole(store, key, limit).await {
            Err(error) if error.code() == Code::StoreChanged => {
                tracing::debug!("{error}: reading it anew");
                replaced = Some(error);
            }
            // Gone behind that, it is not "not there": somebody is at work on it.
            Err(error) if error.is_absent() => return Err(replaced.unwrap_or(error)),
            answer => return answer,
        }
    }
    Err(replaced.unwrap_or_else(|| Error::new(Code::InternalBug, "it was never asked for").on(store.object_url(key))))
}

async fn whole(store: &dyn Store, key: &ObjectKey, limit: u64) -> Answer<Vec<u8>> {
    let got = store.get(key, ByteRange::ALL, None).await?;
    let too_long = || {
        Error::new(Code::DamagedObject, format!("is larger than {limit} bytes, which no file of its kind is"))
            .on(store.object_url(key))
    };
    if got.object.size > limit {
        return Err(too_long());
    }
    let mut body = got.body;
    let mut bytes = Vec::with_capacity(got.object.size as usize);
    while let Some(chunk) = body.try_next().await.map_err(|error: StoreError| Error::from(error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(too_long());
        }
    }
    Ok(bytes)
}
