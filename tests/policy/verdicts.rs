//! The policy: what each rule says, which rule overrides which, and what `force` does not skip.

use stillboot::format::manifest::flags;
use stillboot::format::record::Body;
use stillboot::format::{
    Envelope, Fault, Hold, KeyRole, Load, Manifest, PayloadType, Risk, Role, SlotKind, Statement,
    StatementKind,
};
use stillboot::verify::{SoftSha256, Verified, verify_head, verify_statement};
use stillboot_policy::channel::Follow;
use stillboot_policy::version::VersionRule;
use stillboot_policy::window::Windows;
use stillboot_policy::{
    Clock, Deferral, Facts, Objection, Policy, PolicyRule, Seen, Verdict, findings, judge,
    may_reboot,
};
use stillboot_release::keys::{Signer, sign_envelope};
use stillboot_sim::release::content;
use stillboot_sim::{Piece, Publisher};

/// Wednesday, 2026-11-18, 12:00 UTC.
const NOON: u64 = 1_795_003_200;

struct Case {
    publisher: Publisher,
    manifest: Verified<Manifest>,
    statements: Vec<Verified<Statement>>,
    seen: Vec<Seen>,
    policy: Policy,
    body: Body,
    running: Option<&'static str>,
    clock: Clock,
}

impl Case {
    fn new(change: impl FnOnce(&mut Manifest)) -> Self {
        let publisher = Publisher::new(1);
        let mut manifest = publisher.manifest(2);
        change(&mut manifest);
        let bytes = content(1, 100);
        let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
        let bundle = publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap();
        let device = publisher.device();
        let (manifest, _) = verify_head::<SoftSha256>(&device, SlotKind::Update, &bundle).unwrap();
        Self {
            publisher,
            manifest,
            statements: Vec::new(),
            seen: Vec::new(),
            policy: Policy::default(),
            body: Body::default(),
            running: Some("1.0.0"),
            clock: Clock::Trusted(NOON),
        }
    }

    fn state(&mut self, kind: StatementKind, change: impl FnOnce(&mut Statement)) {
        let digest = *self.manifest.digest();
        let bytes = self.publisher.statement(kind, digest, change).unwrap();
        let (envelope, _) = Envelope::parse(&bytes).unwrap();
        let keyset = self.publisher.keyset();
        let device = self.publisher.device();
        let verified = verify_statement::<SoftSha256>(&device, &keyset, &envelope).unwrap();
        self.statements.push(verified);
    }

    fn facts(&self) -> Facts<'_> {
        Facts::new(&self.manifest, &self.body, self.clock)
            .with_statements(&self.statements)
            .with_seen(&self.seen)
            .with_running_version(self.running)
    }

    fn judge(&self) -> Verdict {
        judge(&self.policy, &self.facts())
    }

    /// What one rule says.
    fn rule(&self, rule: PolicyRule) -> Verdict {
        findings(&self.policy, &self.facts()).into_iter().find(|(r, _)| *r == rule).unwrap().1
    }
}

#[test]
fn nothing_stands_in_the_way_of_an_ordinary_update() {
    let case = Case::new(|_| {});
    assert_eq!(case.judge(), Verdict::Proceed);
    assert!(findings(&case.policy, &case.facts()).iter().all(|(_, v)| *v == Verdict::Proceed));
}

#[test]
fn channel_statement_replaces_channel_and_rollout_and_nothing_else() {
    let mut case = Case::new(|m| {
        m.channel.risk = Risk::Beta;
        m.rollout = 0;
    });
    assert!(matches!(case.rule(PolicyRule::Channel), Verdict::Refused(Objection::Channel(_))));
    assert!(matches!(case.rule(PolicyRule::Rollout), Verdict::Deferred(Deferral::Rollout { .. })));
    case.state(StatementKind::Channel, |s| s.channel.risk = Risk::Candidate);
    assert!(matches!(case.rule(PolicyRule::Channel), Verdict::Refused(Objection::Channel(_))));
    case.state(StatementKind::Channel, |s| {
        s.channel.risk = Risk::Stable;
        s.number = 2;
    });
    assert_eq!(case.judge(), Verdict::Proceed);
}

