//! Devices that fail without losing power, as a decorator on any device.
//!
//! Power failures are in [`disk`](crate::disk): [`PowerCut`](crate::disk::PowerCut) and
//! [`WriteCache`](crate::disk::WriteCache). Every fault here is deterministic and counts requests
//! from zero, so that a clone of the device fails in the same way.

mod late;

use std::ops::Range;

pub use late::FailsLate;

use crate::disk::Torn;
use stillboot::device::{BlockDevice, DeviceError, Geometry};

use crate::engine::Disks;

/// One fault. Reads and changes (writes, erases, flushes) are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This change fails once and leaves everything as it was.
    WriteOnce(u64),
    /// This change fails, and every later one that touches its range.
    WriteAlways(u64),
    /// This read fails once.
    ReadOnce(u64),
    /// This read fails, and every later one that touches its range until the range is written
    /// again.
    ReadAlways(u64),
    /// From this change on its range keeps what it holds, and says that all is well.
    Stuck(u64),
    /// This write lands elsewhere: so many erase blocks further, around the end if need be.
    Misdirected(u64, u64),
    /// When this read begins, one bit in its range turns, and stays so until it is written again.
    Rot(u64, u64),
    /// The range of this read answers right now, and with one bit turned every second time.
    Unstable(u64, u64),
    /// These bytes, from the first on and so many, cannot be changed any more; they can be read.
    Dead(u64, u64),
}

/// A device with one fault.
#[derive(Clone, Debug)]
pub struct Faulty<D> {
    device: D,
    fault: Option<Fault>,
    reads: u64,
    changes: u64,
    /// The bytes that turned out to be hit, from the first to one past the last.
    hit: Option<(u64, u64)>,
    /// How often the range was read since it was hit.
    answers: u64,
    has_struck: bool,
}

impl<D: BlockDevice> Faulty<D> {
    /// A device that will have this fault.
    pub fn new(device: D, fault: Fault) -> Self {
        Self {
            device,
            fault: Some(fault),
            reads: 0,
            changes: 0,
            hit: None,
            answers: 0,
            has_struck: false,
        }
    }

    /// A device without a fault.
    pub fn sound(device: D) -> Self {
        let mut sound = Self::new(device, Fault::ReadOnce(0));
        sound.fault = None;
        sound
    }

    /// Gives the device this fault instead of its own, with requests counted from here; `None` for
    /// one that works again.
    pub fn set(&mut self, fault: Option<Fault>) {
        (self.reads, self.changes, self.answers) = (0, 0, 0);
        (self.fault, self.hit, self.has_struck) = (fault, None, false);
    }

    /// Its fault.
    pub const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether the request was reached at which the fault begins.
    pub fn has_struck(&self) -> bool {
        self.has_struck
    }

    /// How many reads and changes were asked for.
    pub fn requests(&self) -> (u64, u64) {
        (self.reads, self.changes)
    }

    /// The bytes that are hit, from the first to one past the last, until they are written again.
    pub const fn hit(&self) -> Option<(u64, u64)> {
        self.hit
    }

    /// The device below.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device below, to do things to that no caller could.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Gives the device below back: after a repair, such as a new cable, the fault is gone.
    pub fn into_inner(self) -> D {
        self.device
    }

    fn touches(&self, offset: u64, len: u64) -> bool {
        self.hit.is_some_and(|(from, to)| offset < to && from < offset + len)
    }

    /// Counts a change. Returns whether it is the one at which the fault begins.
    fn begin_change(&mut self, offset: u64, len: u64) -> bool {
        let at = self.changes;
        self.changes += 1;
        let begins = match self.fault {
            Some(
                Fault::WriteOnce(when)
                | Fault::WriteAlways(when)
                | Fault::Stuck(when)
                | Fault::Misdirected(when, _),
            ) => when == at,
            Some(
                Fault::ReadOnce(_)
                | Fault::ReadAlways(_)
                | Fault::Rot(..)
                | Fault::Unstable(..)
                | Fault::Dead(..),
            )
            | None => false,
        };
        if begins {
            self.has_struck = true;
            self.hit = Some((offset, offset + len));
        }
        begins
    }

    /// What becomes of a change before it reaches the device: `None` lets it through.
    fn spoil(&mut self, offset: u64, len: u64, begins: bool) -> Option<Result<(), DeviceError>> {
        let touches = self.touches(offset, len);
        match self.fault {
            Some(Fault::WriteOnce(_)) if begins => Some(Err(DeviceError::Io)),
            Some(Fault::WriteAlways(_)) if begins || touches => Some(Err(DeviceError::Io)),
            Some(Fault::Stuck(_)) if begins || touches => Some(Ok(())),
            Some(Fault::Dead(from, count)) if offset < from + count && from < offset + len => {
                Some(Err(DeviceError::Io))
            }
            // Written again, the cells are as good as new.
            Some(Fault::ReadAlways(_) | Fault::Rot(..)) if touches => {
                self.hit = None;
                None
            }
            _ => None,
        }
    }

    fn turn_bit(into: &mut [u8], offset: u64, hit: (u64, u64), bit: u64) {
        let place = hit.0 + bit / 8 % (hit.1 - hit.0);
        if let Some(byte) =
            place.checked_sub(offset).and_then(|at| into.get_mut(usize::try_from(at).ok()?))
        {
            *byte ^= 1 << (bit % 8);
        }
    }
}

impl<D: Torn> Torn for Faulty<D> {
    fn torn(&mut self, offset: u64) {
        self.device.torn(offset);
    }
}

