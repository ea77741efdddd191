//! Every name of both layouts, the near misses beside them, and round trips.

use super::entry::PartName;
use super::{BackupName, Compression, Entry, ObjectKey, WalFile};
use proptest::prelude::*;

/// One line about an entry: its kind, then its fields.
fn show(entry: &Entry) -> String {
    let part = |part: &PartName| match part {
        PartName::Part(number) => format!("part {number}"),
        PartName::Copy(number) => format!("copy {number}"),
        PartName::Label => "label".to_owned(),
        PartName::Control => "control".to_owned(),
    };
    match entry {
        Entry::Wal { file: WalFile::Segment(name), stored } => format!("segment {name} {stored}"),
        Entry::Wal { file: WalFile::History(timeline), stored } => format!("history {timeline} {stored}"),
        Entry::Wal { file: WalFile::BackupHistory(name, offset), stored } => {
            format!("backup history {name} {offset} {stored}")
        }
        Entry::Wal { file: WalFile::Partial(name), stored } => format!("partial {name} {stored}"),
        Entry::WalDelta(name) => format!("delta {name}"),
        Entry::WalMetadata => "wal metadata".to_owned(),
        Entry::Sentinel(backup) => format!("sentinel {backup}"),
        Entry::Partition { backup, part: which, stored } => format!("{} of {backup} {stored}", part(which)),
        Entry::Version(backup) => format!("version of {backup}"),
        Entry::Metadata(backup) => format!("metadata of {backup}"),
        Entry::FilesMetadata(backup) => format!("files metadata of {backup}"),
        Entry::SystemId => "system id".to_owned(),
        Entry::OldLayout => "old layout".to_owned(),
        Entry::Foreign => "foreign".to_owned(),
    }
}

