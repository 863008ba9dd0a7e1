//! What starts when slots or records are damaged or lost.

use stillboot::boot::Reason;
use stillboot::format::{Fault, Role, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Nothing, Refusal, Running, Wait};
use stillboot::record::{CopyState, RecordStatus};
use stillboot::request::Request;
use stillboot::select::CandidateKind;
use stillboot_sim::Publisher;
use stillboot_sim::world::Bytes;
use stillboot_tests::forge::{forge_record, poke_records};
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media, state};

use super::{AB, ABR, bundle, running};

#[test]
fn the_same_version_is_nothing_to_do_and_repair_mends_the_other_slot() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    let update = bundle(&publisher, 2);
    world.install(&update, Some(proof)).unwrap();
    let ready = InstallError::Nothing(Nothing::Ready(Slot::B));
    assert_eq!(world.install(&update, Some(proof)), Err(ready));
    // What stands ready may have been damaged since.
    let repair = |world: &mut RamWorld<'_>, proof| {
        let mut source = Bytes::new(&update, 100);
        world.install_with(&mut source, Running::Proof(proof), |config| config.repair = true)
    };
    let data = world.ground.slots()[1].regions[0].region;
    let whole = world.disks[0].bytes(data.offset, 512);
    world.disks[0].poke(data.offset, &[0x5a; 512]);
    assert_eq!(repair(&mut world, proof).unwrap().slot, Slot::B);
    assert_eq!(world.disks[0].bytes(data.offset, 512), whole);
    confirm(&mut world);
    let now = boot(&mut world);
    let before = world.disks[0].content_hash();
    let nothing = InstallError::Nothing(Nothing::Running);
    assert_eq!(world.install(&update, Some(now)), Err(nothing));
    assert_eq!(world.disks[0].content_hash(), before);
    assert_eq!(repair(&mut world, now).unwrap().slot, Slot::A);
}

#[test]
fn corrupt_good_slot_falls_back_and_the_same_update_is_the_repair() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    let update = bundle(&publisher, 2);
    world.install(&update, Some(proof)).unwrap();
    confirm(&mut world);
    let manifest = world.power_on().unwrap().manifest.unwrap();
    let ground = world.ground.clone();
    let slots = ground.slots();
    let data = ground.layout(&slots).unwrap().component(Slot::B, &manifest, 0).unwrap();
    let byte = world.disks[0].bytes(data.offset + 77, 1)[0];
    world.disks[0].poke(data.offset + 77, &[byte ^ 4]);
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.slot(), Some(Slot::A));
    assert_eq!(power_on.report.lines[0].reason, Reason::Corrupt { role: Role::Kernel });
    assert_eq!(state(&mut world, Slot::B), SlotState::Bad { fault: Fault::Corrupt });
    let back = boot(&mut world);
    assert_eq!(world.install(&update, Some(back)).unwrap().slot, Slot::B);
    assert_eq!(confirm(&mut world).slot, Slot::B);
}

#[test]
fn both_slots_bad_end_in_recovery_and_without_one_in_the_report() {
    let publisher = Publisher::new(1);
    for recovery in [true, false] {
        let (mut world, _) = running(&publisher, if recovery { ABR } else { AB });
        if recovery {
            let bundle = publisher.simple(1, SlotKind::Recovery).unwrap();
            let mut source = Bytes::new(&bundle, usize::MAX);
            let target = Some(Slot::Recovery);
            world.install_with(&mut source, Running::Offline, |c| c.target = target).unwrap();
        }
        let manifest = world.power_on().unwrap().manifest.unwrap();
        let ground = world.ground.clone();
        let slots = ground.slots();
        let data = ground.layout(&slots).unwrap().component(Slot::A, &manifest, 1).unwrap();
        world.disks[0].poke(data.offset, &[0; 512]);
        let power_on = world.power_on().unwrap();
        assert_eq!(power_on.slot(), recovery.then_some(Slot::Recovery), "{:?}", power_on.report);
        let reason = power_on.report.lines[0].reason;
        assert_eq!(reason, Reason::Corrupt { role: Role::Initramfs });
    }
}

