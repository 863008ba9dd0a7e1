//! Bugs that were found in the core, each with the story that showed it.

use stillboot::boot::Reason;
use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::format;
use stillboot::format::record::SEQUENCE_MAX;
use stillboot::format::{Epochs, Load, Manifest, Role, Slot, SlotEntry, SlotKind, SlotState};
use stillboot::install::{InstallError, Refusal, Running, Wait};
use stillboot::layout::{LayoutError, Part, Region};
use stillboot::record::{OperatorRefusal, RecordStatus};
use stillboot::request::{Answer, Request, RequestError};
use stillboot_policy::{Deferral, Verdict};
use stillboot_sim::disk::RamDisk;
use stillboot_sim::fault::{Fault, Faulty};
use stillboot_sim::release::content;
use stillboot_sim::world::Bytes;
use stillboot_sim::{DeviceMap, Piece, Publisher, World};
use stillboot_tests::forge::{forge_record, lose_record, payload};
use stillboot_tests::{RamWorld, blank, boot, commission, component, confirm, media, part, state};

const AB: &[Slot] = &[Slot::A, Slot::B];

fn simple(publisher: &Publisher, sequence: u64) -> Vec<u8> {
    publisher.simple(sequence, SlotKind::Update).unwrap()
}

/// A head copied from another slot, of a bundle that has nothing for this one, "verified" without
/// one byte being checked.
#[test]
fn slot_without_a_component_of_its_own_never_starts() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[3].1, AB);
    let image = content(1, 9000);
    let piece = Piece { role: Role::Image, load: Load::Xip, linked: Some(Slot::A), bytes: &image };
    let bundle = publisher.bundle(publisher.manifest(1), SlotKind::Update, &[piece]).unwrap();
    commission(&mut world, &bundle);
    let [a, b] = [Slot::A, Slot::B].map(|slot| part(&world, slot, Part::Trust));
    let head = world.disks[0].bytes(a.offset, a.len as usize);
    world.disks[0].poke(b.offset, &head);
    let manifest = Manifest::parse(&payload(&bundle)).unwrap();
    let image = component(&world, Slot::A, &manifest, 0);
    world.disks[0].poke(image.offset + 10, &[0xee; 64]);
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.proof, None, "{:?}", power_on.report.lines);
    let b = power_on.report.lines.iter().find(|line| line.candidate.slot == Slot::B).unwrap();
    assert_eq!(b.reason, Reason::Layout(LayoutError::NothingForSlot));
}

/// The very first write of the record was torn; install waited for a boot, and the boot for an
/// install.
#[test]
fn torn_first_record_write_does_not_lock_the_device_out() {
    let publisher = Publisher::new(1);
    for (copy, called) in [(0, RecordStatus::Factory), (1, RecordStatus::Lost)] {
        let mut world = blank(&publisher, media()[0].1, AB);
        let region = world.ground.record(copy);
        world.disks[0].poke(region.offset, b"SBRC\x01");
        assert_eq!(world.power_on().unwrap().report.record, called);
        let installed = world.install(&simple(&publisher, 1), None).unwrap();
        assert_eq!(confirm(&mut world).slot, installed.slot);
    }
}

/// Both copies were lost, and the power failed once more after copy 0 was erased to rebuild the
/// record: the device passed for a new one, and an installation offline overwrote the confirmed
/// slot.
#[test]
fn a_lost_record_does_not_turn_into_a_new_device() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &simple(&publisher, 1));
    lose_record(&mut world);
    let region = world.ground.record(0);
    world.disks[0].poke(region.offset, &vec![0xff; region.len as usize]);
    let update = simple(&publisher, 2);
    assert_eq!(world.install(&update, None), Err(InstallError::Deferred(Wait::RecordLost)));
    let power_on = world.power_on().unwrap();
    assert_eq!((power_on.report.record, power_on.slot()), (RecordStatus::Lost, Some(proof.slot)));
}

