//! pg_control: of real servers against what their own SQL functions said, forged for versions nobody can run here,
//! and every single bit flipped.

use super::{REAL, golden, lsn, timeline};
use crate::pg::control::{ClusterState, ControlError, ControlFile};
use crate::pg::version::PgVersion;
use crate::pg::{SegmentSize, SystemId};
use proptest::prelude::*;

#[test]
fn of_real_servers() {
    for version in REAL {
        let control = ControlFile::parse(&golden(&format!("{version}/pg_control"))).unwrap();
        // What pg_control_system(), _checkpoint(), _init() and _recovery() of that server said at the same moment.
        let said: serde_json::Value = serde_json::from_slice(&golden(&format!("{version}/control.json"))).unwrap();
        let number = |path: &str| {
            said.pointer(path).and_then(serde_json::Value::as_i64).unwrap_or_else(|| panic!("{version}: {path}"))
        };
        let text = |path: &str| {
            said.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_else(|| panic!("{version}: {path}"))
        };
        let place = |path: &str| lsn(text(path));
        let time = |path: &str| text(path).parse::<jiff::Timestamp>().unwrap().as_second();

        assert_eq!(control.version, PgVersion::parse(&version.to_string()).unwrap());
        assert_eq!(control.system, SystemId(number("/system/system_identifier").cast_unsigned()));
        assert_eq!(i64::from(control.catalog_version), number("/system/catalog_version_no"));
        assert_eq!(control.time, time("/system/pg_control_last_modified"));
        assert_eq!(control.state, ClusterState::InProduction);
        assert_eq!(control.checkpoint, place("/checkpoint/checkpoint_lsn"));
        assert_eq!(control.redo, place("/checkpoint/redo_lsn"));
        assert_eq!(i64::from(control.timeline.get()), number("/checkpoint/timeline_id"));
        assert_eq!(i64::from(control.previous_timeline.get()), number("/checkpoint/prev_timeline_id"));
        assert_eq!(control.checkpoint_time, time("/checkpoint/checkpoint_time"));
        assert_eq!(control.min_recovery, place("/recovery/min_recovery_end_lsn"));
        assert_eq!(control.min_recovery_timeline, None);
        assert_eq!(control.backup_start, place("/recovery/backup_start_lsn"));
        assert_eq!(control.backup_end, place("/recovery/backup_end_lsn"));
        assert!(!control.backup_end_required);
        assert_eq!(control.wal_level, 1, "replica");
        assert_eq!(i64::from(control.block_size), number("/init/database_block_size"));
        assert_eq!(i64::from(control.blocks_per_file), number("/init/blocks_per_segment"));
        assert_eq!(i64::from(control.wal_block_size), number("/init/wal_block_size"));
        assert_eq!(control.segment_size.bytes().cast_signed(), number("/init/bytes_per_wal_segment"));
        assert_eq!(i64::from(control.data_checksum_version), number("/init/data_page_checksum_version"));

        let stopped = ControlFile::parse(&golden(&format!("{version}/pg_control.shutdown"))).unwrap();
        assert_eq!(stopped.state, ClusterState::ShutDown);
        assert_eq!(stopped.timeline, timeline(3));
        assert_eq!(stopped.redo, stopped.checkpoint, "a shutdown checkpoint is its own redo point");
        assert_eq!(stopped.system, control.system);
    }
}

