//! The only access to storage: what a block device must do, and what it may do when the power
//! fails.
//!
//! No decision is made here. Only [`driver`](crate::driver) and [`check`](crate::check) call a
//! [`BlockDevice`]; every other module of the core sees [`Geometry`] values at most.
//!
//! # The power-loss contract
//!
//! The protocols of this crate are correct on any device that keeps these promises, and need no
//! other promise:
//!
//! 1. **Torn writes.** When power is lost during [`write`](BlockDevice::write), each bit of the
//!    range holds either what it held before or what was written, in any mixture. Bytes outside the
//!    range are untouched.
//! 2. **Torn erases.** When power is lost during [`erase`](BlockDevice::erase), the bytes of the
//!    range may read as anything. Bytes outside the range are untouched.
//! 3. **Caches.** A write or an erase that returned may still be lost, alone or together with
//!    others and in any order, until a later [`flush`](BlockDevice::flush) of the same device
//!    returned. After that it is durable.
//! 4. **Reads see the latest.** A read returns the bytes of the last write or erase that returned,
//!    flushed or not.
//!    A part that the medium cannot give back, such as a word of flash that no longer matches its
//!    check bits, is an error of the read, never a trap.
//! 5. **Failed writes.** After an error the range may hold anything that a torn write could leave;
//!    bytes outside the range are untouched.
//! 6. **Late errors.** A device may report that a write or an erase failed at a later write, erase
//!    or flush, at the latest at the next flush. Such an error stays: every write, erase and flush
//!    from then on fails, until the device is opened again, and reads go on. All changes since the
//!    last flush that returned count as failed then, as in point 5. A read waits for changes of its
//!    range that are still under way. After a flush a read returns what the medium gives, never a
//!    copy that was kept from before the flush.
//!
//! Why an error that comes late has to stay: the machines know of the write that an error answers,
//! and of no other. An error that is reported once can be taken for one that the next place of the
//! record makes good, while the write that was lost is another one.
//!
//! # Example
//!
//! A disk in memory. [`conformance::check`] finds what is wrong with a device as far as that can be
//! seen while the power is on.
//!
//! ```
//! use stillboot::device::{BlockDevice, DeviceError, Geometry, conformance};
//!
//! struct Ram([u8; 0x1_0000]);
//!
//! impl BlockDevice for Ram {
//!     fn geometry(&self) -> Geometry {
//!         Geometry::disk(512, 0x1_0000)
//!     }
//!     fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
//!         self.geometry().check_read(offset, into.len() as u64)?;
//!         into.copy_from_slice(&self.0[offset as usize..][..into.len()]);
//!         Ok(())
//!     }
//!     fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
//!         self.geometry().check_write(offset, bytes.len() as u64)?;
//!         self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
//!         Ok(())
//!     }
//!     fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
//!         self.geometry().check_erase(offset, len) // nothing to erase: it can be written again
//!     }
//!     fn flush(&mut self) -> Result<(), DeviceError> {
//!         Ok(())
//!     }
//! }
//!
//! assert_eq!(conformance::check(&mut Ram([0; 0x1_0000]), &mut [0; 0x1000]), Ok(()));
//! ```

pub mod conformance;
#[cfg(feature = "embedded-storage")]
pub(crate) mod nor;

#[cfg(feature = "embedded-storage")]
pub use nor::{NorDevice, RomDevice};

/// A device that stores bytes: a disk, a partition, a flash chip, a file.
///
/// Offsets and lengths are in bytes from the start of the device. The trait is object safe: one
/// update may span several devices of different kinds.
pub trait BlockDevice {
    /// Sizes and units; constant while the device is open.
    fn geometry(&self) -> Geometry;

    /// Fills `into` with the bytes at `offset`.
    ///
    /// `offset` and the length of `into` are multiples of [`Geometry::logical_block_bytes`].
    ///
    /// # Errors
    /// [`DeviceError`]; the content of `into` is then unspecified.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError>;

    /// Stores `bytes` at `offset`.
    ///
    /// `offset` and the length of `bytes` are multiples of [`Geometry::write_granule_bytes`]. On a
    /// device that must be erased first ([`Geometry::erased`] is `Some`), the range was erased
    /// since it was last written. A part whose writing was cut counts as written, also if it reads
    /// as erased. A device that cannot write it again reports an error, best
    /// [`DeviceError::NotErased`].
    ///
    /// # Errors
    /// [`DeviceError`]; see point 5 of the contract.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Makes `len` bytes at `offset` writable; afterwards they read as [`Geometry::erased`].
    ///
    /// `offset` and `len` are multiples of [`Geometry::erase_block_bytes`]. Where
    /// [`Geometry::erased`] is `None` there is nothing to erase: do nothing and return `Ok`.
    ///
    /// # Errors
    /// [`DeviceError`]; the range may then read as anything.
    // Why: docs/DESIGN.md#why-erase-on-disks
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError>;

    /// Returns once everything written or erased before is durable.
    ///
    /// # Errors
    /// [`DeviceError`]; then nothing since the last successful flush may be relied on.
    fn flush(&mut self) -> Result<(), DeviceError>;
}

impl<T: BlockDevice + ?Sized> BlockDevice for &mut T {
    fn geometry(&self) -> Geometry {
        (**self).geometry()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        (**self).read(offset, into)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        (**self).write(offset, bytes)
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        (**self).erase(offset, len)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        (**self).flush()
    }
}

/// Sizes and units of a device, all in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Geometry {
    /// Smallest unit of a read: a power of two, 1 on memory-mapped flash, 512 or 4096 on disks.
    pub logical_block_bytes: u32,
    /// Smallest unit of a write: a power of two, a multiple of the logical block.
    pub write_granule_bytes: u32,
    /// Smallest unit that can be replaced without touching its neighbours: a power of two, a
    /// multiple of the write granule; 4096 on disks, also where the logical block is 512.
    pub erase_block_bytes: u32,
    /// Usable size: a multiple of the logical block.
    pub capacity_bytes: u64,
    /// What an erased byte reads as; `None` where a write needs no erase before it.
    pub erased: Option<u8>,
}

