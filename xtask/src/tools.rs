//! Where the real programs are that tests, demo and archive makers use. Shared by xtask, which puts them there, and by
//! the test harness (`tests/it/support`), which looks for them.
//!
//! In: the root of the repository, the environment. Out: paths of programs that exist. Never: installs or runs anything.
//!
//! A tools folder (`WALR_TOOLS`, else `target/tools`) holds:
//!
//! ```text
//! postgres-13/bin/postgres    from npm, @embedded-postgres; also initdb and pg_ctl, no client programs
//! garage-2.5.0/bin/garage     from the Cargo registry
//! azurite-3.37.0/             from npm, what speaks Azure Blob Storage; runs in node
//! wal-e-1.1.1/                a Python environment with wal-e from PyPI
//! embedded-postgres-18.6.3/   another, with PostgreSQL 18 and all its programs, pg_rewind and pg_amcheck among them
//! debian-postgres-13.16/      Debian's PostgreSQL 13 with the libraries of its time: a pg_rewind 13, on amd64
//! ```

use std::path::{Path, PathBuf};

/// PostgreSQL majors the tests run, and the npm version of each.
pub(crate) const POSTGRES: &[(u32, &str)] = &[
    (10, "10.23.0-beta.6"),
    (11, "11.22.1-beta.11"),
    (12, "12.22.0-beta.15"),
    (13, "13.23.0-beta.16"),
    (14, "14.23.0-beta.17"),
    (15, "15.18.0-beta.17"),
    (16, "16.14.0-beta.17"),
    (17, "17.10.0-beta.17"),
    (18, "18.4.0-beta.17"),
];

/// The S3 server the tests talk to.
pub(crate) const GARAGE: &str = "2.5.0";

/// Microsoft's own stand-in for Azure Blob Storage.
pub(crate) const AZURITE: &str = "3.37.0";

/// PostgreSQL 18 with all its programs: npm's packages hold the server alone.
pub(crate) const WHOLE_POSTGRES: (u32, &str) = (18, "18.6.3");

/// PostgreSQL 13 with all its programs, from Debian's suite before last; and the packages of it: path, SHA-256.
pub(crate) const DEBIAN_POSTGRES: (u32, &str) = (13, "13.16");
#[allow(dead_code, reason = "the tests' harness shares this file, and installs nothing")]
pub(crate) const DEBIAN_PACKAGES: &[(&str, &str)] = &[
    (
        "main/p/postgresql-13/postgresql-13_13.16-0+deb11u1_amd64.deb",
        "bc484764707e67d5a40b51f24e45b666f5c1c2d782ae4b48127756cb36d5c6c7",
    ),
    ("main/i/icu/libicu67_67.1-7_amd64.deb", "2bf5c46254f527865bfd6368e1120908755fa57d83634bd7d316c9b3cfd57303"),
    (
        "main/o/openssl/libssl1.1_1.1.1w-0+deb11u1_amd64.deb",
        "aadf8b4b197335645b230c2839b4517aa444fd2e8f434e5438c48a18857988f7",
    ),
    (
        "main/o/openldap/libldap-2.4-2_2.4.57+dfsg-3+deb11u1_amd64.deb",
        "3d79ee84c42c1d1b58a6e0d7debc7e3c8444147b84412b8248a7789809bc3163",
    ),
];

/// The original of everything.
pub(crate) const WAL_E: &str = "1.1.1";

/// The folder of installed programs: `WALR_TOOLS`, else `target/tools` below the root.
pub(crate) fn folder(root: &Path) -> PathBuf {
    match std::env::var_os("WALR_TOOLS") {
        Some(folder) if !folder.is_empty() => root.join(folder),
        _ => root.join("target/tools"),
    }
}

/// The `bin` folder of a PostgreSQL major: the system's, else the tools folder's.
pub(crate) fn postgres(tools: &Path, major: u32) -> Option<PathBuf> {
    let system = PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"));
    [system, tools.join(format!("postgres-{major}/bin"))]
        .into_iter()
        .find(|bin| bin.join("postgres").is_file() && bin.join("initdb").is_file())
}

/// The `bin` folder of [`WHOLE_POSTGRES`].
pub(crate) fn whole_postgres(tools: &Path) -> Option<PathBuf> {
    let lib = tools.join(format!("embedded-postgres-{}/lib", WHOLE_POSTGRES.1));
    let mut environments = std::fs::read_dir(lib).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    environments.find_map(|python| {
        Some(python.join("site-packages/embedded_postgres/pginstall/bin")).filter(|bin| bin.is_dir())
    })
}

/// The `bin` folder of [`DEBIAN_POSTGRES`].
pub(crate) fn debian_postgres(tools: &Path) -> Option<PathBuf> {
    Some(tools.join(format!("debian-postgres-{}/bin", DEBIAN_POSTGRES.1))).filter(|bin| bin.is_dir())
}

/// Garage, of the tools folder.
pub(crate) fn garage(tools: &Path) -> Option<PathBuf> {
    Some(tools.join(format!("garage-{GARAGE}/bin/garage"))).filter(|path| path.is_file())
}

/// Azurite, of the tools folder: the script that node runs.
pub(crate) fn azurite(tools: &Path) -> Option<PathBuf> {
    let script = tools.join(format!("azurite-{AZURITE}/node_modules/azurite/dist/src/blob/main.js"));
    Some(script).filter(|path| path.is_file())
}

/// The Python environment of wal-e: the folder with `bin` and `lib`.
pub(crate) fn wal_e(tools: &Path) -> Option<PathBuf> {
    Some(tools.join(format!("wal-e-{WAL_E}"))).filter(|path| path.join("bin/wal-e").is_file())
}

/// A program of the system, looked for in PATH and where Debian puts it.
pub(crate) fn system(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// What knows host names in the place of the C library: Debian's `libnss-wrapper`.
pub(crate) const NSS_WRAPPER: &str = "libnss_wrapper.so";

/// A library of the system, which programs can be told to load: looked for where Debian and others put it.
pub(crate) fn library(name: &str) -> Option<PathBuf> {
    let machines = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let usual = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    machines.chain(usual).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

/// The Python that wal-e runs on: the system's own, because the server's user can reach it.
pub(crate) fn python() -> Option<PathBuf> {
    Some(PathBuf::from("/usr/bin/python3")).filter(|path| path.is_file()).or_else(|| system("python3"))
}

/// The unprivileged user (uid, gid) that servers run as when we are root: PostgreSQL refuses to run as root.
/// Source: /etc/passwd; `postgres`, else `nobody`.
pub(crate) fn server_user() -> Option<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let find = |name: &str| {
        let mut fields = passwd
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((uid, gid))
    };
    find("postgres").or_else(|| find("nobody"))
}

/// Whether any user may reach this path: every folder above it can be entered.
pub(crate) fn reachable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let Ok(path) = path.canonicalize() else { return false };
    path.ancestors()
        .skip(1)
        .all(|folder| std::fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0))
}
