//! How a recovery is fed: counted while it happens, told as a value.
//!
//! In: what was asked and how it was answered, with the time. Out: [`Status`], and the same as Prometheus metrics. Never:
//! reads a clock; tells a rate or a time left that nothing was measured for.

use crate::pg::SegmentName;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Rates are of this much past.
const PAST: Duration = Duration::from_secs(30);

/// How a segment came to PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// It lay ready.
    Hit,
    /// It was on its way, and was waited for.
    InFlight,
    /// Nobody had begun to fetch it.
    Miss,
    /// By a wal-fetch without the feeder.
    Direct,
}

/// How a recovery is fed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `point-in-time recovery` or `standby`.
    pub who: String,
    /// Process id of the feeder.
    pub pid: u32,
    /// Seconds since it began.
    pub up_seconds: f64,
    /// The archive.
    pub archive: String,
    /// The server's data directory.
    pub data: String,
    /// Where entries wait.
    pub spool: String,
    /// The segment asked for last.
    pub segment: Option<String>,
    /// Seconds since anything was asked.
    pub idle_seconds: Option<f64>,
    /// Segments that lay ready.
    pub hits: u64,
    /// Segments that were waited for while they came.
    pub in_flight: u64,
    /// Segments that nobody had begun to fetch.
    pub misses: u64,
    /// Segments fetched by a wal-fetch itself.
    pub direct: u64,
    /// Bytes of segments handed over.
    pub bytes: u64,
    /// History files handed over.
    pub histories: u64,
    /// Questions answered with "not in the archive".
    pub absent: u64,
    /// Segments that were refused.
    pub refused: u64,
    /// Seconds PostgreSQL waited for answers, all together.
    pub waiting_seconds: f64,
    /// The longest of them.
    pub longest_wait_seconds: f64,
    /// Requests to the store, retries and listings included.
    pub requests: u64,
    /// Those that were retries.
    pub retries: u64,
    /// Stored bytes that came from the store.
    pub received_bytes: u64,
    /// Segments a second, lately.
    pub segments_per_second: Option<f64>,
    /// Plain bytes a second, lately.
    pub bytes_per_second: Option<f64>,
    /// How many segments ahead are wanted.
    pub window: u32,
    /// Segments that lie ready.
    pub ready: u32,
    /// Segments that are being fetched.
    pub fetching: u32,
    /// Bytes in the spool.
    pub spool_bytes: u64,
    /// Segments between PostgreSQL and the end of what the archive showed, where a listing told.
    pub ahead_segments: Option<u64>,
    /// There are more than were counted.
    pub ahead_more: bool,
    /// Seconds until then, at the rate of late.
    pub seconds_left: Option<f64>,
    /// What is not as it should be, the latest last.
    pub troubles: Vec<String>,
}

impl Status {
    /// Segments handed over.
    pub fn segments(&self) -> u64 {
        self.hits + self.in_flight + self.misses + self.direct
    }

    /// Of the segments handed over, those that lay ready. `None` before the first.
    pub fn hit_share(&self) -> Option<f64> {
        (self.segments() > 0).then(|| self.hits as f64 / self.segments() as f64)
    }

