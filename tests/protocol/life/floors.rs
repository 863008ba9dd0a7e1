//! Floors, and stores that fail.

use stillboot::boot::Reason;
use stillboot::format::{Floor, Load, Role, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Refusal, Wait};
use stillboot_sim::release::content;
use stillboot_sim::world::SimStore;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::forge::forge_record;
use stillboot_tests::{blank, boot, commission, confirm, media, state};

use super::{AB, bundle, running};

#[test]
fn floor_rises_with_the_lowest_good_slot_and_refuses_what_is_below() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    world.store = Some(SimStore::default());
    let leveled = |sequence, level| {
        let mut manifest = publisher.manifest(sequence);
        manifest.level = level;
        let bytes = content(sequence, 6000);
        let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
        publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap()
    };
    let proof = commission(&mut world, &leveled(1, 1));
    let floor = |level| Some(Floor { keyset_version: 1, level });
    assert_eq!(world.store.as_ref().unwrap().floors[0], floor(1));
    world.install(&leveled(2, 5), Some(proof)).unwrap();
    confirm(&mut world);
    let proof = boot(&mut world);
    // The fallback is still of level 1: the floor must not lock it out.
    assert_eq!(world.store.as_ref().unwrap().floors[0], floor(1));
    world.install(&leveled(3, 4), Some(proof)).unwrap();
    confirm(&mut world);
    let proof = boot(&mut world);
    assert_eq!(world.store.as_ref().unwrap().floors[0], floor(4));
    assert_eq!(Some(world.record().unwrap().0.body.floor), floor(4));
    let found = Floor { keyset_version: 1, level: 3 };
    let refused = Refusal::BelowFloor { found, floor: floor(4).unwrap() };
    assert_eq!(world.install(&leveled(4, 3), Some(proof)), Err(InstallError::Refused(refused)));
    // And a level that would use the numbers up is a mistake.
    let result = world.install(&leveled(5, 1 << 20), Some(proof));
    assert!(matches!(result, Err(InstallError::Refused(Refusal::FloorJump { .. }))), "{result:?}");
    // A disk from before the floor rose does not boot here.
    let mut old = blank(&publisher, media()[0].1, AB);
    commission(&mut old, &leveled(1, 1));
    old.store = world.store.clone();
    let power_on = old.power_on().unwrap();
    assert_eq!(power_on.proof, None);
    assert!(matches!(power_on.report.lines[0].reason, Reason::BelowStoreFloor { .. }));
}

#[test]
fn forged_floor_in_the_record_is_ignored_and_mended() {
    let publisher = Publisher::new(1);
    let (mut world, _) = running(&publisher, AB);
    world.store = Some(SimStore::default());
    boot(&mut world);
    let stored = world.store.as_ref().unwrap().floors[0];
    forge_record(&mut world, |record| {
        record.body.floor = Floor { keyset_version: 9, level: u32::MAX }
    });
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.slot(), Some(Slot::A), "{:?}", power_on.report);
    assert!(power_on.report.floor_ignored);
    assert_eq!(world.store.as_ref().unwrap().floors[0], stored);
    assert_eq!(Some(world.record().unwrap().0.body.floor), stored);
    assert!(!world.power_on().unwrap().report.floor_ignored);
}

#[test]
fn a_failing_store_allows_good_slots_only() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.store = Some(SimStore::default());
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    world.store.as_mut().unwrap().fails = true;
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.slot(), Some(Slot::A));
    assert_eq!(power_on.report.lines[0].reason, Reason::StoreFailed);
    assert_eq!(state(&mut world, Slot::B), SlotState::Ready { tries: 3 });
    let waits = Err(InstallError::Deferred(Wait::StoreFailed));
    assert_eq!(world.install(&bundle(&publisher, 3), power_on.proof), waits);
    world.store.as_mut().unwrap().fails = false;
    assert_eq!(boot(&mut world).slot, Slot::B);
}
