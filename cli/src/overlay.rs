//! A disk that is only read: what is written stays in memory.

use stillboot::device::{BlockDevice, DeviceError, Geometry};

/// A device, and what was written on top of it.
pub struct Overlay<'a> {
    below: &'a mut dyn BlockDevice,
    written: Vec<(u64, Vec<u8>)>,
}

impl<'a> Overlay<'a> {
    fn new(below: &'a mut dyn BlockDevice) -> Self {
        Self { below, written: Vec::new() }
    }
}

/// Each of these, with nothing written on top yet.
pub fn over(devices: &mut [impl BlockDevice]) -> Vec<Overlay<'_>> {
    devices.iter_mut().map(|device| Overlay::new(device)).collect()
}

impl BlockDevice for Overlay<'_> {
    fn geometry(&self) -> Geometry {
        self.below.geometry()
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.below.read(offset, into)?;
        let end = offset + into.len() as u64;
        for (from, bytes) in &self.written {
            let (first, last) = ((*from).max(offset), (from + bytes.len() as u64).min(end));
            if first < last {
                let len = (last - first) as usize;
                let source = (first - from) as usize;
                let target = (first - offset) as usize;
                into[target..target + len].copy_from_slice(&bytes[source..source + len]);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry().check_write(offset, bytes.len() as u64)?;
        self.written.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        let geometry = self.geometry();
        geometry.check_erase(offset, len)?;
        if let (Some(value), Ok(len)) = (geometry.erased, usize::try_from(len)) {
            self.written.push((offset, vec![value; len]));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stillboot::device::conformance;
    use stillboot_sim::disk::RamDisk;

    use super::*;

    #[test]
    fn it_is_a_device_and_leaves_the_one_below_as_it_was() {
        for geometry in [Geometry::disk(512, 1 << 20), Geometry::disk(4096, 1 << 20)] {
            let mut below = RamDisk::new(geometry, 0);
            conformance::check(&mut Overlay::new(&mut below), &mut vec![0; 64 << 10]).unwrap();
            assert!(below.bytes(0, 1 << 20).iter().all(|byte| *byte == 0));
        }
    }
}
