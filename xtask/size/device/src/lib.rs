//! The device under the measured crates. Its calls lead out of the program, so that the compiler
//! knows nothing about them and can neither drop nor shorten what the core does around them.
#![no_std]

use core::panic::PanicInfo;

use stillboot::device::{BlockDevice, DeviceError, Geometry};

// Found at fixed addresses, see `device.x`.
unsafe extern "C" {
    fn device_read(device: u32, offset: u64, into: *mut u8, len: usize) -> u32;
    fn device_write(device: u32, offset: u64, bytes: *const u8, len: usize) -> u32;
    fn device_erase(device: u32, offset: u64, len: u64) -> u32;
    fn device_flush(device: u32) -> u32;
    fn device_capacity(device: u32) -> u64;
    fn device_report(number: u32);
}

/// A device of which only the number is known here.
#[derive(Debug)]
pub struct ExternDevice(pub u32);

impl BlockDevice for ExternDevice {
    fn geometry(&self) -> Geometry {
        // SAFETY: the call takes and returns numbers only.
        let capacity_bytes = unsafe { device_capacity(self.0) };
        Geometry {
            logical_block_bytes: 1,
            write_granule_bytes: 8,
            erase_block_bytes: 4096,
            capacity_bytes,
            erased: Some(0xff),
        }
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        // SAFETY: the device writes `len` bytes at most, into a slice of that length.
        check(unsafe { device_read(self.0, offset, into.as_mut_ptr(), into.len()) })
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        // SAFETY: the device reads `len` bytes at most, from a slice of that length.
        check(unsafe { device_write(self.0, offset, bytes.as_ptr(), bytes.len()) })
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        // SAFETY: the call takes and returns numbers only.
        check(unsafe { device_erase(self.0, offset, len) })
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        // SAFETY: the call takes and returns numbers only.
        check(unsafe { device_flush(self.0) })
    }
}

fn check(status: u32) -> Result<(), DeviceError> {
    match status {
        0 => Ok(()),
        _ => Err(DeviceError::Io),
    }
}

/// Lets a number out of the program: a result that is reported must also be computed.
pub fn report(number: u32) {
    // SAFETY: the call takes a number only.
    unsafe { device_report(number) }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
