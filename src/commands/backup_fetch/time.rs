//! A target time as people write it.
//!
//! In: text, the zone of this machine. Out: one instant. Never: guesses a zone: a recovery that is an hour off loses an
//! hour of data, so a time without one is refused with the two readings it could have.

use crate::error::{Answer, Code, Error};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A wish that may be a time: `None` where the text is none at all; an error where it is one and lacks its zone.
pub fn parse_wished_time(text: &str, local: &TimeZone) -> Answer<Option<Timestamp>> {
    let civil = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    match parse_target_time(text, local) {
        Ok(time) => Ok(Some(time)),
        Err(_) if civil.parse::<DateTime>().is_err() && !text.trim().starts_with('@') => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads `2026-11-20 20:34:38+00`, `2026-11-20T21:34:38+01:00`, `… Z`, `… UTC`, `…[Europe/Vienna]`, `@1795206878`.
pub fn parse_target_time(text: &str, local: &TimeZone) -> Answer<Timestamp> {
    let text = text.trim();
    let wrong = |what: String| Error::new(Code::UsageTime, what);
    if let Some(seconds) = text.strip_prefix('@').and_then(|digits| digits.parse().ok()) {
        return Timestamp::from_second(seconds)
            .map_err(|error| wrong(format!("`{text}` is beyond all time")).because(error));
    }
    let upper = text.to_ascii_uppercase();
    let named = ["UTC", "GMT", "Z"].into_iter().find_map(|zone| upper.strip_suffix(zone).map(str::len));
    let spelled = match named {
        Some(len) => format!("{}Z", text.get(..len).unwrap_or(text).trim_end()),
        None => text.to_owned(),
    };
    if let Ok(zoned) = text.parse::<jiff::Zoned>() {
        return Ok(zoned.timestamp());
    }
    if let Ok(time) = spelled.parse::<Timestamp>() {
        return Ok(time);
    }
    // `2026-11-20 20:34:38 +01`: a blank before the offset, as PostgreSQL takes it.
    if let Some((time, offset)) = spelled.rsplit_once(' ')
        && offset.starts_with(['+', '-'])
        && let Ok(time) = format!("{time}{offset}").parse::<Timestamp>()
    {
        return Ok(time);
    }
    let Ok(civil) = spelled.parse::<DateTime>() else {
        return Err(wrong(format!("`{text}` is not a time")));
    };
    let show = |zone: &TimeZone| {
        civil.to_zoned(zone.clone()).map(|zoned| zoned.strftime("%Y-%m-%d %H:%M:%S%.f%:z").to_string())
    };
    let (Ok(utc), Ok(here)) = (show(&TimeZone::UTC), show(local)) else {
        return Err(wrong(format!("`{text}` has no zone")));
    };
    if utc == here {
        let what = format!("`{text}` has no zone, and whoever wrote it may not have thought in this machine's, UTC");
        return Err(wrong(what).hint(format!("Write '{utc}' if UTC was meant.")));
    }
    let what = format!("`{text}` has no zone: it could be {utc} or {here}");
    let hint = format!("Write '{utc}' if UTC was meant, '{here}' if this machine's time was meant.");
    Err(wrong(what).hint(hint))
}
