//! Who may sign, and what a stolen key comes to: rotation, floors, stores.

use stillboot::boot::Reason;
use stillboot::format::{
    BootProof, Component, Encryption, Envelope, Floor, FormatError, Key, KeyKind, KeyRole, Keyset,
    Load, Manifest, PayloadType, Risk, Role, Rule, Slot, SlotKind, SlotState, StatementKind,
};
use stillboot::install::{InstallError, Refusal, Reuse, Running, Wait};
use stillboot::layout::Part;
use stillboot::operate::Request;
use stillboot::verify::{
    Authority, Device, HEAD_LEN_MAX, RootKey, SignatureError, SoftSha256, Trust, TrustError,
    verify_head, verify_keyset, verify_loader_release, verify_statement,
};
use stillboot_release::keys::{Signer, SigningKey, sign_envelope};
use stillboot_sim::release::content;
use stillboot_sim::world::{Bytes, SimStore};
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::forge::{Foreign, forge_record, payload, raw, split, with_signatures};
use stillboot_tests::{RamWorld, blank, boot, commission, confirm, media, part, state};

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
    // Nor does it start from an old disk that was kept.
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
        let signers: [(KeyRole, &dyn Signer); 1] = [(role, &publisher.release)];
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
        let signers: [(KeyRole, &dyn Signer); 1] = [(role, &publisher.release)];
        let forged =
            sign_envelope(PayloadType::Statement, &device.product, envelope.payload(), &signers);
        let missing = SignatureError::Missing { role, needed: 1, found: 0 };
        assert_eq!(check(&forged.unwrap()), Err(TrustError::StatementSignature(missing)));
    }
    // No key in this keyset can sign off anything.
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
    let public = key.public();
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

// Kinds that this build cannot check.

/// `bundle` under another keyset, with these signatures beside those of keyset and manifest.
fn under(publisher: &Publisher, bundle: &[u8], keyset: &Keyset, more: [&[Foreign]; 2]) -> Vec<u8> {
    let (_, manifest, body) = split(bundle);
    let keyset = publisher.signed_keyset(keyset).unwrap();
    [&with_signatures(&keyset, more[0])[..], &with_signatures(manifest, more[1]), body].concat()
}

#[test]
fn signatures_of_other_kinds_beside_ed25519_are_passed_over_by_rules_of_ed25519() {
    use KeyKind::{HssH10H10, LmsH10, MlDsa87};
    let publisher = Publisher::new(1);
    let device = publisher.device();
    let bundle = update(&publisher, 2, 1);
    let digest = *verify_head::<SoftSha256>(&device, SlotKind::Update, &bundle).unwrap().0.digest();
    // As a publisher of today may sign for devices of tomorrow; and as long as a head may be.
    let (keyset_part, manifest_part, _) = split(&bundle);
    let before = keyset_part.len() + manifest_part.len();
    for (kinds, len) in [
        (&[MlDsa87][..], before + 2 * (1 + 32 + 2592 + 4627)),
        (&[LmsH10, HssH10H10, MlDsa87], before + 2 * (7252 + 3057 + 1549)),
    ] {
        let more =
            |seed: u8| kinds.iter().map(|kind| Foreign::new(*kind, seed)).collect::<Vec<_>>();
        let long = under(&publisher, &bundle, &publisher.keyset(), [&more(1), &more(2)]);
        let (manifest, head_len) =
            verify_head::<SoftSha256>(&device, SlotKind::Update, &long).unwrap();
        assert_eq!(head_len, len);
        assert!(head_len <= HEAD_LEN_MAX && HEAD_LEN_MAX == 24576);
        assert_eq!((manifest.digest(), manifest.authority()), (&digest, Authority::Release));
        // Cut anywhere, it is too short.
        for end in (0..head_len).step_by(97).chain([head_len - 1]) {
            let cut = verify_head::<SoftSha256>(&device, SlotKind::Update, &long[..end]);
            let short = FormatError::Short;
            let (keyset, manifest) = (TrustError::Keyset(short), TrustError::Manifest(short));
            assert!(matches!(cut, Err(error) if [keyset, manifest].contains(&error)), "{end}");
        }
    }
    // They never take the place of one that is asked for.
    let signers: [(KeyRole, &dyn Signer); 1] = [(KeyRole::Channel, &publisher.channel)];
    let (product, text) = (&device.product, payload(&bundle));
    let other = sign_envelope(PayloadType::Manifest, product, &text, &signers).unwrap();
    let head = [keyset_part, &with_signatures(&other, &[Foreign::new(MlDsa87, 2)])].concat();
    let missing = SignatureError::Missing { role: KeyRole::Release, needed: 1, found: 0 };
    assert_eq!(
        verify_head::<SoftSha256>(&device, SlotKind::Update, &head).map(|_| ()),
        Err(TrustError::ManifestSignature(missing))
    );
}

