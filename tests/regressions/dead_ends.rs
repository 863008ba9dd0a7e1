//! States from which an outsider found no way back to a device that boots and takes updates, each
//! with the way out that there is now. The kinds are explored at large by `tests/sim/hostile.rs`.

use stillboot::boot::Reason;
use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::format::record::{LEN_MAX, Record, SEQUENCE_MAX, VERSION};
use stillboot::format::{BootProof, Epochs, Fault, Floor, Load, Role, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Installed, Nothing, Refusal, Running, Wait};
use stillboot::layout::Part;
use stillboot::operate::{Answer, OperateError, Request};
use stillboot::record::{CopyState, OperatorRefusal, RecordStatus};
use stillboot::select::CandidateKind;
use stillboot_sim::disk::{Cut, PowerCut, RamDisk, Tear};
use stillboot_sim::hostile::unread::Unread;
use stillboot_sim::release::content;
use stillboot_sim::world::{Bytes, SimStore};
use stillboot_sim::{DeviceMap, Piece, Publisher, World};
use stillboot_tests::forge::{forge_record, lose_record, plant, poke_records};
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media, part, state};

const AB: &[Slot] = &[Slot::A, Slot::B];
const ABR: &[Slot] = &[Slot::A, Slot::B, Slot::Recovery];
const CORRUPT: SlotState = SlotState::Bad { fault: Fault::Corrupt };

fn simple(publisher: &Publisher, sequence: u64) -> Vec<u8> {
    publisher.simple(sequence, SlotKind::Update).unwrap()
}

fn release(publisher: &Publisher, sequence: u64, kind: SlotKind, level: u32) -> Vec<u8> {
    let bytes = content(sequence, 900);
    let mut manifest = publisher.manifest(sequence);
    manifest.level = level;
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
    publisher.bundle(manifest, kind, &[piece]).unwrap()
}

/// Two good slots: version 1 in a, version 2 in b, which goes first.
fn two_good<'a>(publisher: &'a Publisher, number: usize, slots: &[Slot]) -> RamWorld<'a> {
    let mut world = blank(publisher, media()[number].1, slots);
    let proof = commission(&mut world, &simple(publisher, 1));
    world.install(&simple(publisher, 2), Some(proof)).unwrap();
    confirm(&mut world);
    boot(&mut world);
    world
}

fn install_to<D: BlockDevice>(
    world: &mut World<'_, D>,
    bundle: &[u8],
    running: Option<BootProof>,
    target: Slot,
) -> Result<Installed, InstallError> {
    let running = running.map_or(Running::Offline, Running::Proof);
    world.install_with(&mut Bytes::new(bundle, usize::MAX), running, |config| {
        config.target = Some(target);
    })
}

fn slot_start<D>(world: &World<'_, D>, slot: Slot) -> u64 {
    let slots = world.ground.slots();
    slots.iter().find(|found| found.slot == slot).unwrap().regions[0].region.offset
}

/// Where the head of the slot stands.
fn head_of<D>(world: &World<'_, D>, slot: Slot) -> u64 {
    let slots = world.ground.slots();
    let layout = world.ground.layout(&slots).unwrap();
    layout.part(slot, Part::Trust).unwrap().offset
}

/// Turns a bit of the last bytes of what stands in the slot.
fn rot(world: &mut RamWorld<'_>, slot: Slot, bundle: &[u8]) {
    let tail = bundle[bundle.len() - 64..].to_vec();
    let start = slot_start(world, slot);
    let all = world.disks[0].bytes(start, 128 << 10);
    let at = start + all.windows(64).position(|window| window == tail).unwrap() as u64;
    world.disks[0].poke(at, &[tail[0] ^ 1]);
}

/// The next update gets in by the commands that the messages name.
fn updated(world: &mut RamWorld<'_>, bundle: &[u8]) -> Slot {
    let slot = world.install(bundle, None).unwrap().slot;
    assert_eq!(confirm(world).slot, slot);
    let power_on = world.power_on().unwrap();
    let candidate = power_on.report.lines.last().unwrap().candidate;
    assert_eq!((candidate.slot, candidate.kind), (slot, CandidateKind::Good));
    slot
}

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

