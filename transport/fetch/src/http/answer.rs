//! What the head of an answer says. Nothing of it is trusted: every number is checked against what
//! was asked and what is known.

use std::time::Duration;

use ureq::http::HeaderMap;
use ureq::http::header::{self, HeaderName};

use crate::http::date;
use crate::http::error::shown;

/// The longest validator that is kept, in bytes.
const VALIDATOR_MAX: usize = 256;

/// The value of `Content-Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentRange {
    /// The bytes from `start` to before `end`, of `total`.
    Part { start: u64, end: u64, total: u64 },
    /// The range cannot be had from the `total` bytes there are.
    Unsatisfied { total: u64 },
}

/// Reads the one `Content-Range` of an answer.
pub(crate) fn content_range(headers: &HeaderMap) -> Result<ContentRange, String> {
    let mut values = headers.get_all(header::CONTENT_RANGE).iter();
    let value = values.next().ok_or("it has no Content-Range")?;
    if values.next().is_some() {
        return Err("it has several Content-Range".to_owned());
    }
    let wrong = |what: &str| format!("{what} in Content-Range {}", shown(value.as_bytes()));
    let text = value.to_str().map_err(|_| wrong("expected ASCII"))?;
    let (unit, rest) = text.split_once(' ').ok_or_else(|| wrong("expected a unit"))?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return Err(wrong("expected the unit bytes"));
    }
    let (range, total) = rest.split_once('/').ok_or_else(|| wrong("expected a length"))?;
    let total = number(total).ok_or_else(|| wrong("expected the length of the file"))?;
    if range == "*" {
        return Ok(ContentRange::Unsatisfied { total });
    }
    let (first, last) = range.split_once('-').ok_or_else(|| wrong("expected two positions"))?;
    let start = number(first).ok_or_else(|| wrong("expected a number"))?;
    let last = number(last).ok_or_else(|| wrong("expected a number"))?;
    if last < start || last >= total {
        return Err(wrong("expected positions in order and inside of the file"));
    }
    // No overflow: `last` is less than another u64.
    Ok(ContentRange::Part { start, end: last + 1, total })
}

/// A number of digits only; `u64::from_str` takes a plus sign too.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

/// How many bytes the body has, as far as the head says so.
pub(crate) fn content_length(headers: &HeaderMap) -> Result<Option<u64>, String> {
    // The coding decides where the body ends then, and the length means nothing (RFC 9112, 6.3).
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(None);
    }
    let mut found = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let len = value.to_str().ok().and_then(number).ok_or_else(|| {
            format!("expected a number as Content-Length, found {}", shown(value.as_bytes()))
        })?;
        if found.is_some_and(|other| other != len) {
            return Err("it has several Content-Length, which differ".to_owned());
        }
        found = Some(len);
    }
    Ok(found)
}

/// Refuses bodies that are not the bytes of the file.
pub(crate) fn check_coding(headers: &HeaderMap) -> Result<(), String> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        if !value.as_bytes().eq_ignore_ascii_case(b"identity") {
            let coding = shown(value.as_bytes());
            return Err(format!("expected the file as it is, found Content-Encoding {coding}"));
        }
    }
    match headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()) {
        Some(kind) if kind.len() >= 10 && kind[..10].eq_ignore_ascii_case(b"multipart/") => {
            Err(format!("expected one range, found several parts: {}", shown(kind)))
        }
        _ => Ok(()),
    }
}

/// What tells one version of a file from another one at the same server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Validator {
    /// Equal only for equal bytes.
    Strong(String),
    /// Equal for what the server takes as equal: enough to notice a change, not for `If-Range`.
    Weak(String),
    /// The date of the last change, and whether it is old enough to be strong.
    Date { value: String, strong: bool },
}

