//! The board's first serial port: an Arm CMSDK UART.
//!
//! It has no FIFO: one byte waits for the program, and the sender waits for that byte to be taken.
//! While an update comes, the program sleeps between two bytes.

use core::convert::Infallible;
use core::fmt;

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
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
const INTERRUPT: Register = unsafe { Register::new(0x4000_400c) };
// SAFETY: as above.
const BAUD_DIVISOR: Register = unsafe { Register::new(0x4000_4010) };

const TRANSMIT_FULL: u32 = 1;
const RECEIVE_FULL: u32 = 1 << 1;

const TRANSMIT: u32 = 1;
const RECEIVE: u32 = 1 << 1;
const RECEIVE_INTERRUPT: u32 = 1 << 3;

/// Between two looks at the port while input may come.
const DELAY_CYCLES: u32 = 10_000;

/// The interrupt of a byte that has come.
#[derive(Clone, Copy)]
struct Received;

// SAFETY: the number is the one that the board's manual gives.
unsafe impl InterruptNumber for Received {
    fn number(self) -> u16 {
        0
    }
}

/// The serial port.
#[derive(Debug)]
pub struct Uart(());

impl Uart {
    /// Switches it on, to send. 16 is the smallest divisor that it accepts.
    #[must_use]
    pub fn sending() -> Self {
        BAUD_DIVISOR.write(16);
        CONTROL.write(TRANSMIT);
        Self(())
    }

    /// Switches it on, to send and receive, for a program that never enables interrupts: they only
    /// end its sleep.
    #[must_use]
    pub fn receiving() -> Self {
        let this = Self::sending();
        cortex_m::interrupt::disable();
        CONTROL.write(TRANSMIT | RECEIVE | RECEIVE_INTERRUPT);
        // SAFETY: interrupts are disabled, so no handler runs that would have to be there.
        unsafe { NVIC::unmask(Received) };
        tell_sender();
        this
    }

    /// Sends text.
    pub fn send(&mut self, text: &str) {
        for byte in text.bytes() {
            while STATE.read() & TRANSMIT_FULL != 0 {}
            DATA.write(byte.into());
        }
    }

    /// Reads a line into `into`, without its end. Bytes that do not fit are dropped. A wait for
    /// input is no hang: the watchdog is fed meanwhile.
    pub fn line<const N: usize>(&mut self, into: &mut heapless::String<N>) {
        into.clear();
        loop {
            match received() {
                None => {
                    watchdog::feed();
                    cortex_m::asm::delay(DELAY_CYCLES);
                }
                Some(b'\n') => return,
                Some(byte) => {
                    let _ = into.push(char::from(byte));
                }
            }
        }
    }
}

/// The byte that has come.
fn received() -> Option<u8> {
    if STATE.read() & RECEIVE_FULL == 0 {
        return None;
    }
    let byte = DATA.read() as u8;
    tell_sender();
    Some(byte)
}

/// There is room for a byte, and the sender is alive.
///
/// On a real wire the sender needs no signal. QEMU's model of this port keeps the next byte back
/// while there is no room, and does not look again by itself when there is some: it lacks the call
/// `qemu_chr_fe_accept_input`. The byte waits until another event makes QEMU look at all that it
/// waits for, such as a timer that is set again. The watchdog is the only timer here. Without this
/// call a transfer rests until the watchdog ends it.
fn tell_sender() {
    watchdog::feed();
}

/// Sleeps until a byte has come.
fn sleep() {
    INTERRUPT.write(RECEIVE);
    NVIC::unpend(Received);
    // What comes from here on is pending, which ends the sleep even though interrupts are disabled.
    // What came just before must not be slept over.
    if STATE.read() & RECEIVE_FULL == 0 {
        cortex_m::asm::wfi();
    }
}

impl fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.send(text);
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
            match received() {
                Some(byte) => {
                    into[count] = byte;
                    count += 1;
                }
                None if count > 0 => break,
                None => sleep(),
            }
        }
        Ok(count)
    }
}
