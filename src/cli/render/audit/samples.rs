//! Reports to look at: a healthy archive, one with holes and branches, 300 days of WAL, names that attack, a store that is
//! away. For tests of the renderers, here and in a browser.
//!
//! In: nothing. Out: [`Report`]s that do not contradict themselves. Never: a clock; the audit's own code.

use crate::commands::audit::report::{
    Acknowledgements, Backup, Cluster, Coverage, Fork, Lane, Reach, Report, Spot, State, Step, Stretch, Times, Window,
};
use crate::layout::BackupName;
use crate::pg::{Lsn, SegmentName, SegmentNo, SegmentSize, SystemId, TimelineId};
use crate::proof::Level;
use crate::proof::finding::{Finding, FindingCode, Place, Severity};
use crate::proof::verdict::{Counts, Freshness, NewestBackup, NewestCommit, NewestSegment, Thresholds, Verdict};
use crate::proof::windows::Windows;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

const SIZE: SegmentSize = SegmentSize::DEFAULT;

/// An archive whose WAL began at `origin` and is written at an even rate.
struct Archive {
    origin: Timestamp,
    /// Seconds that one segment lasts.
    pace: i64,
    report: Report,
}

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap_or(TimelineId::FIRST)
}

fn lsn(segment: u64) -> Lsn {
    SegmentNo(segment).start(SIZE).unwrap_or_default()
}

impl Archive {
    fn new(origin: &str, pace: i64, now: &str, level: Level) -> Archive {
        let time = |text: &str| text.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        let report = Report {
            archive: "s3://backups/spilo/acid-main/14/wal/".to_owned(),
            verdict: Verdict::Ok,
            counts: Counts::default(),
            began: time(now),
            took_ms: 4210,
            level,
            claim: level.claim().to_owned(),
            cluster: Some(Cluster {
                system: Some(SystemId(7_710_354_800_899_113_174)),
                postgresql: Some("14".to_owned()),
                segment_bytes: SIZE.bytes(),
                segment_bytes_from: "the first page of 000000010000000000000001".to_owned(),
            }),
            freshness: Freshness::default(),
            thresholds: Thresholds::default(),
            coverage: Coverage::default(),
            times: Times::Commits,
            timelines: Vec::new(),
            backups: Vec::new(),
            windows: Vec::new(),
            reach: Windows { timelines: Vec::new() },
            findings: Vec::new(),
            acknowledgements: None,
            steps: Vec::new(),
        };
        Archive { origin: time(origin), pace, report }
    }

    fn time(&self, segment: u64) -> Timestamp {
        let seconds = i64::try_from(segment).unwrap_or(0) * self.pace;
        self.origin.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(self.origin)
    }

    fn reach(&self, first: u64, last: u64) -> Reach {
        Reach { from: lsn(first), to: lsn(last + 1), begins: Some(self.time(first)), ends: Some(self.time(last + 1)) }
    }

    fn name(number: u32, segment: u64) -> String {
        SegmentNo(segment).name(timeline(number), SIZE).map(|name| name.to_string()).unwrap_or_default()
    }

    /// A timeline from one segment to another, with holes.
    fn lane(&mut self, number: u32, first: u64, last: u64, holes: &[(u64, u64)], parent: Option<u32>) {
        let mut stretches = Vec::new();
        let mut next = first;
        for (from, to) in holes.iter().copied().chain([(last + 1, last)]) {
            for (present, first, last) in [(true, next, from - 1), (false, from, to)] {
                if first <= last {
                    stretches.push(Stretch {
                        present,
                        first: Self::name(number, first),
                        last: Self::name(number, last),
                        segments: last - first + 1,
                        place: self.reach(first, last),
                    });
                }
            }
            next = to + 1;
        }
        let segments = stretches.iter().filter(|one| one.present).map(|one| one.segments).sum();
        let fork = parent.map(|parent| Fork {
            parent: timeline(parent),
            lsn: Lsn(lsn(first).0 + 0xA0_0110),
            time: Some(self.time(first)),
        });
        self.report.coverage.segments += segments;
        self.report.coverage.segment_bytes += segments * 5_300_000;
        let lane = Lane { timeline: timeline(number), fork, on_the_way: true, segments, stretches, spots: Vec::new() };
        self.report.timelines.push(lane);
    }