/// A loader that found the last good slot destroyed stopped without a note of it, and no
/// installation was accepted while the record called the slot good.
#[test]
fn what_is_found_bad_is_noted_also_when_nothing_starts() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    commission(&mut world, &simple(&publisher, 1));
    let slots: Vec<_> = world.ground.slots().iter().map(|s| s.regions[0].region).collect();
    world.disks[0].poke(slots[0].offset, &vec![0x5a; slots[0].len as usize]);
    assert_eq!(world.power_on().unwrap().slot(), None);
    let bad = SlotState::Bad { fault: format::Fault::Corrupt };
    assert_eq!(state(&mut world, Slot::A), bad);
    world.install(&simple(&publisher, 2), None).unwrap();
    confirm(&mut world);
}

/// A slot was marked bad while a tampered bundle was on its way into it, and the genuine one was
/// refused ever after.
#[test]
fn what_never_ran_is_not_banned_by_marking_its_slot_bad() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &simple(&publisher, 1));
    let update = simple(&publisher, 2);
    let mut tampered = update.clone();
    *tampered.last_mut().unwrap() ^= 1;
    world.install(&tampered, Some(proof)).unwrap_err();
    assert_eq!(state(&mut world, Slot::B), SlotState::Writing);
    world.perform(Request::MarkBad(Slot::B)).unwrap();
    assert_eq!(world.install(&update, Some(proof)).unwrap().slot, Slot::B);
}

#[test]
fn both_copies_lost_with_nothing_to_boot_end_in_a_record_that_can_be_installed_to() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    lose_record(&mut world);
    let bundle = simple(&publisher, 1);
    assert_eq!(world.install(&bundle, None), Err(InstallError::Deferred(Wait::RecordLost)));
    assert_eq!(world.power_on().unwrap().slot(), None);
    world.install(&bundle, None).unwrap();
    confirm(&mut world);
}

/// A record with the highest sequence could not be followed by another: nothing was counted, tried
/// or installed any more. It is renumbered, and the tries still end.
#[test]
fn the_highest_sequence_ends_no_updates() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        for sequence in [SEQUENCE_MAX, SEQUENCE_MAX - 1] {
            let mut world = blank(&publisher, geometry, AB);
            let proof = commission(&mut world, &simple(&publisher, 1));
            world.install(&simple(&publisher, 2), Some(proof)).unwrap();
            forge_record(&mut world, |record| record.sequence = sequence);
            for tried in [Slot::B, Slot::B, Slot::B, Slot::A] {
                assert_eq!(boot(&mut world).slot, tried, "{name}");
            }
            let (record, ..) = world.record().unwrap();
            assert!(record.sequence < 1 << 41, "{name}: {}", record.sequence);
            let proof = boot(&mut world);
            world.install(&simple(&publisher, 3), Some(proof)).unwrap();
            confirm(&mut world);
        }
    }
}

#[test]
fn tries_out_of_range_are_brought_into_it() {
    let publisher = Publisher::new(1);
    for (given, kept) in [(0, 1), (20, 15)] {
        let mut world = blank(&publisher, media()[0].1, AB);
        world.install(&simple(&publisher, 1), None).unwrap();
        lose_record(&mut world);
        world.tries = given;
        assert_eq!(boot(&mut world).attempt, 1);
        let trying = state(&mut world, Slot::A);
        assert!(matches!(trying, SlotState::Trying { left, .. } if left == kept - 1), "{trying:?}");
    }
}

/// With every component in another region no check saw whether the indexes stay in the first.
#[test]
fn indexes_stay_in_the_first_region() {
    let publisher = Publisher::new(1);
    let mut ground = DeviceMap::new(Geometry::disk(512, 0), AB, 16 << 10);
    ground.add_device(Geometry::disk(512, 0), &[Role::Rootfs], 2 << 20);
    let disks = ground.geometries().iter().map(|g| RamDisk::new(*g, 0)).collect();
    let mut world: RamWorld<'_> = World::new(publisher.device(), ground, disks);
    let rootfs = content(1, 1_900_000);
    let piece = Piece { role: Role::Rootfs, load: Load::Late, linked: None, bytes: &rootfs };
    let bundle = publisher.bundle(publisher.manifest(1), SlotKind::Update, &[piece]).unwrap();
    let before = world.disks[0].content_hash();
    let result = world.install(&bundle, None);
    assert!(
        matches!(result, Err(InstallError::Refused(Refusal::Layout(LayoutError::TooSmall { .. })))),
        "{result:?}"
    );
    assert_eq!(world.disks[0].content_hash(), before);
}

