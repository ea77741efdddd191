//! Reads, proves, copies and rehearses PostgreSQL archives written by WAL-E and WAL-G.
//!
//! The map, lowest rank last; a folder uses folders of lower rank only (`cargo xtask tidy` holds it):
//!
//! ```text
//! cli                             8  argv, environment, rendering, exit code
//! commands                        7  one verb each
//! feed  proof                     6  keep PostgreSQL fed | judge an archive
//! catalog  backup                 5  what a prefix holds | one base backup
//! pipeline                        4  read, decode, digest, write
//! wal  storage  codec  locate     3  records and CRCs | the only network | compressed in, plain out | logs
//! layout                          2  the archive's nouns
//! pg                              1  PostgreSQL's nouns
//! error                           0  the outer error and the four answers
//! ```

pub mod backup;
pub mod catalog;
#[cfg(feature = "cli")]
pub mod cli;
pub mod codec;
pub mod commands;
pub mod error;
pub mod feed;
pub mod layout;
pub mod locate;
pub mod pg;
pub mod pipeline;
pub mod proof;
pub mod storage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transfer;
pub mod wal;
