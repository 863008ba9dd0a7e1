//! Records that are lost, wiped, of a later format or at their highest number.

use stillboot::boot::Reason;
use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::format::record::{LEN_MAX, Record, SEQUENCE_MAX, VERSION};
use stillboot::format::{Fault, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Wait};
use stillboot::layout::Part;
use stillboot::record::{CopyState, RecordStatus};
use stillboot::request::{Answer, Request, RequestError};
use stillboot::select::CandidateKind;
use stillboot_sim::disk::{Cut, PowerCut, RamDisk, Tear};
use stillboot_sim::hostile::unread::Unread;
use stillboot_sim::{Publisher, World};
use stillboot_tests::forge::{forge_record, lose_record, poke_records};
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media, part, state};

use super::{AB, ABR, head_of, install_to, rot, simple, two_good, unread, updated};

/// A record that is lost was never rebuilt while a slot could not be read and nothing started.
#[test]
fn a_lost_record_is_rebuilt_around_a_slot_that_cannot_be_read() {
    let publisher = Publisher::new(1);
    let mut world = two_good(&publisher, 0, AB);
    rot(&mut world, Slot::A, &simple(&publisher, 1));
    lose_record(&mut world);
    let mut world = unread(&world, head_of(&world, Slot::B));
    assert_eq!(world.power_on().unwrap().proof, None);
    let (record, choice, _) = world.record().unwrap();
    assert!(matches!(choice, RecordStatus::Current { .. }));
    let b = record.body.slot(Slot::B);
    assert_eq!((b.state, b.held), (SlotState::Bad { fault: Fault::Unreadable }, true));
    assert_eq!(world.install(&simple(&publisher, 3), None).unwrap().slot, Slot::A);
    let proof = world.power_on().unwrap().proof.unwrap();
    assert_eq!(world.perform(Request::MarkGood(proof)), Ok(Answer::Done));
    // The cable is back: what was held is still there.
    world.disks[0].range = 0..0;
    world.perform(Request::MarkBad(Slot::A)).unwrap_err();
    assert_eq!(world.power_on().unwrap().slot(), Some(Slot::A));
}

/// A record that was wiped made whole slots pass for empty ones: an installation overwrote one, and
/// the other was never started again.
#[test]
fn a_wiped_record_beside_whole_slots_is_not_a_new_device() {
    let publisher = Publisher::new(1);
    for (number, slots) in [(0, AB), (1, ABR), (2, AB)] {
        for byte in [0, 0xff] {
            let mut world = two_good(&publisher, number, slots);
            let running = world.power_on().unwrap().proof.unwrap();
            poke_records(&mut world, &[byte; LEN_MAX]);
            let before = world.disks[0].content_hash();
            let lost = InstallError::Deferred(Wait::RecordLost);
            let bundle = simple(&publisher, 3);
            assert_eq!(world.install(&bundle, None), Err(lost), "{number} {byte:#x}");
            assert_eq!(world.install(&bundle, Some(running)), Err(lost), "{number} {byte:#x}");
            assert_eq!(world.disks[0].content_hash(), before, "nothing was written");
            assert_eq!(world.power_on().unwrap().slot(), Some(running.slot));
            updated(&mut world, &bundle);
        }
    }
}

/// The same beside slots whose heads verify and nothing else does: the power-on that starts nothing
/// leaves a record, and the next update gets in.
#[test]
fn a_wiped_record_beside_rotten_slots_leaves_a_way() {
    let publisher = Publisher::new(1);
    let mut world = two_good(&publisher, 0, AB);
    rot(&mut world, Slot::A, &simple(&publisher, 1));
    rot(&mut world, Slot::B, &simple(&publisher, 2));
    poke_records(&mut world, &[0; LEN_MAX]);
    let bundle = simple(&publisher, 3);
    assert_eq!(world.install(&bundle, None), Err(InstallError::Deferred(Wait::RecordLost)));
    assert_eq!(world.power_on().unwrap().proof, None);
    updated(&mut world, &bundle);
}

/// Cut at every operation of the renumbering, in every way: the tries still end, and nothing is
/// lost.
#[test]
fn renumbering_survives_power_cuts_and_gives_no_tries() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        let proof = commission(&mut world, &simple(&publisher, 1));
        world.install(&simple(&publisher, 2), Some(proof)).unwrap();
        let (record, ..) = world.record().unwrap();
        // One copy, as a forger who wants that copy to win would write, or more.
        for copies in [&[1][..], &[2], &[0, 1], &[0, 1, 2]] {
            let mut disk = world.disks[0].fork();
            let mut forged = record.clone();
            forged.sequence = SEQUENCE_MAX;
            let mut bytes = [0; LEN_MAX];
            forged.emit(&mut bytes).unwrap();
            for copy in copies {
                disk.poke(world.ground.record(*copy).offset, &bytes);
            }
            for at in 0..12 {
                for cut in [
                    Cut::Before,
                    Cut::After,
                    Cut::Torn(Tear::Prefix(20)),
                    Cut::Torn(Tear::Prefix(300)),
                    Cut::Torn(Tear::Mixed(at)),
                ] {
                    let disk = PowerCut::new(disk.fork());
                    let mut world = World::new(world.device, world.ground.clone(), vec![disk]);
                    world.disks[0].cut_at(at, cut);
                    let on = world.power_on().unwrap();
                    let mut starts = usize::from(!world.disks[0].is_off() && on.proof.is_some());
                    world.disks[0].power_on();
                    while starts < 10 {
                        let on = world.power_on().unwrap();
                        match on.slot().unwrap_or_else(|| panic!("{name}: {:?}", on.report)) {
                            Slot::B => starts += 1,
                            slot => {
                                assert_eq!(slot, Slot::A, "{name}");
                                break;
                            }
                        }
                    }
                    assert!(starts <= 3, "{name}, cut {at} {cut:?}: {starts} starts");
                    let (record, choice, _) = world.record().unwrap();
                    assert!(matches!(choice, RecordStatus::Current { .. }));
                    assert!(record.sequence < SEQUENCE_MAX, "{name}: {}", record.sequence);
                }
            }
        }
    }
}

