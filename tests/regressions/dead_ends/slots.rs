//! Slots that are rotten, cannot be read, or are not there.

use stillboot::boot::Reason;
use stillboot::format::{Fault, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Refusal, Wait};
use stillboot::record::OperatorRefusal;
use stillboot::request::{Answer, Request, RequestError};
use stillboot::select::CandidateKind;
use stillboot_sim::{DeviceMap, Publisher, World};
use stillboot_tests::forge::forge_record;
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media, state};

use super::{AB, ABR, CORRUPT, head_of, install_to, rot, simple, two_good, unread, updated};

/// One slot had an older trust area of the same product, the other one rotten bits: the record went
/// on calling the first good, and no installation was accepted.
#[test]
fn an_older_trust_area_beside_a_rotten_slot_leaves_a_way() {
    let publisher = Publisher::new(1);
    for number in 0..media().len() {
        let mut world = two_good(&publisher, number, AB);
        let mut older = blank(&publisher, media()[number].1, AB);
        older.install(&simple(&publisher, 9), None).unwrap();
        let at = head_of(&world, Slot::A);
        world.disks[0].poke(at, &older.disks[0].bytes(at, 4096));
        rot(&mut world, Slot::B, &simple(&publisher, 2));
        let power_on = world.power_on().unwrap();
        assert_eq!(power_on.proof, None, "{:?}", power_on.report);
        assert_eq!([Slot::A, Slot::B].map(|slot| state(&mut world, slot)), [CORRUPT; 2]);
        updated(&mut world, &simple(&publisher, 3));
    }
}

/// The same before a power-on has looked: what stands for the running slot is the one whose head is
/// as recorded, and one that is not is overwritten only if it is named.
#[test]
fn a_good_slot_that_cannot_be_shown_to_be_good_is_overwritten_only_by_name() {
    let publisher = Publisher::new(1);
    let mut world = two_good(&publisher, 0, AB);
    for slot in [Slot::A, Slot::B] {
        let at = head_of(&world, slot);
        world.disks[0].poke(at, &[0xee; 64]);
    }
    let update = simple(&publisher, 3);
    let wait = InstallError::Deferred(Wait::Unverified(Slot::B));
    assert_eq!(world.install(&update, None), Err(wait));
    assert_eq!(install_to(&mut world, &update, None, Slot::B).unwrap().slot, Slot::B);
    confirm(&mut world);
}

/// A lasting read error under one slot's head, and the other slot rotten.
#[test]
fn an_unreadable_slot_beside_a_rotten_one_leaves_a_way() {
    let publisher = Publisher::new(1);
    let mut world = two_good(&publisher, 0, AB);
    rot(&mut world, Slot::A, &simple(&publisher, 1));
    let mut world = unread(&world, head_of(&world, Slot::B));
    assert_eq!(world.power_on().unwrap().proof, None);
    // What cannot be read may be whole: it is not the one that is overwritten.
    assert_eq!(world.install(&simple(&publisher, 3), None).unwrap().slot, Slot::A);
    let proof = world.power_on().unwrap().proof.unwrap();
    assert_eq!(world.perform(Request::MarkGood(proof)), Ok(Answer::Done));
    assert_eq!(world.record().unwrap().0.body.slot(Slot::B).state, SlotState::Good);
}

fn started(world: &mut RamWorld<'_>, watchdog: bool) -> (Slot, CandidateKind) {
    world.watchdog_reset = watchdog;
    let power_on = world.power_on().unwrap();
    let line = power_on.report.lines.last().unwrap();
    assert_eq!(line.reason, Reason::Started);
    (line.candidate.slot, line.candidate.kind)
}

/// All good slots hung once: the same one was started for ever, and recovery never.
#[test]
fn suspects_and_recovery_take_turns_after_watchdog_resets() {
    let publisher = Publisher::new(1);
    for with_recovery in [false, true] {
        let slots = if with_recovery { ABR } else { AB };
        let mut world = two_good(&publisher, 0, slots);
        if with_recovery {
            let recovery = publisher.simple(50, SlotKind::Recovery).unwrap();
            install_to(&mut world, &recovery, None, Slot::Recovery).unwrap();
        }
        assert_eq!(started(&mut world, false), (Slot::B, CandidateKind::Good));
        assert_eq!(started(&mut world, true), (Slot::A, CandidateKind::Good));
        // Both are suspect now, and each has one more turn before recovery has its own.
        assert_eq!(started(&mut world, true), (Slot::B, CandidateKind::Suspect));
        let order: &[Slot] =
            if with_recovery { &[Slot::A, Slot::Recovery, Slot::B] } else { &[Slot::A, Slot::B] };
        for slot in order.iter().cycle().take(7) {
            assert_eq!(started(&mut world, true).0, *slot, "recovery: {with_recovery}");
            // Without a watchdog's reset the order stays, and nothing is written.
            let before = world.disks[0].content_hash();
            assert_eq!(started(&mut world, false).0, *slot);
            assert_eq!(world.disks[0].content_hash(), before);
        }
        // Something works again: suspects go before recovery from then on.
        loop {
            let (slot, _) = started(&mut world, true);
            if slot.kind() == SlotKind::Update {
                break;
            }
        }
        let proof = boot(&mut world);
        assert_eq!(world.perform(Request::MarkGood(proof)), Ok(Answer::Done));
        for _ in 0..2 {
            assert_eq!(started(&mut world, true).1, CandidateKind::Suspect);
        }
    }
}

