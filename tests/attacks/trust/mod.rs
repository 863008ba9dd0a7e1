//! Who may sign, and what a stolen key comes to: rotation, floors, stores.

mod floors;
mod kinds;
mod loader;
mod media;
mod rotation;
mod signers;

use stillboot::format::{BootProof, Load, Role, Slot, SlotKind};
use stillboot_sim::release::content;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::{RamWorld, boot, confirm};

const AB: &[Slot] = &[Slot::A, Slot::B];
const ABR: &[Slot] = &[Slot::A, Slot::B, Slot::Recovery];

/// A bundle with this sequence and level, by whatever keys the publisher has now.
fn leveled(publisher: &Publisher, sequence: u64, level: u32, kind: SlotKind) -> Vec<u8> {
    let bytes = content(sequence, 900);
    let mut manifest = publisher.manifest(sequence);
    manifest.level = level;
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
    publisher.bundle(manifest, kind, &[piece]).unwrap()
}

fn update(publisher: &Publisher, sequence: u64, level: u32) -> Vec<u8> {
    leveled(publisher, sequence, level, SlotKind::Update)
}

/// Installs, boots and confirms, and gives the proof of the boot after that.
fn take(world: &mut RamWorld<'_>, bundle: &[u8], proof: BootProof) -> BootProof {
    world.install(bundle, Some(proof)).unwrap();
    confirm(world);
    boot(world)
}
