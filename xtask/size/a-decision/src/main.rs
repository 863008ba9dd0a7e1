//! Measured by `cargo xtask size`: a decision and the record.
#![no_std]
#![no_main]

use size_device::{ExternDevice, RECORD, SLOTS, report};
use stillboot::device::{BlockDevice, DeviceError};
use stillboot::driver;
use stillboot::format::{BootProof, Slot};
use stillboot::layout::Layout;
use stillboot::operate::{Operate, OperateError, Request};
use stillboot::select::{Knowledge, candidates};

/// Reads the boot record, makes the order of the slots and confirms the one that runs.
///
/// What is measured is what this function calls, and nothing else. Every result has to end up in
/// the returned number, or the compiler drops the work that led to it.
fn measured(device: &mut ExternDevice) -> Result<u32, DeviceError> {
    let geometries = [device.geometry()];
    let Ok(layout) = Layout::new(&geometries, RECORD, SLOTS) else { return Ok(1) };
    let mut buffer = [0; 1024];
    device.read(0x10_0000, &mut buffer)?;
    let proof = BootProof {
        slot: if buffer[0] == 0 { Slot::A } else { Slot::B },
        digest: [buffer[1]; 32],
        attempt: buffer[2],
        nonce: u64::from(buffer[3]),
        keyset_version: u32::from(buffer[4]),
        record_version: 1,
        manifest_schema: 1,
    };
    let mut machine = Operate::new(&layout, Request::MarkGood(proof));
    match driver::operate(&mut machine, &mut [device], &mut buffer) {
        Ok(_) => {}
        Err(OperateError::Record(error)) => return Err(error),
        Err(_) => return Ok(2),
    }
    let order = candidates(&machine.record().body, Knowledge::Record, |slot| layout.has(slot));
    Ok(order.first().map_or(3, |first| 4 + first.slot as u32))
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
