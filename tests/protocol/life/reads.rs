//! How much a decision reads.

use stillboot::boot::{self as power_on, Action, Boot, BootConfig};
use stillboot::device::{BlockDevice, Geometry};
use stillboot::driver;
use stillboot::format::{Slot, SlotKind};
use stillboot::io::Io;
use stillboot::verify::SoftSha256;
use stillboot_sim::disk::RamDisk;
use stillboot_sim::{DeviceMap, Publisher, World};
use stillboot_tests::{RamWorld, blank, commission, confirm, media};

/// How often the machine of a power-on reads before it asks for a component: what decides, and what
/// it wrote itself, to see that the try that it counted is on the medium.
fn reads_to_decide(world: &mut RamWorld<'_>) -> (usize, usize) {
    let ground = world.ground.clone();
    let slots = ground.slots();
    let layout = ground.layout(&slots).unwrap();
    let config = BootConfig::new(world.device, layout, 77).with_check_late(true);
    let mut machine = Boot::<SoftSha256>::new(&config);
    let mut buffer = vec![0; Boot::<SoftSha256>::buffer_len_min(&layout)];
    let mut devices: Vec<&mut dyn BlockDevice> =
        world.disks.iter_mut().map(|disk| disk as &mut dyn BlockDevice).collect();
    let (mut event, mut reads, mut checks) = (power_on::Event::Start, 0, 0);
    let mut written = Vec::new();
    loop {
        match machine.step(event, &mut buffer) {
            Action::Io(io) => {
                match &io {
                    Io::Write { device, offset, .. } => written.push((*device, *offset)),
                    Io::Read { device, offset, .. } if written.contains(&(*device, *offset)) => {
                        checks += 1;
                    }
                    Io::Read { .. } => reads += 1,
                    Io::Erase { .. } | Io::Flush { .. } => {}
                }
                event = match driver::carry_out(&io, &mut devices, &mut buffer) {
                    Ok(()) => power_on::Event::Done,
                    Err(error) => power_on::Event::Failed(error),
                };
            }
            Action::Reserve { .. } => return (reads, checks),
            other => panic!("nothing is loaded: {other:?}"),
        }
    }
}

#[test]
fn a_decision_takes_four_reads_at_most() {
    for (medium, geometry) in media() {
        let publisher = Publisher::new(1);
        let release = |number| publisher.simple(number, SlotKind::Update).unwrap();
        let mut world = blank(&publisher, geometry, &[Slot::A, Slot::B]);
        let proof = commission(&mut world, &release(1));
        // All places of the record, and the head of the good slot.
        assert_eq!(reads_to_decide(&mut world), (4, 0), "{medium}");
        world.install(&release(2), Some(proof)).unwrap();
        // And the record once more, to see that the try is on the medium.
        assert_eq!(reads_to_decide(&mut world), (4, 1), "{medium}");
    }
}

#[test]
fn a_decision_takes_eight_reads_at_most_with_a_log() {
    for (blocks, block_bytes) in [(2, 128 << 10), (2, 8 << 10), (3, 8 << 10), (4, 8 << 10)] {
        let geometry = Geometry {
            logical_block_bytes: 1,
            write_granule_bytes: 32,
            erase_block_bytes: block_bytes,
            capacity_bytes: 0,
            erased: Some(0xff),
        };
        let slot_bytes = (128 << 10).max(2 * u64::from(block_bytes));
        let slots = [Slot::A, Slot::B];
        let ground = DeviceMap::log(geometry, blocks, block_bytes.into(), &slots, slot_bytes);
        let disks = ground.geometries().iter().map(|g| RamDisk::new(*g, 0xff)).collect();
        let publisher = Publisher::new(1);
        let mut world: RamWorld<'_> = World::new(publisher.device(), ground, disks);
        let release = |number| publisher.simple(number, SlotKind::Update).unwrap();
        let mut proof = commission(&mut world, &release(1));
        let mut most = (0, 0);
        // The small ones are full after two updates: each block has been the one that counts.
        for number in 2..12 {
            world.install(&release(number), Some(proof)).unwrap();
            let trial = reads_to_decide(&mut world);
            proof = confirm(&mut world);
            let good = reads_to_decide(&mut world);
            for (reads, checks) in [trial, good] {
                most = (most.0.max(reads), most.1.max(checks));
            }
        }
        println!("log of {blocks} blocks of {block_bytes} bytes: at most {most:?} reads");
        assert!(most.0 <= 8, "{blocks} blocks of {block_bytes}: {most:?}");
    }
}
