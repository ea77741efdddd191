use super::*;
use crate::layout::Entry;

fn order(names: &[&str]) -> String {
    let listed = names.iter().map(|name| {
        let key = format!("basebackups_005/base_000000010000000000000003_00000040/tar_partitions/{name}");
        let object = ObjectId { key: key.into(), size: 1, modified: None, etag: None };
        match Entry::parse(&object.key) {
            Entry::Partition { part, stored, .. } => (part, stored, object),
            other => panic!("{name}: {other:?}"),
        }
    });
    match wal_e(listed.collect()) {
        Ok(parts) => parts.iter().map(|part| part.object.key.base_name().to_owned()).collect::<Vec<_>>().join(" "),
        Err(error) => {
            error.to_string().replace("basebackups_005/base_000000010000000000000003_00000040/tar_partitions/", "")
        }
    }
}

#[test]
fn order_and_completeness() {
    let rows: &[(&[&str], &str)] = &[
        (&["part_00000001.tar.lzo", "part_00000000.tar.lzo"], "part_00000000.tar.lzo part_00000001.tar.lzo"),
        // Unpadded, as until 2014: eleven of them, sorted as names.
        (
            &[
                "part_0.tar.lzo",
                "part_1.tar.lzo",
                "part_10.tar.lzo",
                "part_2.tar.lzo",
                "part_3.tar.lzo",
                "part_4.tar.lzo",
                "part_5.tar.lzo",
                "part_6.tar.lzo",
                "part_7.tar.lzo",
                "part_8.tar.lzo",
                "part_9.tar.lzo",
            ],
            "part_0.tar.lzo part_1.tar.lzo part_2.tar.lzo part_3.tar.lzo part_4.tar.lzo part_5.tar.lzo part_6.tar.lzo part_7.tar.lzo part_8.tar.lzo part_9.tar.lzo part_10.tar.lzo",
        ),
        (&[], "it has no partitions"),
        (&["part_00000001.tar.lzo"], "partitions are missing: 0"),
        (&["part_0.tar.lzo", "part_4.tar.lzo"], "partitions are missing: 1, 2, 3"),
        (
            &["part_0.tar.lzo", "part_4294967295.tar.lzo"],
            "partitions are missing: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20 and 980 more",
        ),
        (
            &["part_0.tar.lzo", "part_00000000.tar.lzo"],
            "partition 0 is there twice: part_0.tar.lzo and part_00000000.tar.lzo",
        ),
        (&["part_0.tar.lzo", "pg_control.tar.lz4"], "pg_control.tar.lz4 is no partition of WAL-E's"),
    ];
    for (names, want) in rows {
        assert_eq!(order(names), *want, "{names:?}");
    }
}

#[test]
fn when_a_last_partition_can_be_lost() {
    for (members, bytes, lacks, want) in [
        (6144, 1000, 1, true),
        (6000, 1000, 8192, true), // with files that vanished
        (500, 1_600_000_000, 20_000_000, true),
        (500, 1_600_000_000, 8192, false), // what comes next would have fitted
        (500, 1000, 8192, false),
        (6144, 1_610_612_735, 0, false),
        (0, u64::MAX, u64::MAX, true),
    ] {
        assert_eq!(may_lack_last(members, bytes, lacks), want, "{members} {bytes} {lacks}");
    }
}
