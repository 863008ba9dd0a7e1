//! May this update be installed now? Pure: a manifest, the record, statements and the time in, a
//! verdict out.
//!
//! The mandatory checks of a verified manifest do not depend on the operator: trust, class, floor,
//! order, fit, data. They are in [`install`](stillboot::install), and no policy can relax them.
//! This crate has the checks that depend on time and on the operator's settings. [`judge`] gives
//! the verdict, [`findings`] the result of each rule.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `json` | the module `json`: the signed channel index, the JSON view of a manifest, releases that come as `latest.json` |
//! | `defmt` | `defmt::Format` on verdicts, reasons and errors |
//!
//! # Types of other crates
//!
//! The types of the core, [`stillboot`], are public here, and with them the `Vec` and `String` of
//! `heapless`. With the features `json` and `defmt` so are the traits of `serde` and `defmt`.
//! `serde-json-core` and `ed25519-compact` are used inside only.
//!
//! # Example
//!
//! ```
//! use stillboot_policy::channel::{self, Follow};
//! use stillboot_policy::window::Windows;
//! use stillboot_policy::{Clock, Deferral, Policy, Verdict, may_reboot};
//!
//! // A device that follows `beta` also takes what has more testing behind it, and not the reverse.
//! let follow = Follow::parse("5.0/beta")?;
//! assert!(follow.accepts(&channel::parse("5.0/stable")?).is_ok());
//! assert!(follow.accepts(&channel::parse("5.0/edge")?).is_err());
//!
//! // It may be restarted at night only. Unix time begins at midnight.
//! let policy = Policy::new().with_follow(follow).with_reboot(Windows::parse("02:00-05:00")?);
//! assert_eq!(may_reboot(&policy, Clock::Trusted(3 * 3600)), Verdict::Proceed);
//! let wait = Verdict::Deferred(Deferral::Window { opens_at: (24 + 2) * 3600 });
//! assert_eq!(may_reboot(&policy, Clock::Trusted(12 * 3600)), wait);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

pub mod channel;
#[cfg(feature = "json")]
pub mod json;
pub mod rollout;
pub mod version;
pub mod window;

use heapless::Vec;

use stillboot::format::manifest::flags;
use stillboot::format::record::Body;
use stillboot::format::{Channel, Digest, Fault, Manifest, Risk, Statement, StatementKind};
use stillboot::install::Permission;
use stillboot::verify::{Authority, SoftSha256, Verified};

use channel::{ChannelRefusal, Follow};
use version::{Label, Version};
use window::{WindowState, Windows};

/// What the operator of a device wants.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Policy {
    /// Which offers the device takes.
    pub follow: Follow,
    /// Which versions it takes.
    pub versions: version::VersionRule,
    /// When updates may be installed.
    pub apply: Windows,
    /// When the device may be restarted into one; the library does not restart anything itself.
    pub reboot: Windows,
    /// Seconds after which a hold no longer keeps security updates out; `None` for never.
    pub postpone_max_s: Option<u64>,
    /// Whether an approval statement is needed.
    pub approval_required: bool,
    /// The value that separates this device from others of its kind: it places the device in staged
    /// rollouts and windows. `None` if there is none. Then an update for a part of the devices
    /// waits, because all such devices would draw the same place.
    pub device_id: Option<[u8; 16]>,
    /// Do not wait: skips the rules of timing (window, hold, rollout, back-off), and no other rule.
    pub force: bool,
}

impl Policy {
    /// Takes what the channel `latest/stable` offers, at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same for another [channel](Self::follow).
    #[must_use]
    pub fn with_follow(mut self, follow: Follow) -> Self {
        self.follow = follow;
        self
    }

    /// The same with a rule of [versions](Self::versions).
    #[must_use]
    pub const fn with_versions(mut self, versions: version::VersionRule) -> Self {
        self.versions = versions;
        self
    }

    /// The same with windows in which updates may be [installed](Self::apply).
    #[must_use]
    pub fn with_apply(mut self, apply: Windows) -> Self {
        self.apply = apply;
        self
    }

    /// The same with windows in which the device may be [restarted](Self::reboot).
    #[must_use]
    pub fn with_reboot(mut self, reboot: Windows) -> Self {
        self.reboot = reboot;
        self
    }

