//! The board: what the loader and the application share of the hardware, and of its simulation.
//!
//! It is QEMU's `mps2-an386`, a Cortex-M4 without flash that could be written. The flash is a file
//! of the host behind semihosting calls; everything else is the board's own.
#![no_std]

// Provides the logger that `defmt` links against.
use defmt_semihosting as _;

pub mod flash;
pub mod identity;
pub mod machine;
mod registers;
pub mod retained;
pub mod stack;
pub mod uart;
pub mod watchdog;

use core::panic::PanicInfo;

/// A panic is a bug, and a reset is the only way out of it that needs nothing to work. The reset
/// counts as a failure, because the application did not [ask for it](retained::Retained::reset).
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}
