//! What the engine needs of a machine of the core.

use std::ops::Range;

use stillboot::io::Io;

use super::request::{MachineRequest, Reply};
use crate::world::DeviceMap;

/// A machine of the core with what it works on.
pub(super) trait Machine {
    fn step(&mut self, got: Reply<'_>) -> MachineRequest;
    fn print(&self) -> u128;
}

/// What stands in a buffer whose content may not be relied on.
pub(super) const POISON: u8 = 0xA5;

/// What the core asks for, and the range of the buffer that a read goes to.
pub(super) fn request_of(
    io: &Io,
    buffer: &[u8],
    ground: &DeviceMap,
) -> (MachineRequest, Option<Range<usize>>) {
    let place = |device: u8, offset: u64| ground.extent(device).start + offset;
    match *io {
        Io::Read { device, offset, ref range } => {
            (MachineRequest::Read(place(device, offset), range.len()), Some(range.clone()))
        }
        Io::Write { device, offset, ref range } => {
            (MachineRequest::Write(place(device, offset), buffer[range.clone()].into()), None)
        }
        Io::Erase { device, offset, len } => {
            (MachineRequest::Erase(place(device, offset), len), None)
        }
        Io::Flush { device } => (MachineRequest::Flush(ground.extent(device)), None),
    }
}