    /// The same with a [limit of holds](Self::postpone_max_s) in seconds.
    #[must_use]
    pub const fn with_postpone_max_s(mut self, postpone_max_s: Option<u64>) -> Self {
        self.postpone_max_s = postpone_max_s;
        self
    }

    /// The same, stating whether an [approval](Self::approval_required) is needed.
    #[must_use]
    pub const fn with_approval_required(mut self, approval_required: bool) -> Self {
        self.approval_required = approval_required;
        self
    }

    /// The same for a device with this [id](Self::device_id).
    #[must_use]
    pub const fn with_device_id(mut self, device_id: Option<[u8; 16]>) -> Self {
        self.device_id = device_id;
        self
    }

    /// The same, stating whether the rules of timing are [skipped](Self::force).
    #[must_use]
    pub const fn with_force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }
}

/// What the time is.
///
/// No more variants come: each is a decision on what a rule of time does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Clock {
    /// There is no clock: rules that depend on time cannot be decided.
    #[default]
    Absent,
    /// There is a clock, but no trustworthy source has set it since power-on. It may become right.
    NotTrusted,
    /// Unix time in seconds.
    Trusted(u64),
}

impl Clock {
    /// The time, if it can be trusted.
    #[must_use]
    pub const fn now(self) -> Option<u64> {
        match self {
            Self::Trusted(now) => Some(now),
            Self::Absent | Self::NotTrusted => None,
        }
    }
}

/// What is known of an update and of the device it is for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Facts<'a> {
    /// The update.
    pub manifest: &'a Verified<Manifest>,
    /// Statements that came with it, in any order; those about other updates are skipped.
    pub statements: &'a [Verified<Statement>],
    /// The highest numbers of statements that this device has seen. An attacker who withholds a
    /// later statement does not bring an earlier one back. Empty where nothing was kept.
    pub seen: &'a [Seen],
    /// The version that runs, if one does.
    pub running_version: Option<&'a str>,
    /// The device's record.
    pub body: &'a Body,
    /// The time, the same for a whole update.
    pub clock: Clock,
}

impl<'a> Facts<'a> {
    /// An update without statements, for a device that has seen none and runs no known version.
    #[must_use]
    pub const fn new(manifest: &'a Verified<Manifest>, body: &'a Body, clock: Clock) -> Self {
        Self { manifest, statements: &[], seen: &[], running_version: None, body, clock }
    }

    /// The same with [statements](Self::statements).
    #[must_use]
    pub const fn with_statements(mut self, statements: &'a [Verified<Statement>]) -> Self {
        self.statements = statements;
        self
    }

    /// The same with the numbers of statements that were [seen](Self::seen).
    #[must_use]
    pub const fn with_seen(mut self, seen: &'a [Seen]) -> Self {
        self.seen = seen;
        self
    }

    /// The same with the [version that runs](Self::running_version).
    #[must_use]
    pub const fn with_running_version(mut self, running_version: Option<&'a str>) -> Self {
        self.running_version = running_version;
        self
    }
}

/// The highest number of statements of one kind about one update that a device has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Seen {
    /// SHA-256 of the manifest that they speak of.
    pub digest: Digest,
    /// What they say.
    pub kind: StatementKind,
    /// The highest number among them.
    pub number: u64,
}

impl Seen {
    /// The number of a statement that was seen.
    #[must_use]
    pub const fn new(digest: Digest, kind: StatementKind, number: u64) -> Self {
        Self { digest, kind, number }
    }
}

/// The verdict of the policy on an update.
///
/// No more variants come: a caller has to do the right thing with each verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Verdict {
    /// Install it.
    Proceed,
    /// Not now; asking again later makes sense.
    Deferred(Deferral),
    /// Not as it is.
    Refused(Objection),
}

impl From<Verdict> for Permission {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Proceed => Self::Proceed,
            Verdict::Deferred(_) => Self::Defer,
            Verdict::Refused(_) => Self::Reject,
        }
    }
}