#[test]
fn a_rule_that_asks_for_a_kind_this_build_lacks_is_refused_by_the_name_of_the_kind() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &update(&publisher, 1, 1));
    let before = world.disks[0].content_hash();
    let room = part(&world, Slot::B, Part::Trust).len as usize;
    let bundle = update(&publisher, 2, 1);
    for kind in &KeyKind::ALL[1..] {
        let foreign = Foreign::new(*kind, 3);
        let mut keyset = publisher.keyset();
        let roles = KeyRole::Release.bit();
        keyset.keys.push(Key { kind: *kind, name: foreign.name(), roles }).unwrap();
        let both = Rule::ed25519(1).and(*kind, 1);
        let named = SignatureError::Kind { role: KeyRole::Release, kind: *kind };
        let named = TrustError::ManifestSignature(named);
        // With both signatures, and with that of Ed25519 alone: never by the weaker part.
        for more in [&[foreign][..], &[]] {
            keyset.rules[0] = both;
            let bundle = under(&publisher, &bundle, &keyset, [&[], more]);
            let found = verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &bundle);
            assert_eq!(found.map(|_| ()), Err(named));
            // Longer ones are refused for their length first.
            let (keyset, manifest, _) = split(&bundle);
            if keyset.len() + manifest.len() <= room {
                let refused = InstallError::Refused(Refusal::Trust(named));
                assert_eq!(world.install(&bundle, Some(proof)), Err(refused));
            }
        }
        assert!(named.to_string().contains(kind.name()), "{named}");
        // Of the other kind alone, the Ed25519 key would count for nothing; so it goes.
        keyset.rules[0] = Rule::of(*kind, 1);
        assert!(publisher.signed_keyset(&keyset).is_err());
        keyset.keys.remove(0);
        let bundle = under(&publisher, &bundle, &keyset, [&[], &[]]);
        let found = verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &bundle);
        assert_eq!(found.map(|_| ()), Err(named));
    }
    assert_eq!(world.disks[0].content_hash(), before);
}

/// More than the slots of this device have room for: reported before it is received.
#[test]
fn a_head_longer_than_the_slots_have_room_for_is_refused_before_a_byte_is_written() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &update(&publisher, 1, 1));
    let before = world.disks[0].content_hash();
    let more = [Foreign::new(KeyKind::MlDsa87, 1)];
    let bundle = update(&publisher, 2, 1);
    for more in [[&more[..], &[]], [&[], &more[..]]] {
        let long = under(&publisher, &bundle, &publisher.keyset(), more);
        let result = world.install(&long, Some(proof));
        assert!(matches!(result, Err(InstallError::Refused(Refusal::Layout(_)))), "{result:?}");
    }
    assert_eq!(world.disks[0].content_hash(), before);
}

// Who may sign a manifest.

/// The bundle's head with its manifest changed and signed by these.
fn signed_by(
    publisher: &Publisher,
    keyset: &Keyset,
    risk: Risk,
    signers: &[(KeyRole, &dyn Signer)],
) -> Vec<u8> {
    let bundle = update(publisher, 2, 1);
    let mut manifest = Manifest::parse(&payload(&bundle)).unwrap();
    manifest.channel.risk = risk;
    let product = publisher.device().product;
    let signed = sign_envelope(PayloadType::Manifest, &product, &raw(&manifest), signers).unwrap();
    [publisher.signed_keyset(keyset).unwrap(), signed].concat()
}

