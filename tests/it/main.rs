//! The program end to end, and whatever needs more than one folder of the library.
//!
//! In: the binary that cargo built. Out: verdicts. Never: holds a test itself; one `mod` line per area.

mod audit;
mod backup_fetch;
mod backup_verify;
mod clean_archives;
mod cli;
mod copy;
mod copy_verify;
mod daemon;
mod damage;
mod faults;
mod feed_live;
mod feeding;
mod harness;
mod live_recovery;
mod locate;
mod readme;
mod recovery_windows;
mod restore_states;
mod rewind;
mod storage_azure;
mod storage_s3;
mod storms;
mod storms_on_the_way;
mod support;
mod two_stores;
mod wal;
mod wal_fetch;
mod wal_records;
mod wal_verify;
