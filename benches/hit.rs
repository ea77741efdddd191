//! What does a hit cost: a wal-fetch, called as restore_command is, for a segment that the feeder has ready?
//!
//! In: a forged archive of 16 MiB segments, a real feeder. Out: median and 99th percentile over 1 000 fetches, process starts
//! included, and the peak memory, of `wal-r wal-fetch` and of `wal-r-fetch`; the same for `cp` and `mv` of a file of 16 MiB on the same file system, in
//! turns. The bars (no test asserts a time): 2 ms, 8 MiB. A fetch is begun when the feeder has one ready and is at rest, so
//! that what is measured is the hit, not its work.
#![allow(clippy::print_stdout, reason = "a bench prints")]

#[path = "support/recovering.rs"]
#[allow(dead_code, reason = "shared by benches")]
mod recovering;

use recovering::{DESTINATION, Recovering, peak, percentile};
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
    let names = archive(place.path(), &control, 2 * (ROUNDS + WATCHED) + 50);
    let data = Recovering::new(&bytes, "13\n", "recovery.signal");
    let plain = data.path().join("plain");
    std::fs::write(&plain, vec![0x5a; 16 << 20]).expect("a file");

    let wal_r = env!("CARGO_BIN_EXE_wal-r");
    let prefix = place.path().display();
    let fetches = [format!("{wal_r} wal-fetch"), env!("CARGO_BIN_EXE_wal-r-fetch").to_owned()];
    let run = |line: &str| {
        let mut command = data.command("/bin/sh");
        command.args(["-c", line]).stdin(Stdio::null());
        let began = Instant::now();
        let status = command.status().expect("a shell");
        let took = began.elapsed();
        assert!(status.success(), "{line}: {status}");
        took
    };
    let mut names = names.iter();
    let mut next = || names.next().expect("there are enough");
    // The first one is fetched without the feeder, and starts it.
    run(&format!("{wal_r} wal-fetch --prefix {prefix} {} {DESTINATION}", next()));
    let at_rest = || {
        // It gives way to who was answered last, and only then begins what that one made room for.
        std::thread::sleep(Duration::from_millis(10));
        data.wait(|status| status.ready > 0 && status.fetching == 0)
    };
    let (mut ours, mut cp, mut mv) = ([const { Vec::new() }; 2], Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (fetch, times) in fetches.iter().zip(&mut ours) {
            at_rest();
            data.make_room();
            times.push(run(&format!("{fetch} --prefix {prefix} {} {DESTINATION}", next())));
            assert_eq!(std::fs::metadata(data.destination()).map_or(0, |file| file.len()), 16 << 20);
        }
        data.make_room();
        cp.push(run(&format!("cp plain {DESTINATION}")));
        std::fs::rename(data.destination(), data.path().join("moved")).expect("the copy");
        mv.push(run(&format!("mv moved {DESTINATION}")));
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
    let all = 2 * (ROUNDS + WATCHED) as u64;
    println!(
        "hit: {} of {all} were hits, {} waited for, {} missed",
        status.hits,
        status.in_flight,
        status.misses + status.direct
    );
    let show = |what: &str, times: &mut Vec<Duration>| {
        let (median, late) = (percentile(times, 0.5), percentile(times, 0.99));
        println!("hit: {what:<15} median {median:>9.2?}, 99th percentile {late:>9.2?}");
    };
    let names = ["wal-r wal-fetch", "wal-r-fetch"];
    names.iter().zip(&mut ours).for_each(|(name, times)| show(name, times));
    show("cp", &mut cp);
    show("mv", &mut mv);
    let [whole, small] = most.map(mib);
    println!(
        "hit: peak memory: wal-r wal-fetch {whole:.1} MiB, wal-r-fetch {small:.1} MiB, the feeder {:.1} MiB",
        mib(feeder)
    );
    // What the machine takes for a process that does nothing.
    let mut nothing: Vec<Duration> = (0..200).map(|_| run(":")).collect();
    show("sh alone", &mut nothing);
    drop(Command::new("sync").status());
    data.end();
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
