//! Why a text is no rule.

use core::fmt::{self, Display, Formatter};

use super::semver::VersionFault;

/// Why a text is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
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
    /// A pre-release is longer than [`PRE_LEN_MAX`](super::PRE_LEN_MAX).
    PreTooLong,
    /// No number comes after [`u64::MAX`], so this range has no end.
    TooLarge,
    /// No version is within all of the bounds.
    Nothing,
    /// A SHA-256 is 64 hexadecimal digits.
    Digest,
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

impl core::error::Error for RuleFault {}
impl core::error::Error for RuleError {}
