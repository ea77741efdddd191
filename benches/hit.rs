//! What does a hit cost: a wal-fetch, called as restore_command is, for a segment that the feeder has ready?
//!
//! In: a forged archive of 16 MiB segments, a real feeder. Out: median and 99th percentile over 1 000 fetches, of `wal-r
//! wal-fetch` and of `wal-r-fetch`, once with their own process start alone and once through `sh`, which PostgreSQL starts
//! for every restore_command; the same for `mv` and (through `sh` only) `cp` of a file of 16 MiB on the same file system,
//! and for a program that does nothing, in turns; and the peak memory. The bars (no test asserts a time): 2 ms with process
//! start, 8 MiB. A fetch is begun when the feeder has one ready and is at rest, so that what is measured is the hit, not its
//! work.
//!
//! `WALR_BENCH_BIN=DIR` measures the programs that were installed in a folder, as `cargo xtask install` links them.
#![allow(clippy::print_stdout, reason = "a bench prints")]

#[path = "support/recovering.rs"]
#[allow(dead_code, reason = "shared by benches")]
mod recovering;

use recovering::{DESTINATION, Recovering, peak, percentile, program};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wal_r::pg::control::ControlFile;
use wal_r::pg::{SegmentNo, TimelineId};
use wal_r::testing::backup::control_with;
use wal_r::testing::forge::{Shape, Wal};
use wal_r::testing::lzop::lzop;

/// Where pg_control of version 13 has the segment size.
const SEGMENT_SIZE: usize = 228;
const ROUNDS: usize = 1_000;
/// Fetches whose memory is watched; they are not timed.
const WATCHED: usize = 100;

/// What a program is started by.
#[derive(Clone, Copy)]
enum Start {
    Alone,
    Shell,
}

/// So many segments, each with a few records and a switch. Their names.
fn archive(folder: &Path, control: &ControlFile, count: usize) -> Vec<String> {
    let wal = folder.join("wal_005");
    std::fs::create_dir(&wal).expect("a folder");
    let shape = Shape { magic: 0xD106, size: control.segment_size, page_size: 8192, system: control.system };
    let mut stretch = Wal::new(shape, TimelineId::FIRST, SegmentNo(16));
    (0..count)
        .map(|number| {
            stretch.commit(number as u32 + 700, 700_000_000_000_000 + number as i64);
            stretch.switch();
            let (name, bytes) = stretch.segments().pop().expect("one segment");
            std::fs::write(wal.join(format!("{name}.lzo")), lzop(&bytes)).expect("a segment");
            stretch = stretch.go_on();
            name.to_string()
        })
        .collect()
}

fn main() {
    let bytes = control_with(&[(SEGMENT_SIZE, &(16u32 << 20).to_le_bytes())]);
    let control = ControlFile::parse(&bytes).expect("a pg_control");
    let place = tempfile::tempdir().expect("a folder");
    let names = archive(place.path(), &control, 4 * ROUNDS + 2 * WATCHED + 50);
    let data = Recovering::new(&bytes, "13\n", "recovery.signal");
    let plain = data.path().join("plain");
    std::fs::write(&plain, vec![0x5a; 16 << 20]).expect("a file");

    let wal_r = program("wal-r");
    let prefix = place.path().display();
    let fetches = [format!("{wal_r} wal-fetch"), program("wal-r-fetch")];
    let run = |line: &str, start: Start| {
        let mut command = match start {
            Start::Shell => {
                let mut command = data.command("/bin/sh");
                command.args(["-c", line]);
                command
            }
            Start::Alone => {
                let mut words = line.split(' ');
                let mut command = data.command(words.next().unwrap_or_default());
                command.args(words);
                command
            }
        };
        let began = Instant::now();
        let status = command.stdin(Stdio::null()).status().expect("a program");
        let took = began.elapsed();
        assert!(status.success(), "{line}: {status}");
        took
    };
    let mut names = names.iter();
    let mut next = || names.next().expect("there are enough");
    // The first one is fetched without the feeder, and starts it.
    run(&format!("{wal_r} wal-fetch --prefix {prefix} {} {DESTINATION}", next()), Start::Shell);
    let at_rest = || {
        // It gives way to who was answered last, and only then begins what that one made room for.
        std::thread::sleep(Duration::from_millis(10));
        data.wait(|status| status.ready > 0 && status.fetching == 0)
    };
    let moved = data.path().join("moved");
    let (mut ours, mut mv, mut nothing) =
        <([[Vec<Duration>; 2]; 2], [Vec<Duration>; 2], [Vec<Duration>; 2])>::default();
    let mut cp = Vec::new();
    for _ in 0..ROUNDS {
        for (way, start) in [Start::Alone, Start::Shell].into_iter().enumerate() {
            for (fetch, times) in fetches.iter().zip(&mut ours) {
                at_rest();
                data.make_room();
                times[way].push(run(&format!("{fetch} --prefix {prefix} {} {DESTINATION}", next()), start));
                assert_eq!(std::fs::metadata(data.destination()).map_or(0, |file| file.len()), 16 << 20);
            }
            std::fs::rename(data.destination(), &moved).expect("the segment");
            mv[way].push(run(&format!("/bin/mv moved {DESTINATION}"), start));
            nothing[way].push(run("/bin/true", start));
        }
        data.make_room();
        cp.push(run(&format!("cp plain {DESTINATION}"), Start::Shell));
    }

    let mut most = [0; 2];
    for _ in 0..WATCHED {
        for (fetch, most) in fetches.iter().zip(&mut most) {
            at_rest();
            data.make_room();
            let mut words = fetch.split(' ');
            let mut command = data.command(words.next().unwrap_or_default());
            command.args(words).arg("--prefix").arg(place.path()).args([next(), DESTINATION]).stdin(Stdio::null());
            let mut child = command.spawn().expect("it runs");
            while child.try_wait().expect("a child").is_none() {
                *most = peak(child.id()).unwrap_or(0).max(*most);
            }
        }
    }
    let status = data.status().expect("a feeder");
    let feeder = peak(status.pid).unwrap_or(0);
    let all = (4 * ROUNDS + 2 * WATCHED) as u64;
    println!(
        "hit: {} of {all} were hits, {} waited for, {} missed",
        status.hits,
        status.in_flight,
        status.misses + status.direct
    );
    let show = |what: &str, start: &str, times: &mut Vec<Duration>| {
        let (median, late) = (percentile(times, 0.5), percentile(times, 0.99));
        println!("hit: {what:<15} {start:<10} median {median:>9.2?}, 99th percentile {late:>9.2?}");
    };
    let [whole, small] = &mut ours;
    for (way, start) in ["", "through sh"].into_iter().enumerate() {
        show("wal-r wal-fetch", start, &mut whole[way]);
        show("wal-r-fetch", start, &mut small[way]);
        show("mv", start, &mut mv[way]);
        show("true", start, &mut nothing[way]);
    }
    show("cp", "through sh", &mut cp);
    let [whole, small] = most.map(mib);
    println!(
        "hit: peak memory: wal-r wal-fetch {whole:.1} MiB, wal-r-fetch {small:.1} MiB, the feeder {:.1} MiB",
        mib(feeder)
    );
    drop(Command::new("sync").status());
    data.end();
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
