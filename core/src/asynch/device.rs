//! Devices whose operations wait.

use embedded_storage_async::nor_flash::NorFlash;

use crate::device::{DeviceError, Geometry, nor};

/// A device that stores bytes: [`device::BlockDevice`](crate::device::BlockDevice), with operations
/// that wait. The same [contract](crate::device#the-power-loss-contract) holds.
///
/// A future that is dropped is an operation that the power cut, with one difference: a power cut
/// comes to rest. So a drop ends the operation, or waits until it is over: it touches neither the
/// buffer nor the device any more when the next one starts. A driver with DMA stops the transfer when
/// the future is dropped.
pub trait BlockDevice {
    /// Units and size. Constant for the life of the value.
    fn geometry(&self) -> Geometry;

    /// As [`device::BlockDevice::read`](crate::device::BlockDevice::read).
    ///
    /// # Errors
    /// [`DeviceError`].
    async fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError>;

    /// As [`device::BlockDevice::write`](crate::device::BlockDevice::write).
    ///
    /// # Errors
    /// [`DeviceError`].
    async fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError>;

    /// As [`device::BlockDevice::erase`](crate::device::BlockDevice::erase).
    ///
    /// # Errors
    /// [`DeviceError`].
    async fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError>;

    /// As [`device::BlockDevice::flush`](crate::device::BlockDevice::flush).
    ///
    /// # Errors
    /// [`DeviceError`].
    async fn flush(&mut self) -> Result<(), DeviceError>;
}

impl<D: BlockDevice + ?Sized> BlockDevice for &mut D {
    fn geometry(&self) -> Geometry {
        (**self).geometry()
    }
    async fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        (**self).read(offset, into).await
    }
    async fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        (**self).write(offset, bytes).await
    }
    async fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        (**self).erase(offset, len).await
    }
    async fn flush(&mut self) -> Result<(), DeviceError> {
        (**self).flush().await
    }
}

/// The devices of a layout by their numbers: one device, a slice of devices of one type, or a tuple
/// of two to four of different types.
pub trait Devices {
    /// Reads from device number `device`.
    ///
    /// # Errors
    /// [`DeviceError`]; [`DeviceError::OutOfRange`] for a device that does not exist.
    async fn read_device(
        &mut self,
        device: u8,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), DeviceError>;

    /// Writes to device number `device`.
    ///
    /// # Errors
    /// As [`read_device`](Self::read_device).
    async fn write_device(
        &mut self,
        device: u8,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), DeviceError>;

    /// Erases a part of device number `device`.
    ///
    /// # Errors
    /// As [`read_device`](Self::read_device).
    async fn erase_device(&mut self, device: u8, offset: u64, len: u64) -> Result<(), DeviceError>;

    /// Flushes device number `device`.
    ///
    /// # Errors
    /// As [`read_device`](Self::read_device).
    async fn flush_device(&mut self, device: u8) -> Result<(), DeviceError>;
}

/// Devices of different types, each by its number.
macro_rules! by_number {
    ($($generic:ident: $number:literal at $field:tt),+) => {
        impl<$($generic: BlockDevice),+> Devices for ($($generic),+) {
            async fn read_device(
                &mut self,
                device: u8,
                offset: u64,
                into: &mut [u8],
            ) -> Result<(), DeviceError> {
                match device {
                    $($number => self.$field.read(offset, into).await,)+
                    _ => Err(DeviceError::OutOfRange),
                }
            }
            async fn write_device(
                &mut self,
                device: u8,
                offset: u64,
                bytes: &[u8],
            ) -> Result<(), DeviceError> {
                match device {
                    $($number => self.$field.write(offset, bytes).await,)+
                    _ => Err(DeviceError::OutOfRange),
                }
            }
            async fn erase_device(
                &mut self,
                device: u8,
                offset: u64,
                len: u64,
            ) -> Result<(), DeviceError> {
                match device {
                    $($number => self.$field.erase(offset, len).await,)+
                    _ => Err(DeviceError::OutOfRange),
                }
            }
            async fn flush_device(&mut self, device: u8) -> Result<(), DeviceError> {
                match device {
                    $($number => self.$field.flush().await,)+
                    _ => Err(DeviceError::OutOfRange),
                }
            }
        }
    };
}

by_number!(A: 0 at 0, B: 1 at 1);
by_number!(A: 0 at 0, B: 1 at 1, C: 2 at 2);
by_number!(A: 0 at 0, B: 1 at 1, C: 2 at 2, D: 3 at 3);

impl<D: BlockDevice> Devices for [D] {
    async fn read_device(
        &mut self,
        device: u8,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), DeviceError> {
        numbered(self, device)?.read(offset, into).await
    }
    async fn write_device(
        &mut self,
        device: u8,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        numbered(self, device)?.write(offset, bytes).await
    }
    async fn erase_device(&mut self, device: u8, offset: u64, len: u64) -> Result<(), DeviceError> {
        numbered(self, device)?.erase(offset, len).await
    }
    async fn flush_device(&mut self, device: u8) -> Result<(), DeviceError> {
        numbered(self, device)?.flush().await
    }
}

