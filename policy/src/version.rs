//! Semantic versions, and the rule that says which of them a device takes.
//!
//! Versions are labels: updates are ordered by their sequences, and trust never depends on a
//! version. A rule is an additional wish of the operator, such as "only patches" or "stay on 5.0".
//!
//! ```
//! use stillboot_policy::version::{Rule, Version};
//!
//! let rule = Rule::parse("5.0.x")?;
//! let digest = [0; 32];
//! let offered = Version::parse("5.0.7").ok();
//! assert!(rule.allows(None, offered, &digest).is_ok());
//! let offered = Version::parse("5.1.0-rc.1").ok();
//! assert!(rule.allows(None, offered, &digest).is_err());
//! # Ok::<(), stillboot_policy::version::RuleError>(())
//! ```

use core::cmp::Ordering;
use core::fmt::{self, Display, Formatter, Write as _};

use stillboot::format::Digest;
use stillboot::format::manifest::is_label;

/// A semantic version, as [Semantic Versioning 2.0.0](https://semver.org) defines it:
/// `major.minor.patch`, then perhaps `-` and pre-release identifiers, then perhaps `+` and build
/// identifiers. It borrows the text it was read from.
///
/// Two versions are equal when their texts are equal; [`cmp_precedence`] says which one is newer.
/// There is no `Ord`, because build metadata is part of equality and not of precedence.
///
/// [`cmp_precedence`]: Self::cmp_precedence
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Version<'a> {
    numbers: [u64; 3],
    /// Without the `-`; empty for a release.
    pre: &'a str,
    /// Without the `+`; empty if there is none.
    build: &'a str,
}

/// Why a text is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct VersionError {
    /// Bytes before the fault.
    pub at: usize,
    /// What is wrong there.
    pub fault: VersionFault,
}

/// What is wrong in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum VersionFault {
    /// There are not exactly three numbers with dots between them.
    NumberCount,
    /// A number is due.
    NotANumber,
    /// A number above zero starts with `0`, or zero is written with two digits.
    LeadingZero,
    /// A number is above [`u64::MAX`].
    TooLarge,
    /// An identifier after `-` or `+` is empty.
    EmptyIdentifier,
    /// Identifiers consist of ASCII letters, digits and hyphens.
    Character,
}

impl<'a> Version<'a> {
    /// Reads a version. Numbers are up to [`u64::MAX`]; numeric identifiers of any length.
    ///
    /// # Errors
    /// [`VersionError`] for the first rule of the standard that the text breaks.
    pub fn parse(text: &'a str) -> Result<Self, VersionError> {
        // The build may hold hyphens, so it is cut off first.
        let (head, build) = text.split_once('+').map_or((text, None), |(h, b)| (h, Some(b)));
        let (core, pre) = head.split_once('-').map_or((head, None), |(c, p)| (c, Some(p)));
        let numbers = three_numbers(core, 0, Zeros::Refused)?;
        if let Some(pre) = pre {
            check_identifiers(pre, core.len() + 1, Zeros::Refused)?;
        }
        if let Some(build) = build {
            check_identifiers(build, head.len() + 1, Zeros::Accepted)?;
        }
        Ok(Self { numbers, pre: pre.unwrap_or(""), build: build.unwrap_or("") })
    }

    /// The major version.
    #[must_use]
    pub const fn major(&self) -> u64 {
        self.numbers[0]
    }

    /// The minor version.
    #[must_use]
    pub const fn minor(&self) -> u64 {
        self.numbers[1]
    }

    /// The patch version.
    #[must_use]
    pub const fn patch(&self) -> u64 {
        self.numbers[2]
    }

    /// The pre-release identifiers without the hyphen; empty for a release.
    #[must_use]
    pub const fn pre(&self) -> &'a str {
        self.pre
    }

    /// The build metadata without the plus sign; empty if there is none.
    #[must_use]
    pub const fn build(&self) -> &'a str {
        self.build
    }

    /// Which one is newer, as section 11 of the standard has it: a pre-release comes before its
    /// release, numeric identifiers before others, and the build does not count.
    #[must_use]
    pub fn cmp_precedence(&self, other: &Version<'_>) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => {
                    // Lexical: when all before it is equal, the longer list is the newer one.
                    let (mine, theirs) = (self.pre.split('.'), other.pre.split('.'));
                    mine.map(Identifier).cmp(theirs.map(Identifier))
                }
            }
        })
    }
}

