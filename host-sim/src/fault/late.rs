//! A device that takes a write, loses it, and says so later: what a write-behind cache does when its
//! disk fails.

use stillboot::device::{BlockDevice, DeviceError, Geometry};

/// A device of which one write fails late. Writes, erases and flushes count as changes, from zero.
#[derive(Clone, Debug)]
pub struct FailsLate<D> {
    device: D,
    /// The write that is lost: the first one that is not before this change.
    at: u64,
    /// So many further changes are taken before the error is reported; a flush reports it at once.
    delay: u64,
    /// The bug: the error is reported once and forgotten.
    forgets: bool,
    changes: u64,
    state: Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Nothing,
    /// A write was lost, and so many changes are still taken.
    Silent(u64),
    Reported,
}

impl<D: BlockDevice> FailsLate<D> {
    /// A device that loses a write at change `at` or the first one behind it.
    pub const fn new(device: D, at: u64, delay: u64) -> Self {
        Self { device, at, delay, forgets: false, changes: 0, state: Lost::Nothing }
    }

    /// The same with the bug that the error is reported once and then forgotten.
    #[must_use]
    pub const fn forgetful(mut self) -> Self {
        self.forgets = true;
        self
    }

    /// Whether a write was lost.
    pub fn has_struck(&self) -> bool {
        self.state != Lost::Nothing
    }

    /// The device below, as it is when it is opened again.
    pub fn into_inner(self) -> D {
        self.device
    }

    /// What becomes of a change: `None` lets it through.
    fn spoil(&mut self, is_write: bool, is_flush: bool) -> Option<Result<(), DeviceError>> {
        let number = self.changes;
        self.changes += 1;
        match self.state {
            Lost::Nothing if is_write && number >= self.at => {
                self.state = Lost::Silent(self.delay);
                Some(Ok(()))
            }
            Lost::Nothing => None,
            Lost::Silent(left) if left > 0 && !is_flush => {
                self.state = Lost::Silent(left - 1);
                // What waits behind a write that failed is dropped; a forgetful device goes on.
                if self.forgets { None } else { Some(Ok(())) }
            }
            Lost::Silent(_) => {
                self.state = Lost::Reported;
                Some(Err(DeviceError::Io))
            }
            Lost::Reported if self.forgets => None,
            Lost::Reported => Some(Err(DeviceError::Io)),
        }
    }
}

impl<D: BlockDevice> BlockDevice for FailsLate<D> {
    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.device.read(offset, into)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.spoil(true, false).unwrap_or_else(|| self.device.write(offset, bytes))
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.spoil(false, false).unwrap_or_else(|| self.device.erase(offset, len))
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.spoil(false, true).unwrap_or_else(|| self.device.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RamDisk;

    #[test]
    fn a_lost_write_is_reported_later_and_stays_an_error() {
        let disk = RamDisk::new(Geometry::disk(512, 16 << 12), 0);
        let mut late = FailsLate::new(disk, 1, 1);
        late.write(0, &[1; 512]).unwrap();
        late.write(512, &[2; 512]).unwrap();
        late.write(1024, &[3; 512]).unwrap();
        assert!(late.has_struck());
        assert_eq!(late.write(1536, &[4; 512]), Err(DeviceError::Io));
        assert_eq!(late.flush(), Err(DeviceError::Io));
        let mut into = [9; 2048];
        late.read(0, &mut into).unwrap();
        assert_eq!([into[0], into[512], into[1024], into[1536]], [1, 0, 0, 0]);
        late.into_inner().write(512, &[2; 512]).unwrap();
    }
}
