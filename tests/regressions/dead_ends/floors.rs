//! Floors and data epochs above everything on the device.

use stillboot::format::{Epochs, Fault, Floor, Load, Role, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Refusal, Running};
use stillboot::record::OperatorRefusal;
use stillboot::request::{Request, RequestError};
use stillboot_sim::release::content;
use stillboot_sim::world::{Bytes, SimStore};
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::forge::forge_record;
use stillboot_tests::{blank, boot, commission, confirm, media, state};

use super::{AB, ABR, head_of, install_to, rot, simple, two_good, unread, updated};

fn release(publisher: &Publisher, sequence: u64, kind: SlotKind, level: u32) -> Vec<u8> {
    let bytes = content(sequence, 900);
    let mut manifest = publisher.manifest(sequence);
    manifest.level = level;
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
    publisher.bundle(manifest, kind, &[piece]).unwrap()
}

const TOP: Floor = Floor { keyset_version: u32::MAX, level: u32::MAX };

/// A forged floor: recovery started every time, and its installation was refused for ever.
#[test]
fn a_floor_above_everything_is_set_aside_by_an_installation_of_recovery() {
    let publisher = Publisher::new(1);
    for (has_store, is_read) in [(false, true), (true, true), (false, false)] {
        let mut world = two_good(&publisher, 0, ABR);
        let recovery = publisher.simple(50, SlotKind::Recovery).unwrap();
        install_to(&mut world, &recovery, None, Slot::Recovery).unwrap();
        world.store = has_store.then(SimStore::default);
        boot(&mut world);
        forge_record(&mut world, |record| record.body.floor = TOP);
        let proof = boot(&mut world);
        assert_eq!(proof.slot, Slot::Recovery, "recovery goes before a floor is set aside");
        // No slot boots next but recovery.
        let refused = RequestError::Operator(OperatorRefusal::NothingElseGood);
        assert_eq!(world.perform(Request::Rollback(Slot::A)), Err(refused));
        let update = simple(&publisher, 3);
        if !is_read {
            let mut world = unread(&world, head_of(&world, Slot::A));
            let answer = world.install(&update, Some(proof));
            assert!(
                matches!(answer, Err(InstallError::Refused(Refusal::BelowFloor { .. }))),
                "what cannot be read may reach the floor: {answer:?}"
            );
            continue;
        }
        // Not below what the good slots and the store have.
        let low = release(&publisher, 3, SlotKind::Update, 0);
        let answer = world.install(&low, Some(proof));
        assert!(matches!(answer, Err(InstallError::Refused(Refusal::BelowFloor { .. }))));
        let slot = world.install(&update, Some(proof)).unwrap().slot;
        assert_eq!(confirm(&mut world).slot, slot);
        let floor = world.record().unwrap().0.body.floor;
        assert_eq!(floor, Floor { keyset_version: 1, level: 1 });
        assert_eq!(boot(&mut world).slot, slot);
    }
}

/// The floor of recovery likewise: its updates come from a system that runs.
#[test]
fn a_recovery_floor_above_everything_ends_no_updates_of_recovery() {
    let publisher = Publisher::new(1);
    let mut world = two_good(&publisher, 0, ABR);
    let recovery = |sequence| publisher.simple(sequence, SlotKind::Recovery).unwrap();
    install_to(&mut world, &recovery(50), None, Slot::Recovery).unwrap();
    forge_record(&mut world, |record| record.body.recovery_floor = TOP);
    let proof = boot(&mut world);
    install_to(&mut world, &recovery(51), Some(proof), Slot::Recovery).unwrap();
    for slot in AB {
        let at = head_of(&world, *slot);
        world.disks[0].poke(at, &[0x33; 64]);
    }
    assert_eq!(boot(&mut world).slot, Slot::Recovery);
}

