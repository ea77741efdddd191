//! `cargo xtask install`: both programs into one folder, the one that PostgreSQL starts for each segment as quick to start as
//! it can be.
//!
//! In: `--root DIR` as `cargo install` takes it, `--debug` for a quick build. Out: `DIR/bin/wal-r` and `DIR/bin/wal-r-fetch`.
//! Never: leaves programs of two versions beside each other; fails where only the quick start cannot be had.
//!
//! What a hit costs is the start of a process, and half of that is the dynamic linker. `wal-r-fetch` talks to no network and
//! asks no name service, so nothing speaks against linking it statically; Cargo can say that of one program only from
//! outside. `wal-r` stays dynamic: the C library's name service needs it.

use crate::shell::{self, Outcome, cargo, quiet, root, run as sh};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `cargo xtask install [--root DIR] [--debug]`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let mut arguments = arguments.to_vec();
    let into = shell::take_value(&mut arguments, "--root")?;
    let debug = shell::take_flag(&mut arguments, "--debug");
    shell::nothing_else(&arguments)?;

    let mut install = cargo();
    install.args(["install", "--path", ".", "--locked", "--force"]);
    if debug {
        install.arg("--debug");
    }
    if let Some(into) = &into {
        install.arg("--root").arg(into);
    }
    sh(&mut install)?;
    let bin = match into.map(PathBuf::from).or_else(usual_root) {
        // Cargo was at the root when it read it.
        Some(into) => root().join(into).join("bin"),
        None => return Err(String::from("where cargo installs programs is not known: say it with --root")),
    };

    let mut quick = cargo();
    quick.args(["rustc", "--bin", "wal-r-fetch", "--locked"]);
    if !debug {
        quick.arg("--release");
    }
    quick.args(["--", "-C", "target-feature=+crt-static", "-C", "relocation-model=static"]);
    if let Err(why) = sh(&mut quick) {
        eprintln!("{why}\nwal-r-fetch stays as cargo linked it, and takes half a millisecond more to start.");
        return Ok(());
    }
    let built = target().join(if debug { "debug" } else { "release" }).join("wal-r-fetch");
    replace(&built, &bin.join("wal-r-fetch"))?;
    // It becomes the wal-r beside it, or says why not.
    let mut version = Command::new(bin.join("wal-r-fetch"));
    let said = quiet(version.arg("--help"))?;
    if said.contains("restore_command") {
        println!("{} and wal-r-fetch, linked statically", bin.join("wal-r").display());
        return Ok(());
    }
    Err(format!("{} does not become wal-r:\n{said}", bin.join("wal-r-fetch").display()))
}

/// Where `cargo install` puts programs when nobody says.
fn usual_root() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("CARGO_INSTALL_ROOT").or_else(|| named("CARGO_HOME")).or_else(|| Some(named("HOME")?.join(".cargo")))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |target| root().join(target))
}

/// Put a program under a name that a server may start at any moment.
fn replace(from: &Path, to: &Path) -> Outcome {
    let said = |why: std::io::Error| format!("{}: {why}", to.display());
    let fresh = to.with_extension("new");
    std::fs::copy(from, &fresh).map_err(said)?;
    std::fs::rename(&fresh, to).map_err(said)
}
