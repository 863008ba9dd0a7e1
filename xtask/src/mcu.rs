//! `cargo xtask mcu`: the firmware of `examples/mcu-bootloader` on its board in QEMU.
//!
//! The stories are tests of `tests/mcu`. They print what they measured.

use anyhow::Result;

use crate::shell;

/// Builds the firmware, runs its stories and prints what they measured.
///
/// # Errors
/// The firmware does not compile, or a story went wrong.
pub fn run() -> Result<()> {
    shell::run(shell::cargo().args([
        "test",
        "--package",
        "stillboot-tests",
        "--features",
        "mcu",
        "--test",
        "mcu",
        "--",
        "--include-ignored",
        "--nocapture",
    ]))
}