/// Why an update has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Deferral {
    /// The operator holds updates back.
    Hold {
        /// Unix time in seconds when the hold ends; [`u64::MAX`] for never.
        until: u64,
    },
    /// It failed here before, and is tried again only later.
    BackOff {
        /// Unix time in seconds when it may be tried again.
        until: u64,
    },
    /// No maintenance window is open.
    Window {
        /// Unix time in seconds when the next one opens.
        opens_at: u64,
    },
    /// The rollout has not come to this device yet.
    Rollout {
        /// Percentage of devices that may take it.
        percentage: u8,
    },
    /// There is no approval of it.
    NotApproved,
    /// A rule depends on the time, and the clock is not to be trusted or absent.
    ClockNotTrusted,
    /// It is for a part of the devices, and no id separates this device from others.
    NoIdentity,
    /// The latest statement about it has expired. The earlier ones do not count again.
    StatementExpired {
        /// What it says.
        kind: StatementKind,
        /// Its number.
        number: u64,
        /// Its limit, unix time in seconds.
        not_after: u64,
    },
    /// The device has seen a later statement about it than those that came along.
    StatementMissing {
        /// What it says.
        kind: StatementKind,
        /// The number of the one that was seen.
        seen: u64,
        /// The highest number that came along; 0 for none.
        found: u64,
    },
}

impl Deferral {
    /// When asking again makes sense: unix time in seconds, `None` where only an event can change
    /// the answer.
    #[must_use]
    pub const fn retry_at(self) -> Option<u64> {
        match self {
            Self::Hold { until: u64::MAX }
            | Self::Rollout { .. }
            | Self::NotApproved
            | Self::ClockNotTrusted
            | Self::NoIdentity
            | Self::StatementExpired { .. }
            | Self::StatementMissing { .. } => None,
            Self::Hold { until } | Self::BackOff { until } => Some(until),
            Self::Window { opens_at } => Some(opens_at),
        }
    }
}

/// Why an update will not be accepted as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Objection {
    /// It failed here before, in a way that another try will not fix.
    FailedBefore(Fault),
    /// It may not be installed any more.
    Expired {
        /// The manifest's limit, unix time in seconds.
        not_after: u64,
        /// The present, unix time in seconds.
        now: u64,
    },
    /// It is not on the channel that the device follows.
    Channel(ChannelRefusal),
    /// The version rule does not take it.
    Version(version::RuleRefusal),
    /// It wants a least version, and one of the two is no semantic version.
    NotComparable {
        /// The oldest version that may be.
        min_from: Label,
        /// What runs.
        running: Label,
    },
    /// What runs is too old to be updated to it directly.
    TooOld {
        /// The oldest version that may be.
        min_from: Label,
        /// What runs, or `unknown`.
        running: Label,
    },
}

impl core::fmt::Display for Deferral {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Hold { until: u64::MAX } => {
                f.write_str("updates are on hold until further notice")
            }
            Self::Hold { until } => write!(f, "updates are on hold until unix time {until}"),
            Self::BackOff { until } => write!(
                f,
                "this update failed here before; it may be tried again at unix time {until}"
            ),
            Self::Window { opens_at } => {
                write!(f, "no maintenance window is open; the next opens at unix time {opens_at}")
            }
            Self::Rollout { percentage } => {
                write!(f, "it is rolled out to {percentage} % of devices, and this is not one yet")
            }
            Self::NotApproved => {
                f.write_str("it needs an approval statement, and none that is valid came with it")
            }
            Self::ClockNotTrusted => {
                f.write_str("a rule depends on the time, and the clock cannot be trusted")
            }
            Self::NoIdentity => f.write_str(
                "it is for a part of the devices, and this one has no identity that tells it from \
                 the others",
            ),
            Self::StatementExpired { kind, number, not_after } => write!(
                f,
                "the latest {kind} statement about it, number {number}, expired at unix time \
                 {not_after}; a later one is needed"
            ),
            Self::StatementMissing { kind, seen, found: 0 } => write!(
                f,
                "this device has seen {kind} statement number {seen} about it, and none came along"
            ),
            Self::StatementMissing { kind, seen, found } => write!(
                f,
                "this device has seen {kind} statement number {seen} about it, and the latest that \
                 came along is number {found}"
            ),
        }
    }
}

