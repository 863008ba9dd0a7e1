//! Keysets: every field at its border, and keys that are counted.

use stillboot::format::{
    Envelope, Field, FormatError, Key, KeyKind, KeyRole, Keyset, PayloadType, Rule, SlotKind,
};
use stillboot::verify::{
    Device, ROOTS_MAX, RootKey, SignatureError, SoftSha256, Trust, TrustError, verify_head,
};
use stillboot_release::keys::{Signer, SigningKey, sign_envelope};
use stillboot_sim::Publisher;

use super::{small, verify};

#[test]
fn keyset_bounds() {
    use FormatError::{Bounds, Unknown};
    let wrong = |role, found| Err(FormatError::Rule { role, found });
    let publisher = Publisher::new(1);
    let with = |change: &dyn Fn(&mut Keyset)| {
        let mut keyset = publisher.keyset();
        change(&mut keyset);
        let mut bytes = vec![0; 1024];
        let emitted = keyset.emit(&mut bytes).map(|_| ());
        let raw = postcard::to_slice(&keyset, &mut bytes).unwrap();
        assert_eq!(Keyset::parse(raw).map(|_| ()), emitted);
        emitted
    };
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(with(&|k| k.schema = 9), Err(FormatError::Version { found: 9 }));
    assert_eq!(with(&|k| k.version = 0), Err(Bounds(Field::KeysetVersion)));
    assert_eq!(with(&|k| k.version = u32::MAX), Err(Bounds(Field::KeysetVersion)));
    assert_eq!(with(&|k| k.keys.clear()), Err(Bounds(Field::KeyCount)));
    let ed25519 = KeyKind::Ed25519.code();
    for (role, rule) in [
        // No rule for a role that a key has, and a rule for one that none has.
        (0, [0, 0, 0, 0]),
        (5, [ed25519, 1, 0, 0]),
        // A threshold of nothing, or of more than there are keys.
        (0, [ed25519, 0, 0, 0]),
        (0, [ed25519, 2, 0, 0]),
        (0, [ed25519, 255, 0, 0]),
        // Parts that are alike, out of order, or without keys of their kind.
        (0, [ed25519, 1, ed25519, 1]),
        (0, [7, 1, ed25519, 1]),
        (0, [ed25519, 1, 7, 1]),
        (0, [7, 1, 0, 0]),
        // Half a part.
        (0, [0, 1, 0, 0]),
        (0, [0, 0, ed25519, 1]),
        (0, [ed25519, 1, 0, 1]),
        (0, [ed25519, 1, 7, 0]),
    ] {
        let found = with(&|k| k.rules[role] = Rule(rule));
        assert_eq!(found, wrong(KeyRole::OF_KEYSETS[role], Rule(rule)), "{role}: {rule:?}");
    }
    // Kinds that are unknown are reported before all else that may be wrong with a rule.
    for (rule, code) in [
        ([9, 1, 5, 1], 9),
        ([ed25519, 1, 200, 1], 200),
        ([ed25519, 9, 200, 0], 200),
        ([0, 0, 200, 1], 200),
        ([8, 0, 9, 0], 8),
    ] {
        let unknown = Err(Unknown { field: Field::KeyKind, code });
        assert_eq!(with(&|k| k.rules[5] = Rule(rule)), unknown, "{rule:?}");
        let both = with(&|k| {
            k.rules[0] = Rule::NONE;
            k.rules[5] = Rule(rule);
            k.keys[0].kind = KeyKind::Unknown(99);
        });
        assert_eq!(both, unknown, "{rule:?}");
        assert_eq!(Rule(rule).check(|_| 9), unknown, "{rule:?}");
    }
    // A key that its role's rule does not name would count for nothing.
    let found = with(&|k| k.keys[0].kind = KeyKind::MlDsa87);
    assert_eq!(found, wrong(KeyRole::Release, Rule::ed25519(1)));
    assert_eq!(
        with(&|k| {
            k.keys[0].kind = KeyKind::MlDsa87;
            k.rules[0] = Rule::of(KeyKind::MlDsa87, 1);
        }),
        Ok(())
    );
    // The most of a kind in one envelope is the highest threshold.
    let many = |k: &mut Keyset, threshold: u8| {
        k.keys.truncate(1);
        for name in 1..6 {
            k.keys.push(Key { name: [name; 32], ..k.keys[0] }).unwrap();
        }
        k.rules = [Rule::NONE; 6];
        k.rules[0] = Rule::ed25519(threshold);
    };
    assert_eq!(with(&|k| many(k, 4)), Ok(()));
    assert_eq!(with(&|k| many(k, 5)), wrong(KeyRole::Release, Rule::ed25519(5)));
    assert_eq!(with(&|k| k.keys[0].roles = 0), Err(Bounds(Field::KeyRoles)));
    for roles in [0x40, 0x41, 0xff] {
        let unknown = Unknown { field: Field::KeyRoles, code: roles.into() };
        assert_eq!(with(&|k| k.keys[0].roles = roles), Err(unknown));
    }
    let unkind = Unknown { field: Field::KeyKind, code: 99 };
    for roles in [0, 0x40] {
        let found = with(&|k| k.keys[0] = Key { kind: KeyKind::Unknown(99), roles, ..k.keys[0] });
        assert_eq!(found, Err(unkind));
    }
    let text = Unknown { field: Field::KeyRoles, code: 0x41 }.to_string();
    assert!(text.contains("0x41") && text.ends_with("0x40"), "{text}");
    let text = FormatError::Rule { role: KeyRole::Approver, found: Rule([1, 9, 7, 1]) }.to_string();
    assert!(text.contains("approver") && text.contains("9 of kind 1 and 1 of kind 7"), "{text}");
    let both = KeyRole::Release.bit() | KeyRole::EdgeRelease.bit();
    assert_eq!(with(&|k| k.keys[0].roles = both), Err(Bounds(Field::KeyRoles)));
    let doubled = |k: &mut Keyset| k.keys[1].name = k.keys[0].name;
    assert_eq!(with(&doubled), Err(FormatError::Duplicate(Field::Key)));
}

