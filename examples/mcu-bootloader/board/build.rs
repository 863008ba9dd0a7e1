//! Compiles in whom the firmware trusts, and for which device it is:
//!
//! - `STILLBOOT_ROOTS`: the file of roots, as `stillboot keygen` writes it; by default the roots of
//!   the test suite, which are worth nothing, and which the loader says when it starts;
//! - `STILLBOOT_CLASS`: the device class, a name or its UUID.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use stillboot::verify::{SoftSha256, TEST_KEY_IDS, key_id};
use stillboot_release::keys::{Roots, id_of};

const TEST_ROOTS: &str = "../../../tests/data/test-keys/roots.toml";

fn main() -> Result<()> {
    for name in ["STILLBOOT_ROOTS", "STILLBOOT_CLASS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let path = env::var_os("STILLBOOT_ROOTS").map_or_else(|| TEST_ROOTS.into(), PathBuf::from);
    println!("cargo::rerun-if-changed={}", path.display());
    let roots = Roots::read(&path)?;
    let class = env::var("STILLBOOT_CLASS").unwrap_or_else(|_| "test".into());
    let keys: Vec<_> = roots.keys.iter().map(|key| key.name).collect();
    let is_test = |key: &[u8; 32]| TEST_KEY_IDS.contains(&key_id::<SoftSha256>(key));
    let code = format!(
        "const ROOTS: &[RootKey] = &RootKey::ed25519_all({:?});\n\
         const RULE: Rule = Rule::ed25519({});\n\
         const PRODUCT: [u8; 16] = {:?};\n\
         const CLASS: [u8; 16] = {:?};\n\
         /// Whether the keys of the test suite are trusted: then everybody can sign.\n\
         pub const TEST_ROOTS: bool = {};\n",
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
