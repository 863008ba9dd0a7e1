//! Measured by `cargo xtask size`: a decision and the record.
#![no_std]
#![no_main]

use size_device::{ExternDevice, RECORD, number, report};
use stillboot::device::{BlockDevice, DeviceError};
use stillboot::format::{Record, Slot, record};
use stillboot::record::{CopyState, RecordStatus, choose, inspect};
use stillboot::select::{CandidateKind, RecordOrigin, candidates};

/// Reads the copies of the boot record, makes the order of the slots, and counts the try of a trial in
/// a copy that is not true: what a loader needs that has verified its slots by other means.
///
/// What is measured is what this function calls, and nothing else. Every result has to end up in
/// the returned number, or the compiler drops the work that led to it.
fn measured(device: &mut ExternDevice) -> Result<u32, DeviceError> {
    let mut bytes = [0; record::LEN_MAX];
    let mut states = [CopyState::Blank; 3];
    let mut newest: Option<Record> = None;
    for (place, state) in RECORD.iter().zip(&mut states) {
        device.read(place.offset, &mut bytes)?;
        let (found, record) = inspect(&bytes);
        *state = found;
        if let Some(record) = record
            && newest.as_ref().is_none_or(|newest| record.sequence > newest.sequence)
        {
            newest = Some(record);
        }
    }
    let copy = match choose(&states) {
        RecordStatus::Current { copy } => usize::from(copy),
        RecordStatus::Factory | RecordStatus::Lost | RecordStatus::Newer => return Ok(1),
    };
    let record = newest;
    let Some(Record { sequence, mut body }) = record else { return Ok(2) };
    body.expire_trials();
    let order = candidates(&body, RecordOrigin::Read, |slot| matches!(slot, Slot::A | Slot::B));
    let Some(best) = order.first() else { return Ok(3) };
    if best.kind == CandidateKind::Trial {
        body.spend_try(best.slot, number());
        let record = Record { sequence: sequence + 1, body };
        let Ok(_) = record.emit(&mut bytes) else { return Ok(4) };
        let target = RECORD[if copy == 2 { 0 } else { copy + 1 }];
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