struct Hand {
    keys: Vec<SigningKey>,
}

impl Hand {
    fn new(count: u8) -> Self {
        Self { keys: (0..count).map(|n| SigningKey::from_seed([n + 1; 32])).collect() }
    }
    fn signers(&self, which: &[usize], role: KeyRole) -> Vec<(KeyRole, &dyn Signer)> {
        which.iter().map(|at| (role, &self.keys[*at] as &dyn Signer)).collect()
    }
    fn roots(&self) -> Vec<RootKey> {
        self.keys.iter().map(|key| RootKey::ed25519(key.public())).collect()
    }
}

#[test]
fn roots_are_counted_by_key_and_must_reach_the_threshold() {
    let publisher = Publisher::new(1);
    let hand = Hand::new(5);
    let roots = hand.roots();
    let mut keyset = vec![0; 1024];
    let len = publisher.keyset().emit(&mut keyset).unwrap();
    let keyset = &keyset[..len];
    let manifest_part = {
        let bundle = small(&publisher, 2);
        let (_, rest) = Envelope::parse(&bundle).unwrap();
        rest.to_vec()
    };
    let product = publisher.device().product;
    let head = |which: &[usize], role| {
        let signers = hand.signers(which, role);
        let mut head = sign_envelope(PayloadType::Keyset, &product, keyset, &signers).unwrap();
        head.extend_from_slice(&manifest_part);
        head
    };
    let check_rule = |keys: &[RootKey], rule, head: &[u8]| {
        let trust = Trust::Roots { keys, rule };
        let device = {
            let mut changed = publisher.device();
            changed.trust = trust;
            changed
        };
        verify_head::<SoftSha256>(&device, SlotKind::Update, head).map(|_| ())
    };
    let check =
        |keys: &[RootKey], threshold, head: &[u8]| check_rule(keys, Rule::ed25519(threshold), head);
    let root = KeyRole::Root;
    let missing = |needed, found| {
        Err(TrustError::KeysetSignature(SignatureError::Missing { role: root, needed, found }))
    };
    let four = &roots[..4];
    assert_eq!(check(four, 1, &head(&[2], root)), Ok(()));
    assert_eq!(check(four, 2, &head(&[2], root)), missing(2, 1));
    assert_eq!(check(four, 2, &head(&[2, 0], root)), Ok(()));
    assert_eq!(check(four, 4, &head(&[3, 1, 2, 0], root)), Ok(()));
    assert_eq!(check(four, 4, &head(&[3, 1, 2, 4], root)), missing(4, 3));
    // The fifth key is unknown here: its signature is skipped, not counted.
    assert_eq!(check(four, 1, &head(&[4], root)), missing(1, 0));
    assert_eq!(check(four, 1, &head(&[4, 0], root)), Ok(()));
    // Signed in another role: a wrong signature in the name of a known key.
    let wrong = Err(TrustError::KeysetSignature(SignatureError::Wrong { role: root }));
    assert_eq!(check(four, 1, &head(&[0], KeyRole::Release)), wrong);
    // With the fifth it is a root, though no rule may ask for five.
    assert_eq!(check(&roots, 1, &head(&[4], root)), Ok(()));
    // No trust at all is never "no check".
    let many: Vec<_> = (0..=ROOTS_MAX as u8).map(|n| RootKey::ed25519([n; 32])).collect();
    let doubled = [roots[0], roots[0]];
    for (keys, threshold) in
        [(&[][..], 1), (four, 0), (four, 5), (&roots, 5), (&many, 1), (&doubled, 2)]
    {
        assert_eq!(check(keys, threshold, &head(&[0], root)), Err(TrustError::NoTrust));
    }
    for rule in [
        [1, 1, 1, 1],
        [0, 1, 0, 0],
        [0, 0, 1, 1],
        [1, 0, 0, 0],
        [1, 1, 7, 1],
        [7, 1, 0, 0],
        [8, 1, 0, 0],
        [1, 1, 0, 1],
    ] {
        let found = check_rule(four, Rule(rule), &head(&[0], root));
        assert_eq!(found, Err(TrustError::NoTrust), "{rule:?}");
    }
    // With two kinds of roots, a rule for one of them may be met; signatures of the other are
    // skipped.
    let long = RootKey { kind: KeyKind::MlDsa87, name: [9; 32] };
    let mixed = [roots[0], long];
    assert_eq!(check(&mixed, 1, &head(&[0], root)), Ok(()));
    // A rule that asks for what this build cannot check is never met, and the kind is named: the
    // part that it can check would be the weaker one.
    let kind = KeyKind::MlDsa87;
    let named = Err(TrustError::KeysetSignature(SignatureError::Kind { role: root, kind }));
    for rule in [Rule::ed25519(1).and(kind, 1), Rule::of(kind, 1)] {
        let found = check_rule(&mixed, rule, &head(&[0], root));
        assert_eq!(found, named, "{rule}");
        assert!(found.unwrap_err().to_string().contains("ml-dsa-87 (kind 7)"));
    }
}

