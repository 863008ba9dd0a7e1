//! The firmware's watchdog: resets the machine if the loader, or the image until it takes over,
//! hangs.
//!
//! It ends when the kernel takes the machine over (`ExitBootServices`). From then on it is the
//! kernel's own watchdog that counts, which the command line or the first process arms.

use uefi::{Status, boot};

/// Enough for a slow disk, and for an image until it takes over.
pub const SECONDS: usize = 300;

/// Numbers from 0x10000 on are free for any program.
const CODE: u64 = 0x5_711b;

/// Arms the watchdog again, to reset in `seconds`.
///
/// # Errors
/// What the firmware says: [`Status::UNSUPPORTED`] without a watchdog.
pub fn arm(seconds: usize) -> Result<(), Status> {
    boot::set_watchdog_timer(seconds, CODE, None).map_err(|error| error.status())
}

/// Disarms it, while a person is asked.
pub fn disarm() {
    // If this fails, the worst result is a reset during the menu.
    let _ = boot::set_watchdog_timer(0, CODE, None);
}
