//! Old versions that are offered again, and new ones that are withheld.

use stillboot::boot::Reason;
use stillboot::format::{Fault, Floor, Manifest, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Nothing, Refusal, Running, Wait};
use stillboot::request::{Answer, Request};
use stillboot::verify::TrustError;
use stillboot_policy::{Clock, Objection, Verdict};
use stillboot_sim::Publisher;
use stillboot_sim::disk::Cut;
use stillboot_sim::world::{Bytes, SimStore};
use stillboot_tests::forge::{counted, digest, forge_record, plant, with_manifest};
use stillboot_tests::{blank, boot, commission, confirm, media, wipe};

use super::{AB, ABR, leveled, of_kind, refused, running, update};

#[test]
fn attack_04_fast_forward() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    world.store = Some(SimStore::default());
    boot(&mut world);
    // The highest of all is no number: nothing could follow.
    for change in [&(|m: &mut Manifest| m.sequence = u64::MAX) as &dyn Fn(&mut Manifest), &|m| {
        m.level = u32::MAX
    }] {
        let bad = with_manifest(&publisher, &update(&publisher, 2), change);
        let refusal = refused(world.install(&bad, Some(proof)));
        assert!(matches!(refusal, Refusal::Trust(TrustError::Manifest(_))), "{refusal:?}");
    }
    // The thief of the release key goes as far as goes.
    world.install(&leveled(&publisher, u64::MAX - 1, 1), Some(proof)).unwrap();
    confirm(&mut world);
    let proof = boot(&mut world);
    let refusal = refused(world.install(&update(&publisher, 7), Some(proof)));
    assert!(matches!(refusal, Refusal::NotNewer { .. }), "{refusal:?}");
    // A new keyset begins at one.
    let mut rotated = Publisher::new(1);
    rotated.rotate_release([5; 32]);
    world.install(&update(&rotated, 1), Some(proof)).unwrap();
    assert_eq!(confirm(&mut world).keyset_version, 2);
}

#[test]
fn attack_05_freeze() {
    let publisher = Publisher::new(1);
    let (world, proof) = running(&publisher, AB);
    let start = counted(&world);
    let limit = 1_800_000_000;
    let aged = with_manifest(&publisher, &update(&publisher, 2), |m| m.not_after = limit);
    for (clock, passes) in [
        (Clock::Trusted(limit - 1), true),
        (Clock::Trusted(limit), true),
        (Clock::Trusted(limit + 1), false),
        (Clock::Trusted(u64::MAX), false),
        (Clock::NotTrusted, false),
        // Without a clock there is no defence, and none is pretended.
        (Clock::Absent, true),
    ] {
        let mut world = start.clone();
        world.host.clock = clock;
        let result = world.install(&aged, Some(proof));
        assert_eq!(result.is_ok(), passes, "{clock:?}: {result:?}");
        if !passes {
            assert_eq!(world.disks[0].operations(), 0, "{clock:?}");
            continue;
        }
        // Whatever the clock says later, what is installed starts and is confirmed.
        world.host.clock = Clock::Trusted(u64::MAX);
        let trial = world.power_on().unwrap().proof.unwrap();
        assert_eq!(trial.slot, Slot::B, "{clock:?}");
        world.perform(Request::MarkGood(trial)).unwrap();
        assert_eq!(world.power_on().unwrap().slot(), Some(Slot::B), "{clock:?}");
    }
    let mut world = start.clone();
    world.host.clock = Clock::Trusted(limit + 1);
    let objection = Objection::Expired { not_after: limit, now: limit + 1 };
    assert_eq!(refused(world.install(&aged, Some(proof))), Refusal::Policy);
    assert_eq!(world.host.said, Some(Verdict::Refused(objection)));
}

#[test]
fn attack_06_bad_mirror() {
    let publisher = Publisher::new(1);
    let stranger = Publisher::new(2);
    let (world, proof) = running(&publisher, AB);
    let mut world = counted(&world);
    let good = update(&publisher, 2);
    let before = world.record().unwrap().0;
    for number in 0..50_usize {
        let mut flipped = good.clone();
        flipped[number * 7] ^= 0x40;
        for bad in [&update(&stranger, 9), &flipped, &good[..number].to_vec(), &vec![0; 5000]] {
            refused(world.install(bad, Some(proof)));
        }
    }
    assert_eq!(world.disks[0].operations(), 0);
    assert_eq!(world.record().unwrap().0, before, "no counter moved");
    world.install(&good, Some(proof)).unwrap();
    assert_eq!(world.power_on().unwrap().slot(), Some(Slot::B));
}

