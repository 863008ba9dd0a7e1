//! Stories: what happens to a device from the factory on, on every kind of medium.

use stillboot::boot::{self as power_on, Action, Boot, BootConfig, Event, Reason};
use stillboot::device::{BlockDevice, Geometry};
use stillboot::driver;
use stillboot::format::manifest::flags;
use stillboot::format::{
    Epochs, Fault, Floor, Hold, Load, Role, Slot, SlotKind, SlotState, record,
};
use stillboot::install::{InstallError, Nothing, Refusal, Reuse, Running, Wait};
use stillboot::io::Io;
use stillboot::operate::{Answer, OperateError, Request};
use stillboot::record::{ConfirmRefusal, CopyState, RecordStatus};
use stillboot::select::CandidateKind;
use stillboot::verify::SoftSha256;
use stillboot_policy::{Deferral, Objection, Verdict};
use stillboot_sim::disk::RamDisk;
use stillboot_sim::release::content;
use stillboot_sim::world::{Bytes, SimStore};
use stillboot_sim::{DeviceMap, Piece, Publisher, World};
use stillboot_tests::forge::{forge_record, poke_records};
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media, state};

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
        assert_eq!(world.operate(Request::MarkGood(trial)), Ok(Answer::Done), "{name}");
        assert_eq!(world.operate(Request::MarkGood(trial)), Ok(Answer::Already), "{name}");
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
    world.operate(Request::MarkGood(last)).unwrap();
    assert_eq!(boot(&mut world).slot, Slot::B);
}

#[test]
fn proof_of_another_attempt_slot_or_disk_confirms_nothing() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    let first = boot(&mut world);
    let second = boot(&mut world);
    let refused = |refusal| Err(OperateError::Confirm(refusal));
    let operate = |world: &mut RamWorld<'_>, proof| world.operate(Request::MarkGood(proof));
    assert_eq!(operate(&mut world, first), refused(ConfirmRefusal::OtherAttempt));
    let mut other = second;
    other.digest[0] ^= 1;
    assert_eq!(operate(&mut world, other), refused(ConfirmRefusal::OtherManifest));
    let mut other = second;
    other.slot = Slot::A;
    assert_eq!(operate(&mut world, other), refused(ConfirmRefusal::OtherManifest));
    other.slot = Slot::C;
    assert_eq!(operate(&mut world, other), Err(OperateError::NoSuchSlot(Slot::C)));
    assert_eq!(operate(&mut world, second), Ok(Answer::Done));
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
    world.operate(Request::MarkBad(Slot::B)).unwrap();
    let back = boot(&mut world);
    assert_eq!(back.slot, Slot::A);
    let objection = Objection::FailedBefore(Fault::MarkedBad);
    let refused = Err(InstallError::Refused(Refusal::Policy));
    assert_eq!(world.install(&update, Some(back)), refused);
    assert_eq!(world.host.said, Some(Verdict::Refused(objection)));
    // The only good slot cannot be thrown away.
    assert!(world.operate(Request::MarkBad(Slot::A)).is_err());
}

#[test]
fn rollback_is_one_write_and_holds_the_slot_that_is_left() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    confirm(&mut world);
    let before = world.record().unwrap().0.sequence;
    assert_eq!(world.operate(Request::Rollback(Slot::B)), Ok(Answer::Boots(Slot::A)));
    assert_eq!(world.record().unwrap().0.sequence, before + 1);
    let back = boot(&mut world);
    assert_eq!(back.slot, Slot::A);
    assert_eq!(state(&mut world, Slot::B), SlotState::Good);
    let third = bundle(&publisher, 3);
    assert_eq!(world.install(&third, Some(back)), Err(InstallError::Deferred(Wait::Held)));
    assert_eq!(world.operate(Request::HoldSlot(Slot::B, false)), Ok(Answer::Done));
    assert_eq!(world.operate(Request::HoldSlot(Slot::B, false)), Ok(Answer::Already));
    assert_eq!(world.install(&third, Some(back)).unwrap().slot, Slot::B);
}

#[test]
fn rollback_of_a_trial_ends_it_for_good() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    boot(&mut world);
    assert_eq!(world.operate(Request::Rollback(Slot::B)), Ok(Answer::Boots(Slot::A)));
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

