//! The fuzz targets on stable: their seeds, their corpus with past findings, and some random bytes.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use stillboot::format::{Envelope, Keyset, Manifest, PayloadType, Record, Signature, Statement};
use stillboot::verify::SoftSha256;
use stillboot_policy::json::index::INDEX_LEN_MAX;
use stillboot_policy::json::latest::DOCUMENT_LEN_MAX;
use stillboot_policy::json::{ChannelIndex, Latest};
use stillboot_release::keys::{Roots, Signer as _, SigningKey};
use stillboot_sim::disk::Random;
use stillboot_sim::fuzz::{CANARY, TARGETS, canary, seeds};
use stillboot_tests::seed;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten();
    let names = files.map(|file| file.unwrap().path());
    names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = root().join("corpus").join(name);
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn every_target_is_replayed_and_every_folder_of_the_corpus_has_a_target() {
    let mut expected: BTreeSet<String> = TARGETS.map(|(name, _)| name.to_owned()).into();
    assert!(names_in(&root().join("corpus")).is_subset(&expected));
    expected.insert("canary".to_owned());
    assert_eq!(names_in(&root().join("fuzz_targets")), expected);
    // Each is a program of its own, with this very body.
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for name in expected {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
    }
}

#[test]
fn every_target_holds_on_its_seeds_and_corpus() {
    let mut count = 0;
    for (name, body) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for input in seeds.into_iter().chain(corpus(name)) {
            body(&input);
            count += 1;
        }
    }
    println!("{count} inputs");
}

#[test]
fn every_target_holds_on_seeds_that_are_changed_at_random() {
    let mut random = Random::new(seed("changed_seeds"));
    for (name, body) in TARGETS {
        let rounds = match name {
            "install" | "slot" | "scenario" | "transported" => 60,
            // A file in memory for each, or a signature.
            "files" | "table" | "json" => 1000,
            // Each is decoded several times.
            "frames" | "lz4" | "lzma" | "zstd" | "patch" => 2000,
            _ => 20_000,
        };
        let pool = seeds(name);
        for _ in 0..rounds {
            let mut input = pool[random.below(pool.len() as u64) as usize].clone();
            for _ in 0..random.below(4) {
                let len = input.len() as u64;
                match random.below(4) {
                    0 if len > 0 => input[random.below(len) as usize] ^= 1 << random.below(8),
                    1 if len > 0 => input.truncate(random.below(len) as usize),
                    2 => input.push(random.next_u64() as u8),
                    _ if len > 0 => input[random.below(len) as usize] = random.next_u64() as u8,
                    _ => {}
                }
            }
            body(&input);
        }
    }
}

#[test]
fn the_canary_crashes() {
    let envelope = |payload: &[u8]| {
        let mut bytes = vec![0; 1024];
        let signatures = [Signature::ed25519(&[1; 32], &[2; 64])];
        let len = Envelope::emit(PayloadType::Manifest, &signatures, payload, &mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    };
    let found = envelope(&CANARY);
    assert!(catch_unwind(|| canary(&found)).is_err());
    // Only for its payload, and only whole.
    let mut missed = CANARY;
    missed[3] ^= 1;
    canary(&envelope(&missed));
    canary(&found[..found.len() - 1]);
    for seed in seeds("canary") {
        canary(&seed);
    }
}

/// On a stack that a recursion for each level, or a buffer of the length that is claimed, would
/// leave at once.
#[test]
fn depth_and_length_bombs_are_refused_on_a_small_stack() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roots.toml");
    let bombs = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
        const DEPTH: usize = 100_000;
        let key = SigningKey::from_seed([9; 32]);
        let mut count = 0;
        let product = "00".repeat(16);
        let index = format!(
            "{{\"schema\":1,\"product\":\"{product}\",\"track\":\"latest\",\"issue\":1,\"until\":0,\
             \"offers\":["
        );
        ChannelIndex::parse(format!("{index}],\"patches\":[]}}").as_bytes()).unwrap();
        for open in
            ["[", "{\"a\":", "[{\"a\":", "{\"offers\":[", "{\"patches\":[", "{\"components\":["]
        {
            for bomb in [
                open.repeat(DEPTH),
                format!("{{\"version\":{}", open.repeat(DEPTH)),
                // Where an index has its lists.
                format!("{index}{}", open.repeat(DEPTH)),
                format!("{index}],\"patches\":[{}", open.repeat(DEPTH)),
            ] {
                let bomb = bomb.as_bytes();
                // As long as it is, and as long as it would be looked at.
                for len in [bomb.len(), INDEX_LEN_MAX, DOCUMENT_LEN_MAX, 1024] {
                    let bomb = &bomb[..len];
                    assert!(ChannelIndex::parse(bomb).is_err());
                    let signature = key.sign(bomb).unwrap();
                    assert!(Latest::verify::<SoftSha256>(bomb, &signature, &key.public()).is_err());
                    assert!(serde_json::from_slice::<Manifest>(bomb).is_err());
                    count += 1;
                }
            }
        }
        for open in ["[", "keys = [", "keys = {a = {a = ", "[a.", "a.", "threshold = [["] {
            let last = open.rsplit(' ').next().unwrap();
            std::fs::write(&path, format!("{open}{}", last.repeat(DEPTH))).unwrap();
            assert!(Roots::read(&path).is_err());
            count += 1;
        }
        // Lengths and counts of the binary formats, at their greatest from each place on.
        for name in ["envelope", "keyset", "manifest", "statement", "record"] {
            for seed in seeds(name) {
                for at in 0..seed.len() {
                    let mut bomb = seed[..at].to_vec();
                    bomb.extend([0xff; 9]);
                    bomb.push(0x01);
                    bomb.extend(&seed[at..]);
                    // Whatever it is in a text or a digest: no panic, and no stack.
                    let _ = Envelope::parse(&bomb);
                    let _ = Keyset::parse(&bomb);
                    let _ = Manifest::parse(&bomb);
                    let _ = Statement::parse(&bomb);
                    let _ = Record::parse(&bomb);
                    count += 1;
                }
            }
        }
        count
    });
    println!("{} bombs", bombs.unwrap().join().unwrap());
}
