//! `cargo xtask bench`: how fast an installation is, and how short a delta.
//!
//! Everything is measured beside what others need for the same work: on one machine, in one run, in
//! turn. The load of a machine varies, so ratios are meaningful and seconds are not. Nothing here
//! fails because something was slow or long. What could not be measured is named in the table with
//! the reason.
//!
//! ```text
//! target/bench/install/    keys, bundles, disks; gone afterwards
//! target/bench/pairs/      files of two versions; kept
//! docs/BENCHMARKS.md       the tables
//! docs/img/bench-install.svg
//! ```

mod cost;
mod delta;
mod install;
mod measured;
mod methods;
mod once;
mod packages;
mod pairs;
mod peers;
mod plot;
mod report;
mod rootfs;
mod wire;

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use crate::shell;

/// What is measured; everything by default.
#[derive(Subcommand)]
pub enum What {
    /// Time installations against other updaters and the least that the work can take.
    Install(install::InstallArgs),
    /// Count the bytes of deltas of Debian's kernels, modules and root file systems.
    Delta(delta::DeltaArgs),
}

/// Measures.
///
/// # Errors
/// A package cannot be installed or fetched, or one of our own commands failed.
pub fn run(what: Option<What>) -> Result<()> {
    match what {
        Some(What::Install(args)) => install::run(&args),
        Some(What::Delta(args)) => delta::run(&args),
        None => {
            install::run(&install::InstallArgs::default())?;
            delta::run(&delta::DeltaArgs::default())
        }
    }
}

/// Where it works.
fn folder() -> PathBuf {
    shell::target().join("bench")
}

/// Builds the tool; returns where it is.
fn tool() -> Result<PathBuf> {
    release(&["-p", "stillboot-cli"])?;
    Ok(shell::target().join("release/stillboot"))
}

/// Builds an example; returns where it is.
fn example(package: &str, name: &str, more: &[&str]) -> Result<PathBuf> {
    release(&[&["-p", package, "--example", name], more].concat())?;
    Ok(shell::target().join("release/examples").join(name))
}

fn release(arguments: &[&str]) -> Result<()> {
    shell::run(shell::cargo().args(["build", "--quiet", "--release"]).args(arguments))
}