/// Whatever the order of the files is: a mirror names them.
#[test]
fn the_highest_number_counts_and_at_equal_ones_the_stricter() {
    let offer = |case: &mut Case, number, rollout, risk: Risk| {
        case.state(StatementKind::Channel, |s| {
            (s.number, s.rollout, s.channel.risk) = (number, rollout, risk);
        });
    };
    // A halt, and the statement that it takes the place of.
    let mut case = Case::new(|_| {});
    offer(&mut case, 2, 0, Risk::Stable);
    offer(&mut case, 1, 100, Risk::Stable);
    let halted = Verdict::Deferred(Deferral::Rollout { percentage: 0 });
    for _ in 0..2 {
        assert_eq!(case.judge(), halted);
        case.statements.reverse();
    }
    // The same number twice: a key that was used twice, or by two people.
    for (one, other, verdict) in [
        ((0, Risk::Stable), (100, Risk::Stable), halted),
        ((100, Risk::Stable), (100, Risk::Stable), Verdict::Proceed),
    ] {
        let mut case = Case::new(|_| {});
        offer(&mut case, 7, one.0, one.1);
        offer(&mut case, 7, other.0, other.1);
        for _ in 0..2 {
            assert_eq!(case.judge(), verdict);
            case.statements.reverse();
        }
    }
    let mut case = Case::new(|_| {});
    offer(&mut case, 7, 100, Risk::Stable);
    offer(&mut case, 7, 100, Risk::Edge);
    for _ in 0..2 {
        assert!(matches!(case.judge(), Verdict::Refused(Objection::Channel(_))));
        case.statements.reverse();
    }
}

#[test]
fn an_expired_latest_statement_defers_and_revives_none_before_it() {
    for kind in [StatementKind::Channel, StatementKind::Approval] {
        let mut case = Case::new(|_| {});
        case.policy.approval_required = kind == StatementKind::Approval;
        case.state(kind, |s| (s.number, s.rollout) = (4, 100));
        assert_eq!(case.judge(), Verdict::Proceed);
        case.state(kind, |s| (s.number, s.not_after) = (5, NOON - 1));
        let expired = Deferral::StatementExpired { kind, number: 5, not_after: NOON - 1 };
        assert_eq!(case.judge(), Verdict::Deferred(expired));
        case.policy.force = true;
        assert_eq!(case.judge(), Verdict::Deferred(expired), "it is no matter of timing");
        // At the same number the one that expired is the stricter one.
        case.state(kind, |s| s.number = 5);
        assert_eq!(case.judge(), Verdict::Deferred(expired));
        case.state(kind, |s| s.number = 6);
        assert_eq!(case.judge(), Verdict::Proceed);
        // Whether it has expired takes a clock to tell; where there is none it is not asked.
        case.state(kind, |s| (s.number, s.not_after) = (7, NOON + 1));
        assert_eq!(case.judge(), Verdict::Proceed);
        case.clock = Clock::NotTrusted;
        assert_eq!(case.judge(), Verdict::Deferred(Deferral::ClockNotTrusted));
        case.clock = Clock::Absent;
        assert_eq!(case.judge(), Verdict::Proceed);
    }
}

