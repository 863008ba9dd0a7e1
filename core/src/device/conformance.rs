//! Checks any [`BlockDevice`] against the contract of [`device`](super), on a scratch device.
//!
//! An implementer runs [`check`] in a test, or once on new hardware. It covers everything that can
//! be seen while the power is on. What a device does when the power fails cannot be seen from
//! inside: the simulator covers that for the protocols, and a test bench for the hardware.

use super::{BlockDevice, DeviceError, Geometry};

/// Runs every check on `device` and destroys what is stored in its first, middle and last erase
/// blocks, in their neighbours, and in the tail behind the last whole erase block.
///
/// `scratch` holds at least two write granules; an erase block or more is better, for then whole
/// blocks are read and written at once too. The device has at least three erase blocks.
///
/// # Errors
/// The first rule that the device breaks.
pub fn check(device: &mut dyn BlockDevice, scratch: &mut [u8]) -> Result<(), Failure> {
    let geometry = device.geometry();
    if !geometry.is_valid() {
        return Err(Failure::Geometry);
    }
    let blocks = geometry.capacity_bytes / u64::from(geometry.erase_block_bytes);
    if blocks < 3 {
        return Err(Failure::Capacity);
    }
    let granule = geometry.write_granule_bytes as usize;
    if scratch.len() < 2 * granule {
        return Err(Failure::Scratch);
    }
    // Whole granules only, so that the whole buffer can be written as it is.
    let whole = scratch.len() / granule * granule;
    let mut bench = Bench { device, geometry, blocks, scratch: &mut scratch[..whole] };

    bench.prepare()?;
    bench.zero_lengths()?;
    bench.out_of_range()?;
    bench.unaligned()?;
    for block in [0, blocks / 2, blocks - 1] {
        bench.erase_one(block)?;
        bench.write_one(block)?;
        bench.whole_and_pieces(block)?;
    }
    bench.rewrite_tail()?;
    bench.many_writes()?;
    bench.read_across()?;
    bench.flush()?;
    if bench.device.geometry() == geometry { Ok(()) } else { Err(Failure::GeometryChanged) }
}

/// The rule that a device broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Failure {
    /// The geometry is not valid ([`Geometry::is_valid`]).
    Geometry,
    /// The geometry changed while the device was open.
    GeometryChanged,
    /// The device has less than three erase blocks: neighbours cannot be checked.
    Capacity,
    /// The scratch buffer holds less than two write granules.
    Scratch,
    /// A request within the rules failed.
    Failed {
        /// What was asked.
        operation: Operation,
        /// Where.
        offset: u64,
        /// What the device answered.
        error: DeviceError,
    },
    /// A request of no bytes failed.
    ZeroLength(Operation),
    /// A request past the end, or one whose end overflows, was not refused as
    /// [`DeviceError::OutOfRange`].
    OutOfRange(Operation),
    /// A request off the unit was not refused as [`DeviceError::Unaligned`].
    Unaligned(Operation),
    /// A request of no bytes, or one that was refused, changed the byte at this offset.
    Unasked {
        /// The first such byte.
        offset: u64,
    },
    /// A byte that was erased does not read as [`Geometry::erased`].
    Erased {
        /// The first such byte.
        offset: u64,
    },
    /// A device without erase ([`Geometry::erased`] is `None`) changed bytes on an erase.
    EraseChanged {
        /// The first such byte.
        offset: u64,
    },
    /// A read does not return what was written last.
    ReadBack {
        /// The first such byte.
        offset: u64,
    },
    /// An operation changed a byte outside its range.
    Neighbour {
        /// What was asked.
        operation: Operation,
        /// The first such byte.
        offset: u64,
    },
    /// One long read and many short ones return different bytes.
    Pieces {
        /// The first such byte.
        offset: u64,
    },
    /// A flush changed a byte.
    FlushChanged {
        /// The first such byte.
        offset: u64,
    },
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Geometry => f.write_str("the geometry is not valid"),
            Self::GeometryChanged => {
                f.write_str("the geometry must stay the same while the device is open")
            }
            Self::Capacity => f.write_str("the check needs a device of three erase blocks or more"),
            Self::Scratch => f.write_str("the check needs a scratch buffer of two write granules"),
            Self::Failed { operation, offset, error } => {
                write!(f, "a valid {operation} at {offset} must not fail: {error}")
            }
            Self::ZeroLength(operation) => {
                write!(f, "a {operation} of no bytes must do nothing and succeed")
            }
            Self::OutOfRange(operation) => {
                write!(f, "a {operation} past the end must be refused as OutOfRange")
            }
            Self::Unaligned(operation) => {
                write!(f, "a {operation} off its unit must be refused as Unaligned")
            }
            Self::Unasked { offset } => {
                write!(f, "a refused or empty request must change nothing, but byte {offset} did")
            }
            Self::Erased { offset } => {
                write!(f, "byte {offset} must read as `erased` after an erase")
            }
            Self::EraseChanged { offset } => {
                write!(f, "an erase must do nothing on this device, but byte {offset} changed")
            }
            Self::ReadBack { offset } => {
                write!(f, "byte {offset} must read as it was written last")
            }
            Self::Neighbour { operation, offset } => {
                write!(f, "the {operation} must not change byte {offset} outside its range")
            }
            Self::Pieces { offset } => {
                write!(f, "byte {offset} must read the same in one piece and in many")
            }
            Self::FlushChanged { offset } => {
                write!(f, "a flush must not change what byte {offset} reads as")
            }
        }
    }
}

