//! From a store to plain bytes: read, decode, digest. Bounded, owned, ended by a value.
//!
//! In: a store and one version of an object. Out: its plain bytes in order, and at their end the word that it was all.
//! Never: holds more bytes than its [`budget::Budget`], takes a closed channel for the end of an object (only the join
//! result says so), holds a lock across an await, or leaves a task behind that nobody owns.
//!
//! ```text
//! store --ranges, in parallel--> read --chunks, in order--> decode (blocking thread) --blocks--> Plain: BufRead
//!          permits taken in delivery order, before the request; given back when the chunk is decoded
//! ```

pub mod budget;
pub mod decode;
pub mod digest;
pub mod read;
