//! What an archive can be trusted with: what is there, what is wrong, whom that hurts, and what can be recovered.
//!
//! In: a listing, histories and sentinels ([`survey`]), and as many bytes as the [`facts::Level`] asks for. Out:
//! [`finding::Finding`]s, the facts of each segment, recoverable windows. One bad object is a finding and never ends a
//! run. Never: calls good what it could not read; changes an archive; prints.
//!
//! ```text
//! survey ─ names ─────────────┐ defects           ┌─ findings (whom it hurts)
//! survey ─ walk ─ segments ───┼──────────▶ judge ─┤
//! survey ─ backup ─ parts ────┘                   └─ windows (what can be recovered)
//!             ▲  facts of segments
//!           ledger (what was proven before)
//! ```

pub mod ack;
pub mod backup;
pub mod facts;
pub mod finding;
pub mod judge;
#[cfg(feature = "ledger")]
pub mod ledger;
pub mod names;
pub mod segment;
pub mod survey;
pub mod verdict;
pub mod walk;
pub mod windows;

pub use facts::Level;
pub use finding::{Defect, Finding, FindingCode, Severity};