/// Lower, equal and higher, at installation and at power-on, on every path.
#[test]
fn attack_08_rollback() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, ABR);
    world.store = Some(SimStore::default());
    let five = leveled(&publisher, 5, 5);
    let proof = commission(&mut world, &five);
    let start = world;
    let floor = Floor { keyset_version: 1, level: 5 };
    assert_eq!(start.store.as_ref().unwrap().floors[0], Some(floor));

    // At installation.
    let other = with_manifest(&publisher, &leveled(&publisher, 77, 5), |m| m.sequence = 5);
    let lower = leveled(&publisher, 4, 5);
    let below = leveled(&publisher, 6, 4);
    let higher = leveled(&publisher, 6, 5);
    for way in ["plain", "forced", "offline", "resumed", "repair"] {
        let install = |bundle: &[u8]| {
            let mut world = start.clone();
            world.host.policy.force = way == "forced";
            let running = if way == "offline" { Running::Offline } else { Running::Proof(proof) };
            let mut source = Bytes::new(bundle, usize::MAX);
            let result = world.install_with(&mut source, running, |config| {
                config.resume_only = way == "resumed";
                config.repair = way == "repair";
            });
            (result, world)
        };
        for bundle in [&lower, &other] {
            let refusal = refused(install(bundle).0);
            assert!(matches!(refusal, Refusal::NotNewer { .. }), "{way}: {refusal:?}");
        }
        let refusal = refused(install(&below).0);
        assert!(matches!(refusal, Refusal::BelowFloor { .. }), "{way}: {refusal:?}");
        let to_resume = Err(InstallError::Nothing(Nothing::ToResume));
        match way {
            "repair" => assert_eq!(install(&five).0.unwrap().slot, Slot::B),
            _ => assert_eq!(install(&five).0, Err(InstallError::Nothing(Nothing::Running))),
        }
        match way {
            "resumed" => assert_eq!(install(&higher).0, to_resume),
            _ => assert_eq!(install(&higher).0.unwrap().slot, Slot::B, "{way}"),
        }
    }

    // At power-on, whatever the record says of the slot, recovery and the last resort included.
    let entries: [(&str, SlotState, bool); 5] = [
        ("ready", SlotState::Ready { tries: 3 }, false),
        ("trying", SlotState::Trying { left: 2, attempt: 1, nonce: 7 }, false),
        ("good", SlotState::Good, false),
        ("suspect", SlotState::Good, true),
        ("last resort", SlotState::Bad { fault: Fault::Corrupt }, false),
    ];
    for (slot, kind) in [(Slot::B, SlotKind::Update), (Slot::Recovery, SlotKind::Recovery)] {
        for (name, state, suspect) in entries {
            for level in [4, 5, 6] {
                let mut world = start.clone();
                world.store.as_mut().unwrap().floors[1] = Some(floor);
                let bundle = of_kind(&publisher, 50, level, kind);
                plant(&mut world, slot, &bundle);
                forge_record(&mut world, |record| {
                    let body = &mut record.body;
                    // What ran is gone.
                    *body.slot_mut(Slot::A) = Default::default();
                    let entry = body.slot_mut(slot);
                    (entry.state, entry.suspect) = (state, suspect);
                    entry.digest = digest(&bundle);
                });
                wipe(&mut world, Slot::A);
                let power_on = world.power_on().unwrap();
                let starts = (level >= 5).then_some(slot);
                assert_eq!(power_on.slot(), starts, "{slot}, {name}, level {level}");
                if level < 5 {
                    let line = power_on.report.lines.iter().find(|l| l.candidate.slot == slot);
                    let reason = line.unwrap().reason;
                    let found = Floor { level, ..floor };
                    assert_eq!(reason, Reason::BelowStoreFloor { found, floor }, "{slot}, {name}");
                }
            }
        }
    }

    // Rolled back by the operator, to a slot that the floor has passed in the meantime.
    let mut world = start.clone();
    world.install(&leveled(&publisher, 6, 9), Some(proof)).unwrap();
    confirm(&mut world);
    world.store.as_mut().unwrap().floors[0] = Some(Floor { level: 9, ..floor });
    assert_eq!(world.perform(Request::Rollback(Slot::B)), Ok(Answer::Boots(Slot::A)));
    assert_eq!(boot(&mut world).slot, Slot::B, "level 5 does not start any more");
    // A store that cannot be read is not a floor of zero.
    world.store.as_mut().unwrap().fails = true;
    let result = world.install(&leveled(&publisher, 8, 1), Some(proof));
    assert_eq!(result, Err(InstallError::Deferred(Wait::StoreFailed)));
}

