use super::*;

/// The right side is what Python 3.11 printed of these times: `datetime.utcfromtimestamp(os.stat(path).st_mtime)`.
#[test]
fn times_of_files_as_wal_e_printed_them() {
    for (nanoseconds, printed) in [
        (1795255703000000000, "2026-11-21T10:08:23"),
        (1795255703751346600, "2026-11-21T10:08:23.751347"),
        (1795255703761540500, "2026-11-21T10:08:23.761540"),
        (1795255703668835601, "2026-11-21T10:08:23.668836"),
        (1795255703384974575, "2026-11-21T10:08:23.384974"),
        (1795255703853832589, "2026-11-21T10:08:23.853832"),
    ] {
        let time = Timestamp::from_nanosecond(nanoseconds).expect("a time");
        assert_eq!(wal_e_time(time, "file:///archive/"), printed);
    }
}