    fn backup(&mut self, number: u32, segment: u64, state: State) -> BackupName {
        let name: BackupName = format!("base_{}_00000040", Self::name(number, segment))
            .parse()
            .unwrap_or_else(|_| unreachable!("checked: built from a segment's name"));
        self.report.backups.push(Backup {
            name,
            timeline: timeline(number),
            start: Lsn(lsn(segment).0 + 40),
            stop: Some(lsn(segment + 1)),
            started: Some(self.time(segment)),
            finished: (state != State::Unfinished).then(|| self.time(segment + 1)),
            latest: false,
            state,
            worst: None,
            looked_at: "pages",
        });
        name
    }

    fn window(&mut self, backup: BackupName, number: u32, first: u64, last: u64, latest: bool, cut: Option<&str>) {
        self.report.windows.push(Window {
            backup,
            timeline: timeline(number),
            latest,
            place: self.reach(first, last),
            cut_short: cut.map(str::to_owned),
        });
    }

    fn find(&mut self, code: FindingCode, severity: Severity, place: Place, lsn: Option<Lsn>, words: [&str; 3]) {
        let segments = place.segments(SIZE);
        let object = match (&place, &segments) {
            (_, Some((first, last))) if first == last => first.clone(),
            (_, Some((first, last))) => format!("{first} to {last}"),
            (Place::Backup(name), _) => name.to_string(),
            (Place::History(timeline), _) => format!("{}.history", timeline.hex()),
            (Place::Object(key), _) => key.to_string(),
            _ => self.report.archive.clone(),
        };
        let [what, consequence, next] = words;
        self.report.findings.push(Finding {
            code,
            severity,
            object,
            timeline: None,
            first_segment: segments.as_ref().map(|(first, _)| first.clone()),
            last_segment: segments.map(|(_, last)| last),
            lsn,
            what: what.to_owned(),
            consequence: consequence.to_owned(),
            next: if next.is_empty() { code.next() } else { next }.to_owned(),
            hurts: match &place {
                Place::Backup(name) => vec![*name],
                _ if severity > Severity::Harmless => self.report.backups.iter().take(3).map(|one| one.name).collect(),
                _ => Vec::new(),
            },
            place,
            level: self.report.level,
            acknowledged: None,
        });
    }

    fn done(mut self) -> Report {
        let report = &mut self.report;
        report.findings.sort_by_key(|one| std::cmp::Reverse(one.severity));
        report.verdict = Verdict::of(&report.findings);
        report.counts = Counts::of(&report.findings);
        let newest = report.backups.iter().rposition(|backup| backup.state == State::Usable);
        if let Some(backup) = newest.and_then(|index| report.backups.get_mut(index)) {
            backup.latest = true;
            report.freshness.newest_backup = Some(NewestBackup { name: backup.name, finished: backup.finished });
        }
        let places: Vec<(TimelineId, Reach, Place, usize, Severity)> = report
            .findings
            .iter()
            .enumerate()
            .filter_map(|(index, finding)| match finding.place {
                Place::Wal { timeline, first, last } => Some((
                    timeline,
                    self.origin,
                    self.pace,
                    first,
                    last,
                    finding.place.clone(),
                    index,
                    finding.severity,
                )),
                _ => None,
            })
            .map(|(timeline, origin, pace, first, last, place, finding, severity)| {
                let time = |segment: u64| {
                    origin.checked_add(SignedDuration::from_secs(i64::try_from(segment).unwrap_or(0) * pace)).ok()
                };
                let reach =
                    Reach { from: lsn(first.0), to: lsn(last.0 + 1), begins: time(first.0), ends: time(last.0 + 1) };
                (timeline, reach, place, finding, severity)
            })
            .collect();
        for (timeline, place, _, finding, severity) in places {
            if let Some(lane) = report.timelines.iter_mut().find(|lane| lane.timeline == timeline) {
                lane.spots.push(Spot { finding, severity, place });
            }
        }
        if let Some(last) = report.timelines.last().and_then(|lane| lane.stretches.last()) {
            let name: Option<SegmentName> = last.last.parse().ok();
            report.freshness.newest_segment = name.map(|name| NewestSegment { name, stored: last.place.ends });
            if let (Some(time), Some(name)) = (last.place.ends, name) {
                report.freshness.newest_commit =
                    Some(NewestCommit { time, lsn: Lsn(last.place.to.0 - 4096), timeline: name.timeline() });
            }
        }
        let latest = report.windows.iter().filter(|window| window.latest);
        let end = latest.clone().filter_map(|window| window.place.ends).max();
        let ends_last = latest.filter(|window| window.place.ends == end);
        report.freshness.window_start = ends_last.filter_map(|window| window.place.begins).min();
        report.freshness.window_end = end;
        report.coverage.objects_read = report.coverage.segments.min(4300);
        report.coverage.bytes_read = report.coverage.objects_read * 5_300_000;
        report.coverage.remembered = report.coverage.segments - report.coverage.objects_read;
        report.coverage.remembered_since = (report.coverage.remembered > 0).then_some(self.origin);
        report.steps = ["list the archive", "read the WAL", "read the base backups"]
            .map(|step| Step { step: step.to_owned(), done: true, outcome: "done".to_owned() })
            .to_vec();
        self.report
    }
}

