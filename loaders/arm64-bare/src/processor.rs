//! Registers of the processor that are read.

use core::arch::asm;

/// The exception level that the processor is in: 1 or 2.
pub fn exception_level() -> u64 {
    let level: u64;
    // SAFETY: Reading the register changes nothing.
    unsafe { asm!("mrs {}, CurrentEL", out(reg) level, options(nomem, nostack, preserves_flags)) };
    level >> 2 & 3
}

/// Whether addresses are translated or data cached, against the protocol.
pub fn has_mmu_on() -> bool {
    let control: u64;
    // SAFETY: Reading the register of the level we are in changes nothing.
    unsafe {
        if exception_level() == 2 {
            asm!("mrs {}, sctlr_el2", out(reg) control, options(nomem, nostack, preserves_flags));
        } else {
            asm!("mrs {}, sctlr_el1", out(reg) control, options(nomem, nostack, preserves_flags));
        }
    }
    control & 0b101 != 0
}

/// The counter that runs since the machine started.
pub fn ticks() -> u64 {
    let ticks;
    // SAFETY: Reading the counter changes nothing, and is allowed at EL1 and EL2.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

/// How fast it runs.
pub fn ticks_per_second() -> u64 {
    let frequency: u64;
    // SAFETY: As above.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nomem, nostack)) };
    frequency.max(1)
}
