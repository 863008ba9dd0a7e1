//! Flash behind the `embedded-storage` traits as [`BlockDevice`]s.
//!
//! Both adapters translate and check; neither buffers. The traits count in `u32`: bytes behind 4
//! GiB cannot be reached and are left out of the capacity.

use embedded_storage::ReadStorage;
use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind};

use super::{BlockDevice, DeviceError, Geometry};

/// NOR flash: erased to ones, and erased before every write.
///
/// `embedded-storage` calls a word whose write was cut by power loss undefined, where point 1 of
/// the [contract](super) wants each bit old or new. The core does not rely on the difference,
/// because every value is read through a checksum or a digest. But a controller whose error
/// correction faults on a half-written word must turn that fault into an error of its `read`, not a
/// trap.
#[derive(Debug)]
pub struct NorDevice<F> {
    flash: F,
    geometry: Geometry,
}

impl<F: NorFlash> NorDevice<F> {
    /// Wraps a flash.
    ///
    /// # Errors
    /// [`DeviceError::Unaligned`] if its units do not make a [valid](Geometry::is_valid) geometry:
    /// not powers of two, or an erase block above 1 MiB.
    pub fn new(flash: F) -> Result<Self, DeviceError> {
        let geometry = geometry([F::READ_SIZE, F::WRITE_SIZE, F::ERASE_SIZE], flash.capacity())?;
        Ok(Self { flash, geometry })
    }

    /// Gives the flash back.
    pub fn into_inner(self) -> F {
        self.flash
    }
}

impl<F: NorFlash> BlockDevice for NorDevice<F> {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry.check_read(offset, into.len() as u64)?;
        self.flash.read(address(offset)?, into).map_err(|error| kind(&error))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry.check_write(offset, bytes.len() as u64)?;
        self.flash.write(address(offset)?, bytes).map_err(|error| kind(&error))
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry.check_erase(offset, len)?;
        // `check_erase` proved that the sum does not overflow.
        self.flash.erase(address(offset)?, address(offset + len)?).map_err(|error| kind(&error))
    }

    /// The traits are synchronous and know no cache: what returned is durable.
    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// Memory that is only read: a ROM, or flash that this stage must not change.
///
/// Every valid write and erase is refused as [`DeviceError::ReadOnly`].
#[derive(Debug)]
pub struct RomDevice<S> {
    storage: S,
    geometry: Geometry,
}

impl<S: ReadStorage> RomDevice<S> {
    /// Wraps a storage.
    pub fn new(storage: S) -> Self {
        let geometry = Geometry {
            logical_block_bytes: 1,
            write_granule_bytes: 1,
            erase_block_bytes: 1,
            capacity_bytes: reachable(storage.capacity(), 1),
            erased: None,
        };
        Self { storage, geometry }
    }

    /// Gives the storage back.
    pub fn into_inner(self) -> S {
        self.storage
    }
}

impl<S: ReadStorage> BlockDevice for RomDevice<S> {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry.check_read(offset, into.len() as u64)?;
        // This trait's errors have no kind to map.
        self.storage.read(address(offset)?, into).map_err(|_| DeviceError::Io)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry.check_write(offset, bytes.len() as u64)?;
        Err(DeviceError::ReadOnly)
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry.check_erase(offset, len)?;
        Err(DeviceError::ReadOnly)
    }

    /// Nothing was written, so everything is durable.
    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// The geometry of NOR flash that reads, writes and erases in these units.
pub(crate) fn geometry(units: [usize; 3], capacity: usize) -> Result<Geometry, DeviceError> {
    let unit = |bytes: usize| u32::try_from(bytes).map_err(|_| DeviceError::Unaligned);
    let [read, write, erase] = units;
    let erase_block_bytes = unit(erase)?;
    // Before it divides below.
    if !erase_block_bytes.is_power_of_two() {
        return Err(DeviceError::Unaligned);
    }
    let geometry = Geometry {
        logical_block_bytes: unit(read)?,
        // Written bytes are read back: a granule below the read unit would be no use.
        write_granule_bytes: unit(write.max(read))?,
        erase_block_bytes,
        capacity_bytes: reachable(capacity, erase_block_bytes),
        erased: Some(0xFF),
    };
    if geometry.is_valid() { Ok(geometry) } else { Err(DeviceError::Unaligned) }
}

/// The whole erase blocks of a storage whose end a `u32` can still name.
fn reachable(capacity: usize, erase_block_bytes: u32) -> u64 {
    let whole = |bytes: u64| bytes - bytes % u64::from(erase_block_bytes);
    whole((capacity as u64).min(u64::from(u32::MAX)))
}

/// `reachable` keeps every checked offset below 2^32; an error is still better than a wrapped one.
pub(crate) fn address(offset: u64) -> Result<u32, DeviceError> {
    u32::try_from(offset).map_err(|_| DeviceError::OutOfRange)
}