/// Two timelines after a failover, three base backups, all well.
pub fn healthy() -> Report {
    let mut archive = Archive::new("2026-11-20T02:00:00Z", 600, "2026-11-26T12:04:10Z", Level::Records);
    archive.lane(1, 1, 520, &[], None);
    archive.lane(2, 520, 923, &[], Some(1));
    for (number, segment) in [(1, 6), (1, 294), (2, 582)] {
        let backup = archive.backup(number, segment, State::Usable);
        if number == 1 {
            archive.window(backup, 1, segment + 1, 519, false, None);
        }
        archive.window(backup, 2, segment + 1, 923, true, None);
    }
    archive.find(
        FindingCode::ArchiveForeign,
        Severity::Harmless,
        Place::Object("wal_005/README.txt".into()),
        None,
        ["no name that WAL-E or WAL-G give", "", ""],
    );
    archive.done()
}

/// Five timelines, holes, damage, a backup that failed, one that is damaged, an acknowledged loss.
pub fn branches() -> Report {
    let mut archive = Archive::new("2026-11-12T00:00:00Z", 900, "2026-11-26T12:04:10Z", Level::Records);
    archive.lane(1, 1, 560, &[(120, 131), (402, 402)], None);
    archive.lane(2, 540, 980, &[(700, 733)], Some(1));
    archive.lane(3, 820, 905, &[], Some(2));
    archive.lane(4, 860, 890, &[], Some(3));
    archive.lane(5, 980, 1380, &[(1200, 1200), (1290, 1291)], Some(2));
    let mut backups = Vec::new();
    for (number, segment, state) in [
        (1, 20, State::Usable),
        (1, 300, State::Usable),
        (2, 600, State::Damaged),
        (2, 790, State::Usable),
        (5, 1010, State::Usable),
        (5, 1240, State::Usable),
        (5, 1350, State::Unfinished),
    ] {
        backups.push(archive.backup(number, segment, state));
    }
    archive.window(backups[0], 1, 21, 119, false, Some("000000010000000000000078 is missing"));
    archive.window(backups[1], 1, 301, 401, false, Some("000000010000000000000192 is missing"));
    archive.window(backups[3], 2, 791, 979, false, None);
    archive.window(backups[3], 3, 791, 905, false, None);
    archive.window(backups[3], 4, 791, 890, false, None);
    archive.window(backups[3], 5, 791, 1199, true, Some("0000000500000000000004B0 is missing"));
    archive.window(backups[4], 5, 1011, 1199, true, Some("0000000500000000000004B0 is missing"));
    archive.window(backups[5], 5, 1241, 1289, true, Some("a record at 50A/1A2B3C8 is wrong"));
    let wal = |number: u32, first: u64, last: u64| Place::Wal {
        timeline: timeline(number),
        first: SegmentNo(first),
        last: SegmentNo(last),
    };
    archive.find(
        FindingCode::SegmentMissing,
        Severity::Critical,
        wal(5, 1290, 1291),
        Some(lsn(1290)),
        [
            "2 segments are missing, and the timeline goes on behind them",
            "Recovery from every base backup ends at 5/0A000000 (2026-11-25 10:30:00 UTC): the 26 hours since then cannot be recovered.",
            "",
        ],
    );
    archive.find(
        FindingCode::SegmentRecord,
        Severity::Warning,
        wal(5, 1200, 1200),
        Some(Lsn(lsn(1200).0 + 0x1A_2B3C)),
        [
            "the record's CRC is 0a1b2c3d, computed 77e0914f",
            "The base backups before it recover up to 2026-11-24 12:00:00 UTC only; a newer one leads past it.",
            "",
        ],
    );
    archive.find(
        FindingCode::SegmentMissing,
        Severity::Warning,
        wal(2, 700, 733),
        Some(lsn(700)),
        [
            "34 segments are missing, and the timeline goes on behind them",
            "From the base backup of 18 November no recovery leads past them.",
            "",
        ],
    );
    archive.find(
        FindingCode::BackupPart,
        Severity::Warning,
        Place::Backup(backups[2]),
        None,
        ["part_00000003.tar.lzo ends in the middle of a block, at byte 41,943,040", "It cannot be restored.", ""],
    );
    archive.find(
        FindingCode::SegmentUnread,
        Severity::Unknown,
        wal(3, 850, 852),
        None,
        [
            "they are encrypted by OpenPGP, and no key is configured",
            "Nobody can tell whether timeline 3 can be recovered.",
            "",
        ],
    );
    archive.find(
        FindingCode::SegmentMissing,
        Severity::Harmless,
        wal(1, 120, 131),
        Some(lsn(120)),
        [
            "12 segments are missing, and the timeline goes on behind them",
            "The first base backup leads no further.",
            "",
        ],
    );
    if let Some(finding) = archive.report.findings.last_mut() {
        finding.acknowledged = Some(
            "the old primary's disk died before it had archived them (jane, until 2026-12-31, 35 days left)".into(),
        );
    }
    archive.find(
        FindingCode::SegmentMissing,
        Severity::Harmless,
        wal(1, 402, 402),
        Some(lsn(402)),
        ["1 segment is missing, and no base backup needs it", "", ""],
    );
    archive.find(
        FindingCode::TimelineStray,
        Severity::Harmless,
        Place::History(timeline(4)),
        None,
        ["no base backup leads to timeline 4", "", ""],
    );
    archive.report.acknowledgements = Some(Acknowledgements { file: "losses.toml".into(), entries: 1 });
    archive.report.thresholds.max_wal_age = Some(Duration::from_secs(3600));
    archive.done()
}

