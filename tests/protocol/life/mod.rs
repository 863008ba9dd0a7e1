//! Stories: what happens to a device from the factory on, on every kind of medium.

mod damage;
mod devices;
mod dropped;
mod floors;
mod later_formats;
mod line;
mod reads;
mod refusals;
mod trials;

use stillboot::format::{Slot, SlotKind};
use stillboot_sim::Publisher;
use stillboot_tests::{RamWorld, blank, commission, media};

const AB: &[Slot] = &[Slot::A, Slot::B];
const ABR: &[Slot] = &[Slot::A, Slot::B, Slot::Recovery];

fn bundle(publisher: &Publisher, sequence: u64) -> Vec<u8> {
    publisher.simple(sequence, SlotKind::Update).expect("bundle")
}

/// A device whose slot A runs version 1, confirmed.
fn running<'a>(
    publisher: &'a Publisher,
    slots: &[Slot],
) -> (RamWorld<'a>, stillboot::format::BootProof) {
    let mut world = blank(publisher, media()[0].1, slots);
    let proof = commission(&mut world, &bundle(publisher, 1));
    (world, proof)
}
