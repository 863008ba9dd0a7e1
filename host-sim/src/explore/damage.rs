//! The disk of a story past the devices: places are destroyed, and its true bytes are read.

use std::ops::Range;

use super::disk::Disk;
use crate::disk::RamDisk;
use crate::engine::Disks;
use crate::fault::{Fault, Faulty};

/// A disk of which a story can destroy parts.
pub(super) trait Damage: Disks {
    fn destroy(&mut self, offset: u64, len: usize) {
        self.place(offset, &vec![GARBAGE; len]);
    }
    /// Puts bytes there past everything that would notice.
    fn place(&mut self, offset: u64, bytes: &[u8]);
    /// What the medium holds, whatever the device says of it.
    fn truly(&self) -> RamDisk;
    fn lose_pending(&mut self);
    fn unflushed(&self) -> usize;
    fn name(&self) -> u128;
    /// What the device does not read, or reads wrong; a slot that needs it cannot be started.
    fn unread(&self) -> Option<Range<u64>> {
        None
    }
    /// A fault that strikes once has struck.
    fn is_over(&self) -> bool {
        false
    }
}

/// What a destroyed place holds: neither blank nor anything else.
pub(crate) const GARBAGE: u8 = 0x5A;

impl Damage for Disk {
    fn place(&mut self, offset: u64, bytes: &[u8]) {
        self.ram_mut().poke(offset, bytes);
    }
    fn truly(&self) -> RamDisk {
        self.ram().fork()
    }
    fn lose_pending(&mut self) {
        if let Self::Cached(cache) = self {
            cache.lose_all();
        }
    }
    fn unflushed(&self) -> usize {
        self.pending()
    }
    fn name(&self) -> u128 {
        self.ram().content_hash()
    }
}

impl Damage for Faulty<Disk> {
    fn place(&mut self, offset: u64, bytes: &[u8]) {
        self.device_mut().place(offset, bytes);
    }
    fn truly(&self) -> RamDisk {
        self.device().truly()
    }
    fn lose_pending(&mut self) {
        self.device_mut().lose_pending();
    }
    fn unflushed(&self) -> usize {
        self.device().unflushed()
    }
    fn name(&self) -> u128 {
        self.device().name()
    }
    fn unread(&self) -> Option<Range<u64>> {
        match self.fault() {
            Some(Fault::ReadOnce(_) | Fault::ReadAlways(_) | Fault::Unstable(..)) => {
                self.hit().map(|(from, to)| from..to)
            }
            _ => None,
        }
    }
    fn is_over(&self) -> bool {
        matches!(self.fault(), Some(Fault::ReadOnce(_))) && self.has_struck()
    }
}
