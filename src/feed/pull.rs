//! One stored WAL segment: read, decoded, checked and written, all at once.
//!
//! In: the key of one stored form, what the segment should be, a [`Landing`]. Out: what the check found; the bytes are in
//! the landing, not yet published. Never: publishes, holds a whole segment in memory, or calls an object damaged that
//! only could not be read to its end.
//!
//! ```text
//! store ─ chunks ─▶ decode (this task) ─ plain blocks, three at most ─▶ check and write (a thread)
//! ```

use super::deliver::{Landing, Writer};
use crate::codec::sniff::{self, Format};
use crate::codec::{self, CodecError};
use crate::error::{Answer, Code, Error};
use crate::layout::{Compression, ObjectKey};
use crate::storage::{ByteRange, Got, Store, StoreError, StoreErrorKind};
use crate::wal::page::PageHeader;
use crate::wal::segment::{Expect, SegmentCheck, SegmentFault, SegmentReport};
use futures::TryStreamExt;
use tokio::sync::mpsc;

/// Plain bytes gathered before they are handed on.
const BLOCK: usize = 256 * 1024;
/// Blocks on their way at one time.
const BLOCKS: usize = 3;

/// What was pulled.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// What the check found.
    pub report: SegmentReport,
    /// Stored bytes read.
    pub stored_bytes: u64,
}

/// Pull the segment out of an answer to a GET of the whole object.
pub async fn pull(
    store: &dyn Store,
    got: Got,
    stored: Compression,
    expect: Expect,
    landing: &Landing,
) -> Answer<Pulled> {
    let url = store.object_url(&got.object.key);
    let Some(mut decoder) = codec::decoder(stored) else {
        return Err(undecodable(store, &got.object.key, stored).await?);
    };
    let (blocks, received) = mpsc::channel::<Vec<u8>>(BLOCKS);
    let (spent, mut reused) = mpsc::channel::<Vec<u8>>(BLOCKS + 1);
    let writer = landing.writer()?;
    let checked = tokio::task::spawn_blocking(move || check(expect, writer, received, spent));

    let mut head = Vec::new();
    let mut stored_bytes = 0;
    let mut body = got.body;
    let read = async {
        let mut plain = Vec::with_capacity(2 * BLOCK);
        while let Some(chunk) = body.try_next().await.map_err(Cut::Store)? {
            stored_bytes += chunk.len() as u64;
            if head.len() < sniff::WANTED {
                head.extend_from_slice(chunk.get(..sniff::WANTED - head.len()).unwrap_or(&chunk));
            }
            let mut rest = &*chunk;
            while !rest.is_empty() {
                let taken = decoder.decode(rest, &mut plain).map_err(Cut::Codec)?;
                rest = rest.get(taken..).unwrap_or_default();
                if plain.len() >= BLOCK {
                    let next = reused.try_recv().unwrap_or_else(|_| Vec::with_capacity(2 * BLOCK));
                    blocks.send(std::mem::replace(&mut plain, next)).await.map_err(|_| Cut::Refused)?;
                    plain.clear();
                    // A whole segment may be there at once, and others have more to say than to decode.
                    tokio::task::yield_now().await;
                }
            }
        }
        if stored_bytes != got.object.size {
            let what = format!("the body ended after {stored_bytes} of {} bytes", got.object.size);
            return Err(Cut::Store(StoreError::new(StoreErrorKind::Failed, &url, what)));
        }
        decoder.finish().map_err(Cut::Codec)?;
        if !plain.is_empty() {
            blocks.send(plain).await.map_err(|_| Cut::Refused)?;
        }
        Ok(())
    }
    .await;
    drop(blocks);
    let checked =
        checked.await.map_err(|cause| Error::new(Code::InternalBug, "the checking thread died").because(cause))?;
    match (read, checked) {
        // What was cut short cannot be judged by its end.
        (Err(Cut::Store(error)), Ok(_) | Err(Stop::Fault(_))) => Err(error.into()),
        (_, Err(Stop::Local(error))) => Err(error),
        (Err(Cut::Codec(error)), _) => Err(damaged_codec(error, stored, &head).on(url)),
        (_, Err(Stop::Fault(fault))) => Err(damaged_segment(fault, &head).on(url)),
        (Err(Cut::Refused), Ok(_)) => Err(Error::new(Code::InternalBug, "a check ended before its input").on(url)),
        (Ok(()), Ok(report)) => Ok(Pulled { report, stored_bytes }),
    }
}

/// Why reading ended early.
enum Cut {
    Store(StoreError),
    Codec(CodecError),
    /// The other side takes no more; it knows why.
    Refused,
}

/// Why checking and writing ended early.
enum Stop {
    Fault(SegmentFault),
    Local(Error),
}

fn check(
    expect: Expect,
    mut writer: Writer,
    mut blocks: mpsc::Receiver<Vec<u8>>,
    spent: mpsc::Sender<Vec<u8>>,
) -> Result<SegmentReport, Stop> {
    let mut size = expect.size.map(|size| size.bytes());
    let mut check = SegmentCheck::new(expect);
    while let Some(mut block) = blocks.blocking_recv() {
        check.push(&block).map_err(Stop::Fault)?;
        // For the message when there is no room: the first page says how large the segment is.
        size = size.or_else(|| PageHeader::parse(&block)?.long.map(|long| long.segment_size.into()));
        writer.write(&block, size).map_err(Stop::Local)?;
        block.clear();
        // No room there only means that enough are waiting.
        let _ = spent.try_send(block);
    }
    check.finish().map_err(Stop::Fault)
}

/// An object whose suffix no codec of this build takes: say what its bytes are.
async fn undecodable(store: &dyn Store, key: &ObjectKey, stored: Compression) -> Answer<Error> {
    let got = store.get(key, ByteRange::new(0, sniff::WANTED as u64), None).await?;
    let head: Vec<u8> = got.body.try_collect::<Vec<_>>().await?.concat();
    let format = sniff::sniff(&head);
    Ok(match format.is_encrypted() {
        true => encrypted(format),
        false => Error::new(Code::DamagedCodec, format!("this build cannot decode .{stored} objects; it is {format}")),
    }
    .on(store.object_url(key)))
}

/// Bytes that do not decode: by what they really are.
pub fn damaged_codec(cause: CodecError, stored: Compression, head: &[u8]) -> Error {
    let format = sniff::sniff(head);
    let as_promised = matches!((stored, format), (Compression::Lzo, Format::Lzop));
    if format.is_encrypted() {
        return encrypted(format);
    }
    if !as_promised && !matches!(format, Format::Unknown | Format::Noise) {
        return Error::new(Code::DamagedCodec, format!("it is {format}, not what .{stored} promises")).because(cause);
    }
    let what = match (format.is_perhaps_encrypted(), cause.truncated) {
        (true, _) => "it does not decode, and looks like noise: encrypted, perhaps",
        (false, true) => "it is cut short",
        (false, false) => "it does not decode",
    };
    Error::new(Code::DamagedObject, what).because(cause)
}

fn damaged_segment(fault: SegmentFault, head: &[u8]) -> Error {
    let format = sniff::sniff(head);
    if format.is_encrypted() { encrypted(format) } else { fault.into() }
}

fn encrypted(format: Format) -> Error {
    Error::new(Code::CryptUnsupported, format!("it is {format}, and this build cannot decrypt"))
}