pub(crate) fn kind(error: &impl NorFlashError) -> DeviceError {
    match error.kind() {
        NorFlashErrorKind::NotAligned => DeviceError::Unaligned,
        NorFlashErrorKind::OutOfBounds => DeviceError::OutOfRange,
        // `Other`, and kinds that later versions of the trait may add.
        _ => DeviceError::Io,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::super::conformance;
    use super::*;
    use core::fmt::Debug;
    use embedded_storage::nor_flash::{
        ErrorType, ReadNorFlash, check_erase, check_read, check_write,
    };
    use std::vec;
    use std::vec::Vec;

    struct Flash<const READ: usize, const WRITE: usize, const ERASE: usize> {
        bytes: Vec<u8>,
        fault: Option<NorFlashErrorKind>,
    }

    impl<const R: usize, const W: usize, const E: usize> Flash<R, W, E> {
        fn new(capacity: usize) -> Self {
            Self { bytes: vec![0xA5; capacity], fault: None }
        }
    }

    impl<const R: usize, const W: usize, const E: usize> ErrorType for Flash<R, W, E> {
        type Error = NorFlashErrorKind;
    }

    impl<const R: usize, const W: usize, const E: usize> ReadNorFlash for Flash<R, W, E> {
        const READ_SIZE: usize = R;
        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
            self.fault.map_or(Ok(()), Err)?;
            check_read(self, offset, bytes.len())?;
            bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
            Ok(())
        }
        fn capacity(&self) -> usize {
            self.bytes.len()
        }
    }

    impl<const R: usize, const W: usize, const E: usize> NorFlash for Flash<R, W, E> {
        const WRITE_SIZE: usize = W;
        const ERASE_SIZE: usize = E;
        fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
            check_erase(self, from, to)?;
            self.bytes[from as usize..to as usize].fill(0xFF);
            Ok(())
        }
        fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
            check_write(self, offset, bytes.len())?;
            for (cell, byte) in self.bytes[offset as usize..].iter_mut().zip(bytes) {
                *cell &= byte;
            }
            Ok(())
        }
    }

    impl<const R: usize, const W: usize, const E: usize> ReadStorage for Flash<R, W, E> {
        type Error = NorFlashErrorKind;
        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
            ReadNorFlash::read(self, offset, bytes)
        }
        fn capacity(&self) -> usize {
            self.bytes.len()
        }
    }

    fn conforms<const R: usize, const W: usize, const E: usize>(capacity: usize) {
        let mut device = NorDevice::new(Flash::<R, W, E>::new(capacity)).unwrap();
        let mut scratch = vec![0; 2 * E];
        assert_eq!(conformance::check(&mut device, &mut scratch), Ok(()));
    }

    #[test]
    fn flash_of_common_parts_conforms() {
        conforms::<1, 4, 4096>(64 * 1024);
        conforms::<4, 4, 4096>(64 * 1024);
        conforms::<1, 8, 2048>(32 * 1024);
        conforms::<1, 256, 4096>(64 * 1024);
        conforms::<1, 1, 256>(1024);
        // A write unit below the read unit is widened.
        conforms::<4, 1, 1024>(16 * 1024);
        // A tail that cannot be erased is not offered.
        conforms::<1, 4, 4096>(64 * 1024 + 100);
    }

    fn refused<T: Debug>(outcome: Result<T, DeviceError>) -> DeviceError {
        outcome.unwrap_err()
    }

    impl<const R: usize, const W: usize, const E: usize> Debug for Flash<R, W, E> {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.write_str("Flash")
        }
    }

    #[test]
    fn units_that_are_no_powers_of_two_are_refused() {
        assert_eq!(refused(NorDevice::new(Flash::<1, 4, 3000>::new(9000))), DeviceError::Unaligned);
        assert_eq!(
            refused(NorDevice::new(Flash::<1, 24, 4096>::new(8192))),
            DeviceError::Unaligned
        );
        assert_eq!(refused(NorDevice::new(Flash::<0, 4, 4096>::new(8192))), DeviceError::Unaligned);
        assert_eq!(refused(NorDevice::new(Flash::<1, 4, 0>::new(8192))), DeviceError::Unaligned);
        assert_eq!(
            refused(NorDevice::new(Flash::<1, 4, { 2 << 20 }>::new(4 << 20))),
            DeviceError::Unaligned
        );
    }

    #[test]
    fn capacity_ends_where_u32_offsets_do() {
        assert_eq!(reachable(64 * 1024 + 100, 4096), 64 * 1024);
        if let Ok(huge) = usize::try_from(1u64 << 33) {
            assert_eq!(reachable(huge, 4096), (1u64 << 32) - 4096);
        }
    }

    #[test]
    fn error_kinds_are_kept() {
        let mut device = NorDevice::new(Flash::<1, 4, 4096>::new(8192)).unwrap();
        for (fault, expected) in [
            (NorFlashErrorKind::NotAligned, DeviceError::Unaligned),
            (NorFlashErrorKind::OutOfBounds, DeviceError::OutOfRange),
            (NorFlashErrorKind::Other, DeviceError::Io),
        ] {
            device.flash.fault = Some(fault);
            assert_eq!(device.read(0, &mut [0; 4]), Err(expected));
        }
    }

    #[test]
    fn rom_is_read_and_never_changed() {
        let mut device = RomDevice::new(Flash::<1, 4, 4096>::new(8192));
        let mut into = [0; 3];
        device.read(8189, &mut into).unwrap();
        assert_eq!(into, [0xA5; 3]);
        assert_eq!(device.read(8190, &mut into), Err(DeviceError::OutOfRange));
        assert_eq!(device.write(0, &[0]), Err(DeviceError::ReadOnly));
        assert_eq!(device.erase(0, 4096), Err(DeviceError::ReadOnly));
        assert_eq!(device.write(8192, &[0]), Err(DeviceError::OutOfRange));
        device.flush().unwrap();
        assert_eq!(device.into_inner().bytes, [0xA5; 8192]);
    }
}
