//! States from which an outsider found no way back to a device that boots and takes updates, each
//! with the way out that there is now. The kinds are explored at large by `tests/sim/hostile.rs`.

mod floors;
mod record;
mod recovery;
mod slots;

use stillboot::device::BlockDevice;
use stillboot::format::{BootProof, Fault, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Installed, Running};
use stillboot::layout::Part;
use stillboot::select::CandidateKind;
use stillboot_sim::disk::RamDisk;
use stillboot_sim::hostile::unread::Unread;
use stillboot_sim::world::Bytes;
use stillboot_sim::{Publisher, World};
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media};

const AB: &[Slot] = &[Slot::A, Slot::B];
const ABR: &[Slot] = &[Slot::A, Slot::B, Slot::Recovery];
const CORRUPT: SlotState = SlotState::Bad { fault: Fault::Corrupt };

fn simple(publisher: &Publisher, sequence: u64) -> Vec<u8> {
    publisher.simple(sequence, SlotKind::Update).unwrap()
}

/// Two good slots: version 1 in a, version 2 in b, which goes first.
fn two_good<'a>(publisher: &'a Publisher, number: usize, slots: &[Slot]) -> RamWorld<'a> {
    let mut world = blank(publisher, media()[number].1, slots);
    let proof = commission(&mut world, &simple(publisher, 1));
    world.install(&simple(publisher, 2), Some(proof)).unwrap();
    confirm(&mut world);
    boot(&mut world);
    world
}

fn install_to<D: BlockDevice>(
    world: &mut World<'_, D>,
    bundle: &[u8],
    running: Option<BootProof>,
    target: Slot,
) -> Result<Installed, InstallError> {
    let running = running.map_or(Running::Offline, Running::Proof);
    world.install_with(&mut Bytes::new(bundle, usize::MAX), running, |config| {
        config.target = Some(target);
    })
}

fn slot_start<D>(world: &World<'_, D>, slot: Slot) -> u64 {
    let slots = world.ground.slots();
    slots.iter().find(|found| found.slot == slot).unwrap().regions[0].region.offset
}

/// Where the head of the slot stands.
fn head_of<D>(world: &World<'_, D>, slot: Slot) -> u64 {
    let slots = world.ground.slots();
    let layout = world.ground.layout(&slots).unwrap();
    layout.part(slot, Part::Trust).unwrap().offset
}

/// Turns a bit of the last bytes of what stands in the slot.
fn rot(world: &mut RamWorld<'_>, slot: Slot, bundle: &[u8]) {
    let tail = bundle[bundle.len() - 64..].to_vec();
    let start = slot_start(world, slot);
    let all = world.disks[0].bytes(start, 128 << 10);
    let at = start + all.windows(64).position(|window| window == tail).unwrap() as u64;
    world.disks[0].poke(at, &[tail[0] ^ 1]);
}

/// The next update gets in by the commands that the messages name.
fn updated(world: &mut RamWorld<'_>, bundle: &[u8]) -> Slot {
    let slot = world.install(bundle, None).unwrap().slot;
    assert_eq!(confirm(world).slot, slot);
    let power_on = world.power_on().unwrap();
    let candidate = power_on.report.lines.last().unwrap().candidate;
    assert_eq!((candidate.slot, candidate.kind), (slot, CandidateKind::Good));
    slot
}

/// The same device, with a bad sector.
fn unread<'a>(world: &RamWorld<'a>, at: u64) -> World<'a, Unread<RamDisk>> {
    let mut disk = Unread::new(world.disks[0].fork());
    disk.range = at..at + 512;
    let mut other = World::new(world.device, world.ground.clone(), vec![disk]);
    other.nonce = 1 << 20;
    other
}
