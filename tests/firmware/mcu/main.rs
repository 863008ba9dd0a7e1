//! The smallest machine: the boot loader and the application of `examples/mcu-bootloader` live
//! through updates on a Cortex-M4 in QEMU.
//!
//! They are slow beside the other tests: `cargo xtask mcu` runs them.

mod cuts;
mod firmware;
mod flash;
mod log;
mod machine;
mod measure;
mod stories;