#[test]
fn a_later_statement_that_was_seen_is_not_forgotten() {
    for kind in [StatementKind::Channel, StatementKind::Approval] {
        let mut case = Case::new(|_| {});
        case.policy.approval_required = kind == StatementKind::Approval;
        case.state(kind, |s| s.number = 4);
        let digest = *case.manifest.digest();
        case.seen.push(Seen::new(digest, kind, 4));
        case.seen.push(Seen::new([1; 32], kind, 9));
        case.seen.push(Seen::new(digest, StatementKind::SignOff, 9));
        assert_eq!(case.judge(), Verdict::Proceed);
        case.seen.insert(0, Seen::new(digest, kind, 5));
        let missing =
            |found| Verdict::Deferred(Deferral::StatementMissing { kind, seen: 5, found });
        assert_eq!(case.judge(), missing(4));
        case.statements.clear();
        assert_eq!(case.judge(), missing(0));
        case.state(kind, |s| s.number = 6);
        assert_eq!(case.judge(), Verdict::Proceed);
    }
}

/// What only edge release keys signed stays on edge, even if a channel key says otherwise.
#[test]
fn channel_statement_lifts_no_edge_release_out_of_edge() {
    let mut case = Case::new(|m| m.channel.risk = Risk::Edge);
    let mut payload = [0; 1024];
    let len = case.manifest.emit(&mut payload).unwrap();
    let device = case.publisher.device();
    let mut head = case.publisher.signed_keyset(&case.publisher.keyset()).unwrap();
    let signers: [(KeyRole, &dyn Signer); 1] = [(KeyRole::EdgeRelease, &case.publisher.edge)];
    let envelope = sign_envelope(PayloadType::Manifest, &device.product, &payload[..len], &signers);
    head.extend_from_slice(&envelope.unwrap());
    let (manifest, _) = verify_head::<SoftSha256>(&device, SlotKind::Update, &head).unwrap();
    case.manifest = manifest;
    case.state(StatementKind::Channel, |s| s.channel.risk = Risk::Stable);
    assert!(matches!(case.judge(), Verdict::Refused(Objection::Channel(_))));
    case.policy.follow = Follow::parse("edge").unwrap();
    assert_eq!(case.judge(), Verdict::Proceed);
}

#[test]
fn statement_about_another_update_is_skipped() {
    let mut case = Case::new(|m| m.channel.risk = Risk::Edge);
    case.state(StatementKind::Channel, |s| s.digest[0] ^= 1);
    assert!(matches!(case.judge(), Verdict::Refused(Objection::Channel(_))));
}

#[test]
fn who_follows_edge_takes_stable_and_not_the_reverse() {
    let mut case = Case::new(|_| {});
    case.policy.follow = Follow::parse("edge").unwrap();
    assert_eq!(case.judge(), Verdict::Proceed);
    let case = Case::new(|m| m.channel.risk = Risk::Edge);
    assert!(matches!(case.judge(), Verdict::Refused(Objection::Channel(_))));
}

#[test]
fn version_rules_bound_the_step() {
    for (rule, running, passes) in [
        ("any", "1.0.0", true),
        ("patch", "1.0.0", false),
        ("minor", "1.0.0", false),
        ("major", "1.0.0", true),
        ("2.0.x", "1.0.0", true),
        ("1.x", "1.0.0", false),
        ("patch", "2.0.0-rc.1", true),
        ("major", "3.0.0", false),
    ] {
        let mut case = Case::new(|_| {});
        case.policy.versions = VersionRule::parse(rule).unwrap();
        case.running = Some(running);
        assert_eq!(case.judge() == Verdict::Proceed, passes, "{rule} from {running}");
    }
    let mut case = Case::new(|_| {});
    let digest: String = case.manifest.digest().iter().map(|b| format!("{b:02x}")).collect();
    case.policy.versions = VersionRule::parse(&format!("sha256:{digest}")).unwrap();
    assert_eq!(case.judge(), Verdict::Proceed);
    case.policy.versions = VersionRule::parse(&format!("sha256:{}", "0".repeat(64))).unwrap();
    assert!(matches!(case.judge(), Verdict::Refused(Objection::Version(_))));
}

