//! `audit`: one verdict on an archive, for cron.
//!
//! In: a store, how closely to look, what may be spent, what is wished and what is known to be lost. Out: [`Report`].
//! Never: ends because one object is bad; calls good what it did not read; writes to the archive.

pub mod report;

pub use report::Report;
