//! What a test may need, and what becomes of it when that is missing: a named skip, or a failure.
//!
//! In: names of programs. Out: what was found, or [`Missing`]; skips go as lines into the file `WALR_SKIPS`
//! (`target/skipped-tests.txt` under `cargo xtask test`), which prints them at the end.
//! Never: a skip without the name of the test, what it lacks and how to get it.

use super::azurite::Azurite;
use super::cgroup::Cgroup;
use super::clock::Faketime;
use super::garage::Garage;
use super::postgres::Postgres;
use super::tools;
use super::wal_e::WalE;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Something that is not on this machine.
#[derive(Debug)]
pub struct Missing {
    what: String,
    how: String,
    /// `cargo xtask setup` could have got it: then `WALR_REQUIRE_ALL` makes it a failure.
    obtainable: bool,
}

impl Missing {
    /// Something of the machine that no setup brings: root, a mount.
    pub fn of_machine(what: impl Into<String>, how: impl Into<String>) -> Missing {
        Missing { what: what.into(), how: how.into(), obtainable: false }
    }

    fn program(what: impl Into<String>) -> Missing {
        Missing { what: what.into(), how: "cargo xtask setup".into(), obtainable: true }
    }

    /// A right that nothing can be installed for.
    pub fn right(what: impl Into<String>) -> Missing {
        Missing { what: what.into(), how: "run the tests as root".into(), obtainable: false }
    }
}

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A PostgreSQL of this major.
pub fn postgres(major: u32) -> Result<Postgres, Missing> {
    tools::postgres(&tools::folder(&root()), major)
        .map(|bin| Postgres::new(major, bin))
        .ok_or_else(|| Missing::program(format!("PostgreSQL {major}")))
}

/// A PostgreSQL of this major with pg_rewind, which npm's packages leave out: 13 (of an older Debian), 15 (Debian's), 18.
pub fn whole_postgres(major: u32) -> Result<Postgres, Missing> {
    let tools = tools::folder(&root());
    let whole = tools::whole_postgres(&tools).filter(|_| major == tools::WHOLE_POSTGRES.0);
    let old = tools::debian_postgres(&tools).filter(|_| major == tools::DEBIAN_POSTGRES.0);
    let missing = || match major == tools::DEBIAN_POSTGRES.0 {
        // That suite may leave Debian's archive any day.
        true => Missing::of_machine(format!("pg_rewind {major}"), "cargo xtask setup, on Debian and amd64"),
        false => Missing::program(format!("pg_rewind {major}")),
    };
    whole
        .or(old)
        .or_else(|| tools::postgres(&tools, major))
        .filter(|bin| bin.join("pg_rewind").is_file())
        .map(|bin| Postgres::new(major, bin))
        .ok_or_else(missing)
}

/// PostgreSQL 15's pg_waldump, which the packages of npm leave out.
pub fn pg_waldump() -> Result<PathBuf, Missing> {
    tools::postgres(&tools::folder(&root()), 15)
        .map(|bin| bin.join("pg_waldump"))
        .filter(|program| program.is_file())
        .ok_or_else(|| Missing::program("pg_waldump 15"))
}

/// A running S3 server, shared by the tests that hold it at the same time.
pub fn garage() -> Result<Arc<Garage>, Missing> {
    garage_program().map(|program| Garage::shared(&program))
}

/// The program of an S3 server, to start some of one's own.
pub fn garage_program() -> Result<PathBuf, Missing> {
    tools::garage(&tools::folder(&root())).ok_or_else(|| Missing::program(format!("Garage {}", tools::GARAGE)))
}

/// A running Azure Blob Storage, shared by the tests that hold it at the same time.
pub fn azurite() -> Result<Arc<Azurite>, Missing> {
    let node = tools::system("node").ok_or_else(|| Missing::program("node"))?;
    tools::azurite(&tools::folder(&root()))
        .map(|script| Azurite::shared(&node, &script))
        .ok_or_else(|| Missing::program(format!("Azurite {}", tools::AZURITE)))
}

/// The original WAL-E, and the programs it calls.
pub fn wal_e() -> Result<WalE, Missing> {
    for program in ["lzop", "psql", "pv"] {
        tools::system(program).ok_or_else(|| Missing::program(program))?;
    }
    let python = tools::python().ok_or_else(|| Missing::program("python3"))?;
    let folder =
        tools::wal_e(&tools::folder(&root())).ok_or_else(|| Missing::program(format!("wal-e {}", tools::WAL_E)))?;
    Ok(WalE::new(python, &folder))
}

/// The original lzop.
pub fn lzop() -> Result<PathBuf, Missing> {
    tools::system("lzop").ok_or_else(|| Missing::program("lzop"))
}

/// What computes a certificate's seal as its page says.
pub fn jq() -> Result<PathBuf, Missing> {
    tools::system("jq").ok_or_else(|| Missing::program("jq"))
}

/// What makes system calls fail.
pub fn strace() -> Result<PathBuf, Missing> {
    tools::system("strace").ok_or_else(|| Missing::program("strace"))
}

/// What knows host names in the place of the programs it is loaded into.
pub fn nss_wrapper() -> Result<PathBuf, Missing> {
    tools::library(tools::NSS_WRAPPER).ok_or_else(|| Missing::program("nss_wrapper"))
}

/// What moves the clock of the programs it is loaded into.
pub fn faketime() -> Result<Faketime, Missing> {
    let library = tools::library("faketime/libfaketimeMT.so.1");
    let found = tools::system("faketime").zip(library).map(|(program, library)| Faketime { program, library });
    found.ok_or_else(|| Missing::program("faketime"))
}

/// A group of processes that share so much memory.
pub fn memory(bytes: u64) -> Result<Cgroup, Missing> {
    Cgroup::new(bytes).ok_or_else(|| Missing::right("a memory cgroup of one's own"))
}

/// The browser that pages are looked at in.
pub fn chromium() -> Result<PathBuf, Missing> {
    tools::system("chromium").ok_or_else(|| Missing::program("chromium"))
}

/// The larger archive that is kept outside this repository: the folder that holds `wal-e-pg13` and its facts.
/// In `WALR_ARCHIVES`, else in `../shared/archives`.
pub fn shared_archive() -> Result<PathBuf, Missing> {
    let folder = std::env::var_os("WALR_ARCHIVES").map_or_else(|| root().join("../shared/archives"), PathBuf::from);
    if folder.join("wal-e-pg13/basebackups_005").is_dir() {
        return Ok(folder.canonicalize().expect("it is there"));
    }
    let how = "a folder with wal-e-pg13 and wal-e-pg13.facts.txt, named by WALR_ARCHIVES".into();
    Err(Missing { what: "the larger archive wal-e-pg13".into(), how, obtainable: false })
}

/// End a test that cannot run.
#[track_caller]
pub fn skip(here: &str, missing: &Missing) {
    let test = here.trim_end_matches("::here").trim_end_matches("::{{closure}}").trim_start_matches("it::");
    let Missing { what, how, obtainable } = missing;
    let require_all = std::env::var("WALR_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(!(require_all && *obtainable), "{test} cannot run without {what}: {how}");
    eprintln!("skipped {test}: without {what} ({how})");
    let file = std::env::var_os("WALR_SKIPS")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped-tests.txt"), PathBuf::from);
    let line = format!("{test}\t{what}\t{how}\n");
    let written = std::fs::OpenOptions::new().create(true).append(true).open(&file);
    written
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .unwrap_or_else(|why| panic!("{}: {why}", file.display()));
}
