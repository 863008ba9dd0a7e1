extern crate std;

use std::vec;
use std::vec::Vec;

use ed25519_compact::{KeyPair, Seed};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use sha2::Digest as _;
use stillboot::verify::{CompactEd25519, Ed25519, verify_signature_by};

use crate::SmallEd25519;
use crate::curve::{IDENTITY, Point, modulo_order};
use crate::field::{Field, ONE, ZERO};
use crate::sha512::Sha512;

fn random() -> ChaCha8Rng {
    let seed = std::env::var("STILLBOOT_SEED").map_or(1, |text| text.parse().unwrap());
    std::println!("STILLBOOT_SEED={seed}");
    ChaCha8Rng::seed_from_u64(seed)
}

fn bytes<const N: usize>(random: &mut ChaCha8Rng) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill_bytes(&mut bytes);
    bytes
}

/// Words at their bounds are where carries go wrong.
fn field(random: &mut ChaCha8Rng) -> Field {
    let mut number = ZERO;
    for word in &mut number.0 {
        *word = match random.next_u32() % 4 {
            0 => u32::MAX,
            1 => 0,
            2 => u32::MAX - random.next_u32() % 64,
            _ => random.next_u32(),
        };
    }
    number
}

/// p - 1, p, p + 1, 2p, 2^256 - 1 and others at the bounds.
fn bounds() -> Vec<Field> {
    let p = |low, top| Field([low, !0, !0, !0, !0, !0, !0, top]);
    let mut all = vec![ZERO, ONE];
    all.extend((0..64).map(|at| p(u32::MAX - at, u32::MAX)));
    all.extend((0..64).map(|at| p(u32::MAX - at, u32::MAX >> 1)));
    all
}

#[test]
fn sha_512_is_that_of_another_implementation() {
    let mut random = random();
    for len in 0..400 {
        let mut message = vec![0; len];
        random.fill_bytes(&mut message);
        let expected: [u8; 64] = sha2::Sha512::digest(&message).into();
        for piece in [1, 7, 127, 128, 129, 500] {
            let mut hash = Sha512::new();
            message.chunks(piece).for_each(|piece| hash.update(piece));
            assert_eq!(hash.finish(), expected, "{len} in pieces of {piece}");
        }
    }
}

#[test]
fn numbers_keep_the_laws_of_a_field() {
    let mut random = random();
    let bounds = bounds();
    for round in 0..20_000 {
        let [a, b, c] = [(); 3].map(|()| {
            let number = random.next_u32() as usize % (4 * bounds.len());
            bounds.get(number).copied().unwrap_or_else(|| field(&mut random))
        });
        assert!(a.plus(1, &b).is_equal(&b.plus(1, &a)), "{round}");
        assert!(a.times(&b).is_equal(&b.times(&a)), "{round}");
        assert!(a.times(&b).times(&c).is_equal(&a.times(&b.times(&c))), "{round}");
        let sum = a.times(&c).plus(1, &b.times(&c));
        assert!(a.plus(1, &b).times(&c).is_equal(&sum), "{round}");
        assert!(a.plus(-1, &b).plus(1, &b).is_equal(&a), "{round}");
        assert!(a.plus(2, &b).is_equal(&a.plus(1, &b).plus(1, &b)), "{round}");
        assert!(a.plus(1, &a.negated()).is_equal(&ZERO), "{round}");
        assert_eq!(a.is_equal(&b), a.reduced().0 == b.reduced().0, "{round}");
    }
}

#[test]
fn one_form_is_below_p() {
    let p = Field([u32::MAX - 18, !0, !0, !0, !0, !0, !0, u32::MAX >> 1]);
    let all_ones = Field([u32::MAX; 8]);
    assert_eq!(ZERO.reduced().0, ZERO.0);
    assert_eq!(p.reduced().0, ZERO.0);
    assert_eq!(p.plus(1, &ONE).reduced().0, ONE.0);
    assert_eq!(p.plus(-1, &ONE).reduced().0, p.plus(-1, &ONE).0);
    // 2^256 - 1 is 37.
    assert_eq!(all_ones.reduced().0, ZERO.plus(37, &ONE).0);
    for number in bounds() {
        let once = number.reduced();
        assert_eq!(once.0, once.reduced().0);
        assert!(once.0[7] <= u32::MAX >> 1);
    }
}