/// The other one of two.
trait OtherOf {
    fn other_of(self, of: &[Slot]) -> Slot;
}

impl OtherOf for Slot {
    fn other_of(self, of: &[Slot]) -> Slot {
        *of.iter().find(|slot| **slot != self).unwrap()
    }
}

/// All slots exhausted: the same one was started as last resort for ever. What a person called bad
/// stays behind.
#[test]
fn exhausted_slots_take_turns_and_what_was_called_bad_stays_behind() {
    let publisher = Publisher::new(1);
    let mut world = two_good(&publisher, 0, AB);
    let exhausted = SlotState::Bad { fault: Fault::Exhausted };
    forge_record(&mut world, |record| {
        for slot in AB {
            record.body.slot_mut(*slot).state = exhausted;
        }
    });
    let first = started(&mut world, false).0;
    for turn in 0..5 {
        let expected = if turn % 2 == 0 { first.other_of(AB) } else { first };
        assert_eq!(started(&mut world, false), (expected, CandidateKind::LastResort));
    }
    let marked = first.other_of(AB);
    for fault in [Fault::MarkedBad, Fault::DataEpoch] {
        forge_record(&mut world, |record| {
            record.body.slot_mut(marked).state = SlotState::Bad { fault };
            record.body.slot_mut(marked).priority = 3;
            record.body.slot_mut(first).state = exhausted;
        });
        for _ in 0..3 {
            assert_eq!(started(&mut world, false).0, first, "{fault}");
        }
    }
}

/// A device with a single slot, or without the partition of the other one, said that it was held.
#[test]
fn a_missing_slot_is_not_called_held() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, &[Slot::A]);
    let proof = commission(&mut world, &simple(&publisher, 1));
    let answer = world.install(&simple(&publisher, 2), Some(proof));
    assert_eq!(answer, Err(InstallError::Refused(Refusal::NoOtherSlot)));
    let mut world = two_good(&publisher, 0, AB);
    world.perform(Request::HoldSlot(Slot::A, true)).unwrap();
    let proof = boot(&mut world);
    let answer = world.install(&simple(&publisher, 3), Some(proof));
    assert_eq!(answer, Err(InstallError::Deferred(Wait::Held)));
}

/// One start as last resort turned what a person had called bad into what is merely exhausted.
#[test]
fn what_was_called_bad_stays_so_after_a_start_as_last_resort() {
    let publisher = Publisher::new(1);
    let mut world = two_good(&publisher, 0, AB);
    world.perform(Request::MarkBad(Slot::A)).unwrap();
    let bad = SlotState::Bad { fault: Fault::MarkedBad };
    let b = head_of(&world, Slot::B);
    let mut broken = unread(&world, b);
    assert_eq!(broken.power_on().unwrap().slot(), Some(Slot::A));
    broken.power_on().unwrap();
    assert!(matches!(
        broken.record().unwrap().0.body.slot(Slot::A).state,
        SlotState::Trying { .. }
    ));
    broken.disks[0].range = 0..0;
    assert_eq!(broken.power_on().unwrap().slot(), Some(Slot::B));
    assert_eq!(broken.record().unwrap().0.body.slot(Slot::A).state, bad);
}

/// A good slot on a disk that is not there counted as the other good one.
#[test]
fn a_slot_that_the_device_has_not_is_no_way_back() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, &[Slot::A, Slot::B, Slot::C]);
    let mut proof = commission(&mut world, &simple(&publisher, 1));
    for (sequence, slot) in [(2, Slot::B), (3, Slot::C)] {
        install_to(&mut world, &simple(&publisher, sequence), Some(proof), slot).unwrap();
        proof = confirm(&mut world);
    }
    let less = DeviceMap::new(media()[0].1, AB, 128 << 10);
    let mut world = World::new(world.device, less, vec![world.disks[0].fork()]);
    assert_eq!(boot(&mut world).slot, Slot::B);
    assert_eq!(world.perform(Request::Rollback(Slot::B)), Ok(Answer::Boots(Slot::A)));
    world.perform(Request::MarkBad(Slot::B)).unwrap();
    let refused = RequestError::Operator(OperatorRefusal::NothingElseGood);
    assert_eq!(world.perform(Request::MarkBad(Slot::A)), Err(refused));
}

/// The only slot of a device cannot be read any more: it was refused as the one that runs.
#[test]
fn the_only_slot_can_be_filled_again_by_name_where_nothing_runs() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, &[Slot::A]);
    let proof = commission(&mut world, &simple(&publisher, 1));
    let update = simple(&publisher, 2);
    let answer = install_to(&mut world, &update, Some(proof), Slot::A);
    assert_eq!(answer, Err(InstallError::Refused(Refusal::TargetRuns)));
    assert_eq!(install_to(&mut world, &update, None, Slot::A).unwrap().slot, Slot::A);
    confirm(&mut world);
    let mut world = two_good(&publisher, 0, AB);
    let answer = install_to(&mut world, &simple(&publisher, 3), None, Slot::B);
    assert_eq!(answer, Err(InstallError::Refused(Refusal::TargetRuns)));
}