/// Writes the record once more as one of a later version, to these copies.
fn from_the_future(world: &mut RamWorld<'_>, copies: &[usize], version: u16) {
    let (record, ..) = world.record().unwrap();
    let mut bytes = vec![0; LEN_MAX];
    let len = record.emit(&mut bytes).unwrap();
    bytes[4..6].copy_from_slice(&version.to_le_bytes());
    let checksum = stillboot::format::crc32(&bytes[..len - 4]);
    bytes[len - 4..len].copy_from_slice(&checksum.to_le_bytes());
    for copy in copies {
        world.disks[0].poke(world.ground.record(*copy).offset, &bytes[..len]);
    }
}

/// A record of a later format ended all updates. One request that names the version discards it.
#[test]
fn a_record_of_a_later_format_can_be_discarded_by_name() {
    let publisher = Publisher::new(1);
    for copies in [&[0_usize][..], &[1], &[2], &[0, 1], &[0, 1, 2]] {
        let mut world = two_good(&publisher, 3, AB);
        from_the_future(&mut world, copies, u16::MAX);
        let before = world.disks[0].content_hash();
        assert_eq!(boot(&mut world).slot, Slot::B, "it boots, and writes nothing");
        assert_eq!(world.disks[0].content_hash(), before);
        for wrong in [0, VERSION, 2] {
            let refused = RequestError::OtherVersion { found: Some(u16::MAX) };
            assert_eq!(world.perform(Request::Discard(wrong)), Err(refused));
        }
        assert_eq!(world.disks[0].content_hash(), before);
        assert_eq!(world.perform(Request::Discard(u16::MAX)), Ok(Answer::Done));
        assert_eq!(world.record().unwrap().1, RecordStatus::Lost);
        let power_on = world.power_on().unwrap();
        assert_eq!((power_on.report.record, power_on.slot()), (RecordStatus::Lost, Some(Slot::B)));
        assert_eq!(state(&mut world, Slot::A), SlotState::Good);
        world.install(&simple(&publisher, 3), power_on.proof).unwrap();
        confirm(&mut world);
    }
}

/// Discarding a record is cut at every operation: the device never passes for a new one, and boots.
#[test]
fn discarding_a_record_survives_power_cuts() {
    let publisher = Publisher::new(1);
    for number in 0..media().len() {
        for copies in [&[][..], &[0_usize], &[1], &[2], &[0, 1], &[0, 1, 2]] {
            let mut world = two_good(&publisher, number, AB);
            let mut version = VERSION;
            if !copies.is_empty() {
                version = 7;
                from_the_future(&mut world, copies, version);
            }
            for at in 0..12 {
                for cut in [Cut::Before, Cut::After, Cut::Torn(Tear::Prefix(6))] {
                    let disk = PowerCut::new(world.disks[0].fork());
                    let mut cutter = World::new(world.device, world.ground.clone(), vec![disk]);
                    cutter.disks[0].cut_at(at, cut);
                    let _ = cutter.perform(Request::Discard(version));
                    cutter.disks[0].power_on();
                    let (_, choice, states) = cutter.record().unwrap();
                    assert_ne!(choice, RecordStatus::Factory, "{states:?}");
                    assert_eq!(cutter.power_on().unwrap().slot(), Some(Slot::B), "{states:?}");
                    if let RecordStatus::Newer = choice {
                        assert!(states.contains(&CopyState::Newer { version }));
                        cutter.perform(Request::Discard(version)).unwrap();
                    }
                    let mut proof = cutter.power_on().unwrap().proof.unwrap();
                    // Where the newest copy was destroyed first, an older one may call B untried.
                    if proof.attempt > 0 {
                        cutter.perform(Request::MarkGood(proof)).unwrap();
                        proof = cutter.power_on().unwrap().proof.unwrap();
                    }
                    cutter.install(&simple(&publisher, 3), Some(proof)).unwrap();
                }
            }
        }
    }
}

