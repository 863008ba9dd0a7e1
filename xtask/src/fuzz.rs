//! Runs the fuzz targets, from seeds that are made from real bundles.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

/// All targets.
const TARGETS: [&str; 9] =
    ["envelope", "keyset", "manifest", "statement", "record", "text", "head", "install", "slot"];

/// Runs each target, or the one called `only`, for `seconds`. What is found stays under
/// `fuzz/artifacts`; once mended it moves to `fuzz/corpus`, where the tests replay it.
///
/// # Errors
/// A finding, or no nightly toolchain with cargo-fuzz.
pub fn run(only: Option<&str>, seconds: u64) -> Result<()> {
    let scratch = shell::target().join("fuzz-corpus");
    for target in TARGETS.into_iter().filter(|target| only.is_none_or(|only| only == *target)) {
        // New inputs go to a folder that is not tracked: only findings are worth keeping.
        let grown = scratch.join(target);
        let kept = shell::root().join("fuzz/corpus").join(target);
        fs::create_dir_all(&grown)?;
        fs::create_dir_all(&kept)?;
        println!("{target}: {seconds} s");
        // Through rustup, for the toolchain of this program is another one.
        let mut fuzz = Command::new("rustup");
        fuzz.current_dir(shell::root()).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        fuzz.args(["run", "nightly", "cargo", "fuzz", "run", "--fuzz-dir", "fuzz", target]);
        fuzz.arg(&grown).arg(&kept).arg("--").arg(format!("-max_total_time={seconds}"));
        fuzz.arg("-print_final_stats=1");
        shell::run(&mut fuzz)?;
    }
    if only.is_some_and(|only| !TARGETS.contains(&only)) {
        bail!("expected one of {}", TARGETS.join(", "));
    }
    Ok(())
}
