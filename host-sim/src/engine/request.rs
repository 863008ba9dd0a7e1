//! One request of a machine to its surroundings.

use std::ops::Range;
use std::sync::Arc;

use stillboot::device::{BlockDevice, DeviceError};
use stillboot::driver::{RollbackStore, StoreError};
use stillboot::format::{Floor, SlotKind};
use twox_hash::XxHash3_128;

use super::print::print_of;
use super::program::Outcome;
use crate::disk::RamDisk;
use crate::world::SimStore;

/// One request of a machine to its surroundings.
#[derive(Clone, Debug)]
pub enum MachineRequest {
    /// Read so many bytes.
    Read(u64, usize),
    /// Write these bytes.
    Write(u64, Arc<[u8]>),
    /// Erase so many bytes.
    Erase(u64, u64),
    /// Make everything in these bytes durable: those of one device.
    Flush(Range<u64>),
    /// Read the store of the floor.
    ReadFloor(SlotKind),
    /// Ask whether the floor could be raised in the store.
    ProbeFloor(SlotKind, Floor),
    /// Raise the floor in the store.
    RaiseFloor(SlotKind, Floor),
    /// The program has ended.
    End(Arc<Outcome>),
}

impl MachineRequest {
    /// Whether it changes any of these bytes.
    pub(super) fn touches(&self, places: &[Range<u64>]) -> bool {
        let (from, to) = match self {
            Self::Write(offset, bytes) => (*offset, offset + bytes.len() as u64),
            Self::Erase(offset, len) => (*offset, offset + len),
            _ => return false,
        };
        places.iter().any(|place| from < place.end && place.start < to)
    }
}

/// A disk as the engine uses it: several devices that stand one behind the other.
pub trait Disks: BlockDevice + Clone {
    /// Makes what was written to these bytes durable: those of one device.
    ///
    /// # Errors
    /// What the device says.
    fn flush_part(&mut self, part: &Range<u64>) -> Result<(), DeviceError>;
}

impl Disks for RamDisk {
    fn flush_part(&mut self, _: &Range<u64>) -> Result<(), DeviceError> {
        self.flush()
    }
}

/// What a request came to.
pub(super) enum Reply<'a> {
    Start,
    Done,
    Bytes(&'a [u8]),
    Failed(DeviceError),
    Floor(Option<Floor>),
    StoreFailed,
}

/// Carries out one request; its result, and the result's name.
pub(super) fn perform<'s>(
    act: &MachineRequest,
    disk: &mut impl Disks,
    store: &mut Option<SimStore>,
    scratch: &'s mut Vec<u8>,
) -> (Reply<'s>, u128) {
    let done = |result: Result<(), DeviceError>| match result {
        Ok(()) => (Reply::Done, 1),
        Err(error) => (Reply::Failed(error), print_of(format_args!("{error:?}"))),
    };
    match act {
        MachineRequest::Read(offset, len) => {
            scratch.resize(*len, 0);
            match disk.read(*offset, scratch) {
                Ok(()) => (Reply::Bytes(scratch), XxHash3_128::oneshot(scratch)),
                Err(error) => done(Err(error)),
            }
        }
        MachineRequest::Write(offset, bytes) => done(disk.write(*offset, bytes)),
        MachineRequest::Erase(offset, len) => done(disk.erase(*offset, *len)),
        MachineRequest::Flush(part) => done(disk.flush_part(part)),
        MachineRequest::ReadFloor(kind) => match store.get_or_insert_default().read(*kind) {
            Ok(floor) => (Reply::Floor(floor), print_of(format_args!("{floor:?}"))),
            Err(StoreError) => (Reply::StoreFailed, 2),
        },
        MachineRequest::ProbeFloor(kind, floor) => {
            match store.get_or_insert_default().probe(*kind, *floor) {
                Ok(()) => (Reply::Done, 1),
                Err(StoreError) => (Reply::StoreFailed, 2),
            }
        }
        MachineRequest::RaiseFloor(kind, floor) => {
            match store.get_or_insert_default().raise(*kind, *floor) {
                Ok(()) => (Reply::Done, 1),
                Err(StoreError) => (Reply::StoreFailed, 2),
            }
        }
        MachineRequest::End(_) => (Reply::Done, 1),
    }
}
