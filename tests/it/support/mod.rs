//! The harness: real programs for tests that need them, and a named skip where one is missing.
//!
//! In: the tools folder (`cargo xtask setup` fills it), the environment `WALR_TOOLS`, `WALR_REQUIRE_ALL`, `WALR_SKIPS`,
//! `WALR_ARCHIVES`. Out: servers that stop when dropped, folders that vanish when dropped, the program under test.
//! Never: passes a test in silence that could not run; takes settings of the developer's own environment into a test.
//!
//! ```ignore
//! #[test]
//! fn restores() {
//!     let postgres = require!(postgres 13);
//!     let garage = require!(garage);
//! ```
#![allow(dead_code, reason = "a harness offers more than the tests of one day use")]
#![allow(clippy::print_stderr, reason = "a test speaks on stderr")]

pub mod archive;
pub mod azurite;
pub mod cgroup;
pub mod clean;
pub mod clock;
pub mod daemon;
pub mod feeder;
pub mod garage;
pub mod names;
pub mod need;
pub mod pace;
pub mod postgres;
pub mod proxy;
pub mod recovery;
pub mod restore;
pub mod scratch;
pub mod strace;
pub mod tls;
#[path = "../../../xtask/src/tools.rs"]
pub mod tools;
pub mod wal_e;

pub use scratch::Scratch;

use std::process::{Command, Output, Stdio};

/// What something that may be missing gave, or the end of the test as a named skip (a failure under
/// `WALR_REQUIRE_ALL=1`).
macro_rules! or_skip {
    ($found:expr) => {{
        // A function's own name, whatever thread runs it.
        fn here() {}
        match $found {
            Ok(found) => found,
            Err(missing) => return $crate::support::need::skip(std::any::type_name_of_val(&here), &missing),
        }
    }};
}
pub(crate) use or_skip;

/// The program or archive a test needs, or its end as a named skip.
///
/// `require!(postgres 13)`, `require!(garage)`, `require!(azurite)`, `require!(wal_e)`, `require!(lzop)`, `require!(shared_archive)`.
macro_rules! require {
    ($what:ident $($argument:expr)?) => { $crate::support::or_skip!($crate::support::need::$what($($argument)?)) };
}
pub(crate) use require;

/// The program under test with an empty environment but for a PATH, and no input.
pub fn wal_r() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wal-r"));
    command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

/// What a program printed on stdout.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a program printed on stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Run to the end and demand success; what it printed on stdout.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n--- stdout\n{}--- stderr\n{}",
        output.status,
        stdout(&output),
        stderr(&output)
    );
    stdout(&output)
}

/// A TCP port of this machine that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a local port");
    listener.local_addr().expect("its address").port()
}
