//! Tables: which backup is LATEST, which was finished before a time.

use super::*;
use proptest::prelude::*;

/// `NAME-TAIL stop=LOG/OFFSET m=HOUR` for WAL-E, `NAME-TAIL sys=N f=HOUR lsn=N m=HOUR` for WAL-G, `NAME-TAIL damaged`.
fn candidate(line: &str) -> Candidate {
    let mut words = line.split_whitespace();
    let name: BackupName = format!("base_{}", words.next().expect("a name")).parse().expect(line);
    let hour = |text: &str| format!("2026-01-01T{text}:00:00Z").parse::<Timestamp>().expect(line);
    let mut sentinel = Sentinel::default();
    let mut one = Candidate { name, sentinel: None, modified: None, finished: None };
    let mut damaged = false;
    for word in words {
        match word.split_once('=') {
            None => damaged = true,
            Some(("stop", stop)) => {
                let (segment, offset) = stop.split_once('/').expect(line);
                sentinel.stop_segment = Some(segment.parse().expect(line));
                sentinel.stop_offset = Some(offset.parse().expect(line));
            }
            Some(("m", at)) => one.modified = Some(hour(at)),
            Some(("end", at)) => one.finished = Some(hour(at)),
            Some(("f", at)) => sentinel.finish_time = Some(hour(at)),
            Some(("sys", id)) => {
                sentinel.origin = super::super::sentinel::Origin::WalG2;
                sentinel.system = Some(SystemId(id.parse().expect(line)));
            }
            Some(("lsn", lsn)) => sentinel.start_lsn = Some(crate::pg::Lsn(lsn.parse().expect(line))),
            Some(_) => panic!("{line}"),
        }
    }
    one.sentinel = (!damaged).then_some(sentinel);
    one
}

fn choose(lines: &[&str], wanted: &str) -> String {
    let candidates: Vec<_> = lines.iter().map(|line| candidate(line)).collect();
    let wanted = match wanted.strip_prefix("before ") {
        Some(hour) => Wanted::Before(format!("2026-01-01T{hour}:00:00Z").parse().expect("an hour")),
        None if wanted == "LATEST" => Wanted::Latest,
        None => Wanted::Named(wanted.parse().expect("a name")),
    };
    // The same whatever the order of the listing.
    let mut reversed = candidates.clone();
    reversed.reverse();
    let show = |candidates: &[Candidate]| match select(candidates, &wanted) {
        Err(error) => error.to_string(),
        Ok(choice) => {
            let mut text = choice.chosen.name.to_string();
            for (what, other) in [("written last", choice.written_last), ("unreadable", choice.unreadable)] {
                if let Some(other) = other {
                    text.push_str(&format!(", {what} {}", other.name));
                }
            }
            if choice.systems > 1 {
                text.push_str(&format!(", {} clusters", choice.systems));
            }
            text
        }
    };
    assert_eq!(show(&candidates), show(&reversed), "{lines:?}");
    show(&candidates)
}

const A: &str = "000000010000000000000003_00000040 stop=000000010000000000000003/312 m=03";
const B: &str = "000000010000000000000006_00000040 stop=000000010000000000000006/312 m=06";
const C: &str = "00000002000000000000000C_00000040 stop=00000002000000000000000C/312 m=12";

#[test]
fn wal_e_by_timeline_and_stop_position() {
    assert_eq!(choose(&[A, B, C], "LATEST"), "base_00000002000000000000000C_00000040");
    // A timeline that forked early: its backups have smaller LSNs and are still newer.
    let fork = "000000020000000000000004_00000040 stop=000000020000000000000004/312 m=08";
    assert_eq!(choose(&[A, B, fork], "LATEST"), "base_000000020000000000000004_00000040");
    // Same start segment, other offsets; same start, other stop.
    let early = "000000010000000000000003_00000040 stop=000000010000000000000004/1 m=04";
    let late = "000000010000000000000003_00090040 stop=000000010000000000000004/9 m=05";
    assert_eq!(choose(&[late, early], "LATEST"), "base_000000010000000000000003_00090040");
}

#[test]
fn a_copied_old_backup_does_not_win_and_is_reported() {
    let copied = "000000010000000000000003_00000040 stop=000000010000000000000003/312 m=20";
    assert_eq!(
        choose(&[copied, B], "LATEST"),
        "base_000000010000000000000006_00000040, written last base_000000010000000000000003_00000040"
    );
    // By name there is nothing to report.
    assert_eq!(
        choose(&[copied, B], "base_000000010000000000000006_00000040"),
        "base_000000010000000000000006_00000040"
    );
}

