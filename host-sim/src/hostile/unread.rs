//! A device with a range of bytes that it never reads again, whatever is written there.

use std::ops::Range;

use crate::disk::Torn;
use stillboot::device::{BlockDevice, DeviceError, Geometry};

/// The device.
#[derive(Clone, Debug)]
pub struct Unread<D> {
    device: D,
    /// The bytes that are not read; none if it is empty.
    pub range: Range<u64>,
}

impl<D> Unread<D> {
    /// A device that reads everything.
    pub const fn new(device: D) -> Self {
        Self { device, range: 0..0 }
    }

    /// The device below.
    pub const fn device(&self) -> &D {
        &self.device
    }

    /// The same, to change it.
    pub const fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Whether some of these bytes are not read.
    #[must_use]
    pub const fn meets(&self, from: u64, end: u64) -> bool {
        from < self.range.end && self.range.start < end
    }
}

impl<D: Torn> Torn for Unread<D> {
    fn torn(&mut self, offset: u64) {
        self.device.torn(offset);
    }
}

impl<D: BlockDevice> BlockDevice for Unread<D> {
    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        if self.meets(offset, offset + into.len() as u64) {
            return Err(DeviceError::Io);
        }
        self.device.read(offset, into)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.device.write(offset, bytes)
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.device.erase(offset, len)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.device.flush()
    }
}
