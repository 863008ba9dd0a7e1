//! The disk under a story, with or without a cache of its own.

use std::ops::Range;

use stillboot::device::{BlockDevice, DeviceError, Geometry};

use super::medium::Medium;
use crate::disk::{RamDisk, Torn, WriteCache};
use crate::engine::Disks;

/// A disk, with or without a cache of its own.
#[derive(Clone, Debug)]
pub(crate) enum Disk {
    Plain(RamDisk),
    Cached(WriteCache<RamDisk>),
}

impl Disk {
    pub(crate) fn new(medium: &Medium, ram: RamDisk) -> Self {
        if medium.has_cache { Self::Cached(WriteCache::new(ram)) } else { Self::Plain(ram) }
    }

    pub(crate) fn ram(&self) -> &RamDisk {
        match self {
            Self::Plain(ram) => ram,
            Self::Cached(cache) => cache.device(),
        }
    }

    pub(crate) fn ram_mut(&mut self) -> &mut RamDisk {
        match self {
            Self::Plain(ram) => ram,
            Self::Cached(cache) => cache.device_mut(),
        }
    }

    pub(crate) fn pending(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Cached(cache) => cache.pending(),
        }
    }

    pub(super) fn pending_hash(&self) -> u128 {
        match self {
            Self::Plain(_) => 0,
            Self::Cached(cache) => cache.pending_hash(),
        }
    }

    fn inner(&mut self) -> &mut dyn BlockDevice {
        match self {
            Self::Plain(ram) => ram,
            Self::Cached(cache) => cache,
        }
    }
}

impl Disks for Disk {
    fn flush_part(&mut self, part: &Range<u64>) -> Result<(), DeviceError> {
        match self {
            Self::Plain(ram) => ram.flush(),
            Self::Cached(cache) => cache.flush_part(part),
        }
    }
}

impl Torn for Disk {
    fn torn(&mut self, offset: u64) {
        if let Self::Plain(ram) = self {
            ram.torn(offset);
        }
    }
}

impl BlockDevice for Disk {
    fn geometry(&self) -> Geometry {
        self.ram().geometry()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.inner().read(offset, into)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.inner().write(offset, bytes)
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.inner().erase(offset, len)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.inner().flush()
    }
}
