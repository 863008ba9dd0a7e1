//! Updates on trial: tried, confirmed, rolled back, marked bad.

use stillboot::boot::{Event, Reason};
use stillboot::format::{Fault, Slot, SlotState};
use stillboot::install::{InstallError, Refusal, Wait};
use stillboot::record::ConfirmRefusal;
use stillboot::request::{Answer, Request, RequestError};
use stillboot_policy::{Objection, Verdict};
use stillboot_sim::Publisher;
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media, state};

use super::{AB, ABR, bundle, running};

#[test]
fn update_is_tried_confirmed_and_kept() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        let proof = commission(&mut world, &bundle(&publisher, 1));
        assert_eq!((proof.slot, proof.attempt), (Slot::A, 0), "{name}");
        let installed = world.install(&bundle(&publisher, 2), Some(proof)).expect(name);
        assert_eq!(installed.slot, Slot::B, "{name}");
        assert_eq!(state(&mut world, Slot::B), SlotState::Ready { tries: 3 }, "{name}");
        let trial = boot(&mut world);
        assert_eq!((trial.slot, trial.attempt), (Slot::B, 1), "{name}");
        assert_eq!(world.perform(Request::MarkGood(trial)), Ok(Answer::Done), "{name}");
        assert_eq!(world.perform(Request::MarkGood(trial)), Ok(Answer::Already), "{name}");
        for _ in 0..5 {
            assert_eq!(boot(&mut world).slot, Slot::B, "{name}");
        }
        let third = boot(&mut world);
        let installed = world.install(&bundle(&publisher, 3), Some(third)).expect(name);
        assert_eq!(installed.slot, Slot::A, "{name}");
    }
}

#[test]
fn a_good_boot_writes_nothing() {
    let publisher = Publisher::new(1);
    let (mut world, _) = running(&publisher, AB);
    let before = world.disks[0].content_hash();
    for _ in 0..3 {
        boot(&mut world);
    }
    assert_eq!(world.disks[0].content_hash(), before);
}

#[test]
fn unconfirmed_update_is_rolled_back_after_its_tries() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        let proof = commission(&mut world, &bundle(&publisher, 1));
        let update = bundle(&publisher, 2);
        world.install(&update, Some(proof)).expect(name);
        for attempt in 1..=3 {
            let trial = boot(&mut world);
            assert_eq!((trial.slot, trial.attempt), (Slot::B, attempt), "{name}");
        }
        let back = boot(&mut world);
        assert_eq!(back.slot, Slot::A, "{name}");
        let bad = SlotState::Bad { fault: Fault::Exhausted };
        assert_eq!(state(&mut world, Slot::B), bad, "{name}");
        // It may have been the power: the same update is welcome once more.
        world.install(&update, Some(back)).expect(name);
        assert_eq!(confirm(&mut world).slot, Slot::B, "{name}");
    }
}

#[test]
fn confirmation_on_the_last_try_is_accepted() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    boot(&mut world);
    boot(&mut world);
    let last = boot(&mut world);
    assert!(matches!(state(&mut world, Slot::B), SlotState::Trying { left: 0, .. }));
    world.perform(Request::MarkGood(last)).unwrap();
    assert_eq!(boot(&mut world).slot, Slot::B);
}

#[test]
fn proof_of_another_attempt_slot_or_disk_confirms_nothing() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    let first = boot(&mut world);
    let second = boot(&mut world);
    let refused = |refusal| Err(RequestError::Confirm(refusal));
    let confirm = |world: &mut RamWorld<'_>, proof| world.perform(Request::MarkGood(proof));
    assert_eq!(confirm(&mut world, first), refused(ConfirmRefusal::OtherAttempt));
    let mut other = second;
    other.digest[0] ^= 1;
    assert_eq!(confirm(&mut world, other), refused(ConfirmRefusal::OtherManifest));
    let mut other = second;
    other.slot = Slot::A;
    assert_eq!(confirm(&mut world, other), refused(ConfirmRefusal::OtherManifest));
    other.slot = Slot::C;
    assert_eq!(confirm(&mut world, other), Err(RequestError::NoSuchSlot(Slot::C)));
    assert_eq!(confirm(&mut world, second), Ok(Answer::Done));
}

