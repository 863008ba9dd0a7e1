//! The rule that says which versions a device takes.

use core::cmp::Ordering;
use core::fmt::{self, Display, Formatter};

use stillboot::format::Digest;

use super::fault::{RuleError, RuleFault};
use super::label::Label;
use super::range::{Bound, Range};
use super::semver::Version;

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
#[non_exhaustive]
pub enum VersionRule {
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
#[non_exhaustive]
pub enum Step {
    /// [`VersionRule::Patch`].
    Patch,
    /// [`VersionRule::Minor`].
    Minor,
    /// [`VersionRule::Major`].
    Major,
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

impl VersionRule {
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

/// The text that [`parse`](Self::parse) reads as this rule again.
impl Display for VersionRule {
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

struct Hex<'a>(&'a Digest);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl core::error::Error for RuleRefusal {}