#[test]
fn the_same_version_is_nothing_to_do_and_repair_mends_the_other_slot() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    let update = bundle(&publisher, 2);
    world.install(&update, Some(proof)).unwrap();
    let ready = InstallError::Nothing(Nothing::Ready(Slot::B));
    assert_eq!(world.install(&update, Some(proof)), Err(ready));
    confirm(&mut world);
    let now = boot(&mut world);
    let before = world.disks[0].content_hash();
    let nothing = InstallError::Nothing(Nothing::Running);
    assert_eq!(world.install(&update, Some(now)), Err(nothing));
    assert_eq!(world.disks[0].content_hash(), before);
    let mut source = Bytes::new(&update, 100);
    let repaired = world.install_with(&mut source, Running::Proof(now), |c| c.repair = true);
    assert_eq!(repaired.unwrap().slot, Slot::A);
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
fn lost_record_is_made_anew_from_the_slots() {
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
fn record_of_a_later_format_is_obeyed_read_only() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 2), Some(proof)).unwrap();
    // All copies carry a later version and a checksum that fits.
    for region in world.ground.places() {
        let mut bytes = world.disks[0].bytes(region.offset, record::LEN_MAX);
        let len = 16 + usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
        bytes[4..6].copy_from_slice(&2_u16.to_le_bytes());
        let crc = crc32(&bytes[..len]);
        bytes[len..len + 4].copy_from_slice(&crc.to_le_bytes());
        world.disks[0].poke(region.offset, &bytes);
    }
    let before = world.disks[0].content_hash();
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.report.record, RecordStatus::Newer);
    assert_eq!(power_on.slot(), Some(Slot::A));
    assert_eq!(world.disks[0].content_hash(), before);
    let refused = Err(InstallError::Refused(Refusal::NewerRecord));
    assert_eq!(
        world.install(&bundle(&publisher, 3), Some(proof)),
        Err(InstallError::Refused(Refusal::NewerRecord))
    );
    assert_eq!(world.install(&bundle(&publisher, 3), None), refused);
}

/// The same in a log: an entry that this build does not know is sound, so a later version made it.
#[test]
fn a_log_with_an_entry_of_a_later_version_is_obeyed_read_only() {
    use stillboot::format::log::{self, Cell, EntryKind};
    let publisher = Publisher::new(1);
    for (name, geometry) in [media()[2], media()[3], media()[4]] {
        let blocks = 3;
        let block = u64::from(geometry.erase_block_bytes).max(16 << 10);
        let ground = DeviceMap::log(geometry, blocks, block, AB, 128 << 10);
        let geometry = ground.geometries()[0];
        let disk = RamDisk::new(geometry, geometry.erased.unwrap_or(0));
        let mut world = World::new(publisher.device(), ground, vec![disk]);
        let proof = commission(&mut world, &bundle(&publisher, 1));
        world.install(&bundle(&publisher, 2), Some(proof)).expect(name);
        // The first free cell of the block that counts.
        let cell_len = u64::from(geometry.write_granule_bytes).max(log::CELL_LEN as u64);
        let generation = |number: u64| {
            log::parse_header(&world.disks[0].bytes(number * block, log::HEADER_LEN)).unwrap_or(0)
        };
        let newest = (0..blocks).max_by_key(|number| generation(*number)).unwrap();
        let generation = generation(newest);
        let is_free =
            |at: &u64| world.disks[0].bytes(*at, cell_len as usize).iter().all(|b| *b == 0xff);
        let header = (log::HEADER_LEN as u64).next_multiple_of(cell_len);
        let mut cells = (newest * block + header..).step_by(cell_len as usize);
        let free = cells.find(is_free).unwrap();
        assert!(generation > 0 && free < newest * block + block / 8 - header, "{name}");
        let before = world.disks[0].fork();
        let write = |world: &mut RamWorld<'_>, kind, generation| {
            let cell = Cell { kind, slot: 0, component: 0, offset: 0, cells: 0 };
            world.disks[0].poke(free, &cell.emit(generation));
        };
        write(&mut world, EntryKind::Unknown(77), generation);
        let written = world.disks[0].content_hash();
        let power_on = world.power_on().unwrap();
        assert_eq!(power_on.report.record, RecordStatus::Newer, "{name}");
        assert_eq!(power_on.slot(), Some(Slot::A), "{name}");
        let refused = Err(InstallError::Refused(Refusal::NewerRecord));
        assert_eq!(world.install(&bundle(&publisher, 3), Some(proof)), refused, "{name}");
        assert_eq!(world.install(&bundle(&publisher, 3), None), refused, "{name}");
        let refused = OperateError::NoRecord(RecordStatus::Newer);
        assert_eq!(world.operate(Request::Cancel), Err(refused), "{name}");
        assert_eq!(world.disks[0].content_hash(), written, "{name}");
        // Of another generation it is what an earlier one left: no entry.
        world.disks = vec![before];
        write(&mut world, EntryKind::Unknown(77), generation + 1);
        assert_eq!(confirm(&mut world).slot, Slot::B, "{name}");
    }
}