impl Geometry {
    /// A disk: rewritable, erase blocks of 4096 bytes, `logical_block_bytes` of 512 or 4096.
    #[must_use]
    pub const fn disk(logical_block_bytes: u32, capacity_bytes: u64) -> Self {
        Self {
            logical_block_bytes,
            write_granule_bytes: logical_block_bytes,
            erase_block_bytes: 4096,
            capacity_bytes,
            erased: None,
        }
    }

    /// NOR flash that is read byte by byte and erased to ones.
    #[must_use]
    pub const fn nor(
        write_granule_bytes: u32,
        erase_block_bytes: u32,
        capacity_bytes: u64,
    ) -> Self {
        let (logical_block_bytes, erased) = (1, Some(0xff));
        Self { logical_block_bytes, write_granule_bytes, erase_block_bytes, capacity_bytes, erased }
    }

    /// Whether the units are powers of two that divide each other in order, the erase block is at
    /// most 1 MiB and the capacity a whole number of logical blocks.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.logical_block_bytes.is_power_of_two()
            && self.write_granule_bytes.is_power_of_two()
            && self.erase_block_bytes.is_power_of_two()
            && self.logical_block_bytes <= self.write_granule_bytes
            && self.write_granule_bytes <= self.erase_block_bytes
            && self.erase_block_bytes <= 1 << 20
            && is_aligned(self.capacity_bytes, self.logical_block_bytes)
    }

    /// Checks a read of `len` bytes at `offset` against this geometry.
    ///
    /// # Errors
    /// [`DeviceError::OutOfRange`] or [`DeviceError::Unaligned`]. Implementers call this first, so
    /// that every device refuses the same requests.
    pub const fn check_read(&self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.check(offset, len, self.logical_block_bytes)
    }

    /// Checks a write of `len` bytes at `offset` against this geometry.
    ///
    /// # Errors
    /// As [`check_read`](Self::check_read).
    pub const fn check_write(&self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.check(offset, len, self.write_granule_bytes)
    }

    /// Checks an erase of `len` bytes at `offset` against this geometry.
    ///
    /// # Errors
    /// As [`check_read`](Self::check_read).
    pub const fn check_erase(&self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.check(offset, len, self.erase_block_bytes)
    }

    const fn check(&self, offset: u64, len: u64, unit: u32) -> Result<(), DeviceError> {
        if !is_aligned(offset, unit) || !is_aligned(len, unit) {
            return Err(DeviceError::Unaligned);
        }
        match offset.checked_add(len) {
            Some(end) if end <= self.capacity_bytes => Ok(()),
            _ => Err(DeviceError::OutOfRange),
        }
    }
}

/// Whether `value` is a multiple of `unit`, a power of two.
const fn is_aligned(value: u64, unit: u32) -> bool {
    value & (unit as u64 - 1) == 0
}

/// Why a device could not do an operation. The numbers leave the device in reports: they are fixed
/// and never reordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
#[repr(u8)]
pub enum DeviceError {
    /// The medium failed to read, write, erase or flush.
    Io = 1,
    /// The request reaches past the end of the device.
    OutOfRange = 2,
    /// Offset or length is not a multiple of the unit of the operation.
    Unaligned = 3,
    /// The device is write protected.
    ReadOnly = 4,
    /// The device is gone, or its medium was changed.
    Gone = 5,
    /// There is no space left to store the bytes (a file on a full file system).
    Full = 6,
    /// The range was written since it was last erased.
    NotErased = 7,
    /// The device reported success, and does not hold the bytes that were written.
    NotKept = 8,
}

impl core::fmt::Display for DeviceError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Io => "the device reported an I/O error",
            Self::OutOfRange => "the request reaches past the end of the device",
            Self::Unaligned => "offset or length is not a multiple of the device's unit",
            Self::ReadOnly => "the device is write protected",
            Self::Gone => "the device is gone",
            Self::Full => "there is no space left on the device",
            Self::NotErased => "the range must be erased before it is written",
            Self::NotKept => "the device reported success and does not hold what was written",
        })
    }
}

impl core::error::Error for DeviceError {}

/// A window on a part of another device, itself a device: a partition.
#[derive(Debug)]
pub struct Partition<D> {
    device: D,
    start: u64,
    len: u64,
}

impl<D: BlockDevice> Partition<D> {
    /// A window of `len` bytes from `start`.
    ///
    /// # Errors
    /// [`DeviceError::Unaligned`] unless both are multiples of the erase block (so that erasing in
    /// the window cannot touch a neighbour), [`DeviceError::OutOfRange`] past the device's end.
    pub fn new(device: D, start: u64, len: u64) -> Result<Self, DeviceError> {
        device.geometry().check_erase(start, len)?;
        Ok(Self { device, start, len })
    }

    /// Gives the underlying device back.
    pub fn into_inner(self) -> D {
        self.device
    }
}

impl<D: BlockDevice> BlockDevice for Partition<D> {
    fn geometry(&self) -> Geometry {
        Geometry { capacity_bytes: self.len, ..self.device.geometry() }
    }
    // Bounds are checked against the window first, so `start + offset` cannot leave it.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry().check_read(offset, into.len() as u64)?;
        self.device.read(self.start + offset, into)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry().check_write(offset, bytes.len() as u64)?;
        self.device.write(self.start + offset, bytes)
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry().check_erase(offset, len)?;
        self.device.erase(self.start + offset, len)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.device.flush()
    }
}
