//! Bundles and disks that an attacker changed: refused, and nothing lost by it.

use stillboot::driver::{Source, SourceError, verify_bundle};
use stillboot::format::manifest::{CHUNKS_MAX, COMPONENT_LEN_MAX};
use stillboot::format::{
    BootProof, Envelope, Field, FormatError, Key, KeyKind, KeyRole, Keyset, Load, Manifest,
    PayloadType, Role, Rule, Signature, Slot, SlotKind, SlotState, envelope,
};
use stillboot::install::{InstallError, Refusal, Running};
use stillboot::verify::{
    Device, HEAD_LEN_MAX, ROOTS_MAX, RootKey, SignatureError, SoftSha256, Trust, TrustError,
    verify_head,
};
use stillboot_release::keys::{Signer, SigningKey, sign_envelope};
use stillboot_sim::release::content;
use stillboot_sim::world::Bytes;
use stillboot_sim::{Piece, Publisher};
use stillboot_tests::forge::{Foreign, with_signatures};
use stillboot_tests::{RamWorld, blank, boot, commission, media};

const AB: &[Slot] = &[Slot::A, Slot::B];

fn running(publisher: &Publisher) -> (RamWorld<'_>, BootProof) {
    let mut world = blank(publisher, media()[0].1, AB);
    let proof = commission(&mut world, &publisher.simple(1, SlotKind::Update).unwrap());
    (world, proof)
}

fn small(publisher: &Publisher, sequence: u64) -> Vec<u8> {
    let kernel = content(sequence, 700);
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &kernel };
    publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &[piece]).unwrap()
}

fn verify(device: &Device<'_>, bundle: &[u8]) -> Result<(), InstallError> {
    let mut buffer = vec![0; 8192];
    let mut source = Bytes::new(bundle, usize::MAX);
    verify_bundle::<SoftSha256>(
        device,
        SlotKind::Update,
        &mut source,
        true,
        &mut |_| {},
        &mut buffer,
    )
    .map(|_| ())
}

#[test]
fn every_single_bit_flip_is_refused() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher);
    let bundle = small(&publisher, 2);
    verify(&publisher.device(), &bundle).unwrap();
    let head_len =
        verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &bundle).unwrap().1;
    let before = start.disks[0].content_hash();
    for bit in 0..bundle.len() * 8 {
        let mut bad = bundle.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // A file is verified before the device is touched.
        let verdict = verify(&publisher.device(), &bad);
        assert!(matches!(verdict, Err(InstallError::Refused(_))), "bit {bit}: {verdict:?}");
        // A stream cannot be: then only the slot that is not running is lost.
        let mut world = start.clone();
        let result = world.install(&bad, Some(proof));
        assert!(matches!(result, Err(InstallError::Refused(_))), "bit {bit}: {result:?}");
        if bit / 8 < head_len {
            assert_eq!(
                world.disks[0].content_hash(),
                before,
                "bit {bit}: the head is checked first"
            );
        } else {
            let (record, ..) = world.record().unwrap();
            assert_eq!(
                record.body.slot(Slot::A),
                start.clone().record().unwrap().0.body.slot(Slot::A)
            );
            assert_eq!(record.body.slot(Slot::B).state, SlotState::Writing, "bit {bit}");
        }
        // Booting and taking a sound source at once are checked on a sample: they cost the most.
        if bit % 97 == 0 {
            assert_eq!(boot(&mut world).digest, proof.digest, "bit {bit}");
            world.install(&bundle, Some(proof)).unwrap();
        }
    }
}

#[test]
fn bundle_that_ends_early_or_goes_on_is_refused() {
    let publisher = Publisher::new(1);
    let (start, proof) = running(&publisher);
    let bundle = small(&publisher, 2);
    let ended = Err(InstallError::Refused(Refusal::Ended));
    let trailing = Err(InstallError::Refused(Refusal::Trailing));
    for len in 0..bundle.len() {
        assert_eq!(verify(&publisher.device(), &bundle[..len]), ended, "{len}");
        if len % 31 == 0 || len + 2 > bundle.len() {
            let mut world = start.clone();
            assert_eq!(
                world.install(&bundle[..len], Some(proof)),
                Err(InstallError::Refused(Refusal::Ended)),
                "{len}"
            );
            assert_eq!(boot(&mut world).digest, proof.digest);
        }
    }
    let mut longer = bundle.clone();
    longer.push(0);
    assert_eq!(verify(&publisher.device(), &longer), trailing);
    let mut world = start.clone();
    assert_eq!(world.install(&longer, Some(proof)), Err(InstallError::Refused(Refusal::Trailing)));
    assert_eq!(boot(&mut world).slot, Slot::A);
}

