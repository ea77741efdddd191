//! Keeps PostgreSQL fed: one validated file for each question, and what it will ask for next.
//!
//! In: the data directory that a restore_command runs in, a store. Out: files under the names PostgreSQL gave, the four
//! answers. Never: writes a file under its final name before it is whole; says "not there" by anything but the store's word.
//!
//! [`fetch`] alone serves a question from a store, [`stores`] from whichever of several has it: [`mode`] says who asks, [`pull`]
//! reads and checks, [`deliver`] gives the name. The [`feeder`] does the same ahead of time: [`ahead`] knows what comes next, [`window`] how much of it,
//! [`spool`] where it waits; [`client`] and [`protocol`] are how a wal-fetch gets it; [`status`] tells how it goes.

pub mod ahead;
pub mod client;
pub mod deliver;
pub mod detach;
pub mod feeder;
pub mod fetch;
pub mod mode;
pub mod protocol;
pub mod pull;
pub mod spool;
pub mod status;
pub mod stores;
pub mod walg_client;
pub mod walg_socket;
pub mod window;

pub use mode::{Mode, Who};

use std::path::Path;

/// The folder that a file lies in: the working directory for a bare name.
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}