/// 300 days of WAL, a segment every three minutes, a base backup a day, some failovers and holes.
pub fn year() -> Report {
    let mut archive = Archive::new("2026-01-30T00:00:00Z", 180, "2026-11-26T06:02:10Z", Level::Records);
    let holes: Vec<(u64, u64)> = (0..400).map(|hole| (2000 + hole * 97, 2000 + hole * 97 + hole % 3)).collect();
    archive.lane(1, 1, 61_000, &holes, None);
    archive.lane(2, 61_000, 99_000, &[], Some(1));
    archive.lane(3, 99_000, 144_100, &[], Some(2));
    let owner = |segment: u64| {
        if segment < 61_000 {
            1
        } else if segment < 99_000 {
            2
        } else {
            3
        }
    };
    for day in 0..300 {
        let segment = 20 + day * 480;
        let backup = archive.backup(owner(segment), segment, State::Usable);
        let (end, cut) = match holes.iter().find(|(first, _)| *first > segment) {
            Some((first, _)) => (first - 1, Some(format!("{} is missing", Archive::name(1, *first)))),
            None => (144_100, None),
        };
        archive.window(backup, owner(end), segment + 1, end, end == 144_100, cut.as_deref());
    }
    for (first, last) in holes {
        archive.find(
            FindingCode::SegmentMissing,
            Severity::Warning,
            Place::Wal { timeline: timeline(1), first: SegmentNo(first), last: SegmentNo(last) },
            Some(lsn(first)),
            [
                "segments are missing, and the timeline goes on behind them",
                "The base backups before them lead no further.",
                "",
            ],
        );
    }
    archive.done()
}

