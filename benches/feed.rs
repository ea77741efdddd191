//! How many segments a second does the feed sustain from a store that is some way off, at how many requests?
//!
//! In: 400 segments of 16 MiB that a real PostgreSQL 15 wrote under a mixed load, stored by lzop; a server in this process
//! that answers some milliseconds late and gives 80 MB/s on a connection (it takes its own share of the cores). Out: segments
//! a second, requests per segment and per miss, the feeder's processor time and peak memory: for the real wal-fetch called
//! as restore_command is, by `wal-r` and by `wal-r-fetch`, and for a consumer that speaks to the feeder itself, both as fast as they can. The bars (no test
//! asserts a time): 40 segments/s at 50 ms on two cores, 1.05 requests per segment, 1 per miss, 96 MiB.
//!
//! `WALR_BENCH_FEED` is a folder that keeps the segments (2 GB) from one run to the next; they take minutes to make. Words of
//! the command line are milliseconds to measure at instead of 0, 20, 50, 100, 300. `WALR_BENCH_BIN`: see benches/hit.rs.
#![allow(clippy::print_stdout, reason = "a bench prints")]

#[path = "support/recovering.rs"]
#[allow(dead_code, reason = "shared by benches")]
mod recovering;
#[path = "../tests/it/support/mod.rs"]
#[allow(unused_macros, unused_imports, reason = "the tests' harness")]
mod support;

use recovering::{DESTINATION, Recovering, peak, processor, program};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;
use support::archive::{self, Extent};
use support::pace::{Distance, Pace};
use support::{Scratch, need, succeed};
use wal_r::feed::client::{self, What};
use wal_r::layout::WalFile;

const SEGMENTS: usize = 400;
/// Left out of the rate: until the window is warm.
const WARM: usize = 20;
const MEGABYTES_A_SECOND: u64 = 80;

/// The folder of a bucket with the archive `a`, its pg_control, and the names of the segments.
struct Input {
    bucket: PathBuf,
    control: Vec<u8>,
    names: Vec<String>,
    _scratch: Option<Scratch>,
}

fn input() -> Result<Input, need::Missing> {
    let kept = std::env::var_os("WALR_BENCH_FEED").map(PathBuf::from);
    let scratch = Scratch::new();
    let folder = kept.clone().unwrap_or_else(|| scratch.join("kept"));
    let bucket = folder.join("bucket");
    if !folder.join("pg_control").is_file() {
        println!("feed: making {SEGMENTS} segments in {}", folder.display());
        let (postgres, lzop) = (need::postgres(15)?, need::lzop()?);
        let extent = Extent { segment: Some(16), segments: SEGMENTS, promotions: 0, wal_compression: false };
        let offline = archive::make_offline_of(&scratch, &postgres, &lzop, extent);
        std::fs::create_dir_all(&bucket).expect("a folder");
        succeed(std::process::Command::new("cp").arg("-r").arg(&offline.archive).arg(bucket.join("a")));
        let names: Vec<String> = offline.segments.into_iter().map(|(name, _)| name).collect();
        std::fs::write(folder.join("names"), names.join("\n")).expect("a file");
        std::fs::copy(offline.base.join("global/pg_control"), folder.join("pg_control")).expect("pg_control");
        std::fs::remove_dir_all(offline.primary).expect("room");
    }
    let names = std::fs::read_to_string(folder.join("names")).expect("the names");
    Ok(Input {
        bucket,
        control: std::fs::read(folder.join("pg_control")).expect("pg_control"),
        names: names.lines().map(String::from).collect(),
        _scratch: kept.is_none().then_some(scratch),
    })
}

/// Who takes segments.
#[derive(Debug, Clone, Copy)]
enum Consumer {
    /// `sh -c 'wal-r wal-fetch …'`, as the server does it.
    WalFetch,
    /// The same with `wal-r-fetch …`.
    WalRFetch,
    /// This process, over the socket.
    Socket,
}

/// A bench of one data directory: where it lies, and what its commands see.
struct Run<'a> {
    data: Recovering,
    environment: Vec<(&'static str, String)>,
    /// What PostgreSQL calls, but for the file: by `wal-r`, and by `wal-r-fetch`.
    argv: Vec<OsString>,
    quick: String,
    pace: &'a Pace,
}