fn numbered<D>(devices: &mut [D], device: u8) -> Result<&mut D, DeviceError> {
    devices.get_mut(usize::from(device)).ok_or(DeviceError::OutOfRange)
}

impl<D: BlockDevice> Devices for D {
    async fn read_device(
        &mut self,
        device: u8,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), DeviceError> {
        core::slice::from_mut(self).read_device(device, offset, into).await
    }
    async fn write_device(
        &mut self,
        device: u8,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        core::slice::from_mut(self).write_device(device, offset, bytes).await
    }
    async fn erase_device(&mut self, device: u8, offset: u64, len: u64) -> Result<(), DeviceError> {
        core::slice::from_mut(self).erase_device(device, offset, len).await
    }
    async fn flush_device(&mut self, device: u8) -> Result<(), DeviceError> {
        core::slice::from_mut(self).flush_device(device).await
    }
}

/// NOR flash behind `embedded-storage-async`, as [`device::NorDevice`](crate::device::NorDevice) is
/// for the blocking traits.
///
/// `embedded-storage-async` does not say what a dropped future leaves running: whether the flash keeps
/// to the contract of [`BlockDevice`] then is in the documentation of its driver.
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
        let geometry =
            nor::geometry([F::READ_SIZE, F::WRITE_SIZE, F::ERASE_SIZE], flash.capacity())?;
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

    async fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry.check_read(offset, into.len() as u64)?;
        self.flash.read(nor::address(offset)?, into).await.map_err(|error| nor::kind(&error))
    }

    async fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry.check_write(offset, bytes.len() as u64)?;
        self.flash.write(nor::address(offset)?, bytes).await.map_err(|error| nor::kind(&error))
    }

    async fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry.check_erase(offset, len)?;
        // `check_erase` proved that the sum does not overflow.
        let (from, to) = (nor::address(offset)?, nor::address(offset + len)?);
        self.flash.erase(from, to).await.map_err(|error| nor::kind(&error))
    }

    /// The traits know no cache: what returned is durable.
    async fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::ops::Range;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    use std::vec;
    use std::vec::Vec;

    use embedded_storage_async::nor_flash::{ErrorType, NorFlashErrorKind, ReadNorFlash};

    use super::*;
    use crate::device::conformance;

    /// None of the futures here waits.
    fn now<F: Future>(future: F) -> F::Output {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it waits"),
        }
    }

    struct Flash<const R: usize, const W: usize, const E: usize> {
        bytes: Vec<u8>,
        fault: Option<NorFlashErrorKind>,
    }

    impl<const R: usize, const W: usize, const E: usize> Flash<R, W, E> {
        fn new(capacity: usize) -> Self {
            Self { bytes: vec![0xA5; capacity], fault: None }
        }

        /// The bytes of a request that keeps to `unit` and to the flash.
        fn range(
            &self,
            offset: u32,
            len: usize,
            unit: usize,
        ) -> Result<Range<usize>, NorFlashErrorKind> {
            self.fault.map_or(Ok(()), Err)?;
            let from = offset as usize;
            if !from.is_multiple_of(unit) || !len.is_multiple_of(unit) {
                return Err(NorFlashErrorKind::NotAligned);
            }
            match from.checked_add(len) {
                Some(end) if end <= self.bytes.len() => Ok(from..end),
                _ => Err(NorFlashErrorKind::OutOfBounds),
            }
        }
    }

    impl<const R: usize, const W: usize, const E: usize> ErrorType for Flash<R, W, E> {
        type Error = NorFlashErrorKind;
    }

    impl<const R: usize, const W: usize, const E: usize> ReadNorFlash for Flash<R, W, E> {
        const READ_SIZE: usize = R;
        async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
            bytes.copy_from_slice(&self.bytes[self.range(offset, bytes.len(), R)?]);
            Ok(())
        }
        fn capacity(&self) -> usize {
            self.bytes.len()
        }
    }

    impl<const R: usize, const W: usize, const E: usize> NorFlash for Flash<R, W, E> {
        const WRITE_SIZE: usize = W;
        const ERASE_SIZE: usize = E;
        async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
            let range = self.range(from, (to - from) as usize, E)?;
            self.bytes[range].fill(0xFF);
            Ok(())
        }
        async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
            let range = self.range(offset, bytes.len(), W)?;
            for (into, from) in self.bytes[range].iter_mut().zip(bytes) {
                *into &= from;
            }
            Ok(())
        }
    }

    /// An asynchronous device as a blocking one, for the conformance suite.
    struct Blocking<D>(D);

    impl<D: BlockDevice> crate::device::BlockDevice for Blocking<D> {
        fn geometry(&self) -> Geometry {
            self.0.geometry()
        }
        fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
            now(self.0.read(offset, into))
        }
        fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
            now(self.0.write(offset, bytes))
        }
        fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
            now(self.0.erase(offset, len))
        }
        fn flush(&mut self) -> Result<(), DeviceError> {
            now(self.0.flush())
        }
    }

    #[test]
    fn flash_of_every_shape_conforms() {
        fn check<const R: usize, const W: usize, const E: usize>() {
            let mut device = Blocking(NorDevice::new(Flash::<R, W, E>::new(16 * E)).unwrap());
            let mut scratch = vec![0; 4 * E];
            assert_eq!(conformance::check(&mut device, &mut scratch), Ok(()), "{R} {W} {E}");
            let mut borrowed = Blocking(&mut device.0);
            assert_eq!(conformance::check(&mut borrowed, &mut scratch), Ok(()), "{R} {W} {E}");
        }
        check::<1, 1, 4096>();
        check::<1, 8, 2048>();
        check::<4, 4, 4096>();
        check::<4, 16, 8192>();
    }

    #[test]
    fn units_that_make_no_geometry_are_refused() {
        assert!(NorDevice::new(Flash::<1, 8, 4096>::new(8192)).is_ok());
        let unaligned = Err(DeviceError::Unaligned);
        assert_eq!(NorDevice::new(Flash::<1, 3, 4096>::new(8192)).map(|_| ()), unaligned);
        assert_eq!(NorDevice::new(Flash::<1, 8, 3000>::new(9000)).map(|_| ()), unaligned);
        assert_eq!(NorDevice::new(Flash::<1, 8, { 2 << 20 }>::new(4 << 20)).map(|_| ()), unaligned);
    }

    #[test]
    fn errors_keep_their_kind() {
        let kinds = [
            (NorFlashErrorKind::NotAligned, DeviceError::Unaligned),
            (NorFlashErrorKind::OutOfBounds, DeviceError::OutOfRange),
            (NorFlashErrorKind::Other, DeviceError::Io),
        ];
        for (fault, error) in kinds {
            let mut flash = Flash::<1, 8, 4096>::new(8192);
            flash.fault = Some(fault);
            let mut device = NorDevice::new(flash).unwrap();
            assert_eq!(now(device.read(0, &mut [0; 8])), Err(error));
            assert_eq!(now(device.write(0, &[0; 8])), Err(error));
            assert_eq!(now(device.erase(0, 4096)), Err(error));
            assert_eq!(now(device.flush()), Ok(()));
            assert_eq!(device.into_inner().fault, Some(fault));
        }
    }

    /// Notes its name and what is asked of it.
    struct Named(u8, Vec<(&'static str, u64)>);

    impl BlockDevice for Named {
        fn geometry(&self) -> Geometry {
            Geometry::disk(512, 1 << 20)
        }
        async fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
            into.fill(self.0);
            self.1.push(("read", offset));
            Ok(())
        }
        async fn write(&mut self, offset: u64, _: &[u8]) -> Result<(), DeviceError> {
            self.1.push(("write", offset));
            Ok(())
        }
        async fn erase(&mut self, offset: u64, _: u64) -> Result<(), DeviceError> {
            self.1.push(("erase", offset));
            Ok(())
        }
        async fn flush(&mut self) -> Result<(), DeviceError> {
            self.1.push(("flush", 0));
            Ok(())
        }
    }

    fn named(name: u8) -> Named {
        Named(name, Vec::new())
    }

    /// Asks each of `count` devices for everything, and one that is not there.
    fn ask<D: Devices + ?Sized>(devices: &mut D, count: u8) {
        for number in 0..count {
            let mut byte = [0xff];
            assert_eq!(now(devices.read_device(number, 1, &mut byte)), Ok(()));
            assert_eq!(byte, [number]);
            assert_eq!(now(devices.write_device(number, 2, &byte)), Ok(()));
            assert_eq!(now(devices.erase_device(number, 3, 1)), Ok(()));
            assert_eq!(now(devices.flush_device(number)), Ok(()));
        }
        for number in [count, u8::MAX] {
            let none = Err(DeviceError::OutOfRange);
            assert_eq!(now(devices.read_device(number, 1, &mut [0])), none);
            assert_eq!(now(devices.write_device(number, 1, &[0])), none);
            assert_eq!(now(devices.erase_device(number, 1, 1)), none);
            assert_eq!(now(devices.flush_device(number)), none);
        }
    }

    #[test]
    fn devices_are_found_by_their_numbers() {
        let all = vec![("read", 1), ("write", 2), ("erase", 3), ("flush", 0)];
        let mut one = named(0);
        ask(&mut one, 1);
        assert_eq!(one.1, all);
        let mut two = (named(0), named(1));
        ask(&mut two, 2);
        assert_eq!((&two.0.1, &two.1.1), (&all, &all));
        let mut three = (named(0), &mut named(1), named(2));
        ask(&mut three, 3);
        assert_eq!((&three.1.1, &three.2.1), (&all, &all));
        let mut four = (named(0), named(1), named(2), named(3));
        ask(&mut four, 4);
        assert_eq!((&four.0.1, &four.3.1), (&all, &all));
        let mut slice = [named(0), named(1)];
        ask(&mut slice[..], 2);
        assert_eq!((&slice[0].1, &slice[1].1), (&all, &all));
    }
}