/// The watchdog ended the last try of B; A, which had done nothing, was made suspect.
#[test]
fn a_watchdog_that_ends_a_trial_blames_no_good_slot() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &simple(&publisher, 1));
    world.install(&simple(&publisher, 2), Some(proof)).unwrap();
    for _ in 0..3 {
        assert_eq!(boot(&mut world).slot, Slot::B);
        world.watchdog_reset = true;
    }
    assert_eq!(boot(&mut world).slot, Slot::A);
    assert!(!world.record().unwrap().0.body.slot(Slot::A).suspect);
}

/// Loaders have no clock and note failures at time 0, which the back-off ignored.
#[test]
fn back_off_works_though_the_loader_has_no_clock() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &simple(&publisher, 1));
    let now = 1_800_000_000;
    world.host.now = Some(now);
    let update = simple(&publisher, 2);
    let fail = |world: &mut RamWorld<'_>| {
        (0..4).for_each(|_| {
            boot(world);
        })
    };
    world.install(&update, Some(proof)).unwrap();
    fail(&mut world);
    assert_eq!(world.perform(Request::NoteTime(now)), Ok(Answer::Done));
    assert_eq!(world.perform(Request::NoteTime(now)), Ok(Answer::Already));
    // The first failure may have been the power.
    world.install(&update, Some(proof)).unwrap();
    fail(&mut world);
    let until = now + 2 * 8 * 3600;
    let wait = Verdict::Deferred(Deferral::BackOff { until });
    let waits = Err(InstallError::Deferred(Wait::Policy));
    assert_eq!(world.install(&update, Some(proof)), waits);
    assert_eq!(world.host.said, Some(wait));
    world.perform(Request::NoteTime(now)).unwrap();
    world.host.now = Some(until);
    world.install(&update, Some(proof)).unwrap();
}

#[test]
fn what_was_marked_bad_stays_out_when_the_record_is_lost() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        let proof = commission(&mut world, &simple(&publisher, 1));
        world.install(&simple(&publisher, 2), Some(proof)).unwrap();
        confirm(&mut world);
        world.perform(Request::MarkBad(Slot::B)).unwrap();
        lose_record(&mut world);
        assert_eq!(boot(&mut world).slot, Slot::A, "{name}");
        assert_eq!(state(&mut world, Slot::B), SlotState::Empty, "{name}");
    }
}

#[test]
fn data_epoch_rule_holds_after_the_record_is_lost() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &simple(&publisher, 1));
    let kernel = content(1, 900);
    let mut manifest = publisher.manifest(2);
    manifest.epochs = Epochs { reads_min: 0, reads_max: 1, writes: 1 };
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &kernel };
    let update = publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap();
    let mut source = Bytes::new(&update, usize::MAX);
    world
        .install_with(&mut source, Running::Proof(proof), |config| config.allow_new_epoch = true)
        .unwrap();
    confirm(&mut world);
    lose_record(&mut world);
    assert_eq!(boot(&mut world).slot, Slot::B);
    assert_eq!(state(&mut world, Slot::A), SlotState::Bad { fault: format::Fault::DataEpoch });
}

#[test]
fn a_new_device_takes_a_system_that_reads_only_later_data() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let kernel = content(1, 900);
    let mut manifest = publisher.manifest(1);
    manifest.epochs = Epochs { reads_min: 1, reads_max: 1, writes: 1 };
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &kernel };
    let bundle = publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap();
    world.install(&bundle, None).unwrap();
    confirm(&mut world);
    assert_eq!(world.record().unwrap().0.body.data_epoch, 1);
}

