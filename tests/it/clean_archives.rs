//! No alarm on clean archives: servers of every version, with promotions, switches, long records, crashes, idle times.
//!
//! In: PostgreSQL 10 to 18, lzop. Out: the archives are what they claim (PostgreSQL itself recovers them; the odd things
//! are in them), and every audit calls them good. Never: an archive that no server wrote.

use crate::support::clean::{self, ACCOUNTS, Clean};
use crate::support::need::Missing;
use crate::support::recovery::{self, Kind};
use crate::support::{Scratch, need, or_skip, succeed, wal_r};
use std::collections::BTreeMap;
use std::path::Path;
use wal_r::testing::lzop::unlzop;

/// One archive of this version: made, true, and without alarm.
fn clean(major: u32) -> Result<(), Missing> {
    let (postgres, lzop) = (need::postgres(major)?, need::lzop()?);
    let scratch = Scratch::new();
    let made = clean::make(&scratch, &postgres, &lzop);
    holds_what_is_odd(&made);
    no_alarm(&scratch, &made);

    // The judge that counts: PostgreSQL gets from the oldest base backup to the newest state.
    let first = made.backups.first().expect("there is a backup");
    let data = clean::restore(&scratch, &lzop, &made.archive, first, "judged");
    let fetch = format!("'{}' -dc '{}/wal_005/%f.lzo' >'%p'", lzop.display(), made.archive.display());
    let settings = recovery::configure_with(&postgres, &data, Kind::PointInTime, &fetch);
    let mut settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    settings.push("max_prepared_transactions=4");
    let mut server = postgres.spawn(&scratch, &data, &settings, &[]);
    server.wait_promoted();
    assert_eq!(server.ask(ACCOUNTS), made.sum, "{}", server.log());
    Ok(())
}

/// Every audit at every level calls it good, a second night too.
fn no_alarm(scratch: &Scratch, made: &Clean) {
    let prefix = made.archive.display().to_string();
    for level in ["names", "decode", "headers", "records"] {
        succeed(wal_r().args(["audit", "--prefix", &prefix, "--level", level, "--backups", "ALL"]));
    }
    for check in ["integrity", "timeline", "names", "records"] {
        succeed(wal_r().args(["wal-verify", check, "--prefix", &prefix]));
    }
    succeed(wal_r().args(["backup-verify", "ALL", "--prefix", &prefix]));
    for _ in 0..2 {
        succeed(
            wal_r().args(["audit", "--prefix", &prefix, "--recheck", "20%", "--ledger"]).arg(scratch.join("ledger")),
        );
    }
}

/// Page flags of WAL (PostgreSQL `xlog_internal.h`): this page begins with the rest of a record; the record that a page
/// begins with replaces one that was given up.
const CONTINUED: u16 = 0x0001;
const OVERWRITE: u16 = 0x0008;

/// What the archive was made for is in it, as bytes show.
fn holds_what_is_odd(made: &Clean) {
    let wal = objects(&made.archive.join("wal_005"));
    let has = |text: &str| wal.keys().any(|name| name.contains(text));
    for timeline in 1..=5 {
        assert!(has(&format!("{timeline:08X}0000")), "timeline {timeline}");
        assert!(timeline == 1 || has(&format!("{timeline:08X}.history")), "history of {timeline}");
    }
    assert!(has(".partial.lzo"));
    assert_eq!(wal.keys().filter(|name| name.contains(".backup.")).count(), made.backups.len());
    let (mut given_up, mut only_continued, mut zero_tails) = (0, 0, 0);
    for (name, bytes) in wal.iter().filter(|(name, _)| name.len() == 28) {
        assert_eq!(bytes.len(), made.segment, "{name}");
        let flags = |page: &[u8]| u16::from_le_bytes([page[2], page[3]]);
        let pages: Vec<&[u8]> = bytes.chunks(8192).collect();
        given_up += pages.iter().filter(|page| flags(page) & OVERWRITE != 0).count();
        only_continued += usize::from(pages.iter().all(|page| flags(page) & CONTINUED != 0));
        zero_tails += usize::from(bytes[made.segment - 8192 + 24..].iter().all(|byte| *byte == 0));
    }
    assert!(given_up >= 2, "records given up in a crash: {given_up}");
    assert!(only_continued >= 2, "segments without a record's start: {only_continued}");
    assert!(zero_tails >= 5, "segments that were switched: {zero_tails}");
}

/// The WAL files of an archive: stored name and plain content.
fn objects(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("the archive");
    let one = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        name.ends_with(".lzo").then(|| (name, unlzop(&std::fs::read(&path).expect("an object"))))
    };
    entries.filter_map(one).collect()
}

macro_rules! versions {
    ($($name:ident $major:literal;)*) => {$(
        #[test]
        fn $name() {
            or_skip!(clean($major));
        }
    )*};
}

versions! {
    of_10 10;
    of_11 11;
    of_12 12;
    of_13 13;
    of_14 14;
    of_15 15;
    of_16 16;
    of_17 17;
    of_18 18;
}
