//! Updates that are refused or wait: not newer, another class, data epochs, the policy.

use stillboot::format::manifest::flags;
use stillboot::format::{Epochs, Fault, Hold, Load, Role, Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Refusal, Running, Wait};
use stillboot::request::Request;
use stillboot_policy::{Deferral, Objection, Verdict};
use stillboot_sim::release::content;
use stillboot_sim::world::Bytes;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::{boot, confirm, state};

use super::{AB, bundle, running};

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
    world.perform(Request::MarkGood(trial)).unwrap();
    assert_eq!(world.record().unwrap().0.body.data_epoch, 1);
    assert_eq!(state(&mut world, Slot::A), SlotState::Bad { fault: Fault::DataEpoch });
    assert!(world.perform(Request::Rollback(Slot::B)).is_err());
}

#[test]
fn policy_holds_backs_off_and_expires() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher, AB);
    let update = bundle(&publisher, 2);
    world.perform(Request::HoldUpdates(Hold { until: u64::MAX, since: 5 })).unwrap();
    let hold = Verdict::Deferred(Deferral::Hold { until: u64::MAX });
    let waits = Err(InstallError::Deferred(Wait::Policy));
    assert_eq!(world.install(&update, Some(proof)), waits);
    assert_eq!(world.host.said, Some(hold));
    world.perform(Request::HoldUpdates(Hold::default())).unwrap();
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