#[test]
fn min_from_asks_for_a_version_between() {
    for (min_from, running, passes) in [
        ("1.0.0", Some("1.0.0"), true),
        ("1.0.1", Some("1.0.0"), false),
        ("1.0.0", Some("1.0.0-rc.9"), false),
        ("1.0.0", Some("nonsense"), false),
        ("1.0.0", None, true),
        ("", Some("nonsense"), true),
    ] {
        let mut case = Case::new(|m| m.min_from = min_from.chars().collect());
        case.running = running;
        let verdict = case.rule(PolicyRule::MinFrom);
        assert_eq!(verdict == Verdict::Proceed, passes, "{min_from} from {running:?}: {verdict:?}");
    }
}

#[test]
fn expiry_with_a_right_clock_a_doubtful_one_and_none() {
    let mut case = Case::new(|m| m.not_after = NOON);
    for (clock, verdict) in [
        (Clock::Trusted(NOON), Verdict::Proceed),
        (
            Clock::Trusted(NOON + 1),
            Verdict::Refused(Objection::Expired { not_after: NOON, now: NOON + 1 }),
        ),
        (Clock::NotTrusted, Verdict::Deferred(Deferral::ClockNotTrusted)),
        (Clock::Absent, Verdict::Proceed),
    ] {
        case.clock = clock;
        assert_eq!(case.judge(), verdict, "{clock:?}");
    }
}

#[test]
fn back_off_grows_with_each_failure_and_ends_for_good_after_mark_bad() {
    const H: u64 = 3600;
    let waits = [0, 8 * H, 12 * H, 24 * H, 48 * H, 96 * H, 168 * H, 252 * H, 336 * H, 336 * H]
        .map(|w| 2 * w);
    let mut case = Case::new(|_| {});
    let digest = *case.manifest.digest();
    for (failures, wait) in waits.into_iter().enumerate() {
        case.body.remember(digest, Fault::Exhausted, NOON);
        case.clock = Clock::Trusted(NOON + wait);
        assert_eq!(case.judge(), Verdict::Proceed, "{failures}");
        if wait > 0 {
            case.clock = Clock::Trusted(NOON + wait - 1);
            let until = NOON + wait;
            let deferred = Verdict::Deferred(Deferral::BackOff { until });
            assert_eq!(case.judge(), deferred, "{failures}");
            assert_eq!(Deferral::BackOff { until }.retry_at(), Some(until));
        }
    }
    case.policy.force = true;
    assert_eq!(case.judge(), Verdict::Proceed);
    case.body.remember(digest, Fault::MarkedBad, NOON);
    assert_eq!(case.judge(), Verdict::Refused(Objection::FailedBefore(Fault::MarkedBad)));
    // A later exhaustion does not soften that.
    case.body.remember(digest, Fault::Exhausted, NOON);
    assert_eq!(case.judge(), Verdict::Refused(Objection::FailedBefore(Fault::MarkedBad)));
}

#[test]
fn hold_gives_way_to_security_updates_after_the_longest_postponement() {
    let security = |m: &mut Manifest| m.flags = flags::SECURITY;
    for (is_security, max, until, passes) in [
        (false, None, u64::MAX, false),
        (true, None, u64::MAX, false),
        (true, Some(1000), u64::MAX, true),
        (true, Some(1001), u64::MAX, false),
        (false, Some(1000), u64::MAX, false),
        (false, None, NOON, true),
        (false, None, NOON + 1, false),
    ] {
        let mut case = Case::new(|m| {
            if is_security {
                security(m);
            }
        });
        case.body.hold = Hold { until, since: NOON - 1000 };
        case.policy.postpone_max_s = max;
        assert_eq!(case.judge() == Verdict::Proceed, passes, "{is_security} {max:?} {until}");
        // Without a clock that is right the hold stands.
        case.clock = Clock::NotTrusted;
        assert!(matches!(case.judge(), Verdict::Deferred(Deferral::Hold { .. })));
    }
}

