//! A release build of the tool must refuse a bundle signed with the keys of the test suite.

use anyhow::{Context, Result, bail};

use crate::shell;

/// Runs `stillboot verify` as users build it. Everybody has these keys: products that trust them
/// by mistake trust everybody.
///
/// # Errors
/// The bundle was accepted, or refused for another reason.
pub fn run() -> Result<()> {
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
    println!("a release build refuses test keys");
    Ok(())
}
