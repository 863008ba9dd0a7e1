//! Semantic versions as the standard defines them.

use core::cmp::Ordering;
use core::fmt::{self, Display, Formatter};

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
    pub(super) numbers: [u64; 3],
    /// Without the `-`; empty for a release.
    pub(super) pre: &'a str,
    /// Without the `+`; empty if there is none.
    pub(super) build: &'a str,
}

/// Why a text is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
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
pub(super) enum Zeros {
    Accepted,
    Refused,
}

/// Three numbers with dots between them. `at` is where `text` starts, for errors.
pub(super) fn three_numbers(text: &str, at: usize, zeros: Zeros) -> Result<[u64; 3], VersionError> {
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

pub(super) fn number(text: &str, at: usize, zeros: Zeros) -> Result<u64, VersionError> {
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

impl core::error::Error for VersionFault {}
impl core::error::Error for VersionError {}
