//! What is bound to one disk: bytes that are read back, proofs, marks.

use stillboot::format::{Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Refusal, Reuse, Running};
use stillboot::request::Request;
use stillboot_sim::Publisher;
use stillboot_sim::world::Bytes;
use stillboot_tests::{blank, commission, media, state};

use super::{AB, update};

#[test]
fn a_device_that_returns_other_bytes_when_read_back_is_found_out() {
    use stillboot::device::{BlockDevice, DeviceError, Geometry};
    use stillboot_sim::disk::RamDisk;

    /// Returns one byte wrong, at the n-th read and from then on.
    struct Unstable(RamDisk, u32);
    impl BlockDevice for Unstable {
        fn geometry(&self) -> Geometry {
            self.0.geometry()
        }
        fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
            self.0.read(offset, into)?;
            self.1 = self.1.saturating_sub(1);
            if self.1 == 0 {
                into[0] ^= 1;
            }
            Ok(())
        }
        fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
            self.0.write(offset, bytes)
        }
        fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
            self.0.erase(offset, len)
        }
        fn flush(&mut self) -> Result<(), DeviceError> {
            self.0.flush()
        }
    }

    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &update(&publisher, 1, 1));
    let bundle = publisher.simple(2, SlotKind::Update).unwrap();
    let mut caught = 0;
    for from in 1.. {
        let disk = Unstable(world.disks[0].fork(), from);
        let mut lying = stillboot_sim::World::new(world.device, world.ground.clone(), vec![disk]);
        let mut source = Bytes::new(&bundle, usize::MAX);
        let result = lying.install_with(&mut source, Running::Proof(proof), |config| {
            config.reuse = Reuse { target: true, stated: false, running: false };
        });
        if lying.disks[0].1 > 0 {
            result.unwrap();
            break;
        }
        assert!(result.is_err(), "lying from read {from} on");
        caught += 1;
    }
    assert!(caught > 10, "only {caught} reads");
    assert_eq!(state(&mut world, Slot::A), SlotState::Good);
}

#[test]
fn proofs_are_bound_to_their_disk_and_marks_to_their_attempt() {
    let publisher = Publisher::new(1);
    let mut one = blank(&publisher, media()[0].1, AB);
    let mut other = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut one, &update(&publisher, 1, 1));
    commission(&mut other, &update(&publisher, 2, 1));
    assert_eq!(
        other.install(&update(&publisher, 3, 1), Some(proof)),
        Err(InstallError::Refused(Refusal::Proof))
    );
    assert!(other.perform(Request::MarkGood(proof)).is_err());
}
