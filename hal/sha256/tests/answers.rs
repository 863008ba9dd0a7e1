//! Every provider of this crate: known answers, and the portable code of `sha2` on random messages
//! in random pieces.
//!
//! Where Linux says that the processor has the instructions, they must be chosen; where it has none,
//! that is printed, and only the fallback is looked at. `STILLBOOT_SHA256_EXPECT`, `hardware` or
//! `soft`, says it in the place of Linux, which speaks of the host to a program that is emulated.

use std::env;
use std::fs;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2_soft::Digest as _;
use stillboot::verify::{Sha256 as _, SoftSha256};
use stillboot_sha256::{Provider, Sha256};

/// What this machine is expected to choose.
fn expected() -> Provider {
    match env::var("STILLBOOT_SHA256_EXPECT").as_deref() {
        Ok("soft") => Provider::Soft,
        Ok("hardware") => Provider::Hardware,
        Ok(other) => panic!("STILLBOOT_SHA256_EXPECT is `{other}`: expected `hardware` or `soft`"),
        Err(_) => {
            let flag = if cfg!(target_arch = "x86_64") { "sha_ni" } else { "sha2" };
            let says = fs::read_to_string("/proc/cpuinfo").expect("these tests run on Linux");
            if says.split_whitespace().any(|word| word == flag) {
                return Provider::Hardware;
            }
            println!("SKIPPED: this processor has no {flag}, so its provider is not looked at");
            Provider::Soft
        }
    }
}

/// The providers that this machine has: always the fallback, and what is chosen.
fn providers() -> Vec<Provider> {
    match expected() {
        Provider::Soft => vec![Provider::Soft],
        Provider::Hardware => vec![Provider::Soft, Provider::Hardware],
    }
}

fn by(provider: Provider) -> Sha256 {
    Sha256::by(provider).expect("the processor has the instructions; see the top of this file")
}

fn digest(provider: Provider, pieces: &[&[u8]]) -> [u8; 32] {
    let mut hash = by(provider);
    pieces.iter().for_each(|piece| hash.update(piece));
    hash.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_best_is_chosen_and_called_by_its_name() {
    assert_eq!(Provider::best(), expected());
    assert_eq!(Sha256::by(Provider::Hardware).is_some(), expected() == Provider::Hardware);
    let name = if cfg!(target_arch = "x86_64") { "sha-ni" } else { "armv8 sha2" };
    assert_eq!(Provider::Hardware.name(), name);
    assert_eq!(Provider::Soft.name(), "soft");
    eprintln!("hashing: {}", Provider::best().name());
}

/// FIPS 180-4's examples, and the short and long messages of NIST's validation suite.
#[test]
fn known_answers() {
    let two = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    let four = b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
    let known: [(&[u8], &str); 6] = [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (two, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
        (four, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"),
        (&[0xd3], "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"),
        (
            &[0x74, 0xba, 0x25, 0x21],
            "b16aa56be3880d18cd41e68384cf1ec8c17680c45a02b1575dc1518923ae8b0e",
        ),
    ];
    let million = vec![b'a'; 1_000_000];
    for provider in providers() {
        for (message, expected) in known {
            assert_eq!(hex(&digest(provider, &[message])), expected, "{provider:?}");
        }
        assert_eq!(
            hex(&digest(provider, &[&million])),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
            "{provider:?}"
        );
    }
}

#[test]
fn every_length_and_every_split_up_to_some_blocks() {
    let message: Vec<u8> = (0..330_u16).map(|n| (n * 7) as u8).collect();
    for provider in providers() {
        for length in 0..=message.len() {
            let message = &message[..length];
            let expected: [u8; 32] = sha2_soft::Sha256::digest(message).into();
            for split in 0..=length {
                let (front, back) = message.split_at(split);
                assert_eq!(digest(provider, &[front, back]), expected, "{length} at {split}");
            }
        }
    }
}

#[test]
fn random_messages_in_random_pieces_as_the_portable_code_has_them() {
    let seed = env::var("STILLBOOT_SEED")
        .map_or_else(|_| u64::from(std::process::id()), |seed| seed.parse().expect("a number"));
    println!("STILLBOOT_SEED={seed}");
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    let mut message = vec![0; 1 << 16];
    random.fill_bytes(&mut message);
    for round in 0..400 {
        // Messages begin anywhere, so that blocks are taken from every alignment.
        let start = random.next_u32() as usize % 64;
        let most = [100, 1000, message.len() - 64][round % 3];
        let message = &message[start..start + random.next_u32() as usize % (most + 1)];
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut rest = message;
        while !rest.is_empty() {
            let most = [1, 65, 300, rest.len()][random.next_u32() as usize % 4];
            let (piece, later) =
                rest.split_at((random.next_u32() as usize % (most + 1)).min(rest.len()));
            pieces.push(piece);
            rest = later;
        }
        let expected: [u8; 32] = sha2_soft::Sha256::digest(message).into();
        let mut core_soft = SoftSha256::new();
        core_soft.update(message);
        assert_eq!(core_soft.finish(), expected);
        for provider in providers() {
            assert_eq!(digest(provider, &pieces), expected, "{provider:?}, round {round}");
        }
    }
}

#[test]
fn a_clone_goes_its_own_way() {
    for provider in providers() {
        let mut one = by(provider);
        one.update(b"the same ");
        let mut other = one.clone();
        one.update(b"and this");
        other.update(b"and that");
        assert_eq!(one.finish(), digest(provider, &[b"the same and this"]));
        assert_eq!(other.finish(), digest(provider, &[b"the same and that"]));
    }
}
