//! Timeline histories: what servers wrote, what they refuse, and the ownership of every byte against a naive model.

use super::{REAL, golden, lsn, segment, timeline};
use crate::pg::history::{Span, TimelineHistory};
use crate::pg::{Lsn, SegmentNo, SegmentSize};
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn parse(tli: u32, text: &str) -> Result<TimelineHistory, String> {
    TimelineHistory::parse(timeline(tli), text.as_bytes()).map_err(|error| error.to_string())
}

fn check(tli: u32, text: &str, expected: Expect) {
    let shown = match parse(tli, text) {
        Ok(history) => history
            .spans()
            .map(|span| match span.end {
                Some(end) => format!("{}: {}..{end}\n", span.timeline, span.begin),
                None => format!("{}: {}..\n", span.timeline, span.begin),
            })
            .collect(),
        Err(error) => error,
    };
    expected.assert_eq(&shown);
}

#[test]
fn what_servers_write() {
    check(
        2,
        "1\t0/A000000\tno recovery target specified\n",
        expect![[r#"
        1: 0/0..0/A000000
        2: 0/A000000..
    "#]],
    );
    // A child's file: the parent's, an empty line, its own; times end with an extra line end.
    check(
        5,
        "1\t0/A000000\tno recovery target specified\n\n3\tA/F000110\tbefore 2026-11-20 20:34:38+00\n\n",
        expect![[r#"
        1: 0/0..0/A000000
        3: 0/A000000..A/F000110
        5: A/F000110..
    "#]],
    );
    // Comments, blanks for the tab, CRLF, lower case, no reason.
    check(
        3,
        "# moved by hand\n  1 0/0a000000  x\r\n\t2\t0/b000000\n",
        expect![[r#"
        1: 0/0..0/A000000
        2: 0/A000000..0/B000000
        3: 0/B000000..
    "#]],
    );
    // Recovery aimed at timeline 2 and stopped before 2 began.
    check(
        3,
        "1\t0/A000000\tx\n2\t0/9000000\tbefore transaction 700\n",
        expect![[r#"
        1: 0/0..0/A000000
        2: 0/A000000..0/9000000
        3: 0/9000000..
    "#]],
    );
    // No end of the last line, but a reason: an editor's doing.
    check(
        2,
        "1\t0/A000000\tx",
        expect![[r#"
        1: 0/0..0/A000000
        2: 0/A000000..
    "#]],
    );
}

#[test]
fn what_is_refused() {
    check(2, "", expect!["line 1: no ancestor is named"]);
    check(2, "# nothing\n\n", expect!["line 3: no ancestor is named"]);
    check(
        2,
        "<html><body>503</body></html>",
        expect!["line 1: `<html><body>503</body></html>` does not start with a timeline number"],
    );
    check(2, "0\t0/A000000\tx\n", expect![[r#"line 1: `0	0/A000000	x` does not start with a timeline number"#]]);
    check(
        2,
        "99999999999\t0/0\tx\n",
        expect![[r#"line 1: `99999999999	0/0	x` does not start with a timeline number"#]],
    );
    check(2, "1\n", expect!["line 1: `1` has no switch point"]);
    check(2, "1\tA000000\tx\n", expect![[r#"line 1: `1	A000000	x` has no switch point"#]]);
    check(2, "1\t0/A0000", expect!["line 1: ends in the middle"]);
    check(2, "1\t0/", expect![[r#"line 1: `1	0/` has no switch point"#]]);
    check(4, "1\t0/A000000\tx\n1\t0/B000000\tx\n", expect!["line 2: timeline 1 does not follow 1"]);
    check(4, "2\t0/A000000\tx\n1\t0/B000000\tx\n", expect!["line 2: timeline 1 does not follow 2"]);
    check(2, "1\t0/A000000\tx\n2\t0/B000000\tx\n", expect!["line 2: timeline 2 is no ancestor of 2"]);
    check(1, "1\t0/A000000\tx\n", expect!["line 1: timeline 1 is no ancestor of 1"]);
}

#[test]
fn of_real_servers() {
    for version in REAL {
        let read =
            |tli: u32| TimelineHistory::parse(timeline(tli), &golden(&format!("{version}/0000000{tli}.history")));
        let (two, three) = (read(2).unwrap(), read(3).unwrap());
        assert_eq!(two.ancestors().len(), 1, "{version}");
        assert_eq!(three.ancestors().len(), 2, "{version}");
        assert_eq!(three.ancestors()[1].reason, "no recovery target specified");
        assert!(three.agrees_with(&two) && !two.agrees_with(&three), "{version}");
        assert!(three.agrees_with(&TimelineHistory::without_file(timeline(1))));
    }
}

#[test]
fn ownership_at_a_switch_point() {
    let history = parse(3, "1\t0/A000028\tx\n2\t0/C000000\tx\n").unwrap();
    let size = SegmentSize::DEFAULT;
    let owner = |place| history.owner(lsn(place)).get();
    assert_eq!(
        [owner("0/0"), owner("0/A000027"), owner("0/A000028"), owner("0/BFFFFFF"), owner("0/C000000")],
        [1, 1, 2, 2, 3]
    );
    // Inside a segment the child's file holds the parent's bytes too; on a boundary it starts afresh.
    let holder = |number| history.segment_owner(SegmentNo(number), size).get();
    assert_eq!([holder(9), holder(10), holder(11), holder(12), holder(13)], [1, 2, 2, 3, 3]);
    let path: Vec<_> = history.path(lsn("0/9000028"), lsn("0/D000000"), size).collect();
    let expected = [
        "000000010000000000000009",
        "00000002000000000000000A",
        "00000002000000000000000B",
        "00000003000000000000000C",
    ];
    assert_eq!(path, expected.map(segment));
    assert_eq!(history.path(lsn("0/9"), lsn("0/9"), size).count(), 0);
    assert_eq!(
        history.span(timeline(2)),
        Some(Span { timeline: timeline(2), begin: lsn("0/A000028"), end: Some(lsn("0/C000000")) })
    );
    assert!(history.contains(timeline(3)) && !history.contains(timeline(4)));
}

#[test]
fn files_that_contradict_each_other() {
    let ours = parse(5, "1\t0/A000000\tx\n2\t0/B000000\tx\n").unwrap();
    assert!(ours.agrees_with(&parse(2, "1\t0/A000000\tanother reason\n").unwrap()));
    assert!(!ours.agrees_with(&parse(2, "1\t0/A000008\tx\n").unwrap()));
    assert!(!ours.agrees_with(&parse(3, "1\t0/A000000\tx\n").unwrap()), "3 is no ancestor");
    assert!(ours.agrees_with(&ours));
}

/// Any history that a server could write: ascending timelines, switch points in any order.
fn histories() -> impl Strategy<Value = TimelineHistory> {
    prop::collection::vec((1_u32..4, 0_u64..1 << 30), 1..6).prop_map(|lines| {
        let (mut tli, mut text) = (0, String::new());
        for (step, place) in lines {
            tli += step;
            text += &format!("{tli}\t{}\treason\n", Lsn(place));
        }
        parse(tli + 1, &text).unwrap()
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, tli in 1_u32..) {
        let _ = TimelineHistory::parse(timeline(tli), &bytes);
    }

    #[test]
    fn no_edit_of_a_real_file_panics(cut in 0_usize..200, at in 0_usize..200, with: u8) {
        let mut bytes = b"1\t0/A000000\tno recovery target specified\n\n2\t0/F000110\tbefore 2026-11-20 20:34:38+00\n\n".to_vec();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = with;
        }
        bytes.truncate(cut);
        let _ = TimelineHistory::parse(timeline(3), &bytes);
    }

    #[test]
    fn a_cut_never_moves_a_switch_point(cut in 0_usize..84) {
        let whole = b"1\t0/A000000\tno recovery target specified\n\n2\t0/F000110\tbefore 2026-11-20 20:34:38+00\n\n";
        let full = TimelineHistory::parse(timeline(3), whole).unwrap();
        if let Ok(part) = TimelineHistory::parse(timeline(3), &whole[..cut]) {
            for (a, b) in part.ancestors().iter().zip(full.ancestors()) {
                prop_assert_eq!((a.timeline, a.switch), (b.timeline, b.switch));
            }
        }
    }

    #[test]
    fn every_byte_has_the_owner_the_server_gives_it(history in histories(), place in 0_u64..1 << 30) {
        // `tliOfPointInHistory`: newest first, begin <= place < end, 0/0 as open ends.
        let mut model = history.timeline();
        for span in history.spans().collect::<Vec<_>>().into_iter().rev() {
            if span.begin.0 <= place && span.end.is_none_or(|end| place < end.0) {
                model = span.timeline;
                break;
            }
        }
        prop_assert_eq!(history.owner(Lsn(place)), model);
    }

    #[test]
    fn a_path_is_one_unbroken_line_that_never_goes_back(
        mut points in prop::collection::vec(1_u64..1 << 28, 1..5), from in 0_u64..1 << 28, len in 1_u64..1 << 27,
    ) {
        points.sort_unstable();
        let text: String = points.iter().zip(1..).map(|(place, tli)| format!("{tli}\t{}\tx\n", Lsn(*place))).collect();
        let history = parse(u32::try_from(points.len()).unwrap() + 1, &text).unwrap();
        let size = SegmentSize::MIN;
        let path: Vec<_> = history.path(Lsn(from), Lsn(from + len), size).collect();
        prop_assert_eq!(path.first().unwrap().number(size).unwrap(), Lsn(from).segment(size));
        prop_assert_eq!(path.last().unwrap().number(size).unwrap(), Lsn(from + len - 1).segment(size));
        for pair in path.windows(2) {
            prop_assert_eq!(pair[0].number(size).unwrap().next(), pair[1].number(size).unwrap());
            prop_assert!(pair[0].timeline() <= pair[1].timeline());
        }
    }
}
