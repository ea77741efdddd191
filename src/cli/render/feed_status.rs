//! How a recovery is fed, as text and JSON.
//!
//! In: [`Status`]. Out: a few lines, the state first. Never: shows a rate or a time left that is not known.

use super::{bytes, document, plain, time};
use crate::cli::args::Format;
use crate::error::Answer;
use crate::feed::status::Status;

/// The text to print.
pub fn render(status: &Status, format: Format) -> Answer<String> {
    match format {
        Format::Json => document("wal-r.feed-status", 1, status),
        Format::Table => Ok(text(status)),
    }
}

fn text(status: &Status) -> String {
    let mut lines = vec![
        ("feeding", format!("{} ({})", status.data, status.who)),
        ("archive", status.archive.clone()),
        ("feeder", format!("process {}, for {}", status.pid, seconds(status.up_seconds))),
    ];
    let idle = status.idle_seconds.map(|idle| format!("PostgreSQL asked last {} ago", seconds(idle)));
    let idle = idle.unwrap_or_else(|| "PostgreSQL has not asked yet".to_owned());
    lines.push((
        "at",
        match &status.segment {
            Some(segment) => format!("{segment}; {idle}"),
            None => idle,
        },
    ));
    if let Some(ready) = status.hit_share() {
        let all = status.segments() as f64;
        let share = |count: u64| 100.0 * count as f64 / all;
        let how = [
            (100.0 * ready, "lay ready"),
            (share(status.in_flight), "were on their way"),
            (share(status.misses), "were fetched when asked for"),
            (share(status.direct), "were fetched without the feeder"),
        ];
        let how: Vec<String> =
            how.iter().filter(|(share, _)| *share > 0.0).map(|(share, how)| format!("{share:.1}% {how}")).collect();
        let count = counted(status.segments(), "segment");
        lines.push(("handed over", format!("{count}, {}: {}", bytes(status.bytes), how.join(", "))));
    }
    if let (Some(segments), Some(plain)) = (status.segments_per_second, status.bytes_per_second) {
        lines.push(("rate", format!("{segments:.1} segments/s, {}/s", bytes(plain as u64))));
    }
    lines.push((
        "waiting",
        format!("{} in all, {} at most", seconds(status.waiting_seconds), seconds(status.longest_wait_seconds)),
    ));
    lines.push((
        "spool",
        format!(
            "{} of {} wanted, {} on their way, {} in {}",
            status.ready,
            status.window,
            status.fetching,
            bytes(status.spool_bytes),
            status.spool
        ),
    ));
    let each = (status.segments() > 0).then(|| status.requests as f64 / status.segments() as f64);
    let each = each.map_or_else(String::new, |each| format!(" ({each:.2} a segment)"));
    lines.push((
        "store",
        format!(
            "{}{each}, {}, {} received",
            counted(status.requests, "request"),
            match status.retries {
                1 => "1 retry".to_owned(),
                retries => format!("{retries} retries"),
            },
            bytes(status.received_bytes)
        ),
    ));
    if let Some(ahead) = status.ahead_segments {
        let more = if status.ahead_more { "at least " } else { "" };
        let left = status.seconds_left.filter(|_| ahead > 0);
        let left = left.map_or_else(String::new, |left| format!(", about {}", time(left.ceil() as u64)));
        lines.push((
            "left",
            match (ahead, status.ahead_more) {
                (0, false) => "nothing: PostgreSQL is at the end of the archive".to_owned(),
                _ => format!("{more}{}{left}", counted(ahead, "segment")),
            },
        ));
    }
    for trouble in &status.troubles {
        lines.push(("trouble", trouble.clone()));
    }
    lines.iter().map(|(name, value)| format!("{name:<13}{}\n", plain(value).replace('\n', " "))).collect()
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Short times with a digit behind the point.
fn seconds(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.1}s") } else { time(seconds.round() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn in_the_middle() {
        let status = Status {
            who: "point-in-time recovery".into(),
            pid: 4711,
            up_seconds: 200.2,
            archive: "s3://archives/db1/".into(),
            data: "/var/lib/postgresql/13/main".into(),
            spool: "pg_wal/.wal-r".into(),
            segment: Some("00000001000000120000004F".into()),
            idle_seconds: Some(0.02),
            hits: 1190,
            in_flight: 12,
            misses: 1,
            direct: 1,
            bytes: 1204 << 24,
            waiting_seconds: 2.1,
            longest_wait_seconds: 0.35,
            requests: 1230,
            retries: 1,
            received_bytes: 5_500_000_000,
            segments_per_second: Some(41.23),
            bytes_per_second: Some(691_744_440.0),
            window: 16,
            ready: 14,
            fetching: 2,
            spool_bytes: 14 << 24,
            ahead_segments: Some(4096),
            seconds_left: Some(99.4),
            troubles: vec!["one\nthing\u{1b}[2J".into()],
            ..Status::default()
        };
        expect![[r#"
            feeding      /var/lib/postgresql/13/main (point-in-time recovery)
            archive      s3://archives/db1/
            feeder       process 4711, for 3m 20s
            at           00000001000000120000004F; PostgreSQL asked last 0.0s ago
            handed over  1204 segments, 18.8 GiB: 98.8% lay ready, 1.0% were on their way, 0.1% were fetched when asked for, 0.1% were fetched without the feeder
            rate         41.2 segments/s, 659.7 MiB/s
            waiting      2.1s in all, 0.3s at most
            spool        14 of 16 wanted, 2 on their way, 224.0 MiB in pg_wal/.wal-r
            store        1230 requests (1.02 a segment), 1 retry, 5.1 GiB received
            left         4096 segments, about 1m 40s
            trouble      one thing�[2J
        "#]]
        .assert_eq(&text(&status));
        let json = render(&status, Format::Json).unwrap();
        assert!(json.contains("\"schema\": \"wal-r.feed-status\"") && json.contains("\"hits\": 1190"), "{json}");
    }

    #[test]
    fn at_the_beginning_and_at_the_end() {
        let status = Status { who: "standby".into(), data: "/d".into(), ..Status::default() };
        let text = text(&status);
        assert!(
            text.contains("PostgreSQL has not asked yet") && !text.contains("rate") && !text.contains("left"),
            "{text}"
        );
        let status = Status { ahead_segments: Some(0), ..status };
        assert!(super::text(&status).contains("left         nothing: PostgreSQL is at the end of the archive"));
    }
}
