//! Devices of other shapes.

use stillboot::boot::{Boot, BootConfig, Event};
use stillboot::device::BlockDevice;
use stillboot::driver::{self, InPlace, NoStore, Source, SourceError};
use stillboot::format::{Load, Role, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Reuse, Running};
use stillboot::layout::Region;
use stillboot::request::Request;
use stillboot::verify::SoftSha256;
use stillboot_sim::disk::RamDisk;
use stillboot_sim::release::content;
use stillboot_sim::world::Bytes;
use stillboot_sim::{DeviceMap, Piece, Publisher, World};
use stillboot_tests::{blank, boot, commission, confirm, media};

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
    // What the loader is told of the places, in either slot.
    for (slot, number, image) in [(Slot::B, 1, &b), (Slot::A, 0, &a)] {
        let outcome = world.power_on().unwrap();
        assert_eq!(outcome.slot(), Some(slot));
        let [first, second] = outcome.placed[..] else { panic!("{:?}", outcome.placed) };
        assert_eq!((first.number, first.load), (number, Load::Xip));
        assert_eq!((second.number, second.load), (2, Load::Late), "this loader checks late ones");
        let start = ground.slots()[number].regions[0].region;
        assert_eq!(first.region, Region { len: image.len() as u64, ..start });
        assert_eq!(first.address(0x0800_0000), 0x0800_0000 + start.offset);
        for (placed, expected) in [(first, image), (second, &rootfs)] {
            let Region { device, offset, len } = placed.region;
            assert_eq!(&world.disks[usize::from(device)].bytes(offset, len as usize), expected);
        }
        world.perform(Request::Rollback(slot)).unwrap();
    }
}

/// What was not checked in this power-on has no place, and nothing has one before the hand-over.
#[test]
fn only_what_was_verified_has_a_place() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let (image, data) = (content(1, 9000), content(2, 5000));
    let piece = |role, load, bytes| Piece { role, load, linked: None, bytes };
    let parts =
        [piece(Role::Image, Load::Xip, &image[..]), piece(Role::Data, Load::Late, &data[..])];
    let bundle = publisher.bundle(publisher.manifest(1), SlotKind::Update, &parts).unwrap();
    commission(&mut world, &bundle);
    let ground = world.ground.clone();
    let slots = ground.slots();
    let layout = ground.layout(&slots).unwrap();
    for check_late in [false, true] {
        let config = BootConfig::new(publisher.device(), layout, 9).with_check_late(check_late);
        let mut machine = Boot::<SoftSha256>::new(&config);
        assert_eq!(machine.placed(Role::Image), None);
        let mut buffer = vec![0; 8192];
        let disks: &mut [&mut dyn BlockDevice] = &mut [&mut world.disks[0]];
        let (store, memory) = (&mut NoStore, &mut InPlace);
        driver::boot(&mut machine, Event::Start, disks, store, memory, &mut buffer).unwrap();
        assert_eq!(machine.placed(Role::Image).map(|placed| placed.region.len), Some(9000));
        assert_eq!(machine.placed(Role::Data).is_some(), check_late);
        assert_eq!(machine.placed(Role::Kernel), None);
        // The image did not run: another candidate may follow, and there is none.
        assert!(
            driver::boot(&mut machine, Event::Returned, disks, store, memory, &mut buffer)
                .is_none()
        );
        assert_eq!(machine.placed(Role::Image), None);
    }
}

/// A bundle whose source says which chunks of its only component the target holds.
struct Stated<'a> {
    bundle: &'a [u8],
    /// How far it was read.
    at: usize,
    /// Where the component starts.
    data: usize,
    /// By chunk.
    held: Vec<bool>,
}

impl Source for Stated<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let len = into.len().min(self.bundle.len() - self.at);
        into[..len].copy_from_slice(&self.bundle[self.at..][..len]);
        self.at += len;
        Ok(len)
    }
    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        self.at += len as usize;
        Ok(())
    }
    fn is_held(&mut self, len: u64) -> bool {
        let first = (self.at - self.data) / 4096;
        let end = first + (len as usize).div_ceil(4096);
        self.held[first..end].iter().all(|held| *held)
    }
    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(self.at < self.bundle.len())
    }
}

/// On flash the chunks that share an erase block are held all together, or written all together.
#[test]
fn what_a_source_says_of_the_target_is_proven_by_the_read_back() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        let first = content(1, 60_000);
        let mut third = first.clone();
        third[20_000] ^= 1;
        let make = |sequence, bytes: &[u8]| {
            let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes };
            publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &[piece]).unwrap()
        };
        let bundle = make(3, &third);
        let group = (geometry.erase_block_bytes as usize / 4096).max(1);
        let start = 4 / group * group * 4096;
        let written = ((start + group * 4096).min(third.len()) - start) as u64;
        for is_right in [true, false] {
            let mut world = blank(&publisher, geometry, AB);
            let proof = commission(&mut world, &make(1, &first));
            world.install(&make(2, &content(2, 60_000)), Some(proof)).expect(name);
            let proof = confirm(&mut world);
            assert_eq!(proof.slot, Slot::B, "{name}");
            let held = (0..15).map(|chunk| chunk != 4 || !is_right).collect::<Vec<_>>();
            let data = bundle.len() - third.len();
            let mut install = || {
                let mut source = Stated { bundle: &bundle, at: 0, data, held: held.clone() };
                let reuse = Reuse { target: true, stated: true, running: false };
                let running = Running::Proof(proof);
                world.install_with(&mut source, running, |config| config.reuse = reuse)
            };
            if !is_right {
                assert_eq!(install().unwrap_err(), InstallError::ReadBack, "{name}");
            }
            let installed = install().expect(name);
            assert_eq!(installed.resumed, !is_right, "{name}");
            let expected = (written, third.len() as u64 - written);
            assert_eq!((installed.written, installed.reused), expected, "{name}");
            assert_eq!(confirm(&mut world).slot, Slot::A, "{name}");
        }
    }
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
        let reuse = Reuse { target: true, stated: false, running: true };
        let installed = world
            .install_with(&mut source, Running::Proof(proof), |config| config.reuse = reuse)
            .expect(name);
        assert_eq!((installed.written, installed.reused), (4096, 60_000 - 4096), "{name}");
        assert!(source.read < 10_000, "{name}: {} bytes came from the stream", source.read);
        assert_eq!(confirm(&mut world).slot, Slot::B, "{name}");
    }
}