/// Bit by bit, apart from the core's.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
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
    world.operate(Request::MarkGood(power_on.proof.unwrap())).unwrap();
    assert!(!world.record().unwrap().0.body.slot(Slot::B).suspect);
}

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

#[test]
fn not_newer_wrong_class_and_unreadable_data_are_refused_before_a_byte_is_written() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&bundle(&publisher, 5), Some(proof)).unwrap();
    confirm(&mut world);
    let proof = boot(&mut world);
    let before = world.disks[0].content_hash();
    let kernel = content(1, 5000);
    let with = |change: &dyn Fn(&mut stillboot::format::Manifest)| {
        let mut manifest = publisher.manifest(9);
        change(&mut manifest);
        let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &kernel };
        publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap()
    };
    let cases: [(&str, Vec<u8>); 8] = [
        ("older", bundle(&publisher, 4)),
        ("as new, but another", with(&|m| m.sequence = 5)),
        ("class", with(&|m| m.class[15] ^= 1)),
        ("revision", with(&|m| (m.revision_min, m.revision_max) = (2, 3))),
        ("architecture", with(&|m| m.architecture = stillboot::format::Architecture::Aarch64)),
        ("data too new", with(&|m| m.epochs = Epochs { reads_min: 1, reads_max: 2, writes: 1 })),
        ("no way back", with(&|m| m.epochs = Epochs { reads_min: 0, reads_max: 2, writes: 1 })),
        ("linked for C", {
            let piece = Piece {
                role: Role::Kernel,
                load: Load::Xip,
                linked: Some(Slot::C),
                bytes: &kernel,
            };
            publisher.bundle(publisher.manifest(9), SlotKind::Update, &[piece]).unwrap()
        }),
    ];
    for (name, bundle) in cases {
        let result = world.install(&bundle, Some(proof));
        assert!(matches!(result, Err(InstallError::Refused(_))), "{name}: {result:?}");
        assert_eq!(world.disks[0].content_hash(), before, "{name}");
    }
    // The same device takes a sound bundle right after.
    world.install(&bundle(&publisher, 6), Some(proof)).unwrap();
}

#[test]
fn data_epochs_move_on_confirmation_and_retire_the_old_slot() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    let kernel = content(1, 5000);
    let mut manifest = publisher.manifest(2);
    manifest.epochs = Epochs { reads_min: 0, reads_max: 1, writes: 1 };
    manifest.flags = flags::SECURITY;
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &kernel };
    let update = publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap();
    let mut source = Bytes::new(&update, usize::MAX);
    world
        .install_with(&mut source, Running::Proof(proof), |config| config.allow_new_epoch = true)
        .unwrap();
    let trial = boot(&mut world);
    assert_eq!(world.record().unwrap().0.body.data_epoch, 0, "not before it is confirmed");
    world.operate(Request::MarkGood(trial)).unwrap();
    assert_eq!(world.record().unwrap().0.body.data_epoch, 1);
    assert_eq!(state(&mut world, Slot::A), SlotState::Bad { fault: Fault::DataEpoch });
    assert!(world.operate(Request::Rollback(Slot::B)).is_err());
}