/// The medium damaged an update that had been read back whole: the update was banned for it.
#[test]
fn damage_to_a_trial_is_not_held_against_the_update() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &simple(&publisher, 1));
    let update = simple(&publisher, 2);
    world.install(&update, Some(proof)).unwrap();
    let manifest = Manifest::parse(&payload(&update)).unwrap();
    let kernel = component(&world, Slot::B, &manifest, 0);
    world.disks[0].poke(kernel.offset + 10, &[0xee; 8]);
    assert_eq!(boot(&mut world).slot, Slot::A);
    assert_eq!(state(&mut world, Slot::B), SlotState::Bad { fault: format::Fault::Corrupt });
    world.install(&update, Some(proof)).unwrap();
    assert_eq!(confirm(&mut world).slot, Slot::B);
}

#[test]
fn recovery_is_never_counted() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, &[Slot::A, Slot::B, Slot::Recovery]);
    let recovery = publisher.simple(9, SlotKind::Recovery).unwrap();
    let mut source = Bytes::new(&recovery, usize::MAX);
    let target = Some(Slot::Recovery);
    world.install_with(&mut source, Running::Offline, |c| c.target = target).unwrap();
    forge_record(&mut world, |record| {
        *record.body.slot_mut(Slot::Recovery) = SlotEntry::default();
    });
    for _ in 0..5 {
        assert_eq!(boot(&mut world).slot, Slot::Recovery);
        assert_eq!(state(&mut world, Slot::Recovery), SlotState::Good);
    }
    assert!(world.record().unwrap().0.body.failed.is_empty());
}

#[test]
fn rollback_calls_off_an_update_that_waits_and_says_what_boots() {
    let publisher = Publisher::new(1);
    for slots in [AB, &[Slot::A, Slot::B, Slot::C]] {
        let mut world = blank(&publisher, media()[0].1, slots);
        let mut proof = commission(&mut world, &simple(&publisher, 1));
        if slots.len() == 3 {
            world.install(&simple(&publisher, 2), Some(proof)).unwrap();
            confirm(&mut world);
            proof = boot(&mut world);
        }
        world.install(&simple(&publisher, 3), Some(proof)).unwrap();
        let answer = world.perform(Request::Rollback(proof.slot));
        assert_eq!(answer, Ok(Answer::Boots(proof.slot)));
        assert_eq!(boot(&mut world).slot, proof.slot);
    }
}

/// To roll back while an update waited banned that update for good, and nothing undid it.
#[test]
fn an_update_that_is_called_off_may_be_installed_again_and_a_failure_forgotten() {
    let publisher = Publisher::new(1);
    let update = simple(&publisher, 2);
    for call_off in [Request::Cancel, Request::Rollback(Slot::A)] {
        let mut world = blank(&publisher, media()[0].1, AB);
        assert_eq!(
            world.perform(Request::Cancel),
            Err(RequestError::NoRecord(RecordStatus::Factory))
        );
        let proof = commission(&mut world, &simple(&publisher, 1));
        assert_eq!(world.perform(Request::Cancel), Ok(Answer::Already));
        world.install(&update, Some(proof)).unwrap();
        assert!(matches!(world.perform(call_off), Ok(Answer::Done | Answer::Boots(Slot::A))));
        let proof = boot(&mut world);
        assert_eq!(proof.slot, Slot::A);
        assert!(world.record().unwrap().0.body.failed.is_empty());
        world.install(&update, Some(proof)).unwrap();
        assert_eq!(boot(&mut world).slot, Slot::B);
        // What was judged bad comes off the list only when that is asked for.
        world.perform(Request::MarkBad(Slot::B)).unwrap();
        let digest = world.record().unwrap().0.body.failed[0].digest;
        assert_eq!(world.perform(Request::Forget([9; 32])), Ok(Answer::Already));
        assert_eq!(world.perform(Request::Forget(digest)), Ok(Answer::Done));
        assert!(world.record().unwrap().0.body.failed.is_empty());
    }
}

/// With nothing good beside it, what waits is all there is.
#[test]
fn the_only_update_is_not_called_off() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    world.install(&simple(&publisher, 1), None).unwrap();
    let refused = Err(RequestError::Operator(OperatorRefusal::NothingElseGood));
    assert_eq!(world.perform(Request::Cancel), refused);
    assert_eq!(boot(&mut world).slot, Slot::A);
}

