//! Who may sign, and what a stolen key comes to: rotation, floors, stores.

use stillboot::boot::Reason;
use stillboot::format::{
    BootProof, Envelope, Floor, KeyRole, Load, PayloadType, Role, Slot, SlotKind, SlotState,
    StatementKind,
};
use stillboot::install::{InstallError, Refusal, Reuse, Running, Wait};
use stillboot::operate::Request;
use stillboot::verify::{
    SignatureError, SoftSha256, TrustError, verify_head, verify_keyset, verify_statement,
};
use stillboot_linux::keys::{SigningKey, sign_envelope};
use stillboot_sim::release::content;
use stillboot_sim::world::{Bytes, SimStore};
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media, state};

const AB: &[Slot] = &[Slot::A, Slot::B];
const ABR: &[Slot] = &[Slot::A, Slot::B, Slot::Recovery];

/// A bundle with this sequence and level, by whatever keys the publisher has now.
fn leveled(publisher: &Publisher, sequence: u64, level: u32, kind: SlotKind) -> Vec<u8> {
    let bytes = content(sequence, 900);
    let mut manifest = publisher.manifest(sequence);
    manifest.level = level;
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
    publisher.bundle(manifest, kind, &[piece]).unwrap()
}

fn update(publisher: &Publisher, sequence: u64, level: u32) -> Vec<u8> {
    leveled(publisher, sequence, level, SlotKind::Update)
}

/// Installs, boots and confirms, and gives the proof of the boot after that.
fn take(world: &mut RamWorld<'_>, bundle: &[u8], proof: BootProof) -> BootProof {
    world.install(bundle, Some(proof)).unwrap();
    confirm(world);
    boot(world)
}

#[test]
fn a_new_keyset_comes_with_an_update_and_the_floor_follows_its_confirmation() {
    let old = Publisher::new(1);
    let mut new = Publisher::new(1);
    new.rotate_release([9; 32]);
    let mut world = blank(&old, media()[0].1, AB);
    world.store = Some(SimStore::default());
    let proof = commission(&mut world, &update(&old, 1, 1));
    let floor = |world: &RamWorld<'_>| world.store.as_ref().unwrap().floors[0].unwrap();
    let proof = take(&mut world, &update(&new, 2, 1), proof);
    assert_eq!(proof.keyset_version, 2);
    // The fallback still stands under keyset 1, so that must not be locked out yet.
    assert_eq!(floor(&world), Floor { keyset_version: 1, level: 1 });
    let proof = take(&mut world, &update(&new, 3, 1), proof);
    assert_eq!(floor(&world), Floor { keyset_version: 2, level: 1 });
    // What the revoked key signs is below the floor now, whatever its numbers.
    let refused = world.install(&update(&old, 9_999, 60_000), Some(proof));
    assert!(
        matches!(refused, Err(InstallError::Refused(Refusal::BelowFloor { .. }))),
        "{refused:?}"
    );
}

/// The thief of a release key signs the highest sequence and level there are. The device takes it,
/// for the signature is right. Then the roots issue a keyset without that key.
#[test]
fn stolen_release_key_with_the_highest_numbers_is_outlived_without_a_visit() {
    let old = Publisher::new(1);
    let mut new = Publisher::new(1);
    new.rotate_release([9; 32]);
    let mut world = blank(&old, media()[0].1, AB);
    world.store = Some(SimStore::default());
    let proof = commission(&mut world, &update(&old, 1, 1));
    // Beyond what a slip could explain it is refused; the thief goes as far as goes.
    let beyond = world.install(&update(&old, u64::MAX - 1, u32::MAX - 1), Some(proof));
    assert!(matches!(beyond, Err(InstallError::Refused(Refusal::FloorJump { .. }))), "{beyond:?}");
    let evil = update(&old, u64::MAX - 1, 65_000);
    let proof = take(&mut world, &evil, proof);
    // Nothing that the old key could sign is newer.
    assert!(world.install(&update(&old, 500, 70_000), Some(proof)).is_err());
    // The new keyset outranks every sequence and every level.
    let proof = take(&mut world, &update(&new, 2, 1), proof);
    let proof = take(&mut world, &update(&new, 3, 1), proof);
    let floor = world.store.as_ref().unwrap().floors[0].unwrap();
    assert_eq!(floor, Floor { keyset_version: 2, level: 1 });
    assert!(matches!(
        world.install(&evil, Some(proof)),
        Err(InstallError::Refused(Refusal::BelowFloor { .. }))
    ));
    // Nor does it start from a disk that somebody kept.
    let mut kept = blank(&old, media()[0].1, AB);
    commission(&mut kept, &evil);
    kept.store = world.store.clone();
    let power_on = kept.power_on().unwrap();
    assert_eq!(power_on.proof, None);
    assert!(matches!(power_on.report.lines[0].reason, Reason::BelowStoreFloor { .. }));
}