/// One pre-release identifier, in its order.
#[derive(PartialEq, Eq)]
struct Identifier<'a>(&'a str);

impl Identifier<'_> {
    fn is_numeric(&self) -> bool {
        self.0.bytes().all(|byte| byte.is_ascii_digit())
    }
}

impl Ord for Identifier<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_numeric(), other.is_numeric()) {
            // Without leading zeros, the longer number is the larger one, however long.
            (true, true) => self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(other.0)),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self.0.cmp(other.0),
        }
    }
}

impl PartialOrd for Identifier<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether a number may start with zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    Accepted,
    Refused,
}

/// Three numbers with dots between them. `at` is where `text` starts, for errors.
fn three_numbers(text: &str, at: usize, zeros: Zeros) -> Result<[u64; 3], VersionError> {
    let mut numbers = [0; 3];
    let mut parts = text.split('.');
    let mut start = at;
    for (place, value) in numbers.iter_mut().enumerate() {
        let Some(part) = parts.next() else {
            return Err(VersionError { at: at + text.len(), fault: VersionFault::NumberCount });
        };
        // The dot before all but the first.
        start += usize::from(place > 0);
        *value = number(part, start, zeros)?;
        start += part.len();
    }
    match parts.next() {
        None => Ok(numbers),
        Some(_) => Err(VersionError { at: start, fault: VersionFault::NumberCount }),
    }
}

fn number(text: &str, at: usize, zeros: Zeros) -> Result<u64, VersionError> {
    if text.is_empty() {
        return Err(VersionError { at, fault: VersionFault::NotANumber });
    }
    if let Some(bad) = text.bytes().position(|byte| !byte.is_ascii_digit()) {
        return Err(VersionError { at: at + bad, fault: VersionFault::NotANumber });
    }
    if zeros == Zeros::Refused && text.len() > 1 && text.starts_with('0') {
        return Err(VersionError { at, fault: VersionFault::LeadingZero });
    }
    text.parse().map_err(|_| VersionError { at, fault: VersionFault::TooLarge })
}

/// Checks identifiers with dots between them. `numeric` says whether numeric ones may have leading
/// zeros: in the build, where nothing compares them, they may.
fn check_identifiers(text: &str, at: usize, numeric: Zeros) -> Result<(), VersionError> {
    let mut at = at;
    for identifier in text.split('.') {
        if identifier.is_empty() {
            return Err(VersionError { at, fault: VersionFault::EmptyIdentifier });
        }
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if let Some(bad) = identifier.bytes().position(|byte| !good(byte)) {
            return Err(VersionError { at: at + bad, fault: VersionFault::Character });
        }
        if numeric == Zeros::Refused
            && identifier.len() > 1
            && identifier.starts_with('0')
            && Identifier(identifier).is_numeric()
        {
            return Err(VersionError { at, fault: VersionFault::LeadingZero });
        }
        at += identifier.len() + 1;
    }
    Ok(())
}

/// The three numbers of a version as KubeSolo's `latest.json` compares them: an optional leading
/// `v`, three numbers, and whatever follows a `-` or `+` does not count, so that `v1.0.0-rc1` is as
/// new as `1.0.0`. Leading zeros are let through. Used for that format only.
///
/// # Errors
/// [`VersionError`] when there are not exactly three numbers, when one is above [`u64::MAX`], or
/// when what follows is empty or holds characters that no label has.
pub fn compatible_numbers(text: &str) -> Result<[u64; 3], VersionError> {
    let (text, at) = text.strip_prefix('v').map_or((text, 0), |rest| (rest, 1));
    let core = text.split(['-', '+']).next().unwrap_or("");
    let numbers = three_numbers(core, at, Zeros::Accepted)?;
    // It does not count, but it is shown to people: no control characters.
    if let Some(suffix) = text.get(core.len() + 1..) {
        let fault = match suffix {
            "" => Some(VersionFault::EmptyIdentifier),
            _ if !is_label(suffix) => Some(VersionFault::Character),
            _ => None,
        };
        if let Some(fault) = fault {
            return Err(VersionError { at: at + core.len() + 1, fault });
        }
    }
    Ok(numbers)
}