#[test]
fn a_wrong_signature_by_any_key_that_may_sign_refuses_edge_keys_included() {
    use KeyRole::{Channel, EdgeRelease, Recovery, Release};
    let publisher = Publisher::new(1);
    let (release, edge) = (&publisher.release as &dyn Signer, &publisher.edge as &dyn Signer);
    let (recovery, channel) = (&publisher.recovery as &dyn Signer, &publisher.channel as _);
    let check = |kind, risk, signers: &[(KeyRole, &dyn Signer)]| {
        let head = signed_by(&publisher, &publisher.keyset(), risk, signers);
        verify_head::<SoftSha256>(&publisher.device(), kind, &head).map(|found| found.0.authority())
    };
    let update = |risk, signers: &[_]| check(SlotKind::Update, risk, signers);
    let wrong = |role| Err(TrustError::ManifestSignature(SignatureError::Wrong { role }));
    let (stable, on_edge) = (Risk::Stable, Risk::Edge);
    // A signature made in another role is a wrong one.
    assert_eq!(update(stable, &[(Release, release), (Release, edge)]), wrong(EdgeRelease));
    assert_eq!(update(on_edge, &[(Release, release), (Channel, edge)]), wrong(EdgeRelease));
    assert_eq!(update(on_edge, &[(EdgeRelease, release), (EdgeRelease, edge)]), wrong(Release));
    assert_eq!(update(on_edge, &[(EdgeRelease, release)]), wrong(Release));
    // Both right: the release keys count, whatever the risk.
    for risk in Risk::ALL {
        let both = [(Release, release), (EdgeRelease, edge)];
        assert_eq!(update(*risk, &both), Ok(Authority::Release), "{risk}");
    }
    // Keys that may not sign there count for nothing, right or wrong.
    for stranger in [(Release, recovery), (Recovery, recovery), (Channel, channel)] {
        assert_eq!(update(stable, &[(Release, release), stranger]), Ok(Authority::Release));
    }
    let recover = |signers: &[_]| check(SlotKind::Recovery, stable, signers);
    for stranger in [(Recovery, release), (Release, release), (Channel, edge)] {
        assert_eq!(recover(&[(Recovery, recovery), stranger]), Ok(Authority::Recovery));
    }
    assert_eq!(recover(&[(Release, recovery), (Recovery, release)]), wrong(Recovery));
}

#[test]
fn release_and_edge_release_keys_are_never_counted_together() {
    use KeyRole::{EdgeRelease, Release};
    let publisher = Publisher::new(1);
    let (release, edge) = (&publisher.release as &dyn Signer, &publisher.edge as &dyn Signer);
    let second = SigningKey::from_seed([0x22; 32]);
    let mut keyset = publisher.keyset();
    let (kind, roles) = (KeyKind::Ed25519, Release.bit());
    keyset.keys.push(Key { kind, name: second.public(), roles }).unwrap();
    keyset.rules[0] = Rule::ed25519(2);
    let check = |risk, signers: &[(KeyRole, &dyn Signer)]| {
        let head = signed_by(&publisher, &keyset, risk, signers);
        let found = verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &head);
        found.map(|found| found.0.authority())
    };
    let missing = SignatureError::Missing { role: Release, needed: 2, found: 1 };
    let missing = Err(TrustError::ManifestSignature(missing));
    assert_eq!(check(Risk::Edge, &[(Release, release)]), missing);
    let two = [(Release, release), (EdgeRelease, edge)];
    assert_eq!(check(Risk::Edge, &two), Ok(Authority::EdgeRelease));
    assert_eq!(check(Risk::Beta, &two), Err(TrustError::EdgeOnly));
    let two = [(Release, release), (Release, &second as &dyn Signer)];
    assert_eq!(check(Risk::Stable, &two), Ok(Authority::Release));
}

// Releases of the loader.

/// Roots of a product, and a device that trusts them.
struct Roots {
    secret: [SigningKey; 2],
    public: [RootKey; 2],
}

impl Roots {
    fn new() -> Self {
        let secret = [0x71, 0x72].map(|seed| SigningKey::from_seed([seed; 32]));
        let public = [&secret[0], &secret[1]].map(|key| RootKey::ed25519(key.public()));
        Self { secret, public }
    }

    fn device<'a>(&'a self, publisher: &Publisher, threshold: u8) -> Device<'a> {
        let trust = Trust::Roots { keys: &self.public, rule: Rule::ed25519(threshold) };
        let Device { product, class, revision, architecture, .. } = publisher.device();
        Device { trust, product, class, revision, architecture }
    }
}

/// A manifest with components of these roles, load classes and slots.
fn of_components(publisher: &Publisher, all: &[(Role, Load, u8)]) -> Manifest {
    let mut manifest = publisher.manifest(5);
    for (role, load, linked) in all {
        let component = Component {
            role: *role,
            load: *load,
            linked: *linked,
            encryption: Encryption::None,
            length: 900,
            index_root: [7; 32],
            sha256: [8; 32],
        };
        manifest.components.push(component).unwrap();
    }
    manifest
}

