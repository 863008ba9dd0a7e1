//! Versions: read and ordered as the standard and the semver crate have it.

use std::cmp::Ordering;

use proptest::prelude::*;
use stillboot_policy::channel;
use stillboot_policy::version::{
    Version, VersionFault, VersionRule, compare_compatible, compatible_numbers,
};
use stillboot_policy::window::Windows;

fn version(text: &str) -> Version<'_> {
    Version::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Each is newer than the one before it.
const ASCENDING: &[&str] = &[
    "0.0.0-0",
    "0.0.0-0.0",
    "0.0.0",
    "0.0.1",
    "0.1.0",
    "0.9.0",
    "0.10.0",
    "1.0.0-0",
    "1.0.0-2",
    "1.0.0-10",
    "1.0.0-18446744073709551615",
    "1.0.0-18446744073709551616",
    "1.0.0-99999999999999999999999999",
    "1.0.0--",
    "1.0.0-0a",
    "1.0.0-ALPHA",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.1.0",
    "1.0.0-alpha.beta",
    "1.0.0-alpha-",
    "1.0.0-alpha0",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.18446744073709551615",
    "2.0.0",
    "18446744073709551615.0.0",
];

#[test]
fn precedence_is_that_of_the_standard_and_of_the_semver_crate() {
    for (at, left) in ASCENDING.iter().enumerate() {
        for (other, right) in ASCENDING.iter().enumerate() {
            let found = version(left).cmp_precedence(&version(right));
            assert_eq!(found, at.cmp(&other), "{left} and {right}");
            let theirs = |text| semver::Version::parse(text).unwrap();
            assert_eq!(found, theirs(left).cmp_precedence(&theirs(right)), "{left} and {right}");
        }
    }
}

#[test]
fn build_metadata_does_not_count() {
    let (one, other) = (version("1.2.3-rc.1+a-b.001"), version("1.2.3-rc.1+z"));
    assert_eq!(one.cmp_precedence(&other), Ordering::Equal);
    assert_ne!(one, other);
    assert_eq!((one.pre(), one.build()), ("rc.1", "a-b.001"));
    assert_eq!((one.major(), one.minor(), one.patch()), (1, 2, 3));
    assert_eq!(version("1.2.3+rc-1").pre(), "");
}

#[test]
fn what_is_no_version_is_refused_where_it_is_wrong() {
    use VersionFault::{
        Character, EmptyIdentifier, LeadingZero, NotANumber, NumberCount, TooLarge,
    };
    let rows = [
        ("", 0, NotANumber),
        ("1", 1, NumberCount),
        ("1.2", 3, NumberCount),
        ("1.2.", 4, NotANumber),
        ("1.2.3.4", 5, NumberCount),
        ("1.2.3.", 5, NumberCount),
        ("v1.2.3", 0, NotANumber),
        (" 1.2.3", 0, NotANumber),
        ("1.2.3 ", 5, NotANumber),
        ("1.x.3", 2, NotANumber),
        ("1..3", 2, NotANumber),
        ("-1.2.3", 0, NotANumber),
        ("+1.2.3", 0, NotANumber),
        ("1.+2.3", 2, NotANumber),
        ("01.2.3", 0, LeadingZero),
        ("1.02.3", 2, LeadingZero),
        ("1.2.00", 4, LeadingZero),
        ("18446744073709551616.0.0", 0, TooLarge),
        ("0.0.99999999999999999999", 4, TooLarge),
        ("1.2.3-", 6, EmptyIdentifier),
        ("1.2.3-a.", 8, EmptyIdentifier),
        ("1.2.3-.a", 6, EmptyIdentifier),
        ("1.2.3-a..b", 8, EmptyIdentifier),
        ("1.2.3+", 6, EmptyIdentifier),
        ("1.2.3-+b", 6, EmptyIdentifier),
        ("1.2.3-a+b.", 10, EmptyIdentifier),
        ("1.2.3-01", 6, LeadingZero),
        ("1.2.3-rc.00", 9, LeadingZero),
        ("1.2.3-a_b", 7, Character),
        ("1.2.3-ä", 6, Character),
        ("1.2.3+a+b", 7, Character),
        ("1.2.3\u{0661}", 5, NotANumber),
    ];
    for (text, at, fault) in rows {
        let error = Version::parse(text).expect_err(text);
        assert_eq!((error.at, error.fault), (at, fault), "{text}");
        assert!(semver::Version::parse(text).is_err(), "{text}: the semver crate accepts it");
    }
}

