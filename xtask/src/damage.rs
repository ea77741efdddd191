//! `cargo xtask damage`: damaged copies of an archive, to look at and to try tools on; and the long sweep of damages.
//!
//! In: an archive's directory, where copies go, kinds and seeds. Out: a directory for each damage, with a file beside it
//! that says what was done and what an audit owes; or a verdict on N seeds of each kind.
//! Never: changes the archive (files that do not change are hard links to it); links wal-r: the tests do the work.

use crate::shell::{self, Outcome, cargo, run as sh, take_value};
use std::path::Path;

/// `cargo xtask damage ARCHIVE OUT [--kind NAME] [SEED…]`, `cargo xtask damage --sweep N [ARCHIVE]`, `cargo xtask damage --kinds`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let mut arguments = arguments.to_vec();
    let mut command = cargo();
    command.args(["test", "--features", "testing", "--test", "it", "--", "--exact", "--nocapture"]);
    if shell::take_flag(&mut arguments, "--kinds") {
        shell::nothing_else(&arguments)?;
        return sh(command.arg("damage::copies_for_people").env("WALR_DAMAGE", "kinds"));
    }
    if let Some(seeds) = take_value(&mut arguments, "--sweep")? {
        if let [archive] = arguments.as_slice() {
            command
                .env("WALR_DAMAGE_ARCHIVE", std::path::absolute(archive).map_err(|why| format!("{archive}: {why}"))?);
            command.arg("damage::of_any_archive");
        } else {
            shell::nothing_else(&arguments)?;
            command.args(["damage::of_the_bundled_archive", "damage::of_an_archive_of_a_real_server"]);
            command.args(["damage::of_the_larger_archive"]).env("WALR_TOOLS", crate::tools::folder(&shell::root()));
        }
        seeds.parse::<u32>().map_err(|_| format!("--sweep wants a number of seeds for each kind, not {seeds:?}"))?;
        return sh(command.env("WALR_DAMAGE_SEEDS", seeds));
    }
    let kind = take_value(&mut arguments, "--kind")?;
    let [archive, out, seeds @ ..] = arguments.as_slice() else {
        return Err(String::from(
            "it is `cargo xtask damage ARCHIVE OUT [--kind NAME] [SEED…]`, or --sweep N [ARCHIVE], or --kinds",
        ));
    };
    // The tests run in another directory.
    let here = std::env::current_dir().map_err(|why| format!("the current directory: {why}"))?;
    let place = |path: &str| here.join(Path::new(path));
    command.arg("damage::copies_for_people").env("WALR_DAMAGE", place(archive)).env("WALR_DAMAGE_OUT", place(out));
    command.env("WALR_DAMAGE_KIND", kind.unwrap_or_default()).env("WALR_DAMAGE_SEEDS", seeds.join(" "));
    sh(&mut command)
}
