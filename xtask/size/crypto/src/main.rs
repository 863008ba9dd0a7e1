//! Measured by `cargo xtask size`: one digest and one signature, without anything of the core.
#![no_std]
#![no_main]

use size_device::{ExternDevice, report};
use stillboot::device::{BlockDevice, DeviceError};
use stillboot::verify::{Sha256, SoftSha256, verify_signature_by};
use stillboot_ed25519::SmallEd25519;

/// A message in pieces, a key, a signature, a digest: what is under every verification of a slot.
fn measured(device: &mut ExternDevice) -> Result<u32, DeviceError> {
    let (mut key, mut signature, mut message) = ([0; 32], [0; 64], [0; 1024]);
    device.read(0, &mut key)?;
    device.read(0, &mut signature)?;
    device.read(0, &mut message)?;
    let mut hash = SoftSha256::new();
    hash.update(&message);
    hash.update(&key);
    let digest = hash.finish();
    let held = verify_signature_by(&SmallEd25519, &key, &[&digest, &message], &signature);
    Ok(held.map_or(1, |()| 2))
}

/// Where the linker starts to look for what is used.
// SAFETY: no other function of the program has this name.
#[unsafe(no_mangle)]
extern "C" fn measured_entry() {
    let mut device = ExternDevice(0);
    report(match measured(&mut device) {
        Ok(number) => number,
        Err(error) => 0x8000_0000 | error as u32,
    });
}
