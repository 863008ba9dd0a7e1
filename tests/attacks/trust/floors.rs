//! Floors and their stores: no way back below them.

use stillboot::format::{Floor, Load, Role, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Refusal, Running, Wait};
use stillboot::layout::Part;
use stillboot_sim::release::content;
use stillboot_sim::world::{Bytes, SimStore};
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::forge::forge_record;
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media, part};

use super::{AB, ABR, leveled, take, update};

/// Order at installation, on every way in.
#[test]
fn downgrades_are_refused_on_every_path() {
    let publisher = Publisher::new(1);
    for store in [true, false] {
        let mut world = blank(&publisher, media()[0].1, ABR);
        world.store = store.then(SimStore::default);
        let proof = commission(&mut world, &update(&publisher, 5, 5));
        let proof = take(&mut world, &update(&publisher, 6, 6), proof);
        let floor = world.record().unwrap().0.body.floor;
        assert_eq!(floor, Floor { keyset_version: 1, level: 5 });
        let old = update(&publisher, 4, 4);
        let same_order = {
            let bytes = content(77, 900);
            let mut manifest = publisher.manifest(6);
            manifest.level = 6;
            let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
            publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap()
        };
        // (lower sequence, enough level), (enough sequence, lower level), equal but another.
        let lower_sequence = update(&publisher, 3, 9);
        let lower_level = update(&publisher, 9, 4);
        for bundle in [&old, &lower_sequence, &lower_level, &same_order] {
            // As an ordinary update, as a repair, offline, resumed, and named for a slot.
            for path in 0..5 {
                let running = if path == 2 { Running::Offline } else { Running::Proof(proof) };
                let before = world.disks[0].content_hash();
                let mut source = Bytes::new(bundle, usize::MAX);
                let result = world.install_with(&mut source, running, |config| match path {
                    1 => config.repair = true,
                    3 => config.resume_only = true,
                    4 => config.target = Some(Slot::A),
                    _ => {}
                });
                assert!(
                    matches!(
                        result,
                        Err(InstallError::Refused(
                            Refusal::NotNewer { .. } | Refusal::BelowFloor { .. }
                        ))
                    ),
                    "path {path}: {result:?}"
                );
                assert_eq!(world.disks[0].content_hash(), before, "path {path}");
            }
        }
    }
}

#[test]
fn recovery_has_a_floor_of_its_own() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, ABR);
    world.store = Some(SimStore::default());
    let proof = commission(&mut world, &update(&publisher, 1, 9));
    let target = Some(Slot::Recovery);
    let install = |world: &mut RamWorld<'_>, level: u32| {
        let bundle = leveled(&publisher, u64::from(level), level, SlotKind::Recovery);
        let mut source = Bytes::new(&bundle, usize::MAX);
        world.install_with(&mut source, Running::Proof(proof), |c| c.target = target)
    };
    // Far below the floor of the update slots, which does not apply to it.
    install(&mut world, 3).unwrap();
    let trust = part(&world, Slot::A, Part::Trust);
    let sound = world.disks[0].bytes(trust.offset, trust.len as usize);
    world.disks[0].poke(trust.offset, &vec![0; trust.len as usize]);
    assert_eq!(boot(&mut world).slot, Slot::Recovery);
    let floors = world.store.as_ref().unwrap().floors;
    assert_eq!(floors[1], Some(Floor { keyset_version: 1, level: 3 }));
    assert_eq!(floors[0], Some(Floor { keyset_version: 1, level: 9 }));
    world.disks[0].poke(trust.offset, &sound);
    forge_record(&mut world, |record| record.body.slot_mut(Slot::A).state = SlotState::Good);
    assert_eq!(boot(&mut world).slot, Slot::A);
    let result = install(&mut world, 2);
    assert!(matches!(result, Err(InstallError::Refused(Refusal::BelowFloor { .. }))), "{result:?}");
}

#[test]
fn stores_that_are_absent_cleared_lagging_or_failing() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &update(&publisher, 1, 3));
    assert_eq!(world.record().unwrap().0.body.floor.level, 3, "absent: the record keeps it");
    // Added later, or cleared: raised again from verified manifests at the next good boot.
    for cleared in [SimStore::default(), SimStore::default()] {
        world.store = Some(cleared);
        boot(&mut world);
        assert_eq!(world.store.as_ref().unwrap().floors[0].unwrap().level, 3);
    }
    // Lagging behind the record: the higher counts.
    world.store.as_mut().unwrap().floors[0] = Some(Floor { keyset_version: 1, level: 1 });
    let refused = world.install(&update(&publisher, 2, 2), Some(proof));
    assert!(matches!(refused, Err(InstallError::Refused(Refusal::BelowFloor { .. }))));
    // Failing: what is good starts, nothing is tried, nothing installed.
    world.install(&update(&publisher, 4, 4), Some(proof)).unwrap();
    world.store.as_mut().unwrap().fails = true;
    let power_on = world.power_on().unwrap();
    assert_eq!(power_on.slot(), Some(Slot::A));
    assert!(power_on.report.store_failed);
    assert_eq!(
        world.install(&update(&publisher, 5, 5), power_on.proof),
        Err(InstallError::Deferred(Wait::StoreFailed))
    );
    world.store.as_mut().unwrap().fails = false;
    assert_eq!(boot(&mut world).slot, Slot::B);
}

/// Found out after the switch, as elsewhere, it would leave a floor that cannot follow.
#[test]
fn a_store_that_cannot_be_raised_is_found_out_before_an_installation() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    world.store = Some(SimStore::default());
    let proof = commission(&mut world, &update(&publisher, 1, 1));
    world.store.as_mut().unwrap().full = true;
    let before = world.disks[0].content_hash();
    let deferred = Err(InstallError::Deferred(Wait::StoreFull));
    assert_eq!(world.install(&update(&publisher, 2, 2), Some(proof)), deferred);
    assert_eq!(world.disks[0].content_hash(), before);
    // What needs no higher floor is welcome, and what runs goes on running.
    assert_eq!(boot(&mut world).slot, Slot::A);
    world.install(&update(&publisher, 3, 1), Some(proof)).unwrap();
    assert_eq!(confirm(&mut world).slot, Slot::B);
}

#[test]
fn the_floor_is_not_raised_by_a_trial_nor_by_an_installation() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    world.store = Some(SimStore::default());
    let proof = commission(&mut world, &update(&publisher, 1, 1));
    let floor = |world: &RamWorld<'_>| world.store.as_ref().unwrap().floors[0].unwrap().level;
    world.install(&update(&publisher, 2, 50), Some(proof)).unwrap();
    assert_eq!(floor(&world), 1);
    for _ in 0..3 {
        boot(&mut world);
        assert_eq!(floor(&world), 1);
    }
    assert_eq!(boot(&mut world).slot, Slot::A);
    assert_eq!(floor(&world), 1);
    assert_eq!(world.record().unwrap().0.body.floor.level, 1);
}
