//! What each key may sign, from which keyset on and up to which.

use stillboot::boot::Reason;
use stillboot::format::{Envelope, Floor, KeyRole, PayloadType, SlotKind, StatementKind};
use stillboot::install::{InstallError, Refusal};
use stillboot::verify::{
    SignatureError, SoftSha256, TrustError, verify_head, verify_keyset, verify_statement,
};
use stillboot_release::keys::{Signer, SigningKey, sign_envelope};
use stillboot_sim::Publisher;
use stillboot_sim::world::SimStore;
use stillboot_tests::{RamWorld, blank, commission, media};

use super::{AB, take, update};

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
fn test_keys_are_known_and_debug_builds_take_them() {
    let key = SigningKey::test(1);
    let public = key.public();
    assert!(
        stillboot::verify::TEST_KEY_IDS.contains(&stillboot::verify::key_id::<SoftSha256>(&public))
    );
    // What release builds do about it is tested on the release build of the tool.
    const { assert!(cfg!(debug_assertions)) };
}
