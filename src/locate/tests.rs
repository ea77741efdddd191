use super::Guid;
use super::lines::{Lines, MAX};
use super::log::{Event, Log, What};
use super::moment::{self, Clock, Moment};
use super::place::Found;
use super::sightings::{Sightings, State};
use crate::layout::Entry;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::fmt::Write;

/// The lines of Dingo's runbook, as they stand there.
const DINGO: &str = include_str!("../../testdata/logs/dingo.log");

fn events_in(text: &[u8], pieces: &[usize]) -> (Vec<Event>, Log) {
    let (mut log, mut events) = (Log::new(0), Vec::new());
    let mut rest = text;
    for len in pieces {
        let (piece, behind) = rest.split_at(rest.len().min(*len));
        log.push(piece, &mut |event| events.push(event));
        rest = behind;
    }
    log.push(rest, &mut |event| events.push(event));
    log.finish(&mut |event| events.push(event));
    (events, log)
}

fn told(event: &Event) -> String {
    let object = |verb: &str, found: &Found| {
        let entry = match &found.entry {
            Entry::Wal { file, .. } => file.to_string(),
            Entry::Partition { backup, part, .. } => format!("{backup} {part:?}"),
            other => format!("{other:?}"),
        };
        format!("{verb} {entry} in {}", found.place)
    };
    let what = match &event.what {
        What::Begun(found) => object("begun", found),
        What::Complete(found) => object("complete", found),
        What::Read(found) => object("read", found),
        What::Deleted(found) => object("deleted", found),
        What::Named(found) => object("named", found),
        What::Broker { message, instance, node, backend } => {
            format!("broker {message} instance {instance} node {node:?} backend {backend:?}")
        }
        What::Address(address) => format!("address {address}"),
    };
    let node = event.node.map(|node| format!(" node {node}")).unwrap_or_default();
    format!("{} | {what}{node}\n", event.moment)
}

fn check(text: &str, expect: Expect) {
    let (mut events, log) = events_in(text.as_bytes(), &[]);
    events.iter_mut().for_each(|event| event.moment.settle(log.setting()));
    let told: String = events.iter().map(told).collect();
    // Cut at every byte it is the same.
    let (mut cut, _) = events_in(text.as_bytes(), &vec![1; text.len()]);
    cut.iter_mut().for_each(|event| event.moment.settle(log.setting()));
    assert_eq!(cut, events);
    expect.assert_eq(&told);
}

fn sightings(logs: &[&str]) -> Sightings {
    let mut sightings = Sightings::new();
    let mut order = 0;
    for text in logs {
        let mut log = Log::new(order);
        log.push(text.as_bytes(), &mut |event| sightings.add(event));
        log.finish(&mut |event| sightings.add(event));
        order = log.order();
        sightings.settle(log.setting());
    }
    sightings
}