#[test]
fn recovery_needs_recovery_keys_and_a_good_slot_that_runs() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, ABR);
    let target = Some(Slot::Recovery);
    // Signed by release keys: not for recovery.
    let wrong = bundle(&publisher, 7);
    let mut source = Bytes::new(&wrong, usize::MAX);
    let result = world.install_with(&mut source, Running::Proof(proof), |c| c.target = target);
    assert!(matches!(result, Err(InstallError::Refused(Refusal::Trust(_)))), "{result:?}");
    let right = publisher.simple(7, SlotKind::Recovery).unwrap();
    // Nor are recovery keys good for an update slot.
    let result = world.install(&right, Some(proof));
    assert!(matches!(result, Err(InstallError::Refused(Refusal::Trust(_)))), "{result:?}");
    let mut source = Bytes::new(&right, usize::MAX);
    world.install_with(&mut source, Running::Proof(proof), |c| c.target = target).unwrap();
    assert_eq!(state(&mut world, Slot::Recovery), SlotState::Good);
    assert_eq!(boot(&mut world).slot, Slot::A);
}

#[test]
fn lost_record_is_rebuilt_from_the_slots() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    poke_records(&mut world, b"garbage");
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.report.record, RecordStatus::Lost);
    // The confirmed slot, not the one that was only committed.
    assert_eq!(power_on.slot(), Some(Slot::A));
    let (record, choice, copies) = world.record().unwrap();
    assert_eq!(choice, RecordStatus::Current { copy: 0 });
    // The others stay as evidence until more is written.
    assert_eq!(copies[1..], [CopyState::Invalid; 2]);
    assert_eq!(record.body.slot(Slot::A).state, SlotState::Good);
    assert_eq!(record.body.slot(Slot::B).state, SlotState::Ready { tries: 3 });
    assert_eq!(confirm(&mut world).slot, Slot::B);
    assert!(matches!(world.record().unwrap().2[1], CopyState::Valid { .. }));
}

#[test]
fn installing_without_a_record_waits_for_a_boot() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    poke_records(&mut world, b"garbage");
    let update = bundle(&publisher, 2);
    let waits = Err(InstallError::Deferred(Wait::RecordLost));
    assert_eq!(world.install(&update, Some(proof)), waits);
    let again = boot(&mut world);
    world.install(&update, Some(again)).unwrap();
}

#[test]
fn slot_with_another_manifest_than_recorded_waits_behind_the_good_ones() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    let mut other = blank(&publisher, media()[0].1, AB);
    let other_proof = commission(&mut other, &bundle(&publisher, 1));
    other.install(&bundle(&publisher, 9), Some(other_proof)).unwrap();
    // The whole of slot B comes from another device of the same kind.
    for b in world.ground.stretches(Slot::B) {
        let bytes = other.disks[0].bytes(b.start, (b.end - b.start) as usize);
        world.disks[0].poke(b.start, &bytes);
    }
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.report.lines[0].reason, Reason::OtherManifest);
    assert_eq!(power_on.slot(), Some(Slot::A));
}

#[test]
fn a_watchdog_reset_makes_the_good_slot_suspect() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    confirm(&mut world);
    assert_eq!(boot(&mut world).slot, Slot::B);
    world.watchdog_reset = true;
    let other = boot(&mut world);
    assert_eq!(other.slot, Slot::A);
    assert_eq!(boot(&mut world).slot, Slot::A);
    // Both are good still; a confirmation of B clears the suspicion.
    assert_eq!(state(&mut world, Slot::B), SlotState::Good);
    world.watchdog_reset = true;
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.slot(), Some(Slot::B), "both suspect: priority decides");
    assert_eq!(power_on.report.lines[0].candidate.kind, CandidateKind::Suspect);
    world.perform(Request::MarkGood(power_on.proof.unwrap())).unwrap();
    assert!(!world.record().unwrap().0.body.slot(Slot::B).suspect);
}

#[test]
fn forged_good_for_bad_still_has_to_verify() {
    let publisher = Publisher::new(1);
    let (mut world, _) = running(&publisher, AB);
    forge_record(&mut world, |record| {
        let a = record.body.slot(Slot::A).clone();
        let entry = record.body.slot_mut(Slot::B);
        *entry = a;
        entry.priority = 200;
    });
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.slot(), Some(Slot::A));
    assert!(matches!(power_on.report.lines[0].reason, Reason::Trust(_)));
}