/// Sixty timelines: a prefix that test restores archive into.
pub fn forest() -> Report {
    let mut archive = Archive::new("2026-11-01T00:00:00Z", 300, "2026-11-26T12:04:10Z", Level::Names);
    archive.lane(1, 1, 6900, &[], None);
    for number in 2..=60 {
        let first = u64::from(number) * 110;
        archive.lane(number, first, first + 60, &[], Some(if number % 4 == 0 { number - 1 } else { 1 }));
    }
    for day in 0..24 {
        archive.backup(1, 50 + day * 280, State::Usable);
    }
    let mut report = archive.done();
    report.times = Times::Stored;
    report.timelines.iter_mut().for_each(|lane| lane.on_the_way = lane.timeline == TimelineId::FIRST);
    report.freshness.newest_commit = None;
    report
}

/// No times at all: the picture runs over the WAL.
pub fn timeless() -> Report {
    let mut report = branches();
    let forget = |reach: &mut Reach| (reach.begins, reach.ends) = (None, None);
    for lane in &mut report.timelines {
        lane.stretches.iter_mut().for_each(|one| forget(&mut one.place));
        lane.spots.iter_mut().for_each(|one| forget(&mut one.place));
        lane.fork.iter_mut().for_each(|fork| fork.time = None);
    }
    report.windows.iter_mut().for_each(|one| forget(&mut one.place));
    report.backups.iter_mut().for_each(|one| (one.started, one.finished) = (None, None));
    report.times = Times::None;
    report.level = Level::Names;
    report.claim = Level::Names.claim().to_owned();
    report.freshness = Freshness { newest_backup: report.freshness.newest_backup, ..Freshness::default() };
    report
}

/// Text that would run, break out or mislead if anything took it for more than text.
pub const ATTACK: &str = "</style></script><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'|\u{202E}\u{1b}[31m\nwalr_evil{} 1";

/// Every text that comes from outside attacks.
pub fn hostile() -> Report {
    let mut report = branches();
    report.archive = format!("s3://bucket/{ATTACK}/");
    for finding in &mut report.findings {
        finding.object = ATTACK.to_owned();
        finding.what = ATTACK.to_owned();
        finding.consequence = ATTACK.to_owned();
        finding.next = ATTACK.to_owned();
        finding.acknowledged = finding.acknowledged.as_ref().map(|_| ATTACK.to_owned());
    }
    report.windows.iter_mut().for_each(|window| window.cut_short = Some(ATTACK.to_owned()));
    report.steps.push(Step { step: ATTACK.to_owned(), done: false, outcome: ATTACK.to_owned() });
    report.acknowledgements = Some(Acknowledgements { file: ATTACK.to_owned(), entries: 1 });
    if let Some(cluster) = &mut report.cluster {
        cluster.postgresql = Some(ATTACK.to_owned());
        cluster.segment_bytes_from = ATTACK.to_owned();
    }
    report
}

/// The store did not answer.
pub fn unreachable() -> Report {
    let mut archive = Archive::new("2026-11-20T02:00:00Z", 600, "2026-11-26T12:04:10Z", Level::Records);
    archive.find(
        FindingCode::ArchiveUnread,
        Severity::Unknown,
        Place::Archive,
        None,
        [
            "cannot list: dns error: failed to look up backups.s3.example: Name or service not known",
            "Nothing is known about the archive.",
            "Check the endpoint for a typing error and this machine's DNS.",
        ],
    );
    let mut report = archive.done();
    report.cluster = None;
    report.freshness = Freshness::default();
    report.coverage = Coverage::default();
    report.steps = vec![Step {
        step: "list the archive".into(),
        done: false,
        outcome: "store.dns: cannot list: dns error: failed to look up backups.s3.example".into(),
    }];
    report
}

/// All of them, by name.
pub fn all() -> Vec<(&'static str, Report)> {
    vec![
        ("healthy", healthy()),
        ("branches", branches()),
        ("year", year()),
        ("forest", forest()),
        ("timeless", timeless()),
        ("hostile", hostile()),
        ("unreachable", unreachable()),
    ]
}