/// Compares two versions by [`compatible_numbers`].
///
/// # Errors
/// That of `a`, else that of `b`.
pub fn compare_compatible(a: &str, b: &str) -> Result<Ordering, VersionError> {
    Ok(compatible_numbers(a)?.cmp(&compatible_numbers(b)?))
}

/// Which versions a device takes.
///
/// | text | takes |
/// |---|---|
/// | `any` | whatever is offered |
/// | `patch` | the running version's major and minor, and nothing older |
/// | `minor` | the running version's major, and nothing older |
/// | `major` | nothing older |
/// | `5.x`, `5.0.x` | all releases of 5, or of 5.0 |
/// | `>=1.2.0,<2.0.0` | what is within all of the bounds `>=`, `>`, `<=`, `<` |
/// | `=1.2.3` | that version, whatever its build |
/// | `^1.2.3` | from 1.2.3 on up to the next change of the leftmost number above zero |
/// | `~1.2.3` | from 1.2.3 on up to the next minor version |
/// | `sha256:` and 64 hexadecimal digits | the manifest of that SHA-256, whatever its version |
///
/// The first four bound how far one update may go from what runs, the others where it may end; terms
/// of ranges may be combined by commas.
///
/// **Pre-releases.** Ranges compare by precedence: `1.3.0-rc.1` lies within `>=1.2.0,<2.0.0`, and
/// `1.2.0-rc.1` does not. The channel's risk separates testers from others, not the range. There is
/// one exception to precedence: an upper bound that is itself excluded and is no pre-release also
/// keeps its own pre-releases out. An operator who writes `<2.0.0`, `1.x` or `^1.2.3` wants nothing
/// of 2.0.0, and `2.0.0-rc.1` comes before `2.0.0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Rule {
    /// Whatever is offered.
    #[default]
    Any,
    /// Same major and minor version as what runs, and not older.
    Patch,
    /// Same major version as what runs, and not older.
    Minor,
    /// Not older than what runs.
    Major,
    /// Within a range, wherever the device stands.
    Range(Range),
    /// The one manifest of this SHA-256. The digest decides; a version beside it is for people.
    Pinned(Digest),
}

/// The rules that measure an update by the running version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Step {
    /// [`Rule::Patch`].
    Patch,
    /// [`Rule::Minor`].
    Minor,
    /// [`Rule::Major`].
    Major,
}

/// An unbroken range of versions, bounded on at least one side and never empty of all versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Range {
    low: Option<Bound>,
    high: Option<Bound>,
}

/// One end of a [`Range`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Bound {
    end: End,
    numbers: [u64; 3],
    pre: Label<PRE_LEN_MAX>,
    inclusive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum End {
    Low,
    High,
}

/// Longest pre-release part that a bound holds, in bytes. No manifest has a longer version text.
pub const PRE_LEN_MAX: usize = 32;

/// The pre-release that comes before all others: what an excluded upper bound excludes with it.
const FIRST_PRE: &str = "0";

/// Why a text is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RuleError {
    /// Bytes before the fault.
    pub at: usize,
    /// What is wrong there.
    pub fault: RuleFault,
}

/// What is wrong in a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RuleFault {
    /// No rule starts like this.
    Unknown,
    /// A version without a sign before it: `=1.2.3` and `^1.2.3` are different wishes.
    NoSign,
    /// The version in it is none.
    Version(VersionFault),
    /// A bound has build metadata, which does not count in comparisons: pin the digest instead.
    Build,
    /// A pre-release is longer than [`PRE_LEN_MAX`].
    PreTooLong,
    /// No number comes after [`u64::MAX`], so this range has no end.
    TooLarge,
    /// No version is within all of the bounds.
    Nothing,
    /// A SHA-256 is 64 hexadecimal digits.
    Digest,
}

