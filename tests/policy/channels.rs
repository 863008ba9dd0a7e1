//! Channels: read, shown and followed.

use proptest::prelude::*;
use stillboot::format::manifest::Name;
use stillboot::format::{Channel, Risk};
use stillboot_policy::channel::{self, ChannelFault, ChannelRefusal, Follow};

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
            let mut follow = Follow::default();
            follow.risk = Risk::from_code(risk);
            follow.branch = branches[0].clone();
            follow.accepts(&offer).is_ok()
        };
        let on_branch = branches[1].is_empty() || branches[0] == branches[1];
        prop_assert_eq!(accepts(follow), offered <= follow && on_branch);
        prop_assert!(!accepts(follow) || (follow..4).all(accepts));
    }
}
