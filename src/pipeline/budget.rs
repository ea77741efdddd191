//! Bytes in flight: one budget for the whole process.
//!
//! In: how many bytes a request is about to bring. Out: [`Held`], which gives them back when it is dropped.
//! Never: hands out more than it holds, or lets a late taker overtake an early one (so that whoever delivers in order
//! and takes in order cannot be starved by its own read-ahead).

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of bytes that may be in flight at once. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    total: u32,
}

/// Bytes taken from a budget, given back on drop.
#[derive(Debug)]
pub struct Held(#[allow(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Budget {
    /// A budget of so many bytes, at least one.
    pub fn new(bytes: usize) -> Self {
        let total = u32::try_from(bytes.max(1)).unwrap_or(u32::MAX);
        Budget { free: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits until so many bytes are free, in the order of asking. A wish beyond the whole budget takes all of it, so
    /// that one large block can pass when nothing else is in flight.
    pub async fn take(&self, bytes: u64) -> Held {
        let wish = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.total);
        let permit = Arc::clone(&self.free).acquire_many_owned(wish).await;
        Held(permit.expect("checked: the semaphore is never closed"))
    }

    /// The same without waiting: `None` when not so many are free just now.
    pub fn try_take(&self, bytes: u64) -> Option<Held> {
        let wish = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.total);
        Arc::clone(&self.free).try_acquire_many_owned(wish).ok().map(Held)
    }

    /// Bytes that it holds when nothing is in flight.
    pub fn total_bytes(&self) -> u64 {
        u64::from(self.total)
    }

    /// Bytes that are free just now.
    pub fn free_bytes(&self) -> u64 {
        self.free.available_permits() as u64
    }
}
