//! The machine's own switch: PSCI, which QEMU provides where there is no firmware to do it.

use core::sync::atomic::{AtomicU8, Ordering};

use smccc::{Hvc, Smc, psci};

use crate::processor;

/// How PSCI is called, as the tree says. Stored and loaded only: exclusive accesses need caches.
static METHOD: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const HVC: u8 = 1;
const SMC: u8 = 2;

/// Notes what the tree says: `hvc` or `smc`.
pub fn learn(method: &str) {
    let method = match method {
        "hvc" => HVC,
        "smc" => SMC,
        _ => UNKNOWN,
    };
    METHOD.store(method, Ordering::Relaxed);
}

/// Resets the machine.
pub fn reset() -> ! {
    let is_smc = match METHOD.load(Ordering::Relaxed) {
        HVC => false,
        SMC => true,
        // At EL2 there is no hypervisor to call.
        _ => processor::exception_level() == 2,
    };
    // Neither call returns if it works.
    let _ = if is_smc { psci::system_reset::<Smc>() } else { psci::system_reset::<Hvc>() };
    crate::console::line(format_args!("stillboot: the machine does not reset: switch it off"));
    loop {
        core::hint::spin_loop();
    }
}
