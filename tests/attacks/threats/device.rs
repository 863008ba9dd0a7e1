//! Attacks on a device: its media, its record, its wear, and updates that do not work.

use stillboot::driver::Memory as _;
use stillboot::format::{BootProof, Slot, SlotKind, SlotState, record};
use stillboot::install::{InstallError, Nothing, Reuse, Running};
use stillboot::layout::{Part, Region};
use stillboot::request::Request;
use stillboot_sim::Publisher;
use stillboot_sim::disk::Cut;
use stillboot_sim::release::content;
use stillboot_sim::world::Bytes;
use stillboot_tests::forge::{Liar, counted, digest, on, plant, recommend, with_manifest};
use stillboot_tests::{RamWorld, boot, confirm, state, wipe};

use super::{AB, ABR, of_kind, refused, running, update};

#[test]
fn attack_14_time_of_check_time_of_use() {
    let publisher = Publisher::new(1);
    let (mut start, proof) = running(&publisher, AB);
    let bundle = update(&publisher, 2);
    start.install(&bundle, Some(proof)).unwrap();
    confirm(&mut start);
    let kernels = [content(1, 5000), content(2, 5000)];
    // A device that lies at its n-th read, once or from then on: what is started is in memory as it
    // was signed, or nothing is.
    for for_good in [false, true] {
        for truths in 0.. {
            let mut world = on(&start, |disk| Liar::new(disk.fork(), Some(truths), for_good));
            let mut power_on = world.power_on().unwrap();
            let lied = world.disks[0].reads.len() > truths as usize;
            if let Some(runs) = power_on.proof {
                let expected = &kernels[runs.slot as usize];
                let loaded = &power_on.memory.bytes(0)[..5000];
                assert!(loaded == &expected[..], "read {truths}: other bytes than were checked");
            } else {
                assert!(lied, "{:?}", power_on.report);
            }
            if !lied {
                break;
            }
        }
    }
    // The head of the slot that starts is read once: what was verified is what is used.
    let mut world = on(&start, |disk| Liar::new(disk.fork(), None, false));
    let slot = world.power_on().unwrap().slot().unwrap();
    let ground = start.ground.clone();
    let slots = ground.slots();
    let trust = ground.layout(&slots).unwrap().part(slot, Part::Trust).unwrap();
    let heads = world.disks[0].reads.iter().filter(|(offset, _)| *offset == trust.offset).count();
    assert_eq!(heads, 1);
    // Nor does what is read back during an installation pass.
    let (one, proof) = running(&publisher, AB);
    let mut caught = 0;
    for truths in 0.. {
        let mut world = on(&one, |disk| Liar::new(disk.fork(), Some(truths), true));
        let mut source = Bytes::new(&bundle, usize::MAX);
        let result = world.install_with(&mut source, Running::Proof(proof), |config| {
            config.reuse = Reuse { target: true, stated: false, running: false };
        });
        if world.disks[0].reads.len() <= truths as usize {
            result.unwrap();
            break;
        }
        assert!(result.is_err(), "lying from read {truths} on");
        caught += 1;
    }
    assert!(caught > 5, "{caught}");
}

#[test]
fn attack_18_update_that_does_not_work() {
    let publisher = Publisher::new(1);
    for tries in 1..=4 {
        let (mut world, proof) = running(&publisher, AB);
        world.tries = tries;
        world.install(&update(&publisher, 2), Some(proof)).unwrap();
        // Each attempt is on the medium before it is made.
        for attempt in 1..=tries {
            let trial = boot(&mut world);
            assert_eq!((trial.slot, trial.attempt), (Slot::B, attempt));
            let SlotState::Trying { left, .. } = state(&mut world, Slot::B) else { panic!() };
            assert_eq!(left, tries - attempt);
        }
        let mut last = world.clone();
        assert_eq!(boot(&mut world).slot, Slot::A, "never confirmed");
        // Confirmed on the last try, it stays.
        let SlotState::Trying { attempt, nonce, .. } = state(&mut last, Slot::B) else { panic!() };
        let trial = BootProof {
            slot: Slot::B,
            digest: digest(&update(&publisher, 2)),
            attempt,
            nonce,
            ..proof
        };
        last.perform(Request::MarkGood(trial)).unwrap();
        assert_eq!(boot(&mut last).slot, Slot::B);
    }
    // A try that cannot be counted, at any of the writes that count it, is not made.
    let (mut world, proof) = running(&publisher, AB);
    world.install(&update(&publisher, 2), Some(proof)).unwrap();
    let start = counted(&world);
    for at in 0.. {
        let mut world = start.clone();
        world.disks[0].cut_at(at, Cut::Before);
        let power_on = world.power_on().unwrap();
        if !world.disks[0].is_off() {
            assert_eq!(power_on.slot(), Some(Slot::B));
            break;
        }
        assert_ne!(power_on.slot(), Some(Slot::B), "cut at {at}");
    }
    // Both slots bad: a report, and recovery where there is one.
    let (mut world, _) = running(&publisher, ABR);
    let recovery = of_kind(&publisher, 1, 1, SlotKind::Recovery);
    plant(&mut world, Slot::Recovery, &recovery);
    wipe(&mut world, Slot::A);
    assert_eq!(boot(&mut world).slot, Slot::Recovery);
}