impl Validator {
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        if let Some(tag) = text(headers, header::ETAG) {
            return match tag.strip_prefix("W/") {
                Some(_) => Some(Self::Weak(tag.to_owned())),
                None => Self::strong(tag),
            };
        }
        let value = text(headers, header::LAST_MODIFIED)?;
        let changed = date::seconds(value)?;
        // A file can change twice within a second: RFC 9110, 8.8.2.2.
        let strong = text(headers, header::DATE)
            .and_then(date::seconds)
            .is_some_and(|answered| answered > changed);
        Some(Self::Date { value: value.to_owned(), strong })
    }

    /// A strong entity tag, if `tag` is one that can be sent back.
    pub(crate) fn strong(tag: &str) -> Option<Self> {
        let inner = tag.strip_prefix('"')?.strip_suffix('"')?;
        let plain = inner.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        (plain && tag.len() <= VALIDATOR_MAX).then(|| Self::Strong(tag.to_owned()))
    }

    /// What `If-Range` may say.
    pub(crate) fn for_if_range(&self) -> Option<&str> {
        match self {
            Self::Strong(value) | Self::Date { value, strong: true } => Some(value),
            Self::Weak(_) | Self::Date { strong: false, .. } => None,
        }
    }

    /// Whether the file changed between an answer with `self` and one with `now`. A server that
    /// sends another kind of validator than before says nothing by that.
    pub(crate) fn differs(&self, now: &Self) -> bool {
        match (self, now) {
            (Self::Strong(old), Self::Strong(new)) | (Self::Weak(old), Self::Weak(new)) => {
                old != new
            }
            (Self::Date { value: old, .. }, Self::Date { value: new, .. }) => old != new,
            (Self::Strong(_) | Self::Weak(_) | Self::Date { .. }, _) => false,
        }
    }

    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Strong(tag) | Self::Weak(tag) => format!("ETag {}", shown(tag.as_bytes())),
            Self::Date { value, .. } => format!("of {value}"),
        }
    }
}

/// When the server wants to be asked again.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, header::RETRY_AFTER)?;
    if let Some(seconds) = number(value) {
        return Some(Duration::from_secs(seconds));
    }
    // Both dates are the server's, so the clock of this machine does not matter.
    let (then, now) = (date::seconds(value)?, date::seconds(text(headers, header::DATE)?)?);
    Some(Duration::from_secs(then.saturating_sub(now)))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().filter(|value| value.len() <= VALIDATOR_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::HeaderValue;

    fn with(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_content_range_is_taken_as_the_grammar_has_it_and_not_otherwise() {
        let read = |value| content_range(&with(&[(header::CONTENT_RANGE, value)]));
        assert_eq!(read("bytes 2-4/10"), Ok(ContentRange::Part { start: 2, end: 5, total: 10 }));
        assert_eq!(read("bytes */10"), Ok(ContentRange::Unsatisfied { total: 10 }));
        for value in [
            "",
            "bytes",
            "bytes 2-4",
            "bytes 4-2/10",
            "bytes 2-10/10",
            "bytes 2-4/*",
            "bytes */*",
            "lines 2-4/10",
            "bytes +2-4/10",
            "bytes -4/10",
            "bytes 2-/10",
            "bytes 2-4/99999999999999999999",
            "bytes 0-18446744073709551616/18446744073709551615",
            "bytes 0-18446744073709551615/18446744073709551615",
        ] {
            assert!(read(value).is_err(), "{value}");
        }
        let twice =
            [(header::CONTENT_RANGE, "bytes 2-4/10"), (header::CONTENT_RANGE, "bytes 2-4/10")];
        assert!(content_range(&with(&twice)).is_err());
    }

    #[test]
    fn weak_tags_and_young_dates_are_not_sent_back() {
        let of = |fields: &[_]| Validator::of(&with(fields));
        let day = "Sun, 06 Nov 1994 08:49:37 GMT";
        let next = "Sun, 06 Nov 1994 08:49:38 GMT";
        let sent = |fields: &[_]| of(fields).and_then(|v| v.for_if_range().map(str::to_owned));
        assert_eq!(sent(&[(header::ETAG, "\"a\"")]).as_deref(), Some("\"a\""));
        assert_eq!(sent(&[(header::ETAG, "W/\"a\"")]), None);
        assert_eq!(sent(&[(header::ETAG, "a\" \"b")]), None);
        let old = [(header::LAST_MODIFIED, day), (header::DATE, next)];
        assert_eq!(sent(&old).as_deref(), Some(day));
        assert_eq!(sent(&[(header::LAST_MODIFIED, day), (header::DATE, day)]), None);
        assert_eq!(sent(&[(header::LAST_MODIFIED, day)]), None);
        let weak = [(header::ETAG, "W/\"a\""), (header::LAST_MODIFIED, day), (header::DATE, next)];
        assert_eq!(sent(&weak), None);
    }

    #[test]
    fn a_time_to_retry_is_seconds_or_a_date_of_the_servers_clock() {
        let of = |fields: &[_]| retry_after(&with(fields));
        assert_eq!(of(&[(header::RETRY_AFTER, "7")]), Some(Duration::from_secs(7)));
        let dates = [
            (header::RETRY_AFTER, "Sun, 06 Nov 1994 08:49:47 GMT"),
            (header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT"),
        ];
        assert_eq!(of(&dates), Some(Duration::from_secs(10)));
        assert_eq!(of(&dates[..1]), None);
        assert_eq!(of(&[(header::RETRY_AFTER, "-7")]), None);
    }
}
