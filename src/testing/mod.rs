//! What tests, benches and fuzzing share: stores that fail on purpose, and what every store must do.
//!
//! In: plans of faults, stores. Out: panics that say which promise was broken. Never: part of the program.

pub mod contract;
