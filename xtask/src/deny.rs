//! `cargo xtask deny`: licences, banned packages and sources of all dependencies, by cargo-deny with
//! the rules in `deny.toml`.

use anyhow::Result;

use crate::shell;

/// The version that `cargo xtask setup` installs.
pub const VERSION: &str = "0.20.2";

/// The workspaces whose dependencies are looked at.
const WORKSPACES: &[&str] = &[
    "Cargo.toml",
    "xtask/size/Cargo.toml",
    "examples/mcu-bootloader/Cargo.toml",
    "fuzz/Cargo.toml",
];

/// Checks each workspace.
///
/// # Errors
/// cargo-deny is missing, or has found something; it prints what.
pub fn run() -> Result<()> {
    for manifest in WORKSPACES {
        println!("{manifest}:");
        // The advisories need a database from the network: the workflow file checks them.
        shell::run(
            shell::cargo()
                .args(["deny", "--manifest-path", manifest, "--locked", "--config"])
                .arg(shell::root().join("deny.toml"))
                .args(["check", "licenses", "bans", "sources"])
                .current_dir(shell::root()),
        )?;
    }
    Ok(())
}