#[test]
fn every_name_of_both_layouts() {
    const BASE: &str = "base_000000010000000000000003";
    let e = "base_000000010000000000000003_00000040"; // WAL-E
    let d = "base_00000001000000000000000A_D_000000010000000000000003"; // WAL-G delta
    let b = "basebackups_005";
    #[rustfmt::skip]
    let table = [
        // WAL-E
        (format!("{b}/{e}/extended_version.txt"), format!("version of {e}")),
        (format!("{b}/{e}/tar_partitions/part_00000000.tar.lzo"), format!("part 0 of {e} lzo")),
        (format!("{b}/{e}/tar_partitions/part_00000012.tar.lzo"), format!("part 12 of {e} lzo")),
        (format!("{b}/{e}/tar_partitions/part_0.tar.lzo"), format!("part 0 of {e} lzo")),
        (format!("{b}/{e}/tar_partitions/part_10.tar.lzo"), format!("part 10 of {e} lzo")),
        (format!("{b}/{e}_backup_stop_sentinel.json"), format!("sentinel {e}")),
        ("wal_005/000000010000000000000001.lzo".into(), "segment 000000010000000000000001 lzo".into()),
        ("wal_005/000000010000000000000002.00000028.backup.lzo".into(), "backup history 000000010000000000000002 40 lzo".into()),
        ("wal_005/00000002.history.lzo".into(), "history 2 lzo".into()),
        ("wal_005/000000010000000000000001.partial.lzo".into(), "partial 000000010000000000000001 lzo".into()),
        ("sysids/sysid".into(), "system id".into()),
        // WAL-G: backups
        (format!("{b}/{BASE}_backup_stop_sentinel.json"), format!("sentinel {BASE}")),
        (format!("{b}/{d}_backup_stop_sentinel.json"), format!("sentinel {d}")),
        (format!("{b}/{BASE}/metadata.json"), format!("metadata of {BASE}")),
        (format!("{b}/{BASE}/files_metadata.json"), format!("files metadata of {BASE}")),
        (format!("{b}/{BASE}/tar_partitions/part_001.tar.lz4"), format!("part 1 of {BASE} lz4")),
        (format!("{b}/{BASE}/tar_partitions/part_1234.tar.zst"), format!("part 1234 of {BASE} zst")),
        (format!("{b}/{BASE}/tar_partitions/part_001.tar.br"), format!("part 1 of {BASE} br")),
        (format!("{b}/{BASE}/tar_partitions/part_001.tar.lzma"), format!("part 1 of {BASE} lzma")),
        (format!("{b}/{BASE}/tar_partitions/part_001.tar.gz"), format!("part 1 of {BASE} gz")),
        (format!("{b}/{BASE}/tar_partitions/part_001.tar"), format!("part 1 of {BASE} plain")),
        (format!("{b}/{BASE}/tar_partitions/part_001.tar."), format!("part 1 of {BASE} plain")),
        (format!("{b}/{BASE}/tar_partitions/copy_0.tar.zst"), format!("copy 0 of {BASE} zst")),
        (format!("{b}/{BASE}/tar_partitions/copy_0.tar.tar"), format!("copy 0 of {BASE} plain")),
        (format!("{b}/{d}/tar_partitions/pg_control.tar.lz4"), format!("control of {d} lz4")),
        (format!("{b}/{BASE}/tar_partitions/pg_control.tar."), format!("control of {BASE} plain")),
        (format!("{b}/{BASE}/tar_partitions/backup_label.tar.br"), format!("label of {BASE} br")),
        // WAL-G: WAL
        ("wal_005/000000010000000000000001.lz4".into(), "segment 000000010000000000000001 lz4".into()),
        ("wal_005/000000010000000000000001.zst".into(), "segment 000000010000000000000001 zst".into()),
        ("wal_005/000000010000000000000001.br".into(), "segment 000000010000000000000001 br".into()),
        ("wal_005/000000010000000000000001.gz".into(), "segment 000000010000000000000001 gz".into()),
        ("wal_005/000000010000000000000001.xz".into(), "segment 000000010000000000000001 xz".into()),
        ("wal_005/000000010000000000000001.lzma".into(), "segment 000000010000000000000001 lzma".into()),
        ("wal_005/000000010000000000000001".into(), "segment 000000010000000000000001 plain".into()),
        ("wal_005/000000010000000000000001.".into(), "segment 000000010000000000000001 plain".into()),
        ("wal_005/000000010000000000000001.partial".into(), "partial 000000010000000000000001 plain".into()),
        ("wal_005/000000010000000000000001.partial.zst".into(), "partial 000000010000000000000001 zst".into()),
        ("wal_005/00000002.history".into(), "history 2 plain".into()),
        ("wal_005/00000002.history.zst".into(), "history 2 zst".into()),
        ("wal_005/000000010000000000000002.00000028.backup".into(), "backup history 000000010000000000000002 40 plain".into()),
        ("wal_005/000000010000000000000010_delta.lz4".into(), "delta 000000010000000000000010".into()),
        ("wal_005/000000010000000000000010_delta".into(), "delta 000000010000000000000010".into()),
        ("wal_005/000000010000000000000010.json".into(), "wal metadata".into()),
        ("wal_005/00000002.history.json".into(), "wal metadata".into()),
        ("wal_005/00000001000000000000001.json".into(), "wal metadata".into()),
        // Layouts of 2011
        ("basebackups_004/base_000000010000000000000003_00000040_backup_stop_sentinel.json".into(), "old layout".into()),
        ("wal_0/000000010000000000000001.lzo".into(), "old layout".into()),
        ("wal_dev-version/000000010000000000000001.lzo".into(), "old layout".into()),
    ];
    for (key, expected) in table {
        assert_eq!(show(&Entry::parse(&ObjectKey::new(&*key))), expected, "{key}");
    }
}