/// A bundle, then zeros for ever.
struct Endless<'a> {
    bundle: &'a [u8],
    taken: u64,
}

impl Source for Endless<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        for byte in &mut *into {
            *byte = self.bundle.get(self.taken as usize).copied().unwrap_or(0);
            self.taken += 1;
        }
        Ok(into.len())
    }
    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        self.taken += len;
        Ok(())
    }
}

#[test]
fn endless_stream_costs_one_byte_more_than_the_bundle() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher);
    let bundle = small(&publisher, 2);
    let mut source = Endless { bundle: &bundle, taken: 0 };
    let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
    assert_eq!(result, Err(InstallError::Refused(Refusal::Trailing)));
    assert_eq!(source.taken, bundle.len() as u64 + 1);
    // Nothing but zeros: the header tells.
    let mut source = Endless { bundle: &[], taken: 0 };
    let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
    let magic = TrustError::Keyset(FormatError::Magic);
    assert_eq!(result, Err(InstallError::Refused(Refusal::Trust(magic))));
    assert_eq!(source.taken, envelope::HEADER_LEN as u64);
}

#[test]
fn source_that_fails_or_lies_is_an_error() {
    struct Broken(bool);
    impl Source for Broken {
        fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
            if self.0 { Ok(into.len() + 1) } else { Err(SourceError) }
        }
        fn skip(&mut self, _len: u64) -> Result<(), SourceError> {
            Err(SourceError)
        }
    }
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher);
    for lies in [true, false] {
        let result = world.install_with(&mut Broken(lies), Running::Proof(proof), |_| {});
        assert_eq!(result, Err(InstallError::Source));
    }
}

// Envelopes: every length field at 0, cap, cap + 1 and maximum.