/// All copies of the record but one stand on bad sectors: it boots, the one that is left is never
/// touched, and nothing is tried or installed.
#[test]
fn the_only_copy_of_the_record_is_never_written() {
    let publisher = Publisher::new(1);
    for copy in 0..3 {
        let sound = two_good(&publisher, 0, AB);
        let place = |number: usize| sound.ground.record(number % 3).offset;
        let mut disk = Unread::new(Unread::new(sound.disks[0].fork()));
        disk.range = place(copy + 1)..place(copy + 1) + 512;
        disk.device_mut().range = place(copy + 2)..place(copy + 2) + 512;
        let mut world = World::new(sound.device, sound.ground.clone(), vec![disk]);
        world.nonce = 1 << 20;
        let left = |world: &World<'_, Unread<Unread<RamDisk>>>| {
            world.disks[0].device().device().bytes(place(copy), LEN_MAX)
        };
        let before = left(&world);
        let was_valid = Record::parse(&before).is_ok();
        let proof = world.power_on().unwrap().proof.unwrap();
        let answer = world.install(&simple(&publisher, 3), Some(proof));
        assert!(was_valid && matches!(answer, Err(InstallError::Record(_))), "{answer:?}");
        assert_eq!(left(&world), before);
        assert_eq!(world.power_on().unwrap().proof.unwrap().slot, proof.slot);
    }
}

/// A disk that does not take some changes of a range.
struct Stubborn {
    disk: RamDisk,
    range: std::ops::Range<u64>,
    /// Changes of the range that it still takes.
    takes: u32,
}

impl Stubborn {
    fn refuses(&mut self, offset: u64) -> Result<(), DeviceError> {
        if !self.range.contains(&offset) {
            return Ok(());
        }
        self.takes = self.takes.checked_sub(1).ok_or(DeviceError::Io)?;
        Ok(())
    }
}

impl BlockDevice for Stubborn {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.disk.read(offset, into)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.refuses(offset)?;
        self.disk.write(offset, bytes)
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.refuses(offset)?;
        self.disk.erase(offset, len)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.disk.flush()
    }
}

/// The copy with the highest sequence could not be destroyed: a second trial of the same power-on
/// was counted under a number that lost against it, so its tries never ended.
#[test]
fn a_renumbering_that_fails_counts_nothing_and_loses_no_record() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        for takes in 0..3 {
            for copy in 0..3 {
                let slots = &[Slot::A, Slot::B, Slot::C];
                let mut world = blank(&publisher, geometry, slots);
                commission(&mut world, &simple(&publisher, 1));
                forge_record(&mut world, |record| {
                    record.sequence = SEQUENCE_MAX;
                    for slot in [Slot::B, Slot::C] {
                        record.body.slot_mut(slot).state = SlotState::Ready { tries: 2 };
                    }
                });
                // Only this copy has the highest sequence.
                for other in (0..3).filter(|other| *other != copy) {
                    let other = world.ground.record(other);
                    world.disks[0].poke(other.offset, &[0x11; 64]);
                }
                let region = world.ground.record(copy);
                let disk = Stubborn {
                    disk: world.disks[0].fork(),
                    range: region.offset..region.offset + region.len,
                    takes,
                };
                let mut stubborn = World::new(world.device, world.ground.clone(), vec![disk]);
                let mut trials = 0;
                for _ in 0..12 {
                    let on = stubborn.power_on().unwrap();
                    let is_trial = |line: &&stillboot::boot::Line| {
                        line.candidate.kind == CandidateKind::Trial
                            && !matches!(line.reason, Reason::NotCounted(_))
                    };
                    trials += on.report.lines.iter().filter(is_trial).count();
                    assert_eq!(on.slot(), Some(Slot::A), "{name}: {:?}", on.report);
                    let (_, choice, states) = stubborn.record().unwrap();
                    assert!(matches!(choice, RecordStatus::Current { .. }), "{name}: {states:?}");
                }
                assert!(trials <= 4, "{name}, copy {copy}, takes {takes}: {trials} trials");
            }
        }
    }
}

/// Recovery started after the record was lost, and the slot that could not be read was recorded as
/// empty: every installation chose it first and failed.
#[test]
fn a_lost_record_beside_recovery_spares_the_slot_that_cannot_be_read() {
    let publisher = Publisher::new(1);
    let mut world = two_good(&publisher, 0, ABR);
    let recovery = publisher.simple(50, SlotKind::Recovery).unwrap();
    install_to(&mut world, &recovery, None, Slot::Recovery).unwrap();
    rot(&mut world, Slot::B, &simple(&publisher, 2));
    lose_record(&mut world);
    let commit = part(&world, Slot::A, Part::Commit).offset;
    // The head, and the commit block, which is read after it.
    for at in [head_of(&world, Slot::A), commit] {
        let mut world = unread(&world, at);
        let on = world.power_on().unwrap();
        let (record, ..) = world.record().unwrap();
        let unreadable = SlotState::Bad { fault: Fault::Unreadable };
        assert_eq!(record.body.slot(Slot::A).state, unreadable, "{:?}", on.report);
        if on.slot() == Some(Slot::Recovery) {
            let installed = world.install(&simple(&publisher, 3), on.proof).unwrap();
            assert_eq!(installed.slot, Slot::B);
        }
    }
}