#[test]
fn near_misses_are_foreign() {
    for key in [
        "",
        "/",
        "wal_005",
        "wal_005/",
        "wal_005//000000010000000000000001.lzo",
        "wal_005/./000000010000000000000001.lzo",
        "wal_005/x/000000010000000000000001.lzo",
        "wal_005/000000010000000000000001.lzo.bak",
        "wal_005/000000010000000000000001.lzo.tmp",
        "wal_005/000000010000000000000001.LZO",
        "wal_005/000000010000000000000001..lzo",
        "wal_005/000000010000000000000001.lzo.lzo",
        "wal_005/000000010000000000000001.ready",
        "wal_005/000000010000000000000001.gpg",
        "wal_005/00000001000000000000000a.lzo",
        "wal_005/00000001000000000000001.lzo",
        "wal_005/0000000100000000000000001.lzo",
        "wal_005/000000000000000000000001.lzo",
        "wal_005/ 000000010000000000000001.lzo",
        "wal_005/000000010000000000000001.lzo ",
        "wal_005/000000010000000000000001.lzo/",
        "wal_005/000000010000000000000001_chunks/chunk0",
        "wal_005/000000010000000000000002.28.backup.lzo",
        "wal_005/000000010000000000000002.0000002a.backup.lzo",
        "wal_005/00000002.history.lzo.bak",
        "wal_005/0000000200000000.history.lzo",
        "wal_005/00000000.history.lzo",
        "WAL_005/000000010000000000000001.lzo",
        "wal_006/000000010000000000000001.lzo",
        "segments_005/000000010000000000000001.lzo",
        "basebackups_005/",
        "basebackups_005/base_000000010000000000000003_00000040",
        "basebackups_005/base_000000010000000000000003_00000040_backup_stop_sentinel.json.bak",
        "basebackups_005/base_000000010000000000000003_00000040_backup_stop_sentinel.txt",
        "basebackups_005/x/base_000000010000000000000003_00000040_backup_stop_sentinel.json",
        "basebackups_005/base_000000010000000000000003_0000004_backup_stop_sentinel.json",
        "basebackups_005/base_000000010000000000000003_0000004g_backup_stop_sentinel.json",
        "basebackups_005/base_000000010000000000000003_0000000a_backup_stop_sentinel.json",
        "basebackups_005/base_00000001000000000000000A_D_000000010000000000000003x_backup_stop_sentinel.json",
        "basebackups_005/base_000000010000000000000003_00000040/tar_partitions/",
        "basebackups_005/base_000000010000000000000003_00000040/tar_partitions/README",
        "basebackups_005/base_000000010000000000000003_00000040/tar_partitions/part_00000000.tar.lzo.tmp",
        "basebackups_005/base_000000010000000000000003_00000040/tar_partitions/part_.tar.lzo",
        "basebackups_005/base_000000010000000000000003_00000040/tar_partitions/part_+1.tar.lzo",
        "basebackups_005/base_000000010000000000000003_00000040/tar_partitions/part_99999999999.tar.lzo",
        "basebackups_005/base_000000010000000000000003_00000040/tar_partitions/x/part_0.tar.lzo",
        "basebackups_005/base_000000010000000000000003_00000040/part_0.tar.lzo",
        "basebackups_005/base_000000010000000000000003_00000040/metadata.json.bak",
        // The system id of a container whose prefix had no slash at its end lies outside the prefix, glued to it.
        "sysids/sysid.bak",
        "sysids/",
        "wal-g_storage_check",
    ] {
        assert_eq!(Entry::parse(&ObjectKey::new(key)), Entry::Foreign, "{key}");
    }
}