#[test]
fn payload_types_and_products_cannot_be_confused() {
    let publisher = Publisher::new(1);
    let bundle = small(&publisher, 2);
    let (keyset, rest) = Envelope::parse(&bundle).unwrap();
    let keyset_len = bundle.len() - rest.len();
    let device = publisher.device();
    let check = |device: &Device<'_>, head: &[u8]| {
        verify_head::<SoftSha256>(device, SlotKind::Update, head).map(|_| ())
    };
    assert_eq!(check(&device, &bundle), Ok(()));
    // Manifest first.
    assert_eq!(
        check(&device, rest),
        Err(TrustError::WrongPayload {
            expected: PayloadType::Keyset,
            found: PayloadType::Manifest
        })
    );
    // Keyset twice.
    let mut twice = bundle[..keyset_len].to_vec();
    twice.extend_from_slice(&bundle[..keyset_len]);
    assert!(matches!(check(&device, &twice), Err(TrustError::WrongPayload { .. })));
    // The same payload under another type: the type is signed too.
    let mut retyped = bundle.clone();
    retyped[5] = PayloadType::Statement.code();
    assert!(matches!(check(&device, &retyped), Err(TrustError::WrongPayload { .. })));
    // Another product shares the keys: its signatures do not count here.
    let other = {
        let mut changed = device;
        changed.product = [9; 16];
        changed
    };
    assert!(matches!(check(&other, &bundle), Err(TrustError::KeysetSignature(_))));
    assert_eq!(keyset.payload_type(), PayloadType::Keyset);
}