#[test]
fn windows_open_and_close_and_need_a_clock() {
    let mut case = Case::new(|_| {});
    case.policy.apply = Windows::parse("mon-fri,11:00-13:00").unwrap();
    assert_eq!(case.judge(), Verdict::Proceed);
    case.policy.apply = Windows::parse("sat,02:00-05:00").unwrap();
    let opens_at = NOON + 3 * 86_400 - 10 * 3600;
    assert_eq!(case.judge(), Verdict::Deferred(Deferral::Window { opens_at }));
    case.clock = Clock::Trusted(opens_at);
    assert_eq!(case.judge(), Verdict::Proceed);
    case.clock = Clock::NotTrusted;
    assert_eq!(case.judge(), Verdict::Deferred(Deferral::ClockNotTrusted));
    case.policy.force = true;
    assert_eq!(case.judge(), Verdict::Proceed);
}

#[test]
fn apply_and_reboot_windows_are_apart() {
    let mut case = Case::new(|_| {});
    case.policy.apply = Windows::parse("wed,11:00-13:00").unwrap();
    case.policy.reboot = Windows::parse("sat,02:00-05:00").unwrap();
    assert_eq!(case.judge(), Verdict::Proceed);
    let opens_at = NOON + 3 * 86_400 - 10 * 3600;
    let closed = Verdict::Deferred(Deferral::Window { opens_at });
    assert_eq!(may_reboot(&case.policy, case.clock), closed);
    assert_eq!(may_reboot(&case.policy, Clock::Trusted(opens_at)), Verdict::Proceed);
    let doubtful = Verdict::Deferred(Deferral::ClockNotTrusted);
    assert_eq!(may_reboot(&case.policy, Clock::Absent), doubtful);
}

#[test]
fn approval_is_waited_for() {
    let mut case = Case::new(|_| {});
    case.policy.approval_required = true;
    assert_eq!(case.judge(), Verdict::Deferred(Deferral::NotApproved));
    // An approval is no matter of timing.
    case.policy.force = true;
    assert_eq!(case.judge(), Verdict::Deferred(Deferral::NotApproved));
    case.state(StatementKind::Approval, |s| s.digest[31] ^= 1);
    assert_eq!(case.judge(), Verdict::Deferred(Deferral::NotApproved));
    case.state(StatementKind::Approval, |_| {});
    assert_eq!(case.judge(), Verdict::Proceed);
}

/// Without an identity all devices would draw the same place.
#[test]
fn a_device_without_an_identity_waits_for_what_is_for_a_part_of_all() {
    let mut case = Case::new(|_| {});
    assert_eq!(case.judge(), Verdict::Proceed);
    for (percentage, verdict) in [
        (100, Verdict::Proceed),
        (99, Verdict::Deferred(Deferral::NoIdentity)),
        (1, Verdict::Deferred(Deferral::NoIdentity)),
        (0, Verdict::Deferred(Deferral::Rollout { percentage: 0 })),
    ] {
        case.statements.clear();
        case.state(StatementKind::Channel, |s| s.rollout = percentage);
        assert_eq!(case.rule(PolicyRule::Rollout), verdict, "{percentage}");
    }
    case.policy.force = true;
    assert_eq!(case.judge(), Verdict::Proceed);
    let mut case = Case::new(|_| {});
    for (windows, verdict) in [
        ("11:00-13:00", Verdict::Proceed),
        ("11:00~13:00", Verdict::Deferred(Deferral::NoIdentity)),
        ("11:00-13:00/2", Verdict::Deferred(Deferral::NoIdentity)),
        ("02:00~03:00", Verdict::Deferred(Deferral::NoIdentity)),
        // One that is the same for all is open, whatever the other one is.
        ("11:00-13:00; 02:00~03:00", Verdict::Proceed),
        // Of a closed one the opening is known.
        ("13:00-14:00; 11:00~13:00", Verdict::Deferred(Deferral::Window { opens_at: NOON + 3600 })),
    ] {
        case.policy.apply = Windows::parse(windows).unwrap();
        assert_eq!(case.rule(PolicyRule::Window), verdict, "{windows}");
        case.policy.device_id = Some([7; 16]);
        assert_ne!(case.rule(PolicyRule::Window), Verdict::Deferred(Deferral::NoIdentity));
        case.policy.device_id = None;
    }
}