/// Offline, the slot that would boot was overwritten when it was named as the target.
#[test]
fn offline_install_never_overwrites_the_slot_that_would_boot() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    commission(&mut world, &simple(&publisher, 1));
    let update = simple(&publisher, 2);
    let mut source = Bytes::new(&update, usize::MAX);
    let result = world.install_with(&mut source, Running::Offline, |c| c.target = Some(Slot::A));
    assert_eq!(result, Err(InstallError::Refused(Refusal::TargetRuns)));
}

/// Cut between the record and the marks, a repair was resumed with the old marks in place.
#[test]
fn a_resumed_repair_destroys_the_old_marks_first() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &simple(&publisher, 1));
    let update = simple(&publisher, 2);
    world.install(&update, Some(proof)).unwrap();
    confirm(&mut world);
    assert_eq!(world.perform(Request::Rollback(Slot::B)), Ok(Answer::Boots(Slot::A)));
    let back = boot(&mut world);
    world.perform(Request::HoldSlot(Slot::B, false)).unwrap();
    // As the record is right after the first write of step 2.
    forge_record(&mut world, |record| record.body.slot_mut(Slot::B).state = SlotState::Writing);
    // The stream ends before the last byte, so the installation cannot finish.
    let short = &update[..update.len() - 1];
    assert!(world.install(short, Some(back)).is_err());
    lose_record(&mut world);
    assert_eq!(boot(&mut world).slot, Slot::A);
    assert_eq!(state(&mut world, Slot::B), SlotState::Empty, "no mark stands any more");
}

/// The good slot could not be read this once, and nothing else reached the floor: the floor was
/// ignored, and an older system below it started.
#[test]
fn a_floor_is_not_ignored_while_a_slot_cannot_be_read() {
    use stillboot::device::{BlockDevice, DeviceError};

    /// Cannot read one range.
    struct Hole(RamDisk, std::ops::Range<u64>);
    impl BlockDevice for Hole {
        fn geometry(&self) -> Geometry {
            self.0.geometry()
        }
        fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
            if self.1.contains(&offset) {
                return Err(DeviceError::Io);
            }
            self.0.read(offset, into)
        }
        fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
            self.0.write(offset, bytes)
        }
        fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
            self.0.erase(offset, len)
        }
        fn flush(&mut self) -> Result<(), DeviceError> {
            self.0.flush()
        }
    }

    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let leveled = |sequence, level| {
        let bytes = content(sequence, 900);
        let mut manifest = publisher.manifest(sequence);
        manifest.level = level;
        let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
        publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap()
    };
    let proof = commission(&mut world, &leveled(1, 1));
    world.install(&leveled(2, 5), Some(proof)).unwrap();
    confirm(&mut world);
    world.perform(Request::MarkBad(Slot::A)).unwrap();
    boot(&mut world);
    assert_eq!(world.record().unwrap().0.body.floor.level, 5);
    let b = world.ground.slots()[1].regions[0].region;
    let hole = Hole(world.disks[0].fork(), b.offset..b.offset + b.len);
    let mut holed = World::new(world.device, world.ground.clone(), vec![hole]);
    let power_on = holed.power_on().unwrap();
    assert_eq!(power_on.proof, None, "{:?}", power_on.report);
    assert_eq!(boot(&mut world).slot, Slot::B, "the next power-on fares better");
}