impl core::error::Error for Deferral {}

impl core::fmt::Display for Objection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::FailedBefore(fault) => write!(f, "this update failed here before: {fault}"),
            Self::Expired { not_after, now } => write!(
                f,
                "it expired: it may be installed until unix time {not_after}, now is {now}"
            ),
            Self::Channel(refusal) => refusal.fmt(f),
            Self::Version(refusal) => refusal.fmt(f),
            Self::NotComparable { min_from, running } => write!(
                f,
                "it can be installed from version {min_from} on, and {running}, which runs, cannot \
                 be compared with that: both have to be semantic versions"
            ),
            Self::TooOld { min_from, running } => write!(
                f,
                "it can be installed from version {min_from} on, and {running} runs; install a \
                 version between them first"
            ),
        }
    }
}

impl core::error::Error for Objection {}

/// The rules, in the order in which they speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PolicyRule {
    /// Track, risk and branch.
    Channel,
    /// How far from what runs.
    Version,
    /// The oldest version that may be updated directly.
    MinFrom,
    /// What failed here before.
    FailedBefore,
    /// The manifest's last day.
    Expiry,
    /// An approval.
    Approval,
    /// The operator's hold.
    Hold,
    /// The share of devices.
    Rollout,
    /// Maintenance windows.
    Window,
}

impl PolicyRule {
    /// All rules.
    pub const ALL: &'static [Self] = &[
        Self::Channel,
        Self::Version,
        Self::MinFrom,
        Self::FailedBefore,
        Self::Expiry,
        Self::Approval,
        Self::Hold,
        Self::Rollout,
        Self::Window,
    ];

    /// The rule's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Version => "version",
            Self::MinFrom => "min-from",
            Self::FailedBefore => "failed before",
            Self::Expiry => "expiry",
            Self::Approval => "approval",
            Self::Hold => "hold",
            Self::Rollout => "rollout",
            Self::Window => "window",
        }
    }
}

/// Most results that [`findings`] gives: there is room for rules to come.
pub const RULES_MAX: usize = 16;
const _: () = assert!(PolicyRule::ALL.len() <= RULES_MAX);

/// Seconds to wait after the first, second, ... failure of the same update. The first failure may
/// have been caused by the power, so the update is tried again at once. A failure after a reboot,
/// which is what exhausted tries are, counts double from the second on.
const BACK_OFF_S: [u64; 9] = {
    const H: u64 = 3600;
    [0, 8 * H, 12 * H, 24 * H, 48 * H, 96 * H, 168 * H, 252 * H, 336 * H]
};

/// The result of every rule for an update, in the order of [`PolicyRule::ALL`].
#[must_use]
pub fn findings(policy: &Policy, facts: &Facts<'_>) -> Vec<(PolicyRule, Verdict), RULES_MAX> {
    PolicyRule::ALL.iter().map(|rule| (*rule, apply(*rule, policy, facts))).collect()
}

/// Judges an update: the first refusal there is, else the first deferral, else [`Verdict::Proceed`].
#[must_use]
pub fn judge(policy: &Policy, facts: &Facts<'_>) -> Verdict {
    let mut verdict = Verdict::Proceed;
    for rule in PolicyRule::ALL {
        match apply(*rule, policy, facts) {
            refused @ Verdict::Refused(_) => return refused,
            deferred @ Verdict::Deferred(_) if verdict == Verdict::Proceed => verdict = deferred,
            Verdict::Deferred(_) | Verdict::Proceed => {}
        }
    }
    verdict
}

/// May the device be restarted into an installed update now? Only the reboot windows and `force`
/// decide this. A program that restarts devices asks before it does so.
#[must_use]
pub fn may_reboot(policy: &Policy, clock: Clock) -> Verdict {
    within(policy, &policy.reboot, clock)
}

