//! `cargo xtask setup`: what the tests need from the machine, installed where that is allowed and
//! named where it is not.
//!
//! It fails rather than warns when something is missing: a test that cannot run must not look like
//! one that passed.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::deny;
use crate::shell;

/// The Rust targets that the core is built for.
pub const TARGETS: &[&str] = &[
    "thumbv7em-none-eabi",
    "thumbv6m-none-eabi",
    "aarch64-unknown-none",
    "x86_64-unknown-none",
    "riscv32imac-unknown-none-elf",
    "x86_64-unknown-uefi",
    "aarch64-unknown-uefi",
];

/// Those that the tool is built for, to run in an initramfs.
const STATIC_TARGETS: &[&str] = &["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];

/// Cargo subcommands that the checks call, each with the rustup component that brings it.
const COMPONENTS: &[(&str, &str)] = &[("clippy", "clippy"), ("fmt", "rustfmt")];

/// Cargo subcommands that are built from their sources: name, package and version.
const TOOLS: &[(&str, &str, &str)] = &[("deny", "cargo-deny", deny::VERSION)];

/// A program to look for, or a file by its whole path, and the Debian package that brings it.
const NEEDS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("musl-gcc", "musl-tools"),
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("/usr/aarch64-linux-gnu/include/stdint.h", "libc6-dev-arm64-cross"),
    ("python3", "python3"),
    ("openssl", "openssl"),
    ("readelf", "binutils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-system-aarch64", "qemu-system-arm"),
    ("qemu-system-arm", "qemu-system-arm"),
    ("qemu-aarch64", "qemu-user"),
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf"),
    ("/usr/share/AAVMF/AAVMF_CODE.fd", "qemu-efi-aarch64"),
    ("mcopy", "mtools"),
    ("mkfs.vfat", "dosfstools"),
    ("dtc", "device-tree-compiler"),
    ("fdtget", "device-tree-compiler"),
    ("dmidecode", "dmidecode"),
    ("sbsign", "sbsigntool"),
    ("swtpm", "swtpm"),
    ("nginx", "nginx-light"),
];

/// Installs or names everything missing.
///
/// # Errors
/// Something is missing and cannot be installed from here; the message is the command to run.
pub fn run() -> Result<()> {
    let mut to_do = Vec::new();
    to_do.extend(rust()?);
    to_do.extend(tools());
    to_do.extend(packages()?);
    if to_do.is_empty() {
        println!("setup: everything needed is here");
        return Ok(());
    }
    bail!("this machine lacks something that the tests need. Run:\n  {}", to_do.join("\n  "));
}

/// Adds targets and components; returns the commands for what rustup cannot add by itself.
fn rust() -> Result<Vec<String>> {
    let components: Vec<&str> = COMPONENTS
        .iter()
        .filter(|(subcommand, _)| {
            shell::output(shell::cargo().args([subcommand, "--version"])).is_err()
        })
        .map(|&(_, component)| component)
        .collect();

    if !shell::has_program("rustup") {
        // A toolchain from a distribution: it either brings the target's library or not.
        let mut to_do = Vec::new();
        for target in targets().filter(|target| !has_library(target)) {
            to_do.push(format!("install Rust's library for {target} (or rustup)"));
        }
        for component in components {
            to_do.push(format!("install {component} (or rustup)"));
        }
        return Ok(to_do);
    }

    let installed = shell::output(Command::new("rustup").args(["target", "list", "--installed"]))?;
    let missing: Vec<&str> =
        targets().filter(|target| !installed.lines().any(|line| line == *target)).collect();
    let mut to_do = Vec::new();
    for (kind, names) in [("target", missing), ("component", components)] {
        if names.is_empty() {
            continue;
        }
        let mut add = Command::new("rustup");
        add.args([kind, "add"]).args(&names);
        if let Err(error) = shell::run(&mut add) {
            eprintln!("setup: {error:#}");
            to_do.push(shell::line_of(&add));
        }
    }
    Ok(to_do)
}

/// Builds tools; returns the commands for those that cannot be built.
fn tools() -> Vec<String> {
    let mut to_do = Vec::new();
    for (subcommand, package, version) in TOOLS {
        let found = shell::output(shell::cargo().args([subcommand, "--version"]));
        if found.is_ok_and(|text| text.split_whitespace().last() == Some(*version)) {
            continue;
        }
        // Without its default features cargo-deny compiles no client for the network.
        let mut install = shell::cargo();
        install.args(["install", "--locked", "--no-default-features", "--version"]);
        install.args([version, package]);
        // Optimised as its authors release it, it takes minutes to build and saves seconds.
        for (name, value) in [("LTO", "off"), ("CODEGEN_UNITS", "16"), ("OPT_LEVEL", "1")] {
            install.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
        }
        if let Err(error) = shell::run(&mut install) {
            eprintln!("setup: {error:#}");
            to_do.push(shell::line_of(&install));
        }
    }
    to_do
}

fn targets() -> impl Iterator<Item = &'static str> {
    TARGETS.iter().chain(STATIC_TARGETS).copied()
}

fn has_library(target: &str) -> bool {
    let mut ask = Command::new("rustc");
    shell::output(ask.args(["--print", "target-libdir", "--target", target]))
        .is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

/// Installs Debian packages; returns the commands where that takes another user or another system.
fn packages() -> Result<Vec<String>> {
    let mut missing: Vec<&str> = NEEDS
        .iter()
        .filter(|(program, _)| !shell::has_program(program))
        .map(|&(_, package)| package)
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    if !(shell::has_program("apt-get") && shell::has_program("dpkg")) {
        return Ok(vec![format!(
            "install what Debian calls {} with this system's own package manager",
            missing.join(", "),
        )]);
    }
    if shell::output(Command::new("id").arg("-u"))?.trim() != "0" {
        return Ok(vec![format!(
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends {}",
            missing.join(" "),
        )]);
    }
    println!("setup: installing {}", missing.join(", "));
    // A machine that was just started may be updating itself.
    let wait = ["-o", "DPkg::Lock::Timeout=300"];
    shell::run(Command::new("apt-get").args(wait).arg("update"))?;
    shell::run(
        Command::new("apt-get")
            .args(wait)
            .args(["install", "-y", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )?;
    // A package that installs but does not bring its program would fail much later, and unclearly.
    for (program, package) in NEEDS {
        if !shell::has_program(program) {
            bail!("{package} is installed but there is no `{program}`");
        }
    }
    Ok(Vec::new())
}