impl core::error::Error for Failure {}

/// What was asked of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Operation {
    /// [`BlockDevice::read`].
    Read,
    /// [`BlockDevice::write`].
    Write,
    /// [`BlockDevice::erase`].
    Erase,
    /// [`BlockDevice::flush`].
    Flush,
}

impl core::fmt::Display for Operation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Erase => "erase",
            Self::Flush => "flush",
        })
    }
}

/// What a range is expected to read as.
#[derive(Clone, Copy)]
enum Content {
    /// The pattern of this salt.
    Pattern(u8),
    /// The erased value.
    Erased(u8),
}

impl Content {
    fn byte(self, offset: u64) -> u8 {
        match self {
            Self::Pattern(salt) => pattern(offset, salt),
            Self::Erased(value) => value,
        }
    }
}

/// A byte that depends on its whole offset, so that a block stored in the wrong place, at the
/// right distance from its neighbours, is seen too.
fn pattern(offset: u64, salt: u8) -> u8 {
    let mixed = (offset ^ (u64::from(salt) << 56)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes()[0]
}

/// The salt that everything is filled with first.
const BACKGROUND: u8 = 1;
/// The salt of what is written over it.
const FOREGROUND: u8 = 2;

/// Granules of a block that are written one by one: enough to fill any queue.
const MANY: u64 = 64;

struct Bench<'a> {
    device: &'a mut dyn BlockDevice,
    geometry: Geometry,
    /// Whole erase blocks.
    blocks: u64,
    /// Whole write granules, two or more.
    scratch: &'a mut [u8],
}

