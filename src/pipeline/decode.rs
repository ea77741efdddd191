//! Stored bytes to plain bytes, on threads that may block.
//!
//! In: a [`Reading`] and what its name promises. Out: [`Plain`], a `BufRead` for the thread that consumes, whose end of
//! file means that the object *and* its container were whole. Never: runs a codec on a runtime thread, lets an
//! unfinished stream end quietly, or queues more than a few blocks.
//!
//! The decoder has a thread of its own, so that decoding and consuming overlap.

use super::digest::{Digest, Digesting};
use super::read::{Done, Reading};
use crate::codec::{self, CodecError, Decode};
use crate::error::{Answer, Code, Error};
use crate::layout::Compression;
use std::io::{self, BufRead, Read};
use tokio::sync::{mpsc, oneshot};

/// Plain bytes that are handed over at once, about.
const BLOCK: usize = 256 * 1024;
/// Blocks between the decoder and its consumer.
const BLOCKS_AHEAD: usize = 3;

/// What a whole object was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Which version was read.
    pub read: Done,
    /// Length and digest of the stored bytes.
    pub stored: Digest,
    /// Plain bytes that came out.
    pub plain_bytes: u64,
}

/// Plain bytes of an object. An error of the store or the codec comes out as an `io::Error` that carries an [`Error`]:
/// [`into_error`] takes it out again.
#[derive(Debug)]
pub struct Plain {
    blocks: mpsc::Receiver<Vec<u8>>,
    used: mpsc::UnboundedSender<Vec<u8>>,
    block: Vec<u8>,
    at: usize,
    end: Option<oneshot::Receiver<Answer<Whole>>>,
    whole: Option<Whole>,
    url: String,
}

impl Plain {
    /// Start decoding. Must be called within a runtime; the result must be read on a thread that may block.
    pub fn start(reading: Reading, stored: Compression) -> Answer<Plain> {
        let decoder = codec::decoder(stored).ok_or_else(|| {
            Error::new(Code::DamagedCodec, format!("this build cannot read `.{stored}` objects")).on(reading.url())
        })?;
        let url = reading.url().to_owned();
        let (send, blocks) = mpsc::channel(BLOCKS_AHEAD);
        let (used, reuse) = mpsc::unbounded_channel();
        let (say, end) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let result = Work { reading, decoder, send, reuse, stored }.run();
            // The blocks' channel closes before the word is said: whoever sees the end finds the word.
            let _ = say.send(result);
        });
        Ok(Plain { blocks, used, block: Vec::new(), at: 0, end: Some(end), whole: None, url })
    }

    /// What the object was; only once the end of file was read.
    pub fn whole(&self) -> Option<&Whole> {
        self.whole.as_ref()
    }

    fn refill(&mut self) -> io::Result<()> {
        while self.at >= self.block.len() {
            let block = self.blocks.blocking_recv();
            let old = std::mem::take(&mut self.block);
            self.at = 0;
            if old.capacity() > 0 {
                let _ = self.used.send(old);
            }
            match block {
                Some(block) => self.block = block,
                None => return self.ended(),
            }
        }
        Ok(())
    }

    fn ended(&mut self) -> io::Result<()> {
        if let Some(end) = self.end.take() {
            let gone = |_| Err(Error::new(Code::InternalBug, "the decoder ended without a word").on(&self.url));
            self.whole = Some(end.blocking_recv().unwrap_or_else(gone).map_err(io::Error::other)?);
        }
        match self.whole {
            Some(_) => Ok(()),
            // Asked again after an error.
            None => Err(io::Error::other(Error::new(Code::InternalBug, "reading behind an error").on(&self.url))),
        }
    }
}

impl BufRead for Plain {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.refill()?;
        Ok(self.block.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at = self.at.saturating_add(amount).min(self.block.len());
    }
}

impl Read for Plain {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(out.len());
        out[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// The [`Error`] an `io::Error` of [`Plain`] carries, or `None` for any other.
pub fn into_error(error: io::Error) -> Result<Error, io::Error> {
    error.downcast::<Error>()
}

/// The decoder's thread.
struct Work {
    reading: Reading,
    decoder: Box<dyn Decode>,
    send: mpsc::Sender<Vec<u8>>,
    reuse: mpsc::UnboundedReceiver<Vec<u8>>,
    stored: Compression,
}

impl Work {
    fn run(mut self) -> Answer<Whole> {
        let mut digest = Digesting::new();
        let mut plain_bytes = 0;
        let mut out = Vec::with_capacity(BLOCK);
        let mut first = true;
        while let Some(chunk) = self.reading.blocking_next() {
            let mut input = &chunk.bytes[..];
            digest.push(input);
            if std::mem::take(&mut first) {
                expect_format(input, self.stored, self.reading.url())?;
            }
            while !input.is_empty() {
                let before = out.len();
                let taken =
                    self.decoder.decode(input, &mut out).map_err(|error| damaged(&error, self.reading.url()))?;
                input = input.get(taken..).unwrap_or_default();
                plain_bytes += (out.len() - before) as u64;
                if out.len() >= BLOCK {
                    self.hand_over(&mut out)?;
                }
            }
        }
        let Work { reading, mut decoder, .. } = self;
        let url = reading.url().to_owned();
        // First the store's word, then the container's: a cut connection must not be called damage.
        let read = reading.blocking_finish()?;
        decoder.finish().map_err(|error| damaged(&error, &url))?;
        if !out.is_empty() && self.send.blocking_send(out).is_err() {
            return Err(unwanted(&url));
        }
        Ok(Whole { read, stored: digest.finish(), plain_bytes })
    }

    fn hand_over(&mut self, out: &mut Vec<u8>) -> Answer<()> {
        let mut empty = self.reuse.try_recv().unwrap_or_default();
        empty.clear();
        // One hostile 64 MiB block must not stay as a buffer for ever.
        empty.shrink_to(4 * BLOCK);
        empty.reserve(BLOCK);
        let full = std::mem::replace(out, empty);
        self.send.blocking_send(full).map_err(|_| unwanted(self.reading.url()))
    }
}

/// Nobody sees this one: whoever dropped the other end has an error of its own.
fn unwanted(url: &str) -> Error {
    Error::new(Code::InternalBug, "nobody reads any more").on(url)
}

fn expect_format(_first: &[u8], _stored: Compression, _url: &str) -> Answer<()> {
    Ok(())
}

/// The container does not hold what it promises.
fn damaged(error: &CodecError, url: &str) -> Error {
    let error = error.clone();
    let what = if error.truncated { "the object is cut short" } else { "the object is damaged" };
    Error::new(Code::DamagedObject, what).on(url).because(error)
}