/// The result of a list of windows.
fn within(policy: &Policy, windows: &Windows, clock: Clock) -> Verdict {
    if policy.force || windows.is_empty() {
        return Verdict::Proceed;
    }
    let Some(now) = clock.now() else { return Verdict::Deferred(Deferral::ClockNotTrusted) };
    let state = match &policy.device_id {
        Some(device) => windows.state(now, device),
        // Those that are the same for all devices open for this one too.
        None => match windows.undrawn() {
            plain if plain.is_empty() => return Verdict::Deferred(Deferral::NoIdentity),
            plain => plain.state(now, &[0; 16]),
        },
    };
    match state {
        WindowState::Open { .. } => Verdict::Proceed,
        WindowState::Closed { opens_at } => Verdict::Deferred(Deferral::Window { opens_at }),
    }
}

/// Judges only by earlier failures of the update: all that a device without an operator needs.
#[must_use]
pub fn judge_failures(
    manifest: &Verified<Manifest>,
    body: &Body,
    now: Option<u64>,
    force: bool,
) -> Verdict {
    let Some(failed) = body.failed_before(manifest.digest()) else { return Verdict::Proceed };
    if failed.fault != Fault::Exhausted {
        return Verdict::Refused(Objection::FailedBefore(failed.fault));
    }
    let step = usize::from(failed.count.max(1) - 1).min(BACK_OFF_S.len() - 1);
    // Exhausted means that it failed after reboots, every time.
    let wait = 2 * BACK_OFF_S[step];
    let failed_at = past(failed.at, now);
    let until = failed_at.saturating_add(wait);
    if !force && now.is_some_and(|now| now < until) {
        return Verdict::Deferred(Deferral::BackOff { until });
    }
    Verdict::Proceed
}

/// An instant in the past that the record has. A loader has no clock, and a clock may have been
/// wrong. Until the time is noted, a failure with no time or with a later time than now counts as
/// of now. Otherwise a clock that once jumped ahead would decide until that time.
fn past(at: u64, now: Option<u64>) -> u64 {
    match now {
        Some(now) if at == 0 || at > now => now,
        _ => at,
    }
}

/// The result of one rule.
fn apply(rule: PolicyRule, policy: &Policy, facts: &Facts<'_>) -> Verdict {
    use Verdict::{Deferred, Proceed, Refused};
    let manifest = facts.manifest;
    let now = facts.clock.now();
    match rule {
        PolicyRule::Channel => {
            let mut refusal = Ok(());
            let known = offers(facts, |channel, _| {
                refusal = refusal.and_then(|()| policy.follow.accepts(channel));
            });
            match (known, refusal) {
                (Err(deferral), _) => Deferred(deferral),
                (Ok(()), Err(refusal)) => Refused(Objection::Channel(refusal)),
                (Ok(()), Ok(())) => Proceed,
            }
        }
        PolicyRule::Version => {
            let running = facts.running_version.and_then(|text| Version::parse(text).ok());
            let offered = Version::parse(&manifest.version).ok();
            match policy.versions.allows(running, offered, manifest.digest()) {
                Ok(()) => Proceed,
                // A new device runs nothing that an update could be too far from.
                Err(version::RuleRefusal::RunningUnknown(_)) if facts.running_version.is_none() => {
                    Proceed
                }
                Err(refusal) => Refused(Objection::Version(refusal)),
            }
        }
        PolicyRule::MinFrom => min_from(manifest, facts.running_version),
        PolicyRule::FailedBefore => judge_failures(manifest, facts.body, now, policy.force),
        PolicyRule::Expiry => match (manifest.not_after, facts.clock) {
            (0, _) | (_, Clock::Absent) => Proceed,
            (_, Clock::NotTrusted) => Deferred(Deferral::ClockNotTrusted),
            (not_after, Clock::Trusted(now)) if now > not_after => {
                Refused(Objection::Expired { not_after, now })
            }
            (_, Clock::Trusted(_)) => Proceed,
        },
        PolicyRule::Approval => {
            if !policy.approval_required {
                return Proceed;
            }
            match latest(facts, StatementKind::Approval) {
                Err(deferral) => Deferred(deferral),
                Ok(mut approvals) => match approvals.next() {
                    Some(_) => Proceed,
                    None => Deferred(Deferral::NotApproved),
                },
            }
        }
        PolicyRule::Hold => hold(policy, facts),
        PolicyRule::Rollout => {
            let mut percentage = 100;
            // If the offers are not known, the rule of channels gives the reason.
            let known = offers(facts, |_, rollout| percentage = percentage.min(rollout));
            if known.is_err() || policy.force || percentage == 100 {
                return Proceed;
            }
            match (percentage, &policy.device_id) {
                (1.., None) => Deferred(Deferral::NoIdentity),
                (1.., Some(device))
                    if rollout::included::<SoftSha256>(percentage, device, manifest.digest()) =>
                {
                    Proceed
                }
                _ => Deferred(Deferral::Rollout { percentage }),
            }
        }
        PolicyRule::Window => within(policy, &policy.apply, facts.clock),
    }
}

