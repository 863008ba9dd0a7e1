//! Unix time as people write and read it.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// 2025-01-01: a clock before this one was never set.
const PLAUSIBLE: u64 = 1_735_689_600;

/// The time now, `None` where the clock was plainly never set.
pub fn now() -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    (now >= PLAUSIBLE).then_some(now)
}

/// Unix seconds from text: a date, which is its midnight in UTC, a time with its zone, or the ten
/// digits that unix seconds have from 2001 to 2286. Anything else could be read in two ways.
///
/// # Errors
/// What was expected, as text.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = |what: &str| {
        Err(format!(
            "expected a date such as 2030-01-31, which is midnight UTC, a time with its zone such \
             as 2030-01-31T12:00:00Z, or unix seconds of ten digits, found `{text}`{what}"
        ))
    };
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match (text.len(), text.parse::<u64>()) {
            (10, Ok(seconds @ 1_000_000_000..)) => Ok(seconds),
            (8, _) => wrong(": a date has dashes"),
            (13, _) => wrong(": these are milliseconds"),
            _ => wrong(""),
        };
    }
    let date = (text.len() == 10).then(|| text.parse::<jiff::civil::Date>().ok()).flatten();
    let instant = match (date, text.parse::<Timestamp>()) {
        (Some(date), _) => {
            date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
        }
        (None, Ok(instant)) => Some(instant),
        (None, Err(_)) if text.len() > 10 && text.parse::<jiff::civil::DateTime>().is_ok() => {
            return wrong(": the zone is missing, Z for UTC or an offset such as +01:00");
        }
        (None, Err(_)) => None,
    };
    if instant.is_some() && date.is_none() {
        if second(text).as_deref() == Some("60") {
            return wrong(": unix time has no second 60");
        }
        if offset(text).is_some_and(|offset| offset.abs() > OFFSET_MAX) {
            return wrong(": no zone is further than 14 hours from UTC");
        }
    }
    let is_date = || jiff::fmt::temporal::Pieces::parse(text).is_ok();
    match instant.map(|instant| u64::try_from(instant.as_second())) {
        // A stored zero means that there is no time.
        Some(Ok(seconds @ 1..)) => Ok(seconds),
        Some(Ok(0)) => wrong(": the start of unix time means that there is no time"),
        Some(Err(_)) => wrong(": no time before 1970 is kept"),
        // The text is a date in the last hours that can be written.
        None if text.starts_with("9999-12-3") && is_date() => {
            wrong(": the latest time that is kept is 9999-12-30T22:00:00Z")
        }
        None => wrong(""),
    }
}

/// How far a zone is from UTC, in seconds.
const OFFSET_MAX: i32 = 14 * 3600;

/// The offset of a time in text.
fn offset(text: &str) -> Option<i32> {
    let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
    Some(pieces.to_numeric_offset()?.seconds())
}

/// The digits of the second of a time in text.
fn second(text: &str) -> Option<String> {
    let (_, time) = text.split_once(['T', 't', ' '])?;
    let time = time.chars().take_while(|c| c.is_ascii_digit() || *c == ':');
    let digits: String = time.filter(char::is_ascii_digit).collect();
    digits.get(4..6).map(str::to_owned)
}

/// As [`parse`], with `forever` for what never ends.
///
/// # Errors
/// What was expected, as text.
pub fn parse_or_forever(text: &str) -> Result<u64, String> {
    if text == "forever" {
        return Ok(u64::MAX);
    }
    parse(text).map_err(|error| format!("{error}; or `forever`"))
}

/// Text for people from unix seconds.
pub fn show(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("unix time {seconds}"), |instant| instant.to_string())
}

/// The same instant for scripts, beside the seconds: as RFC 3339, `null` where there is none.
pub fn rfc3339(seconds: u64) -> serde_json::Value {
    let instant = i64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    let instant = instant.and_then(|seconds| Timestamp::from_second(seconds).ok());
    instant.map(|instant| instant.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_instants_or_ten_digits() {
        assert_eq!(parse("2025-01-01"), Ok(PLAUSIBLE));
        assert_eq!(parse("1735689600"), Ok(PLAUSIBLE));
        assert_eq!(parse("2025-01-01T00:00:10Z"), Ok(PLAUSIBLE + 10));
        assert_eq!(parse("2025-01-01 02:00+02:00"), Ok(PLAUSIBLE));
        assert_eq!(parse("2025-01-01T14:00+14:00"), Ok(PLAUSIBLE));
        assert_eq!(parse("9999-12-30T22:00:00Z"), Ok(253_402_207_200));
        assert_eq!(parse_or_forever("forever"), Ok(u64::MAX));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused_with_the_form_that_is_wanted() {
        for (text, hint) in [
            ("2030-01-31 12:00", "the zone is missing"),
            ("2030-01-31T12:00:00", "the zone is missing"),
            ("20300131", "a date has dashes"),
            ("1893456000000", "milliseconds"),
            ("0", ""),
            ("203001311200", ""),
            ("0000000001", ""),
            ("20300131T120000Z!", ""),
            ("", ""),
            ("yesterday", ""),
            ("1900-01-01", "before 1970"),
            ("9999-12-31", "9999-12-30T22:00:00Z"),
            ("9999-12-31T00:00:00Z", "9999-12-30T22:00:00Z"),
            ("-5", ""),
            ("2025-13-01", ""),
            ("2030-1-31", ""),
            ("31.01.2030", ""),
            ("1970-01-01", "there is no time"),
            ("1970-01-01T01:00:00+01:00", "there is no time"),
            ("2030-01-31T12:00:00+25:00", "14 hours"),
            ("2030-01-31T12:00:00-14:01", "14 hours"),
            ("2030-01-31T12:00:60Z", "second 60"),
            ("20300131T120060Z", "second 60"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("2030-01-31T12:00:00Z") && error.contains(hint), "{error}");
        }
    }

    #[test]
    fn what_has_no_date_is_shown_as_a_number() {
        assert_eq!(show(PLAUSIBLE), "2025-01-01T00:00:00Z");
        assert_eq!(show(u64::MAX), format!("unix time {}", u64::MAX));
    }
}
