//! Versions: every number a server shows, back to the major version.

use crate::pg::version::PgVersion;

fn version(text: &str) -> PgVersion {
    PgVersion::parse(text).unwrap()
}

#[test]
fn of_every_release() {
    for (text, number, magic, control) in [
        ("9.4", 90426, 0xD07E, (942, 201_409_291)),
        ("9.5", 90525, 0xD087, (942, 201_510_051)),
        ("9.6", 90624, 0xD093, (960, 201_608_131)),
        ("10", 100_023, 0xD097, (1002, 201_707_211)),
        ("11", 110_022, 0xD098, (1100, 201_809_051)),
        ("12", 120_022, 0xD101, (1201, 201_909_212)),
        ("13", 130_023, 0xD106, (1300, 202_007_201)),
        ("14", 140_023, 0xD10D, (1300, 202_107_181)),
        ("15", 150_018, 0xD110, (1300, 202_209_061)),
        ("16", 160_014, 0xD113, (1300, 202_307_071)),
        ("17", 170_010, 0xD116, (1700, 202_406_281)),
        ("18", 180_004, 0xD118, (1800, 202_506_291)),
    ] {
        let version = version(text);
        assert_eq!(version.to_string(), text);
        assert_eq!(PgVersion::from_number(number), Some(version));
        assert_eq!(PgVersion::from_page_magic(magic), Some(version));
        assert_eq!(version.page_magic(), Some(magic));
        assert_eq!(PgVersion::from_control(control.0, control.1), Some(version), "{text}");
        assert_eq!(PgVersion::from_banner(&format!("PostgreSQL {text}.23 on x86_64-pc-linux-gnu")), Some(version));
        assert_eq!(PgVersion::parse(&format!("{text}\n")), Some(version));
    }
}

#[test]
fn of_other_texts() {
    for wrong in ["", "\n", "9", "13.2", "x", "-1", "10.0", "99999999", "9.999", "<html>"] {
        assert_eq!(PgVersion::parse(wrong), None, "{wrong:?}");
    }
    assert_eq!(PgVersion::from_banner("PostgreSQL 15.18 (Debian 15.18-0+deb12u1)"), Some(version("15")));
    assert_eq!(PgVersion::from_banner("PostgreSQL 19devel on x86_64"), Some(version("19")));
    assert_eq!(PgVersion::from_banner("PostgreSQL 16beta1"), Some(version("16")));
    for wrong in ["", "PostgreSQL", "PostgreSQL ", "PostgreSQL x", "MySQL 8.0", "PostgreSQL 9"] {
        assert_eq!(PgVersion::from_banner(wrong), None, "{wrong:?}");
    }
    assert_eq!(PgVersion::from_page_magic(0xD115), None, "a beta of 17");
    assert_eq!(PgVersion::from_control(1900, 202_700_000), None);
    assert_eq!(PgVersion::from_control(0, 0), None);
    assert_eq!(PgVersion::from_number(0), None);
    assert_eq!(PgVersion::from_number(u32::MAX), None);
}

#[test]
fn what_differs() {
    let first = |holds: fn(PgVersion) -> bool| {
        ["9.4", "9.5", "9.6", "10", "11", "12", "13", "14", "15", "16", "17", "18"]
            .into_iter()
            .find(|v| holds(version(v)))
    };
    assert_eq!(first(|v| !v.has_recovery_conf()), Some("12"));
    assert_eq!(first(|v| v.wal_dir() == "pg_wal"), Some("10"));
    assert_eq!(first(PgVersion::refuses_to_miss_its_target), Some("13"));
    assert_eq!(first(PgVersion::follows_latest_by_default), Some("12"));
    assert_eq!(first(PgVersion::has_target_lsn), Some("10"));
    assert_eq!(first(PgVersion::escapes_backslash), Some("14"));
}