/// A worn-out card says that all is well and keeps nothing. A try that was "counted" there was
/// counted again at every power-on, and an update that crashes was started without an end.
#[test]
fn a_try_that_the_device_does_not_keep_is_not_made() {
    /// Says that all is well, and keeps nothing in these places.
    struct Worn(RamDisk, Vec<Region>);
    impl Worn {
        fn keeps(&self, offset: u64) -> bool {
            !self.1.iter().any(|place| (place.offset..place.offset + place.len).contains(&offset))
        }
    }
    impl BlockDevice for Worn {
        fn geometry(&self) -> Geometry {
            self.0.geometry()
        }
        fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
            self.0.read(offset, into)
        }
        fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
            if self.keeps(offset) { self.0.write(offset, bytes) } else { Ok(()) }
        }
        fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
            if self.keeps(offset) { self.0.erase(offset, len) } else { Ok(()) }
        }
        fn flush(&mut self) -> Result<(), DeviceError> {
            self.0.flush()
        }
    }

    let publisher = Publisher::new(1);
    for medium in [media()[0].1, media()[3].1] {
        let mut sound = blank(&publisher, medium, AB);
        let proof = commission(&mut sound, &simple(&publisher, 1));
        sound.install(&simple(&publisher, 2), Some(proof)).unwrap();
        let places = sound.ground.places().to_vec();
        let worn = Worn(sound.disks[0].fork(), places.clone());
        let mut world = World::new(publisher.device(), sound.ground.clone(), vec![worn]);
        world.nonce = sound.nonce;
        for _ in 0..5 {
            let power_on = world.power_on().unwrap();
            assert_eq!(power_on.slot(), Some(Slot::A), "{:?}", power_on.report.lines);
            let failed = power_on.report.record_write_failed;
            assert_eq!(failed, Some(DeviceError::NotKept));
        }
        // As long as one place beside the true copy is left, tries are counted, and end.
        for left in &places {
            let worn = places.iter().copied().filter(|place| place != left).collect();
            let worn = Worn(sound.disks[0].fork(), worn);
            let mut world = World::new(publisher.device(), sound.ground.clone(), vec![worn]);
            world.nonce = sound.nonce;
            let (_, choice, _) = world.record().unwrap();
            let number = places.iter().position(|place| place == left).unwrap();
            let slots: Vec<_> = (0..5).map(|_| world.power_on().unwrap().slot()).collect();
            if choice == (RecordStatus::Current { copy: number as u8 }) {
                // It is never written to, so there is none.
                assert_eq!(slots, [Some(Slot::A); 5]);
            } else {
                // The first try takes it; then it is the true copy, and there is none again.
                assert_eq!(slots[0], Some(Slot::B));
                assert_eq!(slots[1..], [Some(Slot::A); 4]);
            }
        }
        // One worn place costs nothing.
        let worn = sound.disks.iter().map(|disk| Faulty::new(disk.fork(), Fault::Stuck(0)));
        let mut world = World::new(publisher.device(), sound.ground.clone(), worn.collect());
        world.nonce = sound.nonce;
        for slot in [Slot::B, Slot::B, Slot::B, Slot::A, Slot::A] {
            assert_eq!(world.power_on().unwrap().slot(), Some(slot));
        }
        assert!(world.disks[0].has_struck());
    }
}

/// The write of a mark landed within the update that it was the mark of, after that had been read
/// back, and the installation was reported as done.
#[test]
fn a_mark_that_lands_elsewhere_is_noticed() {
    let publisher = Publisher::new(1);
    let mut sound = blank(&publisher, media()[3].1, AB);
    let proof = commission(&mut sound, &simple(&publisher, 1));
    let update = simple(&publisher, 2);
    let mut noticed = 0;
    for change in 0.. {
        let fault = Fault::Misdirected(change, 5);
        let disks = sound.disks.iter().map(|disk| Faulty::new(disk.fork(), fault)).collect();
        let mut world = World::new(publisher.device(), sound.ground.clone(), disks);
        let installed = world.install(&update, Some(proof));
        if !world.disks[0].has_struck() {
            installed.unwrap();
            break;
        }
        noticed += u32::from(installed.is_err());
        let disks = world.disks.iter().map(|disk| disk.device().fork()).collect();
        let mut mended = World::new(publisher.device(), sound.ground.clone(), disks);
        if installed.is_ok() {
            let power_on = mended.power_on().unwrap();
            assert_eq!(power_on.slot(), Some(Slot::B), "{change}: {:?}", power_on.report.lines);
        }
    }
    assert!(noticed > 3, "{noticed}");
}