#[test]
fn attack_19_wear() {
    let publisher = Publisher::new(1);
    let stranger = Publisher::new(2);
    let (world, proof) = running(&publisher, AB);
    let mut world = counted(&world);
    let (good, foreign) = (update(&publisher, 2), update(&stranger, 9));
    let class = with_manifest(&publisher, &good, |m| m.class = [1; 16]);
    for number in 0..1000 {
        let bad = if number % 2 == 0 { &foreign } else { &class };
        refused(world.install(bad, Some(proof)));
    }
    assert_eq!(world.disks[0].operations(), 0);
    world.install(&good, Some(proof)).unwrap();
    let after = world.disks[0].operations();
    for _ in 0..20 {
        let ready = Err(InstallError::Nothing(Nothing::Ready(Slot::B)));
        assert_eq!(world.install(&good, Some(proof)), ready);
    }
    assert_eq!(world.disks[0].operations(), after);
    let trial = world.power_on().unwrap().proof.unwrap();
    world.perform(Request::MarkGood(trial)).unwrap();
    let now = world.power_on().unwrap().proof.unwrap();
    let after = world.disks[0].operations();
    for _ in 0..20 {
        assert_eq!(world.install(&good, Some(now)), Err(InstallError::Nothing(Nothing::Running)));
        world.power_on().unwrap();
    }
    assert_eq!(world.disks[0].operations(), after, "good starts and no news cost nothing");
}

#[test]
fn attack_20_record() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.install(&update(&publisher, 2), Some(proof)).unwrap();
    confirm(&mut world);
    let b = boot(&mut world);
    let boots = |world: &mut RamWorld<'_>, context: &str| {
        let power_on = world.power_on().unwrap();
        let runs = power_on.proof.unwrap_or_else(|| panic!("{context}: {:?}", power_on.report));
        assert!([proof.digest, b.digest].contains(&runs.digest), "{context}");
    };
    let regions = world.ground.places().to_vec();
    let places = 0..regions.len();
    let copy_of = |place: &Region| world.disks[0].bytes(place.offset, record::LEN_MAX);
    let copies: Vec<_> = regions.iter().map(copy_of).collect();
    for (copy, region) in regions.iter().enumerate() {
        let len = 20 + usize::from(u16::from_le_bytes([copies[copy][6], copies[copy][7]]));
        for bit in 0..len * 8 {
            let mut forged = world.clone();
            let byte = copies[copy][bit / 8] ^ (1 << (bit % 8));
            forged.disks[0].poke(region.offset + bit as u64 / 8, &[byte]);
            boots(&mut forged, &format!("bit {bit} of copy {copy}"));
        }
        // Torn between this copy and another, at every byte.
        for other in places.clone().filter(|other| *other != copy) {
            for at in 0..len {
                let mut forged = world.clone();
                forged.disks[0].poke(region.offset, &copies[other][..at]);
                boots(&mut forged, &format!("torn at {at} of copy {copy} by copy {other}"));
            }
        }
    }
    for fill in [0x00, 0xff, 0x5a] {
        for which in 1..1 << regions.len() {
            let mut forged = world.clone();
            for copy in places.clone().filter(|copy| which & 1 << copy != 0) {
                forged.disks[0].poke(regions[copy].offset, &[fill; record::LEN_MAX]);
            }
            boots(&mut forged, &format!("{fill:02x} in {which:b}"));
        }
    }
    // Equal sequences with unlike bodies, and the last sequences there are.
    let (record, ..) = world.record().unwrap();
    let last = record::SEQUENCE_MAX;
    for sequences in [[9; 3], [last, 1, 1], [1, last, last], [2, 1, last], [last; 3], [0; 3]] {
        let mut forged = world.clone();
        for (copy, sequence) in sequences.into_iter().enumerate() {
            let mut record = record.clone();
            record.sequence = sequence;
            record.body.slot_mut(Slot::A).priority = copy as u8 * 9;
            let mut bytes = [0; record::LEN_MAX];
            record.emit(&mut bytes).unwrap();
            forged.disks[0].poke(regions[copy].offset, &bytes);
        }
        boots(&mut forged, &format!("{sequences:?}"));
    }
    // The record makes nothing start that does not verify.
    let mut forged = world.clone();
    let stranger = update(&Publisher::new(2), 9);
    plant(&mut forged, Slot::B, &stranger);
    recommend(&mut forged, Slot::B, digest(&stranger));
    assert_eq!(boot(&mut forged).digest, proof.digest);
}