#[test]
fn a_revoked_key_under_the_new_keyset_signs_nothing() {
    let mut publisher = Publisher::new(1);
    let stolen = publisher.rotate_release([9; 32]);
    let device = publisher.device();
    let mut payload = [0; 1024];
    let bundle = update(&publisher, 2, 1);
    let (keyset, rest) = Envelope::parse(&bundle).unwrap();
    let keyset_len = bundle.len() - rest.len();
    let (manifest, _) = Envelope::parse(rest).unwrap();
    payload[..manifest.payload().len()].copy_from_slice(manifest.payload());
    let payload = &payload[..manifest.payload().len()];
    let forged = sign_envelope(
        PayloadType::Manifest,
        &device.product,
        payload,
        &[(KeyRole::Release, &stolen)],
    )
    .unwrap();
    let mut head = bundle[..keyset_len].to_vec();
    head.extend_from_slice(&forged);
    let missing = SignatureError::Missing { role: KeyRole::Release, needed: 1, found: 0 };
    assert_eq!(
        verify_head::<SoftSha256>(&device, SlotKind::Update, &head).map(|_| ()),
        Err(TrustError::ManifestSignature(missing))
    );
    // Nor can a release key make a keyset, not even one that names itself.
    let mut evil = publisher.keyset();
    evil.version = 77;
    let mut bytes = [0; 1024];
    let len = evil.emit(&mut bytes).unwrap();
    for role in [KeyRole::Root, KeyRole::Release] {
        let signers: [(KeyRole, &dyn stillboot_linux::keys::Signer); 1] =
            [(role, &publisher.release)];
        let signed =
            sign_envelope(PayloadType::Keyset, &device.product, &bytes[..len], &signers).unwrap();
        let (envelope, _) = Envelope::parse(&signed).unwrap();
        assert!(matches!(
            verify_keyset::<SoftSha256>(&device, &envelope),
            Err(TrustError::KeysetSignature(SignatureError::Missing { .. }))
        ));
    }
    assert!(verify_keyset::<SoftSha256>(&device, &keyset).is_ok());
}

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
    // Far below the floor of the update slots, and none of its business.
    install(&mut world, 3).unwrap();
    let a = world.ground.slots()[0].regions[0].region;
    let sound = world.disks[0].bytes(a.offset + 2 * 4096, 4096);
    world.disks[0].poke(a.offset + 2 * 4096, &[0; 4096]);
    assert_eq!(boot(&mut world).slot, Slot::Recovery);
    let floors = world.store.as_ref().unwrap().floors;
    assert_eq!(floors[1], Some(Floor { keyset_version: 1, level: 3 }));
    assert_eq!(floors[0], Some(Floor { keyset_version: 1, level: 9 }));
    world.disks[0].poke(a.offset + 2 * 4096, &sound);
    let mut entry = world.record().unwrap().0;
    entry.body.slot_mut(Slot::A).state = SlotState::Good;
    let mut bytes = [0; 1024];
    entry.emit(&mut bytes).unwrap();
    for copy in 0..2 {
        world.disks[0].poke(world.ground.record(copy).offset, &bytes);
    }
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