#[test]
fn weak_keys_are_refused_when_the_keyset_is_loaded() {
    let publisher = Publisher::new(1);
    let mut keyset = publisher.keyset();
    // The identity: every signature of a certain form would verify under it.
    let mut weak = [0; 32];
    weak[0] = 1;
    let kind = KeyKind::Ed25519;
    keyset.keys.push(Key { kind, name: weak, roles: KeyRole::Channel.bit() }).unwrap();
    let mut head = publisher.signed_keyset(&keyset).unwrap();
    let bundle = small(&publisher, 2);
    let (_, rest) = Envelope::parse(&bundle).unwrap();
    head.extend_from_slice(rest);
    let result = verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &head);
    assert_eq!(result.map(|_| ()), Err(TrustError::Keyset(FormatError::Bounds(Field::Key))));
}

#[test]
fn edge_release_keys_count_for_edge_alone() {
    let publisher = Publisher::new(1);
    let edge = &publisher.edge;
    let keyset = publisher.signed_keyset(&publisher.keyset()).unwrap();
    let bundle = small(&publisher, 2);
    let (sound, _) =
        verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &bundle).unwrap();
    for (risk, role, expected) in [
        (stillboot::format::Risk::Edge, KeyRole::EdgeRelease, Ok(())),
        (stillboot::format::Risk::Beta, KeyRole::EdgeRelease, Err(TrustError::EdgeOnly)),
        (
            stillboot::format::Risk::Edge,
            KeyRole::Release,
            Err(TrustError::ManifestSignature(SignatureError::Wrong {
                role: KeyRole::EdgeRelease,
            })),
        ),
    ] {
        let mut manifest = (*sound).clone();
        manifest.channel.risk = risk;
        let mut payload = vec![0; 1024];
        let len = manifest.emit(&mut payload).unwrap();
        let envelope = sign_envelope(
            PayloadType::Manifest,
            &publisher.device().product,
            &payload[..len],
            &[(role, edge)],
        );
        let mut head = keyset.clone();
        head.extend_from_slice(&envelope.unwrap());
        let result = verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &head);
        assert_eq!(result.map(|_| ()), expected, "{risk} signed as {role}");
    }
}

#[test]
fn a_single_key_is_a_whole_trust() {
    let publisher = Publisher::new(1);
    let key = publisher.release.public();
    let device = {
        let mut changed = publisher.device();
        changed.trust = Trust::Key(&key);
        changed
    };
    let bundle = small(&publisher, 2);
    let (_, rest) = Envelope::parse(&bundle).unwrap();
    verify(&device, rest).unwrap();
    let (manifest, _) = verify_head::<SoftSha256>(&device, SlotKind::Update, rest).unwrap();
    assert_eq!(manifest.keyset_version(), 0);
    assert!(verify(&device, &bundle).is_err(), "a keyset has no place there");
    let other = [0x42; 32];
    let stranger = {
        let mut changed = publisher.device();
        changed.trust = Trust::Key(&other);
        changed
    };
    assert!(verify(&stranger, rest).is_err());
}
