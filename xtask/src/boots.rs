//! `cargo xtask boots` and `cargo xtask torture`: real firmware boots real kernels, in QEMU.
//!
//! The stories are tests of `tests/efi`. They print what they saw and measured.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};

use crate::efi::Arch;
use crate::shell;

/// Builds the stories, as words for cargo.
pub const BUILD: [&str; 8] =
    ["test", "--package", "stillboot-tests", "--features", "efi", "--test", "efi", "--no-run"];

/// The story that cuts the power.
const TORTURE: &str = "the_power_is_cut";

/// Runs the stories of one architecture, or those whose names begin with `story`, one after the
/// other: two architectures side by side are as many as there are cores.
///
/// # Errors
/// A story went wrong, or there is none of that name.
pub fn run(arch: Arch, story: Option<&str>) -> Result<()> {
    let mut stories = stories_on(arch, story.unwrap_or_default())?;
    if story.is_none() {
        // What the stories count with is tested beside them.
        stories.arg("count::");
    }
    shell::run(&mut stories)
}

/// Cuts the power at `boots` random instants.
///
/// # Errors
/// A state was found that does not boot.
pub fn torture(arch: Arch, boots: u32, seed: Option<u64>) -> Result<()> {
    let mut stories = stories_on(arch, TORTURE)?;
    stories.env("STILLBOOT_TORTURE_BOOTS", boots.to_string());
    if let Some(seed) = seed {
        stories.env("STILLBOOT_SEED", seed.to_string());
    }
    shell::run(&mut stories)
}

/// The stories of `arch` whose names begin with `story`. At least one: a test program that is asked
/// for nothing it has is content.
fn stories_on(arch: Arch, story: &str) -> Result<Command> {
    let name = format!("{}::{story}", arch.name());
    if !shell::output(stories(&name).arg("--list"))?.contains(": test\n") {
        bail!("no story on {} has a name that begins with `{story}`", arch.name());
    }
    Ok(stories(&name))
}

/// The stories whose names, with the module they are in, begin with `name`.
pub fn stories(name: &str) -> Command {
    let mut cargo = shell::cargo();
    cargo.args(&BUILD[..BUILD.len() - 1]);
    cargo.args(["--", "--include-ignored", "--nocapture", "--test-threads=1", name]);
    // The stories call chores; asking cargo for them would wait for whatever it builds meanwhile.
    if let Ok(program) = env::current_exe()
        && program.exists()
    {
        cargo.env("STILLBOOT_XTASK", program);
    }
    cargo
}
