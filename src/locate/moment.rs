//! When something happened, as far as a log tells.
//!
//! In: the times in front of log lines and in records. Out: [`Moment`], which says where its time comes from.
//! Never: takes a year or a zone from anywhere but the log: syslog's own times have neither, so they are set right by
//! records near them that carry a time of their own ([`Setting`]), or are shown as they stand.
//! Source: RFC 3164 (`Mar 16 19:11:48`), RFC 3339, WAL-E's `time=2016-03-17T02:11:48.811154-00`, WAL-G's
//! `2026/11/20 20:34:31.608000`.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::fmt;

/// A log's clock: no zone, and mostly no year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    year: Option<i16>,
    /// In the year 2000 where there is none: a leap year, so that every day has its place.
    shown: DateTime,
}

/// How a log's clock and the real time were seen to go together, by one line that has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The line's own time.
    at: Timestamp,
    /// How far the clock was ahead of UTC, in seconds: a zone that there is.
    ahead: i32,
}

const QUARTER: i64 = 900;
/// A line that is farther than this from its record's own time sets no clock: it came late. Seconds.
const DELAY: i64 = 60;
/// The farthest zone, in seconds, both ways.
const FARTHEST: i64 = 14 * 3600;
/// The zones that are no half hours: Nepal, Eucla, the Chatham Islands. All others would rather be late lines.
const ODD: [i64; 4] = [20_700, 31_500, 45_900, 49_500];

impl Clock {
    /// `Mar 16 19:11:48 ` at the beginning of a line, and what is behind it.
    pub fn syslog(line: &str) -> Option<(Clock, &str)> {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (name, rest) = line.split_at_checked(3)?;
        let month = MONTHS.iter().position(|month| *month == name)? + 1;
        let rest = rest.strip_prefix(' ')?;
        let (day, rest) = rest.trim_start_matches(' ').split_once(' ')?;
        let (time, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let shown = civil(&[2000, number(month)?, day.parse().ok()?], time)?;
        Some((Clock { year: None, shown }, rest))
    }

    /// `2026/11/20 20:34:31.608000 ` behind WAL-G's `INFO: `, and what is behind it.
    pub fn wal_g(line: &str) -> Option<(Clock, &str)> {
        let (date, rest) = line.split_once(' ')?;
        let (time, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut parts = date.split('/');
        let year: i16 = parts.next().filter(|year| year.len() == 4)?.parse().ok()?;
        let (month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        if parts.next().is_some() {
            return None;
        }
        Some((Clock { year: Some(year), shown: civil(&[year, month, day], time)? }, rest))
    }

    /// The clock as if it were UTC's, in this year.
    fn utc(&self, year: i16) -> Option<Timestamp> {
        let shown = self.shown.with().year(self.year.unwrap_or(year)).build().ok()?;
        Offset::UTC.to_timestamp(shown).ok()
    }

    /// The time nearest to `near` at which it can have shown this, when it is so far ahead of UTC.
    fn read(&self, setting: Setting) -> Option<Timestamp> {
        let near = setting.at;
        let ahead = jiff::SignedDuration::from_secs(setting.ahead.into());
        let year = Offset::UTC.to_datetime(near).year();
        let years = [year.saturating_sub(1), year, year.saturating_add(1)];
        let times = years.into_iter().filter_map(|year| self.utc(year)?.checked_sub(ahead).ok());
        times.min_by_key(|time| time.duration_since(near).abs())
    }

    /// How it goes, by a line that has this clock in front and a time of its own in it. `None` where the two are no zone
    /// apart: the line came late, or tells of another time than its own.
    pub fn set(&self, own: Timestamp) -> Option<Setting> {
        let level = Setting { at: own, ahead: 0 };
        let apart = self.read(level)?.duration_since(own).as_secs();
        let zone = apart.saturating_add(QUARTER / 2).div_euclid(QUARTER) * QUARTER;
        let is_zone = zone.abs() <= FARTHEST && (zone % (2 * QUARTER) == 0 || ODD.contains(&zone));
        let fits = is_zone && (apart - zone).abs() <= DELAY;
        fits.then_some(Setting { at: own, ahead: i32::try_from(zone).ok()? })
    }
}

impl fmt::Display for Clock {
    /// As it stood in the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.year {
            Some(_) => write!(f, "{}", self.shown.strftime("%Y-%m-%d %H:%M:%S")),
            None => write!(f, "{}", self.shown.strftime("%b %e %H:%M:%S")),
        }
    }
}

fn number(number: usize) -> Option<i16> {
    i16::try_from(number).ok()
}

/// Year, month, day, and `HH:MM:SS[.fraction]`.
fn civil(date: &[i16; 3], time: &str) -> Option<DateTime> {
    let [year, month, day] = *date;
    let whole = time.split('.').next()?;
    let mut parts = whole.split(':').map(|part| part.parse::<i8>().ok().filter(|_| part.len() == 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() {
        return None;
    }
    let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    // A leap second is the second before it.
    DateTime::new(year, month, day, hour, minute, second.min(59), 0).ok()
}

/// A time with a zone: `2016-03-17T06:10:18Z`, `….811154-00`, `…+01:00`, a blank instead of the T.
pub fn stamp(text: &str) -> Option<Timestamp> {
    let (date, _) = text.split_at_checked(19)?;
    if !date.is_ascii() {
        return None;
    }
    let tail = text.get(19..)?;
    let zone = tail.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = tail.split_at(zone);
    let digits = fraction.strip_prefix('.').unwrap_or(fraction);
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) || digits.len() > 9 {
        return None;
    }
    let seconds: i32 = match zone {
        "Z" | "z" => 0,
        zone => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let digits = zone.get(1..)?.replacen(':', "", 1);
            let (hours, minutes) = digits.split_at_checked(2)?;
            let minutes: i32 = if minutes.is_empty() { 0 } else { minutes.parse().ok().filter(|m| *m < 60)? };
            sign * (hours.parse::<i32>().ok()? * 3600 + minutes * 60)
        }
    };
    let local: DateTime = format!("{date}{}{digits}", if digits.is_empty() { "" } else { "." }).parse().ok()?;
    Offset::from_seconds(seconds).ok()?.to_timestamp(local).ok()
}

/// Unix seconds with a fraction, as the broker has them: `1458195017.896692991`.
pub fn unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let nanos: i32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanos).ok()
}

