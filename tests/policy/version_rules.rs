//! Version rules: what each takes, how it is shown, and what is no rule.

use proptest::prelude::*;
use stillboot_policy::version::{
    Label, RuleFault, RuleRefusal, Step, Version, VersionFault, VersionRule,
};

use super::DIGEST;

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
