//! How far a long verb is, on stderr.
//!
//! In: [`Progress`] calls from many tasks. Out: a bar where stderr is a terminal, a line now and then elsewhere.
//! Never: touches stdout, or slows the caller down.

use super::render;
use crate::commands::{Progress, Unit};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines where nobody watches.
const EVERY: Duration = Duration::from_secs(10);

/// A bar or lines, by what stderr is.
pub fn on_stderr() -> Arc<dyn Progress> {
    if io::stderr().is_terminal() {
        Arc::new(Bar::default())
    } else {
        Arc::new(Lines::new(EVERY, |line| {
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }))
    }
}

/// A bar on a terminal.
#[derive(Debug, Default)]
struct Bar {
    bar: Mutex<Option<ProgressBar>>,
}

impl Bar {
    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Bar {
    fn begin(&self, stage: &str, total: Option<u64>, unit: Unit) {
        let template = match (unit, total) {
            (Unit::Bytes, Some(_)) => "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left",
            (Unit::Bytes, None) => "{msg} {spinner} {bytes} {binary_bytes_per_sec}",
            (Unit::Things(_), Some(_)) => "{msg} {wide_bar} {pos}/{len}, {eta} left",
            (Unit::Things(_), None) => "{msg} {spinner} {pos}",
        };
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(5));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(stage.to_owned());
        if let Some(old) = self.bar().replace(bar) {
            old.finish_and_clear();
        }
    }

    fn advance(&self, by: u64) {
        if let Some(bar) = &*self.bar() {
            bar.inc(by);
        }
    }

    fn set_total(&self, total: u64) {
        if let Some(bar) = &*self.bar() {
            bar.set_length(total);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }
}

/// A line every few seconds, none for what is over sooner.
struct Lines<P> {
    every: Duration,
    print: P,
    done: AtomicU64,
    stage: Mutex<Option<Stage>>,
}

struct Stage {
    name: String,
    total: Option<u64>,
    unit: Unit,
    began: Instant,
    next: Instant,
}

impl<P: Fn(&str) + Send + Sync> Lines<P> {
    fn new(every: Duration, print: P) -> Self {
        Lines { every, print, done: AtomicU64::new(0), stage: Mutex::new(None) }
    }

    fn stage(&self) -> MutexGuard<'_, Option<Stage>> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> std::fmt::Debug for Lines<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl<P: Fn(&str) + Send + Sync> Progress for Lines<P> {
    fn begin(&self, stage: &str, total: Option<u64>, unit: Unit) {
        let now = Instant::now();
        self.done.store(0, Ordering::Relaxed);
        *self.stage() = Some(Stage { name: stage.to_owned(), total, unit, began: now, next: now + self.every });
    }

    fn advance(&self, by: u64) {
        let done = self.done.fetch_add(by, Ordering::Relaxed).saturating_add(by);
        // Whoever holds the lock is printing this already.
        let Ok(mut stage) = self.stage.try_lock() else { return };
        let Some(stage) = &mut *stage else { return };
        let now = Instant::now();
        if now >= stage.next {
            stage.next = now + self.every;
            (self.print)(&line(&stage.name, done, stage.total, stage.unit, now - stage.began));
        }
    }

    fn set_total(&self, total: u64) {
        if let Some(stage) = &mut *self.stage() {
            stage.total = Some(total);
        }
    }

    fn end(&self) {
        *self.stage() = None;
    }
}

/// `fetching partitions: 1.5 GiB of 6.0 GiB (25 %), 150.0 MiB/s, 31s left`
fn line(stage: &str, done: u64, total: Option<u64>, unit: Unit, elapsed: Duration) -> String {
    let amount = |count| match unit {
        Unit::Bytes => render::bytes(count),
        Unit::Things(plural) => format!("{count} {plural}"),
    };
    let mut text = format!("{stage}: {}", amount(done));
    if let Some(total) = total.filter(|total| *total > 0) {
        let percent = u128::from(done.min(total)) * 100 / u128::from(total);
        text.push_str(&format!(" of {} ({percent} %)", amount(total)));
    }
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 && done > 0 {
        let rate = done as f64 / seconds;
        text.push_str(&match unit {
            Unit::Bytes => format!(", {}/s", render::bytes(rate as u64)),
            Unit::Things(_) => format!(", {rate:.0}/s"),
        });
        if let Some(left) = total.and_then(|total| total.checked_sub(done)).filter(|left| *left > 0) {
            text.push_str(&format!(", {} left", render::time((left as f64 / rate) as u64)));
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_how_long() {
        let gib = 1 << 30;
        let ten = Duration::from_secs(10);
        let rows = [
            (
                line("fetching", 3 * gib / 2, Some(6 * gib), Unit::Bytes, ten),
                "fetching: 1.5 GiB of 6.0 GiB (25 %), 153.6 MiB/s, 30s left\n",
            ),
            (line("listing", 2000, None, Unit::Things("objects"), ten), "listing: 2000 objects, 200/s\n"),
            (line("x", 0, Some(0), Unit::Bytes, Duration::ZERO), "x: 0 B\n"),
            (line("x", 9, Some(5), Unit::Bytes, ten), "x: 9 B of 5 B (100 %), 0 B/s\n"),
            (line("x", u64::MAX, Some(u64::MAX), Unit::Bytes, ten), "x: 16.0 EiB of 16.0 EiB (100 %), 1.6 EiB/s\n"),
        ];
        for (line, wanted) in rows {
            assert_eq!(line, wanted);
        }
    }

    #[test]
    fn lines_come_only_when_it_is_time() {
        let printed = Mutex::new(Vec::new());
        let print = |line: &str| printed.lock().unwrap().push(line.to_owned());
        let patient = Lines::new(Duration::from_secs(3600), print);
        patient.begin("a", Some(2), Unit::Bytes);
        patient.advance(1);
        patient.end();
        patient.advance(1);
        assert_eq!(printed.lock().unwrap().len(), 0);
        let eager = Lines::new(Duration::ZERO, print);
        eager.begin("b", None, Unit::Things("files"));
        eager.set_total(4);
        eager.advance(1);
        eager.advance(1);
        let lines = printed.lock().unwrap();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("b: 2 files of 4 files (50 %)"), "{}", lines[1]);
    }
}