impl Run<'_> {
    fn new<'a>(input: &Input, pace: &'a Pace, signal: &'static str) -> Run<'a> {
        let data = Recovering::new(&input.control, "15\n", signal);
        let environment = vec![
            ("AWS_ENDPOINT_URL", pace.endpoint()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ACCESS_KEY_ID", "key".into()),
            ("AWS_SECRET_ACCESS_KEY", "secret".into()),
            ("AWS_S3_FORCE_PATH_STYLE", "true".into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
            ("PATH", "/usr/bin:/bin".into()),
        ];
        let argv = [&program("wal-r"), "wal-fetch", "--prefix", "s3://bucket/a"].map(OsString::from).to_vec();
        let quick = format!("{} --prefix s3://bucket/a", program("wal-r-fetch"));
        Run { data, environment, argv, quick, pace }
    }

    /// By the program. Its exit code.
    fn fetch(&self, name: &str) -> Option<i32> {
        let words: Vec<_> = self.argv.iter().map(|word| word.to_string_lossy()).collect();
        self.call(&words.join(" "), name)
    }

    fn call(&self, words: &str, name: &str) -> Option<i32> {
        self.data.make_room();
        let mut command = self.data.command("/bin/sh");
        command.arg("-c").arg(format!("{words} {name} {DESTINATION}"));
        command.envs(self.environment.iter().map(|(name, value)| (*name, value))).stdin(Stdio::null());
        command.stderr(Stdio::null()).status().expect("a shell").code()
    }

    /// Over the socket. Did it come from the feeder?
    fn ask(&self, name: &str) -> bool {
        self.data.make_room();
        let file: WalFile = name.parse().expect("a name");
        let environment = self.environment.iter().map(|(name, value)| (*name, OsStr::new(value)));
        let mut environment: Vec<_> = environment.collect();
        environment.sort_unstable();
        let digest = client::settings_digest(&self.argv, environment);
        matches!(client::ask(&self.data.destination(), &file, &digest).what, What::Delivered)
    }
}

fn measure(input: &Input, distance: Distance, consumer: Consumer) {
    let pace = Pace::of_folder(&input.bucket, distance);
    let run = Run::new(input, &pace, "recovery.signal");
    let began = Instant::now();
    let (mut warm, mut memory, mut alone) = (began, 0, 0);
    for (number, name) in input.names.iter().enumerate() {
        if number == WARM {
            warm = Instant::now();
        }
        match consumer {
            Consumer::WalRFetch => assert_eq!(run.call(&run.quick, name), Some(0), "{name}"),
            Consumer::Socket if number > 0 && run.ask(name) => {}
            Consumer::WalFetch | Consumer::Socket => {
                alone += u32::from(matches!(consumer, Consumer::Socket) && number > 0);
                assert_eq!(run.fetch(name), Some(0), "{name}");
            }
        }
        if number % 50 == 49 {
            memory = memory.max(run.data.status().and_then(|status| peak(status.pid)).unwrap_or(0));
        }
    }
    let (all, since) = (began.elapsed(), warm.elapsed());
    let (count, counts) = (input.names.len(), pace.counts());
    let status = run.data.status().expect("a feeder");
    let busy = processor(status.pid).unwrap_or(0.0) * 1000.0 / count as f64;
    let rate = (count - WARM) as f64 / since.as_secs_f64();
    println!(
        "feed: {:>3} ms, {consumer:?}: {rate:.1} segments/s once warm ({:.1} from the start); {:.3} requests per segment \
         ({} lists, {} others); hits {}, waited for {}, missed {}; {} at once, window {}; the feeder {busy:.1} ms of \
         processor a segment, peak {:.1} MiB{}",
        distance.delay.as_millis(),
        count as f64 / all.as_secs_f64(),
        counts.requests() as f64 / count as f64,
        counts.lists,
        counts.others,
        status.hits,
        status.in_flight,
        status.misses + status.direct,
        counts.most_at_once,
        status.window,
        memory as f64 / f64::from(1 << 20),
        if alone > 0 { format!("; {alone} fetched alone") } else { String::new() },
    );
    run.data.end();
}

/// A standby at the end of the archive: what a poll costs.
fn misses(input: &Input) {
    const POLLS: usize = 30;
    let pace = Pace::of_folder(&input.bucket, Distance::NONE);
    let run = Run::new(input, &pace, "standby.signal");
    let [.., before, last] = &input.names[..] else { panic!("segments") };
    for name in [before, last] {
        assert_eq!(run.fetch(name), Some(0));
    }
    let number = u64::from_str_radix(&last[16..], 16).expect("a number") + 1;
    let absent = format!("{}{number:08X}", &last[..16]);
    // The first one needs a witness; and the feeder is there by the second.
    assert_eq!(run.fetch(&absent), Some(74));
    run.data.wait(|_| true);
    assert_eq!(run.fetch(&absent), Some(74));
    run.pace.forget();
    for _ in 0..POLLS {
        assert_eq!(run.fetch(&absent), Some(74));
    }
    let counts = run.pace.counts();
    println!("feed: {:.2} requests per miss, over {POLLS} polls", counts.requests() as f64 / POLLS as f64);
    run.data.end();
}

fn main() {
    let input = match input() {
        Ok(input) => input,
        Err(missing) => {
            println!("feed: nothing to measure with: {missing:?}");
            return;
        }
    };
    let stored: u64 = stored(&input.bucket.join("a/wal_005"));
    println!(
        "feed: {} segments of 16 MiB, {:.2} MB stored each",
        input.names.len(),
        stored as f64 / 1e6 / input.names.len() as f64
    );
    let told: Vec<u64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let delays = if told.is_empty() { vec![0, 20, 50, 100, 300] } else { told };
    for milliseconds in delays {
        for consumer in [Consumer::WalFetch, Consumer::WalRFetch, Consumer::Socket] {
            measure(&input, Distance::of(milliseconds, MEGABYTES_A_SECOND), consumer);
        }
    }
    misses(&input);
}

fn stored(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").metadata().map_or(0, |file| file.len())).sum()
}