#[test]
fn a_power_is_a_root_of_the_inverse() {
    let mut random = random();
    for _ in 0..200 {
        let a = field(&mut random);
        // (p - 5) / 8 * 8 + 4 is p - 1, and that power is 1.
        let mut power = a.power();
        for _ in 0..3 {
            power = power.squared();
        }
        let power = power.times(&a.squared().squared());
        assert!(power.is_equal(&ONE) || a.is_equal(&ZERO));
    }
}

/// The order, the lowest byte first.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[test]
fn remainders_at_the_order_are_known() {
    // A multiple of the order, and a little more or less.
    let number = |times: u16, more: i16| {
        let mut bytes = [0; 64];
        let mut carry = i32::from(more);
        for (byte, order) in bytes.iter_mut().zip(ORDER.iter().chain(&[0; 32])) {
            carry += i32::from(*order) * i32::from(times);
            *byte = carry as u8;
            carry >>= 8;
        }
        bytes
    };
    let small = |value: u8| {
        let mut bytes = [0; 32];
        bytes[0] = value;
        bytes
    };
    for times in [0, 1, 2, 3, 255, 256] {
        assert_eq!(modulo_order(&number(times, 0)), small(0), "{times}");
        assert_eq!(modulo_order(&number(times, 1)), small(1), "{times}");
        if times > 0 {
            let expected = number(1, -1);
            assert_eq!(modulo_order(&number(times, -1)), expected[..32], "{times}");
        }
    }
}

#[test]
fn remainders_are_below_the_order_and_right() {
    let mut random = random();
    let base = {
        let mut base = [0x66; 32];
        base[0] = 0x58;
        Point::decode(&base).unwrap()
    };
    // [k]B of the number as it is, and of its remainder, are the same point.
    let times = |number: &[u8]| {
        let mut sum = IDENTITY;
        for at in (0..8 * number.len()).rev() {
            sum.double();
            if number[at / 8] >> (at % 8) & 1 == 1 {
                sum.add(&base);
            }
        }
        sum
    };
    let mut numbers = vec![[0; 64], [0xff; 64]];
    numbers.extend((0..10).map(|_| bytes(&mut random)));
    for number in numbers {
        let rest = modulo_order(&number);
        assert!(rest.iter().rev().lt(ORDER.iter().rev()), "{rest:?}");
        let (mut whole, mut rest) = (times(&number), times(&rest));
        rest.negate();
        whole.add(&rest);
        assert!(whole.is_identity());
    }
}

/// Good signatures, and each of them changed: the verdicts of both providers.
#[test]
fn verdicts_are_those_of_the_crate() {
    let mut random = random();
    let (mut good, mut bad) = (0, 0);
    for round in 0..60 {
        let pair = KeyPair::from_seed(Seed::new(bytes(&mut random)));
        let mut message = vec![0; round * 5];
        random.fill_bytes(&mut message);
        let signature = *pair.sk.sign(&message, None);
        for change in 0..12 {
            let (mut public, mut signature, mut message) = (*pair.pk, signature, message.clone());
            let bit = random.next_u32() as usize;
            let flip = |bytes: &mut [u8]| {
                if !bytes.is_empty() {
                    bytes[bit / 8 % bytes.len()] ^= 1 << (bit % 8);
                }
            };
            match change {
                0 => {}
                1..=3 => flip(&mut public),
                4..=6 => flip(&mut signature[..32]),
                7..=9 => flip(&mut signature[32..]),
                10 => flip(&mut message),
                _ => public = bytes(&mut random),
            }
            let pieces = [&message[..message.len() / 3], &message[message.len() / 3..]];
            let small = verify_signature_by(&SmallEd25519, &public, &pieces, &signature);
            let crates = verify_signature_by(&CompactEd25519, &public, &pieces, &signature);
            assert_eq!(small, crates, "round {round}, change {change}");
            assert_eq!(SmallEd25519.is_point(&public), CompactEd25519.is_point(&public));
            *if small.is_ok() { &mut good } else { &mut bad } += 1;
        }
    }
    assert!(good >= 60 && bad > 500, "{good} good, {bad} bad");
}

#[test]
fn points_are_those_of_the_crate() {
    let mut random = random();
    let mut points = 0;
    for _ in 0..300 {
        let encoded = bytes(&mut random);
        let is_point = Point::decode(&encoded).is_some();
        // What the crate refuses besides: y of p or more, and points of small order. Chance does
        // not find one.
        assert_eq!(is_point, CompactEd25519.is_point(&encoded));
        points += u32::from(is_point);
    }
    assert!((90..210).contains(&points), "half of all numbers are a y: {points} of 300");
}
