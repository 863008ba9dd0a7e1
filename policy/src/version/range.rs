//! Ranges of versions.

use core::cmp::Ordering;
use core::fmt::{self, Display, Formatter};

use super::fault::{RuleError, RuleFault};
use super::label::Label;
use super::semver::{Version, VersionError, Zeros, number};

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

impl Range {
    /// Reads the terms of a range.
    pub(super) fn parse(text: &str) -> Result<Self, RuleError> {
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
    pub(super) fn broken_by(&self, version: &Version<'_>) -> Option<Bound> {
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
