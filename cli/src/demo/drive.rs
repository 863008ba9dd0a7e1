//! The drive of the demo: it loses what was not flushed, and its power can be cut at any request.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot_sim::disk::{Cut, FileDisk, PowerCut, Random, Tear, Torn, WriteCache};

use super::release::CHUNK_SIZE;

/// A random way for the power to fail at a request.
pub fn random_cut(random: &mut Random) -> Cut {
    match random.below(4) {
        0 => Cut::Before,
        1 => Cut::After,
        _ => Cut::Torn(match random.below(3) {
            0 => Tear::Prefix(random.below(CHUNK_SIZE.into())),
            1 => Tear::Suffix(random.below(CHUNK_SIZE.into())),
            _ => Tear::Mixed(random.next_u64()),
        }),
    }
}

/// A drive with a small cache: it reports data as stored that it may yet lose, until it is flushed
/// or has no more room.
pub struct Drive(pub WriteCache<FileDisk>);

/// What is cut reaches the cache.
impl Torn for Drive {}

impl Drive {
    /// Writes that the cache holds.
    const PENDING_MAX: usize = 8;
}

impl BlockDevice for Drive {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.0.read(offset, into)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        if self.0.pending() >= Self::PENDING_MAX {
            self.0.flush()?;
        }
        self.0.write(offset, bytes)
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.0.erase(offset, len)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.0.flush()
    }
}

/// The most that a loss of power takes from what was written, in bytes: what the cache holds, and
/// the write that was under way.
pub const LOSS_MAX: u64 = (Drive::PENDING_MAX as u64 + 1) * CHUNK_SIZE as u64;

/// The drive as the machine sees it, shared with the code that cuts the power.
#[derive(Clone)]
pub struct Socket(pub Rc<RefCell<PowerCut<Drive>>>);

impl Socket {
    /// The power of the drive.
    pub fn power(&self) -> RefMut<'_, PowerCut<Drive>> {
        self.0.borrow_mut()
    }
}

impl BlockDevice for Socket {
    fn geometry(&self) -> Geometry {
        self.power().geometry()
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.power().read(offset, into)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.power().write(offset, bytes)
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.power().erase(offset, len)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.power().flush()
    }
}
