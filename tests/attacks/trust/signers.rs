//! Who may sign a manifest.

use stillboot::format::{
    Key, KeyKind, KeyRole, Keyset, Manifest, PayloadType, Risk, Rule, SlotKind,
};
use stillboot::verify::{Authority, SignatureError, SoftSha256, TrustError, verify_head};
use stillboot_release::keys::{Signer, SigningKey, sign_envelope};
use stillboot_sim::Publisher;
use stillboot_tests::forge::{payload, raw};

use super::update;

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
