//! Counts the instructions and the stack of one verification by each provider of Ed25519, for
//! `cargo xtask mcu --rates`, and holds each against the edge cases on the processor itself: some
//! providers have other code for it than for a host.
//!
//! QEMU runs with `-icount shift=0`: each instruction takes a nanosecond of the board's time, and
//! the timer counts at 25 MHz.
#![no_std]
#![no_main]

#[path = "../../../../tests/formats/speccheck.rs"]
mod speccheck;

use core::fmt::Write as _;

use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::entry;
use mcu_board::stack::Mark;
use mcu_board::uart::Uart;
use stillboot::verify::{CompactEd25519, Ed25519, verify_signature_by};
use stillboot_ed25519::{SaltyEd25519, SmallEd25519};

use speccheck::SPECCHECK;

/// Instructions for each count of the timer.
const INSTRUCTIONS: u32 = 40;
/// Where the timer starts, counting down.
const START: u32 = 0xff_ffff;

/// RFC 8032, section 7.1, test 3.
const KEY: [u8; 32] = [
    0xfc, 0x51, 0xcd, 0x8e, 0x62, 0x18, 0xa1, 0xa3, 0x8d, 0xa4, 0x7e, 0xd0, 0x02, 0x30, 0xf0, 0x58,
    0x08, 0x16, 0xed, 0x13, 0xba, 0x33, 0x03, 0xac, 0x5d, 0xeb, 0x91, 0x15, 0x48, 0x90, 0x80, 0x25,
];
const MESSAGE: [u8; 2] = [0xaf, 0x82];
const SIGNATURE: [u8; 64] = [
    0x62, 0x91, 0xd6, 0x57, 0xde, 0xec, 0x24, 0x02, 0x48, 0x27, 0xe6, 0x9c, 0x3a, 0xbe, 0x01, 0xa3,
    0x0c, 0xe5, 0x48, 0xa2, 0x84, 0x74, 0x3a, 0x44, 0x5e, 0x36, 0x80, 0xd7, 0xdb, 0x5a, 0xc3, 0xac,
    0x18, 0xff, 0x9b, 0x53, 0x8d, 0x16, 0xf2, 0x90, 0xae, 0x67, 0xf7, 0x60, 0x98, 0x4d, 0xc6, 0x59,
    0x4a, 0x7c, 0x15, 0xe9, 0x71, 0x6e, 0xd2, 0x8d, 0xc0, 0x27, 0xbe, 0xce, 0xea, 0x1e, 0xc4, 0x0a,
];

#[entry]
fn main() -> ! {
    let Some(mut peripherals) = Peripherals::take() else { semihosting::process::exit(1) };
    let mut uart = Uart::sending();
    let providers: [(&str, &dyn Ed25519); 3] =
        [("compact", &CompactEd25519), ("salty", &SaltyEd25519), ("small", &SmallEd25519)];
    for (name, provider) in providers {
        let timer = &mut peripherals.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(START);
        timer.clear_current();
        timer.enable_counter();
        let mark = Mark::new();
        let before = SYST::get_current();
        let verdict = verify_signature_by(provider, &KEY, &[&MESSAGE], &SIGNATURE);
        let counts = before.wrapping_sub(SYST::get_current()) & START;
        let stack = mark.depth().calls;
        // Another round would not be seen in the count, but in this flag.
        let is_sound = verdict.is_ok() && !timer.has_wrapped() && decides_edge_cases(provider);
        let instructions = counts * INSTRUCTIONS;
        let told = writeln!(uart, "{name} {instructions} {stack}");
        if !is_sound || told.is_err() {
            semihosting::process::exit(1);
        }
    }
    semihosting::process::exit(0)
}

/// Whether it accepts what it should of the edge cases, and refuses the others.
#[inline(never)]
fn decides_edge_cases(provider: &dyn Ed25519) -> bool {
    SPECCHECK.iter().all(|(expected, message, key, signature)| {
        let (mut bytes, mut public, mut signed) = ([0; 64], [0; 32], [0; 64]);
        let message_len = message.len() / 2;
        unhex(message, &mut bytes);
        unhex(key, &mut public);
        unhex(signature, &mut signed);
        let pieces = &[&bytes[..message_len]];
        verify_signature_by(provider, &public, pieces, &signed).is_ok() == *expected
    })
}

/// Bytes of hexadecimal digits.
fn unhex(text: &str, into: &mut [u8]) {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    for (byte, pair) in into.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0]) << 4 | digit(pair[1]);
    }
}
