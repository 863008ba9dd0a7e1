//! Compiles in the roots that a loader trusts, and for which device it is. Build
//! scripts of loaders include it.
//!
//! - `STILLBOOT_ROOTS`: the file of roots, as `stillboot keygen` writes it;
//! - `STILLBOOT_CLASS`: the device class, a name or its UUID;
//! - `STILLBOOT_REVISION`: the hardware revision, 0 by default.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use stillboot_build::Identity;

/// Writes `identity.rs` for a loader that `cargo xtask CHORE` builds for the operating system `os`.
pub fn trust(os: &str, chore: &str) -> Result<()> {
    for name in ["STILLBOOT_ROOTS", "STILLBOOT_CLASS", "STILLBOOT_REVISION"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    // On the host the loader is only checked, not built to run.
    let is_loader = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|found| found == os);
    let roots = match env::var_os("STILLBOOT_ROOTS") {
        Some(path) => PathBuf::from(path),
        None if !is_loader => Path::new("../../tests/data/test-keys/roots.toml").to_path_buf(),
        None => anyhow::bail!(
            "expected STILLBOOT_ROOTS to name the file of roots; `cargo xtask {chore} --roots FILE` \
             does that"
        ),
    };
    let class = match env::var("STILLBOOT_CLASS") {
        Ok(class) => class,
        Err(_) if !is_loader => "test".into(),
        Err(_) => anyhow::bail!(
            "expected STILLBOOT_CLASS to name the device class; `cargo xtask {chore} --class NAME` \
             does that"
        ),
    };
    let revision: u16 = match env::var("STILLBOOT_REVISION") {
        Ok(text) => text.parse().with_context(|| {
            format!("expected STILLBOOT_REVISION to be a number up to 65535, found `{text}`")
        })?,
        Err(_) => 0,
    };
    Ok(Identity::read(roots, &class)?.with_revision(revision).write()?)
}