#[test]
fn the_runbooks_lines() {
    check(
        DINGO,
        expect![[r#"
        2016-03-17T02:11:47Z (by the log's clock) | complete SystemId in s3://our-postgresql-backups/backups/6e101b27-ee1b-4f4d-a032-4401a3709ec3/wal/ node c8ce128e-7b4c-4fe7-a533-e9379356f906
        2016-03-17T02:11:48Z | begun 000000010000000000000001 in s3://our-postgresql-backups/backups/6e101b27-ee1b-4f4d-a032-4401a3709ec3/wal/ node c8ce128e-7b4c-4fe7-a533-e9379356f906
        2016-03-17T06:10:17Z | broker patroni-broker.cluster.remove-node.perform instance 6e101b27-ee1b-4f4d-a032-4401a3709ec3 node Some(c8ce128e-7b4c-4fe7-a533-e9379356f906) backend Some("10.58.111.150")
        2016-03-18T00:37:38Z (by the log's clock) | address 10.58.111.150:32785 node 52167ceb-bd3d-4bff-8699-a239d21c5379
        2016-03-17T02:11:49Z (by the log's clock) | begun Version(base_000000010000000000000002_00000040) in s3://our-postgresql-backups/backups/6e101b27-ee1b-4f4d-a032-4401a3709ec3/wal/ node c8ce128e-7b4c-4fe7-a533-e9379356f906
        2016-03-17T02:11:50Z (by the log's clock) | begun base_000000010000000000000002_00000040 Part(0) in s3://our-postgresql-backups/backups/6e101b27-ee1b-4f4d-a032-4401a3709ec3/wal/ node c8ce128e-7b4c-4fe7-a533-e9379356f906
    "#]],
    );
}

#[test]
fn wal_e_records() {
    // The specification's example, bare.
    check(
        "wal_e.worker.upload INFO     MSG: begin archiving a file
        DETAIL: Uploading \"pg_wal/000000010000000000000001\" to \"s3://bkt/db/wal_005/000000010000000000000001.lzo\".
        STRUCTURED: time=2026-11-20T19:12:38.268256-00 pid=6692 action=push-wal key=s3://bkt/db/wal_005/000000010000000000000001.lzo prefix=db/ seg=000000010000000000000001 state=begin
",
        expect![[r#"
            2026-11-20T19:12:38Z | begun 000000010000000000000001 in s3://bkt/db/
        "#]],
    );
    // Joined by a relay; the rate may be anything.
    check(
        "Nov 20 19:12:39 db wal_e.worker.upload INFO     MSG: completed archiving to a file#012        DETAIL: Archiving to \"s3://bkt/db/wal_005/000000010000000000000001.lzo\" complete at NaNKiB/s.#012        STRUCTURED: time=2026-11-20T18:12:38.9-00 pid=6692 action=push-wal key=s3://bkt/db/wal_005/000000010000000000000001.lzo prefix=db/ rate=NaN seg=000000010000000000000001 state=complete\r\n",
        expect![[r#"
            2026-11-20T18:12:38Z | complete 000000010000000000000001 in s3://bkt/db/
        "#]],
    );
    // Two pushes at one time, their lines mixed, and one whose record is cut off.
    check(
        "        DETAIL: Uploading \"a\" to \"s3://b/d/wal_005/0000000100000000000000A1.lzo\".
        DETAIL: Uploading \"a\" to \"s3://b/d/wal_005/0000000100000000000000A2.lzo\".
        STRUCTURED: time=2026-01-01T00:00:01-00 pid=1 action=push-wal key=s3://b/d/wal_005/0000000100000000000000A1.lzo prefix=d/ seg=0000000100000000000000A1 state=begin
        STRUCTURED: time=2026-01-01T00:00:02-00 pid=2 action=push-wal key=s3://b/d/wal_005/0000000100000000000000A2.lzo prefix=d/ seg=0000000100000000000000A2 state=begin
        DETAIL: Uploading \"a\" to \"s3://b/d/wal_005/0000000100000000000000A3.lzo\".
",
        expect![[r#"
            2026-01-01T00:00:01Z | begun 0000000100000000000000A1 in s3://b/d/
            2026-01-01T00:00:02Z | begun 0000000100000000000000A2 in s3://b/d/
            at a time that the log does not tell | begun 0000000100000000000000A3 in s3://b/d/
        "#]],
    );
    // 0.6: the key without its suffix, the whole URL as prefix. 0.5: the time in front, no structured part. Skipped; read.
    check(
        "        STRUCTURED: time=2013-02-01T00:00:00.5-00 pid=1 action=push-wal key=s3://b/d/wal_005/000000010000000000000001 prefix=s3://b/d seg=000000010000000000000001 state=complete
2011-04-05T10:11:12.123+00 pid=4711 wal_e.worker.s3_worker INFO     MSG: begin uploading a base backup volume
        DETAIL: Uploading to \"s3://b/d/basebackups_005/base_000000010000000000000002_00000032/tar_partitions/part_0.tar.lzo\".
        STRUCTURED: time=2026-01-01T00:00:03-00 pid=1 action=push-wal key=s3://b/d/wal_005/000000010000000000000003.lzo prefix=d/ seg=000000010000000000000003 state=skip
        STRUCTURED: time=2026-01-01T00:00:04-00 pid=1 action=wal-fetch key=s3://b/d/wal_005/000000010000000000000004.lzo prefix=d/ seg=000000010000000000000004 state=complete
",
        expect![[r#"
            2013-02-01T00:00:00Z | complete 000000010000000000000001 in s3://b/d/
            2026-01-01T00:00:03Z | named 000000010000000000000003 in s3://b/d/
            2026-01-01T00:00:04Z | read 000000010000000000000004 in s3://b/d/
            2011-04-05T10:11:12Z | begun base_000000010000000000000002_00000032 Part(0) in s3://b/d/
        "#]],
    );
    // Blanks in a prefix; a key that is deleted; a version file, whose URL stands without quotes.
    check(
        "        STRUCTURED: time=2026-01-01T00:00:00-00 pid=1 action=push-wal key=s3://b/my db/wal_005/000000010000000000000001.lzo prefix=my db/ seg=000000010000000000000001 state=complete
        DETAIL: The key being deleted is s3://b/d/basebackups_005/base_000000010000000000000002_00000040_backup_stop_sentinel.json.
        STRUCTURED: time=2026-01-01T00:00:05-00 pid=9
        DETAIL: Uploading to s3://b/my db/basebackups_005/base_000000010000000000000002_00000040/extended_version.txt.
        STRUCTURED: time=2026-01-01T00:00:06-00 pid=9
",
        expect![[r#"
            2026-01-01T00:00:00Z | complete 000000010000000000000001 in s3://b/my db/
            2026-01-01T00:00:05Z | deleted Sentinel(base_000000010000000000000002_00000040) in s3://b/d/
            2026-01-01T00:00:06Z | begun Version(base_000000010000000000000002_00000040) in s3://b/my db/
        "#]],
    );
}

#[test]
fn other_lines() {
    check(
        "INFO: 2026/11/20 20:34:31.608000 Files will be uploaded to s3://b/walg/basebackups_005/base_000000010000000000000002/tar_partitions/part_001.tar.lz4
Mar  6 01:02:03 host any[12]: upload: tmp/sysids/sysid to s3://b/spilo/acid/walsysids/sysid
LOG: nothing at s3://b/other/key.txt, but (s3://b/p/wal_005/00000002.history.lzo)
password in s3://user:secret@b/p/wal_005/000000010000000000000001.lzo
2026-03-17T06:10:18+01:00 host docker/cf-52167ceb-bd3d-4bff-8699-a239d21c5379: public address 10.0.0.1:32785
{\"timestamp\":1458195017.5,\"message\":\"x\",\"data\":{\"instance-id\":\"6E101B27-ee1b-4f4d-a032-4401a3709ec3\"}}
{\"message\":\"x\",\"data\":{\"instance-id\":\"not a guid\"}} {\"instance-id\"
",
        expect![[r#"
            2026-11-20 20:34:31 (by the log's clock, without a zone) | named base_000000010000000000000002 Part(1) in s3://b/walg/
            Mar  6 01:02:03 (by the log's clock, without year and zone) | complete SystemId in s3://b/spilo/acid/wal/
            at a time that the log does not tell | named 00000002.history in s3://b/p/
            2026-03-17T05:10:18Z | address 10.0.0.1:32785 node 52167ceb-bd3d-4bff-8699-a239d21c5379
            2016-03-17T06:10:17Z | broker x instance 6e101b27-ee1b-4f4d-a032-4401a3709ec3 node None backend None
        "#]],
    );
}

#[test]
fn places() {
    let place = |url: &str| Found::of_url(url).map(|found| found.place.to_string());
    let rows = [
        ("s3://b/wal_005/000000010000000000000001.lzo", Some("s3://b/")),
        ("S3://b/x/wal/wal_005/000000010000000000000001.lzo", Some("s3://b/x/wal/")),
        ("s3://b/x//wal_005/a", Some("s3://b/x/")),
        ("s3://b/wal_005/x/basebackups_004/a", Some("s3://b/wal_005/x/")),
        ("file://localhost/srv/a/wal_005/a", Some("file:///srv/a/")),
        ("file:///srv/a/wal_005/a", Some("file:///srv/a/")),
        ("s3://b/x/sysids/sysid", Some("s3://b/x/")),
        ("s3://b/xsysids/sysid", Some("s3://b/x/")),
        ("s3://b/x/wal_05/a", None),
        ("s3://b/x/wal_005", None),
        ("s3:///x/wal_005/a", None),
        ("s3://u:p@b/x/wal_005/a", None),
        ("s3://b/x?y/wal_005/a", None),
        ("s3://b/x\u{1b}[2J/wal_005/a", None),
        ("http://b/x/wal_005/a", None),
    ];
    for (url, wanted) in rows {
        assert_eq!(place(url).as_deref(), wanted, "{url}");
    }
    let place = Found::of_url("s3://b/backups/6e101b27-ee1b-4f4d-a032-4401a3709ec3/wal/wal_005/a").unwrap().place;
    assert_eq!(place.instance().unwrap().to_string(), "6e101b27-ee1b-4f4d-a032-4401a3709ec3");
    assert_eq!(place.of_instance("NEW_GUID").as_deref(), Some("s3://b/backups/NEW_GUID/wal/"));
    assert!(place.has_folder("backups") && !place.has_folder("b") && !place.has_folder(""));
    assert_eq!(Found::of_url("s3://b/x/wal_005/a").unwrap().place.of_instance("x"), None);
}

#[test]
fn clocks() {
    let own = |text: &str| moment::stamp(text).unwrap();
    let clock = |text: &str| Clock::syslog(text).unwrap().0;
    let read = |shown: &str, by: &str, by_own: &str| {
        let setting = clock(by).set(own(by_own))?;
        Some(Moment::new(None, Some(clock(shown)), Some(setting), 0).to_string())
    };
    let rows = [
        // The runbook's own: seven hours behind.
        ("Mar 16 19:11:49 ", "Mar 16 19:11:48 ", "2016-03-17T02:11:48.811154-00", Some("2016-03-17T02:11:49Z")),
        // Over the new year, both ways.
        ("Jan  1 00:00:03 ", "Dec 31 23:59:59 ", "2016-12-31T23:59:59-00", Some("2017-01-01T00:00:03Z")),
        ("Dec 31 23:59:59 ", "Jan  1 00:00:03 ", "2017-01-01T00:00:03-00", Some("2016-12-31T23:59:59Z")),
        ("Dec 31 23:00:00 ", "Dec 31 23:30:00 ", "2017-01-01T05:00:01-00", Some("2017-01-01T04:30:00Z")),
        // Kathmandu; the 29th of February.
        ("Feb 29 12:00:00 ", "Feb 29 12:00:00 ", "2016-02-29T06:15:01Z", Some("2016-02-29T06:15:00Z")),
        // A relay that was behind for ten minutes, and one that was behind for two days, set no clock.
        ("Mar 16 19:11:48 ", "Mar 16 19:21:48 ", "2016-03-17T02:11:48Z", None),
        ("Mar 16 19:11:48 ", "Mar 16 19:26:48 ", "2016-03-17T02:11:48Z", None),
        ("Mar 18 19:11:48 ", "Mar 18 19:11:48 ", "2016-03-17T02:11:48Z", None),
    ];
    for (shown, by, by_own, wanted) in rows {
        let wanted = wanted.map(|time| format!("{time} (by the log's clock)"));
        assert_eq!(read(shown, by, by_own), wanted, "{shown} by {by} = {by_own}");
    }
    let alone = Moment::new(None, Some(clock("Mar  6 19:11:48 ")), None, 0);
    assert_eq!(alone.to_string(), "Mar  6 19:11:48 (by the log's clock, without year and zone)");
    assert_eq!(alone.time(), None);
    for odd in
        ["", "Mar", "Mar 16", "Mar 16 ", "Mar 32 00:00:00 x", "Mar 16 24:00:00 x", "Mrz 16 00:00:00 x", "Mär 1 1"]
    {
        assert!(Clock::syslog(odd).is_none(), "{odd}");
    }
    for (text, wanted) in [
        ("2016-03-17T02:11:48.811154-00", Some("2016-03-17T02:11:48.811154Z")),
        ("2016-03-17 02:11:48+0530", Some("2016-03-16T20:41:48Z")),
        ("2016-03-17T02:11:48.5-07:00", Some("2016-03-17T09:11:48.5Z")),
        ("2016-03-17T02:11:48", None),
        ("2016-03-17T02:11:48.x5Z", None),
        ("2016-03-17T02:11:48+0", None),
        ("2016-13-17T02:11:48Z", None),
        ("ä016-03-17T02:11:48Z", None),
    ] {
        assert_eq!(moment::stamp(text).map(|time| time.to_string()).as_deref(), wanted, "{text}");
    }
    assert_eq!(moment::unix("1458195017.896692991").unwrap().to_string(), "2016-03-17T06:10:17.896692991Z");
    assert_eq!(moment::unix("1458195017").unwrap().to_string(), "2016-03-17T06:10:17Z");
    assert!(["", ".", "x", "1.x", "99999999999999999999"].iter().all(|odd| moment::unix(odd).is_none()));
}

#[test]
fn guids() {
    let text = "6e101b27-ee1b-4f4d-a032-4401a3709ec3";
    assert_eq!(Guid::parse(text).unwrap().to_string(), text);
    assert_eq!(Guid::parse(&text.to_uppercase()).unwrap().to_string(), text);
    for odd in ["", &text[1..], &text.replace('6', "g"), &text.replace("-", "0"), &format!("{text}0"), &"ä".repeat(18)]
    {
        assert_eq!(Guid::parse(odd), None, "{odd}");
    }
}

#[test]
fn long_lines_are_cut_and_counted() {
    let long = "x".repeat(MAX + 5);
    let text = format!("a\n{long}\n\r\nb");
    for piece in [1, 1000, MAX, text.len()] {
        let (mut lines, mut seen) = (Lines::new(), Vec::new());
        for piece in text.as_bytes().chunks(piece) {
            lines.push(piece, |line| seen.push(line.len()));
        }
        lines.finish(|line| seen.push(line.len()));
        assert_eq!((seen, lines.count(), lines.cut()), (vec![1, MAX, 0, 1], 4, 1), "pieces of {piece}");
    }
}

const OLD: &str = "6e101b27-ee1b-4f4d-a032-4401a3709ec3";

fn push(node: &str, instance: &str, segment: u32, second: u32, state: &str) -> String {
    format!(
        "Mar 17 00:00:{second:02} host docker/cf-{node}:  patroni>         STRUCTURED: time=2016-03-17T07:00:{second:02}-00 pid=1 \
         action=push-wal key=s3://b/backups/{instance}/wal/wal_005/00000001000000000000{segment:04X}.lzo \
         prefix=backups/{instance}/wal/ seg=00000001000000000000{segment:04X} state={state}\n"
    )
}

fn removal(node: &str, instance: &str, second: u32) -> String {
    let stamp = 1_458_198_000 + second;
    format!(
        "Mar 17 00:00:{second:02} host broker.stdout.log:  {{\"timestamp\":\"{stamp}.5\",\"source\":\"patroni-broker\",\
         \"message\":\"patroni-broker.cluster.remove-node.perform\",\"log_level\":1,\"data\":{{\"backend\":\"10.0.0.1\",\
         \"instance-id\":\"{instance}\",\"node-uuid\":\"{node}\",\"session\":\"76\"}}}}\n"
    )
}

#[test]
fn what_became_of_an_instance() {
    let (a, b) = ("c8ce128e-7b4c-4fe7-a533-e9379356f906", "00000000-0000-0000-0000-00000000000b");
    let state = |log: &[String]| {
        let instances = sightings(&[&log.concat()]).instances();
        (instances.len(), instances[0].state, instances[0].deleted.and_then(|moment| moment.time()).is_some())
    };
    let one = push(a, OLD, 1, 1, "complete");
    assert_eq!(state(std::slice::from_ref(&one)), (1, State::Seen, false));
    assert_eq!(state(&[one.clone(), removal(a, OLD, 2)]), (1, State::Deleted, true));
    // The second container of two lives on; then it goes too.
    let two = push(b, OLD, 2, 1, "begin");
    assert_eq!(state(&[one.clone(), two.clone(), removal(a, OLD, 2)]), (1, State::Shrunk, false));
    let gone = [one.clone(), two, removal(a, OLD, 2), removal(b, OLD, 3)];
    assert_eq!(state(&gone), (1, State::Deleted, true));
    // An upload that ends a moment later was under way; one that comes an hour later is another life.
    assert_eq!(state(&[removal(a, OLD, 2), push(a, OLD, 3, 9, "complete")]), (1, State::Deleted, true));
    let later = push(a, OLD, 3, 9, "complete").replace("T07:00", "T09:00");
    assert_eq!(state(&[removal(a, OLD, 2), later]), (1, State::WrittenAfter, false));
    // Another instance's container that reads it is none of its own.
    let reads = push(b, OLD, 2, 1, "complete").replace("push-wal", "wal-fetch");
    assert_eq!(state(&[one, reads, removal(a, OLD, 2)]), (1, State::Deleted, true));
}

#[test]
fn an_archive_without_a_guid_is_joined_by_its_container() {
    let node = "c8ce128e-7b4c-4fe7-a533-e9379356f906";
    let pushed = push(node, OLD, 1, 1, "complete").replace(&format!("backups/{OLD}"), "spilo/scope");
    let instances = sightings(&[&(pushed.clone() + &removal(node, OLD, 2))]).instances();
    assert_eq!(instances.len(), 1);
    assert_eq!(instances[0].id.unwrap().to_string(), OLD);
    assert_eq!(instances[0].archives[0].place.to_string(), "s3://b/spilo/scope/wal/");
    // Nobody said whose container it is.
    let instances = sightings(&[&pushed]).instances();
    assert_eq!((instances.len(), instances[0].id), (1, None));
}

#[test]
fn begun_is_not_complete() {
    let node = "c8ce128e-7b4c-4fe7-a533-e9379356f906";
    let text =
        [push(node, OLD, 1, 1, "begin"), push(node, OLD, 1, 2, "complete"), push(node, OLD, 2, 3, "begin")].concat();
    let archive = sightings(&[&text]).instances()[0].archives[0].clone();
    assert_eq!(archive.wal_complete, 1);
    assert_eq!(archive.last_segment.unwrap().name.to_string(), "000000010000000000000001");
    assert_eq!(archive.last_begun.unwrap().name.to_string(), "000000010000000000000002");
    // Completed later, in another log that is given first.
    let archive = sightings(&[&push(node, OLD, 2, 4, "complete"), &text]).instances()[0].archives[0].clone();
    assert_eq!((archive.wal_complete, archive.last_begun), (2, None));
}

#[test]
fn a_base_backup_by_its_lines() {
    let text = "        DETAIL: Uploading to \"s3://b/d/basebackups_005/base_000000010000000000000002_00000040/tar_partitions/part_00000000.tar.lzo\".
        STRUCTURED: time=2026-01-01T00:00:01-00 pid=9
        DETAIL: Uploading to \"s3://b/d/basebackups_005/base_000000010000000000000002_00000040/tar_partitions/part_00000001.tar.lzo\".
        STRUCTURED: time=2026-01-01T00:00:02-00 pid=9
        DETAIL: Uploading to \"s3://b/d/basebackups_005/base_000000010000000000000002_00000040/tar_partitions/part_00000000.tar.lzo\" complete at 74440.6KiB/s. 
        STRUCTURED: time=2026-01-01T00:00:03-00 pid=9
";
    let of = |text: &str| sightings(&[text]).instances()[0].archives[0].backups[0].clone();
    let backup = of(text);
    assert_eq!((backup.parts_begun, backup.parts_complete, backup.stopped), (2, 1, None));
    assert_eq!(backup.begun.unwrap().to_string(), "2026-01-01T00:00:01Z");
    assert_eq!(backup.last.unwrap().to_string(), "2026-01-01T00:00:03Z");
    // 0x28 is 40.
    let stopped = text.to_owned()
        + "        STRUCTURED: time=2026-01-01T00:00:09-00 pid=8 action=push-wal key=s3://b/d/wal_005/000000010000000000000002.00000028.backup.lzo prefix=d/ seg=000000010000000000000002.00000028.backup state=complete\n";
    assert_eq!(of(&stopped).stopped.unwrap().to_string(), "2026-01-01T00:00:09Z");
}

/// As somebody would do it with grep: the URLs of complete pushes, and their newest time.
fn naive(text: &str) -> Option<(String, u64)> {
    let complete = text.lines().filter(|line| line.contains("action=push-wal") && line.ends_with("state=complete"));
    let last = complete.clone().max_by_key(|line| line.split("time=").nth(1).unwrap()[..19].to_owned())?;
    let seg = last.split(" seg=").nth(1)?.split(' ').next()?;
    Some((seg.to_owned(), complete.count() as u64))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any bytes, and bytes that are nearly lines: no panic, and the same events however they are cut.
    #[test]
    fn any_bytes_any_cut(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        keep in 0..3000usize,
        cuts in proptest::collection::vec(1..200usize, 0..40),
    ) {
        let mut bytes = DINGO.as_bytes()[..DINGO.len().min(keep)].to_vec();
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..at, noise);
        let (whole, log) = events_in(&bytes, &[]);
        let (cut, other) = events_in(&bytes, &cuts);
        prop_assert_eq!(&whole, &cut);
        prop_assert_eq!((log.lines(), log.order(), log.setting()), (other.lines(), other.order(), other.setting()));
        let mut sightings = Sightings::new();
        whole.into_iter().for_each(|event| sightings.add(event));
        sightings.settle(log.setting());
        let _ = sightings.instances();
    }

    /// Pushes of one archive, in any order and mixed with lines that mean nothing: the same as grep finds.
    #[test]
    fn the_last_upload_is_what_grep_finds(
        steps in proptest::collection::vec((1..60u32, any::<bool>(), any::<bool>()), 1..40),
    ) {
        let mut text = String::new();
        for (number, (second, complete, noise)) in steps.iter().enumerate() {
            let state = if *complete { "complete" } else { "begin" };
            text += &push("c8ce128e-7b4c-4fe7-a533-e9379356f906", OLD, number as u32, *second, state);
            if *noise {
                writeln!(text, "Mar 17 00:00:{second:02} host app: http://x/ STRUCTURED: not ours").unwrap();
            }
        }
        let archive = sightings(&[&text]).instances()[0].archives[0].clone();
        let found = archive.last_segment.map(|segment| (segment.at.time(), archive.wal_complete));
        let wanted = naive(&text);
        prop_assert_eq!(found.map(|(_, count)| count), wanted.as_ref().map(|(_, count)| *count));
        // Two of one second are equally late.
        if let (Some((time, _)), Some((segment, _))) = (found, wanted) {
            let line = text.lines().find(|line| line.contains(&format!("seg={segment} ")) && line.ends_with("complete")).unwrap();
            let wanted = moment::stamp(line.split("time=").nth(1).unwrap().split(' ').next().unwrap());
            prop_assert_eq!(time, wanted);
        }
    }
}

#[test]
fn nothing_grows_without_end() {
    let mut sightings = Sightings::new();
    let mut log = Log::new(0);
    for number in 0..200_000u32 {
        let line = format!("x s3://b/{number}/wal_005/000000010000000000000001.lzo\n");
        log.push(line.as_bytes(), &mut |event| sightings.add(event));
        // Writers that never end their record.
        let line = format!(
            "Mar 17 00:00:00 h{number} t: DETAIL: Uploading \"a\" to \"s3://b/d/wal_005/000000010000000000000001.lzo\".\n"
        );
        log.push(line.as_bytes(), &mut |event| sightings.add(event));
    }
    log.finish(&mut |event| sightings.add(event));
    assert!(sightings.left_out() >= 100_000);
    assert!(sightings.instances().len() <= 100_001);
}
