//! Measured by `cargo xtask size`: a decision and the record.
#![no_std]
#![no_main]

use size_device::{ExternDevice, RECORD, number, report};
use stillboot::device::{BlockDevice, DeviceError};
use stillboot::format::{Record, Slot};
use stillboot::record::{Choice, choose, inspect};
use stillboot::select::{Claim, Knowledge, candidates};

/// Reads both copies of the boot record, makes the order of the slots, and counts the try of a trial
/// in the copy that is not true: what a loader needs that has verified its slots by other means.
///
/// What is measured is what this function calls, and nothing else. Every result has to end up in
/// the returned number, or the compiler drops the work that led to it.
fn measured(device: &mut ExternDevice) -> Result<u32, DeviceError> {
    let mut bytes = [0; 1024];
    device.read(RECORD[0].offset, &mut bytes)?;
    let (zero, first) = inspect(&bytes);
    device.read(RECORD[1].offset, &mut bytes)?;
    let (one, second) = inspect(&bytes);
    let (copy, record) = match choose([zero, one]) {
        Choice::Current { copy: 0 } => (0, first),
        Choice::Current { copy: _ } => (1, second),
        Choice::Factory | Choice::Lost | Choice::Newer => return Ok(1),
    };
    let Some(Record { sequence, mut body }) = record else { return Ok(2) };
    body.expire_trials();
    let order = candidates(&body, Knowledge::Record, |slot| matches!(slot, Slot::A | Slot::B));
    let Some(best) = order.first() else { return Ok(3) };
    if best.claim == Claim::Trial {
        body.spend_try(best.slot, number());
        let record = Record { sequence: sequence + 1, body };
        let Ok(_) = record.emit(&mut bytes) else { return Ok(4) };
        let target = RECORD[1 - copy];
        device.erase(target.offset, target.len)?;
        device.write(target.offset, &bytes)?;
        device.flush()?;
    }
    Ok(5 + best.slot as u32)
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
