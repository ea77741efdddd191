use super::*;
use crate::commands::Silent;
use crate::commands::locate::{Input, Options, logs as read};
use expect_test::{Expect, expect};
use std::io::Cursor;
use std::sync::Arc;

fn check(text: String, options: Options, expect: Expect) {
    let input = Input::Stream("log".to_owned(), Box::new(Cursor::new(text)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let report = runtime.block_on(read(vec![input], options, Arc::new(Silent))).unwrap();
    expect.assert_eq(&logs(&report, Format::Table).unwrap());
    let json: serde_json::Value = serde_json::from_str(&logs(&report, Format::Json).unwrap()).unwrap();
    assert_eq!((&json["schema"], &json["version"]), (&"wal-r.locate".into(), &1.into()));
    assert_eq!(json["instances"].as_array().unwrap().len(), report.instances.len());
    // What is proposed can be typed.
    for copy in report.instances.iter().flat_map(|one| &one.copies) {
        let parsed = crate::cli::args::command().try_get_matches_from(copy.command.split(' '));
        assert!(parsed.is_ok(), "{}: {parsed:?}", copy.command);
    }
}

fn push(instance: u32, segment: u32, time: &str, state: &str) -> String {
    let instance = format!("{instance:08}-0000-4000-8000-000000000000");
    format!(
        "        STRUCTURED: time={time}-00 pid=1 action=push-wal key=s3://b/backups/{instance}/wal/wal_005/00000001{segment:016X}.lzo \
         prefix=backups/{instance}/wal/ seg=00000001{segment:016X} state={state}\n"
    )
}

fn removed(instance: u32, second: u32) -> String {
    let (instance, node) =
        (format!("{instance:08}-0000-4000-8000-000000000000"), format!("{instance:08}-1111-4000-8000-000000000000"));
    let stamp = 1_458_195_000 + second;
    format!(
        "{{\"timestamp\":\"{stamp}\",\"message\":\"patroni-broker.cluster.remove-node.perform\",\"data\":{{\"backend\":\"10.0.0.1\",\
         \"instance-id\":\"{instance}\",\"node-uuid\":\"{node}\"}}}}\n"
    )
}

#[test]
fn one_instance() {
    check(
        include_str!("../../../../testdata/logs/dingo.log").to_owned(),
        Options::default(),
        expect![[r#"
        instance 6e101b27-ee1b-4f4d-a032-4401a3709ec3: deleted 2016-03-17T06:10:17Z
          archive      s3://our-postgresql-backups/backups/6e101b27-ee1b-4f4d-a032-4401a3709ec3/wal/
          last WAL     no line says that one is complete
                       000000010000000000000001 begun 2016-03-17T02:11:48Z, and no line says that it was completed
          last backup  base_000000010000000000000002_00000040: begun 2016-03-17T02:11:49Z (by the log's clock), 0 of 1 partitions complete
                       no line says that it ended: it may be unfinished
          system id    uploaded beside it 2016-03-17T02:11:47Z (by the log's clock)
          container    cf-c8ce128e-7b4c-4fe7-a533-e9379356f906 on 10.58.111.150, removed 2016-03-17T06:10:17Z
          broker       patroni-broker.cluster.remove-node.perform 2016-03-17T06:10:17Z
          seen         2016-03-17T02:11:47Z (by the log's clock) to 2016-03-17T06:10:17Z
          look first   wal-r backup-list --pretty --prefix s3://our-postgresql-backups/backups/6e101b27-ee1b-4f4d-a032-4401a3709ec3/wal/
          then copy    wal-r copy --from s3://our-postgresql-backups/backups/6e101b27-ee1b-4f4d-a032-4401a3709ec3/wal/ --to s3://our-postgresql-backups/backups/NEW_GUID/wal/ --replace aside
                       NEW_GUID is the new instance's; its server must be stopped
    "#]],
    );
}

#[test]
fn many_instances() {
    let mut text = String::new();
    for instance in 1..=4 {
        text += &push(instance, 0x100 + instance, &format!("2016-03-16T10:00:0{instance}"), "complete");
    }
    text += &push(3, 0x200, "2016-03-16T11:00:00", "begin");
    text += &removed(2, 17);
    text += &push(5, 0x500, "2016-03-18T10:00:00", "complete");
    // The log's clock alone, and an instance of which there is nothing but its removal.
    text += "Mar 16 10:00:00 h t: DETAIL: Archiving to \"s3://c/d/wal_005/000000010000000000000001.lzo\" complete at 1KiB/s.\n";
    text += &removed(9, 20);
    check(
        text,
        Options::default(),
        expect![[r#"
            INSTANCE                                       DELETED               LAST WAL UPLOADED         AT                    ARCHIVE
            00000009-0000-4000-8000-000000000000  deleted  2016-03-17T06:10:20Z  -                         -                     none seen
            00000002-0000-4000-8000-000000000000  deleted  2016-03-17T06:10:17Z  000000010000000000000102  2016-03-16T10:00:02Z  s3://b/backups/00000002-0000-4000-8000-000000000000/wal/
            00000005-0000-4000-8000-000000000000           -                     000000010000000000000500  2016-03-18T10:00:00Z  s3://b/backups/00000005-0000-4000-8000-000000000000/wal/
            00000003-0000-4000-8000-000000000000           -                     000000010000000000000103  2016-03-16T10:00:03Z  s3://b/backups/00000003-0000-4000-8000-000000000000/wal/
            00000004-0000-4000-8000-000000000000           -                     000000010000000000000104  2016-03-16T10:00:04Z  s3://b/backups/00000004-0000-4000-8000-000000000000/wal/
            00000001-0000-4000-8000-000000000000           -                     000000010000000000000101  2016-03-16T10:00:01Z  s3://b/backups/00000001-0000-4000-8000-000000000000/wal/
            -                                              -                     000000010000000000000001  Mar 16 10:00:00 ?     s3://c/d/

            instance 00000009-0000-4000-8000-000000000000: deleted 2016-03-17T06:10:20Z
              archive      no line names it: give older logs too, or look in the bucket, `wal-r locate --under URL`
              container    cf-00000009-1111-4000-8000-000000000000 on 10.0.0.1, removed 2016-03-17T06:10:20Z
              broker       patroni-broker.cluster.remove-node.perform 2016-03-17T06:10:20Z
              seen         2016-03-17T06:10:20Z to 2016-03-17T06:10:20Z

            instance 00000002-0000-4000-8000-000000000000: deleted 2016-03-17T06:10:17Z
              archive      s3://b/backups/00000002-0000-4000-8000-000000000000/wal/
              last WAL     000000010000000000000102 complete 2016-03-16T10:00:02Z
              last backup  no line tells of one
              container    cf-00000002-1111-4000-8000-000000000000 on 10.0.0.1, removed 2016-03-17T06:10:17Z
              broker       patroni-broker.cluster.remove-node.perform 2016-03-17T06:10:17Z
              seen         2016-03-16T10:00:02Z to 2016-03-17T06:10:17Z
              look first   wal-r backup-list --pretty --prefix s3://b/backups/00000002-0000-4000-8000-000000000000/wal/
              then copy    wal-r copy --from s3://b/backups/00000002-0000-4000-8000-000000000000/wal/ --to s3://b/backups/NEW_GUID/wal/ --replace aside
                           NEW_GUID is the new instance's; its server must be stopped
                           perhaps 00000005-0000-4000-8000-000000000000: first seen after this one was deleted; the platform knows for certain

            `--instance GUID` shows one of them whole
        "#]],
    );
}

#[test]
fn archives_below_a_prefix() {
    use crate::storage::memory::MemoryStore;
    use crate::testing::faulty::{FaultPlan, FaultyStore};
    let store = MemoryStore::new();
    let time = |second: i64| jiff::Timestamp::from_second(1_458_195_000 + second).unwrap();
    store.insert_at("a/wal_005/000000010000000000000001.lzo", "x", time(1));
    store.insert_at("a/wal_005/000000010000000000000002.lzo", "xy", time(2));
    store.insert_at("a/basebackups_005/base_000000010000000000000001_00000040/extended_version.txt", "x", time(3));
    store.insert_at("bsysids/sysid", "7", time(5));
    store.insert_at("b/wal_005/000000010000000000000009.lzo", "x", time(9));
    store.insert_at("c/basebackups_004/x", "x", time(4));
    let show = |plan, wanted: Option<&str>| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = Arc::new(FaultyStore::new(Arc::new(store.clone()), plan));
        let report = runtime.block_on(below::run(store, wanted, Arc::new(Silent))).unwrap();
        below(&report, Format::Table).unwrap()
    };
    expect![[r#"
        memory:///b/
          system       7 (memory:///bsysids/sysid)
          base backups 0
          WAL          1 segment on timeline 1
                       newest 000000010000000000000009, written 2016-03-17T06:10:09Z
          size         1 B in 1 object
          written      2016-03-17T06:10:09Z to 2016-03-17T06:10:09Z
          copy         wal-r copy --from memory:///b/ --to NEW_PREFIX --replace aside

        memory:///a/
          system       nothing tells its identifier (no first page could be read: memory:///a/wal_005/000000010000000000000002.lzo: the object does not decode: not an lzop file at byte 0)
          base backups 0, 1 unfinished
          WAL          2 segments on timeline 1
                       newest 000000010000000000000002, written 2016-03-17T06:10:02Z
          size         4 B in 3 objects
          written      2016-03-17T06:10:01Z to 2016-03-17T06:10:03Z
          copy         wal-r copy --from memory:///a/ --to NEW_PREFIX --replace aside

        memory:///c/
          system       nothing tells its identifier (there is no segment)
          base backups 0
          WAL          0 segments
          old layout   basebackups_004/: WAL-E's before 0.5, which nothing here reads
    "#]].assert_eq(&show(FaultPlan::none(), None));
    // A fourth makes a table; the listing of one of them fails.
    store.insert_at("d/wal_005/000000010000000000000009.lzo", "x", time(7));
    expect![[r#"
        WRITTEN LAST          SIZE  NEWEST BASE BACKUP  AT  NEWEST WAL                SYSTEM  ARCHIVE
        2016-03-17T06:10:09Z  1 B   -                   -   000000010000000000000009  7       memory:///b/
        2016-03-17T06:10:07Z  1 B   -                   -   000000010000000000000009  -       memory:///d/
        -                     -     -                   -   -                         -       memory:///a/  [store.unreachable]
        -                     -     -                   -   -                         -       memory:///c/  [old layout]

        `--instance NAME` shows one of them whole: its GUID, or a folder of its prefix
    "#]].assert_eq(&show(FaultPlan::nth(7, crate::storage::StoreErrorKind::Unreachable), None));
    expect![[r#"
        memory:///d/
          system       nothing tells its identifier (no first page could be read: memory:///d/wal_005/000000010000000000000009.lzo: the object does not decode: not an lzop file at byte 0)
          base backups 0
          WAL          1 segment on timeline 1
                       newest 000000010000000000000009, written 2016-03-17T06:10:07Z
          size         1 B in 1 object
          written      2016-03-17T06:10:07Z to 2016-03-17T06:10:07Z
          copy         wal-r copy --from memory:///d/ --to NEW_PREFIX --replace aside
    "#]].assert_eq(&show(FaultPlan::none(), Some("d")));
}
