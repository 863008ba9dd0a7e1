//! Measured by `cargo xtask size`: a decision and the record.
#![no_std]
#![no_main]

use size_device::{ExternDevice, report};
use stillboot::device::{BlockDevice, DeviceError};

/// Choosing a slot, and reading and writing the boot record.
///
/// What is measured is what this function calls, and nothing else. Every result has to end up in
/// the returned number, or the compiler drops the work that led to it.
fn measured(device: &mut ExternDevice) -> Result<u32, DeviceError> {
    let mut block = [0; 512];
    device.read(0, &mut block)?;
    Ok(block.iter().map(|byte| u32::from(*byte)).sum())
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
