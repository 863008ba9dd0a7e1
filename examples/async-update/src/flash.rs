//! NOR flash in memory, behind the asynchronous traits: an operation takes time, in which the
//! executor does something else.

use std::ops::Range;

use embassy_futures::yield_now;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

/// Bytes that the flash does at a time; then it says that it is busy.
const BURST_BYTES: usize = 256;

/// The flash.
#[derive(Debug)]
pub struct SlowFlash(Vec<u8>);

impl SlowFlash {
    /// An erased flash.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self(vec![0xff; len])
    }

    /// The bytes of a request, if it keeps to `unit` and to the flash.
    fn range(
        &self,
        offset: u32,
        len: usize,
        unit: usize,
    ) -> Result<Range<usize>, NorFlashErrorKind> {
        let from = offset as usize;
        if !from.is_multiple_of(unit) || !len.is_multiple_of(unit) {
            return Err(NorFlashErrorKind::NotAligned);
        }
        match from.checked_add(len) {
            Some(end) if end <= self.0.len() => Ok(from..end),
            _ => Err(NorFlashErrorKind::OutOfBounds),
        }
    }
}

impl ErrorType for SlowFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for SlowFlash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let from = &self.0[self.range(offset, bytes.len(), Self::READ_SIZE)?];
        for (into, from) in bytes.chunks_mut(BURST_BYTES).zip(from.chunks(BURST_BYTES)) {
            into.copy_from_slice(from);
            yield_now().await;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for SlowFlash {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let len = to.checked_sub(from).ok_or(NorFlashErrorKind::OutOfBounds)?;
        let range = self.range(from, len as usize, Self::ERASE_SIZE)?;
        for burst in self.0[range].chunks_mut(BURST_BYTES) {
            burst.fill(0xff);
            yield_now().await;
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let range = self.range(offset, bytes.len(), Self::WRITE_SIZE)?;
        let into = &mut self.0[range];
        if into.iter().any(|byte| *byte != 0xff) {
            return Err(NorFlashErrorKind::Other);
        }
        for (into, from) in into.chunks_mut(BURST_BYTES).zip(bytes.chunks(BURST_BYTES)) {
            into.copy_from_slice(from);
            yield_now().await;
        }
        Ok(())
    }
}