#[test]
fn envelope_bounds() {
    use FormatError::{Bounds, Magic, Short, Unknown, Version};
    let sound = {
        let mut bytes = vec![0; envelope::LEN_MAX];
        let made = [2; 64];
        let signature = Signature::ed25519(&[1; 32], &made);
        let len = Envelope::emit(PayloadType::Manifest, &[signature], b"payload", &mut bytes);
        bytes.truncate(len.unwrap());
        bytes.resize(envelope::LEN_MAX + envelope::INDEX_LEN_MAX + 4, 0xee);
        bytes
    };
    let changed = |changes: &[(usize, &[u8])]| {
        let mut changed = sound.clone();
        for (at, bytes) in changes {
            changed[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        Envelope::parse(&changed).map(|(envelope, _)| envelope.payload().len())
    };
    let with = |at: usize, bytes: &[u8]| changed(&[(at, bytes)]);
    assert_eq!(with(0, b"SBEN"), Ok(7));
    assert_eq!(with(0, b"SBEM"), Err(Magic));
    for version in [0, 2, 255] {
        assert_eq!(with(4, &[version]), Err(Version { found: version.into() }));
    }
    for payload_type in [0, 6, 255] {
        let code = payload_type.into();
        assert_eq!(with(5, &[payload_type]), Err(Unknown { field: Field::PayloadType, code }));
    }
    for count in [0, 9, 255] {
        assert_eq!(with(6, &[count]), Err(Bounds(Field::SignatureCount)), "{count}");
    }
    assert_eq!(with(7, &[1]), Err(Bounds(Field::Reserved)));
    // Each type has its cap; only that of channel indexes is a higher one.
    for payload_type in PayloadType::ALL {
        let of_type = |len: u32| changed(&[(5, &[payload_type.code()]), (8, &len.to_le_bytes())]);
        let most = if *payload_type == PayloadType::ChannelIndex { 65536 } else { 1024 };
        assert_eq!(payload_type.payload_len_max(), most as usize);
        assert_eq!(of_type(1), Ok(1));
        assert_eq!(of_type(most), Ok(most as usize));
        for len in [0, most + 1, most << 8, u32::MAX] {
            assert_eq!(of_type(len), Err(Bounds(Field::PayloadLen)), "{payload_type}: {len}");
        }
    }
    // The signatures fill their bytes exactly, and their number is exact too.
    for len in [0_u32, 32, 33, 96, 98, 194, 11_000, 12_288, 12_289, u32::MAX - 7, u32::MAX] {
        assert_eq!(with(12, &len.to_le_bytes()), Err(Bounds(Field::SignatureLen)), "{len}");
    }
    for count in 2..=8 {
        assert_eq!(with(6, &[count]), Err(Bounds(Field::SignatureLen)), "{count}");
    }
    // A kind whose signatures are longer than what is left.
    for kind in &KeyKind::ALL[1..] {
        assert_eq!(with(48, &[kind.code()]), Err(Bounds(Field::SignatureLen)), "{kind}");
    }
    for len in 0..48 + 97 + 7 {
        assert_eq!(Envelope::parse(&sound[..len]).map(|_| ()), Err(Short), "{len}");
    }
    // Another digest is no matter of the frame, but it is another message.
    let mut other = sound.clone();
    other[16] ^= 1;
    assert!(!Envelope::parse(&other).unwrap().0.has_its_payload::<SoftSha256>());
    assert!(Envelope::parse(&sound).unwrap().0.has_its_payload::<SoftSha256>());
}

#[test]
fn the_longest_envelopes_are_read_and_one_byte_more_is_refused() {
    // Signatures and payload as long as they may be together: 12288 bytes, 65536 more with an index.
    let kinds = [KeyKind::LmsH20, KeyKind::MlDsa44, KeyKind::MlDsa65];
    let all: Vec<_> = kinds.iter().map(|kind| Foreign::new(*kind, 1)).collect();
    let signatures: Vec<_> = all.iter().map(Foreign::signature).collect();
    let signed: usize = kinds.iter().map(|kind| kind.entry_len()).sum();
    let left = envelope::LEN_MAX - envelope::HEADER_LEN - signed;
    for (payload_type, most) in [
        (PayloadType::Manifest, left.min(1024)),
        (PayloadType::ChannelIndex, left + envelope::INDEX_LEN_MAX - 1024),
    ] {
        let most = most.min(payload_type.payload_len_max());
        let mut bytes = vec![0; 2 * envelope::INDEX_LEN_MAX];
        let mut emit =
            |len: usize| Envelope::emit(payload_type, &signatures, &vec![1; len], &mut bytes);
        assert_eq!(emit(most), Ok(envelope::HEADER_LEN + signed + most), "{payload_type}");
        assert!(matches!(emit(most + 1), Err(FormatError::Bounds(_))), "{payload_type}");
    }
}

#[test]
fn signatures_out_of_order_or_doubled_are_refused() {
    let mut bytes = vec![0; envelope::LEN_MAX];
    let made = [2; 64];
    let mut emit = |names: &[u8]| {
        let signatures: Vec<_> =
            names.iter().map(|name| Signature::ed25519(&[*name; 32], &made)).collect();
        Envelope::emit(PayloadType::Keyset, &signatures, b"x", &mut bytes).map(|_| ())
    };
    assert_eq!(emit(&[1, 2, 3, 4]), Ok(()));
    for names in [&[2, 1][..], &[1, 1], &[1, 3, 2], &[1, 2, 3, 3]] {
        assert_eq!(emit(names), Err(FormatError::Bounds(Field::SignatureOrder)), "{names:?}");
    }
    assert_eq!(emit(&[1, 2, 3, 4, 5]), Err(FormatError::TooMany { kind: KeyKind::Ed25519 }));
    assert_eq!(emit(&[]), Err(FormatError::Bounds(Field::SignatureCount)));
}

/// Made-up signatures of these kinds and names.
fn made_up(kinds: &[(KeyKind, u8)]) -> Result<usize, FormatError> {
    let parts: Vec<_> = kinds
        .iter()
        .map(|(kind, _)| {
            let public = if *kind == KeyKind::Ed25519 { 0 } else { kind.public_len() };
            (vec![3; public], vec![4; kind.signature_len()])
        })
        .collect();
    let signatures: Vec<_> = kinds
        .iter()
        .zip(&parts)
        .map(|((kind, name), (public, bytes))| Signature {
            kind: *kind,
            name: [*name; 32],
            public,
            bytes,
        })
        .collect();
    Envelope::emit(PayloadType::Manifest, &signatures, b"x", &mut vec![0; 4 * envelope::LEN_MAX])
}

#[test]
fn each_kind_has_a_most_of_signatures_in_one_envelope() {
    for (kind, most) in KeyKind::ALL.iter().zip([4, 2, 2, 2, 2, 2, 1]) {
        assert_eq!(kind.count_max(), most);
        let of = |count: u8| made_up(&(0..count).map(|name| (*kind, name)).collect::<Vec<_>>());
        let len = envelope::HEADER_LEN + 1;
        for count in 1..=most {
            assert_eq!(of(count), Ok(len + usize::from(count) * kind.entry_len()), "{kind}");
        }
        // One more of the long ones has no room anyway.
        let is_long = usize::from(most + 1) * kind.entry_len() + len > envelope::LEN_MAX;
        let is_so = match is_long {
            true => FormatError::Bounds(Field::SignatureLen),
            false => FormatError::TooMany { kind: *kind },
        };
        assert_eq!(of(most + 1), Err(is_so), "{kind}");
    }
    // The most of one kind does not count against another.
    use KeyKind::{Ed25519, LmsH10, LmsH20};
    let mut mixed: Vec<_> = (0..4).map(|name| (Ed25519, name)).collect();
    mixed.extend([(LmsH10, 0), (LmsH10, 1), (LmsH20, 0), (LmsH20, 1)]);
    assert!(made_up(&mixed).is_ok());
    mixed.insert(6, (LmsH10, 2));
    assert_eq!(made_up(&mixed), Err(FormatError::Bounds(Field::SignatureCount)), "nine");
    mixed.truncate(7);
    let three = FormatError::TooMany { kind: LmsH10 };
    assert_eq!(made_up(&mixed), Err(three), "three of a kind");
    let text = three.to_string();
    assert!(text.contains("lms-h10 (kind 2): expected at most 2, found 3"), "{text}");
}

#[test]
fn signatures_stand_in_the_order_of_kind_then_name() {
    use KeyKind::{Ed25519, LmsH10, MlDsa44};
    assert!(made_up(&[(Ed25519, 9), (LmsH10, 1), (MlDsa44, 0)]).is_ok());
    // The same name under two kinds is two keys.
    assert!(made_up(&[(Ed25519, 5), (LmsH10, 5)]).is_ok());
    for wrong in [
        &[(LmsH10, 5), (Ed25519, 5)][..],
        &[(LmsH10, 1), (Ed25519, 9)],
        &[(Ed25519, 1), (MlDsa44, 2), (LmsH10, 3)],
        &[(LmsH10, 2), (LmsH10, 1)],
        &[(LmsH10, 2), (LmsH10, 2)],
        &[(Ed25519, 1), (LmsH10, 0), (Ed25519, 2)],
    ] {
        let found = made_up(wrong);
        assert_eq!(found, Err(FormatError::Bounds(Field::SignatureOrder)), "{wrong:?}");
    }
}

/// A head is read as it comes, one signature after the other: what the frame alone refuses must be
/// refused there as well, whatever the frame is changed to.
#[test]
fn what_is_no_envelope_is_no_head_either() {
    let publisher = Publisher::new(1);
    let bundle = small(&publisher, 2);
    let (_, rest) = Envelope::parse(&bundle).unwrap();
    let keyset = with_signatures(
        &bundle[..bundle.len() - rest.len()],
        &[Foreign::new(KeyKind::LmsH10, 1), Foreign::new(KeyKind::Ed25519, 2)],
    );
    let sound = [&keyset, rest].concat();
    let check =
        |head: &[u8]| verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, head);
    check(&sound).unwrap();
    let mut refused = 0;
    for at in (0..keyset.len()).filter(|at| *at < 48 + 3 * 97 || at % 101 == 0) {
        for value in [0, 1, 2, 5, 7, 8, 0x80, 0xff, sound[at] ^ 1, sound[at].wrapping_add(1)] {
            let mut bad = sound.clone();
            bad[at] = value;
            if let Err(error) = Envelope::parse(&bad) {
                match check(&bad) {
                    // For the same reason, unless a signature before it is wrong.
                    Err(TrustError::Keyset(found)) => assert_eq!(found, error, "{at}: {value}"),
                    Err(TrustError::KeysetSignature(_)) => {}
                    other => panic!("{at}: {value}: {other:?}"),
                }
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

// Manifests.

#[test]
fn manifest_bounds() {
    use FormatError::{Bounds, Duplicate, Unknown};
    let publisher = Publisher::new(1);
    let bundle = small(&publisher, 2);
    let (sound, _) =
        verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &bundle).unwrap();
    let sound: Manifest = (*sound).clone();
    let with = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = sound.clone();
        change(&mut manifest);
        let mut bytes = vec![0; 2048];
        // Emitting refuses what parsing refuses; the bytes are made without that check too.
        let emitted = manifest.emit(&mut bytes).map(|_| ());
        let raw = postcard::to_slice(&manifest, &mut bytes).unwrap();
        assert_eq!(Manifest::parse(raw).map(|_| ()), emitted);
        emitted
    };
    assert_eq!(with(&|_| {}), Ok(()));
    let unknown = |field, code| Err(Unknown { field, code });
    assert_eq!(with(&|m| m.schema = 2), Err(FormatError::Version { found: 2 }));
    assert_eq!(with(&|m| m.revision_min = 9), Err(Bounds(Field::Revisions)));
    assert_eq!(with(&|m| m.version.clear()), Err(Bounds(Field::VersionText)));
    assert_eq!(
        with(&|m| m.version = "1.0 \u{7f}".chars().collect()),
        Err(Bounds(Field::VersionText))
    );
    assert_eq!(with(&|m| m.sequence = u64::MAX), Err(Bounds(Field::Sequence)));
    assert_eq!(with(&|m| m.sequence = u64::MAX - 1), Ok(()));
    assert_eq!(with(&|m| m.level = u32::MAX), Err(Bounds(Field::Level)));
    assert_eq!(with(&|m| m.level = u32::MAX - 1), Ok(()));
    assert_eq!(with(&|m| m.min_from = "a/b".chars().collect()), Err(Bounds(Field::MinFrom)));
    assert_eq!(with(&|m| m.channel.track.clear()), Err(Bounds(Field::Channel)));
    assert_eq!(with(&|m| m.channel.branch = "\n".chars().collect()), Err(Bounds(Field::Channel)));
    let risk = stillboot::format::Risk::Unknown(4);
    assert_eq!(with(&|m| m.channel.risk = risk), unknown(Field::Risk, 4));
    let architecture = stillboot::format::Architecture::Unknown(200);
    assert_eq!(with(&|m| m.architecture = architecture), unknown(Field::Architecture, 200));
    assert_eq!(with(&|m| m.epochs.writes = 1), Err(Bounds(Field::Epochs)));
    assert_eq!(with(&|m| m.rollout = 0), Ok(()));
    assert_eq!(with(&|m| m.rollout = 101), Err(Bounds(Field::Rollout)));
    assert_eq!(with(&|m| m.flags = 1 << 31), unknown(Field::Flags, 1 << 31));
    for (size, fine) in [
        (0, false),
        (2048, false),
        (4096, true),
        (5000, false),
        (1 << 20, true),
        ((1 << 20) + 1, false),
        (1 << 21, false),
        (u32::MAX, false),
    ] {
        let expected = if fine { Ok(()) } else { Err(Bounds(Field::ChunkSize)) };
        assert_eq!(with(&|m| m.chunk_size = size), expected, "{size}");
    }
    assert_eq!(with(&|m| m.components.clear()), Err(Bounds(Field::ComponentCount)));
    let twice = |m: &mut Manifest| m.components.push(m.components[0].clone()).unwrap();
    assert_eq!(with(&twice), Err(Duplicate(Field::ComponentRole)));
    assert_eq!(
        with(&|m| {
            twice(m);
            m.components[1].linked = 2;
        }),
        Err(Duplicate(Field::ComponentRole)),
        "one for every slot and one for B: two for B"
    );
    assert_eq!(
        with(&|m| {
            twice(m);
            (m.components[0].linked, m.components[1].linked) = (1, 2);
        }),
        Ok(())
    );
    assert_eq!(
        with(&|m| m.components[0].role = Role::Unknown(10)),
        unknown(Field::ComponentRole, 10)
    );
    assert_eq!(
        with(&|m| m.components[0].load = Load::Unknown(3)),
        unknown(Field::ComponentLoad, 3)
    );
    assert_eq!(with(&|m| m.components[0].linked = 4), Ok(()));
    assert_eq!(with(&|m| m.components[0].linked = 5), unknown(Field::ComponentSlot, 5));
    for (length, expected) in [
        (0, Err(Bounds(Field::ComponentLen))),
        (1, Ok(())),
        (CHUNKS_MAX * 4096, Ok(())),
        (CHUNKS_MAX * 4096 + 1, Err(Bounds(Field::IndexLen))),
        (COMPONENT_LEN_MAX, Err(Bounds(Field::IndexLen))),
        (COMPONENT_LEN_MAX + 1, Err(Bounds(Field::ComponentLen))),
        (u64::MAX, Err(Bounds(Field::ComponentLen))),
    ] {
        assert_eq!(with(&|m| m.components[0].length = length), expected, "{length}");
    }
    let mut bytes = vec![0; 2048];
    let len = sound.emit(&mut bytes).unwrap();
    assert_eq!(Manifest::parse(&bytes[..len]), Ok(sound));
    assert_eq!(Manifest::parse(&bytes[..len + 1]), Err(FormatError::Trailing));
    for end in 0..len {
        assert!(Manifest::parse(&bytes[..end]).is_err(), "{end}");
    }
}

// Keysets and counting.

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
        let device = Device { trust, ..publisher.device() };
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
    let other = Device { product: [9; 16], ..device };
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
    let device = Device { trust: Trust::Key(&key), ..publisher.device() };
    let bundle = small(&publisher, 2);
    let (_, rest) = Envelope::parse(&bundle).unwrap();
    verify(&device, rest).unwrap();
    let (manifest, _) = verify_head::<SoftSha256>(&device, SlotKind::Update, rest).unwrap();
    assert_eq!(manifest.keyset_version(), 0);
    assert!(verify(&device, &bundle).is_err(), "a keyset has no place there");
    let other = [0x42; 32];
    let stranger = Device { trust: Trust::Key(&other), ..publisher.device() };
    assert!(verify(&stranger, rest).is_err());
}

#[test]
fn crossed_components_of_two_sound_bundles_are_refused() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher);
    let (two, three) = (small(&publisher, 2), small(&publisher, 3));
    let head = |bundle: &[u8]| {
        verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, bundle).unwrap().1
    };
    let mut crossed = two[..head(&two)].to_vec();
    crossed.extend_from_slice(&three[head(&three)..]);
    let content = Err(InstallError::Refused(Refusal::Content { component: 0 }));
    assert_eq!(world.install(&crossed, Some(proof)), content);
    assert_eq!(boot(&mut world).digest, proof.digest);
}

