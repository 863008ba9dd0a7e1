//! The bytes that a patch starts from: those of an installed bundle.

use stillboot::driver::SourceError;

/// The components of the old bundle, one after the other in the order of its manifest, those for
/// other slots included.
///
/// A device reads them from the slot that holds the old bundle. On a microcontroller with one bank
/// of flash no read may happen while the flash is programmed: a source is asked for bytes only
/// between two operations of the device.
pub trait Old {
    /// Fills `into` with the bytes at `offset`.
    ///
    /// # Errors
    /// [`SourceError`] where there are none.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), SourceError>;
}

/// No old bundle: patches cannot be decoded.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOld;

impl Old for NoOld {
    fn read(&mut self, _offset: u64, _into: &mut [u8]) -> Result<(), SourceError> {
        Err(SourceError)
    }
}

/// Memory that holds all of it, such as flash that is mapped.
impl Old for &[u8] {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        let start = usize::try_from(offset).map_err(|_| SourceError)?;
        let from = self.get(start..).and_then(|rest| rest.get(..into.len())).ok_or(SourceError)?;
        into.copy_from_slice(from);
        Ok(())
    }
}

impl<T: Old + ?Sized> Old for &mut T {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        (**self).read(offset, into)
    }
}
