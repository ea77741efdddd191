//! A small object, or the beginning of one, in memory.
//!
//! In: a store, a key, how much at the most. Out: the bytes. Never: more of them than was said.

use crate::error::{Answer, Code, Error};
use crate::layout::ObjectKey;
use crate::storage::{ByteRange, Store};
use futures::StreamExt;

/// A small range of an object. `damaged.object` when it is longer than it may be.
pub(super) async fn read(store: &dyn Store, key: &ObjectKey, range: ByteRange, most: u64) -> Answer<Vec<u8>> {
    let mut got = store.get(key, range, None).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = got.body.next().await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() as u64 > most {
            return Err(Error::new(Code::DamagedObject, "much longer than it can be").on(store.object_url(key)));
        }
    }
    Ok(bytes)
}
