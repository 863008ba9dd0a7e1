//! Whole devices: streams that are installed, and slots that hold anything.

use stillboot::device::Geometry;
use stillboot::format::{Slot, SlotKind};
use stillboot::install::Running;
use stillboot::operate::Request;

use super::formats::head;
use crate::disk::RamDisk;
use crate::release::Publisher;
use crate::world::{Bytes, Ground, World};

/// A stream in odd pieces, sound but for what the input changes in it, never harms what runs.
pub fn install(data: &[u8]) {
    let publisher = Publisher::new(1);
    let mut world = small(&publisher);
    let first = publisher.simple(1, SlotKind::Update).expect("a sound bundle");
    world.install(&first, None).expect("a blank device takes it");
    let trial = world.power_on().expect("sound").proof.expect("it boots");
    world.operate(Request::MarkGood(trial)).expect("it is confirmed");
    let proof = world.power_on().expect("sound").proof.expect("it boots");
    let mut bundle = publisher.simple(2, SlotKind::Update).expect("a sound bundle");
    let sound = bundle.clone();
    // Three bytes each: where, and what to do there.
    for change in data.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bundle.len();
        match change[2] % 4 {
            0 => bundle[at] ^= change[2] | 1,
            1 => bundle.truncate(at.max(1)),
            2 => bundle.insert(at, change[2]),
            _ => {
                bundle.remove(at);
                if bundle.is_empty() {
                    bundle.push(0);
                }
            }
        }
    }
    let piece = 1 + usize::from(data.first().copied().unwrap_or(0));
    let mut source = Bytes::new(&bundle, piece);
    let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
    assert_eq!(result.is_ok(), bundle == sound);
    let next = world.power_on().expect("sound").proof.expect("something boots");
    assert_eq!(next.digest == proof.digest, bundle != sound);
}

/// A slot full of anything never boots, and never stops the other.
pub fn slot(data: &[u8]) {
    head(data);
    let publisher = Publisher::new(1);
    let mut world = small(&publisher);
    let first = publisher.simple(1, SlotKind::Update).expect("a sound bundle");
    world.install(&first, None).expect("a blank device takes it");
    let b = world.ground.slots()[1].regions[0].region;
    let len = data.len().min(b.len as usize);
    world.disks[0].poke(b.offset, &data[..len]);
    for copy in 0..2 {
        let region = world.ground.record(copy);
        // With the record, and without one.
        if data.first().is_some_and(|byte| byte & 1 << copy != 0) {
            world.disks[0].poke(region.offset, &data[..len.min(512)]);
        }
    }
    let power_on = world.power_on().expect("sound");
    assert_eq!(power_on.slot(), Some(Slot::A), "{:?}", power_on.report);
}

pub(super) fn small(publisher: &Publisher) -> World<'_, RamDisk> {
    let geometry = Geometry::disk(512, 0);
    let ground = Ground::new(geometry, &[Slot::A, Slot::B], 64 << 10);
    let disks = ground.geometries().iter().map(|g| RamDisk::new(*g, 0)).collect();
    World::new(publisher.device(), ground, disks)
}
