//! `cargo xtask oracle`: is the device tree that a machine gets the one that systemd's stub gives it?
//!
//! Both stubs get the same sets and boot the same machines, in QEMU. Where they differ, the case says
//! why, and a difference that is gone fails as well. It is not part of the tests: the stub is of a
//! later release of Debian than the rest.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::apt::Archive;
use crate::boots;
use crate::shell;

/// The first release whose stub chooses among several trees.
const RELEASE: &str = "trixie";
const PACKAGE: &str = "systemd-boot-efi";
const STUB: &str = "usr/lib/systemd/boot/efi/linuxaa64.efi.stub";

/// Runs the comparison.
///
/// # Errors
/// The stub cannot be fetched, or a machine got a tree that it should not have.
pub fn run() -> Result<()> {
    let stub = fetch()?;
    let mut stories = boots::stories("oracle::");
    shell::run(stories.env("STILLBOOT_ORACLE", stub))
}

/// Systemd's stub; nothing is installed.
fn fetch() -> Result<PathBuf> {
    let folder = shell::root().join("target/oracle");
    let mut archive = Archive::of_release("arm64", &folder, RELEASE)?;
    let package = archive.fetch(PACKAGE)?;
    let name = package.file_name().context("a package has a file name")?.to_string_lossy();
    println!("note: oracle: {name}");
    let unpacked = folder.join("unpacked");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    archive.unpack(&package, &unpacked)?;
    Ok(unpacked.join(STUB))
}
