//! Measured by `cargo xtask size`: as `b-verify`, in the smallest build: without the feature
//! `keysets`, trusting one built-in key.
#![no_std]
#![no_main]

use size_device::{DEVICE, ExternDevice, ExternStore, LAYOUT, OneImage, number, report};
use stillboot::boot::{Boot, BootConfig, Event};
use stillboot::driver;
use stillboot::verify::SoftSha256;

/// A whole power-on: the decision, the record, and the verification of the slot.
///
/// What is measured is what this function calls, and nothing else. Every result has to end up in
/// the returned number, or the compiler drops the work that led to it.
fn measured(device: &mut ExternDevice) -> u32 {
    let config = BootConfig::new(DEVICE, LAYOUT, number()).with_store(true);
    let mut machine = Boot::<SoftSha256>::new(&config);
    let mut buffer = [0; 4096];
    let mut image = [0; 4096];
    let proof = driver::boot(
        &mut machine,
        Event::Start,
        &mut [device],
        &mut ExternStore,
        &mut OneImage(&mut image),
        &mut buffer,
    );
    for line in &machine.report().lines {
        report(line.candidate.slot as u32);
    }
    proof.map_or(2, |proof| u32::from(proof.attempt) + proof.nonce as u32)
}

/// Where the linker starts to look for what is used.
// SAFETY: no other function of the program has this name.
#[unsafe(no_mangle)]
extern "C" fn measured_entry() {
    let mut device = ExternDevice(0);
    report(measured(&mut device));
}
