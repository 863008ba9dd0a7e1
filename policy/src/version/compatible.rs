//! The versions of KubeSolo's `latest.json`, compared as that format compares them.

use core::cmp::Ordering;

use stillboot::format::manifest::is_label;

use super::semver::{VersionError, VersionFault, Zeros, three_numbers};

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
