//! Devices of other shapes, and how much is read.

use stillboot::boot::{self as power_on, Action, Boot, BootConfig};
use stillboot::device::{BlockDevice, Geometry};
use stillboot::driver;
use stillboot::format::{Load, Role, Slot, SlotKind, SlotState};
use stillboot::install::{Reuse, Running};
use stillboot::io::Io;
use stillboot::verify::SoftSha256;
use stillboot_sim::disk::RamDisk;
use stillboot_sim::release::content;
use stillboot_sim::world::Bytes;
use stillboot_sim::{DeviceMap, Piece, Publisher, World};
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media};

use super::{AB, bundle, running};

#[test]
fn three_slots_keep_two_good_ones() {
    let publisher = Publisher::new(1);
    let (mut world, mut proof) = running(&publisher, &[Slot::A, Slot::B, Slot::C]);
    for sequence in 2..8 {
        world.install(&bundle(&publisher, sequence), Some(proof)).unwrap();
        confirm(&mut world);
        proof = boot(&mut world);
        let (record, ..) = world.record().unwrap();
        let good = record.body.slots.iter().filter(|s| s.state == SlotState::Good).count();
        assert_eq!(good as u64, sequence.min(3));
        assert_eq!(record.body.slot(proof.slot).version.as_str(), format!("{sequence}.0.0"));
    }
}

#[test]
fn slots_on_two_devices_and_components_linked_for_a_slot() {
    let publisher = Publisher::new(1);
    let mut ground = DeviceMap::new(media()[0].1, AB, 64 << 10);
    ground.add_device(media()[4].1, &[Role::Rootfs, Role::Data], 96 << 10);
    let disks = ground.geometries().iter().map(|g| RamDisk::new(*g, g.erased.unwrap_or(0)));
    let disks = disks.collect();
    let mut world = World::new(publisher.device(), ground, disks);
    let (a, b, rootfs) = (content(1, 9000), content(2, 8000), content(3, 70_001));
    let piece = |role, load, linked, bytes| Piece { role, load, linked, bytes };
    let parts = [
        piece(Role::Image, Load::Xip, Some(Slot::A), &a[..]),
        piece(Role::Image, Load::Xip, Some(Slot::B), &b[..]),
        piece(Role::Rootfs, Load::Late, None, &rootfs[..]),
    ];
    let bundle = |sequence| {
        publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &parts).unwrap()
    };
    let proof = commission(&mut world, &bundle(1));
    let installed = world.install(&bundle(2), Some(proof)).unwrap();
    assert_eq!(installed.written, 8000 + 70_001);
    assert_eq!(confirm(&mut world).slot, Slot::B);
    let ground = world.ground.clone();
    let b_root = ground.slots()[1].regions[1].region;
    assert_eq!(world.disks[1].bytes(b_root.offset, 70_001), rootfs);
}

#[test]
fn reuse_takes_equal_chunks_from_the_running_slot() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        let mut kernel = content(1, 60_000);
        let make = |sequence, bytes: &[u8]| {
            let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes };
            publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &[piece]).unwrap()
        };
        let proof = commission(&mut world, &make(1, &kernel));
        kernel[20_000] ^= 1;
        let second = make(2, &kernel);
        let mut source = Bytes::new(&second, usize::MAX);
        let reuse = Reuse { target: true, running: true };
        let installed = world
            .install_with(&mut source, Running::Proof(proof), |config| config.reuse = reuse)
            .expect(name);
        assert_eq!((installed.written, installed.reused), (4096, 60_000 - 4096), "{name}");
        assert!(source.read < 10_000, "{name}: {} bytes came from the stream", source.read);
        assert_eq!(confirm(&mut world).slot, Slot::B, "{name}");
    }
}

/// How often the machine of a power-on reads before it asks for a component: what decides, and what
/// it wrote itself, to see that the try that it counted is on the medium.
fn reads_to_decide(world: &mut RamWorld<'_>) -> (usize, usize) {
    let ground = world.ground.clone();
    let slots = ground.slots();
    let layout = ground.layout(&slots).unwrap();
    let config = BootConfig {
        device: world.device,
        layout,
        tries: 3,
        nonce: 77,
        has_store: false,
        check_late: true,
        watchdog_reset: false,
    };
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