    /// As Prometheus metrics, text format 0.0.4. Every sample names the server, as several may write into one folder.
    pub fn prometheus(&self, alive: bool) -> String {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let server = format!("data=\"{}\",archive=\"{}\"", escaped(&self.data), escaped(&self.archive));
        let mut out = String::new();
        let mut one = |name: &str, kind: &str, help: &str, samples: &[(&str, Option<f64>)]| {
            if samples.iter().all(|(_, value)| value.is_none()) {
                return;
            }
            let _ = writeln!(out, "# HELP walr_feed_{name} {help}\n# TYPE walr_feed_{name} {kind}");
            for (label, value) in samples {
                if let Some(value) = value {
                    let _ = writeln!(out, "walr_feed_{name}{{{server}{label}}} {value}");
                }
            }
        };
        let count = |value: u64| Some(value as f64);
        one("up", "gauge", "1 while the feeder runs.", &[("", Some(f64::from(u8::from(alive))))]);
        let served = [
            (",how=\"hit\"", count(self.hits)),
            (",how=\"in_flight\"", count(self.in_flight)),
            (",how=\"miss\"", count(self.misses)),
            (",how=\"direct\"", count(self.direct)),
        ];
        one("segments_total", "counter", "Segments handed to PostgreSQL, by how they came.", &served);
        one("bytes_total", "counter", "Plain bytes of segments handed to PostgreSQL.", &[("", count(self.bytes))]);
        one("histories_total", "counter", "Timeline histories handed to PostgreSQL.", &[("", count(self.histories))]);
        one("absent_total", "counter", "Questions answered with: not in the archive.", &[("", count(self.absent))]);
        one("refused_total", "counter", "Segments that were not handed over.", &[("", count(self.refused))]);
        one("hit_ratio", "gauge", "Of the segments handed over, those that lay ready.", &[("", self.hit_share())]);
        one(
            "waiting_seconds_total",
            "counter",
            "Time PostgreSQL waited for answers.",
            &[("", Some(self.waiting_seconds))],
        );
        one(
            "longest_wait_seconds",
            "gauge",
            "The longest time PostgreSQL waited for an answer.",
            &[("", Some(self.longest_wait_seconds))],
        );
        one("store_requests_total", "counter", "Requests to the store.", &[("", count(self.requests))]);
        one("store_retries_total", "counter", "Requests that were tried again.", &[("", count(self.retries))]);
        one("store_bytes_total", "counter", "Stored bytes received.", &[("", count(self.received_bytes))]);
        one("segments_per_second", "gauge", "Segments a second, lately.", &[("", self.segments_per_second)]);
        one("bytes_per_second", "gauge", "Plain bytes a second, lately.", &[("", self.bytes_per_second)]);
        one("window_segments", "gauge", "Segments wanted ahead.", &[("", Some(f64::from(self.window)))]);
        let spool = [
            (",state=\"ready\"", Some(f64::from(self.ready))),
            (",state=\"fetching\"", Some(f64::from(self.fetching))),
        ];
        one("spool_segments", "gauge", "Segments in the spool.", &spool);
        one("spool_bytes", "gauge", "Bytes in the spool.", &[("", count(self.spool_bytes))]);
        one(
            "archive_ahead_segments",
            "gauge",
            "Segments between PostgreSQL and the end of the archive, as far as listed.",
            &[("", self.ahead_segments.map(|count| count as f64))],
        );
        one("seconds_left", "gauge", "Until the end of the archive, at the rate of late.", &[("", self.seconds_left)]);
        one("idle_seconds", "gauge", "Since PostgreSQL asked for anything.", &[("", self.idle_seconds)]);
        one("up_seconds", "gauge", "Since the feeder began.", &[("", Some(self.up_seconds))]);
        out
    }
}

/// Counts.
#[derive(Debug)]
pub struct Tally {
    /// What is told; the counts in it are kept here.
    pub status: Status,
    began: Instant,
    /// When segments were handed over, and how large they are.
    late: VecDeque<(Instant, u64)>,
    asked: Option<Instant>,
}

impl Tally {
    /// From now on.
    pub fn new(now: Instant, status: Status) -> Tally {
        Tally { status, began: now, late: VecDeque::new(), asked: None }
    }

    /// When anything was asked last, or it all began.
    pub fn last_asked(&self) -> Instant {
        self.asked.unwrap_or(self.began)
    }

    /// Something was asked.
    pub fn asked(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// A segment of this size was handed over after so long.
    pub fn served(&mut self, name: SegmentName, bytes: u64, how: Served, waited: Duration, now: Instant) {
        let status = &mut self.status;
        *match how {
            Served::Hit => &mut status.hits,
            Served::InFlight => &mut status.in_flight,
            Served::Miss => &mut status.misses,
            Served::Direct => &mut status.direct,
        } += 1;
        status.bytes += bytes;
        status.segment = Some(name.to_string());
        self.waited(waited);
        self.late.push_back((now, bytes));
    }

    /// PostgreSQL waited so long for an answer.
    pub fn waited(&mut self, waited: Duration) {
        self.status.waiting_seconds += waited.as_secs_f64();
        self.status.longest_wait_seconds = self.status.longest_wait_seconds.max(waited.as_secs_f64());
    }

    /// Something is not as it should be.
    pub fn trouble(&mut self, what: &str) {
        let troubles = &mut self.status.troubles;
        if troubles.last().is_none_or(|last| last != what) {
            troubles.push(what.to_owned());
            let more = troubles.len().saturating_sub(5);
            troubles.drain(..more);
        }
    }

    /// How it is now.
    pub fn now(&mut self, now: Instant) -> Status {
        while self.late.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > PAST) {
            self.late.pop_front();
        }
        let since = |then: Instant| now.saturating_duration_since(then).as_secs_f64();
        let mut status = self.status.clone();
        status.up_seconds = since(self.began);
        status.idle_seconds = self.asked.map(since);
        // From the first of them on: a recovery that began a second ago has that rate, not a thirtieth of it.
        let span = self.late.front().map(|(at, _)| since(*at)).filter(|span| *span > 0.5 && self.late.len() > 1);
        status.segments_per_second = span.map(|span| (self.late.len() - 1) as f64 / span);
        let bytes: u64 = self.late.iter().skip(1).map(|(_, bytes)| bytes).sum();
        status.bytes_per_second = span.map(|span| bytes as f64 / span);
        status.seconds_left = match (status.ahead_segments, status.segments_per_second) {
            (Some(0), _) if !status.ahead_more => Some(0.0),
            (Some(ahead), Some(rate)) if rate > 0.0 && !status.ahead_more => Some(ahead as f64 / rate),
            _ => None,
        };
        status
    }
}

#[cfg(test)]
mod tests;