/// Why a rule does not take an update. Versions longer than the label are shown cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RuleRefusal {
    /// The rule measures by the running version, which is not known or no semantic version.
    RunningUnknown(Step),
    /// The rule compares versions, and the offered one is no semantic version.
    OfferedUnknown,
    /// What is offered is older than what runs.
    Older {
        /// The rule.
        rule: Step,
        /// The version that runs.
        running: Label,
        /// The version that is offered.
        offered: Label,
    },
    /// What is offered differs from what runs in a number that the rule keeps.
    TooFar {
        /// The rule.
        rule: Step,
        /// The version that runs.
        running: Label,
        /// The version that is offered.
        offered: Label,
    },
    /// What is offered is outside this end of the range.
    OutOfRange {
        /// The end of the range that it breaks.
        bound: Bound,
        /// The version that is offered.
        offered: Label,
    },
    /// Another manifest than the pinned one is offered.
    NotPinned {
        /// The one digest that is taken.
        pinned: Digest,
        /// The offered manifest's digest.
        offered: Digest,
    },
}

impl Rule {
    /// Reads a rule, as in the table above. Spaces around commas are skipped.
    ///
    /// # Errors
    /// [`RuleError`] with the place and what is wrong there. A range that no version can satisfy is
    /// refused too, because a device would wait for ever.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        match text {
            "any" => return Ok(Self::Any),
            "patch" => return Ok(Self::Patch),
            "minor" => return Ok(Self::Minor),
            "major" => return Ok(Self::Major),
            _ => {}
        }
        if let Some(hex) = text.strip_prefix(PIN) {
            let digest = digest_from_hex(hex);
            return digest
                .map(Self::Pinned)
                .ok_or(RuleError { at: PIN.len(), fault: RuleFault::Digest });
        }
        Range::parse(text).map(Self::Range)
    }

    /// Whether a device on which `running` runs takes the manifest of SHA-256 `digest` with the
    /// version `offered`. `None` stands for a version that is not known or not semantic: rules that
    /// compare it refuse, [`Any`](Self::Any) and [`Pinned`](Self::Pinned) need none.
    ///
    /// # Errors
    /// [`RuleRefusal`], saying which part of the rule is broken by which values.
    pub fn allows(
        &self,
        running: Option<Version<'_>>,
        offered: Option<Version<'_>>,
        digest: &Digest,
    ) -> Result<(), RuleRefusal> {
        let step = match self {
            Self::Any => return Ok(()),
            Self::Pinned(pinned) if pinned == digest => return Ok(()),
            Self::Pinned(pinned) => {
                return Err(RuleRefusal::NotPinned { pinned: *pinned, offered: *digest });
            }
            Self::Range(range) => {
                let offered = offered.ok_or(RuleRefusal::OfferedUnknown)?;
                return range.broken_by(&offered).map_or(Ok(()), |bound| {
                    Err(RuleRefusal::OutOfRange { bound, offered: Label::of(&offered) })
                });
            }
            Self::Patch => Step::Patch,
            Self::Minor => Step::Minor,
            Self::Major => Step::Major,
        };
        let running = running.ok_or(RuleRefusal::RunningUnknown(step))?;
        let offered = offered.ok_or(RuleRefusal::OfferedUnknown)?;
        let labels = || (Label::of(&running), Label::of(&offered));
        if offered.cmp_precedence(&running) == Ordering::Less {
            let (running, offered) = labels();
            return Err(RuleRefusal::Older { rule: step, running, offered });
        }
        let near = match step {
            Step::Patch => offered.major() == running.major() && offered.minor() == running.minor(),
            Step::Minor => offered.major() == running.major(),
            Step::Major => true,
        };
        if !near {
            let (running, offered) = labels();
            return Err(RuleRefusal::TooFar { rule: step, running, offered });
        }
        Ok(())
    }
}

const PIN: &str = "sha256:";

fn digest_from_hex(hex: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != digest.len() || !rest.is_empty() {
        return None;
    }
    let nibble = |byte: u8| char::from(byte).to_digit(16);
    for (into, [high, low]) in digest.iter_mut().zip(pairs) {
        // Both are below 16.
        *into = (nibble(*high)? << 4 | nibble(*low)?) as u8;
    }
    Some(digest)
}