/// When something happened, as far as the log tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    own: Option<Timestamp>,
    clock: Option<Clock>,
    setting: Option<Setting>,
    /// The place in what was read: decides where there are no times.
    order: u64,
    /// Its log was read to the end: another log's clock is not this one's.
    settled: bool,
}

impl Moment {
    /// By what the line has: the record's own time, the clock in front of it, how that clock goes.
    pub fn new(own: Option<Timestamp>, clock: Option<Clock>, setting: Option<Setting>, order: u64) -> Self {
        Moment { own, clock, setting, order, settled: false }
    }

    /// The time: the record's own, else the log's clock set right.
    pub fn time(&self) -> Option<Timestamp> {
        self.own.or_else(|| self.clock?.read(self.setting?))
    }

    /// Is the time the record's own?
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// What the log's clock showed, where that is all there is.
    pub fn clock(&self) -> Option<Clock> {
        self.clock
    }

    /// Its log ended. A clock of which nobody knew yet how it goes learns it from a later line of the same log.
    pub fn settle(&mut self, first: Option<Setting>) {
        if !self.settled && self.setting.is_none() {
            self.setting = first;
        }
        self.settled = true;
    }

    /// Is it later than the other? By time where both have one, else by the place in what was read.
    pub fn is_after(&self, other: &Moment) -> bool {
        match (self.time(), other.time()) {
            (Some(one), Some(than)) if one != than => one > than,
            _ => self.order > other.order,
        }
    }

    /// The later one of two.
    pub fn latest(kept: &mut Option<Moment>, new: Moment) {
        if kept.is_none_or(|old| new.is_after(&old)) {
            *kept = Some(new);
        }
    }

    /// The earlier one of two.
    pub fn earliest(kept: &mut Option<Moment>, new: Moment) {
        if kept.is_none_or(|old| old.is_after(&new)) {
            *kept = Some(new);
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.time(), self.clock) {
            (Some(time), _) if self.is_own() => write!(f, "{time:.0}"),
            (Some(time), _) => write!(f, "{time:.0} (by the log's clock)"),
            (None, Some(clock)) if clock.year.is_some() => write!(f, "{clock} (by the log's clock, without a zone)"),
            (None, Some(clock)) => write!(f, "{clock} (by the log's clock, without year and zone)"),
            (None, None) => f.write_str("at a time that the log does not tell"),
        }
    }
}

impl Serialize for Moment {
    /// `time` in UTC or null, `clock` as it stood in the log where the time is not the record's own, `from`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_struct("Moment", 3)?;
        map.serialize_field("time", &self.time())?;
        map.serialize_field("clock", &self.clock.filter(|_| !self.is_own()).map(|clock| clock.to_string()))?;
        map.serialize_field(
            "from",
            match (self.own, self.time(), self.clock) {
                (Some(_), ..) => "record",
                (None, Some(_), _) => "clock, zone and year by other records",
                (None, None, Some(_)) => "clock",
                (None, None, None) => "nothing",
            },
        )?;
        map.end()
    }
}
