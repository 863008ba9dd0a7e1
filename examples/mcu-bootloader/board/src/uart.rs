//! The board's first serial port: an Arm CMSDK UART, polled.

use core::convert::Infallible;
use core::fmt;

use embedded_io::{ErrorType, Read};

use crate::registers::Register;
use crate::watchdog;

// SAFETY: UART 0 of the board; none of its registers reaches memory.
const DATA: Register = unsafe { Register::new(0x4000_4000) };
// SAFETY: as above.
const STATE: Register = unsafe { Register::new(0x4000_4004) };
// SAFETY: as above.
const CONTROL: Register = unsafe { Register::new(0x4000_4008) };
// SAFETY: as above.
const BAUD_DIVISOR: Register = unsafe { Register::new(0x4000_4010) };

const TRANSMIT_FULL: u32 = 1;
const RECEIVE_FULL: u32 = 2;

/// Between two looks at the port. QEMU's threads share one lock, which each look takes: without a
/// pause, who brings the bytes may wait for it without end.
fn pause() {
    cortex_m::asm::delay(2000);
}

/// The serial port.
#[derive(Debug)]
pub struct Uart(());

impl Uart {
    /// Switches it on. 16 is the smallest divisor that it accepts.
    #[must_use]
    pub fn new() -> Self {
        BAUD_DIVISOR.write(16);
        CONTROL.write(0b11);
        Self(())
    }

    /// Reads a line into `into`, without its end. What does not fit is dropped. Waiting for somebody
    /// to type is not hanging: the watchdog is kept quiet.
    pub fn line<const N: usize>(&mut self, into: &mut heapless::String<N>) {
        into.clear();
        loop {
            while STATE.read() & RECEIVE_FULL == 0 {
                watchdog::feed();
                pause();
            }
            match DATA.read() as u8 {
                b'\n' => return,
                byte => {
                    let _ = into.push(char::from(byte));
                }
            }
        }
    }
}

impl Default for Uart {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while STATE.read() & TRANSMIT_FULL != 0 {}
            DATA.write(byte.into());
        }
        Ok(())
    }
}

impl ErrorType for Uart {
    type Error = Infallible;
}

impl Read for Uart {
    /// Waits for one byte, then takes what has come. Only what comes feeds the watchdog: a sender
    /// that stops in the midst of an update is a reason to start over.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Self::Error> {
        let mut count = 0;
        while count < into.len() {
            if STATE.read() & RECEIVE_FULL != 0 {
                into[count] = DATA.read() as u8;
                count += 1;
            } else if count > 0 {
                break;
            } else {
                pause();
            }
        }
        watchdog::feed();
        Ok(count)
    }
}