impl Range {
    fn parse(text: &str) -> Result<Self, RuleError> {
        let mut whole = Self { low: None, high: None };
        let mut at = 0;
        for term in text.split(',') {
            let trimmed = term.trim_start_matches(' ');
            let start = at + (term.len() - trimmed.len());
            whole = whole.intersection(&Self::parse_term(trimmed.trim_end_matches(' '), start)?);
            at += term.len() + 1;
        }
        if whole.is_empty() {
            return Err(RuleError { at: 0, fault: RuleFault::Nothing });
        }
        Ok(whole)
    }

    /// One term without spaces around it; `at` is where it starts.
    fn parse_term(text: &str, at: usize) -> Result<Self, RuleError> {
        // The longer signs first, because the shorter ones are their first characters.
        for (sign, make) in TERMS {
            if let Some(rest) = text.strip_prefix(sign) {
                let at = at + sign.len();
                let fail = |fault| RuleError { at, fault };
                let version =
                    Version::parse(rest).map_err(|VersionError { at: inner, fault }| {
                        RuleError { at: at + inner, fault: RuleFault::Version(fault) }
                    })?;
                if !version.build.is_empty() {
                    return Err(fail(RuleFault::Build));
                }
                if version.pre.len() > PRE_LEN_MAX {
                    return Err(fail(RuleFault::PreTooLong));
                }
                return make(&version).ok_or(fail(RuleFault::TooLarge));
            }
        }
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(RuleError { at, fault: RuleFault::Unknown });
        }
        let Some(series) = text.strip_suffix(".x") else {
            return Err(RuleError { at, fault: RuleFault::NoSign });
        };
        let of = |part: &str, at| {
            number(part, at, Zeros::Refused)
                .map_err(|error| RuleError { at: error.at, fault: RuleFault::Version(error.fault) })
        };
        let too_large = RuleError { at, fault: RuleFault::TooLarge };
        match series.split_once('.') {
            None => {
                let low = [of(series, at)?, 0, 0];
                Self::between(&low, "", next_major(&low)).ok_or(too_large)
            }
            Some((major, minor)) => {
                let low = [of(major, at)?, of(minor, at + major.len() + 1)?, 0];
                Self::between(&low, "", next_minor(&low)).ok_or(too_large)
            }
        }
    }

    /// From the version on up to before `next` and its pre-releases; `None` if there is no next.
    fn between(low: &[u64; 3], pre: &str, next: Option<[u64; 3]>) -> Option<Self> {
        Some(Self {
            low: Some(Bound::new(End::Low, low, pre, true)),
            high: Some(Bound::new(End::High, &next?, FIRST_PRE, false)),
        })
    }

    fn intersection(&self, other: &Self) -> Self {
        let tighter = |a: Option<Bound>, b: Option<Bound>, keeps: Ordering| match (a, b) {
            (Some(a), Some(b)) => Some(if a.cmp(&b) == keeps { a } else { b }),
            (one, None) | (None, one) => one,
        };
        Self {
            low: tighter(self.low, other.low, Ordering::Greater),
            high: tighter(self.high, other.high, Ordering::Less),
        }
    }

    fn is_empty(&self) -> bool {
        let (Some(low), Some(high)) = (&self.low, &self.high) else { return false };
        match low.version().cmp_precedence(&high.version()) {
            Ordering::Less => false,
            Ordering::Equal => !(low.inclusive && high.inclusive),
            Ordering::Greater => true,
        }
    }

    /// Whether `version` is within both ends, by precedence.
    #[must_use]
    pub fn contains(&self, version: &Version<'_>) -> bool {
        self.broken_by(version).is_none()
    }

    /// The end that `version` is outside of.
    fn broken_by(&self, version: &Version<'_>) -> Option<Bound> {
        [self.low, self.high].into_iter().flatten().find(|bound| !bound.holds(version))
    }
}

/// What each sign makes of the version after it; `None` if it would need a number above
/// [`u64::MAX`].
type Term = (&'static str, fn(&Version<'_>) -> Option<Range>);

