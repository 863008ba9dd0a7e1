//! `cargo xtask msrv`: does the workspace compile with the oldest toolchain it promises?

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;
use crate::steps::Lane;

/// Compiles everything with the oldest supported toolchain where rustup has it; otherwise lints for
/// what that toolchain's standard library lacks, and says that it was only a lint.
///
/// # Errors
/// The workspace needs a newer toolchain than it promises.
pub fn run() -> Result<()> {
    let promised = promised()?;
    if let Some(toolchain) = toolchain(&promised) {
        let mut check = Command::new("rustup");
        check
            .args(["run", &toolchain, "cargo", "check", "--workspace", "--all-targets"])
            .current_dir(shell::root())
            // They name the current toolchain, which would otherwise win over the one asked for.
            .env_remove("CARGO")
            .env_remove("RUSTUP_TOOLCHAIN")
            .env("CARGO_TARGET_DIR", Lane::Msrv.target());
        shell::run(&mut check)?;
        println!("note: compiled with the toolchain {toolchain}");
        return Ok(());
    }
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
        "-W",
        "clippy::incompatible_msrv",
    ];
    shell::run(shell::cargo().args(clippy))?;
    println!("note: the toolchain {promised} is not at hand, only lints were checked");
    Ok(())
}

/// The lane that [`run`] will build on.
pub fn lane() -> Lane {
    match promised().ok().and_then(|promised| toolchain(&promised)) {
        Some(_) => Lane::Msrv,
        None => Lane::Debug,
    }
}

/// `rust-version` of the workspace.
fn promised() -> Result<String> {
    let path = shell::root().join("Cargo.toml");
    let text = fs::read_to_string(&path).context("cannot read Cargo.toml")?;
    let manifest: toml::Table = text.parse().context("cannot parse Cargo.toml")?;
    let version = manifest
        .get("workspace")
        .and_then(|table| table.get("package"))
        .and_then(|table| table.get("rust-version"))
        .and_then(|value| value.as_str())
        .context("Cargo.toml has no workspace.package.rust-version")?;
    Ok(version.to_owned())
}

/// The name of an installed toolchain of that version: `1.91` also means `1.91.1`.
fn toolchain(version: &str) -> Option<String> {
    let list = shell::output(Command::new("rustup").args(["toolchain", "list"])).ok()?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).find(|name| is_version(name, version))
}

fn is_version(toolchain: &str, version: &str) -> bool {
    match toolchain.strip_prefix(version) {
        Some(rest) => rest.is_empty() || rest.starts_with(['.', '-']),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toolchains_are_recognised_by_whole_numbers() {
        assert!(is_version("1.91", "1.91"));
        assert!(is_version("1.91.1-x86_64-unknown-linux-gnu", "1.91"));
        assert!(is_version("1.91-x86_64-unknown-linux-gnu", "1.91"));
        assert!(!is_version("1.910-x86_64-unknown-linux-gnu", "1.91"));
        assert!(!is_version("stable-x86_64-unknown-linux-gnu", "1.91"));
    }

    #[test]
    fn the_workspace_promises_a_version() {
        assert!(promised().expect("Cargo.toml is readable").starts_with("1."));
    }
}
