//! Recovery that is older, foreign, untried or bad.

use stillboot::format::{Floor, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Nothing, Refusal, Running};
use stillboot::request::Request;
use stillboot_sim::world::Bytes;
use stillboot_sim::{Publisher, World};
use stillboot_tests::forge::{forge_record, plant};
use stillboot_tests::{RamWorld, boot, confirm};

use super::{AB, ABR, CORRUPT, head_of, install_to, simple, two_good};

/// An older recovery system, signed by a key that was revoked since, replaced a newer one.
#[test]
fn recovery_is_not_downgraded_and_a_broken_one_can_be_replaced() {
    let mut publisher = Publisher::new(1);
    let old = publisher.simple(50, SlotKind::Recovery).unwrap();
    publisher.rotate_release([9; 32]);
    let new = publisher.simple(51, SlotKind::Recovery).unwrap();
    let mut world = two_good(&publisher, 0, ABR);
    let proof = boot(&mut world);
    let install =
        |world: &mut RamWorld<'_>, bundle| install_to(world, bundle, Some(proof), Slot::Recovery);
    install(&mut world, &new).unwrap();
    let floor = world.record().unwrap().0.body.recovery_floor;
    assert_eq!(floor, Floor::default(), "it is not raised by an installation");
    let answer = install(&mut world, &old);
    assert!(matches!(answer, Err(InstallError::Refused(Refusal::NotNewer { .. }))), "{answer:?}");
    assert_eq!(install(&mut world, &new), Err(InstallError::Nothing(Nothing::Running)));
    // Its bytes were damaged since, and the record does not say so: `scrub` advises a repair.
    let data = world.ground.slots()[2].regions[0].region;
    let before = world.disks[0].bytes(data.offset, 512);
    world.disks[0].poke(data.offset, &[0x5a; 512]);
    let mut source = Bytes::new(&new, usize::MAX);
    world
        .install_with(&mut source, Running::Proof(proof), |config| {
            config.target = Some(Slot::Recovery);
            config.repair = true;
        })
        .unwrap();
    assert_eq!(world.disks[0].bytes(data.offset, 512), before);

    // Found bad by a loader, its head may be sound: the same one repairs it, an older one too.
    for (bundle, is_bad) in [(&new, true), (&old, true)] {
        let mut world = World::new(world.device, world.ground.clone(), vec![world.disks[0].fork()]);
        forge_record(&mut world, |record| {
            if is_bad {
                record.body.slot_mut(Slot::Recovery).state = CORRUPT;
            }
        });
        install(&mut world, bundle).unwrap();
    }
    // A head that does not verify compares with nothing.
    let at = head_of(&world, Slot::Recovery);
    world.disks[0].poke(at, &[0x33; 64]);
    install(&mut world, &old).unwrap();
}

/// What stands in a slot of recovery and is not of this product or class compares with nothing.
#[test]
fn a_foreign_recovery_is_replaced() {
    let publisher = Publisher::new(1);
    let stranger = Publisher::new(2);
    let mut world = two_good(&publisher, 0, ABR);
    plant(&mut world, Slot::Recovery, &stranger.simple(99, SlotKind::Recovery).unwrap());
    let proof = boot(&mut world);
    let recovery = publisher.simple(50, SlotKind::Recovery).unwrap();
    install_to(&mut world, &recovery, Some(proof), Slot::Recovery).unwrap();
}

/// Recovery runs, and a damaged record calls it untried: its installations were refused.
#[test]
fn recovery_that_is_recorded_as_untried_installs_all_the_same() {
    let publisher = Publisher::new(1);
    let mut world = two_good(&publisher, 0, ABR);
    let recovery = publisher.simple(50, SlotKind::Recovery).unwrap();
    install_to(&mut world, &recovery, None, Slot::Recovery).unwrap();
    for slot in AB {
        let at = head_of(&world, *slot);
        world.disks[0].poke(at, &[0x33; 64]);
    }
    forge_record(&mut world, |record| {
        record.body.slot_mut(Slot::Recovery).state = SlotState::Ready { tries: 1 };
    });
    let proof = boot(&mut world);
    assert_eq!(proof.slot, Slot::Recovery);
    world.install(&simple(&publisher, 3), Some(proof)).unwrap();
    confirm(&mut world);
}

/// Marked bad by a person, an older recovery system was taken in its place.
#[test]
fn a_recovery_that_was_marked_bad_is_not_downgraded_either() {
    let publisher = Publisher::new(1);
    let recovery = |sequence| publisher.simple(sequence, SlotKind::Recovery).unwrap();
    let mut world = two_good(&publisher, 0, ABR);
    install_to(&mut world, &recovery(51), None, Slot::Recovery).unwrap();
    world.perform(Request::MarkBad(Slot::Recovery)).unwrap();
    let proof = boot(&mut world);
    let answer = install_to(&mut world, &recovery(50), Some(proof), Slot::Recovery);
    assert!(matches!(answer, Err(InstallError::Refused(Refusal::NotNewer { .. }))), "{answer:?}");
    install_to(&mut world, &recovery(52), Some(proof), Slot::Recovery).unwrap();
}