const TERMS: [Term; 7] = [
    (">=", |v| {
        Some(Range { low: Some(Bound::new(End::Low, &v.numbers, v.pre, true)), high: None })
    }),
    ("<=", |v| {
        Some(Range { low: None, high: Some(Bound::new(End::High, &v.numbers, v.pre, true)) })
    }),
    (">", |v| {
        Some(Range { low: Some(Bound::new(End::Low, &v.numbers, v.pre, false)), high: None })
    }),
    ("<", |v| {
        let pre = if v.pre.is_empty() { FIRST_PRE } else { v.pre };
        Some(Range { low: None, high: Some(Bound::new(End::High, &v.numbers, pre, false)) })
    }),
    ("=", |v| {
        Some(Range {
            low: Some(Bound::new(End::Low, &v.numbers, v.pre, true)),
            high: Some(Bound::new(End::High, &v.numbers, v.pre, true)),
        })
    }),
    ("^", |v| {
        let next = match v.numbers {
            [0, 0, patch] => patch.checked_add(1).map(|patch| [0, 0, patch]),
            [0, ..] => next_minor(&v.numbers),
            [..] => next_major(&v.numbers),
        };
        Range::between(&v.numbers, v.pre, next)
    }),
    ("~", |v| Range::between(&v.numbers, v.pre, next_minor(&v.numbers))),
];

fn next_major(numbers: &[u64; 3]) -> Option<[u64; 3]> {
    numbers[0].checked_add(1).map(|major| [major, 0, 0])
}

fn next_minor(numbers: &[u64; 3]) -> Option<[u64; 3]> {
    numbers[1].checked_add(1).map(|minor| [numbers[0], minor, 0])
}

impl Bound {
    fn new(end: End, numbers: &[u64; 3], pre: &str, inclusive: bool) -> Self {
        Self { end, numbers: *numbers, pre: Label::of(&pre), inclusive }
    }

    fn version(&self) -> Version<'_> {
        Version { numbers: self.numbers, pre: self.pre.as_str(), build: "" }
    }

    fn holds(&self, version: &Version<'_>) -> bool {
        match (version.cmp_precedence(&self.version()), self.end) {
            (Ordering::Equal, End::Low | End::High) => self.inclusive,
            (Ordering::Greater, End::Low) | (Ordering::Less, End::High) => true,
            (Ordering::Less, End::Low) | (Ordering::Greater, End::High) => false,
        }
    }

    /// The order of bounds of the same end: at the same version, a low bound starts later and a high
    /// bound ends earlier when it excludes the version.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_inclusion = match self.end {
            End::Low => other.inclusive.cmp(&self.inclusive),
            End::High => self.inclusive.cmp(&other.inclusive),
        };
        self.version().cmp_precedence(&other.version()).then(by_inclusion)
    }
}

/// Text of up to `N` bytes inside a value that is copied: what a refusal quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Label<const N: usize = 32> {
    text: [u8; N],
    /// At most `N`, and so at most 255 bytes whatever `N` is.
    len: u8,
    /// Whether there were more bytes.
    cut: bool,
}

impl<const N: usize> Label<N> {
    /// The text that `value` displays. What does not fit is cut off, and `..` shown in its place.
    #[must_use]
    pub fn of(value: &impl Display) -> Self {
        let mut label = Self { text: [0; N], len: 0, cut: false };
        // It fails only where the label is full, and then it is marked as cut.
        let _ = write!(label, "{value}");
        label
    }

    /// The text, without a sign that it was cut.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only whole characters are ever put in.
        let text = self.text.get(..usize::from(self.len)).unwrap_or(&[]);
        core::str::from_utf8(text).unwrap_or("")
    }
}

impl<const N: usize> fmt::Write for Label<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            let start = usize::from(self.len);
            let into = self.text.get_mut(start..start + bytes.len());
            let (Some(into), Ok(len)) = (into, u8::try_from(start + bytes.len())) else {
                self.cut = true;
                return Err(fmt::Error);
            };
            into.copy_from_slice(bytes);
            self.len = len;
        }
        Ok(())
    }
}

impl<const N: usize> Display for Label<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        if self.cut { f.write_str("..") } else { Ok(()) }
    }
}

impl<const N: usize> fmt::Debug for Label<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Display for Version<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre)?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build)?;
        }
        Ok(())
    }
}

/// The text that [`parse`](Self::parse) reads as this rule again.
impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Patch => Step::Patch.fmt(f),
            Self::Minor => Step::Minor.fmt(f),
            Self::Major => Step::Major.fmt(f),
            Self::Range(range) => range.fmt(f),
            Self::Pinned(digest) => {
                f.write_str(PIN)?;
                Hex(digest).fmt(f)
            }
        }
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Patch => "patch",
            Self::Minor => "minor",
            Self::Major => "major",
        })
    }
}

