//! Releases of the loader.

use stillboot::format::{
    Component, Encryption, Envelope, FormatError, KeyRole, Load, Manifest, PayloadType, Risk, Role,
    Rule, Slot, SlotKind,
};
use stillboot::install::{InstallError, Refusal, Running};
use stillboot::verify::{
    Authority, Device, RootKey, SignatureError, SoftSha256, Trust, TrustError, verify_head,
    verify_keyset, verify_loader_release,
};
use stillboot_release::keys::{Signer, SigningKey, sign_envelope};
use stillboot_sim::release::content;
use stillboot_sim::world::Bytes;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::forge::{raw, split};
use stillboot_tests::{blank, commission, media};

use super::{ABR, update};

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
        Device::new(trust, product, class).with_revision(revision).with_architecture(architecture)
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
    let elsewhere = {
        let mut changed = device;
        changed.product = [9; 16];
        changed
    };
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
    let single = {
        let mut changed = device;
        changed.trust = Trust::Key(&key);
        changed
    };
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
            let single = {
                let mut changed = publisher.device();
                changed.trust = Trust::Key(&key);
                changed
            };
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