/// Texts near the border between versions and what is none.
fn near_version() -> impl Strategy<Value = String> {
    prop_oneof![
        "(0|[1-9][0-9]{0,2})\\.(0|[1-9])\\.(0|[1-9])(-[0-9a-]{1,3}(\\.[0-9a-]{1,3}){0,2})?(\\+[0-9a-]{1,3}(\\.[0-9a]{1,2})?)?",
        "[0-9]{1,2}\\.[0-9x]{0,2}\\.[0-9]{0,2}[-+.]?[0-9a.+-]{0,6}",
        "[0-9]{19,21}\\.0\\.0(-[0-9]{19,22})?",
    ]
}

proptest! {
    #[test]
    fn versions_are_read_and_ordered_as_the_semver_crate_does(
        texts in proptest::collection::vec(near_version(), 2),
    ) {
        let mine: Vec<_> = texts.iter().map(|text| Version::parse(text).ok()).collect();
        let theirs: Vec<_> = texts.iter().map(|text| semver::Version::parse(text).ok()).collect();
        for ((text, mine), theirs) in texts.iter().zip(&mine).zip(&theirs) {
            prop_assert_eq!(mine.is_some(), theirs.is_some(), "{}", text);
            if let Some(mine) = mine {
                prop_assert_eq!(&mine.to_string(), text);
            }
        }
        if let ([Some(a), Some(b)], [Some(c), Some(d)]) = (&mine[..], &theirs[..]) {
            prop_assert_eq!(a.cmp_precedence(b), c.cmp_precedence(d));
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,40}", other in "[a-z0-9:;,/~<>=^x+. -]{0,40}") {
        for text in [text, other] {
            let _ = Version::parse(&text);
            let _ = compatible_numbers(&text);
            if let Ok(rule) = VersionRule::parse(&text) {
                prop_assert_eq!(VersionRule::parse(&rule.to_string()), Ok(rule));
            }
            if let Ok(windows) = Windows::parse(&text) {
                prop_assert_eq!(Windows::parse(&windows.to_string()), Ok(windows));
            }
            if let Ok(channel) = channel::parse(&text) {
                prop_assert_eq!(channel::parse(&channel.to_string()), Ok(channel));
            }
        }
    }
}

#[test]
fn versions_of_latest_json_compare_loosely() {
    use Ordering::{Equal, Greater, Less};
    let rows = [
        ("1.0.0", "1.0.0", Equal),
        ("v1.0.0", "1.0.0", Equal),
        ("v1.0.0-rc1", "1.0.0", Equal),
        ("1.0.0+build", "v1.0.0-rc1", Equal),
        ("1.0.0", "1.0.1", Less),
        ("1.2.0", "1.10.0", Less),
        ("2.0.0-alpha", "1.9.9", Greater),
        ("1.02.3", "1.2.3", Equal),
        ("v0.3.1", "v0.3.0", Greater),
    ];
    for (a, b, order) in rows {
        assert_eq!(compare_compatible(a, b), Ok(order), "{a} and {b}");
        assert_eq!(compare_compatible(b, a), Ok(order.reverse()), "{b} and {a}");
    }
    let refused = [
        ("", 0, VersionFault::NotANumber),
        ("v", 1, VersionFault::NotANumber),
        ("vv1.0.0", 1, VersionFault::NotANumber),
        ("V1.0.0", 0, VersionFault::NotANumber),
        ("1.0", 3, VersionFault::NumberCount),
        ("1.0.0.0", 5, VersionFault::NumberCount),
        ("1.0.x", 4, VersionFault::NotANumber),
        ("1.0.0-", 6, VersionFault::EmptyIdentifier),
        ("1.0.0-\u{1b}[2J", 6, VersionFault::Character),
        ("v1.0.18446744073709551616", 5, VersionFault::TooLarge),
    ];
    for (text, at, fault) in refused {
        let error = compare_compatible("1.0.0", text).expect_err(text);
        assert_eq!((error.at, error.fault), (at, fault), "{text}");
        assert_eq!(compare_compatible(text, "1.0.0"), Err(error), "{text}");
    }
}
