//! What a prefix holds: one listing as typed values, and questions to it.
//!
//! In: listings of a [`crate::storage::Store`] (only [`scan`] and [`archives`] ask it anything). Out: [`Inventory`], [`Timelines`],
//! [`continuity`]. Never: hides or refuses a key it does not know, or takes "could not be listed" for "is not there".

pub mod archives;
pub mod continuity;
pub mod inventory;
pub mod scan;
pub mod timelines;

pub use inventory::{Inventory, InventoryBuilder};
pub use timelines::Timelines;

#[cfg(test)]
mod tests;
