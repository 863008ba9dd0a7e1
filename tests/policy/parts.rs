//! The parts of the policy that read text: versions and rules, windows, channels, and the rollout.
//!
//! Tables say what each text means, with models and other crates beside them as second opinions.

use std::cmp::Ordering;

use proptest::prelude::*;
use stillboot::format::manifest::Name;
use stillboot::format::{Channel, Risk};
use stillboot::verify::SoftSha256;
use stillboot_policy::channel::{self, ChannelFault, ChannelRefusal, Follow};
use stillboot_policy::rollout;
use stillboot_policy::version::{
    Label, RuleFault, RuleRefusal, Step, Version, VersionFault, VersionRule, compare_compatible,
    compatible_numbers,
};
use stillboot_policy::window::{WindowFault, WindowState, Windows, draw};

// Versions

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

// Rules

const DIGEST: [u8; 32] = [0xab; 32];

fn takes(rule: &str, running: &str, offered: &str) -> Result<(), RuleRefusal> {
    let rule = VersionRule::parse(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
    let (running, offered) = (Version::parse(running).ok(), Version::parse(offered).ok());
    rule.allows(running, offered, &DIGEST)
}

#[test]
fn a_rule_takes_what_its_row_says() {
    // Rule, running ("?" for unknown), offered, taken.
    let rows = [
        ("any", "?", "?", true),
        ("any", "2.0.0", "1.0.0", true),
        ("patch", "1.2.3", "1.2.4", true),
        ("patch", "1.2.3", "1.2.3", true),
        ("patch", "1.2.3", "1.2.3+other", true),
        ("patch", "1.2.3-rc.1", "1.2.3", true),
        ("patch", "1.2.3", "1.2.4-rc.1", true),
        ("patch", "1.2.3", "1.2.3-rc.1", false),
        ("patch", "1.2.3", "1.2.2", false),
        ("patch", "1.2.3", "1.3.0", false),
        ("patch", "1.2.3", "2.2.3", false),
        ("minor", "1.2.3", "1.2.4", true),
        ("minor", "1.2.3", "1.9.0", true),
        ("minor", "1.2.3", "1.1.9", false),
        ("minor", "1.2.3", "2.0.0", false),
        ("minor", "0.2.3", "0.3.0", true),
        ("major", "1.2.3", "9.0.0", true),
        ("major", "1.2.3", "1.2.2", false),
        ("patch", "?", "1.2.4", false),
        ("minor", "?", "1.2.4", false),
        ("major", "?", "1.2.4", false),
        ("patch", "1.2.3", "?", false),
        ("5.0.x", "?", "5.0.0", true),
        ("5.0.x", "9.0.0", "5.0.18446744073709551615", true),
        ("5.0.x", "?", "5.0.1-rc.1", true),
        ("5.0.x", "?", "5.0.0-rc.1", false),
        ("5.0.x", "?", "5.1.0", false),
        ("5.0.x", "?", "5.1.0-rc.1", false),
        ("5.0.x", "?", "5.1.0-0", false),
        ("5.0.x", "?", "4.9.9", false),
        ("5.0.x", "?", "?", false),
        ("5.x", "?", "5.9.9", true),
        ("5.x", "?", "6.0.0-alpha", false),
        ("5.x", "?", "4.9.9", false),
        (">=1.2.0,<2.0.0", "?", "1.2.0", true),
        (">=1.2.0,<2.0.0", "?", "1.3.0-rc.1", true),
        (">=1.2.0,<2.0.0", "?", "1.2.0-rc.1", false),
        (">=1.2.0,<2.0.0", "?", "2.0.0-rc.1", false),
        (">=1.2.0,<2.0.0", "?", "2.0.0", false),
        (">=1.2.0-rc.1,<=2.0.0", "?", "1.2.0-rc.2", true),
        (">=1.2.0,<=2.0.0", "?", "2.0.0-rc.1", true),
        (">=1.2.0,<=2.0.0", "?", "2.0.0+b", true),
        (">1.2.0", "?", "1.2.0", false),
        (">1.2.0", "?", "1.2.1-0", true),
        ("<2.0.0-rc.2", "?", "2.0.0-rc.1", true),
        ("<2.0.0-rc.2", "?", "2.0.0-rc.2", false),
        ("=1.2.3", "?", "1.2.3+b", true),
        ("=1.2.3", "?", "1.2.3-rc.1", false),
        ("=1.2.3", "?", "1.2.4", false),
        ("^1.2.3", "?", "1.9.0", true),
        ("^1.2.3", "?", "1.2.2", false),
        ("^1.2.3", "?", "2.0.0-rc.1", false),
        ("^0.2.3", "?", "0.2.9", true),
        ("^0.2.3", "?", "0.3.0", false),
        ("^0.0.3", "?", "0.0.3", true),
        ("^0.0.3", "?", "0.0.4", false),
        ("~1.2.3", "?", "1.2.9", true),
        ("~1.2.3", "?", "1.3.0", false),
        ("5.x, >=5.0.3 , <5.4.0", "?", "5.3.9", true),
        ("5.x,>=5.0.3,<5.4.0", "?", "5.0.2", false),
        (
            "sha256:abababababababababababababababababababababababababababababababab",
            "9.0.0",
            "?",
            true,
        ),
        (
            "sha256:0bababababababababababababababababababababababababababababababab",
            "1.0.0",
            "1.0.1",
            false,
        ),
    ];
    for (rule, running, offered, taken) in rows {
        let found = takes(rule, running, offered);
        assert_eq!(found.is_ok(), taken, "{rule}: from {running} to {offered}: {found:?}");
    }
}

#[test]
fn a_refusal_names_the_rule_and_both_values() {
    let rows = [
        (
            "patch",
            "1.2.3",
            "1.2.3-rc.1",
            "the version rule is patch: 1.2.3-rc.1 is older than 1.2.3, which runs",
        ),
        ("minor", "1.2.3", "2.0.0", "the version rule is minor: 2.0.0 is too far from 1.2.3"),
        (
            "major",
            "?",
            "2.0.0",
            "the version rule is major, and what runs has no semantic version to compare",
        ),
        ("5.0.x", "?", "5.1.0", "the version rule is <5.1.0: 5.1.0 is offered"),
        ("5.0.x", "?", "4.0.0", "the version rule is >=5.0.0: 4.0.0 is offered"),
        (
            "5.0.x",
            "?",
            "latest",
            "the version rule compares versions, and what is offered has no semantic version",
        ),
        (
            "sha256:0000000000000000000000000000000000000000000000000000000000000001",
            "?",
            "1.0.0",
            "pinned to manifest 0000000000000000000000000000000000000000000000000000000000000001, \
             offered is abababababababababababababababababababababababababababababababab",
        ),
    ];
    for (rule, running, offered, text) in rows {
        assert_eq!(takes(rule, running, offered).unwrap_err().to_string(), text);
    }
    assert_eq!(takes("patch", "?", "1.0.0"), Err(RuleRefusal::RunningUnknown(Step::Patch)));
}

#[test]
fn rules_are_shown_in_their_shortest_text_and_read_again() {
    let rows = [
        ("any", "any"),
        ("patch", "patch"),
        ("minor", "minor"),
        ("major", "major"),
        ("5.x", "5.x"),
        ("0.x", "0.x"),
        ("5.0.x", "5.0.x"),
        ("5.7.x", "5.7.x"),
        ("~5.7.0", "5.7.x"),
        ("^5.0.0", "5.x"),
        (">=5.0.0,<6.0.0", "5.x"),
        ("^1.2.3", ">=1.2.3,<2.0.0"),
        ("~1.2.3-rc.1", ">=1.2.3-rc.1,<1.3.0"),
        ("^0.0.0", ">=0.0.0,<0.0.1"),
        (">1.0.0", ">1.0.0"),
        ("<=1.0.0-rc.1", "<=1.0.0-rc.1"),
        ("<=1.0.0-0", "<=1.0.0-0"),
        ("<1.0.0-0", "<1.0.0"),
        ("=1.2.3-rc.1", "=1.2.3-rc.1"),
        (">=1.2.3,<=1.2.3", "=1.2.3"),
        (">=1.0.0,>1.0.0,<3.0.0,<=3.0.0", ">1.0.0,<3.0.0"),
        ("<=3.0.0-rc.1,<3.0.0-rc.1", "<3.0.0-rc.1"),
        ("<3.0.0-rc.1,<=3.0.0-rc.1", "<3.0.0-rc.1"),
        (
            "sha256:ABababababababababababababababababababababababababababababababab",
            "sha256:abababababababababababababababababababababababababababababababab",
        ),
    ];
    for (text, shown) in rows {
        let rule = VersionRule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(rule.to_string(), shown, "{text}");
        assert_eq!(VersionRule::parse(shown), Ok(rule), "{text}");
    }
}

#[test]
fn what_is_no_rule_is_refused_where_it_is_wrong() {
    use RuleFault::{Build, Digest, NoSign, Nothing, PreTooLong, TooLarge, Unknown};
    use VersionFault::{LeadingZero, NotANumber, NumberCount};
    let rows = [
        ("", 0, Unknown),
        ("Any", 0, Unknown),
        ("newest", 0, Unknown),
        ("x", 0, Unknown),
        ("*", 0, Unknown),
        ("1.2.3", 0, NoSign),
        ("5", 0, NoSign),
        ("5.0", 0, NoSign),
        ("5.*", 0, NoSign),
        (">=1.0.0,2.0.0", 8, NoSign),
        (">=1.0.0,", 8, Unknown),
        (">=1.0.0,,<2.0.0", 8, Unknown),
        (">=1.0.0 <2.0.0", 7, RuleFault::Version(NotANumber)),
        (">=1.0", 5, RuleFault::Version(NumberCount)),
        ("^1", 2, RuleFault::Version(NumberCount)),
        (">= 1.0.0", 2, RuleFault::Version(NotANumber)),
        ("==1.0.0", 1, RuleFault::Version(NotANumber)),
        ("05.x", 0, RuleFault::Version(LeadingZero)),
        ("5.00.x", 2, RuleFault::Version(LeadingZero)),
        ("5.x.x", 2, RuleFault::Version(NotANumber)),
        ("5.0.1.x", 3, RuleFault::Version(NotANumber)),
        ("=1.0.0+b", 1, Build),
        ("=1.0.0-a23456789012345678901234567890123", 1, PreTooLong),
        ("18446744073709551615.x", 0, TooLarge),
        ("^18446744073709551615.0.0", 1, TooLarge),
        ("~1.18446744073709551615.0", 1, TooLarge),
        ("^0.0.18446744073709551615", 1, TooLarge),
        (">=2.0.0,<1.0.0", 0, Nothing),
        (">1.0.0,<=1.0.0", 0, Nothing),
        ("5.x,6.x", 0, Nothing),
        ("=2.0.0-rc.1,<2.0.0", 0, Nothing),
        ("sha256:", 7, Digest),
        ("sha256:ab", 7, Digest),
        ("sha256:abababababababababababababababababababababababababababababababag", 7, Digest),
        ("sha256:ababababababababababababababababababababababababababababababababa", 7, Digest),
        ("sha256:+babababababababababababababababababababababababababababababababa", 7, Digest),
    ];
    for (text, at, fault) in rows {
        let error = VersionRule::parse(text).expect_err(text);
        assert_eq!((error.at, error.fault), (at, fault), "{text}");
    }
}

#[test]
fn labels_are_cut_between_characters() {
    assert_eq!(Label::<4>::of(&"abcd").to_string(), "abcd");
    assert_eq!(Label::<4>::of(&"abcde").to_string(), "abcd..");
    assert_eq!(Label::<4>::of(&"abcä").to_string(), "abc..");
    assert_eq!(Label::<300>::of(&"x".repeat(300)).as_str().len(), 255);
    assert_eq!(Label::<0>::of(&"").to_string(), "");
}

proptest! {
    /// Where no pre-releases are, all agree on what the signs mean.
    #[test]
    fn ranges_take_what_the_semver_crate_takes(
        terms in proptest::collection::vec(
            (proptest::sample::select(vec![">=", ">", "<=", "<", "=", "^", "~"]), [0..3_u64, 0..4, 0..4]),
            1..3,
        ),
        offered in [0..4_u64, 0..5, 0..5],
    ) {
        let terms: Vec<_> =
            terms.iter().map(|(sign, [a, b, c])| format!("{sign}{a}.{b}.{c}")).collect();
        let text = terms.join(",");
        let [a, b, c] = offered;
        let theirs = semver::VersionReq::parse(&text).unwrap().matches(&semver::Version::new(a, b, c));
        let offered = format!("{a}.{b}.{c}");
        match VersionRule::parse(&text) {
            Ok(rule) => {
                let mine = rule.allows(None, Version::parse(&offered).ok(), &DIGEST).is_ok();
                prop_assert_eq!(mine, theirs, "{} of {}", offered, text);
                prop_assert_eq!(VersionRule::parse(&rule.to_string()), Ok(rule));
            }
            Err(error) => {
                prop_assert_eq!(error.fault, RuleFault::Nothing, "{}", text);
                prop_assert!(!theirs, "{} is in {}", offered, text);
            }
        }
    }
}

// Windows

/// Monday, 2026-01-05, 00:00 UTC.
const MONDAY: u64 = 20_458 * 86_400;
const WEEK: u64 = 7 * 86_400;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DEVICE: [u8; 16] = *b"a device's id 01";

/// Seconds from Monday to an instant such as `tue 03:00` or `tue 03:00:30`.
fn second_of_week(text: &str) -> u64 {
    let (day, time) = text.split_once(' ').unwrap();
    let day = DAYS.iter().position(|name| *name == day).unwrap() as u64;
    let time: Vec<u64> = time.split(':').map(|part| part.parse().unwrap()).collect();
    day * 86_400 + time[0] * 3600 + time[1] * 60 + time.get(2).unwrap_or(&0)
}

/// The first such instant after `now`.
fn next(now: u64, text: &str) -> u64 {
    let at = MONDAY + second_of_week(text);
    if at > now { at } else { at + WEEK }
}

#[test]
fn a_window_is_open_when_its_row_says_so() {
    // Windows, now, and what then: `open` until, or `shut` until; all in UTC.
    let rows = [
        // Every day.
        ("02:00-05:00", "mon 01:59:59", "shut mon 02:00"),
        ("02:00-05:00", "mon 02:00", "open mon 05:00"),
        ("02:00-05:00", "mon 03:30", "open mon 05:00"),
        ("02:00-05:00", "mon 04:59:59", "open mon 05:00"),
        ("02:00-05:00", "mon 05:00", "shut tue 02:00"),
        ("02:00-05:00", "sun 23:59:59", "shut mon 02:00"),
        ("02:00-05:00", "sun 05:00", "shut mon 02:00"),
        ("00:00-00:01", "mon 00:00", "open mon 00:01"),
        ("00:00-00:01", "mon 00:01", "shut tue 00:00"),
        ("23:59-24:00", "mon 23:59", "open tue 00:00"),
        ("23:59-24:00", "tue 00:00", "shut tue 23:59"),
        // The whole day, and always.
        ("", "mon 00:00", "open never"),
        ("00:00-24:00", "wed 12:00", "open never"),
        ("mon-sun,00:00-24:00", "wed 12:00", "open never"),
        ("00:00-12:00;12:00-24:00", "wed 12:00", "open never"),
        ("12:00-06:00;05:00-13:00", "wed 12:00", "open never"),
        ("00:00-23:59", "wed 12:00", "open wed 23:59"),
        ("00:00-23:59", "wed 23:59", "shut thu 00:00"),
        ("mon,00:00-24:00", "mon 00:00", "open tue 00:00"),
        ("mon,00:00-24:00", "tue 00:00", "shut mon 00:00"),
        ("mon-sat,00:00-24:00", "mon 00:00", "open sun 00:00"),
        ("mon-sat,00:00-24:00", "sat 23:59", "open sun 00:00"),
        ("mon-sat,00:00-24:00", "sun 00:00", "shut mon 00:00"),
        // Some days.
        ("mon-fri,02:00-05:00", "fri 04:00", "open fri 05:00"),
        ("mon-fri,02:00-05:00", "fri 05:00", "shut mon 02:00"),
        ("mon-fri,02:00-05:00", "sat 03:00", "shut mon 02:00"),
        ("mon-fri,02:00-05:00", "sun 23:00", "shut mon 02:00"),
        ("mon-fri,02:00-05:00", "mon 02:00", "open mon 05:00"),
        ("sat,02:00-05:00", "sat 02:00", "open sat 05:00"),
        ("sat,02:00-05:00", "sat 05:00", "shut sat 02:00"),
        ("sat,02:00-05:00", "sun 02:00", "shut sat 02:00"),
        ("mon,wed,fri,10:00-11:00", "mon 11:00", "shut wed 10:00"),
        ("mon,wed,fri,10:00-11:00", "tue 10:30", "shut wed 10:00"),
        ("mon,wed,fri,10:00-11:00", "wed 10:30", "open wed 11:00"),
        ("mon,wed,fri,10:00-11:00", "fri 11:00", "shut mon 10:00"),
        ("mon-tue,thu-fri,10:00-11:00", "wed 10:30", "shut thu 10:00"),
        ("mon-tue,thu-fri,10:00-11:00", "fri 10:30", "open fri 11:00"),
        ("fri-mon,10:00-11:00", "mon 10:30", "open mon 11:00"),
        ("fri-mon,10:00-11:00", "mon 11:00", "shut fri 10:00"),
        ("fri-mon,10:00-11:00", "thu 10:30", "shut fri 10:00"),
        ("fri-mon,10:00-11:00", "sat 10:30", "open sat 11:00"),
        ("sun-mon,10:00-11:00", "sun 10:30", "open sun 11:00"),
        ("tue-mon,10:00-11:00", "mon 10:30", "open mon 11:00"),
        ("SAT,Sun,10:00-11:00", "sun 10:00", "open sun 11:00"),
        // Past midnight: it belongs to the day on which it starts.
        ("22:00-06:00", "mon 05:59", "open mon 06:00"),
        ("22:00-06:00", "mon 06:00", "shut mon 22:00"),
        ("22:00-06:00", "mon 22:00", "open tue 06:00"),
        ("22:00-06:00", "mon 23:59:59", "open tue 06:00"),
        ("22:00-06:00", "tue 00:00", "open tue 06:00"),
        ("sat,22:00-06:00", "sat 05:00", "shut sat 22:00"),
        ("sat,22:00-06:00", "sun 05:59:59", "open sun 06:00"),
        ("sat,22:00-06:00", "sun 06:00", "shut sat 22:00"),
        ("sat,22:00-06:00", "sun 22:00", "shut sat 22:00"),
        ("sun,22:00-06:00", "mon 03:00", "open mon 06:00"),
        ("sun,22:00-06:00", "sun 03:00", "shut sun 22:00"),
        ("mon-fri,22:00-06:00", "sat 05:00", "open sat 06:00"),
        ("mon-fri,22:00-06:00", "mon 05:00", "shut mon 22:00"),
        ("fri-mon,22:00-06:00", "tue 05:00", "open tue 06:00"),
        ("fri-mon,22:00-06:00", "fri 05:00", "shut fri 22:00"),
        ("22:00-00:00", "mon 23:00", "open tue 00:00"),
        ("22:00-24:00", "mon 23:00", "open tue 00:00"),
        ("22:00-24:00", "tue 00:00", "shut tue 22:00"),
        ("12:00-11:59", "mon 11:58", "open mon 11:59"),
        ("12:00-11:59", "mon 11:59", "shut mon 12:00"),
        ("22:00-24:00;00:00-02:00", "mon 23:00", "open tue 02:00"),
        // Zones: days and times are local there.
        ("02:00-05:00Z", "mon 02:00", "open mon 05:00"),
        ("02:00-05:00z", "mon 05:00", "shut tue 02:00"),
        ("02:00-05:00+00:00", "mon 02:00", "open mon 05:00"),
        ("02:00-05:00-00:00", "mon 02:00", "open mon 05:00"),
        ("02:00-05:00+01:00", "mon 01:00", "open mon 04:00"),
        ("02:00-05:00+01:00", "mon 04:00", "shut tue 01:00"),
        ("02:00-05:00-05:00", "mon 07:00", "open mon 10:00"),
        ("02:00-05:00-05:00", "mon 10:00", "shut tue 07:00"),
        ("02:00-05:00+05:45", "sun 20:15", "open sun 23:15"),
        ("mon,02:00-05:00+05:45", "sun 20:14:59", "shut sun 20:15"),
        ("mon,02:00-05:00+05:45", "sun 20:15", "open sun 23:15"),
        ("mon,02:00-05:00+05:45", "mon 20:15", "shut sun 20:15"),
        ("mon,00:00-24:00+14:00", "sun 10:00", "open mon 10:00"),
        ("mon,00:00-24:00+14:00", "mon 10:00", "shut sun 10:00"),
        ("mon,00:00-24:00-14:00", "mon 14:00", "open tue 14:00"),
        ("mon,00:00-24:00-14:00", "mon 13:59", "shut mon 14:00"),
        ("sun,22:00-06:00-03:30", "mon 01:30", "open mon 09:30"),
        ("sun,22:00-06:00-03:30", "mon 09:30", "shut mon 01:30"),
        ("sat,22:00-06:00+09:00", "sat 20:59", "open sat 21:00"),
        ("sat,22:00-06:00+09:00", "sat 13:00", "open sat 21:00"),
        // Several: open in any, and over to the next one where they meet.
        ("mon-fri,02:00-05:00;sat,22:00-04:00", "fri 05:00", "shut sat 22:00"),
        ("mon-fri,02:00-05:00;sat,22:00-04:00", "sun 03:00", "open sun 04:00"),
        ("mon-fri,02:00-05:00;sat,22:00-04:00", "sun 04:00", "shut mon 02:00"),
        ("mon,02:00-05:00,,tue,03:00-04:00", "mon 05:00", "shut tue 03:00"),
        ("mon,02:00-05:00,,tue,03:00-04:00", "tue 04:00", "shut mon 02:00"),
        ("01:00-03:00;02:00-05:00", "mon 02:30", "open mon 05:00"),
        ("02:00-05:00;01:00-03:00", "mon 02:30", "open mon 05:00"),
        ("01:00-06:00;02:00-03:00", "mon 02:30", "open mon 06:00"),
        ("01:00-02:00;02:00-03:00", "mon 01:00", "open mon 03:00"),
        ("01:00-02:00;02:01-03:00", "mon 01:00", "open mon 02:00"),
        ("01:00-02:00;02:01-03:00", "mon 02:00", "shut mon 02:01"),
        ("sun,20:00-02:00;mon,02:00-03:00", "sun 20:00", "open mon 03:00"),
        ("01:00-02:00;01:00-02:00+00:30", "mon 00:30", "open mon 02:00"),
        ("fri,22:00-24:00;sat,sun,00:00-24:00", "fri 22:00", "open mon 00:00"),
        // One part is the whole window.
        ("02:00-05:00/1", "mon 02:00", "open mon 05:00"),
        ("02:00-05:00/1", "mon 05:00", "shut tue 02:00"),
        // At a minute's length there is nothing to draw.
        ("02:00~02:01", "mon 01:00", "shut mon 02:00"),
        ("02:00~02:01", "mon 02:00", "open mon 02:01"),
        // Spaces.
        (" mon - fri,02:00-05:00", "", "error"),
        (" mon-fri , 02:00-05:00 ; sat,22:00-04:00 ", "sat 22:00", "open sun 04:00"),
        ("mon-fri, 02:00-05:00 , , sat,22:00-04:00", "", "error"),
    ];
    assert!(rows.len() >= 100, "{}", rows.len());
    for (text, now, then) in rows {
        let windows = Windows::parse(text);
        if then == "error" {
            assert!(windows.is_err(), "{text}");
            continue;
        }
        let windows = windows.unwrap_or_else(|error| panic!("{text}: {error}"));
        let now_s = MONDAY + second_of_week(now);
        let expected = match then.split_once(' ').unwrap() {
            ("open", "never") => WindowState::Open { closes_at: u64::MAX },
            ("open", at) => WindowState::Open { closes_at: next(now_s, at) },
            ("shut", at) => WindowState::Closed { opens_at: next(now_s, at) },
            other => panic!("{other:?}"),
        };
        assert_eq!(windows.state(now_s, &DEVICE), expected, "{text} at {now}");
        // The device's identity does not matter: nothing is drawn here. And in any other week too.
        assert_eq!(windows.state(now_s, &[0; 16]), expected, "{text} at {now}");
    }
}

#[test]
fn windows_are_shown_in_canonical_text_and_read_again() {
    let rows = [
        ("", ""),
        ("   ", ""),
        ("02:00-05:00", "02:00-05:00"),
        ("mon-sun,02:00-05:00", "02:00-05:00"),
        ("wed-tue,02:00-05:00", "02:00-05:00"),
        ("mon,tue,wed,02:00-05:00", "mon-wed,02:00-05:00"),
        ("fri,mon,wed,02:00-05:00", "mon,wed,fri,02:00-05:00"),
        ("sat-sun,02:00-05:00", "sat,sun,02:00-05:00"),
        ("mon,sun,02:00-05:00", "sun,mon,02:00-05:00"),
        ("mon,fri-sun,02:00-05:00", "fri-mon,02:00-05:00"),
        ("mon-wed,tue-thu,02:00-05:00", "mon-thu,02:00-05:00"),
        ("mon-tue,thu-sat,02:00-05:00", "mon,tue,thu-sat,02:00-05:00"),
        ("sun-fri,02:00-05:00", "sun-fri,02:00-05:00"),
        ("mon,mon,02:00-05:00", "mon,02:00-05:00"),
        ("22:00-00:00", "22:00-24:00"),
        ("22:00-06:00", "22:00-06:00"),
        ("00:00-24:00", "00:00-24:00"),
        ("00:00~24:00/4", "00:00~24:00/4"),
        ("02:00-05:00/1", "02:00-05:00"),
        ("02:00-05:00/24+14:00", "02:00-05:00/24+14:00"),
        ("02:00-05:00-03:30", "02:00-05:00-03:30"),
        ("02:00-05:00Z", "02:00-05:00"),
        ("02:00-05:00-00:00", "02:00-05:00"),
        (" SAT , 02:00~05:00/2z ;  10:00-11:00", "sat,02:00~05:00/2;10:00-11:00"),
        ("sat,02:00-05:00,,sun,03:00-04:00", "sat,02:00-05:00;sun,03:00-04:00"),
    ];
    for (text, shown) in rows {
        let windows = Windows::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(windows.to_string(), shown, "{text}");
        assert_eq!(Windows::parse(shown).as_ref(), Ok(&windows), "{text}");
        assert_eq!(windows.is_empty(), shown.is_empty(), "{text}");
    }
}

#[test]
fn what_is_no_window_is_refused_where_it_is_wrong() {
    use WindowFault::{
        Hour, Minute, NoComma, NoDay, NoEnd, NoLength, NoSeparator, NoTime, NoWindow, PartCount,
        PartLength, SameDay, WindowCount, Zone,
    };
    let nine = ["01:00-02:00"; 9].join(";");
    let rows = [
        (";", 0, NoWindow),
        (",02:00-05:00", 0, NoWindow),
        ("02:00-05:00;", 12, NoWindow),
        ("02:00-05:00; ", 13, NoWindow),
        ("02:00-05:00;;02:00-05:00", 12, NoWindow),
        ("*", 0, NoWindow),
        ("\u{e4}", 0, NoWindow),
        ("-02:00-05:00", 0, NoWindow),
        (nine.as_str(), 96, WindowCount),
        ("monday,02:00-05:00", 0, NoDay),
        ("mon1,02:00-05:00", 0, NoDay),
        ("mo,02:00-05:00", 0, NoDay),
        ("mon-,02:00-05:00", 4, NoDay),
        ("mon-xyz,02:00-05:00", 4, NoDay),
        ("mon,xyz,02:00-05:00", 4, NoDay),
        ("daily", 0, NoDay),
        ("mon-mon,02:00-05:00", 4, SameDay),
        ("mon", 3, NoComma),
        ("mon 02:00-05:00", 4, NoComma),
        ("mon;02:00-05:00", 3, NoComma),
        ("mon-tue-wed,02:00-05:00", 7, NoComma),
        ("mon~fri,02:00-05:00", 3, NoComma),
        ("mon,", 4, NoTime),
        ("mon,,02:00-05:00", 4, NoTime),
        ("2:00-05:00", 0, NoTime),
        ("02:00-5:00", 6, NoTime),
        ("0200-0500", 0, NoTime),
        ("02:00:00-05:00:00", 5, NoEnd),
        ("02:0", 0, NoTime),
        ("02:0a-05:00", 0, NoTime),
        ("02.00-05.00", 0, NoTime),
        ("02:00-", 6, NoTime),
        ("02:00 - 05:00", 5, NoEnd),
        ("02:00", 5, NoEnd),
        ("02:00/2", 5, NoEnd),
        ("02:00\u{2013}05:00", 5, NoEnd),
        ("25:00-05:00", 0, Hour),
        ("02:00-99:00", 6, Hour),
        ("24:00-05:00", 0, Hour),
        ("02:60-05:00", 3, Minute),
        ("02:00-24:01", 9, Minute),
        ("02:00-05:99", 9, Minute),
        ("02:00-02:00", 6, NoLength),
        ("00:00-00:00", 6, NoLength),
        ("02:00~02:00/3", 6, NoLength),
        ("02:00-05:00/", 12, PartCount),
        ("02:00-05:00/0", 12, PartCount),
        ("02:00-05:00/25", 12, PartCount),
        ("02:00-05:00/02", 12, PartCount),
        ("02:00-05:00/100", 12, PartCount),
        ("02:00-05:00/-1", 12, PartCount),
        ("02:00-02:03/4", 12, PartLength),
        ("02:00-05:00+14:01", 12, Zone),
        ("02:00-05:00-24:00", 12, Zone),
        ("02:00-05:00+1:00", 12, NoTime),
        ("02:00-05:00+0100", 12, NoTime),
        ("02:00-05:00+01:60", 15, Minute),
        ("02:00-05:00+", 12, NoTime),
        ("02:00-05:00 UTC", 12, NoSeparator),
        ("02:00-05:00Europe/Berlin", 11, NoSeparator),
        ("02:00-05:00ZZ", 12, NoSeparator),
        ("02:00-05:00+01:00/2", 17, NoSeparator),
        ("02:00-05:00,06:00-07:00", 11, NoSeparator),
        ("02:00-05:00,mon", 11, NoSeparator),
        ("02:00-05:00, ,03:00-04:00", 11, NoSeparator),
        ("02:00-05:00|03:00-04:00", 11, NoSeparator),
        ("02:00-05:00\n", 11, NoSeparator),
    ];
    for (text, at, fault) in rows {
        let error = Windows::parse(text).expect_err(text);
        assert_eq!((error.at, error.fault), (at, fault), "{text}");
    }
    let eight = ["01:00-02:00"; 8].join(";");
    assert_eq!(Windows::parse(&eight).map(|windows| windows.iter().count()), Ok(8));
    let error = Windows::parse("mon,2:00-05:00").unwrap_err();
    assert_eq!(error.to_string(), "at position 5: expected a time as HH:MM");
}

/// A window as a model sees it.
#[derive(Clone, Debug)]
struct Model {
    days: Vec<usize>,
    start: u32,
    end: u32,
    zone: i32,
}

impl Model {
    fn text(&self) -> String {
        let time = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let days: String = self.days.iter().map(|day| format!("{},", DAYS[*day])).collect();
        let sign = if self.zone < 0 { '-' } else { '+' };
        let zone = time(self.zone.unsigned_abs());
        format!("{days}{}-{}{sign}{zone}", time(self.start), time(self.end))
    }

    /// Whether it is open in a minute of UTC, counted from a Monday; by looking at the local clock
    /// and calendar, as a person would.
    fn is_open(&self, minute: i32) -> bool {
        let local = minute + self.zone;
        let weekday = local.div_euclid(1440).rem_euclid(7) as usize;
        let clock = local.rem_euclid(1440) as u32;
        let today = self.days.contains(&weekday);
        let yesterday = self.days.contains(&((weekday + 6) % 7));
        if self.start < self.end {
            today && (self.start..self.end).contains(&clock)
        } else {
            today && clock >= self.start || yesterday && clock < self.end
        }
    }
}

fn any_model() -> impl Strategy<Value = Model> {
    let days = proptest::sample::subsequence((0..7).collect::<Vec<_>>(), 1..=7);
    let zone =
        prop_oneof![Just(0), -840..=840_i32, (-56..=56_i32).prop_map(|quarter| quarter * 15)];
    // Round times meet each other, so that windows adjoin.
    let time = || prop_oneof![0..1440_u32, (0..24_u32).prop_map(|hour| hour * 60)];
    let end = prop_oneof![Just(1440_u32), time()];
    (days, time(), end, zone)
        .prop_filter("it has a length", |(_, start, end, _)| start != end)
        .prop_map(|(days, start, end, zone)| Model { days, start, end, zone })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn windows_agree_with_a_model_that_looks_at_every_minute_of_two_weeks(
        models in proptest::collection::vec(any_model(), 1..=8),
        week in 0..5000_u64,
    ) {
        let text = models.iter().map(Model::text).collect::<Vec<_>>().join(";");
        let windows = Windows::parse(&text).unwrap();
        // The first Monday after 1970 and others.
        let monday = 4 * 86_400 + week * WEEK;
        const TWO_WEEKS: usize = 2 * 7 * 1440;
        let open: Vec<bool> = (0..2 * TWO_WEEKS)
            .map(|minute| models.iter().any(|model| model.is_open(minute as i32)))
            .collect();
        // From the end, for each minute the next one that differs.
        let mut change = 2 * TWO_WEEKS;
        for minute in (0..2 * TWO_WEEKS - 1).rev() {
            if open[minute] != open[minute + 1] {
                change = minute + 1;
            }
            if minute >= TWO_WEEKS {
                continue;
            }
            let second = if minute % 2 == 0 { 0 } else { 59 };
            let now = monday + minute as u64 * 60 + second;
            let at = monday + change as u64 * 60;
            let expected = match open[minute] {
                true if change - minute > 7 * 1440 => WindowState::Open { closes_at: u64::MAX },
                true => WindowState::Open { closes_at: at },
                false => WindowState::Closed { opens_at: at },
            };
            prop_assert_eq!(windows.state(now, &DEVICE), expected, "{} at {}", text, now);
        }
    }
}

/// Windows with parts and spread, and the same without.
fn any_drawn() -> impl Strategy<Value = (String, String)> {
    let window = (any_model(), 1..=24_u32, any::<bool>());
    proptest::collection::vec(window, 1..=4).prop_map(|list| {
        let mut drawn = Vec::new();
        let mut whole = Vec::new();
        for (model, parts, spread) in list {
            let text = model.text();
            let length = (model.end + 1440 - model.start) % 1440;
            let parts = if length == 0 { parts } else { parts.min(length) };
            // The zone is the last six bytes, and the end of the window the five before.
            let (head, zone) = text.split_at(text.len() - 6);
            let (head, end) = head.split_at(head.len() - 6);
            let dash = if spread { "~" } else { "-" };
            drawn.push(format!("{head}{dash}{}/{parts}{zone}", &end[1..]));
            whole.push(text);
        }
        (drawn.join(";"), whole.join(";"))
    })
}

proptest! {
    #[test]
    fn the_next_opening_is_never_in_the_past_and_open_and_shut_before(
        (drawn, whole) in any_drawn(),
        device in any::<[u8; 16]>(),
        start in prop_oneof![0..WEEK, 0..4_000_000_000_u64],
    ) {
        let windows = Windows::parse(&drawn).unwrap();
        let whole = Windows::parse(&whole).unwrap();
        let is_open = |now| matches!(windows.state(now, &device), WindowState::Open { .. });
        let mut now = start;
        for _ in 0..40 {
            let state = windows.state(now, &device);
            let change = match state {
                WindowState::Open { closes_at } => closes_at,
                WindowState::Closed { opens_at } => opens_at,
            };
            if change == u64::MAX {
                prop_assert!(is_open(now + WEEK / 2));
                break;
            }
            prop_assert!(change > now && change - now <= 9 * 86_400, "{} at {}", drawn, now);
            // All the way up to the change, nothing changes.
            for step in 0..5 {
                prop_assert_eq!(windows.state(now + (change - 1 - now) * step / 4, &device), state);
            }
            prop_assert_eq!(is_open(now), !is_open(change), "{} at {}", drawn, now);
            if is_open(now) {
                // Parts and openings lie within the windows that they are of.
                for at in [now, change - 1] {
                    let inside = matches!(whole.state(at, &device), WindowState::Open { .. });
                    prop_assert!(inside, "{} at {}", drawn, at);
                }
            }
            now = change;
        }
    }

    #[test]
    fn no_instant_overflows(
        (drawn, _) in any_drawn(),
        device in any::<[u8; 16]>(),
        now in prop_oneof![0..200_000_u64, u64::MAX - 2_000_000..=u64::MAX, any::<u64>()],
    ) {
        let windows = Windows::parse(&drawn).unwrap();
        match windows.state(now, &device) {
            WindowState::Open { closes_at: at } | WindowState::Closed { opens_at: at } => {
                prop_assert!(at > now || at == u64::MAX);
            }
        }
    }
}

fn device(number: u32) -> [u8; 16] {
    u128::from(number).to_le_bytes()
}

/// When the window of Monday opens and closes, in seconds after Monday's midnight.
fn opening(windows: &Windows, device: &[u8; 16]) -> (u64, u64) {
    // A minute before midnight no window of these tests is open.
    let WindowState::Closed { opens_at } = windows.state(MONDAY - 60, device) else {
        panic!("open on Sunday")
    };
    let WindowState::Open { closes_at } = windows.state(opens_at, device) else {
        panic!("closed when it opens")
    };
    (opens_at - MONDAY, closes_at - MONDAY)
}

#[test]
fn each_device_gets_one_part_and_parts_fill_evenly() {
    let windows = Windows::parse("02:00-05:00/6").unwrap();
    let mut counts = [0_u32; 6];
    for number in 0..60_000 {
        let (opens, closes) = opening(&windows, &device(number));
        assert_eq!(closes - opens, 1800);
        assert_eq!((opens - 7200) % 1800, 0);
        counts[((opens - 7200) / 1800) as usize] += 1;
    }
    // 10,000 each, four standard deviations are 366.
    assert!(counts.iter().all(|count| count.abs_diff(10_000) <= 366), "{counts:?}");
}

#[test]
fn parts_are_equal_to_the_second_and_leave_nothing_out() {
    // 61 minutes in 7 parts: 522 or 523 seconds each.
    let windows = Windows::parse("02:00-03:01/7").unwrap();
    let mut parts: Vec<_> = (0..1000).map(|n| opening(&windows, &device(n))).collect();
    parts.sort_unstable();
    parts.dedup();
    assert_eq!(parts.len(), 7);
    assert_eq!((parts[0].0, parts[6].1), (7200, 7200 + 3660));
    assert!(parts.windows(2).all(|pair| pair[0].1 == pair[1].0));
    assert!(parts.iter().all(|(opens, closes)| (522..=523).contains(&(closes - opens))));
}

#[test]
fn a_spread_opening_is_uniform_and_leaves_a_minute() {
    let windows = Windows::parse("02:00~05:00").unwrap();
    let mut counts = [0_u32; 10];
    let (mut first, mut last) = (u64::MAX, 0);
    for number in 0..100_000 {
        let (opens, closes) = opening(&windows, &device(number));
        assert_eq!(closes, 5 * 3600);
        first = first.min(opens);
        last = last.max(opens);
        // 3 hours less a minute in ten parts of 1074 seconds, and one second more.
        counts[((opens - 7200) / 1074).min(9) as usize] += 1;
    }
    assert_eq!((first, last), (7200, 5 * 3600 - 60));
    // 10,000 each, four standard deviations are 379.
    assert!(counts.iter().all(|count| count.abs_diff(10_000) <= 379), "{counts:?}");
}

#[test]
fn a_spread_opening_stays_within_its_part() {
    let windows = Windows::parse("02:00~05:00/3").unwrap();
    let mut counts = [0_u32; 3];
    for number in 0..3000 {
        let (opens, closes) = opening(&windows, &device(number));
        assert_eq!((closes - 7200) % 3600, 0);
        assert!(opens >= closes - 3600 && opens <= closes - 60);
        counts[((closes - 7200) / 3600 - 1) as usize] += 1;
    }
    assert!(counts.iter().all(|count| count.abs_diff(1000) <= 104), "{counts:?}");
}

#[test]
fn another_day_gives_another_part() {
    let windows = Windows::parse("02:00-05:00/6").unwrap();
    let part = |day: u64| match windows.state(MONDAY + day * 86_400, &DEVICE) {
        WindowState::Closed { opens_at } => (opens_at - MONDAY - day * 86_400 - 7200) / 1800,
        WindowState::Open { .. } => panic!("open at midnight"),
    };
    let mut counts = [0_u32; 6];
    for day in 0..6000 {
        counts[part(day) as usize] += 1;
    }
    assert!(counts.iter().all(|count| count.abs_diff(1000) <= 116), "{counts:?}");
}

/// Frozen: a change here moves the windows of every device in the field.
#[test]
fn golden_draws() {
    let rows = [
        ([0; 16], 0, [0x3ff1_b50f_c7fc_d86c, 0xd5a9_5db5_a112_ddde]),
        ([0; 16], 1, [0xeeff_f9cd_953f_94ab, 0x1a16_2415_1e8c_5269]),
        ([0xff; 16], u64::MAX, [0xe525_a90f_9b97_0d3d, 0xe249_1493_7a2d_c8ed]),
        (DEVICE, 20_458, [0x1dd7_9b73_c689_441b, 0xd834_e1bd_41d7_4760]),
    ];
    for (device, day, expected) in rows {
        let found = draw(&device, day);
        assert_eq!(found, expected, "{device:x?} on {day}: {found:#x?}");
    }
    let found: Vec<_> = ["02:00-05:00/6", "02:00~05:00", "mon,22:00~06:00/4"]
        .map(|text| opening(&Windows::parse(text).unwrap(), &DEVICE))
        .into();
    assert_eq!(found, [(16200, 18000), (14620, 18000), (104646, 108000)]);
}

// Channels

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

#[test]
fn channels_are_read_and_shown_in_full() {
    let rows = [
        ("stable", "latest", Risk::Stable, "", "latest/stable"),
        ("candidate", "latest", Risk::Candidate, "", "latest/candidate"),
        ("beta", "latest", Risk::Beta, "", "latest/beta"),
        ("edge", "latest", Risk::Edge, "", "latest/edge"),
        ("latest", "latest", Risk::Stable, "", "latest/stable"),
        ("5.0", "5.0", Risk::Stable, "", "5.0/stable"),
        ("24-hwe", "24-hwe", Risk::Stable, "", "24-hwe/stable"),
        ("lts~1_x+y", "lts~1_x+y", Risk::Stable, "", "lts~1_x+y/stable"),
        ("Latest", "Latest", Risk::Stable, "", "Latest/stable"),
        ("edges", "edges", Risk::Stable, "", "edges/stable"),
        ("5.0/stable", "5.0", Risk::Stable, "", "5.0/stable"),
        ("5.0/edge", "5.0", Risk::Edge, "", "5.0/edge"),
        ("latest/beta", "latest", Risk::Beta, "", "latest/beta"),
        ("beta/fix-1", "latest", Risk::Beta, "fix-1", "latest/beta/fix-1"),
        ("edge/5.0", "latest", Risk::Edge, "5.0", "latest/edge/5.0"),
        ("5.0/beta/fix-1", "5.0", Risk::Beta, "fix-1", "5.0/beta/fix-1"),
        ("5.0/stable/5.0", "5.0", Risk::Stable, "5.0", "5.0/stable/5.0"),
        ("1234567890123456", "1234567890123456", Risk::Stable, "", "1234567890123456/stable"),
    ];
    for (text, track, risk, branch, shown) in rows {
        let expected = Channel { track: name(track), risk, branch: name(branch) };
        assert_eq!(channel::parse(text).as_ref(), Ok(&expected), "{text}");
        assert_eq!(expected.to_string(), shown);
        assert_eq!(channel::parse(shown).as_ref(), Ok(&expected), "{shown}");
        assert_eq!(Follow::parse(text), Ok(Follow::from(expected)), "{text}");
    }
    assert_eq!(Follow::default().to_string(), "latest/stable");
}

#[test]
fn what_is_no_channel_is_refused_where_it_is_wrong() {
    use ChannelFault::{Character, Empty, NoRisk, PartCount, RiskName, TooLong};
    let rows = [
        ("", 0, Empty),
        ("/", 0, Empty),
        ("/beta", 0, Empty),
        ("beta/", 5, Empty),
        ("5.0/", 4, Empty),
        ("5.0//fix", 4, Empty),
        ("5.0/beta/", 9, Empty),
        ("/beta/fix", 0, Empty),
        ("a/beta/c/d", 8, PartCount),
        ("a/beta/c/", 8, PartCount),
        ("///", 2, PartCount),
        ("12345678901234567", 0, TooLong),
        ("beta/12345678901234567", 5, TooLong),
        ("12345678901234567/beta", 0, TooLong),
        ("5 0", 0, Character),
        (" beta", 0, Character),
        ("beta ", 0, Character),
        ("5.0/beta/a b", 9, Character),
        ("..", 0, Character),
        ("-rf", 0, Character),
        ("edge/..", 5, Character),
        ("5.0\\beta", 0, Character),
        ("l\u{e4}test", 0, Character),
        ("a\u{1b}[2J", 0, Character),
        ("5.0/nightly", 4, NoRisk),
        ("5.0/Beta", 4, NoRisk),
        ("latest/fix-1", 7, NoRisk),
        ("5.0/nightly/fix", 4, NoRisk),
        ("5.0/fix/beta", 4, NoRisk),
        ("5.0/unknown", 4, NoRisk),
        ("Edge", 0, RiskName),
        ("STABLE", 0, RiskName),
        ("beta/stable", 5, RiskName),
        ("stable/stable", 7, RiskName),
        ("Beta/stable", 0, RiskName),
        ("edge/beta/fix", 0, RiskName),
        ("5.0/beta/Edge", 9, RiskName),
    ];
    for (text, at, fault) in rows {
        let error = channel::parse(text).expect_err(text);
        assert_eq!((error.at, error.fault), (at, fault), "{text}");
    }
}

#[test]
fn a_device_takes_what_is_offered_on_its_channel() {
    let rows = [
        // The same channel.
        ("stable", "stable", "ok"),
        ("candidate", "candidate", "ok"),
        ("beta", "beta", "ok"),
        ("edge", "edge", "ok"),
        // Safer ones, and not the reverse.
        ("edge", "beta", "ok"),
        ("edge", "candidate", "ok"),
        ("edge", "stable", "ok"),
        ("beta", "candidate", "ok"),
        ("beta", "stable", "ok"),
        ("candidate", "stable", "ok"),
        ("stable", "candidate", "risk"),
        ("stable", "beta", "risk"),
        ("stable", "edge", "risk"),
        ("candidate", "beta", "risk"),
        ("candidate", "edge", "risk"),
        ("beta", "edge", "risk"),
        // Tracks match exactly.
        ("latest", "stable", "ok"),
        ("stable", "latest/stable", "ok"),
        ("", "latest/stable", "ok"),
        ("", "latest/candidate", "risk"),
        ("", "5.0/stable", "track"),
        ("5.0", "5.0/stable", "ok"),
        ("5.0/edge", "5.0/beta", "ok"),
        ("5.0/edge", "stable", "track"),
        ("5.0/edge", "5.1/stable", "track"),
        ("5.0", "5.0.0/stable", "track"),
        ("5", "5.0/stable", "track"),
        ("5.0", "5/stable", "track"),
        ("edge", "5.0/stable", "track"),
        ("LTS", "lts/stable", "track"),
        ("lts", "lts/edge", "risk"),
        // The first part that differs is named.
        ("lts", "5.0/edge/fix", "track"),
        ("lts", "lts/edge/fix", "risk"),
        // Branches.
        ("edge", "edge/fix-1", "branch"),
        ("edge", "stable/fix-1", "branch"),
        ("edge/fix-1", "edge/fix-1", "ok"),
        ("edge/fix-1", "stable/fix-1", "ok"),
        ("edge/fix-1", "edge", "ok"),
        ("edge/fix-1", "stable", "ok"),
        ("edge/fix-1", "edge/fix-2", "branch"),
        ("edge/fix-1", "edge/FIX-1", "branch"),
        ("edge/fix-1", "edge/fix", "branch"),
        ("beta/fix-1", "edge/fix-1", "risk"),
        ("stable/fix-1", "edge", "risk"),
        ("5.0/beta/fix-1", "5.0/beta/fix-1", "ok"),
        ("5.0/beta/fix-1", "5.0/candidate", "ok"),
        ("5.0/beta/fix-1", "beta/fix-1", "track"),
        ("beta/fix-1", "5.0/beta/fix-1", "track"),
    ];
    for (follows, offered, expected) in rows {
        let follow = match follows {
            "" => Follow::default(),
            text => Follow::parse(text).unwrap(),
        };
        let found = match follow.accepts(&channel::parse(offered).unwrap()) {
            Ok(()) => "ok",
            Err(ChannelRefusal::Track { .. }) => "track",
            Err(ChannelRefusal::Risk { .. }) => "risk",
            Err(ChannelRefusal::Branch { .. }) => "branch",
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, expected, "{follow} offered {offered}");
    }
}

#[test]
fn a_channel_refusal_names_both_values() {
    let rows = [
        ("5.0", "stable", "this device follows track 5.0, the update is on track latest"),
        ("beta", "edge", "this device takes what is beta or safer, the update is edge"),
        ("beta", "beta/fix", "this device follows no branch, the update is on branch fix"),
        ("beta/a", "beta/b", "this device follows branch a, the update is on branch b"),
    ];
    for (follows, offered, text) in rows {
        let refusal = Follow::parse(follows).unwrap().accepts(&channel::parse(offered).unwrap());
        assert_eq!(refusal.unwrap_err().to_string(), text);
    }
}

#[test]
fn an_unknown_risk_is_on_no_channel() {
    let mut offer = channel::parse("edge").unwrap();
    let mut follow = Follow::from(offer.clone());
    offer.risk = Risk::Unknown(4);
    assert!(matches!(follow.accepts(&offer), Err(ChannelRefusal::Risk { .. })));
    follow.risk = Risk::Unknown(4);
    assert!(matches!(follow.accepts(&offer), Err(ChannelRefusal::Risk { .. })));
    offer.risk = Risk::Stable;
    assert!(matches!(follow.accepts(&offer), Err(ChannelRefusal::Risk { .. })));
}

proptest! {
    #[test]
    fn who_follows_a_riskier_channel_takes_all_that_safer_ones_take(
        follow in 0..4_u8, offered in 0..4_u8, branches in [0..3_usize, 0..3],
    ) {
        let branches = branches.map(|at| name(["", "one", "two"][at]));
        let offer = Channel {
            track: name("latest"), risk: Risk::from_code(offered), branch: branches[1].clone(),
        };
        let accepts = |risk| {
            let follow =
                Follow { track: Name::new(), risk: Risk::from_code(risk), branch: branches[0].clone() };
            follow.accepts(&offer).is_ok()
        };
        let on_branch = branches[1].is_empty() || branches[0] == branches[1];
        prop_assert_eq!(accepts(follow), offered <= follow && on_branch);
        prop_assert!(!accepts(follow) || (follow..4).all(accepts));
    }
}

// Rollout

fn included(percentage: u8, number: u32, digest: &[u8; 32]) -> bool {
    rollout::included::<SoftSha256>(percentage, &device(number), digest)
}

#[test]
fn a_rollout_reaches_its_percentage_of_a_hundred_thousand_devices() {
    // Four standard deviations of the binomial.
    for (percentage, margin) in [(1, 126), (10, 380), (50, 633), (90, 380)] {
        for digest in [[0; 32], DIGEST] {
            let count = (0..100_000).filter(|n| included(percentage, *n, &digest)).count();
            let expected = 1000 * usize::from(percentage);
            assert!(count.abs_diff(expected) <= margin, "{percentage} %: {count} devices");
        }
    }
}

#[test]
fn a_higher_percentage_keeps_everyone_who_is_in() {
    for number in 0..2000 {
        let first = (0..=100).find(|percentage| included(*percentage, number, &DIGEST));
        // No device at 0, every device at 100, and at what should not occur as at 100.
        let first = first.expect("everybody is in at 100 %");
        assert!(first > 0);
        assert!((first..=u8::MAX).all(|percentage| included(percentage, number, &DIGEST)));
    }
}

#[test]
fn another_update_is_tried_by_other_devices() {
    let both =
        (0..100_000).filter(|n| included(10, *n, &DIGEST) && included(10, *n, &[0; 32])).count();
    // 1 %: 1000, four standard deviations are 126.
    assert!(both.abs_diff(1000) <= 126, "{both}");
}

/// Frozen: a change here moves devices while updates are being rolled out.
#[test]
fn golden_positions() {
    let rows = [([0; 16], [0; 32], 9512), ([0xff; 16], [0; 32], 2321), (DEVICE, DIGEST, 3121)];
    for (device, digest, position) in rows {
        assert_eq!(rollout::position::<SoftSha256>(&device, &digest), position, "{device:x?}");
    }
}