/// With the floor out of the way by rot, not by a forged record: a slot whose head reaches the
/// floor and whose content is gone does not keep the other one from starting.
#[test]
fn a_floor_that_nothing_whole_reaches_does_not_count() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let newer = release(&publisher, 2, SlotKind::Update, 5);
    let proof = commission(&mut world, &release(&publisher, 1, SlotKind::Update, 1));
    world.install(&newer, Some(proof)).unwrap();
    confirm(&mut world);
    forge_record(&mut world, |record| record.body.floor.level = 5);
    assert_eq!(boot(&mut world).slot, Slot::B);
    rot(&mut world, Slot::B, &newer);
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.slot(), Some(Slot::A), "{:?}", power_on.report);
    assert!(power_on.report.floor_ignored);
}

/// A forged data epoch refused every update, whatever was allowed.
#[test]
fn a_data_epoch_above_everything_ends_no_updates() {
    let publisher = Publisher::new(1);
    let mut world = two_good(&publisher, 0, AB);
    forge_record(&mut world, |record| record.body.data_epoch = u16::MAX);
    let proof = boot(&mut world);
    world.install(&simple(&publisher, 3), Some(proof)).unwrap();
    confirm(&mut world);

    // Nothing runs, and every head tells what it reads.
    let mut world = two_good(&publisher, 0, AB);
    for (slot, sequence) in [(Slot::A, 1), (Slot::B, 2)] {
        rot(&mut world, slot, &simple(&publisher, sequence));
    }
    forge_record(&mut world, |record| record.body.data_epoch = u16::MAX);
    assert_eq!(world.power_on().unwrap().proof, None);
    updated(&mut world, &simple(&publisher, 3));

    // Nothing runs and one head is gone: what the data is remains unknown, and is asked for.
    let mut world = two_good(&publisher, 0, AB);
    for slot in AB {
        let at = head_of(&world, *slot);
        world.disks[0].poke(at, &[0x33; 64]);
    }
    forge_record(&mut world, |record| record.body.data_epoch = u16::MAX);
    assert_eq!(world.power_on().unwrap().proof, None);
    let bundle = simple(&publisher, 3);
    let answer = world.install(&bundle, None);
    assert!(matches!(answer, Err(InstallError::Refused(Refusal::CannotReadData { .. }))));
    let mut source = Bytes::new(&bundle, usize::MAX);
    world
        .install_with(&mut source, Running::Offline, |config| config.allow_new_epoch = true)
        .unwrap();
    confirm(&mut world);
    let proof = boot(&mut world);
    world.install(&simple(&publisher, 4), Some(proof)).unwrap();
}

/// A recorded epoch that the running system reads is obeyed as before.
#[test]
fn a_data_epoch_that_is_read_still_counts() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let bytes = content(1, 900);
    let at_epoch = |sequence, reads_min, reads_max, writes| {
        let mut manifest = publisher.manifest(sequence);
        manifest.epochs = Epochs { reads_min, reads_max, writes };
        let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
        publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap()
    };
    let proof = commission(&mut world, &at_epoch(1, 0, 3, 2));
    let answer = world.install(&at_epoch(2, 0, 1, 1), Some(proof));
    assert!(
        matches!(answer, Err(InstallError::Refused(Refusal::CannotReadData { epoch: 2, .. }))),
        "{answer:?}"
    );
}

/// A forged data epoch was ignored and stayed in the record, so no later one was ever noted.
#[test]
fn a_data_epoch_that_does_not_count_is_lowered() {
    let publisher = Publisher::new(1);
    let mut world = two_good(&publisher, 0, AB);
    forge_record(&mut world, |record| record.body.data_epoch = u16::MAX);
    let bytes = content(7, 900);
    let mut manifest = publisher.manifest(7);
    manifest.epochs = Epochs { reads_min: 0, reads_max: 1, writes: 1 };
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
    let update = publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap();
    let proof = boot(&mut world);
    let mut source = Bytes::new(&update, usize::MAX);
    world
        .install_with(&mut source, Running::Proof(proof), |config| config.allow_new_epoch = true)
        .unwrap();
    confirm(&mut world);
    let (record, ..) = world.record().unwrap();
    assert_eq!(record.body.data_epoch, 1);
    assert_eq!(state(&mut world, Slot::B), SlotState::Bad { fault: Fault::DataEpoch });
}
