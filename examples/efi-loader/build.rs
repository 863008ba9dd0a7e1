//! Compiles in whom the loader trusts, for which device it is, and which partitions it means.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

#[path = "../compile_in.rs"]
mod compile_in;

fn main() -> Result<()> {
    let out = env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?;
    fs::write(Path::new(&out).join("pinned.rs"), pinned()?)?;
    compile_in::trust("uefi", "efi")
}

/// The partitions of `STILLBOOT_PARTUUIDS`: `NAME=PARTUUID`, with commas between them.
fn pinned() -> Result<String> {
    println!("cargo::rerun-if-env-changed=STILLBOOT_PARTUUIDS");
    let text = env::var("STILLBOOT_PARTUUIDS").unwrap_or_default();
    let mut code = String::from("pub const PINNED: &[Pinned<'static>] = &[");
    for pin in text.split(',').filter(|pin| !pin.is_empty()) {
        let (name, guid) = pin.split_once('=').with_context(|| {
            format!("expected NAME=PARTUUID in STILLBOOT_PARTUUIDS, found `{pin}`")
        })?;
        // A wrong PARTUUID fails as the loader is compiled.
        write!(code, "Pinned {{ name: {name:?}, guid: uefi::guid!({guid:?}) }}, ")?;
    }
    Ok(code + "];\n")
}
