//! Kinds of keys that this build cannot check.

use stillboot::format::{
    FormatError, Key, KeyKind, KeyRole, Keyset, PayloadType, Rule, Slot, SlotKind,
};
use stillboot::install::{InstallError, Refusal};
use stillboot::layout::Part;
use stillboot::verify::{
    Authority, HEAD_LEN_MAX, SignatureError, SoftSha256, TrustError, verify_head,
};
use stillboot_release::keys::{Signer, sign_envelope};
use stillboot_sim::Publisher;
use stillboot_tests::forge::{Foreign, payload, split, with_signatures};
use stillboot_tests::{blank, commission, media, part};

use super::{AB, update};

/// `bundle` under another keyset, with these signatures beside those of keyset and manifest.
fn under(publisher: &Publisher, bundle: &[u8], keyset: &Keyset, more: [&[Foreign]; 2]) -> Vec<u8> {
    let (_, manifest, body) = split(bundle);
    let keyset = publisher.signed_keyset(keyset).unwrap();
    [&with_signatures(&keyset, more[0])[..], &with_signatures(manifest, more[1]), body].concat()
}

#[test]
fn signatures_of_other_kinds_beside_ed25519_are_skipped_by_rules_of_ed25519() {
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
