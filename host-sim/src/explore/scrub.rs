//! The scrub of a slot in a story, on the devices that stand on one disk.

use std::cell::RefCell;
use std::ops::Range;

use stillboot::check;
use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::format::Slot;
use stillboot::verify::{HEAD_LEN_MAX, SoftSha256};

use super::damage::Damage;
use super::job::Job;
use super::programs::refuse;
use super::situation::Situation;
use crate::engine::Disks;
use crate::oracle::{Broken, Promise, Promises};

impl Job<'_> {
    /// Verifies all of a slot.
    pub(super) fn scrub<D: Damage>(
        &self,
        at: &mut Situation<D>,
        slot: Slot,
        promises: Promises,
    ) -> Result<(), Broken> {
        let slots = self.setting.ground.slots();
        let layout = self.setting.ground.layout(&slots).expect("checked at the start");
        let mut buffer = vec![0; HEAD_LEN_MAX];
        let disk = RefCell::new(&mut at.disk);
        let mut parts: Vec<_> = (0..self.setting.ground.geometries().len())
            .map(|device| PartOf { disk: &disk, part: self.setting.ground.extent(device as u8) })
            .collect();
        let mut devices: Vec<_> =
            parts.iter_mut().map(|part| part as &mut dyn BlockDevice).collect();
        let scrubbed = check::slot::<SoftSha256>(
            &self.setting.device,
            &layout,
            slot,
            &mut devices,
            &mut |_| {},
            &mut buffer,
        );
        match scrubbed {
            Ok(_) => Ok(()),
            Err(reason) => refuse(promises, Promise::RunningSlot, || {
                format!("slot {slot} is not whole: {reason}")
            }),
        }
    }
}

/// One of the devices that stand on a disk one behind the other.
struct PartOf<'a, 'd, D> {
    disk: &'a RefCell<&'d mut D>,
    part: Range<u64>,
}

impl<D: Disks> BlockDevice for PartOf<'_, '_, D> {
    fn geometry(&self) -> Geometry {
        let capacity_bytes = self.part.end - self.part.start;
        Geometry { capacity_bytes, ..self.disk.borrow().geometry() }
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry().check_read(offset, into.len() as u64)?;
        self.disk.borrow_mut().read(self.part.start + offset, into)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry().check_write(offset, bytes.len() as u64)?;
        self.disk.borrow_mut().write(self.part.start + offset, bytes)
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry().check_erase(offset, len)?;
        self.disk.borrow_mut().erase(self.part.start + offset, len)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.disk.borrow_mut().flush_part(&self.part)
    }
}