/// A control file of the layout that 9.5 and 9.6 share, which no registry offers a server for.
fn forge(control_version: u32, catalog_version: u32) -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    let mut put = |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
    put(0, &0xF000_0000_0000_0001_u64.to_le_bytes());
    put(8, &control_version.to_le_bytes());
    put(12, &catalog_version.to_le_bytes());
    put(16, &5_u32.to_le_bytes());
    put(24, &1_700_000_000_u64.to_le_bytes());
    put(32, &0x300_0060_u64.to_le_bytes());
    put(40, &0x200_0060_u64.to_le_bytes());
    put(48, &0x300_0028_u64.to_le_bytes());
    put(56, &2_u32.to_le_bytes());
    put(60, &1_u32.to_le_bytes());
    put(104, &1_600_000_000_u64.to_le_bytes());
    put(136, &0x400_0000_u64.to_le_bytes());
    put(144, &2_u32.to_le_bytes());
    put(152, &0x300_0028_u64.to_le_bytes());
    put(160, &0x400_0100_u64.to_le_bytes());
    put(168, &[1]);
    put(172, &1_u32.to_le_bytes());
    put(216, &8192_u32.to_le_bytes());
    put(220, &131_072_u32.to_le_bytes());
    put(224, &8192_u32.to_le_bytes());
    put(228, &(16_u32 << 20).to_le_bytes());
    put(252, &1_u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..256]);
    bytes[256..260].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn of_nine_five_and_nine_six() {
    for (control_version, catalog_version, version) in [(942, 201_510_051, "9.5"), (960, 201_608_131, "9.6")] {
        let control = ControlFile::parse(&forge(control_version, catalog_version)).unwrap();
        assert_eq!(control.version, PgVersion::parse(version).unwrap());
        assert_eq!(control.system, SystemId(0xF000_0000_0000_0001), "above 2^63");
        assert_eq!(control.state, ClusterState::InArchiveRecovery);
        assert_eq!((control.checkpoint, control.redo), (lsn("0/3000060"), lsn("0/3000028")));
        assert_eq!((control.timeline, control.previous_timeline), (timeline(2), timeline(1)));
        assert_eq!(control.checkpoint_time, 1_600_000_000);
        assert_eq!((control.min_recovery, control.min_recovery_timeline), (lsn("0/4000000"), Some(timeline(2))));
        assert_eq!((control.backup_start, control.backup_end), (lsn("0/3000028"), lsn("0/4000100")));
        assert!(control.backup_end_required && control.has_page_checksums());
        assert_eq!(control.segment_size, SegmentSize::DEFAULT);
    }
}

#[test]
fn what_is_refused() {
    let good = golden("13/pg_control");
    let refusal = |bytes: &[u8]| ControlFile::parse(bytes).unwrap_err();
    assert!(matches!(refusal(&[]), ControlError::Short { got: 0, want: 12 }));
    assert!(matches!(refusal(&good[..290]), ControlError::Short { got: 290, want: 292 }));
    assert!(ControlFile::parse(&good[..292]).is_ok(), "what follows the CRC is not looked at");
    assert!(matches!(refusal(&[0; 8192]), ControlError::Unsupported { control_version: 0, .. }));
    assert!(matches!(refusal(&forge(942, 201_409_291)), ControlError::Unsupported { control_version: 942, .. }), "9.4");
    assert!(matches!(refusal(&forge(1900, 202_700_000)), ControlError::Unsupported { control_version: 1900, .. }));
    assert!(matches!(refusal(&forge(1300_u32.swap_bytes(), 0)), ControlError::BigEndian));
    let mut wrong_state = forge(960, 201_608_131);
    wrong_state[16] = 7;
    let crc = crc32c::crc32c(&wrong_state[..256]);
    wrong_state[256..260].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(refusal(&wrong_state), ControlError::Field("state"));
}

#[test]
fn no_single_bit_flip_goes_unnoticed() {
    for version in REAL {
        let good = golden(&format!("{version}/pg_control"));
        let used = match version {
            11 => 284,
            18 => 296,
            _ => 292,
        };
        for bit in 0..used * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(ControlFile::parse(&bad).is_err(), "{version}: bit {bit}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = ControlFile::parse(&bytes);
    }

    #[test]
    fn no_cut_panics(len in 0_usize..8192, version in REAL) {
        let _ = ControlFile::parse(&golden(&format!("{version}/pg_control"))[..len.min(512)]);
    }
}
