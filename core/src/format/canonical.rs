//! Postcard with the rule that accepted bytes are the only encoding of their value.

use postcard::ser_flavors::{Flavor, Slice};
use serde::{Deserialize, Serialize};

use super::FormatError;

/// Decodes `bytes`, all of them, and refuses any encoding but the canonical one: postcard itself
/// accepts padded numbers and ignores what follows the value, which would give one signed meaning
/// many digests.
pub(super) fn parse<'a, T: Serialize + Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, FormatError> {
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).map_err(|error| match error {
        postcard::Error::DeserializeUnexpectedEnd => FormatError::Short,
        _ => FormatError::Malformed,
    })?;
    if !rest.is_empty() {
        return Err(FormatError::Trailing);
    }
    match postcard::serialize_with_flavor(&value, Compare { rest: bytes }) {
        Ok(true) => Ok(value),
        _ => Err(FormatError::NotCanonical),
    }
}

/// Encodes `value` at the start of `into`, and returns the length.
pub(super) fn emit<T: Serialize>(value: &T, into: &mut [u8]) -> Result<usize, FormatError> {
    postcard::serialize_with_flavor(value, Slice::new(into))
        .map(|bytes| bytes.len())
        .map_err(|_| FormatError::Short)
}

/// Compares what would be written with what was read, so that no second buffer is needed.
struct Compare<'a> {
    rest: &'a [u8],
}

impl Flavor for Compare<'_> {
    type Output = bool;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                Ok(())
            }
            _ => Err(postcard::Error::SerializeBufferFull),
        }
    }

    fn finalize(self) -> postcard::Result<bool> {
        Ok(self.rest.is_empty())
    }
}
