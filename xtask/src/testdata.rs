//! `cargo xtask testdata`: expected outputs written anew, by the tests themselves; `archive`: the bundled archive.
//!
//! In: the tests in update mode. Out: changed files, to be looked at as a diff before they are committed.
//! Never: writes an expectation that no test compares with.

use crate::shell::{Outcome, cargo, run as sh};

/// `cargo xtask testdata [archive]`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let mut command = cargo();
    command.args(["test", "--features", "testing"]);
    match arguments {
        [] => sh(command.arg("--workspace").env("UPDATE_EXPECT", "1").env("WALR_UPDATE", "1")),
        [what] if what == "archive" => {
            let test = "harness::the_bundled_archive_is_made_like_this";
            command.args(["--test", "it", "--", "--exact", test]);
            sh(command.env("WALR_UPDATE_ARCHIVE", "1").env("WALR_REQUIRE_ALL", "1"))
        }
        _ => Err(format!("{arguments:?}: it is `cargo xtask testdata` or `cargo xtask testdata archive`")),
    }
}
