//! `cargo xtask mcu`: the firmware of `examples/mcu-bootloader` on its board in QEMU.
//!
//! The stories are tests of `tests/mcu`. They print what they measured.

use anyhow::Result;

use crate::shell;

/// Builds the stories, as words for cargo.
pub const BUILD: [&str; 8] =
    ["test", "--package", "stillboot-tests", "--features", "mcu", "--test", "mcu", "--no-run"];

/// Builds the firmware, runs its stories and prints what they measured.
///
/// # Errors
/// The firmware does not compile, or a story went wrong.
pub fn run() -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.args(&BUILD[..BUILD.len() - 1]);
    shell::run(cargo.args(["--", "--include-ignored", "--nocapture"]))
}
