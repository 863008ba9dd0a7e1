//! What tests across crates share: a small world on RAM disks, and ways to look into it.

pub mod bench;
pub mod chores;
pub mod forge;
pub mod vectors;

use stillboot::device::Geometry;
use stillboot::format::{BootProof, Manifest, Slot, SlotState};
use stillboot::layout::{Part, Region};
use stillboot::request::Request;
use stillboot_sim::disk::RamDisk;
use stillboot_sim::{DeviceMap, Publisher, World};

/// A world on RAM disks.
pub type RamWorld<'a> = World<'a, RamDisk>;

/// The seed of a random test: `STILLBOOT_SEED` if set, else one that the name makes. Printed, so
/// that a failure can be replayed.
#[must_use]
pub fn seed(name: &str) -> u64 {
    let seed = std::env::var("STILLBOOT_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        name.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
    });
    println!("{name}: STILLBOOT_SEED={seed}");
    seed
}

/// Media that every story must hold on.
#[must_use]
pub fn media() -> Vec<(&'static str, Geometry)> {
    let nor = |granule, erase| Geometry {
        logical_block_bytes: 1,
        write_granule_bytes: granule,
        erase_block_bytes: erase,
        capacity_bytes: 0,
        erased: Some(0xff),
    };
    vec![
        ("disk with 512 byte sectors", Geometry::disk(512, 0)),
        ("disk with 4096 byte sectors", Geometry::disk(4096, 0)),
        ("NOR flash, granule 1, blocks of 4 KiB", nor(1, 4096)),
        ("NOR flash, granule 8, blocks of 2 KiB", nor(8, 2048)),
        ("NOR flash, granule 32, blocks of 16 KiB", nor(32, 16 << 10)),
    ]
}

/// A blank device of `publisher` with these slots.
#[must_use]
pub fn blank<'a>(publisher: &'a Publisher, geometry: Geometry, slots: &[Slot]) -> RamWorld<'a> {
    let ground = DeviceMap::new(geometry, slots, 128 << 10);
    let disks =
        ground.geometries().iter().map(|g| RamDisk::new(*g, g.erased.unwrap_or(0))).collect();
    World::new(publisher.device(), ground, disks)
}

/// Installs the first version offline, boots it and confirms it. Returns the proof of the boot that
/// follows.
///
/// # Panics
/// If any of that fails: the test that wanted it has then nothing to stand on.
pub fn commission(world: &mut RamWorld<'_>, bundle: &[u8]) -> BootProof {
    world.install(bundle, None).expect("factory install");
    confirm(world);
    boot(world)
}

/// Powers on and confirms what runs.
///
/// # Panics
/// If nothing boots or the confirmation is refused.
pub fn confirm(world: &mut RamWorld<'_>) -> BootProof {
    let proof = boot(world);
    world.perform(Request::MarkGood(proof)).expect("confirm");
    proof
}

/// Powers on.
///
/// # Panics
/// If nothing boots.
pub fn boot(world: &mut RamWorld<'_>) -> BootProof {
    let power_on = world.power_on().expect("layout");
    power_on.proof.unwrap_or_else(|| panic!("nothing boots: {:?}", power_on.report))
}

/// The recorded state of `slot`.
///
/// # Panics
/// If the record cannot be read.
pub fn state(world: &mut RamWorld<'_>, slot: Slot) -> SlotState {
    world.record().expect("record").0.body.slot(slot).state
}

/// Where a part of a slot's head stands.
///
/// # Panics
/// If the device has no such slot.
#[must_use]
pub fn part(world: &RamWorld<'_>, slot: Slot, part: Part) -> Region {
    let slots = world.ground.slots();
    let layout = world.ground.layout(&slots).expect("layout");
    layout.part(slot, part).expect("a slot of the device")
}

/// Where component `number` of `manifest` stands in a slot.
///
/// # Panics
/// If the device has no such slot, or it does not fit.
#[must_use]
pub fn component(world: &RamWorld<'_>, slot: Slot, manifest: &Manifest, number: usize) -> Region {
    let slots = world.ground.slots();
    let layout = world.ground.layout(&slots).expect("layout");
    layout.component(slot, manifest, number).expect("a component of the slot")
}

/// Overwrites all of a slot with zeros, its head included.
pub fn wipe(world: &mut RamWorld<'_>, slot: Slot) {
    for stretch in world.ground.stretches(slot) {
        let len = stretch.end - stretch.start;
        world.disks[0].poke(stretch.start, &vec![0; len as usize]);
    }
}

/// Compiles the code in the README, so that it stays true.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// Compiles and runs the code in the page on porting, so that it stays true.
#[cfg(doctest)]
#[doc = include_str!("../../docs/PORTING.md")]
struct Porting;
