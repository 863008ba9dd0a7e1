//! Keys that were stolen, and updates for another device or another place.

use stillboot::boot::Reason;
use stillboot::format::{
    Envelope, Field, FormatError, KeyKind, KeyRole, Manifest, PayloadType, Rule, Slot, envelope,
};
use stillboot::install::{Refusal, Running};
use stillboot::layout::LayoutError;
use stillboot::verify::{
    ClassError, RootKey, SignatureError, SoftSha256, Trust, TrustError, verify_keyset,
};
use stillboot_release::keys::{Signer, SigningKey, sign_envelope};
use stillboot_sim::Publisher;
use stillboot_sim::world::{Bytes, SimStore};
use stillboot_tests::forge::{counted, payload, signed_as, with_manifest};
use stillboot_tests::{boot, confirm};

use super::{AB, refused, running, update};

#[test]
fn attack_11_stolen_keys() {
    let publisher = Publisher::new(1);
    let roots: Vec<_> = (1..=3).map(|seed| SigningKey::from_seed([seed; 32])).collect();
    let keys: Vec<_> = roots.iter().map(|root| RootKey::ed25519(root.public())).collect();
    let mut device = publisher.device();
    device.trust = Trust::Roots { keys: &keys, rule: Rule::ed25519(2) };
    let mut bytes = [0; 1024];
    let len = publisher.keyset().emit(&mut bytes).unwrap();
    let keyset_by = |which: &[usize], role| {
        let signers: Vec<_> = which.iter().map(|at| (role, &roots[*at] as &dyn Signer)).collect();
        sign_envelope(PayloadType::Keyset, &device.product, &bytes[..len], &signers).unwrap()
    };
    let check = |bytes: &[u8]| {
        let (envelope, _) = Envelope::parse(bytes).unwrap();
        verify_keyset::<SoftSha256>(&device, &envelope).map(|keyset| keyset.version)
    };
    // Fewer than the threshold, whichever they are.
    for one in 0..3 {
        let missing = SignatureError::Missing { role: KeyRole::Root, needed: 2, found: 1 };
        let result = check(&keyset_by(&[one], KeyRole::Root));
        assert_eq!(result, Err(TrustError::KeysetSignature(missing)), "{one}");
    }
    for two in [[0, 1], [0, 2], [1, 2]] {
        assert_eq!(check(&keyset_by(&two, KeyRole::Root)), Ok(1));
        assert!(check(&keyset_by(&two, KeyRole::Release)).is_err());
    }
    // One root twice is one root: the tools refuse to write it, and by hand it does not parse.
    let once = keyset_by(&[0], KeyRole::Root);
    let mut twice = once.clone();
    twice[6] = 2;
    let (start, end) = (envelope::HEADER_LEN, envelope::HEADER_LEN + KeyKind::Ed25519.entry_len());
    twice.splice(end..end, once[start..end].to_vec());
    let len = 2 * (end - start) as u32;
    twice[12..16].copy_from_slice(&len.to_le_bytes());
    let order = FormatError::Bounds(Field::SignatureOrder);
    assert_eq!(Envelope::parse(&twice).map(|_| ()), Err(order));

    // Keys of the keyset: revoked by the next one, and the next one cannot be undone.
    let mut rotated = Publisher::new(1);
    let stolen = rotated.rotate_release([5; 32]);
    let (mut world, proof) = running(&publisher, AB);
    world.store = Some(SimStore::default());
    let forged = {
        let bundle = update(&rotated, 9);
        signed_as(&rotated, &bundle, &payload(&bundle), KeyRole::Release, &stolen)
    };
    let refusal = refused(world.install(&forged, Some(proof)));
    let by_key = matches!(refusal, Refusal::Trust(TrustError::ManifestSignature(_)));
    assert!(by_key, "{refusal:?}");
    for sequence in [2, 3] {
        let proof = boot(&mut world);
        world.install(&update(&rotated, sequence), Some(proof)).unwrap();
        confirm(&mut world);
        boot(&mut world);
    }
    // The old keyset, replayed whole with the old key's signature.
    let proof = boot(&mut world);
    let refusal = refused(world.install(&update(&publisher, u64::MAX - 1), Some(proof)));
    assert!(matches!(refusal, Refusal::BelowFloor { .. }), "{refusal:?}");
}

#[test]
fn attack_12_wrong_device() {
    let publisher = Publisher::new(1);
    let (world, proof) = running(&publisher, AB);
    let start = counted(&world);
    let class = world.device.class;
    let bundle = update(&publisher, 2);
    let install = |change: &dyn Fn(&mut Manifest)| {
        let mut world = start.clone();
        let bundle = with_manifest(&publisher, &bundle, change);
        let result = world.install(&bundle, Some(proof));
        if result.is_err() {
            assert_eq!(world.disks[0].operations(), 0);
        }
        result
    };
    // Every bit of the class, a prefix of it, none at all.
    for bit in 0..128 {
        let result = install(&|m| m.class[bit / 8] ^= 1 << (bit % 8));
        assert_eq!(refused(result), Refusal::Class(ClassError::Class), "{bit}");
    }
    for keep in 0..16 {
        let result = install(&|m| m.class[keep..].fill(0));
        assert_eq!(refused(result), Refusal::Class(ClassError::Class), "{keep}");
    }
    // The device is of revision 1.
    for (min, max, fits) in [
        (0, 0, false),
        (2, 2, false),
        (2, u16::MAX, false),
        (1, 1, true),
        (0, 1, true),
        (1, 9, true),
    ] {
        let result = install(&|m| (m.revision_min, m.revision_max) = (min, max));
        assert_eq!(result.is_ok(), fits, "{min} to {max}: {result:?}");
    }
    // The other way round: another device does not start this disk.
    let mut elsewhere = world.clone();
    elsewhere.device.class = {
        let mut other = class;
        other[0] ^= 1;
        other
    };
    let power_on = elsewhere.power_on().unwrap();
    assert_eq!(power_on.proof, None);
    assert_eq!(power_on.report.lines[0].reason, Reason::Class(ClassError::Class));
}

#[test]
fn attack_13_wrong_place() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher, AB);
    let bundle = update(&publisher, 2);
    let linked = |slot: Slot| {
        with_manifest(&publisher, &bundle, |m| m.components[0].linked = 1 + slot as u8)
    };
    // All that a bundle can say is for which slot a component is linked. For the running one, or
    // one that is not there, it has nothing to give.
    for slot in [Slot::A, Slot::C, Slot::Recovery] {
        let mut world = counted(&start);
        let refusal = refused(world.install(&linked(slot), Some(proof)));
        assert_eq!(refusal, Refusal::Layout(LayoutError::NothingForSlot), "{slot}");
        assert_eq!(world.disks[0].operations(), 0, "{slot}");
    }
    let mut world = counted(&start);
    assert_eq!(world.install(&linked(Slot::B), Some(proof)).unwrap().slot, Slot::B);
    // Nor can the caller name the running slot by mistake.
    let mut world = counted(&start);
    let mut source = Bytes::new(&bundle, usize::MAX);
    let target = Some(Slot::A);
    let result = world.install_with(&mut source, Running::Proof(proof), |c| c.target = target);
    assert_eq!(refused(result), Refusal::TargetRuns);
    assert_eq!(world.disks[0].operations(), 0);
}
