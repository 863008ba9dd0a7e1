//! What the tests of the modules share.

use stillboot::driver::{Source, SourceError};

/// Bytes in memory as a source.
pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl Source for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let len = into.len().min(self.0.len());
        into[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        let len = usize::try_from(len).ok().filter(|len| *len <= self.0.len());
        self.0 = &self.0[len.ok_or(SourceError)?..];
        Ok(())
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(!self.0.is_empty())
    }
}
