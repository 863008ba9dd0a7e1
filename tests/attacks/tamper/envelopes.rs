//! Envelopes: every length field at its border, and signatures in order.

use stillboot::format::{
    Envelope, Field, FormatError, KeyKind, PayloadType, Signature, SlotKind, envelope,
};
use stillboot::verify::{SoftSha256, TrustError, verify_head};
use stillboot_sim::Publisher;
use stillboot_tests::forge::{Foreign, with_signatures};

use super::small;

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
