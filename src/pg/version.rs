//! Major versions of PostgreSQL, and what differs between them for a reader of archives.
//!
//! In: a WAL page's magic, pg_control's two version numbers, `PG_VERSION`, `server_version_num`, `SELECT version()`.
//! Out: [`PgVersion`] and its questions. Never: takes an unknown version for damage: that is the caller's to word.
//! Source: PostgreSQL `XLOG_PAGE_MAGIC`, `PG_CONTROL_VERSION`, `CATALOG_VERSION_NO` of each release; release notes.

use std::fmt;

/// A released major version: 9.6, 13. Ordered by release.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PgVersion(u16); // 906 for 9.6, 1300 for 13

/// Version, page magic, control version and catalog version. Zero: the control file of that version is not read.
const RELEASES: [(PgVersion, u16, u32, u32); 16] = [
    (PgVersion(900), 0xD064, 0, 0),
    (PgVersion(901), 0xD066, 0, 0),
    (PgVersion(902), 0xD071, 0, 0),
    (PgVersion(903), 0xD075, 0, 0),
    (PgVersion(904), 0xD07E, 0, 0),
    (PgVersion(905), 0xD087, 942, 201_510_051),
    (PgVersion(906), 0xD093, 960, 201_608_131),
    (PgVersion(1000), 0xD097, 1002, 201_707_211),
    (PgVersion(1100), 0xD098, 1100, 201_809_051),
    (PgVersion(1200), 0xD101, 1201, 201_909_212),
    (PgVersion(1300), 0xD106, 1300, 202_007_201),
    (PgVersion(1400), 0xD10D, 1300, 202_107_181),
    (PgVersion(1500), 0xD110, 1300, 202_209_061),
    (PgVersion(1600), 0xD113, 1300, 202_307_071),
    (PgVersion(1700), 0xD116, 1700, 202_406_281),
    (PgVersion(1800), 0xD118, 1800, 202_506_291),
];

impl PgVersion {
    /// The oldest version whose WAL records and control file are read.
    pub const OLDEST: PgVersion = PgVersion(905);
    /// The newest version known when this was written.
    pub const NEWEST: PgVersion = PgVersion(1800);

    /// From `server_version_num`: 90624 is 9.6, 130023 is 13. `None` below 8.0 or beyond 16 bits.
    pub fn from_number(server_version_num: u32) -> Option<Self> {
        let major = match server_version_num {
            80_000..100_000 => server_version_num / 100,
            100_000.. => server_version_num / 10_000 * 100,
            _ => return None,
        };
        u16::try_from(major).ok().map(PgVersion)
    }

    /// From the magic of a WAL page. `None`: a version not released when this was written, a beta, or no WAL.
    pub fn from_page_magic(magic: u16) -> Option<Self> {
        RELEASES.iter().find(|release| release.1 == magic).map(|release| release.0)
    }

    /// From pg_control's `pg_control_version` and `catalog_version_no`. 13 to 16 share the first number; between their
    /// releases the catalog version is that of a beta of the later one.
    pub fn from_control(control_version: u32, catalog_version: u32) -> Option<Self> {
        // 9.4 and 9.5 share 942 although their layouts differ; below 9.5's first catalog it is 9.4.
        if control_version == 942 && catalog_version < 201_500_000 {
            return Some(PgVersion(904));
        }
        let mut same = RELEASES.iter().filter(|release| release.2 == control_version && release.2 != 0).peekable();
        let mut found = None;
        while let Some(release) = same.next() {
            found = Some(release.0);
            if catalog_version <= release.3 || same.peek().is_none() {
                break;
            }
        }
        found
    }

    /// From the first line of a `PG_VERSION` file: `9.6`, `13`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let number = |digits: &str| -> Option<u16> {
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) { None } else { digits.parse().ok() }
        };
        match text.split_once('.') {
            Some((high, low)) => {
                let (high, low) = (number(high)?, number(low)?);
                (high < 10 && low < 100).then(|| PgVersion(high * 100 + low))
            }
            None => number(text)?.checked_mul(100).filter(|major| *major >= 1000).map(PgVersion),
        }
    }

    /// From the text of `SELECT version()` or `pg_config --version`: `PostgreSQL 9.6.24 on x86_64…`.
    pub fn from_banner(text: &str) -> Option<Self> {
        let number = text.trim_start().strip_prefix("PostgreSQL ")?;
        let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let mut parts = number.get(..end)?.split('.');
        let high: u16 = parts.next()?.parse().ok()?;
        if high >= 10 {
            return high.checked_mul(100).map(PgVersion);
        }
        let low: u16 = parts.next()?.parse().ok()?;
        (low < 100).then(|| PgVersion(high * 100 + low))
    }

    /// The magic of its WAL pages, where it was released when this was written.
    pub fn page_magic(self) -> Option<u16> {
        RELEASES.iter().find(|release| release.0 == self).map(|release| release.1)
    }

    /// The major number: 9 for 9.6, 13 for 13.
    pub fn major(self) -> u16 {
        self.0 / 100
    }

    /// What tells major versions apart, as one number: 906 for 9.6, 13 for 13.
    pub fn series(self) -> u32 {
        match self.0 {
            old @ ..1000 => old.into(),
            new => (new / 100).into(),
        }
    }

    /// This major version or a later one, for majors from 10 on.
    pub fn is_at_least(self, major: u16) -> bool {
        self.major() >= major
    }

    /// Recovery settings live in `recovery.conf` (before 12); afterwards in the ordinary ones, with a signal file.
    pub fn has_recovery_conf(self) -> bool {
        self.0 < 1200
    }

    /// The WAL directory's name within the data directory.
    pub fn wal_dir(self) -> &'static str {
        if self.0 < 1000 { "pg_xlog" } else { "pg_wal" }
    }

    /// A recovery that ends before its target is a fatal error (13 and later); before, the server opens in silence.
    pub fn refuses_to_miss_its_target(self) -> bool {
        self.0 >= 1300
    }

    /// What `recovery_target_timeline` is when nothing sets it: `latest` from 12, the backup's own before.
    pub fn follows_latest_by_default(self) -> bool {
        self.0 >= 1200
    }

    /// A recovery target can be an LSN.
    pub fn has_target_lsn(self) -> bool {
        self.0 >= 1000
    }

    /// A data directory may be readable by its group (11 and later); before, the server refuses it.
    pub fn has_group_access(self) -> bool {
        self.0 >= 1100
    }

    /// `tablespace_map` escapes backslashes too (14 and later), not only line ends.
    pub fn escapes_backslash(self) -> bool {
        self.0 >= 1400
    }
}

impl fmt::Display for PgVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            old @ ..1000 => f.pad(&format!("{}.{}", old / 100, old % 100)),
            new => f.pad(&(new / 100).to_string()),
        }
    }
}

impl fmt::Debug for PgVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PgVersion({self})")
    }
}

impl serde::Serialize for PgVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
