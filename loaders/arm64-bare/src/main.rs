//! A boot loader for arm64 that needs no firmware: it starts with the first instruction, runs
//! stillboot on a virtio disk, and hands a Linux kernel over by the boot protocol.
//!
//! It has no configuration. Whom it trusts and for which device it is were compiled in (`build.rs`);
//! everything else stands in the boot record and in signed manifests.

// Why: docs/DESIGN.md#why-no-configuration-file

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
extern crate alloc;

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod boot;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod console;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod disk;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod extent;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod heap;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod machine;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod memory;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod pages;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod processor;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod psci;
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod start;

#[cfg(all(target_arch = "aarch64", target_os = "none"))]
mod identity {
    #![allow(missing_docs, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/identity.rs"));
}

/// The keys of the test suite are public, so any party can sign with them. The core refuses them as
/// well. This check reports them when the loader is built, and not when it is needed.
#[cfg(all(target_arch = "aarch64", target_os = "none"))]
const _: () = assert!(
    !identity::TEST_ROOTS || cfg!(debug_assertions),
    "the roots are keys of the test suite: a release build of the loader refuses them"
);

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this is a boot loader: `cargo xtask bare` builds it for its machine");
}
