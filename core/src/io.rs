//! What the machines ask for instead of doing it: one operation on one device at a time.
//!
//! All transfers go through the one buffer that the caller owns and lends to a machine at each
//! step; an operation names a range of it.

// Why: docs/DESIGN.md#why-machines-without-io
// Why: docs/DESIGN.md#why-one-buffer

use core::ops::Range;

use crate::device::{DeviceError, Geometry};
use crate::layout::Region;
use crate::units::round;

/// One operation on one device. Offsets and lengths are already multiples of its units.
// Why: docs/DESIGN.md#why-some-types-are-exhaustive
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Io {
    /// Fill `range` of the buffer from `offset` of `device`.
    Read {
        /// Number of the device.
        device: u8,
        /// First byte on the device.
        offset: u64,
        /// Where in the buffer the bytes go.
        range: Range<usize>,
    },
    /// Write `range` of the buffer to `offset` of `device`.
    Write {
        /// Number of the device.
        device: u8,
        /// First byte on the device.
        offset: u64,
        /// Where in the buffer the bytes are.
        range: Range<usize>,
    },
    /// Erase `len` bytes at `offset` of `device`.
    Erase {
        /// Number of the device.
        device: u8,
        /// First byte on the device.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Make everything written to `device` so far durable.
    Flush {
        /// Number of the device.
        device: u8,
    },
}

/// How an operation ended.
pub type IoResult = Result<(), DeviceError>;

/// The result of a step of a part of a machine: one more operation, or its result.
pub(crate) enum Step<T> {
    Io(Io),
    Done(T),
}

impl Io {
    /// A read of the first bytes of `region`, at least `len` of them, to the buffer from `at` on.
    pub(crate) fn read(geometry: &Geometry, region: Region, len: usize, at: usize) -> Self {
        let len = round(len, geometry.logical_block_bytes);
        Self::Read { device: region.device, offset: region.offset, range: at..at + len }
    }

    /// Pads `len` bytes at `at` of the buffer to a whole write, and asks for it.
    pub(crate) fn write_padded(
        geometry: &Geometry,
        region: Region,
        buffer: &mut [u8],
        at: usize,
        len: usize,
    ) -> Self {
        let end = at + round(len, geometry.write_granule_bytes);
        // Bytes of an earlier use of the buffer must not reach the medium.
        buffer[at + len..end].fill(geometry.erased.unwrap_or(0));
        Self::Write { device: region.device, offset: region.offset, range: at..end }
    }

    /// An erase of the whole of `region`.
    pub(crate) const fn erase(region: Region) -> Self {
        Self::Erase { device: region.device, offset: region.offset, len: region.len }
    }
}