/// The shortest of the texts for this range: `5.x`, `5.0.x`, `=1.2.3`, else its bounds.
impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&self.low, &self.high) {
            (Some(low), Some(high)) => {
                let [major, minor, patch] = low.numbers;
                let is_start = low.inclusive && low.pre.as_str().is_empty() && patch == 0;
                let ends_at = |next: Option<[u64; 3]>| {
                    !high.inclusive
                        && high.pre.as_str() == FIRST_PRE
                        && next.is_some_and(|next| next == high.numbers)
                };
                if is_start && minor == 0 && ends_at(next_major(&low.numbers)) {
                    write!(f, "{major}.x")
                } else if is_start && ends_at(next_minor(&low.numbers)) {
                    write!(f, "{major}.{minor}.x")
                } else if low.version() == high.version() {
                    write!(f, "={}", low.version())
                } else {
                    write!(f, "{low},{high}")
                }
            }
            (Some(bound), None) | (None, Some(bound)) => bound.fmt(f),
            (None, None) => Ok(()),
        }
    }
}

impl Display for Bound {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.end, self.inclusive) {
            (End::Low, true) => ">=",
            (End::Low, false) => ">",
            (End::High, true) => "<=",
            (End::High, false) => "<",
        })?;
        let mut version = self.version();
        // `<2.0.0` means `<2.0.0-0`, and is what people write.
        if self.end == End::High && !self.inclusive && version.pre == FIRST_PRE {
            version.pre = "";
        }
        version.fmt(f)
    }
}

struct Hex<'a>(&'a Digest);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Display for VersionFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NumberCount => "a version has three numbers, as 1.2.3 has",
            Self::NotANumber => "a number is expected",
            Self::LeadingZero => "a number must not start with 0",
            Self::TooLarge => "the number is above 18446744073709551615",
            Self::EmptyIdentifier => "an identifier after - or + is empty",
            Self::Character => "identifiers consist of letters, digits and hyphens",
        })
    }
}

impl Display for VersionError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "at position {}: {}", self.at.saturating_add(1), self.fault)
    }
}

impl Display for RuleFault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => {
                "expected any, patch, minor, major, a range such as 5.0.x or >=1.2.0,<2.0.0, or \
                 sha256: and a digest"
            }
            Self::NoSign => {
                "a version needs a sign: =1.2.3 for exactly this one, ^1.2.3 for compatible ones, \
                 1.2.x for a series"
            }
            Self::Version(fault) => return fault.fmt(f),
            Self::Build => {
                "build metadata does not count in comparisons: pin the digest to name one build"
            }
            Self::PreTooLong => "the pre-release is longer than 32 bytes",
            Self::TooLarge => "no number follows 18446744073709551615",
            Self::Nothing => "no version is within all of these bounds",
            Self::Digest => "expected 64 hexadecimal digits",
        })
    }
}

impl Display for RuleError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "at position {}: {}", self.at.saturating_add(1), self.fault)
    }
}

impl Display for RuleRefusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunningUnknown(rule) => {
                write!(
                    f,
                    "the version rule is {rule}, and what runs has no semantic version to compare"
                )
            }
            Self::OfferedUnknown => f.write_str(
                "the version rule compares versions, and what is offered has no semantic version",
            ),
            Self::Older { rule, running, offered } => {
                write!(
                    f,
                    "the version rule is {rule}: {offered} is older than {running}, which runs"
                )
            }
            Self::TooFar { rule, running, offered } => {
                write!(f, "the version rule is {rule}: {offered} is too far from {running}")
            }
            Self::OutOfRange { bound, offered } => {
                write!(f, "the version rule is {bound}: {offered} is offered")
            }
            Self::NotPinned { pinned, offered } => {
                write!(f, "pinned to manifest {}, offered is {}", Hex(pinned), Hex(offered))
            }
        }
    }
}

impl core::error::Error for VersionError {}
impl core::error::Error for RuleError {}
impl core::error::Error for RuleRefusal {}
