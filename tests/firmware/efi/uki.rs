//! Unified kernel images: systemd's stub with the parts as sections behind its own.

use std::fs;

use stillboot_release::pe::append_section;

use crate::machine::Arch;
use crate::release::kernels;

/// Builds an image.
pub fn build(arch: Arch, kernel: &[u8], initramfs: &[u8], cmdline: &[u8]) -> Vec<u8> {
    let stub = kernels(arch).join("linux.stub");
    let mut image = fs::read(stub).expect("`cargo xtask kernels` has fetched the stub");
    for (name, content) in [
        (".osrel", &b"NAME=stillboot-test\n"[..]),
        (".cmdline", cmdline),
        (".initrd", initramfs),
        (".linux", kernel),
    ] {
        append_section(&mut image, name, content).expect("the stub has room for sections");
    }
    image
}