/// The same device, with a bad sector.
fn unread<'a>(world: &RamWorld<'a>, at: u64) -> World<'a, Unread<RamDisk>> {
    let mut disk = Unread::new(world.disks[0].fork());
    disk.range = at..at + 512;
    let mut other = World::new(world.device, world.ground.clone(), vec![disk]);
    other.nonce = 1 << 20;
    other
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
    assert_eq!(world.operate(Request::MarkGood(proof)), Ok(Answer::Done));
    assert_eq!(world.record().unwrap().0.body.slot(Slot::B).state, SlotState::Good);
}

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
    assert_eq!(world.operate(Request::MarkGood(proof)), Ok(Answer::Done));
    // The cable is back: what was held is still there.
    world.disks[0].range = 0..0;
    world.operate(Request::MarkBad(Slot::A)).unwrap_err();
    assert_eq!(world.power_on().unwrap().slot(), Some(Slot::A));
}

const TOP: Floor = Floor { keyset_version: u32::MAX, level: u32::MAX };

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
        let refused = OperateError::Operator(OperatorRefusal::NothingElseGood);
        assert_eq!(world.operate(Request::Rollback(Slot::A)), Err(refused));
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
        assert_eq!(world.operate(Request::MarkGood(proof)), Ok(Answer::Done));
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
    world.operate(Request::HoldSlot(Slot::A, true)).unwrap();
    let proof = boot(&mut world);
    let answer = world.install(&simple(&publisher, 3), Some(proof));
    assert_eq!(answer, Err(InstallError::Deferred(Wait::Held)));
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
            let refused = OperateError::OtherVersion { found: Some(u16::MAX) };
            assert_eq!(world.operate(Request::Discard(wrong)), Err(refused));
        }
        assert_eq!(world.disks[0].content_hash(), before);
        assert_eq!(world.operate(Request::Discard(u16::MAX)), Ok(Answer::Done));
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
                    let _ = cutter.operate(Request::Discard(version));
                    cutter.disks[0].power_on();
                    let (_, choice, states) = cutter.record().unwrap();
                    assert_ne!(choice, RecordStatus::Factory, "{states:?}");
                    assert_eq!(cutter.power_on().unwrap().slot(), Some(Slot::B), "{states:?}");
                    if let RecordStatus::Newer = choice {
                        assert!(states.contains(&CopyState::Newer { version }));
                        cutter.operate(Request::Discard(version)).unwrap();
                    }
                    let mut proof = cutter.power_on().unwrap().proof.unwrap();
                    // Where the newest copy was destroyed first, an older one may call B untried.
                    if proof.attempt > 0 {
                        cutter.operate(Request::MarkGood(proof)).unwrap();
                        proof = cutter.power_on().unwrap().proof.unwrap();
                    }
                    cutter.install(&simple(&publisher, 3), Some(proof)).unwrap();
                }
            }
        }
    }
}

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

/// One start as last resort turned what a person had called bad into what is merely exhausted.
#[test]
fn what_was_called_bad_stays_so_after_a_start_as_last_resort() {
    let publisher = Publisher::new(1);
    let mut world = two_good(&publisher, 0, AB);
    world.operate(Request::MarkBad(Slot::A)).unwrap();
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

/// Marked bad by a person, an older recovery system was taken in its place.
#[test]
fn a_recovery_that_was_marked_bad_is_not_downgraded_either() {
    let publisher = Publisher::new(1);
    let recovery = |sequence| publisher.simple(sequence, SlotKind::Recovery).unwrap();
    let mut world = two_good(&publisher, 0, ABR);
    install_to(&mut world, &recovery(51), None, Slot::Recovery).unwrap();
    world.operate(Request::MarkBad(Slot::Recovery)).unwrap();
    let proof = boot(&mut world);
    let answer = install_to(&mut world, &recovery(50), Some(proof), Slot::Recovery);
    assert!(matches!(answer, Err(InstallError::Refused(Refusal::NotNewer { .. }))), "{answer:?}");
    install_to(&mut world, &recovery(52), Some(proof), Slot::Recovery).unwrap();
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
    assert_eq!(world.operate(Request::Rollback(Slot::B)), Ok(Answer::Boots(Slot::A)));
    world.operate(Request::MarkBad(Slot::B)).unwrap();
    let refused = OperateError::Operator(OperatorRefusal::NothingElseGood);
    assert_eq!(world.operate(Request::MarkBad(Slot::A)), Err(refused));
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
