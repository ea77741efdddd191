//! The body of an answer to a GET, held to the range that was asked for.
//!
//! In: status, Content-Range, Content-Length, pieces of a body. Out: the bytes asked for, or an error. Never: a body that
//! is short or long in silence.

use super::{root, transport};
use crate::storage::{BodyStream, ByteRange, StoreError, StoreErrorKind};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use std::error::Error as StdError;

/// `bytes 0-99/1234` as first byte, last byte, total.
pub(in crate::storage) fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total) = (first.trim().parse().ok()?, last.trim().parse().ok()?, total.trim().parse().ok()?);
    (first <= last && last < total).then_some((first, last, total))
}

/// Check an answer to a GET against what was asked for. Gives the size of the object, what to skip at the body's beginning
/// and how many bytes to take then. The error is a clause.
pub(in crate::storage) fn check_range(
    range: ByteRange,
    status: u16,
    stated: Option<&str>,
    length: Option<i64>,
) -> Result<(u64, u64, u64), String> {
    let length = length.and_then(|length| u64::try_from(length).ok());
    match status {
        206 => {
            if range == ByteRange::ALL {
                return Err("a part (206), asked for the whole".into());
            }
            let (first, last, size) = stated
                .and_then(content_range)
                .ok_or_else(|| format!("206 and the range {:?}", stated.unwrap_or("that it does not name")))?;
            let (start, end) = range.within(size);
            if (first, last + 1) != (start, end) {
                return Err(format!(
                    "bytes {first} to {last} of {size}, asked for {start} to {}",
                    end.saturating_sub(1)
                ));
            }
            if length.is_some_and(|length| length != end - start) {
                return Err(format!("{} bytes for a range of {}", length.unwrap_or_default(), end - start));
            }
            Ok((size, 0, end - start))
        }
        200 => {
            // The whole, whatever was asked for: some servers and caches know no ranges.
            let size = length.ok_or("no length: whole and cut short cannot be told apart")?;
            let (start, end) = range.within(size);
            Ok((size, start, end - start))
        }
        other => Err(format!("{other}, which is no answer to GET")),
    }
}

/// The bytes wanted of a body: `skip` left out, then `take`, and an error when there are fewer. More are an error too where
/// the body was to end there (`exact`).
pub(in crate::storage) fn body_stream<E: StdError + Send + Sync + 'static>(
    body: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    url: String,
    skip: u64,
    take: u64,
    exact: bool,
) -> BodyStream {
    let body = body.boxed();
    let state = Some((body, skip, take));
    futures::stream::unfold(state, move |state| {
        let url = url.clone();
        async move {
            let (mut body, mut skip, mut left) = state?;
            loop {
                if left == 0 && !exact {
                    return None;
                }
                let mut piece = match body.next().await {
                    Some(Ok(piece)) => piece,
                    Some(Err(error)) => {
                        let (kind, what) = transport(&error)
                            .unwrap_or_else(|| (StoreErrorKind::Unreachable, "the answer broke off".into()));
                        let what = format!("GET: {what}, {left} bytes before the end");
                        return Some((Err(StoreError::new(kind, url, what).because(root(&error))), None));
                    }
                    None if skip == 0 && left == 0 => return None,
                    None => {
                        let what = format!("GET: the answer ended {} bytes before its end", skip + left);
                        return Some((Err(StoreError::new(StoreErrorKind::Unreachable, url, what)), None));
                    }
                };
                let passed = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
                let _ = piece.split_to(passed);
                skip -= passed as u64;
                if piece.len() as u64 > left {
                    if exact {
                        let what = "GET: the answer goes on behind its end".to_owned();
                        return Some((Err(StoreError::new(StoreErrorKind::Failed, url, what)), None));
                    }
                    piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                }
                if !piece.is_empty() {
                    left -= piece.len() as u64;
                    return Some((Ok(piece), Some((body, skip, left))));
                }
            }
        }
    })
    .boxed()
}