#[test]
fn policy_holds_backs_off_and_expires() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    let update = bundle(&publisher, 2);
    world.operate(Request::HoldUpdates(Hold { until: u64::MAX, since: 5 })).unwrap();
    let hold = Verdict::Deferred(Deferral::Hold { until: u64::MAX });
    let waits = Err(InstallError::Deferred(Wait::Policy));
    assert_eq!(world.install(&update, Some(proof)), waits);
    assert_eq!(world.host.said, Some(hold));
    world.operate(Request::HoldUpdates(Hold::default())).unwrap();
    let mut manifest = publisher.manifest(2);
    manifest.not_after = 1000;
    let kernel = content(1, 5000);
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &kernel };
    let old = publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap();
    world.host.now = Some(1001);
    let objection = Objection::Expired { not_after: 1000, now: 1001 };
    let refused = InstallError::Refused(Refusal::Policy);
    assert_eq!(world.install(&old, Some(proof)), Err(refused));
    assert_eq!(world.host.said, Some(Verdict::Refused(objection)));
    world.host.now = Some(1000);
    world.install(&old, Some(proof)).unwrap();
}

#[test]
fn three_slots_keep_two_good_ones() {
    let publisher = Publisher::new(1);
    let (mut world, mut proof) = running(&publisher, &[Slot::A, Slot::B, Slot::C]);
    for sequence in 2..8 {
        world.install(&bundle(&publisher, sequence), Some(proof)).unwrap();
        confirm(&mut world);
        proof = boot(&mut world);
        let (record, ..) = world.record().unwrap();
        let good = record.body.slots.iter().filter(|s| s.state == SlotState::Good).count();
        assert_eq!(good as u64, sequence.min(3));
        assert_eq!(record.body.slot(proof.slot).version.as_str(), format!("{sequence}.0.0"));
    }
}

#[test]
fn slots_on_two_devices_and_components_linked_for_a_slot() {
    let publisher = Publisher::new(1);
    let mut ground = DeviceMap::new(media()[0].1, AB, 64 << 10);
    ground.add_device(media()[4].1, &[Role::Rootfs, Role::Data], 96 << 10);
    let disks = ground.geometries().iter().map(|g| RamDisk::new(*g, g.erased.unwrap_or(0)));
    let disks = disks.collect();
    let mut world = World::new(publisher.device(), ground, disks);
    let (a, b, rootfs) = (content(1, 9000), content(2, 8000), content(3, 70_001));
    let piece = |role, load, linked, bytes| Piece { role, load, linked, bytes };
    let parts = [
        piece(Role::Image, Load::Xip, Some(Slot::A), &a[..]),
        piece(Role::Image, Load::Xip, Some(Slot::B), &b[..]),
        piece(Role::Rootfs, Load::Late, None, &rootfs[..]),
    ];
    let bundle = |sequence| {
        publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &parts).unwrap()
    };
    let proof = commission(&mut world, &bundle(1));
    let installed = world.install(&bundle(2), Some(proof)).unwrap();
    assert_eq!(installed.written, 8000 + 70_001);
    assert_eq!(confirm(&mut world).slot, Slot::B);
    let ground = world.ground.clone();
    let b_root = ground.slots()[1].regions[1].region;
    assert_eq!(world.disks[1].bytes(b_root.offset, 70_001), rootfs);
}

#[test]
fn reuse_takes_equal_chunks_from_the_running_slot() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        let mut kernel = content(1, 60_000);
        let make = |sequence, bytes: &[u8]| {
            let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes };
            publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &[piece]).unwrap()
        };
        let proof = commission(&mut world, &make(1, &kernel));
        kernel[20_000] ^= 1;
        let second = make(2, &kernel);
        let mut source = Bytes::new(&second, usize::MAX);
        let reuse = Reuse { target: true, running: true };
        let installed = world
            .install_with(&mut source, Running::Proof(proof), |config| config.reuse = reuse)
            .expect(name);
        assert_eq!((installed.written, installed.reused), (4096, 60_000 - 4096), "{name}");
        assert!(source.read < 10_000, "{name}: {} bytes came from the stream", source.read);
        assert_eq!(confirm(&mut world).slot, Slot::B, "{name}");
    }
}

