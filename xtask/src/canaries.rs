//! `cargo xtask canaries`: the simulator must catch every known bug of `core/src/canary.rs`.

use anyhow::{Result, bail};

use crate::sample;
use crate::shell;
use crate::steps::Lane;

/// Switches them on.
const FLAGS: &str = "--cfg stillboot_canary";

/// Runs the bugs one after the other, in a target folder of their own: no build that anybody uses
/// may share as much as an object file with one in which a bug can be switched on.
///
/// # Errors
/// A bug was not caught, or a build without debug assertions had them too.
pub fn run(is_sample: bool) -> Result<()> {
    let folder = Lane::Canary.target();
    let mut cargo = shell::cargo();
    cargo.args(["run", "--quiet", "--profile", "canary", "-p", "stillboot-sim"]);
    cargo.args(["--features", "programs", "--bin", "canaries"]);
    if is_sample {
        // One in eight, and as much of the run without a bug.
        cargo.args(["--", "--part", &sample::turn()?.to_string(), "8"]);
    }
    shell::run(cargo.env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &folder))?;

    let mut cargo = shell::cargo();
    cargo.args(["check", "--quiet", "--release", "-p", "stillboot"]);
    match shell::output(cargo.env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &folder)) {
        Ok(_) => bail!("expected a build without debug assertions to be refused, and it was made"),
        Err(error) if error.to_string().contains("known bugs") => {
            println!("refused without debug assertions");
            Ok(())
        }
        Err(error) => Err(error),
    }
}
