//! Compiles in the roots that a loader trusts, and for which device it is. Build
//! scripts of loaders include it.
//!
//! - `STILLBOOT_ROOTS`: the file of roots, as `stillboot keygen` writes it;
//! - `STILLBOOT_CLASS`: the device class, a name or its UUID;
//! - `STILLBOOT_REVISION`: the hardware revision, 0 by default.
//!
//! No file beside the loader holds these values: an attacker with write access to the disk could
//! forge it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use stillboot::verify::{SoftSha256, TEST_KEY_IDS, key_id};
use stillboot_release::keys::{Roots, id_of};

/// Writes `trust.rs` for a loader that `cargo xtask CHORE` builds for the operating system `os`.
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
    println!("cargo::rerun-if-changed={}", roots.display());
    let roots = Roots::read(&roots)?;
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

    let is_test = |key: &[u8; 32]| TEST_KEY_IDS.contains(&key_id::<SoftSha256>(key));
    let keys: Vec<_> = roots.keys.iter().map(|key| key.name).collect();
    let code = format!(
        "pub const ROOTS: [[u8; 32]; {}] = {:?};\n\
         pub const THRESHOLD: u8 = {};\n\
         pub const PRODUCT: [u8; 16] = {:?};\n\
         pub const CLASS: [u8; 16] = {:?};\n\
         pub const REVISION: u16 = {revision};\n\
         pub const TEST_ROOTS: bool = {};\n",
        keys.len(),
        keys,
        roots.threshold,
        roots.product_id(),
        id_of(&class),
        keys.iter().any(is_test),
    );
    let out = env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?;
    fs::write(Path::new(&out).join("trust.rs"), code)?;
    Ok(())
}