/// A clock that once jumped ahead decides nothing afterwards; deadlines are what was asked for.
#[test]
fn an_instant_of_the_past_that_lies_ahead_counts_as_now() {
    const YEARS: u64 = 40 * 365 * 86_400;
    let mut case = Case::new(|m| m.flags = flags::SECURITY);
    let digest = *case.manifest.digest();
    case.body.remember(digest, Fault::Exhausted, NOON + YEARS);
    case.body.remember(digest, Fault::Exhausted, NOON + YEARS);
    let until = NOON + 16 * 3600;
    assert_eq!(case.judge(), Verdict::Deferred(Deferral::BackOff { until }));
    // Once the time is noted the back-off runs, and ends.
    assert!(case.body.stamp_failures(NOON));
    assert!(!case.body.stamp_failures(NOON + 5));
    case.clock = Clock::Trusted(until);
    assert_eq!(case.judge(), Verdict::Proceed);

    let deadline = NOON + 2 * YEARS;
    for since in [0, NOON + YEARS] {
        let mut case = Case::new(|m| m.flags = flags::SECURITY);
        case.policy.postpone_max_s = Some(1000);
        case.body.hold = Hold { until: deadline, since };
        let held = Verdict::Deferred(Deferral::Hold { until: deadline });
        assert_eq!(case.judge(), held);
        assert!(case.body.stamp_failures(NOON));
        assert_eq!(case.body.hold, Hold { until: deadline, since: NOON });
        case.clock = Clock::Trusted(NOON + 999);
        assert_eq!(case.judge(), held);
        case.clock = Clock::Trusted(NOON + 1000);
        assert_eq!(case.judge(), Verdict::Proceed);
    }
    // No hold, nothing to note.
    let mut case = Case::new(|_| {});
    assert!(!case.body.stamp_failures(NOON));
}

#[test]
fn rollout_takes_in_ever_more_devices() {
    let mut case = Case::new(|_| {});
    let mut last = 0;
    for percentage in [0, 1, 10, 50, 100] {
        case.statements.clear();
        case.state(StatementKind::Channel, |s| s.rollout = percentage);
        let mut included = 0;
        for device in 0..200_u8 {
            case.policy.device_id = Some([device; 16]);
            included += usize::from(case.judge() == Verdict::Proceed);
        }
        assert!(included >= last);
        last = included;
        assert_eq!(included == 0, percentage == 0);
    }
    assert_eq!(last, 200);
}

#[test]
fn force_skips_timing_and_never_channel_version_or_expiry() {
    let mut case = Case::new(|m| {
        m.rollout = 0;
        m.flags = 0;
    });
    case.policy.force = true;
    case.body.hold = Hold { until: u64::MAX, since: 0 };
    case.policy.apply = Windows::parse("sat,02:00-05:00").unwrap();
    case.body.remember(*case.manifest.digest(), Fault::Exhausted, NOON);
    assert_eq!(case.judge(), Verdict::Proceed);
    for change in [
        &(|m: &mut Manifest| m.channel.risk = Risk::Edge) as &dyn Fn(&mut Manifest),
        &|m| m.not_after = 5,
        &|m| m.min_from = "1.5.0".chars().collect(),
    ] {
        let mut case = Case::new(change);
        case.policy.force = true;
        assert!(matches!(case.judge(), Verdict::Refused(_)));
    }
}

#[test]
fn a_refusal_speaks_before_a_deferral() {
    let mut case = Case::new(|m| m.not_after = 5);
    case.body.hold = Hold { until: u64::MAX, since: 0 };
    case.policy.approval_required = true;
    assert!(matches!(case.judge(), Verdict::Refused(Objection::Expired { .. })));
}