#[test]
fn wal_g_by_finish_time_within_one_cluster() {
    let one = "000000010000000000000009 sys=1 f=02 lsn=9 m=23";
    let two = "00000002000000000000000B sys=1 f=03 lsn=11 m=03";
    assert_eq!(
        choose(&[one, two], "LATEST"),
        "base_00000002000000000000000B, written last base_000000010000000000000009"
    );
    // After an upgrade the LSN may start again, and the timeline does.
    let upgraded = "000000010000000000000002 sys=7 f=09 lsn=2 m=09";
    assert_eq!(
        choose(&[one, two, upgraded], "LATEST"),
        "base_000000010000000000000002, written last base_000000010000000000000009, 2 clusters"
    );
    // Same finish time: LSN.
    let twin = "00000002000000000000000C sys=1 f=03 lsn=12 m=03";
    assert_eq!(choose(&[twin, two], "LATEST"), "base_00000002000000000000000C");
}

#[test]
fn people_who_moved_from_wal_e_to_wal_g() {
    let newer = "000000010000000000000009 sys=1 f=09 lsn=9 m=09";
    assert_eq!(choose(&[A, B, newer], "LATEST"), "base_000000010000000000000009");
    assert_eq!(choose(&[C, newer], "LATEST"), "base_00000002000000000000000C_00000040");
}

#[test]
fn an_unreadable_sentinel_is_passed_over_and_named() {
    let damaged = "00000002000000000000000D_00000040 damaged m=13";
    assert_eq!(
        choose(&[A, damaged], "LATEST"),
        "base_000000010000000000000003_00000040, unreadable base_00000002000000000000000D_00000040"
    );
    // An old one does not matter.
    let old = "000000010000000000000001_00000040 damaged m=01";
    assert_eq!(choose(&[A, old], "LATEST"), "base_000000010000000000000003_00000040");
    assert_eq!(choose(&[old], "LATEST"), "there are 1 base backups, and the sentinel of none can be read");
    // By name it can be had.
    assert_eq!(choose(&[A, old], "base_000000010000000000000001_00000040"), "base_000000010000000000000001_00000040");
}

#[test]
fn before_a_time_only_what_certainly_was_finished() {
    assert_eq!(choose(&[A, B, C], "before 06"), "base_000000010000000000000006_00000040");
    assert_eq!(choose(&[A, B, C], "before 05"), "base_000000010000000000000003_00000040");
    assert_eq!(
        choose(&[A, B, C], "before 02"),
        "no base backup was certainly finished at 2026-01-01T02:00:00Z; the oldest is base_000000010000000000000003_00000040"
    );
    // The archive's own word beats the store's, in both directions.
    let copied = "000000010000000000000006_00000040 stop=000000010000000000000006/312 m=20 end=05";
    assert_eq!(choose(&[A, copied], "before 05"), "base_000000010000000000000006_00000040");
    let odd = "000000010000000000000006_00000040 stop=000000010000000000000006/312 m=02 end=05";
    assert_eq!(choose(&[A, odd], "before 04"), "base_000000010000000000000003_00000040");
    // Nothing known: never chosen.
    assert_eq!(
        choose(&["000000010000000000000003_00000040 stop=000000010000000000000003/312"], "before 23"),
        "no base backup was certainly finished at 2026-01-01T23:00:00Z; the oldest is base_000000010000000000000003_00000040"
    );
}

#[test]
fn nothing_there() {
    assert_eq!(choose(&[], "LATEST"), "there is no base backup");
    assert_eq!(
        choose(&[], "base_000000010000000000000003"),
        "there is no base backup base_000000010000000000000003 with a sentinel"
    );
}

proptest! {
    /// The order is one order: each candidate once, whatever the listing's order was.
    #[test]
    fn order_does_not_depend_on_the_listing(
        rows in proptest::collection::vec((1u32..3, 1u32..6, 0u64..3, 0u64..3, 0u32..4), 0..12),
        seed in any::<u64>(),
    ) {
        let mut candidates: Vec<Candidate> = rows
            .iter()
            .enumerate()
            .map(|(index, (timeline, segment, offset, system, hour))| {
                let name = format!("{timeline:08X}00000000{segment:08X}");
                match system {
                    0 => candidate(&format!("{name}_{index:08} stop={name}/{offset}")),
                    _ => candidate(&format!("{name}_{index:08} sys={system} f=0{hour} lsn={segment}")),
                }
            })
            .collect();
        let names = |candidates: &[Candidate]| -> Vec<String> {
            order(candidates).into_iter().map(|index| candidates[index].name.to_string()).collect()
        };
        let first = names(&candidates);
        fastrand::Rng::with_seed(seed).shuffle(&mut candidates);
        prop_assert_eq!(first, names(&candidates));
    }
}
