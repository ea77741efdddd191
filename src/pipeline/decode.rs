//! Stored bytes to plain bytes, on threads that may block.
//!
//! In: a [`Reading`] and what its name promises. Out: [`Plain`], a `BufRead` for the thread that consumes, whose end of
//! file means that the object *and* its container were whole. Never: runs a codec on a runtime thread, lets an
//! unfinished stream end quietly, or queues more than a few blocks.
//!
//! The decoder has a thread of its own, so that decoding and consuming overlap. With more than one `helpers`, the blocks
//! of one lzop object are decoded on several threads at once and still come out in order.

use super::budget::{Budget, Held};
use super::digest::{Digest, Digesting};
use super::read::{Done, Reading};
use crate::codec::lzo::{Block, Framer};
use crate::codec::sniff::{Format, sniff};
use crate::codec::{self, CodecError, Decode};
use crate::error::{Answer, Code, Error};
use crate::layout::Compression;
use std::io::{self, BufRead, Read};
use std::sync::{Arc, Mutex, PoisonError, mpsc as threads};
use tokio::sync::{mpsc, oneshot};

/// Plain bytes that are handed over at once, about.
const BLOCK: usize = 256 * 1024;
/// Blocks between the decoder and its consumer.
const BLOCKS_AHEAD: usize = 3;
/// Plain bytes that helpers may have under way for one object, so that a file of 64 MiB blocks is decoded one by one.
const HELPERS_BYTES: usize = 3 << 20;

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
    blocks: mpsc::Receiver<Piece>,
    used: mpsc::UnboundedSender<Vec<u8>>,
    block: Vec<u8>,
    at: usize,
    end: Option<oneshot::Receiver<Answer<Whole>>>,
    whole: Option<Whole>,
    url: String,
}