#[test]
fn a_thousand_bad_bundles_cost_not_one_write() {
    let publisher = Publisher::new(1);
    let stranger = Publisher::new(2);
    let (mut world, proof) = running(&publisher);
    let before = world.disks[0].content_hash();
    let bad = small(&stranger, 9);
    for _ in 0..1000 {
        assert!(world.install(&bad, Some(proof)).is_err());
    }
    assert_eq!(world.disks[0].content_hash(), before);
    world.install(&small(&publisher, 2), Some(proof)).unwrap();
}

#[test]
fn too_small_a_slot_or_buffer_is_refused_before_a_byte_is_written() {
    let publisher = Publisher::new(1);
    let (mut world, proof) = running(&publisher);
    let before = world.disks[0].content_hash();
    let huge = content(1, 200 << 10);
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &huge };
    let bundle = publisher.bundle(publisher.manifest(2), SlotKind::Update, &[piece]).unwrap();
    let result = world.install(&bundle, Some(proof));
    assert!(matches!(result, Err(InstallError::Refused(Refusal::Layout(_)))), "{result:?}");
    let mut manifest = publisher.manifest(2);
    manifest.chunk_size = 1 << 20;
    let bytes = content(1, 5000);
    let piece = Piece { role: Role::Kernel, load: Load::Ram, linked: None, bytes: &bytes };
    let bundle = publisher.bundle(manifest, SlotKind::Update, &[piece]).unwrap();
    let result = world.install(&bundle, Some(proof));
    assert!(matches!(result, Err(InstallError::Refused(Refusal::Layout(_)))), "{result:?}");
    assert_eq!(world.disks[0].content_hash(), before);
    // What stands on disks: 24 KiB for a head, of which one with Ed25519 signatures alone takes a
    // block.
    const { assert!(HEAD_LEN_MAX == 24 << 10 && 2 * envelope::ED25519_LEN_MAX <= 4096) };
}