const LOADER: (Role, Load, u8) = (Role::Loader, Load::Late, 0);

#[test]
fn a_release_of_the_loader_is_signed_by_roots_and_no_other_key() {
    let publisher = Publisher::new(1);
    let roots = Roots::new();
    let [one, other] = &roots.secret;
    let device = roots.device(&publisher, 1);
    let manifest = of_components(&publisher, &[LOADER]);
    let sign = |payload_type, signers: &[(KeyRole, &dyn Signer)]| {
        sign_envelope(payload_type, &device.product, &raw(&manifest), signers).unwrap()
    };
    let verify = |device: &Device<'_>, signed: &[u8]| {
        let (envelope, _) = Envelope::parse(signed).unwrap();
        verify_loader_release::<SoftSha256>(device, &envelope)
    };
    let release = PayloadType::LoaderRelease;
    let sound = sign(release, &[(KeyRole::Root, one)]);
    let verified = verify(&device, &sound).unwrap();
    assert_eq!(*verified, manifest);
    assert_eq!((verified.authority(), verified.keyset_version()), (Authority::Roots, 0));
    // The rule of the roots counts.
    let two = roots.device(&publisher, 2);
    let missing = |needed, found| {
        let missing = SignatureError::Missing { role: KeyRole::Root, needed, found };
        Err(TrustError::LoaderSignature(missing))
    };
    assert_eq!(verify(&two, &sound).map(|_| ()), missing(2, 1));
    let both = sign(release, &[(KeyRole::Root, one), (KeyRole::Root, other)]);
    verify(&two, &both).unwrap();
    // No key of a keyset, in whatever role it signs.
    for role in KeyRole::ALL {
        for key in [&publisher.release, &publisher.recovery, &publisher.edge, &publisher.channel] {
            assert_eq!(verify(&device, &sign(release, &[(*role, key)])).map(|_| ()), missing(1, 0));
        }
    }
    // A root in another role, or for another product.
    let wrong = Err(TrustError::LoaderSignature(SignatureError::Wrong { role: KeyRole::Root }));
    let signed = sign(release, &[(KeyRole::Release, one)]);
    assert_eq!(verify(&device, &signed).map(|_| ()), wrong);
    let elsewhere = Device { product: [9; 16], ..device };
    assert_eq!(verify(&elsewhere, &sound).map(|_| ()), wrong);
    // In another type of envelope, and another type in its place.
    for payload_type in [PayloadType::Manifest, PayloadType::Keyset] {
        let signed = sign(payload_type, &[(KeyRole::Root, one)]);
        let found = verify(&device, &signed).map(|_| ());
        let expected = PayloadType::LoaderRelease;
        assert_eq!(found, Err(TrustError::WrongPayload { expected, found: payload_type }));
        // Renamed, it is not what was signed.
        let mut renamed = signed.clone();
        renamed[5] = release.code();
        assert_eq!(verify(&device, &renamed).map(|_| ()), wrong);
    }
    let (envelope, _) = Envelope::parse(&sound).unwrap();
    let expected = PayloadType::Keyset;
    assert_eq!(
        verify_keyset::<SoftSha256>(&device, &envelope).map(|_| ()),
        Err(TrustError::WrongPayload { expected, found: release })
    );
    // A device with a single key has no roots.
    let key = one.public();
    let single = Device { trust: Trust::Key(&key), ..device };
    assert_eq!(verify(&single, &sound).map(|_| ()), Err(TrustError::NoTrust));
    // Every bit counts, except those of an unknown key's signature, of which there are none.
    for bit in 0..sound.len() * 8 {
        let mut bad = sound.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        if Envelope::parse(&bad).is_ok() {
            assert!(verify(&device, &bad).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn a_release_of_the_loader_has_one_loader_and_nothing_that_a_slot_could_hold() {
    let publisher = Publisher::new(1);
    let roots = Roots::new();
    let device = roots.device(&publisher, 1);
    let verify = |manifest: &Manifest| {
        let signers: [(KeyRole, &dyn Signer); 1] = [(KeyRole::Root, &roots.secret[0])];
        let product = &device.product;
        let signed =
            sign_envelope(PayloadType::LoaderRelease, product, &raw(manifest), &signers).unwrap();
        let (envelope, _) = Envelope::parse(&signed).unwrap();
        verify_loader_release::<SoftSha256>(&device, &envelope).map(|_| ())
    };
    assert_eq!(verify(&of_components(&publisher, &[LOADER])), Ok(()));
    for components in [
        &[LOADER, (Role::Kernel, Load::Ram, 0)][..],
        &[(Role::Kernel, Load::Late, 0), LOADER],
        &[LOADER, (Role::Data, Load::Late, 0)],
        &[(Role::Loader, Load::Late, 1), (Role::Loader, Load::Late, 2)],
        &[(Role::Loader, Load::Late, 1)],
        &[(Role::Loader, Load::Late, 4)],
        &[(Role::Loader, Load::Ram, 0)],
        &[(Role::Loader, Load::Xip, 0)],
        &[(Role::Kernel, Load::Late, 0)],
        &[(Role::Image, Load::Late, 0)],
    ] {
        let found = verify(&of_components(&publisher, components));
        let count = components.len() as u8;
        let wrong = TrustError::LoaderContent { components: count, first: components[0] };
        assert_eq!(found, Err(wrong), "{components:?}");
    }
    // What any manifest is refused for.
    let mut other = of_components(&publisher, &[LOADER]);
    other.product = [9; 16];
    assert_eq!(verify(&other), Err(TrustError::WrongProduct));
    let mut other = of_components(&publisher, &[LOADER]);
    other.components.clear();
    assert!(matches!(verify(&other), Err(TrustError::Manifest(FormatError::Bounds(_)))));
}

/// A release key must not get at what holds the roots.
#[test]
fn an_update_with_a_loader_in_it_is_refused_with_any_signature() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, ABR);
    let proof = commission(&mut world, &update(&publisher, 1, 1));
    let before = world.disks[0].content_hash();
    let bytes = content(2, 900);
    let piece = |role, load| Piece { role, load, linked: None, bytes: &bytes };
    let loader = || piece(Role::Loader, Load::Late);
    for pieces in [vec![loader()], vec![piece(Role::Kernel, Load::Ram), loader()]] {
        for (kind, target) in [(SlotKind::Update, None), (SlotKind::Recovery, Some(Slot::Recovery))]
        {
            let mut manifest = publisher.manifest(2);
            manifest.channel.risk = Risk::Edge;
            let bundle = publisher.bundle(manifest, kind, &pieces).unwrap();
            let found = verify_head::<SoftSha256>(&publisher.device(), kind, &bundle);
            assert_eq!(found.map(|_| ()), Err(TrustError::LoaderRole));
            let mut source = Bytes::new(&bundle, usize::MAX);
            let result =
                world.install_with(&mut source, Running::Proof(proof), |c| c.target = target);
            let refused = InstallError::Refused(Refusal::Trust(TrustError::LoaderRole));
            assert_eq!(result, Err(refused));
            // Nor under a single key, which signs everything else.
            let key = match kind {
                SlotKind::Update => publisher.release.public(),
                SlotKind::Recovery => publisher.recovery.public(),
            };
            let single = Device { trust: Trust::Key(&key), ..publisher.device() };
            let (keyset, ..) = split(&bundle);
            let found = verify_head::<SoftSha256>(&single, kind, &bundle[keyset.len()..]);
            assert_eq!(found.map(|_| ()), Err(TrustError::LoaderRole));
        }
    }
    assert_eq!(world.disks[0].content_hash(), before);
    // Signed by a root as a manifest, it is one that no release key signed.
    let roots = Roots::new();
    let device = roots.device(&publisher, 1);
    let manifest = of_components(&publisher, &[LOADER]);
    let sign = |payload_type, payload: &[u8]| {
        let signers: [(KeyRole, &dyn Signer); 1] = [(KeyRole::Root, &roots.secret[0])];
        sign_envelope(payload_type, &device.product, payload, &signers).unwrap()
    };
    let mut keyset = [0; 1024];
    let len = publisher.keyset().emit(&mut keyset).unwrap();
    let keyset = sign(PayloadType::Keyset, &keyset[..len]);
    for (payload_type, expected) in [
        (
            PayloadType::Manifest,
            TrustError::ManifestSignature(SignatureError::Missing {
                role: KeyRole::Release,
                needed: 1,
                found: 0,
            }),
        ),
        (
            PayloadType::LoaderRelease,
            TrustError::WrongPayload {
                expected: PayloadType::Manifest,
                found: PayloadType::LoaderRelease,
            },
        ),
    ] {
        let head = [&keyset[..], &sign(payload_type, &raw(&manifest))].concat();
        let found = verify_head::<SoftSha256>(&device, SlotKind::Update, &head);
        assert_eq!(found.map(|_| ()), Err(expected));
    }
}
