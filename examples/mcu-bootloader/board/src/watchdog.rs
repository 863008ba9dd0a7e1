//! The board's watchdog: an Arm CMSDK APB watchdog, counting down at 25 MHz.
//!
//! It has two stages: the first time it reaches zero it raises the NMI, the second time it resets.
//! No program here handles the NMI: one that has not fed the watchdog until then stays in it until the
//! reset. So a program has to feed it within half of the time, and a hang is over after all of it.

use crate::registers::Register;

const HERTZ: u32 = 25_000_000;

// SAFETY: the watchdog of the board; none of its registers reaches memory.
const LOAD: Register = unsafe { Register::new(0x4000_8000) };
// SAFETY: as above.
const CONTROL: Register = unsafe { Register::new(0x4000_8008) };
// SAFETY: as above.
const INTERRUPT_CLEAR: Register = unsafe { Register::new(0x4000_800c) };
// SAFETY: as above.
const LOCK: Register = unsafe { Register::new(0x4000_8c00) };

const INTERRUPT_AND_RESET: u32 = 0b11;
const UNLOCK: u32 = 0x1acc_e551;

/// Resets the board `milliseconds` after it was [fed](feed) last; a program that lets half of them
/// pass is lost. Survives the hand-over to the
/// application, and cannot be stopped by it by mistake: it is locked.
pub fn arm(milliseconds: u32) {
    // Two stages, each half of the time.
    let ticks = (HERTZ / 1000).saturating_mul(milliseconds / 2).max(1);
    LOCK.write(UNLOCK);
    LOAD.write(ticks);
    CONTROL.write(INTERRUPT_AND_RESET);
    LOCK.write(0);
}

/// Says that the program is alive.
pub fn feed() {
    LOCK.write(UNLOCK);
    INTERRUPT_CLEAR.write(0);
    LOCK.write(0);
}
