//! The fuzz targets on stable: their seeds, their corpus with past findings, and some random bytes.

use std::path::Path;

use stillboot_sim::disk::Random;
use stillboot_sim::fuzz::{TARGETS, seeds};
use stillboot_tests::seed;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
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
        let slow = matches!(name, "install" | "slot" | "head");
        let pool = seeds(name);
        for _ in 0..if slow { 60 } else { 20_000 } {
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
