//! Records of later formats are obeyed and not written.

use stillboot::format::{Slot, record};
use stillboot::install::{InstallError, Refusal};
use stillboot::record::RecordStatus;
use stillboot::request::{Request, RequestError};
use stillboot_sim::disk::RamDisk;
use stillboot_sim::{DeviceMap, Publisher, World};
use stillboot_tests::{RamWorld, commission, confirm, media};

use super::{AB, bundle, running};

#[test]
fn record_of_a_later_format_is_obeyed_read_only() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    // All copies carry a later version and a checksum that fits.
    for region in world.ground.places() {
        let mut bytes = world.disks[0].bytes(region.offset, record::LEN_MAX);
        let len = 16 + usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
        bytes[4..6].copy_from_slice(&2_u16.to_le_bytes());
        let crc = crc32(&bytes[..len]);
        bytes[len..len + 4].copy_from_slice(&crc.to_le_bytes());
        world.disks[0].poke(region.offset, &bytes);
    }
    let before = world.disks[0].content_hash();
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.report.record, RecordStatus::Newer);
    assert_eq!(power_on.slot(), Some(Slot::A));
    assert_eq!(world.disks[0].content_hash(), before);
    let refused = Err(InstallError::Refused(Refusal::NewerRecord));
    assert_eq!(
        world.install(&bundle(&publisher, 3), Some(proof)),
        Err(InstallError::Refused(Refusal::NewerRecord))
    );
    assert_eq!(world.install(&bundle(&publisher, 3), None), refused);
}

/// The same in a log: an entry that this build does not know is sound, so a later version made it.
#[test]
fn a_log_with_an_entry_of_a_later_version_is_obeyed_read_only() {
    use stillboot::format::log::{self, Cell, EntryKind};
    let publisher = Publisher::new(1);
    for (name, geometry) in [media()[2], media()[3], media()[4]] {
        let blocks = 3;
        let block = u64::from(geometry.erase_block_bytes).max(16 << 10);
        let ground = DeviceMap::log(geometry, blocks, block, AB, 128 << 10);
        let geometry = ground.geometries()[0];
        let disk = RamDisk::new(geometry, geometry.erased.unwrap_or(0));
        let mut world = World::new(publisher.device(), ground, vec![disk]);
        let proof = commission(&mut world, &bundle(&publisher, 1));
        world.install(&bundle(&publisher, 2), Some(proof)).expect(name);
        // The first free cell of the block that counts.
        let cell_len = u64::from(geometry.write_granule_bytes).max(log::CELL_LEN as u64);
        let generation = |number: u64| {
            log::parse_header(&world.disks[0].bytes(number * block, log::HEADER_LEN)).unwrap_or(0)
        };
        let newest = (0..blocks).max_by_key(|number| generation(*number)).unwrap();
        let generation = generation(newest);
        let is_free =
            |at: &u64| world.disks[0].bytes(*at, cell_len as usize).iter().all(|b| *b == 0xff);
        let header = (log::HEADER_LEN as u64).next_multiple_of(cell_len);
        let mut cells = (newest * block + header..).step_by(cell_len as usize);
        let free = cells.find(is_free).unwrap();
        assert!(generation > 0 && free < newest * block + block / 8 - header, "{name}");
        let before = world.disks[0].fork();
        let write = |world: &mut RamWorld<'_>, kind, generation| {
            let cell = Cell { kind, slot: 0, component: 0, offset: 0, cells: 0 };
            world.disks[0].poke(free, &cell.emit(generation));
        };
        write(&mut world, EntryKind::Unknown(77), generation);
        let written = world.disks[0].content_hash();
        let power_on = world.power_on().unwrap();
        assert_eq!(power_on.report.record, RecordStatus::Newer, "{name}");
        assert_eq!(power_on.slot(), Some(Slot::A), "{name}");
        let refused = Err(InstallError::Refused(Refusal::NewerRecord));
        assert_eq!(world.install(&bundle(&publisher, 3), Some(proof)), refused, "{name}");
        assert_eq!(world.install(&bundle(&publisher, 3), None), refused, "{name}");
        let refused = RequestError::NoRecord(RecordStatus::Newer);
        assert_eq!(world.perform(Request::Cancel), Err(refused), "{name}");
        assert_eq!(world.disks[0].content_hash(), written, "{name}");
        // Of another generation it is what an earlier one left: no entry.
        world.disks = vec![before];
        write(&mut world, EntryKind::Unknown(77), generation + 1);
        assert_eq!(confirm(&mut world).slot, Slot::B, "{name}");
    }
}

/// Bit by bit, apart from the core's.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}
