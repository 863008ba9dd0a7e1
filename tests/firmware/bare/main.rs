//! No firmware at all: the boot loader of `loaders/arm64-bare` lives through updates of Debian's
//! kernel on QEMU's `virt`, at both exception levels that kernels start at.
//!
//! They are slow beside the other tests: `cargo xtask bare-stories` runs them.

mod disk;
mod machine;
mod release;
mod stories;