impl<D: BlockDevice> BlockDevice for Faulty<D> {
    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        let at = self.reads;
        self.reads += 1;
        let len = into.len() as u64;
        let begins = match self.fault {
            Some(
                Fault::ReadOnce(when)
                | Fault::ReadAlways(when)
                | Fault::Rot(when, _)
                | Fault::Unstable(when, _),
            ) => when == at,
            _ => false,
        };
        if begins {
            self.has_struck = true;
            self.hit = Some((offset, offset + len));
        }
        let touches = self.touches(offset, len);
        match self.fault {
            Some(Fault::ReadOnce(_)) if begins => return Err(DeviceError::Io),
            Some(Fault::ReadAlways(_)) if touches => return Err(DeviceError::Io),
            _ => {}
        }
        self.device.read(offset, into)?;
        if let (true, Some(hit)) = (touches, self.hit) {
            match self.fault {
                Some(Fault::Rot(_, bit)) => Self::turn_bit(into, offset, hit, bit),
                Some(Fault::Unstable(_, bit)) => {
                    if self.answers % 2 == 1 {
                        Self::turn_bit(into, offset, hit, bit);
                    }
                    self.answers += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let len = bytes.len() as u64;
        let begins = self.begin_change(offset, len);
        if let (true, Some(Fault::Misdirected(_, blocks))) = (begins, self.fault) {
            let geometry = self.device.geometry();
            let far = blocks * u64::from(geometry.erase_block_bytes);
            let place = (offset + far) % geometry.capacity_bytes;
            // Where the write does not fit or flash refuses it, it is lost, and no error is
            // reported.
            let _ = self.device.write(place, bytes);
            return Ok(());
        }
        match self.spoil(offset, len, begins) {
            Some(result) => result,
            None => self.device.write(offset, bytes),
        }
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        let begins = self.begin_change(offset, len);
        match self.spoil(offset, len, begins) {
            Some(result) => result,
            None => self.device.erase(offset, len),
        }
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.flush_with(D::flush)
    }
}

impl<D: BlockDevice> Faulty<D> {
    /// A flush touches no bytes: it can fail, and nothing can be stuck or go elsewhere.
    fn flush_with(
        &mut self,
        flush: impl FnOnce(&mut D) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let begins = self.begin_change(0, 0);
        match self.fault {
            Some(Fault::WriteOnce(_) | Fault::WriteAlways(_)) if begins => Err(DeviceError::Io),
            _ => flush(&mut self.device),
        }
    }
}

impl<D: Disks> Disks for Faulty<D> {
    fn flush_part(&mut self, part: &Range<u64>) -> Result<(), DeviceError> {
        self.flush_with(|device| device.flush_part(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RamDisk;

    fn disk() -> RamDisk {
        RamDisk::new(Geometry::disk(512, 16 << 12), 0)
    }

    fn read(device: &mut impl BlockDevice, offset: u64) -> Result<u8, DeviceError> {
        let mut into = [0; 512];
        device.read(offset, &mut into).map(|()| into[0])
    }

    #[test]
    fn read_errors_end_once_or_with_a_write() {
        let mut once = Faulty::new(disk(), Fault::ReadOnce(0));
        assert_eq!(read(&mut once, 0), Err(DeviceError::Io));
        assert_eq!(read(&mut once, 0), Ok(0));
        let mut always = Faulty::new(disk(), Fault::ReadAlways(0));
        assert_eq!(read(&mut always, 0), Err(DeviceError::Io));
        assert_eq!(read(&mut always, 0), Err(DeviceError::Io));
        assert_eq!(read(&mut always, 512), Ok(0));
        always.write(0, &[7; 512]).unwrap();
        assert_eq!(read(&mut always, 0), Ok(7));
    }

    #[test]
    fn stuck_and_misdirected_writes_say_that_all_is_well() {
        let mut stuck = Faulty::new(disk(), Fault::Stuck(0));
        stuck.write(0, &[1; 512]).unwrap();
        stuck.write(512, &[2; 512]).unwrap();
        assert_eq!((read(&mut stuck, 0), read(&mut stuck, 512)), (Ok(0), Ok(2)));
        let mut lost = Faulty::new(disk(), Fault::Misdirected(0, 1));
        lost.write(0, &[1; 512]).unwrap();
        assert_eq!((read(&mut lost, 0), read(&mut lost, 4096)), (Ok(0), Ok(1)));
    }

    #[test]
    fn rot_stays_and_lies_alternate() {
        let mut rotten = Faulty::new(disk(), Fault::Rot(1, 1));
        let found = [0; 3].map(|_: i32| read(&mut rotten, 0).unwrap());
        assert_eq!(found, [0, 2, 2]);
        let mut unstable = Faulty::new(disk(), Fault::Unstable(0, 0));
        let found = [0; 4].map(|_: i32| read(&mut unstable, 0).unwrap());
        assert_eq!(found, [0, 1, 0, 1]);
    }

    #[test]
    fn write_errors_end_once_or_never() {
        let mut once = Faulty::new(disk(), Fault::WriteOnce(0));
        assert_eq!(once.write(0, &[1; 512]), Err(DeviceError::Io));
        assert_eq!(once.write(0, &[1; 512]), Ok(()));
        let mut always = Faulty::new(disk(), Fault::WriteAlways(0));
        assert_eq!(always.write(0, &[1; 512]), Err(DeviceError::Io));
        assert_eq!(always.write(0, &[1; 512]), Err(DeviceError::Io));
        assert_eq!(always.write(512, &[1; 512]), Ok(()));
    }
}
