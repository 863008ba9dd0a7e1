//! Compiles in which keys the loader trusts, for which device it is, and which partitions it uses.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use stillboot::format::names::{PARTITION_PREFIX, RECORD_PARTITION};
use stillboot::format::{Role, Slot};
use uuid::Uuid;

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
        // The loader looks for these names only: a misspelt one would have no effect.
        if !is_name(name) {
            bail!(
                "expected the name of a partition, stillboot-record, stillboot-a or \
                 stillboot-a-rootfs for instance, found `{name}` in STILLBOOT_PARTUUIDS"
            );
        }
        let guid: Uuid = guid.parse().with_context(|| {
            format!("expected a PARTUUID for {name} in STILLBOOT_PARTUUIDS, found `{guid}`")
        })?;
        write!(code, "Pinned::new({name:?}, uefi::guid!(\"{guid}\")), ")?;
    }
    Ok(code + "];\n")
}

/// Whether a loader looks for partitions of this name: the record, a slot, a slot's further region.
fn is_name(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PARTITION_PREFIX) else { return false };
    let (slot, role) = rest.split_once('-').map_or((rest, None), |(slot, role)| (slot, Some(role)));
    name == RECORD_PARTITION
        || Slot::from_name(slot).is_some()
            && role.is_none_or(|role| Role::from_name(role).is_some())
}