#[test]
fn backup_names() {
    let name = |text: &str| text.parse::<BackupName>();
    let e = name("base_000000010000000000000003_00000040").unwrap();
    assert_eq!((e.offset_text(), e.offset(), e.is_delta()), (Some("00000040"), Some(40), false));
    assert_eq!(
        e.sentinel_key().as_str(),
        "basebackups_005/base_000000010000000000000003_00000040_backup_stop_sentinel.json"
    );
    assert_eq!(e.partitions_prefix(), "basebackups_005/base_000000010000000000000003_00000040/tar_partitions/");
    // WAL-E's pattern takes hex digits, its own offsets are decimal.
    assert_eq!(name("base_000000010000000000000003_0000002A").unwrap().offset(), None);
    let d = name("base_00000001000000000000000A_D_000000010000000000000003").unwrap();
    assert_eq!(d.parent().unwrap().to_string(), "000000010000000000000003");
    assert_eq!((d.offset_text(), d.is_delta()), (None, true));
    // The recogniser of WAL-G takes a delta with an offset too.
    assert!(name("base_00000001000000000000000A_D_000000010000000000000003_00000040").is_ok());
    for wrong in ["", "base_", "base_000000010000000000000003_", "base_000000010000000000000003_D_", "LATEST", "base_é"]
    {
        assert!(name(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn suffixes() {
    for stored in Compression::ALL {
        assert_eq!(Compression::from_suffix(stored.suffix()), Some(stored));
        let key = ObjectKey::new(format!("wal_005/{}", stored.apply("000000010000000000000001")));
        assert!(matches!(Entry::parse(&key), Entry::Wal { stored: found, .. } if found == stored), "{key}");
    }
    assert_eq!(Compression::from_suffix("LZO"), None);
    assert_eq!(ObjectKey::new("a/b/c").base_name(), "c");
    assert_eq!(ObjectKey::new("a/b/").base_name(), "");
    assert_eq!(ObjectKey::new("c").base_name(), "c");
}

fn segment_text() -> impl Strategy<Value = String> {
    (1_u32.., any::<u32>(), any::<u32>()).prop_map(|(tli, log, seg)| format!("{tli:08X}{log:08X}{seg:08X}"))
}

proptest! {
    #[test]
    fn wal_names_round_trip(segment in segment_text(), offset: u32, kind in 0..4) {
        let text = match kind {
            0 => segment,
            1 => format!("{}.history", &segment[..8]),
            2 => format!("{segment}.{offset:08X}.backup"),
            _ => format!("{segment}.partial"),
        };
        let file: WalFile = text.parse().unwrap();
        prop_assert_eq!(file.to_string(), text);
    }

    #[test]
    fn backup_names_round_trip(start in segment_text(), parent in prop::option::of(segment_text()), offset in prop::option::of("[0-9A-F]{8}")) {
        let mut text = format!("base_{start}");
        text += &parent.map(|parent| format!("_D_{parent}")).unwrap_or_default();
        text += &offset.map(|offset| format!("_{offset}")).unwrap_or_default();
        let name: BackupName = text.parse().unwrap();
        prop_assert_eq!(name.to_string(), &*text);
        prop_assert_eq!(Entry::parse(&name.sentinel_key()), Entry::Sentinel(name));
    }

    #[test]
    fn any_key_is_something(key: String) {
        let _ = Entry::parse(&ObjectKey::new(key));
    }

    #[test]
    fn any_key_in_the_folders_is_something(folder in "(wal_005|basebackups_005)/", name in "[0-9A-Fa-f_./a-z]{0,60}") {
        let _ = Entry::parse(&ObjectKey::new(format!("{folder}{name}")));
    }

    /// A near miss is never taken for the file: what parses as a file is its name and one suffix, byte for byte.
    #[test]
    fn both_ends_are_anchored(segment in segment_text(), before in "[ -~]{0,3}", behind in "[ -~]{0,6}") {
        let key = format!("wal_005/{before}{segment}{behind}");
        if let Entry::Wal { file, stored } = Entry::parse(&ObjectKey::new(&*key)) {
            let dangling = format!("wal_005/{file}.");
            let exact = format!("wal_005/{}", stored.apply(&file.to_string()));
            prop_assert!(key == exact || (stored == Compression::Plain && key == dangling), "{} is not {}", key, exact);
        }
    }
}