/// Cut at every change between the first byte and the confirmation, the levels of both slots being
/// unequal.
#[test]
fn attack_09_floor_raised_too_early() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    world.store = Some(SimStore::default());
    let proof = commission(&mut world, &leveled(&publisher, 1, 1));
    let start = counted(&world);
    let bundle = leveled(&publisher, 2, 50);
    let low = Some(Floor { keyset_version: 1, level: 1 });
    for at in 0.. {
        let mut world = start.clone();
        world.disks[0].cut_at(at, Cut::After);
        let mut story = || {
            world.install(&bundle, Some(proof)).ok()?;
            let trial = world.power_on().ok()?.proof?;
            assert_eq!(world.store.as_ref().unwrap().floors[0], low, "on trial, cut at {at}");
            world.perform(Request::MarkGood(trial)).ok()
        };
        let whole = story().is_some() && !world.disks[0].is_off();
        world.disks[0].power_on();
        for _ in 0..2 {
            let power_on = world.power_on().unwrap();
            assert!(power_on.proof.is_some(), "cut at {at}: {:?}", power_on.report);
            // A is good and of level 1: as long as it is, the floor stays there.
            assert_eq!(world.store.as_ref().unwrap().floors[0], low, "cut at {at}");
        }
        if whole {
            assert!(at > 10);
            // Confirmed, and the other slot replaced: only now it rises.
            let proof = world.power_on().unwrap().proof.unwrap();
            world.install(&leveled(&publisher, 3, 60), Some(proof)).unwrap();
            let trial = world.power_on().unwrap().proof.unwrap();
            assert_eq!(world.store.as_ref().unwrap().floors[0], low);
            world.perform(Request::MarkGood(trial)).unwrap();
            world.power_on().unwrap();
            let floor = world.store.as_ref().unwrap().floors[0].unwrap();
            assert_eq!(floor.level, 50);
            return;
        }
    }
}

#[test]
fn attack_17_skipped_version() {
    let publisher = Publisher::new(1);
    let (world, proof) = running(&publisher, AB);
    let start = counted(&world);
    // 1.0.0 runs.
    for (min_from, force, passes) in [
        ("1.0.0", false, true),
        ("0.9.9", false, true),
        ("1.0.1", false, false),
        ("2.0.0-rc.1", false, false),
        ("not-a-version", false, false),
        // What comes between is no matter of timing.
        ("1.0.1", true, false),
    ] {
        let bundle = with_manifest(&publisher, &update(&publisher, 3), |m| {
            m.min_from = min_from.chars().collect();
        });
        for offline in [false, true] {
            let mut world = start.clone();
            world.host.policy.force = force;
            let result = world.install(&bundle, (!offline).then_some(proof));
            if passes {
                result.unwrap();
                continue;
            }
            assert_eq!(refused(result), Refusal::Policy, "{min_from}");
            let said = world.host.said;
            // What cannot be compared is not shown to be new enough, and is called that.
            let fits = match min_from {
                "not-a-version" => {
                    matches!(said, Some(Verdict::Refused(Objection::NotComparable { .. })))
                }
                _ => matches!(said, Some(Verdict::Refused(Objection::TooOld { .. }))),
            };
            assert!(fits, "{min_from}: {said:?}");
            assert_eq!(world.disks[0].operations(), 0, "{min_from}");
        }
    }
}
