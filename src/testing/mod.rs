//! What tests, benches and fuzzing share: stores that fail on purpose, what every store must do, and forged files as
//! the originals write them.
//!
//! In: plans of faults, stores, plain bytes. Out: panics that say which promise was broken; files, valid or damaged on
//! purpose. Never: part of the program.

#[cfg(feature = "azure")]
pub mod azure;
pub mod backup;
pub mod contract;
pub mod damage;
pub mod exposition;
pub mod faulty;
pub mod fixture;
pub mod forge;
pub mod http;
pub mod lzop;
pub mod many;
pub mod s3;
pub mod tar;
