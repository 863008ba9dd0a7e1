//! Release builds must refuse the keys of the test suite: the tool a bundle that is signed with them,
//! the loader to be built for them.

use anyhow::{Context, Result, bail};

use crate::shell;

/// Tries both. These keys are public: a product that trusts them by mistake trusts everyone.
///
/// # Errors
/// One was accepted, or refused for another reason.
pub fn run() -> Result<()> {
    tool()?;
    loader()?;
    println!("release builds of tool and loader refuse test keys");
    Ok(())
}

/// Compiles the loader as `cargo xtask efi` does without --test-keys.
fn loader() -> Result<()> {
    let check = shell::cargo()
        .args(["check", "--quiet", "-p", "uefi-loader", "--target", "x86_64-unknown-uefi"])
        .args(["--profile", "efi"])
        // From where its build script runs.
        .env("STILLBOOT_ROOTS", "../../tests/data/test-keys/roots.toml")
        .env("STILLBOOT_CLASS", "test")
        .output()
        .context("cannot compile the loader")?;
    let said = String::from_utf8_lossy(&check.stderr);
    if check.status.success() || !said.contains("the roots are keys of the test suite") {
        bail!(
            "expected the loader not to compile for keys of the test suite, found {}: {said}",
            check.status
        );
    }
    Ok(())
}

/// Runs `stillboot verify` as users build it.
fn tool() -> Result<()> {
    let folder = "tests/data/test-keys";
    let run = shell::cargo()
        .args(["run", "--quiet", "--release", "-p", "stillboot-cli", "--", "verify"])
        .arg(format!("{folder}/bundle.sbb"))
        .args(["--roots", &format!("{folder}/roots.toml")])
        .output()
        .context("cannot run the tool")?;
    let said = String::from_utf8_lossy(&run.stderr);
    if run.status.code() != Some(4) || !said.contains("test suite") {
        bail!(
            "expected exit code 4 and a word about keys of the test suite, found {}: {said}",
            run.status
        );
    }
    Ok(())
}