#[test]
fn an_image_that_returns_is_bad_at_once_and_remembered() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, ABR);
    let update = bundle(&publisher, 2);
    world.install(&update, Some(proof)).unwrap();
    world.comes_back = Some(Event::Returned);
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.proof, None);
    world.comes_back = None;
    let back = boot(&mut world);
    assert_eq!(back.slot, Slot::A);
    assert_eq!(state(&mut world, Slot::B), SlotState::Bad { fault: Fault::Returned });
    let objection = Objection::FailedBefore(Fault::Returned);
    let refused = Err(InstallError::Refused(Refusal::Policy));
    assert_eq!(world.install(&update, Some(back)), refused);
    assert_eq!(world.host.said, Some(Verdict::Refused(objection)));
}

/// The try is counted, and nothing else is recorded against the slot.
#[test]
fn an_image_that_the_machine_cannot_start_is_tried_again() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, ABR);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    world.comes_back = Some(Event::NotStarted);
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.proof, None);
    let reasons: Vec<_> =
        power_on.report.lines.iter().map(|line| (line.candidate.slot, line.reason)).collect();
    let skipped = |slot| (slot, Reason::NotStarted);
    assert_eq!(reasons[..2], [Slot::B, Slot::A].map(skipped));
    assert!(matches!(state(&mut world, Slot::B), SlotState::Trying { attempt: 1, left: 2, .. }));
    world.comes_back = None;
    let trial = confirm(&mut world);
    assert_eq!((trial.slot, trial.attempt), (Slot::B, 2));
}

#[test]
fn marked_bad_is_never_offered_again() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    let update = bundle(&publisher, 2);
    world.install(&update, Some(proof)).unwrap();
    boot(&mut world);
    world.perform(Request::MarkBad(Slot::B)).unwrap();
    let back = boot(&mut world);
    assert_eq!(back.slot, Slot::A);
    let objection = Objection::FailedBefore(Fault::MarkedBad);
    let refused = Err(InstallError::Refused(Refusal::Policy));
    assert_eq!(world.install(&update, Some(back)), refused);
    assert_eq!(world.host.said, Some(Verdict::Refused(objection)));
    // The only good slot cannot be thrown away.
    assert!(world.perform(Request::MarkBad(Slot::A)).is_err());
}

#[test]
fn rollback_is_one_write_and_holds_the_slot_that_is_left() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    confirm(&mut world);
    let before = world.record().unwrap().0.sequence;
    assert_eq!(world.perform(Request::Rollback(Slot::B)), Ok(Answer::Boots(Slot::A)));
    assert_eq!(world.record().unwrap().0.sequence, before + 1);
    let back = boot(&mut world);
    assert_eq!(back.slot, Slot::A);
    assert_eq!(state(&mut world, Slot::B), SlotState::Good);
    let third = bundle(&publisher, 3);
    assert_eq!(world.install(&third, Some(back)), Err(InstallError::Deferred(Wait::Held)));
    assert_eq!(world.perform(Request::HoldSlot(Slot::B, false)), Ok(Answer::Done));
    assert_eq!(world.perform(Request::HoldSlot(Slot::B, false)), Ok(Answer::Already));
    assert_eq!(world.install(&third, Some(back)).unwrap().slot, Slot::B);
}

#[test]
fn rollback_of_a_trial_ends_it_for_good() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    boot(&mut world);
    assert_eq!(world.perform(Request::Rollback(Slot::B)), Ok(Answer::Boots(Slot::A)));
    assert_eq!(state(&mut world, Slot::B), SlotState::Bad { fault: Fault::MarkedBad });
    assert_eq!(boot(&mut world).slot, Slot::A);
}

#[test]
fn a_trial_under_way_keeps_its_fallback() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    let trial = boot(&mut world);
    let before = world.disks[0].content_hash();
    let third = bundle(&publisher, 3);
    assert_eq!(world.install(&third, Some(trial)), Err(InstallError::Deferred(Wait::Unconfirmed)));
    assert_eq!(world.disks[0].content_hash(), before);
}
