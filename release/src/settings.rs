//! What is wrong with a file of settings in TOML, in the words of those who write such files.
//!
//! The parser speaks of the types of the program. Here its messages become the key, what was
//! expected and what was found.

use toml::de::Error;

/// Most characters of a value that are shown.
const SHOWN_MAX: usize = 40;

/// What `error` says of the file that holds `text`.
#[must_use]
pub fn trouble(text: &str, error: &Error) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(": ");
    let Some(span) = error.span() else { return general(&message) };
    let value = text.get(span.clone()).unwrap_or_default().lines().next().unwrap_or_default();
    let before = text.get(..span.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let wrong_type = ["invalid type: ", "invalid value: "].iter().find_map(|start| {
        message.strip_prefix(start)?.rsplit_once(", expected ").map(|(_, expected)| expected)
    });
    let what = match wrong_type {
        Some(expected) => {
            let key = key_of(before).map(|key| format!("{key}: ")).unwrap_or_default();
            // A date is a type of its own in this format.
            let hint = match (expected, value.as_bytes()) {
                ("a string", [b'0'..=b'9', ..]) => ": write it in quotes",
                _ => "",
            };
            let value: String = value.chars().take(SHOWN_MAX).collect();
            format!("{key}expected {}, found `{value}`{hint}", expectation(expected))
        }
        None if message == "duplicate key" => format!("expected `{value}` once, found it twice"),
        None => general(&message),
    };
    format!("line {line}: {what}")
}

/// The key whose value begins where `before` ends.
fn key_of(before: &str) -> Option<&str> {
    let (key, _) = before.rsplit_once('=')?;
    let key = key.rsplit(['\n', '{', ',']).next()?.trim();
    Some(key).filter(|key| !key.is_empty())
}

/// A message that is about keys, or about the form of the file.
fn general(message: &str) -> String {
    for (start, put) in [
        ("missing field ", "the key _ is missing"),
        ("duplicate field ", "expected _ once, found it twice"),
        ("unknown field ", "unknown key _"),
    ] {
        if let Some(rest) = message.strip_prefix(start) {
            let (key, more) = rest.split_once(", ").unwrap_or((rest, ""));
            let more = if more.is_empty() { String::new() } else { format!(": {more}") };
            return put.replace('_', key) + &more;
        }
    }
    message.into()
}

/// What a type of the program is to people.
fn expectation(expected: &str) -> String {
    let most = match expected {
        "u8" => u64::from(u8::MAX),
        "u16" => u64::from(u16::MAX),
        "u32" => u64::from(u32::MAX),
        // No number in this format is higher.
        "u64" => i64::MAX as u64,
        "a string" | "path string" => return "text in quotes".into(),
        "a boolean" => return "true or false".into(),
        "a sequence" => return "a list, such as [\"one\", \"two\"]".into(),
        _ if expected == "a map" || expected.starts_with("struct ") => {
            return "a table, such as { key = \"value\" }".into();
        }
        _ => return expected.into(),
    };
    format!("a whole number from 0 to {most}")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[derive(Default)]
    #[allow(dead_code)]
    struct Inner {
        names: Vec<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct File {
        name: String,
        #[serde(default)]
        days: u32,
        #[serde(default)]
        is: bool,
        #[serde(default)]
        inner: Inner,
        #[serde(default)]
        path: Option<std::path::PathBuf>,
    }

    #[test]
    fn mistakes_are_told_by_key_expectation_and_value() {
        for (text, told) in [
            (
                "name = 2030-01-31",
                "line 1: name: expected text in quotes, found `2030-01-31`: write it in quotes",
            ),
            (
                "name = 1.2",
                "line 1: name: expected text in quotes, found `1.2`: write it in quotes",
            ),
            ("name = true", "line 1: name: expected text in quotes, found `true`"),
            ("path = 5\nname = \"a\"", "line 1: path: expected text in quotes, found `5`"),
            (
                "name = \"a\"\ndays = \"9\"",
                "line 2: days: expected a whole number from 0 to 4294967295, found `\"9\"`",
            ),
            (
                "name = \"a\"\ndays = -1",
                "line 2: days: expected a whole number from 0 to 4294967295, found `-1`",
            ),
            ("name = \"a\"\nis = 1", "line 2: is: expected true or false, found `1`"),
            (
                "name = \"a\"\ninner = { names = 5 }",
                "line 2: names: expected a list, such as [\"one\", \"two\"], found `5`",
            ),
            (
                "name = \"a\"\ninner = 5",
                "line 2: inner: expected a table, such as { key = \"value\" }, found `5`",
            ),
            ("name = \"a\"\nname = \"b\"", "line 2: expected `name` once, found it twice"),
            ("", "line 1: the key `name` is missing"),
            (
                "nam = 5",
                "line 1: unknown key `nam`: expected one of `name`, `days`, `is`, `inner`, `path`",
            ),
        ] {
            let error = toml::from_str::<File>(text).unwrap_err();
            assert_eq!(trouble(text, &error), told, "{error}");
        }
        // What is wrong with the form of the file stays as the parser says it.
        for text in ["not toml", "name = \"a", "name"] {
            let told = trouble(text, &toml::from_str::<File>(text).unwrap_err());
            assert!(told.starts_with("line ") && told.lines().count() == 1, "{told}");
        }
    }
}