impl Plain {
    /// Start decoding. Must be called within a runtime; the result must be read on a thread that may block.
    /// `helpers`: threads that decode at once, where the format has blocks; 1 is one thread beside the consumer's.
    pub fn start(reading: Reading, stored: Compression, helpers: usize) -> Answer<Plain> {
        let decoder = codec::decoder_for(stored).map_err(|missing| Error::from(missing).on(reading.url()))?;
        let how = match stored {
            Compression::Lzo if helpers > 1 => How::Blocks(Box::default(), Helpers::start(helpers)),
            _ => How::Stream(decoder),
        };
        let url = reading.url().to_owned();
        let (send, blocks) = mpsc::channel(BLOCKS_AHEAD);
        let (used, reuse) = mpsc::unbounded_channel();
        let (say, end) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let result = Work { reading, send, reuse, stored, out: Vec::new(), plain_bytes: 0 }.run(how);
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
                Some(Piece::Ready(block)) => self.block = block,
                // A helper has it. On an error the decoder's thread is told the same and has the last word.
                Some(Piece::Pending(block, held)) => match block.blocking_recv() {
                    Ok(Ok(block)) => {
                        self.block = block;
                        drop(held);
                    }
                    Ok(Err(error)) => return Err(self.failed(damaged(error, &self.url))),
                    Err(_) => return Err(self.failed(dead(&self.url))),
                },
                None => return self.ended(),
            }
        }
        Ok(())
    }

    /// This object is over: no further read may pass for its end.
    fn failed(&mut self, error: Error) -> io::Error {
        self.end = None;
        self.blocks.close();
        while self.blocks.try_recv().is_ok() {}
        io::Error::other(error)
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

/// What goes from the decoder to the consumer.
#[derive(Debug)]
enum Piece {
    /// Plain bytes.
    Ready(Vec<u8>),
    /// Plain bytes that a helper is making, and their share of the helpers' budget.
    Pending(oneshot::Receiver<Result<Vec<u8>, CodecError>>, Held),
}

enum How {
    Stream(Box<dyn Decode>),
    Blocks(Box<Framer>, Helpers),
}

/// The decoder's thread.
struct Work {
    reading: Reading,
    send: mpsc::Sender<Piece>,
    reuse: mpsc::UnboundedReceiver<Vec<u8>>,
    stored: Compression,
    out: Vec<u8>,
    plain_bytes: u64,
}

impl Work {
    fn run(mut self, mut how: How) -> Answer<Whole> {
        let mut digest = Digesting::new();
        let mut first = true;
        while let Some(chunk) = self.reading.blocking_next() {
            let mut input = &chunk.bytes[..];
            digest.push(input);
            if std::mem::take(&mut first) {
                expect_format(input, self.stored, self.reading.url())?;
            }
            while !input.is_empty() {
                let taken = match &mut how {
                    How::Stream(decoder) => self.decode(&mut **decoder, input)?,
                    How::Blocks(framer, helpers) => self.frame(framer, helpers, input)?,
                };
                input = input.get(taken..).unwrap_or_default();
            }
        }
        let Work { reading, send, out, plain_bytes, .. } = self;
        let url = reading.url().to_owned();
        // First the store's word, then the container's: a cut connection must not be called damage.
        let read = reading.blocking_finish()?;
        let ended = match &mut how {
            How::Stream(decoder) => decoder.finish(),
            How::Blocks(framer, _) => framer.finish(),
        };
        ended.map_err(|error| damaged(error, &url))?;
        if !out.is_empty() && send.blocking_send(Piece::Ready(out)).is_err() {
            return Err(unwanted(&url));
        }
        Ok(Whole { read, stored: digest.finish(), plain_bytes })
    }

    fn decode(&mut self, decoder: &mut dyn Decode, input: &[u8]) -> Answer<usize> {
        let before = self.out.len();
        let taken = decoder.decode(input, &mut self.out).map_err(|error| damaged(error, self.reading.url()))?;
        self.plain_bytes += (self.out.len() - before) as u64;
        if self.out.len() >= BLOCK {
            let mut empty = empty(&mut self.reuse);
            empty.reserve(BLOCK);
            let full = std::mem::replace(&mut self.out, empty);
            self.send.blocking_send(Piece::Ready(full)).map_err(|_| unwanted(self.reading.url()))?;
        }
        Ok(taken)
    }

    fn frame(&mut self, framer: &mut Framer, helpers: &Helpers, input: &[u8]) -> Answer<usize> {
        let (taken, block) = framer.push(input).map_err(|error| damaged(error, self.reading.url()))?;
        if let Some(block) = block {
            let plain = u64::from(block.header.plain_len);
            self.plain_bytes += plain;
            let runtime = tokio::runtime::Handle::current();
            let held = runtime.block_on(helpers.budget.take(plain));
            let (say, pending) = oneshot::channel();
            let job = (block.into_owned(), empty(&mut self.reuse), say);
            helpers.jobs.send(job).map_err(|_| dead(self.reading.url()))?;
            self.send.blocking_send(Piece::Pending(pending, held)).map_err(|_| unwanted(self.reading.url()))?;
        }
        Ok(taken)
    }
}

/// A buffer that the consumer is done with, or a new one. Every buffer goes round: none may gather in the channel.
fn empty(reuse: &mut mpsc::UnboundedReceiver<Vec<u8>>) -> Vec<u8> {
    let mut buffer = reuse.try_recv().unwrap_or_default();
    buffer.clear();
    // One hostile 64 MiB block must not stay as a buffer for ever.
    buffer.shrink_to(4 * BLOCK);
    buffer
}

type Job = (Block<'static>, Vec<u8>, oneshot::Sender<Result<Vec<u8>, CodecError>>);

/// Threads that decode blocks. They end when the last job is done and nobody can send another.
struct Helpers {
    jobs: threads::Sender<Job>,
    budget: Budget,
}

impl Helpers {
    fn start(count: usize) -> Helpers {
        let (jobs, queue) = threads::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            tokio::task::spawn_blocking(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((block, mut plain, say)) = job else { return };
                    if say.is_closed() {
                        continue;
                    }
                    plain.reserve_exact(block.header.plain_len as usize);
                    let result = block.decode(&mut plain);
                    let _ = say.send(result.map(|()| plain));
                }
            });
        }
        Helpers { jobs, budget: Budget::new(HELPERS_BYTES) }
    }
}

/// Nobody sees this one: whoever dropped the other end has an error of its own.
fn unwanted(url: &str) -> Error {
    Error::new(Code::InternalBug, "nobody reads any more").on(url)
}

fn dead(url: &str) -> Error {
    Error::new(Code::InternalBug, "a decoding thread died").on(url)
}

/// The first bytes are what the name promises. A sentence instead of codec noise.
fn expect_format(first: &[u8], stored: Compression, url: &str) -> Answer<()> {
    let wanted = match stored {
        Compression::Lzo => Format::Lzop,
        _ => return Ok(()),
    };
    let found = sniff(first);
    // Too short to tell, or a strange beginning: the codec says what it misses.
    if found == wanted || first.len() < 16 || found == Format::Unknown {
        return Ok(());
    }
    let code = if found.is_encrypted() { Code::CryptUnsupported } else { Code::DamagedCodec };
    Err(Error::new(code, format!("its name ends in .{stored}, but it is {found}")).on(url))
}

/// The container does not hold what it promises.
fn damaged(error: CodecError, url: &str) -> Error {
    Error::from(error).on(url)
}

#[cfg(test)]
mod tests;
