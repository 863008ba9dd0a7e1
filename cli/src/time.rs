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

/// Unix seconds from text: a number, a date, or a date with a time.
///
/// # Errors
/// What was expected, as text.
pub fn parse(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let instant: Option<Timestamp> = text.parse().ok().or_else(|| {
        let date: jiff::civil::Date = text.parse().ok()?;
        date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    });
    instant.and_then(|instant| u64::try_from(instant.as_second()).ok()).ok_or_else(|| {
        format!(
            "expected unix seconds, a date such as 2030-01-31 or a time such as \
             2030-01-31T12:00:00Z, found `{text}`"
        )
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_dates_or_instants() {
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("2025-01-01"), Ok(PLAUSIBLE));
        assert_eq!(parse("2025-01-01T00:00:10Z"), Ok(PLAUSIBLE + 10));
        assert_eq!(parse_or_forever("forever"), Ok(u64::MAX));
        for text in ["", "yesterday", "1900-01-01", "-5", "2025-13-01"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_has_no_date_is_shown_as_a_number() {
        assert_eq!(show(PLAUSIBLE), "2025-01-01T00:00:00Z");
        assert_eq!(show(u64::MAX), format!("unix time {}", u64::MAX));
    }
}
