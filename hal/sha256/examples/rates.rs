//! How fast each provider hashes, in the same run and in turn: `cargo run --release -p stillboot-sha256 --example rates`.
//!
//! The ratios mean something, the rates little: machines are noisy. Nothing here fails because
//! something was slow.

use std::hint::black_box;
use std::time::Instant;

use sha2::Digest as _;
use sha2_soft::Digest as _;
use stillboot::verify::Sha256 as _;
use stillboot_sha256::{Provider, Sha256};

const LEN: usize = 16 << 20;
/// What the loader hashes in one piece.
const PIECE: usize = 64 << 10;
const RUNS: usize = 21;

fn main() {
    let message: Vec<u8> = (0..LEN).map(|at| ((at * 31) >> 3) as u8).collect();
    let ours = || {
        let mut hash = Sha256::new();
        message.chunks(PIECE).for_each(|piece| hash.update(black_box(piece)));
        hash.finish()
    };
    let soft = || -> [u8; 32] {
        let mut hash = sha2_soft::Sha256::new();
        message.chunks(PIECE).for_each(|piece| hash.update(black_box(piece)));
        hash.finalize().into()
    };
    let crate_ = || -> [u8; 32] {
        let mut hash = sha2::Sha256::new();
        message.chunks(PIECE).for_each(|piece| hash.update(black_box(piece)));
        hash.finalize().into()
    };
    assert_eq!(ours(), soft());
    assert_eq!(ours(), crate_());
    let mut times: [Vec<f64>; 3] = Default::default();
    for _ in 0..RUNS {
        let timed: [&dyn Fn() -> [u8; 32]; 3] = [&ours, &soft, &crate_];
        for (times, work) in times.iter_mut().zip(timed) {
            let start = Instant::now();
            black_box(work());
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let [ours, soft, crate_] = times.map(median);
    println!("{} MiB in pieces of {} KiB, median of {RUNS} runs, in turn", LEN >> 20, PIECE >> 10);
    let name = Provider::best().name();
    for (name, time) in
        [(name, ours), ("sha2, portable code", soft), ("sha2, as it chooses", crate_)]
    {
        println!("{name:<20} {:7.0} MB/s", LEN as f64 / time / 1e6);
    }
    match Provider::best() {
        Provider::Hardware => println!(
            "note: {name}: {:.2} times the rate of the portable code, {:.2} times the time of sha2",
            soft / ours,
            ours / crate_
        ),
        Provider::Soft => {
            println!("note: no instructions for SHA-256 here: that provider was not looked at");
        }
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