/// How often the machine of a power-on reads before it asks for a component: what decides, and what
/// it wrote itself, to see that the try that it counted is on the medium.
fn reads_to_decide(world: &mut RamWorld<'_>) -> (usize, usize) {
    let ground = world.ground.clone();
    let slots = ground.slots();
    let layout = ground.layout(&slots).unwrap();
    let config = BootConfig {
        device: world.device,
        layout,
        tries: 3,
        nonce: 77,
        has_store: false,
        check_late: true,
        watchdog_reset: false,
    };
    let mut machine = Boot::<SoftSha256>::new(&config);
    let mut buffer = vec![0; Boot::<SoftSha256>::buffer_len_min(&layout)];
    let mut devices: Vec<&mut dyn BlockDevice> =
        world.disks.iter_mut().map(|disk| disk as &mut dyn BlockDevice).collect();
    let (mut event, mut reads, mut checks) = (power_on::Event::Start, 0, 0);
    let mut written = Vec::new();
    loop {
        match machine.step(event, &mut buffer) {
            Action::Io(io) => {
                match &io {
                    Io::Write { device, offset, .. } => written.push((*device, *offset)),
                    Io::Read { device, offset, .. } if written.contains(&(*device, *offset)) => {
                        checks += 1;
                    }
                    Io::Read { .. } => reads += 1,
                    Io::Erase { .. } | Io::Flush { .. } => {}
                }
                event = match driver::carry_out(&io, &mut devices, &mut buffer) {
                    Ok(()) => power_on::Event::Done,
                    Err(error) => power_on::Event::Failed(error),
                };
            }
            Action::Reserve { .. } => return (reads, checks),
            other => panic!("nothing is loaded: {other:?}"),
        }
    }
}

#[test]
fn a_decision_takes_four_reads_at_most() {
    for (medium, geometry) in media() {
        let publisher = Publisher::new(1);
        let release = |number| publisher.simple(number, SlotKind::Update).unwrap();
        let mut world = blank(&publisher, geometry, &[Slot::A, Slot::B]);
        let proof = commission(&mut world, &release(1));
        // All places of the record, and the head of the good slot.
        assert_eq!(reads_to_decide(&mut world), (4, 0), "{medium}");
        world.install(&release(2), Some(proof)).unwrap();
        // And the record once more, to see that the try is on the medium.
        assert_eq!(reads_to_decide(&mut world), (4, 1), "{medium}");
    }
}

#[test]
fn a_decision_takes_eight_reads_at_most_with_a_log() {
    for (blocks, block_bytes) in [(2, 128 << 10), (2, 8 << 10), (3, 8 << 10), (4, 8 << 10)] {
        let geometry = Geometry {
            logical_block_bytes: 1,
            write_granule_bytes: 32,
            erase_block_bytes: block_bytes,
            capacity_bytes: 0,
            erased: Some(0xff),
        };
        let slot_bytes = (128 << 10).max(2 * u64::from(block_bytes));
        let slots = [Slot::A, Slot::B];
        let ground = DeviceMap::log(geometry, blocks, block_bytes.into(), &slots, slot_bytes);
        let disks = ground.geometries().iter().map(|g| RamDisk::new(*g, 0xff)).collect();
        let publisher = Publisher::new(1);
        let mut world: RamWorld<'_> = World::new(publisher.device(), ground, disks);
        let release = |number| publisher.simple(number, SlotKind::Update).unwrap();
        let mut proof = commission(&mut world, &release(1));
        let mut most = (0, 0);
        // The small ones are full after two updates: each block has been the one that counts.
        for number in 2..12 {
            world.install(&release(number), Some(proof)).unwrap();
            let trial = reads_to_decide(&mut world);
            proof = confirm(&mut world);
            let good = reads_to_decide(&mut world);
            for (reads, checks) in [trial, good] {
                most = (most.0.max(reads), most.1.max(checks));
            }
        }
        println!("log of {blocks} blocks of {block_bytes} bytes: at most {most:?} reads");
        assert!(most.0 <= 8, "{blocks} blocks of {block_bytes}: {most:?}");
    }
}