#[test]
fn statements_need_the_role_of_their_kind() {
    let publisher = Publisher::new(1);
    let device = publisher.device();
    let keyset = publisher.keyset();
    let digest = [7; 32];
    let check = |bytes: &[u8]| {
        let (envelope, rest) = Envelope::parse(bytes).unwrap();
        assert!(rest.is_empty());
        verify_statement::<SoftSha256>(&device, &keyset, &envelope).map(|s| s.digest)
    };
    for kind in [StatementKind::Channel, StatementKind::Approval] {
        let sound = publisher.statement(kind, digest, |_| {}).unwrap();
        assert_eq!(check(&sound), Ok(digest));
        for bit in 0..sound.len() * 8 {
            let mut bad = sound.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok((envelope, _)) = Envelope::parse(&bad) {
                let result = verify_statement::<SoftSha256>(&device, &keyset, &envelope);
                assert!(result.is_err(), "{kind}: bit {bit}");
            }
        }
        // The same statement by another role's key.
        let (envelope, _) = Envelope::parse(&sound).unwrap();
        let role = kind.role().unwrap();
        let signers: [(KeyRole, &dyn stillboot_linux::keys::Signer); 1] =
            [(role, &publisher.release)];
        let forged =
            sign_envelope(PayloadType::Statement, &device.product, envelope.payload(), &signers);
        let missing = SignatureError::Missing { role, needed: 1, found: 0 };
        assert_eq!(check(&forged.unwrap()), Err(TrustError::StatementSignature(missing)));
    }
    // Nobody in this keyset can sign off anything.
    let name = |s: &mut stillboot::format::Statement| s.name = "tests".chars().collect();
    let sign_off = publisher.statement(StatementKind::SignOff, digest, name).unwrap();
    let role = KeyRole::SignOff;
    assert_eq!(
        check(&sign_off),
        Err(TrustError::StatementSignature(SignatureError::NoSuchRole { role }))
    );
}

#[test]
fn a_device_that_returns_other_bytes_when_read_back_is_found_out() {
    use stillboot::device::{BlockDevice, DeviceError, Geometry};
    use stillboot_sim::disk::RamDisk;

    /// Returns one byte wrong, at the n-th read and from then on.
    struct Lies(RamDisk, u32);
    impl BlockDevice for Lies {
        fn geometry(&self) -> Geometry {
            self.0.geometry()
        }
        fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
            self.0.read(offset, into)?;
            self.1 = self.1.saturating_sub(1);
            if self.1 == 0 {
                into[0] ^= 1;
            }
            Ok(())
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
    let proof = commission(&mut world, &update(&publisher, 1, 1));
    let bundle = publisher.simple(2, SlotKind::Update).unwrap();
    let mut caught = 0;
    for from in 1.. {
        let disk = Lies(world.disks[0].fork(), from);
        let mut lying = stillboot_sim::World::new(world.device, world.ground.clone(), vec![disk]);
        let mut source = Bytes::new(&bundle, usize::MAX);
        let result = lying.install_with(&mut source, Running::Proof(proof), |config| {
            config.reuse = Reuse { target: true, running: false };
        });
        if lying.disks[0].1 > 0 {
            result.unwrap();
            break;
        }
        assert!(result.is_err(), "lying from read {from} on");
        caught += 1;
    }
    assert!(caught > 10, "only {caught} reads");
    assert_eq!(state(&mut world, Slot::A), SlotState::Good);
}

#[test]
fn test_keys_are_known_and_debug_builds_take_them() {
    let key = SigningKey::test(1);
    let public = stillboot_linux::keys::Signer::public(&key);
    assert!(
        stillboot::verify::TEST_KEY_IDS.contains(&stillboot::verify::key_id::<SoftSha256>(&public))
    );
    // What release builds do about it is tested on the release build of the tool.
    const { assert!(cfg!(debug_assertions)) };
}

#[test]
fn proofs_are_bound_to_their_disk_and_marks_to_their_attempt() {
    let publisher = Publisher::new(1);
    let mut one = blank(&publisher, media()[0].1, AB);
    let mut other = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut one, &update(&publisher, 1, 1));
    commission(&mut other, &update(&publisher, 2, 1));
    assert_eq!(
        other.install(&update(&publisher, 3, 1), Some(proof)),
        Err(InstallError::Refused(Refusal::Proof))
    );
    assert!(other.operate(Request::MarkGood(proof)).is_err());
}