/// The statements of `kind` about this update that count: those of the highest number, all of them.
fn latest<'a>(
    facts: &Facts<'a>,
    kind: StatementKind,
) -> Result<impl Iterator<Item = &'a Verified<Statement>> + use<'a>, Deferral> {
    let digest = *facts.manifest.digest();
    let about = move |statement: &&Verified<Statement>| {
        statement.kind == kind && statement.digest == digest
    };
    let found = facts.statements.iter().filter(about).map(|s| s.number).max().unwrap_or(0);
    let seen = facts.seen.iter().filter(|seen| seen.kind == kind && seen.digest == digest);
    if let Some(seen) = seen.map(|seen| seen.number).max().filter(|seen| *seen > found) {
        return Err(Deferral::StatementMissing { kind, seen, found });
    }
    let highest = move |statement: &&Verified<Statement>| statement.number == found;
    for statement in facts.statements.iter().filter(about).filter(highest) {
        let not_after = statement.not_after;
        if not_after == 0 {
            continue;
        }
        match facts.clock {
            Clock::NotTrusted => return Err(Deferral::ClockNotTrusted),
            Clock::Trusted(now) if now > not_after => {
                return Err(Deferral::StatementExpired { kind, number: found, not_after });
            }
            Clock::Absent | Clock::Trusted(_) => {}
        }
    }
    Ok(facts.statements.iter().filter(about).filter(highest))
}

/// Where the update is offered and to how many: by the latest channel statement, else by the
/// manifest. Of several with the same number each is given, and each must be met.
fn offers(facts: &Facts<'_>, mut each: impl FnMut(&Channel, u8)) -> Result<(), Deferral> {
    let mut said = false;
    for statement in latest(facts, StatementKind::Channel)? {
        said = true;
        let mut channel = statement.channel.clone();
        // An update that only edge release keys signed stays on edge, whatever a channel key says
        // of it.
        if facts.manifest.authority() == Authority::EdgeRelease {
            channel.risk = Risk::Edge;
        }
        each(&channel, statement.rollout);
    }
    if !said {
        each(&facts.manifest.channel, facts.manifest.rollout);
    }
    Ok(())
}

fn min_from(manifest: &Verified<Manifest>, running: Option<&str>) -> Verdict {
    let Some(running_text) = running else { return Verdict::Proceed };
    if manifest.min_from.is_empty() {
        return Verdict::Proceed;
    }
    let (min_from, running) = (Label::of(&manifest.min_from), Label::of(&running_text));
    match (Version::parse(running_text), Version::parse(&manifest.min_from)) {
        (Ok(own), Ok(least)) if own.cmp_precedence(&least).is_ge() => Verdict::Proceed,
        (Ok(_), Ok(_)) => Verdict::Refused(Objection::TooOld { min_from, running }),
        // A version that cannot be compared is not shown to be new enough.
        _ => Verdict::Refused(Objection::NotComparable { min_from, running }),
    }
}

fn hold(policy: &Policy, facts: &Facts<'_>) -> Verdict {
    let hold = facts.body.hold;
    let now = facts.clock.now();
    if policy.force || hold.until == 0 || now.is_some_and(|now| now >= hold.until) {
        return Verdict::Proceed;
    }
    let waited = now.map_or(0, |now| now - past(hold.since, Some(now)));
    let security = facts.manifest.flags & flags::SECURITY != 0;
    if security && policy.postpone_max_s.is_some_and(|max| waited >= max) {
        return Verdict::Proceed;
    }
    Verdict::Deferred(Deferral::Hold { until: hold.until })
}