impl Bench<'_> {
    /// Fills every block that is looked at later.
    fn prepare(&mut self) -> Result<(), Failure> {
        self.each_watched_block(|bench, block| {
            bench.erase(block)?;
            if let Some(value) = bench.geometry.erased {
                bench.expect_block(block, Content::Erased(value), |offset| Failure::Erased {
                    offset,
                })?;
            }
            bench.write(bench.block_start(block), bench.block_len(), BACKGROUND)
        })?;
        // Only when all is written: a device that stores every block in the same place returns
        // each one correctly right after it was written.
        self.expect_background(|offset| Failure::ReadBack { offset })
    }

    /// Requests of no bytes succeed, at the start and at the very end.
    fn zero_lengths(&mut self) -> Result<(), Failure> {
        let end = self.geometry.capacity_bytes;
        for operation in [Operation::Read, Operation::Write, Operation::Erase] {
            for offset in [0, end - end % self.unit(operation)] {
                if self.ask(operation, offset, 0).is_err() {
                    return Err(Failure::ZeroLength(operation));
                }
            }
        }
        self.expect_background(|offset| Failure::Unasked { offset })
    }

    /// Requests that end behind the device are refused, also when their end is behind 2^64 and an
    /// unchecked sum would land on the first block.
    fn out_of_range(&mut self) -> Result<(), Failure> {
        for operation in [Operation::Read, Operation::Write, Operation::Erase] {
            let unit = self.unit(operation);
            let end = self.geometry.capacity_bytes / unit * unit;
            // The first unit that does not fit, the last one that does and one more.
            let cases = [(end, unit), (end - unit, 2 * unit), (0u64.wrapping_sub(unit), unit)];
            for (offset, len) in cases {
                if self.ask(operation, offset, len) != Err(DeviceError::OutOfRange) {
                    return Err(Failure::OutOfRange(operation));
                }
            }
        }
        // Lengths that only an erase can be asked for.
        let unit = self.unit(Operation::Erase);
        for (offset, len) in [(unit, 0u64.wrapping_sub(unit)), (0, 0u64.wrapping_sub(unit))] {
            if self.ask(Operation::Erase, offset, len) != Err(DeviceError::OutOfRange) {
                return Err(Failure::OutOfRange(Operation::Erase));
            }
        }
        self.expect_background(|offset| Failure::Unasked { offset })
    }

    /// Requests that start or end off the unit are refused.
    fn unaligned(&mut self) -> Result<(), Failure> {
        for operation in [Operation::Read, Operation::Write, Operation::Erase] {
            let unit = self.unit(operation);
            if unit == 1 {
                continue;
            }
            let cases = [(1, unit), (0, unit - 1), (unit / 2, unit), (unit, unit / 2)];
            for (offset, len) in cases {
                if self.ask(operation, offset, len) != Err(DeviceError::Unaligned) {
                    return Err(Failure::Unaligned(operation));
                }
            }
        }
        self.expect_background(|offset| Failure::Unasked { offset })
    }

    /// Erasing one block makes it read as erased and leaves the rest alone.
    fn erase_one(&mut self, block: u64) -> Result<(), Failure> {
        self.erase(block)?;
        match self.geometry.erased {
            Some(value) => {
                self.expect_block(block, Content::Erased(value), |offset| Failure::Erased {
                    offset,
                })?;
            }
            None => self.expect_block(block, Content::Pattern(BACKGROUND), |offset| {
                Failure::EraseChanged { offset }
            })?,
        }
        self.expect_others(block, |offset| Failure::Neighbour {
            operation: Operation::Erase,
            offset,
        })
    }

    /// Writing one granule of the block that was just erased leaves the rest of it alone.
    fn write_one(&mut self, block: u64) -> Result<(), Failure> {
        let granule = self.unit(Operation::Write);
        let start = self.block_start(block);
        let end = start + self.block_len();
        let around = match self.geometry.erased {
            Some(value) => Content::Erased(value),
            None => Content::Pattern(BACKGROUND),
        };
        let target = start + self.block_len() / granule / 2 * granule;
        self.write(target, granule, FOREGROUND)?;

        let neighbour = |offset| Failure::Neighbour { operation: Operation::Write, offset };
        self.expect(target, granule, Content::Pattern(FOREGROUND), |offset| Failure::ReadBack {
            offset,
        })?;
        self.expect(start, target - start, around, neighbour)?;
        self.expect(target + granule, end - target - granule, around, neighbour)?;
        self.expect_others(block, neighbour)
    }

    /// A block written in long pieces reads the same in long pieces and in the shortest ones; then
    /// it is filled with the background again.
    fn whole_and_pieces(&mut self, block: u64) -> Result<(), Failure> {
        let (start, len) = (self.block_start(block), self.block_len());
        self.erase(block)?;
        self.write(start, len, BACKGROUND)?;
        self.expect_block(block, Content::Pattern(BACKGROUND), |offset| Failure::ReadBack {
            offset,
        })?;
        let unit = self.unit(Operation::Read);
        let mut offset = start;
        while offset < start + len {
            self.read(offset, unit)?;
            if let Some(at) = self.first_difference(offset, unit, Content::Pattern(BACKGROUND)) {
                return Err(Failure::Pieces { offset: at });
            }
            offset += unit;
        }
        self.expect_others(block, |offset| Failure::Neighbour {
            operation: Operation::Write,
            offset,
        })
    }

    /// Where no erase is needed, the last granule can be written over, even behind the last whole
    /// erase block.
    fn rewrite_tail(&mut self) -> Result<(), Failure> {
        if self.geometry.erased.is_some() {
            return Ok(());
        }
        let granule = self.unit(Operation::Write);
        let target = self.geometry.capacity_bytes / granule * granule - granule;
        for salt in [FOREGROUND, BACKGROUND] {
            self.write(target, granule, salt)?;
            self.expect(target, granule, Content::Pattern(salt), |offset| Failure::ReadBack {
                offset,
            })?;
        }
        self.expect_background(|offset| Failure::Neighbour { operation: Operation::Write, offset })
    }

    /// Writes of one granule each, without a flush, read as they were written, last one first: a
    /// device that writes behind has some of them on the medium and some not.
    fn many_writes(&mut self) -> Result<(), Failure> {
        let (granule, last) = (self.unit(Operation::Write), self.blocks - 1);
        for block in [0, last] {
            self.erase(block)?;
        }
        let count = (self.block_len() / granule).min(MANY);
        for number in 0..count {
            for block in [0, last] {
                self.write(self.block_start(block) + number * granule, granule, FOREGROUND)?;
            }
        }
        for number in (0..count).rev() {
            for block in [last, 0] {
                let offset = self.block_start(block) + number * granule;
                self.expect(offset, granule, Content::Pattern(FOREGROUND), |offset| {
                    Failure::ReadBack { offset }
                })?;
            }
        }
        for block in [0, last] {
            self.erase(block)?;
            self.write(self.block_start(block), self.block_len(), BACKGROUND)?;
        }
        self.expect_background(|offset| Failure::ReadBack { offset })
    }

    /// A read over the border of two blocks that were just written, the second one before the first.
    fn read_across(&mut self) -> Result<(), Failure> {
        let (unit, second) = (self.unit(Operation::Read), self.blocks / 2);
        let half = (self.scratch.len() as u64 / 2 / unit * unit).min(self.block_len());
        for block in [second, second - 1] {
            self.erase(block)?;
            self.write(self.block_start(block), self.block_len(), FOREGROUND)?;
        }
        let border = self.block_start(second);
        self.expect(border - half, 2 * half, Content::Pattern(FOREGROUND), |offset| {
            Failure::ReadBack { offset }
        })?;
        for block in [second - 1, second] {
            self.erase(block)?;
            self.write(self.block_start(block), self.block_len(), BACKGROUND)?;
        }
        self.expect_background(|offset| Failure::ReadBack { offset })
    }

    /// A flush succeeds and changes nothing that can be read.
    fn flush(&mut self) -> Result<(), Failure> {
        self.device.flush().map_err(|error| Failure::Failed {
            operation: Operation::Flush,
            offset: 0,
            error,
        })?;
        self.expect_background(|offset| Failure::FlushChanged { offset })
    }

    // Below: functions that the checks above share.

    fn unit(&self, operation: Operation) -> u64 {
        u64::from(match operation {
            Operation::Read => self.geometry.logical_block_bytes,
            Operation::Write => self.geometry.write_granule_bytes,
            Operation::Erase | Operation::Flush => self.geometry.erase_block_bytes,
        })
    }

    fn block_len(&self) -> u64 {
        u64::from(self.geometry.erase_block_bytes)
    }

    fn block_start(&self, block: u64) -> u64 {
        block * self.block_len()
    }

    /// Visits the blocks under test and those beside them.
    fn each_watched_block(
        &mut self,
        mut act: impl FnMut(&mut Self, u64) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let middle = self.blocks / 2;
        // In order and without repetition, whether the three groups overlap or not.
        let mut next = 0;
        for group in [0..2, middle - 1..middle + 2, self.blocks - 2..self.blocks] {
            for block in group {
                if block >= next && block < self.blocks {
                    act(self, block)?;
                    next = block + 1;
                }
            }
        }
        Ok(())
    }

    /// Sends a request as it is, with the content of the scratch buffer.
    fn ask(&mut self, operation: Operation, offset: u64, len: u64) -> Result<(), DeviceError> {
        match operation {
            Operation::Read => self.device.read(offset, &mut self.scratch[..len as usize]),
            Operation::Write => {
                // Not the background: a write that should have been refused must show.
                self.scratch.fill(0);
                self.device.write(offset, &self.scratch[..len as usize])
            }
            Operation::Erase => self.device.erase(offset, len),
            Operation::Flush => self.device.flush(),
        }
    }

    fn read(&mut self, offset: u64, len: u64) -> Result<(), Failure> {
        self.device
            .read(offset, &mut self.scratch[..len as usize])
            .map_err(|error| Failure::Failed { operation: Operation::Read, offset, error })
    }

    fn write(&mut self, offset: u64, len: u64, salt: u8) -> Result<(), Failure> {
        let mut done = 0;
        while done < len {
            let at = offset + done;
            let piece = (len - done).min(self.scratch.len() as u64);
            for (byte, index) in self.scratch.iter_mut().zip(at..at + piece) {
                *byte = pattern(index, salt);
            }
            self.device.write(at, &self.scratch[..piece as usize]).map_err(|error| {
                Failure::Failed { operation: Operation::Write, offset: at, error }
            })?;
            done += piece;
        }
        Ok(())
    }

    fn erase(&mut self, block: u64) -> Result<(), Failure> {
        let offset = self.block_start(block);
        self.device.erase(offset, self.block_len()).map_err(|error| Failure::Failed {
            operation: Operation::Erase,
            offset,
            error,
        })
    }

    fn first_difference(&self, offset: u64, len: u64, content: Content) -> Option<u64> {
        self.scratch
            .iter()
            .zip(offset..offset + len)
            .find(|(byte, at)| **byte != content.byte(*at))
            .map(|(_, at)| at)
    }

    fn expect(
        &mut self,
        offset: u64,
        len: u64,
        content: Content,
        failure: impl Fn(u64) -> Failure,
    ) -> Result<(), Failure> {
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(self.scratch.len() as u64);
            self.read(offset + done, piece)?;
            if let Some(at) = self.first_difference(offset + done, piece, content) {
                return Err(failure(at));
            }
            done += piece;
        }
        Ok(())
    }

    fn expect_block(
        &mut self,
        block: u64,
        content: Content,
        failure: impl Fn(u64) -> Failure,
    ) -> Result<(), Failure> {
        self.expect(self.block_start(block), self.block_len(), content, failure)
    }

    fn expect_background(&mut self, failure: impl Fn(u64) -> Failure) -> Result<(), Failure> {
        self.expect_others(u64::MAX, failure)
    }

    /// Every watched block except this one still holds the background.
    fn expect_others(
        &mut self,
        except: u64,
        failure: impl Fn(u64) -> Failure,
    ) -> Result<(), Failure> {
        self.each_watched_block(|bench, block| {
            if block == except {
                return Ok(());
            }
            bench.expect_block(block, Content::Pattern(BACKGROUND), &failure)
        })
    }
}
