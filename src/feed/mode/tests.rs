use super::*;
use crate::pg::SystemId;
use crate::pg::TimelineId;

struct Data(tempfile::TempDir);

impl Data {
    fn new(version: &str) -> Data {
        let data = Data(tempfile::tempdir().unwrap());
        data.put("PG_VERSION", format!("{version}\n"));
        data
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) -> &Data {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn find(&self, destination: &str) -> Mode {
        let file = "000000010000000000000003".parse().unwrap();
        Mode::find(self.0.path(), &file, Path::new(destination), None)
    }

    fn who(&self) -> Who {
        self.find("pg_wal/RECOVERYXLOG").who
    }
}

#[test]
fn signals_and_recovery_conf() {
    assert_eq!(Data::new("13").put("recovery.signal", "").who(), Who::PointInTime);
    assert_eq!(Data::new("13").put("standby.signal", "").who(), Who::Standby);
    assert_eq!(Data::new("13").put("recovery.signal", "").put("standby.signal", "").who(), Who::Standby);
    assert_eq!(Data::new("13").who(), Who::Other);
    assert_eq!(Data::new("13").put("recovery.conf", "").who(), Who::Other, "13 refuses to start with one");
    assert_eq!(Data::new("11").put("recovery.signal", "").who(), Who::Other, "11 does not know it");
    assert_eq!(Data::new("9.6").put("recovery.conf", "restore_command = 'x'").who(), Who::PointInTime);
    for on in [
        "standby_mode = on",
        "standby_mode='on'",
        "Standby_Mode on # x",
        "standby_mode = off\nstandby_mode = 't'",
        "standby_mode=1",
    ] {
        assert_eq!(Data::new("11").put("recovery.conf", on).who(), Who::Standby, "{on}");
    }
    for off in ["standby_mode = off", "#standby_mode = on", "standby_mode=0", "standby_mode =", "xstandby_mode = on"] {
        assert_eq!(Data::new("11").put("recovery.conf", off).who(), Who::PointInTime, "{off}");
    }
    // A version nobody can tell: whichever file is there counts.
    assert_eq!(Data::new("?").put("recovery.conf", "").who(), Who::PointInTime);
    assert_eq!(Data::new("?").put("recovery.signal", "").who(), Who::PointInTime);
}

/// What the disk does not tell may be a recovery that promotes.
#[test]
fn a_disk_that_does_not_say_what_is_there() {
    // A link to itself is an error of the system that is no absence, for whoever looks.
    let unreadable = |data: &Data, name: &str| std::os::unix::fs::symlink(name, data.0.path().join(name)).unwrap();
    for (version, name) in [("13", "recovery.signal"), ("13", "standby.signal"), ("11", "recovery.conf")] {
        let data = Data::new(version);
        unreadable(&data, name);
        for destination in ["pg_wal/RECOVERYXLOG", "pg_wal/000000010000000000000003"] {
            let mode = data.find(destination);
            assert_eq!(mode.who, Who::PointInTime, "{name}");
            assert!(mode.because.contains(&format!("whether {name} is there: ")), "{}", mode.because);
        }
    }
    let data = Data::new("13");
    unreadable(&data, "recovery.conf");
    assert_eq!(data.who(), Who::Other, "13 does not act on it");
    // One that is there decides.
    data.put("standby.signal", "");
    unreadable(&data, "recovery.signal");
    assert_eq!(data.who(), Who::Standby);
    // The way cannot be told where a history does not let itself be read.
    let data = Data::new("13");
    data.put("pg_wal/00000002.history", "1\t0/A000000\tx\n");
    assert!(data.find("x").histories_trouble.is_none());
    std::os::unix::fs::symlink("00000003.history", data.0.path().join("pg_wal/00000003.history")).unwrap();
    let mode = data.find("x");
    assert!(
        mode.histories.is_empty() && mode.histories_trouble.is_some_and(|said| said.contains("00000003.history: "))
    );
    fs::remove_file(data.0.path().join("pg_wal/00000003.history")).unwrap();
    fs::create_dir(data.0.path().join("pg_wal/00000003.history")).unwrap();
    assert!(data.find("x").histories_trouble.is_none());
    // Nor is it certain that this is no data directory.
    let data = Data(tempfile::tempdir().unwrap());
    unreadable(&data, "PG_VERSION");
    data.put("recovery.signal", "");
    assert_eq!(data.who(), Who::PointInTime);
}

#[test]
fn names_of_the_destination() {
    let data = Data::new("13");
    assert_eq!(data.find("pg_wal/000000010000000000000003").who, Who::Rewind);
    assert!(!data.find("pg_wal/000000010000000000000003").transient);
    assert!(data.find("pg_wal/RECOVERYXLOG").transient);
    // A wrapper may fetch under the segment's own name for a recovery: a failure must stop it all the same.
    data.put("recovery.signal", "");
    assert_eq!(data.find("pg_wal/000000010000000000000003").who, Who::PointInTime);
    let forced = Mode::find(data.0.path(), &"00000002.history".parse().unwrap(), Path::new("x"), Some(Who::Standby));
    assert_eq!(forced.who, Who::Standby);
}

#[test]
fn the_data_directory_of_a_destination() {
    let data = Data::new("13");
    data.put("recovery.signal", "").put("pg_wal/x", "");
    let elsewhere = tempfile::tempdir().unwrap();
    let file = "000000010000000000000003".parse().unwrap();
    let find = |destination: &Path| Mode::find(elsewhere.path(), &file, destination, None);
    let found = find(&data.0.path().join("pg_wal/RECOVERYXLOG"));
    assert_eq!((found.who, found.data.as_deref()), (Who::PointInTime, Some(data.0.path())));
    let found = find(&data.0.path().join("archive_status/RECOVERYXLOG"));
    assert_eq!((found.who, found.data), (Who::Other, None));
    assert_eq!(find(Path::new("000000010000000000000003")).who, Who::Rewind);
}

#[test]
fn targets() {
    let target =
        |version: &str, file: &str, text: &str| Data::new(version).put(file, text).find("pg_wal/RECOVERYXLOG").target;
    let conf = "postgresql.conf";
    assert_eq!(target("13", conf, ""), Target { set: false, lsn: None, timeline: TargetTimeline::Latest });
    assert_eq!(target("11", "recovery.conf", "").timeline, TargetTimeline::Current);
    for set in [
        "recovery_target_time = '2026-11-20 20:34:38+00'",
        "recovery_target = immediate",
        "recovery_target_name='it''s'",
        "RECOVERY_TARGET_XID 700",
        "  recovery_target_lsn = '0/3000028' # there",
    ] {
        assert!(target("13", conf, set).set, "{set}");
        assert!(target("13", "postgresql.auto.conf", set).set, "{set}");
        assert!(target("11", "recovery.conf", set).set, "{set}");
        assert!(!target("13", "recovery.conf", set).set, "13 does not read it");
        assert!(!target("11", conf, set).set, "11 does not know it there");
    }
    assert_eq!(target("13", conf, "recovery_target_lsn = '0/3000028'").lsn, Some(Lsn(0x300_0028)));
    for unset in ["recovery_target_time = ''", "#recovery_target_time = 'x'", "recovery_target_inclusive = off"] {
        assert!(!target("13", conf, unset).set, "{unset}");
    }
    let timeline = |text: &str| target("13", conf, text).timeline;
    assert_eq!(timeline("recovery_target_timeline = 'current'"), TargetTimeline::Current);
    assert_eq!(timeline("recovery_target_timeline = '3'"), TargetTimeline::Number(TimelineId::new(3).unwrap()));
    assert_eq!(timeline("recovery_target_timeline = 3\nrecovery_target_timeline = latest"), TargetTimeline::Latest);
}

#[test]
fn settings_from_everywhere() {
    let data = Data::new("15");
    data.put("postgresql.conf", "include 'more.conf'\ninclude_dir = 'conf.d'\ninclude_if_exists 'none'\n")
        .put("more.conf", "recovery_target_name = 'a'\ninclude 'postgresql.conf'")
        .put("conf.d/2.conf", "recovery_target_timeline = 2")
        .put("conf.d/1.conf", "recovery_target_timeline = 1")
        .put("conf.d/.hidden.conf", "recovery_target_timeline = 9")
        .put("conf.d/note.txt", "recovery_target_timeline = 9");
    let target = data.find("pg_wal/RECOVERYXLOG").target;
    assert!(target.set, "an include that includes itself ends");
    assert_eq!(target.timeline, TargetTimeline::Number(TimelineId::new(2).unwrap()));
    // auto.conf wins over files, the command line over both.
    data.put("postgresql.auto.conf", "recovery_target_timeline = 4");
    assert_eq!(data.find("x").target.timeline, TargetTimeline::Number(TimelineId::new(4).unwrap()));
    data.put("postmaster.opts", r#"/usr/bin/postgres "-D" "/data" "-c" "recovery_target_timeline=5""#);
    assert_eq!(data.find("x").target.timeline, TargetTimeline::Number(TimelineId::new(5).unwrap()));

    // Debian's place.
    let data = Data::new("15");
    data.put("etc/postgresql.conf", "recovery_target_name = 'a'")
        .put("postmaster.opts", r#"/usr/bin/postgres "-D" "/data" "-c" "config_file=etc/postgresql.conf""#);
    assert!(data.find("x").target.set);
    data.put("postmaster.opts", r#"/usr/bin/postgres "-D" "/data" "--config-file=etc/postgresql.conf""#);
    assert!(data.find("x").target.set);
}

#[test]
fn control_and_histories() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/pg/13");
    let control = fs::read(root.join("pg_control")).unwrap();
    let data = Data::new("13");
    let mode = data.put("global/pg_control", &control).find("pg_wal/RECOVERYXLOG");
    assert!(mode.control.is_some_and(|control| control.system != SystemId(0)) && mode.control_trouble.is_none());

    let mut torn = control.clone();
    torn[30] ^= 1;
    let mode = data.put("global/pg_control", &torn).find("x");
    assert!(mode.control.is_none() && mode.control_trouble.is_some_and(|trouble| trouble.contains("checksum")));
    assert!(Data::new("13").find("x").control_trouble.is_none(), "no file is no trouble");

    data.put("pg_wal/00000002.history", "1\t0/A000000\tx\n")
        .put("pg_wal/00000003.history", "not a history")
        .put("pg_wal/00000004.history.bak", "1\t0/A000000\tx\n")
        .put("pg_xlog/00000005.history", "1\t0/A000000\tx\n");
    let found: Vec<u32> = data.find("x").histories.iter().map(|history| history.timeline().get()).collect();
    assert_eq!(found, [2]);
}

#[test]
fn the_server_guards_its_target_from_13_on() {
    let guards = |version: &str, text: &str| {
        Data::new(version).put("postgresql.conf", text).put("recovery.conf", text).find("x").server_guards_its_target()
    };
    assert!(guards("13", "recovery_target = immediate"));
    assert!(!guards("13", ""));
    assert!(!guards("12", "recovery_target = immediate"));
    assert!(!guards("11", "recovery_target = immediate"));
    assert!(!guards("?", "recovery_target = immediate"), "a version nobody can tell");
}
